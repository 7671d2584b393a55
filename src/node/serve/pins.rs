//! Which certificates a peer's link may present: what `ike` authenticated, while its tunnel stands.

use std::net::IpAddr;

use super::node::Node;
use crate::tunnel::message::{Presented, TunnelState};

/// The certificates that `ike` authenticated for this peer, while its tunnel stands.
pub fn pins(node: &Node, peer: IpAddr) -> Option<Presented> {
    let tunnels = node.tunnels.borrow();
    let status = tunnels
        .as_ref()?
        .iter()
        .find(|status| status.address == peer)?;
    match status.state {
        TunnelState::Up { certificate } => certificate,
        _ => None,
    }
}

/// Waits until the peer's tunnel stands.
pub async fn wait_up(node: &Node, peer: IpAddr) -> Presented {
    let mut tunnels = node.tunnels.subscribe();
    loop {
        tunnels.mark_unchanged();
        if let Some(pins) = pins(node, peer) {
            return pins;
        }
        // The sender lives in `node`, so this cannot fail while we hold it.
        let _ = tunnels.changed().await;
    }
}

/// Returns once the peer's tunnel is down or names another certificate, to which no announcement
/// led: the old and the new one together. A silent `ike` (restarted) does not count: the SAs stand
/// in the kernel, and the pin was authenticated.
pub async fn wait_down(node: &Node, peer: IpAddr, mut held: Presented) {
    let mut tunnels = node.tunnels.subscribe();
    loop {
        tunnels.mark_unchanged();
        if tunnels.borrow().is_some() {
            match pins(node, peer) {
                Some(pins) if pins.meets(&held) => held = pins,
                _ => return,
            }
        }
        let _ = tunnels.changed().await;
    }
}
