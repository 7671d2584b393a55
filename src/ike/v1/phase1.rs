//! An established ISAKMP SA and the exchanges it protects: quick mode (RFC 2409 section 5.5),
//! Informational with its HASH always checked (section 5.7), dead peer detection (RFC 3706).

use super::keys::{Iv, Keys, Opened};
use crate::ike::certificate::Proven;
use crate::ike::child::{ends_at, rekey_at};
use crate::ike::group::Exchange;
use crate::ike::retransmit::Retry;
use crate::ike::suite::Suite;
use crate::ike::{Context, Presented};
use crate::wire::isakmp::v1::{self, Delete, Header, Notify, Payload, exchange, kind};

/// A request without an answer for this long means that the peer is gone.
pub(super) const PATIENCE_MS: u64 = 14_000;
/// Quick modes of a peer under one ISAKMP SA; their ids must never come again.
const MAX_EXCHANGES: usize = 4_096;
const PROTO_ISAKMP: u8 = 1;
const PROTO_AH: u8 = 2;
/// AUTHENTICATION-FAILED (RFC 2408 section 3.14.1).
pub(super) const AUTHENTICATION_FAILED: u16 = 24;
/// Private, of the errors (RFC 2408 section 3.14.1): the peer proved itself, but is not listed.
pub(super) const NOT_LISTED: u16 = 8_381;
const R_U_THERE: u16 = 36_136;
const R_U_THERE_ACK: u16 = 36_137;

/// A quick mode that we began, until its third message is out and a while longer.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Asking {
    pub id: u32,
    pub iv: Iv,
    pub nonce: Vec<u8>,
    pub spi: u32,
    pub exchange: Option<Exchange>,
    /// The node certificates that it names.
    pub says: Presented,
    /// The message that is repeated until it is answered.
    pub last: Vec<u8>,
    pub retry: Retry,
    /// The peer's answer and our third message, to repeat when it comes again.
    pub done: Option<(Vec<u8>, Vec<u8>)>,
}

/// A quick mode that the peer began, until its third message is here.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Answering {
    pub id: u32,
    pub iv: Iv,
    pub nonces: (Vec<u8>, Vec<u8>),
    pub spi: u32,
    /// The node certificates that our answer names.
    pub says: Presented,
    pub request: Vec<u8>,
    pub last: Vec<u8>,
    pub retry: Retry,
}

/// An ISAKMP SA.
#[cfg_attr(test, derive(Clone))]
pub struct Phase1 {
    pub(super) cookies: (u64, u64),
    pub(super) initiator: bool,
    pub(super) suite: Suite,
    pub(super) keys: Keys,
    last: Iv,
    pub(super) born: u64,
    pub(super) rekey_at: u64,
    /// Nobody has replaced it by then.
    pub(super) ends_at: u64,
    /// Whether the peer does dead peer detection.
    pub(super) dpd: bool,
    /// The certificate by which the peer proved itself, if by any.
    pub(super) proven: Option<Proven>,
    /// The fifth message and our sixth, to repeat when it comes again.
    pub(super) last_main: (Vec<u8>, Vec<u8>),
    pub(super) asking: Option<Asking>,
    pub(super) answering: Vec<Answering>,
    seen: Vec<u32>,
    /// Our question under way: its number and schedule.
    pub(super) question: Option<(u32, Retry)>,
    next_question: u32,
    /// The number of our first.
    first_question: u32,
    last_question: Option<u32>,
}

/// What an Informational message says.
#[derive(Default)]
pub(super) struct Said {
    /// SPIs of AH SAs that the peer deleted.
    pub deleted: Vec<u32>,
    /// The peer deleted this ISAKMP SA.
    pub closed: bool,
    /// The first error notification.
    pub error: Option<u16>,
    /// Nobody can have recorded it earlier: a sign of life.
    pub fresh: bool,
    /// To be sent back.
    pub answer: Option<Vec<u8>>,
}

impl Phase1 {
    pub(super) fn new(
        context: &mut Context<'_>,
        cookies: (u64, u64),
        initiator: bool,
        (suite, keys, last): (Suite, Keys, Iv),
    ) -> Self {
        let first: [u8; 4] = context.bytes();
        // The highest bit clear, so that it does not wrap soon (RFC 3706 section 6.2).
        let first = u32::from_be_bytes(first) >> 1;
        Self {
            cookies,
            initiator,
            suite,
            keys,
            last,
            born: context.now,
            rekey_at: rekey_at(context, context.lifetimes.ike_ms, initiator),
            ends_at: ends_at(context.now, context.lifetimes.ike_ms),
            dpd: false,
            proven: None,
            last_main: (Vec::new(), Vec::new()),
            asking: None,
            answering: Vec::new(),
            seen: Vec::new(),
            question: None,
            next_question: first,
            first_question: first,
            last_question: None,
        }
    }

