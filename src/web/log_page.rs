//! *Status > Event log* and *Status > Alarms*, on pages and by REST.

use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::guard::{Caller, refuse};
use super::openapi::Refusals;
use super::record::Done;
use super::{Web, pages};
use crate::node::units;
use crate::store::StoreError;
use crate::store::events::{AlarmRow, EventQuery, EventRow, Events, Kind, LISTED_MAX, Level};

/// Lines on one page.
const PAGE: usize = 100;

/// The routes.
pub fn router() -> Router<Web> {
    Router::new()
        .route("/status/events", get(events_page))
        .route("/status/alarms", get(alarms_page))
        .route("/status/alarms/acknowledge", post(acknowledge_all))
        .route("/status/alarms/{id}/acknowledge", post(acknowledge))
}

/// The REST part, below `/api/v1`.
pub fn api() -> Router<Web> {
    Router::new()
        .route("/events", get(api_events))
        .route("/alarms", get(api_alarms))
        .route("/alarms/{id}/acknowledge", post(api_acknowledge))
}

/// Reads or writes `events.db` off the async threads.
async fn blocking<T: Send + 'static>(
    web: &Web,
    work: impl FnOnce(&Events) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Response> {
    let events = web.node.events.clone();
    let words = match tokio::task::spawn_blocking(move || work(&events)).await {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "an internal task failed".into(),
    };
    Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, &words))
}

#[derive(Clone, Default, Deserialize, IntoParams)]
struct Wanted {
    kind: Option<String>,
    level: Option<String>,
    text: Option<String>,
    since_ms: Option<u64>,
    until_ms: Option<u64>,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

impl Wanted {
    fn query(&self, limit: usize) -> Result<EventQuery, String> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let names = |all: Vec<&str>| format!("must be one of: {}", all.join(", "));
        let kind = filled(&self.kind).map(|name| {
            let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
            found.ok_or_else(|| format!("kind {}", names(Kind::ALL.map(Kind::name).to_vec())))
        });
        let level = filled(&self.level).map(|name| {
            let found = Level::ALL.into_iter().find(|level| level.name() == name);
            found.ok_or_else(|| format!("level {}", names(Level::ALL.map(Level::name).to_vec())))
        });
        Ok(EventQuery {
            kind: kind.transpose()?,
            level: level.transpose()?,
            text: filled(&self.text),
            since_ms: self.since_ms,
            until_ms: self.until_ms,
            offset: self.offset,
            limit,
        })
    }
}

/// A line of the event log.
#[derive(Serialize, ToSchema)]
struct Line {
    #[serde(flatten)]
    row: EventRow,
    /// `at_ms` for people, in UTC.
    time: String,
}

fn shown(row: &EventRow) -> Line {
    Line {
        time: units::utc(row.at_ms),
        row: row.clone(),
    }
}

/// A part of the event log.
#[derive(Serialize, ToSchema)]
struct Lines {
    /// The newest first.
    events: Vec<Line>,
}

async fn events_page(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let query = match wanted.query(PAGE + 1) {
        Ok(query) => query,
        Err(why) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, &why),
    };
    let found = match blocking(&web, move |events| events.list(&query)).await {
        Ok(found) => found,
        Err(response) => return response,
    };
    let [kind, level, text] =
        [&wanted.kind, &wanted.level, &wanted.text].map(|one| one.clone().unwrap_or_default());
    let [a, b, c] = [&kind, &level, &text].map(|one| pages::encoded(one));
    let context = json!({
        "title": "Event log",
        "events": found.iter().take(PAGE).map(shown).collect::<Vec<_>>(),
        "kinds": Kind::ALL.map(Kind::name), "levels": Level::ALL.map(Level::name),
        "kind": kind, "level": level, "text": text,
        "search": format!("kind={a}&level={b}&text={c}"),
        "offset": wanted.offset, "previous": wanted.offset.saturating_sub(PAGE),
        "next": wanted.offset + PAGE, "more": found.len() > PAGE,
    });
    pages::page(&web, &caller, "events.html", "events", context)
}

