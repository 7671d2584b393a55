//! The fields of *System > Clustering* and what may stand in them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::choice::{AdditionalKeyExchange, Authentication, Choice, IkeProfile};
use super::key::{self, KeyProblem};
use super::pem::{Pem, PemChange};
use super::ppk::{Ppk, PpkChange};
use super::{Field, Problem};
use crate::tunnel::message::{Peer, PeerList, reqid};

/// The saved cluster fields, without key and certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fields {
    /// Peer 1 to 3 IP address; a hole in the list is allowed.
    pub peers: [Option<IpAddr>; 3],
    /// IKE profile.
    #[serde(default)]
    pub profile: IkeProfile,
    /// Pre-shared key or certificates.
    #[serde(default)]
    pub authentication: Authentication,
    /// Whether IKEv2 must do a second key exchange.
    #[serde(default)]
    pub additional: AdditionalKeyExchange,
}

/// What an operator typed and saved. `None` leaves what is saved.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The new key; empty deletes it.
    pub key: Option<String>,
    /// The three peer fields as typed.
    pub peers: [String; 3],
    /// IKE profile.
    pub profile: Option<IkeProfile>,
    /// Pre-shared key or certificates.
    pub authentication: Option<Authentication>,
    /// Whether IKEv2 must do a second key exchange.
    pub additional: Option<AdditionalKeyExchange>,
    /// The post-quantum key.
    pub ppk: PpkChange,
    /// The certificate fields.
    pub pem: PemChange,
    /// Joining a cluster, which replaces this system's tables, was confirmed.
    pub join: bool,
}

/// What is saved of the other fields when some are changed.
#[derive(Clone, Copy)]
pub struct Saved<'a> {
    /// The fields.
    pub fields: &'a Fields,
    /// Whether there is a key.
    pub keyed: bool,
    /// The post-quantum key.
    pub ppk: Option<&'a Ppk>,
    /// The certificate fields.
    pub pem: &'a Pem,
}

/// The fields to save.
pub struct Checked {
    /// Peers and choices.
    pub fields: Fields,
    /// Whether there is a key afterwards.
    pub keyed: bool,
    /// The post-quantum key, if there is one.
    pub ppk: Option<Ppk>,
    /// The certificate fields. What is in them is not judged yet.
    pub pem: Pem,
}

impl Change {
    /// Everything back to what a new system has: standalone, no key, no certificates.
    pub fn clear() -> Self {
        Self {
            key: Some(String::new()),
            peers: Default::default(),
            profile: Some(IkeProfile::default()),
            authentication: Some(Authentication::default()),
            additional: Some(AdditionalKeyExchange::default()),
            ppk: PpkChange::clear(),
            pem: PemChange {
                certificate: Some(String::new()),
                key: None,
                authorities: Some(String::new()),
                revocation_lists: Some(String::new()),
            },
            join: false,
        }
    }

    /// Judges the whole form. `own` are this system's addresses.
    pub fn check(&self, own: &[IpAddr], saved: Saved<'_>) -> Result<Checked, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut fields = Fields {
            peers: [None; 3],
            profile: self.profile.unwrap_or(saved.fields.profile),
            authentication: self.authentication.unwrap_or(saved.fields.authentication),
            additional: self.additional.unwrap_or(saved.fields.additional),
        };
        for (index, text) in self.peers.iter().enumerate() {
            match parse(text.trim(), own.iter().any(IpAddr::is_loopback)) {
                Ok(address) => fields.peers[index] = address,
                Err(message) => problems.push(Problem::new(Field::PEERS[index], message)),
            }
        }
        let keyed = match self.key.as_deref() {
            None => saved.keyed,
            Some("") => false,
            Some(key) => {
                if let Err(problem) = key::check(key) {
                    problems.push(Problem::new(Field::Key, key_message(&problem)));
                }
                true
            }
        };
        let used = (fields.profile, !fields.is_blank());
        let ppk = self.ppk.apply(saved.ppk, used, &mut problems);
        let pem = self.pem.apply(saved.pem);
        let certified = fields.authentication == Authentication::Certificates;
        pem.check(certified && !fields.is_blank(), &mut problems);
        fields.check_together(own, keyed, &mut problems);
        if problems.is_empty() {
            Ok(Checked {
                fields,
                keyed,
                ppk,
                pem,
            })
        } else {
            Err(problems)
        }
    }
}

fn key_message(problem: &KeyProblem) -> String {
    format!("this key {problem}")
}

impl Fields {
    /// Whether nothing is entered.
    pub fn is_blank(&self) -> bool {
        self.peers.iter().all(Option::is_none)
    }

    /// Which field holds one of our own addresses.
    pub fn own_field(&self, own: &[IpAddr]) -> Option<u8> {
        let position = self
            .peers
            .iter()
            .position(|p| p.is_some_and(|a| own.contains(&a)))?;
        Some(position as u8 + 1)
    }

