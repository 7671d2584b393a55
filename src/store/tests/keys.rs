//! Ids that the engine hands out.

use super::*;

const NOTE: &str = "CREATE TABLE note(id INTEGER PRIMARY KEY, text, n DEFAULT 7)";

fn engine_pair() -> (Peer, Peer) {
    let (a, b) = (peer(1), peer(2));
    a.store.declare_with(NOTE, Keys::Engine).unwrap();
    exchange(&a, &b);
    (a, b)
}

#[test]
fn keys_of_the_engine_are_for_tables_whose_key_is_the_rowid() {
    let a = peer(1);
    for sql in [
        "CREATE TABLE t(id INTEGER PRIMARY KEY DESC NOT NULL, text)",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, text) WITHOUT ROWID",
        "CREATE TABLE t(id INT NOT NULL PRIMARY KEY, text)",
        "CREATE TABLE t(id INTEGER NOT NULL, text NOT NULL, PRIMARY KEY(id, text))",
    ] {
        let error = a.store.declare_with(sql, Keys::Engine).unwrap_err();
        assert!(error.to_string().contains("INTEGER PRIMARY KEY"), "{error}");
        a.store.declare(sql).unwrap();
        a.store.declare("DROP TABLE t").unwrap();
    }
    let sql = "CREATE TABLE t(text, id INTEGER, PRIMARY KEY(id))";
    a.store.declare_with(sql, Keys::Engine).unwrap();
    run(&a, "INSERT INTO t(text) VALUES ('x')");
    assert_eq!(rows(&a, "SELECT 1 FROM t WHERE id > 0"), [[Integer(1)]]);
}

