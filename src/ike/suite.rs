//! The algorithms we know, and which of them a cluster uses: a [`Profile`] is part of the desired
//! state (RFC 7296 section 3.3.2, RFC 8247, RFC 8221).
//!
//! A group that is not named here cannot be negotiated: 1, 2 and 22 to 24 (RFC 8247 section 2.4)
//! are refused by not existing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A SHA-2 function; the PRF is its HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Prf {
    /// PRF_HMAC_SHA2_256.
    Sha256,
    /// PRF_HMAC_SHA2_384.
    Sha384,
    /// PRF_HMAC_SHA2_512.
    Sha512,
}

/// Integrity algorithms, of AH and of an IKE SA that encrypts with AES-CBC (RFC 4868).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Integrity {
    /// AUTH_HMAC_SHA2_256_128.
    HmacSha2_256_128,
    /// AUTH_HMAC_SHA2_512_256.
    HmacSha2_512_256,
    /// AUTH_HMAC_SHA2_384_192.
    HmacSha2_384_192,
}

/// How an IKE SA protects its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Encryption {
    /// AES-256-GCM with a 16-octet ICV (RFC 5282).
    AesGcm256,
    /// AES-256-CBC with an HMAC (RFC 3602).
    AesCbc256(Integrity),
}

/// Diffie-Hellman groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Group {
    /// 2048-bit MODP (RFC 3526).
    Modp2048,
    /// 3072-bit MODP (RFC 3526).
    Modp3072,
    /// 4096-bit MODP (RFC 3526).
    Modp4096,
    /// NIST P-256 (RFC 5903).
    P256,
    /// NIST P-384 (RFC 5903).
    P384,
    /// X25519 (RFC 8031).
    X25519,
}

/// Key encapsulation after the Diffie-Hellman exchange (RFC 9370).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Additional {
    /// ML-KEM-768 (FIPS 203).
    MlKem768,
}

/// One acceptable combination for an IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Suite {
    /// Protection of messages.
    pub encryption: Encryption,
    /// Key derivation and authentication.
    pub prf: Prf,
    /// First key exchange.
    pub group: Group,
    /// Second key exchange. A peer that cannot is refused: it is never left out silently.
    pub additional: Option<Additional>,
}

/// The version of IKE. As responder only the chosen one is answered (RFC 9395).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// ISAKMP main mode and quick mode (RFC 2409).
    #[serde(rename = "IKEv1")]
    V1,
    /// RFC 7296.
    #[serde(rename = "IKEv2")]
    V2,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::V1 => "IKEv1",
            Version::V2 => "IKEv2",
        })
    }
}

/// What a cluster negotiates, most preferred first. All peers are set alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The protocol.
    pub version: Version,
    /// For the IKE SA.
    pub ike: Vec<Suite>,
    /// For AH; 64-bit sequence numbers are asked for with each.
    pub ah: Vec<Integrity>,
    /// IKEv1 only: a key exchange for each AH pair (perfect forward secrecy).
    pub pfs: bool,
}

impl Default for Profile {
    /// For our own peers: X25519 with ML-KEM-768, and nothing without.
    fn default() -> Self {
        let suite = |prf| Suite {
            encryption: Encryption::AesGcm256,
            prf,
            group: Group::X25519,
            additional: Some(Additional::MlKem768),
        };
        Self {
            version: Version::V2,
            ike: vec![suite(Prf::Sha256), suite(Prf::Sha384)],
            ah: vec![Integrity::HmacSha2_256_128, Integrity::HmacSha2_512_256],
            pfs: true,
        }
    }
}

impl Profile {
    /// As the guide's time had it: main mode, pre-shared key, MODP-4096.
    pub fn guide_era() -> Self {
        let suite = |integrity: Integrity| Suite {
            encryption: Encryption::AesCbc256(integrity),
            prf: integrity.hash(),
            group: Group::Modp4096,
            additional: None,
        };
        let all = [
            Integrity::HmacSha2_256_128,
            Integrity::HmacSha2_384_192,
            Integrity::HmacSha2_512_256,
        ];
        Self {
            version: Version::V1,
            ike: all.map(suite).to_vec(),
            ..Self::default()
        }
    }
}

