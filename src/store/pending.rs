//! What the log tells of row clocks and they do not tell yet, gathered transaction by transaction
//! as they commit: folding writes it down without reading the log.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::StoreError;
use super::clocks::{self, Run};
use super::log::sqlite;
use super::memory::RowName;
use super::schema::Table;
use crate::replica::Incarnation;
use crate::replica::change::{RowChange, RowWrite, TableChange};
use crate::replica::clock::{RowClock, Stamp};
use crate::replica::value::{Value, encode_key};

/// What a row's clock becomes.
enum Next {
    /// This, whatever it was.
    Whole(RowClock),
    /// Some columns were written.
    Columns(Columns),
}

/// Columns written by transactions that had seen all earlier versions of the row.
struct Columns {
    /// The row's generation, and the first who wrote.
    generation: u32,
    stamp: Stamp,
    /// The first's columns.
    first: Vec<u16>,
    later: Vec<(u16, Stamp)>,
}

impl Columns {
    fn set(&mut self, column: u16, stamp: Stamp) {
        match self.later.iter_mut().find(|known| known.0 == column) {
            Some(known) => known.1 = stamp,
            None => self.later.push((column, stamp)),
        }
    }

    fn apply(&self, before: Option<RowClock>) -> RowClock {
        let mut clock = match before {
            Some(mut clock) => {
                for column in &self.first {
                    clock.set_column(*column, self.stamp);
                }
                clock
            }
            // A row that was there before its table was replicated.
            None => RowClock {
                generation: self.generation,
                row: self.stamp,
                columns: Vec::new(),
            },
        };
        for (column, stamp) in &self.later {
            clock.set_column(*column, *stamp);
        }
        clock
    }
}

/// Changes of clocks that are to be written.
#[derive(Default)]
pub(super) struct Pending {
    runs: BTreeMap<(i64, i64), Run>,
    rows: BTreeMap<RowName, Next>,
    /// Per origin the first transaction noted, with its position.
    index: BTreeMap<Incarnation, (u64, i64)>,
}

impl Pending {
    /// How many rows are noted one by one.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// A row's generation, if a noted transaction tells it.
    pub fn generation(&self, table: i64, key: &[u8]) -> Option<u32> {
        if !self.rows.is_empty() {
            match self.rows.get(&(table, key.to_vec())) {
                Some(Next::Whole(clock)) => return Some(clock.generation),
                Some(Next::Columns(columns)) => return Some(columns.generation),
                None => {}
            }
        }
        let integer = clocks::integer(key)?;
        self.run(table, integer, integer).map(|_| 1)
    }

    /// A run that holds one of these keys.
    fn run(&self, table: i64, first: i64, last: i64) -> Option<&Run> {
        let (at, run) = self.runs.range((table, first)..).next()?;
        (at.0 == table && run.first <= last).then_some(run)
    }

    fn is_clear(&self, table: i64, first: i64, last: i64) -> bool {
        let name = |key: i64| (table, encode_key(&[key.into()]));
        self.run(table, first, last).is_none()
            && (self.rows.is_empty() || self.rows.range(name(first)..=name(last)).next().is_none())
    }

    /// Takes in where a transaction is in the log.
    pub fn note_index(&mut self, stamp: Stamp, position: i64) {
        let first = (stamp.seq, position);
        self.index.entry(stamp.origin).or_insert(first);
    }

    /// Takes in a change of a transaction whose origin had seen all that is here.
    pub fn note_change(&mut self, tables: &[Arc<Table>], stamp: Stamp, change: &TableChange) {
        let Some(table) = tables.iter().find(|table| table.tid == change.table) else {
            return;
        };
        let mut rows = &change.rows[..];
        while !rows.is_empty() {
            let length = clocks::run_length(rows).max(1);
            let (some, rest) = rows.split_at(length);
            self.note_rows(table.id, some, stamp);
            rows = rest;
        }
    }

    fn note_rows(&mut self, table: i64, rows: &[RowChange], stamp: Stamp) {
        if let [first, .., last] = rows
            && let ([Value::Integer(first), ..], [Value::Integer(last), ..]) =
                (&first.key[..], &last.key[..])
            && self.is_clear(table, *first, *last)
        {
            let (first, last) = (*first, *last);
            self.runs.insert((table, last), Run { first, last, stamp });
            return;
        }
        for row in rows {
            self.note_row((table, encode_key(&row.key)), row, stamp);
        }
    }

    fn note_row(&mut self, name: RowName, row: &RowChange, stamp: Stamp) {
        let RowWrite::Update(cells) = &row.write else {
            let clock = RowClock {
                generation: row.generation,
                row: stamp,
                columns: Vec::new(),
            };
            self.rows.insert(name, Next::Whole(clock));
            return;
        };
        match self.rows.entry(name) {
            Slot::Occupied(mut slot) => match slot.get_mut() {
                Next::Whole(clock) => cells
                    .iter()
                    .for_each(|cell| clock.set_column(cell.0, stamp)),
                Next::Columns(known) => cells.iter().for_each(|cell| known.set(cell.0, stamp)),
            },
            Slot::Vacant(slot) => {
                slot.insert(Next::Columns(Columns {
                    generation: row.generation,
                    stamp,
                    first: cells.iter().map(|cell| cell.0).collect(),
                    later: Vec::new(),
                }));
            }
        }
    }

    /// Writes it all down, rows in key order.
    pub fn write(&self, db: &Connection) -> Result<(), StoreError> {
        for ((table, _), run) in &self.runs {
            clocks::save_run(db, *table, run)?;
        }
        for ((table, key), next) in &self.rows {
            match next {
                Next::Whole(clock) => clocks::save(db, *table, key, clock)?,
                Next::Columns(columns) => {
                    let clock = columns.apply(clocks::load(db, *table, key)?);
                    clocks::save(db, *table, key, &clock)?;
                }
            }
        }
        let mut statement =
            db.prepare_cached("REPLACE INTO _tutti_index(origin, seq, position) VALUES (?, ?, ?)")?;
        for (origin, (seq, position)) in &self.index {
            statement.execute(params![sqlite(*origin), sqlite(*seq), position])?;
        }
        Ok(())
    }
}
