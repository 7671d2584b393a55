//! A database that SQLite finds damaged: told to whoever can act on it, and set aside. Whether it
//! takes writes is told, too.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::ErrorCode;
use tokio::sync::watch;

use super::snapshot::named;
use super::{Store, StoreError, lock};

/// What a database and its companions are called beside each other.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];
/// What the name of one that was set aside starts with.
const ASIDE: &str = "damaged-";

/// Whether the file was found damaged, and how; and why the last write was refused by the disk.
/// Clones share it.
#[derive(Clone)]
pub(super) struct Damage {
    found: Arc<watch::Sender<Option<String>>>,
    refused: Arc<Mutex<Option<String>>>,
}

impl Default for Damage {
    fn default() -> Self {
        Damage {
            found: Arc::new(watch::Sender::new(None)),
            refused: Arc::default(),
        }
    }
}

impl Damage {
    /// Notes what a use of the file came to.
    pub fn note<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Corrupt(why)) = &result {
            self.found.send_if_modified(|known| {
                let first = known.is_none();
                known.get_or_insert_with(|| why.clone());
                first
            });
        }
        result
    }

    /// Notes what a write came to. What a caller or a constraint refuses says nothing of the disk.
    pub fn written<T>(&self, result: &Result<T, StoreError>) {
        match result {
            Ok(_) => *lock(&self.refused) = None,
            Err(error) if error.is_of_disk() => *lock(&self.refused) = Some(error.to_string()),
            Err(_) => {}
        }
    }
}

impl StoreError {
    /// Whether the disk refused, and not a constraint, a statement or a peer.
    pub(super) fn is_of_disk(&self) -> bool {
        match self {
            StoreError::Full | StoreError::Io { .. } => true,
            StoreError::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::SystemIoFailure | ErrorCode::ReadOnly | ErrorCode::CannotOpen)
            ),
            _ => false,
        }
    }
}

impl Store {
    /// Turns to `Some` once SQLite has found the file damaged.
    pub fn damage(&self) -> watch::Receiver<Option<String>> {
        self.inner.damage.found.subscribe()
    }

    /// Why the disk takes no writes, as far as the last one told.
    pub fn refused(&self) -> Option<String> {
        if let Err(error) = self.inner.sync.check() {
            return Some(error.to_string());
        }
        lock(&self.inner.damage.refused).clone()
    }

    /// Writes something and takes it back, so that [`Store::refused`] says how it is now.
    pub fn probe(&self) -> Result<(), StoreError> {
        const WRITE: &str = "CREATE TABLE IF NOT EXISTS _tutti_probe(octets); \
                             INSERT INTO _tutti_probe VALUES (zeroblob(16384));";
        let mut writer = self.writer()?;
        writer.atomically(|writer| Ok(writer.db.execute_batch(WRITE)?))?;
        writer.atomically(|writer| Ok(writer.db.execute_batch("DROP TABLE _tutti_probe")?))
    }
}

/// Gives the database of a directory, which nobody has open, the name `damaged-<ms>.db`, its WAL
/// with it; what was set aside before goes. Returns where it is.
pub fn set_aside(directory: &Path, now_ms: u64) -> Result<PathBuf, StoreError> {
    let aside = directory.join(format!("{ASIDE}{now_ms}.db"));
    if !directory.join("replicated.db").exists() {
        // It was done before and not noted: what lies aside stays.
        return Ok(aside);
    }
    for entry in named(directory, fs::read_dir(directory))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(ASIDE) {
            named(&entry.path(), fs::remove_file(entry.path()))?;
        }
    }
    // The WAL first: a database without it is older, a WAL without its database is nothing.
    for suffix in SUFFIXES.iter().rev() {
        let from = directory.join(format!("replicated.db{suffix}"));
        let to = directory.join(format!("{ASIDE}{now_ms}.db{suffix}"));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return named(&from, Err(error));
            }
            _ => {}
        }
    }
    let synced = fs::File::open(directory).and_then(|directory| directory.sync_all());
    named(directory, synced)?;
    Ok(aside)
}
