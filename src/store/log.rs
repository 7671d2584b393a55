//! The engine's own tables: the log of every origin's transactions, origins, row clocks.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use crate::replica::change::{Body, Transaction};
use crate::replica::clock::{Hlc, RowClock};
use crate::replica::frontier::{Frontier, Position, chain};
use crate::replica::{Incarnation, NodeId};

/// `position` is the local order of application, which keeps causality; it differs between peers.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS _tutti_log(
  position INTEGER PRIMARY KEY,
  origin INTEGER NOT NULL, seq INTEGER NOT NULL, hlc INTEGER NOT NULL,
  deps BLOB NOT NULL, chain BLOB NOT NULL, body BLOB NOT NULL,
  UNIQUE (origin, seq));
CREATE TABLE IF NOT EXISTS _tutti_origin(
  origin INTEGER PRIMARY KEY, node BLOB,
  seq INTEGER NOT NULL, hlc INTEGER NOT NULL, deps BLOB NOT NULL, chain BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS _tutti_table(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS _tutti_clock(
  tbl INTEGER NOT NULL, key BLOB NOT NULL, clock BLOB NOT NULL,
  PRIMARY KEY (tbl, key)) WITHOUT ROWID;
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
    Ok(db.execute_batch(TABLES)?)
}

/// One origin as this node knows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    pub node: Option<NodeId>,
    pub position: Position,
    pub hlc: Hlc,
    /// All that the origin's last transaction had seen of others.
    pub deps: BTreeMap<Incarnation, u64>,
}

/// All origins.
pub(super) type Origins = BTreeMap<Incarnation, Origin>;

fn sqlite(value: u64) -> i64 {
    value as i64
}

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

pub(super) fn frontier(origins: &Origins) -> Frontier {
    Frontier(origins.iter().map(|(id, o)| (*id, o.position)).collect())
}

/// Logs a transaction and moves its origin on, in the database and in `origins` (a copy, kept
/// only when the commit succeeds).
pub(super) fn append(
    db: &Connection,
    origins: &mut Origins,
    transaction: &Transaction,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let origin = origins.entry(transaction.origin).or_default();
    origin.node = origin.node.or(transaction.node);
    origin.position.seq = transaction.seq;
    origin.position.chain = chain(&origin.position.chain, bytes);
    origin.hlc = transaction.hlc;
    origin.deps.extend(transaction.deps.iter().copied());
    let deps = postcard::to_stdvec(&transaction.deps).unwrap_or_default();
    db.prepare_cached(
        "INSERT INTO _tutti_log(origin, seq, hlc, deps, chain, body) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        sqlite(transaction.origin),
        sqlite(transaction.seq),
        sqlite(transaction.hlc.0),
        deps,
        origin.position.chain,
        bytes
    ])?;
    let all = postcard::to_stdvec(&origin.deps).unwrap_or_default();
    db.prepare_cached(
        "REPLACE INTO _tutti_origin(origin, node, seq, hlc, deps, chain) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        sqlite(transaction.origin),
        origin.node,
        sqlite(transaction.seq),
        sqlite(transaction.hlc.0),
        all,
        origin.position.chain
    ])?;
    Ok(())
}

/// One logged transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Who wrote it.
    pub origin: Incarnation,
    /// Its number there.
    pub seq: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The first position that a peer at `frontier` may lack.
pub(super) fn start(db: &Connection, frontier: &Frontier) -> Result<i64, StoreError> {
    let mut first = i64::MAX;
    let mut statement =
        db.prepare("SELECT min(position) FROM _tutti_log WHERE origin = ? AND seq > ?")?;
    for origin in load_origins(db)?.keys() {
        let seq = sqlite(frontier.seq(*origin));
        let lacking: Option<i64> =
            statement.query_row(params![sqlite(*origin), seq], |row| row.get(0))?;
        first = first.min(lacking.unwrap_or(i64::MAX));
        same_history(db, *origin, frontier)?;
    }
    let end: i64 = db.query_row(
        "SELECT coalesce(max(position), 0) FROM _tutti_log",
        [],
        |r| r.get(0),
    )?;
    Ok(first.min(end + 1))
}

/// Refuses a peer whose history of an origin is not a part of ours.
fn same_history(
    db: &Connection,
    origin: Incarnation,
    frontier: &Frontier,
) -> Result<(), StoreError> {
    let Some(theirs) = frontier.0.get(&origin) else {
        return Ok(());
    };
    let ours: Option<[u8; 32]> = db
        .prepare_cached("SELECT chain FROM _tutti_log WHERE origin = ? AND seq = ?")?
        .query_row(params![sqlite(origin), sqlite(theirs.seq)], |row| {
            row.get(0)
        })
        .optional()?;
    if ours.is_some_and(|ours| ours != theirs.chain) {
        return Err(StoreError::Peer(format!(
            "another history of origin {origin:016x} at {}: one side was tampered with",
            theirs.seq
        )));
    }
    Ok(())
}

pub(super) fn read_after(
    db: &Connection,
    frontier: &Frontier,
    from: i64,
    max_bytes: usize,
) -> Result<(Vec<Logged>, i64), StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT position, origin, seq, body FROM _tutti_log WHERE position >= ? ORDER BY position",
    )?;
    let mut rows = statement.query([from])?;
    let (mut found, mut next, mut size) = (Vec::new(), from, 0);
    while let Some(row) = rows.next()? {
        let (origin, seq): (i64, i64) = (row.get(1)?, row.get(2)?);
        if !frontier.covers(origin as u64, seq as u64) {
            let bytes: Vec<u8> = row.get(3)?;
            if size > 0 && size + bytes.len() > max_bytes {
                break;
            }
            size += bytes.len();
            found.push(Logged {
                origin: origin as u64,
                seq: seq as u64,
                bytes,
            });
        }
        next = row.get::<_, i64>(0)? + 1;
    }
    Ok((found, next))
}

pub(super) fn load_clock(
    db: &Connection,
    table: i64,
    key: &[u8],
) -> Result<Option<RowClock>, StoreError> {
    let bytes: Option<Vec<u8>> = db
        .prepare_cached("SELECT clock FROM _tutti_clock WHERE tbl = ? AND key = ?")?
        .query_row(params![table, key], |row| row.get(0))
        .optional()?;
    let decode = |bytes: Vec<u8>| postcard::from_bytes(&bytes);
    bytes
        .map(decode)
        .transpose()
        .map_err(|_| StoreError::Damaged("a row's clock".into()))
}

pub(super) fn save_clock(
    db: &Connection,
    table: i64,
    key: &[u8],
    clock: &RowClock,
) -> Result<(), StoreError> {
    let bytes = postcard::to_stdvec(clock).unwrap_or_default();
    db.prepare_cached("REPLACE INTO _tutti_clock(tbl, key, clock) VALUES (?, ?, ?)")?
        .execute(params![table, key, bytes])?;
    Ok(())
}

/// The transaction that this node issues next.
pub(super) fn next(
    origins: &Origins,
    told: &BTreeMap<Incarnation, u64>,
    incarnation: Incarnation,
    node: NodeId,
    hlc: Hlc,
    body: Body,
) -> Transaction {
    let seq = origins.get(&incarnation).map_or(0, |o| o.position.seq) + 1;
    let news = |(id, origin): (&Incarnation, &Origin)| {
        let seq = origin.position.seq;
        (*id != incarnation && told.get(id) != Some(&seq)).then_some((*id, seq))
    };
    Transaction {
        origin: incarnation,
        seq,
        hlc,
        node: (seq == 1).then_some(node),
        deps: origins.iter().filter_map(news).collect(),
        body,
    }
}
