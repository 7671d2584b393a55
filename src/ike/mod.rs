//! ISAKMP as a state machine: a datagram or a timer in, actions out (RFC 7296).
//!
//! Nothing here touches a socket, a clock or the operating system's randomness: time and
//! [`Random`] are arguments. States are types: [`exchange::init::Initiator`] becomes
//! [`exchange::intermediate::Intermediating`] (if there is a second key exchange) becomes
//! [`exchange::auth::Authenticating`] becomes a [`Connection`]; on the other side
//! [`exchange::half_open::HalfOpen`] becomes a [`Connection`].

pub mod auth;
pub mod certificate;
pub mod child;
pub mod cipher;
pub mod connection;
pub mod cookie;
pub mod crash;
pub mod dropped;
pub mod exchange;
pub(crate) mod fault;
pub mod fragment;
pub mod group;
pub mod keylog;
pub mod keys;
pub mod ppk;
pub mod presented;
pub mod proposal;
pub mod puzzle;
pub mod retransmit;
#[cfg(any(test, fuzzing))]
pub(crate) mod seeded;
pub mod session;
#[cfg(test)]
pub(crate) mod shape;
pub mod suite;
#[cfg(test)]
mod tests;
pub mod v1;
#[cfg(test)]
mod vectors;

use std::net::IpAddr;
use std::sync::Arc;

use zeroize::Zeroizing;

pub use certificate::Certified;
pub use child::Child;
pub use connection::{Connection, End};
pub use dropped::Dropped;
pub use ppk::Ppk;
pub use presented::Presented;
pub use suite::{Integrity, Profile, Suite};

/// One message: several datagrams if it had to be cut into fragments (RFC 7383).
pub type Datagrams = Vec<Vec<u8>>;

/// Where nonces, SPIs and private keys come from.
pub trait Random {
    /// Fills `out` with bytes nobody can predict.
    fn fill(&mut self, out: &mut [u8]);
}

/// How long SAs live before they are rekeyed, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// An AH pair.
    pub child_ms: u64,
    /// An IKE SA.
    pub ike_ms: u64,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            child_ms: 3_600_000,
            ike_ms: 14_400_000,
        }
    }
}

/// What this system proves itself with.
pub struct Credentials {
    /// The cluster pre-shared key.
    pub key: Zeroizing<Vec<u8>>,
    /// Our node certificate, while it is renewed with another.
    pub certificate: Presented,
    /// Certificates, which then take the place of the key: neither side may use it.
    pub certified: Option<Arc<dyn Certified>>,
    /// A post-quantum key, which both roles then demand in IKEv2.
    pub ppk: Option<Ppk>,
    /// What tokens of quick crash detection are made from; the same after a restart.
    pub tokens: Zeroizing<[u8; 32]>,
}

impl Credentials {
    /// What it means that the peer reports AUTHENTICATION_FAILED.
    pub(crate) fn refused(&self) -> Refusal {
        match self.certified {
            Some(_) => Refusal::Certificate(certificate::CertificateError::ByPeer),
            None => Refusal::AuthenticationFailed,
        }
    }
}

/// All that a step of the state machine needs from outside.
pub struct Context<'a> {
    /// Milliseconds, monotonic.
    pub now: u64,
    /// Randomness.
    pub random: &'a mut dyn Random,
    /// Our address.
    pub local: IpAddr,
    /// The peer's address.
    pub remote: IpAddr,
    /// Key and certificate digest.
    pub credentials: &'a Credentials,
    /// What may be negotiated.
    pub profile: &'a Profile,
    /// When to rekey.
    pub lifetimes: Lifetimes,
    /// What was dropped on the way.
    pub dropped: Dropped,
}

impl Context<'_> {
    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.random.fill(&mut out);
        out
    }

    /// A random IKE SPI, never zero.
    pub fn ike_spi(&mut self) -> u64 {
        u64::from_be_bytes(self.bytes()).max(1)
    }

    /// A random AH SPI; those below 256 are reserved (RFC 4302 section 2.4).
    pub fn ah_spi(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes()).max(0x1_0000)
    }

    /// `base` plus up to a quarter, so that two systems do not stay in step.
    pub fn jitter(&mut self, base: u64) -> u64 {
        let share = u64::from(u16::from_be_bytes(self.bytes()));
        base + base * share / (4 * 65_536)
    }
}

/// Why no tunnel came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The peer did not answer.
    #[error("no answer on UDP 500")]
    NoAnswer,
    /// The keys differ.
    #[error("authentication failed: the cluster keys differ")]
    AuthenticationFailed,
    /// The peer's certificate proves nothing.
    #[error(transparent)]
    Certificate(#[from] certificate::CertificateError),
    /// Nothing in common.
    #[error("no common proposal")]
    NoProposal,
    /// Addresses are rewritten on the way.
    #[error("NAT between us")]
    Nat,
    /// The peer does not list us.
    #[error("the peer does not list this system")]
    NotListed,
    /// Certificates there and the key here, or another kind of certificate.
    #[error("different authentication")]
    OtherMethod,
    /// The peer speaks the other version of IKE.
    #[error("different IKE profile")]
    OtherProfile,
    /// The post-quantum keys do not fit.
    #[error("post-quantum key: {0}")]
    Ppk(ppk::Mismatch),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Refusal {
    /// Nobody gives the kernel its SAs.
    pub(crate) fn keyerless() -> Self {
        Refusal::Other("the key service is not running".into())
    }

    /// Silence after the peer's first answer.
    pub(crate) fn unanswered() -> Self {
        Refusal::Other("no answer but the first: larger datagrams do not arrive".into())
    }

    /// Silence when larger datagrams had arrived.
    pub(crate) fn unproven() -> Self {
        Refusal::Other("no answer to our authentication".into())
    }

    /// The peer deletes what it just agreed to, such as one whose kernel takes no AH.
    pub(crate) fn ended_at_once() -> Self {
        Refusal::Other("the peer ended the AH pair at once".into())
    }

    /// We found no sense in a message of the peer.
    pub(crate) fn unreadable() -> Self {
        Refusal::Other("a message of the peer could not be read".into())
    }

    /// The peer found no sense in a message of ours.
    pub(crate) fn unread() -> Self {
        Refusal::Other("the peer could not read a message (INVALID_SYNTAX)".into())
    }

    /// An SA whose time is over stands unreplaced.
    pub(crate) fn not_replaced() -> Self {
        Refusal::Other("the peer refused to replace keys whose time is over".into())
    }
}
