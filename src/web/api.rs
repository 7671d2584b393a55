//! REST under `/api/v1`: what pages show and do, for programs and for the command line.

use std::net::IpAddr;

use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::cluster_page::{chosen, save_change};
use super::guard::{Caller, refuse};
use super::openapi::{Refusals, Refused};
use super::record::{Done, Why};
use super::{Web, conflicts, session};
use crate::cluster::{
    AdditionalKeyExchange, Authentication, Change, Colour, Field, IkeProfile, PemChange, PpkChange,
    Problem, check_key, key_from_random,
};
use crate::node::serve::node::{ClusterView, PeerView, Proof, SaveError, VERSION, hex, random};
use crate::node::tunnel::TunnelView;
use crate::store::administrators;
use crate::store::{Store, StoreError};
use crate::tls::given::Summary;
use crate::tunnel::message::Dropped;

/// All routes; the guard stands before them.
pub fn router() -> Router<Web> {
    Router::new()
        .route("/status", get(status))
        .route(
            "/cluster",
            get(cluster).put(put_cluster).delete(clear_cluster),
        )
        .route("/cluster/key", post(generate_key))
        .route("/peers", get(peers))
        .merge(super::tables_api::api())
        .merge(conflicts::api())
        .merge(super::log_page::api())
        .merge(super::accounts::api())
        .merge(super::openapi::api())
        .merge(super::restart::api())
        .merge(super::status::api())
        .merge(super::system_pages::api())
        .merge(super::network::api())
        .merge(super::certificates::api())
        .route("/password", put(password))
}

/// Runs blocking work on the store; its refusals are the caller's, the rest is ours.
pub async fn blocking<T: Send + 'static>(
    web: &Web,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Response> {
    let store = web.node.store.clone();
    match tokio::task::spawn_blocking(move || work(&store)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "an internal task failed",
        )),
    }
}

/// What the store refused, or could not do.
pub fn failed(error: &StoreError) -> Response {
    let status = match error {
        StoreError::Io { .. } | StoreError::Damaged(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    refuse(status, &error.to_string())
}

/// An answer with the words of the event log.
type Recorded = Result<Response, Response>;

/// This system.
#[derive(Serialize, ToSchema)]
struct Status {
    name: String,
    /// Of the software.
    version: &'static str,
    /// `standalone`, `waiting` or `member`.
    standing: &'static str,
    /// The cluster's id.
    cluster: Option<String>,
    /// Its own.
    #[schema(value_type = Vec<String>)]
    addresses: Vec<IpAddr>,
    /// Whether `ike` can be reached.
    tunnel_service: bool,
    /// How many systems ever wrote what is here.
    origins: usize,
    /// How many transactions led here.
    transactions: u64,
    /// SHA-256 of its certificate, in hexadecimal digits.
    certificate: String,
}

#[utoipa::path(
    get,
    path = "/api/v1/status",
    summary = "This system",
    responses((status = 200, description = "As it is now", body = Status), Refusals)
)]
async fn status(State(web): State<Web>) -> Result<Json<Status>, Response> {
    let (origins, transactions) = blocking(&web, |store| Ok(store.frontier_summary())).await?;
    let view = web.node.view();
    Ok(Json(Status {
        name: web.node.name.clone(),
        version: VERSION,
        standing: view.standing,
        cluster: view.id,
        addresses: web.node.own(),
        tunnel_service: web.node.tunnels.borrow().is_some(),
        origins,
        transactions,
        certificate: hex(&web.node.identity().digest()),
    }))
}

/// The cluster fields. The key itself is never told.
#[derive(Serialize, ToSchema)]
struct Cluster {
    /// `standalone`, `waiting` or `member`.
    standing: &'static str,
    /// The cluster's id.
    id: Option<String>,
    /// Whether a key is saved.
    key_set: bool,
    #[schema(value_type = Option<String>)]
    peer1: Option<IpAddr>,
    #[schema(value_type = Option<String>)]
    peer2: Option<IpAddr>,
    #[schema(value_type = Option<String>)]
    peer3: Option<IpAddr>,
    profile: IkeProfile,
    authentication: Authentication,
    additional_key_exchange: AdditionalKeyExchange,
    /// Whether a post-quantum key is saved; it itself is never told.
    post_quantum_key_set: bool,
    /// What names it.
    post_quantum_key_id: Option<String>,
    /// What is in the certificate fields.
    certificate: Option<Summary>,
}

