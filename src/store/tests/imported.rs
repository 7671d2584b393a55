//! What an import makes of files that are not in the order in which their rows can be written.

use super::*;

/// A file of another program.
fn file(dir: &TempDir, sql: &str) -> std::path::PathBuf {
    let path = dir.path().join("theirs.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(sql).unwrap();
    path
}

/// `n(i)`, the numbers from 1 to `count`, before a statement.
fn numbers(count: usize) -> String {
    format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) ")
}

fn import(peer: &Peer, path: &std::path::Path) -> Result<Vec<(String, u64)>, String> {
    let mut report = ImportReport::default();
    let done = peer.store.import(path, &mut report);
    done.map_err(|error| error.to_string())?;
    Ok(report.tables)
}

/// How many transactions there were.
fn steps(peer: &Peer) -> u64 {
    peer.store.frontier_summary().1
}

#[test]
fn rows_that_point_at_later_rows_are_imported() {
    let (a, b) = (peer(1), peer(2));
    let with = numbers(2_500);
    let path = file(
        &a.dir,
        &format!(
            "PRAGMA foreign_keys = OFF;
             CREATE TABLE tree(id INTEGER PRIMARY KEY, up REFERENCES tree(id), note);
             INSERT INTO tree {with} SELECT i, 2501 - i, 'x' FROM n;
             UPDATE tree SET up = NULL WHERE id = 2500;
             CREATE TABLE a_leaf(id INTEGER PRIMARY KEY, r NOT NULL REFERENCES east(id));
             INSERT INTO a_leaf {with} SELECT i, i FROM n;
             CREATE TABLE west(id INTEGER PRIMARY KEY, r NOT NULL REFERENCES east(id));
             INSERT INTO west {with} SELECT i, 2501 - i FROM n;
             CREATE TABLE east(a, id INTEGER PRIMARY KEY, l INTEGER REFERENCES west);
             INSERT INTO east {with} SELECT 'e', i, 2501 - i FROM n;
             CREATE TABLE pair(k TEXT NOT NULL, n INTEGER NOT NULL, other TEXT, m INTEGER,
               PRIMARY KEY (k, n), FOREIGN KEY (other, m) REFERENCES pair(k, n)) WITHOUT ROWID;
             INSERT INTO pair {with} SELECT 'k', i, 'k', i % 2500 + 1 FROM n;",
        ),
    );
    let tables = import(&a, &path).unwrap();
    let names: Vec<&str> = tables.iter().map(|table| &*table.0).collect();
    let at = |name| names.iter().position(|found| *found == name);
    assert!(
        at("east") < at("west") && at("west") < at("a_leaf"),
        "{names:?}"
    );
    assert_eq!(names.len(), 5);
    assert!(tables.iter().all(|table| table.1 == 2_500), "{tables:?}");
    for sql in [
        "SELECT count(*) FROM tree WHERE up = 2501 - id AND note = 'x'",
        "SELECT count(*) FROM west JOIN east ON east.id = r AND l = west.id",
        "SELECT count(*) FROM a_leaf WHERE r = id",
        "SELECT count(*) FROM pair WHERE other = 'k' AND m = n % 2500 + 1",
    ] {
        let tree = i64::from(sql.contains("FROM tree"));
        assert_eq!(rows(&a, sql), [[Integer(2_500 - tree)]], "{sql}");
    }
    exchange(&a, &b);
    assert!(b.store.conflicts(10).unwrap().is_empty());
    assert_eq!(rows(&b, "SELECT count(*) FROM pair"), [[Integer(2_500)]]);
}

#[test]
fn rows_that_cannot_wait_for_those_they_point_at_are_imported_in_one_transaction() {
    let with = numbers(1_500);
    let one = format!(
        "CREATE TABLE one(id INTEGER PRIMARY KEY, two NOT NULL REFERENCES two);
         INSERT INTO one {with} SELECT i, 1501 - i FROM n;
         CREATE TABLE two(id INTEGER PRIMARY KEY, one NOT NULL REFERENCES one);
         INSERT INTO two {with} SELECT i, 1501 - i FROM n;"
    );
    let checked = format!(
        "CREATE TABLE one(id INTEGER PRIMARY KEY, up REFERENCES one, CHECK (up IS NOT NULL));
         INSERT INTO one {with} SELECT i, max(i - 1, 1) FROM n;
         UPDATE one SET up = 1500 WHERE id > 1100;"
    );
    for (sql, tables) in [(one, 2), (checked, 1)] {
        let (a, b) = (peer(1), peer(2));
        let path = file(&a.dir, &format!("PRAGMA foreign_keys = OFF; {sql}"));
        let loaded = import(&a, &path).unwrap();
        assert_eq!(loaded.len(), tables);
        assert!(loaded.iter().all(|table| table.1 == 1_500), "{loaded:?}");
        exchange(&a, &b);
        assert!(b.store.conflicts(10).unwrap().is_empty());
        assert_eq!(rows(&b, "SELECT count(*) FROM one"), [[Integer(1_500)]]);
    }
}

#[test]
fn an_import_commits_after_a_few_mebibytes_however_few_rows_those_are() {
    let a = peer(1);
    let path = file(
        &a.dir,
        &format!(
            "CREATE TABLE item(id INTEGER PRIMARY KEY, a, b);
             INSERT INTO item {} SELECT i, zeroblob(1 << 20), i FROM n;",
            numbers(24)
        ),
    );
    let before = steps(&a);
    assert_eq!(import(&a, &path).unwrap(), [("item".to_owned(), 24)]);
    let steps = steps(&a) - before;
    assert!((5..=24).contains(&steps), "{steps} transactions");
}

#[test]
fn an_import_that_ended_half_way_says_so_and_goes_on_when_it_is_run_again() {
    let a = peer(1);
    let path = file(
        &a.dir,
        &format!(
            "CREATE TABLE item(id INTEGER PRIMARY KEY, a, b REFERENCES item);
             INSERT INTO item {} SELECT i, 'theirs', 2501 - i FROM n;",
            numbers(2_500)
        ),
    );
    let sql = "CREATE TABLE item(id INTEGER PRIMARY KEY, a, b REFERENCES item)";
    a.store.declare(sql).unwrap();
    run(&a, "INSERT INTO item VALUES (2300, 'ours', NULL)");
    let error = import(&a, &path).unwrap_err();
    for words in [
        "item: the row 2300",
        "item 2000 rows",
        "import the file again",
    ] {
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(rows(&a, "SELECT count(*) FROM item"), [[Integer(2_001)]]);
    run(&a, "UPDATE item SET a = 'theirs' WHERE id = 2300");
    assert_eq!(import(&a, &path).unwrap(), [("item".to_owned(), 499)]);
    let all = "SELECT count(*) FROM item WHERE a = 'theirs' AND b = 2501 - id";
    assert_eq!(rows(&a, all), [[Integer(2_500)]]);
    // Once more changes nothing, and what was written here since is not written over.
    let before = steps(&a);
    assert_eq!(import(&a, &path).unwrap(), [("item".to_owned(), 0)]);
    assert_eq!(steps(&a), before);
    run(&a, "UPDATE item SET b = 7 WHERE id = 3");
    let error = import(&a, &path).unwrap_err();
    assert!(error.contains("item: the row 3"), "{error}");
}
