//! Group commit: transactions commit one by one without waiting for the disk, and one fdatasync
//! of the write-ahead log then makes all of them durable.
//!
//! Whoever waits first syncs for everybody who has committed by then. Who comes while it syncs is
//! told when it is over: those whose commit it covers that they are done, and one of the others to
//! make the next sync. Nobody is woken for nothing, and who is woken takes no lock. A sync that
//! failed is never tried again: what the kernel dropped once stays dropped, so the store stops
//! until it is opened anew.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};

use super::shown::Shared;
use super::{StoreError, lock};

#[derive(Default)]
struct State {
    wal: Option<Arc<File>>,
    failed: Option<String>,
    /// Somebody syncs at this moment, or was told to.
    syncing: bool,
    /// Up to which commit all is known to be on disk.
    durable: u64,
    waiting: Vec<Arc<Waiter>>,
    #[cfg(test)]
    syncs: usize,
}

/// Who waits for a sync.
struct Waiter {
    thread: Thread,
    commit: u64,
    told: AtomicU8,
}

/// What a waiter is told; nothing yet at first.
const NOTHING: u8 = 0;
const DONE: u8 = 1;
const SYNC: u8 = 2;
const FAILED: u8 = 3;

impl Waiter {
    fn new(commit: u64) -> Self {
        Waiter {
            thread: thread::current(),
            commit,
            told: AtomicU8::new(NOTHING),
        }
    }

    fn tell(&self, what: u8) {
        self.told.store(what, Ordering::Release);
        self.thread.unpark();
    }

    /// Only by its own thread.
    fn wait(&self) -> u8 {
        loop {
            match self.told.load(Ordering::Acquire) {
                NOTHING => thread::park(),
                told => return told,
            }
        }
    }
}

/// The durability of one database file.
#[derive(Default)]
pub(super) struct GroupSync {
    path: PathBuf,
    state: Mutex<State>,
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
        if state.failed.is_none() && state.durable >= commit {
            return Ok(());
        }
        if let Some(why) = &state.failed {
            return Err(StoreError::NotDurable(why.clone()));
        }
        if state.syncing {
            let waiter = Arc::new(Waiter::new(commit));
            state.waiting.push(Arc::clone(&waiter));
            drop(state);
            match waiter.wait() {
                DONE => return Ok(()),
                SYNC => {}
                _ => {
                    self.check()?;
                    return Err(StoreError::NotDurable("its sync failed".into()));
                }
            }
        } else {
            state.syncing = true;
            drop(state);
        }
        self.sync(shown)
    }

    /// Makes all that is committed by now durable, and tells who waits.
    fn sync(&self, shown: &Shared) -> Result<(), StoreError> {
        let latest = lock(shown).latest();
        let covers = latest.commits;
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
        #[cfg(test)]
        {
            state.syncs += 1;
        }
        let (told, result) = match result {
            Ok(()) => {
                state.durable = state.durable.max(covers);
                (DONE, Ok(()))
            }
            Err(error) => {
                let why = error.to_string();
                state.failed = Some(why.clone());
                (FAILED, Err(StoreError::NotDurable(why)))
            }
        };
        let durable = state.durable;
        let over = |waiter: &Arc<Waiter>| told == FAILED || waiter.commit <= durable;
        let (over, mut left): (Vec<_>, Vec<_>) = state.waiting.drain(..).partition(over);
        let next = left.pop();
        state.syncing = next.is_some();
        state.waiting = left;
        drop(state);
        // The disk is not to be idle while the others are told.
        if let Some(next) = next {
            next.tell(SYNC);
        }
        over.iter().for_each(|waiter| waiter.tell(told));
        result
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{peer, run};

    #[test]
    fn all_who_wait_for_the_disk_at_once_are_served_by_one_sync() {
        let a = peer(1);
        a.store
            .declare("CREATE TABLE item(id INTEGER PRIMARY KEY)")
            .unwrap();
        let sync = &a.store.inner.sync;
        let before = {
            let mut state = lock(&sync.state);
            // As if one were under way, which is over only when all wait.
            state.syncing = true;
            state.syncs
        };
        thread::scope(|scope| {
            for id in 0..8 {
                let a = &a;
                scope.spawn(move || run(a, &format!("INSERT INTO item VALUES ({id})")));
            }
            while lock(&sync.state).waiting.len() < 8 {
                thread::sleep(std::time::Duration::from_millis(5));
            }
            sync.sync(&a.store.inner.shown).unwrap();
        });
        assert_eq!(lock(&sync.state).syncs, before + 1);
    }
}
