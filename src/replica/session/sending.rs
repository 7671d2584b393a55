//! Transactions that leave: read from the log as the window allows, sent, acknowledged.

use std::collections::VecDeque;

use super::needy::AGAIN_MS;
use super::{Action, BATCH, Large, Now, PACE_MS, RELAY_MS, STALL_MS, SessionError, WINDOW};
use crate::replica::Incarnation;
use crate::replica::change::Logged;
use crate::replica::frontier::{Frontier, Position};
use crate::wire::replication::{Frame, MAX_ORIGINS, MAX_TRANSACTIONS, Partial, Piece, Run, runs};

/// A frame of this cost or less is small: the next one waits for more to go with it.
const SMALL: usize = 4 << 10;

/// A frame that the peer has not dealt with.
#[derive(Debug)]
struct UnderWay {
    cost: usize,
    /// The transactions that end in it, per origin the last.
    ends: Vec<(Incarnation, u64)>,
}

#[derive(Debug)]
pub(super) struct Sending {
    /// What the peer has durably: by its own word, or because it sent it (then without a chain).
    pub acked: Frontier,
    /// What it has or was sent.
    sent: Frontier,
    position: Option<i64>,
    reading: bool,
    /// More may be in the log than was read; read it from this time on, in microseconds.
    pending_us: Option<u64>,
    /// Frames to be sent, with their cost.
    ready: VecDeque<(Frame, usize)>,
    /// Each frame sent and not dealt with, and the cost of all.
    in_flight: VecDeque<UnderWay>,
    under_way: usize,
    /// Nothing is read before this time: a small frame has just gone.
    paced_us: u64,
    /// How many frames the peer has dealt with.
    dealt: u64,
    /// When it last got further, or something was first under way.
    progress_us: u64,
    /// What is being sent in pieces, and from where.
    large: Option<(Large, u64)>,
    /// What the peer holds in part.
    partial: Option<Partial>,
    /// Our log no longer goes back to what the peer holds, and whether it was told.
    trimmed: Option<bool>,
    /// It was told so on this link, and may ask for a snapshot.
    told: bool,
    /// The peer may hold another history of that.
    apart: bool,
}

impl Sending {
    /// Starts with what the peer said to have.
    pub fn new(now: Now, theirs: Frontier, partial: Option<Partial>) -> Self {
        Sending {
            acked: theirs.clone(),
            sent: theirs,
            position: None,
            reading: false,
            pending_us: Some(now.us),
            ready: VecDeque::new(),
            in_flight: VecDeque::new(),
            under_way: 0,
            paced_us: 0,
            dealt: 0,
            progress_us: now.us,
            large: None,
            partial,
            trimmed: None,
            told: false,
            apart: false,
        }
    }

    /// There is something new in the log. What another peer wrote waits a little: it may have
    /// told this one by itself.
    pub fn more(&mut self, now: Now, relayed: bool) {
        if self.is_trimmed() {
            return;
        }
        let from = now.us + if relayed { RELAY_MS * 1_000 } else { 0 };
        self.pending_us = Some(self.pending_us.map_or(from, |earlier| earlier.min(from)));
    }

    /// The peer sent these itself.
    pub fn has(&mut self, origin: Incarnation, seq: u64) -> Result<(), SessionError> {
        if !self.acked.0.contains_key(&origin) && self.acked.0.len() >= MAX_ORIGINS {
            return Err(SessionError::Unexpected(
                "transactions of more origins than there are",
            ));
        }
        let position = Position {
            seq,
            chain: [0; 32],
        };
        let theirs = Frontier([(origin, position)].into());
        self.acked.advance(&theirs);
        self.sent.advance(&theirs);
        Ok(())
    }

    fn is_free(&self) -> bool {
        !self.reading && self.ready.is_empty() && self.under_way < WINDOW
    }

    pub fn poll_timeout(&self) -> Option<u64> {
        let waits = self.pending_us.filter(|_| self.is_free());
        let waits = waits.map(|from| from.max(self.paced_us));
        let stalls = self.progress_us + STALL_MS * 1_000;
        let stalls = (!self.in_flight.is_empty()).then_some(stalls);
        waits.into_iter().chain(stalls).min()
    }

    pub fn handle_timeout(&self, now: Now) -> Result<(), SessionError> {
        if !self.in_flight.is_empty() && now.us >= self.progress_us + STALL_MS * 1_000 {
            return Err(SessionError::Stalled);
        }
        Ok(())
    }

    /// What to read next, if anything.
    pub fn work(&mut self, now: Now) -> Option<Action> {
        if !self.is_free() {
            return None;
        }
        if let Some((large, offset)) = self.large {
            if offset < large.total && !self.acked.covers(large.origin, large.seq) {
                self.reading = true;
                return Some(Action::ReadLarge { large, offset });
            }
            self.large = None;
        }
        if self
            .pending_us
            .is_none_or(|from| from.max(self.paced_us) > now.us)
        {
            return None;
        }
        self.pending_us = None;
        self.reading = true;
        Some(Action::Read {
            frontier: self.sent.clone(),
            position: self.position,
        })
    }

    /// Our log does not go back to what the peer held when it was asked for, of this origin to this
    /// number: unless it holds that by now it is told, and asked again later, when it may have got
    /// it from another.
    pub fn trimmed(&mut self, now: Now, gone: (Incarnation, u64), apart: bool) {
        self.reading = false;
        self.position = None;
        if self.sent.covers(gone.0, gone.1) {
            self.pending_us = Some(now.us);
            return;
        }
        self.apart = apart;
        self.trimmed = Some(false);
        self.pending_us = Some(now.us + AGAIN_MS * 1_000);
    }

