//! Two members neither of whose logs goes back to what the other holds (contract 7): one of them
//! takes the other's snapshot and writes over it again, under a fresh incarnation, what its own
//! rows hold that the snapshot has not seen. As with what is issued again after a fork, that is
//! merged everywhere: nothing that still exists is lost, and what was written on both sides is
//! decided by the rules.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::apart::{Apart, apart};
use super::carry::frontier;
use super::clocks;
use super::declare::known;
use super::reissue::{CHUNK, again, size_of};
use super::schema::Table;
use super::superseded::Other;
use super::writer::Writer;
use super::{Store, StoreError, lost, shown, superseded};
use crate::replica::Incarnation;
use crate::replica::change::{Body, Dep, Head, Logged, RowChange, TableChange, Transaction};
use crate::replica::clock::{Hlc, Stamp};
use crate::replica::frontier::{Frontier, Position};
use crate::replica::schema::{DeclarationId, Kind};
use crate::replica::value::decode_key;

/// The transactions that are written over the snapshot.
struct Over<'a> {
    new: &'a mut Writer,
    /// How many rows were looked at.
    carried: &'a AtomicU64,
    /// What both hold.
    deps: Vec<Dep>,
    fresh: Incarnation,
    seq: u64,
    hlc: Hlc,
    previous: Hlc,
}

impl Over<'_> {
    fn stamp(&self) -> Stamp {
        Stamp {
            hlc: self.hlc,
            origin: self.fresh,
            seq: self.seq + 1,
        }
    }

    fn write(&mut self, body: Body) -> Result<(), StoreError> {
        let stamp = self.stamp();
        let own = self.new.memory.origins.get(&self.fresh);
        let last = own.map(|own| own.position).unwrap_or_default();
        let mut deps = std::mem::take(&mut self.deps);
        deps.push(Dep::new(self.fresh, &last));
        let transaction = Transaction {
            origin: self.fresh,
            seq: stamp.seq,
            hlc: stamp.hlc,
            head: Head {
                node: (stamp.seq == 1).then_some(self.new.node()),
                deps,
            },
            body,
        };
        let logged = Logged {
            origin: self.fresh,
            seq: stamp.seq,
            bytes: transaction.encode(self.previous).into(),
            chain: None,
        };
        self.new.apply(&[logged])?;
        self.seq = stamp.seq;
        self.previous = stamp.hlc;
        self.hlc = Hlc(stamp.hlc.0 + 1);
        Ok(())
    }
}

/// Per origin the last transaction that both hold.
fn shared(old: &Frontier, new: &Frontier) -> Vec<Dep> {
    let lower = |(origin, theirs): (&Incarnation, &Position)| {
        let ours = old.0.get(origin)?;
        let at = if ours.seq < theirs.seq { ours } else { theirs };
        Some(Dep::new(*origin, at))
    };
    new.0.iter().filter_map(lower).collect()
}

impl Store {
    /// Whether rows were carried over a snapshot since this was asked last. Nobody reads meanwhile.
    pub fn is_carrying(&self) -> bool {
        self.inner.carried.swap(0, Ordering::Relaxed) > 0
    }

    /// Writes what `old` holds beyond the snapshot at `incoming` over that, under `fresh`, the
    /// writer being held.
    pub(super) fn carry_rows(
        &self,
        old: &mut Writer,
        incoming: &Path,
        fresh: Incarnation,
    ) -> Result<(), StoreError> {
        old.fold_now()?;
        let (clock, shown) = (old.clock.clone(), shown::Shared::default());
        let mut new = Writer::open(incoming, self.inner.node, fresh, clock, shown)?;
        // Of another history the snapshot holds nothing beyond where the two part.
        let apart = apart(old, &new, &self.inner.carried)?;
        new.trust.all = true;
        let mut held = frontier(&new);
        held.0.extend(apart.iter().map(|a| (a.origin, a.shared)));
        let beyond = |stamp: &Stamp| !held.covers(stamp.origin, stamp.seq);
        let mut seen = frontier(&new);
        for apart in &apart {
            // What only rows tell is no chain hash to depend on.
            let known = Some(apart.shared).filter(|at| at.chain != [0; 32]);
            match (known, seen.0.get_mut(&apart.origin)) {
                (Some(at), Some(there)) => *there = at,
                _ => drop(seen.0.remove(&apart.origin)),
            }
        }
        let hlc = old.hlc.max(new.hlc).tick((old.clock)());
        let mut over = Over {
            deps: shared(&frontier(old), &seen),
            new: &mut new,
            carried: &self.inner.carried,
            fresh,
            seq: 0,
            hlc,
            previous: Hlc::default(),
        };
        inbox(old, &mut over, &apart, beyond)?;
        declarations(old, &mut over, beyond)?;
        rows(old, &mut over, &apart, beyond)?;
        let count = over.seq;
        new.fold_wal()?;
        tracing::warn!(
            "neither log went back to what the peer holds: its database is here now, over which \
             what this system held beyond it was written again in {count} transactions"
        );
        Ok(())
    }
}

