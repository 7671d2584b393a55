//! What we propose and what we accept (RFC 7296 sections 2.7 and 3.3), from a [`Profile`].
//!
//! Each suite is one proposal with one transform of each type, numbered from 1; AH is one
//! proposal with a choice of algorithms and of sequence number lengths.

use super::suite::{Encryption, Integrity, Profile, Suite};
use crate::wire::isakmp::proposal::kind::{ADDKE, DH, ENCR, ESN, INTEG, PRF};
use crate::wire::isakmp::{Proposal, Transform, protocol};

const AES_BITS: u16 = 256;
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
    /// The algorithm.
    pub integrity: Integrity,
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
    /// What was agreed.
    pub suite: Suite,
}

/// One suite as a proposal; `spi` only when rekeying.
pub fn ike(number: u8, spi: Option<u64>, suite: Suite) -> Proposal {
    let mut transforms = vec![encryption(suite.encryption)];
    transforms.push(Transform::new(PRF, suite.prf.transform()));
    let integrity = suite.encryption.integrity();
    transforms.extend(integrity.map(|i| Transform::new(INTEG, i.transform())));
    transforms.push(Transform::new(DH, suite.group.number()));
    let additional = suite.additional.map(|a| Transform::new(ADDKE, a.number()));
    transforms.extend(additional);
    Proposal {
        number,
        protocol: protocol::IKE,
        spi: spi.map_or_else(Vec::new, |spi| spi.to_be_bytes().to_vec()),
        transforms,
    }
}

/// All suites of a profile, in order.
pub fn offer_ike(suites: &[Suite]) -> Vec<Proposal> {
    let numbered = (1..).zip(suites);
    numbered.map(|(n, suite)| ike(n, None, *suite)).collect()
}

fn encryption(encryption: Encryption) -> Transform {
    Transform::with_key_length(ENCR, encryption.transform(), AES_BITS)
}

/// The AH proposal with the given choices, preferred first.
pub fn ah(number: u8, spi: u32, integrity: &[Integrity], esn: &[bool]) -> Vec<Proposal> {
    let integrity = integrity
        .iter()
        .map(|i| Transform::new(INTEG, i.transform()));
    let esn = esn.iter().map(|&on| Transform::new(ESN, u16::from(on)));
    vec![Proposal {
        number,
        protocol: protocol::AH,
        spi: spi.to_be_bytes().to_vec(),
        transforms: integrity.chain(esn).collect(),
    }]
}

/// The AH proposal of a profile.
pub fn offer_ah(profile: &Profile, spi: u32) -> Vec<Proposal> {
    ah(1, spi, &profile.ah, &[true, false])
}

fn has(proposal: &Proposal, kind: u8, id: u16) -> bool {
    proposal
        .of(kind)
        .any(|t| t.id == id && t.attributes.is_empty())
}

/// Every transform type must be understood (section 3.3.6): a proposal is of no use with one that
/// is neither needed nor offers "none".
fn only(proposal: &Proposal, needed: &[u8]) -> bool {
    proposal.transforms.iter().all(|t| {
        let optional = matches!(t.kind, INTEG | DH | ADDKE..=12);
        needed.contains(&t.kind) || (optional && has(proposal, t.kind, NONE))
    })
}

fn offers(proposal: &Proposal, suite: Suite) -> bool {
    let wanted = ike(0, None, suite).transforms;
    let needed: Vec<u8> = wanted.iter().map(|t| t.kind).collect();
    wanted.iter().all(|t| proposal.transforms.contains(t)) && only(proposal, &needed)
}

/// The SPI of a proposal, if it has one exactly when rekeying.
fn ike_spi(proposal: &Proposal, rekey: bool) -> Option<Option<u64>> {
    match (proposal.spi.as_slice(), rekey) {
        ([], false) => Some(None),
        (bytes, true) => {
            let spi = u64::from_be_bytes(bytes.try_into().ok()?);
            (spi != 0).then_some(Some(spi))
        }
        _ => None,
    }
}

fn accept_ike(proposal: &Proposal, suites: &[Suite], rekey: bool) -> Option<Ike> {
    if proposal.protocol != protocol::IKE {
        return None;
    }
    let suite = suites.iter().find(|suite| offers(proposal, **suite))?;
    Some(Ike {
        number: proposal.number,
        spi: ike_spi(proposal, rekey)?,
        suite: *suite,
    })
}

fn accept_ah(proposal: &Proposal, allowed: &[Integrity]) -> Option<Ah> {
    let spi = u32::from_be_bytes(proposal.spi.as_slice().try_into().ok()?);
    // The initiator's order decides, as at strongSwan.
    let esn = proposal
        .of(ESN)
        .find(|t| t.id <= 1 && t.attributes.is_empty())?;
    let integrity = *proposal
        .of(INTEG)
        .filter(|t| t.attributes.is_empty())
        .find_map(|t| allowed.iter().find(|i| i.transform() == t.id))?;
    let fits =
        proposal.protocol == protocol::AH && spi >= FIRST_SPI && only(proposal, &[INTEG, ESN]);
    fits.then_some(Ah {
        number: proposal.number,
        spi,
        integrity,
        esn: esn.id == 1,
    })
}

/// The transform id of the PRF that we like best of those an initiator offers.
pub fn common_prf(profile: &Profile, offered: &[Proposal]) -> Option<u16> {
    let ours = profile.ike.iter().map(|suite| suite.prf.transform());
    let mut ours = ours.filter(|id| offered.iter().any(|proposal| has(proposal, PRF, *id)));
    ours.next()
}

/// The first acceptable IKE proposal of an initiator.
pub fn choose_ike(suites: &[Suite], offered: &[Proposal], rekey: bool) -> Option<Ike> {
    offered.iter().find_map(|p| accept_ike(p, suites, rekey))
}

/// The first acceptable AH proposal of an initiator.
pub fn choose_ah(profile: &Profile, offered: &[Proposal]) -> Option<Ah> {
    offered.iter().find_map(|p| accept_ah(p, &profile.ah))
}

/// A responder's choice among `suites` as we numbered them: exactly one proposal, one transform of
/// each type.
pub fn chosen_ike(suites: &[Suite], chosen: &[Proposal], rekey: bool) -> Option<Ike> {
    let [one] = chosen else { return None };
    let suite = *suites.get(usize::from(one.number).checked_sub(1)?)?;
    let wanted = ike(0, None, suite).transforms;
    // "None" may be said or left out (section 3.3.6).
    let none = |t: &&Transform| t.id == NONE && t.kind != ENCR && t.kind != PRF && t.kind != DH;
    let said = one.transforms.iter().filter(|t| !none(t)).count();
    (said == wanted.len()).then(|| accept_ike(one, &[suite], rekey))?
}

/// A responder's choice from [`offer_ah`].
pub fn chosen_ah(profile: &Profile, chosen: &[Proposal]) -> Option<Ah> {
    match chosen {
        [one] if one.of(INTEG).count() == 1 && one.of(ESN).count() == 1 => {
            accept_ah(one, &profile.ah).filter(|c| c.number == 1)
        }
        _ => None,
    }
}
