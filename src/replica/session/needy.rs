//! A member whose place in the peer's log is gone (contract 7): it first delivers what it has,
//! then takes a snapshot. What it writes meanwhile goes on over it, so no writer waits.
//!
//! Where the peer's place in our log is gone, too, nobody can deliver. If no third brings what is
//! missing, the one with the higher node id takes the other's snapshot and writes over it again
//! what its rows hold beyond.

use super::{Action, Now, Swap};
use crate::replica::frontier::Frontier;

/// How long after a refusal it is tried again, in milliseconds: another link may be bringing a
/// snapshot, or what is missing.
pub(super) const AGAIN_MS: u64 = 10_000;

/// How long two neither of whom can deliver wait for a third, in milliseconds.
pub(super) const STALEMATE_MS: u64 = 60_000;

/// Since the peer said so.
#[derive(Debug)]
pub(super) struct Needy {
    /// What we had then: the peer has to have it first.
    deliver: Frontier,
    since_us: u64,
    /// When to ask for the one place that an arriving snapshot has.
    due_us: u64,
    asked: bool,
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
            rebases: false,
        }
    }

    /// From when on to ask; `acked` is what the peer has, `yields` whether it can take nothing from
    /// our log and we are the one to yield.
    fn from(&self, acked: &Frontier, yields: bool) -> Option<u64> {
        if self.deliver.is_within(acked) {
            return Some(self.due_us);
        }
        let stalemate = self.since_us + STALEMATE_MS * 1_000;
        yields.then_some(stalemate.max(self.due_us))
    }

    /// What to do next.
    pub fn work(&mut self, now: Now, acked: &Frontier, yields: bool) -> Option<Action> {
        let from = self.from(acked, yields)?;
        if self.asked || now.us < from {
            return None;
        }
        self.asked = true;
        self.rebases = !self.deliver.is_within(acked);
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

    pub fn poll_timeout(&self, acked: &Frontier, yields: bool) -> Option<u64> {
        self.from(acked, yields).filter(|_| !self.asked)
    }
}
