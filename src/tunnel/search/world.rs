//! Two systems, what their kernels hold, and what is under way between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use zeroize::Zeroizing;

use super::super::either::Either;
use super::super::message::{KeyerRequest, Peer};
use super::super::{Arrival, Outbox, PORT};
use super::Disturbance;
use crate::ike::cookie::Cookies;
use crate::ike::shape::Shape;
use crate::ike::suite::Profile;
use crate::ike::{Context, Credentials, Dropped, Lifetimes, Random};

/// Unrest that lasts longer than this never ends.
pub(super) const LIMIT_MS: u64 = 60_000;

/// What may still happen, and of which kinds.
#[derive(Clone)]
pub(super) struct Budget {
    kinds: Rc<[Disturbance]>,
    actions: [u8; 2],
    losses: [u8; 2],
    /// Datagrams may overtake each other.
    reorder: bool,
}

impl Budget {
    /// As many disturbances and losses of its datagrams for each side.
    pub fn new(kinds: &[Disturbance], actions: u8, losses: u8) -> Self {
        Self {
            kinds: kinds.into(),
            actions: [actions; 2],
            losses: [losses; 2],
            reorder: false,
        }
    }

    /// The same, where one side does all that is done.
    pub fn by(mut self, side: usize) -> Self {
        self.actions[side] += std::mem::take(&mut self.actions[1 - side]);
        self
    }

    /// The same, and datagrams may overtake each other.
    pub fn reordered(mut self) -> Self {
        self.reorder = true;
        self
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kinds, losses) = (&self.kinds, self.losses[0]);
        match self.actions {
            [a, b] if a == b => write!(f, "{a} of {kinds:?} and {losses} losses a side")?,
            [a, b] => write!(f, "{a} and {b} of {kinds:?} and {losses} losses a side")?,
        }
        f.write_str(if self.reorder { ", overtaking" } else { "" })
    }
}

/// SplitMix64: a stream of its own for each side.
#[derive(Clone)]
struct Stream(u64);

impl Random for Stream {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_be_bytes()[..chunk.len()]);
        }
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn address(side: usize) -> IpAddr {
    [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])][side]
}

/// What does not change.
struct Rules {
    profile: Profile,
    credentials: Credentials,
    strangers: Credentials,
    cookies: Cookies,
}

/// One system.
#[derive(Clone)]
struct Side {
    number: usize,
    link: Either,
    outbox: Outbox,
    random: Stream,
    kernel: Kernel,
    /// Stands for all it was given, and when.
    history: u64,
}

impl Side {
    fn new(number: usize, profile: &Profile, seed: u64) -> Self {
        let peer = Peer {
            address: address(1 - number),
            reqid: 7401,
        };
        Self {
            number,
            link: Either::new(profile.version, 0, peer, address(number)),
            outbox: Outbox::default(),
            random: Stream(hash(&(number, seed))),
            kernel: Kernel::default(),
            history: 0,
        }
    }

    /// Gives it `input` and returns what it sends.
    fn give(
        &mut self,
        (rules, credentials): (&Rules, &Credentials),
        now: u64,
        input: impl Hash,
        act: impl FnOnce(&mut Either, &mut Context<'_>, &mut Outbox),
    ) -> Vec<Vec<u8>> {
        self.history = hash(&(self.history, now, input));
        let mut context = Context {
            now,
            random: &mut self.random,
            local: address(self.number),
            remote: address(1 - self.number),
            credentials,
            profile: &rules.profile,
            lifetimes: Lifetimes {
                child_ms: 1 << 40,
                ike_ms: 1 << 40,
            },
            dropped: Dropped::default(),
        };
        act(&mut self.link, &mut context, &mut self.outbox);
        self.link.advance(&mut context, &mut self.outbox);
        let mut sent = Vec::new();
        loop {
            while let Some(transmit) = self.outbox.transmit() {
                sent.push(transmit.bytes);
            }
            let Some(request) = self.outbox.request() else {
                break;
            };
            self.kernel.keep(request);
            if let Some(question) = self.outbox.answer() {
                self.link.keyer_done(&question);
            }
            self.link.advance(&mut context, &mut self.outbox);
        }
        sent
    }

    fn handle(&mut self, rules: &Rules, now: u64, bytes: &[u8]) -> Vec<Vec<u8>> {
        let from = SocketAddr::new(address(1 - self.number), PORT);
        let who = (rules, &rules.credentials);
        self.give(who, now, bytes, |link, context, outbox| {
            let cookies = &rules.cookies;
            link.handle(
                context,
                Arrival {
                    outbox,
                    cookies,
                    from,
                    bytes,
                },
            );
        })
    }
}

/// What its kernel holds: keys by SPI.
#[derive(Clone, Default)]
struct Kernel {
    inbound: BTreeMap<u32, Vec<u8>>,
    outbound: Option<(u32, Vec<u8>)>,
    /// Every key that ever sent.
    used: BTreeSet<Vec<u8>>,
    /// One of them sends again: its numbers begin anew, and the peer takes its packets for replays.
    put_back: bool,
}

impl Kernel {
    fn keep(&mut self, request: KeyerRequest) {
        match request {
            KeyerRequest::Install(sa) if sa.inbound => {
                assert!(self.inbound.insert(sa.spi, sa.key.0.clone()).is_none());
            }
            KeyerRequest::Install(sa) => {
                self.put_back = !self.used.insert(sa.key.0.clone());
                self.outbound = Some((sa.spi, sa.key.0.clone()));
            }
            KeyerRequest::Remove {
                spi, inbound: true, ..
            } => {
                assert!(self.inbound.remove(&spi).is_some());
            }
            KeyerRequest::Remove { spi, .. } => {
                assert_eq!(self.outbound.take().map(|(spi, _)| spi), Some(spi));
            }
            _ => {}
        }
    }

