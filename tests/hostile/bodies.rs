//! What frames carry: transactions and messages of proofs, honest, damaged or raw.
//!
//! What must hold whatever comes: no panic; what is read in memory and what is read part by part
//! is the same; what is read is written as it was; a proof's answer of a stranger is refused by
//! name or leads to differences, never beyond the bound.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;

use tutti::replica::change::{
    self, Body, Dep, Head, Logged, RowChange, RowWrite, TableChange, Transaction,
};
use tutti::replica::clock::{Hlc, RowClock, Stamp};
use tutti::replica::conflict::Conflict;
use tutti::replica::digest::{
    Comparison, Difference, MAX_DIFFERENCES, Part, Question, Range, Reply, RowProof, RowState,
    Rows as Table, Sum, Summary, answer, cut, sha256,
};
use tutti::replica::merge::merge;
use tutti::replica::payload::{self, Payload, Window};
use tutti::replica::repair::Copy;
use tutti::replica::rows::{LargeRows, Rows};
use tutti::replica::schema::Keys;
use tutti::replica::session::Message;
use tutti::replica::value::{Value, decode_key, encode, encode_key};

use super::source::Source;

/// Columns of the table that changes are merged into.
const WIDTH: u16 = 3;

fn value(source: &mut Source<'_>) -> Value {
    match source.byte() % 6 {
        0 => Value::Null,
        1 => Value::Real(source.number() as f64 / 4.0),
        2 => Value::Text("x".repeat(usize::from(source.byte() % 9))),
        3 => Value::Blob(vec![source.byte(); usize::from(source.byte() % 9)]),
        _ => Value::Integer(source.number() as i64),
    }
}

fn values(source: &mut Source<'_>, right: u64) -> Vec<Value> {
    let count = source.near(right) % 9;
    (0..count).map(|_| value(source)).collect()
}

fn row(source: &mut Source<'_>) -> RowChange {
    let write = match source.byte() % 3 {
        0 => RowWrite::Insert(values(source, WIDTH.into())),
        1 => {
            let cells = 0..source.byte() % 4;
            let cell = |_| (source.near(1) as u16, value(source));
            RowWrite::Update(cells.map(cell).collect())
        }
        _ => RowWrite::Delete,
    };
    let lives = u64::from(matches!(write, RowWrite::Delete)) + 1;
    RowChange {
        key: values(source, 1),
        generation: source.near(lives) as u32,
        write,
    }
}

/// An entry of the inbox that a peer made up: of no table, of no key, of no list of values.
fn lost(source: &mut Source<'_>) -> Conflict {
    let stamp = |source: &mut Source<'_>| Stamp {
        hlc: Hlc(source.number()),
        origin: source.near(1),
        seq: source.number(),
    };
    let bytes = |source: &mut Source<'_>| match source.byte() % 3 {
        0 => vec![source.byte(); usize::from(source.byte() % 9)],
        1 => encode(&values(source, 1)),
        _ => encode_key(&values(source, 1)),
    };
    Conflict {
        table: ["item", "", "administrator", "_tutti_log"][usize::from(source.byte() % 4)].into(),
        key: bytes(source),
        column: ["a", "*", "", "id"][usize::from(source.byte() % 4)].into(),
        winner: stamp(source),
        loser: stamp(source),
        value: bytes(source),
    }
}

/// A transaction of incarnation 9; `table` is a declaration's id that is known.
pub fn made(source: &mut Source<'_>, table: u64) -> Transaction {
    let body = if source.byte() < 200 {
        let changes = (0..source.byte() % 3).map(|_| TableChange {
            table: source.near(table),
            rows: (0..source.byte() % 12).map(|_| row(source)).collect(),
        });
        Body::Rows(Rows::Held(changes.collect()))
    } else if source.byte() < 128 {
        Body::Lost((0..source.byte() % 4).map(|_| lost(source)).collect())
    } else {
        Body::Schema {
            sql: sql(source),
            keys: [Keys::Natural, Keys::Engine][usize::from(source.byte() % 2)],
            id: source.number(),
            on: vec![source.near(table); usize::from(source.byte() % 3)],
        }
    };
    let dep = |source: &mut Source<'_>| Dep {
        origin: source.near(1),
        seq: source.number(),
        tag: [source.byte(); 8],
    };
    Transaction {
        origin: 9,
        seq: 1,
        hlc: Hlc(source.number().max(1)),
        head: Head {
            node: (source.byte() < 250).then_some([9; 16]),
            deps: (0..source.byte() / 100).map(|_| dep(source)).collect(),
        },
        body,
    }
}

