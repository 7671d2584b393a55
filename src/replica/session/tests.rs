//! Two sessions in virtual time, and one against a peer that keeps no rules.

use super::*;
use crate::replica::change::Logged;
use crate::replica::frontier::Position;
use crate::wire::replication::{MAX_ORIGINS, Partial, Piece, Run, runs};

mod acknowledged;
mod heartbeat;
mod needy;
mod parting;
mod snapshot;

const CLUSTER: [u8; 16] = [9; 16];

fn at(ms: u64) -> Now {
    Now {
        us: ms * 1_000,
        wall_ms: 1_700_000_000_000 + ms,
        synchronized: true,
    }
}

fn frontier(positions: &[(u64, u64)]) -> Frontier {
    let position = |&(origin, seq): &(u64, u64)| {
        let chain = [seq as u8; 32];
        (origin, Position { seq, chain })
    };
    Frontier(positions.iter().map(position).collect())
}

fn local(number: u8) -> Local {
    Local {
        name: format!("peer{number}"),
        version: "1".into(),
        schema: 5,
        node: [number; 16],
        incarnation: u64::from(number),
        cluster: Some(CLUSTER),
        frontier: Frontier::default(),
        partial: None,
        resume: None,
        peers: Vec::new(),
        unmet: 0,
        proofs: Proofs::default(),
    }
}

fn hello_of(local: Local) -> Hello {
    let mut session = Session::new(at(0), local);
    match session.poll_frame(at(0)) {
        Some(Frame::Hello(hello)) => hello,
        other => panic!("{other:?}"),
    }
}

fn frames(session: &mut Session, now: Now) -> Vec<Frame> {
    std::iter::from_fn(|| session.poll_frame(now)).collect()
}

/// What is to be done, events left out.
fn actions(session: &mut Session) -> Vec<Action> {
    let all = std::iter::from_fn(|| session.poll_action());
    all.filter(|action| !matches!(action, Action::Event(_)))
        .collect()
}

fn events(session: &mut Session) -> Vec<Event> {
    let all = std::iter::from_fn(|| session.poll_action());
    let event = |action| match action {
        Action::Event(event) => Some(event),
        _ => None,
    };
    all.filter_map(event).collect()
}

/// A session of `ours` that has heard `theirs`, its first actions left in it.
fn greeted(ours: Local, theirs: Local) -> Session {
    let mut session = Session::new(at(0), ours);
    let _ = frames(&mut session, at(0));
    let hello = Frame::Hello(hello_of(theirs));
    session.handle_frame(at(0), hello).unwrap();
    session
}

#[test]
fn catching_up_ends_also_when_another_peer_was_quicker() {
    let ahead = Local {
        frontier: frontier(&[(7, 2)]),
        ..local(2)
    };
    let mut session = greeted(local(1), ahead);
    let told = events(&mut session);
    assert!(told.contains(&Event::CatchingUp { changes: 2 }), "{told:?}");
    session.committed(at(1), &frontier(&[(7, 2)]));
    let told = events(&mut session);
    assert!(matches!(told[..], [Event::Live { .. }]), "{told:?}");
}

/// A member that has read its empty log.
fn member() -> Session {
    let mut session = greeted(local(1), local(2));
    assert!(matches!(actions(&mut session)[..], [Action::Read { .. }]));
    session.handle_done(at(0), nothing_read());
    session
}

fn nothing_read() -> Done {
    Done::Read {
        found: vec![],
        large: None,
        position: 1,
    }
}

fn logged(origin: u64, seq: u64, bytes: Vec<u8>) -> Logged {
    let bytes = bytes.into();
    let chain = Some([8; 8]);
    Logged {
        origin,
        seq,
        bytes,
        chain,
    }
}

fn transactions(origin: u64, first: u64, count: u64, size: usize) -> Frame {
    let list = (first..first + count).map(|seq| (origin, seq, vec![1; size], [8; 8]));
    Frame::Transactions(runs(list))
}

