//! Every collision of two systems: all orders of delivery, losses, replacements, deletes and
//! initiations within a budget, with the real state machines, until each state was seen once.
//!
//! A system follows from what it was given and when, for its randomness is a stream of its own. So
//! two states of the world are the same if both systems had the same inputs and the same datagrams
//! are under way: no state is hashed, and none is taken for another. Time passes only while nothing
//! is under way; a datagram later than that counts as lost.

mod world;

use std::collections::HashSet;

use world::{Budget, World};

use crate::ike::suite::Profile;

/// What a side does unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Disturbance {
    /// Replaces its AH pair.
    RekeyChild,
    /// Replaces its IKE SA.
    RekeySa,
    /// Deletes its IKE SA.
    Delete,
    /// Begins another connection beside the one that stands.
    Initiate,
    /// Hears from somebody at the peer's address who has another key.
    Stranger,
    /// Gets a datagram again that it got before.
    Replay,
}

/// What was looked at.
#[derive(Debug, Default)]
struct Figures {
    states: usize,
    settled: usize,
    longest_ms: u64,
}

/// Sees every state once that can be reached from `start`.
fn search(start: World) -> Figures {
    let mut figures = Figures::default();
    let mut seen = HashSet::new();
    let mut open = vec![start];
    while let Some(world) = open.pop() {
        if !seen.insert(world.key()) {
            continue;
        }
        figures.states += 1;
        if figures.states % 5000 == 0 { eprintln!("{} open {} settled {} {}", figures.states, open.len(), figures.settled, figures.longest_ms); }
        world.check();
        if world.is_settled() {
            figures.settled += 1;
            figures.longest_ms = figures.longest_ms.max(world.unrest_ms());
        }
        open.extend(world.successors());
    }
    figures
}

/// Like the product's profile, or without the second key exchange, which costs most of the time.
fn v2(second: bool) -> Profile {
    let mut profile = Profile::default();
    if !second {
        for suite in &mut profile.ike {
            suite.additional = None;
        }
    }
    profile
}

fn v1() -> Profile {
    Profile {
        ike: vec!["aes256-sha256-ecp256".parse().expect("a suite")],
        pfs: false,
        ..Profile::guide_era()
    }
}

/// Whether `./build.sh search-ike` runs this.
fn is_full() -> bool {
    std::env::var_os("TUTTI_SEARCH").is_some()
}

/// Runs with several streams of randomness, so that either side has the lowest nonce.
fn run(name: &str, profile: &Profile, seeds: u64, budget: &Budget) {
    let mut states = 0;
    for seed in 0..seeds {
        let figures = search(World::up(profile, seed, budget.clone()));
        assert!(figures.settled > 0);
        states += figures.states;
        if is_full() {
            println!("{name}, seed {seed}: {figures:?}");
        }
    }
    println!("{name}: {states} states");
}

use Disturbance::*;

#[test]
fn whatever_crosses_ends_with_one_of_each() {
    let (actions, losses, seeds) = if is_full() { (2, 2, 4) } else { (1, 1, 2) };
    let budget = Budget::new(&[RekeyChild, RekeySa, Delete, Initiate], actions, losses);
    run("IKEv2", &v2(false), seeds, &budget);
}

#[test]
fn replacements_with_the_second_key_exchange_end_with_one_of_each() {
    let (actions, losses, seeds) = if is_full() { (2, 1, 2) } else { (1, 0, 1) };
    let budget = Budget::new(&[RekeyChild, RekeySa], actions, losses);
    run("IKEv2 with ML-KEM", &v2(true), seeds, &budget);
}

#[test]
fn whatever_crosses_in_ikev1_ends_with_one_of_each() {
    let (actions, losses, seeds) = if is_full() { (2, 2, 2) } else { (1, 0, 1) };
    let budget = Budget::new(&[RekeyChild, RekeySa, Delete], actions, losses);
    run("IKEv1", &v1(), seeds, &budget);
}

#[test]
fn strangers_and_replays_amid_collisions_make_nothing() {
    let (actions, losses, seeds) = if is_full() { (2, 1, 2) } else { (1, 0, 1) };
    let budget = Budget::new(&[RekeyChild, RekeySa, Stranger, Replay], actions, losses);
    run("IKEv2 under attack", &v2(false), seeds, &budget);
}
