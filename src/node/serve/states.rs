//! A line in the event log for each change of a peer's state: of its tunnel as `ike` tells them, so
//! that none is missed however soon it is over, and of all else as `watch` sees it.

use std::net::IpAddr;
use std::sync::{MutexGuard, PoisonError};

use super::node::Node;
use crate::cluster::Colour;
use crate::store::events::{Event, Kind, Level};
use crate::tunnel::message::PeerStatus;

impl Node {
    /// A peer's tunnel changed its state.
    pub(super) fn hear_change(&self, status: PeerStatus) {
        let mut noted = self.noted();
        // Before the first status nothing is known of any peer, and that comes at once.
        let known = self.tunnels.send_if_modified(|all| {
            let Some(all) = all else { return false };
            match all.iter_mut().find(|s| s.address == status.address) {
                Some(before) => *before = status,
                None => all.push(status),
            }
            true
        });
        if known {
            self.write_states(&mut noted);
            self.touch();
        }
    }

    /// Writes a line for each peer whose state is another than the one that was written last.
    pub(super) fn note_states(&self) {
        self.write_states(&mut self.noted());
    }

    /// Held while a state is read and written: what was read before a change is not written after.
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_states(&self, noted: &mut Noted) {
        for peer in self.view().peers {
            let (Some(address), Some(state)) = (peer.address, peer.state) else {
                noted.remove(&peer.field);
                continue;
            };
            let now = (address, steady(&state.text));
            if noted.get(&peer.field) == Some(&now) {
                continue;
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
