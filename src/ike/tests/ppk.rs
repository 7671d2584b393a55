//! A post-quantum key: it takes part in what both derive, and nobody who proves nothing is told
//! of it.

use super::*;
use crate::ike::ppk::Mismatch;

fn key(secret: u8) -> Option<Ppk> {
    Some(Ppk {
        id: b"lab".to_vec(),
        secret: Zeroizing::new(vec![secret; 32]),
    })
}

/// What both sides make of IKE_AUTH: the initiator and the responder, if they refuse.
fn refusals(mut a: Side, mut b: Side) -> (Refusal, Refusal) {
    let (authenticating, request, half_open) = about_to_authenticate(&mut a, &mut b);
    let message = Message::parse(&request[0]).unwrap();
    let step = Box::new(half_open).receive(&mut b.context(0), &request[0], &message);
    let HalfOpenStep::Reply(_, answer, Some(ours)) = step else {
        panic!("not refused");
    };
    let message = Message::parse(&answer[0]).unwrap();
    let step = authenticating.receive(&mut a.context(0), &answer[0], &message);
    let AuthStep::Failed(theirs, _) = step else {
        panic!("the refusal was not taken");
    };
    (theirs, ours)
}

#[test]
fn who_has_no_post_quantum_key_is_told_so_only_if_it_proves_itself_otherwise() {
    let sides = || {
        let (a, mut b) = (Side::new(1), Side::new(2));
        b.credentials.ppk = key(1);
        (a, b)
    };
    let (a, b) = sides();
    let known = (Mismatch::WeHaveNone, Mismatch::PeerHasNone);
    let known = (Refusal::Ppk(known.0), Refusal::Ppk(known.1));
    assert_eq!(refusals(a, b), known);
    let (mut a, b) = sides();
    a.credentials.key = Zeroizing::new(b"another".to_vec());
    let refused = || Refusal::AuthenticationFailed;
    // What else it may be is in our words, which it does not hear.
    let (theirs, ours) = refusals(a, b);
    assert_eq!((theirs, ours), (refused(), refused()));
}

#[test]
fn the_same_exchanges_give_other_keys_with_each_post_quantum_key() {
    let child = |secret: Option<u8>| {
        let (mut a, mut b) = (Side::new(1), Side::new(2));
        for side in [&mut a, &mut b] {
            side.credentials.ppk = secret.and_then(key);
        }
        let pair = established_between(a, b);
        let (a, b) = (&pair.initiator.children()[0], &pair.responder.children()[0]);
        assert_eq!((&a.key_in, &a.key_out), (&b.key_out, &b.key_in));
        a.key_in.clone()
    };
    // All else being equal, as nonces and private keys come from the same seeds.
    assert_eq!(child(None), child(None));
    let all = [child(None), child(Some(1)), child(Some(2))];
    assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
}

#[test]
fn a_cookie_and_another_group_do_not_take_the_word_away() {
    let mut a = Side::new(1);
    a.credentials.ppk = key(1);
    a.profile.ike.truncate(1);
    let other = Suite {
        group: suite::Group::P256,
        ..a.profile.ike[0]
    };
    a.profile.ike.push(other);
    let (initiator, mut request) = Initiator::start(&mut a.context(0)).unwrap();
    let mut initiator = Box::new(initiator);
    for demand in [
        notify(kind::COOKIE, &[5; 20]),
        notify(kind::INVALID_KE_PAYLOAD, &[0, 19]),
    ] {
        let mut message = Message::parse(&request).unwrap();
        assert!(Parts::of(&message.payloads).notify(kind::USE_PPK).is_some());
        message.header.response = true;
        message.header.from_initiator = false;
        message.payloads = vec![demand];
        let answer = message.encode();
        let step = initiator.receive(&mut a.context(0), &answer, &message);
        let InitStep::Again(next, again) = step else {
            panic!("not asked again");
        };
        (initiator, request) = (next, again);
    }
    let message = Message::parse(&request).unwrap();
    assert!(Parts::of(&message.payloads).notify(kind::USE_PPK).is_some());
}
