//! Frames that arrive, each in the state where it has its place.

use super::donor::Donor;
use super::greeting::{self, Standing};
use super::joiner::Joiner;
use super::needy::{self, Needy, settled};
use super::parting::{Parting, Snapshot};
use super::proof::Proving;
use super::receiving::Receiving;
use super::sending::Sending;
use super::{Action, Event, Now, Session, SessionError, State, Swap};
use crate::replica::Incarnation;
use crate::replica::frontier::{Frontier, Position};
use crate::wire::replication::{Frame, Hello, Run, SnapshotId};

/// The highest number of an origin among the transactions of a frame; 0 where there is none.
pub(super) fn told(frame: &Frame, origin: Incarnation) -> u64 {
    match frame {
        Frame::Transactions(runs) => {
            let of = runs.iter().filter(|run| run.origin == origin);
            of.map(Run::last).max().unwrap_or(0)
        }
        Frame::Piece(piece) if piece.origin == origin => piece.seq,
        _ => 0,
    }
}

impl Session {
    /// A frame that has its place in one state only.
    pub(super) fn state_frame(&mut self, now: Now, frame: Frame) -> Result<(), SessionError> {
        let own = self.local.incarnation;
        let ours = &self.local.frontier;
        let frame = match frame {
            Frame::Transactions(mut runs) => {
                runs.iter_mut().for_each(|run| run.lengthen(self.theirs));
                Frame::Transactions(runs)
            }
            frame => frame,
        };
        match (frame, &mut self.state) {
            (_, State::Renewing) => Ok(()),
            // Our memory was put back, and the peer has learnt of it only now.
            (frame, State::Streaming(..)) if told(&frame, own) > ours.seq(own) => {
                self.part(now, own);
                Ok(())
            }
            (Frame::Transactions(runs), State::Streaming(sending, receiving, _)) => {
                needy::reached(&mut self.needy);
                for run in &runs {
                    sending.has(run.origin, run.last())?;
                }
                receiving.transactions(ours, runs)
            }
            (Frame::Piece(piece), State::Streaming(sending, receiving, _)) => {
                needy::reached(&mut self.needy);
                sending.has(piece.origin, piece.seq)?;
                receiving.piece(ours, piece)
            }
            (Frame::Proof(message), State::Streaming(sending, _, proving)) => {
                proving.arrived(&message, settled(self.needy.as_ref(), sending))
            }
            (
                Frame::Ack {
                    batches,
                    whole,
                    frontier,
                },
                State::Streaming(sending, ..),
            ) => {
                let frontier = Frontier::from_wire(&frontier);
                greeting::compare(&self.local, &frontier)?;
                if sending.acknowledged(now, batches, &frontier, whole.then_some(ours))? {
                    self.heartbeat.progressed(now);
                }
                self.progress();
                Ok(())
            }
            (Frame::SnapshotRequest { resume }, State::AwaitingRequest) => {
                self.donate(now, resume);
                Ok(())
            }
            (Frame::SnapshotRequest { resume }, State::Streaming(sending, ..))
                if sending.has_told() =>
            {
                self.donate(now, resume);
                Ok(())
            }
            (Frame::SnapshotRequest { resume }, State::Parting(parting))
                if parting.snapshot() == Some(Snapshot::Give) =>
            {
                self.donate(now, resume);
                Ok(())
            }
            (Frame::NeedsSnapshot { apart }, State::Streaming(..)) => {
                let needy = self.needy.get_or_insert_with(|| Needy::new(now, ours));
                needy.told(apart);
                Ok(())
            }
            // What was under way when we asked for a snapshot as a member.
            (
                Frame::NeedsSnapshot { .. }
                | Frame::Ack { .. }
                | Frame::Proof(_)
                | Frame::Transactions(_)
                | Frame::Piece(_),
                State::Joining(joiner),
            ) if self.needy.is_some() && !joiner.has_begun() => Ok(()),
            (Frame::Chains { origin, chains }, _) => self.chains(now, origin, &chains),
            // The link ends once it is settled who yields.
            (
                Frame::Transactions(_)
                | Frame::Piece(_)
                | Frame::Proof(_)
                | Frame::Ack { .. }
                | Frame::NeedsSnapshot { .. },
                State::Parting(_),
            ) => Ok(()),
            (Frame::SnapshotAck { offset }, State::Donating(donor)) => {
                self.heartbeat.progressed(now);
                donor.acknowledged(now, offset)
            }
            (Frame::SnapshotBegin { id, size, offset }, State::Joining(joiner)) => {
                let action = joiner.begin(now, id, size, offset)?;
                self.actions.push_back(action);
                Ok(())
            }
            (Frame::SnapshotChunk { offset, bytes }, State::Joining(joiner)) => {
                let action = joiner.chunk(now, offset, bytes)?;
                self.actions.push_back(action);
                Ok(())
            }
            (Frame::SnapshotEnd { digest }, State::Joining(joiner)) => {
                let action = joiner.end(digest)?;
                self.actions.push_back(action);
                Ok(())
            }
            _ => Err(SessionError::Unexpected("a frame of another state")),
        }
    }

