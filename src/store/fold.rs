//! Row clocks follow the log in batches: a commit writes one row of the log, and what it says
//! about rows' versions is folded into their clocks later, many at a time and in key order.
//! Whoever needs clocks (a merge of concurrent versions, a digest) folds first.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::collections::hash_map::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::StoreError;
use super::log::{self, Origins};
use super::schema::Table;
use crate::replica::change::{Body, RowChange, RowWrite, TableChange};
use crate::replica::clock::{RowClock, Stamp};
use crate::replica::value::encode_key;

/// How many rows' clocks are held in memory while folding.
const ROWS: usize = 32_768;

/// A row's clock after a change whose origin had seen all earlier versions of the row.
pub(super) fn advance(clock: Option<RowClock>, change: &RowChange, stamp: Stamp) -> RowClock {
    match (&change.write, clock) {
        (RowWrite::Update(columns), Some(mut clock)) => {
            for column in columns {
                clock.set_column(column.0, stamp);
            }
            clock
        }
        // Insert, delete, and a row that was there before its table was replicated.
        _ => RowClock {
            generation: change.generation,
            row: stamp,
            columns: Vec::new(),
        },
    }
}

/// Folds the log from `folded` to its end, inside the open transaction; `origins` are those of
/// its end. Returns the position reached.
pub(super) fn fold(
    db: &Connection,
    tables: &[Arc<Table>],
    origins: &Origins,
    folded: i64,
) -> Result<i64, StoreError> {
    let ids: HashMap<u64, i64> = tables.iter().map(|t| (t.tid, t.id)).collect();
    let mut clocks: BTreeMap<(i64, Vec<u8>), RowClock> = BTreeMap::new();
    let mut index: BTreeMap<u64, (u64, i64)> = BTreeMap::new();
    let mut reached = folded;
    log::walk(db, folded, |entry| {
        reached = entry.position;
        let transaction = entry.transaction;
        index
            .entry(transaction.origin)
            .or_insert((transaction.seq, entry.position));
        let stamp = transaction.stamp();
        let Body::Rows(changes) = transaction.body else {
            return Ok(true);
        };
        for change in changes {
            let Some(&id) = ids.get(&change.table) else {
                continue;
            };
            for row in &change.rows {
                match clocks.entry((id, encode_key(&row.key))) {
                    Slot::Occupied(mut slot) => {
                        let next = advance(Some(slot.get().clone()), row, stamp);
                        slot.insert(next);
                    }
                    Slot::Vacant(slot) => {
                        // Only an update builds on what was there.
                        let update = matches!(row.write, RowWrite::Update(_));
                        let clock = match update {
                            true => log::load_clock(db, id, &slot.key().1)?,
                            false => None,
                        };
                        slot.insert(advance(clock, row, stamp));
                    }
                }
            }
        }
        if clocks.len() >= ROWS {
            write(db, std::mem::take(&mut clocks))?;
        }
        Ok(true)
    })?;
    write(db, clocks)?;
    let mut statement =
        db.prepare_cached("REPLACE INTO _tutti_index(origin, seq, position) VALUES (?, ?, ?)")?;
    for (origin, (seq, position)) in index {
        statement.execute(params![log::sqlite(origin), log::sqlite(seq), position])?;
    }
    log::save_origins(db, origins)?;
    log::set_folded(db, reached)?;
    Ok(reached)
}

/// Writes the clocks of a transaction that is about to be logged, for what it lets come back.
/// Folding it later writes the same.
pub(super) fn ahead(
    db: &Connection,
    tables: &[Arc<Table>],
    changes: &[TableChange],
    stamp: Stamp,
) -> Result<(), StoreError> {
    for change in changes {
        let Some(table) = tables.iter().find(|table| table.tid == change.table) else {
            continue;
        };
        for row in &change.rows {
            let key = encode_key(&row.key);
            let clock = log::load_clock(db, table.id, &key)?;
            log::save_clock(db, table.id, &key, &advance(clock, row, stamp))?;
        }
    }
    Ok(())
}

fn write(db: &Connection, clocks: BTreeMap<(i64, Vec<u8>), RowClock>) -> Result<(), StoreError> {
    for ((table, key), clock) in clocks {
        log::save_clock(db, table, &key, &clock)?;
    }
    Ok(())
}
