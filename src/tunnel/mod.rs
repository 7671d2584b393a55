//! The peer tunnel manager: desired peers in, IKE endpoints driven, AH SAs and policies out.
//!
//! Pure: it never touches a socket, the kernel or a clock. `tutti ike` drives it, `tutti keyer`
//! performs what it decides. Whatever happens, each listed peer ends with one IKE SA and one AH
//! pair, or with a state that says why not, and is tried again for ever.

mod either;
mod kernel;
mod link;
mod link_v1;
pub mod message;
mod outbox;
#[cfg(test)]
mod search;
mod shown;
pub mod status;
mod strangers;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::ike::cookie::Cookies;
use crate::ike::suite::Version;
use crate::ike::{Certified, Context, Credentials, Dropped, Lifetimes, Ppk, Random, keylog};
use either::Either;
use kernel::Question;
use message::{Desired, KeyerReply, KeyerRequest, PeerStatus, Secret};
use outbox::Outbox;
use strangers::Strangers;

/// UDP port of ISAKMP.
pub const PORT: u16 = 500;
/// A datagram larger than this is nobody's honest message.
const MAX_DATAGRAM: usize = 8_192;
/// How long SAs of before a restart carry on without new ones.
const KEEP_MS: u64 = 30_000;
/// A list that could not be put in force is tried again after this.
const RELOAD_MS: u64 = 5_000;
/// How long they still receive when new ones stand.
const REPLACED_MS: u64 = 3_000;
/// How long after a tunnel came up the kernel's word that traffic finds no SA may be of before.
const SETTLED_MS: u64 = 2_000;
/// How long the kernel lacks an SA that is not just about to be installed.
const ABSENT_MS: u64 = 1_000;
/// When one that was to be replaced for that is so again.
const EXPIRED_MS: u64 = 15_000;
/// Three fields, one of them ours; a few more do no harm.
const MAX_PEERS: usize = 8;

/// A datagram to send from our address, port 500.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// The UDP payload.
    pub bytes: Vec<u8>,
}

/// A datagram that came, and what its handling needs beside the context.
pub(crate) struct Arrival<'a> {
    pub outbox: &'a mut Outbox,
    pub cookies: &'a Cookies,
    pub from: SocketAddr,
    pub bytes: &'a [u8],
}

/// Changes of state that may wait to be fetched; they are after each step.
const MAX_CHANGES: usize = 64;

/// All tunnels of this system. Times are milliseconds of one monotonic clock, which begins at 0
/// when it is made.
pub struct Tunnels {
    random: Box<dyn Random + Send>,
    cookies: Cookies,
    lifetimes: Lifetimes,
    desired: Option<Desired>,
    credentials: Credentials,
    links: Vec<Either>,
    outbox: Outbox,
    started: bool,
    strangers: Strangers,
    strangers_v1: strangers::v1::Strangers,
    /// Whether SAs of before a restart stay until new ones stand.
    keep: bool,
    /// When those go at the latest.
    retain_at: Option<u64>,
    /// When the list is to be read again, which failed.
    reload_at: Option<u64>,
    dropped: Dropped,
    /// Tunnels whose state changed, each time it did.
    changes: VecDeque<PeerStatus>,
    /// Peers to which traffic found no SA just after one stood, and when that counts.
    missed: BTreeMap<IpAddr, u64>,
    /// Peers from which no AH arrives.
    blocked: Vec<IpAddr>,
    /// Whether no keyer was there for a while.
    keyerless: bool,
    /// SAs that the kernel did not hold at the last look, and since when.
    absent: BTreeMap<IpAddr, BTreeMap<u32, u64>>,
    /// What was told last, without its ages.
    reported: Vec<PeerStatus>,
    changed: bool,
}

