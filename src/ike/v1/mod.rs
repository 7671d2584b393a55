//! ISAKMP with IKEv1 (RFC 2407, 2408, 2409): main mode and quick mode with one peer.
//!
//! [`Engine`] holds all that stands between two systems: ISAKMP SAs, AH pairs and the exchanges
//! under way. Aggressive mode is never answered. AH pairs outlive the ISAKMP SA under which they
//! were made as long as another one stands. `exchanges` and `informational` handle messages,
//! `upkeep` what time demands.
//!
//! IKEv1 has no tie-break for exchanges that cross, so here they never do: while one of its own is
//! under way, the lower address ignores what the other begins, and the other gives up its own for
//! it. So both ends see SAs come in one order, and of several the last one stands.

mod exchanges;
mod homes;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod informational;
pub mod keys;
pub mod main_mode;
mod nat;
pub mod phase1;
pub mod proposal;
pub mod quick_mode;
pub mod signature;
#[cfg(test)]
mod tests;
mod upkeep;

use std::collections::VecDeque;

use super::child::Child;
use super::fault::Fault;
use super::suite::Suite;
use super::{Context, Presented, Refusal, keylog};
use crate::wire::isakmp::v1::{self as wire, Header, Payload};
use main_mode::{Initiator, Responder};
use phase1::Phase1;

/// One AH pair and how it came about.
#[cfg_attr(test, derive(Clone))]
struct Owned {
    child: Child,
    /// We began its quick mode.
    ours: bool,
    /// The peer is known, or had the time, to receive on it.
    confirmed: bool,
    /// Cookies of the ISAKMP SA whose quick mode made it.
    home: (u64, u64),
    /// It has stood for a while.
    stood: bool,
}

impl Owned {
    /// Whether it has hardly stood yet.
    fn is_brief(&self, now: u64) -> bool {
        now < self.child.born + upkeep::STOOD_MS
    }
}

/// All that stands with one peer.
#[cfg_attr(test, derive(Clone))]
pub struct Engine {
    /// The higher address lets the lower one begin.
    yields: bool,
    attempt: Option<Initiator>,
    attempt_at: u64,
    /// It was put off for a main mode of the peer.
    deferred: bool,
    quick_at: u64,
    failures: usize,
    half_open: Vec<Responder>,
    /// In the order in which they came, as at the other end.
    phase1: Vec<Phase1>,
    /// Likewise.
    children: Vec<Owned>,
    /// There was one since there is an ISAKMP SA.
    paired: bool,
    /// Of before a peer's restart, which its kernel may have kept: they carry the traffic until
    /// there is a new one.
    left: Vec<Child>,
    left_until: u64,
    /// The peer's node certificates, as it named them last.
    certificate: Option<Presented>,
    /// Our own, as the peer took them last.
    told: Option<Presented>,
    heard: u64,
    /// When anything came at all, authentic or not.
    spoke: Option<u64>,
    rekeys: (u32, u32),
    fault: Fault,
    out: VecDeque<Vec<u8>>,
    /// Of these the answers to what came last.
    answers: VecDeque<Vec<u8>>,
}

impl Context<'_> {
    /// The payloads of a message that nothing protects; what cannot be read is counted.
    fn parse_v1(&mut self, bytes: &[u8]) -> Option<(Header, Vec<Payload>)> {
        let parsed = wire::parse(bytes).ok();
        self.dropped.payloads += u64::from(parsed.is_none());
        parsed
    }

    /// What a protected message says; one that says nothing is not authentic, and counted.
    fn authentic<T>(&mut self, said: Option<T>) -> Option<T> {
        self.dropped.not_authentic += u64::from(said.is_none());
        said
    }
}

