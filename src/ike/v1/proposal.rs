//! What main mode negotiates for the ISAKMP SA (RFC 2409 appendix A, RFC 4754 section 8).

use super::signature::Scheme;
use crate::ike::suite::{Encryption, Group, Prf, Profile, Suite};
use crate::wire::isakmp::proposal::Attribute;
use crate::wire::isakmp::v1::{self, Proposal, Transform};

const PROTO_ISAKMP: u8 = 1;
const KEY_IKE: u8 = 1;

/// Attributes of RFC 2409 appendix A.
mod attribute {
    pub const ENCRYPTION: u16 = 1;
    pub const HASH: u16 = 2;
    pub const METHOD: u16 = 3;
    pub const GROUP: u16 = 4;
    pub const LIFE_TYPE: u16 = 11;
    pub const LIFE_DURATION: u16 = 12;
    pub const KEY_LENGTH: u16 = 14;
    pub const KNOWN: [u16; 7] = [
        ENCRYPTION,
        HASH,
        METHOD,
        GROUP,
        LIFE_TYPE,
        LIFE_DURATION,
        KEY_LENGTH,
    ];
}
const AES_CBC: u16 = 7;
const PRE_SHARED_KEY: u16 = 1;
const SECONDS: u16 = 1;

/// The suites of a profile that IKEv1 has numbers for.
pub fn suites(profile: &Profile) -> Vec<Suite> {
    let fits = |suite: &&Suite| {
        matches!(suite.encryption, Encryption::AesCbc256(_))
            && suite.group != Group::X25519
            && suite.additional.is_none()
    };
    profile.ike.iter().filter(fits).copied().collect()
}

fn hash_number(prf: Prf) -> u16 {
    match prf {
        Prf::Sha256 => 4,
        Prf::Sha384 => 5,
        Prf::Sha512 => 6,
    }
}

/// The number of signatures of a kind, or of the pre-shared key.
fn method_number(scheme: Option<Scheme>) -> u16 {
    scheme.map_or(PRE_SHARED_KEY, Scheme::number)
}

fn transform(number: u8, suite: Suite, scheme: Option<Scheme>, life_s: u32) -> Transform {
    use attribute::*;
    Transform {
        number,
        id: KEY_IKE,
        attributes: vec![
            Attribute::Short(ENCRYPTION, AES_CBC),
            Attribute::Short(KEY_LENGTH, 256),
            Attribute::Short(HASH, hash_number(suite.prf)),
            Attribute::Short(GROUP, suite.group.number()),
            Attribute::Short(METHOD, method_number(scheme)),
            Attribute::Short(LIFE_TYPE, SECONDS),
            Attribute::Long(LIFE_DURATION, life_s.to_be_bytes().to_vec()),
        ],
    }
}

/// The body of our SA payload.
pub fn offer(suites: &[Suite], scheme: Option<Scheme>, life_s: u32) -> Vec<u8> {
    let numbered = (1..).zip(suites);
    let transforms = numbered.map(|(n, suite)| transform(n, *suite, scheme, life_s));
    v1::encode_sa(&[Proposal {
        number: 1,
        protocol: PROTO_ISAKMP,
        spi: Vec::new(),
        transforms: transforms.collect(),
    }])
}

/// Whether `transform` is `suite`, whatever it says of authentication; its lifetime is the
/// sender's own affair.
fn is(transform: &Transform, suite: Suite) -> bool {
    use attribute::*;
    let wanted = [
        (ENCRYPTION, AES_CBC),
        (KEY_LENGTH, 256),
        (HASH, hash_number(suite.prf)),
        (GROUP, suite.group.number()),
    ];
    transform.id == KEY_IKE
        && transform.only(&KNOWN)
        && wanted
            .iter()
            .all(|(kind, value)| transform.value(*kind) == Some(u32::from(*value)))
}

/// Why nothing of an offer was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// All would fit but how to authenticate.
    Method,
    /// Something else.
    Algorithms,
}

/// The first acceptable transform of an initiator as a proposal of its own, and what it is.
pub fn choose(
    suites: &[Suite],
    scheme: Option<Scheme>,
    offered: &[Proposal],
) -> Result<(Proposal, Suite), Mismatch> {
    let method = u32::from(method_number(scheme));
    let mut mismatch = Mismatch::Algorithms;
    for proposal in offered.iter().filter(|p| p.protocol == PROTO_ISAKMP) {
        for transform in &proposal.transforms {
            let Some(suite) = suites.iter().find(|suite| is(transform, **suite)) else {
                continue;
            };
            if transform.value(attribute::METHOD) == Some(method) {
                let chosen = Proposal {
                    transforms: vec![transform.clone()],
                    ..proposal.clone()
                };
                return Ok((chosen, *suite));
            }
            mismatch = Mismatch::Method;
        }
    }
    Err(mismatch)
}
