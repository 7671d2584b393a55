//! Replication frames between peers (inside TLS inside AH).
//!
//! A frame is a 32-bit big-endian length of what follows, one byte that names its kind, and its
//! fields in postcard's encoding (varints little-endian base 128, lists with their length first).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------------------------------------------------------+
//! |              length of kind and fields, big-endian            |
//! +---------------+-----------------------------------------------+
//! |     kind      |  fields ...
//! +---------------+-----------------------------------------------
//! ```
//!
//! Decoding never panics, whatever the input: it returns a value or a named error. What it
//! returns is within the limits of its kind, and took no more memory than a small multiple of
//! [`MAX_FRAME`].

use serde::{Deserialize, Serialize};

mod bytes;
mod checks;
mod compress;
mod hello;
#[cfg(test)]
mod tests;
mod transactions;

pub use checks::{MAX_CHECK_DETAIL, MAX_CHECK_NAME, MAX_CHECKS, Told};
pub use hello::{Hello, MAX_CHAINS, MAX_NAME, MAX_ORIGINS, MAX_PEERS, Partial, WireFrontier};
pub use transactions::{MAX_COST, MAX_TRANSACTIONS, Piece, Run, runs};

/// The version of these frames; peers of another one do not replicate.
pub const PROTOCOL: u16 = 9;

/// The largest length a frame may state, and the largest a compressed one may become.
pub const MAX_FRAME: usize = 1 << 20;

/// The first bytes of a chain hash: enough to see that two histories are not one.
pub type Tag = [u8; 8];

/// Names one staged snapshot: random.
pub type SnapshotId = [u8; 16];

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Kind 1: who speaks.
    Hello(Hello),
    /// Kind 2: transactions, in an order that keeps causality.
    Transactions(Vec<Run>),
    /// Kind 3: what the sender has done with what it was sent on this link.
    Ack {
        /// How many frames of kinds 2 and 11 it has dealt with since the hello.
        batches: u64,
        /// Whether it holds all that the frames dealt with since its last acknowledgement ended
        /// with, of the very history that they named, and of these origins nothing beyond.
        whole: bool,
        /// The positions that moved since then; where `whole`, others than those. All is durable.
        frontier: WireFrontier,
    },
    /// Kind 4: answer with a pong; the sender's monotonic microseconds.
    Ping {
        /// The sender's own clock, returned unread.
        sent_us: u64,
    },
    /// Kind 5: the answer.
    Pong {
        /// From the ping.
        sent_us: u64,
        /// How long the ping lay at the answerer, in microseconds.
        held_us: u64,
        /// The answerer's wall clock when it answered, milliseconds since 1970.
        wall_ms: u64,
        /// Whether that clock is synchronized.
        synchronized: bool,
    },
    /// Kind 6: the sender has no cluster, or was told that it needs a snapshot, and asks for one.
    SnapshotRequest {
        /// What an earlier link left half sent: which snapshot, and how many bytes are held.
        resume: Option<(SnapshotId, u64)>,
    },
    /// Kind 7: what is going to be sent.
    SnapshotBegin {
        /// Which snapshot.
        id: SnapshotId,
        /// In bytes.
        size: u64,
        /// Where sending starts: what was held, or 0.
        offset: u64,
    },
    /// Kind 8: a piece of it.
    SnapshotChunk {
        /// Where it belongs.
        offset: u64,
        /// What belongs there, never empty.
        bytes: Vec<u8>,
    },
    /// Kind 9: the joiner has written everything before `offset`.
    SnapshotAck {
        /// The next byte it waits for.
        offset: u64,
    },
    /// Kind 10: all is sent.
    SnapshotEnd {
        /// Of the whole.
        digest: [u8; 32],
    },
    /// Kind 11: a piece of a transaction that is too large for kind 2.
    Piece(Piece),
    /// Kind 13: a message of a proof, read by the session.
    Proof(Vec<u8>),
    /// Kind 14: the sender's log no longer goes back to what the receiver holds: once it has
    /// delivered what it has, it is to ask for a snapshot.
    NeedsSnapshot {
        /// The two may hold different histories: it is to ask at once, and deliver after that.
        apart: bool,
    },
    /// Kind 15: an origin has two histories; some of its chain hashes here, the latest first.
    Chains {
        /// Which origin.
        origin: u64,
        /// Sequence numbers with their chain hashes.
        chains: Vec<(u64, [u8; 32])>,
    },
    /// Kind 16: the prerequisites of clustering as the sender sees them, all of them.
    Checks(Vec<Told>),
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is 0 or beyond [`MAX_FRAME`].
    #[error("a frame of {0} bytes, at most {MAX_FRAME} are allowed")]
    Length(usize),
    /// A kind this version does not know.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// The fields of a kind that end early, are malformed, or are followed by more.
    #[error("a malformed frame of kind {0}")]
    Fields(u8),
    /// A hello of another protocol version.
    #[error("a hello of protocol {0}, this system speaks {PROTOCOL}: they do not replicate")]
    Protocol(u16),
    /// More of something than one frame may hold.
    #[error("a frame beyond a limit: {what} are more than {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// Numbers that contradict each other.
    #[error("a frame that contradicts itself: {0}")]
    Order(&'static str),
    /// Compressed bytes that are damaged, become another size than stated, or hold what is never
    /// compressed.
    #[error("a compressed frame that does not become the {0} bytes it states")]
    Compressed(usize),
}

