//! The node's handle: what web, REST and the role's tasks share.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::line;
use super::renewal::Identities;
use super::states::Noted;
use super::time::TimeReport;
use super::traffic::{History, Traffic};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::cluster::{
    Authentication, Change, Checked, Field, Fields, LinkState, Path, Pem, Ppk, Problem, Roster,
    Saved, Standing, Step, next_step,
};
use crate::replica::{ClusterId, fresh_incarnation};
use crate::store::events::{Alarm, Event, Events, Kind, Level};
use crate::store::{Store, StoreError, local::Local};
use crate::tls::given;
use crate::tunnel::message::{
    self, AhTraffic, Certificates, Desired, Dropped, PeerStatus, Secret, TunnelState,
};
use crate::wire::replication::Told;

pub use super::view::{ClusterView, PeerView, Proof};

/// This software's version, compared between peers.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is asked of who joins.
const JOINING: &str = "confirm that this system's tables, settings of the cluster and web \
    administrators are replaced by the cluster's (its own are kept as a backup file), or leave \
    Peers 2 and 3 blank to begin a cluster here";

/// The saved cluster fields with all that follows from them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Peer 1 to 3.
    pub fields: Fields,
    /// The cluster pre-shared key.
    pub key: Option<Zeroizing<String>>,
    /// The post-quantum key.
    pub ppk: Option<Ppk>,
    /// The cluster we are a member of.
    pub id: Option<ClusterId>,
    /// The certificate fields, as typed.
    pub pem: Pem,
    /// What is in them.
    pub certificates: Option<Box<Certificates>>,
}

/// Everything shared. Held in an `Arc`.
pub struct Node {
    /// The replicated database.
    pub store: Store,
    /// This machine's own values.
    pub local: Local,
    /// This machine's event log and alarms.
    pub events: Events,
    /// Certificates and keys; tasks follow them.
    pub identities: watch::Sender<Identities>,
    /// The system name.
    pub name: String,
    /// Our own addresses; they come and go.
    pub addresses: watch::Sender<Vec<IpAddr>>,
    /// STATE/serve.
    pub state: PathBuf,
    /// Where the other roles' sockets are, once known.
    pub run: OnceLock<PathBuf>,
    /// What chrony says of this system's clock.
    pub time: watch::Sender<TimeReport>,
    /// The cluster as configured; tasks follow it.
    pub cluster: watch::Sender<Cluster>,
    /// What `ike` reports; `None` while it cannot be reached.
    pub tunnels: watch::Sender<Option<Vec<PeerStatus>>>,
    /// The peers that were met, and whom they count as peers.
    pub met: watch::Sender<Roster>,
    /// The name servers of the settings, if none of them answers.
    pub silent_servers: watch::Sender<Vec<IpAddr>>,
    /// When a history was last found to have parted, milliseconds since 1970.
    pub forked_ms: AtomicU64,
    /// Per table how many rows were written past the engine, as counted last.
    pub strangers: watch::Sender<Vec<(String, u64)>>,
    /// What this system gives out as its version, where that is not this software's (lab).
    pub told_version: OnceLock<String>,
    /// Who signed the image that was started; not set or none for what is no image.
    pub release: OnceLock<Option<Result<String, String>>>,
    /// What is known of the paths to the peers.
    pub paths: watch::Sender<HashMap<IpAddr, Path>>,
    /// What each peer is told of the prerequisites.
    telling: Mutex<HashMap<IpAddr, watch::Sender<Vec<Told>>>>,
    /// Whether this system's clock is synchronized.
    pub synchronized: Arc<AtomicBool>,
    /// Whether the password of root is still that of the set-up file.
    pub root_password_default: AtomicBool,
    /// When that was heard, milliseconds since 1970.
    pub tunnels_ms: AtomicU64,
    /// What the kernel counted on the SAs of each peer; empty while nobody can tell.
    pub counted: watch::Sender<HashMap<IpAddr, AhTraffic>>,
    /// How many datagrams to UDP 500 `ike` dropped, while it tells.
    pub dropped: watch::Sender<Option<Dropped>>,
    /// Peers from which `ike` says that no AH arrives.
    pub blocked: watch::Sender<Vec<IpAddr>>,
    /// The last hour.
    pub history: History,
    traffic: Mutex<HashMap<IpAddr, Arc<Traffic>>>,
    /// Bumps with every visible change, for pages that follow.
    pub changed: watch::Sender<u64>,
    /// Bumps with every new line of the event log.
    pub logged: watch::Sender<u64>,
    /// Until when a change of the network waits to be confirmed.
    trial: Mutex<Option<Instant>>,
    /// Turns true to end the process for a restart.
    pub stop: watch::Sender<bool>,
    /// Held by the one link on which this node adopts a cluster.
    pub joining: tokio::sync::Mutex<()>,
    links: Mutex<HashMap<IpAddr, LinkState>>,
    /// How many attempts at links there were.
    attempts: AtomicU64,
    /// The states of peers that the event log has.
    pub(super) noted: Mutex<Noted>,
    /// Held while the cluster is read, changed and kept: a save and the end of a join may meet.
    saving: Mutex<()>,
}

