//! Two managers with certificates, from which one wants to hear no more of the other's.

use super::message::{Peer, PeerList, Profile, TunnelState, reqid};
use super::*;
use crate::ike::certificate::CertificateError;
use crate::ike::certificate::fake::Fake;
use crate::ike::seeded::Seeded;

fn address(side: usize) -> IpAddr {
    [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])][side]
}

/// Both, a network that loses nothing, and keyers that do all at once.
struct World {
    now: u64,
    sides: [Tunnels; 2],
    fakes: [Arc<Fake>; 2],
    /// What side 0 said in IKE SAs that it began, while that is held back.
    held: Option<Vec<Vec<u8>>>,
}

/// A system that knows of nothing yet.
fn system(side: usize, profile: &Profile, now: u64, fake: &Arc<Fake>) -> Tunnels {
    let mut tunnels = Tunnels::new(Box::new(Seeded(side as u64 + now)));
    let peer = Peer {
        address: address(1 - side),
        reqid: reqid(1),
    };
    let desired = Desired {
        list: PeerList {
            local: address(side),
            peers: vec![peer],
        },
        key: Secret(b"key".to_vec()),
        certificate: [side as u8; 32].into(),
        profile: profile.clone(),
        certificates: None,
        ppk: None,
    };
    tunnels.configure(now, Some(desired), Some(fake.clone()));
    tunnels
}

impl World {
    fn new(profile: &Profile) -> Self {
        let fakes = [Arc::new(Fake::new()), Arc::new(Fake::new())];
        let sides = [0, 1].map(|side| system(side, profile, 0, &fakes[side]));
        Self {
            now: 0,
            sides,
            fakes,
            held: None,
        }
    }

    fn up(profile: &Profile) -> Self {
        let mut world = Self::new(profile);
        world.run(5_000);
        for side in 0..2 {
            assert!(world.state(side).is_up(), "{:?}", world.state(side));
        }
        world
    }

    /// Delivers all that is to be sent, and what follows from it.
    fn deliver(&mut self) {
        let mut quiet = false;
        while !quiet {
            quiet = true;
            for side in 0..2 {
                while self.sides[side].poll_keyer().is_some() {
                    self.sides[side].handle_keyer(self.now, KeyerReply::Done);
                }
                while let Some(transmit) = self.sides[side].poll_transmit() {
                    quiet = false;
                    let as_initiator = transmit.bytes[16] == 46 && transmit.bytes[19] & 8 == 8;
                    match &mut self.held {
                        Some(held) if side == 0 && as_initiator => held.push(transmit.bytes),
                        _ => self.arrive(1 - side, &transmit.bytes),
                    }
                }
            }
        }
    }

    /// `side` receives this of the other.
    fn arrive(&mut self, side: usize, bytes: &[u8]) {
        let from = SocketAddr::new(address(1 - side), PORT);
        self.sides[side].handle_datagram(self.now, from, bytes);
    }

    fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            self.deliver();
            let due = self.sides.iter().filter_map(Tunnels::poll_timeout).min();
            let Some(due) = due.filter(|due| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            for side in &mut self.sides {
                side.handle_timeout(self.now);
            }
        }
        self.now = end;
    }

    fn state(&self, side: usize) -> TunnelState {
        self.sides[side].status(self.now)[0].state.clone()
    }
}

fn profiles() -> [Profile; 2] {
    let older = Profile {
        ike: vec!["aes256-sha256-ecp256".parse().unwrap()],
        ..Profile::guide_era()
    };
    [Profile::default(), older]
}

#[test]
fn a_tunnel_whose_peers_certificate_ended_shows_so_and_comes_back_when_there_is_a_good_one() {
    let refused = |words: &str| TunnelState::CertificateRefused(words.to_owned());
    for profile in profiles() {
        for beginner in 0..2 {
            for judge in 0..2 {
                let mut world = World::up(&profile);
                let expired = CertificateError::Expired("2026-11-25".into());
                world.fakes[judge].says(Err(expired));
                world.sides[beginner].rekey(world.now, address(1 - beginner));
                world.run(1);
                let words = refused("certificate expired on 2026-11-25");
                assert_eq!(world.state(judge), words);
                // It is dialled again, and goes on to be refused.
                world.run(20_000);
                assert_eq!(world.state(judge), words);
                let other = refused("the peer refused our certificate");
                let which = format!(
                    "{:?}, begun by {beginner}, judged by {judge}",
                    profile.version
                );
                assert_eq!(world.state(1 - judge), other, "{which}");
                world.fakes[judge].says(Ok(()));
                world.run(60_000);
                for side in 0..2 {
                    assert!(world.state(side).is_up(), "{:?}", world.state(side));
                }
            }
        }
    }
}

