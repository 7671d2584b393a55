//! How what may go goes: log entries, tombstones and closed incarnations, in slices short enough
//! for writers not to notice.

use std::collections::BTreeSet;
use std::collections::btree_map::BTreeMap;

use rusqlite::{Connection, params};

use super::log::{self, Origin, sqlite};
use super::retention::{Trimmed, base, last_gone, load_floors, save_base};
use super::writer::Writer;
use super::{StoreError, clocks};
use crate::replica::Incarnation;
use crate::replica::NodeId;
use crate::replica::change::{Body, RowChange, RowWrite};
use crate::replica::clock::{MAX_GENERATION, Stamp};
use crate::replica::frontier::Position;
use crate::replica::retention::{Seqs, closed};
use crate::replica::rows::Rows;
use crate::replica::value::encode_key;

/// How many log entries, or tombstones, one slice looks at while it holds the writer.
const SLICE: usize = 512;

/// A tombstone is looked at again later.
fn wait(db: &Connection, table: i64, key: &[u8]) -> Result<(), StoreError> {
    db.prepare_cached("INSERT OR IGNORE INTO _tutti_grave VALUES (?, ?)")?
        .execute(params![table, key])?;
    Ok(())
}

impl Writer {
    /// One slice of the log beyond position `after`; returns where to go on.
    pub(super) fn trim_log(
        &mut self,
        droppable: &Seqs,
        stable: &Seqs,
        after: i64,
        trimmed: &mut Trimmed,
    ) -> Result<Option<i64>, StoreError> {
        self.ready()?;
        let folded = self.memory.unfolded.from;
        let (reached, dropped, tombstones) = self.atomically(|writer| {
            let db = &writer.db;
            let (mut looked, mut reached) = (0, None);
            let mut bases = BTreeMap::new();
            let mut gone = Vec::new();
            let mut deleted = Vec::new();
            log::walk(db, after, |entry| {
                if looked == SLICE || entry.position > folded {
                    reached = (looked == SLICE).then_some(entry.position - 1);
                    return Ok(false);
                }
                looked += 1;
                let transaction = entry.transaction;
                let (origin, seq) = (transaction.origin, transaction.seq);
                if droppable.get(&origin).is_none_or(|last| *last < seq) {
                    return Ok(true);
                }
                let base = match bases.entry(origin) {
                    std::collections::btree_map::Entry::Occupied(slot) => slot.into_mut(),
                    std::collections::btree_map::Entry::Vacant(slot) => {
                        slot.insert(base(db, origin)?.unwrap_or_default())
                    }
                };
                base.0 = Position {
                    seq,
                    chain: entry.chain,
                };
                base.1 = transaction.hlc;
                let deps = transaction.head.deps.iter();
                base.2.extend(deps.map(|dep| (dep.origin, dep.seq)));
                gone.push(entry.position);
                let Body::Rows(rows) = &transaction.body else {
                    return Ok(true);
                };
                for part in rows.parts() {
                    let part = part?;
                    let table = writer.tables.iter().find(|known| known.tid == part.table);
                    let Some(id) = table.map(|table| table.id) else {
                        continue;
                    };
                    let dead = |row: &&RowChange| matches!(row.write, RowWrite::Delete);
                    for row in part.rows.iter().filter(dead) {
                        let key = encode_key(&row.key);
                        match rows {
                            Rows::Held(_) => deleted.push((id, key)),
                            // One by one later: they may be too many for memory.
                            Rows::Large(_) => wait(db, id, &key)?,
                        }
                    }
                }
                Ok(true)
            })?;
            for position in &gone {
                db.prepare_cached("DELETE FROM _tutti_log WHERE position = ?")?
                    .execute([position])?;
            }
            for (origin, base) in &bases {
                save_base(db, *origin, base)?;
                trim_index(db, *origin, base.0.seq)?;
            }
            let mut tombstones = 0;
            for (id, key) in deleted {
                match bury(db, &writer.memory.closed, stable, id, &key)? {
                    Grave::Gone => tombstones += 1,
                    Grave::Waits => wait(db, id, &key)?,
                    Grave::None => {}
                }
            }
            Ok((reached, gone.len() as u64, tombstones))
        })?;
        if tombstones > 0 {
            self.memory.floors = load_floors(&self.db)?;
        }
        if dropped > 0 {
            self.memory.log_bytes = None;
        }
        trimmed.transactions += dropped;
        trimmed.tombstones += tombstones;
        Ok(reached)
    }

