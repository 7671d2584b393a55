//! Every change leaves a line that says from what to what.

use super::*;
use crate::node::serve::{host, node::hex};
use crate::settings::message::HostChange;
use crate::store::events::{EventQuery, EventRow, LISTED_MAX};

/// The lines of the event log, the first one first.
fn lines(site: &Site) -> Vec<EventRow> {
    let query = EventQuery {
        limit: LISTED_MAX,
        ..EventQuery::default()
    };
    let mut found = site.node.events.list(&query).unwrap();
    found.reverse();
    found
}

/// The line whose text begins so: what was before, and after.
fn told(site: &Site, text: &str) -> (String, String) {
    let all = lines(site);
    let found = all.iter().find(|line| line.text.starts_with(text));
    let line = found.unwrap_or_else(|| panic!("no line {text:?} among {all:#?}"));
    (line.before.clone(), line.after.clone())
}

async fn local(site: &Site, method: &str, path: &str, body: impl Into<Body>) -> (u16, String) {
    let request = Request::builder().method(method).uri(path);
    let request = request.header(header::CONTENT_TYPE, "application/json");
    let request = request.body(body.into()).unwrap();
    let (status, _, text) = site.send(Origin::Local(0), request).await;
    (status.as_u16(), text)
}

async fn declare(site: &Site, sql: &str) -> (u16, String) {
    let body = serde_json::json!({ "sql": sql }).to_string();
    local(site, "POST", "/api/v1/tables", body).await
}

#[tokio::test]
async fn what_is_declared_and_dropped_is_told_by_name_and_by_its_declaration() {
    let site = site("administrator", false);
    let table = "CREATE TABLE t(id INTEGER PRIMARY KEY, a)";
    let both = format!("{table}; CREATE INDEX t_a ON t(a);");
    assert_eq!(declare(&site, &both).await.0, 200);
    let (before, after) = told(&site, "Tables: declared table t, index t_a");
    assert_eq!(before, "");
    assert_eq!(after, format!("{table}; CREATE INDEX t_a ON t(a)"));
    assert_eq!(declare(&site, &both).await.0, 200);
    let again = told(&site, "Tables: there already table t, index t_a");
    assert_eq!(again, Default::default());
    let row = site
        .node
        .store
        .transact(|tx| tx.execute("INSERT INTO t VALUES (1, 2)", &[]));
    row.unwrap();
    assert_eq!(declare(&site, "DROP TABLE t").await.0, 200);
    let (before, after) = told(&site, "Tables: dropped table t");
    assert_eq!((&*before, &*after), (&*format!("{table} (1 rows)"), ""));
}

#[tokio::test]
async fn a_script_that_fails_half_way_has_a_line_for_what_is_done_and_one_for_why_it_ended() {
    let site = site("administrator", false);
    let table = "CREATE TABLE u(id INTEGER PRIMARY KEY)";
    let (status, text) = declare(&site, &format!("{table}; CREATE TABLE v(a)")).await;
    assert_eq!(status, 422, "{text}");
    assert_eq!(told(&site, "Tables: declared table u").1, table);
    let refused = told(&site, "Refused POST /api/v1/tables: statement 2");
    assert_eq!(refused, Default::default());
    let before = lines(&site).len();
    assert_eq!(declare(&site, "CREATE TABLE w(a)").await.0, 422);
    let all = lines(&site);
    assert_eq!(all.len(), before + 1, "nothing was done: {all:#?}");
}

#[tokio::test]
async fn an_import_tells_how_many_rows_each_table_had_and_has() {
    let site = site("administrator", false);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), [3; 16], 1).unwrap();
    let sql = "CREATE TABLE item(id INTEGER PRIMARY KEY, a)";
    for here in [&store, &site.node.store] {
        here.declare(sql).unwrap();
    }
    let row = "INSERT INTO item VALUES (?, 'x')";
    let insert = |store: &Store, id: i64| store.transact(|tx| tx.execute(row, &[id.into()]));
    for id in 1..=3 {
        insert(&store, id).unwrap();
    }
    insert(&site.node.store, 9).unwrap();
    store.flush().unwrap();
    drop(store);
    let file = std::fs::read(dir.path().join("replicated.db")).unwrap();
    let (status, text) = local(&site, "POST", "/api/v1/tables/import", file).await;
    assert_eq!(status, 200, "{text}");
    assert!(text.contains(r#"{"name":"item","rows":3}"#), "{text}");
    let (before, after) = told(&site, "Imported 3 rows of 1 tables");
    assert_eq!((&*before, &*after), ("item: 1 rows", "item: 4 rows"));
}

#[tokio::test]
async fn a_restored_and_a_dismissed_value_are_told_with_the_row_and_what_was_there() {
    let restored = site("administrator", false);
    conflict(&restored);
    let id = hex(&restored.node.store.conflicts(1).unwrap()[0].id);
    let path = format!("/api/v1/conflicts/{id}/restore");
    assert_eq!(local(&restored, "POST", &path, "").await.0, 200);
    let words = told(&restored, "Conflict restored: a of item 1");
    assert_eq!(words, ("a yours".into(), "a mine<i>".into()));

    let dismissed = site("administrator", false);
    conflict(&dismissed);
    let id = hex(&dismissed.node.store.conflicts(1).unwrap()[0].id);
    let path = format!("/api/v1/conflicts/{id}");
    assert_eq!(local(&dismissed, "DELETE", &path, "").await.0, 200);
    let words = told(&dismissed, "Conflict dismissed: a of item 1");
    assert_eq!(words, ("a mine<i>".into(), String::new()));
}

#[tokio::test]
async fn a_token_that_is_made_and_deleted_is_told_with_what_it_may() {
    let site = site("administrator", false);
    let body = r#"{ "label": "a job", "owner": "admin", "read_only": true }"#;
    let (status, made) = local(&site, "POST", "/api/v1/tokens", body).await;
    assert_eq!(status, 200, "{made}");
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let path = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(local(&site, "DELETE", &path, "").await.0, 200);
    let id = made["id"].as_str().unwrap();
    let words = told(&site, &format!("API token a job ({id}) made"));
    assert_eq!(words, (String::new(), "reads only".into()));
    let words = told(&site, &format!("API token a job ({id}) of admin deleted"));
    assert_eq!(words, ("reads only".into(), String::new()));
    let secret = made["token"].as_str().unwrap();
    let all = format!("{:?}", lines(&site));
    assert!(!all.contains(secret), "{all}");
}

#[tokio::test]
async fn what_was_changed_at_a_console_or_put_back_is_in_the_event_log_once() {
    let site = site("administrator", false);
    let change = |number: u64, warning: bool, text: &str| HostChange {
        number,
        warning,
        who: "root".into(),
        source: "console".into(),
        text: text.into(),
        before: "host_name: \"one\"".into(),
        after: "host_name: \"two\"".into(),
    };
    let all = vec![
        change(5, false, "System settings saved"),
        change(7, true, "put back"),
    ];
    system::with_host(&site, all).await;
    host::note_changes(&site.node).await.unwrap();
    host::note_changes(&site.node).await.unwrap();
    let found = lines(&site);
    let texts: Vec<&str> = found.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["System settings saved", "put back"]);
    assert_eq!(found.iter().map(|line| line.times).sum::<i64>(), 2);
    let line = &found[0];
    assert_eq!((&*line.who, &*line.source), ("root", "console"));
    assert_eq!(
        (&*line.before, &*line.after),
        ("host_name: \"one\"", "host_name: \"two\"")
    );
    assert_eq!(
        (&*found[0].level, &*found[1].level),
        ("information", "warning")
    );
}
