//! The settings as files of the operating system: pure functions from values to text.
//!
//! Validation has happened before: nothing here can carry a line break or a quotation mark.

use std::fmt::Write;
use std::net::IpAddr;

use super::firewall::Rules;
use super::syslog::AUTHORITIES;
use super::{Addressing4, Addressing6, System};
use crate::tunnel::message::PeerList;

const HEADER: &str = "# Rendered from the settings; changes here are lost.\n";

/// One rendered file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it belongs, below the root, without a leading slash.
    pub path: &'static str,
    /// What it holds; `None`: it must not exist.
    pub content: Option<Content>,
}

/// What a rendered path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A file readable by everyone.
    Text(String),
    /// A symbolic link.
    Link(String),
}

/// Where the ruleset lies; loaded before any network is up.
pub const NFTABLES: &str = "etc/nftables.conf";
/// Exists while SSH is on: the condition of `ssh.service`.
pub const SSH_ENABLED: &str = "etc/tutti/ssh-enabled";
/// The configuration of rsyslog, which runs while it exists.
pub const SYSLOG: &str = "etc/rsyslog.conf";
/// The network of the interface.
pub const NETWORK: &str = "etc/systemd/network/10-tutti.network";
/// The network of the interface below a VLAN.
pub const BELOW: &str = "etc/systemd/network/10-tutti-below.network";
/// The VLAN's interface.
pub const VLAN: &str = "etc/systemd/network/10-tutti-vlan.netdev";
/// The name of the VLAN's interface.
pub const VLAN_NAME: &str = "vlan0";

/// Every file that follows from the settings.
pub fn files(system: &System, peers: Option<&PeerList>) -> Vec<File> {
    let text = |path, text| File {
        path,
        content: Some(Content::Text(text)),
    };
    vec![
        text("etc/hostname", format!("{}\n", system.host_name)),
        text("etc/hosts", hosts(system)),
        text(NETWORK, network(system)),
        File {
            path: BELOW,
            content: system.vlan.map(|_| Content::Text(below(system))),
        },
        File {
            path: VLAN,
            content: system.vlan.map(|id| Content::Text(vlan(id))),
        },
        text("etc/systemd/resolved.conf.d/tutti.conf", resolved(system)),
        text("etc/chrony/sources.d/tutti.sources", chrony(system)),
        text("etc/timezone", format!("{}\n", system.time_zone)),
        File {
            path: "etc/localtime",
            content: Some(Content::Link(format!(
                "/usr/share/zoneinfo/{}",
                system.time_zone
            ))),
        },
        File {
            path: SSH_ENABLED,
            content: system.ssh.then(|| Content::Text(HEADER.into())),
        },
        File {
            path: SYSLOG,
            content: system
                .syslog
                .as_ref()
                .map(|syslog| Content::Text(format!("{HEADER}{}", syslog.to_rsyslog()))),
        },
        File {
            path: AUTHORITIES,
            content: authorities(system).map(|pem| Content::Text(format!("{pem}\n"))),
        },
        firewall(Some(system), peers),
    ]
}

/// The authorities of the syslog server, where the settings name some.
fn authorities(system: &System) -> Option<&str> {
    let pem = system.syslog.as_ref()?.authorities.trim();
    (!pem.is_empty()).then_some(pem)
}

/// The ruleset alone; before first boot's setup there are no settings.
pub fn firewall(system: Option<&System>, peers: Option<&PeerList>) -> File {
    let rules = Rules {
        ssh: system.is_some_and(|s| s.ssh),
        dhcp: system.is_none_or(System::uses_dhcp),
        peers,
    };
    File {
        path: NFTABLES,
        content: Some(Content::Text(rules.to_nft())),
    }
}

/// `/etc/hosts`: our own name at our own address, so that it never needs a name server.
pub fn hosts(system: &System) -> String {
    let full = system.full_name();
    let names = if system.domain_name.is_empty() {
        full
    } else {
        format!("{full} {}", system.host_name)
    };
    let mut text = format!("{HEADER}127.0.0.1 localhost\n::1 localhost ip6-localhost\n");
    let fixed = system.fixed_addresses();
    if fixed.is_empty() {
        let _ = writeln!(text, "127.0.1.1 {names}");
    }
    for address in fixed {
        let _ = writeln!(text, "{address} {names}");
    }
    text
}

