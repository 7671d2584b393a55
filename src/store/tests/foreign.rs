//! Children and parents whose columns compare otherwise than byte by byte.

use super::*;

/// Whoever hears of the parent's end before the child, or after: neither shows a child without.
fn parts(schema: &[&str], parent: &str, child: &str) {
    let (a, b) = pair(schema);
    run(&a, parent);
    exchange(&a, &b);
    run(&a, "DELETE FROM parent");
    run(&b, child);
    exchange(&a, &b);
    for peer in [&a, &b] {
        assert!(rows(peer, "SELECT * FROM child").is_empty(), "{schema:?}");
    }
    run(&a, parent);
    exchange(&a, &b);
    assert_eq!(rows(&b, "SELECT count(*) FROM child"), [[Integer(1)]]);
}

#[test]
fn a_child_of_another_storage_class_is_not_visible_without_its_parent() {
    let number = "CREATE TABLE parent(id INTEGER PRIMARY KEY)";
    let text = "CREATE TABLE parent(id TEXT NOT NULL PRIMARY KEY)";
    let child = |kind: &str| {
        format!("CREATE TABLE child(id INTEGER PRIMARY KEY, p {kind} REFERENCES parent(id))")
    };
    let insert = "INSERT INTO parent VALUES (5)";
    for value in ["'5'", "5", "5.0", "'05'"] {
        let add = format!("INSERT INTO child VALUES (1, {value})");
        parts(&[number, &child("")], insert, &add);
        parts(&[number, &child("TEXT")], insert, &add);
    }
    parts(
        &[text, &child("INTEGER")],
        insert,
        "INSERT INTO child VALUES (1, '5')",
    );
}

/// SQLite would leave it when its parent goes, here and not where the two meet by a merge.
#[test]
fn a_number_that_points_at_a_text_is_refused() {
    let (a, b) = pair(&[
        "CREATE TABLE parent(id TEXT NOT NULL PRIMARY KEY)",
        "CREATE TABLE child(id INTEGER PRIMARY KEY, p REFERENCES parent(id), \
         q TEXT REFERENCES parent)",
    ]);
    run(&a, "INSERT INTO parent VALUES ('5')");
    let insert = |sql| a.store.transact(|tx| tx.execute(sql, &[]));
    let refused = insert("INSERT INTO child VALUES (1, 5, NULL)").unwrap_err();
    assert!(
        refused.to_string().contains("points at a TEXT"),
        "{refused}"
    );
    insert("INSERT INTO child VALUES (1, '5', 5), (2, NULL, NULL)").unwrap();
    exchange(&a, &b);
}

const ROOMS: [&str; 2] = [
    "CREATE TABLE room(code TEXT NOT NULL PRIMARY KEY, n)",
    "CREATE TABLE booking(id INTEGER PRIMARY KEY, room REFERENCES room(code))",
];

/// A booking of 'ABC', which was renamed 'abc' meanwhile.
fn renamed() -> (Peer, Peer) {
    let (a, b) = pair(&ROOMS);
    run(&a, "INSERT INTO room VALUES ('ABC', 0)");
    exchange(&a, &b);
    run(&a, "UPDATE room SET code = 'abc'");
    run(&b, "INSERT INTO booking VALUES (1, 'ABC')");
    exchange(&a, &b);
    assert!(rows(&a, "SELECT * FROM booking").is_empty());
    (a, b)
}

#[test]
fn who_waits_for_a_parent_comes_back_with_it_though_a_like_one_leaves() {
    let (a, b) = renamed();
    run(&b, "UPDATE room SET code = 'ABC'");
    exchange(&a, &b);
    for peer in [&a, &b] {
        assert_eq!(rows(peer, "SELECT id FROM booking"), [[Integer(1)]]);
    }
}

