//! The one thing that `ike` keeps on disk: what its tokens of quick crash detection are made from.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

/// The secret from which a restarted `ike` makes the tokens of before again (RFC 6290 section
/// 5.1); made the first time.
pub(super) fn load(path: &Path) -> io::Result<Zeroizing<[u8; 32]>> {
    let mut secret = Zeroizing::new([0; 32]);
    match fs::read(path).map(Zeroizing::new) {
        Ok(kept) if kept.len() == secret.len() => {
            secret.copy_from_slice(&kept);
            return Ok(secret);
        }
        // Cut off by a power failure: as if there were none.
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    getrandom::fill(secret.as_mut()).map_err(io::Error::other)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(secret.as_ref())?;
    file.sync_all()?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_secret_is_made_once_for_its_owner_alone_and_again_when_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let first = load(&path).unwrap();
        assert_ne!(*first, [0; 32]);
        assert_eq!(load(&path).unwrap(), first);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, b"cut").unwrap();
        let second = load(&path).unwrap();
        assert_ne!(second, first);
        assert_eq!(load(&path).unwrap(), second);
        assert!(load(&dir.path().join("missing/tokens")).is_err());
    }
}
