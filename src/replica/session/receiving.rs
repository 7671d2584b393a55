//! Transactions that arrive: checked for order and for room, queued, applied one group at a time.
//!
//! The peer may send [`WINDOW`] bytes that are not dealt with yet, so this queue is bounded and
//! the link never has to stop reading: heartbeats and acknowledgements always come through.

use std::collections::{BTreeMap, VecDeque};

use super::{Action, SessionError, WINDOW};
use crate::replica::Incarnation;
use crate::replica::change::{Logged, MAX_TRANSACTION};
use crate::replica::frontier::Frontier;
use crate::wire::replication::{Partial, Piece, Run, Tag};

#[derive(Debug)]
enum Batch {
    Runs(Vec<Run>),
    Piece {
        piece: Piece,
        last: bool,
    },
    /// A piece of what was held already.
    Nothing(Incarnation, (u64, Tag)),
}

/// Per origin the last number of some frames, and the tag there.
pub(super) type Ends = BTreeMap<Incarnation, (u64, Tag)>;

/// Adds later ends to earlier ones. What was sent twice ends where it did.
fn extend(ends: &mut Ends, later: Ends) {
    for (origin, end) in later {
        let known = ends.entry(origin).or_insert(end);
        *known = end.max(*known);
    }
}

fn ends_of(runs: &[Run]) -> Ends {
    let end = |run: &Run| [(run.origin, (run.last(), run.chain))].into();
    runs.iter().map(end).fold(Ends::new(), |mut all, one| {
        extend(&mut all, one);
        all
    })
}

#[derive(Debug, Default)]
pub(super) struct Receiving {
    /// Per origin, the last number that arrived on this link.
    arrived: BTreeMap<Incarnation, u64>,
    queue: VecDeque<(Batch, usize)>,
    /// Frames being applied or written, their cost, and what they end with.
    busy: Option<(u64, usize, Ends)>,
    /// The large transaction to be applied once its last piece is written.
    completes: Option<(Incarnation, u64)>,
    /// The cost of all frames not dealt with.
    waiting: usize,
    /// How many frames were dealt with.
    dealt: u64,
    /// What the frames dealt with since the last acknowledgement end with, per origin.
    ends: Ends,
    partial: Option<Partial>,
}

impl Receiving {
    pub fn new(partial: Option<Partial>) -> Self {
        Receiving {
            partial,
            ..Receiving::default()
        }
    }

    /// How many frames were dealt with since the hello.
    pub fn dealt(&self) -> u64 {
        self.dealt
    }

    /// What the frames dealt with since this was last asked end with.
    pub fn ends(&mut self) -> Ends {
        std::mem::take(&mut self.ends)
    }

    pub fn is_busy(&self) -> bool {
        self.busy.is_some()
    }

    /// Takes in a frame of transactions.
    pub fn transactions(&mut self, ours: &Frontier, runs: Vec<Run>) -> Result<(), SessionError> {
        let cost = runs.iter().map(Run::cost).sum();
        self.room()?;
        for run in &runs {
            self.next(ours, run.origin, run.first)?;
            let arrived = self.arrived.entry(run.origin).or_default();
            *arrived = (*arrived).max(run.last());
        }
        self.push(Batch::Runs(runs), cost);
        Ok(())
    }

    /// Takes in a piece of a large transaction.
    pub fn piece(&mut self, ours: &Frontier, piece: Piece) -> Result<(), SessionError> {
        let cost = piece.cost();
        self.room()?;
        if piece.total > MAX_TRANSACTION as u64 {
            return Err(SessionError::TooLarge(piece.total));
        }
        if self.next(ours, piece.origin, piece.seq)? > piece.seq {
            self.push(Batch::Nothing(piece.origin, (piece.seq, piece.chain)), cost);
            return Ok(());
        }
        let continues = self.partial.is_some_and(|partial| {
            let held = piece.offset;
            partial
                == Partial {
                    held,
                    ..piece.whole()
                }
        });
        if piece.offset != 0 && !continues {
            return Err(SessionError::Unexpected(
                "a piece of a transaction that does not fit",
            ));
        }
        let last = piece.end() == piece.total;
        self.partial = (!last).then_some(Partial {
            held: piece.end(),
            ..piece.whole()
        });
        if last {
            self.arrived.insert(piece.origin, piece.seq);
        }
        self.push(Batch::Piece { piece, last }, cost);
        Ok(())
    }

