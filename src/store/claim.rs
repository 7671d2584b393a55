//! What parked rows wait for, by digest: the unique keys they claim and the parents they point at.
//!
//! A change looks up the claims that it touches and so finds the parked rows that it concerns,
//! however many others there are.

use ring::digest::{Context, SHA256};
use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use super::capture::Row;
use super::schema::{Affinity, ForeignKey, Table, Unique, quote};
use super::tx::query;
use crate::replica::clock::{RowClock, Stamp};
use crate::replica::value::{Value, encode_key};

/// A digest of a constraint and the values claimed under it.
pub(super) type Claim = [u8; 16];

/// How claims of one key are ordered: stamp, then the row's key; the highest has it.
pub(super) type Rank = Vec<u8>;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS _tutti_claim(
  claim BLOB NOT NULL, rank BLOB NOT NULL, tbl INTEGER NOT NULL, key BLOB NOT NULL,
  PRIMARY KEY (claim, rank, tbl)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS _tutti_claim_row ON _tutti_claim(tbl, key);
";

fn digest(parts: &[&[u8]]) -> Claim {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u32).to_be_bytes());
        context.update(part);
    }
    let mut out = [0; 16];
    out.copy_from_slice(&context.finish().as_ref()[..16]);
    out
}

/// The values of a constraint's columns, unless one is NULL, which claims nothing.
pub(super) fn values(row: &Row, columns: &[usize]) -> Option<Row> {
    let values = columns.iter().map(|&at| row.get(at).cloned());
    let values: Option<Row> = values.collect();
    values.filter(|values| !values.contains(&Value::Null))
}

/// The values that a row claims under a unique key, if it does.
pub(super) fn claimed(
    table: &Table,
    unique: &Unique,
    row: &Row,
) -> Result<Option<Row>, StoreError> {
    let Some(values) = values(row, &unique.columns) else {
        return Ok(None);
    };
    match (&unique.predicate, &table.scratch) {
        (Some(predicate), Some(scratch)) => {
            let holds = scratch.holds(table, row, predicate)?;
            Ok(holds.then_some(values))
        }
        _ => Ok(Some(values)),
    }
}

/// The claim on these values of a unique key.
pub(super) fn unique(table: &Table, unique: &Unique, values: &Row) -> Claim {
    digest(&[
        b"UNIQUE",
        &table.id.to_be_bytes(),
        unique.index.as_bytes(),
        &encode_key(values),
    ])
}

/// The claim on a parent with these values. A parent may compare by number or without case, so
/// all that might be equal is one claim; whether the parent is there SQLite says.
pub(super) fn parent(foreign: &ForeignKey, values: &Row) -> Claim {
    let folded = |value: &Value| match value {
        Value::Text(text) => {
            let text = text.trim_end().to_ascii_lowercase();
            match text.trim().parse::<f64>() {
                Ok(number) => Value::Real(number),
                Err(_) => Value::Text(text),
            }
        }
        Value::Integer(number) => Value::Real(*number as f64),
        other => other.clone(),
    };
    let values: Row = values.iter().map(folded).collect();
    let columns = foreign.parent_columns.join("\0").to_ascii_lowercase();
    let parent = foreign.parent.to_ascii_lowercase();
    digest(&[
        b"FOREIGN KEY",
        parent.as_bytes(),
        columns.as_bytes(),
        &encode_key(&values),
    ])
}

/// A row's rank under a unique key.
pub(super) fn rank(clock: &RowClock, unique: &Unique, key: &[u8]) -> Rank {
    let stamps = unique.watched.iter().map(|&c| clock.column(c as u16));
    ranked(stamps.max().unwrap_or(clock.row), key)
}

fn ranked(stamp: Stamp, key: &[u8]) -> Rank {
    let mut rank = Vec::with_capacity(24 + key.len());
    for part in [stamp.hlc.0, stamp.origin, stamp.seq] {
        rank.extend_from_slice(&part.to_be_bytes());
    }
    rank.extend_from_slice(key);
    rank
}

/// Notes what a parked row claims.
pub(super) fn note(
    db: &Connection,
    table: &Table,
    key: &[u8],
    row: &Row,
    clock: &RowClock,
) -> Result<(), StoreError> {
    let mut insert = db.prepare_cached(
        "INSERT OR REPLACE INTO _tutti_claim(claim, rank, tbl, key) VALUES (?, ?, ?, ?)",
    )?;
    for key_of in &table.uniques {
        if let Some(values) = claimed(table, key_of, row)? {
            let claim = unique(table, key_of, &values);
            insert.execute(params![claim, rank(clock, key_of, key), table.id, key])?;
        }
    }
    for foreign in &table.foreign {
        if let Some(values) = values(row, &foreign.columns) {
            insert.execute(params![parent(foreign, &values), key, table.id, key])?;
        }
    }
    Ok(())
}

/// Forgets what a row claimed.
pub(super) fn forget(db: &Connection, table: i64, key: &[u8]) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM _tutti_claim WHERE tbl = ? AND key = ?")?
        .execute(params![table, key])?;
    Ok(())
}

