//! Transactions as sent: runs of consecutive numbers of one origin, and pieces of large ones.

use serde::{Deserialize, Serialize};

use super::{FrameError, MAX_FRAME, Partial, Tag, bytes};

/// How many transactions one frame may hold.
pub const MAX_TRANSACTIONS: usize = 16_384;
/// What a transaction costs a window beyond its bytes: holding it takes memory, too.
const OVERHEAD: usize = 64;

/// Transactions of one origin, numbered without a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Who wrote them; on the wire 0 stands for the incarnation that the sender's hello named.
    pub origin: u64,
    /// The number of the first, from 1.
    pub first: u64,
    /// Their bytes, none empty.
    #[serde(with = "bytes::list")]
    pub transactions: Vec<Vec<u8>>,
    /// Of the origin's chain hash after the last: they follow on what the sender holds.
    pub chain: Tag,
}

impl Run {
    /// The number of the last. A run is never empty and never counts past 64 bits.
    pub fn last(&self) -> u64 {
        let more = (self.transactions.len() as u64).saturating_sub(1);
        self.first.saturating_add(more)
    }

    /// Says 0 for `sender`, whose frame it is going to be.
    pub fn shorten(&mut self, sender: u64) {
        if self.origin == sender {
            self.origin = 0;
        }
    }

    /// Says `sender`, whose frame it was, for 0.
    pub fn lengthen(&mut self, sender: u64) {
        if self.origin == 0 {
            self.origin = sender;
        }
    }

    /// What it takes of a link's window, in bytes.
    pub fn cost(&self) -> usize {
        let one = |bytes: &Vec<u8>| bytes.len() + OVERHEAD;
        self.transactions.iter().map(one).sum()
    }
}

/// A piece of a transaction that is too large for one frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Who wrote the transaction.
    pub origin: u64,
    /// Its number there.
    pub seq: u64,
    /// Its size in bytes.
    pub total: u64,
    /// Of the chain hash after it.
    pub chain: Tag,
    /// Where in it the piece belongs.
    pub offset: u64,
    /// The piece, never empty.
    #[serde(with = "bytes")]
    pub bytes: Vec<u8>,
}

impl Piece {
    /// The transaction, of which nothing is held yet.
    pub fn whole(&self) -> Partial {
        Partial {
            origin: self.origin,
            seq: self.seq,
            total: self.total,
            chain: self.chain,
            held: 0,
        }
    }

    /// Where it ends.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes.len() as u64)
    }

    /// What it takes of a link's window, in bytes.
    pub fn cost(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }

    pub(super) fn check(&self) -> Result<(), FrameError> {
        let fits = self
            .offset
            .checked_add(self.bytes.len() as u64)
            .is_some_and(|end| end <= self.total);
        // Origin 0 says "the sender" in runs, and in these nothing.
        let named = self.origin != 0 && self.seq != 0;
        if !named || self.bytes.is_empty() || !fits {
            return Err(FrameError::Order("a piece of a transaction"));
        }
        Ok(())
    }
}

/// Puts transactions, in their order, into as few runs as there are.
pub fn runs(list: impl IntoIterator<Item = (u64, u64, Vec<u8>, Tag)>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (origin, seq, bytes, chain) in list {
        match runs.last_mut() {
            Some(run) if run.origin == origin && run.last().checked_add(1) == Some(seq) => {
                run.transactions.push(bytes);
                run.chain = chain;
            }
            _ => runs.push(Run {
                origin,
                first: seq,
                transactions: vec![bytes],
                chain,
            }),
        }
    }
    runs
}

pub(super) fn check(runs: &[Run]) -> Result<(), FrameError> {
    let count: usize = runs.iter().map(|run| run.transactions.len()).sum();
    if count > MAX_TRANSACTIONS {
        return Err(FrameError::TooMany {
            what: "the transactions of a frame",
            limit: MAX_TRANSACTIONS,
        });
    }
    if runs.is_empty() {
        return Err(FrameError::Order("no transactions"));
    }
    for run in runs {
        let more = (run.transactions.len() as u64).checked_sub(1);
        let counts = more.is_some_and(|more| run.first.checked_add(more).is_some());
        if run.first == 0 || !counts || run.transactions.iter().any(Vec::is_empty) {
            return Err(FrameError::Order("a run of transactions"));
        }
    }
    Ok(())
}

/// The largest cost of one frame, for who has to bound what is under way.
pub const MAX_COST: usize = MAX_FRAME + MAX_TRANSACTIONS * OVERHEAD;
