//! Keeps `host` and `ike` told what the cluster fields say, and hears what the tunnels do.
//!
//! Order matters: the firewall and the peer list stand before `ike` may bring a tunnel up.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio::sync::watch::error::RecvError;

use super::node::{Cluster, Node, now_ms};
use super::renewal::Identities;
use crate::node::ipc::Connection;
use crate::settings::message::{HostReply, HostRequest};
use crate::tunnel::message::{Desired, IkeEvent, IkeRequest, PeerList};

/// How often the kernel's counters are asked for.
const COUNTED: Duration = Duration::from_secs(5);

/// How long until the next attempt to reach another role.
const RETRY: Duration = Duration::from_millis(500);

/// Follows the cluster fields for ever.
pub async fn run(node: Arc<Node>, run: PathBuf, no_host: bool) {
    let mut wanted = Wanted {
        cluster: node.cluster.subscribe(),
        addresses: node.addresses.subscribe(),
        identities: node.identities.subscribe(),
    };
    loop {
        wanted.mark_unchanged();
        // Taken once, so that host and ike are told the same; a change meanwhile starts over.
        let desired = node.desired();
        if desired.is_none() && !node.cluster.borrow().fields.is_blank() {
            // Not standalone, only without its address yet (no link, slow DHCP): what stands in
            // the kernel stays.
            let _ = wanted.changed().await;
            continue;
        }
        let list = desired.as_ref().map(|desired| desired.list.clone());
        if let Err(error) = tell_host(&run, list, no_host).await {
            tracing::warn!("cannot set the peer list: {error}");
            // What stands was keyed for other fields: no link may use it meanwhile.
            node.tunnels.send_replace(Some(Vec::new()));
            node.touch();
            tokio::time::sleep(RETRY * 2).await;
            continue;
        }
        let socket = run.join("ike.sock");
        if let Err(error) = drive_ike(&node, desired, &socket, &mut wanted).await {
            tracing::debug!("ike: {error}");
            node.counted.send_replace(HashMap::new());
            node.dropped.send_replace(None);
            if node.tunnels.send_replace(None).is_some() {
                tracing::warn!("lost the tunnel service: {error}");
                node.touch();
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// All that [`Node::desired`] depends on.
struct Wanted {
    cluster: Receiver<Cluster>,
    addresses: Receiver<Vec<IpAddr>>,
    identities: Receiver<Identities>,
}

impl Wanted {
    fn mark_unchanged(&mut self) {
        self.cluster.mark_unchanged();
        self.addresses.mark_unchanged();
        self.identities.mark_unchanged();
    }

    async fn changed(&mut self) -> Result<(), RecvError> {
        tokio::select! {
            changed = self.cluster.changed() => changed,
            changed = self.addresses.changed() => changed,
            changed = self.identities.changed() => changed,
        }
    }
}

async fn tell_host(run: &Path, list: Option<PeerList>, no_host: bool) -> Result<(), Failure> {
    let socket = run.join("host.sock");
    if no_host && !socket.exists() {
        return Ok(write_peers(&run.join("peers.json"), list.as_ref())?);
    }
    let mut host = Connection::<HostRequest, HostReply>::connect(&socket).await?;
    host.send(&HostRequest::SetPeers(list)).await?;
    match tokio::time::timeout(Duration::from_secs(30), host.recv()).await?? {
        Some(HostReply::Done | HostReply::Settings(..) | HostReply::Changes { .. }) => Ok(()),
        Some(HostReply::Failed(why)) => Err(why.into()),
        None => Err("the host role closed the connection".into()),
    }
}

/// In the lab there is no host role; the file is then ours to write.
fn write_peers(path: &Path, list: Option<&PeerList>) -> std::io::Result<()> {
    let Some(list) = list else {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    };
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, serde_json::to_vec_pretty(list)?)?;
    std::fs::rename(fresh, path)
}

/// Configures `ike` and listens until the peer list changes (`Ok`) or the connection ends (`Err`).
async fn drive_ike(
    node: &Node,
    mut desired: Option<Desired>,
    socket: &Path,
    wanted: &mut Wanted,
) -> Result<(), Failure> {
    let mut ike = Connection::<IkeRequest, IkeEvent>::connect(socket).await?;
    let list = desired.as_ref().map(|desired| desired.list.clone());
    ike.send(&IkeRequest::Configure(desired.clone())).await?;
    let mut visible = node.changed.subscribe();
    let mut counting = tokio::time::interval(COUNTED);
    counting.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut silent = None;
    loop {
        visible.mark_unchanged();
        let now = Some(node.silent());
        if now != silent {
            ike.send(&IkeRequest::Silent(now.clone().unwrap_or_default()))
                .await?;
            silent = now;
        }
        tokio::select! {
            event = ike.recv() => match event? {
                Some(IkeEvent::Status(mut peers)) => {
                    // A status sent before our configuration was taken may name former peers.
                    peers.retain(|peer| list.as_ref().is_some_and(|list| {
                        list.peers.iter().any(|listed| listed.address == peer.address)
                    }));
                    node.note_announcements(&peers);
                    node.tunnels_ms.store(now_ms(), Ordering::Relaxed);
                    node.tunnels.send_replace(Some(peers));
                    node.touch();
                }
                Some(IkeEvent::Changed(status)) => {
                    // As above.
                    let listed = |list: &PeerList| {
                        list.peers.iter().any(|peer| peer.address == status.address)
                    };
                    if list.as_ref().is_some_and(listed) {
                        node.hear_change(status);
                    }
                }
                // No page follows each packet: they show it when something else changed.
                Some(IkeEvent::Traffic { peers, dropped }) => {
                    node.counted.send_replace(peers.into_iter().collect());
                    node.dropped.send_replace(Some(dropped));
                }
                Some(IkeEvent::Blocked(peers)) => {
                    node.blocked.send_replace(peers);
                    node.touch();
                }
                None => return Err("it closed the connection".into()),
            },
            moved = visible.changed() => moved?,
            _ = counting.tick() => ike.send(&IkeRequest::Traffic).await?,
            // Adoption changes only our cluster id, which concerns neither role.
            changed = wanted.changed() => {
                changed?;
                let new = node.desired();
                if new.as_ref().map(|new| &new.list) != list.as_ref() {
                    return Ok(());
                }
                if new != desired {
                    ike.send(&IkeRequest::Configure(new.clone())).await?;
                    desired = new;
                }
            }
        }
    }
}
