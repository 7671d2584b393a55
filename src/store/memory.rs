//! What the writer knows of the database without asking it: kept in step with every commit, and
//! read anew from the file when it opens and after a transaction that failed half-way.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use rusqlite::Connection;

use super::fold::ROWS;
use super::log::{self, Origins};
use super::pending::Pending;
use super::schema::Table;
use super::{StoreError, retention};
use crate::replica::change::Body;
use crate::replica::clock::Stamp;
use crate::replica::rows::Rows;

/// A row, by its table's number and its encoded key.
pub(super) type RowName = (i64, Vec<u8>);

/// What the log holds beyond the clocks.
#[derive(Default)]
pub(super) struct Unfolded {
    /// Up to where row clocks, origins and index follow the log.
    pub from: i64,
    /// Up to where `pending` has gathered what they lack. Where this is not the log's end,
    /// there was too much to gather.
    pub through: i64,
    pub pending: Pending,
    /// How many bytes of the log are not folded yet.
    pub bytes: usize,
}

/// The writer's memory.
#[derive(Default)]
pub(super) struct Memory {
    pub origins: Origins,
    /// Incarnations that ended and that every peer has seen all of.
    pub closed: Origins,
    /// Per table the highest generation of a tombstone that went.
    pub floors: BTreeMap<i64, u32>,
    /// The last position of the log.
    pub position: i64,
    pub unfolded: Unfolded,
    /// Tables with generations beyond the first; in all others a row that is there is of
    /// generation 1, and one that is not never was.
    pub mixed: HashSet<i64>,
    /// Whether any row is parked.
    pub parked: bool,
    /// How many bytes the log has up to a position, once that was counted.
    pub log_bytes: Option<(i64, u64)>,
}

impl Memory {
    /// Reads everything from the database.
    pub fn load(db: &Connection, tables: &[Arc<Table>]) -> Result<Self, StoreError> {
        let folded = log::folded(db)?;
        let mut memory = Memory {
            origins: log::load_origins(db)?,
            closed: retention::load_closed(db)?,
            floors: retention::load_floors(db)?,
            position: folded.max(log::end(db)?),
            unfolded: Unfolded {
                from: folded,
                through: folded,
                ..Unfolded::default()
            },
            mixed: mixed(db)?,
            parked: parked(db)?,
            log_bytes: None,
        };
        log::walk(db, folded, |entry| {
            let transaction = &entry.transaction;
            let origin = memory.origins.entry(transaction.origin).or_default();
            let (seq, hlc) = (transaction.seq, transaction.hlc);
            origin.learn(seq, &transaction.head, &memory.closed);
            origin.advance(seq, hlc, entry.chain);
            let at = entry.position;
            memory.note(
                tables,
                transaction.stamp(),
                at,
                &transaction.body,
                entry.size,
            );
            Ok(true)
        })?;
        Ok(memory)
    }

    /// The log has a transaction more that is not folded.
    pub fn note(
        &mut self,
        tables: &[Arc<Table>],
        stamp: Stamp,
        position: i64,
        body: &Body,
        size: usize,
    ) {
        let whole = self.is_whole();
        self.position = self.position.max(position);
        let unfolded = &mut self.unfolded;
        unfolded.bytes += size;
        let changes = match body {
            Body::Rows(Rows::Held(changes)) => &changes[..],
            Body::Rows(Rows::Large(_)) => return,
            Body::Schema { .. } | Body::Lost(_) => &[],
        };
        let rows: usize = changes.iter().map(|change| change.rows.len()).sum();
        if whole && unfolded.pending.rows() + rows <= ROWS {
            unfolded.pending.note_index(stamp, position);
            for change in changes {
                unfolded.pending.note_change(tables, stamp, change);
            }
            unfolded.through = position;
        }
    }

    /// Whether memory knows all that the log holds beyond the clocks.
    pub fn is_whole(&self) -> bool {
        self.unfolded.through == self.position
    }

    /// The clocks have come to `position`.
    pub fn set_folded(&mut self, position: i64) {
        self.position = self.position.max(position);
        self.unfolded = Unfolded {
            from: position,
            through: position,
            ..Unfolded::default()
        };
    }

    /// A row's generation, if anything is known of it.
    pub fn generation(
        &self,
        db: &Connection,
        table: i64,
        key: &[u8],
    ) -> Result<Option<u32>, StoreError> {
        if let Some(generation) = self.unfolded.pending.generation(table, key) {
            return Ok(Some(generation));
        }
        Ok(log::load_clock(db, table, key)?.map(|clock| clock.generation))
    }
}

/// Tables with generations beyond the first.
pub(super) fn mixed(db: &Connection) -> Result<HashSet<i64>, StoreError> {
    let mut statement = db.prepare_cached("SELECT id FROM _tutti_table WHERE mixed")?;
    let found = statement.query_map([], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Whether any row is parked.
pub(super) fn parked(db: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM _tutti_hidden)";
    Ok(db.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}
