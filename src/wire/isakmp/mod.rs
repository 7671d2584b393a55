//! ISAKMP messages and payloads of IKEv2 (RFC 7296 section 3): bytes to values and back.
//!
//! Parsing never panics and never allocates more than the datagram's own size allows; what a
//! value means is decided in `ike`. Reserved bits are ignored on receipt and sent as zero.

pub mod attribute;
pub mod auth;
pub mod certificate;
pub mod delete;
pub mod encrypted;
pub mod fragment;
pub mod header;
pub mod identification;
pub mod key_exchange;
pub mod message;
pub mod nonce;
pub mod notify;
pub mod payload;
pub mod proposal;
pub mod puzzle;
pub mod traffic_selector;
pub mod v1;

pub use attribute::Attribute;
pub use auth::Auth;
pub use certificate::Certificate;
pub use delete::Delete;
pub use encrypted::Encrypted;
pub use fragment::Fragment;
pub use header::Header;
pub use identification::Identification;
pub use key_exchange::KeyExchange;
pub use message::Message;
pub use notify::Notify;
pub use payload::Payload;
pub use proposal::{Proposal, Transform};
pub use puzzle::Puzzle;
pub use traffic_selector::TrafficSelector;

use super::reader::Truncated;

/// Why bytes are not an IKEv2 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A length field contradicts the message.
    #[error("a length field of the message is wrong")]
    Length,
    /// A count field contradicts what follows.
    #[error("the number of {0} differs from what was announced")]
    Count(&'static str),
    /// More parts than any honest message has.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// Another major version of the protocol.
    #[error("ISAKMP version {0} instead of 2")]
    Version(u8),
    /// A critical payload that we do not know (RFC 7296 section 2.5).
    #[error("unknown critical payload {0}")]
    Critical(u8),
    /// An encrypted payload that is not the last one.
    #[error("a payload follows the encrypted one")]
    AfterEncrypted,
}

/// Protocol identifiers of proposals, notifies and deletes (RFC 7296 section 3.3.1).
pub mod protocol {
    /// None, in notifies about the whole message.
    pub const NONE: u8 = 0;
    /// The IKE SA itself.
    pub const IKE: u8 = 1;
    /// Authentication header.
    pub const AH: u8 = 2;
    /// Encapsulating security payload; never negotiated here.
    pub const ESP: u8 = 3;
}

/// Exchange types (RFC 7296 section 3.1).
pub mod exchange {
    /// The first exchange: proposals, Diffie-Hellman and nonces.
    pub const IKE_SA_INIT: u8 = 34;
    /// Authentication and the first child SA.
    pub const IKE_AUTH: u8 = 35;
    /// New and rekeyed SAs.
    pub const CREATE_CHILD_SA: u8 = 36;
    /// Deletes, errors, liveness.
    pub const INFORMATIONAL: u8 = 37;
    /// Between the first exchange and authentication (RFC 9242).
    pub const IKE_INTERMEDIATE: u8 = 43;
    /// Further key exchanges of a new or rekeyed SA (RFC 9370).
    pub const IKE_FOLLOWUP_KE: u8 = 44;
}
