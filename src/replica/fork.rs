//! Forks (contract 6): one incarnation with two histories, told by their chain hashes. A machine
//! whose memory was put back, or that runs twice, makes one.
//!
//! Both peers tell some of their chain hashes; the highest that agree is where the histories
//! part. The shorter one yields, of two equally long ones that with the lower chain hash: at
//! every peer the same one, so all come to hold one history. Who yields issues its own part
//! again under a fresh incarnation, so that nothing is lost and no number means two things.
//! That the longer one stays matters: transactions that depend on a number of this incarnation
//! find it in either history.

use super::frontier::Position;

/// The sequence numbers whose chain hashes are told: the last ones, then ever further apart,
/// down to 1.
pub fn probes(last: u64) -> Vec<u64> {
    let mut found = Vec::new();
    let mut step = 1;
    let mut at = last;
    while at > 0 {
        found.push(at);
        if found.len() >= 8 {
            step *= 2;
        }
        at = at.saturating_sub(step);
    }
    if found.last().is_some_and(|lowest| *lowest > 1) {
        found.push(1);
    }
    found
}

/// The highest number up to which both histories are known to be one; 0 where none is.
pub fn common(ours: &[Position], theirs: &[Position]) -> u64 {
    let agree = |ours: &&Position| theirs.contains(ours);
    ours.iter().filter(agree).map(|p| p.seq).max().unwrap_or(0)
}

/// Whether ours yields.
pub fn yields(ours: Position, theirs: Position) -> bool {
    (ours.seq, ours.chain) < (theirs.seq, theirs.chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seq: u64, chain: u8) -> Position {
        Position {
            seq,
            chain: [chain; 32],
        }
    }

    #[test]
    fn few_probes_reach_far_back() {
        let found = probes(1_000_000);
        assert!(found.len() < 32, "{}", found.len());
        assert_eq!(found[..3], [1_000_000, 999_999, 999_998]);
        assert_eq!(found.last(), Some(&1));
        assert_eq!(probes(3), vec![3, 2, 1]);
        assert!(probes(0).is_empty());
    }

    #[test]
    fn histories_part_after_the_last_hash_that_agrees() {
        let ours = [at(7, 70), at(6, 60), at(5, 5), at(4, 4)];
        let theirs = [at(9, 9), at(6, 6), at(5, 5), at(4, 4)];
        assert_eq!(common(&ours, &theirs), 5);
        assert_eq!(common(&ours[..2], &theirs), 0);
    }

    #[test]
    fn exactly_one_side_yields() {
        for (a, b) in [(at(5, 1), at(6, 0)), (at(5, 1), at(5, 2))] {
            assert!(yields(a, b) && !yields(b, a));
        }
        assert!(!yields(at(5, 1), at(5, 1)));
    }
}
