//! The peer's certificate under a connection that stands: it is judged again whenever the IKE SA is
//! replaced, whoever begins that, for a certificate or a revocation list may have ended meanwhile.

use super::Connection;
use crate::ike::certificate::CertificateError;
use crate::ike::{Context, Refusal, ppk};
use crate::wire::isakmp::{Delete, Payload};

impl Connection {
    /// Whether the peer is still who it proved to be. If not, the connection is closed.
    pub(in crate::ike) fn is_still_proven(&mut self, context: &Context<'_>) -> bool {
        let certified = context.credentials.certified.as_ref();
        let Some((certified, proven)) = certified.zip(self.origin.proven.as_ref()) else {
            return true;
        };
        let Err(why) = certified.holds(proven, context.remote) else {
            return true;
        };
        let refusal = Refusal::Certificate(why);
        self.failure = Some(refusal.clone());
        self.refused = Some(refusal);
        self.close();
        false
    }

    /// Why we closed it, once: the peer is not who it was any more.
    pub fn take_refusal(&mut self) -> Option<Refusal> {
        self.refused.take()
    }

    /// What deletes an IKE SA; as at first contact, the peer hears that its certificate is why.
    pub(super) fn last_words(&self) -> Vec<Payload> {
        let ours = self.failure.as_ref().filter(|_| self.is_refused());
        let mut payloads = ours.map(ppk::complaint).unwrap_or_default();
        payloads.push(Payload::Delete(Delete::ike()));
        payloads
    }

    /// Whether it ends because the peer's certificate holds no longer.
    pub(in crate::ike) fn is_refused(&self) -> bool {
        let failure = self.failure.as_ref();
        failure.is_some_and(|failure| match failure {
            Refusal::Certificate(why) => *why != CertificateError::ByPeer,
            _ => false,
        })
    }
}
