//! A forger who can send from the peer's address and has recorded everything: what it repeats or
//! alters never panics, never makes or removes an SA, and never keeps the peers apart.

#![allow(clippy::unwrap_used)]

// Each of the tests that share it uses a part of it.
#[allow(dead_code)]
#[path = "isakmp_corpus/seeds.rs"]
mod corpus;
#[path = "isakmp_corpus/mutant.rs"]
mod mutant;
#[allow(dead_code)]
mod sim_ike_world;

use rcgen::PKCS_ECDSA_P256_SHA256;
use sim_ike_world::authority::{Authority, key, rsa_key};
use sim_ike_world::claims::judged;
use sim_ike_world::forger::datagrams_in_a_state;
use sim_ike_world::{Net, World, seeds};
use tutti::ike::suite::Profile;
use tutti::tunnel::message::{Certificates, TunnelState};

fn world(seed: u64, version: usize) -> World {
    let mut world = World::new(seed, Net::perfect());
    if version == 1 {
        let mut profile = Profile::guide_era();
        profile.ike = vec!["aes256-sha256-ecp256".parse().unwrap()];
        world.profiles = [profile.clone(), profile];
    }
    world.record = Some(Vec::new());
    world
}

fn start(world: &mut World) {
    world.start(0, b"key");
    world.start(1, b"key");
}

/// What stood has stood since this was asked last, at both sides.
fn assert_nothing_ended(world: &mut World) {
    for side in 0..2 {
        assert_eq!(world.changes(side), [], "side {side}");
    }
}

#[test]
fn replayed_datagrams_make_and_remove_nothing() {
    for version in [1, 2] {
        let mut world = world(1, version);
        start(&mut world);
        world.run(6_000);
        // Rekeys, deletes and liveness, too.
        world.rekey(0);
        world.run(30_000);
        world.rekey(1);
        world.run(30_000);
        world.assert_one_pair();
        let spis = world.spis(0);
        let recorded = world.record.take().unwrap();
        assert!(recorded.len() > 20);
        for (to, bytes) in recorded.iter().chain(recorded.iter().rev()) {
            world.inject(*to, bytes);
            world.assert_agreement();
            world.run(1);
        }
        assert_eq!(world.spis(0), spis, "version {version}");
        world.run(60_000);
        world.assert_one_pair();
        assert_eq!(world.spis(0), spis, "version {version}");
    }
}

#[test]
fn forged_requests_with_cookies_cannot_push_out_a_peer_half_way() {
    let mut world = World::new(3, Net::perfect());
    world.net.delay = (200, 200);
    world.start(0, b"key");
    world.start(1, b"key");
    // The peer's second key exchange is done, IKE_AUTH under way.
    world.run(850);
    world.flood_with_cookies(0, 1, 40);
    world.run(1_000);
    world.assert_one_pair();
}

/// Each was about to authenticate, and put ours off once more.
#[test]
fn forged_requests_that_cost_something_cannot_keep_us_from_initiating() {
    let mut world = World::new(5, Net::perfect());
    world.start(1, b"key");
    world.record = Some(Vec::new());
    for _ in 0..60 {
        if world.flood_with_cookies(0, 1, 1) == 0 {
            assert_eq!(world.flood_with_solutions(0, 1, 1).1, 1);
        }
        world.run(1_000);
    }
    let sent = world.record.take().unwrap();
    let own = sent
        .iter()
        .filter(|(to, bytes)| *to == 0 && bytes[18] == 34 && bytes[19] == 8);
    let mut attempts: Vec<&[u8]> = own.map(|(_, bytes)| &bytes[..8]).collect();
    attempts.dedup();
    assert!(attempts.len() > 2, "{} attempts", attempts.len());
}

