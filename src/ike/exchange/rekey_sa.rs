//! CREATE_CHILD_SA and IKE_FOLLOWUP_KE for the IKE SA (RFC 7296 sections 1.3.2 and 2.18, RFC 9370
//! section 2.2.4). Crossing rekeys are decided by the lowest nonce once both new SAs stand.

use super::create_child::{AGAIN_MS, NONCE_LEN};
use super::init::offer;
use super::{Parts, notify};
use crate::ike::Context;
use crate::ike::connection::{Connection, MAX_SESSIONS};
use crate::ike::group::{Decapsulation, Exchange, encapsulate};
use crate::ike::keys::Seeds;
use crate::ike::proposal;
use crate::ike::session::{Agreed, Pending, Purpose, SaAttempt, Session};
use crate::ike::suite::Suite;
use crate::wire::isakmp::notify::kind;
use crate::wire::isakmp::{KeyExchange, Payload, exchange};

/// How long the peer has for the further key exchange (RFC 9370 section 2.2.4).
const FOLLOW_UP_MS: u64 = 20_000;

impl Agreed {
    /// The IKE SA of `session`'s successor; `more` is the secret of the further key exchange.
    fn finish(&self, session: &Session, more: &[u8], initiator: bool) -> Option<Session> {
        let seeds = Seeds {
            shared: &self.shared,
            ni: &self.ni,
            nr: &self.nr,
            spis: self.spis,
        };
        let keys = session.keys.successor(self.suite, &seeds, more);
        let mut new = Session::new(self.suite, keys, &seeds, initiator)?;
        new.fragmentation = session.fragmentation;
        Some(new)
    }
}

