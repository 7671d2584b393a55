//! A database that SQLite finds damaged: told to whoever can act on it, and set aside.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::snapshot::named;
use super::{Store, StoreError};

/// What a database and its companions are called beside each other.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];
/// What the name of one that was set aside starts with.
const ASIDE: &str = "damaged-";

/// Whether the file was found damaged, and how. Clones share it.
#[derive(Clone)]
pub(super) struct Damage(Arc<watch::Sender<Option<String>>>);

impl Default for Damage {
    fn default() -> Self {
        Damage(Arc::new(watch::Sender::new(None)))
    }
}

impl Damage {
    /// Notes what a use of the file came to.
    pub fn note<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Corrupt(why)) = &result {
            self.0.send_if_modified(|known| {
                let first = known.is_none();
                known.get_or_insert_with(|| why.clone());
                first
            });
        }
        result
    }
}

impl Store {
    /// Turns to `Some` once SQLite has found the file damaged.
    pub fn damage(&self) -> watch::Receiver<Option<String>> {
        self.inner.damage.0.subscribe()
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
