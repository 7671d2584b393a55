//! Peers that keep no rules, in great number: the same driver as the fuzz target
//! `replication_session` and `replication_frame`, with random input of a fixed count.
#![allow(clippy::unwrap_used, reason = "a test; a panic is its way to fail")]

#[path = "hostile/driver.rs"]
mod driver;

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

#[test]
fn no_sequence_of_frames_and_times_breaks_a_session() {
    let (ran, steps) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let bytes = proptest::collection::vec(any::<u8>(), 0..400);
    let result = runner.run(&bytes, |bytes| {
        ran.set(ran.get() + 1);
        steps.set(steps.get() + driver::run(&bytes));
        Ok(())
    });
    result.unwrap();
    // A peer that is refused at once would test nothing.
    let (ran, steps) = (ran.get(), steps.get());
    assert!(steps > ran * 15, "{steps} steps in {ran} sessions");
}

#[test]
fn every_frame_however_damaged_reads_as_it_is_written_or_not_at_all() {
    let frames = Cell::new(0);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let bytes = proptest::collection::vec(any::<u8>(), 0..400);
    let result = runner.run(&bytes, |bytes| {
        driver::frame(&bytes);
        frames.set(frames.get() + driver::frames(&bytes));
        Ok(())
    });
    result.unwrap();
    assert!(frames.get() > 5_000, "{}", frames.get());
}
