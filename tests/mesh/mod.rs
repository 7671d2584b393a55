//! Real processes that replicate over mutual TLS on loopback: the product's own store, node and
//! links, driven by orders on standard input. Only the tunnels are a stand-in: the parent says
//! which stand and with what certificates, as `ike` would.
#![allow(
    dead_code,
    reason = "each program that includes this uses a part of it"
)]

pub mod node;

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tutti::tunnel::message::CertDigest;

const KEY: &str = "vary-9umbrella-Kilo42-tidal-basin";

/// What a process is told to do; it answers each in order, with [`Reply`].
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Saves the cluster fields, as the page does.
    Cluster([String; 3]),
    /// Which peers' tunnels stand, and whose certificates they proved.
    Tunnels(Vec<(IpAddr, CertDigest)>),
    /// Waits until it is a member and streams with so many peers.
    Active(usize),
    /// Inserts the rows `from..to`, `size` in each transaction.
    Fill { from: i64, to: i64, size: i64 },
    /// Waits until it holds transaction `seq` of `origin`.
    Reach { origin: u64, seq: u64 },
    /// Inserts the rows `from..to`, one in each transaction, `per_s` a second; each with the time
    /// of the commit call.
    Pace { from: i64, to: i64, per_s: f64 },
    /// Waits until the rows `from..to` of a paced writer are readable and durable here, and
    /// measures how long each took since its commit call; `origin` had issued `seq` before.
    Watch {
        from: i64,
        to: i64,
        origin: u64,
        seq: u64,
    },
    /// Digest over all rows.
    Digest,
    /// How many transactions it durably holds.
    Transactions,
    /// From now on tells what happens to it, by [`Reply`]s that answer nothing.
    Follow,
}

/// A process's answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// It is up.
    Ready { certificate: CertDigest },
    /// Done, at this time (microseconds since 1970), having issued `seq` as `origin` so far.
    Done { at_us: u64, origin: u64, seq: u64 },
    /// Milliseconds from commit call to readable, for each row watched.
    Seen(Vec<f64>),
    /// The digest asked for.
    Digest([u8; 32]),
    /// How many transactions of all origins it durably holds.
    Transactions(u64),
    /// It could not.
    Failed(String),
    /// It durably holds so many transactions.
    Held(u64),
    /// So many percent of a snapshot are there.
    Joining(u8),
    /// A moment has passed while a whole snapshot is made its database.
    Moment,
    /// It is a member.
    Member,
}

/// Microseconds since 1970.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |elapsed| elapsed.as_micros() as u64)
}

