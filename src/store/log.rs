//! The engine's own tables: the log of every origin's transactions, and origins.
//!
//! A commit writes one row here, the log's. Row clocks, origins and the log's index follow in
//! batches (`fold`); `folded` says how far they have come.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use rusqlite::blob::ZeroBlob;
use rusqlite::{Connection, MAIN_DB, OptionalExtension, ToSql, params};

pub(super) use super::clocks::{load as load_clock, save as save_clock};
use super::snapshot::named;
use super::spill::{self, Spill};
use super::{StoreError, clocks, retention};
use crate::replica::change::{Head, Logged, Transaction, decode};
use crate::replica::clock::Hlc;
use crate::replica::frontier::{Frontier, Position, chain, tag};
use crate::replica::payload::{LARGE, Payload};
use crate::replica::{Incarnation, NodeId};

/// `position` is the local order of application, which keeps causality; it differs between peers.
/// `_tutti_index` holds some transactions' positions, from which a reader walks on.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS _tutti_log(
  position INTEGER PRIMARY KEY,
  origin INTEGER NOT NULL, seq INTEGER NOT NULL, hlc INTEGER NOT NULL,
  chain BLOB NOT NULL, bytes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS _tutti_index(
  origin INTEGER NOT NULL, seq INTEGER NOT NULL, position INTEGER NOT NULL,
  PRIMARY KEY (origin, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _tutti_origin(
  origin INTEGER PRIMARY KEY, node BLOB,
  seq INTEGER NOT NULL, hlc INTEGER NOT NULL, deps BLOB NOT NULL, chain BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS _tutti_state(
  name TEXT NOT NULL PRIMARY KEY, value ANY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _tutti_table(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, mixed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS _tutti_hidden(
  tbl INTEGER NOT NULL, key BLOB NOT NULL, row BLOB NOT NULL, reason TEXT NOT NULL,
  PRIMARY KEY (tbl, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _tutti_conflict(
  id BLOB NOT NULL PRIMARY KEY, tbl TEXT NOT NULL, key BLOB NOT NULL, col TEXT NOT NULL,
  winner BLOB NOT NULL, loser BLOB NOT NULL, hlc INTEGER NOT NULL, value BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS _tutti_conflict_time ON _tutti_conflict(hlc);
";

/// Creates them where they are missing.
pub(super) fn create(db: &Connection) -> Result<(), StoreError> {
    db.execute_batch(TABLES)?;
    clocks::create(db)
}

/// One origin as this node knows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    pub node: Option<NodeId>,
    pub position: Position,
    pub hlc: Hlc,
    /// All that the origin's last transaction had seen of others; of one that was folded away only
    /// where it had not seen all of it.
    pub deps: BTreeMap<Incarnation, u64>,
}

impl Origin {
    /// Moves on to its next transaction.
    pub fn advance(&mut self, seq: u64, hlc: Hlc, chain: [u8; 32]) {
        self.position = Position { seq, chain };
        self.hlc = hlc;
    }

    /// Learns what its next transaction says of others. An incarnation's first names all that it
    /// had seen, those that were folded away included.
    pub fn learn(&mut self, seq: u64, head: &Head, closed: &Origins) {
        self.node = self.node.or(head.node);
        if seq == 1 {
            self.deps.extend(closed.keys().map(|id| (*id, 0)));
        }
        for dep in &head.deps {
            let there = closed.get(&dep.origin).map(|closed| closed.position);
            // Of another history than was folded away here it may have seen nothing.
            let other = there.is_some_and(|at| at.seq == dep.seq && tag(&at.chain) != dep.tag);
            let seen = if other { 0 } else { dep.seq };
            self.deps.insert(dep.origin, seen);
            if let Some(at) = there {
                self.keep_lacking(dep.origin, at.seq);
            }
        }
    }

    /// Of incarnations that are folded away it keeps what it had not seen all of.
    pub fn fold_away(&mut self, closed: &Origins) {
        for (id, closed) in closed {
            self.keep_lacking(*id, closed.position.seq);
        }
    }

    fn keep_lacking(&mut self, id: Incarnation, last: u64) {
        if *self.deps.entry(id).or_default() >= last {
            self.deps.remove(&id);
        }
    }
}

/// All origins.
pub(super) type Origins = BTreeMap<Incarnation, Origin>;

pub(super) fn sqlite(value: u64) -> i64 {
    value as i64
}

/// The origins as of the folded part of the log.
pub(super) fn load_origins(db: &Connection) -> Result<Origins, StoreError> {
    let mut statement =
        db.prepare("SELECT origin, node, seq, hlc, deps, chain FROM _tutti_origin")?;
    let mut rows = statement.query([])?;
    let mut origins = Origins::new();
    while let Some(row) = rows.next()? {
        let deps: Vec<u8> = row.get(4)?;
        let seq: i64 = row.get(2)?;
        let hlc: i64 = row.get(3)?;
        let origin = Origin {
            node: row.get(1)?,
            position: Position {
                seq: seq as u64,
                chain: row.get(5)?,
            },
            hlc: Hlc(hlc as u64),
            deps: postcard::from_bytes(&deps)
                .map_err(|_| StoreError::Damaged("an origin's dependencies".into()))?,
        };
        origins.insert(row.get::<_, i64>(0)? as u64, origin);
    }
    Ok(origins)
}

/// Writes the origins down.
pub(super) fn save_origins(db: &Connection, origins: &Origins) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached(
        "REPLACE INTO _tutti_origin(origin, node, seq, hlc, deps, chain) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    for (id, origin) in origins {
        let deps = postcard::to_stdvec(&origin.deps).unwrap_or_default();
        statement.execute(params![
            sqlite(*id),
            origin.node,
            sqlite(origin.position.seq),
            sqlite(origin.hlc.0),
            deps,
            origin.position.chain
        ])?;
    }
    Ok(())
}

pub(super) fn frontier(origins: &Origins) -> Frontier {
    Frontier(origins.iter().map(|(id, o)| (*id, o.position)).collect())
}

/// Logs a transaction at `position`; returns its origin's chain hash after it.
pub(super) fn append(
    db: &Connection,
    position: i64,
    previous: &Position,
    hlc: Hlc,
    logged: &Logged,
) -> Result<[u8; 32], StoreError> {
    let large = Path::new("a large transaction");
    let chain = named(large, chain(&previous.chain, &logged.bytes))?;
    let bytes: &dyn ToSql = match &logged.bytes {
        Payload::Held(bytes) => bytes,
        // Room for it; it is written below.
        Payload::Stored(source) => &ZeroBlob(source.size()),
    };
    db.prepare_cached(
        "INSERT INTO _tutti_log(position, origin, seq, hlc, chain, bytes) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        position,
        sqlite(logged.origin),
        sqlite(logged.seq),
        sqlite(hlc.0),
        chain,
        bytes
    ])?;
    if let Payload::Stored(_) = &logged.bytes {
        let mut blob = db.blob_open(MAIN_DB, "_tutti_log", "bytes", position, false)?;
        let write = logged.bytes.each(|part| blob.write_all(part));
        named(large, write)?;
        blob.close()?;
    }
    Ok(chain)
}

/// One row of the log.
pub(super) struct Entry {
    pub position: i64,
    pub transaction: Transaction,
    pub chain: [u8; 32],
    pub size: usize,
}

/// The bytes of a large logged transaction, copied to a file.
fn copied(db: &Connection, position: i64) -> Result<Payload, StoreError> {
    let directory = spill::directory(db);
    let mut file = Spill::create(directory)?;
    let mut blob = db.blob_open(MAIN_DB, "_tutti_log", "bytes", position, true)?;
    named(directory, std::io::copy(&mut blob, &mut file))?;
    Ok(Payload::Stored(Arc::new(file)))
}

/// Hands out the log's rows beyond `after` in order, until `each` says stop.
pub(super) fn walk(
    db: &Connection,
    after: i64,
    mut each: impl FnMut(Entry) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT position, origin, seq, hlc, chain, length(bytes), \
         CASE WHEN length(bytes) < ?2 THEN bytes END \
         FROM _tutti_log WHERE position > ?1 ORDER BY position",
    )?;
    let mut rows = statement.query(params![after, LARGE as i64])?;
    while let Some(row) = rows.next()? {
        let bytes = match row.get::<_, Option<Vec<u8>>>(6)? {
            Some(bytes) => bytes.into(),
            None => copied(db, row.get(0)?)?,
        };
        let (_, head, body) =
            decode(&bytes).ok_or_else(|| StoreError::Damaged("a logged transaction".into()))?;
        let number = |at: usize| row.get::<_, i64>(at).map(|value| value as u64);
        let transaction = Transaction {
            origin: number(1)?,
            seq: number(2)?,
            hlc: Hlc(number(3)?),
            head,
            body,
        };
        let entry = Entry {
            position: row.get(0)?,
            transaction,
            chain: row.get(4)?,
            size: bytes.size() as usize,
        };
        if !each(entry)? {
            break;
        }
    }
    Ok(())
}

/// How far clocks, origins and index have come.
pub(super) fn folded(db: &Connection) -> Result<i64, StoreError> {
    let value: Option<i64> = db
        .prepare_cached("SELECT value FROM _tutti_state WHERE name = 'folded'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(value.unwrap_or(0))
}

pub(super) fn set_folded(db: &Connection, position: i64) -> Result<(), StoreError> {
    db.prepare_cached("REPLACE INTO _tutti_state(name, value) VALUES ('folded', ?)")?
        .execute([position])?;
    Ok(())
}

/// The last position of the log.
pub(super) fn end(db: &Connection) -> Result<i64, StoreError> {
    let sql = "SELECT coalesce(max(position), 0) FROM _tutti_log";
    Ok(db.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// A position from which all of `origin` from number `seq` on is found.
pub(super) fn place(db: &Connection, origin: Incarnation, seq: u64) -> Result<i64, StoreError> {
    let found: Option<i64> = db
        .prepare_cached(
            "SELECT position FROM _tutti_index WHERE origin = ? AND seq <= ? \
             ORDER BY seq DESC LIMIT 1",
        )?
        .query_row(params![sqlite(origin), sqlite(seq)], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or(0))
}

/// The first position that a peer at `frontier` may lack; `ours` is what this log holds up to
/// position `until`. What lies beyond is not on disk yet, and is read later.
pub(super) fn start(
    db: &Connection,
    ours: &Frontier,
    until: i64,
    frontier: &Frontier,
) -> Result<i64, StoreError> {
    let mut first = until + 1;
    for (origin, position) in &ours.0 {
        let theirs = frontier.seq(*origin);
        if position.seq > theirs {
            first = first.min(place(db, *origin, theirs + 1)?);
        }
        same_history(db, *origin, position, frontier)?;
    }
    Ok(first)
}

/// Refuses a peer whose history of an origin is not a part of ours.
fn same_history(
    db: &Connection,
    origin: Incarnation,
    ours: &Position,
    frontier: &Frontier,
) -> Result<(), StoreError> {
    // Of what a peer sent itself, the hash is not told.
    let told = |theirs: &&Position| theirs.chain != [0; 32];
    let Some(theirs) = frontier.0.get(&origin).filter(told) else {
        return Ok(());
    };
    let chain = if theirs.seq == ours.seq {
        Some(ours.chain)
    } else {
        known_chain(db, origin, theirs.seq)?
    };
    if chain.is_some_and(|chain| chain != theirs.chain) {
        let seq = theirs.seq;
        return Err(StoreError::Fork { origin, seq });
    }
    Ok(())
}

/// The chain hash of one logged transaction.
pub(super) fn chain_at(
    db: &Connection,
    origin: Incarnation,
    seq: u64,
) -> Result<Option<[u8; 32]>, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT chain FROM _tutti_log WHERE position >= ? AND origin = ? AND seq = ? \
             ORDER BY position LIMIT 1",
        )?
        .query_row(
            params![place(db, origin, seq)?, sqlite(origin), sqlite(seq)],
            |row| row.get(0),
        )
        .optional()?)
}

/// The chain hash of a transaction that is in the log, or was the last to leave it.
pub(super) fn known_chain(
    db: &Connection,
    origin: Incarnation,
    seq: u64,
) -> Result<Option<[u8; 32]>, StoreError> {
    if let Some(chain) = chain_at(db, origin, seq)? {
        return Ok(Some(chain));
    }
    let trimmed = retention::last_gone(db, origin)?;
    Ok(trimmed.filter(|at| at.seq == seq).map(|at| at.chain))
}

/// Transactions beyond `frontier` at positions `from` to `until`, about `max_bytes` of them, and
/// the position to go on from.
pub(super) fn read_after(
    db: &Connection,
    frontier: &Frontier,
    from: i64,
    until: i64,
    max_bytes: usize,
) -> Result<(Vec<Logged>, i64), StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT position, origin, seq, length(bytes), \
         CASE WHEN length(bytes) < ?3 THEN bytes END, chain \
         FROM _tutti_log WHERE position BETWEEN ?1 AND ?2 ORDER BY position",
    )?;
    let mut rows = statement.query(params![from, until, LARGE as i64])?;
    let (mut found, mut next, mut size) = (Vec::new(), from, 0);
    while let Some(row) = rows.next()? {
        let (origin, seq): (i64, i64) = (row.get(1)?, row.get(2)?);
        if !frontier.covers(origin as u64, seq as u64) {
            let length = row.get::<_, i64>(3)? as usize;
            if size > 0 && size + length > max_bytes {
                break;
            }
            size += length;
            let bytes = match row.get::<_, Option<Vec<u8>>>(4)? {
                Some(bytes) => bytes.into(),
                None => copied(db, row.get(0)?)?,
            };
            found.push(Logged {
                origin: origin as u64,
                seq: seq as u64,
                bytes,
                chain: Some(tag(&row.get(5)?)),
            });
        }
        next = row.get::<_, i64>(0)? + 1;
    }
    Ok((found, next))
}
