//! What happens to nodes: cuts, crashes, disks, clocks, copies, lists that change.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;

use tempfile::TempDir;
use tutti::replica::NodeId;
use tutti::store::StoreError;

use super::{Backup, EPOCH_MS, World, directory};
use crate::disk::Disk;
use crate::synced;

/// Copies a node's files as they lie there, as a cut of power would leave them.
/// `lose`: the length of the WAL that is surely on the disk, and how much of the rest is not.
pub fn copy(from: &Path, to: &Path, lose: Option<(u64, u64)>) {
    for name in ["replicated.db", "replicated.db-wal"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
    let wal = to.join("replicated.db-wal");
    if let (Some((synced, bytes)), true) = (lose, wal.exists()) {
        let file = std::fs::File::options().write(true).open(wal).unwrap();
        let length = file.metadata().unwrap().len();
        let left = length.saturating_sub(bytes).max(synced);
        file.set_len(left.min(length)).unwrap();
    }
}

impl World {
    /// Cuts, stalls, crashes and clock steps.
    pub(super) fn disturb(&mut self) {
        let link = self.random.below(3) as usize;
        let later = self.now_us + self.random.below(2_000_000);
        if self.nodes[link].damaged {
            // It is to meet the damage as it is.
            return;
        }
        match self.random.below(40) {
            0 | 1 => {
                let [a, b] = self.links[link].nodes;
                let stores = [a, b].map(|node| self.nodes[node].store.clone().unwrap());
                self.links[link].part([&stores[0], &stores[1]], later);
            }
            2 => {
                let direction = self.random.below(2) as usize;
                if let Some(ends) = &mut self.links[link].ends {
                    ends[direction].stalled = true;
                }
            }
            3 => self.crash(link, later),
            6 if self.random.one_in(4) => self.lose(link, later),
            7 => {
                let backup = self.backup(link);
                self.backups.push(backup);
            }
            8 if self.random.one_in(4) => self.restore(later, false),
            9 if self.random.one_in(4) => self.restore(later, true),
            10 => {
                let room = self.random.below(6);
                self.fill_disk(link, room);
            }
            11 => self.free_disk(link),
            12 if self.random.one_in(2) => self.twin(later),
            13 if self.random.one_in(2) => self.remove(link, later),
            14 if self.random.one_in(3) => self.divide(link),
            15 => self.fail_disk(link),
            16 if self.random.one_in(4) => self.damage(link, later),
            4 => self.skew(link),
            5 => {
                for link in &mut self.links {
                    link.cut(later);
                }
            }
            _ => {}
        }
    }

    /// A clock steps; one, and one only, goes to 1970 or beyond 2099 now and then.
    fn skew(&mut self, node: usize) {
        let far = self.nodes.iter().any(|node| node.skew_ms.abs() > 1_000_000);
        self.nodes[node].skew_ms = match self.random.below(8) {
            0 if !far => -EPOCH_MS,
            1 if !far => 3_000_000_000_000,
            _ if self.nodes[node].skew_ms.abs() > 1_000_000 => return,
            _ => self.random.below(4_000) as i64 - 2_000,
        };
    }

    /// Somebody sets a node's clock right.
    pub(super) fn set_clock(&mut self, node: usize) {
        let wall = self.now().wall_ms as i64;
        let far = self.nodes[node].skew_ms.abs() > 1_000_000;
        self.nodes[node].skew_ms = 0;
        self.nodes[node].clock.store(wall, Ordering::Relaxed);
        if !far {
            // What is a little ahead is due by itself.
            return;
        }
        self.restamp(node);
    }

    /// What a system does again and again while its clock is right: what peers had of it, as far as
    /// it knew, may have been taken back since.
    pub(super) fn restamp(&mut self, node: usize) {
        let random = &mut self.random;
        let store = self.nodes[node].store.clone().unwrap();
        if store.restamp(|| random.next()).unwrap() > 0 {
            self.seen.restamps += 1;
            let now = self.now_us;
            let ours = self
                .links
                .iter_mut()
                .filter(|link| link.nodes.contains(&node));
            ours.for_each(|link| link.cut(now));
        }
    }

    /// The process dies and starts again, on its files as they are.
    fn crash(&mut self, node: usize, later: u64) {
        let to = directory();
        copy(self.nodes[node].dir.path(), to.path(), None);
        let incarnation = self.random.next();
        self.reopen(node, to, incarnation, later);
    }

    /// Power fails. Half of the disks had lied: the end of the WAL is gone, and whatever was there
    /// only is excused. The others had not: what was synced is there, nothing else is, and nothing
    /// that was acknowledged there may be missing.
    fn lose(&mut self, node: usize, later: u64) {
        let to = directory();
        let bytes = self.random.below(40_000);
        if bytes.is_multiple_of(2) {
            copy(self.nodes[node].dir.path(), to.path(), None);
            synced::cut(self.nodes[node].dir.path(), to.path());
            let incarnation = self.random.next();
            self.seen.cuts += 1;
            self.cut_power(node, to, incarnation, later);
            return;
        }
        let synced = self.nodes[node].disk.synced();
        copy(
            self.nodes[node].dir.path(),
            to.path(),
            Some((synced, bytes)),
        );
        let incarnation = self.random.next();
        self.replace_disk(node, to, incarnation, later);
    }

    /// An old copy of a node's files is put back; with its memory, as hypervisors do it, the
    /// incarnation of then goes on and its numbers mean two things.
    fn restore(&mut self, later: u64, memory: bool) {
        if let Some(backup) = self.backups.pop() {
            let fresh = self.random.next();
            let incarnation = if memory { backup.incarnation } else { fresh };
            self.rewound |= memory;
            self.replace_disk(backup.node, backup.files, incarnation, later);
        }
    }

    pub(super) fn backup(&self, node: usize) -> Backup {
        let files = directory();
        copy(self.nodes[node].dir.path(), files.path(), None);
        Backup {
            node,
            files,
            incarnation: self.store(node).incarnation(),
        }
    }

    /// A machine that was copied runs twice; one of the two at a time is at its address.
    fn twin(&mut self, later: u64) {
        let well = |backup: &mut Backup| !self.nodes[backup.node].damaged;
        if let Some(twin) = self.backups.pop_if(well) {
            let present = self.backup(twin.node);
            self.backups.insert(0, present);
            self.rewound = true;
            self.replace_disk(twin.node, twin.files, twin.incarnation, later);
        }
    }

    /// The others take a node off their lists, and back later. It may have been told, and left.
    pub(super) fn remove(&mut self, node: usize, later: u64) {
        if self.removed.is_some() {
            return;
        }
        self.removed = Some((node, later + 300_000));
        self.readded |= self.trims;
        if self.random.one_in(2) {
            self.crash(node, later);
        }
        for link in self.links.iter_mut() {
            if link.nodes.contains(&node) {
                link.cut(later);
            }
        }
        self.list();
    }

    /// Two are left alone with each other, until everything heals, and cannot meet: each will have
    /// written more than its log holds.
    fn divide(&mut self, third: usize) {
        if self.removed.is_some() || !self.trims || self.is_damaged() {
            return;
        }
        self.divided = true;
        self.readded = true;
        self.removed = Some((third, u64::MAX));
        for link in self.links.iter_mut() {
            link.cut(u64::MAX);
        }
        self.list();
    }

    /// Both of the two have waited for each other too long.
    pub(super) fn give_up(&mut self) {
        for node in 0..3 {
            self.store(node).set_log_bound(0);
            assert!(self.trim(node), "a disk is full");
            self.store(node).set_log_bound(self.log_bound);
        }
    }

    /// It is listed again, once it is time, or now.
    pub(super) fn add_again(&mut self, now: bool) {
        let due = |removed: &mut (usize, u64)| now || removed.1 <= self.now_us;
        if self.removed.take_if(due).is_some() {
            self.list();
        }
    }

    /// Tells each store its peers. Whom one had given up is marked no more once it is off the list,
    /// also where nothing is forgotten before it is listed again.
    fn list(&mut self) {
        for node in 0..3 {
            self.store(node).set_peers(self.peers(node), 0);
            self.note_unasked(node);
        }
    }

    /// Whom a node has on its list.
    pub(super) fn peers(&self, node: usize) -> BTreeSet<NodeId> {
        let away = self.removed.map(|removed| removed.0);
        let listed = |other: &usize| *other != node && away != Some(*other);
        let others = (0..3).filter(listed);
        others.map(|other| [other as u8 + 1; 16]).collect()
    }

    /// Whether a link is between nodes that list each other.
    pub(super) fn is_listed(&self, nodes: [usize; 2]) -> bool {
        let away = self.removed.map(|removed| removed.0);
        away.is_none_or(|away| !nodes.contains(&away))
    }

    pub(super) fn reopen(&mut self, node: usize, dir: TempDir, incarnation: u64, later: u64) {
        self.try_reopen(node, dir, incarnation, later).unwrap();
    }

    pub(super) fn try_reopen(
        &mut self,
        node: usize,
        dir: TempDir,
        incarnation: u64,
        later: u64,
    ) -> Result<(), StoreError> {
        self.nodes[node].store = None;
        self.nodes[node].disk = Disk::new(dir.path());
        self.nodes[node].dir = dir;
        self.nodes[node].damaged = false;
        for link in self
            .links
            .iter_mut()
            .filter(|link| link.nodes.contains(&node))
        {
            link.cut(later);
        }
        self.open(node, incarnation)
    }
}
