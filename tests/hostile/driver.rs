//! Drives one session with whatever a byte string says: frames of every kind, honest, mutated or
//! raw, time, results of actions, commits. Shared by the test suite and the fuzzer.
//!
//! What must hold whatever comes: no panic; what is accepted and not dealt with stays within a
//! window; what is handed to the store is in order; a refusal says why.

mod bodies;
mod frames;
mod source;

use std::collections::{BTreeMap, VecDeque};

use tutti::replica::change::Logged;
use tutti::replica::digest::Question;
use tutti::replica::frontier::{Frontier, Position};
use tutti::replica::session::{
    Action, CHUNK, Done, Large, Local, Message, Now, PIECES, Proofs, Proven, Session, SessionError,
    Step, WINDOW,
};
use tutti::wire::replication::{Frame, MAX_COST, Partial, Run};

pub use bodies::{damage, made, proof, transaction};
pub use source::Source;

const OWN: u64 = 1;
/// The size of the peer's snapshot.
const SNAPSHOT: u64 = 1_000_000;

pub struct Driver {
    session: Session,
    now: Now,
    cluster: bool,
    ours: Frontier,
    lanes: [VecDeque<Action>; 2],
    /// The costs of frames accepted and not yet acknowledged.
    outstanding: VecDeque<usize>,
    dealt: u64,
    /// What went to the store, per origin.
    applied: BTreeMap<u64, u64>,
    /// What the peer sent of each origin, as an honest one would count.
    sent: BTreeMap<u64, u64>,
    /// How far into a large transaction or a snapshot the peer is.
    at: u64,
    written: Option<u64>,
    pieces: Option<(u64, u64, u64)>,
    pings: VecDeque<u64>,
    /// The peer asked in a proof and waits for what we say.
    asked: bool,
    /// What the peer received: data frames, and how far a snapshot.
    got: (u64, u64),
    /// The kinds of frames that have their place.
    kinds: &'static [u8],
    /// The snapshot was asked for, or has begun.
    begun: bool,
}

/// Of a member, of a joiner that has asked, of a donor that has begun.
const KINDS: [&[u8]; 3] = [
    &[1, 2, 3, 4, 5, 6, 11, 17],
    &[5, 6, 12, 12],
    &[5, 6, 9, 9, 9, 13],
];

impl Driver {
    fn new(source: &mut Source<'_>) -> Self {
        let role = source.byte();
        let position = Position {
            seq: 3,
            chain: [3; 32],
        };
        let ours = Frontier([(OWN, position), (2, position)].into());
        let now = Now {
            us: 0,
            wall_ms: 1_700_000_000_000,
            synchronized: true,
        };
        let local = Local {
            name: "us".into(),
            version: "1".into(),
            schema: 1,
            node: [1; 16],
            incarnation: OWN,
            cluster: (!role.is_multiple_of(3)).then_some([9; 16]),
            frontier: ours.clone(),
            partial: role.is_multiple_of(2).then_some(Partial {
                origin: 4,
                seq: 1,
                total: 90_000,
                chain: [8; 8],
                held: 400,
            }),
            resume: role.is_multiple_of(2).then_some(([5; 16], 400)),
            peers: Vec::new(),
            unmet: 0,
            proofs: Proofs::default(),
        };
        Driver {
            session: Session::new(now, local),
            now,
            cluster: !role.is_multiple_of(3),
            applied: BTreeMap::from([(OWN, 3), (2, 3)]),
            ours,
            lanes: Default::default(),
            outstanding: VecDeque::new(),
            dealt: 0,
            sent: BTreeMap::new(),
            at: 0,
            written: None,
            pieces: None,
            pings: VecDeque::new(),
            asked: false,
            got: (0, 0),
            kinds: KINDS[0],
            begun: false,
        }
    }

    fn handle(&mut self, frame: Frame) -> Result<(), SessionError> {
        let cost = match &frame {
            Frame::Transactions(runs) => Some(runs.iter().map(Run::cost).sum()),
            Frame::Piece(piece) => Some(piece.cost()),
            _ => None,
        };
        self.session.handle_frame(self.now, frame)?;
        self.outstanding.extend(cost);
        Ok(())
    }

