//! The words that describe a peer beside its field, and their colour.

use serde::{Deserialize, Serialize};

use crate::replica::skew::Skew;
use crate::tunnel::message::TunnelState;
use crate::wire::replication::Told;

/// Colour of a state text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// As it should be.
    Green,
    /// On its way, or a warning.
    Amber,
    /// Needs somebody.
    Red,
}

/// A state text as pages, REST and the console show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerState {
    /// The words.
    pub text: String,
    /// Their colour.
    pub colour: Colour,
    /// Whether the peer proved who it is; otherwise the state is a hint.
    pub authenticated: bool,
}

/// What the replication link to a peer reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Which attempt at a link this is of.
    pub attempt: u64,
    /// The peer's system name, once greeted.
    pub name: Option<String>,
    /// The peer's software version.
    pub version: Option<String>,
    /// The peer's cluster id, if it has one.
    pub cluster: Option<[u8; 16]>,
    /// A snapshot on its way to us or from us.
    pub joining_percent: Option<u8>,
    /// Changes still to come.
    pub behind: u64,
    /// Whether the link stands and streams.
    pub live: bool,
    /// Clock offset, milliseconds.
    pub clock_offset_ms: i64,
    /// Whether the peer says that its clock is synchronized, once a ping was answered.
    pub synchronized: Option<bool>,
    /// Whose clock is to yield, once a ping was answered.
    pub skew: Option<Skew>,
    /// Round-trip, microseconds.
    pub round_trip_us: Option<u64>,
    /// Why the last link ended.
    pub error: Option<String>,
    /// Whether no AH arrives from the peer although we send and its tunnel stands.
    pub blocked: bool,
    /// Whether nothing is heard of the peer on the link, or was until the last one ended.
    pub silent: bool,
    /// How the peer sees the prerequisites.
    pub told: Vec<Told>,
}

impl LinkState {
    /// Whether the peer greeted on the link, and it has not ended since.
    pub fn stands(&self) -> bool {
        self.name.is_some() && self.error.is_none()
    }
}

/// Offset above which a peer's clock is reported.
const CLOCK_BOUND_MS: i64 = 500;

/// The state of another peer, from its tunnel and its link.
pub fn peer_state(
    tunnel: &TunnelState,
    link: &LinkState,
    own_version: &str,
    own_cluster: Option<[u8; 16]>,
) -> PeerState {
    let up = matches!(tunnel, TunnelState::Up { .. });
    let say = |text: String, colour| PeerState {
        text,
        colour,
        authenticated: up,
    };
    match tunnel {
        TunnelState::Connecting => return say("Connecting".into(), Colour::Amber),
        TunnelState::NoAnswer => return say("Unreachable".into(), Colour::Red),
        TunnelState::AuthenticationFailed => return say("Key mismatch".into(), Colour::Red),
        TunnelState::AuthenticationDoubted => {
            return say("Key mismatch, probably".into(), Colour::Red);
        }
        TunnelState::NoProposal => {
            return say("No common proposal for the tunnel".into(), Colour::Red);
        }
        TunnelState::NotListed => return say("Not in its peer list".into(), Colour::Red),
        TunnelState::CertificateRefused(why) => {
            return say(format!("Certificate refused: {why}"), Colour::Red);
        }
        TunnelState::Failed(why) => return say(sentence(why), Colour::Red),
        TunnelState::Up { certificate: None } => {
            return say(
                "Tunnel is up, but no Tutti node answers there".into(),
                Colour::Red,
            );
        }
        TunnelState::Up { .. } if link.blocked => {
            return say("Protocol 51 blocked".into(), Colour::Red);
        }
        TunnelState::Up { .. } if link.silent => {
            return say("Unreachable".into(), Colour::Red);
        }
        TunnelState::Up { .. } => {}
    }
    if let Some(version) = link.version.as_deref()
        && version != own_version
    {
        return say(format!("Different version: {version}"), Colour::Red);
    }
    if let (Some(ours), Some(theirs)) = (own_cluster, link.cluster)
        && ours != theirs
    {
        return say("Other cluster".into(), Colour::Red);
    }
    if let Some(percent) = link.joining_percent {
        return say(format!("Joining {percent} %"), Colour::Amber);
    }
    let Some(name) = link
        .name
        .as_deref()
        .filter(|_| link.live || link.behind > 0)
    else {
        return say(
            "Tunnel is up, replication is starting".into(),
            Colour::Amber,
        );
    };
    if link.clock_offset_ms.abs() > CLOCK_BOUND_MS {
        let seconds = link.clock_offset_ms.abs() as f64 / 1000.0;
        return say(format!("Clock off by {seconds:.1} s"), Colour::Red);
    }
    if link.behind > 0 && !link.live {
        return say(
            format!("Catching up: {} changes", grouped(link.behind)),
            Colour::Amber,
        );
    }
    say(format!("Active as {name}"), Colour::Green)
}

impl PeerState {
    /// The state of the field that holds our own address.
    pub fn this_system() -> Self {
        Self {
            text: "This system".into(),
            colour: Colour::Green,
            authenticated: true,
        }
    }
}