impl Cluster {
    fn of(view: ClusterView) -> Self {
        let [peer1, peer2, peer3] = [0, 1, 2].map(|at: usize| view.peers[at].address);
        Self {
            standing: view.standing,
            id: view.id,
            key_set: view.key_set,
            peer1,
            peer2,
            peer3,
            profile: view.fields.profile,
            authentication: view.fields.authentication,
            additional_key_exchange: view.fields.additional,
            post_quantum_key_set: view.ppk_id.is_some(),
            post_quantum_key_id: view.ppk_id,
            certificate: view.certificates,
        }
    }
}

#[utoipa::path(
    get,
    path = "/api/v1/cluster",
    summary = "The cluster fields; the key itself is never told",
    responses((status = 200, description = "As saved", body = Cluster), Refusals)
)]
async fn cluster(State(web): State<Web>) -> Json<Cluster> {
    Json(Cluster::of(web.node.view()))
}

/// Peers left out become blank; everything else left out stays. An empty text deletes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ClusterBody {
    key: Option<String>,
    peer1: Option<String>,
    peer2: Option<String>,
    peer3: Option<String>,
    profile: Option<String>,
    authentication: Option<String>,
    additional_key_exchange: Option<String>,
    /// At least 256 random bits; hexadecimal digits after `0x`, else the text itself counts.
    post_quantum_key: Option<String>,
    post_quantum_key_id: Option<String>,
    certificate: Option<String>,
    certificate_key: Option<String>,
    authorities: Option<String>,
    revocation_lists: Option<String>,
    /// Confirms that joining a cluster replaces this system's tables and web administrators.
    #[serde(default)]
    join: bool,
}

impl ClusterBody {
    fn change(self) -> Result<Change, Problem> {
        let additional = self.additional_key_exchange.as_deref();
        Ok(Change {
            key: self.key,
            peers: [self.peer1, self.peer2, self.peer3].map(Option::unwrap_or_default),
            profile: chosen(Field::Profile, self.profile.as_deref())?,
            authentication: chosen(Field::Authentication, self.authentication.as_deref())?,
            additional: chosen(Field::AdditionalKeyExchange, additional)?,
            ppk: PpkChange {
                id: self.post_quantum_key_id,
                secret: self.post_quantum_key.map(Zeroizing::new),
            },
            pem: PemChange {
                certificate: self.certificate,
                key: self.certificate_key.map(Zeroizing::new),
                authorities: self.authorities,
                revocation_lists: self.revocation_lists,
            },
            join: self.join,
        })
    }
}

#[utoipa::path(
    put, path = "/api/v1/cluster",
    summary = "Saves the cluster fields",
    request_body = ClusterBody,
    responses((status = 200, description = "Saved and in use", body = Cluster), Refusals)
)]
async fn put_cluster(State(web): State<Web>, Json(body): Json<ClusterBody>) -> Recorded {
    match body.change() {
        Ok(change) => save(&web, change).await,
        Err(problem) => Err(unacceptable(&[problem])),
    }
}

#[utoipa::path(
    delete,
    path = "/api/v1/cluster",
    summary = "Leaves the cluster; the data stays",
    responses((status = 200, description = "Left", body = Cluster), Refusals)
)]
async fn clear_cluster(State(web): State<Web>) -> Recorded {
    save(&web, Change::clear()).await
}

fn unacceptable(problems: &[Problem]) -> Response {
    let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let body = Refused {
        error: words.join("; "),
        problems: Some(problems.to_vec()),
    };
    let why = Extension(Why(words.join("; ")));
    (StatusCode::UNPROCESSABLE_ENTITY, why, Json(body)).into_response()
}

async fn save(web: &Web, change: Change) -> Recorded {
    match save_change(web, change).await {
        Ok(done) => Ok(done.with(Json(Cluster::of(web.node.view())))),
        Err(SaveError::Fields(problems)) => Err(unacceptable(&problems)),
        Err(SaveError::Store(error)) => Err(failed(&error)),
    }
}

/// A key of 256 random bits.
#[derive(Serialize, ToSchema)]
struct Key {
    key: String,
}

#[utoipa::path(
    post,
    path = "/api/v1/cluster/key",
    summary = "A new random key, for the cluster or post-quantum; nothing is saved",
    responses((status = 200, description = "A new one each time", body = Key), Refusals)
)]
async fn generate_key() -> Json<Key> {
    let key = key_from_random(&random());
    debug_assert!(check_key(&key).is_ok());
    Json(Key { key })
}

/// The peers.
#[derive(Serialize, ToSchema)]
struct Peers {
    /// `standalone`, `waiting` or `member`.
    standing: &'static str,
    /// Those with an address.
    peers: Vec<Peer>,
    /// Datagrams to UDP 500 that were dropped since the tunnel service started; none while it is
    /// not running.
    dropped: Option<Dropped>,
}

