//! The proof on a link: both ask in turn whether the other holds the same rows, find what
//! differs, fetch the other's copies and repair their own (contract 9).
//!
//! One question is under way each way at most; the rows themselves are read and repaired by the
//! store ([`Step`]).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Action, Event, Now, SessionError};
use crate::replica::digest::{Answer, Common, Difference, Question};
use crate::replica::repair::Copy;
use crate::wire::replication::Frame;

/// When a link proves, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Proofs {
    /// How long after it came up its first proof begins.
    pub first_ms: u64,
    /// How long after the end of one proof the next begins.
    pub pause_ms: u64,
}

impl Default for Proofs {
    fn default() -> Self {
        Proofs {
            first_ms: 30_000,
            pause_ms: 600_000,
        }
    }
}

/// How many rows' copies one message asks for.
pub const COPIES: usize = 16;
/// How many bytes one message may have.
pub const MAX_MESSAGE: usize = 512 << 10;

/// What goes to and fro in a frame of kind 13, in postcard's encoding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// Do you hold the same?
    Question(Question),
    /// What differs.
    Answer(Answer),
    /// Send your copies of these, at most [`COPIES`].
    Wanted(Vec<Difference>),
    /// Here they are, in that order.
    Copies(Vec<Copy>),
    /// It would be larger than [`MAX_MESSAGE`], or one of the two needs a snapshot: less may be
    /// asked for, and where that is of no use either the proof ends undecided.
    NoAnswer,
}

impl Message {
    /// The message that these bytes are, all of them.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match postcard::take_from_bytes(bytes) {
            Ok((message, [])) if bytes.len() <= MAX_MESSAGE => Some(message),
            _ => None,
        }
    }

    /// Whether it may be sent as it is.
    pub fn fits(&self) -> bool {
        let size = postcard::serialize_with_flavor(self, postcard::ser_flavors::Size::default());
        size.is_ok_and(|size| size <= MAX_MESSAGE)
    }

    /// Its bytes; what is too large becomes [`Message::NoAnswer`].
    pub fn encode(&self) -> Vec<u8> {
        let bytes = postcard::to_stdvec(self).unwrap_or_default();
        if bytes.len() <= MAX_MESSAGE {
            return bytes;
        }
        postcard::to_stdvec(&Message::NoAnswer).unwrap_or_default()
    }
}

/// What the store does next for a proof: each is answered by [`super::Done::Proved`].
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Begin one through what both hold.
    Begin(Common),
    /// Answer the peer's question.
    Answer(Question),
    /// Take in the peer's answer.
    Take(Answer),
    /// Read our copies for the peer.
    Copies(Vec<Difference>),
    /// Repair ours by the peer's copies.
    Repair(Vec<Copy>),
    /// What was asked for is too large for one message: ask for less.
    Smaller,
    /// Nothing is to be proven now: end undecided.
    GiveUp,
}

/// What a finished proof found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proven {
    /// Rows that differed.
    pub differing: u64,
    /// How many of them were repaired here.
    pub repaired: u64,
    /// How many a person has to look at.
    pub unclear: u64,
    /// Whether it ended before everything was compared.
    pub stopped: bool,
    /// How many questions were answered.
    pub exchanges: u32,
}

impl Proven {
    /// Whether both hold the same rows.
    pub fn is_identical(&self) -> bool {
        self.differing == 0 && !self.stopped
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// The store is busy with ours.
    Busy,
    Answer,
    Copies,
}

/// Both sides of the proofs on one link.
#[derive(Debug)]
pub(super) struct Proving {
    proofs: Proofs,
    due_us: u64,
    asked: Asked,
    /// The peer's question is being answered.
    answering: bool,
    ready: VecDeque<Vec<u8>>,
    steps: VecDeque<Step>,
}

impl Proving {
    pub fn new(now: Now, proofs: Proofs) -> Self {
        Proving {
            proofs,
            due_us: now.us + proofs.first_ms * 1_000,
            asked: Asked::Nothing,
            answering: false,
            ready: VecDeque::new(),
            steps: VecDeque::new(),
        }
    }

    pub fn poll_timeout(&self) -> Option<u64> {
        (self.asked == Asked::Nothing).then_some(self.due_us)
    }

    /// Begins one when it is due. `common`: what both hold, unless one of them needs a snapshot:
    /// they may hold two histories then, of which numbers tell nothing.
    pub fn handle_timeout(&mut self, now: Now, common: impl FnOnce() -> Option<Common>) {
        if self.asked != Asked::Nothing || now.us < self.due_us {
            return;
        }
        match common() {
            Some(common) => {
                self.asked = Asked::Busy;
                self.steps.push_back(Step::Begin(common));
            }
            None => self.due_us = now.us + self.proofs.first_ms * 1_000,
        }
    }

    pub fn frame(&mut self) -> Option<Frame> {
        self.ready.pop_front().map(Frame::Proof)
    }

    pub fn work(&mut self) -> impl Iterator<Item = Action> {
        self.steps.drain(..).map(Action::Prove)
    }

