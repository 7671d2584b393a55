//! What nobody sends by accident: forged and replayed cookies, bytes that are no text, paths that
//! climb, line ends where a header could begin, wrong types and sizes.

use axum::http::{HeaderValue, Method};

use super::access::{basic_of, log};
use super::*;

impl Site {
    /// One request of any bytes.
    async fn raw(
        &self,
        method: Method,
        target: &str,
        headers: &[(header::HeaderName, &[u8])],
        body: &[u8],
    ) -> (StatusCode, Response<()>, String) {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(name, HeaderValue::from_bytes(value).unwrap());
        }
        let request = request.body(Body::from(body.to_vec())).unwrap();
        self.send(remote(), request).await
    }

    /// One request that is refused as the caller's fault, with a line in the event log.
    async fn refused(
        &self,
        method: Method,
        target: &str,
        headers: &[(header::HeaderName, &[u8])],
        body: &[u8],
    ) {
        let lines = || -> i64 { log(self, target).iter().map(|line| line.times).sum() };
        let before = lines();
        let (status, ..) = self.raw(method, target, headers, body).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]);
        assert!(status.is_client_error(), "{target} {shown}: {status}");
        assert_eq!(lines(), before + 1, "{target} {shown}: {status}");
    }
}

const FORM: &[u8] = b"application/x-www-form-urlencoded";
const JSON: &[u8] = b"application/json";

fn to_login(answer: &(StatusCode, Response<()>, String)) -> bool {
    let target = answer.1.headers().get(header::LOCATION);
    answer.0 == StatusCode::SEE_OTHER && target.is_some_and(|target| target == "/login")
}

#[tokio::test]
async fn a_cookie_with_any_octet_changed_opens_nothing() {
    let site = site("administrator", false);
    let good = site.login().await;
    assert_eq!(site.get("/status/alarms", &good).await.0, StatusCode::OK);
    let (name, value) = good.split_once('=').unwrap();
    for at in 0..value.len() {
        let mut forged = value.as_bytes().to_vec();
        forged[at] = if forged[at] == b'a' { b'b' } else { b'a' };
        let forged = format!("{name}={}", String::from_utf8(forged).unwrap());
        assert!(to_login(&site.get("/status/alarms", &forged).await), "{at}");
    }
    let long = format!("{name}={}", "a".repeat(16_000));
    let shorter = format!("{name}={}", &value[..value.len() - 1]);
    let others = [
        format!("{name}="),
        name.to_owned(),
        format!("tutti={value}"),
        format!("x{name}={value}"),
        long,
        shorter,
    ];
    for cookie in &others {
        assert!(
            to_login(&site.get("/status/alarms", cookie).await),
            "{cookie:.60}"
        );
    }
    let odd = [(header::COOKIE, &b"__Host-tutti=\xff\xfe\x80"[..])];
    let answer = site.raw(Method::GET, "/status/alarms", &odd, b"").await;
    assert!(to_login(&answer));
}

#[tokio::test]
async fn a_cookie_is_of_no_use_after_logout_and_after_another_password() {
    let site = site("administrator", false);
    let first = site.login().await;
    site.post("/logout", &first, "").await;
    assert!(
        to_login(&site.get("/status/alarms", &first).await),
        "replayed after logout"
    );
    let (stolen, own) = (site.login().await, site.login().await);
    let token = csrf(&site.get("/account/password", &own).await.2);
    let form = format!(
        "csrf={token}&current={}&new=green-Valley-52-oboe&again=green-Valley-52-oboe",
        PASSWORD.replace(' ', "+")
    );
    let (status, _, page) = site.post("/account/password", &own, &form).await;
    assert!(
        status.is_success() || status.is_redirection(),
        "{status} {page}"
    );
    assert!(
        to_login(&site.get("/status/alarms", &stolen).await),
        "stolen before the change"
    );
}

#[tokio::test]
async fn paths_that_climb_or_are_no_text_reach_nothing() {
    let site = site("administrator", false);
    let cookie = site.login().await;
    let long = format!("/{}", "a/".repeat(4000));
    let paths = [
        "/../etc/passwd",
        "/static/../../etc/passwd",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/static/..%2f..%2fetc%2fpasswd",
        "/static/style.css/..",
        "/static/style.css%00.png",
        "//etc/passwd",
        "/%2f%2fetc/passwd",
        "/status//alarms",
        "/STATUS/ALARMS",
        "/status/alarms/",
        "/status/tables/..%2f..%2flocal.db",
        "/status/tables/%00",
        "/status/tables/%ff%fe",
        "/status/tables/a%0d%0ab",
        "/api/v1/../../etc/passwd",
        "/api/v1/tables/%2e%2e/rows",
        "/api/v1/tables/_tutti_log/rows",
        "/status/tables/_tutti_clock",
        "/%c0%ae%c0%ae/etc",
        "/status/tables/%27%3b%20DROP%20TABLE%20administrator",
        long.as_str(),
    ];
    for path in paths {
        let (status, head, text) = site.get(path, &cookie).await;
        assert!(status.is_client_error(), "{path:.60}: {status}");
        assert!(
            !text.contains("root:") && !text.contains("SQLite"),
            "{path:.60}: {text}"
        );
        assert!(head.headers().contains_key(header::CONTENT_SECURITY_POLICY));
        let (status, ..) = site.get(path, "").await;
        assert!(
            status.is_client_error() || status.is_redirection(),
            "{path:.60}: {status}"
        );
    }
    assert_eq!(administrators::count(&site.node.store).unwrap(), 1);
}

