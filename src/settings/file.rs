//! The file of an unattended first boot: the settings, the passwords, and optionally a cluster.
//!
//! Its text is hostile input (a firmware string, a volume): bounded, and refused as a whole for
//! any unknown or unacceptable field. What it complains of never repeats a secret.

use std::net::IpAddr;

use serde::Deserialize;

use super::cluster::ClusterFields;
use super::password::{self, Password};
use super::validate::Complaints;
use super::{Addressing4, Addressing6, Protocol, Route, SettingsError, Syslog, System, system};

/// The largest such file, in bytes.
pub const SIZE_MAX: usize = 32 * 1024;

/// All that a first boot needs to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupFile {
    /// The settings.
    pub system: System,
    /// The web administrator's password.
    pub admin: Credential,
    /// The console's and SSH's root password.
    pub root: Credential,
    /// The cluster to found or to join.
    pub cluster: Option<ClusterFields>,
}

/// A password, or its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// In clear, to be hashed and forgotten.
    Plain(Password),
    /// argon2id (administrator) or crypt (root).
    Hash(Password),
}

/// The file's fields as they lie there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    protocol: Protocol,
    interface: Option<String>,
    vlan: Option<u16>,
    host_name: String,
    #[serde(default)]
    domain_name: String,
    #[serde(default)]
    dns_servers: Vec<IpAddr>,
    #[serde(default)]
    ntp_servers: Vec<String>,
    #[serde(default = "system::utc")]
    time_zone: String,
    #[serde(default)]
    ssh: bool,
    ipv4: Option<Addressing4>,
    ipv6: Option<Addressing6>,
    #[serde(default)]
    routes: Vec<Route>,
    syslog: Option<Syslog>,
    admin_password: Option<Password>,
    admin_password_hash: Option<Password>,
    root_password: Option<Password>,
    root_password_hash: Option<Password>,
    cluster: Option<ClusterFields>,
}

impl SetupFile {
    /// Reads and validates the file's text.
    pub fn from_toml(text: &str) -> Result<Self, SettingsError> {
        if text.len() > SIZE_MAX {
            return Err(SettingsError::TooLarge(SIZE_MAX));
        }
        let raw: Raw =
            toml::from_str(text).map_err(|error| SettingsError::from_toml(text, &error))?;
        let mut found = Complaints::default();
        let admin = credential(
            ("admin_password", raw.admin_password),
            ("admin_password_hash", raw.admin_password_hash),
            &mut found,
        );
        let root = credential(
            ("root_password", raw.root_password),
            ("root_password_hash", raw.root_password_hash),
            &mut found,
        );
        let system = System {
            protocol: raw.protocol,
            interface: raw.interface,
            vlan: raw.vlan,
            host_name: raw.host_name,
            domain_name: raw.domain_name,
            dns_servers: raw.dns_servers,
            ntp_servers: raw.ntp_servers,
            time_zone: raw.time_zone,
            ssh: raw.ssh,
            ipv4: raw.ipv4,
            ipv6: raw.ipv6,
            routes: raw.routes,
            syslog: raw.syslog,
        };
        system.complain(&mut found);
        if let Some(cluster) = &raw.cluster {
            cluster.complain(&system, &mut found);
        }
        found.finish()?;
        let file = Self {
            system,
            admin,
            root,
            cluster: raw.cluster,
        };
        file.validate()?;
        Ok(file)
    }

    /// Checks every field, alone and together.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let mut found = Complaints::default();
        self.system.complain(&mut found);
        match &self.admin {
            Credential::Plain(p) => found.check("admin_password", password::check(&p.0, "admin")),
            Credential::Hash(p) => {
                found.check("admin_password_hash", password::check_argon2id(&p.0));
            }
        }
        match &self.root {
            Credential::Plain(p) => found.check("root_password", password::check(&p.0, "root")),
            Credential::Hash(p) => found.check("root_password_hash", password::check_crypt(&p.0)),
        }
        if let Some(cluster) = &self.cluster {
            cluster.complain(&self.system, &mut found);
        }
        found.finish()
    }
}

fn credential(
    (field, plain): (&str, Option<Password>),
    (hash_field, hash): (&str, Option<Password>),
    found: &mut Complaints,
) -> Credential {
    match (plain, hash) {
        (Some(plain), None) => Credential::Plain(plain),
        (None, Some(hash)) => Credential::Hash(hash),
        _ => {
            found.add(field, format!("either this or {hash_field}"));
            Credential::Plain(Password(String::new()))
        }
    }
}
