//! What is forgotten, and what is not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::replica::change::{Dep, Head};
use crate::replica::value::Value::{self, Integer};
use crate::store::tests::{Peer, peer, pull};

mod given_up;

const ITEM: &str = "CREATE TABLE item(id INTEGER PRIMARY KEY, a)";

fn node(number: u8) -> NodeId {
    [number; 16]
}

fn run(peer: &Peer, sql: &str) {
    peer.store.transact(|tx| tx.execute(sql, &[])).unwrap();
}

fn rows(store: &Store) -> Vec<Vec<Value>> {
    let sql = "SELECT * FROM item ORDER BY id";
    store.read(|reader| reader.query(sql, &[])).unwrap()
}

fn tombstones(store: &Store) -> usize {
    let sql = "SELECT clock FROM _tutti_clock";
    store.fold().unwrap();
    let clocks = store.read(|reader| reader.query(sql, &[])).unwrap();
    let dead = |row: &Vec<Value>| match &row[0] {
        Value::Blob(bytes) => {
            let clock: crate::replica::clock::RowClock = postcard::from_bytes(bytes).unwrap();
            !clock.is_alive()
        }
        _ => false,
    };
    clocks.iter().filter(|row| dead(row)).count()
}

/// Each says to the other what it holds, both ways, as hello and acknowledgements do.
fn tell(a: &Store, b: &Store) {
    a.greeted(b.node(), &b.frontier()).unwrap();
    b.greeted(a.node(), &a.frontier()).unwrap();
}

fn pair() -> (Peer, Peer) {
    let (a, b) = (peer(1), peer(2));
    a.store.set_peers([node(2)].into(), 0);
    b.store.set_peers([node(1)].into(), 0);
    a.store.declare(ITEM).unwrap();
    pull(&b, &a);
    (a, b)
}

#[test]
fn the_log_goes_when_every_configured_peer_has_it_and_not_before() {
    let (a, b) = pair();
    a.store.set_peers([node(2), node(3)].into(), 0);
    run(&a, "INSERT INTO item VALUES (1, 'x')");
    pull(&b, &a);
    tell(&a.store, &b.store);
    assert_eq!(a.store.trim().unwrap().transactions, 0);
    let old = b.store.frontier();
    a.store.greeted(node(3), &old).unwrap();
    run(&a, "INSERT INTO item VALUES (2, 'y')");
    let trimmed = a.store.trim().unwrap();
    assert_eq!(trimmed.transactions, 2);
    // Whoever acknowledged that much reads on without a gap.
    pull(&b, &a);
    assert_eq!(rows(&b.store).len(), 2);
    // Whoever is older is told what it needs.
    let nothing = Frontier::default();
    for result in [
        a.store.log_start(&nothing).map(|_| ()),
        a.store.log_after(&nothing, 0, 1_000).map(|_| ()),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::NeedsSnapshot { .. }), "{error}");
    }
}

#[test]
fn nothing_is_forgotten_before_the_peers_are_known() {
    let a = peer(1);
    a.store.declare(ITEM).unwrap();
    assert_eq!(a.store.trim().unwrap().transactions, 0);
    a.store.set_peers(BTreeSet::new(), 1);
    assert_eq!(a.store.trim().unwrap().transactions, 0);
    a.store.set_peers(BTreeSet::new(), 0);
    assert_eq!(a.store.trim().unwrap().transactions, 1);
}

#[test]
fn a_key_whose_tombstone_went_here_and_not_there_lives_again_at_both() {
    let (a, b) = pair();
    run(&a, "INSERT INTO item VALUES (1, 'first')");
    run(&a, "DELETE FROM item");
    pull(&b, &a);
    tell(&a.store, &b.store);
    assert_eq!((tombstones(&a.store), tombstones(&b.store)), (1, 1));
    let trimmed = a.store.trim().unwrap();
    assert_eq!((trimmed.tombstones, tombstones(&a.store)), (1, 0));
    // A restart remembers it.
    run(&a, "INSERT INTO item VALUES (1, 'second')");
    pull(&b, &a);
    assert_eq!(rows(&b.store), vec![vec![Integer(1), "second".into()]]);
    assert_eq!(a.store.digest().unwrap(), b.store.digest().unwrap());
}

