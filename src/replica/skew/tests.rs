//! What waits for clocks to agree, and whose clock is wrong.

use super::*;
use crate::replica::change::{Body, Head, Transaction};
use crate::replica::payload::Payload;

fn on(origin: u64, seq: u64) -> Dep {
    let tag = [0; 8];
    Dep { origin, seq, tag }
}

fn transaction(origin: u64, seq: u64, hlc: u64, deps: &[(u64, u64)]) -> (Hlc, Transaction) {
    let transaction = Transaction {
        origin,
        seq,
        hlc: Hlc(hlc << 16),
        head: Head {
            node: None,
            deps: deps.iter().map(|&(origin, seq)| on(origin, seq)).collect(),
        },
        body: Body::Rows(vec![].into()),
    };
    (Hlc(hlc << 16), transaction)
}

/// Origin, number, hlc, and what it depends on.
type Told<'a> = (u64, u64, u64, &'a [(u64, u64)]);

/// The stream of one origin, as logged.
fn stream(list: &[Told<'_>]) -> Vec<Logged> {
    let mut last: BTreeMap<u64, Hlc> = BTreeMap::new();
    let one = |&(origin, seq, ms, deps): &(u64, u64, u64, &[(u64, u64)])| {
        let (hlc, transaction) = transaction(origin, seq, ms, deps);
        let previous = last.insert(origin, hlc).unwrap_or_default();
        Logged {
            origin,
            seq,
            bytes: transaction.encode(previous).into(),
            chain: None,
        }
    };
    list.iter().map(one).collect()
}

fn admit(waiting: &mut Waiting, batch: &[Logged], wall_ms: u64) -> Vec<(u64, u64)> {
    let none = Frontier::default();
    let ready = waiting.admit(batch, &none, |_| None, limit(wall_ms, BOUND_MS));
    ready.iter().map(|l| (l.origin, l.seq)).collect()
}

#[test]
fn what_is_ahead_waits_with_all_that_builds_on_it_and_the_rest_goes_on() {
    let batch = stream(&[
        (1, 1, 1_000, &[]),
        (2, 1, 1_000, &[(1, 1)]),
        (1, 2, 9_000, &[]),
        (2, 2, 1_010, &[]),
        (3, 1, 1_020, &[(1, 2)]),
        (1, 3, 9_010, &[]),
        (3, 2, 1_030, &[]),
        (2, 3, 1_040, &[]),
    ]);
    let mut waiting = Waiting::default();
    let ready = admit(&mut waiting, &batch, 1_000);
    assert_eq!(ready, vec![(1, 1), (2, 1), (2, 2), (2, 3)]);
    let ahead = waiting.ahead(|_| Some(Hlc(1_000 << 16)));
    assert_eq!((ahead[0].origin, ahead[0].seq), (1, 2));
    assert_eq!(ahead[0].hlc.millis(), 9_000);
    // Nothing is due yet; later everything is, in an order that keeps causality.
    let mut held = Frontier::default();
    for (origin, seq) in ready {
        held.0.entry(origin).or_default().seq = seq;
    }
    let at = |origin| (origin == 1).then_some(Hlc(1_000 << 16));
    let due = |waiting: &mut Waiting, ms| {
        let ready = waiting.admit(&[], &held, at, limit(ms, BOUND_MS));
        ready.iter().map(|l| (l.origin, l.seq)).collect::<Vec<_>>()
    };
    assert!(due(&mut waiting, 8_000).is_empty());
    let all = due(&mut waiting, 9_000);
    assert_eq!(all, vec![(1, 2), (1, 3), (3, 1), (3, 2)]);
    assert!(waiting.is_empty());
}

#[test]
fn what_its_origin_stamped_anew_is_forgotten() {
    let batch = stream(&[(1, 1, 9_000, &[]), (1, 2, 9_001, &[])]);
    let mut waiting = Waiting::default();
    assert!(admit(&mut waiting, &batch, 0).is_empty());
    waiting.forget(1, 0);
    assert!(waiting.is_empty() && waiting.used.memory == 0);
}

/// Memory was put back while a clock was in 2099, and the history of before went on after all:
/// a third waited for the year 2099 under a number that was here long ago.
#[test]
fn what_waits_gives_way_to_another_history_of_its_numbers() {
    let other = stream(&[(1, 1, 9_000, &[]), (1, 2, 9_001, &[])]);
    let mut waiting = Waiting::default();
    assert!(admit(&mut waiting, &other, 0).is_empty());
    let stands = stream(&[(1, 1, 100, &[]), (1, 2, 101, &[])]);
    assert_eq!(admit(&mut waiting, &stands, 0), [(1, 1), (1, 2)]);
    assert!(waiting.is_empty() && waiting.used.memory == 0);
    assert_eq!(waiting.dropped(), 1, "links bring again what built on it");
}

/// It would count as having seen the history that stands.
#[test]
fn what_builds_on_a_history_that_gives_way_goes_with_it() {
    let other = stream(&[
        (1, 1, 9_000, &[]),
        (2, 1, 9_001, &[(1, 1)]),
        (3, 1, 9_002, &[(2, 1)]),
    ]);
    let mut waiting = Waiting::default();
    assert!(admit(&mut waiting, &other, 0).is_empty());
    let stands = stream(&[(1, 1, 100, &[])]);
    assert_eq!(admit(&mut waiting, &stands, 0), [(1, 1)]);
    assert!(waiting.is_empty() && waiting.used.memory == 0);
    waiting.forget(7, u64::MAX);
}

/// What is large is stored, and stored anew whenever it comes.
#[test]
fn what_is_stored_and_comes_again_is_no_other_history() {
    #[derive(Debug)]
    struct Stored(Vec<u8>);
    impl crate::replica::payload::Source for Stored {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
            let from = offset as usize;
            buffer.copy_from_slice(&self.0[from..from + buffer.len()]);
            Ok(())
        }
    }
    let come = |ms| {
        let mut batch = stream(&[(1, 1, ms, &[])]);
        let bytes = batch[0].bytes.clone().into_held().unwrap();
        batch[0].bytes = Payload::Stored(std::sync::Arc::new(Stored(bytes)));
        batch[0].chain = Some([ms as u8; 8]);
        batch
    };
    let mut waiting = Waiting::default();
    assert!(admit(&mut waiting, &come(9_000), 0).is_empty());
    assert!(admit(&mut waiting, &come(9_000), 0).is_empty());
    assert_eq!(waiting.dropped(), 0);
    assert!(admit(&mut waiting, &come(9_001), 0).is_empty());
    assert_eq!(waiting.dropped(), 1, "another history");
}

