//! One origin with two histories.

use super::super::needy::AGAIN_MS;
use super::super::parting::PARTING_MS;
use super::*;

fn chains(list: &[(u64, u8)]) -> Vec<Position> {
    let position = |&(seq, chain): &(u64, u8)| Position {
        seq,
        chain: [chain; 32],
    };
    list.iter().map(position).collect()
}

fn told(origin: u64, list: &[(u64, u8)]) -> Frame {
    let chains = list.iter().map(|&(seq, chain)| (seq, [chain; 32]));
    Frame::Chains {
        origin,
        chains: chains.collect(),
    }
}

/// Two members whose hellos name the same number of origin 7 with two hashes.
fn parted() -> Session {
    let ours = Local {
        frontier: frontier(&[(7, 3)]),
        ..local(1)
    };
    let mut theirs = local(2);
    theirs.frontier.0.insert(7, chains(&[(3, 99)])[0]);
    let mut session = greeted(ours, theirs);
    assert_eq!(actions(&mut session), [read(7, 3)]);
    session
}

fn read(origin: u64, upto: u64) -> Action {
    Action::Chains { origin, upto }
}

fn ours_read(session: &mut Session, list: &[(u64, u8)]) {
    let chains = chains(list);
    session.handle_done(at(1), Done::Chains { origin: 7, chains });
}

#[test]
fn of_two_histories_one_yields_from_where_they_part() {
    let mut session = parted();
    ours_read(&mut session, &[(3, 3), (2, 2), (1, 1), (0, 0)]);
    assert_eq!(
        frames(&mut session, at(1)),
        [told(7, &[(3, 3), (2, 2), (1, 1), (0, 0)])]
    );
    let other = told(7, &[(3, 99), (2, 2), (1, 1), (0, 0)]);
    session.handle_frame(at(2), other).unwrap();
    let yields = Action::Reissue {
        origin: 7,
        after: 2,
    };
    assert_eq!(actions(&mut session), [yields]);
    // Seen from the other side nothing is to be done.
    let mut session = parted();
    let other = told(7, &[(3, 2), (2, 2), (1, 1), (0, 0)]);
    session.handle_frame(at(2), other).unwrap();
    ours_read(&mut session, &[(3, 3), (2, 2), (1, 1), (0, 0)]);
    assert!(actions(&mut session).is_empty());
    assert_eq!(session.handle_timeout(at(9)), Ok(()));
}

#[test]
fn no_row_is_taken_meanwhile() {
    let mut session = parted();
    for frame in [transactions(2, 1, 1, 9), ack(0, &[]), Frame::Proof(vec![])] {
        assert_eq!(session.handle_frame(at(1), frame), Ok(()));
    }
    assert!(actions(&mut session).is_empty());
    let later = session.handle_timeout(at(PARTING_MS));
    assert!(later.is_err(), "it does not last for ever");
}

/// Who took the other history back left transactions behind that name it.
#[test]
fn where_histories_are_one_again_what_names_another_is_taken_and_the_link_ends_by_name() {
    for (theirs, upto, ends) in [
        (&[(3, 3), (2, 2)][..], 3, true),
        (&[(4, 4), (3, 3)][..], 3, true),
        (&[(2, 2), (1, 1)][..], 2, false),
    ] {
        let mut session = parted();
        ours_read(&mut session, &[(3, 3), (2, 2), (1, 1)]);
        session.handle_frame(at(2), told(7, theirs)).unwrap();
        let origin = 7;
        assert_eq!(actions(&mut session), [Action::Trust { origin, upto }]);
        // The one that holds more has to stay: the other may have to go on under a fresh one.
        let fork = SessionError::Fork { origin: 7, seq: 3 };
        let expected = if ends { Err(fork) } else { Ok(()) };
        assert_eq!(session.handle_timeout(at(3)), expected);
    }
}

#[test]
fn what_was_trimmed_stays_and_the_other_takes_a_snapshot() {
    let request = || Frame::SnapshotRequest { resume: None };
    let mut session = parted();
    ours_read(&mut session, &[(3, 3), (2, 2)]);
    let other = told(7, &[(2, 9), (1, 8), (0, 0)]);
    session.handle_frame(at(2), other).unwrap();
    assert!(actions(&mut session).is_empty(), "the peer yields");
    assert_eq!(session.handle_timeout(at(3)), Ok(()));
    session.handle_frame(at(3), request()).unwrap();
    assert_eq!(actions(&mut session), [Action::Stage { wanted: None }]);
    let mut session = parted();
    ours_read(&mut session, &[(3, 3), (2, 2)]);
    let other = told(7, &[(9, 9), (8, 8)]);
    session.handle_frame(at(2), other).unwrap();
    assert_eq!(actions(&mut session), [Action::Claim]);
    assert!(session.handle_frame(at(3), request()).is_err());
}

#[test]
fn a_fork_that_only_the_log_shows_is_told_to_the_peer() {
    let mut session = greeted(local(1), local(2));
    let _ = actions(&mut session);
    session.handle_done(at(1), Done::Forked { origin: 7 });
    assert_eq!(actions(&mut session), [read(7, 0)]);
    // The peer, which streams, hears of it by our hashes.
    let mut peer = member();
    peer.handle_frame(at(1), told(7, &[(3, 3)])).unwrap();
    assert_eq!(actions(&mut peer), [read(7, 0)]);
    // Of two origins at once the lower one is settled first.
    session.handle_frame(at(2), told(9, &[(1, 1)])).unwrap();
    assert!(actions(&mut session).is_empty());
    session.handle_frame(at(2), told(5, &[(1, 1)])).unwrap();
    assert_eq!(actions(&mut session), [read(5, 0)]);
}