    /// The same, but for what was before.
    fn holds(&self, other: &Self) -> bool {
        (&self.inbound, &self.outbound) == (&other.inbound, &other.outbound)
    }
}

/// What happened, last first.
struct Trace {
    step: String,
    before: Option<Rc<Trace>>,
}

/// Both systems and the network.
#[derive(Clone)]
pub(super) struct World {
    rules: Rc<Rules>,
    now: u64,
    sides: [Rc<Side>; 2],
    /// Datagrams under way to each side.
    wire: [Vec<Rc<[u8]>>; 2],
    /// All that were ever sent to it, if they may be sent again.
    recorded: [Vec<Rc<[u8]>>; 2],
    budget: Budget,
    /// When something was last disturbed or lost.
    disturbed: u64,
    trace: Option<Rc<Trace>>,
}

impl World {
    /// Both systems with one tunnel between them.
    pub fn up(profile: &Profile, seed: u64, budget: Budget) -> Self {
        let credentials = |key: &[u8]| Credentials {
            key: Zeroizing::new(key.to_vec()),
            certificate: [7; 32].into(),
            certified: None,
            ppk: None,
            tokens: Zeroizing::new([9; 32]),
        };
        let rules = Rules {
            profile: profile.clone(),
            credentials: credentials(b"key"),
            strangers: credentials(b"another"),
            cookies: Cookies::new(0, &mut Stream(5)),
        };
        let mut world = World {
            rules: Rc::new(rules),
            now: 0,
            sides: [0, 1].map(|n| Rc::new(Side::new(n, profile, seed))),
            wire: [Vec::new(), Vec::new()],
            recorded: [Vec::new(), Vec::new()],
            budget: Budget::new(&[], 0, 0),
            disturbed: 0,
            trace: None,
        };
        while !world.is_settled() {
            world = world.successors().swap_remove(0);
        }
        world.budget = budget;
        world.trace = None;
        world
    }

    /// Equal for states from which the same can happen.
    pub fn key(&self) -> u64 {
        let left = (self.budget.actions, self.budget.losses);
        if let Some(roles) = self.settled() {
            return hash(&(roles, left, self.put_back()));
        }
        let mut wire = self.wire.clone();
        if self.budget.reorder {
            wire.iter_mut().for_each(|datagrams| datagrams.sort());
        }
        let histories = [self.sides[0].history, self.sides[1].history];
        hash(&(histories, wire, left, self.unrest_ms()))
    }

    /// Equal for states that differ by chance alone, or by times of less than `grain`
    /// milliseconds.
    pub fn shape(&self, grain: u64) -> u64 {
        let left = (self.budget.actions, self.budget.losses);
        if let Some(roles) = self.settled() {
            return hash(&(roles, left, self.put_back()));
        }
        let mut shape = Shape::new(self.now, grain);
        let links = [0, 1].map(|side| self.sides[side].link.newer());
        for link in links {
            link.shape(&mut shape);
        }
        for side in 0..2 {
            for bytes in links[side].repeatable() {
                shape.datagram(bytes, links[1 - side].session_of(bytes));
            }
            shape.list(self.wire[side].iter(), |shape, bytes| {
                shape.datagram(bytes, links[side].session_of(bytes));
            });
        }
        shape.value(left);
        shape.finish()
    }

