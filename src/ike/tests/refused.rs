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