#[tokio::test]
async fn a_line_end_in_a_request_begins_no_header_and_no_line_of_the_log() {
    let site = site("administrator", false);
    let cookie = site.login().await;
    let token = csrf(&site.get("/system/clustering", &cookie).await.2);
    let form = format!("csrf={token}&c%3Aid=a%0d%0aSet-Cookie%3a+x%3d1");
    for path in [
        "/status/tables/note%0d%0aSet-Cookie:%20evil=1",
        "/status/tables/administrator%0a",
    ] {
        for path in [path.to_owned(), format!("{path}/delete")] {
            let (status, head, _) = site.post(&path, &cookie, &form).await;
            assert!(!status.is_server_error(), "{path}: {status}");
            assert!(!head.headers().contains_key(header::SET_COOKIE), "{path}");
        }
    }
    let form = "name=a%0d%0aLogged+in+admin&password=b%0d%0ac%00d";
    site.post("/login", "", form).await;
    let all = log(&site, "");
    assert!(!all.is_empty());
    for line in all {
        for text in [&line.text, &line.who, &line.source] {
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused_and_change_nothing() {
    let site = site("administrator", false);
    let cookie = site.login().await;
    let token = csrf(&site.get("/system/clustering", &cookie).await.2);
    let odd: [&[u8]; 5] = [
        b"\xff\xfe",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\x00",
        b"\xf8\x88\x80\x80\x80",
    ];
    for bytes in odd {
        let form = [
            b"csrf=",
            token.as_bytes(),
            b"&key=",
            bytes,
            b"&peer1=",
            bytes,
        ]
        .concat();
        let headers = [
            (header::COOKIE, cookie.as_bytes()),
            (header::CONTENT_TYPE, FORM),
        ];
        let (status, ..) = site
            .raw(Method::POST, "/system/clustering", &headers, &form)
            .await;
        assert!(!status.is_server_error(), "{bytes:?}: {status}");
        let body = [b"{\"key\": \"", bytes, b"\"}"].concat();
        let basic = basic_of(format!("admin:{PASSWORD}").as_bytes());
        let headers = [
            (header::AUTHORIZATION, basic.as_bytes()),
            (header::CONTENT_TYPE, JSON),
        ];
        for path in ["/api/v1/cluster", "/api/v1/password", "/api/v1/settings"] {
            site.refused(Method::PUT, path, &headers, &body).await;
        }
        let strange = basic_of(&[b"admin", bytes, b":x"].concat());
        let headers = [(header::AUTHORIZATION, strange.as_bytes())];
        site.refused(Method::GET, "/api/v1/status", &headers, b"")
            .await;
    }
    assert!(site.node.cluster.borrow().fields.is_blank());
}

#[tokio::test]
async fn another_type_and_too_much_are_refused_before_they_are_read() {
    let site = site("administrator", false);
    let cookie = site.login().await;
    let token = csrf(&site.get("/system/clustering", &cookie).await.2);
    let form = format!("csrf={token}&key=&peer1=&peer2=&peer3=");
    for kind in [
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/json",
        "",
    ] {
        let headers = [
            (header::COOKIE, cookie.as_bytes()),
            (header::CONTENT_TYPE, kind.as_bytes()),
        ];
        let form = form.as_bytes();
        site.refused(Method::POST, "/system/clustering", &headers, form)
            .await;
    }
    let much = vec![b'a'; super::super::BODY_MAX + 1];
    for (path, kind) in [
        ("/login", FORM),
        ("/system/clustering", FORM),
        ("/api/v1/session", JSON),
    ] {
        let headers = [
            (header::COOKIE, cookie.as_bytes()),
            (header::CONTENT_TYPE, kind),
        ];
        site.refused(Method::POST, path, &headers, &much).await;
    }
    let deep = "[".repeat(100_000);
    let headers = [(header::CONTENT_TYPE, JSON)];
    site.refused(Method::POST, "/api/v1/session", &headers, deep.as_bytes())
        .await;
}
