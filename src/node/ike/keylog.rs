//! The key log of `tutti ike --key-log`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::ike::keylog::Line;

/// A file with one line for each IKE SA.
pub(super) struct KeyLog {
    file: File,
    written: Vec<Line>,
}

impl KeyLog {
    /// Appends; only its owner may read it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(path)?;
        tracing::warn!("keys of all IKE SAs go to {}", path.display());
        Ok(Self {
            file,
            written: Vec::new(),
        })
    }

    /// Writes those lines that are new.
    pub fn note(&mut self, lines: Vec<Line>) {
        for line in lines {
            if !self.written.contains(&line) {
                // In one write, as several may append to one file.
                let whole = zeroize::Zeroizing::new(format!("{}\n", *line));
                if let Err(error) = self.file.write_all(whole.as_bytes()) {
                    tracing::warn!("the key log cannot be written: {error}");
                }
                self.written.push(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn each_line_is_written_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let mut log = KeyLog::open(&path).unwrap();
        let line = |text: &str| Line::new(text.to_string());
        log.note(vec![line("one")]);
        log.note(vec![line("one"), line("two")]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
