//! Snapshots that leave: a staged copy of everything replicated, the log included.
//!
//! The copy is of a reader's one state, so writers go on meanwhile and the WAL grows no longer than
//! the copying takes; sending then reads the copy alone. It is hashed while it is sent, and kept a
//! while for the next joiner or for one that was cut off.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use blake3::Hasher;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::pieces::Partial;
use super::{Store, StoreError, joining, lock};
use crate::replica::NodeId;
use crate::replica::frontier::Frontier;
use crate::wire::replication::SnapshotId;

/// What stays free on the disk whatever is staged or accepted, in bytes.
const RESERVE: u64 = 64 << 20;
/// How old a copy may be that a new joiner gets.
const FRESH: Duration = Duration::from_secs(60);
/// How old a copy may get that somebody asks for again and again: nothing beyond it leaves the log.
const OLD: Duration = Duration::from_secs(24 * 3_600);
/// How long a copy is kept for a joiner that was cut off.
const KEEP: Duration = Duration::from_secs(600);

/// What is on its way to or from peers, beyond the life of one link.
#[derive(Default)]
pub(super) struct Transfers {
    /// Locked while a copy is being made.
    staged: Mutex<Option<Arc<Staged>>>,
    /// The database file, held open beside SQLite: closed, it would take SQLite's lock with it.
    database: Mutex<Option<File>>,
    /// The large transaction that a link left half received.
    pub partial: Mutex<Option<Partial>>,
    /// Whether a member's snapshot is arriving.
    pub arriving: Arc<AtomicBool>,
}

/// Names the file in an error; a disk without room is none of the file's.
pub(super) fn named<T>(path: &Path, result: io::Result<T>) -> Result<T, StoreError> {
    result.map_err(|source| match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Io {
            path: path.to_owned(),
            source,
        },
    })
}

/// Refuses what would fill the disk.
pub(super) fn room(what: &'static str, needed: u64, free: u64) -> Result<(), StoreError> {
    let needed = needed.saturating_add(RESERVE);
    if free < needed {
        return Err(StoreError::NoRoom { what, needed, free });
    }
    Ok(())
}

/// How much of a staged file was hashed on its way out.
struct Hashed {
    upto: u64,
    hasher: Hasher,
}

/// A consistent copy of the replicated file; removed when dropped.
pub struct Staged {
    path: PathBuf,
    file: File,
    /// Names it.
    pub id: SnapshotId,
    /// Its size in bytes.
    pub size: u64,
    /// What it holds: the log beyond it has to stay until its joiners are members.
    pub frontier: Frontier,
    since: Instant,
    used: Mutex<Instant>,
    hashed: Mutex<Hashed>,
}

impl Staged {
    /// Whether who wants this copy, or any, gets it.
    fn serves(&self, wanted: Option<SnapshotId>, now: Instant) -> bool {
        let age = now.duration_since(self.since);
        age < FRESH || (wanted == Some(self.id) && age < OLD)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A piece of a staged copy, and with its last piece the digest of the whole.
pub type StagedPiece = (Vec<u8>, Option<[u8; 32]>);

impl Staged {
    /// Up to `max` bytes from `offset`.
    pub fn read(&self, offset: u64, max: usize) -> Result<StagedPiece, StoreError> {
        *lock(&self.used) = Instant::now();
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; max.min(left)];
        named(&self.path, self.file.read_exact_at(&mut bytes, offset))?;
        let end = offset + bytes.len() as u64;
        let mut hashed = lock(&self.hashed);
        if let Some(known) = hashed.upto.checked_sub(offset)
            && known < bytes.len() as u64
        {
            hashed.hasher.update(&bytes[known as usize..]);
            hashed.upto = end;
        }
        if end < self.size {
            return Ok((bytes, None));
        }
        // A joiner that went on from its own part may have left a gap.
        let mut buffer = vec![0; 1 << 18];
        while hashed.upto < self.size {
            let left = usize::try_from(self.size - hashed.upto).unwrap_or(usize::MAX);
            let part = left.min(buffer.len());
            let read = self.file.read_exact_at(&mut buffer[..part], hashed.upto);
            named(&self.path, read)?;
            hashed.hasher.update(&buffer[..part]);
            hashed.upto += part as u64;
        }
        Ok((bytes, Some(hashed.hasher.finalize().into())))
    }
}

/// Random bytes from the operating system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Refused(error.to_string()))?;
    Ok(bytes)
}

/// Removes what transfers of an earlier life left behind and nobody can go on with.
pub(super) fn sweep(path: &Path) {
    let Some(entries) = path.parent().and_then(|d| fs::read_dir(d).ok()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snapshot-") || name.starts_with("large-") {
            let _ = fs::remove_file(entry.path());
        }
    }
    joining::sweep(path);
}

impl Store {
    /// The directory of the database, for who asks how much room there is.
    pub fn directory(&self) -> &Path {
        self.inner.path.parent().unwrap_or(Path::new("."))
    }

    /// A copy of everything replicated: the one that is wanted, if it is still there, else a
    /// fresh one. `free` is the room on the disk in bytes. Two that ask at once share one copy.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`] where it would fill the disk.
    pub fn stage_snapshot(
        &self,
        wanted: Option<SnapshotId>,
        free: u64,
    ) -> Result<Arc<Staged>, StoreError> {
        let mut kept = lock(&self.inner.transfers.staged);
        if let Some(staged) = &*kept
            && staged.serves(wanted, Instant::now())
            && staged.path.exists()
        {
            *lock(&staged.used) = Instant::now();
            return Ok(Arc::clone(staged));
        }
        *kept = None;
        let staged = Arc::new(self.stage(free)?);
        *kept = Some(Arc::clone(&staged));
        Ok(staged)
    }

