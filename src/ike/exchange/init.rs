//! IKE_SA_INIT (RFC 7296 section 1.2): proposals, key exchange and nonces, before anybody is
//! authenticated.

use super::auth::{Authenticating, HalfOpen};
use super::{Parts, complaint, notify};
use crate::ike::cookie::Cookies;
use crate::ike::keys::{Exchange, SaKeys, Seeds};
use crate::ike::proposal::{self, GROUP};
use crate::ike::retransmit::Retry;
use crate::ike::session::Session;
use crate::ike::{Context, Refusal};
use crate::wire::isakmp::notify::kind;
use crate::wire::isakmp::{Header, KeyExchange, Message, Payload, WireError, exchange};

/// How long one attempt waits for any answer.
const PATIENCE_MS: u64 = 12_000;
/// More cookies than that in one attempt are a game (section 2.6).
const MAX_COOKIES: u8 = 3;
const NONCE_LEN: usize = 32;

/// Our IKE_SA_INIT request is out.
pub struct Initiator {
    spi_i: u64,
    exchange: Exchange,
    nonce: [u8; NONCE_LEN],
    cookie: Option<Vec<u8>>,
    cookies: u8,
    request: Vec<u8>,
    retry: Retry,
    began: u64,
}

/// What an answer to IKE_SA_INIT did.
pub enum InitStep {
    /// Nothing.
    Ignored(Box<Initiator>),
    /// The peer wants its cookie back: send this.
    Again(Box<Initiator>, Vec<u8>),
    /// An unauthenticated refusal: worth showing, no reason to stop waiting.
    Hint(Box<Initiator>, Refusal),
    /// Keys agreed; send this.
    Next(Box<Authenticating>, Vec<u8>),
}

impl Initiator {
    /// Starts an attempt; send what is returned.
    pub fn start(context: &mut Context<'_>) -> (Self, Vec<u8>) {
        let mut initiator = Self {
            spi_i: context.ike_spi(),
            exchange: Exchange::new(context.bytes()),
            nonce: context.bytes(),
            cookie: None,
            cookies: 0,
            request: Vec::new(),
            retry: Retry::start(context.now, PATIENCE_MS),
            began: context.now,
        };
        initiator.request = initiator.message();
        let bytes = initiator.request.clone();
        (initiator, bytes)
    }

    fn message(&self) -> Vec<u8> {
        let mut payloads = Vec::new();
        if let Some(cookie) = &self.cookie {
            payloads.push(notify(kind::COOKIE, cookie));
        }
        payloads.extend(offer(
            proposal::ike(1, None),
            &self.exchange.public,
            &self.nonce,
        ));
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

    /// Milliseconds since the first request.
    pub fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.began)
    }

    /// When [`Initiator::timeout`] wants to be called.
    pub fn due(&self) -> u64 {
        self.retry.due()
    }

    /// Sends again (`Ok`) or gives up (`Err`).
    pub fn timeout(&mut self, now: u64) -> Result<Option<Vec<u8>>, Refusal> {
        if self.retry.exhausted(now) {
            return Err(Refusal::NoAnswer);
        }
        Ok(self.retry.fire(now).then(|| self.request.clone()))
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
            self.cookie = Some(cookie.data.clone());
            self.request = self.message();
            let bytes = self.request.clone();
            return InitStep::Again(self, bytes);
        }
        match parts.error() {
            // We offer one group, so another one is the same as no common proposal.
            Some(kind::NO_PROPOSAL_CHOSEN | kind::INVALID_KE_PAYLOAD) => {
                return InitStep::Hint(self, Refusal::NoProposal);
            }
            Some(other) => {
                let text = format!("the peer refused IKE_SA_INIT (notify {other})");
                return InitStep::Hint(self, Refusal::Other(text));
            }
            None => {}
        }
        match self.agree(datagram, message, &parts) {
            Some(session) => {
                let nonces = (
                    self.nonce.to_vec(),
                    parts.nonce.unwrap_or_default().to_vec(),
                );
                let messages = (std::mem::take(&mut self.request), datagram.to_vec());
                let (next, bytes) =
                    Authenticating::start(context, session, nonces, messages, self.began);
                InitStep::Next(Box::new(next), bytes)
            }
            None => InitStep::Ignored(self),
        }
    }

    fn agree(&self, _datagram: &[u8], message: &Message, parts: &Parts<'_>) -> Option<Session> {
        proposal::chosen_ike(parts.sa?, false)?;
        let ke = parts.ke.filter(|ke| ke.group == GROUP)?;
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
        Session::new(SaKeys::initial(&seeds), &seeds, true).map(Session::after_init)
    }
}

