//! Transactions that are too large for one frame: read from the log in pieces, and gathered from
//! a peer in a file until they are whole.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{MAIN_DB, params};

use super::snapshot::{named, random, room};
use super::spill::Spill;
use super::{Logged, Store, StoreError, lock, retention};
use crate::replica::Incarnation;
use crate::replica::frontier::{Frontier, tag};
use crate::replica::payload::Payload;
use crate::replica::session::Large;
use crate::wire::replication;

/// A large transaction that is arriving; its file goes when it is dropped.
pub struct Partial {
    path: PathBuf,
    file: File,
    /// What it is and how much of it is held.
    pub what: replication::Partial,
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Partial {
    /// Adds a piece; pieces come in order.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let end = offset.saturating_add(bytes.len() as u64);
        if offset != self.what.held || end > self.what.total {
            return Err(StoreError::Peer(
                "a piece of a transaction that does not fit".into(),
            ));
        }
        named(&self.path, self.file.write_all_at(bytes, offset))?;
        self.what.held = end;
        Ok(())
    }
}

impl Store {
    /// As [`Store::log_after`], but what is larger than `max_bytes` is only named, as the last of
    /// what was found.
    pub fn log_batch(
        &self,
        frontier: &Frontier,
        from: i64,
        max_bytes: usize,
    ) -> Result<(Vec<Logged>, Option<Large>, i64), StoreError> {
        let until = lock(&self.inner.shown).durable().position;
        self.read(|reader| {
            retention::reachable(reader.connection, frontier)?;
            // The length of a BLOB is known without reading it.
            let mut statement = reader.connection.prepare_cached(
                "SELECT position, origin, seq, length(bytes), \
                 CASE WHEN length(bytes) <= ?3 THEN bytes END, chain \
                 FROM _tutti_log WHERE position BETWEEN ?1 AND ?2 ORDER BY position",
            )?;
            let limit = i64::try_from(max_bytes).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![from, until, limit])?;
            let (mut found, mut next, mut size) = (Vec::new(), from, 0);
            while let Some(row) = rows.next()? {
                let position: i64 = row.get(0)?;
                let origin = row.get::<_, i64>(1)? as u64;
                let seq = row.get::<_, i64>(2)? as u64;
                if frontier.covers(origin, seq) {
                    next = position + 1;
                    continue;
                }
                let Some(bytes) = row.get::<_, Option<Vec<u8>>>(4)? else {
                    let large = Large {
                        origin,
                        seq,
                        total: row.get::<_, i64>(3)? as u64,
                        chain: tag(&row.get(5)?),
                        position,
                    };
                    return Ok((found, Some(large), position + 1));
                };
                if size > 0 && size + bytes.len() > max_bytes {
                    break;
                }
                size += bytes.len();
                found.push(Logged {
                    origin,
                    seq,
                    bytes: bytes.into(),
                    chain: Some(tag(&row.get(5)?)),
                });
                next = position + 1;
            }
            Ok((found, None, next))
        })
    }

    /// Up to `max` bytes of a logged transaction from `offset`.
    pub fn log_piece(&self, large: Large, offset: u64, max: usize) -> Result<Vec<u8>, StoreError> {
        self.read(|reader| {
            let sql =
                "SELECT count(*) FROM _tutti_log WHERE position = ? AND origin = ? AND seq = ?";
            let mut statement = reader.connection.prepare_cached(sql)?;
            let key = params![large.position, large.origin as i64, large.seq as i64];
            let there: i64 = statement.query_row(key, |row| row.get(0))?;
            if there == 0 {
                return Err(StoreError::Refused(
                    "a transaction left the log while it was sent".into(),
                ));
            }
            let db = reader.connection;
            let mut blob = db.blob_open(MAIN_DB, "_tutti_log", "bytes", large.position, true)?;
            let mut bytes = Vec::new();
            let read = blob
                .seek(SeekFrom::Start(offset))
                .and_then(|_| blob.take(max as u64).read_to_end(&mut bytes));
            named(&self.inner.path, read)?;
            Ok(bytes)
        })
    }

    /// Starts gathering a large transaction. `free` is the room on the disk in bytes.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`] where it would fill the disk.
    pub fn begin_partial(
        &self,
        what: replication::Partial,
        free: u64,
    ) -> Result<Partial, StoreError> {
        // Once in the file, and once in the log.
        room("a large transaction", what.total.saturating_mul(2), free)?;
        let name = format!("large-{:016x}.part", u64::from_be_bytes(random()?));
        let path = self.inner.path.with_file_name(name);
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        let file = named(&path, options.open(&path))?;
        Ok(Partial {
            path,
            file,
            what: replication::Partial { held: 0, ..what },
        })
    }

    /// Applies a large transaction that is whole, durably, as [`Store::apply_gathering`] does;
    /// returns the frontier after it.
    pub fn apply_partial(
        &self,
        under: Incarnation,
        partial: Partial,
    ) -> Result<Frontier, StoreError> {
        let what = partial.what;
        if what.held != what.total {
            return Err(StoreError::Peer(
                "a large transaction that is not whole".into(),
            ));
        }
        let file = named(&partial.path, partial.file.try_clone())?;
        let whole = Logged {
            origin: what.origin,
            seq: what.seq,
            bytes: Payload::Stored(Arc::new(Spill::of(file, what.total))),
            chain: Some(what.chain),
        };
        Ok(self.take(Some(under), &[whole], true)?.0)
    }

    /// Keeps what a link received in part, for the next one.
    pub fn keep_partial(&self, partial: Partial) {
        *lock(&self.inner.transfers.partial) = Some(partial);
    }

    /// What an earlier link received in part.
    pub fn take_partial(&self) -> Option<Partial> {
        let partial = lock(&self.inner.transfers.partial).take()?;
        let what = partial.what;
        // It may have come another way since.
        (!self.frontier().covers(what.origin, what.seq)).then_some(partial)
    }
}
