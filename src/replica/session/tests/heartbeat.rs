//! Pings, clocks, and peers that do not move.

use super::*;

#[test]
fn a_silent_peer_ends_the_link() {
    let mut session = member();
    let ended = wait(&mut session, 2 * SILENCE_MS, |_, _| ());
    assert_eq!(ended, at(SILENCE_MS));
    assert_eq!(session.handle_timeout(ended), Err(SessionError::Silence));
    // Also one that never says hello.
    let mut session = Session::new(at(0), local(1));
    assert_eq!(
        wait(&mut session, 2 * SILENCE_MS, |_, _| ()),
        at(SILENCE_MS)
    );
}

#[test]
fn a_peer_that_sends_but_does_not_read_ends_the_link() {
    // Nothing can be written: frames are never asked for.
    let mut session = member();
    let ended = wait(&mut session, 3 * UNANSWERED_MS, |session, now| {
        let ping = Frame::Ping { sent_us: now.us };
        session.handle_frame(now, ping).unwrap();
    });
    assert_eq!(session.handle_timeout(ended), Err(SessionError::Unanswered));
    assert_eq!(ended, at(UNANSWERED_MS + PING_MS));
}

#[test]
fn a_peer_that_answers_but_never_acknowledges_ends_the_link() {
    let mut session = member();
    session.committed(at(0), &frontier(&[(1, 1)]));
    let _ = actions(&mut session);
    let done = Done::Read {
        found: vec![logged(1, 1, vec![7])],
        large: None,
        position: 2,
    };
    session.handle_done(at(0), done);
    let ended = wait(&mut session, 2 * STALL_MS, |session, now| {
        for frame in frames(session, now) {
            if let Frame::Ping { sent_us } = frame {
                let pong = Frame::Pong {
                    sent_us,
                    held_us: 0,
                    wall_ms: now.wall_ms,
                    synchronized: false,
                };
                session.handle_frame(now, pong).unwrap();
            }
        }
        let _ = actions(session);
    });
    assert_eq!(session.handle_timeout(ended), Err(SessionError::Stalled));
}

#[test]
fn a_flood_of_pings_is_answered_with_one_pong() {
    let mut session = member();
    for sent_us in 0..100_000 {
        session
            .handle_frame(at(5), Frame::Ping { sent_us })
            .unwrap();
    }
    let pong = Frame::Pong {
        sent_us: 99_999,
        held_us: 2_000,
        wall_ms: at(7).wall_ms,
        synchronized: true,
    };
    assert_eq!(frames(&mut session, at(7)), [pong]);
}

#[test]
fn the_quickest_of_the_last_pings_tells_the_clocks_apart() {
    let mut session = member();
    let mut now = at(0);
    let mut ask = |trip_ms: u64, held_ms: u64, ahead_ms: i64| {
        now = at(now.us / 1_000 + PING_MS);
        session.handle_timeout(now).unwrap();
        let Some(Frame::Ping { sent_us }) = session.poll_frame(now) else {
            panic!("no ping");
        };
        // All of a delay beyond the quickest lies on the way there, as a queue's does.
        let answered = at(now.us / 1_000 + trip_ms - 1 + held_ms);
        now = at(now.us / 1_000 + trip_ms + held_ms);
        let pong = Frame::Pong {
            sent_us,
            held_us: held_ms * 1_000,
            wall_ms: (answered.wall_ms as i64 + ahead_ms) as u64,
            synchronized: false,
        };
        session.handle_frame(now, pong).unwrap();
        events(&mut session).pop()
    };
    let told = |us, clock_offset_ms| {
        Some(Event::RoundTrip {
            us,
            clock_offset_ms,
            synchronized: false,
        })
    };
    assert_eq!(ask(2, 0, 300), told(2_000, 300));
    assert_eq!(
        ask(2, 50, 300),
        told(2_000, 300),
        "the answerer's delay is its own"
    );
    assert_eq!(ask(800, 0, 300), told(800_000, 300));
    for _ in 0..8 {
        ask(2, 0, -40);
    }
    assert_eq!(
        ask(500, 0, -40),
        told(500_000, -40),
        "old answers are forgotten"
    );
}

#[test]
fn an_answer_to_no_ping_and_impossible_clocks_do_no_harm() {
    let pong = |sent_us| Frame::Pong {
        sent_us,
        held_us: u64::MAX,
        wall_ms: u64::MAX,
        synchronized: false,
    };
    let mut session = member();
    let error = session.handle_frame(at(1), pong(1)).unwrap_err();
    assert!(matches!(error, SessionError::Unexpected(_)));
    session.handle_timeout(at(PING_MS)).unwrap();
    let _ = frames(&mut session, at(PING_MS));
    session
        .handle_frame(at(PING_MS + 1), pong(PING_MS * 1_000))
        .unwrap();
}
