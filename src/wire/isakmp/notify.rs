//! Notify payload (RFC 7296 section 3.10).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Protocol ID  |   SPI Size    |      Notify Message Type      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                Security Parameter Index (SPI)                 ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                       Notification Data                       ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::{WireError, protocol};
use crate::wire::reader::Reader;

/// Notify message types that we send or understand.
pub mod kind {
    /// An unknown payload was marked critical.
    pub const UNSUPPORTED_CRITICAL_PAYLOAD: u16 = 1;
    /// There is no such IKE SA (RFC 7296 section 2.21.4).
    pub const INVALID_IKE_SPI: u16 = 4;
    /// The message does not parse.
    pub const INVALID_SYNTAX: u16 = 7;
    /// No proposal is acceptable.
    pub const NO_PROPOSAL_CHOSEN: u16 = 14;
    /// Another Diffie-Hellman group is wanted.
    pub const INVALID_KE_PAYLOAD: u16 = 17;
    /// The AUTH payload does not verify.
    pub const AUTHENTICATION_FAILED: u16 = 24;
    /// No traffic selector is acceptable.
    pub const TS_UNACCEPTABLE: u16 = 38;
    /// A collision of exchanges: try again later (RFC 7296 section 2.25).
    pub const TEMPORARY_FAILURE: u16 = 43;
    /// The child SA to be rekeyed does not exist.
    pub const CHILD_SA_NOT_FOUND: u16 = 44;
    /// No key exchange is under way to which this message could belong (RFC 9370).
    pub const STATE_NOT_FOUND: u16 = 47;
    /// Status types start here; everything below is an error.
    pub const FIRST_STATUS: u16 = 16384;
    /// The sender has no other IKE SA with the receiver.
    pub const INITIAL_CONTACT: u16 = 16384;
    /// Digest of the sender's address and port as it knows them.
    pub const NAT_DETECTION_SOURCE_IP: u16 = 16388;
    /// Digest of the receiver's.
    pub const NAT_DETECTION_DESTINATION_IP: u16 = 16389;
    /// Stateless cookie.
    pub const COOKIE: u16 = 16390;
    /// Transport instead of tunnel mode.
    pub const USE_TRANSPORT_MODE: u16 = 16391;
    /// The SA that a new one replaces.
    pub const REKEY_SA: u16 = 16393;
    /// Proves, without protection, that its sender lost the IKE SA (RFC 6290).
    pub const QCD_TOKEN: u16 = 16419;
    /// The sender understands fragments (RFC 7383).
    pub const IKEV2_FRAGMENTATION_SUPPORTED: u16 = 16430;
    /// Hash algorithms of signatures that the sender accepts (RFC 7427).
    pub const SIGNATURE_HASH_ALGORITHMS: u16 = 16431;
    /// Work to do before the request is taken, beside a cookie (RFC 8019).
    pub const PUZZLE: u16 = 16434;
    /// The sender uses a post-quantum pre-shared key (RFC 8784).
    pub const USE_PPK: u16 = 16435;
    /// Names that key in a request; in an answer, without data, that it was mixed in.
    pub const PPK_IDENTITY: u16 = 16436;
    /// The sender understands IKE_INTERMEDIATE (RFC 9242).
    pub const INTERMEDIATE_EXCHANGE_SUPPORTED: u16 = 16438;
    /// A further key exchange follows; its data links the messages (RFC 9370).
    pub const ADDITIONAL_KEY_EXCHANGE: u16 = 16441;
    /// Private: SHA-256 of the sender's node certificate, in IKE_AUTH both ways.
    pub const NODE_CERTIFICATE: u16 = 41180;
    /// Private: the sender does not list the receiver among its peers.
    pub const NOT_LISTED: u16 = 41181;
    /// Private: what the receiver's post-quantum key has to do with AUTHENTICATION_FAILED.
    pub const PPK_REFUSED: u16 = 41182;
}

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// The protocol of `spi`, else 0.
    pub protocol: u8,
    /// The SA it is about, else empty.
    pub spi: Vec<u8>,
    /// See [`kind`].
    pub kind: u16,
    /// Data by type.
    pub data: Vec<u8>,
}

impl Notify {
    /// A notify about the message as a whole.
    pub fn new(kind: u16, data: Vec<u8>) -> Self {
        Self {
            protocol: protocol::NONE,
            spi: Vec::new(),
            kind,
            data,
        }
    }

    /// Whether it reports an error.
    pub fn is_error(&self) -> bool {
        self.kind < kind::FIRST_STATUS
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let protocol = r.u8()?;
        let spi_size = usize::from(r.u8()?);
        let kind = r.u16()?;
        let spi = r.take(spi_size)?.to_vec();
        let data = r.rest().to_vec();
        Ok(Self {
            protocol,
            spi,
            kind,
            data,
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.protocol, self.spi.len() as u8]);
        out.extend_from_slice(&self.kind.to_be_bytes());
        out.extend_from_slice(&self.spi);
        out.extend_from_slice(&self.data);
    }
}