/// The highest parked rank of a unique key, with the row's key.
pub(super) fn best(
    db: &Connection,
    claim: &Claim,
    table: i64,
) -> Result<Option<(Rank, Vec<u8>)>, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT rank, key FROM _tutti_claim WHERE claim = ? AND tbl = ? \
             ORDER BY rank DESC LIMIT 1",
        )?
        .query_row(params![claim, table], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

/// The keys of the other parked rows of a table that claim what this one does.
pub(super) fn rivals_of(
    db: &Connection,
    table: i64,
    key: &[u8],
) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT DISTINCT rival.key FROM _tutti_claim its JOIN _tutti_claim rival USING (claim) \
         WHERE its.tbl = ?1 AND its.key = ?2 AND rival.tbl = ?1 AND rival.key <> ?2",
    )?;
    let keys = statement.query_map(params![table, key], |row| row.get(0))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

/// The parked rows that wait for a parent.
pub(super) fn waiting(db: &Connection, claim: &Claim) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
    let mut statement = db.prepare_cached("SELECT tbl, key FROM _tutti_claim WHERE claim = ?")?;
    let rows = statement.query_map([claim], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether anything is parked under a claim.
pub(super) fn any(db: &Connection, claim: &Claim) -> Result<bool, StoreError> {
    let mut statement = db.prepare_cached("SELECT 1 FROM _tutti_claim WHERE claim = ? LIMIT 1")?;
    Ok(statement.exists([claim])?)
}

fn list(table: &Table) -> String {
    let columns: Vec<String> = table.columns.iter().map(|c| quote(&c.name)).collect();
    columns.join(", ")
}

pub(super) fn equal(columns: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = columns
        .map(|name| format!("{} = ?", quote(&name)))
        .collect();
    parts.join(" AND ")
}

fn names(table: &Table, columns: &[usize]) -> impl Iterator<Item = String> {
    let names = columns.iter().map(|&at| table.columns[at].name.clone());
    names.collect::<Vec<_>>().into_iter()
}

/// The visible rows that may point at a parent with these values. It compares by its own columns'
/// kinds: a text may point at a number, and a number at a text. All of those are found; whether one
/// does SQLite says.
pub(super) fn pointing(
    db: &Connection,
    table: &Table,
    foreign: &ForeignKey,
    values: &Row,
) -> Result<Vec<Row>, StoreError> {
    let term = |(at, (&column, value)): (usize, (&usize, &Value))| {
        let column = &table.columns[column];
        let (name, value_is) = (quote(&column.name), at + 1);
        let equal = format!("{name} = ?{value_is}");
        // Where the kind of the column leaves none of the other class that might match, an index
        // finds all.
        match (value, column.affinity) {
            (Value::Integer(_) | Value::Real(_), Affinity::Text | Affinity::None) => format!(
                "({equal} OR ({name} >= '' AND {name} < x'' \
                 AND CAST({name} AS NUMERIC) = ?{value_is}))"
            ),
            (Value::Text(_), Affinity::Number | Affinity::None) => {
                format!("({equal} OR ({name} < '' AND CAST({name} AS TEXT) = ?{value_is}))")
            }
            _ => equal,
        }
    };
    let columns = foreign.columns.iter().zip(values).enumerate();
    let terms: Vec<String> = columns.map(term).collect();
    let (list, name, terms) = (list(table), quote(&table.name), terms.join(" AND "));
    let sql = format!("SELECT {list} FROM {name} WHERE {terms}");
    query(db, &sql, values)
}

/// The visible row that has these values of a unique key.
pub(super) fn holder(
    db: &Connection,
    table: &Table,
    unique: &Unique,
    values: &Row,
) -> Result<Option<Row>, StoreError> {
    let mut condition = equal(names(table, &unique.columns));
    if let Some(predicate) = &unique.predicate {
        condition.push_str(&format!(" AND ({predicate})"));
    }
    let sql = format!(
        "SELECT {} FROM {} WHERE {condition}",
        list(table),
        quote(&table.name)
    );
    Ok(query(db, &sql, values)?.pop())
}

/// The visible rows that claim the same values of a unique key which no index keeps yet.
pub(super) fn rivals(
    db: &Connection,
    table: &Table,
    unique: &Unique,
) -> Result<Vec<Row>, StoreError> {
    let columns: Vec<String> = names(table, &unique.columns).map(|n| quote(&n)).collect();
    let mut terms: Vec<String> = columns.iter().map(|c| format!("{c} IS NOT NULL")).collect();
    terms.extend(unique.predicate.as_ref().map(|p| format!("({p})")));
    let (columns, name, terms) = (columns.join(", "), quote(&table.name), terms.join(" AND "));
    let sql = format!(
        "SELECT {} FROM {name} WHERE {terms} AND ({columns}) IN (\
         SELECT {columns} FROM {name} WHERE {terms} GROUP BY {columns} HAVING count(*) > 1)",
        list(table)
    );
    query(db, &sql, &[])
}
