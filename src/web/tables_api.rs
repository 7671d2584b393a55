//! Tables and rows by REST: declared, listed, written, imported; the digest over all.

use std::io::Write;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::api::{blocking, failed};
use super::guard::refuse;
use super::openapi::Refusals;
use super::record::Done;
use super::{Web, rows};
use crate::node::serve::node::{hex, random};
use crate::replica::schema::Keys;
use crate::store::{Declared, ImportReport, Store, StoreError, TableInfo};

/// The largest file an import takes.
const IMPORT_MAX: usize = 4 << 30;

/// The REST part, below `/api/v1`.
pub fn api() -> Router<Web> {
    Router::new()
        .route("/tables", get(tables).post(declare))
        .route(
            "/tables/{name}/rows",
            get(table_rows).post(write_row).delete(delete_row),
        )
        .route(
            "/tables/import",
            post(import).layer(DefaultBodyLimit::disable()),
        )
        .route("/digest", get(digest))
}

/// The replicated tables.
#[derive(Serialize, ToSchema)]
struct Tables {
    /// By name.
    tables: Vec<TableInfo>,
}

#[utoipa::path(
    get,
    path = "/api/v1/tables",
    summary = "The replicated tables",
    responses((status = 200, description = "By name", body = Tables), Refusals)
)]
async fn tables(State(web): State<Web>) -> Result<Json<Tables>, Response> {
    let tables = blocking(&web, rows::visible).await?;
    Ok(Json(Tables { tables }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Declaration {
    /// One statement or several.
    sql: String,
    /// Who chooses the ids of new tables' rows.
    #[serde(default)]
    keys: Keys,
}

/// What a script came to.
#[derive(Serialize, ToSchema)]
struct Carried {
    /// How many statements there were.
    declared: usize,
}

#[utoipa::path(
    post, path = "/api/v1/tables",
    summary = "Declares or drops tables, indexes and triggers",
    request_body = Declaration,
    responses((status = 200, description = "All are carried out", body = Carried), Refusals)
)]
async fn declare(
    State(web): State<Web>,
    Json(body): Json<Declaration>,
) -> Result<Response, Response> {
    let work = move |store: &Store| {
        let mut done = Vec::new();
        let ended = store.declare_script(&body.sql, body.keys, &mut done);
        Ok((done, ended))
    };
    let (all, ended) = blocking(&web, work).await?;
    let declared = all.len();
    let done = declared_words(&all);
    match ended {
        Ok(()) => Ok(done.with(Json(Carried { declared }))),
        Err(error) => Err(partly(done, declared > 0, &error)),
    }
}

/// The refusal of what ended half-way: what was done before has its line, too.
fn partly(done: Done, begun: bool, error: &StoreError) -> Response {
    match begun {
        true => done.with(failed(error)),
        false => failed(error),
    }
}

/// What the event log says of a script.
fn declared_words(all: &[Declared]) -> Done {
    let named = |verb: &str, wanted: fn(&Declared) -> bool| {
        let found = all.iter().filter(|one| wanted(one));
        let names: Vec<&str> = found.map(|one| one.what.as_str()).collect();
        (!names.is_empty()).then(|| format!("{verb} {}", names.join(", ")))
    };
    let parts = [
        named("declared", |one| {
            one.before.is_none() && one.after.is_some()
        }),
        named("dropped", |one| one.after.is_none()),
        named("there already", |one| {
            one.before.is_some() && one.after.is_some()
        }),
    ];
    let changed = |one: &&Declared| one.before.is_none() || one.after.is_none();
    let texts = |of: fn(&Declared) -> Option<&String>| {
        let found = all.iter().filter(changed).filter_map(of);
        found.cloned().collect::<Vec<_>>().join("; ")
    };
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    Done::change(
        format!("Tables: {}", parts.join("; ")),
        texts(|one| one.before.as_ref()),
        texts(|one| one.after.as_ref()),
    )
}

#[derive(Deserialize, IntoParams)]
struct Page {
    /// At most 1,000.
    #[serde(default = "hundred")]
    limit: u64,
    #[serde(default)]
    offset: u64,
}

fn hundred() -> u64 {
    100
}

/// A page of a table.
#[derive(Serialize, ToSchema)]
struct Rows {
    table: TableInfo,
    /// Each an object of its columns.
    rows: Vec<rows::Object>,
}

#[utoipa::path(
    get, path = "/api/v1/tables/{name}/rows",
    summary = "Rows of a table, in key order",
    params(("name" = String, Path, description = "The table"), Page),
    responses((status = 200, description = "A page of rows", body = Rows), Refusals)
)]
async fn table_rows(
    State(web): State<Web>,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Rows>, Response> {
    let body = blocking(&web, move |store| {
        let table = rows::table(store, &name)?;
        let found = rows::rows(store, &table, page.limit, page.offset)?;
        let rows = found.iter().map(|row| rows::object(&table, row)).collect();
        Ok(Rows { table, rows })
    });
    Ok(Json(body.await?))
}

/// A row was written.
#[derive(Serialize, ToSchema)]
struct Written {
    /// True.
    written: bool,
}

#[utoipa::path(
    post, path = "/api/v1/tables/{name}/rows",
    summary = "Writes one row: an object of its columns",
    request_body = rows::Object,
    params(("name" = String, Path, description = "The table")),
    responses((status = 200, description = "Inserted or changed", body = Written), Refusals)
)]
async fn write_row(
    State(web): State<Web>,
    Path(name): Path<String>,
    Json(row): Json<Map<String, Value>>,
) -> Result<Response, Response> {
    let work = move |store: &Store| rows::write_recorded(store, &name, &row);
    let done = blocking(&web, work).await?;
    Ok(done.with(Json(Written { written: true })))
}

