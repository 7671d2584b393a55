//! Looks at the prerequisites of clustering every few seconds, so that each peer is told how they
//! stand as seen from here, and probes the paths to the peers for what fits through them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::host;
use super::node::{Node, VERSION};
use crate::cluster::{Path, PathMtu, probe, told};
use crate::sys::echo::Echo;
use crate::sys::socket::path_mtu;
use crate::tls::release;

/// How often the prerequisites are looked at.
const PERIOD: Duration = Duration::from_secs(3);
/// How often paths are probed.
const PROBE: Duration = Duration::from_secs(60);
/// Where an image says what it is, with its builder's signature and certificate.
const RELEASE: &str = "/usr/share/tutti";

/// Looks for ever.
pub async fn run(node: Arc<Node>) {
    let mut cluster = node.cluster.subscribe();
    loop {
        // Where the settings cannot be read, the checks say so.
        let system = host::settings(&node).await.ok();
        let all = node.prerequisites(system.as_ref());
        for (field, address) in node.others() {
            node.telling(address).send_if_modified(|current| {
                let news = told(&all, field);
                let changed = *current != news;
                *current = news;
                changed
            });
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            _ = cluster.changed() => {}
        }
    }
}

/// Probes the paths to the peers for ever: at once when the fields change or a tunnel comes up
/// that did not stand at the last look, and every minute.
pub async fn paths(node: Arc<Node>) {
    let mut cluster = node.cluster.subscribe();
    let mut tunnels = node.tunnels.subscribe();
    loop {
        let up = node.up();
        if let Some(local) = node.local_address() {
            for (_, peer) in node.others() {
                let path = tokio::task::spawn_blocking(move || path(local, peer)).await;
                let path = path.unwrap_or_default();
                node.paths.send_modify(|paths| {
                    paths.insert(peer, path);
                });
            }
        }
        let more = async { while tunnels.changed().await.is_ok() && node.up().is_subset(&up) {} };
        tokio::select! {
            () = tokio::time::sleep(PROBE) => {}
            () = more => {}
            _ = cluster.changed() => {}
        }
    }
}

fn path(local: IpAddr, peer: IpAddr) -> Path {
    let Ok(route) = path_mtu(local, peer) else {
        return Path::default();
    };
    // IPv6's least; an IPv4 path that takes less is not one that anybody would cluster over.
    const LEAST: u32 = 1280;
    /// Of the echo whose time counts, as ping(8) sends it, in octets.
    const SMALL: u32 = 84;
    let Ok(mut echo) = Echo::open(local, peer) else {
        return Path {
            mtu: PathMtu::Route(route),
            round_trip_us: None,
        };
    };
    // Echoes do not go through AH, so more of the path is theirs.
    let route = echo.route().unwrap_or(route);
    let mtu = probe(route, LEAST, |octets| echo.round_trip(octets).is_some());
    let trip = echo.round_trip(SMALL);
    Path {
        mtu,
        round_trip_us: trip.map(|trip| trip.as_micros() as u64),
    }
}

/// Who signed the image that this system was started from; none for what is no image.
pub fn release() -> Option<Result<String, String>> {
    let dir = std::path::Path::new(RELEASE);
    let statement = std::fs::read(dir.join("release")).ok()?;
    let read = |name: &str| {
        std::fs::read(dir.join(name)).map_err(|error| format!("{name} cannot be read: {error}"))
    };
    let judged = read("release.sig").and_then(|signature| {
        let certificate = read("builder.cer")?;
        release::check(&statement, &signature, &certificate, VERSION)
    });
    Some(judged)
}
