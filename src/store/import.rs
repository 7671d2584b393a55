//! Importing an SQLite file: its tables are declared, parents first, its rows loaded, then its
//! indexes and triggers declared.
//!
//! Rows that point at later rows of their own table, or of one that is loaded later, are loaded
//! without that and get it when all are there; where they cannot be without, all are loaded in one
//! transaction. Rows that are there already are left as they are, so an import that failed can be
//! run again.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, ffi};

use super::capture::Row;
use super::inbox::spoken;
use super::schema::{ForeignKey, Table, quote};
use super::tx::row_values;
use super::{Store, StoreError, Tx, claim, settle, spill};
use crate::replica::value::Value;

/// How many rows one transaction loads at most.
const ROWS: usize = 1_000;
/// After how many bytes of rows a transaction ends.
const BYTES: usize = 4 << 20;

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ImportReport {
    /// Each table with its number of rows, in the order they were loaded; rows that were there
    /// already are not counted.
    pub tables: Vec<(String, u64)>,
    /// Indexes and triggers that do not replicate, each with the reason.
    pub skipped: Vec<String>,
}

/// A table of the file.
struct Theirs {
    name: String,
    sql: String,
    /// The tables that it points at by number, itself too, and whether all of its rows have to.
    points: Vec<(usize, bool)>,
    /// The columns that may be NULL.
    may_be_null: Vec<String>,
}

/// The tables of a file.
fn tables(file: &Connection) -> Result<Vec<Theirs>, StoreError> {
    let mut statement = file.prepare(
        "SELECT name, sql FROM sqlite_schema \
         WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         AND name NOT LIKE '\\_tutti\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    let all = statement.query_map([], |row| {
        Ok(Theirs {
            name: row.get(0)?,
            sql: row.get(1)?,
            points: Vec::new(),
            may_be_null: Vec::new(),
        })
    })?;
    let mut all: Vec<Theirs> = all.collect::<Result<_, _>>()?;
    let names: Vec<String> = all.iter().map(|table| table.name.clone()).collect();
    let mut columns = file.prepare(
        "SELECT name FROM pragma_table_xinfo(?1) WHERE NOT \"notnull\" AND NOT pk AND NOT hidden",
    )?;
    let mut keys = file
        .prepare("SELECT id, \"table\", \"from\" FROM pragma_foreign_key_list(?1) ORDER BY id")?;
    for table in &mut all {
        let found = columns.query_map([&table.name], |row| row.get(0))?;
        table.may_be_null = found.collect::<Result<_, _>>()?;
        let mut last = None;
        let mut rows = keys.query([&table.name])?;
        while let Some(row) = rows.next()? {
            let (id, parent, from): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let parent = names
                .iter()
                .position(|name| name.eq_ignore_ascii_case(&parent));
            let Some(parent) = parent else {
                continue;
            };
            if last.replace(id) != Some(id) {
                table.points.push((parent, true));
            }
            let optional = table
                .may_be_null
                .iter()
                .any(|name| name.eq_ignore_ascii_case(&from));
            if let (true, Some(point)) = (optional, table.points.last_mut()) {
                point.1 = false;
            }
        }
    }
    Ok(all)
}

/// Puts together what points at each other, by way of others too, and each before what points at
/// it; `points` tells at what one points.
fn rings(all: &[usize], points: impl Fn(usize) -> Vec<usize>) -> Vec<Vec<usize>> {
    let reached = |from: usize| {
        let mut found = BTreeSet::from([from]);
        let mut next = vec![from];
        while let Some(at) = next.pop() {
            let to = points(at).into_iter().filter(|to| all.contains(to));
            next.extend(to.filter(|to| found.insert(*to)));
        }
        found
    };
    // Who reaches another, and is not reached by it, reaches more.
    let mut sorted: Vec<(usize, BTreeSet<usize>, usize)> = all
        .iter()
        .map(|&table| (table, reached(table)))
        .map(|(table, found)| (found.len(), found, table))
        .collect();
    sorted.sort();
    let rings = sorted.chunk_by(|one, other| one.1 == other.1);
    rings
        .map(|ring| ring.iter().map(|one| one.2).collect())
        .collect()
}

