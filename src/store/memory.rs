//! What the writer knows of the database without asking it: kept in step with every commit, and
//! read anew from the file when it opens and after a transaction that failed half-way.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use rusqlite::Connection;

use super::log::{self, Origins};
use super::schema::Table;
use super::{StoreError, retention};
use crate::replica::change::Body;
use crate::replica::value::encode_key;

/// A row, by its table's number and its encoded key.
pub(super) type RowName = (i64, Vec<u8>);

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
    /// Up to where row clocks, origins and index follow the log.
    pub folded: i64,
    /// How many bytes of the log are not folded yet.
    pub unfolded: usize,
    /// Tables with generations beyond the first; in all others a row that is there is of
    /// generation 1, and one that is not never was.
    pub mixed: HashSet<i64>,
    /// Generations that the log tells but the clocks do not yet, of rows in those tables.
    pub recent: HashMap<RowName, u32>,
    /// Whether any row is parked.
    pub parked: bool,
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
            folded,
            unfolded: 0,
            mixed: mixed(db)?,
            recent: HashMap::new(),
            parked: parked(db)?,
        };
        log::walk(db, folded, |entry| {
            let transaction = &entry.transaction;
            let origin = memory.origins.entry(transaction.origin).or_default();
            let (seq, hlc) = (transaction.seq, transaction.hlc);
            origin.advance(seq, hlc, entry.chain, &transaction.head);
            memory.unfolded += entry.size;
            memory.remember(tables, &transaction.body);
            Ok(true)
        })?;
        Ok(memory)
    }

    /// Keeps the generations that a logged transaction tells of.
    pub fn remember(&mut self, tables: &[Arc<Table>], body: &Body) {
        let Body::Rows(changes) = body else {
            return;
        };
        for change in changes {
            let table = tables.iter().find(|table| table.tid == change.table);
            let Some(table) = table.filter(|table| self.mixed.contains(&table.id)) else {
                continue;
            };
            for row in &change.rows {
                let name = (table.id, encode_key(&row.key));
                self.recent.insert(name, row.generation);
            }
        }
    }

    /// The clocks have come to `position`.
    pub fn set_folded(&mut self, position: i64) {
        self.folded = position;
        self.unfolded = 0;
        self.recent.clear();
    }

    /// A row's generation, if anything is known of it.
    pub fn generation(
        &self,
        db: &Connection,
        table: i64,
        key: &[u8],
    ) -> Result<Option<u32>, StoreError> {
        if !self.recent.is_empty()
            && let Some(generation) = self.recent.get(&(table, key.to_vec()))
        {
            return Ok(Some(*generation));
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
