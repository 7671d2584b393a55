//! One IKE SA: its keys, SPIs and the two message windows of size one (RFC 7296 sections 2.1-2.3).

#[cfg(test)]
mod shape;

use zeroize::Zeroizing;

use super::child::{ends_at, rekey_at};
use super::cipher::{Cipher, OpenError, Opened, Sealed};
use super::fragment::Assembly;
use super::group::{Decapsulation, Exchange};
use super::keylog;
use super::keys::{SaKeys, Seeds};
use super::presented::Presented;
use super::retransmit::Retry;
use super::suite::Suite;
use super::{Context, Datagrams, Dropped};
use crate::wire::isakmp::{Header, Message, Payload, WireError, exchange};

/// A request without an answer for this long means that the peer is gone.
const PATIENCE_MS: u64 = 14_000;

/// What an outstanding request is for.
#[cfg_attr(test, derive(Clone))]
pub(crate) enum Purpose {
    /// The IKE_AUTH request of a new SA; its answer is handled by that state.
    Authenticate,
    /// Is the peer alive?
    Liveness,
    /// Names our node certificates, which changed.
    Announce(Presented),
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
        /// What we put in.
        attempt: SaAttempt,
        /// The peer's attempt: SPI, on our side, of the IKE SA it made.
        collision: Option<u64>,
    },
    /// The further key exchange of such a replacement (RFC 9370).
    FollowUp {
        /// Our private key.
        decapsulation: Box<Decapsulation>,
        /// What was agreed before.
        agreed: Box<Agreed>,
        /// As above.
        collision: Option<u64>,
    },
}

/// Our side of a replacement of an IKE SA.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct SaAttempt {
    pub exchange: Exchange,
    pub spi: u64,
    pub nonce: Vec<u8>,
}

/// Both sides of a replacement whose further key exchange is still to come.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Agreed {
    pub suite: Suite,
    pub spis: (u64, u64),
    pub ni: Vec<u8>,
    pub nr: Vec<u8>,
    pub shared: Zeroizing<Vec<u8>>,
}

/// The peer's replacement of this IKE SA waits for its further key exchange.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Pending {
    pub agreed: Agreed,
    /// Links the messages; random.
    pub link: [u8; 8],
    pub until: u64,
}

/// The outstanding request.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct InFlight {
    pub id: u32,
    pub bytes: Datagrams,
    pub purpose: Purpose,
    pub retry: Retry,
}

/// What became of a received request.
pub(crate) enum Incoming {
    /// Not authentic, or out of the window.
    Dropped,
    /// Seen before: this was the answer.
    Again(Datagrams),
    /// New and authentic; to be answered by [`Session::respond`].
    Fresh(Content),
}

/// An authentic message.
pub(crate) struct Content {
    /// What is inside, if it can be read.
    pub payloads: Result<Vec<Payload>, WireError>,
    /// As IKE_INTERMEDIATE authenticates it.
    pub covered: Zeroizing<Vec<u8>>,
}

impl Content {
    fn new(datagram: &[u8], opened: &Opened) -> Self {
        Self {
            payloads: opened.payloads(),
            covered: opened.covered(datagram),
        }
    }
}

