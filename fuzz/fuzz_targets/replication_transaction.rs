//! A transaction's bytes, as a peer sends them: no panic, and what is read in memory, in parts, and written
//! again is the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unused_imports)]
#[path = "../../tests/hostile/driver.rs"]
mod driver;

fuzz_target!(|bytes: &[u8]| driver::transaction(bytes));
