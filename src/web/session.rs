//! Login: argon2id passwords, sessions in memory, and a back-off for wrong guesses.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use axum::extract::{Extension, Form, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

use super::guard::refuse;
use super::openapi::Refusals;
use super::record::{self, Done};
use super::{Origin, Web, network, pages};
use crate::node::serve::node::{Node, hex, random};
use crate::store::administrators::{self, Administrator};
use crate::store::events::{Event, Kind, Level};

/// The cookie; its prefix makes browsers insist on Secure, Path=/ and no Domain.
pub const COOKIE: &str = "__Host-tutti";
/// A session ends after this long without a request of a person.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// Sessions at a time; the oldest goes first.
const SESSIONS_MAX: usize = 1000;
/// Wrong guesses before waiting begins.
const FREE_GUESSES: u32 = 4;
/// The longest wait after a wrong guess.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Who asks. Only a person keeps a session: an open page that is kept up to date does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// Somebody typed or clicked.
    Person,
    /// The page by itself: live.js, its event stream, or the refresh of a browser without scripts.
    Page,
}

impl Asking {
    /// Told by the header that live.js sends, by the query of a refresh, or by what is asked for.
    pub fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let refresh = uri.query().is_some_and(|query| query == "refresh");
        match uri.path() == "/events" || refresh || headers.contains_key("x-tutti-refresh") {
            true => Self::Page,
            false => Self::Person,
        }
    }
}

/// One logged-in browser.
#[derive(Clone)]
pub struct Session {
    /// Who.
    pub name: String,
    /// The token that forms of this session must carry.
    pub csrf: String,
    /// The password hash at login: a session dies with its password.
    pub hash: String,
    /// The role at login: a session dies with it too.
    pub role: String,
    used: Instant,
}

/// Sessions, and failed guesses by source.
#[derive(Default)]
pub struct Sessions {
    open: Mutex<HashMap<[u8; 32], Session>>,
    /// By network, as one host of IPv6 has many addresses.
    failed: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tokens are kept only as digests, so that a memory image holds no usable cookie.
fn digest(token: &str) -> [u8; 32] {
    crate::tls::digest(token.as_bytes())
}

impl Sessions {
    fn begin(&self, who: &Administrator) -> String {
        let token = hex(&random::<32>());
        let session = Session {
            name: who.name.clone(),
            csrf: hex(&random::<32>()),
            hash: who.hash.clone(),
            role: who.role.clone(),
            used: Instant::now(),
        };
        let mut open = lock(&self.open);
        open.retain(|_, session| session.used.elapsed() < IDLE);
        if open.len() >= SESSIONS_MAX
            && let Some(oldest) = open.iter().min_by_key(|(_, s)| s.used).map(|(key, _)| *key)
        {
            open.remove(&oldest);
        }
        open.insert(digest(&token), session);
        token
    }

    /// The session of a cookie, if it is still good.
    pub fn find(&self, token: &str, asking: Asking, now: Instant) -> Option<Session> {
        let mut open = lock(&self.open);
        let session = open.get_mut(&digest(token))?;
        if now.saturating_duration_since(session.used) >= IDLE {
            return None;
        }
        if asking == Asking::Person {
            session.used = now;
        }
        Some(session.clone())
    }

    /// Ends a session; whose it was.
    fn end(&self, token: &str) -> Option<String> {
        let ended = lock(&self.open).remove(&digest(token));
        ended.map(|session| session.name)
    }

    /// How many sessions there are.
    pub fn open(&self) -> usize {
        let open = lock(&self.open);
        let lives = |session: &&Session| session.used.elapsed() < IDLE;
        open.values().filter(lives).count()
    }

    /// How many sessions an account has.
    pub fn count(&self, name: &str) -> usize {
        let open = lock(&self.open);
        let lives = |session: &&Session| session.name == name && session.used.elapsed() < IDLE;
        open.values().filter(lives).count()
    }

    /// How long this source must wait before its next guess.
    pub fn wait(&self, origin: Origin) -> Option<Duration> {
        let Origin::Remote(address) = origin else {
            return None;
        };
        let (count, last) = *lock(&self.failed).get(&network(address))?;
        let doublings = count.checked_sub(FREE_GUESSES)?.min(16);
        let wait = Duration::from_secs(1 << doublings).min(WAIT_MAX);
        wait.checked_sub(last.elapsed())
            .filter(|left| !left.is_zero())
    }

