//! The one writable connection and everything that happens on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::capture::{self, Capture, Collected, Shared};
use super::log;
use super::memory::Memory;
use super::schema::{self, Table};
use super::shown::{self, Changed};
use super::tokens::{Token, created, tokens};
use super::tx::Tx;
use super::{Clock, StoreError, fold, lock, settle};
use crate::replica::change::{Body, Head, Logged, MAX_TRANSACTION};
use crate::replica::clock::{Hlc, Stamp};
use crate::replica::frontier::Position;
use crate::replica::{Incarnation, NodeId};

/// How many bytes of the log wait at most to be folded into row clocks while writers are busy.
const UNFOLDED: usize = 16 << 20;
/// How many generations of rows are remembered at most until then.
const RECENT: usize = 65_536;

/// What the connection is set for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Local writers: foreign keys, triggers and checks are on.
    Local,
    /// Peers' transactions: they did all that where they were written.
    Apply,
}

/// Everything the writer knows.
pub(super) struct Writer {
    pub db: Connection,
    pub capture: Shared,
    pub tables: Vec<Arc<Table>>,
    pub memory: Memory,
    /// The memory does not fit the database any more: something failed half-way.
    stale: bool,
    mode: Mode,
    /// What our last transaction told of others.
    told: BTreeMap<Incarnation, u64>,
    pub hlc: Hlc,
    node: NodeId,
    pub incarnation: Incarnation,
    pub clock: Clock,
    shown: shown::Shared,
}

/// A transaction of ours, logged and not yet committed.
struct Own {
    logged: Logged,
    head: Head,
    hlc: Hlc,
    chain: [u8; 32],
    collected: Collected,
}

