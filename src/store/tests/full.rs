//! What SQLite takes back by itself, and a database that may not grow.

use super::*;

fn log_rows(peer: &Peer) -> usize {
    rows(peer, "SELECT 1 FROM _tutti_log").len()
}

#[test]
fn nothing_of_a_transaction_that_sqlite_rolled_back_is_kept_or_goes_on() {
    let (a, _) = pair(&["CREATE TABLE item(id INTEGER PRIMARY KEY, a UNIQUE)"]);
    run(&a, "INSERT INTO item VALUES (1, 'x')");
    let logged = log_rows(&a);
    let result = a.store.transact(|tx| {
        tx.execute("INSERT INTO item VALUES (2, 'y')", &[])?;
        // The caller takes no notice of the error.
        let _ = tx.execute("INSERT OR ROLLBACK INTO item VALUES (3, 'x')", &[]);
        let _ = tx.execute("INSERT INTO item VALUES (4, 'z')", &[]);
        Ok(())
    });
    let error = result.unwrap_err().to_string();
    assert!(error.contains("begin it again"), "{error}");
    assert_eq!(rows(&a, "SELECT id FROM item"), [[Integer(1)]]);
    assert_eq!(log_rows(&a), logged);
    run(&a, "INSERT INTO item VALUES (5, 'x5')");
    assert_eq!(log_rows(&a), logged + 1);
}

#[test]
fn a_full_database_says_so_refuses_whole_transactions_and_goes_on_with_room() {
    let (a, b) = pair(&["CREATE TABLE item(id INTEGER PRIMARY KEY, a)"]);
    let blob = |id: i64| [Value::from(id), Value::Blob(vec![7; 2_000])];
    let insert = "INSERT INTO item VALUES (?, ?)";
    let fill = |peer: &Peer, from: i64| {
        (from..from + 500).try_for_each(|id| {
            let two = |tx: &mut Tx<'_>| {
                tx.execute(insert, &blob(2 * id))?;
                tx.execute(insert, &blob(2 * id + 1))
            };
            peer.store.transact(two).map(|_| ())
        })
    };
    a.store.set_size_bound(Some(400_000)).unwrap();
    let error = fill(&a, 0).unwrap_err();
    assert!(matches!(error, StoreError::Full), "{error}");
    let held = rows(&a, "SELECT count(*) FROM item")[0][0].clone();
    assert!(matches!(held, Integer(count) if count > 0 && count % 2 == 0));
    assert!(a.store.refused().is_some_and(|why| why.contains("is full")));
    assert_eq!(b.store.refused(), None);
    a.store.probe().unwrap_err();
    let refused = a
        .store
        .transact(|_| Err::<(), _>(StoreError::Refused("by us".into())));
    refused.unwrap_err();
    assert!(a.store.refused().is_some(), "that was no write");
    // What is there goes on being read and sent, and a peer that is full takes no half.
    b.store.set_size_bound(Some(200_000)).unwrap();
    let at = a.store.log_start(&b.store.frontier()).unwrap();
    let (found, _) = a.store.log_after(&b.store.frontier(), at, 1 << 24).unwrap();
    let error = b.store.apply(&found).unwrap_err();
    assert!(matches!(error, StoreError::Full), "{error}");
    assert_eq!(rows(&b, "SELECT count(*) FROM item"), [[Integer(0)]]);
    for peer in [&a, &b] {
        peer.store.set_size_bound(None).unwrap();
    }
    a.store.probe().unwrap();
    assert_eq!(a.store.refused(), None);
    fill(&a, 10_000).unwrap();
    exchange(&a, &b);
}

/// Its rows' clocks, which follow a large transaction, found no room, and from then on nothing
/// could be written, rows not deleted either, until the next start.
#[test]
fn a_large_transaction_that_just_finds_room_leaves_a_database_that_can_be_emptied() {
    let filled = |bound: Option<u64>| {
        let (a, _) = pair(&["CREATE TABLE item(id INTEGER PRIMARY KEY, a)"]);
        a.store.set_size_bound(bound).unwrap();
        let write = |tx: &mut Tx<'_>| {
            (0..20_000).try_for_each(|id: i64| {
                let row = [Value::from(id * 1_000), Value::Blob(vec![7; 300])];
                tx.execute("INSERT INTO item VALUES (?, ?)", &row).map(drop)
            })
        };
        a.store.transact(write).unwrap();
        a
    };
    let free = filled(None);
    let pages = "SELECT page_count FROM pragma_page_count";
    let Integer(pages) = rows(&free, pages)[0][0] else {
        panic!("no count of pages");
    };
    let a = filled(Some((pages as u64 - 100) * PAGE));
    run(&a, "DELETE FROM item WHERE id < 15000000");
    a.store.fold().unwrap();
    let left = rows(&a, "SELECT count(*) FROM item");
    assert_eq!(left, [[Integer(5_000)]]);
}
