//! Any datagram: parsing never panics, and what parses encodes to something that parses alike.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../tests/isakmp_corpus/driver.rs"]
mod driver;

fuzz_target!(|bytes: &[u8]| driver::message(bytes));