    /// The same for a peer, which may be a member whose log no longer holds what both hold: a copy
    /// from before that would be refused.
    pub fn stage_for(
        &self,
        peer: NodeId,
        wanted: Option<SnapshotId>,
        free: u64,
    ) -> Result<Arc<Staged>, StoreError> {
        let held = lock(&self.inner.kept).retention.held(peer).cloned();
        let own = self.frontier();
        let lacks = |staged: &Staged| {
            let held = held.iter().flat_map(|held| &held.0);
            let mut both = held.map(|(id, at)| (*id, at.seq.min(own.seq(*id))));
            both.any(|(id, seq)| !staged.frontier.covers(id, seq))
        };
        let stale = |staged: &mut Arc<Staged>| wanted != Some(staged.id) && lacks(staged);
        drop(lock(&self.inner.transfers.staged).take_if(stale));
        self.stage_snapshot(wanted, free)
    }

    /// The staged copy's frontier, while one is kept: the log beyond it is still needed.
    pub fn staged_frontier(&self) -> Option<Frontier> {
        let kept = lock(&self.inner.transfers.staged);
        kept.as_ref().map(|staged| staged.frontier.clone())
    }

    /// A staged copy holds what was taken back since, or is of a database that was replaced: the
    /// next joiner gets another.
    pub(super) fn outdate_staged(&self) {
        *lock(&self.inner.transfers.staged) = None;
    }

    /// Lets go of a staged copy that no link has had for a while; its file goes with the last one
    /// that has.
    pub fn expire_staged(&self) {
        self.expire_staged_at(Instant::now());
    }

    pub(super) fn expire_staged_at(&self, now: Instant) {
        // A copy being made is fresh, and its maker holds the lock.
        let Ok(mut kept) = self.inner.transfers.staged.try_lock() else {
            return;
        };
        let Some(staged) = &*kept else {
            return;
        };
        // A joiner that has all of it still verifies it, and carries over what it has beyond.
        if Arc::strong_count(staged) > 1 {
            *lock(&staged.used) = now;
        } else if now.duration_since(*lock(&staged.used)) > KEEP {
            *kept = None;
        }
    }

    pub(super) fn stage(&self, free: u64) -> Result<Staged, StoreError> {
        let id: SnapshotId = random()?;
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.inner.path.with_file_name(format!("snapshot-{hex}.db"));
        // Here memory knows what to fold; a joiner would have to read it from the log.
        self.fold()?;
        // At least this much is in the copy.
        let frontier = self.frontier();
        let copied = self.copy_to(&path, free);
        // What is in the copy leaves the machine, so it has to be on disk.
        copied.and_then(|()| self.flush()).inspect_err(|_| {
            let _ = fs::remove_file(&path);
        })?;
        let file = named(&path, File::open(&path))?;
        let size = named(&path, file.metadata())?.len();
        Ok(Staged {
            path,
            file,
            id,
            size,
            frontier,
            since: Instant::now(),
            used: Mutex::new(Instant::now()),
            hashed: Mutex::new(Hashed {
                upto: 0,
                hasher: Hasher::new(),
            }),
        })
    }

    fn copy_to(&self, path: &Path, free: u64) -> Result<(), StoreError> {
        self.read(|reader| {
            let db = reader.connection;
            let folded = {
                let writer = self.writer()?;
                let folded = fold_log(&writer.db).unwrap_or(false);
                // The first read fixes the state that all below sees: what was folded just now.
                let size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
                let size: i64 = db.query_row(size, [], |row| row.get(0))?;
                room("staging a snapshot", size as u64, free)?;
                folded.then_some(size as u64)
            };
            match folded.map(|size| self.copy_file(path, size)) {
                Some(Ok(())) => Ok(()),
                Some(Err(StoreError::Full)) => Err(StoreError::Full),
                // A disk that refused: SQLite finds which page, and whose fault it is.
                Some(Err(_)) => {
                    let _ = fs::remove_file(path);
                    copy_pages(db, path)
                }
                None => copy_pages(db, path),
            }
        })
    }

    /// Copies the database file itself, which holds all of a reader's state; while that reader
    /// reads, no checkpoint writes to it.
    fn copy_file(&self, path: &Path, size: u64) -> Result<(), StoreError> {
        let mut kept = lock(&self.inner.transfers.database);
        let file = match kept.take() {
            Some(file) => file,
            None => named(&self.inner.path, File::open(&self.inner.path))?,
        };
        let mut file = &*kept.insert(file);
        named(&self.inner.path, file.rewind())?;
        let copied =
            File::create_new(path).and_then(|mut copy| io::copy(&mut file.take(size), &mut copy));
        match named(path, copied)? == size {
            true => Ok(()),
            false => Err(StoreError::Damaged(
                "its file is shorter than its pages".into(),
            )),
        }
    }

    /// SQLite has closed the database, and another takes its place.
    pub(super) fn forget_file(&self) {
        *lock(&self.inner.transfers.database) = None;
    }
}

/// Folds the write-ahead log into the database file; whether all of it is there now. A reader of an
/// older state keeps the rest out.
fn fold_log(db: &Connection) -> Result<bool, StoreError> {
    let sql = "PRAGMA wal_checkpoint(PASSIVE)";
    Ok(db.query_row(sql, [], |row| {
        Ok(row.get::<_, i64>(1)? == row.get::<_, i64>(2)?)
    })?)
}

/// Copies what a reader sees page by page.
fn copy_pages(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let mut copy = Connection::open(path)?;
    // Not to be relied on after a crash: it would not be found again anyhow.
    copy.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF",
    )?;
    match Backup::new(db, &mut copy)?.step(-1)? {
        StepResult::Done => Ok(()),
        _ => Err(StoreError::Refused("a snapshot could not be copied".into())),
    }
}

#[cfg(test)]
mod tests;
