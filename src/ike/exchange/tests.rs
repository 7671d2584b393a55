//! What strangers get for malformed, foreign and hostile first messages.

mod puzzled;

use std::net::IpAddr;

use super::auth::AuthStep;
use super::demand::Demand;
use super::half_open::HalfOpenStep;
use super::init::{Answer, InitStep, Initiator, respond};
use super::*;
use crate::ike::cookie::Cookies;
use crate::ike::ppk::Mismatch;
use crate::ike::{Credentials, Dropped, Lifetimes, Ppk, Profile, Random, Refusal};
use crate::wire::isakmp::proposal::kind as transform;
use crate::wire::isakmp::{Message, Transform};

struct Counting(u8);

impl Random for Counting {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(5).wrapping_add(13);
            *byte = self.0;
        }
    }
}

fn with<T>(seed: u8, act: impl FnOnce(&mut Context<'_>) -> T) -> T {
    with_ppk(seed, None, act)
}

fn with_ppk<T>(seed: u8, ppk: Option<Ppk>, act: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let credentials = Credentials {
        key: zeroize::Zeroizing::new(b"key".to_vec()),
        certificate: [7; 32].into(),
        certified: None,
        ppk,
        tokens: zeroize::Zeroizing::new([9; 32]),
    };
    let profile = profile();
    act(&mut Context {
        now: 0,
        random: &mut Counting(seed),
        local: IpAddr::from([10, 0, 0, 2]),
        remote: IpAddr::from([10, 0, 0, 1]),
        credentials: &credentials,
        profile: &profile,
        lifetimes: Lifetimes::default(),
        dropped: Dropped::default(),
    })
}

fn profile() -> Profile {
    let suites = ["aes256gcm16-prfsha256-x25519", "aes256-sha384-ecp256"];
    Profile {
        ike: suites.map(|s| s.parse().unwrap()).to_vec(),
        ..Profile::default()
    }
}

/// Our own first request, changed by `change`.
fn request(change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let bytes = with(1, |context| Initiator::start(context).unwrap().1);
    let mut message = Message::parse(&bytes).unwrap();
    change(&mut message);
    message.encode()
}

fn answer(bytes: &[u8]) -> Answer {
    with(2, |context| respond(context, bytes, None))
}

fn refusal_notify(bytes: &[u8]) -> Notify {
    let Answer::Refuse(answer, _) = answer(bytes) else {
        panic!("not refused");
    };
    let message = Message::parse(&answer).unwrap();
    assert!(message.header.response && !message.header.from_initiator);
    match message.payloads.as_slice() {
        [Payload::Notify(notify)] => notify.clone(),
        other => panic!("{other:?}"),
    }
}

fn transforms(message: &mut Message) -> &mut Vec<Transform> {
    match &mut message.payloads[0] {
        Payload::Sa(proposals) => {
            proposals.truncate(1);
            &mut proposals[0].transforms
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn our_own_request_is_accepted() {
    assert!(matches!(answer(&request(|_| {})), Answer::Open(..)));
}

#[test]
fn foreign_proposals_are_refused() {
    let changes: [fn(&mut Vec<Transform>); 7] = [
        |t| t[0] = Transform::with_key_length(transform::ENCR, 20, 128),
        |t| t[0] = Transform::new(transform::ENCR, 20),
        |t| t[1].id = 2,
        |t| t[2].id = 14,
        |t| drop(t.pop()),
        |t| t.push(Transform::new(transform::INTEG, 12)),
        |t| t.push(Transform::new(6, 36)),
    ];
    for change in changes {
        let notify = refusal_notify(&request(|m| change(transforms(m))));
        assert_eq!(notify.kind, kind::NO_PROPOSAL_CHOSEN);
    }
}

/// Groups that are too weak, are none of RFC 8247's or of anybody, and numbers that other daemons
/// used for themselves (strongSwan's CVE-2014-9221).
const FOREIGN_GROUPS: [u16; 14] = [
    0, 1, 2, 3, 5, 22, 23, 24, 255, 1_023, 1_024, 1_033, 1_040, 65_535,
];

#[test]
fn another_group_is_answered_with_ours() {
    for group in FOREIGN_GROUPS.into_iter().chain([14]) {
        for len in [0, 1, 32, 256, 1_024] {
            let bytes = request(|m| match &mut m.payloads[1] {
                Payload::Ke(ke) => (ke.group, ke.data) = (group, vec![7; len]),
                other => panic!("{other:?}"),
            });
            let notify = refusal_notify(&bytes);
            assert_eq!(notify.kind, kind::INVALID_KE_PAYLOAD, "{group}");
            assert_eq!(notify.data, 31u16.to_be_bytes());
        }
    }
}

#[test]
fn a_proposal_of_a_foreign_group_is_refused() {
    for group in FOREIGN_GROUPS {
        let bytes = request(|m| {
            transforms(m)[2].id = group;
            match &mut m.payloads[1] {
                Payload::Ke(ke) => ke.group = group,
                other => panic!("{other:?}"),
            }
        });
        let notify = refusal_notify(&bytes);
        assert_eq!(notify.kind, kind::NO_PROPOSAL_CHOSEN, "{group}");
    }
}

#[test]
fn an_unknown_critical_payload_is_named_and_an_uncritical_one_ignored() {
    let mut bytes = request(|m| {
        m.payloads.push(Payload::Other {
            kind: 99,
            body: vec![1, 2, 3],
        });
    });
    assert!(matches!(answer(&bytes), Answer::Open(..)));
    let at = bytes.len() - 6;
    bytes[at] = 0x80;
    let notify = refusal_notify(&bytes);
    assert_eq!(notify.kind, kind::UNSUPPORTED_CRITICAL_PAYLOAD);
    assert_eq!(notify.data, [99]);
}

#[test]
fn worthless_public_values_are_ignored() {
    for data in [vec![0; 32], vec![1; 31], vec![], vec![9; 33]] {
        let bytes = request(|m| match &mut m.payloads[1] {
            Payload::Ke(ke) => ke.data = data,
            other => panic!("{other:?}"),
        });
        assert!(matches!(answer(&bytes), Answer::Wasted));
    }
}

#[test]
fn headers_that_no_first_request_has_are_ignored() {
    let changes: [fn(&mut Message); 5] = [
        |m| m.header.spi_i = 0,
        |m| m.header.spi_r = 1,
        |m| m.header.id = 1,
        |m| m.header.response = true,
        |m| m.header.from_initiator = false,
    ];
    for change in changes {
        assert!(matches!(answer(&request(change)), Answer::Ignore));
    }
}

#[test]
fn a_cookie_is_demanded_returned_and_bound_to_its_owner() {
    let cookies = Cookies::new(0, &mut Counting(3));
    let (initiator, first) = with(1, Initiator::start).unwrap();
    let demand = Demand {
        cookies: &cookies,
        bits: None,
    };
    let ask = |bytes: &[u8]| with(2, |context| respond(context, bytes, Some(demand)));
    let Answer::Refuse(demand, None) = ask(&first) else {
        panic!("no cookie was demanded");
    };
    let message = Message::parse(&demand).unwrap();
    let step = with(4, |context| {
        Box::new(initiator).receive(context, &demand, &message)
    });
    let InitStep::Again(_, second) = step else {
        panic!("the cookie was not returned");
    };
    assert!(matches!(ask(&second), Answer::Open(..)));
    let mut stolen = Message::parse(&second).unwrap();
    stolen.header.spi_i ^= 1;
    assert!(matches!(ask(&stolen.encode()), Answer::Refuse(_, None)));
}

#[test]
fn an_unauthenticated_refusal_is_only_a_hint() {
    let (initiator, first) = with(1, Initiator::start).unwrap();
    let mut refused = Message::parse(&first).unwrap();
    refused.header.response = true;
    refused.header.from_initiator = false;
    refused.payloads = vec![notify(kind::NO_PROPOSAL_CHOSEN, &[])];
    let bytes = refused.encode();
    let step = with(4, |context| {
        Box::new(initiator).receive(context, &bytes, &refused)
    });
    assert!(matches!(step, InitStep::Hint(_, Refusal::NoProposal)));
}

/// The answer to `request` that holds only `payload`.
fn plain_answer(request: &[u8], payload: Payload) -> (Vec<u8>, Message) {
    let mut message = Message::parse(request).unwrap();
    message.header.response = true;
    message.header.from_initiator = false;
    message.payloads = vec![payload];
    (message.encode(), message)
}

fn step(initiator: Box<Initiator>, request: &[u8], payload: Payload) -> InitStep {
    let (bytes, message) = plain_answer(request, payload);
    with(4, |context| initiator.receive(context, &bytes, &message))
}

#[test]
fn the_group_a_peer_wants_is_tried_once_and_the_cookie_kept() {
    let wants = |group: u16| notify(kind::INVALID_KE_PAYLOAD, &group.to_be_bytes());
    let (initiator, first) = with(1, Initiator::start).unwrap();
    let cookie = notify(kind::COOKIE, &[5; 20]);
    let InitStep::Again(initiator, second) = step(Box::new(initiator), &first, cookie.clone())
    else {
        panic!("the cookie was not returned");
    };
    let InitStep::Again(initiator, third) = step(initiator, &second, wants(19)) else {
        panic!("the other group was not tried");
    };
    let message = Message::parse(&third).unwrap();
    assert_eq!(message.payloads[0], cookie);
    let parts = Parts::of(&message.payloads);
    assert_eq!(parts.ke.unwrap().group, 19);
    assert_eq!(parts.ke.unwrap().data.len(), 64);
    // Back again would be a game that anybody can play with us.
    let again = step(initiator, &third, wants(31));
    assert!(matches!(again, InitStep::Hint(_, Refusal::NoProposal)));
}

#[test]
fn a_group_that_was_not_offered_or_was_used_is_not_tried() {
    let foreign = FOREIGN_GROUPS.map(|group| group.to_be_bytes().to_vec());
    let others = [&[0, 14][..], &[0, 31], &[19], &[]].map(<[u8]>::to_vec);
    for data in foreign.into_iter().chain(others) {
        let (initiator, first) = with(1, Initiator::start).unwrap();
        let wish = notify(kind::INVALID_KE_PAYLOAD, &data);
        let step = step(Box::new(initiator), &first, wish);
        assert!(matches!(step, InitStep::Hint(_, Refusal::NoProposal)));
    }
}

#[test]
fn an_answer_with_another_suite_than_offered_is_ignored() {
    let changes: [fn(&mut Vec<Transform>); 4] = [
        |t| t[1].id = 6,
        |t| t.push(Transform::new(transform::DH, 14)),
        |t| t.push(Transform::new(transform::INTEG, 12)),
        |t| drop(t.remove(0)),
    ];
    for change in changes {
        let (initiator, first) = with(1, Initiator::start).unwrap();
        let Answer::Open(_, answer) = answer(&first) else {
            panic!("refused");
        };
        let mut message = Message::parse(&answer).unwrap();
        change(transforms(&mut message));
        let bytes = message.encode();
        let step = with(4, |context| {
            Box::new(initiator).receive(context, &bytes, &message)
        });
        assert!(matches!(step, InitStep::Ignored(_)));
    }
}

/// The peer said USE_PPK and took the key, and its answer names none: whoever it is did not mean
/// what we mean.
#[test]
fn an_answer_that_does_not_say_that_the_post_quantum_key_was_taken_is_refused() {
    let ppk = || {
        Some(Ppk {
            id: b"lab".to_vec(),
            secret: zeroize::Zeroizing::new(vec![1; 32]),
        })
    };
    /// The other side of `with`, with that key.
    fn begins<T>(ppk: Option<Ppk>, act: impl FnOnce(&mut Context<'_>) -> T) -> T {
        with_ppk(1, ppk, |context| {
            std::mem::swap(&mut context.local, &mut context.remote);
            act(context)
        })
    }
    let finish = |silent: bool| {
        let (initiator, request) = begins(ppk(), |context| Initiator::start(context).unwrap());
        let opened = with_ppk(2, ppk(), |context| respond(context, &request, None));
        let Answer::Open(half_open, answer) = opened else {
            panic!("refused");
        };
        let message = Message::parse(&answer).unwrap();
        let step = begins(ppk(), |context| {
            Box::new(initiator).receive(context, &answer, &message)
        });
        let InitStep::Next(authenticating, auth) = step else {
            panic!("not taken");
        };
        let (half_open, theirs) = match silent {
            true => (half_open.silent_about(&ppk().unwrap()), None),
            false => (half_open, ppk()),
        };
        let message = Message::parse(&auth[0]).unwrap();
        let step = with_ppk(2, theirs, |context| {
            half_open.receive(context, &auth[0], &message)
        });
        let HalfOpenStep::Established(_, answer, _) = step else {
            panic!("the responder refused");
        };
        let message = Message::parse(&answer[0]).unwrap();
        begins(ppk(), |context| {
            authenticating.receive(context, &answer[0], &message)
        })
    };
    assert!(matches!(finish(false), AuthStep::Established(_)));
    let AuthStep::Failed(refusal, farewell) = finish(true) else {
        panic!("established");
    };
    assert!(matches!(refusal, Refusal::Ppk(Mismatch::PeerHasNone)));
    assert!(!farewell.is_empty(), "the peer holds an SA for established");
}

#[test]
fn what_is_wrong_with_a_pair_that_the_peer_wants_is_told() {
    use super::auth::accept_child;
    use crate::ike::proposal;
    let judged = |transport: bool, wide: bool| {
        with(1, |context| {
            let mut payloads = vec![Payload::Sa(proposal::offer_ah(context.profile, 300))];
            if transport {
                payloads.push(notify(kind::USE_TRANSPORT_MODE, &[]));
            }
            if wide {
                payloads.extend(selectors(context, false));
            }
            accept_child(context, &Parts::of(&payloads))
                .map_err(|(kind, why)| (kind, why.to_string()))
        })
    };
    assert!(judged(true, true).is_ok());
    let (kind, why) = judged(false, true).unwrap_err();
    assert_eq!(
        (kind, why.as_str()),
        (kind::NO_PROPOSAL_CHOSEN, "the peer insists on tunnel mode")
    );
    let (kind, why) = judged(true, false).unwrap_err();
    assert_eq!(
        (kind, why.as_str()),
        (
            kind::TS_UNACCEPTABLE,
            "the peer wants other traffic selectors"
        )
    );
}
