//! A main mode that the peer began.

use super::{Agreed, Knows, NONCE_LEN, Step, Unproven, contribution, ke_message, sa_message};
use crate::ike::group::Exchange;
use crate::ike::suite::Suite;
use crate::ike::v1::keys::one;
#[cfg(any(test, fuzzing))]
use crate::ike::v1::keys::{Iv, Keys};
use crate::ike::v1::nat;
use crate::ike::v1::phase1::{AUTHENTICATION_FAILED, NOT_LISTED, Phase1, tell_why};
use crate::ike::v1::proposal::{choose, suites};
use crate::ike::v1::signature::Scheme;
use crate::ike::{Context, Refusal};
use crate::wire::isakmp::v1::{self, Header, exchange, kind};

/// How long an answered first message is remembered.
const HALF_OPEN_MS: u64 = 30_000;

#[cfg_attr(test, derive(Clone))]
enum Stage {
    Sa,
    Auth(Agreed),
    /// The peer proved itself, and has an SA; one that is not listed was told so, or did not.
    Told,
}

/// Our side of a main mode that the peer began.
#[cfg_attr(test, derive(Clone))]
pub struct Responder {
    cookies: (u64, u64),
    suite: Suite,
    scheme: Option<Scheme>,
    sa: Vec<u8>,
    knows: Knows,
    /// It sees other addresses than we do.
    nat: bool,
    stage: Stage,
    /// Whether the peer gets an SA if it proves itself.
    listed: bool,
    request: Vec<u8>,
    reply: Vec<u8>,
    /// When it began.
    pub began: u64,
}

impl Responder {
    /// Answers a first message; `Err` if nothing in it is acceptable.
    pub fn start(
        context: &mut Context<'_>,
        header: &Header,
        bytes: &[u8],
    ) -> Option<Result<(Self, Vec<u8>), Refusal>> {
        let (_, payloads) = context.parse_v1(bytes).filter(|_| !header.is_encrypted())?;
        let offered = v1::parse_sa(one(&payloads, kind::SA)?).ok()?;
        let scheme = match super::scheme(context) {
            Ok(scheme) => scheme,
            Err(refusal) => return Some(Err(refusal)),
        };
        let (chosen, suite) = match choose(&suites(context.profile), scheme, &offered) {
            Ok(choice) => choice,
            Err(mismatch) => return Some(Err(super::refusal(mismatch))),
        };
        let cookies = (header.cky_i, context.ike_spi());
        let reply = sa_message(cookies, &v1::encode_sa(&[chosen]));
        let responder = Self {
            cookies,
            suite,
            scheme,
            sa: one(&payloads, kind::SA)?.to_vec(),
            knows: Knows::of(&payloads),
            nat: false,
            stage: Stage::Sa,
            listed: true,
            request: bytes.to_vec(),
            reply: reply.clone(),
            began: context.now,
        };
        Some(Ok((responder, reply)))
    }

    /// The same for an address that is not listed: if it proves itself, it is told so, no more.
    pub fn unlisted(mut self) -> Self {
        self.listed = false;
        self
    }

    /// When it is forgotten.
    pub fn expires(&self) -> u64 {
        self.began + HALF_OPEN_MS
    }

    /// Whether its cookie came back.
    pub fn is_reachable(&self) -> bool {
        !matches!(self.stage, Stage::Sa)
    }

    /// Whether what it says of addresses differs from what we see.
    pub fn names_nat(&self) -> bool {
        self.nat
    }

    /// The answer again, if `datagram` is the message it was for.
    pub fn repeat(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        (self.request == datagram).then(|| self.reply.clone())
    }

    /// Whether the peer began it with this cookie.
    pub fn began_with(&self, cky_i: u64) -> bool {
        self.cookies.0 == cky_i
    }

    /// Whether `header` belongs to it.
    pub fn owns(&self, header: &Header) -> bool {
        (header.cky_i, header.cky_r) == self.cookies && header.exchange == exchange::MAIN
    }

