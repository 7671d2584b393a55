//! HTTPS: pages, REST and static assets.
//!
//! Pages are made on the server and work without scripts; one small script refreshes what changes.
//! Who calls is settled in `guard` before any handler runs.

mod accounts;
mod api;
mod certificates;
mod cluster_page;
mod conflicts;
mod guard;
mod health;
mod live;
mod log_page;
mod logging;
mod metrics;
mod network;
mod openapi;
mod pages;
mod picture;
mod plot;
mod record;
mod restart;
mod rows;
mod session;
mod status;
mod system_pages;
mod tables_api;
mod tables_page;
#[cfg(test)]
mod tests;
mod tokens;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::node::serve::node::Node;
use session::Sessions;

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The network.
    Remote(IpAddr),
    /// The local socket, and the user at its other end.
    Local(u32),
}

/// What counts as one source: an address of IPv4, the /64 of one of IPv6, for a host has all of it.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

/// What all handlers share.
#[derive(Clone)]
pub struct Web {
    node: Arc<Node>,
    sessions: Arc<Sessions>,
    patience: Duration,
    rates: Arc<tokens::Rates>,
    templates: Arc<minijinja::Environment<'static>>,
}

/// Longest ordinary request body; only an import may be longer.
const BODY_MAX: usize = 1024 * 1024;

/// All of it. Requests must carry an [`Origin`] as an extension.
pub fn router(node: Arc<Node>) -> Router {
    router_with(node, PATIENCE)
}

/// The same, with how long a request may take.
fn router_with(node: Arc<Node>, patience: Duration) -> Router {
    let web = Web {
        node,
        sessions: Arc::new(Sessions::default()),
        patience,
        rates: Arc::default(),
        templates: Arc::new(pages::templates()),
    };
    let guarded = pages::router()
        .merge(cluster_page::router())
        .merge(conflicts::router())
        .merge(tables_page::router())
        .merge(log_page::router())
        .merge(status::router())
        .merge(metrics::router())
        .merge(accounts::router())
        .merge(restart::router())
        .merge(system_pages::router())
        .merge(network::router())
        .merge(logging::router())
        .merge(certificates::router())
        .route("/events", get(live::stream))
        .nest("/api/v1", api::router())
        .route_layer(middleware::from_fn_with_state(web.clone(), guard::require));
    Router::new()
        .merge(guarded)
        .merge(session::router())
        .merge(health::router())
        .route("/static/style.css", get(style))
        .route("/static/live.js", get(script))
        .route("/static/icon.svg", get(icon))
        .fallback(pages::not_found)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn_with_state(web.clone(), paced))
        .layer(middleware::from_fn_with_state(web.clone(), record::record))
        .layer(middleware::map_response(headers))
        .with_state(web)
}

/// How long a request may take, its body included; only an import may take longer.
const PATIENCE: Duration = Duration::from_secs(120);
const IMPORT: &str = "/api/v1/tables/import";

/// Refuses a request that takes for ever, and a source that asks far more often than people and
/// programs do.
async fn paced(State(web): State<Web>, request: Request, next: Next) -> Response {
    match request.extensions().get::<Origin>() {
        Some(Origin::Remote(source)) if !web.rates.take(network(*source), Instant::now()) => {
            let retry = [(header::RETRY_AFTER, "1")];
            let words = "too many requests; ask more slowly";
            (retry, guard::refuse(StatusCode::TOO_MANY_REQUESTS, words)).into_response()
        }
        _ if request.uri().path() == IMPORT => next.run(request).await,
        _ => match tokio::time::timeout(web.patience, next.run(request)).await {
            Ok(response) => response,
            Err(_) => guard::refuse(
                StatusCode::REQUEST_TIMEOUT,
                "the request took too long to arrive or to be done",
            ),
        },
    }
}

async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("style.css"))
}

async fn script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("live.js"))
}

async fn icon() -> Response {
    asset("image/svg+xml", include_str!("icon.svg"))
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let cache = (header::CACHE_CONTROL, "public, max-age=300");
    ([(header::CONTENT_TYPE, kind), cache], text).into_response()
}

/// Headers of every response: nothing from elsewhere runs, nothing is framed, nothing is cached
/// that is not an asset.
async fn headers(mut response: Response) -> Response {
    let all = response.headers_mut();
    all.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
             img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
    );
    all.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    all.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    all.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    all.insert(
        header::STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=31536000"),
    );
    if !all.contains_key(header::CACHE_CONTROL) {
        all.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
