//! Parked rows: many of them, and re-admission in the transaction that clears the way.

use std::time::Instant;

use super::*;

fn numbers(peer: &Peer, sql: &str, count: i64) {
    let with = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) {sql}"
    );
    run(peer, &with);
}

/// 20,000 rows of one table parked, half for a unique key, half for a parent.
fn crowded() -> (Peer, Peer) {
    let (a, b) = pair(&[
        "CREATE TABLE p(id INTEGER PRIMARY KEY, x)",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, p REFERENCES p(id), note)",
    ]);
    run(&a, "INSERT INTO p VALUES (1, 0)");
    exchange(&a, &b);
    numbers(&a, "INSERT INTO t SELECT i, i, NULL, 'a' FROM n", 10_000);
    numbers(
        &b,
        "INSERT INTO t SELECT 100000 + i, i, NULL, 'b' FROM n",
        10_000,
    );
    numbers(
        &b,
        "INSERT INTO t SELECT 200000 + i, NULL, 1, 'c' FROM n",
        10_000,
    );
    run(&a, "DELETE FROM p");
    exchange(&a, &b);
    let parked = rows(&a, "SELECT reason, count(*) FROM _tutti_hidden GROUP BY 1");
    let expected = [("FOREIGN KEY", 10_000), ("UNIQUE", 10_000)];
    assert_eq!(
        parked,
        expected.map(|(reason, n)| vec![reason.into(), Integer(n)])
    );
    (a, b)
}

#[test]
fn thousands_of_parked_rows_do_not_slow_what_does_not_concern_them() {
    let (a, b) = crowded();
    // Rows that SQLite writes, the engine's tables included.
    let written = || -> i64 {
        let writer = a.store.writer().unwrap();
        let sql = "SELECT total_changes()";
        writer.db.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    run(&a, "INSERT INTO t VALUES (899999, 899999, NULL, 'd')");
    let (before, began) = (written(), Instant::now());
    for id in 900_000..900_040 {
        run(&a, &format!("INSERT INTO t VALUES ({id}, {id}, NULL, 'd')"));
    }
    let (rows_each, each) = ((written() - before) / 40, began.elapsed() / 40);
    println!("one insert beside 20,000 parked rows: {rows_each} rows written, {each:?}");
    assert!(
        rows_each < 20,
        "{rows_each} rows are written by each insert"
    );
    // One of the parked rows returns, the others stay.
    run(&a, "DELETE FROM t WHERE u = 77");
    assert_eq!(
        rows(&a, "SELECT count(*) FROM _tutti_hidden"),
        vec![vec![Integer(19_999)]]
    );
    assert_eq!(rows(&a, "SELECT note FROM t WHERE u = 77").len(), 1);
    exchange(&a, &b);
    // All that wait for one parent come back at once.
    run(&b, "INSERT INTO p VALUES (1, 1)");
    assert_eq!(
        rows(&b, "SELECT count(*) FROM _tutti_hidden"),
        vec![vec![Integer(9_999)]]
    );
    exchange(&a, &b);
}

#[test]
fn a_row_comes_back_in_the_transaction_that_clears_its_way() {
    let (a, b) = pair(&["CREATE TABLE u(id INTEGER PRIMARY KEY, n UNIQUE)"]);
    run(&a, "INSERT INTO u VALUES (1, 1)");
    run(&b, "INSERT INTO u VALUES (2, 1)");
    exchange(&a, &b);
    let frames = || {
        // Pages of the write-ahead log that end a transaction.
        let wal = std::fs::read(a.store.inner.path.with_extension("db-wal")).unwrap();
        let page = u32::from_be_bytes(wal[8..12].try_into().unwrap()) as usize;
        let commits = wal[32..]
            .chunks_exact(24 + page)
            .filter(|f| f[4..8] != [0; 4]);
        commits.count()
    };
    let before = frames();
    run(&a, "DELETE FROM u WHERE id = 2");
    assert_eq!(rows(&a, "SELECT id FROM u"), vec![vec![Integer(1)]]);
    assert_eq!(frames(), before + 1, "one commit deletes and brings back");
}

#[test]
fn a_chain_of_unique_values_is_handed_on_and_swapped_rows_go_through() {
    let (a, b) = pair(&["CREATE TABLE u(id INTEGER PRIMARY KEY, n UNIQUE, m UNIQUE)"]);
    run(&a, "INSERT INTO u VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3)");
    exchange(&a, &b);
    // Peer 2 turns the values around in a ring, peer 1 changes one of them meanwhile.
    let turn = |tx: &mut Tx<'_>| {
        tx.execute("UPDATE u SET n = -n", &[])?;
        tx.execute("UPDATE u SET n = id % 3 + 1", &[])
    };
    b.store.transact(turn).unwrap();
    run(&a, "UPDATE u SET m = 9 WHERE id = 2");
    run(&a, "INSERT INTO u VALUES (4, 4, 2)");
    exchange(&a, &b);
    let expected = [[1, 2, 1], [2, 3, 9], [3, 1, 3], [4, 4, 2]];
    let expected: Vec<_> = expected
        .iter()
        .map(|row| row.map(Integer).to_vec())
        .collect();
    assert_eq!(rows(&a, "SELECT * FROM u ORDER BY id"), expected);
    assert!(a.store.conflicts(10).unwrap().is_empty());
}