    fn room(&self) -> Result<(), SessionError> {
        if self.waiting >= WINDOW {
            return Err(SessionError::Overrun);
        }
        Ok(())
    }

    /// The next number to come of an origin, which `seq` must not be beyond.
    fn next(&self, ours: &Frontier, origin: Incarnation, seq: u64) -> Result<u64, SessionError> {
        let arrived = self.arrived.get(&origin).copied().unwrap_or(0);
        let expected = arrived.max(ours.seq(origin)).saturating_add(1);
        if seq > expected {
            return Err(SessionError::Gap {
                origin,
                seq,
                expected,
            });
        }
        Ok(expected)
    }

    fn push(&mut self, batch: Batch, cost: usize) {
        self.waiting += cost;
        self.queue.push_back((batch, cost));
    }

    /// What to do next, unless something is being done.
    pub fn work(&mut self, ours: &Frontier) -> Option<Action> {
        while self.busy.is_none() {
            let (batch, mut cost) = self.queue.pop_front()?;
            let mut frames = 1;
            match batch {
                Batch::Nothing(origin, end) => self.finish(frames, cost, [(origin, end)].into()),
                Batch::Piece { piece, last } => {
                    self.completes = last.then_some((piece.origin, piece.seq));
                    let end = (piece.origin, (piece.seq, piece.chain));
                    self.busy = Some((frames, cost, last.then_some(end).into_iter().collect()));
                    return Some(Action::WritePiece(piece));
                }
                Batch::Runs(mut runs) => {
                    // All that waits goes in one group: one sync for all of it.
                    while let Some((Batch::Runs(_), _)) = self.queue.front()
                        && let Some((Batch::Runs(more), cost_of_more)) = self.queue.pop_front()
                    {
                        runs.extend(more);
                        cost += cost_of_more;
                        frames += 1;
                    }
                    let ends = ends_of(&runs);
                    let news = news(ours, runs);
                    if news.is_empty() {
                        self.finish(frames, cost, ends);
                        continue;
                    }
                    self.busy = Some((frames, cost, ends));
                    return Some(Action::Apply(news));
                }
            }
        }
        None
    }

    fn finish(&mut self, frames: u64, cost: usize, ends: Ends) {
        extend(&mut self.ends, ends);
        self.dealt += frames;
        self.waiting = self.waiting.saturating_sub(cost);
    }

    /// What was being done is done.
    pub fn applied(&mut self) {
        if let Some((frames, cost, ends)) = self.busy.take() {
            self.finish(frames, cost, ends);
        }
    }

    /// A piece is written; after the last one comes another action.
    pub fn piece_written(&mut self) -> Option<Action> {
        if let Some((origin, seq)) = self.completes.take() {
            return Some(Action::ApplyLarge { origin, seq });
        }
        self.applied();
        None
    }
}

/// What of `runs` is not held yet.
fn news(ours: &Frontier, runs: Vec<Run>) -> Vec<Logged> {
    let numbered = runs.into_iter().flat_map(|run| {
        let origin = run.origin;
        let last = run.last();
        let numbers = (run.first..).zip(run.transactions);
        numbers.map(move |(seq, bytes)| Logged {
            origin,
            seq,
            bytes: bytes.into(),
            chain: (seq == last).then_some(run.chain),
        })
    });
    numbered
        .filter(|logged| !ours.covers(logged.origin, logged.seq))
        .collect()
}
