//! Capture: which keys a transaction touched, and what it made of them.
//!
//! SQLite's pre-update hook notes a key's row before its first and after its last touch. The hook
//! also reports what a rolled-back savepoint or an aborted statement did: where there was one,
//! every noted key is read again before COMMIT, so that phantoms leave nothing behind. The keys of
//! a large transaction go to a file, and are read again in the same way.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use rusqlite::hooks::{Action, PreUpdateCase};
use rusqlite::types::ValueRef;

use super::memory::Memory;
use super::schema::Table;
use super::settle::{self, Settle};
use super::spill::{self, Gathered, HELD, Touches};
use super::tx::{Bind, row_values, value};
use super::{StoreError, fold, inbox, keys, lock, log};
use crate::replica::change::{MAX_TRANSACTION, RowChange, RowWrite, TableChange};
use crate::replica::clock::{MAX_GENERATION, RowClock, Stamp};
use crate::replica::rows::Rows;
use crate::replica::value::{Value, encode_key};

/// How many bytes of rows a transaction may touch, before and after, however little of that is
/// left in the end.
const TOUCHED: u64 = 4 * MAX_TRANSACTION as u64;
/// What noting a key takes of memory beyond its rows, in bytes.
const NOTE: usize = 128;

/// A row's values.
pub(super) type Row = Vec<Value>;

/// A touched key.
struct Touched {
    table: Arc<Table>,
    key: Row,
    before: Option<Row>,
    after: Option<Row>,
}

