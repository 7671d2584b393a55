//! What the tunnels want sent and the keyer asked, in an order that loses no packet.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use super::Transmit;
use super::kernel::Question;
use super::message::KeyerRequest;
use crate::ike::Datagrams;

/// Datagrams that may wait for the keyer; retransmission makes good what is dropped.
const MAX_WAITING: usize = 256;

/// Datagrams and keyer requests that wait to be fetched.
///
/// A datagram leaves only after the inbound SAs asked for before it are in the kernel: it may be
/// what makes the peer send on them.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Outbox {
    /// With the number of answers each waits for.
    transmits: VecDeque<(u64, Transmit)>,
    requests: VecDeque<KeyerRequest>,
    questions: VecDeque<Question>,
    answered: u64,
    barriers: BTreeMap<IpAddr, u64>,
}

impl Outbox {
    pub fn send(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        if self.transmits.len() >= MAX_WAITING {
            self.transmits.pop_front();
        }
        let barrier = self.barriers.get(&to.ip()).copied().unwrap_or(0);
        self.transmits.push_back((barrier, Transmit { to, bytes }));
    }

    pub fn send_all(&mut self, to: SocketAddr, datagrams: Datagrams) {
        for bytes in datagrams {
            self.send(to, bytes);
        }
    }

    pub fn ask(&mut self, request: KeyerRequest, question: Question) {
        self.requests.push_back(request);
        self.questions.push_back(question);
        if let Question::Install {
            peer,
            inbound: true,
            ..
        } = question
        {
            let asked = self.answered + self.questions.len() as u64;
            self.barriers.insert(peer, asked);
        }
    }

    /// The next request to the keyer.
    pub fn request(&mut self) -> Option<KeyerRequest> {
        self.requests.pop_front()
    }

    pub fn answer(&mut self) -> Option<Question> {
        let question = self.questions.pop_front()?;
        self.answered += 1;
        Some(question)
    }

    pub fn transmit(&mut self) -> Option<Transmit> {
        let ready = |(barrier, _): &(u64, Transmit)| *barrier <= self.answered;
        let at = self.transmits.iter().position(ready)?;
        self.transmits.remove(at).map(|(_, transmit)| transmit)
    }
}
