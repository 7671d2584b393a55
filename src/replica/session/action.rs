//! What goes into a session and what comes out of it: clocks, actions, events, errors.

use super::SILENCE_MS;
use crate::replica::change::Logged;
use crate::replica::frontier::Frontier;
use crate::replica::{ClusterId, Incarnation, NodeId};
use crate::wire::replication::Frame;

/// What this side is.
#[derive(Clone, Debug)]
pub struct Local {
    /// Our name, to be shown.
    pub name: String,
    /// Our software version.
    pub version: String,
    /// Our node.
    pub node: NodeId,
    /// Our present incarnation.
    pub incarnation: Incarnation,
    /// The cluster we are a member of.
    pub cluster: Option<ClusterId>,
    /// What we have durably applied.
    pub frontier: Frontier,
}

/// The two clocks, passed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic microseconds.
    pub us: u64,
    /// Wall clock, milliseconds since 1970.
    pub wall_ms: u64,
}

/// What the shell does for the session, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send it.
    Send(Frame),
    /// Apply these durably; report with [`super::Session::applied`].
    Apply(Vec<Logged>),
    /// Read the log for a peer at `frontier` from `position` (`None`: find out where to start);
    /// report with [`super::Session::read`].
    Read {
        /// What the peer has or was sent.
        frontier: Frontier,
        /// Where to read on.
        position: Option<i64>,
    },
    /// Stage a snapshot; report with [`super::Session::staged`].
    Stage,
    /// Read a piece of the staged snapshot; report with [`super::Session::chunk`].
    ReadChunk {
        /// From where.
        offset: u64,
    },
    /// Write a piece of the arriving snapshot; 0 starts it anew.
    WriteChunk {
        /// Where it belongs.
        offset: u64,
        /// The piece.
        bytes: Vec<u8>,
    },
    /// Verify the arrived snapshot and swap it in; the link ends after it.
    SwapIn {
        /// What it must hash to.
        sha256: [u8; 32],
        /// The cluster it belongs to.
        cluster: ClusterId,
    },
    /// Tell the node.
    Event(Event),
}

/// What a session tells the node.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The peer has said who it is.
    Hello {
        /// Its name.
        name: String,
        /// Its node.
        node: NodeId,
        /// Its software version.
        version: String,
        /// Its cluster.
        cluster: Option<ClusterId>,
    },
    /// A snapshot is arriving.
    Joining {
        /// How much of it, 0 to 100.
        percent: u8,
    },
    /// Transactions are being exchanged that were committed before the link was up.
    CatchingUp {
        /// How many are still missing here.
        changes: u64,
    },
    /// Both stream as they commit.
    Live {
        /// How many of ours the peer has not acknowledged.
        behind: u64,
    },
    /// A ping was answered.
    RoundTrip {
        /// Microseconds there and back.
        us: u64,
        /// How far the peer's wall clock is ahead of ours, in milliseconds.
        clock_offset_ms: i64,
    },
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// It is a member of another cluster.
    #[error("the peer belongs to another cluster")]
    OtherCluster,
    /// Neither side has a cluster.
    #[error("neither side is a member of a cluster yet; one has to found it")]
    NoCluster,
    /// Software versions differ.
    #[error("the peer runs version {theirs}, this system {ours}: they do not replicate")]
    Version {
        /// Ours.
        ours: String,
        /// Theirs.
        theirs: String,
    },
    /// Both claim to be the same machine.
    #[error("the peer has this system's own node id: one is a copy of the other")]
    SameNode,
    /// An origin's history differs between the two.
    #[error("histories of origin {origin:016x} differ at {seq}: one side was restored or copied")]
    Fork {
        /// Which origin.
        origin: Incarnation,
        /// At which transaction.
        seq: u64,
    },
    /// A frame that has no place now.
    #[error("an unexpected frame: {0}")]
    Unexpected(&'static str),
    /// Nothing was heard for [`SILENCE_MS`].
    #[error("nothing was heard from the peer for {} s", SILENCE_MS / 1000)]
    Silence,
}
