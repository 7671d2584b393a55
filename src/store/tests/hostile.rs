//! A peer that sends what no engine writes: transactions that are read, and then make no sense.

use super::*;
use crate::replica::change::{Body, Head, RowChange, RowWrite, TableChange, Transaction};
use crate::replica::clock::{Hlc, MAX_GENERATION};
use crate::replica::rows::Rows;

/// The first transaction of incarnation 9, which nobody here has seen: `rows` of the table `item`.
fn forged(at: &Peer, rows: Vec<RowChange>) -> Logged {
    let writer = at.store.writer().unwrap();
    let table = writer.tables.iter().find(|table| table.name == "item");
    let table = table.unwrap().tid;
    drop(writer);
    let transaction = Transaction {
        origin: 9,
        seq: 1,
        hlc: Hlc::default().tick(1_000),
        head: Head {
            node: Some([9; 16]),
            deps: Vec::new(),
        },
        body: Body::Rows(Rows::Held(vec![TableChange { table, rows }])),
    };
    Logged {
        origin: 9,
        seq: 1,
        bytes: transaction.encode(Hlc::default()).into(),
        chain: None,
    }
}

fn row(id: i64, generation: u32, write: RowWrite) -> RowChange {
    RowChange {
        key: vec![id.into()],
        generation,
        write,
    }
}

fn whole(id: i64) -> RowWrite {
    RowWrite::Insert(vec![id.into(), Null, Null])
}

#[test]
fn a_generation_beyond_what_rows_can_have_is_parked_and_breaks_no_later_write() {
    let a = peer(1);
    a.store.declare(ITEM).unwrap();
    let rows = vec![
        row(1, u32::MAX, whole(1)),
        row(2, MAX_GENERATION + 2, whole(2)),
        row(3, u32::MAX - 1, RowWrite::Delete),
        row(4, 0, RowWrite::Delete),
    ];
    a.store.apply(&[forged(&a, rows)]).unwrap();
    assert_eq!(a.store.frontier().seq(9), 1);
    assert!(super::rows(&a, "SELECT * FROM item").is_empty());
    // A deletion holds nothing to keep.
    assert_eq!(a.store.conflicts(10).unwrap().len(), 2);
    for id in 1..5 {
        run(&a, &format!("INSERT INTO item VALUES ({id}, 1, 1)"));
        run(&a, &format!("DELETE FROM item WHERE id = {id}"));
    }
}

#[test]
fn a_row_that_has_had_all_its_lives_is_neither_deleted_nor_inserted_again() {
    let a = peer(1);
    a.store.declare(ITEM).unwrap();
    let rows = vec![
        row(1, MAX_GENERATION, whole(1)),
        row(2, MAX_GENERATION - 1, RowWrite::Delete),
    ];
    a.store.apply(&[forged(&a, rows)]).unwrap();
    run(&a, "UPDATE item SET a = 7");
    run(&a, "INSERT INTO item VALUES (2, 7, 7)");
    let delete = a.store.transact(|tx| tx.execute("DELETE FROM item", &[]));
    let said = delete.unwrap_err().to_string();
    assert!(said.contains("under another key"), "{said}");
    let count = "SELECT count(*) FROM item WHERE a = 7";
    assert_eq!(super::rows(&a, count), [[Integer(2)]]);
}
