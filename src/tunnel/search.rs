//! Every collision of two systems: all orders of delivery, losses, replacements, deletes and
//! initiations within a budget, with the real state machines, until each state was seen once.
//!
//! A system follows from what it was given and when, for its randomness is a stream of its own. So
//! two states of the world are the same if both systems had the same inputs and the same datagrams
//! are under way: no state is hashed, and none is taken for another. Once all is settled, with one
//! IKE SA and one AH pair, only the roles count. Of two things that happen to different sides while
//! datagrams are under way, one order is enough. Time passes only while nothing is under way; a
//! datagram later than that counts as lost.
//!
//! `search_shapes` goes further with IKEv2: it takes states for the same that differ by chance
//! alone (`ike::shape`), and asks of each whether what follows by itself ends.

mod world;

use std::collections::{HashMap, HashSet};

use world::{Budget, LIMIT_MS, World};

use crate::ike::suite::Profile;

/// Times that differ by less than this are taken for one.
const GRAIN_MS: u64 = 1;

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
#[derive(Default)]
struct Figures {
    states: usize,
    settled: usize,
    longest_ms: u64,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (states, s) = (self.states, self.longest_ms / 1_000);
        write!(f, "{states} states, all settled after {s} s at most")
    }
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
        world.check();
        if world.is_settled() {
            figures.settled += 1;
            figures.longest_ms = figures.longest_ms.max(world.unrest_ms());
        }
        open.extend(world.successors());
    }
    figures
}

/// Sees one state of each shape that can be reached from `start`. From each one the way on, if
/// nothing more is disturbed, is kept: all of these end with everything settled.
fn search_shapes(start: World, grain: u64) -> Figures {
    let mut figures = Figures::default();
    let mut ways: HashMap<u64, Option<(u64, u64)>> = HashMap::new();
    let mut open = vec![(start.shape(grain), start)];
    while let Some((shape, world)) = open.pop() {
        if ways.contains_key(&shape) {
            continue;
        }
        world.check();
        figures.settled += usize::from(world.is_settled());
        let way = world.undisturbed();
        ways.insert(shape, way.map(|(next, took)| (next.shape(grain), took)));
        if ways.len().is_multiple_of(1_000_000) {
            println!("{} shapes so far", ways.len());
        }
        for next in world.successors() {
            let shape = next.shape(grain);
            if !ways.contains_key(&shape) {
                open.push((shape, next));
            }
        }
    }
    figures.states = ways.len();
    figures.longest_ms = longest(&ways);
    figures
}

