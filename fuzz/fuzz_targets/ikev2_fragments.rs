//! Fragments of messages in any order.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tutti::ike::exchange::hostile::fragments(bytes));