    /// Lets the session send, and checks what it says.
    fn send(&mut self) {
        let mut count = 0;
        while let Some(frame) = self.session.poll_frame(self.now) {
            count += 1;
            assert!(count <= 2 * PIECES / 1_000, "frames without end");
            match frame {
                Frame::Hello(_) | Frame::Ack { .. } => {
                    let bytes = frame.encode();
                    assert_eq!(Frame::decode(&bytes[4..]).as_ref(), Ok(&frame));
                }
                _ => {}
            }
            match frame {
                Frame::Ack { batches, .. } => {
                    for _ in self.dealt..batches {
                        let known = self.outstanding.pop_front();
                        assert!(known.is_some(), "more dealt with than was accepted");
                    }
                    self.dealt = batches;
                }
                Frame::Proof(_) => self.asked = false,
                Frame::Transactions(_) | Frame::Piece(_) => self.got.0 += 1,
                Frame::SnapshotBegin { offset, .. } => self.got.1 = offset,
                Frame::SnapshotChunk { offset, bytes } => {
                    self.got.1 = offset + bytes.len() as u64;
                }
                Frame::Ping { sent_us } => {
                    self.pings.clear();
                    self.pings.push_back(sent_us);
                }
                _ => {}
            }
        }
        let waiting: usize = self.outstanding.iter().sum();
        assert!(waiting <= WINDOW + MAX_COST, "{waiting} bytes wait");
    }

    fn collect(&mut self) {
        while let Some(action) = self.session.poll_action() {
            if !matches!(action, Action::Event(_)) {
                self.lanes[action.lane()].push_back(action);
            }
        }
    }

    /// Does what a shell would do, and checks that it may be done.
    fn perform(&mut self, action: Action, source: &mut Source<'_>) {
        let done = match action {
            Action::Apply(list) => self.apply(&list),
            Action::WritePiece(piece) => {
                let held = match self.pieces {
                    Some((origin, seq, held)) if (origin, seq) == (piece.origin, piece.seq) => held,
                    // What an earlier link left.
                    _ => 400,
                };
                assert!(piece.offset == 0 || piece.offset == held, "pieces in order");
                self.pieces = Some((piece.origin, piece.seq, piece.end()));
                Done::PieceWritten
            }
            Action::ApplyLarge { origin, seq } => {
                let bytes = vec![7].into();
                assert_eq!(self.pieces.take().map(|p| (p.0, p.1)), Some((origin, seq)));
                let chain = None;
                self.apply(&[Logged {
                    origin,
                    seq,
                    bytes,
                    chain,
                }])
            }
            Action::Read { .. } if source.byte() < 6 => Done::Trimmed {
                origin: u64::from(source.byte() & 3),
                first: u64::from(source.byte()),
                apart: source.byte() < 128,
            },
            Action::Read { .. } if source.byte() < 2 => Done::Forked { origin: 2 },
            Action::Claim => Done::Claimed(source.byte() < 200),
            Action::Chains { origin, .. } => Done::Chains {
                origin,
                chains: vec![
                    Position {
                        seq: 3,
                        chain: [3; 32],
                    },
                    Position {
                        seq: 1,
                        chain: [1; 32],
                    },
                ],
            },
            Action::Renew { origin } => {
                assert_eq!(origin, OWN, "nobody else's to go on with");
                return;
            }
            Action::Reissue { after, .. } => {
                assert!(after < 3, "nothing to issue again");
                return;
            }
            Action::Trust { upto, .. } => {
                assert!(upto <= 3, "not beyond what we hold");
                return;
            }
            Action::Read { position, .. } => {
                let position = position.unwrap_or(0) + 1;
                let seq = self.ours.seq(OWN);
                let some = source.byte();
                let bytes = vec![7; source.size(60_000).max(1)].into();
                let logged = Logged {
                    origin: OWN,
                    seq,
                    bytes,
                    chain: Some([8; 8]),
                };
                let large = Large {
                    origin: OWN,
                    seq,
                    total: 300_000,
                    chain: [8; 8],
                    position,
                };
                Done::Read {
                    found: some
                        .is_multiple_of(3)
                        .then_some(logged)
                        .into_iter()
                        .collect(),
                    large: (some % 3 == 1).then_some(large),
                    position,
                }
            }
            Action::ReadLarge { large, offset } => {
                let left = large.total - offset;
                let bytes = vec![7; PIECES.min(left as usize)];
                Done::LargeRead { offset, bytes }
            }
            Action::Prove(step) => Done::Proved(match step {
                Step::Begin(common) => Ok(Message::Question(Question {
                    common,
                    parts: Vec::new(),
                })),
                Step::Answer(_) if source.byte() < 20 => Ok(Message::NoAnswer),
                Step::Answer(_) => Ok(Message::Answer(Vec::new())),
                Step::Take(_) if source.byte() < 128 => Ok(Message::Wanted(Vec::new())),
                Step::Copies(_) => Ok(Message::Copies(Vec::new())),
                Step::Take(_) | Step::Repair(_) | Step::GiveUp | Step::Smaller => {
                    Err(Proven::default())
                }
            }),
            Action::Stage { .. } => Done::Staged {
                id: [5; 16],
                size: 2_000_000,
            },
            Action::ReadChunk { offset } => {
                let left = 2_000_000_u64.saturating_sub(offset) as usize;
                Done::ChunkRead {
                    offset,
                    bytes: vec![7; left.min(CHUNK)],
                    digest: (left <= CHUNK).then_some([6; 32]),
                }
            }
            Action::Accept { size, offset, .. } => {
                assert!(offset <= size && self.written.is_none());
                self.written = Some(offset);
                return;
            }
            Action::WriteChunk { offset, bytes } => {
                assert_eq!(self.written, Some(offset), "a snapshot in order");
                let end = offset + bytes.len() as u64;
                self.written = Some(end);
                Done::ChunkWritten { end }
            }
            Action::SwapIn { .. } | Action::Event(_) => return,
        };
        self.session.handle_done(self.now, done);
    }

