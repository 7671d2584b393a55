//! How much room a disk has.

use std::io;
use std::path::Path;

/// The bytes that an unprivileged process may still write on the file system of `path`.
pub fn free(path: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_disk_has_room_and_a_missing_path_has_none() {
        assert!(super::free(std::path::Path::new("/")).is_ok_and(|free| free > 0));
        assert!(super::free(std::path::Path::new("/no/such/place")).is_err());
    }
}
