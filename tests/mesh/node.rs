//! What runs inside each process: a node as `tutti serve` puts it together, and orders.

use std::io::BufRead;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tutti::cluster::Change;
use tutti::node::serve::links;
use tutti::node::serve::node::{Node, random};
use tutti::replica::value::Value;
use tutti::replica::{Incarnation, NodeId};
use tutti::store::{Store, local::Local};
use tutti::tls::Identity;
use tutti::tunnel::message::{CertDigest, PeerStatus, TunnelState};

use super::{KEY, Order, Reply, now_us};

/// The variable that names the process's directory, and by that tells it what it is.
pub const DIR: &str = "TUTTI_MESH_DIR";
/// The variable with its address.
pub const ADDRESS: &str = "TUTTI_MESH_ADDRESS";

const PORT: u16 = 24_373;
/// Longest that links take to stand and to stream.
const LIMIT: Duration = Duration::from_secs(300);
const TABLE: &str =
    "CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, amount INTEGER, remark TEXT)";
const INSERT: &str = "INSERT INTO item(id, name, amount, remark) VALUES (?, ?, ?, ?)";

type Failure = Box<dyn std::error::Error>;

/// If this process was started as one of a mesh, runs it to its end and returns true.
pub fn main(row: fn(i64) -> [Value; 4]) -> bool {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else {
        return false;
    };
    let address = std::env::var(ADDRESS).unwrap().parse().unwrap();
    let runtime = Runtime::new().unwrap();
    let (node, certificate) = open(&dir, address).unwrap();
    runtime.spawn(links::run(node.clone(), PORT));
    say(&Reply::Ready { certificate });
    for line in std::io::stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line.unwrap()).unwrap();
        let reply = obey(&runtime, &node, order, row);
        say(&reply.unwrap_or_else(|error| Reply::Failed(error.to_string())));
    }
    runtime.shutdown_background();
    true
}

fn say(reply: &Reply) {
    println!("{}", serde_json::to_string(reply).unwrap());
}

fn open(dir: &std::path::Path, address: IpAddr) -> Result<(Arc<Node>, CertDigest), Failure> {
    let local = Local::open(&dir.join("local.db"))?;
    let id = match local.value("node_id")? {
        Some(saved) => saved.as_slice().try_into()?,
        None => {
            let fresh: NodeId = random();
            local.set(&[("node_id", Some(&fresh))])?;
            fresh
        }
    };
    let store = Store::open(dir, id, u64::from_be_bytes(random()))?;
    store.migrate(&[TABLE])?;
    let name = address.to_string();
    // A new certificate at each start: the parent tells the others.
    let identity = Identity::make(&name, &[])?;
    let certificate = identity.digest();
    let node = Node::new(store, local, identity, name, vec![address], dir.to_owned())?;
    Ok((Arc::new(node), certificate))
}

fn done(store: &Store) -> Reply {
    let origin = store.incarnation();
    let seq = store.frontier().seq(origin);
    let at_us = now_us();
    Reply::Done { at_us, origin, seq }
}

fn obey(
    runtime: &Runtime,
    node: &Arc<Node>,
    order: Order,
    row: fn(i64) -> [Value; 4],
) -> Result<Reply, Failure> {
    let store = &node.store;
    match order {
        Order::Cluster(peers) => {
            let key = Some(KEY.to_owned());
            node.save(&Change {
                key,
                peers,
                join: true,
                ..Change::default()
            })?;
        }
        Order::Tunnels(up) => {
            let standing = up.into_iter().map(|(address, certificate)| {
                let certificate = Some(certificate.into());
                PeerStatus::of(address, TunnelState::Up { certificate })
            });
            node.tunnels.send_replace(Some(standing.collect()));
            node.touch();
        }
        Order::Active(count) => {
            let active = async { tokio::time::timeout(LIMIT, active(node, count)).await };
            let states = |_| format!("not active: {:?}", node.view().peers);
            runtime.block_on(active).map_err(states)??;
        }
        Order::Fill { from, to, size } => fill(store, from, to, size, row)?,
        Order::Reach { origin, seq } => {
            let mut changes = store.changes();
            while store.frontier().seq(origin) < seq {
                runtime.block_on(changes.changed())?;
            }
        }
        Order::Pace { from, to, per_s } => pace(store, from, to, per_s, row)?,
        Order::Watch {
            from,
            to,
            origin,
            seq,
        } => {
            let writer = Position { origin, seq };
            return Ok(Reply::Seen(watch(runtime, store, from, to, writer)?));
        }
        Order::Digest => return Ok(Reply::Digest(store.digest()?)),
        Order::Transactions => return Ok(Reply::Transactions(store.frontier_summary().1)),
        Order::Follow => {
            runtime.spawn(follow_store(store.clone()));
            runtime.spawn(follow_join(node.clone()));
        }
    }
    Ok(done(store))
}

