//! This system's own addresses, as the kernel lists them in /proc/net, and how they change: a DHCP
//! lease that comes late or becomes another, a cable that is pulled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::node::Node;
use crate::store::events::{Event, Kind, Level};

/// How often the addresses are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// Follows the addresses for ever.
pub async fn follow(node: Arc<Node>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let found = match own() {
            Ok(found) => found,
            Err(error) => {
                tracing::error!("this system's addresses cannot be read: {error}");
                continue;
            }
        };
        let peers = node.cluster.borrow().fields.peers;
        let now = kept(&node.own(), found, &peers);
        let keeper = node.clone();
        let noted = tokio::task::spawn_blocking(move || moved(&keeper, now)).await;
        if let Err(error) = noted {
            tracing::error!(%error, "following this system's addresses failed");
        }
    }
}

/// A member whose cable is out is still that peer: its listed address stays until another of them
/// is its own.
fn kept(before: &[IpAddr], found: Vec<IpAddr>, peers: &[Option<IpAddr>; 3]) -> Vec<IpAddr> {
    let listed = |address: &&IpAddr| peers.contains(&Some(**address));
    if found.iter().any(|address| listed(&address)) {
        return found;
    }
    let stays = before.iter().find(listed).copied();
    stays.into_iter().chain(found).collect()
}

fn moved(node: &Node, now: Vec<IpAddr>) {
    let set = |held: &mut Vec<IpAddr>| {
        let differs = held.len() != now.len() || !now.iter().all(|one| held.contains(one));
        if differs {
            *held = now.clone();
        }
        differs
    };
    if !node.addresses.send_if_modified(set) {
        return;
    }
    let all: Vec<String> = now.iter().map(IpAddr::to_string).collect();
    let text = match all.is_empty() {
        true => "This system has no address any more".to_owned(),
        false => format!("This system's addresses are now {}", all.join(", ")),
    };
    node.note(&Event::new(Kind::System, Level::Information, text));
    node.touch();
    if let Err(error) = super::first_cluster(node) {
        tracing::error!("the cluster fields of the first boot: {error}");
    }
}

/// All addresses that peers could use: no loopback, no link-local.
pub fn own() -> std::io::Result<Vec<IpAddr>> {
    let mut out = ipv4(&std::fs::read_to_string("/proc/self/net/fib_trie")?);
    // Absent where IPv6 is switched off.
    if let Ok(text) = std::fs::read_to_string("/proc/self/net/if_inet6") {
        out.extend(ipv6(&text));
    }
    Ok(out)
}

/// Leaves of the routing trie that are `/32 host LOCAL`.
fn ipv4(text: &str) -> Vec<IpAddr> {
    let mut out: Vec<IpAddr> = Vec::new();
    let mut leaf = None;
    for line in text.lines() {
        if let Some(address) = line.trim().strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line.trim() == "/32 host LOCAL"
            && let Some(address) = leaf
            && !address.is_loopback()
            && !out.contains(&address.into())
        {
            out.push(address.into());
        }
    }
    out
}

/// Address in 32 hexadecimal digits, index, prefix, scope (00 is global), flags, interface.
fn ipv6(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = u128::from_str_radix(words.next()?, 16).ok()?;
            (words.nth(2)? == "00").then(|| Ipv6Addr::from(address).into())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<IpAddr> {
        text.split_whitespace()
            .map(|a| a.parse().unwrap())
            .collect()
    }

    #[test]
    fn a_member_without_its_cable_is_still_that_peer() {
        let one: [IpAddr; 1] = ["192.0.2.11".parse().unwrap()];
        let peers = [Some(one[0]), Some("192.0.2.12".parse().unwrap()), None];
        assert_eq!(kept(&one, Vec::new(), &peers), one);
        let other = all("198.51.100.7");
        assert_eq!(
            kept(&one, other.clone(), &peers),
            all("192.0.2.11 198.51.100.7")
        );
        // Another of the listed addresses, and what no list names, take the place of the old one.
        assert_eq!(kept(&one, all("192.0.2.12"), &peers), all("192.0.2.12"));
        assert_eq!(kept(&one, other.clone(), &[None; 3]), other);
    }

    #[test]
    fn only_addresses_of_this_system_that_others_can_reach() {
        let trie = [
            "Local:",
            "  +-- 0.0.0.0/0 3 0 5",
            "     |-- 192.0.2.0",
            "        /24 link UNICAST",
            "     |-- 192.0.2.11",
            "        /32 host LOCAL",
            "     |-- 127.0.0.1",
            "        /32 host LOCAL",
            "     |-- 192.0.2.255",
            "        /32 link BROADCAST",
        ];
        let trie = &trie.join("\n");
        assert_eq!(ipv4(trie), vec!["192.0.2.11".parse::<IpAddr>().unwrap()]);
        let inet6 = "00000000000000000000000000000001 01 80 10 80 lo\n\
                     20010db8000000000000000000000011 02 40 00 80 eth0\n\
                     fe800000000000000000000000000001 02 40 20 80 eth0\n";
        assert_eq!(ipv6(inet6), vec!["2001:db8::11".parse::<IpAddr>().unwrap()]);
    }
}
