//! Importing an SQLite file: its tables are declared, parents first, its rows loaded, then its
//! indexes and triggers declared.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::schema::quote;
use super::tx::row_values;
use super::{Store, StoreError};
use crate::replica::value::Value;

/// How many rows one transaction loads.
const ROWS: usize = 1_000;

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ImportReport {
    /// Each table with its number of rows, in the order they were loaded.
    pub tables: Vec<(String, u64)>,
    /// Indexes and triggers that do not replicate, each with the reason.
    pub skipped: Vec<String>,
}

/// The tables of a file, parents before children, with their CREATE statements.
fn ordered(file: &Connection) -> Result<Vec<(String, String)>, StoreError> {
    let mut statement = file.prepare(
        "SELECT name, sql FROM sqlite_schema \
         WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         AND name NOT LIKE '\\_tutti\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    let all = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut left: Vec<(String, String)> = all.collect::<Result<_, _>>()?;
    let mut parents = file.prepare("SELECT \"table\" FROM pragma_foreign_key_list(?1)")?;
    let mut done: Vec<(String, String)> = Vec::new();
    while !left.is_empty() {
        let mut ready = None;
        for (at, (name, _)) in left.iter().enumerate() {
            let names = parents.query_map([name], |row| row.get(0))?;
            let names: Vec<String> = names.collect::<Result<_, _>>()?;
            let waits = |parent: &String| {
                !parent.eq_ignore_ascii_case(name)
                    && left
                        .iter()
                        .any(|other| other.0.eq_ignore_ascii_case(parent))
            };
            if !names.iter().any(waits) {
                ready = Some(at);
                break;
            }
        }
        // Tables that point at each other have no order; the next by name goes first.
        done.push(left.remove(ready.unwrap_or(0)));
    }
    Ok(done)
}

pub(super) fn import(
    store: &Store,
    path: &Path,
    report: &mut ImportReport,
) -> Result<(), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // What is wrong with the file is not wrong with our own.
    let unreadable = |error: StoreError| match error {
        StoreError::Corrupt(why) => StoreError::Refused(format!("{}: {why}", path.display())),
        other => other,
    };
    load_all(store, path, flags, report).map_err(unreadable)
}

fn load_all(
    store: &Store,
    path: &Path,
    flags: OpenFlags,
    report: &mut ImportReport,
) -> Result<(), StoreError> {
    let file = Connection::open_with_flags(path, flags)?;
    let tables = ordered(&file)?;
    for (_, sql) in &tables {
        store.declare(sql)?;
    }
    for (name, _) in tables {
        report.tables.push((name.clone(), 0));
        let loaded = report.tables.last_mut().map(|(_, rows)| rows);
        load(store, &file, &name, loaded.unwrap_or(&mut 0))?;
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

/// Loads one table, counting what is there for good.
fn load(store: &Store, file: &Connection, name: &str, loaded: &mut u64) -> Result<(), StoreError> {
    let table = store.table(name)?.0;
    let columns: Vec<String> = table.columns.iter().map(|c| quote(&c.name)).collect();
    let list = columns.join(", ");
    let marks = vec!["?"; columns.len()].join(", ");
    let insert = format!("INSERT INTO {} ({list}) VALUES ({marks})", quote(name));
    let mut statement = file.prepare(&format!("SELECT {list} FROM {}", quote(name)))?;
    let mut rows = statement.query([])?;
    loop {
        let mut batch: Vec<Vec<Value>> = Vec::with_capacity(ROWS);
        while batch.len() < ROWS {
            match rows.next()? {
                Some(row) => batch.push(row_values(row, columns.len())?),
                None => break,
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        store.transact(|tx| {
            // Rows may point at later rows of their own table.
            tx.defer_foreign_keys()?;
            for row in &batch {
                tx.execute(&insert, row)?;
            }
            Ok(())
        })?;
        *loaded += batch.len() as u64;
    }
}