#[test]
fn a_tombstone_stays_while_a_write_of_before_it_may_still_come() {
    let (a, b) = pair();
    run(&a, "INSERT INTO item VALUES (1, 'first')");
    pull(&b, &a);
    run(&b, "UPDATE item SET a = 'late' WHERE id = 1");
    run(&a, "DELETE FROM item");
    pull(&b, &a);
    // B acknowledges the deletion; A does not hold B's update of before.
    a.store.greeted(node(2), &b.store.frontier()).unwrap();
    let trimmed = a.store.trim().unwrap();
    assert!(trimmed.transactions > 0, "{trimmed:?}");
    assert_eq!((trimmed.tombstones, tombstones(&a.store)), (0, 1));
    pull(&a, &b);
    assert!(rows(&a.store).is_empty());
    tell(&a.store, &b.store);
    assert_eq!(a.store.trim().unwrap().tombstones, 1);
    assert_eq!(tombstones(&a.store), 0);
}

#[test]
fn beyond_its_bound_the_log_gives_up_the_peer_that_is_furthest_behind() {
    let (a, b) = pair();
    a.store.set_peers([node(2), node(3)].into(), 0);
    a.store.set_log_bound(2_000);
    a.store.greeted(node(3), &b.store.frontier()).unwrap();
    for id in 0..100 {
        run(
            &a,
            &format!("INSERT INTO item VALUES ({id}, 'some text to fill the log')"),
        );
    }
    pull(&b, &a);
    a.store.greeted(node(2), &b.store.frontier()).unwrap();
    run(&a, "INSERT INTO item VALUES (1000, 'the last')");
    let trimmed = a.store.trim().unwrap();
    assert_eq!(trimmed.marked, vec![node(3)]);
    assert!(trimmed.log_bytes <= 2_000);
    assert!(a.store.needs_snapshot(node(3)));
    assert!(!a.store.needs_snapshot(node(2)));
    // The one that is not marked reads on.
    pull(&b, &a);
    assert_eq!(rows(&b.store).len(), 101);
    // With everything held again (a snapshot did that) the mark goes.
    a.store.greeted(node(3), &b.store.frontier()).unwrap();
    assert!(!a.store.needs_snapshot(node(3)));
}

#[test]
fn a_thousand_restarts_leave_frontiers_and_dependencies_small() {
    let memory = std::path::Path::new("/dev/shm");
    let dir = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let clock: crate::store::Clock = std::sync::Arc::new(|| 1_000);
    let open = |incarnation: u64| {
        let store =
            Store::open_with_clock(dir.path(), node(1), incarnation, clock.clone()).unwrap();
        store.set_peers([node(2)].into(), 0);
        store.set_durability(crate::store::Durability::Lazy);
        store
    };
    let b = peer(2);
    b.store.set_peers([node(1)].into(), 0);
    open(5_000).declare(ITEM).unwrap();
    for restart in 1..=1_000u64 {
        let a = open(10_000 + restart);
        let sql = format!("REPLACE INTO item VALUES ({}, {restart})", restart % 7);
        a.transact(|tx| tx.execute(&sql, &[])).unwrap();
        a.flush().unwrap();
        let at = a.log_start(&b.store.frontier()).unwrap();
        let (found, _) = a.log_after(&b.store.frontier(), at, 1 << 20).unwrap();
        b.store.apply(&found).unwrap();
        if restart % 50 == 0 {
            run(&b, &format!("REPLACE INTO item VALUES (100, {restart})"));
            let at = b.store.log_start(&a.frontier()).unwrap();
            let (found, _) = b.store.log_after(&a.frontier(), at, 1 << 20).unwrap();
            a.apply(&found).unwrap();
            a.flush().unwrap();
            tell(&a, &b.store);
            a.trim().unwrap();
            a.flush().unwrap();
            b.store.trim().unwrap();
            let sizes = [&a, &b.store].map(|store| store.open_frontier().0.len());
            assert!(
                sizes.iter().all(|size| *size <= 3),
                "{sizes:?} at {restart}"
            );
        }
    }
    let a = open(20_000);
    assert_eq!(rows(&a), rows(&b.store));
    assert_eq!(a.frontier(), b.store.frontier());
    // What is written now names only what is open.
    run(&b, "REPLACE INTO item VALUES (101, 0)");
    let (found, _) = b.store.log_after(&a.frontier(), 0, 1 << 20).unwrap();
    let deps = found[0].decode(Hlc::default()).unwrap().head.deps;
    assert!(deps.len() <= 2, "{deps:?}");
    a.apply(&found).unwrap();
    assert_eq!(rows(&a), rows(&b.store));
}