fn ids(peer: &Peer) -> Vec<i64> {
    let found = rows(peer, "SELECT id FROM note ORDER BY rowid").concat();
    found
        .into_iter()
        .map(|id| match id {
            Integer(id) => id,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn every_form_of_insert_gets_ids_of_this_nodes_block() {
    let (a, b) = engine_pair();
    for sql in [
        "INSERT INTO note(text) VALUES ('a'), ('b')",
        "INSERT INTO note VALUES (NULL, 'c', 1)",
        "INSERT INTO note(text, id) VALUES ('d', NULL), ('e', tutti_id())",
        "INSERT INTO note(text) SELECT text || '2' FROM note WHERE text = 'a' OR text = 'b'",
        "WITH x(v) AS (SELECT 'f') INSERT INTO main.note AS m (text) SELECT v FROM x",
        "INSERT INTO note(text) WITH x(v) AS (VALUES ('g')) SELECT v FROM x ORDER BY 1 LIMIT 1",
        "INSERT INTO note DEFAULT VALUES",
        "REPLACE INTO note(rowid, text) VALUES (NULL, 'h)') ; ",
        "INSERT INTO note(text) VALUES ('on conflict (') ON CONFLICT(id) DO UPDATE SET n = 0",
    ] {
        run(&a, sql);
    }
    let found = ids(&a);
    assert_eq!(found.len(), 12);
    let block = found[0] >> 24;
    assert!(found.iter().all(|id| *id > 0 && id >> 24 == block));
    run(&b, "INSERT INTO note(text) VALUES ('b')");
    assert_ne!(ids(&b)[0] >> 24, block);
    exchange(&a, &b);
    assert_eq!(ids(&a).len(), 13);
    assert!(a.store.conflicts(10).unwrap().is_empty());
    let returned = a.store.transact(|tx| {
        tx.query(
            "INSERT INTO note(text) VALUES (?) RETURNING id, text, n",
            &["r".into()],
        )
    });
    let row = returned.unwrap().remove(0);
    assert_eq!(row[1..], ["r".into(), Integer(7)]);
    assert!(matches!(row[0], Integer(id) if id >> 24 == block));
}

#[test]
fn ids_that_were_not_handed_out_here_are_refused_and_a_row_that_was_there_may_return() {
    let (a, b) = engine_pair();
    for sql in [
        "INSERT INTO note VALUES (1, 'x', 1)",
        "INSERT INTO note VALUES (tutti_id() + 1, 'x', 1)",
    ] {
        let error = a.store.transact(|tx| tx.execute(sql, &[])).unwrap_err();
        assert!(error.to_string().contains("tutti_id()"), "{error}");
    }
    assert!(ids(&a).is_empty());
    run(&b, "INSERT INTO note(text) VALUES ('b')");
    exchange(&a, &b);
    let id = ids(&a)[0];
    run(&a, "DELETE FROM note");
    run(&a, &format!("INSERT INTO note VALUES ({id}, 'again', 1)"));
    exchange(&a, &b);
    assert_eq!(ids(&b), [id]);
}

#[test]
fn a_rolled_back_transaction_leaves_no_claim_and_the_next_one_makes_it() {
    let (a, b) = engine_pair();
    let undone = a.store.transact(|tx| {
        tx.execute("INSERT INTO note(text) VALUES ('x')", &[])?;
        Err::<(), _>(StoreError::Refused("no".into()))
    });
    assert!(undone.is_err());
    assert!(rows(&a, "SELECT * FROM _tutti_block").is_empty());
    run(&a, "INSERT INTO note(text) VALUES ('y')");
    exchange(&a, &b);
    let claims = rows(&b, "SELECT block FROM _tutti_block");
    assert_eq!(claims, vec![vec![Integer(ids(&a)[0] >> 24)]]);
}

#[test]
fn a_block_that_another_node_has_is_given_up() {
    use crate::replica::schema::block;
    let (a, _) = engine_pair();
    let taken = block(a.store.incarnation(), 0);
    let claim = "INSERT INTO _tutti_block VALUES (?, x'00')";
    a.store
        .transact(|tx| tx.engine(claim, &[taken.into()]))
        .unwrap();
    let insert = |tx: &mut Tx<'_>| tx.execute("INSERT INTO note(text) VALUES ('x')", &[]);
    let error = a.store.transact(insert).unwrap_err();
    assert!(
        error.to_string().contains("run the transaction again"),
        "{error}"
    );
    a.store.transact(insert).unwrap();
    assert_eq!(ids(&a)[0] >> 24, block(a.store.incarnation(), 1));
}

#[test]
fn a_trigger_may_ask_for_an_id() {
    let (a, b) = engine_pair();
    for sql in [
        "CREATE TABLE t(id INTEGER PRIMARY KEY)",
        "CREATE TRIGGER t_note AFTER INSERT ON t BEGIN \
         INSERT INTO note VALUES (tutti_id(), 'from a trigger', 1); END",
    ] {
        a.store.declare(sql).unwrap();
    }
    run(&a, "INSERT INTO t VALUES (1)");
    exchange(&a, &b);
    assert_eq!(ids(&b).len(), 1);
}

#[test]
fn only_integer_primary_keys_can_be_the_engines() {
    let a = peer(1);
    for sql in [
        "CREATE TABLE t(id TEXT NOT NULL PRIMARY KEY)",
        "CREATE TABLE t(a INTEGER NOT NULL, b INTEGER NOT NULL, PRIMARY KEY (a, b))",
        "CREATE TABLE t(id INTEGER NOT NULL PRIMARY KEY) WITHOUT ROWID",
    ] {
        let error = a.store.declare_with(sql, Keys::Engine).unwrap_err();
        assert!(error.to_string().contains("INTEGER PRIMARY KEY"), "{error}");
    }
}

/// Where a row had been deleted and its tombstone was gone, any id was taken: two systems chose the
/// same, or one that the engine handed out next.
#[test]
fn an_id_of_ones_own_is_refused_also_where_a_tombstone_went() {
    let (a, b) = engine_pair();
    run(&a, "INSERT INTO note(text) VALUES ('first')");
    run(&a, "UPDATE note SET text = 'of a'");
    run(&a, "DELETE FROM note");
    exchange(&a, &b);
    a.store.set_peers(std::collections::BTreeSet::new(), 0);
    assert_eq!(a.store.trim().unwrap().tombstones, 1);
    let refused = a
        .store
        .transact(|tx| tx.execute("INSERT INTO note VALUES (7, 'x', 1)", &[]));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("ids come from the engine"), "{refused}");
}

/// Its id was handed out once.
#[test]
fn a_deleted_row_is_restored_under_its_id_also_where_its_tombstone_went() {
    let (a, b) = engine_pair();
    run(&a, "INSERT INTO note(text) VALUES ('first')");
    exchange(&a, &b);
    run(&b, "UPDATE note SET text = 'not seen'");
    run(&a, "DELETE FROM note");
    exchange(&a, &b);
    a.store.set_peers(std::collections::BTreeSet::new(), 0);
    assert_eq!(a.store.trim().unwrap().tombstones, 1);
    let lost = a.store.conflicts(9).unwrap();
    a.store.restore_conflict(&lost[0].id).unwrap();
    assert_eq!(rows(&a, "SELECT text FROM note"), [["not seen".into()]]);
}
