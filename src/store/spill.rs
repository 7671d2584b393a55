//! What is too much for memory: files without a name, gone with whoever holds them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::snapshot::{named, random};
use super::{StoreError, capture::Row};
use crate::replica::change::TableChange;
use crate::replica::payload::{Payload, Source, Window};
use crate::replica::rows::{LargeRows, Rows};
use crate::replica::value::{Value, decode, encode, encode_key};

/// How much of a transaction is held in memory before it goes to a file, in bytes.
pub(super) const HELD: usize = 8 << 20;

/// A file of our own, without a name from the moment that it is open.
fn unnamed<T>(
    directory: &Path,
    open: impl FnOnce(&Path) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let name = format!("large-{:016x}.part", u64::from_be_bytes(random()?));
    let path = directory.join(name);
    let opened = open(&path)?;
    named(&path, fs::remove_file(&path))?;
    Ok(opened)
}

/// The directory of an open database.
pub(super) fn directory(db: &Connection) -> &Path {
    let path = db.path().map(Path::new);
    path.and_then(Path::parent).unwrap_or(Path::new("."))
}

/// Bytes in a file.
#[derive(Debug)]
pub(super) struct Spill {
    file: File,
    size: u64,
}

impl Spill {
    /// An empty one.
    pub fn create(directory: &Path) -> Result<Self, StoreError> {
        let file = unnamed(directory, |path| {
            let mut options = File::options();
            named(
                path,
                options.read(true).write(true).create_new(true).open(path),
            )
        })?;
        Ok(Spill { file, size: 0 })
    }

    /// All of a file.
    pub fn of(file: File, size: u64) -> Self {
        Spill { file, size }
    }

    /// Adds bytes to the end.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.size)?;
        self.size += bytes.len() as u64;
        Ok(())
    }
}

