//! (local clocks, remote change) -> decision, per column.
//!
//! The higher generation wins whatever the clocks say; within one generation the later stamp
//! wins per column. A version that loses without having been seen by the winner is a conflict.

use super::change::{RowChange, RowWrite};
use super::clock::{RowClock, Stamp};

/// What applying a change does to the row.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The row's content stays.
    Keep,
    /// All columns are the change's.
    Replace,
    /// These columns are the change's.
    Set(Vec<u16>),
    /// The row goes.
    Delete,
}

/// Whose version lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that was here.
    Local,
    /// The one that arrived.
    Remote,
}

/// One losing version that the winner had not seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Lost {
    /// The column.
    pub column: u16,
    /// Whose it was.
    pub side: Side,
    /// What won.
    pub winner: Stamp,
    /// What lost.
    pub loser: Stamp,
}

/// A merge's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The row's clocks from now on.
    pub clock: RowClock,
    /// What happens to its content.
    pub outcome: Outcome,
    /// What goes to the conflict inbox.
    pub lost: Vec<Lost>,
}

/// Why a change cannot be merged: a peer that keeps causal order never sends one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// An update of a row that its origin cannot have had.
    #[error("an update of a row that was never inserted")]
    NoSuchRow,
    /// The generation is none that rows have after such a change.
    #[error("a change whose generation contradicts it")]
    Generation,
}

/// Merges one change, stamped `stamp`, into a row of `width` columns. `covers` tells whether the
/// arriving transaction had seen a given local version.
pub fn merge(
    local: Option<&RowClock>,
    change: &RowChange,
    stamp: Stamp,
    width: u16,
    covers: impl Fn(Stamp) -> bool,
) -> Result<Decision, MergeError> {
    if !change.has_its_generation() {
        return Err(MergeError::Generation);
    }
    let fresh = || RowClock {
        generation: change.generation,
        row: stamp,
        columns: Vec::new(),
    };
    let Some(local) = local else {
        let outcome = match change.write {
            RowWrite::Insert(_) => Outcome::Replace,
            RowWrite::Update(_) => return Err(MergeError::NoSuchRow),
            RowWrite::Delete => Outcome::Keep,
        };
        return Ok(Decision {
            clock: fresh(),
            outcome,
            lost: Vec::new(),
        });
    };
    if change.generation > local.generation {
        return newer_generation(local, change, stamp, width, covers, fresh());
    }
    if change.generation < local.generation {
        return Ok(older_generation(local, change, stamp));
    }
    Ok(match &change.write {
        RowWrite::Delete => {
            let mut clock = local.clone();
            clock.row = clock.row.max(stamp);
            Decision {
                clock,
                outcome: Outcome::Keep,
                lost: Vec::new(),
            }
        }
        RowWrite::Insert(_) => {
            // Either two peers inserted one key, or the origin wrote over a row that was parked
            // there and that nobody saw: what it held is kept in both cases.
            let mut decision = same_generation(local, 0..width, stamp, |_| false);
            if stamp > local.row {
                // Two inserts of one generation: the record is the same whichever came first.
                let clock = &decision.clock;
                let columns = (0..width).map(|c| (c, clock.column(c)));
                let columns = columns.filter(|c| c.1 != stamp).collect();
                decision.clock.row = stamp;
                decision.clock.columns = columns;
            }
            decision
        }
        RowWrite::Update(columns) => {
            same_generation(local, columns.iter().map(|c| c.0), stamp, covers)
        }
    })
}

fn newer_generation(
    local: &RowClock,
    change: &RowChange,
    stamp: Stamp,
    width: u16,
    covers: impl Fn(Stamp) -> bool,
    clock: RowClock,
) -> Result<Decision, MergeError> {
    let mut lost = Vec::new();
    if local.is_alive() {
        for column in 0..width {
            let loser = local.column(column);
            if !covers(loser) {
                lost.push(Lost {
                    column,
                    side: Side::Local,
                    winner: stamp,
                    loser,
                });
            }
        }
    }
    let outcome = match change.write {
        RowWrite::Insert(_) => Outcome::Replace,
        RowWrite::Update(_) => return Err(MergeError::NoSuchRow),
        RowWrite::Delete => Outcome::Delete,
    };
    Ok(Decision {
        clock,
        outcome,
        lost,
    })
}

