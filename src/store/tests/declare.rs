//! Declarations of several peers meeting in every order.

use super::*;

/// The transactions of each peer, exchanged so that every peer takes them in every possible order.
fn in_all_orders(make: impl Fn() -> Vec<Peer>, check: impl Fn(&Peer)) {
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for order in orders {
        let peers = make();
        for from in order {
            for to in 0..peers.len() {
                if from < peers.len() && from != to {
                    pull(&peers[to], &peers[from]);
                }
            }
        }
        for from in 0..peers.len() {
            for to in 0..peers.len() {
                pull(&peers[to], &peers[from]);
            }
        }
        let inbox = inbox(&peers[0]);
        for peer in &peers {
            assert_eq!(
                peer.store.digest().unwrap(),
                peers[0].store.digest().unwrap(),
                "{order:?}"
            );
            assert_eq!(
                peer.store.tables().unwrap(),
                peers[0].store.tables().unwrap()
            );
            assert_eq!(schema(peer), schema(&peers[0]), "{order:?}");
            assert_eq!(self::inbox(peer), inbox, "{order:?}");
            check(peer);
        }
    }
}

fn inbox(peer: &Peer) -> Vec<(String, Vec<Value>, Vec<Value>, String)> {
    let found = peer.store.conflicts(1_000).unwrap().into_iter();
    let mut found: Vec<_> = found
        .map(|row| (row.table, row.key, row.value, row.reason))
        .collect();
    found.sort_by(|a, b| a.partial_cmp(b).unwrap());
    found
}

fn schema(peer: &Peer) -> Vec<Vec<Value>> {
    let sql = "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' ORDER BY 2";
    rows(peer, sql)
}

fn declare(peer: &Peer, sql: &str) {
    peer.store.declare(sql).unwrap();
}

fn three() -> Vec<Peer> {
    vec![peer(1), peer(2), peer(3)]
}