async fn active(node: &Arc<Node>, count: usize) -> Result<(), Failure> {
    let mut changed = node.changed.subscribe();
    loop {
        let view = node.view();
        let states = view.peers.iter().filter_map(|peer| peer.state.as_ref());
        let active = states.filter(|state| state.text.starts_with("Active as"));
        if view.standing == "member" && active.count() >= count {
            return Ok(());
        }
        changed.changed().await?;
    }
}

async fn follow_store(store: Store) {
    let mut changes = store.changes();
    while changes.changed().await.is_ok() {
        say(&Reply::Held(store.frontier_summary().1));
    }
}

/// Tells how a join goes on; from the last piece on it tells of every moment until it is done.
async fn follow_join(node: Arc<Node>) {
    let mut changed = node.changed.subscribe();
    let mut told = None;
    loop {
        let view = node.view();
        if view.standing == "member" {
            return say(&Reply::Member);
        }
        let states = view.peers.iter().filter_map(|peer| peer.state.as_ref());
        let percent = |text: &str| {
            let text = text.strip_prefix("Joining ")?.strip_suffix(" %")?;
            text.parse::<u8>().ok()
        };
        let joining = states.filter_map(|state| percent(&state.text)).max();
        if let Some(percent) = joining
            && told != joining
        {
            told = joining;
            say(&Reply::Joining(percent));
        }
        if joining == Some(100) {
            say(&Reply::Moment);
            tokio::task::yield_now().await;
        } else if changed.changed().await.is_err() {
            return;
        }
    }
}

fn fill(
    store: &Store,
    from: i64,
    to: i64,
    size: i64,
    row: fn(i64) -> [Value; 4],
) -> Result<(), Failure> {
    let mut next = from;
    while next < to {
        let end = (next + size).min(to);
        store.transact(|tx| {
            for id in next..end {
                tx.execute(INSERT, &row(id))?;
            }
            Ok(())
        })?;
        next = end;
    }
    Ok(())
}

fn pace(
    store: &Store,
    from: i64,
    to: i64,
    per_s: f64,
    row: fn(i64) -> [Value; 4],
) -> Result<(), Failure> {
    let began = Instant::now();
    for (number, id) in (from..to).enumerate() {
        let due = Duration::from_secs_f64(number as f64 / per_s);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        let mut row = row(id);
        row[2] = Value::Integer(now_us() as i64);
        store.transact(|tx| tx.execute(INSERT, &row))?;
    }
    Ok(())
}

/// What a writer had issued.
struct Position {
    origin: Incarnation,
    seq: u64,
}

fn watch(
    runtime: &Runtime,
    store: &Store,
    from: i64,
    to: i64,
    before: Position,
) -> Result<Vec<f64>, Failure> {
    let sql = "SELECT id, amount FROM item WHERE id >= ? AND id < ? ORDER BY id";
    let mut changes = store.changes();
    let mut seen = Vec::new();
    let mut next = from;
    while next < to {
        changes.mark_unchanged();
        // One row a transaction: those that this node would acknowledge.
        let issued = store.frontier().seq(before.origin).max(before.seq) - before.seq;
        let durable = to.min(from + issued as i64);
        let rows = store.read(|reader| reader.query(sql, &[next.into(), durable.into()]))?;
        let now = now_us() as i64;
        for row in &rows {
            let [Value::Integer(id), Value::Integer(at)] = row[..] else {
                return Err(format!("no row of a paced writer: {row:?}").into());
            };
            seen.push((now - at) as f64 / 1_000.0);
            next = id + 1;
        }
        if next < to {
            runtime.block_on(changes.changed())?;
        }
    }
    Ok(seen)
}
