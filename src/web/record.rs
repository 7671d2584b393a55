//! Every request that changed something, or was refused, leaves one line in the event log. It is
//! written here, behind all handlers, so that no route can forget it; a handler only says more.

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{Extension, IntoResponse, Redirect, Response};

use super::guard::{Caller, refuse};
use super::{Origin, Web};
use crate::store::events::{Event, Kind, Level};

/// What a handler did, in an operator's words; an extension of its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    kind: Kind,
    who: Option<String>,
    text: String,
    before: String,
    after: String,
}

impl Done {
    /// A change, from what to what. Secrets are named, never shown.
    pub fn change(
        text: impl Into<String>,
        before: impl Into<String>,
        after: impl Into<String>,
    ) -> Self {
        Self {
            kind: Kind::Change,
            who: None,
            text: text.into(),
            before: before.into(),
            after: after.into(),
        }
    }

    /// A row written or deleted.
    pub fn row(
        text: impl Into<String>,
        before: impl Into<String>,
        after: impl Into<String>,
    ) -> Self {
        Self {
            kind: Kind::Row,
            ..Self::change(text, before, after)
        }
    }

    /// Somebody came or went.
    pub fn login(who: &str, text: impl Into<String>) -> Self {
        Self {
            kind: Kind::Login,
            who: Some(who.to_owned()),
            ..Self::change(text, "", "")
        }
    }

    /// Sends the browser on, having done it.
    pub fn then(self, to: &str) -> Response {
        self.with(Redirect::to(to))
    }

    /// An answer, having done it.
    pub fn with(self, answer: impl IntoResponse) -> Response {
        (Extension(self), answer).into_response()
    }
}

/// Why a request was refused; an extension of its response. Also of a page that shows again what
/// was typed with the reason beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why(pub String);

/// Where a request came from, for a line.
pub fn source(origin: Option<Origin>) -> String {
    match origin {
        Some(Origin::Remote(address)) => address.to_string(),
        Some(Origin::Local(_)) => "local socket".into(),
        None => String::new(),
    }
}

/// Writes the line of one request. What changes something runs to its end and has its line even if
/// the caller hangs up meanwhile.
pub async fn record(State(web): State<Web>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return recorded(web, request, next).await;
    }
    let work = tokio::spawn(recorded(web, request, next));
    work.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request failed");
        let words = "an internal task failed";
        refuse(StatusCode::INTERNAL_SERVER_ERROR, words)
    })
}

async fn recorded(web: Web, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let origin = request.extensions().get::<Origin>().copied();
    let response = next.run(request).await;
    let caller = response.extensions().get::<Caller>();
    let name = caller.map(|caller| caller.name.clone()).unwrap_or_default();
    let status = response.status();
    let why = response.extensions().get::<Why>();
    // A wrong password has its line already.
    let login = ["/login", "/api/v1/session"].contains(&path.as_str());
    let noted = login && status == StatusCode::UNAUTHORIZED;
    let refused = !noted && (why.is_some() || is_refusal(status, caller.is_some()));
    let safe = matches!(method, Method::GET | Method::HEAD);
    let event = |kind, level, who, text| Event {
        who,
        source: source(origin),
        ..Event::new(kind, level, text)
    };
    let done = response.extensions().get::<Done>();
    if let Some(done) = done {
        let who = done.who.clone().unwrap_or_else(|| name.clone());
        web.node.note(&Event {
            before: done.before.clone(),
            after: done.after.clone(),
            ..event(done.kind, Level::Information, who, done.text.clone())
        });
    }
    // What failed half-way has two lines: what is done, and why it went no further.
    if refused {
        let level = match status.is_server_error() {
            true => Level::Error,
            false => Level::Warning,
        };
        let reason = match why {
            Some(why) => why.0.clone(),
            None => status.to_string(),
        };
        let text = format!("Refused {method} {path}: {reason}");
        web.node.note(&event(Kind::Input, level, name, text));
    } else if done.is_none() && !safe && caller.is_some() {
        let text = format!("{method} {path}");
        web.node
            .note(&event(Kind::Change, Level::Information, name, text));
    }
    response
}

/// A browser without a session that is sent to the login is no news; nor is a page that is not
/// there for somebody who is logged in.
fn is_refusal(status: StatusCode, known: bool) -> bool {
    let quiet = status == StatusCode::NOT_FOUND && known;
    (status.is_client_error() || status.is_server_error()) && !quiet
}