/// Questions and whole new handshakes went where a forged datagram came from.
#[test]
fn what_comes_from_another_port_takes_none_of_our_requests_with_it() {
    for profile in profiles() {
        let mut world = World::up(&profile);
        world.sides[1].rekey(world.now, address(0));
        let mut forged = match profile.version {
            Version::V1 => {
                let mut bytes = vec![7; 28];
                bytes[16..].copy_from_slice(&[0, 0x10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 28]);
                bytes
            }
            Version::V2 => world.sides[1].poll_transmit().unwrap().bytes,
        };
        let last = forged.len() - 1;
        forged[last] ^= u8::from(profile.version == Version::V2);
        // By then a sign of life is asked for.
        let now = world.now + 7_000;
        let from = SocketAddr::new(address(1), 1_234);
        world.sides[0].handle_datagram(now, from, &forged);
        let asked: Vec<_> = std::iter::from_fn(|| world.sides[0].poll_transmit()).collect();
        assert!(!asked.is_empty());
        assert!(asked.iter().all(|sent| sent.to.port() == PORT), "{asked:?}");
    }
}

#[test]
fn a_list_that_could_not_be_put_in_force_is_tried_again() {
    let mut world = World::up(&Profile::default());
    let desired = world.sides[0].desired.clone();
    let fake = world.fakes[0].clone();
    world.sides[0].configure(world.now, desired, Some(fake));
    let reload = |world: &mut World| {
        let mut asked = std::iter::from_fn(|| world.sides[0].poll_keyer());
        asked.any(|request| request == KeyerRequest::Reload)
    };
    assert!(reload(&mut world));
    world.sides[0].handle_keyer(world.now, KeyerReply::Failed("busy".into()));
    let due = world.sides[0].poll_timeout().unwrap();
    world.sides[0].handle_timeout(due.max(world.now + 5_000));
    assert!(reload(&mut world));
    world.sides[0].handle_keyer(world.now, KeyerReply::Done);
    world.run(60_000);
    assert!(!reload(&mut world));
}

/// That word of the kernel's was taken for one of before, and it says it once in 30 s.
#[test]
fn an_sa_that_is_lost_at_once_is_replaced_soon() {
    for profile in profiles() {
        let mut world = World::new(&profile);
        while !world.state(0).is_up() {
            world.run(1);
        }
        // The outbound one is the last.
        let sends_by = |world: &World| world.sides[0].links[0].spis().pop().unwrap();
        let before = sends_by(&world);
        let peer = address(1);
        world.sides[0].handle_keyer(world.now, KeyerReply::Acquire { peer });
        world.run(10_000);
        assert!(world.state(0).is_up());
        assert_ne!(sends_by(&world), before, "{:?}", profile.version);
    }
}

/// The kernel tells nothing of it; it showed as a firewall's fault until the next rekey.
#[test]
fn an_inbound_sa_that_the_kernel_lost_is_replaced_when_it_is_missing_twice() {
    for profile in profiles() {
        let mut world = World::up(&profile);
        let spis = |world: &World| world.sides[0].links[0].spis();
        let before = spis(&world);
        let look = |world: &mut World, held: &[u32]| {
            world.sides[0].handle_standing(world.now, address(1), held);
            world.run(8_000);
        };
        let [inbound, outbound] = before[..] else {
            panic!("{before:?}");
        };
        // One that is not there yet, or no more, when the kernel was asked.
        look(&mut world, &[outbound]);
        look(&mut world, &[inbound, outbound]);
        look(&mut world, &[outbound]);
        assert_eq!(spis(&world), before, "{:?}", profile.version);
        look(&mut world, &[outbound]);
        assert!(world.state(0).is_up());
        assert_ne!(
            spis(&world).last(),
            Some(&outbound),
            "{:?}",
            profile.version
        );
    }
}

