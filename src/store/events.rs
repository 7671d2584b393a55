//! `events.db`: this machine's event log and its alarms. They belong to the machine and never
//! travel, so they lie beside the replicated rows and not among them.
//!
//! Bounded: each kind of event has its own share, so that no flood of one pushes another out, and
//! the same line again within a minute is counted, not repeated; of a peer's states only where
//! nothing was between.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::StoreError;

/// Lines kept of each kind.
const KEPT: i64 = 5_000;
/// Lowered alarms kept.
const LOWERED_KEPT: i64 = 200;
/// The same line within this long is counted.
const SAME_MS: u64 = 60_000;
/// Longest text of a field, in characters.
const TEXT_MAX: usize = 1_000;
/// Lines that one query returns at most.
pub const LISTED_MAX: usize = 1_000;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Somebody changed something.
    Change,
    /// Somebody wrote or deleted a row by page or REST.
    Row,
    /// Somebody logged in or out, or tried to.
    Login,
    /// A request that was refused.
    Input,
    /// A peer's state changed.
    Cluster,
    /// The system itself: started, alarms.
    System,
}

impl Kind {
    /// All, in the order of the page.
    pub const ALL: [Kind; 6] = [
        Kind::Change,
        Kind::Row,
        Kind::Login,
        Kind::Input,
        Kind::Cluster,
        Kind::System,
    ];

    /// Its name in files, REST and pages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Change => "change",
            Kind::Row => "row",
            Kind::Login => "login",
            Kind::Input => "input",
            Kind::Cluster => "cluster",
            Kind::System => "system",
        }
    }
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Information,
    /// Worth a look.
    Warning,
    /// Something failed.
    Error,
}

impl Level {
    /// All, rising.
    pub const ALL: [Level; 3] = [Level::Information, Level::Warning, Level::Error];

    /// Its name in REST and pages.
    pub fn name(self) -> &'static str {
        match self {
            Level::Information => "information",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// One line to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it is about.
    pub kind: Kind,
    /// How much it matters.
    pub level: Level,
    /// The administrator, local user or peer; empty for the system itself.
    pub who: String,
    /// The address it came from; empty for the system itself.
    pub source: String,
    /// What happened. Never a secret.
    pub text: String,
    /// What was before, for a change.
    pub before: String,
    /// What is now, for a change.
    pub after: String,
}

impl Event {
    /// A line of the system itself.
    pub fn new(kind: Kind, level: Level, text: impl Into<String>) -> Self {
        Self {
            kind,
            level,
            who: String::new(),
            source: String::new(),
            text: text.into(),
            before: String::new(),
            after: String::new(),
        }
    }

    /// As it is kept: texts come from strangers too, so they are bounded, and without what would
    /// break a line.
    pub fn shortened(&self) -> Self {
        Self {
            kind: self.kind,
            level: self.level,
            who: shortened(&self.who),
            source: shortened(&self.source),
            text: shortened(&self.text),
            before: shortened(&self.before),
            after: shortened(&self.after),
        }
    }
}

/// One line as listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Event)]
pub struct EventRow {
    /// Rises with every line.
    pub id: i64,
    /// When it was first written, milliseconds since 1970.
    pub at_ms: u64,
    /// What it is about.
    pub kind: String,
    /// How much it matters.
    pub level: String,
    /// Who.
    pub who: String,
    /// From where.
    pub source: String,
    /// What happened.
    pub text: String,
    /// What was before.
    pub before: String,
    /// What is now.
    pub after: String,
    /// How often within its minute.
    pub times: i64,
}

/// Which lines are wanted; everything left out matches.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Only this kind.
    pub kind: Option<Kind>,
    /// This level and those above.
    pub level: Option<Level>,
    /// Lines with this text in any field.
    pub text: Option<String>,
    /// At or after, milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Before, milliseconds since 1970.
    pub until_ms: Option<u64>,
    /// How many to leave out first.
    pub offset: usize,
    /// How many at most.
    pub limit: usize,
}

/// An alarm to raise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Names the condition: one alarm stands for one condition.
    pub id: String,
    /// How much it matters.
    pub level: Level,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub action: String,
}

