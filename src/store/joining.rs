//! Snapshots that arrive: a file that grows piece by piece and survives a cut, verified before
//! anything else and swapped in so that a crash leaves either the old or the new database.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use blake3::Hasher;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::snapshot::{named, room};
use super::writer::Writer;
use super::{Store, StoreError, lock, shown};
use crate::replica::Incarnation;
use crate::replica::clock::Hlc;
use crate::replica::frontier::Frontier;
use crate::replica::session::Swap;
use crate::replica::skew::limit;
use crate::wire::replication::SnapshotId;

/// How long a part is worth keeping: no donor has its snapshot any more.
const KEEP: Duration = Duration::from_secs(86_400);
/// How many backups of what was replaced are kept, the latest.
const BACKUPS: usize = 3;
/// Tables without which a file is no replicated database.
const NEEDED: [&str; 3] = ["_tutti_log", "_tutti_origin", "_tutti_table"];

/// The one place that an arriving snapshot has: two at once would replace each other. Free again
/// when dropped.
pub struct Place(Arc<AtomicBool>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A snapshot that is arriving. Its file stays when a link ends, to be gone on with.
pub struct Incoming {
    path: PathBuf,
    file: File,
    size: u64,
    held: u64,
    hasher: Hasher,
}

impl Incoming {
    /// Where it is gathered.
    #[cfg(test)]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a piece; pieces come in order.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let end = offset.saturating_add(bytes.len() as u64);
        if offset != self.held || end > self.size {
            return Err(StoreError::Peer(
                "a piece of a snapshot that does not fit".into(),
            ));
        }
        named(&self.path, self.file.write_all_at(bytes, offset))?;
        self.hasher.update(bytes);
        self.held = end;
        Ok(())
    }
}

/// The parts beside the database at `path`, with the snapshot each belongs to.
fn parts(path: &Path) -> Vec<(SnapshotId, PathBuf)> {
    let entries = path.parent().and_then(|d| fs::read_dir(d).ok());
    let part = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let hex = name.to_str()?.strip_prefix("incoming-")?;
        let number = u128::from_str_radix(hex.strip_suffix(".part")?, 16).ok()?;
        Some((number.to_be_bytes(), entry.path()))
    };
    let entries = entries.into_iter().flatten().flatten();
    entries.filter_map(part).collect()
}

/// Removes old parts, and what a crash in the middle of swapping in left.
pub(super) fn sweep(path: &Path) {
    for (_, part) in parts(path) {
        let modified = fs::metadata(&part).and_then(|meta| meta.modified());
        let old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > KEEP));
        if old {
            let _ = fs::remove_file(&part);
        }
    }
    // A second name of the present database is a backup of something that was not replaced.
    let Ok(here) = fs::metadata(path) else {
        return;
    };
    let entries = path.parent().and_then(|d| fs::read_dir(d).ok());
    for entry in entries.into_iter().flatten().flatten() {
        let backup = entry.file_name().to_string_lossy().starts_with("backup-");
        let same = |meta: fs::Metadata| (meta.dev(), meta.ino()) == (here.dev(), here.ino());
        if here.nlink() > 1 && backup && entry.metadata().is_ok_and(same) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes all backups but the latest.
fn prune(path: &Path) {
    let entries = path.parent().and_then(|d| fs::read_dir(d).ok());
    let taken = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let ms = name
            .to_str()?
            .strip_prefix("backup-")?
            .strip_suffix(".db")?;
        Some((ms.parse::<u64>().ok()?, entry.path()))
    };
    let entries = entries.into_iter().flatten().flatten();
    let mut backups: Vec<(u64, PathBuf)> = entries.filter_map(taken).collect();
    backups.sort_unstable();
    for (_, old) in backups.iter().rev().skip(BACKUPS) {
        if let Err(error) = fs::remove_file(old) {
            tracing::warn!(%error, "an old backup could not be removed: {}", old.display());
        }
    }
}

/// Adds to a file's name.
fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

/// Whether everything of a closed database is in its one file.
fn is_whole(path: &Path) -> Result<(), StoreError> {
    let wal = with(path, "-wal");
    match fs::metadata(&wal) {
        Ok(meta) if meta.len() > 0 => Err(StoreError::Refused(format!(
            "{} could not be folded into its database; somebody else has it open",
            wal.display()
        ))),
        _ => Ok(()),
    }
}

