//! A world of two tunnel managers, two model kernels and a network that loses, repeats, delays
//! and alters datagrams; one seed gives one history.

pub mod authority;
pub mod claims;
pub mod forger;
pub mod histories;
mod kernel;
mod net;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tutti::ike::{Certified, Dropped};
use tutti::tls::IkeCertificates;
use tutti::tunnel::Tunnels;
use tutti::tunnel::message::{
    Certificates, Desired, KeyerReply, KeyerRequest, Peer, PeerList, PeerStatus, Ppk, Presented,
    Profile, Secret, TunnelState, reqid,
};

use kernel::Kernel;
pub use net::{Net, Seeded, seeds};

struct Side {
    tunnels: Option<Tunnels>,
    kernel: Kernel,
    lifetimes: Option<(u64, u64)>,
    /// Kept on disk: the secret of quick crash detection.
    tokens: [u8; 32],
    /// Requests to the keyer under way, by the time it performs them.
    asked: BTreeMap<(u64, u64), KeyerRequest>,
    requests: u64,
}

pub struct World {
    pub now: u64,
    pub net: Net,
    /// What each side may negotiate.
    pub profiles: [Profile; 2],
    /// The node certificates that each side names.
    pub presents: [Presented; 2],
    /// What each side authenticates with instead of the key.
    pub certificates: [Option<Certificates>; 2],
    /// The post-quantum key of each side.
    pub ppks: [Option<Ppk>; 2],
    /// What somebody on the path makes of each datagram.
    pub path: Option<fn(Vec<u8>) -> Vec<u8>>,
    /// Every outbound SA must be receivable at every moment: no packet is lost to a rekey.
    pub lossless: bool,
    /// The network drops first requests: nobody can begin anything.
    pub no_beginnings: bool,
    /// A side that knows no puzzles.
    pub no_puzzles: Option<usize>,
    /// A restarted side finds its settings as they were, so its SAs carry on.
    pub keeps: bool,
    /// A side that does not list the other.
    pub unlisted: Option<usize>,
    /// A side whose own address is another than its peer sees.
    pub behind_nat: Option<usize>,
    /// How long the keyer takes at most.
    pub keyer_delay: u64,
    random: Seeded,
    sides: [Side; 2],
    /// Datagrams under way: (arrival, order) to (receiver, bytes).
    wire: BTreeMap<(u64, u64), (usize, Vec<u8>)>,
    sent: u64,
    /// Every datagram and its receiver, while that is wanted.
    pub record: Option<Vec<(usize, Vec<u8>)>>,
    lengths: Vec<usize>,
}

pub fn address(side: usize) -> IpAddr {
    [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])][side]
}

fn socket(side: usize) -> SocketAddr {
    SocketAddr::new(address(side), 500)
}

impl World {
    pub fn new(seed: u64, net: Net) -> Self {
        let side = || Side {
            tunnels: None,
            kernel: Kernel::default(),
            lifetimes: None,
            tokens: [7; 32],
            asked: BTreeMap::new(),
            requests: 0,
        };
        Self {
            now: 1_000,
            net,
            profiles: [Profile::default(), Profile::default()],
            presents: [[0; 32].into(), [1; 32].into()],
            certificates: [None, None],
            ppks: [None, None],
            path: None,
            lossless: false,
            no_beginnings: false,
            no_puzzles: None,
            keeps: false,
            unlisted: None,
            behind_nat: None,
            keyer_delay: 0,
            random: Seeded::new(seed),
            sides: [side(), side()],
            wire: BTreeMap::new(),
            sent: 0,
            record: None,
            lengths: Vec::new(),
        }
    }

    /// Sizes of the datagrams of an undisturbed handshake: two of IKE_SA_INIT, three of
    /// IKE_INTERMEDIATE, whose request has two fragments, and two of IKE_AUTH.
    pub fn handshake_lengths() -> Vec<usize> {
        let mut world = World::new(8, Net::perfect());
        world.start(0, b"key");
        world.start(1, b"key");
        world.run(1_000);
        assert_eq!(world.lengths.len(), 7);
        world.lengths
    }