/// What the hook writes to.
#[derive(Default)]
pub(super) struct Capture {
    pub enabled: bool,
    tables: HashMap<String, Arc<Table>>,
    /// The table of the last event.
    last: Option<Arc<Table>>,
    touched: Vec<Touched>,
    /// Where in `touched` a key is; empty while all came in one table's rising order.
    known: HashMap<(i64, Vec<u8>), usize>,
    /// About how many bytes `touched` takes.
    held: usize,
    /// What was too much for memory.
    away: Option<Touches>,
    /// How many bytes of rows were touched.
    total: u64,
    /// Why the transaction cannot be captured.
    failed: Option<StoreError>,
    /// Where files of large transactions are made.
    pub directory: PathBuf,
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
        self.last = None;
    }

    pub fn begin(&mut self) {
        self.end();
        self.enabled = true;
    }

    pub fn end(&mut self) {
        self.enabled = false;
        self.touched.clear();
        self.known.clear();
        self.away = None;
        self.failed = None;
        (self.held, self.total) = (0, 0);
    }

    /// Notes a touch, and puts all that is noted away where it is too much.
    fn touch(
        &mut self,
        table: &Arc<Table>,
        before: Option<Row>,
        after: Option<Row>,
    ) -> Result<(), StoreError> {
        let rows = before.iter().chain(&after);
        let size = NOTE + rows.map(|row| spill::size(row)).sum::<usize>();
        self.note(table, before, after);
        self.held += size;
        self.total += size as u64;
        if self.total > TOUCHED {
            return Err(StoreError::TooLarge {
                size: usize::try_from(self.total).unwrap_or(usize::MAX),
                max: usize::try_from(TOUCHED).unwrap_or(usize::MAX),
            });
        }
        if self.held >= HELD {
            self.put_away()?;
        }
        Ok(())
    }

    fn put_away(&mut self) -> Result<(), StoreError> {
        let away = match self.away.take() {
            Some(away) => away,
            None => Touches::create(&self.directory)?,
        };
        for touched in self.touched.drain(..) {
            away.add(touched.table.id, &touched.key, touched.before.as_ref())?;
        }
        self.known.clear();
        self.held = 0;
        self.away = Some(away);
        Ok(())
    }

    fn note(&mut self, table: &Arc<Table>, before: Option<Row>, after: Option<Row>) {
        let Some(row) = before.as_ref().or(after.as_ref()) else {
            return;
        };
        let key: Row = table.key.iter().map(|&at| row[at].clone()).collect();
        if self.known.is_empty() {
            if self.rises(table, &key) {
                return self.touched.push(Touched {
                    table: Arc::clone(table),
                    key,
                    before,
                    after,
                });
            }
            let name = |touched: &Touched| (touched.table.id, encode_key(&touched.key));
            let touched = self.touched.iter().enumerate();
            self.known = touched.map(|(at, touched)| (name(touched), at)).collect();
        }
        match self.known.entry((table.id, encode_key(&key))) {
            Slot::Occupied(slot) => self.touched[*slot.get()].after = after,
            Slot::Vacant(slot) => {
                slot.insert(self.touched.len());
                self.touched.push(Touched {
                    table: Arc::clone(table),
                    key,
                    before,
                    after,
                });
            }
        }
    }

    /// Whether a key is beyond all that were touched, which are integers of one table, rising.
    fn rises(&self, table: &Arc<Table>, key: &[Value]) -> bool {
        let [Value::Integer(key)] = key else {
            return false;
        };
        self.touched.last().is_none_or(|last| {
            let before = matches!(&last.key[..], [Value::Integer(last)] if last < key);
            before && last.table.id == table.id
        })
    }

    fn event(&mut self, name: &str, case: &PreUpdateCase) -> Result<(), StoreError> {
        let table = match self.last.take().filter(|table| table.name == name) {
            Some(table) => table,
            None => match self.tables.get(name) {
                Some(table) => Arc::clone(table),
                None => return Ok(()),
            },
        };
        let done = self.table_event(&table, case);
        self.last = Some(table);
        done
    }

    fn table_event(&mut self, table: &Arc<Table>, case: &PreUpdateCase) -> Result<(), StoreError> {
        let read =
            |result: rusqlite::Result<ValueRef<'_>>| value(result?).map_err(|error| unread(&error));
        let (old, new) = match case {
            PreUpdateCase::Insert(new) => (None, Some(new)),
            PreUpdateCase::Delete(old) => (Some(old), None),
            PreUpdateCase::Update {
                old_value_accessor,
                new_value_accessor,
            } => (Some(old_value_accessor), Some(new_value_accessor)),
            PreUpdateCase::Unknown => return Err(unread(&"an event SQLite does not name")),
        };
        let columns = || table.columns.iter().map(|column| column.index);
        let old: Option<Row> = old
            .map(|old| {
                columns()
                    .map(|at| read(old.get_old_column_value(at)))
                    .collect()
            })
            .transpose()?;
        let new: Option<Row> = new
            .map(|new| {
                columns()
                    .map(|at| read(new.get_new_column_value(at)))
                    .collect()
            })
            .transpose()?;
        let moved = match (&old, &new) {
            (Some(old), Some(new)) => table.key.iter().any(|&at| old[at] != new[at]),
            _ => false,
        };
        if moved {
            self.touch(table, old, None)?;
            self.touch(table, None, new)
        } else {
            self.touch(table, old, new)
        }
    }
}

fn unread(why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Statement(format!("cannot capture: {why}"))
}

/// Sets the hook; it must be the first thing done to a writable connection, because a DELETE
/// without WHERE prepared before it would delete unseen.
pub(super) fn hook(db: &mut Connection, capture: &Shared) -> Result<(), StoreError> {
    lock(capture).directory = spill::directory(db).to_owned();
    let capture = Arc::clone(capture);
    db.preupdate_hook(Some(
        move |_: Action, database: &str, table: &str, case: &PreUpdateCase| {
            let mut capture = lock(&capture);
            if capture.enabled
                && capture.failed.is_none()
                && database == "main"
                && let Err(error) = capture.event(table, case)
            {
                capture.failed = Some(error);
            }
        },
    ))?;
    Ok(())
}

/// What a transaction did, and what memory has to learn of it once it is committed.
#[derive(Default)]
pub(super) struct Collected {
    pub changes: Rows,
    /// Tables that now have generations beyond the first.
    pub mixed: Vec<i64>,
    /// How far the log was folded on the way.
    pub folded: Option<i64>,
    /// What parked rows may wait for.
    pub settle: Settle,
}

