//! What is refused or ignored though the keys are right: another identity, payloads of IKEv1.

use super::*;

const NINE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

#[test]
fn an_initiator_that_names_another_address_than_its_own_fails_under_the_right_key() {
    for (source, refused) in [(9, false), (1, true)] {
        let (mut a, mut b) = (Side::new(1), Side::new(2));
        (a.local, b.remote) = (NINE, NINE);
        let (authenticating, request, half_open) = about_to_authenticate(&mut a, &mut b);
        b.remote = IpAddr::from([10, 0, 0, source]);
        let message = Message::parse(&request[0]).unwrap();
        let step = Box::new(half_open).receive(&mut b.context(0), &request[0], &message);
        match step {
            HalfOpenStep::Established(..) => assert!(!refused, "from 10.0.0.{source}"),
            HalfOpenStep::Reply(_, answer, refusal) => {
                assert!(refused, "from 10.0.0.{source}");
                assert_eq!(refusal, Some(Refusal::AuthenticationFailed));
                let message = Message::parse(&answer[0]).unwrap();
                let step = authenticating.receive(&mut a.context(0), &answer[0], &message);
                let AuthStep::Failed(refusal, _) = step else {
                    panic!("the refusal was not taken");
                };
                assert_eq!(refusal, Refusal::AuthenticationFailed);
            }
            HalfOpenStep::Ignored(_) => panic!("no answer"),
        }
    }
}

#[test]
fn a_responder_that_names_another_address_than_its_own_fails_under_the_right_key() {
    for (source, refused) in [(9, false), (2, true)] {
        let (mut a, mut b) = (Side::new(1), Side::new(2));
        (b.local, a.remote) = (NINE, NINE);
        let (authenticating, request, half_open) = about_to_authenticate(&mut a, &mut b);
        let message = Message::parse(&request[0]).unwrap();
        let step = Box::new(half_open).receive(&mut b.context(0), &request[0], &message);
        let HalfOpenStep::Established(_, answer, _) = step else {
            panic!("IKE_AUTH was refused");
        };
        a.remote = IpAddr::from([10, 0, 0, source]);
        let message = Message::parse(&answer[0]).unwrap();
        match authenticating.receive(&mut a.context(0), &answer[0], &message) {
            AuthStep::Established(_) => assert!(!refused, "from 10.0.0.{source}"),
            AuthStep::Failed(refusal, _) => {
                assert!(refused, "from 10.0.0.{source}: {refusal:?}");
                assert_eq!(refusal, Refusal::AuthenticationFailed);
            }
            AuthStep::Ignored(_) => panic!("ignored"),
        }
    }
}

/// strongSwan's CVE-2015-3991: payloads of the other version behind right keys.
#[test]
fn payloads_of_ikev1_under_protection_change_nothing() {
    for number in 1..=32 {
        let mut pair = established();
        for len in [0, 4, 8, 40] {
            let body = vec![2; len];
            let strange = Payload::Other { kind: number, body };
            let (_, answer) = pair.ask(exchange::INFORMATIONAL, std::slice::from_ref(&strange));
            assert!(answer.is_empty(), "payload {number}");
            let mut payloads = pair.rekey_request();
            payloads.retain(|p| !matches!(p, Payload::Sa(_)));
            payloads.push(strange);
            let (_, answer) = pair.ask(exchange::CREATE_CHILD_SA, &payloads);
            assert!(error_of(&answer).is_some(), "payload {number} for an SA");
            if pair.responder.is_closing() {
                pair = established();
            }
        }
        assert_eq!(pair.responder.children().len(), 1);
    }
}

/// Both ends go on until the connection is over; when that was, and why.
fn over(pair: &mut Pair, upto: u64) -> (u64, Option<End>) {
    let mut now = 0;
    while pair.initiator.ended().is_none() && now < upto {
        let due = [pair.initiator.due(), pair.responder.due()];
        now = due.into_iter().flatten().min().unwrap();
        pair.initiator.advance(&mut pair.a.context(now));
        pair.responder.advance(&mut pair.b.context(now));
        loop {
            if let Some(bytes) = pair.initiator.poll_transmit() {
                let message = Message::parse(&bytes).unwrap();
                pair.responder
                    .handle(&mut pair.b.context(now), &bytes, &message);
            } else if let Some(bytes) = pair.responder.poll_transmit() {
                let message = Message::parse(&bytes).unwrap();
                pair.initiator
                    .handle(&mut pair.a.context(now), &bytes, &message);
            } else {
                break;
            }
        }
    }
    let end = pair.initiator.ended();
    // From then on it waits for what the peer may send yet, and for nothing that is past.
    for side in 0..2 {
        let (connection, world) = match side {
            0 => (&mut pair.initiator, &mut pair.a),
            _ => (&mut pair.responder, &mut pair.b),
        };
        let (mut now, mut looks) = (now, 0);
        while let Some(due) = connection.due().filter(|_| !connection.is_spent()) {
            now = now.max(due);
            looks += 1;
            assert!(looks < 100, "its timer stands still");
            connection.advance(&mut world.context(now));
            while connection.poll_transmit().is_some() {}
        }
    }
    (now, end)
}

/// It asked again every two seconds, until the kernel ended the pair, and showed the tunnel as up.
#[test]
fn what_a_peer_refuses_to_replace_for_good_ends_the_connection_in_time() {
    use crate::ike::suite::Integrity::{HmacSha2_256_128, HmacSha2_512_256};
    let lifetimes = Lifetimes::default();
    let mut pair = established();
    (pair.a.profile.ah, pair.b.profile.ah) = (vec![HmacSha2_256_128], vec![HmacSha2_512_256]);
    let (at, end) = over(&mut pair, 3 * lifetimes.child_ms);
    assert!(at <= lifetimes.child_ms * 2, "after {at} ms: {end:?}");
    let words = Some(End::Closed(Some(Refusal::not_replaced())));
    assert!(end == words || end == Some(End::Closed(None)), "{end:?}");
    // Nor does an IKE SA go on for ever that nobody replaces.
    let mut pair = established();
    pair.initiator.sessions[0].rekey_at = u64::MAX;
    pair.responder.sessions[0].rekey_at = u64::MAX;
    let (at, end) = over(&mut pair, 3 * lifetimes.ike_ms);
    assert!(at <= lifetimes.ike_ms * 2, "after {at} ms: {end:?}");
    assert!(
        pair.initiator.rekeys.1 > 0,
        "pairs were replaced all the same"
    );
}

/// Each side could delete another one of the two, and none was left.
#[test]
fn of_a_pair_and_its_successor_the_successor_stays_whatever_their_nonces() {
    for (older, newer) in [(1, 9), (9, 1)] {
        let mut pair = established();
        let mut successor = pair.responder.children[0].clone();
        pair.responder.children[0].low_nonce = vec![older];
        successor.replaces = Some(successor.spi_in);
        successor.spi_in += 1;
        successor.low_nonce = vec![newer];
        pair.responder.children.push(successor);
        pair.responder.advance(&mut pair.b.context(60_000));
        let gone: Vec<bool> = pair.responder.children.iter().map(|c| c.delete).collect();
        assert_eq!(gone, [true, false]);
    }
}
