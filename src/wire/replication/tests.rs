//! Golden bytes, limits, and hostile input.

use proptest::prelude::*;

use super::*;

mod vectors;

fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL,
        cluster: Some([1; 16]),
        node: [2; 16],
        incarnation: u64::MAX,
        name: "peer".into(),
        version: "0.1.0".into(),
        schema: 77,
        wall_ms: 1_700_000_000_000,
        frontier: vec![(5, 6, [7; 32]), (9, 1, [8; 32])],
        partial: Some(Partial {
            origin: 5,
            seq: 7,
            total: 900,
            chain: [8; 8],
            held: 100,
        }),
        peers: vec![[3; 16], [4; 16]],
        unmet: 1,
    }
}

fn run(origin: u64, first: u64, transactions: &[&[u8]]) -> Run {
    let transactions = transactions.iter().map(|bytes| bytes.to_vec()).collect();
    Run {
        origin,
        first,
        transactions,
        chain: [8; 8],
    }
}

fn told(name: &str, detail: &str) -> Told {
    Told {
        name: name.into(),
        of_receiver: true,
        grade: 3,
        detail: detail.into(),
        seen: 2,
    }
}

/// One of each kind, and of each that is worth compressing a large one.
fn samples() -> Vec<Frame> {
    let piece = |size: usize| Piece {
        origin: 3,
        seq: 4,
        total: 5_000,
        chain: [8; 8],
        offset: 10,
        bytes: vec![7; size],
    };
    vec![
        Frame::Hello(hello()),
        Frame::Transactions(vec![run(1, 2, &[&[7, 8], &[9]]), run(300, 1, &[&[1]])]),
        Frame::Transactions(vec![run(1, 2, &[&[7; 4_000], &[9; 90]])]),
        Frame::Ack {
            batches: 3,
            whole: true,
            frontier: vec![(5, 6, [7; 32])],
        },
        Frame::Ping { sent_us: 300 },
        Frame::Pong {
            sent_us: 1,
            held_us: 2,
            wall_ms: 3,
            synchronized: true,
        },
        Frame::SnapshotRequest { resume: None },
        Frame::SnapshotRequest {
            resume: Some(([4; 16], 99)),
        },
        Frame::SnapshotBegin {
            id: [4; 16],
            size: 100,
            offset: 99,
        },
        Frame::SnapshotChunk {
            offset: 4,
            bytes: vec![1; 3_000],
        },
        Frame::SnapshotAck { offset: 304 },
        Frame::SnapshotEnd { digest: [3; 32] },
        Frame::Piece(piece(20)),
        Frame::Piece(piece(4_000)),
        Frame::Proof(vec![1, 2, 3]),
        Frame::NeedsSnapshot { apart: true },
        Frame::Chains {
            origin: 5,
            chains: vec![(6, [7; 32]), (2, [8; 32])],
        },
        Frame::Checks(vec![told("Path MTU", "1500 octets")]),
    ]
}

#[test]
fn golden_bytes() {
    let ping = Frame::Ping { sent_us: 300 };
    assert_eq!(ping.encode(), [0, 0, 0, 3, 4, 0xac, 0x02]);
    let list = Frame::Transactions(vec![run(300, 2, &[&[7, 8], &[9]])]);
    let expected = [
        0, 0, 0, 19, 2, 1, 0xac, 0x02, 2, 2, 2, 7, 8, 1, 9, 8, 8, 8, 8, 8, 8, 8, 8,
    ];
    assert_eq!(list.encode(), expected);
    let held = Frame::Ack {
        batches: 300,
        whole: true,
        frontier: vec![],
    };
    assert_eq!(held.encode(), [0, 0, 0, 5, 3, 0xac, 0x02, 1, 0]);
    let request = Frame::SnapshotRequest { resume: None };
    assert_eq!(request.encode(), [0, 0, 0, 2, 6, 0]);
    let chunk = Frame::SnapshotChunk {
        offset: 300,
        bytes: vec![5, 6],
    };
    assert_eq!(chunk.encode(), [0, 0, 0, 6, 8, 0xac, 0x02, 2, 5, 6]);
}

#[test]
fn frames_survive_the_wire() {
    for frame in samples() {
        let bytes = frame.encode();
        let length = check_length([bytes[0], bytes[1], bytes[2], bytes[3]]).unwrap();
        assert_eq!(length, bytes.len() - 4);
        assert_eq!(Frame::decode(&bytes[4..]).as_ref(), Ok(&frame));
        let (first, second) = frame.clone().into_parts();
        assert_eq!([first, second].concat(), bytes);
        if let Some(packed) = Frame::pack(&bytes) {
            assert!(packed.len() < bytes.len() && bytes.len() > 1_024);
            assert_eq!(Frame::decode(&packed[4..]), Ok(frame));
        }
    }
}

