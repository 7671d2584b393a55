//! An established connection with a peer: its IKE SA (several while one replaces another) and
//! the AH pairs made under it (RFC 7296 sections 2.4, 2.8 and 1.3-1.4).
//!
//! Children belong to the connection rather than to one IKE SA, because a rekeyed IKE SA
//! inherits them. What the kernel shall hold follows from [`Connection::children`] and
//! [`Connection::outbound`]; the tunnel manager brings it into line.

mod pairs;
#[cfg(test)]
mod shape;
mod standing;

use std::collections::VecDeque;

use subtle::ConstantTimeEq;

use super::certificate::Proven;
use super::child::Child;
use super::crash;
use super::exchange::{Parts, announce, complaint};
use super::session::{Incoming, Purpose, Session};
use super::suite::Suite;
use super::{Context, Presented, Refusal, keylog};
use crate::wire::isakmp::notify::kind;
use crate::wire::isakmp::{Delete, Header, Message, Payload, exchange};

/// The peer is asked for a sign of life after this silence.
const LIVENESS_MS: u64 = 6_000;
/// The side that must delete a superseded SA gets this long before the other does it.
const SUPERSEDED_MS: u64 = 10_000;
/// A deleted IKE SA repeats its last answer for this long.
const CLOSED_MS: u64 = 5_000;
/// An IKE SA without AH pair is of no use.
const CHILDLESS_MS: u64 = 5_000;
/// More than two rekeys at once need.
pub(super) const MAX_CHILDREN: usize = 6;
pub(super) const MAX_SESSIONS: usize = 6;

/// How a connection came to be.
#[derive(Clone, Debug)]
pub struct Origin {
    /// When its IKE_SA_INIT was sent or received.
    pub began: u64,
    /// Whether we sent it.
    pub initiator: bool,
    /// The peer's node certificates, as it named them last; none if it is not one of ours.
    pub certificate: Option<Presented>,
    /// Our own, as the peer took them last.
    pub told: Presented,
    /// The certificate by which the peer proved itself, if by any.
    pub proven: Option<Proven>,
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A request stayed without answer.
    Silent,
    /// One side deleted it, perhaps with a reason.
    Closed(Option<Refusal>),
}

/// An established connection.
#[cfg_attr(test, derive(Clone))]
pub struct Connection {
    /// How it came to be.
    pub origin: Origin,
    /// When the peer had authenticated.
    pub established: u64,
    /// How often IKE SA and child were rekeyed.
    pub rekeys: (u32, u32),
    pub(super) sessions: Vec<Session>,
    pub(super) children: Vec<Child>,
    pub(super) failure: Option<Refusal>,
    /// Why its first exchange made no AH pair.
    pub unpaired: Option<Refusal>,
    /// Why we closed it, until that was asked for.
    pub(super) refused: Option<Refusal>,
    low_nonce: Vec<u8>,
    heard: u64,
    childless_since: Option<u64>,
    silent: bool,
    /// It is to end: an IKE SA that comes yet ends with it.
    pub(super) closing: bool,
    /// Our inbound SPI of the child that carries our traffic.
    sending: Option<u32>,
    /// The peer has proved that it knows nothing of it.
    lost: bool,
    /// The peer knows quick crash detection.
    pub(super) tokens: bool,
    /// Node certificates of ours that the peer was told of and did not take.
    pub(super) untaken: Option<Presented>,
    pub(super) out: VecDeque<Vec<u8>>,
}

impl Connection {
    pub(super) fn new(
        context: &mut Context<'_>,
        mut session: Session,
        child: Option<Child>,
        origin: Origin,
    ) -> Self {
        session.stands(context, origin.initiator);
        let tokens = session.token.is_some();
        Self {
            origin,
            established: context.now,
            rekeys: (0, 0),
            low_nonce: session.low_nonce.clone(),
            sessions: vec![session],
            children: child.into_iter().collect(),
            failure: None,
            unpaired: None,
            refused: None,
            heard: context.now,
            childless_since: None,
            silent: false,
            closing: false,
            lost: false,
            tokens,
            untaken: None,
            sending: None,
            out: VecDeque::new(),
        }
    }

    /// The lower nonce of its first exchange; decides between two that crossed.
    pub fn low_nonce(&self) -> &[u8] {
        &self.low_nonce
    }

    /// IKE SAs that may start exchanges; more than one only while a rekey crosses another.
    pub fn ike_sas(&self) -> usize {
        self.sessions.iter().filter(|s| s.is_current()).count()
    }

