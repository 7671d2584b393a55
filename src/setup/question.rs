//! The questions as a person reads them: 80 columns, no colour, rules said beforehand.

use std::fmt::{Display, Write};

use super::{Draft, password};
use crate::settings::Protocol;

/// Where the wizard stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Protocol,
    Method4,
    Address4,
    Prefix4,
    Gateway4,
    Method6,
    Address6,
    Prefix6,
    Gateway6,
    Dns,
    HostName,
    DomainName,
    Ntp,
    TimeZone,
    Admin,
    AdminAgain,
    Root,
    RootAgain,
    Ssh,
    Cluster,
    Peers,
    Key,
    Summary,
}

impl Step {
    /// Whether the answer must not be shown.
    pub fn is_secret(self) -> bool {
        use Step::{Admin, AdminAgain, Key, Root, RootAgain};
        matches!(self, Admin | AdminAgain | Root | RootAgain | Key)
    }

    /// The step whose answer this one wants again.
    pub fn repeats(self) -> Option<Self> {
        match self {
            Self::AdminAgain => Some(Self::Admin),
            Self::RootAgain => Some(Self::Root),
            _ => None,
        }
    }
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What to say before it, possibly several lines, each of at most 79 columns.
    pub help: String,
    /// What is asked, without a colon.
    pub prompt: String,
    /// What an empty answer means.
    pub default: Option<String>,
    /// Whether the answer must not be shown while it is typed.
    pub secret: bool,
}

fn text(value: &Option<impl Display>) -> Option<String> {
    value.as_ref().map(ToString::to_string)
}

fn list(values: &[impl Display]) -> Option<String> {
    let words: Vec<String> = values.iter().map(ToString::to_string).collect();
    Some(if words.is_empty() {
        "none".into()
    } else {
        words.join(" ")
    })
}

fn method(dhcp: bool) -> Option<String> {
    Some(if dhcp { "dhcp" } else { "static" }.into())
}

fn yes_no(value: bool) -> Option<String> {
    Some(if value { "yes" } else { "no" }.into())
}

fn protocol(value: Protocol) -> &'static str {
    match value {
        Protocol::Ipv4 => "ipv4",
        Protocol::Ipv6 => "ipv6",
        Protocol::Both => "both",
    }
}

/// The question of a step; earlier answers are its default.
pub(super) fn ask(step: Step, draft: &Draft) -> Question {
    let passwords = format!("Passwords: {}.", password::RULES).replace(" (no", "\n(no");
    let (help, prompt, default) = match step {
        Step::Protocol => (
            "",
            "IP protocol (ipv4, ipv6 or both)",
            Some(draft.protocol.map_or("ipv4", protocol).into()),
        ),
        Step::Method4 => ("", "IPv4 address by (static or dhcp)", method(draft.dhcp4)),
        Step::Address4 => ("", "IPv4 address", text(&draft.address4)),
        Step::Prefix4 => (
            "",
            "IPv4 mask or prefix length",
            text(&draft.prefix4).or(Some("24".into())),
        ),
        Step::Gateway4 => (
            "",
            "IPv4 gateway (or none)",
            text(&draft.gateway4).or(Some("none".into())),
        ),
        Step::Method6 => (
            "",
            "IPv6 address by (static, or dhcp for what the network offers)",
            method(draft.dhcp6),
        ),
        Step::Address6 => ("", "IPv6 address", text(&draft.address6)),
        Step::Prefix6 => (
            "",
            "IPv6 prefix length",
            text(&draft.prefix6).or(Some("64".into())),
        ),
        Step::Gateway6 => (
            "",
            "IPv6 gateway (or none)",
            text(&draft.gateway6).or(Some("none".into())),
        ),
        Step::Dns => ("", "DNS servers, up to five (or none)", list(&draft.dns)),
        Step::HostName => (
            "",
            "Host name",
            Some(draft.host_name.clone()).filter(|name| !name.is_empty()),
        ),
        Step::DomainName => (
            "",
            "Domain name (or none)",
            Some(draft.domain_name.clone())
                .filter(|name| !name.is_empty())
                .or(Some("none".into())),
        ),
        Step::Ntp => (
            "Peers of a cluster need synchronized clocks.",
            "NTP servers, up to five (or none)",
            list(&draft.ntp),
        ),
        Step::TimeZone => (
            "",
            "Time zone, as Europe/Oslo",
            text(&draft.time_zone).or(Some("UTC".into())),
        ),
        Step::Admin => (&*passwords, "Password of admin (web)", None),
        Step::Root => (&*passwords, "Password of root (console)", None),
        Step::AdminAgain | Step::RootAgain => ("", "The same password again", None),
        Step::Ssh => ("", "SSH on (yes or no)", yes_no(draft.ssh)),
        Step::Cluster => (
            "A cluster can also be set up later, on the page System > Clustering.\n\
             A system that joins takes over the cluster's data and its web administrators;\n\
             its own data is saved as a backup first.",
            "Set up a cluster now (yes or no)",
            yes_no(draft.cluster),
        ),
        Step::Peers => (
            "Peer 1 to 3 IP address, in the order of the other systems' fields. The initial\n\
             peer of a new cluster enters only its own address.",
            "Peer addresses",
            list(&draft.peers).filter(|_| !draft.peers.is_empty()),
        ),
        Step::Key => (
            "The key is the same on all peers: at least 16 characters, beyond guessing.",
            "Cluster pre-shared key",
            None,
        ),
        Step::Summary => {
            return Question {
                help: summary(draft),
                prompt: "\"apply\", \"over\" to start over, or \"<\" to go back".into(),
                default: None,
                secret: false,
            };
        }
    };
    Question {
        help: help.into(),
        prompt: prompt.into(),
        default,
        secret: step.is_secret(),
    }
}