#[test]
fn a_frame_is_compressed_only_where_that_makes_it_smaller() {
    let packed = |bytes| Frame::pack(&Frame::SnapshotChunk { offset: 0, bytes }.encode());
    let alike = packed(vec![1; 50_000]).unwrap();
    assert!(alike[4] == COMPRESSED && alike.len() < 1_000);
    assert_eq!(packed(vec![1; 500]), None);
    let hello = Frame::Hello(Hello {
        frontier: (0..500).map(|origin| (origin, 1, [0; 32])).collect(),
        ..hello()
    });
    assert_eq!(
        Frame::pack(&hello.encode()),
        None,
        "only what is large anyhow"
    );
    // A generator's output has no pattern that zstd could find.
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    });
    assert_eq!(packed(noise.take(50_000).collect()), None);
}

fn claim(size: u32, inner: &[u8]) -> Vec<u8> {
    let bytes = zstd::bulk::compress(inner, 1).unwrap();
    let mut frame = vec![COMPRESSED];
    frame.extend(postcard::to_stdvec(&(size, bytes)).unwrap());
    frame
}

#[test]
fn a_bomb_is_named_and_takes_no_more_memory_than_a_frame() {
    let bomb = claim(10, &vec![0; 200 << 20]);
    assert!(bomb.len() < MAX_FRAME);
    assert_eq!(Frame::decode(&bomb), Err(FrameError::Compressed(10)));
    let honest = claim(200 << 20, &vec![0; 200 << 20]);
    assert_eq!(
        Frame::decode(&honest),
        Err(FrameError::Length(200 << 20)),
        "the size stated is beyond a frame"
    );
    // Compressed twice, or something small that nobody compresses.
    let twice = claim(9, &claim(2, &[4, 1])[..9]);
    assert!(matches!(
        Frame::decode(&twice),
        Err(FrameError::Compressed(_))
    ));
    let ping = claim(2, &[4, 1]);
    assert_eq!(Frame::decode(&ping), Err(FrameError::Compressed(2)));
}

#[test]
fn what_is_no_frame_is_named() {
    assert_eq!(Frame::decode(&[]), Err(FrameError::Length(0)));
    assert_eq!(Frame::decode(&[99]), Err(FrameError::Kind(99)));
    assert_eq!(Frame::decode(&[6, 0, 0]), Err(FrameError::Fields(6)));
    assert!(check_length([0xff; 4]).is_err());
    assert!(check_length([0; 4]).is_err());
}

/// What the limits and the order of a frame's own fields refuse.
#[test]
fn each_limit_of_a_frame_has_its_error() {
    let refused = |frame: Frame| Frame::decode(&frame.encode()[4..]).unwrap_err();
    let mut other = hello();
    other.protocol = 1;
    assert_eq!(refused(Frame::Hello(other)), FrameError::Protocol(1));
    let mut long = hello();
    long.name = "n".repeat(65);
    let error = refused(Frame::Hello(long));
    assert!(error.to_string().contains("name in a hello"), "{error}");
    let mut long = hello();
    long.version = "v".repeat(65);
    let error = refused(Frame::Hello(long));
    assert!(error.to_string().contains("version in a hello"), "{error}");
    let mut many = hello();
    many.frontier = (0..=MAX_ORIGINS as u64).map(|o| (o, 1, [0; 32])).collect();
    let error = refused(Frame::Hello(many));
    assert!(error.to_string().contains("origins"), "{error}");
    let mut twice = hello();
    twice.frontier = vec![(5, 6, [7; 32]), (5, 7, [7; 32])];
    assert!(matches!(
        refused(Frame::Hello(twice)),
        FrameError::Order("the origins of a frontier")
    ));
    let mut nobody = hello();
    nobody.incarnation = 0;
    assert!(matches!(
        refused(Frame::Hello(nobody)),
        FrameError::Order("a hello of incarnation 0")
    ));
    let piece = |origin| {
        Frame::Piece(Piece {
            origin,
            seq: 1,
            total: 1,
            chain: [0; 8],
            offset: 0,
            bytes: vec![1],
        })
    };
    assert!(matches!(
        refused(piece(0)),
        FrameError::Order("a piece of a transaction")
    ));
    let one: &[u8] = &[1];
    let error = refused(Frame::Transactions(vec![run(
        1,
        1,
        &vec![one; MAX_TRANSACTIONS + 1],
    )]));
    assert!(matches!(error, FrameError::TooMany { .. }), "{error}");
    for bad in [
        run(1, 0, &[one]),
        run(1, 1, &[]),
        run(1, 1, &[&[]]),
        run(1, u64::MAX, &[one, one]),
    ] {
        let error = refused(Frame::Transactions(vec![bad]));
        assert!(matches!(error, FrameError::Order(_)), "{error}");
    }
    for (offset, total) in [(1, 1), (u64::MAX, u64::MAX)] {
        let piece = Piece {
            origin: 1,
            seq: 1,
            total,
            chain: [8; 8],
            offset,
            bytes: vec![1],
        };
        let error = refused(Frame::Piece(piece));
        assert!(matches!(error, FrameError::Order(_)), "{error}");
    }
    let begin = Frame::SnapshotBegin {
        id: [0; 16],
        size: 1,
        offset: 2,
    };
    assert!(matches!(refused(begin), FrameError::Order(_)));
    // What says nothing, of which any number would cost the sender nothing.
    let chunk = |offset, bytes| Frame::SnapshotChunk { offset, bytes };
    for empty in [
        chunk(0, Vec::new()),
        chunk(u64::MAX, vec![1]),
        Frame::Transactions(Vec::new()),
    ] {
        assert!(matches!(refused(empty), FrameError::Order(_)));
    }
}