/// Pieces of declarations, put together in some order.
fn sql(source: &mut Source<'_>) -> String {
    const PIECES: [&str; 24] = [
        "CREATE ",
        "TABLE ",
        "UNIQUE ",
        "INDEX ",
        "TRIGGER ",
        "DROP ",
        "t",
        "\"q\"\"\" ",
        "(",
        ")",
        "id INTEGER PRIMARY KEY",
        ", a",
        "ON t",
        " REFERENCES t(a)",
        " CHECK (a > '",
        "'",
        ";",
        "--",
        "/*",
        "*/",
        "[",
        "`",
        " WHERE f(a)",
        "\u{e4}",
    ];
    const WHOLE: [&str; 4] = [
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a CHECK (a > 1), UNIQUE (a))",
        "CREATE UNIQUE INDEX i ON t(a) WHERE a > 'x'",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t; END",
        "DROP TABLE t",
    ];
    let mut text = match source.byte() {
        given @ 0..=99 => WHOLE[usize::from(given % 4)].to_owned(),
        _ => String::new(),
    };
    for _ in 0..source.byte() % 16 {
        text.push_str(PIECES[usize::from(source.byte()) % PIECES.len()]);
    }
    text
}

/// Some bytes of it are others, or its end is gone.
pub fn damage(source: &mut Source<'_>, bytes: &mut Vec<u8>) {
    for _ in 0..source.byte().saturating_sub(150) / 20 {
        let at = usize::from(source.byte()) * bytes.len() / 256;
        if source.byte() < 30 {
            bytes.truncate(at);
        } else if let Some(byte) = bytes.get_mut(at) {
            *byte = source.byte();
        }
    }
}

/// A transaction's bytes, as the input makes them and as it is.
pub fn transaction(bytes: &[u8]) {
    let mut source = Source(bytes);
    let mut encoded = made(&mut source, 7).encode(Hlc(0));
    damage(&mut source, &mut encoded);
    read(&encoded);
    read(bytes);
    key(bytes);
}

fn key(bytes: &[u8]) {
    if let Some(values) = decode_key(bytes) {
        let encoded = encode_key(&values);
        let again = decode_key(&encoded).unwrap();
        assert_eq!(encode_key(&again), encoded);
    }
}

/// Bytes somewhere else.
#[derive(Debug)]
struct Elsewhere(Vec<u8>);

