//! A peer that has the keys and says anything: for fuzzing, and the tests that go with it.
//!
//! Before authentication that is anybody, since the first exchange gives keys to everybody.

use std::net::IpAddr;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Handshake;
use super::auth::{AuthStep, Authenticating};
use super::half_open::{Effort, HalfOpen, HalfOpenStep};
use super::intermediate::{IntermediateStep, Intermediating};
use crate::ike::certificate::CertificateError;
use crate::ike::certificate::fake::Fake;
use crate::ike::cipher::Opened;
use crate::ike::connection::{Connection, Origin};
use crate::ike::fragment::{Assembly, Part};
use crate::ike::keys::{SaKeys, Seeds};
use crate::ike::seeded::Seeded;
use crate::ike::session::{Incoming, Purpose, Session};
use crate::ike::suite::Profile;
use crate::ike::{Context, Credentials, Datagrams, Dropped, Lifetimes, Ppk};
use crate::wire::isakmp::{Message, Payload, exchange};

/// Exchanges that a message may claim to be of.
const EXCHANGES: [u8; 5] = [
    exchange::IKE_AUTH,
    exchange::CREATE_CHILD_SA,
    exchange::INFORMATIONAL,
    exchange::IKE_INTERMEDIATE,
    exchange::IKE_FOLLOWUP_KE,
];

/// A system with the pre-shared key `key`.
pub(in crate::ike) struct System {
    random: Seeded,
    credentials: Credentials,
    pub profile: Profile,
}

impl System {
    pub fn new(seed: u8, profile: Profile) -> Self {
        Self {
            random: Seeded(u64::from(seed)),
            credentials: Credentials {
                key: Zeroizing::new(b"key".to_vec()),
                certificate: [7; 32].into(),
                certified: None,
                ppk: None,
                tokens: Zeroizing::new([9; 32]),
            },
            profile,
        }
    }

    /// The same with certificates, which takes everybody's or nobody's.
    pub fn certified(mut self, takes: bool) -> (Self, Arc<Fake>) {
        let judge = Arc::new(Fake::new());
        if !takes {
            judge.says(Err(CertificateError::Untrusted));
        }
        self.credentials.certified = Some(judge.clone());
        (self, judge)
    }

    pub fn context(&mut self) -> Context<'_> {
        Context {
            now: 1_000,
            random: &mut self.random,
            local: IpAddr::from([10, 0, 0, 1]),
            remote: IpAddr::from([10, 0, 0, 2]),
            credentials: &self.credentials,
            profile: &self.profile,
            lifetimes: Lifetimes::default(),
            dropped: Dropped::default(),
        }
    }
}

/// Reads the input of a fuzzer.
pub(in crate::ike) struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        head
    }

    /// Up to seven payloads: a type and a length of two octets before each.
    pub fn payloads(&mut self) -> Option<Vec<(u8, &'a [u8])>> {
        let count = self.byte()? & 7;
        let one = |_| {
            let kind = self.byte()?;
            let len = u16::from_be_bytes([self.byte()? & 7, self.byte()?]);
            Some((kind, self.bytes(usize::from(len))))
        };
        Some((0..count).map_while(one).collect())
    }
}

enum State {
    HalfOpen(Box<HalfOpen>),
    Intermediating(Box<Intermediating>),
    Authenticating(Box<Authenticating>),
    Up(Box<Connection>),
}

impl State {
    /// Handles one datagram; what it sends.
    fn handle(self, context: &mut Context<'_>, bytes: &[u8]) -> Option<(Self, Datagrams)> {
        let message = Message::parse(bytes).ok()?;
        match self {
            State::HalfOpen(half_open) => match half_open.receive(context, bytes, &message) {
                HalfOpenStep::Ignored(half_open) => {
                    Some((State::HalfOpen(half_open), Datagrams::new()))
                }
                HalfOpenStep::Reply(half_open, bytes, _) => {
                    Some((State::HalfOpen(half_open), bytes))
                }
                HalfOpenStep::Established(connection, bytes, _) => {
                    assert!(is_proven(&connection), "established without proof");
                    Some((State::Up(connection), bytes))
                }
            },
            State::Intermediating(waiting) => match waiting.receive(context, bytes, &message) {
                IntermediateStep::Ignored(waiting) => {
                    Some((State::Intermediating(waiting), Datagrams::new()))
                }
                IntermediateStep::Failed(_) => None,
                IntermediateStep::Next(waiting, sent) => {
                    Some((State::Authenticating(waiting), sent))
                }
            },
            State::Authenticating(waiting) => match waiting.receive(context, bytes, &message) {
                AuthStep::Ignored(waiting) => {
                    Some((State::Authenticating(waiting), Datagrams::new()))
                }
                AuthStep::Failed(..) => None,
                AuthStep::Established(connection) => {
                    assert!(is_proven(&connection), "established without proof");
                    Some((State::Up(connection), Datagrams::new()))
                }
            },
            State::Up(mut connection) => {
                connection.handle(context, bytes, &message);
                let sent = std::iter::from_fn(|| connection.poll_transmit()).collect();
                Some((State::Up(connection), sent))
            }
        }
    }
}

