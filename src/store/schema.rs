//! What SQLite says about a table, and whether it can be replicated.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::StoreError;
use super::definition::{Definition, joined};
use super::rowid::{has_rowid_key, names_rowid};
use super::scratch::Scratch;
use super::shape::Kind;
use super::tokens::{fallible, predicate, tokens};
use super::tx::row_values;
use crate::replica::rows::Rows;
use crate::replica::schema::{DeclarationId, Keys};
use crate::replica::value::Value;

/// A replicated column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    /// Its number in SQLite's table, generated columns counted.
    pub index: i32,
    /// What SQLite makes of its declared type.
    pub affinity: Affinity,
    pub not_null: bool,
    pub kind: Kind,
}

/// How values of a column are stored and compared (<https://sqlite.org/datatype3.html> 3.1), as far
/// as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Affinity {
    /// As texts.
    Text,
    /// As they come.
    None,
    /// As numbers, where they are.
    Number,
}

impl Affinity {
    fn of(kind: &str) -> Self {
        let kind = kind.to_ascii_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
        match () {
            () if has(&["INT"]) => Affinity::Number,
            () if has(&["CHAR", "CLOB", "TEXT"]) => Affinity::Text,
            // ANY is none in a STRICT table, where it is used.
            () if kind.is_empty() || kind == "ANY" || has(&["BLOB"]) => Affinity::None,
            () => Affinity::Number,
        }
    }
}

/// A UNIQUE constraint or index.
#[derive(Clone, Debug)]
pub(super) struct Unique {
    /// The index that keeps it.
    pub index: String,
    pub columns: Vec<usize>,
    /// A row claims the key only where this holds.
    pub predicate: Option<String>,
    /// The columns that decide the claim: those of the key and of the predicate.
    pub watched: Vec<usize>,
}

/// A FOREIGN KEY of this table.
#[derive(Clone, Debug)]
pub(super) struct ForeignKey {
    pub columns: Vec<usize>,
    pub parent: String,
    pub parent_columns: Vec<String>,
}

/// A replicated table; columns are numbered without the generated ones.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Its number in this file.
    pub id: i64,
    /// Its number at every peer.
    pub tid: DeclarationId,
    pub name: String,
    /// Its name as it was declared, on a shelf too.
    pub label: String,
    pub keys: Keys,
    pub columns: Vec<Column>,
    pub key: Vec<usize>,
    /// Columns that merge as one cell; each is in one group at most.
    pub groups: Vec<Vec<usize>>,
    pub uniques: Vec<Unique>,
    pub foreign: Vec<ForeignKey>,
    /// Whether a FOREIGN KEY of another table points here.
    pub is_parent: bool,
    /// The columns that it points at.
    pub pointed_at: Vec<usize>,
    /// Columns of any kind that point at a text: SQLite finds a number's parent, and lets it go
    /// though the number is left.
    pub loose: Vec<usize>,
    /// Where predicates are tried on rows that are in no table.
    pub scratch: Option<Scratch>,
    pub select: String,
    pub replace: String,
    pub insert: String,
    pub delete: String,
}

impl Table {
    /// The key's column names.
    pub fn key_names(&self) -> Vec<String> {
        let name = |&at: &usize| self.columns[at].name.clone();
        self.key.iter().map(name).collect()
    }

    /// Whether it is the engine's own, which people do not see.
    pub fn is_engines(&self) -> bool {
        self.name.starts_with("_tutti_")
    }

    /// Whether it holds the rows of a declaration that does not stand.
    pub fn is_shelf(&self) -> bool {
        self.name.starts_with(SHELF)
    }

