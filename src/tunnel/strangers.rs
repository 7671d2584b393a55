//! Those who have the key but whom we do not list: each learns, under protection, that it is not
//! listed, and gets no SA (RFC 7296 section 2.21.2 has no word for it). Whoever has another key
//! learns nothing. All of it is bounded: few at a time, few each second, one of them from one
//! address, none without a cookie. Who is at another address than it claims never gets so far, so
//! it takes nobody's place.

pub(super) mod v1;

use std::net::SocketAddr;

use super::Arrival;
use super::Outbox;
use crate::ike::Context;
use crate::ike::exchange::demand::Demand;
use crate::ike::exchange::half_open::{HalfOpen, HalfOpenStep};
use crate::ike::exchange::init::{self, Answer};
use crate::wire::isakmp::{Header, Message, exchange};

/// Half-open SAs at a time, and new ones in [`PAUSE_MS`].
const MAX_HALF_OPEN: usize = 4;
/// How long an answer is repeated.
const REPEAT_MS: u64 = 4_000;
/// Pause between two of one address.
const PAUSE_MS: u64 = 1_000;

/// Half-open SAs with unlisted addresses.
#[derive(Default)]
pub(crate) struct Strangers {
    half_open: Vec<(SocketAddr, HalfOpen)>,
    /// When the latest were opened, [`MAX_HALF_OPEN`] at most.
    opened: Vec<u64>,
}

impl Strangers {
    /// Handles a datagram from an address that is not listed.
    pub fn handle(&mut self, context: &mut Context<'_>, arrival: Arrival<'_>) {
        let now = context.now;
        let done = |h: &HalfOpen| !h.is_waiting() && now >= h.began + REPEAT_MS;
        self.half_open
            .retain(|(_, h)| now < h.expires() && !done(h));
        let header = match Header::parse(arrival.bytes) {
            Ok((header, _)) => header,
            Err(error) => return context.dropped.note(&error),
        };
        if header.exchange == exchange::IKE_SA_INIT {
            return self.first(context, arrival);
        }
        let (outbox, from, bytes) = (arrival.outbox, arrival.from, arrival.bytes);
        let mine = |(address, h): &(SocketAddr, HalfOpen)| *address == from && h.owns(&header);
        let Some(at) = self.half_open.iter().position(mine) else {
            context.dropped.not_listed += 1;
            return;
        };
        let Ok(message) = Message::parse(bytes) else {
            context.dropped.payloads += 1;
            return;
        };
        let (_, half_open) = self.half_open.swap_remove(at);
        match Box::new(half_open).receive(context, bytes, &message) {
            HalfOpenStep::Ignored(half_open) => self.half_open.push((from, *half_open)),
            HalfOpenStep::Reply(half_open, answer, _) => {
                self.half_open.push((from, *half_open));
                outbox.send_all(from, answer);
            }
            // Never: it was opened as one of an unlisted address.
            HalfOpenStep::Established(..) => {}
        }
    }

    fn first(&mut self, context: &mut Context<'_>, arrival: Arrival<'_>) {
        let Arrival {
            outbox,
            cookies,
            from,
            bytes,
        } = arrival;
        let mut own = self
            .half_open
            .iter()
            .filter(|(address, _)| *address == from);
        if let Some(answer) = own.find_map(|(_, h)| h.repeat(bytes)) {
            return outbox.send(from, answer);
        }
        let recent = |began: u64| context.now < began + PAUSE_MS;
        self.opened.retain(|began| recent(*began));
        let its = |(address, _): &&(SocketAddr, HalfOpen)| address.ip() == from.ip();
        let soon = self.half_open.iter().find(its);
        let soon = soon.is_some_and(|(_, h)| recent(h.began));
        if soon || self.opened.len() >= MAX_HALF_OPEN {
            let answer = init::postpone(context, bytes, cookies);
            return self.answer(context, outbox, (from, bytes), answer);
        }
        // Cookies are enough for so few.
        let bits = None;
        match init::respond(context, bytes, Some(Demand { cookies, bits })) {
            Answer::Ignore => {}
            Answer::Wasted => self.opened.push(context.now),
            Answer::Refuse(answer, _) => {
                self.answer(context, outbox, (from, bytes), Some(answer));
            }
            Answer::Open(half_open, answer) => {
                self.opened.push(context.now);
                self.make_room(from);
                self.half_open.push((from, half_open.unlisted()));
                outbox.send(from, answer);
            }
        }
    }

    /// Nobody whose address is not proven yet gets more than was sent.
    fn answer(
        &self,
        context: &mut Context<'_>,
        outbox: &mut Outbox,
        (from, bytes): (SocketAddr, &[u8]),
        answer: Option<Vec<u8>>,
    ) {
        match answer.filter(|answer| answer.len() <= bytes.len()) {
            Some(answer) => outbox.send(from, answer),
            None => context.dropped.not_listed += 1,
        }
    }

