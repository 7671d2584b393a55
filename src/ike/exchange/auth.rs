//! IKE_AUTH (RFC 7296 section 1.2): identities, proof of the shared key, the first AH pair, and
//! each side's node certificate digest.

use super::{Parts, complaint, notify, selectors, selectors_cover};
use crate::ike::auth::Signed;
use crate::ike::child::Child;
use crate::ike::cipher::OpenError;
use crate::ike::connection::{Connection, Origin};
use crate::ike::proposal::{self, Ah};
use crate::ike::session::{Incoming, Purpose, Session};
use crate::ike::{Context, Refusal};
use crate::wire::isakmp::notify::kind;
use crate::wire::isakmp::{Delete, Header, Identification, Message, Payload, exchange};

/// How long a half-open SA waits for IKE_AUTH.
const HALF_OPEN_MS: u64 = 30_000;

/// Our IKE_AUTH request is out.
pub struct Authenticating {
    session: Session,
    nonces: (Vec<u8>, Vec<u8>),
    messages: (Vec<u8>, Vec<u8>),
    spi: u32,
    began: u64,
}

/// What an answer to IKE_AUTH did.
pub enum AuthStep {
    /// Nothing.
    Ignored(Box<Authenticating>),
    /// The attempt is over; send the farewell, if any.
    Failed(Refusal, Option<Vec<u8>>),
    /// Both sides proved the key.
    Established(Box<Connection>),
}

impl Authenticating {
    /// Starts authenticating; send what is returned.
    pub(super) fn start(
        context: &mut Context<'_>,
        mut session: Session,
        nonces: (Vec<u8>, Vec<u8>),
        messages: (Vec<u8>, Vec<u8>),
        began: u64,
    ) -> (Self, Vec<u8>) {
        let spi = context.ah_spi();
        let id = Identification::address(context.local);
        let auth = Signed {
            prf: session.keys.prf(),
            message: &messages.0,
            nonce: &nonces.1,
            sk_p: &session.keys.pi,
            id: &id,
        }
        .prove(&context.credentials.key);
        let mut payloads = vec![
            Payload::IdI(id),
            // We start only when no SA with the peer stands.
            notify(kind::INITIAL_CONTACT, &[]),
            Payload::IdR(Identification::address(context.remote)),
            Payload::Auth(auth),
            notify(kind::USE_TRANSPORT_MODE, &[]),
            Payload::Sa(proposal::offer_ah(context.profile, spi)),
        ];
        payloads.extend(selectors(context, true));
        payloads.push(notify(
            kind::NODE_CERTIFICATE,
            &context.credentials.certificate,
        ));
        let bytes = session.request(
            context.now,
            exchange::IKE_AUTH,
            &payloads,
            Purpose::Authenticate,
        );
        let authenticating = Self {
            session,
            nonces,
            messages,
            spi,
            began,
        };
        (authenticating, bytes)
    }

    /// Whether `header` answers this request.
    pub fn owns(&self, header: &Header) -> bool {
        header.exchange == exchange::IKE_AUTH && header.response && self.session.owns(header)
    }

    /// When [`Authenticating::timeout`] wants to be called.
    pub fn due(&self) -> u64 {
        self.session
            .in_flight
            .as_ref()
            .map_or(0, |waiting| waiting.retry.due())
    }

    /// Sends again (`Ok`) or gives up (`Err`).
    pub fn timeout(&mut self, now: u64) -> Result<Option<Vec<u8>>, Refusal> {
        match &mut self.session.in_flight {
            Some(waiting) if !waiting.retry.exhausted(now) => {
                Ok(waiting.retry.fire(now).then(|| waiting.bytes.clone()))
            }
            _ => Err(Refusal::NoAnswer),
        }
    }

    /// Handles an answer.
    pub fn receive(
        mut self: Box<Self>,
        context: &mut Context<'_>,
        datagram: &[u8],
        message: &Message,
    ) -> AuthStep {
        let Some((_, opened)) = self.session.answer(datagram, message) else {
            return AuthStep::Ignored(self);
        };
        let Ok(payloads) = opened else {
            let farewell = self.session.farewell(&[Payload::Delete(Delete::ike())]);
            let text = "the peer's IKE_AUTH answer is malformed".to_string();
            return AuthStep::Failed(Refusal::Other(text), Some(farewell));
        };
        let parts = Parts::of(&payloads);
        match self.check(context, &parts) {
            Ok(child) => {
                let origin = Origin {
                    began: self.began,
                    initiator: true,
                    certificate: certificate(&parts),
                };
                let connection = Connection::new(context, self.session, Some(child), origin);
                AuthStep::Established(Box::new(connection))
            }
            Err((refusal, say)) => {
                let farewell = say.then(|| {
                    let mut payloads = vec![Payload::Delete(Delete::ike())];
                    if refusal == Refusal::AuthenticationFailed {
                        payloads.insert(0, notify(kind::AUTHENTICATION_FAILED, &[]));
                    }
                    self.session.farewell(&payloads)
                });
                AuthStep::Failed(refusal, farewell)
            }
        }
    }