/// An alarm as listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Alarm)]
pub struct AlarmRow {
    /// Names the condition.
    pub id: String,
    /// `warning` or `error`.
    pub level: String,
    /// What is or was wrong.
    pub text: String,
    /// What to do.
    pub action: String,
    /// When it was raised, milliseconds since 1970.
    pub raised_ms: u64,
    /// Who has seen it.
    pub acknowledged_by: Option<String>,
    /// When it was lowered; none while it stands.
    pub lowered_ms: Option<u64>,
}

/// The log and the alarms. Clones share one connection.
#[derive(Clone)]
pub struct Events {
    connection: Arc<Mutex<Connection>>,
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS event (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, kind TEXT NOT NULL,
        level INTEGER NOT NULL, who TEXT NOT NULL, source TEXT NOT NULL, text TEXT NOT NULL,
        before TEXT NOT NULL, after TEXT NOT NULL, times INTEGER NOT NULL) STRICT;
    CREATE INDEX IF NOT EXISTS event_kind ON event (kind, id);
    CREATE TABLE IF NOT EXISTS alarm (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, level INTEGER NOT NULL,
        text TEXT NOT NULL, action TEXT NOT NULL, raised_ms INTEGER NOT NULL,
        acknowledged_by TEXT, lowered_ms INTEGER) STRICT;
    CREATE UNIQUE INDEX IF NOT EXISTS alarm_stands ON alarm (id) WHERE lowered_ms IS NULL;";

impl Events {
    /// Opens or creates the file, mode 0600. A damaged one is set aside: what happened once must
    /// not keep the system from starting.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = match connect(path) {
            Ok(connection) => connection,
            Err(StoreError::Corrupt(_) | StoreError::Sqlite(_)) => {
                let aside = path.with_extension("damaged");
                std::fs::rename(path, aside).map_err(|source| StoreError::Io {
                    path: path.to_owned(),
                    source,
                })?;
                connect(path)?
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line; true where it is a new one, false where it was counted.
    pub fn write(&self, now_ms: u64, event: &Event) -> Result<bool, StoreError> {
        let connection = self.lock();
        let Event {
            who,
            source,
            text,
            before,
            after,
            ..
        } = &event.shortened();
        let (kind, level) = (event.kind.name(), event.level as i64);
        let since = number(now_ms.saturating_sub(SAME_MS));
        // Of a peer's states the order counts: its last line is how it stands.
        let reach = if event.kind == Kind::Cluster { 1 } else { 50 };
        let same: Option<i64> = connection
            .query_row(
                "SELECT id FROM event WHERE kind = ?1 AND id > (SELECT ifnull(max(id), 0) FROM
                 event WHERE kind = ?1) - ?9 AND at_ms >= ?2 AND level = ?3 AND who = ?4
                 AND source = ?5 AND text = ?6 AND before = ?7 AND after = ?8",
                params![kind, since, level, who, source, text, before, after, reach],
                |row| row.get(0),
            )
            .optional()?;
        if let Some(id) = same {
            connection.execute(
                "UPDATE event SET times = times + 1 WHERE id = ?1",
                params![id],
            )?;
            return Ok(false);
        }
        connection.execute(
            "INSERT INTO event (at_ms, kind, level, who, source, text, before, after, times)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1)",
            params![
                number(now_ms),
                kind,
                level,
                who,
                source,
                text,
                before,
                after
            ],
        )?;
        connection.execute(
            "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE kind = ?1
             ORDER BY id DESC LIMIT -1 OFFSET ?2)",
            params![kind, KEPT],
        )?;
        Ok(true)
    }

