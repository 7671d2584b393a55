//! Drives one session with whatever a byte string says: frames of every kind, honest, mutated or
//! raw, time, results of actions, commits. Shared by the test suite and the fuzzer.
//!
//! What must hold whatever comes: no panic; what is accepted and not dealt with stays within a
//! window; what is handed to the store is in order; a refusal says why.

use std::collections::{BTreeMap, VecDeque};

use tutti::replica::change::Logged;
use tutti::replica::digest::Question;
use tutti::replica::frontier::{Frontier, Position};
use tutti::replica::session::{
    Action, CHUNK, Done, Large, Local, Message, Now, PIECES, Proven, Session, SessionError, Step,
    WINDOW,
};
use tutti::wire::replication::{
    Frame, Hello, MAX_COST, PROTOCOL, Partial, Piece, Run, WireFrontier,
};

const OWN: u64 = 1;
/// The size of the peer's snapshot.
const SNAPSHOT: u64 = 1_000_000;

/// A byte string read from its front; 0 beyond its end.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    /// Mostly small, sometimes at the edge of what a number can be.
    fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=99 => u64::from(small % 10),
            large @ 100..=229 => u64::from(large) << 14,
            230..=242 => u64::MAX - u64::from(self.byte()),
            _ => u64::MAX,
        }
    }

    /// A number beside the one that would be right.
    fn near(&mut self, right: u64) -> u64 {
        match self.byte() {
            0..=249 => right,
            250..=251 => right.wrapping_add(1),
            252..=253 => right.wrapping_sub(1),
            _ => self.number(),
        }
    }

    fn size(&mut self, most: usize) -> usize {
        match self.byte() {
            0..=199 => usize::from(self.byte() % 40),
            200..=245 => most / 64,
            _ => most,
        }
    }
}

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
    /// What the peer received: data frames, and how far a snapshot.
    got: (u64, u64),
    /// The kinds of frames that have their place.
    kinds: &'static [u8],
    /// The snapshot was asked for, or has begun.
    begun: bool,
}

/// Of a member, of a joiner that has asked, of a donor that has begun.
const KINDS: [&[u8]; 3] = [
    &[1, 2, 3, 4, 5, 6, 11],
    &[5, 6, 12, 12],
    &[5, 6, 9, 9, 9, 13],
];

