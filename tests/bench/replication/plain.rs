//! The other side of each ratio: the same table through rusqlite alone, one connection, prepared
//! statements, write-ahead log, the pragmas of our writer.

use std::path::Path;

use rusqlite::{Connection, params};

use super::rows::{INSERT, TABLE, UPDATE, columns, key};

/// `PRAGMA synchronous`.
#[derive(Clone, Copy)]
pub enum Synchronous {
    /// Syncs at checkpoints only.
    Normal,
    /// Syncs at each commit.
    Full,
}

/// A database without replication.
pub struct Plain {
    db: Connection,
}

impl Plain {
    /// Makes one in `dir`.
    pub fn create(dir: &Path, synchronous: Synchronous) -> Self {
        let db = Connection::open(dir.join("plain.db")).unwrap();
        let synchronous = match synchronous {
            Synchronous::Normal => "NORMAL",
            Synchronous::Full => "FULL",
        };
        db.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; \
             PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; \
             PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -8000; {TABLE};"
        ))
        .unwrap();
        Plain { db }
    }

    fn run(&self, sql: &str) {
        self.db.prepare_cached(sql).unwrap().execute([]).unwrap();
    }

    /// `work` in a transaction of its own.
    fn transact(&self, work: impl FnOnce()) {
        self.run("BEGIN IMMEDIATE");
        work();
        self.run("COMMIT");
    }

    fn put(&self, number: i64) {
        let (name, amount, remark) = columns(number);
        let mut statement = self.db.prepare_cached(INSERT).unwrap();
        statement
            .execute(params![key(number), name, amount, remark])
            .unwrap();
    }

    /// Inserts the rows `from..to` in one transaction.
    pub fn insert(&self, from: i64, to: i64) {
        self.transact(|| (from..to).for_each(|id| self.put(id)));
    }

    /// Changes one column of one row, in a transaction of its own.
    pub fn update(&self, id: i64, amount: i64) {
        self.transact(|| {
            let mut statement = self.db.prepare_cached(UPDATE).unwrap();
            statement.execute([amount, id]).unwrap();
        });
    }
}
