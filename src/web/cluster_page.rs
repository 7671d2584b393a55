//! *System > Clustering*: the key, the three peer fields and the state beside each, and how tunnels
//! are keyed.

use axum::Router;
use axum::extract::{Extension, Form, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::Caller;
use super::record::{Done, Why};
use super::{Web, pages, picture, status};
use crate::cluster::{Authentication, Change, Choice, Field, PemChange, PpkChange, Problem};
use crate::node::serve::node::{Cluster, ClusterView, SaveError, hex};
use crate::store::StoreError;
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
    post_quantum_key: Option<String>,
    post_quantum_key_id: Option<String>,
    certificate: Option<String>,
    certificate_key: Option<String>,
    authorities: Option<String>,
    revocation_lists: Option<String>,
    join: Option<String>,
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
            ppk: PpkChange {
                id: self.post_quantum_key_id.clone(),
                secret: self.typed_ppk().map(Zeroizing::new),
            },
            pem: PemChange {
                certificate: self.certificate.clone(),
                key: key
                    .filter(|key| !key.trim().is_empty())
                    .map(|key| Zeroizing::new(key.clone())),
                authorities: self.authorities.clone(),
                revocation_lists: self.revocation_lists.clone(),
            },
            join: self.join.is_some(),
        })
    }
}

impl Typed {
    /// The post-quantum key, unless it is what stands for the saved one.
    fn typed_ppk(&self) -> Option<String> {
        let typed = self.post_quantum_key.clone();
        typed.filter(|key| key != KEPT)
    }
}

/// What an operator sees of the saved fields, for the event log. Secrets are told by a part of
/// their digest: enough to see that they changed.
fn described(cluster: &Cluster) -> Vec<(&'static str, String)> {
    let secret = |text: &str| match text.is_empty() {
        true => String::new(),
        false => {
            let digest = hex(&crate::tls::digest(text.as_bytes()));
            format!("(not shown, {})", &digest[..6])
        }
    };
    let fields = &cluster.fields;
    let address = |index: usize| fields.peers[index].map(|ip| ip.to_string());
    let pem = &cluster.pem;
    let key = cluster.key.as_ref().map_or("", |key| key.as_str());
    let mut all = vec![(
        Field::Key.label(),
        if key.is_empty() { "" } else { "set" }.to_owned(),
    )];
    for (index, field) in Field::PEERS.into_iter().enumerate() {
        all.push((field.label(), address(index).unwrap_or_default()));
    }
    all.push((Field::Profile.label(), fields.profile.words().into()));
    all.push((
        Field::Authentication.label(),
        fields.authentication.words().into(),
    ));
    all.push((
        Field::AdditionalKeyExchange.label(),
        fields.additional.words().into(),
    ));
    let ppk = cluster.ppk.as_ref();
    let set = ppk.map_or("", |_| "set").to_owned();
    all.push((Field::PostQuantumKey.label(), set));
    let id = ppk.map(|ppk| ppk.id.clone()).unwrap_or_default();
    all.push((Field::PostQuantumKeyId.label(), id));
    all.push((Field::Certificate.label(), secret(&pem.certificate)));
    all.push((Field::Authorities.label(), secret(&pem.authorities)));
    all.push((
        Field::RevocationLists.label(),
        secret(&pem.revocation_lists),
    ));
    all
}

/// Judges and saves the fields; for the event log, what changed.
pub async fn save_change(web: &Web, change: Change) -> Result<Done, SaveError> {
    let node = web.node.clone();
    let before = node.cluster.borrow().clone();
    let saved = tokio::task::spawn_blocking(move || node.save(&change)).await;
    saved
        .map_err(|_| SaveError::Store(StoreError::Refused("an internal task failed".into())))??;
    let after = web.node.cluster.borrow().clone();
    let (old, new) = (described(&before), described(&after));
    let (mut was, mut is) = (Vec::new(), Vec::new());
    for ((label, old), (_, new)) in old.into_iter().zip(new) {
        if old != new {
            was.push(format!(
                "{label}: {}",
                if old.is_empty() { "blank" } else { &old }
            ));
            is.push(format!(
                "{label}: {}",
                if new.is_empty() { "blank" } else { &new }
            ));
        }
    }
    if before.key.is_some() && after.key.is_some() && before.key != after.key {
        is.push(format!("{}: a new one", Field::Key.label()));
    }
    if let (Some(old), Some(new)) = (&before.ppk, &after.ppk)
        && old.secret != new.secret
    {
        is.push(format!("{}: a new one", Field::PostQuantumKey.label()));
    }
    Ok(Done::change(
        "Cluster fields saved",
        was.join(", "),
        is.join(", "),
    ))
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
    render(&web, &caller, None, &[], "").await
}

async fn save(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Form(typed): Form<Typed>,
) -> Response {
    let change = match typed.change() {
        Ok(change) => change,
        Err(problem) => return render(&web, &caller, Some(&typed), &[problem], "").await,
    };
    match save_change(&web, change).await {
        Ok(done) => {
            let words = "Saved: the cluster fields are in use.";
            done.with(render(&web, &caller, None, &[], words).await)
        }
        Err(SaveError::Fields(problems)) => {
            render(&web, &caller, Some(&typed), &problems, "").await
        }
        Err(SaveError::Store(error)) => {
            let problem = Problem::new(Field::Key, error.to_string());
            render(&web, &caller, Some(&typed), &[problem], "").await
        }
    }
}

async fn render(
    web: &Web,
    caller: &Caller,
    typed: Option<&Typed>,
    problems: &[Problem],
    saved: &str,
) -> Response {
    let view = web.node.view();
    let checks = status::prerequisites(web).await;
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
        "join_problem": message(Field::Join),
        "joining": typed.is_some_and(|typed| typed.join.is_some()),
        "peers": peers,
        "key": if view.key_set { KEPT } else { "" },
        "key_label": Field::Key.label(),
        "key_problem": message(Field::Key),
        "ppk": post_quantum(&view, typed, &message),
        "saved": saved,
        "failed": !problems.is_empty(),
        "standing": view.standing,
        "id": view.id,
        "picture": picture::cluster(&view),
        "own": web.node.own(),
        "groups": status::grouped(&checks, &view),
    });
    let page = pages::page(web, caller, "clustering.html", "clustering", context);
    if problems.is_empty() {
        return page;
    }
    let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
    (Extension(Why(words.join("; "))), page).into_response()
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

/// The post-quantum key: its secret is as hidden as the cluster key.
fn post_quantum(view: &ClusterView, typed: Option<&Typed>, message: Message<'_>) -> Value {
    let typed = typed.and_then(|typed| typed.post_quantum_key_id.clone());
    json!({
        "label": Field::PostQuantumKey.label(),
        "text": if view.ppk_id.is_some() { KEPT } else { "" },
        "problem": message(Field::PostQuantumKey),
        "id_label": Field::PostQuantumKeyId.label(),
        "id": typed.or_else(|| view.ppk_id.clone()),
        "id_problem": message(Field::PostQuantumKeyId),
    })
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
