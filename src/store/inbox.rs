//! The conflict inbox: what lost a merge, rows that are parked, and declarations whose name
//! another one has. Parked rows and such declarations are read from where they are; only values
//! that lost are entries of their own.

use std::sync::Arc;

use rusqlite::Connection;

use super::StoreError;
use super::administrators::PRIVATE_TABLES;
use super::declare::{self, Known};
use super::log;
use super::lost::{self, WHOLE};
use super::schema::{self, Table};
use super::settle::key_of;
use crate::replica::NodeId;
use crate::replica::change::{RowChange, RowWrite};
use crate::replica::clock::{RowClock, Stamp};
use crate::replica::conflict::Conflict;
use crate::replica::schema::{Declaration, DeclarationId, Kind, standing};
use crate::replica::value::{Value, decode, decode_key, encode, encode_key};

/// Dismissals replicate, so that what one operator has dealt with is gone everywhere.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS _tutti_dismissed(id BLOB NOT NULL PRIMARY KEY) WITHOUT ROWID;
INSERT OR IGNORE INTO _tutti_table(name) VALUES ('_tutti_dismissed');
CREATE TABLE IF NOT EXISTS _tutti_exported(entries INTEGER NOT NULL);
";

/// Creates the inbox's tables where they are missing.
pub(super) fn create(db: &Connection) -> Result<(), StoreError> {
    Ok(db.execute_batch(TABLES)?)
}

/// One entry of the conflict inbox.
#[derive(Clone, Debug, PartialEq)]
pub struct ConflictRow {
    /// The same at every peer.
    pub id: [u8; 16],
    /// The table; empty for a declaration.
    pub table: String,
    /// The row's key.
    pub key: Vec<Value>,
    /// The column that lost, or `*` where it is a whole row or a declaration.
    pub column: String,
    /// The losing value; for a row all its values, for a declaration its SQL.
    pub value: Vec<Value>,
    /// When the loser was written, in milliseconds since 1970.
    pub time_ms: u64,
    /// The node that wrote it, as far as it is known.
    pub loser: Option<NodeId>,
    /// When what won was written; 0 where a constraint decides.
    pub winner_ms: u64,
    /// The node that wrote what won.
    pub winner: Option<NodeId>,
    /// Why: `later write`, `UNIQUE`, `FOREIGN KEY`, `does not fit`, `no such table`,
    /// `table dropped`, `declared differently` or `not replicable`.
    pub reason: String,
}

/// Which entries to list, newest first; parked rows and declarations come before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConflictQuery {
    /// Only this table's.
    pub table: Option<String>,
    /// Only this column's.
    pub column: Option<String>,
    /// Only keys that contain this text.
    pub key: Option<String>,
    /// Only values that contain this text.
    pub text: Option<String>,
    /// Only what was written at or after this, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Only what was written before this.
    pub until_ms: Option<u64>,
    /// How many to leave out first.
    pub offset: usize,
    /// How many at most.
    pub limit: usize,
}

impl ConflictQuery {
    fn wants(&self, row: &ConflictRow) -> bool {
        let holds = |text: &Option<String>, values: &[Value]| {
            text.as_ref().is_none_or(|text| {
                let text = text.to_lowercase();
                values
                    .iter()
                    .any(|v| spoken(v).to_lowercase().contains(&text))
            })
        };
        let same = |wanted: &Option<String>, name: &str| {
            wanted.as_ref().is_none_or(|w| w.eq_ignore_ascii_case(name))
        };
        same(&self.table, &row.table)
            && same(&self.column, &row.column)
            && self.since_ms.is_none_or(|since| row.time_ms >= since)
            && self.until_ms.is_none_or(|until| row.time_ms < until)
            && holds(&self.key, &row.key)
            && holds(&self.text, &row.value)
    }
}

pub(super) fn spoken(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
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
    let lost = Conflict {
        table: table.into(),
        key: key.into(),
        column: column.into(),
        winner,
        loser,
        value: encode(std::slice::from_ref(value)),
    };
    lost::keep(db, &lost)
}

/// What lost as a whole.
fn whole_of(table: &str, key: Vec<u8>, winner: Stamp, loser: Stamp, values: &[Value]) -> Conflict {
    Conflict {
        table: table.into(),
        key,
        column: WHOLE.into(),
        winner,
        loser,
        value: encode(values),
    }
}

