//! What is refused or ignored though the keys are right: another identity, AH without an algorithm,
//! payloads of IKEv2; and aggressive mode wherever a cookie of ours is known.

use super::*;
use crate::wire::isakmp::Attribute;

/// Main mode up to the message that `b` has to check, where `a` uses the address 10.0.0.9 and says
/// so; the packet of the fifth message comes from `source`.
fn identified_as_nine(source: u8) -> (Side, Side, Vec<Vec<u8>>) {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    let nine = IpAddr::from([10, 0, 0, 9]);
    (a.local, b.remote) = (nine, nine);
    a.act(0, |engine, context| engine.advance(context));
    let second = b.handle(&a.sent()[0]);
    let third = a.handle(&second[0]);
    let fourth = b.handle(&third[0]);
    let fifth = a.handle(&fourth[0]);
    b.remote = IpAddr::from([10, 0, 0, source]);
    let answers = b.handle(&fifth[0]);
    (a, b, answers)
}

#[test]
fn an_initiator_that_names_another_address_than_its_own_fails_under_the_right_key() {
    let (_, b, answers) = identified_as_nine(9);
    assert_eq!((answers.len(), b.engine.phase1.len()), (1, 1));
    let (mut a, b, answers) = identified_as_nine(1);
    assert!(b.engine.phase1.is_empty());
    for answer in answers {
        a.handle(&answer);
    }
    assert!(a.engine.phase1.is_empty());
}

#[test]
fn a_responder_that_names_another_address_than_its_own_fails_under_the_right_key() {
    for (source, believed) in [(9, 1), (2, 0)] {
        let (mut a, mut b) = (Side::new(1), Side::new(2));
        let nine = IpAddr::from([10, 0, 0, 9]);
        (b.local, a.remote) = (nine, nine);
        a.act(0, |engine, context| engine.advance(context));
        let second = b.handle(&a.sent()[0]);
        let third = a.handle(&second[0]);
        let fourth = b.handle(&third[0]);
        let fifth = a.handle(&fourth[0]);
        let sixth = b.handle(&fifth[0]);
        assert_eq!(sixth.len(), 1);
        a.remote = IpAddr::from([10, 0, 0, source]);
        a.handle(&sixth[0]);
        assert_eq!(a.engine.phase1.len(), believed, "from 10.0.0.{source}");
        assert!(a.engine.children.is_empty());
    }
}

/// Libreswan's CVE-2023-30570: an aggressive mode message with the responder's cookie of main mode.
#[test]
fn aggressive_mode_with_a_cookie_of_ours_is_ignored_at_every_step() {
    let odd = |header: Header, payloads: &[v1::Payload]| {
        [0, exchange::AGGRESSIVE, exchange::MAIN | 4].map(|number| {
            let mut bytes = v1::encode(&header, payloads);
            bytes[18] = number;
            bytes
        })
    };
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    a.act(0, |engine, context| engine.advance(context));
    let first = a.sent().remove(0);
    let (mut header, payloads) = v1::parse(&first).unwrap();
    let mut to_b = vec![first];
    let mut answered = 0;
    while let Some(message) = to_b.pop() {
        let seconds = b.handle(&message);
        for second in &seconds {
            header.cky_r = Header::parse(second).unwrap().0.cky_r;
            for encrypted in [false, true] {
                header.flags = u8::from(encrypted);
                for bytes in odd(header, &payloads) {
                    assert!(b.handle(&bytes).is_empty(), "after {answered} answers");
                    assert!(a.handle(&bytes).is_empty(), "after {answered} answers");
                }
            }
            answered += 1;
            to_b.extend(a.handle(second));
        }
    }
    // What stands between was not harmed.
    assert_eq!(answered, 4);
    let (x, y) = (a.engine.outbound().unwrap(), b.engine.outbound().unwrap());
    assert_eq!(x.key_in, y.key_out);
}

