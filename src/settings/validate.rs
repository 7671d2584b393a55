//! What makes settings acceptable: each complaint names its field and what was expected there.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::{Addressing4, Addressing6, ROUTES_MAX, Route, Static4, Static6, System, name};

/// At most so many DNS servers, and so many NTP servers.
pub const SERVERS_MAX: usize = 5;

/// One field that was not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The field as the file names it.
    pub field: String,
    /// What was expected.
    pub expected: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}", self.field, self.expected)
    }
}

/// Why settings were refused. No variant carries a value of the file, as it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// Not the text of a settings file.
    #[error("line {line}: {what}")]
    Unreadable {
        /// Line, from 1; 0 if unknown.
        line: usize,
        /// The reason.
        what: String,
    },
    /// Too long to be one.
    #[error("the file is larger than {0} bytes")]
    TooLarge(usize),
    /// Readable, but not acceptable.
    #[error("{}", join(.0))]
    Invalid(Vec<Invalid>),
    /// Could not be written as text.
    #[error("these settings cannot be written: {0}")]
    Unwritable(String),
}

fn join(found: &[Invalid]) -> String {
    let lines: Vec<String> = found.iter().map(Invalid::to_string).collect();
    lines.join("; ")
}

impl SettingsError {
    /// The parser's reason without the line's text, which may hold a password.
    pub(super) fn from_toml(text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = text.get(..start).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let content = text.lines().nth(line - 1).unwrap_or("");
        let message: String = error.message().chars().take(200).collect();
        let message = message.replace('\n', " ");
        let missing = message.starts_with("missing field");
        // Of the names with such a word this one is of no secret.
        let named = content.replace("additional_key_exchange", "");
        let secret = !missing && ["password", "key"].iter().any(|s| named.contains(s));
        let what = match message.split_once(", expected ") {
            _ if secret => "expected a text between quotation marks".into(),
            // What stands before it repeats the value.
            Some((_, expected)) if message.starts_with("invalid") => {
                format!("expected {expected}")
            }
            _ => message,
        };
        Self::Unreadable { line, what }
    }
}

/// Collects complaints.
#[derive(Default)]
pub(super) struct Complaints(Vec<Invalid>);

impl Complaints {
    pub fn add(&mut self, field: &str, expected: impl Into<String>) {
        self.0.push(Invalid {
            field: field.into(),
            expected: expected.into(),
        });
    }

    pub fn check(&mut self, field: &str, result: Result<(), String>) {
        if let Err(expected) = result {
            self.add(field, expected);
        }
    }

    pub fn finish(self) -> Result<(), SettingsError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(SettingsError::Invalid(self.0))
        }
    }
}

impl System {
    /// Checks every field, alone and together.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let mut complaints = Complaints::default();
        self.complain(&mut complaints);
        complaints.finish()
    }

    pub(super) fn complain(&self, found: &mut Complaints) {
        found.check("host_name", name::host(&self.host_name));
        found.check("domain_name", name::domain(&self.domain_name));
        found.check(
            "domain_name",
            name::full(&self.host_name, &self.domain_name),
        );
        found.check("time_zone", name::time_zone(&self.time_zone));
        if let Some(interface) = &self.interface {
            found.check("interface", name::interface(interface));
        }
        match (self.vlan, &self.interface) {
            (Some(vlan), _) if !(1..=4094).contains(&vlan) => {
                found.add("vlan", "a number from 1 to 4094");
            }
            (Some(_), None) => found.add("interface", "the one that carries the VLAN, as eth0"),
            _ => {}
        }
        if self.routes.len() > ROUTES_MAX {
            found.add("routes", format!("at most {ROUTES_MAX} routes"));
        }
        for route in &self.routes {
            found.check("routes", self.route(route));
        }
        if let Some((field, expected)) = self.syslog.as_ref().and_then(|log| log.check().err()) {
            found.add(field, expected);
        }
        found.check("dns_servers", dns(&self.dns_servers));
        found.check("ntp_servers", ntp(&self.ntp_servers));
        match (&self.ipv4, self.protocol.has_v4()) {
            (Some(Addressing4::Static(fixed)), true) => static4(fixed, found),
            (Some(_), true) | (None, false) => {}
            (None, true) => found.add("ipv4", "\"dhcp\" or a static address, as protocol has IPv4"),
            (Some(_), false) => found.add("ipv4", "nothing, as protocol is ipv6"),
        }
        match (&self.ipv6, self.protocol.has_v6()) {
            (Some(Addressing6::Static(fixed)), true) => static6(fixed, found),
            (Some(_), true) | (None, false) => {}
            (None, true) => found.add("ipv6", "\"dhcp\" or a static address, as protocol has IPv6"),
            (Some(_), false) => found.add("ipv6", "nothing, as protocol is ipv4"),
        }
    }
}

