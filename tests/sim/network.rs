//! A link between two nodes: frames as bytes with delay, cuts of one or both directions.

use std::collections::VecDeque;
use std::sync::Arc;

use tutti::node::link::Proof;
use tutti::replica::NodeId;
use tutti::replica::frontier::Frontier;
use tutti::replica::session::{
    Action, BATCH, Done, Event, Local, Now, Proofs, Proven, Session, Swap,
};
use tutti::store::{Incoming, Partial, Place, Staged, Store, StoreError};
use tutti::wire::replication::Frame;

use crate::random::Random;

pub const CLUSTER: [u8; 16] = [7; 16];
/// Links live for a second or so here, and prove in the midst of all that goes on.
const PROOFS: Proofs = Proofs {
    first_ms: 150,
    pause_ms: 200,
};

/// One end of a link.
pub struct End {
    session: Session,
    /// What writes and what reads; neither waits for the other.
    lanes: [VecDeque<Action>; 2],
    partial: Option<Partial>,
    /// Frames under way to the other end, with their time of arrival.
    outgoing: VecDeque<(u64, Vec<u8>)>,
    /// Who the other end is, once it has said so, and what it is known to have acknowledged.
    peer: Option<NodeId>,
    acked: Frontier,
    staged: Option<Arc<Staged>>,
    incoming: Option<Incoming>,
    place: Option<Place>,
    proof: Proof,
    /// What its proofs found.
    proven: Vec<Proven>,
    /// Nothing more is to be done here: the database is another one now.
    ended: bool,
    rebased: bool,
    /// Nothing of `outgoing` arrives meanwhile: a one-way cut.
    pub stalled: bool,
}

/// What a step of a link changed.
#[derive(Default)]
pub struct Moved {
    /// The nodes whose store committed.
    pub committed: Vec<usize>,
    /// The nodes whose store took a snapshot or issued something again.
    pub another: Vec<usize>,
    /// How many of them wrote what they held over another's snapshot.
    pub rebased: u64,
    /// What proofs found that came to their end.
    pub proven: Vec<Proven>,
}

/// A link; without ends it is cut.
pub struct Link {
    pub nodes: [usize; 2],
    pub ends: Option<[End; 2]>,
    /// Why it last ended by itself, where that may be.
    pub ended: String,
    /// Whose frames are not to be trusted.
    pub hostile: Option<usize>,
    /// Not connected again before this time.
    pub down_until: u64,
}

fn end(store: &Store, now: Now) -> End {
    let partial = store.take_partial();
    let local = Local {
        name: "node".into(),
        version: "sim".into(),
        node: store.node(),
        incarnation: store.incarnation(),
        cluster: Some(CLUSTER),
        frontier: store.frontier(),
        schema: 1,
        partial: partial.as_ref().map(|partial| partial.what),
        resume: store.resumable(),
        peers: Vec::new(),
        unmet: 0,
        proofs: PROOFS,
    };
    End {
        session: Session::new(now, local),
        lanes: Default::default(),
        partial,
        peer: None,
        acked: Frontier::default(),
        staged: None,
        incoming: None,
        place: None,
        proof: Proof::default(),
        proven: Vec::new(),
        ended: false,
        rebased: false,
        outgoing: VecDeque::new(),
        stalled: false,
    }
}

impl Link {
    pub fn connect(&mut self, stores: [&Store; 2], now: Now) {
        if stores.iter().all(|store| store.ready().is_ok()) {
            self.ends = Some(stores.map(|store| end(store, now)));
        }
    }

    pub fn cut(&mut self, until: u64) {
        self.ends = None;
        self.down_until = until;
    }

    /// Cuts it so that the nodes go on, each with what it received in part.
    pub fn part(&mut self, stores: [&Store; 2], until: u64) {
        for (end, store) in self.ends.iter_mut().flatten().zip(stores) {
            if let Some(partial) = end.partial.take() {
                store.keep_partial(partial);
            }
        }
        self.cut(until);
    }

    /// Tells a node's end that its store committed.
    pub fn committed(&mut self, node: usize, store: &Store, now: Now) {
        for (at, end) in self.ends.iter_mut().flatten().enumerate() {
            if self.nodes[at] == node {
                end.session.committed(now, &store.frontier());
            }
        }
    }

