//! IKE_SA_INIT (RFC 7296 section 1.2): proposals, key exchange and nonces, before anybody is
//! authenticated. A responder under load asks for cookies, then for puzzles too (RFC 8019).

use super::auth::Authenticating;
use super::demand::Demand;
use super::half_open::{Effort, HalfOpen};
use super::intermediate::Intermediating;
use super::{Handshake, Parts, certificate_request, complaint, nat, notify, signature_hashes};
use crate::ike::cookie::Cookies;
use crate::ike::group::Exchange;
use crate::ike::keys::{SaKeys, Seeds};
use crate::ike::ppk::{self, Mismatch};
use crate::ike::proposal;
use crate::ike::puzzle::{Slice, Solving};
use crate::ike::retransmit::Retry;
use crate::ike::session::Session;
use crate::ike::suite::Suite;
use crate::ike::{Context, Datagrams, Refusal};
use crate::wire::isakmp::notify::kind;
use crate::wire::isakmp::{Header, KeyExchange, Message, Payload, Puzzle, WireError, exchange};

/// How long one attempt waits for any answer.
const PATIENCE_MS: u64 = 12_000;
/// More cookies than that in one attempt are a game (section 2.6).
const MAX_COOKIES: u8 = 3;
const NONCE_LEN: usize = 32;
const PUZZLE_IN_AUTH: &str = "the peer gives a puzzle for IKE_AUTH, which is not solved here";

/// Our IKE_SA_INIT request is out.
#[cfg_attr(test, derive(Clone))]
pub struct Initiator {
    spi_i: u64,
    suites: Vec<Suite>,
    /// What we say of signatures.
    hashes: Option<Payload>,
    /// Whether we use a post-quantum key.
    ppk: bool,
    exchange: Exchange,
    /// Whether the peer's wish for another group was followed already.
    regrouped: bool,
    nonce: [u8; NONCE_LEN],
    /// What we believe both ends to be.
    ends: [Payload; 2],
    cookie: Option<Vec<u8>>,
    cookies: u8,
    /// The puzzle that came with the cookie.
    solving: Option<Solving>,
    solution: Option<Vec<u8>>,
    request: Vec<u8>,
    retry: Retry,
    began: u64,
    /// What an unauthenticated answer gave as the reason for refusing.
    hint: Option<Refusal>,
}

/// What an answer to IKE_SA_INIT did.
pub enum InitStep {
    /// Nothing.
    Ignored(Box<Initiator>),
    /// The peer wants its cookie back: send this.
    Again(Box<Initiator>, Vec<u8>),
    /// The same, and its puzzle is not solved: worth showing.
    Unsolved(Box<Initiator>, Vec<u8>, Refusal),
    /// An unauthenticated refusal: worth showing, no reason to stop waiting.
    Hint(Box<Initiator>, Refusal),
    /// The attempt is over.
    Failed(Refusal),
    /// Keys agreed; send this.
    Next(Box<Authenticating>, Datagrams),
    /// Keys agreed, and a further key exchange comes first; send this.
    Intermediate(Box<Intermediating>, Datagrams),
}

impl Initiator {
    /// Starts an attempt; send what is returned. `None` if the profile is empty.
    pub fn start(context: &mut Context<'_>) -> Option<(Self, Vec<u8>)> {
        let suites = context.profile.ike.clone();
        let spi_i = context.ike_spi();
        let mut initiator = Self {
            spi_i,
            ends: nat::ends(context.local, context.remote, (spi_i, 0)),
            exchange: Exchange::new(suites.first()?.group, context.random),
            suites,
            hashes: signature_hashes(context),
            ppk: context.credentials.ppk.is_some(),
            regrouped: false,
            nonce: context.bytes(),
            cookie: None,
            cookies: 0,
            solving: None,
            solution: None,
            request: Vec::new(),
            retry: Retry::start(context.now, PATIENCE_MS),
            began: context.now,
            hint: None,
        };
        initiator.request = initiator.message();
        let bytes = initiator.request.clone();
        Some((initiator, bytes))
    }

