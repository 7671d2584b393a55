//! Encrypted and authenticated fragment payload (RFC 7383 section 2.5).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Next Payload  |C|  RESERVED   |         Payload Length        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Fragment Number        |        Total Fragments        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~     Initialization Vector, encrypted content, padding, ICV    ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::WireError;
use crate::wire::reader::Reader;

/// A part of an encrypted payload; opened and sealed by `ike`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The type of the first payload inside the whole; 0 in all but the first fragment.
    pub first: u8,
    /// From 1.
    pub number: u16,
    /// How many there are.
    pub total: u16,
    /// Everything after the total.
    pub body: Vec<u8>,
}

impl Fragment {
    pub(super) fn parse(first: u8, body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let (number, total) = (r.u16()?, r.u16()?);
        if number == 0 || number > total {
            return Err(WireError::Count("fragments"));
        }
        Ok(Self {
            first,
            number,
            total,
            body: r.rest().to_vec(),
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.total.to_be_bytes());
        out.extend_from_slice(&self.body);
    }
}
