//! The tunnel to one peer: datagrams to the state they belong to. What time demands, and what is
//! shown, is in [`upkeep`].

#[cfg(test)]
mod shape;
mod upkeep;

use std::net::{IpAddr, SocketAddr};

use super::kernel::{Kernel, Question};
use super::message::{Peer, PeerStatus, TunnelState};
use super::shown::{Shown, Stands};
use super::{Arrival, Outbox, PORT};
use crate::ike::crash;
use crate::ike::exchange::auth::{AuthStep, Authenticating};
use crate::ike::exchange::demand::Demand;
use crate::ike::exchange::half_open::{HalfOpen, HalfOpenStep};
use crate::ike::exchange::init::{self, Answer, InitStep, Initiator};
use crate::ike::exchange::intermediate::{IntermediateStep, Intermediating};
use crate::ike::fault::Fault;
use crate::ike::suite::Version;
use crate::ike::{Connection, Context, Datagrams, Refusal, keylog};
use crate::wire::isakmp::{Header, Message, exchange};

/// The higher address lets the lower one initiate.
const YIELD_MS: u64 = 1_500;
/// A connection that stood for so long was no failure.
const STOOD_MS: u64 = 5_000;
/// Pauses between attempts; the last repeats.
const BACKOFF_MS: [u64; 5] = [1_000, 2_000, 4_000, 8_000, 15_000];
/// Half-open SAs before cookies are asked for, before puzzles are, and at most, per listed address.
const COOKIES_FROM: usize = 3;
const PUZZLES_FROM: usize = 6;
const MAX_HALF_OPEN: usize = 8;
/// Zero bits of a puzzle at first, and how many more for each half-open SA beyond.
const PUZZLE_BITS: u8 = 12;
const MORE_BITS: u8 = 2;
/// Pause between answers to requests under unknown IKE SAs.
const UNKNOWN_MS: u64 = 100;
/// The answer that establishes a connection has arrived by then.
const ANSWERED_MS: u64 = 1_000;
/// Connections with one peer at a time; honest ones are two for a moment.
const MAX_CONNECTIONS: usize = 6;

#[cfg_attr(test, derive(Clone))]
enum Attempt {
    Init(Box<Initiator>),
    Intermediate(Box<Intermediating>),
    Auth(Box<Authenticating>),
}

/// The tunnel to one peer.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Link {
    pub peer: Peer,
    yields: bool,
    attempt: Option<Attempt>,
    pub(super) attempt_at: u64,
    /// Whether this attempt was put off for somebody who was about to authenticate.
    put_off: bool,
    /// A connection stood when it was looked at last.
    stood: bool,
    failures: usize,
    half_open: Vec<HalfOpen>,
    connections: Vec<Connection>,
    pub(super) kernel: Kernel,
    /// Where the answers of connections go.
    reply_to: SocketAddr,
    /// The answer that established a connection.
    accepted: Datagrams,
    /// When the next request under an unknown IKE SA is answered.
    pub(super) told_unknown: u64,
    fault: Fault,
    shown: Shown,
    rekeys: (u32, u32),
}

impl Link {
    pub fn new(now: u64, peer: Peer, local: IpAddr) -> Self {
        let yields = local > peer.address;
        Self {
            peer,
            yields,
            attempt: None,
            attempt_at: now + if yields { YIELD_MS } else { 0 },
            put_off: false,
            stood: false,
            failures: 0,
            half_open: Vec::new(),
            connections: Vec::new(),
            kernel: Kernel::new(peer.address),
            reply_to: SocketAddr::new(peer.address, PORT),
            accepted: Datagrams::new(),
            told_unknown: 0,
            fault: Fault::default(),
            shown: Shown::new(now),
            rekeys: (0, 0),
        }
    }

    fn target(&self) -> SocketAddr {
        SocketAddr::new(self.peer.address, PORT)
    }

    /// The connection that carries the traffic.
    fn chosen(&self) -> Option<&Connection> {
        self.connections
            .iter()
            .filter(|c| !c.is_closing())
            .reduce(|a, b| if loses(a, b) { b } else { a })
    }

    pub fn ike_sas(&self) -> usize {
        self.connections.iter().map(Connection::ike_sas).sum()
    }

    /// When each connection was established.
    #[cfg(test)]
    pub fn established(&self) -> Vec<u64> {
        let all = self.connections.iter();
        all.map(|connection| connection.established).collect()
    }

    /// The keys of established IKE SAs, for tshark.
    pub fn key_log(&self) -> Vec<keylog::Line> {
        self.connections
            .iter()
            .flat_map(Connection::key_log)
            .collect()
    }

