//! The VFS under the store: SQLite's own, except that a frame of the write-ahead log is one write.
//!
//! SQLite writes a frame's header and then its page, two system calls for what lies side by side;
//! together they are a third of what a small commit costs. Here a header that is appended waits
//! for its page, which always comes next. Whatever else is asked of the file writes the header
//! first, so that the file never differs from what SQLite believes it to be.
//!
//! The only `unsafe` outside of `sys`: SQLite calls by C pointers, and is named in `store` alone.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use rusqlite::ffi::{
    SQLITE_IOERR, SQLITE_OK, SQLITE_OPEN_WAL, sqlite3_file, sqlite3_filename, sqlite3_io_methods,
    sqlite3_vfs, sqlite3_vfs_find, sqlite3_vfs_register,
};

/// The file belongs to one process: nobody writes past the capture, and no lock is a system call.
const BASE: &CStr = c"unix-excl";
const NAME: &CStr = c"tutti";

/// Size of a frame's header (SQLite's file format, 4.1).
const HEADER: usize = 24;

/// What is to be written to the log, frames joined.
#[derive(Default)]
struct Frames {
    /// Where the last write ended, what is held included.
    end: i64,
    /// A header that waits for its page.
    held: Vec<u8>,
}

impl Frames {
    /// Takes a write, and makes those that are due with `write`.
    fn write(
        &mut self,
        bytes: &[u8],
        at: i64,
        mut write: impl FnMut(&[u8], i64) -> c_int,
    ) -> c_int {
        let follows = at == self.end;
        if !self.held.is_empty() {
            if follows {
                self.held.extend_from_slice(bytes);
                self.end += bytes.len() as i64;
                return self.flush(write);
            }
            let flushed = self.flush(&mut write);
            if flushed != SQLITE_OK {
                return flushed;
            }
        } else if follows && bytes.len() == HEADER {
            self.held.extend_from_slice(bytes);
            self.end += HEADER as i64;
            return SQLITE_OK;
        }
        self.end = at + bytes.len() as i64;
        write(bytes, at)
    }

    /// Writes what is held.
    fn flush(&mut self, mut write: impl FnMut(&[u8], i64) -> c_int) -> c_int {
        if self.held.is_empty() {
            return SQLITE_OK;
        }
        let done = write(&self.held, self.end - self.held.len() as i64);
        self.held.clear();
        done
    }
}

/// SQLite's VFS that is handed to it, and the one below.
#[repr(C)]
struct Vfs {
    vfs: sqlite3_vfs,
    base: *mut sqlite3_vfs,
}

/// An open log. SQLite's own file lies behind it in the same allocation.
#[repr(C)]
struct Log {
    file: sqlite3_file,
    frames: Frames,
}

/// The name by which a connection asks for this VFS.
pub(super) fn vfs() -> &'static CStr {
    static NAMED: OnceLock<&'static CStr> = OnceLock::new();
    NAMED.get_or_init(|| if register() { NAME } else { BASE })
}

/// Makes the VFS known to SQLite. Where that fails frames are two writes, and nothing else differs.
#[allow(unsafe_code)]
fn register() -> bool {
    // SAFETY: the name is a C string; a VFS that is built in is there for as long as the process.
    let base = unsafe { sqlite3_vfs_find(BASE.as_ptr()) };
    if base.is_null() {
        return false;
    }
    // SAFETY: just looked up; SQLite changes no more of it than its list's link.
    let mut vfs = unsafe { *base };
    vfs.szOsFile += size_of::<Log>() as c_int;
    vfs.pNext = ptr::null_mut();
    vfs.zName = NAME.as_ptr();
    vfs.xOpen = Some(open);
    let vfs = Box::leak(Box::new(Vfs { vfs, base }));
    // SAFETY: it stays where it is for as long as the process.
    unsafe { sqlite3_vfs_register(&raw mut vfs.vfs, 0) == SQLITE_OK }
}

