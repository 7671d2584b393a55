//! Main mode (RFC 2409 section 5): six messages, the last two encrypted, authenticated by the
//! pre-shared key (section 5.4) or by signatures (section 5.1).
//!
//! The key is that of the packet's address, and the identity must be that address; of
//! certificates [`Certified`](crate::ike::Certified) tells whom they name. A responder computes
//! nothing before its cookie came back.

mod initiator;
mod responder;

use subtle::ConstantTimeEq;

pub use initiator::Initiator;
pub use responder::Responder;

use super::keys::{Iv, Keys, Opened, Seeds, one, signed_skeyid, skeyid};
use super::nat;
use super::phase1::Phase1;
use super::proposal::Mismatch;
use super::signature::Scheme;
use crate::ike::certificate::{Claim, MAX_CHAIN, Proof, Proven};
use crate::ike::suite::{Prf, Suite};
use crate::ike::{Context, Refusal};
use crate::wire::isakmp::v1::{self, Header, Id, Payload, exchange, kind};
use crate::wire::isakmp::{Identification, certificate};

const NONCE_LEN: usize = 32;
/// Dead peer detection (RFC 3706 section 5).
const DPD_VENDOR: [u8; 16] = [
    0xaf, 0xca, 0xd7, 0x13, 0x68, 0xa1, 0xf1, 0xc9, 0x6b, 0x86, 0x96, 0xfc, 0x77, 0x57, 1, 0,
];
const PROTO_ISAKMP: u8 = 1;
/// INITIAL-CONTACT (RFC 2407 section 4.6.3.3).
pub(super) const INITIAL_CONTACT: u16 = 24_578;

/// What a message did.
pub enum Step {
    /// Nothing.
    Nothing,
    /// A reason for failure that nothing protects.
    Hint(Refusal),
    /// Likewise, and send what tells it.
    Refuse(Refusal, Vec<u8>),
    /// Send this.
    Send(Vec<u8>),
    /// Both sides proved themselves; send this, if any. The flag is INITIAL-CONTACT.
    Done(Box<Phase1>, Option<Vec<u8>>, bool),
}

/// What the peer says of itself in its first message.
#[derive(Clone, Copy, Default)]
struct Knows {
    /// Dead peer detection.
    dpd: bool,
    /// It compares addresses.
    ends: bool,
}

impl Knows {
    fn of(payloads: &[Payload]) -> Self {
        Self {
            dpd: payloads.contains(&dpd_vendor()),
            ends: payloads.contains(&nat::vendor()),
        }
    }
}

fn dpd_vendor() -> Payload {
    Payload::new(kind::VENDOR, DPD_VENDOR.to_vec())
}

fn sa_message(cookies: (u64, u64), sa: &[u8]) -> Vec<u8> {
    let sa = Payload::new(kind::SA, sa.to_vec());
    let payloads = [sa, dpd_vendor(), nat::vendor()];
    v1::encode(&Header::new(cookies, exchange::MAIN, false, 0), &payloads)
}

/// The third or fourth message, of key exchange and nonce; with certificates it asks for the
/// peer's. With `ends` come the addresses, which `hash` makes digests of.
fn ke_message(
    context: &Context<'_>,
    cookies: (u64, u64),
    (public, nonce): (&[u8], &[u8]),
    ends: Option<Prf>,
) -> Vec<u8> {
    let mut payloads = vec![
        Payload::new(kind::KE, public.to_vec()),
        Payload::new(kind::NONCE, nonce.to_vec()),
    ];
    payloads.extend(
        ends.into_iter()
            .flat_map(|hash| nat::ends(context, hash, cookies)),
    );
    if let Some(certified) = &context.credentials.certified {
        let names = certified.authority_names().iter();
        let request = |name: &Vec<u8>| [&[certificate::X509_SIGNATURE], &name[..]].concat();
        payloads.extend(names.map(|name| Payload::new(kind::CERTREQ, request(name))));
    }
    v1::encode(&Header::new(cookies, exchange::MAIN, false, 0), &payloads)
}

/// Key exchange and nonce of the third or fourth message.
fn contribution(payloads: &[Payload]) -> Option<(&[u8], &[u8])> {
    let nonce = one(payloads, kind::NONCE).filter(|n| (8..=256).contains(&n.len()))?;
    Some((one(payloads, kind::KE)?, nonce))
}

/// How we authenticate; `Err` if our certificate's key cannot do it in IKEv1.
fn scheme(context: &Context<'_>) -> Result<Option<Scheme>, Refusal> {
    let Some(certified) = &context.credentials.certified else {
        return Ok(None);
    };
    let unknown = "IKEv1 has no signatures with our certificate's kind of key: \
                   it takes RSA, P-256 and P-384";
    certified
        .scheme()
        .map(Some)
        .ok_or_else(|| Refusal::Other(unknown.to_string()))
}

fn refusal(mismatch: Mismatch) -> Refusal {
    match mismatch {
        Mismatch::Algorithms => Refusal::NoProposal,
        Mismatch::Method => Refusal::OtherMethod,
    }
}

fn initial_contact(cookies: (u64, u64)) -> v1::Notify {
    v1::Notify {
        protocol: PROTO_ISAKMP,
        spi: [cookies.0.to_be_bytes(), cookies.1.to_be_bytes()].concat(),
        kind: INITIAL_CONTACT,
        data: Vec::new(),
    }
}

/// Whose proof it is: cookies, whether the initiator's, and the body of its SA payload.
type Whose<'a> = ((u64, u64), bool, &'a [u8]);