impl Engine {
    /// Nothing stands; `yields` to a peer with a lower address.
    pub fn new(now: u64, yields: bool) -> Self {
        Self {
            yields,
            attempt: None,
            attempt_at: now + if yields { upkeep::YIELD_MS } else { 0 },
            deferred: false,
            quick_at: 0,
            failures: 0,
            half_open: Vec::new(),
            phase1: Vec::new(),
            children: Vec::new(),
            paired: false,
            left: Vec::new(),
            left_until: 0,
            certificate: None,
            told: None,
            heard: now,
            spoke: None,
            rekeys: (0, 0),
            fault: Fault::default(),
            out: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    /// All AH pairs; each must be able to receive.
    pub fn children(&self) -> impl Iterator<Item = &Child> {
        let standing = self.children.iter().map(|owned| &owned.child);
        standing.chain(&self.left)
    }

    /// The AH pair that carries our traffic.
    pub fn outbound(&self) -> Option<&Child> {
        let last = |wanted: fn(&Owned) -> bool| self.children.iter().rfind(|owned| wanted(owned));
        // A pair of ours that waited for an older one to be replaced, which is gone.
        let waiting = last(|owned| owned.ours).map(|owned| &owned.child);
        let confirmed = last(|owned| owned.confirmed).map(|owned| &owned.child);
        confirmed.or(self.left.last()).or(waiting)
    }

    /// Traffic came by the pair with this inbound SPI: the peer has it and sends on it, so it takes
    /// ours too.
    pub fn arrived(&mut self, spi_in: u32) {
        let waits = |o: &&mut Owned| o.child.spi_in == spi_in && o.child.held_until.is_some();
        for owned in self.children.iter_mut().filter(waits) {
            owned.child.held_until = None;
            owned.confirmed = true;
        }
    }

    /// Inbound SPIs of pairs of ours that wait for the peer to be known to receive on them.
    pub fn held(&self) -> impl Iterator<Item = u32> {
        let children = self.children.iter().map(|owned| &owned.child);
        let held = children.filter(|c| c.held_until.is_some());
        held.map(|c| c.spi_in)
    }

    /// The peer's node certificates, if it named any.
    pub fn certificate(&self) -> Option<Presented> {
        self.certificate
    }

    /// Our own, as the peer took them last.
    pub fn told(&self) -> Option<Presented> {
        self.told
    }

    /// What the ISAKMP SA uses, if one stands.
    pub fn suite(&self) -> Option<Suite> {
        self.phase1.last().map(|sa| sa.suite)
    }

    /// How often ISAKMP SA and AH pair were replaced.
    pub fn rekeys(&self) -> (u32, u32) {
        self.rekeys
    }

    /// How many ISAKMP SAs stand.
    pub fn ike_sas(&self) -> usize {
        self.phase1.len()
    }

    /// If nothing is under way, with one ISAKMP SA and one AH pair that carries traffic: whether
    /// we began the SA and the pair.
    #[cfg(test)]
    pub(crate) fn settled(&self) -> Option<(bool, bool)> {
        let [sa] = self.phase1.as_slice() else {
            return None;
        };
        let [owned] = self.children.as_slice() else {
            return None;
        };
        let asking = sa.asking.as_ref().is_some_and(|a| a.done.is_none());
        let idle = !asking && sa.answering.is_empty() && sa.question.is_none();
        (self.attempt.is_none() && idle && owned.confirmed).then_some((sa.initiator, owned.ours))
    }

    /// Replaces the ISAKMP SA alone as soon as possible.
    #[cfg(test)]
    pub(crate) fn rekey_sa_alone(&mut self, now: u64) {
        for sa in &mut self.phase1 {
            sa.rekey_at = sa.rekey_at.min(now);
        }
    }

    /// Why there is no tunnel, as far as known.
    pub fn fault(&self) -> Option<&Refusal> {
        self.fault.reason()
    }

    /// The keys of its ISAKMP SAs, for tshark.
    pub fn key_log(&self) -> impl Iterator<Item = keylog::Line> {
        let key = |sa: &Phase1| keylog::v1(sa.cookies.0, sa.keys.encryption());
        self.phase1.iter().map(key)
    }

    /// The next answer to the datagram that came last.
    pub fn poll_answer(&mut self) -> Option<Vec<u8>> {
        self.answers.pop_front()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.poll_answer().or_else(|| self.out.pop_front())
    }

    /// What it agreed to cannot be used here: all ends, with the farewells that nobody waits for,
    /// and is tried again later.
    pub fn fail(&mut self, context: &mut Context<'_>, refusal: Refusal) -> Vec<Vec<u8>> {
        let farewells = self.abandon(context);
        self.closed(context);
        self.put_off(context);
        self.fault.note(context.now, refusal);
        farewells
    }

    /// The tunnel carries traffic: what was wrong is over.
    pub fn works(&mut self) {
        self.fault.clear();
    }

    /// Ends all at once; the farewells that nobody waits for.
    pub fn abandon(&mut self, context: &mut Context<'_>) -> Vec<Vec<u8>> {
        self.children.clear();
        self.left.clear();
        self.attempt = None;
        let sas = std::mem::take(&mut self.phase1);
        sas.iter().map(|sa| sa.delete(context)).collect()
    }

    /// Something unauthenticated that tells why there may be no tunnel.
    pub fn hint(&mut self, now: u64, refusal: Refusal) {
        if self.phase1.is_empty() {
            self.fault.note(now, refusal);
        }
    }
}