    pub(super) fn hello(&mut self, now: Now, hello: &Hello) -> Result<(), SessionError> {
        if !matches!(self.state, State::Greeting) {
            return Err(SessionError::Unexpected("a second hello"));
        }
        (self.peer, self.theirs) = (hello.node, hello.incarnation);
        self.event(Event::Hello {
            name: hello.name.clone(),
            node: hello.node,
            version: hello.version.clone(),
            cluster: hello.cluster,
            peers: hello.peers.clone(),
            unmet: hello.unmet,
        });
        self.target = Frontier::from_wire(&hello.frontier);
        match greeting::judge(&self.local, hello)? {
            Standing::Forked(origin) => self.part(now, origin),
            Standing::Rewound => self.part(now, self.local.incarnation),
            Standing::Members => {
                let sending = Sending::new(now, self.target.clone(), hello.partial);
                let receiving = Receiving::new(self.local.partial);
                let proving = Box::new(Proving::new(now, self.local.proofs));
                self.state = State::Streaming(Box::new(sending), Box::new(receiving), proving);
                self.progress();
            }
            Standing::Donor => self.state = State::AwaitingRequest,
            Standing::Joiner(cluster) => {
                let resume = self.local.resume;
                self.state = State::Joining(Joiner::new(now, cluster, Swap::Adopt, resume));
                self.first.push_back(Frame::SnapshotRequest { resume });
                self.event(Event::Joining { percent: 0 });
            }
        }
        Ok(())
    }

    /// The peer takes a snapshot from us.
    fn donate(&mut self, now: Now, resume: Option<(SnapshotId, u64)>) {
        self.state = State::Donating(Donor::new(now, resume));
        let wanted = resume.map(|held| held.0);
        self.actions.push_back(Action::Stage { wanted });
    }

    /// Whether we may take a snapshot now, as a member.
    pub(super) fn claimed(&mut self, now: Now, ours: bool) {
        let Some(cluster) = self.local.cluster else {
            return;
        };
        let swap = match (&mut self.state, &mut self.needy) {
            (State::Parting(parting), _) if !ours => return parting.refused(now),
            (State::Parting(_), _) => Swap::Rebase,
            (_, Some(needy)) if !ours => return needy.refused(now),
            (_, Some(needy)) => needy.swap(),
            (_, None) => return,
        };
        let resume = self.local.resume;
        self.state = State::Joining(Joiner::new(now, cluster, swap, resume));
        self.first.push_back(Frame::SnapshotRequest { resume });
        self.event(Event::Joining { percent: 0 });
    }

    /// An origin has two histories: nothing else goes on until one yields.
    pub(super) fn part(&mut self, now: Now, origin: Incarnation) {
        if origin == self.local.incarnation {
            // Our memory was put back, or we run twice. Our numbers, and the ids that come with
            // them, are in use elsewhere: before anything else none may come to mean two things.
            self.state = State::Renewing;
            self.actions.push_back(Action::Renew { origin });
            return;
        }
        let peer_is_lower = self.peer < self.local.node;
        self.state = State::Parting(Parting::new(now, origin, peer_is_lower));
        self.read_chains(origin);
    }

    /// The peer tells its history of an origin.
    fn chains(
        &mut self,
        now: Now,
        origin: Incarnation,
        chains: &[(u64, [u8; 32])],
    ) -> Result<(), SessionError> {
        match &self.state {
            State::Streaming(..) => self.part(now, origin),
            // Of two at once the lower one is settled first, and our hashes of it are to be read;
            // our own before all.
            State::Parting(parting)
                if origin == self.local.incarnation || origin < parting.origin() =>
            {
                self.part(now, origin);
            }
            State::Parting(_) => {}
            _ => return Err(SessionError::Unexpected("a frame of another state")),
        }
        let State::Parting(parting) = &mut self.state else {
            return Ok(());
        };
        let position = |&(seq, chain): &(u64, [u8; 32])| Position { seq, chain };
        let theirs = chains.iter().map(position).collect();
        let action = parting.heard(origin, theirs);
        self.decided(action);
        Ok(())
    }

    fn read_chains(&mut self, origin: Incarnation) {
        let (ours, theirs) = (&self.local.frontier, &self.target);
        let upto = ours.seq(origin).min(theirs.seq(origin));
        self.actions.push_back(Action::Chains { origin, upto });
    }

    /// Our own hashes are at hand.
    pub(super) fn chains_read(&mut self, origin: Incarnation, chains: Vec<Position>) {
        if let State::Parting(parting) = &mut self.state
            && let Some((frame, action)) = parting.read(origin, chains)
        {
            self.first.push_back(frame);
            self.decided(action);
        }
    }

    /// What parting came to, once both sides' hashes are known.
    fn decided(&mut self, action: Option<Action>) {
        if let State::Parting(parting) = &self.state
            && parting.snapshot() == Some(Snapshot::Take)
        {
            self.actions.push_back(Action::Claim);
        }
        self.actions.extend(action);
    }
}
