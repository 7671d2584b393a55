//! What quick mode negotiates for AH (RFC 2409 section 5.5, RFC 2407 section 4.4.3, RFC 4868,
//! RFC 4304 for 64-bit sequence numbers).

use super::keys::one;
use crate::ike::Context;
use crate::ike::suite::{Group, Integrity};
use crate::wire::isakmp::Attribute;
use crate::wire::isakmp::v1::{Id, Payload, Proposal, Transform, kind};

const PROTO_AH: u8 = 2;
/// SPIs below are reserved (RFC 4302 section 2.4).
const FIRST_SPI: u32 = 256;

/// Attributes of RFC 2407 section 4.5.
mod attribute {
    pub const LIFE_TYPE: u16 = 1;
    pub const LIFE_DURATION: u16 = 2;
    pub const GROUP: u16 = 3;
    pub const MODE: u16 = 4;
    pub const AUTHENTICATION: u16 = 5;
    pub const SEQUENCE: u16 = 11;
    pub const KNOWN: [u16; 6] = [
        LIFE_TYPE,
        LIFE_DURATION,
        GROUP,
        MODE,
        AUTHENTICATION,
        SEQUENCE,
    ];
}
const TRANSPORT: u16 = 2;
const SECONDS: u16 = 1;
const SEQUENCE_64: u16 = 1;

/// What was agreed, as far as the other side's proposal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ah {
    /// The other side's inbound SPI.
    pub spi: u32,
    /// The algorithm.
    pub integrity: Integrity,
    /// 64-bit sequence numbers.
    pub esn: bool,
    /// The group of a key exchange of its own (perfect forward secrecy).
    pub pfs: Option<Group>,
}

/// The number of an algorithm, as transform and as attribute.
fn number(integrity: Integrity) -> u8 {
    match integrity {
        Integrity::HmacSha2_256_128 => 5,
        Integrity::HmacSha2_384_192 => 6,
        Integrity::HmacSha2_512_256 => 7,
    }
}

/// The AH proposal.
pub fn offer(context: &Context<'_>, spi: u32, group: Option<Group>) -> Proposal {
    let mut transforms = Vec::new();
    for integrity in &context.profile.ah {
        for esn in [true, false] {
            let life_s = u32::try_from(context.lifetimes.child_ms / 1_000).unwrap_or(u32::MAX);
            let mut attributes = vec![
                Attribute::Short(attribute::LIFE_TYPE, SECONDS),
                Attribute::Long(attribute::LIFE_DURATION, life_s.to_be_bytes().to_vec()),
                Attribute::Short(attribute::MODE, TRANSPORT),
                Attribute::Short(attribute::AUTHENTICATION, u16::from(number(*integrity))),
            ];
            attributes.extend(group.map(|g| Attribute::Short(attribute::GROUP, g.number())));
            if esn {
                attributes.push(Attribute::Short(attribute::SEQUENCE, SEQUENCE_64));
            }
            transforms.push(Transform {
                number: transforms.len() as u8 + 1,
                id: number(*integrity),
                attributes,
            });
        }
    }
    Proposal {
        number: 1,
        protocol: PROTO_AH,
        spi: spi.to_be_bytes().to_vec(),
        transforms,
    }
}

fn read(context: &Context<'_>, spi: u32, transform: &Transform, group: Group) -> Option<Ah> {
    let value = |kind| transform.value(kind);
    let known = |i: &&Integrity| {
        transform.id == number(**i)
            && value(attribute::AUTHENTICATION) == Some(u32::from(number(**i)))
    };
    let integrity = *context.profile.ah.iter().find(known)?;
    let has = |kind| {
        let mut attributes = transform.attributes.iter();
        attributes.any(|a| match a {
            Attribute::Short(k, _) | Attribute::Long(k, _) => *k == kind,
        })
    };
    let esn = match (has(attribute::SEQUENCE), value(attribute::SEQUENCE)) {
        (false, _) => false,
        (true, Some(1)) => true,
        _ => return None,
    };
    let pfs = match (has(attribute::GROUP), value(attribute::GROUP)) {
        (false, _) => None,
        (true, Some(n)) if n == u32::from(group.number()) => Some(group),
        _ => return None,
    };
    let fits = transform.only(&attribute::KNOWN)
        && value(attribute::MODE) == Some(u32::from(TRANSPORT))
        && (pfs.is_some() || !context.profile.pfs);
    fits.then_some(Ah {
        spi,
        integrity,
        esn,
        pfs,
    })
}

/// The first acceptable transform of an initiator, and the proposal that says so with `spi`.
pub fn choose(
    context: &Context<'_>,
    offered: &[Proposal],
    group: Group,
    spi: u32,
) -> Option<(Ah, Proposal)> {
    let alone = |p: &&Proposal| {
        // Proposals of one number are wanted together: AH with ESP, which we do not do.
        let same = offered
            .iter()
            .filter(|other| other.number == p.number)
            .count();
        p.protocol == PROTO_AH && same == 1
    };
    offered.iter().filter(alone).find_map(|proposal| {
        let theirs = u32::from_be_bytes(proposal.spi.as_slice().try_into().ok()?);
        let mut transforms = proposal.transforms.iter();
        let found = transforms.find_map(|t| Some((read(context, theirs, t, group)?, t)));
        let (ah, transform) = found.filter(|_| theirs >= FIRST_SPI)?;
        let chosen = Proposal {
            spi: spi.to_be_bytes().to_vec(),
            transforms: vec![transform.clone()],
            ..proposal.clone()
        };
        Some((ah, chosen))
    })
}

/// A responder's choice from [`offer`]: one proposal, one transform, with our wish for PFS.
pub fn chosen(context: &Context<'_>, chosen: &[Proposal], group: Group) -> Option<Ah> {
    let [proposal] = chosen else { return None };
    let [transform] = proposal.transforms.as_slice() else {
        return None;
    };
    let spi = u32::from_be_bytes(proposal.spi.as_slice().try_into().ok()?);
    let ah = read(context, spi, transform, group)?;
    let fits = proposal.protocol == PROTO_AH && spi >= FIRST_SPI;
    (fits && ah.pfs.is_some() == context.profile.pfs).then_some(ah)
}

/// The identities of an exchange: all traffic between the two addresses.
pub fn identities(context: &Context<'_>, initiator: bool) -> [Payload; 2] {
    let (i, r) = if initiator {
        (context.local, context.remote)
    } else {
        (context.remote, context.local)
    };
    [i, r].map(|address| Payload::new(kind::ID, Id::address(address).encode()))
}

/// Whether the identities are those, or left out, which means the same (section 5.5).
pub fn covers(context: &Context<'_>, payloads: &[Payload], initiator: bool) -> bool {
    let given: Vec<&Payload> = payloads.iter().filter(|p| p.kind == kind::ID).collect();
    given.is_empty() || given == identities(context, initiator).each_ref()
}

/// The nonce, if its length is right.
pub fn nonce(payloads: &[Payload]) -> Option<&[u8]> {
    one(payloads, kind::NONCE).filter(|n| (8..=256).contains(&n.len()))
}