    /// Whether a row's visibility depends on others.
    pub fn is_constrained(&self) -> bool {
        !self.uniques.is_empty() || !self.foreign.is_empty() || self.is_parent
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<usize> {
        let same = |column: &Column| column.name.eq_ignore_ascii_case(name);
        self.columns.iter().position(same)
    }

    /// All columns that change with these.
    pub fn tied(&self, changed: &mut Vec<usize>) {
        for group in &self.groups {
            if group.iter().any(|column| changed.contains(column)) {
                changed.extend(group);
            }
        }
        changed.sort_unstable();
        changed.dedup();
    }
}

/// How the tables begin that hold the rows of declarations which do not stand.
pub(super) const SHELF: &str = "_tutti_shelf_";

/// An identifier as SQL takes it.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn refuse<T>(table: &str, what: &str) -> Result<T, StoreError> {
    Err(StoreError::Schema(format!("table {table}: {what}")))
}

/// Reads a table from the database, without its numbers, and refuses what cannot be replicated.
pub(super) fn inspect(db: &Connection, name: &str) -> Result<Table, StoreError> {
    let (table, definition) = read(db, name)?;
    compares_bytes(&definition, &table)?;
    never_fails(db, &table)?;
    bounded(&table)?;
    Ok(table)
}

/// SQLite compares so many columns at most in one expression, and looks a row up by its key.
const KEY_COLUMNS_MAX: usize = 500;

fn bounded(table: &Table) -> Result<(), StoreError> {
    let uniques = table.uniques.iter().map(|unique| unique.columns.len());
    let foreign = table.foreign.iter().map(|foreign| foreign.columns.len());
    let longest = uniques.chain(foreign).chain([table.key.len()]).max();
    if longest.is_some_and(|columns| columns > KEY_COLUMNS_MAX) {
        let what = format!("a key has at most {KEY_COLUMNS_MAX} columns");
        return refuse(&table.name, &what);
    }
    Ok(())
}

/// Reads a table that was declared once: whatever is refused of a new one since, it is replicated.
pub(super) fn standing(db: &Connection, name: &str) -> Result<Table, StoreError> {
    read(db, name).map(|(table, _)| table)
}

fn read(db: &Connection, name: &str) -> Result<(Table, Definition), StoreError> {
    // All that is asked here is asked of each table anew: its statements are kept.
    let made: Option<(String, String)> = db
        .prepare_cached(
            "SELECT sql, name FROM sqlite_schema \
             WHERE type = 'table' AND name = ?1 COLLATE NOCASE",
        )?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((sql, label)) = made else {
        return refuse(name, "no such table");
    };
    let words = tokens(&sql);
    if words.get(1).is_some_and(|token| token.is("virtual")) {
        return refuse(
            name,
            "virtual tables do not replicate; declare an ordinary one",
        );
    }
    if words.iter().any(|token| token.is("autoincrement")) {
        return refuse(
            name,
            "AUTOINCREMENT would give one id to two rows; use INTEGER PRIMARY KEY without it and \
             keys of the engine (--keys engine), or ids that peers cannot choose alike",
        );
    }
    let (columns, key) = columns(db, name)?;
    let definition = Definition::new(&sql, columns.iter().map(|c| c.name.clone()).collect());
    let mut table = Table {
        id: 0,
        tid: 0,
        name: name.to_owned(),
        label,
        keys: Keys::Natural,
        groups: Vec::new(),
        columns,
        key,
        uniques: Vec::new(),
        foreign: Vec::new(),
        is_parent: false,
        pointed_at: Vec::new(),
        loose: Vec::new(),
        scratch: None,
        select: String::new(),
        replace: String::new(),
        insert: String::new(),
        delete: String::new(),
    };
    table.uniques = uniques(db, &table, &definition)?;
    table.foreign = foreign(db, &table)?;
    if table
        .uniques
        .iter()
        .any(|unique| unique.predicate.is_some())
    {
        table.scratch = Some(Scratch::new(&sql)?);
    }
    let tied = table.uniques.iter().map(|unique| &unique.watched);
    let tied = tied.chain(table.foreign.iter().map(|key| &key.columns));
    let mut groups = definition.groups();
    groups.extend(tied.cloned());
    // A key never changes, so it ties nothing.
    let changes = |group: &mut Vec<usize>| group.retain(|column| !table.key.contains(column));
    groups.iter_mut().for_each(changes);
    table.groups = joined(groups);
    statements(&mut table);
    Ok((table, definition))
}

