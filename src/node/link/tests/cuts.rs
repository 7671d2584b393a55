//! Much data, narrow pipes, cuts in the middle, and a peer that lies.

use tokio::io::{AsyncReadExt, DuplexStream};

use super::super::frames::{read_frame, write_frame};
use super::*;
use crate::replica::change::Logged;
use crate::replica::frontier::Frontier;
use crate::wire::replication::runs;

/// So many bytes only go out when more than a million of them are dealt with: a window is 4 MiB.
const BEYOND_WINDOW: u64 = 6_000_000;

/// Bytes that no compression makes smaller.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed;
    let bytes = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    bytes.take(size).collect()
}

/// One transaction of `count` rows of 100,000 bytes each.
fn fill_noise(peer: &Peer, from: i64, count: i64) {
    let work = |tx: &mut crate::store::Tx<'_>| {
        for id in from..from + count {
            let row = [
                id.into(),
                Value::Blob(noise(id as u64, 100_000)),
                Value::Null,
            ];
            tx.execute("INSERT INTO item VALUES (?, ?, ?)", &row)?;
        }
        Ok(())
    };
    peer.store.transact(work).unwrap();
}

/// Carries bytes both ways until `limit` of them went from the first to the second; returns how
/// many went.
async fn carry(first: DuplexStream, second: DuplexStream, limit: u64) -> u64 {
    let (from, mut to_first) = tokio::io::split(first);
    let (mut back, mut to) = tokio::io::split(second);
    let mut limited = from.take(limit);
    let forth = tokio::io::copy(&mut limited, &mut to);
    tokio::select! {
        result = forth => result.unwrap_or(0),
        _ = tokio::io::copy(&mut back, &mut to_first) => limit - limited.limit(),
    }
}

struct Carried {
    a: Running,
    b: Running,
    bytes: JoinHandle<u64>,
}

/// Connects two peers by a pipe that breaks after `limit` bytes from the first to the second.
fn connect_until(a: &Peer, b: (&Peer, Option<ClusterId>), limit: u64) -> Carried {
    let (left, middle_left) = duplex(1 << 16);
    let (middle_right, right) = duplex(1 << 16);
    let bytes = tokio::spawn(carry(middle_left, middle_right, limit));
    let start = |stream, peer: &Peer, cluster| {
        let events = mpsc::channel(1).0;
        let (store, config) = (peer.store.clone(), config(peer, cluster));
        tokio::spawn(run(stream, store, config, events))
    };
    Carried {
        a: start(left, a, Some(CLUSTER)),
        b: start(right, b.0, b.1),
        bytes,
    }
}

