//! The cluster as a picture: an inline SVG of the peers and the AH links between them.

use std::fmt::Write;

use crate::cluster::Colour;
use crate::node::serve::node::{ClusterView, PeerView};

/// Where one, two or three peers stand.
const PLACES: [&[(i32, i32)]; 3] = [
    &[(320, 130)],
    &[(150, 130), (490, 130)],
    &[(320, 62), (120, 232), (520, 232)],
];

/// Draws the peers that have an address. Links between two others are theirs to show; here each
/// link starts at this system.
pub fn cluster(view: &ClusterView) -> String {
    let peers: Vec<&PeerView> = view
        .peers
        .iter()
        .filter(|peer| peer.address.is_some())
        .collect();
    let Some(places) = peers
        .len()
        .checked_sub(1)
        .and_then(|index| PLACES.get(index))
    else {
        return String::new();
    };
    let own = peers.iter().position(|peer| is_own(peer)).unwrap_or(0);
    let mut svg = String::from(
        "<svg class=\"cluster\" viewBox=\"0 0 640 300\" role=\"img\" \
         aria-label=\"The peers and the tunnels between them\">",
    );
    for (index, peer) in peers.iter().enumerate() {
        if index != own {
            link(&mut svg, places[own], places[index], peer);
        }
    }
    for (index, a) in places.iter().enumerate() {
        for (other, b) in places.iter().enumerate().skip(index + 1) {
            if index != own && other != own {
                let _ = write!(
                    svg,
                    "<line class=\"far\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>",
                    a.0, a.1, b.0, b.1
                );
            }
        }
    }
    for (peer, place) in peers.iter().zip(places.iter()) {
        node(&mut svg, *place, peer);
    }
    svg.push_str("</svg>");
    svg
}

fn is_own(peer: &PeerView) -> bool {
    peer.state
        .as_ref()
        .is_some_and(|state| state.text == "This system")
}

fn colour(peer: &PeerView) -> &'static str {
    match peer.state.as_ref().map(|state| state.colour) {
        Some(Colour::Green) => "green",
        Some(Colour::Amber) => "amber",
        _ => "red",
    }
}

fn link(svg: &mut String, a: (i32, i32), b: (i32, i32), peer: &PeerView) {
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
    let (x, y) = ((a.0 + b.0) / 2, (a.1 + b.1) / 2);
    let label = match (peer.tunnel, peer.round_trip_ms) {
        (true, Some(ms)) if ms < 0.1 => "AH \u{b7} &lt; 0.1 ms".to_owned(),
        (true, Some(ms)) => format!("AH \u{b7} {ms:.1} ms"),
        (true, None) => "AH".to_owned(),
        (false, _) => "no tunnel".to_owned(),
    };
    let width = 16 + 8 * label.replace("&lt;", "<").chars().count() as i32;
    let _ = write!(
        svg,
        "<rect class=\"tag\" x=\"{}\" y=\"{}\" width=\"{width}\" height=\"24\" rx=\"12\"/>\
         <text class=\"tag\" x=\"{x}\" y=\"{}\">{label}</text>",
        x - width / 2,
        y - 12,
        y + 5
    );
}

fn node(svg: &mut String, (x, y): (i32, i32), peer: &PeerView) {
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
    let own = if is_own(peer) { " own" } else { "" };
    let _ = write!(
        svg,
        "<g class=\"peer {}{own}\"><rect x=\"{}\" y=\"{}\" width=\"200\" height=\"84\" rx=\"10\"/>\
         <circle cx=\"{}\" cy=\"{}\" r=\"6\"/><text class=\"name\" x=\"{}\" y=\"{}\">{}</text>\
         <text class=\"address\" x=\"{}\" y=\"{}\">{}</text>\
         <text class=\"state\" x=\"{}\" y=\"{}\">{}</text></g>",
        colour(peer),
        x - 100,
        y - 42,
        x - 82,
        y - 21,
        x - 66,
        y - 16,
        escape(&shortened(&name, 18)),
        x - 86,
        y + 7,
        escape(&shortened(&address, 26)),
        x - 86,
        y + 29,
        escape(&shortened(state, 26)),
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
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
