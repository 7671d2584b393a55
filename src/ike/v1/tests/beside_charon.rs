//! Histories with a peer that does as charon does: an AH pair lives under the ISAKMP SA whose quick
//! mode made it and ends with that SA, a delete under another finds nothing; who answers main mode
//! moves the pairs of one standing SA to the new one; who begins it does not; several SAs stand
//! side by side, each pair is replaced under its own, and the one installed last sends.

use std::collections::{BTreeMap, VecDeque};

use super::*;

const STEP_MS: u64 = 100;

type Cookies = (u64, u64);

/// A charon at the higher address.
struct Charon {
    side: Side,
    /// Our inbound SPI and the SA a pair lives under.
    homes: BTreeMap<u32, Cookies>,
    /// Pairs in the kernel (inbound, outbound SPI) in the order in which they came.
    installed: Vec<(u32, u32)>,
}

impl Charon {
    fn new() -> Self {
        Self {
            side: Side::new(2),
            homes: BTreeMap::new(),
            installed: Vec::new(),
        }
    }

    fn standing(&self) -> Vec<Cookies> {
        self.side
            .engine
            .phase1
            .iter()
            .map(|sa| sa.cookies)
            .collect()
    }

    /// What came to be in the last step, under this SA.
    fn note(&mut self, cookies: Cookies) {
        for owned in &self.side.engine.children {
            let spis = (owned.child.spi_in, owned.child.spi_out);
            self.homes.entry(spis.0).or_insert(cookies);
            // It installs a pair of the peer's with the third message only.
            if (owned.ours || owned.confirmed) && !self.installed.contains(&spis) {
                self.installed.push(spis);
            }
        }
    }

    fn forget(&mut self, gone: impl Fn(u32, Cookies) -> bool) {
        let children = &mut self.side.engine.children;
        children.retain(|o| !gone(o.child.spi_in, self.homes[&o.child.spi_in]));
        let stands = |spi| children.iter().any(|o| o.child.spi_in == spi);
        self.installed.retain(|spis| stands(spis.0));
        self.homes.retain(|spi, _| stands(*spi));
    }

    fn handle(&mut self, now: u64, bytes: &[u8]) -> Vec<Vec<u8>> {
        let (header, _) = Header::parse(bytes).unwrap();
        let cookies = (header.cky_i, header.cky_r);
        let standing = self.standing();
        let engine = &mut self.side.engine;
        let Some(at) = standing.iter().position(|known| *known == cookies) else {
            if header.exchange == exchange::MAIN {
                // It goes on with its own, whatever else is under way.
                let attempt = engine.attempt.clone();
                self.side
                    .act(now, |e, context| e.main(context, &header, bytes));
                let engine = &mut self.side.engine;
                if engine.phase1.len() > standing.len() {
                    let answered = !engine.phase1.last().unwrap().initiator;
                    if answered {
                        engine.attempt = attempt;
                        self.adopt(&standing);
                    }
                }
            }
            return self.side.sent();
        };
        match header.exchange {
            exchange::QUICK => {
                let asking: Vec<_> = engine.phase1.iter().map(|sa| sa.asking.clone()).collect();
                self.side
                    .act(now, |e, context| e.quick(context, at, &header, bytes));
                // As with main mode.
                let sas = self.side.engine.phase1.iter_mut();
                for (sa, before) in sas.zip(asking).filter(|(sa, _)| sa.asking.is_none()) {
                    sa.asking = before;
                }
                self.note(cookies);
            }
            exchange::INFORMATIONAL => {
                let said = self.side.act(now, |e, context| {
                    e.phase1[at].informed(context, &header, bytes)
                });
                let said = said.unwrap();
                self.side.engine.out.extend(said.answer);
                let children = &self.side.engine.children;
                let of_ours = |o: &&Owned| said.deleted.contains(&o.child.spi_out);
                let gone: Vec<u32> = children
                    .iter()
                    .filter(of_ours)
                    .map(|o| o.child.spi_in)
                    .collect();
                self.forget(|spi, home| home == cookies && (said.closed || gone.contains(&spi)));
                if said.closed {
                    self.side.engine.phase1.remove(at);
                }
            }
            _ => {}
        }
        self.side.sent()
    }

    /// Who answered main mode moves the pairs of the first SA that has any.
    fn adopt(&mut self, standing: &[Cookies]) {
        let to = *self.standing().last().unwrap();
        let has = |sa: &&Cookies| self.homes.values().any(|home| home == *sa);
        if let Some(&from) = standing.iter().find(has) {
            for home in self.homes.values_mut().filter(|home| **home == from) {
                *home = to;
            }
        }
    }