    pub(super) fn owns(&self, header: &Header) -> bool {
        (header.cky_i, header.cky_r) == self.cookies
    }

    /// Whether a quick mode of ours waits for its answer.
    pub(super) fn asks(&self) -> bool {
        self.asking.as_ref().is_some_and(|a| a.done.is_none())
    }

    /// Whether an exchange under it may still need its answer repeated.
    pub(super) fn is_busy(&self) -> bool {
        self.asking.is_some() || !self.answering.is_empty()
    }

    fn new_id(&self, context: &mut Context<'_>) -> u32 {
        loop {
            let id = u32::from_be_bytes(context.bytes());
            if id != 0 && !self.seen.contains(&id) {
                return id;
            }
        }
    }

    /// Takes a message id that was never used under this SA.
    pub(super) fn take_id(&mut self, context: &mut Context<'_>) -> Option<u32> {
        let id = self.new_id(context);
        self.note_id(id).then_some(id)
    }

    /// Whether a message id is new; it will not be again: a replayed request makes nothing.
    pub(super) fn note_id(&mut self, id: u32) -> bool {
        let new = id != 0 && !self.seen.contains(&id) && self.seen.len() < MAX_EXCHANGES;
        if new {
            self.seen.push(id);
        }
        new
    }

    /// A protected message: HASH over `prefix`, then the payloads.
    pub(super) fn seal(
        &self,
        exchange: u8,
        (id, prefix): (u32, &[&[u8]]),
        payloads: Vec<Payload>,
        iv: &mut Iv,
    ) -> Vec<u8> {
        let header = Header::new(self.cookies, exchange, true, id);
        self.keys.seal_hashed(&header, prefix, payloads, iv)
    }

    /// Opens a protected message whose HASH covers `prefix` and all behind it.
    pub(super) fn open(&self, bytes: &[u8], prefix: &[&[u8]], iv: &Iv) -> Option<Opened> {
        self.keys.open_hashed(bytes, prefix, iv)
    }

    pub(super) fn exchange_iv(&self, id: u32) -> Iv {
        self.keys.exchange_iv(&self.last, id)
    }

    fn inform(&self, context: &mut Context<'_>, payloads: Vec<Payload>) -> Vec<u8> {
        let id = self.new_id(context);
        let mut iv = self.exchange_iv(id);
        let id_bytes = id.to_be_bytes();
        let covers = (id, &[&id_bytes[..]][..]);
        self.seal(exchange::INFORMATIONAL, covers, payloads, &mut iv)
    }

    fn spi(&self) -> Vec<u8> {
        spi(self.cookies)
    }

    /// Tells the peer that we delete an AH pair.
    pub(super) fn delete_child(&self, context: &mut Context<'_>, spi: u32) -> Vec<u8> {
        let delete = Delete {
            protocol: PROTO_AH,
            spis: vec![spi.to_be_bytes().to_vec()],
        };
        self.inform(context, vec![delete.payload()])
    }

    /// Tells the peer that we delete this ISAKMP SA.
    pub(super) fn delete(&self, context: &mut Context<'_>) -> Vec<u8> {
        self.inform(context, vec![deletion(self.cookies)])
    }

    /// Tells the peer that it did not prove itself, so that there is no SA any more.
    pub(super) fn refuse(&self, context: &mut Context<'_>) -> Vec<u8> {
        tell_why(
            context,
            self.cookies,
            (&self.keys, &self.last),
            AUTHENTICATION_FAILED,
        )
    }

    /// Reports an error about a quick mode.
    pub(super) fn report(&self, context: &mut Context<'_>, kind: u16) -> Vec<u8> {
        self.inform(context, vec![error(PROTO_AH, kind)])
    }

    fn detect(&self, context: &mut Context<'_>, kind: u16, number: u32) -> Vec<u8> {
        let notify = Notify {
            protocol: PROTO_ISAKMP,
            spi: self.spi(),
            kind,
            data: number.to_be_bytes().to_vec(),
        };
        self.inform(context, vec![notify.payload()])
    }

    /// Asks whether the peer is there.
    pub(super) fn ask(&mut self, context: &mut Context<'_>) -> Vec<u8> {
        let number = self.next_question;
        self.next_question = number.wrapping_add(1);
        self.question = Some((number, Retry::start(context.now, PATIENCE_MS)));
        self.detect(context, R_U_THERE, number)
    }

    /// The outstanding question in a message of its own.
    pub(super) fn ask_again(&self, context: &mut Context<'_>) -> Option<Vec<u8>> {
        let number = self.question.as_ref()?.0;
        Some(self.detect(context, R_U_THERE, number))
    }

