//! The body of one IKEv1 payload (type 5).
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../tests/isakmp_corpus/driver.rs"]
mod driver;

fuzz_target!(|bytes: &[u8]| driver::v1_payload(5, bytes));