impl Prf {
    /// Octets of its output and of SK_d, SK_pi and SK_pr.
    pub fn output_len(self) -> usize {
        match self {
            Prf::Sha256 => 32,
            Prf::Sha384 => 48,
            Prf::Sha512 => 64,
        }
    }

    pub(crate) fn algorithm(self) -> ring::hmac::Algorithm {
        match self {
            Prf::Sha256 => ring::hmac::HMAC_SHA256,
            Prf::Sha384 => ring::hmac::HMAC_SHA384,
            Prf::Sha512 => ring::hmac::HMAC_SHA512,
        }
    }

    /// By its transform id.
    pub(super) fn of(transform: u16) -> Option<Self> {
        let all = [Prf::Sha256, Prf::Sha384, Prf::Sha512];
        all.into_iter().find(|prf| prf.transform() == transform)
    }

    pub(super) fn transform(self) -> u16 {
        match self {
            Prf::Sha256 => 5,
            Prf::Sha384 => 6,
            Prf::Sha512 => 7,
        }
    }
}

impl Integrity {
    /// Octets of the key (RFC 4868 section 2.1.1).
    pub fn key_len(self) -> usize {
        self.hash().output_len()
    }

    /// Octets of the checksum: half of the hash (RFC 4868 section 2.3).
    pub fn icv_len(self) -> usize {
        self.key_len() / 2
    }

    /// The hash inside.
    pub fn hash(self) -> Prf {
        match self {
            Integrity::HmacSha2_256_128 => Prf::Sha256,
            Integrity::HmacSha2_384_192 => Prf::Sha384,
            Integrity::HmacSha2_512_256 => Prf::Sha512,
        }
    }

    pub(super) fn transform(self) -> u16 {
        match self {
            Integrity::HmacSha2_256_128 => 12,
            Integrity::HmacSha2_384_192 => 13,
            Integrity::HmacSha2_512_256 => 14,
        }
    }
}

impl Encryption {
    /// Octets of SK_ei and SK_er; GCM's salt is among them (RFC 5282 section 7.1).
    pub fn key_len(self) -> usize {
        match self {
            Encryption::AesGcm256 => 36,
            Encryption::AesCbc256(_) => 32,
        }
    }

    /// The integrity algorithm beside it; an AEAD has none.
    pub fn integrity(self) -> Option<Integrity> {
        match self {
            Encryption::AesGcm256 => None,
            Encryption::AesCbc256(integrity) => Some(integrity),
        }
    }

    pub(super) fn transform(self) -> u16 {
        match self {
            Encryption::AesGcm256 => 20,
            Encryption::AesCbc256(_) => 12,
        }
    }
}

impl Group {
    /// The group's number, the same in both versions of IKE.
    pub fn number(self) -> u16 {
        match self {
            Group::Modp2048 => 14,
            Group::Modp3072 => 15,
            Group::Modp4096 => 16,
            Group::P256 => 19,
            Group::P384 => 20,
            Group::X25519 => 31,
        }
    }
}

impl Additional {
    /// Its number among the key exchange methods.
    pub fn number(self) -> u16 {
        match self {
            Additional::MlKem768 => 36,
        }
    }
}

/// A proposal that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuiteError {
    /// A keyword nobody knows, or one of an algorithm that is refused.
    #[error("`{0}` is not an algorithm that can be proposed")]
    Unknown(String),
    /// A part is missing, twice or does not fit.
    #[error("a proposal needs one encryption algorithm, one PRF and one group: `{0}`")]
    Incomplete(String),
}

const PRFS: [(&str, Prf); 3] = [
    ("prfsha256", Prf::Sha256),
    ("prfsha384", Prf::Sha384),
    ("prfsha512", Prf::Sha512),
];
const INTEGRITY: [(&str, Integrity); 3] = [
    ("sha256", Integrity::HmacSha2_256_128),
    ("sha384", Integrity::HmacSha2_384_192),
    ("sha512", Integrity::HmacSha2_512_256),
];
const GROUPS: [(&str, Group); 6] = [
    ("modp2048", Group::Modp2048),
    ("modp3072", Group::Modp3072),
    ("modp4096", Group::Modp4096),
    ("ecp256", Group::P256),
    ("ecp384", Group::P384),
    ("x25519", Group::X25519),
];
const GCM: &str = "aes256gcm16";
const CBC: &str = "aes256";
const ML_KEM: &str = "ke1_mlkem768";

