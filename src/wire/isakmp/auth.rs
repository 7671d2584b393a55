//! Authentication payload (RFC 7296 section 3.8).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Auth Method   |                RESERVED                       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                      Authentication Data                      ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::WireError;
use crate::wire::reader::Reader;

/// Shared Key Message Integrity Code.
pub const SHARED_KEY: u8 = 2;

/// Digital Signature (RFC 7427).
pub const DIGITAL_SIGNATURE: u8 = 14;

/// Proof of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// How `data` was made.
    pub method: u8,
    /// The proof.
    pub data: Vec<u8>,
}

impl Auth {
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let method = r.u8()?;
        r.take(3)?;
        let data = r.rest().to_vec();
        Ok(Self { method, data })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.method, 0, 0, 0]);
        out.extend_from_slice(&self.data);
    }
}