/// Nobody here knows the key, so that only a certificate which was taken can have proved anything.
fn is_proven(connection: &Connection) -> bool {
    connection.origin.proven.is_some()
}

/// Any payloads under the right keys, as request or answer, in each state. The input: a state in
/// two octets (see [`begin`]; of the first the lowest bit is without ML-KEM, 32 with a post-quantum
/// key, 64 with certificates, of the second 16 that anybody's are taken), then messages, each an
/// exchange (its high bit: an answer) and payloads. How many certificates were judged.
pub fn authentic(input: &[u8]) -> usize {
    let mut input = Input(input);
    let (Some(state), Some(more)) = (input.byte(), input.byte()) else {
        return 0;
    };
    let mut profile = Profile::default();
    if state & 1 == 1 {
        profile
            .ike
            .iter_mut()
            .for_each(|suite| suite.additional = None);
    }
    let mut system = System::new(state, profile);
    system.credentials.ppk = (state & 32 == 32).then(|| Ppk {
        id: b"id".to_vec(),
        secret: Zeroizing::new(vec![8; 32]),
    });
    let (mut system, judge) = match state & 64 {
        0 => (system, None),
        _ => {
            let (system, judge) = system.certified(more & 16 == 16);
            (system, Some(judge))
        }
    };
    let mut context = system.context();
    let Some((state, mut peer, sent)) = begin(&mut context, state >> 1, more) else {
        return 0;
    };
    let judged = || judge.as_ref().map_or(0, |judge| judge.judged());
    let mut states = Some(state);
    hear(&mut peer, &sent);
    while let (Some(kind), Some(payloads)) = (input.byte(), input.payloads()) {
        let exchange = EXCHANGES[usize::from(kind & 0x7f) % EXCHANGES.len()];
        let payloads: Vec<Payload> = payloads
            .into_iter()
            .map(|(kind, body)| Payload::Other {
                kind,
                body: body.to_vec(),
            })
            .collect();
        let datagrams = match kind & 0x80 {
            0 => peer.request(context.now, exchange, &payloads, Purpose::Liveness),
            _ => peer.respond(exchange, &payloads),
        };
        for datagram in datagrams {
            let Some(state) = states.take() else {
                return judged();
            };
            let Some((state, sent)) = state.handle(&mut context, &datagram) else {
                return judged();
            };
            hear(&mut peer, &sent);
            states = Some(state);
        }
        context.now += 100;
    }
    judged()
}

/// A state and the other end of its IKE SA: half-open (by `more` perhaps to who is not listed, or
/// without the post-quantum key that the peer wants), waiting for the answer to IKE_INTERMEDIATE (8
/// of `more`) or to IKE_AUTH, or up as either side; 2 of `more` is that addresses are rewritten on
/// the way.
fn begin(context: &mut Context<'_>, state: u8, more: u8) -> Option<(State, Session, Datagrams)> {
    let suite = *context.profile.ike.first()?;
    let seeds = Seeds {
        shared: &[1; 32],
        ni: &[2; 32],
        nr: &[3; 32],
        spis: (4, 5),
    };
    let session = |initiator| {
        let keys = SaKeys::initial(suite, &seeds);
        let mut session = Session::new(suite, keys, &seeds, initiator)?.after_init();
        session.fragmentation = true;
        Some(session)
    };
    let ppk = context.credentials.ppk.is_some();
    let handshake = || Handshake {
        began: 0,
        ni: vec![2; 32],
        nr: vec![3; 32],
        request: vec![6; 100],
        answer: vec![7; 100],
        hashes: vec![2, 3],
        nat: more & 2 == 2,
        ppk,
        int_auth: Vec::new(),
    };
    match state % 4 {
        0 => {
            let half_open = HalfOpen::new(session(false)?, handshake(), Effort::Nothing);
            let half_open = half_open.wanting_ppk(more & 4 == 4);
            let half_open = match more & 1 {
                0 => half_open,
                _ => half_open.unlisted(),
            };
            let state = State::HalfOpen(Box::new(half_open));
            Some((state, session(true)?, Datagrams::new()))
        }
        1 => match suite.additional.filter(|_| more & 8 == 8) {
            Some(method) => {
                let (ours, handshake) = (session(true)?, handshake());
                let (waiting, sent) = Intermediating::start(context, ours, handshake, method);
                let state = State::Intermediating(Box::new(waiting));
                Some((state, session(false)?, sent))
            }
            None => {
                let started = Authenticating::start(context, session(true)?, handshake());
                let (waiting, sent) = started.ok()?;
                let state = State::Authenticating(Box::new(waiting));
                Some((state, session(false)?, sent))
            }
        },
        role => {
            let origin = Origin {
                began: 0,
                initiator: role == 2,
                certificate: None,
                told: context.credentials.certificate,
                proven: None,
            };
            let ours = session(role == 2)?;
            let keys = ours.keys.child(context.profile.ah[0], &[2; 32], &[3; 32]);
            let ah = crate::ike::proposal::Ah {
                number: 1,
                spi: 0x1_0000,
                integrity: context.profile.ah[0],
                esn: true,
            };
            let child = crate::ike::Child::new(context, 0x2_0000, ah, keys, role == 2);
            let mut connection = Connection::new(context, ours, Some(child), origin);
            if state & 4 == 4 {
                connection.rekey(context.now);
            } else if state & 8 == 8 {
                connection.close();
            }
            connection.advance(context);
            let sent = std::iter::from_fn(|| connection.poll_transmit()).collect();
            Some((State::Up(Box::new(connection)), session(role != 2)?, sent))
        }
    }
}