fn older_generation(local: &RowClock, change: &RowChange, stamp: Stamp) -> Decision {
    let columns: Vec<u16> = match &change.write {
        RowWrite::Insert(values) => (0..values.len() as u16).collect(),
        RowWrite::Update(columns) => columns.iter().map(|c| c.0).collect(),
        RowWrite::Delete => Vec::new(),
    };
    let lost = columns.into_iter().map(|column| Lost {
        column,
        side: Side::Remote,
        winner: local.row,
        loser: stamp,
    });
    Decision {
        clock: local.clone(),
        outcome: Outcome::Keep,
        lost: lost.collect(),
    }
}

fn same_generation(
    local: &RowClock,
    columns: impl Iterator<Item = u16>,
    stamp: Stamp,
    covers: impl Fn(Stamp) -> bool,
) -> Decision {
    let mut clock = local.clone();
    let (mut set, mut lost) = (Vec::new(), Vec::new());
    for column in columns {
        let mine = local.column(column);
        let (side, winner, loser) = if stamp > mine {
            set.push(column);
            clock.set_column(column, stamp);
            (Side::Local, stamp, mine)
        } else {
            (Side::Remote, mine, stamp)
        };
        if side == Side::Remote || !covers(mine) {
            lost.push(Lost {
                column,
                side,
                winner,
                loser,
            });
        }
    }
    let outcome = if set.is_empty() {
        Outcome::Keep
    } else {
        Outcome::Set(set)
    };
    Decision {
        clock,
        outcome,
        lost,
    }
}

#[cfg(test)]
mod oracle;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::clock::Hlc;
    use crate::replica::value::Value;

    fn stamp(time: u64, origin: u64) -> Stamp {
        Stamp {
            hlc: Hlc(time),
            origin,
            seq: 1,
        }
    }

    fn change(generation: u32, write: RowWrite) -> RowChange {
        RowChange {
            key: vec![Value::Integer(1)],
            generation,
            write,
        }
    }

    fn living(time: u64) -> RowClock {
        RowClock {
            generation: 1,
            row: stamp(time, 1),
            columns: vec![],
        }
    }

    #[test]
    fn a_delete_beats_a_later_update_and_the_update_is_kept_as_a_conflict() {
        let deleted = RowClock {
            generation: 2,
            row: stamp(5, 1),
            columns: vec![],
        };
        let update = change(1, RowWrite::Update(vec![(1, Value::Integer(9))]));
        let decision = merge(Some(&deleted), &update, stamp(99, 2), 2, |_| false).unwrap();
        assert_eq!(decision.outcome, Outcome::Keep);
        assert_eq!(decision.lost.len(), 1);
        assert_eq!(decision.lost[0].side, Side::Remote);
    }

    #[test]
    fn the_later_stamp_wins_per_column() {
        let mut local = living(5);
        local.set_column(1, stamp(20, 1));
        let write = RowWrite::Update(vec![(0, Value::Integer(1)), (1, Value::Integer(2))]);
        let decision = merge(Some(&local), &change(1, write), stamp(10, 2), 2, |s| {
            s.hlc.0 <= 5
        })
        .unwrap();
        assert_eq!(decision.outcome, Outcome::Set(vec![0]));
        assert_eq!(decision.lost.len(), 1);
        assert_eq!(decision.lost[0].column, 1);
        assert_eq!(decision.clock.column(0), stamp(10, 2));
    }

    #[test]
    fn what_the_winner_had_seen_is_no_conflict() {
        let write = RowWrite::Update(vec![(0, Value::Integer(1))]);
        let decision = merge(Some(&living(5)), &change(1, write), stamp(10, 2), 2, |_| {
            true
        });
        assert!(decision.unwrap().lost.is_empty());
    }

    #[test]
    fn an_update_of_nothing_is_refused() {
        let write = RowWrite::Update(vec![(0, Value::Integer(1))]);
        let result = merge(None, &change(1, write), stamp(1, 2), 2, |_| true);
        assert_eq!(result, Err(MergeError::NoSuchRow));
    }
}