    /// The list for `ike`, `keyer` and the firewall; `None` if our own address is not in it.
    pub fn peer_list(&self, own: &[IpAddr]) -> Option<PeerList> {
        let field = self.own_field(own)?;
        let local = self.peers[usize::from(field) - 1]?;
        let peers = (1..=3u8)
            .filter(|other| *other != field)
            .filter_map(|other| {
                let address = self.peers[usize::from(other) - 1]?;
                Some(Peer {
                    address,
                    reqid: reqid(other),
                })
            })
            .collect();
        Some(PeerList { local, peers })
    }

    fn check_together(&self, own: &[IpAddr], keyed: bool, problems: &mut Vec<Problem>) {
        let mut say = |field, message: &str| problems.push(Problem::new(field, message));
        for index in 1..3 {
            let Some(address) = self.peers[index] else {
                continue;
            };
            if self.peers[..index].contains(&Some(address)) {
                say(
                    Field::PEERS[index],
                    "is entered twice; each peer needs an address of its own",
                );
            }
        }
        let mut families = self.peers.iter().flatten().map(IpAddr::is_ipv4);
        if let Some(first) = families.next()
            && let Some(index) = self
                .peers
                .iter()
                .position(|p| p.is_some_and(|a| a.is_ipv4() != first))
        {
            say(
                Field::PEERS[index],
                "mixes IPv4 and IPv6; all peers must use the same",
            );
        }
        let mine = self
            .peers
            .iter()
            .flatten()
            .filter(|a| own.contains(a))
            .count();
        if !self.is_blank() && mine == 0 && self.peers.iter().flatten().count() > 0 {
            let list: Vec<String> = own.iter().map(ToString::to_string).collect();
            say(
                Field::Peer1,
                &format!(
                    "this system's own address ({}) must be in one of the three fields",
                    list.join(", ")
                ),
            );
        }
        if mine > 1 {
            say(
                Field::Peer2,
                "two fields hold addresses of this system; only one may",
            );
        }
        let certified = self.authentication == Authentication::Certificates;
        if certified && self.profile == IkeProfile::GuideEra {
            let profile = self.profile.words();
            let message = format!("the profile {profile} takes the pre-shared key only");
            say(Field::Authentication, &message);
        }
        if !self.is_blank() && !keyed && !certified {
            say(Field::Key, "is missing; peers need the same key on each");
        }
        if self.is_blank() && keyed {
            say(
                Field::Peer1,
                "is missing; enter this system's address, or delete the key to be standalone",
            );
        }
    }
}

