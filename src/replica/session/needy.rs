//! A member whose place in the peer's log is gone (contract 7): it first delivers what it has,
//! then takes a snapshot. What it writes meanwhile goes on over it, so no writer waits.
//!
//! Where the peer cannot tell that both hold one history it takes nothing before: then the snapshot
//! comes first, and what is here is delivered over it, issued again as far as it is another
//! history.
//!
//! Where the peer's place in our log is gone, too, nobody can deliver. If no third brings what is
//! missing, the one with the higher node id takes the other's snapshot and writes over it again
//! what its rows hold beyond.

use super::sending::Sending;
use super::{Action, Now, Swap};
use crate::replica::frontier::Frontier;

/// How long after a refusal it is tried again, in milliseconds: another link may be bringing a
/// snapshot, or what is missing.
pub(super) const AGAIN_MS: u64 = 10_000;

/// How long two neither of whom can deliver wait for a third, in milliseconds.
pub(super) const STALEMATE_MS: u64 = 60_000;

/// Whether neither of the two needs a snapshot, as far as is known: each log goes back to what the
/// other side holds, so that both hold one history of it.
pub(super) fn settled(needy: Option<&Needy>, sending: &Sending) -> bool {
    needy.is_none() && sending.reaches()
}

/// The peer sends from its log after all: another brought what was missing in it. Who has asked
/// goes on, for the answer is under way, as does he from whom the peer takes nothing before.
pub(super) fn reached(needy: &mut Option<Needy>) {
    needy.take_if(|needy| !needy.asked && !needy.apart);
}

/// Since the peer said so.
#[derive(Debug)]
pub(super) struct Needy {
    /// What we had then: the peer has to have it first.
    deliver: Frontier,
    since_us: u64,
    /// When to ask for the one place that an arriving snapshot has.
    due_us: u64,
    asked: bool,
    /// The peer takes nothing from us before.
    apart: bool,
    /// We yield, having delivered nothing.
    rebases: bool,
}

impl Needy {
    pub fn new(now: Now, ours: &Frontier) -> Self {
        Needy {
            deliver: ours.clone(),
            since_us: now.us,
            due_us: now.us,
            asked: false,
            apart: false,
            rebases: false,
        }
    }

    /// The peer said so, and whether both may hold different histories.
    pub fn told(&mut self, apart: bool) {
        self.apart |= apart;
    }

    /// Whether all is delivered that is to be delivered first.
    fn is_delivered(&self, sending: &Sending) -> bool {
        self.deliver.is_within(&sending.acked) || (self.apart && sending.reaches())
    }

    /// From when on to ask; `yields`: where it can take nothing from our log either, we are the one
    /// to yield.
    fn from(&self, sending: &Sending, yields: bool) -> Option<u64> {
        if self.is_delivered(sending) {
            return Some(self.due_us);
        }
        let stalemate = self.since_us + STALEMATE_MS * 1_000;
        (yields && sending.is_trimmed()).then_some(stalemate.max(self.due_us))
    }

    /// What to do next.
    pub fn work(&mut self, now: Now, sending: &Sending, yields: bool) -> Option<Action> {
        let from = self.from(sending, yields)?;
        if self.asked || now.us < from {
            return None;
        }
        self.asked = true;
        self.rebases = !self.is_delivered(sending);
        Some(Action::Claim)
    }

    /// What becomes of what is here.
    pub fn swap(&self) -> Swap {
        match self.rebases {
            true => Swap::Rebase,
            false => Swap::CatchUp,
        }
    }

    /// Somebody else has the place.
    pub fn refused(&mut self, now: Now) {
        self.asked = false;
        self.due_us = now.us + AGAIN_MS * 1_000;
    }

    pub fn poll_timeout(&self, sending: &Sending, yields: bool) -> Option<u64> {
        self.from(sending, yields).filter(|_| !self.asked)
    }
}
