//! Certificates, pinning and TLS.
//!
//! A node makes its own certificate once; who a peer is comes from IKE, which reports the SHA-256
//! of the peer's certificate. So TLS between peers knows no authority and no chain, only that pin
//! and a verified signature. The web certificate is the same one until an operator installs theirs.

mod identity;
mod ike;
mod ike_keys;
mod pinned;
pub mod release;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, ServerConfig};

pub use identity::{Facts, Identity};
pub use ike::{IkeCertificates, given};
pub use pinned::{accept_config, dial_config};

use crate::tunnel::message::CertDigest;

/// What can go wrong with certificates and TLS set-up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The stored certificate or key does not work.
    #[error("the stored certificate or key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// The stored private key is not PKCS #8.
    #[error("the stored private key is not in PKCS #8 form")]
    Key,
    /// Text that should hold certificates, keys or revocation lists.
    #[error("not in PEM form, or damaged")]
    Pem,
    /// A certificate or revocation list that cannot be used.
    #[error("a certificate or revocation list cannot be used: {0}")]
    Certificate(#[source] webpki::Error),
    /// Two things that do not belong together.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

/// SHA-256 of a certificate's DER.
pub fn digest(der: &[u8]) -> CertDigest {
    let hash = ring::digest::digest(&ring::digest::SHA256, der);
    let mut out = [0; 32];
    out.copy_from_slice(hash.as_ref());
    out
}

/// HTTPS with this node's certificate: TLS 1.2 and 1.3, no client certificates.
pub fn https_config(identity: &Identity) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = identity.rustls()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The two sides of a replication link, for those that hold either.
pub type Dial = Arc<ClientConfig>;
/// The accepting side's configuration.
pub type Accept = Arc<ServerConfig>;
