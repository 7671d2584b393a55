//! What nodes held and what disks lost: what may be missing in the end, and what may not.

use std::collections::{HashMap, HashSet};

use tempfile::TempDir;
use tutti::replica::change::{Body, RowWrite, decode};
use tutti::replica::value::Value;
use tutti::store::StoreError;

use super::{World, is_refusal, text};
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
            let Some(store) = &self.nodes[node].store else {
                continue;
            };
            for (origin, at) in &store.frontier().0 {
                raise(&mut self.ledger.held[node], *origin, at.seq);
            }
        }
    }

    /// A node forgets what may go; false where its disk has no room for that.
    pub(super) fn trim(&mut self, node: usize) -> bool {
        self.faults(true);
        let result = self.store(node).trim();
        self.faults(false);
        self.note_unasked(node);
        self.check_kept(node);
        match result {
            Ok(_) => true,
            Err(error) => {
                assert!(is_refusal(&error), "{error}");
                false
            }
        }
    }

    /// Who is not on a node's list was not asked about what it forgot. That is noted at once: a copy
    /// of the node's disk may come back long after the other is listed again. Whose own frames are
    /// doubled takes answers to them for answers to others.
    pub(super) fn note_unasked(&mut self, node: usize) {
        let listed = self.peers(node);
        let gone = self.gone(node);
        let fooled = self.hostile == Some(node);
        for other in (0..3).filter(|other| *other != node) {
            if fooled || !listed.contains(&[other as u8 + 1; 16]) {
                for (origin, seq) in &gone {
                    raise(&mut self.ledger.unasked[other], *origin, *seq);
                }
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

    /// What left a node's log: per origin the last number. A damaged database tells nothing; another
    /// takes its place.
    fn gone(&self, node: usize) -> Vec<(u64, u64)> {
        let sql = "SELECT origin, seq FROM _tutti_trimmed \
                   UNION ALL SELECT origin, seq FROM _tutti_closed";
        let rows = match self.store(node).read(|reader| reader.query(sql, &[])) {
            Err(StoreError::Corrupt(_)) => return Vec::new(),
            rows => rows.unwrap(),
        };
        let numbers = |row: Vec<Value>| match row[..] {
            [Value::Integer(origin), Value::Integer(seq)] => (origin as u64, seq as u64),
            _ => panic!("{row:?}"),
        };
        rows.into_iter().map(numbers).collect()
    }

    /// What a node has forgotten each peer on its list held once, unless that is marked to take a
    /// snapshot, or was on no list when it went.
    fn check_kept(&self, node: usize) {
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

    /// Power fails at a node whose disk keeps what was synced. What it had only taken in need not be,
    /// and was nowhere else if its author's disk had lost it before.
    pub(super) fn cut_power(&mut self, node: usize, dir: TempDir, incarnation: u64, later: u64) {
        let mut left = self.tokens_of_others(node, later);
        let before = self.tokens(node);
        self.note_held();
        self.reopen(node, dir, incarnation, later);
        left.extend(self.tokens(node));
        let authors = &self.authors;
        let taken = |token: &&String| authors.get(*token).is_some_and(|author| *author != node);
        let lost = before.difference(&left).filter(taken).cloned();
        self.ledger.lost.extend(lost);
    }

    /// What all but one node can show or tell.
    fn tokens_of_others(&mut self, node: usize, later: u64) -> HashSet<String> {
        let others = (0..3).filter(|other| *other != node);
        for other in others.clone() {
            if self.nodes[other].damaged {
                self.set_aside(other, later);
            }
        }
        others.flat_map(|other| self.tokens(other)).collect()
    }

    /// A node's disk becomes another one: what was nowhere else is lost.
    pub(super) fn replace_disk(&mut self, node: usize, dir: TempDir, incarnation: u64, later: u64) {
        let mut left = self.tokens_of_others(node, later);
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

/// A copy of a disk from which something went while a peer was on no list, and that comes back when
/// the peer is listed again, has broken no rule.
#[test]
fn what_went_unasked_is_excused_whenever_that_disk_comes_back() {
    let mut world = World::new(0);
    world.rest(&[0, 1, 2]);
    let before = world.backup(0);
    world.remove(2, u64::MAX - 300_000);
    write_for_one(&mut world);
    let own = world.store(0).incarnation();
    let last = (own, world.store(0).frontier().seq(own));
    let forgot = |world: &World| world.gone(0).contains(&last);
    world.trim(0);
    assert!(forgot(&world), "it was to go");
    let after = world.backup(0);
    world.replace_disk(0, before.files, 10, 0);
    world.add_again(true);
    assert!(!forgot(&world));
    world.replace_disk(0, after.files, 11, u64::MAX);
    assert!(forgot(&world), "it is gone again");
    world.trim(0);
}

/// A node that does not ask whom it lists is found out.
#[test]
#[should_panic(expected = "0 forgot")]
fn what_goes_without_a_listed_peer_being_asked_is_noticed() {
    let mut world = World::new(0);
    world.rest(&[0, 1, 2]);
    for link in world
        .links
        .iter_mut()
        .filter(|link| link.nodes.contains(&2))
    {
        link.cut(u64::MAX);
    }
    write_for_one(&mut world);
    world.store(0).set_peers([[2; 16]].into(), 0);
    world.trim(0);
}

/// Node 0 writes what node 1 gets, and node 2 does not.
fn write_for_one(world: &mut World) {
    let insert = "INSERT INTO item VALUES (1, 'away', 0)";
    let written = world.store(0).transact(|tx| tx.execute(insert, &[]));
    written.unwrap();
    world.rest(&[0, 1]);
}
