//! What an authenticated peer gets for requests that are wrong, odd or repeated. The other
//! daemons' past bugs in this place are in the names.

use std::net::IpAddr;

use super::exchange::auth::{AuthStep, Authenticating};
use super::exchange::half_open::{HalfOpen, HalfOpenStep};
use super::exchange::init::{self, Answer, InitStep, Initiator};
use super::exchange::intermediate::IntermediateStep;
use super::exchange::{Parts, notify, selectors};
use super::seeded::Seeded;
use super::session::Purpose;
use super::*;
use crate::wire::isakmp::notify::kind;
use crate::wire::isakmp::{Delete, Message, Notify, Payload, TrafficSelector, exchange, protocol};

mod additional;
mod announced;
mod certified;
mod ended;
mod ppk;
mod refused;

struct Side {
    random: Seeded,
    local: IpAddr,
    remote: IpAddr,
    credentials: Credentials,
    profile: Profile,
}

impl Side {
    fn new(n: u8) -> Self {
        Self {
            random: Seeded(u64::from(n)),
            local: IpAddr::from([10, 0, 0, n]),
            remote: IpAddr::from([10, 0, 0, 3 - n]),
            credentials: Credentials {
                key: Zeroizing::new(b"key".to_vec()),
                certificate: [n; 32].into(),
                certified: None,
                ppk: None,
                tokens: Zeroizing::new([9; 32]),
            },
            profile: Profile::default(),
        }
    }

    fn context(&mut self, now: u64) -> Context<'_> {
        Context {
            now,
            random: &mut self.random,
            local: self.local,
            remote: self.remote,
            credentials: &self.credentials,
            profile: &self.profile,
            lifetimes: Lifetimes::default(),
            dropped: Dropped::default(),
        }
    }
}

/// An initiator's and a responder's end of one connection.
struct Pair {
    a: Side,
    b: Side,
    initiator: Connection,
    responder: Connection,
}

/// Two sides after the exchanges before IKE_AUTH, and its request.
fn about_to_authenticate(a: &mut Side, b: &mut Side) -> (Box<Authenticating>, Datagrams, HalfOpen) {
    let (initiator, first) = Initiator::start(&mut a.context(0)).unwrap();
    let Answer::Open(half_open, answer) = init::respond(&mut b.context(0), &first, None) else {
        panic!("the first request was refused");
    };
    let message = Message::parse(&answer).unwrap();
    match Box::new(initiator).receive(&mut a.context(0), &answer, &message) {
        InitStep::Next(authenticating, request) => (authenticating, request, *half_open),
        InitStep::Intermediate(intermediating, request) => {
            let (half_open, answer) = in_parts(half_open, b, &request);
            let message = Message::parse(&answer[0]).unwrap();
            let step = intermediating.receive(&mut a.context(0), &answer[0], &message);
            let IntermediateStep::Next(authenticating, request) = step else {
                panic!("the answer to IKE_INTERMEDIATE was refused");
            };
            (authenticating, request, *half_open)
        }
        _ => panic!("the first answer was refused"),
    }
}

/// Gives all fragments of `request` to a half-open SA; what it answers to the last.
fn in_parts(
    mut half_open: Box<HalfOpen>,
    side: &mut Side,
    request: &[Vec<u8>],
) -> (Box<HalfOpen>, Datagrams) {
    for part in request {
        let message = Message::parse(part).unwrap();
        match half_open.receive(&mut side.context(0), part, &message) {
            HalfOpenStep::Ignored(next) => half_open = next,
            HalfOpenStep::Reply(next, answer, None) => return (next, answer),
            _ => panic!("refused"),
        }
    }
    panic!("no answer");
}

fn established() -> Pair {
    established_with(Profile::default())
}

fn established_with(profile: Profile) -> Pair {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    (a.profile, b.profile) = (profile.clone(), profile);
    established_between(a, b)
}

fn established_between(mut a: Side, mut b: Side) -> Pair {
    let (authenticating, request, half_open) = about_to_authenticate(&mut a, &mut b);
    let message = Message::parse(&request[0]).unwrap();
    let step = Box::new(half_open).receive(&mut b.context(0), &request[0], &message);
    let HalfOpenStep::Established(responder, answer, true) = step else {
        panic!("IKE_AUTH was refused");
    };
    let message = Message::parse(&answer[0]).unwrap();
    let step = authenticating.receive(&mut a.context(0), &answer[0], &message);
    let AuthStep::Established(initiator) = step else {
        panic!("the answer to IKE_AUTH was refused");
    };
    Pair {
        a,
        b,
        initiator: *initiator,
        responder: *responder,
    }
}

impl Pair {
    /// Sends a request of the initiator's making and returns the request and what came back.
    fn ask(&mut self, exchange: u8, payloads: &[Payload]) -> (Vec<u8>, Vec<Payload>) {
        let session = &mut self.initiator.sessions[0];
        let request = session.request(0, exchange, payloads, Purpose::Liveness);
        let request = request.concat();
        let answer = self.deliver(&request).expect("an answer");
        let message = Message::parse(&answer).unwrap();
        let (_, content) = self.initiator.sessions[0]
            .answer(&mut Dropped::default(), &answer, &message)
            .expect("an authentic answer");
        (request, content.payloads.unwrap())
    }

