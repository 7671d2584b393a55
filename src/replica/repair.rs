//! Which of several copies of one row is right (contract 9).
//!
//! Two versions: the merge rules decide, as they would have when the later one arrived, also
//! where the later one is a deletion; what it takes away goes to the conflict inbox. One version
//! with two contents: the copy of the peer that wrote it, else what two of three hold, else nobody
//! knows. A row of which one peer knows nothing, not even its deletion, is put back there.

use serde::{Deserialize, Serialize};

use super::clock::{RowClock, Stamp};
use super::value::Value;
use super::{Incarnation, NodeId};

/// One peer's copy of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Copy {
    /// The row's clock; `None`: the peer has none.
    pub clock: Option<RowClock>,
    /// Its values, visible or parked; `None`: there are none.
    pub content: Option<Vec<Value>>,
}

/// What to do with one's own copy.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It stands; where the other's is wrong, the other repairs it.
    Keep,
    /// Put this in its place, and why.
    Take {
        /// The clock.
        clock: RowClock,
        /// The values.
        content: Vec<Value>,
        /// Why.
        reason: Reason,
    },
    /// It was deleted, which did not arrive here: delete it, at this version.
    Delete {
        /// The clock of the deletion.
        clock: RowClock,
    },
    /// A person has to look.
    Alarm(Unclear),
}

/// Why a copy was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was missing here.
    Missing,
    /// The other's version is later.
    Later,
    /// The peer that wrote it has another content.
    Writer,
    /// Two of three peers have another content.
    Majority,
    /// The other has deleted it.
    Deleted,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Reason::Missing => "it was missing here and was put back",
            Reason::Later => "the peer had a later version",
            Reason::Writer => "its content differed from that of the peer that wrote it",
            Reason::Majority => "its content differed from that of two other peers",
            Reason::Deleted => "the peer had deleted it; what it held is in the conflict inbox",
        })
    }
}

/// Why no copy is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unclear {
    /// One version, two contents, and nobody to decide.
    Content,
}

impl std::fmt::Display for Unclear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Unclear::Content => {
                "peers hold different contents of one version and none of them wrote it; \
                 write the right content anew"
            }
        })
    }
}

/// Decides about `ours`, the copy of node `us`, by the copies of others. `writer` tells which
/// node an incarnation belonged to.
pub fn decide(
    us: NodeId,
    ours: &Copy,
    others: &[(NodeId, Copy)],
    writer: impl Fn(Incarnation) -> Option<NodeId>,
) -> Verdict {
    let Some((_, theirs)) = others.first() else {
        return Verdict::Keep;
    };
    let alive = |copy: &Copy| copy.clock.as_ref().is_some_and(RowClock::is_alive);
    match (&ours.clock, &theirs.clock) {
        (_, None) => Verdict::Keep,
        (Some(mine), Some(their)) if !alive(theirs) => {
            if alive(ours) && their.generation > mine.generation {
                let clock = their.clone();
                Verdict::Delete { clock }
            } else {
                Verdict::Keep
            }
        }
        (Some(mine), Some(their)) if alive(ours) && mine == their => {
            same_version(us, ours, mine, others, writer)
        }
        (Some(mine), Some(their)) if alive(ours) && mine.generation == their.generation => {
            later_columns(ours, mine, theirs, their)
        }
        (Some(mine), Some(their)) if mine.generation > their.generation => Verdict::Keep,
        (None, Some(_)) if !alive(theirs) => Verdict::Keep,
        (mine, Some(their)) => match &theirs.content {
            None => Verdict::Keep,
            Some(content) => Verdict::Take {
                clock: their.clone(),
                content: content.clone(),
                reason: match mine {
                    None => Reason::Missing,
                    Some(_) => Reason::Later,
                },
            },
        },
    }
}

