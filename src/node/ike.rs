//! The `ike` role: drives [`Tunnels`] with datagrams, timers, and words from `serve` and `keyer`.
//!
//! Its input is hostile until authenticated, so it has no privilege: `keyer` performs what it
//! decides, `serve` tells it what to want. On disk it keeps one secret, that of quick crash
//! detection.

mod arrivals;
mod converse;
mod counters;
mod desired;
mod keylog;
mod takeover;
mod unanswered;

use std::future;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::ipc::{self, Allowed, Connection};
use super::pulse::Pulse;
use super::{Dirs, kept};
use crate::ike::Certified;
use crate::sys::socket;
use crate::tls::IkeCertificates;
use crate::tunnel::message::{Desired, KeyerReply, KeyerRequest, PeerStatus};
use crate::tunnel::{Transmit, Tunnels};
use converse::{Asked, Words, converse};
use keylog::KeyLog;
use unanswered::Unanswered;

/// The ISAKMP port (RFC 7296 section 2).
const ISAKMP_PORT: u16 = 500;

/// Changes of state that a slow client may lag behind by; more are dropped, and the log says so.
const CHANGES: usize = 256;

/// How long to wait before looking for `keyer`, or for our address, again.
const RETRY: Duration = Duration::from_millis(200);

/// How long what `keyer` has not answered waits for the next one. A peer waits longer for us.
const KEYER_AWAY: Duration = Duration::from_secs(5);

/// Longest datagram; ISAKMP may fill UDP.
const DATAGRAM_BYTES: usize = 65_535;

/// Options of `tutti ike`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Another user that may configure tunnels, besides root and tutti-serve.
    #[arg(long = "allow-user", value_name = "USER")]
    allow_users: Vec<String>,
    /// Configure from this file (TOML, mode 0600) instead of by `serve`; for laboratories.
    #[arg(long, value_name = "FILE")]
    desired: Option<PathBuf>,
    /// Append the keys of all IKE SAs to this file, for tshark: whoever reads it reads everything.
    #[arg(long, value_name = "FILE")]
    key_log: Option<PathBuf>,
}

/// Runs the role until it is stopped.
pub fn run(dirs: &Dirs, args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(dirs.clone(), args))
}

