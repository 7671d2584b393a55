//! An empty copy of a table in memory, where SQLite itself tells whether a row that is in no table
//! would meet the WHERE of a partial index: affinities, collations and generated columns count.

use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::schema::Table;
use super::schema::quote;
use super::tx::Bind;
use super::{StoreError, lock};
use crate::replica::value::Value;

/// The copy; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Scratch(Arc<Mutex<Connection>>);

impl Scratch {
    /// Of the table that `sql` creates.
    pub fn new(sql: &str) -> Result<Self, StoreError> {
        let db = Connection::open_in_memory()?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
        db.pragma_update(None, "ignore_check_constraints", true)?;
        db.execute(sql, [])?;
        Ok(Scratch(Arc::new(Mutex::new(db))))
    }

    /// Whether `predicate` holds for `row`.
    pub fn holds(&self, table: &Table, row: &[Value], predicate: &str) -> Result<bool, StoreError> {
        let db = lock(&self.0);
        let name = quote(&table.name);
        db.prepare_cached(&format!("DELETE FROM {name}"))?
            .execute([])?;
        db.prepare_cached(&table.insert)?
            .execute(rusqlite::params_from_iter(row.iter().map(Bind)))?;
        let sql = format!("SELECT 1 FROM {name} WHERE ({predicate})");
        Ok(db.prepare_cached(&sql)?.exists([])?)
    }
}
