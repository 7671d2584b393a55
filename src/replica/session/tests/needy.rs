//! A member whose place in the peer's log is gone.

use super::super::needy::{AGAIN_MS, STALEMATE_MS};
use super::*;

/// Something left the log that the peer lacks.
fn trimmed(apart: bool) -> Done {
    Done::Trimmed {
        origin: 99,
        first: 9,
        apart,
    }
}

/// A member that holds transactions 1 and 2 of its own, which the peer lacks, and was told that
/// it needs a snapshot; its log is read and sent.
fn needy() -> Session {
    let ours = Local {
        frontier: frontier(&[(1, 2)]),
        ..local(1)
    };
    let mut session = greeted(ours, local(2));
    assert!(matches!(actions(&mut session)[..], [Action::Read { .. }]));
    let done = Done::Read {
        found: vec![logged(1, 1, vec![7]), logged(1, 2, vec![8])],
        large: None,
        position: 3,
    };
    session.handle_done(at(0), done);
    let sent = frames(&mut session, at(0));
    assert!(matches!(sent[..], [Frame::Transactions(_)]), "{sent:?}");
    session.handle_timeout(at(PACE_MS)).unwrap();
    assert!(matches!(actions(&mut session)[..], [Action::Read { .. }]));
    session.handle_done(at(PACE_MS), nothing_read());
    let frame = Frame::NeedsSnapshot { apart: false };
    session.handle_frame(at(1), frame).unwrap();
    session
}

/// Neither log goes back to what the other side holds: one yields, and not before a third had time.
#[test]
fn of_two_that_can_deliver_nothing_the_one_with_the_higher_id_yields() {
    for (node, yields) in [([0; 16], false), ([9; 16], true)] {
        let mut session = needy();
        session.local.node = node;
        session.handle_done(at(2), trimmed(false));
        for ms in [20_000, 40_000] {
            session
                .handle_frame(at(ms), Frame::Ping { sent_us: 0 })
                .unwrap();
        }
        session.handle_timeout(at(STALEMATE_MS)).unwrap();
        let early = actions(&mut session);
        assert!(!early.contains(&Action::Claim), "{early:?}");
        session.handle_timeout(at(1 + STALEMATE_MS)).unwrap();
        let claims = actions(&mut session).contains(&Action::Claim);
        assert_eq!(claims, yields);
        if !yields {
            continue;
        }
        let now = at(2 + STALEMATE_MS);
        session.handle_done(now, Done::Claimed(true));
        let (id, size) = ([4; 16], 4);
        let begin = Frame::SnapshotBegin {
            id,
            size,
            offset: 0,
        };
        session.handle_frame(now, begin).unwrap();
        let bytes = vec![7; 4];
        let chunk = Frame::SnapshotChunk { offset: 0, bytes };
        session.handle_frame(now, chunk).unwrap();
        let digest = [6; 32];
        let end = Frame::SnapshotEnd { digest };
        session.handle_frame(now, end).unwrap();
        let swaps = |action: &Action| {
            let Action::SwapIn { swap, .. } = action else {
                return false;
            };
            *swap == Swap::Rebase
        };
        assert!(actions(&mut session).iter().any(swaps));
    }
}

#[test]
fn it_delivers_what_it_has_before_it_asks() {
    let mut session = needy();
    assert!(actions(&mut session).is_empty(), "nothing is delivered yet");
    session.handle_frame(at(2), ack(1, &[(1, 2)])).unwrap();
    assert_eq!(actions(&mut session), [Action::Claim]);
    // Another link is bringing one.
    session.handle_done(at(3), Done::Claimed(false));
    session.handle_timeout(at(2 + AGAIN_MS)).unwrap();
    assert!(actions(&mut session).is_empty());
    session.handle_timeout(at(3 + AGAIN_MS)).unwrap();
    assert_eq!(actions(&mut session), [Action::Claim]);
    let now = at(4 + AGAIN_MS);
    session.handle_done(now, Done::Claimed(true));
    let asked = frames(&mut session, now);
    let request = Frame::SnapshotRequest { resume: None };
    assert!(asked.contains(&request), "{asked:?}");
}

