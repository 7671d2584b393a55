//! One `tutti serve` process with its own directories and loopback address, and its `ike`.

#![allow(clippy::unwrap_used, reason = "a test; a panic is its way to fail")]
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tutti::tunnel::message::{
    AhSuite, AhTraffic, Carried, Desired, Dropped, IkeEvent, IkeRequest, Integrity, LastError,
    PeerStatus, Presented, TunnelState,
};

pub const KEY: &str = "vary-9umbrella-Kilo42-tidal-basin";

/// Waits are generous and end on the event: machines are shared.
const PATIENCE: Duration = Duration::from_secs(90);

/// Certificates by their system.
type Held = Vec<(IpAddr, Presented)>;

/// What the stand-in for `ike` knows of every system of a test.
#[derive(Default)]
struct Tunnels {
    desired: Mutex<Vec<Desired>>,
    /// The newest connection on which each system said what it desires.
    newest: Mutex<HashMap<IpAddr, u64>>,
    cut: Mutex<Vec<IpAddr>>,
    /// Systems that take no announcement, with what they hold of each other one.
    deaf: Mutex<Vec<(IpAddr, Held)>>,
}

impl Tunnels {
    /// What `who` holds of the certificates of `other`.
    fn taken(&self, who: IpAddr, other: &Desired) -> Presented {
        let deaf = self.deaf.lock().unwrap();
        let held = deaf.iter().find(|(deaf, _)| *deaf == who);
        let held = held.and_then(|(_, all)| all.iter().find(|(a, _)| *a == other.list.local));
        held.map_or(other.certificate, |(_, held)| *held)
    }

    /// As the real tunnels would stand: both list each other, keys equal, neither cut.
    fn status(&self, own: &Desired) -> Vec<PeerStatus> {
        let all = self.desired.lock().unwrap();
        let cut = self.cut.lock().unwrap();
        let state = |address: IpAddr| {
            let other = all.iter().find(|other| other.list.local == address);
            let Some(other) = other.filter(|_| !cut.contains(&address)) else {
                return TunnelState::NoAnswer;
            };
            if cut.contains(&own.list.local) {
                return TunnelState::NoAnswer;
            }
            let methods = [other, own].map(|one| (&one.profile, one.certificates.is_some()));
            if methods[0] != methods[1] {
                return TunnelState::Failed("different IKE profile".into());
            }
            if other.key != own.key {
                return TunnelState::AuthenticationFailed;
            }
            if !other
                .list
                .peers
                .iter()
                .any(|peer| peer.address == own.list.local)
            {
                return TunnelState::NotListed;
            }
            TunnelState::Up {
                certificate: Some(self.taken(own.list.local, other)),
            }
        };
        let told = |address: IpAddr| state(address).is_up().then(|| self.taken(address, own));
        let peers = own.list.peers.iter();
        peers
            .map(|peer| {
                let state = state(peer.address);
                let up = state.is_up();
                PeerStatus {
                    told: told(peer.address),
                    spis: up.then_some((0x1234, 0xabcd)),
                    version: own.profile.version,
                    proposal: own.profile.ike.first().copied().filter(|_| up),
                    ah: up.then_some(AhSuite {
                        integrity: Integrity::HmacSha2_256_128,
                        esn: true,
                    }),
                    last_error: up.then_some(LastError {
                        state: TunnelState::NoAnswer,
                        blocked: false,
                        ago_ms: 60_000,
                    }),
                    ..PeerStatus::of(peer.address, state)
                }
            })
            .collect()
    }

    /// What a kernel might have counted: something different of everything.
    fn traffic(own: &Desired) -> Vec<(IpAddr, AhTraffic)> {
        let carried = |bytes| Carried {
            bytes,
            packets: bytes / 100,
        };
        let counted = AhTraffic {
            received: carried(100),
            sent: carried(200),
            replays: 3,
            integrity_failures: 4,
        };
        let peers = own.list.peers.iter();
        peers.map(|peer| (peer.address, counted)).collect()
    }
}

