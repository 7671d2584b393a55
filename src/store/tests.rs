//! Two or three stores side by side, exchanging their logs by hand.

use tempfile::TempDir;

use super::*;
use crate::replica::value::Value::{self, Integer, Null};

pub(super) struct Peer {
    pub store: Store,
    pub dir: TempDir,
}

pub(super) fn peer(number: u8) -> Peer {
    let dir = tempfile::tempdir().unwrap();
    let node = [number; 16];
    // Same clock everywhere: ties are broken by the incarnation.
    let store =
        Store::open_with_clock(dir.path(), node, u64::from(number), Arc::new(|| 1_000)).unwrap();
    Peer { store, dir }
}

/// The files of `a`, opened as if its memory had been put back: the same incarnation goes on.
pub(super) fn put_back(a: &Peer) -> (Store, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let to = dir
        .path()
        .join("replicated.db")
        .to_string_lossy()
        .into_owned();
    let copy = rusqlite::Connection::open(&a.store.inner.path).unwrap();
    copy.execute("VACUUM INTO ?", [to]).unwrap();
    let (node, incarnation) = (a.store.node(), a.store.incarnation());
    let clock: super::Clock = Arc::new(|| 1_000);
    let store = Store::open_with_clock(dir.path(), node, incarnation, clock).unwrap();
    (store, dir)
}

pub(super) fn pull(to: &Peer, from: &Peer) {
    let mut at = from.store.log_start(&to.store.frontier()).unwrap();
    loop {
        let (found, next) = from
            .store
            .log_after(&to.store.frontier(), at, 1 << 16)
            .unwrap();
        if found.is_empty() {
            return;
        }
        to.store.apply(&found).unwrap();
        at = next;
    }
}

pub(super) fn exchange(a: &Peer, b: &Peer) {
    pull(a, b);
    pull(b, a);
    assert_eq!(a.store.digest().unwrap(), b.store.digest().unwrap());
}

pub(super) fn run(peer: &Peer, sql: &str) {
    peer.store.transact(|tx| tx.execute(sql, &[])).unwrap();
}

pub(super) fn rows(peer: &Peer, sql: &str) -> Vec<Vec<Value>> {
    peer.store.read(|reader| reader.query(sql, &[])).unwrap()
}

fn pair(sql: &[&str]) -> (Peer, Peer) {
    let (a, b) = (peer(1), peer(2));
    for statement in sql {
        a.store.declare(statement).unwrap();
    }
    exchange(&a, &b);
    (a, b)
}

mod captured;
mod constraints;
mod damage;
mod declare;
mod feed;
mod foreign;
mod full;
mod generated;
mod hostile;
mod imported;
mod inbox;
mod keys;
mod large;
mod parked;
mod visible;

const ITEM: &str = "CREATE TABLE item(id INTEGER PRIMARY KEY, a, b)";

#[test]
fn a_row_written_at_one_peer_arrives_at_the_other() {
    let (a, b) = pair(&[ITEM]);
    run(
        &a,
        "INSERT INTO item VALUES (1, 'x', 2.5), (2, NULL, x'00ff')",
    );
    pull(&b, &a);
    assert_eq!(
        rows(&b, "SELECT * FROM item"),
        rows(&a, "SELECT * FROM item")
    );
    run(&b, "UPDATE item SET a = 'y' WHERE id = 2");
    run(&b, "DELETE FROM item WHERE id = 1");
    exchange(&a, &b);
    assert_eq!(
        rows(&a, "SELECT id, a FROM item"),
        vec![vec![Integer(2), "y".into()]]
    );
}

