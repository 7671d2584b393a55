//! Clocks that disagree (contract 10).
//!
//! A transaction stamped further ahead of our wall clock than the bound waits here and never
//! moves the cluster's clock; so do those that follow it, of its origin or by depending on it.
//! The rest of the stream goes on. Who is wrong is decided by time synchronization: it does not
//! change what waits, but who is told to yield, and who stamps its waiting transactions anew.

use std::collections::BTreeMap;

use super::change::{Dep, Logged, MAX_TRANSACTION, peek};
use super::clock::Hlc;
use super::frontier::Frontier;
use super::payload::Payload;
use super::{Incarnation, NodeId};

/// How far ahead of ours a stamp may be, in milliseconds.
pub const BOUND_MS: u64 = 500;
/// How many bytes of transactions wait in memory at most. What finds no room is left out, with all
/// that builds on it; once half of it is free again links bring it anew.
pub const MAX_WAITING: usize = 16 << 20;
/// What one takes beside its bytes.
const OVERHEAD: usize = 128;
/// What one that waits in a file counts there: no more than 64 do.
const A_FILE: usize = MAX_WAITING / 64;
/// How many bytes wait in files at most: the largest transaction may.
const MAX_STORED: u64 = MAX_TRANSACTION as u64;

/// Whose clock is to yield.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skew {
    /// Within the bound.
    Fine,
    /// Ours: it is not synchronized and the peer's is.
    WeYield,
    /// The peer's: it is not synchronized and ours is.
    PeerYields,
    /// Nobody knows: both are synchronized, or neither is.
    Unclear,
}

impl std::fmt::Display for Skew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Skew::Fine => "the clocks agree",
            Skew::WeYield => {
                "this system's clock differs from the peer's and is not synchronized: set its NTP \
                 servers; transactions stamped too far ahead wait until it is right"
            }
            Skew::PeerYields => {
                "the peer's clock differs from this system's and is not synchronized: set its NTP \
                 servers; transactions stamped too far ahead wait until it is right"
            }
            Skew::Unclear => {
                "the clocks of this system and the peer differ and synchronization does not tell \
                 which is wrong: check the NTP servers of both; neither takes transactions \
                 stamped too far ahead"
            }
        })
    }
}

/// Judges a peer whose clock was measured `offset_ms` ahead of ours; `ours` and `theirs` tell
/// whether each is synchronized.
pub fn judge(ours: bool, theirs: bool, offset_ms: i64, bound_ms: u64) -> Skew {
    if offset_ms.unsigned_abs() <= bound_ms {
        return Skew::Fine;
    }
    match (ours, theirs) {
        (false, true) => Skew::WeYield,
        (true, false) => Skew::PeerYields,
        _ => Skew::Unclear,
    }
}

/// One transaction that waits, as an alarm tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Whose.
    pub origin: Incarnation,
    /// Which.
    pub seq: u64,
    /// Its stamp.
    pub hlc: Hlc,
}

/// The transactions that wait.
#[derive(Debug, Default)]
pub struct Waiting {
    held: BTreeMap<Incarnation, BTreeMap<u64, Logged>>,
    used: Room,
    /// Per origin the first that found no room, and what it takes.
    beyond: BTreeMap<Incarnation, (u64, Room)>,
    dropped: u64,
    released: u64,
}

/// What waiting takes.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    memory: usize,
    stored: u64,
}

impl Room {
    fn of(logged: &Logged) -> Self {
        match &logged.bytes {
            Payload::Held(bytes) => Room {
                memory: OVERHEAD + bytes.len(),
                stored: 0,
            },
            Payload::Stored(source) => Room {
                memory: A_FILE,
                stored: source.size(),
            },
        }
    }

    fn with(self, more: Room) -> Self {
        Room {
            memory: self.memory + more.memory,
            stored: self.stored + more.stored,
        }
    }

    fn without(self, less: Room) -> Self {
        Room {
            memory: self.memory - less.memory,
            stored: self.stored - less.stored,
        }
    }

