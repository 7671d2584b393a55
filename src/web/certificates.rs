//! *System > Security certificates*: this system's own, and its renewal.

use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::guard::{Caller, refuse};
use super::record::{Done, Why};
use super::{Web, pages};
use crate::node::serve::node::hex;
use crate::node::serve::renewal::RenewError;

/// The routes.
pub fn router() -> Router<Web> {
    Router::new()
        .route("/system/certificates", get(show))
        .route("/system/certificates/renew", post(renew))
        .route("/system/certificates/server.pem", get(download))
}

/// The REST part, below `/api/v1`.
pub fn api() -> Router<Web> {
    Router::new()
        .route("/certificate", get(api_show))
        .route("/certificate/renew", post(api_renew))
}

async fn show(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    page(&web, &caller, None)
}

fn page(web: &Web, caller: &Caller, problem: Option<&str>) -> Response {
    let Some(own) = web.node.identity().facts() else {
        return unreadable();
    };
    let moment = |seconds: i64| pages::utc(u64::try_from(seconds).unwrap_or(0) * 1000);
    let context = json!({
        "title": "Security certificates", "from": moment(own.not_before),
        "until": moment(own.not_after), "own": own, "start": started(),
        "ike": web.node.view().certificates, "renewal": renewal(web), "problem": problem,
    });
    pages::page(web, caller, "certificates.html", "certificates", context)
}

fn unreadable() -> Response {
    let words = "the certificate of this system cannot be read";
    refuse(StatusCode::INTERNAL_SERVER_ERROR, words)
}

/// What was judged before this system ran, in words.
fn started() -> String {
    match crate::sys::efi::start() {
        Ok(start) => start.words().to_owned(),
        Err(error) => format!("The firmware's variables cannot be read: {error}"),
    }
}

async fn download(State(web): State<Web>) -> Response {
    let Some(own) = web.node.identity().facts() else {
        return unreadable();
    };
    let head = [
        (header::CONTENT_TYPE, "application/x-pem-file"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"server.pem\"",
        ),
    ];
    (head, own.pem).into_response()
}

/// How far a renewal is, and which peers know what is presented.
fn renewal(web: &Web) -> Value {
    let identities = web.node.identities.borrow();
    let ours = identities.presented();
    let tunnels = web.node.tunnels.borrow().clone().unwrap_or_default();
    let peers = tunnels.iter().filter(|peer| peer.state.is_up());
    let peers =
        peers.map(|peer| json!({ "address": peer.address, "told": peer.told == Some(ours) }));
    json!({
        "next": identities.next().map(|digest| hex(&digest)),
        "former": identities.former().map(|digest| hex(&digest)),
        "peers": peers.collect::<Vec<_>>(),
    })
}

/// Begins a renewal: the next certificate's digest, and the line of the event log.
async fn begin(web: &Web) -> Result<(String, Done), (StatusCode, String)> {
    let node = web.node.clone();
    match tokio::task::spawn_blocking(move || node.renew()).await {
        Ok(Ok(digest)) => {
            let text = "Renewal of this system's certificate asked for";
            Ok((hex(&digest), Done::change(text, "", hex(&digest))))
        }
        Ok(Err(error @ RenewError::UnderWay)) => {
            Err((StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
        }
        Ok(Err(error)) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        Err(_) => {
            let words = "an internal task failed".to_owned();
            Err((StatusCode::INTERNAL_SERVER_ERROR, words))
        }
    }
}

async fn renew(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    match begin(&web).await {
        Ok((_, done)) => done.then("/system/certificates"),
        Err((status, why)) => {
            let shown = page(&web, &caller, Some(&why));
            (status, Extension(Why(why)), shown).into_response()
        }
    }
}

#[utoipa::path(
    get,
    path = "/api/v1/certificate",
    summary = "This system's certificate, and how far its renewal is",
    responses(super::openapi::Answers)
)]
pub(super) async fn api_show(State(web): State<Web>) -> Response {
    let Some(own) = web.node.identity().facts() else {
        return unreadable();
    };
    let mut shown = json!(own);
    if let (Value::Object(shown), Value::Object(renewal)) = (&mut shown, renewal(&web)) {
        shown.extend(renewal);
    }
    Json(shown).into_response()
}

#[utoipa::path(
    post,
    path = "/api/v1/certificate/renew",
    summary = "Makes the next certificate, announces it to the peers, and then presents it",
    responses(super::openapi::Answers)
)]
pub(super) async fn api_renew(State(web): State<Web>) -> Response {
    match begin(&web).await {
        Ok((digest, done)) => done.with(Json(json!({ "next": digest }))),
        Err((status, why)) => refuse(status, &why),
    }
}
