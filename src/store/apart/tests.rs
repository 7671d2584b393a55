//! Members that take a snapshot of another history than their own, and lose nothing by it.

use std::sync::Arc;

use super::*;
use crate::replica::session::Swap;
use crate::replica::value::Value;
use crate::store::Incoming;
use crate::store::tests::{Peer, exchange, peer, pull, rows, run};

const ITEM: &str = "CREATE TABLE item(id INTEGER PRIMARY KEY, a)";

fn tell(a: &Peer, b: &Peer) {
    let (node, frontier) = (b.store.node(), b.store.frontier());
    a.store.greeted(node, &frontier).unwrap();
}

/// The peer as it is now, to go on with the same memory at another time.
fn copy(peer: &Peer) -> Peer {
    copy_at(peer, 1_000)
}

/// That with the clock at `ms`.
fn copy_at(peer: &Peer, ms: u64) -> Peer {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join("replicated.db").display().to_string();
    let db = Connection::open(&peer.store.inner.path).unwrap();
    db.execute("VACUUM INTO ?", [name]).unwrap();
    let (node, incarnation) = (peer.store.node(), peer.store.incarnation());
    let clock: crate::store::Clock = Arc::new(move || ms);
    let store = Store::open_with_clock(dir.path(), node, incarnation, clock).unwrap();
    Peer { store, dir }
}

/// `donor`'s snapshot as it arrived at `member`, with its digest.
fn arrived(member: &Peer, donor: &Peer) -> (Incoming, [u8; 32]) {
    let staged = donor.store.stage(u64::MAX).unwrap();
    let accepted = member
        .store
        .accept_snapshot(staged.id, staged.size, 0, u64::MAX);
    let mut incoming = accepted.unwrap();
    let (bytes, digest) = staged.read(0, 1 << 24).unwrap();
    incoming.write(0, &bytes).unwrap();
    (incoming, digest.unwrap())
}

/// `member` takes `donor`'s snapshot, under incarnation 77.
fn take(member: &Peer, donor: &Peer) {
    let (incoming, digest) = arrived(member, donor);
    let store = &member.store;
    store.swap_in(incoming, digest, 77, Swap::CatchUp).unwrap();
}

/// Three that hold one row of the first's.
fn three() -> (Peer, Peer, Peer) {
    let (a, member, donor) = (peer(1), peer(2), peer(3));
    a.store.declare(ITEM).unwrap();
    run(&a, "INSERT INTO item VALUES (9, 'of both')");
    for other in [&member, &donor] {
        pull(other, &a);
    }
    (a, member, donor)
}

/// Two that hold two histories of the first's numbers, and the second a longer one of which its log
/// has nothing left that the first holds. A third had them meet nowhere.
fn two_histories() -> (Peer, Peer) {
    let (_, member, donor) = histories();
    (member, donor)
}

/// Those two, and the one whose history the first holds.
fn histories() -> (Peer, Peer, Peer) {
    let (a, member, donor) = three();
    let before = copy(&a);
    run(
        &a,
        "INSERT INTO item VALUES (1, 'of the member''s history')",
    );
    pull(&member, &a);
    // Its memory is put back.
    run(&before, "UPDATE item SET a = 'of the donor' WHERE id = 9");
    for id in 5..7 {
        run(&before, &format!("INSERT INTO item VALUES ({id}, '')"));
    }
    pull(&donor, &before);
    donor.store.set_peers([[1; 16]].into(), 0);
    tell(&donor, &before);
    assert_eq!(donor.store.trim().unwrap().transactions, 5);
    let read = donor.store.log_start(&member.store.frontier());
    assert!(matches!(read, Err(StoreError::NeedsSnapshot { .. })));
    (a, member, donor)
}

#[test]
fn of_who_may_hold_another_history_nothing_is_taken_before_it_has_a_snapshot() {
    let (member, donor) = two_histories();
    let node = member.store.node();
    tell(&donor, &member);
    assert!(donor.store.is_apart(node));
    take(&member, &donor);
    tell(&donor, &member);
    assert!(!donor.store.is_apart(node));
}

