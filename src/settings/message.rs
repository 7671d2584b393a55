//! What `serve` asks of the `host` role: a closed list of typed values.

use serde::{Deserialize, Serialize};

use super::System;
use crate::tunnel::message::PeerList;

/// `serve` (or root) to `host`; each is answered by one [`HostReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostRequest {
    /// Validates, keeps and applies these settings.
    Apply(System),
    /// As `Apply`, for a change that may cut the asker off: it is put back by itself after
    /// [`TRIAL_S`] unless `Confirm` comes first, also when the machine restarts meanwhile.
    Try(System),
    /// Keeps what was tried.
    Confirm,
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
    /// What the console shows of the service, above its login.
    Show(Shown),
    /// Tells the changes after the one of this number that the asker did not ask for.
    Changes(u64),
    /// Keeps the root password that passwd(1) wrote.
    KeepRootPassword,
}

/// A change of the settings at a console, by a command of root, or because nobody confirmed them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostChange {
    /// Rises from one to the next.
    pub number: u64,
    /// Whether somebody should look at it.
    pub warning: bool,
    /// Who; empty for the system itself.
    pub who: String,
    /// Where: a console, a command.
    pub source: String,
    /// What happened.
    pub text: String,
    /// The changed fields as they were.
    pub before: String,
    /// And as they are.
    pub after: String,
}

/// How long a change on trial waits to be confirmed, in seconds.
pub const TRIAL_S: u16 = 60;

/// The service in the console's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// SHA-256 of the certificate that the web shows.
    pub certificate: Vec<u8>,
    /// One line a peer; empty: standalone.
    pub peers: Vec<String>,
    /// What is wrong, each with what to do.
    pub alarms: Vec<(String, String)>,
}

/// A change of the network that waits to be confirmed, or that waited in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Seconds until it is put back.
    pub left_s: Option<u16>,
    /// When the last one was put back, in Unix milliseconds; forgotten at a restart of the role.
    pub put_back_ms: Option<u64>,
}

/// `host`'s answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostReply {
    /// Done (or, for what ends the asker, begun).
    Done,
    /// Refused or failed, in words.
    Failed(String),
    /// The settings, `None` before the first setup, and what became of a trial.
    Settings(Option<Box<System>>, Trial),
    /// What changed.
    Changes {
        /// The first one first.
        all: Vec<HostChange>,
        /// Whether the password of root is still that of the set-up file.
        root_password_default: bool,
    },
}