#[test]
fn the_largest_hello_fits_a_frame() {
    let mut largest = hello();
    largest.name = "\u{10000}".repeat(MAX_NAME);
    largest.version = "\u{10000}".repeat(MAX_NAME);
    let origin = |at: u64| (u64::MAX - MAX_ORIGINS as u64 + at, u64::MAX, [7; 32]);
    largest.frontier = (0..MAX_ORIGINS as u64).map(origin).collect();
    let bytes = Frame::Hello(largest).encode();
    assert!(bytes.len() - 4 <= MAX_FRAME);
    assert!(Frame::decode(&bytes[4..]).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_decode_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..99),
    ) {
        let frame = Frame::decode(&bytes);
        prop_assert_eq!(Frame::take(bytes), frame);
    }

    /// Real frames with some bytes changed, cut or doubled: whatever still decodes encodes to the
    /// same value.
    #[test]
    fn mutated_frames_decode_to_themselves_or_to_a_named_error(
        which in 0..samples().len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        keep in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let bytes = samples()[which].encode();
        let mut bytes = Frame::pack(&bytes).unwrap_or(bytes).split_off(4);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cut {
            bytes.truncate(keep.index(bytes.len()));
        }
        let frame = Frame::decode(&bytes);
        prop_assert_eq!(&Frame::take(bytes), &frame);
        if let Ok(frame) = frame {
            prop_assert_eq!(Frame::decode(&frame.encode()[4..]), Ok(frame));
        }
    }
}

#[test]
fn checks_that_could_harm_a_page_or_a_terminal_are_refused() {
    let decode = |all: Vec<Told>| Frame::decode(&Frame::Checks(all).encode()[4..]);
    assert!(decode(vec![told("a", "b"); MAX_CHECKS]).is_ok());
    let many = vec![told("a", "b"); MAX_CHECKS + 1];
    assert!(matches!(decode(many), Err(FrameError::TooMany { .. })));
    let long = "x".repeat(MAX_CHECK_DETAIL + 1);
    let wrong = [
        told("a", "b\u{1b}[2J"),
        told("a\n", "b"),
        told("a", &long),
        told(&long, "b"),
        Told {
            grade: 4,
            ..told("a", "b")
        },
        Told {
            seen: 3,
            ..told("a", "b")
        },
    ];
    for told in wrong {
        assert!(decode(vec![told.clone()]).is_err(), "{told:?}");
    }
}

#[test]
fn the_document_names_the_protocol_that_is_spoken() {
    let text = include_str!("../../../docs/replication.md");
    assert!(text.contains(&format!("protocol u16 (= {PROTOCOL})")));
    let kinds = text.lines().filter_map(|line| {
        let number = line.strip_prefix("| ")?.split_once(" | ")?.0;
        number.parse::<u8>().ok()
    });
    assert_eq!(kinds.collect::<Vec<_>>(), (1..=16).collect::<Vec<_>>());
    let list = include_str!("../../../CHANGELOG.md");
    assert!(list.contains(&format!("replication protocol is now {PROTOCOL}")));
}
