//! The one writable connection and everything that happens on it.

use std::path::Path;
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::capture::{self, Capture, Collected, Shared};
use super::damage::Damage;
use super::histories::{Told, Trust};
use super::inspected::Inspected;
use super::log;
use super::memory::{Memory, parked};
use super::schema::{Table, touched};
use super::shown::{self, Changed};
use super::spill;
use super::tx::{Reviewed, Tx};
use super::{
    Clock, StoreError, apart, declare, fold, frames, inbox, keys, lock, retention, settle,
};
use crate::replica::change::{Body, Head, Logged, Transaction};
use crate::replica::clock::{Hlc, Stamp};
use crate::replica::frontier::{Frontier, Position};
use crate::replica::rows::Rows;
use crate::replica::{Incarnation, NodeId};

/// How many bytes of the log wait at most to be folded into row clocks while writers are busy.
const UNFOLDED: usize = 16 << 20;

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
    /// As they were read, without what follows from other tables.
    pub inspected: Inspected,
    /// Statements that may run on these tables.
    pub reviewed: Reviewed,
    pub memory: Memory,
    /// The memory does not fit the database any more: something failed half-way.
    stale: bool,
    /// Told of what SQLite finds wrong with the file.
    pub damage: Damage,
    mode: Mode,
    /// Which histories are taken unseen.
    pub trust: Trust,
    /// What our last transaction told of others.
    pub told: Told,
    pub hlc: Hlc,
    node: NodeId,
    pub incarnation: Incarnation,
    pub clock: Clock,
    shown: shown::Shared,
}