impl payload::Source for Elsewhere {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        let bytes = self.0.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

fn read(bytes: &[u8]) {
    let held = Payload::from(bytes.to_vec());
    let decoded = change::decode(&held);
    let large = in_parts(bytes);
    let Some((later, head, body)) = decoded else {
        return;
    };
    assert_eq!(change::peek(&held), Some((later, head)));
    let logged = Logged {
        origin: 9,
        seq: 1,
        bytes: held,
        chain: None,
    };
    if let Some(whole) = logged.decode(Hlc(0)) {
        let again = Logged {
            bytes: whole.encode(Hlc(0)).into(),
            ..logged
        };
        // A number that is not a number is none, and not itself.
        let same = again.decode(Hlc(0)).map(|again| format!("{again:?}"));
        assert_eq!(same, Some(format!("{whole:?}")));
    }
    if let Body::Rows(rows) = body {
        let whole: Vec<RowChange> = rows
            .parts()
            .flat_map(|part| part.unwrap().into_owned().rows)
            .collect();
        let parts = large.expect("what is read whole is read in parts");
        assert_eq!(format!("{parts:?}"), format!("{whole:?}"));
        whole.iter().for_each(merged);
    }
}

/// The rows, read as those of a transaction too large for memory are; `None` if they are none.
fn in_parts(bytes: &[u8]) -> Option<Vec<RowChange>> {
    let stored = Payload::Stored(std::sync::Arc::new(Elsewhere(bytes.to_vec())));
    let (start, count) = {
        let mut window = Window::new(&stored, 0);
        window.take::<(u64, Head)>().ok()??;
        let (0_u32, count) = window.take::<(u32, u64)>().ok()?? else {
            return None;
        };
        (window.offset(), count)
    };
    let rows = Rows::Large(LargeRows {
        bytes: stored,
        start,
        count,
    });
    let mut found = Vec::new();
    for part in rows.parts() {
        found.extend(part.ok()?.into_owned().rows);
    }
    Some(found)
}

/// A change that has the table's shape, merged into a row that lives, one that is dead, and none.
fn merged(change: &RowChange) {
    let shaped = match &change.write {
        RowWrite::Insert(values) => values.len() == usize::from(WIDTH),
        RowWrite::Update(cells) => cells.iter().all(|cell| cell.0 < WIDTH),
        RowWrite::Delete => true,
    };
    if !shaped {
        return;
    }
    let stamp = |time| Stamp {
        hlc: Hlc(time),
        origin: time,
        seq: 1,
    };
    for generation in 0..4 {
        let clock = (generation > 0).then(|| RowClock {
            generation,
            row: stamp(5),
            columns: vec![(1, stamp(20))],
        });
        for time in [1, 10, 30] {
            for seen in [true, false] {
                let decision = merge(clock.as_ref(), change, stamp(time), WIDTH, |_| seen);
                let Ok(decision) = decision else {
                    continue;
                };
                let columns = decision.clock.columns;
                assert!(columns.windows(2).all(|pair| pair[0].0 < pair[1].0));
                assert!(columns.iter().all(|column| column.0 < WIDTH));
                assert!(decision.clock.generation >= generation);
            }
        }
    }
}

/// Rows in memory, of a table `t`.
struct Memory(BTreeMap<Vec<u8>, RowState>);

impl Memory {
    fn new(rows: u64) -> Self {
        let state = |number: u64| RowState::Alive {
            version: sha256(&number.to_be_bytes()),
            content: Some(sha256(b"content")),
        };
        let row = |number: u64| (encode_key(&[(number as i64).into()]), state(number));
        Memory((0..rows).map(row).collect())
    }

    fn within(&self, range: &Range) -> impl Iterator<Item = RowProof> {
        let rows = self.0.iter().filter(move |(key, _)| {
            **key >= range.from && range.to.as_ref().is_none_or(|end| *key < end)
        });
        rows.map(|(key, state)| RowProof {
            key: key.clone(),
            state: state.clone(),
        })
    }
}

impl Table for Memory {
    type Error = Infallible;

    fn has_table(&self, table: u64) -> bool {
        table == 1
    }

    fn summary(&self, range: &Range) -> Result<Summary, Infallible> {
        let (mut sum, mut rows) = (Sum::default(), 0);
        for row in self.within(range) {
            sum.add(&row);
            rows += 1;
        }
        let digest = sum.finish();
        Ok(Summary { digest, rows })
    }

    fn split(&self, range: &Range, rows: usize, pieces: usize) -> Result<Vec<Range>, Infallible> {
        let step = rows.div_ceil(pieces).max(1);
        let keys = self.within(range).map(|row| row.key);
        Ok(cut(range, keys.skip(step).step_by(step).collect()))
    }

