//! Certificates for IKE (RFC 4945, RFC 7427): chains validated by webpki, signatures by ring;
//! those of IKEv1, over a given hash, by `ike::v1::signature`.
//!
//! A chain alone never suffices: the certificate must name the peer's address, or the name that
//! is configured for it, and be meant for IKE.

pub mod given;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
    PrivatePkcs8KeyDer, ServerName, SignatureVerificationAlgorithm, TrustAnchor, UnixTime, alg_id,
};
use rustls::sign::SigningKey;
use webpki::ring::{
    ECDSA_P256_SHA256, ECDSA_P384_SHA384, ED25519, RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    RSA_PSS_2048_8192_SHA384_LEGACY_KEY, RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
};
use webpki::{
    CertRevocationList, EndEntityCert, Error, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationOptionsBuilder, VerifiedPath,
};

use super::TlsError;
use super::ike_keys::{private_key, public_key};
use crate::ike::certificate::{CertificateError, Certified, Claim, Proof, Proven};
use crate::ike::v1::signature::{PrivateKey, Scheme};
use crate::tunnel::message::{Certificates, Secret};
use crate::wire::isakmp::Identification;

/// id-kp-ipsecIKE (RFC 4945 section 5.1.3.12), without tag and length.
const IPSEC_IKE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 17];

/// A signature algorithm: scheme, identifier, hash number of RFC 7427, verification.
type Algorithm = (
    SignatureScheme,
    AlgorithmIdentifier,
    u16,
    &'static dyn SignatureVerificationAlgorithm,
);

/// What we sign with and accept, preferred first. PKCS #1 v1.5 is not among them.
const ALGORITHMS: [Algorithm; 6] = [
    (SignatureScheme::ED25519, alg_id::ED25519, 5, ED25519),
    (
        SignatureScheme::ECDSA_NISTP256_SHA256,
        alg_id::ECDSA_SHA256,
        2,
        ECDSA_P256_SHA256,
    ),
    (
        SignatureScheme::ECDSA_NISTP384_SHA384,
        alg_id::ECDSA_SHA384,
        3,
        ECDSA_P384_SHA384,
    ),
    (
        SignatureScheme::RSA_PSS_SHA256,
        alg_id::RSA_PSS_SHA256,
        2,
        RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    ),
    (
        SignatureScheme::RSA_PSS_SHA384,
        alg_id::RSA_PSS_SHA384,
        3,
        RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    ),
    (
        SignatureScheme::RSA_PSS_SHA512,
        alg_id::RSA_PSS_SHA512,
        4,
        RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    ),
];

/// Our certificate, the authorities we trust, and the revocation lists.
pub struct IkeCertificates {
    chain: Vec<Vec<u8>>,
    key: Arc<dyn SigningKey>,
    /// The same key as IKEv1 uses it, if it can.
    v1_key: Option<PrivateKey>,
    anchors: Vec<TrustAnchor<'static>>,
    /// Whether the key usage of each of these allows it to issue.
    may_issue: Vec<bool>,
    authorities: Vec<u8>,
    names_of_authorities: Vec<Vec<u8>>,
    revoked: Vec<CertRevocationList<'static>>,
    names: BTreeMap<IpAddr, String>,
}

impl Certificates {
    /// From PEM texts: our certificate with intermediate ones, its private key, trusted
    /// authorities, revocation lists (may be empty), and names of peers that have no address in
    /// their certificate.
    pub fn from_pem(
        chain: &[u8],
        key: &[u8],
        authorities: &[u8],
        revoked: &[u8],
        names: Vec<(IpAddr, String)>,
    ) -> Result<Self, TlsError> {
        let unreadable = |_| TlsError::Pem;
        let certificates = |pem| -> Result<Vec<Vec<u8>>, TlsError> {
            let all = CertificateDer::pem_slice_iter(pem);
            all.map(|c| Ok(c.map_err(unreadable)?.to_vec())).collect()
        };
        let revoked = CertificateRevocationListDer::pem_slice_iter(revoked);
        Ok(Self {
            chain: certificates(chain)?,
            key: private_key_der(key).ok_or(TlsError::Pem)?,
            authorities: certificates(authorities)?,
            revoked: revoked
                .map(|c| Ok(c.map_err(unreadable)?.to_vec()))
                .collect::<Result<_, TlsError>>()?,
            names,
        })
    }
}

