//! A main mode that we began.

use super::{
    Agreed, Knows, NONCE_LEN, Step, Unproven, contribution, initial_contact, ke_message, sa_message,
};
use crate::ike::group::Exchange;
use crate::ike::retransmit::Retry;
use crate::ike::suite::Suite;
#[cfg(any(test, fuzzing))]
use crate::ike::v1::keys::Keys;
use crate::ike::v1::keys::{Iv, one};
use crate::ike::v1::nat;
use crate::ike::v1::phase1::{AUTHENTICATION_FAILED, Phase1, tell_why};
use crate::ike::v1::proposal::{choose, offer, suites};
use crate::ike::v1::signature::Scheme;
use crate::ike::{Context, Refusal};
use crate::wire::isakmp::v1::{self, Header, Payload, Proposal, exchange, kind};

/// How long one attempt waits for any answer.
const PATIENCE_MS: u64 = 12_000;

/// How silence after our certificate is told.
const UNANSWERED: &str = "no answer to our certificate: the peer refused it, or its fragments do \
                          not arrive";

#[cfg_attr(test, derive(Clone))]
enum Stage {
    Sa,
    Ke(Suite, Exchange),
    Auth(Agreed),
}

/// Our side of a main mode that we began.
#[cfg_attr(test, derive(Clone))]
pub struct Initiator {
    cookies: (u64, u64),
    suites: Vec<Suite>,
    scheme: Option<Scheme>,
    sa: Vec<u8>,
    nonce: [u8; NONCE_LEN],
    knows: Knows,
    /// Whether to say that no SA with the peer stands.
    initial: bool,
    stage: Stage,
    last: Vec<u8>,
    retry: Retry,
    /// When it began.
    pub began: u64,
    hint: Option<Refusal>,
    /// The peer's proof opened but did not convince; the IV after it.
    refused: Option<Iv>,
}

impl Initiator {
    /// Starts; send what is returned.
    ///
    /// # Errors
    /// The profile or our certificate has nothing for IKEv1.
    pub fn start(context: &mut Context<'_>, initial: bool) -> Result<(Self, Vec<u8>), Refusal> {
        let scheme = super::scheme(context)?;
        let suites = suites(context.profile);
        if suites.is_empty() {
            return Err(Refusal::NoProposal);
        }
        let life_s = u32::try_from(context.lifetimes.ike_ms / 1_000).unwrap_or(u32::MAX);
        let cookies = (context.ike_spi(), 0);
        let sa = offer(&suites, scheme, life_s);
        let last = sa_message(cookies, &sa);
        let initiator = Self {
            cookies,
            suites,
            scheme,
            sa,
            nonce: context.bytes(),
            knows: Knows::default(),
            initial,
            stage: Stage::Sa,
            last: last.clone(),
            retry: Retry::start(context.now, PATIENCE_MS),
            began: context.now,
            hint: None,
            refused: None,
        };
        Ok((initiator, last))
    }

    /// Whether `header` can belong to it.
    pub fn owns(&self, header: &Header) -> bool {
        let first = matches!(self.stage, Stage::Sa) && header.cky_r != 0;
        header.cky_i == self.cookies.0 && (first || header.cky_r == self.cookies.1)
    }

    /// When [`Initiator::timeout`] wants to be called.
    pub fn due(&self) -> u64 {
        self.retry.due()
    }

    /// Sends again (`Ok`) or gives up (`Err`).
    pub fn timeout(&mut self, context: &Context<'_>) -> Result<Option<Vec<u8>>, Refusal> {
        if self.retry.exhausted(context.now) {
            let silent = match self.stage {
                // Whoever refuses a certificate may say nothing; one of ours does.
                Stage::Auth(_) if self.scheme.is_some() => Refusal::Other(UNANSWERED.into()),
                // Differing keys make it unreadable, and others then say nothing.
                Stage::Auth(_) => Refusal::AuthenticationFailed,
                _ => Refusal::NoAnswer,
            };
            return Err(self.hint.take().unwrap_or(silent));
        }
        Ok(self.retry.fire(context.now).then(|| self.last.clone()))
    }

    /// After giving up: what tells a peer whose proof did not convince that there is no SA.
    pub fn farewell(self, context: &mut Context<'_>) -> Option<Vec<u8>> {
        let iv = self.refused?;
        let Stage::Auth(agreed) = &self.stage else {
            return None;
        };
        let under = (&agreed.keys, &iv);
        Some(tell_why(
            context,
            self.cookies,
            under,
            AUTHENTICATION_FAILED,
        ))
    }

    /// An unauthenticated notification for it.
    pub fn hint(&mut self, refusal: Refusal) {
        self.hint = Some(refusal);
    }

