//! The tunnel to one peer by IKEv1: its [`Engine`], what the kernel holds, and what is shown.

use std::net::{IpAddr, SocketAddr};

use super::kernel::{Kernel, Question};
use super::link::state_of;
use super::message::{Peer, PeerStatus, TunnelState};
use super::shown::{Shown, Stands};
use super::{Outbox, PORT};
use crate::ike::suite::Version;
use crate::ike::v1::Engine;
use crate::ike::{Child, Context, Refusal, keylog};

/// The tunnel to one peer.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct LinkV1 {
    pub peer: Peer,
    engine: Engine,
    pub(super) kernel: Kernel,
    /// Answers, and where they go.
    answers: Vec<(SocketAddr, Vec<u8>)>,
    shown: Shown,
}

impl LinkV1 {
    pub fn new(now: u64, peer: Peer, local: IpAddr) -> Self {
        Self {
            peer,
            engine: Engine::new(now, local > peer.address),
            kernel: Kernel::new(peer.address),
            answers: Vec::new(),
            shown: Shown::new(now),
        }
    }

    /// See [`super::either::Either::carry_on`].
    pub fn begin_at(&mut self, at: u64) {
        self.engine.begin_at(at);
    }

    pub fn ike_sas(&self) -> usize {
        self.engine.ike_sas()
    }

    /// The keys of established ISAKMP SAs, for tshark.
    pub fn key_log(&self) -> Vec<keylog::Line> {
        self.engine.key_log().collect()
    }

    pub fn is_up(&self) -> bool {
        self.shown.state().is_up()
    }

    pub fn status(&self, now: u64) -> PeerStatus {
        let stands = Stands {
            version: Version::V1,
            suite: self.engine.suite(),
            ppk: false,
            child: self.engine.outbound(),
            rekeys: self.engine.rekeys(),
            told: self.engine.told(),
        };
        self.shown.status(now, self.peer, &stands)
    }

    pub fn handle(&mut self, context: &mut Context<'_>, from: SocketAddr, bytes: &[u8]) {
        self.engine.handle(context, bytes);
        let answers = std::iter::from_fn(|| self.engine.poll_answer());
        self.answers.extend(answers.map(|bytes| (from, bytes)));
    }

    /// Performs what is due and brings kernel and state into line.
    pub fn advance(&mut self, context: &mut Context<'_>, outbox: &mut Outbox) {
        self.engine.advance(context);
        let children: Vec<&Child> = self.engine.children().collect();
        let outbound = self.engine.outbound();
        self.kernel
            .reconcile(context.now, outbox, &children, outbound);
        // Only now: these datagrams may make the peer use a new SA.
        for (from, bytes) in self.answers.drain(..) {
            outbox.send(from, bytes);
        }
        // Whoever forges the peer's address from another port gets nothing else.
        while let Some(bytes) = self.engine.poll_transmit() {
            outbox.send(SocketAddr::new(self.peer.address, PORT), bytes);
        }
        self.judge(context.now);
    }

    fn judge(&mut self, now: u64) {
        let up = self.kernel.carrying && self.engine.outbound().is_some();
        let state = if up {
            self.engine.works();
            TunnelState::Up {
                certificate: self.engine.certificate(),
            }
        } else {
            let fault = self.engine.fault().map(|refusal| match refusal {
                Refusal::AuthenticationFailed => TunnelState::AuthenticationDoubted,
                other => state_of(other),
            });
            fault.unwrap_or(TunnelState::Connecting)
        };
        self.shown.set(now, state);
    }

    pub fn acquire(&mut self, now: u64) {
        self.engine.acquire(now);
    }

    pub fn expire(&mut self, now: u64, spi: u32) {
        self.engine.expire(now, spi);
    }

    pub fn arrived(&mut self, spi: u32) {
        self.engine.arrived(spi);
    }

    pub fn held(&self) -> Vec<u32> {
        self.engine.held().collect()
    }

    pub fn set_keyerless(&mut self, keyerless: bool) {
        self.shown.set_keyerless(keyerless);
    }

    pub fn set_blocked(&mut self, now: u64, blocked: bool) {
        self.shown.set_blocked(now, blocked);
    }

    pub fn rekey(&mut self, now: u64) {
        self.engine.rekey(now);
    }

    pub fn hint(&mut self, now: u64, refusal: Refusal) {
        self.engine.hint(now, refusal);
    }

    #[cfg(test)]
    pub(super) fn settled(&self) -> Option<(bool, bool)> {
        let idle = self.kernel.due().is_none();
        self.engine.settled().filter(|_| idle)
    }

    /// What the search of collisions does beside replacing AH pairs.
    #[cfg(test)]
    pub(super) fn disturb(
        &mut self,
        context: &mut Context<'_>,
        outbox: &mut Outbox,
        what: super::search::Disturbance,
    ) {
        use super::search::Disturbance::*;
        match what {
            RekeySa => self.engine.rekey_sa_alone(context.now),
            Delete => self.say_farewell(context, outbox),
            _ => {}
        }
    }

    pub fn keyer_done(&mut self, question: &Question) {
        self.kernel.confirm(question);
    }

    pub fn keyer_failed(
        &mut self,
        context: &mut Context<'_>,
        outbox: &mut Outbox,
        question: &Question,
        text: &str,
    ) {
        let wanted = self.kernel.concerns(question);
        self.kernel.forget(question);
        let refusal = Refusal::Other(format!("keyer: {text}"));
        if wanted {
            for bytes in self.engine.fail(context, refusal) {
                outbox.send(SocketAddr::new(self.peer.address, PORT), bytes);
            }
        } else if *question == Question::Reload && *self.shown.state() == TunnelState::Connecting {
            self.engine.hint(context.now, refusal);
        }
    }

    fn say_farewell(&mut self, context: &mut Context<'_>, outbox: &mut Outbox) {
        for bytes in self.engine.abandon(context) {
            outbox.send(SocketAddr::new(self.peer.address, PORT), bytes);
        }
    }

    /// Deletes everything at once, with a farewell nobody waits for.
    pub fn take_down(&mut self, context: &mut Context<'_>, outbox: &mut Outbox) {
        self.say_farewell(context, outbox);
        self.kernel.reconcile(0, outbox, &[], None);
    }

    pub fn due(&self) -> Option<u64> {
        let times = [self.engine.due(), self.kernel.due()];
        times.into_iter().flatten().min()
    }
}