impl IkeCertificates {
    /// Checks that all of it can be used.
    ///
    /// # Errors
    /// A key that does not belong to the certificate, an unusable authority or list.
    pub fn new(given: &Certificates) -> Result<Self, TlsError> {
        let v1_key = private_key(&given.key.0);
        // Borrowed: these types do not wipe what is their own.
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(given.key.0.as_slice()));
        let key = rustls::crypto::ring::sign::any_supported_type(&key)?;
        let own = CertificateDer::from(given.chain.first().ok_or(TlsError::Key)?.clone());
        let own = EndEntityCert::try_from(&own).map_err(TlsError::Certificate)?;
        let ours = key.public_key().ok_or(TlsError::Key)?;
        if ours.as_ref() != own.subject_public_key_info().as_ref() {
            return Err(TlsError::Mismatch);
        }
        let mut anchors = Vec::new();
        let mut may_issue = Vec::new();
        let mut authorities = Vec::new();
        let mut names_of_authorities = Vec::new();
        for der in &given.authorities {
            let der = CertificateDer::from(der.clone());
            let anchor = webpki::anchor_from_trusted_cert(&der).map_err(TlsError::Certificate)?;
            let spki = webpki::spki_for_anchor(&anchor);
            let sha1 = &ring::digest::SHA1_FOR_LEGACY_USE_ONLY;
            authorities.extend_from_slice(ring::digest::digest(sha1, spki.as_ref()).as_ref());
            anchors.push(anchor.to_owned());
            let unreadable = |_| TlsError::Certificate(Error::BadDer);
            let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(unreadable)?;
            names_of_authorities.push(parsed.subject().as_raw().to_vec());
            may_issue.push(may_issue_certificates(&der));
        }
        let revoked = newest_first(&given.revoked).into_iter().map(|der| {
            let list = OwnedCertRevocationList::from_der(der).map_err(TlsError::Certificate)?;
            Ok(CertRevocationList::from(list))
        });
        Ok(Self {
            chain: given.chain.clone(),
            key,
            v1_key,
            anchors,
            may_issue,
            authorities,
            names_of_authorities,
            revoked: revoked.collect::<Result<_, TlsError>>()?,
            names: given.names.iter().cloned().collect(),
        })
    }

    /// Whether a chain is, at the time `now`, that of the peer at this address with this identity.
    fn judge(
        &self,
        chain: &[&[u8]],
        (address, id): (IpAddr, &Identification),
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let (own, more) = chain.split_first().ok_or(CertificateError::Missing)?;
        let der = CertificateDer::from(*own);
        let own = EndEntityCert::try_from(&der).map_err(reason)?;
        let more: Vec<CertificateDer<'_>> = more.iter().map(|d| CertificateDer::from(*d)).collect();
        self.check_path(&own, &more, now)?;
        check_key_usage(&der)?;
        self.check_name(&own, address, id)
    }

    /// Validates path, usage and revocation. Of the lists of one issuer webpki asks the first
    /// alone. After a change of the issuer's key that may be of the other key, so each has its turn
    /// until one is of the right key, which then is the one issued last.
    fn check_path(
        &self,
        own: &EndEntityCert<'_>,
        more: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let mut failure = None;
        for at in 0..self.revoked.len().max(1) {
            let mut lists: Vec<&CertRevocationList<'_>> = self.revoked.iter().collect();
            if let Some(upto) = lists.get_mut(..=at) {
                upto.rotate_right(1);
            }
            match self.check_path_by(&lists, own, more, now) {
                Err(error) if may_be_of_another_key(&error) => failure = failure.or(Some(error)),
                judged => return judged.map_err(reason),
            }
        }
        failure.map_or(Ok(()), |error| Err(reason(error)))
    }

    fn check_path_by(
        &self,
        lists: &[&CertRevocationList<'_>],
        own: &EndEntityCert<'_>,
        more: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let revocation = RevocationOptionsBuilder::new(lists).ok();
        let revocation = revocation.map(|options| {
            options
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        own.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &self.anchors,
            more,
            now,
            KeyUsage::required_if_present(IPSEC_IKE),
            revocation,
            Some(&|path| self.check_issuers(path)),
        )
        .map(drop)
    }

    /// Whether all that issue in this path may do so by their key usage, which webpki ignores
    /// (RFC 5280 section 6.1.4 (n)). Where one may not, another path may do yet.
    fn check_issuers(&self, path: &VerifiedPath<'_>) -> Result<(), Error> {
        let mut known = self.anchors.iter().zip(&self.may_issue);
        let anchor = known.find(|(anchor, _)| std::ptr::eq(*anchor, path.anchor()));
        let mut between = path.intermediate_certificates();
        let allowed = anchor.is_some_and(|(_, may_issue)| *may_issue)
            && between.all(|authority| may_issue_certificates(&authority.der()));
        allowed.then_some(()).ok_or(Error::EndEntityUsedAsCa)
    }

    /// Whether the certificate is that of the peer we expect at this address.
    fn check_name(
        &self,
        own: &EndEntityCert<'_>,
        address: IpAddr,
        id: &Identification,
    ) -> Result<(), CertificateError> {
        let wrong = || CertificateError::Name(address);
        let subject = if *id == Identification::address(address) {
            ServerName::from(address)
        } else {
            let name = self.names.get(&address).ok_or_else(wrong)?;
            if *id != Identification::name(name) {
                return Err(wrong());
            }
            ServerName::try_from(name.clone()).map_err(|_| wrong())?
        };
        own.verify_is_valid_for_subject_name(&subject)
            .map_err(|_| wrong())
    }
}

impl Certified for IkeCertificates {
    fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    fn authorities(&self) -> &[u8] {
        &self.authorities
    }

    fn sign(&self, octets: &[u8], hashes: &[u16]) -> Option<Vec<u8>> {
        let common = ALGORITHMS
            .iter()
            .filter(|(.., hash, _)| hashes.contains(hash));
        let schemes: Vec<SignatureScheme> = common.map(|(scheme, ..)| *scheme).collect();
        let signer = self.key.choose_scheme(&schemes)?;
        let (_, identifier, ..) = ALGORITHMS.iter().find(|a| a.0 == signer.scheme())?;
        let signature = signer.sign(octets).ok()?;
        let sequence = sequence(identifier);
        let mut data = vec![u8::try_from(sequence.len()).ok()?];
        data.extend_from_slice(&sequence);
        data.extend_from_slice(&signature);
        Some(data)
    }

    fn authority_names(&self) -> &[Vec<u8>] {
        &self.names_of_authorities
    }

    fn scheme(&self) -> Option<Scheme> {
        self.v1_key.as_ref().map(PrivateKey::scheme)
    }

    fn sign_hash(&self, hash: &[u8]) -> Option<Vec<u8>> {
        self.v1_key.as_ref()?.sign(hash)
    }

    fn verify(&self, claim: &Claim<'_>) -> Result<(), CertificateError> {
        self.judge(claim.chain, (claim.address, claim.id), UnixTime::now())?;
        let own = claim.chain.first().ok_or(CertificateError::Missing)?;
        let der = CertificateDer::from(*own);
        let own = EndEntityCert::try_from(&der).map_err(reason)?;
        let proven = match claim.proof {
            Proof::Octets { octets, data } => signed_octets(&own, octets, data),
            Proof::Hash {
                scheme,
                hash,
                signature,
            } => public_key(&own.subject_public_key_info())
                .is_some_and(|key| key.scheme() == scheme && key.verify(hash, signature)),
        };
        proven.then_some(()).ok_or(CertificateError::Signature)
    }

    fn holds(&self, proven: &Proven, address: IpAddr) -> Result<(), CertificateError> {
        let chain: Vec<&[u8]> = proven.chain.iter().map(Vec::as_slice).collect();
        self.judge(&chain, (address, &proven.id), UnixTime::now())
    }
}

/// The first PKCS #8 private key in a PEM text. What else is decoded on the way is wiped.
fn private_key_der(text: &[u8]) -> Option<Secret> {
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text).map_while(Result::ok);
    let mut secrets = sections.map(|(kind, der)| (kind, Secret(der)));
    let found = secrets.find(|(kind, _)| *kind == SectionKind::PrivateKey);
    found.map(|(_, key)| key)
}

