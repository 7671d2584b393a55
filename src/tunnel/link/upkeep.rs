//! What time demands of a tunnel: when to initiate, which of two connections stays, when to give
//! up and try again; and what is shown of it.

use super::super::Outbox;
use super::super::message::TunnelState;
use super::{Attempt, BACKOFF_MS, Link, STOOD_MS, YIELD_MS, loses, state_of};
use crate::ike::exchange::half_open::HalfOpen;
use crate::ike::exchange::init::Initiator;
use crate::ike::{Child, Connection, Context, End, Refusal};
use crate::wire::isakmp::Header;

/// An attempt without answer this old shows as no answer.
const NO_ANSWER_MS: u64 = 4_000;
/// The side that made a surplus connection deletes it; the other waits this long.
const SURPLUS_MS: u64 = 10_000;

impl Link {
    pub(super) fn failed(&mut self, context: &mut Context<'_>, refusal: Refusal) {
        self.fault.note(context.now, refusal);
        self.attempt_at = context.now + self.pause(context);
    }

    /// Longer with each failure.
    fn pause(&mut self, context: &mut Context<'_>) -> u64 {
        let pause = BACKOFF_MS[self.failures.min(BACKOFF_MS.len() - 1)];
        self.failures += 1;
        context.jitter(pause)
    }

    /// Performs what is due and brings kernel and state into line.
    pub fn advance(&mut self, context: &mut Context<'_>, outbox: &mut Outbox) {
        let now = context.now;
        let left = self.half_open.iter().find_map(|h| h.left_for(now));
        self.half_open.retain(|h| now < h.expires());
        if let Some(refusal) = left {
            self.fault.note(now, refusal);
        }
        self.drive_attempt(context, outbox);
        self.settle(now);
        let mut refused = None;
        for connection in &mut self.connections {
            connection.advance(context);
            refused = connection.take_refusal().or(refused);
        }
        if let Some(refusal) = refused {
            self.failed(context, refusal);
        }
        self.bury(context);
        self.fall(context);
        self.reconcile(context, outbox);
        self.speak(outbox);
        // Only now: a peer that deleted the last IKE SA has its answer first.
        if self.attempt.is_none() && self.chosen().is_none() && now >= self.attempt_at {
            self.initiate(context, outbox);
        }
        self.judge(now);
    }

    /// Only after [`Link::reconcile`]: these datagrams may make the peer use a new SA.
    fn speak(&mut self, outbox: &mut Outbox) {
        let target = self.target();
        let to = std::mem::replace(&mut self.reply_to, target);
        outbox.send_all(to, std::mem::take(&mut self.accepted));
        for connection in &mut self.connections {
            while let Some(bytes) = connection.poll_transmit() {
                // Whoever forges the peer's address from another port gets none of our requests.
                let answers = Header::parse(&bytes).is_ok_and(|(header, _)| header.response);
                outbox.send(if answers { to } else { target }, bytes);
            }
        }
    }

    fn drive_attempt(&mut self, context: &mut Context<'_>, outbox: &mut Outbox) {
        let now = context.now;
        let result = match &mut self.attempt {
            Some(Attempt::Init(initiator)) => {
                let silent = initiator.age(now) >= NO_ANSWER_MS && !initiator.is_solving();
                if silent && self.fault.reason().is_none() {
                    self.fault.note(now, Refusal::NoAnswer);
                }
                let again = initiator.timeout(now);
                again.map(|bytes| bytes.map(|bytes| vec![bytes]))
            }
            Some(Attempt::Intermediate(intermediating)) => intermediating.timeout(now),
            Some(Attempt::Auth(authenticating)) => authenticating.timeout(now),
            None => return,
        };
        match result {
            Ok(Some(bytes)) => outbox.send_all(self.target(), bytes),
            Ok(None) => {}
            Err(refusal) => {
                self.attempt = None;
                self.failed(context, refusal);
            }
        }
    }

    /// Of several connections one stays; the others are deleted, first by whoever made them.
    fn settle(&mut self, now: u64) {
        let Some(winner) = self.chosen() else {
            return;
        };
        let (began, established) = (winner.origin.began, winner.established);
        let low_nonce = winner.low_nonce().to_vec();
        let newest = self.connections.iter().map(|c| c.established).max();
        let late = newest.is_some_and(|newest| now >= newest + SURPLUS_MS);
        for connection in &mut self.connections {
            let same = connection.origin.began == began
                && connection.established == established
                && connection.low_nonce() == low_nonce;
            if !same && !connection.is_closing() && (connection.origin.initiator || late) {
                connection.close();
            }
        }
    }

