//! What is shown of a tunnel, by whichever version of IKE, and since when.

use super::link::state_of;
use super::message::{AhSuite, LastError, Peer, PeerStatus, Presented, TunnelState};
use crate::ike::suite::{Suite, Version};
use crate::ike::{Child, Refusal};

/// A state and when it began.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Shown {
    state: TunnelState,
    since: u64,
    /// Whether AH does not arrive by the tunnel while it is up.
    blocked: bool,
    /// Whether there is nobody to give the kernel its SAs.
    keyerless: bool,
    last: Option<Was>,
}

/// What was wrong before.
#[cfg_attr(test, derive(Clone))]
struct Was {
    state: TunnelState,
    blocked: bool,
    until: u64,
}

/// What stands with a peer.
pub(super) struct Stands<'a> {
    pub version: Version,
    pub suite: Option<Suite>,
    /// Whether a post-quantum pre-shared key is in its keys.
    pub ppk: bool,
    /// The AH pair that carries the traffic.
    pub child: Option<&'a Child>,
    /// How often both kinds of SA were replaced.
    pub rekeys: (u32, u32),
    /// What the peer knows of our node certificates.
    pub told: Option<Presented>,
}

impl Shown {
    /// Nothing heard yet.
    pub fn new(now: u64) -> Self {
        Self {
            state: TunnelState::Connecting,
            since: now,
            blocked: false,
            keyerless: false,
            last: None,
        }
    }

    pub fn state(&self) -> &TunnelState {
        &self.state
    }

    pub fn set(&mut self, now: u64, state: TunnelState) {
        let state = match self.keyerless && !state.is_up() {
            true => state_of(&Refusal::keyerless()),
            false => state,
        };
        if state == self.state {
            return;
        }
        // A renewed certificate changes nothing of how long the tunnel stands.
        if state.differs(&self.state) {
            self.since = now;
        }
        let before = std::mem::replace(&mut self.state, state);
        self.left(now, before, self.blocked);
    }

    /// Whether nobody gives the kernel its SAs: then what a tunnel lacks is not the peer's answer.
    pub fn set_keyerless(&mut self, keyerless: bool) {
        self.keyerless = keyerless;
    }

    /// Whether what is sent arrives at the peer and nothing comes back: IP protocol 51 is blocked.
    /// It says nothing of a tunnel that is not up.
    pub fn set_blocked(&mut self, now: u64, blocked: bool) {
        let before = std::mem::replace(&mut self.blocked, blocked);
        if before && !blocked {
            self.left(now, self.state.clone(), before);
        }
    }

    fn left(&mut self, until: u64, state: TunnelState, blocked: bool) {
        let blocked = blocked && state.is_up();
        if blocked && self.state.is_up() && self.blocked {
            // Another certificate; it is blocked as before.
            return;
        }
        if blocked || state.is_fault() {
            self.last = Some(Was {
                state,
                blocked,
                until,
            });
        }
    }

    /// For `serve`.
    pub fn status(&self, now: u64, peer: Peer, stands: &Stands<'_>) -> PeerStatus {
        PeerStatus {
            address: peer.address,
            state: self.state.clone(),
            for_ms: now.saturating_sub(self.since),
            spis: stands.child.map(|c| (c.spi_in, c.spi_out)),
            rekeys: stands.rekeys,
            told: stands.told,
            version: stands.version,
            proposal: stands.suite,
            ppk: stands.ppk,
            ah: stands.child.map(|c| AhSuite {
                integrity: c.integrity,
                esn: c.esn,
            }),
            last_error: self.last.as_ref().map(|was| LastError {
                state: was.state.clone(),
                blocked: was.blocked,
                ago_ms: now.saturating_sub(was.until),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(shown: &Shown, now: u64) -> Option<LastError> {
        let peer = Peer {
            address: "192.0.2.2".parse().unwrap(),
            reqid: 7402,
        };
        let stands = Stands {
            version: Version::V1,
            suite: None,
            ppk: false,
            child: None,
            rekeys: (0, 0),
            told: None,
        };
        shown.status(now, peer, &stands).last_error
    }

    #[test]
    fn that_no_ah_arrived_stays_told_however_it_ended() {
        let up = |first| TunnelState::Up {
            certificate: Some([first; 32].into()),
        };
        let mut shown = Shown::new(0);
        shown.set(1_000, up(1));
        shown.set_blocked(2_000, true);
        assert_eq!(last(&shown, 3_000), None, "it is so");
        shown.set(3_000, up(2));
        assert_eq!(last(&shown, 3_000), None, "and stays so");
        shown.set_blocked(5_000, false);
        let error = last(&shown, 6_000).unwrap();
        assert_eq!((error.blocked, error.ago_ms), (true, 1_000));
        shown.set_blocked(7_000, true);
        shown.set(8_000, TunnelState::Connecting);
        shown.set_blocked(9_000, false);
        let error = last(&shown, 10_000).unwrap();
        assert_eq!((error.blocked, error.ago_ms), (true, 2_000));
        shown.set(11_000, TunnelState::NoAnswer);
        shown.set_blocked(12_000, true);
        shown.set(13_000, up(2));
        let error = last(&shown, 14_000).unwrap();
        assert_eq!(error.state, TunnelState::NoAnswer, "that was not up");
        assert!(!error.blocked);
    }

    #[test]
    fn what_was_wrong_before_stays_told_with_the_time_when_it_ended() {
        let mut shown = Shown::new(0);
        shown.set(100, TunnelState::AuthenticationFailed);
        assert_eq!(last(&shown, 200), None, "the state itself says it");
        shown.set(300, TunnelState::NoAnswer);
        let error = last(&shown, 1_000).unwrap();
        assert_eq!(error.state, TunnelState::AuthenticationFailed);
        assert_eq!(error.ago_ms, 700);
        shown.set(2_000, TunnelState::Up { certificate: None });
        shown.set(3_000, TunnelState::Connecting);
        shown.set(4_000, TunnelState::Up { certificate: None });
        let error = last(&shown, 5_000).unwrap();
        assert_eq!((error.state, error.ago_ms), (TunnelState::NoAnswer, 3_000));
    }
}
