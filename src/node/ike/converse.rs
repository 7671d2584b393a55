//! One connection of `serve` or of the command line: what it asks, and the news it gets.

use std::net::IpAddr;
use std::path::PathBuf;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::counters;
use crate::node::ipc::Connection;
use crate::tunnel::message::{Desired, Dropped, IkeEvent, IkeRequest, PeerStatus};

/// What a client asks of the driving task.
pub(super) enum Asked {
    /// By the connection with this number.
    Configure(u64, Option<Box<Desired>>),
    /// Publish the status now, with its times.
    Refresh,
    /// How many datagrams were dropped.
    Dropped(oneshot::Sender<Dropped>),
    /// Traffic came by this inbound SA of a peer.
    Arrived(IpAddr, u32),
    /// These SAs of a peer of whose link nothing is heard are in the kernel.
    Standing(IpAddr, Vec<u32>),
    /// From these peers no AH arrives any more, or again.
    Blocked(Vec<IpAddr>),
}

/// The ends of what passes between connections and the tasks.
#[derive(Clone)]
pub(super) struct Words {
    pub ask: mpsc::Sender<Asked>,
    pub status: watch::Receiver<Vec<PeerStatus>>,
    pub changes: broadcast::Sender<PeerStatus>,
    pub silence: watch::Sender<Vec<IpAddr>>,
    pub blocked: watch::Receiver<Vec<IpAddr>>,
    /// Where counters are read.
    pub keyer: PathBuf,
}

impl Words {
    /// What was counted, told to `counted`.
    async fn count(self, counted: mpsc::Sender<IkeEvent>) {
        let peers: Vec<IpAddr> = self.status.borrow().iter().map(|s| s.address).collect();
        let read = counters::read(&self.keyer, &peers).await;
        let all = read.unwrap_or_else(|error| {
            tracing::debug!("no counters: {error}");
            Vec::new()
        });
        let peers = all.iter().map(|one| (one.peer, one.traffic())).collect();
        let (answer, dropped) = oneshot::channel();
        // Where one of the ends is gone, nobody misses it.
        if self.ask.send(Asked::Dropped(answer)).await.is_ok()
            && let Ok(dropped) = dropped.await
        {
            let _ = counted.send(IkeEvent::Traffic { peers, dropped }).await;
        }
    }
}

/// One connection of `serve` or of the command line.
pub(super) async fn converse(
    number: u64,
    mut connection: Connection<IkeEvent, IkeRequest>,
    mut words: Words,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut changes = words.changes.subscribe();
    words.status.mark_unchanged();
    words.blocked.mark_changed();
    words.ask.send(Asked::Refresh).await?;
    let (counted, mut counts) = mpsc::channel(1);
    loop {
        tokio::select! {
            // Changes first: a status never tells of one that was not told.
            biased;
            changed = changes.recv() => match changed {
                // What happened at once is told at once, so that the client wakes up once.
                Ok(status) => {
                    let mut events = vec![IkeEvent::Changed(status)];
                    while let Ok(status) = changes.try_recv() {
                        events.push(IkeEvent::Changed(status));
                    }
                    if words.status.has_changed()? {
                        events.push(IkeEvent::Status(words.status.borrow_and_update().clone()));
                    }
                    connection.send_all(&events).await?;
                }
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    tracing::warn!("{count} changes of tunnels were not told: nobody read them");
                }
                Err(error) => return Err(error.into()),
            },
            request = connection.recv() => match request? {
                Some(IkeRequest::Configure(desired)) => {
                    let desired = desired.map(Box::new);
                    words.ask.send(Asked::Configure(number, desired)).await?;
                }
                Some(IkeRequest::Status) => words.ask.send(Asked::Refresh).await?,
                Some(IkeRequest::Silent(peers)) => {
                    words.silence.send_replace(peers);
                }
                // A keyer that is slow to answer holds up no news.
                Some(IkeRequest::Traffic) => {
                    tokio::spawn(words.clone().count(counted.clone()));
                }
                None => return Ok(()),
            },
            Some(event) = counts.recv() => connection.send(&event).await?,
            changed = words.status.changed() => {
                changed?;
                let event = IkeEvent::Status(words.status.borrow_and_update().clone());
                connection.send(&event).await?;
            }
            changed = words.blocked.changed() => {
                changed?;
                let event = IkeEvent::Blocked(words.blocked.borrow_and_update().clone());
                connection.send(&event).await?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::message::TunnelState;

    #[tokio::test]
    async fn each_change_is_told_before_the_status_that_has_it_however_fast_they_follow() {
        let (ask, mut asked) = mpsc::channel(16);
        let (publish, status) = watch::channel(Vec::new());
        let (_block, blocked) = watch::channel(Vec::new());
        let words = Words {
            ask,
            status,
            changes: broadcast::channel(8).0,
            silence: watch::channel(Vec::new()).0,
            blocked,
            keyer: "/nowhere".into(),
        };
        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        let changes = words.changes.clone();
        tokio::spawn(converse(1, Connection::new(theirs).unwrap(), words));
        let mut ike = Connection::<IkeRequest, IkeEvent>::new(ours).unwrap();
        assert!(matches!(asked.recv().await, Some(Asked::Refresh)));
        let states = [
            TunnelState::Up { certificate: None },
            TunnelState::NoAnswer,
            TunnelState::Up { certificate: None },
        ];
        let address = "127.78.8.2".parse().unwrap();
        for state in &states {
            let status = PeerStatus::of(address, state.clone());
            changes.send(status.clone()).unwrap();
            publish.send_replace(vec![status]);
        }
        let mut told = Vec::new();
        loop {
            match ike.recv().await.unwrap() {
                Some(IkeEvent::Changed(status)) => told.push(status.state),
                Some(IkeEvent::Status(_)) => break,
                Some(_) => {}
                None => panic!("it closed the connection"),
            }
        }
        assert_eq!(told, states);
    }
}
