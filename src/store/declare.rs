//! Declared tables, indexes and triggers: taken in here and from peers, and kept, the ones that
//! do not stand too (contract 11).

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row as Record, params};

use super::capture::Collected;
use super::inspected::Statements;
use super::memory::parked;
use super::schema::{self, ForeignKey, Table, Unique};
use super::settle::Settle;
use super::tokens::{Statement, is_virtual, names_engine, statement, tokens};
use super::tx::Reviewed;
use super::writer::Writer;
use super::{StoreError, inbox, lock};
use crate::replica::change::Body;
use crate::replica::clock::{Hlc, Stamp};
use crate::replica::schema::{Declaration, DeclarationId, Keys, Kind, declaration_id, own_id};

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS _tutti_declaration(
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, target INTEGER,
  sql TEXT NOT NULL, engine INTEGER NOT NULL,
  hlc INTEGER NOT NULL, origin INTEGER NOT NULL, seq INTEGER NOT NULL,
  stands INTEGER NOT NULL, dropped INTEGER NOT NULL DEFAULT 0, tbl INTEGER);
CREATE INDEX IF NOT EXISTS _tutti_declaration_name ON _tutti_declaration(name);
CREATE TABLE IF NOT EXISTS _tutti_declared(
  id INTEGER NOT NULL, hlc INTEGER NOT NULL, origin INTEGER NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY (id, origin, seq)) WITHOUT ROWID;
";

/// Creates the engine's table of declarations where it is missing.
pub(super) fn create(db: &Connection) -> Result<(), StoreError> {
    Ok(db.execute_batch(TABLES)?)
}

/// The version of what the appliance's software brings along: before everything.
pub(super) const OWN: Stamp = Stamp {
    hlc: Hlc(0),
    origin: 0,
    seq: 0,
};

/// The longest declaration, in bytes: whoever reads it has all of it in memory.
const SQL_MAX: usize = 512 << 10;

/// One row of `_tutti_declaration`.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub is: Declaration,
    pub sql: String,
    pub keys: Keys,
    pub stands: bool,
    /// Its number in `_tutti_table`, of a table.
    pub table: Option<i64>,
}

impl Known {
    fn read(row: &Record<'_>) -> rusqlite::Result<Self> {
        let kind: String = row.get(1)?;
        let number = |at: usize| row.get::<_, i64>(at).map(|value| value as u64);
        let on: Option<i64> = row.get(3)?;
        let engine: bool = row.get(5)?;
        Ok(Known {
            is: Declaration {
                id: number(0)?,
                kind: Kind::of(&kind).unwrap_or(Kind::Trigger),
                name: row.get(2)?,
                on: on.map(|id| id as u64),
                stamp: Stamp {
                    hlc: Hlc(number(6)?),
                    origin: number(7)?,
                    seq: number(8)?,
                },
                dropped: row.get(10)?,
            },
            sql: row.get(4)?,
            keys: if engine { Keys::Engine } else { Keys::Natural },
            stands: row.get(9)?,
            table: row.get(11)?,
        })
    }

    fn insert(&self, db: &Connection) -> Result<(), StoreError> {
        db.execute(
            "REPLACE INTO _tutti_declaration(id, kind, name, target, sql, engine, hlc, origin, \
             seq, stands, tbl, dropped) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                self.is.id as i64,
                self.is.kind.word(),
                self.is.name,
                self.is.on.map(|id| id as i64),
                self.sql,
                self.keys == Keys::Engine,
                self.is.stamp.hlc.0 as i64,
                self.is.stamp.origin as i64,
                self.is.stamp.seq as i64,
                self.stands,
                self.table,
                self.is.dropped
            ],
        )?;
        match self.sql.is_empty() {
            true => Ok(()),
            false => declared(db, self.is.id, self.is.stamp),
        }
    }

    /// Where its rows are while it does not stand.
    pub fn shelf(&self) -> String {
        format!("{}{:012x}", schema::SHELF, self.is.id)
    }
}

const COLUMNS: &str = "id, kind, name, target, sql, engine, hlc, origin, seq, stands, dropped, tbl";

