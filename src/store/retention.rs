//! Forgetting: log entries that every peer has, tombstones that are causally stable, closed
//! incarnations. What may go is decided in `replica::retention`; here it goes, in slices short
//! enough for writers not to notice.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::collections::btree_map::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::log::{self, Origin, sqlite};
use super::shown::Changed;
use super::{Store, StoreError, lock};
use crate::replica::clock::Hlc;
use crate::replica::frontier::{Frontier, Position};
use crate::replica::retention::Retention;
use crate::replica::{Incarnation, NodeId};

/// `_tutti_trimmed`: per origin the last transaction that left the log, and what it knew.
/// `_tutti_closed`: incarnations that ended and that every peer has seen all of.
/// `_tutti_floor`: per table the highest generation of a tombstone that went; whoever inserts an
/// unknown key begins above it, because a peer may still hold that tombstone.
/// `_tutti_grave`: tombstones that were not stable when their log entry went.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS _tutti_trimmed(
  origin INTEGER PRIMARY KEY, seq INTEGER NOT NULL, hlc INTEGER NOT NULL,
  chain BLOB NOT NULL, deps BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS _tutti_closed(
  origin INTEGER PRIMARY KEY, node BLOB, seq INTEGER NOT NULL, hlc INTEGER NOT NULL,
  chain BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS _tutti_floor(
  tbl INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS _tutti_grave(
  tbl INTEGER NOT NULL, key BLOB NOT NULL, PRIMARY KEY (tbl, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _tutti_marked(node BLOB NOT NULL PRIMARY KEY);
";

/// Creates them where they are missing.
pub(super) fn create(db: &Connection) -> Result<(), StoreError> {
    Ok(db.execute_batch(TABLES)?)
}

/// The closed incarnations.
pub(super) fn load_closed(db: &Connection) -> Result<BTreeMap<Incarnation, Origin>, StoreError> {
    let mut statement = db.prepare("SELECT origin, node, seq, hlc, chain FROM _tutti_closed")?;
    let mut rows = statement.query([])?;
    let mut found = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let number = |at: usize| row.get::<_, i64>(at).map(|value| value as u64);
        let origin = Origin {
            node: row.get(1)?,
            position: Position {
                seq: number(2)?,
                chain: row.get(4)?,
            },
            hlc: Hlc(number(3)?),
            deps: BTreeMap::new(),
        };
        found.insert(number(0)?, origin);
    }
    Ok(found)
}

/// Per table the generation that an insert of an unknown key begins above.
pub(super) fn load_floors(db: &Connection) -> Result<BTreeMap<i64, u32>, StoreError> {
    let mut statement = db.prepare("SELECT tbl, generation FROM _tutti_floor")?;
    let floors = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(floors.collect::<Result<_, _>>()?)
}

/// The peers marked *needs snapshot*.
pub(super) fn load_marked(db: &Connection) -> Result<BTreeSet<NodeId>, StoreError> {
    let mut statement = db.prepare("SELECT node FROM _tutti_marked")?;
    let marked = statement.query_map([], |row| row.get(0))?;
    Ok(marked.collect::<Result<_, _>>()?)
}

/// The last transaction of an origin that left the log, its stamp, and all that it and those before
/// it named of others.
pub(super) type Base = (Position, Hlc, BTreeMap<Incarnation, u64>);

/// The last transaction of an origin that left the log.
pub(super) fn last_gone(
    db: &Connection,
    origin: Incarnation,
) -> Result<Option<Position>, StoreError> {
    let sql = "SELECT seq, chain FROM _tutti_trimmed WHERE origin = ?";
    let position = |row: &Row<'_>| {
        let seq = row.get::<_, i64>(0)? as u64;
        let chain = row.get(1)?;
        Ok(Position { seq, chain })
    };
    let mut statement = db.prepare_cached(sql)?;
    Ok(statement.query_row([sqlite(origin)], position).optional()?)
}

/// Where the log of an origin begins, if it was ever trimmed.
pub(super) fn base(db: &Connection, origin: Incarnation) -> Result<Option<Base>, StoreError> {
    let sql = "SELECT seq, hlc, chain, deps FROM _tutti_trimmed WHERE origin = ?";
    let found: Option<(i64, i64, [u8; 32], Vec<u8>)> = db
        .prepare_cached(sql)?
        .query_row([sqlite(origin)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((seq, hlc, chain, deps)) = found else {
        return Ok(None);
    };
    let deps = postcard::from_bytes(&deps)
        .map_err(|_| StoreError::Damaged("a trimmed origin's dependencies".into()))?;
    let seq = seq as u64;
    Ok(Some((Position { seq, chain }, Hlc(hlc as u64), deps)))
}

pub(super) fn save_base(db: &Connection, origin: Incarnation, at: &Base) -> Result<(), StoreError> {
    let deps = postcard::to_stdvec(&at.2).unwrap_or_default();
    db.prepare_cached(
        "REPLACE INTO _tutti_trimmed(origin, seq, hlc, chain, deps) VALUES (?, ?, ?, ?, ?)",
    )?
    .execute(params![
        sqlite(origin),
        sqlite(at.0.seq),
        sqlite(at.1.0),
        at.0.chain,
        deps
    ])?;
    Ok(())
}

/// The origins of which something left the log, each with the last that did.
pub(super) fn starts(db: &Connection) -> Result<Vec<(Incarnation, u64)>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT origin, seq FROM _tutti_trimmed UNION ALL SELECT origin, seq FROM _tutti_closed",
    )?;
    let numbers = |row: &Row<'_>| {
        let (origin, seq): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok((origin as u64, seq as u64))
    };
    let starts = statement.query_map([], numbers)?;
    Ok(starts.collect::<Result<_, _>>()?)
}

/// Refuses a reader whose place in the log is gone.
pub(super) fn reachable(db: &Connection, frontier: &Frontier) -> Result<(), StoreError> {
    for (origin, first) in starts(db)? {
        if !frontier.covers(origin, first) {
            let held = frontier.seq(origin);
            return Err(StoreError::NeedsSnapshot {
                origin,
                held,
                first,
            });
        }
    }
    Ok(())
}

/// What one [`Store::trim`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Transactions that left the log.
    pub transactions: u64,
    /// Tombstones that went.
    pub tombstones: u64,
    /// Incarnations that were folded away.
    pub incarnations: u64,
    /// Peers that were marked *needs snapshot* to keep the log within its bound.
    pub marked: Vec<NodeId>,
    /// What the log holds now, in bytes.
    pub log_bytes: u64,
}

