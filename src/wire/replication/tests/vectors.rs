//! Every frame against what the document says of it, as tests/vectors/replication.py writes it.

use super::*;

const TAG: Tag = [0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff];

fn hash() -> [u8; 32] {
    std::array::from_fn(|at| 0x40 + at as u8)
}

/// Sixteen octets that count up.
fn node(from: u8) -> [u8; 16] {
    std::array::from_fn(|at| from + at as u8)
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// The vectors of frames, by name.
fn all() -> Vec<(&'static str, Vec<u8>)> {
    let lines = include_str!("../../../../tests/vectors/replication.txt").lines();
    let frames = lines.filter_map(|line| line.strip_prefix("frame.")?.split_once(' '));
    frames.map(|(name, data)| (name, hex(data))).collect()
}

fn of(name: &str) -> Vec<u8> {
    let found = all().into_iter().find(|vector| vector.0 == name);
    found.unwrap().1
}

fn hellos() -> [(&'static str, Frame); 2] {
    let full = Hello {
        protocol: 9,
        cluster: Some([0xc1; 16]),
        node: node(0),
        incarnation: u64::MAX,
        name: "Knoten 1 ä".into(),
        version: "0.1.0".into(),
        schema: (1 << 63) + 5,
        wall_ms: 1_700_000_000_000,
        frontier: vec![(5, 300, hash()), (u64::MAX, 1, [0; 32])],
        partial: Some(Partial {
            origin: 7,
            seq: 8,
            total: 900_000,
            chain: TAG,
            held: 262_144,
        }),
        peers: vec![node(16), node(0)],
        unmet: 200,
    };
    let bare = Hello {
        protocol: 9,
        cluster: None,
        node: node(16),
        incarnation: 1,
        name: String::new(),
        version: "v".into(),
        schema: 0,
        wall_ms: 127,
        frontier: vec![],
        partial: None,
        peers: vec![],
        unmet: 0,
    };
    [
        ("hello", Frame::Hello(full)),
        ("hello.bare", Frame::Hello(bare)),
    ]
}

fn transactions() -> [(&'static str, Frame); 3] {
    let run = |origin, first, transactions: &[&[u8]]| Run {
        chain: TAG,
        ..run(origin, first, transactions)
    };
    let few = vec![run(0, 2, &[&[7, 8], &[9]]), run(300, 128, &[&[1]])];
    let large = vec![run(300, 1, &[&[7; 2_000]])];
    let piece = Piece {
        origin: 300,
        seq: 4,
        total: 5_000_000,
        chain: TAG,
        offset: 262_144,
        bytes: (0..200).collect(),
    };
    [
        ("transactions", Frame::Transactions(few)),
        ("large", Frame::Transactions(large)),
        ("piece", Frame::Piece(piece)),
    ]
}

fn heartbeats() -> [(&'static str, Frame); 5] {
    let ack = |batches, whole, frontier| Frame::Ack {
        batches,
        whole,
        frontier,
    };
    let pong = |sent_us, held_us, wall_ms, synchronized| Frame::Pong {
        sent_us,
        held_us,
        wall_ms,
        synchronized,
    };
    let moved = vec![(5, 6, hash()), (9, 1 << 40, [0; 32])];
    [
        ("ack", ack(300, true, vec![])),
        ("ack.part", ack(0, false, moved)),
        ("ping", Frame::Ping { sent_us: 300 }),
        ("pong", pong(1, 200, 1_700_000_000_123, true)),
        ("pong.unsynchronized", pong(u64::MAX, 0, 3, false)),
    ]
}

fn snapshots() -> [(&'static str, Frame); 6] {
    let request = |resume| Frame::SnapshotRequest { resume };
    let begin = Frame::SnapshotBegin {
        id: node(16),
        size: 1 << 33,
        offset: 4_096,
    };
    let chunk = Frame::SnapshotChunk {
        offset: 300,
        bytes: vec![5, 6],
    };
    [
        ("snapshot_request", request(None)),
        ("snapshot_request.part", request(Some((node(0), 4_096)))),
        ("snapshot_begin", begin),
        ("snapshot_chunk", chunk),
        ("snapshot_ack", Frame::SnapshotAck { offset: 1 << 32 }),
        ("snapshot_end", Frame::SnapshotEnd { digest: hash() }),
    ]
}

fn others() -> [(&'static str, Frame); 5] {
    let mut backwards = hash();
    backwards.reverse();
    let chains = Frame::Chains {
        origin: u64::MAX,
        chains: vec![(300, hash()), (2, backwards), (0, [0; 32])],
    };
    let clock = Told {
        name: "Clock".into(),
        of_receiver: false,
        grade: 0,
        detail: String::new(),
        seen: 1,
    };
    let checks = vec![told("Path MTU", "1500 octets – enough"), clock];
    [
        ("proof", Frame::Proof(vec![4])),
        ("needs_snapshot", Frame::NeedsSnapshot { apart: false }),
        ("needs_snapshot.apart", Frame::NeedsSnapshot { apart: true }),
        ("chains", chains),
        ("checks", Frame::Checks(checks)),
    ]
}

#[test]
fn every_frame_is_as_the_document_says() {
    let mut made: Vec<(&str, Frame)> = hellos().into();
    made.extend(transactions());
    made.extend(heartbeats());
    made.extend(snapshots());
    made.extend(others());
    for (name, frame) in &made {
        let bytes = of(name);
        assert_eq!(frame.encode(), bytes, "{name}");
        assert_eq!(Frame::decode(&bytes[4..]).as_ref(), Ok(frame), "{name}");
        assert_eq!(Frame::take(bytes[4..].to_vec()).as_ref(), Ok(frame));
        let (first, second) = frame.clone().into_parts();
        assert_eq!([first, second].concat(), bytes, "{name} in parts");
    }
    // All vectors were looked at, and they hold every kind.
    let vectors = all();
    let compressed = |name: &&str| *name == "compressed";
    let looked: Vec<&str> = made.iter().map(|made| made.0).collect();
    let left = vectors.iter().map(|vector| vector.0);
    let left: Vec<&str> = left.filter(|name| !looked.contains(name)).collect();
    assert!(left.len() == 1 && left.iter().all(compressed), "{left:?}");
    let mut kinds: Vec<u8> = vectors.iter().map(|vector| vector.1[4]).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, (1..=16).collect::<Vec<_>>());
}

/// Another compressor's octets are read; ours are the same fields around octets of its own.
#[test]
fn a_compressed_frame_is_as_the_document_says() {
    let (plain, packed) = (of("large"), of("compressed"));
    let frame = Frame::decode(&plain[4..]).unwrap();
    assert_eq!(Frame::decode(&packed[4..]), Ok(frame.clone()));
    let ours = Frame::pack(&plain).unwrap();
    let (length, fields) = ours.split_at(4);
    assert_eq!(length, (fields.len() as u32).to_be_bytes());
    // The kind, the size of what is inside, the length of what follows, zstd's magic number.
    let size = plain.len() - 4;
    let varint = [size as u8 | 0x80, (size >> 7) as u8];
    assert_eq!(fields[..3], [12, varint[0], varint[1]]);
    assert_eq!(usize::from(fields[3]), fields.len() - 4);
    assert_eq!(fields[4..8], [0x28, 0xb5, 0x2f, 0xfd]);
    assert_eq!(Frame::decode(fields), Ok(frame));
}
