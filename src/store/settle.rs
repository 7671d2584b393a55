//! Constraints after a merge: which of the merged rows are visible.
//!
//! A row loses a UNIQUE key to a living row of higher (stamp, key) that claims it, visible or
//! not; after that, rows whose FOREIGN KEY finds no visible parent are hidden until none is left
//! (the greatest fixpoint). Hidden rows are parked and looked at again at every change, so what
//! is visible depends on the merged versions only, never on the order of arrival.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::apply::{place, remove};
use super::capture::{Row, current};
use super::memory::RowName;
use super::schema::{ForeignKey, Table, quote};
use super::tx::{Bind, query};
use super::writer::Writer;
use super::{StoreError, log};
use crate::replica::clock::Stamp;
use crate::replica::value::{Value, decode, encode, encode_key};

/// Rows on their way: taken out of their table, not yet placed.
#[derive(Default)]
pub(super) struct Settle {
    pending: BTreeMap<RowName, (Arc<Table>, Row)>,
    /// Rows that were visible; their children may have lost a parent.
    removed: Vec<(Arc<Table>, Row)>,
    touched: bool,
}

/// Looks at all parked rows again, after a local commit or a restart.
pub(super) fn repair(writer: &mut Writer) -> Result<(), StoreError> {
    if !writer.memory.parked {
        return Ok(());
    }
    writer.fold_now()?;
    writer.applying(|writer| {
        let settle = Settle {
            touched: true,
            ..Settle::default()
        };
        settle.run(&writer.db, &writer.tables)
    })?;
    writer.memory.parked = super::memory::parked(&writer.db)?;
    writer.show_all();
    Ok(())
}

impl Settle {
    /// Whether rows are on their way.
    pub fn is_open(&self) -> bool {
        self.touched
    }

    /// A merged row that is not visible: on its way or parked.
    pub fn merged(
        &self,
        db: &Connection,
        table: &Table,
        key: &[u8],
    ) -> Result<Option<Row>, StoreError> {
        if let Some((_, row)) = self.pending.get(&(table.id, key.to_vec())) {
            return Ok(Some(row.clone()));
        }
        parked(db, table.id, key)
    }

    /// Notes a row's new merged content; it is no longer in its table.
    pub fn changed(
        &mut self,
        db: &Connection,
        table: &Arc<Table>,
        key: Vec<u8>,
        visible: Option<Row>,
        new: Option<Row>,
    ) -> Result<(), StoreError> {
        self.touched = true;
        unpark(db, table.id, &key)?;
        self.removed
            .extend(visible.map(|row| (Arc::clone(table), row)));
        let name = (table.id, key);
        match new {
            Some(row) => self.pending.insert(name, (Arc::clone(table), row)),
            None => self.pending.remove(&name),
        };
        Ok(())
    }

    /// Decides who is visible and places those rows.
    pub fn run(mut self, db: &Connection, tables: &[Arc<Table>]) -> Result<(), StoreError> {
        if !self.touched {
            return Ok(());
        }
        self.take_parked(db, tables)?;
        self.take_competitors(db)?;
        let losers = self.losers(db)?;
        let mut placed = Vec::new();
        for (name, (table, row)) in std::mem::take(&mut self.pending) {
            if losers.contains_key(&name) {
                park(db, &name, &row, "UNIQUE")?;
            } else {
                place(db, &table, &row)?;
                placed.push((table, row));
            }
        }
        self.foreign_keys(db, tables, placed)
    }

    fn take_parked(&mut self, db: &Connection, tables: &[Arc<Table>]) -> Result<(), StoreError> {
        let mut statement = db.prepare_cached("SELECT tbl, key, row FROM _tutti_hidden")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name: RowName = (row.get(0)?, row.get(1)?);
            let bytes: Vec<u8> = row.get(2)?;
            let table = tables.iter().find(|table| table.id == name.0);
            if let (Some(table), Some(row)) = (table, decode(&bytes)) {
                self.pending
                    .entry(name)
                    .or_insert_with(|| (Arc::clone(table), row));
            }
        }
        drop(rows);
        db.execute("DELETE FROM _tutti_hidden", [])?;
        Ok(())
    }

    /// Vacates every visible row that claims a unique key of a pending one.
    fn take_competitors(&mut self, db: &Connection) -> Result<(), StoreError> {
        let mut queue: Vec<_> = self.pending.values().cloned().collect();
        while let Some((table, row)) = queue.pop() {
            for unique in &table.uniques {
                let Some(claim) = claim(&row, &unique.columns) else {
                    continue;
                };
                for other in find(db, &table, &unique.columns, &claim)? {
                    let key = key_of(&table, &other);
                    remove(db, &table, &key)?;
                    self.removed.push((Arc::clone(&table), other.clone()));
                    let name = (table.id, encode_key(&key));
                    let entry = (Arc::clone(&table), other);
                    queue.push(entry.clone());
                    self.pending.insert(name, entry);
                }
            }
        }
        Ok(())
    }

    /// The pending rows that lose a unique key.
    fn losers(&self, db: &Connection) -> Result<BTreeMap<RowName, ()>, StoreError> {
        type Claim = (i64, usize, Vec<u8>);
        let mut best: BTreeMap<Claim, (Stamp, &RowName)> = BTreeMap::new();
        let mut losers = BTreeMap::new();
        for (name, (table, row)) in &self.pending {
            if table.uniques.is_empty() {
                continue;
            }
            let Some(clock) = log::load_clock(db, name.0, &name.1)? else {
                return Err(StoreError::Damaged("a row without its clock".into()));
            };
            for (number, unique) in table.uniques.iter().enumerate() {
                let Some(claim) = claim(row, &unique.columns) else {
                    continue;
                };
                let stamps = unique.columns.iter().map(|&c| clock.column(c as u16));
                let rank = (stamps.max().unwrap_or(clock.row), name);
                let place = (table.id, number, encode_key(&claim));
                match best.get_mut(&place) {
                    None => {
                        best.insert(place, rank);
                    }
                    Some(other) if *other > rank => {
                        losers.insert(name.clone(), ());
                    }
                    Some(other) => {
                        losers.insert(other.1.clone(), ());
                        *other = rank;
                    }
                }
            }
        }
        Ok(losers)
    }

    /// Hides rows without a parent, and then their children, until all have one.
    fn foreign_keys(
        self,
        db: &Connection,
        tables: &[Arc<Table>],
        placed: Vec<(Arc<Table>, Row)>,
    ) -> Result<(), StoreError> {
        let mut check = placed;
        let mut removed = self.removed;
        loop {
            for (parent, row) in std::mem::take(&mut removed) {
                check.extend(children(db, tables, &parent, &row)?);
            }
            let Some((table, row)) = check.pop() else {
                return Ok(());
            };
            for foreign in &table.foreign {
                if has_parent(db, foreign, &row)? {
                    continue;
                }
                let key = key_of(&table, &row);
                if current(db, &table, &key)?.is_some() {
                    remove(db, &table, &key)?;
                    park(db, &(table.id, encode_key(&key)), &row, "FOREIGN KEY")?;
                    removed.push((Arc::clone(&table), row.clone()));
                }
                break;
            }
        }
    }
}

