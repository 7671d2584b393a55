//! Disks that fail: SQLite's own file system, whose reads and writes in certain directories are
//! refused now and then, as a disk refuses them.
//!
//! It is what every connection of the process uses, so that the engine is run as it is.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::os::raw::{c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once, OnceLock};

use rusqlite::ffi;

use crate::synced;

/// The disk of one node.
pub struct Disk {
    dir: PathBuf,
    faults: &'static Faults,
}

/// What it will do. Never freed: files that are still open point to it.
#[derive(Default)]
struct Faults {
    /// So many uses go well first.
    well: AtomicU64,
    /// So many then do not.
    failing: AtomicU64,
    /// How long the WAL was when SQLite last had it synced, as it does before it writes to the
    /// database what the WAL holds.
    synced: AtomicU64,
    /// Nothing fails, and nothing is counted, meanwhile.
    spared: AtomicBool,
}

impl Faults {
    fn refuses(&self) -> bool {
        if self.spared.load(Ordering::Relaxed) || self.failing.load(Ordering::Relaxed) == 0 {
            return false;
        }
        if self.well.load(Ordering::Relaxed) > 0 {
            self.well.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.failing.fetch_sub(1, Ordering::Relaxed);
        true
    }
}

/// Which directories are on which disk.
fn disks() -> &'static Mutex<HashMap<PathBuf, &'static Faults>> {
    static DISKS: OnceLock<Mutex<HashMap<PathBuf, &'static Faults>>> = OnceLock::new();
    DISKS.get_or_init(Mutex::default)
}

impl Disk {
    /// The disk that holds a directory from now on; nothing of it fails yet.
    pub fn new(dir: &Path) -> Self {
        static REGISTERED: Once = Once::new();
        REGISTERED.call_once(register);
        let faults: &'static Faults = Box::leak(Box::default());
        faults.spared.store(true, Ordering::Relaxed);
        let wal = std::fs::metadata(dir.join("replicated.db-wal"));
        let synced = wal.map_or(0, |wal| wal.len());
        faults.synced.store(synced, Ordering::Relaxed);
        disks().lock().unwrap().insert(dir.to_owned(), faults);
        synced::watch(dir);
        Disk {
            dir: dir.to_owned(),
            faults,
        }
    }

    /// After `well` uses more, `failing` uses are refused.
    pub fn fail(&self, well: u64, failing: u64) {
        self.faults.well.store(well, Ordering::Relaxed);
        self.faults.failing.store(failing, Ordering::Relaxed);
    }

    /// What of the WAL no lying disk may lose: the database may hold a part of it.
    pub fn synced(&self) -> u64 {
        self.faults.synced.load(Ordering::Relaxed)
    }

    /// Whether somebody uses it who must not meet a fault.
    pub fn spare(&self, spared: bool) {
        self.faults.spared.store(spared, Ordering::Relaxed);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        disks().lock().unwrap().remove(&self.dir);
        synced::forget(&self.dir);
    }
}

/// A file as SQLite sees it; that of the file system below follows it in memory.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    faults: Option<&'static Faults>,
    is_wal: bool,
}

/// The file of the file system below.
unsafe fn below(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: `szOsFile` has room for both, and the size of ours is a multiple of a pointer's.
    unsafe { file.cast::<File>().add(1).cast() }
}

unsafe fn refuses(file: *mut ffi::sqlite3_file) -> bool {
    // SAFETY: SQLite hands back only files that `open` made.
    unsafe { (*file.cast::<File>()).faults }.is_some_and(Faults::refuses)
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: as SQLite documents `xOpen`; `pAppData` is the file system below.
    unsafe {
        let lower = (*vfs).pAppData.cast::<ffi::sqlite3_vfs>();
        let faults = (!name.is_null())
            .then(|| Path::new(OsStr::from_bytes(CStr::from_ptr(name).to_bytes())))
            .and_then(Path::parent)
            .and_then(|dir| disks().lock().unwrap().get(dir).copied());
        let result = (*lower).xOpen.unwrap()(lower, name, below(file), flags, out);
        let opened = !(*below(file)).pMethods.is_null();
        file.cast::<File>().write(File {
            base: ffi::sqlite3_file {
                pMethods: if opened { &METHODS } else { std::ptr::null() },
            },
            faults,
            is_wal: flags & ffi::SQLITE_OPEN_WAL != 0,
        });
        result
    }
}

