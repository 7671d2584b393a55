//! What `serve` asks of the `host` role: a closed list of typed values.

use serde::{Deserialize, Serialize};

use super::System;
use crate::tunnel::message::PeerList;

/// `serve` (or root) to `host`; each is answered by one [`HostReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostRequest {
    /// Validates, keeps and applies these settings.
    Apply(System),
    /// Keeps the peers and renders `peers.json` and the firewall; `None`: standalone.
    SetPeers(Option<PeerList>),
    /// Restarts the other roles.
    Restart,
    /// Restarts the machine.
    Reboot,
    /// Switches the machine off.
    PowerOff,
    /// Tells the settings as kept.
    Read,
}

/// `host`'s answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostReply {
    /// Done (or, for what ends the asker, begun).
    Done,
    /// Refused or failed, in words.
    Failed(String),
    /// The settings; `None` before the first setup.
    Settings(Option<Box<System>>),
}
