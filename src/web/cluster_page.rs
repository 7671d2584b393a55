//! *System > Clustering*: the key, the three peer fields, and the state beside each.

use axum::Router;
use axum::extract::{Extension, Form, State};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::Caller;
use super::{Web, pages, picture};
use crate::cluster::{Change, Field, Problem};
use crate::node::serve::node::SaveError;

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
}

async fn show(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    render(&web, &caller, None, &[], "")
}

async fn save(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Form(typed): Form<Typed>,
) -> Response {
    let change = Change {
        key: (typed.key != KEPT).then(|| typed.key.clone()),
        peers: [&typed.peer1, &typed.peer2, &typed.peer3].map(|text| text.trim().to_owned()),
    };
    let node = web.node.clone();
    let saved = tokio::task::spawn_blocking(move || node.save(&change)).await;
    match saved {
        Ok(Ok(())) => render(
            &web,
            &caller,
            None,
            &[],
            "Saved: the peer addresses are in use.",
        ),
        Ok(Err(SaveError::Fields(problems))) => render(&web, &caller, Some(&typed), &problems, ""),
        Ok(Err(SaveError::Store(error))) => {
            let problem = Problem {
                field: Field::Key,
                message: error.to_string(),
            };
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
        problems
            .iter()
            .find(|problem| problem.field == field)
            .map(|problem| &problem.message)
    };
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
