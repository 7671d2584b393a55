//! What is shown of a tunnel, by whichever version of IKE, and since when.

use super::message::{AhSuite, LastError, Peer, PeerStatus, Presented, TunnelState};
use crate::ike::Child;
use crate::ike::suite::{Suite, Version};

/// A state and when it began.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Shown {
    state: TunnelState,
    since: u64,
    /// What was wrong before, and when that ended.
    last: Option<(TunnelState, u64)>,
}

/// What stands with a peer.
pub(super) struct Stands<'a> {
    pub version: Version,
    pub suite: Option<Suite>,
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
            last: None,
        }
    }

    pub fn state(&self) -> &TunnelState {
        &self.state
    }

    pub fn set(&mut self, now: u64, state: TunnelState) {
        if state == self.state {
            return;
        }
        // A renewed certificate changes nothing of how long the tunnel stands.
        if state.differs(&self.state) {
            self.since = now;
        }
        let before = std::mem::replace(&mut self.state, state);
        if before.is_fault() {
            self.last = Some((before, now));
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
            ah: stands.child.map(|c| AhSuite {
                integrity: c.integrity,
                esn: c.esn,
            }),
            last_error: self.last.as_ref().map(|(state, ended)| LastError {
                state: state.clone(),
                ago_ms: now.saturating_sub(*ended),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wrong_before_stays_told_with_the_time_when_it_ended() {
        let peer = Peer {
            address: "192.0.2.2".parse().unwrap(),
            reqid: 7402,
        };
        let stands = Stands {
            version: Version::V1,
            suite: None,
            child: None,
            rekeys: (0, 0),
            told: None,
        };
        let mut shown = Shown::new(0);
        let last = |shown: &Shown, now| shown.status(now, peer, &stands).last_error;
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
