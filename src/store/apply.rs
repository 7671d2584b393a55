//! Applying peers' transactions: merge, write, and log them verbatim.
//!
//! Runs with foreign keys, triggers and checks off (set before BEGIN: inside a transaction the
//! foreign key pragma is a silent no-op); what constraints ask for is settled at the end.

use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::capture::{Row, current};
use super::log::{self, Origins};
use super::schema::Table;
use super::settle::{self, Settle};
use super::shown::Changed;
use super::tx::Bind;
use super::writer::{Writer, decode};
use super::{StoreError, inbox};
use crate::replica::change::{Body, RowChange, RowWrite, TableChange, Transaction};
use crate::replica::clock::Stamp;
use crate::replica::frontier::Frontier;
use crate::replica::merge::{self, Decision, Outcome, Side};
use crate::replica::value::encode_key;

/// Switches between what local writers and what applying needs.
pub(super) fn settings(db: &Connection, applying: bool) -> Result<(), StoreError> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, !applying)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, !applying)?;
    db.pragma_update(None, "ignore_check_constraints", applying)?;
    Ok(())
}

impl Writer {
    /// Runs `work` with the settings of applying.
    pub fn applying<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        settings(&self.db, true)?;
        let result = self.atomically(work);
        settings(&self.db, false)?;
        result
    }

    /// Applies what is new of `batch`, durably; returns the frontier and whether it moved.
    pub fn apply(&mut self, batch: &[Vec<u8>]) -> Result<(Frontier, bool), StoreError> {
        let mut fresh = Vec::new();
        let mut frontier = self.frontier();
        for bytes in batch {
            let transaction = decode(bytes)?;
            let position = frontier.0.entry(transaction.origin).or_default();
            if transaction.seq > position.seq {
                position.seq = transaction.seq;
                fresh.push((transaction, bytes));
            }
        }
        if fresh.is_empty() {
            return Ok((self.frontier(), false));
        }
        let result = self.applying(|writer| {
            let mut origins = writer.origins.clone();
            let mut settle = Settle::default();
            for (transaction, bytes) in &fresh {
                check_order(&origins, transaction)?;
                check_clock((writer.clock)(), transaction)?;
                log::append(&writer.db, &mut origins, transaction, bytes)?;
                match &transaction.body {
                    Body::Rows(changes) => {
                        writer.apply_rows(&origins, transaction, changes, &mut settle)?;
                    }
                    body @ Body::Schema { .. } => {
                        std::mem::take(&mut settle).run(&writer.db, &writer.tables)?;
                        let covers = |stamp| covers(&origins, transaction, stamp);
                        writer.apply_schema(transaction.stamp(), body, covers)?;
                    }
                }
            }
            settle.run(&writer.db, &writer.tables)?;
            Ok(origins)
        });
        let mut names = Vec::new();
        match result {
            Ok(origins) => {
                let latest = fresh.iter().map(|(transaction, _)| transaction.hlc).max();
                self.hlc = self.hlc.max(latest.unwrap_or_default());
                self.origins = origins;
                self.publish(&changed(&self.tables, &fresh, &mut names));
                Ok((self.frontier(), true))
            }
            Err(error) => {
                self.load_tables()?;
                Err(error)
            }
        }
    }

    fn apply_rows(
        &self,
        origins: &Origins,
        transaction: &Transaction,
        changes: &[TableChange],
        settle: &mut Settle,
    ) -> Result<(), StoreError> {
        for change in changes {
            let table = self.tables.iter().find(|table| table.tid == change.table);
            for row in &change.rows {
                match table {
                    Some(table) if fits(table, row) => {
                        self.apply_row(origins, transaction, table, row, settle)?;
                    }
                    _ => inbox::park_row(&self.db, transaction.stamp(), change.table, row)?,
                }
            }
        }
        Ok(())
    }

    fn apply_row(
        &self,
        origins: &Origins,
        transaction: &Transaction,
        table: &Arc<Table>,
        change: &RowChange,
        settle: &mut Settle,
    ) -> Result<(), StoreError> {
        let key = encode_key(&change.key);
        let clock = log::load_clock(&self.db, table.id, &key)?;
        let covers = |stamp: Stamp| covers(origins, transaction, stamp);
        let decision = match merge::merge(
            clock.as_ref(),
            change,
            transaction.stamp(),
            table.columns.len() as u16,
            covers,
        ) {
            Ok(decision) => decision,
            // A row of another declaration of this table was parked before: so is what follows
            // on it. One bad row never stops the stream.
            Err(_) => return inbox::park_row(&self.db, transaction.stamp(), table.tid, change),
        };
        let visible = current(&self.db, table, &change.key)?;
        let old = match &visible {
            Some(row) => Some(row.clone()),
            None if table.is_constrained() => settle.merged(&self.db, table, &key)?,
            None => None,
        };
        record_lost(&self.db, table, &key, &decision, change, old.as_ref())?;
        log::save_clock(&self.db, table.id, &key, &decision.clock)?;
        let Some(new) = outcome(&decision, change, old.as_ref())? else {
            return Ok(());
        };
        let plain = !table.is_constrained()
            || (visible.is_some() && keeps_constraints(table, &decision.outcome));
        match new {
            Some(row) if plain => place(&self.db, table, &row)?,
            None if plain => remove(&self.db, table, &change.key)?,
            new => {
                if visible.is_some() {
                    remove(&self.db, table, &change.key)?;
                }
                settle.changed(&self.db, table, key, visible, new)?;
            }
        }
        Ok(())
    }
}