/// Waits for what a task that was cut still does.
async fn eventually<T>(what: impl Fn() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = what() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = Duration::from_secs(120);
    tokio::time::timeout(limit, wait).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_goes_on_after_a_cut_and_is_applied_as_one() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    fill_noise(&a, 0, 80);
    let cut = connect_until(&a, (&b, Some(CLUSTER)), BEYOND_WINDOW);
    assert!(cut.b.await.unwrap().is_err());
    let _ = cut.a.await.unwrap();
    let held = eventually(|| {
        let partial = b.store.take_partial()?;
        let held = partial.what.held;
        b.store.keep_partial(partial);
        Some(held)
    });
    let held = held.await;
    assert!(held > 1_000_000, "{held} bytes are held");
    // Not a row of it is visible before it is whole.
    let rows = |peer: &Peer| peer.store.tables().unwrap().first().map(|table| table.rows);
    assert!(matches!(rows(&b), None | Some(0)));
    let whole = connect_until(&a, (&b, Some(CLUSTER)), u64::MAX);
    converge(&[&a, &b], 80).await;
    whole.a.abort();
    whole.b.abort();
    let sent = whole.bytes.await.unwrap();
    assert!(
        sent < 8_000_000 - held + 500_000,
        "{sent} bytes after {held} were held"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_goes_on_after_a_cut() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    fill_noise(&a, 0, 40);
    let cut = connect_until(&a, (&b, None), BEYOND_WINDOW);
    assert!(cut.b.await.unwrap().is_err());
    let _ = cut.a.await.unwrap();
    // What was under way then may still be written.
    drop(eventually(|| b.store.claim_arrival()).await);
    let (_, held) = b.store.resumable().unwrap();
    assert!(held > 1_000_000, "{held} bytes are held");
    let whole = connect_until(&a, (&b, None), u64::MAX);
    whole.b.await.unwrap().unwrap();
    converge(&[&a, &b], 40).await;
    let sent = whole.bytes.await.unwrap();
    // The rows are in the table and in the log.
    assert!(
        sent < 8_800_000 - held,
        "{sent} bytes after {held} were held"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_peers_that_both_send_much_through_a_narrow_pipe_do_not_block_each_other() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    let link = connect((&a, Some(CLUSTER)), (&b, Some(CLUSTER)));
    converge(&[&a, &b], 0).await;
    link.0.abort();
    link.1.abort();
    // Each has more than two windows for the other.
    for (peer, base) in [(&a, 0), (&b, 1_000)] {
        for step in 0..50 {
            fill_noise(peer, base + step * 2, 2);
        }
    }
    let (_left, _right, _events) = connect((&a, Some(CLUSTER)), (&b, Some(CLUSTER)));
    converge(&[&a, &b], 200).await;
}

/// Greets as a member would, by hand.
async fn greet(store: &Store) -> (tokio::io::WriteHalf<DuplexStream>, Running) {
    let (left, right) = duplex(1 << 16);
    let config = LinkConfig {
        name: "victim".into(),
        version: "1".into(),
        schema: 1,
        cluster: Some(CLUSTER),
        ..LinkConfig::default()
    };
    let link = tokio::spawn(run(left, store.clone(), config, mpsc::channel(1).0));
    let (reader, writer) = tokio::io::split(right);
    let (_reader, hello) = read_frame(reader).await.unwrap();
    let Frame::Hello(mut hello) = hello else {
        panic!("{hello:?}");
    };
    hello.node = [7; 16];
    hello.incarnation = 7;
    let hello = Frame::Hello(hello);
    let sent = write_frame(writer, hello, Pace::default()).await;
    let (writer, _) = sent.unwrap();
    (writer, link)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_applied_from_a_frame_that_is_refused() {
    let (a, victim) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    fill(&a, 0, 1);
    let (log, _) = a.store.log_after(&Frontier::default(), 0, 1 << 20).unwrap();
    let frame = |list: Vec<Logged>| {
        let list = list.into_iter().map(|l| {
            (
                l.origin,
                l.seq,
                l.bytes.into_held().unwrap(),
                l.chain.unwrap(),
            )
        });
        Frame::Transactions(runs(list)).encode()
    };
    let mut unreadable = log.clone();
    unreadable[1].bytes = vec![1, 2, 3].into();
    let mut torn = frame(log.clone());
    let last = torn.len() - 1;
    torn.truncate(last);
    torn[3] -= 1;
    for (bytes, word) in [
        (frame(unreadable), "cannot be read"),
        (frame(log[1..].to_vec()), "out of order"),
        (torn, "malformed frame of kind 2"),
    ] {
        let (mut writer, link) = greet(&victim.store).await;
        writer.write_all(&bytes).await.unwrap();
        let error = link.await.unwrap().unwrap_err().to_string();
        assert!(error.contains(word), "{error} should say {word}");
        assert_eq!(victim.store.frontier(), Frontier::default());
        assert!(victim.store.tables().unwrap().is_empty());
    }
    let (mut writer, link) = greet(&victim.store).await;
    writer.write_all(&frame(log)).await.unwrap();
    converge(&[&a, &victim], 1).await;
    link.abort();
}
