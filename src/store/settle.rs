//! Constraints after a merge: which of the merged rows are visible.
//!
//! A row loses a UNIQUE key to a living row of higher (stamp, key) that claims it, visible or
//! not; after that, rows whose FOREIGN KEY finds no visible parent are hidden until none is left
//! (the greatest fixpoint). What is visible depends on the merged versions only, never on the
//! order of arrival. Hidden rows are parked with what they claim, so a change finds those that
//! it concerns and leaves the others alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, params};

use super::apply::remove;
use super::capture::Row;
use super::claim::{self, Claim};
use super::memory::RowName;
use super::parents::{Offer, foreign_keys, offered};
use super::schema::{self, ForeignKey, Table, Unique, quote};
use super::tx::Bind;
use super::{StoreError, log};
use crate::replica::clock::{Hlc, RowClock, Stamp};
use crate::replica::value::{Value, decode, encode, encode_key};

pub(super) use super::claim::rivals;

pub(super) type Entry = (Arc<Table>, Row);

/// A unique key some of whose claims changed.
struct Touched {
    table: Arc<Table>,
    unique: usize,
    values: Row,
}

/// How many bytes of rows are on their way at most before they are settled: what is visible is a
/// function of the rows merged so far, so it may be asked for at any time. Little in tests, for
/// there the rows are few.
const FULL: usize = if cfg!(test) { 256 } else { 4 << 20 };
/// What a row on its way takes besides its values, about.
const EACH: usize = 256;

/// Rows on their way: taken out of their table, not yet placed.
#[derive(Default)]
pub(super) struct Settle {
    pending: BTreeMap<RowName, Entry>,
    claims: BTreeMap<Claim, Touched>,
    /// Rows that were visible; their children may have lost a parent.
    removed: Vec<Entry>,
    /// Rows that a local transaction wrote and SQLite has checked.
    written: Vec<Entry>,
    /// Visible rows whose parents are to be looked for again.
    check: Vec<Entry>,
    /// About how many bytes all that is.
    bytes: usize,
}

/// Creates the tables of parked rows' claims.
pub(super) fn create(db: &Connection) -> Result<(), StoreError> {
    Ok(db.execute_batch(claim::TABLES)?)
}

/// Foreign keys, triggers and checks; unlike the pragma, this counts inside a transaction too.
fn settings(db: &Connection, local: bool) -> Result<(), StoreError> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, local)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, local)?;
    Ok(db.pragma_update(None, "ignore_check_constraints", !local)?)
}

/// About how many bytes a row on its way takes.
fn weight(row: &Row) -> usize {
    let held = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
        _ => 0,
    };
    EACH + row.iter().map(held).sum::<usize>()
}

impl Settle {
    /// Whether anything is to be settled.
    pub fn is_open(&self) -> bool {
        let rows = !self.pending.is_empty() || !self.claims.is_empty();
        rows || !self.removed.is_empty() || !self.check.is_empty()
    }

    /// Whether there is so much that it is to be settled now.
    pub fn is_full(&self) -> bool {
        self.bytes > FULL
    }

    /// A merged row that is not visible: on its way or parked.
    pub fn merged(
        &self,
        db: &Connection,
        table: &Table,
        key: &[u8],
    ) -> Result<Option<Row>, StoreError> {
        if let Some((_, row)) = self.pending.get(&(table.id, key.to_vec())) {
            return Ok(Some(row.clone()));
        }
        parked(db, table.id, key)
    }

    /// Notes a row's new merged content; it is no longer in its table.
    pub fn changed(
        &mut self,
        db: &Connection,
        table: &Arc<Table>,
        key: Vec<u8>,
        visible: Option<Row>,
        new: Option<Row>,
    ) -> Result<(), StoreError> {
        let before = match &visible {
            Some(row) => Some(row.clone()),
            None => self.merged(db, table, &key)?,
        };
        unpark(db, table.id, &key)?;
        for row in before.iter().chain(&new) {
            self.touch(table, row)?;
            self.bytes += weight(row);
        }
        self.removed
            .extend(visible.map(|row| (Arc::clone(table), row)));
        let name = (table.id, key);
        match new {
            Some(row) => self.pending.insert(name, (Arc::clone(table), row)),
            None => self.pending.remove(&name),
        };
        Ok(())
    }

