//! Issuing transactions again under a fresh incarnation: the unshared end of a history that
//! forked, or what was stamped by a clock that was wrong (contracts 6 and 10).
//!
//! What is issued is what the rows hold now of those transactions: a cell that something later
//! has overwritten is not brought back. The old numbers are free again afterwards, and whoever
//! has another history of them tells it as that incarnation's.

use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::apply::remove;
use super::capture::current;
use super::log::{self, Origin, Origins, sqlite};
use super::ranges::copy;
use super::schema::Table;
use super::settle::Settle;
use super::writer::Writer;
use super::{Store, StoreError, apart, declare, keys, lock, retention};
use crate::replica::Incarnation;
use crate::replica::change::{
    Body, Dep, Head, Logged, RowChange, RowWrite, TableChange, Transaction,
};
use crate::replica::clock::{Hlc, RowClock, Stamp};
use crate::replica::fork;
use crate::replica::frontier::{Frontier, Position};
use crate::replica::schema::DeclarationId;
use crate::replica::skew::limit;
use crate::replica::value::{Value, encode_key};

mod unread;

use unread::Unread;

/// About how many bytes of rows go into one transaction that is issued again.
pub(super) const CHUNK: usize = 4 << 20;

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
}

impl Suffix {
    /// Whether a version is one of those that are issued again.
    fn renews(&self, stamp: &Stamp) -> bool {
        self.holds(stamp) || self.unread.holds(stamp)
    }

    fn holds(&self, stamp: &Stamp) -> bool {
        let after = self.after.get(&stamp.origin);
        after.is_some_and(|after| stamp.seq > *after)
    }

    /// Whether a logged transaction goes, by its number or by what it depends on.
    fn takes(&mut self, stamp: &Stamp, head: &Head) -> bool {
        let after = &self.after;
        let gone = |dep: &Dep| after.get(&dep.origin).is_some_and(|last| dep.seq > *last);
        if !self.holds(stamp) && head.deps.iter().any(gone) {
            self.after.insert(stamp.origin, stamp.seq - 1);
        }
        self.holds(stamp)
    }
}

