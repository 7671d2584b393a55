//! The one writable connection and everything that happens on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::capture::{self, Capture, Shared};
use super::log::{self, Origins};
use super::schema::Table;
use super::settle::{self, Settle};
use super::shown::{self, Changed};
use super::tx::Tx;
use super::{Clock, StoreError, declare, inbox, keys, lock};
use crate::replica::change::{Body, MAX_TRANSACTION, Transaction};
use crate::replica::clock::{Hlc, Stamp};
use crate::replica::frontier::Frontier;
use crate::replica::{Incarnation, NodeId};

/// Everything the writer knows.
pub(super) struct Writer {
    pub db: Connection,
    pub capture: Shared,
    pub tables: Vec<Arc<Table>>,
    pub origins: Origins,
    /// What our last transaction told of others.
    told: BTreeMap<Incarnation, u64>,
    pub hlc: Hlc,
    node: NodeId,
    pub incarnation: Incarnation,
    pub clock: Clock,
    shown: shown::Shared,
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
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
             PRAGMA trusted_schema = OFF;",
        )?;
        log::create(&db)?;
        declare::create(&db)?;
        settle::create(&db)?;
        keys::create(&db)?;
        inbox::create(&db)?;
        let origins = log::load_origins(&db)?;
        let hlc = origins.values().map(|origin| origin.hlc).max();
        let mut writer = Writer {
            db,
            capture,
            tables: Vec::new(),
            origins,
            told: BTreeMap::new(),
            hlc: hlc.unwrap_or_default(),
            node,
            incarnation,
            clock,
            shown,
        };
        keys::start(&writer.db, &writer.capture, incarnation)?;
        writer.load_tables()?;
        writer.publish(&Changed::All);
        Ok(writer)
    }

    /// Shows the present state to everybody; called after each commit.
    pub fn publish(&self, changed: &Changed<'_>) {
        let mut shown = lock(&self.shown);
        shown.incarnation = self.incarnation;
        shown.frontier = self.frontier();
        shown.tables.clone_from(&self.tables);
        shown.commit(changed);
    }

    pub fn frontier(&self) -> Frontier {
        log::frontier(&self.origins)
    }

    /// Runs `work` between BEGIN and COMMIT; any error rolls back.
    pub fn atomically<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        let result = work(self).and_then(|value| {
            self.db.execute_batch("COMMIT")?;
            Ok(value)
        });
        if result.is_err() && !self.db.is_autocommit() {
            self.db.execute_batch("ROLLBACK")?;
        }
        result
    }

    /// Logs our next transaction; returns the origins after it.
    pub fn log_own(&mut self, hlc: Hlc, body: Body) -> Result<Origins, StoreError> {
        let next = log::next(
            &self.origins,
            &self.told,
            self.incarnation,
            self.node,
            hlc,
            body,
        );
        let bytes = next.encode();
        if bytes.len() > MAX_TRANSACTION {
            return Err(StoreError::TooLarge {
                size: bytes.len(),
                max: MAX_TRANSACTION,
            });
        }
        let mut origins = self.origins.clone();
        log::append(&self.db, &mut origins, &next, &bytes)?;
        Ok(origins)
    }

    pub fn committed(&mut self, origins: Origins, changed: &Changed<'_>) {
        let seen = origins
            .iter()
            .map(|(id, origin)| (*id, origin.position.seq));
        self.told = seen.filter(|seen| seen.0 != self.incarnation).collect();
        self.hlc = self.hlc.max(origins[&self.incarnation].hlc);
        self.origins = origins;
        self.publish(changed);
    }

    /// Returns the closure's value and whether anything replicated changed.
    pub fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<(T, bool), StoreError> {
        let result = self.atomically(|writer| {
            lock(&writer.capture).begin();
            let value = work(&mut Tx::new(&writer.db, &writer.tables))?;
            keys::claim(&writer.db, &writer.capture, writer.node)?;
            let hlc = writer.hlc.tick((writer.clock)());
            let stamp = Stamp {
                hlc,
                origin: writer.incarnation,
                seq: writer
                    .origins
                    .get(&writer.incarnation)
                    .map_or(0, |o| o.position.seq)
                    + 1,
            };
            let mut settle = Settle::default();
            let changes = capture::collect(&writer.db, &writer.capture, stamp, &mut settle)?;
            if changes.is_empty() {
                return Ok((value, None));
            }
            let tables = changes.iter().map(|change| change.table);
            let tables: Vec<String> = tables.filter_map(|id| writer.name_of(id)).collect();
            let origins = writer.log_own(hlc, Body::Rows(changes))?;
            // In the same transaction: what waits for these rows is back with them.
            settle.run_local(&writer.db, &writer.tables)?;
            Ok((value, Some((origins, tables))))
        });
        lock(&self.capture).end();
        let (value, committed) = result?;
        let Some((origins, tables)) = committed else {
            return Ok((value, false));
        };
        keys::committed(&self.capture);
        self.committed(origins, &Changed::Tables(&tables));
        Ok((value, true))
    }
}

/// For applying: the transactions decoded once.
pub(super) fn decode(bytes: &[u8]) -> Result<Transaction, StoreError> {
    Transaction::decode(bytes)
        .ok_or_else(|| StoreError::Peer("a transaction that cannot be read".into()))
}
