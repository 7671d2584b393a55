//! *Status > Tables*: the replicated tables, their rows, and a small form to change one.

use axum::Router;
use axum::extract::{Extension, Form, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

use super::guard::Caller;
use super::record::Why;
use super::{Web, api, pages, rows};
use crate::node::serve::node::hex;

/// Rows on one page.
const PAGE: u64 = 50;

/// The routes.
pub fn router() -> Router<Web> {
    Router::new()
        .route("/status/tables", get(list))
        .route("/status/tables/{name}", get(table).post(write))
        .route("/status/tables/{name}/delete", post(delete))
}

async fn list(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    let found = api::blocking(&web, |store| Ok((rows::visible(store)?, store.digest()?)));
    let (tables, digest) = match found.await {
        Ok(found) => found,
        Err(response) => return response,
    };
    let context = json!({ "title": "Tables", "tables": tables, "digest": hex(&digest) });
    pages::page(&web, &caller, "tables.html", "tables", context)
}

#[derive(Deserialize)]
struct At {
    #[serde(default)]
    page: u64,
    edit: Option<String>,
}

async fn table(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Query(at): Query<At>,
) -> Response {
    show(&web, &caller, name, &at, None).await
}

async fn show(
    web: &Web,
    caller: &Caller,
    name: String,
    at: &At,
    problem: Option<Value>,
) -> Response {
    let offset = at.page.min(1 << 30) * PAGE;
    let found = api::blocking(web, move |store| {
        let table = rows::table(store, &name)?;
        let found = rows::rows(store, &table, PAGE, offset)?;
        Ok((table, found))
    });
    let (table, found) = match found.await {
        Ok(found) => found,
        Err(response) => return response,
    };
    let key_at: Vec<usize> = table
        .key
        .iter()
        .filter_map(|key| table.columns.iter().position(|column| column == key))
        .collect();
    let list: Vec<Value> = found
        .iter()
        .map(|row| {
            let key: Map<String, Value> = key_at
                .iter()
                .map(|at| (table.columns[*at].clone(), json!(rows::cell(&row[*at]))))
                .collect();
            let key = Value::Object(key).to_string();
            let cells: Vec<String> = row.iter().map(rows::text).collect();
            json!({ "key": key, "cells": cells, "edited": at.edit.as_ref() == Some(&key) })
        })
        .collect();
    let edited = list.iter().find(|row| row["edited"] == true).cloned();
    let context = json!({
        "title": table.name, "table": table, "rows": list, "edited": edited, "problem": problem,
        "page": at.page, "more": offset + PAGE < table.rows, "first": offset + 1,
        "last": offset + found.len() as u64,
    });
    pages::page(web, caller, "table.html", "tables", context)
}

/// Text typed for a column: a number where it is one and reads back the same, else text.
fn typed(text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => json!(number),
        _ => match text.parse::<f64>() {
            Ok(number) if number.is_finite() && number.to_string() == text => json!(number),
            _ => json!(text),
        },
    }
}

async fn write(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Form(mut form): Form<BTreeMap<String, String>>,
) -> Response {
    form.remove("csrf");
    // Column names are prefixed in the form, so that none can be mistaken for `csrf`.
    let row: Map<String, Value> = form
        .iter()
        .filter_map(|(name, text)| Some((name.strip_prefix("c:")?.to_owned(), typed(text))))
        .filter(|(_, value)| value != "")
        .collect();
    let to = name.clone();
    let work = api::blocking(&web, move |store| rows::write_recorded(store, &to, &row));
    match work.await {
        Ok(done) => done.then(&path(&name)),
        Err(response) => {
            let why = response.extensions().get::<Why>().cloned();
            let why = why.unwrap_or_else(|| Why("it failed".into()));
            let at = At {
                page: 0,
                edit: None,
            };
            let page = show(&web, &caller, name, &at, Some(json!(why.0))).await;
            (Extension(why), page).into_response()
        }
    }
}

async fn delete(
    State(web): State<Web>,
    Path(name): Path<String>,
    Form(form): Form<BTreeMap<String, String>>,
) -> Response {
    let key = form.get("key").map(String::as_str).unwrap_or_default();
    let Ok(key) = serde_json::from_str::<Map<String, Value>>(key) else {
        return pages::not_found().await;
    };
    let from = name.clone();
    let work = move |store: &_| rows::delete_recorded(store, &from, &key);
    match api::blocking(&web, work).await {
        Ok((_, done)) => done.then(&path(&name)),
        Err(response) => response,
    }
}

/// The page of a table.
fn path(name: &str) -> String {
    format!("/status/tables/{}", pages::encoded(name))
}