    /// For a new one of this address goes its earlier one, or the oldest of those that did least.
    fn make_room(&mut self, from: SocketAddr) {
        self.half_open
            .retain(|(address, _)| address.ip() != from.ip());
        if self.half_open.len() >= MAX_HALF_OPEN {
            let least = |(_, (_, h)): &(usize, &(SocketAddr, HalfOpen))| (h.effort(), h.began);
            let least = self.half_open.iter().enumerate().min_by_key(least);
            if let Some((at, _)) = least {
                self.half_open.remove(at);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::ike::cookie::Cookies;
    use crate::ike::exchange::init::{InitStep, Initiator};
    use crate::ike::seeded::Seeded;
    use crate::ike::{Credentials, Dropped, Lifetimes, Profile};
    use crate::tunnel::{Outbox, PORT};

    /// A system that lists nobody.
    pub(super) struct System {
        random: Seeded,
        profile: Profile,
        pub dropped: Dropped,
        pub now: u64,
    }

    impl System {
        pub fn new(profile: Profile) -> Self {
            Self {
                random: Seeded(1),
                profile,
                dropped: Dropped::default(),
                now: 0,
            }
        }

        pub fn with<T>(
            &mut self,
            Ends(local, remote): Ends,
            act: impl FnOnce(&mut Context<'_>) -> T,
        ) -> T {
            let credentials = Credentials {
                key: zeroize::Zeroizing::new(b"key".to_vec()),
                certificate: [7; 32].into(),
                certified: None,
                ppk: None,
                tokens: zeroize::Zeroizing::new([9; 32]),
            };
            let mut context = Context {
                now: self.now,
                random: &mut self.random,
                local,
                remote,
                credentials: &credentials,
                profile: &self.profile,
                lifetimes: Lifetimes::default(),
                dropped: Dropped::default(),
            };
            let result = act(&mut context);
            self.dropped.add(&context.dropped);
            result
        }
    }

    /// One with IKEv2, and those that it does not list.
    struct World {
        system: System,
        cookies: Cookies,
        strangers: Strangers,
    }

    impl World {
        fn new() -> Self {
            let mut system = System::new(Profile::default());
            Self {
                cookies: Cookies::new(0, &mut system.random),
                system,
                strangers: Strangers::default(),
            }
        }

        /// What comes back for a datagram of that stranger.
        fn give(&mut self, from: IpAddr, bytes: &[u8]) -> Option<Vec<u8>> {
            let mut outbox = Outbox::default();
            let (strangers, cookies) = (&mut self.strangers, &self.cookies);
            self.system.with(Ends(us(), from), |context| {
                let arrival = Arrival {
                    outbox: &mut outbox,
                    cookies,
                    from: SocketAddr::new(from, PORT),
                    bytes,
                };
                strangers.handle(context, arrival);
            });
            outbox.transmit().map(|sent| sent.bytes)
        }

        /// A first request of that stranger that returns its cookie.
        fn with_cookie(&mut self, from: IpAddr) -> Vec<u8> {
            let ends = || Ends(from, us());
            let (initiator, first) = self.system.with(ends(), Initiator::start).unwrap();
            let demand = self.give(from, &first).expect("a cookie whenever it asks");
            let message = Message::parse(&demand).unwrap();
            let step = self.system.with(ends(), |context| {
                Box::new(initiator).receive(context, &demand, &message)
            });
            match step {
                InitStep::Again(_, bytes) => bytes,
                _ => panic!("the cookie was not returned"),
            }
        }

        /// Whether that stranger gets an SPI of ours when it returns its cookie.
        fn is_heard(&mut self, number: u8) -> bool {
            let from = stranger(number);
            let request = self.with_cookie(from);
            self.give(from, &request)
                .is_some_and(|answer| answer[8..16] != [0; 8])
        }
    }

    /// Own address, and that of the other side.
    pub(super) struct Ends(IpAddr, IpAddr);

    impl Ends {
        /// As we see a stranger.
        pub fn ours(number: u8) -> Self {
            Self(us(), stranger(number))
        }

        /// As that stranger sees us.
        pub fn theirs(number: u8) -> Self {
            Self(stranger(number), us())
        }
    }

    fn us() -> IpAddr {
        IpAddr::from([10, 0, 0, 2])
    }

    pub(super) fn stranger(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 1, number])
    }

    #[test]
    fn whoever_returns_its_cookie_is_heard_whatever_another_address_sends() {
        let mut world = World::new();
        assert!(world.is_heard(1));
        for _ in 0..20 {
            assert!(!world.is_heard(1), "one of an address in a second");
        }
        assert_eq!(world.system.dropped.not_listed, 20);
        assert!(world.is_heard(2), "the other does not pay for it");
        world.system.now += PAUSE_MS;
        assert!(world.is_heard(1));
        assert_eq!(world.strangers.half_open.len(), 2, "one of each address");
    }

    /// Whoever had a cookie of its own could have the answer sent to anybody.
    #[test]
    fn a_request_with_a_cookie_that_comes_from_another_address_is_not_answered_in_full() {
        let mut world = World::new();
        let request = world.with_cookie(stranger(1));
        assert!(world.give(stranger(1), &request).is_some());
        assert!(
            world.give(stranger(1), &request).is_some(),
            "it was repeated"
        );
        let elsewhere = world.give(stranger(2), &request);
        assert!(elsewhere.is_none_or(|answer| answer[8..16] == [0; 8]));
    }

    #[test]
    fn without_a_cookie_nothing_is_kept_and_nobodys_place_is_taken() {
        let mut world = World::new();
        for number in 1..=200 {
            let ends = Ends::theirs(number);
            let (_, first) = world.system.with(ends, Initiator::start).unwrap();
            let answer = world.give(stranger(number), &first).unwrap();
            assert_eq!(answer[8..16], [0; 8], "a cookie, no more");
            assert!(answer.len() < first.len());
        }
        assert!(world.strangers.half_open.is_empty());
        assert!(world.is_heard(201));
    }

    #[test]
    fn of_many_addresses_so_many_are_heard_in_a_second_and_so_many_are_kept() {
        let mut world = World::new();
        for second in 0..5 {
            let all = (1..=20).filter(|number| world.is_heard(20 * second + number));
            assert_eq!(all.count(), MAX_HALF_OPEN);
            assert_eq!(world.strangers.half_open.len(), MAX_HALF_OPEN);
            world.system.now += PAUSE_MS;
        }
        assert_eq!(world.system.dropped.not_listed, 5 * 16);
    }
}