    /// Takes in a message; `settled`: neither of the two needs a snapshot.
    pub fn arrived(&mut self, bytes: &[u8], settled: bool) -> Result<(), SessionError> {
        let malformed = SessionError::Unexpected("a malformed proof");
        let Some(message) = Message::decode(bytes) else {
            return Err(malformed);
        };
        let step = match message {
            Message::Question(question) => Step::Answer(question),
            Message::Wanted(rows) if rows.len() <= COPIES => Step::Copies(rows),
            Message::Answer(answer) if self.asked == Asked::Answer => Step::Take(answer),
            Message::Copies(copies) if self.asked == Asked::Copies => Step::Repair(copies),
            Message::NoAnswer if matches!(self.asked, Asked::Answer | Asked::Copies) => {
                Step::Smaller
            }
            _ => return Err(SessionError::Unexpected("a proof that nobody asked for")),
        };
        if matches!(step, Step::Answer(_) | Step::Copies(_)) {
            if self.answering {
                return Err(SessionError::Unexpected("a second question of a proof"));
            }
            if !settled {
                let none = Message::NoAnswer.encode();
                // A peer that asks on and on and reads nothing has it once.
                if !self.ready.contains(&none) {
                    self.ready.push_back(none);
                }
                return Ok(());
            }
            self.answering = true;
        } else {
            self.asked = Asked::Busy;
        }
        self.steps
            .push_back(if settled { step } else { Step::GiveUp });
        Ok(())
    }

    /// A step is done: a message to send, or a result.
    pub fn done(&mut self, now: Now, result: Result<Message, Proven>) -> Option<Event> {
        let message = match result {
            Ok(message) => message,
            Err(proven) => {
                self.asked = Asked::Nothing;
                self.due_us = now.us + self.proofs.pause_ms * 1_000;
                return Some(Event::Proven(proven));
            }
        };
        match message {
            Message::Question(_) => self.asked = Asked::Answer,
            Message::Wanted(_) => self.asked = Asked::Copies,
            Message::Answer(_) | Message::Copies(_) | Message::NoAnswer => self.answering = false,
        }
        self.ready.push_back(message.encode());
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now {
            us: ms * 1_000,
            wall_ms: ms,
            synchronized: true,
        }
    }

    fn steps(proving: &mut Proving) -> Vec<Action> {
        proving.work().collect()
    }

    fn question() -> Question {
        Question {
            common: vec![],
            parts: vec![],
        }
    }

    fn proving() -> Proving {
        Proving::new(at(0), Proofs::default())
    }

