//! ISAKMP messages of IKEv1 (RFC 2408 section 3, RFC 2407 section 4): bytes to values and back.
//!
//! Payload bodies stay as received, because hashes cover them (RFC 2409 section 5); what they
//! mean is parsed on demand. Parsing never panics.

use super::WireError;
use super::attribute::{self, Attribute};
use crate::wire::reader::Reader;

/// Bytes of the header.
pub const HEADER_LEN: usize = 28;
const VERSION: u8 = 0x10;
const ENCRYPTED: u8 = 0x01;
const GENERIC_HEADER_LEN: usize = 4;
/// More than any honest message has.
const MAX_PARTS: usize = 64;
/// DOI and situation: IPsec, identity only (RFC 2407 section 4.6.1).
const IPSEC_DOI: u32 = 1;
const SIT_IDENTITY_ONLY: u32 = 1;

/// Exchange types (RFC 2408 section 3.1, RFC 2409 appendix A).
pub mod exchange {
    /// Identity protection, which IKE calls main mode.
    pub const MAIN: u8 = 2;
    /// Always refused.
    pub const AGGRESSIVE: u8 = 4;
    /// Notifies and deletes.
    pub const INFORMATIONAL: u8 = 5;
    /// IPsec SAs.
    pub const QUICK: u8 = 32;
}

/// Payload types (RFC 2408 section 3.1).
pub mod kind {
    /// None follows.
    pub const NONE: u8 = 0;
    /// Security association.
    pub const SA: u8 = 1;
    /// Proposal, inside an SA.
    pub const PROPOSAL: u8 = 2;
    /// Transform, inside a proposal.
    pub const TRANSFORM: u8 = 3;
    /// Key exchange.
    pub const KE: u8 = 4;
    /// Identification.
    pub const ID: u8 = 5;
    /// Certificate.
    pub const CERT: u8 = 6;
    /// Certificate request.
    pub const CERTREQ: u8 = 7;
    /// Hash.
    pub const HASH: u8 = 8;
    /// Signature.
    pub const SIG: u8 = 9;
    /// Nonce.
    pub const NONCE: u8 = 10;
    /// Notification.
    pub const NOTIFY: u8 = 11;
    /// Delete.
    pub const DELETE: u8 = 12;
    /// Vendor id.
    pub const VENDOR: u8 = 13;
    /// Digest of an address, to find a NAT (RFC 3947).
    pub const NAT_D: u8 = 20;
}

/// The header, without its length and first payload type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The initiator's cookie.
    pub cky_i: u64,
    /// The responder's cookie; zero in the first message.
    pub cky_r: u64,
    /// See [`exchange`].
    pub exchange: u8,
    /// Flags as they stand; see [`Header::is_encrypted`].
    pub flags: u8,
    /// Message id; zero in main mode.
    pub id: u32,
}

impl Header {
    /// Parses the header of a whole datagram; also returns the type of the first payload.
    pub fn parse(bytes: &[u8]) -> Result<(Header, u8), WireError> {
        let mut r = Reader::new(bytes);
        let (cky_i, cky_r) = (r.u64()?, r.u64()?);
        let next = r.u8()?;
        let version = r.u8()?;
        let (exchange, flags) = (r.u8()?, r.u8()?);
        let id = r.u32()?;
        let length = r.u32()?;
        if version >> 4 != VERSION >> 4 {
            return Err(WireError::Version(version >> 4));
        }
        // No hash covers the header, and there is no minor version but 0.
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        if usize::try_from(length).ok() != Some(bytes.len()) {
            return Err(WireError::Length);
        }
        let header = Header {
            cky_i,
            cky_r,
            exchange,
            flags,
            id,
        };
        Ok((header, next))
    }

    /// A header with only the encryption flag.
    pub fn new(cookies: (u64, u64), exchange: u8, encrypted: bool, id: u32) -> Self {
        Self {
            cky_i: cookies.0,
            cky_r: cookies.1,
            exchange,
            flags: if encrypted { ENCRYPTED } else { 0 },
            id,
        }
    }

    /// Whether the payloads are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.flags & ENCRYPTED != 0
    }

    /// Appends the header of a message of `length` bytes in total.
    pub fn encode(&self, next: u8, length: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.cky_i.to_be_bytes());
        out.extend_from_slice(&self.cky_r.to_be_bytes());
        out.extend_from_slice(&[next, VERSION, self.exchange, self.flags]);
        out.extend_from_slice(&self.id.to_be_bytes());
        out.extend_from_slice(&(length as u32).to_be_bytes());
    }
}

/// A payload as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// See [`kind`].
    pub kind: u8,
    /// What follows its generic header.
    pub body: Vec<u8>,
}

impl Payload {
    /// A payload.
    pub fn new(kind: u8, body: Vec<u8>) -> Self {
        Self { kind, body }
    }
}

