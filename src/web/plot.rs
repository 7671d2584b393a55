//! The last hour as plots: server-made SVG, no scripts.

use std::fmt::Write;

use crate::node::serve::node::PeerView;
use crate::node::serve::traffic::{PERIOD, Sample};

/// The plot's size and the margins for its figures.
const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 26.0;
/// What it shows, in milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// One line: the class that colours it, its name, its points by moment.
struct Series {
    class: &'static str,
    name: String,
    points: Vec<(u64, f64)>,
}

/// Classes of the lines, in the order of the peer fields.
const CLASSES: [&str; 3] = ["a", "b", "c"];

/// Transactions applied here, per second.
pub fn rate(samples: &[Sample], now_ms: u64) -> String {
    let points = samples.windows(2).map(|pair| {
        let ms = pair[1].at_ms.saturating_sub(pair[0].at_ms).max(1);
        let count = pair[1].transactions.saturating_sub(pair[0].transactions);
        (pair[1].at_ms, count as f64 * 1000.0 / ms as f64)
    });
    let series = Series {
        class: "a",
        name: "this system".into(),
        points: points.collect(),
    };
    draw("Transactions per second", &[series], now_ms)
}

/// How many changes each peer, or we to it, are behind.
pub fn lag(samples: &[Sample], peers: &[PeerView], now_ms: u64) -> String {
    let mut all = Vec::new();
    for (peer, class) in peers.iter().zip(CLASSES) {
        let Some(address) = peer.address.filter(|_| !peer.own) else {
            continue;
        };
        let of_peer = |sample: &Sample| {
            let found = sample.peers.iter().find(|one| one.0 == address)?;
            Some((sample.at_ms, found.1 as f64))
        };
        all.push(Series {
            class,
            name: peer.name.clone().unwrap_or_else(|| address.to_string()),
            points: samples.iter().filter_map(of_peer).collect(),
        });
    }
    draw("Changes behind", &all, now_ms)
}

/// A round figure at or above the highest.
fn ceiling(highest: f64) -> f64 {
    if highest <= 1.0 {
        return 1.0;
    }
    let unit = 10f64.powf(highest.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let found = steps.into_iter().find(|step| step * unit >= highest);
    found.unwrap_or(10.0) * unit
}

fn draw(title: &str, all: &[Series], now_ms: u64) -> String {
    let start = now_ms.saturating_sub(HOUR_MS);
    let values = all.iter().flat_map(|series| &series.points);
    let highest = values.map(|point| point.1).fold(0.0, f64::max);
    let top = ceiling(highest);
    let x = |at: u64| {
        let share = at.saturating_sub(start) as f64 / HOUR_MS as f64;
        LEFT + share.min(1.0) * (WIDTH - LEFT - RIGHT)
    };
    let y = |value: f64| HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
    let latest = |series: &Series| {
        let last = series.points.last().map_or(0.0, |point| point.1);
        format!("{} {}", escape(&series.name), figure(last))
    };
    let now: Vec<String> = all.iter().map(latest).collect();
    let label = format!(
        "{title} over the last hour: now {}, highest {}",
        now.join(", "),
        figure(highest)
    );
    let mut svg = format!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">"
    );
    for share in [0.0, 0.5, 1.0] {
        let (at, value) = (y(top * share), figure(top * share));
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"end\" x=\"{}\" y=\"{:.1}\">{value}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0
        );
    }
    for minutes in [60u64, 40, 20, 0] {
        let words = match minutes {
            0 => "now".to_owned(),
            some => format!("\u{2212}{some} min"),
        };
        let class = match minutes {
            0 => "end",
            60 => "start",
            _ => "middle",
        };
        let at = x(now_ms.saturating_sub(minutes * 60_000));
        let _ = write!(
            svg,
            "<text class=\"{class}\" x=\"{at:.1}\" y=\"{}\">{words}</text>",
            HEIGHT - 6.0
        );
    }
    for series in all {
        line(&mut svg, series, start, &x, &y);
    }
    svg.push_str("</svg>");
    svg
}

/// One line, broken where nothing was measured.
fn line(
    svg: &mut String,
    series: &Series,
    start: u64,
    x: &dyn Fn(u64) -> f64,
    y: &dyn Fn(f64) -> f64,
) {
    let gap_ms = 3 * PERIOD.as_millis() as u64;
    let mut path = String::new();
    let mut last: Option<u64> = None;
    for (at, value) in series.points.iter().filter(|point| point.0 >= start) {
        let joined = last.is_some_and(|last| at.saturating_sub(last) <= gap_ms);
        let sign = if joined { 'L' } else { 'M' };
        let _ = write!(path, "{sign}{:.1} {:.1}", x(*at), y(*value));
        last = Some(*at);
    }
    if !path.is_empty() {
        let _ = write!(svg, "<path class=\"{}\" d=\"{path}\"/>", series.class);
    }
}

/// The names of the lines, as a legend.
pub fn legend(peers: &[PeerView]) -> Vec<(&'static str, String)> {
    let all = peers.iter().zip(CLASSES);
    let others = all.filter(|(peer, _)| peer.address.is_some() && !peer.own);
    let name = |peer: &PeerView| {
        let address = peer.address.map(|address| address.to_string());
        peer.name.clone().or(address).unwrap_or_default()
    };
    others.map(|(peer, class)| (class, name(peer))).collect()
}

fn figure(value: f64) -> String {
    match value {
        v if v >= 10_000.0 => format!("{:.0}k", v / 1000.0),
        v if v >= 10.0 || v.fract() == 0.0 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}

fn escape(text: &str) -> String {
    super::picture::escape(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_ms: u64, transactions: u64) -> Sample {
        Sample {
            at_ms,
            transactions,
            peers: Vec::new(),
        }
    }

    #[test]
    fn a_gap_breaks_the_line_and_the_scale_is_round() {
        let samples = [
            (0, 0),
            (10_000, 70),
            (20_000, 70),
            (90_000, 80),
            (100_000, 80),
        ];
        let samples = samples.map(|(at, count)| sample(at, count));
        let svg = rate(&samples, 120_000);
        let path = svg.split_once("d=\"").unwrap().1.split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert!(svg.contains(">10<"), "{svg}");
        assert_eq!(ceiling(7.0), 10.0);
        assert_eq!(ceiling(130.0), 200.0);
        assert_eq!(figure(0.7), "0.7");
    }
}
