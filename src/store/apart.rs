//! Where this database and a snapshot that is to take its place hold two histories of one origin
//! (contracts 6 and 7). On a link, numbers that both logs still hold tell. A member takes a
//! snapshot because the donor's log no longer reaches back to it, so the donor remembers the chain
//! hashes of where its peers were. Where that does not tell either, the rows do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, params};

use super::log::{self, Origin, sqlite};
use super::ranges::copy;
use super::schema::Table;
use super::writer::Writer;
use super::{Store, StoreError, carry, clocks, lock, retention};
use crate::replica::clock::{Hlc, RowClock, Stamp};
use crate::replica::fork::probes;
use crate::replica::frontier::{Frontier, Position};
use crate::replica::{Incarnation, NodeId};

/// Per peer and origin, up to where it held this log when something left it, with the chain hash.
const TABLE: &str = "
CREATE TABLE IF NOT EXISTS _tutti_held(
  node BLOB NOT NULL, origin INTEGER NOT NULL, seq INTEGER NOT NULL, chain BLOB NOT NULL,
  PRIMARY KEY (node, origin)) WITHOUT ROWID;
";

/// Creates it where it is missing.
pub(super) fn create(db: &Connection) -> Result<(), StoreError> {
    Ok(db.execute_batch(TABLE)?)
}

/// What was remembered of an origin beyond `after` is of a history that was taken back.
pub(super) fn forget(db: &Connection, origin: Incarnation, after: u64) -> Result<(), StoreError> {
    let sql = "DELETE FROM _tutti_held WHERE origin = ? AND seq > ?";
    db.execute(sql, params![sqlite(origin), sqlite(after)])?;
    Ok(())
}

/// Remembers that up to these positions a node's history is the one here.
pub(super) fn remember(
    db: &Connection,
    node: NodeId,
    positions: impl Iterator<Item = (Incarnation, Position)>,
) -> Result<(), StoreError> {
    let sql = "REPLACE INTO _tutti_held(node, origin, seq, chain) VALUES (?, ?, ?, ?)";
    let mut insert = db.prepare_cached(sql)?;
    for (origin, at) in positions {
        insert.execute(params![node, sqlite(origin), sqlite(at.seq), at.chain])?;
    }
    Ok(())
}

/// The remembered positions of an origin.
fn remembered(db: &Connection, origin: Incarnation) -> Result<Vec<Position>, StoreError> {
    let sql = "SELECT seq, chain FROM _tutti_held WHERE origin = ?";
    let mut statement = db.prepare_cached(sql)?;
    let at = statement.query_map([sqlite(origin)], |row| {
        let seq = row.get::<_, i64>(0)? as u64;
        let chain = row.get(1)?;
        Ok(Position { seq, chain })
    })?;
    Ok(at.collect::<Result<_, _>>()?)
}