    pub fn is_up(&self) -> bool {
        self.shown.state().is_up()
    }

    pub fn status(&self, now: u64) -> PeerStatus {
        let chosen = self.chosen();
        let stands = Stands {
            version: Version::V2,
            suite: chosen.and_then(Connection::suite),
            ppk: chosen.is_some_and(Connection::has_ppk),
            child: chosen.and_then(Connection::outbound),
            rekeys: self.rekeys,
            told: chosen.map(|c| c.origin.told),
        };
        self.shown.status(now, self.peer, &stands)
    }

    /// Handles a datagram from the peer's address.
    pub fn handle(&mut self, context: &mut Context<'_>, header: &Header, arrival: Arrival<'_>) {
        if header.exchange == exchange::IKE_SA_INIT && !header.response {
            return self.first_request(context, header, arrival);
        }
        let Arrival {
            outbox,
            from,
            bytes,
            ..
        } = arrival;
        let Ok(message) = Message::parse(bytes) else {
            context.dropped.payloads += 1;
            return;
        };
        if let Some(at) = self.connections.iter().position(|c| c.owns(header)) {
            let connection = &mut self.connections[at];
            connection.handle(context, bytes, &message);
            // What it says waits for what it wants in the kernel.
            self.reply_to = from;
            return;
        }
        if let Some(at) = self.half_open.iter().position(|h| h.owns(header)) {
            let half_open = self.half_open.swap_remove(at);
            let step = Box::new(half_open).receive(context, bytes, &message);
            return self.half_open_step(context.now, outbox, from, step);
        }
        match self.attempt.take() {
            Some(Attempt::Init(initiator)) if initiator.owns(header) => {
                let step = initiator.receive(context, bytes, &message);
                self.init_step(context, outbox, step);
            }
            Some(Attempt::Intermediate(intermediating)) if intermediating.owns(header) => {
                let step = intermediating.receive(context, bytes, &message);
                self.intermediate_step(context, outbox, step);
            }
            Some(Attempt::Auth(authenticating)) if authenticating.owns(header) => {
                let step = authenticating.receive(context, bytes, &message);
                self.auth_step(context, outbox, step);
            }
            other => {
                self.attempt = other;
                self.unknown(context, outbox, from, &message);
            }
        }
    }

    /// A request under an IKE SA that is not there, at most so often: whoever has it learns that it
    /// is gone. Never while any stands or comes up: a token that was told of an SA that we shall
    /// have yet would be a means to end it.
    fn unknown(
        &mut self,
        context: &mut Context<'_>,
        outbox: &mut Outbox,
        from: SocketAddr,
        message: &Message,
    ) {
        context.dropped.no_sa += 1;
        let early = match &self.attempt {
            None => true,
            Some(Attempt::Init(initiator)) => !initiator.began_with(message.header.spi_i),
            Some(_) => false,
        };
        let nothing = self.connections.is_empty() && self.half_open.is_empty() && early;
        if context.now < self.told_unknown || !nothing {
            return;
        }
        if let Some(answer) = crash::answer(context, message) {
            self.told_unknown = context.now + UNKNOWN_MS;
            outbox.send(from, answer);
        }
    }

    fn first_request(&mut self, context: &mut Context<'_>, header: &Header, arrival: Arrival<'_>) {
        let Arrival {
            outbox,
            cookies,
            from,
            bytes,
        } = arrival;
        if let Some(answer) = self.half_open.iter().find_map(|h| h.repeat(bytes)) {
            return outbox.send(from, answer);
        }
        let known = |c: &Connection| c.knows_initiator(header.spi_i);
        if self.connections.iter().any(known) {
            return;
        }
        let load = self.half_open.len();
        let bits = puzzle_bits(load);
        let demand = (load >= COOKIES_FROM).then_some(Demand { cookies, bits });
        match init::respond(context, bytes, demand) {
            Answer::Ignore | Answer::Wasted => {}
            Answer::Refuse(answer, refusal) => {
                outbox.send(from, answer);
                if let Some(refusal) = refusal {
                    self.fault.note(context.now, refusal);
                }
            }
            Answer::Open(half_open, answer) => {
                if self.half_open.len() >= MAX_HALF_OPEN {
                    // Whoever forges our peer's address shall not push out the peer itself.
                    let efforts = self.half_open.iter().map(|h| (h.effort(), h.began));
                    let least = efforts.enumerate().min_by_key(|(_, effort)| *effort);
                    self.half_open.remove(least.map_or(0, |(at, _)| at));
                }
                let spent = self.half_open.iter().any(|h| h.solved_with(header.spi_i));
                self.half_open.push(match spent {
                    true => half_open.with_spent_solution(),
                    false => *half_open,
                });
                outbox.send(from, answer);
            }
        }
    }

