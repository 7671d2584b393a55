//! Forks heal and wrong clocks are put right, and nothing that was written is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::replica::change::Logged;
use crate::replica::fork::{common, yields};
use crate::replica::frontier::Frontier;
use crate::replica::value::Value::{self, Integer};
use crate::store::tests::{Peer, peer, put_back};

const ITEM: &str = "CREATE TABLE item(id INTEGER PRIMARY KEY, a, b)";

fn run(store: &Store, sql: &str) {
    store.transact(|tx| tx.execute(sql, &[])).unwrap();
}

fn rows(store: &Store) -> Vec<Vec<Value>> {
    let sql = "SELECT * FROM item ORDER BY id";
    store.read(|reader| reader.query(sql, &[])).unwrap()
}

fn pull(to: &Store, from: &Store) {
    let at = from.log_start(&to.frontier()).unwrap();
    let (found, _) = from.log_after(&to.frontier(), at, 1 << 24).unwrap();
    to.apply(&found).unwrap();
}

fn converge(stores: &[&Store]) {
    for _ in 0..3 {
        for to in stores {
            for from in stores {
                if to.node() != from.node() {
                    pull(to, from);
                }
            }
        }
    }
    for store in stores {
        assert_eq!(rows(store), rows(stores[0]));
        assert_eq!(store.frontier(), stores[0].frontier());
    }
}

/// All since its number 1 was issued again, as newest: old values came back everywhere.
#[test]
fn a_file_that_only_lags_has_nothing_to_issue_again() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    for id in 0..40 {
        run(
            &a.store,
            &format!("INSERT INTO item VALUES ({id}, 'old', 0)"),
        );
    }
    let (again, _dir) = put_back(&a);
    for number in 0..150 {
        run(&a.store, &format!("UPDATE item SET b = {number}"));
    }
    pull(&b.store, &a.store);
    let last = again.frontier().seq(1);
    let (ours, theirs) = (
        again.chains(1, last).unwrap(),
        b.store.chains(1, last).unwrap(),
    );
    assert_eq!(common(&ours, &theirs), last);
}

#[test]
fn of_two_histories_the_shorter_is_issued_again_and_both_go_on() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    run(
        &a.store,
        "INSERT INTO item VALUES (1, 'shared', 0), (2, 'shared', 0)",
    );
    let (again, _dir) = put_back(&a);
    run(&a.store, "INSERT INTO item VALUES (3, 'first life', 0)");
    run(&a.store, "UPDATE item SET a = 'first life' WHERE id = 1");
    pull(&b.store, &a.store);
    run(&b.store, "UPDATE item SET b = 'seen' WHERE id = 3");
    run(&again, "UPDATE item SET b = 'second life' WHERE id = 1");
    assert!(again.log_start(&b.store.frontier()).is_err() || again.frontier().seq(1) == 3);
    let (ours, theirs) = (again.chains(1, 3).unwrap(), b.store.chains(1, 3).unwrap());
    let shared = common(&ours, &theirs);
    assert_eq!(shared, 2);
    assert!(yields(&ours, &theirs, shared, false));
    assert_eq!(again.reissue(1, shared, 77).unwrap(), 1);
    assert_eq!(again.incarnation(), 77);
    converge(&[&again, &b.store]);
    let expected = vec![
        vec![Integer(1), "first life".into(), "second life".into()],
        vec![Integer(2), "shared".into(), Integer(0)],
        vec![Integer(3), "first life".into(), "seen".into()],
    ];
    assert_eq!(rows(&again), expected);
    // Both go on, under numbers that mean one thing each.
    run(&again, "DELETE FROM item WHERE id = 2");
    run(&b.store, "INSERT INTO item VALUES (9, 0, 0)");
    converge(&[&again, &b.store]);
    assert_eq!(again.frontier().seq(77), 2);
}

#[test]
fn declarations_inserts_and_deletes_of_a_fork_are_all_issued_again() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    run(&a.store, "INSERT INTO item VALUES (1, 'shared', 0)");
    let (again, _dir) = put_back(&a);
    for id in 10..20 {
        run(&a.store, &format!("INSERT INTO item VALUES ({id}, 0, 0)"));
    }
    pull(&b.store, &a.store);
    again
        .declare("CREATE TABLE late(id INTEGER PRIMARY KEY, u UNIQUE)")
        .unwrap();
    run(&again, "INSERT INTO late VALUES (1, 'x')");
    run(&again, "DELETE FROM item WHERE id = 1");
    run(&again, "INSERT INTO item VALUES (2, 'mine', 0)");
    assert_eq!(again.reissue(1, 2, 77).unwrap(), 4);
    converge(&[&again, &b.store]);
    assert_eq!(rows(&b.store).len(), 11);
    assert_eq!(b.store.digest().unwrap(), again.digest().unwrap());
    assert_eq!(b.store.tables().unwrap().len(), 2);
}

