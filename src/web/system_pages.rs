//! *System > Time, DNS, Network*: settings that belong to this machine, read from and changed
//! through the `host` role.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Form, Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::guard::{Caller, refuse};
use super::openapi::Refusals;
use super::record::{Done, Why};
use super::{Web, pages};
use crate::node::serve::host;
use crate::node::serve::node::now_ms;
use crate::node::serve::time::{State as Clock, TimeReport};
use crate::node::units;
use crate::settings::difference::difference;
use crate::settings::message::{HostRequest, TRIAL_S, Trial};
use crate::settings::{SettingsError, System};

/// Servers of a kind.
const SERVERS: usize = 5;
/// How long a name may take to resolve.
const PATIENCE: Duration = Duration::from_secs(5);

/// The routes.
pub fn router() -> Router<Web> {
    Router::new()
        .route("/system/time", get(time).post(save_time))
        .route("/system/dns", get(dns).post(save_dns))
}

/// The REST part, below `/api/v1`.
pub fn api() -> Router<Web> {
    Router::new()
        .route("/time", get(api_time))
        .route("/settings", get(api_settings).put(api_put_settings))
        .route("/resolve", get(api_resolve))
}

/// What a save came to, for a page.
#[derive(Default)]
pub struct Outcome {
    /// What was done.
    pub done: Option<Done>,
    /// What stood against it.
    pub problems: Vec<String>,
}

/// Changes the settings; what was and is, by field, goes to the event log.
pub async fn change(
    web: &Web,
    alter: impl FnOnce(&mut System) -> Result<(), Vec<String>>,
) -> Outcome {
    let failed = |problems: Vec<String>| Outcome {
        done: None,
        problems,
    };
    let before = match host::settings(&web.node).await {
        Ok(before) => before,
        Err(why) => return failed(vec![why]),
    };
    let mut after = before.clone();
    if let Err(problems) = alter(&mut after) {
        return failed(problems);
    }
    match apply(web, &before, after).await {
        Ok(done) => Outcome {
            done: Some(done),
            problems: Vec::new(),
        },
        Err(problems) => failed(problems),
    }
}

async fn apply(web: &Web, before: &System, after: System) -> Result<Done, Vec<String>> {
    match after.validate() {
        Ok(()) => {}
        Err(SettingsError::Invalid(all)) => {
            return Err(all.iter().map(ToString::to_string).collect());
        }
        Err(error) => return Err(vec![error.to_string()]),
    }
    let (was, is) = difference(Some(before), Some(&after));
    let moved = before.moves(&after);
    let renamed = before.host_name != after.host_name;
    let request = match moved {
        true => HostRequest::Try(after),
        false => HostRequest::Apply(after),
    };
    host::perform(&web.node, request)
        .await
        .map_err(|why| vec![why])?;
    if moved {
        web.node.on_trial(Some(TRIAL_S));
    }
    if renamed {
        // The name is taken at the start; addresses are followed.
        web.node.restart_soon();
    }
    Ok(Done::change("System settings saved", was, is))
}

/// What every settings page has: the settings, or why there are none.
pub async fn settings(
    web: &Web,
    caller: &Caller,
    outcome: &Outcome,
) -> (Option<(System, Trial)>, Value) {
    let found = host::kept(&web.node).await;
    let context = json!({
        "editable": found.is_ok() && !caller.reads_only,
        "unavailable": found.as_ref().err(),
        "problems": outcome.problems,
        "saved": outcome.done.as_ref().map(|_| "Saved: the settings are in use."),
    });
    (found.ok(), context)
}

/// Renders a settings page with what came of a save.
pub fn finish(
    web: &Web,
    caller: &Caller,
    at: [&str; 2],
    context: Value,
    outcome: Outcome,
) -> Response {
    let page = pages::page(web, caller, at[0], at[1], context);
    match outcome.done {
        Some(done) => done.with(page),
        None if outcome.problems.is_empty() => page,
        None => {
            let why = Extension(Why(outcome.problems.join("; ")));
            (StatusCode::UNPROCESSABLE_ENTITY, why, page).into_response()
        }
    }
}

fn padded(list: impl Iterator<Item = String>) -> Vec<String> {
    let mut list: Vec<String> = list.collect();
    list.resize(SERVERS.max(list.len()), String::new());
    list
}

#[derive(Default, Deserialize)]
struct TimeForm {
    server1: String,
    server2: String,
    server3: String,
    server4: String,
    server5: String,
    zone: String,
}

impl TimeForm {
    fn servers(&self) -> [&str; SERVERS] {
        let all = [
            &self.server1,
            &self.server2,
            &self.server3,
            &self.server4,
            &self.server5,
        ];
        all.map(|text| text.trim())
    }
}

async fn time(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    time_page(&web, &caller, None, Outcome::default()).await
}