    fn apply(&mut self, list: &[Logged]) -> Done {
        for logged in list {
            let last = self.applied.entry(logged.origin).or_default();
            assert!(logged.seq <= *last + 1, "a gap reached the store");
            *last = (*last).max(logged.seq);
            let chain = [logged.seq as u8; 32];
            let seq = *last;
            let position = Position { seq, chain };
            self.ours
                .advance(&Frontier([(logged.origin, position)].into()));
        }
        Done::Applied(self.ours.clone())
    }

    fn step(&mut self, op: u8, source: &mut Source<'_>) -> Result<(), SessionError> {
        match op % 8 {
            0..=3 => {
                if let Some(frame) = self.received(source) {
                    self.handle(frame)?;
                }
            }
            4 => {
                let us = self.session.poll_timeout().max(self.now.us);
                let later = us.saturating_sub(self.now.us) + source.number() % 1_000_000;
                self.now.us += later;
                self.now.wall_ms += later / 1_000;
                self.session.handle_timeout(self.now)?;
            }
            5 => {
                let seq = self.ours.seq(OWN) + 1;
                let chain = [seq as u8; 32];
                self.applied.insert(OWN, seq);
                self.ours.0.insert(OWN, Position { seq, chain });
                self.session.committed(self.now, &self.ours);
            }
            _ => {
                let first = usize::from(source.byte() % 2);
                let action = self.lanes[first].pop_front();
                if let Some(action) = action.or_else(|| self.lanes[1 - first].pop_front()) {
                    self.perform(action, source);
                }
            }
        }
        Ok(())
    }
}

/// Runs what `bytes` say until the session refuses to go on; returns how many steps that were.
pub fn run(bytes: &[u8]) -> u64 {
    let mut source = Source(bytes);
    let mut driver = Driver::new(&mut source);
    let mut steps = 0;
    if source.byte() < 240 {
        let hello = driver.hello(&mut source);
        if driver.handle(hello).is_err() {
            return steps;
        }
    }
    while let Some(op) = source.next() {
        if let Err(error) = driver.step(op, &mut source) {
            assert!(!error.to_string().is_empty());
            break;
        }
        steps += 1;
        driver.collect();
        if op < 200 {
            driver.send();
            driver.collect();
        }
    }
    steps
}

/// Any frame body: decoding never panics, and what decodes encodes to the same value.
pub fn frame(body: &[u8]) {
    if let Ok(frame) = Frame::decode(body) {
        let encoded = frame.encode();
        assert_eq!(Frame::decode(&encoded[4..]).ok(), Some(frame));
    }
}

/// Bodies of frames of every kind, as `bytes` say, some of them damaged; how many.
#[allow(dead_code, reason = "the fuzzer has what it found instead")]
pub fn frames(bytes: &[u8]) -> u64 {
    let mut source = Source(bytes);
    let mut driver = Driver::new(&mut source);
    let mut count = 0;
    while let Some(damage) = source.next() {
        let mut body = driver.frame(&mut source).encode().split_off(4);
        for _ in 0..damage % 4 {
            let at = usize::from(source.byte()) * body.len() / 256;
            body[at] = source.byte();
        }
        frame(&body);
        count += 1;
    }
    count
}
