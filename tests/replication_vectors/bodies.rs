//! Transactions of every kind.

use tutti::replica::change::{
    Body, Dep, Head, Logged, RowChange, RowWrite, TableChange, Transaction, decode, peek,
};
use tutti::replica::clock::Hlc;
use tutti::replica::conflict::Conflict;
use tutti::replica::payload::Payload;
use tutti::replica::schema::Keys;
use tutti::replica::value::{Value, encode};

use super::{TAG, Vectors, hash, node, stamp};

const ITEM: u64 = 0xfedc_ba98_7654;
/// Whose they are.
const ORIGIN: u64 = u64::MAX - 1;

fn row(key: &[Value], generation: u32, write: RowWrite) -> RowChange {
    RowChange {
        key: key.to_vec(),
        generation,
        write,
    }
}

fn change(table: u64, rows: Vec<RowChange>) -> TableChange {
    TableChange { table, rows }
}

/// Every kind of change, keys and values of every type, a table that comes again.
fn rows() -> Body {
    let everything = vec![
        Value::Null,
        (-300).into(),
        1.5.into(),
        "tä".into(),
        vec![0u8, 0xff].into(),
    ];
    let key: [Value; 2] = [(-300).into(), "tä".into()];
    let cells = vec![(1, Value::Null), (300, "x".into())];
    let blob: Vec<u8> = vec![0];
    let first = vec![
        row(&key, 1, RowWrite::Insert(everything)),
        row(&[0.into(), "".into()], 3, RowWrite::Update(cells)),
        row(&[blob.into()], (1 << 31) - 2, RowWrite::Delete),
    ];
    let bare = row(&[1.into()], (1 << 31) - 1, RowWrite::Insert(vec![]));
    let cells = vec![(4, b"y".to_vec().into())];
    let last = row(&[1.5.into()], 1, RowWrite::Update(cells));
    Body::Rows(
        vec![
            change(ITEM, first),
            change(1, vec![bare]),
            change(ITEM, vec![last]),
        ]
        .into(),
    )
}

fn deleted() -> Body {
    let gone = row(&[1.into()], 2, RowWrite::Delete);
    Body::Rows(vec![change(1, vec![gone])].into())
}

fn schema(sql: &str, keys: Keys, id: u64, on: &[u64]) -> Body {
    Body::Schema {
        sql: sql.into(),
        keys,
        id,
        on: on.to_vec(),
    }
}

fn lost() -> Body {
    let column = Conflict {
        table: "item".into(),
        key: vec![0x11, 5],
        column: "a".into(),
        winner: stamp(1 << 60, u64::MAX, 7),
        loser: stamp(5, 1 << 63, 300),
        value: encode(&["lost".into()]),
    };
    let declaration = Conflict {
        table: String::new(),
        key: Vec::new(),
        column: "*".into(),
        winner: stamp(1, 2, 3),
        loser: stamp(1, 2, 3),
        value: encode(&[]),
    };
    Body::Lost(vec![column, declaration])
}

fn dep(origin: u64, seq: u64, tag: [u8; 8]) -> Dep {
    Dep { origin, seq, tag }
}

/// Two others' transactions.
fn seen() -> Vec<Dep> {
    let mut start = [0; 8];
    start.copy_from_slice(&hash()[..8]);
    vec![dep(5, 300, TAG), dep(u64::MAX, 1, start)]
}

/// Names, how much later than the previous one each is, whether it is an incarnation's first, what
/// it depends on, and what it did.
fn all() -> Vec<(&'static str, u64, bool, Vec<Dep>, Body)> {
    let (natural, engine) = (Keys::Natural, Keys::Engine);
    let table = schema("CREATE TABLE t(a PRIMARY KEY)", natural, ITEM, &[]);
    let made = "CREATE TABLE t(id INTEGER PRIMARY KEY)";
    let made = schema(made, engine, ITEM, &[]);
    let index = schema("CREATE INDEX i ON t(a)", natural, 5, &[ITEM]);
    let drop = schema("DROP TABLE t", natural, 0, &[ITEM, 300]);
    // What is issued again names the one before it, of which the first has none.
    let again = [seen(), vec![dep(ORIGIN, 0, [0; 8])]].concat();
    vec![
        ("rows", 1, false, vec![], rows()),
        ("first", 1 << 48, true, seen(), deleted()),
        ("again", 1 << 48, true, again, deleted()),
        ("again_on", 1, false, vec![dep(ORIGIN, 1, TAG)], deleted()),
        ("natural", 128, false, vec![], table),
        ("engine", 127, false, seen(), made),
        ("index", 1, false, vec![], index),
        ("drop", 1, false, vec![], drop),
        ("lost", u64::MAX, false, vec![], lost()),
    ]
}

#[test]
fn every_transaction_is_as_the_document_says() {
    let mut vectors = Vectors::of("transaction.");
    for (name, later, first, deps, body) in all() {
        // What comes first is told from 0 on.
        let previous = Hlc(if later == u64::MAX || first {
            0
        } else {
            70_000
        });
        let transaction = Transaction {
            origin: ORIGIN,
            seq: if first { 1 } else { 2 },
            hlc: Hlc(previous.0 + later),
            head: Head {
                node: first.then(|| node(0)),
                deps,
            },
            body,
        };
        assert_eq!(transaction.is_again(), name.starts_with("again"), "{name}");
        let bytes = vectors.take(name);
        assert_eq!(transaction.encode(previous), bytes, "{name}");
        let logged = Logged {
            origin: ORIGIN,
            seq: transaction.seq,
            bytes: bytes.into(),
            chain: None,
        };
        let head = Some((later, transaction.head.clone()));
        assert_eq!(peek(&logged.bytes), head, "{name}");
        assert_eq!(logged.decode(previous), Some(transaction), "{name}");
    }
    vectors.end();
}

#[test]
fn a_transaction_that_goes_on_beyond_its_end_is_none() {
    let mut vectors = Vectors::of("transaction.");
    for (name, ..) in all() {
        let mut bytes = vectors.take(name);
        bytes.push(0);
        assert!(decode(&Payload::from(bytes.clone())).is_none(), "{name}");
        bytes.truncate(bytes.len() - 2);
        assert!(decode(&Payload::from(bytes)).is_none(), "{name}");
    }
}
