//! Which history a transaction was written on (contract 6): what it had seen is named with the
//! chain hash after it, and it is applied only where the same transactions are here under those
//! numbers. Else it would meet rows that its origin never had.
//!
//! And what it had not seen: an incarnation that was folded away is named by nobody any more, and
//! whoever writes has seen all of it, but for a system that went back to an old file, and for one
//! that is on no list any more, of which something waits here for the clock.

use std::collections::{BTreeMap, BTreeSet};

use super::log::{self, Origins};
use super::writer::Writer;
use super::{Store, StoreError};
use crate::replica::change::{Dep, Transaction};
use crate::replica::clock::Stamp;
use crate::replica::frontier::{Frontier, tag};
use crate::replica::{Incarnation, NodeId};

/// What is taken whatever history it names.
#[derive(Default)]
pub(super) struct Trust {
    /// What our own log holds was taken once, and goes on over a snapshot.
    pub all: bool,
    /// Per origin the number up to which we and a peer were found to hold one history.
    upto: BTreeMap<Incarnation, u64>,
}

impl Trust {
    fn covers(&self, dep: &Dep) -> bool {
        self.all
            || self
                .upto
                .get(&dep.origin)
                .is_some_and(|upto| dep.seq <= *upto)
    }
}

/// Per node, how much it holds of closed incarnations that it does not hold all of.
pub(super) type Behind = BTreeMap<NodeId, BTreeMap<Incarnation, u64>>;

impl Store {
    /// A peer has a transaction that names another history of `origin` than the one that we both
    /// hold up to `seq`: whoever wrote it took that history back since. From now on, until the
    /// store is opened again, such transactions are merged as they are.
    pub fn trust(&self, origin: Incarnation, seq: u64) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        let upto = writer.trust.upto.entry(origin).or_default();
        *upto = seq.max(*upto);
        Ok(())
    }
}

/// What an arriving transaction had seen.
pub(super) struct Seen<'a> {
    origins: &'a Origins,
    transaction: &'a Transaction,
    behind: Option<&'a BTreeMap<Incarnation, u64>>,
}

impl<'a> Seen<'a> {
    pub fn new(
        origins: &'a Origins,
        transaction: &'a Transaction,
        behind: Option<&'a BTreeMap<Incarnation, u64>>,
    ) -> Self {
        Seen {
            origins,
            transaction,
            behind,
        }
    }

    /// Whether it had seen a version.
    pub fn covers(&self, stamp: Stamp) -> bool {
        let (origins, transaction) = (self.origins, self.transaction);
        if stamp.origin == transaction.origin {
            return stamp.seq <= transaction.seq;
        }
        if !origins.contains_key(&stamp.origin) {
            // A closed incarnation. Whoever saw a version stamped later than that; what goes on
            // under a closed incarnation may have been written long ago.
            if stamp.hlc >= transaction.hlc {
                return false;
            }
            let held = self.behind.and_then(|behind| behind.get(&stamp.origin));
            return held.is_none_or(|held| stamp.seq <= *held);
        }
        let origin = origins.get(&transaction.origin);
        let seen = origin.and_then(|origin| origin.deps.get(&stamp.origin));
        seen.is_some_and(|seen| *seen >= stamp.seq)
    }
}

impl Writer {
    /// A node has told all it holds.
    pub fn note_behind(&mut self, node: NodeId, frontier: &Frontier) {
        let closed = self.memory.closed.iter();
        let lacks = closed.filter(|(id, at)| !frontier.covers(**id, at.position.seq));
        let lacks: BTreeMap<_, _> = lacks.map(|(id, _)| (*id, frontier.seq(*id))).collect();
        match lacks.is_empty() {
            true => self.behind.remove(&node),
            false => self.behind.insert(node, lacks),
        };
    }

    /// What of these nodes waits here may have been written before they took what is folded away.
    pub(super) fn note_unasked(&mut self, away: &Origins, nodes: &BTreeSet<NodeId>) {
        for node in nodes {
            let behind = self.behind.entry(*node).or_default();
            behind.extend(away.keys().map(|origin| (*origin, 0)));
        }
    }

    /// What of closed incarnations a transaction's node does not hold all of.
    pub(super) fn lacks<'a>(
        &'a self,
        origins: &Origins,
        transaction: &Transaction,
    ) -> Option<&'a BTreeMap<Incarnation, u64>> {
        let known = origins.get(&transaction.origin);
        let node = known.and_then(|known| known.node);
        self.behind.get(&node.or(transaction.head.node)?)
    }

    /// Refuses what depends on transactions of another history than what is here under their
    /// numbers. What left the log was the same at every peer.
    pub(super) fn check_histories(
        &self,
        origins: &Origins,
        transaction: &Transaction,
    ) -> Result<(), StoreError> {
        for dep in &transaction.head.deps {
            let Some(known) = origins.get(&dep.origin) else {
                continue;
            };
            if dep.seq == 0 || self.trust.covers(dep) {
                continue;
            }
            let chain = match known.position.seq == dep.seq {
                true => Some(known.position.chain),
                false => log::known_chain(&self.db, dep.origin, dep.seq)?,
            };
            if chain.is_some_and(|chain| tag(&chain) != dep.tag) {
                let (origin, seq) = (dep.origin, dep.seq);
                return Err(StoreError::Fork { origin, seq });
            }
        }
        Ok(())
    }
}
