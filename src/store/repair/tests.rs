//! A row is corrupted behind the engine's back, found, and repaired.

use super::*;
use crate::replica::digest::{Outcome, common};
use crate::store::tests::{Peer, peer, pull, rows, run};

fn exchange(a: &Peer, b: &Peer) {
    pull(a, b);
    pull(b, a);
}

fn compare(a: &Peer, b: &Peer) -> Outcome {
    let through = common(&a.store.frontier(), &b.store.frontier());
    let mut comparison = a.store.compare(through).unwrap();
    while let Some(question) = comparison.question() {
        let answer = b.store.prove(&question).unwrap();
        a.store.compared(&mut comparison, answer).unwrap();
    }
    comparison.outcome()
}

/// Repairs `at` by the copies of the others.
fn repair(at: &Peer, others: &[&Peer]) -> Vec<Finding> {
    let outcome = compare(at, others[0]);
    let mut findings = Vec::new();
    for row in &outcome.differences {
        let copy = |peer: &&Peer| {
            let copy = peer.store.copies(std::slice::from_ref(row)).unwrap();
            (peer.store.node(), copy[0].clone())
        };
        let copies: Vec<_> = others.iter().map(copy).collect();
        findings.extend(at.store.repair(row, &copies).unwrap());
    }
    findings
}

fn behind(peer: &Peer, sql: &str) {
    peer.store.corrupt(sql);
}

const ITEM: &str = "CREATE TABLE item(id INTEGER PRIMARY KEY, a, b)";
const PERSON: &str = "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT UNIQUE, note)";

fn filled(rows: i64) -> (Peer, Peer) {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    a.store.declare(PERSON).unwrap();
    let work = |tx: &mut crate::store::Tx<'_>| {
        for id in 0..rows {
            let params = [id.into(), format!("row {id}").into()];
            tx.execute("INSERT INTO item VALUES (?, ?, 0)", &params)?;
        }
        tx.execute(
            "INSERT INTO person VALUES (1, 'ann', 0), (2, 'bob', 0)",
            &[],
        )
    };
    a.store.transact(work).unwrap();
    exchange(&a, &b);
    (a, b)
}

/// The links would end at it again and again, and no proof would ever begin.
#[test]
fn a_write_to_a_row_that_the_disk_lost_here_passes_and_the_proof_brings_the_row() {
    let work = [
        "UPDATE item SET a = 'x' WHERE id = 7",
        "UPDATE person SET note = 1 WHERE id = 2",
        "UPDATE person SET name = 'eve' WHERE id = 2",
        "DELETE FROM item WHERE id = 7",
    ];
    // Written by who had seen all that is here, and not.
    for apart in [false, true] {
        for sql in work {
            let (a, b) = filled(100);
            behind(&b, "DELETE FROM item WHERE id = 7");
            behind(&b, "DELETE FROM person WHERE id = 2");
            if apart {
                run(&b, "INSERT INTO item VALUES (500, 'of b', 0)");
            }
            run(&a, sql);
            exchange(&a, &b);
            repair(&b, &[&a]);
            assert!(compare(&a, &b).is_identical(), "{sql}, apart: {apart}");
            for all in ["SELECT * FROM item", "SELECT * FROM person"] {
                assert_eq!(rows(&a, all), rows(&b, all), "{sql}, apart: {apart}");
            }
        }
    }
}

/// Power could take back what a peer has been told.
#[test]
fn what_a_proof_tells_of_is_on_disk_by_then() {
    let tell: [fn(&Peer, &Peer); 2] = [
        |a, b| drop(compare(b, a)),
        |a, _| {
            let key = encode_key(&[7.into()]);
            let table = a.store.inner.shown.lock().unwrap().tables[0].tid;
            drop(a.store.copies(&[Difference { table, key }]).unwrap());
        },
    ];
    for tell in tell {
        let (a, b) = filled(10);
        a.store.set_durability(crate::store::Durability::Lazy);
        run(&a, "UPDATE item SET a = 'late' WHERE id = 7");
        let synced = a.store.frontier().seq(a.store.incarnation());
        tell(&a, &b);
        assert_eq!(a.store.frontier().seq(a.store.incarnation()), synced + 1);
    }
}

#[test]
fn a_row_without_a_clock_gives_way_to_one_that_claims_its_value() {
    let (a, b) = filled(3);
    behind(&b, "INSERT INTO person VALUES (9, 'eve', 'a stranger')");
    run(&a, "INSERT INTO person VALUES (3, 'eve', 0)");
    exchange(&a, &b);
    let found = rows(&b, "SELECT id FROM person WHERE name = 'eve'");
    assert_eq!(found, [[3.into()]]);
}

