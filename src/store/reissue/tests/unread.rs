//! What was stamped by a clock that was ahead and left the log before anybody could take it.

use super::*;
use crate::replica::session::Swap;
use crate::store::StoreError;

type Clocked = (Store, Arc<AtomicU64>, tempfile::TempDir);

/// Two that share two rows, the second of which then wrote in 2099 what left its log, the only
/// peer being given up for it.
fn unread() -> (Clocked, Clocked) {
    let (a, b) = (clocked(1, PRESENT), clocked(2, PRESENT));
    a.0.declare(ITEM).unwrap();
    run(&a.0, "INSERT INTO item VALUES (1, 1, 1), (2, 2, 2)");
    pull(&b.0, &a.0);
    run(&b.0, "INSERT INTO item VALUES (3, 3, 3)");
    pull(&a.0, &b.0);
    a.0.set_peers([[2; 16]].into(), 0);
    b.0.set_peers([[1; 16]].into(), 0);
    b.0.greeted([1; 16], &a.0.frontier()).unwrap();
    b.1.store(FUTURE, Ordering::Relaxed);
    run(&b.0, "INSERT INTO item VALUES (4, 'from 2099', 0)");
    run(&b.0, "UPDATE item SET a = 'from 2099' WHERE id = 1");
    run(&b.0, "DELETE FROM item WHERE id = 2");
    b.0.declare("CREATE TABLE late(id INTEGER PRIMARY KEY)")
        .unwrap();
    b.0.set_log_bound(0);
    assert_eq!(b.0.trim().unwrap().marked, [[1; 16]]);
    b.0.set_log_bound(u64::MAX);
    (a, b)
}

/// The donor's snapshot goes to a member.
fn catch_up(member: &Store, donor: &Store) -> Result<(), StoreError> {
    let staged = donor.stage(u64::MAX)?;
    let mut incoming = member.accept_snapshot(staged.id, staged.size, 0, u64::MAX)?;
    let (bytes, digest) = staged.read(0, 1 << 24)?;
    incoming.write(0, &bytes)?;
    let swapped = member.swap_in(incoming, digest.unwrap(), 77, Swap::CatchUp);
    swapped.map(drop)
}

/// Everybody refused it for good: a log tells nothing of it, and a snapshot is stamped ahead.
#[test]
fn what_left_the_log_while_a_clock_was_in_2099_is_stamped_anew_from_the_rows() {
    let ((a, _, _a), (b, clock, _b)) = unread();
    run(&a, "UPDATE item SET a = 'of a', b = 'of a' WHERE id = 1");
    clock.store(PRESENT + 10, Ordering::Relaxed);
    assert!(b.restamp(|| 22).unwrap() > 0);
    assert_eq!(b.restamp(|| 23).unwrap(), 0, "it is done once");
    pull(&b, &a);
    catch_up(&a, &b).unwrap();
    converge(&[&a, &b]);
    let from: Value = "from 2099".into();
    assert_eq!(rows(&a)[0][1..], [from.clone(), "of a".into()]);
    assert_eq!(rows(&a).len(), 3);
    assert_eq!(rows(&a)[2][1], from);
    for store in [&a, &b] {
        let lost = store.conflicts(9).unwrap();
        assert_eq!(lost.len(), 1, "{lost:?}");
        assert_eq!(lost[0].value, ["of a".into()]);
        assert_eq!(store.read(latest).unwrap() >> 16, PRESENT as i64 + 10);
    }
    assert_eq!(a.digest().unwrap(), b.digest().unwrap());
    run(&a, "UPDATE item SET a = 'on' WHERE id = 4");
    run(&b, "INSERT INTO late VALUES (1)");
    converge(&[&a, &b]);
}

/// The latest stamp that anything there has.
fn latest(reader: &crate::store::Reader<'_>) -> Result<i64, StoreError> {
    let mut latest = 0;
    for table in ["log", "origin", "trimmed", "declared"] {
        let sql = format!("SELECT coalesce(max(hlc), 0) FROM _tutti_{table}");
        if let Integer(hlc) = reader.query(&sql, &[])?[0][0] {
            latest = latest.max(hlc);
        }
    }
    Ok(latest)
}

/// What a peer whose clock was as wrong has taken must not be stamped twice.
#[test]
fn what_left_the_log_is_stamped_anew_only_where_it_is_known_that_nobody_took_it() {
    let ((a, _, _a), (b, clock, dir)) = unread();
    let taken = b.frontier();
    drop(b);
    let read = Arc::clone(&clock);
    let read: crate::store::Clock = Arc::new(move || read.load(Ordering::Relaxed));
    let b = Store::open_with_clock(dir.path(), [2; 16], 20, read).unwrap();
    b.set_peers([[1; 16]].into(), 0);
    clock.store(PRESENT + 10, Ordering::Relaxed);
    assert_eq!(b.restamp(|| 22).unwrap(), 0, "its peer did not say yet");
    b.greeted([1; 16], &taken).unwrap();
    assert_eq!(b.restamp(|| 22).unwrap(), 0, "its peer has it");
    b.greeted([1; 16], &a.frontier()).unwrap();
    assert!(b.restamp(|| 22).unwrap() > 0);
}

/// An incarnation that ran on elsewhere has the numbers of what was written here, and none of it.
#[test]
fn another_history_that_a_peer_holds_is_not_what_was_stamped_here() {
    for more in [0, 1] {
        let (b, clock, _b) = clocked(2, PRESENT);
        b.set_peers([[1; 16]].into(), 0);
        b.declare(ITEM).unwrap();
        clock.store(FUTURE, Ordering::Relaxed);
        run(&b, "INSERT INTO item VALUES (4, 'from 2099', 0)");
        clock.store(PRESENT + 10, Ordering::Relaxed);
        b.greeted([1; 16], &b.frontier()).unwrap();
        assert_eq!(b.restamp(|| 22).unwrap(), 0, "its peer has it");
        let seq = b.frontier().seq(2) + more;
        let chain = [9; 32];
        let other = Frontier([(2, Position { seq, chain })].into());
        b.greeted([1; 16], &other).unwrap();
        assert_eq!(b.restamp(|| 22).unwrap(), 1, "{more} more there");
        assert_eq!(b.read(latest).unwrap() >> 16, PRESENT as i64 + 10);
    }
}