/// One that waits as large a file, or as much memory, as may.
fn large(origin: u64, seq: u64, ms: u64) -> Logged {
    let mut logged = stream(&[(origin, 1, ms, &[])]).remove(0);
    let mut bytes = logged.bytes.into_held().unwrap();
    bytes.resize(MAX_WAITING - OVERHEAD, 0);
    logged.bytes = bytes.into();
    logged.seq = seq;
    logged
}

/// The link that brought it ended, began anew, and brought all of it again, many times a second;
/// and what others had written did not get past it.
#[test]
fn what_finds_no_room_is_left_out_with_what_builds_on_it_and_the_rest_goes_on() {
    let mut waiting = Waiting::default();
    assert!(admit(&mut waiting, &[large(1, 1, 9_000)], 0).is_empty());
    let batch = stream(&[
        (2, 1, 9_000, &[]),
        (2, 2, 9_001, &[]),
        (3, 1, 100, &[(2, 1)]),
        (4, 1, 100, &[]),
        (3, 2, 101, &[]),
    ]);
    assert_eq!(admit(&mut waiting, &batch, 0), [(4, 1)]);
    assert!(waiting.is_full());
    assert_eq!(waiting.dropped(), 0, "links go on");
    // It comes again when there is room.
    let ready = admit(&mut waiting, &[], 9_000);
    assert_eq!(ready, [(1, 1)]);
    assert!(!waiting.is_full());
    assert_eq!(waiting.dropped(), 1);
    let ready = admit(&mut waiting, &batch, 9_100);
    assert_eq!(ready, [(2, 1), (2, 2), (3, 1), (4, 1), (3, 2)]);
}

