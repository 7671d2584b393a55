//! What time demands: beginning and repeating exchanges, replacing SAs, dead peer detection, and
//! getting rid of what was replaced.

use super::homes::replaced_after;
use super::main_mode::{Initiator, Responder};
use super::phase1::{PATIENCE_MS, Phase1};
use super::{Engine, Owned};
use crate::ike::fault::RECENT_MS;
use crate::ike::{Context, Refusal};

/// The higher address lets the lower one begin.
pub(super) const YIELD_MS: u64 = 1_500;
/// The responder of main mode waits this long for the initiator's quick mode.
pub(super) const QUICK_WAIT_MS: u64 = 5_000;
/// Pauses between attempts; the last repeats.
const BACKOFF_MS: [u64; 5] = [1_000, 2_000, 4_000, 8_000, 15_000];
/// A tunnel that stood for so long was no failure.
pub(super) const STOOD_MS: u64 = 5_000;
/// An attempt without answer this old shows as no answer.
const NO_ANSWER_MS: u64 = 4_000;
/// The peer is asked for a sign of life after this silence.
const SILENCE_MS: u64 = 6_000;
/// Of a pair of ours that replaces another: by then the peer has our third message, though it was
/// lost once (charon repeats its own after 4 s), and so receives on the pair.
pub(super) const HOLD_MS: u64 = 5_000;
/// How long those of before a peer's restart carry on: it begins its quick mode at once.
pub(super) const LEFT_MS: u64 = 10_000;
/// Who made an SA or a pair deletes the replaced one after this; the other side later.
pub(super) const REPLACED_MS: u64 = 2_000;
pub(super) const REPLACED_BY_PEER_MS: u64 = 10_000;

impl Engine {
    /// Performs what is due.
    pub fn advance(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        self.half_open.retain(|h| now < h.expires());
        for owned in &mut self.children {
            let due = owned.child.held_until.take_if(|until| *until <= now);
            owned.confirmed |= due.is_some();
        }
        if now >= self.left_until || self.children.iter().any(|owned| owned.confirmed) {
            self.left.clear();
        }
        for owned in &mut self.children {
            // Once: what is refused later is put off longer and longer.
            if !owned.stood && owned.confirmed && !owned.is_brief(now) {
                owned.stood = true;
                self.failures = 0;
            }
        }
        self.drive_attempt(context);
        for at in 0..self.phase1.len() {
            self.repeat(context, at);
        }
        let older = ..self.phase1.len().saturating_sub(1);
        if self
            .phase1
            .extract_if(older, |sa| is_silent(sa, now))
            .count()
            > 0
        {
            self.evicted(now);
        }
        if self.phase1.last().is_some_and(|sa| is_silent(sa, now)) {
            if self.phase1.len() > 1 && now < self.heard + PATIENCE_MS {
                // The peer, which speaks under an older one, never had this.
                self.phase1.pop();
                self.evicted(now);
            } else {
                self.phase1.clear();
                self.fault.note(now, Refusal::NoAnswer);
                self.closed(context);
            }
        }
        self.settle_children(context);
        self.settle_phase1(context);
        if self.ends_at().is_some_and(|at| at <= now) {
            self.fault.note(now, Refusal::not_replaced());
            let farewells = self.abandon(context);
            self.out.extend(farewells);
            self.closed(context);
        }
        self.begin(context);
    }

    /// When an SA or a pair will have lived too long.
    fn ends_at(&self) -> Option<u64> {
        let pair = self.children.last().map(|owned| owned.child.ends_at);
        let newest = self.phase1.last().map(|sa| sa.ends_at);
        pair.into_iter().chain(newest).min()
    }

    fn drive_attempt(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        let late = now >= attempt.began + NO_ANSWER_MS;
        match attempt.timeout(context) {
            Ok(again) => self.out.extend(again),
            Err(refusal) => {
                let farewell = self.attempt.take().and_then(|a| a.farewell(context));
                self.out.extend(farewell);
                // One that refuses us, or is busy with its own attempt, is not gone.
                let silent = self.spoke.is_none_or(|at| now >= at + RECENT_MS);
                if silent || self.fault.reason().is_none() || refusal != Refusal::NoAnswer {
                    self.fault.note(now, refusal);
                }
                self.put_off(context);
                self.judge_again(context);
            }
        }
        if late && self.fault.reason().is_none() && self.phase1.is_empty() {
            self.fault.note(now, Refusal::NoAnswer);
        }
    }

    /// A main mode came to nothing. Where it was to replace what stands, all of it ends if the
    /// certificate by which the peer proved itself there holds no longer. What came now may be
    /// forged, and alone ends nothing.
    pub(super) fn judge_again(&mut self, context: &mut Context<'_>) {
        let proven = self.phase1.last().and_then(|sa| sa.proven.as_ref());
        let certified = context.credentials.certified.as_ref();
        let judged = certified
            .zip(proven)
            .map(|(c, p)| c.holds(p, context.remote));
        let Some(Err(why)) = judged else {
            return;
        };
        // Also under what the peer takes for an SA already.
        if let Some(attempt) = self.attempt.take() {
            self.out.extend(attempt.farewell(context));
            self.put_off(context);
        }
        for sa in std::mem::take(&mut self.phase1) {
            self.out.push_back(sa.refuse(context));
        }
        self.fault.note(context.now, Refusal::Certificate(why));
        self.closed(context);
    }

