//! *System > Clustering*: the key, the three peer fields and the state beside each, and how tunnels
//! are keyed.

use axum::Router;
use axum::extract::{Extension, Form, State};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::Caller;
use super::{Web, pages, picture};
use crate::cluster::{Authentication, Change, Choice, Field, PemChange, Problem};
use crate::node::serve::node::{ClusterView, SaveError};
use zeroize::Zeroizing;

/// The routes.
pub fn router() -> Router<Web> {
    Router::new().route("/system/clustering", get(show).post(save))
}

/// What stands in the key field instead of a saved key. It is no key itself: too short.
const KEPT: &str = "\u{2022}\u{2022}\u{2022}\u{2022}\u{2022}\u{2022}\u{2022}\u{2022}";

#[derive(Default, Deserialize)]
struct Typed {
    key: String,
    peer1: String,
    peer2: String,
    peer3: String,
    profile: Option<String>,
    authentication: Option<String>,
    additional_key_exchange: Option<String>,
    certificate: Option<String>,
    certificate_key: Option<String>,
    authorities: Option<String>,
    revocation_lists: Option<String>,
}

impl Typed {
    /// What it changes. A blank private key leaves the saved one, which the page never shows.
    fn change(&self) -> Result<Change, Problem> {
        let key = self.certificate_key.as_ref();
        Ok(Change {
            key: (self.key != KEPT).then(|| self.key.clone()),
            peers: [&self.peer1, &self.peer2, &self.peer3].map(|text| text.trim().to_owned()),
            profile: chosen(Field::Profile, self.profile.as_deref())?,
            authentication: chosen(Field::Authentication, self.authentication.as_deref())?,
            additional: chosen(
                Field::AdditionalKeyExchange,
                self.additional_key_exchange.as_deref(),
            )?,
            pem: PemChange {
                certificate: self.certificate.clone(),
                key: key
                    .filter(|key| !key.trim().is_empty())
                    .map(|key| Zeroizing::new(key.clone())),
                authorities: self.authorities.clone(),
                revocation_lists: self.revocation_lists.clone(),
            },
        })
    }
}

/// One of few by its name; none stays none.
pub fn chosen<T: Choice>(field: Field, name: Option<&str>) -> Result<Option<T>, Problem> {
    let Some(name) = name else { return Ok(None) };
    let found = T::named(name).ok_or_else(|| {
        let names: Vec<&str> = T::ALL.iter().map(|one| one.name()).collect();
        Problem::new(field, format!("must be one of: {}", names.join(", ")))
    });
    found.map(Some)
}

async fn show(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    render(&web, &caller, None, &[], "")
}

async fn save(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Form(typed): Form<Typed>,
) -> Response {
    let change = match typed.change() {
        Ok(change) => change,
        Err(problem) => return render(&web, &caller, Some(&typed), &[problem], ""),
    };
    let node = web.node.clone();
    let saved = tokio::task::spawn_blocking(move || node.save(&change)).await;
    match saved {
        Ok(Ok(())) => render(
            &web,
            &caller,
            None,
            &[],
            "Saved: the cluster fields are in use.",
        ),
        Ok(Err(SaveError::Fields(problems))) => render(&web, &caller, Some(&typed), &problems, ""),
        Ok(Err(SaveError::Store(error))) => {
            let problem = Problem::new(Field::Key, error.to_string());
            render(&web, &caller, Some(&typed), &[problem], "")
        }
        Err(_) => pages::not_found().await,
    }
}

