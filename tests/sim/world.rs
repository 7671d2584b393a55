//! The world: three nodes, their clocks, what happens to them, and what must hold in the end.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tempfile::TempDir;
use tutti::replica::session::{Now, Proven};
use tutti::replica::value::Value;
use tutti::store::{Store, StoreError};

use crate::declared;
use crate::disk::Disk;
use crate::kinds;
use crate::network::Link;
use crate::random::Random;
use crate::workload::{TABLES, transact, visible};

mod checks;
mod disks;
mod faults;
mod lost;

pub use disks::is_refusal;
pub use faults::copy;

/// Virtual milliseconds since 1970 at the start.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// What SQLite's own check of a file says where its disk refuses to read it (`SQLITE_IOERR_READ`).
const UNREAD: &str = "unable to get the page. error code=266";

struct Node {
    store: Option<Store>,
    clock: Arc<AtomicI64>,
    skew_ms: i64,
    /// Its disk may be full.
    full: bool,
    /// The store's count of what was given up, as its links know it.
    dropped: u64,
    /// Its database lost pages, and nobody may have noticed.
    damaged: bool,
    disk: Disk,
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
    /// Who acknowledged each of them.
    authors: HashMap<String, usize>,
    superseded: HashSet<String>,
    ledger: lost::Ledger,
    /// A disk lost something.
    forgot: bool,
    /// Whose frames arrive mutilated, twice, late or not at all now and then.
    hostile: Option<usize>,
    /// A system's memory was put back.
    rewound: bool,
    /// Who is on nobody's list now, and until when.
    removed: Option<(usize, u64)>,
    /// The two others gave each other up: each wrote more than its log holds, on nobody's list but
    /// the other's.
    divided: bool,
    /// Somebody was listed again after logs were trimmed without asking it.
    readded: bool,
    /// Half of the histories trim their logs.
    trims: bool,
    /// Whether it has the tables of `kinds`.
    kinds: bool,
    /// How many bytes of log each keeps.
    log_bound: u64,
    /// How many snapshots were taken.
    snapshots: u64,
    seen: Seen,
    /// Old copies of nodes' files, to be restored.
    backups: Vec<Backup>,
}

/// How often happened what no run of many seeds may do without.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// One of two that gave each other up wrote what it held over the other's snapshot.
    pub rebases: u64,
    /// A link ended because of an I/O error, or a transaction was refused by one.
    pub failures: u64,
    /// Power was cut on a disk that keeps what was synced.
    pub cuts: u64,
    /// Rows that proofs had to mend, as what a disk lost had come back or a peer was listed again
    /// after tombstones went.
    pub mended: u64,
    /// Histories of those kinds.
    pub to_mend: u64,
    /// Proofs that links brought to their end while all else went on.
    pub proofs: u64,
    /// How many of them found rows that differ.
    pub differing: u64,
    /// Damage was met, and a new database took the place of the damaged one.
    pub set_aside: u64,
    /// A node's database became another one, by a snapshot or because it issued something again.
    pub others: u64,
    /// What a wrong clock had stamped was stamped anew.
    pub restamps: u64,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.rebases += other.rebases;
        self.failures += other.failures;
        self.set_aside += other.set_aside;
        self.others += other.others;
        self.restamps += other.restamps;
        self.cuts += other.cuts;
        self.mended += other.mended;
        self.to_mend += other.to_mend;
        self.proofs += other.proofs;
        self.differing += other.differing;
    }
}

fn text(value: &Value) -> String {
    format!("{value:?}")
}

/// Files in memory where there is such a place: nothing here needs a disk.
pub fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// Runs one seed; panics where a rule is broken.
pub fn run(seed: u64, verbose: bool) -> Seen {
    play(seed, verbose).seen
}

/// What a seed led to: the same each time, or a failure could not be replayed.
pub fn trace(seed: u64) -> String {
    let world = play(seed, false);
    let digests = [0, 1, 2].map(|node| world.store(node).digest().unwrap());
    let frontiers = [0, 1, 2].map(|node| world.store(node).frontier());
    let (now, snapshots, written) = (world.now_us, world.snapshots, world.written.len());
    let (random, seen) = (&world.random, world.seen);
    format!("{now} us, {snapshots}, {written}, {random:?}, {seen:?}, {digests:?}, {frontiers:?}")
}

