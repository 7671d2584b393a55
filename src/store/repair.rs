//! Repair of rows that a proof found to differ: puts the right copy in place. A repair is no new
//! write: it restores what the log already said, so it is not logged and takes no stamp. Each
//! one, and each row that nobody can decide, is a [`Finding`].

use std::sync::Arc;

use super::apply::{place, remove};
use super::capture::{current, set_mixed};
use super::memory::parked;
use super::ranges::copy;
use super::schema::Table;
use super::settle::{Settle, key_of};
use super::shown::Changed;
use super::writer::Writer;
use super::{Store, StoreError, inbox, log};
use crate::replica::NodeId;
use crate::replica::clock::{MAX_GENERATION, RowClock, Stamp};
use crate::replica::digest::Difference;
use crate::replica::repair::{Copy, Reason, Unclear, Verdict, decide};
use crate::replica::value::{Value, decode_key, encode_key};
use rusqlite::Connection;

/// What became of one row that differed.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The table.
    pub table: String,
    /// The row's key.
    pub key: Vec<Value>,
    /// What was done, or why nothing was.
    pub result: Result<Reason, Unclear>,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = crate::replica::value::encode(&self.key);
        let hex: String = key.iter().take(16).map(|b| format!("{b:02x}")).collect();
        // The key itself may be somebody's secret: its bytes' hex is enough to find the row.
        write!(f, "table {}, row key {hex}: ", self.table)?;
        match &self.result {
            Ok(reason) => write!(f, "repaired: {reason}"),
            Err(unclear) => write!(f, "not repaired: {unclear}"),
        }
    }
}

impl Store {
    /// Decides about one row by the copies that others hold of it, and repairs it here where
    /// ours is wrong. `None`: ours stands, or is under way. Durable when it returns.
    pub fn repair(
        &self,
        row: &Difference,
        others: &[(NodeId, Copy)],
    ) -> Result<Option<Finding>, StoreError> {
        let node = self.node();
        let repaired = self.writer()?.repair(node, row, others)?;
        let Some((finding, commit)) = repaired else {
            return Ok(None);
        };
        if let Some(commit) = commit {
            self.durable(commit)?;
        }
        Ok(Some(finding))
    }
}

#[cfg(test)]
impl Store {
    /// Writes past the engine: a connection of its own, no hook, no log.
    pub fn corrupt(&self, sql: &str) {
        let db = rusqlite::Connection::open(&self.inner.path).unwrap();
        db.execute_batch(sql).unwrap();
    }
}

impl Writer {
    fn repair(
        &mut self,
        us: NodeId,
        row: &Difference,
        others: &[(NodeId, Copy)],
    ) -> Result<Option<(Finding, Option<u64>)>, StoreError> {
        self.fold_now()?;
        let Some(table) = self.tables.iter().find(|table| table.tid == row.table) else {
            return Ok(None);
        };
        let table = Arc::clone(table);
        let Some(key) = decode_key(&row.key).filter(|key| key.len() == table.key.len()) else {
            return Err(StoreError::Peer("a row key that cannot be read".into()));
        };
        let known = |copy: &Copy| self.holds(copy) && fits(&table, &row.key, copy);
        let others: Vec<(NodeId, Copy)> = others.iter().filter(|o| known(&o.1)).cloned().collect();
        let mut ours = copy(&self.db, &table, &row.key)?;
        if !fits(&table, &row.key, &ours) {
            ours.content = None;
        }
        let verdict = decide(us, &ours, &others, |origin| self.node_of(origin));
        let (result, commit) = match verdict {
            Verdict::Keep => return Ok(None),
            Verdict::Alarm(unclear) => (Err(unclear), None),
            Verdict::Take {
                clock,
                content,
                reason,
            } => {
                let commit = self.put(&table, &row.key, &key, &clock, Some(content))?;
                (Ok(reason), Some(commit))
            }
            Verdict::Delete { clock } => {
                let commit = self.put(&table, &row.key, &key, &clock, None)?;
                (Ok(Reason::Deleted), Some(commit))
            }
        };
        let finding = Finding {
            table: table.label.clone(),
            key,
            result,
        };
        Ok(Some((finding, commit)))
    }

