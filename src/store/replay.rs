//! Replaying a transaction that cannot conflict.
//!
//! Its origin had seen everything that is here, and everything it had seen is here: both peers
//! hold the same rows, so what the transaction did there is done here, without a look at clocks
//! or constraints. The clocks follow when the log is folded.

use rusqlite::Connection;

use super::StoreError;
use super::apply::{place, remove};
use super::capture::{Row, current};
use super::schema::{Table, quote};
use super::tx::Bind;
use crate::replica::change::{Body, RowChange, RowWrite, TableChange};
use crate::replica::schema::DeclarationId;
use crate::replica::value::Value;

/// Whether a change has the table's shape.
pub(super) fn fits(table: &Table, row: &RowChange) -> bool {
    let width = table.columns.len();
    row.key.len() == table.key.len()
        && match &row.write {
            RowWrite::Insert(values) => values.len() == width,
            RowWrite::Update(cells) => cells.iter().all(|cell| usize::from(cell.0) < width),
            RowWrite::Delete => true,
        }
}

fn find<T: AsRef<Table>>(tables: &[T], id: DeclarationId) -> Option<&Table> {
    let mut tables = tables.iter().map(AsRef::as_ref);
    tables.find(|table: &&Table| table.tid == id)
}

/// Whether all changes fit tables that are here; a declaration does not.
pub(super) fn fits_all<T: AsRef<Table>>(tables: &[T], body: &Body) -> bool {
    let Body::Rows(changes) = body else {
        return false;
    };
    changes.iter().all(|change| {
        let table = find(tables, change.table);
        table.is_some_and(|table| change.rows.iter().all(|row| fits(table, row)))
    })
}

/// Does what the origin did.
pub(super) fn rows<T: AsRef<Table>>(
    db: &Connection,
    tables: &[T],
    changes: &[TableChange],
) -> Result<(), StoreError> {
    for change in changes {
        let Some(table) = find(tables, change.table) else {
            continue;
        };
        let frees = |row: &RowChange| match &row.write {
            RowWrite::Insert(_) => row.generation > 1,
            RowWrite::Update(cells) => {
                let unique =
                    |column: usize| table.uniques.iter().any(|u| u.watched.contains(&column));
                cells.iter().any(|cell| unique(usize::from(cell.0)))
            }
            RowWrite::Delete => true,
        };
        // A value that one row gives up and another takes: all rows leave before any comes.
        if !table.uniques.is_empty() && change.rows.iter().any(frees) {
            exchange(db, table, &change.rows)?;
        } else {
            directly(db, table, &change.rows)?;
        }
    }
    Ok(())
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
    if done == 1 {
        return Ok(());
    }
    Err(missing(table))
}

fn missing(table: &Table) -> StoreError {
    StoreError::Damaged(format!(
        "table {}: a row that was changed elsewhere is not here",
        table.name
    ))
}

fn exchange(db: &Connection, table: &Table, rows: &[RowChange]) -> Result<(), StoreError> {
    let mut coming: Vec<Row> = Vec::new();
    for change in rows {
        match &change.write {
            RowWrite::Insert(row) => coming.push(row.clone()),
            RowWrite::Update(cells) => {
                let mut row = current(db, table, &change.key)?.ok_or_else(|| missing(table))?;
                for (column, value) in cells {
                    row[usize::from(*column)] = value.clone();
                }
                coming.push(row);
            }
            RowWrite::Delete => {}
        }
        remove(db, table, &change.key)?;
    }
    for row in &coming {
        place(db, table, row)?;
    }
    Ok(())
}