/// The values of the conflict inbox, each with its column.
fn inbox(store: &Store) -> Vec<(String, Vec<Value>)> {
    let found = store.conflicts(99).unwrap().into_iter();
    found.map(|lost| (lost.column, lost.value)).collect()
}

/// Two histories of `a`, the second of which then also holds what `b` wrote meanwhile.
fn forked(
    second_life: impl FnOnce(&Store),
    meanwhile: &str,
) -> (Peer, Peer, Store, tempfile::TempDir) {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    run(&a.store, "INSERT INTO item VALUES (1, 'shared', 0)");
    pull(&b.store, &a.store);
    let (again, dir) = put_back(&a);
    second_life(&again);
    run(&b.store, meanwhile);
    pull(&again, &b.store);
    run(&a.store, "INSERT INTO item VALUES (2, 'first life', 0)");
    pull(&b.store, &a.store);
    (a, b, again, dir)
}

/// A peer takes what is issued again as written with the loser in sight, and compared nothing: the
/// value was in the inbox of who issued it alone, and went with that disk.
#[test]
fn what_lost_against_a_history_that_is_issued_again_is_in_every_inbox() {
    let second = |again: &Store| run(again, "DELETE FROM item WHERE id = 1");
    let meanwhile = "UPDATE item SET a = 'not seen' WHERE id = 1";
    let (_a, b, again, _dir) = forked(second, meanwhile);
    let lost = [("a".to_owned(), vec!["not seen".into()])];
    assert_eq!(inbox(&again), lost);
    again.reissue(1, 2, 77).unwrap();
    converge(&[&again, &b.store]);
    assert_eq!(rows(&b.store).len(), 1);
    assert_eq!(inbox(&b.store), lost);
    assert_eq!(again.conflicts(9).unwrap(), b.store.conflicts(9).unwrap());
}

/// What is issued is what rows hold: a value that something later has overwritten is not in it.
#[test]
fn what_a_history_lost_is_in_every_inbox_when_it_is_issued_again() {
    let write = "UPDATE item SET a = 'of the second life' WHERE id = 1";
    let second = |again: &Store| run(again, write);
    let meanwhile = "DELETE FROM item WHERE id = 1";
    let (_a, b, again, _dir) = forked(second, meanwhile);
    let lost = [("a".to_owned(), vec!["of the second life".into()])];
    assert_eq!(inbox(&again), lost);
    again.reissue(1, 2, 77).unwrap();
    // It is there before anything that could take its place is.
    let issued = own(&again);
    b.store.apply(&issued[..1]).unwrap();
    assert_eq!(inbox(&b.store), lost);
    // What told of it is taken back in its turn.
    again.reissue(77, 0, 78).unwrap();
    let c = peer(3);
    pull(&c.store, &again);
    assert_eq!(inbox(&c.store), lost);
}

/// A DROP that is issued again names what it had not seen: who comes to it drops the table with
/// that, and records nothing.
#[test]
fn what_lost_its_table_is_in_every_inbox_when_the_drop_is_issued_again() {
    let second = |again: &Store| again.declare("DROP TABLE item").map(drop).unwrap();
    let meanwhile = "UPDATE item SET a = 'not seen' WHERE id = 1";
    let (_a, b, again, _dir) = forked(second, meanwhile);
    again.reissue(1, 2, 77).unwrap();
    pull(&b.store, &again);
    assert!(b.store.tables().unwrap().is_empty());
    let kept = |lost: &(String, Vec<Value>)| lost.1.contains(&"not seen".into());
    assert!(inbox(&b.store).iter().any(kept), "{:?}", inbox(&b.store));
}

#[test]
fn a_value_that_is_too_large_for_memory_is_told_as_well() {
    let second = |again: &Store| run(again, "DELETE FROM item WHERE id = 1");
    let meanwhile = "UPDATE item SET a = hex(zeroblob(2500000)) WHERE id = 1";
    let (_a, b, again, _dir) = forked(second, meanwhile);
    again.reissue(1, 2, 77).unwrap();
    converge(&[&again, &b.store]);
    let lost = inbox(&b.store);
    assert_eq!(lost.len(), 1);
    assert_eq!(lost, inbox(&again));
    let read = b.store.reissue(77, 0, 78);
    assert!(read.is_ok(), "what the log holds of it is read");
}

