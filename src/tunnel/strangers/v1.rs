//! The same by IKEv1 (RFC 2409): main mode, whose third message returns our cookie. Until then an
//! address costs no key exchange, and forged ones push out another by chance alone.

use std::net::{IpAddr, SocketAddr};

use super::{MAX_HALF_OPEN, PAUSE_MS};
use crate::ike::Context;
use crate::ike::v1::main_mode::{Responder, Step};
use crate::tunnel::Outbox;
use crate::wire::isakmp::v1::{Header, exchange};

/// Half-open SAs whose cookie has not come back.
const MAX_UNREACHABLE: usize = 64;
/// The largest first message; each is kept.
const MAX_FIRST: usize = 4_096;

/// Half-open SAs with unlisted addresses.
#[derive(Default)]
pub(crate) struct Strangers {
    unreachable: Vec<(SocketAddr, Responder)>,
    reachable: Vec<(SocketAddr, Responder)>,
    /// The latest key exchanges, also those that came to nothing: when, and whose.
    exchanged: Vec<(u64, IpAddr)>,
}

impl Strangers {
    /// Handles a datagram from an address that is not listed.
    pub fn handle(
        &mut self,
        context: &mut Context<'_>,
        outbox: &mut Outbox,
        (from, bytes): (SocketAddr, &[u8]),
    ) {
        let now = context.now;
        self.unreachable.retain(|(_, h)| now < h.expires());
        self.reachable.retain(|(_, h)| now < h.expires());
        let header = match Header::parse(bytes) {
            Ok((header, _)) => header,
            Err(error) => return context.dropped.note(&error),
        };
        if header.exchange != exchange::MAIN || header.id != 0 {
            context.dropped.not_listed += 1;
            return;
        }
        let all = self.reachable.iter().chain(&self.unreachable);
        let mut own = all.filter(|(address, _)| *address == from);
        let answer = match own.find_map(|(_, h)| h.repeat(bytes)) {
            Some(again) => Some(again),
            None if header.cky_r == 0 => self.first(context, &header, (from, bytes)),
            None => self.next(context, &header, (from, bytes)),
        };
        match answer {
            Some(answer) => outbox.send(from, answer),
            None => context.dropped.not_listed += 1,
        }
    }

    /// A first message. Nobody whose address is not proven yet gets more than was sent.
    fn first(
        &mut self,
        context: &mut Context<'_>,
        header: &Header,
        (from, bytes): (SocketAddr, &[u8]),
    ) -> Option<Vec<u8>> {
        if header.cky_i == 0 || bytes.len() > MAX_FIRST {
            return None;
        }
        let (half_open, answer) = Responder::start(context, header, bytes)?.ok()?;
        if answer.len() > bytes.len() {
            return None;
        }
        if self.unreachable.len() >= MAX_UNREACHABLE {
            let by_chance = u32::from_be_bytes(context.bytes()) as usize % MAX_UNREACHABLE;
            self.unreachable.swap_remove(by_chance);
        }
        self.unreachable.push((from, half_open.unlisted()));
        Some(answer)
    }

    /// A third message, which proves the address, or the fifth, which proves the key.
    fn next(
        &mut self,
        context: &mut Context<'_>,
        header: &Header,
        (from, bytes): (SocketAddr, &[u8]),
    ) -> Option<Vec<u8>> {
        let own = |(address, h): &(SocketAddr, Responder)| *address == from && h.owns(header);
        if let Some(at) = self.reachable.iter().position(own) {
            return sent(self.reachable[at].1.receive(context, bytes));
        }
        let at = self.unreachable.iter().position(own)?;
        let recent = |(when, _): &(u64, IpAddr)| context.now < when + PAUSE_MS;
        self.exchanged.retain(recent);
        let its = self.exchanged.iter().any(|(_, whose)| *whose == from.ip());
        if its || self.exchanged.len() >= MAX_HALF_OPEN {
            return None;
        }
        self.exchanged.push((context.now, from.ip()));
        let (_, mut half_open) = self.unreachable.swap_remove(at);
        let answer = sent(half_open.receive(context, bytes))?;
        // For a new one of this address goes its earlier one, or the oldest.
        self.reachable.retain(|(a, _)| a.ip() != from.ip());
        if self.reachable.len() >= MAX_HALF_OPEN {
            self.reachable.remove(0);
        }
        self.reachable.push((from, half_open));
        Some(answer)
    }
}

