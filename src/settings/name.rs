//! Names that end up in files of the operating system: hosts, domains, interfaces, time zones.
//!
//! Host and domain names follow RFC 1123 section 2.1. Each check returns what was expected.

use std::net::IpAddr;

/// The longest full host name (RFC 1035 section 2.3.4, without the root's octets).
const FULL_NAME_MAX: usize = 253;

fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A host name: one label.
pub fn host(text: &str) -> Result<(), String> {
    if !is_label(text) || text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(
            "a host name of 1 to 63 letters, digits and hyphens, not all digits, \
                    with a hyphen neither first nor last"
                .into(),
        );
    }
    if text.eq_ignore_ascii_case("localhost") {
        return Err("a host name other than localhost".into());
    }
    Ok(())
}

/// A domain name: labels joined by dots; empty means none.
pub fn domain(text: &str) -> Result<(), String> {
    if text.is_empty() || (text.len() <= FULL_NAME_MAX && text.split('.').all(is_label)) {
        return Ok(());
    }
    Err("a domain name as example.org: labels of letters, digits and hyphens, or nothing".into())
}

/// Host and domain name together.
pub fn full(host: &str, domain: &str) -> Result<(), String> {
    if host.len() + 1 + domain.len() > FULL_NAME_MAX {
        return Err(format!(
            "host and domain name of at most {FULL_NAME_MAX} characters together"
        ));
    }
    Ok(())
}

/// A server by name or by address.
pub fn server(text: &str) -> Result<(), String> {
    let address: Option<IpAddr> = text.parse().ok();
    let fine = match address {
        Some(address) => is_server_address(address),
        // All digits and dots would be a mistyped address, not a name.
        None => {
            !text.is_empty()
                && domain(text).is_ok()
                && !text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        }
    };
    if fine {
        return Ok(());
    }
    Err("a server by name (as ntp.example.org) or by address (as 192.0.2.10)".into())
}

/// Whether an address can be a server's at all.
pub fn is_server_address(address: IpAddr) -> bool {
    let broadcast = address == IpAddr::from([255, 255, 255, 255]);
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast)
}

/// The shape of a time zone's name; whether it exists, only the zone database knows.
pub fn time_zone(text: &str) -> Result<(), String> {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+'))
    };
    if text.len() <= 64 && text.split('/').all(part) && text.split('/').count() <= 3 {
        return Ok(());
    }
    Err("a time zone as Europe/Oslo or UTC".into())
}

/// The name of a network interface (at most 15 octets, as the kernel has it).
pub fn interface(text: &str) -> Result<(), String> {
    let fine = (1..=15).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if fine && text != "lo" {
        return Ok(());
    }
    Err("a network interface as eth0 or enp1s0".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_fine() {
        for text in ["a", "tutti-1", "A1", "1a", &"x".repeat(63)] {
            assert_eq!(host(text), Ok(()), "{text}");
        }
        for text in ["", "lab.test", "a.b.c", "1.a"] {
            assert_eq!(domain(text), Ok(()), "{text}");
        }
        for text in ["ntp.example.org", "10.0.0.1", "2001:db8::1", "pool"] {
            assert_eq!(server(text), Ok(()), "{text}");
        }
        for text in [
            "UTC",
            "Europe/Oslo",
            "America/Argentina/Ushuaia",
            "Etc/GMT+1",
        ] {
            assert_eq!(time_zone(text), Ok(()), "{text}");
        }
        assert_eq!(interface("enp1s0"), Ok(()));
    }

    #[test]
    fn names_that_are_refused() {
        for text in [
            "",
            "-a",
            "a-",
            "a b",
            "a.b",
            "a\n",
            "ä",
            "$(x)",
            "localhost",
            "12",
            &"x".repeat(64),
        ] {
            assert!(host(text).is_err(), "{text:?}");
        }
        for text in [
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "a\nb",
            "a;b",
            &"x.".repeat(200),
        ] {
            assert!(domain(text).is_err(), "{text:?}");
        }
        for text in [
            "",
            "1.2.3",
            "300.1.1.1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "127.0.0.1",
            "a b",
            "a\niburst",
        ] {
            assert!(server(text).is_err(), "{text:?}");
        }
        for text in [
            "",
            "/etc/passwd",
            "../../etc/shadow",
            "Europe/",
            "Europe//Oslo",
            "a/b/c/d",
            "a\nb",
            ".",
        ] {
            assert!(time_zone(text).is_err(), "{text:?}");
        }
        for text in ["", "lo", "eth0\n[Network]", "a b", "0eth", &"x".repeat(16)] {
            assert!(interface(text).is_err(), "{text:?}");
        }
    }
}
