//! What goes into a session and what comes out of it: clocks, actions, their results, events.

use super::{Message, Proofs, Proven, Step};
use crate::replica::change::Logged;
use crate::replica::frontier::{Frontier, Position};
use crate::replica::{ClusterId, Incarnation, NodeId};
use crate::wire::replication::{Partial, Piece, SnapshotId, Tag, Told};

/// What this side is.
#[derive(Clone, Debug)]
pub struct Local {
    /// Our name, to be shown.
    pub name: String,
    /// Our software version.
    pub version: String,
    /// A digest of the tables that our software brings.
    pub schema: u64,
    /// Our node.
    pub node: NodeId,
    /// Our present incarnation.
    pub incarnation: Incarnation,
    /// The cluster we are a member of.
    pub cluster: Option<ClusterId>,
    /// What we have durably applied.
    pub frontier: Frontier,
    /// The large transaction that an earlier link left half received.
    pub partial: Option<Partial>,
    /// The snapshot that an earlier link left half received, and how many bytes are held.
    pub resume: Option<(SnapshotId, u64)>,
    /// The nodes counted as peers of our cluster, as far as they were met.
    pub peers: Vec<NodeId>,
    /// How many more are configured and were never met.
    pub unmet: u8,
    /// When the link proves that both hold the same rows.
    pub proofs: Proofs,
}

/// The two clocks, passed in, and what is known of one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic microseconds.
    pub us: u64,
    /// Wall clock, milliseconds since 1970.
    pub wall_ms: u64,
    /// Whether the wall clock is synchronized.
    pub synchronized: bool,
}

/// A transaction that is sent in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Large {
    /// Who wrote it.
    pub origin: Incarnation,
    /// Its number there.
    pub seq: u64,
    /// Its size in bytes.
    pub total: u64,
    /// Of the chain hash after it.
    pub chain: Tag,
    /// Where it lies in our log.
    pub position: i64,
}

/// What becomes of what is here when a snapshot takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The system adopts a cluster: what was here stays in the backup only.
    Adopt,
    /// A member catches up: what its log holds beyond the snapshot goes on over it.
    CatchUp,
    /// Neither member's log goes back to what the other holds: what the rows here hold beyond the
    /// snapshot is written over it again, and all that was here stays in the backup.
    Rebase,
}

/// What the shell does for the session. Each is answered with the [`Done`] it names; those of one
/// [`Action::lane`] are carried out in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Apply these durably: [`Done::Applied`].
    Apply(Vec<Logged>),
    /// Write a piece of a large transaction, 0 starting it anew: [`Done::PieceWritten`].
    WritePiece(Piece),
    /// Apply the large transaction whose pieces are all written: [`Done::Applied`].
    ApplyLarge {
        /// Who wrote it.
        origin: Incarnation,
        /// Its number there.
        seq: u64,
    },
    /// Read the log for a peer at `frontier` from `position` (`None`: find out where to start):
    /// [`Done::Read`].
    Read {
        /// What the peer has or was sent.
        frontier: Frontier,
        /// Where to read on.
        position: Option<i64>,
    },
    /// Read on in a large transaction: [`Done::LargeRead`].
    ReadLarge {
        /// Which.
        large: Large,
        /// From where.
        offset: u64,
    },
    /// Stage a snapshot, or find the one asked for: [`Done::Staged`].
    Stage {
        /// What the joiner holds a part of.
        wanted: Option<SnapshotId>,
    },
    /// Read a piece of the staged snapshot: [`Done::ChunkRead`].
    ReadChunk {
        /// From where.
        offset: u64,
    },
    /// Make room for a snapshot, or go on with what is held of it; no answer.
    Accept {
        /// Which.
        id: SnapshotId,
        /// In bytes.
        size: u64,
        /// How much of it is held.
        offset: u64,
    },
    /// Write a piece of the arriving snapshot: [`Done::ChunkWritten`].
    WriteChunk {
        /// Where it belongs.
        offset: u64,
        /// The piece.
        bytes: Vec<u8>,
    },
    /// Verify the arrived snapshot and swap it in; the link ends after it.
    SwapIn {
        /// What it must hash to.
        digest: [u8; 32],
        /// The cluster it belongs to.
        cluster: ClusterId,
        /// What becomes of what is here.
        swap: Swap,
    },
    /// Take a step of a proof: [`Done::Proved`].
    Prove(Step),
    /// Ask for the one place that an arriving snapshot has: [`Done::Claimed`].
    Claim,
    /// Read some of an origin's chain hashes, the latest first: [`Done::Chains`].
    Chains {
        /// Which origin.
        origin: Incarnation,
        /// Where the shorter history ended when both greeted, as far as known.
        upto: u64,
    },
    /// Go on under a fresh incarnation, unless this is the present one no more; the link ends after
    /// it.
    Renew {
        /// Our present incarnation, of which there is another history.
        origin: Incarnation,
    },
    /// Issue our history of an origin beyond a number again; the link ends after it.
    Reissue {
        /// Which origin.
        origin: Incarnation,
        /// The last number that stays.
        after: u64,
    },
    /// Take what names another history of an origin than the one that both sides hold, up to a
    /// number; no answer.
    Trust {
        /// Which origin.
        origin: Incarnation,
        /// The last number that both hold.
        upto: u64,
    },
    /// Tell the node; no answer.
    Event(Event),
}

