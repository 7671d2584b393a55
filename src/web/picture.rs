//! The cluster as a picture: an inline SVG of the peers and the AH links between them, once wide
//! and once narrow; the style sheet shows the one that fits.

use std::fmt::Write;

use crate::cluster::Colour;
use crate::node::serve::node::{ClusterView, PeerView};
use crate::node::units;

/// How a picture is laid out.
struct Layout {
    class: &'static str,
    size: (i32, i32),
    /// Where one, two or three peers stand; the first place is this system's.
    places: [&'static [(i32, i32)]; 3],
    /// Where the tags of the links to the second and third place stand.
    tags: [&'static [(i32, i32)]; 3],
    /// A peer's box.
    peer: (i32, i32),
    /// Longest name and longest address, in characters.
    letters: (usize, usize),
}

const WIDE: Layout = Layout {
    class: "wide",
    size: (640, 300),
    places: [
        &[(320, 130)],
        &[(130, 130), (510, 130)],
        &[(320, 56), (116, 240), (524, 240)],
    ],
    tags: [&[], &[(320, 130)], &[(190, 146), (450, 146)]],
    peer: (200, 84),
    letters: (18, 26),
};

const NARROW: Layout = Layout {
    class: "narrow",
    size: (340, 330),
    places: [
        &[(170, 80)],
        &[(170, 56), (170, 270)],
        &[(170, 56), (84, 270), (256, 270)],
    ],
    tags: [&[], &[(170, 163)], &[(86, 163), (254, 163)]],
    peer: (164, 84),
    letters: (14, 20),
};

/// Draws the peers that have an address. A link between two others is theirs to show; here each
/// starts at this system.
pub fn cluster(view: &ClusterView) -> String {
    let mut peers: Vec<&PeerView> = view
        .peers
        .iter()
        .filter(|peer| peer.address.is_some())
        .collect();
    // This system first, the others in the order of their fields.
    peers.sort_by_key(|peer| (!peer.own, peer.field));
    draw(&peers, &WIDE) + &draw(&peers, &NARROW)
}

fn draw(peers: &[&PeerView], layout: &Layout) -> String {
    let index = peers.len().checked_sub(1);
    let Some(index) = index.filter(|index| *index < layout.places.len()) else {
        return String::new();
    };
    let (places, tags) = (layout.places[index], layout.tags[index]);
    let mut svg = format!(
        "<svg class=\"cluster {}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">",
        layout.class,
        layout.size.0,
        layout.size.1,
        escape(&words(peers))
    );
    if let [_, (x1, y1), (x2, y2)] = places {
        let _ = write!(
            svg,
            "<line class=\"far\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>"
        );
    }
    for (number, peer) in peers.iter().enumerate().skip(1) {
        link(&mut svg, places[0], places[number], tags[number - 1], peer);
    }
    for (peer, place) in peers.iter().zip(places) {
        node(&mut svg, *place, peer, layout);
    }
    svg.push_str("</svg>");
    svg
}

/// The picture in words.
fn words(peers: &[&PeerView]) -> String {
    let one = |peer: &&PeerView| {
        let state = peer.state.as_ref().map_or("", |state| state.text.as_str());
        let link = match (peer.own, peer.tunnel) {
            (true, _) => "",
            (false, true) => ", AH tunnel up",
            (false, false) => ", no tunnel",
        };
        format!("Peer {}: {state}{link}", peer.field)
    };
    peers.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn colour(peer: &PeerView) -> &'static str {
    match peer.state.as_ref().map(|state| state.colour) {
        Some(Colour::Green) => "green",
        Some(Colour::Amber) => "amber",
        _ => "red",
    }
}

fn link(svg: &mut String, a: (i32, i32), b: (i32, i32), tag: (i32, i32), peer: &PeerView) {
    let tunnel = if peer.tunnel { "up" } else { "down" };
    let _ = write!(
        svg,
        "<line class=\"link {} {tunnel}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>",
        colour(peer),
        a.0,
        a.1,
        b.0,
        b.1
    );
    let first = match (peer.tunnel, peer.round_trip_ms) {
        (true, Some(ms)) if ms < 0.1 => "AH \u{b7} < 0.1 ms".to_owned(),
        (true, Some(ms)) => format!("AH \u{b7} {ms:.1} ms"),
        (true, None) => "AH".to_owned(),
        (false, _) => "no tunnel".to_owned(),
    };
    let (received, sent) = peer.octets;
    let second = match (peer.tunnel, peer.behind) {
        (false, _) => String::new(),
        (true, 0) => format!(
            "\u{2193}{} \u{2191}{}",
            units::octets(received),
            units::octets(sent)
        ),
        (true, behind) => format!("{behind} behind"),
    };
    let (x, y) = tag;
    let height = if second.is_empty() { 24 } else { 40 };
    let _ = write!(
        svg,
        "<rect class=\"tag\" x=\"{}\" y=\"{}\" width=\"150\" height=\"{height}\" rx=\"12\"/>",
        x - 75,
        y - height / 2
    );
    let base = if second.is_empty() { y + 5 } else { y - 3 };
    let _ = write!(
        svg,
        "<text class=\"tag\" x=\"{x}\" y=\"{base}\">{}</text>",
        escape(&first)
    );
    if !second.is_empty() {
        let _ = write!(
            svg,
            "<text class=\"tag light\" x=\"{x}\" y=\"{}\">{second}</text>",
            y + 13
        );
    }
}

fn node(svg: &mut String, (x, y): (i32, i32), peer: &PeerView, layout: &Layout) {
    let address = peer
        .address
        .map(|address| address.to_string())
        .unwrap_or_default();
    let name = peer
        .name
        .clone()
        .unwrap_or_else(|| format!("Peer {}", peer.field));
    let state = peer
        .state
        .as_ref()
        .map(|state| state.text.as_str())
        .unwrap_or_default();
    let own = if peer.own { " own" } else { "" };
    let (width, height) = layout.peer;
    let (left, top) = (x - width / 2, y - height / 2);
    let (letters, long) = layout.letters;
    let _ = write!(
        svg,
        "<g class=\"peer {}{own}\"><rect x=\"{left}\" y=\"{top}\" width=\"{width}\" \
         height=\"{height}\" rx=\"10\"/><circle cx=\"{}\" cy=\"{}\" r=\"6\"/>\
         <text class=\"name\" x=\"{}\" y=\"{}\">{}</text>\
         <text class=\"address\" x=\"{}\" y=\"{}\">{}</text>\
         <text class=\"state\" x=\"{}\" y=\"{}\">{}</text></g>",
        colour(peer),
        left + 18,
        top + 21,
        left + 34,
        top + 26,
        escape(&shortened(&name, letters)),
        left + 14,
        top + 49,
        escape(&shortened(&address, long)),
        left + 14,
        top + 71,
        escape(&shortened(state, long)),
    );
}

fn shortened(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(max - 1).collect();
    out.push('\u{2026}');
    out
}

/// Names come from peers: nothing in them may be markup.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
