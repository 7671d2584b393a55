//! Two systems that gave each other up become one again, and nothing that was written is lost.

use std::fs;

use super::*;
use crate::replica::fork;
use crate::replica::session::Swap;
use crate::replica::value::Value;
use crate::store::tests::{Peer, exchange, peer, pull, put_back, rows, run};

const ITEM: &str = "CREATE TABLE item(id INTEGER PRIMARY KEY, a, b)";

fn tell(a: &Peer, b: &Peer) {
    a.store
        .greeted(b.store.node(), &b.store.frontier())
        .unwrap();
}

/// Two that share three rows, and a table, and listed only each other while they were apart and
/// wrote more than their logs may hold.
fn apart() -> (Peer, Peer) {
    let (a, b) = (peer(1), peer(2));
    a.store.set_peers([b.store.node()].into(), 0);
    b.store.set_peers([a.store.node()].into(), 0);
    a.store.declare(ITEM).unwrap();
    a.store
        .declare("CREATE TABLE old(id INTEGER PRIMARY KEY)")
        .unwrap();
    run(
        &a,
        "INSERT INTO item VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3)",
    );
    exchange(&a, &b);
    tell(&a, &b);
    tell(&b, &a);
    (a, b)
}

fn give_up(peer: &Peer) {
    peer.store.set_log_bound(0);
    let marked = peer.store.trim().unwrap().marked;
    assert_eq!(marked.len(), 1);
}

/// `joiner` takes `donor`'s snapshot as one that can deliver nothing.
fn rebase(joiner: &Peer, donor: &Peer) -> std::path::PathBuf {
    let staged = donor.store.stage(u64::MAX).unwrap();
    let store = &joiner.store;
    let accepted = store.accept_snapshot(staged.id, staged.size, 0, u64::MAX);
    let mut incoming = accepted.unwrap();
    let (bytes, digest) = staged.read(0, 1 << 24).unwrap();
    incoming.write(0, &bytes).unwrap();
    let digest = digest.unwrap();
    store.swap_in(incoming, digest, 77, Swap::Rebase).unwrap()
}

#[test]
fn two_that_gave_each_other_up_become_one_again_and_lose_nothing() {
    let (a, b) = apart();
    run(&a, "UPDATE item SET a = 'of a' WHERE id = 1");
    run(&a, "UPDATE item SET a = 'also of a' WHERE id = 2");
    run(&a, "INSERT INTO item VALUES (4, 'of a', 0)");
    run(&b, "UPDATE item SET b = 'of b' WHERE id = 1");
    run(&b, "UPDATE item SET a = 'of b' WHERE id = 2");
    run(&b, "DELETE FROM item WHERE id = 3");
    b.store
        .declare("CREATE TABLE late(id INTEGER PRIMARY KEY, u UNIQUE)")
        .unwrap();
    run(&b, "INSERT INTO late VALUES (1, 'x')");
    b.store.declare("DROP TABLE old").unwrap();
    run(&b, "INSERT INTO item VALUES (5, 'of b', 0)");
    for peer in [&a, &b] {
        give_up(peer);
    }
    for (from, to) in [(&a, &b), (&b, &a)] {
        let read = from.store.log_start(&to.store.frontier());
        assert!(matches!(read, Err(StoreError::NeedsSnapshot { .. })));
    }
    let backup = rebase(&b, &a);
    assert!(fs::metadata(backup).is_ok(), "what was there is kept");
    assert_eq!(b.store.incarnation(), 77);
    pull(&a, &b);
    assert_eq!(a.store.frontier(), b.store.frontier());
    assert_eq!(a.store.digest().unwrap(), b.store.digest().unwrap());
    let text = |text: &str| Value::Text(text.into());
    let expected = [
        vec![1.into(), text("of a"), text("of b")],
        vec![2.into(), text("of b"), 2.into()],
        vec![4.into(), text("of a"), 0.into()],
        vec![5.into(), text("of b"), 0.into()],
    ];
    for peer in [&a, &b] {
        assert_eq!(rows(peer, "SELECT * FROM item ORDER BY id"), expected);
        assert_eq!(rows(peer, "SELECT * FROM late").len(), 1);
        let tables = peer.store.tables().unwrap();
        assert!(tables.iter().all(|table| table.name != "old"));
        // What was written on both sides without seeing the other is in the inbox.
        let lost = peer.store.conflicts(9).unwrap();
        let lost: Vec<_> = lost.iter().map(|row| (&row.column, &row.value)).collect();
        assert_eq!(lost, [(&"a".to_owned(), &vec![text("also of a")])]);
    }
    // Whom the other gave up is given up by nobody here, nor is the other itself any more.
    assert_eq!(rows(&b, "SELECT * FROM _tutti_marked").len(), 0);
    assert!(!b.store.needs_snapshot(a.store.node()));
    // Both go on, and need no snapshot any more.
    tell(&a, &b);
    tell(&b, &a);
    assert!(!a.store.needs_snapshot(b.store.node()));
    run(&a, "DELETE FROM item WHERE id = 1");
    run(&b, "INSERT INTO item VALUES (9, 9, 9)");
    exchange(&a, &b);
}