impl Action {
    /// 0: what writes, 1: what reads. The lanes do not wait for each other.
    pub fn lane(&self) -> usize {
        match self {
            Action::Read { .. }
            | Action::ReadLarge { .. }
            | Action::Stage { .. }
            | Action::Prove(_)
            | Action::Chains { .. }
            | Action::ReadChunk { .. } => 1,
            _ => 0,
        }
    }
}

/// What became of an [`Action`].
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// Applied durably; our frontier after it.
    Applied(Frontier),
    /// A piece of a large transaction was written.
    PieceWritten,
    /// What was found in the log, in an order that keeps causality, each of at most
    /// [`super::BATCH`] bytes.
    Read {
        /// All but the large one.
        found: Vec<Logged>,
        /// What comes after them and is larger.
        large: Option<Large>,
        /// Where to read on after all of it.
        position: i64,
    },
    /// Read on in a large transaction, at most [`super::PIECES`] bytes.
    LargeRead {
        /// From where.
        offset: u64,
        /// What was there.
        bytes: Vec<u8>,
    },
    /// The log no longer goes back to what the peer holds; in place of [`Done::Read`].
    Trimmed {
        /// An origin of which something left the log that the peer lacked when this was asked for.
        origin: Incarnation,
        /// The last of it that left.
        first: u64,
        /// The peer may hold another history of what left the log: it is to deliver nothing before
        /// it has taken a snapshot.
        apart: bool,
    },
    /// The peer has another history of an origin; in place of [`Done::Read`].
    Forked {
        /// Which origin.
        origin: Incarnation,
    },
    /// Chain hashes were read.
    Chains {
        /// Whose.
        origin: Incarnation,
        /// The latest first.
        chains: Vec<Position>,
    },
    /// Whether the one place for an arriving snapshot is ours now.
    Claimed(bool),
    /// A snapshot is staged.
    Staged {
        /// Which.
        id: SnapshotId,
        /// In bytes.
        size: u64,
    },
    /// A piece of the staged snapshot was read, at most [`super::CHUNK`] bytes.
    ChunkRead {
        /// From where.
        offset: u64,
        /// What was there.
        bytes: Vec<u8>,
        /// The BLAKE3 digest of the whole, with the last piece.
        digest: Option<[u8; 32]>,
    },
    /// A step of a proof was taken: what to say next, or what was found.
    Proved(Result<Message, Proven>),
    /// The arriving snapshot is written up to here.
    ChunkWritten {
        /// The next byte to come.
        end: u64,
    },
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
        /// The nodes it counts as peers of its cluster.
        peers: Vec<NodeId>,
        /// How many more it has configured and never met.
        unmet: u8,
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
    /// A proof ended.
    Proven(Proven),
    /// A ping was answered.
    RoundTrip {
        /// Microseconds there and back, of this ping.
        us: u64,
        /// How far the peer's wall clock is ahead of ours, in milliseconds: by the quickest of
        /// the last pings.
        clock_offset_ms: i64,
        /// Whether the peer's clock is synchronized, by its own word.
        synchronized: bool,
    },
    /// The peer says how it sees the prerequisites of clustering.
    Checks(Vec<Told>),
}
