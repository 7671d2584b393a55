//! Two tunnel managers in virtual time: whatever the network does to their datagrams, they end
//! with one IKE SA and one AH pair, or say why not.

#![allow(clippy::unwrap_used)]

// Each of the tests that share it uses a part of it.
#[allow(dead_code)]
mod sim_ike_world;

use sim_ike_world::{Net, World, histories, seeds};
use tutti::ike::suite::Version;
use tutti::tunnel::message::{Profile, TunnelState};

/// Three quarters without the second key exchange, which costs most of the time.
fn mostly_plain(seed: u64, net: Net) -> World {
    let mut world = World::new(seed, net);
    if !seed.is_multiple_of(4) {
        let plain = profile(&["aes256gcm16-prfsha256-x25519"], &["sha256"]);
        world.profiles = [plain.clone(), plain];
    }
    world
}

#[test]
fn a_tunnel_comes_up_and_both_kernels_agree() {
    let mut world = World::new(1, Net::perfect());
    world.start(0, b"key");
    world.start(1, b"key");
    world.run(2_000);
    world.assert_one_pair();
    for side in 0..2 {
        let digest = [1 - side as u8; 32];
        assert_eq!(
            world.state(side),
            TunnelState::Up {
                certificate: Some(digest.into())
            }
        );
    }
}

#[test]
fn a_tunnel_comes_up_through_loss_duplication_and_reordering() {
    histories::a_bad_network_is_got_through(mostly_plain, 300);
}

#[test]
fn crossing_initiations_end_with_one_pair() {
    for seed in seeds(300) {
        // Long and uneven delays make the two attempts overlap in every way.
        let mut world = mostly_plain(seed, Net::slow());
        world.start(0, b"key");
        world.run(seed % 300 * 10);
        world.start(1, b"key");
        world.run(40_000);
        world.assert_one_pair();
        assert_eq!(world.sas_installed_now(0), 2);
    }
}

#[test]
fn different_keys_show_as_such_and_install_nothing() {
    let shown = TunnelState::AuthenticationFailed;
    histories::different_keys_install_nothing_until_put_right(World::new, &shown);
}

#[test]
fn a_new_pair_sends_when_traffic_comes_by_it() {
    histories::a_new_pair_sends_when_traffic_comes_by_it(World::new);
}

#[test]
fn what_is_dropped_is_counted_by_reason() {
    histories::what_is_dropped_is_counted_by_reason(World::new);
}

#[test]
fn a_moment_without_tunnel_is_told() {
    histories::a_moment_without_tunnel_is_told(World::new);
}

#[test]
fn a_peer_that_was_wrong_and_is_switched_off_shows_as_no_answer() {
    let off = histories::a_peer_that_is_switched_off_shows_as_no_answer;
    off(World::new(13, Net::perfect()), b"another key");
    let mut world = World::new(14, Net::perfect());
    world.profiles[1] = profile(&["aes256gcm16-prfsha256-x25519"], &["sha256"]);
    off(world, b"key");
}

fn profile(ike: &[&str], ah: &[&str]) -> Profile {
    Profile {
        ike: ike.iter().map(|word| word.parse().unwrap()).collect(),
        ah: ah.iter().map(|word| word.parse().unwrap()).collect(),
        ..Profile::default()
    }
}