/// Parses a chain of payloads; also returns how many bytes it takes. What follows is padding.
pub fn parse_chain(first: u8, bytes: &[u8]) -> Result<(Vec<Payload>, usize), WireError> {
    let mut r = Reader::new(bytes);
    let mut kind = first;
    let mut payloads = Vec::new();
    while kind != kind::NONE {
        if payloads.len() == MAX_PARTS {
            return Err(WireError::TooMany("payloads"));
        }
        let next = r.u8()?;
        r.u8()?;
        let length = usize::from(r.u16()?).checked_sub(GENERIC_HEADER_LEN);
        let body = r.take(length.ok_or(WireError::Length)?)?.to_vec();
        payloads.push(Payload { kind, body });
        kind = next;
    }
    Ok((payloads, bytes.len() - r.len()))
}

/// Appends a chain of payloads.
pub fn encode_chain(payloads: &[Payload], out: &mut Vec<u8>) {
    for (i, payload) in payloads.iter().enumerate() {
        let next = payloads.get(i + 1).map_or(kind::NONE, |p| p.kind);
        let length = ((GENERIC_HEADER_LEN + payload.body.len()) as u16).to_be_bytes();
        out.extend_from_slice(&[next, 0, length[0], length[1]]);
        out.extend_from_slice(&payload.body);
    }
}

/// A message that is not encrypted.
pub fn encode(header: &Header, payloads: &[Payload]) -> Vec<u8> {
    let mut body = Vec::new();
    encode_chain(payloads, &mut body);
    let first = payloads.first().map_or(kind::NONE, |p| p.kind);
    let mut out = Vec::new();
    header.encode(first, HEADER_LEN + body.len(), &mut out);
    out.extend_from_slice(&body);
    out
}

/// Parses a message that is not encrypted.
pub fn parse(bytes: &[u8]) -> Result<(Header, Vec<Payload>), WireError> {
    let (header, first) = Header::parse(bytes)?;
    let body = bytes.get(HEADER_LEN..).ok_or(WireError::Length)?;
    let (payloads, used) = parse_chain(first, body)?;
    if used != body.len() {
        return Err(WireError::Length);
    }
    Ok((header, payloads))
}

/// One proposal of a security association payload (RFC 2408 section 3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its number; proposals of one number belong together.
    pub number: u8,
    /// 1 for ISAKMP, 2 for AH.
    pub protocol: u8,
    /// The sender's SPI.
    pub spi: Vec<u8>,
    /// Alternatives, preferred first.
    pub transforms: Vec<Transform>,
}

/// One transform (RFC 2408 section 3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    /// Its number.
    pub number: u8,
    /// The transform.
    pub id: u8,
    /// Its attributes, as sent.
    pub attributes: Vec<Attribute>,
}

impl Transform {
    /// The value of an attribute of at most 32 bits, if it stands there exactly once.
    pub fn value(&self, wanted: u16) -> Option<u32> {
        let mut values = self.attributes.iter().filter_map(|a| match a {
            Attribute::Short(kind, value) if *kind == wanted => Some(u32::from(*value)),
            Attribute::Long(kind, bytes) if *kind == wanted => {
                bytes.as_slice().try_into().ok().map(u32::from_be_bytes)
            }
            _ => None,
        });
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// Whether all attributes are among `known`.
    pub fn only(&self, known: &[u16]) -> bool {
        self.attributes.iter().all(|a| match a {
            Attribute::Short(kind, _) | Attribute::Long(kind, _) => known.contains(kind),
        })
    }

    fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (number, id) = (r.u8()?, r.u8()?);
        r.u16()?;
        let attributes = attribute::parse_all(r)?;
        Ok(Self {
            number,
            id,
            attributes,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.number, self.id, 0, 0];
        attribute::encode_all(&self.attributes, &mut out);
        out
    }
}

/// Parses the body of a security association payload.
pub fn parse_sa(body: &[u8]) -> Result<Vec<Proposal>, WireError> {
    let mut r = Reader::new(body);
    if (r.u32()?, r.u32()?) != (IPSEC_DOI, SIT_IDENTITY_ONLY) {
        return Err(WireError::Count("situations"));
    }
    let (parts, used) = parse_chain(kind::PROPOSAL, &body[8..])?;
    if used != body.len() - 8 || parts.iter().any(|p| p.kind != kind::PROPOSAL) {
        return Err(WireError::Count("proposals"));
    }
    parts
        .iter()
        .map(|part| parse_proposal(&part.body))
        .collect()
}

fn parse_proposal(body: &[u8]) -> Result<Proposal, WireError> {
    let mut r = Reader::new(body);
    let (number, protocol) = (r.u8()?, r.u8()?);
    let (spi_size, count) = (usize::from(r.u8()?), usize::from(r.u8()?));
    let spi = r.take(spi_size)?.to_vec();
    let rest = r.rest();
    let (parts, used) = match count {
        0 => (Vec::new(), 0),
        _ => parse_chain(kind::TRANSFORM, rest)?,
    };
    let fits = parts.len() == count && used == rest.len();
    if !fits || parts.iter().any(|p| p.kind != kind::TRANSFORM) {
        return Err(WireError::Count("transforms"));
    }
    let transforms = parts
        .iter()
        .map(|p| Transform::parse(&mut Reader::new(&p.body)));
    Ok(Proposal {
        number,
        protocol,
        spi,
        transforms: transforms.collect::<Result<_, _>>()?,
    })
}

/// The body of a security association payload.
pub fn encode_sa(proposals: &[Proposal]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&IPSEC_DOI.to_be_bytes());
    out.extend_from_slice(&SIT_IDENTITY_ONLY.to_be_bytes());
    let parts = proposals.iter().map(|proposal| {
        let Proposal {
            number,
            protocol,
            spi,
            transforms,
        } = proposal;
        let mut body = vec![*number, *protocol, spi.len() as u8, transforms.len() as u8];
        body.extend_from_slice(spi);
        let inner = transforms
            .iter()
            .map(|t| Payload::new(kind::TRANSFORM, t.encode()));
        encode_chain(&inner.collect::<Vec<_>>(), &mut body);
        Payload::new(kind::PROPOSAL, body)
    });
    encode_chain(&parts.collect::<Vec<_>>(), &mut out);
    out
}