/// One transaction declares this; the earliest of several counts.
pub(super) fn declared(db: &Connection, id: DeclarationId, stamp: Stamp) -> Result<(), StoreError> {
    let Stamp { hlc, origin, seq } = stamp;
    db.execute(
        "INSERT OR IGNORE INTO _tutti_declared(id, hlc, origin, seq) VALUES (?, ?, ?, ?)",
        params![id as i64, hlc.0 as i64, origin as i64, seq as i64],
    )?;
    let mut statement = db.prepare("SELECT hlc, origin, seq FROM _tutti_declared WHERE id = ?")?;
    let stamps = statement.query_map([id as i64], |row| {
        let number = |at: usize| row.get::<_, i64>(at).map(|value| value as u64);
        Ok(Stamp {
            hlc: Hlc(number(0)?),
            origin: number(1)?,
            seq: number(2)?,
        })
    })?;
    let stamps: Vec<Stamp> = stamps.collect::<Result<_, _>>()?;
    if let Some(first) = stamps.iter().min() {
        db.execute(
            "UPDATE _tutti_declaration SET hlc = ?, origin = ?, seq = ? WHERE id = ?",
            params![
                first.hlc.0 as i64,
                first.origin as i64,
                first.seq as i64,
                id as i64
            ],
        )?;
    }
    Ok(())
}

/// All declarations, the dropped ones too, in order of time.
pub(super) fn known(db: &Connection) -> Result<Vec<Known>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM _tutti_declaration");
    let mut statement = db.prepare(&sql)?;
    let found = statement.query_map([], Known::read)?;
    let mut found: Vec<Known> = found.collect::<Result<_, _>>()?;
    found.sort_by_key(|known| (known.is.stamp, known.is.id));
    Ok(found)
}

pub(super) fn refuse<T>(why: impl Into<String>) -> Result<T, StoreError> {
    Err(StoreError::Schema(why.into()))
}

/// Reads a declaration and refuses what has no place in one.
fn parsed(sql: &str) -> Result<Statement, StoreError> {
    if sql.len() > SQL_MAX {
        return refuse(format!("a declaration has at most {SQL_MAX} bytes"));
    }
    if tokens(sql).first().is_some_and(|first| first.is("alter")) {
        return refuse(
            "ALTER TABLE does not replicate: peers may have rows of the present columns on their \
             way. CREATE a table of the new shape under another name, copy the rows in a \
             transaction (INSERT INTO new (...) SELECT ... FROM old), and DROP the old one",
        );
    }
    let Some(read) = statement(sql) else {
        if is_virtual(sql) {
            return refuse("virtual tables do not replicate; declare an ordinary one");
        }
        return refuse(
            "one CREATE TABLE, CREATE INDEX, CREATE UNIQUE INDEX, CREATE TRIGGER, or a DROP of \
             one of these is declared at a time",
        );
    };
    if read.kind == Kind::Table && !read.drops && !read.lists_columns() {
        return refuse(format!(
            "table {}: made of a SELECT it has no PRIMARY KEY; name its columns",
            read.name
        ));
    }
    let name = read.name.to_ascii_lowercase();
    if name.starts_with("sqlite_") || name.starts_with("_tutti_") || names_engine(&tokens(sql)) {
        return refuse(format!(
            "the declaration of {} uses a reserved name",
            read.name
        ));
    }
    Ok(read)
}

/// The CREATE statement of what has this name now.
pub(super) fn present(
    db: &Connection,
    kind: Kind,
    name: &str,
) -> Result<Option<String>, StoreError> {
    let sql = "SELECT sql FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE \
               AND (type = 'trigger') = ?2";
    let mut statement = db.prepare(sql)?;
    Ok(statement
        .query_row(params![name, kind == Kind::Trigger], |row| row.get(0))
        .optional()?
        .flatten())
}