    /// What happens next if nothing is disturbed or lost, and how long that takes.
    pub fn undisturbed(&self) -> Option<(World, u64)> {
        let alone = (0..2).find(|&side| !self.wire[side].is_empty());
        let next = match alone {
            Some(side) => self.delivered(side, 0),
            None if self.is_settled() => return None,
            None => self.later(),
        };
        let took = next.now - self.now;
        Some((next, took))
    }

    /// How long it is since something was disturbed or lost.
    pub fn unrest_ms(&self) -> u64 {
        self.now - self.disturbed
    }

    /// If nothing more happens by itself: the roles of both sides.
    fn settled(&self) -> Option<[(bool, bool); 2]> {
        let silent = self.wire.iter().all(Vec::is_empty);
        let [a, b] = [0, 1].map(|n| self.sides[n].link.settled());
        Some([a?, b?]).filter(|_| silent)
    }

    /// Whether either side sends by an SA that sent before and had been replaced.
    fn put_back(&self) -> [bool; 2] {
        [0, 1].map(|side| self.sides[side].kernel.put_back)
    }

    /// Whether nothing more happens by itself.
    pub fn is_settled(&self) -> bool {
        self.settled().is_some()
    }

    /// What must hold in every state.
    pub fn check(&self) {
        for side in 0..2 {
            let (ours, theirs) = (&self.sides[side], &self.sides[1 - side]);
            if let Some((spi, key)) = &ours.kernel.outbound
                && let Some(other) = theirs.kernel.inbound.get(spi)
            {
                self.demand(key == other, "keys differ");
            }
            if self.is_settled() {
                self.demand(!ours.kernel.put_back, "an outbound SA was put back");
                let received = ours.kernel.outbound.as_ref().map(|(spi, _)| *spi);
                let current = |spi: u32| theirs.kernel.inbound.contains_key(&spi);
                self.demand(
                    received.is_some_and(current),
                    "nobody receives what is sent",
                );
                self.demand(ours.link.ike_sas() == 1, "not one IKE SA");
            }
        }
        self.demand(self.unrest_ms() < LIMIT_MS, "no end of unrest");
    }

    fn demand(&self, holds: bool, what: &str) {
        if !holds {
            let mut steps = Vec::new();
            let mut at = self.trace.as_ref();
            while let Some(trace) = at {
                steps.push(trace.step.clone());
                at = trace.before.as_ref();
            }
            steps.reverse();
            panic!("{what}:\n{}", steps.join("\n"));
        }
    }

    /// All that can happen next.
    pub fn successors(&self) -> Vec<World> {
        let mut next = Vec::new();
        // What happens to one side waits for nothing that happens to the other, as long as a
        // datagram is under way to it: of all orders of such pairs one is enough.
        let alone = (0..2).find(|&side| !self.wire[side].is_empty());
        let alone = alone.filter(|_| !self.budget.reorder && !self.replays());
        for side in (0..2).filter(|&side| alone.is_none_or(|alone| alone == side)) {
            let overtaking = if self.budget.reorder { usize::MAX } else { 1 };
            for at in 0..self.wire[side].len().min(overtaking) {
                next.push(self.delivered(side, at));
                if self.budget.losses[1 - side] > 0 {
                    next.push(self.lost(side, at));
                }
            }
            if self.budget.actions[side] > 0 {
                for kind in self.budget.kinds.iter() {
                    next.extend(self.disturbed(side, *kind));
                }
            }
        }
        if self.wire.iter().all(Vec::is_empty) && !self.is_settled() {
            next.push(self.later());
        }
        next
    }

    fn replays(&self) -> bool {
        self.budget.kinds.contains(&Disturbance::Replay)
    }

    fn step(&self, step: String) -> World {
        let mut next = self.clone();
        next.trace = Some(Rc::new(Trace {
            step: format!("{:>6} ms  {step}", self.now),
            before: self.trace.clone(),
        }));
        next
    }

    fn send(&mut self, from: usize, sent: Vec<Vec<u8>>) {
        let replays = self.replays();
        for bytes in sent {
            let bytes: Rc<[u8]> = bytes.into();
            if replays {
                self.recorded[1 - from].push(Rc::clone(&bytes));
            }
            self.wire[1 - from].push(bytes);
        }
    }

    pub fn delivered(&self, side: usize, at: usize) -> World {
        let mut next = self.step(format!("to {side}: {}", named(&self.wire[side][at])));
        let bytes = next.wire[side].remove(at);
        let rules = Rc::clone(&next.rules);
        let sent = Rc::make_mut(&mut next.sides[side]).handle(&rules, self.now, &bytes);
        next.send(side, sent);
        next
    }

