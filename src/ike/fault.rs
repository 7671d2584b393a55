//! Why there is no tunnel with a peer, as far as known: what its datagrams, or their absence, told
//! last. Nothing of it is proven; it is shown, and stops no attempt.

use std::cmp::Ordering;

use super::Refusal;
use super::ppk::Mismatch;

/// A peer of which something came this recently is there, and what it told holds: longer than the
/// time from the last datagram of one attempt to the first of the next.
pub(crate) const RECENT_MS: u64 = 25_000;

/// What a peer says that will not tell its own reason holds back longer: of two that begin main
/// mode at once, one sees what the other wants only between its own attempts.
const SELDOM_MS: u64 = 120_000;

/// Whoever forges two reasons in turn changes what is shown no faster than this.
const MOMENT_MS: u64 = 1_000;

/// The reason that is shown.
#[cfg_attr(test, derive(Clone))]
#[derive(Default)]
pub(crate) struct Fault {
    /// With the time when it was last told.
    reason: Option<(Refusal, u64)>,
}

impl Fault {
    /// The reason, if there is one.
    pub fn reason(&self) -> Option<&Refusal> {
        self.reason.as_ref().map(|(reason, _)| reason)
    }

    /// The tunnel stands.
    pub fn clear(&mut self) {
        self.reason = None;
    }

    /// Takes `refusal` for the reason. Two systems that cannot agree tell each other more than one
    /// in turn: one that says less takes the place of another only when that is not recent, and one
    /// that says as much a moment later.
    pub fn note(&mut self, now: u64, refusal: Refusal) {
        let stays = self.reason.as_ref().is_some_and(|(reason, told)| {
            let holds = match telling(&refusal).cmp(&telling(reason)) {
                Ordering::Less if refusal == Refusal::NoAnswer => RECENT_MS,
                Ordering::Less => SELDOM_MS,
                Ordering::Equal if refusal != *reason => MOMENT_MS,
                _ => 0,
            };
            now < told + holds
        });
        if !stays {
            self.reason = Some((refusal, now));
        }
    }
}

/// How much a reason says.
fn telling(refusal: &Refusal) -> u8 {
    match refusal {
        Refusal::NoAnswer => 0,
        // Also what a peer says that will not tell its own reason.
        Refusal::NoProposal | Refusal::Other(_) => 1,
        Refusal::AuthenticationFailed
        | Refusal::Ppk(Mismatch::Key)
        | Refusal::Certificate(_)
        | Refusal::Nat
        | Refusal::NotListed
        | Refusal::OtherMethod
        | Refusal::OtherProfile => 2,
        // Whoever requires a key tells nothing but that authentication failed to who has none.
        Refusal::Ppk(_) => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(told: &[(u64, Refusal)]) -> Option<Refusal> {
        let mut fault = Fault::default();
        for (now, refusal) in told {
            fault.note(*now, refusal.clone());
        }
        fault.reason().cloned()
    }

    #[test]
    fn a_later_reason_takes_the_place_of_an_earlier_one() {
        use Refusal::{AuthenticationFailed, NoAnswer, NoProposal, NotListed};
        let told = [(0, AuthenticationFailed), (MOMENT_MS, NotListed)];
        assert_eq!(after(&told), Some(NotListed));
        let told = [(0, AuthenticationFailed), (MOMENT_MS - 1, NotListed)];
        assert_eq!(after(&told), Some(AuthenticationFailed));
        let told = [(0, NoAnswer), (1, NoProposal)];
        assert_eq!(after(&told), Some(NoProposal));
        assert_eq!(after(&[]), None);
    }

    #[test]
    fn one_that_says_less_waits_until_the_other_is_told_no_more() {
        use Refusal::{NoAnswer, NoProposal, OtherMethod};
        for (less, holds) in [(NoAnswer, RECENT_MS), (NoProposal, SELDOM_MS)] {
            let mut told = vec![(0, OtherMethod), (9_000, less.clone())];
            told.push((10_000, OtherMethod));
            told.push((10_000 + holds - 1, less.clone()));
            assert_eq!(after(&told), Some(OtherMethod));
            told.push((10_000 + holds, less.clone()));
            assert_eq!(after(&told), Some(less));
        }
    }
}