#[test]
fn two_columns_of_one_row_merge_and_one_column_conflicts() {
    let (a, b) = pair(&[ITEM]);
    run(&a, "INSERT INTO item VALUES (1, 0, 0)");
    exchange(&a, &b);
    run(&a, "UPDATE item SET a = 1");
    run(&b, "UPDATE item SET b = 2");
    exchange(&a, &b);
    assert_eq!(
        rows(&a, "SELECT a, b FROM item"),
        vec![vec![Integer(1), Integer(2)]]
    );
    assert!(a.store.conflicts(10).unwrap().is_empty());
    run(&a, "UPDATE item SET a = 10");
    run(&b, "UPDATE item SET a = 20");
    exchange(&a, &b);
    let lost = a.store.conflicts(10).unwrap();
    assert_eq!(lost, b.store.conflicts(10).unwrap());
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].column, "a");
    assert_eq!(rows(&a, "SELECT a FROM item"), vec![vec![Integer(20)]]);
    assert_eq!(lost[0].value, vec![Integer(10)]);
}

#[test]
fn a_delete_beats_an_update_which_goes_to_the_inbox() {
    let (a, b) = pair(&[ITEM]);
    run(&a, "INSERT INTO item VALUES (1, 0, 0)");
    exchange(&a, &b);
    run(&a, "DELETE FROM item");
    run(&b, "UPDATE item SET a = 7");
    exchange(&a, &b);
    assert!(rows(&b, "SELECT * FROM item").is_empty());
    let lost = b.store.conflicts(10).unwrap();
    assert_eq!(lost, a.store.conflicts(10).unwrap());
    assert_eq!(lost[0].value, vec![Integer(7)]);
    run(&a, "INSERT INTO item VALUES (1, 8, 8)");
    exchange(&a, &b);
    assert_eq!(rows(&b, "SELECT a FROM item"), vec![vec![Integer(8)]]);
}

#[test]
fn phantom_events_of_savepoints_and_aborted_statements_are_dropped() {
    let (a, b) = pair(&["CREATE TABLE t(k TEXT NOT NULL PRIMARY KEY, u UNIQUE)"]);
    run(&a, "INSERT INTO t VALUES ('kept', 1)");
    let before = a.store.frontier();
    let work = |tx: &mut Tx<'_>| {
        tx.execute("SAVEPOINT s", &[])?;
        tx.execute("INSERT INTO t VALUES ('phantom', 2)", &[])?;
        tx.execute("UPDATE t SET u = 9 WHERE k = 'kept'", &[])?;
        tx.execute("ROLLBACK TO s", &[])?;
        tx.execute("RELEASE s", &[])?;
        assert!(
            tx.execute("INSERT INTO t VALUES ('x', 5), ('y', 1)", &[])
                .is_err()
        );
        Ok(())
    };
    a.store.transact(work).unwrap();
    assert_eq!(a.store.frontier(), before);
    let error = a.store.transact(|tx| {
        tx.execute("INSERT INTO t VALUES ('gone', 3)", &[])?;
        Err::<(), _>(StoreError::Refused("no".into()))
    });
    assert!(error.is_err());
    exchange(&a, &b);
    assert_eq!(
        rows(&b, "SELECT * FROM t"),
        vec![vec!["kept".into(), Integer(1)]]
    );
}

#[test]
fn generated_columns_and_changed_keys_replicate_on_tables_without_rowid() {
    let (a, b) = pair(&[
        "CREATE TABLE w(a INTEGER NOT NULL, g AS (a * 2), b TEXT NOT NULL, s AS (b || 'x') STORED, \
         PRIMARY KEY (b, a)) WITHOUT ROWID",
    ]);
    run(&a, "INSERT INTO w(a, b) VALUES (1, 'p'), (2, 'q')");
    run(&a, "UPDATE w SET b = 'z' WHERE a = 1");
    run(&a, "REPLACE INTO w(a, b) VALUES (2, 'q')");
    exchange(&a, &b);
    let expected = vec![
        vec![Integer(2), Integer(4), "q".into(), "qx".into()],
        vec![Integer(1), Integer(2), "z".into(), "zx".into()],
    ];
    assert_eq!(rows(&b, "SELECT * FROM w ORDER BY b"), expected);
    run(&b, "DELETE FROM w");
    exchange(&a, &b);
    assert!(rows(&a, "SELECT * FROM w").is_empty());
}

