//! Replaying a transaction that cannot conflict.
//!
//! Its origin had seen everything that is here, and everything it had seen is here: both peers
//! hold the same rows, so what the transaction did there is done here, without a look at clocks
//! or constraints. The clocks follow when the log is folded.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::StoreError;
use super::apply::{place, remove};
use super::capture::current;
use super::schema::{Table, quote};
use super::shape::fits;
use super::spill::{self, Coming};
use super::tx::Bind;
use crate::replica::change::{Body, RowChange, RowWrite};
use crate::replica::rows::Rows;
use crate::replica::schema::DeclarationId;
use crate::replica::value::Value;

fn find<T: AsRef<Table>>(tables: &[T], id: DeclarationId) -> Option<&Table> {
    let mut tables = tables.iter().map(AsRef::as_ref);
    tables.find(|table: &&Table| table.tid == id)
}

/// Whether all changes fit tables that are here; what is no change of rows does not.
pub(super) fn fits_all<T: AsRef<Table>>(tables: &[T], body: &Body) -> Result<bool, StoreError> {
    let Body::Rows(rows) = body else {
        return Ok(false);
    };
    for part in rows.parts() {
        let part = part?;
        let table = find(tables, part.table);
        if !table.is_some_and(|table| part.rows.iter().all(|row| fits(table, row))) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a change gives up a unique value that another may take.
fn frees(table: &Table, row: &RowChange) -> bool {
    let unique = |column: usize| table.uniques.iter().any(|u| u.watched.contains(&column));
    match &row.write {
        RowWrite::Insert(_) => row.generation > 1,
        RowWrite::Update(cells) => cells.iter().any(|cell| unique(usize::from(cell.0))),
        RowWrite::Delete => true,
    }
}

/// Does what the origin did.
pub(super) fn rows<T: AsRef<Table>>(
    db: &Connection,
    tables: &[T],
    rows: &Rows,
) -> Result<(), StoreError> {
    // A value that one row gives up and another takes: all rows leave before any comes.
    let mut exchanged: BTreeSet<DeclarationId> = BTreeSet::new();
    for part in rows.parts() {
        let part = part?;
        if let Some(table) = find(tables, part.table)
            && !table.uniques.is_empty()
            && !exchanged.contains(&part.table)
            && part.rows.iter().any(|row| frees(table, row))
        {
            exchanged.insert(part.table);
        }
    }
    let mut coming = Coming::default();
    for part in rows.parts() {
        let part = part?;
        match find(tables, part.table) {
            Some(table) if exchanged.contains(&part.table) => {
                leave(db, table, &part.rows, &mut coming)?;
            }
            Some(table) => directly(db, table, &part.rows)?,
            None => {}
        }
    }
    coming.each(|id, row| {
        let table = tables
            .iter()
            .map(AsRef::as_ref)
            .find(|table| table.id == id);
        table.map_or(Ok(()), |table| place(db, table, row))
    })
}

pub(super) fn directly(
    db: &Connection,
    table: &Table,
    rows: &[RowChange],
) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached(&table.replace)?;
    for change in rows {
        match &change.write {
            RowWrite::Insert(row) => {
                statement.execute(rusqlite::params_from_iter(row.iter().map(Bind)))?;
            }
            RowWrite::Update(cells) => update(db, table, &change.key, cells)?,
            RowWrite::Delete => remove(db, table, &change.key)?,
        }
    }
    Ok(())
}

fn update(
    db: &Connection,
    table: &Table,
    key: &[Value],
    cells: &[(u16, Value)],
) -> Result<(), StoreError> {
    use std::fmt::Write as _;
    let mut sql = format!("UPDATE {} SET ", quote(&table.name));
    for (at, cell) in cells.iter().enumerate() {
        let column = quote(&table.columns[usize::from(cell.0)].name);
        let _ = write!(sql, "{}{column} = ?", if at == 0 { "" } else { ", " });
    }
    for (at, name) in table.key_names().iter().enumerate() {
        let and = if at == 0 { "WHERE" } else { "AND" };
        let _ = write!(sql, " {and} {} = ?", quote(name));
    }
    let values = cells.iter().map(|cell| &cell.1).chain(key).map(Bind);
    let done = db
        .prepare_cached(&sql)?
        .execute(rusqlite::params_from_iter(values))?;
    if done == 0 {
        missing(table);
    }
    Ok(())
}

/// A row that was written elsewhere is not here, so the disk lost it. It comes back by the next
/// proof, and the link goes on until then.
pub(super) fn missing(table: &Table) {
    tracing::warn!(
        "table {}: a row that was changed elsewhere is missing here; the next proof brings it",
        table.label
    );
}

/// Takes rows out of their table; what they become is coming.
fn leave(
    db: &Connection,
    table: &Table,
    rows: &[RowChange],
    coming: &mut Coming,
) -> Result<(), StoreError> {
    let directory = spill::directory(db);
    for change in rows {
        match &change.write {
            RowWrite::Insert(row) => coming.push(directory, table.id, row.clone())?,
            RowWrite::Update(cells) => {
                if let Some(mut row) = current(db, table, &change.key)? {
                    for (column, value) in cells {
                        row[usize::from(*column)] = value.clone();
                    }
                    coming.push(directory, table.id, row)?;
                } else {
                    missing(table);
                }
            }
            RowWrite::Delete => {}
        }
        remove(db, table, &change.key)?;
    }
    Ok(())
}