fn park(db: &Connection, name: &RowName, row: &Row, reason: &str) -> Result<(), StoreError> {
    db.prepare_cached("REPLACE INTO _tutti_hidden(tbl, key, row, reason) VALUES (?, ?, ?, ?)")?
        .execute(params![name.0, name.1, encode(row), reason])?;
    Ok(())
}

/// A parked row.
pub(super) fn parked(db: &Connection, table: i64, key: &[u8]) -> Result<Option<Row>, StoreError> {
    let row: Option<Vec<u8>> = db
        .prepare_cached("SELECT row FROM _tutti_hidden WHERE tbl = ? AND key = ?")?
        .query_row(params![table, key], |row| row.get(0))
        .optional()?;
    Ok(row.as_deref().and_then(decode))
}

pub(super) fn unpark(db: &Connection, table: i64, key: &[u8]) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM _tutti_hidden WHERE tbl = ? AND key = ?")?
        .execute(params![table, key])?;
    Ok(())
}

fn key_of(table: &Table, row: &Row) -> Row {
    table.key.iter().map(|&at| row[at].clone()).collect()
}

/// The values of a constraint's columns, unless one is NULL, which claims nothing.
fn claim(row: &Row, columns: &[usize]) -> Option<Row> {
    let values = columns.iter().map(|&at| row.get(at).cloned());
    let values: Option<Row> = values.collect();
    values.filter(|values| !values.contains(&Value::Null))
}

fn equal(columns: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = columns
        .map(|name| format!("{} = ?", quote(&name)))
        .collect();
    parts.join(" AND ")
}

fn find(
    db: &Connection,
    table: &Table,
    columns: &[usize],
    values: &Row,
) -> Result<Vec<Row>, StoreError> {
    let list: Vec<String> = table.columns.iter().map(|c| quote(&c.name)).collect();
    let names = columns.iter().map(|&at| table.columns[at].name.clone());
    let sql = format!(
        "SELECT {} FROM {} WHERE {}",
        list.join(", "),
        quote(&table.name),
        equal(names)
    );
    query(db, &sql, values)
}

fn has_parent(db: &Connection, foreign: &ForeignKey, row: &Row) -> Result<bool, StoreError> {
    let Some(values) = claim(row, &foreign.columns) else {
        return Ok(true);
    };
    if foreign.parent_columns.len() != values.len() {
        return Ok(true);
    }
    let sql = format!(
        "SELECT 1 FROM {} WHERE {} LIMIT 1",
        quote(&foreign.parent),
        equal(foreign.parent_columns.iter().cloned())
    );
    let mut statement = db.prepare_cached(&sql)?;
    Ok(statement.exists(rusqlite::params_from_iter(values.iter().map(Bind)))?)
}

/// The visible rows that point at a row which is no longer there.
fn children(
    db: &Connection,
    tables: &[Arc<Table>],
    parent: &Table,
    row: &Row,
) -> Result<Vec<(Arc<Table>, Row)>, StoreError> {
    let mut found = Vec::new();
    for table in tables {
        for foreign in table.foreign.iter().filter(|f| f.parent == parent.name) {
            let columns: Option<Vec<usize>> = foreign
                .parent_columns
                .iter()
                .map(|name| parent.column(name))
                .collect();
            let Some(values) = columns.and_then(|columns| claim(row, &columns)) else {
                continue;
            };
            let sql = format!(
                "SELECT 1 FROM {} WHERE {} LIMIT 1",
                quote(&parent.name),
                equal(foreign.parent_columns.iter().cloned())
            );
            let mut there = db.prepare_cached(&sql)?;
            if there.exists(rusqlite::params_from_iter(values.iter().map(Bind)))? {
                continue;
            }
            let rows = find(db, table, &foreign.columns, &values)?;
            found.extend(rows.into_iter().map(|row| (Arc::clone(table), row)));
        }
    }
    Ok(found)
}