    /// What its IKE SA uses; of several, the newest that may start exchanges.
    pub fn suite(&self) -> Option<Suite> {
        self.newest().map(|session| session.suite)
    }

    /// Whether a post-quantum pre-shared key is in the keys of that one.
    pub fn has_ppk(&self) -> bool {
        self.newest().is_some_and(|session| session.keys.is_mixed())
    }

    fn newest(&self) -> Option<&Session> {
        let current = self.sessions.iter().rfind(|s| s.is_current());
        current.or(self.sessions.last())
    }

    /// If nothing is under way, with one IKE SA and one AH pair that carries traffic: whether we
    /// began the connection and the IKE SA.
    #[cfg(test)]
    pub(crate) fn settled(&self) -> Option<(bool, bool)> {
        let [session] = self.sessions.as_slice() else {
            return None;
        };
        let [child] = self.children.as_slice() else {
            return None;
        };
        let idle = session.in_flight.is_none() && session.pending.is_none();
        let usable = !child.delete && child.held_until.is_none();
        (session.is_current() && idle && usable)
            .then_some((self.origin.initiator, session.initiator))
    }

    /// Replaces the IKE SA alone as soon as possible.
    #[cfg(test)]
    pub(crate) fn rekey_sa_alone(&mut self, now: u64) {
        for session in self.sessions.iter_mut().filter(|s| s.is_current()) {
            session.rekey_at = session.rekey_at.min(now);
        }
    }

    /// The keys of its IKE SAs, for tshark.
    pub fn key_log(&self) -> impl Iterator<Item = keylog::Line> {
        self.sessions.iter().map(Session::key_log)
    }

    /// Whether it is over.
    pub fn ended(&self) -> Option<End> {
        if self.silent {
            return Some(End::Silent);
        }
        if self.lost {
            return Some(End::Closed(None));
        }
        let over = self.sessions.iter().all(|s| s.closed.is_some());
        over.then(|| End::Closed(self.failure.clone()))
    }

    /// Whether nothing of it remains to be done.
    pub fn is_spent(&self) -> bool {
        self.silent || self.lost || self.sessions.is_empty()
    }

    /// Whether it is over or about to be.
    pub fn is_closing(&self) -> bool {
        let mut open = self.sessions.iter().filter(|s| s.closed.is_none());
        self.silent || self.lost || open.all(Session::is_deleting)
    }

    /// Deletes it politely.
    pub fn close(&mut self) {
        self.closing = true;
        for session in &mut self.sessions {
            session.delete |= session.closed.is_none() && !session.is_deleting();
        }
    }

    /// The farewell of a connection that is dropped at once, without waiting for an answer.
    pub fn abandon(&mut self) -> Vec<Vec<u8>> {
        let payloads = [Payload::Delete(Delete::ike())];
        let open = self.sessions.iter_mut().filter(|s| s.closed.is_none());
        open.flat_map(|s| s.farewell(&payloads)).collect()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.out.pop_front()
    }

    /// Whether a message with this header is for one of its IKE SAs.
    pub fn owns(&self, header: &Header) -> bool {
        self.sessions.iter().any(|s| s.owns(header))
    }

    /// Whether we are the responder of an IKE SA with this initiator's SPI.
    pub fn knows_initiator(&self, spi_i: u64) -> bool {
        self.sessions
            .iter()
            .any(|s| !s.initiator && s.spi_i == spi_i)
    }

    /// Rekeys IKE SA and children as soon as possible.
    pub fn rekey(&mut self, now: u64) {
        for session in self.sessions.iter_mut().filter(|s| s.is_current()) {
            session.rekey_at = session.rekey_at.min(now);
        }
        self.renew(now, |_| true);
    }