/// Groups that are too weak or unknown, and numbers that other daemons used for themselves
/// (strongSwan's CVE-2014-9221).
const FOREIGN_GROUPS: [u16; 12] = [0, 1, 2, 5, 22, 23, 24, 31, 255, 1_024, 1_033, 65_535];

/// All short attributes of one type in a first proposal become `value`.
fn overwrite(proposals: &mut [v1::Proposal], kind: u16, value: u16) {
    let mut changed = 0;
    for transform in &mut proposals[0].transforms {
        for attribute in &mut transform.attributes {
            if let Attribute::Short(of, old) = attribute
                && *of == kind
            {
                *old = value;
                changed += 1;
            }
        }
    }
    assert!(changed > 0);
}

#[test]
fn foreign_groups_are_refused_in_main_mode_and_in_quick_mode() {
    for group in FOREIGN_GROUPS {
        let (mut a, mut b) = (Side::new(1), Side::new(2));
        a.act(0, |engine, context| engine.advance(context));
        let (header, mut payloads) = v1::parse(&a.sent()[0]).unwrap();
        let mut proposals = v1::parse_sa(&payloads[0].body).unwrap();
        overwrite(&mut proposals, 4, group);
        payloads[0].body = v1::encode_sa(&proposals);
        let answers = b.handle(&v1::encode(&header, &payloads));
        let (header, payloads) = v1::parse(&answers[0]).unwrap();
        assert_eq!(header.exchange, exchange::INFORMATIONAL, "{group}");
        let notify = v1::Notify::parse(&payloads[0].body).unwrap();
        assert_eq!(notify.kind, 14, "{group}");
        assert!(b.engine.half_open.is_empty());

        let (a, mut b, id, mut payloads) = about_to_replace();
        let sa = payloads.iter_mut().find(|p| p.kind == kind::SA).unwrap();
        let mut proposals = v1::parse_sa(&sa.body).unwrap();
        overwrite(&mut proposals, 3, group);
        sa.body = v1::encode_sa(&proposals);
        let pairs = say(&a, &mut b, exchange::QUICK, id, payloads);
        assert_eq!(pairs, 1, "{group}");
    }
}

/// Libreswan's CVE-2023-38712: the second Delete, and the Notify, named what the first freed.
#[test]
fn an_isakmp_sa_that_is_deleted_twice_with_a_notify_ends_once() {
    let payloads = |sa: &phase1::Phase1| {
        let (i, r) = sa.cookies;
        let spi = [i.to_be_bytes(), r.to_be_bytes()].concat();
        let delete = v1::Delete {
            protocol: 1,
            spis: vec![spi.clone(), spi.clone()],
        };
        let notify = |kind| v1::Notify {
            protocol: 1,
            spi: spi.clone(),
            kind,
            data: vec![0, 0, 0, 7],
        };
        let (delete, alive) = (delete.payload(), notify(36_136).payload());
        [
            vec![delete.clone(), delete.clone(), alive.clone()],
            vec![delete.clone(), alive.clone(), delete.clone()],
            vec![alive, delete.clone(), notify(14).payload()],
            vec![delete, notify(24).payload()],
        ]
    };
    for order in 0..4 {
        let (mut a, mut b) = (Side::new(1), Side::new(2));
        handshake(&mut a, &mut b);
        let sa = &a.engine.phase1[0];
        let number = 77u32.to_be_bytes();
        let said = payloads(sa)[order].clone();
        let iv = &mut sa.exchange_iv(77);
        let bytes = sa.seal(exchange::INFORMATIONAL, (77, &[&number]), said, iv);
        for _ in 0..3 {
            b.handle(&bytes);
            assert!(b.engine.phase1.is_empty() && b.engine.children.is_empty());
        }
        // Nobody is the worse for it: the next one stands.
        let (mut a, mut c) = (Side::new(1), Side::new(2));
        std::mem::swap(&mut c.engine, &mut b.engine);
        handshake(&mut a, &mut c);
        assert_eq!((c.engine.phase1.len(), c.engine.children.len()), (1, 1));
    }
}

