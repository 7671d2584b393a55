//! The `keyer` role: the only one that may change the kernel's SAs and policies.
//!
//! It does so for the peers in `RUN/peers.json` and their request ids alone, whatever it is
//! asked. When it stops, SAs and policies stay as they are: stopping it never opens the wire.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::broadcast;

use super::Dirs;
use super::ipc::{self, Allowed, Connection};
use super::pulse::Pulse;
use crate::sys::xfrm::{self, Event, Events, Xfrm, XfrmError};
use crate::tunnel::message::{AhSa, AhTraffic, KeyerReply, KeyerRequest, Peer, PeerList, reqid};

/// Acquires and expiries that a slow client may lag behind by; more are dropped.
const EVENTS: usize = 64;

/// How long a replaced outbound SA stays: packets that had chosen it still leave under it, where a
/// removed one would make the kernel drop them (EINVAL to the sender).
const OUTBOUND_GRACE: Duration = Duration::from_millis(50);

/// Options of `tutti keyer`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Another user that may ask, besides root and tutti-ike; may be given more than once.
    #[arg(long = "allow-user", value_name = "USER")]
    allow_users: Vec<String>,
}

/// Runs the role until it is stopped.
pub fn run(dirs: &Dirs, args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(dirs.clone(), args))
}

async fn serve(dirs: Dirs, args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let allowed = Allowed::new("tutti-ike", &args.allow_users)?;
    let mut keyer = Keyer::new(dirs.run.join("peers.json"))?;
    // First: a policy that goes from now on is put back.
    let events = Events::open()?;
    keyer.reload()?;
    let keyer = Arc::new(Mutex::new(keyer));
    let (unasked, _) = broadcast::channel(EVENTS);
    let (to, whose) = (unasked.clone(), keyer.clone());
    std::thread::Builder::new()
        .name("xfrm-events".into())
        .spawn(move || forward(&events, &whose, &to))?;
    let listener = ipc::listen(&dirs.run.join("keyer.sock"), 0o660)?;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let mut pulse = Pulse::as_asked();
    loop {
        let connection = tokio::select! {
            connection = ipc::accept(&listener, &allowed) => connection?,
            () = pulse.due() => {
                // Works as long as the next request would get its turn.
                drop(lock(&keyer)?);
                pulse.beat();
                continue;
            }
        };
        let task = converse(connection, keyer.clone(), unasked.subscribe());
        tokio::spawn(async {
            if let Err(error) = task.await {
                tracing::warn!("connection from ike ended: {error}");
            }
        });
    }
}

/// Passes on what the kernel says unasked, for as long as the process lives.
fn forward(events: &Events, keyer: &Mutex<Keyer>, unasked: &broadcast::Sender<KeyerReply>) {
    loop {
        let found = match events.receive() {
            Ok(found) => found,
            Err(error) => return tracing::error!("no more events from the kernel: {error}"),
        };
        let Ok(mut keyer) = keyer.lock() else { return };
        // By our own hand all policies are in line already, and nothing more goes.
        if found.contains(&Event::PolicyGone)
            && let Err(error) = keyer.restore_policies()
        {
            tracing::error!("policies that went cannot be put back: {error}");
        }
        for reply in found.into_iter().filter_map(|event| keyer.translate(event)) {
            // No receiver: `ike` is not connected, and needs no past event when it is.
            let _ = unasked.send(reply);
        }
    }
}

/// One connection of `ike`: requests answered in order, events in between.
async fn converse(
    mut connection: Connection<KeyerReply, KeyerRequest>,
    keyer: Arc<Mutex<Keyer>>,
    mut unasked: broadcast::Receiver<KeyerReply>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    loop {
        let reply = tokio::select! {
            request = connection.recv() => match request? {
                Some(request) => {
                    let mut replies = vec![lock(&keyer)?.answer(request)];
                    while let Some(request) = connection.buffered()? {
                        replies.push(lock(&keyer)?.answer(request));
                    }
                    connection.send_all(&replies).await?;
                    continue;
                }
                None => return Ok(()),
            },
            event = unasked.recv() => match event {
                Ok(reply) => reply,
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
        };
        connection.send(&reply).await?;
    }
}

fn lock(keyer: &Mutex<Keyer>) -> io::Result<std::sync::MutexGuard<'_, Keyer>> {
    keyer
        .lock()
        .map_err(|_| io::Error::other("an earlier request panicked"))
}

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0} is not in the peer list")]
    NotAPeer(IpAddr),
    #[error("SPI {0} is reserved (RFC 4302 section 2.4)")]
    ReservedSpi(u32),
    #[error("a key of {0} bytes does not fit the algorithm")]
    KeyLength(usize),
    #[error("{path}: {reason}")]
    PeerList { path: PathBuf, reason: String },
    #[error(transparent)]
    Xfrm(#[from] XfrmError),
}