    /// The child, or why not and whether the peer has an IKE SA that must be deleted.
    fn check(
        &self,
        context: &mut Context<'_>,
        parts: &Parts<'_>,
    ) -> Result<Child, (Refusal, bool)> {
        let (Some(id), Some(auth)) = (parts.id_r, parts.auth) else {
            return Err((refusal(parts), false));
        };
        let signed = Signed {
            prf: self.session.keys.prf(),
            message: &self.messages.1,
            nonce: &self.nonces.0,
            sk_p: &self.session.keys.pr,
            id,
        };
        if *id != Identification::address(context.remote)
            || !signed.verify(&context.credentials.key, auth)
        {
            return Err((Refusal::AuthenticationFailed, true));
        }
        if parts.error().is_some() || parts.notify(kind::NOT_LISTED).is_some() {
            return Err((refusal(parts), true));
        }
        if parts.notify(kind::USE_TRANSPORT_MODE).is_none() {
            let text = "the peer insists on tunnel mode".to_string();
            return Err((Refusal::Other(text), true));
        }
        let Some(ah) = parts
            .sa
            .and_then(|sa| proposal::chosen_ah(context.profile, sa))
        else {
            return Err((Refusal::NoProposal, true));
        };
        if !selectors_cover(context, parts, true) {
            let text = "the peer narrowed the traffic selectors".to_string();
            return Err((Refusal::Other(text), true));
        }
        let keys = &self.session.keys;
        let keys = keys.child(ah.integrity, &self.nonces.0, &self.nonces.1);
        Ok(Child::new(context, self.spi, ah, keys, true))
    }
}

fn refusal(parts: &Parts<'_>) -> Refusal {
    if parts.notify(kind::NOT_LISTED).is_some() {
        return Refusal::NotListed;
    }
    match parts.error() {
        Some(kind::AUTHENTICATION_FAILED) => Refusal::AuthenticationFailed,
        Some(kind::NO_PROPOSAL_CHOSEN) => Refusal::NoProposal,
        Some(kind::TS_UNACCEPTABLE) => {
            Refusal::Other("the peer refused the traffic selectors".to_string())
        }
        Some(other) => Refusal::Other(format!("the peer refused IKE_AUTH (notify {other})")),
        None => Refusal::Other("the peer's IKE_AUTH answer is incomplete".to_string()),
    }
}

/// The digest of the peer's node certificate, if it sent one.
fn certificate(parts: &Parts<'_>) -> Option<[u8; 32]> {
    let digest = parts.notify(kind::NODE_CERTIFICATE)?;
    digest.data.as_slice().try_into().ok()
}

/// We answered IKE_SA_INIT and wait for IKE_AUTH.
pub struct HalfOpen {
    /// When the request came.
    pub began: u64,
    session: Session,
    nonces: (Vec<u8>, Vec<u8>),
    messages: (Vec<u8>, Vec<u8>),
    refused: bool,
}

/// What a message to a half-open SA did.
pub enum HalfOpenStep {
    /// Nothing.
    Ignored(Box<HalfOpen>),
    /// Send this; the SA stays half-open.
    Reply(Box<HalfOpen>, Vec<u8>, Option<Refusal>),
    /// The peer proved the key: send this. The flag is INITIAL_CONTACT.
    Established(Box<Connection>, Vec<u8>, bool),
}

impl HalfOpen {
    pub(super) fn new(
        now: u64,
        session: Session,
        nonces: (Vec<u8>, Vec<u8>),
        messages: (Vec<u8>, Vec<u8>),
    ) -> Self {
        Self {
            began: now,
            session,
            nonces,
            messages,
            refused: false,
        }
    }

    /// When it is forgotten.
    pub fn expires(&self) -> u64 {
        self.began + HALF_OPEN_MS
    }

    /// Whether it still waits for IKE_AUTH.
    pub fn is_waiting(&self) -> bool {
        !self.refused
    }

    /// The answer again, if `datagram` is the request that opened it.
    pub fn repeat(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        (self.messages.0 == datagram).then(|| self.messages.1.clone())
    }

