//! What may be forgotten (contract 7): transactions of the log that every peer has, tombstones
//! that are causally stable, closed incarnations.
//!
//! An acknowledgement is the acker's whole frontier, so it carries the acker's own position: it
//! says what the peer holds *and* up to where it had written by then. A version is causally
//! stable when every configured peer has acknowledged it and this node holds everything that
//! those acknowledgements name: whatever arrives from now on was written with it in sight.

use std::collections::{BTreeMap, BTreeSet};

use super::frontier::{Frontier, Position};
use super::{Incarnation, NodeId};

/// Of how many peers that are not configured any more it is known what they held. Whoever comes
/// under another node id each time is one more.
const FORMER_MAX: usize = 64;

/// What one peer has acknowledged.
#[derive(Clone, Debug, Default)]
struct Acks {
    /// What it holds for good.
    held: Frontier,
    /// An acknowledgement whose every position is held here, too.
    stable: Frontier,
    /// One that is waited for: until it is held here, no later one takes its place.
    waited: Option<Frontier>,
    /// What it said it holds, of origins where it is not known yet to be the history held here.
    unproven: Frontier,
}

/// What every configured peer is known to hold.
#[derive(Clone, Debug, Default)]
pub struct Retention {
    configured: BTreeSet<NodeId>,
    /// Configured peers that have never said who they are.
    unknown: usize,
    acks: BTreeMap<NodeId, Acks>,
    /// What peers held that are not configured any more.
    former: BTreeMap<NodeId, Frontier>,
    marked: BTreeSet<NodeId>,
    /// Who of those acknowledged something since.
    back: BTreeSet<NodeId>,
}

/// Sequence numbers, per origin.
pub type Seqs = BTreeMap<Incarnation, u64>;

impl Retention {
    /// With the peers that were marked in an earlier life. Until it is configured it counts on
    /// a peer that was never met, and keeps everything.
    pub fn new(marked: BTreeSet<NodeId>) -> Self {
        Retention {
            marked,
            unknown: 1,
            ..Retention::default()
        }
    }

    /// Sets who is configured, here or in the list of any peer, this node left out: those known
    /// by their node id, and how many more have not been met yet.
    pub fn configure(&mut self, known: BTreeSet<NodeId>, unknown: usize) {
        let gone = |node: &NodeId, _: &mut Acks| !known.contains(node);
        let gone = self.acks.extract_if(.., gone);
        self.former
            .extend(gone.map(|(node, acks)| (node, acks.held)));
        while self.former.len() > FORMER_MAX {
            self.former.pop_first();
        }
        self.marked.retain(|node| known.contains(node));
        self.back.retain(|node| known.contains(node));
        self.configured = known;
        self.unknown = unknown;
    }

    /// Who is configured and known.
    pub fn configured(&self) -> &BTreeSet<NodeId> {
        &self.configured
    }

    /// A peer says hello with all it holds. It may hold less than it once acknowledged: an old
    /// file was put back.
    pub fn greeted(&mut self, node: NodeId, frontier: Frontier, own: &Frontier) {
        let stable = self.acks.remove(&node).map(|acks| acks.stable);
        let acks = Acks {
            held: frontier.clone(),
            stable: stable
                .filter(|stable| stable.is_within(&frontier))
                .unwrap_or_default(),
            waited: Some(frontier.clone()),
            unproven: frontier,
        };
        self.acks.insert(node, acks);
        self.observe(own);
    }

    /// A peer acknowledges; `own` is what is held here.
    pub fn acknowledged(&mut self, node: NodeId, frontier: &Frontier, own: &Frontier) {
        let acks = self.acks.entry(node).or_default();
        acks.held.advance(frontier);
        if self.marked.contains(&node) {
            self.back.insert(node);
        }
        if acks.waited.is_none() {
            acks.waited = Some(acks.held.clone());
        }
        self.observe(own);
    }

    /// More is held here.
    pub fn observe(&mut self, own: &Frontier) {
        for acks in self.acks.values_mut() {
            if let Some(waited) = acks.waited.take_if(|waited| waited.is_within(own)) {
                acks.stable = waited;
                if acks.held != acks.stable {
                    acks.waited = Some(acks.held.clone());
                }
            }
        }
        for acks in self.acks.values_mut() {
            if let Some(waited) = acks.waited.take_if(|waited| waited.is_within(own)) {
                acks.stable = waited;
            }
        }
    }

