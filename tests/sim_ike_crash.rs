//! Quick crash detection (RFC 6290): a peer that has lost its state says so provably, and what
//! stands for nothing goes at once.

#![allow(clippy::unwrap_used)]

// Each of the tests that share it uses a part of it.
#[allow(dead_code)]
mod sim_ike_world;

use sim_ike_world::{Net, World};
use tutti::tunnel::message::TunnelState;

fn up() -> World {
    let mut world = World::new(31, Net::perfect());
    world.start(0, b"key");
    world.start(1, b"key");
    world.run(5_000);
    world.assert_one_pair();
    world
}

fn is_up(world: &World, side: usize) -> bool {
    matches!(world.state(side), TunnelState::Up { .. })
}

/// Long enough for a question of liveness, far too short for giving up on it.
const ONE_QUESTION_MS: u64 = 7_000;

#[test]
fn a_peer_that_was_restarted_but_cannot_begin_ends_the_stale_tunnel_with_its_token() {
    for rekeyed in [false, true] {
        let mut world = up();
        if rekeyed {
            // The new IKE SA has tokens of its own, whoever made it.
            world.rekey(0);
            world.run(10_000);
            world.rekey(1);
            world.run(10_000);
            world.assert_one_pair();
        }
        world.no_beginnings = true;
        world.restart(1);
        world.start(1, b"key");
        world.run(ONE_QUESTION_MS);
        assert!(!is_up(&world, 0), "rekeyed: {rekeyed}");
        assert_eq!(world.sas_installed_now(0), 0);
        world.no_beginnings = false;
        world.run(60_000);
        world.assert_one_pair();
    }
}

#[test]
fn without_the_secret_of_before_only_silence_ends_it() {
    let mut world = up();
    world.no_beginnings = true;
    world.replace(1);
    world.start(1, b"key");
    world.run(ONE_QUESTION_MS);
    assert!(is_up(&world, 0));
    world.run(15_000);
    assert!(!is_up(&world, 0));
}

#[test]
fn a_token_for_an_sa_that_was_replaced_ends_nothing() {
    let mut world = up();
    world.record = Some(Vec::new());
    // A question under the first IKE SA, which is then replaced.
    world.run(8_000);
    let recorded = world.record.clone().unwrap();
    let asked =
        |(to, bytes): &&(usize, Vec<u8>)| *to == 1 && bytes[18] == 37 && bytes[19] & 32 == 0;
    let (_, question) = recorded.iter().find(asked).unwrap().clone();
    world.rekey(0);
    world.run(30_000);
    world.assert_one_pair();
    let spis = world.spis(0);
    world.record = Some(Vec::new());
    world.inject(1, &question);
    assert_eq!(
        world.record.as_ref().unwrap().len(),
        0,
        "while another stands"
    );
    // Even the true one, which the peer tells after it has lost everything.
    world.no_beginnings = true;
    world.restart(1);
    world.start(1, b"key");
    world.inject(1, &question);
    assert_eq!(world.record.as_ref().unwrap().len(), 1);
    // At most so often.
    world.inject(1, &question);
    assert_eq!(world.record.as_ref().unwrap().len(), 1);
    world.run(10);
    assert!(is_up(&world, 0));
    assert_eq!(world.spis(0), spis);
}

#[test]
fn an_altered_token_ends_nothing_and_the_true_one_at_once() {
    let mut world = up();
    world.record = Some(Vec::new());
    world.run(8_000);
    let recorded = world.record.take().unwrap();
    let asked =
        |(to, bytes): &&(usize, Vec<u8>)| *to == 1 && bytes[18] == 37 && bytes[19] & 32 == 0;
    let (_, question) = recorded.iter().find(asked).unwrap().clone();
    world.no_beginnings = true;
    world.restart(1);
    world.start(1, b"key");
    world.record = Some(Vec::new());
    world.inject(1, &question);
    let (_, answer) = world.record.take().unwrap().pop().unwrap();
    // Its SPIs and the token itself.
    for at in (0..16).chain(answer.len() - 32..answer.len()) {
        for bit in 0..8 {
            let mut altered = answer.clone();
            altered[at] ^= 1 << bit;
            world.inject(0, &altered);
            let ended = !is_up(&world, 0);
            assert!(!ended, "byte {at} bit {bit}");
        }
    }
    world.inject(0, &answer);
    assert!(!is_up(&world, 0));
    assert_eq!(world.sas_installed_now(0), 0);
}

#[test]
fn no_token_is_told_of_an_sa_that_stands() {
    let mut world = up();
    world.record = Some(Vec::new());
    world.run(20_000);
    let recorded = world.record.clone().unwrap();
    for (to, bytes) in &recorded {
        world.record = Some(Vec::new());
        world.inject(*to, bytes);
        let told = |(_, answer): &(usize, Vec<u8>)| answer[16] == 41;
        assert!(!world.record.as_ref().unwrap().iter().any(told));
    }
}

/// Whoever saw the peer's answer asked under the SPIs that we were about to have, and got the token
/// by which the peer would believe that we lost them.
#[test]
fn no_token_is_told_of_an_sa_that_comes_up() {
    let mut world = World::new(31, Net::perfect());
    world.net.delay = (100, 100);
    world.record = Some(Vec::new());
    world.start(0, b"key");
    world.start(1, b"key");
    world.run(150);
    let sent = world.record.replace(Vec::new()).unwrap();
    let answer = |(to, bytes): &&(usize, Vec<u8>)| *to == 0 && bytes[18] == 34;
    let (_, answer) = sent.iter().find(answer).unwrap();
    let mut asks = answer[..16].to_vec();
    // SK, IKEv2, INFORMATIONAL, a request of the responder, message id 0, 60 octets.
    asks.extend([46, 0x20, 37, 0, 0, 0, 0, 0, 0, 0, 0, 60]);
    asks.extend([0, 0, 0, 32]);
    asks.extend([7; 28]);
    world.inject(0, &asks);
    assert!(world.record.take().unwrap().is_empty(), "it was answered");
    world.run(5_000);
    world.assert_one_pair();
}
