//! *Status > Overview* and *Status > Cluster*; `/metrics`, and prerequisites by REST.

use std::fmt::Write;

use axum::extract::{Extension, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::guard::Caller;
use super::openapi::Refusals;
use super::{Web, api, pages, picture, plot, rows};
use crate::cluster::Check;
use crate::node::serve::host;
use crate::node::serve::node::{ClusterView, Proof, VERSION, now_ms};

/// The routes.
pub fn router() -> Router<Web> {
    Router::new()
        .route("/status/overview", get(overview))
        .route("/status/cluster", get(cluster))
        .route("/metrics", get(metrics))
}

/// The REST part, below `/api/v1`.
pub fn api() -> Router<Web> {
    Router::new().route("/prerequisites", get(api_prerequisites))
}

/// What clustering needs, as it stands now.
pub async fn prerequisites(web: &Web) -> Vec<Check> {
    // Where the settings cannot be read, the checks say so.
    let system = host::settings(&web.node).await.ok();
    web.node.prerequisites(system.as_ref())
}

/// What clustering needs.
#[derive(Serialize, ToSchema)]
struct Prerequisites {
    prerequisites: Vec<Check>,
}

#[utoipa::path(
    get,
    path = "/api/v1/prerequisites",
    summary = "What clustering needs, and how it stands",
    responses(
        (status = 200, description = "From here, and as peers see it", body = Prerequisites),
        Refusals,
    )
)]
async fn api_prerequisites(State(web): State<Web>) -> Json<Prerequisites> {
    Json(Prerequisites {
        prerequisites: prerequisites(&web).await,
    })
}

/// The prerequisites for a page: this system's, then for each peer what is seen of it from here,
/// what it says of itself, and what it sees of this system.
pub fn grouped(all: &[Check], view: &ClusterView) -> Vec<Value> {
    let part = |peer: Option<u8>, by: Option<u8>| {
        let of_part = all
            .iter()
            .filter(|check| (check.peer, check.by) == (peer, by));
        of_part.map(|check| json!(check)).collect::<Vec<_>>()
    };
    let parts = |shown: [(&str, Vec<Value>); 3]| {
        let filled = shown.into_iter().filter(|(_, checks)| !checks.is_empty());
        let part = |(title, checks)| json!({ "title": title, "checks": checks });
        filled.map(part).collect::<Vec<_>>()
    };
    let own = [("", part(None, None)), ("", vec![]), ("", vec![])];
    let mut groups = vec![json!({ "title": "This system", "parts": parts(own) })];
    for peer in view
        .peers
        .iter()
        .filter(|peer| peer.address.is_some() && !peer.own)
    {
        let name = peer
            .name
            .clone()
            .unwrap_or_else(|| format!("Peer {}", peer.field));
        let address = peer.address.map(|address| address.to_string());
        let field = Some(peer.field);
        let shown = [
            ("Seen from this system", part(field, None)),
            ("It says of itself", part(field, field)),
            ("It sees of this system", part(None, field)),
        ];
        groups.push(json!({ "title": name, "address": address, "parts": parts(shown) }));
    }
    groups
}

/// The plots of the last hour.
fn plots(web: &Web, view: &ClusterView) -> Value {
    let samples = web.node.history.samples();
    let now = now_ms();
    json!({
        "rate": plot::rate(&samples, now),
        "lag": plot::lag(&samples, &view.peers, now),
        "legend": plot::legend(&view.peers),
    })
}

async fn overview(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    let found = api::blocking(&web, |store| {
        Ok((
            rows::visible(store)?,
            store.conflicts(100)?.len(),
            store.frontier_summary().1,
        ))
    });
    let (tables, conflicts, transactions) = match found.await {
        Ok(found) => found,
        Err(response) => return response,
    };
    let view = web.node.view();
    let context = json!({
        "title": "Overview",
        "picture": picture::cluster(&view),
        "plots": plots(&web, &view),
        "cluster": view,
        "addresses": web.node.own(),
        "tables": tables.len(),
        "rows": tables.iter().map(|table| table.rows).sum::<u64>(),
        "conflicts": conflicts,
        "transactions": transactions,
    });
    pages::page(&web, &caller, "overview.html", "overview", context)
}

/// What the last comparison of all rows found, in words.
fn compared(proof: &Proof) -> String {
    let at = pages::utc(proof.at_ms);
    let (rows, repaired, unclear) = (proof.differing, proof.repaired, proof.unclear);
    match (proof.identical, rows) {
        (true, _) => format!("identical through {at}"),
        (false, 0) => format!("no difference in the part that was compared at {at}"),
        _ => format!("{rows} differed at {at}: {repaired} repaired here, {unclear} unclear"),
    }
}

async fn cluster(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    let view = web.node.view();
    let checks = prerequisites(&web).await;
    let mut peers = Vec::new();
    for peer in view.peers.iter().filter(|peer| peer.address.is_some()) {
        let mut shown = json!(peer);
        shown["received"] = picture::octets(peer.octets.0).into();
        shown["sent"] = picture::octets(peer.octets.1).into();
        shown["compared"] = peer.proof.as_ref().map(compared).into();
        shown["advice"] = peer.state.as_ref().and_then(crate::cluster::advice).into();
        peers.push(shown);
    }
    let context = json!({
        "title": "Cluster", "picture": picture::cluster(&view), "plots": plots(&web, &view),
        "peers": peers, "groups": grouped(&checks, &view), "standing": view.standing,
        "id": view.id,
    });
    pages::page(&web, &caller, "cluster.html", "cluster", context)
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
    fn(&crate::node::serve::node::PeerView) -> Option<f64>,
);

fn per_peer(out: &mut String, view: &ClusterView) {
    let families: [Family; 7] = [
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

/// A label's value, escaped as the format wants it.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
