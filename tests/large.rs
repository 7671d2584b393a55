//! What the largest transactions take of memory. A process of its own, whose memory is looked at.
#![allow(clippy::unwrap_used, reason = "a test; a panic is its way to fail")]

use std::path::Path;

use tutti::replica::value::Value;
use tutti::store::{Store, StoreError};
use tutti::wire::replication::Partial;

const TABLES: [&str; 2] = [
    "CREATE TABLE item(id INTEGER PRIMARY KEY, filler TEXT, n INTEGER)",
    "CREATE TABLE tied(id INTEGER PRIMARY KEY, filler TEXT, n INTEGER UNIQUE)",
];
/// How large a row is, in bytes.
const ROW: i64 = 4_096;
const MIB: i64 = 1 << 20;

/// The most memory that this process ever held, in MiB.
fn peak() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: i64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1_024
}

fn open(dir: &Path, number: u8) -> Store {
    let store = Store::open(dir, [number; 16], u64::from(number)).unwrap();
    store.migrate(&TABLES).unwrap();
    store
}

fn write(store: &Store, table: &str, mib: i64, filler: &str) -> Result<(), StoreError> {
    let filler = filler.repeat(ROW as usize);
    let sql = format!("INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)");
    store.transact(|tx| {
        for id in 0..mib * MIB / ROW {
            let row = [id.into(), filler.as_str().into(), id.into()];
            tx.execute(&sql, &row)?;
        }
        Ok(())
    })
}

/// Gives `to` the one transaction that it lacks, as a link does.
fn deliver(to: &Store, from: &Store) {
    let held = to.frontier();
    let at = from.log_start(&held).unwrap();
    let (_, large, _) = from.log_batch(&held, at, 1 << 18).unwrap();
    let large = large.unwrap();
    let whole = Partial {
        origin: large.origin,
        seq: large.seq,
        total: large.total,
        chain: large.chain,
        held: 0,
    };
    let begun = to.begin_partial(whole, u64::MAX);
    let mut partial = begun.unwrap();
    while partial.what.held < large.total {
        let held = partial.what.held;
        let piece = from.log_piece(large, held, 1 << 20).unwrap();
        partial.write(held, &piece).unwrap();
    }
    to.apply_partial(to.incarnation(), partial).unwrap();
}

/// Gives `to` the small transactions that it lacks.
fn pull(to: &Store, from: &Store) {
    let held = to.frontier();
    let at = from.log_start(&held).unwrap();
    let (found, _) = from.log_after(&held, at, 1 << 18).unwrap();
    to.apply(&found).unwrap();
}

#[test]
fn a_transaction_of_200_mib_takes_a_fraction_of_it_in_memory_and_a_larger_one_is_refused() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = (open(here.path(), 1), open(there.path(), 2));
    write(&a, "item", 200, "x").unwrap();
    println!("written: {} MiB", peak());
    deliver(&b, &a);
    println!("applied: {} MiB", peak());
    assert_eq!(a.digest().unwrap(), b.digest().unwrap());
    // Written over again: what was before is held back, too.
    let error = write(&a, "item", 257, "y").unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    let count = a.read(|reader| reader.query("SELECT count(*) FROM item", &[]));
    assert_eq!(count.unwrap(), [[Value::Integer(200 * MIB / ROW)]]);
    println!("refused: {} MiB", peak());
    let again = Store::open(here.path(), [1; 16], 3).unwrap();
    assert_eq!(again.digest().unwrap(), b.digest().unwrap());
    println!("opened again: {} MiB", peak());
    drop(again);
    // What others wrote meanwhile has to be merged, and unique values to be settled.
    let own = [1_000_000.into(), "own".into(), 7.into()];
    let insert = "INSERT INTO tied VALUES (?, ?, ?)";
    b.transact(|tx| tx.execute(insert, &own)).unwrap();
    write(&a, "tied", 120, "z").unwrap();
    deliver(&b, &a);
    let count = b.read(|reader| reader.query("SELECT count(*) FROM tied", &[]));
    let all = 120 * MIB / ROW;
    assert_eq!(
        count.unwrap(),
        [[Value::Integer(all)]],
        "one of two is parked"
    );
    println!("merged: {} MiB", peak());
    // Beside the parked row, which waits for none of what is written but its own.
    write(&b, "tied", 120, "y").unwrap();
    println!("written beside a parked row: {} MiB", peak());
    // A table as large is dropped, here and where nobody asks what was unseen of it.
    let table = "CREATE TABLE gone(id INTEGER PRIMARY KEY, filler TEXT, n INTEGER)";
    a.declare(table).unwrap();
    pull(&b, &a);
    write(&a, "gone", 120, "w").unwrap();
    deliver(&b, &a);
    a.declare("DROP TABLE gone").unwrap();
    pull(&b, &a);
    assert_eq!(b.tables().unwrap().len(), TABLES.len());
    println!("dropped: {} MiB", peak());
    assert!(peak() < 100, "{} MiB of memory", peak());
}