/// Whether a list may be why a path is bad that is signed by another key than its issuer's.
fn may_be_of_another_key(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCrlSignatureForPublicKey
            | Error::InvalidSignatureForPublicKey
            | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
    )
}

/// Of several lists of one issuer the first counts: that is the one issued last.
fn newest_first(lists: &[Vec<u8>]) -> Vec<&Vec<u8>> {
    let issued = |der: &&Vec<u8>| {
        let parsed = x509_parser::parse_x509_crl(der).ok();
        parsed.map(|(_, list)| list.last_update().timestamp())
    };
    let mut lists: Vec<&Vec<u8>> = lists.iter().collect();
    lists.sort_by_key(|der| std::cmp::Reverse(issued(der)));
    lists
}

/// Whether `data`, an algorithm identifier and a signature, is one over `octets`.
fn signed_octets(own: &EndEntityCert<'_>, octets: &[u8], data: &[u8]) -> bool {
    let Some((length, rest)) = data.split_first() else {
        return false;
    };
    let Some((identifier, signature)) = rest.split_at_checked(usize::from(*length)) else {
        return false;
    };
    let mut known = ALGORITHMS.iter().filter(|a| sequence(&a.1) == identifier);
    known.any(|(.., algorithm)| own.verify_signature(*algorithm, octets, signature).is_ok())
}