/// One process.
pub struct Process {
    pub address: IpAddr,
    pub dir: PathBuf,
    pub certificate: CertDigest,
    child: Child,
    orders: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Process {
    /// Starts `command`, which ends up in [`node::main`], for `dir` and `address`.
    fn start(mut command: Command, dir: &Path, address: IpAddr) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let mut child = command
            .env(node::DIR, dir)
            .env(node::ADDRESS, address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let replies = BufReader::new(child.stdout.take().unwrap());
        let mut process = Process {
            address,
            dir: dir.to_owned(),
            certificate: [0; 32],
            child,
            orders,
            replies,
        };
        let Reply::Ready { certificate } = process.reply() else {
            panic!("the process at {address} did not start");
        };
        process.certificate = certificate;
        process
    }

    /// Ends it at once, wherever it is (SIGKILL).
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Gives an order without waiting for its answer.
    pub fn order(&mut self, order: &Order) {
        let mut line = serde_json::to_string(order).unwrap();
        line.push('\n');
        self.orders.write_all(line.as_bytes()).unwrap();
    }

    /// The next answer.
    pub fn reply(&mut self) -> Reply {
        let mut line = String::new();
        // A test harness prints words of its own before the first answer.
        let start = loop {
            line.clear();
            let length = self.replies.read_line(&mut line).unwrap();
            assert!(length > 0, "{} has ended", self.address);
            match line.find(['{', '"']) {
                Some(start) => break start,
                None => continue,
            }
        };
        let reply = serde_json::from_str(&line[start..]);
        let reply = reply.unwrap_or_else(|error| panic!("{}: {error}: {line}", self.address));
        if let Reply::Failed(why) = reply {
            panic!("{}: {why}", self.address);
        }
        reply
    }

    /// The next answer, whatever happened before it.
    fn answer(&mut self) -> Reply {
        loop {
            match self.reply() {
                Reply::Held(_) | Reply::Joining(_) | Reply::Moment | Reply::Member => {}
                answer => return answer,
            }
        }
    }

    /// Waits for [`Reply::Done`]: when, and the process's origin and sequence number then.
    pub fn done(&mut self) -> (u64, u64, u64) {
        match self.answer() {
            Reply::Done { at_us, origin, seq } => (at_us, origin, seq),
            other => panic!("{}: {other:?}", self.address),
        }
    }

    /// Its origin and its latest sequence number.
    pub fn position(&mut self) -> (u64, u64) {
        let (_, origin, seq) = self.run(&Order::Active(0));
        (origin, seq)
    }

    /// How many transactions it durably holds, of all origins.
    pub fn transactions(&mut self) -> u64 {
        self.order(&Order::Transactions);
        match self.answer() {
            Reply::Transactions(count) => count,
            other => panic!("{}: {other:?}", self.address),
        }
    }

    /// An order and its end.
    pub fn run(&mut self, order: &Order) -> (u64, u64, u64) {
        self.order(order);
        self.done()
    }

    /// Digest over all rows.
    pub fn digest(&mut self) -> [u8; 32] {
        self.order(&Order::Digest);
        match self.answer() {
            Reply::Digest(digest) => digest,
            other => panic!("{}: {other:?}", self.address),
        }
    }

    /// A size in megabytes from `/proc/PID/status`: `VmRSS` now, `VmHWM` the most so far.
    pub fn memory_mb(&self, field: &str) -> f64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let mut lines = status.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(name, _)| *name == field).unwrap();
        let kib: f64 = value.split_whitespace().next().unwrap().parse().unwrap();
        kib * 1024.0 / 1e6
    }

    /// Lets `VmHWM` start over.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    /// Its database file.
    pub fn database(&self) -> PathBuf {
        self.dir.join("replicated.db")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Up to three processes that list each other.
pub struct Mesh {
    pub peers: Vec<Process>,
    dir: tempfile::TempDir,
    command: fn() -> Command,
    started: usize,
    addresses: [IpAddr; 3],
}

/// Each mesh has a /24 of loopback of its own, so that several run side by side.
fn addresses() -> [IpAddr; 3] {
    static NEXT: AtomicU8 = AtomicU8::new(200);
    let net = NEXT.fetch_add(1, Ordering::Relaxed);
    let host = std::process::id() % 200 + 20;
    [11, 12, 13].map(|last| IpAddr::V4(Ipv4Addr::new(127, host as u8, net, last)))
}

impl Mesh {
    /// The first process: a cluster of its own, with the other two listed already.
    pub fn found(dir: tempfile::TempDir, command: fn() -> Command) -> Self {
        let mut mesh = Mesh {
            peers: Vec::new(),
            dir,
            command,
            started: 0,
            addresses: addresses(),
        };
        let first = mesh.start();
        mesh.peers.push(first);
        let fields = mesh.fields();
        let alone = [fields[0].clone(), String::new(), String::new()];
        mesh.peers[0].run(&Order::Cluster(alone));
        mesh.peers[0].run(&Order::Cluster(fields));
        mesh
    }

    fn fields(&self) -> [String; 3] {
        self.addresses.map(|address| address.to_string())
    }

    /// Starts the next process, empty and without tunnels.
    fn start(&mut self) -> Process {
        let address = self.addresses[self.peers.len()];
        self.started += 1;
        let dir = self.dir.path().join(self.started.to_string());
        Process::start((self.command)(), &dir, address)
    }

    /// One more process, with its cluster fields saved, but no tunnels yet.
    pub fn add(&mut self) -> &mut Process {
        let mut process = self.start();
        process.run(&Order::Cluster(self.fields()));
        self.peers.push(process);
        let last = self.peers.len() - 1;
        &mut self.peers[last]
    }

    /// Starts a process again, which is killed if it runs, with what it had on disk, without
    /// tunnels.
    pub fn restart(&mut self, index: usize) {
        let old = &mut self.peers[index];
        old.kill();
        let process = Process::start((self.command)(), &old.dir, old.address);
        self.peers[index] = process;
    }

    /// One more process: it takes the first one's snapshot. Returns how long that took, from its
    /// tunnels up to streaming as a member, in seconds.
    pub fn join(&mut self) -> f64 {
        self.add();
        let began = now_us();
        self.tunnels(&[]);
        let others = self.peers.len() - 1;
        for peer in &mut self.peers {
            peer.order(&Order::Active(others));
        }
        let ends: Vec<u64> = self.peers.iter_mut().map(|peer| peer.done().0).collect();
        (ends[others] - began) as f64 / 1e6
    }

    /// Ends the youngest process.
    pub fn leave(&mut self) {
        self.peers.pop();
        self.tunnels(&[]);
    }

    /// All tunnels stand except those of the processes numbered in `cut`.
    pub fn tunnels(&mut self, cut: &[usize]) {
        let standing = |index: &usize| !cut.contains(index);
        let all: Vec<_> = (0..self.peers.len())
            .filter(standing)
            .map(|index| (self.peers[index].address, self.peers[index].certificate))
            .collect();
        for (index, peer) in self.peers.iter_mut().enumerate() {
            let others = all.iter().filter(|(address, _)| *address != peer.address);
            let up = if cut.contains(&index) {
                Vec::new()
            } else {
                others.copied().collect()
            };
            peer.run(&Order::Tunnels(up));
        }
    }

    /// Waits until everybody holds what `writer` has issued up to now; returns when the last did.
    pub fn settle(&mut self, origin: u64, seq: u64) -> u64 {
        for peer in &mut self.peers {
            peer.order(&Order::Reach { origin, seq });
        }
        let ends = self.peers.iter_mut().map(|peer| peer.done().0);
        ends.max().unwrap_or(0)
    }
}
