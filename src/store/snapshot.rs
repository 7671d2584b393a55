//! Snapshots: a staged copy for a joiner, and swapping one in.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use rusqlite::Connection;

use super::writer::Writer;
use super::{Store, StoreError, lock};
use crate::replica::Incarnation;

fn io<T>(path: &Path, result: std::io::Result<T>) -> Result<T, StoreError> {
    result.map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })
}

/// A consistent copy of the replicated file; removed when dropped.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Staged {
    /// Up to `max` bytes from `offset`.
    pub fn read(&self, offset: u64, max: usize) -> Result<Vec<u8>, StoreError> {
        let mut file = io(&self.path, File::open(&self.path))?;
        io(&self.path, file.seek(SeekFrom::Start(offset)))?;
        let mut bytes = Vec::new();
        io(&self.path, file.take(max as u64).read_to_end(&mut bytes))?;
        Ok(bytes)
    }
}

/// SHA-256 of a file.
fn sha256(path: &Path) -> Result<[u8; 32], StoreError> {
    let mut file = io(path, File::open(path))?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = io(path, file.read(&mut buffer))?;
        if read == 0 {
            break;
        }
        context.update(&buffer[..read]);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    Ok(out)
}

/// Puts `incoming` in the place of a database that nobody has open.
fn replace(incoming: &Path, path: &Path) -> Result<(), StoreError> {
    for suffix in ["-wal", "-shm"] {
        let mut old = path.to_owned().into_os_string();
        old.push(suffix);
        match fs::remove_file(&old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return io(Path::new(&old), Err(error));
            }
            _ => {}
        }
    }
    io(incoming, fs::rename(incoming, path))?;
    match path.parent() {
        Some(directory) => io(directory, File::open(directory).and_then(|d| d.sync_all())),
        None => Ok(()),
    }
}

/// Removes what staged snapshots of an earlier life left behind.
pub(super) fn sweep(path: &Path) {
    let Some(entries) = path.parent().and_then(|d| fs::read_dir(d).ok()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snapshot-") && name.contains(".db") || name == "incoming.db" {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Store {
    /// Stages a copy of everything replicated, the log included, beside the database.
    pub fn stage_snapshot(&self) -> Result<Staged, StoreError> {
        let mut tag = [0; 8];
        getrandom::fill(&mut tag).map_err(|e| StoreError::Refused(e.to_string()))?;
        let name = format!("snapshot-{:016x}.db", u64::from_be_bytes(tag));
        let path = self.inner.path.with_file_name(name);
        self.read(|reader| {
            reader.connection.execute_batch("ROLLBACK")?;
            let target = path.to_string_lossy();
            let result = reader.connection.execute("VACUUM INTO ?", [&*target]);
            reader.connection.execute_batch("BEGIN")?;
            result?;
            Ok(())
        })?;
        Ok(Staged {
            size: io(&path, fs::metadata(&path))?.len(),
            sha256: sha256(&path)?,
            path,
        })
    }

    /// Where an arriving snapshot is written.
    pub fn incoming_path(&self) -> PathBuf {
        self.inner.path.with_file_name("incoming.db")
    }

    /// Writes a piece of an arriving snapshot; offset 0 starts it anew.
    pub fn write_incoming(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.incoming_path();
        let mut options = File::options();
        options.write(true).create(true).truncate(offset == 0);
        let mut file = io(&path, options.open(&path))?;
        io(&path, file.seek(SeekFrom::Start(offset)))?;
        io(&path, file.write_all(bytes))
    }

    /// Verifies an arrived snapshot and swaps it in under a fresh incarnation. What was here is
    /// kept as `backup-<milliseconds>.db` in the same directory; its path is returned.
    pub fn swap_in(
        &self,
        expected: [u8; 32],
        incarnation: Incarnation,
    ) -> Result<PathBuf, StoreError> {
        let incoming = self.incoming_path();
        if sha256(&incoming)? != expected {
            return Err(StoreError::Peer("a snapshot that arrived damaged".into()));
        }
        io(
            &incoming,
            File::open(&incoming).and_then(|file| file.sync_all()),
        )?;
        let inner = &self.inner;
        let _swap = inner
            .swap
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut writer = self.writer()?;
        lock(&inner.readers).clear();
        let clock = writer.clock.clone();
        let backup = inner.path.with_file_name(format!("backup-{}.db", clock()));
        writer
            .db
            .execute("VACUUM INTO ?", [&*backup.to_string_lossy()])?;
        // SQLite must have let go of the old file before its name is reused.
        writer.db = Connection::open_in_memory()?;
        let swapped = replace(&incoming, &inner.path);
        // Whether or not it worked: whatever is there now is opened again.
        let shown = inner.shown.clone();
        inner.sync.reset();
        *writer = Writer::open(&inner.path, inner.node, incarnation, clock, shown)?;
        swapped?;
        let migrations = lock(&inner.migrations).clone();
        let migrations: Vec<&str> = migrations.iter().map(String::as_str).collect();
        writer.migrate(&migrations)?;
        drop(writer);
        self.flush()?;
        Ok(backup)
    }
}
