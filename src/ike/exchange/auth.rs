//! IKE_AUTH as initiator (RFC 7296 section 1.2): identities, proof of the shared key, the first AH
//! pair, and each side's node certificate digest. For the responder see `half_open`.

use super::{
    Asked, Handshake, Parts, announce, certificate_request, notify, selectors, selectors_cover,
};
use crate::ike::certificate::Proven;
use crate::ike::child::Child;
use crate::ike::connection::{Connection, Origin};
use crate::ike::crash::{self, token};
use crate::ike::ppk::{self, Mismatch};
use crate::ike::proposal::{self, Ah};
use crate::ike::session::{Purpose, Session};
use crate::ike::{Context, Credentials, Datagrams, Ppk, Presented, Refusal};
use crate::wire::isakmp::notify::kind;
use crate::wire::isakmp::{Delete, Header, Identification, Message, Payload, exchange};

/// Our IKE_AUTH request is out.
#[cfg_attr(test, derive(Clone))]
pub struct Authenticating {
    asked: Asked,
    spi: u32,
    /// The node certificates that it names.
    says: Presented,
}

/// What an answer to IKE_AUTH did.
pub enum AuthStep {
    /// Nothing.
    Ignored(Box<Authenticating>),
    /// The attempt is over; send the farewell, if any.
    Failed(Refusal, Datagrams),
    /// Both sides proved the key.
    Established(Box<Connection>),
}

impl Authenticating {
    /// Starts authenticating; send what is returned.
    pub(super) fn start(
        context: &mut Context<'_>,
        mut session: Session,
        handshake: Handshake,
    ) -> Result<(Self, Datagrams), Refusal> {
        let spi = context.ah_spi();
        let id = Identification::address(context.local);
        let ppk = context.credentials.ppk.as_ref().filter(|_| handshake.ppk);
        if let Some(ppk) = ppk {
            ppk.mix(&mut session.keys);
        }
        let proof = handshake
            .signed(&session.keys, &id, true)
            .prove(context.credentials, &handshake.hashes)
            .ok_or_else(no_signature)?;
        let mut payloads = vec![
            Payload::IdI(id),
            // We start only when no SA with the peer stands.
            notify(kind::INITIAL_CONTACT, &[]),
            Payload::IdR(Identification::address(context.remote)),
        ];
        payloads.extend(certificate_request(context));
        payloads.extend(proof);
        payloads.push(notify(kind::USE_TRANSPORT_MODE, &[]));
        payloads.push(Payload::Sa(proposal::offer_ah(context.profile, spi)));
        payloads.extend(selectors(context, true));
        let says = context.credentials.certificate;
        payloads.extend(announce::name(&says));
        payloads.push(token(context, (session.spi_i, session.spi_r)));
        payloads.extend(ppk.map(Ppk::identity));
        let bytes = session.request(
            context.now,
            exchange::IKE_AUTH,
            &payloads,
            Purpose::Authenticate,
        );
        let authenticating = Self {
            asked: Asked {
                exchange: exchange::IKE_AUTH,
                session,
                handshake,
            },
            spi,
            says,
        };
        Ok((authenticating, bytes))
    }

    #[cfg(test)]
    pub(crate) fn shape(&self, shape: &mut crate::ike::shape::Shape) {
        self.asked.shape(shape);
        shape.spi(self.spi);
    }

    #[cfg(test)]
    pub(crate) fn session(&self) -> &Session {
        &self.asked.session
    }

    /// Whether `header` answers this request.
    pub fn owns(&self, header: &Header) -> bool {
        self.asked.owns(header)
    }

    /// When [`Authenticating::timeout`] wants to be called.
    pub fn due(&self) -> u64 {
        self.asked.session.due()
    }

    /// Sends again (`Ok`) or gives up (`Err`).
    pub fn timeout(&mut self, now: u64) -> Result<Option<Datagrams>, Refusal> {
        self.asked.timeout(now)
    }