    fn deliver(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let message = Message::parse(request).unwrap();
        self.responder
            .handle(&mut self.b.context(0), request, &message);
        self.responder.poll_transmit()
    }

    fn rekey_request(&mut self) -> Vec<Payload> {
        let mut context = self.a.context(0);
        self.initiator.rekey_child(&mut context, 0).0
    }
}

fn error_of(answer: &[Payload]) -> Option<u16> {
    Parts::of(answer).error()
}

#[test]
fn both_ends_hold_the_same_keys_crosswise() {
    let pair = established();
    let (a, b) = (&pair.initiator.children()[0], &pair.responder.children()[0]);
    assert_eq!((a.spi_in, a.spi_out), (b.spi_out, b.spi_in));
    assert_eq!(a.key_in, b.key_out);
    assert_eq!(a.key_out, b.key_in);
    assert_ne!(a.key_in, a.key_out);
    assert!(a.esn && b.esn);
    assert_eq!(pair.responder.origin.certificate, Some([1; 32].into()));
    assert_eq!(pair.initiator.origin.certificate, Some([2; 32].into()));
}

#[test]
fn an_unknown_critical_payload_is_refused_and_the_sa_stays() {
    let mut pair = established();
    let future = Payload::Other {
        kind: 99,
        body: vec![1],
    };
    let (_, answer) = pair.ask(exchange::INFORMATIONAL, &[future]);
    assert!(answer.is_empty());
    assert!(!pair.responder.is_closing());
    // The same with the critical bit, which no payload of ours sets.
    let critical = [0, 0x80, 0, 5, 1];
    let session = &mut pair.initiator.sessions[0];
    let request = session.request_octets(exchange::INFORMATIONAL, 99, &critical);
    let answer = pair.deliver(&request.concat()).expect("an answer");
    let message = Message::parse(&answer).unwrap();
    let (_, content) = pair.initiator.sessions[0]
        .answer(&mut Dropped::default(), &answer, &message)
        .expect("an authentic answer");
    let answer = content.payloads.unwrap();
    assert_eq!(error_of(&answer), Some(kind::UNSUPPORTED_CRITICAL_PAYLOAD));
    assert!(!pair.responder.is_closing());
    assert_eq!(pair.responder.children().len(), 1);
}

#[test]
fn an_authentic_request_that_does_not_parse_ends_the_sa() {
    let mut pair = established();
    let short = Payload::Other {
        kind: 40,
        body: vec![1; 3],
    };
    let (_, answer) = pair.ask(exchange::INFORMATIONAL, &[short]);
    assert_eq!(error_of(&answer), Some(kind::INVALID_SYNTAX));
    assert!(pair.responder.is_closing());
}

#[test]
fn a_repeated_request_gets_the_same_answer_and_acts_once() {
    let mut pair = established();
    let payloads = pair.rekey_request();
    let (request, answer) = pair.ask(exchange::CREATE_CHILD_SA, &payloads);
    assert_eq!(error_of(&answer), None);
    assert_eq!(pair.responder.children().len(), 2);
    let again = pair.deliver(&request).expect("the cached answer");
    assert_eq!(Some(again), pair.deliver(&request));
    assert_eq!(pair.responder.children().len(), 2);
    // Two requests later it is out of the window.
    pair.ask(exchange::INFORMATIONAL, &[]);
    assert_eq!(pair.deliver(&request), None);
}

#[test]
fn every_altered_byte_of_a_protected_request_is_dropped() {
    let mut pair = established();
    let payloads = pair.rekey_request();
    let session = &mut pair.initiator.sessions[0];
    let purpose = Purpose::Liveness;
    let request = session.request(0, exchange::CREATE_CHILD_SA, &payloads, purpose);
    let request = request.concat();
    for at in 0..request.len() {
        for bit in 0..8 {
            let mut altered = request.clone();
            altered[at] ^= 1 << bit;
            if let Ok(message) = Message::parse(&altered)
                && pair.responder.owns(&message.header)
            {
                assert_eq!(pair.deliver(&altered), None, "byte {at}");
            }
        }
    }
    assert_eq!(pair.responder.children().len(), 1);
    assert!(pair.deliver(&request).is_some());
}

#[test]
fn a_rekey_of_an_odd_protocol_or_spi_finds_nothing() {
    for (protocol, spi) in [
        (protocol::ESP, None),
        (77, None),
        (protocol::AH, Some(vec![])),
        (protocol::AH, Some(vec![0; 255])),
        (protocol::AH, Some(vec![1, 2, 3, 4])),
    ] {
        let mut pair = established();
        let mut payloads = pair.rekey_request();
        let Payload::Notify(rekey) = &mut payloads[0] else {
            panic!("no REKEY_SA");
        };
        rekey.protocol = protocol;
        rekey.spi = spi.unwrap_or(rekey.spi.clone());
        let (_, answer) = pair.ask(exchange::CREATE_CHILD_SA, &payloads);
        assert_eq!(error_of(&answer), Some(kind::CHILD_SA_NOT_FOUND));
        assert_eq!(pair.responder.children().len(), 1);
    }
}