fn same_version(
    us: NodeId,
    ours: &Copy,
    clock: &RowClock,
    others: &[(NodeId, Copy)],
    writer: impl Fn(Incarnation) -> Option<NodeId>,
) -> Verdict {
    let alike = |copy: &&(NodeId, Copy)| copy.1.clock.as_ref() == Some(clock);
    let others: Vec<(NodeId, &Vec<Value>)> = others
        .iter()
        .filter(alike)
        .filter_map(|(node, copy)| Some((*node, copy.content.as_ref()?)))
        .collect();
    let Some(&(_, first)) = others.first() else {
        return Verdict::Keep;
    };
    let Some(mine) = &ours.content else {
        return Verdict::Take {
            clock: clock.clone(),
            content: first.clone(),
            reason: Reason::Missing,
        };
    };
    let mut content = mine.clone();
    let mut reason = None;
    for (column, own) in mine.iter().enumerate() {
        let theirs = |values: &Vec<Value>| values.get(column).cloned();
        let stamp: Stamp = clock.column(column as u16);
        let author = writer(stamp.origin);
        if author == Some(us) || others.iter().all(|o| o.1.get(column) == Some(own)) {
            continue;
        }
        let copy = others.iter().find(|other| Some(other.0) == author);
        let right = match copy {
            Some((_, values)) => theirs(values).map(|value| (value, Reason::Writer)),
            None => majority(own, &others, column),
        };
        let Some((value, why)) = right else {
            return Verdict::Alarm(Unclear::Content);
        };
        if value != *own {
            content[column] = value;
            reason = Some(why);
        }
    }
    match reason {
        None => Verdict::Keep,
        Some(reason) => Verdict::Take {
            clock: clock.clone(),
            content,
            reason,
        },
    }
}

/// What two of three hold; with two peers there is no majority.
fn majority(
    own: &Value,
    others: &[(NodeId, &Vec<Value>)],
    column: usize,
) -> Option<(Value, Reason)> {
    let [(_, first), (_, second), ..] = others else {
        return None;
    };
    let (first, second) = (first.get(column)?, second.get(column)?);
    if first == second || first == own {
        return Some((first.clone(), Reason::Majority));
    }
    (second == own).then(|| (second.clone(), Reason::Majority))
}

