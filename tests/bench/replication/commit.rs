//! What capture and logging cost a writer, beside rusqlite alone.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use tutti::node::serve::node::random;
use tutti::replica::Incarnation;
use tutti::store::{Durability, Store, StoreError, Tx};

use super::Report;
use super::plain::{Plain, Synchronous};
use super::rows::{INSERT, SCATTERED, TABLE, UPDATE, values};
use super::sample::{Turns, on_disk, seconds};

/// Rounds of each side that count.
const ROUNDS: usize = 7;

/// A fresh one of 64 random bits, as each start of the service takes it.
pub fn incarnation() -> Incarnation {
    u64::from_be_bytes(random())
}

/// A store with the table in it.
pub fn store(dir: &Path) -> Store {
    let store = Store::open(dir, [1; 16], incarnation()).unwrap();
    store.migrate(&[TABLE]).unwrap();
    store
}

fn put(tx: &mut Tx<'_>, from: i64, to: i64) -> Result<(), StoreError> {
    for id in from..to {
        tx.execute(INSERT, &values(id))?;
    }
    Ok(())
}

/// Inserts the rows `from..to` in one transaction.
pub fn insert(store: &Store, from: i64, to: i64) {
    store.transact(|tx| put(tx, from, to)).unwrap();
}

/// Changes one column of one row, in a transaction of its own.
pub fn update(store: &Store, id: i64, amount: i64) {
    let row = [amount.into(), id.into()];
    store.transact(|tx| tx.execute(UPDATE, &row)).unwrap();
}

/// Rounds of `transactions` of `size` rows each, from row `first` on, by one writer, neither side
/// syncing. What our commits put off (row clocks follow the log in batches) belongs to their cost,
/// so each round ends with it.
fn compare(transactions: i64, size: i64, first: i64) -> Turns {
    let (our_dir, their_dir) = (on_disk(), on_disk());
    let store = store(our_dir.path());
    store.set_durability(Durability::Lazy);
    let plain = Plain::create(their_dir.path(), Synchronous::Normal);
    let rows = transactions * size;
    let round = |next: &mut i64, insert: &dyn Fn(i64, i64), end: &dyn Fn()| {
        let from = *next;
        *next += rows;
        let firsts = (0..transactions).map(|number| from + number * size);
        let work = || {
            firsts.for_each(|first| insert(first, first + size));
            end();
        };
        rows as f64 / seconds(work)
    };
    let fold = || store.fold().unwrap();
    let (mut ours, mut theirs) = (first, first);
    Turns::take(
        ROUNDS,
        || round(&mut ours, &|from, to| insert(&store, from, to), &fold),
        || round(&mut theirs, &|from, to| plain.insert(from, to), &|| ()),
    )
}

/// Single-row transactions.
pub fn single(report: &mut Report) {
    let turns = compare(40_000, 1, 0);
    report.line("commit_single_per_s", turns.ours());
    report.line("commit_single_plain_per_s", turns.theirs());
    report.line("commit_single_ratio", turns.ratio());
}

/// 1,000-row transactions.
pub fn batch(report: &mut Report) {
    let turns = compare(100, 1_000, 0);
    report.line("commit_batch_rows_per_s", turns.ours());
    report.line("commit_batch_plain_rows_per_s", turns.theirs());
    report.line("commit_batch_ratio", turns.ratio());
}

/// The same with keys all over the table, so that each row has a clock of its own.
pub fn scattered(report: &mut Report) {
    let turns = compare(100, 1_000, SCATTERED);
    report.line("commit_scattered_rows_per_s", turns.ours());
    report.line("commit_scattered_plain_rows_per_s", turns.theirs());
    report.line("commit_scattered_ratio", turns.ratio());
}

const WRITERS: i64 = 32;
const COMMITS_EACH: i64 = 100;

/// All writers at once; commits a second.
fn crowd(next: &AtomicI64, insert: impl Fn(i64) + Sync) -> f64 {
    let took = seconds(|| {
        std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| {
                    for _ in 0..COMMITS_EACH {
                        insert(next.fetch_add(1, Ordering::Relaxed));
                    }
                });
            }
        });
    });
    (WRITERS * COMMITS_EACH) as f64 / took
}

/// Single-row transactions of 32 concurrent writers, each on disk before its call returns.
pub fn durable(report: &mut Report) {
    let (our_dir, their_dir) = (on_disk(), on_disk());
    let store = store(our_dir.path());
    let plain = Mutex::new(Plain::create(their_dir.path(), Synchronous::Full));
    let (ours, theirs) = (AtomicI64::new(0), AtomicI64::new(0));
    let turns = Turns::take(
        ROUNDS,
        || crowd(&ours, |id| insert(&store, id, id + 1)),
        || crowd(&theirs, |id| plain.lock().unwrap().insert(id, id + 1)),
    );
    report.line("commit_durable_per_s", turns.ours());
    report.line("commit_durable_plain_per_s", turns.theirs());
    report.line("commit_durable_ratio", turns.ratio());
}
