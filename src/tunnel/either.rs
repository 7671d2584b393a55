//! A tunnel by one version of IKE or the other: the manager treats them alike.

use std::net::IpAddr;

use super::kernel::Question;
use super::link::Link;
use super::link_v1::LinkV1;
use super::message::{Peer, PeerStatus};
use super::{Arrival, Outbox};
use crate::ike::suite::Version;
use crate::ike::{Context, Refusal, keylog};
use crate::wire::isakmp::{Header, WireError, v1};

/// The tunnel to one peer.
#[cfg_attr(test, derive(Clone))]
pub(crate) enum Either {
    V1(Box<LinkV1>),
    V2(Box<Link>),
}

/// Calls the same method of whichever it is.
macro_rules! both {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match $self {
            Either::V1(link) => link.$method($($argument),*),
            Either::V2(link) => link.$method($($argument),*),
        }
    };
}

impl Either {
    pub fn new(version: Version, now: u64, peer: Peer, local: IpAddr) -> Self {
        match version {
            Version::V1 => Either::V1(Box::new(LinkV1::new(now, peer, local))),
            Version::V2 => Either::V2(Box::new(Link::new(now, peer, local))),
        }
    }

    pub fn peer(&self) -> Peer {
        match self {
            Either::V1(link) => link.peer,
            Either::V2(link) => link.peer,
        }
    }

    pub fn address(&self) -> IpAddr {
        self.peer().address
    }

    /// Handles a datagram from the peer's address. One of the other version gets no answer, but
    /// shows that the peers are set differently.
    pub fn handle(&mut self, context: &mut Context<'_>, arrival: Arrival<'_>) {
        let other = match self {
            Either::V1(link) => match v1::Header::parse(arrival.bytes) {
                Ok(_) => return link.handle(context, arrival.from, arrival.bytes),
                Err(error) => error,
            },
            Either::V2(link) => match Header::parse(arrival.bytes) {
                Ok((header, _)) => return link.handle(context, &header, arrival),
                Err(error) => error,
            },
        };
        context.dropped.note(&other);
        if let WireError::Version(1 | 2) = other {
            both!(self.hint(context.now, Refusal::OtherProfile));
        }
    }

    pub fn keyer_failed(
        &mut self,
        context: &mut Context<'_>,
        outbox: &mut Outbox,
        question: &Question,
        text: &str,
    ) {
        match self {
            Either::V1(link) => link.keyer_failed(context, outbox, question, text),
            Either::V2(link) => link.keyer_failed(context, question, text),
        }
    }

    pub fn take_down(&mut self, context: &mut Context<'_>, outbox: &mut Outbox) {
        match self {
            Either::V1(link) => link.take_down(context, outbox),
            Either::V2(link) => link.take_down(outbox),
        }
    }

    pub fn acquire(&mut self, now: u64) {
        both!(self.acquire(now));
    }

    pub fn expire(&mut self, now: u64, spi: u32) {
        both!(self.expire(now, spi));
    }

    pub fn arrived(&mut self, spi: u32) {
        both!(self.arrived(spi));
    }

    pub fn held(&self) -> Vec<u32> {
        both!(self.held())
    }

    pub fn set_keyerless(&mut self, keyerless: bool) {
        both!(self.set_keyerless(keyerless));
    }

    pub fn set_blocked(&mut self, now: u64, blocked: bool) {
        both!(self.set_blocked(now, blocked));
    }

    pub fn rekey(&mut self, now: u64) {
        both!(self.rekey(now));
    }

    pub fn keyer_done(&mut self, question: &Question) {
        both!(self.keyer_done(question));
    }

    pub fn advance(&mut self, context: &mut Context<'_>, outbox: &mut Outbox) {
        both!(self.advance(context, outbox));
    }

    pub fn due(&self) -> Option<u64> {
        both!(self.due())
    }

    pub fn status(&self, now: u64) -> PeerStatus {
        both!(self.status(now))
    }

    pub fn is_up(&self) -> bool {
        both!(self.is_up())
    }

    pub fn key_log(&self) -> Vec<keylog::Line> {
        both!(self.key_log())
    }

    /// The tunnel by IKEv2.
    #[cfg(test)]
    pub fn newer(&self) -> &Link {
        match self {
            Either::V2(link) => link,
            Either::V1(_) => panic!("a tunnel by IKEv1"),
        }
    }

    #[cfg(test)]
    pub fn settled(&self) -> Option<(bool, bool)> {
        both!(self.settled())
    }

    #[cfg(test)]
    pub fn disturb(
        &mut self,
        context: &mut Context<'_>,
        outbox: &mut Outbox,
        what: super::search::Disturbance,
    ) {
        both!(self.disturb(context, outbox, what));
    }

    /// SAs of before a restart carry on until then: the peer need not end them. It hardly begins at
    /// the same time, unless it restarted with us.
    pub fn carry_on(&mut self, now: u64, until: u64) {
        match self {
            Either::V1(link) => link.begin_at(now),
            Either::V2(link) => {
                link.told_unknown = until;
                link.attempt_at = now;
            }
        }
    }

    /// SPIs of the SAs that the kernel holds, both ways.
    pub fn spis(&self) -> Vec<u32> {
        match self {
            Either::V1(link) => link.kernel.spis(),
            Either::V2(link) => link.kernel.spis(),
        }
    }

    pub fn ike_sas(&self) -> usize {
        both!(self.ike_sas())
    }
}
