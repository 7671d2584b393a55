//! Which history a transaction was written on (contract 6): what it had seen is named with the
//! chain hash after it, and it is applied only where the same transactions are here under those
//! numbers. Else it would meet rows that its origin never had.

use std::collections::BTreeMap;

use super::log::{self, Origins};
use super::writer::Writer;
use super::{Store, StoreError};
use crate::replica::Incarnation;
use crate::replica::change::{Dep, Transaction};
use crate::replica::frontier::tag;

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