    fn message(&self) -> Vec<u8> {
        let mut payloads = Vec::new();
        if let Some(cookie) = &self.cookie {
            payloads.push(notify(kind::COOKIE, cookie));
        }
        payloads.extend(self.solution.clone().map(Payload::PuzzleSolution));
        let sa = proposal::offer_ike(&self.suites);
        payloads.extend(offer(sa, &self.exchange, &self.nonce));
        payloads.push(notify(kind::IKEV2_FRAGMENTATION_SUPPORTED, &[]));
        payloads.extend(self.ends.clone());
        payloads.extend(self.hashes.clone());
        if self.suites.iter().any(|suite| suite.additional.is_some()) {
            payloads.push(notify(kind::INTERMEDIATE_EXCHANGE_SUPPORTED, &[]));
        }
        if self.ppk {
            payloads.push(notify(kind::USE_PPK, &[]));
        }
        let header = Header {
            spi_i: self.spi_i,
            spi_r: 0,
            exchange: exchange::IKE_SA_INIT,
            from_initiator: true,
            response: false,
            id: 0,
        };
        Message { header, payloads }.encode()
    }

    #[cfg(test)]
    pub(crate) fn shape(&self, shape: &mut crate::ike::shape::Shape) {
        shape.name(&self.spi_i.to_be_bytes());
        shape.nonce(&self.nonce);
        shape.word(self.regrouped);
        shape.word(self.cookies);
        shape.option(self.cookie.as_ref(), |shape, cookie| shape.name(cookie));
        shape.option(self.solving.as_ref(), |shape, one| one.shape(shape));
        shape.word(self.solution.is_some());
        shape.time(self.began);
        shape.value(self.hint.as_ref().map(ToString::to_string));
        self.retry.shape(shape);
    }

