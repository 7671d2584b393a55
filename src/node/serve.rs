//! The `serve` role: the database, replication to the other peers, web and REST.
//!
//! It opens what it owns, then runs tasks that follow the cluster fields: the tunnels (`ike` and
//! `host` told and heard), the links on port 4372, and HTTP on three sockets.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::Dirs;
use crate::settings::cluster::ClusterFields;
use crate::store::administrators::{self, Administrator};
use crate::store::{Store, api_tokens, local::Local};
use crate::web;
use zeroize::Zeroizing;

mod address;
mod checks;
mod damage;
pub mod host;
mod http;
mod keeping;
mod line;
pub mod links;
mod names;
pub mod node;
mod pins;
mod places;
pub mod renewal;
mod replication;
mod reserve;
mod silence;
mod states;
pub mod time;
pub mod traffic;
mod tunnels;
pub mod view;
mod watch;

use node::{Node, random};

/// Exit code of a restart that was asked for; the unit restarts on it (EX_TEMPFAIL).
pub const RESTART: i32 = 75;

/// Options of `tutti serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where HTTPS listens, unless systemd passes a socket named `https`.
    #[arg(long, default_value = "[::]:443")]
    pub https: SocketAddr,
    /// Where HTTP listens, only to redirect, unless systemd passes a socket named `http`.
    #[arg(long, default_value = "[::]:80")]
    pub http: SocketAddr,
    /// TCP port of replication between peers; the same on every peer.
    #[arg(long, default_value_t = 4372)]
    pub replication_port: u16,
    /// This system's own address; may be repeated. Default: the addresses of its interfaces.
    #[arg(long)]
    pub address: Vec<IpAddr>,
    /// This system's name. Default: the host name.
    #[arg(long)]
    pub name: Option<String>,
    /// What this system gives out as its version instead of this software's (lab).
    #[arg(long, hide = true)]
    pub told_version: Option<String>,
    /// Without a host role write peers.json here (lab and tests).
    #[arg(long)]
    pub no_host: bool,
}

type Failure = Box<dyn std::error::Error>;

/// Notes that administrators leave each other: the simplest table that every system has.
const NOTES: &str = "CREATE TABLE note (id TEXT PRIMARY KEY NOT NULL, text TEXT)";

/// The replicated tables that this software brings; peers compare them.
const TABLES: &[&str] = &[administrators::TABLE, api_tokens::TABLE, NOTES];

/// Runs the role until it is stopped.
pub fn run(dirs: &Dirs, args: Args) -> Result<(), Failure> {
    let node = Arc::new(open(dirs, &args)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let restart = runtime.block_on(run_tasks(node, dirs, args))?;
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    if restart {
        tracing::info!("restarting as asked");
        std::process::exit(RESTART);
    }
    Ok(())
}

async fn run_tasks(node: Arc<Node>, dirs: &Dirs, args: Args) -> Result<bool, Failure> {
    let router = web::router(node.clone());
    http::start(&node, router, dirs, &args).await?;
    tokio::spawn(tunnels::run(node.clone(), dirs.run.clone(), args.no_host));
    tokio::spawn(links::run(node.clone(), args.replication_port));
    tokio::spawn(renewal::run(node.clone()));
    tokio::spawn(keeping::run(node.clone()));
    tokio::spawn(keeping::release(node.clone()));
    tokio::spawn(damage::run(node.clone()));
    tokio::spawn(replication::count(node.clone()));
    tokio::spawn(time::run(node.clone()));
    tokio::spawn(names::run(node.clone()));
    tokio::spawn(checks::run(node.clone()));
    tokio::spawn(checks::paths(node.clone()));
    if args.address.is_empty() {
        tokio::spawn(address::follow(node.clone()));
    }
    tokio::spawn(watch::run(node.clone()));
    tokio::spawn(traffic::run(node.clone()));
    tokio::spawn(follow_store(node.clone()));
    // Without systemd there is nobody to tell, which is fine.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!("{} is ready", node.name);
    let mut stop = node.stop.subscribe();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let restart = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => true,
        _ = terminate.recv() => false,
        _ = tokio::signal::ctrl_c() => false,
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    if restart {
        // The answer to the request that asked for it is still on its way.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    Ok(restart)
}

/// Pages that follow the node follow its rows too.
async fn follow_store(node: Arc<Node>) {
    let mut changes = node.store.changes();
    while changes.changed().await.is_ok() {
        node.touch();
    }
}

fn open(dirs: &Dirs, args: &Args) -> Result<Node, Failure> {
    let state = dirs.state.join("serve");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&state)?;
    reserve::release(&state)?;
    let local = Local::open(&state.join("local.db"))?;
    let name = args
        .name
        .clone()
        .unwrap_or_else(crate::sys::name::host_name);
    let own = match args.address.is_empty() {
        false => args.address.clone(),
        true => address::own()?,
    };
    let node_id = node_id(&local)?;
    let identities = renewal::open(&local, &name, &own)?;
    let store = damage::open(&state, node_id, &local, &own)?;
    first_administrator(&store, &state)?;
    let node = Node::new(store, local, identities, name, own, state)?;
    node.run.get_or_init(|| dirs.run.clone());
    node.release.get_or_init(checks::release);
    if let Some(told) = &args.told_version {
        node.told_version.get_or_init(|| told.clone());
    }
    first_cluster(&node)?;
    Ok(node)
}

/// Setup may leave cluster fields too; they are taken once, and only by a standalone system.
fn first_cluster(node: &Node) -> Result<(), Failure> {
    let path = node.state.join("initial-cluster.json");
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        text => Zeroizing::new(text?),
    };
    let fields: ClusterFields = serde_json::from_slice(&text)?;
    if node.addresses.borrow().is_empty() {
        tracing::info!("the cluster fields of the first boot wait for an address of this system");
        return Ok(());
    }
    if node.cluster.borrow().fields.is_blank()
        && let Err(error) = node.save(&fields.change())
    {
        tracing::error!("the cluster fields of the first boot were refused: {error}");
    }
    std::fs::remove_file(&path)?;
    Ok(())
}

fn node_id(local: &Local) -> Result<[u8; 16], Failure> {
    if let Some(saved) = local.value("node_id")? {
        return Ok(saved
            .as_slice()
            .try_into()
            .map_err(|_| "local.db: a damaged node id")?);
    }
    let fresh: [u8; 16] = random();
    local.set(&[("node_id", Some(&fresh))])?;
    Ok(fresh)
}

#[derive(Deserialize)]
struct InitialAdministrator {
    name: String,
    hash: String,
    #[serde(default)]
    default: bool,
}

/// Setup leaves the first administrator in a file, which is taken once. It never replaces an
/// administrator that is there, so a file laid down later changes nothing.
fn first_administrator(store: &Store, state: &Path) -> Result<(), Failure> {
    let path = state.join("initial-admin.json");
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    if administrators::count(store)? == 0 {
        let first: InitialAdministrator = serde_json::from_slice(&text)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let first = Administrator {
            name: first.name,
            hash: first.hash,
            role: "administrator".into(),
            change_password: first.default,
        };
        administrators::put(store, &first)?;
        tracing::info!("the first administrator is {}", first.name);
    }
    std::fs::remove_file(&path)?;
    Ok(())
}

/// The mode of `serve.sock`: anybody may connect, SO_PEERCRED decides.
fn open_to_all(path: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
}