/// The net changes of the open transaction; `undone` where something was rolled back within.
pub(super) fn collect(
    db: &Connection,
    capture: &Shared,
    tables: &[Arc<Table>],
    memory: &Memory,
    stamp: Stamp,
    undone: bool,
) -> Result<Collected, StoreError> {
    let mut state = lock(capture);
    if let Some(error) = state.failed.take() {
        return Err(error);
    }
    state.enabled = false;
    if state.away.is_some() {
        state.put_away()?;
    }
    let touched = std::mem::take(&mut state.touched);
    let away = state.away.take();
    let directory = state.directory.clone();
    let keys = Arc::clone(&state.keys);
    drop(state);
    let mut collected = Collected::default();
    if memory.parked && (!touched.is_empty() || away.is_some()) {
        // Writing over a parked row needs its clock.
        let folded = memory.unfolded.from;
        let end = fold::fold(db, tables, &memory.origins, folded, &memory.unfolded)?;
        collected.folded = Some(end);
    }
    let mut gathered = Gathered::default();
    let mut places: HashMap<i64, usize> = HashMap::new();
    let mut last = None;
    let mut add = |collected: &mut Collected, touched: Touched| {
        let table = Arc::clone(&touched.table);
        let Some(row) = change(db, tables, memory, collected, touched, stamp, &keys)? else {
            return Ok::<_, StoreError>(());
        };
        let size = if away.is_some() { weight(&row) } else { 0 };
        let changes = gathered.changes();
        let at = match last {
            Some((id, at)) if id == table.id => at,
            _ => *places.entry(table.id).or_insert_with(|| {
                changes.push(TableChange {
                    table: table.tid,
                    rows: Vec::new(),
                });
                changes.len() - 1
            }),
        };
        last = Some((table.id, at));
        changes[at].rows.push(row);
        if gathered.added(&directory, size)? {
            places.clear();
            last = None;
        }
        too_large(gathered.size())
    };
    for mut touched in touched {
        if undone {
            touched.after = current(db, &touched.table, &touched.key)?;
        }
        add(&mut collected, touched)?;
    }
    if let Some(away) = &away {
        away.each(|(id, key, before)| {
            let Some(table) = tables.iter().find(|table| table.id == id) else {
                return Ok(());
            };
            let touched = Touched {
                after: current(db, table, &key)?,
                table: Arc::clone(table),
                key,
                before,
            };
            add(&mut collected, touched)
        })?;
    }
    collected.changes = gathered.finish(&directory)?;
    for table in &collected.mixed {
        set_mixed(db, *table)?;
    }
    Ok(collected)
}

/// About how many bytes of memory a change takes.
fn weight(row: &RowChange) -> usize {
    let write = match &row.write {
        RowWrite::Insert(row) => spill::size(row),
        RowWrite::Update(cells) => {
            let cell = |cell: &(u16, Value)| spill::size(std::slice::from_ref(&cell.1));
            cells.iter().map(cell).sum()
        }
        RowWrite::Delete => 0,
    };
    NOTE + spill::size(&row.key) + write
}

/// Refuses a transaction of more bytes than peers take.
pub(super) fn too_large(size: u64) -> Result<(), StoreError> {
    if size <= MAX_TRANSACTION as u64 {
        return Ok(());
    }
    Err(StoreError::TooLarge {
        size: usize::try_from(size).unwrap_or(usize::MAX),
        max: MAX_TRANSACTION,
    })
}

