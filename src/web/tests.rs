//! The router as browsers, programs and strangers meet it.

mod access;
mod audit;
mod certificates;
mod clustering;
mod health;
mod hostile;
mod rest;
mod system;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{Origin, router, session};
use crate::node::serve::node::Node;
use crate::store::administrators::{self, Administrator};
use crate::store::{Store, api_tokens, local::Local};
use crate::tls::Identity;

const PASSWORD: &str = "tidal basin umbrella 42";

struct Site {
    router: Router,
    node: Arc<Node>,
    _dir: tempfile::TempDir,
}

fn site(role: &str, change_password: bool) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), [1; 16], 7).unwrap();
    store
        .migrate(&[administrators::TABLE, api_tokens::TABLE])
        .unwrap();
    let who = Administrator {
        name: "admin".into(),
        hash: session::hash(PASSWORD).unwrap(),
        role: role.into(),
        change_password,
    };
    administrators::put(&store, &who).unwrap();
    let local = Local::open(&dir.path().join("local.db")).unwrap();
    let identity = Identity::make("a", &[]).unwrap();
    let own = vec!["192.0.2.11".parse().unwrap()];
    let path = dir.path().to_owned();
    let node = Arc::new(Node::new(store, local, identity, "system-a".into(), own, path).unwrap());
    Site {
        router: router(node.clone()),
        node,
        _dir: dir,
    }
}

impl Site {
    async fn send(
        &self,
        origin: Origin,
        mut request: Request<Body>,
    ) -> (StatusCode, Response<()>, String) {
        request.extensions_mut().insert(origin);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (parts.status, Response::from_parts(parts, ()), text)
    }

    async fn get(&self, path: &str, cookie: &str) -> (StatusCode, Response<()>, String) {
        let request = Request::get(path).header(header::COOKIE, cookie);
        self.send(remote(), request.body(Body::empty()).unwrap())
            .await
    }

    async fn post(
        &self,
        path: &str,
        cookie: &str,
        form: &str,
    ) -> (StatusCode, Response<()>, String) {
        let request = Request::post(path)
            .header(header::COOKIE, cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(remote(), request.body(Body::from(form.to_owned())).unwrap())
            .await
    }

    /// Logs in; the cookie.
    async fn login(&self) -> String {
        let form = format!("name=admin&password={}", PASSWORD.replace(' ', "+"));
        let (status, head, _) = self.post("/login", "", &form).await;
        assert_eq!(status, StatusCode::SEE_OTHER);
        let cookie = head.headers()[header::SET_COOKIE]
            .to_str()
            .unwrap()
            .to_owned();
        for word in ["Secure", "HttpOnly", "SameSite=Strict", "Path=/", "__Host-"] {
            assert!(cookie.contains(word), "{cookie}");
        }
        cookie.split(';').next().unwrap().to_owned()
    }
}

fn remote() -> Origin {
    Origin::Remote("192.0.2.77".parse().unwrap())
}

fn csrf(page: &str) -> String {
    let at = page.split_once("name=\"csrf\" value=\"").unwrap().1;
    at.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn strangers_get_the_login_page_and_nothing_else() {
    let site = site("administrator", false);
    for path in [
        "/",
        "/status/overview",
        "/system/clustering",
        "/status/tables",
        "/events",
    ] {
        let (status, head, _) = site.get(path, "__Host-tutti=forged").await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{path}");
        assert_eq!(head.headers()[header::LOCATION], "/login");
    }
    let (status, head, _) = site.get("/api/v1/cluster", "").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(
        head.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("'none'")
    );
    assert_eq!(site.get("/login", "").await.0, StatusCode::OK);
    assert_eq!(site.get("/healthz", "").await.2, "ok\n");
}

#[tokio::test]
async fn every_page_renders_for_an_administrator() {
    let site = site("administrator", false);
    site.node
        .store
        .migrate(&["CREATE TABLE note (id TEXT PRIMARY KEY NOT NULL, text TEXT)"])
        .unwrap();
    let cookie = site.login().await;
    for (path, words) in [
        ("/status/overview", "Standalone"),
        ("/status/tables", "note"),
        ("/status/tables/note", "Add a row"),
        ("/status/conflicts", "No conflicts"),
        ("/system/clustering", "Cluster pre-shared key"),
        ("/maintenance/restart", ">Restart</button>"),
        ("/maintenance/restart/shutdown", "Shutdown system-a?"),
        ("/system/time", "NTP server 1 address"),
        ("/system/dns", "Default DNS server 1"),
        ("/system/network", "IP addresses"),
        ("/system/certificates", "SHA-256 fingerprint"),
        ("/status/events", "Search"),
        ("/status/cluster", "Prerequisites"),
        ("/metrics", "tutti_info"),
        ("/status/alarms", "No alarms"),
        ("/users/administrators", "New account"),
        ("/account/password", "Current password"),
    ] {
        let (status, _, page) = site.get(path, &cookie).await;
        assert_eq!(status, StatusCode::OK, "{path}: {page}");
        assert!(
            page.contains(words) && page.contains("system-a"),
            "{path}: {page}"
        );
        assert!(!page.contains("argon2id"));
    }
    assert_ne!(
        site.get("/status/tables/administrator", &cookie).await.0,
        StatusCode::OK
    );
}

#[tokio::test]
async fn the_clustering_page_founds_a_cluster_as_printed_and_never_shows_the_key() {
    let site = site("administrator", false);
    let cookie = site.login().await;
    let token = csrf(&site.get("/system/clustering", &cookie).await.2);
    let form = "key=vary-9umbrella-Kilo42-tidal&peer1=192.0.2.11&peer2=&peer3=";
    let (status, _, _) = site.post("/system/clustering", &cookie, form).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "a form without its token");
    let form = format!("csrf={token}&{form}");
    let (status, _, page) = site.post("/system/clustering", &cookie, &form).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        page.contains("Saved:") && page.contains(">This system</span>"),
        "{page}"
    );
    assert!(!page.contains("umbrella"));
    let wrong = format!("csrf={token}&key=short&peer1=nonsense&peer2=<b>&peer3=");
    let (_, _, page) = site.post("/system/clustering", &cookie, &wrong).await;
    assert!(
        page.contains("is not an IP address") && page.contains("at least 16"),
        "{page}"
    );
    assert!(!page.contains("<b>\""), "typed text is escaped");
}