    fn init_step(&mut self, context: &mut Context<'_>, outbox: &mut Outbox, step: InitStep) {
        let target = self.target();
        self.attempt = Some(match step {
            InitStep::Failed(refusal) => return self.failed(context, refusal),
            InitStep::Ignored(initiator) => Attempt::Init(initiator),
            InitStep::Again(initiator, bytes) => {
                outbox.send(target, bytes);
                Attempt::Init(initiator)
            }
            InitStep::Unsolved(initiator, bytes, refusal) => {
                self.fault.note(context.now, refusal);
                outbox.send(target, bytes);
                Attempt::Init(initiator)
            }
            InitStep::Hint(initiator, refusal) => {
                self.fault.note(context.now, refusal);
                Attempt::Init(initiator)
            }
            InitStep::Next(authenticating, bytes) => {
                outbox.send_all(target, bytes);
                Attempt::Auth(authenticating)
            }
            InitStep::Intermediate(intermediating, bytes) => {
                outbox.send_all(target, bytes);
                Attempt::Intermediate(intermediating)
            }
        });
    }

    fn intermediate_step(
        &mut self,
        context: &mut Context<'_>,
        outbox: &mut Outbox,
        step: IntermediateStep,
    ) {
        match step {
            IntermediateStep::Ignored(intermediating) => {
                self.attempt = Some(Attempt::Intermediate(intermediating));
            }
            IntermediateStep::Failed(refusal) => self.failed(context, refusal),
            IntermediateStep::Next(authenticating, bytes) => {
                outbox.send_all(self.target(), bytes);
                self.attempt = Some(Attempt::Auth(authenticating));
            }
        }
    }

    fn auth_step(&mut self, context: &mut Context<'_>, outbox: &mut Outbox, step: AuthStep) {
        match step {
            AuthStep::Ignored(authenticating) => {
                self.attempt = Some(Attempt::Auth(authenticating));
            }
            AuthStep::Failed(refusal, farewell) => {
                outbox.send_all(self.target(), farewell);
                self.failed(context, refusal);
            }
            AuthStep::Established(connection) => self.adopt(*connection),
        }
    }

    fn half_open_step(
        &mut self,
        now: u64,
        outbox: &mut Outbox,
        from: SocketAddr,
        step: HalfOpenStep,
    ) {
        match step {
            HalfOpenStep::Ignored(half_open) => self.half_open.push(*half_open),
            HalfOpenStep::Reply(half_open, bytes, refusal) => {
                self.half_open.push(*half_open);
                outbox.send_all(from, bytes);
                if let Some(refusal) = refusal {
                    self.fault.note(now, refusal);
                }
            }
            HalfOpenStep::Established(connection, bytes, initial_contact) => {
                self.reply_to = from;
                self.accepted = bytes;
                if initial_contact {
                    // Only what stood before this exchange began (RFC 7296 section 2.4).
                    let began = connection.origin.began;
                    self.connections.retain(|c| c.established > began);
                }
                // It receives on the SAs of before, if its kernel kept them, until our answer.
                self.kernel.hold(now + ANSWERED_MS);
                // An attempt that is not authenticating yet has become pointless.
                if !matches!(self.attempt, Some(Attempt::Auth(_))) {
                    self.attempt = None;
                }
                self.attempt_at = now;
                if let Some(refusal) = &connection.unpaired {
                    self.fault.note(now, refusal.clone());
                }
                self.adopt(*connection);
            }
        }
    }

    fn adopt(&mut self, connection: Connection) {
        if self.connections.len() >= MAX_CONNECTIONS {
            self.connections.remove(0);
        }
        self.connections.push(connection);
    }

    /// Traffic waits: do not sleep through a back-off.
    pub fn acquire(&mut self, now: u64) {
        self.attempt_at = self.attempt_at.min(now + BACKOFF_MS[0]);
    }

    /// The kernel says that an SA's time is over.
    pub fn expire(&mut self, now: u64, spi: u32) {
        for connection in &mut self.connections {
            connection.expire(now, spi);
        }
    }

    /// Traffic came by an inbound SA.
    pub fn arrived(&mut self, spi: u32) {
        for connection in &mut self.connections {
            connection.arrived(spi);
        }
    }

