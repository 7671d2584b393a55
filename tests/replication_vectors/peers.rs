//! Two stores that write, exchange and write on: what they log and keep, to the last octet.

use tempfile::TempDir;
use tutti::replica::frontier::Frontier;
use tutti::replica::schema::{Keys, Kind, block, own_id};
use tutti::replica::value::Value;
use tutti::store::Store;

use super::{Vectors, all, logged, node, opened, query, run};

const A: u64 = 0xfedc_ba98_7654_3210;
const B: u64 = 0x0123_4567_89ab_cdef;

const OWN: &str = "CREATE TABLE Own(id INTEGER PRIMARY KEY, x)";
const ITEM: &str = r#"CREATE TABLE IF NOT EXISTS "Item" (
  k TEXT NOT NULL, n INTEGER NOT NULL, v, /* any */ r REAL CHECK (r <= 1.5e3),
  g AS (r * 2), [b] BLOB DEFAULT x'00ff', t TEXT DEFAULT 'it''s', PRIMARY KEY (k, n) -- key
);"#;
const INDEX: &str = r#"create unique index "Item_V" on `Item`(v);"#;
const CHILD: &str = "CREATE TABLE child(id INTEGER PRIMARY KEY, k TEXT, n INTEGER, x, \
                     FOREIGN KEY (k, n) REFERENCES \"Item\"(k, n))";
const MADE: &str = "CREATE TABLE made(id INTEGER PRIMARY KEY, x)";
const TRIGGER: &str = "CREATE TRIGGER Touch AFTER DELETE ON made BEGIN \
                       DELETE FROM made WHERE id = 0; END";
const INTO_ITEM: &str = "INSERT INTO Item VALUES (?, ?, ?, ?, ?, ?)";

fn declare(store: &Store) {
    for sql in [ITEM, INDEX, CHILD] {
        store.declare(sql).unwrap();
    }
    store.declare_with(MADE, Keys::Engine).unwrap();
    for sql in [TRIGGER, "DROP TRIGGER touch", TRIGGER] {
        store.declare(sql).unwrap();
    }
}

/// What the first writes alone.
fn write(store: &Store) {
    let blob = |bytes: &[u8]| Value::Blob(bytes.to_vec());
    let odd: [Value; 6] = [
        "k\0é".into(),
        (-300).into(),
        Value::Null,
        2.5.into(),
        blob(&[0, 0xff, 0x10]),
        "text".into(),
    ];
    let mut plain = [const { Value::Null }; 6];
    (plain[0], plain[1], plain[2]) = ("Ab ".into(), 7.into(), 70.into());
    let text: [Value; 6] = [
        "15.50".into(),
        (-1).into(),
        "v".into(),
        (-0.5).into(),
        blob(&[]),
        "".into(),
    ];
    let insert = store.transact(|tx| {
        for row in [&odd, &plain, &text] {
            tx.execute(INTO_ITEM, row)?;
        }
        Ok(())
    });
    insert.unwrap();
    let update = "UPDATE Item SET v = 1.5, b = NULL WHERE n = -300";
    run(store, update, &[]);
    let insert = store.transact(|tx| {
        for id in 5..13 {
            let row = [id.into(), (10 * id).into()];
            tx.execute("INSERT INTO Own VALUES (?, ?)", &row)?;
        }
        Ok(())
    });
    insert.unwrap();
    for sql in [
        "DELETE FROM Own WHERE id = 7",
        "INSERT INTO Own VALUES (7, 'again')",
        "UPDATE Own SET x = 'own' WHERE id = 8",
        "INSERT INTO made(x) VALUES ('m')",
    ] {
        run(store, sql, &[]);
    }
}

fn pull(to: &Store, from: &Store) {
    let held = to.frontier();
    let start = from.log_start(&held).unwrap();
    let (found, _) = from.log_after(&held, start, 1 << 20).unwrap();
    to.apply(&found).unwrap();
}

/// Both stores, each with all that both wrote.
fn two() -> [(Store, TempDir); 2] {
    let first = std::array::from_fn(|at| 0x11 * at as u8);
    let (a, a_dir) = opened(first, A, 0);
    let (b, b_dir) = opened(node(0xa0), B, 1);
    a.migrate(&[OWN]).unwrap();
    b.migrate(&[OWN]).unwrap();
    declare(&a);
    write(&a);
    pull(&b, &a);
    for (store, writes) in [
        (
            &a,
            [
                "UPDATE Own SET x = 'a' WHERE id = 5",
                "INSERT INTO Item VALUES ('x', 1, 99, NULL, NULL, NULL)",
                "DELETE FROM Item WHERE n = -1",
            ],
        ),
        (
            &b,
            [
                "UPDATE Own SET x = 'b' WHERE id = 5",
                "INSERT INTO Item VALUES ('y', 2, 99, NULL, NULL, NULL)",
                "INSERT INTO child VALUES (2, '15.50', -1, 'c')",
            ],
        ),
    ] {
        writes.iter().for_each(|sql| run(store, sql, &[]));
    }
    pull(&a, &b);
    pull(&b, &a);
    run(&a, "UPDATE made SET x = 'n'", &[]);
    pull(&b, &a);
    run(&b, "UPDATE Own SET x = 2.5 WHERE id = 9", &[]);
    pull(&a, &b);
    a.fold().unwrap();
    b.fold().unwrap();
    [(a, a_dir), (b, b_dir)]
}