#[tokio::test]
async fn a_row_is_changed_by_form() {
    let site = site("administrator", false);
    site.node
        .store
        .migrate(&["CREATE TABLE note (id TEXT PRIMARY KEY NOT NULL, text TEXT)"])
        .unwrap();
    let cookie = site.login().await;
    let token = csrf(&site.get("/status/tables/note", &cookie).await.2);
    let form = format!("csrf={token}&c%3Aid=a&c%3Atext=first");
    assert_eq!(
        site.post("/status/tables/note", &cookie, &form).await.0,
        StatusCode::SEE_OTHER
    );
    let form = format!("csrf={token}&c%3Aid=a&c%3Atext=second%3Ci%3E");
    site.post("/status/tables/note", &cookie, &form).await;
    let page = site.get("/status/tables/note", &cookie).await.2;
    assert!(
        page.contains("second&lt;i&gt;") && !page.contains("first<"),
        "{page}"
    );
    let form = format!("csrf={token}&key=%7B%22id%22%3A%22a%22%7D");
    site.post("/status/tables/note/delete", &cookie, &form)
        .await;
    assert!(
        site.get("/status/tables/note", &cookie)
            .await
            .2
            .contains("No rows")
    );
}

#[tokio::test]
async fn a_default_password_must_be_changed_first_and_ends_the_session() {
    let site = site("administrator", true);
    let cookie = site.login().await;
    let (_, head, _) = site.get("/status/overview", &cookie).await;
    assert_eq!(head.headers()[header::LOCATION], "/account/password");
    let token = csrf(&site.get("/account/password", &cookie).await.2);
    let current = PASSWORD.replace(' ', "+");
    let new = "glacier+Kite+7+walnut";
    let form = format!("csrf={token}&current={current}&new={new}&again={new}");
    let (status, _, page) = site.post("/account/password", &cookie, &form).await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
    let (_, head, _) = site.get("/account/password", &cookie).await;
    assert_eq!(
        head.headers()[header::LOCATION],
        "/login",
        "the old session is over"
    );
}

