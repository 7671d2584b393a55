//! Applying peers' transactions: merge, write, and log them verbatim.
//!
//! Runs with foreign keys, triggers and checks off; what constraints ask for is settled at the
//! end. A transaction whose origin had seen everything that is here cannot conflict: it is
//! replayed (`replay.rs`) without looking at a clock.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::capture::{Row, current, set_mixed};
use super::clocks::Run;
use super::histories::Seen;
use super::log::{self, Origins};
use super::memory::parked;
use super::schema::{Table, touched};
use super::settle::{self, Settle};
use super::shape::fits;
use super::shown::Changed;
use super::tx::Bind;
use super::writer::Writer;
use super::{StoreError, clocks, fold, inbox, lost, replay};
use crate::replica::change::{Body, Logged, RowChange, RowWrite, Transaction};
use crate::replica::clock::{Hlc, Stamp};
use crate::replica::frontier::tag;
use crate::replica::merge::{self, Decision, Outcome, Side};
use crate::replica::rows::Rows;
use crate::replica::value::{Value, encode_key};
use crate::wire::replication::MAX_ORIGINS;

/// A batch while it is applied: what memory becomes when it commits.
struct Applying {
    origins: Origins,
    position: i64,
    folded: i64,
    mixed: HashSet<i64>,
    parked: bool,
    settle: Settle,
    merged: bool,
    /// The tables that may have changed.
    changed: Vec<String>,
}

impl Writer {
    /// Applies what is new of `batch`; returns the number of its commit, if there was any.
    pub fn apply(&mut self, batch: &[Logged]) -> Result<Option<u64>, StoreError> {
        self.ready()?;
        let open = self.without_closed(batch)?;
        let fresh = self.fresh(open.as_deref().unwrap_or(batch))?;
        if fresh.is_empty() {
            return Ok(None);
        }
        let result = self.applying(|writer| writer.apply_all(&fresh));
        match result {
            Ok(done) => Ok(Some(self.applied(&fresh, done))),
            Err(error) => {
                self.set_stale();
                Err(error)
            }
        }
    }