/// An algorithm identifier with its outer tag and length.
fn sequence(identifier: &AlgorithmIdentifier) -> Vec<u8> {
    let content: &[u8] = identifier.as_ref();
    // All of ours are under 128 octets.
    [&[0x30, content.len() as u8], content].concat()
}

/// With a key usage extension, it must allow signatures (RFC 4945 section 5.1.3.2).
fn check_key_usage(der: &CertificateDer<'_>) -> Result<(), CertificateError> {
    let unusable = |error: String| CertificateError::Unusable(error);
    let (_, parsed) =
        x509_parser::parse_x509_certificate(der).map_err(|e| unusable(e.to_string()))?;
    match parsed.key_usage().map_err(|e| unusable(e.to_string()))? {
        Some(usage) if !usage.value.digital_signature() && !usage.value.non_repudiation() => {
            Err(CertificateError::Usage)
        }
        _ => Ok(()),
    }
}

/// With a key usage extension, it must allow to sign certificates (RFC 5280 section 4.2.1.3).
fn may_issue_certificates(der: &CertificateDer<'_>) -> bool {
    let parsed = x509_parser::parse_x509_certificate(der);
    let Some((_, parsed)) = parsed.ok() else {
        return false;
    };
    let usage = parsed.key_usage();
    usage.is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
}

fn date(time: UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok();
    let time = time.and_then(|s| x509_parser::time::ASN1Time::from_timestamp(s).ok());
    time.map_or("?".to_owned(), |t| t.to_datetime().date().to_string())
}

fn reason(error: Error) -> CertificateError {
    match error {
        Error::CertExpired { not_after, .. } => CertificateError::Expired(date(not_after)),
        Error::CertNotValidYet { not_before, .. } => {
            CertificateError::NotYetValid(date(not_before))
        }
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => CertificateError::Untrusted,
        Error::CertRevoked => CertificateError::Revoked,
        Error::UnknownRevocationStatus | Error::CrlExpired { .. } => {
            CertificateError::RevocationUnknown
        }
        Error::RequiredEkuNotFoundContext(_)
        | Error::EmptyEkuExtension
        | Error::CaUsedAsEndEntity => CertificateError::Usage,
        Error::EndEntityUsedAsCa => CertificateError::Issuer,
        Error::PathLenConstraintViolated => CertificateError::PathLength,
        Error::NameConstraintViolation => CertificateError::NameConstraint,
        other => CertificateError::Unusable(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
