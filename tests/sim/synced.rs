//! What of a write-ahead log is truly on its disk: this program's own `fdatasync` and `fsync`, which
//! the engine and SQLite end up in, note how far a log had come each time, or fail.
//!
//! So a cut of power can leave exactly what was synced, and a sync that somebody left out shows.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{c_int, c_long};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// A log's header, and where in it the salts are that each of its frames repeats.
const HEADER: u64 = 32;
const SALTS: u64 = 16;
/// A frame: its own header, where in that the salts are, and a page.
const FRAME: u64 = 24 + 4_096;
const FRAME_SALTS: u64 = 8;

/// What the last sync of a log left on the disk.
#[derive(Clone, Copy, Default)]
struct Synced {
    salts: [u8; 8],
    end: u64,
    fails: bool,
}

fn logs() -> MutexGuard<'static, HashMap<PathBuf, Synced>> {
    static LOGS: OnceLock<Mutex<HashMap<PathBuf, Synced>>> = OnceLock::new();
    let logs = LOGS.get_or_init(Mutex::default).lock();
    logs.unwrap_or_else(PoisonError::into_inner)
}

fn log_of(dir: &Path) -> PathBuf {
    dir.canonicalize().unwrap().join("replicated.db-wal")
}

fn salts(log: &File, at: u64) -> Option<[u8; 8]> {
    let mut salts = [0; 8];
    log.read_exact_at(&mut salts, at).ok()?;
    Some(salts)
}

impl Synced {
    /// All that is in a log now. One that was begun again still has older frames behind its own.
    fn note(&mut self, log: &File) {
        let Some(now) = salts(log, SALTS) else {
            (self.salts, self.end) = Default::default();
            return;
        };
        if now != self.salts {
            (self.salts, self.end) = (now, HEADER);
        }
        let length = log.metadata().map_or(0, |data| data.len());
        while self.end + FRAME <= length && salts(log, self.end + FRAME_SALTS) == Some(now) {
            self.end += FRAME;
        }
    }
}

/// From now on the log in a directory is looked after; what it holds is on the disk.
pub fn watch(dir: &Path) {
    let mut synced = Synced::default();
    let path = log_of(dir);
    if let Ok(log) = File::open(&path) {
        synced.note(&log);
    }
    logs().insert(path, synced);
}

/// The directory is gone.
pub fn forget(dir: &Path) {
    // Its name may be one that leads nowhere by now.
    logs().retain(|path, _| path.parent().is_some_and(|parent| parent != dir));
}

/// Whether syncs of a directory's log fail.
pub fn fail(dir: &Path, fails: bool) {
    if let Some(synced) = logs().get_mut(&log_of(dir)) {
        synced.fails = fails;
    }
}

/// Power is cut: of a directory's log its copy keeps what was synced, and nothing else. A log that
/// was begun again since then had gone to the database, synced, before.
pub fn cut(dir: &Path, copy: &Path) {
    let synced = logs().get(&log_of(dir)).copied().unwrap();
    let path = copy.join("replicated.db-wal");
    let Ok(log) = File::options().read(true).write(true).open(path) else {
        return;
    };
    let kept = match salts(&log, SALTS) {
        Some(now) if now == synced.salts => synced.end,
        _ => 0,
    };
    let length = log.metadata().unwrap().len();
    log.set_len(kept.min(length)).unwrap();
}

fn sync(fd: c_int, call: c_long) -> c_int {
    let path = std::fs::read_link(format!("/proc/self/fd/{fd}"));
    let mut logs = logs();
    let mut log = path.ok().and_then(|path| logs.get_mut(&path));
    if log.as_ref().is_some_and(|log| log.fails) {
        // SAFETY: the calling thread's own.
        unsafe { *libc::__errno_location() = libc::EIO };
        return -1;
    }
    // SAFETY: what the caller asked for, of a file of its own.
    let result = unsafe { libc::syscall(call, fd) } as c_int;
    if let (Some(log), 0) = (&mut log, result) {
        // SAFETY: open while its owner waits for this call, and not closed here.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
        log.note(&file);
    }
    result
}

/// Instead of the C library's.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fdatasync)
}

/// Instead of the C library's.
#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fsync)
}