    pub fn is_trimmed(&self) -> bool {
        self.trimmed.is_some()
    }

    /// Whether the peer was told that it needs a snapshot: it may have asked before the log reached
    /// it again.
    pub fn has_told(&self) -> bool {
        self.told
    }

    /// Whether our log goes back to what the peer holds, as far as that was looked at.
    pub fn reaches(&self) -> bool {
        self.position.is_some() && !self.is_trimmed()
    }

    /// Something was read from the log.
    pub fn read(&mut self, now: Now, found: Vec<Logged>, large: Option<Large>, position: i64) {
        self.reading = false;
        self.trimmed = None;
        self.position = Some(position);
        if !found.is_empty() || large.is_some() {
            self.pending_us = Some(now.us);
        }
        let mut end = Frontier::default();
        for logged in &found {
            end.0.entry(logged.origin).or_default().seq = logged.seq;
        }
        if let Some(large) = large {
            end.0.entry(large.origin).or_default().seq = large.seq;
            let held = self.partial.take().filter(|held| {
                (held.origin, held.seq, held.total, held.chain)
                    == (large.origin, large.seq, large.total, large.chain)
                    && held.held < held.total
            });
            self.large = Some((large, held.map_or(0, |held| held.held)));
        }
        self.sent.advance(&end);
        // The peer may have told meanwhile that it has them from elsewhere.
        let acked = &self.acked;
        let news = found.into_iter().filter(|l| !acked.covers(l.origin, l.seq));
        // What is not in memory is named as large, never found.
        let held = |l: Logged| {
            let chain = l.chain.unwrap_or_default();
            Some((l.origin, l.seq, l.bytes.into_held()?, chain))
        };
        let mut news: Vec<_> = news.filter_map(held).collect();
        while !news.is_empty() {
            let rest = news.split_off(news.len().min(MAX_TRANSACTIONS));
            let runs = runs(std::mem::replace(&mut news, rest));
            let cost = runs.iter().map(Run::cost).sum();
            self.ready.push_back((Frame::Transactions(runs), cost));
        }
    }

    /// A large transaction was read on.
    pub fn large_read(&mut self, at: u64, bytes: &[u8]) {
        self.reading = false;
        let Some((large, offset)) = &mut self.large else {
            return;
        };
        if *offset != at {
            return;
        }
        for bytes in bytes.chunks(BATCH) {
            let piece = Piece {
                origin: large.origin,
                seq: large.seq,
                total: large.total,
                chain: large.chain,
                offset: *offset,
                bytes: bytes.to_vec(),
            };
            *offset = piece.end();
            let cost = piece.cost();
            self.ready.push_back((Frame::Piece(piece), cost));
        }
    }

    /// The next frame, while the window has room; `own` is our incarnation, as our hello named it.
    pub fn frame(&mut self, now: Now, own: Incarnation) -> Option<Frame> {
        if self.under_way >= WINDOW {
            return None;
        }
        let Some((mut frame, cost)) = self.ready.pop_front() else {
            let untold = self.trimmed == Some(false);
            self.trimmed = self.trimmed.map(|_| true);
            let apart = self.apart;
            self.told |= untold;
            return untold.then_some(Frame::NeedsSnapshot { apart });
        };
        if self.in_flight.is_empty() {
            self.progress_us = now.us;
        }
        let ends = ends(&frame);
        self.in_flight.push_back(UnderWay { cost, ends });
        self.under_way += cost;
        if let Frame::Transactions(runs) = &mut frame {
            runs.iter_mut().for_each(|run| run.shorten(own));
            if cost <= SMALL {
                self.paced_us = now.us + PACE_MS * 1_000;
            }
        }
        Some(frame)
    }

    /// The peer has dealt with `dealt` frames and holds `frontier`; where it holds all that the
    /// frames ended with, too, `whole` is what we hold. True: it got further.
    pub fn acknowledged(
        &mut self,
        now: Now,
        dealt: u64,
        frontier: &Frontier,
        whole: Option<&Frontier>,
    ) -> Result<bool, SessionError> {
        let news = dealt.checked_sub(self.dealt);
        let news = news.filter(|news| *news <= self.in_flight.len() as u64);
        let Some(news) = news else {
            return Err(SessionError::Unsent);
        };
        self.dealt = dealt;
        let mut held = Frontier::default();
        for frame in self.in_flight.drain(..news as usize) {
            self.under_way -= frame.cost;
            for (origin, seq) in frame.ends {
                // It named the chain hash as it was sent: what it holds is our history.
                let last = whole.and_then(|ours| ours.0.get(&origin));
                let chain = last
                    .filter(|at| at.seq == seq)
                    .map_or([0; 32], |at| at.chain);
                held.0.insert(origin, Position { seq, chain });
            }
        }
        if whole.is_some() {
            self.acked.advance(&held);
        }
        if news > 0 {
            self.progress_us = now.us;
        }
        let new = frontier
            .0
            .keys()
            .filter(|id| !self.acked.0.contains_key(id));
        if self.acked.0.len() + new.count() > MAX_ORIGINS {
            return Err(SessionError::Unexpected(
                "an acknowledgement of more origins than there are",
            ));
        }
        self.acked.advance(frontier);
        self.sent.advance(frontier);
        Ok(news > 0)
    }
}

/// The transactions that end in a frame, per origin the last.
fn ends(frame: &Frame) -> Vec<(Incarnation, u64)> {
    match frame {
        Frame::Transactions(runs) => runs.iter().map(|run| (run.origin, run.last())).collect(),
        Frame::Piece(piece) if piece.end() == piece.total => vec![(piece.origin, piece.seq)],
        _ => Vec::new(),
    }
}