#[test]
fn a_closed_incarnation_that_goes_on_after_all_is_opened_again() {
    let (a, b) = pair();
    // The same node under another incarnation: the first one counts as closed at B.
    let dir = tempfile::tempdir().unwrap();
    let clock: crate::store::Clock = std::sync::Arc::new(|| 1_400);
    let twin = Store::open_with_clock(dir.path(), node(1), 99, clock).unwrap();
    twin.declare("CREATE TABLE other(id INTEGER PRIMARY KEY)")
        .unwrap();
    let (found, _) = twin.log_after(&Frontier::default(), 0, 1_000).unwrap();
    b.store.apply(&found).unwrap();
    b.store.greeted(node(1), &b.store.frontier()).unwrap();
    assert_eq!(b.store.trim().unwrap().incarnations, 1);
    assert_eq!(b.store.open_frontier().seq(1), 0);
    // A fork of it is settled like one of what was trimmed.
    let last = b.store.frontier().0[&1];
    assert_eq!(b.store.chains(1, 0).unwrap(), [last]);
    run(&a, "INSERT INTO item VALUES (1, 'on')");
    let (found, _) = a.store.log_after(&b.store.frontier(), 0, 1_000).unwrap();
    // Where the disk refuses, it stays closed until the next try.
    let writable = |yes: bool| {
        let writer = b.store.writer().unwrap();
        let set = format!("PRAGMA query_only = {}", !yes);
        writer.db.execute_batch(&set).unwrap();
    };
    writable(false);
    b.store.apply(&found).unwrap_err();
    writable(true);
    b.store.apply(&found).unwrap();
    assert_eq!(rows(&b.store).len(), 1);
    assert_eq!(b.store.frontier().seq(1), 2);
}

#[test]
fn what_is_written_after_a_restart_with_an_earlier_clock_is_later_than_what_was_folded_away() {
    let a = peer(1);
    a.store.set_peers(BTreeSet::new(), 0);
    a.store.declare(ITEM).unwrap();
    run(&a, "INSERT INTO item VALUES (1, 'first')");
    let Peer { store, dir } = a;
    let reopen = |incarnation, ms| {
        let clock = std::sync::Arc::new(move || ms);
        Store::open_with_clock(dir.path(), node(1), incarnation, clock).unwrap()
    };
    drop(store);
    let store = reopen(11, 1_000);
    store.set_peers(BTreeSet::new(), 0);
    assert_eq!(store.trim().unwrap().incarnations, 1);
    drop(store);
    let store = reopen(12, 10);
    let update = "UPDATE item SET a = 'second'";
    store.transact(|tx| tx.execute(update, &[])).unwrap();
    let stamp = "SELECT hlc >> 16 FROM _tutti_log";
    let stamps = store.read(|reader| reader.query(stamp, &[])).unwrap();
    assert_eq!(stamps, [[Integer(1_000)]]);
}

