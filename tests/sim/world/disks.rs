//! Disks that are full, that fail for a while, and that damage what lies on them.

use std::os::unix::fs::FileExt;
use std::path::Path;

use tutti::replica::value::Value;
use tutti::store::StoreError;

use super::faults::copy;
use super::{World, directory};
use crate::random::Random;

/// SQLite's page size.
const PAGE: usize = 4_096;
/// What the first octet of a page of a B-tree is.
const KINDS: [u8; 4] = [0x02, 0x05, 0x0a, 0x0d];

/// Whether a disk took a transaction, or none of it: it is full or failed.
pub fn is_refusal(error: &StoreError) -> bool {
    let said = error.to_string();
    let words = ["begin it again", "disk I/O error"];
    matches!(error, StoreError::Full) || words.iter().any(|word| said.contains(word))
}

impl World {
    /// A node's disk has room for a few pages more.
    pub(super) fn fill_disk(&mut self, node: usize, room: u64) {
        let pages = |sql| {
            self.store(node)
                .read(|reader| reader.query(sql, &[]))
                .unwrap()
        };
        let Value::Integer(pages) = pages("SELECT page_count FROM pragma_page_count")[0][0] else {
            panic!("no number of pages");
        };
        let bound = (pages as u64 + room) * PAGE as u64;
        self.store(node).set_size_bound(Some(bound)).unwrap();
        self.nodes[node].full = true;
    }

    /// It has all the room it needs, and works.
    pub(super) fn free_disk(&mut self, node: usize) {
        self.nodes[node].disk.fail(0, 0);
        self.store(node).set_size_bound(None).unwrap();
        self.nodes[node].full = false;
    }

    /// Some of the next uses of a node's disk are refused.
    pub(super) fn fail_disk(&mut self, node: usize) {
        let (well, failing) = (self.random.below(80), 1 + self.random.below(8));
        self.nodes[node].disk.fail(well, failing);
    }

    /// Whether the engine now meets what its disks refuse; who looks on does not.
    pub(super) fn faults(&self, on: bool) {
        self.nodes.iter().for_each(|node| node.disk.spare(!on));
    }

    /// Whether some node's database is damaged.
    pub(super) fn is_damaged(&self) -> bool {
        self.nodes.iter().any(|node| node.damaged)
    }

    /// A node's disk forgets some pages while the node is off. One at a time: what a page held may
    /// be nowhere else.
    pub(super) fn damage(&mut self, node: usize, later: u64) {
        if self.is_damaged() || self.divided {
            return;
        }
        let to = directory();
        copy(self.nodes[node].dir.path(), to.path(), None);
        let database = to.path().join("replicated.db");
        // What is still in the WAL would cover it.
        let database_alone = rusqlite::Connection::open(&database).unwrap();
        let fold = "PRAGMA wal_checkpoint(TRUNCATE)";
        database_alone.query_row(fold, [], |_| Ok(())).unwrap();
        drop(database_alone);
        overwrite(&database, &mut self.random);
        let incarnation = self.random.next();
        self.note_held();
        match self.try_reopen(node, to, incarnation, later) {
            Ok(()) => self.nodes[node].damaged = true,
            Err(StoreError::Corrupt(_)) => {
                self.seen.set_aside += 1;
                self.set_aside(node, later);
            }
            Err(error) => panic!("a damaged database: {error}"),
        }
    }

    /// As the product does: a new database takes the place of one that is damaged.
    pub(super) fn set_aside(&mut self, node: usize, later: u64) {
        let incarnation = self.random.next();
        self.replace_disk(node, directory(), incarnation, later);
    }

    /// Whoever met damage by now starts anew.
    pub(super) fn look_at_damage(&mut self) {
        for node in 0..3 {
            let met = self.store(node).damage().borrow().is_some();
            assert!(!met || self.nodes[node].damaged, "{node} is not damaged");
            if met {
                self.seen.set_aside += 1;
                self.set_aside(node, self.now_us + 100_000);
            }
        }
    }
}

/// Some pages of B-trees hold something else. (Damage within a row is what SQLite cannot see.)
fn overwrite(path: &Path, random: &mut Random) {
    let bytes = std::fs::read(path).unwrap();
    let pages = bytes.chunks(PAGE).enumerate();
    let of_trees = pages.filter(|(at, page)| *at > 0 && KINDS.contains(&page[0]));
    let of_trees: Vec<usize> = of_trees.map(|(at, _)| at).collect();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    for _ in 0..1 + random.below(3) {
        // The first page is met at once.
        let at = match of_trees.len() {
            0 => 0,
            _ if random.one_in(6) => 0,
            n => of_trees[random.below(n as u64) as usize],
        };
        file.write_all_at(&[0xa5; PAGE], (at * PAGE) as u64)
            .unwrap();
    }
}