    pub(super) fn put_off(&mut self, context: &mut Context<'_>) {
        let pause = BACKOFF_MS[self.failures.min(BACKOFF_MS.len() - 1)];
        self.failures += 1;
        self.attempt_at = context.now + context.jitter(pause);
    }

    pub(super) fn put_off_quick(&mut self, context: &mut Context<'_>) {
        self.put_off(context);
        self.quick_at = self.attempt_at;
        for owned in &mut self.children {
            if owned.child.rekey_at <= context.now {
                owned.child.rekey_at = self.attempt_at;
            }
        }
    }

    /// An ISAKMP SA went away. AH pairs without any cannot be kept up. A pair that hardly stood was
    /// a failure, whoever ended it, and so was an SA that never had one.
    pub(super) fn closed(&mut self, context: &mut Context<'_>) {
        if self.phase1.is_empty() {
            let brief = |owned: &Owned| owned.is_brief(context.now);
            if !self.paired || self.children.last().is_some_and(brief) {
                self.put_off(context);
            }
            self.paired = false;
            self.children.clear();
            self.left.clear();
            self.certificate = None;
            self.told = None;
            let wait = if self.yields {
                YIELD_MS
            } else {
                BACKOFF_MS[0] / 2
            };
            self.attempt_at = self.attempt_at.max(context.now + wait);
        }
    }

    /// Sends again what is unanswered under one ISAKMP SA.
    fn repeat(&mut self, context: &mut Context<'_>, at: usize) {
        let now = context.now;
        let sa = &mut self.phase1[at];
        if let Some(asking) = &mut sa.asking {
            if asking.done.is_none() && asking.retry.fire(now) {
                self.out.push_back(asking.last.clone());
            }
            sa.asking
                .take_if(|a| a.done.is_some() && a.retry.exhausted(now));
        }
        for answering in &mut sa.answering {
            if answering.retry.fire(now) {
                self.out.push_back(answering.last.clone());
            }
        }
        let given_up = sa.answering.iter().filter(|a| a.retry.exhausted(now));
        for spi in given_up.map(|a| a.spi).collect::<Vec<u32>>() {
            self.unanswered(context, at, spi);
        }
        let due = |sa: &mut Phase1| sa.question.as_mut().is_some_and(|(_, r)| r.fire(now));
        if due(&mut self.phase1[at]) {
            let again = self.phase1[at].ask_again(context);
            self.out.extend(again);
        }
    }

    /// The peer never sent its third message: it may have the pair or not.
    pub(super) fn unanswered(&mut self, context: &mut Context<'_>, at: usize, spi: u32) {
        self.phase1[at].answering.retain(|a| a.spi != spi);
        self.children
            .retain(|o| o.confirmed || o.child.spi_in != spi);
        if let Some(owned) = self.children.last_mut() {
            owned.child.rekey_at = context.now;
        }
        self.say_deleted(context, spi);
    }

    /// Of several ISAKMP SAs the last stays; another as long as an AH pair lives under it.
    fn settle_phase1(&mut self, context: &mut Context<'_>) {
        let due = self.settle_phase1_at();
        if due.is_none_or(|at| at > context.now) {
            return;
        }
        let older = ..self.phase1.len().saturating_sub(1);
        let homes: Vec<(u64, u64)> = self.children.iter().map(|owned| owned.home).collect();
        let goes = |sa: &mut Phase1| !sa.is_busy() && !homes.contains(&sa.cookies);
        for old in self.phase1.extract_if(older, goes) {
            self.out.push_back(old.delete(context));
        }
    }

    fn settle_phase1_at(&self) -> Option<u64> {
        let (last, older) = self.phase1.split_last()?;
        let goes = |sa: &Phase1| !sa.is_busy() && !self.houses(sa.cookies);
        older
            .iter()
            .any(goes)
            .then(|| last.born + replaced_after(last.initiator))
    }

    /// Likewise of AH pairs.
    fn settle_children(&mut self, context: &mut Context<'_>) {
        let due = self.settle_children_at();
        let (Some(last), true) = (self.outbound(), due.is_some_and(|at| at <= context.now)) else {
            return;
        };
        let keep = last.spi_in;
        let goes = |o: &mut Owned| o.confirmed && o.child.spi_in != keep;
        let gone = self.children.extract_if(.., |o| goes(o));
        for spi in gone.map(|owned| owned.child.spi_in).collect::<Vec<u32>>() {
            self.say_deleted(context, spi);
        }
    }

    fn settle_children_at(&self) -> Option<u64> {
        let mut confirmed = self.children.iter().filter(|o| o.confirmed);
        confirmed.next()?;
        let last = confirmed.next_back()?;
        // What was sent on the older pair last must have arrived.
        let held = if last.ours { HOLD_MS } else { 0 };
        Some(last.child.born + held + replaced_after(last.ours))
    }

