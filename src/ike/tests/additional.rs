//! The additional key exchange: never left out, never under the wrong keys.

use super::*;

/// The suites of a cluster that also takes foreign peers, the stronger first.
fn mixed() -> Profile {
    let mut profile = Profile::default();
    profile.ike.truncate(1);
    let plain = Suite {
        additional: None,
        ..profile.ike[0]
    };
    profile.ike.push(plain);
    profile
}

pub(super) fn plain() -> Profile {
    let mut profile = mixed();
    profile.ike.remove(0);
    profile
}

#[test]
fn a_repeated_intermediate_request_gets_its_answer_under_the_old_keys() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    let (initiator, first) = Initiator::start(&mut a.context(0)).unwrap();
    let Answer::Open(half_open, answer) = init::respond(&mut b.context(0), &first, None) else {
        panic!("the first request was refused");
    };
    let message = Message::parse(&answer).unwrap();
    let step = Box::new(initiator).receive(&mut a.context(0), &answer, &message);
    let InitStep::Intermediate(_, request) = step else {
        panic!("no IKE_INTERMEDIATE");
    };
    assert_eq!(request.len(), 2);
    let (mut half_open, answer) = in_parts(half_open, &mut b, &request);
    // Its first fragment alone brings the answer again, the others nothing.
    for (part, answered) in request.iter().zip([true, false]) {
        let message = Message::parse(part).unwrap();
        assert!(half_open.owns(&message.header));
        let step = half_open.receive(&mut b.context(0), part, &message);
        half_open = match step {
            HalfOpenStep::Reply(next, again, None) if answered => {
                assert_eq!(again, answer);
                next
            }
            HalfOpenStep::Ignored(next) if !answered => next,
            _ => panic!("neither ignored nor repeated"),
        };
    }
}

#[test]
fn a_proposal_taken_away_on_the_path_fails_authentication() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    (a.profile, b.profile) = (mixed(), mixed());
    let (initiator, first) = Initiator::start(&mut a.context(0)).unwrap();
    let mut message = Message::parse(&first).unwrap();
    for payload in &mut message.payloads {
        if let Payload::Sa(proposals) = payload {
            proposals.remove(0);
        }
    }
    let weakened = message.encode();
    let Answer::Open(half_open, answer) = init::respond(&mut b.context(0), &weakened, None) else {
        panic!("the first request was refused");
    };
    let message = Message::parse(&answer).unwrap();
    let step = Box::new(initiator).receive(&mut a.context(0), &answer, &message);
    let InitStep::Next(_, request) = step else {
        panic!("the weaker proposal was not taken");
    };
    let message = Message::parse(&request[0]).unwrap();
    let step = half_open.receive(&mut b.context(0), &request[0], &message);
    let HalfOpenStep::Reply(_, _, refusal) = step else {
        panic!("accepted");
    };
    assert_eq!(refusal, Some(Refusal::AuthenticationFailed));
}

#[test]
fn a_peer_without_the_second_key_exchange_is_refused() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    let refused = |answer| match answer {
        Answer::Refuse(_, refusal) => refusal,
        _ => panic!("not refused"),
    };
    a.profile = plain();
    let (_, first) = Initiator::start(&mut a.context(0)).unwrap();
    let answer = init::respond(&mut b.context(0), &first, None);
    assert_eq!(refused(answer), Some(Refusal::NoProposal));
    // One that offers it, but could not do it.
    a.profile = Profile::default();
    for missing in [
        kind::IKEV2_FRAGMENTATION_SUPPORTED,
        kind::INTERMEDIATE_EXCHANGE_SUPPORTED,
    ] {
        let (_, first) = Initiator::start(&mut a.context(0)).unwrap();
        let mut message = Message::parse(&first).unwrap();
        message.payloads.retain(|p| *p != notify(missing, &[]));
        let answer = init::respond(&mut b.context(0), &message.encode(), None);
        assert_eq!(refused(answer), Some(Refusal::NoProposal));
    }
}

#[test]
fn a_rekey_never_leaves_the_second_key_exchange_out() {
    let mut pair = established_with(mixed());
    let suite = plain().ike[0];
    let session = &mut pair.initiator.sessions[0];
    assert!(session.suite.additional.is_some());
    session.suite = suite;
    let mut context = pair.a.context(0);
    let (payloads, _) = pair.initiator.rekey_sa(&mut context, 0);
    let (_, answer) = pair.ask(exchange::CREATE_CHILD_SA, &payloads);
    assert_eq!(error_of(&answer), Some(kind::NO_PROPOSAL_CHOSEN));
    assert_eq!(pair.responder.sessions.len(), 1);
}

#[test]
fn a_follow_up_needs_its_link_and_comes_in_time() {
    let ask = |link: Option<&[u8]>, wait_ms: u64| {
        let mut pair = established();
        let (payloads, _) = pair.initiator.rekey_sa(&mut pair.a.context(0), 0);
        let (_, answer) = pair.ask(exchange::CREATE_CHILD_SA, &payloads);
        let parts = Parts::of(&answer);
        let theirs = parts.notify(kind::ADDITIONAL_KEY_EXCHANGE).unwrap();
        // No SA yet: half of the secrets are missing.
        assert_eq!(pair.responder.sessions.len(), 1);
        pair.responder.advance(&mut pair.b.context(wait_ms));
        while pair.responder.poll_transmit().is_some() {}
        let link = link.unwrap_or(&theirs.data);
        let ke = crate::wire::isakmp::KeyExchange {
            group: 36,
            data: group::Decapsulation::new(&mut pair.a.random).public,
        };
        let payloads = [Payload::Ke(ke), notify(kind::ADDITIONAL_KEY_EXCHANGE, link)];
        let session = &mut pair.initiator.sessions[0];
        let exchange = exchange::IKE_FOLLOWUP_KE;
        let request = session.request(0, exchange, &payloads, Purpose::Liveness);
        assert_eq!(request.len(), 2);
        assert_eq!(pair.deliver(&request[0]), None);
        let answer = pair.deliver(&request[1]).expect("an answer");
        let message = Message::parse(&answer).unwrap();
        let (_, content) = pair.initiator.sessions[0]
            .answer(&mut Dropped::default(), &answer, &message)
            .unwrap();
        let error = error_of(&content.payloads.unwrap());
        (error, pair.responder.sessions.len())
    };
    assert_eq!(ask(None, 0), (None, 2));
    assert_eq!(ask(Some(&[7; 8]), 0), (Some(kind::STATE_NOT_FOUND), 1));
    assert_eq!(ask(Some(&[]), 0), (Some(kind::STATE_NOT_FOUND), 1));
    assert_eq!(ask(None, 5_000), (None, 2));
    assert_eq!(ask(None, 21_000), (Some(kind::STATE_NOT_FOUND), 1));
}

#[test]
fn a_peer_that_dies_in_the_middle_of_a_replacement_is_noticed_as_soon_as_any_other() {
    let mut pair = established();
    let (payloads, _) = pair.initiator.rekey_sa(&mut pair.a.context(0), 0);
    pair.ask(exchange::CREATE_CHILD_SA, &payloads);
    for _ in 0..20 {
        let due = pair.responder.due().unwrap();
        pair.responder.advance(&mut pair.b.context(due));
        if pair.responder.ended().is_some() {
            assert!(due <= 20_000, "after {due} ms");
            return;
        }
    }
    panic!("it is not noticed");
}
