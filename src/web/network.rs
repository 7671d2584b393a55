//! *System > Network*.

use std::net::IpAddr;
use std::str::FromStr;

use axum::extract::{Extension, Form, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::Web;
use super::guard::{Caller, refuse};
use super::openapi::Refusals;
use super::record::Done;
use super::system_pages::{Outcome, change, extend, finish, settings};
use crate::node::serve::host;
use crate::node::units;
use crate::settings::message::HostRequest;
use crate::settings::{Addressing4, Addressing6, Protocol, Route, Static4, Static6, System};

/// The routes.
pub fn router() -> Router<Web> {
    Router::new()
        .route("/system/network", get(show).post(save))
        .route("/system/network/keep", post(keep))
}

/// The REST part, below `/api/v1`.
pub fn api() -> Router<Web> {
    Router::new().route("/settings/confirm", post(api_confirm))
}

/// The form, as typed.
#[derive(Clone, Default, Deserialize, Serialize)]
struct Typed {
    protocol: String,
    mode4: String,
    address4: String,
    prefix4: String,
    gateway4: String,
    mode6: String,
    address6: String,
    prefix6: String,
    gateway6: String,
    #[serde(default)]
    interface: String,
    #[serde(default)]
    vlan: String,
    #[serde(default)]
    routes: String,
    ssh: String,
}

impl Typed {
    fn of(system: &System) -> Self {
        let mut form = Self {
            protocol: match system.protocol {
                Protocol::Ipv4 => "ipv4",
                Protocol::Ipv6 => "ipv6",
                Protocol::Both => "both",
            }
            .into(),
            mode4: "static".into(),
            mode6: "static".into(),
            interface: system.interface.clone().unwrap_or_default(),
            vlan: system.vlan.map(|id| id.to_string()).unwrap_or_default(),
            routes: lines(&system.routes),
            ssh: if system.ssh { "on" } else { "off" }.into(),
            ..Self::default()
        };
        let gateway = |text: Option<String>| text.unwrap_or_default();
        match &system.ipv4 {
            Some(Addressing4::Static(fixed)) => {
                form.address4 = fixed.address.to_string();
                form.prefix4 = fixed.prefix.to_string();
                form.gateway4 = gateway(fixed.gateway.map(|ip| ip.to_string()));
            }
            Some(Addressing4::Dhcp) => form.mode4 = "dhcp".into(),
            None => {}
        }
        match &system.ipv6 {
            Some(Addressing6::Static(fixed)) => {
                form.address6 = fixed.address.to_string();
                form.prefix6 = fixed.prefix.to_string();
                form.gateway6 = gateway(fixed.gateway.map(|ip| ip.to_string()));
            }
            Some(Addressing6::Dhcp) => form.mode6 = "dhcp".into(),
            None => {}
        }
        form
    }

    fn alter(&self, system: &mut System) -> Result<(), Vec<String>> {
        let mut problems = Vec::new();
        system.protocol = match self.protocol.as_str() {
            "ipv4" => Protocol::Ipv4,
            "ipv6" => Protocol::Ipv6,
            "both" => Protocol::Both,
            _ => return Err(vec!["IP protocol: ipv4, ipv6 or both".into()]),
        };
        let dhcp4 = self.mode4 == "dhcp";
        let ipv4 = match dhcp4 {
            true => Addressing4::Dhcp,
            false => Addressing4::Static(Static4 {
                address: field("IPv4 address", &self.address4, &mut problems),
                prefix: field("IPv4 prefix length", &self.prefix4, &mut problems),
                gateway: optional("IPv4 gateway", &self.gateway4, &mut problems),
            }),
        };
        if !system.protocol.has_v4() {
            problems.clear();
        }
        let mut more = Vec::new();
        let ipv6 = match self.mode6 == "dhcp" {
            true => Addressing6::Dhcp,
            false => Addressing6::Static(Static6 {
                address: field("IPv6 address", &self.address6, &mut more),
                prefix: field("IPv6 prefix length", &self.prefix6, &mut more),
                gateway: optional("IPv6 gateway", &self.gateway6, &mut more),
            }),
        };
        if system.protocol.has_v6() {
            problems.extend(more);
        }
        system.ipv4 = system.protocol.has_v4().then_some(ipv4);
        system.ipv6 = system.protocol.has_v6().then_some(ipv6);
        let interface = self.interface.trim();
        system.interface = (!interface.is_empty()).then(|| interface.to_owned());
        system.vlan = optional("VLAN", &self.vlan, &mut problems);
        system.routes.clear();
        for line in self.routes.lines().filter(|line| !line.trim().is_empty()) {
            match line.parse() {
                Ok(route) => system.routes.push(route),
                Err(expected) => problems.push(format!("Static routes: expected {expected}")),
            }
        }
        system.ssh = self.ssh == "on";
        match problems.is_empty() {
            true => Ok(()),
            false => Err(problems),
        }
    }
}

fn lines(routes: &[Route]) -> String {
    let lines: Vec<String> = routes.iter().map(Route::to_string).collect();
    lines.join("\n")
}

fn field<T: FromStr + Unset>(label: &str, text: &str, problems: &mut Vec<String>) -> T {
    text.trim().parse().unwrap_or_else(|_| {
        problems.push(format!("{label}: expected {}", T::EXPECTED));
        T::UNSET
    })
}

fn optional<T: FromStr + Unset>(label: &str, text: &str, problems: &mut Vec<String>) -> Option<T> {
    (!text.trim().is_empty()).then(|| field(label, text, problems))
}

/// What stands in for a value that could not be read; it is never saved.
trait Unset {
    const UNSET: Self;
    const EXPECTED: &'static str;
}

impl Unset for std::net::Ipv4Addr {
    const UNSET: Self = Self::UNSPECIFIED;
    const EXPECTED: &'static str = "an IPv4 address";
}

impl Unset for std::net::Ipv6Addr {
    const UNSET: Self = Self::UNSPECIFIED;
    const EXPECTED: &'static str = "an IPv6 address";
}

impl Unset for u16 {
    const UNSET: Self = 0;
    const EXPECTED: &'static str = "a number from 1 to 4094, or nothing";
}

impl Unset for u8 {
    const UNSET: Self = 0;
    const EXPECTED: &'static str = "a number of bits";
}

async fn show(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    page(&web, &caller, None, Outcome::default()).await
}

async fn save(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Form(form): Form<Typed>,
) -> Response {
    let outcome = change(&web, |system| form.alter(system)).await;
    let typed = (!outcome.problems.is_empty()).then_some(form);
    page(&web, &caller, typed, outcome).await
}

/// Keeps what is on trial.
async fn confirm(web: &Web) -> Result<Done, String> {
    host::perform(&web.node, HostRequest::Confirm).await?;
    web.node.on_trial(None);
    Ok(Done::change("New network settings kept", "", ""))
}

async fn keep(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    let outcome = match confirm(&web).await {
        Ok(done) => Outcome {
            done: Some(done),
            problems: Vec::new(),
        },
        Err(why) => Outcome {
            done: None,
            problems: vec![why],
        },
    };
    page(&web, &caller, None, outcome).await
}

/// What was on trial stays.
#[derive(Serialize, ToSchema)]
struct Confirmed {
    /// True.
    kept: bool,
}

#[utoipa::path(
    post,
    path = "/api/v1/settings/confirm",
    summary = "Keeps a change of the network that would else be put back",
    responses((status = 200, description = "Kept", body = Confirmed), Refusals)
)]
pub(super) async fn api_confirm(State(web): State<Web>) -> Response {
    match confirm(&web).await {
        Ok(done) => done.with(Json(Confirmed { kept: true })),
        Err(why) => refuse(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

async fn page(web: &Web, caller: &Caller, typed: Option<Typed>, outcome: Outcome) -> Response {
    let (kept, mut context) = settings(web, caller, &outcome).await;
    let (system, trial) = kept.unzip();
    let put_back = trial.and_then(|trial| trial.put_back_ms).map(units::utc);
    let fields = web.node.cluster.borrow().fields.clone();
    let addresses = web.node.own();
    let own = |address: &&IpAddr| addresses.contains(address);
    let form = typed.or_else(|| system.as_ref().map(Typed::of));
    let more = json!({
        "title": "Network", "addresses": addresses, "system": system.is_some(), "form": form,
        "put_back": put_back, "clustered": fields.peers.iter().flatten().find(own),
    });
    extend(&mut context, more);
    finish(web, caller, ["network.html", "network"], context, outcome)
}
