//! Forks (contract 6): one incarnation with two histories, told by their chain hashes. A machine
//! whose memory was put back, or that runs twice, makes one.
//!
//! Both peers tell some of their chain hashes; the highest that agree is where the histories
//! part. The shorter one yields, of two equally long ones that with the lower chain hash. Who
//! yields issues its own part again under a fresh incarnation, with all that depends on it, so that
//! nothing is lost and no number means two things.
//!
//! Where one was trimmed beyond that point, because every peer had that, nothing tells how much
//! more of it both share: issued again, that would come back as newest. It stays, and the other
//! takes its snapshot and writes over it what its own rows hold and nothing later has overwritten.

use std::collections::BTreeSet;

use super::frontier::Position;

/// The sequence numbers whose chain hashes are told, the latest first: those of ours, and those of
/// a history that ends at `upto`, where the shorter one did when both greeted. Without these two
/// histories of different length would hardly have a number in common.
pub fn told(last: u64, upto: u64) -> Vec<u64> {
    let both = [probes(last), probes(upto.min(last))].concat();
    let distinct: BTreeSet<u64> = both.into_iter().collect();
    distinct.into_iter().rev().collect()
}

/// The last eight of a history, then ever further apart, down to 1. Those are multiples of powers
/// of two, so that histories that do not end quite alike have most of them in common.
pub fn probes(last: u64) -> Vec<u64> {
    let mut found = Vec::new();
    let mut step: u64 = 1;
    let mut at = last;
    while at > 0 {
        found.push(at);
        if found.len() >= 8 {
            step = step.saturating_mul(2);
        }
        at = (at - 1) / step * step;
    }
    if found.last().is_some_and(|lowest| *lowest > 1) {
        found.push(1);
    }
    found
}

/// Up to where a history was trimmed, because every peer had it: that part stays. The last hash
/// told is that of this place, or of number 0, before the first, where nothing was trimmed.
fn trimmed(chains: &[Position]) -> u64 {
    chains.last().map_or(0, |lowest| lowest.seq)
}

/// The highest number up to which both histories are known to be one; 0 where none is. What both
/// have trimmed was at every peer before they parted, unless a hash within it differs: peers that
/// were given up, or are on no list, are not waited for.
pub fn common(ours: &[Position], theirs: &[Position]) -> u64 {
    let agree = |ours: &&Position| theirs.contains(ours);
    let agreed = ours.iter().filter(agree).map(|p| p.seq).max().unwrap_or(0);
    let both = trimmed(ours).min(trimmed(theirs));
    let differs = |mine: &Position| {
        let mut other = theirs.iter().filter(|other| other.seq == mine.seq);
        mine.seq <= both && other.any(|other| other.chain != mine.chain)
    };
    match ours.iter().any(differs) {
        true => agreed,
        false => agreed.max(both),
    }
}

/// Whether one is a part of the other, the histories being one up to `after`.
fn is_part(ours: &[Position], theirs: &[Position], after: u64) -> bool {
    let ends = |history: &[Position]| history.first().is_none_or(|last| last.seq == after);
    ends(ours) || ends(theirs)
}

/// Whether only a snapshot helps: one of the two logs does not go back to `after`, up to where the
/// histories are known to be one.
pub fn is_gone(ours: &[Position], theirs: &[Position], after: u64) -> bool {
    !is_part(ours, theirs, after) && trimmed(ours).max(trimmed(theirs)) > after
}

