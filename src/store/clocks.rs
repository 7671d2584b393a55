//! Row clocks on disk: a record for each row, or one for a run of rows.
//!
//! What one transaction inserts under consecutive integer keys has one clock, so one record tells
//! it of all: a *run*. A row's own record, where there is one, counts before the run. Whether a
//! clock comes from a run or a record makes no difference to anybody.

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use super::log::sqlite;
use crate::replica::change::{RowChange, RowWrite};
use crate::replica::clock::{Hlc, RowClock, Stamp};
use crate::replica::value::{Value, decode_key, encode_key};

/// Runs of a table do not overlap; `last` finds the one that holds a key.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS _tutti_clock(
  tbl INTEGER NOT NULL, key BLOB NOT NULL, clock BLOB NOT NULL,
  PRIMARY KEY (tbl, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _tutti_run(
  tbl INTEGER NOT NULL, last INTEGER NOT NULL, first INTEGER NOT NULL,
  hlc INTEGER NOT NULL, origin INTEGER NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY (tbl, last)) WITHOUT ROWID;
";

/// Fewer rows than this have a record each.
const LEAST: usize = 8;

/// Creates the tables where they are missing.
pub(super) fn create(db: &Connection) -> Result<(), StoreError> {
    Ok(db.execute_batch(TABLES)?)
}

/// Rows of consecutive integer keys, all inserted by one transaction where none had been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub first: i64,
    pub last: i64,
    pub stamp: Stamp,
}

impl Run {
    /// Each of its rows' clock.
    pub fn clock(&self) -> RowClock {
        RowClock {
            generation: 1,
            row: self.stamp,
            columns: Vec::new(),
        }
    }
}

/// How many changes from the first on are new rows under consecutive integer keys: at least as
/// many as a run takes, or 0.
pub(super) fn run_length(rows: &[RowChange]) -> usize {
    let integer = |row: &RowChange| match (&row.key[..], &row.write) {
        ([Value::Integer(key)], RowWrite::Insert(_)) if row.generation == 1 => Some(*key),
        _ => None,
    };
    let mut keys = rows.iter().map_while(integer);
    let Some(mut last) = keys.next() else {
        return 0;
    };
    let mut length = 1;
    for key in keys {
        if last.checked_add(1) != Some(key) {
            break;
        }
        (last, length) = (key, length + 1);
    }
    if length < LEAST { 0 } else { length }
}

/// The only value of a key, if it is an integer.
pub(super) fn integer(key: &[u8]) -> Option<i64> {
    let size = match *key.first()? {
        tag @ 0x08..=0x0f => 0x10 - tag,
        tag @ 0x10..=0x18 => tag - 0x10,
        _ => return None,
    };
    if key.len() != usize::from(size) + 1 {
        return None;
    }
    match decode_key(key)?.pop()? {
        Value::Integer(integer) => Some(integer),
        _ => None,
    }
}

fn decode(bytes: &[u8]) -> Result<RowClock, StoreError> {
    postcard::from_bytes(bytes).map_err(|_| StoreError::Damaged("a row's clock".into()))
}

fn run_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Run> {
    let number = |at: usize| row.get::<_, i64>(at).map(|value| value as u64);
    Ok(Run {
        last: row.get(0)?,
        first: row.get(1)?,
        stamp: Stamp {
            hlc: Hlc(number(2)?),
            origin: number(3)?,
            seq: number(4)?,
        },
    })
}

/// The first run that ends at `key` or beyond.
fn run_from(db: &Connection, table: i64, key: i64) -> Result<Option<Run>, StoreError> {
    let sql = "SELECT last, first, hlc, origin, seq FROM _tutti_run \
               WHERE tbl = ? AND last >= ? ORDER BY last LIMIT 1";
    let found = db.prepare_cached(sql)?.query_row([table, key], run_of);
    Ok(found.optional()?)
}

/// A row's clock.
pub(super) fn load(
    db: &Connection,
    table: i64,
    key: &[u8],
) -> Result<Option<RowClock>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT clock FROM _tutti_clock WHERE tbl = ? AND key = ?")?;
    let mut rows = statement.query(params![table, key])?;
    if let Some(row) = rows.next()? {
        return decode(row.get_ref(0)?.as_blob().unwrap_or_default()).map(Some);
    }
    let Some(integer) = integer(key) else {
        return Ok(None);
    };
    let run = run_from(db, table, integer)?.filter(|run| run.first <= integer);
    Ok(run.map(|run| run.clock()))
}

/// Writes a row's clock.
pub(super) fn save(
    db: &Connection,
    table: i64,
    key: &[u8],
    clock: &RowClock,
) -> Result<(), StoreError> {
    let bytes = postcard::to_stdvec(clock).unwrap_or_default();
    db.prepare_cached("REPLACE INTO _tutti_clock(tbl, key, clock) VALUES (?, ?, ?)")?
        .execute(params![table, key, bytes])?;
    Ok(())
}