fn columns(db: &Connection, name: &str) -> Result<(Vec<Column>, Vec<usize>), StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT cid, name, \"notnull\", pk, hidden, type FROM pragma_table_xinfo(?1)",
    )?;
    let is_strict = db
        .prepare_cached("SELECT max(strict) FROM pragma_table_list(?1)")?
        .query_row([name], |row| row.get(0))?;
    let mut rows = statement.query([name])?;
    let (mut columns, mut key) = (Vec::<Column>::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let (notnull, pk, hidden): (bool, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
        if hidden != 0 {
            continue;
        }
        if pk > 0 {
            key.push((pk, columns.len(), notnull));
        }
        columns.push(Column {
            index: row.get(0)?,
            name: row.get(1)?,
            affinity: Affinity::of(&row.get::<_, String>(5)?),
            not_null: notnull,
            kind: Kind::of(&row.get::<_, String>(5)?, is_strict),
        });
    }
    key.sort_unstable();
    if key.is_empty() {
        return refuse(
            name,
            "has no PRIMARY KEY; declare one, rows are known to peers by it",
        );
    }
    // The rowid is always an integer; all other keys allow NULL unless told.
    if has_rowid_key(db, name)? {
        for (_, at, _) in &key {
            (columns[*at].not_null, columns[*at].kind) = (true, Kind::Integer);
        }
    } else if key.iter().any(|part| !part.2) {
        return refuse(
            name,
            "its PRIMARY KEY allows NULL; add NOT NULL to each of its columns",
        );
    }
    Ok((columns, key.into_iter().map(|part| part.1).collect()))
}

const COLLATION: &str = "a PRIMARY KEY or UNIQUE with a collation other than BINARY does not \
                         replicate; store a folded copy of the text and make that UNIQUE";

/// Rows are known, and claim what is unique, byte by byte.
fn compares_bytes(definition: &Definition, table: &Table) -> Result<(), StoreError> {
    let unique = table.uniques.iter().flat_map(|unique| &unique.columns);
    for &column in table.key.iter().chain(unique) {
        let collation = definition.collation(&table.columns[column].name);
        if collation.is_some_and(|name| !name.eq_ignore_ascii_case("binary")) {
            return refuse(&table.name, COLLATION);
        }
    }
    Ok(())
}