#[test]
fn every_proposal_makes_a_tunnel_and_survives_rekeys() {
    let groups = [
        "x25519", "ecp256", "ecp384", "modp2048", "modp3072", "modp4096",
    ];
    let ciphers = [
        ("aes256gcm16-prfsha256", &groups[..]),
        ("ke1_mlkem768-aes256gcm16-prfsha256", &groups[..2]),
        ("ke1_mlkem768-aes256-sha384", &groups[1..2]),
        ("aes256gcm16-prfsha384", &groups[..1]),
        ("aes256-sha256", &groups[1..2]),
        ("aes256-sha384", &groups[2..3]),
        ("aes256-sha512-prfsha512", &groups[..1]),
        ("aes256gcm16-prfsha512", &groups[1..2]),
    ];
    for (n, (cipher, groups)) in ciphers.into_iter().enumerate() {
        for group in groups {
            let suite = format!("{cipher}-{group}");
            let ah = ["sha256", "sha384", "sha512"][n % 3];
            let mut world = World::new(n as u64, Net::perfect());
            world.profiles = [profile(&[&suite], &[ah]), profile(&[&suite], &[ah])];
            for side in 0..2 {
                world.start(side, b"key");
            }
            world.run(2_000);
            world.assert_one_pair();
            world.lossless = true;
            for side in 0..2 {
                let status = world.status(side);
                assert_eq!(status.version, Version::V2);
                assert_eq!(status.proposal, Some(suite.parse().unwrap()));
                assert_eq!(status.ah.unwrap().to_string(), format!("{ah}-esn"));
            }
            let before = world.spis(0);
            world.rekey(0);
            world.run(5_000);
            world.assert_one_pair();
            assert_ne!(world.spis(0), before, "{suite}");
            assert_eq!(world.rekeys(0), (1, 1), "{suite}");
        }
    }
}

#[test]
fn the_group_a_peer_wants_is_taken_from_those_offered() {
    let offered = ["aes256gcm16-prfsha256-x25519", "aes256-sha256-ecp256"];
    let mut world = World::new(12, Net::bad());
    world.profiles = [
        profile(&offered, &["sha256"]),
        profile(&offered[1..], &["sha256"]),
    ];
    world.start(0, b"key");
    world.start(1, b"key");
    world.run_until_up(180_000);
    world.net = Net::perfect();
    world.run(60_000);
    world.assert_one_pair();
}

#[test]
fn peers_without_a_common_proposal_say_so_and_key_nothing() {
    let mut world = World::new(13, Net::perfect());
    world.profiles = [
        profile(&["aes256gcm16-prfsha256-ecp384"], &["sha256"]),
        profile(&["aes256gcm16-prfsha256-ecp256"], &["sha256"]),
    ];
    world.start(0, b"key");
    world.start(1, b"key");
    world.run(60_000);
    for side in 0..2 {
        assert_eq!(world.state(side), TunnelState::NoProposal);
        assert_eq!(world.installs(side), 0);
    }
    // The same with an AH algorithm that the other does not want.
    for side in 0..2 {
        let ah = ["sha512", "sha256"][side];
        world.profiles[side] = profile(&["aes256gcm16-prfsha256-ecp256"], &[ah]);
        world.start(side, b"key");
    }
    world.run(60_000);
    for side in 0..2 {
        assert_eq!(world.state(side), TunnelState::NoProposal);
        assert_eq!(world.installs(side), 0);
    }
}

#[test]
fn rekeys_of_both_kinds_keep_one_pair() {
    for seed in seeds(40) {
        let mut world = World::new(seed, if seed < 5 { Net::perfect() } else { Net::bad() });
        for side in 0..2 {
            world.lifetimes(side, 20_000, 45_000);
            world.start(side, b"key");
        }
        world.run_until_up(180_000);
        world.lossless = seed < 5;
        world.keyer_delay = 30 * (seed % 3);
        let first = world.spis(0);
        world.run(300_000);
        world.net = Net::perfect();
        world.run(60_000);
        world.run_until_single();
        world.assert_one_pair();
        assert_ne!(world.spis(0), first, "seed {seed}");
        if seed < 5 {
            let (ike, child) = world.rekeys(0);
            assert!(ike >= 5 && child >= 10, "{ike} {child}");
        }
    }
}

#[test]
fn rekeys_that_cross_keep_one_pair() {
    for seed in seeds(200) {
        let mut world = World::new(seed, Net::slow());
        for side in 0..2 {
            world.lifetimes(side, 1_000_000, 4_000_000);
            world.start(side, b"key");
        }
        world.run(40_000);
        world.assert_one_pair();
        let before = world.spis(0);
        for round in 0..4 {
            world.expire_both(round * 53 * (seed % 7));
            world.run(1_000);
        }
        world.run(40_000);
        world.assert_one_pair();
        assert_ne!(world.spis(0), before);
    }
}