/// The peer takes note of requests, so that its next answer is one to the last of them, and of
/// answers, so that it may ask again.
fn hear(peer: &mut Session, sent: &[Vec<u8>]) {
    for datagram in sent {
        let Ok(message) = Message::parse(datagram) else {
            continue;
        };
        if message.header.response {
            peer.answer(&mut Dropped::default(), datagram, &message);
        } else if let Incoming::Again(_) = peer.receive(&mut Dropped::default(), datagram, &message)
        {
            continue;
        }
    }
}

/// Parts of messages, each with message id, number, total and content.
pub fn fragments(input: &[u8]) {
    let mut input = Input(input);
    let mut assembly = Assembly::default();
    while let (Some(id), Some(number), Some(total)) = (input.byte(), input.byte(), input.byte()) {
        if number == 0 || number > total {
            // The parser refuses these.
            continue;
        }
        let len = usize::from(input.byte().unwrap_or(0)) * 64;
        let opened = Opened {
            first: id,
            flags: 0,
            plain: Zeroizing::new(input.bytes(len).to_vec()),
        };
        let part = Part {
            number: u16::from(number),
            total: u16::from(total),
            opened,
        };
        if let Some(whole) = assembly.add(u32::from(id & 1), part) {
            assert!(whole.plain.len() <= 16_384);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of every exchange with payloads of every kind, most of them with bodies that parse.
    #[test]
    fn an_authentic_peer_that_says_anything_breaks_nothing() {
        let signed = [
            &[14, 0, 0, 0, 12, 0x30, 10, 6, 8][..],
            &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2],
            &[7; 64],
        ];
        let signed = signed.concat();
        let bodies: [&[u8]; 14] = [
            b"",
            &[2, 4, 0, 1, 0, 1, 0, 0],
            &[
                0, 0, 0, 28, 1, 2, 4, 2, 0, 0, 1, 1, 3, 0, 0, 8, 3, 0, 0, 12, 0, 0, 0, 8, 5, 0, 0,
                1,
            ],
            &[0, 0, 0x40, 0x0b, 1, 2, 3, 4],
            &[2, 4, 0x40, 9, 0, 1, 0, 0],
            &[0, 0, 0x40, 0x34, 2, b'i', b'd'],
            &[0, 0, 0xa0, 0xde, 2],
            &[0, 36, 0, 0, 7, 7, 7],
            &[7; 40],
            &[
                1, 0, 0, 0, 7, 0, 0, 16, 0, 0, 255, 255, 10, 0, 0, 1, 10, 0, 0, 1,
            ],
            &[1, 0, 0, 0, 10, 0, 0, 2],
            &[4, 0x30, 1, 0],
            &[4, 0x30, 1, 1],
            &signed,
        ];
        // IKE_AUTH by certificates of either side: IDi or IDr, CERT twice, AUTH, SA, TSi, TSr.
        let auth = |of_initiator: bool| {
            let id = if of_initiator { 35 } else { 36 };
            let all = [
                (id, 10),
                (37, 11),
                (37, 12),
                (39, 13),
                (33, 2),
                (44, 9),
                (45, 9),
            ];
            all.map(|(kind, body)| (kind, bodies[body].to_vec()))
        };
        let mut random = Seeded(5);
        let mut judged = [0; 4];
        for _ in 0..10_000 {
            let state = random.draw(128);
            let mut input = vec![state as u8, random.draw(32) as u8];
            for _ in 0..1 + random.draw(4) {
                let (mut exchange, answers) = (random.draw(128) as u8, random.draw(2) == 1);
                let said: Vec<(u8, Vec<u8>)> = match random.draw(4) {
                    0 => {
                        exchange = 0;
                        auth(!answers).to_vec()
                    }
                    _ => (0..random.draw(8))
                        .map(|_| {
                            (
                                33 + random.draw(16) as u8,
                                bodies[random.draw(bodies.len())].to_vec(),
                            )
                        })
                        .collect(),
                };
                input.push(exchange | u8::from(answers) << 7);
                random.say(&mut input, said, 33..49, 32);
            }
            judged[state >> 1 & 3] += authentic(&input);
            fragments(&input);
        }
        // Who is dropped at once would test nothing.
        let [half_open, authenticating, ..] = judged;
        assert!(half_open > 20 && authenticating > 20, "{judged:?}");
    }
}
