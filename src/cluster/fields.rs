//! The fields of *System > Clustering* and what may stand in them.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::key::{self, KeyProblem};
use crate::tunnel::message::{Peer, PeerList, reqid};

/// The saved cluster fields, without the key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fields {
    /// Peer 1 to 3 IP address; a hole in the list is allowed.
    pub peers: [Option<IpAddr>; 3],
}

/// A field of the page, to place a message beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Field {
    /// Cluster pre-shared key.
    Key,
    /// Peer 1 IP address.
    Peer1,
    /// Peer 2 IP address.
    Peer2,
    /// Peer 3 IP address.
    Peer3,
}

impl Field {
    /// The peer fields, in order.
    pub const PEERS: [Field; 3] = [Field::Peer1, Field::Peer2, Field::Peer3];

    /// The label on the page.
    pub fn label(self) -> &'static str {
        match self {
            Field::Key => "Cluster pre-shared key",
            Field::Peer1 => "Peer 1 IP address",
            Field::Peer2 => "Peer 2 IP address",
            Field::Peer3 => "Peer 3 IP address",
        }
    }
}

/// What stands against saving, beside its field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The field.
    pub field: Field,
    /// The message.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field.label(), self.message)
    }
}

/// What an operator typed and saved.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The new key; `None` leaves the saved one, empty deletes it.
    pub key: Option<String>,
    /// The three peer fields as typed.
    pub peers: [String; 3],
}

impl Change {
    /// Judges the whole form. `own` are this system's addresses, `has_key` whether one is saved.
    /// On success: the fields to save, and whether a key is set afterwards.
    pub fn check(&self, own: &[IpAddr], has_key: bool) -> Result<(Fields, bool), Vec<Problem>> {
        let mut problems = Vec::new();
        let mut fields = Fields::default();
        for (index, text) in self.peers.iter().enumerate() {
            match parse(text.trim(), own.iter().any(IpAddr::is_loopback)) {
                Ok(address) => fields.peers[index] = address,
                Err(message) => {
                    problems.push(Problem {
                        field: Field::PEERS[index],
                        message: message.into(),
                    });
                }
            }
        }
        let keyed = match self.key.as_deref() {
            None => has_key,
            Some("") => false,
            Some(key) => {
                if let Err(problem) = key::check(key) {
                    problems.push(Problem {
                        field: Field::Key,
                        message: key_message(&problem),
                    });
                }
                true
            }
        };
        fields.check_together(own, keyed, &mut problems);
        if problems.is_empty() {
            Ok((fields, keyed))
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
        let mut say = |field, message: &str| {
            problems.push(Problem {
                field,
                message: message.into(),
            });
        };
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
        if !self.is_blank() && !keyed {
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
        }
    }

    fn refused(key: Option<&str>, peers: [&str; 3]) -> Vec<(Field, String)> {
        let own = ["192.0.2.11".parse().unwrap()];
        let problems = change(key, peers).check(&own, false).unwrap_err();
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
        let (fields, keyed) = form.check(&own, false).unwrap();
        assert!(keyed);
        let list = fields.peer_list(&own).unwrap();
        assert_eq!(list.peers.len(), 1);
        assert_eq!(list.peers[0].reqid, 7403);
    }

    #[test]
    fn clearing_everything_is_allowed() {
        let (fields, keyed) = change(Some(""), ["", "", ""]).check(&[], true).unwrap();
        assert!(fields.is_blank() && !keyed);
    }
}