fn encode(kind: u8, fields: &impl Serialize) -> Vec<u8> {
    // The length and the kind go first; postcard appends. Its only error is a full buffer.
    let buffer = vec![0, 0, 0, 0, kind];
    let mut bytes = postcard::to_extend(fields, buffer).unwrap_or_default();
    head(&mut bytes);
    bytes
}

/// Writes the length in front.
fn head(bytes: &mut [u8]) {
    let length = (bytes.len().saturating_sub(4)) as u32;
    if let Some(head) = bytes.get_mut(..4) {
        head.copy_from_slice(&length.to_be_bytes());
    }
}

/// The kind of a compressed frame.
const COMPRESSED: u8 = 12;

fn fields<'a, T: Deserialize<'a>>(kind: u8, bytes: &'a [u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(FrameError::Fields(kind)),
    }
}

/// Checks the length that precedes a frame.
pub fn check_length(head: [u8; 4]) -> Result<usize, FrameError> {
    match u32::from_be_bytes(head) as usize {
        length @ 1..=MAX_FRAME => Ok(length),
        length => Err(FrameError::Length(length)),
    }
}

#[derive(Serialize, Deserialize)]
struct Chunk<'a> {
    offset: u64,
    #[serde(borrow, serialize_with = "bytes::serialize")]
    bytes: &'a [u8],
}

impl Frame {
    /// The bytes of a frame inside one of kind 12: `plain` is a whole frame of kind 2, 8, 11 or
    /// 13, as [`Frame::encode`] made it. `None` where that does not make it smaller.
    pub fn pack(plain: &[u8]) -> Option<Vec<u8>> {
        let inner = plain.get(4..)?;
        if !matches!(inner.first(), Some(2 | 8 | 11 | 13)) {
            return None;
        }
        let mut bytes = vec![0, 0, 0, 0, COMPRESSED];
        bytes.extend(compress::pack(inner)?);
        head(&mut bytes);
        Some(bytes)
    }