    fn is_within(self, part: u32) -> bool {
        self.memory <= MAX_WAITING / part as usize && self.stored <= MAX_STORED / u64::from(part)
    }
}

impl Waiting {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether there was no room for something.
    pub fn is_full(&self) -> bool {
        !self.beyond.is_empty()
    }

    /// How many origins wait or found no room of which `known` has nothing.
    pub fn beside(&self, known: &Frontier) -> usize {
        let beyond = self.beyond.keys();
        let beyond = beyond.filter(|id| !self.held.contains_key(id));
        let all = self.held.keys().chain(beyond);
        all.filter(|id| !known.0.contains_key(id)).count()
    }

    /// Whether something of this origin waits or found no room.
    pub fn names(&self, origin: Incarnation) -> bool {
        self.held.contains_key(&origin) || self.beyond.contains_key(&origin)
    }

    /// How often something was dropped because what it builds on no longer comes, or because it
    /// could not be applied. Peers believe
    /// that it is here: whoever sees this number change ends its links, and new ones bring all
    /// that counts.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many waited and were handed out.
    pub fn released(&self) -> u64 {
        self.released
    }

    /// What was admitted could not be applied: it waits no more, and links that brought it have to
    /// bring it again.
    pub fn failed(&mut self) {
        self.dropped += 1;
    }

    /// Whether all of a batch may be applied as it is: nothing waits and nothing is ahead. The
    /// arguments are those of [`Waiting::admit`].
    pub fn passes(
        &self,
        batch: &[Logged],
        frontier: &Frontier,
        at: impl Fn(Incarnation) -> Option<Hlc>,
        limit: Hlc,
    ) -> bool {
        let mut ends: BTreeMap<Incarnation, (u64, Hlc)> = BTreeMap::new();
        let due = |logged: &Logged| {
            let origin = logged.origin;
            let known = || (frontier.seq(origin), at(origin).unwrap_or_default());
            let end = ends.entry(origin).or_insert_with(known);
            if logged.seq <= end.0 {
                return true;
            }
            let later = peek(&logged.bytes).map(|parts| parts.0);
            let Some(stamp) = later.and_then(|later| end.1.0.checked_add(later)) else {
                return false;
            };
            *end = (logged.seq, Hlc(stamp));
            Hlc(stamp) <= limit
        };
        self.is_empty() && batch.iter().all(due)
    }

    /// Takes a batch in. Returns what may be applied now, in order: what waited and is due, and
    /// of the batch all but what is stamped beyond `limit` and what builds on that. `at` tells
    /// an origin's last applied number and stamp. What cannot be read is passed on, for the one
    /// who applies it to refuse.
    pub fn admit(
        &mut self,
        batch: &[Logged],
        frontier: &Frontier,
        at: impl Fn(Incarnation) -> Option<Hlc>,
        limit: Hlc,
    ) -> Vec<Logged> {
        let mut round = Round {
            ready: Vec::new(),
            ends: BTreeMap::new(),
            frontier,
            at,
            limit,
        };
        self.due(&mut round, false);
        for logged in batch {
            if self.finds_no_room(logged) {
                continue;
            }
            // Of two histories the one that waits may be nobody's any more.
            let queue = self.held.get(&logged.origin);
            let waits = queue.and_then(|queue| queue.get(&logged.seq));
            if waits.is_some_and(|waits| !waits.is_same(logged)) {
                self.forget(logged.origin, logged.seq.saturating_sub(1));
            }
            let holds = self
                .held
                .get(&logged.origin)
                .is_some_and(|held| !held.is_empty());
            if !holds && round.take(logged, &self.held) != Taken::Waits {
                continue;
            }
            self.hold(logged, round.frontier);
        }
        self.due(&mut round, true);
        self.make_room();
        round.ready
    }