/// What `store` has logged of its own incarnation.
fn own(store: &Store) -> Vec<Logged> {
    let at = store.log_start(&Frontier::default()).unwrap();
    let (mut found, _) = store.log_after(&Frontier::default(), at, 1 << 24).unwrap();
    found.retain(|logged| logged.origin == store.incarnation());
    found
}

/// A transaction that had seen a row of one history came to who has the other under the same
/// numbers: the row was not there, and the change lay in the inbox until a proof mended it.
#[test]
fn what_was_written_on_another_history_is_taken_only_when_there_is_one_again() {
    let (a, b, c) = (peer(1), peer(2), peer(3));
    a.store.declare(ITEM).unwrap();
    let (again, _dir) = put_back(&a);
    run(&a.store, "INSERT INTO item VALUES (1, 'first life', 0)");
    pull(&b.store, &a.store);
    run(&b.store, "UPDATE item SET b = 'seen' WHERE id = 1");
    run(&again, "INSERT INTO item VALUES (2, 'second life', 0)");
    pull(&c.store, &again);
    // Number 2 of the first is here, but it is another one.
    let refused = c.store.apply(&own(&b.store));
    assert!(
        matches!(refused, Err(StoreError::Fork { origin: 1, seq: 2 })),
        "{refused:?}"
    );
    assert_eq!(rows(&c.store).len(), 1);
    // Also where more of it is here by now.
    run(&again, "INSERT INTO item VALUES (3, 'second life', 0)");
    pull(&c.store, &again);
    assert!(c.store.apply(&own(&b.store)).is_err());
    assert_eq!(b.store.reissue(1, 1, 77).unwrap(), 2);
    converge(&[&b.store, &c.store]);
    assert_eq!(rows(&c.store)[0][2], "seen".into());
    assert_eq!(rows(&c.store).len(), 3);
    assert!(c.store.conflicts(9).unwrap().is_empty());
    assert!(b.store.conflicts(9).unwrap().is_empty());
    let clocks = |peer: &Peer| peer.store.row_clocks().unwrap();
    assert_eq!(clocks(&b), clocks(&c));
}

/// Whoever wrote it took it back since, and a third still has it: nobody can settle anything.
#[test]
fn what_names_a_history_that_nobody_has_any_more_is_merged_when_told_so() {
    let (a, b, c) = (peer(1), peer(2), peer(3));
    a.store.declare(ITEM).unwrap();
    let (again, _dir) = put_back(&a);
    run(&a.store, "INSERT INTO item VALUES (1, 'first life', 0)");
    pull(&b.store, &a.store);
    run(&b.store, "INSERT INTO item VALUES (4, 'seen', 0)");
    run(&again, "INSERT INTO item VALUES (2, 'second life', 0)");
    pull(&c.store, &again);
    c.store.trust(1, 1).unwrap();
    assert!(c.store.apply(&own(&b.store)).is_err());
    c.store.trust(1, 2).unwrap();
    c.store.apply(&own(&b.store)).unwrap();
    assert_eq!(rows(&c.store).len(), 2);
}

/// Two histories stamp alike: the clock stands before what both had seen. One entry of the inbox
/// was taken for the other, and what it held was nowhere.
#[test]
fn of_two_histories_each_keeps_its_losing_value_under_one_version() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    run(&a.store, "INSERT INTO item VALUES (1, 'shared', 0)");
    pull(&b.store, &a.store);
    let (again, _dir) = put_back(&a);
    run(&a.store, "UPDATE item SET a = 'first life'");
    run(&again, "UPDATE item SET a = 'second life'");
    // Of one time, and of the higher origin.
    run(&b.store, "UPDATE item SET a = 'later'");
    pull(&b.store, &a.store);
    b.store.reissue(1, 2, 77).unwrap();
    converge(&[&b.store, &again]);
    assert_eq!(rows(&again)[0][1], "later".into());
    let inbox = |store: &Store| {
        let mut found = store.conflicts(9).unwrap();
        found.sort_by_key(|entry| entry.id);
        found
    };
    let lives: Vec<Value> = inbox(&b.store).into_iter().flat_map(|e| e.value).collect();
    assert_eq!(lives.len(), 2, "{lives:?}");
    assert!(lives.contains(&"first life".into()) && lives.contains(&"second life".into()));
    // The same entry has one id everywhere, so it is dismissed alone.
    let second = inbox(&again).pop().unwrap();
    assert!(inbox(&b.store).contains(&second));
    again.dismiss_conflict(&second.id).unwrap();
    converge(&[&b.store, &again]);
    assert_eq!(inbox(&b.store)[0].value, ["first life".into()]);
}

