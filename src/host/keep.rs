//! What the host role keeps (settings, peers, the root password's hash) and what it renders.

use super::HostError;
use super::place::{self, Mode, Place};
use super::root_password::RootPassword;
use crate::settings::render::{Content, File, files, firewall};
use crate::settings::{System, name};
use crate::tunnel::message::{PeerList, reqid};

/// The longest file that is read, in bytes.
pub const LIMIT: u64 = 64 * 1024;

/// Everything kept.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The settings; `None` before the first setup.
    pub system: Option<System>,
    /// The peers; `None`: standalone.
    pub peers: Option<PeerList>,
    /// The root password; `None` before the first setup.
    pub root_password: Option<RootPassword>,
}

/// Whether this system was set up.
pub fn is_configured(place: &Place) -> bool {
    place.kept("settings.toml").exists()
}

impl Kept {
    /// Reads everything kept. What cannot be read is an error, never an absence: rendering a
    /// member as a standalone system would open its firewall.
    pub fn load(place: &Place) -> Result<Self, HostError> {
        let path = place.kept("settings.toml");
        let system = match place::read(&path, LIMIT)? {
            None => None,
            Some(text) => {
                Some(System::from_toml(&text).map_err(|source| HostError::Kept { path, source })?)
            }
        };
        let path = place.kept("peers.json");
        let peers = match place::read(&path, LIMIT)? {
            None => None,
            Some(text) => {
                let list: PeerList = serde_json::from_str(&text)
                    .map_err(|e| HostError::Peers(format!("{}: {e}", path.display())))?;
                check_peers(&list)?;
                Some(list)
            }
        };
        Ok(Self {
            system,
            peers,
            root_password: RootPassword::load(place)?,
        })
    }
}

/// Checks a peer list as root does, whoever asks.
fn check_peers(list: &PeerList) -> Result<(), HostError> {
    let refused = |what: &str| Err(HostError::Peers(what.into()));
    if list.peers.len() > 2 {
        return refused("expected at most two other peers");
    }
    let mut addresses = vec![list.local];
    addresses.extend(list.peers.iter().map(|p| p.address));
    if !addresses.iter().all(|a| name::is_server_address(*a)) {
        return refused("expected addresses of single systems");
    }
    let mut reqids: Vec<u32> = list.peers.iter().map(|p| p.reqid).collect();
    if !reqids.iter().all(|id| (reqid(1)..=reqid(3)).contains(id)) {
        return refused("expected the request ids of the fields Peer 1 to Peer 3");
    }
    let (all, others) = (addresses.len(), reqids.len());
    addresses.sort();
    addresses.dedup();
    reqids.sort_unstable();
    reqids.dedup();
    if addresses.len() != all || reqids.len() != others {
        return refused("expected different addresses and request ids");
    }
    Ok(())
}

/// Validates and keeps the settings; nothing is rendered yet.
pub fn store_system(place: &Place, system: &System) -> Result<(), HostError> {
    system.validate()?;
    let zone = format!("usr/share/zoneinfo/{}", system.time_zone);
    // UTC needs no file: without one the C library falls back to it.
    let named = system.time_zone != "UTC" && place.is_this_system();
    if named && !place.path(&zone).is_file() {
        return Err(HostError::NoTimeZone(system.time_zone.clone()));
    }
    let text = system.to_toml()?;
    let path = place.kept("settings.toml");
    place::write(&path, text.as_bytes(), Mode::Secret, None)
}

/// Validates and keeps the peers; nothing is rendered yet.
pub fn store_peers(place: &Place, peers: Option<&PeerList>) -> Result<(), HostError> {
    let path = place.kept("peers.json");
    let Some(list) = peers else {
        return place::remove(&path);
    };
    check_peers(list)?;
    place::write(&path, json(list)?.as_bytes(), Mode::Secret, None)
}

fn json(list: &PeerList) -> Result<String, HostError> {
    serde_json::to_string(list).map_err(|e| HostError::Peers(e.to_string()))
}

/// Writes every file that follows from what is kept. Files already right are left alone, so that
/// an interrupted rendering is completed by the next.
pub fn render(place: &Place, kept: &Kept) -> Result<(), HostError> {
    let peers = kept.peers.as_ref();
    // The firewall first: whatever fails afterwards, it stands.
    put(place, &firewall(kept.system.as_ref(), peers))?;
    let list = place.run.join("peers.json");
    match peers {
        Some(peers) => place::write(&list, json(peers)?.as_bytes(), Mode::Public, None)?,
        None => place::remove(&list)?,
    }
    let Some(system) = &kept.system else {
        return Ok(());
    };
    for file in files(system, peers) {
        put(place, &file)?;
    }
    match &kept.root_password {
        Some(password) => password.render(place),
        None => Ok(()),
    }
}

fn put(place: &Place, file: &File) -> Result<(), HostError> {
    let path = place.path(file.path);
    match &file.content {
        None => place::remove(&path),
        Some(Content::Link(target)) => place::link(&path, target),
        Some(Content::Text(text)) => {
            let same = place::read(&path, LIMIT).is_ok_and(|old| old.as_deref() == Some(text));
            if same {
                return Ok(());
            }
            place::write(&path, text.as_bytes(), Mode::Public, None)
        }
    }
}
