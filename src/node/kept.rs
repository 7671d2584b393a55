//! What `ike` keeps on disk: the secret that its tokens of quick crash detection are made from, and
//! a digest of the settings with which the kernel's SAs were made.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ring::hmac;
use zeroize::Zeroizing;

use super::ipc;
use crate::tunnel::message::Desired;

/// The secret from which a restarted `ike` makes the tokens of before again (RFC 6290 section
/// 5.1); made the first time.
pub(super) fn secret(path: &Path) -> io::Result<Zeroizing<[u8; 32]>> {
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

/// A digest of settings, keyed, for they hold the cluster key.
pub(super) type Digest = hmac::Tag;

/// `None` if `desired` is what the digest at `path` is of. Else its digest, to be kept once nothing
/// of other settings stands; there is none until then.
pub(super) fn compare(
    path: &Path,
    secret: &[u8; 32],
    desired: &Desired,
) -> io::Result<Option<Digest>> {
    let encoded = ipc::encoded(0, desired).map_err(io::Error::other)?;
    let encoded = Zeroizing::new(encoded);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    match fs::read(path) {
        Ok(kept) if hmac::verify(&key, &encoded, &kept).is_ok() => return Ok(None),
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(Some(hmac::sign(&key, &encoded)))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tunnel::message::{PeerList, Profile, Secret};

    #[test]
    fn the_secret_is_made_once_for_its_owner_alone_and_again_when_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let first = secret(&path).unwrap();
        assert_ne!(*first, [0; 32]);
        assert_eq!(secret(&path).unwrap(), first);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, b"cut").unwrap();
        let second = secret(&path).unwrap();
        assert_ne!(second, first);
        assert_eq!(secret(&path).unwrap(), second);
        assert!(secret(&dir.path().join("missing/tokens")).is_err());
    }

    #[test]
    fn settings_are_the_same_only_if_all_of_them_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings");
        let mut desired = Desired {
            list: PeerList {
                local: IpAddr::from([10, 0, 0, 1]),
                peers: Vec::new(),
            },
            key: Secret(b"key".to_vec()),
            certificate: [1; 32].into(),
            profile: Profile::default(),
            certificates: None,
            ppk: None,
        };
        let ask = |desired: &Desired| compare(&path, &[3; 32], desired).unwrap();
        let first = ask(&desired).unwrap();
        assert!(ask(&desired).is_some(), "nothing is kept yet");
        fs::write(&path, first).unwrap();
        assert!(ask(&desired).is_none());
        desired.key = Secret(b"another".to_vec());
        let second = ask(&desired).unwrap();
        assert!(!path.exists(), "while what was of the first may stand");
        fs::write(&path, second).unwrap();
        assert!(ask(&desired).is_none());
        let kept = fs::read(&path).unwrap();
        assert!(!kept.windows(7).any(|w| w == b"another"));
        assert!(compare(&path, &[4; 32], &desired).unwrap().is_some());
    }
}
