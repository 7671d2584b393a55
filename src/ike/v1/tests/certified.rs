//! A peer's certificate that stops to hold while ISAKMP SA and AH pair stand.

use std::sync::Arc;

use super::*;
use crate::ike::certificate::CertificateError;
use crate::ike::certificate::fake::Fake;
use crate::ike::v1::main_mode::{Initiator, Responder, Step};

/// Two sides with a pair, which authenticated by certificates, and what each thinks of the other's.
fn certified() -> ([Side; 2], [Arc<Fake>; 2]) {
    let fakes = [Arc::new(Fake::new()), Arc::new(Fake::new())];
    let [mut a, mut b] = [1, 2].map(Side::new);
    a.credentials.certified = Some(fakes[0].clone());
    b.credentials.certified = Some(fakes[1].clone());
    handshake(&mut a, &mut b);
    assert_eq!((a.engine.children.len(), b.engine.children.len()), (1, 1));
    ([a, b], fakes)
}

fn expired() -> CertificateError {
    CertificateError::Expired("2026-11-25".into())
}

/// `beginner` begins a main mode to replace what stands; all that follows is delivered.
fn replace(sides: &mut [Side; 2], beginner: usize, now: u64) {
    sides[beginner].act(now, |engine, context| {
        engine.rekey_sa_alone(now);
        engine.advance(context);
    });
    let mut quiet = false;
    while !quiet {
        quiet = true;
        for from in 0..2 {
            for bytes in sides[from].sent() {
                quiet = false;
                sides[1 - from].act(now, |engine, context| engine.handle(context, &bytes));
            }
        }
    }
}

#[test]
fn a_certificate_that_ended_ends_all_when_the_isakmp_sa_is_replaced_by_whomever() {
    for beginner in 0..2 {
        for judge in 0..2 {
            let (mut sides, fakes) = certified();
            replace(&mut sides, beginner, 5_000);
            assert_eq!([0, 1].map(|n| sides[n].engine.rekeys().0), [1, 1]);
            fakes[judge].says(Err(expired()));
            replace(&mut sides, beginner, 20_000);
            let why = Some(Refusal::Certificate(expired()));
            assert_eq!(sides[judge].engine.fault().cloned(), why);
            // As at first contact the other one hears whose fault it is.
            let refused = Some(Refusal::Certificate(CertificateError::ByPeer));
            assert_eq!(sides[1 - judge].engine.fault().cloned(), refused);
            for side in &sides {
                assert!(side.engine.phase1.is_empty() && side.engine.children.is_empty());
            }
        }
    }
}

#[test]
fn a_peer_that_answers_no_main_mode_is_judged_by_what_it_proved_before() {
    for (verdict, stands) in [(Ok(()), true), (Err(expired()), false)] {
        let (mut sides, fakes) = certified();
        let side = &mut sides[0];
        fakes[0].says_later(verdict);
        side.act(1_000, |engine, context| {
            engine.rekey_sa_alone(1_000);
            engine.advance(context);
        });
        while let Some(now) = side.engine.due().filter(|now| *now < 14_000) {
            side.act(now, |engine, context| engine.advance(context));
        }
        assert_eq!(side.engine.phase1.len(), usize::from(stands));
        assert_eq!(side.engine.children.len(), usize::from(stands));
    }
}

#[test]
fn a_main_mode_by_another_certificate_that_is_refused_ends_nothing() {
    for judge in 0..2 {
        let (mut sides, fakes) = certified();
        // Nothing proves that the peer sent it.
        fakes[judge].says_first(Err(expired()));
        replace(&mut sides, 0, 1_000);
        let engine = &sides[judge].engine;
        assert!(!engine.phase1.is_empty() && !engine.children.is_empty());
    }
}

/// It was told as a refusal of the peer, whatever a firewall on the way did.
#[test]
fn silence_after_our_certificate_is_told_as_silence() {
    let [mut a, mut b] = [1, 2].map(Side::new);
    for side in [&mut a, &mut b] {
        side.credentials.certified = Some(Arc::new(Fake::new()));
    }
    a.act(0, |engine, context| engine.advance(context));
    let second = b.handle(&a.sent()[0]);
    let third = a.handle(&second[0]);
    let fourth = b.handle(&third[0]);
    assert_eq!(a.handle(&fourth[0]).len(), 1);
    a.act(13_000, |engine, context| engine.advance(context));
    let said = a.engine.fault().map(ToString::to_string);
    assert!(
        said.as_ref()
            .is_some_and(|said| said.contains("no answer to our certificate")),
        "{said:?}"
    );
}

/// Each of many proofs that do not convince cost signatures, under one key exchange.
#[test]
fn of_an_address_that_is_not_listed_one_proof_is_looked_at() {
    let [mut a, mut b] = [1, 2].map(Side::new);
    let judge = Arc::new(Fake::new());
    a.credentials.certified = Some(Arc::new(Fake::new()));
    b.credentials.certified = Some(judge.clone());
    let (mut initiator, first) = a
        .act(0, |_, context| Initiator::start(context, true))
        .unwrap();
    let header = Header::parse(&first).unwrap().0;
    let begun = b.act(0, |_, context| Responder::start(context, &header, &first));
    let (responder, second) = begun.unwrap().unwrap();
    let mut responder = responder.unlisted();
    let mut receive = |bytes: &[u8]| {
        let header = Header::parse(bytes).unwrap().0;
        let step = a.act(0, |_, context| initiator.receive(context, &header, bytes));
        let Step::Send(next) = step else {
            panic!("the initiator does not go on");
        };
        next
    };
    let third = receive(&second);
    let step = b.act(0, |_, context| responder.receive(context, &third));
    let Step::Send(fourth) = step else {
        panic!("no key exchange");
    };
    let fifth = receive(&fourth);
    judge.says(Err(expired()));
    let step = b.act(0, |_, context| responder.receive(context, &fifth));
    assert!(matches!(step, Step::Hint(_)));
    judge.says(Ok(()));
    let step = b.act(0, |_, context| responder.receive(context, &fifth));
    assert!(matches!(step, Step::Nothing));
}