    /// Whether every stamp of a copy is one that we hold: what is beyond arrives by itself.
    fn holds(&self, copy: &Copy) -> bool {
        let (open, closed) = (&self.memory.origins, &self.memory.closed);
        let held = |stamp: &Stamp| {
            let known = [open.get(&stamp.origin), closed.get(&stamp.origin)];
            // None is later than the last that its origin issued.
            let issued = |of: &log::Origin| {
                (1..=of.position.seq).contains(&stamp.seq) && stamp.hlc <= of.hlc
            };
            known.into_iter().flatten().any(issued)
        };
        let clock = copy.clock.as_ref();
        clock.is_none_or(|clock| held(&clock.row) && clock.columns.iter().all(|c| held(&c.1)))
    }

    fn node_of(&self, origin: crate::replica::Incarnation) -> Option<NodeId> {
        let known = self.memory.origins.get(&origin);
        known.or_else(|| self.memory.closed.get(&origin))?.node
    }

    /// Puts a row, or with no content its deletion, in place of what is here.
    fn put(
        &mut self,
        table: &Arc<Table>,
        encoded: &[u8],
        key: &[Value],
        clock: &RowClock,
        content: Option<Vec<Value>>,
    ) -> Result<u64, StoreError> {
        let parked = self.applying(|writer| {
            let db = &writer.db;
            if content.is_none() {
                record_deleted(db, table, encoded, clock.row)?;
            }
            log::save_clock(db, table.id, encoded, clock)?;
            if clock.generation > 1 {
                set_mixed(db, table.id)?;
            }
            let visible = current(db, table, key)?;
            if visible.is_some() {
                remove(db, table, key)?;
            }
            if !table.is_constrained() {
                if let Some(row) = &content {
                    place(db, table, row)?;
                }
                return Ok(writer.memory.parked);
            }
            let mut settle = Settle::default();
            settle.recheck_rivals(db, table, encoded)?;
            settle.changed(db, table, encoded.to_vec(), visible, content)?;
            settle.run(db, &writer.tables)?;
            parked(db)
        })?;
        self.memory.parked = parked;
        if clock.generation > 1 {
            self.memory.mixed.insert(table.id);
        }
        let changed = Changed::Tables(std::slice::from_ref(&table.name));
        Ok(self.show(std::iter::empty(), &changed))
    }
}

/// What a row held before its deletion arrived goes to the conflict inbox, column by column.
fn record_deleted(
    db: &Connection,
    table: &Table,
    encoded: &[u8],
    winner: Stamp,
) -> Result<(), StoreError> {
    let ours = copy(db, table, encoded)?;
    let (Some(clock), Some(row)) = (ours.clock, ours.content) else {
        return Ok(());
    };
    let keys: Vec<String> = table.key_names();
    for (at, (column, value)) in table.columns.iter().zip(&row).enumerate() {
        if !keys.contains(&column.name) {
            let loser = clock.column(at as u16);
            inbox::record(
                db,
                &table.label,
                encoded,
                &column.name,
                winner,
                loser,
                value,
            )?;
        }
    }
    Ok(())
}

/// Whether a copy has the table's shape, and a generation that rows can have.
fn fits(table: &Table, key: &[u8], copy: &Copy) -> bool {
    let width = table.columns.len();
    let content = copy.content.as_ref();
    let fine = |clock: &RowClock| {
        (1..=MAX_GENERATION).contains(&clock.generation)
            && clock
                .columns
                .iter()
                .all(|column| usize::from(column.0) < width)
    };
    let own = |row: &Vec<Value>| table.takes(row) && encode_key(&key_of(table, row)) == key;
    content.is_none_or(own) && copy.clock.as_ref().is_none_or(fine)
}

#[cfg(test)]
mod tests;
