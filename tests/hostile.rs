//! Peers that keep no rules, in great number: the same driver as the fuzz targets
//! `replication_session`, `replication_frame`, `replication_transaction` and `replication_proof`, with
//! random input of a fixed count; and what they say, said to a real store.
#![allow(clippy::unwrap_used, reason = "a test; a panic is its way to fail")]

#[path = "hostile/driver.rs"]
mod driver;

use std::cell::Cell;

use driver::Source;
use tutti::replica::change::Logged;
use tutti::replica::clock::Hlc;
use tutti::replica::value::Value;
use tutti::store::Store;

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

fn with_bytes(cases: u32, work: impl Fn(&[u8])) {
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let bytes = proptest::collection::vec(any::<u8>(), 0..400);
    let result = runner.run(&bytes, |bytes| {
        work(&bytes);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_transaction_however_damaged_reads_as_it_is_written_or_not_at_all() {
    with_bytes(2_000, driver::transaction);
}

#[test]
fn a_proof_with_a_stranger_ends_by_name_or_with_differences() {
    with_bytes(2_000, driver::proof);
}

/// Transactions that make no sense are refused whole or their rows parked; whatever came, the store
/// goes on writing, is whole, and takes what an honest peer sends.
#[test]
fn a_store_that_is_told_anything_refuses_or_parks_it_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), [1; 16], 1).unwrap();
    let table = "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b CHECK (b <> 7))";
    store.declare(table).unwrap();
    let kept = "CREATE TABLE kept(id INTEGER PRIMARY KEY)";
    store.declare(kept).unwrap();
    let query = |sql: &str| store.read(|reader| reader.query(sql, &[])).unwrap();
    let sql = "SELECT id FROM _tutti_declaration WHERE name = 't'";
    let Value::Integer(table) = query(sql)[0][0] else {
        panic!("no declaration");
    };
    let (origins, taken) = (Cell::new(100_u64), Cell::new(0));
    with_bytes(600, |bytes| {
        let mut source = Source(bytes);
        let mut transaction = driver::made(&mut source, table as u64);
        let origin = origins.get();
        origins.set(origin + 1);
        (transaction.origin, transaction.seq) = (origin, 1);
        let mut encoded = transaction.encode(Hlc(0));
        driver::damage(&mut source, &mut encoded);
        let logged = Logged {
            origin,
            seq: 1,
            bytes: encoded.into(),
            chain: None,
        };
        let before = store.frontier();
        match store.apply(&[logged]) {
            Ok(after) => taken.set(taken.get() + after.seq(origin)),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                assert_eq!(
                    store.frontier(),
                    before,
                    "a part of what was refused: {error}"
                );
            }
        }
        let key = Value::Integer(1_000_000 + origin as i64);
        let insert = "INSERT INTO kept VALUES (?)";
        store.transact(|tx| tx.execute(insert, &[key])).unwrap();
    });
    assert!(
        taken.get() > 100,
        "{} taken: nothing was tried",
        taken.get()
    );
    let check = query("SELECT * FROM pragma_integrity_check");
    assert_eq!(check, [["ok".into()]]);
    store.fold().unwrap();
    store.digest().unwrap();
}
