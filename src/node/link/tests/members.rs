//! Members whose place in a log is gone, and systems whose memory was put back.

use std::collections::BTreeSet;

use super::*;
use crate::replica::session::Swap;

/// Links two members anew for as long as it takes; whatever ends a link, the next one goes on.
fn keep_linked(a: &Peer, b: &Peer) -> JoinHandle<()> {
    let stores = [a, b].map(|peer| (peer.store.clone(), config(peer, Some(CLUSTER))));
    tokio::spawn(async move {
        loop {
            let (left, right) = duplex(4096);
            let [a, b] = stores.clone();
            let events = mpsc::channel(1).0;
            let left = run(left, a.0, a.1, events.clone());
            // One end that stops ends the other's stream.
            let _ = tokio::join!(left, run(right, b.0, b.1, events));
            // Ends with the test also where both refuse at once.
            tokio::task::yield_now().await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_fork_are_told_of_it_and_one_issues_its_part_again() {
    // One incarnation with two histories, and a peer that has the other one.
    let copied = |_| {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), [1; 16], 7).unwrap();
        store.declare(ITEM).unwrap();
        Peer {
            store,
            number: 1,
            _dir: dir,
        }
    };
    let [here, there] = [0, 1].map(copied);
    fill(&here, 1, 1);
    fill(&there, 2, 1);
    let c = peer(3);
    let (log, _) = there
        .store
        .log_after(&c.store.frontier(), 0, 1 << 20)
        .unwrap();
    c.store.apply(&log).unwrap();
    let renewed =
        |end: &Result<(), LinkError>| matches!(end, Err(LinkError::Renewed { origin: 7 }));
    let issued = |end: &Result<(), LinkError>| match end {
        Err(LinkError::Reissued { origin: 7, count }) => *count > 0,
        _ => false,
    };
    // On the first link whose numbers they are goes on under others.
    for renews in [true, false] {
        let (left, right) = duplex(1 << 16);
        let ends = [(left, &here), (right, &c)].map(|(stream, peer)| {
            let (sender, events) = mpsc::channel(100);
            let link = run(
                stream,
                peer.store.clone(),
                config(peer, Some(CLUSTER)),
                sender,
            );
            (link, events)
        });
        let [(left, mut left_events), (right, mut right_events)] = ends;
        let (left, right) = tokio::join!(left, right);
        let expected = if renews {
            renewed(&left) && !renewed(&right)
        } else {
            issued(&left) != issued(&right)
        };
        assert!(expected, "{renews}: {left:?}, {right:?}");
        assert_ne!(here.store.incarnation(), 7);
        for events in [&mut left_events, &mut right_events] {
            let mut told = std::iter::from_fn(|| events.try_recv().ok());
            assert!(told.any(|event| event == LinkEvent::Forked { origin: 7 }));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_write_nothing_hold_no_tombstone_back() {
    let peers = [1, 2, 3].map(peer);
    let [a, b, c] = &peers;
    for peer in &peers {
        let others = peers.iter().map(|other| other.store.node());
        let others = others.filter(|other| *other != peer.store.node());
        peer.store.set_peers(others.collect(), 0);
    }
    a.store.declare(ITEM).unwrap();
    let links = [keep_linked(a, b), keep_linked(a, c), keep_linked(b, c)];
    fill(a, 0, 10);
    converge(&[a, b, c], 10).await;
    a.store
        .transact(|tx| tx.execute("DELETE FROM item", &[]))
        .unwrap();
    converge(&[a, b, c], 0).await;
    // The others never had anything to say but that they hold it.
    let all_go = async {
        let mut gone = [0; 3];
        while gone != [10; 3] {
            for (gone, peer) in gone.iter_mut().zip(&peers) {
                *gone += peer.store.trim().unwrap().tombstones;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), all_go)
        .await
        .unwrap();
    links.iter().for_each(JoinHandle::abort);
}

fn again(peer: &Peer) -> Peer {
    Peer {
        store: peer.store.clone(),
        number: peer.number,
        _dir: tempfile::tempdir().unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_away_too_long_delivers_what_it_has_and_takes_a_snapshot() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    let link = keep_linked(&a, &b);
    fill(&a, 0, 500);
    converge(&[&a, &b], 500).await;
    link.abort();
    let _ = link.await;
    // While it is away the log goes beyond its bound and is trimmed.
    a.store.set_peers(BTreeSet::from([b.store.node()]), 0);
    a.store.set_log_bound(10_000);
    for round in 0..20 {
        fill(&a, 1_000 + round * 500, 500);
    }
    fill(&b, 90_000, 3);
    let trimmed = a.store.trim().unwrap();
    assert_eq!(trimmed.marked, [b.store.node()]);
    let before = b.store.incarnation();
    // It writes on all the while.
    let writer = again(&b);
    let writing = tokio::task::spawn_blocking(move || {
        for id in 0..200 {
            fill(&writer, 100_000 + id, 1);
        }
    });
    let _link = keep_linked(&a, &b);
    writing.await.unwrap();
    converge(&[&a, &b], 500 + 10_000 + 3 + 200).await;
    assert_ne!(b.store.incarnation(), before, "it took a snapshot");
    assert!(!a.store.needs_snapshot(b.store.node()));
    let dir = b.store.directory();
    let left = std::fs::read_dir(dir).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    let backup = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("backup-");
    assert!(!left.iter().any(backup), "{left:?}");
}

/// The files of a running system, opened as if its memory had been put back: the incarnation of
/// then goes on.
fn put_back(peer: &Peer) -> Peer {
    let dir = tempfile::tempdir().unwrap();
    for name in ["replicated.db", "replicated.db-wal"] {
        let from = peer.store.directory().join(name);
        std::fs::copy(from, dir.path().join(name)).unwrap();
    }
    let (node, incarnation) = (peer.store.node(), peer.store.incarnation());
    Peer {
        store: Store::open(dir.path(), node, incarnation).unwrap(),
        number: peer.number,
        _dir: dir,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_whose_memory_was_put_back_goes_on_and_loses_nothing() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    fill(&a, 0, 10);
    let copy = put_back(&a);
    let link = keep_linked(&a, &b);
    fill(&a, 100, 10);
    fill(&a, 200, 10);
    converge(&[&a, &b], 30).await;
    link.abort();
    let _ = link.await;
    // The numbers that the first life used mean something else in the second.
    fill(&copy, 300, 10);
    let _link = keep_linked(&copy, &b);
    converge(&[&copy, &b], 40).await;
    assert_ne!(copy.store.incarnation(), a.store.incarnation());
    fill(&copy, 400, 1);
    fill(&b, 500, 1);
    converge(&[&copy, &b], 42).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_put_back_that_wrote_nothing_since_never_uses_a_number_twice() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    let copy = put_back(&a);
    let link = keep_linked(&a, &b);
    fill(&a, 0, 10);
    converge(&[&a, &b], 10).await;
    link.abort();
    let _ = link.await;
    let _link = keep_linked(&copy, &b);
    converge(&[&copy, &b], 10).await;
    assert_ne!(copy.store.incarnation(), a.store.incarnation());
    fill(&copy, 20, 1);
    converge(&[&copy, &b], 11).await;
}

fn set(peer: &Peer, text: &str) {
    let row = [Value::from(text)];
    let update = "UPDATE item SET a = ? WHERE id = 0";
    let written = peer.store.transact(|tx| tx.execute(update, &row));
    written.unwrap();
}

/// All that a peer shows or lists of what row 0 was set to.
fn told(peer: &Peer) -> BTreeSet<String> {
    let shown = "SELECT a FROM item WHERE id = 0";
    let shown = peer.store.read(|reader| reader.query(shown, &[])).unwrap();
    let lost = peer.store.conflicts(99).unwrap();
    let lost = lost.into_iter().flat_map(|conflict| conflict.value);
    let all = shown.into_iter().flatten().chain(lost);
    let text = |value| match value {
        Value::Text(text) => Some(text),
        _ => None,
    };
    all.filter_map(text).collect()
}

/// A system's memory was put back, and of its two histories each of two others has one. The log of
/// one of them no longer tells which: what the other wrote with its own in sight must not overwrite
/// anything as if it had seen it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_on_a_history_that_no_log_tells_any_more_overwrites_nothing_unnoticed() {
    let (a, b, c) = (peer(1), peer(2), peer(3));
    a.store.declare(ITEM).unwrap();
    fill(&a, 0, 1);
    for other in [&b, &c] {
        let link = keep_linked(&a, other);
        converge(&[&a, other], 1).await;
        link.abort();
        let _ = link.await;
    }
    let copy = put_back(&a);
    set(&a, "of a");
    let link = keep_linked(&a, &b);
    converge(&[&a, &b], 1).await;
    link.abort();
    let _ = link.await;
    set(&copy, "of its copy");
    for id in 1..4 {
        fill(&copy, id, 1);
    }
    let link = keep_linked(&copy, &c);
    converge(&[&copy, &c], 4).await;
    link.abort();
    let _ = link.await;
    // Nobody counts on the other.
    c.store.set_peers([a.store.node()].into(), 0);
    let (node, frontier) = (copy.store.node(), copy.store.frontier());
    c.store.greeted(node, &frontier).unwrap();
    // Once all of it is on its disk.
    let goes = async {
        while c.store.trim().unwrap().transactions == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), goes)
        .await
        .unwrap();
    set(&b, "of b");
    let _link = keep_linked(&b, &c);
    converge(&[&b, &c], 4).await;
    let all = told(&c).union(&told(&b)).cloned().collect::<Vec<_>>();
    for text in ["of b", "of its copy"] {
        assert!(all.contains(&text.to_owned()), "{all:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_ends_where_another_snapshot_took_the_databases_place() {
    // What it was told at its hello is of the database that was.
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    fill(&a, 0, 10);
    let (_left, right, _events) = connect((&a, Some(CLUSTER)), (&b, Some(CLUSTER)));
    converge(&[&a, &b], 10).await;
    let staged = a.store.stage_snapshot(None, u64::MAX).unwrap();
    let incoming = b.store.accept_snapshot(staged.id, staged.size, 0, u64::MAX);
    let mut incoming = incoming.unwrap();
    let (bytes, digest) = staged.read(0, usize::MAX).unwrap();
    incoming.write(0, &bytes).unwrap();
    let fresh = random().unwrap();
    let swapped = b
        .store
        .swap_in(incoming, digest.unwrap(), fresh, Swap::CatchUp);
    swapped.unwrap();
    // Whatever wakes it next.
    fill(&a, 100, 1);
    let error = right.await.unwrap().unwrap_err();
    assert!(matches!(error, LinkError::Swapped), "{error}");
}
