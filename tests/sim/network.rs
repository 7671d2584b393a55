//! A link between two nodes: frames as bytes with delay, cuts of one or both directions.

use std::collections::VecDeque;

use tutti::replica::session::{Action, BATCH, CHUNK, Local, Now, Session};
use tutti::store::Store;
use tutti::wire::replication::Frame;

use crate::random::Random;

pub const CLUSTER: [u8; 16] = [7; 16];

/// One end of a link.
pub struct End {
    session: Session,
    jobs: VecDeque<Action>,
    /// Frames under way to the other end, with their time of arrival.
    outgoing: VecDeque<(u64, Vec<u8>)>,
    /// Nothing of `outgoing` arrives meanwhile: a one-way cut.
    pub stalled: bool,
}

/// A link; without ends it is cut.
pub struct Link {
    pub nodes: [usize; 2],
    pub ends: Option<[End; 2]>,
    /// Not connected again before this time.
    pub down_until: u64,
}

fn end(store: &Store, now: Now) -> End {
    let local = Local {
        name: "node".into(),
        version: "sim".into(),
        node: store.node(),
        incarnation: store.incarnation(),
        cluster: Some(CLUSTER),
        frontier: store.frontier(),
    };
    End {
        session: Session::new(now, local),
        jobs: VecDeque::new(),
        outgoing: VecDeque::new(),
        stalled: false,
    }
}

impl Link {
    pub fn connect(&mut self, stores: [&Store; 2], now: Now) {
        self.ends = Some(stores.map(|store| end(store, now)));
    }

    pub fn cut(&mut self, until: u64) {
        self.ends = None;
        self.down_until = until;
    }

    /// Tells a node's end that its store committed.
    pub fn committed(&mut self, node: usize, store: &Store) {
        for (at, end) in self.ends.iter_mut().flatten().enumerate() {
            if self.nodes[at] == node {
                end.session.committed(store.frontier());
            }
        }
    }

    /// Moves both ends on by a little; returns the nodes whose store committed.
    pub fn step(
        &mut self,
        stores: [&Store; 2],
        now: Now,
        random: &mut Random,
    ) -> Result<Vec<usize>, String> {
        let mut committed = Vec::new();
        for (at, store) in stores.into_iter().enumerate() {
            let Some(ends) = &mut self.ends else {
                return Ok(committed);
            };
            let (here, there) = ends.split_at_mut(1);
            let (end, other) = if at == 0 {
                (&mut here[0], &mut there[0])
            } else {
                (&mut there[0], &mut here[0])
            };
            if end.session.handle_timeout(now).is_err() {
                self.cut(now.us);
                return Ok(committed);
            }
            while !other.stalled
                && end.session.wants_frames()
                && other
                    .outgoing
                    .front()
                    .is_some_and(|frame| frame.0 <= now.us)
            {
                let (_, bytes) = other.outgoing.pop_front().unwrap();
                let frame = Frame::decode(&bytes[4..]).map_err(|error| error.to_string())?;
                let result = end.session.handle_frame(now, frame);
                result.map_err(|error| error.to_string())?;
            }
            if end.work(store, now, random)? {
                committed.push(self.nodes[at]);
            }
        }
        Ok(committed)
    }

    /// Whether nothing is under way.
    pub fn idle(&self) -> bool {
        let mut ends = self.ends.iter().flatten();
        ends.all(|end| end.jobs.is_empty() && end.outgoing.is_empty())
    }
}

impl End {
    /// Does some of what the session asked for; true where the store changed.
    fn work(&mut self, store: &Store, now: Now, random: &mut Random) -> Result<bool, String> {
        let mut changed = false;
        loop {
            while let Some(action) = self.session.poll_action() {
                match action {
                    Action::Send(frame) => {
                        // In order, as TCP has it, but late.
                        let last = self.outgoing.back().map_or(0, |frame| frame.0);
                        let due = (now.us + random.below(30_000)).max(last);
                        self.outgoing.push_back((due, frame.encode()));
                    }
                    Action::Event(_) => {}
                    job => self.jobs.push_back(job),
                }
            }
            if random.one_in(3) {
                return Ok(changed);
            }
            let Some(job) = self.jobs.pop_front() else {
                return Ok(changed);
            };
            changed |= self
                .perform(store, job)
                .map_err(|error| error.to_string())?;
        }
    }

    fn perform(&mut self, store: &Store, job: Action) -> Result<bool, tutti::store::StoreError> {
        match job {
            Action::Apply(list) => {
                self.session.applied(store.apply(&list)?);
                return Ok(true);
            }
            Action::Read { frontier, position } => {
                let from = match position {
                    Some(position) => position,
                    None => store.log_start(&frontier)?,
                };
                // Small batches, so that much goes on between them.
                let (found, next) = store.log_after(&frontier, from, BATCH.min(600))?;
                let found = found.into_iter().map(|l| (l.origin, l.seq, l.bytes));
                self.session.read(found.collect(), next);
            }
            other => panic!("not in this simulation: {other:?}, chunks of {CHUNK}"),
        }
        Ok(false)
    }
}
