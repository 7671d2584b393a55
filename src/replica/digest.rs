//! Proof that two peers hold the same rows: digests over key ranges, split until they differ in
//! a few rows only (contract 9).
//!
//! The asker sends digests of its ranges. The answerer compares each with its own; where they
//! differ it answers with [`FAN_OUT`] smaller ranges, or, at [`LEAF`] rows or fewer, with the
//! rows' own digests. So one wrong row among n is found in about log16(n / 32) + 1 exchanges.
//!
//! Both leave out what either of them may not have yet: a row with a stamp beyond the frontier
//! that both hold counts as *beyond* and is no difference. Nothing here reads rows itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Incarnation;
use super::clock::{RowClock, Stamp};
use super::frontier::Frontier;
use super::schema::DeclarationId;

/// Into how many ranges one that differs is split.
pub const FAN_OUT: usize = 16;
/// A range of at most so many row clocks is answered with its rows.
pub const LEAF: usize = 32;
/// How many ranges one question may hold; the others wait for the next.
pub const MAX_PARTS: usize = 64;
/// How many differing rows one comparison reports; then it stops and says so.
pub const MAX_DIFFERENCES: usize = 1_000;
/// How many rows an asker reads of its own for one answered leaf.
const MAX_OWN_ROWS: usize = 4 * MAX_DIFFERENCES;

/// SHA-256.
pub type Digest = [u8; 32];

/// What both peers hold: per origin the lower of the two last sequence numbers.
pub type Common = Vec<(Incarnation, u64)>;

/// The part of two frontiers that both hold.
pub fn common(ours: &Frontier, theirs: &Frontier) -> Common {
    let both = |(origin, position): (&Incarnation, &super::frontier::Position)| {
        let seq = position.seq.min(theirs.seq(*origin));
        (seq > 0).then_some((*origin, seq))
    };
    ours.0.iter().filter_map(both).collect()
}

/// Tells whether versions are within what both hold.
#[derive(Clone, Debug, Default)]
pub struct Within(BTreeMap<Incarnation, u64>);

impl Within {
    /// From a question.
    pub fn new(common: &Common) -> Self {
        Within(common.iter().copied().collect())
    }

    /// Whether every stamp of a row is within.
    pub fn row(&self, clock: &RowClock) -> bool {
        let stamp = |stamp: &Stamp| self.0.get(&stamp.origin).is_some_and(|s| *s >= stamp.seq);
        stamp(&clock.row) && clock.columns.iter().all(|column| stamp(&column.1))
    }
}

/// Keys of one table, as [`super::value::encode_key`] writes them and in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The table, by its declaration: a name may have been given to another meanwhile.
    pub table: DeclarationId,
    /// The first key within.
    pub from: Vec<u8>,
    /// The first key beyond; `None`: to the end.
    pub to: Option<Vec<u8>>,
}

impl Range {
    /// All keys of a table.
    pub fn whole(table: DeclarationId) -> Self {
        Range {
            table,
            from: Vec::new(),
            to: None,
        }
    }
}

/// A range with its digest at the sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which keys.
    pub range: Range,
    /// Over its living rows within the common frontier.
    pub digest: Digest,
}

/// Asks for what differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What both hold.
    pub common: Common,
    /// Ranges and their digests at the asker.
    pub parts: Vec<Part>,
}

/// The answer, one reply for each part asked.
pub type Answer = Vec<Reply>;

/// What the answerer makes of one range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The same digest.
    Same,
    /// Another digest: smaller ranges, which together are the range asked for.
    Split(Vec<Part>),
    /// Another digest over so few rows that here they are.
    Rows(Vec<RowProof>),
    /// The table is not here.
    NoTable,
}

/// One row as it counts in a proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowProof {
    /// Its encoded key.
    pub key: Vec<u8>,
    /// What it is.
    pub state: RowState,
}

/// The state of a row in a proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowState {
    /// A stamp of it is beyond what both hold.
    Beyond,
    /// Deleted; no part of a range's digest, because tombstones go at different times.
    Dead,
    /// It lives, visible or parked.
    Alive {
        /// Over its clock.
        version: Digest,
        /// Over its values; `None` where the clock is all that is left of it.
        content: Option<Digest>,
    },
}

/// What a range holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Over its living rows within the common frontier.
    pub digest: Digest,
    /// How many row clocks it has, dead ones and those beyond included.
    pub rows: usize,
}