/// The kernel's interface and the list that limits what may be done with it.
struct Keyer {
    xfrm: Xfrm,
    path: PathBuf,
    list: Option<PeerList>,
    /// What was counted on SAs that were removed, by peer.
    removed: HashMap<IpAddr, AhTraffic>,
    /// SPIs of the outbound SAs that stand, by peer.
    outbound: HashMap<IpAddr, Vec<u32>>,
}

impl Keyer {
    fn new(path: PathBuf) -> Result<Self, XfrmError> {
        Ok(Self {
            xfrm: Xfrm::open()?,
            path,
            list: None,
            removed: HashMap::new(),
            outbound: HashMap::new(),
        })
    }

    fn answer(&mut self, request: KeyerRequest) -> KeyerReply {
        let result = match request {
            KeyerRequest::Reload => self.reload(),
            KeyerRequest::Install(sa) => self.install(&sa),
            KeyerRequest::Remove { peer, spi, inbound } => self.remove(peer, spi, inbound),
            KeyerRequest::Retain(spis) => self.retain(&spis),
            KeyerRequest::Counters { peer } => match self.counters(peer) {
                Ok(reply) => return reply,
                // Whoever counts may know a list that is not in force any more.
                Err(error) => return KeyerReply::Failed(error.to_string()),
            },
        };
        match result {
            Ok(()) => KeyerReply::Done,
            Err(refusal) => {
                tracing::warn!("{refusal}");
                KeyerReply::Failed(refusal.to_string())
            }
        }
    }

    /// Reads the list again, brings policies into line and drops SAs of peers that are gone.
    fn reload(&mut self) -> Result<(), Refusal> {
        let list = read_list(&self.path)?;
        let changed = xfrm::sync_policies(&mut self.xfrm, list.as_ref())?;
        self.list = list;
        let peers = self.list.as_ref().map_or(0, |list| list.peers.len());
        tracing::info!("{peers} other peers, {changed} policies changed");
        let all = xfrm::installed(&mut self.xfrm)?;
        self.outbound.clear();
        for sa in all.iter().filter(|sa| is_ours(sa.reqid) && sa.spi != 0) {
            match self.peer_of(sa) {
                Some(peer) if !self.is_replaced(sa, &all) => self.note_outbound(peer, sa),
                _ => self.take_away(sa)?,
            }
        }
        let list = self.list.as_ref();
        let listed = |peer: &IpAddr| find(list, *peer).is_ok();
        self.removed.retain(|peer, _| listed(peer));
        Ok(xfrm::flush_larval(&mut self.xfrm, is_ours)?)
    }

    /// Policies that somebody else took away come back.
    fn restore_policies(&mut self) -> Result<(), XfrmError> {
        let changed = xfrm::sync_policies(&mut self.xfrm, self.list.as_ref())?;
        if changed > 0 {
            tracing::warn!("somebody deleted IPsec policies: {changed} put back");
        }
        Ok(())
    }

    fn install(&mut self, sa: &AhSa) -> Result<(), Refusal> {
        let (list, peer) = permit(self.list.as_ref(), sa)?;
        xfrm::install(&mut self.xfrm, list.local, peer.reqid, sa)?;
        if sa.inbound {
            return Ok(());
        }
        // Of two outbound SAs the kernel takes the younger by wall clock, which may step: never
        // leave two. The new one stands first, so no packet finds none.
        let standing = self.outbound.entry(peer.address).or_default();
        let mut earlier = std::mem::replace(standing, vec![sa.spi]);
        // That one had ended by itself.
        earlier.retain(|spi| *spi != sa.spi);
        if !earlier.is_empty() {
            std::thread::sleep(OUTBOUND_GRACE);
        }
        for spi in earlier {
            self.remove(peer.address, spi, false)?;
        }
        Ok(())
    }