    fn list(&self, range: &Range, max: usize) -> Result<Vec<RowProof>, Infallible> {
        Ok(self.within(range).take(max).collect())
    }
}

/// A range beside the one that would be right.
fn range(source: &mut Source<'_>, right: &Range) -> Range {
    let mut range = right.clone();
    match source.byte() {
        0..=229 => {}
        230..=239 => range.from = vec![source.byte(); usize::from(source.byte() % 4)],
        240..=249 => range.to = Some(vec![source.byte(); usize::from(source.byte() % 4)]),
        _ => range.table = 2,
    }
    range
}

fn proofs(source: &mut Source<'_>) -> Vec<RowProof> {
    let rows = 0..source.byte() % 40;
    rows.map(|_| RowProof {
        key: encode_key(&[(source.byte() as i64).into()]),
        state: match source.byte() % 3 {
            0 => RowState::Beyond,
            1 => RowState::Dead,
            _ => RowState::Alive {
                version: [source.byte(); 32],
                content: (source.byte() < 200).then_some([7; 32]),
            },
        },
    })
    .collect()
}

/// What a stranger replies to a question.
fn replies(source: &mut Source<'_>, question: &Question) -> Vec<Reply> {
    let count = source.near(question.parts.len() as u64) % 100;
    let whole = Range::whole(1);
    let asked = |at: u64| question.parts.get(at as usize).map_or(&whole, |p| &p.range);
    (0..count)
        .map(|at| match source.byte() % 5 {
            0 => Reply::Same,
            1 => Reply::NoTable,
            2 => Reply::Rows(proofs(source)),
            _ => {
                let cuts = (0..source.byte() % 5).map(|_| source.byte() as i64);
                let mut cuts: Vec<i64> = cuts.collect();
                if source.byte() < 200 {
                    cuts.sort_unstable();
                    cuts.dedup();
                }
                let starts = cuts.iter().map(|cut| encode_key(&[(*cut).into()]));
                let parts = cut(asked(at), starts.collect())
                    .into_iter()
                    .map(|piece| Part {
                        range: range(source, &piece),
                        digest: [source.byte(); 32],
                    });
                Reply::Split(parts.collect())
            }
        })
        .collect()
}

/// A message of a proof; mostly one that a peer may send at any time.
pub fn message(source: &mut Source<'_>) -> Vec<u8> {
    let part = |source: &mut Source<'_>| Part {
        range: range(source, &Range::whole(1)),
        digest: [source.byte(); 32],
    };
    let difference = |source: &mut Source<'_>| Difference {
        table: 1,
        key: encode_key(&values(source, 1)),
    };
    let question = |source: &mut Source<'_>| Question {
        common: vec![(source.near(1), source.number())],
        parts: (0..source.byte() % 5).map(|_| part(source)).collect(),
    };
    match source.byte() {
        0..=119 => Message::Question(question(source)),
        120..=124 => {
            let asked = question(source);
            Message::Answer(replies(source, &asked))
        }
        125..=244 => Message::Wanted(
            (0..source.near(3) % 18)
                .map(|_| difference(source))
                .collect(),
        ),
        245..=249 => {
            let copies = (0..source.byte() % 18).map(|_| Copy {
                clock: (source.byte() < 200).then(|| RowClock {
                    generation: source.near(1) as u32,
                    row: Stamp {
                        hlc: Hlc(source.number()),
                        origin: source.near(1),
                        seq: source.number(),
                    },
                    columns: Vec::new(),
                }),
                content: (source.byte() < 200).then(|| values(source, WIDTH.into())),
            });
            Message::Copies(copies.collect())
        }
        _ => Message::NoAnswer,
    }
    .encode()
}

fn message_read(bytes: &[u8]) {
    let Some(message) = Message::decode(bytes) else {
        return;
    };
    let again = Message::decode(&message.encode()).unwrap();
    let same = format!("{again:?}") == format!("{message:?}");
    assert!(same || again == Message::NoAnswer);
    if let Message::Question(question) = message {
        let Ok(replies) = answer(&Memory::new(50), &question);
        assert!(replies.len() <= question.parts.len());
    }
}

/// A proof with a stranger: messages that are read, questions that are answered, answers that are
/// taken in.
pub fn proof(bytes: &[u8]) {
    message_read(bytes);
    let mut source = Source(bytes);
    let mut message = message(&mut source);
    damage(&mut source, &mut message);
    message_read(&message);
    let ours = Memory::new(u64::from(source.byte()));
    let tables = [1, 2];
    let Ok(mut comparison) = Comparison::new(&ours, vec![(1, 1)], &tables);
    for _ in 0..20 {
        let Some(question) = comparison.question() else {
            break;
        };
        let replies = replies(&mut source, &question);
        match comparison.answered(&ours, replies) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                assert!(!error.to_string().is_empty());
                return;
            }
            Err(never) => match never {},
        }
    }
    assert!(comparison.outcome().differences.len() <= MAX_DIFFERENCES);
}
