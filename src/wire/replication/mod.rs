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
//! Decoding never panics, whatever the input: it returns a value or a named error.

use serde::{Deserialize, Serialize};

/// The version of these frames; peers of another one do not replicate.
pub const PROTOCOL: u16 = 1;

/// The largest length a frame may state: one largest transaction and what goes around it.
pub const MAX_FRAME: usize = (16 << 20) + (1 << 16);

/// A frontier as sent: origin incarnation, last sequence number, chain hash.
pub type WireFrontier = Vec<(u64, u64, [u8; 32])>;

/// What each side says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u16,
    /// The cluster it is a member of.
    pub cluster: Option<[u8; 16]>,
    /// Its node.
    pub node: [u8; 16],
    /// Its present incarnation.
    pub incarnation: u64,
    /// Its name, to be shown.
    pub name: String,
    /// Its software version.
    pub version: String,
    /// What it has durably applied.
    pub frontier: WireFrontier,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Kind 1: who speaks.
    Hello(Hello),
    /// Kind 2: transactions as (origin, number, bytes), in an order that keeps causality.
    Transactions(Vec<(u64, u64, Vec<u8>)>),
    /// Kind 3: all up to here is durable at the sender.
    Ack(WireFrontier),
    /// Kind 4: answer with a pong; the sender's monotonic microseconds.
    Ping {
        /// The sender's own clock, returned unread.
        sent_us: u64,
    },
    /// Kind 5: the answer.
    Pong {
        /// From the ping.
        sent_us: u64,
        /// The answerer's wall clock, milliseconds since 1970.
        wall_ms: u64,
    },
    /// Kind 6: the sender has no cluster and asks for a snapshot of this one.
    SnapshotRequest,
    /// Kind 7: what is going to be sent.
    SnapshotBegin {
        /// In bytes.
        size: u64,
        /// Of the whole.
        sha256: [u8; 32],
    },
    /// Kind 8: a piece of it.
    SnapshotChunk {
        /// Where it belongs.
        offset: u64,
        /// What belongs there.
        bytes: Vec<u8>,
    },
    /// Kind 9: the joiner holds everything before `offset`.
    SnapshotAck {
        /// The next byte it waits for.
        offset: u64,
    },
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
}

fn encode(kind: u8, fields: &impl Serialize) -> Vec<u8> {
    // The length and the kind go first; postcard appends. Its only error is a full buffer.
    let buffer = vec![0, 0, 0, 0, kind];
    let mut bytes = postcard::to_extend(fields, buffer).unwrap_or_default();
    let length = (bytes.len().saturating_sub(4)) as u32;
    if let Some(head) = bytes.get_mut(..4) {
        head.copy_from_slice(&length.to_be_bytes());
    }
    bytes
}

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

impl Frame {
    /// Its bytes, length included.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Frame::Hello(hello) => encode(1, hello),
            Frame::Transactions(list) => encode(2, list),
            Frame::Ack(frontier) => encode(3, frontier),
            Frame::Ping { sent_us } => encode(4, sent_us),
            Frame::Pong { sent_us, wall_ms } => encode(5, &(sent_us, wall_ms)),
            Frame::SnapshotRequest => encode(6, &()),
            Frame::SnapshotBegin { size, sha256 } => encode(7, &(size, sha256)),
            Frame::SnapshotChunk { offset, bytes } => encode(8, &(offset, bytes)),
            Frame::SnapshotAck { offset } => encode(9, offset),
        }
    }

    /// The frame in `bytes`, which follow the length.
    pub fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
        let Some((&kind, rest)) = bytes.split_first() else {
            return Err(FrameError::Length(0));
        };
        Ok(match kind {
            1 => Frame::Hello(fields(kind, rest)?),
            2 => Frame::Transactions(fields(kind, rest)?),
            3 => Frame::Ack(fields(kind, rest)?),
            4 => Frame::Ping {
                sent_us: fields(kind, rest)?,
            },
            5 => {
                let (sent_us, wall_ms) = fields(kind, rest)?;
                Frame::Pong { sent_us, wall_ms }
            }
            6 => {
                fields::<()>(kind, rest)?;
                Frame::SnapshotRequest
            }
            7 => {
                let (size, sha256) = fields(kind, rest)?;
                Frame::SnapshotBegin { size, sha256 }
            }
            8 => {
                let (offset, bytes) = fields(kind, rest)?;
                Frame::SnapshotChunk { offset, bytes }
            }
            9 => Frame::SnapshotAck {
                offset: fields(kind, rest)?,
            },
            other => return Err(FrameError::Kind(other)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_bytes() {
        let ping = Frame::Ping { sent_us: 300 };
        assert_eq!(ping.encode(), [0, 0, 0, 3, 4, 0xac, 0x02]);
        let list = Frame::Transactions(vec![(5, 6, vec![7, 8])]);
        assert_eq!(list.encode(), [0, 0, 0, 7, 2, 1, 5, 6, 2, 7, 8]);
        assert_eq!(Frame::SnapshotRequest.encode(), [0, 0, 0, 1, 6]);
    }

    #[test]
    fn frames_survive_the_wire() {
        let hello = Hello {
            protocol: PROTOCOL,
            cluster: Some([1; 16]),
            node: [2; 16],
            incarnation: u64::MAX,
            name: "peer".into(),
            version: "0.1.0".into(),
            frontier: vec![(5, 6, [7; 32])],
        };
        for frame in [
            Frame::Hello(hello),
            Frame::Ack(vec![]),
            Frame::Pong {
                sent_us: 1,
                wall_ms: 2,
            },
            Frame::SnapshotBegin {
                size: 9,
                sha256: [3; 32],
            },
            Frame::SnapshotChunk {
                offset: 4,
                bytes: vec![1; 300],
            },
            Frame::SnapshotAck { offset: 304 },
        ] {
            let bytes = frame.encode();
            let length = check_length([bytes[0], bytes[1], bytes[2], bytes[3]]).unwrap();
            assert_eq!(length, bytes.len() - 4);
            assert_eq!(Frame::decode(&bytes[4..]), Ok(frame));
        }
    }

    #[test]
    fn what_is_no_frame_is_named() {
        assert_eq!(Frame::decode(&[]), Err(FrameError::Length(0)));
        assert_eq!(Frame::decode(&[99]), Err(FrameError::Kind(99)));
        assert_eq!(Frame::decode(&[6, 0]), Err(FrameError::Fields(6)));
        assert!(check_length([0xff; 4]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_decode_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..99),
        ) {
            let _ = Frame::decode(&bytes);
        }
    }
}
