//! Group commit: transactions commit one by one without waiting for the disk, and one fdatasync
//! of the write-ahead log then makes all of them durable.
//!
//! Whoever waits first syncs for everybody who has committed by then; the others find their
//! commit covered. A sync that failed is never tried again: what the kernel dropped once stays
//! dropped, so the store stops until it is opened anew.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::shown::Shared;
use super::{StoreError, lock};

#[derive(Default)]
struct State {
    wal: Option<Arc<File>>,
    failed: Option<String>,
    /// Somebody syncs at this moment.
    syncing: bool,
}

/// The durability of one database file.
#[derive(Default)]
pub(super) struct GroupSync {
    path: PathBuf,
    state: Mutex<State>,
    synced: Condvar,
}

impl GroupSync {
    pub fn new(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        GroupSync {
            path: path.into(),
            ..GroupSync::default()
        }
    }

    /// Another database file is in place: forget the old one's log.
    pub fn reset(&self) {
        *lock(&self.state) = State::default();
    }

    /// Refuses to go on after a sync that failed.
    pub fn check(&self) -> Result<(), StoreError> {
        match &lock(&self.state).failed {
            None => Ok(()),
            Some(why) => Err(StoreError::NotDurable(why.clone())),
        }
    }

    /// Returns when commit number `commit` is on disk; moves what is shown as durable on.
    pub fn wait(&self, commit: u64, shown: &Shared) -> Result<(), StoreError> {
        let mut state = lock(&self.state);
        loop {
            if let Some(why) = &state.failed {
                return Err(StoreError::NotDurable(why.clone()));
            }
            if lock(shown).durable().commits >= commit {
                return Ok(());
            }
            if !state.syncing {
                break;
            }
            let woken = self.synced.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.syncing = true;
        drop(state);
        // All that is committed by now is in the file that is synced next.
        let latest = lock(shown).latest();
        let result = self.file().and_then(|file| {
            file.sync_data().map_err(|source| StoreError::Io {
                path: self.path.clone(),
                source,
            })
        });
        let mut state = lock(&self.state);
        state.syncing = false;
        let result = match result {
            Ok(()) => {
                lock(shown).set_durable(latest);
                Ok(())
            }
            Err(error) => {
                let why = error.to_string();
                state.failed = Some(why.clone());
                Err(StoreError::NotDurable(why))
            }
        };
        drop(state);
        self.synced.notify_all();
        result
    }

    /// The write-ahead log. Holding it open beside SQLite is harmless: SQLite's locks are on the
    /// database and its shared memory file.
    fn file(&self) -> Result<Arc<File>, StoreError> {
        let mut state = lock(&self.state);
        if let Some(file) = &state.wal {
            return Ok(Arc::clone(file));
        }
        let opened = File::open(&self.path).map_err(|source| StoreError::Io {
            path: self.path.clone(),
            source,
        })?;
        let file = Arc::new(opened);
        state.wal = Some(Arc::clone(&file));
        Ok(file)
    }
}