    /// Up to where the log may go: what every configured peer holds, marked ones left out.
    pub fn droppable(&self, own: &Frontier) -> Seqs {
        let needing = self.configured.difference(&self.marked);
        self.lowest(own, needing, |acks| &acks.held)
    }

    /// What is causally stable; marked peers count, for what they still deliver may be old.
    pub fn stable(&self, own: &Frontier) -> Seqs {
        self.lowest(own, self.configured.iter(), |acks| &acks.stable)
    }

    /// Per origin of `own`, the lowest number that these peers and we hold of one history.
    fn lowest<'a>(
        &self,
        own: &Frontier,
        nodes: impl Iterator<Item = &'a NodeId>,
        of: impl Fn(&Acks) -> &Frontier,
    ) -> Seqs {
        let acks: Option<Vec<&Acks>> = nodes.map(|node| self.acks.get(node)).collect();
        let Some(acks) = acks.filter(|_| self.unknown == 0) else {
            return Seqs::new();
        };
        let seq = |acks: &&Acks, origin: &Incarnation| match acks.unproven.0.contains_key(origin) {
            true => 0,
            false => of(acks).seq(*origin),
        };
        let low = |(origin, position): (&Incarnation, &Position)| {
            let seqs = acks.iter().map(|acks| seq(acks, origin));
            (*origin, seqs.fold(position.seq, u64::min))
        };
        own.0.iter().map(low).filter(|low| low.1 > 0).collect()
    }

    /// What peers said they hold, where it is not known yet to be the history held here.
    pub fn unproven(&self) -> Vec<(NodeId, Incarnation, Position)> {
        let of = |(node, acks): (&NodeId, &Acks)| {
            let claims = acks.unproven.0.iter();
            let claims = claims.map(|(origin, at)| (*node, *origin, *at));
            claims.collect::<Vec<_>>()
        };
        self.acks.iter().flat_map(of).collect()
    }

    /// It is.
    pub fn proven(&mut self, node: NodeId, origin: Incarnation) {
        if let Some(acks) = self.acks.get_mut(&node) {
            acks.unproven.0.remove(&origin);
        }
    }

    /// The log is beyond its bound: the peer that holds back most of it is marked *needs
    /// snapshot*, and returned to be remembered. Peers never met can only be given up together.
    /// Of several peers the last is never given up: whoever was alone for long first delivers
    /// what only it has, and somebody must be able to take that from its log.
    pub fn give_up(&mut self, own: &Frontier) -> Option<NodeId> {
        let missing = |node: &&NodeId| {
            let held = self.acks.get(*node).map(|acks| &acks.held);
            held.map_or(u64::MAX, |held| held.missing(own))
        };
        let needing = self.configured.difference(&self.marked);
        if self.configured.len() > 1 && needing.clone().count() < 2 {
            return None;
        }
        let worst = needing.max_by_key(missing).copied()?;
        if missing(&&worst) == 0 {
            return None;
        }
        self.marked.insert(worst);
        self.back.remove(&worst);
        Some(worst)
    }

    /// Whether every configured peer has said, in this life of ours, what it holds.
    pub fn all_spoke(&self) -> bool {
        let mut all = self.configured.iter();
        self.unknown == 0 && all.all(|node| self.acks.contains_key(node))
    }

    /// Peers never met hold nothing back any more: when they come they take a snapshot. Whether
    /// there were any; they go before any that was.
    pub fn give_up_unknown(&mut self) -> bool {
        std::mem::take(&mut self.unknown) > 0
    }

    /// Who has to take a snapshot.
    pub fn marked(&self) -> &BTreeSet<NodeId> {
        &self.marked
    }

    /// Whether a peer has to take a snapshot.
    pub fn is_marked(&self, node: NodeId) -> bool {
        self.marked.contains(&node)
    }

    /// Marked peers that acknowledge all the same, and what they hold.
    pub fn back(&self) -> Vec<(NodeId, Frontier)> {
        let back = self.marked.intersection(&self.back);
        let held = back.filter_map(|node| Some((*node, self.held(*node)?.clone())));
        held.collect()
    }

    /// Our history of some origins is another one now, or shorter: what a peer said it holds beyond
    /// `own` counts once it is known to be of this one.
    pub fn doubt(&mut self, own: &Frontier) {
        for acks in self.acks.values_mut() {
            // What a peer sent itself is told without a chain hash, and is nobody else's.
            let beyond = |(origin, at): &(&Incarnation, &Position)| {
                at.seq > own.seq(**origin) && at.chain != [0; 32]
            };
            let beyond = acks.held.0.iter().filter(beyond);
            acks.unproven.0.extend(beyond.map(|(id, at)| (*id, *at)));
        }
    }

    /// This node's log is another one now: whom that one gave up is of no concern here, and who
    /// lacks what left it will be told so.
    pub fn unmark_all(&mut self) {
        self.marked.clear();
    }

    /// A peer has taken a snapshot, or holds all that was dropped after all.
    pub fn unmark(&mut self, node: NodeId) -> bool {
        self.marked.remove(&node)
    }

    /// The last number of an origin, held up to `own` here, that any peer is known to have taken.
    /// One that holds as many or more under another chain hash holds another history.
    pub fn taken(&self, origin: Incarnation, own: Position) -> u64 {
        let held = self.acks.values();
        let held = held.filter_map(|acks| acks.held.0.get(&origin));
        // What it sent itself is known without a chain hash.
        let ours = |at: &&Position| at.seq < own.seq || **at == own || at.chain == [0; 32];
        held.filter(ours).map(|at| at.seq).max().unwrap_or(0)
    }

    /// What each peer was last known to hold, those that are not configured any more included.
    pub fn everyone(&self) -> BTreeMap<NodeId, Frontier> {
        let mut all = self.former.clone();
        let acks = self.acks.iter();
        all.extend(acks.map(|(node, acks)| (*node, acks.held.clone())));
        all
    }

    /// What a peer holds by its own word.
    pub fn held(&self, node: NodeId) -> Option<&Frontier> {
        self.acks.get(&node).map(|acks| &acks.held)
    }
}

