//! *Users > Administrator accounts*: who may log in, with which role, and API tokens.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::guard::Caller;
use super::openapi::Refusals;
use super::record::{Done, Why};
use super::{Web, api, pages, session, tokens};
use crate::node::units;
use crate::store::administrators::{self, ADMINISTRATOR, Administrator, READ_ONLY};
use crate::store::api_tokens::{self, ApiToken};
use crate::store::{Store, StoreError};

/// The page.
pub const PAGE: &str = "/users/administrators";

/// The routes.
pub fn router() -> Router<Web> {
    Router::new()
        .route(PAGE, get(page).post(add))
        .route("/users/administrators/{name}/edit", get(edit).post(change))
        .route("/users/administrators/{name}/delete", post(delete))
        .route("/users/tokens", post(make_token))
        .route("/users/tokens/{id}/delete", post(delete_token))
}

/// The REST part, below `/api/v1`.
pub fn api() -> Router<Web> {
    Router::new()
        .route("/administrators", get(api_list).post(api_add))
        .route(
            "/administrators/{name}",
            axum::routing::patch(api_change).delete(api_delete),
        )
        .route("/tokens", get(api_tokens_list).post(api_make_token))
        .route("/tokens/{id}", axum::routing::delete(api_delete_token))
}

/// What is shown of an account; its password's hash is not.
#[derive(Serialize, ToSchema)]
struct Account {
    name: String,
    /// The name as a part of a path.
    path: String,
    /// `administrator` or `read-only`.
    role: &'static str,
    /// Whether its owner must choose another password first.
    change_password: bool,
    /// How many are open here.
    sessions: usize,
}

fn shown(web: &Web, who: &Administrator) -> Account {
    Account {
        name: who.name.clone(),
        path: pages::encoded(&who.name),
        role: role(who),
        change_password: who.change_password,
        sessions: web.sessions.count(&who.name),
    }
}

fn role(who: &Administrator) -> &'static str {
    if who.reads_only() {
        READ_ONLY
    } else {
        ADMINISTRATOR
    }
}

/// What is shown of an API token.
#[derive(Serialize, ToSchema)]
struct Token {
    /// Names it in requests.
    id: String,
    /// The account that it acts for.
    owner: String,
    /// What it is for.
    label: String,
    /// Whether it reads only, whatever its owner may.
    read_only: bool,
    created_ms: u64,
    /// `created_ms` for people, in UTC.
    created: String,
}

fn token_shown(token: &ApiToken) -> Token {
    Token {
        id: token.id.clone(),
        owner: token.owner.clone(),
        label: token.label.clone(),
        read_only: token.read_only,
        created_ms: token.created_ms,
        created: units::utc(token.created_ms),
    }
}

/// What the page has beside its lists.
#[derive(Default)]
struct Extra {
    problem: Option<String>,
    typed: Value,
    token: Option<String>,
    edited: Option<String>,
}

async fn render(web: &Web, caller: &Caller, extra: Extra) -> Response {
    let found = api::blocking(web, |store| {
        Ok((administrators::list(store)?, api_tokens::list(store)?))
    });
    let (accounts, tokens) = match found.await {
        Ok(found) => found,
        Err(response) => return response,
    };
    let edited = extra
        .edited
        .as_ref()
        .and_then(|name| accounts.iter().find(|who| &who.name == name))
        .map(|who| shown(web, who));
    let context = json!({
        "title": "Administrator accounts",
        "accounts": accounts.iter().map(|who| shown(web, who)).collect::<Vec<_>>(),
        "tokens": tokens.iter().map(token_shown).collect::<Vec<_>>(),
        "rules": crate::settings::password::RULES,
        "problem": extra.problem, "typed": extra.typed, "token": extra.token,
        "edited": edited,
    });
    let page = pages::page(web, caller, "accounts.html", "accounts", context);
    match extra.problem {
        Some(problem) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            Extension(Why(problem)),
            page,
        )
            .into_response(),
        None => page,
    }
}

async fn page(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    render(&web, &caller, Extra::default()).await
}

async fn edit(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    let edited = Some(name);
    render(
        &web,
        &caller,
        Extra {
            edited,
            ..Extra::default()
        },
    )
    .await
}

/// A new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAccount {
    /// The login name.
    name: String,
    /// The password, changed by its owner at the first login.
    password: String,
    /// `administrator` or `read-only`.
    role: String,
    #[serde(default)]
    #[serde(rename = "csrf")]
    _csrf: Option<String>,
}

fn create(store: &Store, new: &NewAccount) -> Result<Done, StoreError> {
    let refused = StoreError::Refused;
    administrators::check_name(&new.name).map_err(refused)?;
    if ![ADMINISTRATOR, READ_ONLY].contains(&new.role.as_str()) {
        let words = format!("a role is {ADMINISTRATOR} or {READ_ONLY}");
        return Err(refused(words));
    }
    crate::settings::password::check(&new.password, &new.name).map_err(refused)?;
    if administrators::find(store, &new.name)?.is_some() {
        let words = format!("there is an administrator {} already", new.name);
        return Err(refused(words));
    }
    let who = Administrator {
        name: new.name.clone(),
        hash: session::hash(&new.password).map_err(refused)?,
        role: new.role.clone(),
        change_password: true,
    };
    administrators::put(store, &who)?;
    let text = format!("Administrator account {} added", new.name);
    Ok(Done::change(text, "", format!("role {}", new.role)))
}

