//! What a restart of ours, a peer that does not list us, and a NAT between us look like.

#![allow(clippy::unwrap_used)]

// Each of the tests that share it uses a part of it.
#[allow(dead_code)]
mod sim_ike_world;

use sim_ike_world::{Net, World};
use tutti::ike::suite::Profile;
use tutti::tunnel::message::TunnelState;

fn main_mode_profile() -> Profile {
    let mut profile = Profile::guide_era();
    profile.ike = vec!["aes256-sha256-ecp256".parse().unwrap()];
    profile
}

/// Two systems with a tunnel between them; datagrams take up to `delay` milliseconds.
fn up(seed: u64, main_mode: bool, delay: u64) -> World {
    let mut world = World::new(seed, Net::perfect());
    world.net.delay = (1, delay);
    if main_mode {
        world.profiles = [main_mode_profile(), main_mode_profile()];
    }
    world.start(0, b"key");
    world.start(1, b"key");
    world.run(10_000);
    world
}

/// Milliseconds in which something that was sent would have been lost, after a restart.
fn gap(world: &mut World, side: usize) -> u64 {
    world.restart(side);
    world.start(side, b"key");
    let mut lost = 0;
    for _ in 0..4_000 {
        world.run(10);
        lost += 10 * u64::from(!(world.is_received(0) && world.is_received(1)));
    }
    world.assert_one_pair();
    lost
}

#[test]
fn a_restart_with_the_same_settings_loses_nothing() {
    for (seed, main_mode) in (0..10).flat_map(|seed| [(seed, false), (seed, true)]) {
        for keeps in [true, false] {
            let mut world = up(seed, main_mode, 200);
            world.keeps = keeps;
            for side in [0, 1, 1] {
                let before = world.spis(side);
                let lost = gap(&mut world, side);
                assert_ne!(world.spis(side), before, "new keys all the same");
                assert_eq!(
                    lost == 0,
                    keeps,
                    "{lost} ms, seed {seed}, side {side}, {main_mode}"
                );
            }
        }
    }
}

/// Nobody else begins: the peer knows of no restart yet.
#[test]
fn who_carries_on_after_a_restart_begins_at_once_whichever_address_it_has() {
    for (side, main_mode) in [(0, false), (1, false), (0, true), (1, true)] {
        let mut world = up(1, main_mode, 1);
        world.keeps = true;
        let before = world.spis(side);
        world.restart(side);
        world.start(side, b"key");
        world.run(500);
        assert!(world.state(side).is_up(), "side {side}, {main_mode}");
        assert_ne!(world.spis(side), before);
    }
}

/// A site that was without power: nobody waits for the other.
#[test]
fn two_that_carry_on_at_the_same_time_end_with_one_of_each() {
    for (seed, main_mode) in (0..20).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut world = up(seed, main_mode, 200);
        world.keeps = true;
        world.restart(0);
        world.restart(1);
        world.start(0, b"key");
        world.start(1, b"key");
        world.run(40_000);
        world.assert_one_pair();
        assert_eq!([0, 1].map(|side| world.ike_sas(side)), [1, 1]);
    }
}

#[test]
fn what_was_kept_goes_after_a_while_if_nothing_new_comes_up() {
    let mut world = World::new(1, Net::perfect());
    world.start(0, b"key");
    world.start(1, b"key");
    world.run(5_000);
    world.restart(0);
    world.restart(1);
    world.keeps = true;
    world.start(0, b"key");
    world.run(29_000);
    assert_eq!(world.sas_installed_now(0), 2);
    world.run(2_000);
    assert_eq!(world.sas_installed_now(0), 0);
}

#[test]
fn other_settings_end_what_stood_at_once() {
    let mut world = World::new(1, Net::perfect());
    world.start(0, b"key");
    world.start(1, b"key");
    world.run(5_000);
    world.restart(0);
    world.start(0, b"another key");
    world.run(100);
    assert_eq!(world.sas_installed_now(0), 0);
}