fn ack(batches: u64, positions: &[(u64, u64)]) -> Frame {
    let frontier = frontier(positions).to_wire();
    Frame::Ack {
        batches,
        whole: false,
        frontier,
    }
}

#[test]
fn each_difference_of_two_hellos_has_its_error() {
    let judge = |change: fn(&mut Local)| {
        let mut theirs = local(2);
        change(&mut theirs);
        let mut session = Session::new(at(0), local(1));
        let hello = Frame::Hello(hello_of(theirs));
        session
            .handle_frame(at(0), hello)
            .map_err(|e| e.to_string())
    };
    assert_eq!(judge(|_| ()), Ok(()));
    let refused = |change, word: &str| {
        let error = judge(change).unwrap_err();
        assert!(error.contains(word), "{error}");
    };
    refused(|l| l.node = [1; 16], "own node id");
    refused(|l| l.version = "2".into(), "version 2");
    refused(|l| l.schema = 6, "schema 0000000000000006");
    refused(|l| l.cluster = Some([8; 16]), "another cluster");
    let mut ours = local(1);
    ours.cluster = None;
    let mut session = Session::new(at(0), ours.clone());
    ours.node = [2; 16];
    let hello = Frame::Hello(hello_of(ours));
    assert_eq!(
        session.handle_frame(at(0), hello),
        Err(SessionError::NoCluster)
    );
}

#[test]
fn a_peer_of_another_schema_gets_and_gives_no_rows() {
    let mut theirs = local(2);
    theirs.schema = 6;
    let mut session = Session::new(at(0), local(1));
    let hello = Frame::Hello(hello_of(theirs));
    assert!(session.handle_frame(at(0), hello).is_err());
    assert!(actions(&mut session).is_empty());
    assert!(matches!(frames(&mut session, at(0))[..], [Frame::Hello(_)]));
}

#[test]
fn a_schema_version_tells_statements_and_their_borders_apart() {
    let one = schema_version(&["CREATE TABLE a(b)", "CREATE TABLE c(d)"]);
    assert_eq!(
        one,
        schema_version(&["CREATE TABLE a(b)", "CREATE TABLE c(d)"])
    );
    assert_ne!(
        one,
        schema_version(&["CREATE TABLE a(b)C", "REATE TABLE c(d)"])
    );
    assert_ne!(one, schema_version(&["CREATE TABLE a(b)"]));
}

#[test]
fn what_is_committed_is_read_and_sent_and_its_frame_is_acknowledged() {
    let mut session = member();
    session.committed(at(1), &frontier(&[(1, 2)]));
    let read = actions(&mut session);
    assert!(matches!(
        read[..],
        [Action::Read {
            position: Some(1),
            ..
        }]
    ));
    let found = vec![logged(1, 1, vec![7]), logged(1, 2, vec![8])];
    let done = Done::Read {
        found,
        large: None,
        position: 3,
    };
    session.handle_done(at(1), done);
    let Some(Frame::Transactions(sent)) = session.poll_frame(at(1)) else {
        panic!("no frame");
    };
    let expected = Run {
        origin: 0,
        first: 1,
        transactions: vec![vec![7], vec![8]],
        chain: [8; 8],
    };
    assert_eq!(sent, [expected]);
    session.handle_frame(at(2), ack(1, &[(1, 2)])).unwrap();
    assert!(session.acked().unwrap().covers(1, 2));
    assert_eq!(
        events(&mut session).last(),
        Some(&Event::Live { behind: 0 })
    );
}

#[test]
fn what_waits_is_applied_in_one_group_and_acknowledged_once() {
    let mut session = member();
    for seq in 1..=5 {
        let frame = transactions(2, seq, 1, 10);
        session.handle_frame(at(seq), frame).unwrap();
    }
    let first = actions(&mut session);
    let [Action::Apply(list)] = &first[..] else {
        panic!("{first:?}");
    };
    assert_eq!(list.len(), 1);
    session.handle_done(at(9), Done::Applied(frontier(&[(2, 1)])));
    let second = actions(&mut session);
    assert!(matches!(&second[..], [Action::Apply(list), ..] if list.len() == 4));
    session.handle_done(at(9), Done::Applied(frontier(&[(2, 5)])));
    // The writer was busy all the time: one acknowledgement says it all.
    assert_eq!(frames(&mut session, at(9)), [ack(5, &[(2, 5)])]);
}