    /// Lines, the newest first.
    pub fn list(&self, query: &EventQuery) -> Result<Vec<EventRow>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT id, at_ms, kind, level, who, source, text, before, after, times FROM event
             WHERE (?1 IS NULL OR kind = ?1) AND level >= ?2 AND at_ms >= ?3 AND at_ms < ?4
             AND (?5 IS NULL OR instr(lower(who || ' ' || source || ' ' || text || ' ' || before
                  || ' ' || after), lower(?5)))
             ORDER BY id DESC LIMIT ?6 OFFSET ?7",
        )?;
        let rows = statement.query_map(
            params![
                query.kind.map(Kind::name),
                query.level.map_or(0, |level| level as i64),
                query.since_ms.map_or(0, number),
                query.until_ms.map_or(i64::MAX, number),
                query.text,
                number(query.limit.min(LISTED_MAX) as u64),
                number(query.offset as u64),
            ],
            event_row,
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Raises an alarm, or renews the words of the one that stands; true where it is new.
    pub fn raise(&self, now_ms: u64, alarm: &Alarm) -> Result<bool, StoreError> {
        let connection = self.lock();
        let [text, action] = [&alarm.text, &alarm.action].map(|text| shortened(text));
        let level = alarm.level as i64;
        let standing = connection.execute(
            "UPDATE alarm SET level = ?2, text = ?3, action = ?4
             WHERE id = ?1 AND lowered_ms IS NULL",
            params![alarm.id, level, text, action],
        )?;
        if standing == 0 {
            connection.execute(
                "INSERT INTO alarm (id, level, text, action, raised_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![alarm.id, level, text, action, number(now_ms)],
            )?;
        }
        Ok(standing == 0)
    }

    /// Lowers an alarm; its words where it stood.
    pub fn lower(&self, now_ms: u64, id: &str) -> Result<Option<String>, StoreError> {
        let connection = self.lock();
        let text = connection
            .query_row(
                "UPDATE alarm SET lowered_ms = ?2 WHERE id = ?1 AND lowered_ms IS NULL
                 RETURNING text",
                params![id, number(now_ms)],
                |row| row.get(0),
            )
            .optional()?;
        connection.execute(
            "DELETE FROM alarm WHERE number IN (SELECT number FROM alarm
             WHERE lowered_ms IS NOT NULL ORDER BY lowered_ms DESC LIMIT -1 OFFSET ?1)",
            params![LOWERED_KEPT],
        )?;
        Ok(text)
    }

    /// Notes who has seen a standing alarm; its words, none where no such alarm stands.
    pub fn acknowledge(&self, id: &str, who: &str) -> Result<Option<String>, StoreError> {
        let text = self.lock().query_row(
            "UPDATE alarm SET acknowledged_by = ?2 WHERE id = ?1 AND lowered_ms IS NULL
             RETURNING text",
            params![id, shortened(who)],
            |row| row.get(0),
        );
        Ok(text.optional()?)
    }

    /// Standing alarms, the gravest first; then those lowered, the last one first.
    pub fn alarms(&self) -> Result<Vec<AlarmRow>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT id, level, text, action, raised_ms, acknowledged_by, lowered_ms FROM alarm
             ORDER BY lowered_ms IS NOT NULL, lowered_ms DESC, level DESC, raised_ms DESC",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(AlarmRow {
                id: row.get(0)?,
                level: level_name(row.get(1)?),
                text: row.get(2)?,
                action: row.get(3)?,
                raised_ms: moment(row.get(4)?),
                acknowledged_by: row.get(5)?,
                lowered_ms: row.get::<_, Option<i64>>(6)?.map(moment),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// How many alarms stand that nobody has acknowledged, and how many stand at all.
    pub fn standing(&self) -> Result<(u64, u64), StoreError> {
        let counts = self.lock().query_row(
            "SELECT count(*) FILTER (WHERE acknowledged_by IS NULL), count(*) FROM alarm
             WHERE lowered_ms IS NULL",
            [],
            |row| Ok((moment(row.get(0)?), moment(row.get(1)?))),
        )?;
        Ok(counts)
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    super::local::make_private(path)?;
    let connection = Connection::open(path)?;
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

fn event_row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        id: row.get(0)?,
        at_ms: moment(row.get(1)?),
        kind: row.get(2)?,
        level: level_name(row.get(3)?),
        who: row.get(4)?,
        source: row.get(5)?,
        text: row.get(6)?,
        before: row.get(7)?,
        after: row.get(8)?,
        times: row.get(9)?,
    })
}

fn level_name(number: i64) -> String {
    let found = Level::ALL.into_iter().find(|one| *one as i64 == number);
    found.unwrap_or(Level::Error).name().to_owned()
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn moment(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Texts come from strangers too: bounded, and without what would break a line.
fn shortened(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(TEXT_MAX).collect()
}

#[cfg(test)]
mod tests;
