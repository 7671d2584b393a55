//! A clock that was set right (contract 10): which of its transactions a system stamps anew.

use rusqlite::params;

use super::unread::Unread;
use crate::replica::Incarnation;
use crate::replica::clock::Hlc;
use crate::replica::skew::limit;
use crate::store::log::sqlite;
use crate::store::writer::Writer;
use crate::store::{Store, StoreError, lock, retention};

impl Store {
    /// After this system's clock was set right: what its transactions that nobody can have taken,
    /// because they are stamped beyond the bound, wrote is stamped anew. `fresh` makes random
    /// incarnations. Returns how many transactions it were.
    pub fn restamp(&self, fresh: impl FnOnce() -> Incarnation) -> Result<usize, StoreError> {
        let node = self.node();
        let bound = &self.inner.clock_bound;
        let bound = bound.load(std::sync::atomic::Ordering::Relaxed);
        let mut writer = self.writer()?;
        writer.ready()?;
        let now = (writer.clock)();
        // What peers stamped stays, and ours is stamped after it. While this clock was far ahead,
        // stamps of peers that are a little ahead were taken, too.
        let origins = &writer.memory.origins;
        let others = origins.values().filter(|known| known.node != Some(node));
        let others = others.chain(writer.memory.closed.values());
        let mut stays = others.map(|known| known.hlc).max().unwrap_or_default();
        let limit = limit(now, bound).max(stays);
        let (mut ends, mut goes) = (Vec::new(), Hlc(u64::MAX));
        let mut unread = Unread {
            limit,
            ..Unread::default()
        };
        for (id, known) in origins {
            if known.hlc <= limit || known.node != Some(node) {
                continue;
            }
            // A peer whose clock was as wrong may have taken some: those stay.
            let (taken, all_spoke) = {
                let retention = &lock(&self.inner.kept).retention;
                (retention.taken(*id, known.position), retention.all_spoke())
            };
            // So does what left the log, unless every peer has said that it is not there.
            let gone = retention::base(&writer.db, *id)?.filter(|base| base.1 > limit);
            let gone = gone.map_or(Hlc::default(), |(last, hlc, _)| {
                if last.seq <= taken || !all_spoke {
                    return hlc;
                }
                unread.after.insert(*id, taken);
                unread.count += last.seq - taken;
                Hlc::default()
            });
            stays = stays.max(gone);
            let beyond = writer.first_beyond(*id, limit)?;
            let first = beyond.max(taken + 1);
            if beyond == 0 || first > known.position.seq {
                if !unread.after.contains_key(id) {
                    stays = stays.max(known.hlc);
                }
                continue;
            }
            ends.push((*id, first - 1));
            goes = goes.min(writer.stamped(*id, first)?);
            if beyond < first {
                stays = stays.max(writer.stamped(*id, taken)?);
            }
        }
        let helps = match unread.after.is_empty() {
            true => !ends.is_empty() && goes > stays.tick(now),
            false => stays <= limit,
        };
        if !helps {
            // Nothing to do, or nothing would be stamped earlier than it is.
            return Ok(0);
        }
        let gone = unread.count as usize;
        let (count, commit) = writer.renew_ends(&ends, None, unread, fresh())?;
        let count = count + gone;
        drop(writer);
        self.outdate_staged();
        self.inner.sync.wait(commit, &self.inner.shown)?;
        self.bump();
        Ok(count)
    }
}

impl Writer {
    fn first_beyond(&self, origin: Incarnation, limit: Hlc) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(min(seq), 0) FROM _tutti_log WHERE origin = ? AND hlc > ?";
        let first = self
            .db
            .query_row(sql, params![sqlite(origin), sqlite(limit.0)], |row| {
                row.get::<_, i64>(0)
            })?;
        Ok(first as u64)
    }

    /// The stamp of a logged transaction; the lowest where it is not there.
    fn stamped(&self, origin: Incarnation, seq: u64) -> Result<Hlc, StoreError> {
        let sql = "SELECT coalesce(max(hlc), 0) FROM _tutti_log WHERE origin = ? AND seq = ?";
        let at = params![sqlite(origin), sqlite(seq)];
        let stamp = self.db.query_row(sql, at, |row| row.get::<_, i64>(0))?;
        Ok(Hlc(stamp as u64))
    }
}
