//! Who is calling, and whether they may: decided once, before any handler runs.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::json;

use super::session::{self, Verdict};
use super::{Origin, Web};
use crate::store::administrators;

/// The caller of a request, as handlers see it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The administrator's name, or the local user.
    pub name: String,
    /// The token that this session's forms carry; empty without a session.
    pub csrf: String,
}

/// Where a default password is changed, the only thing an account with one may do.
const PASSWORD: &str = "/api/v1/password";
const CHANGE_FIRST: &str = "change the default password first: PUT /api/v1/password";

/// Longest form that is looked into for its token.
const FORM_MAX: usize = super::BODY_MAX;

/// Lets a request pass with its [`Caller`], or answers it.
pub async fn require(State(web): State<Web>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let api = path.starts_with("/api/");
    let Some(origin) = request.extensions().get::<Origin>().copied() else {
        return refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "a request without an origin",
        );
    };
    if let Origin::Local(user) = origin {
        if user != 0 && user != crate::sys::user::own_user_id() {
            return refuse(StatusCode::FORBIDDEN, "only root may use the local socket");
        }
        let name = format!("local user {user}");
        return pass(
            request,
            next,
            Caller {
                name,
                csrf: String::new(),
            },
        )
        .await;
    }
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    if !safe && from_elsewhere(request.headers()) {
        return refuse(StatusCode::FORBIDDEN, "a request sent by another site");
    }
    if let Some((name, password)) = basic(request.headers()).filter(|_| api) {
        return match session::check(&web, origin, name, password).await {
            Verdict::Welcome(who) if who.change_password && path != PASSWORD => {
                refuse(StatusCode::FORBIDDEN, CHANGE_FIRST)
            }
            Verdict::Welcome(who) if !safe && who.role != "administrator" => {
                refuse(StatusCode::FORBIDDEN, "this account may only read")
            }
            Verdict::Welcome(who) => {
                let caller = Caller {
                    name: who.name,
                    csrf: String::new(),
                };
                pass(request, next, caller).await
            }
            Verdict::Wrong => challenge("the name or the password is wrong"),
            Verdict::Wait(_) => refuse(StatusCode::TOO_MANY_REQUESTS, "too many wrong attempts"),
        };
    }
    by_session(web, request, next, api, safe).await
}

async fn by_session(web: Web, request: Request, next: Next, api: bool, safe: bool) -> Response {
    let found = session::cookie(request.headers()).and_then(|token| web.sessions.find(token));
    let Some(session) = found else {
        if api {
            return challenge("log in first");
        }
        return Redirect::to("/login").into_response();
    };
    let node = web.node.clone();
    let name = session.name.clone();
    let work = tokio::task::spawn_blocking(move || administrators::find(&node.store, &name));
    let who = work.await.ok().and_then(Result::ok).flatten();
    let Some(who) = who.filter(|who| who.hash == session.hash) else {
        return if api {
            challenge("log in again")
        } else {
            Redirect::to("/login").into_response()
        };
    };
    let path = request.uri().path();
    if who.change_password && api && path != PASSWORD {
        return refuse(StatusCode::FORBIDDEN, CHANGE_FIRST);
    }
    if who.change_password && !api && path != "/account/password" && path != "/events" {
        return Redirect::to("/account/password").into_response();
    }
    let caller = Caller {
        name: who.name,
        csrf: session.csrf,
    };
    if safe {
        return pass(request, next, caller).await;
    }
    if who.role != "administrator" && path != "/account/password" {
        return refuse(StatusCode::FORBIDDEN, "this account may only read");
    }
    let (request, token) = match token(request).await {
        Ok(found) => found,
        Err(response) => return response,
    };
    if !session::same(&token, &caller.csrf) {
        return refuse(
            StatusCode::FORBIDDEN,
            "the form is too old; load the page again",
        );
    }
    pass(request, next, caller).await
}

async fn pass(mut request: Request, next: Next, caller: Caller) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        tracing::info!(
            "{} {} by {}",
            request.method(),
            request.uri().path(),
            caller.name
        );
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// The request's CSRF token: a header, or the field `csrf` of a form.
async fn token(request: Request) -> Result<(Request, String), Response> {
    if let Some(token) = request.headers().get("x-csrf-token") {
        let token = token.to_str().unwrap_or_default().to_owned();
        return Ok((request, token));
    }
    let (parts, body) = request.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, FORM_MAX).await else {
        return Err(refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the request is too large",
        ));
    };
    let token = bytes
        .split(|byte| *byte == b'&')
        .find_map(|pair| pair.strip_prefix(b"csrf="))
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .unwrap_or_default();
    Ok((Request::from_parts(parts, Body::from(bytes)), token))
}

/// Browsers say where a request was made; programs say nothing.
fn from_elsewhere(headers: &HeaderMap) -> bool {
    let site = headers
        .get("sec-fetch-site")
        .and_then(|value| value.to_str().ok());
    site.is_some_and(|site| site != "same-origin" && site != "none")
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(base64(encoded.trim())?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// Decodes base 64 (RFC 4648 section 4).
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut buffer, mut bits) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        buffer = (buffer << 6 | u32::from(value)) & 0xf_ffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((buffer >> bits) as u8);
        }
    }
    Some(out)
}

/// A refusal in words.
pub fn refuse(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}

fn challenge(why: &str) -> Response {
    let realm = [(
        header::WWW_AUTHENTICATE,
        "Basic realm=\"Tutti\", charset=\"UTF-8\"",
    )];
    (
        StatusCode::UNAUTHORIZED,
        realm,
        Json(json!({ "error": why })),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_read() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::AUTHORIZATION,
            "Basic YWRtaW46cGE6c3M=".parse().unwrap(),
        );
        assert_eq!(basic(&headers), Some(("admin".into(), "pa:ss".into())));
        headers.insert(header::AUTHORIZATION, "Basic !!".parse().unwrap());
        assert_eq!(basic(&headers), None);
    }

    #[test]
    fn a_request_from_another_site_is_known() {
        let mut headers = HeaderMap::new();
        assert!(!from_elsewhere(&headers));
        headers.insert("sec-fetch-site", "cross-site".parse().unwrap());
        assert!(from_elsewhere(&headers));
    }
}
