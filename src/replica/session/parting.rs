//! One origin with two histories (contract 6, `replica::fork`): both sides tell chain hashes, one
//! of them yields and issues its part again. The link ends with it and the next one goes on.
//!
//! Where a log does not go back to where they part, that cannot be: who yields takes the other's
//! snapshot on this link, as of two that gave each other up.

use super::needy::AGAIN_MS;
use super::{Action, Now, SessionError};
use crate::replica::Incarnation;
use crate::replica::fork;
use crate::replica::frontier::Position;
use crate::wire::replication::Frame;

/// How long two sides may take to settle it, in milliseconds.
pub(super) const PARTING_MS: u64 = 120_000;

#[derive(Debug)]
pub(super) struct Parting {
    origin: Incarnation,
    /// Whether the peer's node id is the lower one.
    peer_is_lower: bool,
    ours: Option<Vec<Position>>,
    theirs: Option<Vec<Position>>,
    /// When it ends, settled or not.
    until_us: u64,
    /// Neither side can yield.
    failed: Option<SessionError>,
    /// Only a snapshot helps.
    snapshot: Option<Snapshot>,
}

/// Whose snapshot goes to whom, where a log does not go back to where two histories part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Snapshot {
    /// We take the peer's.
    Take,
    /// The peer takes ours.
    Give,
}

impl Parting {
    pub fn new(now: Now, origin: Incarnation, peer_is_lower: bool) -> Self {
        Parting {
            origin,
            peer_is_lower,
            ours: None,
            theirs: None,
            until_us: now.us + PARTING_MS * 1_000,
            failed: None,
            snapshot: None,
        }
    }

    /// Who takes a snapshot, once both are known and where only that helps.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.snapshot
    }

    /// The place that an arriving snapshot has is another link's: the next link tries again, after
    /// a while.
    pub fn refused(&mut self, now: Now) {
        let (origin, last) = (
            self.origin,
            self.ours.as_ref().and_then(|ours| ours.first()),
        );
        let seq = last.map_or(0, |last| last.seq);
        self.failed = Some(SessionError::Fork { origin, seq });
        self.until_us = now.us + AGAIN_MS * 1_000;
    }

    /// Whose histories they are.
    pub fn origin(&self) -> Incarnation {
        self.origin
    }

    /// The peer's hashes.
    pub fn heard(&mut self, origin: Incarnation, theirs: Vec<Position>) -> Option<Action> {
        if origin != self.origin {
            return None;
        }
        self.theirs = Some(theirs);
        self.decide()
    }

    /// Our hashes, to be told.
    pub fn read(
        &mut self,
        origin: Incarnation,
        ours: Vec<Position>,
    ) -> Option<(Frame, Option<Action>)> {
        if origin != self.origin {
            return None;
        }
        let chains = ours.iter().map(|p| (p.seq, p.chain)).collect();
        self.ours = Some(ours);
        Some((Frame::Chains { origin, chains }, self.decide()))
    }

    /// With both known: whether we yield, and from where on.
    fn decide(&mut self) -> Option<Action> {
        let (ours, theirs) = (self.ours.as_ref()?, self.theirs.as_ref()?);
        let origin = self.origin;
        let after = fork::common(ours, theirs);
        let lower = self.peer_is_lower;
        let yields = fork::yields(ours, theirs, after, lower);
        if fork::is_gone(ours, theirs, after) {
            self.snapshot = Some(match yields {
                true => Snapshot::Take,
                false => Snapshot::Give,
            });
            return None;
        }
        let mine = ours.first().map_or(0, |last| last.seq);
        let theirs_ends = theirs.first().is_some_and(|last| last.seq == after);
        if yields {
            return Some(Action::Reissue { origin, after });
        }
        let waits = fork::yields(theirs, ours, after, !lower) || (theirs_ends && mine > after);
        if !waits {
            let seq = mine;
            self.failed = Some(SessionError::Fork { origin, seq });
            self.until_us = 0;
        }
        // One is a part of the other: what names another history was written before that.
        let one = theirs_ends || after == mine;
        one.then_some(Action::Trust {
            origin,
            upto: after,
        })
    }

    pub fn poll_timeout(&self) -> u64 {
        self.until_us
    }

    pub fn handle_timeout(&self, now: Now) -> Result<(), SessionError> {
        match &self.failed {
            _ if now.us < self.until_us => Ok(()),
            Some(error) => Err(error.clone()),
            None => Err(SessionError::Stalled),
        }
    }
}