#[test]
fn what_two_peers_log_is_as_the_document_says() {
    for (store, _dir) in two() {
        logged(&store, "a", A);
        logged(&store, "b", B);
        let mut origins = Vectors::of("deps.");
        for row in query(&store, "SELECT origin, deps FROM _tutti_origin") {
            let [Value::Integer(origin), Value::Blob(deps)] = &row[..] else {
                panic!("{row:?}");
            };
            let name = if *origin as u64 == A { "a" } else { "b" };
            origins.is(name, deps);
        }
        origins.end();
    }
}

#[test]
fn declarations_and_ids_of_the_engine_are_as_the_document_says() {
    for (store, _dir) in two() {
        let mut declared = Vectors::of("declared.");
        let sql = "SELECT kind || '.' || name || '.' || dropped, id FROM _tutti_declaration";
        for row in query(&store, sql) {
            let [Value::Text(name), Value::Integer(id)] = &row[..] else {
                panic!("{row:?}");
            };
            declared.is(name, &id.to_be_bytes());
        }
        declared.end();
        let made = query(&store, "SELECT id FROM made");
        assert_eq!(made, [[Value::Integer(block(A, 0) << 24 | 1)]]);
    }
}

#[test]
fn row_clocks_are_kept_as_the_document_says() {
    for (store, _dir) in two() {
        let tables = "JOIN _tutti_table t ON t.id = tbl";
        let sql = "SELECT t.name || '.' || lower(hex(key)), clock FROM _tutti_clock";
        all(&store, "clock.", &format!("{sql} {tables}"));
        let mut runs = Vectors::of("run.");
        let sql = "SELECT t.name || '.' || first || '.' || last, hlc, origin, seq FROM _tutti_run";
        for row in query(&store, &format!("{sql} {tables}")) {
            let [Value::Text(name), numbers @ ..] = &row[..] else {
                panic!("{row:?}");
            };
            let octets = numbers.iter().map(|number| match number {
                Value::Integer(number) => number.to_be_bytes(),
                other => panic!("{other:?}"),
            });
            runs.is(name, &octets.collect::<Vec<_>>().concat());
        }
        runs.end();
    }
}

#[test]
fn the_inbox_and_parked_rows_are_kept_as_the_document_says() {
    for (store, _dir) in two() {
        let mut lost = Vectors::of("lost.");
        let columns = ["id", "winner", "loser", "value", "tbl", "key", "col", "hlc"];
        let sql = format!("SELECT {} FROM _tutti_conflict", columns.join(", "));
        let rows = query(&store, &sql);
        let [row] = &rows[..] else {
            panic!("{rows:?}");
        };
        for (name, value) in columns.iter().zip(&row[..4]) {
            let Value::Blob(bytes) = value else {
                panic!("{name}: {value:?}");
            };
            lost.is(name, bytes);
        }
        lost.end();
        let key = Value::Blob(vec![0x11, 5]);
        let hlc = Value::Integer((1_700_000_000_000 << 16) + 14);
        assert_eq!(row[4..], ["Own".into(), key, "x".into(), hlc]);
        // A claim names the table by its number in this database.
        let number = query(&store, "SELECT id FROM _tutti_table WHERE name = 'Item'");
        assert_eq!(number, [[Value::Integer(4)]]);
        let sql = "SELECT replace(reason, ' ', '_'), row FROM _tutti_hidden";
        all(&store, "hidden.", sql);
        let sql = "SELECT replace(reason, ' ', '_'), CAST(claim || rank AS BLOB) \
                   FROM _tutti_claim JOIN _tutti_hidden USING (tbl, key)";
        all(&store, "claim.", sql);
    }
}

#[test]
fn digests_of_tables_are_as_the_document_says() {
    for (store, _dir) in two() {
        let mut vectors = Vectors::of("digest.");
        for name in vectors.0.clone().into_keys() {
            vectors.is(name, &store.table_digest(name).unwrap());
        }
        Vectors::of("digest").is("", &store.digest().unwrap());
    }
}

#[test]
fn digests_of_ranges_are_as_the_document_says() {
    for (store, _dir) in two() {
        let through = |common: Vec<(u64, u64)>| {
            let mut comparison = store.compare(common).unwrap();
            comparison.question().unwrap()
        };
        let held = |frontier: &Frontier| {
            let both = frontier.0.iter().map(|(origin, at)| (*origin, at.seq));
            both.collect::<Vec<_>>()
        };
        let whole = through(held(&store.frontier()));
        let before = through(vec![(B, 3), (A, 17)]);
        let mut vectors = Vectors::of("range.");
        for (name, question) in [
            ("Own", &whole),
            ("Item", &whole),
            ("child", &whole),
            ("made", &whole),
            ("_tutti_block", &whole),
            ("Own.before", &before),
            ("made.before", &before),
        ] {
            let table = name.trim_end_matches(".before");
            let id = ids(&store, table);
            let part = question.parts.iter().find(|part| part.range.table == id);
            vectors.is(name, &part.unwrap().digest);
        }
        vectors.end();
    }
}

/// The id of a table's declaration.
fn ids(store: &Store, table: &str) -> u64 {
    let name = table.to_ascii_lowercase();
    let sql = format!("SELECT id FROM _tutti_declaration WHERE name = '{name}'");
    match query(store, &sql).first().map(|row| &row[0]) {
        Some(Value::Integer(id)) => *id as u64,
        _ => own_id(Kind::Table, &name),
    }
}
