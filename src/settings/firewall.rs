//! The nftables ruleset: default deny, and the outer of the two layers that fail closed.
//!
//! For every peer it drops all input that did not come by IPsec with that peer's own request id,
//! and all output without an IPsec route, except ISAKMP, AH (RFC 4302) and ICMP/ICMPv6; and output
//! of the replication port without one, whoever it is for. The text replaces the whole table
//! `inet tutti` in one transaction of `nft -f`.

use std::fmt::Write;
use std::net::IpAddr;

use crate::tunnel::message::{Peer, PeerList};

/// The replication port, let in from peers only.
pub const REPLICATION_PORT: u16 = 4372;

/// What the ruleset depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// Let SSH in.
    pub ssh: bool,
    /// Let DHCP answers in.
    pub dhcp: bool,
    /// The peers; `None`: standalone.
    pub peers: Option<&'a PeerList>,
}

impl Rules<'_> {
    /// The text for `nft -f`.
    pub fn to_nft(&self) -> String {
        let peers = self.peers.map_or(&[][..], |list| &list.peers);
        let mut text = String::from(
            "# Rendered from the settings; changes here are lost.\n\
             table inet tutti\n\
             delete table inet tutti\n\
             table inet tutti {\n",
        );
        text += "    chain input {\n";
        text += "        type filter hook input priority filter; policy drop;\n";
        text += "        iifname \"lo\" accept\n";
        for peer in peers {
            input(&mut text, peer);
        }
        text += "        ct state established,related accept\n\
                 \x20       meta l4proto { icmp, ipv6-icmp } accept\n\
                 \x20       ip protocol ah accept\n\
                 \x20       ip6 nexthdr ah accept\n\
                 \x20       udp dport 500 accept\n\
                 \x20       tcp dport { 80, 443 } accept\n";
        if self.ssh {
            text += "        tcp dport 22 accept\n";
        }
        if self.dhcp {
            text += "        udp sport 67 udp dport 68 accept\n";
            text += "        ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept\n";
        }
        text += "    }\n\n    chain forward {\n";
        text += "        type filter hook forward priority filter; policy drop;\n";
        text += "    }\n\n    chain output {\n";
        text += "        type filter hook output priority filter; policy accept;\n";
        text += "        oifname \"lo\" accept\n";
        for peer in peers {
            output(&mut text, peer);
        }
        // Also to a former peer: its policies go with it, not what TCP would still send it again.
        for port in ["sport", "dport"] {
            let _ = writeln!(
                text,
                "        tcp {port} {REPLICATION_PORT} rt ipsec missing drop"
            );
        }
        text += "    }\n}\n";
        text
    }
}

/// The words that select a peer's family, its ICMP and its AH.
///
/// IPv6 needs the fixed header's next-header field: `meta l4proto` steps over AH to what it
/// protects, and would let nothing be recognised as AH.
fn words(peer: &Peer) -> (&'static str, &'static str, &'static str) {
    match peer.address {
        IpAddr::V4(_) => ("ip", "meta l4proto icmp", "ip protocol ah"),
        IpAddr::V6(_) => ("ip6", "meta l4proto ipv6-icmp", "ip6 nexthdr ah"),
    }
}

fn input(text: &mut String, peer: &Peer) {
    let (family, icmp, ah) = words(peer);
    let Peer { address, reqid } = peer;
    for rule in [
        format!("{ah} accept"),
        format!("{icmp} accept"),
        "udp dport 500 accept".into(),
        "meta ipsec missing drop".into(),
        format!("ipsec in reqid != {reqid} drop"),
        format!("tcp dport {REPLICATION_PORT} ipsec in reqid {reqid} accept"),
    ] {
        let _ = writeln!(text, "        {family} saddr {address} {rule}");
    }
}

fn output(text: &mut String, peer: &Peer) {
    let (family, icmp, ah) = words(peer);
    let address = peer.address;
    for rule in [
        &format!("{ah} accept"),
        &format!("{icmp} accept"),
        "udp dport 500 accept",
        // An answer to a peer whose ISAKMP does not come from port 500; only root binds 500.
        "udp sport 500 accept",
        "rt ipsec missing drop",
    ] {
        let _ = writeln!(text, "        {family} daddr {address} {rule}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standalone_system_lets_in_what_is_documented_and_nothing_else() {
        let text = Rules::default().to_nft();
        assert!(text.contains("policy drop;"));
        assert!(text.contains("tcp dport { 80, 443 } accept"));
        assert!(!text.contains("tcp dport 4372 ipsec in"));
        assert!(!text.contains("dport 22 ") && !text.contains("546"));
        let open = Rules {
            ssh: true,
            dhcp: true,
            peers: None,
        }
        .to_nft();
        assert!(open.contains("tcp dport 22 accept") && open.contains("udp dport 68"));
    }

    #[test]
    fn peers_are_checked_before_established_connections() {
        let list = PeerList {
            local: "10.9.0.1".parse().expect("an address"),
            peers: vec![
                Peer {
                    address: "10.9.0.2".parse().expect("an address"),
                    reqid: 7402,
                },
                Peer {
                    address: "fd00::3".parse().expect("an address"),
                    reqid: 7403,
                },
            ],
        };
        let text = Rules {
            peers: Some(&list),
            ..Rules::default()
        }
        .to_nft();
        let at = |needle: &str| {
            text.find(needle)
                .unwrap_or_else(|| panic!("{needle}\n{text}"))
        };
        assert!(at("ip saddr 10.9.0.2 meta ipsec missing drop") < at("ct state established"));
        assert!(at("ip6 saddr fd00::3 ipsec in reqid != 7403 drop") < at("ct state established"));
        at("ip saddr 10.9.0.2 tcp dport 4372 ipsec in reqid 7402 accept");
        at("ip6 saddr fd00::3 ip6 nexthdr ah accept");
        assert!(
            at("ip daddr 10.9.0.2 ip protocol ah accept")
                < at("ip daddr 10.9.0.2 rt ipsec missing drop")
        );
        assert_eq!(text.matches("dport 4372 ipsec in").count(), 2);
    }

    #[test]
    fn replication_never_leaves_outside_ipsec_whoever_it_is_for() {
        let text = Rules::default().to_nft();
        let (_, output) = text.split_once("chain output").expect("the chain");
        for port in ["sport", "dport"] {
            let rule = format!("tcp {port} 4372 rt ipsec missing drop");
            assert!(output.contains(&rule), "{rule}\n{text}");
        }
    }
}
