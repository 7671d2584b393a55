//! Issuing transactions again under a fresh incarnation: the unshared end of a history that
//! forked, or what was stamped by a clock that was wrong (contracts 6 and 10).
//!
//! What is issued is what the rows hold now of those transactions: a cell that something later
//! has overwritten is not brought back. What lost against one of them, or as one, is told first:
//! whoever takes what is issued compares with that only what was not in sight here. The old numbers
//! are free again afterwards, and whoever has another history of them tells it as that
//! incarnation's.

use std::collections::{BTreeMap, HashSet};

use rusqlite::params;

use super::carry::frontier;
use super::log::{self, Origin, Origins, sqlite};
use super::lost::WHOLE;
use super::superseded::Other;
use super::writer::Writer;
use super::{Store, StoreError, apart, keys, lock, lost, retention};
use crate::replica::Incarnation;
use crate::replica::change::{Body, Dep, Head};
use crate::replica::clock::{Hlc, Stamp};
use crate::replica::conflict::Conflict;
use crate::replica::fork;
use crate::replica::frontier::Position;
use crate::replica::schema::DeclarationId;
use crate::replica::value::{Value, encode_key};

mod issue;
mod restamp;
mod unread;

pub(super) use issue::{CHUNK, again, size_of};
use unread::Unread;

/// The end of a history, taken out of the log.
struct Suffix {
    /// Per origin the last number that stays: of the one whose history ends here, and of those
    /// that depend on what goes.
    after: BTreeMap<Incarnation, u64>,
    /// The origins without what goes, as far as the log tells of them.
    kept: Origins,
    /// Declarations, with their stamps.
    schemas: Vec<(Stamp, Body)>,
    keys: BTreeMap<(DeclarationId, Vec<u8>), Vec<Value>>,
    positions: Vec<i64>,
    /// What is issued again though it had left the log already.
    unread: Unread,
    /// What lost against, or as, one of these: what they told of it themselves first.
    lost: Vec<Conflict>,
}

impl Suffix {
    /// Whether a version is one of those that are issued again.
    fn renews(&self, stamp: &Stamp) -> bool {
        self.holds(stamp) || self.unread.holds(stamp)
    }

    fn holds(&self, stamp: &Stamp) -> bool {
        self.ends_before(stamp.origin, stamp.seq)
    }

    /// Whether an origin is left without this number.
    fn ends_before(&self, origin: Incarnation, seq: u64) -> bool {
        self.after.get(&origin).is_some_and(|after| seq > *after)
    }

    /// Whether a logged transaction goes, by its number or by what it depends on.
    fn takes(&mut self, stamp: &Stamp, head: &Head) -> bool {
        let gone = |dep: &Dep| self.ends_before(dep.origin, dep.seq);
        if !self.holds(stamp) && head.deps.iter().any(gone) {
            self.after.insert(stamp.origin, stamp.seq - 1);
        }
        self.holds(stamp)
    }
}

impl Store {
    /// Some of an origin's chain hashes, the latest first, to find out where its history parts from
    /// one of which `upto` is known.
    pub fn chains(&self, origin: Incarnation, upto: u64) -> Result<Vec<Position>, StoreError> {
        let last = self.frontier().seq(origin);
        let closed = lock(&self.inner.shown).closed.0.get(&origin).copied();
        self.read(|reader| {
            let db = reader.connection;
            let mut found: Vec<Position> = Vec::new();
            for seq in fork::told(last, upto) {
                if let Some(chain) = log::chain_at(db, origin, seq)? {
                    found.push(Position { seq, chain });
                }
            }
            // Where it was trimmed, all of it where it is closed, or the start.
            let trimmed = retention::last_gone(db, origin)?;
            let base = trimmed.or(closed).unwrap_or_default();
            if found.last() != Some(&base) {
                found.push(base);
            }
            Ok(found)
        })
    }

    /// Takes transactions of `origin` beyond `after` back, and all that depend on them, but for
    /// what was trimmed and so is at every peer, and issues what they wrote again under `fresh`,
    /// which is this node's incarnation from then on. Durable when it returns; returns how many
    /// transactions were taken back.
    pub fn reissue(
        &self,
        origin: Incarnation,
        after: u64,
        fresh: Incarnation,
    ) -> Result<usize, StoreError> {
        let (count, commit) = {
            let mut writer = self.writer()?;
            let issued = writer.reissue(&[(origin, after)], None, fresh)?;
            self.history_changed(&frontier(&writer));
            issued
        };
        self.outdate_staged();
        self.inner.sync.wait(commit, &self.inner.shown)?;
        self.bump();
        Ok(count)
    }
}

impl Writer {
    /// `over` is the database that is about to take this one's place.
    pub(super) fn reissue(
        &mut self,
        ends: &[(Incarnation, u64)],
        over: Option<&Other<'_>>,
        fresh: Incarnation,
    ) -> Result<(usize, u64), StoreError> {
        self.renew_ends(ends, over, Unread::default(), fresh)
    }

