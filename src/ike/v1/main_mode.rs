//! Main mode with a pre-shared key (RFC 2409 section 5.4): six messages, the last two encrypted.
//!
//! The key is that of the packet's address, and the identity must be that address. A responder
//! computes nothing before its cookie came back.

use subtle::ConstantTimeEq;

use super::keys::{Iv, Keys, Seeds, one, skeyid};
use super::phase1::Phase1;
use crate::ike::group::Exchange;
use crate::ike::retransmit::Retry;
use crate::ike::suite::{Encryption, Group, Prf, Profile, Suite};
use crate::ike::{Context, Refusal};
use crate::wire::isakmp::proposal::Attribute;
use crate::wire::isakmp::v1::{self, Header, Id, Payload, Proposal, Transform, exchange, kind};

/// How long one attempt waits for any answer.
const PATIENCE_MS: u64 = 12_000;
/// How long an answered first message is remembered.
const HALF_OPEN_MS: u64 = 30_000;
const NONCE_LEN: usize = 32;
/// Dead peer detection (RFC 3706 section 5).
const DPD_VENDOR: [u8; 16] = [
    0xaf, 0xca, 0xd7, 0x13, 0x68, 0xa1, 0xf1, 0xc9, 0x6b, 0x86, 0x96, 0xfc, 0x77, 0x57, 1, 0,
];
const PROTO_ISAKMP: u8 = 1;
const KEY_IKE: u8 = 1;
/// INITIAL-CONTACT (RFC 2407 section 4.6.3.3).
pub(super) const INITIAL_CONTACT: u16 = 24_578;

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

fn transform(number: u8, suite: Suite, life_s: u32) -> Transform {
    use attribute::*;
    Transform {
        number,
        id: KEY_IKE,
        attributes: vec![
            Attribute::Short(ENCRYPTION, AES_CBC),
            Attribute::Short(KEY_LENGTH, 256),
            Attribute::Short(HASH, hash_number(suite.prf)),
            Attribute::Short(GROUP, suite.group.number()),
            Attribute::Short(METHOD, PRE_SHARED_KEY),
            Attribute::Short(LIFE_TYPE, SECONDS),
            Attribute::Long(LIFE_DURATION, life_s.to_be_bytes().to_vec()),
        ],
    }
}

/// Whether `transform` is `suite`; its lifetime is the sender's own affair.
fn is(transform: &Transform, suite: Suite) -> bool {
    use attribute::*;
    let wanted = [
        (ENCRYPTION, AES_CBC),
        (KEY_LENGTH, 256),
        (HASH, hash_number(suite.prf)),
        (GROUP, suite.group.number()),
        (METHOD, PRE_SHARED_KEY),
    ];
    transform.id == KEY_IKE
        && transform.only(&KNOWN)
        && wanted
            .iter()
            .all(|(kind, value)| transform.value(*kind) == Some(u32::from(*value)))
}

/// The first acceptable transform of an initiator, and what it is.
fn choose(suites: &[Suite], offered: &[Proposal]) -> Option<(Proposal, Suite)> {
    let isakmp = offered.iter().filter(|p| p.protocol == PROTO_ISAKMP);
    isakmp.into_iter().find_map(|proposal| {
        proposal.transforms.iter().find_map(|transform| {
            let suite = suites.iter().find(|suite| is(transform, **suite))?;
            let chosen = Proposal {
                transforms: vec![transform.clone()],
                ..proposal.clone()
            };
            Some((chosen, *suite))
        })
    })
}

fn knows_dpd(payloads: &[Payload]) -> bool {
    let vendor = Payload::new(kind::VENDOR, DPD_VENDOR.to_vec());
    payloads.contains(&vendor)
}

fn sa_message(cookies: (u64, u64), sa: &[u8]) -> Vec<u8> {
    let payloads = [
        Payload::new(kind::SA, sa.to_vec()),
        Payload::new(kind::VENDOR, DPD_VENDOR.to_vec()),
    ];
    v1::encode(&Header::new(cookies, exchange::MAIN, false, 0), &payloads)
}

fn ke_message(cookies: (u64, u64), public: &[u8], nonce: &[u8]) -> Vec<u8> {
    let payloads = [
        Payload::new(kind::KE, public.to_vec()),
        Payload::new(kind::NONCE, nonce.to_vec()),
    ];
    v1::encode(&Header::new(cookies, exchange::MAIN, false, 0), &payloads)
}

/// Key exchange and nonce of the third or fourth message.
fn contribution(payloads: &[Payload]) -> Option<(&[u8], &[u8])> {
    let nonce = one(payloads, kind::NONCE).filter(|n| (8..=256).contains(&n.len()))?;
    Some((one(payloads, kind::KE)?, nonce))
}

