//! A proof with a stranger: messages that are read, answered and taken in.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unused_imports)]
#[path = "../../tests/hostile/driver.rs"]
mod driver;

fuzz_target!(|bytes: &[u8]| driver::proof(bytes));