#[test]
fn what_found_no_room_comes_again_when_what_waited_is_given_up() {
    for ends in [
        |w: &mut Waiting| w.give_up(),
        |w: &mut Waiting| w.forget(1, 0),
    ] {
        let mut waiting = Waiting::default();
        assert!(admit(&mut waiting, &[large(1, 1, 9_000)], 0).is_empty());
        let more = stream(&[(2, 1, 9_000, &[])]);
        assert!(admit(&mut waiting, &more, 0).is_empty());
        assert!(waiting.is_full());
        ends(&mut waiting);
        assert!(!waiting.is_full());
        assert!(waiting.dropped() > 0);
    }
}

/// They were counted as nothing: a thousand files stayed open.
#[test]
fn files_that_wait_are_counted_by_number_and_by_size() {
    let none = Frontier::default();
    let mut waiting = Waiting::default();
    for seq in 1..=64 {
        waiting.hold(&file(seq, 300 << 10), &none);
    }
    assert!(!waiting.is_full());
    waiting.hold(&file(65, 300 << 10), &none);
    assert!(waiting.is_full());
    let mut waiting = Waiting::default();
    waiting.hold(&file(1, MAX_TRANSACTION as u64), &none);
    assert!(!waiting.is_full());
    waiting.hold(&file(2, 300 << 10), &none);
    assert!(waiting.is_full());
}

/// One of the first origin that waits in a file.
fn file(seq: u64, size: u64) -> Logged {
    Logged {
        origin: 1,
        seq,
        bytes: Payload::Stored(std::sync::Arc::new(Sized(size))),
        chain: None,
    }
}

/// A file of so many bytes that nobody reads.
#[derive(Debug)]
struct Sized(u64);

impl crate::replica::payload::Source for Sized {
    fn size(&self) -> u64 {
        self.0
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

#[test]
fn synchronization_decides_whose_clock_is_wrong() {
    let (yes, no) = (true, false);
    assert_eq!(judge(no, no, 500, BOUND_MS), Skew::Fine);
    assert_eq!(judge(no, yes, -501, BOUND_MS), Skew::WeYield);
    assert_eq!(judge(yes, no, 501, BOUND_MS), Skew::PeerYields);
    assert_eq!(judge(yes, yes, 9_999, BOUND_MS), Skew::Unclear);
    assert_eq!(judge(no, no, i64::MIN, BOUND_MS), Skew::Unclear);
}

#[test]
fn the_far_future_is_no_overflow() {
    assert_eq!(limit(u64::MAX, u64::MAX).0, u64::MAX);
    let mut waiting = Waiting::default();
    let batch = stream(&[(1, 1, (1 << 47) - 1, &[])]);
    assert!(admit(&mut waiting, &batch, 4_000_000_000_000).is_empty());
}

#[test]
fn what_builds_on_something_forgotten_is_dropped_and_told() {
    let early = limit(1_000, 500);
    let mut waiting = Waiting::default();
    let both = stream(&[(1, 1, 9_000, &[]), (2, 1, 9_001, &[(1, 1)])]);
    let nothing = Frontier::default();
    let ready = waiting.admit(&both, &nothing, |_| None, early);
    assert!(ready.is_empty() && waiting.dropped() == 0);
    waiting.forget(1, 0);
    let due = limit(9_000, 500);
    let ready = waiting.admit(&[], &nothing, |_| None, due);
    assert!(ready.is_empty(), "{ready:?}");
    assert!(waiting.is_empty() && waiting.dropped() == 2);
    let ready = waiting.admit(&both, &nothing, |_| None, due);
    assert_eq!(ready, both, "a new link brings both");
}

/// Links ended and began for ever: what had to wait for room was asked for again at once.
#[test]
fn what_finds_no_room_beside_what_waits_does_not_come_again_before_there_is_some() {
    let none = Frontier::default();
    let mut waiting = Waiting::default();
    waiting.hold(&file(1, 10 << 20), &none);
    waiting.hold(&file(2, MAX_TRANSACTION as u64 - (6 << 20)), &none);
    waiting.make_room();
    assert!(waiting.is_full());
    // Nor for what builds on it, which is small.
    let small = stream(&[(2, 1, 1_000, &[(1, 2)])]);
    assert!(waiting.finds_no_room(&small[0]));
    waiting.make_room();
    assert!(waiting.is_full());
    assert_eq!(waiting.dropped(), 0);
    waiting.forget(1, 0);
    assert!(!waiting.is_full());
    assert_eq!(waiting.dropped(), 2);
}
