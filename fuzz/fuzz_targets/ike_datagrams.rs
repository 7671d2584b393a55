//! Whole datagrams in every state of both versions: the input says how far a handshake has come
//! (or whether a rekey is under way), then what a forger of the peer's address sends. Nothing
//! panics, and no SA stands whose ends hold different keys.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../tests/sim_ike_world/mod.rs"]
mod sim_ike_world;

use sim_ike_world::{Net, World};
use tutti::ike::suite::Profile;

fuzz_target!(|input: &[u8]| {
    let Some((&[state, victim], mut rest)) = input.split_first_chunk() else {
        return;
    };
    let mut world = World::new(1, Net::perfect());
    if state & 1 == 1 {
        let mut profile = Profile::guide_era();
        profile.ike = vec!["aes256-sha256-ecp256".parse().expect("a proposal")];
        world.profiles = [profile.clone(), profile];
    }
    world.start(0, b"key");
    world.start(1, b"key");
    world.run(u64::from(state >> 2));
    if state & 2 == 2 {
        world.run(2_000);
        world.rekey(usize::from(victim & 1));
        world.run(u64::from(state >> 2));
    }
    while let Some((length, next)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(next.len());
        let (datagram, next) = next.split_at(length);
        world.inject(usize::from(victim & 1), datagram);
        rest = next;
    }
    world.run(2_000);
});