#[test]
fn who_waits_for_a_parent_comes_back_wherever_a_like_one_left_at_once() {
    let (a, b) = renamed();
    let c = peer(3);
    pull(&c, &a);
    run(&a, "DELETE FROM room");
    run(&b, "INSERT INTO room VALUES ('ABC', 1)");
    pull(&a, &b);
    // Both at once.
    exchange(&c, &a);
    exchange(&b, &c);
    for peer in [&a, &b, &c] {
        assert_eq!(rows(peer, "SELECT id FROM booking"), [[Integer(1)]]);
    }
}

/// A FOREIGN KEY that names no columns means the key of whatever table has the name.
#[test]
fn a_parent_with_another_number_of_key_columns_is_none() {
    let (b, c) = (peer(2), peer(3));
    let two = "CREATE TABLE v(a INTEGER NOT NULL, b INTEGER NOT NULL, PRIMARY KEY (a, b))";
    b.store.declare(two).unwrap();
    run(&b, "INSERT INTO v VALUES (1, 2)");
    let one = "CREATE TABLE v(id INTEGER PRIMARY KEY)";
    let child = "CREATE TABLE child(id INTEGER PRIMARY KEY, v REFERENCES v)";
    c.store.declare(one).unwrap();
    c.store.declare(child).unwrap();
    run(&c, "INSERT INTO v VALUES (1)");
    run(&c, "INSERT INTO child VALUES (1, 1)");
    pull(&c, &b);
    run(&b, "DELETE FROM v");
    exchange(&b, &c);
    assert!(rows(&c, "SELECT * FROM child").is_empty());
}

/// One drops the index that makes the parent's column a key, before it knows of the child.
#[test]
fn a_parent_whose_columns_are_no_key_any_more_still_has_its_children_looked_after() {
    let [a, b, c] = [1, 2, 3].map(peer);
    a.store
        .declare("CREATE TABLE parent(id INTEGER PRIMARY KEY, code)")
        .unwrap();
    a.store
        .declare("CREATE UNIQUE INDEX code ON parent(code)")
        .unwrap();
    run(&a, "INSERT INTO parent VALUES (1, 'x')");
    pull(&b, &a);
    pull(&c, &a);
    a.store.declare("DROP INDEX code").unwrap();
    c.store
        .declare("CREATE TABLE child(id INTEGER PRIMARY KEY, code REFERENCES parent(code))")
        .unwrap();
    run(&c, "INSERT INTO child VALUES (10, 'x')");
    run(&b, "UPDATE parent SET code = 'y'");
    for (to, from) in [(&a, &c), (&a, &b), (&b, &c), (&b, &a), (&c, &b), (&c, &a)] {
        pull(to, from);
    }
    for peer in [&a, &b, &c] {
        assert!(rows(peer, "SELECT * FROM child").is_empty());
    }
}

#[test]
fn an_index_by_which_rows_are_pointed_at_is_not_dropped() {
    let (a, _b) = pair(&[
        "CREATE TABLE parent(id INTEGER PRIMARY KEY, code)",
        "CREATE UNIQUE INDEX code ON parent(code)",
        "CREATE TABLE child(id INTEGER PRIMARY KEY, code REFERENCES parent(code))",
    ]);
    let refused = a.store.declare("DROP INDEX code").unwrap_err().to_string();
    assert!(
        refused.contains("table child has a FOREIGN KEY"),
        "{refused}"
    );
    // Another one does as well.
    a.store
        .declare("CREATE UNIQUE INDEX again ON parent(code)")
        .unwrap();
    a.store.declare("DROP INDEX code").unwrap();
    a.store.declare("DROP INDEX again").unwrap_err();
    // One that has nothing to do with it goes, though something points at no key already.
    let (b, _a) = pair(&[
        "CREATE TABLE child(id INTEGER PRIMARY KEY, code REFERENCES parent(code))",
        "CREATE TABLE parent(id INTEGER PRIMARY KEY, code)",
        "CREATE INDEX other ON child(code)",
    ]);
    b.store.declare("DROP INDEX other").unwrap();
}
