//! `local.db`: what belongs to this machine alone and never travels, such as its node id, its
//! certificate and key, and the cluster fields with the cluster key. Readable by its owner only.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension};
use zeroize::Zeroizing;

use super::StoreError;

/// This machine's own values, by name. Clones share one connection.
#[derive(Clone)]
pub struct Local {
    connection: Arc<Mutex<Connection>>,
}

impl Local {
    /// Opens or creates the file with mode 0600.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        make_private(path)?;
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;
             CREATE TABLE IF NOT EXISTS local (name TEXT PRIMARY KEY, value BLOB NOT NULL)
             STRICT, WITHOUT ROWID;",
        )?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// Reads one value.
    pub fn value(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let value: Option<Vec<u8>> = connection
            .query_row("SELECT value FROM local WHERE name = ?1", [name], |row| {
                row.get(0)
            })
            .optional()?;
        Ok(value.map(Zeroizing::new))
    }

    /// Sets several values at once, durably; `None` deletes.
    pub fn set(&self, values: &[(&str, Option<&[u8]>)]) -> Result<(), StoreError> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        for (name, value) in values {
            match value {
                Some(value) => transaction.execute(
                    "INSERT INTO local VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    rusqlite::params![name, value],
                )?,
                None => transaction.execute("DELETE FROM local WHERE name = ?1", [name])?,
            };
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Made before SQLite sees it, so that it never stands with wider permissions; its journal takes
/// over the mode of the database.
pub(super) fn make_private(path: &Path) -> Result<(), StoreError> {
    let opened = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path);
    opened.map(drop).map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn values_outlive_the_process_and_only_the_owner_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("local.db");
        let local = Local::open(&path).unwrap();
        local.set(&[("a", Some(b"1")), ("b", Some(b"2"))]).unwrap();
        local.set(&[("a", None), ("b", Some(b"3"))]).unwrap();
        drop(local);
        let local = Local::open(&path).unwrap();
        assert!(local.value("a").unwrap().is_none());
        assert_eq!(local.value("b").unwrap().unwrap().as_slice(), b"3");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
