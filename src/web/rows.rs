//! Rows as JSON, and the statements that read and write them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;

use super::record::Done;
use crate::node::serve::node::hex;
use crate::replica::value::Value;
use crate::store::administrators::PRIVATE_TABLES;
use crate::store::{Store, StoreError, TableInfo};

/// Rows shown at most at a time.
pub const ROWS_MAX: u64 = 1000;

/// The tables that pages and REST may show.
pub fn visible(store: &Store) -> Result<Vec<TableInfo>, StoreError> {
    let mut tables = store.tables()?;
    tables.retain(|table| !PRIVATE_TABLES.contains(&table.name.as_str()));
    Ok(tables)
}

/// One of them, by name as SQLite compares names.
pub fn table(store: &Store, name: &str) -> Result<TableInfo, StoreError> {
    let found = visible(store)?
        .into_iter()
        .find(|table| table.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| StoreError::Refused(format!("there is no replicated table {name}")))
}

/// A page of rows in key order.
pub fn rows(
    store: &Store,
    table: &TableInfo,
    limit: u64,
    offset: u64,
) -> Result<Vec<Vec<Value>>, StoreError> {
    let columns = list(&table.columns);
    let order = list(&table.key);
    let order = if order.is_empty() { "1" } else { &order };
    let sql = format!(
        "SELECT {columns} FROM {} ORDER BY {order} LIMIT ?1 OFFSET ?2",
        quote(&table.name)
    );
    let bounds = [limit.min(ROWS_MAX), offset].map(|n| Value::Integer(n.min(1 << 40) as i64));
    store.read(|reader| reader.query(&sql, &bounds))
}

/// The row that `given` names by its key, as it stands: its columns as one text.
fn standing(store: &Store, table: &TableInfo, given: &Map<String, Json>) -> Option<String> {
    let mut key = Vec::new();
    for column in &table.key {
        let named = |(name, _): &(&String, &Json)| name.eq_ignore_ascii_case(column);
        key.push(from_json(given.iter().find(named)?.1).ok()?);
    }
    let places: Vec<String> = (1..)
        .zip(&table.key)
        .map(|(n, c)| format!("{} = ?{n}", quote(c)))
        .collect();
    let sql = format!(
        "SELECT {} FROM {} WHERE {}",
        list(&table.columns),
        quote(&table.name),
        places.join(" AND ")
    );
    let found = store.read(|reader| reader.query(&sql, &key)).ok()?;
    let row = found.first()?;
    let cells = table.columns.iter().zip(row);
    let cells = cells.map(|(column, value)| format!("{column} {}", text(value)));
    Some(cells.collect::<Vec<_>>().join(", "))
}

/// [`write`], with what the event log says of it.
pub fn write_recorded(
    store: &Store,
    name: &str,
    row: &Map<String, Json>,
) -> Result<Done, StoreError> {
    let table = table(store, name)?;
    let before = standing(store, &table, row).unwrap_or_default();
    write(store, &table, row)?;
    // A row whose key the engine chose is told by what was given.
    let given = || {
        let cells = row
            .iter()
            .map(|(column, value)| format!("{column} {value}"));
        cells.collect::<Vec<_>>().join(", ")
    };
    let after = standing(store, &table, row).unwrap_or_else(given);
    Ok(Done::row(
        format!("Row of {} written", table.name),
        before,
        after,
    ))
}

/// [`delete`], with what the event log says of it.
pub fn delete_recorded(
    store: &Store,
    name: &str,
    key: &Map<String, Json>,
) -> Result<(bool, Done), StoreError> {
    let table = table(store, name)?;
    let before = standing(store, &table, key).unwrap_or_default();
    let deleted = delete(store, &table, key)?;
    let done = Done::row(format!("Row of {} deleted", table.name), before, "");
    Ok((deleted, done))
}

/// Writes one row: inserted, or changed in the given columns where its key exists.
fn write(store: &Store, table: &TableInfo, row: &Map<String, Json>) -> Result<(), StoreError> {
    let mut columns = Vec::new();
    let mut values = Vec::new();
    for (name, value) in row {
        let column = table
            .columns
            .iter()
            .find(|column| column.eq_ignore_ascii_case(name));
        let Some(column) = column else {
            return Err(StoreError::Refused(format!(
                "{} has no column {name}",
                table.name
            )));
        };
        columns.push(column.clone());
        values.push(from_json(value).map_err(|why| StoreError::Refused(format!("{name}: {why}")))?);
    }
    if columns.is_empty() {
        return Err(StoreError::Refused(
            "a row needs at least one column".into(),
        ));
    }
    let change = changing(table, &columns);
    let insert = inserting(table, &columns);
    store.transact(|tx| {
        // A change need not give what only a new row needs.
        let there = match &change {
            Some(Change::Update(sql)) => tx.execute(sql, &values)? > 0,
            Some(Change::Nothing(sql)) => !tx.query(sql, &values)?.is_empty(),
            None => false,
        };
        match there {
            true => Ok(()),
            false => tx.execute(&insert, &values).map(drop),
        }
    })
}