    /// Handles a message for which [`Connection::owns`] holds.
    pub fn handle(&mut self, context: &mut Context<'_>, datagram: &[u8], message: &Message) {
        let header = message.header;
        let Some(at) = self.sessions.iter().position(|s| s.owns(&header)) else {
            return;
        };
        if header.response && self.is_lost(at, message) {
            self.lost = true;
        } else if header.response {
            if let Some((waiting, content)) =
                self.sessions[at].answer(&mut context.dropped, datagram, message)
            {
                self.heard = context.now;
                match content.payloads {
                    Ok(payloads) => self.answered(context, at, waiting.purpose, &payloads),
                    Err(_) if matches!(waiting.purpose, Purpose::DeleteSa) => {
                        self.sessions[at].close(context.now);
                    }
                    // An answer we cannot read leaves the two sides with different states.
                    Err(_) => {
                        self.failure.get_or_insert_with(Refusal::unreadable);
                        self.close();
                    }
                }
            }
        } else {
            match self.sessions[at].receive(&mut context.dropped, datagram, message) {
                Incoming::Dropped => {}
                // No sign of life: anybody can replay it.
                Incoming::Again(bytes) => self.out.extend(bytes),
                Incoming::Fresh(_) if self.sessions[at].closed.is_some() => {}
                Incoming::Fresh(content) => {
                    self.heard = context.now;
                    let answer = match content.payloads {
                        Ok(payloads) => self.requested(context, at, header.exchange, &payloads),
                        Err(error) => vec![complaint(error)],
                    };
                    let bytes = self.sessions[at].respond(header.exchange, &answer);
                    self.out.extend(bytes);
                    // Fatal to both (section 2.21.3).
                    if Parts::of(&answer).error() == Some(kind::INVALID_SYNTAX) {
                        self.failure.get_or_insert_with(Refusal::unreadable);
                        self.close();
                    }
                }
            }
        }
        self.advance(context);
    }

    /// Whether the peer proves that it has lost this IKE SA, and with it all there is. An older
    /// one, which it may have forgotten rightly, tells nothing.
    fn is_lost(&self, at: usize, message: &Message) -> bool {
        let session = &self.sessions[at];
        let Some((known, told)) = session.token.as_ref().zip(crash::told(message)) else {
            return false;
        };
        session.is_current() && bool::from(known.as_slice().ct_eq(&told))
    }

    fn answered(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        purpose: Purpose,
        payloads: &[Payload],
    ) {
        if Parts::of(payloads).error() == Some(kind::INVALID_SYNTAX) {
            self.failure.get_or_insert_with(Refusal::unread);
            self.close();
        }
        match purpose {
            Purpose::Authenticate | Purpose::Liveness => {}
            Purpose::Announce(says) => self.announced(says, payloads),
            Purpose::DeleteChild(spi) => self.forget_child(context.now, spi),
            Purpose::DeleteSa => self.sessions[at].close(context.now),
            Purpose::RekeyChild {
                old,
                new,
                nonce,
                collision,
            } => self.child_rekeyed(context, at, (old, new), &nonce, collision, payloads),
            Purpose::RekeySa { attempt, collision } => {
                self.sa_agreed(context, at, &attempt, collision, payloads);
            }
            Purpose::FollowUp {
                decapsulation,
                agreed,
                collision,
            } => self.followed_up(context, at, (&decapsulation, &agreed), collision, payloads),
        }
    }

    /// Performs what time demands, and starts the next exchange where none is under way.
    pub fn advance(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        for child in &mut self.children {
            child.held_until = child.held_until.filter(|&until| now < until);
        }
        self.prune_children(now);
        self.note_sending(now);
        if self.ends_at().is_some_and(|at| at <= now) {
            self.failure = Some(Refusal::not_replaced());
            self.close();
        }
        self.sessions
            .retain(|s| s.closed.is_none_or(|since| now < since + CLOSED_MS));
        for at in 0..self.sessions.len() {
            let session = &mut self.sessions[at];
            session.pending = session.pending.take().filter(|p| now < p.until);
            self.retransmit(now, at);
        }
        // Only now: a request given up may let another IKE SA begin one.
        for at in 0..self.sessions.len() {
            self.begin(context, at);
        }
    }

    /// When one of its SAs will have lived too long.
    fn ends_at(&self) -> Option<u64> {
        if self.is_closing() {
            return None;
        }
        let sessions = self.sessions.iter().filter(|s| s.is_current());
        let replaced = |c: &Child| self.children.iter().any(|o| o.replaces == Some(c.spi_in));
        let children = self.children.iter().filter(|c| !c.delete && !replaced(c));
        let ends = sessions.map(|s| s.ends_at);
        ends.chain(children.map(|c| c.ends_at)).min()
    }

    /// Sends the outstanding request again when due, or gives up.
    fn retransmit(&mut self, now: u64, at: usize) {
        let session = &mut self.sessions[at];
        let current = session.is_current();
        let Some(waiting) = &mut session.in_flight else {
            return;
        };
        if waiting.retry.exhausted(now) {
            if current && !matches!(waiting.purpose, Purpose::DeleteSa) {
                self.silent = true;
            } else {
                session.close(now);
            }
        } else if waiting.retry.fire(now) {
            self.out.extend(waiting.bytes.iter().cloned());
        }
    }

