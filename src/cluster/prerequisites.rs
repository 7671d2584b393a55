//! What clustering needs, judged one by one from what this system knows, before it is clustered
//! and while it is. Each says whether it was seen on this system, on the way to the peer before
//! there is a tunnel (a hint: anybody could have answered), or through the tunnel (authenticated).

use std::net::IpAddr;

use serde::Serialize;

use super::LinkState;
use crate::tunnel::message::TunnelState;
use crate::wire::replication::{MAX_CHECK_DETAIL, MAX_CHECK_NAME, MAX_CHECKS, Told};

/// The highest round-trip that clustering is meant for, in microseconds.
const ROUND_TRIP_MAX_US: u64 = 30_000;
/// The bound on clock offsets, in milliseconds.
const CLOCK_BOUND_MS: i64 = 500;
/// The path MTU of plain Ethernet, and the least that IPv6 has, in octets.
const MTU: (u32, u32) = (1500, 1280);

/// How one stands, in the order of its numbers in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As needed.
    Met,
    /// It works, and should be better.
    Warning,
    /// It stands against clustering.
    Unmet,
    /// Not known yet.
    Unknown,
}

/// Where it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub enum Seen {
    /// On this system.
    #[serde(rename = "this system")]
    Here,
    /// On the way to the peer, outside any tunnel.
    #[serde(rename = "before the tunnel")]
    Before,
    /// Authenticated.
    #[serde(rename = "through the tunnel")]
    Through,
}

/// One prerequisite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Prerequisite)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// The peer field it is about; none for this system.
    pub peer: Option<u8>,
    /// The peer that says so; none where this system saw it itself.
    pub by: Option<u8>,
    /// How it stands.
    pub grade: Grade,
    /// The figure, or what is missing.
    pub detail: String,
    /// Where it was seen.
    pub seen: Seen,
}

/// What this system knows of itself.
#[derive(Clone, Debug, Default)]
pub struct Own<'a> {
    /// Whether its clock is synchronized; none while that is not known.
    pub synchronized: Option<bool>,
    /// How many DNS servers it asks; none where that cannot be read.
    pub dns_servers: Option<usize>,
    /// Its host name.
    pub host_name: String,
    /// Its domain name; none where that cannot be read.
    pub domain_name: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Who signed this release, or why it does not count; none for what is no image.
    pub release: Option<Result<String, String>>,
    /// The peer fields.
    pub peers: [Option<IpAddr>; 3],
    /// Its software version.
    pub version: &'a str,
}

/// What this system knows of one peer.
pub struct Peer<'a> {
    /// 1 to 3.
    pub field: u8,
    /// What `ike` says.
    pub tunnel: &'a TunnelState,
    /// What the link says.
    pub link: &'a LinkState,
    /// What echoes say.
    pub path: Path,
}

/// What is known of the way to a peer, outside any tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// How large a packet may be.
    pub mtu: PathMtu,
    /// The round-trip of an echo in microseconds, if one came back.
    pub round_trip_us: Option<u64>,
}

/// What is known of the path MTU to a peer, in octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathMtu {
    /// There is no route.
    #[default]
    NoRoute,
    /// The route's; no echo comes back that could show more.
    Route(u32),
    /// An echo of this size came back whole, and no larger one.
    Probed(u32),
}

/// Looks for the largest packet that comes back from a peer, where one of `route` octets may leave
/// this system; `echoes` sends one of that size and says whether it came back.
pub fn probe(route: u32, least: u32, mut echoes: impl FnMut(u32) -> bool) -> PathMtu {
    if echoes(route) {
        return PathMtu::Probed(route);
    }
    if route <= least || !echoes(least) {
        return PathMtu::Route(route);
    }
    // One of `fits` came back, one of `lost` did not.
    let (mut fits, mut lost) = (least, route);
    while lost - fits > 1 {
        let size = fits.midpoint(lost);
        if echoes(size) {
            fits = size;
        } else {
            lost = size;
        }
    }
    PathMtu::Probed(fits)
}

/// All prerequisites, this system's first.
pub fn prerequisites(own: &Own<'_>, peers: &[Peer<'_>]) -> Vec<Check> {
    let mut all = of_this_system(own);
    for peer in peers {
        of_peer(own, peer, &mut all);
    }
    all
}

