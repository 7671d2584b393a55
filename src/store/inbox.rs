//! The conflict inbox: what lost a merge, and rows that are parked.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::StoreError;
use super::log;
use super::schema::Table;
use crate::replica::change::RowChange;
use crate::replica::clock::Stamp;
use crate::replica::conflict::conflict_id;
use crate::replica::value::{Value, decode, decode_key, encode_key};

/// One entry of the conflict inbox.
#[derive(Clone, Debug, PartialEq)]
pub struct ConflictRow {
    /// The same at every peer.
    pub id: [u8; 16],
    /// The table.
    pub table: String,
    /// The row's key.
    pub key: Vec<Value>,
    /// The column that lost, or `*` where a whole row is parked.
    pub column: String,
    /// The losing value; for a parked row all its values.
    pub value: Vec<Value>,
    /// When the loser was written, in milliseconds since 1970.
    pub time_ms: u64,
    /// Why: `later write`, `UNIQUE`, `FOREIGN KEY` or `no such table`.
    pub reason: String,
}

fn bytes(stamp: Stamp) -> Vec<u8> {
    postcard::to_stdvec(&stamp).unwrap_or_default()
}

/// Records a losing version.
pub(super) fn record(
    db: &Connection,
    table: &str,
    key: &[u8],
    column: &str,
    winner: Stamp,
    loser: Stamp,
    value: &Value,
) -> Result<(), StoreError> {
    let value = crate::replica::value::encode(std::slice::from_ref(value));
    insert(db, table, key, column, winner, loser, &value)
}

fn insert(
    db: &Connection,
    table: &str,
    key: &[u8],
    column: &str,
    winner: Stamp,
    loser: Stamp,
    value: &[u8],
) -> Result<(), StoreError> {
    let id = conflict_id(table, key, column, winner, loser);
    db.prepare_cached(
        "INSERT OR IGNORE INTO _tutti_conflict(id, tbl, key, col, winner, loser, hlc, value) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        id,
        table,
        key,
        column,
        bytes(winner),
        bytes(loser),
        loser.hlc.0 as i64,
        value
    ])?;
    Ok(())
}

/// Parks a row change that fits no table here.
pub(super) fn park_row(
    db: &Connection,
    stamp: Stamp,
    table: &str,
    row: &RowChange,
) -> Result<(), StoreError> {
    let value = match &row.write {
        crate::replica::change::RowWrite::Insert(values) => values.clone(),
        crate::replica::change::RowWrite::Update(cells) => {
            cells.iter().map(|cell| cell.1.clone()).collect()
        }
        crate::replica::change::RowWrite::Delete => return Ok(()),
    };
    let value = crate::replica::value::encode(&value);
    insert(db, table, &encode_key(&row.key), "*", stamp, stamp, &value)
}

/// Parks a declaration whose name is taken by another.
pub(super) fn park_schema(
    db: &Connection,
    stamp: Stamp,
    sql: &str,
    why: &str,
) -> Result<(), StoreError> {
    let value = crate::replica::value::encode(&[sql.into(), why.into()]);
    insert(
        db,
        "",
        &encode_key(&[sql.into()]),
        "*",
        stamp,
        stamp,
        &value,
    )
}

/// The newest entries, parked rows first.
pub(super) fn list(
    db: &Connection,
    tables: &[Arc<Table>],
    limit: usize,
) -> Result<Vec<ConflictRow>, StoreError> {
    let mut found = hidden(db, tables, limit)?;
    let mut statement = db.prepare_cached(
        "SELECT id, tbl, key, col, value, hlc FROM _tutti_conflict WHERE tbl <> 'administrator' \
         ORDER BY hlc DESC, id LIMIT ?",
    )?;
    let mut rows = statement.query([limit.saturating_sub(found.len()) as i64])?;
    while let Some(row) = rows.next()? {
        let (key, value): (Vec<u8>, Vec<u8>) = (row.get(2)?, row.get(4)?);
        let column: String = row.get(3)?;
        let reason = if column == "*" {
            "no such table"
        } else {
            "later write"
        };
        found.push(ConflictRow {
            id: row.get(0)?,
            table: row.get(1)?,
            key: decode_key(&key).unwrap_or_default(),
            value: decode(&value).unwrap_or_default(),
            time_ms: (row.get::<_, i64>(5)? as u64) >> 16,
            reason: reason.into(),
            column,
        });
    }
    Ok(found)
}

fn hidden(
    db: &Connection,
    tables: &[Arc<Table>],
    limit: usize,
) -> Result<Vec<ConflictRow>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT tbl, key, row, reason FROM _tutti_hidden LIMIT ?")?;
    let mut rows = statement.query([limit as i64])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, key, content): (i64, Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let table = tables.iter().find(|table| table.id == id);
        let Some(clock) = log::load_clock(db, id, &key)? else {
            continue;
        };
        let name = table.map_or_else(String::new, |table| table.name.clone());
        found.push(ConflictRow {
            id: conflict_id(&name, &key, "*", clock.row, clock.row),
            table: name,
            key: decode_key(&key).unwrap_or_default(),
            column: "*".into(),
            value: decode(&content).unwrap_or_default(),
            time_ms: clock.row.hlc.millis(),
            reason: row.get(3)?,
        });
    }
    Ok(found)
}
