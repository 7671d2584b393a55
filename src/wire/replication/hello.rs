//! The first frame of each side, and the positions that it and acknowledgements carry.

use serde::{Deserialize, Serialize};

use super::FrameError;

/// How many origins one frontier may list.
pub const MAX_ORIGINS: usize = 8_192;
/// How many characters a name or a version may have.
pub const MAX_NAME: usize = 64;

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
    /// Its present incarnation.
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
}

impl Hello {
    pub(super) fn check(&self) -> Result<(), FrameError> {
        name("the name in a hello", &self.name)?;
        name("the version in a hello", &self.version)?;
        frontier(&self.frontier)
    }
}

fn name(what: &'static str, text: &str) -> Result<(), FrameError> {
    if text.chars().count() > MAX_NAME {
        return Err(FrameError::TooMany {
            what,
            limit: MAX_NAME,
        });
    }
    Ok(())
}

/// Bounded, and each origin once.
pub(super) fn frontier(list: &WireFrontier) -> Result<(), FrameError> {
    if list.len() > MAX_ORIGINS {
        return Err(FrameError::TooMany {
            what: "the origins of a frontier",
            limit: MAX_ORIGINS,
        });
    }
    if list.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return Err(FrameError::Order("the origins of a frontier"));
    }
    Ok(())
}