    /// Milliseconds since the first request.
    pub fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.began)
    }

    /// When [`Initiator::timeout`] wants to be called.
    pub fn due(&self) -> u64 {
        match &self.solving {
            Some(solving) => solving.due().min(self.retry.end()),
            None => self.retry.due(),
        }
    }

    /// Whether a puzzle of the peer is being solved.
    pub fn is_solving(&self) -> bool {
        self.solving.is_some()
    }

    /// Sends again, or for the first time with a solution (`Ok`), or gives up (`Err`).
    pub fn timeout(&mut self, now: u64) -> Result<Option<Vec<u8>>, Refusal> {
        if self.retry.exhausted(now) {
            return Err(self.hint.take().unwrap_or(Refusal::NoAnswer));
        }
        let Some(solving) = &mut self.solving else {
            return Ok(self.retry.fire(now).then(|| self.request.clone()));
        };
        match solving.work(now) {
            Slice::Working => return Ok(None),
            Slice::Solved(keys) => self.solution = Some(keys),
            // The cookie alone may do.
            Slice::GivenUp(refusal) => self.hint = Some(refusal),
        }
        self.solving = None;
        self.request = self.message();
        self.retry.sent(now);
        Ok(Some(self.request.clone()))
    }

    /// Whether this is the SPI that it offers.
    pub fn began_with(&self, spi_i: u64) -> bool {
        self.spi_i == spi_i
    }

    /// Whether `header` answers this request.
    pub fn owns(&self, header: &Header) -> bool {
        header.exchange == exchange::IKE_SA_INIT
            && header.response
            && !header.from_initiator
            && header.id == 0
            && header.spi_i == self.spi_i
    }

    /// Handles an answer.
    pub fn receive(
        mut self: Box<Self>,
        context: &mut Context<'_>,
        datagram: &[u8],
        message: &Message,
    ) -> InitStep {
        let parts = Parts::of(&message.payloads);
        if let Some(cookie) = parts.notify(kind::COOKIE) {
            let fresh = self.cookie.as_ref() != Some(&cookie.data);
            if self.cookies == MAX_COOKIES || !fresh || !(1..=64).contains(&cookie.data.len()) {
                return InitStep::Ignored(self);
            }
            self.cookies += 1;
            return self.take_cookie(context.now, &cookie.data, parts.puzzle());
        }
        if parts.notify(kind::PUZZLE).is_some() {
            // Without a cookie there is nothing to solve; beside an answer it is one of IKE_AUTH
            // (RFC 8019 section 7.2), which must not be left out.
            return match parts.sa {
                Some(_) => self.hinted(Refusal::Other(PUZZLE_IN_AUTH.to_owned())),
                None => InitStep::Ignored(self),
            };
        }
        if let Some(wanted) = parts.notify(kind::INVALID_KE_PAYLOAD) {
            return match self.regroup(context, &wanted.data) {
                Some(bytes) => InitStep::Again(self, bytes),
                None => self.hinted(Refusal::NoProposal),
            };
        }
        match parts.error() {
            Some(kind::NO_PROPOSAL_CHOSEN) => return self.hinted(Refusal::NoProposal),
            Some(other) => {
                let text = format!("the peer refused IKE_SA_INIT (notify {other})");
                return self.hinted(Refusal::Other(text));
            }
            None => {}
        }
        if self.ppk && !ppk::is_used(&parts) {
            // Or somebody took the word away: that answer is not gone on with (RFC 8784 section 3),
            // and our private key is not used on it.
            return match parts.sa {
                Some(_) => self.hinted(Refusal::Ppk(Mismatch::PeerHasNone)),
                None => InitStep::Ignored(self),
            };
        }
        let Some(mut session) = self.agree(message, &parts) else {
            return InitStep::Ignored(self);
        };
        session.fragmentation = parts.notify(kind::IKEV2_FRAGMENTATION_SUPPORTED).is_some();
        let handshake = Handshake {
            began: self.began,
            ni: self.nonce.to_vec(),
            nr: parts.nonce.unwrap_or_default().to_vec(),
            request: std::mem::take(&mut self.request),
            answer: datagram.to_vec(),
            hashes: parts.hashes(),
            nat: nat::is_between(context, &parts, (session.spi_i, session.spi_r)),
            ppk: self.ppk,
            int_auth: Vec::new(),
        };
        match session.suite.additional {
            Some(method) => {
                let (next, bytes) = Intermediating::start(context, session, handshake, method);
                InitStep::Intermediate(Box::new(next), bytes)
            }
            None => match Authenticating::start(context, session, handshake) {
                Ok((next, bytes)) => InitStep::Next(Box::new(next), bytes),
                Err(refusal) => InitStep::Failed(refusal),
            },
        }
    }

    /// The request again with its cookie, and with the puzzle solved if there is one; that may take
    /// a while, in which nothing is sent.
    fn take_cookie(
        mut self: Box<Self>,
        now: u64,
        cookie: &[u8],
        puzzle: Option<Puzzle>,
    ) -> InitStep {
        self.cookie = Some(cookie.to_vec());
        self.solution = None;
        self.solving = None;
        let refusal = match puzzle.map(|puzzle| Solving::start(now, puzzle, cookie)) {
            Some(Ok(solving)) => {
                self.solving = Some(solving);
                return InitStep::Ignored(self);
            }
            Some(Err(refusal)) => Some(refusal),
            None => None,
        };
        self.request = self.message();
        let bytes = self.request.clone();
        match refusal {
            Some(refusal) => {
                self.hint = Some(refusal.clone());
                InitStep::Unsolved(self, bytes, refusal)
            }
            None => InitStep::Again(self, bytes),
        }
    }

    fn hinted(mut self: Box<Self>, refusal: Refusal) -> InitStep {
        self.hint = Some(refusal.clone());
        InitStep::Hint(self, refusal)
    }

    /// The request again with the group the peer wants, once per attempt and only for a group
    /// that was offered; the cookie stays (sections 1.3 and 2.6.1).
    fn regroup(&mut self, context: &mut Context<'_>, wanted: &[u8]) -> Option<Vec<u8>> {
        let wanted = u16::from_be_bytes(wanted.try_into().ok()?);
        let mut groups = self.suites.iter().map(|suite| suite.group);
        let group = groups.find(|group| group.number() == wanted)?;
        if self.regrouped || group == self.exchange.group {
            return None;
        }
        self.regrouped = true;
        self.exchange = Exchange::new(group, context.random);
        self.request = self.message();
        Some(self.request.clone())
    }

    fn agree(&self, message: &Message, parts: &Parts<'_>) -> Option<Session> {
        let choice = proposal::chosen_ike(&self.suites, parts.sa?, false)?;
        let group = choice.suite.group;
        let ke = parts.ke.filter(|ke| ke.group == group.number())?;
        // A further key exchange is too large for one datagram (RFC 9370 section 2.2.1).
        let able = parts.can_intermediate() || choice.suite.additional.is_none();
        if group != self.exchange.group || !able {
            return None;
        }
        let header = message.header;
        if header.spi_r == 0 {
            return None;
        }
        let shared = self.exchange.agree(&ke.data)?;
        let seeds = Seeds {
            shared: &shared,
            ni: &self.nonce,
            nr: parts.nonce?,
            spis: (header.spi_i, header.spi_r),
        };
        let keys = SaKeys::initial(choice.suite, &seeds);
        Session::new(choice.suite, keys, &seeds, true).map(Session::after_init)
    }
}