/// A session of incarnation 1 at `mine` of it with a peer that holds `theirs`.
fn own(mine: u64, theirs: Position) -> Session {
    let frontier = match mine {
        0 => Frontier::default(),
        mine => frontier(&[(1, mine)]),
    };
    let ours = Local {
        frontier,
        ..local(1)
    };
    let mut peer = local(2);
    peer.frontier.0.insert(1, theirs);
    greeted(ours, peer)
}

/// A snapshot takes its time, and a frame of hashes may not arrive: meanwhile numbers, and ids of
/// engine tables, were handed out that the first life had handed out.
#[test]
fn whose_numbers_have_another_history_goes_on_under_a_fresh_incarnation_before_anything_else() {
    let renew = [Action::Renew { origin: 1 }];
    for (mine, theirs) in [(3, (5, 5)), (0, (5, 5)), (5, (5, 99))] {
        let mut session = own(mine, chains(&[theirs])[0]);
        assert_eq!(actions(&mut session), renew, "{mine} {theirs:?}");
    }
    // The log alone shows it, or the peer tells.
    let mut session = own(5, chains(&[(4, 4)])[0]);
    let _ = actions(&mut session);
    session.handle_done(at(1), Done::Forked { origin: 1 });
    assert_eq!(actions(&mut session), renew);
    let mut session = own(5, chains(&[(4, 4)])[0]);
    let _ = actions(&mut session);
    session.handle_frame(at(1), told(1, &[(4, 99)])).unwrap();
    assert_eq!(actions(&mut session), renew);
    // Also while another origin's histories are settled, or where those part, too.
    let mut ours = local(1);
    let mut theirs = local(2);
    ours.frontier = frontier(&[(0, 3), (1, 5)]);
    theirs.frontier.0.insert(0, chains(&[(3, 99)])[0]);
    theirs.frontier.0.insert(1, chains(&[(5, 99)])[0]);
    assert_eq!(actions(&mut greeted(ours, theirs)), renew);
    let mut session = parted();
    let own = local(1).incarnation;
    session.handle_frame(at(1), told(own, &[(4, 99)])).unwrap();
    assert_eq!(actions(&mut session), [Action::Renew { origin: own }]);
}

#[test]
fn whatever_comes_while_a_fresh_incarnation_is_begun_ends_no_link() {
    let mut session = own(3, chains(&[(5, 5)])[0]);
    let _ = actions(&mut session);
    for frame in [
        told(1, &[(5, 5)]),
        Frame::SnapshotRequest { resume: None },
        transactions(2, 1, 1, 9),
        ack(0, &[]),
    ] {
        assert_eq!(session.handle_frame(at(1), frame), Ok(()));
    }
    assert!(actions(&mut session).is_empty() && frames(&mut session, at(1)).is_empty());
}

/// Of peers 1 and 2 the session of `number`, both logs trimmed beyond where the histories part.
fn trimmed_beyond(number: u8) -> Session {
    let ours = Local {
        frontier: frontier(&[(7, 3)]),
        ..local(number)
    };
    let mut theirs = local(3 - number);
    theirs.frontier.0.insert(7, chains(&[(3, 99)])[0]);
    let mut session = greeted(ours, theirs);
    assert_eq!(actions(&mut session), [read(7, 3)]);
    ours_read(&mut session, &[(3, 3)]);
    session.handle_frame(at(2), told(7, &[(3, 99)])).unwrap();
    let _ = frames(&mut session, at(2));
    session
}

/// Such a link ended by name each time, for good.
#[test]
fn where_both_were_trimmed_beyond_the_parting_one_takes_the_others_snapshot() {
    let mut joiner = trimmed_beyond(2);
    assert_eq!(actions(&mut joiner), [Action::Claim]);
    joiner.handle_done(at(3), Done::Claimed(true));
    let request = || Frame::SnapshotRequest { resume: None };
    assert_eq!(frames(&mut joiner, at(3)), [request()]);
    let begin = Frame::SnapshotBegin {
        id: [4; 16],
        size: 1,
        offset: 0,
    };
    joiner.handle_frame(at(4), begin).unwrap();
    let chunk = Frame::SnapshotChunk {
        offset: 0,
        bytes: vec![1],
    };
    joiner.handle_frame(at(4), chunk).unwrap();
    let _ = actions(&mut joiner);
    let end = Frame::SnapshotEnd { digest: [5; 32] };
    joiner.handle_frame(at(5), end).unwrap();
    let swap = Action::SwapIn {
        digest: [5; 32],
        cluster: CLUSTER,
        swap: Swap::Rebase,
    };
    assert_eq!(actions(&mut joiner), [swap]);
    let mut donor = trimmed_beyond(1);
    assert!(actions(&mut donor).is_empty());
    assert_eq!(donor.handle_timeout(at(2)), Ok(()), "it waits to be asked");
    donor.handle_frame(at(3), request()).unwrap();
    assert_eq!(actions(&mut donor), [Action::Stage { wanted: None }]);
}

#[test]
fn who_finds_another_snapshot_arriving_tries_again_on_the_next_link() {
    let mut joiner = trimmed_beyond(2);
    joiner.handle_done(at(3), Done::Claimed(false));
    let fork = SessionError::Fork { origin: 7, seq: 3 };
    assert_eq!(joiner.handle_timeout(at(AGAIN_MS)), Ok(()), "not at once");
    assert_eq!(joiner.handle_timeout(at(AGAIN_MS + 3)), Err(fork));
    // Nobody is to be asked where one of the two can yield.
    let mut donor = parted();
    let request = Frame::SnapshotRequest { resume: None };
    assert!(donor.handle_frame(at(1), request).is_err());
}