    /// Notes of what a local transaction made of a row, whose constraints SQLite has checked, what
    /// parked rows wait for.
    pub fn wrote(
        &mut self,
        db: &Connection,
        tables: &[Arc<Table>],
        table: &Arc<Table>,
        before: Option<&Row>,
        now: Option<&Row>,
    ) -> Result<(), StoreError> {
        for (row, rows) in [(before, &mut self.removed), (now, &mut self.written)] {
            let Some(row) = row else { continue };
            for offer in offered(tables, table, row) {
                if claim::any(db, &offer.claim)? {
                    rows.push((Arc::clone(table), row.clone()));
                    break;
                }
            }
            for (number, unique) in table.uniques.iter().enumerate() {
                if let Some(values) = claim::claimed(table, unique, row)? {
                    let claim = claim::unique(table, unique, &values);
                    if claim::any(db, &claim)? {
                        note(&mut self.claims, claim, table, number, values);
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks at a table's parked rows again.
    pub fn recheck(&mut self, db: &Connection, table: &Arc<Table>) -> Result<(), StoreError> {
        for row in take_all(db, table.id)? {
            let key = encode_key(&key_of(table, &row));
            self.again(table, key, row)?;
        }
        Ok(())
    }

    /// Looks for the parents of a table's visible rows that point at another.
    pub fn recheck_children(
        &mut self,
        db: &Connection,
        table: &Arc<Table>,
        parent: &str,
    ) -> Result<(), StoreError> {
        let points = |f: &&ForeignKey| f.parent.eq_ignore_ascii_case(parent);
        for foreign in table.foreign.iter().filter(points) {
            let columns = foreign.columns.iter().map(|at| &table.columns[*at].name);
            let set: Vec<_> = columns
                .map(|name| format!("{} IS NOT NULL", quote(name)))
                .collect();
            schema::each(db, table, &set.join(" AND "), |row| {
                self.check.push((Arc::clone(table), row));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Looks again at the parked rows that claim what a parked row did when it was parked, whatever
    /// damage has made of it since.
    pub fn recheck_rivals(
        &mut self,
        db: &Connection,
        table: &Arc<Table>,
        key: &[u8],
    ) -> Result<(), StoreError> {
        for rival in claim::rivals_of(db, table.id, key)? {
            if let Some(row) = parked(db, table.id, &rival)? {
                unpark(db, table.id, &rival)?;
                self.again(table, rival, row)?;
            }
        }
        Ok(())
    }

    /// A row that is no longer parked is on its way again.
    fn again(&mut self, table: &Arc<Table>, key: Vec<u8>, row: Row) -> Result<(), StoreError> {
        self.touch(table, &row)?;
        self.pending
            .insert((table.id, key), (Arc::clone(table), row));
        Ok(())
    }

    /// Notes that a row's claims came or went.
    pub fn touch(&mut self, table: &Arc<Table>, row: &Row) -> Result<(), StoreError> {
        for (number, unique) in table.uniques.iter().enumerate() {
            if let Some(values) = claim::claimed(table, unique, row)? {
                let claim = claim::unique(table, unique, &values);
                note(&mut self.claims, claim, table, number, values);
            }
        }
        Ok(())
    }

    /// Settles a local transaction before it commits, with the settings of applying while rows
    /// come back. The clocks of its rows must be written.
    pub fn run_local(self, db: &Connection, tables: &[Arc<Table>]) -> Result<(), StoreError> {
        settings(db, false)?;
        let result = self.run(db, tables);
        settings(db, true)?;
        result
    }

    /// Whether any parked row waits for what a local transaction touched.
    pub fn concerns_parked(&self, db: &Connection) -> Result<bool, StoreError> {
        for claim in self.claims.keys() {
            if claim::any(db, claim)? {
                return Ok(true);
            }
        }
        Ok(!self.written.is_empty())
    }

    /// Decides who is visible and places those rows.
    pub fn run(mut self, db: &Connection, tables: &[Arc<Table>]) -> Result<(), StoreError> {
        self.refresh(tables)?;
        // Nobody waits for what was there before.
        let mut here: BTreeSet<Offer> = BTreeSet::new();
        for (table, row) in &self.removed {
            here.extend(offered(tables, table, row));
        }
        self.gather(db, tables)?;
        let mut placed = std::mem::take(&mut self.written);
        let ranks = self.ranks(db)?;
        for (name, (table, row)) in std::mem::take(&mut self.pending) {
            if loses(db, &ranks, &table, &name.1, &row)? {
                park(db, &table, &name.1, &row, "UNIQUE")?;
            } else {
                insert(db, &table, &row)?;
                placed.push((table, row));
            }
        }
        // Whoever waited for a row that is there now is placed too; who still lacks a parent
        // leaves again below.
        let mut next = 0;
        while let Some((table, row)) = placed.get(next).cloned() {
            next += 1;
            for offer in offered(tables, &table, &row) {
                let claim = offer.claim;
                if here.insert(offer) {
                    for (id, key) in claim::waiting(db, &claim)? {
                        placed.extend(admit(db, tables, id, &key)?);
                    }
                }
            }
        }
        self.check.extend(placed);
        foreign_keys(db, tables, self.check, self.removed)
    }

    /// Tables may have been declared anew since their rows were noted.
    fn refresh(&mut self, tables: &[Arc<Table>]) -> Result<(), StoreError> {
        let mut anew = Vec::new();
        for (table, row) in self.pending.values_mut() {
            let now = tables.iter().find(|now| now.id == table.id);
            if let Some(now) = now.filter(|now| !Arc::ptr_eq(now, table)) {
                *table = Arc::clone(now);
                anew.push((Arc::clone(now), row.clone()));
            }
        }
        for (table, row) in anew {
            self.touch(&table, &row)?;
        }
        Ok(())
    }

    /// Takes the visible holder and the best parked row of every touched key out to the others.
    fn gather(&mut self, db: &Connection, tables: &[Arc<Table>]) -> Result<(), StoreError> {
        for (claim, touched) in std::mem::take(&mut self.claims) {
            let table = &touched.table;
            let unique = &table.uniques[touched.unique];
            if let Some(row) = claim::holder(db, table, unique, &touched.values)? {
                let key = key_of(table, &row);
                remove(db, table, &key)?;
                let entry = (Arc::clone(table), row);
                self.removed.push(entry.clone());
                self.pending.insert((table.id, encode_key(&key)), entry);
            }
            let Some((_, key)) = claim::best(db, &claim, table.id)? else {
                continue;
            };
            let Some(row) = parked(db, table.id, &key)? else {
                return Err(StoreError::Damaged("a claim without its row".into()));
            };
            unpark(db, table.id, &key)?;
            let current = tables.iter().find(|t| t.id == table.id).unwrap_or(table);
            self.pending
                .insert((table.id, key), (Arc::clone(current), row));
        }
        Ok(())
    }

    /// The highest rank on its way, per unique key.
    fn ranks(&self, db: &Connection) -> Result<BTreeMap<Claim, claim::Rank>, StoreError> {
        let mut ranks: BTreeMap<Claim, claim::Rank> = BTreeMap::new();
        for ((_, key), (table, row)) in &self.pending {
            for (claim, rank) in ranked(db, table, key, row)? {
                let best = ranks.entry(claim).or_default();
                if *best < rank {
                    *best = rank;
                }
            }
        }
        Ok(ranks)
    }
}

/// Notes that a claim on a unique key came or went.
fn note(
    claims: &mut BTreeMap<Claim, Touched>,
    claim: Claim,
    table: &Arc<Table>,
    unique: usize,
    values: Row,
) {
    claims.entry(claim).or_insert_with(|| Touched {
        table: Arc::clone(table),
        unique,
        values,
    });
}

/// A row's unique claims with its rank in each.
fn ranked(
    db: &Connection,
    table: &Table,
    key: &[u8],
    row: &Row,
) -> Result<Vec<(Claim, claim::Rank)>, StoreError> {
    let mut found = Vec::new();
    if table.uniques.is_empty() {
        return Ok(found);
    }
    let clock = clock(db, table, key)?;
    for unique in &table.uniques {
        if let Some(values) = claim::claimed(table, unique, row)? {
            let claim = claim::unique(table, unique, &values);
            found.push((claim, claim::rank(&clock, unique, key)));
        }
    }
    Ok(found)
}

fn clock(db: &Connection, table: &Table, key: &[u8]) -> Result<RowClock, StoreError> {
    // A row that nobody wrote has the lowest rank.
    let nobodys = || RowClock {
        generation: 1,
        row: Stamp {
            hlc: Hlc(0),
            origin: 0,
            seq: 0,
        },
        columns: Vec::new(),
    };
    Ok(log::load_clock(db, table.id, key)?.unwrap_or_else(nobodys))
}

/// Whether a row loses one of its unique keys to a row on its way or to a parked one.
fn loses(
    db: &Connection,
    ranks: &BTreeMap<Claim, claim::Rank>,
    table: &Table,
    key: &[u8],
    row: &Row,
) -> Result<bool, StoreError> {
    for (claim, rank) in ranked(db, table, key, row)? {
        let above = ranks.get(&claim).is_some_and(|best| *best > rank);
        let best = claim::best(db, &claim, table.id)?;
        if above || best.is_some_and(|(best, _)| best > rank) {
            return Ok(true);
        }
    }
    visibly(db, table, row)
}

/// Whether a visible row has one of this row's unique keys.
fn visibly(db: &Connection, table: &Table, row: &Row) -> Result<bool, StoreError> {
    for unique in &table.uniques {
        if let Some(values) = claim::claimed(table, unique, row)?
            && claim::holder(db, table, unique, &values)?.is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Places a parked row if it loses no unique key.
fn admit(
    db: &Connection,
    tables: &[Arc<Table>],
    id: i64,
    key: &[u8],
) -> Result<Option<Entry>, StoreError> {
    let (Some(table), Some(row)) = (
        tables.iter().find(|table| table.id == id),
        parked(db, id, key)?,
    ) else {
        return Ok(None);
    };
    if loses(db, &BTreeMap::new(), table, key, &row)? {
        return Ok(None);
    }
    unpark(db, id, key)?;
    insert(db, table, &row)?;
    Ok(Some((Arc::clone(table), row)))
}

fn insert(db: &Connection, table: &Table, row: &Row) -> Result<(), StoreError> {
    db.prepare_cached(&table.insert)?
        .execute(rusqlite::params_from_iter(row.iter().map(Bind)))?;
    Ok(())
}

pub(super) fn park(
    db: &Connection,
    table: &Table,
    key: &[u8],
    row: &Row,
    reason: &str,
) -> Result<(), StoreError> {
    db.prepare_cached("REPLACE INTO _tutti_hidden(tbl, key, row, reason) VALUES (?, ?, ?, ?)")?
        .execute(params![table.id, key, encode(row), reason])?;
    claim::note(db, table, key, row, &clock(db, table, key)?)
}

/// A parked row.
pub(super) fn parked(db: &Connection, table: i64, key: &[u8]) -> Result<Option<Row>, StoreError> {
    let row: Option<Vec<u8>> = db
        .prepare_cached("SELECT row FROM _tutti_hidden WHERE tbl = ? AND key = ?")?
        .query_row(params![table, key], |row| row.get(0))
        .optional()?;
    Ok(row.as_deref().and_then(decode))
}

/// Forgets a parked row and its claims.
pub(super) fn unpark(db: &Connection, table: i64, key: &[u8]) -> Result<(), StoreError> {
    let gone = db
        .prepare_cached("DELETE FROM _tutti_hidden WHERE tbl = ? AND key = ?")?
        .execute(params![table, key])?;
    match gone {
        0 => Ok(()),
        _ => claim::forget(db, table, key),
    }
}

/// Hands out the parked rows of a table.
pub(super) fn each_parked(
    db: &Connection,
    table: i64,
    mut take: impl FnMut(Row) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut statement = db.prepare("SELECT row FROM _tutti_hidden WHERE tbl = ?")?;
    let mut rows = statement.query([table])?;
    while let Some(row) = rows.next()? {
        if let Some(row) = row.get_ref(0)?.as_blob().ok().and_then(decode) {
            take(row)?;
        }
    }
    Ok(())
}

/// Forgets the parked rows of a table, and their claims.
pub(super) fn forget_all(db: &Connection, table: i64) -> Result<(), StoreError> {
    db.execute("DELETE FROM _tutti_hidden WHERE tbl = ?", [table])?;
    db.execute("DELETE FROM _tutti_claim WHERE tbl = ?", [table])?;
    Ok(())
}

/// Takes out all parked rows of a table.
pub(super) fn take_all(db: &Connection, table: i64) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    each_parked(db, table, |row| {
        rows.push(row);
        Ok(())
    })?;
    forget_all(db, table)?;
    Ok(rows)
}

/// A row's key.
pub(super) fn key_of(table: &Table, row: &Row) -> Row {
    table.key.iter().map(|&at| row[at].clone()).collect()
}

/// Whether an outcome of these columns may change a constraint.
pub(super) fn watches(table: &Table, column: u16) -> bool {
    let watched = |unique: &Unique| unique.watched.contains(&usize::from(column));
    let points = |foreign: &ForeignKey| foreign.columns.contains(&usize::from(column));
    table.uniques.iter().any(watched)
        || table.foreign.iter().any(points)
        || table.pointed_at.contains(&usize::from(column))
}