/// Whether none of these rows has a clock.
pub(super) fn is_clear(
    db: &Connection,
    table: i64,
    first: i64,
    last: i64,
) -> Result<bool, StoreError> {
    if run_from(db, table, first)?.is_some_and(|run| run.first <= last) {
        return Ok(false);
    }
    let (from, to) = (encode_key(&[first.into()]), encode_key(&[last.into()]));
    let sql = "SELECT EXISTS (SELECT 1 FROM _tutti_clock WHERE tbl = ? AND key BETWEEN ? AND ?)";
    let taken: bool = db
        .prepare_cached(sql)?
        .query_row(params![table, from, to], |row| row.get(0))?;
    Ok(!taken)
}

/// Writes the clocks of a run: one record where none of its rows has a clock.
pub(super) fn save_run(db: &Connection, table: i64, run: &Run) -> Result<(), StoreError> {
    if is_clear(db, table, run.first, run.last)? {
        return insert(db, table, run);
    }
    for key in run.first..=run.last {
        save(db, table, &encode_key(&[key.into()]), &run.clock())?;
    }
    Ok(())
}

fn insert(db: &Connection, table: i64, run: &Run) -> Result<(), StoreError> {
    let stamp = run.stamp;
    db.prepare_cached(
        "INSERT INTO _tutti_run(tbl, last, first, hlc, origin, seq) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        table,
        run.last,
        run.first,
        sqlite(stamp.hlc.0),
        sqlite(stamp.origin),
        sqlite(stamp.seq)
    ])?;
    Ok(())
}

/// Forgets a row's clock.
pub(super) fn forget(db: &Connection, table: i64, key: &[u8]) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM _tutti_clock WHERE tbl = ? AND key = ?")?
        .execute(params![table, key])?;
    let Some(integer) = integer(key) else {
        return Ok(());
    };
    let Some(run) = run_from(db, table, integer)?.filter(|run| run.first <= integer) else {
        return Ok(());
    };
    db.prepare_cached("DELETE FROM _tutti_run WHERE tbl = ? AND last = ?")?
        .execute([table, run.last])?;
    if run.first < integer {
        let last = integer - 1;
        insert(db, table, &Run { last, ..run })?;
    }
    if integer < run.last {
        let first = integer + 1;
        insert(db, table, &Run { first, ..run })?;
    }
    Ok(())
}

/// Forgets all clocks of a table.
pub(super) fn forget_all(db: &Connection, table: i64) -> Result<(), StoreError> {
    db.execute("DELETE FROM _tutti_clock WHERE tbl = ?", [table])?;
    db.execute("DELETE FROM _tutti_run WHERE tbl = ?", [table])?;
    Ok(())
}

/// The least integer whose key is not before `from`.
fn least(from: &[u8]) -> Option<i64> {
    let (mut low, mut high) = (i128::from(i64::MIN), i128::from(i64::MAX) + 1);
    while low < high {
        let middle = (low + high).div_euclid(2);
        let is_before = encode_key(&[(middle as i64).into()]).as_slice() < from;
        (low, high) = match is_before {
            true => (middle + 1, high),
            false => (low, middle),
        };
    }
    i64::try_from(low).ok()
}

/// Runs `each` over a table's keys from `from` on and before `to`, in their order, with their
/// clocks, until it says stop.
pub(super) fn each(
    db: &Connection,
    table: i64,
    from: &[u8],
    to: Option<&[u8]>,
    mut each: impl FnMut(Vec<u8>, RowClock) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT key, clock FROM _tutti_clock WHERE tbl = ?1 AND key >= ?2 \
         AND (?3 IS NULL OR key < ?3) ORDER BY key",
    )?;
    let mut records = statement.query(params![table, from, to])?;
    let mut record = || -> Result<Option<(Vec<u8>, RowClock)>, StoreError> {
        let Some(row) = records.next()? else {
            return Ok(None);
        };
        let clock = decode(row.get_ref(1)?.as_blob().unwrap_or_default())?;
        Ok(Some((row.get(0)?, clock)))
    };
    let mut own = record()?;
    let mut next = least(from);
    while let Some(key) = next
        && let Some(run) = run_from(db, table, key)?
    {
        for key in run.first.max(key)..=run.last {
            let key = encode_key(&[key.into()]);
            if to.is_some_and(|to| key.as_slice() >= to) {
                next = None;
                break;
            }
            while let Some((before, clock)) = own.take_if(|own| own.0 < key) {
                own = record()?;
                if !each(before, clock)? {
                    return Ok(());
                }
            }
            // A row's own record comes in its turn.
            if own.as_ref().is_none_or(|own| own.0 != key) && !each(key, run.clock())? {
                return Ok(());
            }
        }
        if next.is_some() {
            next = run.last.checked_add(1);
        }
    }
    while let Some((key, clock)) = own {
        if !each(key, clock)? {
            break;
        }
        own = record()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
