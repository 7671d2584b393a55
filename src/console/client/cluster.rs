//! `tutti cluster set`: its options as the body of a request. Secrets come from files, never from
//! arguments, which every user of a machine can read.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{Failure, Output, read_text};
use crate::cluster::TEXT_MAX;

/// Options of `tutti cluster set`.
#[derive(Clone, Debug, Args)]
pub struct Set {
    /// File with the cluster pre-shared key, or - for standard input. Default: keep the key.
    #[arg(long)]
    key_file: Option<PathBuf>,
    /// Peer 1 IP address.
    #[arg(long, default_value = "")]
    peer1: String,
    /// Peer 2 IP address.
    #[arg(long, default_value = "")]
    peer2: String,
    /// Peer 3 IP address.
    #[arg(long, default_value = "")]
    peer3: String,
    /// IKE profile, the same on every peer. Default: keep it.
    #[arg(long, value_parser = ["ikev2", "main-mode", "guide-era"])]
    profile: Option<String>,
    /// What peers prove themselves with. Default: keep it.
    #[arg(long, value_parser = ["pre-shared-key", "certificates"])]
    authentication: Option<String>,
    /// Whether IKEv2 must do a second key exchange, with ML-KEM-768. Default: keep it.
    #[arg(long, value_parser = ["required", "off"])]
    additional_key_exchange: Option<String>,
    /// File with the post-quantum key (RFC 8784); an empty file deletes it. Default: keep it.
    #[arg(long, value_name = "FILE")]
    post_quantum_key_file: Option<PathBuf>,
    /// What names the post-quantum key, the same on every peer. Default: keep it.
    #[arg(long, value_name = "ID")]
    post_quantum_key_id: Option<String>,
    /// PEM file: this node's certificate, then intermediate ones. Default: keep them.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// PEM file: its private key (PKCS #8). Default: keep it.
    #[arg(long, value_name = "FILE")]
    certificate_key: Option<PathBuf>,
    /// PEM file: trust anchors. Default: keep them.
    #[arg(long, value_name = "FILE")]
    authorities: Option<PathBuf>,
    /// PEM file: revocation lists; an empty file deletes them. Default: keep them.
    #[arg(long, value_name = "FILE")]
    revocation_lists: Option<PathBuf>,
    /// Confirms that joining a cluster replaces this system's tables and web administrators.
    #[arg(long)]
    join: bool,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

impl Set {
    /// The request's body.
    pub fn body(&self) -> Result<Value, Failure> {
        let key = self.key_file.as_deref().map(read_key).transpose()?;
        let ppk = self.post_quantum_key_file.as_deref().map(read_line);
        let text = |path: &Option<PathBuf>| {
            let path = path.as_deref();
            path.map(|path| read_text(path, TEXT_MAX as u64))
                .transpose()
        };
        Ok(json!({
            "key": key,
            "peer1": self.peer1, "peer2": self.peer2, "peer3": self.peer3,
            "profile": self.profile,
            "authentication": self.authentication,
            "additional_key_exchange": self.additional_key_exchange,
            "post_quantum_key": ppk.transpose()?,
            "post_quantum_key_id": self.post_quantum_key_id,
            "certificate": text(&self.certificate)?,
            "certificate_key": text(&self.certificate_key)?,
            "authorities": text(&self.authorities)?,
            "revocation_lists": text(&self.revocation_lists)?,
            "join": self.join,
        }))
    }
}

/// A text without the line end that editors and `echo` leave.
fn read_line(path: &Path) -> Result<String, Failure> {
    let text = read_text(path, 4096)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn read_key(path: &Path) -> Result<String, Failure> {
    let key = read_line(path)?;
    if key.is_empty() {
        return Err("the key is empty; to leave a cluster use: tutti cluster clear".into());
    }
    Ok(key)
}
