//! This system's own addresses, as the kernel lists them in /proc/net.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