#[test]
fn what_only_the_one_that_yields_had_in_its_inbox_is_not_lost() {
    let (a, b) = apart();
    let c = peer(3);
    pull(&c, &a);
    run(&c, "UPDATE item SET a = 'of c' WHERE id = 1");
    run(&b, "UPDATE item SET a = 'of b' WHERE id = 1");
    pull(&b, &c);
    assert_eq!(b.store.conflicts(9).unwrap().len(), 1);
    for peer in [&a, &b] {
        run(peer, "INSERT INTO item VALUES (7, 7, 7)");
        give_up(peer);
    }
    rebase(&b, &a);
    // Nor does it stay the only one that has it.
    pull(&a, &b);
    for peer in [&a, &b] {
        let lost = peer.store.conflicts(9).unwrap();
        let one = |value: &str| lost.iter().filter(|r| r.value == [value.into()]).count();
        assert_eq!(one("of c") + one("of b"), 1, "{lost:?}");
    }
}

/// Served until it was a minute old, it had a third take back what the two had become, again and
/// again.
#[test]
fn a_copy_staged_before_the_one_that_yields_took_a_snapshot_is_not_given_away_after() {
    let (a, b) = apart();
    for peer in [&a, &b] {
        run(peer, "INSERT INTO item VALUES (7, 7, 7)");
        give_up(peer);
    }
    let before = b.store.stage_for([3; 16], None, u64::MAX).unwrap();
    rebase(&b, &a);
    let after = b.store.stage_for([3; 16], None, u64::MAX).unwrap();
    assert_ne!(before.id, after.id);
    assert_eq!(after.frontier, b.store.frontier());
}

/// The first system's memory was put back, and each of two took another history of it than the
/// other: returned with a row of each one's own.
fn two_lives() -> (Peer, Peer) {
    let (a, b, c) = (peer(1), peer(2), peer(3));
    a.store.declare(ITEM).unwrap();
    run(&a, "INSERT INTO item VALUES (1, 'shared', 0)");
    pull(&b, &a);
    let (store, dir) = put_back(&a);
    let again = Peer { store, dir };
    run(&a, "INSERT INTO item VALUES (2, 'first life', 0)");
    run(&again, "INSERT INTO item VALUES (3, 'second life', 0)");
    pull(&b, &a);
    pull(&c, &again);
    run(&b, "INSERT INTO item VALUES (4, 'of b', 0)");
    run(&c, "INSERT INTO item VALUES (5, 'of c', 0)");
    (b, c)
}

