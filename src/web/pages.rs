//! The frame of every page, and the pages that only show: overview, restart, password.

use axum::Router;
use axum::extract::{Extension, Form, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use minijinja::Environment;
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::Caller;
use super::record::{Done, Why};
use super::{Web, api, session};
use crate::sys::release;

/// All templates; a broken one is a defect of this build, found by the first test that runs.
pub fn templates() -> Environment<'static> {
    let mut all = Environment::new();
    for (name, text) in [
        ("frame.html", include_str!("templates/frame.html")),
        ("login.html", include_str!("templates/login.html")),
        ("overview.html", include_str!("templates/overview.html")),
        ("clustering.html", include_str!("templates/clustering.html")),
        ("tables.html", include_str!("templates/tables.html")),
        ("table.html", include_str!("templates/table.html")),
        ("events.html", include_str!("templates/events.html")),
        ("alarms.html", include_str!("templates/alarms.html")),
        ("time.html", include_str!("templates/time.html")),
        ("dns.html", include_str!("templates/dns.html")),
        ("logging.html", include_str!("templates/logging.html")),
        ("network.html", include_str!("templates/network.html")),
        (
            "certificates.html",
            include_str!("templates/certificates.html"),
        ),
        ("outcome.html", include_str!("templates/outcome.html")),
        ("cluster.html", include_str!("templates/cluster.html")),
        ("plots.html", include_str!("templates/plots.html")),
        (
            "prerequisites.html",
            include_str!("templates/prerequisites.html"),
        ),
        ("accounts.html", include_str!("templates/accounts.html")),
        ("conflicts.html", include_str!("templates/conflicts.html")),
        ("restart.html", include_str!("templates/restart.html")),
        ("password.html", include_str!("templates/password.html")),
    ] {
        all.add_template(name, text)
            .expect("the templates of this build are well-formed");
    }
    all
}

/// Renders a template; what it cannot render is logged, not shown.
pub fn render(web: &Web, name: &str, context: &Value) -> String {
    let rendered = web
        .templates
        .get_template(name)
        .and_then(|template| template.render(minijinja::value::Serde(context)));
    rendered.unwrap_or_else(|error| {
        tracing::error!("template {name}: {error:#}");
        "This page cannot be shown; the log says why.".into()
    })
}

/// A page in its frame: `here` marks the menu entry.
pub fn page(web: &Web, caller: &Caller, name: &str, here: &str, mut context: Value) -> Response {
    let frame = json!({
        "here": here, "system": web.node.name, "version": release::version(), "user": caller.name,
        "csrf": caller.csrf, "reads_only": caller.reads_only,
        "trial_left_s": web.node.trial_left_s(),
        "alarms_standing": web.node.events.standing().map_or(0, |(_, all)| all),
    });
    if let (Value::Object(context), Value::Object(frame)) = (&mut context, frame) {
        context.extend(frame);
    }
    Html(render(web, name, &context)).into_response()
}

/// The routes.
pub fn router() -> Router<Web> {
    Router::new()
        .route("/", get(|| async { Redirect::to("/status/overview") }))
        .route("/account/password", get(password_page).post(password))
}

/// What no route knows.
pub async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "There is no such page.\n").into_response()
}

/// A part of a path or a query; names may hold anything, so each odd byte is percent-encoded.
pub fn encoded(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"_-.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

async fn password_page(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    let context = json!({ "title": "Change password", "rules": crate::settings::password::RULES });
    page(&web, &caller, "password.html", "password", context)
}

#[derive(Deserialize)]
struct PasswordForm {
    current: String,
    new: String,
    again: String,
}

async fn password(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Extension(origin): Extension<super::Origin>,
    Form(form): Form<PasswordForm>,
) -> Response {
    let message = if form.new != form.again {
        "The two new passwords differ.".to_owned()
    } else if let Err(why) = crate::settings::password::check(&form.new, &caller.name) {
        format!("The new password was refused: {why}")
    } else {
        let verdict = session::check(&web, origin, caller.name.clone(), form.current).await;
        if let session::Verdict::Welcome(_) = verdict {
            let done = Done::change(format!("Password of {} changed", caller.name), "", "");
            let changed = api::change_password(&web, caller.name.clone(), form.new).await;
            return changed.map_or_else(|refused| refused, |()| done.then("/login"));
        }
        "The current password is wrong.".to_owned()
    };
    let rules = crate::settings::password::RULES;
    let context = json!({ "title": "Change password", "message": &message, "rules": rules });
    let page = page(&web, &caller, "password.html", "password", context);
    (Extension(Why(message)), page).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_parses() {
        assert!(templates().get_template("frame.html").is_ok());
    }
}
