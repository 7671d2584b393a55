//! *System > Security certificates*: this system's own, and its renewal.

use std::net::IpAddr;

use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::guard::{Caller, refuse};
use super::openapi::Refusals;
use super::record::{Done, Why};
use super::{Web, pages};
use crate::node::serve::node::hex;
use crate::node::serve::renewal::RenewError;
use crate::node::units;
use crate::tls::Facts;

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
    let moment = |seconds: i64| units::utc(u64::try_from(seconds).unwrap_or(0) * 1000);
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
#[derive(Serialize, ToSchema)]
struct Renewal {
    /// SHA-256 of the one that is announced, in hexadecimal digits.
    next: Option<String>,
    /// SHA-256 of the one that is still taken.
    former: Option<String>,
    /// Those whose tunnel stands.
    peers: Vec<Told>,
}

/// Whether a peer knows what is presented.
#[derive(Serialize, ToSchema)]
struct Told {
    #[schema(value_type = String)]
    address: IpAddr,
    told: bool,
}

fn renewal(web: &Web) -> Renewal {
    let identities = web.node.identities.borrow();
    let ours = identities.presented();
    let tunnels = web.node.tunnels.borrow().clone().unwrap_or_default();
    let peers = tunnels.iter().filter(|peer| peer.state.is_up());
    let peers = peers.map(|peer| Told {
        address: peer.address,
        told: peer.told == Some(ours),
    });
    Renewal {
        next: identities.next().map(|digest| hex(&digest)),
        former: identities.former().map(|digest| hex(&digest)),
        peers: peers.collect(),
    }
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

/// This system's certificate.
#[derive(Serialize, ToSchema)]
struct Own {
    #[serde(flatten)]
    facts: Facts,
    #[serde(flatten)]
    renewal: Renewal,
}

#[utoipa::path(
    get,
    path = "/api/v1/certificate",
    summary = "This system's certificate, and how far its renewal is",
    responses((status = 200, description = "As it is now", body = Own), Refusals)
)]
pub(super) async fn api_show(State(web): State<Web>) -> Response {
    let Some(facts) = web.node.identity().facts() else {
        return unreadable();
    };
    let renewal = renewal(&web);
    Json(Own { facts, renewal }).into_response()
}

/// A renewal has begun.
#[derive(Serialize, ToSchema)]
struct Renewing {
    /// SHA-256 of the next certificate, in hexadecimal digits.
    next: String,
}

#[utoipa::path(
    post,
    path = "/api/v1/certificate/renew",
    summary = "Makes the next certificate, announces it to the peers, and then presents it",
    responses((status = 200, description = "Begun", body = Renewing), Refusals)
)]
pub(super) async fn api_renew(State(web): State<Web>) -> Response {
    match begin(&web).await {
        Ok((next, done)) => done.with(Json(Renewing { next })),
        Err((status, why)) => refuse(status, &why),
    }
}
