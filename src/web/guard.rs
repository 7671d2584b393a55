//! Who is calling, and whether they may: decided once, before any handler runs.

use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Extension, IntoResponse, Redirect, Response};
use serde_json::json;

use super::record::Why;
use super::session::{self, Asking, Verdict};
use super::{Origin, Web, tokens};
use crate::store::administrators::{self, Administrator};

/// The caller of a request, as handlers see it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The administrator's name, or the local user.
    pub name: String,
    /// The token that this session's forms carry; empty without a session.
    pub csrf: String,
    /// Whether it only reads.
    pub reads_only: bool,
    /// Whether its password is a default one, to be changed before anything else.
    change_password: bool,
}

/// The only paths for an account with a default password, and the only ones where an account that
/// only reads changes something: its own password.
const PASSWORD: &str = "/api/v1/password";
const PASSWORD_PAGE: &str = "/account/password";
const CHANGE_FIRST: &str = "change the default password first: PUT /api/v1/password";

/// Longest form that is looked into for its token.
const FORM_MAX: usize = super::BODY_MAX;

/// Lets a request pass with its [`Caller`], or answers it. The one gate: who it is, whether a
/// default password stands in the way, whether it may change anything, and whether a browser's
/// form is one of ours.
pub async fn require(State(web): State<Web>, request: Request, next: Next) -> Response {
    let origin = request.extensions().get::<Origin>().copied();
    // Copied, because a request's body may not be held over an await.
    let asked = Asked {
        headers: request.headers().clone(),
        safe: is_safe(request.method()),
        api: is_api(request.uri().path()),
        asking: Asking::of(request.uri(), request.headers()),
    };
    let caller = match who(&web, origin, &asked).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let path = request.uri().path();
    let api = asked.api;
    let own_password = path == PASSWORD || path == PASSWORD_PAGE;
    if caller.change_password && !own_password && path != "/events" {
        return match api {
            true => named(&caller, refuse(StatusCode::FORBIDDEN, CHANGE_FIRST)),
            false => Redirect::to(PASSWORD_PAGE).into_response(),
        };
    }
    if asked.safe {
        return pass(request, next, caller).await;
    }
    if caller.reads_only && !own_password {
        let refused = refuse(StatusCode::FORBIDDEN, "this account may only read");
        return named(&caller, refused);
    }
    if caller.csrf.is_empty() {
        // No browser's cookie: nobody else could have made it send this.
        return pass(request, next, caller).await;
    }
    let (request, token) = match token(request).await {
        Ok(found) => found,
        Err(response) => return named(&caller, response),
    };
    if !session::same(&token, &caller.csrf) {
        let words = "the form is too old; load the page again";
        return named(&caller, refuse(StatusCode::FORBIDDEN, words));
    }
    pass(request, next, caller).await
}

/// What the gate looks at.
struct Asked {
    headers: HeaderMap,
    safe: bool,
    api: bool,
    asking: Asking,
}

/// Whether whoever opened an event stream may still read it.
pub async fn may_listen(web: &Web, origin: Origin, headers: &HeaderMap) -> bool {
    let asked = Asked {
        headers: headers.clone(),
        safe: true,
        api: false,
        asking: Asking::Page,
    };
    who(web, Some(origin), &asked).await.is_ok()
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Whether programs ask here, which may send a name and password or a token each time.
fn is_api(path: &str) -> bool {
    path.starts_with("/api/") || path == "/metrics"
}

/// Who sent a request.
async fn who(web: &Web, origin: Option<Origin>, asked: &Asked) -> Result<Caller, Response> {
    let Some(origin) = origin else {
        let words = "a request without an origin";
        return Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, words));
    };
    if let Origin::Local(user) = origin {
        let words = "only root may use the local socket";
        return local(user).ok_or_else(|| refuse(StatusCode::FORBIDDEN, words));
    }
    let Asked {
        headers,
        safe,
        api,
        asking,
    } = asked;
    if !safe && from_elsewhere(headers) {
        return Err(refuse(
            StatusCode::FORBIDDEN,
            "a request sent by another site",
        ));
    }
    if let Some((name, password)) = basic(headers).filter(|_| *api) {
        return match session::check(web, origin, name, password).await {
            Verdict::Welcome(who) => Ok(Caller::new(&who, String::new())),
            Verdict::Wrong => Err(challenge("the name or the password is wrong")),
            Verdict::Wait(left) => Err(session::later(left)),
        };
    }
    if let Some(token) = bearer(headers).filter(|_| *api) {
        return tokens::caller(web, origin, token).await;
    }
    let login = |words: &str| match api {
        true => challenge(words),
        false => Redirect::to("/login").into_response(),
    };
    let find = |token| web.sessions.find(token, *asking, Instant::now());
    let found = session::cookie(headers).and_then(find);
    let session = found.ok_or_else(|| login("log in first"))?;
    let node = web.node.clone();
    let name = session.name.clone();
    let work = tokio::task::spawn_blocking(move || administrators::find(&node.store, &name));
    let who = work.await.ok().and_then(Result::ok).flatten();
    // A session ends with the password, the role or the account that it began with.
    let who = who.filter(|who| who.hash == session.hash && who.role == session.role);
    let who = who.ok_or_else(|| login("log in again"))?;
    Ok(Caller::new(&who, session.csrf))
}

/// Root and the service's own user speak for themselves on the local socket.
fn local(user: u32) -> Option<Caller> {
    let known = user == 0 || user == crate::sys::user::own_user_id();
    known.then(|| Caller {
        name: format!("local user {user}"),
        csrf: String::new(),
        reads_only: false,
        change_password: false,
    })
}

impl Caller {
    /// An account, by what it proved.
    pub fn new(who: &Administrator, csrf: String) -> Self {
        Self {
            name: who.name.clone(),
            csrf,
            reads_only: who.reads_only(),
            change_password: who.change_password,
        }
    }
}

async fn pass(mut request: Request, next: Next, caller: Caller) -> Response {
    request.extensions_mut().insert(caller.clone());
    named(&caller, next.run(request).await)
}

/// Tells the event log whose request it was.
fn named(caller: &Caller, mut response: Response) -> Response {
    response.extensions_mut().insert(caller.clone());
    response
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

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A refusal in words.
pub fn refuse(status: StatusCode, why: &str) -> Response {
    let body = Json(json!({ "error": why }));
    (status, Extension(Why(why.to_owned())), body).into_response()
}

/// Not logged in, in words.
pub fn challenge(why: &str) -> Response {
    let realm = [(
        header::WWW_AUTHENTICATE,
        "Basic realm=\"Tutti\", charset=\"UTF-8\"",
    )];
    (realm, refuse(StatusCode::UNAUTHORIZED, why)).into_response()
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