pub(super) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    named(directory, synced)
}

/// Opens a file that nobody writes to, and that nothing is written to.
fn immutable(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let encoded: String = path
        .to_string_lossy()
        .chars()
        .flat_map(|c| match c {
            '%' => vec!['%', '2', '5'],
            '?' => vec!['%', '3', 'f'],
            '#' => vec!['%', '2', '3'],
            other => vec![other],
        })
        .collect();
    let db = Connection::open_with_flags(format!("file:{encoded}?immutable=1"), flags)?;
    db.execute_batch("PRAGMA trusted_schema = OFF")?;
    Ok(db)
}

/// The table that a replicated database must have and this one has not.
fn lacks(db: &Connection) -> rusqlite::Result<Option<&'static str>> {
    for table in NEEDED {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?";
        let count: i64 = db.query_row(sql, [table], |row| row.get(0))?;
        if count == 0 {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

/// The latest stamp of what a database holds beyond `held`.
fn latest(db: &Connection, held: &Frontier) -> rusqlite::Result<Hlc> {
    // What is not folded yet is in no origin's record.
    let mut statement = db.prepare(
        "SELECT origin, seq, hlc FROM _tutti_origin UNION ALL \
         SELECT origin, seq, hlc FROM _tutti_log WHERE position > \
         coalesce((SELECT value FROM _tutti_state WHERE name = 'folded'), 0)",
    )?;
    let mut rows = statement.query([])?;
    let mut latest = Hlc::default();
    while let Some(row) = rows.next()? {
        let number = |at: usize| row.get::<_, i64>(at).map(|value| value as u64);
        if !held.covers(number(0)?, number(1)?) {
            latest = latest.max(Hlc(number(2)?));
        }
    }
    Ok(latest)
}

impl Store {
    /// The place for an arriving snapshot, unless another link has it.
    pub fn claim_arrival(&self) -> Option<Place> {
        let place = Arc::clone(&self.inner.transfers.arriving);
        (!place.swap(true, Ordering::AcqRel)).then(|| Place(place))
    }

    /// The newest part of a snapshot that an earlier link left, and how many bytes it holds.
    pub fn resumable(&self) -> Option<(SnapshotId, u64)> {
        let held = |(id, part): (SnapshotId, PathBuf)| {
            let meta = fs::metadata(part).ok()?;
            Some((meta.modified().ok()?, id, meta.len()))
        };
        let newest = parts(&self.inner.path).into_iter().filter_map(held).max();
        newest.map(|(_, id, len)| (id, len))
    }

    /// Makes ready for a snapshot of `size` bytes of which `offset` are held; parts of others
    /// go. `free` is the room on the disk in bytes.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`] where it would fill the disk.
    pub fn accept_snapshot(
        &self,
        id: SnapshotId,
        size: u64,
        offset: u64,
        free: u64,
    ) -> Result<Incoming, StoreError> {
        for (other, part) in parts(&self.inner.path) {
            if other != id {
                named(&part, fs::remove_file(&part))?;
            }
        }
        room("the cluster's snapshot", size.saturating_sub(offset), free)?;
        let name = format!("incoming-{:032x}.part", u128::from_be_bytes(id));
        let path = self.inner.path.with_file_name(name);
        // Left by who was ended while it carried rows over: nothing ties a log to its database, so
        // it would be replayed over what arrives now.
        for suffix in ["-wal", "-shm", "-journal"] {
            let beside = with(&path, suffix);
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != ErrorKind::NotFound => named(&beside, Err(error))?,
                _ => {}
            }
        }
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = named(&path, options.open(&path))?;
        named(&path, file.set_len(offset))?;
        // What an earlier link received has to be read once more.
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 1 << 18];
        loop {
            match named(&path, file.read(&mut buffer))? {
                0 => break,
                read => {
                    hasher.update(&buffer[..read]);
                }
            }
        }
        Ok(Incoming {
            path,
            file,
            size,
            held: offset,
            hasher,
        })
    }

    /// Verifies an arrived snapshot and swaps it in under a fresh incarnation. What was here is
    /// kept as `backup-<milliseconds>.db` in the same directory; its path is returned. A member
    /// that catches up keeps none, unless the two held two histories: all of it is in what took its
    /// place. What is refused goes, and the old database stays.
    pub fn swap_in(
        &self,
        incoming: Incoming,
        digest: [u8; 32],
        incarnation: Incarnation,
        swap: Swap,
    ) -> Result<PathBuf, StoreError> {
        let path = incoming.path.clone();
        let result = self.verify(incoming, digest, incarnation, swap);
        let result = result.and_then(|swap| {
            let replaced = self.replace(&path, incarnation, swap);
            // Here, as who makes a copy waits for the writer. What failed may be done all the same.
            self.outdate_staged();
            replaced
        });
        // What only the clock is against is kept: it is verified again when it comes to that.
        if result
            .as_ref()
            .is_err_and(|error| !matches!(error, StoreError::Ahead { .. }))
        {
            for suffix in ["", "-wal", "-shm"] {
                let _ = fs::remove_file(with(&path, suffix));
            }
        }
        result
    }

    /// Goes on under a fresh incarnation, as a start does: this system left its cluster, whose
    /// members keep what they hold of the former one. Rows and log stay as they are. What was
    /// committed is durable when it returns.
    pub fn renew(&self, fresh: Incarnation) -> Result<(), StoreError> {
        self.renew_from(self.incarnation(), fresh).map(drop)
    }

    /// The same, unless this system goes on under another than `former` already; whether it did
    /// not.
    pub fn renew_from(&self, former: Incarnation, fresh: Incarnation) -> Result<bool, StoreError> {
        let commit = {
            let mut writer = self.writer()?;
            writer.ready()?;
            if writer.incarnation != former {
                return Ok(false);
            }
            writer.begin(fresh)?
        };
        self.inner.sync.wait(commit, &self.inner.shown)?;
        self.bump();
        Ok(true)
    }

    /// Refuses what is no sound database with our tables, and what is stamped too far ahead
    /// (contract 10): taken, it would move this system's clock. Nothing is written.
    fn inspect(&self, path: &Path) -> Result<(), StoreError> {
        let refused = |why: String| StoreError::Peer(format!("a snapshot that is refused: {why}"));
        // Where our own disk does not give it back, the peer is not to blame.
        let unreadable = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => StoreError::Sqlite(error),
            _ => refused(error.to_string()),
        };
        let db = immutable(path).map_err(unreadable)?;
        if let Some(table) = lacks(&db).map_err(unreadable)? {
            return Err(refused(format!("it has no table {table}")));
        }
        let now = {
            let writer = self.writer()?;
            (writer.clock)()
        };
        let bound = self.inner.clock_bound.load(Ordering::Relaxed);
        let latest = latest(&db, &self.frontier()).map_err(unreadable)?;
        if latest > limit(now, bound) {
            let ms = latest.millis().saturating_sub(now);
            return Err(StoreError::Ahead { ms });
        }
        let check = db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        match check.map_err(unreadable)? {
            found if found == "ok" => Ok(()),
            found => Err(refused(found)),
        }
    }

    /// Everything that can go wrong with a snapshot goes wrong here, beside the old database.
    /// Returns what is to become of that.
    pub(super) fn verify(
        &self,
        incoming: Incoming,
        digest: [u8; 32],
        incarnation: Incarnation,
        swap: Swap,
    ) -> Result<Swap, StoreError> {
        let whole = incoming.held == incoming.size;
        if !whole || incoming.hasher.finalize() != digest {
            return Err(StoreError::Peer("a snapshot that arrived damaged".into()));
        }
        let path = incoming.path;
        // The disk writes while SQLite reads.
        std::thread::scope(|scope| {
            let synced = scope.spawn(|| incoming.file.sync_all());
            let checked = self.inspect(&path);
            let synced = synced
                .join()
                .unwrap_or_else(|_| Err(ErrorKind::Other.into()));
            checked?;
            named(&path, synced)
        })?;
        drop(incoming.file);
        let inner = &self.inner;
        let clock = self.writer()?.clock.clone();
        let shown = shown::Shared::default();
        let mut trial = Writer::open(&path, inner.node, incarnation, clock, shown)?;
        let migrations = lock(&inner.migrations).clone();
        let migrations: Vec<&str> = migrations.iter().map(String::as_str).collect();
        trial.migrate(&migrations)?;
        // Whom the donor gave up this system has not.
        trial.db.execute("DELETE FROM _tutti_marked", [])?;
        let swap = match swap {
            Swap::CatchUp => self.carry_over(&mut trial, incarnation)?,
            other => other,
        };
        trial.fold_wal()?;
        drop(trial);
        is_whole(&path)?;
        named(&path, File::open(&path).and_then(|file| file.sync_all()))?;
        Ok(swap)
    }

    /// Puts a verified file in the database's place.
    pub(super) fn replace(
        &self,
        incoming: &Path,
        incarnation: Incarnation,
        swap: Swap,
    ) -> Result<PathBuf, StoreError> {
        let inner = &self.inner;
        let _swap = inner.swap.write().unwrap_or_else(PoisonError::into_inner);
        let mut writer = self.writer()?;
        let mut incarnation = incarnation;
        if swap != Swap::Adopt {
            match swap {
                Swap::Rebase => self.carry_rows(&mut writer, incoming, incarnation)?,
                _ => incarnation = self.carry_rest(&mut writer, incoming, incarnation)?,
            }
            is_whole(incoming)?;
            named(incoming, File::open(incoming).and_then(|f| f.sync_all()))?;
        }
        lock(&inner.readers).clear();
        let backup = format!("backup-{}.db", (writer.clock)());
        let backup = inner.path.with_file_name(backup);
        // Whoever waits for a sync of what is here has it before that goes.
        let latest = lock(&inner.shown).latest().commits;
        inner.sync.wait(latest, &inner.shown)?;
        // SQLite must have let go of the old file, and folded its WAL into it, before its name is
        // used for another.
        writer.close(incarnation)?;
        inner.closed.store(true, Ordering::Relaxed);
        self.forget_file();
        inner.sync.reset();
        let swapped = exchange(incoming, &inner.path, &backup);
        inner.sync.reset();
        // Whether or not it worked, what is there now is opened again. Where the disk refuses that,
        // too, whoever uses it next does it.
        let opened = self.open_if_closed(&mut writer);
        // Before anybody applies what was judged beside the old one, even where only the last sync
        // of the swap failed.
        self.history_changed(&Frontier::default());
        if swapped.is_ok() {
            lock(&inner.kept).retention.unmark_all();
        }
        drop(writer);
        // Another inbox is in its place.
        *lock(&inner.inbox) = Default::default();
        swapped?;
        opened?;
        if swap == Swap::CatchUp {
            named(&backup, fs::remove_file(&backup))?;
        }
        prune(&inner.path);
        Ok(backup)
    }
}