/// One field: blank, a usable address, or why not. `loopback`: this system itself was told to use
/// a loopback address, which only tests do.
fn parse(text: &str, loopback: bool) -> Result<Option<IpAddr>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    let address: IpAddr = text
        .parse()
        .map_err(|_| "is not an IP address, for example 192.0.2.11 or 2001:db8::11")?;
    if address.is_unspecified() {
        return Err("is the unspecified address, not a host's");
    }
    if address.is_multicast() {
        return Err("is a multicast address, not a host's");
    }
    if address.is_loopback() && !loopback {
        return Err("is a loopback address; other peers cannot reach it");
    }
    match address {
        IpAddr::V4(v4) if v4.is_broadcast() => Err("is the broadcast address, not a host's"),
        IpAddr::V4(v4) if v4.is_link_local() => {
            Err("is a link-local address; peers need one that is routed")
        }
        IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 240 => {
            Err("is in a reserved range, not a host's")
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            Err("is a link-local address; peers need one that is routed")
        }
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err("is an IPv4 address in IPv6 notation; write it as IPv4")
        }
        _ => Ok(Some(address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "vary-9umbrella-Kilo42-tidal";

    fn change(key: Option<&str>, peers: [&str; 3]) -> Change {
        Change {
            key: key.map(Into::into),
            peers: peers.map(Into::into),
            ..Change::default()
        }
    }

    fn check(change: &Change, keyed: bool) -> Result<Checked, Vec<Problem>> {
        let own = ["192.0.2.11".parse().unwrap()];
        let (fields, pem) = (&Fields::default(), &Pem::default());
        let saved = Saved {
            fields,
            keyed,
            ppk: None,
            pem,
        };
        change.check(&own, saved)
    }

    fn refused(key: Option<&str>, peers: [&str; 3]) -> Vec<(Field, String)> {
        let problems = check(&change(key, peers), false).err().unwrap();
        problems.into_iter().map(|p| (p.field, p.message)).collect()
    }

    #[test]
    fn each_kind_of_mistake_is_told_beside_its_field() {
        let cases = [
            (
                ["192.0.2.11", "bogus", ""],
                Field::Peer2,
                "not an IP address",
            ),
            (["192.0.2.11", "", "192.0.2.11"], Field::Peer3, "twice"),
            (["192.0.2.12", "", ""], Field::Peer1, "own address"),
            (["192.0.2.11", "127.0.0.1", ""], Field::Peer2, "loopback"),
            (["192.0.2.11", "224.0.0.5", ""], Field::Peer2, "multicast"),
            (
                ["192.0.2.11", "255.255.255.255", ""],
                Field::Peer2,
                "broadcast",
            ),
            (["192.0.2.11", "0.0.0.0", ""], Field::Peer2, "unspecified"),
            (
                ["192.0.2.11", "169.254.3.4", ""],
                Field::Peer2,
                "link-local",
            ),
            (["192.0.2.11", "fe80::1", ""], Field::Peer2, "link-local"),
            (
                ["192.0.2.11", "::ffff:192.0.2.9", ""],
                Field::Peer2,
                "IPv6 notation",
            ),
            (["192.0.2.11", "2001:db8::1", ""], Field::Peer2, "mixes"),
        ];
        for (peers, field, words) in cases {
            let problems = refused(Some(KEY), peers);
            assert!(
                problems
                    .iter()
                    .any(|(f, m)| *f == field && m.contains(words)),
                "{peers:?}: {problems:?}"
            );
        }
        assert_eq!(refused(None, ["192.0.2.11", "", ""])[0].0, Field::Key);
        assert_eq!(refused(Some(KEY), ["", "", ""])[0].0, Field::Peer1);
    }

    #[test]
    fn a_hole_in_the_list_is_allowed_and_keeps_the_reqids() {
        let own = ["192.0.2.11".parse().unwrap()];
        let form = change(Some(KEY), ["192.0.2.11", "", "192.0.2.13"]);
        let checked = check(&form, false).ok().unwrap();
        assert!(checked.keyed);
        let list = checked.fields.peer_list(&own).unwrap();
        assert_eq!(list.peers.len(), 1);
        assert_eq!(list.peers[0].reqid, 7403);
    }

    #[test]
    fn clearing_everything_is_allowed() {
        let checked = check(&change(Some(""), ["", "", ""]), true).ok().unwrap();
        assert!(checked.fields.is_blank() && !checked.keyed);
    }

    #[test]
    fn certificates_take_the_place_of_the_key_but_not_in_the_guides_era() {
        let mut form = change(None, ["192.0.2.11", "", ""]);
        form.authentication = Some(Authentication::Certificates);
        let problems = check(&form, false).err().unwrap();
        let fields: Vec<Field> = problems.iter().map(|p| p.field).collect();
        let missing = [
            Field::Certificate,
            Field::CertificateKey,
            Field::Authorities,
        ];
        assert_eq!(fields, missing, "the cluster key is not asked for");
        form.pem = PemChange {
            certificate: Some("certificate".into()),
            key: Some(zeroize::Zeroizing::new("key".into())),
            authorities: Some("authorities".into()),
            revocation_lists: None,
        };
        for profile in [IkeProfile::Ikev2, IkeProfile::MainMode] {
            form.profile = Some(profile);
            let checked = check(&form, false).ok().unwrap();
            assert_eq!(checked.pem.certificate, "certificate");
        }
        form.profile = Some(IkeProfile::GuideEra);
        let problems = check(&form, false).err().unwrap();
        assert_eq!(problems[0].field, Field::Authentication);
        assert!(problems[0].message.contains("guide era"));
    }

    #[test]
    fn what_is_not_typed_stays_as_it_is_saved() {
        let fields = Fields {
            profile: IkeProfile::MainMode,
            additional: AdditionalKeyExchange::Off,
            ..Fields::default()
        };
        let (own, pem) = (["192.0.2.11".parse().unwrap()], &Pem::default());
        let saved = Saved {
            fields: &fields,
            keyed: true,
            ppk: None,
            pem,
        };
        let form = change(None, ["192.0.2.11", "", ""]);
        let checked = form.check(&own, saved).ok().unwrap();
        assert_eq!(checked.fields.profile, IkeProfile::MainMode);
        assert_eq!(checked.fields.additional, AdditionalKeyExchange::Off);
        let cleared = Change::clear().check(&own, saved).ok().unwrap();
        assert_eq!(cleared.fields, Fields::default());
    }

    #[test]
    fn fields_saved_before_there_were_choices_are_still_read() {
        let old = r#"{"peers":["192.0.2.11",null,null]}"#;
        let fields: Fields = serde_json::from_str(old).unwrap();
        assert_eq!(fields.profile, IkeProfile::Ikev2);
        assert_eq!(fields.authentication, Authentication::PreSharedKey);
        assert_eq!(fields.additional, AdditionalKeyExchange::Required);
    }
}