    /// Removes an SA and keeps what was counted on it.
    fn take_away(&mut self, sa: &xfrm::InstalledSa) -> Result<(), XfrmError> {
        xfrm::remove(&mut self.xfrm, sa.destination, sa.spi)?;
        if let Some(standing) = self.outbound.get_mut(&sa.destination) {
            standing.retain(|spi| *spi != sa.spi);
        }
        if let (Some(peer), Some(list)) = (self.peer_of(sa), &self.list) {
            let counters = sa.counters(list.local);
            self.removed.entry(peer.address).or_default().add(&counters);
        }
        Ok(())
    }

    fn remove(&mut self, peer: IpAddr, spi: u32, inbound: bool) -> Result<(), Refusal> {
        let (list, peer) = find(self.list.as_ref(), peer)?;
        let destination = if inbound { list.local } else { peer.address };
        // An SPI alone names an SA of anybody: it must be one of this peer's.
        let standing = xfrm::find(&mut self.xfrm, destination, spi)?;
        if let Some(sa) = standing.filter(|sa| sa.reqid == peer.reqid) {
            self.take_away(&sa)?;
        }
        Ok(())
    }

    fn retain(&mut self, spis: &[u32]) -> Result<(), Refusal> {
        for sa in xfrm::installed(&mut self.xfrm)? {
            if is_ours(sa.reqid) && sa.spi != 0 && !spis.contains(&sa.spi) {
                self.take_away(&sa)?;
            }
        }
        Ok(xfrm::flush_larval(&mut self.xfrm, is_ours)?)
    }

    fn counters(&mut self, peer: IpAddr) -> Result<KeyerReply, Refusal> {
        let (list, peer) = find(self.list.as_ref(), peer)?;
        let local = list.local;
        let all = xfrm::installed(&mut self.xfrm)?;
        let its = all
            .iter()
            .filter(|sa| sa.reqid == peer.reqid && sa.spi != 0)
            .map(|sa| sa.counters(local));
        Ok(KeyerReply::Counters {
            standing: its.collect(),
            removed: self.removed.get(&peer.address).copied().unwrap_or_default(),
        })
    }

    fn note_outbound(&mut self, peer: Peer, sa: &xfrm::InstalledSa) {
        if sa.destination == peer.address {
            self.outbound.entry(peer.address).or_default().push(sa.spi);
        }
    }

    /// The peer at the other end of an SA, when both ends and the reqid are as listed.
    fn peer_of(&self, sa: &xfrm::InstalledSa) -> Option<Peer> {
        let list = self.list.as_ref()?;
        let ends = [sa.source, sa.destination];
        let other = match ends {
            [local, other] | [other, local] if local == list.local => other,
            _ => return None,
        };
        let listed = |peer: &&Peer| peer.address == other && peer.reqid == sa.reqid;
        list.peers.iter().find(listed).copied()
    }

    /// Whether it is outbound and a younger one stands: an earlier process ended before it removed
    /// what it had replaced.
    fn is_replaced(&self, sa: &xfrm::InstalledSa, all: &[xfrm::InstalledSa]) -> bool {
        let outbound = self
            .list
            .as_ref()
            .is_some_and(|list| list.local == sa.source);
        let same_way = |other: &&xfrm::InstalledSa| {
            let ends = (other.source, other.destination, other.reqid);
            other.spi != 0 && ends == (sa.source, sa.destination, sa.reqid)
        };
        outbound
            && all
                .iter()
                .filter(same_way)
                .any(|other| other.since > sa.since)
    }

    /// An event of the kernel in terms of peers; `None` when it concerns nobody listed.
    fn translate(&self, event: Event) -> Option<KeyerReply> {
        let list = self.list.as_ref()?;
        let listed = |address| list.peers.iter().find(|peer| peer.address == address);
        match event {
            Event::PolicyGone => None,
            Event::Acquire { destination } => Some(KeyerReply::Acquire {
                peer: listed(destination)?.address,
            }),
            Event::Expired {
                source,
                destination,
                spi,
            } => Some(KeyerReply::Expired {
                peer: listed(source).or_else(|| listed(destination))?.address,
                spi,
            }),
        }
    }
}