fn find<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
    table.iter().find(|(name, _)| *name == word).map(|e| e.1)
}

fn name<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> &'static str {
    let found = table.iter().find(|(_, known)| known == value);
    found.map_or("", |(name, _)| name)
}

impl FromStr for Suite {
    type Err = SuiteError;

    /// From strongSwan's keywords, such as `aes256gcm16-prfsha256-x25519-ke1_mlkem768`. As there,
    /// an integrity algorithm names the PRF too where none is given.
    fn from_str(text: &str) -> Result<Self, SuiteError> {
        let incomplete = || SuiteError::Incomplete(text.to_owned());
        let (mut cipher, mut integrity, mut prf) = (None, None, None);
        let (mut group, mut additional) = (None, None);
        for word in text.split('-') {
            let twice = if word == GCM || word == CBC {
                cipher.replace(word).is_some()
            } else if let Some(found) = find(&INTEGRITY, word) {
                integrity.replace(found).is_some()
            } else if let Some(found) = find(&PRFS, word) {
                prf.replace(found).is_some()
            } else if let Some(found) = find(&GROUPS, word) {
                group.replace(found).is_some()
            } else if word == ML_KEM {
                additional.replace(Additional::MlKem768).is_some()
            } else {
                return Err(SuiteError::Unknown(word.to_owned()));
            };
            if twice {
                return Err(incomplete());
            }
        }
        let encryption = match (cipher, integrity) {
            (Some(GCM), None) => Encryption::AesGcm256,
            (Some(CBC), Some(integrity)) => Encryption::AesCbc256(integrity),
            _ => return Err(incomplete()),
        };
        let prf = prf.or(integrity.map(Integrity::hash));
        Ok(Self {
            encryption,
            prf: prf.ok_or_else(incomplete)?,
            group: group.ok_or_else(incomplete)?,
            additional,
        })
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.encryption {
            Encryption::AesGcm256 => f.write_str(GCM)?,
            Encryption::AesCbc256(integrity) => {
                write!(f, "{CBC}-{}", name(&INTEGRITY, &integrity))?;
            }
        }
        write!(f, "-{}", name(&PRFS, &self.prf))?;
        write!(f, "-{}", name(&GROUPS, &self.group))?;
        match self.additional {
            Some(Additional::MlKem768) => write!(f, "-{ML_KEM}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(&INTEGRITY, self))
    }
}

impl FromStr for Integrity {
    type Err = SuiteError;

    fn from_str(text: &str) -> Result<Self, SuiteError> {
        find(&INTEGRITY, text).ok_or_else(|| SuiteError::Unknown(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_reads_as_it_is_written() {
        let mut suites = Profile::default().ike;
        for (_, group) in GROUPS {
            for (_, prf) in PRFS {
                for (_, integrity) in INTEGRITY {
                    suites.push(Suite {
                        encryption: Encryption::AesCbc256(integrity),
                        prf,
                        group,
                        additional: None,
                    });
                }
            }
        }
        for suite in suites {
            assert_eq!(suite.to_string().parse(), Ok(suite));
        }
        let short: Suite = "aes256-sha512-ecp384".parse().unwrap();
        assert_eq!(short.prf, Prf::Sha512);
    }

    #[test]
    fn weak_unknown_and_incomplete_proposals_are_refused() {
        for weak in ["modp768", "modp1024", "modp1024s160", "modp2048s224"] {
            let text = format!("aes256gcm16-prfsha256-{weak}");
            assert_eq!(text.parse::<Suite>(), Err(SuiteError::Unknown(weak.into())));
        }
        for text in [
            "aes256gcm16-x25519",
            "aes256-x25519",
            "aes256-prfsha256-x25519",
            "aes256gcm16-sha256-prfsha256-x25519",
            "aes256gcm16-prfsha256-x25519-ecp256",
            "prfsha256-x25519",
        ] {
            let incomplete = SuiteError::Incomplete(text.to_owned());
            assert_eq!(text.parse::<Suite>(), Err(incomplete));
        }
        assert!("md5".parse::<Integrity>().is_err());
    }
}
