//! What is written again over another database: only what that has nothing later of. Whether two
//! histories are one is not always to be told, and of what is one the other's rows may have seen
//! all: issued again as newest it would overwrite what was written with it in sight, and bring back
//! rows that were deleted. What the other's rows are later than goes to the inbox.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::StoreError;
use super::apart::Apart;
use super::capture::Row;
use super::log;
use super::ranges::copy;
use super::schema::Table;
use super::writer::Writer;
use crate::replica::Incarnation;
use crate::replica::clock::{Hlc, RowClock, Stamp};
use crate::replica::conflict::Conflict;
use crate::replica::value::{Value, encode};

/// The other database.
pub(super) struct Other<'a> {
    db: &'a Writer,
    /// Per origin the first transaction that it is known not to have, though of that number.
    differs: BTreeMap<Incarnation, u64>,
}

impl<'a> Other<'a> {
    pub fn new(db: &'a Writer, apart: &[Apart]) -> Self {
        let differs = apart.iter().filter_map(|a| Some((a.origin, a.differs?)));
        Self {
            db,
            differs: differs.collect(),
        }
    }

    /// Whether it may have had this version in sight, for all that numbers tell.
    fn may_have_seen(&self, stamp: &Stamp) -> bool {
        let memory = &self.db.memory;
        let known = memory.origins.get(&stamp.origin);
        let known = known.or_else(|| memory.closed.get(&stamp.origin));
        let differs = self.differs.get(&stamp.origin);
        known.is_some_and(|known| stamp.seq <= known.position.seq)
            && differs.is_none_or(|first| stamp.seq < *first)
    }
}

/// What the other database has of a row.
pub(super) struct There {
    clock: Option<RowClock>,
    content: Option<Row>,
    /// It may have had the row in sight, and has forgotten tombstones of generations up to this.
    ended: u32,
}

impl There {
    /// What is there of the row that has this clock here; `None`: it has no such table.
    pub fn of(
        other: &Other<'_>,
        table: &Table,
        key: &[u8],
        here: &RowClock,
    ) -> Result<Option<Self>, StoreError> {
        let db = other.db;
        let Some(table) = db.tables.iter().find(|there| there.tid == table.tid) else {
            return Ok(None);
        };
        let copy = copy(&db.db, table, key)?;
        // Whoever had the row's beginning in sight may have ended it, whatever came to it later.
        let seen = other.may_have_seen(&here.row);
        let ended = db.memory.floors.get(&table.id).copied();
        Ok(Some(Self {
            clock: copy.clock,
            content: copy.content,
            ended: ended.filter(|_| seen).unwrap_or(0),
        }))
    }

    /// Whether it is the same life of a row, which columns decide.
    pub fn is_same_life(&self, clock: &RowClock) -> bool {
        let same = |there: &RowClock| there.generation == clock.generation;
        clock.is_alive() && self.clock.as_ref().is_some_and(same)
    }

    /// Whether it is later than all of the row: another life, its end, or the end forgotten.
    pub fn is_later(&self, clock: &RowClock) -> bool {
        match &self.clock {
            None => clock.is_alive() && clock.generation < self.ended,
            Some(there) if there.generation == clock.generation => {
                !clock.is_alive() && there.row >= clock.row
            }
            Some(there) => there.generation > clock.generation,
        }
    }

    /// Whether it has nothing as late of this column, in the same life.
    pub fn lacks(&self, clock: &RowClock, column: u16) -> bool {
        let there = self.clock.as_ref();
        there.is_none_or(|there| clock.column(column) > there.column(column))
    }

    /// What it has of a column.
    pub fn value(&self, column: usize) -> Option<&Value> {
        self.content.as_ref().and_then(|row| row.get(column))
    }

    /// Its version of a column, or of the whole row where that had another life.
    fn winner(&self, clock: &RowClock, column: u16) -> Stamp {
        match &self.clock {
            Some(there) if there.generation == clock.generation => there.column(column),
            Some(there) => there.row,
            // Its end is forgotten.
            None => Stamp {
                hlc: Hlc(0),
                origin: 0,
                seq: 0,
            },
        }
    }
}

/// What of the versions that `holds` names the other database has a later version of, and another
/// value: it lost.
pub(super) fn lost(
    (db, other): (&Connection, &Other<'_>),
    table: &Table,
    key: &[u8],
    holds: impl Fn(&Stamp) -> bool,
) -> Result<Vec<Conflict>, StoreError> {
    let Some(clock) = log::load_clock(db, table.id, key)?.filter(RowClock::is_alive) else {
        return Ok(Vec::new());
    };
    let Some(there) = There::of(other, table, key, &clock)? else {
        return Ok(Vec::new());
    };
    let (same, later) = (there.is_same_life(&clock), there.is_later(&clock));
    let mut lost = Vec::new();
    let row = copy(db, table, key)?.content.unwrap_or_default();
    // A row that is a key and no more is told by that.
    let all = table.key.len() == row.len();
    let told = row
        .iter()
        .enumerate()
        .filter(|(at, _)| all || !table.key.contains(at));
    for (at, value) in told {
        let stamp = clock.column(at as u16);
        let theirs = there.value(at);
        let loses = later || (same && !there.lacks(&clock, at as u16));
        if loses && holds(&stamp) && theirs != Some(value) {
            lost.push(Conflict {
                table: table.label.clone(),
                key: key.to_vec(),
                column: table.columns[at].name.clone(),
                winner: there.winner(&clock, at as u16),
                loser: stamp,
                value: encode(std::slice::from_ref(value)),
            });
        }
    }
    Ok(lost)
}
