//! Capture: which keys a transaction touched, and what it made of them.
//!
//! SQLite's pre-update hook notes a key's old row at the first touch. Before COMMIT every noted
//! key is read again and compared, so events of rolled-back savepoints and aborted statements,
//! which the hook reports all the same, leave nothing behind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use rusqlite::hooks::{Action, PreUpdateCase};
use rusqlite::types::ValueRef;

use super::schema::Table;
use super::settle::{self, Settle};
use super::tx::{Bind, row_values, value};
use super::{StoreError, inbox, keys, lock, log};
use crate::replica::change::{RowChange, RowWrite, TableChange};
use crate::replica::clock::{RowClock, Stamp};
use crate::replica::value::{Value, encode_key};

/// A row's values.
pub(super) type Row = Vec<Value>;

/// A touched key.
struct Touched {
    table: Arc<Table>,
    key: Row,
    before: Option<Row>,
}

/// What the hook writes to.
#[derive(Default)]
pub(super) struct Capture {
    pub enabled: bool,
    tables: HashMap<String, Arc<Table>>,
    touched: Vec<Touched>,
    known: HashMap<(i64, Vec<u8>), ()>,
    /// A value that could not be read, with why.
    failed: Option<String>,
    pub keys: keys::Shared,
}

/// Shared between the hook and the writer.
pub(super) type Shared = Arc<Mutex<Capture>>;

impl Capture {
    pub fn set_tables(&mut self, tables: &[Arc<Table>]) {
        self.tables = tables
            .iter()
            .map(|table| (table.name.clone(), Arc::clone(table)))
            .collect();
    }

    pub fn begin(&mut self) {
        self.touched.clear();
        self.known.clear();
        self.failed = None;
        self.enabled = true;
    }

    pub fn end(&mut self) {
        self.enabled = false;
        self.touched.clear();
        self.known.clear();
    }

    fn touch(&mut self, table: &Arc<Table>, key: Row, before: Option<Row>) {
        let name = (table.id, encode_key(&key));
        if self.known.insert(name, ()).is_none() {
            self.touched.push(Touched {
                table: Arc::clone(table),
                key,
                before,
            });
        }
    }

    fn event(&mut self, table: &str, case: &PreUpdateCase) -> Result<(), String> {
        let Some(table) = self.tables.get(table).cloned() else {
            return Ok(());
        };
        let read = |result: rusqlite::Result<ValueRef<'_>>| {
            let found = result.map_err(|error| error.to_string())?;
            value(found).map_err(|error| error.to_string())
        };
        let key_of = |row: &Row| -> Row { table.key.iter().map(|&at| row[at].clone()).collect() };
        let (old, new) = match case {
            PreUpdateCase::Insert(new) => (None, Some(new)),
            PreUpdateCase::Delete(old) => (Some(old), None),
            PreUpdateCase::Update {
                old_value_accessor,
                new_value_accessor,
            } => (Some(old_value_accessor), Some(new_value_accessor)),
            PreUpdateCase::Unknown => return Err("an event SQLite does not name".into()),
        };
        if let Some(old) = old {
            let columns = table.columns.iter();
            let row: Row = columns
                .map(|column| read(old.get_old_column_value(column.index)))
                .collect::<Result<_, _>>()?;
            self.touch(&table, key_of(&row), Some(row));
        }
        if let Some(new) = new {
            let key = table.key.iter();
            let key: Row = key
                .map(|&at| read(new.get_new_column_value(table.columns[at].index)))
                .collect::<Result<_, _>>()?;
            self.touch(&table, key, None);
        }
        Ok(())
    }
}

/// Sets the hook; it must be the first thing done to a writable connection, because a DELETE
/// without WHERE prepared before it would delete unseen.
pub(super) fn hook(db: &mut Connection, capture: &Shared) -> Result<(), StoreError> {
    let capture = Arc::clone(capture);
    db.preupdate_hook(Some(
        move |_: Action, database: &str, table: &str, case: &PreUpdateCase| {
            let mut capture = lock(&capture);
            if capture.enabled
                && database == "main"
                && let Err(error) = capture.event(table, case)
            {
                capture.failed = Some(error);
            }
        },
    ))?;
    Ok(())
}

