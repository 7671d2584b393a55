//! The body of one IKEv2 payload (type 54).
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../tests/isakmp_corpus/driver.rs"]
mod driver;

fuzz_target!(|bytes: &[u8]| driver::payload(54, bytes));