impl Tunnels {
    /// No peers yet.
    pub fn new(mut random: Box<dyn Random + Send>) -> Self {
        let cookies = Cookies::new(0, random.as_mut());
        let mut tokens = Zeroizing::new([0; 32]);
        random.fill(tokens.as_mut());
        Self {
            cookies,
            random,
            lifetimes: Lifetimes::default(),
            desired: None,
            credentials: Credentials {
                key: Zeroizing::default(),
                certificate: [0; 32].into(),
                certified: None,
                ppk: None,
                tokens,
            },
            links: Vec::new(),
            outbox: Outbox::default(),
            started: false,
            strangers: Strangers::default(),
            strangers_v1: strangers::v1::Strangers::default(),
            keep: false,
            retain_at: None,
            reload_at: None,
            dropped: Dropped::default(),
            changes: VecDeque::new(),
            missed: BTreeMap::new(),
            blocked: Vec::new(),
            keyerless: false,
            absent: BTreeMap::new(),
            reported: Vec::new(),
            changed: false,
        }
    }

    /// Sets how long SAs made from now on live; children at least 10 s, IKE SAs 20 s.
    pub fn set_lifetimes(&mut self, child_ms: u64, ike_ms: u64) {
        self.lifetimes = Lifetimes {
            child_ms: child_ms.max(10_000),
            ike_ms: ike_ms.max(20_000),
        };
    }

    /// Brings the tunnels into line with `desired`; those that need no change stay. `None` takes
    /// all down.
    ///
    /// `certified` is made of `desired`'s certificates by whoever can read them.
    pub fn configure(
        &mut self,
        now: u64,
        desired: Option<Desired>,
        certified: Option<Arc<dyn Certified>>,
    ) {
        // Whoever we are and prove changed: no tunnel is still what it claims.
        let same = match (&self.desired, &desired) {
            (Some(old), Some(new)) => {
                old.list.local == new.list.local
                    && old.key == new.key
                    && old.profile == new.profile
                    && old.certificates == new.certificates
                    && old.ppk == new.ppk
            }
            _ => false,
        };
        let listed = |link: &Either| {
            let list = desired.as_ref().map(|d| &d.list);
            list.is_some_and(|list| list.peers.contains(&link.peer()))
        };
        // Removals go first: after the reload, the keyer knows these peers no longer.
        let (kept, dropped): (Vec<_>, Vec<_>) =
            self.links.drain(..).partition(|link| same && listed(link));
        self.links = kept;
        let kept = |peer: &IpAddr| self.links.iter().any(|link| link.address() == *peer);
        self.absent.retain(|peer, _| kept(peer));
        if let Some(old) = &self.desired {
            for mut link in dropped {
                let mut context = Context {
                    now,
                    random: self.random.as_mut(),
                    local: old.list.local,
                    remote: link.address(),
                    credentials: &self.credentials,
                    profile: &old.profile,
                    lifetimes: self.lifetimes,
                    dropped: Dropped::default(),
                };
                link.take_down(&mut context, &mut self.outbox);
            }
        }
        self.outbox.ask(KeyerRequest::Reload, Question::Reload);
        if !self.started {
            self.started = true;
            if self.keep && desired.is_some() {
                self.retain_at = Some(now + KEEP_MS);
            } else {
                let nothing = KeyerRequest::Retain(Vec::new());
                self.outbox.ask(nothing, Question::Other);
            }
        } else if !same && self.retain_at.take().is_some() {
            // What stood before the restart is of the settings of before, too.
            self.retain();
        }
        if let Some(desired) = &desired {
            self.credentials = Credentials {
                key: Zeroizing::new(desired.key.0.clone()),
                certificate: desired.certificate,
                certified,
                ppk: desired.ppk.as_deref().map(Ppk::of),
                tokens: self.credentials.tokens.clone(),
            };
            let local = desired.list.local;
            for peer in desired.list.peers.iter().take(MAX_PEERS) {
                let known = self.links.iter().any(|l| l.address() == peer.address);
                if !known && peer.address != local {
                    let version = desired.profile.version;
                    let mut link = Either::new(version, now, *peer, local);
                    if let Some(until) = self.retain_at {
                        link.carry_on(now, until);
                    }
                    self.links.push(link);
                }
            }
        } else {
            self.credentials.key = Zeroizing::default();
            self.credentials.certified = None;
            self.credentials.ppk = None;
        }
        self.desired = desired;
        self.each_link(now, |_, _, _| {});
    }

