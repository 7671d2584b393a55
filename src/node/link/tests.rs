//! Links between real stores over in-memory streams.

use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncWriteExt, duplex};

use super::work::random;
use super::*;
use crate::replica::session::{Message, Step};
use crate::replica::value::Value;
use crate::wire::replication::PROTOCOL;

const CLUSTER: ClusterId = [9; 16];
const ITEM: &str = "CREATE TABLE item(id INTEGER PRIMARY KEY, a, b)";

struct Peer {
    store: Store,
    number: u8,
    _dir: TempDir,
}

fn peer(number: u8) -> Peer {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), [number; 16], random().unwrap()).unwrap();
    Peer {
        store,
        number,
        _dir: dir,
    }
}

fn config(peer: &Peer, cluster: Option<ClusterId>) -> LinkConfig {
    LinkConfig {
        name: format!("peer{}", peer.number),
        version: "1".into(),
        schema: 1,
        cluster,
        ..LinkConfig::default()
    }
}

type Running = JoinHandle<Result<(), LinkError>>;

/// Connects two peers; the returned tasks end when either is aborted.
fn connect(
    a: (&Peer, Option<ClusterId>),
    b: (&Peer, Option<ClusterId>),
) -> (Running, Running, mpsc::Receiver<LinkEvent>) {
    let (left, right) = duplex(4096);
    let (sender, events) = mpsc::channel(100);
    let start = |stream, (peer, cluster): (&Peer, _), events| {
        tokio::spawn(run(
            stream,
            peer.store.clone(),
            config(peer, cluster),
            events,
        ))
    };
    let first = start(left, a, mpsc::channel(1).0);
    (first, start(right, b, sender), events)
}

fn fill(peer: &Peer, from: i64, count: i64) {
    let work = |tx: &mut crate::store::Tx<'_>| {
        for id in from..from + count {
            let row = [Value::from(id), "some text".into(), Value::Null];
            tx.execute("INSERT INTO item VALUES (?, ?, ?)", &row)?;
        }
        Ok(())
    };
    peer.store.transact(work).unwrap();
}

