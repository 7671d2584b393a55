//! Frames of every kind, mostly as an honest peer's would be.

use tutti::replica::session::CHUNK;
use tutti::wire::replication::{Frame, Hello, PROTOCOL, Piece, Run, Told};

use super::bodies::message;
use super::source::{Source, wire};
use super::{Driver, KINDS, SNAPSHOT};

impl Driver {
    pub(super) fn hello(&mut self, source: &mut Source<'_>) -> Frame {
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

    pub(super) fn run(&mut self, source: &mut Source<'_>) -> Run {
        // 0 is who says it.
        let origin = match source.byte() % 4 {
            3 => 0,
            other => 2 + u64::from(other),
        };
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

    pub(super) fn piece(&mut self, source: &mut Source<'_>) -> Piece {
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
    pub(super) fn frame(&mut self, source: &mut Source<'_>) -> Frame {
        let kind = source.byte();
        let kind = match kind {
            0..=2 => source.byte() % 18,
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
                whole: source.byte().is_multiple_of(2),
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
            14 => Frame::NeedsSnapshot {
                apart: source.byte() < 128,
            },
            15 => Frame::Chains {
                origin: 1 + u64::from(source.byte() % 3),
                chains: vec![(source.near(3), [3; 32]), (1, [source.byte() % 2; 32])],
            },
            16 => Frame::Checks(vec![Told {
                name: "x".repeat(source.near(64) as usize % 70),
                of_receiver: true,
                grade: source.byte() % 5,
                detail: String::new(),
                seen: source.byte() % 4,
            }]),
            17 if self.asked && source.byte() < 250 => Frame::Ping { sent_us: 1 },
            17 => {
                self.asked = true;
                Frame::Proof(message(source))
            }
            _ => Frame::Piece(self.piece(source)),
        }
    }

    /// A frame that came through the codec, if it did; now and then damaged on its way.
    pub(super) fn received(&mut self, source: &mut Source<'_>) -> Option<Frame> {
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
}