#[test]
fn of_two_declarations_of_one_name_the_earlier_stands_and_no_row_of_the_other_is_lost() {
    let make = || {
        let peers = three();
        declare(&peers[0], "CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
        run(&peers[0], "INSERT INTO t VALUES (1, 'first')");
        declare(
            &peers[1],
            "CREATE TABLE t(name TEXT NOT NULL PRIMARY KEY, x UNIQUE, y)",
        );
        run(&peers[1], "INSERT INTO t VALUES ('n', 5, 'second')");
        run(&peers[1], "UPDATE t SET y = 'again'");
        declare(&peers[1], "CREATE INDEX t_y ON t(y)");
        declare(&peers[2], "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)");
        run(&peers[2], "INSERT INTO t VALUES (1, 'third', 0)");
        peers
    };
    in_all_orders(make, |peer| {
        let first = vec![vec![Integer(1), "first".into()]];
        assert_eq!(rows(peer, "SELECT * FROM t"), first);
        let found = inbox(peer);
        let rows: Vec<_> = found.iter().filter(|row| row.0 == "t").collect();
        assert_eq!(rows.len(), 2, "{found:?}");
        let values: Vec<Value> = rows.iter().flat_map(|row| row.2.clone()).collect();
        assert!(values.contains(&"again".into()) && values.contains(&"third".into()));
        // Two tables and the index of one of them.
        assert_eq!(found.len() - rows.len(), 3, "{found:?}");
    });
}

#[test]
fn one_table_declared_alike_at_two_peers_is_one_table() {
    let make = || {
        let peers = three();
        declare(&peers[0], "CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
        run(&peers[0], "INSERT INTO t VALUES (1, 'one')");
        declare(
            &peers[1],
            "create table if not exists t ( \"id\" INTEGER PRIMARY KEY, a );",
        );
        run(&peers[1], "INSERT INTO t VALUES (2, 'two')");
        peers
    };
    in_all_orders(make, |peer| {
        assert_eq!(rows(peer, "SELECT id FROM t").len(), 2);
        assert!(inbox(peer).is_empty());
    });
}

#[test]
fn a_unique_index_meets_rows_that_violate_it_and_the_lower_ones_are_parked() {
    let make = || {
        let peers = three();
        declare(&peers[0], "CREATE TABLE t(id INTEGER PRIMARY KEY, a, kept)");
        pull(&peers[1], &peers[0]);
        pull(&peers[2], &peers[0]);
        declare(&peers[0], "CREATE UNIQUE INDEX t_a ON t(a)");
        run(&peers[0], "INSERT INTO t VALUES (1, 'x', 1)");
        run(
            &peers[1],
            "INSERT INTO t VALUES (2, 'x', 2), (3, 'x', 3), (4, 'y', 4)",
        );
        run(
            &peers[2],
            "INSERT INTO t VALUES (5, 'y', 5), (6, NULL, 6), (7, NULL, 7)",
        );
        peers
    };
    in_all_orders(make, |peer| {
        let ids: Vec<Value> = rows(peer, "SELECT id FROM t ORDER BY id").concat();
        // Row 1 was written after the index was declared there, so later than the others.
        assert_eq!(ids, [1, 5, 6, 7].map(Integer));
        let parked = inbox(peer);
        assert_eq!(parked.len(), 3);
        assert!(parked.iter().all(|row| row.3 == "UNIQUE"));
    });
}

#[test]
fn indexes_of_one_name_differ_and_the_earlier_stands() {
    let make = || {
        let peers = three();
        declare(&peers[0], "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)");
        pull(&peers[1], &peers[0]);
        pull(&peers[2], &peers[0]);
        declare(&peers[0], "CREATE INDEX i ON t(a)");
        declare(&peers[1], "CREATE UNIQUE INDEX i ON t(a)");
        run(&peers[1], "INSERT INTO t VALUES (1, 'x', 0)");
        run(&peers[2], "INSERT INTO t VALUES (2, 'x', 0)");
        declare(&peers[2], "CREATE TABLE i(id INTEGER PRIMARY KEY)");
        peers
    };
    in_all_orders(make, |peer| {
        assert_eq!(rows(peer, "SELECT id FROM t").len(), 2);
        let found = inbox(peer);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|row| row.3 == "declared differently"));
    });
}

#[test]
fn a_partial_unique_key_binds_only_the_rows_its_where_holds_for() {
    let make = || {
        let peers = three();
        // The predicate compares by the column's affinity and by a generated column.
        declare(
            &peers[0],
            "CREATE TABLE t(id INTEGER PRIMARY KEY, a, live TEXT, g AS (live || '!'))",
        );
        declare(
            &peers[0],
            "CREATE UNIQUE INDEX t_live ON t(a) WHERE live = 1 AND g <> 'no!'",
        );
        pull(&peers[1], &peers[0]);
        pull(&peers[2], &peers[0]);
        run(&peers[0], "INSERT INTO t VALUES (1, 'x', 1), (2, 'x', 0)");
        run(&peers[1], "INSERT INTO t VALUES (3, 'x', 1), (4, 'x', 0)");
        run(
            &peers[2],
            "INSERT INTO t VALUES (5, 'x', 1), (6, 'x', NULL)",
        );
        peers
    };
    in_all_orders(make, |peer| {
        let ids: Vec<Value> = rows(peer, "SELECT id FROM t ORDER BY id").concat();
        assert_eq!(ids, [2, 4, 5, 6].map(Integer));
    });
    let peers = make();
    pull(&peers[0], &peers[1]);
    assert_eq!(inbox(&peers[0]).len(), 1);
    run(&peers[0], "UPDATE t SET live = 0 WHERE id = 3");
    assert!(inbox(&peers[0]).is_empty());
    pull(&peers[1], &peers[0]);
    assert_eq!(
        peers[0].store.digest().unwrap(),
        peers[1].store.digest().unwrap()
    );
}