    fn renew_ends(
        &mut self,
        ends: &[(Incarnation, u64)],
        over: Option<&Other<'_>>,
        unread: Unread,
        fresh: Incarnation,
    ) -> Result<(usize, u64), StoreError> {
        self.fold_now()?;
        let result = self.applying(|writer| {
            let mut suffix = writer.suffix(ends, unread)?;
            writer.lower_unread(&mut suffix)?;
            let hlc = writer.take_back(&suffix)?;
            let told = writer.issue(&mut suffix, over, (hlc, fresh))?;
            Ok((suffix.positions.len(), hlc, told))
        });
        // Memory is read anew from what is there now, whether it worked or not.
        self.set_stale();
        let (count, hlc, told) = result?;
        self.renew(fresh, hlc, &told);
        // The ids that the other history hands out come from the old incarnation's blocks.
        keys::start(&self.db, &self.capture, fresh)?;
        self.ready()?;
        Ok((count, self.show_all()))
    }

    /// Reads the ends of histories, each beyond a number, and everything that depends on them.
    fn suffix(&self, ends: &[(Incarnation, u64)], unread: Unread) -> Result<Suffix, StoreError> {
        let base = |origin| retention::base(&self.db, origin);
        let mut from = BTreeMap::new();
        for (origin, after) in ends {
            // What was trimmed is at every peer.
            let trimmed = retention::last_gone(&self.db, *origin)?.map_or(0, |at| at.seq);
            from.insert(*origin, trimmed.max(*after));
        }
        let mut suffix = Suffix {
            after: from,
            kept: BTreeMap::new(),
            schemas: Vec::new(),
            keys: BTreeMap::new(),
            positions: Vec::new(),
            unread,
            lost: Vec::new(),
        };
        self.gather_unread(&mut suffix)?;
        log::walk(&self.db, 0, |entry| {
            let transaction = entry.transaction;
            let stamp = transaction.stamp();
            if !suffix.kept.contains_key(&stamp.origin) {
                let (position, hlc, deps) = base(stamp.origin)?.unwrap_or_default();
                // What left the log may have named what goes, and what follows does not again.
                if deps.iter().any(|(id, seq)| suffix.ends_before(*id, *seq)) {
                    suffix.after.insert(stamp.origin, stamp.seq - 1);
                }
                let node = self.memory.origins.get(&stamp.origin).and_then(|o| o.node);
                let mut origin = Origin {
                    node,
                    position,
                    hlc,
                    deps,
                };
                origin.fold_away(&self.memory.closed);
                suffix.kept.insert(stamp.origin, origin);
            }
            if !suffix.takes(&stamp, &transaction.head) {
                let kept = suffix.kept.entry(stamp.origin).or_default();
                kept.learn(stamp.seq, &transaction.head, &self.memory.closed);
                kept.advance(stamp.seq, stamp.hlc, entry.chain);
                return Ok(true);
            }
            suffix.positions.push(entry.position);
            match transaction.body {
                body @ Body::Schema { .. } => suffix.schemas.push((stamp, body)),
                Body::Lost(lost) => suffix.lost.extend(lost),
                Body::Rows(changes) => {
                    for change in changes.parts() {
                        let change = change?.into_owned();
                        // What a table would hold that is not here lies in the inbox; it is
                        // not this system's to issue, for its own rows would lack it.
                        if !self.tables.iter().any(|table| table.tid == change.table) {
                            continue;
                        }
                        for row in change.rows {
                            let name = (change.table, encode_key(&row.key));
                            suffix.keys.insert(name, row.key);
                        }
                    }
                }
            }
            Ok(true)
        })?;
        lost::each(&self.db, |lost| {
            // A whole row names neither the DROP that it met nor all the versions that it holds.
            let whole = lost.column == WHOLE;
            if whole || suffix.renews(&lost.winner) || suffix.renews(&lost.loser) {
                suffix.lost.push(lost);
            }
            Ok(())
        })?;
        let mut told = HashSet::new();
        suffix.lost.retain(|lost| told.insert(lost.id()));
        Ok(suffix)
    }

    /// Removes the suffix from the log; returns the stamp of what is issued in its place.
    fn take_back(&mut self, suffix: &Suffix) -> Result<Hlc, StoreError> {
        for position in &suffix.positions {
            self.db
                .prepare_cached("DELETE FROM _tutti_log WHERE position = ?")?
                .execute([position])?;
        }
        for (origin, after) in &suffix.after {
            self.db.execute(
                "DELETE FROM _tutti_index WHERE origin = ? AND seq > ?",
                params![sqlite(*origin), sqlite(*after)],
            )?;
            apart::forget(&self.db, *origin, *after)?;
            match suffix.kept.get(origin).filter(|kept| kept.position.seq > 0) {
                Some(kept) => {
                    self.memory.origins.insert(*origin, kept.clone());
                }
                // Nothing of it is in the log: it stays as it is, or never was.
                None if *after > 0 => {}
                None => {
                    self.memory.origins.remove(origin);
                    let sql = "DELETE FROM _tutti_origin WHERE origin = ?";
                    self.db.execute(sql, [sqlite(*origin)])?;
                }
            }
        }
        // Whatever is issued now was written with all that is left in sight.
        let (origins, closed) = (&self.memory.origins, &self.memory.closed);
        let left = origins.values().chain(closed.values());
        let latest = left.map(|origin| origin.hlc).max();
        Ok(latest.unwrap_or_default().tick((self.clock)()))
    }
}

#[cfg(test)]
mod tests;