/// The longest time on the way from any state to a settled one.
fn longest(ways: &HashMap<u64, Option<(u64, u64)>>) -> u64 {
    let mut known: HashMap<u64, u64> = HashMap::new();
    for &begin in ways.keys() {
        let (mut path, mut at) = (Vec::new(), begin);
        let mut left = loop {
            if let Some(&known) = known.get(&at) {
                break known;
            }
            let Some((next, took)) = ways[&at] else {
                known.insert(at, 0);
                break 0;
            };
            path.push((at, took));
            let ends = path.len() < 10_000;
            assert!(
                ends,
                "a way that comes back to where it was: no end of unrest"
            );
            at = next;
        };
        while let Some((at, took)) = path.pop() {
            left += took;
            known.insert(at, left);
        }
    }
    let longest = known.into_values().max().unwrap_or(0);
    assert!(longest < LIMIT_MS, "unrest for {longest} ms");
    longest
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

/// Actions and losses for each side: `brief` here, more if `TUTTI_SEARCH` says so ("2,1"), as
/// `./build.sh search-ike` does.
fn budget(kinds: &[Disturbance], brief: (u8, u8)) -> Budget {
    let pair = option_env!("TUTTI_SEARCH").and_then(|text| text.split_once(','));
    let pair = pair.and_then(|(a, l)| Some((a.parse().ok()?, l.parse().ok()?)));
    let (actions, losses) = pair.unwrap_or(brief);
    Budget::new(kinds, actions, losses)
}

/// Runs with several streams of randomness, so that either side has the lowest nonce. The budget is
/// of disturbances and losses for each side.
fn run(name: &str, profile: &Profile, seeds: u64, budget: &Budget) {
    for seed in 0..seeds {
        let figures = search(World::up(profile, seed, budget.clone()));
        assert!(figures.settled > 0);
        println!("{name}, {budget}, seed {seed}: {figures}");
    }
}

use Disturbance::*;

#[test]
fn crossing_replacements_and_deletes_end_with_one_of_each() {
    let budget = budget(&[RekeyChild, RekeySa, Delete], (1, 1));
    run("IKEv2", &v2(false), 2, &budget);
}

#[test]
fn crossing_initiations_and_replacements_end_with_one_of_each() {
    let budget = budget(&[Initiate, RekeyChild, RekeySa, Delete], (1, 0));
    run("IKEv2", &v2(false), 2, &budget);
}

/// Each side took the connection for the newer one that it had entered last, so both were deleted,
/// and the next two crossed alike.
#[test]
fn connections_that_crossed_within_one_millisecond_are_decided_alike() {
    let mut world = World::up(&v2(false), 0, Budget::new(&[Initiate], 1, 1));
    for side in [1, 0] {
        world = world.disturbed(side, Initiate).remove(0);
    }
    world = world.lost(1, 0).lost(0, 0).later();
    // Two handshakes, message by message.
    for side in [1, 0, 0, 1, 1, 0, 1, 0] {
        world = world.delivered(side, 0);
    }
    assert!(search(world).settled > 0);
}

#[test]
fn datagrams_that_overtake_each_other_change_nothing_of_that() {
    let budget = budget(&[RekeyChild, RekeySa], (1, 0));
    run("IKEv2", &v2(false), 1, &budget.reordered());
}

#[test]
fn replacements_with_the_second_key_exchange_end_with_one_of_each() {
    let budget = budget(&[RekeyChild, RekeySa], (1, 1));
    run("IKEv2 with ML-KEM", &v2(true), 1, &budget);
}

#[test]
fn whatever_crosses_in_ikev1_ends_with_one_of_each() {
    let budget = budget(&[RekeyChild, RekeySa, Delete], (1, 1));
    run("IKEv1", &v1(), 1, &budget);
}

#[test]
fn strangers_and_replays_amid_collisions_make_nothing() {
    let budget = budget(&[RekeyChild, RekeySa, Stranger, Replay], (1, 0));
    run("IKEv2", &v2(false), 1, &budget);
}

/// Rekeys, deletes and connections that cross, with one state of each shape: far fewer than with
/// every history, so that more may happen.
#[test]
fn whatever_crosses_in_whatever_state_ends_with_one_of_each() {
    let budget = budget(&[RekeyChild, RekeySa, Delete, Initiate], (1, 0));
    run_shapes(budget);
}

/// Of the same number of disturbances, all by one side: with the test before, all ways to share
/// them out.
#[test]
fn whatever_one_side_does_twice_ends_with_one_of_each() {
    for side in 0..2 {
        let budget = budget(&[RekeyChild, RekeySa, Delete, Initiate], (1, 0));
        run_shapes(budget.by(side));
    }
}

fn run_shapes(budget: Budget) {
    let figures = search_shapes(World::up(&v2(false), 0, budget.clone()), GRAIN_MS);
    assert!(figures.settled > 0);
    println!("IKEv2 by shapes, {budget}: {figures}");
}

/// The same kind on both sides: so few states that those of two of it and two losses a side can all
/// be seen, 10^6 for the AH pair's replacement.
#[test]
fn the_same_twice_on_both_sides_ends_with_one_of_each() {
    for kind in [RekeyChild, RekeySa, Delete, Initiate] {
        run_shapes(budget(&[kind], (1, 0)));
    }
}
