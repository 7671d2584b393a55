//! A line in the event log for each change of a peer's state: of its tunnel as `ike` tells them, so
//! that none is missed however soon it is over, and of all else as `watch` sees it.

use std::net::IpAddr;
use std::sync::PoisonError;

use super::node::{Node, PeerView};
use crate::cluster::Colour;
use crate::store::events::{Event, Kind, Level};
use crate::tunnel::message::PeerStatus;

impl Node {
    /// A peer's tunnel changed its state.
    pub(super) fn hear_change(&self, status: PeerStatus) {
        let address = status.address;
        self.tunnels.send_modify(|all| {
            let all = all.get_or_insert_default();
            match all.iter_mut().find(|known| known.address == address) {
                Some(known) => *known = status,
                None => all.push(status),
            }
        });
        let view = self.view();
        for peer in view.peers.iter().filter(|p| p.address == Some(address)) {
            self.note_state(peer);
        }
        self.touch();
    }

    /// Writes a line if a peer's state is another than the one that was written last.
    pub(super) fn note_state(&self, peer: &PeerView) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(address), Some(state)) = (peer.address, &peer.state) else {
            noted.remove(&peer.field);
            return;
        };
        let now = (address, steady(&state.text));
        if noted.get(&peer.field) == Some(&now) {
            return;
        }
        noted.insert(peer.field, now);
        let level = match state.colour {
            Colour::Green => Level::Information,
            _ => Level::Warning,
        };
        let text = format!("Peer {}: {}", peer.field, state.text);
        self.note(&Event {
            source: address.to_string(),
            ..Event::new(Kind::Cluster, level, text)
        });
    }
}

/// The state of each field that was written last.
pub(super) type Noted = std::collections::HashMap<u8, (IpAddr, String)>;

/// The words without their figures, so that a rising percentage is one state.
pub(super) fn steady(text: &str) -> String {
    match text.starts_with("Active as") {
        true => text.to_owned(),
        false => text.chars().filter(|c| !c.is_ascii_digit()).collect(),
    }
}