/// What was folded away counted as seen by whoever writes, also by who had gone back to before it.
#[test]
fn who_went_back_to_before_what_was_folded_away_overwrites_nothing_unnoticed() {
    let (a, b) = pair();
    run(&a, "INSERT INTO item VALUES (1, 'old')");
    pull(&b, &a);
    let old = tempfile::tempdir().unwrap();
    let to = old.path().join("replicated.db");
    let copy = rusqlite::Connection::open(&b.store.inner.path).unwrap();
    copy.execute("VACUUM INTO ?", [to.to_string_lossy()])
        .unwrap();
    drop(copy);
    run(&a, "UPDATE item SET a = 'lost unnoticed'");
    let Peer { store, dir } = a;
    drop(store);
    let clock: crate::store::Clock = std::sync::Arc::new(|| 1_000);
    let a = Store::open_with_clock(dir.path(), node(1), 11, clock.clone()).unwrap();
    a.set_peers([node(2)].into(), 0);
    let pull = |to: &Store, from: &Store| {
        let at = from.log_start(&to.frontier()).unwrap();
        let (found, _) = from.log_after(&to.frontier(), at, 1 << 20).unwrap();
        to.apply(&found).unwrap();
    };
    let update = |store: &Store, sql: &str| {
        store.transact(|tx| tx.execute(sql, &[])).unwrap();
    };
    update(&a, "INSERT INTO item VALUES (2, 0)");
    pull(&b.store, &a);
    tell(&a, &b.store);
    assert_eq!(a.trim().unwrap().incarnations, 1);
    // B's disk goes back to before.
    let b = Store::open_with_clock(old.path(), node(2), 22, clock).unwrap();
    update(&b, "UPDATE item SET a = 'of b'");
    pull(&a, &b);
    assert_eq!(rows(&a)[0][1], "of b".into());
    let lost: Vec<_> = a.conflicts(9).unwrap();
    let lost: Vec<_> = lost.into_iter().map(|row| row.value).collect();
    assert_eq!(lost, [["lost unnoticed".into()]]);
    // Once it has all it says so, and overwrites what it has seen.
    assert!(!lacks(&a, 22).is_empty());
    let snapshot = tempfile::tempdir().unwrap();
    let to = snapshot.path().join("replicated.db");
    let copy = rusqlite::Connection::open(&a.inner.path).unwrap();
    copy.execute("VACUUM INTO ?", [to.to_string_lossy()])
        .unwrap();
    drop(b);
    let b = Store::open_with_clock(snapshot.path(), node(2), 22, Arc::new(|| 1_000)).unwrap();
    update(&b, "UPDATE item SET a = 'of b again'");
    pull(&a, &b);
    assert_eq!(lacks(&a, 22), BTreeMap::new());
    assert_eq!(a.conflicts(9).unwrap().len(), 1);
}

/// What an incarnation is known not to have seen all of, though it was folded away.
fn lacks(store: &Store, origin: u64) -> BTreeMap<u64, u64> {
    let mut writer = store.writer().unwrap();
    writer.ready().unwrap();
    let mut deps = writer.memory.origins[&origin].deps.clone();
    deps.retain(|id, _| writer.memory.closed.contains_key(id));
    deps
}

/// Three nodes with one clock, each in a directory of its own.
struct Clocked {
    now: Arc<AtomicU64>,
    dirs: [tempfile::TempDir; 3],
}

impl Clocked {
    fn new() -> Self {
        Clocked {
            now: Arc::new(AtomicU64::new(1_000)),
            dirs: std::array::from_fn(|_| tempfile::tempdir().unwrap()),
        }
    }

    /// A node whose clock is so many milliseconds ahead.
    fn open(&self, number: u8, incarnation: u64, ahead: u64) -> Store {
        let dir = self.dirs[usize::from(number) - 1].path();
        self.open_at(dir, number, incarnation, ahead)
    }

    fn open_at(&self, dir: &std::path::Path, number: u8, incarnation: u64, ahead: u64) -> Store {
        let now = Arc::clone(&self.now);
        let clock = Arc::new(move || now.load(Ordering::Relaxed) + ahead);
        Store::open_with_clock(dir, node(number), incarnation, clock).unwrap()
    }

    /// The third node as it is now, under its first incarnation, in another directory.
    fn twin(&self, of: &Store, dir: &std::path::Path) -> Store {
        let to = dir.join("replicated.db");
        let db = Connection::open(&of.inner.path).unwrap();
        db.execute("VACUUM INTO ?", [to.to_string_lossy()]).unwrap();
        self.open_at(dir, 3, 3, 0)
    }

    fn later(&self, ms: u64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }
}

fn write(store: &Store, sql: &str) {
    store.transact(|tx| tx.execute(sql, &[])).unwrap();
}

fn take(to: &Store, from: &Store) {
    let at = from.log_start(&to.frontier()).unwrap();
    let (found, _) = from.log_after(&to.frontier(), at, 1 << 20).unwrap();
    to.apply(&found).unwrap();
}

/// What lost at a store.
fn lost(store: &Store) -> Vec<Vec<Value>> {
    let lost = store.conflicts(9).unwrap().into_iter();
    lost.map(|row| row.value).collect()
}

