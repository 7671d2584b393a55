//! What this system stamped with a clock that was ahead, and what left its log before anybody took
//! it (contracts 7 and 10): no log tells of it, and with such stamps no peer takes a snapshot. Only
//! rows and declarations hold it, so it is stamped anew from those. Its numbers stay in use: who
//! lacks them takes a snapshot.

use std::collections::BTreeMap;

use super::Suffix;
use crate::replica::Incarnation;
use crate::replica::change::Body;
use crate::replica::clock::{Hlc, Stamp};
use crate::replica::value::decode_key;
use crate::store::writer::Writer;
use crate::store::{StoreError, clocks, declare, retention};

/// Which versions are stamped anew, though the log does not hold them.
#[derive(Default)]
pub(super) struct Unread {
    /// Per origin of ours the last number that anybody took.
    pub after: BTreeMap<Incarnation, u64>,
    /// The stamps beyond this.
    pub limit: Hlc,
    /// How many transactions they were.
    pub count: u64,
}

impl Unread {
    pub fn holds(&self, stamp: &Stamp) -> bool {
        let after = self.after.get(&stamp.origin);
        stamp.hlc > self.limit && after.is_some_and(|after| stamp.seq > *after)
    }
}

impl Writer {
    /// Adds what rows and declarations hold of it to what is issued again.
    pub(super) fn gather_unread(&self, suffix: &mut Suffix) -> Result<(), StoreError> {
        if suffix.unread.after.is_empty() {
            return Ok(());
        }
        for made in declare::known(&self.db)? {
            if suffix.unread.holds(&made.is.stamp) && !made.sql.is_empty() {
                let body = Body::Schema {
                    sql: made.sql,
                    keys: made.keys,
                    id: made.is.id,
                    on: made.is.on.into_iter().collect(),
                };
                suffix.schemas.push((made.is.stamp, body));
            }
        }
        for table in &self.tables {
            clocks::each(&self.db, table.id, &[], None, |encoded, clock| {
                let mut stamps = clock.columns.iter().map(|column| &column.1);
                if suffix.unread.holds(&clock.row) || stamps.any(|at| suffix.unread.holds(at)) {
                    let Some(key) = decode_key(&encoded) else {
                        return Err(StoreError::Damaged("a row's key".into()));
                    };
                    suffix.keys.insert((table.tid, encoded), key);
                }
                Ok(true)
            })?;
        }
        Ok(())
    }

    /// No version that is left has these origins' last stamps: nobody's clock is to be moved by
    /// them.
    pub(super) fn lower_unread(&mut self, suffix: &mut Suffix) -> Result<(), StoreError> {
        let now = Hlc::default().tick((self.clock)());
        for origin in suffix.unread.after.keys() {
            if let Some((position, hlc, deps)) = retention::base(&self.db, *origin)? {
                let base = (position, hlc.min(now), deps);
                retention::save_base(&self.db, *origin, &base)?;
            }
            let known = self.memory.origins.get_mut(origin);
            for known in known.into_iter().chain(suffix.kept.get_mut(origin)) {
                known.hlc = known.hlc.min(now);
            }
        }
        Ok(())
    }
}
