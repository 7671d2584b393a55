//! The exchanges of IKEv2, one file each (RFC 7296 section 1).

pub(crate) mod announce;
pub mod auth;
pub(crate) mod create_child;
pub mod demand;
pub mod half_open;
#[cfg(any(test, fuzzing))]
pub mod hostile;
pub(crate) mod informational;
pub mod init;
pub mod intermediate;
pub(super) mod nat;
pub(crate) mod rekey_sa;
#[cfg(test)]
mod tests;

use crate::wire::isakmp::notify::kind;
use crate::wire::isakmp::{
    Certificate, Header, Notify, Payload, Proposal, Puzzle, TrafficSelector, WireError, exchange,
};

use super::auth::Signed;
use super::certificate::HASHES;
use super::keys::SaKeys;
use super::session::Session;
use super::{Context, Datagrams, Refusal};
use crate::wire::isakmp::Identification;

/// The message id of IKE_AUTH after one IKE_INTERMEDIATE exchange.
const AUTH_ID: u32 = 2;

/// What AUTH covers of the exchanges before it.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Handshake {
    /// When it began.
    pub began: u64,
    pub ni: Vec<u8>,
    pub nr: Vec<u8>,
    /// IKE_SA_INIT, whole.
    pub request: Vec<u8>,
    pub answer: Vec<u8>,
    /// Hash algorithms that the peer accepts in signatures.
    pub hashes: Vec<u16>,
    /// Somebody rewrites addresses between us.
    pub nat: bool,
    /// Both said that they use a post-quantum key (RFC 8784).
    pub ppk: bool,
    /// IntAuth (RFC 9242 section 3.3.2); empty without IKE_INTERMEDIATE.
    pub int_auth: Vec<u8>,
}

impl Handshake {
    /// Takes in the IKE_INTERMEDIATE exchange.
    pub fn intermediate(&mut self, int_auth_i: &[u8], int_auth_r: &[u8]) {
        self.int_auth = [int_auth_i, int_auth_r, &AUTH_ID.to_be_bytes()].concat();
    }

    #[cfg(test)]
    pub fn shape(&self, shape: &mut super::shape::Shape) {
        shape.time(self.began);
        shape.nonce(&self.ni);
        shape.nonce(&self.nr);
        shape.name(&self.request);
        shape.word(self.nat);
        shape.word(self.ppk);
    }

    /// What the initiator or the responder signs.
    pub fn signed<'a>(
        &'a self,
        keys: &'a SaKeys,
        id: &'a Identification,
        initiator: bool,
    ) -> Signed<'a> {
        let (message, nonce, sk_p) = if initiator {
            (&self.request, &self.nr, &keys.pi)
        } else {
            (&self.answer, &self.ni, &keys.pr)
        };
        Signed {
            prf: keys.prf(),
            message,
            nonce,
            sk_p,
            id,
            int_auth: &self.int_auth,
        }
    }
}

/// Our request before the IKE SA is established, and what it is part of.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Asked {
    pub exchange: u8,
    pub session: Session,
    pub handshake: Handshake,
}

impl Asked {
    #[cfg(test)]
    pub fn shape(&self, shape: &mut super::shape::Shape) {
        shape.word(self.exchange);
        self.handshake.shape(shape);
        self.session.shape(shape);
    }

    /// Whether `header` answers it.
    pub fn owns(&self, header: &Header) -> bool {
        header.exchange == self.exchange && header.response && self.session.owns(header)
    }

    /// Sends again (`Ok`) or gives up (`Err`).
    pub fn timeout(&mut self, now: u64) -> Result<Option<Datagrams>, Refusal> {
        let intermediate = !self.handshake.int_auth.is_empty();
        let silent = || match self.exchange == exchange::IKE_AUTH && intermediate {
            true => Refusal::unproven(),
            false => Refusal::unanswered(),
        };
        self.session.repeat(now).ok_or_else(silent)
    }
}

