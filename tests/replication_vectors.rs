//! What peers exchange, hash and keep, against what docs/replication.md and docs/keeping.md say of
//! it, as tests/vectors/replication.py writes it. Frames: src/wire/replication/tests/vectors.rs.
#![allow(clippy::unwrap_used, reason = "a test; a panic is its way to fail")]

#[path = "replication_vectors/again.rs"]
mod again;
#[path = "replication_vectors/bodies.rs"]
mod bodies;
#[path = "replication_vectors/messages.rs"]
mod messages;
#[path = "replication_vectors/names.rs"]
mod names;
#[path = "replication_vectors/peers.rs"]
mod peers;
#[path = "replication_vectors/values.rs"]
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use tempfile::TempDir;
use tutti::replica::NodeId;
use tutti::replica::clock::{Hlc, Stamp};
use tutti::replica::frontier::Frontier;
use tutti::replica::value::Value;
use tutti::store::Store;

const TAG: [u8; 8] = [0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff];

fn hash() -> [u8; 32] {
    std::array::from_fn(|at| 0x40 + at as u8)
}

/// Sixteen octets that count up.
fn node(from: u8) -> [u8; 16] {
    std::array::from_fn(|at| from + at as u8)
}

fn stamp(hlc: u64, origin: u64, seq: u64) -> Stamp {
    let hlc = Hlc(hlc);
    Stamp { hlc, origin, seq }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Vectors whose names begin alike.
struct Vectors(BTreeMap<&'static str, &'static str>);

impl Vectors {
    fn of(prefix: &str) -> Self {
        let lines = include_str!("vectors/replication.txt").lines();
        let all = lines.filter_map(|line| line.strip_prefix(prefix)?.split_once(' '));
        Vectors(
            all.map(|(name, data)| (name, data.trim_matches('-')))
                .collect(),
        )
    }

    /// Takes one out.
    fn take(&mut self, name: &str) -> Vec<u8> {
        let text = self.0.remove(name);
        let text = text.unwrap_or_else(|| panic!("no vector {name}"));
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    }

    /// Takes one out, which is these bytes.
    fn is(&mut self, name: &str, bytes: &[u8]) {
        assert_eq!(hex(bytes), hex(&self.take(name)), "{name}");
    }

    /// All were looked at.
    fn end(self) {
        assert!(self.0.is_empty(), "{:?}", self.0);
    }
}

/// A store whose clock stands at 1,700,000,000,000 ms and so much.
fn opened(node: NodeId, incarnation: u64, ms: u64) -> (Store, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(move || 1_700_000_000_000 + ms);
    let store = Store::open_with_clock(dir.path(), node, incarnation, clock).unwrap();
    (store, dir)
}

fn run(store: &Store, sql: &str, params: &[Value]) {
    store.transact(|tx| tx.execute(sql, params)).unwrap();
}

fn query(store: &Store, sql: &str) -> Vec<Vec<Value>> {
    store.read(|reader| reader.query(sql, &[])).unwrap()
}

/// A store's log of one origin is that of the vectors, with its chain hashes, and nothing else.
fn logged(store: &Store, peer: &str, origin: u64) {
    let mut bytes = Vectors::of(&format!("log.{peer}."));
    let mut chains = Vectors::of(&format!("chain.{peer}."));
    let sql = format!(
        "SELECT CAST(seq AS TEXT), bytes, chain FROM _tutti_log WHERE origin = {}",
        origin as i64
    );
    for row in query(store, &sql) {
        let [Value::Text(seq), Value::Blob(log), Value::Blob(chain)] = &row[..] else {
            panic!("{row:?}");
        };
        bytes.is(seq, log);
        chains.is(seq, chain);
    }
    bytes.end();
    chains.end();
    // What a peer is sent is what is logged.
    let (sent, _) = store.log_after(&Frontier::default(), 0, 1 << 20).unwrap();
    let mut bytes = Vectors::of(&format!("log.{peer}."));
    for sent in sent.into_iter().filter(|sent| sent.origin == origin) {
        bytes.is(&sent.seq.to_string(), &sent.bytes.into_held().unwrap());
    }
    bytes.end();
}

/// Every row of a query, name and bytes, is a vector, and every vector a row.
fn all(store: &Store, prefix: &str, sql: &str) {
    let mut vectors = Vectors::of(prefix);
    for row in query(store, sql) {
        let [Value::Text(name), Value::Blob(bytes)] = &row[..] else {
            panic!("{row:?}");
        };
        vectors.is(name, bytes);
    }
    vectors.end();
}