/// Opens a file: a log behind a `Log`, any other as if SQLite's VFS had been asked.
#[allow(unsafe_code)]
unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls with the VFS that `register` gave it, the first field of a `Vfs`.
    let base = unsafe { (*vfs.cast::<Vfs>()).base };
    // SAFETY: see `register`.
    let Some(open) = (unsafe { (*base).xOpen }) else {
        return SQLITE_IOERR;
    };
    if flags & SQLITE_OPEN_WAL == 0 {
        // SAFETY: SQLite's own arguments; the file has more room than the base asks for.
        return unsafe { open(base, name, file, flags, out) };
    }
    let log = file.cast::<Log>();
    // SAFETY: the allocation is `szOsFile` long, room for a `Log` and the base's file, and is
    // aligned for both: SQLite's allocations are for 8 octets.
    unsafe {
        let opened = open(base, name, below(log), flags, out);
        if opened != SQLITE_OK {
            (*file).pMethods = ptr::null();
            return opened;
        }
        let file = sqlite3_file { pMethods: &METHODS };
        let frames = Frames::default();
        log.write(Log { file, frames });
    }
    SQLITE_OK
}

/// SQLite's own file.
#[allow(unsafe_code)]
unsafe fn below(log: *mut Log) -> *mut sqlite3_file {
    // SAFETY: the caller's log has that file behind it.
    unsafe { log.add(1).cast() }
}

/// Calls one of the methods of SQLite's own file, if it has it.
macro_rules! ask {
    ($log:expr, $method:ident $(, $argument:expr)*) => {{
        let file = below($log);
        match (*(*file).pMethods).$method {
            Some(method) => method(file $(, $argument)*),
            None => SQLITE_IOERR,
        }
    }};
}

/// A method that writes first what is held, and then is the file's own.
macro_rules! passed {
    ($name:ident, $method:ident $(, $argument:ident: $kind:ty)*) => {
        #[allow(unsafe_code)]
        unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $argument: $kind)*) -> c_int {
            let log = file.cast::<Log>();
            // SAFETY: SQLite calls with a file that `open` opened, one call at a time, and with
            // arguments that fit the method.
            unsafe {
                let flushed = flush(log);
                if flushed != SQLITE_OK {
                    return flushed;
                }
                ask!(log, $method $(, $argument)*)
            }
        }
    };
}

passed!(read, xRead, to: *mut c_void, amount: c_int, at: i64);
passed!(truncate, xTruncate, size: i64);
passed!(sync, xSync, flags: c_int);
passed!(size, xFileSize, size: *mut i64);
passed!(take, xLock, level: c_int);
passed!(leave, xUnlock, level: c_int);
passed!(taken, xCheckReservedLock, out: *mut c_int);
passed!(control, xFileControl, what: c_int, with: *mut c_void);
passed!(sector, xSectorSize);
passed!(kind, xDeviceCharacteristics);

#[allow(unsafe_code)]
unsafe fn flush(log: *mut Log) -> c_int {
    // SAFETY: see `passed`.
    unsafe {
        let write = |bytes: &[u8], at| put(log, bytes, at);
        (*log).frames.flush(write)
    }
}

#[allow(unsafe_code)]
unsafe fn put(log: *mut Log, bytes: &[u8], at: i64) -> c_int {
    // SAFETY: see `passed`; the file below takes the octets over before it returns.
    unsafe { ask!(log, xWrite, bytes.as_ptr().cast(), bytes.len() as c_int, at) }
}

#[allow(unsafe_code)]
unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    amount: c_int,
    at: i64,
) -> c_int {
    let log = file.cast::<Log>();
    // SAFETY: see `passed`; `amount` octets lie there.
    unsafe {
        let bytes = std::slice::from_raw_parts(from.cast::<u8>(), amount.max(0) as usize);
        let write = |bytes: &[u8], at| put(log, bytes, at);
        (*log).frames.write(bytes, at, write)
    }
}