#[test]
fn a_member_with_another_history_than_the_snapshot_issues_its_own_again() {
    let (member, donor) = two_histories();
    run(&member, "UPDATE item SET a = a || '!' WHERE id = 1");
    take(&member, &donor);
    let own = "SELECT id, a FROM item WHERE id = 1";
    let text = Value::Text("of the member's history!".into());
    assert_eq!(rows(&member, own), [[1.into(), text]]);
    exchange(&member, &donor);
    for peer in [&member, &donor] {
        assert_eq!(rows(peer, "SELECT id FROM item").len(), 4);
        assert!(peer.store.conflicts(9).unwrap().is_empty());
    }
}

/// It was refused then, again and again: who holds that history sends it at once to whoever took it
/// back.
#[test]
fn another_history_that_comes_back_while_a_snapshot_is_verified_is_issued_again_once_more() {
    let (a, member, donor) = histories();
    run(&member, "UPDATE item SET a = a || '!' WHERE id = 1");
    let (incoming, digest) = arrived(&member, &donor);
    let store = &member.store;
    let path = incoming.path().to_owned();
    let swap = store.verify(incoming, digest, 77, Swap::CatchUp);
    pull(&member, &a);
    store.replace(&path, 77, swap.unwrap()).unwrap();
    assert_ne!(
        store.incarnation(),
        77,
        "what 77 wrote may have been taken back"
    );
    exchange(&member, &donor);
    let text = Value::Text("of the member's history!".into());
    for peer in [&member, &donor] {
        assert_eq!(rows(peer, "SELECT id FROM item").len(), 4);
        let own = rows(peer, "SELECT a FROM item WHERE id = 1");
        assert_eq!(own, [[text.clone()]]);
    }
}

#[test]
fn what_a_member_wrote_with_another_history_in_sight_overwrites_nothing_of_the_snapshot() {
    let (member, donor) = two_histories();
    // Written by who had seen another number 3 of the first than the donor's.
    run(&member, "UPDATE item SET a = 'of the member' WHERE id = 9");
    take(&member, &donor);
    exchange(&member, &donor);
    // Which of the two is later does not matter here.
    let lost = member.store.conflicts(9).unwrap();
    let lost = lost.iter().flat_map(|row| row.value.clone());
    let shown = rows(&member, "SELECT a FROM item WHERE id = 9");
    let all: Vec<_> = lost.chain(shown.into_iter().flatten()).collect();
    for text in ["of the member", "of the donor"] {
        assert!(all.contains(&Value::Text(text.into())), "{all:?}");
    }
}

#[test]
fn a_member_that_was_given_up_takes_the_snapshot_and_issues_nothing_again() {
    let (a, member) = (peer(1), peer(2));
    a.store.set_peers([member.store.node()].into(), 0);
    a.store.declare(ITEM).unwrap();
    run(&a, "INSERT INTO item VALUES (1, 'x'), (2, 'y')");
    run(&a, "UPDATE item SET a = 'z' WHERE id = 1");
    exchange(&a, &member);
    tell(&a, &member);
    run(&a, "UPDATE item SET a = 'later' WHERE id = 1");
    a.store.set_log_bound(0);
    assert_eq!(a.store.trim().unwrap().marked.len(), 1);
    let read = a.store.log_start(&member.store.frontier());
    assert!(matches!(read, Err(StoreError::NeedsSnapshot { .. })));
    tell(&a, &member);
    let apart = a.store.is_apart(member.store.node());
    assert!(!apart, "where it was is remembered");
    take(&member, &a);
    assert_eq!(
        member.store.frontier(),
        a.store.frontier(),
        "nothing is issued again"
    );
    assert_eq!(member.store.digest().unwrap(), a.store.digest().unwrap());
}

#[test]
fn what_left_the_log_of_a_member_with_another_history_is_written_again_from_its_rows() {
    let (member, donor) = two_histories();
    member.store.set_peers([[1; 16]].into(), 0);
    member.store.set_log_bound(0);
    member.store.trim().unwrap();
    take(&member, &donor);
    let own = "SELECT a FROM item WHERE id = 1";
    assert_eq!(rows(&member, own), [["of the member's history".into()]]);
    exchange(&member, &donor);
}

