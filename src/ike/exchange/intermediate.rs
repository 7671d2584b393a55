//! IKE_INTERMEDIATE as initiator (RFC 9242) with a further key exchange (RFC 9370): encrypted and
//! in fragments, before anybody is authenticated; IKE_AUTH covers all of it.

use super::auth::Authenticating;
use super::{Asked, Handshake, Parts};
use crate::ike::group::Decapsulation;
use crate::ike::keys::{Seeds, prf};
use crate::ike::session::{Purpose, Session};
use crate::ike::suite::Additional;
use crate::ike::{Context, Datagrams, Refusal};
use crate::wire::isakmp::{Header, KeyExchange, Message, Payload, exchange};

/// Our IKE_INTERMEDIATE request is out.
#[cfg_attr(test, derive(Clone))]
pub struct Intermediating {
    asked: Asked,
    decapsulation: Decapsulation,
    method: Additional,
    int_auth_i: Vec<u8>,
}

/// What an answer to IKE_INTERMEDIATE did.
pub enum IntermediateStep {
    /// Nothing.
    Ignored(Box<Intermediating>),
    /// The attempt is over.
    Failed(Refusal),
    /// Keys agreed; send this.
    Next(Box<Authenticating>, Datagrams),
}

impl Intermediating {
    pub(super) fn start(
        context: &mut Context<'_>,
        mut session: Session,
        handshake: Handshake,
        method: Additional,
    ) -> (Self, Datagrams) {
        let decapsulation = Decapsulation::new(context.random);
        let payloads = [Payload::Ke(KeyExchange {
            group: method.number(),
            data: decapsulation.public.clone(),
        })];
        let exchange = exchange::IKE_INTERMEDIATE;
        let covered = session.covered(exchange, false, &payloads);
        let int_auth_i = prf(session.keys.prf(), &session.keys.pi, &[&covered]).to_vec();
        let purpose = Purpose::Authenticate;
        let bytes = session.request(context.now, exchange, &payloads, purpose);
        let intermediating = Self {
            asked: Asked {
                exchange: exchange::IKE_INTERMEDIATE,
                session,
                handshake,
            },
            decapsulation,
            method,
            int_auth_i,
        };
        (intermediating, bytes)
    }

    #[cfg(test)]
    pub(crate) fn shape(&self, shape: &mut crate::ike::shape::Shape) {
        self.asked.shape(shape);
    }

    #[cfg(test)]
    pub(crate) fn session(&self) -> &Session {
        &self.asked.session
    }

    /// Whether `header` answers this request.
    pub fn owns(&self, header: &Header) -> bool {
        self.asked.owns(header)
    }

    /// When [`Intermediating::timeout`] wants to be called.
    pub fn due(&self) -> u64 {
        self.asked.session.due()
    }

    /// Sends again (`Ok`) or gives up (`Err`).
    pub fn timeout(&mut self, now: u64) -> Result<Option<Datagrams>, Refusal> {
        self.asked.timeout(now)
    }

    /// Handles an answer or a part of it.
    pub fn receive(
        mut self: Box<Self>,
        context: &mut Context<'_>,
        datagram: &[u8],
        message: &Message,
    ) -> IntermediateStep {
        let Some((_, content)) = self
            .asked
            .session
            .answer(&mut context.dropped, datagram, message)
        else {
            return IntermediateStep::Ignored(self);
        };
        let malformed = || {
            let text = "the peer's IKE_INTERMEDIATE answer is malformed".to_string();
            IntermediateStep::Failed(Refusal::Other(text))
        };
        let Ok(payloads) = content.payloads else {
            return malformed();
        };
        let parts = Parts::of(&payloads);
        if let Some(error) = parts.error() {
            let text = format!("the peer refused IKE_INTERMEDIATE (notify {error})");
            return IntermediateStep::Failed(Refusal::Other(text));
        }
        let ke = parts.ke.filter(|ke| ke.group == self.method.number());
        let Some(shared) = ke.and_then(|ke| self.decapsulation.open(&ke.data)) else {
            return malformed();
        };
        let keys = &self.asked.session.keys;
        let int_auth_r = prf(keys.prf(), &keys.pr, &[&content.covered]);
        self.asked
            .handshake
            .intermediate(&self.int_auth_i, &int_auth_r);
        let seeds = Seeds {
            shared: &shared,
            ni: &self.asked.handshake.ni,
            nr: &self.asked.handshake.nr,
            spis: (self.asked.session.spi_i, self.asked.session.spi_r),
        };
        let keys = keys.after_intermediate(self.asked.session.suite, &seeds);
        if self.asked.session.change_keys(keys).is_none() {
            return malformed();
        }
        match Authenticating::start(context, self.asked.session, self.asked.handshake) {
            Ok((next, bytes)) => IntermediateStep::Next(Box::new(next), bytes),
            Err(refusal) => IntermediateStep::Failed(refusal),
        }
    }
}