/// The parent of a FOREIGN KEY that points at columns of it which are no key.
fn no_key<'a, T: AsRef<Table>>(tables: &'a [T], foreign: &ForeignKey) -> Option<&'a str> {
    let mut all = tables.iter().map(AsRef::as_ref);
    let parent = all.find(|table| table.name.eq_ignore_ascii_case(&foreign.parent))?;
    let at = |name: &String| parent.column(name);
    let columns: Option<Vec<usize>> = foreign.parent_columns.iter().map(at).collect();
    let is_key = |columns: &Vec<usize>| {
        let same = |key: &Vec<usize>| {
            key.len() == columns.len() && columns.iter().all(|at| key.contains(at))
        };
        let whole = parent.uniques.iter().filter(|u| u.predicate.is_none());
        same(&parent.key) || whole.map(|unique| &unique.columns).any(same)
    };
    let fine = columns.as_ref().is_some_and(is_key);
    (!fine).then_some(&parent.name)
}

impl Writer {
    /// Reads all tables anew: those that stand and those on shelves.
    pub fn load_tables(&mut self) -> Result<(), StoreError> {
        let known = known(&self.db)?;
        let mut statement = self
            .db
            .prepare("SELECT id, name FROM _tutti_table ORDER BY name")?;
        let names = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let names: Vec<(i64, String)> = names.collect::<Result<_, _>>()?;
        drop(statement);
        let mut statements = Statements::of(&self.db)?;
        let mut tables: Vec<Table> = Vec::with_capacity(names.len());
        for (id, name) in &names {
            let declared = known.iter().find(|known| known.table == Some(*id));
            let mut table = match declared {
                Some(known) if !known.stands => {
                    let lost = (known.sql.as_str(), known.is.name.as_str());
                    self.inspected.on_shelf(lost, name)?
                }
                _ => self.inspected.standing(&self.db, &mut statements, name)?,
            };
            table.id = *id;
            table.tid = declared.map_or_else(|| own_id(Kind::Table, name), |known| known.is.id);
            table.keys = declared.map_or(Keys::Natural, |known| known.keys);
            tables.push(table);
        }
        self.inspected.keep(&names);
        schema::link(&mut tables);
        self.tables = tables.into_iter().map(Arc::new).collect();
        self.reviewed = Reviewed::default();
        lock(&self.capture).set_tables(&self.tables);
        Ok(())
    }

    /// Returns the number of its commit.
    pub fn migrate(&mut self, statements: &[&str]) -> Result<u64, StoreError> {
        self.fold_now()?;
        let result = self.applying(|writer| {
            for sql in statements {
                writer.enter(sql, Keys::Natural, OWN)?;
            }
            Ok(())
        });
        self.declared(result)
    }

    /// Returns the number of its commit.
    pub fn declare(&mut self, sql: &str, keys: Keys) -> Result<u64, StoreError> {
        self.fold_now()?;
        let result = self.applying(|writer| {
            let hlc = writer.hlc.tick((writer.clock)());
            let stamp = writer.next_stamp(hlc);
            let body = match writer.enter(sql, keys, stamp)? {
                Some(body) => body,
                None => return Ok(None),
            };
            Ok(Some(writer.log_own(hlc, body, Collected::default())?))
        });
        let result = result.map(|own| own.into_iter().for_each(|own| self.remember(own)));
        self.declared(result)
    }

    fn declared(&mut self, result: Result<(), StoreError>) -> Result<u64, StoreError> {
        match result {
            Ok(()) => {
                self.memory.parked = parked(&self.db)?;
                Ok(self.show_all())
            }
            Err(error) => {
                // Tables that were rolled back must not be remembered.
                self.set_stale();
                Err(error)
            }
        }
    }