async fn serve(dirs: Dirs, args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let allowed = Allowed::new("tutti-serve", &args.allow_users)?;
    let listener = ipc::listen(&dirs.run.join("ike.sock"), 0o660)?;
    let (configure, configured) = mpsc::channel(16);
    let (publish, status) = watch::channel(Vec::new());
    let (changes, _) = broadcast::channel(CHANGES);
    let news = (publish, changes.clone());
    let mut node = Ike::new(dirs.run.join("keyer.sock"), news)?;
    let place = std::env::var_os("STATE_DIRECTORY").map_or(dirs.state.clone(), PathBuf::from);
    node.remember(&place);
    node.key_log = args.key_log.as_deref().map(KeyLog::open).transpose()?;
    if let Some(path) = &args.desired {
        let (desired, lifetimes) = desired::read(path)?;
        if let Some([child, ike]) = lifetimes {
            node.tunnels.set_lifetimes(child * 1000, ike * 1000);
        }
        node.configure(Some(desired)).await;
    }
    let (silence, silent) = watch::channel(Vec::new());
    let (block, blocked) = watch::channel(Vec::new());
    let arriving = arrivals::watch(
        dirs.run.join("keyer.sock"),
        silent,
        block,
        configure.clone(),
    );
    tokio::spawn(arriving);
    let awaited = node.awaited.subscribe();
    let watching = takeover::watch(dirs.run.join("keyer.sock"), awaited, configure.clone());
    tokio::spawn(watching);
    let words = Words {
        ask: configure,
        status,
        changes,
        silence,
        blocked,
        keyer: dirs.run.join("keyer.sock"),
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!("ike role ready");
    let accepting = async {
        let mut number = 0;
        loop {
            let connection = ipc::accept(&listener, &allowed).await?;
            number += 1;
            let task = converse(number, connection, words.clone());
            tokio::spawn(async {
                if let Err(error) = task.await {
                    tracing::warn!("connection from serve ended: {error}");
                }
            });
        }
    };
    tokio::select! {
        result = accepting => result,
        () = node.drive(configured) => Ok(()),
    }
}

type Keyer = Connection<KeyerRequest, KeyerReply>;

/// The core and all that it is driven with.
struct Ike {
    tunnels: Tunnels,
    began: Instant,
    /// Our own address, once configured.
    local: Option<IpAddr>,
    /// Number of the newest connection that configured.
    configured_by: u64,
    socket: Option<AsyncFd<UdpSocket>>,
    /// Whether the socket came from systemd and so is never rebound.
    inherited: bool,
    keyer_path: PathBuf,
    keyer: Option<Keyer>,
    /// Since when there is none.
    missing_since: Option<Instant>,
    /// When to look again for what is missing.
    look_at: Instant,
    /// Why the address cannot be used, as it was told.
    unbound: String,
    unanswered: Unanswered,
    publish: watch::Sender<Vec<PeerStatus>>,
    changes: broadcast::Sender<PeerStatus>,
    /// Inbound SAs by which traffic is waited for.
    awaited: watch::Sender<takeover::Awaited>,
    /// Where the digest of the last settings is, and its key.
    settings: Option<(PathBuf, Zeroizing<[u8; 32]>)>,
    /// The digest of these settings, until what was of others is gone.
    unkept: Option<kept::Digest>,
    key_log: Option<KeyLog>,
}

impl Ike {
    fn new(
        keyer_path: PathBuf,
        (publish, changes): (
            watch::Sender<Vec<PeerStatus>>,
            broadcast::Sender<PeerStatus>,
        ),
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let socket = match socket::inherited_udp("isakmp")? {
            Some(socket) => Some(socket::wait_on(socket, Interest::READABLE)?),
            None => None,
        };
        Ok(Self {
            tunnels: Tunnels::new(Box::new(SystemRandom)),
            began: Instant::now(),
            local: None,
            configured_by: 0,
            inherited: socket.is_some(),
            socket,
            keyer_path,
            keyer: None,
            missing_since: None,
            look_at: Instant::now(),
            unbound: String::new(),
            unanswered: Unanswered::default(),
            publish,
            changes,
            awaited: watch::Sender::default(),
            settings: None,
            unkept: None,
            key_log: None,
        })
    }

    /// Milliseconds of the monotonic clock since the start.
    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Takes up what was kept before a restart.
    fn remember(&mut self, place: &Path) {
        match kept::secret(&place.join("ike-tokens")) {
            Ok(secret) => {
                self.tunnels.set_token_secret(secret.clone());
                self.settings = Some((place.join("ike-settings"), secret));
            }
            Err(error) => tracing::warn!(
                "peers notice a restart later, and traffic pauses: no secret in {}: {error}",
                place.display()
            ),
        }
    }

    /// SAs of before a restart carry on if `desired` is what it was.
    fn compare(&mut self, desired: &Desired) {
        let Some((path, secret)) = &self.settings else {
            return;
        };
        match kept::compare(path, secret, desired) {
            Ok(None) => self.tunnels.keep_standing(),
            Ok(other) => self.unkept = other,
            Err(error) => tracing::warn!("cannot read {}: {error}", path.display()),
        }
    }

    /// The kernel holds nothing of other settings any more: SAs may carry on over a restart.
    fn keep_settings(&mut self) {
        let settled = self.keyer.is_some() && self.unanswered.is_empty();
        if let (Some((path, _)), true) = (&self.settings, settled)
            && let Some(digest) = self.unkept.take()
            && let Err(error) = std::fs::write(path, digest)
        {
            tracing::warn!("cannot write {}: {error}", path.display());
        }
    }

    async fn configure(&mut self, desired: Option<Desired>) {
        if let Some(desired) = &desired {
            self.compare(desired);
        }
        let local = desired.as_ref().map(|desired| desired.list.local);
        if self.local != local {
            // What stands belongs to the address that goes, and so do its farewells.
            if self.local.is_some() {
                self.tunnels.configure(self.now(), None, None);
            }
            while let Some(transmit) = self.tunnels.poll_transmit() {
                self.send(&transmit);
            }
            if !self.inherited {
                self.socket = None;
            }
            self.local = local;
            self.look_at = Instant::now();
            self.unbound.clear();
        }
        let given = desired.as_ref().and_then(|d| d.certificates.as_ref());
        let certified: Option<Arc<dyn Certified>> = match given.map(|c| IkeCertificates::new(c)) {
            None => None,
            Some(Ok(certificates)) => Some(Arc::new(certificates)),
            Some(Err(error)) => {
                // Never the key instead: without usable certificates there is no tunnel.
                tracing::error!("no tunnels: {error}");
                return self.tunnels.configure(self.now(), None, None);
            }
        };
        self.tunnels.configure(self.now(), desired, certified);
    }

    async fn asked(&mut self, asked: Asked) {
        match asked {
            // `serve` says something new on a new connection, and each is read by a task of its
            // own: what it said before may come after.
            Asked::Configure(number, _) if number < self.configured_by => {}
            Asked::Configure(number, desired) => {
                self.configured_by = number;
                self.configure(desired.map(|desired| *desired)).await;
            }
            Asked::Refresh => self.publish_status(),
            Asked::Arrived(peer, spi) => self.tunnels.handle_arrived(self.now(), peer, spi),
            Asked::Standing(peer, spis) => {
                self.tunnels.handle_standing(self.now(), peer, &spis);
            }
            Asked::Blocked(peers) => self.tunnels.handle_blocked(self.now(), peers),
            Asked::Dropped(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.tunnels.dropped());
            }
        }
    }

    /// Runs for ever: waits for whatever comes first, gives it to the core, does what it says.
    async fn drive(&mut self, mut asked: mpsc::Receiver<Asked>) {
        let mut buffer = vec![0; DATAGRAM_BYTES];
        let mut pulse = Pulse::as_asked();
        loop {
            self.act().await;
            pulse.beat();
            let deadline = self.tunnels.poll_timeout();
            let deadline = deadline.map(|at| self.began + Duration::from_millis(at));
            let missing = self.keyer.is_none() || (self.socket.is_none() && self.local.is_some());
            tokio::select! {
                received = receive(self.socket.as_ref(), &mut buffer) => match received {
                    Ok((length, from)) => {
                        let now = self.now();
                        self.tunnels.handle_datagram(now, from, &buffer[..length]);
                    }
                    // An ICMP error that came back for an earlier datagram: timers cover it.
                    Err(error) => tracing::debug!("UDP 500: {error}"),
                },
                reply = hear(self.keyer.as_mut()) => self.heard(reply),
                request = asked.recv() => match request {
                    Some(asked) => self.asked(asked).await,
                    None => return,
                },
                () = sleep_until(deadline) => {
                    let now = self.now();
                    self.tunnels.handle_timeout(now);
                }
                () = tokio::time::sleep_until(self.look_at), if missing => {}
                () = pulse.due() => {}
            }
        }
    }

    /// Does all that the core wants done, and finds again what is missing.
    async fn act(&mut self) {
        self.find_missing().await;
        self.give_up_keyer();
        if let Some(log) = &mut self.key_log {
            log.note(self.tunnels.key_log());
        }
        // Without a keyer its requests wait in the core.
        if let Some(keyer) = &mut self.keyer {
            let requests: Vec<_> = std::iter::from_fn(|| self.tunnels.poll_keyer()).collect();
            if !requests.is_empty() {
                let sent = keyer.send_all(&requests).await;
                // It may have done them all the same.
                self.unanswered.add(requests);
                if let Err(error) = sent {
                    self.lose_keyer(&error.to_string());
                }
            }
        }
        // What a datagram promises must stand first: a peer that hears of an SA before our kernel
        // has it, or of a deletion before our kernel stopped sending, loses packets.
        while self.unanswered.is_empty() {
            let Some(transmit) = self.tunnels.poll_transmit() else {
                break;
            };
            self.send(&transmit);
        }
        while let Some(status) = self.tunnels.poll_change() {
            tracing::info!("tunnel to {}: {}", status.address, status.state);
            // Nobody connected: whoever connects is told how all tunnels stand.
            let _ = self.changes.send(status);
        }
        self.keep_settings();
        let awaited = self.tunnels.awaited();
        self.awaited.send_if_modified(|old| {
            let changed = *old != awaited;
            *old = awaited;
            changed
        });
        // It tells of what stands, so not between a request to the keyer and its answer.
        if self.unanswered.is_empty() && self.tunnels.status_changed() {
            self.publish_status();
        }
    }

    /// Whatever else there is to do meanwhile, it is looked for once in a while only.
    async fn find_missing(&mut self) {
        if Instant::now() < self.look_at {
            return;
        }
        self.look_at = Instant::now() + RETRY;
        if self.keyer.is_none() {
            self.find_keyer().await;
        }
        if let (None, Some(local)) = (&self.socket, self.local) {
            let bound = socket::udp_freebind((local, ISAKMP_PORT).into());
            match bound.and_then(|bound| socket::wait_on(bound, Interest::READABLE)) {
                Ok(socket) => {
                    self.socket = Some(socket);
                    self.unbound.clear();
                }
                Err(error) => {
                    let why = format!("cannot bind UDP 500 on {local}: {error}");
                    if self.unbound != why {
                        tracing::error!("{why}");
                        self.unbound = why;
                    }
                }
            }
        }
    }

    async fn find_keyer(&mut self) {
        let found = async {
            let mut keyer = Connection::connect(&self.keyer_path).await?;
            keyer.send_all(&self.unanswered.again()).await?;
            Ok::<_, ipc::IpcError>(keyer)
        };
        match found.await {
            Ok(keyer) => {
                self.keyer = Some(keyer);
                self.missing_since = None;
                self.tunnels.set_keyerless(self.now(), false);
                self.tunnels.keyer_back();
            }
            Err(error) => {
                let since = *self.missing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= KEYER_AWAY && self.tunnels.set_keyerless(self.now(), true) {
                    tracing::warn!("no tunnel can come up: {error}");
                }
            }
        }
    }

    fn send(&self, transmit: &Transmit) {
        let (Some(socket), Some(local)) = (&self.socket, self.local) else {
            return;
        };
        let sent = socket::send_from(socket, local, transmit.to, &transmit.bytes);
        if let Err(error) = sent {
            // Retransmission covers it, a full buffer too; a route may still be missing at boot.
            tracing::debug!("cannot send to {}: {error}", transmit.to);
        }
    }

    fn heard(&mut self, reply: Result<Option<KeyerReply>, ipc::IpcError>) {
        match reply {
            Ok(Some(reply)) => {
                if is_answer(&reply) {
                    self.unanswered.pop();
                }
                let now = self.now();
                self.tunnels.handle_keyer(now, reply);
            }
            Ok(None) => self.lose_keyer("it closed the connection"),
            Err(error) => self.lose_keyer(&error.to_string()),
        }
    }

    /// Its SAs and policies stay in the kernel; the next one is asked what it has not answered.
    fn lose_keyer(&mut self, why: &str) {
        tracing::warn!("lost keyer: {why}");
        self.keyer = None;
        self.unanswered.wait_until(Instant::now() + KEYER_AWAY);
    }

    /// No other `keyer` came: what it was asked counts as refused.
    fn give_up_keyer(&mut self) {
        if self.keyer.is_some() || !self.unanswered.is_over(Instant::now()) {
            return;
        }
        while self.unanswered.pop() {
            let reply = KeyerReply::Failed("keyer went away".into());
            self.tunnels.handle_keyer(self.now(), reply);
        }
    }

    fn publish_status(&self) {
        self.publish.send_replace(self.tunnels.status(self.now()));
    }
}

