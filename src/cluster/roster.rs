//! Whom the log is kept for (replication contract 7): the nodes behind the configured addresses,
//! here and at every peer, because where lists differ what any of them needs stays.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A node's id.
type NodeId = [u8; 16];

/// What one peer said of itself and of others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Met {
    node: NodeId,
    peers: BTreeSet<NodeId>,
    unmet: u8,
}

/// The peers that were met, by their configured address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster(BTreeMap<IpAddr, Met>);

/// For whom something is kept: nodes known by their id, and how many were never met.
pub type Counted = (BTreeSet<NodeId>, usize);

impl Roster {
    /// The peer at `address` said who it is and whom it counts; true where that is news. Other
    /// hardware at a known address takes the old node's place.
    pub fn greeted(&mut self, address: IpAddr, node: NodeId, peers: &[NodeId], unmet: u8) -> bool {
        let peers = peers.iter().copied().collect();
        let met = Met { node, peers, unmet };
        let old = self.0.insert(address, met.clone());
        old != Some(met)
    }

    /// Forgets who is no longer listed; true where somebody was.
    pub fn keep(&mut self, listed: &[IpAddr]) -> bool {
        let before = self.0.len();
        self.0.retain(|address, _| listed.contains(address));
        self.0.len() != before
    }

    /// The node that was last met at an address.
    pub fn node(&self, address: IpAddr) -> Option<NodeId> {
        self.0.get(&address).map(|met| met.node)
    }

    /// The nodes behind our own list, without what peers say.
    pub fn ours(&self, listed: &[IpAddr]) -> Counted {
        let met: BTreeSet<NodeId> = self.0.values().map(|met| met.node).collect();
        let unmet = listed
            .iter()
            .filter(|address| !self.0.contains_key(address));
        (met, unmet.count())
    }

    /// The union of our list and those of the peers, node `us` left out. Whom a peer has not met
    /// may be one that it does not name and we know.
    pub fn counted(&self, us: NodeId, listed: &[IpAddr]) -> Counted {
        let (mut known, mut unmet) = self.ours(listed);
        for met in self.0.values() {
            known.extend(&met.peers);
        }
        known.insert(us);
        for met in self.0.values() {
            let named = |node: &&NodeId| **node == met.node || met.peers.contains(*node);
            let unnamed = known.iter().filter(|node| !named(node)).count();
            unmet = unmet.max(usize::from(met.unmet).saturating_sub(unnamed));
        }
        known.remove(&us);
        (known, unmet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: NodeId = [1; 16];
    const B: NodeId = [2; 16];
    const C: NodeId = [3; 16];

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn who_was_never_met_is_counted_until_it_comes() {
        let mut roster = Roster::default();
        let listed = [ip(2), ip(3)];
        assert_eq!(roster.counted(US, &listed), (BTreeSet::new(), 2));
        assert!(roster.greeted(ip(2), B, &[], 2));
        assert_eq!(roster.counted(US, &listed), (BTreeSet::from([B]), 1));
        assert!(roster.greeted(ip(3), C, &[US, B], 0));
        assert_eq!(roster.counted(US, &listed), (BTreeSet::from([B, C]), 0));
        assert!(!roster.greeted(ip(3), C, &[US, B], 0), "that is no news");
        assert_eq!(roster.node(ip(3)), Some(C));
        assert_eq!(roster.node(ip(4)), None);
    }

    #[test]
    fn where_lists_differ_everybody_on_any_of_them_counts() {
        let mut roster = Roster::default();
        roster.greeted(ip(2), B, &[US, C], 0);
        assert_eq!(roster.counted(US, &[ip(2)]), (BTreeSet::from([B, C]), 0));
        // It waits for one that nobody knows.
        roster.greeted(ip(2), B, &[US], 1);
        assert_eq!(roster.counted(US, &[ip(2)]), (BTreeSet::from([B]), 1));
    }

    #[test]
    fn other_hardware_takes_a_place_and_who_is_not_listed_has_none() {
        let mut roster = Roster::default();
        roster.greeted(ip(2), B, &[US], 0);
        roster.greeted(ip(2), C, &[US], 0);
        assert_eq!(roster.counted(US, &[ip(2)]), (BTreeSet::from([C]), 0));
        assert!(roster.keep(&[]));
        assert_eq!(roster.counted(US, &[]), (BTreeSet::new(), 0));
    }
}
