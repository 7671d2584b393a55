//! One peer link as a state machine: hello, catch-up, live stream, acknowledgement, snapshot.
//!
//! Pure: frames and results go in, frames and [`Action`]s come out; the shell (`node::link`, or
//! the simulator) carries the actions out and reports back. Both directions are bounded by
//! [`WINDOW`]: whatever the backlog and whatever the peer does, a session holds no more than about
//! two windows, and it never waits for the peer before it reads on, so two that send much cannot
//! block each other. Heartbeats and acknowledgements go before data and are never queued twice.

use std::collections::VecDeque;

use super::digest;
use super::frontier::{Frontier, tag};
use super::{Incarnation, NodeId};
use crate::wire::replication::{Frame, Hello, PROTOCOL, Tag, Told};

mod action;
mod arriving;
mod donor;
mod error;
mod greeting;
mod heartbeat;
mod joiner;
mod needy;
mod parting;
mod proof;
mod receiving;
mod sending;
#[cfg(test)]
mod tests;

pub use action::{Action, Done, Event, Large, Local, Now, Swap};
pub use error::SessionError;
pub use greeting::schema_version;
pub use proof::{COPIES, MAX_MESSAGE, Message, Proofs, Proven, Step};

use donor::Donor;
use heartbeat::Heartbeat;
use joiner::Joiner;
use needy::Needy;
use parting::Parting;
use proof::Proving;
use receiving::Receiving;
use sending::Sending;

/// How many bytes may be sent and not yet dealt with; the frame that passes it is the last.
pub const WINDOW: usize = 4 << 20;
/// About how many bytes of transactions go into one frame; a larger transaction goes in pieces.
pub const BATCH: usize = 256 << 10;
/// How many bytes of a large transaction are read at a time.
pub const PIECES: usize = 2 << 20;
/// How many bytes of a snapshot go into one frame.
pub const CHUNK: usize = 256 << 10;
/// How often a ping is sent, in milliseconds.
pub const PING_MS: u64 = 1_000;
/// After how much silence a link counts as cut, in milliseconds.
pub const SILENCE_MS: u64 = 30_000;
/// How long pings may stay unanswered while nothing else shows that the peer reads, in
/// milliseconds.
pub const UNANSWERED_MS: u64 = 60_000;
/// How long what was sent may stay unacknowledged without any progress, in milliseconds: a
/// transaction of the largest size has to be applied meanwhile.
pub const STALL_MS: u64 = 300_000;
/// How long a donor may stage a snapshot, in milliseconds.
pub const STAGING_MS: u64 = 3_600_000;
/// How long after a small frame of transactions the next one waits, in milliseconds: what is
/// committed meanwhile goes with it.
pub const PACE_MS: u64 = 2;
/// How long another peer's transaction waits before it is relayed, in milliseconds: the peer most
/// often gets it from its origin and says so, and then it is not sent twice.
pub const RELAY_MS: u64 = 20;

#[derive(Debug)]
enum State {
    /// Our hello is out, theirs is awaited.
    Greeting,
    /// Both are members: transactions flow.
    Streaming(Box<Sending>, Box<Receiving>, Box<Proving>),
    /// They may ask for a snapshot.
    AwaitingRequest,
    /// They join.
    Donating(Donor),
    /// We join, or take a snapshot as a member.
    Joining(Joiner),
    /// An origin has two histories.
    Parting(Parting),
    /// Our present incarnation has: the link ends once we go on under another.
    Renewing,
}

/// One link's session.
#[derive(Debug)]
pub struct Session {
    local: Local,
    state: State,
    /// What the peer had when the link came up: beyond what we have, that is our catch-up.
    target: Frontier,
    /// What we told the peer that we have.
    told: Frontier,
    /// Something is to be acknowledged.
    owes: bool,
    /// The peer's log no longer goes back to what we hold.
    needy: Option<Needy>,
    /// The peer, once it has said hello, and its incarnation.
    peer: NodeId,
    theirs: Incarnation,
    heartbeat: Heartbeat,
    /// What the peer is to be told of the prerequisites; the latest takes the place of what still
    /// waits.
    checks: Option<Vec<Told>>,
    /// Frames of which there is one a link.
    first: VecDeque<Frame>,
    actions: VecDeque<Action>,
}