    /// Inbound SAs whose pairs wait for traffic to send.
    pub fn held(&self) -> Vec<u32> {
        let all = self.connections.iter().flat_map(Connection::held);
        all.collect()
    }

    pub fn set_keyerless(&mut self, keyerless: bool) {
        self.shown.set_keyerless(keyerless);
    }

    /// Whether AH of the peer arrives.
    pub fn set_blocked(&mut self, now: u64, blocked: bool) {
        self.shown.set_blocked(now, blocked);
    }

    /// An operator wants fresh keys.
    pub fn rekey(&mut self, now: u64) {
        for connection in &mut self.connections {
            connection.rekey(now);
        }
    }

    /// If nothing is under way and one connection stands: its roles.
    #[cfg(test)]
    pub(super) fn settled(&self) -> Option<(bool, bool)> {
        let [connection] = self.connections.as_slice() else {
            return None;
        };
        let idle = self.attempt.is_none();
        connection
            .settled()
            .filter(|_| idle && self.kernel.due().is_none())
    }

    /// What the search of collisions does beside replacing AH pairs.
    #[cfg(test)]
    pub(super) fn disturb(
        &mut self,
        context: &mut Context<'_>,
        outbox: &mut Outbox,
        what: super::search::Disturbance,
    ) {
        use super::search::Disturbance::*;
        match what {
            RekeySa => {
                for connection in &mut self.connections {
                    connection.rekey_sa_alone(context.now);
                }
            }
            Delete => {
                for connection in &mut self.connections {
                    connection.close();
                }
            }
            Initiate if self.attempt.is_none() => self.initiate(context, outbox),
            _ => {}
        }
    }

    /// Something unauthenticated that tells why there may be no tunnel.
    pub fn hint(&mut self, now: u64, refusal: Refusal) {
        if self.connections.is_empty() {
            self.fault.note(now, refusal);
        }
    }

    pub fn keyer_done(&mut self, question: &Question) {
        self.kernel.confirm(question);
    }

    pub fn keyer_failed(&mut self, context: &mut Context<'_>, question: &Question, text: &str) {
        if *question == Question::Reload && *self.shown.state() != TunnelState::Connecting {
            return;
        }
        let wanted = self.kernel.concerns(question);
        self.kernel.forget(question);
        if wanted {
            for connection in &mut self.connections {
                connection.close();
            }
            self.stood = false;
            self.failed(context, Refusal::Other(format!("keyer: {text}")));
        } else if *question == Question::Reload {
            let refusal = Refusal::Other(format!("keyer: {text}"));
            self.fault.note(context.now, refusal);
        }
    }

    /// Deletes everything at once, with a farewell nobody waits for.
    pub fn take_down(&mut self, outbox: &mut Outbox) {
        let target = self.target();
        for connection in &mut self.connections {
            for bytes in connection.abandon() {
                outbox.send(target, bytes);
            }
        }
        self.connections.clear();
        self.kernel.reconcile(0, outbox, &[], None);
    }
}

/// Whether `a` gives way to `b`. One without an AH pair carries nothing. Crossing initiations: the
/// lowest nonce loses, so that both sides decide alike; otherwise the newer one stands for what the
/// peer remembers.
fn loses(a: &Connection, b: &Connection) -> bool {
    let empty = |connection: &Connection| connection.children().is_empty();
    if empty(a) != empty(b) {
        return empty(a);
    }
    // One that began when the other was up would have ended it by INITIAL_CONTACT.
    let crossed = a.origin.began <= b.established && b.origin.began <= a.established;
    if crossed {
        a.low_nonce() < b.low_nonce()
    } else {
        a.established <= b.established
    }
}

/// Zero bits of the puzzle that is given with a cookie beside so many half-open SAs.
fn puzzle_bits(half_open: usize) -> Option<u8> {
    let over = half_open.min(MAX_HALF_OPEN).checked_sub(PUZZLES_FROM)?;
    Some(PUZZLE_BITS + MORE_BITS * over as u8)
}

/// How a refusal is shown.
pub(super) fn state_of(refusal: &Refusal) -> TunnelState {
    match refusal {
        Refusal::NoAnswer => TunnelState::NoAnswer,
        Refusal::AuthenticationFailed => TunnelState::AuthenticationFailed,
        Refusal::NoProposal => TunnelState::NoProposal,
        Refusal::NotListed => TunnelState::NotListed,
        Refusal::Certificate(why) => TunnelState::CertificateRefused(why.to_string()),
        other => TunnelState::Failed(other.to_string()),
    }
}
