//! Who is given up for the log's bound, and who is not.

use super::*;

/// The one that stood was, for what was on its way to it: it had to take a copy of everything, each
/// time the log grew beyond its bound.
#[test]
fn a_peer_that_was_never_met_is_given_up_before_one_that_stands() {
    let (a, b) = pair();
    a.store.set_peers([node(2)].into(), 1);
    run(&a, "INSERT INTO item VALUES (1, zeroblob(1000))");
    pull(&b, &a);
    tell(&a.store, &b.store);
    run(&a, "INSERT INTO item VALUES (2, 'on its way')");
    a.store.set_log_bound(500);
    let trimmed = a.store.trim().unwrap();
    assert_eq!(trimmed.marked, Vec::<NodeId>::new());
    assert_eq!(trimmed.transactions, 2, "what it holds went");
    pull(&b, &a);
    assert_eq!(rows(&b.store).len(), 2);
}

#[test]
fn a_peer_that_was_given_up_and_has_kept_up_is_given_up_no_longer() {
    let (a, b) = pair();
    tell(&a.store, &b.store);
    // What is not on disk yet, or a copy that somebody takes, keeps the log as it is.
    let staged = a.store.stage_snapshot(None, u64::MAX).unwrap();
    run(&a, "INSERT INTO item VALUES (1, 'on its way')");
    a.store.set_log_bound(0);
    assert_eq!(a.store.trim().unwrap().marked, [node(2)]);
    // Nor does it hold anything back as long as it is not heard.
    a.store.trim().unwrap();
    assert!(a.store.needs_snapshot(node(2)));
    pull(&b, &a);
    a.store.acknowledged(node(2), &b.store.frontier());
    a.store.trim().unwrap();
    assert!(!a.store.needs_snapshot(node(2)));
    drop(staged);
}

/// It was given up again after the next start, until its next hello.
#[test]
fn a_peer_that_left_the_list_is_remembered_as_given_up_no_longer() {
    let (a, b) = pair();
    tell(&a.store, &b.store);
    run(&a, "INSERT INTO item VALUES (1, 'x')");
    a.store.set_log_bound(0);
    assert_eq!(a.store.trim().unwrap().marked, [node(2)]);
    a.store.set_peers(BTreeSet::new(), 0);
    a.store.trim().unwrap();
    let marked = "SELECT node FROM _tutti_marked";
    let marked = a.store.read(|reader| reader.query(marked, &[])).unwrap();
    assert!(marked.is_empty(), "{marked:?}");
}

/// Both waited for ever where a link settled two histories meanwhile.
#[test]
fn who_is_given_up_no_longer_holds_nobody_up_while_somebody_writes() {
    let (a, b) = pair();
    tell(&a.store, &b.store);
    run(&a, "INSERT INTO item VALUES (1, 'on its way')");
    a.store.set_log_bound(0);
    assert_eq!(a.store.trim().unwrap().marked, [node(2)]);
    let writer = a.store.writer().unwrap();
    let free = std::thread::scope(|scope| {
        scope.spawn(|| a.store.unmark(node(2)));
        let kept = &a.store.inner.kept;
        let free = (0..1_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            let kept = kept.try_lock();
            kept.is_ok_and(|kept| !kept.retention.is_marked(node(2)))
        });
        drop(writer);
        free
    });
    assert!(free);
}
