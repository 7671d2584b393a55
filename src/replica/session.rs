//! One peer link as a state machine: hello, catch-up, live stream, acknowledgement, snapshot.
//!
//! Pure: frames and results go in, [`Action`]s come out; the shell (`node::link`, or the
//! simulator) carries them out in order and reports back. Memory is bounded: at most
//! [`WINDOW`] bytes are under way, whatever the backlog.

use std::collections::VecDeque;

use super::change::Logged;
use super::frontier::Frontier;
use super::{ClusterId, Incarnation};
use crate::wire::replication::{Frame, Hello, PROTOCOL};

mod action;

pub use action::{Action, Event, Local, Now, SessionError};

/// How many bytes may be sent and not yet acknowledged.
pub const WINDOW: usize = 4 << 20;
/// About how many bytes of transactions go into one frame.
pub const BATCH: usize = 256 << 10;
/// How many bytes of a snapshot go into one frame.
pub const CHUNK: usize = 256 << 10;
/// How often a ping is sent, in milliseconds.
pub const PING_MS: u64 = 1_000;
/// After how much silence a link counts as cut, in milliseconds. A peer that stages or swaps in
/// a snapshot answers nothing meanwhile.
pub const SILENCE_MS: u64 = 30_000;

#[derive(Clone, Debug, PartialEq)]
enum State {
    /// Our hello is out, theirs is awaited.
    Greeting,
    /// Transactions flow.
    Streaming,
    /// They join: the staged snapshot's size, and what was sent and acknowledged of it.
    Donating { size: u64, sent: u64, acked: u64 },
    /// We join: what arrives.
    Joining {
        cluster: ClusterId,
        size: u64,
        sha256: [u8; 32],
        at: u64,
    },
    /// They may ask for a snapshot.
    AwaitingRequest,
}

/// One link's session.
#[derive(Debug)]
pub struct Session {
    local: Local,
    state: State,
    /// What the peer has durably, by its own word.
    acked: Frontier,
    /// What it has or was sent.
    sent: Frontier,
    /// What it had when the link came up: beyond what we have, that is our catch-up.
    target: Frontier,
    position: Option<i64>,
    reading: bool,
    /// More may be in the log than was read.
    pending: bool,
    applying: usize,
    in_flight: VecDeque<(Frontier, usize)>,
    last_heard_us: u64,
    last_ping_us: u64,
    actions: VecDeque<Action>,
}