/// A connection, and `a`'s request to replace its pair, opened: the id and what is behind the HASH.
fn about_to_replace() -> (Side, Side, u32, Vec<v1::Payload>) {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    handshake(&mut a, &mut b);
    a.act(1_000, |engine, context| {
        engine.children[0].child.rekey_at = 1_000;
        engine.advance(context);
    });
    let request = a.sent().remove(0);
    let id = Header::parse(&request).unwrap().0.id;
    let sa = &b.engine.phase1[0];
    let opened = sa.open(&request, &[&id.to_be_bytes()], &sa.exchange_iv(id));
    let payloads = opened.unwrap().payloads.split_off(1);
    (a, b, id, payloads)
}

/// Gives `b` these payloads behind a right HASH; how many pairs it then has.
fn say(a: &Side, b: &mut Side, exchange: u8, id: u32, payloads: Vec<v1::Payload>) -> usize {
    let sa = &a.engine.phase1[0];
    let number = id.to_be_bytes();
    let covers: (u32, &[&[u8]]) = (id, &[&number]);
    let bytes = sa.seal(exchange, covers, payloads, &mut sa.exchange_iv(id));
    b.act(1_000, |engine, context| engine.handle(context, &bytes));
    b.sent();
    b.engine.children.len() + b.engine.phase1[0].answering.len()
}

/// Libreswan's CVE-2024-3652: an AH transform of no algorithm, so without a length of its key.
#[test]
fn ah_without_an_algorithm_that_has_a_key_makes_no_pair() {
    const AUTHENTICATION: u16 = 5;
    let (a, mut b, id, payloads) = about_to_replace();
    assert_eq!(
        say(&a, &mut b, exchange::QUICK, id, payloads),
        3,
        "as it was"
    );
    // The transform's number and its attribute; NULL, HMAC-MD5, DES-MAC, KPDK and unknown ones.
    let odd = [(5, None), (5, Some(0)), (0, Some(5)), (255, Some(255))];
    let same = [0, 1, 2, 3, 4, 8, 251, 252].map(|n: u8| (n, Some(u16::from(n))));
    for (number, attribute) in odd.into_iter().chain(same) {
        let (a, mut b, id, mut payloads) = about_to_replace();
        let sa = payloads.iter_mut().find(|p| p.kind == kind::SA).unwrap();
        let mut proposals = v1::parse_sa(&sa.body).unwrap();
        for transform in &mut proposals[0].transforms {
            transform.id = number;
            let attributes = &mut transform.attributes;
            attributes.retain(|a| !matches!(a, Attribute::Short(AUTHENTICATION, _)));
            attributes.extend(attribute.map(|n| Attribute::Short(AUTHENTICATION, n)));
        }
        sa.body = v1::encode_sa(&proposals);
        let pairs = say(&a, &mut b, exchange::QUICK, id, payloads);
        assert_eq!(pairs, 1, "{number} {attribute:?}");
    }
}

/// strongSwan's CVE-2015-3991: payloads of the other version behind right keys.
#[test]
fn payloads_of_ikev2_under_protection_change_nothing() {
    for number in (21..=255).chain([0]) {
        let (a, mut b, id, payloads) = about_to_replace();
        let strange = |len| v1::Payload::new(number, vec![2; len]);
        for (n, len) in [0, 4, 8, 40].into_iter().enumerate() {
            let id = id.wrapping_add(1 + n as u32);
            let pairs = say(&a, &mut b, exchange::INFORMATIONAL, id, vec![strange(len)]);
            assert_eq!(pairs, 1, "payload {number}");
        }
        // It makes no request of what is none.
        let without_sa = payloads.iter().filter(|p| p.kind != kind::SA).cloned();
        let pairs = without_sa.chain([strange(40)]).collect();
        assert_eq!(
            say(&a, &mut b, exchange::QUICK, id, pairs),
            1,
            "payload {number}"
        );
        assert_eq!(b.engine.phase1.len(), 1);
    }
}

