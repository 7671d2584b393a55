//! What is issued again: the transactions of a fresh incarnation, and what of its rows a system
//! puts into them.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::Suffix;
use crate::replica::Incarnation;
use crate::replica::change::{
    Body, Dep, Head, Logged, RowChange, RowWrite, TableChange, Transaction,
};
use crate::replica::clock::{Hlc, RowClock, Stamp};
use crate::replica::frontier::Frontier;
use crate::replica::value::Value;
use crate::store::apply::remove;
use crate::store::capture::{Row, current};
use crate::store::carry::frontier;
use crate::store::log::{self, Origin, sqlite};
use crate::store::ranges::copy;
use crate::store::schema::Table;
use crate::store::settle::Settle;
use crate::store::superseded::{Other, There};
use crate::store::writer::Writer;
use crate::store::{StoreError, declare, lost, superseded};

/// About how many bytes of rows go into one transaction that is issued again.
pub(in crate::store) const CHUNK: usize = 4 << 20;

impl Writer {
    /// Logs what the suffix wrote under `fresh`; returns what was told of other origins.
    pub(super) fn issue(
        &mut self,
        suffix: &mut Suffix,
        over: Option<&Other<'_>>,
        (hlc, fresh): (Hlc, Incarnation),
    ) -> Result<Frontier, StoreError> {
        let told = frontier(self);
        let mut issue = Issue {
            fresh,
            told: told.0.iter().map(|(id, at)| Dep::new(*id, at)).collect(),
            origin: Origin::default(),
            hlc,
        };
        for body in lost::bodies(std::mem::take(&mut suffix.lost)) {
            issue.log(self, body)?;
        }
        if let Some(over) = over {
            self.superseded(suffix, over, &mut issue)?;
        }
        for (old, body) in &suffix.schemas {
            let new = issue.stamp();
            self.db.execute(
                "DELETE FROM _tutti_declared WHERE origin = ? AND seq = ?",
                params![sqlite(old.origin), sqlite(old.seq)],
            )?;
            if let Body::Schema { id, .. } = body
                && *id != 0
            {
                declare::declared(&self.db, *id, new)?;
            }
            issue.log(self, body.clone())?;
        }
        if !suffix.schemas.is_empty() {
            // Another declaration of the name may be the earlier one now.
            self.resolve()?;
        }
        let mut settle = Settle::default();
        let mut changes: Vec<TableChange> = Vec::new();
        let mut size = 0;
        for ((tid, encoded), key) in &suffix.keys {
            let Some(table) = self.tables.iter().find(|table| table.tid == *tid) else {
                continue;
            };
            let table = Arc::clone(table);
            let holds = |stamp: &Stamp| suffix.renews(stamp);
            let from = (&self.db, over);
            let mut found = again(from, holds, &table, encoded, key, issue.stamp())?;
            let more = found.as_ref().map_or(0, |found| size_of(encoded, &found.1));
            if size + more > CHUNK && !changes.is_empty() {
                issue.log(self, Body::Rows(std::mem::take(&mut changes).into()))?;
                size = 0;
                // It is a version of the next transaction.
                found = again((&self.db, over), holds, &table, encoded, key, issue.stamp())?;
            }
            let Some((clock, row)) = found else {
                continue;
            };
            size += more;
            log::save_clock(&self.db, table.id, encoded, &clock)?;
            if clock.is_alive() && table.is_constrained() {
                rank(self, &mut settle, &table, encoded, key)?;
                if settle.is_full() {
                    std::mem::take(&mut settle).run(&self.db, &self.tables)?;
                }
            }
            match changes.last_mut().filter(|last| last.table == *tid) {
                Some(last) => last.rows.push(row),
                None => changes.push(TableChange {
                    table: *tid,
                    rows: vec![row],
                }),
            }
        }
        if !changes.is_empty() {
            issue.log(self, Body::Rows(changes.into()))?;
        }
        settle.run(&self.db, &self.tables)?;
        // Where nothing was issued, nothing was told.
        let told = match issue.origin.position.seq {
            0 => Frontier::default(),
            _ => {
                self.memory.origins.insert(fresh, issue.origin);
                told
            }
        };
        log::save_origins(&self.db, &self.memory.origins)?;
        log::set_folded(&self.db, self.memory.position)?;
        Ok(told)
    }
}

impl Writer {
    /// What the database that takes this one's place is later than is not issued again: it lost.
    fn superseded(
        &mut self,
        suffix: &Suffix,
        over: &Other<'_>,
        issue: &mut Issue,
    ) -> Result<(), StoreError> {
        let mut told = lost::Gathered::default();
        for (tid, key) in suffix.keys.keys() {
            let Some(table) = self.tables.iter().find(|table| table.tid == *tid) else {
                continue;
            };
            let holds = |stamp: &Stamp| suffix.renews(stamp);
            for lost in superseded::lost((&self.db, over), table, key, holds)? {
                if let Some(body) = told.add(lost) {
                    issue.log(self, body)?;
                }
            }
        }
        told.rest().map_or(Ok(()), |body| issue.log(self, body))
    }
}