/// Where rows are read: the store, or a test's table.
pub trait Rows {
    /// Why reading failed.
    type Error;
    /// Whether the table is here.
    fn has_table(&self, table: DeclarationId) -> bool;
    /// A range's digest and size.
    fn summary(&self, range: &Range) -> Result<Summary, Self::Error>;
    /// Cuts a range of `rows` rows into at most `pieces` of about the same size.
    fn split(&self, range: &Range, rows: usize, pieces: usize) -> Result<Vec<Range>, Self::Error>;
    /// The rows of a range in key order, at most `max`.
    fn list(&self, range: &Range, max: usize) -> Result<Vec<RowProof>, Self::Error>;
}

/// A range's digest, row by row in key order.
pub struct Sum(ring::digest::Context);

impl Default for Sum {
    fn default() -> Self {
        Sum(ring::digest::Context::new(&ring::digest::SHA256))
    }
}

impl Sum {
    /// Adds a row; only living ones within the common frontier count.
    pub fn add(&mut self, row: &RowProof) {
        if let RowState::Alive { version, content } = &row.state {
            self.0.update(&(row.key.len() as u32).to_be_bytes());
            self.0.update(&row.key);
            self.0.update(version);
            self.0.update(&content.unwrap_or_default());
        }
    }

    /// The digest.
    pub fn finish(self) -> Digest {
        finish(self.0)
    }
}

/// SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(bytes);
    finish(context)
}

fn finish(context: ring::digest::Context) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// Cuts a range so that each of `starts`, in key order, begins a piece.
pub fn cut(range: &Range, starts: Vec<Vec<u8>>) -> Vec<Range> {
    let mut ranges = vec![range.clone()];
    for start in starts {
        let rest = Range {
            from: start.clone(),
            ..range.clone()
        };
        if let Some(open) = ranges.last_mut() {
            open.to = Some(start);
        }
        ranges.push(rest);
    }
    ranges
}

/// Answers a question from one's own rows. Parts beyond [`MAX_PARTS`] are not looked at.
pub fn answer<R: Rows>(rows: &R, question: &Question) -> Result<Answer, R::Error> {
    let mut replies = Vec::new();
    for part in question.parts.iter().take(MAX_PARTS) {
        if !rows.has_table(part.range.table) {
            replies.push(Reply::NoTable);
            continue;
        }
        let summary = rows.summary(&part.range)?;
        replies.push(if summary.digest == part.digest {
            Reply::Same
        } else if summary.rows <= LEAF {
            Reply::Rows(rows.list(&part.range, LEAF)?)
        } else {
            let ranges = rows.split(&part.range, summary.rows, FAN_OUT)?;
            let part = |range: Range| {
                let digest = rows.summary(&range)?.digest;
                Ok(Part { range, digest })
            };
            Reply::Split(ranges.into_iter().map(part).collect::<Result<_, _>>()?)
        });
    }
    Ok(replies)
}

/// A row that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The table, by its declaration.
    pub table: DeclarationId,
    /// The encoded key.
    pub key: Vec<u8>,
}

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// More or fewer replies than parts were asked for.
    #[error("an answer of {0} replies to {1} ranges")]
    Count(usize, usize),
    /// Ranges of an answer that are not the range asked for, cut in pieces.
    #[error("an answer whose ranges are not the range that was asked for")]
    Ranges,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Through what both hold it was compared.
    pub through: Common,
    /// The rows that differ; empty: identical.
    pub differences: Vec<Difference>,
    /// Tables that the peer lacks.
    pub no_table: Vec<DeclarationId>,
    /// Whether it stopped at [`MAX_DIFFERENCES`], or a range was too much to be compared.
    pub stopped: bool,
    /// How many questions were answered.
    pub exchanges: u32,
}

impl Outcome {
    /// Whether both hold the same rows.
    pub fn is_identical(&self) -> bool {
        self.differences.is_empty() && self.no_table.is_empty() && !self.stopped
    }
}

/// The asker's side of one comparison.
#[derive(Clone, Debug)]
pub struct Comparison {
    common: Common,
    waiting: Vec<Part>,
    asked: Vec<Part>,
    /// How many ranges one question may hold now.
    at_once: usize,
    /// A range was not compared.
    skipped: bool,
    outcome: Outcome,
}

impl Comparison {
    /// Starts one over these tables.
    pub fn new<R: Rows>(
        rows: &R,
        common: Common,
        tables: &[DeclarationId],
    ) -> Result<Self, R::Error> {
        let part = |table: &DeclarationId| {
            let range = Range::whole(*table);
            let digest = rows.summary(&range)?.digest;
            Ok(Part { range, digest })
        };
        let waiting: Vec<Part> = tables.iter().map(part).collect::<Result<_, _>>()?;
        let outcome = Outcome {
            through: common.clone(),
            differences: Vec::new(),
            no_table: Vec::new(),
            stopped: false,
            exchanges: 0,
        };
        Ok(Comparison {
            common,
            waiting,
            asked: Vec::new(),
            at_once: MAX_PARTS,
            skipped: false,
            outcome,
        })
    }