/// The `.network` file of systemd-networkd.
pub fn network(system: &System) -> String {
    let mut text = format!("{HEADER}{}", matching(system, system.vlan));
    let dhcp4 = system.ipv4 == Some(Addressing4::Dhcp);
    let dhcp6 = system.ipv6 == Some(Addressing6::Dhcp);
    let dhcp = match (dhcp4, dhcp6) {
        (true, true) => "yes",
        (true, false) => "ipv4",
        (false, true) => "ipv6",
        (false, false) => "no",
    };
    let local = if system.protocol.has_v6() {
        "ipv6"
    } else {
        "no"
    };
    let advertisements = if dhcp6 { "yes" } else { "no" };
    let _ = write!(
        text,
        "\n[Network]\nDHCP={dhcp}\nLinkLocalAddressing={local}\n\
         IPv6AcceptRA={advertisements}\nIPv6PrivacyExtensions=no\nLLMNR=no\nMulticastDNS=no\n"
    );
    if let Some(Addressing4::Static(fixed)) = &system.ipv4 {
        let _ = writeln!(text, "Address={}/{}", fixed.address, fixed.prefix);
        if let Some(gateway) = fixed.gateway {
            let _ = writeln!(text, "Gateway={gateway}");
        }
    }
    if let Some(Addressing6::Static(fixed)) = &system.ipv6 {
        let _ = writeln!(text, "Address={}/{}", fixed.address, fixed.prefix);
        if let Some(gateway) = fixed.gateway {
            let _ = writeln!(text, "Gateway={gateway}");
        }
    }
    for route in &system.routes {
        let _ = write!(
            text,
            "\n[Route]\nDestination={}\nGateway={}\n",
            route.to, route.via
        );
    }
    // What the operator named wins over what a lease says.
    let dns = if system.dns_servers.is_empty() {
        "yes"
    } else {
        "no"
    };
    if dhcp4 {
        let _ = write!(
            text,
            "\n[DHCPv4]\nUseDNS={dns}\nUseNTP=no\nUseHostname=no\nUseTimezone=no\n"
        );
    }
    if dhcp6 {
        let _ = write!(
            text,
            "\n[DHCPv6]\nUseDNS={dns}\nUseNTP=no\nUseHostname=no\n"
        );
        let _ = write!(text, "\n[IPv6AcceptRA]\nUseDNS={dns}\n");
    }
    text
}

fn matching(system: &System, vlan: Option<u16>) -> String {
    match (&system.interface, vlan) {
        (_, Some(_)) => format!("[Match]\nName={VLAN_NAME}\n"),
        (Some(interface), None) => format!("[Match]\nName={interface}\n"),
        // `Kind=!*` leaves out bridges, VLANs and the like.
        (None, None) => "[Match]\nType=ether\nKind=!*\n".into(),
    }
}

/// The `.network` file of the interface that carries the VLAN; it has no address itself.
fn below(system: &System) -> String {
    format!(
        "{HEADER}{}\n[Network]\nVLAN={VLAN_NAME}\nDHCP=no\nLinkLocalAddressing=no\n\
         IPv6AcceptRA=no\nLLMNR=no\nMulticastDNS=no\n",
        matching(system, None)
    )
}

/// The `.netdev` file of the VLAN.
fn vlan(id: u16) -> String {
    format!("{HEADER}[NetDev]\nName={VLAN_NAME}\nKind=vlan\n\n[VLAN]\nId={id}\n")
}

/// The drop-in of systemd-resolved.
pub fn resolved(system: &System) -> String {
    let servers: Vec<String> = system.dns_servers.iter().map(IpAddr::to_string).collect();
    let mut text = format!(
        "{HEADER}[Resolve]\nDNS={}\nFallbackDNS=\nLLMNR=no\nMulticastDNS=no\n",
        servers.join(" ")
    );
    if !system.domain_name.is_empty() {
        let _ = writeln!(text, "Domains={}", system.domain_name);
    }
    text
}