    /// Moves both ends on by a little; returns the nodes whose store committed or became another.
    pub fn step(
        &mut self,
        stores: [&Store; 2],
        now: Now,
        random: &mut Random,
    ) -> Result<Moved, String> {
        let mut moved = Moved::default();
        for (at, store) in stores.into_iter().enumerate() {
            let Some(ends) = &mut self.ends else {
                return Ok(moved);
            };
            let (here, there) = ends.split_at_mut(1);
            let (end, other) = if at == 0 {
                (&mut here[0], &mut there[0])
            } else {
                (&mut there[0], &mut here[0])
            };
            if end.session.handle_timeout(now).is_err() {
                self.cut(now.us);
                return Ok(moved);
            }
            while !other.stalled
                && other
                    .outgoing
                    .front()
                    .is_some_and(|frame| frame.0 <= now.us)
            {
                let (due, mut bytes) = other.outgoing.pop_front().unwrap();
                if self.hostile == Some(self.nodes[1 - at]) && random.one_in(30) {
                    match random.below(4) {
                        0 => continue,
                        1 => other.outgoing.push_front((due, bytes.clone())),
                        2 => bytes = overtaken(&mut other.outgoing, due, bytes),
                        _ => bytes = mutilated(bytes, random),
                    }
                }
                let body = bytes.get(4..).unwrap_or_default();
                let frame = Frame::decode(body).map_err(|error| error.to_string())?;
                let result = end.session.handle_frame(now, frame);
                result.map_err(|error| error.to_string())?;
            }
            if end.work(store, now, random)? {
                moved.committed.push(self.nodes[at]);
            }
            moved.proven.append(&mut end.proven);
            if end.ended {
                moved.another.push(self.nodes[at]);
                moved.rebased += u64::from(end.rebased);
            }
        }
        Ok(moved)
    }

    /// What its ends are in, for a history that never comes to rest.
    pub fn state(&self) -> String {
        match &self.ends {
            None => format!("down until {} us", self.down_until),
            Some(ends) => format!("{:#?}", [0, 1].map(|at| &ends[at].session)),
        }
    }

    /// Whether nothing is under way.
    pub fn idle(&self) -> bool {
        let mut ends = self.ends.iter().flatten();
        ends.all(|end| end.lanes.iter().all(VecDeque::is_empty) && end.outgoing.is_empty())
    }
}

/// The next frame instead of this one, which comes after it.
fn overtaken(outgoing: &mut VecDeque<(u64, Vec<u8>)>, due: u64, bytes: Vec<u8>) -> Vec<u8> {
    match outgoing.pop_front() {
        Some((_, next)) => {
            outgoing.push_front((due, bytes));
            next
        }
        None => bytes,
    }
}

/// Some bytes changed, or cut off. A frame that can be read all the same may be a lie that no peer
/// can see through: only of a snapshot such a frame is taken, whose digest tells.
fn mutilated(bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    let mut other = bytes.clone();
    for _ in 0..1 + random.below(3) {
        let at = 4 + random.below(other.len() as u64 - 4) as usize;
        match random.below(3) {
            0 => other[at] ^= 1 << random.below(8),
            1 => other[at] = random.next() as u8,
            _ => other.truncate(at.max(5)),
        }
    }
    match Frame::decode(&other[4..]) {
        Ok(Frame::SnapshotChunk { .. } | Frame::SnapshotEnd { .. }) | Err(_) => other,
        Ok(_) => bytes,
    }
}