    /// Handles an answer.
    pub fn receive(
        mut self: Box<Self>,
        context: &mut Context<'_>,
        datagram: &[u8],
        message: &Message,
    ) -> AuthStep {
        let Some((_, content)) = self
            .asked
            .session
            .answer(&mut context.dropped, datagram, message)
        else {
            return AuthStep::Ignored(self);
        };
        let Ok(payloads) = content.payloads else {
            let farewell = self
                .asked
                .session
                .farewell(&[Payload::Delete(Delete::ike())]);
            let text = "the peer's IKE_AUTH answer is malformed".to_string();
            return AuthStep::Failed(Refusal::Other(text), farewell);
        };
        let parts = Parts::of(&payloads);
        match self.check(context, &parts) {
            Ok((child, proven)) => {
                let origin = Origin {
                    began: self.asked.handshake.began,
                    initiator: true,
                    certificate: announce::named(&parts),
                    told: self.says,
                    proven,
                };
                let mut session = self.asked.session;
                session.token = crash::given(parts.notifies.iter().copied());
                let connection = Connection::new(context, session, Some(child), origin);
                AuthStep::Established(Box::new(connection))
            }
            Err((refusal, say)) => {
                if !say {
                    return AuthStep::Failed(refusal, Datagrams::new());
                }
                let mut payloads = vec![Payload::Delete(Delete::ike())];
                if matches!(
                    refusal,
                    Refusal::AuthenticationFailed | Refusal::Certificate(_) | Refusal::Ppk(_)
                ) {
                    payloads.splice(0..0, ppk::complaint(&refusal));
                }
                AuthStep::Failed(refusal, self.asked.session.farewell(&payloads))
            }
        }
    }

    /// The child and the peer's certificate, or why not and whether the peer has an IKE SA that
    /// must be deleted.
    fn check(
        &self,
        context: &mut Context<'_>,
        parts: &Parts<'_>,
    ) -> Result<(Child, Option<Proven>), (Refusal, bool)> {
        let (Some(id), Some(_)) = (parts.id_r, parts.auth) else {
            let refusal = refusal(parts, context.credentials);
            let refusal = if self.asked.handshake.nat {
                Refusal::Nat
            } else {
                refusal
            };
            return Err((refusal, false));
        };
        if self.asked.handshake.nat {
            return Err((Refusal::Nat, true));
        }
        if self.asked.handshake.ppk && parts.notify(kind::PPK_IDENTITY).is_none() {
            return Err((Refusal::Ppk(Mismatch::PeerHasNone), true));
        }
        let signed = self
            .asked
            .handshake
            .signed(&self.asked.session.keys, id, false);
        let proven = signed
            .verify(context.credentials, context.remote, parts)
            .map_err(|refusal| (ppk::doubt(context.credentials, refusal), true))?;
        if parts.error().is_some() || parts.notify(kind::NOT_LISTED).is_some() {
            return Err((refusal(parts, context.credentials), true));
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
        let keys = &self.asked.session.keys;
        let keys = keys.child(
            ah.integrity,
            &self.asked.handshake.ni,
            &self.asked.handshake.nr,
        );
        Ok((Child::new(context, self.spi, ah, keys, true), proven))
    }
}

/// RFC 7427 section 5: without a common hash algorithm no signature is possible.
pub(super) fn no_signature() -> Refusal {
    let text = "the peer accepts no signature that our certificate can make".to_string();
    Refusal::Other(text)
}

fn refusal(parts: &Parts<'_>, credentials: &Credentials) -> Refusal {
    if parts.notify(kind::NOT_LISTED).is_some() {
        return Refusal::NotListed;
    }
    match parts.error() {
        Some(kind::AUTHENTICATION_FAILED) => ppk::heard(credentials, parts),
        Some(kind::NO_PROPOSAL_CHOSEN) => Refusal::NoProposal,
        Some(kind::TS_UNACCEPTABLE) => {
            Refusal::Other("the peer refused the traffic selectors".to_string())
        }
        Some(other) => Refusal::Other(format!("the peer refused IKE_AUTH (notify {other})")),
        None => Refusal::Other("the peer's IKE_AUTH answer is incomplete".to_string()),
    }
}

/// Judges a request for an AH pair: what was chosen and our SPI, or the error to report and how it
/// is shown.
pub(super) fn accept_child(
    context: &mut Context<'_>,
    parts: &Parts<'_>,
) -> Result<(Ah, u32), (u16, Refusal)> {
    let chosen = parts
        .sa
        .and_then(|sa| proposal::choose_ah(context.profile, sa));
    let Some(ah) = chosen else {
        return Err((kind::NO_PROPOSAL_CHOSEN, Refusal::NoProposal));
    };
    let other = |text: &str| Refusal::Other(text.into());
    if parts.notify(kind::USE_TRANSPORT_MODE).is_none() {
        let refusal = other("the peer insists on tunnel mode");
        return Err((kind::NO_PROPOSAL_CHOSEN, refusal));
    }
    if !selectors_cover(context, parts, false) {
        let refusal = other("the peer wants other traffic selectors");
        return Err((kind::TS_UNACCEPTABLE, refusal));
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