#[test]
fn what_was_under_way_when_it_asked_is_passed_over() {
    let mut session = needy();
    session.handle_frame(at(2), ack(1, &[(1, 2)])).unwrap();
    session.handle_done(at(3), Done::Claimed(true));
    let told = Frame::NeedsSnapshot { apart: false };
    for late in [ack(1, &[]), Frame::Proof(vec![0]), told] {
        assert_eq!(session.handle_frame(at(4), late), Ok(()));
    }
    let (id, size) = ([4; 16], 5);
    let begin = Frame::SnapshotBegin {
        id,
        size,
        offset: 0,
    };
    session.handle_frame(at(5), begin).unwrap();
    let late = Frame::NeedsSnapshot { apart: false };
    let late = session.handle_frame(at(6), late);
    assert!(matches!(late, Err(SessionError::Unexpected(_))), "{late:?}");
    let bytes = vec![1; 5];
    let chunk = Frame::SnapshotChunk { offset: 0, bytes };
    session.handle_frame(at(6), chunk).unwrap();
    let end = Frame::SnapshotEnd { digest: [6; 32] };
    session.handle_frame(at(6), end).unwrap();
    let swap = Action::SwapIn {
        digest: [6; 32],
        cluster: CLUSTER,
        swap: Swap::CatchUp,
    };
    assert_eq!(actions(&mut session).last(), Some(&swap));
}

#[test]
fn a_peer_whose_log_is_trimmed_says_so_once_and_gives_a_snapshot() {
    let mut session = greeted(local(1), local(2));
    let _ = actions(&mut session);
    let request = Frame::SnapshotRequest { resume: None };
    session.handle_done(at(0), trimmed(false));
    assert_eq!(
        frames(&mut session, at(0)),
        [Frame::NeedsSnapshot { apart: false }]
    );
    assert!(frames(&mut session, at(1)).is_empty());
    // It looks again later: another peer may have brought what was missing.
    session.handle_timeout(at(AGAIN_MS)).unwrap();
    assert!(matches!(actions(&mut session)[..], [Action::Read { .. }]));
    session.handle_done(at(AGAIN_MS), trimmed(false));
    session.handle_frame(at(AGAIN_MS), request).unwrap();
    assert_eq!(actions(&mut session), [Action::Stage { wanted: None }]);
}

/// The log was trimmed as the peer had told that it holds more; what was read for it by then asked
/// from where it was before.
#[test]
fn a_peer_that_got_further_while_the_log_was_read_needs_no_snapshot() {
    let further: [fn(&mut Session); 2] = [
        |session| session.handle_frame(at(1), ack(0, &[(7, 3)])).unwrap(),
        |session| {
            let sent = transactions(7, 3, 1, 1);
            session.handle_frame(at(1), sent).unwrap();
        },
    ];
    for further in further {
        let ours = Local {
            frontier: frontier(&[(7, 3)]),
            ..local(1)
        };
        let theirs = Local {
            frontier: frontier(&[(7, 2)]),
            ..local(2)
        };
        let mut session = greeted(ours, theirs);
        assert!(matches!(actions(&mut session)[..], [Action::Read { .. }]));
        further(&mut session);
        let gone = Done::Trimmed {
            origin: 7,
            first: 3,
            apart: true,
        };
        session.handle_done(at(2), gone);
        let again = actions(&mut session);
        let Some(Action::Read { frontier, .. }) = again.last() else {
            panic!("{again:?}");
        };
        assert_eq!(frontier.seq(7), 3);
        let told = frames(&mut session, at(2));
        let needs = |frame: &Frame| matches!(frame, Frame::NeedsSnapshot { .. });
        assert!(!told.iter().any(needs), "{told:?}");
        // Where its place is gone all the same, it is told.
        session.handle_done(at(3), trimmed(true));
        assert!(frames(&mut session, at(3)).iter().any(needs));
    }
}

/// It goes on writing, and would never be told.
#[test]
fn a_peer_that_got_further_elsewhere_needs_it_all_the_same() {
    let mut session = greeted(local(1), local(2));
    let _ = actions(&mut session);
    let sent = transactions(7, 1, 1, 1);
    session.handle_frame(at(1), sent).unwrap();
    session.handle_done(at(2), trimmed(true));
    let told = Frame::NeedsSnapshot { apart: true };
    assert!(frames(&mut session, at(2)).contains(&told));
}

/// Another peer brought what was missing, and the log is read on.
#[test]
fn what_was_said_to_be_needed_may_be_asked_for_though_the_log_reaches_again() {
    let mut session = greeted(local(1), local(2));
    let _ = actions(&mut session);
    session.handle_done(at(0), trimmed(false));
    let _ = frames(&mut session, at(0));
    session.handle_timeout(at(AGAIN_MS)).unwrap();
    let _ = actions(&mut session);
    session.handle_done(at(AGAIN_MS), nothing_read());
    let request = Frame::SnapshotRequest { resume: None };
    session.handle_frame(at(AGAIN_MS), request).unwrap();
    assert_eq!(actions(&mut session), [Action::Stage { wanted: None }]);
}