/// One generation with two clocks: each column's later version, as a merge would have it.
fn later_columns(ours: &Copy, mine: &RowClock, theirs: &Copy, their: &RowClock) -> Verdict {
    let Some(their_content) = &theirs.content else {
        return Verdict::Keep;
    };
    let own = ours.content.as_ref();
    let mut clock = RowClock {
        generation: mine.generation,
        row: mine.row.max(their.row),
        columns: Vec::new(),
    };
    let mut content = Vec::with_capacity(their_content.len());
    for (at, value) in their_content.iter().enumerate() {
        let column = at as u16;
        let (a, b) = (mine.column(column), their.column(column));
        let kept = own.and_then(|own| own.get(at)).filter(|_| a >= b);
        content.push(kept.unwrap_or(value).clone());
        if a.max(b) != clock.row {
            clock.set_column(column, a.max(b));
        }
    }
    if own == Some(&content) && clock == *mine {
        return Verdict::Keep;
    }
    Verdict::Take {
        clock,
        content,
        reason: Reason::Later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::clock::Hlc;

    const US: NodeId = [1; 16];
    const THEM: NodeId = [2; 16];
    const THIRD: NodeId = [3; 16];

    fn clock(generation: u32, time: u64, origin: u64) -> RowClock {
        RowClock {
            generation,
            row: Stamp {
                hlc: Hlc(time),
                origin,
                seq: time,
            },
            columns: vec![],
        }
    }

    fn copy(clock: RowClock, value: i64) -> Copy {
        Copy {
            clock: Some(clock),
            content: Some(vec![Value::Integer(1), Value::Integer(value)]),
        }
    }

    fn verdict(ours: &Copy, others: &[(NodeId, Copy)]) -> Verdict {
        decide(US, ours, others, |incarnation| {
            Some([incarnation as u8; 16])
        })
    }

    fn taken(verdict: Verdict) -> (i64, Reason) {
        match verdict {
            Verdict::Take {
                content, reason, ..
            } => match content[1] {
                Value::Integer(value) => (value, reason),
                _ => panic!("{content:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_writers_copy_wins_over_another_content_of_its_version() {
        let (ours, theirs) = (copy(clock(1, 5, 2), 7), copy(clock(1, 5, 2), 8));
        let result = verdict(&ours, &[(THEM, theirs.clone())]);
        assert_eq!(taken(result), (8, Reason::Writer));
        let own = [copy(clock(1, 5, 1), 7), copy(clock(1, 5, 1), 8)];
        assert_eq!(verdict(&own[0], &[(THEM, own[1].clone())]), Verdict::Keep);
    }

    #[test]
    fn two_of_three_outvote_one_and_two_alone_only_alarm() {
        let version = clock(1, 5, 9);
        let [a, b] = [7, 8].map(|value| copy(version.clone(), value));
        let unclear = Verdict::Alarm(Unclear::Content);
        assert_eq!(verdict(&a, &[(THEM, b.clone())]), unclear);
        let outvoted = verdict(&a, &[(THEM, b.clone()), (THIRD, b.clone())]);
        assert_eq!(taken(outvoted), (8, Reason::Majority));
        let agreed = verdict(&a, &[(THEM, b.clone()), (THIRD, a.clone())]);
        assert_eq!(agreed, Verdict::Keep);
        let third = copy(version, 9);
        assert_eq!(verdict(&a, &[(THEM, b), (THIRD, third)]), unclear);
    }

    #[test]
    fn absence_never_beats_presence() {
        let there = copy(clock(1, 5, 1), 7);
        let gone = Copy {
            clock: there.clock.clone(),
            content: None,
        };
        let never = Copy {
            clock: None,
            content: None,
        };
        for absent in [&gone, &never] {
            let back = verdict(absent, &[(THEM, there.clone())]);
            assert_eq!(taken(back), (7, Reason::Missing));
            assert_eq!(verdict(&there, &[(THEM, absent.clone())]), Verdict::Keep);
        }
        let dead = Copy {
            clock: Some(clock(2, 9, 1)),
            content: None,
        };
        let again = copy(clock(3, 10, 1), 8);
        let result = verdict(&dead, &[(THEM, again.clone())]);
        assert_eq!(taken(result), (8, Reason::Later));
        assert_eq!(verdict(&again, &[(THEM, dead)]), Verdict::Keep);
    }

    #[test]
    fn a_deletion_is_a_later_version_like_any_other() {
        let there = copy(clock(1, 5, 1), 7);
        let tombstone = clock(2, 3, 1);
        let dead = Copy {
            clock: Some(tombstone.clone()),
            content: None,
        };
        let delete = Verdict::Delete { clock: tombstone };
        assert_eq!(verdict(&there, &[(THEM, dead.clone())]), delete);
        assert_eq!(verdict(&dead, &[(THEM, there)]), Verdict::Keep);
    }

    #[test]
    fn of_two_versions_both_sides_come_to_the_same_row() {
        let (mut a, mut b) = (copy(clock(1, 5, 1), 7), copy(clock(1, 5, 1), 7));
        let later = |time, origin| Stamp {
            hlc: Hlc(time),
            origin,
            seq: time,
        };
        a.clock.as_mut().unwrap().set_column(1, later(8, 1));
        a.content = Some(vec![Value::Integer(1), Value::Integer(70)]);
        b.clock.as_mut().unwrap().set_column(0, later(9, 2));
        b.content = Some(vec![Value::Integer(2), Value::Integer(7)]);
        let both = [
            verdict(&a, &[(THEM, b.clone())]),
            verdict(&b, &[(US, a.clone())]),
        ];
        assert_eq!(both[0], both[1]);
        let Verdict::Take { content, .. } = &both[0] else {
            panic!("{both:?}");
        };
        assert_eq!(content, &vec![Value::Integer(2), Value::Integer(70)]);
    }
}
