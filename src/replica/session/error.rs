//! Why a session ends.

use super::{SILENCE_MS, UNANSWERED_MS};
use crate::replica::Incarnation;
use crate::replica::change::MAX_TRANSACTION;

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
    /// The tables that the software brings differ.
    #[error(
        "the peer's tables have schema {theirs:016x}, this system's {ours:016x}: install the same \
         software on both"
    )]
    Schema {
        /// Ours.
        ours: u64,
        /// Theirs.
        theirs: u64,
    },
    /// Both claim to be the same machine.
    #[error("the peer has this system's own node id: one is a copy; set it up anew")]
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
    /// A transaction whose predecessor was not sent.
    #[error(
        "the peer sent transaction {seq} of origin {origin:016x} out of order: {expected} is next"
    )]
    Gap {
        /// Whose.
        origin: Incarnation,
        /// What came.
        seq: u64,
        /// What should have come.
        expected: u64,
    },
    /// More is under way than a window holds.
    #[error("the peer sends on without waiting for acknowledgements")]
    Overrun,
    /// What was acknowledged was never sent.
    #[error("the peer acknowledges what was never sent to it")]
    Unsent,
    /// A transaction beyond what replicates.
    #[error("the peer sends a transaction of {0} bytes, at most {MAX_TRANSACTION} replicate")]
    TooLarge(u64),
    /// Nothing was heard for [`SILENCE_MS`].
    #[error("nothing was heard from the peer for {} s", SILENCE_MS / 1000)]
    Silence,
    /// Pings stay unanswered for [`UNANSWERED_MS`]: the peer sends, but does not read.
    #[error("the peer has answered nothing for {} s", UNANSWERED_MS / 1000)]
    Unanswered,
    /// What was promised or sent got no further in the time that it has.
    #[error("the peer answers, but gets no further")]
    Stalled,
}