impl Writer {
    pub fn open(
        path: &Path,
        node: NodeId,
        incarnation: Incarnation,
        clock: Clock,
        shown: shown::Shared,
    ) -> Result<Self, StoreError> {
        let capture: Shared = Arc::new(std::sync::Mutex::new(Capture::default()));
        let mut db = Connection::open(path)?;
        capture::hook(&mut db, &capture)?;
        db.busy_timeout(std::time::Duration::from_secs(10))?;
        db.set_prepared_statement_cache_capacity(256);
        // NORMAL: a commit does not wait for the disk, the group's sync does (`sync.rs`).
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; \
             PRAGMA trusted_schema = OFF; PRAGMA wal_autocheckpoint = 2000;",
        )?;
        log::create(&db)?;
        let mut writer = Writer {
            db,
            capture,
            tables: Vec::new(),
            memory: Memory::default(),
            stale: true,
            mode: Mode::Local,
            told: BTreeMap::new(),
            hlc: Hlc::default(),
            node,
            incarnation,
            clock,
            shown,
        };
        writer.ready()?;
        settle::repair(&mut writer)?;
        writer.fold_now()?;
        Ok(writer)
    }

    /// Brings memory in step with the database, where it is not.
    pub fn ready(&mut self) -> Result<(), StoreError> {
        if !self.stale {
            return Ok(());
        }
        self.load_tables()?;
        self.memory = Memory::load(&self.db, &self.tables)?;
        let latest = self.memory.origins.values().map(|origin| origin.hlc).max();
        self.hlc = self.hlc.max(latest.unwrap_or_default());
        self.stale = false;
        self.show_all();
        Ok(())
    }

    /// Something failed half-way: memory is read anew before the next use.
    pub fn set_stale(&mut self) {
        self.stale = true;
    }

    /// Shows everything anew; returns the commit's number.
    pub fn show_all(&self) -> u64 {
        let mut shown = lock(&self.shown);
        shown.incarnation = self.incarnation;
        shown.tables.clone_from(&self.tables);
        shown.reset(log::frontier(&self.memory.origins), self.memory.position)
    }

    /// Shows a commit that changed rows of some tables; returns its number.
    pub fn show(&self, origins: impl Iterator<Item = Incarnation>, changed: &Changed<'_>) -> u64 {
        let mut shown = lock(&self.shown);
        for id in origins {
            if let Some(origin) = self.memory.origins.get(&id) {
                shown.advance(id, origin.position, self.memory.position);
            }
        }
        shown.commit(changed)
    }

    pub fn load_tables(&mut self) -> Result<(), StoreError> {
        let mut statement = self
            .db
            .prepare("SELECT id, name FROM _tutti_table ORDER BY name")?;
        let names = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let names: Vec<(i64, String)> = names.collect::<Result<_, _>>()?;
        drop(statement);
        let inspected = names
            .iter()
            .map(|(id, name)| schema::inspect(&self.db, *id, name));
        let mut tables: Vec<Table> = inspected.collect::<Result<_, _>>()?;
        schema::link(&mut tables);
        self.tables = tables.into_iter().map(Arc::new).collect();
        lock(&self.capture).set_tables(&self.tables);
        Ok(())
    }

    fn set_mode(&mut self, mode: Mode) -> Result<(), StoreError> {
        if self.mode == mode {
            return Ok(());
        }
        // Set before BEGIN: inside a transaction the foreign key setting is a silent no-op.
        let local = mode == Mode::Local;
        let db = &self.db;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, local)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, local)?;
        db.pragma_update(None, "ignore_check_constraints", !local)?;
        self.mode = mode;
        Ok(())
    }

    /// Runs `work` with the settings of applying.
    pub fn applying<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.set_mode(Mode::Apply)?;
        self.atomically(work)
    }

    /// Runs `work` with the settings of local writers.
    fn locally<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.ready()?;
        self.set_mode(Mode::Local)?;
        self.atomically(work)
    }

    /// Runs `work` between BEGIN and COMMIT; any error rolls back.
    fn atomically<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let result = work(self).and_then(|value| {
            self.db.prepare_cached("COMMIT")?.execute([])?;
            Ok(value)
        });
        if result.is_err() && !self.db.is_autocommit() {
            self.db.execute_batch("ROLLBACK")?;
        }
        result
    }

    /// Creates a table or index, refusing what cannot be replicated. `false`: it was there.
    pub fn create(&mut self, sql: &str) -> Result<bool, StoreError> {
        let Some(made) = created(sql) else {
            return Err(StoreError::Schema(
                "one CREATE TABLE, CREATE INDEX or CREATE UNIQUE INDEX is declared at a time"
                    .into(),
            ));
        };
        if made.name.starts_with("_tutti_") || made.name.starts_with("sqlite_") {
            return Err(StoreError::Schema(format!(
                "the name {} is reserved",
                made.name
            )));
        }
        let there: Option<String> = {
            let sql = "SELECT sql FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE";
            let mut statement = self.db.prepare_cached(sql)?;
            let mut rows = statement.query([&made.name])?;
            rows.next()?.map(|row| row.get(0)).transpose()?
        };
        if let Some(there) = there {
            let body = |sql: &str| {
                tokens(sql)
                    .into_iter()
                    .skip_while(|t| *t != Token::Sign('('))
            };
            if body(&there).eq(body(sql.trim_end().trim_end_matches(';'))) {
                return Ok(false);
            }
            return Err(StoreError::Schema(format!(
                "{} {} exists with another definition; choose another name",
                made.kind, made.name
            )));
        }
        self.db.execute_batch(sql)?;
        if made.kind == "table" {
            schema::inspect(&self.db, 0, &made.name)?;
            self.db
                .execute("INSERT INTO _tutti_table(name) VALUES (?)", [&made.name])?;
        }
        Ok(true)
    }

    /// Returns the number of its commit.
    pub fn migrate(&mut self, statements: &[&str]) -> Result<u64, StoreError> {
        let result = self.locally(|writer| {
            for sql in statements {
                writer.create(sql)?;
            }
            writer.load_tables()
        });
        if result.is_err() {
            self.stale = true;
        }
        result.map(|()| self.show_all())
    }

    /// Returns the number of its commit.
    pub fn declare(&mut self, sql: &str) -> Result<u64, StoreError> {
        let result = self.locally(|writer| {
            if !writer.create(sql)? {
                return Ok(None);
            }
            writer.load_tables()?;
            let hlc = writer.hlc.tick((writer.clock)());
            let body = Body::Schema {
                sql: sql.to_owned(),
            };
            Ok(Some(writer.log_own(hlc, body, Collected::default())?))
        });
        match result {
            Ok(own) => {
                if let Some(own) = own {
                    self.remember(own);
                }
                Ok(self.show_all())
            }
            Err(error) => {
                // Tables that were rolled back must not be remembered.
                self.stale = true;
                Err(error)
            }
        }
    }

    /// Logs our next transaction.
    fn log_own(&mut self, hlc: Hlc, body: Body, collected: Collected) -> Result<Own, StoreError> {
        let memory = &self.memory;
        let next = log::next(
            &memory.origins,
            &self.told,
            self.incarnation,
            self.node,
            hlc,
            body,
        );
        let (previous, position) = match memory.origins.get(&self.incarnation) {
            Some(origin) => (origin.hlc, origin.position),
            None => (Hlc::default(), Position::default()),
        };
        let logged = Logged {
            origin: self.incarnation,
            seq: next.seq,
            bytes: next.encode(previous),
        };
        if logged.bytes.len() > MAX_TRANSACTION {
            return Err(StoreError::TooLarge {
                size: logged.bytes.len(),
                max: MAX_TRANSACTION,
            });
        }
        let chain = log::append(&self.db, memory.position + 1, &position, hlc, &logged)?;
        Ok(Own {
            logged,
            head: next.head,
            hlc,
            chain,
            collected,
        })
    }

    /// A transaction of ours is committed: memory learns of it.
    fn remember(&mut self, own: Own) {
        let memory = &mut self.memory;
        memory.position += 1;
        memory.unfolded += own.logged.bytes.len();
        let origin = memory.origins.entry(self.incarnation).or_default();
        origin.advance(own.logged.seq, own.hlc, own.chain, &own.head);
        self.hlc = self.hlc.max(own.hlc);
        self.told.extend(own.head.deps);
        if let Some(folded) = own.collected.folded {
            memory.set_folded(folded);
            memory.unfolded = own.logged.bytes.len();
        }
        memory.mixed.extend(own.collected.mixed);
        memory.recent.extend(own.collected.recent);
    }

    /// Returns the closure's value and, if anything replicated changed, the commit's number.
    pub fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<(T, Option<u64>), StoreError> {
        let result = self.locally(|writer| {
            lock(&writer.capture).begin();
            let mut tx = Tx::new(&writer.db);
            let value = work(&mut tx)?;
            let undone = tx.undone;
            let hlc = writer.hlc.tick((writer.clock)());
            let own = writer.memory.origins.get(&writer.incarnation);
            let stamp = Stamp {
                hlc,
                origin: writer.incarnation,
                seq: own.map_or(0, |own| own.position.seq) + 1,
            };
            let (db, tables) = (&writer.db, &writer.tables);
            let collected =
                capture::collect(db, &writer.capture, tables, &writer.memory, stamp, undone)?;
            if collected.changes.is_empty() {
                return Ok((value, None));
            }
            Ok((value, Some(writer.log_rows(hlc, collected)?)))
        });
        lock(&self.capture).end();
        let (value, own) = result?;
        let Some((own, tables)) = own else {
            return Ok((value, None));
        };
        self.remember(own);
        let named = |name: &String| self.tables.iter().find(|table| table.name == *name);
        let constrained = |table: &Arc<Table>| table.is_constrained();
        if self.memory.parked && tables.iter().filter_map(named).any(constrained) {
            settle::repair(self)?;
        }
        let origin = std::iter::once(self.incarnation);
        let commit = self.show(origin, &Changed::Tables(&tables));
        self.fold_when_due();
        Ok((value, Some(commit)))
    }

    fn log_rows(
        &mut self,
        hlc: Hlc,
        mut collected: Collected,
    ) -> Result<(Own, Vec<String>), StoreError> {
        let changes = std::mem::take(&mut collected.changes);
        let tables = changes.iter().map(|change| change.table.clone()).collect();
        let own = self.log_own(hlc, Body::Rows(changes), collected)?;
        Ok((own, tables))
    }

    /// Folds the log into row clocks where enough has gathered. A failure costs nothing but the
    /// next attempt: the log has everything.
    pub fn fold_when_due(&mut self) {
        let due = self.memory.unfolded > UNFOLDED || self.memory.recent.len() > RECENT;
        if due && let Err(error) = self.fold_now() {
            tracing::warn!(%error, "the log could not be folded into row clocks yet");
        }
    }

    /// Folds all of the log into row clocks.
    pub fn fold_now(&mut self) -> Result<(), StoreError> {
        self.ready()?;
        if self.memory.folded == self.memory.position {
            return Ok(());
        }
        let reached = self.atomically(|writer| {
            let (db, memory) = (&writer.db, &writer.memory);
            fold::fold(db, &writer.tables, &memory.origins, memory.folded)
        })?;
        self.memory.set_folded(reached);
        Ok(())
    }
}
