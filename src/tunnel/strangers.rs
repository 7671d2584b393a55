//! Those who have the key but whom we do not list: each learns, under protection, that it is not
//! listed, and gets no SA (RFC 7296 section 2.21.2 has no word for it). Whoever has another key
//! learns nothing. All of it is bounded: few at a time, a new one each second, none without a
//! cookie.

use std::net::SocketAddr;

use super::Arrival;
use crate::ike::Context;
use crate::ike::exchange::half_open::{HalfOpen, HalfOpenStep};
use crate::ike::exchange::init::{self, Answer};
use crate::wire::isakmp::{Header, Message, exchange};

const MAX_HALF_OPEN: usize = 2;
/// How long an answer is repeated.
const REPEAT_MS: u64 = 4_000;
/// Pause between two that are looked at.
const PAUSE_MS: u64 = 1_000;

/// Half-open SAs with unlisted addresses.
#[derive(Default)]
pub(crate) struct Strangers {
    half_open: Vec<(SocketAddr, HalfOpen)>,
    next_at: u64,
}

impl Strangers {
    /// Handles a datagram from an address that is not listed.
    pub fn handle(&mut self, context: &mut Context<'_>, arrival: Arrival<'_>) {
        let now = context.now;
        let done = |h: &HalfOpen| !h.is_waiting() && now >= h.began + REPEAT_MS;
        self.half_open
            .retain(|(_, h)| now < h.expires() && !done(h));
        let header = match Header::parse(arrival.bytes) {
            Ok((header, _)) => header,
            Err(error) => return context.dropped.note(&error),
        };
        if header.exchange == exchange::IKE_SA_INIT {
            return self.first(context, arrival);
        }
        let (outbox, from, bytes) = (arrival.outbox, arrival.from, arrival.bytes);
        let mine = |(address, h): &(SocketAddr, HalfOpen)| *address == from && h.owns(&header);
        let Some(at) = self.half_open.iter().position(mine) else {
            context.dropped.not_listed += 1;
            return;
        };
        let Ok(message) = Message::parse(bytes) else {
            context.dropped.payloads += 1;
            return;
        };
        let (_, half_open) = self.half_open.swap_remove(at);
        match Box::new(half_open).receive(context, bytes, &message) {
            HalfOpenStep::Ignored(half_open) => self.half_open.push((from, *half_open)),
            HalfOpenStep::Reply(half_open, answer, _) => {
                self.half_open.push((from, *half_open));
                outbox.send_all(from, answer);
            }
            // Never: it was opened as one of an unlisted address.
            HalfOpenStep::Established(..) => {}
        }
    }

    fn first(&mut self, context: &mut Context<'_>, arrival: Arrival<'_>) {
        let Arrival {
            outbox,
            cookies,
            from,
            bytes,
        } = arrival;
        if let Some(answer) = self.half_open.iter().find_map(|(_, h)| h.repeat(bytes)) {
            return outbox.send(from, answer);
        }
        if context.now < self.next_at || self.half_open.len() >= MAX_HALF_OPEN {
            context.dropped.not_listed += 1;
            return;
        }
        match init::respond(context, bytes, Some(cookies)) {
            Answer::Ignore => {}
            Answer::Refuse(answer, _) => outbox.send(from, answer),
            Answer::Open(half_open, answer) => {
                self.next_at = context.now + PAUSE_MS;
                self.half_open.push((from, half_open.unlisted()));
                outbox.send(from, answer);
            }
        }
    }
}