    /// Draws the consequences of connections that ended.
    fn bury(&mut self, context: &mut Context<'_>) {
        let live = self.connections.iter().any(|c| c.ended().is_none());
        let mut ends = Vec::new();
        self.connections.retain(|connection| {
            let spent = connection.is_spent();
            if let (true, Some(end)) = (spent, connection.ended()) {
                ends.push(end);
            }
            !spent
        });
        for end in ends.into_iter().filter(|_| !live) {
            match end {
                End::Silent => self.fault.note(context.now, Refusal::NoAnswer),
                End::Closed(Some(refusal)) => self.fault.note(context.now, refusal),
                End::Closed(None) => {}
            }
        }
    }

    /// The last connection is ending: the lower address begins the next at once, the other waits.
    /// One that hardly stood was a failure, whoever ended it.
    fn fall(&mut self, context: &mut Context<'_>) {
        let stands = self.chosen().is_some();
        if self.stood && !stands {
            let ends: Vec<End> = self
                .connections
                .iter()
                .filter_map(Connection::ended)
                .collect();
            for end in ends {
                if let End::Closed(Some(refusal)) = end {
                    self.fault.note(context.now, refusal);
                }
            }
            let latest = self.connections.iter().map(|c| c.established).max();
            let brief = latest.is_some_and(|latest| context.now < latest + STOOD_MS);
            let wait = if self.yields { YIELD_MS } else { 0 };
            let pause = if brief { self.pause(context) } else { 0 };
            let at = context.now + wait.max(pause);
            self.attempt_at = self.attempt_at.max(at);
        }
        self.stood = stands;
    }

    pub(super) fn initiate(&mut self, context: &mut Context<'_>, outbox: &mut Outbox) {
        // Somebody at the peer's address is about to authenticate: let that finish. Once: whoever
        // forges that address must not keep us from it.
        let busy = |h: &HalfOpen| h.is_waiting() && context.now < h.began + YIELD_MS;
        if !self.put_off && self.half_open.iter().any(busy) {
            self.put_off = true;
            self.attempt_at = context.now + YIELD_MS;
            return;
        }
        self.put_off = false;
        let Some((initiator, bytes)) = Initiator::start(context) else {
            return self.failed(context, Refusal::NoProposal);
        };
        outbox.send(self.target(), bytes);
        self.attempt = Some(Attempt::Init(Box::new(initiator)));
    }

    fn reconcile(&mut self, context: &mut Context<'_>, outbox: &mut Outbox) {
        let now = context.now;
        let before = self.kernel.outbound();
        let live = self.connections.iter().filter(|c| !c.is_closing());
        let children: Vec<&Child> = live.flat_map(Connection::children).collect();
        let outbound = self.connections.iter().filter(|c| !c.is_closing());
        let outbound = outbound
            .reduce(|a, b| if loses(a, b) { b } else { a })
            .and_then(Connection::outbound);
        self.kernel.reconcile(now, outbox, &children, outbound);
        let after = self.kernel.outbound();
        if let Some(before) = before.filter(|_| before != after) {
            for connection in &mut self.connections {
                connection.note_traffic(now, before, after);
                connection.advance(context);
            }
        }
    }

    fn judge(&mut self, now: u64) {
        let chosen = self.chosen();
        let up = chosen.filter(|c| self.kernel.carrying && c.outbound().is_some());
        let state = match up {
            Some(connection) => TunnelState::Up {
                certificate: connection.origin.certificate,
            },
            None => {
                let reason = self.fault.reason().map(state_of);
                reason.unwrap_or(TunnelState::Connecting)
            }
        };
        let lasts = chosen.is_some_and(|c| now >= c.established + STOOD_MS);
        self.rekeys = chosen.map_or((0, 0), |c| c.rekeys);
        if state.is_up() {
            self.fault.clear();
            if lasts {
                self.failures = 0;
            }
        }
        self.shown.set(now, state);
    }

    /// When [`Link::advance`] wants to be called.
    pub fn due(&self) -> Option<u64> {
        let mut times: Vec<u64> = Vec::new();
        match &self.attempt {
            Some(Attempt::Init(initiator)) => times.push(initiator.due()),
            Some(Attempt::Intermediate(intermediating)) => times.push(intermediating.due()),
            Some(Attempt::Auth(authenticating)) => times.push(authenticating.due()),
            None if self.chosen().is_none() => times.push(self.attempt_at),
            None => {}
        }
        times.extend(self.half_open.iter().map(|h| h.expires()));
        times.extend(self.connections.iter().filter_map(Connection::due));
        if self.connections.iter().filter(|c| !c.is_closing()).count() > 1 {
            let newest = self.connections.iter().map(|c| c.established).max();
            times.extend(newest.map(|newest| newest + SURPLUS_MS));
        }
        times.extend(self.kernel.due());
        times.into_iter().min()
    }
}
