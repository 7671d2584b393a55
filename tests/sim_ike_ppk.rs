//! A post-quantum key beside the key exchange (RFC 8784): with the same one on both sides a tunnel
//! comes up and outlives rekeys; whatever else stands between two, no tunnel does, and both say
//! why.

#![allow(clippy::unwrap_used)]

// Each of the tests that share it uses a part of it.
#[allow(dead_code)]
mod sim_ike_world;

use rcgen::PKCS_ECDSA_P256_SHA256;
use sim_ike_world::authority::{Authority, key};
use sim_ike_world::{Net, World, histories, seeds};
use tutti::tunnel::message::{Ppk, Profile, Secret, TunnelState};
use tutti::wire::isakmp::{Message, Payload, exchange};

const USE_PPK: u16 = 16435;

fn ppk(id: &str, secret: u8) -> Option<Ppk> {
    let id = id.to_owned();
    let secret = Secret(vec![secret; 32]);
    Some(Ppk { id, secret })
}

/// A world in which both have the same key.
fn same(seed: u64, net: Net) -> World {
    between(seed, net, [ppk("lab", 1), ppk("lab", 1)])
}

fn between(seed: u64, net: Net, ppks: [Option<Ppk>; 2]) -> World {
    let mut world = World::new(seed, net);
    world.ppks = ppks;
    if !seed.is_multiple_of(4) {
        without_ml_kem(&mut world);
    }
    world
}

fn without_ml_kem(world: &mut World) {
    let mut profile = Profile::default();
    for suite in &mut profile.ike {
        suite.additional = None;
    }
    world.profiles = [profile.clone(), profile];
}

fn start(world: &mut World, key: &[u8]) {
    world.start(0, key);
    world.start(1, key);
}

/// What each side shows of the key, after two minutes in which nothing came up.
fn told(world: &mut World) -> [String; 2] {
    start(world, b"key");
    world.run(120_000);
    [0, 1].map(|side| {
        assert_eq!(world.installs(side), 0, "side {side} keyed something");
        let words = world.state(side).to_string();
        let own = words.strip_prefix("failed: post-quantum key: ");
        own.map_or(words.clone(), ToOwned::to_owned)
    })
}

#[test]
fn the_same_key_on_both_sides_makes_a_tunnel_with_ml_kem_and_without_and_with_certificates() {
    let authority = Authority::new("authority");
    let issued = |side| authority.issue(side, &key(&PKCS_ECDSA_P256_SHA256), |_| {});
    for seed in 0..8 {
        let mut world = same(seed, Net::perfect());
        if seed % 2 == 1 {
            world.certificates = [Some(issued(0)), Some(issued(1))];
        }
        start(&mut world, if seed % 2 == 1 { b"" } else { b"key" });
        world.run(2_000);
        world.assert_one_pair();
    }
}

#[test]
fn it_comes_up_through_loss_duplication_and_reordering() {
    histories::a_bad_network_is_got_through(same, 60);
}

#[test]
fn crossing_initiations_end_with_one_pair() {
    for seed in seeds(60) {
        let mut world = same(seed, Net::slow());
        world.start(0, b"key");
        world.run(seed % 300 * 10);
        world.start(1, b"key");
        world.run(40_000);
        world.assert_one_pair();
    }
}

#[test]
fn rekeys_by_either_side_derive_from_the_mixed_key_and_lose_nothing() {
    for seed in 0..8 {
        let mut world = same(seed, Net::perfect());
        start(&mut world, b"key");
        world.run(2_000);
        world.assert_one_pair();
        world.lossless = true;
        for side in [0, 1, 0, 1] {
            let before = world.spis(0);
            world.rekey(side);
            world.run(5_000);
            world.assert_one_pair();
            assert_ne!(world.spis(0), before);
        }
        let (ike, child) = world.rekeys(0);
        assert!(ike >= 4 && child >= 4, "{ike} {child}");
        assert!(world.has_ppk(0) && world.has_ppk(1));
    }
}

#[test]
fn a_side_without_it_is_refused_in_either_role_and_both_name_it() {
    for seed in 0..4 {
        // Side 0 begins where both are free to.
        let mut world = between(seed, Net::perfect(), [ppk("lab", 1), None]);
        assert_eq!(
            told(&mut world),
            ["the peer uses none", "the peer requires one"]
        );
        let mut world = between(seed, Net::perfect(), [None, ppk("lab", 1)]);
        assert_eq!(
            told(&mut world),
            ["the peer requires one", "the peer uses none"]
        );
        // Put right, it comes up.
        world.ppks[0] = ppk("lab", 1);
        world.start(0, b"key");
        world.run(60_000);
        world.assert_one_pair();
    }
}

#[test]
fn another_identity_and_another_secret_are_told_apart_by_both() {
    for seed in 0..4 {
        let mut world = between(seed, Net::perfect(), [ppk("lab", 1), ppk("office", 1)]);
        assert_eq!(told(&mut world), ["the peer's has another identity"; 2]);
        let mut world = between(seed, Net::perfect(), [ppk("lab", 1), ppk("lab", 2)]);
        assert_eq!(told(&mut world), ["it or the cluster key differs"; 2]);
        world.ppks[1] = ppk("lab", 1);
        world.start(1, b"key");
        world.run(60_000);
        world.assert_one_pair();
    }
}

