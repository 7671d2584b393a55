//! Transactions stamped too far ahead wait in memory; what a restart or a cut loses of them is
//! sent again, because it was never acknowledged.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::{Store, StoreError, lock, log};
use crate::replica::change::Logged;
use crate::replica::frontier::Frontier;
use crate::replica::skew::{Ahead, limit};
use crate::replica::{Incarnation, NodeId};
use crate::wire::replication::MAX_ORIGINS;

/// From so many bytes on transactions come in bulk.
const BULK: u64 = 16 << 10;

impl Store {
    /// Applies a peer's transactions in order, durably; those held already are skipped, those
    /// stamped too far ahead wait. Returns the frontier after it, closed incarnations left out.
    pub fn apply(&self, transactions: &[Logged]) -> Result<Frontier, StoreError> {
        Ok(self.take(None, transactions, true)?.0)
    }

    /// As [`Store::apply`], while this system's incarnation is still the one `under` which its link
    /// began: else another database or history may have taken the place of the one that the peer's
    /// hello was judged by, and nothing is applied. Of 16 KiB or more it does not wait until they
    /// are on disk and says so: then [`Store::flush`] is owed, one for several of them.
    pub fn apply_gathering(
        &self,
        under: Incarnation,
        transactions: &[Logged],
    ) -> Result<(Frontier, bool), StoreError> {
        let size: u64 = transactions.iter().map(|logged| logged.bytes.size()).sum();
        self.take(Some(under), transactions, size < BULK)
    }

    /// The frontier afterwards, and whether a flush is owed.
    pub(super) fn take(
        &self,
        under: Option<Incarnation>,
        transactions: &[Logged],
        durably: bool,
    ) -> Result<(Frontier, bool), StoreError> {
        let commit = self.commit(under, transactions)?;
        if let Some(commit) = commit {
            if durably {
                self.durable(commit)?;
            }
            self.bound_inbox();
        }
        Ok((self.open_frontier(), commit.is_some() && !durably))
    }

    fn commit(
        &self,
        under: Option<Incarnation>,
        transactions: &[Logged],
    ) -> Result<Option<u64>, StoreError> {
        let mut writer = self.writer()?;
        if under.is_some_and(|under| under != writer.incarnation) {
            return Ok(None);
        }
        writer.ready()?;
        let (ready, waited) = {
            let memory = &writer.memory;
            let mut held = log::frontier(&memory.origins);
            held.advance(&log::frontier(&memory.closed));
            let known = |id: &Incarnation| memory.origins.get(id).or(memory.closed.get(id));
            let at = |id: Incarnation| known(&id).map(|origin| origin.hlc);
            let bound = self.inner.clock_bound.load(Ordering::Relaxed);
            let limit = limit((writer.clock)(), bound);
            let waiting = &mut lock(&self.inner.waiting);
            let origins = transactions.iter().map(|logged| logged.origin);
            let fresh: BTreeSet<Incarnation> = origins
                .filter(|id| known(id).is_none() && !waiting.names(*id))
                .collect();
            if !fresh.is_empty() && held.0.len() + waiting.beside(&held) + fresh.len() > MAX_ORIGINS
            {
                // A hello has to name them all; what waits is to be no way around that.
                return Err(StoreError::Peer(format!(
                    "a transaction beyond {MAX_ORIGINS} incarnations"
                )));
            }
            let (quiet, full) = (waiting.is_empty(), waiting.is_full());
            let released = waiting.released();
            let passes = waiting.passes(transactions, &held, at, limit);
            let ready = (!passes).then(|| waiting.admit(transactions, &held, at, limit));
            let waited = waiting.released() != released;
            let news = if quiet { waiting.ahead(at) } else { Vec::new() };
            for ahead in news {
                let (origin, seq) = (ahead.origin, ahead.seq);
                let ms = ahead.hlc.millis().saturating_sub((writer.clock)());
                tracing::warn!(
                    "transaction {seq} of origin {origin:016x} is stamped {ms} ms ahead of this \
                     system's clock and waits: check the time of both systems"
                );
            }
            if !full && waiting.is_full() {
                tracing::warn!(
                    "more waits for clocks to agree than there is room for: the rest comes when \
                     half of it is done"
                );
            }
            (ready, waited)
        };
        let applied = writer.apply(ready.as_deref().unwrap_or(transactions));
        // Of what had waited other links believe that it is here; the batch comes again.
        if applied.is_err() && waited {
            lock(&self.inner.waiting).failed();
        }
        applied
    }

    /// Whether nobody has undertaken yet to flush soon; who asks undertakes it.
    pub fn undertake_flush(&self) -> bool {
        !self.inner.flushing.swap(true, Ordering::AcqRel)
    }

    /// Flushes for all who owe it.
    pub fn flush_owed(&self) -> Result<(), StoreError> {
        // Who commits from now on undertakes it anew.
        self.inner.flushing.store(false, Ordering::Release);
        self.flush()
    }

    /// Whether anything waits for the clock.
    pub fn waits(&self) -> bool {
        !lock(&self.inner.waiting).is_empty()
    }

    /// Changes when something that waited was dropped: links end then, and new ones bring it.
    pub fn dropped(&self) -> u64 {
        lock(&self.inner.waiting).dropped()
    }

    /// Applies what waited for the clock and is due; `None`: nothing was.
    pub fn release(&self) -> Result<Option<Frontier>, StoreError> {
        if lock(&self.inner.waiting).is_empty() {
            return Ok(None);
        }
        let before = self.frontier();
        self.apply(&[])?;
        let after = self.frontier();
        Ok((before != after).then_some(after))
    }

    /// The first transaction of each origin that waits because it is stamped too far ahead.
    pub fn ahead(&self) -> Result<Vec<Ahead>, StoreError> {
        let writer = self.writer()?;
        let at = |id: Incarnation| writer.memory.origins.get(&id).map(|origin| origin.hlc);
        Ok(lock(&self.inner.waiting).ahead(at))
    }

    /// The node that an incarnation is of, as far as what is here or waits tells.
    pub fn owner(&self, origin: Incarnation) -> Result<Option<NodeId>, StoreError> {
        let writer = self.writer()?;
        let memory = &writer.memory;
        let known = memory.origins.get(&origin).or(memory.closed.get(&origin));
        let node = known.and_then(|known| known.node);
        Ok(node.or_else(|| lock(&self.inner.waiting).node(origin)))
    }

    /// Sets how far ahead of our wall clock a stamp may be, in milliseconds.
    pub fn set_clock_bound(&self, bound_ms: u64) {
        self.inner.clock_bound.store(bound_ms, Ordering::Relaxed);
    }

    /// A node said hello with all it holds. What waits of its own incarnations and it no longer
    /// has, it stamped anew.
    pub(super) fn heard_all(&self, node: NodeId, frontier: &Frontier) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        writer.ready()?;
        let waiting = &mut lock(&self.inner.waiting);
        for origin in waiting.origins() {
            let known = writer.memory.origins.get(&origin);
            let owner = known.and_then(|known| known.node).or(waiting.node(origin));
            if owner == Some(node) {
                waiting.forget(origin, frontier.seq(origin));
            }
        }
        Ok(())
    }
}
