//! What is issued again, what a store makes of what it cannot place, and a snapshot's digest.

use tutti::replica::change::Logged;
use tutti::replica::value::Value;

use super::{Vectors, all, logged, node, opened, query, run};

#[test]
fn what_is_issued_again_is_as_the_document_says() {
    let (store, _dir) = opened(node(0xc0), 7, 0);
    let table = "CREATE TABLE t(id INTEGER PRIMARY KEY, x)";
    store.declare(table).unwrap();
    run(&store, "INSERT INTO t VALUES (1, 'x')", &[]);
    store.declare("CREATE INDEX i ON t(x)").unwrap();
    run(&store, "INSERT INTO t VALUES (2, 'y')", &[]);
    logged(&store, "c", 7);
    let fresh = 0x8877_6655_4433_2211;
    assert_eq!(store.reissue(7, 1, fresh).unwrap(), 3);
    logged(&store, "fresh", fresh);
}

/// The transactions are those of the reference; nothing of ours has encoded them.
#[test]
fn what_a_store_cannot_place_is_kept_as_the_document_says() {
    let (store, _dir) = opened(node(0xc0), 7, 0);
    let table = "CREATE TABLE t(id INTEGER PRIMARY KEY, x)";
    store.declare(table).unwrap();
    run(&store, "INSERT INTO t VALUES (1, 'x')", &[]);
    let mut log = Vectors::of("log.strange.");
    let mut arrived = |seq: u64| Logged {
        origin: 5,
        seq,
        bytes: log.take(&seq.to_string()).into(),
        chain: None,
    };
    store.apply(&[arrived(1), arrived(2), arrived(3)]).unwrap();
    logged(&store, "strange", 5);
    let sql = "SELECT lower(hex(id)), value FROM _tutti_conflict";
    all(&store, "kept.", sql);
    let mut shelf = Vectors::of("shelf.");
    let sql = "SELECT name FROM _tutti_table WHERE name LIKE '%shelf%'";
    let [Value::Text(name)] = &query(&store, sql).concat()[..] else {
        panic!("no shelf, or several");
    };
    shelf.is("name", name.as_bytes());
    shelf.is("digest", &store.digest().unwrap());
    shelf.end();
}

#[test]
fn a_snapshots_digest_is_blake3_of_the_whole() {
    let (store, _dir) = opened(node(0xc0), 7, 0);
    let table = "CREATE TABLE t(id INTEGER PRIMARY KEY, x)";
    store.declare(table).unwrap();
    let staged = store.stage_snapshot(None, u64::MAX).unwrap();
    let (mut whole, mut digest) = (Vec::new(), None);
    while digest.is_none() {
        let piece = staged.read(whole.len() as u64, 10_000).unwrap();
        whole.extend(piece.0);
        digest = piece.1;
    }
    assert_eq!(whole.len() as u64, staged.size);
    assert_eq!(digest, Some(blake3::hash(&whole).into()));
}