fn wire(source: &mut Source<'_>) -> WireFrontier {
    let mut list: BTreeMap<u64, (u64, [u8; 32])> = BTreeMap::new();
    for _ in 0..source.byte() % 4 {
        let origin = source.number();
        list.insert(origin, (source.number(), [source.byte(); 32]));
    }
    let triple = |(origin, (seq, chain))| (origin, seq, chain);
    list.into_iter().map(triple).collect()
}

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
            got: (0, 0),
            kinds: KINDS[0],
            begun: false,
        }
    }

    fn hello(&mut self, source: &mut Source<'_>) -> Frame {
        let kind = source.byte();
        self.kinds = match (self.cluster, kind % 3) {
            (true, 0) => KINDS[1],
            (true, _) => KINDS[0],
            (false, _) => KINDS[2],
        };
        Frame::Hello(Hello {
            protocol: PROTOCOL,
            cluster: (!kind.is_multiple_of(3)).then_some([9; 16]),
            node: [source.near(2) as u8; 16],
            incarnation: source.near(7),
            name: "them".into(),
            version: "1".into(),
            schema: source.near(1),
            wall_ms: source.number(),
            frontier: if kind < 200 { vec![] } else { wire(source) },
            partial: None,
            peers: vec![[3; 16]; usize::from(kind % 3)],
            unmet: kind,
        })
    }

    fn run(&mut self, source: &mut Source<'_>) -> Run {
        let origin = 2 + u64::from(source.byte() % 3);
        let known = self.ours.seq(origin);
        let sent = self.sent.get(&origin).copied().unwrap_or(0);
        let first = source.near(known.max(sent).saturating_add(1));
        let count = 1 + u64::from(source.byte() % 5);
        let size = source.size(60_000).max(1);
        let run = Run {
            origin,
            first,
            transactions: vec![vec![7; size]; count as usize],
            chain: [8; 8],
        };
        self.sent.insert(origin, run.last());
        run
    }

    fn piece(&mut self, source: &mut Source<'_>) -> Piece {
        let origin = 4;
        let seq = source.near(self.ours.seq(origin).saturating_add(1));
        let total = source.near(90_000);
        let offset = source.near(self.at);
        let size = source.size(60_000).max(1);
        let left = usize::try_from(total.saturating_sub(offset)).unwrap_or(0);
        let piece = Piece {
            origin,
            seq,
            total,
            chain: [8; 8],
            offset,
            bytes: vec![7; size.min(left).max(1)],
        };
        self.at = if piece.end() >= total { 0 } else { piece.end() };
        piece
    }

    /// One frame of some kind.
    fn frame(&mut self, source: &mut Source<'_>) -> Frame {
        let kind = source.byte();
        let kind = match kind {
            0..=2 => source.byte() % 16,
            _ if !self.begun && self.kinds == KINDS[1] => 7,
            _ if !self.begun && self.kinds == KINDS[2] => 8,
            kind => self.kinds[usize::from(kind) % self.kinds.len()],
        };
        self.begun |= kind == 7 || kind == 8;
        match kind {
            0 => self.hello(source),
            1..=3 => {
                Frame::Transactions((0..=source.byte() % 3).map(|_| self.run(source)).collect())
            }
            4 => Frame::Ack {
                batches: source.near(self.got.0),
                frontier: match source.byte() {
                    0..=240 => vec![],
                    _ => wire(source),
                },
            },
            5 => Frame::Ping {
                sent_us: source.number(),
            },
            6 => {
                let sent_us = source.number();
                let asked = self.pings.pop_front();
                if asked.is_none() && source.byte() < 250 {
                    return Frame::Ping { sent_us };
                }
                Frame::Pong {
                    sent_us: asked.unwrap_or(sent_us),
                    held_us: source.number(),
                    wall_ms: source.number(),
                    synchronized: false,
                }
            }
            7 => Frame::SnapshotRequest {
                resume: source
                    .byte()
                    .is_multiple_of(2)
                    .then(|| ([5; 16], source.near(400))),
            },
            8 => {
                let offset = source.near(0);
                self.at = offset;
                Frame::SnapshotBegin {
                    id: [source.near(5) as u8; 16],
                    size: source.near(SNAPSHOT),
                    offset,
                }
            }
            9 => {
                let offset = source.near(self.at);
                let left = SNAPSHOT.saturating_sub(self.at) as usize;
                let size = source.size(CHUNK).clamp(1, left.max(1));
                let bytes = vec![7; size];
                self.at = offset.saturating_add(bytes.len() as u64);
                Frame::SnapshotChunk { offset, bytes }
            }
            12 => Frame::SnapshotAck {
                offset: source.near(self.got.1),
            },
            13 => {
                let offset = self.at;
                let left = SNAPSHOT.saturating_sub(offset) as usize;
                if source.near(left as u64) != 0 {
                    let bytes = vec![7; left.clamp(1, CHUNK)];
                    self.at = offset.saturating_add(bytes.len() as u64);
                    return Frame::SnapshotChunk { offset, bytes };
                }
                Frame::SnapshotEnd { digest: [6; 32] }
            }
            14 => Frame::NeedsSnapshot,
            15 => Frame::Chains {
                origin: 1 + u64::from(source.byte() % 3),
                chains: vec![(source.near(3), [3; 32]), (1, [source.byte() % 2; 32])],
            },
            _ => Frame::Piece(self.piece(source)),
        }
    }

    /// A frame that came through the codec, if it did; now and then damaged on its way.
    fn received(&mut self, source: &mut Source<'_>) -> Option<Frame> {
        let bytes = self.frame(source).encode();
        let mut bytes = Frame::pack(&bytes).unwrap_or(bytes).split_off(4);
        for _ in 0..source.byte().saturating_sub(240) {
            let at = usize::from(source.byte()) * bytes.len() / 256;
            bytes[at] = source.byte();
        }
        match Frame::decode(&bytes) {
            Ok(frame) => Some(frame),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                None
            }
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
            Action::Read { .. } if source.byte() < 6 => Done::Trimmed,
            Action::Read { .. } if source.byte() < 2 => Done::Forked { origin: 2 },
            Action::Claim => Done::Claimed(source.byte() < 200),
            Action::Chains { origin } => Done::Chains {
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
            Action::Reissue { origin, after } => {
                assert!(after < 3 || origin == OWN, "nothing to issue again");
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
                Step::Answer(_) if source.byte() < 20 => Ok(Message::TooLarge),
                Step::Answer(_) => Ok(Message::Answer(Vec::new())),
                Step::Take(_) if source.byte() < 128 => Ok(Message::Wanted(Vec::new())),
                Step::Copies(_) => Ok(Message::Copies(Vec::new())),
                Step::Take(_) | Step::Repair(_) | Step::GiveUp => Err(Proven::default()),
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