/// What both sides have put in after the fourth message.
struct Agreed {
    suite: Suite,
    keys: Keys,
    iv: Iv,
    publics: (Vec<u8>, Vec<u8>),
}

impl Agreed {
    fn new(
        context: &Context<'_>,
        suite: Suite,
        shared: &[u8],
        cookies: (u64, u64),
        nonces: (Vec<u8>, Vec<u8>),
        publics: (Vec<u8>, Vec<u8>),
    ) -> Option<Self> {
        let skeyid = skeyid(suite.prf, &context.credentials.key, &nonces.0, &nonces.1);
        let keys = Keys::new(suite.prf, skeyid, shared, cookies)?;
        Some(Self {
            iv: keys.first_iv((&publics.0, &publics.1)),
            suite,
            keys,
            publics,
        })
    }

    fn hash(&self, cookies: (u64, u64), of_initiator: bool, sa: &[u8], id: &[u8]) -> Vec<u8> {
        let seeds = Seeds {
            cookies,
            publics: (&self.publics.0, &self.publics.1),
        };
        let hash = self.keys.authenticator(&seeds, of_initiator, sa, id);
        hash.to_vec()
    }

    /// Opens the fifth or sixth message and checks who sent it; the IV that comes next, and
    /// whether it says that this is its first contact.
    fn verify(
        &self,
        context: &Context<'_>,
        datagram: &[u8],
        (cookies, of_initiator, sa): ((u64, u64), bool, &[u8]),
    ) -> Option<(Iv, bool)> {
        let opened = self.keys.open(datagram, &self.iv).ok()?;
        let id = opened.one(kind::ID)?;
        let hash = opened.one(kind::HASH)?;
        let expected = self.hash(cookies, of_initiator, sa, id);
        let parsed = Id::parse(id).ok()?;
        // Some say "UDP port 500" (RFC 2407 section 4.6.2).
        let whole = matches!((parsed.protocol, parsed.port), (0, 0) | (17, 0 | 500));
        let own = Id::address(context.remote);
        let named = (parsed.kind, &parsed.data) == (own.kind, &own.data);
        if !bool::from(expected.as_slice().ct_eq(hash)) || !whole || !named {
            return None;
        }
        let notifies = opened.payloads.iter().filter(|p| p.kind == kind::NOTIFY);
        let parsed = notifies.filter_map(|p| v1::Notify::parse(&p.body).ok());
        let initial = parsed.into_iter().any(|n| n.kind == INITIAL_CONTACT);
        Some((opened.next_iv, initial))
    }
}

/// What a message did.
pub enum Step {
    /// Nothing.
    Nothing,
    /// An unauthenticated reason for failure.
    Hint(Refusal),
    /// Send this.
    Send(Vec<u8>),
    /// Both sides proved the key; send this, if any. The flag is INITIAL-CONTACT.
    Done(Box<Phase1>, Option<Vec<u8>>, bool),
}

enum Stage {
    Sa,
    Ke(Suite, Exchange),
    Auth(Agreed),
}

/// Our side of a main mode that we began.
pub struct Initiator {
    cookies: (u64, u64),
    suites: Vec<Suite>,
    sa: Vec<u8>,
    nonce: [u8; NONCE_LEN],
    dpd: bool,
    /// Whether to say that no SA with the peer stands.
    initial: bool,
    stage: Stage,
    last: Vec<u8>,
    retry: Retry,
    /// When it began.
    pub began: u64,
    hint: Option<Refusal>,
}

impl Initiator {
    /// Starts; send what is returned. `None` if the profile has nothing for IKEv1.
    pub fn start(context: &mut Context<'_>, initial: bool) -> Option<(Self, Vec<u8>)> {
        let suites = match context.credentials.certified {
            Some(_) => Vec::new(),
            None => suites(context.profile),
        };
        let life_s = u32::try_from(context.lifetimes.ike_ms / 1_000).unwrap_or(u32::MAX);
        let numbered = (1..).zip(&suites);
        let proposal = Proposal {
            number: 1,
            protocol: PROTO_ISAKMP,
            spi: Vec::new(),
            transforms: numbered.map(|(n, s)| transform(n, *s, life_s)).collect(),
        };
        if suites.is_empty() {
            return None;
        }
        let cookies = (context.ike_spi(), 0);
        let sa = v1::encode_sa(&[proposal]);
        let last = sa_message(cookies, &sa);
        let initiator = Self {
            cookies,
            suites,
            sa,
            nonce: context.bytes(),
            dpd: false,
            initial,
            stage: Stage::Sa,
            last: last.clone(),
            retry: Retry::start(context.now, PATIENCE_MS),
            began: context.now,
            hint: None,
        };
        Some((initiator, last))
    }