    /// Begins what is missing or due.
    fn begin(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let Some(at) = self.phase1.len().checked_sub(1) else {
            if self.attempt.is_none() && now >= self.attempt_at {
                // Let the peer's go on. Once: whoever forges its address must not keep us from it.
                let busy = |h: &Responder| h.is_reachable() && now < h.began + YIELD_MS;
                self.deferred = !self.deferred && self.half_open.iter().any(busy);
                if self.deferred {
                    self.attempt_at = now + YIELD_MS;
                } else {
                    self.begin_main(context);
                }
            }
            return;
        };
        if self.phase1[at].rekey_at <= now && self.attempt.is_none() && now >= self.attempt_at {
            self.begin_main(context);
        }
        let asking = self.phase1.iter().any(Phase1::asks);
        let answering = self.phase1.iter().any(|sa| !sa.answering.is_empty());
        let wanted = if self.children.is_empty() {
            now >= self.quick_at
        } else {
            let due = self.children.iter().any(|o| o.child.rekey_at <= now);
            due || self.must_announce(context.credentials.certificate)
        };
        let sa = &mut self.phase1[at];
        // An SA of ours that is under way gets a pair of its own.
        if wanted && !asking && !answering && self.attempt.is_none() {
            self.begin_quick(context, at);
        } else if sa.dpd && !asking && sa.question.is_none() && now >= self.heard + SILENCE_MS {
            let question = sa.ask(context);
            self.out.push_back(question);
        }
    }

    fn begin_main(&mut self, context: &mut Context<'_>) {
        let initial = self.phase1.is_empty();
        if !self.yields {
            // The two do not cross: the peer gives up its own for ours.
            self.half_open.clear();
        }
        match Initiator::start(context, initial) {
            Ok((attempt, bytes)) => {
                self.out.push_back(bytes);
                self.attempt = Some(attempt);
            }
            Err(refusal) => {
                self.fault.note(context.now, refusal);
                self.put_off(context);
            }
        }
    }

    /// Main mode is not to wait for the peer's.
    pub fn begin_at(&mut self, at: u64) {
        self.attempt_at = at;
    }

    /// Traffic waits: do not sleep through a back-off.
    pub fn acquire(&mut self, now: u64) {
        self.attempt_at = self.attempt_at.min(now + BACKOFF_MS[0]);
    }

    /// Replaces the AH pair with this inbound or outbound SPI as soon as possible, unless another
    /// one came after it.
    pub fn expire(&mut self, now: u64, spi: u32) {
        let named = |o: &&mut Owned| o.child.spi_in == spi || o.child.spi_out == spi;
        if let Some(owned) = self.children.last_mut().filter(named) {
            owned.child.rekey_at = owned.child.rekey_at.min(now);
        }
    }

    /// Replaces ISAKMP SA and AH pair as soon as possible.
    pub fn rekey(&mut self, now: u64) {
        for sa in &mut self.phase1 {
            sa.rekey_at = sa.rekey_at.min(now);
        }
        for owned in &mut self.children {
            owned.child.rekey_at = owned.child.rekey_at.min(now);
        }
    }

    /// When [`Engine::advance`] wants to be called.
    pub fn due(&self) -> Option<u64> {
        let mut times: Vec<u64> = Vec::new();
        times.extend(self.attempt.as_ref().map(Initiator::due));
        times.extend(self.half_open.iter().map(|h| h.expires()));
        times.extend(self.children.iter().filter_map(|o| o.child.held_until));
        times.extend(self.left.first().map(|_| self.left_until));
        times.extend(self.phase1.iter().filter_map(Phase1::due));
        let Some(best) = self.phase1.last() else {
            if self.attempt.is_none() {
                times.push(self.attempt_at);
            }
            return times.into_iter().min();
        };
        times.extend(self.ends_at());
        times.extend(self.settle_phase1_at());
        times.extend(self.settle_children_at());
        times.extend(self.phase1.iter().filter_map(Phase1::lingers));
        if self.attempt.is_none() {
            times.push(best.rekey_at.max(self.attempt_at));
        }
        let asking = self.phase1.iter().any(Phase1::asks);
        let answering = self.phase1.iter().any(|sa| !sa.answering.is_empty());
        if !asking && !answering && self.attempt.is_none() {
            if self.children.is_empty() {
                times.push(self.quick_at);
            }
            times.extend(self.children.iter().map(|o| o.child.rekey_at));
        }
        // A quick mode of ours asks for a sign of life as well, and charon, which remembers only
        // the last message, would mistake it repeated after a question.
        if best.dpd && !asking && best.question.is_none() {
            times.push(self.heard + SILENCE_MS);
        }
        times.into_iter().filter(|at| *at != u64::MAX).min()
    }
}

/// Whether a question or a quick mode of ours stayed unanswered for too long.
fn is_silent(sa: &Phase1, now: u64) -> bool {
    let question = sa.question.as_ref().map(|(_, retry)| retry);
    let asking = sa.asking.as_ref().filter(|a| a.done.is_none());
    let mut waiting = question.into_iter().chain(asking.map(|a| &a.retry));
    waiting.any(|retry| retry.exhausted(now))
}