/// The net changes of the open transaction, stamped: clocks are written, changes returned.
pub(super) fn collect(
    db: &Connection,
    capture: &Shared,
    stamp: Stamp,
    settle: &mut Settle,
) -> Result<Vec<TableChange>, StoreError> {
    let mut state = lock(capture);
    if let Some(error) = state.failed.take() {
        return Err(StoreError::Statement(format!("cannot capture: {error}")));
    }
    let touched = std::mem::take(&mut state.touched);
    state.enabled = false;
    let keys = Arc::clone(&state.keys);
    drop(state);
    let mut changes: Vec<TableChange> = Vec::new();
    let mut places: HashMap<i64, usize> = HashMap::new();
    for touched in touched {
        let table = Arc::clone(&touched.table);
        if let Some(row) = change(db, touched, stamp, &keys, settle)? {
            let at = *places.entry(table.id).or_insert_with(|| {
                changes.push(TableChange {
                    table: table.tid,
                    rows: Vec::new(),
                });
                changes.len() - 1
            });
            changes[at].rows.push(row);
        }
    }
    Ok(changes)
}

/// Reads a row as it is now.
pub(super) fn current(
    db: &Connection,
    table: &Table,
    key: &[Value],
) -> Result<Option<Row>, StoreError> {
    let mut statement = db.prepare_cached(&table.select)?;
    let mut rows = statement.query(rusqlite::params_from_iter(key.iter().map(Bind)))?;
    match rows.next()? {
        Some(row) => Ok(Some(row_values(row, table.columns.len())?)),
        None => Ok(None),
    }
}

fn change(
    db: &Connection,
    touched: Touched,
    stamp: Stamp,
    keys: &keys::Shared,
    settle: &mut Settle,
) -> Result<Option<RowChange>, StoreError> {
    let Touched { table, key, before } = touched;
    let now = current(db, &table, &key)?;
    if table.is_constrained() && before != now {
        settle.wrote(&table, before.as_ref(), now.as_ref())?;
    }
    let write = match (before, now) {
        (None, None) => return Ok(None),
        (None, Some(row)) => RowWrite::Insert(row),
        (Some(_), None) => RowWrite::Delete,
        (Some(old), Some(new)) => {
            let mut changed: Vec<usize> = (0..new.len()).filter(|&c| old[c] != new[c]).collect();
            if changed.is_empty() {
                return Ok(None);
            }
            table.tied(&mut changed);
            let cell = |column: usize| (column as u16, new[column].clone());
            RowWrite::Update(changed.into_iter().map(cell).collect())
        }
    };
    let encoded = encode_key(&key);
    let clock = log::load_clock(db, table.id, &encoded)?;
    if matches!(write, RowWrite::Insert(_)) && clock.is_none() {
        keys::allowed(keys, &table, &key)?;
    }
    if let (RowWrite::Insert(row), Some(clock)) = (&write, &clock) {
        overwrite_parked(db, &table, &encoded, row, clock, stamp)?;
    }
    let clock = advance(clock, &write, stamp);
    log::save_clock(db, table.id, &encoded, &clock)?;
    Ok(Some(RowChange {
        key,
        generation: clock.generation,
        write,
    }))
}

/// A parked row is invisible to writers: what an insert writes over goes to the inbox.
fn overwrite_parked(
    db: &Connection,
    table: &Table,
    key: &[u8],
    row: &Row,
    clock: &RowClock,
    stamp: Stamp,
) -> Result<(), StoreError> {
    let Some(parked) = settle::parked(db, table.id, key)? else {
        return Ok(());
    };
    for (at, column) in table.columns.iter().enumerate() {
        if parked.get(at) != row.get(at)
            && let Some(value) = parked.get(at)
        {
            let loser = clock.column(at as u16);
            inbox::record(db, &table.name, key, &column.name, stamp, loser, value)?;
        }
    }
    settle::unpark(db, table.id, key)
}

fn advance(clock: Option<RowClock>, write: &RowWrite, stamp: Stamp) -> RowClock {
    let fresh = |generation| RowClock {
        generation,
        row: stamp,
        columns: Vec::new(),
    };
    let generation = clock.as_ref().map_or(0, |clock| clock.generation);
    match (write, clock) {
        // A row that lives but is parked is invisible here, so writing it looks like an insert.
        (RowWrite::Insert(_), _) => fresh(if generation % 2 == 1 {
            generation
        } else {
            generation + 1
        }),
        (RowWrite::Delete, _) => fresh(generation + 1),
        (RowWrite::Update(columns), Some(mut clock)) => {
            for column in columns {
                clock.set_column(column.0, stamp);
            }
            clock
        }
        // A row without a clock was there before its table was replicated.
        (RowWrite::Update(_), None) => fresh(1),
    }
}