/// What was kept over the restart stood for half a minute more.
#[test]
fn other_settings_after_a_restart_end_what_was_kept_over_it_at_once() {
    let mut world = World::new(1, Net::perfect());
    world.start(0, b"key");
    world.start(1, b"key");
    world.run(5_000);
    world.restart(0);
    world.restart(1);
    world.keeps = true;
    world.start(0, b"key");
    world.run(100);
    assert_eq!(world.sas_installed_now(0), 2);
    world.start(0, b"another key");
    world.run(100);
    assert_eq!(world.sas_installed_now(0), 0);
}

/// It took a request with it: what that was to remove was accepted until the kernel's own limit.
#[test]
fn what_a_keyer_that_died_left_in_the_kernel_goes_when_it_is_back() {
    let mut world = World::new(1, Net::perfect());
    world.start(0, b"key");
    world.start(1, b"key");
    world.run(5_000);
    world.leave_stray(0);
    assert_eq!(world.sas_installed_now(0), 3);
    world.keyer_back(0);
    world.run(100);
    world.assert_one_pair();
}

#[test]
fn a_peer_that_does_not_list_us_says_so_to_who_has_the_key_and_to_nobody_else() {
    for main_mode in [false, true] {
        let mut world = World::new(2, Net::perfect());
        if main_mode {
            world.profiles = [main_mode_profile(), main_mode_profile()];
        }
        world.unlisted = Some(1);
        world.start(0, b"key");
        world.start(1, b"key");
        world.run(30_000);
        assert_eq!(world.state(0), TunnelState::NotListed, "{main_mode}");
        assert_eq!((world.installs(0), world.installs(1)), (0, 0));
        world.start(0, b"another key");
        world.run(30_000);
        assert_ne!(world.state(0), TunnelState::NotListed, "{main_mode}");
        assert_eq!((world.installs(0), world.installs(1)), (0, 0));
        // Listed at last.
        world.unlisted = None;
        world.start(0, b"key");
        world.start(1, b"key");
        world.run(60_000);
        world.assert_one_pair();
    }
}

#[test]
fn unlisted_addresses_are_answered_at_most_so_often() {
    let mut world = World::new(3, Net::perfect());
    world.unlisted = Some(1);
    world.start(1, b"key");
    world.record = Some(Vec::new());
    let mut opened = 0;
    for _ in 0..30 {
        opened += world.flood_with_cookies(0, 1, 10);
        world.run(100);
    }
    // Each had its cookie; in three seconds at most four got on, and none came to anything.
    assert!((1..=4).contains(&opened), "{opened} of 300");
    assert_eq!(world.sas_installed_now(1), 0);
}

#[test]
fn a_nat_between_us_is_named_in_both_versions() {
    for (main_mode, behind) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let mut world = World::new(4, Net::perfect());
        if main_mode {
            world.profiles = [main_mode_profile(), main_mode_profile()];
        }
        world.behind_nat = Some(behind);
        world.start(0, b"key");
        world.start(1, b"key");
        world.run(60_000);
        for side in 0..2 {
            let TunnelState::Failed(text) = world.state(side) else {
                panic!("{main_mode} {behind} {side}: {:?}", world.state(side));
            };
            assert_eq!(text, "NAT between us");
            assert_eq!(world.installs(side), 0);
        }
        // It is taken away, and the retries find that out.
        world.behind_nat = None;
        world.start(behind, b"key");
        world.run(60_000);
        world.assert_one_pair();
    }
}

#[test]
fn sas_that_the_kernel_lost_are_made_anew_as_soon_as_traffic_finds_none() {
    for (seed, main_mode) in (0..5).flat_map(|seed| [(seed, false), (seed, true)]) {
        for sides in [&[0][..], &[1], &[0, 1]] {
            let mut world = World::new(seed, Net::perfect());
            if main_mode {
                world.profiles = [main_mode_profile(), main_mode_profile()];
            }
            world.start(0, b"key");
            world.start(1, b"key");
            world.run(10_000);
            world.assert_one_pair();
            sides.iter().for_each(|side| world.flush(*side));
            // With main mode the side that replaced a pair sends on it 5 s later.
            world.run(if main_mode { 7_000 } else { 2_000 });
            let received = [0, 1].map(|side| world.is_received(side));
            assert_eq!(
                received, [true; 2],
                "{seed}, main mode {main_mode}, {sides:?}"
            );
            world.run(20_000);
            world.assert_one_pair();
        }
    }
}