    /// Before the first peer: the secret of quick crash detection, which must be the same after a
    /// restart to be of use (RFC 6290 section 5.1).
    pub fn set_token_secret(&mut self, secret: Zeroizing<[u8; 32]>) {
        self.credentials.tokens = secret;
    }

    /// Before the first peers: the settings are those with which the kernel's SAs were made, so
    /// these carry on until new ones stand.
    pub fn keep_standing(&mut self) {
        self.keep = true;
    }

    /// Handles a datagram that came to UDP 500.
    pub fn handle_datagram(&mut self, now: u64, from: SocketAddr, bytes: &[u8]) {
        if bytes.len() > MAX_DATAGRAM {
            self.dropped.too_long += 1;
            return;
        }
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        // IKEv1 has none.
        let version = self.desired.as_ref().map(|desired| desired.profile.version);
        if version == Some(Version::V2) {
            self.cookies.renew(now, self.random.as_mut());
        }
        let cookies = Cookies::clone(&self.cookies);
        if !self.links.iter().any(|l| l.address() == from.ip()) {
            return self.stranger(now, &cookies, from, bytes);
        }
        self.each_link(now, |link, context, outbox| {
            if link.address() == from.ip() {
                link.handle(
                    context,
                    Arrival {
                        outbox,
                        cookies: &cookies,
                        from,
                        bytes,
                    },
                );
            }
        });
    }

    fn stranger(&mut self, now: u64, cookies: &Cookies, from: SocketAddr, bytes: &[u8]) {
        let Some(desired) = self.desired.as_ref() else {
            self.dropped.not_listed += 1;
            return;
        };
        if desired.list.local.is_ipv4() != from.is_ipv4() {
            self.dropped.not_listed += 1;
            return;
        }
        let mut context = Context {
            now,
            random: self.random.as_mut(),
            local: desired.list.local,
            remote: from.ip(),
            credentials: &self.credentials,
            profile: &desired.profile,
            lifetimes: self.lifetimes,
            dropped: Dropped::default(),
        };
        let outbox = &mut self.outbox;
        match desired.profile.version {
            Version::V1 => {
                let (strangers, datagram) = (&mut self.strangers_v1, (from, bytes));
                strangers.handle(&mut context, outbox, datagram);
            }
            Version::V2 => {
                let arrival = Arrival {
                    outbox,
                    cookies,
                    from,
                    bytes,
                };
                self.strangers.handle(&mut context, arrival);
            }
        }
        self.dropped.add(&context.dropped);
    }

    /// Lets go of SAs of before a restart as soon as new ones stand, or after a time.
    fn let_go(&mut self, now: u64) {
        if self.links.iter().all(Either::is_up) {
            // The peers may send by the old ones yet.
            self.retain_at = self.retain_at.map(|at| at.min(now + REPLACED_MS));
        }
        if self.retain_at.take_if(|at| *at <= now).is_some() {
            self.retain();
        }
    }

    /// Whatever else the kernel holds of ours goes.
    fn retain(&mut self) {
        let current = self.links.iter().flat_map(Either::spis).collect();
        self.outbox
            .ask(KeyerRequest::Retain(current), Question::Other);
    }

    /// A keyer is there again. What was asked of the one before may not have been done.
    pub fn keyer_back(&mut self) {
        if self.started && self.retain_at.is_none() {
            self.retain();
        }
    }

