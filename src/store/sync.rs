//! Group commit: transactions commit one by one without waiting for the disk, and one fdatasync
//! of the write-ahead log then makes all of them durable.
//!
//! Whoever waits first syncs for everybody who has committed by then. Who comes while it syncs
//! waits for the next sync, which one of them makes: so nobody is woken for a sync that does not
//! cover its commit. A sync that failed is never tried again: what the kernel dropped once stays
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
    /// The number of the sync that runs, or ran last.
    group: u64,
    /// Up to which commit that sync covers.
    covers: u64,
    /// Up to which commit all is known to be on disk.
    durable: u64,
}

/// The durability of one database file.
#[derive(Default)]
pub(super) struct GroupSync {
    path: PathBuf,
    state: Mutex<State>,
    /// Who waits for the sync that runs, and for the one after it: by their numbers' parity.
    waiting: [Condvar; 2],
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
        let mut state = lock(&self.state);
        (state.wal, state.failed) = (None, None);
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
        let mut group = None;
        loop {
            if let Some(why) = &state.failed {
                return Err(StoreError::NotDurable(why.clone()));
            }
            if state.durable >= commit {
                return Ok(());
            }
            if !state.syncing {
                break;
            }
            // The one that runs, where it began after this commit, or the next.
            let next = u64::from(state.covers < commit);
            let group = *group.get_or_insert(state.group + next);
            let woken = self.whose(group).wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.syncing = true;
        state.group += 1;
        // All that is committed by now is in the file that is synced next.
        let latest = lock(shown).latest();
        state.covers = latest.commits;
        let (group, covers) = (state.group, state.covers);
        drop(state);
        let result = self.file().and_then(|file| {
            file.sync_data().map_err(|source| StoreError::Io {
                path: self.path.clone(),
                source,
            })
        });
        if result.is_ok() {
            lock(shown).set_durable(latest);
        }
        let mut state = lock(&self.state);
        state.syncing = false;
        let result = match result {
            Ok(()) => {
                state.durable = state.durable.max(covers);
                Ok(())
            }
            Err(error) => {
                let why = error.to_string();
                state.failed = Some(why.clone());
                Err(StoreError::NotDurable(why))
            }
        };
        drop(state);
        self.whose(group).notify_all();
        match result {
            Ok(()) => self.whose(group + 1).notify_one(),
            Err(_) => self.whose(group + 1).notify_all(),
        }
        result
    }

    fn whose(&self, group: u64) -> &Condvar {
        &self.waiting[usize::from(group % 2 == 1)]
    }

    /// The write-ahead log. Holding it open beside SQLite is harmless: SQLite's lock is on the
    /// database.
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