/// An identification payload (RFC 2407 section 4.6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id {
    /// 1 for IPv4, 5 for IPv6 addresses.
    pub kind: u8,
    /// IP protocol, 0 for all.
    pub protocol: u8,
    /// Port, 0 for all.
    pub port: u16,
    /// The identity.
    pub data: Vec<u8>,
}

impl Id {
    /// An address, for all protocols and ports.
    pub fn address(address: std::net::IpAddr) -> Self {
        let id = super::Identification::address(address);
        Self {
            kind: id.kind,
            protocol: 0,
            port: 0,
            data: id.data,
        }
    }

    /// Parses a payload's body.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        Ok(Self {
            kind: r.u8()?,
            protocol: r.u8()?,
            port: r.u16()?,
            data: r.rest().to_vec(),
        })
    }

    /// The payload's body.
    pub fn encode(&self) -> Vec<u8> {
        let port = self.port.to_be_bytes();
        [
            &[self.kind, self.protocol, port[0], port[1]],
            &self.data[..],
        ]
        .concat()
    }
}

/// Notifications of smaller types are errors (RFC 2408 section 3.14.1).
pub const FIRST_STATUS: u16 = 16_384;

/// A notification (RFC 2408 section 3.14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// What `spi` is of.
    pub protocol: u8,
    /// The SA it is about.
    pub spi: Vec<u8>,
    /// Its type.
    pub kind: u16,
    /// Data by type.
    pub data: Vec<u8>,
}

impl Notify {
    /// Parses a payload's body.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        r.u32()?;
        let (protocol, spi_size) = (r.u8()?, usize::from(r.u8()?));
        let kind = r.u16()?;
        Ok(Self {
            protocol,
            spi: r.take(spi_size)?.to_vec(),
            kind,
            data: r.rest().to_vec(),
        })
    }

    /// The type of the first error that these payloads tell.
    pub fn first_error(payloads: &[Payload]) -> Option<u16> {
        let notifies = payloads.iter().filter(|p| p.kind == kind::NOTIFY);
        let mut kinds = notifies.filter_map(|p| Self::parse(&p.body).ok().map(|n| n.kind));
        kinds.find(|kind| *kind < FIRST_STATUS)
    }

    /// The payload.
    pub fn payload(&self) -> Payload {
        let mut body = IPSEC_DOI.to_be_bytes().to_vec();
        body.extend_from_slice(&[self.protocol, self.spi.len() as u8]);
        body.extend_from_slice(&self.kind.to_be_bytes());
        body.extend_from_slice(&self.spi);
        body.extend_from_slice(&self.data);
        Payload::new(kind::NOTIFY, body)
    }
}

/// A delete (RFC 2408 section 3.15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// 1 for ISAKMP, 2 for AH.
    pub protocol: u8,
    /// The sender's inbound SPIs, or both cookies.
    pub spis: Vec<Vec<u8>>,
}

impl Delete {
    /// Parses a payload's body.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        r.u32()?;
        let (protocol, size) = (r.u8()?, usize::from(r.u8()?));
        let count = usize::from(r.u16()?);
        if size * count != r.len() || count > MAX_PARTS {
            return Err(WireError::Count("SPIs"));
        }
        let spis = (0..count).map(|_| Ok(r.take(size)?.to_vec()));
        Ok(Self {
            protocol,
            spis: spis.collect::<Result<_, WireError>>()?,
        })
    }

    /// The payload.
    pub fn payload(&self) -> Payload {
        let size = self.spis.first().map_or(0, Vec::len);
        let mut body = IPSEC_DOI.to_be_bytes().to_vec();
        body.extend_from_slice(&[self.protocol, size as u8]);
        body.extend_from_slice(&(self.spis.len() as u16).to_be_bytes());
        body.extend(self.spis.iter().flatten());
        Payload::new(kind::DELETE, body)
    }
}