/// Where nothing tells whether it is one history, what depends on it is issued again, too; what is
/// left of that origin was compared before.
#[test]
fn what_is_left_of_an_origin_that_both_share_is_not_taken_for_another_history() {
    let (a, c, member, donor) = (peer(1), peer(4), peer(2), peer(3));
    a.store.declare(ITEM).unwrap();
    run(&a, "INSERT INTO item VALUES (9, 'first')");
    pull(&c, &a);
    run(&c, "INSERT INTO item VALUES (20, 'of c')");
    run(&a, "UPDATE item SET a = 'second' WHERE id = 9");
    pull(&c, &a);
    run(
        &c,
        "INSERT INTO item VALUES (21, 'of c with the second in sight')",
    );
    pull(&member, &c);
    pull(&a, &c);
    run(&a, "UPDATE item SET a = 'third' WHERE id = 9");
    run(&a, "DELETE FROM item WHERE id = 20");
    for from in [&c, &a] {
        pull(&donor, from);
    }
    // The member was on no list, and nobody knows where it was.
    donor.store.set_peers([[1; 16], [4; 16]].into(), 0);
    pull(&a, &donor);
    pull(&c, &donor);
    tell(&donor, &a);
    tell(&donor, &c);
    assert_eq!(donor.store.trim().unwrap().transactions, 7);
    take(&member, &donor);
    exchange(&member, &donor);
    assert_eq!(rows(&member, "SELECT id FROM item").len(), 2);
}

/// A member on an old file, of which nothing tells that it is one history: what it was the last to
/// see came back as the newest version everywhere, and deleted rows with it.
#[test]
fn what_was_changed_or_deleted_since_an_old_file_does_not_come_back() {
    for trims in [false, true] {
        let (a, old, donor) = (peer(1), clocked(2, 1_400), peer(3));
        a.store.declare(ITEM).unwrap();
        run(&a, "INSERT INTO item VALUES (1, 'first'), (2, 'first')");
        run(&a, "UPDATE item SET a = 'second' WHERE id = 1");
        run(&a, "INSERT INTO item VALUES (3, 'to be deleted')");
        pull(&old, &a);
        run(&old, "INSERT INTO item VALUES (4, 'its own')");
        run(&a, "UPDATE item SET a = 'third' WHERE id = 1");
        run(&a, "DELETE FROM item WHERE id = 3");
        pull(&donor, &a);
        donor.store.set_peers([[1; 16]].into(), 0);
        tell(&donor, &a);
        assert!(donor.store.trim().unwrap().transactions > 4);
        if trims {
            old.store.set_peers([[1; 16]].into(), 0);
            old.store.set_log_bound(0);
            old.store.trim().unwrap();
        }
        take(&old, &donor);
        exchange(&old, &donor);
        let texts = rows(&old, "SELECT id, a FROM item ORDER BY id");
        let row = |id: i64, text: &str| vec![Value::from(id), text.into()];
        assert_eq!(
            texts,
            [row(1, "third"), row(2, "first"), row(4, "its own")],
            "{trims}"
        );
        assert_eq!(rows(&donor, "SELECT id, a FROM item ORDER BY id"), texts);
    }
}

/// In a table of which tombstones are forgotten, an acknowledged deletion was in no log and no
/// inbox.
#[test]
fn a_deletion_in_the_history_that_yields_is_issued_again() {
    let (a, member, donor) = (peer(1), clocked(2, 1_400), peer(3));
    a.store.declare(ITEM).unwrap();
    run(
        &a,
        "INSERT INTO item VALUES (1, 'to be deleted'), (2, 'of both'), (3, 'gone')",
    );
    run(&a, "DELETE FROM item WHERE id = 3");
    for other in [&member, &donor] {
        pull(other, &a);
    }
    let (one, two) = (copy(&a), copy(&a));
    run(&one, "DELETE FROM item WHERE id = 1");
    run(&one, "UPDATE item SET a = 'of the member' WHERE id = 2");
    pull(&member, &one);
    for n in 0..4 {
        run(
            &two,
            &format!("INSERT INTO item VALUES ({}, 'of the donor')", 10 + n),
        );
    }
    pull(&donor, &two);
    donor.store.set_peers([[1; 16]].into(), 0);
    tell(&donor, &two);
    assert!(donor.store.trim().unwrap().transactions > 4);
    take(&member, &donor);
    exchange(&member, &donor);
    assert!(rows(&donor, "SELECT a FROM item WHERE id = 1").is_empty());
    assert_eq!(
        rows(&donor, "SELECT a FROM item WHERE id = 2"),
        [["of the member".into()]]
    );
}

