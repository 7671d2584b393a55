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
    let error = world.status(0).last_error.expect("what was wrong");
    assert_eq!(&error.state, shown);
    assert!(error.ago_ms < 60_000, "{error:?}");
    // Each state was told once, in the order in which they came.
    let told = world.changes(0);
    assert_eq!(told.first(), Some(&TunnelState::Connecting));
    assert_eq!(told.last(), Some(&world.state(0)));
    assert!(told.contains(shown), "{told:?}");
    assert!(told.windows(2).all(|two| two[0] != two[1]), "{told:?}");
    assert!(told.len() < 10, "{told:?}");
}

/// A tunnel that goes and comes back before anybody looks was told both ways.
pub fn a_moment_without_tunnel_is_told(make: Make) {
    let mut world = up(make, 21);
    assert!(world.changes(0).last().is_some_and(TunnelState::is_up));
    world.standalone(1);
    world.run(100);
    world.start(1, b"key");
    world.run(60_000);
    world.assert_one_pair();
    let told = world.changes(0);
    assert!(told.last().is_some_and(TunnelState::is_up), "{told:?}");
    assert!(!told[0].is_up(), "{told:?}");
}

/// Whatever was wrong with a peer that is then switched off: it does not answer, and what was wrong
/// is the last error.
pub fn a_peer_that_is_switched_off_shows_as_no_answer(mut world: World, key: &[u8]) {
    world.start(0, b"key");
    world.start(1, key);
    world.run(60_000);
    let before = world.state(0);
    assert!(
        before.is_fault() && before != TunnelState::NoAnswer,
        "{before}"
    );
    world.restart(1);
    world.run(90_000);
    let status = world.status(0);
    assert_eq!(status.state, TunnelState::NoAnswer, "after {before}");
    assert_eq!(status.last_error.map(|error| error.state), Some(before));
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

/// A side that waits to send on a new AH pair does so when traffic comes by it, long before the old
/// pair is deleted or the time is over.
pub fn a_new_pair_sends_when_traffic_comes_by_it(make: Make) {
    let mut world = up(make, 23);
    world.net.delay = (50, 50);
    world.rekey(1);
    let (side, spi) = loop {
        let waits = (0..2).find_map(|side| Some((side, world.awaited(side)?)));
        match waits {
            Some(found) => break found,
            None => world.run(1),
        }
    };
    // Nothing of the peer arrives any more, no DELETE either.
    world.net.loss = 100;
    let before = world.spis(side);
    world.run(1_000);
    assert_eq!(world.spis(side), before, "it does not wait");
    world.arrived(side, spi ^ 1);
    assert_eq!(world.spis(side), before, "another SA tells nothing");
    world.arrived(side, spi);
    assert_eq!(world.spis(side).map(|(inbound, _)| inbound), Some(spi));
    assert_eq!(world.awaited(side), None);
}

/// One datagram of each kind that is dropped is counted once, as what it is.
pub fn what_is_dropped_is_counted_by_reason(make: Make) {
    let mut world = up(make, 22);
    world.record = Some(Vec::new());
    world.rekey(1);
    world.run(20_000);
    let record = world.record.take().unwrap();
    // One with the SPIs of both sides.
    let whole = |(to, bytes): &&(usize, Vec<u8>)| *to == 0 && bytes[8..16] != [0; 8];
    let (_, sound) = record.iter().find(whole).expect("a message");
    let mut count = |bytes: &[u8]| {
        let before = world.dropped(0);
        world.inject(0, bytes);
        let after = world.dropped(0);
        let counts = before.each().into_iter().zip(after.each());
        let more = counts.filter(|(before, after)| before.2 != after.2);
        more.map(|(before, after)| {
            assert_eq!(after.2, before.2 + 1);
            before.0
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(count(&[0; 9_000]), ["too_long"]);
    assert_eq!(count(&sound[..20]), ["header"]);
    assert_eq!(count(&sound[..sound.len() - 1]), ["header"]);
    let altered = |at: usize, to: u8| {
        let mut bytes = sound.clone();
        bytes[at] = to;
        bytes
    };
    // Version 1.0 where 2.0 is spoken, and the other way round.
    let other = 0x30 - sound[17];
    assert_eq!(count(&altered(17, other)), ["version"]);
    assert_eq!(count(&altered(0, sound[0] ^ 1)), ["no_sa"]);
    world.inject_from_stranger(0, sound);
    assert_eq!(world.dropped(0).not_listed, 1);
    // The first protected message to come, with one bit altered, before it comes itself.
    assert_eq!(world.dropped(0).not_authentic, 0);
    world.net.delay = (50, 50);
    world.record = Some(Vec::new());
    world.rekey(1);
    let protected = |(to, bytes): &&(usize, Vec<u8>)| {
        *to == 0 && (bytes[16] == 46 || (bytes[17] == 0x10 && bytes[19] & 1 == 1))
    };
    while !world.record.iter().flatten().any(|one| protected(&one)) {
        world.run(1);
    }
    let record = world.record.take().unwrap();
    let mut forged = record.iter().find(protected).unwrap().1.clone();
    *forged.last_mut().unwrap() ^= 1;
    world.inject(0, &forged);
    assert_eq!(world.dropped(0).not_authentic, 1);
    world.run(20_000);
    world.assert_one_pair();
}

pub fn garbage_is_dropped(make: Make, datagrams: usize) {
    let mut world = up(make, 9);
    world.garbage(datagrams);
    world.run(60_000);
    world.assert_one_pair();
}