impl Connection {
    /// The request that replaces the IKE SA at index `at`.
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
        let attempt = SaAttempt {
            exchange,
            spi,
            nonce: nonce.to_vec(),
        };
        let purpose = Purpose::RekeySa {
            attempt,
            collision: None,
        };
        (vec![sa, ni, ke], purpose)
    }

    /// Answers a request to replace the IKE SA.
    pub(super) fn grant_sa(
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
        if !self.is_still_proven(context) {
            return Err(notify(kind::AUTHENTICATION_FAILED, &[]));
        }
        let session = &self.sessions[at];
        let refused = || notify(kind::NO_PROPOSAL_CHOSEN, &[]);
        let suites = successors(context, session.suite);
        let choice = parts
            .sa
            .and_then(|sa| proposal::choose_ike(&suites, sa, true));
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
        let agreed = Agreed {
            suite: choice.suite,
            spis: (spi_i, spi),
            ni: ni.to_vec(),
            nr: nr.to_vec(),
            shared,
        };
        let sa = vec![proposal::ike(choice.number, Some(spi), choice.suite)];
        let [sa, ke, nr] = offer(sa, &exchange, &nr);
        let mut payloads = vec![sa, nr, ke];
        if choice.suite.additional.is_some() {
            let link = context.bytes();
            payloads.push(notify(kind::ADDITIONAL_KEY_EXCHANGE, &link));
            self.sessions[at].pending = Some(Pending {
                agreed,
                link,
                until: context.now + FOLLOW_UP_MS,
            });
        } else {
            let new = agreed.finish(session, &[], false).ok_or_else(invalid)?;
            self.replaced_by_peer(context, at, new);
        }
        Ok(payloads)
    }

    /// Answers a further key exchange.
    pub(super) fn follow_up(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        parts: &Parts<'_>,
    ) -> Vec<Payload> {
        let error = |kind| vec![notify(kind, &[])];
        if !self.sessions[at].is_current() || self.sessions.len() >= MAX_SESSIONS {
            return error(kind::TEMPORARY_FAILURE);
        }
        let link = parts.notify(kind::ADDITIONAL_KEY_EXCHANGE);
        let mine = |p: &mut Pending| link.is_some_and(|link| link.data == p.link);
        let Some(pending) = self.sessions[at].pending.take_if(mine) else {
            return error(kind::STATE_NOT_FOUND);
        };
        let agreed = pending.agreed;
        let method = agreed.suite.additional.map(|a| a.number());
        let ke = parts.ke.filter(|ke| Some(ke.group) == method);
        let made = ke.and_then(|ke| {
            let (ciphertext, more) = encapsulate(&ke.data, context.random)?;
            let new = agreed.finish(&self.sessions[at], &more, false)?;
            Some((ke.group, ciphertext, new))
        });
        let Some((group, data, new)) = made else {
            return error(kind::INVALID_SYNTAX);
        };
        self.replaced_by_peer(context, at, new);
        vec![Payload::Ke(KeyExchange { group, data })]
    }

    fn replaced_by_peer(&mut self, context: &mut Context<'_>, at: usize, mut new: Session) {
        new.stands(context, false);
        let old = &mut self.sessions[at];
        match old.in_flight.as_mut().map(|waiting| &mut waiting.purpose) {
            Some(Purpose::RekeySa { collision, .. } | Purpose::FollowUp { collision, .. }) => {
                *collision = Some(new.spi());
            }
            _ => old.replaced = Some(context.now),
        }
        self.sessions.push(new);
        self.rekeys.0 += 1;
    }

    /// The answer to [`Connection::rekey_sa`].
    pub(in crate::ike) fn sa_agreed(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        ours: &SaAttempt,
        collision: Option<u64>,
        payloads: &[Payload],
    ) {
        let parts = Parts::of(payloads);
        if parts.error().is_some() {
            return self.sa_not_rekeyed(context, at, collision);
        }
        let suite = self.sessions[at].suite;
        let agreed = (|| {
            let choice = proposal::chosen_ike(&[suite], parts.sa?, true)?;
            let ke = parts.ke.filter(|ke| ke.group == suite.group.number())?;
            Some(Agreed {
                suite,
                spis: (ours.spi, choice.spi?),
                ni: ours.nonce.clone(),
                nr: parts.nonce?.to_vec(),
                shared: ours.exchange.agree(&ke.data)?,
            })
        })();
        // The peer believes in an SA that we cannot use: start over.
        let Some(agreed) = agreed else {
            return self.close();
        };
        if let Some(method) = suite.additional {
            let Some(link) = parts.notify(kind::ADDITIONAL_KEY_EXCHANGE) else {
                return self.close();
            };
            let decapsulation = Box::new(Decapsulation::new(context.random));
            let ke = KeyExchange {
                group: method.number(),
                data: decapsulation.public.clone(),
            };
            let link = notify(kind::ADDITIONAL_KEY_EXCHANGE, &link.data);
            let purpose = Purpose::FollowUp {
                decapsulation,
                agreed: Box::new(agreed),
                collision,
            };
            let payloads = [Payload::Ke(ke), link];
            let session = &mut self.sessions[at];
            let exchange = exchange::IKE_FOLLOWUP_KE;
            let bytes = session.request(context.now, exchange, &payloads, purpose);
            self.out.extend(bytes);
        } else {
            match agreed.finish(&self.sessions[at], &[], true) {
                Some(new) => self.sa_rekeyed(context, at, new, collision),
                None => self.close(),
            }
        }
    }

    /// The answer to the further key exchange.
    pub(in crate::ike) fn followed_up(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        (decapsulation, agreed): (&Decapsulation, &Agreed),
        collision: Option<u64>,
        payloads: &[Payload],
    ) {
        let parts = Parts::of(payloads);
        if parts.error().is_some() {
            return self.sa_not_rekeyed(context, at, collision);
        }
        let method = agreed.suite.additional.map(|a| a.number());
        let ke = parts.ke.filter(|ke| Some(ke.group) == method);
        let more = ke.and_then(|ke| decapsulation.open(&ke.data));
        let new = more.and_then(|more| agreed.finish(&self.sessions[at], &more, true));
        match new {
            Some(new) => self.sa_rekeyed(context, at, new, collision),
            None => self.close(),
        }
    }

    /// The IKE SA that the peer made meanwhile, if it stands.
    fn made_by_peer(&self, collision: Option<u64>) -> Option<usize> {
        let spi = collision?;
        let live = |s: &Session| s.spi() == spi && s.is_current();
        self.sessions.iter().position(live)
    }

    /// The peer refused; its own rekey may have succeeded.
    fn sa_not_rekeyed(&mut self, context: &mut Context<'_>, at: usize, collision: Option<u64>) {
        let theirs = self.made_by_peer(collision);
        self.sessions[at].rekey_at = context.now + context.jitter(AGAIN_MS);
        self.sessions[at].replaced = theirs.map(|_| context.now);
    }

    fn sa_rekeyed(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        mut new: Session,
        collision: Option<u64>,
    ) {
        new.stands(context, true);
        // Its initiator knows both SPIs only now (RFC 6290 section 4.3); the peer tells its own
        // token when it hears ours, never before we have the SA.
        new.owes_token = self.tokens;
        self.rekeys.0 += 1;
        match self.made_by_peer(collision) {
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
        // The peer has it, and hears of its end.
        new.delete |= self.closing;
        self.sessions.push(new);
    }
}

/// What may replace an IKE SA: a further key exchange is never left out.
fn successors(context: &Context<'_>, current: Suite) -> Vec<Suite> {
    let allowed = |suite: &&Suite| suite.additional.is_some() || current.additional.is_none();
    context
        .profile
        .ike
        .iter()
        .filter(allowed)
        .copied()
        .collect()
}
