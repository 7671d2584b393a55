//! Accounts, tokens, and the one gate: every form of every page refuses whoever only reads and
//! whoever did not load the form.

use std::collections::BTreeSet;

use super::*;
use crate::store::events::{EventQuery, EventRow};
use serde_json::{Value, json};

async fn api(
    site: &Site,
    method: &str,
    path: &str,
    auth: &str,
    body: Value,
) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(format!("/api/v1{path}"))
        .header(header::AUTHORIZATION, auth)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    let (status, _, text) = site.send(remote(), request).await;
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

fn basic(name: &str, password: &str) -> String {
    basic_of(format!("{name}:{password}").as_bytes())
}

/// The header with these bytes as name, colon and password.
pub(super) fn basic_of(text: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let encoded = text.chunks(3).flat_map(|three| {
        let bits = three
            .iter()
            .fold(0u32, |all, byte| all << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        let sign = move |n: usize| alphabet[(bits >> (18 - 6 * n)) as usize & 63] as char;
        (0..=three.len()).map(sign).collect::<Vec<_>>()
    });
    let mut out: String = encoded.collect();
    while !out.len().is_multiple_of(4) {
        out.push('=');
    }
    format!("Basic {out}")
}

pub(super) fn log(site: &Site, text: &str) -> Vec<EventRow> {
    let query = EventQuery {
        text: Some(text.into()),
        limit: 100,
        ..EventQuery::default()
    };
    site.node.events.list(&query).unwrap()
}

/// Every page that the menu leads to, and every form that is on one of them.
async fn crawl(site: &Site, cookie: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut pages, mut forms) = (BTreeSet::new(), BTreeSet::new());
    let mut waiting = vec!["/status/overview".to_owned()];
    while let Some(path) = waiting.pop() {
        if !pages.insert(path.clone()) {
            continue;
        }
        let (status, _, page) = site.get(&path, cookie).await;
        assert_eq!(status, StatusCode::OK, "{path}: {page}");
        for piece in page.split("href=\"").skip(1) {
            let link = piece.split('"').next().unwrap().replace("&#x2f;", "/");
            if link.starts_with('/') && !link.starts_with("/static/") {
                waiting.push(link.replace("&amp;", "&"));
            }
        }
        for piece in page.split("<form").skip(1) {
            let head = piece.split('>').next().unwrap();
            if head.contains("method=\"post\"") {
                let action = head.split_once("action=\"").unwrap().1;
                forms.insert(action.split('"').next().unwrap().replace("&#x2f;", "/"));
            }
        }
    }
    (pages, forms)
}

#[tokio::test]
async fn every_form_of_every_page_refuses_a_reader_and_a_forged_request() {
    let site = site("administrator", false);
    conflict(&site);
    site.node.raise(&crate::store::events::Alarm {
        id: "test-1".into(),
        level: crate::store::events::Level::Warning,
        text: "a test".into(),
        action: "nothing".into(),
    });
    let cookie = site.login().await;
    let (pages, forms) = crawl(&site, &cookie).await;
    assert!(pages.len() > 10, "{pages:?}");
    assert!(forms.len() > 6, "{forms:?}");
    for form in forms.iter().filter(|form| *form != "/logout") {
        let (status, _, text) = site.post(form, &cookie, "csrf=forged").await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{form}: {text}");
        assert!(text.contains("the form is too old"), "{form}: {text}");
    }
    let other = Administrator {
        name: "other".into(),
        hash: "x".into(),
        role: "administrator".into(),
        change_password: false,
    };
    administrators::put(&site.node.store, &other).unwrap();
    administrators::set_role(&site.node.store, "admin", "read-only").unwrap();
    let (_, head, _) = site.get("/status/overview", &cookie).await;
    let to = &head.headers()[header::LOCATION];
    assert_eq!(to, "/login", "another role ends the session");
    let cookie = site.login().await;
    let token = csrf(&site.get("/account/password", &cookie).await.2);
    for form in forms
        .iter()
        .filter(|form| !["/logout", "/account/password"].contains(&form.as_str()))
    {
        let (status, _, text) = site.post(form, &cookie, &format!("csrf={token}")).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{form}: {text}");
        assert!(text.contains("may only read"), "{form}: {text}");
    }
    let (pages, forms) = crawl(&site, &cookie).await;
    assert!(pages.len() > 8, "a reader reads all");
    let own = ["/logout", "/account/password"].map(str::to_owned);
    assert_eq!(forms, BTreeSet::from(own), "a reader is offered no forms");
}

