//! What is shown of a tunnel, by whichever version of IKE, and since when.

use super::message::{Peer, PeerStatus, Presented, TunnelState};
use crate::ike::Child;

/// A state and when it began.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Shown {
    state: TunnelState,
    since: u64,
}

impl Shown {
    /// Nothing heard yet.
    pub fn new(now: u64) -> Self {
        Self {
            state: TunnelState::Connecting,
            since: now,
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
        if !(state.is_up() && self.state.is_up()) {
            self.since = now;
        }
        self.state = state;
    }

    /// For `serve`: with the AH pair that carries the traffic, how often both kinds of SA were
    /// replaced, and what the peer knows of our node certificates.
    pub fn status(
        &self,
        now: u64,
        peer: Peer,
        child: Option<&Child>,
        (rekeys, told): ((u32, u32), Option<Presented>),
    ) -> PeerStatus {
        PeerStatus {
            address: peer.address,
            state: self.state.clone(),
            for_ms: now.saturating_sub(self.since),
            spis: child.map(|c| (c.spi_in, c.spi_out)),
            rekeys,
            told,
        }
    }
}
