//! Any payloads under the right keys, in every state after the first exchange.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tutti::ike::exchange::hostile::authentic(bytes);
});