/// The payloads of a message by what they are for; the last of a kind counts.
#[derive(Default)]
pub(crate) struct Parts<'a> {
    pub sa: Option<&'a [Proposal]>,
    pub ke: Option<&'a crate::wire::isakmp::KeyExchange>,
    pub nonce: Option<&'a [u8]>,
    pub id_i: Option<&'a crate::wire::isakmp::Identification>,
    pub id_r: Option<&'a crate::wire::isakmp::Identification>,
    pub auth: Option<&'a crate::wire::isakmp::Auth>,
    pub certs: Vec<&'a crate::wire::isakmp::Certificate>,
    pub ts_i: Option<&'a [TrafficSelector]>,
    pub ts_r: Option<&'a [TrafficSelector]>,
    pub notifies: Vec<&'a Notify>,
    pub deletes: Vec<&'a crate::wire::isakmp::Delete>,
    /// Keys that solve a puzzle.
    pub solution: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    pub fn of(payloads: &'a [Payload]) -> Self {
        let mut parts = Parts::default();
        for payload in payloads {
            match payload {
                Payload::Sa(sa) => parts.sa = Some(sa),
                Payload::Ke(ke) => parts.ke = Some(ke),
                Payload::Nonce(nonce) => parts.nonce = Some(nonce),
                Payload::IdI(id) => parts.id_i = Some(id),
                Payload::IdR(id) => parts.id_r = Some(id),
                Payload::Auth(auth) => parts.auth = Some(auth),
                Payload::Cert(cert) => parts.certs.push(cert),
                Payload::TsI(ts) => parts.ts_i = Some(ts),
                Payload::TsR(ts) => parts.ts_r = Some(ts),
                Payload::Notify(notify) => parts.notifies.push(notify),
                Payload::Delete(delete) => parts.deletes.push(delete),
                Payload::PuzzleSolution(keys) => parts.solution = Some(keys),
                Payload::CertReq(_)
                | Payload::Encrypted(_)
                | Payload::Fragment(_)
                | Payload::Other { .. } => {}
            }
        }
        parts
    }

    pub fn notify(&self, kind: u16) -> Option<&'a Notify> {
        self.notifies.iter().find(|n| n.kind == kind).copied()
    }

    /// Hash algorithms that the sender accepts in signatures (RFC 7427 section 4).
    pub fn hashes(&self) -> Vec<u16> {
        let named = self.notify(kind::SIGNATURE_HASH_ALGORITHMS);
        let data = named.map_or(&[][..], |n| &n.data);
        let (pairs, _) = data.as_chunks::<2>();
        pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect()
    }

    /// Whether the sender can do a further key exchange, which needs fragments.
    pub fn can_intermediate(&self) -> bool {
        self.notify(kind::IKEV2_FRAGMENTATION_SUPPORTED).is_some()
            && self.notify(kind::INTERMEDIATE_EXCHANGE_SUPPORTED).is_some()
    }

    /// The puzzle that a responder gives; one that cannot be read is none.
    pub fn puzzle(&self) -> Option<Puzzle> {
        Puzzle::parse(&self.notify(kind::PUZZLE)?.data)
    }

    pub fn error(&self) -> Option<u16> {
        self.notifies.iter().find(|n| n.is_error()).map(|n| n.kind)
    }
}

/// A notify payload about the message as a whole.
pub(crate) fn notify(kind: u16, data: &[u8]) -> Payload {
    Payload::Notify(Notify::new(kind, data.to_vec()))
}

/// What IKE_SA_INIT says of signatures, if we authenticate by them.
pub(crate) fn signature_hashes(context: &Context<'_>) -> Option<Payload> {
    context.credentials.certified.as_ref()?;
    let data = HASHES.map(u16::to_be_bytes).concat();
    Some(notify(kind::SIGNATURE_HASH_ALGORITHMS, &data))
}

/// Which authorities' certificates we accept.
pub(crate) fn certificate_request(context: &Context<'_>) -> Option<Payload> {
    let certified = context.credentials.certified.as_ref()?;
    let authorities = Certificate::x509(certified.authorities().to_vec());
    Some(Payload::CertReq(authorities))
}

/// The answer to an authentic request that does not parse (section 2.21.3).
pub(crate) fn complaint(error: WireError) -> Payload {
    match error {
        WireError::Critical(payload) => notify(kind::UNSUPPORTED_CRITICAL_PAYLOAD, &[payload]),
        _ => notify(kind::INVALID_SYNTAX, &[]),
    }
}

/// The selectors of an exchange: all traffic between the two addresses.
pub(crate) fn selectors(context: &Context<'_>, initiator: bool) -> [Payload; 2] {
    let (i, r) = if initiator {
        (context.local, context.remote)
    } else {
        (context.remote, context.local)
    };
    [
        Payload::TsI(vec![TrafficSelector::host(i)]),
        Payload::TsR(vec![TrafficSelector::host(r)]),
    ]
}

/// Whether the selectors a peer offers let us have [`selectors`].
pub(crate) fn selectors_cover(context: &Context<'_>, parts: &Parts<'_>, initiator: bool) -> bool {
    let (i, r) = if initiator {
        (context.local, context.remote)
    } else {
        (context.remote, context.local)
    };
    let covers = |offered: Option<&[TrafficSelector]>, address| {
        offered.is_some_and(|all| all.iter().any(|ts| ts.covers(address)))
    };
    covers(parts.ts_i, i) && covers(parts.ts_r, r)
}