#[tokio::test]
async fn accounts_are_added_changed_and_deleted_and_the_last_administrator_stays() {
    let site = site("administrator", false);
    let cookie = site.login().await;
    let token = csrf(&site.get("/users/administrators", &cookie).await.2);
    let add = |name: &str, password: &str| {
        format!("csrf={token}&name={name}&role=read-only&password={password}")
    };
    let page = "/users/administrators";
    let weak = site.post(page, &cookie, &add("kim", "short")).await;
    assert!(
        weak.2.contains("too short") && weak.2.contains("value=\"kim\""),
        "{}",
        weak.2
    );
    let bad = site
        .post(page, &cookie, &add("%3Cb%3E", "walnut-Kite-7-glacier"))
        .await;
    assert!(bad.2.contains("a user name has"), "{}", bad.2);
    let good = site
        .post(page, &cookie, &add("kim", "walnut-Kite-7-glacier"))
        .await;
    assert_eq!(good.0, StatusCode::SEE_OTHER, "{}", good.2);
    let twice = site
        .post(page, &cookie, &add("kim", "walnut-Kite-7-glacier"))
        .await;
    assert!(twice.2.contains("already"), "{}", twice.2);
    let listed = site.get(page, &cookie).await.2;
    assert!(listed.contains("kim") && listed.contains("must change the password"));
    let auth = basic("kim", "walnut-Kite-7-glacier");
    let (status, body) = api(&site, "GET", "/status", &auth, Value::Null).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
    let own = json!({ "password": "harbour-Cello-41-blue" });
    let theirs = json!({ "name": "admin", "password": "harbour-Cello-41-blue" });
    let (status, body) = api(&site, "PUT", "/password", &auth, theirs).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
    assert_eq!(
        api(&site, "PUT", "/password", &auth, own).await.0,
        StatusCode::OK
    );
    let auth = basic("kim", "harbour-Cello-41-blue");
    assert_eq!(
        api(&site, "GET", "/status", &auth, Value::Null).await.0,
        StatusCode::OK
    );
    let last = format!("csrf={token}&role=read-only&password=");
    let kept = site
        .post("/users/administrators/admin/edit", &cookie, &last)
        .await;
    assert!(kept.2.contains("the last account"), "{}", kept.2);
    let form = format!("csrf={token}");
    let kept = site
        .post("/users/administrators/admin/delete", &cookie, &form)
        .await;
    assert!(kept.2.contains("the last account"), "{}", kept.2);
    let gone = site
        .post("/users/administrators/kim/delete", &cookie, &form)
        .await;
    assert_eq!(gone.0, StatusCode::SEE_OTHER);
    assert_eq!(
        api(&site, "GET", "/status", &auth, Value::Null).await.0,
        StatusCode::UNAUTHORIZED
    );
    let lines = log(&site, "kim");
    let texts: Vec<&str> = lines.iter().map(|row| row.text.as_str()).collect();
    assert!(
        texts.iter().any(|text| text.contains("kim added")),
        "{texts:?}"
    );
    assert!(
        texts.iter().any(|text| text.contains("kim deleted")),
        "{texts:?}"
    );
    assert!(lines.iter().all(|row| row.source == "192.0.2.77"));
    assert!(
        lines
            .iter()
            .all(|row| !row.text.contains("walnut") && !row.after.contains("walnut"))
    );
}

