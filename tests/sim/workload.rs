//! Random transactions over tables with every kind of constraint.

use tutti::replica::value::Value;
use tutti::store::{Store, StoreError, Tx};

use crate::kinds;
use crate::random::Random;
use crate::world::is_refusal;

pub const TABLES: [&str; 7] = [
    "CREATE TABLE item(id INTEGER PRIMARY KEY, a, b)",
    "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT UNIQUE, x, y, note, UNIQUE (x, y))",
    "CREATE TABLE job(id TEXT NOT NULL PRIMARY KEY, \
     person REFERENCES person(id) ON DELETE CASCADE, note)",
    "CREATE TABLE task(id INTEGER PRIMARY KEY, job TEXT REFERENCES job(id) ON DELETE SET NULL, \
     boss REFERENCES person(name), note)",
    "CREATE TABLE pair(a, b, c, d, PRIMARY KEY (a, b)) WITHOUT ROWID",
    "CREATE TABLE slot(id INTEGER PRIMARY KEY, room, live, note)",
    "CREATE UNIQUE INDEX slot_room ON slot(room) WHERE live = 1",
];

/// The columns that hold tokens: values written once in a whole run.
const TOKENS: [&str; 10] = [
    "SELECT a FROM item",
    "SELECT b FROM item",
    "SELECT note FROM person",
    "SELECT note FROM job",
    "SELECT note FROM task",
    "SELECT c FROM pair",
    "SELECT note FROM slot",
    "SELECT a FROM made",
    "SELECT a FROM v",
    "SELECT a FROM child",
];

/// Whether a value is a token.
pub fn is_token(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.starts_with("token"))
}

/// The tokens visible at a node.
pub fn visible(store: &Store) -> Vec<Value> {
    let work = |reader: &tutti::store::Reader<'_>| {
        let mut found = Vec::new();
        for sql in TOKENS.iter().chain(&kinds::TOKENS) {
            match reader.query(sql, &[]) {
                Ok(rows) => found.extend(rows.into_iter().flatten().filter(is_token)),
                // Not declared here yet, or dropped.
                Err(error) if error.to_string().contains("no such table") => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    };
    let mut found: Vec<Value> = store.read(work).unwrap();
    found.sort_by(|a, b| a.partial_cmp(b).unwrap());
    found
}

/// Runs one random transaction; refusals of SQLite (a taken name, a missing parent) are life.
/// Returns whether it was refused.
pub fn transact(store: &Store, random: &mut Random, counter: &mut u64, kinds: bool) -> bool {
    let statements = 1 + random.below(4);
    let fails = random.one_in(10);
    let result = store.transact(|tx| {
        if random.one_in(6) {
            many(tx, random, counter)?;
        }
        for _ in 0..statements {
            if random.one_in(8) {
                tx.execute("SAVEPOINT s", &[])?;
                let _ = statement(tx, random, counter, kinds);
                tx.execute("ROLLBACK TO s", &[])?;
                tx.execute("RELEASE s", &[])?;
            } else {
                let _ = statement(tx, random, counter, kinds);
            }
        }
        if fails {
            return Err(StoreError::Refused("changed my mind".into()));
        }
        Ok(())
    });
    match result {
        Ok(()) => false,
        Err(StoreError::Refused(_)) => true,
        Err(error) if is_refusal(&error) => true,
        Err(StoreError::Sqlite(error)) if error.to_string().contains("FOREIGN KEY") => true,
        Err(error) => panic!("a transaction failed: {error}"),
    }
}

/// Rows under consecutive keys, as far as they are free, or something done to several of them.
fn many(tx: &mut Tx<'_>, random: &mut Random, counter: &mut u64) -> Result<(), StoreError> {
    let first = random.below(20) as i64;
    if random.one_in(3) {
        tx.execute(
            "DELETE FROM item WHERE id > ? AND id % 3 = 0",
            &[first.into()],
        )?;
        return Ok(());
    }
    for id in first..first + 4 + random.below(20) as i64 {
        *counter += 1;
        let row = [id.into(), format!("token{counter}").into()];
        tx.execute("INSERT OR IGNORE INTO item VALUES (?, ?, 0)", &row)?;
    }
    Ok(())
}

fn statement(
    tx: &mut Tx<'_>,
    random: &mut Random,
    counter: &mut u64,
    kinds: bool,
) -> Result<usize, StoreError> {
    *counter += 1;
    let token: Value = format!("token{counter}").into();
    if kinds && random.one_in(2) {
        return kinds::statement(tx, random, token);
    }
    let id = |random: &mut Random| Value::Integer(random.below(6) as i64);
    let name = |random: &mut Random| match random.below(5) {
        0 => Value::Null,
        n => format!("name{n}").into(),
    };
    let (one, two) = (id(random), id(random));
    let named = name(random);
    let (sql, params) = match random.below(20) {
        0 => ("INSERT INTO item VALUES (?, ?, 0)", vec![one, token]),
        1 => ("UPDATE item SET a = ? WHERE id = ?", vec![token, one]),
        2 => ("UPDATE item SET b = ? WHERE id = ?", vec![token, one]),
        3 => ("REPLACE INTO item VALUES (?, ?, 1)", vec![one, token]),
        4 => ("DELETE FROM item WHERE id = ?", vec![one]),
        5 | 6 => {
            let small = Value::Integer(random.below(3) as i64);
            let params = vec![one, named, two, small, token];
            ("INSERT INTO person VALUES (?, ?, ?, ?, ?)", params)
        }
        7 => ("UPDATE person SET name = ? WHERE id = ?", vec![named, one]),
        8 => (
            "UPDATE OR REPLACE person SET x = ?, note = ? WHERE id = ?",
            vec![two, token, one],
        ),
        9 => ("DELETE FROM person WHERE id = ?", vec![one]),
        10 => {
            let key: Value = format!("job{}", random.below(4)).into();
            (
                "INSERT OR REPLACE INTO job VALUES (?, ?, ?)",
                vec![key, one, token],
            )
        }
        11 => {
            let key: Value = format!("job{}", random.below(4)).into();
            (
                "INSERT INTO task VALUES (?, ?, ?, ?)",
                vec![one, key, named, token],
            )
        }
        12 => ("UPDATE task SET note = ? WHERE id = ?", vec![token, one]),
        13 => ("DELETE FROM job", vec![]),
        14 => (
            "REPLACE INTO pair VALUES (?, ?, ?, 0)",
            vec![one, two, token],
        ),
        15 | 16 => {
            let live = Value::Integer(random.below(2) as i64);
            let params = vec![one, named, live, token];
            ("REPLACE INTO slot VALUES (?, ?, ?, ?)", params)
        }
        17 => {
            let live = Value::Integer(random.below(2) as i64);
            ("UPDATE slot SET live = ? WHERE id = ?", vec![live, one])
        }
        18 => ("UPDATE slot SET room = ? WHERE id = ?", vec![named, one]),
        _ => (
            "UPDATE pair SET b = b + 1, c = ? WHERE a = ? AND b = 5",
            vec![token, one],
        ),
    };
    tx.execute(sql, &params)
}