    /// Whether `header` belongs to it.
    pub fn owns(&self, header: &Header) -> bool {
        header.exchange == exchange::IKE_AUTH && !header.response && self.session.owns(header)
    }

    /// Handles an IKE_AUTH request.
    pub fn receive(
        mut self: Box<Self>,
        context: &mut Context<'_>,
        datagram: &[u8],
        message: &Message,
    ) -> HalfOpenStep {
        let opened = match self.session.receive(datagram, message) {
            Incoming::Dropped => return HalfOpenStep::Ignored(self),
            Incoming::Again(bytes) => return HalfOpenStep::Reply(self, bytes, None),
            Incoming::Fresh(_) if self.refused => return HalfOpenStep::Ignored(self),
            Incoming::Fresh(opened) => opened,
        };
        let payloads = match opened {
            Ok(payloads) => payloads,
            Err(OpenError::Content(error)) => return self.refuse(complaint(error), None),
            Err(OpenError::Forged) => return HalfOpenStep::Ignored(self),
        };
        let parts = Parts::of(&payloads);
        if !self.is_authentic(context, &parts) {
            let say = notify(kind::AUTHENTICATION_FAILED, &[]);
            return self.refuse(say, Some(Refusal::AuthenticationFailed));
        }
        self.establish(context, &parts)
    }

    fn refuse(mut self: Box<Self>, say: Payload, refusal: Option<Refusal>) -> HalfOpenStep {
        let bytes = self.session.respond(exchange::IKE_AUTH, &[say]);
        self.refused = true;
        HalfOpenStep::Reply(self, bytes, refusal)
    }

    fn is_authentic(&self, context: &Context<'_>, parts: &Parts<'_>) -> bool {
        let (Some(id), Some(auth)) = (parts.id_i, parts.auth) else {
            return false;
        };
        let signed = Signed {
            prf: self.session.keys.prf(),
            message: &self.messages.0,
            nonce: &self.nonces.1,
            sk_p: &self.session.keys.pi,
            id,
        };
        *id == Identification::address(context.remote)
            && signed.verify(&context.credentials.key, auth)
    }

    fn establish(self: Box<Self>, context: &mut Context<'_>, parts: &Parts<'_>) -> HalfOpenStep {
        let mut session = self.session;
        let id = Identification::address(context.local);
        let auth = Signed {
            prf: session.keys.prf(),
            message: &self.messages.1,
            nonce: &self.nonces.0,
            sk_p: &session.keys.pr,
            id: &id,
        }
        .prove(&context.credentials.key);
        let mut payloads = vec![Payload::IdR(id), Payload::Auth(auth)];
        let child = match accept_child(context, parts) {
            Ok((ah, spi)) => {
                payloads.extend(accepted(context, ah, spi));
                let (ni, nr) = &self.nonces;
                let keys = session.keys.child(ah.integrity, ni, nr);
                Some(Child::new(context, spi, ah, keys, false))
            }
            Err(error) => {
                payloads.push(notify(error, &[]));
                None
            }
        };
        payloads.push(notify(
            kind::NODE_CERTIFICATE,
            &context.credentials.certificate,
        ));
        let bytes = session.respond(exchange::IKE_AUTH, &payloads);
        let origin = Origin {
            began: self.began,
            initiator: false,
            certificate: certificate(parts),
        };
        let connection = Connection::new(context, session, child, origin);
        let initial = parts.notify(kind::INITIAL_CONTACT).is_some();
        HalfOpenStep::Established(Box::new(connection), bytes, initial)
    }
}

/// Judges a request for an AH pair: what was chosen and our SPI, or the error to report.
pub(super) fn accept_child(context: &mut Context<'_>, parts: &Parts<'_>) -> Result<(Ah, u32), u16> {
    let ah = parts
        .sa
        .and_then(|sa| proposal::choose_ah(context.profile, sa))
        .filter(|_| parts.notify(kind::USE_TRANSPORT_MODE).is_some())
        .ok_or(kind::NO_PROPOSAL_CHOSEN)?;
    if !selectors_cover(context, parts, false) {
        return Err(kind::TS_UNACCEPTABLE);
    }
    Ok((ah, context.ah_spi()))
}

/// The payloads that grant an AH pair.
pub(super) fn accepted(context: &Context<'_>, ah: Ah, spi: u32) -> Vec<Payload> {
    let mut payloads = vec![
        notify(kind::USE_TRANSPORT_MODE, &[]),
        Payload::Sa(proposal::ah(ah.number, spi, &[ah.integrity], &[ah.esn])),
    ];
    payloads.extend(selectors(context, false));
    payloads
}
