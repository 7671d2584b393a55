//! Keys of the engine: integer ids from blocks of this node.
//!
//! A block is 39 random bits in front of a 24-bit counter. Its claim is a row of a replicated
//! table, committed with the block's first id; each incarnation draws its own. Two nodes that draw
//! without having heard of each other draw the same block with probability 2^-39; then two rows
//! may meet under one id as in any concurrent insert, and what loses is in the inbox.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, params};

use super::capture;
use super::rowid::has_rowid_key;
use super::schema::{Table, quote};
use super::tokens::{Token, spans};
use super::{StoreError, lock};
use crate::replica::schema::{BLOCK_BITS, Keys, block};
use crate::replica::value::Value;
use crate::replica::{Incarnation, NodeId};

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS _tutti_block(block INTEGER PRIMARY KEY, node BLOB NOT NULL);
INSERT OR IGNORE INTO _tutti_table(name) VALUES ('_tutti_block');
";

/// Creates the replicated table of blocks where it is missing.
pub(super) fn create(db: &Connection) -> Result<(), StoreError> {
    Ok(db.execute_batch(TABLES)?)
}

/// The blocks of this incarnation.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    incarnation: Incarnation,
    /// How many were tried.
    tried: u64,
    /// Those that ids came from, the present one last.
    drawn: Vec<i64>,
    /// How many of `drawn` are claimed durably.
    claimed: usize,
    /// The last number handed out of the present one.
    last: i64,
    /// The id of a row that was deleted and is being restored.
    restored: Option<i64>,
}

/// Shared between the SQL function, capture and the writer.
pub(super) type Shared = Arc<Mutex<Blocks>>;

const LAST: i64 = (1 << BLOCK_BITS) - 1;

impl Blocks {
    fn draw(&mut self) {
        self.drawn.push(block(self.incarnation, self.tried));
        self.tried += 1;
        self.last = 0;
    }

    fn next(&mut self) -> i64 {
        if self.drawn.is_empty() || self.last == LAST {
            self.draw();
        }
        self.last += 1;
        let block = self.drawn.last().copied().unwrap_or_default();
        block << BLOCK_BITS | self.last
    }

    fn handed_out(&self, id: i64) -> bool {
        let (block, number) = (id >> BLOCK_BITS, id & LAST);
        let full = self.drawn.len().saturating_sub(1);
        self.restored == Some(id)
            || number > 0
                && (self.drawn[..full].contains(&block)
                    || (self.drawn.last() == Some(&block) && number <= self.last))
    }
}

/// Begins an incarnation: `tutti_id()` hands out its ids.
pub(super) fn start(
    db: &Connection,
    capture: &capture::Shared,
    incarnation: Incarnation,
) -> Result<(), StoreError> {
    let keys = Arc::clone(&lock(capture).keys);
    *lock(&keys) = Blocks {
        incarnation,
        ..Blocks::default()
    };
    // Innocuous: triggers may call it, whatever else a schema is not trusted with.
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
    db.create_scalar_function("tutti_id", 0, flags, move |_| Ok(lock(&keys).next()))?;
    Ok(())
}

/// Lets a row that was deleted come back under its id, or no longer.
pub(super) fn restoring(keys: &Shared, key: Option<&[Value]>) {
    lock(keys).restored = match key {
        Some([Value::Integer(id)]) => Some(*id),
        _ => None,
    };
}

/// Claims what this transaction drew, as rows of it. A block that another node is known to have
/// is given up, and with it the transaction.
pub(super) fn claim(
    db: &Connection,
    capture: &capture::Shared,
    node: NodeId,
) -> Result<(), StoreError> {
    let keys = Arc::clone(&lock(capture).keys);
    let fresh = {
        let keys = lock(&keys);
        keys.drawn[keys.claimed..].to_vec()
    };
    for block in fresh {
        let insert = "INSERT OR IGNORE INTO _tutti_block(block, node) VALUES (?, ?)";
        if db.prepare_cached(insert)?.execute(params![block, node])? == 0 {
            let mut keys = lock(&keys);
            let claimed = keys.claimed;
            keys.drawn.truncate(claimed);
            keys.last = LAST;
            return Err(StoreError::Refused(
                "another system has drawn the same block of ids; run the transaction again".into(),
            ));
        }
    }
    Ok(())
}

/// The claims of the last transaction are durable.
pub(super) fn committed(capture: &capture::Shared) {
    let keys = Arc::clone(&lock(capture).keys);
    let mut keys = lock(&keys);
    keys.claimed = keys.drawn.len();
}

/// Refuses a new row of an engine table whose id did not come from here.
pub(super) fn allowed(keys: &Shared, table: &Table, key: &[Value]) -> Result<(), StoreError> {
    let fine = match key {
        _ if table.keys == Keys::Natural => true,
        [Value::Integer(id)] => lock(keys).handed_out(*id),
        _ => false,
    };
    if fine {
        return Ok(());
    }
    Err(StoreError::Statement(format!(
        "table {}: its ids come from the engine; leave {} out or NULL, or write tutti_id()",
        table.name,
        table.key_names().join(", ")
    )))
}

