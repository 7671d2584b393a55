//! The responder's side from its answer to IKE_SA_INIT until IKE_AUTH: further key exchange
//! (RFC 9242, RFC 9370), then identities and proof of the shared key (RFC 7296 section 1.2).

use super::auth::{accept_child, accepted, no_signature};
use super::{Handshake, Parts, announce, complaint, notify};
use crate::ike::certificate::Proven;
use crate::ike::child::Child;
use crate::ike::connection::{Connection, Origin};
use crate::ike::crash::{self, token};
use crate::ike::group::encapsulate;
use crate::ike::keys::{Seeds, prf};
use crate::ike::ppk::{self, Mismatch, Named};
use crate::ike::session::{Content, Incoming, Session};
use crate::ike::{Context, Datagrams, Refusal};
use crate::wire::isakmp::notify::kind;
use crate::wire::isakmp::{Header, Identification, KeyExchange, Message, Payload, exchange};

/// How long a half-open SA waits for IKE_AUTH.
const HALF_OPEN_MS: u64 = 30_000;

/// We answered IKE_SA_INIT and wait for IKE_AUTH.
#[cfg_attr(test, derive(Clone))]
pub struct HalfOpen {
    /// When the request came.
    pub began: u64,
    session: Session,
    handshake: Handshake,
    /// The exchange that comes next.
    expected: u8,
    /// What its sender has done for it.
    effort: Effort,
    refused: bool,
    /// Whether its address is listed; one that is not gets no SA.
    listed: bool,
    /// Whether the peer would use a post-quantum key, and we have none.
    wants_ppk: bool,
}

#[cfg(test)]
impl HalfOpen {
    /// Like a peer whose answer does not say that it took the post-quantum key.
    pub(super) fn silent_about(mut self: Box<Self>, ppk: &crate::ike::Ppk) -> Box<Self> {
        ppk.mix(&mut self.session.keys);
        self.handshake.ppk = false;
        self
    }
}

/// What the sender of a first request has done since, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Nothing; it may be anywhere.
    Nothing,
    /// It returned our cookie, so it is at the address it claims.
    Cookie,
    /// It did the second key exchange.
    KeyExchange,
    /// It solved our puzzle, far more work than a key exchange.
    Puzzle,
}

/// What a message to a half-open SA did.
pub enum HalfOpenStep {
    /// Nothing.
    Ignored(Box<HalfOpen>),
    /// Send this; the SA stays half-open.
    Reply(Box<HalfOpen>, Datagrams, Option<Refusal>),
    /// The peer proved the key: send this. The flag is INITIAL_CONTACT.
    Established(Box<Connection>, Datagrams, bool),
}

impl HalfOpen {
    pub(super) fn new(session: Session, handshake: Handshake, effort: Effort) -> Self {
        let expected = match session.suite.additional {
            Some(_) => exchange::IKE_INTERMEDIATE,
            None => exchange::IKE_AUTH,
        };
        Self {
            began: handshake.began,
            session,
            handshake,
            expected,
            effort,
            refused: false,
            listed: true,
            wants_ppk: false,
        }
    }

    /// Notes whether the peer would use a post-quantum key that we do not have.
    pub(super) fn wanting_ppk(mut self, wants: bool) -> Self {
        self.wants_ppk = wants;
        self
    }

    /// Why the peer went no further, if its time is over and that can be told.
    pub fn left_for(&self, now: u64) -> Option<Refusal> {
        let left = self.wants_ppk && self.is_waiting() && now >= self.expires();
        left.then_some(Refusal::Ppk(Mismatch::WeHaveNone))
    }

    /// The same for an address that is not listed: if it has the key, it is told so, no more.
    pub fn unlisted(mut self) -> Self {
        self.listed = false;
        self
    }

    /// The same for who solved a puzzle that it was given for another half-open SA: one solution is
    /// worth one place (RFC 8019 section 7.1.1.3).
    pub fn with_spent_solution(mut self) -> Self {
        self.effort = self.effort.min(Effort::Cookie);
        self
    }