fn of_this_system(own: &Own<'_>) -> Vec<Check> {
    let check = |name: &str, (grade, detail): (Grade, String)| Check {
        name: name.into(),
        peer: None,
        by: None,
        grade,
        detail,
        seen: Seen::Here,
    };
    let clock = match own.synchronized {
        Some(true) => (Grade::Met, "Synchronized".into()),
        Some(false) => (Grade::Unmet, "not synchronized: System > Time".into()),
        None => (Grade::Unknown, "not known yet".into()),
    };
    let dns = match own.dns_servers {
        Some(0) => (Grade::Unmet, "none: System > DNS".into()),
        Some(1) => (Grade::Met, "one".into()),
        Some(count) => (Grade::Met, format!("{count}")),
        None => (Grade::Unknown, "the settings cannot be read".into()),
    };
    let name = match (own.host_name.as_str(), own.domain_name.as_deref()) {
        ("", _) => (Grade::Unmet, "no host name: System > DNS".into()),
        (host, Some("")) => (Grade::Warning, format!("{host}, without a domain name")),
        (host, Some(domain)) => (Grade::Met, format!("{host}.{domain}")),
        (host, None) => (Grade::Unknown, format!("{host}; the domain cannot be read")),
    };
    let filled: Vec<IpAddr> = own.peers.iter().flatten().copied().collect();
    let listed = filled.iter().any(|peer| own.addresses.contains(peer));
    let addresses = match (filled.is_empty(), listed) {
        (true, _) => (Grade::Met, "no peers are entered".into()),
        (false, true) => (Grade::Met, format!("{} of 3, all different", filled.len())),
        (false, false) => (Grade::Unmet, "none of them is this system's".into()),
    };
    let release = match &own.release {
        None => (Grade::Unknown, "not started from an image".into()),
        Some(Ok(by)) => (Grade::Met, format!("valid, signed by {by}")),
        Some(Err(why)) => (Grade::Unmet, why.clone()),
    };
    vec![
        check("NTP synchronized", clock),
        check("DNS server present", dns),
        check("Host and domain name set", name),
        check("Unique addresses", addresses),
        check("Release key valid", release),
    ]
}

fn of_peer(own: &Own<'_>, peer: &Peer<'_>, all: &mut Vec<Check>) {
    let mut say = |name: &str, seen, (grade, detail): (Grade, String)| {
        all.push(Check {
            name: name.into(),
            peer: Some(peer.field),
            by: None,
            grade,
            detail,
            seen,
        });
    };
    let unknown = |words: &str| (Grade::Unknown, words.to_owned());
    let (link, up) = (peer.link, matches!(peer.tunnel, TunnelState::Up { .. }));
    let udp = match peer.tunnel {
        TunnelState::NoAnswer => (Grade::Unmet, "no answer".into()),
        TunnelState::Connecting => unknown("waiting for an answer"),
        _ => (Grade::Met, "it answers".into()),
    };
    let seen = if up { Seen::Through } else { Seen::Before };
    say("UDP 500 reachable", seen, udp);
    let mtu = match peer.path.mtu {
        PathMtu::NoRoute => unknown("no route to it"),
        PathMtu::Route(mtu) => (
            Grade::Unknown,
            format!("{mtu} octets by the route; no echo (ICMP) comes back"),
        ),
        PathMtu::Probed(mtu) if mtu >= MTU.0 => (Grade::Met, format!("{mtu} octets")),
        PathMtu::Probed(mtu) if mtu >= MTU.1 => {
            (Grade::Met, format!("{mtu} octets: less than Ethernet's"))
        }
        PathMtu::Probed(mtu) => (Grade::Warning, format!("{mtu} octets: below {}", MTU.1)),
    };
    say("Path MTU", Seen::Before, mtu);
    let stands = up && link.stands();
    let ah = match (link.blocked, stands) {
        (true, _) => (
            Grade::Unmet,
            "nothing arrives although the tunnel is up".into(),
        ),
        (false, true) => (Grade::Met, "it arrives".into()),
        (false, false) => unknown("needs a tunnel"),
    };
    say("Protocol 51 reachable", Seen::Through, ah);
    let later = || unknown("needs a link");
    // A link with another version ends as soon as both have greeted.
    let version = match link.version.as_deref().filter(|_| up) {
        None => later(),
        Some(theirs) if theirs == own.version => (Grade::Met, theirs.to_owned()),
        Some(theirs) => (Grade::Unmet, format!("{theirs}, here {}", own.version)),
    };
    say("Same version", Seen::Through, version);
    let echo = peer.path.round_trip_us.map(|us| (us, Seen::Before));
    let linked = link.round_trip_us.filter(|_| stands);
    let linked = linked.map(|us| (us, Seen::Through));
    let (seen, trip) = match linked.or(echo) {
        None => (Seen::Before, unknown("no echo (ICMP) comes back")),
        Some((us, seen)) => {
            let words = format!("{:.1} ms", us as f64 / 1000.0);
            let judged = match us <= ROUND_TRIP_MAX_US {
                true => (Grade::Met, words),
                false => (Grade::Warning, format!("{words}, more than 30 ms")),
            };
            (seen, judged)
        }
    };
    say("Round-trip at most 30 ms", seen, trip);
    let measured = stands && link.skew.is_some();
    let offset = match measured {
        false => later(),
        true => {
            let ms = link.clock_offset_ms;
            match ms.abs() <= CLOCK_BOUND_MS {
                true => (Grade::Met, format!("{ms} ms")),
                false => (Grade::Unmet, format!("{ms} ms, at most {CLOCK_BOUND_MS}")),
            }
        }
    };
    say("Clock offset", Seen::Through, offset);
    if stands {
        all.extend(link.told.iter().map(|told| heard(peer.field, told)));
    }
}