#[test]
fn a_row_corrupted_behind_the_engine_is_found_in_few_exchanges_and_repaired() {
    let (a, b) = filled(5_000);
    assert!(compare(&a, &b).is_identical());
    behind(&b, "UPDATE item SET a = 'rotten' WHERE id = 4321");
    let outcome = compare(&a, &b);
    assert_eq!(outcome.differences.len(), 1);
    assert!(outcome.exchanges <= 4, "{} exchanges", outcome.exchanges);
    // The writer's copy stands, the other's is replaced by it.
    assert!(repair(&a, &[&b]).is_empty());
    let findings = repair(&b, &[&a]);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].result, Ok(Reason::Writer));
    assert!(
        findings[0].to_string().contains("repaired"),
        "{}",
        findings[0]
    );
    assert!(compare(&a, &b).is_identical());
    assert_eq!(a.store.digest().unwrap(), b.store.digest().unwrap());
}

#[test]
fn a_table_that_is_dropped_between_question_and_answer_ends_its_part_of_the_proof() {
    let (a, b) = filled(100);
    behind(&b, "UPDATE item SET a = 'rotten' WHERE id = 42");
    let through = common(&a.store.frontier(), &b.store.frontier());
    let mut comparison = a.store.compare(through).unwrap();
    let question = comparison.question().unwrap();
    let answer = b.store.prove(&question).unwrap();
    a.store.declare("DROP TABLE item").unwrap();
    a.store.compared(&mut comparison, answer).unwrap();
    assert!(comparison.question().is_none());
    let outcome = comparison.outcome();
    assert_eq!((outcome.differences.len(), outcome.no_table.len()), (0, 1));
}

#[test]
fn a_lost_row_is_put_back_even_where_it_was_written() {
    let (a, b) = filled(100);
    behind(
        &a,
        "DELETE FROM item WHERE id = 7; DELETE FROM person WHERE id = 2",
    );
    let findings = repair(&a, &[&b]);
    let reasons: Vec<_> = findings.iter().map(|f| f.result).collect();
    assert_eq!(reasons, vec![Ok(Reason::Missing); 2]);
    assert!(repair(&b, &[&a]).is_empty());
    assert_eq!(a.store.digest().unwrap(), b.store.digest().unwrap());
    // Nothing was logged for it.
    assert_eq!(a.store.frontier(), b.store.frontier());
}

#[test]
fn a_parked_row_is_proven_and_repaired_too() {
    let (a, b) = filled(10);
    let insert = "INSERT INTO person VALUES (?, 'eve', 1)";
    a.store
        .transact(|tx| tx.execute(insert, &[10.into()]))
        .unwrap();
    b.store
        .transact(|tx| tx.execute(insert, &[20.into()]))
        .unwrap();
    exchange(&a, &b);
    assert!(compare(&a, &b).is_identical());
    // At the one that did not write the parked row.
    let parked = a.store.conflicts(1).unwrap().remove(0);
    let (bad, good) = if parked.key == [10.into()] {
        (&b, &a)
    } else {
        (&a, &b)
    };
    behind(bad, "UPDATE _tutti_hidden SET row = x'00'");
    let outcome = compare(bad, good);
    assert_eq!(outcome.differences.len(), 1, "{outcome:?}");
    assert_eq!(repair(bad, &[good]).len(), 1);
    assert!(compare(&a, &b).is_identical());
}

/// A system whose parked row, deleted by its peer, is there again: it lost to another one, and a
/// third, parked too, lost to it. Also that peer.
fn deleted_row_that_came_back() -> (Peer, Peer) {
    let (a, b, c) = (peer(1), peer(2), peer(3));
    let seat = "CREATE TABLE seat(id INTEGER PRIMARY KEY, row UNIQUE, number UNIQUE)";
    a.store.declare(seat).unwrap();
    pull(&b, &a);
    pull(&c, &a);
    // Of the same time; the higher incarnation wins.
    run(&a, "INSERT INTO seat VALUES (1, NULL, 7)");
    run(&b, "INSERT INTO seat VALUES (2, 'r', 7)");
    run(&c, "INSERT INTO seat VALUES (3, 'r', NULL)");
    pull(&a, &b);
    pull(&a, &c);
    a.store.fold().unwrap();
    let seats = "SELECT id FROM seat ORDER BY id";
    assert_eq!(rows(&a, seats), [[3.into()]]);
    let kept = ["seat", "_tutti_hidden", "_tutti_claim", "_tutti_clock"];
    for table in kept {
        behind(
            &a,
            &format!("CREATE TABLE kept{table} AS SELECT * FROM {table}"),
        );
    }
    run(&b, "DELETE FROM seat WHERE id = 2");
    pull(&a, &b);
    pull(&b, &a);
    a.store.fold().unwrap();
    assert_eq!(rows(&a, seats), [[1.into()], [3.into()]]);
    for table in kept {
        let back = format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept{table}");
        behind(&a, &back);
    }
    (a, b)
}