#[test]
fn a_dropped_table_is_gone_and_what_its_dropper_had_not_seen_is_in_the_inbox() {
    let make = || {
        let peers = three();
        declare(&peers[0], "CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
        run(&peers[0], "INSERT INTO t VALUES (1, 'seen')");
        pull(&peers[1], &peers[0]);
        pull(&peers[2], &peers[0]);
        declare(&peers[0], "DROP TABLE t");
        run(&peers[1], "INSERT INTO t VALUES (2, 'unseen')");
        declare(&peers[2], "CREATE INDEX t_a ON t(a)");
        peers
    };
    for order in [[0, 1], [1, 0]] {
        let peers = make();
        for from in order {
            pull(&peers[2], &peers[from]);
        }
        pull(&peers[0], &peers[1]);
        pull(&peers[0], &peers[2]);
        pull(&peers[1], &peers[2]);
        for peer in &peers {
            assert!(peer.store.tables().unwrap().is_empty());
            assert_eq!(schema(peer), schema(&peers[0]));
            let found = peer.store.conflicts(10).unwrap();
            let values: Vec<Value> = found.iter().flat_map(|row| row.value.clone()).collect();
            assert!(values.contains(&"unseen".into()), "{found:?}");
            assert!(!values.contains(&"seen".into()));
        }
        // The name is free again, for the same words too.
        declare(&peers[0], "CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
        run(&peers[0], "INSERT INTO t VALUES (9, 'new')");
        pull(&peers[1], &peers[0]);
        assert_eq!(rows(&peers[1], "SELECT id FROM t"), vec![vec![Integer(9)]]);
    }
}

#[test]
fn when_the_earlier_table_is_dropped_the_other_takes_its_name_with_its_rows() {
    let make = || {
        let peers = three();
        declare(&peers[0], "CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
        run(&peers[0], "INSERT INTO t VALUES (1, 'first')");
        declare(&peers[0], "DROP TABLE t");
        declare(
            &peers[1],
            "CREATE TABLE t(id INTEGER PRIMARY KEY, name UNIQUE)",
        );
        run(&peers[1], "INSERT INTO t VALUES (7, 'second')");
        declare(
            &peers[2],
            "CREATE TABLE t(id INTEGER PRIMARY KEY, name UNIQUE)",
        );
        run(&peers[2], "INSERT INTO t VALUES (8, 'second')");
        peers
    };
    in_all_orders(make, |peer| {
        assert_eq!(rows(peer, "SELECT id FROM t"), vec![vec![Integer(8)]]);
    });
}

#[test]
fn children_follow_the_table_that_has_their_parents_name() {
    let make = || {
        let peers = three();
        declare(&peers[0], "CREATE TABLE p(id INTEGER PRIMARY KEY, a)");
        run(&peers[0], "INSERT INTO p VALUES (1, 0)");
        declare(
            &peers[1],
            "CREATE TABLE p(id INTEGER PRIMARY KEY, b, code TEXT UNIQUE)",
        );
        declare(
            &peers[1],
            "CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p(id), k REFERENCES p(code))",
        );
        run(&peers[1], "INSERT INTO p VALUES (1, 0, 'k'), (2, 0, NULL)");
        run(
            &peers[1],
            "INSERT INTO c VALUES (1, 1, NULL), (2, 2, NULL), (3, 1, 'k')",
        );
        peers
    };
    in_all_orders(make, |peer| {
        assert_eq!(rows(peer, "SELECT id FROM c"), vec![vec![Integer(1)]]);
    });
}

#[test]
fn a_declared_trigger_fires_where_the_row_is_written_and_nowhere_else() {
    let (a, b) = pair(&[
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a)",
        "CREATE TABLE seen(id INTEGER PRIMARY KEY, n)",
        "CREATE TRIGGER t_seen AFTER INSERT ON t BEGIN \
         INSERT INTO seen VALUES (new.id, 1) ON CONFLICT DO UPDATE SET n = n + 1; END",
    ]);
    run(&b, "INSERT INTO t VALUES (1, 0)");
    exchange(&a, &b);
    assert_eq!(rows(&a, "SELECT n FROM seen"), vec![vec![Integer(1)]]);
    a.store.declare("DROP TRIGGER t_seen").unwrap();
    exchange(&a, &b);
    run(&b, "INSERT INTO t VALUES (2, 0)");
    assert_eq!(
        rows(&b, "SELECT count(*) FROM seen"),
        vec![vec![Integer(1)]]
    );
}

#[test]
fn declarations_that_could_fail_at_a_peer_are_refused_with_advice() {
    let a = peer(1);
    declare(
        &a,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a, g AS (a + 1))",
    );
    for (sql, word) in [
        ("CREATE INDEX i ON t(json(a))", "expression"),
        ("CREATE INDEX i ON t(a) WHERE json(a) > 1", "json"),
        ("CREATE UNIQUE INDEX i ON t(g)", "generated"),
        ("CREATE UNIQUE INDEX i ON t(a COLLATE NOCASE)", "BINARY"),
        ("CREATE INDEX i ON missing(a)", "no replicated table"),
        (
            "CREATE TABLE t(id INTEGER PRIMARY KEY)",
            "another definition",
        ),
        ("CREATE TABLE _tutti_x(id INTEGER PRIMARY KEY)", "reserved"),
        ("CREATE TABLE x AS SELECT 1 AS a", "PRIMARY KEY"),
        (
            // Made, it would never end.
            "CREATE TABLE x AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n FROM c) \
             SELECT count(*) FROM c",
            "PRIMARY KEY",
        ),
        (
            "CREATE TABLE x(id INTEGER PRIMARY KEY); DROP TABLE t",
            "ultiple",
        ),
        ("DROP TABLE nothing", "no declared table"),
        (
            "CREATE TABLE c(id INTEGER PRIMARY KEY, t REFERENCES t(a))",
            "FOREIGN KEY points",
        ),
    ] {
        let error = a.store.declare(sql).unwrap_err().to_string();
        assert!(error.contains(word), "{sql}: {error}");
    }
    assert_eq!(
        schema(&a).iter().filter(|row| row[1] == "t".into()).count(),
        1
    );
    declare(&a, "CREATE INDEX fine ON t(a) WHERE a IN (1, 2) AND id > 3");
    run(&a, "INSERT INTO t(id, a) VALUES (1, 1)");
}

#[test]
fn declarations_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = |incarnation| Store::open(dir.path(), [1; 16], incarnation).unwrap();
    let other = peer(2);
    other
        .store
        .declare("CREATE TABLE t(id INTEGER PRIMARY KEY, later)")
        .unwrap();
    let store = open(1);
    let sql = "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE)";
    store.declare_with(sql, Keys::Engine).unwrap();
    let (found, _) = other
        .store
        .log_after(&store.frontier(), 0, 1 << 20)
        .unwrap();
    store.apply(&found[..1]).unwrap();
    let digest = store.digest().unwrap();
    let conflicts = store.conflicts(10).unwrap();
    assert_eq!(conflicts.len(), 1);
    drop(store);
    let store = open(2);
    assert_eq!(store.digest().unwrap(), digest);
    assert_eq!(store.conflicts(10).unwrap(), conflicts);
}