    /// Handles an answer of the keyer, in the order of the requests, or an event.
    pub fn handle_keyer(&mut self, now: u64, event: KeyerReply) {
        let question = match event {
            KeyerReply::Acquire { peer } => return self.acquired(now, peer),
            KeyerReply::Expired { .. } => None,
            _ => self.outbox.answer(),
        };
        if question == Some(Question::Reload) {
            let failed = matches!(event, KeyerReply::Failed(_));
            self.reload_at = failed.then_some(now + RELOAD_MS);
        }
        self.each_link(now, |link, context, outbox| match (&event, &question) {
            (KeyerReply::Expired { peer, spi }, _) if *peer == link.address() => {
                link.expire(context.now, *spi);
            }
            (KeyerReply::Failed(text), Some(question)) => {
                link.keyer_failed(context, outbox, question, text);
            }
            (_, Some(question)) => link.keyer_done(question),
            _ => {}
        });
    }

    /// Traffic to a peer finds no SA.
    fn acquired(&mut self, now: u64, peer: IpAddr) {
        let mut missed = None;
        self.each_link(now, |link, context, _| {
            if link.address() != peer {
                return;
            }
            let status = link.status(context.now);
            if !status.state.is_up() {
                link.acquire(context.now);
            } else if status.for_ms < SETTLED_MS {
                // What waited before the tunnel was up may be told a moment later. But the kernel
                // tells it once in 30 s: a pair too many costs less.
                missed = Some(context.now + SETTLED_MS);
            } else {
                // One should stand: the kernel has lost it.
                for spi in link.spis() {
                    link.expire(context.now, spi);
                }
            }
        });
        self.missed.extend(missed.map(|at| (peer, at)));
    }

    /// Rekeys the IKE SA and the AH pair with one peer now, whatever their age.
    pub fn rekey(&mut self, now: u64, peer: IpAddr) {
        self.each_link(now, |link, context, _| {
            if link.address() == peer {
                link.rekey(context.now);
            }
        });
    }

    /// Peers, and inbound SAs of each by which traffic is waited for. Whoever sees it come says so
    /// by [`Tunnels::handle_arrived`]: the sooner, the sooner their pairs send.
    pub fn awaited(&self) -> Vec<(IpAddr, Vec<u32>)> {
        let all = self.links.iter().map(|link| (link.address(), link.held()));
        all.filter(|(_, spis)| !spis.is_empty()).collect()
    }

    /// The kernel received packets by an inbound SA.
    pub fn handle_arrived(&mut self, now: u64, peer: IpAddr, spi: u32) {
        self.each_link(now, |link, _, _| {
            if link.address() == peer {
                link.arrived(spi);
            }
        });
    }

    /// From these peers, and no others, no AH arrives although we send.
    pub fn handle_blocked(&mut self, now: u64, peers: Vec<IpAddr>) {
        self.blocked = peers;
        self.each_link(now, |_, _, _| {});
    }

    /// No keyer is there, for so long that it matters; or one is again. Whether that is news.
    pub fn set_keyerless(&mut self, now: u64, keyerless: bool) -> bool {
        let news = keyerless != std::mem::replace(&mut self.keyerless, keyerless);
        if news {
            self.each_link(now, |_, _, _| {});
        }
        news
    }

    /// What the kernel holds of one peer, just read. Of an inbound SA that it lost it says nothing:
    /// one that is missing for a while is replaced.
    pub fn handle_standing(&mut self, now: u64, peer: IpAddr, spis: &[u32]) {
        let before = self.absent.remove(&peer).unwrap_or_default();
        let mut absent = BTreeMap::new();
        self.each_link(now, |link, context, _| {
            let missing = link.spis().into_iter().filter(|spi| !spis.contains(spi));
            if link.address() != peer || !link.is_up() {
                return;
            }
            for spi in missing.collect::<Vec<_>>() {
                let since = before.get(&spi).copied().unwrap_or(now);
                if now >= since + ABSENT_MS {
                    // What comes of it is put off as other exchanges are.
                    link.expire(context.now, spi);
                    absent.insert(spi, now + EXPIRED_MS);
                } else {
                    absent.insert(spi, since);
                }
            }
        });
        if !absent.is_empty() {
            self.absent.insert(peer, absent);
        }
    }

