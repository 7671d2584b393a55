//! The first frame of each side, and the positions that it and acknowledgements carry.

use serde::{Deserialize, Serialize};

use super::{FrameError, Tag};

/// How many origins one frontier may list.
pub const MAX_ORIGINS: usize = 8_192;
/// How many characters a name or a version may have.
pub const MAX_NAME: usize = 64;

/// How many peers one hello may list.
pub const MAX_PEERS: usize = 8;
/// How many chain hashes one frame may tell.
pub const MAX_CHAINS: usize = 128;

/// A frontier as sent: origin incarnation, last sequence number, chain hash; by rising origin.
pub type WireFrontier = Vec<(u64, u64, [u8; 32])>;

/// A transaction that is too large for one frame and has arrived in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partial {
    /// Who wrote it.
    pub origin: u64,
    /// Its number there.
    pub seq: u64,
    /// Its size in bytes.
    pub total: u64,
    /// Of the chain hash after it.
    pub chain: Tag,
    /// How many bytes of it, from its front, are held.
    pub held: u64,
}

/// What each side says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`super::PROTOCOL`].
    pub protocol: u16,
    /// The cluster it is a member of.
    pub cluster: Option<[u8; 16]>,
    /// Its node.
    pub node: [u8; 16],
    /// Its present incarnation, never 0.
    pub incarnation: u64,
    /// Its name, to be shown; at most [`MAX_NAME`] characters.
    pub name: String,
    /// Its software version; at most [`MAX_NAME`] characters.
    pub version: String,
    /// A digest of the tables that its software brings.
    pub schema: u64,
    /// Its wall clock, milliseconds since 1970.
    pub wall_ms: u64,
    /// What it has durably applied.
    pub frontier: WireFrontier,
    /// What an earlier link left half sent.
    pub partial: Option<Partial>,
    /// The nodes it counts as peers of its cluster, as far as it has met them; at most
    /// [`MAX_PEERS`].
    pub peers: Vec<[u8; 16]>,
    /// How many more it has configured and not met.
    pub unmet: u8,
}

impl Hello {
    pub(super) fn check(&self) -> Result<(), FrameError> {
        name("the name in a hello", &self.name)?;
        name("the version in a hello", &self.version)?;
        bounded("the peers of a hello", self.peers.len(), MAX_PEERS)?;
        if self.incarnation == 0 {
            return Err(FrameError::Order("a hello of incarnation 0"));
        }
        frontier(&self.frontier)
    }
}

fn name(what: &'static str, text: &str) -> Result<(), FrameError> {
    bounded(what, text.chars().count(), MAX_NAME)
}

fn bounded(what: &'static str, count: usize, limit: usize) -> Result<(), FrameError> {
    if count > limit {
        return Err(FrameError::TooMany { what, limit });
    }
    Ok(())
}

/// Chain hashes of one origin, the latest first.
pub(super) fn chains(list: &[(u64, [u8; 32])]) -> Result<(), FrameError> {
    bounded("the chain hashes of a history", list.len(), MAX_CHAINS)?;
    if list.windows(2).any(|pair| pair[0].0 <= pair[1].0) {
        return Err(FrameError::Order("the chain hashes of a history"));
    }
    Ok(())
}

/// Bounded, and each origin once.
pub(super) fn frontier(list: &WireFrontier) -> Result<(), FrameError> {
    bounded("the origins of a frontier", list.len(), MAX_ORIGINS)?;
    if list.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return Err(FrameError::Order("the origins of a frontier"));
    }
    Ok(())
}
