//! Any payloads behind a right HASH in quick mode and Informational.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tutti::ike::v1::hostile::authentic(bytes);
});
