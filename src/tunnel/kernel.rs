//! What the kernel holds for one peer, and how it is brought into line: inbound before outbound,
//! one outbound SA at a time, old inbound SAs linger while packets are still under way.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Outbox;
use super::message::{AhSa, KeyerRequest, Secret};
use crate::ike::Child;

/// How long a replaced inbound SA still receives.
const LINGER_MS: u64 = 2_000;

/// What an answer of the keyer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Reload,
    Install {
        peer: IpAddr,
        spi: u32,
        inbound: bool,
    },
    Other,
}

/// The SAs of one peer, as asked for.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Kernel {
    peer: IpAddr,
    /// Inbound SPIs, with the time of removal for those that linger.
    inbound: BTreeMap<u32, Option<u64>>,
    outbound: Option<u32>,
    /// An outbound SA stays until then, though another takes its place.
    held_until: Option<u64>,
    /// Whether an outbound SA was ever confirmed since the last time there was none.
    pub carrying: bool,
}

impl Kernel {
    pub fn new(peer: IpAddr) -> Self {
        Self {
            peer,
            inbound: BTreeMap::new(),
            outbound: None,
            held_until: None,
            carrying: false,
        }
    }

    /// What is sent until `until` goes by the outbound SA that stands, if one does: the peer learns
    /// of another only by what we are about to say.
    pub fn hold(&mut self, until: u64) {
        self.held_until = self.outbound.map(|_| until);
    }

    fn install(&self, outbox: &mut Outbox, child: &Child, inbound: bool) {
        let (spi, key) = if inbound {
            (child.spi_in, &child.key_in)
        } else {
            (child.spi_out, &child.key_out)
        };
        let request = KeyerRequest::Install(AhSa {
            peer: self.peer,
            spi,
            inbound,
            integrity: child.integrity,
            key: Secret::of(key),
            esn: child.esn,
        });
        let peer = self.peer;
        outbox.ask(request, Question::Install { peer, spi, inbound });
    }

    fn remove(&self, outbox: &mut Outbox, spi: u32, inbound: bool) {
        let peer = self.peer;
        let request = KeyerRequest::Remove { peer, spi, inbound };
        outbox.ask(request, Question::Other);
    }

    /// Makes the kernel hold `children` inbound and `outbound` outbound.
    pub fn reconcile(
        &mut self,
        now: u64,
        outbox: &mut Outbox,
        children: &[&Child],
        outbound: Option<&Child>,
    ) {
        for child in children {
            match self.inbound.get_mut(&child.spi_in) {
                Some(lingers) => *lingers = None,
                None => {
                    self.install(outbox, child, true);
                    self.inbound.insert(child.spi_in, None);
                }
            }
        }
        let wanted = outbound.map(|child| child.spi_out);
        self.held_until = self.held_until.filter(|&until| now < until);
        let held = self.held_until.is_some() && wanted.is_some() && self.outbound.is_some();
        if !held && wanted != self.outbound {
            match (outbound, self.outbound) {
                (Some(child), _) => self.install(outbox, child, false),
                (None, Some(old)) => self.remove(outbox, old, false),
                (None, None) => {}
            }
            self.outbound = wanted;
            self.carrying &= wanted.is_some();
        }
        let linger = if children.is_empty() { 0 } else { LINGER_MS };
        let mut gone = Vec::new();
        for (&spi, lingers) in &mut self.inbound {
            if !children.iter().any(|c| c.spi_in == spi) {
                let until = *lingers.get_or_insert(now + linger);
                if until.min(now + linger) <= now {
                    gone.push(spi);
                }
            }
        }
        for spi in gone {
            self.inbound.remove(&spi);
            self.remove(outbox, spi, true);
        }
    }

    /// The keyer installed what was asked.
    pub fn confirm(&mut self, question: &Question) {
        if let Question::Install {
            peer,
            spi,
            inbound: false,
        } = question
            && *peer == self.peer
            && Some(*spi) == self.outbound
        {
            self.carrying = true;
        }
    }

    /// Whether `question` was about an SA that is still wanted.
    pub fn concerns(&self, question: &Question) -> bool {
        match question {
            Question::Install { peer, spi, inbound } if *peer == self.peer => {
                if *inbound {
                    self.inbound.get(spi) == Some(&None)
                } else {
                    self.outbound == Some(*spi)
                }
            }
            _ => false,
        }
    }

    /// The keyer could not install what was asked: it is not there to be removed.
    pub fn forget(&mut self, question: &Question) {
        if let Question::Install { peer, spi, inbound } = question
            && *peer == self.peer
        {
            if *inbound {
                self.inbound.remove(spi);
            } else if self.outbound == Some(*spi) {
                self.outbound = None;
                self.carrying = false;
            }
        }
    }

    /// The SPI by which we send.
    pub fn outbound(&self) -> Option<u32> {
        self.outbound
    }

    #[cfg(test)]
    pub fn shape(&self, shape: &mut crate::ike::shape::Shape) {
        // In an order that chance has no part in.
        let mut inbound: Vec<_> = self.inbound.iter().collect();
        inbound.sort_by_key(|(spi, lingers)| (**lingers, shape.known(**spi)));
        shape.list(inbound.into_iter(), |shape, (spi, lingers)| {
            shape.spi(*spi);
            shape.option(*lingers, crate::ike::shape::Shape::time);
        });
        shape.option(self.outbound, crate::ike::shape::Shape::spi);
        shape.option(self.held_until, crate::ike::shape::Shape::time);
        shape.word(self.carrying);
    }

    /// SPIs of all, both ways.
    pub fn spis(&self) -> Vec<u32> {
        self.inbound.keys().copied().chain(self.outbound).collect()
    }

    /// When a lingering SA goes, or the outbound one is replaced.
    pub fn due(&self) -> Option<u64> {
        let lingering = self.inbound.values().filter_map(|lingers| *lingers);
        lingering.chain(self.held_until).min()
    }
}
