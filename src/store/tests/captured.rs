//! What SQLite's hook tells, and what it would not tell a careless caller.

use std::sync::{Barrier, Mutex};

use super::*;

/// SQLite empties a table without telling the hook of its rows, by a statement that was prepared
/// before there was a hook. Ours is there before any statement; one that is kept and run again
/// sees it, too.
#[test]
fn a_delete_of_everything_tells_of_each_row_whenever_it_was_prepared() {
    let (a, b) = pair(&[ITEM]);
    let all = "DELETE FROM item";
    // Prepared, and kept, while the table is empty.
    run(&a, all);
    for round in 1..4 {
        run(
            &a,
            "INSERT INTO item VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3)",
        );
        exchange(&a, &b);
        assert_eq!(rows(&b, "SELECT count(*) FROM item"), [[Integer(3)]]);
        run(&a, all);
        exchange(&a, &b);
        assert!(rows(&b, "SELECT * FROM item").is_empty(), "round {round}");
    }
    // Also over a start, and at one that got the rows by the log.
    let node = a.store.node();
    drop(a.store);
    let again = Store::open_with_clock(a.dir.path(), node, 77, Arc::new(|| 1_000)).unwrap();
    let a = Peer {
        store: again,
        dir: a.dir,
    };
    run(&b, "INSERT INTO item VALUES (7, 7, 7)");
    exchange(&a, &b);
    run(&a, all);
    exchange(&a, &b);
    assert!(rows(&b, "SELECT * FROM item").is_empty());
}

/// SQLite deletes whatever has the values that a REPLACE writes, whichever key it has.
#[test]
fn all_that_a_replace_displaced_is_gone_everywhere() {
    let (a, b) = pair(&["CREATE TABLE u(id INTEGER PRIMARY KEY, name UNIQUE, code UNIQUE)"]);
    run(
        &a,
        "INSERT INTO u VALUES (1, 'x', 1), (2, 'y', 2), (3, 'z', 3)",
    );
    exchange(&a, &b);
    run(&a, "REPLACE INTO u VALUES (4, 'x', 2)");
    run(&a, "UPDATE OR REPLACE u SET code = 3 WHERE id = 4");
    exchange(&a, &b);
    let left = [[Integer(4), "x".into(), Integer(3)]];
    assert_eq!(rows(&a, "SELECT * FROM u"), left);
    assert_eq!(rows(&b, "SELECT * FROM u"), left);
}

/// Had the group been one transaction of savepoints, the one whose foreign key fails at its COMMIT
/// would fail all.
#[test]
fn of_writers_that_commit_together_only_the_one_whose_deferred_key_fails_is_refused() {
    let (a, b) = pair(&[
        "CREATE TABLE p(id INTEGER PRIMARY KEY)",
        "CREATE TABLE c(id INTEGER PRIMARY KEY, \
         p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)",
    ]);
    run(&a, "INSERT INTO p VALUES (1)");
    let (writers, each) = (8_i64, 10_i64);
    let together = Barrier::new(writers as usize);
    // Judged when all are done: one that fails on the way would leave the others waiting.
    let wrong = Mutex::new(Vec::new());
    let write = |writer: i64| {
        for number in 0..each {
            together.wait();
            let id = writer * each + number;
            // One of them points at nothing.
            let parent = if writer == 3 { 99_i64 } else { 1 };
            let row: [Value; 2] = [id.into(), parent.into()];
            let done = a
                .store
                .transact(|tx| tx.execute("INSERT INTO c VALUES (?, ?)", &row));
            if done.is_err() != (writer == 3) {
                lock(&wrong).push((id, done));
            }
        }
    };
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let write = &write;
            scope.spawn(move || write(writer));
        }
    });
    assert!(lock(&wrong).is_empty(), "{wrong:?}");
    exchange(&a, &b);
    let count = rows(&b, "SELECT count(*), sum(p) FROM c");
    let kept = (writers - 1) * each;
    assert_eq!(count, [[Integer(kept), Integer(kept)]]);
}