impl End {
    /// Does some of what the session asked for; true where the store changed.
    fn work(&mut self, store: &Store, now: Now, random: &mut Random) -> Result<bool, String> {
        let mut changed = false;
        loop {
            // The connection takes a few frames at a time.
            while self.outgoing.len() < 4
                && let Some(frame) = self.session.poll_frame(now)
            {
                // In order, as TCP has it, but late.
                let last = self.outgoing.back().map_or(0, |frame| frame.0);
                let due = (now.us + random.below(30_000)).max(last);
                let bytes = frame.encode();
                self.outgoing
                    .push_back((due, Frame::pack(&bytes).unwrap_or(bytes)));
            }
            while let Some(action) = self.session.poll_action() {
                match action {
                    Action::Event(Event::Hello { node, .. }) => self.peer = Some(node),
                    Action::Event(_) => {}
                    action => self.lanes[action.lane()].push_back(action),
                }
            }
            self.hear(store)?;
            if self.ended || random.one_in(3) {
                return Ok(changed);
            }
            let first = random.below(2) as usize;
            let job = self.lanes[first].pop_front();
            let Some(job) = job.or_else(|| self.lanes[1 - first].pop_front()) else {
                return Ok(changed);
            };
            changed |= matches!(
                job,
                Action::Apply(_) | Action::ApplyLarge { .. } | Action::Prove(_)
            );
            match self.perform(store, job, random) {
                Ok(Some(done)) => self.session.handle_done(now, done),
                Ok(None) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Tells the store what the other end has acknowledged.
    fn hear(&mut self, store: &Store) -> Result<(), String> {
        let (Some(peer), Some(acked)) = (self.peer, self.session.acked()) else {
            return Ok(());
        };
        if self.acked == Frontier::default() {
            let result = store.greeted(peer, acked);
            result.map_err(|error| error.to_string())?;
        } else if self.acked != *acked {
            store.acknowledged(peer, acked);
        }
        self.acked = acked.clone();
        Ok(())
    }

    fn perform(
        &mut self,
        store: &Store,
        job: Action,
        random: &mut Random,
    ) -> Result<Option<Done>, StoreError> {
        Ok(Some(match job {
            Action::Apply(_) | Action::ApplyLarge { .. } if store.is_apart(self.peer.unwrap()) => {
                Done::Applied(store.frontier())
            }
            Action::Apply(list) => settled(store.apply(&list))?,
            Action::WritePiece(piece) => {
                if piece.offset == 0 {
                    self.partial = Some(store.begin_partial(piece.whole(), u64::MAX)?);
                }
                let partial = self.partial.as_mut().unwrap();
                partial.write(piece.offset, &piece.bytes)?;
                Done::PieceWritten
            }
            Action::ApplyLarge { .. } => {
                settled(store.apply_partial(store.incarnation(), self.partial.take().unwrap()))?
            }
            Action::Read { frontier, position } => match read(store, &frontier, position) {
                Err(StoreError::NeedsSnapshot { origin, first, .. }) => {
                    let apart = store.may_differ(&frontier)?;
                    Done::Trimmed {
                        origin,
                        first,
                        apart,
                    }
                }
                Err(StoreError::Fork { origin, .. }) => Done::Forked { origin },
                other => other?,
            },
            Action::ReadLarge { large, offset } => {
                let bytes = store.log_piece(large, offset, 64)?;
                Done::LargeRead { offset, bytes }
            }
            Action::Prove(_) if store.is_apart(self.peer.unwrap()) => Done::Proved(Err(Proven {
                stopped: true,
                ..Proven::default()
            })),
            Action::Prove(step) => {
                let proved = self.proof.step(store, self.peer.unwrap(), step)?;
                self.proven.extend(proved.clone().err());
                Done::Proved(proved)
            }
            Action::Stage { wanted } => {
                let staged = store.stage_for(self.peer.unwrap(), wanted, u64::MAX)?;
                let (id, size) = (staged.id, staged.size);
                self.staged = Some(staged);
                Done::Staged { id, size }
            }
            Action::ReadChunk { offset } => {
                let (bytes, digest) = self.staged.as_ref().unwrap().read(offset, 40_000)?;
                Done::ChunkRead {
                    offset,
                    bytes,
                    digest,
                }
            }
            Action::Claim => {
                self.place = store.claim_arrival();
                Done::Claimed(self.place.is_some())
            }
            Action::Accept { id, size, offset } => {
                self.incoming = Some(store.accept_snapshot(id, size, offset, u64::MAX)?);
                return Ok(None);
            }
            Action::WriteChunk { offset, bytes } => {
                self.incoming.as_mut().unwrap().write(offset, &bytes)?;
                let end = offset + bytes.len() as u64;
                Done::ChunkWritten { end }
            }
            Action::SwapIn { digest, swap, .. } => {
                assert_ne!(swap, Swap::Adopt, "all are members here");
                let incoming = self.incoming.take().unwrap();
                match store.swap_in(incoming, digest, random.next(), swap) {
                    // An old copy, or one of a wrong clock: a later link brings another.
                    Err(StoreError::NeedsSnapshot { .. } | StoreError::Ahead { .. }) => {}
                    other => {
                        other?;
                        self.rebased = swap == Swap::Rebase;
                    }
                }
                self.ended = true;
                return Ok(None);
            }
            Action::Chains { origin, upto } => {
                let chains = store.chains(origin, upto)?;
                Done::Chains { origin, chains }
            }
            Action::Renew { origin } => {
                store.renew_from(origin, random.next())?;
                self.ended = true;
                return Ok(None);
            }
            Action::Reissue { origin, after } => {
                store.reissue(origin, after, random.next())?;
                self.ended = true;
                return Ok(None);
            }
            Action::Trust { origin, upto } => {
                store.trust(origin, upto)?;
                return Ok(None);
            }
            Action::Event(_) => return Ok(None),
        }))
    }
}

/// As the product does it.
fn settled(applied: Result<Frontier, StoreError>) -> Result<Done, StoreError> {
    match applied {
        Err(StoreError::Fork { origin, .. }) => Ok(Done::Forked { origin }),
        applied => applied.map(Done::Applied),
    }
}

fn read(store: &Store, frontier: &Frontier, position: Option<i64>) -> Result<Done, StoreError> {
    let from = match position {
        Some(position) => position,
        None => store.log_start(frontier)?,
    };
    // Small batches, so that much goes on between them; now and then a transaction is too large
    // for one and goes in pieces.
    let (found, large, position) = store.log_batch(frontier, from, BATCH.min(300))?;
    Ok(Done::Read {
        found,
        large,
        position,
    })
}