/// The request ids of the three Peer fields.
fn is_ours(id: u32) -> bool {
    (1..=3).any(|field| reqid(field) == id)
}

fn find(list: Option<&PeerList>, address: IpAddr) -> Result<(&PeerList, Peer), Refusal> {
    let list = list.ok_or(Refusal::NotAPeer(address))?;
    let peer = list.peers.iter().find(|peer| peer.address == address);
    let peer = peer.ok_or(Refusal::NotAPeer(address))?;
    Ok((list, *peer))
}

/// Whether an SA may be installed at all.
fn permit<'a>(list: Option<&'a PeerList>, sa: &AhSa) -> Result<(&'a PeerList, Peer), Refusal> {
    let found = find(list, sa.peer)?;
    if sa.spi < 256 {
        return Err(Refusal::ReservedSpi(sa.spi));
    }
    if sa.key.0.len() != sa.integrity.key_len() {
        return Err(Refusal::KeyLength(sa.key.0.len()));
    }
    Ok(found)
}

/// Reads `peers.json`; absent means standalone.
fn read_list(path: &Path) -> Result<Option<PeerList>, Refusal> {
    let refusal = |reason: String| Refusal::PeerList {
        path: path.to_owned(),
        reason,
    };
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refusal(error.to_string())),
    };
    // Every role may make files in the run directory; only root's list counts (or, in the lab,
    // one of our own user's).
    let owner = file.metadata().map_err(|e| refusal(e.to_string()))?.uid();
    if owner != 0 && owner != crate::sys::user::own_user_id() {
        return Err(refusal("it does not belong to root".into()));
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)
        .map_err(|e| refusal(e.to_string()))?;
    let list: PeerList = serde_json::from_slice(&text).map_err(|e| refusal(e.to_string()))?;
    for (index, peer) in list.peers.iter().enumerate() {
        let twice = |other: &Peer| other.reqid == peer.reqid || other.address == peer.address;
        if !is_ours(peer.reqid) || peer.address == list.local {
            return Err(refusal(format!("{} is not a valid peer", peer.address)));
        }
        if list.peers[..index].iter().any(twice) {
            return Err(refusal(format!("{} is there twice", peer.address)));
        }
    }
    Ok(Some(list))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::message::{Integrity, Secret};

    fn list() -> PeerList {
        PeerList {
            local: "192.0.2.1".parse().unwrap(),
            peers: vec![Peer {
                address: "192.0.2.2".parse().unwrap(),
                reqid: reqid(2),
            }],
        }
    }

    fn sa(peer: &str, spi: u32, key: usize) -> AhSa {
        AhSa {
            peer: peer.parse().unwrap(),
            spi,
            inbound: true,
            integrity: Integrity::HmacSha2_256_128,
            key: Secret(vec![1; key]),
            esn: true,
        }
    }

    #[test]
    fn only_listed_peers_get_sas() {
        let list = list();
        assert!(permit(Some(&list), &sa("192.0.2.2", 300, 32)).is_ok());
        assert!(permit(Some(&list), &sa("192.0.2.3", 300, 32)).is_err());
        assert!(permit(Some(&list), &sa("192.0.2.2", 255, 32)).is_err());
        assert!(permit(Some(&list), &sa("192.0.2.2", 300, 31)).is_err());
        assert!(permit(None, &sa("192.0.2.2", 300, 32)).is_err());
    }

    #[test]
    fn a_list_with_foreign_reqids_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        assert!(matches!(read_list(&path), Ok(None)));
        let mut list = list();
        std::fs::write(&path, serde_json::to_vec(&list).unwrap()).unwrap();
        assert_eq!(read_list(&path).unwrap(), Some(list.clone()));
        list.peers[0].reqid = 1;
        std::fs::write(&path, serde_json::to_vec(&list).unwrap()).unwrap();
        assert!(read_list(&path).is_err());
    }
}
