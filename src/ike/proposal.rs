//! What we propose and what we accept (RFC 7296 sections 2.7 and 3.3).
//!
//! IKE: AES-256-GCM with a 16-octet ICV, PRF_HMAC_SHA2_256, X25519. AH: AUTH_HMAC_SHA2_256_128
//! with 64-bit sequence numbers, or without where the peer cannot.

use crate::wire::isakmp::proposal::kind::{DH, ENCR, ESN, INTEG, PRF};
use crate::wire::isakmp::proposal::{Attribute, KEY_LENGTH};
use crate::wire::isakmp::{Proposal, Transform, protocol};

/// X25519 (RFC 8031).
pub const GROUP: u16 = 31;

const AES_GCM_16: u16 = 20;
const AES_BITS: u16 = 256;
const PRF_HMAC_SHA2_256: u16 = 5;
const AUTH_HMAC_SHA2_256_128: u16 = 12;
const NONE: u16 = 0;
/// SPIs below are reserved (RFC 4302 section 2.4).
const FIRST_SPI: u32 = 256;

/// An agreed AH pair, as far as the other side's proposal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ah {
    /// Number of the proposal.
    pub number: u8,
    /// The other side's inbound SPI.
    pub spi: u32,
    /// 64-bit sequence numbers.
    pub esn: bool,
}

/// An agreed IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ike {
    /// Number of the proposal.
    pub number: u8,
    /// The other side's SPI in a rekey; `None` in IKE_SA_INIT.
    pub spi: Option<u64>,
}

/// The IKE proposal; `spi` only when rekeying.
pub fn ike(number: u8, spi: Option<u64>) -> Vec<Proposal> {
    vec![Proposal {
        number,
        protocol: protocol::IKE,
        spi: spi.map_or_else(Vec::new, |spi| spi.to_be_bytes().to_vec()),
        transforms: vec![
            Transform::with_key_length(ENCR, AES_GCM_16, AES_BITS),
            Transform::new(PRF, PRF_HMAC_SHA2_256),
            Transform::new(DH, GROUP),
        ],
    }]
}

/// The AH proposal with the given choices of extended sequence numbers, preferred first.
pub fn ah(number: u8, spi: u32, esn: &[bool]) -> Vec<Proposal> {
    let mut transforms = vec![Transform::new(INTEG, AUTH_HMAC_SHA2_256_128)];
    transforms.extend(esn.iter().map(|&on| Transform::new(ESN, u16::from(on))));
    vec![Proposal {
        number,
        protocol: protocol::AH,
        spi: spi.to_be_bytes().to_vec(),
        transforms,
    }]
}

fn has(proposal: &Proposal, kind: u8, id: u16) -> bool {
    proposal
        .of(kind)
        .any(|t| t.id == id && t.attributes.is_empty())
}

/// Every transform type must be understood (section 3.3.6); one that is optional must be absent
/// or offer "none".
fn only(proposal: &Proposal, needed: &[u8], optional: u8) -> bool {
    proposal
        .transforms
        .iter()
        .all(|t| needed.contains(&t.kind) || t.kind == optional)
        && (proposal.of(optional).next().is_none() || has(proposal, optional, NONE))
}

fn accept_ike(proposal: &Proposal, rekey: bool) -> Option<Ike> {
    let key_length = [Attribute::Short(KEY_LENGTH, AES_BITS)];
    let fits = proposal.protocol == protocol::IKE
        && proposal
            .of(ENCR)
            .any(|t| t.id == AES_GCM_16 && t.attributes == key_length)
        && has(proposal, PRF, PRF_HMAC_SHA2_256)
        && has(proposal, DH, GROUP)
        && only(proposal, &[ENCR, PRF, DH], INTEG);
    let spi = match (proposal.spi.as_slice(), rekey) {
        ([], false) => None,
        (bytes, true) => Some(u64::from_be_bytes(bytes.try_into().ok()?)).filter(|&s| s != 0),
        _ => return None,
    };
    (fits && spi.is_some() == rekey).then_some(Ike {
        number: proposal.number,
        spi,
    })
}

fn accept_ah(proposal: &Proposal) -> Option<Ah> {
    let spi = u32::from_be_bytes(proposal.spi.as_slice().try_into().ok()?);
    // The initiator's order decides, as at strongSwan.
    let esn = proposal
        .of(ESN)
        .find(|t| t.id <= 1 && t.attributes.is_empty())?;
    let fits = proposal.protocol == protocol::AH
        && spi >= FIRST_SPI
        && has(proposal, INTEG, AUTH_HMAC_SHA2_256_128)
        && only(proposal, &[INTEG, ESN], DH);
    fits.then_some(Ah {
        number: proposal.number,
        spi,
        esn: esn.id == 1,
    })
}

/// The first acceptable IKE proposal of an initiator.
pub fn choose_ike(offered: &[Proposal], rekey: bool) -> Option<Ike> {
    offered.iter().find_map(|p| accept_ike(p, rekey))
}

/// The first acceptable AH proposal of an initiator.
pub fn choose_ah(offered: &[Proposal]) -> Option<Ah> {
    offered.iter().find_map(accept_ah)
}

/// A responder's choice from [`ike`]: exactly one proposal, one transform of each type.
pub fn chosen_ike(chosen: &[Proposal], rekey: bool) -> Option<Ike> {
    match chosen {
        [one] if one.transforms.len() == 3 => accept_ike(one, rekey).filter(|c| c.number == 1),
        _ => None,
    }
}

/// A responder's choice from [`ah`].
pub fn chosen_ah(chosen: &[Proposal]) -> Option<Ah> {
    match chosen {
        [one] if one.transforms.len() == 2 => accept_ah(one).filter(|c| c.number == 1),
        _ => None,
    }
}