/// An index must not fail at a peer on rows that were fine where they were written.
fn never_fails(db: &Connection, table: &Table) -> Result<(), StoreError> {
    let sql = "SELECT s.sql, l.\"unique\" FROM pragma_index_list(?1) l \
               JOIN sqlite_schema s ON s.type = 'index' AND s.name = l.name \
               WHERE s.sql IS NOT NULL";
    let mut statement = db.prepare_cached(sql)?;
    let list = statement.query_map([&table.name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let list: Vec<(String, bool)> = list.collect::<Result<_, _>>()?;
    for (sql, is_unique) in &list {
        let Some((_, words)) = predicate(sql) else {
            continue;
        };
        if *is_unique && names_rowid(db, &table.name, &words)? {
            let what = "the WHERE of an index names the rowid, which differs from peer to peer; \
                        name a column there";
            return refuse(&table.name, what);
        }
        if let Some(what) = fallible(&words) {
            let what = format!(
                "the WHERE of an index uses {what}, which may fail on a peer's rows; compare \
                 plain columns there"
            );
            return refuse(&table.name, &what);
        }
    }
    Ok(())
}

fn uniques(
    db: &Connection,
    table: &Table,
    definition: &Definition,
) -> Result<Vec<Unique>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT l.name, l.origin, l.\"unique\", s.sql FROM pragma_index_list(?1) l \
         LEFT JOIN sqlite_schema s ON s.type = 'index' AND s.name = l.name ORDER BY l.name",
    )?;
    let list = statement.query_map([&table.name], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    let list: Vec<(String, String, bool, Option<String>)> = list.collect::<Result<_, _>>()?;
    let mut uniques = Vec::new();
    for (index, origin, unique, sql) in list {
        let mut statement = db.prepare_cached(
            "SELECT name, coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno",
        )?;
        let parts = statement.query_map([&index], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let parts: Vec<(Option<String>, String)> = parts.collect::<Result<_, _>>()?;
        let predicate = sql.as_deref().and_then(predicate);
        if parts.iter().any(|part| part.0.is_none()) {
            return refuse(
                &table.name,
                "an index over an expression does not replicate; index plain columns",
            );
        }
        if !unique {
            continue;
        }
        if parts
            .iter()
            .any(|part| !part.1.eq_ignore_ascii_case("binary"))
        {
            return refuse(&table.name, COLLATION);
        }
        if origin == "pk" {
            continue;
        }
        let at = |part: &(Option<String>, String)| table.column(part.0.as_deref()?);
        let Some(columns) = parts.iter().map(at).collect::<Option<Vec<usize>>>() else {
            return refuse(
                &table.name,
                "UNIQUE over a generated column does not replicate; use plain columns",
            );
        };
        let mut watched = columns.clone();
        if let Some((_, words)) = &predicate {
            watched.extend(definition.named(words));
            watched.sort_unstable();
            watched.dedup();
        }
        uniques.push(Unique {
            index,
            columns,
            predicate: predicate.map(|predicate| predicate.0),
            watched,
        });
    }
    Ok(uniques)
}

fn foreign(db: &Connection, table: &Table) -> Result<Vec<ForeignKey>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT id, \"table\", \"from\", \"to\" FROM pragma_foreign_key_list(?1) ORDER BY id, seq",
    )?;
    let mut rows = statement.query([&table.name])?;
    let mut keys: Vec<(i64, ForeignKey)> = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, parent, from): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let to: Option<String> = row.get(3)?;
        if keys.last().is_none_or(|last| last.0 != id) {
            let key = ForeignKey {
                columns: Vec::new(),
                parent,
                parent_columns: Vec::new(),
            };
            keys.push((id, key));
        }
        let (Some(column), Some(last)) = (table.column(&from), keys.last_mut()) else {
            return refuse(
                &table.name,
                "a FOREIGN KEY on a generated column does not replicate",
            );
        };
        last.1.columns.push(column);
        last.1.parent_columns.extend(to);
    }
    Ok(keys.into_iter().map(|key| key.1).collect())
}

/// How many rows are visible.
pub(super) fn count(db: &Connection, table: &Table) -> Result<u64, StoreError> {
    let sql = format!("SELECT count(*) FROM {}", quote(&table.name));
    let rows: i64 = db.query_row(&sql, [], |row| row.get(0))?;
    Ok(rows as u64)
}

/// Fills in what needs all tables: implied parent columns and who is a parent.
pub(super) fn link(tables: &mut [Table]) {
    let keys: Vec<(String, Vec<String>)> = tables
        .iter()
        .map(|table| (table.name.clone(), table.key_names()))
        .collect();
    let mut parents: Vec<(String, Vec<String>)> = Vec::new();
    for table in tables.iter_mut() {
        for key in &mut table.foreign {
            let parent = keys.iter().find(|k| k.0.eq_ignore_ascii_case(&key.parent));
            if let Some((name, columns)) = parent {
                key.parent = name.clone();
                if key.parent_columns.is_empty() {
                    key.parent_columns = columns.clone();
                }
                parents.push((name.clone(), key.parent_columns.clone()));
            }
        }
    }
    let loose: Vec<Vec<usize>> = tables.iter().map(|table| loose(tables, table)).collect();
    for (table, loose) in tables.iter_mut().zip(loose) {
        let named = parents.iter().filter(|parent| parent.0 == table.name);
        let columns = named.clone().flat_map(|parent| &parent.1);
        table.pointed_at = columns.filter_map(|name| table.column(name)).collect();
        table.is_parent = named.count() > 0;
        table.loose = loose;
    }
}

