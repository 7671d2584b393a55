//! Replication links on port 4372: one per peer, inside its AH tunnel, dialled by the lower
//! address and accepted by the higher.
//!
//! The one gate: a link is opened or taken only while `ike` reports that peer's tunnel up together
//! with the certificate it authenticated, and it ends when that no longer holds.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::keeping;
use super::node::Node;
use super::pins::{pins, wait_down, wait_up};
use super::replication;
use super::silence::{self, Heard, Silence};
use super::traffic::Counted;
use crate::cluster::{LinkState, Roster};
use crate::node::link::{self, LinkConfig, LinkError, LinkEvent};
use crate::replica::session::schema_version;
use crate::replica::skew::{BOUND_MS, Skew, judge};
use crate::tls;
use crate::tunnel::message::{PeerList, Presented};

/// How long a connection and its handshake may take.
const OPEN: Duration = Duration::from_secs(5);
/// Least time between two dials while the tunnel stands: at first, as the peer may hear a moment
/// later than we do that it stands, and after some.
const SOON: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(300);
/// How often the side that is dialled knocks while nobody dials.
const KNOCK: Duration = Duration::from_secs(3);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Follows the peer list for ever. It depends on the cluster fields and on our own addresses, which
/// may come after the start (DHCP).
pub async fn run(node: Arc<Node>, port: u16) {
    let mut cluster = node.cluster.subscribe();
    let mut addresses = node.addresses.subscribe();
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    let mut current: Option<PeerList> = None;
    loop {
        let list = node.desired().map(|desired| desired.list);
        if list != current {
            tasks.drain(..).for_each(|task| task.abort());
            if let Some(list) = &list {
                tasks = start(&node, list, port);
            }
            current = list;
        }
        let ended = tokio::select! {
            changed = cluster.changed() => changed.is_err(),
            changed = addresses.changed() => changed.is_err(),
        };
        if ended {
            return;
        }
    }
}

fn start(node: &Arc<Node>, list: &PeerList, port: u16) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    let local = list.local;
    for peer in &list.peers {
        if local < peer.address {
            tasks.push(tokio::spawn(dial(node.clone(), local, peer.address, port)));
        } else {
            tasks.push(tokio::spawn(knock(node.clone(), local, peer.address, port)));
        }
    }
    if list.peers.iter().any(|peer| peer.address < local) {
        tasks.push(tokio::spawn(accept(node.clone(), list.clone(), port)));
    }
    tasks
}

async fn dial(node: Arc<Node>, local: IpAddr, peer: IpAddr, port: u16) {
    let mut pause = SOON;
    loop {
        let held = wait_up(&node, peer).await;
        let began = tokio::time::Instant::now();
        let attempt = Attempt::begin(&node, peer);
        tokio::select! {
            result = dial_once(&attempt, local, port, held) => {
                let lived = began.elapsed();
                attempt.ended(result);
                // A tunnel that went down has a new one follow, which is dialled at once.
                tokio::select! {
                    () = tokio::time::sleep_until(began + pause) => pause = after(pause, lived),
                    () = wait_down(&node, peer, held) => pause = SOON,
                }
            }
            () = wait_down(&node, peer, held) => {
                attempt.ended(Err("the tunnel went down".into()));
                pause = SOON;
            }
        }
    }
}

/// The pause before the next dial but one, by how long the last one's link lived.
fn after(pause: Duration, lived: Duration) -> Duration {
    match lived > PAUSE {
        true => SOON,
        false => PAUSE.min(2 * pause),
    }
}

/// Sends something to a peer that should dial and does not: any answer, a refusal too, shows that
/// AH passes, and none that it is blocked ([`Node::silent`]).
async fn knock(node: Arc<Node>, local: IpAddr, peer: IpAddr, port: u16) {
    loop {
        wait_up(&node, peer).await;
        tokio::time::sleep(KNOCK).await;
        if node.silent().contains(&peer) {
            let _ = tokio::time::timeout(KNOCK, connect(local, peer, port)).await;
        }
    }
}

async fn connect(local: IpAddr, peer: IpAddr, port: u16) -> std::io::Result<TcpStream> {
    let socket = if peer.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.bind(SocketAddr::new(local, 0))?;
    socket.connect(SocketAddr::new(peer, port)).await
}

