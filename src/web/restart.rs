//! *Maintenance > Restart options*: Restart, Reboot, Shutdown, each confirmed with what it
//! interrupts.

use axum::Json;
use axum::Router;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::guard::{Caller, refuse};
use super::openapi::Refusals;
use super::record::{Done, Why};
use super::{Web, pages};
use crate::node::serve::host;
use crate::settings::message::HostRequest;

/// One of the three.
struct Act {
    id: &'static str,
    label: &'static str,
    effect: &'static str,
    peers: &'static str,
    begun: &'static str,
    seconds: u32,
}

const ACTS: [Act; 3] = [
    Act {
        id: "restart",
        label: "Restart",
        effect: "Restarts database, replication and web of this system. Web and REST are away for \
                 a few seconds; tunnels to other peers stay up.",
        peers: "replication pauses for a few seconds and catches up by itself.",
        begun: "The service is restarting. This page returns to the login by itself.",
        seconds: 4,
    },
    Act {
        id: "reboot",
        label: "Reboot",
        effect: "Restarts the machine. Everything of this system is away for about a minute.",
        peers: "shows this system as Unreachable meanwhile; what is changed there is fetched \
                afterwards.",
        begun: "The machine is rebooting. This page returns to the login by itself.",
        seconds: 60,
    },
    Act {
        id: "shutdown",
        label: "Shutdown",
        effect: "Switches the machine off. It comes back only by its power button or its \
                 hypervisor.",
        peers: "shows this system as Unreachable until it is switched on again; its log is kept \
                for this system meanwhile.",
        begun: "The machine is switching itself off.",
        seconds: 3_600,
    },
];

/// The routes.
pub fn router() -> Router<Web> {
    Router::new()
        .route("/maintenance/restart", get(choose).post(restart))
        .route("/maintenance/restart/{act}", get(confirm).post(perform))
}

/// The REST part, below `/api/v1`.
pub fn api() -> Router<Web> {
    Router::new()
        .route("/restart", post(api_restart))
        .route("/reboot", post(api_reboot))
        .route("/shutdown", post(api_shutdown))
}

fn shown(act: &Act) -> Value {
    json!({
        "id": act.id, "label": act.label, "effect": act.effect, "peers": act.peers,
        "path": format!("/maintenance/restart/{}", act.id),
    })
}

fn page(web: &Web, caller: &Caller, mut context: Value) -> Response {
    context["title"] = "Restart options".into();
    pages::page(web, caller, "restart.html", "restart", context)
}

async fn choose(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    let acts = ACTS.iter().map(shown).collect::<Vec<_>>();
    page(&web, &caller, json!({ "acts": acts }))
}

fn by_name(name: &str) -> Option<&'static Act> {
    ACTS.iter().find(|act| act.id == name)
}

async fn confirm(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    let Some(act) = by_name(&name).filter(|_| !caller.reads_only) else {
        return pages::not_found().await;
    };
    let view = web.node.view();
    let other = |peer: &&_| {
        let peer: &crate::node::serve::node::PeerView = peer;
        peer.address.is_some() && !peer.own
    };
    let peers: Vec<_> = view.peers.iter().filter(other).collect();
    let behind: u64 = peers.iter().map(|peer| peer.behind).sum();
    let context = json!({
        "asked": shown(act), "sessions": web.sessions.open(), "peers": peers,
        "catching_up": behind,
    });
    page(&web, &caller, context)
}

/// The button of the printed procedure, for those who send the form themselves.
async fn restart(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    perform(State(web), Extension(caller), Path("restart".into())).await
}

async fn perform(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    let Some(act) = by_name(&name) else {
        return pages::not_found().await;
    };
    match begin(&web, act).await {
        Ok(done) => {
            let begun = json!({ "text": act.begun, "seconds": act.seconds });
            done.with(page(&web, &caller, json!({ "begun": begun })))
        }
        Err(problem) => {
            let acts = ACTS.iter().map(shown).collect::<Vec<_>>();
            let shown = page(&web, &caller, json!({ "acts": acts, "problem": &problem }));
            let status = StatusCode::SERVICE_UNAVAILABLE;
            (status, Extension(Why(problem)), shown).into_response()
        }
    }
}

async fn begin(web: &Web, act: &Act) -> Result<Done, String> {
    match act.id {
        "reboot" => host::perform(&web.node, HostRequest::Reboot).await?,
        "shutdown" => host::perform(&web.node, HostRequest::PowerOff).await?,
        _ => {
            web.node.stop.send_replace(true);
        }
    }
    Ok(Done::change(format!("{} asked for", act.label), "", ""))
}

/// It has begun.
#[derive(Serialize, ToSchema)]
struct Begun {
    /// True.
    restarting: bool,
    /// `restart`, `reboot` or `shutdown`.
    what: &'static str,
}

async fn api_act(web: &Web, name: &str) -> Response {
    let Some(act) = by_name(name) else {
        return pages::not_found().await;
    };
    match begin(web, act).await {
        Ok(done) => done.with(Json(Begun {
            restarting: true,
            what: act.id,
        })),
        Err(why) => refuse(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

#[utoipa::path(
    post,
    path = "/api/v1/restart",
    summary = "Restarts the service",
    responses((status = 200, description = "Begun", body = Begun), Refusals)
)]
async fn api_restart(State(web): State<Web>) -> Response {
    api_act(&web, "restart").await
}

#[utoipa::path(
    post,
    path = "/api/v1/reboot",
    summary = "Restarts the machine",
    responses((status = 200, description = "Begun", body = Begun), Refusals)
)]
async fn api_reboot(State(web): State<Web>) -> Response {
    api_act(&web, "reboot").await
}

#[utoipa::path(
    post,
    path = "/api/v1/shutdown",
    summary = "Switches the machine off",
    responses((status = 200, description = "Begun", body = Begun), Refusals)
)]
async fn api_shutdown(State(web): State<Web>) -> Response {
    api_act(&web, "shutdown").await
}