#[test]
fn altered_datagrams_before_the_true_ones_change_nothing() {
    for version in [1, 2] {
        for seed in seeds(20) {
            let mut world = world(seed, version);
            world.net.delay = (20, 20);
            start(&mut world);
            let mut seen = 0;
            for step in 0..400u64 {
                world.run(10);
                if step == 150 {
                    world.rekey(0);
                }
                // What was sent in these 10 ms is still under way: its mutants come first.
                let recorded = world.record.take().unwrap();
                for (to, bytes) in &recorded[seen..] {
                    for _ in 0..4 {
                        let mutant = world.mutated(bytes);
                        if mutant != *bytes {
                            world.inject(*to, &mutant);
                        }
                    }
                }
                seen = recorded.len();
                world.record = Some(recorded);
            }
            world.run(60_000);
            world.assert_one_pair();
        }
    }
}

/// Replacing both kinds of SA, deleting the old ones, and signs of life; the last time with ML-KEM
/// (IKE_FOLLOWUP_KE).
#[test]
fn an_altered_octet_of_a_rekey_costs_at_most_a_repetition() {
    for (version, followup) in [(1, false), (2, false), (2, true)] {
        let up = || {
            let mut world = world(4, version);
            world.record = None;
            if version == 2 && !followup {
                for profile in &mut world.profiles {
                    profile.ike = vec!["aes256gcm16-prfsha256-x25519".parse().unwrap()];
                }
            }
            start(&mut world);
            world.run(3_000);
            world.assert_one_pair();
            let _ = [0, 1].map(|side| world.changes(side));
            world
        };
        let rekeyed = |world: &mut World| {
            let before = world.spis(0);
            world.rekey(0);
            world.run(30_000);
            world.assert_one_pair();
            assert_ne!(world.spis(0), before);
            assert_nothing_ended(world);
        };
        let mut plain = up();
        let before = plain.lengths().len();
        rekeyed(&mut plain);
        let lengths = plain.lengths()[before..].to_vec();
        assert!(lengths.len() >= 8, "{lengths:?}");
        assert_eq!(
            lengths.iter().any(|len| *len > 1_000),
            followup,
            "{lengths:?}"
        );
        for (number, length) in lengths.into_iter().enumerate() {
            for at in 0..length {
                let mut world = up();
                world.net.alter = Some((before + number, at));
                rekeyed(&mut world);
            }
        }
    }
}

/// For ten seconds comes, just before each protected message, the same with each octet altered.
fn alter_each_octet(world: &mut World) {
    world.net.delay = (20, 20);
    world.record = Some(Vec::new());
    let (mut seen, mut longest, mut altered) = (0, 0, 0);
    for _ in 0..1_000 {
        world.run(10);
        let recorded = world.record.take().unwrap();
        let protected = |bytes: &[u8]| [46, 53].contains(&bytes[16]);
        for (to, bytes) in recorded[seen..].iter().filter(|(_, b)| protected(b)) {
            longest = longest.max(bytes.len());
            for at in 0..bytes.len() {
                for change in [0x01, 0x80, 0xff] {
                    let mut mutant = bytes.clone();
                    mutant[at] ^= change;
                    world.inject(*to, &mutant);
                    altered += 1;
                }
            }
        }
        seen = recorded.len();
        world.record = Some(recorded);
    }
    world.run(20_000);
    assert!(longest > 1_000 && altered > 10_000, "{longest}, {altered}");
}

/// Both messages of IKE_INTERMEDIATE, and IKE_AUTH with its signatures, in fragments.
#[test]
fn no_altered_octet_of_a_handshake_by_certificates_is_taken_for_the_true_one() {
    let authority = Authority::new("authority");
    let kinds = [key(&PKCS_ECDSA_P256_SHA256), rsa_key()];
    let mut world = world(4, 2);
    world.certificates = [0, 1].map(|side| Some(authority.issue(side, &kinds[side], |_| {})));
    start(&mut world);
    alter_each_octet(&mut world);
    let recorded = world.record.take().unwrap();
    assert!(recorded.iter().any(|(_, bytes)| bytes[16] == 53));
    world.assert_one_pair();
    assert_eq!(world.installs(0), 2);
    // It came up and stayed so.
    for side in 0..2 {
        let changes = world.changes(side);
        let once = matches!(
            changes[..],
            [TunnelState::Connecting, TunnelState::Up { .. }]
        );
        assert!(once, "{changes:?}");
    }
}

