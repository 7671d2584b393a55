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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_0_or_beyond_the_total_is_no_fragment() {
        let parse = |number: u16, total: u16| {
            Fragment::parse(0, &[number.to_be_bytes(), total.to_be_bytes()].concat())
        };
        for (number, total) in [(0, 0), (0, 1), (1, 0), (2, 1), (u16::MAX, u16::MAX - 1)] {
            let refused = Err(WireError::Count("fragments"));
            assert_eq!(parse(number, total), refused, "{number} of {total}");
        }
        for (number, total) in [(1, 1), (1, 2), (2, 2), (u16::MAX, u16::MAX)] {
            assert!(parse(number, total).is_ok(), "{number} of {total}");
        }
    }
}