/// Tables that are loaded together: one, or several that point at each other.
struct Ring {
    tables: Vec<usize>,
    /// Whether each row has to have what it points at at once.
    strict: bool,
}

/// All tables in the order in which they are loaded.
fn ordered(all: &[Theirs]) -> Vec<Ring> {
    let points = |at: usize| all[at].points.iter().map(|point| point.0).collect();
    let must = |at: usize| {
        let points = all[at].points.iter().filter(|point| point.1);
        points.map(|point| point.0).collect::<Vec<usize>>()
    };
    let numbers: Vec<usize> = (0..all.len()).collect();
    let ring = |tables: Vec<usize>| {
        let within = rings(&tables, must);
        let strict = within
            .iter()
            .any(|part| part.len() > 1 || must(part[0]).contains(&part[0]));
        Ring {
            tables: within.concat(),
            strict,
        }
    };
    rings(&numbers, points).into_iter().map(ring).collect()
}

pub(super) fn import(
    store: &Store,
    path: &Path,
    report: &mut ImportReport,
) -> Result<(), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let done = load_all(store, path, flags, report);
    done.map_err(|error| match error {
        // What is wrong with the file is not wrong with our own.
        StoreError::Corrupt(why) => StoreError::Refused(format!("{}: {why}", path.display())),
        other => other,
    })
    .map_err(|error| further(error, report))
}

/// Why an import failed, with what is there already and how it goes on.
fn further(error: StoreError, report: &ImportReport) -> StoreError {
    let loaded = report.tables.iter().filter(|table| table.1 > 0);
    let loaded: Vec<String> = loaded
        .map(|(name, rows)| format!("{name} {rows} rows"))
        .collect();
    match error {
        error @ (StoreError::Io { .. } | StoreError::Damaged(_)) => error,
        error if loaded.is_empty() => error,
        error => StoreError::Refused(format!(
            "{error}. Loaded so far: {}. They stay; import the file again once that is mended, \
             and it goes on from there",
            loaded.join(", ")
        )),
    }
}