/// What a peer is told: how this side sees itself, and the peer in field `to`.
pub fn told(all: &[Check], to: u8) -> Vec<Told> {
    let ours = all.iter().filter(|check| check.by.is_none());
    let wanted = ours.filter(|check| check.peer.is_none_or(|peer| peer == to));
    // A frame with anything else would be refused, and the link with it.
    let shown = |c: &char| !c.is_control();
    let cut = |text: &str, limit| text.chars().filter(shown).take(limit).collect();
    let told = wanted.map(|check| Told {
        name: cut(&check.name, MAX_CHECK_NAME),
        of_receiver: check.peer.is_some(),
        grade: check.grade as u8,
        detail: cut(&check.detail, MAX_CHECK_DETAIL),
        seen: check.seen as u8,
    });
    told.take(MAX_CHECKS).collect()
}

/// What the peer of a field told.
fn heard(by: u8, told: &Told) -> Check {
    Check {
        name: told.name.clone(),
        peer: (!told.of_receiver).then_some(by),
        by: Some(by),
        grade: match told.grade {
            0 => Grade::Met,
            1 => Grade::Warning,
            2 => Grade::Unmet,
            _ => Grade::Unknown,
        },
        detail: told.detail.clone(),
        seen: match told.seen {
            0 => Seen::Here,
            1 => Seen::Before,
            _ => Seen::Through,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::skew::Skew;

    fn own() -> Own<'static> {
        Own {
            synchronized: Some(true),
            dns_servers: Some(2),
            host_name: "a".into(),
            domain_name: Some("lab.example".into()),
            addresses: vec![IpAddr::from([192, 0, 2, 11])],
            release: Some(Ok("CN=a builder".into())),
            peers: [Some(IpAddr::from([192, 0, 2, 11])), None, None],
            version: "0.1.0",
        }
    }

    fn grade(all: &[Check], name: &str) -> (Grade, String) {
        let found = all.iter().find(|check| check.name == name).unwrap();
        (found.grade, found.detail.clone())
    }

    #[test]
    fn this_system_is_judged_before_there_is_any_peer() {
        let all = prerequisites(&own(), &[]);
        assert_eq!(grade(&all, "NTP synchronized").0, Grade::Met);
        assert_eq!(grade(&all, "Host and domain name set").1, "a.lab.example");
        let wrong = Own {
            synchronized: Some(false),
            dns_servers: Some(0),
            domain_name: Some(String::new()),
            addresses: Vec::new(),
            ..own()
        };
        let all = prerequisites(&wrong, &[]);
        assert_eq!(grade(&all, "NTP synchronized").0, Grade::Unmet);
        assert_eq!(grade(&all, "DNS server present").0, Grade::Unmet);
        assert_eq!(grade(&all, "Host and domain name set").0, Grade::Warning);
        assert_eq!(grade(&all, "Unique addresses").0, Grade::Unmet);
    }

    #[test]
    fn a_slow_link_is_a_warning_with_its_figure_and_all_of_it_was_authenticated() {
        let link = LinkState {
            name: Some("b".into()),
            version: Some("0.1.0".into()),
            round_trip_us: Some(41_300),
            clock_offset_ms: -3,
            skew: Some(Skew::Fine),
            told: vec![Told {
                name: "NTP synchronized".into(),
                of_receiver: false,
                grade: 2,
                detail: "not synchronized".into(),
                seen: 0,
            }],
            live: true,
            ..LinkState::default()
        };
        let up = TunnelState::Up {
            certificate: Some([0; 32].into()),
        };
        let peer = Peer {
            field: 2,
            tunnel: &up,
            link: &link,
            path: Path {
                mtu: PathMtu::Probed(1400),
                round_trip_us: Some(500),
            },
        };
        let all = prerequisites(&own(), &[peer]);
        let slow = (Grade::Warning, "41.3 ms, more than 30 ms".to_owned());
        assert_eq!(grade(&all, "Round-trip at most 30 ms"), slow);
        assert_eq!(grade(&all, "Protocol 51 reachable").0, Grade::Met);
        assert_eq!(grade(&all, "Path MTU").0, Grade::Met);
        let theirs = all.iter().find(|check| check.by.is_some()).unwrap();
        assert_eq!((theirs.peer, theirs.by), (Some(2), Some(2)));
        assert_eq!((theirs.grade, theirs.seen), (Grade::Unmet, Seen::Here));
        let through = |check: &&Check| check.seen == Seen::Through;
        assert_eq!(all.iter().filter(through).count(), 5);
    }

    #[test]
    fn another_version_is_unmet_although_no_link_stands_with_it() {
        let link = LinkState {
            name: Some("b".into()),
            version: Some("0.2.0".into()),
            error: Some("it runs version 0.2.0".into()),
            ..LinkState::default()
        };
        let up = TunnelState::Up { certificate: None };
        let peer = |tunnel| Peer {
            field: 2,
            tunnel,
            link: &link,
            path: Path::default(),
        };
        let all = prerequisites(&own(), &[peer(&up)]);
        let unmet = (Grade::Unmet, "0.2.0, here 0.1.0".to_owned());
        assert_eq!(grade(&all, "Same version"), unmet);
        // What was heard before the tunnel went may have changed since.
        let all = prerequisites(&own(), &[peer(&TunnelState::NoAnswer)]);
        assert_eq!(grade(&all, "Same version").0, Grade::Unknown);
    }

    #[test]
    fn each_side_hears_what_the_other_sees_of_itself_and_of_the_one_it_tells() {
        let (link, tunnel) = (LinkState::default(), TunnelState::NoAnswer);
        let peer = |field| Peer {
            field,
            tunnel: &tunnel,
            link: &link,
            path: Path {
                mtu: PathMtu::Route(1500),
                round_trip_us: None,
            },
        };
        let sent = told(&prerequisites(&own(), &[peer(2), peer(3)]), 3);
        let there = LinkState {
            name: Some("a".into()),
            told: sent,
            ..LinkState::default()
        };
        let up = TunnelState::Up { certificate: None };
        let listener = Peer {
            field: 1,
            tunnel: &up,
            link: &there,
            path: Path::default(),
        };
        let all = prerequisites(&own(), &[listener]);
        let by_it: Vec<_> = all.iter().filter(|check| check.by == Some(1)).collect();
        let of_itself = by_it.iter().filter(|check| check.peer == Some(1)).count();
        let of_us: Vec<_> = by_it.iter().filter(|check| check.peer.is_none()).collect();
        assert_eq!((of_itself, of_us.len()), (5, 6));
        assert_eq!(of_us[0].name, "UDP 500 reachable");
        assert_eq!(
            (of_us[0].grade, of_us[0].seen),
            (Grade::Unmet, Seen::Before)
        );
        assert_eq!(
            told(&all, 1).len(),
            5 + 6,
            "what it was told is not passed on"
        );
    }

    #[test]
    fn the_largest_packet_that_comes_back_is_found() {
        for path in [1280, 1281, 1400, 1499, 1500] {
            let mut sent = 0;
            let found = probe(1500, 1280, |size| {
                sent += 1;
                size <= path
            });
            assert_eq!(found, PathMtu::Probed(path));
            assert!(sent <= 10, "{sent} echoes for {path}");
        }
        assert_eq!(probe(1500, 1280, |_| false), PathMtu::Route(1500));
        assert_eq!(
            probe(1200, 1280, |size| size <= 1200),
            PathMtu::Probed(1200)
        );
    }

    #[test]
    fn without_a_tunnel_only_hints_are_said() {
        let (link, tunnel) = (LinkState::default(), TunnelState::NoAnswer);
        let peer = Peer {
            field: 3,
            tunnel: &tunnel,
            link: &link,
            path: Path::default(),
        };
        let all = prerequisites(&own(), std::slice::from_ref(&peer));
        let udp = all
            .iter()
            .find(|check| check.name == "UDP 500 reachable")
            .unwrap();
        assert_eq!((udp.grade, udp.seen), (Grade::Unmet, Seen::Before));
        assert_eq!(grade(&all, "Protocol 51 reachable").0, Grade::Unknown);
        assert_eq!(grade(&all, "Same version").0, Grade::Unknown);
        let silent = (Grade::Unknown, "no echo (ICMP) comes back".to_owned());
        assert_eq!(grade(&all, "Round-trip at most 30 ms"), silent);
        let far = Peer {
            path: Path {
                round_trip_us: Some(41_300),
                ..Path::default()
            },
            ..peer
        };
        let all = prerequisites(&own(), &[far]);
        let name = "Round-trip at most 30 ms";
        let trip = all.iter().find(|check| check.name == name).unwrap();
        assert_eq!((trip.grade, trip.seen), (Grade::Warning, Seen::Before));
        assert_eq!(trip.detail, "41.3 ms, more than 30 ms");
    }
}
