//! *Maintenance > Logging*: the syslog server that gets the journal as well.

use axum::Router;
use axum::extract::{Extension, Form, State};
use axum::response::Response;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Web;
use super::guard::Caller;
use super::system_pages::{Outcome, change, extend, finish, settings};
use crate::settings::{Syslog, System, TLS_PORT, Transport};

/// The routes.
pub fn router() -> Router<Web> {
    Router::new().route("/maintenance/logging", get(show).post(save))
}

/// The form, as typed.
#[derive(Clone, Default, Deserialize, Serialize)]
struct Typed {
    server: String,
    port: String,
    transport: String,
    certificate_name: String,
    authorities: String,
}

impl Typed {
    fn of(system: &System) -> Self {
        let Some(syslog) = system.syslog.clone() else {
            return Self {
                port: TLS_PORT.to_string(),
                transport: "tls".into(),
                ..Self::default()
            };
        };
        let transport = match syslog.transport {
            Transport::Tls => "tls",
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        Self {
            server: syslog.server,
            port: syslog.port.to_string(),
            transport: transport.into(),
            certificate_name: syslog.certificate_name,
            authorities: syslog.authorities,
        }
    }

    /// What it says; no server is no forwarding.
    fn read(&self) -> Result<Option<Syslog>, Vec<String>> {
        if self.server.trim().is_empty() {
            return Ok(None);
        }
        let transport = match self.transport.as_str() {
            "tls" => Transport::Tls,
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return Err(vec!["Transport: expected tls, tcp or udp".into()]),
        };
        let port = self.port.trim().parse();
        let port = port.map_err(|_| vec!["Port: expected a number from 1 to 65535".to_owned()])?;
        Ok(Some(Syslog {
            server: self.server.trim().to_owned(),
            port,
            transport,
            certificate_name: self.certificate_name.trim().to_owned(),
            authorities: self.authorities.trim().replace("\r\n", "\n"),
        }))
    }
}

async fn show(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    page(&web, &caller, None, Outcome::default()).await
}

async fn save(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Form(form): Form<Typed>,
) -> Response {
    let outcome = change(&web, |system| {
        system.syslog = form.read()?;
        Ok(())
    });
    let outcome = outcome.await;
    let typed = (!outcome.problems.is_empty()).then_some(form);
    page(&web, &caller, typed, outcome).await
}

async fn page(web: &Web, caller: &Caller, typed: Option<Typed>, outcome: Outcome) -> Response {
    let (kept, mut context) = settings(web, caller, &outcome).await;
    let saved = kept.as_ref().map(|(system, _)| Typed::of(system));
    let form = typed.or(saved);
    extend(&mut context, json!({ "title": "Logging", "form": form }));
    finish(web, caller, ["logging.html", "logging"], context, outcome)
}