#[tokio::test]
async fn a_token_acts_for_its_owner_reads_only_where_it_says_so_and_dies_with_it() {
    let site = site("administrator", false);
    let auth = basic("admin", PASSWORD);
    let new = json!({ "label": "backup script", "read_only": true });
    let (status, made) = api(&site, "POST", "/tokens", &auth, new).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let reader = format!("Bearer {}", made["token"].as_str().unwrap());
    assert_eq!(
        api(&site, "GET", "/status", &reader, Value::Null).await.0,
        StatusCode::OK
    );
    let (status, body) = api(&site, "POST", "/restart", &reader, Value::Null).await;
    assert_eq!(
        (status, &body["error"]),
        (StatusCode::FORBIDDEN, &json!("this account may only read"))
    );
    let (_, listed) = api(&site, "GET", "/tokens", &reader, Value::Null).await;
    assert!(listed.to_string().contains("backup script"));
    assert!(!listed.to_string().contains(made["token"].as_str().unwrap()));
    let id = made["id"].as_str().unwrap().to_owned();
    let gone = api(
        &site,
        "DELETE",
        &format!("/tokens/{id}"),
        &auth,
        Value::Null,
    )
    .await;
    assert_eq!(gone.0, StatusCode::OK, "{}", gone.1);
    let wrong = api(&site, "GET", "/status", &reader, Value::Null).await;
    assert_eq!(wrong.0, StatusCode::UNAUTHORIZED);
    let page = Request::get("/status/overview")
        .header(header::AUTHORIZATION, &auth)
        .body(Body::empty())
        .unwrap();
    let (status, head, _) = site.send(remote(), page).await;
    assert_eq!(
        (status, &head.headers()[header::LOCATION]),
        (StatusCode::SEE_OTHER, &"/login".parse().unwrap())
    );
}

#[tokio::test]
async fn each_change_and_each_refusal_has_its_line_and_no_line_has_a_secret() {
    let site = site("administrator", false);
    let cookie = site.login().await;
    site.post("/login", "", "name=admin&password=guessed-wrong")
        .await;
    let token = csrf(&site.get("/system/clustering", &cookie).await.2);
    let form =
        format!("csrf={token}&key=vary-9umbrella-Kilo42-tidal&peer1=192.0.2.11&peer2=&peer3=");
    site.post("/system/clustering", &cookie, &form).await;
    let bad = format!("csrf={token}&key=vary-9umbrella-Kilo42-tidal&peer1=nonsense&peer2=&peer3=");
    site.post("/system/clustering", &cookie, &bad).await;
    let saved = &log(&site, "Cluster fields saved")[0];
    assert_eq!(
        (saved.who.as_str(), saved.source.as_str()),
        ("admin", "192.0.2.77")
    );
    assert!(
        saved.after.contains("Peer 1 IP address: 192.0.2.11"),
        "{saved:?}"
    );
    assert!(
        saved.before.contains("Peer 1 IP address: blank"),
        "{saved:?}"
    );
    assert!(
        log(&site, "is not an IP address")[0]
            .text
            .starts_with("Refused POST")
    );
    assert_eq!(log(&site, "Logged in").len(), 1);
    assert_eq!(
        log(&site, "Wrong user name or password")[0].level,
        "warning"
    );
    for (request, words) in [
        (Request::put("/api/v1/cluster").body(Body::from("{")), "401"),
        (
            Request::get("/status/../etc/passwd").body(Body::empty()),
            "404",
        ),
        (Request::post("/login").body(Body::from("x=1")), "415"),
        (
            Request::post("/login")
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Body::from(vec![b'x'; 2 * 1024 * 1024])),
            "413",
        ),
    ] {
        let request = request.unwrap();
        let path = request.uri().path().to_owned();
        let status = site.send(remote(), request).await.0;
        assert_eq!(status.as_str(), words, "{path}");
        assert!(!log(&site, &path).is_empty(), "{path}");
    }
    assert!(log(&site, "umbrella").is_empty() && log(&site, "guessed").is_empty());
    let page = site
        .get("/status/events?text=peer+1&kind=change", &cookie)
        .await
        .2;
    assert!(
        page.contains("Cluster fields saved") && page.contains("192.0.2.77"),
        "{page}"
    );
    let none = site.get("/status/events?level=nonsense", &cookie).await;
    assert_eq!(none.0, StatusCode::UNPROCESSABLE_ENTITY);
}