#[test]
fn who_is_sent_what_was_missing_after_all_needs_no_snapshot() {
    let mut session = needy();
    let sent = transactions(7, 1, 1, 1);
    session.handle_frame(at(2), sent).unwrap();
    session.handle_frame(at(3), ack(1, &[(1, 2)])).unwrap();
    assert!(!actions(&mut session).contains(&Action::Claim));
}

/// The peer goes on dropping what it is sent until the link ends.
#[test]
fn who_may_hold_another_history_needs_it_whatever_is_sent() {
    let mut session = needy();
    session.handle_done(at(1), trimmed(false));
    let told = Frame::NeedsSnapshot { apart: true };
    session.handle_frame(at(2), told).unwrap();
    let sent = transactions(7, 1, 1, 1);
    session.handle_frame(at(3), sent).unwrap();
    session.handle_frame(at(4), ack(1, &[(1, 2)])).unwrap();
    assert!(actions(&mut session).contains(&Action::Claim));
}

#[test]
fn what_is_sent_after_all_to_who_has_asked_is_passed_over() {
    let mut session = needy();
    session.handle_frame(at(2), ack(1, &[(1, 2)])).unwrap();
    assert_eq!(actions(&mut session), [Action::Claim]);
    let sent = transactions(7, 1, 1, 1);
    session.handle_frame(at(3), sent.clone()).unwrap();
    session.handle_done(at(3), Done::Claimed(true));
    let asked = frames(&mut session, at(3));
    let request = Frame::SnapshotRequest { resume: None };
    assert!(asked.contains(&request), "{asked:?}");
    assert_eq!(session.handle_frame(at(4), sent), Ok(()));
}

/// The peer takes nothing before: it could not tell what was written on another history.
#[test]
fn who_may_hold_another_history_takes_the_snapshot_before_it_delivers() {
    let mut session = needy();
    let frame = Frame::NeedsSnapshot { apart: true };
    session.handle_frame(at(5), frame).unwrap();
    assert_eq!(actions(&mut session), [Action::Claim]);
    session.handle_done(at(6), Done::Claimed(true));
    let begin = Frame::SnapshotBegin {
        id: [4; 16],
        size: 4,
        offset: 0,
    };
    session.handle_frame(at(7), begin).unwrap();
    let bytes = vec![7; 4];
    let chunk = Frame::SnapshotChunk { offset: 0, bytes };
    session.handle_frame(at(7), chunk).unwrap();
    let digest = [6; 32];
    session
        .handle_frame(at(8), Frame::SnapshotEnd { digest })
        .unwrap();
    let swap = Action::SwapIn {
        digest,
        cluster: CLUSTER,
        swap: Swap::CatchUp,
    };
    assert_eq!(actions(&mut session).last(), Some(&swap));
}

#[test]
fn where_neither_log_reaches_the_other_side_both_do_not_take_a_snapshot_at_once() {
    let mut session = needy();
    session.handle_done(at(2), trimmed(true));
    let frame = Frame::NeedsSnapshot { apart: true };
    session.handle_frame(at(5), frame).unwrap();
    assert!(actions(&mut session).is_empty());
    let told = Frame::NeedsSnapshot { apart: true };
    assert!(frames(&mut session, at(6)).contains(&told));
}

#[test]
fn a_link_on_which_somebody_needs_a_snapshot_proves_nothing() {
    let first = Proofs::default().first_ms;
    let told = |session: &mut Session| {
        let frame = Frame::NeedsSnapshot { apart: false };
        session.handle_frame(at(1), frame).unwrap();
    };
    let tells = |session: &mut Session| session.handle_done(at(0), trimmed(false));
    let reads = |session: &mut Session| session.handle_done(at(0), nothing_read());
    for (needs, proves) in [(None, true), (Some(true), false), (Some(false), false)] {
        let mut session = greeted(local(1), local(2));
        let _ = actions(&mut session);
        match needs {
            Some(true) => tells(&mut session),
            _ => reads(&mut session),
        }
        if needs == Some(false) {
            told(&mut session);
        }
        let ping = Frame::Ping { sent_us: 0 };
        session.handle_frame(at(first - 1), ping).unwrap();
        session.handle_timeout(at(first)).unwrap();
        let begun = actions(&mut session);
        let begun = begun.iter().any(|a| matches!(a, Action::Prove(_)));
        assert_eq!(begun, proves, "{needs:?}");
    }
}
