//! SQLite: schema, capture, apply. The only place that names rusqlite.
//!
//! One writable connection, its pre-update hook set before anything else; readers have their own
//! and never wait for it. Every call blocks: async callers use `spawn_blocking`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::watch;

pub use crate::replica::change::Logged;
use crate::replica::frontier::Frontier;
use crate::replica::schema::Keys;
use crate::replica::session::Proven;
use crate::replica::skew::{BOUND_MS, Waiting};
use crate::replica::value::Value;
use crate::replica::{Incarnation, NodeId};

mod apart;
mod apply;
mod bound;
mod capture;
mod carry;
mod claim;
mod clocks;
mod damage;
mod declare;
mod definition;
mod digest;
mod doubts;
mod error;
mod feed;
mod fold;
mod frames;
mod histories;
mod import;
mod inbox;
mod inspected;
mod joining;
mod keys;
mod log;
mod lost;
mod memory;
mod parents;
mod pending;
mod pieces;
mod ranges;
mod rebase;
mod reissue;
mod repair;
mod replay;
mod restore;
mod retention;
mod rowid;
mod schema;
mod scratch;
mod script;
mod settle;
mod shape;
mod shown;
mod snapshot;
mod spill;
mod stand;
mod superseded;
mod sync;
mod tokens;
mod trim;
mod tx;
mod waiting;
mod writer;

pub mod administrators;
pub mod api_tokens;
pub mod events;
pub mod local;

pub use damage::set_aside;
pub use error::StoreError;
pub use feed::{Event, Subscription};
pub use import::ImportReport;
pub use inbox::{ConflictQuery, ConflictRow};
pub use joining::{Incoming, Place};
pub use pieces::Partial;
pub use repair::Finding;
pub use retention::Trimmed;
pub use script::Declared;
pub use snapshot::Staged;
pub use tx::Tx;

use sync::GroupSync;
use writer::Writer;

/// What wall clock the store reads: milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The replicated database of one node. Clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// When a commit returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When it is on disk; what commits meanwhile shares one sync.
    #[default]
    Synced,
    /// At once. It is on disk, and leaves the machine, with the next commit that syncs, or
    /// [`Store::flush`]: for loading much, where a cut of power starts all over.
    Lazy,
}

/// SQLite's page size, which is its default.
const PAGE: u64 = 4_096;

struct Inner {
    path: PathBuf,
    node: NodeId,
    writer: Mutex<Writer>,
    shown: shown::Shared,
    sync: GroupSync,
    lazy: AtomicBool,
    /// Somebody flushes soon.
    flushing: AtomicBool,
    digests: shown::Cache<[u8; 32]>,
    counts: shown::Cache<u64>,
    readers: Mutex<Vec<Connection>>,
    /// How large the file may become.
    size_bound: Mutex<Option<u64>>,
    /// Held for reading by readers, for writing while a snapshot is swapped in.
    swap: RwLock<()>,
    /// Rows that were carried over a snapshot, until somebody asked.
    carried: AtomicU64,
    /// The database is closed: a snapshot takes its place, or did and could not be opened yet.
    closed: AtomicBool,
    changes: watch::Sender<u64>,
    migrations: Mutex<Vec<String>>,
    /// What peers still need.
    kept: Mutex<retention::Kept>,
    /// The last proof with each peer, and when.
    proofs: Mutex<BTreeMap<NodeId, (u64, Proven)>>,
    /// What peers hold of rows that are unclear.
    doubts: Mutex<doubts::Doubts>,
    /// What is stamped too far ahead.
    waiting: Mutex<Waiting>,
    /// How far ahead a stamp may be, in milliseconds.
    clock_bound: AtomicU64,
    transfers: snapshot::Transfers,
    inbox: Mutex<bound::Size>,
    damage: damage::Damage,
}

/// One replicated table, as shown to people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// How many rows are visible.
    pub rows: u64,
    /// Its replicated columns, in declaration order.
    pub columns: Vec<String>,
    /// Its primary key's columns.
    pub key: Vec<String>,
    /// Who chooses the ids of its rows.
    pub keys: Keys,
}

impl Store {
    /// Opens or creates `dir/replicated.db`. `incarnation` is 64 random bits, fresh each time.
    pub fn open(dir: &Path, node: NodeId, incarnation: Incarnation) -> Result<Self, StoreError> {
        Self::open_with_clock(dir, node, incarnation, Arc::new(wall_ms))
    }