    /// What to ask next; `None`: the outcome stands.
    pub fn question(&mut self) -> Option<Question> {
        if self.waiting.is_empty() || self.outcome.stopped {
            return None;
        }
        // The last first: depth first, so that what waits stays small.
        let from = self.waiting.len().saturating_sub(self.at_once);
        self.asked = self.waiting.split_off(from);
        Some(Question {
            common: self.common.clone(),
            parts: self.asked.clone(),
        })
    }

    /// The last question, or the answer to it, is larger than a message may be, as where keys are
    /// long: the next one has fewer ranges. A range that is too much by itself stays uncompared.
    pub fn fewer(&mut self) {
        self.at_once = (self.asked.len() / 2).max(1);
        match self.asked.len() {
            0 | 1 => self.skipped |= self.asked.pop().is_some(),
            _ => self.waiting.append(&mut self.asked),
        }
    }

    /// Takes in the answer to the last question.
    pub fn answered<R: Rows>(
        &mut self,
        rows: &R,
        answer: Answer,
    ) -> Result<Result<(), ProofError>, R::Error> {
        let asked = std::mem::take(&mut self.asked);
        if asked.len() != answer.len() {
            return Ok(Err(ProofError::Count(answer.len(), asked.len())));
        }
        self.outcome.exchanges += 1;
        self.at_once = (2 * self.at_once).min(MAX_PARTS);
        for (part, reply) in asked.into_iter().zip(answer) {
            // It may have been dropped here since it was asked for.
            let reply = match rows.has_table(part.range.table) {
                true => reply,
                false => Reply::NoTable,
            };
            match reply {
                Reply::Same => {}
                Reply::NoTable => self.outcome.no_table.push(part.range.table),
                Reply::Split(parts) => {
                    if !covers(&part.range, &parts) {
                        return Ok(Err(ProofError::Ranges));
                    }
                    for theirs in parts {
                        let digest = rows.summary(&theirs.range)?.digest;
                        if digest != theirs.digest {
                            let range = theirs.range;
                            self.waiting.push(Part { range, digest });
                        }
                    }
                }
                Reply::Rows(theirs) => {
                    let ours = rows.list(&part.range, MAX_OWN_ROWS)?;
                    self.outcome.stopped |= ours.len() == MAX_OWN_ROWS;
                    self.differ(part.range.table, &ours, &theirs);
                }
            }
        }
        Ok(Ok(()))
    }

    fn differ(&mut self, table: DeclarationId, ours: &[RowProof], theirs: &[RowProof]) {
        let mut both: BTreeMap<&[u8], [Option<&RowState>; 2]> = BTreeMap::new();
        for (side, rows) in [ours, theirs].into_iter().enumerate() {
            for row in rows {
                both.entry(&row.key).or_default()[side] = Some(&row.state);
            }
        }
        for (key, [ours, theirs]) in both {
            let is = |state: Option<&RowState>, what: &RowState| state == Some(what);
            let beyond = is(ours, &RowState::Beyond) || is(theirs, &RowState::Beyond);
            let gone = |state: Option<&RowState>| state.is_none_or(|s| *s == RowState::Dead);
            if beyond || ours == theirs || gone(ours) && gone(theirs) {
                continue;
            }
            if self.outcome.differences.len() == MAX_DIFFERENCES {
                self.outcome.stopped = true;
                return;
            }
            self.outcome.differences.push(Difference {
                table,
                key: key.to_vec(),
            });
        }
    }

    /// Through what it compares.
    pub fn common(&self) -> &Common {
        &self.common
    }

    /// What was found, once there is nothing more to ask.
    pub fn outcome(self) -> Outcome {
        let stopped = self.outcome.stopped || self.skipped;
        Outcome {
            stopped,
            ..self.outcome
        }
    }
}

/// Whether pieces are a range cut up: from its start to its end, none empty, without a gap. A
/// single piece would be no progress, so a lying peer cannot keep a comparison busy for ever.
fn covers(whole: &Range, parts: &[Part]) -> bool {
    let ends = parts.first().zip(parts.last());
    let ends = ends.is_some_and(|(first, last)| {
        first.range.from == whole.from && last.range.to == whole.to && parts.len() > 1
    });
    let tables = parts.iter().all(|part| part.range.table == whole.table);
    let joined = parts.windows(2).all(|pair| {
        let [a, b] = pair else { return false };
        a.range.to.as_ref() == Some(&b.range.from) && a.range.from < b.range.from
    });
    ends && tables && joined && parts.len() <= FAN_OUT
}

#[cfg(test)]
mod tests;