/// Why saving the cluster fields failed.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Something typed stands against it.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Fields(Vec<Problem>),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Node {
    /// Puts the parts together; the saved cluster is read from `local`.
    pub fn new(
        store: Store,
        local: Local,
        identities: impl Into<Identities>,
        name: String,
        own: Vec<IpAddr>,
        state: PathBuf,
    ) -> Result<Self, StoreError> {
        let cluster = load(&local)?;
        let events = Events::open(&state.join("events.db"))?;
        let met = local.value("met")?;
        let met = met.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(Self {
            store,
            local,
            events,
            identities: watch::Sender::new(identities.into()),
            name,
            addresses: watch::Sender::new(own),
            state,
            run: OnceLock::new(),
            time: watch::Sender::default(),
            cluster: watch::Sender::new(cluster),
            tunnels: watch::Sender::new(None),
            tunnels_ms: AtomicU64::new(0),
            counted: watch::Sender::default(),
            dropped: watch::Sender::default(),
            blocked: watch::Sender::default(),
            met: watch::Sender::new(met.unwrap_or_default()),
            silent_servers: watch::Sender::default(),
            forked_ms: AtomicU64::default(),
            strangers: watch::Sender::default(),
            told_version: OnceLock::new(),
            release: OnceLock::new(),
            paths: watch::Sender::default(),
            telling: Mutex::default(),
            synchronized: Arc::default(),
            root_password_default: AtomicBool::new(false),
            history: History::default(),
            traffic: Mutex::default(),
            changed: watch::Sender::new(0),
            logged: watch::Sender::new(0),
            trial: Mutex::default(),
            stop: watch::Sender::new(false),
            joining: tokio::sync::Mutex::default(),
            attempts: AtomicU64::new(0),
            links: Mutex::default(),
            noted: Mutex::default(),
            saving: Mutex::default(),
        })
    }

    /// The version that peers are told and compared with.
    pub fn version(&self) -> &str {
        self.told_version.get().map_or(VERSION, String::as_str)
    }

    /// Judges and saves what an operator typed, and acts on it: founds, waits or leaves. Blocks.
    pub fn save(&self, change: &Change) -> Result<(), SaveError> {
        let _saving = self.saving();
        let old = self.cluster.borrow().clone();
        let saved = Saved {
            fields: &old.fields,
            keyed: old.key.is_some(),
            ppk: old.ppk.as_ref(),
            pem: &old.pem,
        };
        let checked = change
            .check(&self.own(), saved)
            .map_err(SaveError::Fields)?;
        let certificates = self.examine(&checked)?;
        let Checked {
            fields,
            keyed,
            ppk,
            pem,
        } = checked;
        let key = match &change.key {
            Some(key) if !key.is_empty() => Some(Zeroizing::new(key.clone())),
            Some(_) => None,
            None => old.key.clone(),
        };
        let certified = fields.authentication == Authentication::Certificates;
        let proven = keyed || (certified && !fields.is_blank());
        let mut new = Cluster {
            fields,
            key,
            ppk,
            id: old.id,
            pem,
            certificates,
        };
        let step = next_step(&new.fields, proven, &self.own(), old.id);
        let begins = old.fields.is_blank() && !new.fields.is_blank();
        if begins && step == Step::Stay(Standing::Waiting) && !change.join {
            return Err(SaveError::Fields(vec![Problem::new(Field::Join, JOINING)]));
        }
        match step {
            Step::Found => new.id = Some(random()),
            Step::Leave => (new.key, new.ppk, new.id) = (None, None, None),
            Step::Stay(_) => {}
        }
        self.keep(&new)?;
        if step == Step::Leave
            && let Err(error) = self.store.renew(fresh_incarnation(random()))
        {
            // It takes no writes then, and the next start takes a fresh incarnation in any case.
            tracing::error!(%error, "no fresh incarnation could be begun on leaving the cluster");
        }
        let listed = new.fields.peers;
        let addresses: Vec<IpAddr> = listed.iter().flatten().copied().collect();
        self.change_met(|met| met.keep(&addresses))?;
        self.links()
            .retain(|address, _| listed.contains(&Some(*address)));
        self.cluster.send_replace(new);
        self.touch();
        Ok(())
    }

    /// Keeps the cluster id of the member we adopted from. Blocks.
    pub fn adopted(&self, id: ClusterId) -> Result<(), StoreError> {
        let _saving = self.saving();
        let mut new = self.cluster.borrow().clone();
        if new.fields.is_blank() {
            return Ok(()); // left while the join ended
        }
        new.id = Some(id);
        self.keep(&new)?;
        self.cluster.send_replace(new);
        self.touch();
        Ok(())
    }

    /// What is in the certificate fields. They are judged as what this system will prove itself
    /// with, unless it does not yet.
    fn examine(&self, checked: &Checked) -> Result<Option<Box<Certificates>>, SaveError> {
        let list = checked.fields.peer_list(&self.own());
        let local = list.map(|list| list.local);
        let found = match checked.fields.authentication {
            Authentication::Certificates => given::examine(&checked.pem, local),
            Authentication::PreSharedKey => given::read(&checked.pem),
        };
        let found = found.map_err(|problem| SaveError::Fields(vec![problem]))?;
        Ok(found.map(Box::new))
    }

    /// Changes who was met, and keeps it where that is news. Blocks.
    pub fn change_met(&self, change: impl FnOnce(&mut Roster) -> bool) -> Result<(), StoreError> {
        if self.met.send_if_modified(change) {
            let bytes = serde_json::to_vec(&*self.met.borrow()).unwrap_or_default();
            self.local.set(&[("met", Some(&bytes))])?;
        }
        Ok(())
    }

    fn keep(&self, cluster: &Cluster) -> Result<(), StoreError> {
        let fields = serde_json::to_vec(&cluster.fields).unwrap_or_default();
        let pem = &cluster.pem;
        let text = |of: fn(&Pem) -> &str| Some(of(pem).as_bytes()).filter(|text| !text.is_empty());
        self.local.set(&[
            ("cluster_fields", Some(&fields)),
            (
                "cluster_key",
                cluster.key.as_ref().map(|key| key.as_bytes()),
            ),
            (
                "cluster_ppk",
                cluster.ppk.as_ref().map(|ppk| ppk.secret.as_bytes()),
            ),
            (
                "cluster_ppk_id",
                cluster.ppk.as_ref().map(|ppk| ppk.id.as_bytes()),
            ),
            ("cluster_id", cluster.id.as_ref().map(|id| &id[..])),
            ("ike_certificate", text(|pem| &pem.certificate)),
            ("ike_key", text(|pem| &pem.key)),
            ("ike_authorities", text(|pem| &pem.authorities)),
            ("ike_revocation_lists", text(|pem| &pem.revocation_lists)),
        ])
    }

    /// What `ike` shall do.
    pub fn desired(&self) -> Option<Desired> {
        let cluster = self.cluster.borrow();
        let fields = &cluster.fields;
        // What is not used is not told, so that changing it touches no tunnel.
        let (key, certificates) = match fields.authentication {
            Authentication::PreSharedKey => (cluster.key.as_ref()?.as_bytes().to_vec(), None),
            Authentication::Certificates => (Vec::new(), Some(cluster.certificates.clone()?)),
        };
        Some(Desired {
            list: fields.peer_list(&self.own())?,
            key: Secret(key),
            certificate: self.identities.borrow().presented(),
            profile: fields.profile.profile(fields.additional).ok()?,
            certificates,
            ppk: cluster.ppk.as_ref().map(told),
        })
    }

    /// Our own addresses now.
    pub fn own(&self) -> Vec<IpAddr> {
        self.addresses.borrow().clone()
    }

    /// Which of our own addresses is in the peer list.
    pub fn local_address(&self) -> Option<IpAddr> {
        let own = self.own();
        let peers = self.cluster.borrow().fields.peers;
        peers.into_iter().flatten().find(|peer| own.contains(peer))
    }

    /// The other peers, each with its field.
    pub fn others(&self) -> Vec<(u8, IpAddr)> {
        let own = self.own();
        let listed = (1u8..).zip(self.cluster.borrow().fields.peers);
        let others = listed.filter_map(|(field, peer)| Some((field, peer?)));
        others.filter(|(_, peer)| !own.contains(peer)).collect()
    }

    /// Where a peer is told of the prerequisites as seen from here.
    pub fn telling(&self, peer: IpAddr) -> watch::Sender<Vec<Told>> {
        let mut all = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(peer).or_default().clone()
    }

    /// Where this node stands.
    pub fn standing(&self) -> Standing {
        let cluster = self.cluster.borrow();
        match (cluster.id, cluster.fields.is_blank()) {
            (Some(id), _) => Standing::Member(id),
            (None, true) => Standing::Standalone,
            (None, false) => Standing::Waiting,
        }
    }

    /// Begins an attempt at a link with `peer`. What earlier ones still say counts no more.
    pub(super) fn begin_link(&self, peer: IpAddr) -> u64 {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        self.links().entry(peer).or_default().attempt = attempt;
        attempt
    }

    /// Changes what is known about a link, unless another attempt has begun since this one, or the
    /// peer left the list.
    pub(super) fn note_link(
        &self,
        (peer, attempt): (IpAddr, u64),
        change: impl FnOnce(&mut LinkState),
    ) {
        if let Some(link) = self.links().get_mut(&peer)
            && link.attempt == attempt
        {
            change(link);
        }
        self.touch();
    }

    /// Peers whose tunnel stands.
    pub fn up(&self) -> HashSet<IpAddr> {
        let tunnels = self.tunnels.borrow();
        let up = |status: &&PeerStatus| matches!(status.state, TunnelState::Up { .. });
        let all = tunnels.iter().flatten().filter(up);
        all.map(|status| status.address).collect()
    }

    /// Peers whose tunnel stands and of whose link nothing is heard.
    pub fn silent(&self) -> Vec<IpAddr> {
        let tunnels = self.tunnels.borrow();
        let links = self.links();
        let silent = |status: &&PeerStatus| {
            let up = matches!(
                status.state,
                TunnelState::Up {
                    certificate: Some(_)
                }
            );
            up && !links.get(&status.address).is_some_and(LinkState::stands)
        };
        let all = tunnels.iter().flatten().filter(silent);
        all.map(|status| status.address).collect()
    }

    /// Writes one line to the event log and to the journal. What cannot be written there is still
    /// in the journal.
    pub fn note(&self, event: &Event) {
        let event = event.shortened();
        line::say(&event);
        match self.events.write(now_ms(), &event) {
            Ok(true) => self.logged.send_modify(|count| *count += 1),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the event log cannot be written"),
        }
    }

    /// Raises an alarm, with a line where it is new.
    pub fn raise(&self, alarm: &Alarm) {
        match self.events.raise(now_ms(), alarm) {
            Ok(true) => {
                let text = format!("Alarm raised: {}", alarm.text);
                self.note(&Event::new(Kind::System, alarm.level, text));
                self.touch();
            }
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "an alarm cannot be written: {}", alarm.text),
        }
    }

    /// Lowers an alarm, with a line where it stood.
    pub fn lower(&self, id: &str) {
        match self.events.lower(now_ms(), id) {
            Ok(Some(text)) => {
                let text = format!("Alarm lowered: {text}");
                self.note(&Event::new(Kind::System, Level::Information, text));
                self.touch();
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "an alarm cannot be lowered: {id}"),
        }
    }

    /// A change of the network waits so many seconds to be confirmed, or none does.
    pub fn on_trial(&self, left_s: Option<u16>) {
        let until = left_s.map(|left| Instant::now() + Duration::from_secs(left.into()));
        *self.trial.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// How many seconds a change of the network still waits to be confirmed.
    pub fn trial_left_s(&self) -> Option<u64> {
        let until = (*self.trial.lock().unwrap_or_else(PoisonError::into_inner))?;
        let left = until.checked_duration_since(Instant::now())?;
        Some(left.as_secs())
    }

    /// Restarts the process once the answer to the request that asked for it has left.
    pub fn restart_soon(&self) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            stop.send_replace(true);
        });
    }

    /// The counters of one peer's links.
    pub fn traffic(&self, peer: IpAddr) -> Arc<Traffic> {
        let mut all = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(peer).or_default().clone()
    }

    /// Tells followers that something visible changed.
    pub fn touch(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Held while what is kept of the cluster or of the certificates changes.
    pub(super) fn saving(&self) -> MutexGuard<'_, ()> {
        self.saving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn links(&self) -> MutexGuard<'_, HashMap<IpAddr, LinkState>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cluster as it was saved.
pub(super) fn load(local: &Local) -> Result<Cluster, StoreError> {
    let fields = local.value("cluster_fields")?;
    let key = local.value("cluster_key")?;
    let ppk = local.value("cluster_ppk")?;
    let ppk_id = local.value("cluster_ppk_id")?;
    let id = local.value("cluster_id")?;
    let text = |name| -> Result<Zeroizing<String>, StoreError> {
        let bytes = local.value(name)?.unwrap_or_default();
        let text = str::from_utf8(&bytes).map_err(|_| damaged("certificates"))?;
        Ok(Zeroizing::new(text.to_owned()))
    };
    let pem = Pem {
        certificate: text("ike_certificate")?.to_string(),
        key: text("ike_key")?,
        authorities: text("ike_authorities")?.to_string(),
        revocation_lists: text("ike_revocation_lists")?.to_string(),
    };
    // Damaged fields are an error: taking them for standalone would open the firewall.
    let fields = fields
        .map(|bytes| serde_json::from_slice(&bytes))
        .transpose();
    let certificates = given::read(&pem).map_err(|_| damaged("certificates"))?;
    Ok(Cluster {
        fields: fields
            .map_err(|_| damaged("cluster fields"))?
            .unwrap_or_default(),
        key: key
            .and_then(|b| String::from_utf8(b.to_vec()).ok())
            .map(Zeroizing::new),
        ppk: ppk.zip(ppk_id).map(read_ppk).transpose()?,
        id: id.and_then(|bytes| bytes.as_slice().try_into().ok()),
        pem,
        certificates: certificates.map(Box::new),
    })
}

/// The post-quantum key as `ike` takes it.
fn told(ppk: &Ppk) -> Box<message::Ppk> {
    Box::new(message::Ppk {
        id: ppk.id.clone(),
        secret: Secret(ppk.octets().to_vec()),
    })
}

/// The post-quantum key as it was saved: secret and identity.
fn read_ppk<B: AsRef<[u8]>>((secret, id): (B, B)) -> Result<Ppk, StoreError> {
    let text = |bytes: &B| String::from_utf8(bytes.as_ref().to_vec());
    match (text(&secret), text(&id)) {
        (Ok(secret), Ok(id)) => Ok(Ppk {
            id,
            secret: Zeroizing::new(secret),
        }),
        // Without it tunnels would come up that lack it.
        _ => Err(damaged("post-quantum key")),
    }
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("the {what} of local.db"))
}

/// Random bytes from the operating system; without them nothing here could be safe.
pub fn random<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    getrandom::fill(&mut out).expect("the operating system gives random bytes");
    out
}

/// Milliseconds since 1970, as this system's clock has it.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