#[test]
fn every_action_of_a_foreign_key_travels_as_rows() {
    let (a, b) = pair(&[
        "CREATE TABLE p(a INTEGER NOT NULL, b TEXT NOT NULL, PRIMARY KEY (a, b)) WITHOUT ROWID",
        "CREATE TABLE cascades(id INTEGER PRIMARY KEY, a, b, \
         FOREIGN KEY (a, b) REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE)",
        "CREATE TABLE nulls(id INTEGER PRIMARY KEY, a, b, \
         FOREIGN KEY (a, b) REFERENCES p(a, b) ON DELETE SET NULL ON UPDATE SET NULL)",
        "CREATE TABLE defaults(id INTEGER PRIMARY KEY, a DEFAULT 0, b DEFAULT 'z', \
         FOREIGN KEY (a, b) REFERENCES p ON DELETE SET DEFAULT ON UPDATE SET DEFAULT)",
        "CREATE TABLE restricts(id INTEGER PRIMARY KEY, a, b, \
         FOREIGN KEY (a, b) REFERENCES p ON DELETE RESTRICT)",
    ]);
    run(
        &a,
        "INSERT INTO p VALUES (0, 'z'), (1, 'x'), (2, 'y'), (3, 'r')",
    );
    for table in ["cascades", "nulls", "defaults"] {
        run(
            &a,
            &format!("INSERT INTO {table} VALUES (1, 1, 'x'), (2, 2, 'y')"),
        );
    }
    run(&a, "INSERT INTO restricts VALUES (1, 3, 'r')");
    exchange(&a, &b);
    run(&b, "DELETE FROM p WHERE a = 1");
    run(&b, "UPDATE p SET b = 'yy' WHERE a = 2");
    assert!(
        b.store
            .transact(|tx| tx.execute("DELETE FROM p WHERE a = 3", &[]))
            .is_err()
    );
    exchange(&a, &b);
    let two = |sql: &str| rows(&a, sql);
    assert_eq!(
        two("SELECT * FROM cascades"),
        vec![vec![Integer(2), Integer(2), "yy".into()]]
    );
    assert_eq!(
        two("SELECT count(*) FROM nulls WHERE a IS NULL"),
        vec![vec![Integer(2)]]
    );
    assert_eq!(
        two("SELECT count(*) FROM defaults WHERE b = 'z'"),
        vec![vec![Integer(2)]]
    );
    assert!(a.store.conflicts(10).unwrap().is_empty());
    // A concurrent child of the deleted parent waits, a concurrent parent brings it back.
    run(&a, "DELETE FROM p WHERE a = 2");
    run(&b, "INSERT INTO nulls VALUES (9, 2, 'yy')");
    exchange(&a, &b);
    assert_eq!(a.store.conflicts(10).unwrap()[0].reason, "FOREIGN KEY");
    run(&b, "INSERT INTO p VALUES (2, 'yy')");
    exchange(&a, &b);
    assert_eq!(
        two("SELECT a FROM nulls WHERE id = 9"),
        vec![vec![Integer(2)]]
    );
}

#[test]
fn writing_over_a_parked_row_frees_what_it_claimed() {
    let (a, b) = pair(&[
        "CREATE TABLE p(id INTEGER PRIMARY KEY)",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, p REFERENCES p)",
    ]);
    run(&a, "INSERT INTO p VALUES (1)");
    exchange(&a, &b);
    // Row 2 claims `u` and is hidden for its parent, row 1 loses to it though it is hidden.
    run(&a, "INSERT INTO t VALUES (1, 'u', NULL)");
    run(&a, "DELETE FROM p");
    run(&b, "UPDATE p SET id = id");
    run(&b, "INSERT INTO t VALUES (3, 'other', NULL)");
    run(&b, "INSERT INTO t VALUES (4, 'more', NULL)");
    run(&b, "INSERT INTO t VALUES (2, 'u', 1)");
    exchange(&a, &b);
    assert_eq!(
        rows(&a, "SELECT count(*) FROM _tutti_hidden"),
        vec![vec![Integer(2)]]
    );
    run(&a, "INSERT INTO t VALUES (2, 'free', NULL)");
    assert_eq!(
        rows(&a, "SELECT id FROM t WHERE u = 'u'"),
        vec![vec![Integer(1)]]
    );
    exchange(&a, &b);
}
