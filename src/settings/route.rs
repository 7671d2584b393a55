//! Static routes: networks that lie behind a router other than the gateway.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// At most so many static routes.
pub const ROUTES_MAX: usize = 16;

/// One static route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The network, as `10.8.0.0/16`.
    #[schema(value_type = String)]
    pub to: Network,
    /// The router that leads there.
    #[schema(value_type = String)]
    pub via: IpAddr,
}

/// An address with the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its first address.
    pub address: IpAddr,
    /// Length of the prefix in bits.
    pub length: u8,
}

impl Network {
    /// The bits beyond the prefix, as a number.
    fn host_bits(&self) -> u128 {
        match self.address {
            IpAddr::V4(v4) => {
                let all = u32::MAX.checked_shr(self.length.into()).unwrap_or(0);
                u128::from(u32::from(v4) & all)
            }
            IpAddr::V6(v6) => {
                let all = u128::MAX.checked_shr(self.length.into()).unwrap_or(0);
                u128::from(v6) & all
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || "a network, as 10.8.0.0/16".to_owned();
        let (address, length) = text.trim().split_once('/').ok_or_else(wanted)?;
        let address: IpAddr = address.parse().map_err(|_| wanted())?;
        let length = length.parse().map_err(|_| wanted())?;
        let network = Self { address, length };
        let most = if address.is_ipv4() { 32 } else { 128 };
        if length > most {
            return Err(wanted());
        }
        if network.host_bits() != 0 {
            return Err("a network: the bits beyond its prefix are zero, as in 10.8.0.0/16".into());
        }
        Ok(network)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|expected| D::Error::custom(format!("expected {expected}")))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} via {}", self.to, self.via)
    }
}

impl FromStr for Route {
    type Err = String;

    /// Reads `NETWORK via ROUTER`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || "a route, as 10.8.0.0/16 via 192.0.2.2".to_owned();
        let (to, via) = text.split_once(" via ").ok_or_else(wanted)?;
        Ok(Self {
            to: to.parse()?,
            via: via.trim().parse().map_err(|_| wanted())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_reads_back_as_it_was_written() {
        for text in [
            "10.8.0.0/16 via 192.0.2.2",
            "fd00:8::/32 via fe80::1",
            "192.0.2.7/32 via 10.0.0.1",
        ] {
            assert_eq!(text.parse::<Route>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_route_says_what_was_expected() {
        for (text, part) in [
            ("10.8.0.0/16", "via"),
            ("10.8.0.1/16 via 192.0.2.2", "beyond its prefix"),
            ("10.8.0.0/33 via 192.0.2.2", "a network"),
            ("fd00::/129 via fe80::1", "a network"),
            ("10.8.0.0/16 via router", "192.0.2.2"),
            ("::/x via fe80::1", "a network"),
        ] {
            let refused = text.parse::<Route>().expect_err(text);
            assert!(refused.contains(part), "{text}: {refused}");
        }
    }
}