/// SA, KE and nonce, as every key exchange carries them.
pub(crate) fn offer(
    sa: Vec<crate::wire::isakmp::Proposal>,
    exchange: &Exchange,
    nonce: &[u8],
) -> [Payload; 3] {
    let ke = KeyExchange {
        group: exchange.group.number(),
        data: exchange.public.clone(),
    };
    [
        Payload::Sa(sa),
        Payload::Ke(ke),
        Payload::Nonce(nonce.to_vec()),
    ]
}

/// What to do with a stranger's IKE_SA_INIT request.
pub enum Answer {
    /// Nothing.
    Ignore,
    /// Nothing: a key exchange came to nothing.
    Wasted,
    /// Send this and remember nothing.
    Refuse(Vec<u8>, Option<Refusal>),
    /// Send this and wait for IKE_AUTH.
    Open(Box<HalfOpen>, Vec<u8>),
}

pub(super) fn reply(header: &Header, spi_r: u64, payloads: Vec<Payload>) -> Vec<u8> {
    let header = Header {
        spi_i: header.spi_i,
        spi_r,
        exchange: exchange::IKE_SA_INIT,
        from_initiator: false,
        response: true,
        id: 0,
    };
    Message { header, payloads }.encode()
}

/// A first request that can be read, or what to do with it if it cannot.
fn read(context: &mut Context<'_>, datagram: &[u8]) -> Result<(Header, Message), Answer> {
    let Ok((header, _)) = Header::parse(datagram) else {
        return Err(Answer::Ignore);
    };
    let first = header.spi_i != 0 && header.spi_r == 0 && header.id == 0;
    if !first || !header.from_initiator || header.response {
        return Err(Answer::Ignore);
    }
    match Message::parse(datagram) {
        Ok(message) => Ok((header, message)),
        Err(error @ WireError::Critical(_)) => {
            let answer = reply(&header, 0, vec![complaint(error)]);
            Err(Answer::Refuse(answer, None))
        }
        Err(_) => {
            context.dropped.payloads += 1;
            Err(Answer::Ignore)
        }
    }
}

/// Answers a first request for which there is no room: with its cookie, if it brought none.
pub fn postpone(context: &mut Context<'_>, datagram: &[u8], cookies: &Cookies) -> Option<Vec<u8>> {
    let (header, message) = read(context, datagram).ok()?;
    let parts = Parts::of(&message.payloads);
    parts.nonce?;
    let bits = None;
    let demand = Demand { cookies, bits };
    demand.examine(context, &header, &parts).err()
}

