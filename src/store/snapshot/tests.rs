//! How the donor's copy is made.

use super::*;
use crate::store::tests::{peer, run};

const ITEM: &str = "CREATE TABLE item(id INTEGER PRIMARY KEY, a)";

#[test]
fn where_the_disk_refuses_the_kernels_copy_sqlite_makes_it_page_by_page() {
    let a = peer(1);
    a.store.declare(ITEM).unwrap();
    run(&a, "INSERT INTO item VALUES (1, 'a'), (2, 'b')");
    // What is held open in the database's place cannot be read: each read of it is refused.
    let refusing = File::open(a.dir.path()).unwrap();
    *lock(&a.store.inner.transfers.database) = Some(refusing);
    let staged = a.store.stage_snapshot(None, u64::MAX).unwrap();
    let copy = Connection::open(&staged.path).unwrap();
    let rows: i64 = copy
        .query_row("SELECT count(*) FROM item", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 2);
}

/// Somebody who can never take it kept the log from being trimmed.
#[test]
fn a_copy_that_somebody_asks_for_again_and_again_gets_no_older_than_a_day() {
    let a = peer(1);
    let staged = a.store.stage_snapshot(None, u64::MAX).unwrap();
    let serves = |wanted, hours: u64| {
        let later = Instant::now() + Duration::from_secs(hours * 3_600);
        staged.serves(wanted, later)
    };
    assert!(serves(Some(staged.id), 23) && !serves(Some(staged.id), 25));
    assert!(serves(None, 0) && !serves(None, 1));
}