fn sent(step: Step) -> Option<Vec<u8>> {
    match step {
        Step::Send(bytes) => Some(bytes),
        // Never done: it was opened as one of an unlisted address.
        Step::Nothing | Step::Hint(_) | Step::Refuse(..) | Step::Done(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::suite::Profile;
    use crate::ike::v1::main_mode::Initiator;
    use crate::tunnel::strangers::tests::{Ends, System, stranger};

    fn of_v1() -> System {
        System::new(Profile {
            ike: vec!["aes256-sha256-ecp256".parse().unwrap()],
            ..Profile::guide_era()
        })
    }

    /// What comes back for a datagram of that stranger.
    fn give(
        world: &mut System,
        strangers: &mut Strangers,
        number: u8,
        bytes: &[u8],
    ) -> Option<Vec<u8>> {
        let mut outbox = Outbox::default();
        let from = SocketAddr::new(stranger(number), crate::tunnel::PORT);
        world.with(Ends::ours(number), |context| {
            strangers.handle(context, &mut outbox, (from, bytes));
        });
        outbox.transmit().map(|sent| sent.bytes)
    }

    fn begin(world: &mut System, number: u8) -> (Initiator, Vec<u8>) {
        let started = world.with(Ends::theirs(number), |context| {
            Initiator::start(context, true)
        });
        started.unwrap()
    }

    /// Whether that stranger's key exchange is answered.
    fn is_heard(world: &mut System, strangers: &mut Strangers, number: u8) -> bool {
        let (mut initiator, first) = begin(world, number);
        let answer = give(world, strangers, number, &first).expect("a cookie");
        assert!(answer.len() <= first.len());
        let (header, _) = Header::parse(&answer).unwrap();
        let step = world.with(Ends::theirs(number), |context| {
            initiator.receive(context, &header, &answer)
        });
        let third = sent(step).expect("its cookie is returned");
        give(world, strangers, number, &third).is_some()
    }

    #[test]
    fn an_address_is_heard_once_a_second_and_four_are_in_all() {
        let (mut world, mut strangers) = (of_v1(), Strangers::default());
        assert!(is_heard(&mut world, &mut strangers, 1));
        for _ in 0..20 {
            assert!(!is_heard(&mut world, &mut strangers, 1));
        }
        for number in 2..=4 {
            assert!(
                is_heard(&mut world, &mut strangers, number),
                "does not pay for it"
            );
        }
        assert!(!is_heard(&mut world, &mut strangers, 5));
        world.now += PAUSE_MS;
        assert!(is_heard(&mut world, &mut strangers, 5));
        assert!(is_heard(&mut world, &mut strangers, 1));
        assert_eq!(strangers.reachable.len(), MAX_HALF_OPEN);
    }

    /// A key exchange with a useless value costs as much, and was not counted.
    #[test]
    fn what_comes_to_nothing_counts_too() {
        let (mut system, mut strangers) = (of_v1(), Strangers::default());
        for _ in 0..2 {
            let (mut initiator, first) = begin(&mut system, 1);
            let answer = give(&mut system, &mut strangers, 1, &first).unwrap();
            let (header, _) = Header::parse(&answer).unwrap();
            let step = system.with(Ends::theirs(1), |context| {
                initiator.receive(context, &header, &answer)
            });
            let mut third = sent(step).unwrap();
            third[32..96].fill(0);
            assert_eq!(give(&mut system, &mut strangers, 1, &third), None);
        }
        assert_eq!(strangers.exchanged.len(), 1);
        assert_eq!(
            strangers.unreachable.len(),
            1,
            "the other one was not tried"
        );
    }

    #[test]
    fn who_forges_addresses_takes_nobodys_place_but_by_chance() {
        let (mut world, mut strangers) = (of_v1(), Strangers::default());
        for number in 0..250 {
            let (_, first) = begin(&mut world, number);
            assert!(give(&mut world, &mut strangers, number, &first).is_some());
            assert!(strangers.unreachable.len() <= MAX_UNREACHABLE);
        }
        assert!(is_heard(&mut world, &mut strangers, 251));
        world.now += 60_000;
        give(&mut world, &mut strangers, 1, b"");
        assert!(strangers.unreachable.is_empty() && strangers.reachable.is_empty());
    }

    #[test]
    fn other_than_main_mode_gets_no_answer() {
        let (mut world, mut strangers) = (of_v1(), Strangers::default());
        let (_, first) = begin(&mut world, 1);
        for exchange in [
            exchange::AGGRESSIVE,
            exchange::QUICK,
            exchange::INFORMATIONAL,
        ] {
            let mut other = first.clone();
            other[18] = exchange;
            assert_eq!(give(&mut world, &mut strangers, 1, &other), None);
        }
        let mut unknown = first.clone();
        unknown[8..16].fill(7);
        assert_eq!(give(&mut world, &mut strangers, 1, &unknown), None);
        assert_eq!(world.dropped.not_listed, 4);
    }
}