#[utoipa::path(
    get,
    path = "/api/v1/events",
    summary = "The event log, the newest first",
    params(Wanted),
    responses((status = 200, description = "What fits", body = Lines), Refusals)
)]
async fn api_events(
    State(web): State<Web>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Lines>, Response> {
    let limit = wanted.limit.unwrap_or(200);
    let unfit = |why: &str| refuse(StatusCode::UNPROCESSABLE_ENTITY, why);
    if !(1..=LISTED_MAX).contains(&limit) {
        return Err(unfit("limit must be 1 to 1000"));
    }
    let query = wanted.query(limit).map_err(|why| unfit(&why))?;
    let found = blocking(&web, move |events| events.list(&query)).await?;
    let events = found.iter().map(shown).collect();
    Ok(Json(Lines { events }))
}

/// An alarm.
#[derive(Serialize, ToSchema)]
struct Shown {
    #[serde(flatten)]
    row: AlarmRow,
    /// `id` as a part of a path.
    path: String,
    /// `raised_ms` for people, in UTC.
    raised: String,
    /// `lowered_ms` for people, in UTC.
    lowered: Option<String>,
}

/// The alarms.
#[derive(Serialize, ToSchema)]
struct Alarms {
    /// Those that stand, the gravest first.
    alarms: Vec<Shown>,
    /// Those that do no more, the last one first.
    lowered: Vec<Shown>,
}

async fn alarm_list(web: &Web) -> Result<Alarms, Response> {
    let found = blocking(web, Events::alarms).await?.into_iter();
    let shown = found.map(|row| Shown {
        path: pages::encoded(&row.id),
        raised: units::utc(row.raised_ms),
        lowered: row.lowered_ms.map(units::utc),
        row,
    });
    let (alarms, lowered) = shown.partition(|shown| shown.row.lowered_ms.is_none());
    Ok(Alarms { alarms, lowered })
}

async fn alarms_page(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    let found = match alarm_list(&web).await {
        Ok(found) => found,
        Err(response) => return response,
    };
    let fresh = found
        .alarms
        .iter()
        .any(|shown| shown.row.acknowledged_by.is_none());
    let context = json!({
        "title": "Alarms", "standing": found.alarms, "lowered": found.lowered, "fresh": fresh,
    });
    pages::page(&web, &caller, "alarms.html", "alarms", context)
}

#[utoipa::path(
    get,
    path = "/api/v1/alarms",
    summary = "Alarms that stand, and those lowered",
    responses((status = 200, description = "As they are now", body = Alarms), Refusals)
)]
async fn api_alarms(State(web): State<Web>) -> Result<Json<Alarms>, Response> {
    Ok(Json(alarm_list(&web).await?))
}

async fn acknowledge_one(web: &Web, caller: &Caller, id: String) -> Result<Done, Response> {
    let who = caller.name.clone();
    let found = blocking(web, move |events| events.acknowledge(&id, &who)).await?;
    web.node.touch();
    match found {
        Some(text) => Ok(Done::change(format!("Alarm acknowledged: {text}"), "", "")),
        None => Err(refuse(StatusCode::NOT_FOUND, "no such alarm stands")),
    }
}

async fn acknowledge(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    match acknowledge_one(&web, &caller, id).await {
        Ok(done) => done.then("/status/alarms"),
        Err(response) => response,
    }
}

async fn acknowledge_all(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    let who = caller.name.clone();
    let done = blocking(&web, move |events| {
        let standing = events.alarms()?;
        let fresh = |row: &&_| {
            let row: &AlarmRow = row;
            row.lowered_ms.is_none() && row.acknowledged_by.is_none()
        };
        for row in standing.iter().filter(fresh) {
            events.acknowledge(&row.id, &who)?;
        }
        Ok(())
    });
    if let Err(response) = done.await {
        return response;
    }
    web.node.touch();
    Done::change("All alarms acknowledged", "", "").then("/status/alarms")
}

/// An alarm was seen.
#[derive(Serialize, ToSchema)]
struct Acknowledged {
    /// True.
    acknowledged: bool,
}

#[utoipa::path(
    post, path = "/api/v1/alarms/{id}/acknowledge",
    summary = "Says that somebody has seen an alarm",
    params(("id" = String, Path, description = "As listed")),
    responses((status = 200, description = "Noted", body = Acknowledged), Refusals)
)]
async fn api_acknowledge(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    match acknowledge_one(&web, &caller, id).await {
        Ok(done) => done
            .with(Json(Acknowledged { acknowledged: true }))
            .into_response(),
        Err(response) => response,
    }
}