/// One Peer field, and what is known of that peer.
#[derive(Serialize, ToSchema)]
struct Peer {
    /// 1 to 3.
    field: u8,
    #[schema(value_type = Option<String>)]
    address: Option<IpAddr>,
    /// In words, as pages have it.
    state: Option<String>,
    colour: Option<Colour>,
    /// Whether the peer proved who it is.
    authenticated: bool,
    /// Its system name, once it said so.
    name: Option<String>,
    /// Whether AH stands to it.
    tunnel: bool,
    /// SPIs in and out, in hexadecimal digits.
    spis: Option<[String; 2]>,
    /// How the tunnel is keyed and what passed by it; none for this system, and while the tunnel
    /// service is not running.
    tunnel_status: Option<TunnelView>,
    /// Whether this is this system.
    own: bool,
    /// Of its software, once it said so.
    version: Option<String>,
    /// How far its clock is ahead.
    clock_offset_ms: Option<i64>,
    /// Of replication, since the service started.
    received_bytes: u64,
    sent_bytes: u64,
    /// What to do about its state.
    advice: Option<String>,
    round_trip_ms: Option<f64>,
    /// Changes that it still has to send or take.
    behind: u64,
    /// The last comparison of all rows with its own; none yet where the service just started.
    proof: Option<Proof>,
    /// Why the last link ended.
    last_error: Option<String>,
}

impl Peer {
    fn of(peer: PeerView) -> Self {
        let advice = peer.state.as_ref().and_then(crate::cluster::advice);
        let state = peer.state.as_ref();
        Self {
            field: peer.field,
            address: peer.address,
            colour: state.map(|state| state.colour),
            authenticated: state.is_some_and(|state| state.authenticated),
            state: state.map(|state| state.text.clone()),
            name: peer.name,
            tunnel: peer.tunnel,
            spis: peer.spis.map(|(inbound, out)| [inbound, out]),
            tunnel_status: peer.tunnel_status,
            own: peer.own,
            version: peer.version,
            clock_offset_ms: peer.clock_offset_ms,
            received_bytes: peer.octets.0,
            sent_bytes: peer.octets.1,
            advice: advice.map(|words| words.to_string()),
            round_trip_ms: peer.round_trip_ms,
            behind: peer.behind,
            proof: peer.proof,
            last_error: peer.error,
        }
    }
}

#[utoipa::path(
    get,
    path = "/api/v1/peers",
    summary = "The peers and the state of each",
    responses((status = 200, description = "As it is now", body = Peers), Refusals)
)]
async fn peers(State(web): State<Web>) -> Json<Peers> {
    let view = web.node.view();
    let filled = view.peers.into_iter();
    let filled = filled.filter(|peer| peer.address.is_some());
    Json(Peers {
        standing: view.standing,
        peers: filled.map(Peer::of).collect(),
        dropped: *web.node.dropped.borrow(),
    })
}

/// Something was changed.
#[derive(Serialize, ToSchema)]
pub struct Changed {
    /// True.
    pub changed: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    /// Whose; default the caller's own.
    name: Option<String>,
    password: String,
}

#[utoipa::path(
    put, path = "/api/v1/password",
    summary = "Changes a password",
    request_body = NewPassword,
    responses((status = 200, description = "Changed", body = Changed), Refusals)
)]
async fn password(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Json(body): Json<NewPassword>,
) -> Result<Response, Response> {
    let name = body.name.unwrap_or_else(|| caller.name.clone());
    if caller.reads_only && name != caller.name {
        let words = "this account changes only its own password";
        return Err(refuse(StatusCode::FORBIDDEN, words));
    }
    let done = Done::change(format!("Password of {name} changed"), "", "");
    change_password(&web, name, body.password).await?;
    Ok(done.with(Json(Changed { changed: true })))
}

/// Sets a password, which also ends all sessions that began with the old one.
pub async fn change_password(web: &Web, name: String, password: String) -> Result<(), Response> {
    if let Err(why) = crate::settings::password::check(&password, &name) {
        return Err(refuse(StatusCode::UNPROCESSABLE_ENTITY, &why));
    }
    blocking(web, move |store| {
        let Some(mut who) = administrators::find(store, &name)? else {
            return Err(StoreError::Refused(format!(
                "there is no administrator {name}"
            )));
        };
        who.hash = session::hash(&password).map_err(StoreError::Refused)?;
        who.change_password = false;
        administrators::put(store, &who)
    })
    .await
}
