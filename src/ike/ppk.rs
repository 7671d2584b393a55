//! A post-quantum pre-shared key (PPK) beside the key exchange (RFC 8784): whoever has recorded
//! the exchanges and one day breaks these, lacks it yet.
//!
//! Where one is set both roles demand it, so NO_PPK_AUTH is neither made nor looked at: it would
//! let a peer go on without, and be something to guess the cluster key by.

use zeroize::Zeroizing;

use super::certificate::CertificateError;
use super::exchange::{Parts, notify};
use super::keys::SaKeys;
use super::{Credentials, Refusal};
use crate::wire::isakmp::Payload;
use crate::wire::isakmp::notify::kind;

/// PPK_ID_FIXED (RFC 8784 section 5.1): the identity stands for one key.
const FIXED: u8 = 2;

/// The key and what names it.
#[cfg_attr(test, derive(Clone))]
pub struct Ppk {
    /// Named to the peer, encrypted; no secret.
    pub id: Vec<u8>,
    /// At least 256 bits of randomness.
    pub secret: Zeroizing<Vec<u8>>,
}

impl Ppk {
    /// The PPK_IDENTITY of a request for authentication.
    pub(super) fn identity(&self) -> Payload {
        let data = [&[FIXED], self.id.as_slice()].concat();
        notify(kind::PPK_IDENTITY, &data)
    }

    fn is_named(&self, data: &[u8]) -> bool {
        data.split_first() == Some((&FIXED, self.id.as_slice()))
    }

    /// Takes the key into SK_d, SK_pi and SK_pr. After the last IKE_INTERMEDIATE exchange and
    /// before the first AUTH, once for an IKE SA: what replaces it derives from its SK_d.
    pub(super) fn mix(&self, keys: &mut SaKeys) {
        keys.mix(&self.secret);
    }
}

/// What stands between two systems of which one at least has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// We demand it.
    #[error("the peer uses none")]
    PeerHasNone,
    /// It demands it.
    #[error("the peer requires one")]
    WeHaveNone,
    /// Both have one.
    #[error("the peer's has another identity")]
    Identity,
    /// With the same identity, but something that proves nothing: one cannot tell which.
    #[error("it or the cluster key differs")]
    Key,
    /// The same with a certificate that is in order.
    #[error("it differs, or the signature is wrong")]
    Signature,
}

impl Mismatch {
    /// What the peer is told of it, which a stranger may hear, too.
    fn told(self) -> Option<u8> {
        match self {
            Mismatch::PeerHasNone => Some(1),
            Mismatch::Identity => Some(2),
            Mismatch::Signature => Some(3),
            Mismatch::Key | Mismatch::WeHaveNone => None,
        }
    }

    /// What a peer that tells so means to us.
    fn heard(data: &[u8]) -> Option<Self> {
        match data {
            [1] => Some(Mismatch::WeHaveNone),
            [2] => Some(Mismatch::Identity),
            [3] => Some(Mismatch::Signature),
            _ => None,
        }
    }
}

/// Whether the sender of IKE_SA_INIT says that it uses one.
pub(super) fn is_used(parts: &Parts<'_>) -> bool {
    parts.notify(kind::USE_PPK).is_some()
}

/// How a request for authentication names a key.
pub(super) enum Named {
    /// None is needed, or it is ours: it was mixed in.
    Suitable,
    /// None, where we have one.
    Nothing,
}

/// As responder: takes our key into `keys` if the request names it; `both` said USE_PPK.
///
/// # Errors
/// The peer names another, so nothing that it proves can be verified.
pub(super) fn accept(
    credentials: &Credentials,
    both: bool,
    keys: &mut SaKeys,
    parts: &Parts<'_>,
) -> Result<Named, Refusal> {
    let Some(ours) = &credentials.ppk else {
        return Ok(Named::Suitable);
    };
    match parts.notify(kind::PPK_IDENTITY).filter(|_| both) {
        None => Ok(Named::Nothing),
        Some(named) if ours.is_named(&named.data) => {
            ours.mix(keys);
            Ok(Named::Suitable)
        }
        Some(_) => Err(Refusal::Ppk(Mismatch::Identity)),
    }
}

/// What `refusal` may mean where a key was mixed in: it decides about every proof.
pub(super) fn doubt(credentials: &Credentials, refusal: Refusal) -> Refusal {
    match refusal {
        _ if credentials.ppk.is_none() => refusal,
        Refusal::AuthenticationFailed => Refusal::Ppk(Mismatch::Key),
        Refusal::Certificate(CertificateError::Signature) => Refusal::Ppk(Mismatch::Signature),
        other => other,
    }
}

/// What a peer means that says AUTHENTICATION_FAILED.
pub(super) fn heard(credentials: &Credentials, parts: &Parts<'_>) -> Refusal {
    let told = parts.notify(kind::PPK_REFUSED);
    match told.and_then(|told| Mismatch::heard(&told.data)) {
        Some(mismatch) => Refusal::Ppk(mismatch),
        None => doubt(credentials, credentials.refused()),
    }
}

/// What tells a peer that it was refused, and what its post-quantum key has to do with it.
pub(super) fn complaint(refusal: &Refusal) -> Vec<Payload> {
    let mut payloads = vec![notify(kind::AUTHENTICATION_FAILED, &[])];
    if let Refusal::Ppk(mismatch) = refusal
        && let Some(told) = mismatch.told()
    {
        payloads.push(notify(kind::PPK_REFUSED, &[told]));
    }
    payloads
}
