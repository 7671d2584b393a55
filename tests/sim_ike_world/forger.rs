//! What somebody who can send from a peer's address does.

use std::sync::OnceLock;

use rcgen::PKCS_ECDSA_P256_SHA256;
use tutti::ike::Random;
use tutti::ike::suite::Profile;
use tutti::tunnel::message::{Certificates, Ppk, Secret};
use tutti::wire::isakmp::notify::kind;
use tutti::wire::isakmp::{Message, Payload};

use super::authority::{Authority, key};
use super::{Net, World, socket};

impl World {
    /// Random bytes, many behind a header that looks right.
    pub fn garbage(&mut self, datagrams: usize) {
        for n in 0..datagrams {
            let mut bytes = vec![0; (self.random.next() >> 56) as usize];
            self.random.fill(&mut bytes);
            let length = bytes.len() as u32;
            if n % 4 != 0 && bytes.len() >= 28 {
                bytes[16] = 33 + bytes[16] % 16;
                bytes[17] = 0x20;
                bytes[18] = 34 + bytes[18] % 4;
                bytes[20..24].copy_from_slice(&[0; 4]);
                bytes[24..28].copy_from_slice(&length.to_be_bytes());
            }
            if n % 8 == 1 && bytes.len() >= 28 {
                bytes[8..16].copy_from_slice(&[0; 8]);
                bytes[19] = 8;
            }
            let (side, now) = (n % 2, self.now);
            self.tunnels(side)
                .handle_datagram(now, socket(1 - side), &bytes);
            self.pump(side);
        }
    }

    /// First requests of `from` to `to` by somebody who forges that address and sees the answers, so
    /// that each returns its cookie; puzzles are left alone.
    ///
    /// How many of them got an SPI of ours, which is more than a cookie.
    pub fn flood_with_cookies(&mut self, from: usize, to: usize, count: usize) -> usize {
        let mut opened = 0;
        for _ in 0..count {
            let mut stranger = World::new(self.random.next(), Net::perfect());
            stranger.profiles = self.profiles.clone();
            stranger.start(from, b"stranger");
            let now = self.now;
            for _ in 0..2 {
                let Some((_, bytes)) = stranger.wire.pop_first().map(|(_, sent)| sent) else {
                    break;
                };
                self.tunnels(to).handle_datagram(now, socket(from), &bytes);
                while let Some(answer) = self.tunnels(to).poll_transmit() {
                    opened += usize::from(answer.bytes[8..16] != [0; 8]);
                    stranger.inject(from, &without_puzzle(&answer.bytes));
                }
            }
        }
        opened
    }

    /// The same, and each solves its puzzle: their requests, and how many got an SPI.
    pub fn flood_with_solutions(
        &mut self,
        from: usize,
        to: usize,
        count: usize,
    ) -> (Vec<Vec<u8>>, usize) {
        let (mut requests, mut opened) = (Vec::new(), 0);
        for _ in 0..count {
            let mut stranger = World::new(self.random.next(), Net::perfect());
            stranger.start(from, b"stranger");
            let (_, first) = stranger.wire.values().next().cloned().unwrap();
            let Some(demand) = self.asked(from, to, &first) else {
                continue;
            };
            stranger.record = Some(Vec::new());
            stranger.inject(from, &demand);
            stranger.run(4_000);
            let solved = |(_, bytes): &(usize, Vec<u8>)| {
                let message = Message::parse(bytes).ok();
                let solution = |p: &Payload| matches!(p, Payload::PuzzleSolution(_));
                message.is_some_and(|m| m.payloads.iter().any(solution))
            };
            let recorded = stranger.record.take().unwrap();
            let Some((_, request)) = recorded.into_iter().find(solved) else {
                continue;
            };
            opened += usize::from(self.opens(from, to, &request));
            requests.push(request);
        }
        (requests, opened)
    }

    /// The answer to a first request of `from` to `to` that wants something of its sender.
    pub fn asked(&mut self, from: usize, to: usize, request: &[u8]) -> Option<Vec<u8>> {
        let now = self.now;
        self.tunnels(to).handle_datagram(now, socket(from), request);
        let answer = self.tunnels(to).poll_transmit()?.bytes;
        (answer[8..16] == [0; 8]).then_some(answer)
    }

    /// Whether a first request of `from` gets an SPI of `to`.
    pub fn opens(&mut self, from: usize, to: usize, request: &[u8]) -> bool {
        let now = self.now;
        self.tunnels(to).handle_datagram(now, socket(from), request);
        let answer = self.tunnels(to).poll_transmit();
        answer.is_some_and(|answer| answer.bytes[8..16] != [0; 8])
    }

    /// A first request of `from` that nobody has sent yet.
    pub fn stranger_request(&mut self, from: usize) -> Vec<u8> {
        let mut stranger = World::new(self.random.next(), Net::perfect());
        stranger.start(from, b"stranger");
        stranger.wire.values().next().cloned().unwrap().1
    }

    /// Delivers a datagram to `to` as if the other side had sent it.
    pub fn inject(&mut self, to: usize, bytes: &[u8]) {
        let now = self.now;
        self.tunnels(to).handle_datagram(now, socket(1 - to), bytes);
        self.pump(to);
    }

