//! Whether AH arrives: what dead peer detection on UDP 500 cannot see. A firewall that lets ISAKMP
//! through and drops IP protocol 51 leaves every tunnel "up" and every packet lost.
//!
//! Only `serve` knows that something should arrive: it names the peers of whose link on port 4372
//! nothing is heard. For those the kernel's counters decide: sent and nothing received is blocked,
//! unless an SA is not there, which is replaced.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::converse::Asked;
use super::counters;
use crate::tunnel::message::SaCounters;

/// How often the counters of a silent peer are read.
const PERIOD: Duration = Duration::from_millis(1_500);
/// How long nothing must arrive while we send: a peer that is gone is seen on UDP 500 by then (6 s
/// and 14 s after its last sign of life; `serve` finds its link silent 7 s after).
const NOTHING_MS: u64 = 14_000;
/// Packets that must have been sent meanwhile.
const SENT_MIN: u64 = 2;

/// What the counters of one peer's SAs told so far.
#[derive(Default)]
struct Seen {
    /// Packets by direction and SPI.
    packets: BTreeMap<(bool, u32), u64>,
    /// When something arrived last, or the first look.
    arrived: Option<u64>,
    /// Packets sent since.
    sent: u64,
    blocked: bool,
}

impl Seen {
    /// Takes counters read at `now`, in milliseconds.
    fn note(&mut self, now: u64, counters: &[SaCounters]) {
        let mut fresh = BTreeMap::new();
        let (mut arrived, mut sent) = (0, 0);
        for sa in counters {
            let known = self.packets.get(&(sa.inbound, sa.spi));
            let more = sa.packets.saturating_sub(known.copied().unwrap_or(0));
            *(if sa.inbound { &mut arrived } else { &mut sent }) += more;
            fresh.insert((sa.inbound, sa.spi), sa.packets);
        }
        self.packets = fresh;
        let since = *self.arrived.get_or_insert(now);
        if arrived > 0 {
            (self.arrived, self.sent, self.blocked) = (Some(now), 0, false);
            return;
        }
        self.sent += sent;
        self.blocked = self.sent >= SENT_MIN && now >= since + NOTHING_MS;
    }
}

/// Follows the peers that `silent` names and says which of them are blocked, for ever: to whom it
/// concerns by `blocked`, and by `ask` to who remembers it.
pub(super) async fn watch(
    keyer: PathBuf,
    mut silent: watch::Receiver<Vec<IpAddr>>,
    blocked: watch::Sender<Vec<IpAddr>>,
    ask: mpsc::Sender<Asked>,
) {
    let began = Instant::now();
    let mut seen: BTreeMap<IpAddr, Seen> = BTreeMap::new();
    loop {
        let peers = silent.borrow_and_update().clone();
        seen.retain(|peer, _| peers.contains(peer));
        if !peers.is_empty() {
            match counters::read(&keyer, &peers).await {
                Ok(all) => {
                    let now = began.elapsed().as_millis() as u64;
                    for counted in all {
                        let seen = seen.entry(counted.peer).or_default();
                        seen.note(now, &counted.standing);
                        let spis = counted.standing.iter().map(|sa| sa.spi).collect();
                        if ask.send(Asked::Standing(counted.peer, spis)).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => tracing::debug!("no counters: {error}"),
            }
        }
        let found = seen.iter().filter(|(_, seen)| seen.blocked);
        let found: Vec<IpAddr> = found.map(|(peer, _)| *peer).collect();
        let old = blocked.borrow().clone();
        for peer in found.iter().filter(|peer| !old.contains(peer)) {
            tracing::warn!("IP protocol 51 from {peer} is blocked: IKE is up, no AH arrives");
        }
        if old != found {
            blocked.send_replace(found.clone());
            if ask.send(Asked::Blocked(found)).await.is_err() {
                return;
            }
        }
        let pause = async {
            match peers.is_empty() {
                true => std::future::pending().await,
                false => sleep(PERIOD).await,
            }
        };
        tokio::select! {
            changed = silent.changed() => if changed.is_err() { return },
            () = pause => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sa(inbound: bool, spi: u32, packets: u64) -> SaCounters {
        SaCounters {
            spi,
            inbound,
            bytes: packets * 100,
            packets,
            replays: 0,
            integrity_failures: 0,
        }
    }

    fn blocked(looks: &[(u64, u64, u64)]) -> bool {
        let mut seen = Seen::default();
        for &(now, received, sent) in looks {
            seen.note(now, &[sa(true, 300, received), sa(false, 301, sent)]);
        }
        seen.blocked
    }

    #[test]
    fn sent_for_a_while_and_nothing_received_is_blocked() {
        assert!(blocked(&[(0, 0, 0), (3_000, 0, 2), (14_000, 0, 3)]));
        assert!(blocked(&[(0, 50, 90), (3_000, 50, 91), (15_000, 50, 93)]));
    }

    #[test]
    fn silence_on_both_sides_or_for_a_moment_is_not() {
        assert!(!blocked(&[(0, 0, 0), (60_000, 0, 1)]), "nothing was sent");
        assert!(!blocked(&[(0, 0, 0), (13_000, 0, 9)]), "not for long");
        assert!(!blocked(&[(0, 0, 0), (60_000, 1, 9)]), "something arrived");
    }

    #[test]
    fn what_arrives_ends_it_and_a_rekey_alone_does_not() {
        let mut seen = Seen::default();
        seen.note(0, &[sa(true, 300, 7), sa(false, 301, 9)]);
        seen.note(15_000, &[sa(true, 300, 7), sa(false, 301, 12)]);
        assert!(seen.blocked);
        seen.note(16_000, &[sa(true, 400, 0), sa(false, 401, 2)]);
        assert!(seen.blocked);
        seen.note(17_000, &[sa(true, 400, 1), sa(false, 401, 3)]);
        assert!(!seen.blocked);
    }
}