/// What both sides have put in after the fourth message.
#[cfg_attr(test, derive(Clone))]
struct Agreed {
    suite: Suite,
    scheme: Option<Scheme>,
    keys: Keys,
    iv: Iv,
    publics: (Vec<u8>, Vec<u8>),
}

/// What the fifth or sixth message proves.
struct Convinced {
    /// The IV that comes next.
    iv: Iv,
    /// It says that this is its first contact.
    initial: bool,
    /// The certificate by which it proves that, if by any.
    proven: Option<Proven>,
}

/// Why the fifth or sixth message proves nothing.
enum Unproven {
    /// It does not open, or lacks something.
    Unreadable,
    /// It opens, but does not convince; with the IV that comes next.
    Refused(Refusal, Iv),
}

impl Agreed {
    fn new(
        context: &Context<'_>,
        (suite, scheme): (Suite, Option<Scheme>),
        shared: &[u8],
        cookies: (u64, u64),
        nonces: (Vec<u8>, Vec<u8>),
        publics: (Vec<u8>, Vec<u8>),
    ) -> Option<Self> {
        let (ni, nr) = (&nonces.0, &nonces.1);
        let skeyid = match scheme {
            None => skeyid(suite.prf, &context.credentials.key, ni, nr),
            Some(_) => signed_skeyid(suite.prf, ni, nr, shared),
        };
        let keys = Keys::new(suite.prf, skeyid, shared, cookies)?;
        Some(Self {
            iv: keys.first_iv((&publics.0, &publics.1)),
            suite,
            scheme,
            keys,
            publics,
        })
    }

    fn hash(&self, (cookies, of_initiator, sa): Whose<'_>, id: &[u8]) -> Vec<u8> {
        let seeds = Seeds {
            cookies,
            publics: (&self.publics.0, &self.publics.1),
        };
        let prf = self
            .scheme
            .map_or(self.suite.prf, |s| s.prf(self.suite.prf));
        let hash = self.keys.authenticator(prf, &seeds, of_initiator, sa, id);
        hash.to_vec()
    }

    /// Who we are, and the proof of it; `None` if we cannot sign.
    fn prove(&self, context: &Context<'_>, whose: Whose<'_>) -> Option<Vec<Payload>> {
        let id = Id::address(context.local).encode();
        let hash = self.hash(whose, &id);
        let mut payloads = vec![Payload::new(kind::ID, id)];
        let Some(certified) = &context.credentials.certified else {
            payloads.push(Payload::new(kind::HASH, hash));
            return Some(payloads);
        };
        let body = |der: &Vec<u8>| [&[certificate::X509_SIGNATURE], &der[..]].concat();
        let chain = certified.chain().iter();
        payloads.extend(chain.map(|der| Payload::new(kind::CERT, body(der))));
        payloads.push(Payload::new(kind::SIG, certified.sign_hash(&hash)?));
        Some(payloads)
    }

    /// Opens the fifth or sixth message and checks who sent it.
    fn verify(
        &self,
        context: &Context<'_>,
        datagram: &[u8],
        whose: Whose<'_>,
    ) -> Result<Convinced, Unproven> {
        let opened = self.keys.open(datagram, &self.iv);
        let opened = opened.map_err(|_| Unproven::Unreadable)?;
        let proven = self
            .convince(context, &opened, whose)
            .ok_or(Unproven::Unreadable)?
            .map_err(|refusal| Unproven::Refused(refusal, opened.next_iv))?;
        let notifies = opened.payloads.iter().filter(|p| p.kind == kind::NOTIFY);
        let parsed = notifies.filter_map(|p| v1::Notify::parse(&p.body).ok());
        let initial = parsed.into_iter().any(|n| n.kind == INITIAL_CONTACT);
        Ok(Convinced {
            iv: opened.next_iv,
            initial,
            proven,
        })
    }

    /// Whether identity and proof convince, and by which certificate; `None` if there is none.
    fn convince(
        &self,
        context: &Context<'_>,
        opened: &Opened,
        whose: Whose<'_>,
    ) -> Option<Result<Option<Proven>, Refusal>> {
        let id = opened.one(kind::ID)?;
        let parsed = Id::parse(id).ok()?;
        // Some say "UDP port 500" (RFC 2407 section 4.6.2).
        let whole = matches!((parsed.protocol, parsed.port), (0, 0) | (17, 0 | 500));
        let hash = self.hash(whose, id);
        let failed = Err(Refusal::AuthenticationFailed);
        let (Some(scheme), Some(certified)) = (self.scheme, &context.credentials.certified) else {
            let own = Id::address(context.remote);
            let named = (parsed.kind, &parsed.data) == (own.kind, &own.data);
            let same = bool::from(hash.as_slice().ct_eq(opened.one(kind::HASH)?));
            return Some(if same && whole && named {
                Ok(None)
            } else {
                failed
            });
        };
        let signature = opened.one(kind::SIG)?;
        if !whole {
            return Some(failed);
        }
        let certs = opened.payloads.iter().filter(|p| p.kind == kind::CERT);
        let x509 = certs.filter_map(|p| p.body.split_first());
        let x509 = x509.filter(|(encoding, _)| **encoding == certificate::X509_SIGNATURE);
        let chain: Vec<&[u8]> = x509.map(|(_, der)| der).take(MAX_CHAIN).collect();
        let claim = Claim {
            chain: &chain,
            address: context.remote,
            id: &Identification {
                kind: parsed.kind,
                data: parsed.data,
            },
            proof: Proof::Hash {
                scheme,
                hash: &hash,
                signature,
            },
        };
        let verified = certified.verify(&claim).map_err(Refusal::from);
        Some(verified.map(|()| Some(Proven::of(&claim))))
    }
}