async fn dial_once(
    attempt: &Attempt,
    local: IpAddr,
    port: u16,
    held: Presented,
) -> Result<(), Failure> {
    let peer = attempt.peer;
    let config = tls::dial_config(&attempt.node.identity(), held)?;
    let stream = tokio::time::timeout(OPEN, async {
        let stream = connect(local, peer, port).await?;
        stream.set_nodelay(true)?;
        // The name is not looked at: the pins are.
        TlsConnector::from(config)
            .connect(peer.into(), stream)
            .await
    })
    .await
    .map_err(|_| "no answer on the replication port")??;
    replicate(attempt, stream).await
}

async fn accept(node: Arc<Node>, list: PeerList, port: u16) {
    let listener = loop {
        let address = SocketAddr::new(list.local, port);
        match crate::sys::socket::listen_freebind(address).and_then(TcpListener::from_std) {
            Ok(listener) => break listener,
            Err(error) => tracing::error!("cannot listen for peers on {address}: {error}"),
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    // The tasks end with this one: an aborted acceptor must leave no link of a former list.
    let mut current: HashMap<IpAddr, Running> = HashMap::new();
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let from = from.ip().to_canonical();
        let dials = |peer: &&crate::tunnel::message::Peer| peer.address == from;
        if list
            .peers
            .iter()
            .find(dials)
            .is_none_or(|peer| peer.address >= list.local)
        {
            // Such as a peer that we dial, and that knocks.
            tracing::debug!("refused a replication link from {from}: not a peer that dials us");
            continue;
        }
        let Some(held) = pins(&node, from) else {
            tracing::debug!("refused a replication link from {from}: its tunnel is not up yet");
            continue;
        };
        // A peer that dials again has lost its old link, whether we noticed or not.
        current.remove(&from);
        let attempt = Attempt::begin(&node, from);
        let task = tokio::spawn(accept_one(attempt, stream, held));
        current.insert(from, Running(task));
    }
}

struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn accept_one(attempt: Attempt, stream: TcpStream, held: Presented) {
    let (node, peer) = (&attempt.node, attempt.peer);
    let work = async {
        stream.set_nodelay(true)?;
        let config = tls::accept_config(&node.identity(), held)?;
        let stream = tokio::time::timeout(OPEN, TlsAcceptor::from(config).accept(stream))
            .await
            .map_err(|_| "the TLS handshake took too long")??;
        replicate(&attempt, stream).await
    };
    let result = tokio::select! {
        result = work => result,
        () = wait_down(node, peer, held) => Err("the tunnel went down".into()),
    };
    attempt.ended(result);
}

/// An attempt at a link with a peer. What it says counts until the next one begins: the peer may
/// dial again before the last words of the one before are said.
struct Attempt {
    node: Arc<Node>,
    peer: IpAddr,
    number: u64,
}

impl Attempt {
    fn begin(node: &Arc<Node>, peer: IpAddr) -> Self {
        Self {
            node: node.clone(),
            peer,
            number: node.begin_link(peer),
        }
    }

    fn note(&self, change: impl FnOnce(&mut LinkState)) {
        self.node.note_link((self.peer, self.number), change);
    }

    fn ended(&self, result: Result<(), Failure>) {
        let why = match result {
            Ok(()) => "the peer closed the link".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::info!("link with {} ended: {why}", self.peer);
        self.note(|link| {
            link.live = false;
            link.behind = 0;
            link.joining_percent = None;
            link.error = Some(why);
        });
    }
}

/// Runs one established link, and notes what it reports.
async fn replicate<S>(attempt: &Attempt, stream: S) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (node, peer) = (&attempt.node, attempt.peer);
    let mut cluster = node.cluster.subscribe();
    // One joining link at a time: two snapshots at once would replace each other.
    let mut joining = None;
    if cluster.borrow_and_update().id.is_none() {
        joining = Some(node.joining.lock().await);
    }
    let counted = node.met.borrow().ours(&keeping::listed(node));
    let config = LinkConfig {
        name: node.name.clone(),
        version: node.version().to_owned(),
        schema: schema_version(super::TABLES),
        cluster: cluster.borrow_and_update().id,
        peers: counted.0.into_iter().collect(),
        unmet: u8::try_from(counted.1).unwrap_or(u8::MAX),
        synchronized: Arc::clone(&node.synchronized),
        checks: Some(node.telling(peer).subscribe()),
    };
    // Whoever has just left, and whose links are about to end, greets nobody as a joiner.
    if !node.others().iter().any(|(_, listed)| *listed == peer) {
        return Err("that peer is on the list no more".into());
    }
    let id = config.cluster;
    if id.is_some() {
        drop(joining.take());
    }
    let (sender, mut events) = mpsc::channel(64);
    let traffic = node.traffic(peer);
    let received = || traffic.octets().0;
    let mut heard = Heard::Lately;
    let mut silence = Silence::new(received(), std::time::Instant::now());
    let mut look = tokio::time::interval(silence::PERIOD);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let stream = Counted::new(stream, node.traffic(peer));
    let link = link::run(stream, node.store.clone(), config, sender);
    tokio::pin!(link);
    loop {
        tokio::select! {
            // What a link still said before it ended counts, so events go first.
            biased;
            Some(event) = events.recv() => {
                if let LinkEvent::Hello { cluster: None, .. } = &event
                    && id.is_none()
                {
                    return Err("that peer has no cluster yet either".into());
                }
                note(attempt, event).await?;
            }
            result = &mut link => {
                while let Ok(event) = events.try_recv() {
                    note(attempt, event).await?;
                }
                let healed = match result {
                    Err(LinkError::Renewed { origin }) => Some((origin, None)),
                    Err(LinkError::Reissued { origin, count }) => Some((origin, Some(count))),
                    _ => None,
                };
                if let Some((origin, count)) = healed {
                    let keeper = Arc::clone(node);
                    let told = move || replication::healed(&keeper, peer, origin, count);
                    tokio::task::spawn_blocking(told).await?;
                }
                return Ok(result?);
            }
            () = other_cluster(&mut cluster, id) => {
                return Err("our cluster changed; greeting again".into());
            }
            _ = look.tick() => {
                let now = silence.look(received(), std::time::Instant::now());
                if now != std::mem::replace(&mut heard, now) {
                    attempt.note(|link| link.silent = now != Heard::Lately);
                }
                if now == Heard::Lost {
                    return Err("nothing was heard any more".into());
                }
            }
        }
    }
}

/// Returns when our cluster id is no longer the one this link greeted with, except by adoption,
/// which the link itself brought about or which makes a later greeting say more.
async fn other_cluster(
    cluster: &mut watch::Receiver<super::node::Cluster>,
    greeted: Option<[u8; 16]>,
) {
    loop {
        if cluster.changed().await.is_err() {
            return std::future::pending().await;
        }
        let now = cluster.borrow().id;
        if greeted.is_some() && now != greeted {
            return;
        }
    }
}

async fn note(attempt: &Attempt, event: LinkEvent) -> Result<(), Failure> {
    let (node, peer) = (&attempt.node, attempt.peer);
    match event {
        LinkEvent::Hello {
            name,
            version,
            cluster,
            node: id,
            peers,
            unmet,
        } => {
            attempt.note(|link| {
                link.error = None;
                link.silent = false;
                link.name = Some(name);
                link.version = Some(version);
                link.cluster = cluster;
            });
            let keeper = Arc::clone(node);
            let greet = move |met: &mut Roster| met.greeted(peer, id, &peers, unmet);
            tokio::task::spawn_blocking(move || keeper.change_met(greet)).await??;
        }
        LinkEvent::Joining { percent } => attempt.note(|link| {
            link.joining_percent = Some(percent);
        }),
        LinkEvent::Adopted { cluster } => {
            tracing::info!("adopted the cluster of {peer}");
            let keeper = node.clone();
            tokio::task::spawn_blocking(move || keeper.adopted(cluster)).await??;
            attempt.note(|link| link.joining_percent = None);
        }
        LinkEvent::CatchingUp { changes } => attempt.note(|link| {
            link.joining_percent = None;
            link.live = false;
            link.behind = changes;
        }),
        LinkEvent::Live { behind } => attempt.note(|link| {
            link.joining_percent = None;
            link.live = true;
            link.behind = behind;
        }),
        LinkEvent::Proven(proven) => {
            let keeper = Arc::clone(node);
            let told = move || replication::proven(&keeper, peer, &proven);
            tokio::task::spawn_blocking(told).await?;
        }
        LinkEvent::Forked { origin } => {
            let keeper = Arc::clone(node);
            let told = move || replication::forked(&keeper, peer, origin);
            tokio::task::spawn_blocking(told).await?;
        }
        LinkEvent::RoundTrip {
            us,
            clock_offset_ms,
            synchronized,
        } => {
            let ours = node.synchronized.load(Ordering::Relaxed);
            let skew = judge(ours, synchronized, clock_offset_ms, BOUND_MS);
            attempt.note(|link| {
                link.round_trip_us = Some(us);
                link.clock_offset_ms = clock_offset_ms;
                link.synchronized = Some(synchronized);
                if link.skew != Some(skew) && (link.skew.is_some() || skew != Skew::Fine) {
                    tracing::warn!("clock of {peer}, {clock_offset_ms} ms from ours: {skew}");
                }
                link.skew = Some(skew);
            });
        }
        LinkEvent::Checks(told) => attempt.note(|link| link.told = told),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::cluster::Change;
    use crate::store::{Store, local::Local};

    #[test]
    fn who_refuses_is_dialled_soon_again_then_less_often_and_soon_after_a_link_that_lived() {
        let mut pause = SOON;
        let mut waited = Vec::new();
        for _ in 0..6 {
            waited.push(pause.as_millis());
            pause = after(pause, Duration::from_millis(5));
        }
        assert_eq!(waited, [20, 40, 80, 160, 300, 300]);
        assert_eq!(after(pause, Duration::from_secs(1)), SOON);
    }

    /// A node that has one peer in its list, both by their addresses.
    fn listing(own: IpAddr, peer: IpAddr, dir: &std::path::Path) -> Arc<Node> {
        let store = Store::open(dir, [1; 16], 7).unwrap();
        let local = Local::open(&dir.join("local.db")).unwrap();
        let identity = tls::Identity::make("b", &[]).unwrap();
        let path = dir.to_owned();
        let node = Node::new(store, local, identity, "b".into(), vec![own], path).unwrap();
        node.save(&Change {
            key: Some("vary-9umbrella-Kilo42-tidal".into()),
            peers: [peer.to_string(), own.to_string(), String::new()],
            join: true,
            ..Change::default()
        })
        .unwrap();
        Arc::new(node)
    }

    /// Else its peer would copy its database for it.
    #[tokio::test]
    async fn a_link_that_was_opened_while_the_system_left_greets_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let [own, peer] = ["127.78.9.14", "127.78.9.13"].map(|ip| ip.parse().unwrap());
        let node = listing(own, peer, dir.path());
        node.save(&Change::clear()).unwrap();
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let attempt = Attempt::begin(&node, peer);
        let linked = tokio::time::timeout(Duration::from_secs(60), replicate(&attempt, ours));
        let refused = linked.await.expect("no link").unwrap_err().to_string();
        assert_eq!(refused, "that peer is on the list no more");
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        assert!(heard.is_empty());
    }

    /// A peer dials again at once; whichever thread came first, the new link was shown as ended
    /// until something was written.
    #[test]
    fn the_last_words_of_a_link_say_nothing_of_the_one_that_took_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let [own, peer] = ["127.78.9.16", "127.78.9.15"].map(|ip| ip.parse().unwrap());
        let node = listing(own, peer, dir.path());
        let known = || node.links().get(&peer).cloned();
        let former = Attempt::begin(&node, peer);
        former.note(|link| link.live = true);
        let attempt = Attempt::begin(&node, peer);
        attempt.note(|link| link.live = true);
        former.ended(Ok(()));
        let link = known().unwrap();
        assert!(link.live && link.error.is_none());
        attempt.ended(Ok(()));
        assert!(!known().unwrap().live);
        // Nor of a peer that is on the list no more.
        node.save(&Change::clear()).unwrap();
        attempt.note(|link| link.live = true);
        assert_eq!(known(), None);
    }

    #[tokio::test]
    async fn an_address_that_comes_after_the_start_begins_the_links() {
        let dir = tempfile::tempdir().unwrap();
        let [own, peer] = ["127.78.9.12", "127.78.9.11"].map(|ip| ip.parse().unwrap());
        let node = listing(own, peer, dir.path());
        node.addresses.send_replace(Vec::new());
        assert!(node.desired().is_none());
        // Free again once it is known.
        let free = std::net::TcpListener::bind((own, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let links = tokio::spawn(run(node.clone(), port));
        // It has looked at the list, and found none, once it waits for a change.
        while node.addresses.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        assert!(TcpStream::connect((own, port)).await.is_err());
        node.addresses.send_replace(vec![own]);
        let listens = async {
            while TcpStream::connect((own, port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), listens)
            .await
            .expect("a listener for the peer that dials");
        links.abort();
    }
}
