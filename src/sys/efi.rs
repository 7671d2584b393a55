//! How this system was started, as UEFI's variables tell it (efivarfs): what may be trusted of it.

use std::io;
use std::path::Path;

use serde::Serialize;

/// The certificate of who built this image, DER.
const BUILDER: &str = "/usr/share/tutti/builder.cer";
const VARIABLES: &str = "/sys/firmware/efi/efivars";
const SECURE_BOOT: &str = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Set by the stub of an image that is signed as a whole (systemd-stub(7)).
const STUB: &str = "StubInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// Whose signatures the firmware takes (UEFI 2.10, 32.4.1).
const KEYS: &str = "db-d719b2cb-3d3a-4596-a3bc-dad00e67656f";
/// EFI_CERT_X509_GUID, as it lies in memory.
const X509: [u8; 16] = [
    0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72,
];

/// What was judged before this system ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Legacy BIOS: nothing.
    Bios,
    /// UEFI with Secure Boot switched off: nothing.
    Unchecked,
    /// The boot loader and the kernel, by the keys that computers are sold with.
    StockKeys,
    /// All of it, by the key of who built the image.
    OwnKeys {
        /// The firmware trusts other keys as well, so another system may be started.
        others: bool,
    },
}

impl Start {
    /// What it means, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Bios => {
                "Integrity only: a BIOS starts whatever lies on the disk. A root that is damaged \
                 or was altered is not run."
            }
            Self::Unchecked => {
                "Integrity only: Secure Boot is off. A root that is damaged or was altered is not \
                 run. Switch Secure Boot on in the firmware."
            }
            Self::StockKeys => {
                "Level 1: Secure Boot has judged boot loader and kernel by stock keys. Who can \
                 write to the disk can still replace initrd and root together."
            }
            Self::OwnKeys { others: true } => {
                "Level 2: boot loader, kernel, initrd, command line and root are those that the \
                 image's builder signed. The firmware trusts other keys, too, by which another \
                 system can be started: remove them there."
            }
            Self::OwnKeys { others: false } => {
                "Level 2: boot loader, kernel, initrd, command line and root are those that the \
                 image's builder signed, and this machine starts nothing else."
            }
        }
    }
}

/// How this system was started.
pub fn start() -> io::Result<Start> {
    start_in(Path::new(VARIABLES), &builder()?)
}

/// Whether the firmware takes what the image's builder signed.
pub fn trusts_builder() -> io::Result<bool> {
    Ok(certificates(Path::new(VARIABLES))?.contains(&builder()?))
}

/// Outside an image nobody has built it.
fn builder() -> io::Result<Vec<u8>> {
    match std::fs::read(BUILDER) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

fn start_in(variables: &Path, builder: &[u8]) -> io::Result<Start> {
    let Some(secure) = variable(variables, SECURE_BOOT)? else {
        return Ok(Start::Bios);
    };
    if secure != [1] {
        return Ok(Start::Unchecked);
    }
    let keys = certificates(variables)?;
    let whole = variable(variables, STUB)?.is_some();
    if !whole || !keys.iter().any(|key| key == builder) {
        return Ok(Start::StockKeys);
    }
    let others = keys.iter().any(|key| key != builder);
    Ok(Start::OwnKeys { others })
}

/// A variable's value, which follows four octets of attributes.
fn variable(variables: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(variables.join(name)) {
        Ok(bytes) => Ok(bytes.get(4..).map(<[u8]>::to_vec)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The certificates in `db`. Lists of hashes, and what is cut short, are left out.
fn certificates(variables: &Path) -> io::Result<Vec<Vec<u8>>> {
    let all = variable(variables, KEYS)?.unwrap_or_default();
    let mut found = Vec::new();
    let mut rest = &all[..];
    while let Some((list, after)) = signature_list(rest) {
        found.extend(list);
        rest = after;
    }
    Ok(found)
}

/// One EFI_SIGNATURE_LIST: its certificates, and what follows it.
fn signature_list(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, &[u8])> {
    let word = |at: usize| -> Option<usize> {
        let word = bytes.get(at..at + 4)?;
        usize::try_from(u32::from_le_bytes(word.try_into().ok()?)).ok()
    };
    let (size, header, each) = (word(16)?, word(20)?, word(24)?);
    let list = bytes.get(28..size)?;
    let signatures = list.get(header..)?;
    let mut found = Vec::new();
    if bytes[..16] == X509 && each > 16 {
        // Each begins with the GUID of its owner.
        found.extend(signatures.chunks_exact(each).map(|one| one[16..].to_vec()));
    }
    Some((found, &bytes[size..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(kind: [u8; 16], data: &[u8]) -> Vec<u8> {
        let each = 16 + data.len();
        let words = [28 + each, 0, each].map(|word| (word as u32).to_le_bytes());
        [&kind[..], &words.concat(), &[7; 16], data].concat()
    }

    fn with(variables: &[(&str, &[u8])]) -> Start {
        let dir = tempfile::tempdir().unwrap();
        for (name, value) in variables {
            std::fs::write(dir.path().join(name), [&[6, 0, 0, 0], *value].concat()).unwrap();
        }
        start_in(dir.path(), b"builder").unwrap()
    }

    #[test]
    fn a_start_is_told_by_what_the_firmware_judged() {
        assert_eq!(with(&[]), Start::Bios);
        assert_eq!(with(&[(SECURE_BOOT, &[0])]), Start::Unchecked);
        let hashes = list([1; 16], &[9; 32]);
        let own = [hashes.clone(), list(X509, b"builder")].concat();
        let both = [list(X509, b"another builder"), own.clone()].concat();
        let on: (&str, &[u8]) = (SECURE_BOOT, &[1]);
        assert_eq!(with(&[on, (KEYS, &both)]), Start::StockKeys);
        assert_eq!(with(&[on, (KEYS, &hashes), (STUB, b"x")]), Start::StockKeys);
        let stub: (&str, &[u8]) = (STUB, b"x");
        assert_eq!(
            with(&[on, (KEYS, &both), stub]),
            Start::OwnKeys { others: true }
        );
        assert_eq!(
            with(&[on, (KEYS, &own), stub]),
            Start::OwnKeys { others: false }
        );
    }

    #[test]
    fn the_words_of_a_start_begin_with_its_level() {
        for (start, level) in [
            (Start::Bios, "Integrity only: "),
            (Start::Unchecked, "Integrity only: "),
            (Start::StockKeys, "Level 1: "),
            (Start::OwnKeys { others: true }, "Level 2: "),
            (Start::OwnKeys { others: false }, "Level 2: "),
        ] {
            assert!(start.words().starts_with(level), "{start:?}");
        }
    }

    #[test]
    fn keys_that_are_cut_short_or_lie_about_their_size_are_left_out() {
        let whole = list(X509, b"builder");
        for end in 0..whole.len() {
            assert!(signature_list(&whole[..end]).is_none());
        }
        let mut lying = whole.clone();
        for at in 16..28 {
            for value in [0, 1, 27, 0x7f, 0xff] {
                lying[at] = value;
                let _ = signature_list(&lying);
            }
            lying[at] = whole[at];
        }
    }
}