/// What a store keeps for its peers.
pub(super) struct Kept {
    pub retention: Retention,
    bound: u64,
    /// Peers that may hold another history than is here ([`Store::may_differ`]).
    apart: BTreeSet<NodeId>,
}

impl Kept {
    pub fn new(marked: BTreeSet<NodeId>) -> Self {
        Kept {
            retention: Retention::new(marked),
            bound: u64::MAX,
            apart: BTreeSet::new(),
        }
    }
}

impl Store {
    /// Sets who is configured, here or at any peer: those known by their node id, and how many
    /// have never been met. Until this is called nothing is forgotten.
    pub fn set_peers(&self, known: BTreeSet<NodeId>, unknown: usize) {
        lock(&self.inner.kept).retention.configure(known, unknown);
    }

    /// How many bytes of log are kept for peers that are away.
    pub fn set_log_bound(&self, bytes: u64) {
        lock(&self.inner.kept).bound = bytes;
    }

    /// A peer said hello with all it holds. A marked peer that holds what was dropped after all
    /// is marked no longer. Of one that may hold another history nothing is to be taken
    /// ([`Store::is_apart`]).
    pub fn greeted(&self, node: NodeId, frontier: &Frontier) -> Result<(), StoreError> {
        let reaches = self.read(|reader| match reachable(reader.connection, frontier) {
            Ok(()) => Ok(true),
            Err(StoreError::NeedsSnapshot { .. }) => Ok(false),
            Err(error) => Err(error),
        })?;
        let apart = !reaches && self.may_differ(frontier)?;
        self.heard_all(node, frontier)?;
        let own = self.frontier();
        {
            let mut kept = lock(&self.inner.kept);
            if !apart {
                kept.apart.remove(&node);
            } else if kept.apart.insert(node) {
                tracing::warn!(
                    "node {:032x} may hold another history than this system (it was away for long, \
                     restored or copied): it takes a snapshot before anything of it is taken",
                    u128::from_be_bytes(node)
                );
            }
            kept.retention.greeted(node, frontier.clone(), &own);
        }
        match reaches {
            true => self.unmark(node),
            false => Ok(()),
        }
    }

