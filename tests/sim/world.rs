//! The world: three nodes, their clocks, what happens to them, and what must hold in the end.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tempfile::TempDir;
use tutti::replica::session::Now;
use tutti::replica::value::Value;
use tutti::store::{Store, StoreError};

use crate::declared;
use crate::network::Link;
use crate::random::Random;
use crate::workload::{TABLES, is_full, transact, visible};

mod checks;

/// Virtual milliseconds since 1970 at the start.
const EPOCH_MS: i64 = 1_700_000_000_000;

struct Node {
    store: Option<Store>,
    clock: Arc<AtomicI64>,
    skew_ms: i64,
    /// Its disk may be full.
    full: bool,
    /// The store's count of what was given up, as its links know it.
    dropped: u64,
    dir: TempDir,
}

/// A node's files as they once were, and the incarnation of then.
struct Backup {
    node: usize,
    files: TempDir,
    incarnation: u64,
}

struct World {
    random: Random,
    now_us: u64,
    nodes: Vec<Node>,
    links: Vec<Link>,
    counter: u64,
    written: HashSet<String>,
    superseded: HashSet<String>,
    /// A disk lost or went back: acknowledged writes that had not left the node may be gone.
    loser: Option<usize>,
    /// A system's memory was put back.
    rewound: bool,
    /// Half of the histories trim their logs.
    trims: bool,
    /// How many bytes of log each keeps.
    log_bound: u64,
    /// How many snapshots were taken.
    snapshots: u64,
    /// Old copies of nodes' files, to be restored.
    backups: Vec<Backup>,
}

/// Copies a node's files as they lie there, as a cut of power would leave them.
fn copy(from: &Path, to: &Path, wal_bytes: Option<u64>) {
    for name in ["replicated.db", "replicated.db-wal"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
    let wal = to.join("replicated.db-wal");
    if let (Some(bytes), true) = (wal_bytes, wal.exists()) {
        let file = std::fs::File::options().write(true).open(wal).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(bytes)).unwrap();
    }
}

fn text(value: &Value) -> String {
    format!("{value:?}")
}

