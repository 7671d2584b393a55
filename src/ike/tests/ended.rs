//! What ends an IKE SA, and what does not come back with it.

use super::additional::plain;
use super::*;
use crate::ike::session::{Incoming, Session};

/// What the initiator asks next arrives: which exchange it is, and who is to answer.
fn heard(pair: &mut Pair) -> (u8, &mut Session) {
    let request = pair.initiator.poll_transmit().unwrap();
    let message = Message::parse(&request).unwrap();
    let theirs = &mut pair.responder.sessions[0];
    let heard = theirs.receive(&mut Dropped::default(), &request, &message);
    assert!(matches!(heard, Incoming::Fresh(_)));
    (message.header.exchange, theirs)
}

/// It stood as up until the peer's silence was noticed, and the reason was lost.
#[test]
fn a_peer_that_says_that_it_has_no_sa_ends_it_at_once_with_its_reason() {
    for (kind, reason) in [
        (kind::AUTHENTICATION_FAILED, Refusal::AuthenticationFailed),
        (kind::INVALID_SYNTAX, Refusal::unread()),
    ] {
        let mut pair = established();
        let (_, answer) = pair.ask(exchange::INFORMATIONAL, &[notify(kind, &[])]);
        assert!(answer.is_empty());
        assert_eq!(pair.responder.ended(), Some(End::Closed(Some(reason))));
    }
}

#[test]
fn invalid_syntax_is_the_end_for_who_says_it_and_who_hears_it() {
    let mut pair = established();
    let (_, answer) = pair.ask(exchange::CREATE_CHILD_SA, &[]);
    assert_eq!(error_of(&answer), Some(kind::INVALID_SYNTAX));
    assert!(pair.responder.is_closing());

    let mut pair = established();
    pair.initiator
        .expire(0, pair.initiator.children()[0].spi_in);
    pair.initiator.advance(&mut pair.a.context(0));
    let (exchange, theirs) = heard(&mut pair);
    let answer = theirs.respond(exchange, &[notify(kind::INVALID_SYNTAX, &[])]);
    let message = Message::parse(&answer[0]).unwrap();
    let context = &mut pair.a.context(0);
    pair.initiator.handle(context, &answer[0], &message);
    assert!(pair.initiator.is_closing());
}

/// Its pairs came back with it, and began to count anew under keys that had sent.
#[test]
fn an_ike_sa_that_comes_after_the_end_was_decided_ends_as_well() {
    let mut pair = established_with(plain());
    pair.initiator.rekey_sa_alone(0);
    pair.initiator.advance(&mut pair.a.context(0));
    let request = pair.initiator.poll_transmit().unwrap();
    pair.initiator.close();
    let answer = pair.deliver(&request).unwrap();
    let message = Message::parse(&answer).unwrap();
    let context = &mut pair.a.context(0);
    pair.initiator.handle(context, &answer, &message);
    assert_eq!(pair.initiator.sessions.len(), 2, "the new one came");
    assert!(pair.initiator.is_closing());
}

#[test]
fn an_ike_sa_that_comes_after_a_request_without_sense_ends_as_well() {
    let mut pair = established_with(plain());
    pair.responder.rekey_sa_alone(0);
    pair.responder.advance(&mut pair.b.context(0));
    let request = pair.responder.poll_transmit().unwrap();
    let message = Message::parse(&request).unwrap();
    let context = &mut pair.a.context(0);
    pair.initiator.handle(context, &request, &message);
    let answer = pair.initiator.poll_transmit().unwrap();
    pair.ask(exchange::CREATE_CHILD_SA, &[]);
    while pair.responder.poll_transmit().is_some() {}
    let message = Message::parse(&answer).unwrap();
    let context = &mut pair.b.context(0);
    pair.responder.handle(context, &answer, &message);
    assert_eq!(pair.responder.sessions.len(), 2, "the new one came");
    assert!(pair.responder.is_closing());
}

/// It was never replaced again, and ended with all of it after twice its time.
#[test]
fn a_pair_whose_successor_the_peer_deletes_gets_another() {
    let mut pair = established();
    let payloads = pair.rekey_request();
    pair.ask(exchange::CREATE_CHILD_SA, &payloads);
    let [old, new] = pair.responder.children() else {
        panic!("not two pairs");
    };
    assert_eq!(old.rekey_at, u64::MAX);
    let delete = Payload::Delete(Delete::ah(new.spi_out));
    pair.ask(exchange::INFORMATIONAL, &[delete]);
    let [old] = pair.responder.children() else {
        panic!("not one pair");
    };
    assert!(old.rekey_at <= 2_000);
}

/// It showed as `no answer on UDP 500`, though an answer had come.
#[test]
fn silence_after_the_first_answer_is_told_apart() {
    for (profile, refusal) in [
        (plain(), Refusal::unanswered()),
        (Profile::default(), Refusal::unproven()),
    ] {
        let (mut a, mut b) = (Side::new(1), Side::new(2));
        (a.profile, b.profile) = (profile.clone(), profile);
        let (mut authenticating, ..) = about_to_authenticate(&mut a, &mut b);
        assert_eq!(authenticating.timeout(14_000).unwrap_err(), refusal);
    }
}

/// Of an answer to a Delete that could not be read came another Delete, and so on.
#[test]
fn an_answer_that_cannot_be_read_ends_the_ike_sa_and_one_to_a_delete_at_once() {
    for deletes in [true, false] {
        let mut pair = established();
        match deletes {
            true => pair.initiator.close(),
            false => {
                let spi = pair.initiator.children()[0].spi_in;
                pair.initiator.expire(0, spi);
            }
        }
        pair.initiator.advance(&mut pair.a.context(0));
        let (exchange, theirs) = heard(&mut pair);
        let short = Payload::Other {
            kind: Payload::Nonce(Vec::new()).kind(),
            body: vec![1],
        };
        let answer = theirs.respond(exchange, &[short]);
        let message = Message::parse(&answer[0]).unwrap();
        let context = &mut pair.a.context(0);
        pair.initiator.handle(context, &answer[0], &message);
        pair.initiator.advance(&mut pair.a.context(0));
        assert_eq!(pair.initiator.poll_transmit().is_none(), deletes);
        assert_eq!(pair.initiator.ended().is_some(), deletes);
        assert!(pair.initiator.is_closing());
    }
}
