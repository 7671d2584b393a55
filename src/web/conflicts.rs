//! *Status > Conflicts*: the conflict inbox, on a page and by REST.

use axum::extract::{Extension, Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::guard::{Caller, refuse};
use super::openapi::Refusals;
use super::record::Done;
use super::{Web, api, pages, rows};
use crate::node::serve::node::hex;
use crate::node::units;
use crate::replica::value::Value;
use crate::store::{ConflictQuery, ConflictRow, Store, StoreError};

/// Entries on one page.
const PAGE: usize = 100;
/// Entries listed at most by one request.
const LISTED_MAX: usize = 1_000;

/// The pages.
pub fn router() -> Router<Web> {
    Router::new()
        .route("/status/conflicts", get(page))
        .route("/status/conflicts/{id}/{act}", post(act))
}

/// The REST part, below `/api/v1`.
pub fn api() -> Router<Web> {
    Router::new()
        .route("/conflicts", get(list))
        .route("/conflicts/{id}", axum::routing::delete(dismiss))
        .route("/conflicts/{id}/restore", post(restore))
}

#[derive(Clone, Deserialize, IntoParams)]
struct Wanted {
    table: Option<String>,
    column: Option<String>,
    key: Option<String>,
    text: Option<String>,
    since_ms: Option<u64>,
    until_ms: Option<u64>,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

impl Wanted {
    fn query(self, default: usize) -> ConflictQuery {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        ConflictQuery {
            table: filled(self.table),
            column: filled(self.column),
            key: filled(self.key),
            text: filled(self.text),
            since_ms: self.since_ms,
            until_ms: self.until_ms,
            offset: self.offset,
            limit: self.limit.unwrap_or(default).min(LISTED_MAX),
        }
    }
}

async fn page(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let offset = wanted.offset;
    let [table, text] = [&wanted.table, &wanted.text].map(|t| t.clone().unwrap_or_default());
    let search = format!(
        "table={}&text={}",
        pages::encoded(&table),
        pages::encoded(&text)
    );
    let mut query = wanted.query(PAGE);
    query.limit = PAGE + 1;
    let found = api::blocking(&web, move |store| {
        Ok((
            store.conflicts_matching(&query)?,
            store.exported_conflicts()?,
        ))
    });
    let (found, exported) = match found.await {
        Ok(found) => found,
        Err(response) => return response,
    };
    let list: Vec<_> = found.iter().take(PAGE).map(shown).collect();
    let context = json!({
        "title": "Conflicts", "conflicts": list, "exported": exported,
        "table": table, "text": text, "search": search,
        "offset": offset, "previous": offset.saturating_sub(PAGE), "next": offset + PAGE,
        "more": found.len() > PAGE,
    });
    pages::page(&web, &caller, "conflicts.html", "conflicts", context)
}

fn shown(row: &ConflictRow) -> serde_json::Value {
    let join = |values: &[Value]| values.iter().map(rows::text).collect::<Vec<_>>().join(", ");
    let won = (row.winner_ms > 0).then(|| units::utc(row.winner_ms));
    json!({
        "id": hex(&row.id), "table": row.table, "key": join(&row.key), "column": row.column,
        "value": join(&row.value), "time": units::utc(row.time_ms), "won": won,
        "reason": row.reason, "lost": row.reason == "later write",
        "entry": !["UNIQUE", "FOREIGN KEY", "declared differently"].contains(&&*row.reason),
    })
}

async fn act(State(web): State<Web>, Path((id, act)): Path<(String, String)>) -> Response {
    let work = move |store: &Store| match act.as_str() {
        "restore" => restored(store, &id),
        "dismiss" => dismissed(store, &id),
        _ => Err(StoreError::Refused("restore or dismiss".into())),
    };
    match api::blocking(&web, work).await {
        Ok(done) => done.then("/status/conflicts"),
        Err(response) => response,
    }
}

/// Restores, with what the event log says of it: the value that was there, and the one that is.
fn restored(store: &Store, id: &str) -> Result<Done, StoreError> {
    let (entry, before) = store.restore_conflict(&id_of(id)?)?;
    let column = &entry.column;
    let shown = |value: &Value| format!("{column} {}", rows::text(value));
    let before = before.as_ref().map_or("no row".into(), shown);
    let words = format!("Conflict restored: {}", place(&entry));
    Ok(Done::change(words, before, shown_values(&entry)))
}

/// Dismisses, with what the event log says of it: the value that is given up.
fn dismissed(store: &Store, id: &str) -> Result<Done, StoreError> {
    let entry = store.dismiss_conflict(&id_of(id)?)?;
    let words = format!("Conflict dismissed: {}", place(&entry));
    Ok(Done::change(words, shown_values(&entry), ""))
}

/// Which value of which row.
fn place(entry: &ConflictRow) -> String {
    let key: Vec<String> = entry.key.iter().map(rows::text).collect();
    format!("{} of {} {}", entry.column, entry.table, key.join(", "))
}

fn shown_values(entry: &ConflictRow) -> String {
    let values: Vec<String> = entry.value.iter().map(rows::text).collect();
    format!("{} {}", entry.column, values.join(", "))
}

fn id_of(text: &str) -> Result<[u8; 16], StoreError> {
    let id = rows::unhex(text).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    id.ok_or_else(|| StoreError::Refused("a conflict's id has 32 hexadecimal digits".into()))
}

/// The conflict inbox, or a part of it.
#[derive(Serialize, ToSchema)]
struct Inbox {
    conflicts: Vec<Conflict>,
    /// How many went to `conflicts-exported.jsonl` because the inbox was full.
    exported: u64,
}

/// What lost against a concurrent change.
#[derive(Serialize, ToSchema)]
struct Conflict {
    /// Names it in requests.
    id: String,
    table: String,
    /// The row's key.
    key: Vec<rows::Cell>,
    /// The column; empty for a whole row or table.
    column: String,
    /// The value that lost; of a whole row all of its values.
    value: Vec<rows::Cell>,
    /// When it was written.
    time_ms: u64,
    /// By which node.
    written_by: Option<String>,
    /// When what won was written.
    winner_ms: u64,
    /// By which node.
    won_by: Option<String>,
    /// Why it lost.
    reason: String,
}

#[utoipa::path(
    get,
    path = "/api/v1/conflicts",
    summary = "The conflict inbox",
    params(Wanted),
    responses((status = 200, description = "What fits", body = Inbox), Refusals)
)]
async fn list(
    State(web): State<Web>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Inbox>, Response> {
    if wanted.limit == Some(0) {
        let status = axum::http::StatusCode::UNPROCESSABLE_ENTITY;
        return Err(refuse(status, "limit must be 1 to 1000"));
    }
    let query = wanted.query(200);
    let work = api::blocking(&web, move |store| {
        Ok((
            store.conflicts_matching(&query)?,
            store.exported_conflicts()?,
        ))
    });
    let (found, exported) = work.await?;
    Ok(Json(Inbox {
        conflicts: found.iter().map(object).collect(),
        exported,
    }))
}

fn object(row: &ConflictRow) -> Conflict {
    Conflict {
        id: hex(&row.id),
        table: row.table.clone(),
        key: row.key.iter().map(rows::cell).collect(),
        column: row.column.clone(),
        value: row.value.iter().map(rows::cell).collect(),
        time_ms: row.time_ms,
        written_by: row.loser.map(|node| hex(&node)),
        winner_ms: row.winner_ms,
        won_by: row.winner.map(|node| hex(&node)),
        reason: row.reason.clone(),
    }
}

/// A value was written again.
#[derive(Serialize, ToSchema)]
struct Restored {
    /// True.
    restored: bool,
}

#[utoipa::path(
    post, path = "/api/v1/conflicts/{id}/restore",
    summary = "Writes a lost value again",
    params(("id" = String, Path, description = "As listed")),
    responses((status = 200, description = "Written", body = Restored), Refusals)
)]
async fn restore(State(web): State<Web>, Path(id): Path<String>) -> Result<Response, Response> {
    let done = api::blocking(&web, move |store| restored(store, &id)).await?;
    Ok(done.with(Json(Restored { restored: true })))
}

/// An entry is gone.
#[derive(Serialize, ToSchema)]
struct Dismissed {
    /// True.
    dismissed: bool,
}

#[utoipa::path(
    delete, path = "/api/v1/conflicts/{id}",
    summary = "Takes a conflict out of the inbox",
    params(("id" = String, Path, description = "As listed")),
    responses((status = 200, description = "Gone at every peer", body = Dismissed), Refusals)
)]
async fn dismiss(State(web): State<Web>, Path(id): Path<String>) -> Result<Response, Response> {
    let done = api::blocking(&web, move |store| dismissed(store, &id)).await?;
    Ok(done.with(Json(Dismissed { dismissed: true })))
}
