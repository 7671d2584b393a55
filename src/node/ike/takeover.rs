//! When the traffic goes over to a new AH pair: who did not begin its exchange sends on it as soon
//! as the peer does, which the kernel's counters tell.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::converse::Asked;
use super::counters;
use crate::tunnel::message::SaCounters;

/// How often the counters are read while a pair waits.
const PERIOD: Duration = Duration::from_millis(200);

/// Peers, and the inbound SAs of each by which traffic is waited for.
pub(super) type Awaited = Vec<(IpAddr, Vec<u32>)>;

/// Which of `spis` received something.
fn arrived<'a>(spis: &'a [u32], standing: &'a [SaCounters]) -> impl Iterator<Item = u32> + 'a {
    let some = standing.iter().filter(|sa| sa.inbound && sa.packets > 0);
    some.map(|sa| sa.spi).filter(|spi| spis.contains(spi))
}

/// Tells `ask` of each awaited SA by which something came, for ever.
pub(super) async fn watch(
    keyer: PathBuf,
    mut awaited: watch::Receiver<Awaited>,
    ask: mpsc::Sender<Asked>,
) {
    loop {
        let now = awaited.borrow_and_update().clone();
        let peers: Vec<IpAddr> = now.iter().map(|(peer, _)| *peer).collect();
        if peers.is_empty() {
            match awaited.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        }
        match counters::read(&keyer, &peers).await {
            Ok(all) => {
                for one in all {
                    let spis = now.iter().find(|(peer, _)| *peer == one.peer);
                    let spis = spis.map_or(&[][..], |(_, spis)| spis);
                    for spi in arrived(spis, &one.standing) {
                        if ask.send(Asked::Arrived(one.peer, spi)).await.is_err() {
                            return;
                        }
                    }
                }
            }
            // The pair sends after a time all the same.
            Err(error) => tracing::debug!("no counters: {error}"),
        }
        sleep(PERIOD).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_by_an_awaited_sa_counts() {
        let sa = |spi, inbound, packets| SaCounters {
            spi,
            inbound,
            bytes: 100 * packets,
            packets,
            replays: 0,
            integrity_failures: 0,
        };
        let standing = [
            sa(300, true, 9),
            sa(301, true, 0),
            sa(302, true, 1),
            sa(303, false, 5),
        ];
        let found: Vec<u32> = arrived(&[301, 302, 303], &standing).collect();
        assert_eq!(found, [302]);
    }
}