    /// Whether `header` can belong to it.
    pub fn owns(&self, header: &Header) -> bool {
        let first = matches!(self.stage, Stage::Sa) && header.cky_r != 0;
        header.cky_i == self.cookies.0 && (first || header.cky_r == self.cookies.1)
    }

    /// When [`Initiator::timeout`] wants to be called.
    pub fn due(&self) -> u64 {
        self.retry.due()
    }

    /// Sends again (`Ok`) or gives up (`Err`).
    pub fn timeout(&mut self, now: u64) -> Result<Option<Vec<u8>>, Refusal> {
        if self.retry.exhausted(now) {
            let silent = match self.stage {
                // Differing keys make it unreadable, and others then say nothing.
                Stage::Auth(_) => Refusal::AuthenticationFailed,
                _ => Refusal::NoAnswer,
            };
            return Err(self.hint.take().unwrap_or(silent));
        }
        Ok(self.retry.fire(now).then(|| self.last.clone()))
    }

    /// An unauthenticated notification for it.
    pub fn hint(&mut self, refusal: Refusal) {
        self.hint = Some(refusal);
    }

    /// Handles a message of main mode for which [`Initiator::owns`] holds.
    pub fn receive(&mut self, context: &mut Context<'_>, header: &Header, bytes: &[u8]) -> Step {
        let next = match &self.stage {
            Stage::Sa => self.chosen(context, header, bytes),
            Stage::Ke(..) => self.agreed(context, bytes),
            Stage::Auth(agreed) => {
                let whose = (self.cookies, false, &self.sa[..]);
                let Some((iv, initial)) = agreed.verify(context, bytes, whose) else {
                    return Step::Nothing;
                };
                let Stage::Auth(agreed) = std::mem::replace(&mut self.stage, Stage::Sa) else {
                    return Step::Nothing;
                };
                let main = (agreed.suite, agreed.keys, iv);
                let mut phase1 = Phase1::new(context, self.cookies, true, main);
                phase1.dpd = self.dpd;
                return Step::Done(Box::new(phase1), None, initial);
            }
        };
        match next {
            Some(last) => {
                self.last = last.clone();
                self.retry = Retry::start(context.now, PATIENCE_MS);
                Step::Send(last)
            }
            None => Step::Nothing,
        }
    }

    fn chosen(
        &mut self,
        context: &mut Context<'_>,
        header: &Header,
        bytes: &[u8],
    ) -> Option<Vec<u8>> {
        let (_, payloads) = v1::parse(bytes).ok().filter(|_| !header.is_encrypted())?;
        let proposals = v1::parse_sa(one(&payloads, kind::SA)?).ok()?;
        let [Proposal { transforms, .. }] = proposals.as_slice() else {
            return None;
        };
        let [_] = transforms.as_slice() else {
            return None;
        };
        let (_, suite) = choose(&self.suites, &proposals)?;
        self.dpd = knows_dpd(&payloads);
        self.cookies.1 = header.cky_r;
        let exchange = Exchange::new(suite.group, context.random);
        let message = ke_message(self.cookies, &exchange.public, &self.nonce);
        self.stage = Stage::Ke(suite, exchange);
        Some(message)
    }

    fn agreed(&mut self, context: &Context<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
        let Stage::Ke(suite, ours) = &self.stage else {
            return None;
        };
        let (header, payloads) = v1::parse(bytes).ok()?;
        let (public, nr) = contribution(&payloads).filter(|_| !header.is_encrypted())?;
        let shared = ours.agree(public)?;
        let nonces = (self.nonce.to_vec(), nr.to_vec());
        let publics = (ours.public.clone(), public.to_vec());
        let suite = *suite;
        let mut agreed = Agreed::new(context, suite, &shared, self.cookies, nonces, publics)?;
        let id = Id::address(context.local).encode();
        let hash = agreed.hash(self.cookies, true, &self.sa, &id);
        let mut payloads = vec![Payload::new(kind::ID, id), Payload::new(kind::HASH, hash)];
        if self.initial {
            payloads.push(initial_contact(self.cookies).payload());
        }
        let header = Header::new(self.cookies, exchange::MAIN, true, 0);
        let message = agreed.keys.seal(&header, &payloads, &mut agreed.iv);
        self.stage = Stage::Auth(agreed);
        Some(message)
    }
}