/// Answers a first request from a listed address. With a `demand`, only those who can receive at
/// their address get past (section 2.6).
pub fn respond(context: &mut Context<'_>, datagram: &[u8], demand: Option<Demand<'_>>) -> Answer {
    let (header, message) = match read(context, datagram) {
        Ok(first) => first,
        Err(answer) => return answer,
    };
    let parts = Parts::of(&message.payloads);
    let (Some(sa), Some(_)) = (parts.sa, parts.nonce) else {
        return Answer::Ignore;
    };
    let effort = match demand.map(|demand| demand.examine(context, &header, &parts)) {
        None => Effort::Nothing,
        Some(Ok(effort)) => effort,
        Some(Err(answer)) => return Answer::Refuse(answer, None),
    };
    let able = |suite: &&Suite| suite.additional.is_none() || parts.can_intermediate();
    let suites: Vec<Suite> = context.profile.ike.iter().filter(able).copied().collect();
    let Some(choice) = proposal::choose_ike(&suites, sa, false) else {
        let answer = reply(&header, 0, vec![notify(kind::NO_PROPOSAL_CHOSEN, &[])]);
        return Answer::Refuse(answer, Some(Refusal::NoProposal));
    };
    let Some(ke) = parts.ke else {
        return Answer::Ignore;
    };
    let group = choice.suite.group.number();
    if ke.group != group {
        let wanted = notify(kind::INVALID_KE_PAYLOAD, &group.to_be_bytes());
        return Answer::Refuse(reply(&header, 0, vec![wanted]), None);
    }
    let first = (datagram, &header, effort);
    open(context, first, choice, &parts).unwrap_or(Answer::Wasted)
}

fn open(
    context: &mut Context<'_>,
    (datagram, header, effort): (&[u8], &Header, Effort),
    choice: proposal::Ike,
    parts: &Parts<'_>,
) -> Option<Answer> {
    let ni = parts.nonce?;
    let exchange = Exchange::new(choice.suite.group, context.random);
    let shared = exchange.agree(&parts.ke?.data)?;
    let nr: [u8; NONCE_LEN] = context.bytes();
    let spi_r = context.ike_spi();
    let seeds = Seeds {
        shared: &shared,
        ni,
        nr: &nr,
        spis: (header.spi_i, spi_r),
    };
    let keys = SaKeys::initial(choice.suite, &seeds);
    let mut session = Session::new(choice.suite, keys, &seeds, false)?.after_init();
    let sa = vec![proposal::ike(choice.number, None, choice.suite)];
    let mut payloads = offer(sa, &exchange, &nr).to_vec();
    if parts.notify(kind::IKEV2_FRAGMENTATION_SUPPORTED).is_some() {
        payloads.push(notify(kind::IKEV2_FRAGMENTATION_SUPPORTED, &[]));
        session.fragmentation = true;
    }
    if choice.suite.additional.is_some() {
        payloads.push(notify(kind::INTERMEDIATE_EXCHANGE_SUPPORTED, &[]));
    }
    let spis = (header.spi_i, spi_r);
    payloads.extend(nat::ends(context.local, context.remote, spis));
    payloads.extend(certificate_request(context));
    payloads.extend(signature_hashes(context));
    let wanted = ppk::is_used(parts);
    let both = wanted && context.credentials.ppk.is_some();
    if both {
        payloads.push(notify(kind::USE_PPK, &[]));
    }
    let answer = reply(header, spi_r, payloads);
    let handshake = Handshake {
        began: context.now,
        ni: ni.to_vec(),
        nr: nr.to_vec(),
        request: datagram.to_vec(),
        answer: answer.clone(),
        hashes: parts.hashes(),
        nat: nat::is_between(context, parts, (header.spi_i, 0)),
        ppk: both,
        int_auth: Vec::new(),
    };
    let half_open = HalfOpen::new(session, handshake, effort).wanting_ppk(wanted && !both);
    Some(Answer::Open(Box::new(half_open), answer))
}