impl System {
    fn route(&self, route: &Route) -> Result<(), String> {
        let spoken = match route.to.address {
            IpAddr::V4(_) => self.protocol.has_v4() && route.via.is_ipv4(),
            IpAddr::V6(_) => self.protocol.has_v6() && route.via.is_ipv6(),
        };
        if !spoken {
            return Err("network and router of one protocol that this system speaks".into());
        }
        if route.to.length == 0 {
            return Err("a network; the way to all others is the gateway".into());
        }
        match (route.via, &self.ipv4, &self.ipv6) {
            (IpAddr::V4(via), Some(Addressing4::Static(fixed)), _) => {
                gateway4(via, fixed.address, fixed.prefix)
            }
            (IpAddr::V6(via), _, Some(Addressing6::Static(fixed))) => {
                gateway6(via, fixed.address, fixed.prefix)
            }
            // A lease says later which routers are near.
            (via, ..) if via.is_unspecified() || via.is_loopback() || via.is_multicast() => {
                Err("the address of a router".into())
            }
            _ => Ok(()),
        }
    }
}

/// Checks a list of name servers.
pub(crate) fn dns(servers: &[IpAddr]) -> Result<(), String> {
    let different: BTreeSet<_> = servers.iter().collect();
    if servers.len() > SERVERS_MAX || different.len() != servers.len() {
        return Err(format!("at most {SERVERS_MAX} different name servers"));
    }
    if !servers.iter().all(|s| name::is_server_address(*s)) {
        return Err("addresses of name servers, as 192.0.2.53".into());
    }
    Ok(())
}

/// Checks a list of NTP servers.
pub(crate) fn ntp(servers: &[String]) -> Result<(), String> {
    let different: BTreeSet<_> = servers.iter().map(|s| s.to_ascii_lowercase()).collect();
    if servers.len() > SERVERS_MAX || different.len() != servers.len() {
        return Err(format!("at most {SERVERS_MAX} different NTP servers"));
    }
    servers.iter().try_for_each(|s| name::server(s))
}

fn static4(fixed: &Static4, found: &mut Complaints) {
    found.check("ipv4.static.address", address4(fixed.address));
    found.check("ipv4.static.prefix", prefix4(fixed.prefix, fixed.address));
    if let Some(gateway) = fixed.gateway {
        let fine = gateway4(gateway, fixed.address, fixed.prefix);
        found.check("ipv4.static.gateway", fine);
    }
}

/// Checks this system's own IPv4 address.
pub(crate) fn address4(address: Ipv4Addr) -> Result<(), String> {
    let first = address.octets()[0];
    if (1..224).contains(&first) && first != 127 && !address.is_link_local() {
        return Ok(());
    }
    Err("the address of one system, as 192.0.2.11".into())
}

fn mask4(prefix: u8) -> u32 {
    u32::MAX
        .checked_shl(32 - u32::from(prefix.min(32)))
        .unwrap_or(0)
}

/// Checks a prefix length together with the address.
pub(crate) fn prefix4(prefix: u8, address: Ipv4Addr) -> Result<(), String> {
    if !(1..=32).contains(&prefix) {
        return Err("a prefix length from 1 to 32, as 24 (mask 255.255.255.0)".into());
    }
    let host = u32::from(address) & !mask4(prefix);
    if prefix <= 30 && (host == 0 || host == !mask4(prefix)) {
        return Err(format!(
            "a prefix in which {address} is a host, not the network's own or broadcast address"
        ));
    }
    Ok(())
}

/// Checks a router's address together with our own.
pub(crate) fn gateway4(gateway: Ipv4Addr, address: Ipv4Addr, prefix: u8) -> Result<(), String> {
    let mask = mask4(prefix);
    let inside = u32::from(gateway) & mask == u32::from(address) & mask;
    if inside && gateway != address && prefix4(prefix, gateway).is_ok() {
        return Ok(());
    }
    Err(format!(
        "another address inside {}/{prefix}",
        Ipv4Addr::from(u32::from(address) & mask)
    ))
}

fn static6(fixed: &Static6, found: &mut Complaints) {
    found.check("ipv6.static.address", address6(fixed.address));
    found.check("ipv6.static.prefix", prefix6(fixed.prefix));
    if let Some(gateway) = fixed.gateway {
        let fine = gateway6(gateway, fixed.address, fixed.prefix);
        found.check("ipv6.static.gateway", fine);
    }
}

/// Checks this system's own IPv6 address.
pub(crate) fn address6(address: Ipv6Addr) -> Result<(), String> {
    let special = address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_unicast_link_local()
        || address.to_ipv4_mapped().is_some();
    if special {
        return Err("the address of one system, as 2001:db8::11, not link-local".into());
    }
    Ok(())
}

/// Checks an IPv6 prefix length.
pub(crate) fn prefix6(prefix: u8) -> Result<(), String> {
    if (1..=128).contains(&prefix) {
        return Ok(());
    }
    Err("a prefix length from 1 to 128, as 64".into())
}

/// Checks an IPv6 router's address together with our own.
pub(crate) fn gateway6(gateway: Ipv6Addr, address: Ipv6Addr, prefix: u8) -> Result<(), String> {
    let mask = u128::MAX
        .checked_shl(128 - u32::from(prefix.min(128)))
        .unwrap_or(0);
    let inside = u128::from(gateway) & mask == u128::from(address) & mask;
    if gateway.is_unicast_link_local() || (inside && gateway != address) {
        return Ok(());
    }
    Err("another address inside the network, or a link-local one".into())
}