    /// `bytes` with something wrong: bits, length, cut, joined with itself, or another's header.
    pub fn mutated(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let at = (self.random.next() >> 33) as usize % bytes.len().max(1);
        let value = (self.random.next() >> 56) as u8;
        match self.random.next() >> 61 {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_within(at..),
            2 => bytes.rotate_left(at),
            3 => bytes.insert(at, value),
            4 => bytes[at..].fill(value),
            _ => {}
        }
        for _ in 0..self.random.next() >> 62 {
            if !bytes.is_empty() {
                let at = (self.random.next() >> 33) as usize % bytes.len();
                bytes[at] = (self.random.next() >> 56) as u8;
            }
        }
        // Most mutants shall get past the length check.
        let length = (bytes.len() as u32).to_be_bytes();
        if let Some(field) = bytes.get_mut(24..28)
            && self.random.chance(80)
        {
            field.copy_from_slice(&length);
        }
        bytes
    }

    /// Spoofed first requests of `from` to `to`.
    pub fn flood_first_requests(&mut self, from: usize, to: usize, count: usize) {
        for _ in 0..count {
            let mut stranger = World::new(self.random.next(), Net::perfect());
            // They speak what is understood.
            stranger.profiles[from] = self.profiles[to].clone();
            stranger.start(from, b"stranger");
            let (_, bytes) = stranger.wire.values().next().cloned().unwrap();
            let now = self.now;
            self.tunnels(to).handle_datagram(now, socket(from), &bytes);
            while self.tunnels(to).poll_transmit().is_some() {}
        }
    }
}

/// A message as who knows no puzzles reads it.
pub fn without_puzzle(bytes: &[u8]) -> Vec<u8> {
    let Ok(mut message) = Message::parse(bytes) else {
        return bytes.to_vec();
    };
    let puzzle = |p: &Payload| matches!(p, Payload::Notify(n) if n.kind == kind::PUZZLE);
    let before = message.payloads.len();
    message.payloads.retain(|payload| !puzzle(payload));
    match message.payloads.len() == before {
        true => bytes.to_vec(),
        false => message.encode(),
    }
}

/// Certificates of both sides, of one authority.
fn certificates() -> [Option<Certificates>; 2] {
    static ISSUED: OnceLock<[Certificates; 2]> = OnceLock::new();
    let issued = ISSUED.get_or_init(|| {
        let authority = Authority::new("authority");
        [0, 1].map(|side| authority.issue(side, &key(&PKCS_ECDSA_P256_SHA256), |_| {}))
    });
    issued.clone().map(Some)
}

/// Whole datagrams in a state: the first octet says which version, whether a rekey is under way and
/// how far it or the handshake has come; the second to whom, whether with certificates, with a
/// post-quantum key, beside so many first requests that puzzles are asked for, and whether the
/// victim was started again; then what a forger of the other's address sends, each behind its
/// length, of which the highest bits put the SPIs, and the message id, of what the other sent last
/// into it. Nothing panics, and no SA stands whose ends hold different keys. The world as it is then.
pub fn datagrams_in_a_state(input: &[u8]) -> Option<World> {
    let (&[state, how], mut rest) = input.split_first_chunk()?;
    let victim = usize::from(how & 1);
    let mut world = World::new(1, Net::perfect());
    world.record = Some(Vec::new());
    if state & 1 == 1 {
        let mut profile = Profile::guide_era();
        profile.ike = vec!["aes256-sha256-ecp256".parse().expect("a proposal")];
        world.profiles = [profile.clone(), profile];
    }
    if how & 2 == 2 {
        world.certificates = certificates();
    }
    if how & 4 == 4 {
        let (id, secret) = ("id".to_owned(), Secret(vec![8; 32]));
        world.ppks = [0, 1].map(|_| {
            let (id, secret) = (id.clone(), secret.clone());
            Some(Ppk { id, secret })
        });
    }
    world.start(0, b"key");
    world.start(1, b"key");
    if how & 16 == 16 {
        world.run(2_000);
        world.restart(victim);
        world.start(victim, b"key");
    }
    if how & 8 == 8 {
        world.flood_with_cookies(1 - victim, victim, 8);
    }
    world.run(u64::from(state >> 2));
    if state & 2 == 2 {
        world.run(2_000);
        world.rekey(victim);
        world.run(u64::from(state >> 2));
    }
    while let Some((length, next)) = rest.split_first_chunk::<2>() {
        let (marks, length) = (length[0] >> 6, [length[0] & 0x3f, length[1]]);
        let length = usize::from(u16::from_be_bytes(length)).min(next.len());
        let (datagram, next) = next.split_at(length);
        let mut datagram = datagram.to_vec();
        let recorded = world.record.iter().flatten();
        if let Some((_, last)) = recorded.rev().find(|(to, _)| *to == victim)
            && datagram.len() >= 28
        {
            if marks & 1 == 1 {
                datagram[..16].copy_from_slice(&last[..16]);
            }
            if marks & 2 == 2 {
                datagram[20..24].copy_from_slice(&last[20..24]);
            }
        }
        world.inject(victim, &datagram);
        rest = next;
    }
    world.run(2_000);
    Some(world)
}