/// Refuses a table that cannot have such keys.
pub(super) fn check(db: &Connection, table: &Table, keys: Keys) -> Result<(), StoreError> {
    if keys == Keys::Natural {
        return Ok(());
    }
    if has_rowid_key(db, &table.name)? {
        return Ok(());
    }
    Err(StoreError::Schema(format!(
        "table {}: keys of the engine need one column declared as INTEGER PRIMARY KEY",
        table.name
    )))
}

/// What runs in place of an INSERT into an engine table that leaves its ids out; `None`: itself.
pub(super) fn filled(sql: &str, tables: &[Arc<Table>]) -> Option<String> {
    let engine = |table: &&Arc<Table>| table.keys == Keys::Engine;
    if !tables.iter().any(|table| engine(&table)) {
        return None;
    }
    fill(sql, |name: &str| {
        let same = |table: &&Arc<Table>| table.name.eq_ignore_ascii_case(name);
        tables
            .iter()
            .find(same)
            .filter(engine)
            .map(|table| &**table)
    })
}

/// Rewrites `INSERT INTO table (columns) source` so that the key, where left out or NULL, becomes
/// `tutti_id()`. The source, whatever its form, becomes a subquery. `None`: nothing to do.
fn fill<'t>(sql: &str, engine: impl Fn(&str) -> Option<&'t Table>) -> Option<String> {
    let chars: Vec<char> = sql.chars().collect();
    let spans = spans(&chars);
    let text = |from: usize, to: usize| -> String { chars[from..to].iter().collect() };
    let mut depth = 0;
    let depths: Vec<i32> = spans
        .iter()
        .map(|span| {
            depth += match span.0 {
                Token::Sign('(') => 1,
                Token::Sign(')') => -1,
                _ => 0,
            };
            depth
        })
        .collect();
    let top = |at: usize| depths.get(at) == Some(&0);
    let verb = |at: &usize| top(*at) && (spans[*at].0.is("insert") || spans[*at].0.is("replace"));
    let start = (0..spans.len()).find(verb)?;
    let into = (start..spans.len()).find(|&at| spans[at].0.is("into"))?;
    let mut at = into + 1;
    if spans
        .get(at + 1)
        .is_some_and(|span| span.0 == Token::Sign('.'))
    {
        at += 2;
    }
    let table = engine(spans.get(at)?.0.name()?)?;
    at += 1;
    if spans.get(at).is_some_and(|span| span.0.is("as")) {
        at += 2;
    }
    let head = text(0, spans[at - 1].1.end);
    let ends = |at: &usize| {
        let next = spans.get(at + 1);
        let conflict = spans[*at].0.is("on") && next.is_some_and(|next| next.0.is("conflict"));
        let end = spans[*at].0 == Token::Sign(';') || spans[*at].0.is("returning");
        top(*at) && (conflict || end)
    };
    let end = (at..spans.len()).find(ends).unwrap_or(spans.len());
    let tail_at = spans.get(end).map_or(chars.len(), |span| span.1.start);
    let tail = text(tail_at, chars.len());
    let key = table.key_names().pop()?;
    if spans.get(at).is_some_and(|span| span.0.is("default")) {
        return Some(format!(
            "{head} ({}) VALUES (tutti_id()) {tail}",
            quote(&key)
        ));
    }
    let mut columns: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
    if spans.get(at).is_some_and(|span| span.0 == Token::Sign('(')) {
        let close = (at..spans.len()).find(|&at| top(at))?;
        let names = spans[at..close].iter().filter_map(|span| span.0.name());
        columns = names.map(str::to_owned).collect();
        at = close + 1;
    }
    let source = text(spans.get(at)?.1.start, tail_at);
    Some(insert(&head, &key, &columns, &source, &tail))
}

fn insert(head: &str, key: &str, columns: &[String], source: &str, tail: &str) -> String {
    let is_key = |name: &String| {
        let alias = ["rowid", "oid", "_rowid_"].into_iter();
        let mut names = alias.chain([key]);
        names.any(|alias| name.eq_ignore_ascii_case(alias))
    };
    let given = columns.iter().position(is_key);
    let mut into: Vec<Cow<'_, str>> = columns.iter().map(|name| quote(name).into()).collect();
    let marks = (1..=columns.len()).map(|number| format!("\"?{number}\""));
    let marks: Vec<String> = marks.collect();
    let mut values: Vec<Cow<'_, str>> = marks.iter().map(Into::into).collect();
    match given {
        Some(at) => values[at] = format!("ifnull({}, tutti_id())", marks[at]).into(),
        None => {
            into.insert(0, quote(key).into());
            values.insert(0, "tutti_id()".into());
        }
    }
    let nulls: Vec<String> = marks.iter().map(|mark| format!("NULL AS {mark}")).collect();
    format!(
        "{head} ({}) SELECT {} FROM (SELECT {} WHERE 0 UNION ALL SELECT * FROM ({source})) \
         WHERE true {tail}",
        into.join(", "),
        values.join(", "),
        nulls.join(", ")
    )
}