/// Which tables a batch may change.
fn changed<'a>(
    tables: &[Arc<Table>],
    batch: &[(Transaction, &Vec<u8>)],
    names: &'a mut Vec<String>,
) -> Changed<'a> {
    let name = |change: &TableChange| {
        let table = tables.iter().find(|table| table.tid == change.table)?;
        Some(table.name.clone())
    };
    for (transaction, _) in batch {
        match &transaction.body {
            Body::Rows(changes) => names.extend(changes.iter().filter_map(name)),
            Body::Schema { .. } => return Changed::All,
        }
    }
    Changed::Tables(names)
}

/// Whether a change has the table's shape.
fn fits(table: &Table, row: &RowChange) -> bool {
    let width = table.columns.len();
    row.key.len() == table.key.len()
        && match &row.write {
            RowWrite::Insert(values) => values.len() == width,
            RowWrite::Update(cells) => cells.iter().all(|cell| usize::from(cell.0) < width),
            RowWrite::Delete => true,
        }
}

fn check_order(origins: &Origins, transaction: &Transaction) -> Result<(), StoreError> {
    let seq = |id: u64| origins.get(&id).map_or(0, |origin| origin.position.seq);
    let origin = transaction.origin;
    if transaction.seq != seq(origin) + 1 {
        return Err(StoreError::Peer(format!(
            "transaction {} of origin {origin:016x} after {}",
            transaction.seq,
            seq(origin)
        )));
    }
    let last = origins.get(&origin).map(|origin| origin.hlc);
    if last.is_some_and(|last| transaction.hlc <= last) {
        return Err(StoreError::Peer(format!(
            "origin {origin:016x}'s clock ran backwards"
        )));
    }
    match transaction.deps.iter().find(|dep| seq(dep.0) < dep.1) {
        None => Ok(()),
        Some((dep, needed)) => Err(StoreError::Peer(format!(
            "a transaction that depends on {dep:016x}:{needed}, which is not here yet"
        ))),
    }
}

/// How far ahead of our wall clock a stamp may be, in milliseconds.
const MAX_AHEAD_MS: u64 = 60_000;

/// Refuses a stamp from the future: it waits at the peer, and never moves our clock.
fn check_clock(wall_ms: u64, transaction: &Transaction) -> Result<(), StoreError> {
    let ahead = transaction.hlc.millis().saturating_sub(wall_ms);
    if ahead <= MAX_AHEAD_MS {
        return Ok(());
    }
    Err(StoreError::Peer(format!(
        "a transaction stamped {} s in the future waits; check the time of both systems",
        ahead / 1_000
    )))
}

/// Whether the arriving transaction had seen a version.
fn covers(origins: &Origins, transaction: &Transaction, stamp: Stamp) -> bool {
    if stamp.origin == transaction.origin {
        return stamp.seq <= transaction.seq;
    }
    let origin = origins.get(&transaction.origin);
    let seen = origin.and_then(|origin| origin.deps.get(&stamp.origin));
    seen.is_some_and(|seen| *seen >= stamp.seq)
}

/// The row after the merge: `None` unchanged, `Some(None)` gone.
fn outcome(
    decision: &Decision,
    change: &RowChange,
    old: Option<&Row>,
) -> Result<Option<Option<Row>>, StoreError> {
    let set = match &decision.outcome {
        Outcome::Keep => return Ok(None),
        Outcome::Delete => return Ok(Some(None)),
        Outcome::Replace => {
            return match &change.write {
                RowWrite::Insert(row) => Ok(Some(Some(row.clone()))),
                _ => Err(StoreError::Peer("a replacement without a row".into())),
            };
        }
        Outcome::Set(columns) => columns,
    };
    let Some(mut row) = old.cloned() else {
        return Err(StoreError::Damaged("a living row is missing".into()));
    };
    for &column in set {
        if let Some(value) = written(change, column) {
            row[usize::from(column)] = value.clone();
        }
    }
    Ok(Some(Some(row)))
}

fn written(change: &RowChange, column: u16) -> Option<&crate::replica::value::Value> {
    match &change.write {
        RowWrite::Insert(values) => values.get(usize::from(column)),
        RowWrite::Update(cells) => cells.iter().find(|c| c.0 == column).map(|c| &c.1),
        RowWrite::Delete => None,
    }
}

fn record_lost(
    db: &Connection,
    table: &Table,
    key: &[u8],
    decision: &Decision,
    change: &RowChange,
    old: Option<&Row>,
) -> Result<(), StoreError> {
    for lost in &decision.lost {
        let mine = old.and_then(|row| row.get(usize::from(lost.column)));
        let theirs = written(change, lost.column);
        if mine == theirs {
            continue;
        }
        let loser = match lost.side {
            Side::Local => mine,
            Side::Remote => theirs,
        };
        if let Some(value) = loser {
            let column = &table.columns[usize::from(lost.column)].name;
            inbox::record(db, &table.name, key, column, lost.winner, lost.loser, value)?;
        }
    }
    Ok(())
}

/// Whether an outcome touches no column of a UNIQUE or FOREIGN KEY.
fn keeps_constraints(table: &Table, outcome: &Outcome) -> bool {
    let Outcome::Set(columns) = outcome else {
        return false;
    };
    !columns.iter().any(|column| settle::watches(table, *column))
}

/// Writes a whole row.
pub(super) fn place(db: &Connection, table: &Table, row: &Row) -> Result<(), StoreError> {
    db.prepare_cached(&table.replace)?
        .execute(rusqlite::params_from_iter(row.iter().map(Bind)))?;
    Ok(())
}

/// Takes a row out of sight.
pub(super) fn remove(
    db: &Connection,
    table: &Table,
    key: &[crate::replica::value::Value],
) -> Result<(), StoreError> {
    db.prepare_cached(&table.delete)?
        .execute(rusqlite::params_from_iter(key.iter().map(Bind)))?;
    Ok(())
}
