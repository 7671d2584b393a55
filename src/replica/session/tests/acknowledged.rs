//! Small frames: what they leave out because both sides know it, and how they gather.

use super::*;

/// A run of `origin` up to `last`, as it is sent, whose tag is that of [`frontier`].
fn run(origin: u64, first: u64, last: u64) -> Run {
    Run {
        origin,
        first,
        transactions: (first..=last).map(|_| vec![1; 10]).collect(),
        chain: [last as u8; 8],
    }
}

/// Sends `runs` to a member that then holds `held`; returns what it acknowledges.
fn answer(runs: Vec<Run>, held: &[(u64, u64)]) -> Vec<Frame> {
    let mut session = member();
    session
        .handle_frame(at(1), Frame::Transactions(runs))
        .unwrap();
    let _ = actions(&mut session);
    session.handle_done(at(2), Done::Applied(frontier(held)));
    frames(&mut session, at(2))
}

fn whole(frontier: &[(u64, u64)]) -> Frame {
    let Frame::Ack {
        batches, frontier, ..
    } = ack(1, frontier)
    else {
        panic!("no acknowledgement");
    };
    Frame::Ack {
        batches,
        whole: true,
        frontier,
    }
}

#[test]
fn who_holds_what_it_was_sent_and_nothing_beyond_says_no_more_than_that() {
    assert_eq!(answer(vec![run(2, 1, 3)], &[(2, 3)]), [whole(&[])]);
    let both = vec![run(2, 1, 3), run(5, 1, 1), run(2, 4, 4)];
    assert_eq!(answer(both, &[(2, 4), (5, 1)]), [whole(&[])]);
    // What another peer brought is told.
    assert_eq!(
        answer(vec![run(2, 1, 3)], &[(2, 3), (7, 2)]),
        [whole(&[(7, 2)])]
    );
}

#[test]
fn who_holds_less_or_more_or_another_history_than_it_was_sent_tells_what() {
    // It waits for the clock, or for the disk.
    assert_eq!(answer(vec![run(2, 1, 3)], &[(2, 2)]), [ack(1, &[(2, 2)])]);
    assert_eq!(answer(vec![run(2, 1, 3)], &[]), [ack(1, &[])]);
    assert_eq!(answer(vec![run(2, 1, 3)], &[(2, 4)]), [ack(1, &[(2, 4)])]);
    let other = Run {
        chain: [9; 8],
        ..run(2, 1, 3)
    };
    assert_eq!(answer(vec![other], &[(2, 3)]), [ack(1, &[(2, 3)])]);
    // One of two is enough.
    assert_eq!(
        answer(vec![run(2, 1, 3), run(5, 1, 2)], &[(2, 3), (5, 1)]),
        [ack(1, &[(2, 3), (5, 1)])]
    );
}

/// A member that has sent its own transaction and one of another's.
fn sender() -> Session {
    let mut session = member();
    session.committed(at(1), &frontier(&[(1, 1), (3, 2)]));
    let _ = actions(&mut session);
    let done = Done::Read {
        found: vec![
            logged(1, 1, vec![7]),
            logged(3, 1, vec![8]),
            logged(3, 2, vec![9]),
        ],
        large: None,
        position: 4,
    };
    session.handle_done(at(1), done);
    let sent = frames(&mut session, at(1));
    assert!(
        matches!(sent.last(), Some(Frame::Transactions(_))),
        "{sent:?}"
    );
    session
}

#[test]
fn what_frames_ended_with_counts_as_held_only_where_the_peer_says_so() {
    let mut session = sender();
    session.handle_frame(at(2), ack(1, &[(1, 1)])).unwrap();
    assert!(session.acked().unwrap().covers(1, 1));
    assert!(!session.acked().unwrap().covers(3, 1), "it waits there");

    let mut session = sender();
    session.handle_frame(at(2), whole(&[])).unwrap();
    // With the chain hash that is here: it is this history that the peer holds.
    assert_eq!(*session.acked().unwrap(), frontier(&[(1, 1), (3, 2)]));
}

#[test]
fn what_a_peer_wrote_under_its_present_incarnation_is_sent_without_naming_it() {
    let mut session = member();
    let own = vec![run(0, 1, 2)];
    session
        .handle_frame(at(1), Frame::Transactions(own))
        .unwrap();
    let apply = actions(&mut session);
    let [Action::Apply(list)] = &apply[..] else {
        panic!("{apply:?}");
    };
    assert!(list.iter().all(|logged| logged.origin == 2));
    let bytes = |origin| Frame::Transactions(vec![run(origin, 1, 2)]).encode().len();
    assert_eq!(bytes(0), bytes(u64::MAX) - 9);
}

#[test]
fn what_is_committed_right_after_a_small_frame_goes_with_the_next_one_a_little_later() {
    let mut session = sender();
    let read = |actions: Vec<Action>| {
        let one = |action: &Action| matches!(action, Action::Read { .. });
        actions.iter().filter(|action| one(action)).count()
    };
    let _ = actions(&mut session);
    for seq in 2..9 {
        session.committed(at(1), &frontier(&[(1, seq)]));
        assert_eq!(read(actions(&mut session)), 0);
    }
    assert_eq!(session.poll_timeout(), at(1 + PACE_MS).us);
    session.handle_timeout(at(1 + PACE_MS)).unwrap();
    assert_eq!(read(actions(&mut session)), 1);
    session.handle_done(at(3), nothing_read());
    // After a pause nothing waits.
    session.committed(at(9), &frontier(&[(1, 9)]));
    assert_eq!(read(actions(&mut session)), 1);
}

#[test]
fn after_a_large_frame_nothing_waits() {
    let mut session = member();
    session.committed(at(1), &frontier(&[(1, 1)]));
    let _ = actions(&mut session);
    let done = Done::Read {
        found: vec![logged(1, 1, vec![7; 5_000])],
        large: None,
        position: 4,
    };
    session.handle_done(at(1), done);
    assert_eq!(frames(&mut session, at(1)).len(), 1);
    assert!(matches!(actions(&mut session)[..], [Action::Read { .. }]));
}

#[test]
fn transactions_that_name_ever_more_origins_are_refused() {
    let mut session = member();
    let mut refused = None;
    for origin in 10..=10 + MAX_ORIGINS as u64 {
        let now = at(origin);
        let taken = session.handle_frame(now, transactions(origin, 1, 1, 3));
        refused = taken.err();
        if refused.is_some() {
            break;
        }
        let _ = actions(&mut session);
        session.handle_done(now, Done::Applied(frontier(&[])));
    }
    assert!(
        matches!(refused, Some(SessionError::Unexpected(_))),
        "{refused:?}"
    );
}
