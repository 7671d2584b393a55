//! A member takes a snapshot (contract 7): what its own log holds beyond it goes on over it,
//! verbatim, so that nothing that was committed here is lost and no writer waits for more than the
//! last few transactions.

use std::path::Path;

use super::apart::{self, Apart, apart};
use super::log;
use super::lost;
use super::snapshot::random;
use super::superseded::Other;
use super::writer::Writer;
use super::{Store, StoreError, retention, shown};
use crate::replica::change::Logged;
use crate::replica::frontier::{Frontier, Position};
use crate::replica::session::Swap;
use crate::replica::{Incarnation, fresh_incarnation};

/// About how many bytes of the log are carried over at a time.
const BYTES: usize = 4 << 20;

/// Everything that a writer's database holds, closed incarnations included.
pub(super) fn frontier(writer: &Writer) -> Frontier {
    let mut frontier = log::frontier(&writer.memory.origins);
    frontier.advance(&log::frontier(&writer.memory.closed));
    frontier
}

/// What `old` holds beyond `held`, up to about [`BYTES`].
fn beyond(old: &Writer, held: &Frontier) -> Result<Vec<Logged>, StoreError> {
    let db = &old.db;
    retention::reachable(db, held)?;
    let (ours, end) = (frontier(old), old.memory.position);
    let first = log::start(db, &ours, end, held)?;
    Ok(log::read_after(db, held, first, end, BYTES)?.0)
}

/// Applies to `new` what `old` holds beyond it; returns how many transactions it were.
fn carry(old: &mut Writer, new: &mut Writer) -> Result<usize, StoreError> {
    old.ready()?;
    let batch = beyond(old, &frontier(new))?;
    new.apply(&batch)?;
    Ok(batch.len())
}

/// What lost here was perhaps never compared at the donor, who heard of the two in another order.
fn carry_inbox(old: &Writer, new: &mut Writer) -> Result<(), StoreError> {
    new.atomically(|new| lost::each(&old.db, |lost| lost::keep(&new.db, &lost)))
}

impl Store {
    /// What is here of another history than the snapshot's is issued again under `fresh`, with all
    /// that depends on it: the snapshot's stays, and nothing is compared by number. False where our
    /// log no longer holds all of that: only rows do.
    fn part(&self, new: &mut Writer, fresh: Incarnation) -> Result<bool, StoreError> {
        let mut old = self.writer()?;
        old.ready()?;
        let apart = apart(&mut old, new, &self.inner.carried)?;
        if apart.iter().any(Apart::is_trimmed) {
            return Ok(false);
        }
        // Of the others both hold one history as far as both go.
        let mut shared = frontier(new);
        shared.0.extend(apart.iter().map(|a| (a.origin, a.shared)));
        let issued = match apart.is_empty() {
            true => None,
            false => {
                let ends: Vec<_> = apart.iter().map(|a| (a.origin, a.shared.seq)).collect();
                let other = Other::new(new, &apart);
                let issued = old.reissue(&ends, Some(&other), fresh)?;
                self.history_changed(&frontier(&old));
                Some(issued)
            }
        };
        // Where only rows tell it is noted: they change by what is carried over.
        let one = frontier(&old).0.into_iter();
        let one = one.filter(|(origin, last)| shared.covers(*origin, last.seq));
        apart::remember(&new.db, old.node(), one)?;
        drop(old);
        let Some((count, commit)) = issued else {
            return Ok(true);
        };
        self.outdate_staged();
        self.inner.sync.wait(commit, &self.inner.shown)?;
        self.bump();
        tracing::warn!(
            "the snapshot holds another history than this system of what {} origins wrote (a \
             restored or copied system): {count} transactions were issued again",
            apart.len()
        );
        Ok(true)
    }

    /// Carries over what is here and not in the snapshot, while writers go on; `fresh` is this
    /// node's incarnation afterwards. Returns what is to become of what is here.
    pub(super) fn carry_over(
        &self,
        new: &mut Writer,
        fresh: Incarnation,
    ) -> Result<Swap, StoreError> {
        if !self.part(new, fresh)? {
            return Ok(Swap::Rebase);
        }
        // What our own log holds was taken once, whatever history it names.
        new.trust.all = true;
        loop {
            let batch = {
                let mut old = self.writer()?;
                old.ready()?;
                match beyond(&old, &frontier(new)) {
                    // Another link has just brought again what was taken back: that goes on below,
                    // the writer being held.
                    Err(StoreError::Fork { .. }) => return Ok(Swap::CatchUp),
                    batch => batch?,
                }
            };
            if batch.is_empty() {
                return Ok(Swap::CatchUp);
            }
            new.apply(&batch)?;
        }
    }

    /// Carries over the rest, the writer being held. Returns the incarnation that this system goes
    /// on under.
    pub(super) fn carry_rest(
        &self,
        old: &mut Writer,
        incoming: &Path,
        fresh: Incarnation,
    ) -> Result<Incarnation, StoreError> {
        let (incarnation, clock) = (old.incarnation, old.clock.clone());
        let shown = shown::Shared::default();
        let mut new = Writer::open(incoming, self.inner.node, incarnation, clock, shown)?;
        // Another link may have brought meanwhile what was issued again.
        let apart = apart(old, &new, &self.inner.carried)?;
        if let Some(trimmed) = apart.iter().find(|apart| apart.is_trimmed()) {
            let (origin, seq) = (trimmed.origin, trimmed.shared.seq);
            return Err(StoreError::Fork { origin, seq });
        }
        let fresh = match apart.is_empty() {
            true if incarnation != fresh => fresh,
            // Under that one something was issued again here already: links and blocks of ids that
            // began under it must not go on with another file.
            true => fresh_incarnation(random()?),
            false => {
                let ends: Vec<_> = apart.iter().map(|a| (a.origin, a.shared.seq)).collect();
                let fresh = fresh_incarnation(random()?);
                let before = frontier(old);
                old.reissue(&ends, Some(&Other::new(&new, &apart)), fresh)?;
                self.history_changed(&frontier(old));
                // What went back with that must not have been carried over already.
                let (after, carried) = (frontier(old), frontier(&new));
                let again = |(origin, at): (&Incarnation, &Position)| {
                    let (left, named) = (after.seq(*origin), ends.iter().any(|e| e.0 == *origin));
                    (left < at.seq && !named && carried.seq(*origin) > left).then_some(*origin)
                };
                if let Some(origin) = before.0.iter().find_map(again) {
                    let seq = after.seq(origin);
                    return Err(StoreError::Fork { origin, seq });
                }
                fresh
            }
        };
        new.trust.all = true;
        while carry(old, &mut new)? > 0 {}
        carry_inbox(old, &mut new)?;
        new.fold_wal()?;
        Ok(fresh)
    }
}
