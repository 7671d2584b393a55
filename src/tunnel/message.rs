//! What the roles say to each other about tunnels: `serve` to `ike`, and `ike` to `keyer`.
//!
//! Values only; the sockets that carry them (length-prefixed postcard) are in `node::ipc`.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use crate::ike::suite::{Integrity, Profile};
pub use crate::ike::{Dropped, Presented};

pub use super::status::{
    AhSuite, AhTraffic, Carried, LastError, PeerStatus, SaCounters, TunnelState,
};

/// Bytes that must not reach a log: `Debug` shows only their length.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// SHA-256 of a node certificate's DER.
pub type CertDigest = [u8; 32];

/// One other peer, as the cluster fields name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// Its address, one of the Peer 1-3 IP address fields.
    pub address: IpAddr,
    /// The kernel's request id of all its SAs and policies: 7400 + field number (1 to 3).
    pub reqid: u32,
}

/// The reqid that belongs to a Peer field, 1 to 3.
pub fn reqid(field: u8) -> u32 {
    7400 + u32::from(field)
}

/// The peer list without secrets: root renders it to `peers.json` in the run directory, where
/// `keyer` reads it, and to nftables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerList {
    /// This system's own address among the fields.
    pub local: IpAddr,
    /// The other peers, at most two.
    pub peers: Vec<Peer>,
}

/// All that `ike` needs to know; each new one replaces the last, untouched tunnels stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Who we are and who the others are.
    pub list: PeerList,
    /// The cluster pre-shared key.
    pub key: Secret,
    /// This node's certificate, while it is renewed with another: told to authenticated peers.
    pub certificate: Presented,
    /// What may be negotiated; the same at all peers.
    pub profile: Profile,
    /// Certificates instead of the key, at all peers.
    pub certificates: Option<Box<Certificates>>,
    /// A post-quantum key beside either, at all peers (RFC 8784); in IKEv2 only.
    pub ppk: Option<Box<Ppk>>,
}

/// A post-quantum pre-shared key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ppk {
    /// Its identity, the same at all peers; no secret.
    pub id: String,
    /// Its octets.
    pub secret: Secret,
}

/// Authentication by certificates. All is DER.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    /// Our certificate, then intermediate ones.
    pub chain: Vec<Vec<u8>>,
    /// Its private key, PKCS #8.
    pub key: Secret,
    /// Trusted authorities.
    pub authorities: Vec<Vec<u8>>,
    /// Revocation lists; with any, each certificate of a peer must be covered by a current one.
    pub revoked: Vec<Vec<u8>>,
    /// Names of peers whose certificate names no address.
    pub names: Vec<(IpAddr, String)>,
}

/// `serve` to `ike`. The connection stays open; replies are [`IkeEvent`]s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IkeRequest {
    /// Sets the desired state; `None` takes all tunnels down (standalone).
    Configure(Option<Desired>),
    /// Asks for one [`IkeEvent::Status`] now.
    Status,
    /// Names the peers of whose link on port 4372 nothing is heard although their tunnel stands.
    Silent(Vec<IpAddr>),
    /// Asks for one [`IkeEvent::Traffic`].
    Traffic,
}

/// `ike` to `serve`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IkeEvent {
    /// All peers, sent on connecting, on every change and when asked.
    Status(Vec<PeerStatus>),
    /// Silent peers from which no AH arrives although we send: IP protocol 51 is blocked. Sent on
    /// connecting and on every change.
    Blocked(Vec<IpAddr>),
    /// A peer's tunnel changed its state: every change, in their order, each before a status that
    /// has it.
    Changed(PeerStatus),
    /// What was counted since both services started.
    Traffic {
        /// By the kernel, for each peer of which `keyer` could tell.
        peers: Vec<(IpAddr, AhTraffic)>,
        /// Datagrams to UDP 500 that were dropped.
        dropped: Dropped,
    },
}

/// One direction of an AH pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AhSa {
    /// The peer it belongs to; must be in the peer list.
    pub peer: IpAddr,
    /// Security parameters index, above 255.
    pub spi: u32,
    /// Towards us (`true`) or towards the peer.
    pub inbound: bool,
    /// The algorithm; its truncation follows from it.
    pub integrity: Integrity,
    /// Key, as long as the algorithm takes.
    pub key: Secret,
    /// 64-bit sequence numbers.
    pub esn: bool,
}

/// `ike` to `keyer`; each is answered by one [`KeyerReply`], in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyerRequest {
    /// Reads the rendered peer list again and brings the policies into line.
    Reload,
    /// Installs one SA (an outbound one replaces the outbound SA of that peer atomically).
    Install(AhSa),
    /// Removes one SA.
    Remove {
        /// The peer it belongs to.
        peer: IpAddr,
        /// Its SPI.
        spi: u32,
        /// Its direction.
        inbound: bool,
    },
    /// Counters of one peer's SAs.
    Counters {
        /// The peer.
        peer: IpAddr,
    },
    /// Removes every SA of our reqids that is not named here (on start).
    Retain(Vec<u32>),
}

/// `keyer` to `ike`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyerReply {
    /// Done.
    Done,
    /// Refused or failed, in words.
    Failed(String),
    /// Counters of the SAs of a peer.
    Counters {
        /// Those that the kernel holds.
        standing: Vec<SaCounters>,
        /// Of those that `keyer` removed since it started.
        removed: AhTraffic,
    },
    /// Unasked: traffic to a peer found no SA.
    Acquire {
        /// The peer.
        peer: IpAddr,
    },
    /// Unasked: a kernel lifetime ran out.
    Expired {
        /// The peer.
        peer: IpAddr,
        /// The SA's SPI.
        spi: u32,
    },
}