    /// Declares here, refusing what cannot be replicated. `None`: it was there.
    fn enter(&mut self, sql: &str, keys: Keys, stamp: Stamp) -> Result<Option<Body>, StoreError> {
        let read = parsed(sql)?;
        if read.drops {
            return self.enter_drop(sql, &read).map(Some);
        }
        let keys = match read.kind {
            Kind::Table => keys,
            _ => Keys::Natural,
        };
        if let Some(there) = present(&self.db, read.kind, &read.name)? {
            let same = statement(&there).is_some_and(|there| there.same(&read));
            let table = self.named(&read.name);
            if same && table.is_none_or(|table| table.keys == keys) {
                return Ok(None);
            }
            return refuse(format!(
                "{} {} exists with another definition; choose another name",
                read.kind.word(),
                read.name
            ));
        }
        let on = match &read.on {
            None => None,
            Some(table) => match self.named(table) {
                Some(table) => Some(table.tid),
                None => return refuse(format!("there is no replicated table {table}")),
            },
        };
        let name = read.name.to_ascii_lowercase();
        let lives = known(&self.db)?;
        let lives = lives
            .iter()
            .filter(|k| k.is.dropped && k.is.name == name)
            .count();
        let id = match stamp == OWN {
            true => own_id(read.kind, &name),
            false => declaration_id(read.kind, &read.words(), keys, on, lives as u64),
        };
        let mut made = Known {
            is: Declaration {
                id,
                stamp,
                kind: read.kind,
                name,
                on,
                dropped: false,
            },
            sql: sql.to_owned(),
            keys,
            stands: true,
            table: None,
        };
        self.db.execute(sql, [])?;
        if read.kind == Kind::Table {
            let table = schema::inspect(&self.db, &read.name)?;
            super::keys::check(&self.db, &table, keys)?;
            made.table = Some(self.number(&read.name)?);
        }
        if let (Kind::Index, Some(on)) = (read.kind, &read.on) {
            schema::inspect(&self.db, on)?;
        }
        made.insert(&self.db)?;
        self.load_tables()?;
        self.check_parents(&read)?;
        let mut settle = Settle::default();
        self.recheck_after(&[&made], &mut settle)?;
        settle.run(&self.db, &self.tables)?;
        Ok(Some(Body::Schema {
            sql: sql.to_owned(),
            keys,
            id,
            on: on.into_iter().collect(),
        }))
    }

    /// SQLite takes a FOREIGN KEY to columns that are no key, and then refuses every write.
    fn check_parents(&self, made: &Statement) -> Result<(), StoreError> {
        let keys = self.named(&made.name).into_iter().flat_map(|t| &t.foreign);
        let parent = keys.filter_map(|key| no_key(&self.tables, key)).next();
        match parent {
            None => Ok(()),
            Some(parent) => refuse(format!(
                "table {}: its FOREIGN KEY points at columns of {parent} that are neither its \
                 PRIMARY KEY nor UNIQUE",
                made.name
            )),
        }
    }

    /// Whether without this index all that is pointed at is a key still.
    fn keeps_parents(&self, index: &str) -> Result<(), StoreError> {
        let without = self.tables.iter().map(|table| {
            let mut table = Table::clone(table);
            let other = |unique: &Unique| !unique.index.eq_ignore_ascii_case(index);
            table.uniques.retain(other);
            Arc::new(table)
        });
        let without: Vec<Arc<Table>> = without.collect();
        for child in &self.tables {
            let lost = |key: &&ForeignKey| {
                no_key(&self.tables, key).is_none() && no_key(&without, key).is_some()
            };
            if let Some(key) = child.foreign.iter().find(lost) {
                return refuse(format!(
                    "table {} has a FOREIGN KEY to the columns of index {index} of {}; drop that \
                     table first",
                    child.name, key.parent
                ));
            }
        }
        Ok(())
    }

    fn enter_drop(&mut self, sql: &str, read: &Statement) -> Result<Body, StoreError> {
        let name = read.name.to_ascii_lowercase();
        let known = known(&self.db)?;
        let named = known
            .iter()
            .filter(|k| k.is.name == name && k.is.kind == read.kind && !k.is.dropped);
        let mut on: Vec<DeclarationId> = Vec::new();
        for known in named {
            if known.is.stamp == OWN {
                return refuse(format!("{} belongs to the appliance", read.name));
            }
            on.push(known.is.id);
        }
        if on.is_empty() {
            let kind = read.kind.word();
            return refuse(format!("there is no declared {kind} {}", read.name));
        }
        let child = self.tables.iter().find(|table| {
            let points = |f: &ForeignKey| f.parent.eq_ignore_ascii_case(&name);
            read.kind == Kind::Table
                && !table.name.eq_ignore_ascii_case(&name)
                && table.foreign.iter().any(points)
        });
        if let Some(child) = child {
            return refuse(format!(
                "table {} has a FOREIGN KEY to {}; drop that table first",
                child.name, read.name
            ));
        }
        if read.kind == Kind::Index {
            self.keeps_parents(&name)?;
        }
        self.end(&on)?;
        Ok(Body::Schema {
            sql: sql.to_owned(),
            keys: Keys::Natural,
            id: 0,
            on,
        })
    }

