//! `--desired FILE`: what `serve` would say, written by a person in a laboratory.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::ike::suite::{SuiteError, Version};
use crate::tunnel::message::{Certificates, Desired, Peer, PeerList, Ppk, Profile, Secret, reqid};

/// As a person writes it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct DesiredFile {
    local: IpAddr,
    key: String,
    /// SHA-256 of our node certificate, in hexadecimal.
    certificate: String,
    #[serde(default)]
    peer: Vec<PeerField>,
    /// Seconds until AH and IKE SAs are rekeyed, instead of the defaults.
    lifetimes: Option<[u64; 2]>,
    /// IKE proposals in strongSwan's keywords, most preferred first, instead of the default.
    proposals: Option<Vec<String>>,
    /// AH integrity algorithms likewise: `sha256`, `sha512`.
    ah_proposals: Option<Vec<String>>,
    /// `v2` (the default), `v1`, or `guide era`: v1 with its own proposals.
    ike: Option<String>,
    /// With v1: whether each AH pair has a key exchange of its own; the default is yes.
    pfs: Option<bool>,
    /// Certificates instead of the key.
    certificates: Option<CertificateFiles>,
    /// A post-quantum key.
    ppk: Option<PpkFields>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PpkFields {
    id: String,
    secret: String,
}

/// PEM files.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateFiles {
    chain: PathBuf,
    key: PathBuf,
    authorities: PathBuf,
    revoked: Option<PathBuf>,
    /// Names of peers by address.
    #[serde(default)]
    names: BTreeMap<IpAddr, String>,
}

impl CertificateFiles {
    fn read(&self) -> Result<Certificates, String> {
        let read = |path: &Path| {
            let read = std::fs::read(path);
            read.map_err(|error| format!("{}: {error}", path.display()))
        };
        let key = Zeroizing::new(read(&self.key)?);
        let revoked = self.revoked.as_deref().map(read).transpose()?;
        Certificates::from_pem(
            &read(&self.chain)?,
            &key,
            &read(&self.authorities)?,
            &revoked.unwrap_or_default(),
            self.names.clone().into_iter().collect(),
        )
        .map_err(|error| error.to_string())
    }
}

impl DesiredFile {
    fn profile(&self) -> Result<Profile, SuiteError> {
        let mut profile = match self.ike.as_deref() {
            None | Some("v2") => Profile::default(),
            Some("v1" | "guide era") => Profile::guide_era(),
            Some(other) => return Err(SuiteError::Unknown(other.to_owned())),
        };
        profile.pfs = self.pfs.unwrap_or(profile.pfs);
        if let Some(words) = &self.proposals {
            profile.ike = words.iter().map(|w| w.parse()).collect::<Result<_, _>>()?;
        }
        if let Some(words) = &self.ah_proposals {
            profile.ah = words.iter().map(|w| w.parse()).collect::<Result<_, _>>()?;
        }
        Ok(profile)
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerField {
    /// Which Peer field, 1 to 3.
    field: u8,
    address: IpAddr,
}

/// Reads it, with the lifetimes of AH and IKE SAs in seconds if they are given.
pub fn read(path: &Path) -> Result<(Desired, Option<[u64; 2]>), String> {
    let wrong = |reason: String| format!("{}: {reason}", path.display());
    let metadata = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(wrong("holds a key and so must have mode 0600".into()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    // The parser's own message would quote the line, which may hold the key.
    let file: DesiredFile =
        toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
    let profile = file.profile().map_err(|error| wrong(error.to_string()))?;
    if file.ppk.is_some() && profile.version != Version::V2 {
        return Err(wrong("a post-quantum key exists in IKEv2 only".into()));
    }
    let certificate = digest(&file.certificate)
        .ok_or_else(|| wrong("certificate is not 64 hexadecimal digits".into()))?;
    let certificates = file.certificates.as_ref().map(CertificateFiles::read);
    let peers = file.peer.iter().map(|peer| Peer {
        address: peer.address,
        reqid: reqid(peer.field),
    });
    let desired = Desired {
        list: PeerList {
            local: file.local,
            peers: peers.collect(),
        },
        key: Secret(file.key.into_bytes()),
        certificate: certificate.into(),
        profile,
        certificates: certificates.transpose()?.map(Box::new),
        ppk: file.ppk.map(|ppk| {
            Box::new(Ppk {
                id: ppk.id,
                secret: Secret(ppk.secret.into_bytes()),
            })
        }),
    };
    Ok((desired, file.lifetimes))
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut digits: VecDeque<u32> = hex.chars().map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let mut out = [0; 32];
    for byte in &mut out {
        *byte = (digits.pop_front()? * 16 + digits.pop_front()?) as u8;
    }
    digits.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_readable_key_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("desired.toml");
        let text = format!(
            "local = \"192.0.2.1\"\nkey = \"secret\"\ncertificate = \"{}\"\n\
             [[peer]]\nfield = 2\naddress = \"192.0.2.2\"\n",
            "0a".repeat(32)
        );
        std::fs::write(&path, text).unwrap();
        let mode = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, mode(0o644)).unwrap();
        assert!(read(&path).is_err());
        std::fs::set_permissions(&path, mode(0o600)).unwrap();
        let (desired, _) = read(&path).unwrap();
        assert_eq!(desired.list.peers[0].reqid, 7402);
        assert_eq!(desired.certificate, [10; 32].into());
        assert_eq!(desired.profile, Profile::default());
    }

    #[test]
    fn a_post_quantum_key_is_read_and_refused_beside_ikev1() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("desired.toml");
        let write = |more: &str| {
            let text = format!(
                "local = \"192.0.2.1\"\nkey = \"secret\"\ncertificate = \"{}\"\n{more}\
                 [ppk]\nid = \"lab\"\nsecret = \"octets\"\n",
                "0a".repeat(32)
            );
            std::fs::write(&path, text).unwrap();
            let mode = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&path, mode).unwrap();
            read(&path)
        };
        let ppk = write("").unwrap().0.ppk.unwrap();
        assert_eq!(
            (ppk.id.as_str(), &ppk.secret.0[..]),
            ("lab", &b"octets"[..])
        );
        assert!(write("ike = \"v1\"\n").unwrap_err().contains("IKEv2 only"));
    }
}