/// What waits for the clock of a node that is on no list any more was written before it could have
/// been asked whether it has seen what is folded away.
#[test]
fn what_waited_when_its_writer_left_the_list_overwrites_nothing_unnoticed() {
    const HOUR: u64 = 3_600_000;
    let world = Clocked::new();
    let (a, b, c) = (
        world.open(1, 1, 0),
        world.open(2, 2, HOUR),
        world.open(3, 3, 0),
    );
    a.declare(ITEM).unwrap();
    write(&a, "INSERT INTO item VALUES (1, 'seen by all')");
    take(&b, &a);
    take(&c, &a);
    write(&b, "DELETE FROM item");
    a.greeted(node(2), &b.frontier()).unwrap();
    take(&a, &b);
    assert_eq!(rows(&a).len(), 1, "it waits");
    // The third writes, and goes on under another incarnation; the second leaves the list.
    write(&c, "UPDATE item SET a = 'lost unnoticed'");
    drop(c);
    let c = world.open(3, 33, 0);
    write(&c, "INSERT INTO item VALUES (2, 0)");
    take(&a, &c);
    a.set_peers([node(3)].into(), 0);
    tell(&a, &c);
    assert_eq!(a.trim().unwrap().incarnations, 1);
    world.later(HOUR);
    assert!(a.release().unwrap().is_some());
    assert_eq!(rows(&a).len(), 1);
    assert_eq!(lost(&a), [["lost unnoticed".into()]]);
}

/// What was written under an incarnation that ended is brought by somebody else, long after that
/// was folded away, and with it what was written later than that.
#[test]
fn what_a_closed_incarnation_wrote_long_ago_overwrites_nothing_later_unnoticed() {
    let world = Clocked::new();
    let (a, b, c) = (
        world.open(1, 1, 0),
        world.open(2, 2, 0),
        world.open(3, 3, 0),
    );
    a.declare(ITEM).unwrap();
    write(&a, "INSERT INTO item VALUES (1, 'seen by all')");
    take(&c, &a);
    write(&c, "INSERT INTO item VALUES (2, 0)");
    take(&a, &c);
    take(&b, &a);
    // The third's disk is copied, and goes on for a moment where nobody but one sees it.
    let copied = tempfile::tempdir().unwrap();
    let twin = world.twin(&c, copied.path());
    write(&twin, "DELETE FROM item WHERE id = 1");
    // All others write later, each goes on under another incarnation, and all is folded away.
    world.later(1_000);
    write(&b, "UPDATE item SET a = 'lost unnoticed' WHERE id = 1");
    drop((b, c));
    let (b, c) = (world.open(2, 22, 0), world.open(3, 33, 0));
    write(&b, "INSERT INTO item VALUES (3, 0)");
    take(&c, &b);
    write(&c, "INSERT INTO item VALUES (4, 0)");
    take(&a, &c);
    take(&b, &c);
    a.set_peers([node(2), node(3)].into(), 0);
    tell(&a, &b);
    tell(&a, &c);
    assert_eq!(a.trim().unwrap().incarnations, 2);
    take(&a, &twin);
    assert_eq!(rows(&a).len(), 3);
    assert_eq!(lost(&a), [["lost unnoticed".into()]]);
}

/// The same where nothing else is left that it had not seen.
#[test]
fn what_has_seen_all_but_what_was_folded_away_overwrites_nothing_of_that_unnoticed() {
    let world = Clocked::new();
    let (a, c) = (world.open(1, 1, 0), world.open(3, 3, 0));
    a.declare(ITEM).unwrap();
    write(&a, "INSERT INTO item VALUES (1, 'seen by all')");
    take(&c, &a);
    write(&c, "INSERT INTO item VALUES (2, 0)");
    take(&a, &c);
    let copied = tempfile::tempdir().unwrap();
    let twin = world.twin(&c, copied.path());
    write(&twin, "DELETE FROM item WHERE id = 1");
    world.later(1_000);
    drop(c);
    let c = world.open(3, 33, 0);
    write(&c, "UPDATE item SET a = 'lost unnoticed' WHERE id = 1");
    take(&a, &c);
    a.set_peers(BTreeSet::new(), 0);
    assert_eq!(a.trim().unwrap().incarnations, 2);
    take(&a, &twin);
    assert_eq!(rows(&a).len(), 1);
    assert_eq!(lost(&a), [["lost unnoticed".into()]]);
}