#[test]
fn a_zero_that_changes_its_sign_is_a_change() {
    let (a, b) = pair(&[ITEM]);
    run(&a, "INSERT INTO item VALUES (1, 0.0, 0)");
    exchange(&a, &b);
    run(&a, "UPDATE item SET a = a * -1");
    exchange(&a, &b);
}

#[test]
fn the_engines_tables_are_not_written_in_whatever_case_they_are_named() {
    let (a, _) = pair(&[ITEM]);
    let refused = a
        .store
        .transact(|tx| tx.execute("DELETE FROM _TUTTI_origin", &[]));
    assert!(refused.unwrap_err().to_string().contains("engine's own"));
}

/// It was declared by an earlier version.
#[test]
fn what_is_refused_of_a_new_table_keeps_no_database_from_opening() {
    let (a, _) = pair(&["CREATE TABLE doc(id INTEGER PRIMARY KEY, body, n)"]);
    a.store
        .corrupt("CREATE INDEX d ON doc(n) WHERE body ->> '$.kind' = 'x'");
    let node = a.store.node();
    drop(a.store);
    let again = Store::open_with_clock(a.dir.path(), node, 77, Arc::new(|| 1_000)).unwrap();
    assert_eq!(again.tables().unwrap().len(), 1);
    assert!(again.declare("CREATE INDEX e ON doc(body)").is_err());
}

/// Elsewhere its rows would be found by the column's collation, several by one key.
#[test]
fn a_key_that_only_its_index_compares_byte_by_byte_is_refused() {
    let (a, _) = pair(&[]);
    for sql in [
        "CREATE TABLE t(a TEXT NOT NULL COLLATE NOCASE, b, PRIMARY KEY (a COLLATE BINARY))",
        "CREATE TABLE t(a TEXT COLLATE nocase, id INTEGER PRIMARY KEY, UNIQUE (a COLLATE BINARY))",
    ] {
        let refused = a.store.declare(sql).unwrap_err().to_string();
        assert!(refused.contains("collation other than BINARY"), "{refused}");
    }
    let fine = "CREATE TABLE t(a TEXT NOT NULL PRIMARY KEY COLLATE binary, b COLLATE NOCASE)";
    a.store.declare(fine).unwrap();
}

/// The trigger writes another row each time that it fires.
#[test]
fn a_trigger_fires_where_the_row_is_written_and_its_rows_come_like_others() {
    let (a, b) = pair(&[
        ITEM,
        "CREATE TABLE told(id BLOB PRIMARY KEY NOT NULL, item)",
        "CREATE TRIGGER item_told AFTER INSERT ON item BEGIN \
         INSERT INTO told VALUES (randomblob(16), NEW.id); END",
    ]);
    // Replayed, and merged beside what was written at the other side.
    for own in [false, true] {
        run(
            &a,
            "INSERT INTO item(id) VALUES (abs(random()) % 1000000000)",
        );
        if own {
            run(&b, "INSERT INTO item(id) VALUES (-1)");
        }
        exchange(&a, &b);
        let counts = "SELECT (SELECT count(*) FROM item), (SELECT count(*) FROM told)";
        let [items, told] = &rows(&b, counts)[0][..] else {
            panic!("two counts");
        };
        assert_eq!(items, told);
    }
}

#[test]
fn a_reader_sees_what_was_committed_while_a_transaction_is_open() {
    let (a, _b) = pair(&[ITEM]);
    run(&a, "INSERT INTO item VALUES (1, 1, 1)");
    let count = || rows(&a, "SELECT count(*) FROM item");
    let inside = a.store.transact(|tx| {
        tx.execute("INSERT INTO item VALUES (2, 2, 2)", &[])?;
        Ok(count())
    });
    assert_eq!(inside.unwrap(), [[Integer(1)]]);
    assert_eq!(count(), [[Integer(2)]]);
}