fn render(
    web: &Web,
    caller: &Caller,
    typed: Option<&Typed>,
    problems: &[Problem],
    saved: &str,
) -> Response {
    let view = web.node.view();
    let message = |field: Field| {
        let found = problems.iter().find(|problem| problem.field == field);
        found.map(|problem| problem.message.clone())
    };
    let certified = view.certificates.is_some()
        || view.fields.authentication == Authentication::Certificates
        || typed.is_some_and(|typed| typed.authentication.as_deref() == Some("certificates"));
    let peers: Vec<Value> = view
        .peers
        .iter()
        .zip(Field::PEERS)
        .map(|(peer, field)| {
            let kept = peer
                .address
                .map(|address| address.to_string())
                .unwrap_or_default();
            let text = match (typed, field) {
                (Some(typed), Field::Peer1) => typed.peer1.clone(),
                (Some(typed), Field::Peer2) => typed.peer2.clone(),
                (Some(typed), _) => typed.peer3.clone(),
                (None, _) => kept,
            };
            json!({
                "field": peer.field, "label": field.label(), "text": text, "state": peer.state,
                "problem": message(field),
            })
        })
        .collect();
    let context = json!({
        "title": "Clustering",
        "choices": choices(&view, typed, &message),
        "texts": texts(web, typed, &message),
        "certificates": view.certificates,
        "certified": certified,
        "peers": peers,
        "key": if view.key_set { KEPT } else { "" },
        "key_label": Field::Key.label(),
        "key_problem": message(Field::Key),
        "saved": saved,
        "failed": !problems.is_empty(),
        "standing": view.standing,
        "id": view.id,
        "picture": picture::cluster(&view),
        "own": web.node.own,
    });
    pages::page(web, caller, "clustering.html", "clustering", context)
}

type Message<'a> = &'a dyn Fn(Field) -> Option<String>;

/// The three choices, each with what is chosen.
fn choices(view: &ClusterView, typed: Option<&Typed>, message: Message<'_>) -> Vec<Value> {
    let fields = &view.fields;
    let typed = |of: fn(&Typed) -> &Option<String>| typed.and_then(|typed| of(typed).clone());
    vec![
        choice(
            (Field::Profile, "profile", message),
            fields.profile,
            typed(|typed| &typed.profile),
        ),
        choice(
            (Field::Authentication, "authentication", message),
            fields.authentication,
            typed(|typed| &typed.authentication),
        ),
        choice(
            (
                Field::AdditionalKeyExchange,
                "additional_key_exchange",
                message,
            ),
            fields.additional,
            typed(|typed| &typed.additional_key_exchange),
        ),
    ]
}

fn choice<T: Choice>(
    (field, id, message): (Field, &str, Message<'_>),
    saved: T,
    typed: Option<String>,
) -> Value {
    let now = typed.unwrap_or_else(|| saved.name().to_owned());
    let options = T::ALL.iter().map(
        |one| json!({ "name": one.name(), "words": one.words(), "chosen": one.name() == now }),
    );
    json!({
        "id": id, "label": field.label(), "options": options.collect::<Vec<_>>(),
        "problem": message(field),
    })
}

/// The certificate fields. What is public is shown; a private key that is saved is not.
fn texts(web: &Web, typed: Option<&Typed>, message: Message<'_>) -> Vec<Value> {
    let cluster = web.node.cluster.borrow();
    let pem = &cluster.pem;
    let text = |field: Field, id, saved: &str, of: fn(&Typed) -> &Option<String>| {
        let typed = typed.and_then(|typed| of(typed).as_deref());
        json!({
            "id": id, "label": field.label(), "text": typed.unwrap_or(saved),
            "problem": message(field),
        })
    };
    let key = if pem.key.is_empty() { "" } else { KEPT };
    vec![
        text(Field::Certificate, "certificate", &pem.certificate, |t| {
            &t.certificate
        }),
        json!({
            "id": "certificate_key", "label": Field::CertificateKey.label(), "text": "",
            "kept": key, "problem": message(Field::CertificateKey),
        }),
        text(Field::Authorities, "authorities", &pem.authorities, |t| {
            &t.authorities
        }),
        text(
            Field::RevocationLists,
            "revocation_lists",
            &pem.revocation_lists,
            |t| &t.revocation_lists,
        ),
    ]
}