/// A question of dead peer detection that is older than the last one is a replay (RFC 3706
/// section 6.2): it gets no answer.
#[test]
fn an_older_question_whether_we_live_gets_no_answer() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    handshake(&mut a, &mut b);
    let first = a.act(0, |engine, context| engine.phase1[0].ask(context));
    let older = a.engine.phase1[0].question.take();
    let second = a.act(0, |engine, context| engine.phase1[0].ask(context));
    assert_eq!(b.handle(&first).len(), 1);
    assert_eq!(b.handle(&second).len(), 1);
    assert!(b.handle(&first).is_empty(), "as it was sent");
    a.engine.phase1[0].question = older;
    let again = a.act(0, |engine, context| engine.phase1[0].ask_again(context));
    assert!(
        b.handle(&again.unwrap()).is_empty(),
        "under a new message id"
    );
}

/// It asked again and again, until the kernel ended the pair, and showed the tunnel as up.
#[test]
fn a_pair_that_the_peer_refuses_to_replace_for_good_ends_with_its_sa_in_time() {
    use crate::ike::suite::Integrity::{HmacSha2_256_128, HmacSha2_512_256};
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    handshake(&mut a, &mut b);
    (a.profile.ah, b.profile.ah) = (vec![HmacSha2_256_128], vec![HmacSha2_512_256]);
    let lifetime = Lifetimes::default().child_ms;
    let mut now = 0;
    while now < 3 * lifetime && !a.engine.children.is_empty() {
        now = [a.engine.due(), b.engine.due()]
            .into_iter()
            .flatten()
            .min()
            .unwrap();
        a.act(now, |engine, context| engine.advance(context));
        b.act(now, |engine, context| engine.advance(context));
        loop {
            let (mine, theirs) = (a.sent(), b.sent());
            if mine.is_empty() && theirs.is_empty() {
                break;
            }
            for bytes in mine {
                b.act(now, |engine, context| engine.handle(context, &bytes));
            }
            for bytes in theirs {
                a.act(now, |engine, context| engine.handle(context, &bytes));
            }
        }
    }
    assert!(now <= lifetime * 2, "after {now} ms");
}

/// It was answered, and moved the number that the peer's next question must exceed: whoever sees
/// our messages could end every SA, or keep up a dead one.
#[test]
fn a_question_of_ours_that_is_sent_back_to_us_is_nobodys() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    handshake(&mut a, &mut b);
    let own = a.act(0, |engine, context| engine.phase1[0].ask(context));
    let heard = a.engine.heard;
    a.act(100, |engine, context| engine.handle(context, &own));
    assert!(a.sent().is_empty());
    assert_eq!(a.engine.heard, heard, "no sign of life");
    for side in [&mut a, &mut b] {
        side.engine.phase1[0].question = None;
    }
    // One of them has the larger numbers.
    let own = b.act(0, |engine, context| engine.phase1[0].ask(context));
    assert!(b.handle(&own).is_empty());
    let asked = b.act(0, |engine, context| engine.phase1[0].ask(context));
    assert_eq!(a.handle(&asked).len(), 1);
    let asked = a.act(0, |engine, context| engine.phase1[0].ask(context));
    assert_eq!(b.handle(&asked).len(), 1);
}

/// Whoever repeats two messages in the peer's name held back our own attempts for good.
#[test]
fn a_main_mode_that_comes_to_nothing_puts_our_own_off_once() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    let mut began = false;
    let mut now = 0;
    // The peer's main modes end after its third message, and the next begins at once.
    while now < 20_000 && !began {
        b.act(now, |engine, context| {
            engine.abandon(context);
            engine.attempt_at = 0;
            engine.advance(context);
        });
        for first in b.sent() {
            a.act(now, |engine, context| engine.handle(context, &first));
            for second in a.sent() {
                b.act(now, |engine, context| engine.handle(context, &second));
                for third in b.sent() {
                    a.act(now, |engine, context| engine.handle(context, &third));
                }
            }
        }
        a.sent();
        now += 500;
        a.act(now, |engine, context| engine.advance(context));
        began = a.engine.attempt.is_some();
    }
    assert!(began);
}
