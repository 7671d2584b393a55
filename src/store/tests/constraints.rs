//! Columns that one constraint ties, and rows that need each other.

use super::*;

/// One row is changed at both peers, one of two tied columns each. Merged by column it would be
/// (1, 2), which neither peer ever had; so one side's pair stands at both, and the other side's is
/// in both inboxes.
fn one_pair_wins(schema: &[&str]) {
    let (a, b) = pair(schema);
    run(&a, "INSERT INTO t VALUES (1, 0, 0)");
    exchange(&a, &b);
    run(&a, "UPDATE t SET x = 1");
    run(&b, "UPDATE t SET y = 2");
    exchange(&a, &b);
    let stands = rows(&a, "SELECT x, y FROM t");
    assert_eq!(stands, [[Integer(0), Integer(2)]], "{schema:?}");
    let lost = a.store.conflicts(10).unwrap();
    assert_eq!(lost, b.store.conflicts(10).unwrap(), "{schema:?}");
    let mut lost: Vec<_> = lost
        .into_iter()
        .map(|lost| (lost.column, lost.value, lost.reason))
        .collect();
    lost.sort_by(|one, other| one.0.cmp(&other.0));
    let of = |column: &str, value| {
        let why = String::from("later write");
        (String::from(column), vec![Integer(value)], why)
    };
    assert_eq!(lost, [of("x", 1), of("y", 0)], "{schema:?}");
}

#[test]
fn columns_that_one_check_names_merge_as_one_cell() {
    one_pair_wins(&["CREATE TABLE t(id INTEGER PRIMARY KEY, x, y, CHECK (x + y < 3))"]);
    one_pair_wins(&["CREATE TABLE t(id INTEGER PRIMARY KEY, x CHECK (x + y < 3), y)"]);
}

#[test]
fn columns_of_one_composite_unique_key_merge_as_one_cell() {
    one_pair_wins(&["CREATE TABLE t(id INTEGER PRIMARY KEY, x, y, UNIQUE (x, y))"]);
    one_pair_wins(&[
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x, y)",
        "CREATE UNIQUE INDEX i ON t(y, x)",
    ]);
}

#[test]
fn columns_of_one_composite_foreign_key_merge_as_one_cell() {
    let (a, b) = pair(&[
        "CREATE TABLE p(x INTEGER NOT NULL, y INTEGER NOT NULL, PRIMARY KEY (x, y))",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x, y, FOREIGN KEY (x, y) REFERENCES p(x, y))",
    ]);
    run(&a, "INSERT INTO p VALUES (0, 0), (1, 0), (0, 2)");
    run(&a, "INSERT INTO t VALUES (1, 0, 0)");
    exchange(&a, &b);
    run(&a, "UPDATE t SET x = 1");
    run(&b, "UPDATE t SET y = 2");
    exchange(&a, &b);
    // By column it would have no parent, and nobody would see it.
    let stands = rows(&a, "SELECT x, y FROM t");
    assert_eq!(stands, [[Integer(0), Integer(2)]]);
    let lost = a.store.conflicts(10).unwrap();
    assert_eq!(lost, b.store.conflicts(10).unwrap());
    assert!(lost.iter().any(|lost| lost.value == [Integer(1)]));
}

#[test]
fn what_the_where_of_a_unique_index_names_merges_with_its_key() {
    one_pair_wins(&[
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x, y)",
        "CREATE UNIQUE INDEX i ON t(x) WHERE y < 2",
    ]);
}

#[test]
fn columns_that_no_constraint_ties_merge_each_by_itself() {
    let (a, b) = pair(&["CREATE TABLE t(id INTEGER PRIMARY KEY, x CHECK (x < 3), y UNIQUE)"]);
    run(&a, "INSERT INTO t VALUES (1, 0, 0)");
    exchange(&a, &b);
    run(&a, "UPDATE t SET x = 1");
    run(&b, "UPDATE t SET y = 2");
    exchange(&a, &b);
    let stands = rows(&a, "SELECT x, y FROM t");
    assert_eq!(stands, [[Integer(1), Integer(2)]]);
    assert!(a.store.conflicts(10).unwrap().is_empty());
}