    fn hold(&mut self, logged: &Logged, frontier: &Frontier) {
        let queue = self.held.get(&logged.origin);
        let holds = queue.is_some_and(|queue| queue.contains_key(&logged.seq));
        if holds || frontier.covers(logged.origin, logged.seq) {
            return;
        }
        let room = Room::of(logged);
        let used = self.used.with(room);
        if !used.is_within(1) {
            self.beyond.insert(logged.origin, (logged.seq, room));
            return;
        }
        self.used = used;
        let queue = self.held.entry(logged.origin).or_default();
        queue.insert(logged.seq, logged.clone());
    }

    /// Whether it follows on, or builds on, what found no room.
    fn finds_no_room(&mut self, logged: &Logged) -> bool {
        if self.beyond.is_empty() {
            return false;
        }
        // The room that one wants which found none.
        let beyond = |origin: &Incarnation, seq: u64| {
            let first = self.beyond.get(origin).filter(|(first, _)| seq >= *first);
            first.map(|(_, room)| *room)
        };
        if beyond(&logged.origin, logged.seq).is_some() {
            return true;
        }
        let head = peek(&logged.bytes).map(|(_, head)| head);
        let mut deps = head.iter().flat_map(|head| &head.deps);
        let builds = deps.find_map(|dep| beyond(&dep.origin, dep.seq));
        if let Some(room) = builds {
            // There may be room for it alone, and it helps nobody.
            self.beyond.insert(logged.origin, (logged.seq, room));
        }
        builds.is_some()
    }

    /// What found no room comes again over links that begin anew, once there is some.
    fn make_room(&mut self) {
        let mut first = self.beyond.values();
        let fits = first.any(|(_, room)| self.used.with(*room).is_within(1));
        if fits && self.used.is_within(2) {
            self.beyond.clear();
            self.dropped += 1;
        }
    }

    /// Releases what is due, and what that releases. After a batch was taken in (`after`), what
    /// builds on something that is neither here nor waits is dropped.
    fn due<F: Fn(Incarnation) -> Option<Hlc>>(&mut self, round: &mut Round<'_, F>, after: bool) {
        loop {
            let before = round.ready.len();
            let origins: Vec<Incarnation> = self.held.keys().copied().collect();
            for origin in origins {
                let Some(mut queue) = self.held.remove(&origin) else {
                    continue;
                };
                while let Some((seq, logged)) = queue.pop_first() {
                    // What came before it was stamped anew: the next link brings what counts.
                    let gap = seq > round.end(origin).0 + 1;
                    let lost = gap || round.builds_on_nothing(&logged, &self.held);
                    if lost && (gap || after) {
                        self.dropped += 1;
                        self.used = self.used.without(Room::of(&logged));
                        continue;
                    }
                    if lost || round.take(&logged, &self.held) == Taken::Waits {
                        queue.insert(seq, logged);
                        break;
                    }
                    self.released += 1;
                    self.used = self.used.without(Room::of(&logged));
                }
                if !queue.is_empty() {
                    self.held.insert(origin, queue);
                }
            }
            if round.ready.len() == before {
                return;
            }
        }
    }

    /// An origin's node no longer has what waits of it beyond `seq`: it stamped it anew. What
    /// builds on that goes, too, before another history has those numbers.
    pub fn forget(&mut self, origin: Incarnation, seq: u64) {
        let mut ends = vec![(origin, seq)];
        while let Some((origin, seq)) = ends.pop() {
            let Some(queue) = self.held.get_mut(&origin) else {
                continue;
            };
            let gone = queue.split_off(&seq.saturating_add(1));
            if queue.is_empty() {
                self.held.remove(&origin);
            }
            if gone.is_empty() {
                continue;
            }
            self.dropped += 1;
            let freed = gone.values().map(Room::of);
            self.used = freed.fold(self.used, Room::without);
            let names = |dep: &Dep| dep.origin == origin && dep.seq > seq;
            for (other, queue) in &self.held {
                let builds = |logged: &Logged| {
                    peek(&logged.bytes).is_some_and(|(_, head)| head.deps.iter().any(names))
                };
                let first = queue.iter().find(|(_, logged)| builds(logged));
                ends.extend(first.map(|(seq, _)| (*other, seq - 1)));
            }
        }
        self.make_room();
    }

