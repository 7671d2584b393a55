//! Columns that SQLite computes from others.

use super::*;

const SLOT: &str = "CREATE TABLE slot(id INTEGER PRIMARY KEY, room, state TEXT, note, \
                    live AS (state = 'live'), busy AS (live AND note IS NULL))";

/// The WHERE names only what is computed from a computed column.
fn slots() -> (Peer, Peer) {
    let (a, b) = pair(&[
        SLOT,
        "CREATE UNIQUE INDEX slot_room ON slot(room) WHERE busy",
    ]);
    run(
        &a,
        "INSERT INTO slot(id, room, state) VALUES (1, 'r', 'off'), (2, 'r', 'off')",
    );
    exchange(&a, &b);
    (a, b)
}

#[test]
fn what_the_where_of_a_unique_index_is_computed_from_decides_who_is_visible() {
    let (a, b) = slots();
    run(&a, "UPDATE slot SET state = 'live' WHERE id = 1");
    run(&b, "UPDATE slot SET state = 'live' WHERE id = 2");
    exchange(&a, &b);
    let stands = [[Integer(2)]];
    assert_eq!(rows(&a, "SELECT id FROM slot"), stands);
    assert_eq!(rows(&b, "SELECT id FROM slot"), stands);
    // Neither row is lost.
    run(&a, "UPDATE slot SET state = 'off' WHERE id = 2");
    exchange(&a, &b);
    assert_eq!(rows(&b, "SELECT count(*) FROM slot"), [[Integer(2)]]);
}

#[test]
fn rows_of_one_transaction_exchange_what_such_an_index_keeps() {
    let (a, b) = slots();
    run(&a, "UPDATE slot SET state = 'live' WHERE id = 2");
    exchange(&a, &b);
    a.store
        .transact(|tx| {
            tx.execute("UPDATE slot SET room = 'r' || '' WHERE id = 1", &[])?;
            tx.execute("UPDATE slot SET state = 'off' WHERE id = 2", &[])?;
            tx.execute("UPDATE slot SET state = 'live' WHERE id = 1", &[])
        })
        .unwrap();
    exchange(&a, &b);
    let live = rows(&b, "SELECT id FROM slot WHERE live");
    assert_eq!(live, [[Integer(1)]]);
}

/// Each write was fine where it was made; what they would come to, column by column, the table
/// refuses.
#[test]
fn columns_that_one_is_computed_from_merge_as_one_cell() {
    let (a, b) = pair(
        &["CREATE TABLE contact(id INTEGER PRIMARY KEY, phone, mail, \
         reach TEXT NOT NULL AS (coalesce(phone, mail)))"],
    );
    run(
        &a,
        "INSERT INTO contact(id, phone, mail) VALUES (1, 'p', 'm')",
    );
    exchange(&a, &b);
    run(&a, "UPDATE contact SET phone = NULL");
    run(&b, "UPDATE contact SET mail = NULL");
    exchange(&a, &b);
    let stands = rows(&a, "SELECT phone, mail FROM contact");
    assert_eq!(stands, [["p".into(), Null]]);

    let (a, b) = pair(&["CREATE TABLE doc(id INTEGER PRIMARY KEY, kind, body, v, \
         w AS (CASE WHEN kind = 'json' THEN json_extract(body, '$.v') END))"]);
    run(
        &a,
        "INSERT INTO doc(id, kind, body) VALUES (1, 'text', '{}')",
    );
    exchange(&a, &b);
    run(&a, "UPDATE doc SET kind = 'json'");
    run(&b, "UPDATE doc SET body = 'plain'");
    exchange(&a, &b);
    let stands = rows(&a, "SELECT kind, body FROM doc");
    assert_eq!(stands, [["text".into(), "plain".into()]]);
}

#[test]
fn a_check_over_a_computed_column_ties_what_that_is_computed_from() {
    let (a, b) = pair(&["CREATE TABLE t(id INTEGER PRIMARY KEY, x, y, z, \
         double AS (x * 2), CHECK (double + y < 5))"]);
    run(&a, "INSERT INTO t(id, x, y) VALUES (1, 0, 0)");
    exchange(&a, &b);
    run(&a, "UPDATE t SET x = 2");
    run(&b, "UPDATE t SET y = 4");
    exchange(&a, &b);
    let stands = rows(&a, "SELECT x, y FROM t");
    assert_eq!(stands, [[Integer(0), Integer(4)]]);
}

/// Where such an index came upon a row that it cannot read, nothing that followed was applied.
#[test]
fn the_where_of_an_index_cannot_fail_on_a_row() {
    let (a, _) = pair(&["CREATE TABLE doc(id INTEGER PRIMARY KEY, body, n)"]);
    let declare = |condition: &str| {
        let sql = format!("CREATE INDEX d ON doc(n) WHERE {condition}");
        a.store.declare(&sql).map_err(|error| error.to_string())
    };
    for condition in [
        "body -> '$.kind' = 'x'",
        "body ->> '$.kind' = 'x'",
        "abs(n) > 1",
        "\"abs\"(n) > 1",
        "body LIKE 'x%' ESCAPE n",
        "body LIKE n",
        "body NOT GLOB body",
    ] {
        let refused = declare(condition).unwrap_err();
        let why = "may fail on a peer's rows";
        assert!(refused.contains(why), "{condition}: {refused}");
    }
    declare("body LIKE 'x%' AND n IN (1, 2)").unwrap();
}