#[test]
fn what_is_held_already_is_dealt_with_and_not_applied_again() {
    let mut session = member();
    session.committed(at(1), &frontier(&[(3, 2)]));
    session
        .handle_frame(at(1), transactions(3, 1, 3, 10))
        .unwrap();
    let apply = actions(&mut session);
    let only = logged(3, 3, vec![1; 10]);
    assert_eq!(apply, [Action::Apply(vec![only])]);
    session.handle_done(at(2), Done::Applied(frontier(&[(3, 3)])));
    for _ in 0..1_000 {
        session
            .handle_frame(at(2), transactions(3, 1, 3, 10))
            .unwrap();
        assert!(
            !actions(&mut session)
                .iter()
                .any(|a| matches!(a, Action::Apply(_)))
        );
    }
    assert_eq!(frames(&mut session, at(2)), [ack(1_001, &[(3, 3)])]);
}

#[test]
fn a_gap_is_named_and_nothing_of_its_frame_is_applied() {
    let mut session = member();
    session
        .handle_frame(at(1), transactions(2, 1, 1, 10))
        .unwrap();
    assert_eq!(actions(&mut session).len(), 1);
    let gap = SessionError::Gap {
        origin: 2,
        seq: 3,
        expected: 2,
    };
    let frame = transactions(2, 3, 1, 10);
    assert_eq!(session.handle_frame(at(1), frame), Err(gap));
    assert!(actions(&mut session).is_empty());
}

#[test]
fn a_peer_that_sends_without_waiting_is_stopped_at_the_window() {
    let mut session = member();
    let mut sent = 0;
    let error = loop {
        sent += 1;
        let frame = transactions(2, sent, 1, BATCH);
        if let Err(error) = session.handle_frame(at(1), frame) {
            break error;
        }
    };
    assert_eq!(error, SessionError::Overrun);
    assert_eq!(sent as usize, WINDOW / BATCH + 1);
}

#[test]
fn a_sender_stops_at_the_window_and_reads_no_further_until_it_is_acknowledged() {
    let mut session = member();
    session.committed(at(1), &frontier(&[(1, 1_000)]));
    let (mut seq, mut sent) = (0, 0);
    loop {
        let mut worked = false;
        for action in actions(&mut session) {
            assert!(matches!(action, Action::Read { .. }));
            seq += 1;
            let done = Done::Read {
                found: vec![logged(1, seq, vec![1; BATCH])],
                large: None,
                position: seq as i64,
            };
            session.handle_done(at(1), done);
            worked = true;
        }
        let frames = frames(&mut session, at(1));
        sent += frames.len();
        if !worked && frames.is_empty() {
            break;
        }
    }
    assert_eq!(sent, WINDOW / BATCH);
    assert!(seq as usize <= sent + 1, "read ahead: {seq}");
    session.handle_frame(at(2), ack(3, &[(1, 3)])).unwrap();
    assert_eq!(actions(&mut session).len(), 1);
}

#[test]
fn acknowledgements_of_what_was_not_sent_are_refused() {
    for frame in [ack(1, &[]), ack(0, &[(1, 1)]), ack(u64::MAX, &[])] {
        let mut session = member();
        assert_eq!(
            session.handle_frame(at(1), frame),
            Err(SessionError::Unsent)
        );
    }
    // Counting backwards is no better.
    let mut session = member();
    session.committed(at(1), &frontier(&[(1, 1)]));
    let _ = actions(&mut session);
    let done = Done::Read {
        found: vec![logged(1, 1, vec![7])],
        large: None,
        position: 2,
    };
    session.handle_done(at(1), done);
    assert_eq!(frames(&mut session, at(1)).len(), 1);
    session.handle_frame(at(2), ack(1, &[(1, 1)])).unwrap();
    let back = session.handle_frame(at(3), ack(0, &[]));
    assert_eq!(back, Err(SessionError::Unsent));
}

