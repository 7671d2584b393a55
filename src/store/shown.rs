//! What others may look at without waiting for the writer, as of its last commit; and digests and
//! row counts, kept until their table changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::feed::Feed;
use super::schema::Table;
use crate::replica::Incarnation;
use crate::replica::frontier::{Frontier, Position};

/// How far the database has come.
#[derive(Clone, Default)]
pub(super) struct Point {
    /// Commits since the store was opened.
    pub commits: u64,
    pub frontier: Frontier,
    /// The last position of the log.
    pub position: i64,
}

/// The writer's state after its last commit.
#[derive(Default)]
pub(super) struct Shown {
    pub incarnation: Incarnation,
    pub tables: Vec<Arc<Table>>,
    /// Closed incarnations, which are no part of the frontiers below.
    pub closed: Frontier,
    /// Per table, the number of the commit that last changed it.
    versions: HashMap<String, u64>,
    latest: Point,
    /// What is known to be on disk: only this leaves the machine.
    durable: Point,
    pub feed: Feed,
}

/// Shared by the writer and its store.
pub(super) type Shared = Arc<Mutex<Shown>>;

/// Which tables a commit may have changed.
pub(super) enum Changed<'a> {
    /// Any.
    All,
    /// These; and where a constraint holds one of them, every constrained one, because rows may
    /// have been hidden or shown again.
    Tables(&'a [String]),
}

impl Shown {
    /// Everything anew, as it lies on disk; returns the commit's number.
    pub fn reset(&mut self, frontier: Frontier, position: i64) -> u64 {
        self.latest.frontier = frontier;
        self.latest.position = position;
        self.commit(&Changed::All)
    }

    /// One origin has come further.
    pub fn advance(&mut self, origin: Incarnation, at: Position, position: i64) {
        self.latest.frontier.0.insert(origin, at);
        self.latest.position = position;
    }

    /// Notes a commit and returns its number.
    pub fn commit(&mut self, changed: &Changed<'_>) -> u64 {
        self.latest.commits += 1;
        let named = |table: &Table| match changed {
            Changed::All => true,
            Changed::Tables(names) => names.contains(&table.name),
        };
        let spreads = self.tables.iter().any(|t| t.is_constrained() && named(t));
        for table in &self.tables {
            if named(table) || (spreads && table.is_constrained()) {
                match self.versions.get_mut(&table.name) {
                    Some(version) => *version = self.latest.commits,
                    None => {
                        let name = table.name.clone();
                        self.versions.insert(name, self.latest.commits);
                    }
                }
            }
        }
        let now = self.latest.commits;
        let gone = match changed {
            Changed::All => self.gone(),
            Changed::Tables(_) => Vec::new(),
        };
        let changed = self.versions.iter().filter(|(_, at)| **at == now);
        self.feed.tell(changed.map(|(name, _)| name).chain(&gone));
        now
    }

    /// The tables that are here no more.
    fn gone(&mut self) -> Vec<String> {
        let tables = &self.tables;
        let gone = |name: &String, _: &mut u64| !tables.iter().any(|table| table.name == *name);
        let gone = self.versions.extract_if(gone);
        gone.map(|(name, _)| name).collect()
    }

    /// The last commit, durable or not.
    pub fn latest(&self) -> Point {
        self.latest.clone()
    }

    /// What a sync began with is on disk.
    pub fn set_durable(&mut self, point: Point) {
        if point.commits > self.durable.commits {
            self.durable = point;
        }
    }

    /// What is on disk.
    pub fn durable(&self) -> &Point {
        &self.durable
    }

    /// The tables, each with its version.
    pub fn versioned(&self) -> Vec<(Arc<Table>, u64)> {
        let version = |table: &Arc<Table>| self.versions.get(&table.name).copied().unwrap_or(0);
        let pair = |table| (Arc::clone(table), version(table));
        self.tables.iter().map(pair).collect()
    }
}

/// Values computed from a table's rows, each with the version it was computed at.
pub(super) struct Cache<T>(Mutex<HashMap<String, (u64, T)>>);

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Cache(Mutex::default())
    }
}

impl<T: Copy> Cache<T> {
    /// The kept value, or a new one by `compute`. A commit in between makes the value newer than
    /// its version says, and it is computed once more than needed.
    pub fn value<E>(
        &self,
        table: &Table,
        version: u64,
        compute: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let kept = super::lock(&self.0).get(&table.name).copied();
        match kept {
            Some((at, value)) if at == version => Ok(value),
            _ => {
                let value = compute()?;
                super::lock(&self.0).insert(table.name.clone(), (version, value));
                Ok(value)
            }
        }
    }
}