    /// A peer holds all that left the log.
    fn unmark(&self, node: NodeId) -> Result<(), StoreError> {
        // Whoever has the writer may wait for what is kept; not the other way round.
        let marked = lock(&self.inner.kept).retention.unmark(node);
        match marked {
            true => self.forget_mark(node),
            false => Ok(()),
        }
    }

    fn forget_mark(&self, node: NodeId) -> Result<(), StoreError> {
        let writer = self.writer()?;
        let sql = "DELETE FROM _tutti_marked WHERE node = ?";
        writer.db.execute(sql, [node])?;
        Ok(())
    }

    /// Whether what a peer sends is not to be taken before it has taken a snapshot, by its last
    /// hello.
    pub fn is_apart(&self, node: NodeId) -> bool {
        lock(&self.inner.kept).apart.contains(&node)
    }

    /// A peer acknowledged.
    pub fn acknowledged(&self, node: NodeId, frontier: &Frontier) {
        let own = self.frontier();
        let retention = &mut lock(&self.inner.kept).retention;
        retention.acknowledged(node, frontier, &own);
    }

    /// Part of our history is another one now, the writer being held: what waits was taken in
    /// beside the former, and what peers hold beyond `own` is to be proven anew.
    pub(super) fn history_changed(&self, own: &Frontier) {
        lock(&self.inner.waiting).give_up();
        lock(&self.inner.kept).retention.doubt(own);
    }

