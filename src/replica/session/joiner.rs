//! A snapshot that arrives: piece after piece into a file, then verified and swapped in.

use super::{Action, Event, Now, STAGING_MS, STALL_MS, SessionError, Swap, WINDOW};
use crate::replica::ClusterId;
use crate::wire::replication::{Frame, SnapshotId};

/// Only the last chunk may be smaller: each takes a place in a queue, too.
const CHUNK_MIN: usize = if cfg!(test) { 1 } else { 4 << 10 };

#[derive(Debug)]
pub(super) struct Joiner {
    cluster: ClusterId,
    swap: Swap,
    /// What an earlier link left.
    resume: Option<(SnapshotId, u64)>,
    /// Its size, once it has begun.
    size: Option<u64>,
    /// What has arrived, what of it is written, and what of that was acknowledged.
    at: u64,
    written: u64,
    told: u64,
    ended: bool,
    /// When something last arrived.
    progress_us: u64,
}

impl Joiner {
    pub fn new(
        now: Now,
        cluster: ClusterId,
        swap: Swap,
        resume: Option<(SnapshotId, u64)>,
    ) -> Self {
        Joiner {
            cluster,
            swap,
            resume,
            size: None,
            at: 0,
            written: 0,
            told: 0,
            ended: false,
            progress_us: now.us,
        }
    }

    /// Whether the donor has answered.
    pub fn has_begun(&self) -> bool {
        self.size.is_some()
    }

    pub fn begin(
        &mut self,
        now: Now,
        id: SnapshotId,
        size: u64,
        offset: u64,
    ) -> Result<Action, SessionError> {
        let held = self.resume.filter(|held| held.0 == id);
        let resumes = held.is_some_and(|held| held.1 == offset);
        if self.size.is_some() || size == 0 || !(offset == 0 || resumes) {
            return Err(SessionError::Unexpected("a snapshot's beginning"));
        }
        self.size = Some(size);
        (self.at, self.written, self.told) = (offset, offset, offset);
        self.progress_us = now.us;
        Ok(Action::Accept { id, size, offset })
    }

    pub fn chunk(&mut self, now: Now, offset: u64, bytes: Vec<u8>) -> Result<Action, SessionError> {
        let end = offset.saturating_add(bytes.len() as u64);
        if bytes.len() < CHUNK_MIN && self.size != Some(end) {
            return Err(SessionError::Unexpected("a snapshot in crumbs"));
        }
        if self.ended || self.size.is_none_or(|size| end > size) || offset != self.at {
            return Err(SessionError::Unexpected(
                "a piece of a snapshot that does not fit",
            ));
        }
        if self.at - self.written >= WINDOW as u64 {
            return Err(SessionError::Overrun);
        }
        self.at = end;
        self.progress_us = now.us;
        Ok(Action::WriteChunk { offset, bytes })
    }

    pub fn written(&mut self, now: Now, end: u64) -> Event {
        self.progress_us = now.us;
        self.written = self.written.max(end.min(self.at));
        let size = self.size.unwrap_or(0).max(1);
        // In 128 bits: a size is any 64-bit number.
        let percent = u128::from(self.written) * 100 / u128::from(size);
        Event::Joining {
            percent: percent as u8,
        }
    }

    pub fn end(&mut self, digest: [u8; 32]) -> Result<Action, SessionError> {
        if self.ended || self.size != Some(self.at) {
            return Err(SessionError::Unexpected("the end of a snapshot"));
        }
        self.ended = true;
        let (cluster, swap) = (self.cluster, self.swap);
        Ok(Action::SwapIn {
            digest,
            cluster,
            swap,
        })
    }

    pub fn ack(&mut self) -> Option<Frame> {
        if self.written == self.told {
            return None;
        }
        self.told = self.written;
        Some(Frame::SnapshotAck { offset: self.told })
    }

    /// Until when something has to arrive; a donor that stages takes its time.
    fn deadline(&self) -> u64 {
        let patience = if self.size.is_some() {
            STALL_MS
        } else {
            STAGING_MS
        };
        self.progress_us + patience * 1_000
    }

    fn waits(&self) -> bool {
        !self.ended && self.at == self.written
    }

    pub fn poll_timeout(&self) -> Option<u64> {
        self.waits().then(|| self.deadline())
    }

    pub fn handle_timeout(&self, now: Now) -> Result<(), SessionError> {
        if self.waits() && now.us >= self.deadline() {
            return Err(SessionError::Stalled);
        }
        Ok(())
    }
}
