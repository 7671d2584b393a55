//! CREATE_CHILD_SA (RFC 7296 sections 1.3 and 2.8): rekeying of AH pairs and of the IKE SA,
//! with collisions decided by the lowest nonce and by TEMPORARY_FAILURE (section 2.25).

use super::auth::{accept_child, accepted};
use super::init::offer;
use super::{Parts, notify, selectors, selectors_cover};
use crate::ike::Context;
use crate::ike::child::{Child, rekey_at};
use crate::ike::connection::{Connection, MAX_CHILDREN, MAX_SESSIONS, is_rekeying};
use crate::ike::group::Exchange;
use crate::ike::keys::Seeds;
use crate::ike::proposal;
use crate::ike::session::{Purpose, Session};
use crate::wire::isakmp::notify::kind;
use crate::wire::isakmp::{Notify, Payload, protocol};

/// How long a new child waits for the delete of the old one before it sends.
const HOLD_MS: u64 = 3_000;
/// The same where two rekeys crossed, until the loser is known.
const HOLD_CROSSED_MS: u64 = 8_000;
/// Pause before a rekey is tried again after a refusal.
const AGAIN_MS: u64 = 2_000;
const NO_ADDITIONAL_SAS: u16 = 35;
const NONCE_LEN: usize = 32;

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

    /// The request that replaces the current IKE SA.
    pub(in crate::ike) fn rekey_sa(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
    ) -> (Vec<Payload>, Purpose) {
        let suite = self.sessions[at].suite;
        let exchange = Exchange::new(suite.group, context.random);
        let nonce: [u8; NONCE_LEN] = context.bytes();
        let spi = context.ike_spi();
        let sa = vec![proposal::ike(1, Some(spi), suite)];
        let [sa, ke, ni] = offer(sa, &exchange, &nonce);
        let purpose = Purpose::RekeySa {
            exchange,
            spi,
            nonce: nonce.to_vec(),
            collision: None,
        };
        (vec![sa, ni, ke], purpose)
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
        if !self.sessions[at].is_current() || is_rekeying(&self.sessions[at].in_flight) {
            return Err(notify(kind::TEMPORARY_FAILURE, &[]));
        }
        let old = match parts.notify(kind::REKEY_SA) {
            None => None,
            Some(rekey) => Some(self.named_child(rekey)?),
        };
        if self.children.len() >= MAX_CHILDREN {
            return Err(notify(NO_ADDITIONAL_SAS, &[]));
        }
        let (ah, spi) = accept_child(context, parts).map_err(|error| notify(error, &[]))?;
        let nr: [u8; NONCE_LEN] = context.bytes();
        let keys = self.sessions[at].keys.child(ah.integrity, ni, &nr);
        let mut child = Child::new(context, spi, ah, keys, false);
        child.low_nonce = ni.min(&nr).to_vec();
        let mut hold = HOLD_MS;
        if let Some(old) = old {
            if let Some(waiting) = &mut self.sessions[at].in_flight
                && let Purpose::RekeyChild {
                    old: mine,
                    collision,
                    ..
                } = &mut waiting.purpose
                && *mine == self.children[old].spi_in
            {
                *collision = Some(spi);
                hold = HOLD_CROSSED_MS;
            }
            self.children[old].rekey_at = u64::MAX;
            self.rekeys.1 += 1;
        }
        child.held_until = (!self.children.is_empty()).then_some(context.now + hold);
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

    fn grant_sa(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        parts: &Parts<'_>,
        ni: &[u8],
    ) -> Result<Vec<Payload>, Payload> {
        let session = &self.sessions[at];
        let purpose = session.in_flight.as_ref().map(|waiting| &waiting.purpose);
        let busy = matches!(
            purpose,
            Some(Purpose::RekeyChild { .. } | Purpose::DeleteChild(_) | Purpose::DeleteSa)
        );
        if busy || !session.is_current() || self.sessions.len() >= MAX_SESSIONS {
            return Err(notify(kind::TEMPORARY_FAILURE, &[]));
        }
        let refused = || notify(kind::NO_PROPOSAL_CHOSEN, &[]);
        let suites = &context.profile.ike;
        let choice = parts
            .sa
            .and_then(|sa| proposal::choose_ike(suites, sa, true));
        let (choice, ke) = choice.zip(parts.ke).ok_or_else(refused)?;
        let spi_i = choice.spi.ok_or_else(refused)?;
        let group = choice.suite.group;
        if ke.group != group.number() {
            let wanted = group.number().to_be_bytes();
            return Err(notify(kind::INVALID_KE_PAYLOAD, &wanted));
        }
        let exchange = Exchange::new(group, context.random);
        let invalid = || notify(kind::INVALID_SYNTAX, &[]);
        let shared = exchange.agree(&ke.data).ok_or_else(invalid)?;
        let nr: [u8; NONCE_LEN] = context.bytes();
        let spi = context.ike_spi();
        let seeds = Seeds {
            shared: &shared,
            ni,
            nr: &nr,
            spis: (spi_i, spi),
        };
        let keys = session.keys.successor(choice.suite, &seeds, &[]);
        let new = Session::new(choice.suite, keys, &seeds, false);
        let mut new = new.ok_or_else(invalid)?;
        new.rekey_at = rekey_at(context, context.lifetimes.ike_ms, false);
        let old = &mut self.sessions[at];
        match old.in_flight.as_mut().map(|waiting| &mut waiting.purpose) {
            Some(Purpose::RekeySa { collision, .. }) => *collision = Some(spi),
            _ => old.replaced = Some(context.now),
        }
        self.sessions.push(new);
        self.rekeys.0 += 1;
        let sa = vec![proposal::ike(choice.number, Some(spi), choice.suite)];
        let [sa, ke, nr] = offer(sa, &exchange, &nr);
        Ok(vec![sa, nr, ke])
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
            Some(kind::CHILD_SA_NOT_FOUND) => return self.forget_child(old),
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

    /// The answer to [`Connection::rekey_sa`].
    pub(in crate::ike) fn sa_rekeyed(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        (exchange, spi, ni): (&Exchange, u64, &[u8]),
        collision: Option<u64>,
        payloads: &[Payload],
    ) {
        let parts = Parts::of(payloads);
        let theirs = collision.and_then(|spi| {
            let live = |s: &Session| s.spi() == spi && s.is_current();
            self.sessions.iter().position(live)
        });
        if parts.error().is_some() {
            self.sessions[at].rekey_at = context.now + context.jitter(AGAIN_MS);
            self.sessions[at].replaced = theirs.map(|_| context.now);
            return;
        }
        let new = (|| {
            let suite = self.sessions[at].suite;
            let choice = proposal::chosen_ike(&[suite], parts.sa?, true)?;
            let ke = parts.ke.filter(|ke| ke.group == suite.group.number())?;
            let shared = exchange.agree(&ke.data)?;
            let seeds = Seeds {
                shared: &shared,
                ni,
                nr: parts.nonce?,
                spis: (spi, choice.spi?),
            };
            let keys = self.sessions[at].keys.successor(suite, &seeds, &[]);
            Session::new(suite, keys, &seeds, true)
        })();
        let Some(mut new) = new else {
            return self.close();
        };
        new.rekey_at = rekey_at(context, context.lifetimes.ike_ms, true);
        self.rekeys.0 += 1;
        match theirs {
            Some(theirs) if new.low_nonce < self.sessions[theirs].low_nonce => {
                new.delete = true;
                self.sessions[at].replaced = Some(context.now);
            }
            Some(theirs) => {
                self.sessions[theirs].replaced = Some(context.now);
                self.sessions[at].delete = true;
            }
            None => self.sessions[at].delete = true,
        }
        self.sessions.push(new);
    }
}