/// Whether ours yields, the histories being one up to `after`: exactly one does, or none where one
/// is a part of the other. Where both are trimmed beyond `after`, `peer_is_lower` decides.
pub fn yields(ours: &[Position], theirs: &[Position], after: u64, peer_is_lower: bool) -> bool {
    if is_part(ours, theirs, after) {
        return false;
    }
    let end = |history: &[Position]| history.first().map(|last| (last.seq, last.chain));
    match (trimmed(ours) <= after, trimmed(theirs) <= after) {
        (true, true) => end(ours) < end(theirs),
        (false, false) => peer_is_lower,
        (able, _) => able,
    }
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

    /// It was placed at number 1 nearly always: all since was issued again, as newest. Either side
    /// may have gone on a little since both greeted.
    #[test]
    fn where_histories_of_different_length_part_is_known_closely() {
        for (shorter, longer) in [(1_000, 5_000), (30, 31), (777, 100_000), (1, 9)] {
            for fork in [shorter, shorter - shorter / 50, shorter / 2] {
                for more in [0, 1, 3, 7, 8, 20] {
                    let history = |last: u64, upto: u64, chain: u8| -> Vec<Position> {
                        let seqs = told(last, upto).into_iter();
                        let mut all: Vec<_> = seqs
                            .map(|seq| at(seq, if seq > fork { chain } else { 0 }))
                            .collect();
                        all.push(at(0, 0));
                        assert!(all.len() < 90 && all[0].seq == last);
                        all
                    };
                    let ours = history(shorter + more, shorter + more, 1);
                    let theirs = history(longer, shorter, 2);
                    let after = common(&ours, &theirs);
                    let back = shorter + more - fork;
                    assert!(
                        after <= fork && after + 2 * back + 8 >= fork,
                        "{shorter}+{more} {longer} {fork}: {after}"
                    );
                }
            }
        }
    }

    #[test]
    fn histories_part_after_the_last_hash_that_agrees() {
        let ours = [at(7, 70), at(6, 60), at(5, 5), at(4, 4)];
        let theirs = [at(9, 9), at(6, 6), at(5, 5), at(4, 4)];
        assert_eq!(common(&ours, &theirs), 5);
        let open = [at(9, 9), at(1, 11), at(0, 0)];
        assert_eq!(common(&ours[..2], &open), 0);
        assert_eq!(common(&ours, &[at(9, 9), at(8, 8)]), 4, "trimmed on both");
    }

    #[test]
    fn what_both_have_trimmed_is_not_one_where_a_hash_of_it_differs() {
        for (ours, theirs) in [
            ([at(6, 6), at(6, 6)], [at(6, 66), at(6, 66)]),
            ([at(7, 7), at(6, 6)], [at(8, 88), at(6, 66)]),
        ] {
            let after = common(&ours, &theirs);
            assert_eq!(after, 0);
            assert!(is_gone(&ours, &theirs, after) && is_gone(&theirs, &ours, after));
            assert!(yields(&ours, &theirs, after, true) && !yields(&theirs, &ours, after, false));
        }
    }

    #[test]
    fn exactly_one_side_yields() {
        for (a, b) in [(at(5, 1), at(6, 0)), (at(5, 1), at(5, 2))] {
            let [a, b] = [a, b].map(|last| [last, at(1, 1), at(0, 0)]);
            assert!(!is_gone(&a, &b, 1));
            for lower in [false, true] {
                assert!(yields(&a, &b, 1, lower) && !yields(&b, &a, 1, !lower));
            }
        }
        let same = [at(5, 1)];
        assert!(!yields(&same, &same, 5, true) && !is_gone(&same, &same, 5));
    }

    /// Memory put back to before what the peer's log goes back to: all since its own log begins was
    /// issued again, as newest.
    #[test]
    fn what_was_trimmed_beyond_the_parting_stays_and_the_other_takes_a_snapshot() {
        let back = [at(7, 7), at(6, 6)];
        for (ours, theirs, shared) in [
            (&[at(9, 9), at(6, 66), at(3, 3), at(0, 0)][..], &back, 0),
            (&[at(5, 5), at(3, 3), at(0, 0)], &back, 0),
            (&back, &[at(9, 9), at(8, 8)], 6),
        ] {
            let after = common(ours, theirs);
            assert_eq!(after, shared);
            assert!(is_gone(ours, theirs, after) && is_gone(theirs, ours, after));
            for lower in [false, true] {
                assert!(yields(ours, theirs, after, lower));
                assert!(!yields(theirs, ours, after, !lower));
            }
        }
    }
}