/// Files in memory where there is such a place: nothing here needs a disk.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// Runs one seed; panics where a rule is broken.
pub fn run(seed: u64, verbose: bool) {
    let mut world = World::new(seed);
    for step in 0..250 {
        world.disturb();
        if world.random.one_in(2) {
            let node = world.random.below(3) as usize;
            world.write(node);
        }
        world.advance();
        if verbose && step % 50 == 0 {
            let snapshots = world.snapshots;
            eprintln!("step {step} at {} us, {snapshots} snapshots", world.now_us);
        }
    }
    world.heal();
    if world.trims && world.loser.is_some() {
        world.mend();
    }
    world.check();
    world.prove();
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        // Some keep little, so that peers that are away have to take snapshots.
        let log_bound = if random.one_in(3) { 3_000 } else { u64::MAX };
        let mut world = World {
            random,
            now_us: 0,
            nodes: Vec::new(),
            links: Vec::new(),
            counter: 0,
            written: HashSet::new(),
            superseded: HashSet::new(),
            loser: None,
            rewound: false,
            trims: seed.is_multiple_of(2),
            backups: Vec::new(),
            log_bound,
            snapshots: 0,
        };
        for _ in 0..3 {
            world.nodes.push(Node {
                store: None,
                clock: Arc::new(AtomicI64::new(EPOCH_MS)),
                skew_ms: 0,
                full: false,
                dropped: 0,
                dir: directory(),
            });
        }
        for nodes in [[0, 1], [0, 2], [1, 2]] {
            world.links.push(Link {
                nodes,
                ends: None,
                down_until: 0,
                ended: String::new(),
            });
        }
        for node in 0..3 {
            let incarnation = world.random.next();
            world.open(node, incarnation);
        }
        // One table is declared at run time and travels in the log.
        let late = "CREATE TABLE late(id INTEGER PRIMARY KEY, a UNIQUE)";
        world.store(0).declare(late).unwrap();
        declared::made(world.store(0));
        world
    }

    fn store(&self, node: usize) -> &Store {
        self.nodes[node].store.as_ref().unwrap()
    }

    fn now(&self) -> Now {
        Now {
            us: self.now_us,
            wall_ms: EPOCH_MS as u64 + self.now_us / 1_000,
            synchronized: true,
        }
    }

    fn open(&mut self, number: usize, incarnation: u64) {
        let node = &mut self.nodes[number];
        let clock = Arc::clone(&node.clock);
        let read = Arc::new(move || clock.load(Ordering::Relaxed) as u64);
        let id = [number as u8 + 1; 16];
        let store = Store::open_with_clock(node.dir.path(), id, incarnation, read).unwrap();
        store.migrate(&TABLES).unwrap();
        let others = (1..=3).filter(|n| *n != number as u8 + 1);
        store.set_peers(others.map(|n| [n; 16]).collect(), 0);
        store.set_log_bound(self.log_bound);
        node.full = false;
        node.dropped = store.dropped();
        node.store = Some(store);
    }

    /// Cuts, stalls, crashes and clock steps.
    fn disturb(&mut self) {
        let link = self.random.below(3) as usize;
        let later = self.now_us + self.random.below(2_000_000);
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
                let to = directory();
                copy(self.nodes[link].dir.path(), to.path(), None);
                self.backups.push(Backup {
                    node: link,
                    files: to,
                    incarnation: self.store(link).incarnation(),
                });
            }
            8 if self.random.one_in(4) => self.restore(later, false),
            9 if self.random.one_in(4) => self.restore(later, true),
            10 => {
                let room = self.random.below(6);
                self.fill_disk(link, room);
            }
            11 => self.free_disk(link),
            4 => self.skew(link),
            5 => {
                for link in &mut self.links {
                    link.cut(later);
                }
            }
            _ => {}
        }
    }

    /// A node's disk has room for a few pages more.
    fn fill_disk(&mut self, node: usize, room: u64) {
        let pages = |sql| {
            self.store(node)
                .read(|reader| reader.query(sql, &[]))
                .unwrap()
        };
        let Value::Integer(pages) = pages("SELECT page_count FROM pragma_page_count")[0][0] else {
            panic!("no number of pages");
        };
        let bound = (pages as u64 + room) * 4_096;
        self.store(node).set_size_bound(Some(bound)).unwrap();
        self.nodes[node].full = true;
    }

    fn free_disk(&mut self, node: usize) {
        self.store(node).set_size_bound(None).unwrap();
        self.nodes[node].full = false;
    }

    /// A clock steps; with `TUTTI_FAR` set one, and one only, goes to 1970 or beyond 2099 now and
    /// then (histories that `docs/testing.md` says do not all converge yet).
    fn skew(&mut self, node: usize) {
        let near_only = std::env::var_os("TUTTI_FAR").is_none();
        let far = near_only || self.nodes.iter().any(|node| node.skew_ms.abs() > 1_000_000);
        self.nodes[node].skew_ms = match self.random.below(8) {
            0 if !far => -EPOCH_MS,
            1 if !far => 3_000_000_000_000,
            _ if self.nodes[node].skew_ms.abs() > 1_000_000 => return,
            _ => self.random.below(4_000) as i64 - 2_000,
        };
    }

    /// Somebody sets a node's clock right.
    fn set_clock(&mut self, node: usize) {
        let wall = self.now().wall_ms as i64;
        let far = self.nodes[node].skew_ms.abs() > 1_000_000;
        self.nodes[node].skew_ms = 0;
        self.nodes[node].clock.store(wall, Ordering::Relaxed);
        if !far {
            // What is a little ahead is due by itself.
            return;
        }
        let random = &mut self.random;
        let store = self.nodes[node].store.clone().unwrap();
        store.restamp(|| random.next()).unwrap();
    }

    /// The process dies and starts again, on its files as they are.
    fn crash(&mut self, node: usize, later: u64) {
        let to = directory();
        copy(self.nodes[node].dir.path(), to.path(), None);
        let incarnation = self.random.next();
        self.reopen(node, to, incarnation, later);
    }

    /// Power fails and the disk had lied: the end of the WAL is gone.
    fn lose(&mut self, node: usize, later: u64) {
        let to = directory();
        let bytes = self.random.below(40_000);
        copy(self.nodes[node].dir.path(), to.path(), Some(bytes));
        if self.loses(node) {
            let incarnation = self.random.next();
            self.reopen(node, to, incarnation, later);
        }
    }

    /// Whether a disk may lose something now. Where logs are trimmed, one node's may: two that
    /// both forgot what the other has trimmed cannot help each other by their logs.
    fn loses(&mut self, node: usize) -> bool {
        let may = !self.trims || self.loser.is_none_or(|loser| loser == node);
        if may {
            self.loser = Some(node);
        }
        may
    }

    /// An old copy of a node's files is put back; with its memory, as hypervisors do it, the
    /// incarnation of then goes on and its numbers mean two things.
    fn restore(&mut self, later: u64, memory: bool) {
        if let Some(backup) = self.backups.pop()
            && self.loses(backup.node)
        {
            let fresh = self.random.next();
            let incarnation = if memory { backup.incarnation } else { fresh };
            self.rewound |= memory;
            self.reopen(backup.node, backup.files, incarnation, later);
        }
    }

    fn reopen(&mut self, node: usize, dir: TempDir, incarnation: u64, later: u64) {
        self.nodes[node].store = None;
        self.nodes[node].dir = dir;
        for link in self
            .links
            .iter_mut()
            .filter(|link| link.nodes.contains(&node))
        {
            link.cut(later);
        }
        self.open(node, incarnation);
    }

    fn write(&mut self, node: usize) {
        let store = self.nodes[node].store.clone().unwrap();
        let before: HashSet<String> = visible(&store).iter().map(text).collect();
        let late = Value::Integer(self.random.below(4) as i64);
        if self.random.one_in(12) {
            let ended = declared::declare(&store, &mut self.random);
            self.superseded.extend(ended.iter().map(text));
        } else if self.random.one_in(4) {
            declared::write(&store, &mut self.random, &mut self.counter);
        } else if self.random.one_in(6) {
            let id = Value::Integer(self.random.below(4) as i64);
            // The table may not have arrived here yet, the value may be taken.
            let _ = store.transact(|tx| tx.execute("REPLACE INTO late VALUES (?, ?)", &[id, late]));
        } else {
            transact(&store, &mut self.random, &mut self.counter);
        }
        let after: HashSet<String> = visible(&store).iter().map(text).collect();
        self.written.extend(after.difference(&before).cloned());
        self.superseded.extend(before.difference(&after).cloned());
        let now = self.now();
        for link in &mut self.links {
            link.committed(node, &store, now);
        }
    }

    fn advance(&mut self) {
        self.now_us += self.random.below(40_000);
        let now = self.now();
        for node in &self.nodes {
            let wall = now.wall_ms as i64 + node.skew_ms;
            node.clock.store(wall, Ordering::Relaxed);
        }
        for node in 0..3 {
            let store = self.nodes[node].store.clone().unwrap();
            match store.release() {
                Ok(None) => {}
                Ok(Some(_)) => self.committed(node, now),
                // It is given up, and the links that bring it again settle whose history stands.
                Err(StoreError::Fork { .. }) => {}
                Err(error) => assert!(is_full(&error), "{error}"),
            }
            self.end_after_drops(now);
            if self.trims && self.random.one_in(40) {
                match store.trim() {
                    Ok(_) => {}
                    Err(error) => assert!(is_full(&error), "{error}"),
                }
            }
        }
        for at in 0..3 {
            let [a, b] = self.links[at].nodes;
            let stores = [a, b].map(|node| self.nodes[node].store.clone().unwrap());
            let stores = [&stores[0], &stores[1]];
            let link = &mut self.links[at];
            if link.ends.is_none() && link.down_until <= now.us {
                link.connect(stores, now);
            }
            let full = [a, b].iter().any(|node| self.nodes[*node].full);
            let moved = link.step(stores, now, &mut self.random);
            let dropped = self.end_after_drops(now);
            match moved {
                Ok(moved) => {
                    moved
                        .committed
                        .into_iter()
                        .for_each(|node| self.committed(node, now));
                    moved
                        .another
                        .into_iter()
                        .for_each(|node| self.another(node, now));
                }
                // What was given up is missing, until a new link brings it.
                Err(error) if dropped => drop(error),
                // The peer had it from another before its last piece was sent.
                Err(error) if error.contains("left the log while it was sent") => {
                    self.links[at].cut(now.us + 100_000);
                }
                // A link that ends by name; the next one settles it, or the nodes never rest.
                Err(error) if self.rewound || full => {
                    self.links[at].ended = error;
                    self.links[at].cut(now.us + 100_000);
                }
                Err(error) => panic!("link {at}: {error}"),
            }
        }
    }

    /// As the product does: links end where something that waited was given up.
    fn end_after_drops(&mut self, now: Now) -> bool {
        let mut any = false;
        for node in 0..3 {
            let dropped = self.store(node).dropped();
            if dropped != self.nodes[node].dropped {
                self.nodes[node].dropped = dropped;
                any = true;
                let links = self.links.iter_mut();
                let ours = links.filter(|link| link.nodes.contains(&node));
                ours.for_each(|link| link.cut(now.us + 300_000));
            }
        }
        any
    }

    /// A node's database is another one now: its links greet again.
    fn another(&mut self, node: usize, now: Now) {
        self.snapshots += 1;
        let links = self.links.iter_mut();
        let ours = links.filter(|link| link.nodes.contains(&node));
        ours.for_each(|link| link.cut(now.us));
        self.committed(node, now);
    }

    fn committed(&mut self, node: usize, now: Now) {
        let store = self.nodes[node].store.clone().unwrap();
        for link in &mut self.links {
            link.committed(node, &store, now);
        }
    }

    /// Everything is connected again, and time passes until nothing is under way.
    fn heal(&mut self) {
        for link in &mut self.links {
            link.cut(0);
        }
        for node in 0..3 {
            self.free_disk(node);
            self.set_clock(node);
        }
        let mut quiet = 0;
        for _ in 0..20_000 {
            self.advance();
            let frontier = self.store(0).frontier();
            let same = (1..3).all(|node| self.store(node).frontier() == frontier);
            let idle = self.links.iter().all(Link::idle);
            quiet = if same || idle { quiet + 1 } else { 0 };
            if same && quiet > 3 {
                return;
            }
        }
        for node in 0..3 {
            let store = self.store(node);
            eprintln!(
                "node {node}: dropped {}, ahead {:?}, holds {:?}",
                store.dropped(),
                store.ahead().unwrap(),
                store
                    .frontier()
                    .to_wire()
                    .iter()
                    .map(|p| (p.0, p.1))
                    .collect::<Vec<_>>(),
            );
        }
        for (at, link) in self.links.iter().enumerate() {
            let (nodes, ended) = (link.nodes, &link.ended);
            eprintln!(
                "link {at} of {nodes:?}, last ended by {ended:?}: {}",
                link.state()
            );
        }
        panic!("the nodes never came to rest");
    }
}