#[test]
fn no_peer_can_drop_what_belongs_to_the_appliance() {
    use crate::replica::change::{Body, Head, Logged, Transaction};
    use crate::replica::clock::Hlc;
    use crate::replica::schema::{Kind, own_id};
    let a = peer(1);
    a.store.migrate(&[ITEM]).unwrap();
    let refused = a.store.declare("DROP TABLE item").unwrap_err();
    assert!(
        refused.to_string().contains("belongs to the appliance"),
        "{refused}"
    );
    let transaction = Transaction {
        origin: 9,
        seq: 1,
        hlc: Hlc(70_000_000),
        head: Head::default(),
        body: Body::Schema {
            sql: "DROP TABLE item".into(),
            keys: Keys::Natural,
            id: 0,
            on: vec![
                own_id(Kind::Table, "item"),
                own_id(Kind::Table, "_tutti_block"),
            ],
        },
    };
    let logged = Logged {
        origin: 9,
        seq: 1,
        bytes: transaction.encode(Hlc(0)).into(),
        chain: None,
    };
    a.store.apply(&[logged]).unwrap();
    run(&a, "INSERT INTO item VALUES (1, 2, 3)");
    assert_eq!(
        rows(&a, "SELECT count(*) FROM _tutti_block"),
        vec![vec![Integer(0)]]
    );
}