fn load_all(
    store: &Store,
    path: &Path,
    flags: OpenFlags,
    report: &mut ImportReport,
) -> Result<(), StoreError> {
    let file = Connection::open_with_flags(path, flags)?;
    let all = tables(&file)?;
    let rings = ordered(&all);
    for &table in rings.iter().flat_map(|ring| &ring.tables) {
        store.declare(&all[table].sql)?;
    }
    for ring in &rings {
        let from = report.tables.len();
        let names = ring
            .tables
            .iter()
            .map(|&table| (all[table].name.clone(), 0));
        report.tables.extend(names);
        load_ring(store, &file, &all, ring, &mut report.tables[from..])?;
    }
    let mut statement = file.prepare(
        "SELECT name, sql FROM sqlite_schema WHERE type IN ('index', 'trigger') \
         AND sql IS NOT NULL AND name NOT LIKE '\\_tutti\\_%' ESCAPE '\\' ORDER BY type, name",
    )?;
    let parts = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (name, sql) in parts.collect::<Result<Vec<(String, String)>, _>>()? {
        match store.declare(&sql) {
            Ok(()) => {}
            // The rows are what an import is for; a person is told of the rest.
            Err(error @ StoreError::Schema(_)) => report.skipped.push(format!("{name}: {error}")),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Loads tables that point at each other, counting what is there for good.
fn load_ring(
    store: &Store,
    file: &Connection,
    all: &[Theirs],
    ring: &Ring,
    loaded: &mut [(String, u64)],
) -> Result<(), StoreError> {
    let load = |(at, &table)| Load::new(store, all, table, &ring.tables[at..]);
    let loads = ring.tables.iter().enumerate().map(load);
    let mut loads: Vec<Load> = loads.collect::<Result<_, _>>()?;
    if ring.strict {
        return at_once(store, file, &mut loads, loaded);
    }
    for at in 0..loads.len() {
        let load = &mut loads[at];
        let select = load.select.clone();
        let from = (&*select, load.table.columns.len());
        let each = |tx: &mut Tx<'_>, row| load.row(tx, row, false);
        match in_steps(store, file, from, &mut loaded[at].1, each) {
            // A CHECK may want what a row points at, too.
            Err(StoreError::Sqlite(error)) if loads[at].postponed && is_check(&error) => {
                for load in &mut loads {
                    load.resumed = true;
                }
                return at_once(store, file, &mut loads, loaded);
            }
            other => other?,
        }
    }
    for load in loads.iter().filter(|load| load.postponed) {
        // All that they point at is there now.
        let from = (&*load.select, load.table.columns.len());
        let each = |tx: &mut Tx<'_>, row| load.point(tx, &row).map(|()| false);
        in_steps(store, file, from, &mut 0, each)?;
    }
    Ok(())
}

fn is_check(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(ffi::SQLITE_CONSTRAINT_CHECK)
}

/// Loads tables in one transaction.
fn at_once(
    store: &Store,
    file: &Connection,
    loads: &mut [Load],
    loaded: &mut [(String, u64)],
) -> Result<(), StoreError> {
    let done = store.transact(|tx| {
        tx.defer_foreign_keys()?;
        let mut counts = Vec::new();
        for load in loads.iter_mut() {
            let mut statement = file.prepare(&load.select)?;
            let mut rows = statement.query([])?;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                count +=
                    u64::from(load.row(tx, row_values(row, load.table.columns.len())?, true)?);
            }
            counts.push(count);
        }
        Ok(counts)
    });
    let names = || {
        loaded
            .iter()
            .map(|table| table.0.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let counts = done.map_err(|error| match error {
        StoreError::TooLarge { max, .. } => StoreError::Refused(format!(
            "rows of {} have to have what they point at at once, and so are loaded in one \
             transaction, which holds at most {} MiB: take NOT NULL or CHECK from such a column \
             in the file, or insert the rows in an order of your own",
            names(),
            max >> 20
        )),
        other => other,
    })?;
    for (table, count) in loaded.iter_mut().zip(counts) {
        table.1 += count;
    }
    Ok(())
}

/// Hands out the rows of a query in transactions of a bounded size; `counted` grows by those for
/// which `each` is true, once they are there for good.
fn in_steps(
    store: &Store,
    file: &Connection,
    (sql, width): (&str, usize),
    counted: &mut u64,
    mut each: impl FnMut(&mut Tx<'_>, Row) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let mut statement = file.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut more = true;
    while more {
        *counted += store.transact(|tx| {
            let (mut taken, mut bytes, mut count) = (0, 0, 0);
            while taken < ROWS && bytes < BYTES {
                let Some(row) = rows.next()? else {
                    more = false;
                    break;
                };
                let row = row_values(row, width)?;
                taken += 1;
                bytes += spill::size(&row);
                count += u64::from(each(tx, row)?);
            }
            Ok(count)
        })?;
    }
    Ok(())
}

/// A FOREIGN KEY to rows that may be loaded later.
struct Later {
    key: ForeignKey,
    /// Finds what a row points at.
    find: String,
    /// The column that is NULL until all rows are there.
    waits: usize,
}

/// A table being loaded.
struct Load {
    table: Arc<Table>,
    /// Reads the file's rows.
    select: String,
    later: Vec<Later>,
    /// Whether rows were there before.
    resumed: bool,
    /// Whether rows were loaded without what they point at.
    postponed: bool,
}

impl Load {
    /// `table` of all; `after` are it and those that are loaded after it and may be pointed at.
    fn new(
        store: &Store,
        all: &[Theirs],
        table: usize,
        after: &[usize],
    ) -> Result<Self, StoreError> {
        let theirs = &all[table];
        let table = store.table(&theirs.name)?.0;
        let columns: Vec<String> = table.columns.iter().map(|c| quote(&c.name)).collect();
        let (list, name) = (columns.join(", "), quote(&table.name));
        let later = |key: &ForeignKey| {
            let is_parent = |at: &&usize| all[**at].name.eq_ignore_ascii_case(&key.parent);
            after.iter().find(is_parent)?;
            let may = |at: &&usize| {
                let name = &table.columns[**at].name;
                theirs
                    .may_be_null
                    .iter()
                    .any(|other| other.eq_ignore_ascii_case(name))
            };
            Some(Later {
                waits: *key.columns.iter().find(may)?,
                find: format!(
                    "SELECT 1 FROM {} WHERE {}",
                    quote(&key.parent),
                    claim::equal(key.parent_columns.iter().cloned())
                ),
                key: key.clone(),
            })
        };
        let any = format!("SELECT 1 FROM {name} LIMIT 1");
        Ok(Load {
            select: format!("SELECT {list} FROM {name}"),
            later: table.foreign.iter().filter_map(later).collect(),
            resumed: !store.read(|reader| reader.query(&any, &[]))?.is_empty(),
            postponed: false,
            table,
        })
    }

    /// Loads one row, `whole` or without what it points at as long as that is not there; whether
    /// it was not there already.
    fn row(&mut self, tx: &mut Tx<'_>, mut row: Row, whole: bool) -> Result<bool, StoreError> {
        if self.resumed && self.is_there(tx, &row)? {
            if whole {
                self.point(tx, &row)?;
            }
            self.postponed |= !self.later.is_empty();
            return Ok(false);
        }
        if !whole {
            for later in &self.later {
                let Some(values) = claim::values(&row, &later.key.columns) else {
                    continue;
                };
                if tx.query(&later.find, &values)?.is_empty() {
                    row[later.waits] = Value::Null;
                    self.postponed = true;
                }
            }
        }
        tx.execute(&self.table.insert, &row)?;
        Ok(true)
    }

    /// Whether a row is there, or what an import that failed left of it; one with other content is
    /// an error.
    fn is_there(&self, tx: &mut Tx<'_>, row: &Row) -> Result<bool, StoreError> {
        let key = settle::key_of(&self.table, row);
        let Some(there) = tx.query(&self.table.select, &key)?.pop() else {
            return Ok(false);
        };
        let waits = |at: usize| self.later.iter().any(|later| later.waits == at);
        let same = |at: &usize| there[*at] == row[*at] || there[*at] == Value::Null && waits(*at);
        if (0..row.len()).all(|at| same(&at)) {
            return Ok(true);
        }
        let key: Vec<String> = key.iter().map(spoken).collect();
        Err(StoreError::Refused(format!(
            "table {}: the row {} is here already and is another in the file; change or delete \
             one of them",
            self.table.name,
            key.join(", ")
        )))
    }

    /// Writes what a row points at where it was left out.
    fn point(&self, tx: &mut Tx<'_>, row: &Row) -> Result<(), StoreError> {
        for later in &self.later {
            let value = &row[later.waits];
            if *value == Value::Null {
                continue;
            }
            let column = quote(&self.table.columns[later.waits].name);
            let terms = claim::equal(self.table.key_names().into_iter());
            let sql = format!(
                "UPDATE {} SET {column} = ? WHERE {terms} AND {column} IS NULL",
                quote(&self.table.name)
            );
            let mut values = vec![value.clone()];
            values.extend(settle::key_of(&self.table, row));
            tx.execute(&sql, &values)?;
        }
        Ok(())
    }
}
