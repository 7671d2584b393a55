//! Donor and joiner.

use super::*;

fn joining() -> Session {
    let mut ours = local(1);
    ours.cluster = None;
    ours.resume = Some(([4; 16], 300));
    greeted(ours, local(2))
}

fn begin(id: u8, size: u64, offset: u64) -> Frame {
    Frame::SnapshotBegin {
        id: [id; 16],
        size,
        offset,
    }
}

fn chunk(offset: u64, size: usize) -> Frame {
    Frame::SnapshotChunk {
        offset,
        bytes: vec![1; size],
    }
}

#[test]
fn a_joiner_asks_for_where_it_was_and_swaps_in_what_is_whole() {
    let mut session = joining();
    let request = Frame::SnapshotRequest {
        resume: Some(([4; 16], 300)),
    };
    assert_eq!(frames(&mut session, at(0)), [request]);
    session.handle_frame(at(1), begin(4, 500, 300)).unwrap();
    session.handle_frame(at(1), chunk(300, 150)).unwrap();
    session.handle_frame(at(1), chunk(450, 50)).unwrap();
    assert!(
        frames(&mut session, at(1)).is_empty(),
        "nothing is written yet"
    );
    session.handle_done(at(2), Done::ChunkWritten { end: 450 });
    let told = Frame::SnapshotAck { offset: 450 };
    assert_eq!(frames(&mut session, at(2)), [told]);
    let end = Frame::SnapshotEnd { digest: [6; 32] };
    session.handle_frame(at(2), end).unwrap();
    let all = actions(&mut session);
    assert!(matches!(all[0], Action::Accept { offset: 300, .. }));
    let swap = Action::SwapIn {
        digest: [6; 32],
        cluster: CLUSTER,
        swap: Swap::Adopt,
    };
    assert_eq!(all.last(), Some(&swap));
}

#[test]
fn a_donor_that_keeps_no_order_is_refused() {
    let end = Frame::SnapshotEnd { digest: [6; 32] };
    for wrong in [
        vec![chunk(0, 5)],
        vec![end.clone()],
        vec![begin(5, 500, 300)],
        vec![begin(4, 500, 200)],
        vec![begin(5, 0, 0)],
        vec![begin(5, 500, 0), begin(5, 500, 0)],
        vec![begin(5, 500, 0), chunk(1, 5)],
        vec![begin(5, 500, 0), chunk(0, 501)],
        vec![begin(5, 500, 0), chunk(0, 0)],
        vec![begin(5, 500, 0), chunk(0, 499), end.clone()],
        vec![begin(5, 5, 0), chunk(0, 5), end.clone(), end.clone()],
        vec![begin(5, 500, 0), transactions(2, 1, 1, 1)],
        vec![Frame::SnapshotRequest { resume: None }],
    ] {
        let mut session = joining();
        let (last, before) = wrong.split_last().unwrap();
        for frame in before {
            session.handle_frame(at(1), frame.clone()).unwrap();
        }
        let error = session.handle_frame(at(1), last.clone());
        assert!(
            matches!(error, Err(SessionError::Unexpected(_))),
            "{wrong:?}"
        );
    }
    // Nor may it send on and on without waiting.
    let mut session = joining();
    session.handle_frame(at(1), begin(5, 1 << 40, 0)).unwrap();
    let mut offset = 0;
    let error = loop {
        if let Err(error) = session.handle_frame(at(1), chunk(offset, CHUNK)) {
            break error;
        }
        offset += CHUNK as u64;
    };
    assert_eq!((error, offset), (SessionError::Overrun, WINDOW as u64));
}

#[test]
fn pieces_of_a_snapshot_that_nobody_asked_for_are_refused() {
    for frame in [
        begin(5, 5, 0),
        chunk(0, 5),
        Frame::SnapshotEnd { digest: [6; 32] },
        Frame::SnapshotAck { offset: 0 },
        Frame::SnapshotRequest { resume: None },
    ] {
        let error = member().handle_frame(at(1), frame).unwrap_err();
        assert!(matches!(error, SessionError::Unexpected(_)), "{error}");
    }
}

fn donating(resume: Option<([u8; 16], u64)>) -> Session {
    let mut theirs = local(2);
    theirs.cluster = None;
    let mut session = greeted(local(1), theirs);
    let request = Frame::SnapshotRequest { resume };
    session.handle_frame(at(0), request).unwrap();
    let wanted = resume.map(|held| held.0);
    assert_eq!(actions(&mut session), [Action::Stage { wanted }]);
    session
}

#[test]
fn a_donor_sends_from_where_the_joiner_was_and_tells_the_digest_last() {
    let mut session = donating(Some(([4; 16], 300)));
    let (id, size) = ([4; 16], 500);
    session.handle_done(at(1), Done::Staged { id, size });
    assert_eq!(frames(&mut session, at(1)), [begin(4, 500, 300)]);
    assert_eq!(actions(&mut session), [Action::ReadChunk { offset: 300 }]);
    let done = Done::ChunkRead {
        offset: 300,
        bytes: vec![1; 200],
        digest: Some([6; 32]),
    };
    session.handle_done(at(1), done);
    let end = Frame::SnapshotEnd { digest: [6; 32] };
    assert_eq!(frames(&mut session, at(1)), [chunk(300, 200), end]);
    let wrong = Frame::SnapshotAck { offset: 501 };
    assert_eq!(
        session.handle_frame(at(1), wrong),
        Err(SessionError::Unsent)
    );
    // Another copy than the one begun starts over.
    let mut session = donating(Some(([4; 16], 300)));
    let (id, size) = ([5; 16], 500);
    session.handle_done(at(1), Done::Staged { id, size });
    assert_eq!(frames(&mut session, at(1)), [begin(5, 500, 0)]);
}

#[test]
fn a_donor_reads_no_further_than_a_window_ahead_of_the_joiner() {
    let mut session = donating(None);
    let (id, size) = ([4; 16], 1 << 40);
    session.handle_done(at(1), Done::Staged { id, size });
    let mut at_ = 0;
    while let [Action::ReadChunk { offset }] = actions(&mut session)[..] {
        assert_eq!(offset, at_);
        at_ += CHUNK as u64;
        let done = Done::ChunkRead {
            offset,
            bytes: vec![1; CHUNK],
            digest: None,
        };
        session.handle_done(at(1), done);
    }
    assert_eq!(at_, WINDOW as u64);
    let told = Frame::SnapshotAck {
        offset: CHUNK as u64,
    };
    session.handle_frame(at(2), told).unwrap();
    assert_eq!(actions(&mut session).len(), 1);
    // A joiner that reads but writes nothing ends it.
    let ended = wait(&mut session, 2 * STALL_MS, |session, now| {
        for frame in frames(session, now) {
            if let Frame::Ping { sent_us } = frame {
                let pong = Frame::Pong {
                    sent_us,
                    held_us: 0,
                    wall_ms: 0,
                    synchronized: false,
                };
                session.handle_frame(now, pong).unwrap();
            }
        }
        let _ = actions(session);
    });
    assert_eq!(session.handle_timeout(ended), Err(SessionError::Stalled));
}
