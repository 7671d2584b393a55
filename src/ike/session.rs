//! One IKE SA: its keys, SPIs and the two message windows of size one (RFC 7296 sections 2.1-2.3).

use super::cipher::{Cipher, OpenError};
use super::group::Exchange;
use super::keys::{SaKeys, Seeds};
use super::retransmit::Retry;
use super::suite::Suite;
use crate::wire::isakmp::{Header, Message, Payload, exchange};

/// A request without an answer for this long means that the peer is gone.
const PATIENCE_MS: u64 = 14_000;

/// What an outstanding request is for.
pub(crate) enum Purpose {
    /// The IKE_AUTH request of a new SA; its answer is handled by that state.
    Authenticate,
    /// Is the peer alive?
    Liveness,
    /// Deletes the child with this inbound SPI.
    DeleteChild(u32),
    /// Deletes this IKE SA.
    DeleteSa,
    /// Replaces a child.
    RekeyChild {
        /// Inbound SPI of the child to replace.
        old: u32,
        /// Our inbound SPI of the new one.
        new: u32,
        /// Our nonce.
        nonce: Vec<u8>,
        /// The peer's attempt at the same child: inbound SPI of what it made.
        collision: Option<u32>,
    },
    /// Replaces this IKE SA.
    RekeySa {
        /// Our private key.
        exchange: Exchange,
        /// Our new SPI.
        spi: u64,
        /// Our nonce.
        nonce: Vec<u8>,
        /// The peer's attempt: SPI, on our side, of the IKE SA it made.
        collision: Option<u64>,
    },
}

/// The outstanding request.
pub(crate) struct InFlight {
    pub id: u32,
    pub bytes: Vec<u8>,
    pub purpose: Purpose,
    pub retry: Retry,
}

/// What became of a received request.
pub(crate) enum Incoming {
    /// Not authentic, or out of the window.
    Dropped,
    /// Seen before: this was the answer.
    Again(Vec<u8>),
    /// New and authentic; to be answered by [`Session::respond`].
    Fresh(Result<Vec<Payload>, OpenError>),
}

/// One IKE SA.
pub(crate) struct Session {
    pub spi_i: u64,
    pub spi_r: u64,
    /// Whether we are the original initiator of this IKE SA.
    pub initiator: bool,
    pub suite: Suite,
    pub keys: SaKeys,
    ours: Cipher,
    theirs: Cipher,
    send_id: u32,
    pub in_flight: Option<InFlight>,
    receive_id: u32,
    reply: Vec<u8>,
    /// Lowest nonce of the exchange that made it, for collisions (section 2.8.1).
    pub low_nonce: Vec<u8>,
    pub rekey_at: u64,
    /// A newer IKE SA stands in its place since then; the one who made that deletes this one.
    pub replaced: Option<u64>,
    /// To be deleted by us.
    pub delete: bool,
    /// Deleted since then; kept a while to repeat the last answer.
    pub closed: Option<u64>,
}

impl Session {
    /// From freshly derived keys.
    pub fn new(suite: Suite, keys: SaKeys, seeds: &Seeds<'_>, initiator: bool) -> Option<Self> {
        let ours = Cipher::new(suite.encryption, keys.direction(initiator))?;
        let theirs = Cipher::new(suite.encryption, keys.direction(!initiator))?;
        Some(Self {
            spi_i: seeds.spis.0,
            spi_r: seeds.spis.1,
            initiator,
            suite,
            keys,
            ours,
            theirs,
            send_id: 0,
            in_flight: None,
            receive_id: 0,
            reply: Vec::new(),
            low_nonce: seeds.ni.min(seeds.nr).to_vec(),
            rekey_at: u64::MAX,
            replaced: None,
            delete: false,
            closed: None,
        })
    }

    /// The same after IKE_SA_INIT took message id 0 of the given direction.
    pub fn after_init(mut self) -> Self {
        if self.initiator {
            self.send_id = 1;
        } else {
            self.receive_id = 1;
        }
        self
    }

    /// Our SPI.
    pub fn spi(&self) -> u64 {
        if self.initiator {
            self.spi_i
        } else {
            self.spi_r
        }
    }

    /// Whether `header` can belong to a message of the peer in this IKE SA.
    pub fn owns(&self, header: &Header) -> bool {
        header.spi_i == self.spi_i
            && header.spi_r == self.spi_r
            && header.from_initiator != self.initiator
            && header.exchange != exchange::IKE_SA_INIT
    }

    fn header(&self, exchange: u8, response: bool, id: u32) -> Header {
        Header {
            spi_i: self.spi_i,
            spi_r: self.spi_r,
            exchange,
            from_initiator: self.initiator,
            response,
            id,
        }
    }

    /// Makes a request and remembers it until it is answered.
    pub fn request(
        &mut self,
        now: u64,
        exchange: u8,
        payloads: &[Payload],
        purpose: Purpose,
    ) -> Vec<u8> {
        let id = self.send_id;
        self.send_id += 1;
        let bytes = self.ours.seal(self.header(exchange, false, id), payloads);
        self.in_flight = Some(InFlight {
            id,
            bytes: bytes.clone(),
            purpose,
            retry: Retry::start(now, PATIENCE_MS),
        });
        bytes
    }

    /// A request nobody waits for: the farewell of an IKE SA that is dropped at once.
    pub fn farewell(&mut self, payloads: &[Payload]) -> Vec<u8> {
        let header = self.header(exchange::INFORMATIONAL, false, self.send_id);
        self.send_id += 1;
        self.ours.seal(header, payloads)
    }

    /// Takes the answer to the outstanding request, if `message` is that.
    pub fn answer(
        &mut self,
        datagram: &[u8],
        message: &Message,
    ) -> Option<(InFlight, Result<Vec<Payload>, OpenError>)> {
        let waiting = self.in_flight.as_ref()?;
        if waiting.id != message.header.id {
            return None;
        }
        match self.theirs.open(datagram, message) {
            Err(OpenError::Forged) => None,
            opened => Some((self.in_flight.take()?, opened)),
        }
    }

    /// Checks a request of the peer against the window.
    pub fn receive(&mut self, datagram: &[u8], message: &Message) -> Incoming {
        let id = message.header.id;
        let repeated = id.checked_add(1) == Some(self.receive_id) && !self.reply.is_empty();
        if id != self.receive_id && !repeated {
            return Incoming::Dropped;
        }
        match self.theirs.open(datagram, message) {
            Err(OpenError::Forged) => Incoming::Dropped,
            _ if repeated => Incoming::Again(self.reply.clone()),
            opened => Incoming::Fresh(opened),
        }
    }

    /// Answers the request that [`Session::receive`] called fresh.
    pub fn respond(&mut self, exchange: u8, payloads: &[Payload]) -> Vec<u8> {
        let header = self.header(exchange, true, self.receive_id);
        self.receive_id += 1;
        self.reply = self.ours.seal(header, payloads);
        self.reply.clone()
    }

    /// Ends it; a request still outstanding will not be answered any more.
    pub fn close(&mut self, now: u64) {
        self.closed = Some(now);
        self.in_flight = None;
        self.delete = false;
    }

    /// Whether it may start exchanges.
    pub fn is_current(&self) -> bool {
        self.closed.is_none() && self.replaced.is_none() && !self.is_deleting()
    }

    /// Whether a request to delete it is under way.
    pub fn is_deleting(&self) -> bool {
        self.delete
            || matches!(
                &self.in_flight,
                Some(InFlight {
                    purpose: Purpose::DeleteSa,
                    ..
                })
            )
    }
}
