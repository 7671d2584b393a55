//! `/healthz`: whether this system can do its work, for a load balancer or a watcher. Anybody may
//! ask, so it says what is wrong and nothing else of this system.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};

use super::Web;
use crate::store::Store;

/// The route; no guard stands before it.
pub fn router() -> Router<Web> {
    Router::new().route("/healthz", get(healthz))
}

/// What keeps a store from its work.
fn trouble(store: &Store) -> Option<&'static str> {
    if store.damage().borrow().is_some() {
        return Some("the database is damaged on the disk");
    }
    store.refused().map(|_| "the database takes no writes")
}

#[utoipa::path(
    get,
    path = "/healthz",
    summary = "Whether this system can do its work; needs no login",
    security(()),
    responses(
        (status = 200, description = "It can: `ok`", body = String, content_type = "text/plain"),
        (status = 503, description = "It cannot: why", body = String, content_type = "text/plain"),
    )
)]
async fn healthz(State(web): State<Web>) -> Response {
    match trouble(&web.node.store) {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}