#[test]
fn tunnel_mode_esp_and_narrow_selectors_are_refused() {
    let without_transport = |payloads: &mut Vec<Payload>| {
        payloads.retain(|p| *p != notify(kind::USE_TRANSPORT_MODE, &[]));
    };
    let esp = |payloads: &mut Vec<Payload>| {
        for payload in payloads {
            if let Payload::Sa(proposals) = payload {
                proposals[0].protocol = protocol::ESP;
            }
        }
    };
    let reserved_spi = |payloads: &mut Vec<Payload>| {
        for payload in payloads {
            if let Payload::Sa(proposals) = payload {
                proposals[0].spi = vec![0, 0, 0, 255];
            }
        }
    };
    let narrow = |payloads: &mut Vec<Payload>| {
        for payload in payloads {
            if let Payload::TsR(selectors) = payload
                && let TrafficSelector::Range { protocol, .. } = &mut selectors[0]
            {
                *protocol = 6;
            }
        }
    };
    type Change<'a> = &'a dyn Fn(&mut Vec<Payload>);
    let changes: [(Change<'_>, u16); 4] = [
        (&without_transport, kind::NO_PROPOSAL_CHOSEN),
        (&esp, kind::NO_PROPOSAL_CHOSEN),
        (&reserved_spi, kind::NO_PROPOSAL_CHOSEN),
        (&narrow, kind::TS_UNACCEPTABLE),
    ];
    for (change, error) in changes {
        let mut pair = established();
        let mut payloads = pair.rekey_request();
        change(&mut payloads);
        let (_, answer) = pair.ask(exchange::CREATE_CHILD_SA, &payloads);
        assert_eq!(error_of(&answer), Some(error));
        assert_eq!(pair.responder.children().len(), 1);
    }
}

#[test]
fn wider_selectors_are_narrowed_to_the_two_addresses() {
    let mut pair = established();
    let mut payloads = pair.rekey_request();
    let all = TrafficSelector::Range {
        protocol: 0,
        ports: (0, u16::MAX),
        addresses: (IpAddr::from([0, 0, 0, 0]), IpAddr::from([255; 4])),
    };
    for payload in &mut payloads {
        if let Payload::TsI(selectors) | Payload::TsR(selectors) = payload {
            *selectors = vec![all.clone()];
        }
    }
    let (_, answer) = pair.ask(exchange::CREATE_CHILD_SA, &payloads);
    for wanted in selectors(&pair.b.context(0), false) {
        assert!(answer.contains(&wanted));
    }
}

#[test]
fn more_children_than_anybody_needs_are_refused() {
    let mut pair = established();
    let mut granted = 0;
    for _ in 0..20 {
        let mut payloads = pair.rekey_request();
        payloads.remove(0);
        let (_, answer) = pair.ask(exchange::CREATE_CHILD_SA, &payloads);
        granted += usize::from(error_of(&answer).is_none());
    }
    assert_eq!(granted, connection::MAX_CHILDREN - 1);
}

#[test]
fn deletes_of_unknown_sas_twice_and_with_a_notify_are_harmless() {
    let mut pair = established();
    let strange = Payload::Delete(Delete {
        protocol: protocol::ESP,
        spi_size: 4,
        spis: vec![vec![9; 4]; 3],
    });
    let payloads = [
        Payload::Delete(Delete::ah(0x0909_0909)),
        strange,
        Payload::Notify(Notify::new(4, vec![1])),
    ];
    let (_, answer) = pair.ask(exchange::INFORMATIONAL, &payloads);
    assert!(answer.is_empty());
    assert_eq!(pair.responder.children().len(), 1);

    let spi = pair.initiator.children()[0].spi_in;
    let twice = vec![Payload::Delete(Delete::ah(spi)); 2];
    let (_, answer) = pair.ask(exchange::INFORMATIONAL, &twice);
    let theirs = pair.initiator.children()[0].spi_out;
    assert_eq!(answer, [Payload::Delete(Delete::ah(theirs))]);
    assert!(pair.responder.children().is_empty());
}

#[test]
fn nothing_but_the_exchange_that_is_due_reaches_a_half_open_sa() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    let (_, first) = Initiator::start(&mut a.context(0)).unwrap();
    let Answer::Open(half_open, answer) = init::respond(&mut b.context(0), &first, None) else {
        panic!("the first request was refused");
    };
    let mut header = Message::parse(&answer).unwrap().header;
    header.from_initiator = true;
    header.response = false;
    header.id = 1;
    for exchange in 0..=255 {
        header.exchange = exchange;
        let due = exchange == exchange::IKE_INTERMEDIATE;
        assert_eq!(half_open.owns(&header), due);
    }
    let (_, request, half_open) = about_to_authenticate(&mut a, &mut b);
    header = Message::parse(&request[0]).unwrap().header;
    for exchange in 0..=255 {
        header.exchange = exchange;
        let due = exchange == exchange::IKE_AUTH || exchange == exchange::IKE_INTERMEDIATE;
        assert_eq!(half_open.owns(&header), due);
    }
}
