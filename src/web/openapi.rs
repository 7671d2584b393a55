//! The OpenAPI document of `/api/v1`, made from the handlers themselves:
//! `GET /api/v1/openapi.json`.

use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing::get};
use serde::Serialize;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::{IntoResponses, OpenApi, ToSchema};

use super::Web;
use crate::cluster::Problem;

/// Why a request was refused.
#[derive(Serialize, ToSchema)]
pub struct Refused {
    /// In words for a person.
    pub error: String,
    /// What stands against saving cluster fields, beside each field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problems: Option<Vec<Problem>>,
}

/// What any request may be refused with.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "it describes; nobody makes one")]
pub enum Refusals {
    /// Not logged in, or a wrong name, password or token.
    #[response(status = 401)]
    Unknown(Refused),
    /// This account may only read, must change its password first, or the form token is missing.
    #[response(status = 403)]
    Forbidden(Refused),
    /// Refused: `error` says why.
    #[response(status = 422)]
    Refused(Refused),
    /// Too many requests or wrong guesses; `Retry-After` says how long to wait.
    #[response(status = 429)]
    Later(Refused),
    /// It failed here; `error` says why.
    #[response(status = 500)]
    Failed(Refused),
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tutti",
        description = "Administration of one appliance and its cluster"
    ),
    // Those of refusals are not found by themselves.
    components(schemas(Refused)),
    paths(
        super::health::healthz,
        super::metrics::metrics,
        super::api::status,
        super::api::cluster,
        super::api::put_cluster,
        super::api::clear_cluster,
        super::api::generate_key,
        super::api::peers,
        super::tables_api::tables,
        super::tables_api::declare,
        super::tables_api::table_rows,
        super::tables_api::write_row,
        super::tables_api::delete_row,
        super::tables_api::import,
        super::tables_api::digest,
        super::api::password,
        super::conflicts::list,
        super::conflicts::restore,
        super::conflicts::dismiss,
        super::log_page::api_events,
        super::log_page::api_alarms,
        super::log_page::api_acknowledge,
        super::accounts::api_list,
        super::accounts::api_add,
        super::accounts::api_change,
        super::accounts::api_delete,
        super::accounts::api_tokens_list,
        super::accounts::api_make_token,
        super::accounts::api_delete_token,
        super::system_pages::api_time,
        super::system_pages::api_settings,
        super::system_pages::api_put_settings,
        super::network::api_confirm,
        super::certificates::api_show,
        super::certificates::api_renew,
        super::system_pages::api_resolve,
        super::restart::api_restart,
        super::restart::api_reboot,
        super::restart::api_shutdown,
        super::status::api_prerequisites,
        super::session::api_login,
    )
)]
struct Document;

/// The document.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut all = Document::openapi();
    let components = all.components.get_or_insert_default();
    let session = ApiKey::Cookie(ApiKeyValue::new(super::session::COOKIE));
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let basic = HttpBuilder::new().scheme(HttpAuthScheme::Basic);
    for (name, scheme) in [
        ("session", SecurityScheme::ApiKey(session)),
        ("token", SecurityScheme::Http(bearer.build())),
        ("password", SecurityScheme::Http(basic.build())),
    ] {
        components.security_schemes.insert(name.into(), scheme);
    }
    let none: [&str; 0] = [];
    let ways = ["session", "token", "password"];
    all.security = Some(ways.map(|name| SecurityRequirement::new(name, none)).into());
    all
}

/// The route, below `/api/v1`.
pub fn api() -> Router<Web> {
    Router::new().route("/openapi.json", get(show))
}

async fn show() -> Response {
    Json(document()).into_response()
}