/// What a cluster needs and these answers do not give; each fits a line of the console.
fn preflight(draft: &Draft) -> Vec<&'static str> {
    if !draft.cluster {
        return Vec::new();
    }
    let fixed = !draft.dhcp4 && !draft.dhcp6;
    let own = |peer: &std::net::IpAddr| match peer {
        std::net::IpAddr::V4(peer) => draft.address4 == Some(*peer),
        std::net::IpAddr::V6(peer) => draft.address6 == Some(*peer),
    };
    let found = [
        (
            draft.ntp.is_empty(),
            "No NTP server: a peer whose clock is not synchronized is mistrusted.",
        ),
        (
            draft.dns.is_empty() && fixed,
            "No DNS server: no server is found by its name.",
        ),
        (
            draft.domain_name.is_empty(),
            "No domain name: peers are told apart by the host name alone.",
        ),
        (
            !fixed,
            "An address by DHCP: peers are listed by address, so it must never change.",
        ),
        (
            fixed && !draft.peers.iter().any(own),
            "This system's own address is not among the peers: it stays alone.",
        ),
        (
            draft.peers.len() > 1,
            "Joining replaces web administrators and all replicated settings.",
        ),
    ];
    found
        .into_iter()
        .filter_map(|(is, words)| is.then_some(words))
        .collect()
}

/// Everything answered, without secrets.
fn summary(draft: &Draft) -> String {
    let mut lines = String::from("Summary\n");
    let mut line = |name: &str, value: String| {
        let _ = writeln!(lines, "  {name:<14}{value}");
    };
    let router = |gateway: Option<String>| gateway.unwrap_or_else(|| "no gateway".into());
    if let Some(value) = draft.protocol {
        line("Protocol", protocol(value).into());
        if value.has_v4() {
            line(
                "IPv4",
                match (draft.dhcp4, draft.address4, draft.prefix4) {
                    (false, Some(address), Some(prefix)) => {
                        format!("{address}/{prefix}, {}", router(text(&draft.gateway4)))
                    }
                    _ => "dhcp".into(),
                },
            );
        }
        if value.has_v6() {
            line(
                "IPv6",
                match (draft.dhcp6, draft.address6, draft.prefix6) {
                    (false, Some(address), Some(prefix)) => {
                        format!("{address}/{prefix}, {}", router(text(&draft.gateway6)))
                    }
                    _ => "dhcp".into(),
                },
            );
        }
    }
    line("DNS servers", list(&draft.dns).unwrap_or_default());
    line("Host name", draft.host_name.clone());
    line("Domain name", draft.domain_name.clone());
    line("NTP servers", list(&draft.ntp).unwrap_or_default());
    line("Time zone", draft.time_zone.clone().unwrap_or_default());
    line("SSH", if draft.ssh { "on" } else { "off" }.into());
    if !draft.again {
        line("Passwords", "admin and root as typed".into());
        let peers = || format!("peers {}", list(&draft.peers).unwrap_or_default());
        let cluster = draft.cluster.then(peers);
        line("Cluster", cluster.unwrap_or_else(|| "not now".into()));
    }
    for missing in preflight(draft) {
        let _ = writeln!(lines, "  ! {missing}");
    }
    lines.truncate(lines.trim_end().len());
    lines
}
