//! Range digests from the real rows: each row clock's row is read again from its table, or from
//! where it is parked, at every proof. Nothing is kept, so what a disk did to a row shows.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::Connection;

use super::capture::current;
use super::memory::RowName;
use super::schema::{Table, quote};
use super::tx::row_values;
use super::{Store, StoreError, clocks, lock, log, settle};
use crate::replica::NodeId;
use crate::replica::change::Body;
use crate::replica::clock::RowClock;
use crate::replica::digest::{
    self, Answer, Common, Comparison, Difference, Digest, Question, Range, RowProof, RowState,
    Rows, Summary, Within,
};
use crate::replica::repair::Copy;
use crate::replica::schema::DeclarationId;
use crate::replica::session::Proven;
use crate::replica::value::{decode_key, encode, encode_key};

/// The rows of one consistent state.
struct Ranges<'a> {
    db: &'a Connection,
    tables: &'a [Arc<Table>],
    within: Within,
    /// Rows that the log tells of and their clocks do not yet: they are under way.
    fresh: HashSet<RowName>,
}

/// The rows that a reader's state holds in a version their clocks do not tell yet.
fn fresh(db: &Connection, tables: &[Arc<Table>]) -> Result<HashSet<RowName>, StoreError> {
    let mut fresh = HashSet::new();
    log::walk(db, log::folded(db)?, |entry| {
        if let Body::Rows(changes) = &entry.transaction.body {
            for change in changes.parts() {
                let change = change?;
                let table = tables.iter().find(|table| table.tid == change.table);
                let keys = change.rows.iter().map(|row| encode_key(&row.key));
                fresh.extend(
                    table
                        .iter()
                        .flat_map(|t| keys.clone().map(|key| (t.id, key))),
                );
            }
        }
        Ok(true)
    })?;
    Ok(fresh)
}

impl Ranges<'_> {
    fn table(&self, id: DeclarationId) -> Result<&Table, StoreError> {
        let found = self.tables.iter().find(|table| table.tid == id);
        let missing = || StoreError::Peer(format!("a proof of table {id:x}, which is not here"));
        found.map(Arc::as_ref).ok_or_else(missing)
    }

    /// Runs `each` over the keys of a range with their clocks, until it says stop.
    fn keys(
        &self,
        range: &Range,
        mut each: impl FnMut(&Table, Vec<u8>, RowClock) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let table = self.table(range.table)?;
        let to = range.to.as_deref();
        clocks::each(self.db, table.id, &range.from, to, |key, clock| {
            each(table, key, clock)
        })
    }

    fn proof(&self, table: &Table, key: Vec<u8>, clock: &RowClock) -> Result<RowProof, StoreError> {
        let fresh = !self.fresh.is_empty() && self.fresh.contains(&(table.id, key.clone()));
        let state = if fresh || !self.within.row(clock) {
            RowState::Beyond
        } else if !clock.is_alive() {
            RowState::Dead
        } else {
            RowState::Alive {
                version: version(clock),
                content: content(self.db, table, &key)?.map(|row| digest::sha256(&encode(&row))),
            }
        };
        Ok(RowProof { key, state })
    }
}

/// A row's merged values, visible or parked.
fn content(
    db: &Connection,
    table: &Table,
    key: &[u8],
) -> Result<Option<super::capture::Row>, StoreError> {
    let values = decode_key(key).ok_or_else(|| StoreError::Damaged("a row's key".into()))?;
    if values.len() != table.key.len() {
        return Err(StoreError::Damaged(format!("a key of {}", table.name)));
    }
    match current(db, table, &values)? {
        Some(row) => Ok(Some(row)),
        None => settle::parked(db, table.id, key),
    }
}

/// One row's clock and merged values.
pub(super) fn copy(db: &Connection, table: &Table, key: &[u8]) -> Result<Copy, StoreError> {
    let clock = log::load_clock(db, table.id, key)?;
    let alive = clock.as_ref().is_none_or(RowClock::is_alive);
    let content = if alive {
        content(db, table, key)?
    } else {
        None
    };
    Ok(Copy { clock, content })
}

fn version(clock: &RowClock) -> Digest {
    digest::sha256(&postcard::to_stdvec(clock).unwrap_or_default())
}

impl Rows for Ranges<'_> {
    type Error = StoreError;

    fn has_table(&self, table: DeclarationId) -> bool {
        self.table(table).is_ok()
    }

    fn summary(&self, range: &Range) -> Result<Summary, StoreError> {
        let mut sum = digest::Sum::default();
        let mut rows = 0;
        self.keys(range, |table, key, clock| {
            rows += 1;
            sum.add(&self.proof(table, key, &clock)?);
            Ok(true)
        })?;
        Ok(Summary {
            digest: sum.finish(),
            rows,
        })
    }

    fn split(&self, range: &Range, rows: usize, pieces: usize) -> Result<Vec<Range>, StoreError> {
        let step = rows.div_ceil(pieces.max(1)).max(1);
        let (mut at, mut starts) = (0, Vec::new());
        self.keys(range, |_, key, _| {
            if at > 0 && at % step == 0 {
                starts.push(key);
            }
            at += 1;
            Ok(starts.len() + 1 < pieces)
        })?;
        Ok(digest::cut(range, starts))
    }

    fn list(&self, range: &Range, max: usize) -> Result<Vec<RowProof>, StoreError> {
        let mut found = Vec::new();
        self.keys(range, |table, key, clock| {
            found.push(self.proof(table, key, &clock)?);
            Ok(found.len() < max)
        })?;
        Ok(found)
    }
}