#[test]
fn acknowledgements_that_name_ever_more_origins_are_refused() {
    let mut session = member();
    let names = |from: u64| {
        let origins: Vec<_> = (from..from + MAX_ORIGINS as u64)
            .map(|id| (id, 1))
            .collect();
        ack(0, &origins)
    };
    session.handle_frame(at(1), names(10)).unwrap();
    session.handle_frame(at(1), names(10)).unwrap();
    let more = session.handle_frame(at(1), names(11));
    assert!(matches!(more, Err(SessionError::Unexpected(_))), "{more:?}");
}

/// Lets time pass until the session ends or `until` has come.
fn wait(session: &mut Session, until: u64, mut each: impl FnMut(&mut Session, Now)) -> Now {
    let mut now = at(0);
    while now.us < until * 1_000 {
        let due = session.poll_timeout();
        assert!(due > now.us, "a timeout that never passes");
        now = at(due.div_ceil(1_000));
        if session.handle_timeout(now).is_err() {
            return now;
        }
        each(session, now);
    }
    panic!("it never ended");
}

#[test]
fn what_others_wrote_is_relayed_only_where_the_peer_does_not_have_it_soon() {
    let mut session = member();
    session.committed(at(1), &frontier(&[(3, 1)]));
    assert!(actions(&mut session).is_empty(), "it waits");
    let told = frames(&mut session, at(1));
    assert_eq!(told, [ack(0, &[(3, 1)])], "but the peer is told");
    session.handle_timeout(at(1 + RELAY_MS)).unwrap();
    assert!(matches!(actions(&mut session)[..], [Action::Read { .. }]));
    session.handle_done(at(30), nothing_read());
    // Our own never waits, and takes what waits along.
    session.committed(at(40), &frontier(&[(3, 2)]));
    session.committed(at(41), &frontier(&[(1, 1)]));
    assert!(matches!(actions(&mut session)[..], [Action::Read { .. }]));
    // What the peer tells to have is not sent.
    session.handle_frame(at(42), ack(0, &[(3, 2)])).unwrap();
    let done = Done::Read {
        found: vec![logged(3, 2, vec![7]), logged(1, 1, vec![8])],
        large: None,
        position: 9,
    };
    session.handle_done(at(42), done);
    let sent = frames(&mut session, at(42)).pop();
    let Some(Frame::Transactions(sent)) = sent else {
        panic!("{sent:?}");
    };
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].origin, 0, "our own");
}

#[test]
fn a_large_transaction_goes_in_pieces_and_is_applied_when_whole() {
    let mut sender = member();
    sender.committed(at(1), &frontier(&[(1, 1)]));
    let _ = actions(&mut sender);
    let total = (PIECES + BATCH + 5) as u64;
    let large = Large {
        origin: 1,
        seq: 1,
        total,
        chain: [8; 8],
        position: 1,
    };
    let done = Done::Read {
        found: vec![],
        large: Some(large),
        position: 2,
    };
    sender.handle_done(at(1), done);
    let mut receiver = greeted(local(2), local(1));
    let _ = actions(&mut receiver);
    let mut written = 0;
    let mut applied = false;
    while !applied {
        for action in actions(&mut sender) {
            if let Action::ReadLarge { offset, .. } = action {
                let count = PIECES.min((total - offset) as usize);
                let bytes = vec![7; count];
                sender.handle_done(at(1), Done::LargeRead { offset, bytes });
            }
        }
        for frame in frames(&mut sender, at(1)) {
            receiver.handle_frame(at(1), frame).unwrap();
        }
        for action in actions(&mut receiver) {
            match action {
                Action::WritePiece(piece) => {
                    assert_eq!(piece.offset, written);
                    written = piece.end();
                    receiver.handle_done(at(1), Done::PieceWritten);
                }
                Action::ApplyLarge { origin: 1, seq: 1 } => {
                    assert_eq!(written, total, "applied only when whole");
                    receiver.handle_done(at(1), Done::Applied(frontier(&[(1, 1)])));
                    applied = true;
                }
                other => panic!("{other:?}"),
            }
        }
        for frame in frames(&mut receiver, at(1)) {
            sender.handle_frame(at(1), frame).unwrap();
        }
    }
    assert!(sender.acked().unwrap().covers(1, 1));
}

