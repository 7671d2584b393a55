//! Authentication by certificates, as the protocol core sees it (RFC 7427, RFC 4945): what it
//! needs of certificates is behind [`Certified`], which `tls` implements.

#[cfg(any(test, fuzzing))]
pub(crate) mod fake;

use std::fmt;
use std::net::IpAddr;

use super::v1::signature::Scheme;
use crate::wire::isakmp::Identification;

/// Hash algorithms of signatures (RFC 7427 section 7, RFC 8420): SHA2-256, -384, -512, and the one
/// that Ed25519 has inside.
pub const HASHES: [u16; 4] = [2, 3, 4, 5];

/// Certificates a peer may send; more are not looked at.
pub const MAX_CHAIN: usize = 5;

/// Our certificate and what we think of others'.
pub trait Certified: Send + Sync {
    /// Our certificate and the intermediate ones, DER.
    fn chain(&self) -> &[Vec<u8>];

    /// SHA-1 digests of the trusted authorities' public keys, one after the other.
    fn authorities(&self) -> &[u8];

    /// The data of an AUTH payload: algorithm identifier and signature (RFC 7427 section 3).
    /// `None` if the peer has none of our hash algorithms.
    fn sign(&self, octets: &[u8], hashes: &[u16]) -> Option<Vec<u8>>;

    /// DER names of the trusted authorities, as IKEv1 asks for certificates (RFC 2408
    /// section 3.10).
    fn authority_names(&self) -> &[Vec<u8>];

    /// How we sign in IKEv1; `None` if it has no number for our kind of key.
    fn scheme(&self) -> Option<Scheme>;

    /// A signature of that kind over `hash` itself.
    fn sign_hash(&self, hash: &[u8]) -> Option<Vec<u8>>;

    /// Whether `claim` holds: chain, purpose, identity and signature.
    fn verify(&self, claim: &Claim<'_>) -> Result<(), CertificateError>;

    /// Whether what a peer at `address` has proved still holds at this moment: chain, purpose and
    /// identity.
    fn holds(&self, proven: &Proven, address: IpAddr) -> Result<(), CertificateError>;
}

/// What a peer says of itself.
pub struct Claim<'a> {
    /// Its certificate and intermediate ones, DER.
    pub chain: &'a [&'a [u8]],
    /// Where its packets come from.
    pub address: IpAddr,
    /// Who it says it is.
    pub id: &'a Identification,
    /// What it signed, and how.
    pub proof: Proof<'a>,
}

/// What is kept of a claim that held, to be judged again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Its certificate and intermediate ones, DER; at most [`MAX_CHAIN`].
    pub chain: Vec<Vec<u8>>,
    /// Who it said it is.
    pub id: Identification,
}

impl Proven {
    /// Keeps it.
    pub(super) fn of(claim: &Claim<'_>) -> Self {
        let chain = claim.chain.iter().take(MAX_CHAIN);
        Self {
            chain: chain.map(|der| der.to_vec()).collect(),
            id: claim.id.clone(),
        }
    }
}

/// A signature and what it is over.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// IKEv2 (RFC 7427 section 3).
    Octets {
        /// What is signed.
        octets: &'a [u8],
        /// Algorithm identifier and signature.
        data: &'a [u8],
    },
    /// IKEv1 (RFC 2409 section 5.1).
    Hash {
        /// How, as negotiated.
        scheme: Scheme,
        /// HASH_I or HASH_R, which is signed as it stands.
        hash: &'a [u8],
        /// The signature.
        signature: &'a [u8],
    },
}

/// Why a peer's certificate proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It was ours that the peer did not take.
    #[error("the peer refused our certificate")]
    ByPeer,
    /// No certificate came.
    #[error("the peer sent no certificate")]
    Missing,
    /// It is over; the date is the last of its validity.
    #[error("certificate expired on {0}")]
    Expired(String),
    /// It has not begun, or our clock is wrong.
    #[error("certificate valid only from {0}")]
    NotYetValid(String),
    /// No path to an authority of ours.
    #[error("certificate not issued by a trusted authority")]
    Untrusted,
    /// On a revocation list.
    #[error("certificate revoked")]
    Revoked,
    /// Revocation lists are given, and none says anything about it, or it is over.
    #[error("no current revocation list covers the certificate")]
    RevocationUnknown,
    /// Its usage extensions do not allow IKE.
    #[error("certificate not meant for IKE (key usage)")]
    Usage,
    /// Somebody in its path is no authority, or one whose key usage leaves certificates out.
    #[error("certificate issued by one that may not issue certificates (key usage)")]
    Issuer,
    /// More authorities in its path than one of them allows below itself.
    #[error("certificate path longer than one of its authorities allows")]
    PathLength,
    /// An authority in its path may not issue for such a name or address.
    #[error("certificate names what one of its authorities may not name (name constraints)")]
    NameConstraint,
    /// Somebody else's certificate, or an identity we do not expect at that address.
    #[error("certificate does not name {0}")]
    Name(IpAddr),
    /// The signature is wrong or of a kind that is not accepted.
    #[error("signature does not verify")]
    Signature,
    /// Anything else that is wrong with it.
    #[error("certificate unusable: {0}")]
    Unusable(String),
}

impl fmt::Debug for dyn Certified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certified({} certificates)", self.chain().len())
    }
}