#[test]
fn unique_values_swap_and_one_of_two_claims_is_parked_until_the_other_goes() {
    let (a, b) = pair(&["CREATE TABLE u(id INTEGER PRIMARY KEY, name TEXT UNIQUE, note)"]);
    run(&a, "INSERT INTO u VALUES (1, 'a', 0), (2, 'b', 0)");
    exchange(&a, &b);
    let swap = |tx: &mut Tx<'_>| {
        tx.execute("UPDATE u SET name = NULL WHERE id = 1", &[])?;
        tx.execute("UPDATE u SET name = 'a' WHERE id = 2", &[])?;
        tx.execute("UPDATE u SET name = 'b' WHERE id = 1", &[])
    };
    a.store.transact(swap).unwrap();
    exchange(&a, &b);
    run(&a, "INSERT INTO u VALUES (3, 'c', 'mine')");
    run(&b, "INSERT INTO u VALUES (4, 'c', 'yours')");
    exchange(&a, &b);
    let visible = rows(&a, "SELECT id FROM u WHERE name = 'c'");
    assert_eq!(visible, vec![vec![Integer(4)]]);
    let parked = a.store.conflicts(10).unwrap();
    assert_eq!(parked, b.store.conflicts(10).unwrap());
    assert_eq!((parked.len(), parked[0].reason.as_str()), (1, "UNIQUE"));
    run(&b, "UPDATE u SET name = 'd' WHERE id = 4");
    assert_eq!(
        rows(&b, "SELECT id FROM u WHERE name = 'c'"),
        vec![vec![Integer(3)]]
    );
    exchange(&a, &b);
    assert!(a.store.conflicts(10).unwrap().is_empty());
}

#[test]
fn a_child_whose_parent_was_deleted_elsewhere_is_parked_and_comes_back() {
    let (a, b) = pair(&[
        "CREATE TABLE p(id INTEGER PRIMARY KEY, x)",
        "CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE CASCADE)",
        "CREATE TABLE g(id INTEGER PRIMARY KEY, c REFERENCES c(id))",
    ]);
    run(&a, "INSERT INTO p VALUES (1, 0)");
    exchange(&a, &b);
    run(&a, "DELETE FROM p");
    run(&b, "INSERT INTO c VALUES (5, 1)");
    run(&b, "INSERT INTO g VALUES (6, 5)");
    exchange(&a, &b);
    assert!(rows(&b, "SELECT * FROM c").is_empty());
    assert!(rows(&b, "SELECT * FROM g").is_empty());
    assert_eq!(
        a.store.conflicts(10).unwrap(),
        b.store.conflicts(10).unwrap()
    );
    assert_eq!(a.store.conflicts(10).unwrap().len(), 2);
    run(&a, "INSERT INTO p VALUES (1, 9)");
    assert_eq!(
        rows(&a, "SELECT * FROM g"),
        vec![vec![Integer(6), Integer(5)]]
    );
    exchange(&a, &b);
    assert!(b.store.conflicts(10).unwrap().is_empty());
}

#[test]
fn what_a_cascade_did_at_the_origin_comes_as_rows() {
    let (a, b) = pair(&[
        "CREATE TABLE p(id INTEGER PRIMARY KEY)",
        "CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE SET NULL)",
    ]);
    run(&a, "INSERT INTO p VALUES (1)");
    run(&a, "INSERT INTO c VALUES (1, 1)");
    run(&a, "DELETE FROM p");
    exchange(&a, &b);
    assert_eq!(rows(&b, "SELECT p FROM c"), vec![vec![Null]]);
    assert!(b.store.conflicts(10).unwrap().is_empty());
}

