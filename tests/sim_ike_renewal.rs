//! A node certificate is renewed under tunnels that stand, in virtual time: announced, taken,
//! presented, the former forgotten.

#![allow(clippy::unwrap_used)]

// Each of the tests that share it uses a part of it.
#[allow(dead_code)]
mod sim_ike_world;

use sim_ike_world::{Net, World, seeds};
use tutti::ike::suite::Profile;
use tutti::tunnel::message::Presented;

fn main_mode() -> Profile {
    Profile {
        ike: vec!["aes256-sha256-ecp256".parse().unwrap()],
        ..Profile::guide_era()
    }
}

/// Two systems with a tunnel; `older`: by IKEv1.
fn pair(seed: u64, older: bool) -> World {
    let mut world = World::new(seed, Net::perfect());
    if older {
        world.profiles = [main_mode(), main_mode()];
    }
    world.start(0, b"key");
    world.start(1, b"key");
    world.run(10_000);
    world.assert_one_pair();
    world
}

fn two(now: u8, also: u8) -> Presented {
    Presented {
        now: [now; 32],
        also: Some([also; 32]),
    }
}

fn present(world: &mut World, side: usize, presented: impl Into<Presented>) {
    world.presents[side] = presented.into();
    world.start(side, b"key");
}

/// Lets time pass until the other took what `side` presents; the tunnel stands all along.
fn until_taken(world: &mut World, side: usize) {
    let wanted = world.presents[side];
    for _ in 0..600 {
        let (own, other) = (world.told(side), world.pins(1 - side));
        assert!(
            other.is_some() && world.pins(side).is_some(),
            "a tunnel that stands"
        );
        if own == Some(wanted) {
            assert_eq!(other, Some(wanted));
            return;
        }
        world.run(50);
    }
    panic!("not taken: {:?}", world.told(side));
}

#[test]
fn a_renewed_certificate_is_announced_beside_the_old_one_and_then_alone() {
    for (seed, older) in [(1, false), (2, true)] {
        for side in 0..2 {
            let mut world = pair(seed, older);
            world.lossless = true;
            let before = (world.spis(0), world.installs(0));
            let old = side as u8;
            for presented in [two(old, 9), two(9, old), [9; 32].into()] {
                present(&mut world, side, presented);
                until_taken(&mut world, side);
                world.run(3_000);
                assert_eq!(
                    world.pins(side),
                    Some([1 - old; 32].into()),
                    "the other's stays"
                );
            }
            if !older {
                let after = (world.spis(0), world.installs(0));
                assert_eq!(after, before, "no SA is touched");
            }
            world.run(60_000);
            world.assert_one_pair();
        }
    }
}

#[test]
fn an_announcement_whose_answer_is_lost_is_made_again() {
    let mut world = pair(3, false);
    present(&mut world, 0, two(0, 9));
    world.net.loss = 100;
    world.run(300);
    assert_eq!(world.pins(1), Some(two(0, 9)), "it arrived");
    assert_eq!(world.told(0), Some([0; 32].into()), "nobody said so");
    world.net.loss = 0;
    world.run(1_000);
    assert_eq!(world.told(0), Some(two(0, 9)));
}

#[test]
fn what_changes_while_an_announcement_is_under_way_is_announced_after_it() {
    for older in [false, true] {
        let mut world = pair(4, older);
        world.net.delay = (100, 100);
        present(&mut world, 0, two(0, 9));
        present(&mut world, 0, two(9, 0));
        world.run(150);
        present(&mut world, 0, [9; 32]);
        until_taken(&mut world, 0);
        assert_eq!(world.pins(1), Some([9; 32].into()));
    }
}

#[test]
fn both_renew_at_once_whatever_the_network_does() {
    for seed in seeds(40) {
        for older in [false, true] {
            let mut world = pair(seed, older);
            world.net = if seed % 2 == 0 {
                Net::bad()
            } else {
                Net::slow()
            };
            let mut presented = [two(0, 8), two(1, 9)];
            for (side, says) in presented.iter().enumerate() {
                present(&mut world, side, *says);
            }
            // Each presents the new one as soon as the other took it, whoever is first.
            let mut ahead = [0; 2];
            for _ in 0..6_000 {
                world.run(50);
                for (side, says) in presented.iter_mut().enumerate() {
                    let single = (0..2).all(|side| world.ike_sas(side) == 1);
                    let Some(pins) = world.pins(1 - side) else {
                        continue;
                    };
                    if !single || world.told(side) != Some(*says) {
                        continue;
                    }
                    assert_eq!(pins, *says, "seed {seed}, {older}");
                    if ahead[side] < 2 {
                        let (old, new) = (side as u8, 8 + side as u8);
                        *says = [two(new, old), [new; 32].into()][ahead[side]];
                        ahead[side] += 1;
                        present(&mut world, side, *says);
                    }
                }
            }
            world.net = Net::perfect();
            world.run(60_000);
            world.assert_one_pair();
            assert_eq!(ahead, [2, 2], "seed {seed}, {older}");
            for (side, says) in presented.into_iter().enumerate() {
                assert_eq!(world.pins(1 - side), Some(says));
                assert_eq!(world.told(side), Some(says));
            }
        }
    }
}

#[test]
fn a_side_that_is_restarted_meanwhile_hears_or_says_it_anew() {
    for older in [false, true] {
        for (renews, restarts) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let mut world = pair(5, older);
            world.net.delay = (100, 100);
            let both = two(renews as u8, 9);
            present(&mut world, renews, both);
            world.run(50);
            world.restart(restarts);
            world.start(restarts, b"key");
            world.run(60_000);
            world.assert_one_pair();
            assert_eq!(
                world.pins(1 - renews),
                Some(both),
                "{older} {renews} {restarts}"
            );
            assert_eq!(world.told(renews), Some(both));
        }
    }
}