/// Which incarnations are closed: of each node all but the one that was stamped last, and all of
/// nodes that are neither us nor configured. Ours are closed but for `present`.
pub fn closed(
    origins: impl Iterator<Item = (Incarnation, Option<NodeId>, super::clock::Hlc)>,
    us: NodeId,
    present: Incarnation,
    configured: &BTreeSet<NodeId>,
) -> BTreeSet<Incarnation> {
    let mut latest: BTreeMap<NodeId, (super::clock::Hlc, Incarnation)> = BTreeMap::new();
    let mut closed = BTreeSet::new();
    for (origin, node, hlc) in origins {
        let Some(node) = node else { continue };
        if origin == present {
            continue;
        }
        if node == us || !configured.contains(&node) {
            closed.insert(origin);
            continue;
        }
        match latest.get_mut(&node) {
            None => {
                latest.insert(node, (hlc, origin));
            }
            Some(last) if *last < (hlc, origin) => {
                closed.insert(last.1);
                *last = (hlc, origin);
            }
            Some(_) => {
                closed.insert(origin);
            }
        }
    }
    closed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::clock::Hlc;

    const B: NodeId = [2; 16];
    const C: NodeId = [3; 16];

    fn frontier(seqs: &[(u64, u64)]) -> Frontier {
        let at = |&(origin, seq): &(u64, u64)| {
            let chain = [1; 32];
            (origin, Position { seq, chain })
        };
        Frontier(seqs.iter().map(at).collect())
    }

    /// All that was said is of one history.
    fn prove(retention: &mut Retention) {
        for (node, origin, _) in retention.unproven() {
            retention.proven(node, origin);
        }
    }

    fn three() -> Retention {
        let mut retention = Retention::default();
        retention.configure([B, C].into(), 0);
        retention
    }

    #[test]
    fn nothing_goes_before_every_configured_peer_has_spoken() {
        let own = frontier(&[(1, 9)]);
        let mut retention = three();
        retention.greeted(B, own.clone(), &own);
        assert!(retention.droppable(&own).is_empty());
        assert!(retention.stable(&own).is_empty());
        retention.greeted(C, frontier(&[(1, 4)]), &own);
        prove(&mut retention);
        assert_eq!(retention.droppable(&own), Seqs::from([(1, 4)]));
        retention.configure([B, C].into(), 1);
        assert!(retention.droppable(&own).is_empty());
    }

    #[test]
    fn an_acknowledged_version_is_stable_only_when_what_the_acker_had_written_is_here() {
        let own = frontier(&[(1, 9), (2, 3)]);
        let mut retention = three();
        for node in [B, C] {
            retention.greeted(node, frontier(&[(1, 1), (2, 3)]), &own);
        }
        prove(&mut retention);
        // B holds 1:9, and had written 2:7 by then: that may be concurrent, and is not here.
        retention.acknowledged(B, &frontier(&[(1, 9), (2, 7)]), &own);
        retention.acknowledged(C, &frontier(&[(1, 9), (2, 3)]), &own);
        assert_eq!(retention.droppable(&own)[&1], 9);
        assert_eq!(retention.stable(&own)[&1], 1);
        retention.acknowledged(B, &frontier(&[(1, 9), (2, 8)]), &own);
        let later = frontier(&[(1, 9), (2, 7)]);
        retention.observe(&later);
        assert_eq!(retention.stable(&later)[&1], 9);
    }

    #[test]
    fn a_marked_peer_frees_the_log_and_still_holds_tombstones() {
        let own = frontier(&[(1, 900)]);
        let mut retention = three();
        retention.greeted(B, frontier(&[(1, 899)]), &own);
        retention.greeted(C, frontier(&[(1, 5)]), &own);
        prove(&mut retention);
        assert_eq!(retention.give_up(&own), Some(C));
        assert!(retention.is_marked(C));
        assert_eq!(retention.droppable(&own)[&1], 899);
        assert_eq!(retention.stable(&own)[&1], 5);
        assert_eq!(
            retention.give_up(&own),
            None,
            "somebody must be able to read on"
        );
        assert!(retention.unmark(C));
        assert_eq!(retention.droppable(&own)[&1], 5);
    }

    #[test]
    fn a_peer_that_went_back_to_an_old_file_holds_less_again() {
        let own = frontier(&[(1, 9)]);
        let mut retention = three();
        for node in [B, C] {
            retention.greeted(node, own.clone(), &own);
        }
        assert!(
            retention.stable(&own).is_empty(),
            "it may be another history"
        );
        prove(&mut retention);
        assert_eq!(retention.stable(&own)[&1], 9);
        retention.greeted(C, frontier(&[(1, 2)]), &own);
        prove(&mut retention);
        assert_eq!(retention.droppable(&own)[&1], 2);
        assert_eq!(retention.stable(&own)[&1], 2);
    }

    #[test]
    fn what_a_peer_held_of_a_history_that_is_here_no_more_counts_no_longer() {
        let own = frontier(&[(1, 9), (2, 9)]);
        let mut retention = three();
        for node in [B, C] {
            retention.greeted(node, own.clone(), &own);
        }
        prove(&mut retention);
        retention.doubt(&frontier(&[(1, 5), (2, 9)]));
        let unproven = retention
            .unproven()
            .into_iter()
            .map(|(_, id, at)| (id, at.seq));
        assert_eq!(unproven.collect::<Vec<_>>(), [(1, 9), (1, 9)]);
        // Nine of another history are here since.
        assert_eq!(retention.droppable(&own), Seqs::from([(2, 9)]));
        assert_eq!(retention.stable(&own), Seqs::from([(2, 9)]));
        for node in [B, C] {
            retention.greeted(node, own.clone(), &own);
        }
        prove(&mut retention);
        assert_eq!(retention.droppable(&own)[&1], 9);
    }

    #[test]
    fn all_but_the_last_incarnation_of_a_configured_node_are_closed() {
        let at = |origin, node: u8, time| (origin, Some([node; 16]), Hlc(time));
        let origins = [
            at(10, 1, 5),
            at(11, 1, 9),
            at(20, 2, 5),
            at(21, 2, 9),
            at(30, 4, 9),
            (40, None, Hlc(1)),
        ];
        let found = closed(origins.into_iter(), [1; 16], 11, &[B].into());
        assert_eq!(found, [10, 20, 30].into());
    }
}