    /// The transactions that are not here yet, decoded.
    fn fresh<'a>(&self, batch: &'a [Logged]) -> Result<Vec<(Transaction, &'a Logged)>, StoreError> {
        let mut ends: Vec<(u64, u64, Hlc)> = Vec::new();
        let mut fresh = Vec::new();
        for logged in batch {
            let end = match ends.iter_mut().find(|end| end.0 == logged.origin) {
                Some(end) => end,
                None => {
                    let known = self.memory.origins.get(&logged.origin);
                    let (seq, hlc) = known.map_or((0, Hlc::default()), |origin| {
                        (origin.position.seq, origin.hlc)
                    });
                    ends.push((logged.origin, seq, hlc));
                    let last = ends.len() - 1;
                    &mut ends[last]
                }
            };
            if logged.seq <= end.1 {
                continue;
            }
            if logged.origin == 0 {
                return Err(StoreError::Peer("a transaction of origin 0".into()));
            }
            if logged.seq != end.1 + 1 {
                return Err(StoreError::Peer(format!(
                    "transaction {} of origin {:016x} after {}",
                    logged.seq, logged.origin, end.1
                )));
            }
            let transaction = logged
                .decode(end.2)
                .ok_or_else(|| StoreError::Peer("a transaction that cannot be read".into()))?;
            (end.1, end.2) = (transaction.seq, transaction.hlc);
            fresh.push((transaction, logged));
        }
        Ok(fresh)
    }

    fn apply_all(&mut self, fresh: &[(Transaction, &Logged)]) -> Result<Applying, StoreError> {
        let mut state = Applying {
            origins: self.memory.origins.clone(),
            position: self.memory.position,
            folded: self.memory.unfolded.from,
            mixed: self.memory.mixed.clone(),
            parked: self.memory.parked,
            settle: Settle::default(),
            merged: false,
            changed: Vec::new(),
        };
        for (transaction, logged) in fresh {
            let closed = &self.memory.closed;
            check_order(&state.origins, closed, transaction)?;
            self.check_histories(&state.origins, transaction)?;
            let known = state.origins.len() + closed.len();
            let new = !state.origins.contains_key(&transaction.origin);
            let origin = state.origins.entry(transaction.origin).or_default();
            origin.learn(transaction.seq, &transaction.head, closed);
            if (new && known >= MAX_ORIGINS) || origin.deps.len() > MAX_ORIGINS {
                // A hello has to name them all.
                return Err(StoreError::Peer(format!(
                    "a transaction beyond {MAX_ORIGINS} incarnations"
                )));
            }
            let covers_all = Seen::new(&state.origins, closed, transaction).covers_all();
            if state.settle.is_open() && covers_all {
                self.settle(&mut state)?;
            }
            let plain = !state.parked
                && !state.settle.is_open()
                && covers_all
                && !transaction.is_again()
                && replay::fits_all(&self.tables, &transaction.body)?;
            if !plain {
                state.folded = self.fold(&state)?;
            }
            let origin = state.origins.entry(transaction.origin).or_default();
            state.position += 1;
            let hlc = transaction.hlc;
            let chain = log::append(&self.db, state.position, &origin.position, hlc, logged)?;
            if logged.chain.is_some_and(|known| known != tag(&chain)) {
                // What was sent follows on another history than what is here.
                return Err(StoreError::Fork {
                    origin: transaction.origin,
                    seq: transaction.seq,
                });
            }
            origin.advance(transaction.seq, hlc, chain);
            match &transaction.body {
                Body::Rows(changes) => {
                    state.changed.extend(touched(&self.tables, changes)?);
                    self.note_generations(&mut state, changes)?;
                    if plain {
                        replay::rows(&self.db, &self.tables, changes)?;
                    } else {
                        self.merge_rows(&mut state, transaction, changes)?;
                    }
                }
                body @ Body::Schema { .. } => {
                    self.settle(&mut state)?;
                    let closed = self.memory.closed.clone();
                    let seen = Seen::new(&state.origins, &closed, transaction);
                    let covers = |stamp| seen.covers(stamp);
                    self.apply_schema(transaction.stamp(), body, covers)?;
                    state.parked = parked(&self.db)?;
                }
                Body::Lost(lost) => {
                    for lost in lost {
                        lost::keep(&self.db, lost)?;
                    }
                }
            }
            if !plain {
                // What a merge wrote includes the clocks.
                state.merged = true;
                state.folded = state.position;
                index(&self.db, transaction, state.position)?;
            }
        }
        self.settle(&mut state)?;
        if state.merged && state.folded == state.position {
            log::save_origins(&self.db, &state.origins)?;
        }
        if state.merged {
            // What follows a merge in the batch may have been replayed: it is folded, too.
            state.folded = self.fold(&state)?;
        }
        Ok(state)
    }

    fn fold(&self, state: &Applying) -> Result<i64, StoreError> {
        let (origins, known) = (&state.origins, &self.memory.unfolded);
        fold::fold(&self.db, &self.tables, origins, state.folded, known)
    }

    fn settle(&self, state: &mut Applying) -> Result<(), StoreError> {
        if state.settle.is_open() {
            std::mem::take(&mut state.settle).run(&self.db, &self.tables)?;
            state.parked = parked(&self.db)?;
        }
        Ok(())
    }

    /// A table's first generation beyond 1 is remembered, in the database too.
    fn note_generations(&self, state: &mut Applying, changes: &Rows) -> Result<(), StoreError> {
        for change in changes.parts() {
            let change = change?;
            if !change.rows.iter().any(|row| row.generation > 1) {
                continue;
            }
            let table = self.tables.iter().find(|table| table.tid == change.table);
            if let Some(table) = table
                && state.mixed.insert(table.id)
            {
                set_mixed(&self.db, table.id)?;
            }
        }
        Ok(())
    }

    /// A batch is committed: memory learns of it. Returns the number of the commit.
    fn applied(&mut self, fresh: &[(Transaction, &Logged)], mut done: Applying) -> u64 {
        done.changed.sort_unstable();
        done.changed.dedup();
        let first = done.position - fresh.len() as i64 + 1;
        let latest = fresh.iter().map(|(transaction, _)| transaction.hlc).max();
        self.hlc = self.hlc.max(latest.unwrap_or_default());
        let memory = &mut self.memory;
        memory.origins = done.origins;
        memory.mixed = done.mixed;
        memory.parked = done.parked;
        if done.folded != memory.unfolded.from {
            memory.set_folded(done.folded);
        }
        for (position, (transaction, logged)) in (first..).zip(fresh) {
            if position > done.folded {
                let (stamp, size) = (transaction.stamp(), logged.bytes.size() as usize);
                memory.note(&self.tables, stamp, position, &transaction.body, size);
            }
        }
        memory.position = done.position;
        let schema = |t: &(Transaction, &Logged)| matches!(t.0.body, Body::Schema { .. });
        let commit = if fresh.iter().any(schema) {
            self.show_all()
        } else {
            let origins = fresh.iter().map(|(transaction, _)| transaction.origin);
            self.show(origins, &Changed::Tables(&done.changed))
        };
        self.fold_when_due();
        commit
    }

    fn merge_rows(
        &self,
        state: &mut Applying,
        transaction: &Transaction,
        changes: &Rows,
    ) -> Result<(), StoreError> {
        for change in changes.parts() {
            let change = change?;
            let table = self.tables.iter().find(|table| table.tid == change.table);
            let mut rows = &change.rows[..];
            if let Some(table) = table {
                while let Some(new) = self.new_run(table, rows, transaction.stamp())? {
                    rows = &rows[new..];
                }
            }
            for row in rows {
                match table {
                    Some(table) if fits(table, row) => {
                        self.merge_row(state, transaction, table, row)?;
                        if state.settle.is_full() {
                            self.settle(state)?;
                        }
                    }
                    _ => inbox::park_row(&self.db, transaction.stamp(), change.table, row)?,
                }
            }
        }
        Ok(())
    }

    /// Places the rows at the front that are new under keys which no row ever had, as one run;
    /// returns how many, if there are any.
    fn new_run(
        &self,
        table: &Table,
        rows: &[RowChange],
        stamp: Stamp,
    ) -> Result<Option<usize>, StoreError> {
        let length = clocks::run_length(rows);
        let (rows, fits) = (&rows[..length], |row| fits(table, row));
        let ([Value::Integer(first)], [Value::Integer(last)]) = (match rows {
            [first, .., last] => (&first.key[..], &last.key[..]),
            _ => return Ok(None),
        }) else {
            return Ok(None);
        };
        let (first, last) = (*first, *last);
        if table.is_constrained()
            || !rows.iter().all(fits)
            || !clocks::is_clear(&self.db, table.id, first, last)?
        {
            return Ok(None);
        }
        replay::directly(&self.db, table, rows)?;
        clocks::save_run(&self.db, table.id, &Run { first, last, stamp })?;
        Ok(Some(length))
    }

    fn merge_row(
        &self,
        state: &mut Applying,
        transaction: &Transaction,
        table: &Arc<Table>,
        change: &RowChange,
    ) -> Result<(), StoreError> {
        let Applying {
            origins, settle, ..
        } = state;
        let key = encode_key(&change.key);
        let clock = log::load_clock(&self.db, table.id, &key)?;
        let seen = Seen::new(origins, &self.memory.closed, transaction);
        let covers = |stamp: Stamp| seen.covers(stamp);
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
            if old.is_none() && matches!(decision.outcome, Outcome::Set(_)) {
                replay::missing(table);
            }
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

/// Now and then a merged transaction's position is noted for those who read the log from it.
fn index(db: &Connection, transaction: &Transaction, position: i64) -> Result<(), StoreError> {
    if transaction.seq % 64 == 1 {
        let (origin, seq) = (transaction.origin as i64, transaction.seq as i64);
        db.prepare_cached("REPLACE INTO _tutti_index(origin, seq, position) VALUES (?, ?, ?)")?
            .execute(params![origin, seq, position])?;
    }
    Ok(())
}

/// Whether all that a transaction depends on is here.
fn check_order(
    origins: &Origins,
    closed: &Origins,
    transaction: &Transaction,
) -> Result<(), StoreError> {
    let known = |id: u64| origins.get(&id).or_else(|| closed.get(&id));
    let seq = |id: u64| known(id).map_or(0, |origin| origin.position.seq);
    let mut deps = transaction.head.deps.iter();
    match deps.find(|dep| seq(dep.origin) < dep.seq) {
        None => Ok(()),
        Some(dep) => Err(StoreError::Peer(format!(
            "a transaction that depends on {:016x}:{}, which is not here yet",
            dep.origin, dep.seq
        ))),
    }
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
    // A living row that the disk lost comes back by the next proof: its clock tells.
    let Some(mut row) = old.cloned() else {
        return Ok(None);
    };
    for &column in set {
        if let Some(value) = written(change, column) {
            row[usize::from(column)] = value.clone();
        }
    }
    Ok(Some(Some(row)))
}

fn written(change: &RowChange, column: u16) -> Option<&Value> {
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
            inbox::record(
                db,
                &table.label,
                key,
                column,
                lost.winner,
                lost.loser,
                value,
            )?;
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
pub(super) fn remove(db: &Connection, table: &Table, key: &[Value]) -> Result<(), StoreError> {
    db.prepare_cached(&table.delete)?
        .execute(rusqlite::params_from_iter(key.iter().map(Bind)))?;
    Ok(())
}
