//! Pings: is the peer there, how far away is it, and what does its clock say?
//!
//! The offset is NTP's (RFC 5905, section 8): half of the time that a ping was under way is taken
//! for the way back, and of the last few the quickest counts, because it waited least on its way.

use std::collections::VecDeque;

use super::{Now, PING_MS, SILENCE_MS, SessionError, UNANSWERED_MS};
use crate::wire::replication::Frame;

/// How many answers the best one is chosen from.
const SAMPLES: usize = 8;

#[derive(Debug)]
pub(super) struct Heartbeat {
    last_heard_us: u64,
    last_tick_us: u64,
    /// A ping is to be sent.
    due: bool,
    /// The ping under way.
    asked: Option<u64>,
    /// Since when a ping is due or under way and nothing shows that the peer reads.
    waiting_since: Option<u64>,
    /// The ping to be answered, when it came; a later one takes its place.
    owed: Option<(u64, u64)>,
    /// Round trip in microseconds, offset in milliseconds.
    samples: VecDeque<(u64, i64)>,
}

impl Heartbeat {
    pub fn new(now: Now) -> Self {
        Heartbeat {
            last_heard_us: now.us,
            last_tick_us: now.us,
            due: false,
            asked: None,
            waiting_since: None,
            owed: None,
            samples: VecDeque::new(),
        }
    }

    pub fn heard(&mut self, now: Now) {
        self.last_heard_us = now.us;
    }

    /// The peer has dealt with something that we sent: it reads.
    pub fn progressed(&mut self, now: Now) {
        if let Some(since) = &mut self.waiting_since {
            *since = now.us;
        }
    }

    pub fn poll_timeout(&self) -> u64 {
        let tick = self.last_tick_us + PING_MS * 1_000;
        tick.min(self.last_heard_us + SILENCE_MS * 1_000)
    }

    pub fn handle_timeout(&mut self, now: Now, greeted: bool) -> Result<(), SessionError> {
        if now.us >= self.last_heard_us + SILENCE_MS * 1_000 {
            return Err(SessionError::Silence);
        }
        let since = self.waiting_since.unwrap_or(now.us);
        if now.us >= since.saturating_add(UNANSWERED_MS * 1_000) {
            return Err(SessionError::Unanswered);
        }
        if now.us >= self.last_tick_us + PING_MS * 1_000 {
            self.last_tick_us = now.us;
            if greeted {
                self.due = true;
                self.waiting_since.get_or_insert(now.us);
            }
        }
        Ok(())
    }

    pub fn ping_arrived(&mut self, now: Now, sent_us: u64) {
        self.owed = Some((sent_us, now.us));
    }

    pub fn pong(&mut self, now: Now) -> Option<Frame> {
        let (sent_us, arrived_us) = self.owed.take()?;
        Some(Frame::Pong {
            sent_us,
            held_us: now.us.saturating_sub(arrived_us),
            wall_ms: now.wall_ms,
            synchronized: now.synchronized,
        })
    }

    pub fn ping(&mut self, now: Now) -> Option<Frame> {
        if !self.due || self.asked.is_some() {
            return None;
        }
        self.due = false;
        self.asked = Some(now.us);
        Some(Frame::Ping { sent_us: now.us })
    }

    /// The round trip in microseconds, and the best known offset in milliseconds.
    pub fn pong_arrived(
        &mut self,
        now: Now,
        sent_us: u64,
        held_us: u64,
        wall_ms: u64,
    ) -> Result<(u64, i64), SessionError> {
        if self.asked != Some(sent_us) {
            return Err(SessionError::Unexpected("an answer to no ping"));
        }
        self.asked = None;
        self.waiting_since = None;
        let trip_us = now.us.saturating_sub(sent_us).saturating_sub(held_us);
        let back_ms = i64::try_from(trip_us / 2_000).unwrap_or(i64::MAX);
        let offset = signed(wall_ms)
            .saturating_add(back_ms)
            .saturating_sub(signed(now.wall_ms));
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((trip_us, offset));
        let best = self.samples.iter().min_by_key(|sample| sample.0);
        Ok((trip_us, best.map_or(offset, |best| best.1)))
    }
}

pub(super) fn signed(wall_ms: u64) -> i64 {
    i64::try_from(wall_ms).unwrap_or(i64::MAX)
}