    /// Sizes of all datagrams that were sent.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    pub fn lifetimes(&mut self, side: usize, child_ms: u64, ike_ms: u64) {
        self.sides[side].lifetimes = Some((child_ms, ike_ms));
    }

    pub fn keyer_fails(&mut self, side: usize, fails: bool) {
        self.sides[side].kernel.fails = fails;
    }

    fn tunnels(&mut self, side: usize) -> &mut Tunnels {
        let random = Seeded::new(self.random.next());
        let lifetimes = self.sides[side].lifetimes;
        let tokens = self.sides[side].tokens;
        let keeps = self.keeps;
        self.sides[side].tunnels.get_or_insert_with(|| {
            let mut tunnels = Tunnels::new(Box::new(random));
            tunnels.set_token_secret(tokens.into());
            if keeps {
                tunnels.keep_standing();
            }
            if let Some((child, ike)) = lifetimes {
                tunnels.set_lifetimes(child, ike);
            }
            tunnels
        })
    }

    /// Configures a side; its process is started if it does not run.
    pub fn start(&mut self, side: usize, key: &[u8]) {
        let now = self.now;
        let desired = Desired {
            list: PeerList {
                local: match self.behind_nat {
                    Some(hidden) if hidden == side => IpAddr::from([192, 168, 0, 1]),
                    _ => address(side),
                },
                peers: vec![Peer {
                    address: match self.unlisted {
                        Some(stranger) if stranger == side => IpAddr::from([10, 0, 0, 9]),
                        _ => address(1 - side),
                    },
                    reqid: reqid(2 - side as u8),
                }],
            },
            key: Secret(key.to_vec()),
            certificate: self.presents[side],
            profile: self.profiles[side].clone(),
            certificates: self.certificates[side].clone().map(Box::new),
            ppk: self.ppks[side].clone().map(Box::new),
        };
        let given = desired.certificates.as_ref();
        let certified = given.map(|c| -> Arc<dyn Certified> {
            Arc::new(IkeCertificates::new(c).expect("usable certificates"))
        });
        self.tunnels(side).configure(now, Some(desired), certified);
        self.pump(side);
    }

    pub fn standalone(&mut self, side: usize) {
        let now = self.now;
        self.tunnels(side).configure(now, None, None);
        self.pump(side);
    }

    /// The kernel holds an SA that nobody knows of.
    pub fn leave_stray(&mut self, side: usize) {
        let inbound = &mut self.sides[side].kernel.inbound;
        let mut stray = inbound.values().next().unwrap().clone();
        stray.spi ^= 1;
        inbound.insert(stray.spi, stray);
    }

    /// The keyer was started again.
    pub fn keyer_back(&mut self, side: usize) {
        self.tunnels(side).keyer_back();
        self.pump(side);
    }

    /// The process dies without a word; start it again with [`World::start`].
    pub fn restart(&mut self, side: usize) {
        self.sides[side].tunnels = None;
        self.sides[side].asked.clear();
    }

    /// The same, and its disk is new.
    pub fn replace(&mut self, side: usize) {
        self.restart(side);
        self.sides[side].tokens = [8; 32];
    }

    /// Rekeys both kinds of SA now.
    pub fn rekey(&mut self, side: usize) {
        let now = self.now;
        self.tunnels(side).rekey(now, address(1 - side));
        self.pump(side);
    }

    /// The kernel forgets every SA, and tells of traffic that finds none.
    pub fn flush(&mut self, side: usize) {
        self.sides[side].kernel.flush();
        let peer = address(1 - side);
        let now = self.now;
        self.tunnels(side)
            .handle_keyer(now, KeyerReply::Acquire { peer });
        self.pump(side);
    }

    pub fn expire_both(&mut self, gap: u64) {
        for side in 0..2 {
            let Some(sa) = self.sides[side].kernel.outbound.clone() else {
                continue;
            };
            let event = KeyerReply::Expired {
                peer: address(1 - side),
                spi: sa.spi,
            };
            let now = self.now;
            self.tunnels(side).handle_keyer(now, event);
            self.pump(side);
            if side == 0 {
                self.run(gap);
            }
        }
    }

    fn serve_keyer(&mut self, side: usize) {
        while let Some(entry) = self.sides[side].asked.first_entry()
            && entry.key().0 <= self.now
        {
            let request = entry.remove();
            // Where a fifth is lost, an answer may be lost for longer than the new pair waits for it.
            let may_return = self.net.loss >= 20;
            let reply = self.sides[side].kernel.perform(request, may_return);
            let now = self.now;
            if let Some(tunnels) = &mut self.sides[side].tunnels {
                tunnels.handle_keyer(now, reply);
            }
        }
    }

    fn pump(&mut self, side: usize) {
        while let Some(tunnels) = &mut self.sides[side].tunnels {
            // Datagrams first: a slow keyer must not make a difference.
            if let Some(transmit) = tunnels.poll_transmit() {
                // To somebody who is not there, if the other is not listed.
                if transmit.to == socket(1 - side) {
                    self.transmit(1 - side, transmit.bytes);
                } else {
                    assert_eq!(self.unlisted, Some(side));
                }
            } else if let Some(request) = tunnels.poll_keyer() {
                self.sides[side].requests += 1;
                let delay = (self.random.next() >> 33) % (self.keyer_delay + 1);
                // One after the other: none overtakes.
                let last = self.sides[side].asked.keys().next_back();
                let at = last.map_or(0, |(at, _)| *at).max(self.now + delay);
                let due = (at, self.sides[side].requests);
                self.sides[side].asked.insert(due, request);
                if self.keyer_delay == 0 {
                    self.serve_keyer(side);
                }
            } else {
                break;
            }
        }
    }

    fn transmit(&mut self, to: usize, mut bytes: Vec<u8>) {
        // The smallest link of IPv6 less its header and that of UDP.
        assert!(bytes.len() <= 1_232, "{} octets", bytes.len());
        self.lengths.push(bytes.len());
        if self.no_beginnings && bytes[8..16] == [0; 8] {
            return;
        }
        if self.no_puzzles == Some(to) {
            bytes = forger::without_puzzle(&bytes);
        }
        if let Some(record) = &mut self.record {
            record.push((to, bytes.clone()));
        }
        if let Some((datagram, at)) = self.net.alter
            && datagram as u64 == self.sent
        {
            bytes[at] ^= 1 << (self.random.next() >> 61);
        }
        self.sent += 1;
        if let Some(path) = self.path {
            bytes = path(bytes);
        }
        let copies = 1 + u64::from(self.random.chance(self.net.duplicate));
        for _ in 0..copies {
            if !self.random.chance(self.net.loss) {
                let (least, most) = self.net.delay;
                let delay = least + (self.random.next() >> 33) % (most - least + 1);
                let key = (self.now + delay, self.random.next());
                self.wire.insert(key, (to, bytes.clone()));
            }
        }
    }

    /// Lets `ms` pass.
    pub fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        let mut steps = 0;
        loop {
            steps += 1;
            if self.lossless {
                self.assert_lossless();
            }
            self.assert_agreement();
            assert!(steps < 1_000_000, "the world does not come to rest");
            let arrival = self.wire.keys().next().map(|(at, _)| *at);
            let timer = |side: &Side| side.tunnels.as_ref().and_then(Tunnels::poll_timeout);
            let timers = self.sides.iter().filter_map(timer).min();
            let asked = |side: &Side| side.asked.keys().next().map(|(at, _)| *at);
            let keyers = self.sides.iter().filter_map(asked).min();
            let known = arrival.into_iter().chain(timers).chain(keyers);
            let next = known.min();
            let known_is_empty = next.is_none();
            let next = next.unwrap_or(end);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if keyers.is_some_and(|at| at <= self.now) {
                for side in 0..2 {
                    self.serve_keyer(side);
                    self.pump(side);
                }
                continue;
            }
            if let Some(entry) = self.wire.first_entry()
                && entry.key().0 <= self.now
            {
                let (to, bytes) = entry.remove();
                let now = self.now;
                if let Some(tunnels) = &mut self.sides[to].tunnels {
                    tunnels.handle_datagram(now, socket(1 - to), &bytes);
                }
                self.pump(to);
                continue;
            }
            let now = self.now;
            for side in 0..2 {
                if let Some(tunnels) = &mut self.sides[side].tunnels
                    && tunnels.poll_timeout().is_some_and(|at| at <= now)
                {
                    tunnels.handle_timeout(now);
                    let again = tunnels.poll_timeout();
                    assert!(again.is_none_or(|at| at > now), "timer stuck at {now}");
                    self.pump(side);
                }
            }
            if next == end && known_is_empty {
                break;
            }
        }
        self.now = end;
    }

    pub fn run_until_up(&mut self, limit_ms: u64) {
        let end = self.now + limit_ms;
        while self.now < end {
            self.run(500);
            if (0..2).all(|s| matches!(self.state(s), TunnelState::Up { .. })) {
                return;
            }
        }
        panic!("not up: {:?} {:?}", self.state(0), self.state(1));
    }

    /// Waits out a rekey that happens to be under way.
    pub fn run_until_single(&mut self) {
        for _ in 0..100 {
            if self.sides.iter().all(|s| s.kernel.inbound.len() == 1) {
                return;
            }
            self.run(100);
        }
    }

    /// The states of a side's tunnel since this was asked last, in the order in which they came.
    pub fn changes(&mut self, side: usize) -> Vec<TunnelState> {
        let tunnels = self.sides[side].tunnels.as_mut().unwrap();
        let changes = std::iter::from_fn(|| tunnels.poll_change());
        changes.map(|status| status.state).collect()
    }

    /// The inbound SA by which a side waits for traffic, if it does.
    pub fn awaited(&self, side: usize) -> Option<u32> {
        let all = self.sides[side].tunnels.as_ref().unwrap().awaited();
        all.first().map(|(_, spis)| spis[0])
    }

    /// A side's kernel received packets by this inbound SA.
    pub fn arrived(&mut self, side: usize, spi: u32) {
        let now = self.now;
        self.tunnels(side)
            .handle_arrived(now, address(1 - side), spi);
        self.pump(side);
    }

    /// What a side dropped so far.
    pub fn dropped(&self, side: usize) -> Dropped {
        self.sides[side].tunnels.as_ref().unwrap().dropped()
    }

    /// A datagram from somebody who is not listed.
    pub fn inject_from_stranger(&mut self, to: usize, bytes: &[u8]) {
        let from = SocketAddr::new(IpAddr::from([10, 0, 0, 77]), 500);
        let now = self.now;
        self.tunnels(to).handle_datagram(now, from, bytes);
        self.pump(to);
    }

    /// What a side tells of its tunnel.
    pub fn status(&self, side: usize) -> PeerStatus {
        let tunnels = self.sides[side].tunnels.as_ref().unwrap();
        tunnels.status(self.now)[0].clone()
    }

    pub fn state(&self, side: usize) -> TunnelState {
        let tunnels = self.sides[side].tunnels.as_ref().unwrap();
        let status = tunnels.status(self.now);
        status
            .first()
            .map_or(TunnelState::Connecting, |s| s.state.clone())
    }

    /// The node certificates that a side takes for its peer's.
    pub fn pins(&self, side: usize) -> Option<Presented> {
        match self.state(side) {
            TunnelState::Up { certificate } => certificate,
            _ => None,
        }
    }

    /// The node certificates of a side that its peer took.
    pub fn told(&self, side: usize) -> Option<Presented> {
        let tunnels = self.sides[side].tunnels.as_ref().unwrap();
        tunnels.status(self.now)[0].told
    }

    pub fn ike_sas(&self, side: usize) -> usize {
        self.sides[side].tunnels.as_ref().unwrap().ike_sas()
    }

    pub fn spis(&self, side: usize) -> Option<(u32, u32)> {
        let tunnels = self.sides[side].tunnels.as_ref().unwrap();
        tunnels.status(self.now)[0].spis
    }

    pub fn rekeys(&self, side: usize) -> (u32, u32) {
        let tunnels = self.sides[side].tunnels.as_ref().unwrap();
        tunnels.status(self.now)[0].rekeys
    }

    /// Whether a post-quantum key is in the IKE SA's keys.
    pub fn has_ppk(&self, side: usize) -> bool {
        let tunnels = self.sides[side].tunnels.as_ref().unwrap();
        tunnels.status(self.now)[0].ppk
    }

    pub fn installs(&self, side: usize) -> usize {
        self.sides[side].kernel.installs
    }

    pub fn sas_installed_now(&self, side: usize) -> usize {
        let kernel = &self.sides[side].kernel;
        kernel.inbound.len() + usize::from(kernel.outbound.is_some())
    }

    /// Whatever is installed on both sides fits together.
    pub fn assert_agreement(&self) {
        for side in 0..2 {
            let (a, b) = (&self.sides[side].kernel, &self.sides[1 - side].kernel);
            if let Some(out) = &a.outbound
                && let Some(into) = b.inbound.get(&out.spi)
            {
                assert_eq!(out.key, into.key);
                assert_eq!(out.esn, into.esn);
            }
        }
    }

    /// Whether what a side sends now is received.
    pub fn is_received(&self, side: usize) -> bool {
        let out = self.sides[side].kernel.outbound.as_ref();
        let into = &self.sides[1 - side].kernel.inbound;
        out.is_some_and(|out| into.contains_key(&out.spi))
    }

    /// Every outbound SA is received by the other side.
    fn assert_lossless(&self) {
        self.assert_agreement();
        assert!((0..2).all(|side| self.is_received(side)));
    }

    /// Exactly one AH pair, the same on both sides, and both say so.
    pub fn assert_one_pair(&self) {
        for side in 0..2 {
            let state = self.state(side);
            assert!(matches!(state, TunnelState::Up { .. }), "{side}: {state:?}");
            let (a, b) = (&self.sides[side].kernel, &self.sides[1 - side].kernel);
            let tunnels = self.sides[side].tunnels.as_ref().unwrap();
            assert_eq!(tunnels.ike_sas(), 1, "IKE SAs of side {side}");
            assert_eq!(a.inbound.len(), 1, "inbound SAs of side {side}");
            let out = a.outbound.as_ref().unwrap();
            let into = b
                .inbound
                .get(&out.spi)
                .expect("the outbound SA is received");
            assert_eq!((&out.key, out.esn), (&into.key, into.esn));
            assert!(out.esn);
            let (inbound, outbound) = self.spis(side).unwrap();
            assert_eq!(outbound, out.spi);
            assert!(a.inbound.contains_key(&inbound));
        }
    }
}