    /// Counts a guess of this source.
    pub fn guessed(&self, origin: Origin, right: bool) {
        let Origin::Remote(address) = origin else {
            return;
        };
        let address = network(address);
        let mut failed = lock(&self.failed);
        if right {
            failed.remove(&address);
            return;
        }
        failed.retain(|_, (_, last)| last.elapsed() < WAIT_MAX * 2);
        let entry = failed.entry(address).or_insert((0, Instant::now()));
        *entry = (entry.0.saturating_add(1), Instant::now());
    }
}

/// The token of a request's session cookie.
pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then_some(value))
}

/// Whether two tokens are the same, in constant time.
pub fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// What a login attempt came to.
pub enum Verdict {
    /// Right.
    Welcome(Administrator),
    /// Wrong name or password.
    Wrong,
    /// Too many wrong guesses; try again after this.
    Wait(Duration),
}

/// How many password hashes are computed at a time.
static HASHING: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(2);

/// Checks a name and password, counting wrong guesses; also those of whoever hangs up before the
/// answer.
pub async fn check(web: &Web, origin: Origin, name: String, password: String) -> Verdict {
    let web = web.clone();
    let work = async move { judge(&web, origin, name, password).await };
    tokio::spawn(work).await.unwrap_or(Verdict::Wrong)
}

async fn judge(web: &Web, origin: Origin, name: String, password: String) -> Verdict {
    if let Some(wait) = web.sessions.wait(origin) {
        return Verdict::Wait(wait);
    }
    // Each takes 19 MiB: strangers wait in line, and are judged by what was guessed meanwhile.
    let _turn = HASHING.acquire().await;
    if let Some(wait) = web.sessions.wait(origin) {
        return Verdict::Wait(wait);
    }
    let node = web.node.clone();
    let tried = name.clone();
    let work = tokio::task::spawn_blocking(move || verify(&node, &name, &password));
    let found = work.await.ok().flatten();
    if found.is_none() {
        let text = "Wrong user name or password";
        web.node.note(&Event {
            who: tried,
            source: record::source(Some(origin)),
            ..Event::new(Kind::Login, Level::Warning, text)
        });
    }
    web.sessions.guessed(origin, found.is_some());
    match found {
        Some(who) => Verdict::Welcome(who),
        None => Verdict::Wrong,
    }
}

/// A hash of nothing in use: checking it costs an unknown name as much time as a known one.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$\
                      L8mZL0LMCKvgSbbA0YIZ1PHmQiSLfpRLjbSN6oH6p4Q";

fn verify(node: &Node, name: &str, password: &str) -> Option<Administrator> {
    let who = administrators::find(&node.store, name).ok().flatten();
    let hash = who.as_ref().map_or(NOBODY, |who| who.hash.as_str());
    let parsed = PasswordHash::new(hash).ok()?;
    let right = Argon2::default()
        .verify_password(password.as_bytes(), &parsed)
        .is_ok();
    who.filter(|_| right)
}

/// The argon2id hash of a password, in PHC form.
pub fn hash(password: &str) -> Result<String, String> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string())
        .map_err(|error| error.to_string())
}

/// The routes that need no session.
pub fn router() -> Router<Web> {
    Router::new()
        .route("/login", get(page).post(login))
        .route("/logout", post(logout))
        .route("/api/v1/session", post(api_login))
}

#[derive(Deserialize, ToSchema)]
struct Credentials {
    name: String,
    password: String,
}

fn login_page(web: &Web, message: &str, status: StatusCode) -> Response {
    let context = json!({ "title": "Log in", "system": web.node.name, "message": message });
    (status, Html(pages::render(web, "login.html", &context))).into_response()
}

async fn page(State(web): State<Web>) -> Response {
    login_page(&web, "", StatusCode::OK)
}

async fn login(
    State(web): State<Web>,
    Extension(origin): Extension<Origin>,
    Form(form): Form<Credentials>,
) -> Response {
    match check(&web, origin, form.name, form.password).await {
        Verdict::Welcome(who) => {
            let target = if who.change_password {
                "/account/password"
            } else {
                "/"
            };
            let cookie = set_cookie(&web.sessions.begin(&who));
            Done::login(&who.name, "Logged in").with((cookie, Redirect::to(target)))
        }
        Verdict::Wrong => login_page(
            &web,
            "The name or the password is wrong.",
            StatusCode::UNAUTHORIZED,
        ),
        Verdict::Wait(left) => {
            let seconds = left.as_secs() + 1;
            let text = format!("Too many wrong attempts. Try again in {seconds} s.");
            login_page(&web, &text, StatusCode::TOO_MANY_REQUESTS)
        }
    }
}