#[test]
fn crossing_rekeys_of_the_ike_sa_keep_one_pair() {
    for seed in seeds(200) {
        let mut world = World::new(seed, Net::slow());
        for side in 0..2 {
            world.start(side, b"key");
        }
        world.run(40_000);
        world.assert_one_pair();
        for round in 0..4 {
            world.rekey(0);
            world.run(round * 97 * (seed % 5));
            world.rekey(1);
            world.run(500 * (seed % 11));
        }
        world.run(60_000);
        world.assert_one_pair();
        // It still lives: both sides hear each other for minutes.
        let spis = world.spis(0);
        world.run(200_000);
        world.assert_one_pair();
        assert_eq!(world.spis(0), spis, "seed {seed}");
    }
}

#[test]
fn a_restarted_peer_is_taken_back() {
    histories::a_restarted_peer_is_taken_back_within(World::new, 8_000);
}

#[test]
fn a_dead_peer_shows_as_no_answer_and_its_return_as_up() {
    histories::a_dead_peer_shows_and_its_return(World::new);
}

#[test]
fn standalone_deletes_politely() {
    histories::standalone_deletes_politely(World::new);
}

#[test]
fn a_deletion_is_answered_before_anything_begins_anew() {
    let mut world = mostly_plain(5, Net::perfect());
    world.start(0, b"key");
    world.start(1, b"key");
    world.run_until_up(10_000);
    // One that hardly stood would be a failure.
    world.run(6_000);
    world.record = Some(Vec::new());
    world.standalone(1);
    world.run(10);
    let sent = world.record.take().unwrap();
    let heard = |(to, bytes): &(usize, Vec<u8>)| (*to, bytes[18], bytes[19] & 0x20 != 0);
    let kinds: Vec<_> = sent.iter().map(heard).collect();
    // The deletion, its answer, and only then the first request of a new IKE SA.
    assert_eq!(kinds, [(0, 37, false), (1, 37, true), (1, 34, false)]);
}

#[test]
fn an_altered_byte_never_establishes_anything_wrong() {
    for (target, length) in World::handshake_lengths().into_iter().enumerate() {
        for at in 0..length {
            let mut world = World::new(8, Net::perfect());
            world.net.alter = Some((target, at));
            world.start(0, b"key");
            world.start(1, b"key");
            world.run(1_000);
            world.assert_agreement();
            world.run(60_000);
            world.assert_one_pair();
        }
    }
}

#[test]
fn garbage_is_dropped() {
    histories::garbage_is_dropped(World::new, 20_000);
}

#[test]
fn a_flood_of_first_requests_cannot_keep_the_peer_out() {
    let mut world = World::new(10, Net::perfect());
    world.start(1, b"key");
    world.flood_first_requests(0, 1, 500);
    world.start(0, b"key");
    world.run(5_000);
    world.assert_one_pair();
}

#[test]
fn a_failing_keyer_is_named_and_tried_again() {
    let mut world = World::new(11, Net::perfect());
    world.keyer_fails(0, true);
    world.start(0, b"key");
    world.start(1, b"key");
    world.run(10_000);
    assert!(matches!(world.state(0), TunnelState::Failed(_)));
    world.keyer_fails(0, false);
    world.run(40_000);
    world.assert_one_pair();
}

/// Both shook hands on and on, as fast as they could.
#[test]
fn a_keyer_that_refuses_makes_nobody_hurry() {
    let older = Profile {
        ike: vec!["aes256-sha256-ecp256".parse().unwrap()],
        ..Profile::guide_era()
    };
    for profile in [Profile::default(), older] {
        for side in 0..2 {
            let mut world = World::new(11, Net::perfect());
            world.profiles = [profile.clone(), profile.clone()];
            world.record = Some(Vec::new());
            world.keyer_fails(side, true);
            world.start(0, b"key");
            world.start(1, b"key");
            world.run(60_000);
            let recorded = world.record.take().unwrap();
            let first = recorded.iter().filter(|(_, bytes)| bytes[8..16] == [0; 8]);
            let count = first.count();
            assert!(
                (3..=30).contains(&count),
                "{count} in a minute, side {side}"
            );
        }
    }
}