async fn add(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Form(form): Form<NewAccount>,
) -> Response {
    let typed = json!({ "name": form.name, "role": form.role });
    match work(&web, move |store| create(store, &form)).await {
        Ok(done) => done.then(PAGE),
        Err(problem) => {
            let problem = Some(problem);
            let extra = Extra {
                problem,
                typed,
                ..Extra::default()
            };
            render(&web, &caller, extra).await
        }
    }
}

/// Store work whose refusal is shown on the page.
async fn work<T: Send + 'static>(
    web: &Web,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, String> {
    let store = web.node.store.clone();
    match tokio::task::spawn_blocking(move || work(&store)).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("an internal task failed".into()),
    }
}

/// What is changed of an account; what is left out or blank stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AccountChange {
    role: Option<String>,
    /// A new password, changed by its owner at the next login.
    password: Option<String>,
    #[serde(default)]
    #[serde(rename = "csrf")]
    _csrf: Option<String>,
}

fn alter(store: &Store, name: &str, change: &AccountChange) -> Result<Done, StoreError> {
    let before = administrators::existing(store, name)?;
    let (mut was, mut is) = (Vec::new(), Vec::new());
    let password = change.password.as_ref().filter(|text| !text.is_empty());
    if let Some(password) = password {
        crate::settings::password::check(password, name).map_err(StoreError::Refused)?;
    }
    if let Some(role_now) = change.role.as_ref().filter(|now| **now != role(&before)) {
        administrators::set_role(store, name, role_now)?;
        was.push(format!("role {}", role(&before)));
        is.push(format!("role {role_now}"));
    }
    if let Some(password) = password {
        let mut who = administrators::existing(store, name)?;
        who.hash = session::hash(password).map_err(StoreError::Refused)?;
        who.change_password = true;
        administrators::put(store, &who)?;
        is.push("a new password".into());
    }
    let text = format!("Administrator account {name} changed; its sessions ended");
    Ok(Done::change(text, was.join(", "), is.join(", ")))
}

async fn change(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Form(form): Form<AccountChange>,
) -> Response {
    let edited = Some(name.clone());
    match work(&web, move |store| alter(store, &name, &form)).await {
        Ok(done) => done.then(PAGE),
        Err(problem) => {
            let problem = Some(problem);
            let extra = Extra {
                problem,
                edited,
                ..Extra::default()
            };
            render(&web, &caller, extra).await
        }
    }
}

fn remove(store: &Store, name: &str) -> Result<Done, StoreError> {
    let before = administrators::remove(store, name)?;
    let text = format!("Administrator account {name} deleted with its tokens");
    Ok(Done::change(text, format!("role {}", role(&before)), ""))
}

async fn delete(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    match work(&web, move |store| remove(store, &name)).await {
        Ok(done) => done.then(PAGE),
        Err(problem) => {
            let problem = Some(problem);
            render(
                &web,
                &caller,
                Extra {
                    problem,
                    ..Extra::default()
                },
            )
            .await
        }
    }
}

#[derive(Deserialize)]
struct TokenForm {
    label: String,
    read_only: Option<String>,
}

fn token_made(
    store: &Store,
    caller: &str,
    label: &str,
    read_only: bool,
) -> Result<(Done, ApiToken, String), StoreError> {
    let (token, secret) = tokens::make(store, caller, label, read_only)?;
    let text = format!("API token {} ({}) made", token.label, token.id);
    Ok((Done::change(text, "", may(&token)), token, secret))
}

/// What a token may do.
fn may(token: &ApiToken) -> &'static str {
    match token.read_only {
        true => "reads only",
        false => "as its owner",
    }
}

async fn make_token(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Form(form): Form<TokenForm>,
) -> Response {
    let owner = caller.name.clone();
    let made = work(&web, move |store| {
        token_made(store, &owner, &form.label, form.read_only.is_some())
    });
    let (done, extra) = match made.await {
        Ok((done, _, secret)) => {
            let token = Some(secret);
            (
                Some(done),
                Extra {
                    token,
                    ..Extra::default()
                },
            )
        }
        Err(problem) => {
            let problem = Some(problem);
            (
                None,
                Extra {
                    problem,
                    ..Extra::default()
                },
            )
        }
    };
    let page = render(&web, &caller, extra).await;
    match done {
        Some(done) => done.with(page),
        None => page,
    }
}

fn token_removed(store: &Store, id: &str) -> Result<Done, StoreError> {
    let token = api_tokens::remove(store, id)?;
    let text = format!(
        "API token {} ({}) of {} deleted",
        token.label, id, token.owner
    );
    Ok(Done::change(text, may(&token), ""))
}