/// Tells what lost here and perhaps was never compared at the donor. Who takes what is written over
/// the snapshot does not compare with it what both hold.
fn inbox(
    old: &Writer,
    over: &mut Over<'_>,
    apart: &[Apart],
    beyond: impl Fn(&Stamp) -> bool,
) -> Result<(), StoreError> {
    let mut news = Vec::new();
    lost::each(&old.db, |lost| {
        if !lost::is_kept(&over.new.db, &lost)? {
            news.push(lost);
        }
        Ok(())
    })?;
    for body in lost::bodies(news) {
        over.write(body)?;
    }
    let mut told = lost::Gathered::default();
    for table in &old.tables {
        later(old, table, &beyond, over.carried, |key| {
            over.carried.fetch_add(1, Ordering::Relaxed);
            let other = Other::new(over.new, apart);
            for lost in superseded::lost((&old.db, &other), table, &key, &beyond)? {
                if let Some(body) = told.add(lost) {
                    over.write(body)?;
                }
            }
            Ok(())
        })?;
    }
    told.rest().map_or(Ok(()), |body| over.write(body))
}

/// Declares, and drops, what the snapshot does not know of.
fn declarations(
    old: &Writer,
    over: &mut Over<'_>,
    beyond: impl Fn(&Stamp) -> bool,
) -> Result<(), StoreError> {
    let ours = known(&old.db)?;
    let there = known(&over.new.db)?;
    for made in &ours {
        if beyond(&made.is.stamp) && !made.sql.is_empty() {
            over.write(Body::Schema {
                sql: made.sql.clone(),
                keys: made.keys,
                id: made.is.id,
                on: made.is.on.into_iter().collect(),
            })?;
        }
    }
    let mut dropped: BTreeMap<(&str, &str), Vec<DeclarationId>> = BTreeMap::new();
    for ended in ours.iter().filter(|known| known.is.dropped) {
        let also = |other: &&super::declare::Known| other.is.id == ended.is.id;
        if !there
            .iter()
            .find(also)
            .is_some_and(|there| there.is.dropped)
        {
            let name = (ended.is.kind.word(), ended.is.name.as_str());
            dropped.entry(name).or_default().push(ended.is.id);
        }
    }
    // Parts before their tables.
    for table in [false, true] {
        for ((kind, name), on) in &dropped {
            if (*kind == Kind::Table.word()) == table {
                over.write(Body::Schema {
                    sql: format!("DROP {kind} {}", super::schema::quote(name)),
                    keys: crate::replica::schema::Keys::Natural,
                    id: 0,
                    on: on.clone(),
                })?;
            }
        }
    }
    Ok(())
}

/// How many keys are in memory at a time.
const PAGE: usize = if cfg!(test) { 3 } else { 4_096 };

/// Hands out the keys of the rows of which something is beyond the snapshot.
fn later(
    old: &Writer,
    table: &Table,
    beyond: impl Fn(&Stamp) -> bool,
    carried: &AtomicU64,
    mut each: impl FnMut(Vec<u8>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut from = Vec::new();
    loop {
        let mut keys = Vec::new();
        clocks::each(&old.db, table.id, &from, None, |key, clock| {
            carried.fetch_add(1, Ordering::Relaxed);
            if beyond(&clock.row) || clock.columns.iter().any(|column| beyond(&column.1)) {
                keys.push(key);
            }
            Ok(keys.len() < PAGE)
        })?;
        let next = keys.last().filter(|_| keys.len() == PAGE).cloned();
        keys.into_iter().try_for_each(&mut each)?;
        match next {
            // The least that comes after it.
            Some(last) => from = [&last[..], &[0]].concat(),
            None => return Ok(()),
        }
    }
}

/// Writes what rows hold, and what was deleted.
fn rows(
    old: &Writer,
    over: &mut Over<'_>,
    apart: &[Apart],
    beyond: impl Fn(&Stamp) -> bool,
) -> Result<(), StoreError> {
    for table in &old.tables {
        let (mut rows, mut size): (Vec<RowChange>, usize) = (Vec::new(), 0);
        let write = |over: &mut Over<'_>, rows: &mut Vec<RowChange>| {
            let rows = std::mem::take(rows);
            let table = table.tid;
            over.write(Body::Rows(vec![TableChange { table, rows }].into()))
        };
        later(old, table, &beyond, over.carried, |encoded| {
            let Some(key) = decode_key(&encoded) else {
                return Err(StoreError::Damaged("a row's key".into()));
            };
            over.carried.fetch_add(1, Ordering::Relaxed);
            let other = Other::new(over.new, apart);
            let from = (&old.db, Some(&other));
            let found = again(from, &beyond, table, &encoded, &key, over.stamp())?;
            let Some((_, row)) = found else {
                return Ok(());
            };
            let more = size_of(&encoded, &row);
            if size + more > CHUNK && !rows.is_empty() {
                write(over, &mut rows)?;
                size = 0;
            }
            size += more;
            rows.push(row);
            Ok(())
        })?;
        if !rows.is_empty() {
            write(over, &mut rows)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
