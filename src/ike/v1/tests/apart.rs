//! Where the two ends do not hold the same SAs, or one of them ends what they agreed to.

use super::*;

/// What one side still keeps back of what it sends.
type Lost = fn(usize, &Header) -> bool;

/// Both, each in its time.
struct World {
    now: u64,
    sides: [Side; 2],
    lost: Lost,
}

impl World {
    fn new() -> Self {
        Self {
            now: 0,
            sides: [Side::new(1), Side::new(2)],
            lost: |_, _| false,
        }
    }

    /// Delivers all that is sent, and what follows from it.
    fn deliver(&mut self) {
        loop {
            let sent: Vec<_> = (0..2).map(|n| self.sides[n].sent()).collect();
            if sent.iter().all(Vec::is_empty) {
                return;
            }
            for (from, sent) in sent.into_iter().enumerate() {
                for bytes in sent {
                    if !(self.lost)(from, &Header::parse(&bytes).unwrap().0) {
                        let handle = |engine: &mut Engine, context: &mut Context<'_>| {
                            engine.handle(context, &bytes);
                        };
                        self.sides[1 - from].act(self.now, handle);
                    }
                }
            }
        }
    }

    /// Until `end`; `each` looks after every moment in which something happened.
    fn run(&mut self, end: u64, mut each: impl FnMut(&mut Self)) {
        self.deliver();
        each(self);
        loop {
            let due = self.sides.iter().filter_map(|side| side.engine.due()).min();
            let Some(due) = due.filter(|due| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            for side in &mut self.sides {
                side.act(self.now, |engine, context| engine.advance(context));
            }
            self.deliver();
            each(self);
        }
        self.now = end;
    }
}

/// Such as one whose kernel takes no AH. Quick modes followed each other as fast as both could.
#[test]
fn a_peer_that_ends_each_pair_at_once_is_asked_for_the_next_one_later_and_later() {
    let mut world = World::new();
    let mut pairs = 0;
    world.run(60_000, |world| {
        let [_, b] = &mut world.sides;
        // It begins none itself.
        b.engine.quick_at = u64::MAX;
        let Some(owned) = b.engine.children.pop() else {
            return;
        };
        pairs += 1;
        assert!(pairs < 100, "by {} ms", world.now);
        let say = |engine: &mut Engine, context: &mut Context<'_>| {
            engine.say_deleted(context, owned.child.spi_in);
        };
        b.act(world.now, say);
        world.deliver();
    });
    assert!((3..=12).contains(&pairs), "{pairs} in a minute");
    let fault = world.sides[0].engine.fault();
    assert_eq!(fault, Some(&Refusal::ended_at_once()));
}

#[test]
fn a_peer_that_ends_each_isakmp_sa_at_once_is_dialled_later_and_later() {
    let mut world = World::new();
    let mut made = 0;
    // It has no pair of it.
    world.lost = |_, header| header.exchange == exchange::QUICK;
    world.run(60_000, |world| {
        let [_, b] = &mut world.sides;
        b.engine.attempt_at = u64::MAX;
        if b.engine.phase1.is_empty() {
            return;
        }
        made += 1;
        assert!(made < 100, "by {} ms", world.now);
        b.act(world.now, |engine, context| {
            let farewells = engine.abandon(context);
            engine.out.extend(farewells);
        });
        world.deliver();
    });
    assert!((3..=12).contains(&made), "{made} in a minute");
}

/// It asked whether the peer lives under that one alone, and when no answer came it ended all.
#[test]
fn an_isakmp_sa_that_one_side_alone_has_takes_no_other_with_it() {
    let mut world = World::new();
    world.run(1_000, |_| {});
    world.sides[0].engine.phase1[0].rekey_at = world.now;
    // The last message of main mode never arrives.
    world.lost =
        |from, header| from == 1 && header.exchange == exchange::MAIN && header.is_encrypted();
    let mut alone = 0;
    world.run(60_000, |world| {
        let [a, b] = &mut world.sides;
        if a.engine.attempt.is_none() && world.now > 2_000 {
            a.engine.phase1[0].rekey_at = u64::MAX;
        }
        alone = alone.max(b.engine.phase1.len());
        for side in [a, b] {
            assert!(side.engine.outbound().is_some(), "at {} ms", world.now);
        }
    });
    assert_eq!(alone, 2);
    let [a, b] = world.sides;
    let cookies = |side: &Side| side.engine.phase1.iter().map(|sa| sa.cookies).collect();
    let [ours, theirs]: [Vec<_>; 2] = [cookies(&a), cookies(&b)];
    assert_eq!(ours, theirs);
}

/// Each took the other's last message and gave up its own main mode: two SAs that one side had.
#[test]
fn main_modes_whose_last_messages_cross_leave_both_with_the_same_sa() {
    let mut world = World::new();
    let [a, b] = &mut world.sides;
    let advance = |engine: &mut Engine, context: &mut Context<'_>| {
        engine.attempt_at = 0;
        engine.advance(context);
    };
    // As far as `of`'s fifth message.
    let fifth = |of: &mut Side, other: &mut Side| {
        of.act(0, advance);
        for _ in 0..2 {
            let said = of.sent().remove(0);
            let answer = other.handle(&said).remove(0);
            of.act(0, |engine, context| engine.handle(context, &answer));
        }
        of.sent().remove(0)
    };
    a.engine.attempt_at = u64::MAX;
    let theirs = fifth(b, a);
    a.engine.deferred = true;
    let ours = fifth(a, b);
    let answers = [a.handle(&theirs), b.handle(&ours)];
    for (side, answers) in [b, a].into_iter().zip(answers) {
        for answer in answers {
            side.act(0, |engine, context| engine.handle(context, &answer));
        }
    }
    world.run(1_000, |_| {});
    let last = |side: &Side| side.engine.phase1.last().map(|sa| sa.cookies).unwrap();
    assert_eq!(last(&world.sides[0]), last(&world.sides[1]));
    assert!(world.sides[0].engine.outbound().is_some());
}
