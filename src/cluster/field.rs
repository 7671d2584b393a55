//! The fields of *System > Clustering* by name, to place a message beside one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A field of the page; in REST by the same name in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// Cluster pre-shared key.
    Key,
    /// Peer 1 IP address.
    Peer1,
    /// Peer 2 IP address.
    Peer2,
    /// Peer 3 IP address.
    Peer3,
    /// Version of IKE and what it negotiates.
    Profile,
    /// Pre-shared key or certificates.
    Authentication,
    /// Whether ML-KEM-768 is required.
    AdditionalKeyExchange,
    /// The secret of the post-quantum key.
    PostQuantumKey,
    /// What names it.
    PostQuantumKeyId,
    /// This node's certificate and intermediate ones.
    Certificate,
    /// Its private key.
    CertificateKey,
    /// Trust anchors.
    Authorities,
    /// Certificate revocation lists.
    RevocationLists,
    /// That this system's own tables may be replaced.
    Join,
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
            Field::Profile => "IKE profile",
            Field::Authentication => "Authentication",
            Field::AdditionalKeyExchange => "Additional key exchange",
            Field::PostQuantumKey => "Post-quantum key",
            Field::PostQuantumKeyId => "Post-quantum key identity",
            Field::Certificate => "Node certificate",
            Field::CertificateKey => "Private key",
            Field::Authorities => "Trust anchors",
            Field::RevocationLists => "Revocation lists",
            Field::Join => "Join",
        }
    }
}

/// What stands against saving, beside its field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// The field.
    pub field: Field,
    /// The message.
    pub message: String,
}

impl Problem {
    /// A message beside a field.
    pub fn new(field: Field, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { field, message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field.label(), self.message)
    }
}
