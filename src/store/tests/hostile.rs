//! A peer that sends what no engine writes: transactions that are read, and then make no sense.

use super::*;
use crate::replica::change::{Body, Dep, Head, RowChange, RowWrite, TableChange, Transaction};
use crate::replica::clock::{Hlc, MAX_GENERATION, Stamp};
use crate::replica::conflict::Conflict;
use crate::replica::rows::Rows;
use crate::wire::replication::MAX_ORIGINS;

/// The first transaction of incarnation 9, which nobody here has seen: `rows` of the table `item`.
fn forged(at: &Peer, rows: Vec<RowChange>) -> Logged {
    told(changes(at, rows))
}

fn changes(at: &Peer, rows: Vec<RowChange>) -> Body {
    let writer = at.store.writer().unwrap();
    let table = writer.tables.iter().find(|table| !table.is_engines());
    let table = table.unwrap().tid;
    drop(writer);
    Body::Rows(Rows::Held(vec![TableChange { table, rows }]))
}

fn told(body: Body) -> Logged {
    follows(Vec::new(), body)
}

/// The same by one who has seen `deps`.
fn follows(deps: Vec<Dep>, body: Body) -> Logged {
    let transaction = Transaction {
        origin: 9,
        seq: 1,
        hlc: Hlc::default().tick(1_000),
        head: Head {
            node: Some([9; 16]),
            deps,
        },
        body,
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

/// Replayed, such a row was there, and its clock said that it is deleted: no proof looked at it.
#[test]
fn a_generation_that_contradicts_its_change_is_parked_by_who_replays_and_by_who_merges() {
    let [replays, merges] = [peer(1), peer(2)];
    for one in [&replays, &merges] {
        one.store.declare(ITEM).unwrap();
    }
    run(&merges, "INSERT INTO item VALUES (9, 'own', 'own')");
    let rows = || {
        vec![
            row(1, 2, whole(1)),
            row(2, 1, RowWrite::Delete),
            row(9, 2, RowWrite::Update(vec![(1, "theirs".into())])),
        ]
    };
    for (one, replayed) in [(&replays, true), (&merges, false)] {
        let seen = one.store.frontier().0;
        let seen = seen.iter().map(|(origin, at)| Dep::new(*origin, at));
        // Of what the other one wrote nothing was seen.
        let seen = seen.filter(|_| replayed).collect();
        one.store
            .apply(&[follows(seen, changes(one, rows()))])
            .unwrap();
        let kept = super::rows(one, "SELECT * FROM item WHERE a IS NOT 'own'");
        assert!(kept.is_empty(), "{kept:?}");
        let parked = one.store.conflicts(10).unwrap();
        assert_eq!(parked.len(), 2);
        assert!(parked.iter().all(|lost| lost.table == "item"));
    }
    assert_eq!(super::rows(&merges, "SELECT * FROM item").len(), 1);
}

/// Parked for its name, a row without a note would be tried, and refused by SQLite, when the name
/// is free again: by each peer's transaction that frees it, and by each of our own.
#[test]
fn a_row_that_sqlite_would_refuse_is_no_row() {
    let strict = "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT UNIQUE, note INT NOT NULL)
                  STRICT";
    let values = |id: Value, name: Value, note: Value| RowWrite::Insert(vec![id, name, note]);
    let one = || Value::from(1);
    let poison = [
        values(one(), "x".into(), Null),
        values(one(), "x".into(), "text".into()),
        values(one(), one(), one()),
        values(2.into(), "x".into(), one()),
        values("y".into(), "x".into(), one()),
    ];
    for write in poison {
        let a = peer(1);
        a.store.declare(strict).unwrap();
        run(&a, "INSERT INTO person VALUES (5, 'x', 5)");
        let named = match &write {
            RowWrite::Insert(values) if values[0] == "y".into() => vec!["y".into()],
            _ => vec![one()],
        };
        let change = RowChange {
            key: named,
            generation: 1,
            write,
        };
        let said = format!("{change:?}");
        a.store.apply(&[forged(&a, vec![change])]).unwrap();
        let kept = a.store.conflicts(9).unwrap();
        assert_eq!(kept.len(), 1, "{said}");
        assert_eq!(kept[0].reason, "does not fit");
        let refused = a.store.restore_conflict(&kept[0].id).unwrap_err();
        assert!(refused.to_string().contains("no row of the table"));
        run(&a, "DELETE FROM person WHERE id = 5");
        assert!(super::rows(&a, "SELECT * FROM person").is_empty(), "{said}");
    }
}

/// A row would have another key than its clocks.
#[test]
fn an_update_that_names_another_key_is_parked() {
    let a = peer(1);
    a.store.declare(ITEM).unwrap();
    run(&a, "INSERT INTO item VALUES (1, 1, 1)");
    let cells = vec![(0, 7.into()), (1, 7.into())];
    let change = row(1, 1, RowWrite::Update(cells));
    a.store.apply(&[forged(&a, vec![change])]).unwrap();
    let now = super::rows(&a, "SELECT * FROM item");
    assert_eq!(now, [[Integer(1), Integer(1), Integer(1)]]);
    assert_eq!(a.store.conflicts(9).unwrap().len(), 1);
}

/// Every new key would begin beyond the generation of a tombstone that went.
#[test]
fn a_tombstone_of_a_life_that_nobody_had_spoils_no_later_rows() {
    let a = peer(1);
    a.store.declare(ITEM).unwrap();
    let last = row(1, MAX_GENERATION - 1, RowWrite::Delete);
    a.store.apply(&[forged(&a, vec![last])]).unwrap();
    a.store.set_peers(std::collections::BTreeSet::new(), 0);
    a.store.trim().unwrap();
    run(&a, "INSERT INTO item VALUES (2, 2, 2)");
    run(&a, "DELETE FROM item WHERE id = 2");
    assert!(super::rows(&a, "SELECT * FROM item").is_empty());
}

/// Whatever a peer says was lost is listed as it said, and restored only where it can be.
#[test]
fn what_a_peer_makes_up_for_the_inbox_breaks_neither_the_list_nor_a_restore() {
    let a = peer(1);
    a.store.declare(ITEM).unwrap();
    run(&a, "INSERT INTO item VALUES (1, 'kept', 'kept')");
    let stamp = |hlc: u64| Stamp {
        hlc: Hlc(hlc),
        origin: 9,
        seq: u64::MAX,
    };
    let value = crate::replica::value::encode(&["new".into()]);
    let key = |key: &[Value]| crate::replica::value::encode_key(key);
    let honest = Conflict {
        table: "item".into(),
        key: key(&[1.into()]),
        column: "a".into(),
        winner: stamp(2),
        loser: stamp(1),
        value: value.clone(),
    };
    let changed = |change: fn(&mut Conflict)| {
        let mut lost = honest.clone();
        change(&mut lost);
        lost
    };
    let lost = vec![
        changed(|lost| lost.table = "nowhere".into()),
        changed(|lost| lost.table = "_tutti_log".into()),
        changed(|lost| lost.column = "a = 1; --".into()),
        changed(|lost| lost.key = vec![0xff; 9]),
        changed(|lost| lost.key = Vec::new()),
        changed(|lost| lost.value = vec![0xff; 9]),
        changed(|lost| lost.value = Vec::new()),
        changed(|lost| lost.loser.hlc = Hlc(u64::MAX)),
        changed(|lost| (lost.table, lost.column) = (String::new(), "*".into())),
        changed(|lost| lost.table = "administrator".into()),
    ];
    a.store.apply(&[told(Body::Lost(lost))]).unwrap();
    let listed = a.store.conflicts(20).unwrap();
    assert_eq!(listed.len(), 9, "administrators are nobody's to see");
    let restored = listed.iter().filter(|row| {
        let result = a.store.restore_conflict(&row.id);
        result.is_ok()
    });
    let restored: Vec<_> = restored.map(|row| row.time_ms).collect();
    assert_eq!(restored, [Hlc(u64::MAX).millis()], "what can be is");
    let now = super::rows(&a, "SELECT * FROM item");
    assert_eq!(now, [[Integer(1), "new".into(), "kept".into()]]);
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

/// It went on to others as one of whoever sent it, and ended their links for ever.
#[test]
fn a_transaction_of_origin_0_is_refused() {
    let a = peer(1);
    let nobodys = Logged {
        origin: 0,
        ..told(Body::Rows(Rows::Held(Vec::new())))
    };
    let error = a.store.apply(&[nobodys]).unwrap_err().to_string();
    assert!(error.contains("origin 0"), "{error}");
}

/// One frame of as many ended all later links of everybody: no hello could name them.
#[test]
fn more_incarnations_than_a_hello_can_name_are_refused() {
    let a = peer(1);
    let first = |origin: u64| Logged {
        origin,
        ..told(Body::Rows(Rows::Held(Vec::new())))
    };
    let many: Vec<Logged> = (1..=MAX_ORIGINS as u64).map(first).collect();
    a.store.apply(&many).unwrap();
    let error = a.store.apply(&[first(u64::MAX)]).unwrap_err().to_string();
    assert!(error.contains("8192 incarnations"), "{error}");
    assert!(a.store.frontier().0.len() <= MAX_ORIGINS);
}

/// They waited in memory, and each look at what waits went through all of them.
#[test]
fn made_up_incarnations_that_are_ahead_of_the_clock_do_not_wait_beyond_that_number_either() {
    let a = peer(1);
    let ahead = |origin: u64| {
        let transaction = Transaction {
            origin,
            seq: 1,
            hlc: Hlc(1 << 62),
            head: Head::default(),
            body: Body::Rows(Rows::Held(Vec::new())),
        };
        Logged {
            origin,
            seq: 1,
            bytes: transaction.encode(Hlc::default()).into(),
            chain: None,
        }
    };
    let some: Vec<Logged> = (1..100).map(ahead).collect();
    a.store.apply(&some).unwrap();
    let many: Vec<Logged> = (1..=MAX_ORIGINS as u64 + 1).map(ahead).collect();
    let error = a.store.apply(&many).unwrap_err().to_string();
    assert!(error.contains("8192 incarnations"), "{error}");
    assert_eq!(a.store.ahead().unwrap().len(), 99);
}

/// All links of this system ended, those of other peers too, as often as somebody sent it.
#[test]
fn what_cannot_be_read_ends_no_link_but_its_own() {
    let a = peer(1);
    let unreadable = Logged {
        origin: 9,
        seq: 1,
        bytes: vec![0xff].into(),
        chain: None,
    };
    a.store.apply(&[unreadable]).unwrap_err();
    assert_eq!(a.store.dropped(), 0);
}

#[test]
fn a_panic_in_a_transaction_rolls_it_back_and_stops_no_later_one() {
    let a = peer(1);
    a.store.declare(ITEM).unwrap();
    let panics = || {
        let _ = a.store.transact(|tx| -> Result<(), StoreError> {
            tx.execute("INSERT INTO item VALUES (1, 1, 1)", &[])?;
            panic!("a fault of ours");
        });
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).unwrap_err();
    // What comes next may be a peer's, and is not captured.
    a.store
        .apply(&[forged(&a, vec![row(3, 1, whole(3))])])
        .unwrap();
    assert!(!lock(&a.store.writer().unwrap().capture).enabled);
    run(&a, "INSERT INTO item VALUES (2, 2, 2)");
    let ids = super::rows(&a, "SELECT id FROM item");
    assert_eq!(ids, [[Integer(2)], [Integer(3)]]);
}

/// It stopped the whole link.
#[test]
fn a_change_of_no_column_changes_nothing() {
    for seen in [false, true] {
        let a = peer(1);
        a.store.declare(ITEM).unwrap();
        run(&a, "INSERT INTO item VALUES (1, 1, 1)");
        let mut forged = forged(&a, vec![row(1, 1, RowWrite::Update(Vec::new()))]);
        if seen {
            let mut transaction = forged.decode(Hlc::default()).unwrap();
            let frontier = a.store.frontier();
            let deps = frontier.0.iter().map(|(id, at)| Dep::new(*id, at));
            transaction.head.deps = deps.collect();
            forged.bytes = transaction.encode(Hlc::default()).into();
        }
        a.store.apply(&[forged]).unwrap();
        assert_eq!(a.store.frontier().seq(9), 1);
        let left = super::rows(&a, "SELECT * FROM item");
        assert_eq!(left, [[1.into(), 1.into(), 1.into()]]);
    }
}
