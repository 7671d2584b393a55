//! A snapshot that leaves: a staged file, read and sent as the window allows, its digest last.

use std::collections::VecDeque;

use super::{Action, Now, STALL_MS, SessionError, WINDOW};
use crate::wire::replication::{Frame, SnapshotId};

#[derive(Debug)]
pub(super) struct Donor {
    /// What the joiner holds a part of.
    resume: Option<(SnapshotId, u64)>,
    staged: bool,
    reading: bool,
    /// The next byte to read; everything before it is sent or ready.
    at: u64,
    acked: u64,
    progress_us: u64,
    ready: VecDeque<Frame>,
    ended: bool,
}

impl Donor {
    pub fn new(now: Now, resume: Option<(SnapshotId, u64)>) -> Self {
        Donor {
            resume,
            staged: false,
            reading: false,
            at: 0,
            acked: 0,
            progress_us: now.us,
            ready: VecDeque::new(),
            ended: false,
        }
    }

    pub fn staged(&mut self, now: Now, id: SnapshotId, size: u64) {
        let resume = self.resume.filter(|held| held.0 == id && held.1 <= size);
        let offset = resume.map_or(0, |held| held.1);
        self.staged = true;
        (self.at, self.acked) = (offset, offset);
        self.progress_us = now.us;
        let begin = Frame::SnapshotBegin { id, size, offset };
        self.ready.push_back(begin);
    }

    /// What to read next, while the window has room.
    pub fn work(&mut self) -> Option<Action> {
        let room = self.at - self.acked < WINDOW as u64;
        if !self.staged || self.reading || self.ended || !room {
            return None;
        }
        self.reading = true;
        Some(Action::ReadChunk { offset: self.at })
    }

    pub fn chunk(&mut self, offset: u64, bytes: Vec<u8>, digest: Option<[u8; 32]>) {
        self.reading = false;
        self.at = offset + bytes.len() as u64;
        if !bytes.is_empty() {
            let chunk = Frame::SnapshotChunk { offset, bytes };
            self.ready.push_back(chunk);
        }
        if let Some(digest) = digest {
            self.ended = true;
            self.ready.push_back(Frame::SnapshotEnd { digest });
        }
    }

    pub fn frame(&mut self) -> Option<Frame> {
        self.ready.pop_front()
    }

    pub fn acknowledged(&mut self, now: Now, offset: u64) -> Result<(), SessionError> {
        if offset > self.at {
            return Err(SessionError::Unsent);
        }
        if offset > self.acked {
            self.acked = offset;
            self.progress_us = now.us;
        }
        Ok(())
    }

    fn waits(&self) -> bool {
        self.at > self.acked
    }

    pub fn poll_timeout(&self) -> Option<u64> {
        self.waits().then_some(self.progress_us + STALL_MS * 1_000)
    }

    pub fn handle_timeout(&self, now: Now) -> Result<(), SessionError> {
        if self.waits() && now.us >= self.progress_us + STALL_MS * 1_000 {
            return Err(SessionError::Stalled);
        }
        Ok(())
    }
}
