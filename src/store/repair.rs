//! Repair of rows that a proof found to differ: reads copies for peers, and puts the right one
//! in place. A repair is no new write: it restores what the log already said, so it is not
//! logged and takes no stamp. Each one, and each row that nobody can decide, is a [`Finding`].

use std::sync::Arc;

use super::apply::{place, remove};
use super::ranges::content;
use super::schema::Table;
use super::settle::{self, Settle};
use super::shown::Changed;
use super::writer::Writer;
use super::{Store, StoreError, lock, log};
use crate::replica::NodeId;
use crate::replica::clock::{RowClock, Stamp};
use crate::replica::digest::{Difference, MAX_DIFFERENCES};
use crate::replica::repair::{Copy, Reason, Unclear, Verdict, decide};
use crate::replica::value::{Value, decode};

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
    /// This node's copies of rows, one for each asked, in their order; at most
    /// [`MAX_DIFFERENCES`].
    pub fn copies(&self, rows: &[Difference]) -> Result<Vec<Copy>, StoreError> {
        let tables = lock(&self.inner.shown).tables.clone();
        let table = |name: &str| tables.iter().find(|table| table.name == name);
        self.read(|reader| {
            let one = |row: &Difference| match table(&row.table) {
                Some(table) => copy(reader.connection, table, &row.key),
                None => Ok(Copy {
                    clock: None,
                    content: None,
                }),
            };
            rows.iter().take(MAX_DIFFERENCES).map(one).collect()
        })
    }

    /// Decides about one row by the copies that others hold of it, and repairs it here where
    /// ours is wrong. `None`: ours stands, or is under way. Durable when it returns.
    pub fn repair(
        &self,
        row: &Difference,
        others: &[(NodeId, Copy)],
    ) -> Result<Option<Finding>, StoreError> {
        let node = self.node();
        let finding = self.writer().repair(node, row, others)?;
        if finding.as_ref().is_some_and(|f| f.result.is_ok()) {
            self.bump();
        }
        Ok(finding)
    }
}

fn copy(db: &rusqlite::Connection, table: &Table, key: &[u8]) -> Result<Copy, StoreError> {
    let clock = log::load_clock(db, table.id, key)?;
    let alive = clock.as_ref().is_none_or(RowClock::is_alive);
    let content = if alive {
        content(db, table, key)?
    } else {
        None
    };
    Ok(Copy { clock, content })
}

impl Writer {
    fn repair(
        &mut self,
        us: NodeId,
        row: &Difference,
        others: &[(NodeId, Copy)],
    ) -> Result<Option<Finding>, StoreError> {
        let Some(table) = self.tables.iter().find(|table| table.name == row.table) else {
            return Ok(None);
        };
        let table = Arc::clone(table);
        let Some(key) = decode(&row.key).filter(|key| key.len() == table.key.len()) else {
            return Err(StoreError::Peer("a row key that cannot be read".into()));
        };
        let known = |copy: &Copy| self.holds(copy) && fits(&table, copy);
        let others: Vec<(NodeId, Copy)> = others.iter().filter(|o| known(&o.1)).cloned().collect();
        let ours = copy(&self.db, &table, &row.key)?;
        let verdict = decide(us, &ours, &others, |origin| self.node_of(origin));
        let result = match verdict {
            Verdict::Keep => return Ok(None),
            Verdict::Alarm(unclear) => Err(unclear),
            Verdict::Take {
                clock,
                content,
                reason,
            } => {
                self.put(&table, &row.key, &key, &clock, content)?;
                Ok(reason)
            }
        };
        Ok(Some(Finding {
            table: row.table.clone(),
            key,
            result,
        }))
    }

    /// Whether every stamp of a copy is one that we hold: what is beyond arrives by itself.
    fn holds(&self, copy: &Copy) -> bool {
        let frontier = self.frontier();
        let held = |stamp: &Stamp| frontier.covers(stamp.origin, stamp.seq);
        let clock = copy.clock.as_ref();
        clock.is_none_or(|clock| held(&clock.row) && clock.columns.iter().all(|c| held(&c.1)))
    }

    fn node_of(&self, origin: crate::replica::Incarnation) -> Option<NodeId> {
        self.origins.get(&origin).and_then(|origin| origin.node)
    }

    fn put(
        &mut self,
        table: &Arc<Table>,
        encoded: &[u8],
        key: &[Value],
        clock: &RowClock,
        content: Vec<Value>,
    ) -> Result<(), StoreError> {
        self.applying(|writer| {
            let db = &writer.db;
            log::save_clock(db, table.id, encoded, clock)?;
            let visible = super::capture::current(db, table, key)?;
            if !table.is_constrained() {
                return place(db, table, &content);
            }
            if visible.is_some() {
                remove(db, table, key)?;
            }
            settle::unpark(db, table.id, encoded)?;
            let mut settle = Settle::default();
            settle.changed(db, table, encoded.to_vec(), visible, Some(content))?;
            settle.run(db, &writer.tables)
        })?;
        self.publish(&Changed::Tables(std::slice::from_ref(&table.name)));
        Ok(())
    }
}

/// Whether a copy has the table's shape.
fn fits(table: &Table, copy: &Copy) -> bool {
    let width = table.columns.len();
    let content = copy.content.as_ref();
    let columns = copy.clock.as_ref().map(|clock| &clock.columns);
    content.is_none_or(|row| row.len() == width)
        && columns.is_none_or(|columns| columns.iter().all(|c| usize::from(c.0) < width))
}

#[cfg(test)]
mod tests;
