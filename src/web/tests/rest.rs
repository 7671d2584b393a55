//! The REST interface is what its OpenAPI document says, no more and no less, and its one gate
//! stands before all of it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::replica::value::Value;
use crate::web::{openapi, tokens};

/// Documented paths with their methods.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let document = serde_json::to_value(openapi::document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let methods = |item: &serde_json::Value| {
        let all = item.as_object().unwrap().keys();
        all.map(|method| method.to_uppercase()).collect()
    };
    let all = paths.iter();
    all.map(|(path, item)| (path.clone(), methods(item)))
        .collect()
}

/// A path with something in the place of each parameter.
fn filled(path: &str) -> String {
    path.replace("{name}", "note")
        .replace("{id}", "0123456789abcdef0123456789abcdef")
}

/// Every `.route("..."` of the REST parts, read from their source.
fn written() -> BTreeSet<String> {
    let sources = [
        include_str!("../api.rs"),
        include_str!("../tables_api.rs"),
        include_str!("../conflicts.rs"),
        include_str!("../log_page.rs"),
        include_str!("../accounts.rs"),
        include_str!("../restart.rs"),
        include_str!("../status.rs"),
        include_str!("../network.rs"),
        include_str!("../certificates.rs"),
        include_str!("../system_pages.rs"),
    ];
    // These three are not below the guard of the others.
    let apart = ["/api/v1/session", "/healthz", "/metrics"];
    let mut found = BTreeSet::from(apart.map(str::to_owned));
    for source in sources {
        let routers = source.split("-> Router<Web> {").skip(1);
        // The last router of a file is its REST part; api.rs has only that.
        let last = routers.last().unwrap().split("\n}").next().unwrap();
        for piece in last.split(".route(").skip(1) {
            let path = piece.split('"').nth(1).unwrap();
            found.insert(format!("/api/v1{path}"));
        }
    }
    found
}

fn ask(method: &str, path: &str, token: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap()
}