    /// Its bytes, length included.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Frame::Hello(hello) => encode(1, hello),
            Frame::Transactions(runs) => encode(2, runs),
            Frame::Ack {
                batches,
                whole,
                frontier,
            } => encode(3, &(batches, whole, frontier)),
            Frame::Ping { sent_us } => encode(4, sent_us),
            Frame::Pong {
                sent_us,
                held_us,
                wall_ms,
                synchronized,
            } => encode(5, &(sent_us, held_us, wall_ms, synchronized)),
            Frame::SnapshotRequest { resume } => encode(6, resume),
            Frame::SnapshotBegin { id, size, offset } => encode(7, &(id, size, offset)),
            Frame::SnapshotChunk { offset, bytes } => {
                let offset = *offset;
                encode(8, &Chunk { offset, bytes })
            }
            Frame::SnapshotAck { offset } => encode(9, offset),
            Frame::SnapshotEnd { digest } => encode(10, digest),
            Frame::Piece(piece) => encode(11, piece),
            Frame::Proof(message) => encode(13, message),
            Frame::NeedsSnapshot { apart } => encode(14, apart),
            Frame::Chains { origin, chains } => encode(15, &(origin, chains)),
            Frame::Checks(all) => encode(16, all),
        }
    }

    /// Its bytes in two parts, the second of which is not copied where it is a piece of a
    /// snapshot.
    pub fn into_parts(self) -> (Vec<u8>, Vec<u8>) {
        let Frame::SnapshotChunk { offset, bytes } = self else {
            return (self.encode(), Vec::new());
        };
        let mut first = encode(8, &(offset, bytes.len()));
        let length = (first.len() - 4 + bytes.len()) as u32;
        first[..4].copy_from_slice(&length.to_be_bytes());
        (first, bytes)
    }

    /// As [`Frame::decode`], of bytes that a piece of a snapshot may keep.
    pub fn take(mut bytes: Vec<u8>) -> Result<Frame, FrameError> {
        let piece = match bytes.split_first() {
            Some((8, rest)) => postcard::take_from_bytes::<(u64, usize)>(rest).ok(),
            _ => None,
        };
        match piece {
            Some(((offset, length), rest)) if length > 0 && rest.len() == length => {
                if offset.checked_add(length as u64).is_none() {
                    return Err(FrameError::Order("a piece of a snapshot"));
                }
                bytes.drain(..bytes.len() - length);
                Ok(Frame::SnapshotChunk { offset, bytes })
            }
            _ => Frame::decode(&bytes),
        }
    }

    /// The frame in `bytes`, which follow the length.
    pub fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
        match bytes.split_first() {
            None => Err(FrameError::Length(0)),
            Some((&COMPRESSED, rest)) => {
                let inner = compress::unpack(COMPRESSED, rest)?;
                match inner.split_first() {
                    Some((&kind @ (2 | 8 | 11 | 13), rest)) => plain(kind, rest),
                    _ => Err(FrameError::Compressed(inner.len())),
                }
            }
            Some((&kind, rest)) => plain(kind, rest),
        }
    }
}

/// The frame of a kind that is not compressed (any more).
fn plain(kind: u8, rest: &[u8]) -> Result<Frame, FrameError> {
    Ok(match kind {
        1 => {
            // What follows in another protocol's hello is not ours to read.
            let (protocol, _) =
                postcard::take_from_bytes(rest).map_err(|_| FrameError::Fields(kind))?;
            if protocol != PROTOCOL {
                return Err(FrameError::Protocol(protocol));
            }
            let hello: Hello = fields(kind, rest)?;
            hello.check()?;
            Frame::Hello(hello)
        }
        2 => {
            let runs: Vec<Run> = fields(kind, rest)?;
            transactions::check(&runs)?;
            Frame::Transactions(runs)
        }
        3 => {
            let (batches, whole, frontier) = fields(kind, rest)?;
            hello::frontier(&frontier)?;
            Frame::Ack {
                batches,
                whole,
                frontier,
            }
        }
        4 => Frame::Ping {
            sent_us: fields(kind, rest)?,
        },
        5 => {
            let (sent_us, held_us, wall_ms, synchronized) = fields(kind, rest)?;
            Frame::Pong {
                sent_us,
                held_us,
                wall_ms,
                synchronized,
            }
        }
        6 => Frame::SnapshotRequest {
            resume: fields(kind, rest)?,
        },
        7 => {
            let (id, size, offset) = fields(kind, rest)?;
            if offset > size {
                return Err(FrameError::Order("where a snapshot starts"));
            }
            Frame::SnapshotBegin { id, size, offset }
        }
        8 => {
            let Chunk { offset, bytes } = fields(kind, rest)?;
            if bytes.is_empty() || offset.checked_add(bytes.len() as u64).is_none() {
                return Err(FrameError::Order("a piece of a snapshot"));
            }
            let bytes = bytes.to_vec();
            Frame::SnapshotChunk { offset, bytes }
        }
        9 => Frame::SnapshotAck {
            offset: fields(kind, rest)?,
        },
        10 => Frame::SnapshotEnd {
            digest: fields(kind, rest)?,
        },
        11 => {
            let piece: Piece = fields(kind, rest)?;
            piece.check()?;
            Frame::Piece(piece)
        }
        13 => Frame::Proof(fields(kind, rest)?),
        14 => Frame::NeedsSnapshot {
            apart: fields(kind, rest)?,
        },
        15 => {
            let (origin, chains): (_, Vec<_>) = fields(kind, rest)?;
            hello::chains(&chains)?;
            Frame::Chains { origin, chains }
        }
        16 => {
            let all: Vec<Told> = fields(kind, rest)?;
            checks::check(&all)?;
            Frame::Checks(all)
        }
        other => return Err(FrameError::Kind(other)),
    })
}
