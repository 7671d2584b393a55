//! Puzzles (RFC 8019) between two systems in virtual time, while somebody who can send from the
//! peer's address and sees the answers takes up half-open SAs: whoever works stays, and nobody is
//! locked out.

#![allow(clippy::unwrap_used)]

// Each of the tests that share it uses a part of it.
#[allow(dead_code)]
mod sim_ike_world;

use sim_ike_world::{Net, World, seeds};
use tutti::tunnel::message::TunnelState;
use tutti::wire::isakmp::notify::kind;
use tutti::wire::isakmp::{Message, Notify, Payload, Puzzle};

/// A world where side 1 runs, and whoever is at side 0's address has opened `count` half-open SAs.
fn loaded(seed: u64, net: Net, count: usize) -> World {
    let mut world = World::new(seed, net);
    world.start(1, b"key");
    assert_eq!(world.flood_with_cookies(0, 1, count), count);
    world
}

fn notifies(bytes: &[u8]) -> Vec<Notify> {
    let payloads = Message::parse(bytes).unwrap().payloads;
    let notify = |payload| match payload {
        Payload::Notify(notify) => Some(notify),
        _ => None,
    };
    payloads.into_iter().filter_map(notify).collect()
}

/// Zero bits of the puzzle that a message gives.
fn bits(bytes: &[u8]) -> Option<u8> {
    let all = notifies(bytes);
    let puzzle = all.iter().find(|n| n.kind == kind::PUZZLE)?;
    assert!(all.iter().any(|n| n.kind == kind::COOKIE), "no cookie");
    Some(Puzzle::parse(&puzzle.data).unwrap().bits)
}

fn has_solution(bytes: &[u8]) -> bool {
    let payloads = Message::parse(bytes).map_or(Vec::new(), |message| message.payloads);
    let solution = |payload: &Payload| matches!(payload, Payload::PuzzleSolution(_));
    payloads.iter().any(solution)
}

fn is_up(world: &World) -> bool {
    (0..2).all(|side| matches!(world.state(side), TunnelState::Up { .. }))
}

/// Lets time pass until side 1 has the peer's request that brings a solution.
fn until_solved(world: &mut World) {
    for _ in 0..5_000 {
        world.run(1);
        let recorded = world.record.as_ref().unwrap();
        if recorded
            .iter()
            .any(|(to, bytes)| *to == 1 && has_solution(bytes))
        {
            let (_, most) = world.net.delay;
            return world.run(most);
        }
    }
    panic!("no solution was sent");
}

#[test]
fn puzzles_come_only_beyond_a_second_threshold_and_are_harder_under_more_load() {
    for (load, expected) in [
        (3, None),
        (5, None),
        (6, Some(12)),
        (7, Some(14)),
        (8, Some(16)),
        (40, Some(16)),
    ] {
        let mut world = loaded(1, Net::perfect(), load);
        let request = world.stranger_request(0);
        let answer = world.asked(0, 1, &request).expect("nothing was asked for");
        assert!(notifies(&answer).iter().any(|n| n.kind == kind::COOKIE));
        assert_eq!(bits(&answer), expected, "beside {load}");
        // They last for 30 s; then all is as before.
        world.run(31_000);
        let request = world.stranger_request(0);
        assert_eq!(world.asked(0, 1, &request), None);
    }
}

/// Without its solution the same peer is pushed out: it is the puzzle that keeps its place.
#[test]
fn who_solves_its_puzzle_is_not_pushed_out_by_who_only_returns_cookies() {
    for knows_puzzles in [true, false] {
        let mut world = loaded(2, Net::perfect(), 8);
        world.net.delay = (20, 20);
        world.record = Some(Vec::new());
        world.no_puzzles = (!knows_puzzles).then_some(0);
        world.start(0, b"key");
        if knows_puzzles {
            until_solved(&mut world);
        } else {
            // Its cookie has gone back, and IKE_INTERMEDIATE is under way.
            world.run(70);
        }
        // Each of them is taken, and the last one to come is the first to go.
        assert_eq!(world.flood_with_cookies(0, 1, 40), 40);
        world.run(200);
        assert_eq!(is_up(&world), knows_puzzles);
    }
}

/// A place costs work each time: pushing out one that solved its puzzle takes as many solutions as
/// there are places.
#[test]
fn only_as_many_solutions_as_there_are_places_push_out_who_solved_its_puzzle() {
    for (solutions, stays) in [(7, true), (8, false)] {
        let mut world = loaded(3, Net::perfect(), 8);
        world.net.delay = (20, 20);
        world.record = Some(Vec::new());
        world.start(0, b"key");
        until_solved(&mut world);
        let (_, opened) = world.flood_with_solutions(0, 1, solutions);
        assert_eq!(opened, solutions);
        world.run(200);
        assert_eq!(is_up(&world), stays, "{solutions}");
    }
}