fn play(seed: u64, verbose: bool) -> World {
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
    if verbose {
        let (hostile, forgot, rewound) = (world.hostile, world.forgot, world.rewound);
        let (trims, bound, readded) = (world.trims, world.log_bound, world.readded);
        eprintln!("hostile {hostile:?}, a disk forgot {forgot}, memory put back {rewound}");
        let (lost, written) = (world.ledger.lost.len(), world.written.len());
        eprintln!("disks lost {lost} of {written} values");
        eprintln!("logs trimmed {trims} at {bound} bytes, listed again {readded}");
    }
    world.heal();
    if world.trims && (world.forgot || world.readded) {
        world.seen.mended = world.mend();
        world.seen.to_mend = 1;
    }
    world.check();
    world.prove();
    if verbose {
        eprintln!("{} snapshots, {:?}", world.snapshots, world.seen);
    }
    world
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        // Some keep little, so that peers that are away have to take snapshots.
        let log_bound = if random.one_in(3) { 3_000 } else { u64::MAX };
        let hostile = random.one_in(5).then(|| random.below(3) as usize);
        let mut world = World {
            random,
            hostile,
            now_us: 0,
            nodes: Vec::new(),
            links: Vec::new(),
            counter: 0,
            written: HashSet::new(),
            authors: HashMap::new(),
            superseded: HashSet::new(),
            ledger: lost::Ledger::default(),
            forgot: false,
            rewound: false,
            removed: None,
            divided: false,
            readded: false,
            trims: seed.is_multiple_of(2),
            kinds: seed >= kinds::FROM,
            backups: Vec::new(),
            log_bound,
            snapshots: 0,
            seen: Seen::default(),
        };
        for _ in 0..3 {
            let dir = directory();
            world.nodes.push(Node {
                store: None,
                clock: Arc::new(AtomicI64::new(EPOCH_MS)),
                skew_ms: 0,
                full: false,
                dropped: 0,
                damaged: false,
                disk: Disk::new(dir.path()),
                dir,
            });
        }
        for nodes in [[0, 1], [0, 2], [1, 2]] {
            world.links.push(Link {
                nodes,
                ends: None,
                down_until: 0,
                ended: String::new(),
                hostile: None,
            });
        }
        for node in 0..3 {
            let incarnation = world.random.next();
            world.open(node, incarnation).unwrap();
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

    fn open(&mut self, number: usize, incarnation: u64) -> Result<(), StoreError> {
        let peers = self.peers(number);
        let node = &mut self.nodes[number];
        let clock = Arc::clone(&node.clock);
        let read = Arc::new(move || clock.load(Ordering::Relaxed) as u64);
        let id = [number as u8 + 1; 16];
        let store = Store::open_with_clock(node.dir.path(), id, incarnation, read)?;
        let more = if self.kinds { &kinds::TABLES[..] } else { &[] };
        store.migrate(&[&TABLES, more].concat())?;
        store.set_peers(peers, 0);
        store.set_log_bound(self.log_bound);
        node.full = false;
        node.dropped = store.dropped();
        node.store = Some(store);
        Ok(())
    }

    fn write(&mut self, node: usize) {
        if self.nodes[node].damaged {
            return;
        }
        let store = self.nodes[node].store.clone().unwrap();
        let before: HashSet<String> = visible(&store).iter().map(text).collect();
        let late = Value::Integer(self.random.below(4) as i64);
        let mut refused = false;
        if self.random.one_in(12) {
            let ended = declared::declare(&store, &mut self.random);
            self.superseded.extend(ended.iter().map(text));
        } else if self.random.one_in(4) {
            self.faults(true);
            declared::write(&store, &mut self.random, &mut self.counter);
        } else if self.random.one_in(6) {
            let id = Value::Integer(self.random.below(4) as i64);
            // The table may not have arrived here yet, the value may be taken.
            let _ = store.transact(|tx| tx.execute("REPLACE INTO late VALUES (?, ?)", &[id, late]));
        } else {
            self.faults(true);
            refused = transact(&store, &mut self.random, &mut self.counter, self.kinds);
        }
        self.faults(false);
        let after: HashSet<String> = visible(&store).iter().map(text).collect();
        let why = store.refused().unwrap_or_default();
        self.seen.failures += u64::from(refused && why.contains("I/O"));
        assert!(
            !refused || after == before,
            "a part of what was refused stands"
        );
        for token in after.difference(&before) {
            self.authors.insert(token.clone(), node);
            self.written.insert(token.clone());
        }
        self.superseded.extend(before.difference(&after).cloned());
        let now = self.now();
        for link in &mut self.links {
            link.committed(node, &store, now);
        }
    }

    fn advance(&mut self) {
        self.now_us += self.random.below(40_000);
        self.note_held();
        self.add_again(false);
        let now = self.now();
        for node in &self.nodes {
            let wall = now.wall_ms as i64 + node.skew_ms;
            node.clock.store(wall, Ordering::Relaxed);
        }
        for node in 0..3 {
            let store = self.nodes[node].store.clone().unwrap();
            self.faults(true);
            let released = store.release();
            self.faults(false);
            match released {
                Ok(None) => {}
                Ok(Some(_)) => self.committed(node, now),
                // It is given up, and the links that bring it again settle whose history stands.
                Err(StoreError::Fork { .. }) => {}
                Err(StoreError::Corrupt(_)) => self.look_at_damage(),
                Err(error) => assert!(is_refusal(&error), "{error}"),
            }
            self.end_after_drops(now);
            if self.trims && !self.nodes[node].damaged && self.random.one_in(40) {
                self.trim(node);
            }
        }
        for at in 0..3 {
            let [a, b] = self.links[at].nodes;
            let stores = [a, b].map(|node| self.nodes[node].store.clone().unwrap());
            let stores = [&stores[0], &stores[1]];
            let listed = self.is_listed([a, b]);
            let hostile = self.hostile;
            let link = &mut self.links[at];
            link.hostile = hostile;
            if link.ends.is_none() && link.down_until <= now.us && listed {
                link.connect(stores, now);
            }
            let full = [a, b].iter().any(|node| self.nodes[*node].full);
            self.nodes.iter().for_each(|node| node.disk.spare(false));
            let were = stores.map(Store::incarnation);
            let moved = link.step(stores, now, &mut self.random);
            let are = stores.map(Store::incarnation);
            self.faults(false);
            self.look_at_damage();
            let dropped = self.end_after_drops(now);
            if moved.is_err() {
                // What was committed before is known to other links all the same.
                [a, b]
                    .into_iter()
                    .for_each(|node| self.committed(node, now));
            }
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
                    self.seen.rebases += moved.rebased;
                    self.note_proven(at, &moved.proven);
                }
                // What was given up is missing, until a new link brings it.
                Err(error) if dropped => drop(error),
                // It begins again, on a disk that works or on another one.
                Err(error)
                    if error.contains("disk I/O error")
                        || error.contains("on the disk")
                        || error.contains(UNREAD) =>
                {
                    let io = error.contains("I/O") || error.contains(UNREAD);
                    self.seen.failures += u64::from(io);
                    self.links[at].cut(now.us + 100_000);
                    // It may have refused when a snapshot was in place already.
                    let swapped = (0..2).filter(|end| were[*end] != are[*end]);
                    swapped.for_each(|end| self.another([a, b][end], now));
                }
                // A donor gives its pages as they lie there: it has not met what they hold.
                Err(error)
                    if error.contains("a snapshot that is refused")
                        && [a, b].iter().any(|node| self.nodes[*node].damaged) =>
                {
                    self.links[at].cut(now.us + 100_000);
                }
                // The peer had it from another before its last piece was sent.
                Err(error) if error.contains("left the log while it was sent") => {
                    self.links[at].cut(now.us + 100_000);
                }
                // A link that ends by name; the next one settles it, or the nodes never rest.
                Err(error) if self.rewound || full || hostile.is_some() => {
                    self.links[at].ended = error;
                    self.links[at].cut(now.us + 100_000);
                }
                Err(error) => panic!("link {at}: {error}"),
            }
        }
    }

    /// A proof finds a difference only where disks lost what may come back, tombstones went without
    /// asking who was listed again, or pages hold something else and nobody has noticed.
    fn note_proven(&mut self, at: usize, proven: &[Proven]) {
        for proven in proven {
            self.seen.proofs += u64::from(!proven.stopped);
            self.seen.differing += u64::from(proven.differing > 0);
            let damaged = |node: &usize| self.nodes[*node].damaged;
            let damaged = self.links[at].nodes.iter().any(damaged);
            let may = self.forgot || self.rewound || self.readded || damaged;
            assert!(may || proven.differing == 0, "link {at}: {proven:?}");
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
        self.seen.others += 1;
        if !self.nodes[node].damaged {
            self.note_arrived(node);
        }
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
        self.hostile = None;
        for link in &mut self.links {
            link.cut(0);
        }
        for node in 0..3 {
            self.free_disk(node);
            if self.nodes[node].damaged {
                self.set_aside(node, 0);
            }
            self.set_clock(node);
        }
        if self.divided {
            // The two find together without the third.
            self.give_up();
            let away = self.removed.map_or(3, |removed| removed.0);
            let pair: Vec<usize> = (0..3).filter(|node| *node != away).collect();
            self.rest(&pair);
        }
        self.add_again(true);
        self.rest(&[0, 1, 2]);
    }

    /// Time passes until these nodes hold the same and nothing is under way.
    fn rest(&mut self, nodes: &[usize]) {
        let mut quiet = 0;
        for round in 1..=20_000 {
            self.advance();
            if round % 100 == 0 {
                (0..3).for_each(|node| self.restamp(node));
            }
            let frontier = self.store(nodes[0]).frontier();
            let same = nodes
                .iter()
                .all(|node| self.store(*node).frontier() == frontier);
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
