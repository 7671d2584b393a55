//! Node certificates: named in IKE_AUTH, and in an INFORMATIONAL exchange of their own whenever
//! they change, so that a certificate is renewed under an IKE SA that stands.
//!
//! The announcement names all that may be presented from now on and takes the place of what was
//! named before. Its answer repeats what was taken; who does not know announcements answers
//! with nothing.

use super::{Parts, notify};
use crate::ike::Presented;
use crate::ike::connection::Connection;
use crate::ike::session::{InFlight, Purpose};
use crate::wire::isakmp::Payload;
use crate::wire::isakmp::notify::kind;

/// The sender's node certificates, if it names any.
pub(super) fn named(parts: &Parts<'_>) -> Option<Presented> {
    let notifies = parts.notifies.iter();
    let ours = notifies.filter(|n| n.kind == kind::NODE_CERTIFICATE);
    Presented::read(ours.map(|n| n.data.as_slice()))
}

/// Names node certificates, the one in use first.
pub(in crate::ike) fn name(presented: &Presented) -> Vec<Payload> {
    let digests = presented.digests();
    let payloads = digests.map(|digest| notify(kind::NODE_CERTIFICATE, digest));
    payloads.collect()
}

impl Connection {
    /// Takes what an authentic request names; the answer's payloads.
    pub(super) fn heard_announcement(&mut self, parts: &Parts<'_>) -> Vec<Payload> {
        let Some(named) = named(parts) else {
            return Vec::new();
        };
        self.origin.certificate = Some(named);
        name(&named)
    }

    /// Whether the peer, one of ours, does not know yet what we present. One announcement at a
    /// time, even under two IKE SAs: an earlier one must never be heard later.
    pub(in crate::ike) fn must_announce(&self, ours: Presented) -> bool {
        let announces = |waiting: &InFlight| matches!(waiting.purpose, Purpose::Announce(_));
        let mut waiting = self.sessions.iter().filter_map(|s| s.in_flight.as_ref());
        self.origin.certificate.is_some()
            && self.origin.told != ours
            && self.untaken != Some(ours)
            && !waiting.any(announces)
    }

    /// The peer answered an announcement. Where it did not take what we already present, it must
    /// hear it in the IKE_AUTH of a new connection.
    pub(in crate::ike) fn announced(&mut self, ours: Presented, payloads: &[Payload]) {
        if named(&Parts::of(payloads)) == Some(ours) {
            self.origin.told = ours;
            self.untaken = None;
        } else {
            self.untaken = Some(ours);
            if !self.origin.told.contains(&ours.now) {
                self.close();
            }
        }
    }
}