/// The first goes on under another incarnation; at both its former one is folded away.
fn ends_the_first(world: &Clocked, a: Store, b: &Store) -> Store {
    drop(a);
    let a = world.open(1, 11, 0);
    write(&a, "INSERT INTO item VALUES (2, 0)");
    take(b, &a);
    a.set_peers([node(2)].into(), 0);
    b.set_peers([node(1)].into(), 0);
    tell(&a, b);
    for store in [&a, b] {
        assert_eq!(store.trim().unwrap().incarnations, 1);
    }
    a
}

/// Who writes seldom had named only a part of what ended, when that was folded away.
#[test]
fn what_was_folded_away_before_it_was_named_whole_is_named_by_the_next_transaction() {
    let world = Clocked::new();
    let (a, b) = (world.open(1, 1, 0), world.open(2, 2, 0));
    a.declare(ITEM).unwrap();
    take(&b, &a);
    write(&b, "INSERT INTO item VALUES (9, 0)");
    take(&a, &b);
    write(&a, "INSERT INTO item VALUES (1, 'seen')");
    let a = ends_the_first(&world, a, &b);
    assert_eq!(lacks(&a, 2), [(1, 1)].into());
    write(&b, "UPDATE item SET a = 'later' WHERE id = 1");
    take(&a, &b);
    assert_eq!(lacks(&a, 2), BTreeMap::new());
    assert!(lost(&a).is_empty());
}

/// A memory that was put back, and wrote nothing since, goes on under another incarnation.
#[test]
fn who_has_nothing_to_issue_again_names_next_what_it_has_seen() {
    let world = Clocked::new();
    let (a, b) = (world.open(1, 1, 0), world.open(2, 2, 0));
    a.declare(ITEM).unwrap();
    write(&a, "INSERT INTO item VALUES (1, 'seen')");
    let a = ends_the_first(&world, a, &b);
    assert_eq!(a.reissue(11, a.frontier().seq(11), 77).unwrap(), 0);
    write(&a, "UPDATE item SET a = 'later' WHERE id = 1");
    take(&b, &a);
    assert!(lost(&b).is_empty());
    assert_eq!(lacks(&b, 77), BTreeMap::new());
}

/// Nobody names anew what had been seen whole when it was folded away.
#[test]
fn what_had_seen_all_of_an_incarnation_that_goes_on_after_all_overwrites_that_as_before() {
    let world = Clocked::new();
    let [a, b] = [1, 2].map(|number| world.open(number, number.into(), 0));
    let c = world.open(3, 3, 0);
    a.declare(ITEM).unwrap();
    take(&c, &a);
    write(&c, "INSERT INTO item VALUES (1, 'seen')");
    take(&a, &c);
    write(&a, "INSERT INTO item VALUES (2, 0)");
    let copied = tempfile::tempdir().unwrap();
    let twin = world.twin(&c, copied.path());
    drop(c);
    let c = world.open(3, 33, 0);
    write(&c, "INSERT INTO item VALUES (3, 0)");
    take(&a, &c);
    take(&b, &a);
    b.set_peers([node(1)].into(), 0);
    tell(&a, &b);
    assert_eq!(b.trim().unwrap().incarnations, 2);
    assert_eq!(lacks(&b, 1), [(33, 0)].into());
    write(&twin, "INSERT INTO item VALUES (4, 0)");
    take(&b, &twin);
    assert_eq!(b.open_frontier().seq(3), 2, "it is opened again");
    write(&a, "UPDATE item SET a = 'later' WHERE id = 1");
    take(&b, &a);
    assert!(lost(&b).is_empty());
}

/// The number alone does not say that it is the history that was here.
#[test]
fn who_names_another_history_of_what_was_folded_away_has_seen_nothing_of_it() {
    let position = |chain| Position {
        seq: 5,
        chain: [chain; 32],
    };
    let ended = Origin {
        position: position(1),
        ..Origin::default()
    };
    let closed = BTreeMap::from([(9, ended)]);
    let known = |seq, chain| {
        let head = Head {
            node: None,
            deps: vec![Dep::new(9, &position(chain))],
        };
        let mut origin = Origin::default();
        origin.learn(seq, &head, &closed);
        origin.deps
    };
    for seq in [1, 2] {
        assert_eq!(known(seq, 1), BTreeMap::new());
        assert_eq!(known(seq, 2), [(9, 0)].into());
    }
}