/// SA, KE and nonce, as every key exchange carries them.
pub(crate) fn offer(
    sa: Vec<crate::wire::isakmp::Proposal>,
    public: &[u8],
    nonce: &[u8],
) -> [Payload; 3] {
    let ke = KeyExchange {
        group: GROUP,
        data: public.to_vec(),
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
    /// Send this and remember nothing.
    Refuse(Vec<u8>, Option<Refusal>),
    /// Send this and wait for IKE_AUTH.
    Open(Box<HalfOpen>, Vec<u8>),
}

fn reply(header: &Header, spi_r: u64, payloads: Vec<Payload>) -> Vec<u8> {
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

/// Answers a first request from a listed address. With `cookies`, only those who can receive at
/// their address get past (section 2.6).
pub fn respond(context: &mut Context<'_>, datagram: &[u8], cookies: Option<&Cookies>) -> Answer {
    let Ok((header, _)) = Header::parse(datagram) else {
        return Answer::Ignore;
    };
    let first = header.spi_i != 0 && header.spi_r == 0 && header.id == 0;
    if !first || !header.from_initiator || header.response {
        return Answer::Ignore;
    }
    let message = match Message::parse(datagram) {
        Ok(message) => message,
        Err(error @ WireError::Critical(_)) => {
            return Answer::Refuse(reply(&header, 0, vec![complaint(error)]), None);
        }
        Err(_) => return Answer::Ignore,
    };
    let parts = Parts::of(&message.payloads);
    let (Some(sa), Some(nonce)) = (parts.sa, parts.nonce) else {
        return Answer::Ignore;
    };
    if let Some(cookies) = cookies {
        let given = parts.notify(kind::COOKIE).map(|n| n.data.as_slice());
        if !given.is_some_and(|c| cookies.verify(context.remote, header.spi_i, nonce, c)) {
            let cookie = cookies.make(context.remote, header.spi_i, nonce);
            let answer = reply(&header, 0, vec![notify(kind::COOKIE, &cookie)]);
            return Answer::Refuse(answer, None);
        }
    }
    let Some(choice) = proposal::choose_ike(sa, false) else {
        let answer = reply(&header, 0, vec![notify(kind::NO_PROPOSAL_CHOSEN, &[])]);
        return Answer::Refuse(answer, Some(Refusal::NoProposal));
    };
    let Some(ke) = parts.ke else {
        return Answer::Ignore;
    };
    if ke.group != GROUP {
        let wanted = notify(kind::INVALID_KE_PAYLOAD, &GROUP.to_be_bytes());
        return Answer::Refuse(reply(&header, 0, vec![wanted]), None);
    }
    open(context, datagram, &header, choice, &ke.data, nonce).unwrap_or(Answer::Ignore)
}

fn open(
    context: &mut Context<'_>,
    datagram: &[u8],
    header: &Header,
    choice: proposal::Ike,
    public: &[u8],
    ni: &[u8],
) -> Option<Answer> {
    let exchange = Exchange::new(context.bytes());
    let shared = exchange.agree(public)?;
    let nr: [u8; NONCE_LEN] = context.bytes();
    let spi_r = context.ike_spi();
    let seeds = Seeds {
        shared: &shared,
        ni,
        nr: &nr,
        spis: (header.spi_i, spi_r),
    };
    let session = Session::new(SaKeys::initial(&seeds), &seeds, false)?.after_init();
    let sa = proposal::ike(choice.number, None);
    let answer = reply(header, spi_r, offer(sa, &exchange.public, &nr).to_vec());
    let half_open = HalfOpen::new(
        context.now,
        session,
        (ni.to_vec(), nr.to_vec()),
        (datagram.to_vec(), answer.clone()),
    );
    Some(Answer::Open(Box::new(half_open), answer))
}