/// From now on generations have to be looked up in this table.
pub(super) fn set_mixed(db: &Connection, table: i64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE _tutti_table SET mixed = 1 WHERE id = ?")?
        .execute([table])?;
    Ok(())
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

/// A number that points at a text SQLite forgets when its parent goes.
fn check_loose(table: &Table, old: Option<&Row>, new: Option<&Row>) -> Result<(), StoreError> {
    let Some(row) = new else {
        return Ok(());
    };
    let number = |at: &&usize| matches!(row[**at], Value::Integer(_) | Value::Real(_));
    let news = |at: &&usize| old.is_none_or(|old| old[**at] != row[**at]);
    let Some(&at) = table.loose.iter().filter(number).find(news) else {
        return Ok(());
    };
    Err(StoreError::Refused(format!(
        "table {}: {} holds a number and points at a TEXT column; write it as a text, or declare \
         the column as TEXT",
        table.label, table.columns[at].name
    )))
}

fn change(
    db: &Connection,
    tables: &[Arc<Table>],
    memory: &Memory,
    collected: &mut Collected,
    touched: Touched,
    stamp: Stamp,
    keys: &keys::Shared,
) -> Result<Option<RowChange>, StoreError> {
    let Touched {
        table,
        key,
        before,
        after,
    } = touched;
    if memory.parked && table.is_constrained() && before != after {
        let rows = (before.as_ref(), after.as_ref());
        let settle = &mut collected.settle;
        settle.wrote(db, tables, &table, rows.0, rows.1)?;
    }
    check_loose(&table, before.as_ref(), after.as_ref())?;
    let existed = before.is_some();
    let write = match (before, after) {
        (None, None) => return Ok(None),
        (None, Some(row)) => RowWrite::Insert(row),
        (Some(_), None) => RowWrite::Delete,
        (Some(old), Some(mut new)) => {
            let mut changed: Vec<usize> = (0..new.len()).filter(|&c| old[c] != new[c]).collect();
            if changed.is_empty() {
                return Ok(None);
            }
            table.tied(&mut changed);
            let cell = |column: usize| (column as u16, std::mem::take(&mut new[column]));
            RowWrite::Update(changed.into_iter().map(cell).collect())
        }
    };
    let mixed = !memory.mixed.is_empty() && memory.mixed.contains(&table.id);
    let mut unknown = !existed;
    let before = if mixed || memory.parked {
        let encoded = encode_key(&key);
        let found = memory.generation(db, table.id, &encoded)?;
        if memory.parked
            && let RowWrite::Insert(row) = &write
            && let Some(clock) = log::load_clock(db, table.id, &encoded)?
        {
            let settle = &mut collected.settle;
            overwrite_parked(db, settle, &table, &encoded, row, &clock, stamp)?;
        }
        // The tombstone of a key that is unknown here may still be held by a peer.
        let floor = memory.floors.get(&table.id).copied().unwrap_or(0);
        unknown &= found.is_none();
        found.unwrap_or(if existed { 1 } else { floor })
    } else {
        u32::from(existed)
    };
    if unknown {
        keys::allowed(keys, &table, &key)?;
    }
    let generation = match &write {
        // A row that lives but is parked is invisible here, so writing it looks like an insert.
        RowWrite::Insert(_) if before % 2 == 1 => before,
        RowWrite::Insert(_) | RowWrite::Delete => next_generation(&table, before)?,
        RowWrite::Update(_) => before,
    };
    if generation > 1 && !mixed && !collected.mixed.contains(&table.id) {
        collected.mixed.push(table.id);
    }
    Ok(Some(RowChange {
        key,
        generation,
        write,
    }))
}

/// A row's next life or death.
fn next_generation(table: &Table, before: u32) -> Result<u32, StoreError> {
    if before >= MAX_GENERATION {
        return Err(StoreError::Refused(format!(
            "table {}: a row was deleted and inserted again as often as can be told; write it \
             under another key",
            table.name
        )));
    }
    Ok(before + 1)
}

/// A parked row is invisible to writers: what an insert writes over goes to the inbox.
fn overwrite_parked(
    db: &Connection,
    settle: &mut Settle,
    table: &Arc<Table>,
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
    // What it claimed may be another parked row's now.
    settle.touch(table, &parked)?;
    settle::unpark(db, table.id, key)
}