#[allow(unsafe_code)]
unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let log = file.cast::<Log>();
    // SAFETY: see `passed`; SQLite uses the file no more.
    unsafe {
        let flushed = flush(log);
        let closed = ask!(log, xClose);
        ptr::drop_in_place(log);
        if flushed == SQLITE_OK {
            closed
        } else {
            flushed
        }
    }
}

/// Version 1: what follows is for databases.
static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(take),
    xUnlock: Some(leave),
    xCheckReservedLock: Some(taken),
    xFileControl: Some(control),
    xSectorSize: Some(sector),
    xDeviceCharacteristics: Some(kind),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, OpenFlags};

    use super::*;

    /// What `Frames` makes of writes of so many octets at these places.
    fn made(writes: &[(usize, i64)]) -> Vec<(usize, i64)> {
        let mut frames = Frames::default();
        let mut made = Vec::new();
        for (size, at) in writes {
            let done = frames.write(&vec![7; *size], *at, |bytes, at| {
                made.push((bytes.len(), at));
                SQLITE_OK
            });
            assert_eq!(done, SQLITE_OK);
        }
        frames.flush(|bytes, at| {
            made.push((bytes.len(), at));
            SQLITE_OK
        });
        made
    }

    #[test]
    fn a_frame_is_one_write() {
        let writes = [(32, 0), (24, 32), (4096, 56), (24, 4152), (4096, 4176)];
        assert_eq!(made(&writes), [(32, 0), (4120, 32), (4120, 4152)]);
    }

    #[test]
    fn a_header_that_is_written_anew_is_not_held() {
        let writes = [(32, 0), (24, 32), (4096, 56), (4096, 56), (24, 32)];
        assert_eq!(made(&writes), [(32, 0), (4120, 32), (4096, 56), (24, 32)]);
    }

    #[test]
    fn a_header_whose_page_does_not_follow_is_written_before_what_does() {
        let writes = [(32, 0), (24, 32), (32, 0)];
        assert_eq!(made(&writes), [(32, 0), (24, 32), (32, 0)]);
    }

    #[test]
    fn a_write_that_fails_says_so_and_leaves_nothing_behind() {
        let mut frames = Frames::default();
        let full = |_: &[u8], _| SQLITE_IOERR;
        assert_eq!(frames.write(&[0; 24], 0, full), SQLITE_OK);
        assert_eq!(frames.write(&[0; 4096], 24, full), SQLITE_IOERR);
        assert_eq!(frames.flush(full), SQLITE_OK);
    }

    /// A transaction larger than the cache writes pages, then writes them again, and their
    /// checksums anew at its end.
    #[test]
    fn what_is_committed_is_in_the_file_at_once_also_where_pages_were_written_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let db = Connection::open_with_flags_and_vfs(&path, OpenFlags::default(), vfs()).unwrap();
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = 10; \
             PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);",
        )
        .unwrap();
        for round in 1..=3 {
            db.execute_batch(&format!(
                "BEGIN; \
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) \
                 REPLACE INTO t SELECT i, hex(randomblob(40)) || {round} FROM n; \
                 UPDATE t SET b = b || 'x' WHERE a % 50 = 1; \
                 UPDATE t SET b = b || 'y' WHERE a % 50 = 2; COMMIT;"
            ))
            .unwrap();
            let copy = dir.path().join(format!("copy{round}.db"));
            std::fs::copy(&path, &copy).unwrap();
            let log = dir.path().join(format!("copy{round}.db-wal"));
            std::fs::copy(dir.path().join("a.db-wal"), log).unwrap();
            let sum = "SELECT count(*) || ' ' || sum(length(b)) || ' ' || max(b) FROM t";
            let read = |db: &Connection| db.query_row(sum, [], |row| row.get::<_, String>(0));
            let copied = Connection::open(&copy).unwrap();
            assert_eq!(read(&copied).unwrap(), read(&db).unwrap());
            let whole: String = copied
                .query_row("PRAGMA integrity_check", [], |row| row.get(0))
                .unwrap();
            assert_eq!(whole, "ok");
        }
    }
}
