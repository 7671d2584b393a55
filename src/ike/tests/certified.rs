//! A peer's certificate that stops to hold while the connection stands.

use super::*;
use crate::ike::certificate::CertificateError;
use crate::ike::certificate::fake::Fake;

/// Two sides that authenticate by certificates, and what each thinks of the other's.
fn certified(profile: &Profile) -> (Pair, [Arc<Fake>; 2]) {
    let fakes = [Arc::new(Fake::new()), Arc::new(Fake::new())];
    let side = |n: u8, fake: &Arc<Fake>| {
        let mut side = Side::new(n);
        side.profile = profile.clone();
        side.credentials.certified = Some(fake.clone());
        side
    };
    let pair = established_between(side(1, &fakes[0]), side(2, &fakes[1]));
    (pair, fakes)
}

/// With the second key exchange and without.
fn profiles() -> [Profile; 2] {
    let mut single = Profile::default();
    for suite in &mut single.ike {
        suite.additional = None;
    }
    [Profile::default(), single]
}

fn expired() -> CertificateError {
    CertificateError::Expired("2026-11-25".into())
}

impl Pair {
    /// Replaces the IKE SA, begun by the initiator of the first one or by its responder, and
    /// delivers all that follows.
    fn replace(&mut self, by_initiator: bool, now: u64) {
        let (beginner, side) = match by_initiator {
            true => (&mut self.initiator, &mut self.a),
            false => (&mut self.responder, &mut self.b),
        };
        beginner.rekey_sa_alone(now);
        beginner.advance(&mut side.context(now));
        self.deliver_all(now);
    }

    fn deliver_all(&mut self, now: u64) {
        let mut quiet = false;
        while !quiet {
            quiet = true;
            let sent: Vec<_> = std::iter::from_fn(|| self.initiator.poll_transmit()).collect();
            for bytes in sent {
                let message = Message::parse(&bytes).unwrap();
                let mut context = self.b.context(now);
                self.responder.handle(&mut context, &bytes, &message);
                quiet = false;
            }
            let sent: Vec<_> = std::iter::from_fn(|| self.responder.poll_transmit()).collect();
            for bytes in sent {
                let message = Message::parse(&bytes).unwrap();
                let mut context = self.a.context(now);
                self.initiator.handle(&mut context, &bytes, &message);
                quiet = false;
            }
        }
    }
}

#[test]
fn a_certificate_that_ended_ends_the_connection_when_its_ike_sa_is_replaced_by_whomever() {
    let closed = |why| Some(End::Closed(Some(Refusal::Certificate(why))));
    for profile in profiles() {
        for by_initiator in [true, false] {
            for at_initiator in [true, false] {
                let (mut pair, fakes) = certified(&profile);
                // A replacement goes through as long as all is well, and forgets nothing.
                pair.replace(by_initiator, 1_000);
                assert_eq!((pair.initiator.rekeys.0, pair.responder.rekeys.0), (1, 1));
                fakes[usize::from(!at_initiator)].says(Err(expired()));
                pair.replace(by_initiator, 2_000);
                let [judge, other] = match at_initiator {
                    true => [&pair.initiator, &pair.responder],
                    false => [&pair.responder, &pair.initiator],
                };
                assert_eq!(judge.ended(), closed(expired()));
                // As at first contact the other one hears whose fault it is.
                assert_eq!(other.ended(), closed(CertificateError::ByPeer));
                assert_eq!((judge.rekeys.0, other.rekeys.0), (1, 1));
            }
        }
    }
}

#[test]
fn an_ike_sa_that_was_under_way_when_the_certificate_ended_does_not_stand_either() {
    for profile in profiles() {
        let (mut pair, fakes) = certified(&profile);
        pair.initiator.rekey_sa_alone(1_000);
        pair.initiator.advance(&mut pair.a.context(1_000));
        fakes[0].says(Err(expired()));
        // It crosses the peer's, which is refused.
        pair.replace(false, 1_000);
        let why = Refusal::Certificate(expired());
        assert_eq!(pair.initiator.ended(), Some(End::Closed(Some(why))));
        assert!(pair.responder.ended().is_some());
    }
}

#[test]
fn what_ended_is_no_matter_before_the_ike_sa_is_replaced() {
    let (mut pair, fakes) = certified(&Profile::default());
    fakes[0].says(Err(expired()));
    let request = pair.rekey_request();
    let (_, answer) = pair.ask(exchange::CREATE_CHILD_SA, &request);
    assert_eq!(error_of(&answer), None);
    assert!(!pair.initiator.is_closing() && !pair.responder.is_closing());
}