fn piece(seq: u64, offset: u64, total: u64, size: usize) -> Frame {
    Frame::Piece(Piece {
        origin: 2,
        seq,
        total,
        chain: [8; 8],
        offset,
        bytes: vec![7; size],
    })
}

#[test]
fn a_large_transaction_resumes_after_a_cut_or_starts_over() {
    let held = Partial {
        origin: 1,
        seq: 1,
        total: 9_000_000,
        chain: [8; 8],
        held: 4_000,
    };
    let first_offset = |held: Partial| {
        let mut theirs = local(2);
        theirs.partial = Some(held);
        let mut ours = local(1);
        ours.frontier = frontier(&[(1, 1)]);
        let mut session = greeted(ours, theirs);
        let _ = actions(&mut session);
        let large = Large {
            origin: 1,
            seq: 1,
            total: 9_000_000,
            chain: [8; 8],
            position: 1,
        };
        let done = Done::Read {
            found: vec![],
            large: Some(large),
            position: 2,
        };
        session.handle_done(at(1), done);
        match actions(&mut session)[..] {
            [Action::ReadLarge { offset, .. }] => offset,
            ref other => panic!("{other:?}"),
        }
    };
    assert_eq!(first_offset(held), 4_000);
    assert_eq!(first_offset(Partial { seq: 2, ..held }), 0);
    assert_eq!(first_offset(Partial { total: 8, ..held }), 0);
    // And the receiver takes it up, or anew.
    let mut ours = local(1);
    ours.partial = Some(Partial {
        origin: 2,
        seq: 1,
        total: 500,
        chain: [8; 8],
        held: 400,
    });
    for offset in [400, 0] {
        let mut session = greeted(ours.clone(), local(2));
        let _ = actions(&mut session);
        session
            .handle_frame(at(1), piece(1, offset, 500, 100))
            .unwrap();
        assert!(matches!(actions(&mut session)[..], [Action::WritePiece(_)]));
    }
}

#[test]
fn pieces_that_do_not_fit_are_refused() {
    let mut session = member();
    session.handle_frame(at(1), piece(1, 0, 500, 100)).unwrap();
    for wrong in [
        piece(1, 99, 500, 100),
        piece(1, 101, 500, 100),
        piece(1, 100, 501, 100),
        piece(2, 100, 500, 100),
        piece(1, 0, u64::MAX, 100),
    ] {
        assert!(session.handle_frame(at(1), wrong).is_err());
    }
    let error = session.handle_frame(at(1), piece(1, 0, (256 << 20) + 1, 1));
    assert_eq!(error, Err(SessionError::TooLarge((256 << 20) + 1)));
}

#[test]
fn who_is_sent_more_of_its_own_than_it_issued_goes_on_under_another_incarnation() {
    // Neither hello told of it: the peer has got it meanwhile.
    let own = local(1).incarnation;
    let Frame::Piece(mut ours) = piece(1, 0, 500, 100) else {
        panic!("no piece");
    };
    ours.origin = own;
    for frame in [transactions(own, 1, 2, 9), Frame::Piece(ours)] {
        let mut session = member();
        session.handle_frame(at(1), frame).unwrap();
        let asked = actions(&mut session);
        let renews = |a: &Action| *a == Action::Renew { origin: own };
        assert!(asked.iter().any(renews), "{asked:?}");
        let takes = |a: &Action| matches!(a, Action::Apply(_) | Action::WritePiece(_));
        assert!(!asked.iter().any(takes), "{asked:?}");
    }
}
