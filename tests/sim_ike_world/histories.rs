//! Histories that end alike whatever the version: `make` gives a world from a seed and a network.

use tutti::tunnel::message::TunnelState;

use super::{Net, World, seeds};

type Make = fn(u64, Net) -> World;

fn up(make: Make, seed: u64) -> World {
    let mut world = make(seed, Net::perfect());
    for side in 0..2 {
        world.start(side, b"key");
    }
    world.run(5_000);
    world.assert_one_pair();
    world
}

pub fn a_bad_network_is_got_through(make: Make, count: u64) {
    for seed in seeds(count) {
        let mut world = make(seed, Net::bad());
        world.start(0, b"key");
        world.start(1, b"key");
        world.run_until_up(180_000);
        world.net = Net::perfect();
        world.run(60_000);
        world.assert_one_pair();
    }
}

pub fn different_keys_install_nothing_until_put_right(make: Make, shown: &TunnelState) {
    let mut world = make(3, Net::perfect());
    world.start(0, b"key");
    world.start(1, b"another key");
    world.run(60_000);
    for side in 0..2 {
        assert_eq!(&world.state(side), shown);
        assert_eq!(world.installs(side), 0);
    }
    // The right key makes it good by itself.
    world.start(1, b"key");
    world.run(60_000);
    world.assert_one_pair();
}

pub fn a_restarted_peer_is_taken_back_within(make: Make, ms: u64) {
    let mut world = up(make, 5);
    for side in [0, 1, 1, 0] {
        world.restart(side);
        world.start(side, b"key");
        world.run(ms);
        world.assert_one_pair();
    }
}

pub fn a_dead_peer_shows_and_its_return(make: Make) {
    let mut world = up(make, 6);
    world.restart(1);
    world.run(22_000);
    assert_eq!(world.state(0), TunnelState::NoAnswer);
    assert_eq!(world.sas_installed_now(0), 0);
    world.run(600_000);
    assert_eq!(world.state(0), TunnelState::NoAnswer);
    world.start(1, b"key");
    world.run(30_000);
    world.assert_one_pair();
}

pub fn standalone_deletes_politely(make: Make) {
    let mut world = up(make, 7);
    world.standalone(1);
    world.run(1_000);
    assert_eq!(world.sas_installed_now(0), 0);
    assert_eq!(world.sas_installed_now(1), 0);
    assert!(!matches!(world.state(0), TunnelState::Up { .. }));
}

pub fn garbage_is_dropped(make: Make, datagrams: usize) {
    let mut world = up(make, 9);
    world.garbage(datagrams);
    world.run(60_000);
    world.assert_one_pair();
}
