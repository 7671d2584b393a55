//! Server-sent events: one line whenever anything visible changed.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::Web;

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

/// `GET /events`.
pub async fn stream(State(web): State<Web>) -> Response {
    let (sender, receiver) = mpsc::channel(1);
    let mut changed = web.node.changed.subscribe();
    tokio::spawn(async move {
        loop {
            let line = match tokio::time::timeout(IDLE, changed.changed()).await {
                Ok(Ok(())) => "data: changed\n\n",
                Ok(Err(_)) => return,
                Err(_) => ": still here\n\n",
            };
            if sender.send(line).await.is_err() {
                return;
            }
            tokio::time::sleep(PACE).await;
        }
    });
    (
        [(header::CONTENT_TYPE, "text/event-stream")],
        Body::new(Lines(receiver)),
    )
        .into_response()
}