/// Whether a peer at `theirs`, to whom our log no longer reaches, may hold another history of an
/// origin than is here: nothing that is left tells.
pub(super) fn may_differ(db: &Connection, theirs: &Frontier) -> Result<bool, StoreError> {
    for (origin, first) in retention::starts(db)? {
        // What a peer sent itself it sent with its chain hash.
        let told = |at: &&Position| at.seq > 0 && at.seq < first && at.chain != [0; 32];
        let Some(theirs) = theirs.0.get(&origin).filter(told) else {
            continue;
        };
        let mut known = remembered(db, origin)?;
        let chain = log::known_chain(db, origin, theirs.seq)?;
        known.extend(chain.map(|chain| Position {
            seq: theirs.seq,
            chain,
        }));
        if !known.contains(theirs) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a database knows of an origin, one that was folded away included.
fn known(writer: &Writer, origin: Incarnation) -> Option<&Origin> {
    let memory = &writer.memory;
    let known = memory.origins.get(&origin);
    known.or_else(|| memory.closed.get(&origin))
}

/// Up to where a database holds an origin.
fn position(writer: &Writer, origin: Incarnation) -> Option<Position> {
    known(writer, origin).map(|known| known.position)
}

/// When the last that a database holds of an origin was written.
fn latest(writer: &Writer, origin: Incarnation) -> Hlc {
    known(writer, origin)
        .map(|known| known.hlc)
        .unwrap_or_default()
}

/// The chain hash of one transaction, as far as a database still knows it.
fn chain(writer: &Writer, origin: Incarnation, seq: u64) -> Result<Option<[u8; 32]>, StoreError> {
    if let Some(last) = position(writer, origin).filter(|last| last.seq == seq) {
        return Ok(Some(last.chain));
    }
    if let Some(chain) = log::known_chain(&writer.db, origin, seq)? {
        return Ok(Some(chain));
    }
    let mut at = remembered(&writer.db, origin)?.into_iter();
    Ok(at.find(|at| at.seq == seq).map(|at| at.chain))
}

/// What chain hashes tell of an origin in two databases.
#[derive(Default)]
struct Chains {
    /// The last transaction that the two are known to share; number 0 for none.
    shared: Position,
    /// The first that they are known not to share.
    differs: Option<u64>,
}

fn compare(
    ours: &Writer,
    theirs: &Writer,
    origin: Incarnation,
    last: u64,
) -> Result<Chains, StoreError> {
    let mut seqs = BTreeSet::from_iter(probes(last));
    for writer in [ours, theirs] {
        let at = remembered(&writer.db, origin)?.into_iter();
        let trimmed = retention::last_gone(&writer.db, origin)?;
        seqs.extend(at.chain(trimmed).map(|at| at.seq));
    }
    let mut found = Chains::default();
    for seq in seqs.into_iter().rev().filter(|seq| *seq <= last) {
        match (chain(ours, origin, seq)?, chain(theirs, origin, seq)?) {
            (Some(chain), Some(other)) if chain == other => {
                found.shared = Position { seq, chain };
                break;
            }
            (Some(_), Some(_)) => found.differs = Some(seq),
            _ => {}
        }
    }
    Ok(found)
}

/// An origin of which two databases do not hold, or may not hold, one history.
pub(super) struct Apart {
    pub origin: Incarnation,
    /// The last transaction that they are known to share; number 0 for none. Its chain hash is
    /// zero where only rows tell.
    pub shared: Position,
    /// Both hold that many, of whatever history.
    last: u64,
    /// When the last of ours and of theirs was written.
    ends: [Hlc; 2],
    /// The first transaction that they are known not to share.
    pub differs: Option<u64>,
    /// Up to where our log was trimmed.
    trimmed: u64,
}

impl Apart {
    /// Whether our log no longer holds all that is ours alone.
    pub fn is_trimmed(&self) -> bool {
        self.trimmed > self.shared.seq
    }
}

/// The origins of which two databases hold two histories. Each row that is looked at is counted.
pub(super) fn apart(
    ours: &mut Writer,
    theirs: &Writer,
    looked_at: &AtomicU64,
) -> Result<Vec<Apart>, StoreError> {
    ours.fold_now()?;
    let mut found = Vec::new();
    for (origin, mine) in &carry::frontier(ours).0 {
        let Some(other) = position(theirs, *origin).filter(|other| other != mine) else {
            continue;
        };
        let last = mine.seq.min(other.seq);
        // Of one that was folded away only rows are left.
        let trimmed = match ours.memory.origins.contains_key(origin) {
            true => retention::last_gone(&ours.db, *origin)?.map_or(0, |at| at.seq),
            false => mine.seq,
        };
        let Chains { shared, differs } = compare(ours, theirs, *origin, last)?;
        if shared.seq < last {
            found.push(Apart {
                origin: *origin,
                shared,
                last,
                ends: [latest(ours, *origin), latest(theirs, *origin)],
                differs,
                trimmed,
            });
        }
    }
    if !found.is_empty() {
        by_rows(ours, theirs, &mut found, looked_at)?;
        found.retain(|apart| apart.shared.seq < apart.last);
    }
    Ok(found)
}

/// What rows tell where chain hashes do not: one version in both databases shows that both hold its
/// transaction. One that who holds its transaction would show, shows that it does not, and so does
/// one that was written after the other history had passed its number. Two histories may have
/// stamped alike and written one value by chance: what is known to differ comes first.
fn by_rows(
    ours: &Writer,
    theirs: &Writer,
    apart: &mut [Apart],
    looked_at: &AtomicU64,
) -> Result<(), StoreError> {
    let mut told = Told::new(apart, looked_at);
    for mine in &ours.tables {
        let there = theirs.tables.iter().find(|there| there.tid == mine.tid);
        if let Some(there) = there {
            let (mine, there) = ((ours, mine.as_ref()), (theirs, there.as_ref()));
            told.by_versions(mine, there)?;
            told.by_absence(mine, there, 1)?;
            told.by_absence(there, mine, 0)?;
        }
    }
    for apart in apart {
        let Some(told) = told.of.get(&apart.origin) else {
            continue;
        };
        apart.differs = told.differs;
        let before = told
            .differs
            .map_or(apart.last, |first| first.saturating_sub(1));
        let known = told.same.range(..=before).next_back().copied().unwrap_or(0);
        if known > apart.shared.seq {
            let chain = chain(ours, apart.origin, known)?.unwrap_or_default();
            apart.shared = Position { seq: known, chain };
        }
    }
    Ok(())
}

/// A table in a database.
type At<'a> = (&'a Writer, &'a Table);

/// What rows tell of one origin.
struct Of {
    last: u64,
    ends: [Hlc; 2],
    /// Transactions of which both hold a version.
    same: BTreeSet<u64>,
    /// The first that only one of them holds.
    differs: Option<u64>,
}

struct Told<'a> {
    of: BTreeMap<Incarnation, Of>,
    looked_at: &'a AtomicU64,
}

impl<'a> Told<'a> {
    fn new(apart: &[Apart], looked_at: &'a AtomicU64) -> Self {
        let of = |apart: &Apart| Of {
            last: apart.last,
            ends: apart.ends,
            same: BTreeSet::new(),
            differs: apart.differs,
        };
        Told {
            of: apart.iter().map(|a| (a.origin, of(a))).collect(),
            looked_at,
        }
    }

    /// Whether this is a version of which both hold the transaction, or have another of its number.
    fn asked(&mut self, stamp: &Stamp) -> Option<&mut Of> {
        let of = self.of.get_mut(&stamp.origin);
        of.filter(|of| stamp.seq <= of.last)
    }

    fn same(&mut self, stamp: &Stamp) {
        if let Some(of) = self.asked(stamp) {
            of.same.insert(stamp.seq);
        }
    }

    fn differs(&mut self, stamp: &Stamp) {
        if let Some(of) = self.asked(stamp) {
            of.differs = Some(of.differs.map_or(stamp.seq, |first| first.min(stamp.seq)));
        }
    }

    fn concerns(&mut self, clock: &RowClock) -> bool {
        self.looked_at.fetch_add(1, Ordering::Relaxed);
        self.asked(&clock.row).is_some() || clock.columns.iter().any(|c| self.asked(&c.1).is_some())
    }

    /// By what rows hold in both.
    fn by_versions(&mut self, a: At<'_>, b: At<'_>) -> Result<(), StoreError> {
        clocks::each(&a.0.db, a.1.id, &[], None, |key, clock| {
            if !self.concerns(&clock) {
                return Ok(true);
            }
            let (mine, yours) = (copy(&a.0.db, a.1, &key)?, copy(&b.0.db, b.1, &key)?);
            let Some(their) = yours.clock.filter(|c| c.generation == clock.generation) else {
                return Ok(true);
            };
            if clock.row == their.row {
                self.same(&clock.row);
            }
            let cells = mine
                .content
                .iter()
                .flatten()
                .zip(yours.content.iter().flatten());
            for (column, (a, b)) in (0..).zip(cells) {
                let stamp = clock.column(column);
                if stamp != their.column(column) {
                    continue;
                }
                match a == b {
                    true => self.same(&stamp),
                    false => self.differs(&stamp),
                }
            }
            Ok(true)
        })
    }

    /// By what `b`, of the two histories the one of this number, would hold if it held the
    /// transactions of what `a` holds, and by when it ends.
    fn by_absence(&mut self, a: At<'_>, b: At<'_>, number: usize) -> Result<(), StoreError> {
        let ended = b.0.memory.floors.get(&b.1.id).copied().unwrap_or(0);
        clocks::each(&a.0.db, a.1.id, &[], None, |key, clock| {
            if self.concerns(&clock) {
                let columns = clock.columns.iter().map(|column| column.1);
                for stamp in columns.chain([clock.row]) {
                    if self
                        .asked(&stamp)
                        .is_some_and(|of| stamp.hlc > of.ends[number])
                    {
                        self.differs(&stamp);
                    }
                }
                let there = log::load_clock(&b.0.db, b.1.id, &key)?;
                for stamp in clock.beyond(there.as_ref(), ended) {
                    self.differs(&stamp);
                }
            }
            Ok(true)
        })
    }
}

impl Store {
    /// Whether a peer that holds `frontier` may hold another history of an origin than is here, of
    /// what our log no longer tells. What it wrote with that in sight must not be taken for
    /// written with ours in sight: it takes a snapshot before it delivers anything.
    pub fn may_differ(&self, frontier: &Frontier) -> Result<bool, StoreError> {
        self.read(|reader| may_differ(reader.connection, frontier))
    }

    /// Remembers up to where each peer holds the log, before any of that leaves it.
    pub(super) fn note_held(&self) -> Result<(), StoreError> {
        let held = lock(&self.inner.kept).retention.everyone();
        let mut writer = self.writer()?;
        writer.ready()?;
        let mut news = Vec::new();
        for (node, frontier) in held {
            let sql = "SELECT origin, seq FROM _tutti_held WHERE node = ?";
            let mut statement = writer.db.prepare_cached(sql)?;
            let known = statement.query_map([node], |row| {
                Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64))
            })?;
            let known: BTreeSet<(Incarnation, u64)> = known.collect::<Result<_, _>>()?;
            for (origin, at) in &frontier.0 {
                if !known.contains(&(*origin, at.seq))
                    && let Some(chain) = log::known_chain(&writer.db, *origin, at.seq)?
                {
                    let seq = at.seq;
                    news.push((node, (*origin, Position { seq, chain })));
                }
            }
        }
        if news.is_empty() {
            return Ok(());
        }
        writer.atomically(|writer| {
            for (node, at) in news {
                remember(&writer.db, node, [at].into_iter())?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