async fn delete_token(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    match work(&web, move |store| token_removed(store, &id)).await {
        Ok(done) => done.then(PAGE),
        Err(problem) => {
            let problem = Some(problem);
            render(
                &web,
                &caller,
                Extra {
                    problem,
                    ..Extra::default()
                },
            )
            .await
        }
    }
}

/// The accounts.
#[derive(Serialize, ToSchema)]
struct Accounts {
    administrators: Vec<Account>,
}

#[utoipa::path(
    get,
    path = "/api/v1/administrators",
    summary = "The accounts",
    responses((status = 200, description = "By name", body = Accounts), Refusals)
)]
async fn api_list(State(web): State<Web>) -> Result<Json<Accounts>, Response> {
    let found = api::blocking(&web, administrators::list).await?;
    let administrators = found.iter().map(|who| shown(&web, who)).collect();
    Ok(Json(Accounts { administrators }))
}

/// An account was added.
#[derive(Serialize, ToSchema)]
struct Added {
    /// Its name.
    added: String,
}

/// Something was deleted.
#[derive(Serialize, ToSchema)]
struct Gone {
    /// True.
    deleted: bool,
}

#[utoipa::path(
    post, path = "/api/v1/administrators",
    summary = "Adds an account",
    request_body = NewAccount,
    responses((status = 200, description = "Added", body = Added), Refusals)
)]
async fn api_add(
    State(web): State<Web>,
    Json(new): Json<NewAccount>,
) -> Result<Response, Response> {
    let name = new.name.clone();
    let done = api::blocking(&web, move |store| create(store, &new)).await?;
    Ok(done.with(Json(Added { added: name })))
}

#[utoipa::path(
    patch, path = "/api/v1/administrators/{name}",
    summary = "Changes role or password of an account",
    request_body = AccountChange,
    params(("name" = String, Path, description = "The account")),
    responses((status = 200, description = "Changed", body = api::Changed), Refusals)
)]
async fn api_change(
    State(web): State<Web>,
    Path(name): Path<String>,
    Json(body): Json<AccountChange>,
) -> Result<Response, Response> {
    let done = api::blocking(&web, move |store| alter(store, &name, &body)).await?;
    Ok(done.with(Json(api::Changed { changed: true })))
}

#[utoipa::path(
    delete, path = "/api/v1/administrators/{name}",
    summary = "Deletes an account and its tokens",
    params(("name" = String, Path, description = "The account")),
    responses((status = 200, description = "Gone", body = Gone), Refusals)
)]
async fn api_delete(
    State(web): State<Web>,
    Path(name): Path<String>,
) -> Result<Response, Response> {
    let done = api::blocking(&web, move |store| remove(store, &name)).await?;
    Ok(done.with(Json(Gone { deleted: true })))
}

#[utoipa::path(
    get,
    path = "/api/v1/tokens",
    summary = "The API tokens, without their secrets",
    responses((status = 200, description = "By owner", body = Tokens), Refusals)
)]
async fn api_tokens_list(State(web): State<Web>) -> Result<Json<Tokens>, Response> {
    let found = api::blocking(&web, api_tokens::list).await?;
    let tokens = found.iter().map(token_shown).collect();
    Ok(Json(Tokens { tokens }))
}

/// The API tokens.
#[derive(Serialize, ToSchema)]
struct Tokens {
    tokens: Vec<Token>,
}

/// A token that was made.
#[derive(Serialize, ToSchema)]
struct MadeToken {
    #[serde(flatten)]
    made: Token,
    /// What a program sends: `Authorization: Bearer tutti_...`.
    token: String,
}

/// A new token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    /// What it is for.
    label: String,
    /// Whether it only reads.
    #[serde(default)]
    read_only: bool,
    /// Whose it is; the caller's own if left out.
    owner: Option<String>,
}

#[utoipa::path(
    post, path = "/api/v1/tokens",
    summary = "Makes an API token; its text is told this once",
    request_body = NewToken,
    responses((status = 200, description = "Made", body = MadeToken), Refusals)
)]
async fn api_make_token(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Json(new): Json<NewToken>,
) -> Result<Response, Response> {
    let owner = new.owner.unwrap_or(caller.name);
    let (label, read_only) = (new.label, new.read_only);
    let made = api::blocking(&web, move |store| {
        token_made(store, &owner, &label, read_only)
    });
    let (done, token, secret) = made.await?;
    Ok(done.with(Json(MadeToken {
        made: token_shown(&token),
        token: secret,
    })))
}

#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}",
    summary = "Deletes an API token",
    params(("id" = String, Path, description = "As listed")),
    responses((status = 200, description = "Gone", body = Gone), Refusals)
)]
async fn api_delete_token(
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Response, Response> {
    let done = api::blocking(&web, move |store| token_removed(store, &id)).await?;
    Ok(done.with(Json(Gone { deleted: true })))
}
