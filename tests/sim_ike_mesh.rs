//! Three tunnel managers that start at once, one of them later dead and back: every pair of live
//! systems ends with one AH pair, and a stranger gets no answer.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use tutti::ike::Random;
use tutti::tunnel::Tunnels;
use tutti::tunnel::message::{
    AhSa, Desired, KeyerReply, KeyerRequest, Peer, PeerList, Profile, Secret, TunnelState, reqid,
};

struct Seeded(u64);

impl Random for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            *byte = (self.0 >> 24) as u8;
        }
    }
}

fn address(n: usize) -> IpAddr {
    format!("2001:db8::{}", n + 1).parse().unwrap()
}

fn tunnels(n: usize, seed: u64, now: u64) -> Tunnels {
    let others = (0..3).filter(|&other| other != n);
    let peers = others.map(|other| Peer {
        address: address(other),
        reqid: reqid(other as u8 + 1),
    });
    let mut tunnels = Tunnels::new(Box::new(Seeded(seed * 77 + n as u64 + 1)));
    let desired = Desired {
        list: PeerList {
            local: address(n),
            peers: peers.collect(),
        },
        key: Secret(b"a key for three".to_vec()),
        certificate: [n as u8; 32].into(),
        profile: Profile::default(),
        certificates: None,
        ppk: None,
    };
    tunnels.configure(now, Some(desired), None);
    tunnels
}

/// Installed SAs: (system, SPI, inbound).
type Kernel = BTreeMap<(usize, u32, bool), AhSa>;

fn run(all: &mut [Option<Tunnels>], kernel: &mut Kernel, now: &mut u64, ms: u64) {
    let mut wire: VecDeque<(usize, SocketAddr, Vec<u8>)> = VecDeque::new();
    let end = *now + ms;
    while *now < end {
        *now += 10;
        for (n, tunnels) in all.iter_mut().enumerate() {
            let Some(tunnels) = tunnels else { continue };
            if tunnels.poll_timeout().is_some_and(|at| at <= *now) {
                tunnels.handle_timeout(*now);
            }
            while let Some(request) = tunnels.poll_keyer() {
                keep(n, request, kernel);
                tunnels.handle_keyer(*now, KeyerReply::Done);
            }
            while let Some(transmit) = tunnels.poll_transmit() {
                let to = (0..3).find(|&to| address(to) == transmit.to.ip()).unwrap();
                wire.push_back((to, SocketAddr::new(address(n), 500), transmit.bytes));
            }
        }
        for (to, from, bytes) in std::mem::take(&mut wire) {
            if let Some(tunnels) = &mut all[to] {
                tunnels.handle_datagram(*now, from, &bytes);
            }
        }
    }
}

fn keep(n: usize, request: KeyerRequest, kernel: &mut Kernel) {
    match request {
        KeyerRequest::Install(sa) => {
            if !sa.inbound {
                kernel.retain(|(at, _, inbound), old| *at != n || *inbound || old.peer != sa.peer);
            }
            kernel.insert((n, sa.spi, sa.inbound), sa);
        }
        KeyerRequest::Remove { spi, inbound, .. } => drop(kernel.remove(&(n, spi, inbound))),
        KeyerRequest::Retain(_) => kernel.retain(|(at, ..), _| *at != n),
        KeyerRequest::Reload | KeyerRequest::Counters { .. } => {}
    }
}

fn assert_mesh(all: &[Option<Tunnels>], kernel: &Kernel, now: u64) {
    let live: BTreeSet<usize> = (0..3).filter(|&n| all[n].is_some()).collect();
    for &n in &live {
        let tunnels = all[n].as_ref().unwrap();
        let others = live.len() - 1;
        assert_eq!(tunnels.ike_sas(), others, "one IKE SA for each living peer");
        for status in tunnels.status(now) {
            let peer = (0..3).find(|&p| address(p) == status.address).unwrap();
            if !live.contains(&peer) {
                assert_eq!(status.state, TunnelState::NoAnswer);
                continue;
            }
            let certificate = Some([peer as u8; 32].into());
            assert_eq!(status.state, TunnelState::Up { certificate });
            let (inbound, outbound) = status.spis.unwrap();
            let out = &kernel[&(n, outbound, false)];
            assert_eq!(out.key, kernel[&(peer, outbound, true)].key);
            assert!(kernel.contains_key(&(n, inbound, true)));
        }
    }
    let pairs = live.len() * (live.len() - 1);
    let of_the_living = kernel.keys().filter(|(n, ..)| live.contains(n)).count();
    assert_eq!(of_the_living, 2 * pairs);
}

#[test]
fn three_systems_form_a_full_mesh() {
    for seed in 1..20 {
        let mut now = 0;
        let mut kernel = Kernel::new();
        let mut all: Vec<_> = (0..3).map(|n| Some(tunnels(n, seed, now))).collect();
        run(&mut all, &mut kernel, &mut now, 15_000);
        assert_mesh(&all, &kernel, now);

        let victim = (seed % 3) as usize;
        all[victim] = None;
        run(&mut all, &mut kernel, &mut now, 30_000);
        assert_mesh(&all, &kernel, now);

        all[victim] = Some(tunnels(victim, seed + 100, now));
        run(&mut all, &mut kernel, &mut now, 20_000);
        assert_mesh(&all, &kernel, now);
    }
}

#[test]
fn an_unlisted_address_gets_a_cookie_smaller_than_what_it_sent_and_nothing_else() {
    let mut listed = tunnels(0, 1, 0);
    let first = listed.poll_transmit().unwrap();
    while listed.poll_transmit().is_some() {}
    let stranger = SocketAddr::new("2001:db8::99".parse().unwrap(), 500);
    listed.handle_datagram(1, stranger, &first.bytes);
    listed.handle_timeout(100);
    let cookie = listed.poll_transmit().unwrap();
    assert_eq!(cookie.to, stranger);
    assert!(cookie.bytes.len() * 3 < first.bytes.len());
    assert_eq!(listed.poll_transmit(), None);
    for garbage in [&first.bytes[..100], &[0; 28], b""] {
        listed.handle_datagram(1, stranger, garbage);
        assert_eq!(listed.poll_transmit(), None);
    }
    // The same bytes from a listed peer are answered.
    listed.handle_datagram(2, SocketAddr::new(address(1), 500), &first.bytes);
    assert!(listed.poll_transmit().is_some());
}