    /// Handles an Informational message; `None` if it is not authentic.
    pub(super) fn informed(
        &mut self,
        context: &mut Context<'_>,
        header: &Header,
        bytes: &[u8],
    ) -> Option<Said> {
        let id = header.id.to_be_bytes();
        let opened = self.open(bytes, &[&id], &self.exchange_iv(header.id))?;
        let mut said = Said::default();
        for payload in &opened.payloads {
            match payload.kind {
                kind::DELETE => {
                    if let Ok(delete) = Delete::parse(&payload.body) {
                        self.note_delete(&delete, &mut said);
                    }
                }
                kind::NOTIFY => {
                    if let Ok(notify) = Notify::parse(&payload.body) {
                        self.note(context, &notify, &mut said);
                    }
                }
                _ => {}
            }
        }
        // One that was seen before is a replay.
        if said.error.is_some() && !self.note_id(header.id) {
            said.error = None;
        }
        Some(said)
    }

    fn note_delete(&self, delete: &Delete, said: &mut Said) {
        if delete.protocol == PROTO_ISAKMP {
            said.closed |= delete.spis.contains(&self.spi());
        } else if delete.protocol == PROTO_AH {
            let spis = delete.spis.iter();
            let spis = spis.filter_map(|spi| spi.as_slice().try_into().ok());
            said.deleted.extend(spis.map(u32::from_be_bytes));
        }
    }

    fn note(&mut self, context: &mut Context<'_>, notify: &Notify, said: &mut Said) {
        let number = notify.data.as_slice().try_into().map(u32::from_be_bytes);
        match (notify.kind, number) {
            // Nothing in a message tells whose it is: our own may be sent back to us.
            (R_U_THERE, Ok(number)) if self.is_ours(number) => {}
            (R_U_THERE, Ok(number)) if notify.spi == self.spi() => {
                // A replayed question is older than the last (RFC 3706 section 6.2).
                let new = |last: u32| number.wrapping_sub(last) < u32::MAX / 2;
                if self.last_question.is_none_or(new) {
                    said.fresh |= self.last_question != Some(number);
                    self.last_question = Some(number);
                    said.answer = Some(self.detect(context, R_U_THERE_ACK, number));
                }
            }
            (R_U_THERE_ACK, Ok(number)) => {
                let taken = self.question.take_if(|(asked, _)| *asked == number);
                said.fresh |= taken.is_some();
            }
            (kind, _) if kind < v1::FIRST_STATUS => said.error = said.error.or(Some(kind)),
            _ => {}
        }
    }

    /// Whether a question of ours has this number.
    fn is_ours(&self, number: u32) -> bool {
        let asked = self.next_question.wrapping_sub(self.first_question);
        number.wrapping_sub(self.first_question) < asked
    }

    /// When a finished quick mode need not be remembered any more.
    pub(super) fn lingers(&self) -> Option<u64> {
        let done = self.asking.as_ref().filter(|a| a.done.is_some());
        done.map(|a| a.retry.end())
    }

    /// When its timers want to be looked at.
    pub(super) fn due(&self) -> Option<u64> {
        let asking = self.asking.as_ref().filter(|a| a.done.is_none());
        let asking = asking.map(|a| a.retry.due());
        let answering = self.answering.iter().map(|a| a.retry.due());
        let question = self.question.as_ref().map(|(_, retry)| retry.due());
        answering.chain(asking).chain(question).min()
    }
}

/// Tells the peer, under the keys of a main mode, why there is no SA although main mode may look
/// complete to it; `last` is the last block that was encrypted.
pub(super) fn tell_why(
    context: &mut Context<'_>,
    cookies: (u64, u64),
    (keys, last): (&Keys, &Iv),
    why: u16,
) -> Vec<u8> {
    let id = u32::from_be_bytes(context.bytes()).max(1);
    let payloads = vec![error(PROTO_ISAKMP, why), deletion(cookies)];
    let header = Header::new(cookies, exchange::INFORMATIONAL, true, id);
    let mut iv = keys.exchange_iv(last, id);
    keys.seal_hashed(&header, &[&id.to_be_bytes()], payloads, &mut iv)
}

/// Both cookies.
fn spi((i, r): (u64, u64)) -> Vec<u8> {
    [i.to_be_bytes(), r.to_be_bytes()].concat()
}

/// The delete of an ISAKMP SA.
fn deletion(cookies: (u64, u64)) -> Payload {
    let delete = Delete {
        protocol: PROTO_ISAKMP,
        spis: vec![spi(cookies)],
    };
    delete.payload()
}

fn error(protocol: u8, kind: u16) -> Payload {
    let notify = Notify {
        protocol,
        spi: Vec::new(),
        kind,
        data: Vec::new(),
    };
    notify.payload()
}