impl Store {
    fn ranges<T>(
        &self,
        common: &Common,
        work: impl FnOnce(&Ranges<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // What both hold is folded; what commits from now on is beyond.
        self.fold()?;
        let tables = lock(&self.inner.shown).tables.clone();
        let found = self.read(|reader| {
            work(&Ranges {
                db: reader.connection,
                tables: &tables,
                within: Within::new(common),
                fresh: fresh(reader.connection, &tables)?,
            })
        })?;
        // What was read leaves the machine, so it has to be on disk.
        self.flush()?;
        Ok(found)
    }

    /// Starts a comparison of every replicated table with a peer, through what both hold.
    pub fn compare(&self, common: Common) -> Result<Comparison, StoreError> {
        let through = common.clone();
        self.ranges(&common, |ranges| {
            let ids: Vec<DeclarationId> = ranges.tables.iter().map(|table| table.tid).collect();
            Comparison::new(ranges, through, &ids)
        })
    }

    /// Answers a peer's question from the rows as they are now.
    pub fn prove(&self, question: &Question) -> Result<Answer, StoreError> {
        self.ranges(&question.common, |ranges| digest::answer(ranges, question))
    }

    /// Takes a peer's answer into a comparison.
    pub fn compared(&self, comparison: &mut Comparison, answer: Answer) -> Result<(), StoreError> {
        let common = comparison.common().clone();
        let taken = self.ranges(&common, |ranges| comparison.answered(ranges, answer))?;
        taken.map_err(|error| StoreError::Peer(error.to_string()))
    }

    /// This node's copies of rows, one for each asked, in their order; at most
    /// [`digest::MAX_DIFFERENCES`]. A row that is just being written is told as absent.
    pub fn copies(&self, rows: &[Difference]) -> Result<Vec<Copy>, StoreError> {
        self.ranges(&Common::new(), |ranges| {
            let one = |row: &Difference| match ranges.table(row.table) {
                Ok(table) if !ranges.fresh.contains(&(table.id, row.key.clone())) => {
                    copy(ranges.db, table, &row.key)
                }
                _ => Ok(Copy {
                    clock: None,
                    content: None,
                }),
            };
            let rows = rows.iter().take(digest::MAX_DIFFERENCES);
            rows.map(one).collect()
        })
    }

    /// A proof with a peer that began at `wall_ms`, milliseconds since 1970, has ended.
    pub fn proven(&self, peer: NodeId, wall_ms: u64, proven: &Proven) {
        lock(&self.inner.proofs).insert(peer, (wall_ms, proven.clone()));
    }

    /// Per peer the last proof: when it began, in milliseconds since 1970, and what it found.
    pub fn proofs(&self) -> Vec<(NodeId, u64, Proven)> {
        let proofs = lock(&self.inner.proofs);
        let one = |(node, (at, proven)): (&NodeId, &(u64, Proven))| (*node, *at, proven.clone());
        proofs.iter().map(one).collect()
    }

    /// The clock of every row that ever was, by its table's name and its encoded key: for who
    /// compares nodes.
    pub fn row_clocks(&self) -> Result<Vec<(String, Vec<u8>, RowClock)>, StoreError> {
        self.fold()?;
        self.read(|reader| {
            let db = reader.connection;
            let mut statement = db.prepare("SELECT name, id FROM _tutti_table ORDER BY name")?;
            let tables = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let mut found = Vec::new();
            for table in tables {
                let (name, id): (String, i64) = table?;
                clocks::each(db, id, &[], None, |key, clock| {
                    found.push((name.clone(), key, clock));
                    Ok(true)
                })?;
            }
            Ok(found)
        })
    }

    /// Visible rows that have no clock, per table: written past the engine. They replicate
    /// nowhere until they are written by a transaction.
    pub fn strangers(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.fold()?;
        let tables = lock(&self.inner.shown).tables.clone();
        self.read(|reader| {
            let mut found = Vec::new();
            for table in &tables {
                let count = strangers(reader.connection, table)?;
                if count > 0 {
                    found.push((table.name.clone(), count));
                }
            }
            Ok(found)
        })
    }
}

/// How many visible rows have no clock.
fn strangers(db: &Connection, table: &Table) -> Result<u64, StoreError> {
    let names: Vec<String> = table.key_names().iter().map(|name| quote(name)).collect();
    let sql = format!("SELECT {} FROM {}", names.join(", "), quote(&table.name));
    let mut statement = db.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let key = encode_key(&row_values(row, names.len())?);
        count += u64::from(log::load_clock(db, table.id, &key)?.is_none());
    }
    Ok(count)
}
