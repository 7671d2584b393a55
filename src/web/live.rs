//! Server-sent events: one line whenever anything visible changed, or one table's rows did.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{Origin, Web, guard};

/// At most one event in this time, however busy replication is.
const PACE: Duration = Duration::from_millis(400);
/// A comment after this long, so that closed connections are noticed.
const IDLE: Duration = Duration::from_secs(20);

struct Lines(mpsc::Receiver<&'static str>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let line = self.0.poll_recv(context);
        line.map(|line| line.map(|line| Ok(Frame::data(Bytes::from_static(line.as_bytes())))))
    }
}

#[derive(Deserialize)]
pub struct Wanted {
    table: Option<String>,
    log: Option<String>,
}

/// Whoever listens.
struct Listener {
    web: Web,
    origin: Origin,
    headers: HeaderMap,
    sender: mpsc::Sender<&'static str>,
}

/// `GET /events`; `GET /events?table=NAME` for what changes that table; `GET /events?log=1` for new
/// lines of the event log.
pub async fn stream(
    State(web): State<Web>,
    Extension(origin): Extension<Origin>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Response {
    let (sender, receiver) = mpsc::channel(1);
    let listener = Listener {
        web: web.clone(),
        origin,
        headers,
        sender,
    };
    match wanted.table {
        Some(name) => {
            let mut feed = web.node.store.subscribe(&[&name]);
            // Lagging or not, the page is read anew.
            tokio::spawn(async move { while listener.tell(feed.next()).await {} });
        }
        None => {
            let of = match wanted.log {
                Some(_) => &web.node.logged,
                None => &web.node.changed,
            };
            let mut changed = of.subscribe();
            let mut next = async move || changed.changed().await.ok();
            tokio::spawn(async move { while listener.tell(next()).await {} });
        }
    }
    (
        [(header::CONTENT_TYPE, "text/event-stream")],
        Body::new(Lines(receiver)),
    )
        .into_response()
}

impl Listener {
    /// Passes one event on; `false` once either side has ended, or may not listen any more.
    async fn tell<T>(&self, next: impl Future<Output = Option<T>>) -> bool {
        let line = match tokio::time::timeout(IDLE, next).await {
            Ok(Some(_)) => "data: changed\n\n",
            Ok(None) => return false,
            Err(_) => ": still here\n\n",
        };
        if !guard::may_listen(&self.web, self.origin, &self.headers).await
            || self.sender.send(line).await.is_err()
        {
            return false;
        }
        tokio::time::sleep(PACE).await;
        true
    }
}
