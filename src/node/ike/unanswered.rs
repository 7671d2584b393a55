//! What `keyer` was asked and has not answered yet. If it ends before it does, the next one is
//! asked again: nobody knows what of it was done.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::tunnel::message::KeyerRequest;

/// The requests, the oldest first.
#[derive(Default)]
pub(super) struct Unanswered {
    requests: VecDeque<KeyerRequest>,
    /// Until when they wait for another `keyer`.
    until: Option<Instant>,
}

impl Unanswered {
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub fn add(&mut self, requests: Vec<KeyerRequest>) {
        self.requests.extend(requests);
    }

    /// The oldest is answered; whether there was one.
    pub fn pop(&mut self) -> bool {
        self.until = None;
        self.requests.pop_front().is_some()
    }

    /// There is no `keyer`. One that comes and ends without an answer gives no more time.
    pub fn wait_until(&mut self, until: Instant) {
        if !self.is_empty() {
            self.until.get_or_insert(until);
        }
    }

    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// All of them once more. What a later one takes away again is not installed, for it may have
    /// stood and sent already: its sequence numbers must not begin anew (RFC 4302 section 2.5).
    pub fn again(&mut self) -> Vec<KeyerRequest> {
        for at in 0..self.requests.len() {
            let KeyerRequest::Install(sa) = &self.requests[at] else {
                continue;
            };
            let (peer, spi, inbound) = (sa.peer, sa.spi, sa.inbound);
            let undoes = |later: &KeyerRequest| match later {
                KeyerRequest::Install(other) => {
                    !inbound && !other.inbound && other.peer == peer && other.spi != spi
                }
                KeyerRequest::Retain(spis) => !spis.contains(&spi),
                other => *other == KeyerRequest::Remove { peer, spi, inbound },
            };
            if self.requests.range(at + 1..).any(undoes) {
                self.requests[at] = KeyerRequest::Remove { peer, spi, inbound };
                continue;
            }
            // It may stand already: what comes before it leaves it in its place.
            for earlier in self.requests.range_mut(..at) {
                if let KeyerRequest::Retain(spis) = earlier {
                    spis.push(spi);
                }
            }
        }
        self.requests.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::message::{AhSa, Integrity, Secret};

    fn install(peer: u8, spi: u32, inbound: bool) -> KeyerRequest {
        KeyerRequest::Install(AhSa {
            peer: [192, 0, 2, peer].into(),
            spi,
            inbound,
            integrity: Integrity::HmacSha2_256_128,
            key: Secret(vec![7; 32]),
            esn: true,
        })
    }

    fn remove(peer: u8, spi: u32, inbound: bool) -> KeyerRequest {
        KeyerRequest::Remove {
            peer: [192, 0, 2, peer].into(),
            spi,
            inbound,
        }
    }

    fn again(requests: &[KeyerRequest]) -> Vec<KeyerRequest> {
        let mut unanswered = Unanswered::default();
        unanswered.add(requests.to_vec());
        unanswered.again()
    }

    #[test]
    fn what_stays_is_asked_again_as_it_was() {
        let asked = [
            KeyerRequest::Reload,
            install(2, 300, true),
            install(3, 300, true),
            install(2, 400, false),
            install(3, 400, false),
            remove(2, 301, true),
            remove(2, 400, true),
            KeyerRequest::Retain(vec![300, 400]),
        ];
        assert_eq!(again(&asked), asked);
    }

    #[test]
    fn what_a_later_request_takes_away_is_not_installed_anew() {
        let first = [install(2, 300, true), install(2, 400, false)];
        let gone = [remove(2, 300, true), remove(2, 400, false)];
        for later in [
            &[remove(2, 300, true), install(2, 401, false)][..],
            &[KeyerRequest::Retain(vec![401])],
        ] {
            assert_eq!(again(&[&first, later].concat()), [&gone, later].concat());
        }
    }

    #[test]
    fn what_may_stand_already_is_not_taken_away_to_be_installed_anew() {
        let asked = [
            KeyerRequest::Retain(vec![299]),
            install(2, 300, true),
            install(2, 400, false),
        ];
        let retained = KeyerRequest::Retain(vec![299, 300, 400]);
        assert_eq!(again(&asked)[0], retained);
        assert_eq!(again(&asked)[1..], asked[1..]);
    }

    #[test]
    fn a_keyer_that_comes_and_goes_without_an_answer_gives_no_more_time() {
        let (now, second) = (Instant::now(), std::time::Duration::from_secs(1));
        let mut unanswered = Unanswered::default();
        unanswered.wait_until(now + second);
        assert!(!unanswered.is_over(now + second), "nothing waits");
        unanswered.add(vec![KeyerRequest::Reload, KeyerRequest::Reload]);
        unanswered.wait_until(now + 5 * second);
        unanswered.again();
        unanswered.wait_until(now + 9 * second);
        assert!(!unanswered.is_over(now + 4 * second));
        assert!(unanswered.is_over(now + 5 * second));
        assert!(unanswered.pop());
        unanswered.wait_until(now + 9 * second);
        assert!(!unanswered.is_over(now + 5 * second));
    }
}