    /// As [`Store::open`], with the wall clock given.
    pub fn open_with_clock(
        dir: &Path,
        node: NodeId,
        incarnation: Incarnation,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let path = dir.join("replicated.db");
        snapshot::sweep(&path);
        let shown = shown::Shared::default();
        let writer = Writer::open(&path, node, incarnation, clock, Arc::clone(&shown))?;
        let damage = writer.damage.clone();
        let marked = retention::load_marked(&writer.db)?;
        let store = Store {
            inner: Arc::new(Inner {
                sync: GroupSync::new(&path),
                lazy: AtomicBool::new(false),
                flushing: AtomicBool::new(false),
                path,
                node,
                writer: Mutex::new(writer),
                shown,
                digests: shown::Cache::default(),
                counts: shown::Cache::default(),
                readers: Mutex::default(),
                size_bound: Mutex::default(),
                swap: RwLock::default(),
                carried: AtomicU64::new(0),
                closed: AtomicBool::new(false),
                changes: watch::Sender::new(0),
                migrations: Mutex::default(),
                kept: Mutex::new(retention::Kept::new(marked)),
                proofs: Mutex::default(),
                doubts: Mutex::default(),
                waiting: Mutex::default(),
                clock_bound: AtomicU64::new(BOUND_MS),
                transfers: snapshot::Transfers::default(),
                inbox: Mutex::default(),
                damage,
            }),
        };
        store.flush()?;
        Ok(store)
    }

    /// Sets when commits return.
    pub fn set_durability(&self, durability: Durability) {
        let lazy = durability == Durability::Lazy;
        self.inner.lazy.store(lazy, Ordering::Relaxed);
    }

    /// Returns when everything committed is on disk.
    pub fn flush(&self) -> Result<(), StoreError> {
        let commit = lock(&self.inner.shown).latest().commits;
        self.inner.sync.wait(commit, &self.inner.shown)?;
        self.bump();
        Ok(())
    }

    /// Waits until a commit is on disk, and tells.
    fn durable(&self, commit: u64) -> Result<(), StoreError> {
        if self.inner.lazy.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.inner.sync.wait(commit, &self.inner.shown)?;
        self.bump();
        Ok(())
    }

    /// Bounds the size of the database file, in bytes; beyond it writers and peers get
    /// [`StoreError::Full`], and what is there goes on being read and sent.
    pub fn set_size_bound(&self, bytes: Option<u64>) -> Result<(), StoreError> {
        let writer = self.writer()?;
        *lock(&self.inner.size_bound) = bytes;
        self.bound_size(&writer)
    }

    fn bound_size(&self, writer: &Writer) -> Result<(), StoreError> {
        let pages = lock(&self.inner.size_bound).map_or(u32::MAX - 1, |bytes| {
            u32::try_from(bytes / PAGE).unwrap_or(u32::MAX - 1).max(1)
        });
        writer.page_bound(pages)?;
        Ok(())
    }

    /// Folds the log into row clocks, which otherwise follow it in batches.
    pub fn fold(&self) -> Result<(), StoreError> {
        self.writer()?.fold_now()
    }

    /// The node this store belongs to.
    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// The current incarnation (a snapshot swapped in changes it).
    pub fn incarnation(&self) -> Incarnation {
        lock(&self.inner.shown).incarnation
    }

    /// Creates the appliance's own replicated tables and indexes, where they are missing. The
    /// same list runs on every node of one software version; it does not travel in the log.
    pub fn migrate(&self, statements: &[&str]) -> Result<(), StoreError> {
        let commit = self.writer()?.migrate(statements)?;
        let mut known = lock(&self.inner.migrations);
        for statement in statements {
            if !known.iter().any(|old| old == statement) {
                known.push((*statement).to_owned());
            }
        }
        drop(known);
        self.durable(commit)
    }

    /// Declares or drops an operator's table, index or trigger everywhere: one statement.
    pub fn declare(&self, sql: &str) -> Result<(), StoreError> {
        self.declare_with(sql, Keys::Natural)
    }

    /// As [`Store::declare`]; with [`Keys::Engine`] the table's ids come from this node's block.
    pub fn declare_with(&self, sql: &str, keys: Keys) -> Result<(), StoreError> {
        let commit = self.writer()?.declare(sql, keys)?;
        self.durable(commit)
    }

