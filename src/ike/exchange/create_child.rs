//! CREATE_CHILD_SA for AH pairs (RFC 7296 sections 1.3 and 2.8): collisions are decided by the
//! lowest nonce and by TEMPORARY_FAILURE (section 2.25). For the IKE SA see `rekey_sa`.

use super::auth::{accept_child, accepted};
use super::{Parts, notify, selectors, selectors_cover};
use crate::ike::Context;
use crate::ike::child::Child;
use crate::ike::connection::{Connection, MAX_CHILDREN, is_rekeying};
use crate::ike::proposal;
use crate::ike::session::Purpose;
use crate::wire::isakmp::notify::kind;
use crate::wire::isakmp::{Notify, Payload, protocol};

/// How long a new child waits for the delete of the old one before it sends: the answer may be
/// lost a few times, and where two rekeys cross it takes longer until the loser is known.
const HOLD_MS: u64 = 8_000;
/// Pause before a rekey is tried again after a refusal.
pub(in crate::ike) const AGAIN_MS: u64 = 2_000;
const NO_ADDITIONAL_SAS: u16 = 35;
pub(super) const NONCE_LEN: usize = 32;

impl Connection {
    /// The request that replaces the child at index `old`.
    pub(in crate::ike) fn rekey_child(
        &mut self,
        context: &mut Context<'_>,
        old: usize,
    ) -> (Vec<Payload>, Purpose) {
        let old = self.children[old].spi_in;
        let new = context.ah_spi();
        let nonce: [u8; NONCE_LEN] = context.bytes();
        let mut payloads = vec![
            Payload::Notify(Notify {
                protocol: protocol::AH,
                spi: old.to_be_bytes().to_vec(),
                kind: kind::REKEY_SA,
                data: Vec::new(),
            }),
            notify(kind::USE_TRANSPORT_MODE, &[]),
            Payload::Sa(proposal::offer_ah(context.profile, new)),
            Payload::Nonce(nonce.to_vec()),
        ];
        payloads.extend(selectors(context, true));
        let purpose = Purpose::RekeyChild {
            old,
            new,
            nonce: nonce.to_vec(),
            collision: None,
        };
        (payloads, purpose)
    }

    /// Answers a request of the peer.
    pub(super) fn create_child(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        parts: &Parts<'_>,
    ) -> Vec<Payload> {
        let (Some(sa), Some(ni)) = (parts.sa, parts.nonce) else {
            return vec![notify(kind::INVALID_SYNTAX, &[])];
        };
        let for_ike = sa.first().is_some_and(|p| p.protocol == protocol::IKE);
        let answer = if for_ike {
            self.grant_sa(context, at, parts, ni)
        } else {
            self.grant_child(context, at, parts, ni)
        };
        answer.unwrap_or_else(|error| vec![error])
    }

    fn grant_child(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        parts: &Parts<'_>,
        ni: &[u8],
    ) -> Result<Vec<Payload>, Payload> {
        if !self.sessions[at].is_current() || is_rekeying(&self.sessions[at]) {
            return Err(notify(kind::TEMPORARY_FAILURE, &[]));
        }
        let old = match parts.notify(kind::REKEY_SA) {
            None => None,
            Some(rekey) => Some(self.named_child(rekey)?),
        };
        if self.children.len() >= MAX_CHILDREN {
            return Err(notify(NO_ADDITIONAL_SAS, &[]));
        }
        let (ah, spi) = accept_child(context, parts).map_err(|(error, _)| notify(error, &[]))?;
        let nr: [u8; NONCE_LEN] = context.bytes();
        let keys = self.sessions[at].keys.child(ah.integrity, ni, &nr);
        let mut child = Child::new(context, spi, ah, keys, false);
        child.low_nonce = ni.min(&nr).to_vec();
        if let Some(old) = old {
            // Ours may be under way under another IKE SA than theirs.
            for waiting in self
                .sessions
                .iter_mut()
                .filter_map(|s| s.in_flight.as_mut())
            {
                if let Purpose::RekeyChild {
                    old: mine,
                    collision,
                    ..
                } = &mut waiting.purpose
                    && *mine == self.children[old].spi_in
                {
                    *collision = Some(spi);
                }
            }
            self.children[old].rekey_at = u64::MAX;
            child.replaces = Some(self.children[old].spi_in);
            self.rekeys.1 += 1;
        }
        child.held_until = (!self.children.is_empty()).then_some(context.now + HOLD_MS);
        self.children.push(child);
        let mut payloads = accepted(context, ah, spi);
        payloads.insert(2, Payload::Nonce(nr.to_vec()));
        Ok(payloads)
    }

    /// The child a REKEY_SA notify is about; it names the sender's inbound SPI.
    fn named_child(&self, rekey: &Notify) -> Result<usize, Payload> {
        let spi = rekey.spi.as_slice();
        let found = self
            .children
            .iter()
            .position(|c| rekey.protocol == protocol::AH && c.spi_out.to_be_bytes() == spi);
        match found {
            Some(old) if self.children[old].delete => Err(notify(kind::TEMPORARY_FAILURE, &[])),
            Some(old) => Ok(old),
            None => Err(Payload::Notify(Notify {
                protocol: protocol::AH,
                spi: spi.get(..4).unwrap_or_default().to_vec(),
                kind: kind::CHILD_SA_NOT_FOUND,
                data: Vec::new(),
            })),
        }
    }

    /// The answer to [`Connection::rekey_child`].
    pub(in crate::ike) fn child_rekeyed(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        (old, new): (u32, u32),
        nonce: &[u8],
        collision: Option<u32>,
        payloads: &[Payload],
    ) {
        let parts = Parts::of(payloads);
        match parts.error() {
            None => {}
            Some(kind::CHILD_SA_NOT_FOUND) => return self.forget_child(context.now, old),
            Some(_) => {
                let again = context.now + context.jitter(AGAIN_MS);
                // A crossing rekey of the peer may have succeeded meanwhile.
                let again = if collision.is_some() { u64::MAX } else { again };
                if let Some(child) = self.children.iter_mut().find(|c| c.spi_in == old) {
                    child.rekey_at = again;
                }
                return;
            }
        }
        let ah = parts
            .sa
            .and_then(|sa| proposal::chosen_ah(context.profile, sa))
            .filter(|_| parts.notify(kind::USE_TRANSPORT_MODE).is_some())
            .filter(|_| selectors_cover(context, &parts, true));
        let (Some(ah), Some(nr)) = (ah, parts.nonce) else {
            // The peer believes in a child that we cannot use: start over.
            return self.close();
        };
        let keys = self.sessions[at].keys.child(ah.integrity, nonce, nr);
        let mut child = Child::new(context, new, ah, keys, true);
        child.low_nonce = nonce.min(nr).to_vec();
        self.rekeys.1 += 1;
        let theirs = self.children.iter().find(|c| Some(c.spi_in) == collision);
        if theirs.is_some_and(|theirs| child.low_nonce < theirs.low_nonce) {
            child.delete = true;
        } else if let Some(child) = self.children.iter_mut().find(|c| c.spi_in == old) {
            child.delete = true;
        }
        self.children.push(child);
    }
}
