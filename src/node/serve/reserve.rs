//! Room on the disk that is kept for the next start: SQLite opens no database on a full disk, and
//! a service that cannot start cannot say why.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::sys::disk;

const FILE: &str = "reserve";
/// What opening the databases, and a last alarm, take many times over.
const SIZE: u64 = 4 << 20;
/// Stays free beside it for what is written meanwhile.
const BESIDE: u64 = 1 << 20;

/// Gives the room back, before the databases are opened.
pub fn release(state: &Path) -> io::Result<()> {
    match std::fs::remove_file(state.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes as much of the room as there is, and the rest once there is more.
pub fn hold(state: &Path) -> io::Result<()> {
    let path = state.join(FILE);
    let held = std::fs::metadata(&path).map_or(0, |found| found.len());
    if held >= SIZE {
        return Ok(());
    }
    let more = disk::free(state)?.saturating_sub(BESIDE);
    let size = SIZE.min(held + more);
    if size <= held {
        return Ok(());
    }
    let options = OpenOptions::new()
        .write(true)
        .create(true)
        .mode(0o600)
        .to_owned();
    let file: File = options.open(path)?;
    let taken = disk::allocate(&file, size);
    if taken.is_err() {
        file.set_len(held)?;
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn room_is_held_on_the_disk_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        release(dir.path()).unwrap();
        hold(dir.path()).unwrap();
        hold(dir.path()).unwrap();
        let held = std::fs::metadata(dir.path().join(FILE)).unwrap();
        assert_eq!((held.len(), held.mode() & 0o777), (SIZE, 0o600));
        assert!(held.blocks() * 512 >= SIZE, "only its length is there");
        release(dir.path()).unwrap();
        assert!(!dir.path().join(FILE).exists());
    }
}
