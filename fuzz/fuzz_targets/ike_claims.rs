//! Certificates, identities and signatures, altered anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../tests/sim_ike_world/mod.rs"]
mod sim_ike_world;

fuzz_target!(|input: &[u8]| {
    sim_ike_world::claims::judged(input);
});