    fn begin(&mut self, context: &mut Context<'_>, at: usize) {
        let now = context.now;
        let session = &mut self.sessions[at];
        if session.closed.is_some() || session.in_flight.is_some() {
            return;
        }
        if session
            .replaced
            .is_some_and(|since| now >= since + SUPERSEDED_MS)
        {
            session.delete = true;
        }
        let silent = now >= self.heard + LIVENESS_MS;
        let (exchange, payloads, purpose) = if session.delete {
            session.delete = false;
            let payloads = self.last_words();
            (exchange::INFORMATIONAL, payloads, Purpose::DeleteSa)
        } else if Some(at) != self.idle() {
            return;
        } else if self.is_rekeying() {
            if !silent {
                return;
            }
            (exchange::INFORMATIONAL, Vec::new(), Purpose::Liveness)
        } else if let Some(child) = self.children.iter().find(|c| c.delete) {
            let payloads = vec![Payload::Delete(Delete::ah(child.spi_in))];
            let purpose = Purpose::DeleteChild(child.spi_in);
            (exchange::INFORMATIONAL, payloads, purpose)
        } else if self.sessions[at].owes_token {
            let session = &mut self.sessions[at];
            session.owes_token = false;
            session.told_token = true;
            let payloads = vec![crash::token(context, (session.spi_i, session.spi_r))];
            (exchange::INFORMATIONAL, payloads, Purpose::Liveness)
        } else if self.must_announce(context.credentials.certificate) {
            let says = context.credentials.certificate;
            let payloads = announce::name(&says);
            (exchange::INFORMATIONAL, payloads, Purpose::Announce(says))
        } else if self.sessions[at].rekey_at <= now {
            if !self.is_still_proven(context) {
                // Its end begins instead.
                return self.begin(context, at);
            }
            let (payloads, purpose) = self.rekey_sa(context, at);
            (exchange::CREATE_CHILD_SA, payloads, purpose)
        } else if let Some(old) = self.children.iter().position(|c| c.rekey_at <= now) {
            let (payloads, purpose) = self.rekey_child(context, old);
            (exchange::CREATE_CHILD_SA, payloads, purpose)
        } else if silent {
            (exchange::INFORMATIONAL, Vec::new(), Purpose::Liveness)
        } else {
            return;
        };
        let bytes = self.sessions[at].request(now, exchange, &payloads, purpose);
        self.out.extend(bytes);
    }

    /// The IKE SA that may start an exchange now; while one is replaced, nothing but to ask for a
    /// sign of life, for the peer may die meanwhile.
    fn idle(&self) -> Option<usize> {
        let current = self.sessions.iter().rposition(Session::is_current)?;
        self.sessions[current]
            .in_flight
            .is_none()
            .then_some(current)
    }

    fn is_rekeying(&self) -> bool {
        self.sessions.iter().any(is_rekeying)
    }

    /// When [`Connection::advance`] wants to be called.
    pub fn due(&self) -> Option<u64> {
        let mut times: Vec<u64> = Vec::new();
        for session in &self.sessions {
            match (&session.in_flight, session.closed) {
                (_, Some(since)) => times.push(since + CLOSED_MS),
                (Some(waiting), None) => times.push(waiting.retry.due()),
                (None, None) => times.extend(session.replaced.map(|t| t + SUPERSEDED_MS)),
            }
            times.extend(session.pending.as_ref().map(|pending| pending.until));
        }
        times.extend(self.duplicates_at());
        times.extend(self.ends_at());
        times.extend(self.children.iter().filter_map(|c| c.held_until));
        if self.children.is_empty() && !self.is_closing() {
            times.extend(self.childless_since.map(|since| since + CHILDLESS_MS));
        }
        if let Some(at) = self.idle() {
            times.push(self.heard + LIVENESS_MS);
            if !self.is_rekeying() {
                times.push(self.sessions[at].rekey_at);
                times.extend(self.children.iter().map(|c| c.rekey_at));
            }
        }
        times.into_iter().min()
    }
}

/// Whether one side or the other is replacing this IKE SA.
pub(super) fn is_rekeying(session: &Session) -> bool {
    let purpose = session.in_flight.as_ref().map(|waiting| &waiting.purpose);
    session.pending.is_some()
        || matches!(
            purpose,
            Some(Purpose::RekeySa { .. } | Purpose::FollowUp { .. })
        )
}