/// `c` yields to `b`, neither of whose logs goes back to where the two lives part.
fn become_one(b: &Peer, c: &Peer) {
    let (ours, theirs) = (c.store.chains(1, 9).unwrap(), b.store.chains(1, 9).unwrap());
    let after = fork::common(&ours, &theirs);
    assert!(fork::is_gone(&ours, &theirs, after), "of one length");
    rebase(c, b);
    assert!(c.store.is_carrying() && !c.store.is_carrying());
    pull(b, c);
    assert_eq!(b.store.frontier(), c.store.frontier());
    assert_eq!(b.store.digest().unwrap(), c.store.digest().unwrap());
    let text = |text: &str| Value::Text(text.into());
    let expected = [
        vec![1.into(), text("shared"), 0.into()],
        vec![2.into(), text("first life"), 0.into()],
        vec![3.into(), text("second life"), 0.into()],
        vec![4.into(), text("of b"), 0.into()],
        vec![5.into(), text("of c"), 0.into()],
    ];
    for peer in [b, c] {
        assert_eq!(rows(peer, "SELECT * FROM item ORDER BY id"), expected);
    }
    run(b, "DELETE FROM item WHERE id = 2");
    run(c, "INSERT INTO item VALUES (9, 9, 9)");
    exchange(b, c);
}

/// Neither could yield, and their links ended by name each time.
#[test]
fn two_histories_of_one_origin_that_both_were_trimmed_become_one_and_lose_nothing() {
    let (b, c) = two_lives();
    for (peer, other) in [(&b, &c), (&c, &b)] {
        peer.store.set_peers([other.store.node()].into(), 0);
        give_up(peer);
    }
    become_one(&b, &c);
}

/// A fourth had all of it, and the first was on no list any more.
fn fold_away(peer: &Peer, fourth: &Peer) {
    pull(fourth, peer);
    peer.store.set_peers([fourth.store.node()].into(), 0);
    tell(peer, fourth);
    assert_eq!(peer.store.trim().unwrap().incarnations, 1);
}

#[test]
fn a_history_of_an_incarnation_that_was_folded_away_here_is_not_taken_for_the_snapshots() {
    let (b, c) = two_lives();
    fold_away(&c, &peer(4));
    b.store.set_peers([c.store.node()].into(), 0);
    give_up(&b);
    become_one(&b, &c);
}

#[test]
fn nor_is_it_where_both_have_folded_it_away() {
    let (b, c) = two_lives();
    fold_away(&c, &peer(4));
    fold_away(&b, &peer(5));
    become_one(&b, &c);
}

/// On a link all that its log held since its own trim point was issued again, as newest: what was
/// changed since came back everywhere.
#[test]
fn memory_put_back_to_before_the_peers_log_brings_nothing_old_back() {
    let (a, b) = (peer(1), peer(2));
    a.store.set_peers([b.store.node()].into(), 0);
    b.store.set_peers([a.store.node()].into(), 0);
    a.store.declare(ITEM).unwrap();
    for id in 0..20 {
        run(&a, &format!("INSERT INTO item VALUES ({id}, 'old', 0)"));
    }
    let (store, dir) = put_back(&a);
    let again = Peer { store, dir };
    run(&a, "UPDATE item SET a = 'new'");
    run(&a, "DELETE FROM item WHERE id = 7");
    exchange(&a, &b);
    tell(&a, &b);
    tell(&b, &a);
    b.store.set_log_bound(0);
    assert!(b.store.trim().unwrap().transactions > 0);
    run(&again, "INSERT INTO item VALUES (30, 'second life', 0)");
    let last = again.store.frontier().seq(1);
    let [ours, theirs] = [&again, &b].map(|peer| peer.store.chains(1, last).unwrap());
    let after = fork::common(&ours, &theirs);
    assert!(fork::is_gone(&ours, &theirs, after) && fork::yields(&ours, &theirs, after, false));
    rebase(&again, &b);
    pull(&b, &again);
    assert_eq!(b.store.digest().unwrap(), again.store.digest().unwrap());
    let values = rows(&b, "SELECT a, count(*) FROM item GROUP BY a");
    let expected = [("new", 19), ("second life", 1)];
    let expected = expected.map(|(a, n)| vec![a.into(), n.into()]);
    assert_eq!(values, expected);
}