async fn save_time(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Form(form): Form<TimeForm>,
) -> Response {
    let outcome = change(&web, |system| {
        let filled = form.servers().into_iter().filter(|text| !text.is_empty());
        system.ntp_servers = filled.map(str::to_owned).collect();
        form.zone.trim().clone_into(&mut system.time_zone);
        Ok(())
    });
    let outcome = outcome.await;
    let typed = (!outcome.problems.is_empty()).then_some(&form);
    time_page(&web, &caller, typed, outcome).await
}

async fn time_page(
    web: &Web,
    caller: &Caller,
    typed: Option<&TimeForm>,
    outcome: Outcome,
) -> Response {
    let (kept, mut context) = settings(web, caller, &outcome).await;
    let system = kept.map(|(system, _)| system);
    let saved = system.as_ref().map(|system| system.ntp_servers.clone());
    let servers = match typed {
        Some(form) => padded(form.servers().into_iter().map(str::to_owned)),
        None => padded(saved.unwrap_or_default().into_iter()),
    };
    let zone = match typed {
        Some(form) => form.zone.clone(),
        None => system.map(|system| system.time_zone).unwrap_or_default(),
    };
    let report = web.node.time.borrow().clone();
    let colour = match report.state {
        Clock::Synchronized => "green",
        Clock::Starting => "amber",
        Clock::Unsynchronized | Clock::Down => "red",
    };
    let rows = report.servers.iter().map(|row| {
        json!({
            "address": row.address, "condition": row.condition, "stratum": row.stratum,
            "reachability": row.reachability.chars().map(String::from).collect::<Vec<_>>(),
            "answered": row.reachability.matches('1').count(),
            "last": row.last_s.map_or("never".into(), |s| format!("{s} s ago")),
            "offset": seconds(row.offset_s), "error": seconds(row.error_s),
        })
    });
    let own = json!({
        "title": "Time", "servers": servers, "zone": zone, "time": report, "colour": colour,
        "offset": seconds(report.offset_s), "now": units::utc(now_ms()),
        "rows": rows.collect::<Vec<_>>(),
    });
    extend(&mut context, own);
    finish(web, caller, ["time.html", "time"], context, outcome)
}

/// Adds the members of one object to another.
pub fn extend(context: &mut Value, more: Value) {
    if let (Value::Object(context), Value::Object(more)) = (context, more) {
        context.extend(more);
    }
}

/// A span in the unit that suits it.
fn seconds(value: f64) -> String {
    match value.abs() {
        size if size >= 1.0 => format!("{value:.2} s"),
        size if size >= 0.001 => format!("{:.1} ms", value * 1e3),
        _ => format!("{:.0} µs", value * 1e6),
    }
}

#[derive(Default, Deserialize)]
struct DnsForm {
    host: String,
    domain: String,
    server1: String,
    server2: String,
    server3: String,
    server4: String,
    server5: String,
}

impl DnsForm {
    fn servers(&self) -> [&str; SERVERS] {
        let all = [
            &self.server1,
            &self.server2,
            &self.server3,
            &self.server4,
            &self.server5,
        ];
        all.map(|text| text.trim())
    }
}

#[derive(Default, Deserialize, IntoParams)]
struct Asked {
    /// For example `ntp.example.org`.
    name: Option<String>,
}

async fn dns(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
) -> Response {
    let name = asked.name.filter(|name| !name.trim().is_empty());
    dns_page(&web, &caller, None, name, Outcome::default()).await
}