fn clocked(number: u8, ms: u64) -> (Store, Arc<AtomicU64>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicU64::new(ms));
    let read = Arc::clone(&clock);
    let read: crate::store::Clock = Arc::new(move || read.load(Ordering::Relaxed));
    let incarnation = u64::from(number);
    let store = Store::open_with_clock(dir.path(), [number; 16], incarnation, read).unwrap();
    (store, clock, dir)
}

/// 2025, 2099 and 1970, in milliseconds.
const PRESENT: u64 = 1_750_000_000_000;
const FUTURE: u64 = 4_080_000_000_000;

#[test]
fn a_clock_in_2099_never_moves_the_cluster_and_is_put_right() {
    let (a, _, _a) = clocked(1, PRESENT);
    let (b, clock, _b) = clocked(2, PRESENT);
    let (c, _, _c) = clocked(3, PRESENT);
    a.declare(ITEM).unwrap();
    converge(&[&a, &b, &c]);
    run(&b, "INSERT INTO item VALUES (1, 'in time', 0)");
    clock.store(FUTURE, Ordering::Relaxed);
    run(&b, "INSERT INTO item VALUES (2, 'from 2099', 0)");
    run(&b, "UPDATE item SET a = 'from 2099' WHERE id = 1");
    // What was in time arrives; the rest waits, relayed or not, and others' go on.
    for _ in 0..2 {
        pull(&a, &b);
        pull(&c, &a);
        pull(&c, &b);
        run(&a, "INSERT OR REPLACE INTO item VALUES (5, 'on', 0)");
    }
    assert_eq!(rows(&c).len(), 2);
    let ahead = a.ahead().unwrap();
    assert_eq!(ahead.len(), 1);
    assert_eq!((ahead[0].origin, ahead[0].hlc.millis()), (2, FUTURE));
    let stamps = a.log_after(&Frontier::default(), 0, 1 << 20).unwrap().0;
    let mut last = Hlc::default();
    for logged in stamps.iter().filter(|logged| logged.origin == 1) {
        last = logged.decode(last).unwrap().hlc;
        assert!(last.millis() <= PRESENT);
    }
    // Set right, it stamps anew what nobody took; what waited of it is forgotten.
    clock.store(PRESENT + 10, Ordering::Relaxed);
    assert_eq!(b.restamp(|| 22).unwrap(), 2);
    a.greeted([2; 16], &b.frontier()).unwrap();
    c.greeted([2; 16], &b.frontier()).unwrap();
    assert!(a.ahead().unwrap().is_empty());
    converge(&[&a, &b, &c]);
    let from: Value = "from 2099".into();
    assert_eq!(rows(&a)[0][1], from);
    assert_eq!(rows(&a)[1][1], from);
    run(&b, "UPDATE item SET a = 'now' WHERE id = 2");
    converge(&[&a, &b, &c]);
}

#[test]
fn a_clock_in_1970_is_heard_and_takes_what_waited_when_it_is_put_right() {
    let (a, _, _a) = clocked(1, PRESENT);
    let (b, clock, _b) = clocked(2, 1_000);
    b.declare(ITEM).unwrap();
    pull(&a, &b);
    run(&a, "INSERT INTO item VALUES (1, 'now', 0)");
    pull(&b, &a);
    assert!(rows(&b).is_empty());
    assert_eq!(b.ahead().unwrap().len(), 1);
    assert_eq!(b.release().unwrap(), None);
    run(&b, "INSERT INTO item VALUES (2, 'old times', 0)");
    pull(&a, &b);
    assert_eq!(rows(&a).len(), 2);
    clock.store(PRESENT, Ordering::Relaxed);
    assert!(b.release().unwrap().is_some());
    assert_eq!(b.restamp(|| 22).unwrap(), 0);
    converge(&[&a, &b]);
    assert_eq!(rows(&b).len(), 2);
}

