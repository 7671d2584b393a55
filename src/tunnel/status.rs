//! What `ike` tells of each peer's tunnel: its state in values and in words, what was agreed, what
//! the kernel counted, and which datagrams were dropped.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ike::Presented;
use crate::ike::suite::{Integrity, Suite, Version};

/// One peer's tunnel, as `ike` sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The peer.
    pub address: IpAddr,
    /// Whether AH stands, and why not.
    pub state: TunnelState,
    /// Milliseconds since this state began.
    pub for_ms: u64,
    /// SPIs of the current AH pair, (inbound, outbound).
    pub spis: Option<(u32, u32)>,
    /// Established IKE SAs with this peer, and how often each kind was rekeyed.
    pub rekeys: (u32, u32),
    /// The node certificates of ours that the peer took last, while its tunnel stands.
    pub told: Option<Presented>,
    /// The version of IKE that is spoken with it.
    pub version: Version,
    /// What the IKE SA uses; none while there is no IKE SA.
    pub proposal: Option<Suite>,
    /// Whether a post-quantum pre-shared key is in its keys (RFC 8784).
    pub ppk: bool,
    /// What the current AH pair uses.
    pub ah: Option<AhSuite>,
    /// What was wrong before this state.
    pub last_error: Option<LastError>,
}

impl PeerStatus {
    /// Of a tunnel of which nothing but its state is known.
    pub fn of(address: IpAddr, state: TunnelState) -> Self {
        Self {
            address,
            state,
            for_ms: 0,
            spis: None,
            rekeys: (0, 0),
            told: None,
            version: Version::V2,
            proposal: None,
            ppk: false,
            ah: None,
            last_error: None,
        }
    }
}

/// What an AH pair uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AhSuite {
    /// The algorithm of both directions.
    pub integrity: Integrity,
    /// Whether sequence numbers have 64 bits, else 32.
    pub esn: bool,
}

impl fmt::Display for AhSuite {
    /// In strongSwan's keywords, such as `sha256-esn`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let esn = if self.esn { "esn" } else { "noesn" };
        write!(f, "{}-{esn}", self.integrity)
    }
}

/// Why a tunnel did not stand or carried nothing, at a time that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// The state that it was.
    pub state: TunnelState,
    /// The tunnel was up, but no AH arrived.
    pub blocked: bool,
    /// How many milliseconds ago it ended.
    pub ago_ms: u64,
}

/// The state of one peer's tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TunnelState {
    /// Nothing heard yet.
    Connecting,
    /// AH is up; the peer authenticated and named this certificate (`None`: not one of ours).
    Up {
        /// The peer's node certificates, authenticated by IKE.
        certificate: Option<Presented>,
    },
    /// No answer on UDP 500.
    NoAnswer,
    /// Authentication failed: the keys differ.
    AuthenticationFailed,
    /// With main mode what a peer of another key sends cannot be read, which may have other
    /// reasons: the keys probably differ.
    AuthenticationDoubted,
    /// The peer answered, but shares no proposal with us.
    NoProposal,
    /// The peer does not list this system.
    NotListed,
    /// The peer's certificate proves nothing; why.
    CertificateRefused(String),
    /// Anything else, in words.
    Failed(String),
}

impl TunnelState {
    /// Whether AH stands.
    pub fn is_up(&self) -> bool {
        matches!(self, TunnelState::Up { .. })
    }

    /// Whether a tunnel that goes over from one to the other changes its state: a renewed
    /// certificate is none.
    pub fn differs(&self, other: &Self) -> bool {
        self != other && !(self.is_up() && other.is_up())
    }

    /// Whether it says why there is no tunnel.
    pub fn is_fault(&self) -> bool {
        !self.is_up() && *self != TunnelState::Connecting
    }
}

impl fmt::Display for TunnelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TunnelState::Connecting => "connecting",
            TunnelState::Up { .. } => "up",
            TunnelState::NoAnswer => "no answer on UDP 500",
            TunnelState::AuthenticationFailed => "key mismatch: authentication failed",
            TunnelState::AuthenticationDoubted => {
                "key mismatch, probably: what it sends cannot be read"
            }
            TunnelState::NoProposal => "no common proposal",
            TunnelState::NotListed => "the peer does not list this system",
            TunnelState::CertificateRefused(why) => {
                return write!(f, "certificate refused: {why}");
            }
            TunnelState::Failed(why) => return write!(f, "failed: {why}"),
        })
    }
}

/// What the kernel counted on one SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaCounters {
    /// Security parameters index.
    pub spi: u32,
    /// Towards us.
    pub inbound: bool,
    /// Bytes carried.
    pub bytes: u64,
    /// Packets carried.
    pub packets: u64,
    /// Packets dropped as replays.
    pub replays: u32,
    /// Packets dropped for a wrong ICV.
    pub integrity_failures: u32,
}

/// What the kernel counted on all AH SAs with one peer, those that were replaced too, since
/// `keyer` started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AhTraffic {
    /// From the peer.
    pub received: Carried,
    /// To the peer.
    pub sent: Carried,
    /// Packets of the peer dropped because they came before, or too late to tell.
    pub replays: u64,
    /// Packets dropped because their integrity check failed: altered, or not made by the peer.
    pub integrity_failures: u64,
}

/// In one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Octets of IP packets.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
}

impl AhTraffic {
    /// Adds what was counted on one SA.
    pub fn add(&mut self, sa: &SaCounters) {
        let carried = match sa.inbound {
            true => &mut self.received,
            false => &mut self.sent,
        };
        carried.bytes = carried.bytes.saturating_add(sa.bytes);
        carried.packets = carried.packets.saturating_add(sa.packets);
        self.replays += u64::from(sa.replays);
        self.integrity_failures += u64::from(sa.integrity_failures);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_several_sas_add_up_by_direction() {
        let sa = |inbound, bytes, replays| SaCounters {
            spi: 300,
            inbound,
            bytes,
            packets: bytes / 10,
            replays,
            integrity_failures: 2 * replays,
        };
        let mut all = AhTraffic::default();
        for sa in [sa(true, 100, 1), sa(true, 20, 3), sa(false, 50, 0)] {
            all.add(&sa);
        }
        let carried = |bytes, packets| Carried { bytes, packets };
        assert_eq!(all.received, carried(120, 12));
        assert_eq!(all.sent, carried(50, 5));
        assert_eq!((all.replays, all.integrity_failures), (4, 8));
    }
}
