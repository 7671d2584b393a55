//! Whether each parked row has a reason to be: a naive look at all rows, visible or not. Peers that
//! all forgot a row alike would be equal, and wrong.

use tutti::replica::value::{Value, decode};
use tutti::store::Store;

/// Where a parent is looked for: table, column of the child, the parent's visible keys.
const PARENTS: [(&str, usize, &str); 5] = [
    ("job", 1, "SELECT id FROM person"),
    ("task", 1, "SELECT id FROM job"),
    ("task", 2, "SELECT name FROM person"),
    ("booking", 1, "SELECT code FROM room"),
    ("guest", 1, "SELECT id FROM booking"),
];

/// Which rows a unique key is for.
type When = fn(&[Value]) -> bool;

/// Unique keys: table, its rows, the columns, and for which rows.
const UNIQUES: [(&str, &str, &[usize], When); 5] = [
    ("person", "SELECT * FROM person", &[1], |_| true),
    ("person", "SELECT * FROM person", &[2, 3], |_| true),
    ("late", "SELECT * FROM late", &[1], |_| true),
    ("slot", "SELECT * FROM slot", &[1], |row| {
        row[2] == Value::Integer(1)
    }),
    (
        "booking",
        "SELECT id, room, note, start, until FROM booking",
        &[1],
        |row| row[4] == Value::Null,
    ),
];

fn claim(row: &[Value], columns: &[usize], when: When) -> Option<Vec<Value>> {
    let values: Vec<Value> = columns.iter().map(|&at| row[at].clone()).collect();
    (when(row) && !values.contains(&Value::Null)).then_some(values)
}

/// Whether a child points at a parent, which compares by the kind of its own column.
fn points(child: &Value, parent: &Value) -> bool {
    match (child, parent) {
        (Value::Text(child), Value::Integer(parent)) => child.parse() == Ok(*parent),
        (Value::Integer(child), Value::Text(parent)) => child.to_string() == *parent,
        _ => child == parent,
    }
}

/// Panics where a row is parked without a reason.
pub fn check(store: &Store) {
    let rows = |sql: &str| store.read(|reader| reader.query(sql, &[])).unwrap();
    let hidden = rows(
        "SELECT t.name, h.row, h.reason FROM _tutti_hidden h JOIN _tutti_table t ON t.id = h.tbl",
    );
    let parked: Vec<(String, Vec<Value>, bool)> = hidden
        .into_iter()
        .map(|row| match <[Value; 3]>::try_from(row).unwrap() {
            [Value::Text(name), Value::Blob(row), reason] => {
                (name, decode(&row).unwrap(), reason == "UNIQUE".into())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    for (name, row, unique) in &parked {
        let known = PARENTS.iter().any(|p| p.0 == name) || UNIQUES.iter().any(|u| u.0 == name);
        if !known {
            continue;
        }
        let orphan = || {
            let mut keys = PARENTS.iter().filter(|parent| parent.0 == name);
            keys.any(|(_, at, sql)| {
                let there = |parent: Vec<Value>| points(&row[*at], &parent[0]);
                row[*at] != Value::Null && !rows(sql).into_iter().any(there)
            })
        };
        let loses = || {
            let mut keys = UNIQUES.iter().filter(|key| key.0 == name);
            keys.any(|(_, sql, columns, when)| {
                let others = parked.iter().filter(|other| other.0 == *name);
                let others = others.map(|other| other.1.clone()).chain(rows(sql));
                let mine = claim(row, columns, *when);
                let rival =
                    |other: Vec<Value>| other[0] != row[0] && claim(&other, columns, *when) == mine;
                mine.is_some() && others.into_iter().any(rival)
            })
        };
        let right = if *unique { loses() } else { orphan() };
        assert!(right, "{name} {row:?} is parked without a reason");
    }
}
