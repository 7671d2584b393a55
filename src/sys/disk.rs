//! How much room a disk has, and taking some of it.

use std::fs::File;
use std::io;
use std::path::Path;

/// The bytes that an unprivileged process may still write on the file system of `path`.
pub fn free(path: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// The size of the file system of `path` in bytes.
pub fn size(path: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    Ok(stat.blocks().saturating_mul(stat.fragment_size()))
}

/// Gives a file this length, with room on the disk for all of it.
pub fn allocate(file: &File, length: u64) -> io::Result<()> {
    let length = i64::try_from(length).map_err(io::Error::other)?;
    Ok(nix::fcntl::posix_fallocate(file, 0, length)?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_disk_has_room_and_a_missing_path_has_none() {
        let root = std::path::Path::new("/");
        let (free, size) = (super::free(root).unwrap(), super::size(root).unwrap());
        assert!(0 < free && free <= size);
        assert!(super::free(std::path::Path::new("/no/such/place")).is_err());
    }
}