// A guess whose connection is closed before the answer was neither counted nor logged: its handler
// ends with the connection.
#[tokio::test]
async fn whoever_hangs_up_before_the_answer_has_guessed_all_the_same() {
    let site = site("administrator", false);
    let request = Request::post("/login")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from("name=admin&password=wrong"))
        .unwrap();
    let sent = tokio::time::timeout(std::time::Duration::ZERO, site.send(remote(), request)).await;
    assert!(sent.is_err(), "it hung up");
    while log(&site, "Wrong user name or password").is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

// A change whose caller hung up was made without a line: both were in one handler.
#[tokio::test]
async fn a_change_whose_caller_hangs_up_has_its_line_all_the_same() {
    let site = site("administrator", false);
    let request = Request::post("/api/v1/tables")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(
            r#"{"sql": "CREATE TABLE t(id INTEGER PRIMARY KEY)"}"#,
        ))
        .unwrap();
    let work = site.send(Origin::Local(0), request);
    let sent = tokio::time::timeout(std::time::Duration::ZERO, work).await;
    assert!(sent.is_err(), "it hung up");
    while log(&site, "Tables: declared table t").is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_request_that_never_ends_is_refused_and_has_its_line() {
    struct Never;
    impl hyper::body::Body for Never {
        type Data = axum::body::Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }
    let mut site = site("administrator", false);
    let patience = std::time::Duration::from_millis(1);
    site.router = crate::web::router_with(site.node.clone(), patience);
    let request = Request::post("/login")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::new(Never))
        .unwrap();
    let (status, _, text) = site.send(remote(), request).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT, "{text}");
    assert_eq!(log(&site, "took too long").len(), 1);
}

#[tokio::test]
async fn an_alarm_is_shown_with_what_to_do_and_acknowledged() {
    let site = site("administrator", false);
    site.node.raise(&crate::store::events::Alarm {
        id: "peer-192.0.2.12".into(),
        level: crate::store::events::Level::Error,
        text: "Peer 2 (192.0.2.12): Unreachable <b>".into(),
        action: "Check its power".into(),
    });
    let cookie = site.login().await;
    let page = site.get("/status/alarms", &cookie).await.2;
    assert!(
        page.contains("Check its power") && page.contains("&lt;b&gt;"),
        "{page}"
    );
    assert!(page.contains("class=\"badge\">1<"), "{page}");
    let token = csrf(&page);
    let to = "/status/alarms/peer-192.0.2.12/acknowledge";
    let done = site.post(to, &cookie, &format!("csrf={token}")).await;
    assert_eq!(done.0, StatusCode::SEE_OTHER, "{}", done.2);
    let page = site.get("/status/alarms", &cookie).await.2;
    assert!(page.contains("acknowledged by admin"), "{page}");
    site.node.lower("peer-192.0.2.12");
    let page = site.get("/status/alarms", &cookie).await.2;
    assert!(
        page.contains("No alarms") && page.contains("Lowered"),
        "{page}"
    );
}

#[tokio::test]
async fn an_event_stream_ends_with_the_session_that_opened_it() {
    let site = site("administrator", false);
    let cookie = site.login().await;
    let mut request = Request::get("/events")
        .header(header::COOKIE, &cookie)
        .body(Body::empty())
        .unwrap();
    request.extensions_mut().insert(remote());
    let answer = site.router.clone().oneshot(request).await.unwrap();
    let mut stream = answer.into_body();
    site.node.touch();
    let line = stream.frame().await.unwrap().unwrap();
    assert_eq!(&line.into_data().unwrap()[..], b"data: changed\n\n");
    site.post("/logout", &cookie, "").await;
    site.node.touch();
    assert!(stream.frame().await.is_none(), "it went on");
}
