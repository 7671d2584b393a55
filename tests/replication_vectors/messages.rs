//! Messages of a proof.

use tutti::replica::clock::RowClock;
use tutti::replica::digest::{Difference, Part, Question, Range, Reply, RowProof, RowState};
use tutti::replica::repair::Copy;
use tutti::replica::session::Message;
use tutti::replica::value::Value;

use super::{TAG, Vectors, hash, stamp};

fn part(range: Range) -> Part {
    let digest = hash();
    Part { range, digest }
}

fn piece() -> Range {
    Range {
        table: 3,
        from: vec![0x11, 5],
        to: Some(vec![0x12, 1, 0]),
    }
}

fn question() -> Question {
    Question {
        common: vec![(5, 300), (u64::MAX, 1)],
        parts: vec![part(Range::whole(1 << 40)), part(piece())],
    }
}

fn answer() -> Vec<Reply> {
    let mut content = [0; 32];
    content
        .chunks_mut(8)
        .for_each(|part| part.copy_from_slice(&TAG));
    let alive = |content| RowState::Alive {
        version: hash(),
        content,
    };
    let states = [
        RowState::Beyond,
        RowState::Dead,
        alive(Some(content)),
        alive(None),
    ];
    let row = |(at, state)| RowProof {
        key: vec![0x11, at],
        state,
    };
    vec![
        Reply::Same,
        Reply::Split(vec![part(piece())]),
        Reply::Rows((1..).zip(states).map(row).collect()),
        Reply::NoTable,
    ]
}

fn copies() -> Vec<Copy> {
    let clock = RowClock {
        generation: (1 << 31) - 1,
        row: stamp(u64::MAX, 300, 5),
        columns: vec![(1, stamp(1 << 48, 2, 3)), (300, stamp(1, 2, 128))],
    };
    let here = Copy {
        clock: Some(clock),
        content: Some(vec![1.into(), Value::Null]),
    };
    let gone = Copy {
        clock: None,
        content: None,
    };
    vec![here, gone]
}

#[test]
fn every_message_of_a_proof_is_as_the_document_says() {
    let mut vectors = Vectors::of("message.");
    let row = |table, key: &[u8]| Difference {
        table,
        key: key.to_vec(),
    };
    let wanted = vec![row(1 << 40, &[0x11, 5]), row(3, &[0x30, b'a', 0, 0])];
    for (name, message) in [
        ("question", Message::Question(question())),
        ("answer", Message::Answer(answer())),
        ("wanted", Message::Wanted(wanted)),
        ("copies", Message::Copies(copies())),
        ("no_answer", Message::NoAnswer),
    ] {
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes), Some(message), "{name}");
        vectors.is(name, &bytes);
    }
    vectors.end();
}
