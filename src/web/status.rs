//! *Status > Overview* and *Status > Cluster*; prerequisites by REST.

use axum::extract::{Extension, State};
use axum::response::Response;
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
use crate::node::serve::node::{ClusterView, Proof, now_ms};
use crate::node::tunnel::TunnelView;
use crate::node::units;

/// The routes.
pub fn router() -> Router<Web> {
    Router::new()
        .route("/status/overview", get(overview))
        .route("/status/cluster", get(cluster))
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
    let at = units::utc(proof.at_ms);
    let (rows, repaired, unclear) = (proof.differing, proof.repaired, proof.unclear);
    match (proof.identical, rows) {
        (true, _) => format!("identical through {at}"),
        (false, 0) => format!("no difference in the part that was compared at {at}"),
        _ => format!("{rows} differed at {at}: {repaired} repaired here, {unclear} unclear"),
    }
}

/// How a tunnel is keyed and what passed by it, as rows of a page.
fn keyed(tunnel: &TunnelView) -> Value {
    let since = format!("{}, since {} UTC", tunnel.state, tunnel.since());
    json!({ "since": since, "details": tunnel.details() })
}

async fn cluster(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    let view = web.node.view();
    let checks = prerequisites(&web).await;
    let mut peers = Vec::new();
    for peer in view.peers.iter().filter(|peer| peer.address.is_some()) {
        let mut shown = json!(peer);
        shown["received"] = units::octets(peer.octets.0).into();
        shown["sent"] = units::octets(peer.octets.1).into();
        shown["keyed"] = peer.tunnel_status.as_ref().map(keyed).into();
        shown["compared"] = peer.proof.as_ref().map(compared).into();
        shown["advice"] = peer.state.as_ref().and_then(crate::cluster::advice).into();
        peers.push(shown);
    }
    let dropped = web.node.dropped.borrow().map(|all| all.words());
    let context = json!({
        "title": "Cluster", "picture": picture::cluster(&view), "plots": plots(&web, &view),
        "peers": peers, "groups": grouped(&checks, &view), "standing": view.standing,
        "id": view.id, "dropped": dropped,
    });
    pages::page(&web, &caller, "cluster.html", "cluster", context)
}