#[test]
fn a_node_that_restarted_while_its_clock_was_wrong_is_put_right_as_a_whole() {
    let (a, _, _a) = clocked(1, PRESENT);
    let (b, clock, dir) = clocked(2, FUTURE);
    a.declare(ITEM).unwrap();
    pull(&b, &a);
    run(&b, "INSERT INTO item VALUES (1, 'first life', 0)");
    drop(b);
    let read = Arc::clone(&clock);
    let read: crate::store::Clock = Arc::new(move || read.load(Ordering::Relaxed));
    let b = Store::open_with_clock(dir.path(), [2; 16], 20, read).unwrap();
    run(&b, "INSERT INTO item VALUES (2, 'second life', 0)");
    clock.store(PRESENT, Ordering::Relaxed);
    let mut fresh = 200;
    let count = b.restamp(|| {
        fresh += 1;
        fresh
    });
    assert_eq!((count.unwrap(), fresh), (2, 201));
    converge(&[&a, &b]);
    assert_eq!(rows(&a).len(), 2);
}

/// While a clock is in 2099 a peer that is a second ahead seems to be behind, and its stamps are
/// taken. They once kept what was written there from being stamped anew, for good.
#[test]
fn a_peer_a_little_ahead_does_not_keep_a_clock_from_being_put_right() {
    let (a, _, _a) = clocked(1, PRESENT + 2_000);
    let (b, clock, _b) = clocked(2, FUTURE);
    a.declare(ITEM).unwrap();
    pull(&b, &a);
    run(&b, "INSERT INTO item VALUES (1, 'from 2099', 0)");
    clock.store(PRESENT, Ordering::Relaxed);
    assert_eq!(b.restamp(|| 22).unwrap(), 1);
    // What is a little ahead now is due by itself.
    assert_eq!(b.restamp(|| 23).unwrap(), 0);
    converge(&[&a, &b]);
    assert_eq!(rows(&a).len(), 1);
}

/// Where it was issued again, what it parks was parked already; elsewhere it is not.
#[test]
fn what_is_issued_again_is_merged_where_others_hold_what_it_parks() {
    let (a, _, _a) = clocked(1, PRESENT);
    let (b, clock, _b) = clocked(2, PRESENT);
    a.declare("CREATE TABLE item(id INTEGER PRIMARY KEY, a UNIQUE)")
        .unwrap();
    a.declare("CREATE TABLE part(id INTEGER PRIMARY KEY, item REFERENCES item(id))")
        .unwrap();
    run(&a, "INSERT INTO item VALUES (1, 'one')");
    converge(&[&a, &b]);
    clock.store(FUTURE, Ordering::Relaxed);
    run(&b, "INSERT INTO part VALUES (7, 1)");
    run(&b, "INSERT INTO item VALUES (2, 'two')");
    run(&a, "DELETE FROM item");
    run(&a, "INSERT INTO item VALUES (3, 'two')");
    pull(&b, &a);
    let parked = |store: &Store| {
        let sql = "SELECT tbl, key, reason FROM _tutti_hidden ORDER BY 1, 2";
        store.read(|reader| reader.query(sql, &[])).unwrap()
    };
    assert_eq!(parked(&b).len(), 2);
    clock.store(PRESENT, Ordering::Relaxed);
    assert_eq!(b.restamp(|| 22).unwrap(), 2);
    converge(&[&a, &b]);
    assert_eq!(rows(&a), [[Integer(2), "two".into()]]);
    assert_eq!(parked(&a), parked(&b));
    assert_eq!(a.digest().unwrap(), b.digest().unwrap());
}

mod unread;

/// Its dependencies are named once, by what left the log; what follows would count as having seen
/// whatever gets those numbers.
#[test]
fn what_depends_on_a_history_by_what_left_the_log_is_issued_again_with_it() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    run(&a.store, "INSERT INTO item VALUES (1, 0, 0)");
    pull(&b.store, &a.store);
    run(&a.store, "INSERT INTO item VALUES (2, 0, 0)");
    pull(&b.store, &a.store);
    run(&b.store, "UPDATE item SET a = 'seen' WHERE id = 2");
    pull(&a.store, &b.store);
    // It says that it holds more than is here, so that what it wrote stays in the log.
    let mut held = a.store.frontier();
    held.0.entry(1).or_default().seq = 12;
    b.store.set_peers([a.store.node()].into(), 0);
    b.store.greeted(a.store.node(), &held).unwrap();
    assert_eq!(b.store.trim().unwrap().transactions, 1);
    run(&b.store, "UPDATE item SET a = 'later' WHERE id = 1");
    assert_eq!(b.store.reissue(1, 2, 77).unwrap(), 2);
    assert_eq!(b.store.frontier().seq(2), 1);
}