#[tokio::test]
async fn guessing_is_slowed_and_readers_only_read() {
    let site = site("read-only", false);
    let cookie = site.login().await;
    let token = csrf(&site.get("/account/password", &cookie).await.2);
    let form = format!("csrf={token}&key=&peer1=&peer2=&peer3=");
    assert_eq!(
        site.post("/system/clustering", &cookie, &form).await.0,
        StatusCode::FORBIDDEN
    );
    let mut last = StatusCode::OK;
    for _ in 0..6 {
        last = site.post("/login", "", "name=admin&password=wrong").await.0;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn only_root_and_ourselves_use_the_local_socket() {
    let site = site("administrator", false);
    let request = || Request::get("/api/v1/status").body(Body::empty()).unwrap();
    assert_eq!(
        site.send(Origin::Local(0), request()).await.0,
        StatusCode::OK
    );
    assert_eq!(
        site.send(Origin::Local(54_321), request()).await.0,
        StatusCode::FORBIDDEN
    );
}

/// A conflict: another node wrote the same value at the same time.
fn conflict(site: &Site) {
    let dir = tempfile::tempdir().unwrap();
    let other = Store::open(dir.path(), [2; 16], u64::MAX).unwrap();
    let (here, sql) = (
        &site.node.store,
        "CREATE TABLE item(id INTEGER PRIMARY KEY, a)",
    );
    here.declare(sql).unwrap();
    let pull = |to: &Store, from: &Store| {
        let found = from.log_after(&to.frontier(), 0, usize::MAX).unwrap().0;
        to.apply(&found).unwrap();
    };
    pull(&other, here);
    for (store, value) in [(here, "mine<i>"), (&other, "yours")] {
        let insert = "INSERT INTO item VALUES (1, ?)";
        store
            .transact(|tx| tx.execute(insert, &[value.into()]))
            .unwrap();
    }
    pull(here, &other);
}

#[tokio::test]
async fn a_lost_value_is_restored_with_a_button_and_another_dismissed_by_rest() {
    let site = site("administrator", false);
    conflict(&site);
    let cookie = site.login().await;
    let page = site.get("/status/conflicts?text=mine", &cookie).await.2;
    let shown = page.contains("mine&lt;i&gt;") || page.contains("yours");
    assert!(shown && page.contains(">Restore</button>"), "{page}");
    let second = site
        .get("/status/conflicts?offset=1&table=a%26%3Cb", &cookie)
        .await
        .2;
    let back = "?table=a%26%3Cb&amp;text=&amp;offset=0";
    assert!(
        second.contains("No such conflicts") && !second.contains("a&<b"),
        "{second}"
    );
    assert!(second.contains(back), "{second}");
    let id = page.split_once("/status/conflicts/").unwrap().1[..32].to_owned();
    let form = format!("csrf={}", csrf(&page));
    let to = format!("/status/conflicts/{id}/restore");
    assert_eq!(site.post(&to, &cookie, "").await.0, StatusCode::FORBIDDEN);
    assert_eq!(
        site.post(&to, &cookie, &form).await.0,
        StatusCode::SEE_OTHER
    );
    let value = |store: &Store| {
        let found = store.read(|reader| reader.query("SELECT a FROM item", &[]));
        found.unwrap()[0][0].clone()
    };
    assert_eq!(value(&site.node.store), "mine<i>".into());
    let again = site.post(&to, &cookie, &form).await;
    assert_eq!(again.0, StatusCode::UNPROCESSABLE_ENTITY, "{}", again.2);
    let local = |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path);
        site.send(Origin::Local(0), request.body(Body::empty()).unwrap())
    };
    let empty = local("GET", "/api/v1/conflicts?table=item&limit=5").await.2;
    assert_eq!(empty, r#"{"conflicts":[],"exported":0}"#);
    let wrong = local("DELETE", "/api/v1/conflicts/xyz").await;
    assert_eq!(wrong.0, StatusCode::UNPROCESSABLE_ENTITY, "{}", wrong.2);
}

#[tokio::test]
async fn a_script_of_declarations_is_taken_by_rest_and_its_first_mistake_is_named() {
    let site = site("administrator", false);
    let post = |body: serde_json::Value| {
        let request =
            Request::post("/api/v1/tables").header(header::CONTENT_TYPE, "application/json");
        site.send(
            Origin::Local(0),
            request.body(Body::from(body.to_string())).unwrap(),
        )
    };
    let script = "CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE UNIQUE INDEX t_a ON t(a);";
    let body = serde_json::json!({ "sql": script, "keys": "engine" });
    assert_eq!(post(body.clone()).await.2, r#"{"declared":2}"#);
    assert_eq!(post(body).await.2, r#"{"declared":2}"#);
    let body =
        serde_json::json!({ "sql": "CREATE TABLE u(id INTEGER PRIMARY KEY); CREATE TABLE v(a)" });
    let (status, _, text) = post(body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        text.contains("statement 2") && text.contains("PRIMARY KEY"),
        "{text}"
    );
    let tables = site.node.store.tables().unwrap();
    let keys = |name: &str| {
        tables
            .iter()
            .find(|table| table.name == name)
            .map(|t| t.keys)
    };
    assert_eq!(keys("t"), Some(crate::replica::schema::Keys::Engine));
    assert!(keys("u").is_some());
}