/// The sources of chrony.
pub fn chrony(system: &System) -> String {
    let mut text = HEADER.to_owned();
    for server in &system.ntp_servers {
        let _ = writeln!(text, "server {server} iburst");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> System {
        System::from_toml(
            "protocol = 'both'\nhost_name = 'one'\ndomain_name = 'lab.test'\n\
             dns_servers = ['10.9.0.53', 'fd00::53']\nntp_servers = ['ntp.lab.test', '10.9.0.1']\n\
             time_zone = 'Europe/Oslo'\nssh = true\n\
             [ipv4.static]\naddress = '10.9.0.11'\nprefix = 24\ngateway = '10.9.0.1'\n\
             [ipv6.static]\naddress = 'fd00::11'\nprefix = 64\ngateway = 'fe80::1'\n",
        )
        .expect("fine settings")
    }

    #[test]
    fn a_fixed_address() {
        assert_eq!(
            network(&example()),
            format!(
                "{HEADER}[Match]\nType=ether\nKind=!*\n\n[Network]\nDHCP=no\n\
                 LinkLocalAddressing=ipv6\nIPv6AcceptRA=no\nIPv6PrivacyExtensions=no\nLLMNR=no\n\
                 MulticastDNS=no\nAddress=10.9.0.11/24\nGateway=10.9.0.1\nAddress=fd00::11/64\n\
                 Gateway=fe80::1\n"
            )
        );
    }

    #[test]
    fn a_lease() {
        let text = "protocol = 'ipv4'\nhost_name = 'one'\nipv4 = 'dhcp'\ninterface = 'eth0'\n";
        let system = System::from_toml(text).expect("fine settings");
        assert_eq!(
            network(&system),
            format!(
                "{HEADER}[Match]\nName=eth0\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n\
                 IPv6AcceptRA=no\nIPv6PrivacyExtensions=no\nLLMNR=no\nMulticastDNS=no\n\
                 \n[DHCPv4]\nUseDNS=yes\nUseNTP=no\nUseHostname=no\nUseTimezone=no\n"
            )
        );
        assert!(hosts(&system).contains("127.0.1.1 one\n"));
    }

    #[test]
    fn a_vlan_and_routes() {
        let text = "protocol = 'ipv4'\nhost_name = 'one'\ninterface = 'eth1'\nvlan = 12\n\
                    [ipv4.static]\naddress = '10.9.0.11'\nprefix = 24\n\
                    [[routes]]\nto = '10.8.0.0/16'\nvia = '10.9.0.2'\n";
        let system = System::from_toml(text).expect("fine settings");
        assert_eq!(
            System::from_toml(&system.to_toml().unwrap()).unwrap(),
            system
        );
        let rendered = network(&system);
        assert!(rendered.contains("[Match]\nName=vlan0\n"), "{rendered}");
        assert!(rendered.ends_with("\n[Route]\nDestination=10.8.0.0/16\nGateway=10.9.0.2\n"));
        let files = files(&system, None);
        let text = |path| match files.iter().find(|f| f.path == path).map(|f| &f.content) {
            Some(Some(Content::Text(text))) => text.clone(),
            other => panic!("{path}: {other:?}"),
        };
        assert!(text(BELOW).contains("[Match]\nName=eth1\n\n[Network]\nVLAN=vlan0\n"));
        assert!(text(VLAN).ends_with("Kind=vlan\n\n[VLAN]\nId=12\n"));
        let plain = System {
            vlan: None,
            ..system
        };
        let gone = super::files(&plain, None)
            .into_iter()
            .filter(|f| f.content.is_none());
        let gone: Vec<_> = gone.map(|f| f.path).collect();
        assert!(gone.contains(&BELOW) && gone.contains(&VLAN), "{gone:?}");
    }

    #[test]
    fn a_syslog_server_and_none() {
        let text = "protocol = 'ipv4'\nhost_name = 'one'\nipv4 = 'dhcp'\n\
                    [syslog]\nserver = 'logs.lab.test'\nauthorities = '''\n\
                    -----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'''\n";
        let system = System::from_toml(text).expect("fine settings");
        let of = |system: &System, path| {
            let found = files(system, None)
                .into_iter()
                .find(|file| file.path == path);
            found.expect("always in the list").content
        };
        let Some(Content::Text(text)) = of(&system, SYSLOG) else {
            panic!("no configuration");
        };
        assert!(
            text.contains("logs.lab.test") && text.contains(AUTHORITIES),
            "{text}"
        );
        assert!(of(&system, AUTHORITIES).is_some());
        let none = System {
            syslog: None,
            ..system
        };
        assert_eq!((of(&none, SYSLOG), of(&none, AUTHORITIES)), (None, None));
    }

    #[test]
    fn names_and_time() {
        let system = example();
        assert_eq!(
            hosts(&system),
            format!(
                "{HEADER}127.0.0.1 localhost\n::1 localhost ip6-localhost\n\
                 10.9.0.11 one.lab.test one\nfd00::11 one.lab.test one\n"
            )
        );
        assert_eq!(
            resolved(&system),
            format!(
                "{HEADER}[Resolve]\nDNS=10.9.0.53 fd00::53\nFallbackDNS=\nLLMNR=no\n\
                 MulticastDNS=no\nDomains=lab.test\n"
            )
        );
        assert_eq!(
            chrony(&system),
            format!("{HEADER}server ntp.lab.test iburst\nserver 10.9.0.1 iburst\n")
        );
        let ssh = files(&system, None)
            .into_iter()
            .find(|f| f.path == SSH_ENABLED);
        assert!(ssh.is_some_and(|f| f.content.is_some()));
    }
}