/// With a capital letter, as all states begin.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// Thousands separated by commas.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::advice::advice;
    use super::*;
    use crate::ike::Refusal;
    use crate::ike::ppk::Mismatch;

    fn text(tunnel: TunnelState, link: LinkState) -> (String, Colour) {
        let state = peer_state(&tunnel, &link, "0.1.0", Some([1; 16]));
        (state.text, state.colour)
    }

    fn up() -> TunnelState {
        TunnelState::Up {
            certificate: Some([0; 32].into()),
        }
    }

    fn live() -> LinkState {
        LinkState {
            name: Some("b".into()),
            version: Some("0.1.0".into()),
            cluster: Some([1; 16]),
            live: true,
            ..LinkState::default()
        }
    }

    #[test]
    fn states_are_worded_exactly_and_an_operator_finds_what_to_do() {
        let table = include_str!("../../docs/operations.md");
        let failed = |refusal: Refusal| TunnelState::Failed(refusal.to_string());
        let none = LinkState::default;
        let cases = [
            (TunnelState::NoAnswer, none(), "Unreachable", Colour::Red),
            (
                TunnelState::AuthenticationFailed,
                none(),
                "Key mismatch",
                Colour::Red,
            ),
            (
                TunnelState::AuthenticationDoubted,
                none(),
                "Key mismatch, probably",
                Colour::Red,
            ),
            (
                TunnelState::NotListed,
                none(),
                "Not in its peer list",
                Colour::Red,
            ),
            (
                TunnelState::CertificateRefused("the certificate expired".into()),
                none(),
                "Certificate refused: the certificate expired",
                Colour::Red,
            ),
            (
                failed(Refusal::OtherProfile),
                none(),
                "Different IKE profile",
                Colour::Red,
            ),
            (
                failed(Refusal::OtherMethod),
                none(),
                "Different authentication",
                Colour::Red,
            ),
            (failed(Refusal::Nat), none(), "NAT between us", Colour::Red),
            (
                failed(Refusal::keyerless()),
                none(),
                "The key service is not running",
                Colour::Red,
            ),
            (
                failed(Refusal::unanswered()),
                none(),
                "No answer but the first: larger datagrams do not arrive",
                Colour::Red,
            ),
            (
                failed(Refusal::unproven()),
                none(),
                "No answer to our authentication",
                Colour::Red,
            ),
            (
                failed(Refusal::ended_at_once()),
                none(),
                "The peer ended the AH pair at once",
                Colour::Red,
            ),
            (
                failed(Refusal::Ppk(Mismatch::PeerHasNone)),
                none(),
                "Post-quantum key: the peer uses none",
                Colour::Red,
            ),
            (
                failed(Refusal::Ppk(Mismatch::WeHaveNone)),
                none(),
                "Post-quantum key: the peer requires one",
                Colour::Red,
            ),
            (
                TunnelState::NoProposal,
                none(),
                "No common proposal for the tunnel",
                Colour::Red,
            ),
            (
                TunnelState::Up { certificate: None },
                none(),
                "Tunnel is up, but no Tutti node answers there",
                Colour::Red,
            ),
            (TunnelState::Connecting, none(), "Connecting", Colour::Amber),
            (
                up(),
                none(),
                "Tunnel is up, replication is starting",
                Colour::Amber,
            ),
            (
                up(),
                LinkState {
                    blocked: true,
                    error: Some("no answer".into()),
                    ..live()
                },
                "Protocol 51 blocked",
                Colour::Red,
            ),
            (up(), live(), "Active as b", Colour::Green),
            (
                up(),
                LinkState {
                    silent: true,
                    ..live()
                },
                "Unreachable",
                Colour::Red,
            ),
            (
                up(),
                LinkState {
                    cluster: Some([2; 16]),
                    ..live()
                },
                "Other cluster",
                Colour::Red,
            ),
            (
                up(),
                LinkState {
                    joining_percent: Some(43),
                    ..live()
                },
                "Joining 43 %",
                Colour::Amber,
            ),
            (
                up(),
                LinkState {
                    live: false,
                    behind: 1204,
                    ..live()
                },
                "Catching up: 1,204 changes",
                Colour::Amber,
            ),
            (
                up(),
                LinkState {
                    version: Some("0.2.0".into()),
                    ..live()
                },
                "Different version: 0.2.0",
                Colour::Red,
            ),
            (
                up(),
                LinkState {
                    clock_offset_ms: -3200,
                    ..live()
                },
                "Clock off by 3.2 s",
                Colour::Red,
            ),
        ];
        for (tunnel, link, words, colour) in cases {
            assert_eq!(text(tunnel, link), (words.to_owned(), colour));
            let row = format!("\n| `{}", words.split([':', ',']).next().unwrap());
            let row = row.replace("as b", "as NAME");
            assert!(table.contains(&row), "the operator's table lacks {row}");
            let state = PeerState {
                text: words.to_owned(),
                colour,
                authenticated: false,
            };
            let advice = advice(&state).unwrap_or_default();
            assert_eq!(advice.is_empty(), colour != Colour::Red, "{words}");
            assert!(!advice.contains("the reason"), "{words} has no advice");
        }
    }
}
