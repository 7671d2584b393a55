//! The one writable connection and everything that happens on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::capture::{self, Capture, Shared};
use super::log::{self, Origins};
use super::schema::{self, Table};
use super::shown::{self, Changed};
use super::tokens::{Token, created, tokens};
use super::tx::Tx;
use super::{Clock, StoreError, lock, settle};
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
        writer.load_tables()?;
        settle::repair(&mut writer)?;
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

    pub fn migrate(&mut self, statements: &[&str]) -> Result<(), StoreError> {
        let result = self.atomically(|writer| {
            for sql in statements {
                writer.create(sql)?;
            }
            writer.load_tables()
        });
        self.after_schema(result)
    }

    pub fn declare(&mut self, sql: &str) -> Result<(), StoreError> {
        let result = self.atomically(|writer| {
            if !writer.create(sql)? {
                return Ok(None);
            }
            writer.load_tables()?;
            let hlc = writer.hlc.tick((writer.clock)());
            let body = Body::Schema {
                sql: sql.to_owned(),
            };
            Ok(Some(writer.log_own(hlc, body)?))
        });
        let result = result.map(|origins| {
            if let Some(origins) = origins {
                self.committed(origins, &Changed::All);
            }
        });
        self.after_schema(result)
    }

    /// A failed schema change must not leave tables behind that were rolled back.
    fn after_schema<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.is_err() {
            self.load_tables()?;
        }
        self.publish(&Changed::All);
        result
    }

    /// Logs our next transaction; returns the origins after it.
    fn log_own(&mut self, hlc: Hlc, body: Body) -> Result<Origins, StoreError> {
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

    fn committed(&mut self, origins: Origins, changed: &Changed<'_>) {
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
            let value = work(&mut Tx::new(&writer.db))?;
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
            let changes = capture::collect(&writer.db, &writer.capture, stamp)?;
            if changes.is_empty() {
                return Ok((value, None));
            }
            let tables = changes.iter().map(|change| change.table.clone());
            let tables: Vec<String> = tables.collect();
            let origins = writer.log_own(hlc, Body::Rows(changes))?;
            Ok((value, Some((origins, tables))))
        });
        lock(&self.capture).end();
        let (value, committed) = result?;
        let Some((origins, tables)) = committed else {
            return Ok((value, false));
        };
        let named = |name: &String| self.tables.iter().find(|table| table.name == *name);
        let constrained = tables
            .iter()
            .filter_map(named)
            .any(|table| table.is_constrained());
        self.committed(origins, &Changed::Tables(&tables));
        if constrained {
            settle::repair(self)?;
        }
        Ok((value, true))
    }
}

/// For applying: the transactions decoded once.
pub(super) fn decode(bytes: &[u8]) -> Result<Transaction, StoreError> {
    Transaction::decode(bytes)
        .ok_or_else(|| StoreError::Peer("a transaction that cannot be read".into()))
}