/// Waits, without a limit of its own, until all hold the same rows.
async fn converge(peers: &[&Peer], rows: u64) {
    let equal = || {
        let digests: Vec<_> = peers.iter().map(|p| p.store.digest().unwrap()).collect();
        let count = peers[0]
            .store
            .tables()
            .unwrap()
            .first()
            .map(|table| table.rows);
        digests.iter().all(|digest| *digest == digests[0]) && count == Some(rows)
    };
    let wait = async {
        while !equal() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), wait)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_stream_both_ways_and_catch_up_after_a_cut() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    fill(&a, 0, 10);
    let (left, right, _events) = connect((&a, Some(CLUSTER)), (&b, Some(CLUSTER)));
    converge(&[&a, &b], 10).await;
    fill(&b, 100, 5);
    fill(&a, 200, 5);
    converge(&[&a, &b], 20).await;
    left.abort();
    assert!(matches!(right.await.unwrap(), Err(LinkError::Io(_))));
    for step in 0..20 {
        fill(&a, 1_000 + step * 200, 200);
    }
    fill(&b, 300, 5);
    let (_left, _right, mut events) = connect((&a, Some(CLUSTER)), (&b, Some(CLUSTER)));
    converge(&[&a, &b], 4_025).await;
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        seen.push(event);
    }
    let catching = |event: &LinkEvent| matches!(event, LinkEvent::CatchingUp { .. });
    assert!(seen.iter().any(catching), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_peer_hears_through_the_second() {
    let (a, b, c) = (peer(1), peer(2), peer(3));
    a.store.declare(ITEM).unwrap();
    let _ab = connect((&a, Some(CLUSTER)), (&b, Some(CLUSTER)));
    let _bc = connect((&b, Some(CLUSTER)), (&c, Some(CLUSTER)));
    fill(&a, 0, 50);
    converge(&[&a, &b, &c], 50).await;
    fill(&c, 500, 50);
    converge(&[&a, &b, &c], 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_adopts_the_cluster_by_snapshot_and_then_streams() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    fill(&a, 0, 30_000);
    let (_left, right, mut events) = connect((&a, Some(CLUSTER)), (&b, None));
    right.await.unwrap().unwrap();
    let mut last = None;
    while let Ok(event) = events.try_recv() {
        last = Some(event);
    }
    assert_eq!(last, Some(LinkEvent::Adopted { cluster: CLUSTER }));
    converge(&[&a, &b], 30_000).await;
    let _link = connect((&a, Some(CLUSTER)), (&b, Some(CLUSTER)));
    fill(&b, 90_000, 1);
    converge(&[&a, &b], 30_001).await;
}

/// Of a link that was cut the last job may look at its copy yet: another one took its file away.
#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_takes_no_second_copy_while_one_is_looked_at() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    fill(&a, 0, 10);
    let place = b.store.claim_arrival().unwrap();
    let (_left, right, _events) = connect((&a, Some(CLUSTER)), (&b, None));
    let error = right.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("still looked at"), "{error}");
    drop(place);
    let (_left, right, _events) = connect((&a, Some(CLUSTER)), (&b, None));
    right.await.unwrap().unwrap();
    converge(&[&a, &b], 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_named_and_refused() {
    let (a, b) = (peer(1), peer(2));
    let (_left, right, _events) = connect((&a, Some(CLUSTER)), (&b, Some([8; 16])));
    let error = right.await.unwrap().unwrap_err();
    assert!(matches!(
        error,
        LinkError::Session(SessionError::OtherCluster)
    ));
    let (_left, right, _events) = connect((&a, None), (&b, None));
    let error = right.await.unwrap().unwrap_err();
    assert!(matches!(error, LinkError::Session(SessionError::NoCluster)));
    let twin = Peer {
        store: a.store.clone(),
        number: 1,
        _dir: tempfile::tempdir().unwrap(),
    };
    let (_left, right, _events) = connect((&a, Some(CLUSTER)), (&twin, Some(CLUSTER)));
    let error = right.await.unwrap().unwrap_err();
    assert!(matches!(error, LinkError::Session(SessionError::SameNode)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_frame_closes_the_link_by_name() {
    let a = peer(1);
    for (bytes, word) in [
        (&[0, 0, 0, 1, 99][..], "unknown kind 99"),
        (&[0xff; 8][..], "a frame of"),
        (
            &[0, 0, 0, 2, 1, PROTOCOL as u8][..],
            "malformed frame of kind 1",
        ),
        (&[0, 0, 0, 2, 1, 1][..], "hello of protocol 1"),
        (&[0, 0, 0, 2, 4, 1][..], "before the hello"),
    ] {
        let (left, mut right) = duplex(4096);
        let (events, _) = mpsc::channel(1);
        let link = tokio::spawn(run(
            left,
            a.store.clone(),
            config(&a, Some(CLUSTER)),
            events,
        ));
        right.write_all(bytes).await.unwrap();
        let error = link.await.unwrap().unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

/// Runs our side of a proof against a peer, message by message.
fn prove(ours: &Store, theirs: &Store) -> Proven {
    let (mut asker, mut answerer) = (Proof::default(), Proof::default());
    let common = crate::replica::digest::common(&ours.frontier(), &theirs.frontier());
    let mut step = Step::Begin(common);
    loop {
        let (us, them) = (ours.node(), theirs.node());
        let asked = match asker.step(ours, them, step).unwrap() {
            Ok(message) => match Message::decode(&message.encode()) {
                Some(Message::Question(question)) => Step::Answer(question),
                Some(Message::Wanted(rows)) => Step::Copies(rows),
                other => panic!("{other:?}"),
            },
            Err(proven) => return proven,
        };
        step = match answerer.step(theirs, us, asked).unwrap() {
            Ok(message) => match Message::decode(&message.encode()) {
                Some(Message::Answer(answer)) => Step::Take(answer),
                Some(Message::Copies(copies)) => Step::Repair(copies),
                Some(Message::NoAnswer) => Step::Smaller,
                other => panic!("{other:?}"),
            },
            Err(other) => panic!("{other:?}"),
        };
    }
}

/// The answer was too large for a message, so that such a table was never proven; of longer ones
/// the question was, too, which ended the link.
#[tokio::test(flavor = "multi_thread")]
async fn rows_with_long_keys_are_found_and_put_right_by_smaller_questions() {
    for length in [2_000, 9_000] {
        let (a, b) = (peer(1), peer(2));
        let sql = "CREATE TABLE item(k TEXT PRIMARY KEY NOT NULL, x) WITHOUT ROWID";
        a.store.declare(sql).unwrap();
        let work = |tx: &mut crate::store::Tx<'_>| {
            for id in 0..1_000 {
                let key = format!("{id:05}{}", "k".repeat(length));
                tx.execute("INSERT INTO item VALUES (?, 0)", &[key.into()])?;
            }
            Ok(())
        };
        a.store.transact(work).unwrap();
        let _link = connect((&a, Some(CLUSTER)), (&b, Some(CLUSTER)));
        converge(&[&a, &b], 1_000).await;
        b.store.flush().unwrap();
        let lost = "DELETE FROM item WHERE CAST(substr(k, 1, 5) AS INTEGER) % 10 = 7";
        b.store.corrupt(lost);
        let proven = prove(&b.store, &a.store);
        let found = (proven.differing, proven.repaired, proven.unclear);
        assert_eq!((found, proven.stopped), ((100, 100, 0), false));
    }
}

/// Sixteen at a time they were too large for a message, so that none was ever repaired.
#[tokio::test(flavor = "multi_thread")]
async fn large_rows_are_repaired_a_few_at_a_time_and_one_that_fits_no_message_is_counted() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    let work = |tx: &mut crate::store::Tx<'_>| {
        for id in 0..21 {
            let text = "x".repeat(if id == 7 { 600 << 10 } else { 40 << 10 });
            let row = [Value::from(id), text.into(), Value::Null];
            tx.execute("INSERT INTO item VALUES (?, ?, ?)", &row)?;
        }
        Ok(())
    };
    a.store.transact(work).unwrap();
    let _link = connect((&a, Some(CLUSTER)), (&b, Some(CLUSTER)));
    converge(&[&a, &b], 21).await;
    b.store.flush().unwrap();
    b.store.corrupt("DELETE FROM item");
    let proven = prove(&b.store, &a.store);
    let found = (proven.differing, proven.repaired, proven.unclear);
    assert_eq!(found, (21, 20, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_disk_lost_or_changed_are_found_and_put_right_by_messages() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    fill(&a, 0, 3_000);
    let _link = connect((&a, Some(CLUSTER)), (&b, Some(CLUSTER)));
    converge(&[&a, &b], 3_000).await;
    // Readers see rows before they are on disk, and only what is there counts in a proof.
    b.store.flush().unwrap();
    assert!(prove(&b.store, &a.store).is_identical());
    b.store.corrupt("DELETE FROM item WHERE rowid % 100 = 7");
    let proven = prove(&b.store, &a.store);
    assert_eq!(
        (proven.differing, proven.repaired, proven.unclear),
        (30, 30, 0)
    );
    assert!(prove(&b.store, &a.store).is_identical());
    assert!(prove(&a.store, &b.store).is_identical());
    assert_eq!(a.store.digest().unwrap(), b.store.digest().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_of_three_hold_is_taken_where_none_of_them_wrote_it() {
    let [a, b, c, gone] = [1, 2, 3, 4].map(peer);
    gone.store.declare(ITEM).unwrap();
    fill(&gone, 0, 100);
    let (log, _) = gone
        .store
        .log_after(&a.store.frontier(), 0, 1 << 20)
        .unwrap();
    for peer in [&a, &b, &c] {
        peer.store.apply(&log).unwrap();
    }
    let found = |proven: Proven| (proven.differing, proven.repaired, proven.unclear);
    a.store.corrupt("UPDATE item SET a = 'rotten' WHERE id = 5");
    // One other copy decides nothing, on either side, however often it is asked.
    for _ in 0..2 {
        assert_eq!(found(prove(&a.store, &b.store)), (1, 0, 1));
        assert_eq!(found(prove(&b.store, &a.store)), (1, 0, 1));
    }
    // The third agrees with B: there nothing is to be done, and A takes what they hold.
    assert!(prove(&b.store, &c.store).is_identical());
    assert_eq!(found(prove(&a.store, &c.store)), (1, 1, 0));
    for peer in [&b, &c] {
        assert!(prove(&a.store, &peer.store).is_identical());
        assert!(prove(&peer.store, &a.store).is_identical());
    }
    assert_eq!(a.store.digest().unwrap(), gone.store.digest().unwrap());
    // Three contents of one version: nobody knows.
    b.store.corrupt("UPDATE item SET a = 'mouldy' WHERE id = 6");
    c.store.corrupt("UPDATE item SET a = 'rusty' WHERE id = 6");
    let (first, second) = (prove(&a.store, &b.store), prove(&a.store, &c.store));
    assert_eq!((found(first), found(second)), ((1, 0, 1), (1, 0, 1)));
}

mod cuts;
mod members;
