//! Security association payload: proposals and transforms (RFC 7296 section 3.3).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Last Substruc |   RESERVED    |         Proposal Length       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Proposal Num  |  Protocol ID  |    SPI Size   |Num  Transforms|
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                        SPI (variable)                         ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Last Substruc |   RESERVED    |        Transform Length       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |Transform Type |   RESERVED    |          Transform ID         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                      Transform Attributes                     ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::WireError;
use super::attribute::{self, Attribute};
use crate::wire::reader::Reader;

/// Transform types.
pub mod kind {
    /// Encryption algorithm.
    pub const ENCR: u8 = 1;
    /// Pseudo-random function.
    pub const PRF: u8 = 2;
    /// Integrity algorithm.
    pub const INTEG: u8 = 3;
    /// Diffie-Hellman group.
    pub const DH: u8 = 4;
    /// Extended sequence numbers.
    pub const ESN: u8 = 5;
    /// First additional key exchange (RFC 9370); the last of seven is 12.
    pub const ADDKE: u8 = 6;
}

/// The attribute type "key length", in bits.
pub const KEY_LENGTH: u16 = 14;

const MORE_PROPOSALS: u8 = 2;
const MORE_TRANSFORMS: u8 = 3;
/// strongSwan's default proposal has under 40 transforms.
const MAX_PROPOSALS: usize = 32;

/// One proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its number, from 1.
    pub number: u8,
    /// See [`super::protocol`].
    pub protocol: u8,
    /// The sender's SPI: empty in the first exchange, 8 bytes for IKE, 4 for AH.
    pub spi: Vec<u8>,
    /// The transforms, most preferred first.
    pub transforms: Vec<Transform>,
}

/// One transform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    /// See [`kind`].
    pub kind: u8,
    /// The algorithm.
    pub id: u16,
    /// Attributes, at most the key length in practice.
    pub attributes: Vec<Attribute>,
}

impl Transform {
    /// A transform without attributes.
    pub fn new(kind: u8, id: u16) -> Self {
        Self {
            kind,
            id,
            attributes: Vec::new(),
        }
    }

    /// A transform with a key length in bits.
    pub fn with_key_length(kind: u8, id: u16, bits: u16) -> Self {
        Self {
            kind,
            id,
            attributes: vec![Attribute::Short(KEY_LENGTH, bits)],
        }
    }

    fn parse(r: &mut Reader<'_>) -> Result<(Transform, bool), WireError> {
        let more = r.u8()? == MORE_TRANSFORMS;
        r.u8()?;
        let length = usize::from(r.u16()?).checked_sub(4);
        let mut r = Reader::new(r.take(length.ok_or(WireError::Length)?)?);
        let kind = r.u8()?;
        r.u8()?;
        let id = r.u16()?;
        let attributes = attribute::parse_all(&mut r)?;
        let transform = Transform {
            kind,
            id,
            attributes,
        };
        Ok((transform, more))
    }

    fn encode(&self, more: bool, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[if more { MORE_TRANSFORMS } else { 0 }, 0, 0, 0]);
        out.extend_from_slice(&[self.kind, 0]);
        out.extend_from_slice(&self.id.to_be_bytes());
        attribute::encode_all(&self.attributes, out);
        set_length(start, out);
    }
}

impl Proposal {
    /// The transforms of one type, in the sender's order.
    pub fn of(&self, kind: u8) -> impl Iterator<Item = &Transform> {
        self.transforms.iter().filter(move |t| t.kind == kind)
    }

    fn parse(r: &mut Reader<'_>) -> Result<(Proposal, bool), WireError> {
        let more = r.u8()? == MORE_PROPOSALS;
        r.u8()?;
        let length = usize::from(r.u16()?).checked_sub(4);
        let mut r = Reader::new(r.take(length.ok_or(WireError::Length)?)?);
        let number = r.u8()?;
        let protocol = r.u8()?;
        let spi_size = usize::from(r.u8()?);
        let count = usize::from(r.u8()?);
        let spi = r.take(spi_size)?.to_vec();
        let mut transforms = Vec::new();
        let mut follows = count > 0;
        while follows {
            let (transform, more) = Transform::parse(&mut r)?;
            transforms.push(transform);
            follows = more;
        }
        if transforms.len() != count || !r.is_empty() {
            return Err(WireError::Count("transforms"));
        }
        let proposal = Proposal {
            number,
            protocol,
            spi,
            transforms,
        };
        Ok((proposal, more))
    }

    fn encode(&self, more: bool, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[if more { MORE_PROPOSALS } else { 0 }, 0, 0, 0]);
        out.extend_from_slice(&[self.number, self.protocol]);
        out.extend_from_slice(&[self.spi.len() as u8, self.transforms.len() as u8]);
        out.extend_from_slice(&self.spi);
        for (i, transform) in self.transforms.iter().enumerate() {
            transform.encode(i + 1 < self.transforms.len(), out);
        }
        set_length(start, out);
    }
}

fn set_length(start: usize, out: &mut [u8]) {
    let length = (out.len() - start) as u16;
    out[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Parses the body of a security association payload.
pub fn parse_all(body: &[u8]) -> Result<Vec<Proposal>, WireError> {
    let mut r = Reader::new(body);
    let mut proposals = Vec::new();
    let mut follows = true;
    while follows {
        if proposals.len() == MAX_PROPOSALS {
            return Err(WireError::TooMany("proposals"));
        }
        let (proposal, more) = Proposal::parse(&mut r)?;
        proposals.push(proposal);
        follows = more;
    }
    if !r.is_empty() {
        return Err(WireError::Count("proposals"));
    }
    Ok(proposals)
}

/// Appends the body of a security association payload.
pub fn encode_all(proposals: &[Proposal], out: &mut Vec<u8>) {
    for (i, proposal) in proposals.iter().enumerate() {
        proposal.encode(i + 1 < proposals.len(), out);
    }
}