#[test]
fn whoever_lost_to_a_parked_row_that_a_repair_deletes_is_looked_at_again() {
    for damage in [
        "",
        "UPDATE _tutti_hidden SET row = x'00' WHERE key = x'1102'",
    ] {
        let (a, b) = deleted_row_that_came_back();
        behind(&a, damage);
        assert_eq!(repair(&a, &[&b]).len(), 1, "{damage}");
        assert!(compare(&a, &b).is_identical(), "{damage}");
        let seats = "SELECT id FROM seat ORDER BY id";
        assert_eq!(rows(&a, seats), [[1.into()], [3.into()]], "{damage}");
    }
}

#[test]
fn writes_under_way_are_no_difference() {
    let (a, b) = filled(200);
    let sql = "UPDATE item SET a = 'new' WHERE id IN (3, 150)";
    a.store.transact(|tx| tx.execute(sql, &[])).unwrap();
    let sql = "INSERT INTO item VALUES (1000, 'new', 1)";
    b.store.transact(|tx| tx.execute(sql, &[])).unwrap();
    assert!(compare(&a, &b).is_identical());
    assert!(compare(&b, &a).is_identical());
}

#[test]
fn a_copy_that_cannot_be_is_not_taken() {
    let (a, b) = filled(10);
    behind(&b, "UPDATE item SET a = 'rotten' WHERE id = 1");
    let row = compare(&b, &a).differences[0].clone();
    let copy = a.store.copies(std::slice::from_ref(&row)).unwrap()[0].clone();
    let mut wide = copy.clone();
    wide.content.as_mut().unwrap().push(Value::Null);
    let mut future = copy;
    future.clock.as_mut().unwrap().row.seq = 99;
    for lie in [wide, future] {
        let result = b.store.repair(&row, &[(a.store.node(), lie)]).unwrap();
        assert_eq!(result, None);
    }
    let nonsense = Difference {
        key: vec![0xff; 9],
        ..row
    };
    assert!(b.store.repair(&nonsense, &[]).is_err());
}

#[test]
fn a_row_inserted_past_the_engine_is_counted() {
    let (a, _b) = filled(10);
    assert!(a.store.strangers().unwrap().is_empty());
    behind(&a, "INSERT INTO item VALUES (99, 'smuggled', 0)");
    assert_eq!(a.store.strangers().unwrap(), vec![("item".to_owned(), 1)]);
}

#[test]
fn rows_of_a_table_that_was_dropped_are_not_put_into_the_one_that_took_its_name() {
    let (a, b) = filled(3);
    a.store.declare("DROP TABLE item").unwrap();
    a.store.declare(ITEM).unwrap();
    // B has not heard of it.
    assert!(repair(&a, &[&b]).is_empty());
    assert!(repair(&b, &[&a]).is_empty());
    assert!(crate::store::tests::rows(&a, "SELECT * FROM item").is_empty());
    exchange(&a, &b);
    assert!(compare(&a, &b).is_identical());
}

/// Rows were overwritten by proofs with stamps that no origin had issued, past log and inbox.
#[test]
fn a_copy_with_a_stamp_that_its_origin_never_issued_is_not_taken() {
    let (a, b) = filled(3);
    behind(&b, "UPDATE item SET a = 'damaged' WHERE id = 1");
    let row = compare(&a, &b).differences.remove(0);
    let theirs = |change: fn(&mut Copy)| {
        let mut copy = b
            .store
            .copies(std::slice::from_ref(&row))
            .unwrap()
            .remove(0);
        change(&mut copy);
        a.store.repair(&row, &[(b.store.node(), copy)]).unwrap();
        rows(&a, "SELECT a FROM item WHERE id = 1")
    };
    let changes: [fn(&mut Copy); 4] = [
        |copy| copy.clock.as_mut().unwrap().row.hlc.0 = u64::MAX,
        |copy| copy.clock.as_mut().unwrap().row.seq = 0,
        |copy| {
            let row = &mut copy.clock.as_mut().unwrap().row;
            (row.hlc.0, row.origin, row.seq) = (u64::MAX, 77, 0);
        },
        |copy| {
            copy.content.as_mut().unwrap()[0] = 2.into();
            copy.clock.as_mut().unwrap().row.hlc.0 += 1;
        },
    ];
    for change in changes {
        assert_eq!(theirs(change), [["row 1".into()]]);
    }
}