/// Whether a reply answers a request, rather than coming unasked.
fn is_answer(reply: &KeyerReply) -> bool {
    !matches!(
        reply,
        KeyerReply::Acquire { .. } | KeyerReply::Expired { .. }
    )
}

async fn receive(
    socket: Option<&AsyncFd<UdpSocket>>,
    buffer: &mut [u8],
) -> std::io::Result<(usize, SocketAddr)> {
    let Some(socket) = socket else {
        return future::pending().await;
    };
    loop {
        let mut ready = socket.readable().await?;
        let Ok(received) = ready.try_io(|socket| socket.get_ref().recv_from(buffer)) else {
            continue;
        };
        let (length, from) = received?;
        // A dual-stack socket shows IPv4 peers as IPv6 ones.
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        return Ok((length, from));
    }
}

async fn hear(keyer: Option<&mut Keyer>) -> Result<Option<KeyerReply>, ipc::IpcError> {
    match keyer {
        Some(keyer) => keyer.recv().await,
        None => future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => future::pending().await,
    }
}

/// The operating system's random numbers.
struct SystemRandom;

impl crate::ike::Random for SystemRandom {
    fn fill(&mut self, out: &mut [u8]) {
        // Without randomness no key may be made: stopping is the only safe answer.
        if let Err(error) = getrandom::fill(out) {
            tracing::error!("no random numbers: {error}");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests;
