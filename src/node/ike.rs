//! The `ike` role: drives [`Tunnels`] with datagrams, timers, and words from `serve` and `keyer`.
//!
//! Its input is hostile until authenticated, so it has no privilege: `keyer` performs what it
//! decides, `serve` tells it what to want. On disk it keeps one secret, that of quick crash
//! detection.

use std::collections::{BTreeMap, VecDeque};
use std::future;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::ipc::{self, Allowed, Connection};
use super::{Dirs, token_secret};
use crate::ike::Certified;
use crate::ike::suite::SuiteError;
use crate::sys::socket;
use crate::tls::IkeCertificates;
use crate::tunnel::message::{
    Certificates, Desired, IkeEvent, IkeRequest, KeyerReply, KeyerRequest, Peer, PeerList,
    PeerStatus, Profile, Secret, reqid,
};
use crate::tunnel::{Transmit, Tunnels};

/// The ISAKMP port (RFC 7296 section 2).
const ISAKMP_PORT: u16 = 500;

/// How long to wait before looking for `keyer`, or for our address, again.
const RETRY: Duration = Duration::from_secs(1);

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
    let mut node = Ike::new(dirs.run.join("keyer.sock"), publish)?;
    let place = std::env::var_os("STATE_DIRECTORY").map_or(dirs.state.clone(), PathBuf::from);
    match token_secret::load(&place.join("ike-tokens")) {
        Ok(secret) => node.tunnels.set_token_secret(secret),
        Err(error) => tracing::warn!(
            "peers will notice a restart later: no secret in {}: {error}",
            place.display()
        ),
    }
    if let Some(path) = &args.desired {
        let (desired, lifetimes) = read_desired(path)?;
        if let Some([child, ike]) = lifetimes {
            node.tunnels.set_lifetimes(child * 1000, ike * 1000);
        }
        node.configure(Some(desired)).await;
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let accepting = async {
        loop {
            let connection = ipc::accept(&listener, &allowed).await?;
            let task = converse(connection, configure.clone(), status.clone());
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

/// What a client asks of the driving task.
enum Asked {
    Configure(Option<Desired>),
    /// Publish the status now, with its times.
    Refresh,
}

/// One connection of `serve` or of the command line.
async fn converse(
    mut connection: Connection<IkeEvent, IkeRequest>,
    ask: mpsc::Sender<Asked>,
    mut status: watch::Receiver<Vec<PeerStatus>>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    status.mark_unchanged();
    ask.send(Asked::Refresh).await?;
    loop {
        tokio::select! {
            request = connection.recv() => match request? {
                Some(IkeRequest::Configure(desired)) => {
                    ask.send(Asked::Configure(desired)).await?;
                }
                Some(IkeRequest::Status) => ask.send(Asked::Refresh).await?,
                None => return Ok(()),
            },
            changed = status.changed() => {
                changed?;
                let event = IkeEvent::Status(status.borrow_and_update().clone());
                connection.send(&event).await?;
            }
        }
    }
}

type Keyer = Connection<KeyerRequest, KeyerReply>;

/// The core and all that it is driven with.
struct Ike {
    tunnels: Tunnels,
    began: Instant,
    /// Our own address, once configured.
    local: Option<IpAddr>,
    socket: Option<UdpSocket>,
    /// Whether the socket came from systemd and so is never rebound.
    inherited: bool,
    keyer_path: PathBuf,
    keyer: Option<Keyer>,
    /// Requests sent to `keyer` and not yet answered.
    outstanding: usize,
    publish: watch::Sender<Vec<PeerStatus>>,
}

impl Ike {
    fn new(
        keyer_path: PathBuf,
        publish: watch::Sender<Vec<PeerStatus>>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let socket = match socket::inherited_udp("isakmp")? {
            Some(socket) => Some(UdpSocket::from_std(socket)?),
            None => None,
        };
        Ok(Self {
            tunnels: Tunnels::new(Box::new(SystemRandom)),
            began: Instant::now(),
            local: None,
            inherited: socket.is_some(),
            socket,
            keyer_path,
            keyer: None,
            outstanding: 0,
            publish,
        })
    }

    /// Milliseconds of the monotonic clock since the start.
    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    async fn configure(&mut self, desired: Option<Desired>) {
        let local = desired.as_ref().map(|desired| desired.list.local);
        if self.local != local {
            // What stands belongs to the address that goes, and so do its farewells.
            self.tunnels.configure(self.now(), None, None);
            while let Some(transmit) = self.tunnels.poll_transmit() {
                self.send(&transmit).await;
            }
            if !self.inherited {
                self.socket = None;
            }
            self.local = local;
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

    /// Runs for ever: waits for whatever comes first, gives it to the core, does what it says.
    async fn drive(&mut self, mut asked: mpsc::Receiver<Asked>) {
        let mut buffer = vec![0; DATAGRAM_BYTES];
        loop {
            self.act().await;
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
                    Some(Asked::Configure(desired)) => self.configure(desired).await,
                    Some(Asked::Refresh) => self.publish_status(),
                    None => return,
                },
                () = sleep_until(deadline) => {
                    let now = self.now();
                    self.tunnels.handle_timeout(now);
                }
                () = tokio::time::sleep(RETRY), if missing => {}
            }
        }
    }

    /// Does all that the core wants done, and finds again what is missing.
    async fn act(&mut self) {
        self.find_missing().await;
        // Without a keyer its requests wait in the core.
        while self.keyer.is_some() {
            let Some(request) = self.tunnels.poll_keyer() else {
                break;
            };
            self.outstanding += 1;
            let Some(keyer) = &mut self.keyer else { break };
            if let Err(error) = keyer.send(&request).await {
                self.lose_keyer(&error.to_string());
            }
        }
        // What a datagram promises must stand first: a peer that hears of an SA before our kernel
        // has it, or of a deletion before our kernel stopped sending, loses packets.
        while self.outstanding == 0 {
            let Some(transmit) = self.tunnels.poll_transmit() else {
                break;
            };
            self.send(&transmit).await;
        }
        if self.tunnels.status_changed() {
            self.publish_status();
        }
    }

    async fn find_missing(&mut self) {
        if self.keyer.is_none() {
            match Connection::connect(&self.keyer_path).await {
                Ok(keyer) => self.keyer = Some(keyer),
                Err(error) => tracing::debug!("{error}"),
            }
        }
        if let (None, Some(local)) = (&self.socket, self.local) {
            let bound = socket::udp_freebind((local, ISAKMP_PORT).into());
            match bound.and_then(UdpSocket::from_std) {
                Ok(socket) => self.socket = Some(socket),
                Err(error) => tracing::error!("cannot bind UDP 500 on {local}: {error}"),
            }
        }
    }

    async fn send(&self, transmit: &Transmit) {
        let (Some(socket), Some(local)) = (&self.socket, self.local) else {
            return;
        };
        let send = || socket::send_from(socket, local, transmit.to, &transmit.bytes);
        if let Err(error) = socket.async_io(Interest::WRITABLE, send).await {
            // Retransmission covers it; a route may still be missing at boot.
            tracing::debug!("cannot send to {}: {error}", transmit.to);
        }
    }

    fn heard(&mut self, reply: Result<Option<KeyerReply>, ipc::IpcError>) {
        match reply {
            Ok(Some(reply)) => {
                if is_answer(&reply) {
                    self.outstanding = self.outstanding.saturating_sub(1);
                }
                let now = self.now();
                self.tunnels.handle_keyer(now, reply);
            }
            Ok(None) => self.lose_keyer("it closed the connection"),
            Err(error) => self.lose_keyer(&error.to_string()),
        }
    }

    /// Answers what `keyer` no longer will; its SAs and policies stay in the kernel.
    fn lose_keyer(&mut self, why: &str) {
        tracing::warn!("lost keyer: {why}");
        self.keyer = None;
        for _ in 0..std::mem::take(&mut self.outstanding) {
            let now = self.now();
            let reply = KeyerReply::Failed("keyer went away".into());
            self.tunnels.handle_keyer(now, reply);
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
    socket: Option<&UdpSocket>,
    buffer: &mut [u8],
) -> std::io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => {
            let (length, from) = socket.recv_from(buffer).await?;
            // A dual-stack socket shows IPv4 peers as IPv6 ones.
            Ok((
                length,
                SocketAddr::new(from.ip().to_canonical(), from.port()),
            ))
        }
        None => future::pending().await,
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

/// `--desired FILE`, as a person writes it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct DesiredFile {
    local: IpAddr,
    key: String,
    /// SHA-256 of our node certificate, in hexadecimal.
    certificate: String,
    #[serde(default)]
    peer: Vec<PeerField>,
    /// Seconds until AH and IKE SAs are rekeyed, instead of the defaults.
    lifetimes: Option<[u64; 2]>,
    /// IKE proposals in strongSwan's keywords, most preferred first, instead of the default.
    proposals: Option<Vec<String>>,
    /// AH integrity algorithms likewise: `sha256`, `sha512`.
    ah_proposals: Option<Vec<String>>,
    /// `v2` (the default), `v1`, or `guide era`: v1 with its own proposals.
    ike: Option<String>,
    /// With v1: whether each AH pair has a key exchange of its own; the default is yes.
    pfs: Option<bool>,
    /// Certificates instead of the key.
    certificates: Option<CertificateFiles>,
}

/// PEM files.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateFiles {
    chain: PathBuf,
    key: PathBuf,
    authorities: PathBuf,
    revoked: Option<PathBuf>,
    /// Names of peers by address.
    #[serde(default)]
    names: BTreeMap<IpAddr, String>,
}

impl CertificateFiles {
    fn read(&self) -> Result<Certificates, String> {
        let read = |path: &Path| {
            let read = std::fs::read(path);
            read.map_err(|error| format!("{}: {error}", path.display()))
        };
        let key = Zeroizing::new(read(&self.key)?);
        let revoked = self.revoked.as_deref().map(read).transpose()?;
        Certificates::from_pem(
            &read(&self.chain)?,
            &key,
            &read(&self.authorities)?,
            &revoked.unwrap_or_default(),
            self.names.clone().into_iter().collect(),
        )
        .map_err(|error| error.to_string())
    }
}

impl DesiredFile {
    fn profile(&self) -> Result<Profile, SuiteError> {
        let mut profile = match self.ike.as_deref() {
            None | Some("v2") => Profile::default(),
            Some("v1" | "guide era") => Profile::guide_era(),
            Some(other) => return Err(SuiteError::Unknown(other.to_owned())),
        };
        profile.pfs = self.pfs.unwrap_or(profile.pfs);
        if let Some(words) = &self.proposals {
            profile.ike = words.iter().map(|w| w.parse()).collect::<Result<_, _>>()?;
        }
        if let Some(words) = &self.ah_proposals {
            profile.ah = words.iter().map(|w| w.parse()).collect::<Result<_, _>>()?;
        }
        Ok(profile)
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerField {
    /// Which Peer field, 1 to 3.
    field: u8,
    address: IpAddr,
}

fn read_desired(path: &Path) -> Result<(Desired, Option<[u64; 2]>), String> {
    let wrong = |reason: String| format!("{}: {reason}", path.display());
    let metadata = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(wrong("holds a key and so must have mode 0600".into()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    // The parser's own message would quote the line, which may hold the key.
    let file: DesiredFile =
        toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
    let profile = file.profile().map_err(|error| wrong(error.to_string()))?;
    let certificate = digest(&file.certificate)
        .ok_or_else(|| wrong("certificate is not 64 hexadecimal digits".into()))?;
    let certificates = file.certificates.as_ref().map(CertificateFiles::read);
    let peers = file.peer.iter().map(|peer| Peer {
        address: peer.address,
        reqid: reqid(peer.field),
    });
    let desired = Desired {
        list: PeerList {
            local: file.local,
            peers: peers.collect(),
        },
        key: Secret(file.key.into_bytes()),
        certificate,
        profile,
        certificates: certificates.transpose()?.map(Box::new),
    };
    Ok((desired, file.lifetimes))
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut digits: VecDeque<u32> = hex.chars().map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let mut out = [0; 32];
    for byte in &mut out {
        *byte = (digits.pop_front()? * 16 + digits.pop_front()?) as u8;
    }
    digits.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_readable_key_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("desired.toml");
        let text = format!(
            "local = \"192.0.2.1\"\nkey = \"secret\"\ncertificate = \"{}\"\n\
             [[peer]]\nfield = 2\naddress = \"192.0.2.2\"\n",
            "0a".repeat(32)
        );
        std::fs::write(&path, text).unwrap();
        let mode = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, mode(0o644)).unwrap();
        assert!(read_desired(&path).is_err());
        std::fs::set_permissions(&path, mode(0o600)).unwrap();
        let (desired, _) = read_desired(&path).unwrap();
        assert_eq!(desired.list.peers[0].reqid, 7402);
        assert_eq!(desired.certificate, [10; 32]);
        assert_eq!(desired.profile, Profile::default());
    }
}