/// Keeps a row change whose table is not here or was dropped.
pub(super) fn park_row(
    db: &Connection,
    stamp: Stamp,
    table: DeclarationId,
    row: &RowChange,
) -> Result<(), StoreError> {
    let value = match &row.write {
        RowWrite::Insert(values) => values.clone(),
        RowWrite::Update(cells) => cells.iter().map(|cell| cell.1.clone()).collect(),
        RowWrite::Delete => return Ok(()),
    };
    // As it is where the declaration does not stand: the name is part of the entry's.
    let known = declare::known(db)?;
    let known = known.into_iter().find(|known| known.is.id == table);
    let name = known.map_or_else(|| format!("{table:012x}"), |known| known.is.name);
    let lost = whole_of(&name, encode_key(&row.key), stamp, stamp, &value);
    lost::keep(db, &lost)
}

/// Keeps a declaration that could not be followed here.
pub(super) fn park_schema(
    db: &Connection,
    stamp: Stamp,
    sql: &str,
    why: &str,
) -> Result<(), StoreError> {
    let value = [sql.into(), why.into()];
    let lost = whole_of("", encode_key(&[sql.into()]), stamp, stamp, &value);
    lost::keep(db, &lost)
}

/// Keeps a row of a table that is being dropped, if the one who dropped it had not seen it.
pub(super) fn dropped(
    db: &Connection,
    table: &Table,
    row: &[Value],
    winner: Stamp,
    covers: impl Fn(Stamp) -> bool,
) -> Result<(), StoreError> {
    let key = encode_key(&key_of(table, &row.to_vec()));
    let Some(clock) = log::load_clock(db, table.id, &key)? else {
        return Ok(());
    };
    match latest(&clock, |stamp| !covers(stamp)) {
        None => Ok(()),
        Some(loser) => lost::keep(db, &whole_of(&table.label, key, winner, loser, row)),
    }
}

fn latest(clock: &RowClock, which: impl Fn(Stamp) -> bool) -> Option<Stamp> {
    let stamps = clock.columns.iter().map(|column| column.1);
    stamps
        .chain([clock.row])
        .filter(|stamp| which(*stamp))
        .max()
}

/// Whether nobody is shown a table's rows.
pub(super) fn is_private(table: &str) -> bool {
    let mut private = PRIVATE_TABLES.iter();
    private.any(|name| table.eq_ignore_ascii_case(name))
}

/// Gathers one page.
struct Page<'a> {
    query: &'a ConflictQuery,
    nodes: std::collections::BTreeMap<u64, Option<NodeId>>,
    skipped: usize,
    found: Vec<ConflictRow>,
}

impl Page<'_> {
    fn node(&self, stamp: Stamp) -> Option<NodeId> {
        self.nodes.get(&stamp.origin).copied().flatten()
    }

    /// Takes an entry in; `false` once the page is full.
    fn take(&mut self, row: ConflictRow) -> bool {
        if !is_private(&row.table) && self.query.wants(&row) {
            if self.skipped < self.query.offset {
                self.skipped += 1;
            } else if self.found.len() < self.query.limit {
                self.found.push(row);
            }
        }
        self.found.len() < self.query.limit
    }
}

/// The entries that a query asks for.
pub(super) fn list(
    db: &Connection,
    tables: &[Arc<Table>],
    query: &ConflictQuery,
) -> Result<Vec<ConflictRow>, StoreError> {
    let origins = log::load_origins(db)?;
    let mut page = Page {
        query,
        nodes: origins.into_iter().map(|(id, o)| (id, o.node)).collect(),
        skipped: 0,
        found: Vec::new(),
    };
    let go_on =
        query.limit > 0 && declarations(db, tables, &mut page)? && hidden(db, tables, &mut page)?;
    if go_on {
        entries(db, tables, &mut page)?;
    }
    Ok(page.found)
}