/// One IKE SA.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Session {
    pub spi_i: u64,
    pub spi_r: u64,
    /// Whether we are the original initiator of this IKE SA.
    pub initiator: bool,
    pub suite: Suite,
    pub keys: SaKeys,
    ours: Cipher,
    theirs: Cipher,
    /// Opens repetitions of the request after which the keys changed.
    before: Option<Cipher>,
    /// Whether both sides understand fragments.
    pub fragmentation: bool,
    requests: Assembly,
    answers: Assembly,
    send_id: u32,
    pub in_flight: Option<InFlight>,
    receive_id: u32,
    reply: Datagrams,
    /// Lowest nonce of the exchange that made it, for collisions (section 2.8.1).
    pub low_nonce: Vec<u8>,
    pub rekey_at: u64,
    /// Nobody has replaced it by then.
    pub ends_at: u64,
    /// A newer IKE SA stands in its place since then; the one who made that deletes this one.
    pub replaced: Option<u64>,
    /// The peer is about to replace it.
    pub pending: Option<Pending>,
    /// The peer's token of quick crash detection for it.
    pub token: Option<Vec<u8>>,
    /// Ours is to be told.
    pub owes_token: bool,
    /// Ours was told.
    pub told_token: bool,
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
            before: None,
            fragmentation: false,
            requests: Assembly::default(),
            answers: Assembly::default(),
            send_id: 0,
            in_flight: None,
            receive_id: 0,
            reply: Vec::new(),
            low_nonce: seeds.ni.min(seeds.nr).to_vec(),
            rekey_at: u64::MAX,
            ends_at: u64::MAX,
            replaced: None,
            pending: None,
            token: None,
            owes_token: false,
            told_token: false,
            delete: false,
            closed: None,
        })
    }

    /// It stands from now on.
    pub fn stands(&mut self, context: &mut Context<'_>, initiator: bool) {
        let lifetime_ms = context.lifetimes.ike_ms;
        self.rekey_at = rekey_at(context, lifetime_ms, initiator);
        self.ends_at = ends_at(context.now, lifetime_ms);
    }

    /// The same after IKE_SA_INIT took message id 0 of the given direction.
    pub fn after_init(mut self) -> Self {
        // IKE_AUTH does.
        self.told_token = true;
        if self.initiator {
            self.send_id = 1;
        } else {
            self.receive_id = 1;
        }
        self
    }

    /// Its keys, for tshark.
    pub fn key_log(&self) -> keylog::Line {
        let keys = (self.keys.direction(true), self.keys.direction(false));
        keylog::v2(self.suite.encryption, (self.spi_i, self.spi_r), keys)
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

    /// The next request, or the answer to the one just received, as IKE_INTERMEDIATE
    /// authenticates it.
    pub fn covered(
        &self,
        exchange: u8,
        response: bool,
        payloads: &[Payload],
    ) -> Zeroizing<Vec<u8>> {
        let id = if response {
            self.receive_id
        } else {
            self.send_id
        };
        Opened::outgoing(&self.header(exchange, response, id), payloads)
    }

    /// Goes on with the keys that a further key exchange gave, after its last message.
    pub fn change_keys(&mut self, keys: SaKeys) -> Option<()> {
        let encryption = self.suite.encryption;
        self.ours = Cipher::new(encryption, keys.direction(self.initiator))?;
        let theirs = Cipher::new(encryption, keys.direction(!self.initiator))?;
        self.before = Some(std::mem::replace(&mut self.theirs, theirs));
        self.keys = keys;
        Some(())
    }

    /// Makes a request and remembers it until it is answered.
    pub fn request(
        &mut self,
        now: u64,
        exchange: u8,
        payloads: &[Payload],
        purpose: Purpose,
    ) -> Datagrams {
        let header = self.header(exchange, false, self.send_id);
        let bytes = self.ours.seal(header, payloads, self.fragmentation);
        self.asked(now, bytes, purpose)
    }

    fn asked(&mut self, now: u64, bytes: Datagrams, purpose: Purpose) -> Datagrams {
        let id = self.send_id;
        self.send_id += 1;
        self.in_flight = Some(InFlight {
            id,
            bytes: bytes.clone(),
            purpose,
            retry: Retry::start(now, PATIENCE_MS),
        });
        bytes
    }

    /// A request of octets that no payload of ours encodes to.
    #[cfg(test)]
    pub fn request_octets(&mut self, exchange: u8, first: u8, chain: &[u8]) -> Datagrams {
        let header = self.header(exchange, false, self.send_id);
        let chain = zeroize::Zeroizing::new(chain.to_vec());
        let bytes = self.ours.seal_octets(header, first, chain, false);
        self.asked(0, bytes, Purpose::Liveness)
    }

    /// When [`Session::repeat`] wants to be called.
    pub fn due(&self) -> u64 {
        let waiting = self.in_flight.as_ref();
        waiting.map_or(0, |waiting| waiting.retry.due())
    }

    /// The outstanding request again if it is time; `None` if the peer had its time.
    pub fn repeat(&mut self, now: u64) -> Option<Option<Datagrams>> {
        let waiting = self.in_flight.as_mut()?;
        if waiting.retry.exhausted(now) {
            return None;
        }
        Some(waiting.retry.fire(now).then(|| waiting.bytes.clone()))
    }

    /// A request nobody waits for: the farewell of an IKE SA that is dropped at once.
    pub fn farewell(&mut self, payloads: &[Payload]) -> Datagrams {
        let header = self.header(exchange::INFORMATIONAL, false, self.send_id);
        self.send_id += 1;
        self.ours.seal(header, payloads, self.fragmentation)
    }

    /// Takes the answer to the outstanding request, if `message` is that or its last part.
    pub fn answer(
        &mut self,
        dropped: &mut Dropped,
        datagram: &[u8],
        message: &Message,
    ) -> Option<(InFlight, Content)> {
        let waiting = self.in_flight.as_ref()?;
        let id = waiting.id;
        if id != message.header.id {
            return None;
        }
        match self.theirs.open(datagram, message) {
            Ok(Sealed::Whole(opened)) => {
                Some((self.in_flight.take()?, Content::new(datagram, &opened)))
            }
            Ok(Sealed::Part(part)) if self.fragmentation => {
                let opened = self.answers.add(id, part)?;
                Some((self.in_flight.take()?, Content::new(datagram, &opened)))
            }
            Ok(Sealed::Part(_)) => None,
            Err(OpenError::Forged) => {
                dropped.not_authentic += 1;
                None
            }
            Err(OpenError::Content(error)) => Some((self.in_flight.take()?, unreadable(error))),
        }
    }

    /// Checks a request of the peer against the window.
    pub fn receive(
        &mut self,
        dropped: &mut Dropped,
        datagram: &[u8],
        message: &Message,
    ) -> Incoming {
        let id = message.header.id;
        let repeated = id.checked_add(1) == Some(self.receive_id) && !self.reply.is_empty();
        if id != self.receive_id && !repeated {
            return Incoming::Dropped;
        }
        if repeated {
            let cipher = self.before.as_ref().unwrap_or(&self.theirs);
            return match cipher.open(datagram, message) {
                // One answer to all fragments of a repeated request (RFC 7383 section 2.6.1).
                Err(OpenError::Forged) => forged(dropped),
                Ok(Sealed::Part(part)) if part.number != 1 => Incoming::Dropped,
                _ => Incoming::Again(self.reply.clone()),
            };
        }
        match self.theirs.open(datagram, message) {
            Ok(Sealed::Whole(opened)) => Incoming::Fresh(Content::new(datagram, &opened)),
            Ok(Sealed::Part(part)) if self.fragmentation => match self.requests.add(id, part) {
                Some(opened) => Incoming::Fresh(Content::new(datagram, &opened)),
                None => Incoming::Dropped,
            },
            Ok(Sealed::Part(_)) => Incoming::Dropped,
            Err(OpenError::Forged) => forged(dropped),
            Err(OpenError::Content(error)) => Incoming::Fresh(unreadable(error)),
        }
    }

    /// Answers the request that [`Session::receive`] called fresh.
    pub fn respond(&mut self, exchange: u8, payloads: &[Payload]) -> Datagrams {
        let header = self.header(exchange, true, self.receive_id);
        self.receive_id += 1;
        self.before = None;
        self.reply = self.ours.seal(header, payloads, self.fragmentation);
        self.reply.clone()
    }

    /// Ends it; a request still outstanding will not be answered any more.
    pub fn close(&mut self, now: u64) {
        self.closed = Some(now);
        self.in_flight = None;
        self.pending = None;
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

fn forged(dropped: &mut Dropped) -> Incoming {
    dropped.not_authentic += 1;
    Incoming::Dropped
}

fn unreadable(error: WireError) -> Content {
    Content {
        payloads: Err(error),
        covered: Zeroizing::default(),
    }
}