impl Store {
    /// Some of an origin's chain hashes, the latest first, to find out where histories part.
    pub fn chains(&self, origin: Incarnation) -> Result<Vec<Position>, StoreError> {
        let last = self.frontier().seq(origin);
        let closed = lock(&self.inner.shown).closed.0.get(&origin).copied();
        self.read(|reader| {
            let db = reader.connection;
            let mut found: Vec<Position> = Vec::new();
            for seq in fork::probes(last) {
                if let Some(chain) = log::chain_at(db, origin, seq)? {
                    found.push(Position { seq, chain });
                }
            }
            // Where it was trimmed, all of it where it is closed, or the start.
            let trimmed = retention::base(db, origin)?.map(|base| base.0);
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
        let (count, commit) = self.writer()?.reissue(&[(origin, after)], fresh)?;
        self.outdate_staged();
        self.inner.sync.wait(commit, &self.inner.shown)?;
        self.bump();
        Ok(count)
    }

    /// After this system's clock was set right: what its transactions that nobody can have taken,
    /// because they are stamped beyond the bound, wrote is stamped anew. `fresh` makes random
    /// incarnations. Returns how many transactions it were.
    pub fn restamp(&self, fresh: impl FnOnce() -> Incarnation) -> Result<usize, StoreError> {
        let node = self.node();
        let bound = &self.inner.clock_bound;
        let bound = bound.load(std::sync::atomic::Ordering::Relaxed);
        let mut writer = self.writer()?;
        writer.ready()?;
        let now = (writer.clock)();
        // What peers stamped stays, and ours is stamped after it. While this clock was far ahead,
        // stamps of peers that are a little ahead were taken, too.
        let origins = &writer.memory.origins;
        let others = origins.values().filter(|known| known.node != Some(node));
        let others = others.chain(writer.memory.closed.values());
        let mut stays = others.map(|known| known.hlc).max().unwrap_or_default();
        let limit = limit(now, bound).max(stays);
        let (mut ends, mut goes) = (Vec::new(), Hlc(u64::MAX));
        let mut unread = Unread {
            limit,
            ..Unread::default()
        };
        for (id, known) in origins {
            if known.hlc <= limit || known.node != Some(node) {
                continue;
            }
            // A peer whose clock was as wrong may have taken some: those stay.
            let (taken, all_spoke) = {
                let retention = &lock(&self.inner.kept).retention;
                (retention.taken(*id, known.position), retention.all_spoke())
            };
            // So does what left the log, unless every peer has said that it is not there.
            let gone = retention::base(&writer.db, *id)?.filter(|base| base.1 > limit);
            let gone = gone.map_or(Hlc::default(), |(last, hlc, _)| {
                if last.seq <= taken || !all_spoke {
                    return hlc;
                }
                unread.after.insert(*id, taken);
                unread.count += last.seq - taken;
                Hlc::default()
            });
            stays = stays.max(gone);
            let beyond = writer.first_beyond(*id, limit)?;
            let first = beyond.max(taken + 1);
            if beyond == 0 || first > known.position.seq {
                if !unread.after.contains_key(id) {
                    stays = stays.max(known.hlc);
                }
                continue;
            }
            ends.push((*id, first - 1));
            goes = goes.min(writer.stamped(*id, first)?);
            if beyond < first {
                stays = stays.max(writer.stamped(*id, taken)?);
            }
        }
        let helps = match unread.after.is_empty() {
            true => !ends.is_empty() && goes > stays.tick(now),
            false => stays <= limit,
        };
        if !helps {
            // Nothing to do, or nothing would be stamped earlier than it is.
            return Ok(0);
        }
        let gone = unread.count as usize;
        let (count, commit) = writer.renew_ends(&ends, unread, fresh())?;
        let count = count + gone;
        drop(writer);
        self.outdate_staged();
        self.inner.sync.wait(commit, &self.inner.shown)?;
        self.bump();
        Ok(count)
    }
}

impl Writer {
    fn first_beyond(&self, origin: Incarnation, limit: Hlc) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(min(seq), 0) FROM _tutti_log WHERE origin = ? AND hlc > ?";
        let first = self
            .db
            .query_row(sql, params![sqlite(origin), sqlite(limit.0)], |row| {
                row.get::<_, i64>(0)
            })?;
        Ok(first as u64)
    }

    /// The stamp of a logged transaction; the lowest where it is not there.
    fn stamped(&self, origin: Incarnation, seq: u64) -> Result<Hlc, StoreError> {
        let sql = "SELECT coalesce(max(hlc), 0) FROM _tutti_log WHERE origin = ? AND seq = ?";
        let at = params![sqlite(origin), sqlite(seq)];
        let stamp = self.db.query_row(sql, at, |row| row.get::<_, i64>(0))?;
        Ok(Hlc(stamp as u64))
    }

    pub(super) fn reissue(
        &mut self,
        ends: &[(Incarnation, u64)],
        fresh: Incarnation,
    ) -> Result<(usize, u64), StoreError> {
        self.renew_ends(ends, Unread::default(), fresh)
    }

    fn renew_ends(
        &mut self,
        ends: &[(Incarnation, u64)],
        unread: Unread,
        fresh: Incarnation,
    ) -> Result<(usize, u64), StoreError> {
        self.fold_now()?;
        let result = self.applying(|writer| {
            let mut suffix = writer.suffix(ends, unread)?;
            writer.lower_unread(&mut suffix)?;
            let hlc = writer.take_back(&suffix)?;
            let told = writer.issue(&suffix, hlc, fresh)?;
            Ok((suffix.positions.len(), hlc, told))
        });
        // Memory is read anew from what is there now, whether it worked or not.
        self.set_stale();
        let (count, hlc, told) = result?;
        self.renew(fresh, hlc, told);
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
            let trimmed = base(*origin)?.map_or(0, |base| base.0.seq);
            from.insert(*origin, trimmed.max(*after));
        }
        let mut suffix = Suffix {
            after: from,
            kept: BTreeMap::new(),
            schemas: Vec::new(),
            keys: BTreeMap::new(),
            positions: Vec::new(),
            unread,
        };
        self.gather_unread(&mut suffix)?;
        log::walk(&self.db, 0, |entry| {
            let transaction = entry.transaction;
            let stamp = transaction.stamp();
            if let Entry::Vacant(slot) = suffix.kept.entry(stamp.origin) {
                let (position, hlc, deps) = base(stamp.origin)?.unwrap_or_default();
                let node = self.memory.origins.get(&stamp.origin).and_then(|o| o.node);
                slot.insert(Origin {
                    node,
                    position,
                    hlc,
                    deps,
                });
            }
            if !suffix.takes(&stamp, &transaction.head) {
                let kept = suffix.kept.entry(stamp.origin).or_default();
                kept.advance(stamp.seq, stamp.hlc, entry.chain, &transaction.head);
                return Ok(true);
            }
            suffix.positions.push(entry.position);
            match transaction.body {
                body @ Body::Schema { .. } => suffix.schemas.push((stamp, body)),
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

    /// Logs what the suffix wrote under `fresh`; returns what was told of other origins.
    fn issue(
        &mut self,
        suffix: &Suffix,
        hlc: Hlc,
        fresh: Incarnation,
    ) -> Result<Frontier, StoreError> {
        let told = log::frontier(&self.memory.origins);
        let mut issue = Issue {
            fresh,
            told: told.0.iter().map(|(id, at)| Dep::new(*id, at)).collect(),
            origin: Origin::default(),
            hlc,
        };
        for (old, body) in &suffix.schemas {
            let new = issue.stamp();
            self.db.execute(
                "DELETE FROM _tutti_declared WHERE origin = ? AND seq = ?",
                params![sqlite(old.origin), sqlite(old.seq)],
            )?;
            if let Body::Schema { id, .. } = body
                && *id != 0
            {
                declare::declared(&self.db, *id, new)?;
            }
            issue.log(self, body.clone())?;
        }
        if !suffix.schemas.is_empty() {
            // Another declaration of the name may be the earlier one now.
            self.resolve()?;
        }
        let mut settle = Settle::default();
        let mut changes: Vec<TableChange> = Vec::new();
        let mut size = 0;
        for ((tid, encoded), key) in &suffix.keys {
            let Some(table) = self.tables.iter().find(|table| table.tid == *tid) else {
                continue;
            };
            let table = Arc::clone(table);
            let holds = |stamp: &Stamp| suffix.renews(stamp);
            let Some((clock, row)) = again(&self.db, holds, &table, encoded, key, issue.stamp())?
            else {
                continue;
            };
            log::save_clock(&self.db, table.id, encoded, &clock)?;
            if clock.is_alive() && table.is_constrained() {
                rank(self, &mut settle, &table, encoded, key)?;
            }
            size += encoded.len() + postcard::to_stdvec(&row).unwrap_or_default().len();
            match changes.last_mut().filter(|last| last.table == *tid) {
                Some(last) => last.rows.push(row),
                None => changes.push(TableChange {
                    table: *tid,
                    rows: vec![row],
                }),
            }
            if size > CHUNK {
                issue.log(self, Body::Rows(std::mem::take(&mut changes).into()))?;
                size = 0;
            }
        }
        if !changes.is_empty() {
            issue.log(self, Body::Rows(changes.into()))?;
        }
        settle.run(&self.db, &self.tables)?;
        if issue.origin.position.seq > 0 {
            self.memory.origins.insert(fresh, issue.origin);
        }
        log::save_origins(&self.db, &self.memory.origins)?;
        log::set_folded(&self.db, self.memory.position)?;
        Ok(told)
    }
}

/// A row has another rank among those that claim its unique values: it is looked at anew.
fn rank(
    writer: &Writer,
    settle: &mut Settle,
    table: &Arc<Table>,
    encoded: &[u8],
    key: &[Value],
) -> Result<(), StoreError> {
    let db = &writer.db;
    let visible = current(db, table, key)?;
    let row = match &visible {
        Some(row) => Some(row.clone()),
        None => settle.merged(db, table, encoded)?,
    };
    if row.is_none() {
        return Ok(());
    }
    if visible.is_some() {
        remove(db, table, key)?;
    }
    settle.changed(db, table, encoded.to_vec(), visible, row)
}

/// The transactions of one reissue.
struct Issue {
    fresh: Incarnation,
    /// What the first of them depends on of others.
    told: Vec<Dep>,
    origin: Origin,
    hlc: Hlc,
}

impl Issue {
    /// The version of what is logged next.
    fn stamp(&self) -> Stamp {
        Stamp {
            hlc: self.hlc,
            origin: self.fresh,
            seq: self.origin.position.seq + 1,
        }
    }

    fn log(&mut self, writer: &mut Writer, body: Body) -> Result<(), StoreError> {
        let stamp = self.stamp();
        let first = stamp.seq == 1;
        let mut deps = std::mem::take(&mut self.told);
        deps.push(Dep::new(self.fresh, &self.origin.position));
        let transaction = Transaction {
            origin: self.fresh,
            seq: stamp.seq,
            hlc: self.hlc,
            head: Head {
                node: first.then_some(writer.node()),
                deps,
            },
            body,
        };
        let logged = Logged {
            origin: self.fresh,
            seq: stamp.seq,
            bytes: transaction.encode(self.origin.hlc).into(),
            chain: None,
        };
        writer.memory.position += 1;
        let position = writer.memory.position;
        let previous = self.origin.position;
        let chain = log::append(&writer.db, position, &previous, self.hlc, &logged)?;
        if first {
            writer
                .db
                .prepare_cached("REPLACE INTO _tutti_index VALUES (?, ?, ?)")?
                .execute(params![sqlite(self.fresh), 1, position])?;
        }
        self.origin
            .advance(stamp.seq, self.hlc, chain, &transaction.head);
        self.hlc = Hlc(self.hlc.0 + 1);
        Ok(())
    }
}

/// What a row holds of some stamps, as one change, with the row's clock after it.
pub(super) fn again(
    db: &Connection,
    holds: impl Fn(&Stamp) -> bool,
    table: &Table,
    encoded: &[u8],
    key: &[Value],
    stamp: Stamp,
) -> Result<Option<(RowClock, RowChange)>, StoreError> {
    let copy = copy(db, table, encoded)?;
    let Some(mut clock) = copy.clock else {
        return Ok(None);
    };
    let write = match copy.content {
        _ if !clock.is_alive() && holds(&clock.row) => RowWrite::Delete,
        Some(row) if holds(&clock.row) => RowWrite::Insert(row),
        Some(row) if clock.is_alive() => {
            let columns = clock.columns.iter().filter(|c| holds(&c.1));
            let cells = columns.filter_map(|c| Some((c.0, row.get(usize::from(c.0))?.clone())));
            RowWrite::Update(cells.collect())
        }
        _ => return Ok(None),
    };
    match &write {
        RowWrite::Update(cells) if cells.is_empty() => return Ok(None),
        RowWrite::Update(cells) => {
            for cell in cells {
                clock.set_column(cell.0, stamp);
            }
        }
        RowWrite::Insert(_) | RowWrite::Delete => {
            clock.row = stamp;
            clock.columns.clear();
        }
    }
    let change = RowChange {
        key: key.to_vec(),
        generation: clock.generation,
        write,
    };
    Ok(Some((clock, change)))
}

#[cfg(test)]
mod tests;