/// Certificates take the place of the key, and main mode has only the key here.
pub(super) fn no_signatures() -> Refusal {
    Refusal::Other("this IKE profile authenticates by the cluster key only".to_string())
}

fn initial_contact(cookies: (u64, u64)) -> v1::Notify {
    v1::Notify {
        protocol: PROTO_ISAKMP,
        spi: [cookies.0.to_be_bytes(), cookies.1.to_be_bytes()].concat(),
        kind: INITIAL_CONTACT,
        data: Vec::new(),
    }
}

/// Our side of a main mode that the peer began.
pub struct Responder {
    cookies: (u64, u64),
    suite: Suite,
    sa: Vec<u8>,
    dpd: bool,
    agreed: Option<Agreed>,
    request: Vec<u8>,
    reply: Vec<u8>,
    /// When it began.
    pub began: u64,
}

impl Responder {
    /// Answers a first message; `Err` if nothing in it is acceptable.
    pub fn start(
        context: &mut Context<'_>,
        header: &Header,
        bytes: &[u8],
    ) -> Option<Result<(Self, Vec<u8>), Refusal>> {
        let (_, payloads) = v1::parse(bytes).ok().filter(|_| !header.is_encrypted())?;
        let offered = v1::parse_sa(one(&payloads, kind::SA)?).ok()?;
        if context.credentials.certified.is_some() {
            return Some(Err(no_signatures()));
        }
        let Some((chosen, suite)) = choose(&suites(context.profile), &offered) else {
            return Some(Err(Refusal::NoProposal));
        };
        let cookies = (header.cky_i, context.ike_spi());
        let reply = sa_message(cookies, &v1::encode_sa(&[chosen]));
        let responder = Self {
            cookies,
            suite,
            sa: one(&payloads, kind::SA)?.to_vec(),
            dpd: knows_dpd(&payloads),
            agreed: None,
            request: bytes.to_vec(),
            reply: reply.clone(),
            began: context.now,
        };
        Some(Ok((responder, reply)))
    }

    /// When it is forgotten.
    pub fn expires(&self) -> u64 {
        self.began + HALF_OPEN_MS
    }

    /// Whether its cookie came back.
    pub fn is_reachable(&self) -> bool {
        self.agreed.is_some()
    }

    /// The answer again, if `datagram` is the message it was for.
    pub fn repeat(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        (self.request == datagram).then(|| self.reply.clone())
    }

    /// Whether `header` belongs to it.
    pub fn owns(&self, header: &Header) -> bool {
        (header.cky_i, header.cky_r) == self.cookies && header.exchange == exchange::MAIN
    }

    /// Handles a message for which [`Responder::owns`] holds.
    pub fn receive(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Step {
        let Some(agreed) = &self.agreed else {
            return match self.key_exchange(context, bytes) {
                Some(reply) => {
                    self.request = bytes.to_vec();
                    self.reply = reply.clone();
                    Step::Send(reply)
                }
                None => Step::Nothing,
            };
        };
        let whose = (self.cookies, true, &self.sa[..]);
        let Some((mut iv, initial)) = agreed.verify(context, bytes, whose) else {
            return Step::Hint(Refusal::AuthenticationFailed);
        };
        let id = Id::address(context.local).encode();
        let hash = agreed.hash(self.cookies, false, &self.sa, &id);
        let payloads = [Payload::new(kind::ID, id), Payload::new(kind::HASH, hash)];
        let header = Header::new(self.cookies, exchange::MAIN, true, 0);
        let reply = agreed.keys.seal(&header, &payloads, &mut iv);
        let Some(agreed) = self.agreed.take() else {
            return Step::Nothing;
        };
        let main = (agreed.suite, agreed.keys, iv);
        let mut phase1 = Phase1::new(context, self.cookies, false, main);
        phase1.dpd = self.dpd;
        phase1.last_main = (bytes.to_vec(), reply.clone());
        Step::Done(Box::new(phase1), Some(reply), initial)
    }

    fn key_exchange(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
        let (header, payloads) = v1::parse(bytes).ok()?;
        let (public, ni) = contribution(&payloads).filter(|_| !header.is_encrypted())?;
        let ours = Exchange::new(self.suite.group, context.random);
        let shared = ours.agree(public)?;
        let nr: [u8; NONCE_LEN] = context.bytes();
        let nonces = (ni.to_vec(), nr.to_vec());
        let publics = (public.to_vec(), ours.public.clone());
        let suite = self.suite;
        self.agreed = Some(Agreed::new(
            context,
            suite,
            &shared,
            self.cookies,
            nonces,
            publics,
        )?);
        Some(ke_message(self.cookies, &ours.public, &nr))
    }
}
