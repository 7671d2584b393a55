//! `/metrics`: figures for Prometheus.

use std::fmt::Write;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Web;
use super::openapi::Refusals;
use crate::node::serve::node::{ClusterView, PeerView, VERSION};
use crate::node::tunnel::TrafficView;
use crate::tunnel::message::Dropped;

/// The route.
pub fn router() -> Router<Web> {
    Router::new().route("/metrics", get(metrics))
}

#[utoipa::path(
    get,
    path = "/metrics",
    summary = "Figures in the text format of Prometheus",
    responses(
        (status = 200, description = "Families of `tutti_...`", body = String,
            content_type = "text/plain; version=0.0.4; charset=utf-8"),
        Refusals,
    )
)]
async fn metrics(State(web): State<Web>) -> Response {
    let (origins, transactions) = web.node.store.frontier_summary();
    let view = web.node.view();
    let (fresh, standing) = web.node.events.standing().unwrap_or_default();
    let time = web.node.time.borrow().clone();
    let synchronized = web
        .node
        .synchronized
        .load(std::sync::atomic::Ordering::Relaxed);
    let mut out = String::new();
    let mut one = |name: &str, kind: &str, help: &str, value: f64| {
        let _ = writeln!(
            out,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
        );
    };
    one(
        "tutti_transactions_total",
        "counter",
        "Transactions applied, of all origins",
        transactions as f64,
    );
    one(
        "tutti_origins",
        "gauge",
        "Incarnations whose transactions are held",
        origins as f64,
    );
    one(
        "tutti_alarms",
        "gauge",
        "Alarms that stand",
        standing as f64,
    );
    one(
        "tutti_alarms_unacknowledged",
        "gauge",
        "Alarms that nobody has seen",
        fresh as f64,
    );
    one(
        "tutti_sessions",
        "gauge",
        "Open web sessions",
        web.sessions.open() as f64,
    );
    one(
        "tutti_clock_synchronized",
        "gauge",
        "1 if the clock follows a server",
        f64::from(u8::from(synchronized)),
    );
    one(
        "tutti_clock_offset_seconds",
        "gauge",
        "Offset of the clock as chrony estimates it",
        time.offset_s,
    );
    one(
        "tutti_member",
        "gauge",
        "1 if this system is a member of a cluster",
        f64::from(u8::from(view.standing == "member")),
    );
    let _ = writeln!(
        out,
        "# HELP tutti_info This system\n# TYPE tutti_info gauge\n\
         tutti_info{{name=\"{}\",version=\"{VERSION}\"}} 1",
        label(&web.node.name)
    );
    per_peer(&mut out, &view);
    dropped(&mut out, web.node.dropped.borrow().as_ref());
    let kind = (
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    );
    ([kind], out).into_response()
}

/// One family: its name, its type, its help, and the value of a peer.
type Family = (
    &'static str,
    &'static str,
    &'static str,
    fn(&PeerView) -> Option<f64>,
);

/// A figure that the kernel counted, if it could be read.
fn counted(peer: &PeerView, figure: fn(&TrafficView) -> u64) -> Option<f64> {
    let traffic = peer.tunnel_status.as_ref()?.traffic.as_ref()?;
    Some(figure(traffic) as f64)
}

fn per_peer(out: &mut String, view: &ClusterView) {
    let families: [Family; 13] = [
        (
            "tutti_peer_active",
            "gauge",
            "1 if tunnel and replication are up",
            |peer| {
                let active =
                    |state: &crate::cluster::PeerState| state.text.starts_with("Active as");
                Some(f64::from(u8::from(peer.state.as_ref().is_some_and(active))))
            },
        ),
        ("tutti_peer_tunnel", "gauge", "1 if AH stands", |peer| {
            Some(f64::from(u8::from(peer.tunnel)))
        }),
        (
            "tutti_peer_behind",
            "gauge",
            "Changes still to send or take",
            |peer| Some(peer.behind as f64),
        ),
        (
            "tutti_peer_round_trip_seconds",
            "gauge",
            "Round-trip on the link",
            |peer| peer.round_trip_ms.map(|ms| ms / 1000.0),
        ),
        (
            "tutti_peer_clock_offset_seconds",
            "gauge",
            "How far its clock is ahead",
            |peer| peer.clock_offset_ms.map(|ms| ms as f64 / 1000.0),
        ),
        (
            "tutti_peer_received_bytes_total",
            "counter",
            "Replication received",
            |peer| Some(peer.octets.0 as f64),
        ),
        (
            "tutti_peer_sent_bytes_total",
            "counter",
            "Replication sent",
            |peer| Some(peer.octets.1 as f64),
        ),
        (
            "tutti_peer_ah_received_bytes_total",
            "counter",
            "IP packets received by AH",
            |peer| counted(peer, |traffic| traffic.received_bytes),
        ),
        (
            "tutti_peer_ah_received_packets_total",
            "counter",
            "Packets received by AH",
            |peer| counted(peer, |traffic| traffic.received_packets),
        ),
        (
            "tutti_peer_ah_sent_bytes_total",
            "counter",
            "IP packets sent by AH",
            |peer| counted(peer, |traffic| traffic.sent_bytes),
        ),
        (
            "tutti_peer_ah_sent_packets_total",
            "counter",
            "Packets sent by AH",
            |peer| counted(peer, |traffic| traffic.sent_packets),
        ),
        (
            "tutti_peer_ah_replays_total",
            "counter",
            "AH packets dropped as replays",
            |peer| counted(peer, |traffic| traffic.replays),
        ),
        (
            "tutti_peer_ah_integrity_failures_total",
            "counter",
            "AH packets dropped for a failed integrity check",
            |peer| counted(peer, |traffic| traffic.integrity_failures),
        ),
    ];
    for (name, kind, help, of) in families {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for peer in view.peers.iter().filter(|peer| !peer.own) {
            if let (Some(address), Some(value)) = (peer.address, of(peer)) {
                let field = peer.field;
                let _ = writeln!(
                    out,
                    "{name}{{peer=\"{field}\",address=\"{address}\"}} {value}"
                );
            }
        }
    }
}

/// Datagrams to UDP 500 that were dropped, while `ike` tells.
fn dropped(out: &mut String, all: Option<&Dropped>) {
    let name = "tutti_ike_dropped_total";
    let help = "Datagrams to UDP 500 that were dropped, by reason";
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
    for (reason, _, count) in all.iter().flat_map(|all| all.each()) {
        let _ = writeln!(out, "{name}{{reason=\"{reason}\"}} {count}");
    }
}

/// A label's value, escaped as the format wants it.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