/// A transaction of ours, logged and not yet committed.
pub(super) struct Own {
    logged: Logged,
    head: Head,
    body: Body,
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
        let mut db =
            Connection::open_with_flags_and_vfs(path, OpenFlags::default(), frames::vfs())?;
        capture::hook(&mut db, &capture)?;
        db.busy_timeout(std::time::Duration::from_secs(10))?;
        db.set_prepared_statement_cache_capacity(256);
        // NORMAL: a commit does not wait for the disk, the group's sync does (`sync.rs`).
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; \
             PRAGMA trusted_schema = OFF; PRAGMA wal_autocheckpoint = 4000; \
             PRAGMA cache_size = -8000;",
        )?;
        log::create(&db)?;
        retention::create(&db)?;
        apart::create(&db)?;
        declare::create(&db)?;
        settle::create(&db)?;
        keys::create(&db)?;
        inbox::create(&db)?;
        keys::start(&db, &capture, incarnation)?;
        let mut writer = Writer {
            db,
            capture,
            tables: Vec::new(),
            inspected: Inspected::default(),
            reviewed: Reviewed::default(),
            memory: Memory::default(),
            stale: true,
            damage: Damage::default(),
            mode: Mode::Local,
            trust: Trust::default(),
            told: Told::default(),
            hlc: Hlc::default(),
            node,
            incarnation,
            clock,
            shown,
        };
        writer.ready()?;
        writer.fold_now()?;
        Ok(writer)
    }

    /// Lets go of the file, which another one may replace; that goes on under this incarnation, by
    /// which whoever knows what was here sees that it is so no more.
    pub fn close(&mut self, incarnation: Incarnation) -> Result<(), StoreError> {
        self.db = Connection::open_in_memory()?;
        self.incarnation = incarnation;
        lock(&self.shown).incarnation = incarnation;
        Ok(())
    }

    /// Brings memory in step with the database, where it is not.
    pub fn ready(&mut self) -> Result<(), StoreError> {
        if !self.stale {
            return self.whole();
        }
        self.load_tables()?;
        self.memory = Memory::load(&self.db, &self.tables)?;
        let (origins, closed) = (&self.memory.origins, &self.memory.closed);
        let known = origins.values().chain(closed.values());
        let latest = known.map(|origin| origin.hlc).max();
        self.hlc = self.hlc.max(latest.unwrap_or_default());
        self.stale = false;
        self.show_all();
        self.whole()
    }

    /// What is too much for memory is folded before anybody asks for it.
    fn whole(&mut self) -> Result<(), StoreError> {
        if self.memory.is_whole() {
            return Ok(());
        }
        self.fold_rest()
    }

    /// Goes on under a fresh incarnation, whose first transaction told this of the others.
    pub fn renew(&mut self, fresh: Incarnation, hlc: Hlc, told: &Frontier) {
        self.incarnation = fresh;
        self.hlc = hlc;
        self.told = Told::all(told);
    }

    /// Goes on under a fresh incarnation that told nothing yet, as after a start; returns the
    /// commit's number.
    pub fn begin(&mut self, fresh: Incarnation) -> Result<u64, StoreError> {
        keys::start(&self.db, &self.capture, fresh)?;
        self.renew(fresh, self.hlc, &Frontier::default());
        Ok(self.show_all())
    }

    /// The node that writes.
    pub fn node(&self) -> NodeId {
        self.node
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
        shown.closed = log::frontier(&self.memory.closed);
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

    fn set_mode(&mut self, mode: Mode) -> Result<(), StoreError> {
        if self.mode == mode {
            return Ok(());
        }
        self.put_mode(mode)
    }

    fn put_mode(&mut self, mode: Mode) -> Result<(), StoreError> {
        // Set before BEGIN: inside a transaction the foreign key setting is a silent no-op.
        let local = mode == Mode::Local;
        let db = &self.db;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, local)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, local)?;
        db.pragma_update(None, "ignore_check_constraints", !local)?;
        self.mode = mode;
        Ok(())
    }

    /// Puts right what a panic left in the middle of a transaction, if one did.
    pub fn recover(&mut self) -> Result<(), StoreError> {
        if !self.db.is_autocommit() {
            self.db.execute_batch("ROLLBACK")?;
            lock(&self.capture).end();
            self.put_mode(self.mode)?;
            self.set_stale();
        }
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
    pub fn atomically<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let begin = |db: &Connection| db.prepare_cached("BEGIN IMMEDIATE")?.execute([]);
        self.damage
            .note(begin(&self.db).map_err(StoreError::from))?;
        let result = work(self).and_then(|value| {
            self.db.prepare_cached("COMMIT")?.execute([])?;
            Ok(value)
        });
        if result.is_err() && !self.db.is_autocommit() {
            self.db.execute_batch("ROLLBACK")?;
        }
        self.damage.written(&result);
        self.damage.note(result)
    }

    /// Logs our next transaction.
    pub fn log_own(
        &mut self,
        hlc: Hlc,
        body: Body,
        collected: Collected,
    ) -> Result<Own, StoreError> {
        let memory = &self.memory;
        let (previous, position) = match memory.origins.get(&self.incarnation) {
            Some(origin) => (origin.hlc, origin.position),
            None => (Hlc::default(), Position::default()),
        };
        let seq = position.seq + 1;
        let next = Transaction {
            origin: self.incarnation,
            seq,
            hlc,
            head: Head {
                node: (seq == 1).then_some(self.node),
                deps: self.told.news(memory, self.incarnation),
            },
            body,
        };
        let rows = match &next.body {
            Body::Rows(Rows::Large(rows)) => Some(rows),
            _ => None,
        };
        let logged = Logged {
            origin: self.incarnation,
            seq: next.seq,
            bytes: spill::payload(next.encode(previous), rows),
            chain: None,
        };
        capture::too_large(logged.bytes.size())?;
        let chain = log::append(&self.db, memory.position + 1, &position, hlc, &logged)?;
        Ok(Own {
            logged,
            head: next.head,
            body: next.body,
            hlc,
            chain,
            collected,
        })
    }

    /// A transaction of ours is committed: memory learns of it.
    pub fn remember(&mut self, own: Own) {
        let memory = &mut self.memory;
        if let Some(folded) = own.collected.folded {
            memory.set_folded(folded);
        }
        memory.mixed.extend(own.collected.mixed);
        let stamp = Stamp {
            hlc: own.hlc,
            origin: self.incarnation,
            seq: own.logged.seq,
        };
        let (position, size) = (memory.position + 1, own.logged.bytes.size() as usize);
        memory.note(&self.tables, stamp, position, &own.body, size);
        let origin = memory.origins.entry(self.incarnation).or_default();
        origin.learn(own.logged.seq, &own.head, &memory.closed);
        origin.advance(own.logged.seq, own.hlc, own.chain);
        self.hlc = self.hlc.max(own.hlc);
        self.told.tell(&own.head.deps);
    }

    /// Returns the closure's value and, if anything replicated changed, the commit's number.
    pub fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<(T, Option<u64>), StoreError> {
        let result = self.locally(|writer| {
            lock(&writer.capture).begin();
            let mut tx = Tx::new(&writer.db, &writer.tables, &mut writer.reviewed);
            let value = work(&mut tx)?;
            tx.alive()?;
            let undone = tx.undone;
            drop(tx);
            keys::claim(&writer.db, &writer.capture, writer.node)?;
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
            Ok((value, Some(writer.log_rows(hlc, stamp, collected)?)))
        });
        lock(&self.capture).end();
        let (value, own) = result?;
        let Some((own, tables)) = own else {
            return Ok((value, None));
        };
        self.remember(own);
        keys::committed(&self.capture);
        if self.memory.parked {
            self.memory.parked = parked(&self.db)?;
        }
        let origin = std::iter::once(self.incarnation);
        let commit = self.show(origin, &Changed::Tables(&tables));
        self.fold_when_due();
        Ok((value, Some(commit)))
    }

    fn log_rows(
        &mut self,
        hlc: Hlc,
        stamp: Stamp,
        mut collected: Collected,
    ) -> Result<(Own, Vec<String>), StoreError> {
        let changes = std::mem::take(&mut collected.changes);
        let settle = std::mem::take(&mut collected.settle);
        if settle.concerns_parked(&self.db)? {
            // In the same transaction: what waits for these rows is back with them.
            fold::ahead(&self.db, &self.tables, &changes, stamp)?;
            settle.run_local(&self.db, &self.tables)?;
        }
        let tables = touched(&self.tables, &changes)?;
        let own = self.log_own(hlc, Body::Rows(changes), collected)?;
        Ok((own, tables))
    }

    /// Writes all of the write-ahead log into the database. Closing does so, too, and tells nobody
    /// where the disk refuses it.
    pub fn fold_wal(&self) -> Result<(), StoreError> {
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        Ok(self.db.query_row(sql, [], |_| Ok(()))?)
    }

    /// Folds the log into row clocks where enough has gathered. A failure costs nothing but the
    /// next attempt: the log has everything.
    pub fn fold_when_due(&mut self) {
        let unfolded = &self.memory.unfolded;
        let full = unfolded.bytes > UNFOLDED || unfolded.pending.rows() > fold::ROWS / 2;
        if (full || !self.memory.is_whole())
            && let Err(error) = self.fold_now()
        {
            tracing::warn!(%error, "the log could not be folded into row clocks yet");
        }
    }

    /// Folds all of the log into row clocks.
    pub fn fold_now(&mut self) -> Result<(), StoreError> {
        self.ready()?;
        if self.memory.unfolded.from == self.memory.position {
            return Ok(());
        }
        self.fold_rest()
    }

    /// Bounds the file to so many pages, or to what it has; returns the bound before.
    pub fn page_bound(&self, pages: u32) -> Result<u32, StoreError> {
        let read = |sql: &str| self.db.query_row(sql, [], |row| row.get(0));
        let before = read("PRAGMA max_page_count")?;
        read(&format!("PRAGMA max_page_count = {pages}"))?;
        Ok(before)
    }

    fn fold_rest(&mut self) -> Result<(), StoreError> {
        // The clocks of what was committed find room beyond the bound: nothing could be deleted any
        // more where they did not.
        let bound = self.page_bound(u32::MAX - 1)?;
        let reached = self.atomically(|writer| {
            let (db, memory) = (&writer.db, &writer.memory);
            let unfolded = &memory.unfolded;
            fold::fold(db, &writer.tables, &memory.origins, unfolded.from, unfolded)
        });
        self.page_bound(bound)?;
        self.memory.set_folded(reached?);
        Ok(())
    }
}