#[test]
fn a_check_is_asked_where_a_row_is_written_and_never_where_it_arrives() {
    let (a, b) = pair(&["CREATE TABLE t(id INTEGER PRIMARY KEY, x, y, CHECK (x + y < 3))"]);
    let refused = a
        .store
        .transact(|tx| tx.execute("INSERT INTO t VALUES (1, 2, 2)", &[]));
    assert!(refused.is_err());
    run(&a, "INSERT INTO t VALUES (1, 1, 1)");
    exchange(&a, &b);
    run(&b, "UPDATE t SET x = 0, y = 2");
    exchange(&a, &b);
    let stands = rows(&a, "SELECT x, y FROM t");
    assert_eq!(stands, [[Integer(0), Integer(2)]]);
}

const RING: [&str; 2] = [
    "CREATE TABLE p(id INTEGER PRIMARY KEY)",
    "CREATE TABLE n(id INTEGER PRIMARY KEY, p REFERENCES p(id), \
     next REFERENCES n(id) DEFERRABLE INITIALLY DEFERRED)",
];

/// Visible rows are the greatest set of rows that have their parents: two that only need each
/// other are in it, and so they are where one of them needs something more that comes back.
#[test]
fn rows_that_point_at_each_other_are_hidden_and_come_back_together() {
    let (a, b) = pair(&RING);
    run(&a, "INSERT INTO p VALUES (1)");
    exchange(&a, &b);
    run(&a, "DELETE FROM p");
    // Seen by neither: a ring on a parent that goes, and one that needs nothing but itself.
    run(&b, "INSERT INTO n VALUES (1, 1, 2), (2, NULL, 1)");
    run(&b, "INSERT INTO n VALUES (3, NULL, 4), (4, NULL, 3)");
    exchange(&a, &b);
    let visible = [[Integer(3)], [Integer(4)]];
    for peer in [&a, &b] {
        assert_eq!(rows(peer, "SELECT id FROM n ORDER BY 1"), visible);
        let parked = peer.store.conflicts(10).unwrap();
        assert_eq!(parked.len(), 2);
        assert!(parked.iter().all(|row| row.reason == "FOREIGN KEY"));
    }
    run(&a, "INSERT INTO p VALUES (1)");
    assert_eq!(rows(&a, "SELECT count(*) FROM n"), [[Integer(4)]]);
    exchange(&a, &b);
    assert_eq!(rows(&b, "SELECT count(*) FROM n"), [[Integer(4)]]);
    assert!(b.store.conflicts(10).unwrap().is_empty());
}

#[test]
fn a_ring_goes_whole_when_one_of_its_rows_is_deleted_elsewhere() {
    let (a, b) = pair(&RING);
    run(&a, "INSERT INTO n VALUES (1, NULL, 2), (2, NULL, 1)");
    exchange(&a, &b);
    // One peer takes the ring apart; the other makes it a ring of three meanwhile.
    let apart = |tx: &mut Tx<'_>| {
        tx.execute("UPDATE n SET next = NULL WHERE id = 2", &[])?;
        tx.execute("DELETE FROM n WHERE id = 1", &[])
    };
    a.store.transact(apart).unwrap();
    let longer = |tx: &mut Tx<'_>| {
        tx.execute("INSERT INTO n VALUES (3, NULL, 1)", &[])?;
        tx.execute("UPDATE n SET next = 3 WHERE id = 2", &[])
    };
    b.store.transact(longer).unwrap();
    exchange(&a, &b);
    // 1 is gone; so 3 has no parent, and 2, which by the later write points at 3, none either.
    assert!(rows(&a, "SELECT * FROM n").is_empty());
    run(&b, "INSERT INTO n VALUES (1, NULL, NULL)");
    exchange(&a, &b);
    assert_eq!(
        rows(&a, "SELECT id, next FROM n ORDER BY 1"),
        [
            [Integer(1), Null],
            [Integer(2), Integer(3)],
            [Integer(3), Integer(1)]
        ]
    );
}