    /// A peer's declaration.
    pub fn apply_schema(
        &mut self,
        stamp: Stamp,
        body: &Body,
        covers: impl Fn(Stamp) -> bool,
    ) -> Result<(), StoreError> {
        let Body::Schema { sql, keys, id, on } = body else {
            return Ok(());
        };
        let read = match parsed(sql) {
            Ok(read) => read,
            // One bad declaration never stops the stream.
            Err(error) => return inbox::park_schema(&self.db, stamp, sql, &error.to_string()),
        };
        let known = known(&self.db)?;
        if read.drops {
            let ours = |id| self.tables.iter().any(|table| table.tid == id);
            for id in on {
                if !ours(*id) && known.iter().all(|known| known.is.id != *id) {
                    self.ended(*id, &read)?;
                }
            }
            self.keep_unseen(on, stamp, covers)?;
            return self.end(on);
        }
        let there = known.iter().find(|known| known.is.id == *id);
        match there.filter(|known| !known.sql.is_empty()) {
            // What the appliance brings along is before everything.
            Some(known) if known.is.stamp == OWN => {}
            Some(_) => declared(&self.db, *id, stamp)?,
            None => {
                let new = Known {
                    is: Declaration {
                        id: *id,
                        stamp,
                        kind: read.kind,
                        name: read.name.to_ascii_lowercase(),
                        on: on.first().copied(),
                        dropped: there.is_some(),
                    },
                    sql: sql.clone(),
                    keys: *keys,
                    stands: false,
                    table: None,
                };
                new.insert(&self.db)?;
            }
        }
        self.resolve()
    }

    /// Notes the end of a declaration that is not here: its history forked and it comes again
    /// under another number. Its words and stamp come with it.
    fn ended(&self, id: DeclarationId, read: &Statement) -> Result<(), StoreError> {
        let ended = Known {
            is: Declaration {
                id,
                stamp: Stamp {
                    hlc: Hlc(i64::MAX as u64),
                    ..OWN
                },
                kind: read.kind,
                name: read.name.to_ascii_lowercase(),
                on: None,
                dropped: true,
            },
            sql: String::new(),
            keys: Keys::Natural,
            stands: false,
            table: None,
        };
        ended.insert(&self.db)
    }

    pub fn mark(&self, known: &Known, stands: bool, table: Option<i64>) -> Result<(), StoreError> {
        self.db.execute(
            "UPDATE _tutti_declaration SET stands = ?, tbl = ? WHERE id = ?",
            params![stands, table, known.is.id as i64],
        )?;
        Ok(())
    }

    /// Numbers a table. Numbers are not used again: memory and clocks go by them.
    pub fn number(&self, name: &str) -> Result<i64, StoreError> {
        let sql = "INSERT INTO _tutti_table(id, name) SELECT 1 + max(\
                   (SELECT coalesce(max(id), 0) FROM _tutti_table), \
                   (SELECT coalesce(max(tbl), 0) FROM _tutti_declaration)), ?";
        self.db.execute(sql, [name])?;
        Ok(self.db.last_insert_rowid())
    }

    /// The table that has this name now.
    pub fn named(&self, name: &str) -> Option<&Arc<Table>> {
        let same = |table: &&Arc<Table>| table.name.eq_ignore_ascii_case(name);
        self.tables.iter().find(same)
    }

    /// The version that our next transaction will carry.
    fn next_stamp(&self, hlc: Hlc) -> Stamp {
        let own = self.memory.origins.get(&self.incarnation);
        Stamp {
            hlc,
            origin: self.incarnation,
            seq: own.map_or(0, |own| own.position.seq) + 1,
        }
    }
}