#[test]
fn every_operation_has_the_schema_of_its_answer_and_of_its_refusals() {
    let document = serde_json::to_value(openapi::document()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("200"), "{method} {path}");
            for (status, response) in responses {
                let content = response["content"].as_object();
                let content = content.unwrap_or_else(|| panic!("{method} {path}: {status}"));
                assert_eq!(content.len(), 1, "{method} {path}: {status}");
                for media in content.values() {
                    let schema = media["schema"].as_object().unwrap();
                    // A name of a type, or the text of what is no JSON.
                    let named = schema.get("$ref").or(schema.get("type"));
                    assert!(named.is_some(), "{method} {path}: {status}: {schema:?}");
                    assert_ne!(named.unwrap(), "object", "{method} {path}: {status}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_document_and_the_routes_are_the_same() {
    let site = site("administrator", false);
    let store = &site.node.store;
    let (_, token) = tokens::make(store, "admin", "test", false).unwrap();
    let documented = documented();
    let paths: BTreeSet<String> = documented.keys().cloned().collect();
    assert_eq!(paths, written());
    for (path, methods) in documented
        .iter()
        .filter(|(path, _)| !path.ends_with("/session"))
    {
        // No route has OPTIONS, so the answer names the methods that there are.
        let (status, head, text) = site
            .send(remote(), ask("OPTIONS", &filled(path), &token))
            .await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}: {text}");
        let allowed = head.headers()[header::ALLOW].to_str().unwrap();
        let allowed = allowed.split(',').filter(|method| *method != "HEAD");
        let allowed: BTreeSet<String> = allowed.map(str::to_owned).collect();
        assert_eq!(&allowed, methods, "{path}");
    }
    let (status, _, text) = site
        .send(remote(), ask("GET", "/api/v1/openapi.json", &token))
        .await;
    assert_eq!(status, StatusCode::OK);
    for words in [
        "\"/api/v1/cluster\"",
        "\"ClusterBody\"",
        "\"bearer\"",
        "peer1",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[tokio::test]
async fn each_mutation_refuses_readers_and_cookies_without_a_token() {
    let site = site("administrator", false);
    let store = &site.node.store;
    let (_, reader) = tokens::make(store, "admin", "reader", true).unwrap();
    let cookie = site.login().await;
    let mut mutations = 0;
    for (path, methods) in documented() {
        let path = filled(&path);
        if path.ends_with("/session") || path == "/healthz" {
            continue;
        }
        for method in methods {
            let stranger = Request::builder().method(method.as_str()).uri(&path);
            let stranger = stranger.body(Body::empty()).unwrap();
            let (status, _, _) = site.send(remote(), stranger).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
            if method == "GET" {
                continue;
            }
            mutations += 1;
            // Its own password is all that a reader changes, and a token has none.
            let (status, _, text) = site.send(remote(), ask(&method, &path, &reader)).await;
            let refused = match path.ends_with("/password") {
                true => status.is_client_error(),
                false => status == StatusCode::FORBIDDEN && text.contains("may only read"),
            };
            assert!(refused, "{method} {path}: {status} {text}");
            let forged = Request::builder()
                .method(method.as_str())
                .uri(&path)
                .header(header::COOKIE, &cookie)
                .body(Body::empty())
                .unwrap();
            let (status, _, text) = site.send(remote(), forged).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}: {text}");
        }
    }
    assert!(mutations > 15, "{mutations}");
}

#[tokio::test]
async fn a_source_that_asks_too_often_is_told_to_wait() {
    let site = site("administrator", false);
    let mut last = StatusCode::OK;
    for _ in 0..1_000 {
        last = site.get("/healthz", "").await.0;
        if last != StatusCode::OK {
            break;
        }
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    let local = Request::get("/healthz").body(Body::empty()).unwrap();
    assert_eq!(site.send(Origin::Local(0), local).await.0, StatusCode::OK);
}

#[tokio::test]
async fn some_columns_of_a_row_are_written_whatever_the_others_need_in_a_new_one() {
    let site = site("administrator", false);
    let store = &site.node.store;
    let sql = "CREATE TABLE part(id INTEGER PRIMARY KEY, a, b TEXT NOT NULL, UNIQUE (a))";
    store.declare(sql).unwrap();
    let post = |row: &'static str| {
        let request = Request::post("/api/v1/tables/part/rows")
            .header(header::CONTENT_TYPE, "application/json");
        site.send(Origin::Local(0), request.body(Body::from(row)).unwrap())
    };
    let all = || {
        let found = store.read(|reader| reader.query("SELECT id, a, b FROM part", &[]));
        found.unwrap()
    };
    assert_eq!(post(r#"{"id":1,"b":"x"}"#).await.0, StatusCode::OK);
    for (row, a) in [
        (r#"{"id":1,"a":5}"#, 5.into()),
        (r#"{"ID":"1","A":6}"#, 6.into()),
        (r#"{"id":1}"#, 6.into()),
        (r#"{"a":null,"id":1}"#, Value::Null),
    ] {
        let (status, _, text) = post(row).await;
        assert_eq!(status, StatusCode::OK, "{row}: {text}");
        assert_eq!(all(), [[1.into(), a, "x".into()]], "{row}");
    }
    // A row that is not there needs all of it, and another row's value is not taken over.
    for row in [r#"{"id":2,"a":7}"#, r#"{"a":7}"#, r#"{"id":2}"#] {
        let (status, _, text) = post(row).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{row}: {text}");
    }
    assert_eq!(post(r#"{"a":6,"b":"y"}"#).await.0, StatusCode::OK);
    let taken = post(r#"{"id":1,"a":6}"#).await;
    assert_eq!(taken.0, StatusCode::UNPROCESSABLE_ENTITY, "{}", taken.2);
    let expected = [
        [1.into(), Value::Null, "x".into()],
        [2.into(), 6.into(), "y".into()],
    ];
    assert_eq!(all(), expected);
}
