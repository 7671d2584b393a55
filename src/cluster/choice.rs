//! How the peers of a cluster key their tunnels: IKE profile, authentication, and the additional
//! key exchange. Set alike at all peers; each choice has the words of the page and one name for
//! REST and the command line.

use serde::{Deserialize, Serialize};

use crate::ike::suite::SuiteError;
use crate::tunnel::message::Profile;

/// A choice among few, in words and by name.
pub trait Choice: Copy + PartialEq + 'static {
    /// All, the default first.
    const ALL: &'static [Self];

    /// The words of the page.
    fn words(self) -> &'static str;

    /// The name in REST and on the command line.
    fn name(self) -> &'static str;

    /// By its name.
    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.name() == name)
    }
}

/// Which version of IKE, and what it negotiates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IkeProfile {
    /// RFC 7296.
    #[default]
    Ikev2,
    /// Main mode and quick mode (RFC 2409), with elliptic curves first.
    MainMode,
    /// Main mode as its time had it: pre-shared key, MODP-4096.
    GuideEra,
}

impl Choice for IkeProfile {
    const ALL: &'static [Self] = &[Self::Ikev2, Self::MainMode, Self::GuideEra];

    fn words(self) -> &'static str {
        match self {
            Self::Ikev2 => "IKEv2",
            Self::MainMode => "ISAKMP main mode",
            Self::GuideEra => "guide era",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ikev2 => "ikev2",
            Self::MainMode => "main-mode",
            Self::GuideEra => "guide-era",
        }
    }
}

/// What a peer proves itself with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Authentication {
    /// The cluster pre-shared key.
    #[default]
    PreSharedKey,
    /// A certificate; the key is then not used.
    Certificates,
}

impl Choice for Authentication {
    const ALL: &'static [Self] = &[Self::PreSharedKey, Self::Certificates];

    fn words(self) -> &'static str {
        match self {
            Self::PreSharedKey => "pre-shared key",
            Self::Certificates => "certificates",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::PreSharedKey => "pre-shared-key",
            Self::Certificates => "certificates",
        }
    }
}

/// Whether IKEv2 must do a second key exchange, with ML-KEM-768 (RFC 9370). Never left out
/// silently: a peer without it is refused unless this is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AdditionalKeyExchange {
    /// Every peer does it.
    #[default]
    Required,
    /// No peer does it: for peers that are no system of ours.
    Off,
}

impl Choice for AdditionalKeyExchange {
    const ALL: &'static [Self] = &[Self::Required, Self::Off];

    fn words(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Off => "off",
        }
    }

    fn name(self) -> &'static str {
        self.words()
    }
}

/// IKEv2 without a second key exchange: what other implementations have, elliptic curves first.
const WITHOUT_ADDITIONAL: [&str; 11] = [
    "aes256gcm16-prfsha256-x25519",
    "aes256gcm16-prfsha384-x25519",
    "aes256gcm16-prfsha256-ecp256",
    "aes256gcm16-prfsha384-ecp384",
    "aes256gcm16-prfsha256-modp3072",
    "aes256gcm16-prfsha256-modp4096",
    "aes256-sha256-x25519",
    "aes256-sha256-ecp256",
    "aes256-sha256-modp3072",
    "aes256-sha256-modp4096",
    "aes256-sha256-modp2048",
];

/// Main mode: X25519, AES-GCM and ML-KEM do not exist in it.
const MAIN_MODE: [&str; 7] = [
    "aes256-sha256-ecp256",
    "aes256-sha384-ecp384",
    "aes256-sha512-ecp384",
    "aes256-sha256-modp3072",
    "aes256-sha256-modp4096",
    "aes256-sha512-modp4096",
    "aes256-sha256-modp2048",
];

impl IkeProfile {
    /// What may be negotiated. IKEv1 has no additional key exchange, whatever is set.
    ///
    /// # Errors
    /// Never with the proposals of this file, which its tests read.
    pub fn profile(self, additional: AdditionalKeyExchange) -> Result<Profile, SuiteError> {
        let (mut profile, words): (_, &[&str]) = match (self, additional) {
            (Self::Ikev2, AdditionalKeyExchange::Required) => return Ok(Profile::default()),
            (Self::Ikev2, AdditionalKeyExchange::Off) => (Profile::default(), &WITHOUT_ADDITIONAL),
            (Self::MainMode, _) => (Profile::guide_era(), &MAIN_MODE),
            (Self::GuideEra, _) => return Ok(Profile::guide_era()),
        };
        profile.ike = words.iter().map(|w| w.parse()).collect::<Result<_, _>>()?;
        Ok(profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(profile: IkeProfile, additional: AdditionalKeyExchange) -> Vec<String> {
        let profile = profile.profile(additional).unwrap();
        profile.ike.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_off_leaves_the_second_key_exchange_out() {
        use AdditionalKeyExchange::{Off, Required};
        let all = groups(IkeProfile::Ikev2, Required);
        assert!(all.iter().all(|suite| suite.ends_with("ke1_mlkem768")));
        let without = groups(IkeProfile::Ikev2, Off);
        assert_eq!(without.len(), WITHOUT_ADDITIONAL.len());
        assert!(without.iter().all(|suite| !suite.contains("mlkem")));
        assert_eq!(
            groups(IkeProfile::MainMode, Required),
            groups(IkeProfile::MainMode, Off)
        );
        assert!(groups(IkeProfile::MainMode, Off)[0].contains("ecp256"));
        for all in [&without, &groups(IkeProfile::MainMode, Off)] {
            for group in ["ecp256", "ecp384", "modp2048", "modp3072", "modp4096"] {
                assert!(all.iter().any(|suite| suite.ends_with(group)), "{group}");
            }
        }
        for hash in ["sha256", "sha384", "sha512"] {
            let main = groups(IkeProfile::MainMode, Off);
            assert!(main.iter().any(|suite| suite.contains(hash)), "{hash}");
        }
        let era = groups(IkeProfile::GuideEra, Off);
        assert!(era.iter().all(|suite| suite.contains("modp4096")));
    }

    #[test]
    fn every_choice_is_found_by_its_name() {
        for one in IkeProfile::ALL {
            assert_eq!(IkeProfile::named(one.name()), Some(*one));
            let json = serde_json::to_value(one).unwrap();
            assert_eq!(json, one.name(), "REST and the saved fields have one name");
        }
        for one in Authentication::ALL {
            assert_eq!(serde_json::to_value(one).unwrap(), one.name());
        }
        for one in AdditionalKeyExchange::ALL {
            assert_eq!(serde_json::to_value(one).unwrap(), one.name());
        }
        assert_eq!(IkeProfile::named("aggressive"), None);
    }
}
