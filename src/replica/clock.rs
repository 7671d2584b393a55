//! The hybrid logical clock and the clocks of a row.
//!
//! A stamp is 48 bits of milliseconds since 1970 and a 16-bit counter, so it follows wall time
//! yet never runs backwards, and a transaction is always stamped later than all it has seen.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::Incarnation;

/// A hybrid logical time: milliseconds << 16 | counter.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The next stamp after `self` and everything else seen, at `wall_ms`.
    pub fn tick(self, wall_ms: u64) -> Hlc {
        let wall = Hlc((wall_ms & 0xffff_ffff_ffff) << 16);
        if wall > self { wall } else { Hlc(self.0 + 1) }
    }

    /// Its wall-clock part, in milliseconds since 1970.
    pub fn millis(self) -> u64 {
        self.0 >> 16
    }
}

/// The version of a cell: which transaction wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// When.
    pub hlc: Hlc,
    /// By whom.
    pub origin: Incarnation,
    /// Which of its transactions.
    pub seq: u64,
}

impl Stamp {
    /// Merge order: the later clock, then the higher incarnation.
    fn order(&self) -> (Hlc, Incarnation, u64) {
        (self.hlc, self.origin, self.seq)
    }
}

impl PartialOrd for Stamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Stamp {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

/// The highest generation: about a thousand million lives. A row that has had them all can be
/// neither deleted nor inserted again, and no peer's change beyond it is taken.
pub const MAX_GENERATION: u32 = i32::MAX as u32;

/// The clocks of one row: one compact record, whatever the number of columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowClock {
    /// Odd while the row lives, even once deleted; every delete and re-insert adds one.
    pub generation: u32,
    /// Who began this generation; also the version of every column not listed below.
    pub row: Stamp,
    /// Columns written since, in column order.
    pub columns: Vec<(u16, Stamp)>,
}

impl RowClock {
    /// Whether the row lives.
    pub fn is_alive(&self) -> bool {
        self.generation % 2 == 1
    }

    /// The version of one column.
    pub fn column(&self, column: u16) -> Stamp {
        match self.columns.binary_search_by_key(&column, |c| c.0) {
            Ok(at) => self.columns[at].1,
            Err(_) => self.row,
        }
    }

    /// The versions of this row that nobody has seen whose record of it is `there`. Tombstones of
    /// generations up to `ended` have gone there.
    pub fn beyond(&self, there: Option<&RowClock>, ended: u32) -> Vec<Stamp> {
        let columns = self.columns.iter().map(|column| column.1);
        let all = std::iter::once(self.row).chain(columns);
        match there {
            // Its end would have been seen, and may be forgotten.
            None if self.generation < ended || !self.is_alive() => Vec::new(),
            None => all.collect(),
            Some(there) if self.generation > there.generation && self.generation > ended => {
                all.collect()
            }
            // A later life, or a row that came when the end of this one was forgotten.
            Some(there) if self.generation != there.generation => Vec::new(),
            Some(there) => {
                let columns = self.columns.iter();
                let later = columns.filter(|column| column.1 > there.column(column.0));
                let row = Some(self.row).filter(|row| *row > there.row);
                row.into_iter()
                    .chain(later.map(|column| column.1))
                    .collect()
            }
        }
    }

    /// Sets the version of one column.
    pub fn set_column(&mut self, column: u16, stamp: Stamp) {
        match self.columns.binary_search_by_key(&column, |c| c.0) {
            Ok(at) => self.columns[at].1 = stamp,
            Err(at) => self.columns.insert(at, (column, stamp)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_stepped_back_never_turns_time_back() {
        let first = Hlc::default().tick(2_000);
        assert_eq!(first.millis(), 2_000);
        let second = first.tick(1_000);
        assert!(second > first && second.millis() == 2_000);
        assert_eq!(second.tick(3_000).millis(), 3_000);
    }

    #[test]
    fn what_nobody_can_have_seen_who_shows_an_older_row_or_none_is_beyond() {
        let stamp = |n| Stamp {
            hlc: Hlc(n),
            origin: 1,
            seq: n,
        };
        let clock = |generation, row, columns: &[(u16, u64)]| RowClock {
            generation,
            row: stamp(row),
            columns: columns.iter().map(|c| (c.0, stamp(c.1))).collect(),
        };
        let ours = clock(3, 5, &[(1, 7), (2, 8)]);
        let beyond = |there: Option<&RowClock>, ended| {
            let found = ours.beyond(there, ended);
            found.iter().map(|stamp| stamp.seq).collect::<Vec<_>>()
        };
        assert_eq!(beyond(None, 0), [5, 7, 8]);
        assert_eq!(beyond(None, 3), [5, 7, 8], "an earlier life ended");
        assert!(
            beyond(None, 4).is_empty(),
            "it ended, and that is forgotten"
        );
        assert_eq!(beyond(Some(&clock(2, 99, &[])), 0), [5, 7, 8]);
        assert!(beyond(Some(&clock(4, 1, &[])), 0).is_empty(), "it ended");
        assert_eq!(beyond(Some(&clock(3, 5, &[(1, 7)])), 0), [8]);
        assert_eq!(beyond(Some(&clock(3, 4, &[(1, 9), (2, 9)])), 0), [5]);
        assert!(beyond(Some(&ours), 0).is_empty());
        let dead = clock(2, 9, &[]);
        assert!(dead.beyond(None, 0).is_empty());
        assert_eq!(dead.beyond(Some(&clock(1, 1, &[])), 0).len(), 1);
        let forgotten = dead.beyond(Some(&clock(1, 1, &[])), 2);
        assert!(forgotten.is_empty(), "an older row came late");
    }

    #[test]
    fn columns_default_to_the_rows_stamp() {
        let stamp = |n| Stamp {
            hlc: Hlc(n),
            origin: 1,
            seq: n,
        };
        let mut clock = RowClock {
            generation: 1,
            row: stamp(1),
            columns: vec![],
        };
        clock.set_column(3, stamp(2));
        clock.set_column(1, stamp(4));
        assert_eq!(clock.column(0), stamp(1));
        assert_eq!(clock.column(1), stamp(4));
        assert_eq!(clock.column(3), stamp(2));
    }
}
