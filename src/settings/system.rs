//! The settings as values, in the shape of `settings.toml`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{Route, SettingsError, Syslog};

/// Which internet protocols the system speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
    /// Both.
    Both,
}

impl Protocol {
    /// Whether IPv4 is spoken.
    pub fn has_v4(self) -> bool {
        self != Self::Ipv6
    }

    /// Whether IPv6 is spoken.
    pub fn has_v6(self) -> bool {
        self != Self::Ipv4
    }
}

/// How the interface gets its IPv4 address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Addressing4 {
    /// From a DHCP server.
    Dhcp,
    /// As given.
    Static(Static4),
}

/// A fixed IPv4 address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Static4 {
    /// This system's address.
    #[schema(value_type = String)]
    pub address: Ipv4Addr,
    /// Length of the network's prefix, 1 to 32.
    pub prefix: u8,
    /// Router, inside the network.
    #[schema(value_type = Option<String>)]
    pub gateway: Option<Ipv4Addr>,
}

/// How the interface gets its IPv6 address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Addressing6 {
    /// From router advertisements and DHCPv6.
    Dhcp,
    /// As given; router advertisements are ignored.
    Static(Static6),
}

/// A fixed IPv6 address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Static6 {
    /// This system's address, not link-local.
    #[schema(value_type = String)]
    pub address: Ipv6Addr,
    /// Length of the network's prefix, 1 to 128.
    pub prefix: u8,
    /// Router, inside the network or link-local.
    #[schema(value_type = Option<String>)]
    pub gateway: Option<Ipv6Addr>,
}

/// All settings of one system; never replicated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Settings)]
pub struct System {
    /// Which internet protocols are spoken.
    pub protocol: Protocol,
    /// Name of the network interface; absent: every physical Ethernet interface.
    #[serde(default)]
    pub interface: Option<String>,
    /// VLAN (IEEE 802.1Q) of that interface that carries the addresses, 1 to 4094; absent: none.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// The host name, one label.
    pub host_name: String,
    /// The domain name, may be empty.
    #[serde(default)]
    pub domain_name: String,
    /// Name servers, at most five; empty with DHCP: the lease's.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub dns_servers: Vec<IpAddr>,
    /// NTP servers by name or address, at most five.
    #[serde(default)]
    pub ntp_servers: Vec<String>,
    /// Name in the zone database, as `Europe/Oslo`.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// Whether SSH is let in.
    #[serde(default)]
    pub ssh: bool,
    /// IPv4 addressing, present if and only if `protocol` includes it.
    #[serde(default)]
    pub ipv4: Option<Addressing4>,
    /// IPv6 addressing, present if and only if `protocol` includes it.
    #[serde(default)]
    pub ipv6: Option<Addressing6>,
    /// Static routes, at most sixteen.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Where the journal is sent as well; absent: nowhere.
    #[serde(default)]
    pub syslog: Option<Syslog>,
}

/// The default time zone.
pub(super) fn utc() -> String {
    "UTC".into()
}

impl System {
    /// Reads and validates the text of a `settings.toml`.
    pub fn from_toml(text: &str) -> Result<Self, SettingsError> {
        let system: Self =
            toml::from_str(text).map_err(|error| SettingsError::from_toml(text, &error))?;
        system.validate()?;
        Ok(system)
    }

    /// The text of a `settings.toml` that reads back as this value.
    pub fn to_toml(&self) -> Result<String, SettingsError> {
        toml::to_string(self).map_err(|error| SettingsError::Unwritable(error.to_string()))
    }

    /// Host and domain name together.
    pub fn full_name(&self) -> String {
        if self.domain_name.is_empty() {
            self.host_name.clone()
        } else {
            format!("{}.{}", self.host_name, self.domain_name)
        }
    }

    /// Whether a change to `other` touches what this system is reached by.
    pub fn moves(&self, other: &Self) -> bool {
        let reached = |system: &Self| {
            let System {
                protocol,
                interface,
                vlan,
                ipv4,
                ipv6,
                routes,
                ..
            } = system.clone();
            (protocol, interface, vlan, ipv4, ipv6, routes)
        };
        reached(self) != reached(other)
    }

    /// The fixed addresses, if any; those of a lease are not known here.
    pub fn fixed_addresses(&self) -> Vec<IpAddr> {
        let mut found = Vec::new();
        if let Some(Addressing4::Static(fixed)) = &self.ipv4 {
            found.push(IpAddr::V4(fixed.address));
        }
        if let Some(Addressing6::Static(fixed)) = &self.ipv6 {
            found.push(IpAddr::V6(fixed.address));
        }
        found
    }

    /// Whether any address comes from a lease.
    pub fn uses_dhcp(&self) -> bool {
        self.ipv4 == Some(Addressing4::Dhcp) || self.ipv6 == Some(Addressing6::Dhcp)
    }
}
