//! Any sequence of frames, times and results: a session never panics, holds no more than its
//! windows, and hands nothing to the store out of order.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unused_imports)]
#[path = "../../tests/hostile/driver.rs"]
mod driver;

fuzz_target!(|bytes: &[u8]| {
    driver::run(bytes);
});