#[test]
fn a_solution_that_is_used_again_is_worth_a_cookie() {
    let mut world = loaded(4, Net::perfect(), 8);
    let (requests, opened) = world.flood_with_solutions(0, 1, 1);
    assert_eq!(opened, 1);
    world.net.delay = (20, 20);
    world.record = Some(Vec::new());
    world.start(0, b"key");
    until_solved(&mut world);
    // The same cookie and keys with other public values, so that each is another request.
    for number in 1..=40 {
        let mut message = Message::parse(&requests[0]).unwrap();
        for payload in &mut message.payloads {
            if let Payload::Ke(ke) = payload {
                ke.data[0] ^= number;
            }
        }
        assert!(world.opens(0, 1, &message.encode()), "it has a cookie");
    }
    world.run(200);
    assert!(is_up(&world), "they pushed out who solved its own");
}

#[test]
fn who_knows_no_puzzles_is_served_all_the_same() {
    let mut world = loaded(5, Net::perfect(), 40);
    world.no_puzzles = Some(0);
    world.start(0, b"key");
    world.run(1_000);
    world.assert_one_pair();
}

#[test]
fn a_flood_that_never_ends_keeps_nobody_out_who_solves_its_puzzles() {
    for seed in seeds(2) {
        let mut world = loaded(seed, Net::perfect(), 8);
        world.net.delay = (5, 40);
        world.start(0, b"key");
        for _ in 0..50 {
            world.flood_with_cookies(0, 1, 3);
            world.flood_first_requests(0, 1, 3);
            world.run(40);
        }
        world.assert_one_pair();
    }
}

#[test]
fn puzzles_on_a_bad_network_end_with_one_pair() {
    for seed in seeds(6) {
        let mut world = loaded(seed, Net::bad(), 8);
        world.start(0, b"key");
        for _ in 0..20 {
            world.flood_with_cookies(0, 1, 2);
            world.run(100);
        }
        world.run(90_000);
        world.assert_one_pair();
    }
}

/// Of the answer that gives the puzzle and of the request that brings its solution.
#[test]
fn an_altered_octet_of_a_puzzle_or_its_solution_costs_at_most_a_repetition() {
    let begin = |alter: Option<(usize, usize)>| {
        let mut world = loaded(6, Net::perfect(), 6);
        world.net.alter = alter;
        world.record = Some(Vec::new());
        world.start(0, b"key");
        world.run(1_000);
        world
    };
    let plain = begin(None);
    plain.assert_one_pair();
    let recorded = plain.record.as_ref().unwrap();
    assert_eq!(bits(&recorded[1].1), Some(12));
    assert!(has_solution(&recorded[2].1));
    for number in [1, 2] {
        for at in 0..recorded[number].1.len() {
            let mut world = begin(Some((number, at)));
            world.run(60_000);
            world.assert_one_pair();
        }
    }
}

/// An answer to side 0's first request by somebody else: a cookie and a puzzle.
fn forged(world: &World, bits: u8) -> Vec<u8> {
    let recorded = world.record.as_ref().unwrap();
    let (_, first) = recorded.iter().find(|(to, _)| *to == 1).unwrap();
    let mut message = Message::parse(first).unwrap();
    message.header.response = true;
    message.header.from_initiator = false;
    let puzzle = Puzzle { prf: 5, bits };
    message.payloads = vec![
        Payload::Notify(Notify::new(kind::COOKIE, vec![7; 36])),
        Payload::Notify(Notify::new(kind::PUZZLE, puzzle.encode().to_vec())),
    ];
    message.encode()
}

#[test]
fn a_puzzle_that_is_too_hard_is_shown_and_keeps_nobody_from_trying() {
    let mut world = World::new(7, Net::perfect());
    world.record = Some(Vec::new());
    world.start(0, b"key");
    let forged = forged(&world, 255);
    world.inject(0, &forged);
    let state = world.state(0);
    let TunnelState::Failed(text) = &state else {
        panic!("{state:?}");
    };
    assert!(text.contains("255 bits"), "{text}");
    world.start(1, b"key");
    world.run_until_up(30_000);
    world.run(20_000);
    world.assert_one_pair();
}

/// The simulation itself demands that a timer that was served is not due at once again, so work
/// leaves time for everything else. Here the peer begins in the midst of it.
#[test]
fn who_works_on_a_puzzle_answers_meanwhile() {
    let mut world = World::new(8, Net::perfect());
    world.record = Some(Vec::new());
    world.start(0, b"key");
    let forged = forged(&world, 18);
    world.inject(0, &forged);
    world.run(100);
    assert!(
        !world
            .record
            .as_ref()
            .unwrap()
            .iter()
            .any(|(_, bytes)| has_solution(bytes))
    );
    world.net.delay = (1, 1);
    world.start(1, b"key");
    // It lets the other begin for a moment, and then does it itself.
    world.run(1_700);
    let recorded = world.record.take().unwrap();
    assert!(
        !recorded.iter().any(|(_, bytes)| has_solution(bytes)),
        "too easy"
    );
    world.assert_one_pair();
}