    /// Who was marked while its link stood, and lacks nothing of what went, is marked no longer,
    /// nor is who is not listed any more.
    fn unmark_who_kept_up(&self) -> Result<(), StoreError> {
        let noted = self.read(|reader| load_marked(reader.connection))?;
        let (marked, back) = {
            let retention = &lock(&self.inner.kept).retention;
            (retention.marked().clone(), retention.back())
        };
        for node in noted.difference(&marked) {
            self.forget_mark(*node)?;
        }
        for (node, held) in back {
            match self.read(|reader| reachable(reader.connection, &held)) {
                Ok(()) => self.unmark(node)?,
                Err(StoreError::NeedsSnapshot { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether a peer has to take a snapshot.
    pub fn needs_snapshot(&self, node: NodeId) -> bool {
        lock(&self.inner.kept).retention.is_marked(node)
    }

    /// Forgets what may go, of the conflict inbox too, in slices between which writers have their
    /// turn. Where the log is beyond its bound after that, the peer that holds back most of it is
    /// marked.
    pub fn trim(&self) -> Result<Trimmed, StoreError> {
        let mut trimmed = Trimmed::default();
        self.bound_inbox();
        self.unmark_who_kept_up()?;
        loop {
            self.drop_what_may_go(&mut trimmed)?;
            trimmed.log_bytes = self.log_bytes()?;
            if trimmed.log_bytes <= lock(&self.inner.kept).bound {
                return Ok(trimmed);
            }
            let own = self.frontier();
            if lock(&self.inner.kept).retention.give_up_unknown() {
                continue;
            }
            let Some(node) = lock(&self.inner.kept).retention.give_up(&own) else {
                return Ok(trimmed);
            };
            let writer = self.writer()?;
            let sql = "INSERT OR IGNORE INTO _tutti_marked(node) VALUES (?)";
            writer.db.execute(sql, [node])?;
            let commit = writer.show(std::iter::empty(), &Changed::Tables(&[]));
            drop(writer);
            // The mark is on disk before anything goes that the peer still lacks.
            self.inner.sync.wait(commit, &self.inner.shown)?;
            trimmed.marked.push(node);
        }
    }

    fn log_bytes(&self) -> Result<u64, StoreError> {
        // What was counted before is counted on from.
        let (under, known, end) = {
            let writer = self.writer()?;
            let memory = &writer.memory;
            (writer.incarnation, memory.log_bytes, memory.position)
        };
        let (from, counted) = known.unwrap_or_default();
        let more = self.read(|reader| {
            let sql = "SELECT coalesce(sum(length(bytes)), 0) FROM _tutti_log \
                       WHERE position > ? AND position <= ?";
            let bytes: i64 = reader
                .connection
                .query_row(sql, [from, end], |row| row.get(0))?;
            Ok(bytes as u64)
        })?;
        let mut writer = self.writer()?;
        if writer.incarnation == under && writer.memory.log_bytes == known {
            writer.memory.log_bytes = Some((end, counted + more));
        }
        Ok(counted + more)
    }

    /// What peers hold counts only of the history that is here: where their chain hashes are ours.
    fn prove_histories(&self) -> Result<(), StoreError> {
        let unproven = lock(&self.inner.kept).retention.unproven();
        let own = self.frontier();
        let same = |db: &Connection, origin: Incarnation, theirs: Position| {
            let ours = own.0.get(&origin).copied().unwrap_or_default();
            Ok::<_, StoreError>(match theirs.seq.cmp(&ours.seq) {
                Ordering::Greater => false,
                Ordering::Equal => theirs == ours,
                Ordering::Less => log::known_chain(db, origin, theirs.seq)? == Some(theirs.chain),
            })
        };
        let proven = self.read(|reader| {
            let mut proven = Vec::new();
            for (node, origin, theirs) in unproven {
                if theirs.seq == 0 || same(reader.connection, origin, theirs)? {
                    proven.push((node, origin));
                }
            }
            Ok(proven)
        })?;
        let retention = &mut lock(&self.inner.kept).retention;
        for (node, origin) in proven {
            retention.proven(node, origin);
        }
        Ok(())
    }

    fn drop_what_may_go(&self, trimmed: &mut Trimmed) -> Result<(), StoreError> {
        self.writer()?.fold_now()?;
        self.prove_histories()?;
        // What is dropped here must be on disk at the peers, and our knowledge of it here.
        let (open, held) = (self.open_frontier(), self.frontier());
        let (mut droppable, stable, configured) = {
            let mut kept = lock(&self.inner.kept);
            let retention = &mut kept.retention;
            // What was applied since the last frame came may be what an acknowledgement waited for.
            retention.observe(&held);
            (
                retention.droppable(&open),
                retention.stable(&open),
                retention.configured().clone(),
            )
        };
        // Whoever takes the staged copy goes on from there.
        if let Some(staged) = self.staged_frontier() {
            for (origin, last) in &mut droppable {
                *last = staged.seq(*origin).min(*last);
            }
        }
        let due = self.read(|reader| {
            for (origin, last) in &droppable {
                let gone = last_gone(reader.connection, *origin)?.map_or(0, |last| last.seq);
                if gone < *last {
                    return Ok(true);
                }
            }
            Ok(false)
        })?;
        if due {
            self.note_held()?;
        }
        // The log is walked only where something of it may go.
        let mut from = due.then_some(0);
        while let Some(after) = from {
            let next = self
                .writer()?
                .trim_log(&droppable, &stable, after, trimmed)?;
            from = next;
        }
        let mut grave = (i64::MIN, Vec::new());
        while let Some(next) = self.writer()?.trim_graves(&stable, grave, trimmed)? {
            grave = next;
        }
        let us = self.node();
        self.writer()?.fold_away(&stable, us, &configured, trimmed)
    }
}

#[cfg(test)]
mod tests;