/// A row that is a key and no more, which the snapshot ended later.
#[test]
fn a_row_without_other_columns_that_lost_is_told() {
    let (a, member, donor) = (peer(1), clocked(2, 1_400), peer(3));
    a.store
        .declare("CREATE TABLE item(a TEXT PRIMARY KEY NOT NULL)")
        .unwrap();
    run(&a, "INSERT INTO item VALUES ('first')");
    for other in [&member, &donor] {
        pull(other, &a);
    }
    let (one, two) = (copy(&a), copy(&a));
    run(&one, "INSERT INTO item VALUES ('key')");
    pull(&member, &one);
    run(&two, "INSERT INTO item VALUES ('key')");
    run(&two, "DELETE FROM item WHERE a = 'key'");
    run(&two, "INSERT INTO item VALUES ('more')");
    pull(&donor, &two);
    donor.store.set_peers([[1; 16]].into(), 0);
    tell(&donor, &two);
    donor.store.trim().unwrap();
    take(&member, &donor);
    exchange(&member, &donor);
    assert!(is_kept(&member, "key"));
}

/// A peer with a clock of its own.
fn clocked(number: u8, ms: u64) -> Peer {
    let dir = tempfile::tempdir().unwrap();
    let clock: crate::store::Clock = Arc::new(move || ms);
    let (node, incarnation) = ([number; 16], u64::from(number));
    let store = Store::open_with_clock(dir.path(), node, incarnation, clock).unwrap();
    Peer { store, dir }
}

/// Two histories that parted with one stamp, as where a clock stood still: what each system's rows
/// hold of it, and the longer one's log nothing.
fn one_stamp(first: &str, second: &str, longer: bool) -> (Peer, Peer) {
    let (a, member, donor) = (peer(1), peer(2), peer(3));
    a.store
        .declare("CREATE TABLE item(id INTEGER PRIMARY KEY, a, b)")
        .unwrap();
    run(&a, "INSERT INTO item VALUES (9, 'of both', 0)");
    for other in [&member, &donor] {
        pull(other, &a);
    }
    let (one, two) = (copy(&a), copy(&a));
    run(&one, first);
    run(&two, second);
    if longer {
        run(&two, "INSERT INTO item VALUES (7, '', 0)");
    }
    pull(&member, &one);
    pull(&donor, &two);
    run(&member, "UPDATE item SET a = 'of the member' WHERE id = 1");
    donor.store.set_peers([[1; 16]].into(), 0);
    tell(&donor, &two);
    assert!(donor.store.trim().unwrap().transactions > 2);
    (member, donor)
}

/// Either what the row shows, or what is in the inbox.
fn is_kept(peer: &Peer, text: &str) -> bool {
    let shown = rows(peer, "SELECT a FROM item");
    let lost = peer.store.conflicts(9).unwrap();
    let lost = lost.iter().flat_map(|row| row.value.clone());
    let all: Vec<Value> = lost.chain(shown.into_iter().flatten()).collect();
    all.contains(&Value::Text(text.into()))
}

#[test]
fn a_value_that_two_histories_share_by_chance_does_not_make_them_one() {
    let first = "INSERT INTO item VALUES (1, 'first', 1), (2, 'only there', 1)";
    let second = "INSERT INTO item VALUES (1, 'second', 1)";
    for (first, longer) in [
        (first, true),
        ("INSERT INTO item VALUES (1, 'first', 1)", false),
    ] {
        let (member, donor) = one_stamp(first, second, longer);
        take(&member, &donor);
        exchange(&member, &donor);
        for text in ["of the member", "second"] {
            assert!(is_kept(&member, text), "{text}, {longer}");
        }
        assert_eq!(is_kept(&member, "only there"), longer);
    }
}

/// What a member's log holds brings a row of the snapshot to life whose end is forgotten there, and
/// which the member saw end.
#[test]
fn what_goes_on_over_a_snapshot_does_not_make_two_histories_of_one() {
    let (a, member, donor) = (peer(1), peer(2), peer(3));
    a.store.declare(ITEM).unwrap();
    for other in [&member, &donor] {
        pull(other, &a);
    }
    run(&member, "INSERT INTO item VALUES (5, 'of the member')");
    run(&a, "INSERT INTO item VALUES (5, 'of the first')");
    run(&a, "DELETE FROM item");
    run(&a, "INSERT INTO item VALUES (9, 'of both')");
    for other in [&member, &donor] {
        pull(other, &a);
    }
    run(&a, "INSERT INTO item VALUES (10, 'later')");
    pull(&donor, &a);
    // The member was on no list, and nobody knows where it was.
    donor.store.set_peers([[1; 16]].into(), 0);
    tell(&donor, &a);
    assert_eq!(donor.store.trim().unwrap().tombstones, 1);
    take(&member, &donor);
    exchange(&member, &donor);
    let ids = "SELECT id FROM item ORDER BY id";
    assert_eq!(rows(&member, ids), [[5.into()], [9.into()], [10.into()]]);
}