#[test]
fn tables_that_cannot_replicate_are_refused_with_advice() {
    let a = peer(1);
    for (sql, word) in [
        (
            "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT)",
            "AUTOINCREMENT",
        ),
        ("CREATE TABLE t(a, b)", "PRIMARY KEY"),
        ("CREATE TABLE t(a TEXT PRIMARY KEY)", "NOT NULL"),
        // Such a key is no rowid: SQLite lets it be NULL, twice.
        ("CREATE TABLE t(id INTEGER PRIMARY KEY DESC)", "NOT NULL"),
        ("CREATE TABLE t(id INT PRIMARY KEY)", "NOT NULL"),
        (
            "CREATE TABLE t(a TEXT NOT NULL COLLATE NOCASE PRIMARY KEY)",
            "BINARY",
        ),
        ("DROP TABLE t", "no declared table"),
        ("CREATE VIEW v AS SELECT 1", "CREATE TABLE"),
        ("CREATE VIRTUAL TABLE v USING fts5(a)", "ordinary"),
        (
            "CREATE VIRTUAL TABLE IF NOT EXISTS v USING fts5(a)",
            "ordinary",
        ),
    ] {
        let error = a.store.declare(sql).unwrap_err().to_string();
        assert!(error.contains(word), "{sql}: {error}");
    }
    assert!(a.store.tables().unwrap().is_empty());
    let ddl = a.store.transact(|tx| tx.execute("CREATE TABLE x(a)", &[]));
    assert!(ddl.is_err());
}

#[test]
fn a_restart_keeps_rows_and_counts_on_under_a_new_incarnation() {
    let dir = tempfile::tempdir().unwrap();
    let open = |incarnation| Store::open(dir.path(), [1; 16], incarnation).unwrap();
    let store = open(1);
    store.migrate(&[ITEM]).unwrap();
    store.migrate(&[ITEM]).unwrap();
    store
        .transact(|tx| tx.execute("INSERT INTO item VALUES (1, 1, 1)", &[]))
        .unwrap();
    let digest = store.digest().unwrap();
    drop(store);
    let store = open(2);
    assert_eq!(store.digest().unwrap(), digest);
    store
        .transact(|tx| tx.execute("UPDATE item SET a = 2", &[]))
        .unwrap();
    assert_eq!((store.frontier().seq(1), store.frontier().seq(2)), (1, 1));
}

/// A link that starts between a commit and its sync must not skip what is committed: its log
/// position was taken from the database, its frontier from what is on disk.
#[test]
fn a_reader_that_starts_before_the_sync_finds_what_is_synced_later() {
    let a = peer(1);
    a.store.set_durability(Durability::Lazy);
    a.store.declare(ITEM).unwrap();
    let start = a.store.log_start(&Frontier::default()).unwrap();
    a.store.flush().unwrap();
    let found = a.store.log_after(&Frontier::default(), start, 1 << 16);
    assert_eq!(found.unwrap().0.len(), 1);
}

#[test]
fn a_stamp_from_the_future_waits_and_does_not_move_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let future = Arc::new(|| 4_000_000_000_000);
    let a = Store::open_with_clock(dir.path(), [1; 16], 1, future).unwrap();
    a.declare(ITEM).unwrap();
    let b = peer(2);
    let (found, _) = a.log_after(&b.store.frontier(), 0, 1 << 20).unwrap();
    assert_eq!(b.store.apply(&found).unwrap(), Frontier::default());
    assert_eq!(b.store.ahead().unwrap().len(), 1);
    b.store.declare(ITEM).unwrap();
    let (own, _) = b.store.log_after(&Frontier::default(), 0, 1 << 20).unwrap();
    let own = own[0].decode(crate::replica::clock::Hlc(0)).unwrap();
    assert_eq!(own.hlc.millis(), 1_000);
}

