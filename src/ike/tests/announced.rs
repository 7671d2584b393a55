//! Announcements of node certificates: what is taken of them, and what an answer means.

use super::*;

fn certificates(digests: &[&[u8]]) -> Vec<Payload> {
    let notifies = digests.iter();
    notifies
        .map(|d| notify(kind::NODE_CERTIFICATE, d))
        .collect()
}

fn two(now: u8, also: u8) -> Presented {
    Presented {
        now: [now; 32],
        also: Some([also; 32]),
    }
}

#[test]
fn one_or_two_digests_take_the_place_of_what_was_named_and_are_repeated() {
    let mut pair = established();
    let both = certificates(&[&[8; 32], &[1; 32]]);
    let (_, answer) = pair.ask(exchange::INFORMATIONAL, &both);
    assert_eq!(answer, both);
    assert_eq!(pair.responder.origin.certificate, Some(two(8, 1)));
    let (_, answer) = pair.ask(exchange::INFORMATIONAL, &certificates(&[&[8; 32]]));
    assert_eq!(answer, certificates(&[&[8; 32]]));
    assert_eq!(pair.responder.origin.certificate, Some([8; 32].into()));
    assert_eq!(pair.responder.children().len(), 1);
}

#[test]
fn three_digests_and_odd_lengths_are_not_taken_and_nothing_else_happens() {
    let mut pair = established();
    let odd: [&[&[u8]]; 4] = [
        &[&[8; 32], &[1; 32], &[9; 32]],
        &[&[8; 31]],
        &[&[8; 32], &[1; 33]],
        &[&[]],
    ];
    for digests in odd {
        let (_, answer) = pair.ask(exchange::INFORMATIONAL, &certificates(digests));
        assert!(answer.is_empty());
        assert_eq!(pair.responder.origin.certificate, Some([1; 32].into()));
        assert!(!pair.responder.is_closing());
    }
}

#[test]
fn a_peer_that_takes_no_announcement_hears_the_certificate_in_use_by_a_new_connection() {
    let mut pair = established();
    let ours = two(1, 9);
    assert!(pair.initiator.must_announce(ours));
    // It answers with nothing. What we present it knows, so that waits, and is not said again.
    pair.initiator.announced(ours, &[]);
    assert!(!pair.initiator.must_announce(ours));
    assert!(!pair.initiator.is_closing());
    assert_eq!(pair.initiator.origin.told, [1; 32].into());
    let ours = two(9, 1);
    assert!(pair.initiator.must_announce(ours));
    pair.initiator.announced(ours, &certificates(&[&[9; 32]]));
    assert!(pair.initiator.is_closing(), "half of it is not all");
}

#[test]
fn nothing_is_announced_to_a_peer_that_names_no_certificate() {
    let mut pair = established();
    pair.initiator.origin.certificate = None;
    assert!(!pair.initiator.must_announce([9; 32].into()));
}

#[test]
fn only_one_announcement_is_under_way_even_under_two_ike_sas() {
    let mut pair = established();
    pair.a.credentials.certificate = two(1, 9);
    pair.initiator.advance(&mut pair.a.context(0));
    let request = pair.initiator.poll_transmit().expect("an announcement");
    let ours = Presented::from([9; 32]);
    assert!(!pair.initiator.must_announce(ours));
    let answer = pair.deliver(&request).expect("an answer");
    let message = Message::parse(&answer).unwrap();
    pair.initiator
        .handle(&mut pair.a.context(0), &answer, &message);
    assert_eq!(pair.initiator.origin.told, two(1, 9));
    assert!(pair.initiator.must_announce(ours));
}