fn set_cookie(token: &str) -> [(header::HeaderName, String); 1] {
    [(
        header::SET_COOKIE,
        format!("{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict"),
    )]
}

/// A session has begun; its cookie comes in the header.
#[derive(Serialize, ToSchema)]
struct LoggedIn {
    name: String,
    /// `administrator` or `read-only`.
    role: String,
    /// The token for `X-CSRF-Token`.
    csrf: Option<String>,
    /// Whether another password must be chosen first.
    change_password: bool,
}

#[utoipa::path(
    post, path = "/api/v1/session",
    summary = "Logs in: a session cookie, and the token for X-CSRF-Token",
    request_body = Credentials,
    responses((status = 200, description = "Logged in", body = LoggedIn), Refusals)
)]
async fn api_login(
    State(web): State<Web>,
    Extension(origin): Extension<Origin>,
    Json(credentials): Json<Credentials>,
) -> Response {
    match check(&web, origin, credentials.name, credentials.password).await {
        Verdict::Welcome(who) => {
            let token = web.sessions.begin(&who);
            let session = web.sessions.find(&token, Asking::Person, Instant::now());
            let csrf = session.map(|session| session.csrf);
            let done = Done::login(&who.name, "Logged in by REST");
            let body = Json(LoggedIn {
                name: who.name,
                role: who.role,
                csrf,
                change_password: who.change_password,
            });
            done.with((set_cookie(&token), body))
        }
        Verdict::Wrong => {
            let words = "the name or the password is wrong";
            refuse(StatusCode::UNAUTHORIZED, words)
        }
        Verdict::Wait(left) => later(left),
    }
}

/// Too many wrong guesses.
pub fn later(left: Duration) -> Response {
    let retry = [(header::RETRY_AFTER, (left.as_secs() + 1).to_string())];
    let refused = refuse(StatusCode::TOO_MANY_REQUESTS, "too many wrong attempts");
    (retry, refused).into_response()
}

/// Ends a session. Needs no CSRF token: the cookie is SameSite=Strict, and a log-out harms nobody.
async fn logout(State(web): State<Web>, headers: HeaderMap) -> Response {
    let ended = cookie(&headers).and_then(|token| web.sessions.end(token));
    let gone = format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    let answer = ([(header::SET_COOKIE, gone)], Redirect::to("/login"));
    match ended {
        Some(name) => Done::login(&name, "Logged out").with(answer),
        None => answer.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> (Sessions, String, Instant) {
        let sessions = Sessions::default();
        let who = Administrator {
            name: "admin".into(),
            hash: String::new(),
            role: "administrator".into(),
            change_password: false,
        };
        let token = sessions.begin(&who);
        (sessions, token, Instant::now())
    }

    #[test]
    fn a_session_ends_half_an_hour_after_the_last_thing_that_a_person_did() {
        let (sessions, token, now) = begun();
        let find = |asking, seconds| {
            let session = sessions.find(&token, asking, now + Duration::from_secs(seconds));
            session.is_some()
        };
        assert!(find(Asking::Person, 1_700));
        assert!(find(Asking::Person, 3_400));
        for seconds in (3_410..5_200).step_by(10) {
            assert!(find(Asking::Page, seconds), "after {seconds} s");
        }
        assert!(!find(Asking::Page, 5_201));
        assert!(!find(Asking::Person, 5_202));
    }

    #[test]
    fn what_a_page_asks_for_by_itself_is_told_from_what_a_person_does() {
        let of = |uri: &str, headers: &HeaderMap| Asking::of(&uri.parse().unwrap(), headers);
        let (none, mut live) = (HeaderMap::new(), HeaderMap::new());
        live.insert("x-tutti-refresh", "1".parse().unwrap());
        assert_eq!(of("/status/overview", &none), Asking::Person);
        assert_eq!(of("/status/overview", &live), Asking::Page);
        assert_eq!(of("/status/overview?refresh", &none), Asking::Page);
        assert_eq!(of("/events?log=1", &none), Asking::Page);
        assert_eq!(of("/status/events?kind=login", &none), Asking::Person);
    }

    #[test]
    fn guesses_from_one_network_of_ipv6_are_counted_together() {
        let sessions = Sessions::default();
        let from = |text: &str| Origin::Remote(text.parse().unwrap());
        for host in 1..=FREE_GUESSES {
            assert_eq!(sessions.wait(from("2001:db8::9")), None);
            sessions.guessed(from(&format!("2001:db8::{host}")), false);
        }
        assert!(sessions.wait(from("2001:db8::9")).is_some());
        assert_eq!(sessions.wait(from("2001:db8:0:1::9")), None);
    }
}
