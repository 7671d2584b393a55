//! What nodes held and what disks lost: what may be missing in the end, and what may not.

use std::collections::{HashMap, HashSet};

use tempfile::TempDir;
use tutti::replica::change::{Body, RowWrite, decode};
use tutti::replica::value::Value;

use super::{World, text};
use crate::workload::{is_token, visible};

/// Per origin, a number.
pub(super) type Seqs = HashMap<u64, u64>;

/// The ledger of one run.
#[derive(Default)]
pub(super) struct Ledger {
    /// Per node the last number of each origin that it ever held.
    held: [Seqs; 3],
    /// Per node what the others lack that nobody had asked it about: it was on nobody's list, or
    /// who forgot it had given it up.
    unasked: [Seqs; 3],
    /// Acknowledged values that were nowhere but on a disk that lost them.
    pub lost: HashSet<String>,
}

fn raise(seqs: &mut Seqs, origin: u64, seq: u64) {
    let known = seqs.entry(origin).or_default();
    *known = seq.max(*known);
}

impl World {
    /// Notes what each node holds now.
    pub(super) fn note_held(&mut self) {
        for node in 0..3 {
            for (origin, at) in &self.store(node).frontier().0 {
                raise(&mut self.ledger.held[node], *origin, at.seq);
            }
        }
    }

    /// A node is listed again: what went meanwhile nobody had asked it about.
    pub(super) fn note_unasked(&mut self, node: usize) {
        for other in (0..3).filter(|other| *other != node) {
            for (origin, seq) in self.gone(other) {
                raise(&mut self.ledger.unasked[node], origin, seq);
            }
        }
    }

    /// A node's log is another's now, who may have given up a peer before: what is missing in it
    /// this node has not forgotten.
    pub(super) fn note_arrived(&mut self, node: usize) {
        for (origin, seq) in self.gone(node) {
            for other in (0..3).filter(|other| *other != node) {
                raise(&mut self.ledger.unasked[other], origin, seq);
            }
        }
    }

    /// What left a node's log: per origin the last number.
    fn gone(&self, node: usize) -> Vec<(u64, u64)> {
        let sql = "SELECT origin, seq FROM _tutti_trimmed \
                   UNION ALL SELECT origin, seq FROM _tutti_closed";
        let rows = self
            .store(node)
            .read(|reader| reader.query(sql, &[]))
            .unwrap();
        let numbers = |row: Vec<Value>| match row[..] {
            [Value::Integer(origin), Value::Integer(seq)] => (origin as u64, seq as u64),
            _ => panic!("{row:?}"),
        };
        rows.into_iter().map(numbers).collect()
    }

    /// What a node has forgotten each peer on its list held once, unless that is marked to take a
    /// snapshot, or was on no list when it went.
    pub(super) fn check_kept(&self, node: usize) {
        let marked = self
            .store(node)
            .read(|reader| reader.query("SELECT node FROM _tutti_marked", &[]))
            .unwrap();
        let gone = self.gone(node);
        for peer in self.peers(node) {
            if marked.contains(&vec![Value::Blob(peer.to_vec())]) {
                continue;
            }
            let at = usize::from(peer[0]) - 1;
            for (origin, seq) in &gone {
                let of = |seqs: &Seqs| seqs.get(origin).copied().unwrap_or(0);
                let held = of(&self.ledger.held[at]);
                assert!(
                    held >= *seq || of(&self.ledger.unasked[at]) >= *seq,
                    "{node} forgot {origin:x}:{seq}, of which {at} never held more than {held}"
                );
            }
        }
    }

    /// All values that a node can show or tell its peers.
    fn tokens(&self, node: usize) -> HashSet<String> {
        let store = self.store(node);
        let mut found: Vec<Value> = visible(store);
        for conflict in store.conflicts(100_000).unwrap() {
            found.extend(conflict.value);
        }
        let log = store.read(|reader| reader.query("SELECT bytes FROM _tutti_log", &[]));
        for row in log.unwrap() {
            match &row[..] {
                [Value::Blob(bytes)] => found.extend(written(bytes)),
                other => panic!("{other:?}"),
            }
        }
        found
            .iter()
            .filter(|value| is_token(value))
            .map(text)
            .collect()
    }

    /// A node's disk becomes another one: what was nowhere else is lost.
    pub(super) fn replace_disk(&mut self, node: usize, dir: TempDir, incarnation: u64, later: u64) {
        let others = (0..3).filter(|other| *other != node);
        let mut left: HashSet<String> = others.flat_map(|other| self.tokens(other)).collect();
        self.note_held();
        self.forgot = true;
        self.reopen(node, dir, incarnation, later);
        left.extend(self.tokens(node));
        let lost = self.written.difference(&left).cloned();
        self.ledger.lost.extend(lost);
    }
}

/// The values that a logged transaction wrote.
fn written(bytes: &[u8]) -> Vec<Value> {
    let Some((_, _, Body::Rows(rows))) = decode(&bytes.to_vec().into()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for part in rows.parts() {
        for row in &part.unwrap().rows {
            match &row.write {
                RowWrite::Insert(values) => found.extend(values.iter().cloned()),
                RowWrite::Update(cells) => found.extend(cells.iter().map(|cell| cell.1.clone())),
                RowWrite::Delete => {}
            }
        }
    }
    found
}
