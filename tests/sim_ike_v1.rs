//! Two systems with the IKEv1 profile in virtual time: main mode, quick mode, replacement, dead
//! peers; and two that are set to different versions.

#![allow(clippy::unwrap_used)]

// Each of the tests that share it uses a part of it.
#[allow(dead_code)]
mod sim_ike_world;

use sim_ike_world::{Net, World, histories, seeds};
use tutti::ike::suite::Profile;
use tutti::tunnel::message::TunnelState;

fn profile(suite: &str, ah: &str, pfs: bool) -> Profile {
    Profile {
        ike: vec![suite.parse().unwrap()],
        ah: vec![ah.parse().unwrap()],
        pfs,
        ..Profile::guide_era()
    }
}

fn world(seed: u64, net: Net) -> World {
    let mut world = World::new(seed, net);
    let profile = profile("aes256-sha256-ecp256", "sha256", true);
    world.profiles = [profile.clone(), profile];
    world
}

fn start(world: &mut World) {
    world.start(0, b"key");
    world.start(1, b"key");
}

#[test]
fn the_guides_profile_keys_a_tunnel() {
    let mut world = World::new(1, Net::perfect());
    world.profiles = [Profile::guide_era(), Profile::guide_era()];
    start(&mut world);
    world.run(3_000);
    world.assert_one_pair();
    for side in 0..2 {
        let certificate = Some([1 - side as u8; 32].into());
        assert_eq!(world.state(side), TunnelState::Up { certificate });
    }
}

#[test]
fn every_proposal_makes_a_tunnel_and_survives_replacement() {
    let suites = [
        "aes256-sha256-ecp256",
        "aes256-sha384-ecp384",
        "aes256-sha512-modp2048",
        "aes256-sha256-modp3072",
        "aes256-sha384-modp4096",
    ];
    for (n, suite) in suites.into_iter().enumerate() {
        let ah = ["sha256", "sha512", "sha384"][n % 3];
        let mut world = World::new(n as u64, Net::perfect());
        let profile = profile(suite, ah, n % 2 == 0);
        world.profiles = [profile.clone(), profile];
        start(&mut world);
        world.run(3_000);
        world.assert_one_pair();
        world.lossless = true;
        let before = world.spis(0);
        world.rekey(0);
        world.run(20_000);
        world.assert_one_pair();
        assert_ne!(world.spis(0), before, "{suite}");
        assert_eq!(world.rekeys(0), (1, 1), "{suite}");
    }
}

#[test]
fn a_tunnel_comes_up_through_loss_duplication_and_reordering() {
    histories::a_bad_network_is_got_through(world, 100);
}

#[test]
fn crossing_initiations_end_with_one_pair() {
    for seed in seeds(100) {
        let mut world = world(seed, Net::slow());
        world.start(0, b"key");
        world.run(seed % 100 * 30);
        world.start(1, b"key");
        world.run(60_000);
        world.net = Net::perfect();
        world.run(60_000);
        world.assert_one_pair();
    }
}

#[test]
fn replacements_of_both_kinds_keep_one_pair() {
    for seed in seeds(20) {
        let net = if seed < 5 { Net::perfect() } else { Net::bad() };
        let mut world = world(seed, net);
        for side in 0..2 {
            world.lifetimes(side, 30_000, 70_000);
        }
        start(&mut world);
        world.run_until_up(180_000);
        world.lossless = seed < 5;
        world.keyer_delay = 30 * (seed % 3);
        let first = world.spis(0);
        world.run(300_000);
        world.net = Net::perfect();
        world.run(60_000);
        for side in 0..2 {
            world.lifetimes(side, 3_000_000, 7_000_000);
        }
        world.run_until_single();
        assert_ne!(world.spis(0), first, "seed {seed}");
        if seed < 5 {
            let (ike, child) = world.rekeys(0);
            assert!(ike >= 3 && child >= 7, "{ike} {child}");
        }
    }
}

