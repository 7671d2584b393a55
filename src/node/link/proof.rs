//! What a proof asks of the store, step by step; findings go to the journal.

use crate::replica::NodeId;
use crate::replica::digest::{Comparison, Difference, Outcome};
use crate::replica::repair::Copy;
use crate::replica::session::{COPIES, Message, Proven, Step};
use crate::store::{Store, StoreError};

/// Our side of the proof under way.
#[derive(Default)]
pub struct Proof {
    comparison: Option<Comparison>,
    /// What differs and was not looked at yet.
    left: Vec<Difference>,
    /// What the peer is asked for.
    wanted: Vec<Difference>,
    /// How many it is asked for at once.
    at_once: usize,
    proven: Proven,
}

impl Proof {
    /// Takes one step: to a message, or to the end. Blocks.
    pub fn step(
        &mut self,
        store: &Store,
        peer: NodeId,
        step: Step,
    ) -> Result<Result<Message, Proven>, StoreError> {
        match step {
            Step::Begin(common) => {
                *self = Proof::default();
                store.doubt_anew(peer);
                self.comparison = Some(store.compare(common)?);
            }
            Step::Answer(question) => return Ok(Ok(Message::Answer(store.prove(&question)?))),
            Step::Copies(rows) => return Ok(Ok(Message::Copies(store.copies(&rows)?))),
            Step::Take(answer) => {
                if let Some(comparison) = &mut self.comparison {
                    store.compared(comparison, answer)?;
                }
            }
            Step::Repair(copies) => {
                self.repair(store, peer, copies)?;
                self.at_once = (2 * self.at_once).min(COPIES);
            }
            Step::Smaller => self.smaller(),
            Step::GiveUp => {
                self.proven.stopped = true;
                self.comparison = None;
                self.left.clear();
            }
        }
        loop {
            match self.ask() {
                Some(message) if !message.fits() => self.smaller(),
                Some(message) => return Ok(Ok(message)),
                None => return Ok(Err(std::mem::take(&mut self.proven))),
            }
        }
    }

    /// What to ask next; nothing: what was found stands.
    fn ask(&mut self) -> Option<Message> {
        if let Some(mut comparison) = self.comparison.take() {
            match comparison.question() {
                Some(question) => {
                    self.comparison = Some(comparison);
                    return Some(Message::Question(question));
                }
                None => self.found(comparison.outcome()),
            }
        }
        if !self.left.is_empty() {
            let from = self.left.len().saturating_sub(self.at_once.max(1));
            self.wanted = self.left.split_off(from);
            return Some(Message::Wanted(self.wanted.clone()));
        }
        None
    }

    fn found(&mut self, outcome: Outcome) {
        self.proven.differing = outcome.differences.len() as u64;
        self.proven.stopped = outcome.stopped || !outcome.no_table.is_empty();
        self.proven.exchanges = outcome.exchanges;
        self.left = outcome.differences;
        self.at_once = COPIES;
    }

    /// What was asked for is more than one message takes: less of it. One range that is too large
    /// by itself stays uncompared, one row is a person's to look at.
    fn smaller(&mut self) {
        if let Some(comparison) = &mut self.comparison {
            return comparison.fewer();
        }
        let mut wanted = std::mem::take(&mut self.wanted);
        if wanted.len() > 1 {
            self.at_once = wanted.len() / 2;
            return self.left.append(&mut wanted);
        }
        for row in wanted {
            self.proven.unclear += 1;
            let key = row.key.iter().map(|byte| format!("{byte:02x}"));
            tracing::warn!(
                "not repaired: a row of table {:016x} with key {} differs from the peer's and is \
                 too large to be compared; write it anew",
                row.table,
                key.collect::<String>()
            );
        }
    }

    fn repair(&mut self, store: &Store, peer: NodeId, copies: Vec<Copy>) -> Result<(), StoreError> {
        for (row, copy) in std::mem::take(&mut self.wanted).iter().zip(copies) {
            let Some(finding) = store.repair_by(row, peer, copy)? else {
                continue;
            };
            match finding.result {
                Ok(_) => self.proven.repaired += 1,
                Err(_) => self.proven.unclear += 1,
            }
            tracing::warn!("{finding}");
        }
        Ok(())
    }
}