    /// The keys of the fifth message, and its IV.
    #[cfg(any(test, fuzzing))]
    pub fn keys(&self) -> Option<(&Keys, Iv)> {
        match &self.stage {
            Stage::Auth(agreed) => Some((&agreed.keys, agreed.iv)),
            _ => None,
        }
    }

    /// Handles a message for which [`Responder::owns`] holds.
    pub fn receive(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Step {
        let agreed = match &self.stage {
            Stage::Sa => {
                let reply = self.key_exchange(context, bytes);
                return reply.map_or(Step::Nothing, |reply| self.send(bytes, reply));
            }
            Stage::Auth(agreed) => agreed,
            Stage::Told => return Step::Nothing,
        };
        if self.nat {
            return Step::Hint(Refusal::Nat);
        }
        let whose = (self.cookies, true, &self.sa[..]);
        let mut convinced = match agreed.verify(context, bytes, whose) {
            Ok(convinced) => convinced,
            Err(Unproven::Refused(why, iv)) => {
                // With a key the proof is what makes the message authentic.
                context.dropped.not_authentic += u64::from(agreed.scheme.is_none());
                if !self.listed {
                    // Its keys are the peer's alone: it had its one look.
                    self.stage = Stage::Told;
                    return Step::Hint(why);
                }
                if agreed.scheme.is_none() {
                    return Step::Hint(why);
                }
                let under = (&agreed.keys, &iv);
                let told = tell_why(context, self.cookies, under, AUTHENTICATION_FAILED);
                return Step::Refuse(why, told);
            }
            Err(_) => {
                context.dropped.not_authentic += 1;
                // Differing keys make it unreadable.
                return match agreed.scheme {
                    None => Step::Hint(Refusal::AuthenticationFailed),
                    Some(_) => Step::Nothing,
                };
            }
        };
        if !self.listed {
            let under = (&agreed.keys, &convinced.iv);
            let told = tell_why(context, self.cookies, under, NOT_LISTED);
            self.stage = Stage::Told;
            return self.send(bytes, told);
        }
        let whose = (self.cookies, false, &self.sa[..]);
        let Some(payloads) = agreed.prove(context, whose) else {
            return Step::Nothing;
        };
        let header = Header::new(self.cookies, exchange::MAIN, true, 0);
        let reply = agreed.keys.seal(&header, &payloads, &mut convinced.iv);
        let Stage::Auth(agreed) = std::mem::replace(&mut self.stage, Stage::Told) else {
            return Step::Nothing;
        };
        let main = (agreed.suite, agreed.keys, convinced.iv);
        let mut phase1 = Phase1::new(context, self.cookies, false, main);
        phase1.dpd = self.knows.dpd;
        phase1.proven = convinced.proven;
        phase1.last_main = (bytes.to_vec(), reply.clone());
        Step::Done(Box::new(phase1), Some(reply), convinced.initial)
    }

    /// Answers a message, again should it come again.
    fn send(&mut self, bytes: &[u8], reply: Vec<u8>) -> Step {
        self.request = bytes.to_vec();
        self.reply = reply.clone();
        Step::Send(reply)
    }

    fn key_exchange(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
        let (header, payloads) = context.parse_v1(bytes)?;
        let (public, ni) = contribution(&payloads).filter(|_| !header.is_encrypted())?;
        let ours = Exchange::new(self.suite.group, context.random);
        let shared = ours.agree(public)?;
        let nr: [u8; NONCE_LEN] = context.bytes();
        let nonces = (ni.to_vec(), nr.to_vec());
        let publics = (public.to_vec(), ours.public.clone());
        let how = (self.suite, self.scheme);
        let agreed = Agreed::new(context, how, &shared, self.cookies, nonces, publics)?;
        self.stage = Stage::Auth(agreed);
        let hash = self.suite.prf;
        self.nat = nat::is_between(context, hash, self.cookies, &payloads);
        let ends = self.knows.ends.then_some(hash);
        let said = (&ours.public[..], &nr[..]);
        Some(ke_message(context, self.cookies, said, ends))
    }
}
