//! Declarations at run time: several of one name at several nodes, dropped and declared again.

use tutti::replica::schema::Keys;
use tutti::replica::value::Value;
use tutti::store::{ConflictQuery, Store, StoreError};

use crate::random::Random;
use crate::workload::is_token;
use crate::world::is_refusal;

/// Tables named `v`, each with a column `a` for tokens, and what lies on them.
const VARIANTS: [&str; 8] = [
    "CREATE TABLE v(id INTEGER PRIMARY KEY, a, u UNIQUE)",
    "CREATE TABLE v(id INTEGER PRIMARY KEY, a, u, more)",
    "CREATE TABLE v(id INTEGER PRIMARY KEY, u REFERENCES item(id), a)",
    "CREATE TABLE v(a, id TEXT NOT NULL, u, PRIMARY KEY (id, u)) WITHOUT ROWID",
    "CREATE INDEX vi ON v(u)",
    "CREATE UNIQUE INDEX vi ON v(u) WHERE u > 1",
    "CREATE UNIQUE INDEX item_b ON item(b) WHERE b <> 0 AND b <> 1",
    "CREATE TABLE child(id INTEGER PRIMARY KEY, v REFERENCES v(id) ON DELETE CASCADE, a)",
];

/// Declared at the first node before anything else: ids of the engine.
pub fn made(store: &Store) {
    let sql = "CREATE TABLE made(id INTEGER PRIMARY KEY, a)";
    store.declare_with(sql, Keys::Engine).unwrap();
}

/// Declares or drops something; returns the tokens that a drop ended knowingly though they were
/// not visible.
pub fn declare(store: &Store, random: &mut Random) -> Vec<Value> {
    let mut ended = Vec::new();
    let sql = match random.below(16) {
        0 => {
            ended = hidden(store, "v");
            "DROP TABLE v"
        }
        1 => {
            ended = hidden(store, "child");
            "DROP TABLE child"
        }
        2 => "DROP INDEX vi",
        3 => "DROP INDEX item_b",
        _ => VARIANTS[random.below(VARIANTS.len() as u64) as usize],
    };
    match store.declare(sql) {
        Ok(()) => ended,
        // The name is taken, the table not here, a row in the way: that is life.
        Err(StoreError::Schema(_)) => Vec::new(),
        Err(StoreError::Sqlite(error)) if error.to_string().contains("UNIQUE") => Vec::new(),
        Err(error) if is_refusal(&error) => Vec::new(),
        Err(error) => panic!("{sql}: {error}"),
    }
}

fn hidden(store: &Store, table: &str) -> Vec<Value> {
    let query = ConflictQuery {
        table: Some(table.into()),
        limit: usize::MAX,
        ..ConflictQuery::default()
    };
    let found = store.conflicts_matching(&query).unwrap();
    found
        .into_iter()
        .flat_map(|row| row.value)
        .filter(is_token)
        .collect()
}

/// Writes to what was declared, where it is here and takes the values.
pub fn write(store: &Store, random: &mut Random, counter: &mut u64) {
    *counter += 1;
    let token: Value = format!("token{counter}").into();
    let id = Value::Integer(random.below(4) as i64);
    let other = Value::Integer(random.below(4) as i64);
    let (sql, params) = match random.below(8) {
        0 => ("INSERT INTO made(a) VALUES (?)", vec![token]),
        1 => ("UPDATE made SET a = ? WHERE id % 4 = ?", vec![token, id]),
        2 => ("DELETE FROM made WHERE id % 4 = ?", vec![id]),
        3 => ("DELETE FROM v WHERE id = ?", vec![id]),
        4 => ("INSERT INTO child VALUES (?, ?, ?)", vec![id, other, token]),
        5 => ("UPDATE v SET u = ? WHERE id = ?", vec![other, id]),
        _ => (
            "REPLACE INTO v(id, u, a) VALUES (?, ?, ?)",
            vec![id, other, token],
        ),
    };
    let result = store.transact(|tx| tx.execute(sql, &params));
    match result {
        Ok(_) | Err(StoreError::Sqlite(_)) => {}
        Err(error) if is_refusal(&error) => {}
        // A system that runs twice draws the same ids twice, and is told so.
        Err(StoreError::Refused(why)) if why.contains("drawn the same block") => {}
        Err(error) => panic!("{sql}: {error}"),
    }
}