impl Session {
    /// Starts a session: its first frame is our hello.
    pub fn new(now: Now, local: Local) -> Self {
        let hello = Frame::Hello(Hello {
            protocol: PROTOCOL,
            cluster: local.cluster,
            node: local.node,
            incarnation: local.incarnation,
            name: local.name.clone(),
            version: local.version.clone(),
            schema: local.schema,
            wall_ms: now.wall_ms,
            frontier: local.frontier.to_wire(),
            partial: local.partial,
            peers: local.peers.clone(),
            unmet: local.unmet,
        });
        Session {
            told: local.frontier.clone(),
            local,
            state: State::Greeting,
            target: Frontier::default(),
            owes: false,
            needy: None,
            peer: NodeId::default(),
            theirs: 0,
            heartbeat: Heartbeat::new(now),
            checks: None,
            first: VecDeque::from([hello]),
            actions: VecDeque::new(),
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next frame to send; to be asked whenever the connection can take one.
    pub fn poll_frame(&mut self, now: Now) -> Option<Frame> {
        if let Some(frame) = self.first.pop_front() {
            return Some(frame);
        }
        if let Some(pong) = self.heartbeat.pong(now) {
            return Some(pong);
        }
        if let Some(ack) = self.ack() {
            return Some(ack);
        }
        if let Some(ping) = self.heartbeat.ping(now) {
            return Some(ping);
        }
        if !matches!(self.state, State::Greeting)
            && let Some(checks) = self.checks.take()
        {
            return Some(Frame::Checks(checks));
        }
        let own = self.local.incarnation;
        let frame = match &mut self.state {
            State::Streaming(sending, _, proving) => {
                proving.frame().or_else(|| sending.frame(now, own))
            }
            State::Donating(donor) => donor.frame(),
            _ => None,
        };
        self.drive(now);
        frame
    }

    /// Tells the peer of the prerequisites as this side sees them, once it has greeted.
    pub fn tell(&mut self, checks: Vec<Told>) {
        self.checks = Some(checks);
    }

    /// When [`Session::handle_timeout`] is due, in monotonic microseconds.
    pub fn poll_timeout(&self) -> u64 {
        let other = match &self.state {
            State::Streaming(sending, _, proving) => {
                let needy = self.needy.as_ref();
                let yields = self.peer < self.local.node;
                let needy = needy.and_then(|needy| needy.poll_timeout(sending, yields));
                let all = [sending.poll_timeout(), proving.poll_timeout(), needy];
                all.into_iter().flatten().min()
            }
            State::Parting(parting) => Some(parting.poll_timeout()),
            State::Donating(donor) => donor.poll_timeout(),
            State::Joining(joiner) => joiner.poll_timeout(),
            State::Greeting | State::AwaitingRequest | State::Renewing => None,
        };
        let beat = self.heartbeat.poll_timeout();
        other.map_or(beat, |other| other.min(beat))
    }

    /// Makes a ping due, reads on, ends a link on which nothing moves.
    pub fn handle_timeout(&mut self, now: Now) -> Result<(), SessionError> {
        let greeted = !matches!(self.state, State::Greeting);
        self.heartbeat.handle_timeout(now, greeted)?;
        match &mut self.state {
            State::Streaming(sending, _, proving) => {
                sending.handle_timeout(now)?;
                let (ours, theirs) = (&self.local.frontier, &sending.acked);
                let settled = needy::settled(self.needy.as_ref(), sending);
                let common = || settled.then(|| digest::common(ours, theirs));
                proving.handle_timeout(now, common);
            }
            State::Donating(donor) => donor.handle_timeout(now)?,
            State::Joining(joiner) => joiner.handle_timeout(now)?,
            State::Parting(parting) => parting.handle_timeout(now)?,
            State::Greeting | State::AwaitingRequest | State::Renewing => {}
        }
        self.drive(now);
        Ok(())
    }

    /// Takes in a frame.
    pub fn handle_frame(&mut self, now: Now, frame: Frame) -> Result<(), SessionError> {
        self.heartbeat.heard(now);
        match frame {
            Frame::Hello(hello) => self.hello(now, &hello)?,
            _ if matches!(self.state, State::Greeting) => {
                return Err(SessionError::Unexpected("something before the hello"));
            }
            Frame::Ping { sent_us } => self.heartbeat.ping_arrived(now, sent_us),
            Frame::Pong {
                sent_us,
                held_us,
                wall_ms,
                synchronized,
            } => {
                let beat = &mut self.heartbeat;
                let (us, clock_offset_ms) = beat.pong_arrived(now, sent_us, held_us, wall_ms)?;
                self.event(Event::RoundTrip {
                    us,
                    clock_offset_ms,
                    synchronized,
                });
            }
            Frame::Checks(checks) => self.event(Event::Checks(checks)),
            frame => self.state_frame(now, frame)?,
        }
        self.drive(now);
        Ok(())
    }

    /// Takes in what became of an action.
    pub fn handle_done(&mut self, now: Now, done: Done) {
        match (done, &mut self.state) {
            (Done::Applied(frontier), State::Streaming(_, receiving, _)) => {
                receiving.applied();
                self.owes = true;
                self.advance(now, &frontier);
                self.progress();
            }
            (Done::PieceWritten, State::Streaming(_, receiving, _)) => {
                match receiving.piece_written() {
                    Some(apply) => self.actions.push_back(apply),
                    None => self.owes = true,
                }
            }
            (
                Done::Read {
                    found,
                    large,
                    position,
                },
                State::Streaming(sending, ..),
            ) => sending.read(now, found, large, position),
            (
                Done::Trimmed {
                    origin,
                    first,
                    apart,
                },
                State::Streaming(sending, ..),
            ) => sending.trimmed(now, (origin, first), apart),
            (Done::Forked { origin }, State::Streaming(..)) => self.part(now, origin),
            (Done::Claimed(ours), State::Streaming(..) | State::Parting(_)) => {
                self.claimed(now, ours);
            }
            (Done::Chains { origin, chains }, State::Parting(_)) => {
                self.chains_read(origin, chains);
            }
            (Done::LargeRead { offset, bytes }, State::Streaming(sending, ..)) => {
                sending.large_read(offset, &bytes);
            }
            (Done::Staged { id, size }, State::Donating(donor)) => donor.staged(now, id, size),
            (
                Done::ChunkRead {
                    offset,
                    bytes,
                    digest,
                },
                State::Donating(donor),
            ) => donor.chunk(offset, bytes, digest),
            (Done::ChunkWritten { end }, State::Joining(joiner)) => {
                let event = joiner.written(now, end);
                self.event(event);
            }
            (Done::Proved(result), State::Streaming(_, _, proving)) => {
                let event = proving.done(now, result);
                self.actions.extend(event.map(Action::Event));
            }
            // No session asks for what its state does not await.
            _ => {}
        }
        self.drive(now);
    }

    /// Whether a frame is to be judged by what our store has committed by now.
    pub fn needs_frontier(&self, frame: &Frame) -> bool {
        matches!(frame, Frame::Hello(_) | Frame::Ack { .. })
            || arriving::told(frame, self.local.incarnation) > 0
    }

    /// Our store committed something, ours or another peer's.
    pub fn committed(&mut self, now: Now, frontier: &Frontier) {
        self.advance(now, frontier);
        self.drive(now);
    }

    /// Takes over our store's frontier: what moved is to be sent, and to be acknowledged unless
    /// an acknowledgement follows anyhow.
    fn advance(&mut self, now: Now, frontier: &Frontier) {
        let own = self.local.incarnation;
        let ours = frontier.seq(own) > self.local.frontier.seq(own);
        let moved = |origin: Incarnation, seq| seq > self.local.frontier.seq(origin);
        let mut others = frontier.0.iter().filter(|(origin, _)| **origin != own);
        let relayed = others.any(|(origin, position)| moved(*origin, position.seq));
        let catching_up = self.local.frontier.missing(&self.target) > 0;
        self.local.frontier.advance(frontier);
        if let State::Streaming(sending, receiving, _) = &mut self.state {
            if ours || relayed {
                sending.more(now, !ours);
            }
            self.owes |= relayed && !receiving.is_busy();
        }
        if catching_up {
            // What this peer had may have come by another's link.
            self.progress();
        }
    }

    /// Starts what can be started.
    fn drive(&mut self, now: Now) {
        match &mut self.state {
            State::Streaming(sending, receiving, proving) => {
                let needy = self.needy.as_mut();
                let yields = self.peer < self.local.node;
                let claim = needy.and_then(|needy| needy.work(now, sending, yields));
                self.actions.extend(claim);
                let dealt = receiving.dealt();
                self.actions.extend(receiving.work(&self.local.frontier));
                self.owes |= receiving.dealt() > dealt;
                self.actions.extend(sending.work(now));
                self.actions.extend(proving.work());
            }
            State::Donating(donor) => self.actions.extend(donor.work()),
            State::Greeting
            | State::AwaitingRequest
            | State::Joining(_)
            | State::Parting(_)
            | State::Renewing => {}
        }
    }

    /// What is to be acknowledged, all of it in one frame.
    fn ack(&mut self) -> Option<Frame> {
        match &mut self.state {
            State::Streaming(_, receiving, _) if std::mem::take(&mut self.owes) => {
                let mut news = self.local.frontier.clone();
                news.0.retain(|origin, p| p.seq > self.told.seq(*origin));
                self.told.advance(&news);
                let ends = receiving.ends();
                let held = |(origin, end): (&Incarnation, &(u64, Tag))| {
                    let ours = self.local.frontier.0.get(origin);
                    ours.is_some_and(|ours| (ours.seq, tag(&ours.chain)) == *end)
                };
                let whole = !ends.is_empty() && ends.iter().all(held);
                if whole {
                    news.0.retain(|origin, _| !ends.contains_key(origin));
                }
                Some(Frame::Ack {
                    batches: receiving.dealt(),
                    whole,
                    frontier: news.to_wire(),
                })
            }
            State::Joining(joiner) => joiner.ack(),
            _ => None,
        }
    }

    /// What the peer has durably, as far as it told or showed.
    pub fn acked(&self) -> Option<&Frontier> {
        match &self.state {
            State::Streaming(sending, ..) => Some(&sending.acked),
            _ => None,
        }
    }

    fn event(&mut self, event: Event) {
        self.actions.push_back(Action::Event(event));
    }

    fn progress(&mut self) {
        let State::Streaming(sending, ..) = &self.state else {
            return;
        };
        let changes = self.local.frontier.missing(&self.target);
        let behind = sending.acked.missing(&self.local.frontier);
        self.event(if changes > 0 {
            Event::CatchingUp { changes }
        } else {
            Event::Live { behind }
        });
    }
}