impl Session {
    /// Starts a session: its first action sends our hello.
    pub fn new(now: Now, local: Local) -> Self {
        let hello = Frame::Hello(Hello {
            protocol: PROTOCOL,
            cluster: local.cluster,
            node: local.node,
            incarnation: local.incarnation,
            name: local.name.clone(),
            version: local.version.clone(),
            frontier: local.frontier.to_wire(),
        });
        Session {
            local,
            state: State::Greeting,
            acked: Frontier::default(),
            sent: Frontier::default(),
            target: Frontier::default(),
            position: None,
            reading: false,
            pending: true,
            applying: 0,
            in_flight: VecDeque::new(),
            last_heard_us: now.us,
            last_ping_us: now.us,
            actions: VecDeque::from([Action::Send(hello)]),
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether more frames may be read: false while much is waiting to be applied.
    pub fn wants_frames(&self) -> bool {
        self.applying < 4
    }

    /// When [`Session::handle_timeout`] is due, in monotonic microseconds.
    pub fn poll_timeout(&self) -> u64 {
        let ping = self.last_ping_us + PING_MS * 1_000;
        ping.min(self.last_heard_us + SILENCE_MS * 1_000)
    }

    /// Sends a ping when due, ends a silent link.
    pub fn handle_timeout(&mut self, now: Now) -> Result<(), SessionError> {
        if !self.wants_frames() {
            // Nothing is read while the disk is behind: that silence is ours.
            self.last_heard_us = now.us;
        }
        if now.us >= self.last_heard_us + SILENCE_MS * 1_000 {
            return Err(SessionError::Silence);
        }
        if now.us >= self.last_ping_us + PING_MS * 1_000 {
            self.last_ping_us = now.us;
            if self.state != State::Greeting {
                self.send(Frame::Ping { sent_us: now.us });
            }
        }
        Ok(())
    }

    /// Takes in a frame.
    pub fn handle_frame(&mut self, now: Now, frame: Frame) -> Result<(), SessionError> {
        self.last_heard_us = now.us;
        match frame {
            Frame::Hello(hello) => self.hello(hello),
            _ if self.state == State::Greeting => {
                Err(SessionError::Unexpected("something before the hello"))
            }
            Frame::Ping { sent_us } => {
                let wall_ms = now.wall_ms;
                self.send(Frame::Pong { sent_us, wall_ms });
                Ok(())
            }
            Frame::Pong { sent_us, wall_ms } => {
                let us = now.us.saturating_sub(sent_us);
                let middle = now.wall_ms as i64 - (us / 2_000) as i64;
                self.actions.push_back(Action::Event(Event::RoundTrip {
                    us,
                    clock_offset_ms: (wall_ms as i64).saturating_sub(middle),
                }));
                Ok(())
            }
            Frame::Transactions(list) if self.state == State::Streaming => {
                self.applying += 1;
                let logged =
                    list.into_iter()
                        .map(|(origin, seq, bytes)| Logged { origin, seq, bytes });
                self.actions.push_back(Action::Apply(logged.collect()));
                Ok(())
            }
            Frame::Ack(frontier) if self.state == State::Streaming => {
                self.acknowledged(Frontier::from_wire(&frontier));
                Ok(())
            }
            other => self.snapshot_frame(other),
        }
    }

    fn send(&mut self, frame: Frame) {
        self.actions.push_back(Action::Send(frame));
    }

    fn event(&mut self, event: Event) {
        self.actions.push_back(Action::Event(event));
    }

    fn hello(&mut self, hello: Hello) -> Result<(), SessionError> {
        if self.state != State::Greeting {
            return Err(SessionError::Unexpected("a second hello"));
        }
        self.event(Event::Hello {
            name: hello.name.clone(),
            node: hello.node,
            version: hello.version.clone(),
            cluster: hello.cluster,
        });
        if hello.node == self.local.node {
            return Err(SessionError::SameNode);
        }
        if hello.version != self.local.version || hello.protocol != PROTOCOL {
            return Err(SessionError::Version {
                ours: self.local.version.clone(),
                theirs: hello.version,
            });
        }
        match (self.local.cluster, hello.cluster) {
            (None, None) => return Err(SessionError::NoCluster),
            (Some(ours), Some(theirs)) if ours != theirs => return Err(SessionError::OtherCluster),
            (None, Some(cluster)) => {
                self.state = State::Joining {
                    cluster,
                    size: 0,
                    sha256: [0; 32],
                    at: 0,
                };
                self.send(Frame::SnapshotRequest);
                self.event(Event::Joining { percent: 0 });
                return Ok(());
            }
            (Some(_), None) => {
                self.state = State::AwaitingRequest;
                return Ok(());
            }
            (Some(_), Some(_)) => {}
        }
        self.target = Frontier::from_wire(&hello.frontier);
        for (origin, theirs) in &self.target.0 {
            let ours = self.local.frontier.0.get(origin);
            if ours.is_some_and(|ours| ours.seq == theirs.seq && ours.chain != theirs.chain) {
                return Err(SessionError::Fork {
                    origin: *origin,
                    seq: theirs.seq,
                });
            }
        }
        self.acked = self.target.clone();
        self.sent = self.target.clone();
        self.state = State::Streaming;
        self.progress();
        self.read_more();
        Ok(())
    }

    fn progress(&mut self) {
        let changes = self.local.frontier.missing(&self.target);
        let behind = self.acked.missing(&self.local.frontier);
        self.event(if changes > 0 {
            Event::CatchingUp { changes }
        } else {
            Event::Live { behind }
        });
    }

    /// Our store committed something, ours or another peer's.
    pub fn committed(&mut self, frontier: Frontier) {
        self.local.frontier.advance(&frontier);
        self.pending = true;
        self.read_more();
    }

    fn read_more(&mut self) {
        let under_way: usize = self.in_flight.iter().map(|batch| batch.1).sum();
        let free = under_way < WINDOW;
        if self.state == State::Streaming && self.pending && !self.reading && free {
            self.reading = true;
            self.pending = false;
            self.actions.push_back(Action::Read {
                frontier: self.sent.clone(),
                position: self.position,
            });
        }
    }

    /// What was read from the log, as (origin, sequence, bytes), and where to read on.
    pub fn read(&mut self, found: Vec<(Incarnation, u64, Vec<u8>)>, position: i64) {
        self.reading = false;
        self.position = Some(position);
        // The peer may have told meanwhile that it has them from elsewhere.
        let news = found
            .into_iter()
            .filter(|(o, seq, _)| !self.acked.covers(*o, *seq));
        let news: Vec<_> = news.collect();
        if !news.is_empty() {
            let mut end = Frontier::default();
            for (origin, seq, _) in &news {
                end.0.entry(*origin).or_default().seq = *seq;
            }
            self.sent.advance(&end);
            let size = news.iter().map(|n| n.2.len()).sum();
            self.in_flight.push_back((end, size));
            self.send(Frame::Transactions(news));
            self.pending = true;
        }
        self.read_more();
    }

    /// A batch was applied durably; `frontier` is ours after it.
    pub fn applied(&mut self, frontier: Frontier) {
        self.applying = self.applying.saturating_sub(1);
        self.local.frontier.advance(&frontier);
        self.send(Frame::Ack(frontier.to_wire()));
        self.progress();
        self.pending = true;
        self.read_more();
    }

    fn acknowledged(&mut self, frontier: Frontier) {
        self.acked.advance(&frontier);
        self.sent.advance(&frontier);
        let acked = &self.acked;
        let done = |end: &Frontier| end.0.iter().all(|(o, p)| acked.covers(*o, p.seq));
        while self.in_flight.front().is_some_and(|batch| done(&batch.0)) {
            self.in_flight.pop_front();
        }
        self.progress();
        self.read_more();
    }

    fn snapshot_frame(&mut self, frame: Frame) -> Result<(), SessionError> {
        match (frame, &mut self.state) {
            (Frame::SnapshotRequest, State::AwaitingRequest) => {
                self.actions.push_back(Action::Stage);
                Ok(())
            }
            (Frame::SnapshotAck { offset }, State::Donating { sent, acked, .. }) => {
                if offset > *sent {
                    return Err(SessionError::Unexpected("an acknowledgement of the future"));
                }
                *acked = (*acked).max(offset);
                self.donate();
                Ok(())
            }
            (
                Frame::SnapshotBegin { size, sha256 },
                State::Joining {
                    size: s, sha256: h, ..
                },
            ) => {
                if *s != 0 || size == 0 {
                    return Err(SessionError::Unexpected("a snapshot's beginning"));
                }
                (*s, *h) = (size, sha256);
                Ok(())
            }
            (Frame::SnapshotChunk { offset, bytes }, State::Joining { .. }) => {
                self.chunk_arrived(offset, bytes)
            }
            _ => Err(SessionError::Unexpected("a frame of another state")),
        }
    }

    fn chunk_arrived(&mut self, offset: u64, bytes: Vec<u8>) -> Result<(), SessionError> {
        let State::Joining {
            cluster,
            size,
            sha256,
            at,
        } = &mut self.state
        else {
            return Err(SessionError::Unexpected("a piece of a snapshot"));
        };
        let end = offset + bytes.len() as u64;
        if offset != *at || bytes.is_empty() || end > *size {
            return Err(SessionError::Unexpected(
                "a piece of a snapshot that does not fit",
            ));
        }
        *at = end;
        let percent = (end * 100 / *size) as u8;
        let swap = (end == *size).then_some(Action::SwapIn {
            sha256: *sha256,
            cluster: *cluster,
        });
        self.actions.push_back(Action::WriteChunk { offset, bytes });
        self.send(Frame::SnapshotAck { offset: end });
        self.event(Event::Joining { percent });
        self.actions.extend(swap);
        Ok(())
    }

    /// A snapshot was staged.
    pub fn staged(&mut self, size: u64, sha256: [u8; 32]) {
        self.state = State::Donating {
            size,
            sent: 0,
            acked: 0,
        };
        self.send(Frame::SnapshotBegin { size, sha256 });
        self.donate();
    }

    /// Asks for the next piece, while the window has room and none is asked for.
    fn donate(&mut self) {
        if let State::Donating { size, sent, acked } = self.state
            && sent < size
            && sent - acked < WINDOW as u64
            && !self.reading
        {
            self.reading = true;
            self.actions.push_back(Action::ReadChunk { offset: sent });
        }
    }

    /// A piece of the staged snapshot was read.
    pub fn chunk(&mut self, offset: u64, bytes: Vec<u8>) {
        self.reading = false;
        if let State::Donating { sent, .. } = &mut self.state {
            *sent = offset + bytes.len() as u64;
            self.send(Frame::SnapshotChunk { offset, bytes });
            self.donate();
        }
    }
}