    /// What waits was taken in beside a history that is here no more. Links bring again what
    /// counts.
    pub fn give_up(&mut self) {
        self.dropped += u64::from(!self.held.is_empty());
        self.held.clear();
        self.used = Room::default();
        self.make_room();
    }

    /// The node of an origin whose first transaction waits, which tells it.
    pub fn node(&self, origin: Incarnation) -> Option<NodeId> {
        let first = self.held.get(&origin)?.get(&1)?;
        first.decode(Hlc::default())?.head.node
    }

    /// The origins of which something waits.
    pub fn origins(&self) -> Vec<Incarnation> {
        self.held.keys().copied().collect()
    }

    /// The first that waits of each origin, for an alarm; `at` as in [`Waiting::admit`].
    pub fn ahead(&self, at: impl Fn(Incarnation) -> Option<Hlc>) -> Vec<Ahead> {
        let first = |(origin, queue): (&Incarnation, &BTreeMap<u64, Logged>)| {
            let (seq, logged) = queue.first_key_value()?;
            let hlc = logged.decode(at(*origin).unwrap_or_default())?.hlc;
            let (origin, seq) = (*origin, *seq);
            Some(Ahead { origin, seq, hlc })
        };
        self.held.iter().filter_map(first).collect()
    }
}

/// What became of a transaction in a round.
#[derive(PartialEq, Eq)]
enum Taken {
    /// It may be applied, or is here.
    Ready,
    /// For the clock, or for what it depends on.
    Waits,
}

/// One call of [`Waiting::admit`].
struct Round<'a, F> {
    ready: Vec<Logged>,
    /// Where each origin stands after what is ready.
    ends: BTreeMap<Incarnation, (u64, Hlc)>,
    frontier: &'a Frontier,
    at: F,
    limit: Hlc,
}

impl<F: Fn(Incarnation) -> Option<Hlc>> Round<'_, F> {
    fn end(&self, origin: Incarnation) -> (u64, Hlc) {
        let known = || {
            let hlc = (self.at)(origin).unwrap_or_default();
            (self.frontier.seq(origin), hlc)
        };
        self.ends.get(&origin).copied().unwrap_or_else(known)
    }

    /// Whether it depends on something that is neither here nor waits.
    fn builds_on_nothing(
        &self,
        logged: &Logged,
        held: &BTreeMap<Incarnation, BTreeMap<u64, Logged>>,
    ) -> bool {
        let missing =
            |dep: &Dep| !held.contains_key(&dep.origin) && self.end(dep.origin).0 < dep.seq;
        peek(&logged.bytes).is_some_and(|(_, head)| head.deps.iter().any(missing))
    }

    /// Makes a transaction ready, unless it has to wait.
    fn take(
        &mut self,
        logged: &Logged,
        held: &BTreeMap<Incarnation, BTreeMap<u64, Logged>>,
    ) -> Taken {
        let (seq, hlc) = self.end(logged.origin);
        if logged.seq <= seq {
            return Taken::Ready;
        }
        let read = peek(&logged.bytes).filter(|_| logged.seq == seq + 1);
        let stamped = read.and_then(|(later, head)| Some((hlc.0.checked_add(later)?, head)));
        if let Some((stamp, head)) = stamped {
            let waits =
                |dep: &Dep| held.contains_key(&dep.origin) && self.end(dep.origin).0 < dep.seq;
            if Hlc(stamp) > self.limit || head.deps.iter().any(waits) {
                return Taken::Waits;
            }
            self.ends.insert(logged.origin, (logged.seq, Hlc(stamp)));
        }
        self.ready.push(logged.clone());
        Taken::Ready
    }
}

/// The latest stamp that is within the bound at `wall_ms`.
pub fn limit(wall_ms: u64, bound_ms: u64) -> Hlc {
    let millis = wall_ms.saturating_add(bound_ms).min((1 << 48) - 1);
    Hlc((millis << 16) | 0xffff)
}

#[cfg(test)]
mod tests;