#[test]
fn garbage_in_place_of_a_declaration_goes_to_the_inbox_and_the_stream_goes_on() {
    use crate::replica::change::{Body, Head, Logged, Transaction};
    use crate::replica::clock::Hlc;
    let a = peer(1);
    a.store.declare(ITEM).unwrap();
    let garbage = [
        "",
        "PRAGMA writable_schema = ON",
        "CREATE TABLE _tutti_log(id INTEGER PRIMARY KEY)",
        "CREATE TABLE x(",
        "CREATE TABLE x(a)",
        "CREATE INDEX i ON nowhere(a)",
        "CREATE TRIGGER t AFTER INSERT ON nowhere BEGIN SELECT 1; END",
        "CREATE TABLE y(id INTEGER PRIMARY KEY); DROP TABLE item",
    ];
    let mut previous = Hlc(0);
    for (at, sql) in garbage.iter().enumerate() {
        let seq = at as u64 + 1;
        let transaction = Transaction {
            origin: 9,
            seq,
            hlc: Hlc(70_000_000 + seq),
            head: Head::default(),
            body: Body::Schema {
                sql: (*sql).into(),
                keys: Keys::Engine,
                id: seq,
                on: vec![],
            },
        };
        let bytes = transaction.encode(previous);
        previous = transaction.hlc;
        let logged = Logged {
            origin: 9,
            seq,
            bytes: bytes.into(),
            chain: None,
        };
        a.store.apply(&[logged]).unwrap();
    }
    run(&a, "INSERT INTO item VALUES (1, 2, 3)");
    assert_eq!(a.store.tables().unwrap().len(), 1);
    let found = a.store.conflicts(100).unwrap();
    let why = |row: &ConflictRow| row.reason == "not replicable" && row.value.len() == 2;
    assert!(
        found.iter().filter(|row| why(row)).count() >= 6,
        "{found:?}"
    );
}