#[test]
fn crossing_replacements_keep_one_pair() {
    for seed in seeds(100) {
        let mut world = world(seed, Net::slow());
        start(&mut world);
        world.run(40_000);
        for round in 0..3 {
            world.rekey(0);
            world.run(round * 97 * (seed % 5));
            world.rekey(1);
            world.run(500 * (seed % 11));
        }
        world.net = Net::perfect();
        world.run(90_000);
        world.assert_one_pair();
        let spis = world.spis(0);
        world.run(200_000);
        world.assert_one_pair();
        assert_eq!(world.spis(0), spis, "seed {seed}");
    }
}

#[test]
fn a_restarted_peer_is_taken_back() {
    histories::a_restarted_peer_is_taken_back_within(world, 30_000);
}

#[test]
fn a_dead_peer_shows_as_no_answer_and_its_return_as_up() {
    histories::a_dead_peer_shows_and_its_return(world);
}

#[test]
fn different_keys_show_as_such_and_install_nothing() {
    let shown = TunnelState::AuthenticationDoubted;
    histories::different_keys_install_nothing_until_put_right(world, &shown);
}

#[test]
fn a_new_pair_sends_when_traffic_comes_by_it() {
    histories::a_new_pair_sends_when_traffic_comes_by_it(world);
}

#[test]
fn what_is_dropped_is_counted_by_reason() {
    histories::what_is_dropped_is_counted_by_reason(world);
}

#[test]
fn a_moment_without_tunnel_is_told() {
    histories::a_moment_without_tunnel_is_told(world);
}

#[test]
fn a_peer_that_was_wrong_and_is_switched_off_shows_as_no_answer() {
    let off = histories::a_peer_that_is_switched_off_shows_as_no_answer;
    off(world(13, Net::perfect()), b"another key");
    for other in [
        Profile::default(),
        profile("aes256-sha384-ecp384", "sha256", true),
    ] {
        for side in 0..2 {
            let mut world = world(14, Net::perfect());
            world.profiles[side] = other.clone();
            off(world, b"key");
        }
    }
}

#[test]
fn different_algorithms_show_as_no_proposal() {
    let mut world = world(4, Net::perfect());
    world.profiles[1] = profile("aes256-sha384-ecp384", "sha256", true);
    start(&mut world);
    world.run(60_000);
    for side in 0..2 {
        assert_eq!(world.state(side), TunnelState::NoProposal);
    }
    for side in 0..2 {
        let ah = ["sha256", "sha512"][side];
        world.profiles[side] = profile("aes256-sha256-ecp256", ah, true);
        world.start(side, b"key");
    }
    world.run(60_000);
    for side in 0..2 {
        assert_eq!(world.state(side), TunnelState::NoProposal);
        assert_eq!(world.installs(side), 0);
    }
}

#[test]
fn different_versions_are_named_and_never_fallen_back_to() {
    let mut world = world(7, Net::perfect());
    world.profiles[1] = Profile::default();
    start(&mut world);
    world.run(60_000);
    let named = TunnelState::Failed("different IKE profile".into());
    for side in 0..2 {
        assert_eq!(world.state(side), named);
        assert_eq!(world.installs(side), 0);
    }
    world.profiles[1] = world.profiles[0].clone();
    world.start(1, b"key");
    world.run(60_000);
    world.assert_one_pair();
}

#[test]
fn a_peer_of_another_key_that_then_speaks_another_version_is_named_by_that() {
    for before in [0, 1] {
        let mut world = world(9, Net::perfect());
        let profiles = [world.profiles[0].clone(), Profile::default()];
        world.profiles = [profiles[before].clone(), profiles[before].clone()];
        world.start(0, b"key");
        world.start(1, b"another key");
        world.run(60_000);
        let differ = [
            TunnelState::AuthenticationDoubted,
            TunnelState::AuthenticationFailed,
        ];
        assert_eq!(world.state(0), differ[before]);
        world.profiles[1] = profiles[1 - before].clone();
        world.start(1, b"key");
        world.run(60_000);
        let named = TunnelState::Failed("different IKE profile".into());
        assert_eq!(world.state(0), named);
    }
}

#[test]
fn standalone_deletes_politely() {
    histories::standalone_deletes_politely(world);
}

#[test]
fn garbage_is_dropped() {
    histories::garbage_is_dropped(world, 5_000);
}