impl Write for Spill {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Spill::write(self, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Spill {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// A few bytes before others.
#[derive(Debug)]
struct Headed {
    head: Vec<u8>,
    body: Payload,
}

impl Source for Headed {
    fn size(&self) -> u64 {
        self.head.len() as u64 + self.body.size()
    }

    fn read_at(&self, offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        let head = usize::try_from(offset).unwrap_or(usize::MAX);
        if let Some(bytes) = self.head.get(head..) {
            let some = bytes.len().min(buffer.len());
            buffer[..some].copy_from_slice(&bytes[..some]);
            buffer = &mut buffer[some..];
        }
        let offset = offset.saturating_sub(self.head.len() as u64);
        match &self.body {
            _ if buffer.is_empty() => Ok(()),
            Payload::Stored(source) => source.read_at(offset, buffer),
            Payload::Held(bytes) => {
                let found = usize::try_from(offset)
                    .ok()
                    .and_then(|from| bytes.get(from..));
                let found = found.and_then(|bytes| bytes.get(..buffer.len()));
                buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

/// `head` with large rows behind it, if `rows` are large.
pub(super) fn payload(head: Vec<u8>, rows: Option<&LargeRows>) -> Payload {
    match rows {
        Some(rows) => Payload::Stored(Arc::new(Headed {
            head,
            body: rows.bytes.clone(),
        })),
        None => head.into(),
    }
}

/// Row changes being gathered; what is too much for memory is encoded into a file.
#[derive(Default)]
pub(super) struct Gathered {
    changes: Vec<TableChange>,
    /// About how much of memory they take.
    held: usize,
    file: Option<Spill>,
    count: u64,
}

impl Gathered {
    /// In memory so far, to be added to.
    pub fn changes(&mut self) -> &mut Vec<TableChange> {
        &mut self.changes
    }

    /// So much was added to [`Gathered::changes`]; returns whether they were put away.
    pub fn added(&mut self, directory: &Path, size: usize) -> Result<bool, StoreError> {
        self.held += size;
        if self.held < HELD {
            return Ok(false);
        }
        self.put_away(directory)?;
        Ok(true)
    }

    fn put_away(&mut self, directory: &Path) -> Result<(), StoreError> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => Spill::create(directory)?,
        };
        for change in self.changes.drain(..) {
            let bytes = postcard::to_stdvec(&change).unwrap_or_default();
            named(directory, file.write(&bytes))?;
            self.count += 1;
        }
        self.held = 0;
        self.file = Some(file);
        Ok(())
    }

    /// How many bytes lie in the file.
    pub fn size(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.size)
    }

    /// All of them.
    pub fn finish(mut self, directory: &Path) -> Result<Rows, StoreError> {
        if self.file.is_none() {
            return Ok(self.changes.into());
        }
        self.put_away(directory)?;
        let file = self.file.ok_or(StoreError::Full)?;
        Ok(Rows::Large(LargeRows {
            bytes: Payload::Stored(Arc::new(file)),
            start: 0,
            count: self.count,
        }))
    }
}

/// Rows that wait for others to go: in memory, then in a file.
#[derive(Default)]
pub(super) struct Coming {
    rows: Vec<(i64, Row)>,
    held: usize,
    file: Option<Spill>,
}

impl Coming {
    /// One more, of the table with this number.
    pub fn push(&mut self, directory: &Path, table: i64, row: Row) -> Result<(), StoreError> {
        self.held += size(&row);
        self.rows.push((table, row));
        if self.held < HELD {
            return Ok(());
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => Spill::create(directory)?,
        };
        for row in self.rows.drain(..) {
            let bytes = postcard::to_stdvec(&row).unwrap_or_default();
            named(directory, file.write(&bytes))?;
        }
        self.held = 0;
        self.file = Some(file);
        Ok(())
    }

    /// Hands them all out, in order.
    pub fn each(
        self,
        mut one: impl FnMut(i64, &Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if let Some(file) = self.file {
            let size = file.size;
            let file = Payload::Stored(Arc::new(file));
            let mut window = Window::new(&file, 0);
            while window.offset() < size {
                let read = named(Path::new("a large transaction"), window.take())?;
                let (table, row): (i64, Row) =
                    read.ok_or_else(|| StoreError::Damaged("a file of our own".into()))?;
                one(table, &row)?;
            }
        }
        self.rows
            .iter()
            .try_for_each(|(table, row)| one(*table, row))
    }
}

/// About how many bytes of memory a row takes.
pub(super) fn size(row: &[Value]) -> usize {
    let one = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
        _ => 0,
    };
    std::mem::size_of_val(row) + row.iter().map(one).sum::<usize>()
}

/// The keys that a large transaction touched, each once, with its row before the first touch: a
/// database without a name.
pub(super) struct Touches(Connection);

/// One of them: its table, its key, its row before.
pub(super) type Touch = (i64, Row, Option<Row>);

impl Touches {
    pub fn create(directory: &Path) -> Result<Self, StoreError> {
        unnamed(directory, |path| {
            let db = Connection::open(path)?;
            db.execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; \
                 PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -4000; \
                 CREATE TABLE touch(\
                   tbl INTEGER NOT NULL, name BLOB NOT NULL, key BLOB NOT NULL, before BLOB, \
                   PRIMARY KEY (tbl, name)) WITHOUT ROWID; BEGIN;",
            )?;
            Ok(Touches(db))
        })
    }

    /// One more; what was noted of the same key before stands.
    pub fn add(&self, table: i64, key: &[Value], before: Option<&Row>) -> Result<(), StoreError> {
        let sql = "INSERT OR IGNORE INTO touch(tbl, name, key, before) VALUES (?, ?, ?, ?)";
        let before = before.map(|row| encode(row));
        self.0.prepare_cached(sql)?.execute(params![
            table,
            encode_key(key),
            encode(key),
            before
        ])?;
        Ok(())
    }

    /// Hands them all out, in the order of tables and keys.
    pub fn each(
        &self,
        mut one: impl FnMut(Touch) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let sql = "SELECT tbl, key, before FROM touch ORDER BY tbl, name";
        let mut statement = self.0.prepare(sql)?;
        let mut rows = statement.query([])?;
        let read = |bytes: Vec<u8>| {
            decode(&bytes).ok_or_else(|| StoreError::Damaged("a file of our own".into()))
        };
        while let Some(row) = rows.next()? {
            let before: Option<Vec<u8>> = row.get(2)?;
            one((
                row.get(0)?,
                read(row.get(1)?)?,
                before.map(read).transpose()?,
            ))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of a disk that takes nothing more.
    fn full() -> Option<Spill> {
        let file = File::options().write(true).open("/dev/full").unwrap();
        Some(Spill::of(file, 0))
    }

    #[test]
    fn a_large_transaction_on_a_full_disk_says_that_the_disk_is_full() {
        let here = Path::new("");
        let mut gathered = Gathered {
            file: full(),
            ..Gathered::default()
        };
        gathered.changes().push(TableChange {
            table: 1,
            rows: Vec::new(),
        });
        let error = gathered.added(here, HELD).unwrap_err();
        assert!(matches!(error, StoreError::Full), "{error}");
        let mut coming = Coming {
            file: full(),
            ..Coming::default()
        };
        let long: Value = "x".repeat(HELD).into();
        let error = coming.push(here, 1, vec![long]).unwrap_err();
        assert!(matches!(error, StoreError::Full), "{error}");
    }
}