async fn save_dns(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Form(form): Form<DnsForm>,
) -> Response {
    let outcome = change(&web, |system| {
        let (mut servers, mut problems) = (Vec::new(), Vec::new());
        for (number, text) in (1..).zip(form.servers()) {
            match text.parse::<IpAddr>() {
                _ if text.is_empty() => {}
                Ok(address) => servers.push(address),
                Err(_) => problems.push(format!("Default DNS server {number}: not an IP address")),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        system.dns_servers = servers;
        form.host.trim().clone_into(&mut system.host_name);
        form.domain.trim().clone_into(&mut system.domain_name);
        Ok(())
    });
    let outcome = outcome.await;
    let typed = (!outcome.problems.is_empty()).then_some(&form);
    dns_page(&web, &caller, typed, None, outcome).await
}

async fn dns_page(
    web: &Web,
    caller: &Caller,
    typed: Option<&DnsForm>,
    name: Option<String>,
    outcome: Outcome,
) -> Response {
    let (kept, mut context) = settings(web, caller, &outcome).await;
    let system = kept.map(|(system, _)| system);
    let (host, domain, servers) = match (typed, system) {
        (Some(form), _) => {
            let servers = form.servers().into_iter().map(str::to_owned);
            (form.host.clone(), form.domain.clone(), padded(servers))
        }
        (None, Some(system)) => {
            let servers = system.dns_servers.iter().map(ToString::to_string);
            (system.host_name, system.domain_name, padded(servers))
        }
        (None, None) => (
            web.node.name.clone(),
            String::new(),
            padded(std::iter::empty()),
        ),
    };
    let own = json!({
        "title": "DNS", "host": host, "domain": domain, "servers": servers, "name": name,
    });
    extend(&mut context, own);
    if let Some(name) = name {
        let result = match resolve(&name).await {
            Ok((found, took_ms)) => json!({ "resolved": found, "took_ms": took_ms }),
            Err(why) => json!({ "unresolved": why }),
        };
        extend(&mut context, result);
    }
    finish(web, caller, ["dns.html", "dns"], context, outcome)
}

/// Asks the system's resolver, as the service itself does.
async fn resolve(name: &str) -> Result<(Vec<String>, u64), String> {
    let name = name.trim();
    crate::settings::name::server(name)?;
    let began = Instant::now();
    let asked = tokio::net::lookup_host((name, 0));
    let found = tokio::time::timeout(PATIENCE, asked).await;
    let found =
        found.map_err(|_| format!("no DNS server answered within {} s", PATIENCE.as_secs()))?;
    let mut all: Vec<String> = found
        .map_err(|error| error.to_string())?
        .map(|address| address.ip().to_string())
        .collect();
    all.dedup();
    match all.is_empty() {
        true => Err("the name has no address".into()),
        false => Ok((all, began.elapsed().as_millis() as u64)),
    }
}

/// The clock.
#[derive(Serialize, ToSchema)]
struct Now {
    /// Milliseconds since 1970.
    now_ms: u64,
    time: TimeReport,
}

#[utoipa::path(
    get,
    path = "/api/v1/time",
    summary = "The clock, as chrony says",
    responses((status = 200, description = "As it is now", body = Now), Refusals)
)]
async fn api_time(State(web): State<Web>) -> Json<Now> {
    Json(Now {
        now_ms: now_ms(),
        time: web.node.time.borrow().clone(),
    })
}

#[utoipa::path(
    get,
    path = "/api/v1/settings",
    summary = "The settings of this system",
    responses((status = 200, description = "As kept", body = System), Refusals)
)]
async fn api_settings(State(web): State<Web>) -> Result<Json<System>, Response> {
    let found = host::settings(&web.node).await;
    found
        .map(Json)
        .map_err(|why| refuse(StatusCode::SERVICE_UNAVAILABLE, &why))
}

/// Settings were saved.
#[derive(Serialize, ToSchema)]
struct Kept {
    /// True.
    saved: bool,
    /// In how many seconds they are put back unless they are confirmed.
    confirm_within_s: Option<u64>,
}

#[utoipa::path(
    put, path = "/api/v1/settings",
    summary = "Saves and applies all settings of this system",
    description = "What changes its addresses, interface, VLAN or routes is put back after \
                   `confirm_within_s` seconds unless /api/v1/settings/confirm is called first.",
    request_body = System,
    responses((status = 200, description = "In use", body = Kept), Refusals)
)]
async fn api_put_settings(State(web): State<Web>, Json(new): Json<System>) -> Response {
    let outcome = change(&web, |system| {
        *system = new;
        Ok(())
    });
    let outcome = outcome.await;
    match outcome.done {
        Some(done) => done.with(Json(Kept {
            saved: true,
            confirm_within_s: web.node.trial_left_s(),
        })),
        None => refuse(
            StatusCode::UNPROCESSABLE_ENTITY,
            &outcome.problems.join("; "),
        ),
    }
}

/// What a name resolves to.
#[derive(Serialize, ToSchema)]
struct Resolved {
    addresses: Vec<String>,
    /// Milliseconds.
    took_ms: u64,
}

#[utoipa::path(
    get,
    path = "/api/v1/resolve",
    summary = "Resolves a name",
    params(Asked),
    responses((status = 200, description = "It has addresses", body = Resolved), Refusals)
)]
async fn api_resolve(Query(asked): Query<Asked>) -> Result<Json<Resolved>, Response> {
    let unfit = |why: &str| refuse(StatusCode::UNPROCESSABLE_ENTITY, why);
    let name = asked.name.ok_or_else(|| unfit("give a name"))?;
    match resolve(&name).await {
        Ok((addresses, took_ms)) => Ok(Json(Resolved { addresses, took_ms })),
        Err(why) => Err(unfit(&why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_the_unit_that_suits_it() {
        assert_eq!(seconds(-0.000_012), "-12 µs");
        assert_eq!(seconds(0.0034), "3.4 ms");
        assert_eq!(seconds(3.214), "3.21 s");
    }
}