    fn begin(&mut self, now: u64) -> Vec<Vec<u8>> {
        // Whether it has no other SA it asks itself late, when it says so.
        let begun = self
            .side
            .act(now, |_, context| Initiator::start(context, false));
        let (attempt, bytes) = begun.ok().unwrap();
        self.side.engine.attempt = Some(attempt);
        vec![bytes]
    }

    /// Begins quick mode under each of these SAs.
    fn quick(&mut self, now: u64, under: &[Cookies]) -> Vec<Vec<u8>> {
        for cookies in under {
            let standing = self.standing();
            if let Some(at) = standing.iter().position(|known| known == cookies) {
                self.side.act(now, |e, context| e.begin_quick(context, at));
            }
        }
        self.side.sent()
    }
}

struct Pair {
    now: u64,
    ours: Side,
    charon: Charon,
    /// Whether both sides ever had an AH pair: from then on nothing may be lost.
    up: bool,
}

impl Pair {
    fn new() -> Self {
        Self {
            now: 0,
            ours: Side::new(1),
            charon: Charon::new(),
            up: false,
        }
    }

    /// All datagrams arrive, and the answers, at one moment.
    fn deliver(&mut self, to: usize, sent: Vec<Vec<u8>>) {
        let mut wire: VecDeque<(usize, Vec<u8>)> = sent.into_iter().map(|m| (to, m)).collect();
        while let Some((to, bytes)) = wire.pop_front() {
            let answers = if to == 0 {
                let now = self.now;
                self.ours
                    .act(now, |engine, context| engine.handle(context, &bytes));
                self.ours.sent()
            } else {
                self.charon.handle(self.now, &bytes)
            };
            wire.extend(answers.into_iter().map(|m| (1 - to, m)));
        }
    }

    fn is_received(&self) -> (bool, bool) {
        let outbound = self.ours.engine.outbound().map(|child| child.spi_out);
        let theirs = self
            .charon
            .installed
            .iter()
            .any(|(spi, _)| Some(*spi) == outbound);
        let last = self.charon.installed.last().map(|(_, out)| *out);
        let ours = self
            .ours
            .engine
            .children()
            .any(|child| Some(child.spi_in) == last);
        (theirs, ours)
    }

    fn run(&mut self, ms: u64, history: &str) {
        for _ in 0..ms / STEP_MS {
            self.now += STEP_MS;
            let now = self.now;
            self.ours
                .act(now, |engine, context| engine.advance(context));
            let sent = self.ours.sent();
            self.deliver(1, sent);
            self.up |= self.is_received() == (true, true);
            if self.up {
                assert_eq!(self.is_received(), (true, true), "{history}, {now} ms");
            }
        }
    }
}

#[test]
fn whatever_crosses_and_is_replaced_beside_charon_both_receive_what_the_other_sends() {
    let mut seen = 0;
    // When charon begins main mode, and how long after that it replaces all pairs, each under its
    // own SA, in one order or the other; when we do.
    for begins in [0, 1_000, 2_000, 8_000] {
        for replaces in [100, 1_000, 4_000, 7_000, 11_000, 30_000] {
            for reversed in [false, true] {
                for ours in [None, Some(500), Some(5_000), Some(9_000)] {
                    let history = format!("{begins} {replaces} {reversed} {ours:?}");
                    let mut pair = Pair::new();
                    if begins == 0 {
                        // Before anything of ours arrives.
                        let first = pair.charon.begin(0);
                        pair.ours.act(0, |engine, context| engine.advance(context));
                        let sent = pair.ours.sent();
                        pair.deliver(1, sent);
                        pair.run(4_000, &history);
                        pair.deliver(0, first);
                    } else {
                        pair.run(begins, &history);
                        let first = pair.charon.begin(begins);
                        pair.deliver(0, first);
                    }
                    assert_eq!(pair.charon.standing().len(), 2, "{history}");
                    let last = *pair.charon.standing().last().unwrap();
                    let first = pair.charon.quick(pair.now, &[last]);
                    pair.deliver(0, first);
                    if let Some(ms) = ours {
                        pair.run(ms, &history);
                        let now = pair.now;
                        pair.ours.engine.rekey(now);
                    }
                    pair.run(replaces, &history);
                    let mut under = pair.charon.standing();
                    under.retain(|sa| pair.charon.homes.values().any(|home| home == sa));
                    if reversed {
                        under.reverse();
                    }
                    seen += under.len();
                    let first = pair.charon.quick(pair.now, &under);
                    pair.deliver(0, first);
                    pair.run(60_000, &history);
                    assert_eq!(pair.ours.engine.phase1.len(), 1, "{history}");
                    assert_eq!(pair.ours.engine.children.len(), 1, "{history}");
                    assert_eq!(pair.charon.standing().len(), 1, "{history}");
                }
            }
        }
    }
    assert!(seen > 200, "{seen}");
}
