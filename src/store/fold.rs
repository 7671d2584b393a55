//! Row clocks follow the log in batches: a commit writes one row of the log, and what it says
//! about rows' versions is folded into their clocks later, many at a time and in key order.
//! Whoever needs clocks (a merge of concurrent versions, a digest) folds first.

use std::sync::Arc;

use rusqlite::Connection;

use super::StoreError;
use super::log::{self, Origins};
use super::memory::Unfolded;
use super::pending::Pending;
use super::schema::Table;
use crate::replica::change::{Body, RowChange, RowWrite};
use crate::replica::clock::{RowClock, Stamp};
use crate::replica::rows::Rows;
use crate::replica::value::encode_key;

/// How many rows' clocks are held in memory while folding.
pub(super) const ROWS: usize = 32_768;

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
/// its end, `known` is what memory has gathered of it. Returns the position reached.
pub(super) fn fold(
    db: &Connection,
    tables: &[Arc<Table>],
    origins: &Origins,
    folded: i64,
    known: &Unfolded,
) -> Result<i64, StoreError> {
    let mut reached = folded;
    if known.from == folded {
        known.pending.write(db)?;
        reached = known.through;
    }
    let mut more = Pending::default();
    log::walk(db, reached, |entry| {
        reached = entry.position;
        let transaction = entry.transaction;
        let stamp = transaction.stamp();
        more.note_index(stamp, reached);
        if let Body::Rows(rows) = &transaction.body {
            for part in rows.parts() {
                more.note_change(tables, stamp, part?.as_ref());
                if more.rows() >= ROWS {
                    std::mem::take(&mut more).write(db)?;
                }
            }
        }
        Ok(true)
    })?;
    more.write(db)?;
    log::save_origins(db, origins)?;
    log::set_folded(db, reached)?;
    Ok(reached)
}

/// Writes the clocks of a transaction that is about to be logged, for what it lets come back.
/// Folding it later writes the same.
pub(super) fn ahead(
    db: &Connection,
    tables: &[Arc<Table>],
    changes: &Rows,
    stamp: Stamp,
) -> Result<(), StoreError> {
    for change in changes.parts() {
        let change = change?;
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
