//! A replicated database that is damaged on the disk: a member of a cluster sets it aside, starts
//! anew and gets everything back from its peers; who is alone keeps what can still be read.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::TABLES;
use super::node::{Node, load, random};
use crate::replica::{NodeId, fresh_incarnation};
use crate::store::events::{Event, Kind, Level};
use crate::store::{Store, StoreError, local::Local, set_aside};

/// How long after one rebuilding no other begins by itself: a disk that goes on failing would
/// only wear the peers out.
const PAUSE_MS: u64 = 3_600_000;

/// For how long after it a start tells of it in the event log.
const NEWS_MS: u64 = 60_000;

/// In `local.db`: the damage that the last run met, to be acted on by the next.
const FOUND: &str = "damage";
/// In `local.db`: when a database was last set aside, milliseconds since 1970.
const ASIDE: &str = "damage_aside_ms";

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |elapsed| elapsed.as_millis() as u64)
}

/// Whether others hold what is here.
fn has_peers(local: &Local, own: &[IpAddr]) -> Result<bool, StoreError> {
    let cluster = load(local)?;
    let mut listed = cluster.fields.peers.iter().flatten();
    Ok(cluster.id.is_some() && listed.any(|peer| !own.contains(peer)))
}

fn try_open(state: &Path, node: NodeId) -> Result<Store, StoreError> {
    let store = Store::open(state, node, fresh_incarnation(random()))?;
    store.migrate(TABLES)?;
    Ok(store)
}

/// Opens the replicated database; one that is damaged makes room for a new one.
pub fn open(
    state: &Path,
    node: NodeId,
    local: &Local,
    own: &[IpAddr],
) -> Result<Store, StoreError> {
    let found = local.value(FOUND)?;
    let why = match found {
        Some(why) if has_peers(local, own)? => String::from_utf8_lossy(&why).into_owned(),
        _ => match try_open(state, node) {
            Err(StoreError::Corrupt(why)) => why,
            opened => return opened,
        },
    };
    let now = wall_ms();
    let aside = set_aside(state, now)?;
    local.set(&[(FOUND, None), (ASIDE, Some(&now.to_be_bytes()))])?;
    let next = match has_peers(local, own)? {
        true => "the other peers give everything back that had reached them",
        false => "no peer has it: restore a backup, and set the system up again for a login",
    };
    let aside = aside.display();
    tracing::error!("the database was damaged on the disk ({why}) and is now {aside}; {next}");
    try_open(state, node)
}

/// Waits for damage that is met while the system runs, and restarts on a new database where
/// others hold what is here.
pub async fn run(node: Arc<Node>) {
    if let Ok(Some(aside)) = last_aside(&node.local)
        && wall_ms().abs_diff(aside) < NEWS_MS
    {
        let text = format!(
            "The database was damaged on the disk and is now damaged-{aside}.db: a new one takes \
             its place"
        );
        node.note(&Event::new(Kind::System, Level::Error, text));
    }
    let mut damage = node.store.damage();
    let why = match damage.wait_for(Option::is_some).await {
        Ok(why) => why.clone().unwrap_or_default(),
        Err(_) => return,
    };
    match begin(&node, &why) {
        Ok(true) => {
            tracing::error!(
                "the database is damaged on the disk ({why}): restarting to get it back from the \
                 other peers"
            );
            node.stop.send_replace(true);
        }
        Ok(false) => tracing::error!(
            "the database is damaged on the disk ({why}): what can be read is served on. Look at \
             the disk, export what is needed, and restore a backup"
        ),
        Err(error) => tracing::error!(%error, "damage of the database could not be noted"),
    }
    node.touch();
}

/// When a database was last set aside.
fn last_aside(local: &Local) -> Result<Option<u64>, StoreError> {
    let bytes = local.value(ASIDE)?;
    Ok(bytes.and_then(|bytes| Some(u64::from_be_bytes(bytes.as_slice().try_into().ok()?))))
}

/// Notes that the next run starts on a new database, if it may.
fn begin(node: &Node, why: &str) -> Result<bool, StoreError> {
    let last = last_aside(&node.local)?;
    let soon = last.is_some_and(|last| wall_ms().abs_diff(last) < PAUSE_MS);
    if soon || !has_peers(&node.local, &node.own())? {
        return Ok(false);
    }
    node.local.set(&[(FOUND, Some(why.as_bytes()))])?;
    Ok(true)
}