#[test]
fn that_there_is_no_keyer_is_told_instead_of_silence() {
    for profile in profiles() {
        let mut world = World::new(&profile);
        world.sides[0].set_keyerless(0, true);
        let words = TunnelState::Failed("the key service is not running".into());
        assert_eq!(world.state(0), words);
        world.sides[0].set_keyerless(0, false);
        world.run(5_000);
        assert!(world.state(0).is_up());
        // What stands needs none.
        world.sides[0].set_keyerless(world.now, true);
        assert!(world.state(0).is_up());
    }
}

#[test]
fn a_peer_that_joins_or_leaves_the_list_changes_nothing_for_the_others() {
    for profile in profiles() {
        let mut world = World::up(&profile);
        let spis = |world: &World| world.sides[0].links[0].spis();
        let before = spis(&world);
        let alone = world.sides[0].desired.clone().unwrap();
        let mut more = alone.clone();
        more.list.peers.push(Peer {
            address: IpAddr::from([10, 0, 0, 3]),
            reqid: reqid(2),
        });
        for desired in [more, alone] {
            let (count, fake) = (desired.list.peers.len(), world.fakes[0].clone());
            world.sides[0].configure(world.now, Some(desired), Some(fake));
            let mut asked = std::iter::from_fn(|| world.sides[0].poll_keyer());
            assert!(asked.all(|request| request == KeyerRequest::Reload));
            world.sides[0].handle_keyer(world.now, KeyerReply::Done);
            world.run(5_000);
            assert_eq!(world.sides[0].links.len(), count);
            assert!(world.state(0).is_up());
            assert_eq!(spis(&world), before);
        }
    }
}

/// The message that brings INITIAL_CONTACT is held back. The SA that the peer has when it comes
/// stood already when that exchange began, or came to be since.
#[test]
fn initial_contact_ends_only_what_stood_when_its_exchange_began() {
    let profile = Profile {
        ike: vec!["aes256gcm16-prfsha384-x25519".parse().unwrap()],
        ..Profile::default()
    };
    for before in [true, false] {
        let mut world = match before {
            true => World::up(&profile),
            false => World::new(&profile),
        };
        if before {
            world.sides[0] = system(0, &profile, world.now, &world.fakes[0]);
        }
        world.held = Some(Vec::new());
        while world.held.as_ref().is_some_and(Vec::is_empty) || world.sides[1].ike_sas() == 0 {
            world.run(100);
            assert!(world.now < 20_000);
        }
        let established = |world: &World| world.sides[1].links[0].newer().established();
        let stood = established(&world);
        assert_eq!(stood.len(), 1);
        world.run(100);
        let held = world.held.take().unwrap();
        world.arrive(1, &held[0]);
        let wanted = if before { vec![] } else { stood };
        assert_eq!(established(&world), [&wanted[..], &[world.now]].concat());
        // Then one of the two goes.
        world.run(30_000);
        for side in 0..2 {
            assert!(world.state(side).is_up());
            assert_eq!(world.sides[side].ike_sas(), 1);
        }
    }
}

/// How long a system whose peer answers nothing is silent from a time on, perhaps with traffic that
/// waits since then.
fn silence(profile: &Profile, at: u64, traffic: bool) -> u64 {
    let mut world = World::new(profile);
    let ours = &mut world.sides[0];
    let (mut now, mut reached) = (0, false);
    loop {
        while ours.poll_keyer().is_some() {
            ours.handle_keyer(now, KeyerReply::Done);
        }
        let sent = std::iter::from_fn(|| ours.poll_transmit()).count();
        if sent > 0 && now > at {
            return now - at;
        }
        let due = ours.poll_timeout().unwrap();
        if !reached && due > at {
            (now, reached) = (at, true);
            if traffic {
                let peer = address(1);
                ours.handle_keyer(now, KeyerReply::Acquire { peer });
            }
            continue;
        }
        now = now.max(due);
        ours.handle_timeout(now);
    }
}

/// Not between two sendings of one message: those follow one schedule.
#[test]
fn traffic_that_waits_ends_the_pause_between_two_attempts() {
    for profile in profiles() {
        let ends =
            |at| silence(&profile, at, false) > 5_000 && silence(&profile, at, true) <= 1_000;
        assert!((60_000..120_000).step_by(3_000).any(ends));
    }
}
