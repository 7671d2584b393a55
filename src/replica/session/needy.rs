//! A member whose place in the peer's log is gone (contract 7): it first delivers what it has,
//! then takes a snapshot. What it writes meanwhile goes on over it, so no writer waits.

use super::{Action, Now};
use crate::replica::frontier::Frontier;

/// How long after a refusal it is tried again, in milliseconds: another link may be bringing a
/// snapshot, or what is missing.
pub(super) const AGAIN_MS: u64 = 10_000;

/// Since the peer said so.
#[derive(Debug)]
pub(super) struct Needy {
    /// What we had then: the peer has to have it first.
    deliver: Frontier,
    /// When to ask for the one place that an arriving snapshot has.
    due_us: u64,
    asked: bool,
}

impl Needy {
    pub fn new(now: Now, ours: &Frontier) -> Self {
        Needy {
            deliver: ours.clone(),
            due_us: now.us,
            asked: false,
        }
    }

    /// What to do next, `acked` being what the peer has.
    pub fn work(&mut self, now: Now, acked: &Frontier) -> Option<Action> {
        if self.asked || now.us < self.due_us || !self.deliver.is_within(acked) {
            return None;
        }
        self.asked = true;
        Some(Action::Claim)
    }

    /// Somebody else has the place.
    pub fn refused(&mut self, now: Now) {
        self.asked = false;
        self.due_us = now.us + AGAIN_MS * 1_000;
    }

    pub fn poll_timeout(&self, acked: &Frontier) -> Option<u64> {
        (!self.asked && self.deliver.is_within(acked)).then_some(self.due_us)
    }
}