    /// Whether it was opened with a solved puzzle under this SPI of the initiator.
    pub fn solved_with(&self, spi_i: u64) -> bool {
        self.effort == Effort::Puzzle && self.session.spi_i == spi_i
    }

    /// When it is forgotten.
    pub fn expires(&self) -> u64 {
        self.began + HALF_OPEN_MS
    }

    /// What its sender has done for it; where room is short, the least goes first.
    pub fn effort(&self) -> Effort {
        self.effort
    }

    /// Whether it still waits for IKE_AUTH.
    pub fn is_waiting(&self) -> bool {
        !self.refused
    }

    /// The answer again, if `datagram` is the request that opened it.
    pub fn repeat(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        (self.handshake.request == datagram).then(|| self.handshake.answer.clone())
    }

    #[cfg(test)]
    pub(crate) fn shape(&self, shape: &mut crate::ike::shape::Shape) {
        shape.word(self.expected);
        shape.word(self.effort as u8);
        shape.word(self.refused);
        shape.word(self.wants_ppk);
        self.handshake.shape(shape);
        self.session.shape(shape);
    }

    #[cfg(test)]
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Whether `header` belongs to it.
    pub fn owns(&self, header: &Header) -> bool {
        // IKE_INTERMEDIATE also after it is done: its answer may have been lost.
        let intermediate = self.session.suite.additional.is_some()
            && header.exchange == exchange::IKE_INTERMEDIATE;
        let awaited = header.exchange == self.expected || intermediate;
        awaited && !header.response && self.session.owns(header)
    }

    /// Handles a request.
    pub fn receive(
        mut self: Box<Self>,
        context: &mut Context<'_>,
        datagram: &[u8],
        message: &Message,
    ) -> HalfOpenStep {
        let content = match self
            .session
            .receive(&mut context.dropped, datagram, message)
        {
            Incoming::Dropped => return HalfOpenStep::Ignored(self),
            Incoming::Again(bytes) => return HalfOpenStep::Reply(self, bytes, None),
            Incoming::Fresh(_) if self.refused => return HalfOpenStep::Ignored(self),
            Incoming::Fresh(content) => content,
        };
        let exchange = message.header.exchange;
        let payloads = match &content.payloads {
            Ok(payloads) if exchange == self.expected => payloads,
            Ok(_) => {
                let say = notify(kind::INVALID_SYNTAX, &[]);
                return self.refuse(exchange, say, None);
            }
            Err(error) => return self.refuse(exchange, complaint(*error), None),
        };
        let parts = Parts::of(payloads);
        if exchange == exchange::IKE_INTERMEDIATE {
            return self.intermediate(context, &parts, &content);
        }
        match self.authenticate(context, &parts) {
            Ok(proven) => self.establish(context, &parts, proven),
            Err(refusal) => {
                let say = ppk::complaint(&refusal);
                self.refuse_with(exchange, &say, Some(refusal))
            }
        }
    }

    /// The further key exchange: nobody is authenticated yet, but all of it will be.
    fn intermediate(
        mut self: Box<Self>,
        context: &mut Context<'_>,
        parts: &Parts<'_>,
        content: &Content,
    ) -> HalfOpenStep {
        let exchange = exchange::IKE_INTERMEDIATE;
        let suite = self.session.suite;
        let method = suite.additional.map(|a| a.number());
        let ke = parts.ke.filter(|ke| Some(ke.group) == method);
        let Some((ciphertext, shared)) = ke.and_then(|ke| encapsulate(&ke.data, context.random))
        else {
            let say = notify(kind::INVALID_SYNTAX, &[]);
            return self.refuse(exchange, say, None);
        };
        let answer = [Payload::Ke(KeyExchange {
            group: method.unwrap_or_default(),
            data: ciphertext,
        })];
        let covered = self.session.covered(exchange, true, &answer);
        let keys = &self.session.keys;
        let int_auth_i = prf(keys.prf(), &keys.pi, &[&content.covered]);
        let int_auth_r = prf(keys.prf(), &keys.pr, &[&covered]);
        self.handshake.intermediate(&int_auth_i, &int_auth_r);
        let seeds = Seeds {
            shared: &shared,
            ni: &self.handshake.ni,
            nr: &self.handshake.nr,
            spis: (self.session.spi_i, self.session.spi_r),
        };
        let keys = keys.after_intermediate(suite, &seeds);
        let bytes = self.session.respond(exchange, &answer);
        if self.session.change_keys(keys).is_none() {
            return HalfOpenStep::Ignored(self);
        }
        self.expected = exchange::IKE_AUTH;
        self.effort = self.effort.max(Effort::KeyExchange);
        HalfOpenStep::Reply(self, bytes, None)
    }