    /// What an Informational message says that comes in place of the last message. Its sender has
    /// our keys; with signatures anybody on the path may have these.
    pub fn informed(&self, header: &Header, bytes: &[u8]) -> Option<Vec<Payload>> {
        let Stage::Auth(agreed) = &self.stage else {
            return None;
        };
        let iv = agreed.keys.exchange_iv(&agreed.iv, header.id);
        let id = header.id.to_be_bytes();
        let opened = agreed.keys.open_hashed(bytes, &[&id], &iv)?;
        Some(opened.payloads)
    }

    /// The keys of the last message, and its IV.
    #[cfg(any(test, fuzzing))]
    pub fn keys(&self) -> Option<(&Keys, Iv)> {
        match &self.stage {
            Stage::Auth(agreed) => Some((&agreed.keys, agreed.iv)),
            _ => None,
        }
    }

    /// Handles a message of main mode for which [`Initiator::owns`] holds.
    pub fn receive(&mut self, context: &mut Context<'_>, header: &Header, bytes: &[u8]) -> Step {
        let next = match &self.stage {
            Stage::Sa => self.chosen(context, header, bytes),
            Stage::Ke(..) => match self.agreed(context, bytes) {
                Some(Err(refusal)) => {
                    self.hint = Some(refusal.clone());
                    return Step::Hint(refusal);
                }
                next => next.and_then(Result::ok),
            },
            Stage::Auth(_) => return self.proven(context, bytes),
        };
        match next {
            Some(last) => {
                self.last = last.clone();
                self.retry = Retry::start(context.now, PATIENCE_MS);
                Step::Send(last)
            }
            None => Step::Nothing,
        }
    }

    fn chosen(
        &mut self,
        context: &mut Context<'_>,
        header: &Header,
        bytes: &[u8],
    ) -> Option<Vec<u8>> {
        let (_, payloads) = context.parse_v1(bytes).filter(|_| !header.is_encrypted())?;
        let proposals = v1::parse_sa(one(&payloads, kind::SA)?).ok()?;
        let [Proposal { transforms, .. }] = proposals.as_slice() else {
            return None;
        };
        let [_] = transforms.as_slice() else {
            return None;
        };
        let (_, suite) = choose(&self.suites, self.scheme, &proposals).ok()?;
        self.knows = Knows::of(&payloads);
        self.cookies.1 = header.cky_r;
        let exchange = Exchange::new(suite.group, context.random);
        let ends = self.knows.ends.then_some(suite.prf);
        let said = (&exchange.public[..], &self.nonce[..]);
        let message = ke_message(context, self.cookies, said, ends);
        self.stage = Stage::Ke(suite, exchange);
        Some(message)
    }

    /// The fourth message; `Err` if it says that the peer sees other addresses. It may be forged,
    /// so another one may still come.
    fn agreed(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Option<Result<Vec<u8>, Refusal>> {
        let Stage::Ke(suite, ours) = &self.stage else {
            return None;
        };
        let (header, payloads) = context.parse_v1(bytes)?;
        let (public, nr) = contribution(&payloads).filter(|_| !header.is_encrypted())?;
        if nat::is_between(context, suite.prf, self.cookies, &payloads) {
            return Some(Err(Refusal::Nat));
        }
        let shared = ours.agree(public)?;
        let nonces = (self.nonce.to_vec(), nr.to_vec());
        let publics = (ours.public.clone(), public.to_vec());
        let how = (*suite, self.scheme);
        let mut agreed = Agreed::new(context, how, &shared, self.cookies, nonces, publics)?;
        let mut payloads = agreed.prove(context, (self.cookies, true, &self.sa))?;
        if self.initial {
            payloads.push(initial_contact(self.cookies).payload());
        }
        let header = Header::new(self.cookies, exchange::MAIN, true, 0);
        let message = agreed.keys.seal(&header, &payloads, &mut agreed.iv);
        self.stage = Stage::Auth(agreed);
        Some(Ok(message))
    }

    /// The last message. One that does not convince may be forged: the true one may still come.
    fn proven(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Step {
        let Stage::Auth(agreed) = &self.stage else {
            return Step::Nothing;
        };
        let whose = (self.cookies, false, &self.sa[..]);
        let convinced = match agreed.verify(context, bytes, whose) {
            Ok(convinced) => convinced,
            Err(Unproven::Refused(refusal, iv)) if agreed.scheme.is_some() => {
                self.refused = Some(iv);
                self.hint = Some(refusal.clone());
                return Step::Hint(refusal);
            }
            Err(_) => {
                context.dropped.not_authentic += 1;
                return Step::Nothing;
            }
        };
        let Stage::Auth(agreed) = std::mem::replace(&mut self.stage, Stage::Sa) else {
            return Step::Nothing;
        };
        let main = (agreed.suite, agreed.keys, convinced.iv);
        let mut phase1 = Phase1::new(context, self.cookies, true, main);
        phase1.dpd = self.knows.dpd;
        phase1.proven = convinced.proven;
        Step::Done(Box::new(phase1), None, convinced.initial)
    }
}