/// Declarations that do not stand, and the rows on their shelves.
fn declarations(
    db: &Connection,
    tables: &[Arc<Table>],
    page: &mut Page<'_>,
) -> Result<bool, StoreError> {
    let known = declare::known(db)?;
    let all: Vec<Declaration> = known.iter().map(|known| known.is.clone()).collect();
    let stand = standing(&all);
    let gone = |on: &DeclarationId| known.iter().any(|k| k.is.id == *on && k.is.dropped);
    for lost in known.iter().filter(|known| {
        // An index of a table that was dropped went with it; what should stand and could not be
        // followed is an entry of its own.
        let waits = !known.stands && !known.is.dropped && !stand.contains(&known.is.id);
        waits && !known.is.on.iter().any(gone)
    }) {
        let winner = known.iter().find(|other| {
            let rival = (other.is.kind == Kind::Trigger) == (lost.is.kind == Kind::Trigger);
            other.stands && rival && other.is.name == lost.is.name
        });
        if !page.take(declaration(page, lost, winner)) {
            return Ok(false);
        }
        let Some(shelf) = tables.iter().find(|table| table.tid == lost.is.id) else {
            continue;
        };
        for row in schema::all(db, shelf)? {
            let key = key_of(shelf, &row);
            let Some(clock) = log::load_clock(db, shelf.id, &encode_key(&key))? else {
                continue;
            };
            let name = lost.is.name.clone();
            let shown = whole(page, name, &clock, key, row, "declared differently", winner);
            if !page.take(shown) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn declaration(page: &Page<'_>, lost: &Known, winner: Option<&Known>) -> ConflictRow {
    let stamp = lost.is.stamp;
    let won = winner.map(|winner| winner.is.stamp);
    let key = vec![Value::Text(lost.is.name.clone())];
    let value = vec![Value::Text(lost.sql.clone())];
    let name = lost.is.id.to_be_bytes();
    ConflictRow {
        id: whole_of("", name.into(), stamp, stamp, &value).id(),
        table: String::new(),
        key,
        column: WHOLE.into(),
        value,
        time_ms: stamp.hlc.millis(),
        loser: page.node(stamp),
        winner_ms: won.map_or(0, |stamp| stamp.hlc.millis()),
        winner: won.and_then(|stamp| page.node(stamp)),
        reason: "declared differently".into(),
    }
}

fn whole(
    page: &Page<'_>,
    table: String,
    clock: &RowClock,
    key: Vec<Value>,
    row: Vec<Value>,
    reason: &str,
    winner: Option<&Known>,
) -> ConflictRow {
    let stamp = latest(clock, |_| true).unwrap_or(clock.row);
    let won = winner.map(|winner| winner.is.stamp);
    ConflictRow {
        id: whole_of(&table, encode_key(&key), stamp, stamp, &row).id(),
        table,
        key,
        column: WHOLE.into(),
        value: row,
        time_ms: stamp.hlc.millis(),
        loser: page.node(stamp),
        winner_ms: won.map_or(0, |stamp| stamp.hlc.millis()),
        winner: won.and_then(|stamp| page.node(stamp)),
        reason: reason.into(),
    }
}

/// Parked rows.
fn hidden(db: &Connection, tables: &[Arc<Table>], page: &mut Page<'_>) -> Result<bool, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT h.tbl, h.key, h.row, h.reason FROM _tutti_hidden h \
         JOIN _tutti_table t ON t.id = h.tbl ORDER BY t.name, h.key",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, key, content): (i64, Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let Some(table) = tables.iter().find(|table| table.id == id) else {
            continue;
        };
        let Some(clock) = log::load_clock(db, id, &key)? else {
            continue;
        };
        let (key, content) = (decode_key(&key).unwrap_or_default(), decode(&content));
        let reason: String = row.get(3)?;
        let content = content.unwrap_or_default();
        let shown = whole(
            page,
            table.name.clone(),
            &clock,
            key,
            content,
            &reason,
            None,
        );
        if !page.take(shown) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Values that lost.
fn entries(db: &Connection, tables: &[Arc<Table>], page: &mut Page<'_>) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT id, tbl, key, col, value, winner, loser FROM _tutti_conflict \
         WHERE id NOT IN (SELECT id FROM _tutti_dismissed) ORDER BY hlc DESC, id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if !page.take(entry(page, tables, row)?) {
            break;
        }
    }
    Ok(())
}

fn entry(
    page: &Page<'_>,
    tables: &[Arc<Table>],
    row: &rusqlite::Row<'_>,
) -> Result<ConflictRow, StoreError> {
    let blob = |at: usize| row.get::<_, Vec<u8>>(at);
    let (winner, loser) = (lost::stamp(row, 5)?, lost::stamp(row, 6)?);
    let (table, column): (String, String) = (row.get(1)?, row.get(3)?);
    let stands = tables.iter().any(|t| t.name.eq_ignore_ascii_case(&table));
    let reason = match (column.as_str(), table.as_str()) {
        (WHOLE, "") => "not replicable",
        (WHOLE, _) if winner == loser && stands => "does not fit",
        (WHOLE, _) if winner == loser => "no such table",
        (WHOLE, _) => "table dropped",
        _ => "later write",
    };
    Ok(ConflictRow {
        id: row.get(0)?,
        table,
        key: decode_key(&blob(2)?).unwrap_or_default(),
        column,
        value: decode(&blob(4)?).unwrap_or_default(),
        time_ms: loser.hlc.millis(),
        loser: page.node(loser),
        winner_ms: winner.hlc.millis(),
        winner: page.node(winner),
        reason: reason.into(),
    })
}