    /// One slice of the tombstones that were not stable when their log entry went.
    pub(super) fn trim_graves(
        &mut self,
        stable: &Seqs,
        after: (i64, Vec<u8>),
        trimmed: &mut Trimmed,
    ) -> Result<Option<(i64, Vec<u8>)>, StoreError> {
        let (last, tombstones) = self.atomically(|writer| {
            let db = &writer.db;
            let mut statement = db.prepare_cached(
                "SELECT tbl, key FROM _tutti_grave WHERE (tbl, key) > (?, ?) \
                 ORDER BY tbl, key LIMIT ?",
            )?;
            let names = statement.query_map(params![after.0, after.1, SLICE as i64], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            let names: Vec<(i64, Vec<u8>)> = names.collect::<Result<_, _>>()?;
            let mut tombstones = 0;
            for (table, key) in &names {
                match bury(db, &writer.memory.closed, stable, *table, key)? {
                    Grave::Waits => continue,
                    Grave::Gone => tombstones += 1,
                    Grave::None => {}
                }
                db.prepare_cached("DELETE FROM _tutti_grave WHERE tbl = ? AND key = ?")?
                    .execute(params![table, key])?;
            }
            let last = names.last().filter(|_| names.len() == SLICE).cloned();
            Ok((last, tombstones))
        })?;
        if tombstones > 0 {
            self.memory.floors = load_floors(&self.db)?;
        }
        trimmed.tombstones += tombstones;
        Ok(last)
    }

    /// Closed incarnations of which everybody has everything leave frontiers and dependencies.
    pub(super) fn fold_away(
        &mut self,
        stable: &Seqs,
        us: NodeId,
        configured: &BTreeSet<NodeId>,
        trimmed: &mut Trimmed,
    ) -> Result<(), StoreError> {
        self.ready()?;
        let origins = &self.memory.origins;
        let known = origins
            .iter()
            .map(|(id, origin)| (*id, origin.node, origin.hlc));
        let mut gone = closed(known, us, self.incarnation, configured);
        gone.retain(|id| {
            let last = origins.get(id).map_or(0, |origin| origin.position.seq);
            stable.get(id).is_some_and(|stable| *stable >= last)
        });
        // Their log has to be gone, too; what came meanwhile keeps it for the next time.
        let mut ended = Vec::new();
        for id in gone {
            let last = origins.get(&id).map_or(0, |origin| origin.position.seq);
            if last_gone(&self.db, id)?.is_some_and(|at| at.seq == last) {
                ended.push(id);
            }
        }
        if ended.is_empty() {
            return Ok(());
        }
        let mut left = origins.clone();
        let mut away = BTreeMap::new();
        for id in &ended {
            if let Some(origin) = left.remove(id) {
                let deps = BTreeMap::new();
                away.insert(*id, Origin { deps, ..origin });
            }
        }
        for origin in left.values_mut() {
            origin.fold_away(&away);
        }
        self.fold_now()?;
        self.atomically(|writer| {
            let db = &writer.db;
            for (id, origin) in &away {
                let at = sqlite(*id);
                db.prepare_cached("REPLACE INTO _tutti_closed VALUES (?, ?, ?, ?, ?)")?
                    .execute(params![
                        at,
                        origin.node,
                        sqlite(origin.position.seq),
                        sqlite(origin.hlc.0),
                        origin.position.chain
                    ])?;
                for table in ["_tutti_origin", "_tutti_trimmed", "_tutti_index"] {
                    let sql = format!("DELETE FROM {table} WHERE origin = ?");
                    db.prepare_cached(&sql)?.execute([at])?;
                }
            }
            log::save_origins(db, &left)
        })?;
        trimmed.incarnations += away.len() as u64;
        self.told.folded_away();
        self.memory.origins = left;
        self.memory.closed.extend(away);
        self.show_all();
        Ok(())
    }

    /// Drops from a batch what belongs to closed incarnations; one that goes on after all is
    /// opened again.
    pub fn without_closed(
        &mut self,
        batch: &[crate::replica::change::Logged],
    ) -> Result<Option<Vec<crate::replica::change::Logged>>, StoreError> {
        let last = |id: &Incarnation| self.memory.closed.get(id).map(|o| o.position.seq);
        if !batch.iter().any(|logged| last(&logged.origin).is_some()) {
            return Ok(None);
        }
        let news = |logged: &&crate::replica::change::Logged| {
            last(&logged.origin).is_none_or(|last| logged.seq > last)
        };
        let left: Vec<_> = batch.iter().filter(news).cloned().collect();
        for logged in &left {
            self.open_again(logged.origin)?;
        }
        Ok(Some(left))
    }

    /// A closed incarnation goes on after all. What it had seen of others nobody knows any more.
    fn open_again(&mut self, id: Incarnation) -> Result<(), StoreError> {
        let Some(mut again) = self.memory.closed.get(&id).cloned() else {
            return Ok(());
        };
        let last = again.position.seq;
        self.fold_now()?;
        let mut closed = self.memory.closed.clone();
        closed.remove(&id);
        again.fold_away(&closed);
        let mut origins = self.memory.origins.clone();
        for origin in origins.values_mut() {
            // Whoever was not known to lack some of it had seen all of it.
            origin.deps.entry(id).or_insert(last);
        }
        let base = (again.position, again.hlc, BTreeMap::new());
        origins.insert(id, again);
        self.atomically(|writer| {
            save_base(&writer.db, id, &base)?;
            log::save_origins(&writer.db, &origins)?;
            let sql = "DELETE FROM _tutti_closed WHERE origin = ?";
            writer.db.execute(sql, [sqlite(id)])?;
            Ok(())
        })?;
        self.memory.closed = closed;
        self.memory.origins = origins;
        self.show_all();
        Ok(())
    }
}

/// The sparse index keeps its last entry before what is left of the log.
fn trim_index(db: &Connection, origin: Incarnation, seq: u64) -> Result<(), StoreError> {
    db.prepare_cached(
        "DELETE FROM _tutti_index WHERE origin = ?1 AND seq < \
         (SELECT max(seq) FROM _tutti_index WHERE origin = ?1 AND seq <= ?2)",
    )?
    .execute(params![sqlite(origin), sqlite(seq)])?;
    Ok(())
}

/// Tombstones of later lives than anybody's rows have stay: keys that are new begin beyond the
/// highest that went, and must have lives left.
const BURIED_MAX: u32 = MAX_GENERATION / 2;

enum Grave {
    /// The tombstone went.
    Gone,
    /// Not yet.
    Waits,
    /// The row lives, its tombstone is gone already, or stays.
    None,
}

/// Removes a row's tombstone if it is causally stable.
fn bury(
    db: &Connection,
    closed: &BTreeMap<Incarnation, Origin>,
    stable: &Seqs,
    table: i64,
    key: &[u8],
) -> Result<Grave, StoreError> {
    let clock = log::load_clock(db, table, key)?;
    let Some(clock) = clock.filter(|clock| !clock.is_alive()) else {
        return Ok(Grave::None);
    };
    let is_stable = |stamp: &Stamp| {
        let last = stable.get(&stamp.origin).copied().unwrap_or(0);
        last >= stamp.seq || closed.contains_key(&stamp.origin)
    };
    if !is_stable(&clock.row) {
        return Ok(Grave::Waits);
    }
    if clock.generation > BURIED_MAX {
        return Ok(Grave::None);
    }
    clocks::forget(db, table, key)?;
    db.prepare_cached(
        "INSERT INTO _tutti_floor(tbl, generation) VALUES (?, ?) \
         ON CONFLICT DO UPDATE SET generation = max(generation, excluded.generation)",
    )?
    .execute(params![table, clock.generation])?;
    Ok(Grave::Gone)
}