#[test]
fn with_certificates_another_secret_is_told_from_a_certificate_that_is_wrong() {
    let authority = Authority::new("authority");
    let stranger = Authority::new("stranger");
    let issued = |by: &Authority, side| Some(by.issue(side, &key(&PKCS_ECDSA_P256_SHA256), |_| {}));
    let mut world = between(1, Net::perfect(), [ppk("lab", 1), ppk("lab", 2)]);
    world.certificates = [issued(&authority, 0), issued(&authority, 1)];
    assert_eq!(
        told(&mut world),
        ["it differs, or the signature is wrong"; 2]
    );
    let mut world = between(1, Net::perfect(), [ppk("lab", 1), ppk("lab", 1)]);
    world.certificates = [issued(&authority, 0), issued(&stranger, 1)];
    for words in told(&mut world) {
        assert!(words.starts_with("certificate refused"), "{words}");
    }
}

#[test]
fn another_cluster_key_is_not_mistaken_for_a_side_without_post_quantum_key() {
    let mut world = between(1, Net::perfect(), [ppk("lab", 1), None]);
    world.start(0, b"key");
    world.start(1, b"another");
    world.run(120_000);
    // What is known before anybody proves anything is said as such.
    let shown = [0, 1].map(|side| world.state(side).to_string());
    assert_eq!(
        shown[0], "failed: post-quantum key: the peer uses none",
        "its first answer lacks the word"
    );
    assert!(!shown[1].contains("uses none"), "{}", shown[1]);
    assert_eq!((world.installs(0), world.installs(1)), (0, 0));
}

/// Takes USE_PPK out of IKE_SA_INIT.
fn strip(bytes: Vec<u8>, response: bool) -> Vec<u8> {
    let Ok(mut message) = Message::parse(&bytes) else {
        return bytes;
    };
    let header = &message.header;
    if header.exchange != exchange::IKE_SA_INIT || header.response != response {
        return bytes;
    }
    let is_word = |p: &Payload| matches!(p, Payload::Notify(n) if n.kind == USE_PPK);
    message.payloads.retain(|payload| !is_word(payload));
    message.encode()
}

#[test]
fn a_path_that_takes_the_word_away_keeps_them_apart_until_it_stops() {
    let paths: [fn(Vec<u8>) -> Vec<u8>; 2] =
        [|bytes| strip(bytes, false), |bytes| strip(bytes, true)];
    for (n, path) in paths.into_iter().enumerate() {
        let mut world = same(n as u64, Net::perfect());
        world.path = Some(path);
        start(&mut world, b"key");
        world.run(120_000);
        for side in 0..2 {
            assert_eq!(world.installs(side), 0);
            let words = "failed: post-quantum key: the peer uses none";
            assert_eq!(world.state(side).to_string(), words);
        }
        world.path = None;
        world.run(60_000);
        world.assert_one_pair();
    }
}

#[test]
fn an_answer_without_the_word_is_waited_past() {
    // The first answer only: whoever forges one cannot end the attempt.
    let mut world = same(1, Net::perfect());
    world.net.delay = (100, 100);
    world.path = Some(|bytes| strip(bytes, true));
    world.start(1, b"key");
    world.start(0, b"key");
    world.run(250);
    world.path = None;
    world.run(2_000);
    world.assert_one_pair();
}

#[test]
fn an_altered_byte_never_establishes_anything_wrong() {
    let lengths = {
        let mut world = same(8, Net::perfect());
        without_ml_kem(&mut world);
        start(&mut world, b"key");
        world.run(1_000);
        world.lengths().to_vec()
    };
    assert_eq!(lengths.len(), 4);
    for (target, length) in lengths.into_iter().enumerate() {
        for at in 0..length {
            let mut world = same(8, Net::perfect());
            without_ml_kem(&mut world);
            world.net.alter = Some((target, at));
            start(&mut world, b"key");
            world.run(1_000);
            world.assert_agreement();
            world.run(60_000);
            world.assert_one_pair();
        }
    }
}

#[test]
fn a_change_of_the_key_ends_the_tunnel_and_both_with_it_have_one_again() {
    let mut world = same(1, Net::perfect());
    start(&mut world, b"key");
    world.run(2_000);
    world.assert_one_pair();
    let before = world.spis(0);
    world.ppks = [ppk("lab", 2), ppk("lab", 2)];
    world.start(0, b"key");
    world.run(10_000);
    assert!(!world.state(0).is_up() && !world.state(1).is_up());
    world.start(1, b"key");
    world.run(60_000);
    world.assert_one_pair();
    assert_ne!(world.spis(0), before);
    // Saved again without a change it stays.
    let before = world.spis(0);
    start(&mut world, b"key");
    world.run(5_000);
    assert_eq!(world.spis(0), before);
    assert!(matches!(world.state(0), TunnelState::Up { .. }));
}