    fn bytes(proving: &mut Proving) -> Vec<u8> {
        match proving.frame() {
            Some(Frame::Proof(bytes)) => bytes,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_proof_goes_from_question_to_repair_and_is_due_again() {
        let [mut a, mut b] = [proving(), proving()];
        let Proofs { first_ms, pause_ms } = Proofs::default();
        a.handle_timeout(at(first_ms - 1), || Some(vec![]));
        assert!(steps(&mut a).is_empty());
        a.handle_timeout(at(first_ms), || Some(vec![]));
        assert_eq!(steps(&mut a), [Action::Prove(Step::Begin(vec![]))]);
        assert_eq!(a.poll_timeout(), None);
        assert_eq!(a.done(at(1), Ok(Message::Question(question()))), None);
        b.arrived(&bytes(&mut a), true).unwrap();
        assert_eq!(steps(&mut b), [Action::Prove(Step::Answer(question()))]);
        b.done(at(1), Ok(Message::Answer(vec![])));
        a.arrived(&bytes(&mut b), true).unwrap();
        assert_eq!(steps(&mut a), [Action::Prove(Step::Take(vec![]))]);
        a.done(at(1), Ok(Message::Wanted(vec![])));
        b.arrived(&bytes(&mut a), true).unwrap();
        assert_eq!(steps(&mut b), [Action::Prove(Step::Copies(vec![]))]);
        b.done(at(1), Ok(Message::Copies(vec![])));
        a.arrived(&bytes(&mut b), true).unwrap();
        assert_eq!(steps(&mut a), [Action::Prove(Step::Repair(vec![]))]);
        let proven = Proven::default();
        let event = a.done(at(9), Err(proven.clone()));
        assert_eq!(event, Some(Event::Proven(proven)));
        assert_eq!(a.poll_timeout(), Some((9 + pause_ms) * 1_000));
    }

    /// Two that hold two histories, and whose logs no longer tell, gave each other's rows away as
    /// their own: whose snapshot took the other's place lost what was written beside them.
    #[test]
    fn while_one_of_the_two_needs_a_snapshot_nothing_is_proven_or_repaired() {
        let Proofs { first_ms, .. } = Proofs::default();
        let mut ours = proving();
        ours.handle_timeout(at(first_ms), || None);
        assert!(steps(&mut ours).is_empty());
        assert_eq!(ours.poll_timeout(), Some(2 * first_ms * 1_000));
        let ask = Message::Question(question()).encode();
        ours.arrived(&ask, false).unwrap();
        assert!(steps(&mut ours).is_empty());
        assert_eq!(bytes(&mut ours), Message::NoAnswer.encode());
        ours.handle_timeout(at(2 * first_ms), || Some(vec![]));
        let _ = steps(&mut ours);
        ours.done(at(1), Ok(Message::Wanted(vec![])));
        let copies = Message::Copies(vec![]).encode();
        ours.arrived(&copies, false).unwrap();
        assert_eq!(steps(&mut ours), [Action::Prove(Step::GiveUp)]);
    }

    #[test]
    fn where_an_answer_or_copies_are_too_large_less_is_asked_for() {
        let none = Message::NoAnswer.encode();
        for asked in [Message::Question(question()), Message::Wanted(vec![])] {
            let mut ours = proving();
            ours.handle_timeout(at(Proofs::default().first_ms), || Some(vec![]));
            let _ = steps(&mut ours);
            ours.done(at(1), Ok(asked));
            ours.arrived(&none, true).unwrap();
            assert_eq!(steps(&mut ours), [Action::Prove(Step::Smaller)]);
        }
    }

    #[test]
    fn what_nobody_asked_for_and_what_is_no_message_is_refused() {
        let encode = |message: Message| message.encode();
        let row = Difference {
            table: 1,
            key: vec![],
        };
        for wrong in [
            vec![],
            vec![0xff; 9],
            encode(Message::Answer(vec![])),
            encode(Message::Copies(vec![])),
            encode(Message::NoAnswer),
            encode(Message::Wanted(vec![row; COPIES + 1])),
        ] {
            assert!(proving().arrived(&wrong, true).is_err());
        }
        let mut ours = proving();
        let ask = encode(Message::Question(question()));
        ours.arrived(&ask, true).unwrap();
        assert!(ours.arrived(&ask, true).is_err());
    }

    #[test]
    fn a_message_beyond_the_limit_becomes_the_word_that_it_is() {
        let row = Difference {
            table: 1,
            key: vec![0; MAX_MESSAGE],
        };
        let bytes = Message::Wanted(vec![row]).encode();
        assert_eq!(postcard::from_bytes(&bytes), Ok(Message::NoAnswer));
    }

    /// What `docs/keeping.md` says, byte by byte.
    #[test]
    fn golden_bytes() {
        use crate::replica::clock::{Hlc, RowClock, Stamp};
        use crate::replica::digest::{Part, Range, Reply, RowProof, RowState};

        let range = Range {
            table: 300,
            from: vec![0x11, 7],
            to: None,
        };
        let part = Part {
            range,
            digest: [9; 32],
        };
        let part_bytes = [&[0xac, 0x02, 2, 0x11, 7, 0][..], &[9; 32]].concat();
        let question = Message::Question(Question {
            common: vec![(300, 2)],
            parts: vec![part.clone()],
        });
        let expected = [&[0, 1, 0xac, 0x02, 2, 1][..], &part_bytes].concat();
        assert_eq!(question.encode(), expected);
        let rows = [
            (1, RowState::Beyond),
            (2, RowState::Dead),
            (
                3,
                RowState::Alive {
                    version: [4; 32],
                    content: Some([5; 32]),
                },
            ),
        ];
        let rows = rows.map(|(key, state)| RowProof {
            key: vec![key],
            state,
        });
        let answer = Message::Answer(vec![
            Reply::Same,
            Reply::Split(vec![part]),
            Reply::Rows(rows.into()),
            Reply::NoTable,
        ]);
        let rows = [
            &[2, 3, 1, 1, 0, 1, 2, 1, 1, 3, 2][..],
            &[4; 32],
            &[1],
            &[5; 32],
        ];
        let split = [&[1, 1][..], &part_bytes].concat();
        let expected = [&[1, 4, 0][..], &split, &rows.concat(), &[3]].concat();
        assert_eq!(answer.encode(), expected);
        let wanted = Message::Wanted(vec![Difference {
            table: 300,
            key: vec![1],
        }]);
        assert_eq!(wanted.encode(), [2, 1, 0xac, 0x02, 1, 1]);
        let stamp = |seq| Stamp {
            hlc: Hlc(300),
            origin: 1,
            seq,
        };
        let copies = Message::Copies(vec![
            Copy {
                clock: None,
                content: None,
            },
            Copy {
                clock: Some(RowClock {
                    generation: 1,
                    row: stamp(2),
                    columns: vec![(1, stamp(3))],
                }),
                content: Some(vec![7_i64.into(), "x".into()]),
            },
        ]);
        let clock = [1, 1, 0xac, 0x02, 1, 2, 1, 1, 0xac, 0x02, 1, 3];
        let content = [1, 2, 1, 14, 3, 1, b'x'];
        assert_eq!(
            copies.encode(),
            [&[3, 2, 0, 0][..], &clock, &content].concat()
        );
        assert_eq!(Message::NoAnswer.encode(), [4]);
    }
}