fn loose(tables: &[Table], table: &Table) -> Vec<usize> {
    let mut found = Vec::new();
    for key in &table.foreign {
        let parent = tables.iter().find(|parent| parent.name == key.parent);
        for (&column, to) in key.columns.iter().zip(&key.parent_columns) {
            let to = parent.and_then(|parent| Some(&parent.columns[parent.column(to)?]));
            let text = to.is_some_and(|to| to.affinity == Affinity::Text);
            if text && table.columns[column].affinity == Affinity::None {
                found.push(column);
            }
        }
    }
    found
}

/// All its rows.
pub(super) fn all(db: &Connection, table: &Table) -> Result<Vec<Vec<Value>>, StoreError> {
    let mut rows = Vec::new();
    each(db, table, "true", |row| {
        rows.push(row);
        Ok(())
    })?;
    Ok(rows)
}

/// Hands out the rows that a condition chooses.
pub(super) fn each(
    db: &Connection,
    table: &Table,
    condition: &str,
    mut take: impl FnMut(Vec<Value>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let columns: Vec<String> = table.columns.iter().map(|c| quote(&c.name)).collect();
    let (columns, name) = (columns.join(", "), quote(&table.name));
    let mut statement = db.prepare(&format!("SELECT {columns} FROM {name} WHERE {condition}"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(row_values(row, table.columns.len())?)?;
    }
    Ok(())
}

/// The table that these statements would make, built in memory only.
pub(super) fn tried(statements: &[&str], name: &str) -> Result<Table, StoreError> {
    inspect(&made(statements)?, name)
}

fn made(statements: &[&str]) -> Result<Connection, StoreError> {
    let db = Connection::open_in_memory()?;
    for sql in statements {
        db.execute(sql, [])?;
    }
    Ok(db)
}

/// A table whose name another declaration has: its rows wait in a plain table, the shelf.
pub(super) fn lost(sql: &str, name: &str, shelf: &str) -> Result<Table, StoreError> {
    let mut table = standing(&made(&[sql])?, name)?;
    shelf.clone_into(&mut table.name);
    table.uniques.clear();
    table.foreign.clear();
    table.scratch = None;
    statements(&mut table);
    Ok(table)
}

/// Its CREATE statement: the same columns and key, nothing else.
pub(super) fn shelf(table: &Table) -> String {
    let columns: Vec<String> = table.columns.iter().map(|c| quote(&c.name)).collect();
    let key: Vec<&str> = table.key.iter().map(|&at| columns[at].as_str()).collect();
    format!(
        "CREATE TABLE {} ({}, PRIMARY KEY ({})) WITHOUT ROWID",
        quote(&table.name),
        columns.join(", "),
        key.join(", ")
    )
}

fn statements(table: &mut Table) {
    let name = quote(&table.name);
    let columns: Vec<String> = table.columns.iter().map(|c| quote(&c.name)).collect();
    let list = columns.join(", ");
    let marks = vec!["?"; columns.len()].join(", ");
    let key: Vec<String> = table
        .key
        .iter()
        .map(|&at| format!("{} = ?", columns[at]))
        .collect();
    let key = key.join(" AND ");
    table.select = format!("SELECT {list} FROM {name} WHERE {key}");
    table.replace = format!("REPLACE INTO {name} ({list}) VALUES ({marks})");
    table.insert = format!("INSERT INTO {name} ({list}) VALUES ({marks})");
    table.delete = format!("DELETE FROM {name} WHERE {key}");
}

/// The names of the tables that changes are of.
pub(super) fn touched(tables: &[Arc<Table>], rows: &Rows) -> Result<Vec<String>, StoreError> {
    let mut names: Vec<String> = Vec::new();
    let mut last = None;
    for part in rows.parts() {
        let id = part?.table;
        if last.replace(id) == Some(id) {
            continue;
        }
        let table = tables.iter().find(|table| table.tid == id);
        names.extend(table.map(|table| table.name.clone()));
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}
