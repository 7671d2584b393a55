//! Any frame body: decoding never panics, and what decodes encodes to the same value.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unused_imports)]
#[path = "../../tests/hostile/driver.rs"]
mod driver;

fuzz_target!(|bytes: &[u8]| driver::frame(bytes));
