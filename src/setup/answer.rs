//! Answers: parsed, checked by the settings' own rules, put into the draft.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::question::Step;
use super::{Draft, Password, Protocol, password};
use crate::settings::cluster::ClusterFields;
use crate::settings::{name, validate};

/// Takes one answer; the error is what was expected.
pub(super) fn take(
    step: Step,
    text: &str,
    draft: &mut Draft,
    zones: &[String],
) -> Result<(), String> {
    let default = super::question::ask(step, draft).default;
    let text = match default.as_deref() {
        Some(default) if text.is_empty() => default.to_owned(),
        _ => text.to_owned(),
    };
    match step {
        Step::Protocol => draft.protocol = Some(protocol(&text)?),
        Step::Dns | Step::HostName | Step::DomainName | Step::Ntp | Step::TimeZone => {
            names(step, &text, draft, zones)?;
        }
        Step::Admin => draft.admin = Some(new_password(&text, "admin")?),
        Step::Root => draft.root = Some(new_password(&text, "root")?),
        Step::AdminAgain => again(&text, &mut draft.admin)?,
        Step::RootAgain => again(&text, &mut draft.root)?,
        Step::Ssh => draft.ssh = yes_no(&text)?,
        Step::Cluster => draft.cluster = yes_no(&text)?,
        Step::Peers => {
            let fields = ClusterFields {
                peers: addresses(&text)?,
                ..ClusterFields::default()
            };
            fields.check_peers(draft.system().as_ref())?;
            draft.peers = fields.peers;
        }
        Step::Key => {
            let fields = ClusterFields {
                key: Password(text),
                peers: draft.peers.clone(),
                ..ClusterFields::default()
            };
            fields.check_key()?;
            draft.key = Some(fields.key);
        }
        Step::Summary => {}
        _ => address(step, &text, draft)?,
    }
    Ok(())
}

fn protocol(text: &str) -> Result<Protocol, String> {
    match text.to_ascii_lowercase().as_str() {
        "ipv4" | "4" => Ok(Protocol::Ipv4),
        "ipv6" | "6" => Ok(Protocol::Ipv6),
        "both" => Ok(Protocol::Both),
        _ => Err("ipv4, ipv6 or both".into()),
    }
}

fn address(step: Step, text: &str, draft: &mut Draft) -> Result<(), String> {
    match step {
        Step::Method4 => draft.dhcp4 = dhcp(text)?,
        Step::Method6 => draft.dhcp6 = dhcp(text)?,
        Step::Address4 => {
            let address = parse4(text)?;
            validate::address4(address)?;
            draft.address4 = Some(address);
        }
        Step::Prefix4 => {
            let prefix = mask_or_prefix(text)?;
            validate::prefix4(prefix, draft.address4.unwrap_or(Ipv4Addr::UNSPECIFIED))?;
            draft.prefix4 = Some(prefix);
        }
        Step::Gateway4 => {
            draft.gateway4 = match none(text) {
                true => None,
                false => {
                    let gateway = parse4(text)?;
                    let own = draft.address4.unwrap_or(Ipv4Addr::UNSPECIFIED);
                    validate::gateway4(gateway, own, draft.prefix4.unwrap_or(0))?;
                    Some(gateway)
                }
            };
        }
        Step::Address6 => {
            let address = parse6(text)?;
            validate::address6(address)?;
            draft.address6 = Some(address);
        }
        Step::Prefix6 => {
            let digits = text.strip_prefix('/').unwrap_or(text);
            let prefix = number(digits).ok_or("a prefix length from 1 to 128, as 64")?;
            validate::prefix6(prefix)?;
            draft.prefix6 = Some(prefix);
        }
        Step::Gateway6 => {
            draft.gateway6 = match none(text) {
                true => None,
                false => {
                    let gateway = parse6(text)?;
                    let own = draft.address6.unwrap_or(Ipv6Addr::UNSPECIFIED);
                    validate::gateway6(gateway, own, draft.prefix6.unwrap_or(0))?;
                    Some(gateway)
                }
            };
        }
        _ => {}
    }
    Ok(())
}

fn names(step: Step, text: &str, draft: &mut Draft, zones: &[String]) -> Result<(), String> {
    match step {
        Step::Dns => {
            let servers = addresses(text)?;
            validate::dns(&servers)?;
            draft.dns = servers;
        }
        Step::HostName => {
            name::host(text)?;
            draft.host_name = text.to_ascii_lowercase();
        }
        Step::DomainName => {
            let domain = if none(text) { "" } else { text };
            name::domain(domain)?;
            name::full(&draft.host_name, domain)?;
            draft.domain_name = domain.to_ascii_lowercase();
        }
        Step::Ntp => {
            let servers: Vec<String> = words(text).map(str::to_owned).collect();
            validate::ntp(&servers)?;
            draft.ntp = servers;
        }
        _ => {
            name::time_zone(text)?;
            let known = zones.iter().find(|z| z.eq_ignore_ascii_case(text));
            if !zones.is_empty() && known.is_none() {
                return Err("a time zone of the zone database, as Europe/Oslo or UTC".into());
            }
            draft.time_zone = Some(known.map_or(text, String::as_str).to_owned());
        }
    }
    Ok(())
}

fn new_password(text: &str, account: &str) -> Result<Password, String> {
    password::check(text, account)?;
    Ok(Password(text.to_owned()))
}

fn again(text: &str, first: &mut Option<Password>) -> Result<(), String> {
    if first.as_ref().is_some_and(|first| first.0 == text) {
        return Ok(());
    }
    *first = None;
    Err("the same password twice; these differ, so type both again".into())
}

fn none(text: &str) -> bool {
    text.eq_ignore_ascii_case("none") || text == "-"
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let text = if none(text) { "" } else { text };
    text.split([' ', ',', '\t']).filter(|word| !word.is_empty())
}

fn addresses(text: &str) -> Result<Vec<IpAddr>, String> {
    let parsed: Result<Vec<IpAddr>, _> = words(text).map(str::parse).collect();
    parsed.map_err(|_| "addresses with blanks between them, as 192.0.2.53 192.0.2.54".into())
}

fn parse4(text: &str) -> Result<Ipv4Addr, String> {
    text.parse()
        .map_err(|_| "an IPv4 address, as 192.0.2.11".into())
}

fn parse6(text: &str) -> Result<Ipv6Addr, String> {
    text.parse()
        .map_err(|_| "an IPv6 address, as 2001:db8::11".into())
}

fn number(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// `24`, `/24` or `255.255.255.0`.
fn mask_or_prefix(text: &str) -> Result<u8, String> {
    let expected = "a mask as 255.255.255.0, or a prefix length from 1 to 32 as 24";
    if let Some(prefix) = number(text.strip_prefix('/').unwrap_or(text)) {
        return Ok(prefix);
    }
    let mask: Ipv4Addr = text.parse().map_err(|_| expected)?;
    let bits = u32::from(mask);
    if bits.leading_ones() + bits.trailing_zeros() != 32 {
        return Err(expected.into());
    }
    u8::try_from(bits.leading_ones()).map_err(|_| expected.into())
}

fn dhcp(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "dhcp" | "d" => Ok(true),
        "static" | "s" => Ok(false),
        _ => Err("static or dhcp".into()),
    }
}

fn yes_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "on" => Ok(true),
        "no" | "n" | "off" => Ok(false),
        _ => Err("yes or no".into()),
    }
}