/// A row was deleted.
#[derive(Serialize, ToSchema)]
struct Deleted {
    /// Whether there was one.
    deleted: bool,
}

#[utoipa::path(
    delete, path = "/api/v1/tables/{name}/rows",
    summary = "Deletes one row: an object of its key",
    request_body = rows::Object,
    params(("name" = String, Path, description = "The table")),
    responses((status = 200, description = "Done", body = Deleted), Refusals)
)]
async fn delete_row(
    State(web): State<Web>,
    Path(name): Path<String>,
    Json(key): Json<Map<String, Value>>,
) -> Result<Response, Response> {
    let work = move |store: &Store| rows::delete_recorded(store, &name, &key);
    let (deleted, done) = blocking(&web, work).await?;
    Ok(done.with(Json(Deleted { deleted })))
}

/// What an import did.
#[derive(Serialize, ToSchema)]
struct Imported {
    /// In the order they were loaded.
    tables: Vec<Loaded>,
    /// Indexes and triggers that do not replicate, each with the reason.
    skipped: Vec<String>,
}

/// One table of an import.
#[derive(Serialize, ToSchema)]
struct Loaded {
    name: String,
    /// How many rows came from the file; those that were there already are not counted.
    rows: u64,
}

/// Takes an SQLite file as the body, so that nobody needs to share a file system with `serve`.
#[utoipa::path(
    post, path = "/api/v1/tables/import",
    summary = "Declares and loads every table of an SQLite file, which is the body",
    request_body(content = Vec<u8>, content_type = "application/vnd.sqlite3"),
    responses((status = 200, description = "Loaded", body = Imported), Refusals)
)]
async fn import(State(web): State<Web>, mut body: Body) -> Result<Response, Response> {
    let path = web
        .node
        .state
        .join(format!("import-{}.db", hex(&random::<8>())));
    let _remove = RemoveAtEnd(path.clone());
    let wrong = |error: &dyn std::fmt::Display| refuse(StatusCode::BAD_REQUEST, &error.to_string());
    let mut file = std::fs::File::create_new(&path).map_err(|error| wrong(&error))?;
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| wrong(&error))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        size += data.len();
        if size > IMPORT_MAX {
            return Err(refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                "an import takes at most 4 GiB",
            ));
        }
        file.write_all(&data).map_err(|error| wrong(&error))?;
    }
    drop(file);
    let work = move |store: &Store| {
        let before = rows::visible(store)?;
        let mut report = ImportReport::default();
        let ended = store.import(&path, &mut report);
        Ok((before, report, ended, rows::visible(store)?))
    };
    let (before, report, ended, after) = blocking(&web, work).await?;
    let done = imported_words(&report, &before, &after);
    if let Err(error) = ended {
        return Err(partly(done, !report.tables.is_empty(), &error));
    }
    let loaded = report.tables.into_iter();
    Ok(done.with(Json(Imported {
        tables: loaded.map(|(name, rows)| Loaded { name, rows }).collect(),
        skipped: report.skipped,
    })))
}

/// What the event log says of an import: how many rows each of its tables had, and has.
fn imported_words(report: &ImportReport, before: &[TableInfo], after: &[TableInfo]) -> Done {
    let rows: u64 = report.tables.iter().map(|(_, rows)| rows).sum();
    let counts = |tables: &[TableInfo]| {
        let named = |name: &String| {
            let found = tables.iter().find(|table| table.name == *name);
            found.map(|table| format!("{name}: {} rows", table.rows))
        };
        let all = report.tables.iter().filter_map(|(name, _)| named(name));
        all.collect::<Vec<_>>().join(", ")
    };
    let mut words = format!("Imported {rows} rows of {} tables", report.tables.len());
    if !report.skipped.is_empty() {
        words += &format!("; left out: {}", report.skipped.join(", "));
    }
    Done::change(words, counts(before), counts(after))
}

struct RemoveAtEnd(std::path::PathBuf);

impl Drop for RemoveAtEnd {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A digest over all rows: peers that have the same rows have the same.
#[derive(Serialize, ToSchema)]
struct Digest {
    /// In hexadecimal digits.
    digest: String,
    /// How many systems ever wrote what is here.
    origins: usize,
    /// How many transactions led here.
    transactions: u64,
}

#[utoipa::path(
    get,
    path = "/api/v1/digest",
    summary = "The digest over all rows",
    responses((status = 200, description = "As it is now", body = Digest), Refusals)
)]
async fn digest(State(web): State<Web>) -> Result<Json<Digest>, Response> {
    let (digest, (origins, transactions)) = blocking(&web, |store| {
        Ok((store.digest()?, store.frontier_summary()))
    })
    .await?;
    Ok(Json(Digest {
        digest: hex(&digest),
        origins,
        transactions,
    }))
}