    pub fn lost(&self, side: usize, at: usize) -> World {
        let mut next = self.step(format!("lost to {side}: {}", named(&self.wire[side][at])));
        let bytes = next.wire[side].remove(at);
        // Nobody repeats what never came.
        let recorded = &mut next.recorded[side];
        if let Some(at) = recorded.iter().rposition(|one| *one == bytes) {
            recorded.remove(at);
        }
        next.budget.losses[1 - side] -= 1;
        next.disturbed = self.now;
        next
    }

    pub fn disturbed(&self, side: usize, kind: Disturbance) -> Vec<World> {
        let mut next = self.step(format!("{side} does {kind:?}"));
        next.budget.actions[side] -= 1;
        next.disturbed = self.now;
        match kind {
            Disturbance::Stranger => next.strange(side),
            Disturbance::Replay => return next.replayed(side),
            _ => {
                let rules = Rc::clone(&next.rules);
                let spi = self.sides[side]
                    .kernel
                    .outbound
                    .as_ref()
                    .map(|(spi, _)| *spi);
                let who = (&*rules, &rules.credentials);
                let acting = Rc::make_mut(&mut next.sides[side]);
                let sent = acting.give(who, self.now, kind, |link, context, outbox| {
                    match (kind, spi) {
                        (Disturbance::RekeyChild, Some(spi)) => link.expire(context.now, spi),
                        _ => link.disturb(context, outbox, kind),
                    }
                });
                next.send(side, sent);
            }
        }
        vec![next]
    }

    /// A handshake of somebody else, who sees all answers, goes as far as it can.
    fn strange(&mut self, side: usize) {
        let (rules, now) = (Rc::clone(&self.rules), self.now);
        let mut stranger = Side::new(1 - side, &rules.profile, now);
        let who = (&*rules, &rules.strangers);
        let begin = |link: &mut Either, context: &mut Context<'_>, outbox: &mut Outbox| {
            link.disturb(context, outbox, Disturbance::Initiate);
        };
        let mut sent = stranger.give(who, now, 0, begin);
        let before = self.sides[side].link.ike_sas();
        let kernel = self.sides[side].kernel.clone();
        while let Some(bytes) = sent.pop() {
            let answers = Rc::make_mut(&mut self.sides[side]).handle(&rules, now, &bytes);
            for answer in &answers {
                let from = SocketAddr::new(address(side), PORT);
                sent.extend(stranger.give(who, now, answer, |link, context, outbox| {
                    let (cookies, bytes) = (&rules.cookies, &answer[..]);
                    link.handle(
                        context,
                        Arrival {
                            outbox,
                            cookies,
                            from,
                            bytes,
                        },
                    );
                }));
            }
            self.send(side, answers);
        }
        let same = self.sides[side].kernel.holds(&kernel);
        self.demand(same, "a stranger changed the kernel");
        let same = self.sides[side].link.ike_sas() == before;
        self.demand(same, "a stranger made or ended an IKE SA");
    }

    fn replayed(&self, side: usize) -> Vec<World> {
        let recorded = self.recorded[side].iter();
        let again = recorded.map(|bytes| {
            let mut next = self.step(format!("again to {side}: {}", named(bytes)));
            let before = next.sides[side].kernel.clone();
            let rules = Rc::clone(&next.rules);
            let given = Rc::make_mut(&mut next.sides[side]);
            let sent = given.handle(&rules, self.now, bytes);
            if !self.wire[side].contains(bytes) {
                let same = given.kernel.holds(&before);
                next.demand(same, "a repeated datagram changed the kernel");
            }
            next.send(side, sent);
            next
        });
        again.collect()
    }

    /// Until the next timer.
    pub fn later(&self) -> World {
        let due = |side: usize| self.sides[side].link.due().unwrap_or(u64::MAX);
        let now = due(0).min(due(1)).max(self.now);
        let mut next = self.step(String::from("time passes"));
        next.now = now;
        let rules = Rc::clone(&next.rules);
        for side in 0..2 {
            if due(side) <= now {
                let who = (&*rules, &rules.credentials);
                let late = Rc::make_mut(&mut next.sides[side]);
                let sent = late.give(who, now, "timer", |_, _, _| {});
                next.send(side, sent);
            }
        }
        next
    }
}

/// Exchange, direction and message id of a datagram.
fn named(bytes: &[u8]) -> String {
    let id = bytes.get(20..24).unwrap_or_default();
    let kind = if bytes[19] & 0x20 == 0 {
        "request"
    } else {
        "answer"
    };
    format!("{} {kind} {id:?} of {:02x?}", bytes[18], &bytes[..4])
}
