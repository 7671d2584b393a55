//! Random histories of one row at three replicas, merged in whatever causal order they meet,
//! against an oracle that looks at all changes at once.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::replica::clock::Hlc;
use crate::replica::value::Value;

const WIDTH: u16 = 3;

/// One change, and what its writer had seen.
#[derive(Clone, Debug)]
struct Written {
    stamp: Stamp,
    change: RowChange,
    /// Per replica, how many of its changes.
    seen: [u64; 3],
}

impl Written {
    fn covers(&self, stamp: Stamp) -> bool {
        stamp.seq <= self.seen[stamp.origin as usize]
    }

    /// The columns that it writes.
    fn columns(&self) -> Vec<u16> {
        match &self.change.write {
            RowWrite::Insert(_) => (0..WIDTH).collect(),
            RowWrite::Update(cells) => cells.iter().map(|cell| cell.0).collect(),
            RowWrite::Delete => Vec::new(),
        }
    }

    fn value(&self, column: u16) -> Option<Value> {
        match &self.change.write {
            RowWrite::Insert(values) => values.get(usize::from(column)).cloned(),
            RowWrite::Update(cells) => {
                let cell = cells.iter().find(|cell| cell.0 == column);
                cell.map(|cell| cell.1.clone())
            }
            RowWrite::Delete => None,
        }
    }
}

/// The row as one replica has it, by the rules under test.
#[derive(Clone, Debug, Default)]
struct Replica {
    log: Vec<Written>,
    seen: [u64; 3],
    hlc: u64,
    clock: Option<RowClock>,
    row: Vec<Value>,
    lost: Vec<Lost>,
}

impl Replica {
    fn take(&mut self, written: &Written) {
        let (change, stamp) = (&written.change, written.stamp);
        let covers = |local: Stamp| written.covers(local);
        let decision = merge(self.clock.as_ref(), change, stamp, WIDTH, covers).unwrap();
        match &decision.outcome {
            Outcome::Keep => {}
            Outcome::Replace => {
                let columns = 0..WIDTH;
                self.row = columns.filter_map(|c| written.value(c)).collect();
            }
            Outcome::Set(columns) => {
                for column in columns {
                    self.row[usize::from(*column)] = written.value(*column).unwrap();
                }
            }
            Outcome::Delete => self.row.clear(),
        }
        self.clock = Some(decision.clock);
        self.lost.extend(decision.lost);
        self.seen[stamp.origin as usize] = stamp.seq;
        self.hlc = self.hlc.max(stamp.hlc.0);
        self.log.push(written.clone());
    }

    /// What a writer does here: `kind` and `columns` say what, where there is a choice.
    fn write(&mut self, me: usize, kind: u8, columns: u8, later: u64, value: i64) {
        let generation = self.clock.as_ref().map_or(0, |clock| clock.generation);
        let cells = (0..WIDTH).map(|column| Value::Integer(value * 10 + i64::from(column)));
        let (generation, write) = match (generation % 2 == 1, kind) {
            (false, _) => (generation + 1, RowWrite::Insert(cells.collect())),
            (true, 0) => (generation + 1, RowWrite::Delete),
            (true, _) => {
                let chosen = |cell: &(u16, Value)| columns & (1 << cell.0) != 0;
                let cells: Vec<_> = (0..WIDTH).zip(cells).filter(chosen).collect();
                if cells.is_empty() {
                    return;
                }
                (generation, RowWrite::Update(cells))
            }
        };
        self.take(&Written {
            stamp: Stamp {
                hlc: Hlc(self.hlc + later),
                origin: me as u64,
                seq: self.seen[me] + 1,
            },
            change: RowChange {
                key: vec![Value::Integer(1)],
                generation,
                write,
            },
            seen: self.seen,
        });
    }

    /// What is new of another's log, in its order.
    fn pull(&mut self, from: &Replica) {
        for written in &from.log {
            if written.stamp.seq > self.seen[written.stamp.origin as usize] {
                self.take(written);
            }
        }
    }
}

/// What must stand, by all changes there are: the highest generation, and in it of each column the
/// latest write; per column its stamp and value.
fn stands(all: &[Written]) -> (u32, BTreeMap<u16, (Stamp, Value)>) {
    let highest = all.iter().map(|written| written.change.generation).max();
    let highest = highest.unwrap_or(0);
    let mut columns = BTreeMap::new();
    for written in all.iter().filter(|w| w.change.generation == highest) {
        for column in written.columns() {
            let mine = (written.stamp, written.value(column).unwrap());
            let best: &mut (Stamp, Value) = columns.entry(column).or_insert_with(|| mine.clone());
            if mine.0 > best.0 {
                *best = mine;
            }
        }
    }
    (highest, columns)
}

/// Whether some change put this version out of the way having seen it.
fn was_seen(all: &[Written], of: &Written, column: u16) -> bool {
    all.iter().any(|other| {
        let later_life = other.change.generation > of.change.generation;
        let same_cell = other.change.generation == of.change.generation
            && matches!(other.change.write, RowWrite::Update(_))
            && other.columns().contains(&column);
        other.covers(of.stamp) && other.stamp != of.stamp && (later_life || same_cell)
    })
}

fn agree(replicas: &[Replica; 3]) {
    let all = &replicas[0].log;
    let (generation, columns) = stands(all);
    let find = |stamp: Stamp| all.iter().find(|written| written.stamp == stamp).unwrap();
    for replica in replicas {
        assert_eq!(replica.log.len(), all.len());
        assert_eq!(replica.clock, replicas[0].clock, "one record at all");
        let Some(clock) = &replica.clock else {
            continue;
        };
        assert_eq!(clock.generation, generation);
        assert_eq!(replica.row.len(), columns.len());
        for (column, (stamp, value)) in &columns {
            assert_eq!(clock.column(*column), *stamp, "column {column}");
            assert_eq!(&replica.row[usize::from(*column)], value);
        }
        // Whatever neither stands nor was put away by who had seen it is kept, here.
        for written in all {
            for column in written.columns() {
                let stands = columns
                    .get(&column)
                    .is_some_and(|(s, _)| *s == written.stamp);
                let kept = |lost: &Lost| lost.column == column && lost.loser == written.stamp;
                assert!(
                    stands || was_seen(all, written, column) || replica.lost.iter().any(kept),
                    "column {column} of {written:?} is nowhere"
                );
            }
        }
        // And what is kept lost to something that had not seen it.
        for lost in &replica.lost {
            let (winner, loser) = (find(lost.winner), find(lost.loser));
            let again = matches!(winner.change.write, RowWrite::Insert(_))
                && winner.change.generation == loser.change.generation;
            assert!(again || !winner.covers(lost.loser), "{lost:?} was seen");
            assert!(
                (winner.change.generation, lost.winner) > (loser.change.generation, lost.loser),
                "{lost:?} is the later"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn whatever_the_order_three_replicas_hold_what_an_oracle_says_and_keep_what_lost(
        steps in proptest::collection::vec((0..3_usize, 0..8_u8, 1..8_u8, 1..4_u64), 0..40)
    ) {
        let mut replicas: [Replica; 3] = Default::default();
        for (number, (me, kind, columns, later)) in steps.into_iter().enumerate() {
            match kind {
                // Some meet, one way or the other.
                6 | 7 => {
                    let from = replicas[(me + usize::from(kind) - 5) % 3].clone();
                    replicas[me].pull(&from);
                }
                kind => replicas[me].write(me, kind, columns, later, number as i64),
            }
        }
        for (me, other) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            let from = replicas[other].clone();
            replicas[me].pull(&from);
        }
        agree(&replicas);
    }
}