impl Store {
    /// Makes sure that what this store shows is what is in its file: not where a snapshot took the
    /// database's place and the disk refused to open it.
    pub fn ready(&self) -> Result<(), StoreError> {
        if self.inner.closed.load(Ordering::Relaxed) {
            drop(self.writer()?);
        }
        Ok(())
    }

    /// Opens what lies in the database's place since it was closed.
    pub(super) fn open_if_closed(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if !self.inner.closed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (inner, clock) = (&self.inner, writer.clock.clone());
        let shown = Arc::clone(&inner.shown);
        let mut new = Writer::open(&inner.path, inner.node, writer.incarnation, clock, shown)?;
        new.damage = inner.damage.clone();
        self.bound_size(&new)?;
        *writer = new;
        self.flush()?;
        inner.closed.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// Keeps a closed database under another name and gives its own to `incoming`: the one rename
/// is the moment from which the new one counts.
fn exchange(incoming: &Path, path: &Path, backup: &Path) -> Result<(), StoreError> {
    is_whole(path)?;
    for suffix in ["-wal", "-shm"] {
        let left = with(path, suffix);
        match fs::remove_file(&left) {
            Err(error) if error.kind() != ErrorKind::NotFound => return named(&left, Err(error)),
            _ => {}
        }
    }
    named(backup, fs::hard_link(path, backup))?;
    sync_directory(path)?;
    if let Err(error) = fs::rename(incoming, path) {
        let _ = fs::remove_file(backup);
        return named(incoming, Err(error));
    }
    sync_directory(path)
}

#[cfg(test)]
mod tests;