    fn refuse(self: Box<Self>, exchange: u8, say: Payload, why: Option<Refusal>) -> HalfOpenStep {
        self.refuse_with(exchange, &[say], why)
    }

    fn refuse_with(
        mut self: Box<Self>,
        exchange: u8,
        say: &[Payload],
        refusal: Option<Refusal>,
    ) -> HalfOpenStep {
        let bytes = self.session.respond(exchange, say);
        self.refused = true;
        HalfOpenStep::Reply(self, bytes, refusal)
    }

    fn authenticate(
        &mut self,
        context: &Context<'_>,
        parts: &Parts<'_>,
    ) -> Result<Option<Proven>, Refusal> {
        if self.handshake.nat {
            return Err(Refusal::Nat);
        }
        let id = parts.id_i.ok_or(Refusal::AuthenticationFailed)?;
        let (credentials, keys) = (context.credentials, &mut self.session.keys);
        let named = ppk::accept(credentials, self.handshake.ppk, keys, parts)?;
        let signed = self.handshake.signed(&self.session.keys, id, true);
        let proven = signed.verify(credentials, context.remote, parts);
        match named {
            Named::Suitable => proven.map_err(|refusal| ppk::doubt(credentials, refusal)),
            Named::Nothing => proven.and(Err(Refusal::Ppk(Mismatch::PeerHasNone))),
        }
    }

    fn establish(
        self: Box<Self>,
        context: &mut Context<'_>,
        parts: &Parts<'_>,
        proven: Option<Proven>,
    ) -> HalfOpenStep {
        let id = Identification::address(context.local);
        let proof = self
            .handshake
            .signed(&self.session.keys, &id, false)
            .prove(context.credentials, &self.handshake.hashes);
        let Some(proof) = proof else {
            let say = notify(kind::AUTHENTICATION_FAILED, &[]);
            return self.refuse(exchange::IKE_AUTH, say, Some(no_signature()));
        };
        let mut payloads = vec![Payload::IdR(id)];
        payloads.extend(proof);
        if self.handshake.ppk {
            payloads.push(notify(kind::PPK_IDENTITY, &[]));
        }
        if !self.listed {
            payloads.push(notify(kind::NOT_LISTED, &[]));
            return self.refuse_with(exchange::IKE_AUTH, &payloads, None);
        }
        let mut session = self.session;
        let mut unpaired = None;
        let child = match accept_child(context, parts) {
            Ok((ah, spi)) => {
                payloads.extend(accepted(context, ah, spi));
                let (ni, nr) = (&self.handshake.ni, &self.handshake.nr);
                let keys = session.keys.child(ah.integrity, ni, nr);
                Some(Child::new(context, spi, ah, keys, false))
            }
            Err((error, refusal)) => {
                payloads.push(notify(error, &[]));
                unpaired = Some(refusal);
                None
            }
        };
        let says = context.credentials.certificate;
        payloads.extend(announce::name(&says));
        payloads.push(token(context, (session.spi_i, session.spi_r)));
        session.token = crash::given(parts.notifies.iter().copied());
        let bytes = session.respond(exchange::IKE_AUTH, &payloads);
        let origin = Origin {
            began: self.began,
            initiator: false,
            certificate: announce::named(parts),
            told: says,
            proven,
        };
        let mut connection = Connection::new(context, session, child, origin);
        connection.unpaired = unpaired;
        let initial = parts.notify(kind::INITIAL_CONTACT).is_some();
        HalfOpenStep::Established(Box::new(connection), bytes, initial)
    }
}