/// The first exchange by certificates, where a cookie is asked for, and where another group is
/// wanted, that with a cookie, too.
fn first_exchange(case: usize, certificates: &[Option<Certificates>; 2]) -> World {
    let mut world = World::new(6, Net::perfect());
    let suite = |name: &str| name.parse().unwrap();
    let x25519 = suite("aes256gcm16-prfsha256-x25519");
    let p256 = suite("aes256gcm16-prfsha256-ecp256");
    world.profiles[0].ike = vec![x25519, p256];
    world.profiles[1].ike = match case {
        2 | 3 => vec![p256],
        _ => vec![x25519],
    };
    if case == 0 {
        world.certificates = certificates.clone();
    }
    if case == 1 || case == 3 {
        world.start(1, b"key");
        world.flood_first_requests(0, 1, 12);
    }
    world
}

#[test]
fn an_altered_octet_of_a_first_exchange_keys_nothing_wrong_and_is_got_over() {
    let authority = Authority::new("authority");
    let kind = key(&PKCS_ECDSA_P256_SHA256);
    let certificates = [0, 1].map(|side| Some(authority.issue(side, &kind, |_| {})));
    for (case, messages) in [(0, 2), (1, 4), (2, 4), (3, 6)] {
        let mut plain = first_exchange(case, &certificates);
        let before = plain.lengths().len();
        plain.record = Some(Vec::new());
        start(&mut plain);
        plain.run(3_000);
        plain.assert_one_pair();
        let recorded = plain.record.take().unwrap();
        let first = recorded.iter().take_while(|(_, bytes)| bytes[18] == 34);
        let lengths: Vec<usize> = first.map(|(_, bytes)| bytes.len()).collect();
        assert_eq!(lengths.len(), messages, "case {case}");
        for (number, length) in lengths.into_iter().enumerate() {
            for at in 0..length {
                let mut world = first_exchange(case, &certificates);
                world.net.alter = Some((before + number, at));
                start(&mut world);
                // Whatever is installed meanwhile fits together: the world looks after each step.
                world.run(60_000);
                world.assert_one_pair();
            }
        }
    }
}

/// Every octet of every message of a replacement with ML-KEM.
#[test]
fn no_altered_octet_of_a_long_message_is_taken_for_the_true_one() {
    let mut world = world(4, 2);
    start(&mut world);
    world.run(3_000);
    world.assert_one_pair();
    let before = world.spis(0);
    let _ = [0, 1].map(|side| world.changes(side));
    world.rekey(0);
    alter_each_octet(&mut world);
    world.assert_one_pair();
    assert_ne!(world.spis(0), before);
    assert_eq!(world.rekeys(0), (1, 1));
    assert_nothing_ended(&mut world);
}

/// What the fuzz target `ike_claims` does for long.
#[test]
fn no_altered_claim_by_certificates_holds() {
    let mut random = mutant::Seeded(2);
    // By kind of key and version.
    let (mut held, mut refused) = ([0; 8], [0; 8]);
    for seed in corpus::claims() {
        for input in (0..50).map(|_| random.mutant(&seed)).chain([seed.clone()]) {
            let Some(holds) = judged(&input) else {
                continue;
            };
            let which = usize::from((input[0] & 3) << 1 | input[1] & 1);
            let count = if holds { &mut held } else { &mut refused };
            count[which] += 1;
        }
    }
    let seen = held.iter().chain(&refused).all(|n| *n > 10);
    assert!(seen, "{held:?} {refused:?}");
}

/// What the fuzz target `ike_datagrams` does for long.
#[test]
fn captured_datagrams_and_mutants_of_them_change_nothing_in_any_state() {
    let mut random = mutant::Seeded(1);
    for seed in corpus::in_states() {
        for input in [random.mutant(&seed), random.mutant(&seed), seed] {
            let mut world = datagrams_in_a_state(&input).unwrap();
            world.run(60_000);
            world.assert_one_pair();
        }
    }
}
