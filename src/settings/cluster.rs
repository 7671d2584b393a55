//! The cluster fields of a first boot: those of *System > Clustering* that a system without a past
//! can fill in, judged as that page judges them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::System;
use super::password::Password;
use super::validate::Complaints;
use crate::cluster::{
    AdditionalKeyExchange, Change, Field, Fields, IkeProfile, Pem, PpkChange, Problem, Saved,
};

/// The cluster to found or to join; also what `serve` finds in `initial-cluster.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterFields {
    /// The cluster pre-shared key.
    pub key: Password,
    /// Peer 1 to 3 IP address, in order, without trailing blanks.
    pub peers: Vec<IpAddr>,
    /// IKE profile.
    #[serde(default)]
    pub profile: IkeProfile,
    /// Whether IKEv2 must do a second key exchange.
    #[serde(default)]
    pub additional_key_exchange: AdditionalKeyExchange,
    /// What names the post-quantum key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_quantum_key_id: Option<String>,
    /// The secret of the post-quantum key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_quantum_key: Option<Password>,
}

impl ClusterFields {
    /// The form of the page, filled in with them.
    pub fn change(&self) -> Change {
        let mut peers: [String; 3] = Default::default();
        for (peer, address) in peers.iter_mut().zip(&self.peers) {
            *peer = address.to_string();
        }
        let secret = self.post_quantum_key.as_ref();
        Change {
            key: Some(self.key.0.clone()),
            peers,
            profile: Some(self.profile),
            additional: Some(self.additional_key_exchange),
            ppk: PpkChange {
                id: self.post_quantum_key_id.clone(),
                secret: secret.map(|secret| Zeroizing::new(secret.0.clone())),
            },
            // The wizard's summary said so, or a file that was written for it.
            join: true,
            ..Change::default()
        }
    }

    /// Judges the list of peers alone: the key is typed after it.
    pub(crate) fn check_peers(&self, system: Option<&System>) -> Result<(), String> {
        let of_peers = |problem: &Problem| Field::PEERS.contains(&problem.field);
        match self.problems(system).into_iter().find(of_peers) {
            None => Ok(()),
            Some(problem) => Err(format!("one to three different peer addresses; {problem}")),
        }
    }

    /// Judges the key alone.
    pub(crate) fn check_key(&self) -> Result<(), String> {
        let problems = self.problems(None);
        match problems.iter().find(|problem| problem.field == Field::Key) {
            None => Ok(()),
            Some(problem) => Err(format!("a key that peers take; {}", problem.message)),
        }
    }

    pub(super) fn complain(&self, system: &System, found: &mut Complaints) {
        for problem in self.problems(Some(system)) {
            let name = match problem.field {
                Field::Key => "key",
                Field::Profile => "profile",
                Field::AdditionalKeyExchange => "additional_key_exchange",
                Field::PostQuantumKey => "post_quantum_key",
                Field::PostQuantumKeyId => "post_quantum_key_id",
                _ => "peers",
            };
            found.add(
                &format!("cluster.{name}"),
                format!("another entry; {problem}"),
            );
        }
    }

    fn problems(&self, system: Option<&System>) -> Vec<Problem> {
        let own = match system {
            Some(system) if !system.uses_dhcp() => system.fixed_addresses(),
            // What the lease will bring is not known yet: `serve` looks at it.
            _ => self.peers.first().copied().into_iter().collect(),
        };
        let saved = Saved {
            fields: &Fields::default(),
            keyed: false,
            ppk: None,
            pem: &Pem::default(),
        };
        let mut problems = self.change().check(&own, saved).err().unwrap_or_default();
        if self.peers.is_empty() || self.peers.len() > Field::PEERS.len() {
            problems.push(Problem::new(Field::Peer1, "one to three are needed"));
        }
        problems
    }
}