    /// Runs `work` in one transaction and commits it durably before returning. An error rolls
    /// all of it back.
    pub fn transact<T>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (value, commit) = self.writer()?.transact(work)?;
        if let Some(commit) = commit {
            self.durable(commit)?;
        }
        Ok(value)
    }

    /// Runs `work` on one consistent state of the database, without waiting for writers.
    pub fn read<T>(
        &self,
        work: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.ready()?;
        let _swap = self
            .inner
            .swap
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let pooled = lock(&self.inner.readers).pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => self.open_reader()?,
        };
        let begun = connection.execute_batch("BEGIN");
        self.inner.damage.note(begun.map_err(StoreError::from))?;
        let result = work(&Reader {
            connection: &connection,
        });
        // A disk that fails has ended it already, and what it said is what counts.
        if connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok() {
            lock(&self.inner.readers).push(connection);
        }
        self.inner.damage.note(result)
    }

    fn open_reader(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags_and_vfs(&self.inner.path, flags, frames::vfs())?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        Ok(connection)
    }

    /// The replicated tables, by name.
    pub fn tables(&self) -> Result<Vec<TableInfo>, StoreError> {
        let tables = lock(&self.inner.shown).versioned();
        self.read(|reader| {
            let info = |(table, version): (Arc<schema::Table>, u64)| {
                let count = || schema::count(reader.connection, &table);
                let rows = self.inner.counts.value(&table, version, count)?;
                Ok(TableInfo {
                    name: table.name.clone(),
                    rows,
                    columns: table.columns.iter().map(|c| c.name.clone()).collect(),
                    key: table.key_names(),
                    keys: table.keys,
                })
            };
            let listed = |table: &(Arc<schema::Table>, u64)| !table.0.is_engines();
            tables.into_iter().filter(listed).map(info).collect()
        })
    }

    fn table(&self, name: &str) -> Result<(Arc<schema::Table>, u64), StoreError> {
        let tables = lock(&self.inner.shown).versioned();
        let mut tables = tables.into_iter();
        let found = tables.find(|(table, _)| table.name.eq_ignore_ascii_case(name));
        found.ok_or_else(|| StoreError::Schema(format!("table {name}: no such replicated table")))
    }

    /// SHA-256 over all replicated rows in key order: equal where peers have converged.
    pub fn digest(&self) -> Result<[u8; 32], StoreError> {
        let tables = lock(&self.inner.shown).versioned();
        self.read(|reader| {
            let one = |(table, version): &(Arc<schema::Table>, u64)| {
                let compute = || digest::table(reader.connection, table);
                let digest = self.inner.digests.value(table, *version, compute)?;
                Ok((table.name.clone(), digest))
            };
            let digests: Result<Vec<_>, StoreError> = tables.iter().map(one).collect();
            Ok(digest::all(digests?))
        })
    }

    /// The same over one table's rows.
    pub fn table_digest(&self, name: &str) -> Result<[u8; 32], StoreError> {
        let (table, version) = self.table(name)?;
        self.read(|reader| {
            let compute = || digest::table(reader.connection, &table);
            self.inner.digests.value(&table, version, compute)
        })
    }

    /// Declares and loads every table of an SQLite file, parents first; `report` tells how far.
    pub fn import(&self, path: &Path, report: &mut ImportReport) -> Result<(), StoreError> {
        import::import(self, path, report)
    }

    /// Bumps at every commit, local or applied.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// What this node has durably applied, per origin, closed incarnations included: what a
    /// peer is greeted with.
    pub fn frontier(&self) -> Frontier {
        let shown = lock(&self.inner.shown);
        let mut frontier = shown.durable().frontier.clone();
        frontier.advance(&shown.closed);
        frontier
    }

    /// The same without closed incarnations: what is acknowledged. It stays small however often
    /// peers restart.
    pub fn open_frontier(&self) -> Frontier {
        let shown = lock(&self.inner.shown);
        let mut frontier = shown.durable().frontier.clone();
        frontier.0.retain(|id, _| !shown.closed.0.contains_key(id));
        frontier
    }

    /// How many origins and transactions this node holds, as `(origins, transactions)`.
    pub fn frontier_summary(&self) -> (usize, u64) {
        let frontier = self.frontier();
        let transactions = frontier.0.values().map(|position| position.seq).sum();
        (frontier.0.len(), transactions)
    }

    /// Logged transactions beyond `frontier` from log position `from`, in an order that keeps
    /// causality, up to about `max_bytes`; with the position to go on from. Only what is on disk.
    pub fn log_after(
        &self,
        frontier: &Frontier,
        from: i64,
        max_bytes: usize,
    ) -> Result<(Vec<Logged>, i64), StoreError> {
        let until = lock(&self.inner.shown).durable().position;
        self.read(|reader| {
            retention::reachable(reader.connection, frontier)?;
            log::read_after(reader.connection, frontier, from, until, max_bytes)
        })
    }

    /// The log position where reading for a peer at `frontier` starts.
    pub fn log_start(&self, frontier: &Frontier) -> Result<i64, StoreError> {
        let ours = lock(&self.inner.shown).durable().clone();
        let until = ours.position;
        self.read(|reader| {
            retention::reachable(reader.connection, frontier)?;
            log::start(reader.connection, &ours.frontier, until, frontier)
        })
    }

    fn writer(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        self.inner.sync.check()?;
        let mut writer = lock(&self.inner.writer);
        self.open_if_closed(&mut writer)?;
        writer.recover()?;
        Ok(writer)
    }

    fn bump(&self) {
        self.inner.changes.send_modify(|count| *count += 1);
    }
}

/// Reads one consistent state.
pub struct Reader<'a> {
    connection: &'a Connection,
}

impl Reader<'_> {
    /// The rows of a query.
    pub fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>, StoreError> {
        tx::query(self.connection, sql, params)
    }
}

/// The machine's wall clock.
fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |elapsed| elapsed.as_millis() as u64)
}

/// A poisoned lock is taken over: the writer rolls back whatever a panic interrupted.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