/// Speaks `ike.sock`: takes configurations, reports tunnels whenever they change.
fn speak(
    tunnels: &Tunnels,
    number: u64,
    mut stream: UnixStream,
    address: IpAddr,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(20)))?;
    let mut own: Option<Desired> = None;
    let mut said: Option<Vec<PeerStatus>> = None;
    loop {
        let mut length = [0; 4];
        match stream.read_exact(&mut length) {
            Ok(()) => {
                let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
                stream.set_read_timeout(None)?;
                stream.read_exact(&mut bytes)?;
                stream.set_read_timeout(Some(Duration::from_millis(20)))?;
                let request = postcard::from_bytes(&bytes).unwrap();
                if request == IkeRequest::Traffic {
                    let counted = own.as_ref().map(Tunnels::traffic);
                    let peers = counted.unwrap_or_default();
                    let dropped = Dropped {
                        payloads: 7,
                        ..Dropped::default()
                    };
                    say(&mut stream, &IkeEvent::Traffic { peers, dropped })?;
                }
                if let IkeRequest::Configure(desired) = request {
                    let mut newest = tunnels.newest.lock().unwrap();
                    let newest = newest.entry(address).or_default();
                    if number < *newest {
                        return Ok(());
                    }
                    *newest = number;
                    let mut all = tunnels.desired.lock().unwrap();
                    all.retain(|other| other.list.local != address);
                    all.extend(desired.clone());
                    own = desired;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => {
                // Its serve is gone, and its tunnel as far as this test is concerned; unless it
                // is already back on another connection.
                if tunnels.newest.lock().unwrap().get(&address) == Some(&number) {
                    let mut all = tunnels.desired.lock().unwrap();
                    all.retain(|other| other.list.local != address);
                }
                return Ok(());
            }
        }
        let status = own
            .as_ref()
            .map(|own| tunnels.status(own))
            .unwrap_or_default();
        if said.as_ref() != Some(&status) {
            say(&mut stream, &IkeEvent::Status(status.clone()))?;
            said = Some(status);
        }
    }
}

fn say(stream: &mut UnixStream, event: &IkeEvent) -> std::io::Result<()> {
    let bytes = postcard::to_stdvec(event).unwrap();
    stream.write_all(&(bytes.len() as u32).to_be_bytes())?;
    stream.write_all(&bytes)
}

/// REST over the local socket, as the command line does it.
fn call(dir: &Path, method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let words = |error: std::io::Error| error.to_string();
    let mut stream = UnixStream::connect(dir.join("run/serve.sock")).map_err(words)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(words)?;
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = format!(
        "{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).map_err(words)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(words)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("{head}\n{body}"));
    }
    serde_json::from_str(body).map_err(|error| format!("{error}: {body}"))
}

/// One system.
pub struct Peer {
    pub name: String,
    pub ip: String,
    dir: PathBuf,
    port: u16,
    /// Where HTTPS listens on loopback; 0: anywhere.
    https: u16,
    tunnels: Arc<Tunnels>,
    process: Option<Child>,
    host: Option<Child>,
}

impl Peer {
    fn new(dir: &Path, letter: char, ip: String, port: u16, tunnels: Arc<Tunnels>) -> Self {
        let dir = dir.join(letter.to_string());
        std::fs::create_dir_all(dir.join("run")).unwrap();
        let listener = UnixListener::bind(dir.join("run/ike.sock")).unwrap();
        let (all, address) = (tunnels.clone(), ip.parse().unwrap());
        std::thread::spawn(move || {
            for (number, stream) in (1..).zip(listener.incoming().flatten()) {
                let all = all.clone();
                std::thread::spawn(move || speak(&all, number, stream, address));
            }
        });
        let name = format!("peer-{letter}");
        let mut peer = Peer {
            name,
            ip,
            dir,
            port,
            https: 0,
            tunnels,
            process: None,
            host: None,
        };
        peer.restart();
        peer
    }

    /// Starts the process (again) and waits until it answers.
    pub fn restart(&mut self) {
        self.stop();
        let log = std::fs::File::create(self.dir.join("log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_tutti"))
            .args(["serve", "--no-host", "--http", "127.0.0.1:0"])
            .args(["--https", &format!("127.0.0.1:{}", self.https)])
            .args(["--address", &self.ip, "--name", &self.name])
            .args(["--replication-port", &self.port.to_string()])
            .arg("--run")
            .arg(self.dir.join("run"))
            .arg("--state")
            .arg(self.dir.join("state"))
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        self.wait(
            || self.call("GET", "/status", &Value::Null).is_ok(),
            "an answer",
        );
    }

    /// Gives it a host role that keeps these settings below its own directory and applies none.
    pub fn give_host(&mut self, settings: &str) {
        let state = self.dir.join("state");
        std::fs::create_dir_all(state.join("host")).unwrap();
        std::fs::write(state.join("host/settings.toml"), settings).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tutti"));
        command.arg("host").arg("--root").arg(self.dir.join("root"));
        command.arg("--run").arg(self.dir.join("run"));
        command.arg("--state").arg(state);
        command.stderr(std::process::Stdio::null());
        self.host = Some(command.spawn().unwrap());
        let there = || self.call("GET", "/settings", &Value::Null).is_ok();
        self.wait(there, "the host role");
    }

    /// Restarts it with HTTPS at a port that is free now; its URL.
    pub fn open_web(&mut self) -> String {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        self.https = free.local_addr().unwrap().port();
        drop(free);
        self.restart();
        format!("https://127.0.0.1:{}", self.https)
    }

    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        self.process.take().unwrap().wait().unwrap().code()
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        call(&self.dir, method, path, body)
    }

    /// One request over the local socket, whatever its path: status, media type and body.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, String, String) {
        let mut stream = UnixStream::connect(self.dir.join("run/serve.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let kind = head
            .lines()
            .find_map(|line| line.strip_prefix("content-type: "));
        (status, kind.unwrap_or_default().to_owned(), body.to_owned())
    }

    /// A command of the command line, as root types it: whether it went well, what it printed, and
    /// what it complained about.
    pub fn run(&self, words: &[&str]) -> (bool, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tutti"));
        command.arg("--run").arg(self.dir.join("run")).args(words);
        let output = command.output().unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        (
            output.status.success(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    pub fn try_get(&self, path: &str) -> Result<Value, String> {
        self.call("GET", path, &Value::Null)
    }

    pub fn get(&self, path: &str) -> Value {
        self.try_get(path).unwrap()
    }

    pub fn post(&self, path: &str, body: Value) {
        self.call("POST", path, &body).unwrap();
    }

    pub fn try_post(&self, path: &str) -> Result<Value, String> {
        self.call("POST", path, &json!({}))
    }

    pub fn put(&self, path: &str, body: Value) {
        self.call("PUT", path, &body).unwrap();
    }

    pub fn delete(&self, path: &str, key: Value) {
        self.call("DELETE", path, &key).unwrap();
    }

    /// `tutti tables import FILE`, the way a person does it.
    pub fn import(&self, file: &Path) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tutti"));
        command.arg("--run").arg(self.dir.join("run"));
        command.args(["tables", "import"]).arg(file);
        let output = command.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {words}", self.name);
    }

    /// The file of its replicated rows.
    pub fn database(&self) -> PathBuf {
        self.dir.join("state/serve/replicated.db")
    }

    /// A copy of that file and its WAL in `to`: what runs lets nobody else open its own.
    pub fn copy_database(&self, to: &Path) -> PathBuf {
        let from = self.database();
        let copy = to.join("replicated.db");
        for suffix in ["", "-wal"] {
            let with = |path: &Path| format!("{}{suffix}", path.display());
            std::fs::copy(with(&from), with(&copy)).unwrap();
        }
        copy
    }

    pub fn try_set(&self, mut fields: Value) -> Result<Value, String> {
        if let Some(fields) = fields.as_object_mut() {
            fields.entry("join").or_insert(true.into());
        }
        self.call("PUT", "/cluster", &fields)
    }

    pub fn set(&self, fields: Value) {
        self.try_set(fields).unwrap();
    }

    /// The texts of the table `note`, in key order.
    pub fn texts(&self) -> Vec<String> {
        let rows = self.get("/tables/note/rows");
        let rows = rows["rows"].as_array().unwrap().iter();
        rows.map(|row| row["text"].as_str().unwrap().to_owned())
            .collect()
    }

    /// What it said in its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// What every system of the test shows of its peers, and what it said.
    fn all_seen(&self) -> String {
        let mut seen = String::new();
        for letter in ["a", "b", "c"] {
            let dir = self.dir.with_file_name(letter);
            let peers = call(&dir, "GET", "/peers", &Value::Null).unwrap_or_default();
            let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            write!(seen, "\npeer-{letter}, peers: {peers}\n{log}").unwrap();
        }
        seen
    }

    /// Its event log, as the command line has it.
    pub fn events(&self) -> String {
        self.get("/events").to_string()
    }

    pub fn wait(&self, done: impl Fn() -> bool, what: &str) {
        self.wait_mut(done, what);
    }

    pub fn wait_mut(&self, mut done: impl FnMut() -> bool, what: &str) {
        let start = Instant::now();
        while !done() {
            assert!(
                start.elapsed() < PATIENCE,
                "{} waited in vain for {what}{}",
                self.name,
                self.all_seen(),
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn wait_state(&self, address: &str, state: &str) {
        let there = || {
            let peers = self.get("/peers");
            let peers = peers["peers"].as_array().unwrap();
            peers
                .iter()
                .any(|peer| peer["address"] == address && peer["state"] == state)
        };
        self.wait(there, &format!("{address} to be {state:?}"));
    }

    /// Cuts or heals all tunnels of this system.
    pub fn tunnels(&self, up: bool) {
        let address: IpAddr = self.ip.parse().unwrap();
        let mut cut = self.tunnels.cut.lock().unwrap();
        cut.retain(|other| *other != address);
        if !up {
            cut.push(address);
        }
    }

    /// Lets this system take announcements of the others, or none from now on.
    pub fn hears(&self, hears: bool) {
        let address: IpAddr = self.ip.parse().unwrap();
        let all = self.tunnels.desired.lock().unwrap();
        let mut deaf = self.tunnels.deaf.lock().unwrap();
        deaf.retain(|(other, _)| *other != address);
        if !hears {
            let held = all.iter().map(|one| (one.list.local, one.certificate));
            deaf.push((address, held.collect()));
        }
    }

    /// How many databases lie beside the present one under names that start so.
    fn named(&self, start: &str) -> usize {
        let files = std::fs::read_dir(self.dir.join("state/serve")).unwrap();
        let names = files.flatten().map(|file| file.file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        names
            .filter(|name| name.starts_with(start) && name.ends_with(".db"))
            .count()
    }

    pub fn has_backup(&self) -> bool {
        self.named("backup-") > 0
    }

    /// How many damaged databases are kept.
    pub fn aside(&self) -> usize {
        self.named("damaged-")
    }

    pub fn peers_file(&self) -> PathBuf {
        self.dir.join("run/peers.json")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
        if let Some(mut host) = self.host.take() {
            let _ = host.kill();
            let _ = host.wait();
        }
    }
}

/// Three systems, standalone at first.
pub struct Cluster {
    pub peers: [Peer; 3],
    _dir: tempfile::TempDir,
}

/// Each test has a /24 of loopback of its own, so that tests run side by side.
static NEXT: AtomicU16 = AtomicU16::new(1);

impl Cluster {
    pub fn start(test: &str) -> Self {
        let dir = tempfile::Builder::new().prefix(test).tempdir().unwrap();
        // And each process has 16 of them.
        let process = std::process::id();
        let host = process % 200 + 20;
        let net = process / 200 % 15 * 16 + u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let tunnels = Arc::new(Tunnels::default());
        let peers = [('a', 11), ('b', 12), ('c', 13)].map(|(letter, last)| {
            let ip = format!("127.{host}.{net}.{last}");
            Peer::new(dir.path(), letter, ip, 24_372, tunnels.clone())
        });
        Self { peers, _dir: dir }
    }

    /// The first two form a cluster.
    pub fn form_pair(&self) {
        let [a, b, _] = &self.peers;
        a.set(json!({ "key": KEY, "peer1": a.ip }));
        a.set(json!({ "peer1": a.ip, "peer2": b.ip }));
        b.set(json!({ "key": KEY, "peer1": a.ip, "peer2": b.ip }));
        a.wait_state(&b.ip, "Active as peer-b");
        b.wait_state(&a.ip, "Active as peer-a");
    }

    /// All three form a cluster.
    pub fn form(&self) {
        self.form_pair();
        let [a, b, c] = &self.peers;
        let all = json!({ "peer1": a.ip, "peer2": b.ip, "peer3": c.ip });
        a.set(all.clone());
        b.set(all);
        c.set(json!({ "key": KEY, "peer1": a.ip, "peer2": b.ip, "peer3": c.ip }));
        self.wait_active();
    }

    /// Waits until everybody streams with everybody.
    pub fn wait_active(&self) {
        for peer in &self.peers {
            for other in self.peers.iter().filter(|other| other.ip != peer.ip) {
                peer.wait_state(&other.ip, &format!("Active as {}", other.name));
            }
        }
    }
}