/// How a row that is there is changed.
enum Change {
    /// By this UPDATE.
    Update(String),
    /// Only its key was given; this finds it.
    Nothing(String),
}

/// How the row of a key is changed in the given columns; none where they do not name a row.
fn changing(table: &TableInfo, columns: &[String]) -> Option<Change> {
    let place = |column: &String| {
        let at = columns.iter().position(|given| given == column)?;
        Some(format!("{} = ?{}", quote(column), at + 1))
    };
    let key: Option<Vec<String>> = table.key.iter().map(place).collect();
    let terms = key.filter(|key| !key.is_empty())?.join(" AND ");
    let others = columns.iter().filter(|column| !table.key.contains(column));
    let set: Vec<String> = others.filter_map(place).collect();
    let name = quote(&table.name);
    Some(match set.is_empty() {
        true => Change::Nothing(format!("SELECT 1 FROM {name} WHERE {terms}")),
        false => Change::Update(format!(
            "UPDATE {name} SET {} WHERE {terms}",
            set.join(", ")
        )),
    })
}

/// Inserts a row. A column of its key that was not given may have a default, so its key may exist.
fn inserting(table: &TableInfo, columns: &[String]) -> String {
    let places: Vec<String> = (1..=columns.len()).map(|n| format!("?{n}")).collect();
    let updates: Vec<String> = columns
        .iter()
        .filter(|column| !table.key.contains(column))
        .map(|column| format!("{0} = excluded.{0}", quote(column)))
        .collect();
    let action = match updates.is_empty() {
        true => "NOTHING".to_owned(),
        false => format!("UPDATE SET {}", updates.join(", ")),
    };
    format!(
        "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO {action}",
        quote(&table.name),
        list(columns),
        places.join(", "),
        list(&table.key),
    )
}

/// Deletes the row of a key; says whether there was one.
fn delete(store: &Store, table: &TableInfo, key: &Map<String, Json>) -> Result<bool, StoreError> {
    let mut values = Vec::new();
    let mut terms = Vec::new();
    for (index, column) in table.key.iter().enumerate() {
        let given = key
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(column));
        let Some((_, value)) = given else {
            return Err(StoreError::Refused(format!(
                "the key column {column} is missing"
            )));
        };
        values.push(from_json(value).map_err(StoreError::Refused)?);
        terms.push(format!("{} = ?{}", quote(column), index + 1));
    }
    if terms.is_empty() {
        return Err(StoreError::Refused(format!("{} has no key", table.name)));
    }
    let sql = format!(
        "DELETE FROM {} WHERE {}",
        quote(&table.name),
        terms.join(" AND ")
    );
    store.transact(|tx| Ok(tx.execute(&sql, &values)? > 0))
}

fn list(columns: &[String]) -> String {
    columns
        .iter()
        .map(|column| quote(column))
        .collect::<Vec<_>>()
        .join(", ")
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value as JSON.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum Cell {
    /// NULL, and a REAL that is no number of JSON.
    Null,
    /// INTEGER.
    Integer(i64),
    /// REAL.
    Real(f64),
    /// TEXT.
    Text(String),
    /// BLOB.
    Bytes {
        /// Two digits an octet.
        hex: String,
    },
}

/// A row, or its key, as an object of its columns.
#[derive(Serialize, ToSchema)]
#[schema(as = Row)]
pub struct Object(BTreeMap<String, Cell>);

/// A row as a JSON object.
pub fn object(table: &TableInfo, row: &[Value]) -> Object {
    Object(
        table
            .columns
            .iter()
            .cloned()
            .zip(row.iter().map(cell))
            .collect(),
    )
}

/// A value as JSON.
pub fn cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Integer(number) => Cell::Integer(*number),
        Value::Real(number) if number.is_finite() => Cell::Real(*number),
        Value::Real(_) => Cell::Null,
        Value::Text(text) => Cell::Text(text.clone()),
        Value::Blob(bytes) => Cell::Bytes { hex: hex(bytes) },
    }
}

/// A value for people.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => format!("{} bytes", bytes.len()),
    }
}

fn from_json(value: &Json) -> Result<Value, String> {
    match value {
        Json::Null => Ok(Value::Null),
        Json::Bool(flag) => Ok(Value::Integer((*flag).into())),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Ok(Value::Integer(integer)),
            (None, Some(real)) => Ok(Value::Real(real)),
            _ => Err(format!("{number} is out of range")),
        },
        Json::String(text) => Ok(Value::Text(text.clone())),
        Json::Object(fields) => {
            let hex = fields.get("hex").and_then(Json::as_str).and_then(unhex);
            hex.map(Value::Blob)
                .ok_or_else(|| "an object must be {\"hex\": \"...\"}".into())
        }
        Json::Array(_) => Err("a list is no value of a column".into()),
    }
}

/// Bytes from hexadecimal digits.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs
        .map(|pair| if pair.len() == 2 { byte(pair) } else { None })
        .collect()
}