/// A row has another rank among those that claim its unique values: it is looked at anew.
fn rank(
    writer: &Writer,
    settle: &mut Settle,
    table: &Arc<Table>,
    encoded: &[u8],
    key: &[Value],
) -> Result<(), StoreError> {
    let db = &writer.db;
    let visible = current(db, table, key)?;
    let row = match &visible {
        Some(row) => Some(row.clone()),
        None => settle.merged(db, table, encoded)?,
    };
    if row.is_none() {
        return Ok(());
    }
    if visible.is_some() {
        remove(db, table, key)?;
    }
    settle.changed(db, table, encoded.to_vec(), visible, row)
}

/// The transactions of one reissue.
struct Issue {
    fresh: Incarnation,
    /// What the first of them depends on of others.
    told: Vec<Dep>,
    origin: Origin,
    hlc: Hlc,
}

impl Issue {
    /// The version of what is logged next.
    fn stamp(&self) -> Stamp {
        Stamp {
            hlc: self.hlc,
            origin: self.fresh,
            seq: self.origin.position.seq + 1,
        }
    }

    fn log(&mut self, writer: &mut Writer, body: Body) -> Result<(), StoreError> {
        let stamp = self.stamp();
        let first = stamp.seq == 1;
        let mut deps = std::mem::take(&mut self.told);
        deps.push(Dep::new(self.fresh, &self.origin.position));
        let transaction = Transaction {
            origin: self.fresh,
            seq: stamp.seq,
            hlc: self.hlc,
            head: Head {
                node: first.then_some(writer.node()),
                deps,
            },
            body,
        };
        let logged = Logged {
            origin: self.fresh,
            seq: stamp.seq,
            bytes: transaction.encode(self.origin.hlc).into(),
            chain: None,
        };
        writer.memory.position += 1;
        let position = writer.memory.position;
        let previous = self.origin.position;
        let chain = log::append(&writer.db, position, &previous, self.hlc, &logged)?;
        if first {
            writer
                .db
                .prepare_cached("REPLACE INTO _tutti_index VALUES (?, ?, ?)")?
                .execute(params![sqlite(self.fresh), 1, position])?;
        }
        let (head, closed) = (&transaction.head, &writer.memory.closed);
        self.origin.learn(stamp.seq, head, closed);
        self.origin.advance(stamp.seq, self.hlc, chain);
        self.hlc = Hlc(self.hlc.0 + 1);
        Ok(())
    }
}

/// About how many bytes a row's change takes.
pub(in crate::store) fn size_of(encoded: &[u8], row: &RowChange) -> usize {
    encoded.len() + postcard::to_stdvec(row).unwrap_or_default().len()
}

/// What a row that lives in both databases is to hold of this one's.
fn over(
    there: &There,
    holds: impl Fn(&Stamp) -> bool,
    table: &Table,
    clock: &RowClock,
    mut row: Row,
) -> RowWrite {
    let columns = (0..row.len()).filter(|at| !table.key.contains(at));
    let later: Vec<usize> = columns
        .filter(|at| there.lacks(clock, *at as u16) && holds(&clock.column(*at as u16)))
        .collect();
    if later.is_empty() || !holds(&clock.row) {
        let cells = later.into_iter();
        let cells = cells.map(|at| (at as u16, std::mem::replace(&mut row[at], Value::Null)));
        return RowWrite::Update(cells.collect());
    }
    // It came twice, and whoever has neither takes it whole.
    for (at, value) in row.iter_mut().enumerate() {
        if !there.lacks(clock, at as u16)
            && let Some(theirs) = there.value(at)
        {
            *value = theirs.clone();
        }
    }
    RowWrite::Insert(row)
}

/// What a row holds of some stamps, as one change, with the row's clock after it; where it goes
/// over another database, no more than that has nothing later of.
pub(in crate::store) fn again(
    (db, other): (&Connection, Option<&Other<'_>>),
    holds: impl Fn(&Stamp) -> bool,
    table: &Table,
    encoded: &[u8],
    key: &[Value],
    stamp: Stamp,
) -> Result<Option<(RowClock, RowChange)>, StoreError> {
    let copy = copy(db, table, encoded)?;
    let Some(mut clock) = copy.clock else {
        return Ok(None);
    };
    let there = match other {
        Some(other) => There::of(other, table, encoded, &clock)?,
        None => None,
    };
    if there.as_ref().is_some_and(|there| there.is_later(&clock)) {
        return Ok(None);
    }
    let shared = there.filter(|there| there.is_same_life(&clock));
    let write = match copy.content {
        Some(row) if let Some(there) = &shared => over(there, &holds, table, &clock, row),
        _ if !clock.is_alive() && holds(&clock.row) => RowWrite::Delete,
        Some(row) if holds(&clock.row) => RowWrite::Insert(row),
        Some(row) if clock.is_alive() => {
            let columns = clock.columns.iter().filter(|c| holds(&c.1));
            let cells = columns.filter_map(|c| Some((c.0, row.get(usize::from(c.0))?.clone())));
            RowWrite::Update(cells.collect())
        }
        _ => return Ok(None),
    };
    match &write {
        RowWrite::Update(cells) if cells.is_empty() => return Ok(None),
        RowWrite::Update(cells) => {
            for cell in cells {
                clock.set_column(cell.0, stamp);
            }
        }
        RowWrite::Insert(_) | RowWrite::Delete => {
            clock.row = stamp;
            clock.columns.clear();
        }
    }
    let change = RowChange {
        key: key.to_vec(),
        generation: clock.generation,
        write,
    };
    Ok(Some((clock, change)))
}