    /// Performs what is due; see [`Tunnels::poll_timeout`].
    pub fn handle_timeout(&mut self, now: u64) {
        if self.reload_at.take_if(|at| *at <= now).is_some() {
            self.outbox.ask(KeyerRequest::Reload, Question::Reload);
        }
        let missed = self.missed.iter().find(|(_, at)| **at <= now);
        if let Some(peer) = missed.map(|(peer, _)| *peer) {
            self.missed.remove(&peer);
            self.acquired(now, peer);
        }
        self.each_link(now, |_, _, _| {});
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.transmit()
    }

    /// The next request to the keyer.
    pub fn poll_keyer(&mut self) -> Option<KeyerRequest> {
        self.outbox.request()
    }

    /// When [`Tunnels::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<u64> {
        let links = self.links.iter().filter_map(Either::due);
        let missed = self.missed.values().copied();
        let own = self.retain_at.into_iter().chain(self.reload_at);
        links.chain(own).chain(missed).min()
    }

    /// Every listed peer's tunnel.
    pub fn status(&self, now: u64) -> Vec<PeerStatus> {
        self.links.iter().map(|link| link.status(now)).collect()
    }

    /// How many IKE SAs stand with all peers; one each, but for moments.
    pub fn ike_sas(&self) -> usize {
        self.links.iter().map(Either::ike_sas).sum()
    }

    /// The keys of all IKE SAs, one line each as tshark takes them; for laboratories.
    pub fn key_log(&self) -> Vec<keylog::Line> {
        self.links.iter().flat_map(Either::key_log).collect()
    }

    /// Whether [`Tunnels::status`] differs from the last time this was asked, beyond its ages.
    pub fn status_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// How many datagrams were dropped so far, and why.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// A tunnel whose state changed, as it was then: every change, in their order. Those that
    /// nobody fetches are dropped, the oldest first.
    pub fn poll_change(&mut self) -> Option<PeerStatus> {
        self.changes.pop_front()
    }

    fn each_link(
        &mut self,
        now: u64,
        mut act: impl FnMut(&mut Either, &mut Context<'_>, &mut Outbox),
    ) {
        let Some(desired) = &self.desired else {
            return self.note_changes(now);
        };
        for link in &mut self.links {
            let mut context = Context {
                now,
                random: self.random.as_mut(),
                local: desired.list.local,
                remote: link.address(),
                credentials: &self.credentials,
                profile: &desired.profile,
                lifetimes: self.lifetimes,
                dropped: Dropped::default(),
            };
            act(link, &mut context, &mut self.outbox);
            link.set_keyerless(self.keyerless);
            link.set_blocked(now, self.blocked.contains(&link.address()));
            link.advance(&mut context, &mut self.outbox);
            self.dropped.add(&context.dropped);
        }
        self.let_go(now);
        self.note_changes(now);
    }

    fn note_changes(&mut self, now: u64) {
        let all = self.status(now);
        for status in &all {
            let before = self.reported.iter().find(|b| b.address == status.address);
            if before.is_none_or(|before| before.state.differs(&status.state)) {
                if self.changes.len() >= MAX_CHANGES {
                    self.changes.pop_front();
                }
                self.changes.push_back(status.clone());
            }
        }
        let shown: Vec<PeerStatus> = all.into_iter().map(ageless).collect();
        if shown != self.reported {
            self.reported = shown;
            self.changed = true;
        }
    }
}

/// Without what grows by itself.
fn ageless(mut status: PeerStatus) -> PeerStatus {
    status.for_ms = 0;
    if let Some(error) = &mut status.last_error {
        error.ago_ms = 0;
    }
    status
}

impl Ppk {
    fn of(told: &message::Ppk) -> Self {
        Self {
            id: told.id.clone().into_bytes(),
            secret: Zeroizing::new(told.secret.0.clone()),
        }
    }
}

impl Secret {
    fn of(key: &[u8]) -> Self {
        Secret(key.to_vec())
    }
}
