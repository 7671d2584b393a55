//! Foreign keys of merged rows: who finds a visible parent, and who waits for one.

use std::sync::Arc;

use rusqlite::Connection;

use super::StoreError;
use super::apply::remove;
use super::capture::{Row, current};
use super::claim::{self, Claim};
use super::schema::{ForeignKey, Table, quote};
use super::settle::{Entry, key_of, park};
use super::tx::Bind;
use crate::replica::value::{Value, encode_key};

/// Hides rows without a parent, and then their children, until all have one.
pub(super) fn foreign_keys(
    db: &Connection,
    tables: &[Arc<Table>],
    mut check: Vec<Entry>,
    mut removed: Vec<Entry>,
) -> Result<(), StoreError> {
    loop {
        for (parent, row) in std::mem::take(&mut removed) {
            check.extend(children(db, tables, &parent, &row)?);
        }
        let Some((table, row)) = check.pop() else {
            return Ok(());
        };
        for foreign in &table.foreign {
            if has_parent(db, tables, foreign, &row)? {
                continue;
            }
            let key = key_of(&table, &row);
            if current(db, &table, &key)?.is_some() {
                remove(db, &table, &key)?;
                park(db, &table, &encode_key(&key), &row, "FOREIGN KEY")?;
                removed.push((Arc::clone(&table), row.clone()));
            }
            break;
        }
    }
}

/// What a row offers to children.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Offer {
    /// Who waits for it has this claim, among others.
    pub claim: Claim,
    /// What is offered: others may have the same claim.
    values: Vec<u8>,
}

/// What a row offers to children.
pub(super) fn offered(tables: &[Arc<Table>], parent: &Table, row: &Row) -> Vec<Offer> {
    let mut found = Vec::new();
    if !parent.is_parent {
        return found;
    }
    for (_, foreign) in pointing(tables, parent) {
        if let Some(values) = parent_values(foreign, parent, row) {
            found.push(Offer {
                claim: claim::parent(foreign, &values),
                values: encode_key(&values),
            });
        }
    }
    found
}

/// The foreign keys that point at a table.
fn pointing<'a>(
    tables: &'a [Arc<Table>],
    parent: &'a Table,
) -> impl Iterator<Item = (&'a Arc<Table>, &'a ForeignKey)> {
    let keys = |table: &'a Arc<Table>| table.foreign.iter().map(move |key| (table, key));
    let points = |(_, key): &(&Arc<Table>, &ForeignKey)| key.parent == parent.name;
    tables.iter().flat_map(keys).filter(points)
}

/// What a child points at in a row of its parent; nothing in one of another declaration.
fn parent_values(foreign: &ForeignKey, parent: &Table, row: &Row) -> Option<Row> {
    if foreign.parent_columns.len() != foreign.columns.len() {
        return None;
    }
    let columns = foreign.parent_columns.iter();
    let columns: Option<Vec<usize>> = columns.map(|name| parent.column(name)).collect();
    claim::values(row, &columns?)
}

fn has_parent(
    db: &Connection,
    tables: &[Arc<Table>],
    foreign: &ForeignKey,
    row: &Row,
) -> Result<bool, StoreError> {
    let Some(values) = claim::values(row, &foreign.columns) else {
        return Ok(true);
    };
    // A parent that was dropped, or another declaration of its name, has no such key.
    let parent = tables.iter().find(|table| table.name == foreign.parent);
    let keyed = |table: &Arc<Table>| {
        let columns = &foreign.parent_columns;
        columns.len() == values.len() && columns.iter().all(|c| table.column(c).is_some())
    };
    if !parent.is_some_and(keyed) {
        return Ok(false);
    }
    there(db, foreign, &values)
}

fn there(db: &Connection, foreign: &ForeignKey, values: &[Value]) -> Result<bool, StoreError> {
    let sql = format!(
        "SELECT 1 FROM {} WHERE {} LIMIT 1",
        quote(&foreign.parent),
        claim::equal(foreign.parent_columns.iter().cloned())
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
) -> Result<Vec<Entry>, StoreError> {
    let mut found = Vec::new();
    if !parent.is_parent {
        return Ok(found);
    }
    for (table, foreign) in pointing(tables, parent) {
        let Some(values) = parent_values(foreign, parent, row) else {
            continue;
        };
        if there(db, foreign, &values)? {
            continue;
        }
        let rows = claim::pointing(db, table, foreign, &values)?;
        found.extend(rows.into_iter().map(|row| (Arc::clone(table), row)));
    }
    Ok(found)
}
