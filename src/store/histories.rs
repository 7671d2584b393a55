//! Which history a transaction was written on (contract 6): what it had seen is named with the
//! chain hash after it, and it is applied only where the same transactions are here under those
//! numbers. Else it would meet rows that its origin never had.
//!
//! And what it had not seen. Of an incarnation that was folded away everybody once held all, but a
//! transaction may be older than that, or of a system that went back to an old file: so an
//! incarnation's first transaction names what is folded away, too, and who had not seen all of
//! something when that was folded away is remembered here until it names the whole.

use std::collections::BTreeMap;

use super::log::{self, Origin, Origins};
use super::memory::Memory;
use super::writer::Writer;
use super::{Store, StoreError};
use crate::replica::Incarnation;
use crate::replica::change::{Dep, Transaction};
use crate::replica::clock::Stamp;
use crate::replica::frontier::{Frontier, tag};

/// What our last transaction told of others.
#[derive(Default)]
pub(super) struct Told {
    upto: BTreeMap<Incarnation, u64>,
    /// Whether that is all of what is folded away.
    closed: bool,
}

impl Told {
    /// It told all of this.
    pub fn all(frontier: &Frontier) -> Self {
        Told {
            upto: frontier.0.iter().map(|(id, at)| (*id, at.seq)).collect(),
            closed: false,
        }
    }

    /// What there is to tell since.
    pub fn news(&self, memory: &Memory, us: Incarnation) -> Vec<Dep> {
        let closed = (!self.closed).then_some(&memory.closed);
        let others = memory.origins.iter().chain(closed.into_iter().flatten());
        let news = |(id, origin): (&Incarnation, &Origin)| {
            let at = &origin.position;
            let new = *id != us && self.upto.get(id) != Some(&at.seq);
            new.then(|| Dep::new(*id, at))
        };
        others.filter_map(news).collect()
    }

    /// That was told.
    pub fn tell(&mut self, news: &[Dep]) {
        self.upto
            .extend(news.iter().map(|dep| (dep.origin, dep.seq)));
        self.closed = true;
    }

    /// Something was folded away, perhaps before all of it was told.
    pub fn folded_away(&mut self) {
        self.closed = false;
    }
}

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

/// What an arriving transaction had seen, of which its origin has learnt.
pub(super) struct Seen<'a> {
    origins: &'a Origins,
    closed: &'a Origins,
    transaction: &'a Transaction,
}

impl<'a> Seen<'a> {
    pub fn new(origins: &'a Origins, closed: &'a Origins, transaction: &'a Transaction) -> Self {
        Seen {
            origins,
            closed,
            transaction,
        }
    }

    fn deps(&self) -> Option<&'a BTreeMap<Incarnation, u64>> {
        let origin = self.origins.get(&self.transaction.origin);
        origin.map(|origin| &origin.deps)
    }

    /// Whether it had seen a version.
    pub fn covers(&self, stamp: Stamp) -> bool {
        if stamp.origin == self.transaction.origin {
            return stamp.seq <= self.transaction.seq;
        }
        match self.deps().and_then(|deps| deps.get(&stamp.origin)) {
            Some(seen) => *seen >= stamp.seq,
            None => self.closed.contains_key(&stamp.origin),
        }
    }

    /// Whether it had seen all that is here.
    pub fn covers_all(&self) -> bool {
        let Some(deps) = self.deps() else {
            return false;
        };
        let mut others = self.origins.iter();
        let seen = |id: &Incarnation| deps.get(id).copied().unwrap_or(0);
        let us = self.transaction.origin;
        others.all(|(id, origin)| *id == us || seen(id) >= origin.position.seq)
            && !deps.keys().any(|id| self.closed.contains_key(id))
    }
}

impl Writer {
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