/// Of an incarnation that the snapshot has folded away the member held another history, and had
/// seen nothing of what the snapshot holds under the same numbers.
#[test]
fn what_is_written_over_a_snapshot_has_not_seen_the_other_history_of_its_numbers() {
    let (a, member, donor) = three();
    let before = copy(&a);
    run(&a, "INSERT INTO item VALUES (4, 'deleted')");
    pull(&member, &a);
    run(&member, "DELETE FROM item WHERE id = 4");
    run(&before, "INSERT INTO item VALUES (4, 'lost unnoticed')");
    run(&before, "INSERT INTO item VALUES (5, '')");
    pull(&donor, &before);
    let Peer { store, dir } = before;
    drop(store);
    let clock: crate::store::Clock = Arc::new(|| 1_000);
    let store = Store::open_with_clock(dir.path(), [1; 16], 11, clock).unwrap();
    let again = Peer { store, dir };
    run(&again, "INSERT INTO item VALUES (6, '')");
    pull(&donor, &again);
    donor.store.set_peers([[1; 16]].into(), 0);
    tell(&donor, &again);
    assert_eq!(donor.store.trim().unwrap().incarnations, 1);
    member.store.set_peers([[1; 16]].into(), 0);
    member.store.set_log_bound(0);
    member.store.trim().unwrap();
    take(&member, &donor);
    assert!(is_kept(&member, "lost unnoticed"));
    // Nor does who takes that from it delete it unnoticed.
    pull(&donor, &member);
    assert!(is_kept(&donor, "lost unnoticed"));
}

/// Two with eight rows of the first, and the first again as it is then, to go on later.
fn put_back() -> (Peer, Peer, Peer) {
    let (a, donor) = (peer(1), peer(2));
    a.store.set_peers([donor.store.node()].into(), 0);
    donor.store.set_peers([a.store.node()].into(), 0);
    a.store.declare(ITEM).unwrap();
    for id in 1..9 {
        run(&a, &format!("INSERT INTO item VALUES ({id}, 'old')"));
    }
    let later = copy_at(&a, 1_100);
    (a, donor, later)
}

/// The log of what both have goes at the donor, and tombstones with it.
fn forget(a: &Peer, donor: &Peer) {
    tell(a, donor);
    tell(donor, a);
    let gone = donor.store.trim().unwrap();
    assert!(gone.transactions > 0 && gone.tombstones > 0, "{gone:?}");
}

/// Where the end of any row of its table is forgotten, one that was inserted for the first time was
/// taken for one whose end was.
#[test]
fn what_was_written_after_the_other_history_had_passed_its_number_is_of_another() {
    let (a, donor, later) = put_back();
    run(&a, "DELETE FROM item WHERE id = 7");
    run(&a, "UPDATE item SET a = 'new'");
    exchange(&a, &donor);
    forget(&a, &donor);
    run(&later, "INSERT INTO item VALUES (30, 'second life')");
    later.store.renew(78).unwrap();
    take(&later, &donor);
    pull(&donor, &later);
    for peer in [&later, &donor] {
        let values = rows(peer, "SELECT a, count(*) FROM item GROUP BY a");
        let expected = [("new", 7), ("second life", 1)];
        assert_eq!(values, expected.map(|(a, n)| vec![a.into(), n.into()]));
    }
}

/// What came to it since is later than all of the other history, and brought it back.
#[test]
fn a_row_whose_end_is_forgotten_stays_deleted_whatever_a_second_life_wrote_to_it() {
    let (a, donor, later) = put_back();
    run(&a, "UPDATE item SET a = 'first life' WHERE id < 8");
    exchange(&a, &donor);
    run(&donor, "DELETE FROM item");
    exchange(&a, &donor);
    forget(&a, &donor);
    run(&later, "UPDATE item SET a = 'second life' WHERE id = 8");
    later.store.renew(78).unwrap();
    take(&later, &donor);
    pull(&donor, &later);
    for peer in [&later, &donor] {
        assert!(rows(peer, "SELECT * FROM item").is_empty());
        assert!(is_kept(peer, "second life"));
    }
}