#[test]
fn what_follows_on_another_history_than_ours_is_not_applied() {
    // One incarnation with two histories of two transactions each, as of a memory put back.
    let (a, twin, b) = (peer(1), peer(1), peer(2));
    for (store, value) in [(&a, "'here'"), (&twin, "'there'")] {
        store.store.declare(ITEM).unwrap();
        run(
            store,
            &format!("INSERT INTO item VALUES (1, {value}, NULL)"),
        );
    }
    pull(&b, &a);
    run(&twin, "INSERT INTO item VALUES (2, 'goes on', NULL)");
    let held = b.store.frontier();
    let (found, _) = twin.store.log_after(&held, 0, 1 << 20).unwrap();
    assert_eq!(found.iter().map(|l| l.seq).collect::<Vec<_>>(), [3]);
    let error = b.store.apply(&found).unwrap_err();
    assert!(
        matches!(error, StoreError::Fork { origin: 1, seq: 3 }),
        "{error}"
    );
    assert_eq!(b.store.frontier(), held);
    assert_eq!(rows(&b, "SELECT id FROM item"), [[Integer(1)]]);
}

#[test]
fn another_history_of_an_origin_is_refused() {
    let (a, b) = (peer(1), peer(1));
    a.store.declare(ITEM).unwrap();
    b.store
        .declare("CREATE TABLE other(id INTEGER PRIMARY KEY)")
        .unwrap();
    let error = a.store.log_start(&b.store.frontier()).unwrap_err();
    assert!(error.to_string().contains("another history"), "{error}");
}

#[test]
fn out_of_order_and_unreadable_transactions_are_refused_whole() {
    let (a, b) = pair(&[ITEM]);
    run(&a, "INSERT INTO item VALUES (1, 1, 1)");
    run(&a, "INSERT INTO item VALUES (2, 1, 1)");
    let (found, _) = a.store.log_after(&b.store.frontier(), 0, 1 << 20).unwrap();
    let error = b.store.apply(&found[1..]).unwrap_err();
    assert!(matches!(error, StoreError::Peer(_)), "{error}");
    let garbage = Logged {
        bytes: vec![1, 2, 3].into(),
        ..found[1].clone()
    };
    let both = [found[0].clone(), garbage];
    assert!(matches!(b.store.apply(&both), Err(StoreError::Peer(_))));
    assert!(rows(&b, "SELECT * FROM item").is_empty());
    let twice = [found[0].clone(), found[0].clone()];
    b.store.apply(&twice).unwrap();
    assert_eq!(rows(&b, "SELECT id FROM item"), vec![vec![Integer(1)]]);
}

#[test]
fn nothing_is_applied_before_all_that_it_depends_on() {
    let (a, b) = pair(&[ITEM]);
    let c = peer(3);
    pull(&c, &a);
    run(&a, "INSERT INTO item VALUES (1, 1, 1)");
    pull(&b, &a);
    run(&b, "UPDATE item SET a = 2");
    let (found, _) = b.store.log_after(&c.store.frontier(), 0, 1 << 20).unwrap();
    let origins: Vec<_> = found.iter().map(|logged| logged.origin).collect();
    assert_eq!(origins, [1, 2], "b relays what it saw first");
    let before = c.store.frontier();
    for early in [&found[1..], &[found[1].clone(), found[0].clone()]] {
        let error = c.store.apply(early).unwrap_err().to_string();
        assert!(error.contains("depends on 0000000000000001:2"), "{error}");
        assert_eq!(c.store.frontier(), before);
        assert!(rows(&c, "SELECT * FROM item").is_empty());
    }
    c.store.apply(&found).unwrap();
    assert_eq!(rows(&c, "SELECT a FROM item"), [[Integer(2)]]);
}

#[test]
fn a_peer_that_connects_between_a_commit_and_its_sync_still_gets_it() {
    let (a, b) = pair(&[ITEM]);
    a.store.set_durability(Durability::Lazy);
    run(&a, "INSERT INTO item VALUES (1, 1, 1)");
    let from = a.store.log_start(&b.store.frontier()).unwrap();
    let after = |from| {
        a.store
            .log_after(&b.store.frontier(), from, 1 << 20)
            .unwrap()
    };
    let (found, next) = after(from);
    assert!(found.is_empty(), "not on disk yet");
    a.store.flush().unwrap();
    let (found, _) = after(next);
    b.store.apply(&found).unwrap();
    assert_eq!(rows(&b, "SELECT id FROM item"), vec![vec![Integer(1)]]);
}