#[test]
fn alter_table_is_refused_and_what_is_said_to_do_instead_is_followed_by_a_peer() {
    let (a, b) = (peer(1), peer(2));
    declare(&a, "CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
    run(&a, "INSERT INTO t VALUES (1, 'kept'), (2, 'kept')");
    for change in ["ADD COLUMN b", "RENAME TO u", "RENAME a TO c", "DROP a"] {
        let sql = format!("ALTER TABLE t {change}");
        let refused = a.store.declare(&sql).unwrap_err();
        assert!(matches!(refused, StoreError::Schema(_)), "{refused:?}");
        let said = refused.to_string();
        for advice in ["CREATE a table", "SELECT", "DROP"] {
            assert!(said.contains(advice), "{sql}: {said}");
        }
        let within = a.store.transact(|tx| tx.execute(&sql, &[])).unwrap_err();
        assert!(within.to_string().contains("ALTER"), "{within}");
    }
    assert_eq!(rows(&a, "SELECT * FROM t").len(), 2);
    declare(&a, "CREATE TABLE wide(id INTEGER PRIMARY KEY, c, b)");
    run(&a, "INSERT INTO wide (id, c) SELECT id, a FROM t");
    declare(&a, "DROP TABLE t");
    pull(&b, &a);
    let expected = [1, 2].map(|id: i64| vec![id.into(), "kept".into(), Value::Null]);
    assert_eq!(rows(&b, "SELECT * FROM wide ORDER BY id"), expected);
    assert!(
        b.store
            .tables()
            .unwrap()
            .iter()
            .all(|table| table.name != "t")
    );
    assert_eq!(a.store.digest().unwrap(), b.store.digest().unwrap());
}

#[test]
fn what_no_peer_could_read_or_look_up_is_not_declared() {
    let a = peer(1);
    let columns = |count: usize| -> String {
        let names: Vec<String> = (0..count).map(|n| format!("c{n}")).collect();
        names.join(", ")
    };
    let wide = |count: usize| {
        let declared: Vec<String> = (0..count)
            .map(|n| format!("c{n} INTEGER NOT NULL"))
            .collect();
        let (declared, key) = (declared.join(", "), columns(count));
        format!("CREATE TABLE wide({declared}, PRIMARY KEY ({key}))")
    };
    let long = format!(
        "CREATE TABLE long(id INTEGER PRIMARY KEY) -- {}",
        "x".repeat(600 << 10)
    );
    for (sql, why) in [(wide(501), "500 columns"), (long, "524288 bytes")] {
        let refused = a.store.declare(&sql).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    a.store.declare(&wide(500)).unwrap();
}

/// SQLite takes a text where a name must stand.
#[test]
fn the_engines_tables_are_out_of_reach_under_quotes_too() {
    let a = peer(1);
    a.store
        .declare("CREATE TABLE note(id INTEGER PRIMARY KEY, text)")
        .unwrap();
    for sql in [
        "CREATE TRIGGER x AFTER INSERT ON note BEGIN DELETE FROM '_tutti_log'; END",
        "CREATE TRIGGER x AFTER INSERT ON note BEGIN DELETE FROM main.'_TUTTI_log'; END",
        "CREATE TABLE '_tutti_mine'(id INTEGER PRIMARY KEY)",
        "CREATE INDEX i ON '_tutti_log'(hlc)",
    ] {
        assert!(a.store.declare(sql).is_err(), "{sql}");
    }
    for sql in [
        "DELETE FROM '_tutti_log'",
        "INSERT OR REPLACE INTO '_tutti_block' VALUES (1, x'00')",
        "UPDATE OR IGNORE '_tutti_log' SET hlc = 0",
    ] {
        assert!(
            a.store.transact(|tx| tx.execute(sql, &[])).is_err(),
            "{sql}"
        );
    }
    // As a value it may be written.
    run(&a, "INSERT INTO note VALUES (1, '_tutti_log')");
}

/// It differs from peer to peer, but where it is the key.
#[test]
fn a_unique_index_whose_where_names_the_rowid_is_refused() {
    let a = peer(1);
    a.store
        .declare("CREATE TABLE t(id TEXT NOT NULL PRIMARY KEY, a, b)")
        .unwrap();
    a.store
        .declare("CREATE TABLE n(id INTEGER PRIMARY KEY, a, oid AS (a + 1))")
        .unwrap();
    let refused = |sql: &str| a.store.declare(sql).unwrap_err().to_string();
    let error = refused("CREATE UNIQUE INDEX i ON t(a) WHERE rowid > 1");
    assert!(error.contains("names the rowid"), "{error}");
    let error = refused("CREATE UNIQUE INDEX i ON t(a) WHERE t.oid > 1");
    assert!(error.contains("names the rowid"), "{error}");
    for sql in [
        "CREATE INDEX plain ON t(a) WHERE rowid > 1",
        "CREATE UNIQUE INDEX key ON n(a) WHERE rowid > 1",
        "CREATE UNIQUE INDEX generated ON n(a) WHERE oid > 1",
    ] {
        a.store.declare(sql).unwrap();
    }
}
