//! Under which ISAKMP SA each AH pair lives. RFC 2409 does not bind one to the other: here pairs
//! outlive the SA whose quick mode made them. At others (charon) they end with it, and a delete is
//! understood under that SA alone; which of them move to an SA that takes its place differs. So the
//! pair that carries the traffic is made again under the last SA, an SA stays as long as a pair
//! lives under it, and deletes of pairs are said under all.

use super::upkeep::{REPLACED_BY_PEER_MS, REPLACED_MS};
use super::{Engine, Owned};
use crate::ike::Context;

impl Engine {
    /// Whether a pair lives under this SA.
    pub(super) fn houses(&self, cookies: (u64, u64)) -> bool {
        self.children.iter().any(|owned| owned.home == cookies)
    }

    /// Whether the SA under which the pair lives still stands.
    pub(super) fn is_at_home(&self, owned: &Owned) -> bool {
        self.phase1.iter().any(|sa| sa.cookies == owned.home)
    }

    /// A new pair or SA: should the last pair not live under the last SA, it is replaced when the
    /// side that began that SA had the time to.
    pub(super) fn move_house(&mut self) {
        let (Some(sa), Some(owned)) = (self.phase1.last(), self.children.last_mut()) else {
            return;
        };
        if owned.home != sa.cookies {
            let wait = if sa.initiator { 0 } else { REPLACED_BY_PEER_MS };
            owned.child.rekey_at = owned.child.rekey_at.min(sa.born + wait);
        }
    }

    /// An SA went, and others stand: the pairs under it may be gone at the peer.
    pub(super) fn evicted(&mut self, now: u64) {
        let carries = self.children.iter().rposition(|owned| owned.confirmed);
        let stands: Vec<bool> = self.children.iter().map(|o| self.is_at_home(o)).collect();
        if carries.is_some_and(|at| !stands[at]) {
            // Whatever came later and stands is better; nothing earlier may send again.
            for (at, owned) in self.children.iter_mut().enumerate() {
                owned.confirmed |= Some(at) > carries && stands[at];
            }
            if let Some(owned) = self.children.last_mut() {
                owned.child.rekey_at = owned.child.rekey_at.min(now);
            }
        }
    }

    /// Tells the peer that we delete a pair.
    pub(super) fn say_deleted(&mut self, context: &mut Context<'_>, spi_in: u32) {
        for sa in &self.phase1 {
            self.out.push_back(sa.delete_child(context, spi_in));
        }
    }
}

/// Who made an SA or a pair deletes the replaced one after this; the other side later.
pub(super) fn replaced_after(ours: bool) -> u64 {
    if ours {
        REPLACED_MS
    } else {
        REPLACED_BY_PEER_MS
    }
}
