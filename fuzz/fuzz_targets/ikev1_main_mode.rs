//! Any payloads under the right keys as the proof of main mode.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tutti::ike::v1::hostile::main_mode(bytes);
});