/// Methods that are handed on, refused before if the disk says so.
macro_rules! methods {
    ($($name:ident: $method:ident($($arg:ident: $kind:ty),*) $(else $refused:ident)?;)*) => { $(
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file, $($arg: $kind),*) -> c_int {
            // SAFETY: called by SQLite for a file that is open, whose lower one has all methods.
            unsafe {
                $(if refuses(file) {
                    return ffi::$refused;
                })?
                let lower = below(file);
                (*(*lower).pMethods).$method.unwrap()(lower, $($arg),*)
            }
        }
    )* };
}

methods! {
    close: xClose();
    read: xRead(to: *mut c_void, size: c_int, at: i64) else SQLITE_IOERR_READ;
    write: xWrite(from: *const c_void, size: c_int, at: i64) else SQLITE_IOERR_WRITE;
    truncate: xTruncate(size: i64) else SQLITE_IOERR_TRUNCATE;
    size: xFileSize(size: *mut i64);
    lock: xLock(level: c_int);
    unlock: xUnlock(level: c_int);
    check_lock: xCheckReservedLock(out: *mut c_int);
    control: xFileControl(what: c_int, value: *mut c_void);
    sector_size: xSectorSize();
    characteristics: xDeviceCharacteristics();
    shm_map: xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void);
    shm_lock: xShmLock(at: c_int, number: c_int, flags: c_int);
    shm_unmap: xShmUnmap(delete: c_int);
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as the other methods.
    unsafe {
        if refuses(file) {
            return ffi::SQLITE_IOERR_FSYNC;
        }
        let lower = below(file);
        let methods = &*(*lower).pMethods;
        let result = methods.xSync.unwrap()(lower, flags);
        let ours = &*file.cast::<File>();
        if let (Some(faults), true, ffi::SQLITE_OK) = (ours.faults, ours.is_wal, result) {
            let mut length = 0;
            methods.xFileSize.unwrap()(lower, &mut length);
            faults.synced.store(length as u64, Ordering::Relaxed);
        }
        result
    }
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: as the other methods.
    unsafe {
        let lower = below(file);
        (*(*lower).pMethods).xShmBarrier.unwrap()(lower);
    }
}

/// The second version: the third would map the database into memory past us.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_lock),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Puts it in the place of the file system that stores name, for others, too.
fn register() {
    // SAFETY: SQLite's own is there after initialisation and lives as long as the process, as does
    // what is leaked here.
    unsafe {
        assert_eq!(ffi::sqlite3_initialize(), ffi::SQLITE_OK);
        let stores = ffi::sqlite3_vfs_find(c"tutti".as_ptr());
        assert!(stores.is_null(), "a store was opened before, past this");
        let lower = ffi::sqlite3_vfs_find(c"unix-excl".as_ptr());
        assert!(!lower.is_null());
        let mut vfs = std::ptr::read(lower);
        vfs.szOsFile += c_int::try_from(size_of::<File>()).unwrap();
        vfs.zName = c"unix-excl".as_ptr();
        vfs.pNext = std::ptr::null_mut();
        vfs.pAppData = lower.cast();
        vfs.xOpen = Some(open);
        let vfs: *mut ffi::sqlite3_vfs = Box::leak(Box::new(vfs));
        assert_eq!(ffi::sqlite3_vfs_register(vfs, 1), ffi::SQLITE_OK);
    }
}
