//! One peer's tunnel as pages, REST and the command line show it.

use serde::Serialize;
use utoipa::ToSchema;

use super::units;
use crate::tunnel::message::{AhTraffic, Carried, PeerStatus, TunnelState};

/// A state in words; `blocked` where the tunnel is up for IKE alone.
fn words(state: &TunnelState, blocked: bool) -> String {
    match (state, blocked) {
        (TunnelState::Up { .. }, true) => "protocol 51 blocked: IKE is up, no AH arrives".into(),
        (state, _) => state.to_string(),
    }
}

/// One peer's tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TunnelView {
    /// In words: `up`, or why not.
    pub state: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Of IKE that is spoken with the peer: `IKEv2` or `IKEv1`.
    pub version: String,
    /// What the IKE SA uses, in strongSwan's keywords; none while there is no IKE SA.
    pub proposal: Option<String>,
    /// Whether a post-quantum pre-shared key is in the IKE SA's keys (RFC 8784).
    pub ppk: bool,
    /// What the AH pair uses, likewise: `sha256-esn`, or `-noesn` where sequence numbers have 32
    /// bits. None while there is no pair.
    pub ah: Option<String>,
    /// Of the AH pair, in and out, in hexadecimal digits.
    pub spis: Option<[String; 2]>,
    /// How often the IKE SA was replaced under this connection.
    pub ike_rekeys: u32,
    /// How often the AH pair was replaced under this connection.
    pub ah_rekeys: u32,
    /// What the kernel counted; none while it cannot be read.
    pub traffic: Option<TrafficView>,
    /// What was wrong before this state.
    pub last_error: Option<ErrorView>,
}

/// What the kernel counted on all AH SAs with one peer since its service started, those that were
/// replaced too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TrafficView {
    /// Octets of IP packets from the peer.
    pub received_bytes: u64,
    /// Packets from the peer.
    pub received_packets: u64,
    /// Octets of IP packets to the peer.
    pub sent_bytes: u64,
    /// Packets to the peer.
    pub sent_packets: u64,
    /// Packets dropped because they came before, or too late to tell.
    pub replays: u64,
    /// Packets dropped because their integrity check failed.
    pub integrity_failures: u64,
}

/// Why the tunnel did not stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorView {
    /// In words.
    pub text: String,
    /// Until when, in milliseconds since 1970.
    pub until_ms: u64,
}

impl TunnelView {
    /// Of a status that was just heard at `now_ms`, in milliseconds since 1970; `blocked` when no
    /// AH arrives though the tunnel stands.
    pub fn new(
        now_ms: u64,
        status: &PeerStatus,
        blocked: bool,
        traffic: Option<&AhTraffic>,
    ) -> Self {
        let hex = |spi| format!("{spi:08x}");
        Self {
            state: words(&status.state, blocked),
            since_ms: now_ms.saturating_sub(status.for_ms),
            version: status.version.to_string(),
            proposal: status.proposal.map(|suite| suite.to_string()),
            ppk: status.ppk,
            ah: status.ah.map(|suite| suite.to_string()),
            spis: status
                .spis
                .map(|(inbound, outbound)| [hex(inbound), hex(outbound)]),
            ike_rekeys: status.rekeys.0,
            ah_rekeys: status.rekeys.1,
            traffic: traffic.map(|all| TrafficView {
                received_bytes: all.received.bytes,
                received_packets: all.received.packets,
                sent_bytes: all.sent.bytes,
                sent_packets: all.sent.packets,
                replays: all.replays,
                integrity_failures: all.integrity_failures,
            }),
            last_error: status.last_error.as_ref().map(|error| ErrorView {
                text: words(&error.state, error.blocked),
                until_ms: now_ms.saturating_sub(error.ago_ms),
            }),
        }
    }

    /// Since when it is so, in UTC.
    pub fn since(&self) -> String {
        units::utc(self.since_ms)
    }

    /// Each thing that is known beside the state: what it is, and how it stands.
    pub fn details(&self) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        let times = |count: u32| match count {
            0 => String::new(),
            1 => ", replaced once".into(),
            more => format!(", replaced {more} times"),
        };
        let ike = match &self.proposal {
            Some(proposal) => {
                let rekeys = times(self.ike_rekeys);
                let ppk = if self.ppk {
                    " with a post-quantum key"
                } else {
                    ""
                };
                format!("{}, {proposal}{ppk}{rekeys}", self.version)
            }
            None => self.version.clone(),
        };
        all.push(("IKE", ike));
        if let (Some(ah), Some([inbound, outbound])) = (&self.ah, &self.spis) {
            let rekeys = times(self.ah_rekeys);
            all.push((
                "AH",
                format!("{ah}, SPI {inbound} in, {outbound} out{rekeys}"),
            ));
        }
        if let Some(traffic) = &self.traffic {
            let carried = |bytes, packets| carried(&Carried { bytes, packets });
            all.push((
                "AH received",
                carried(traffic.received_bytes, traffic.received_packets),
            ));
            all.push(("AH sent", carried(traffic.sent_bytes, traffic.sent_packets)));
            let (replays, failures) = (traffic.replays, traffic.integrity_failures);
            let dropped = format!(
                "{}, {} with a failed integrity check",
                counted(replays, "replay", "replays"),
                counted(failures, "packet", "packets"),
            );
            all.push(("AH dropped", dropped));
        }
        if let Some(error) = &self.last_error {
            let until = units::utc(error.until_ms);
            all.push(("Last error", format!("{}, until {until} UTC", error.text)));
        }
        all
    }
}

fn carried(carried: &Carried) -> String {
    let packets = counted(carried.packets, "packet", "packets");
    format!("{} in {packets}", units::octets(carried.bytes))
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::message::{AhSuite, Integrity, LastError, Profile};

    /// 2026-11-23 11:55:02.
    const NOW: u64 = 1_795_434_902_000;

    fn status() -> PeerStatus {
        PeerStatus {
            for_ms: 62_000,
            spis: Some((0x1234, 0x89ab_cdef)),
            rekeys: (1, 12),
            proposal: Some(Profile::default().ike[0]),
            ah: Some(AhSuite {
                integrity: Integrity::HmacSha2_256_128,
                esn: true,
            }),
            last_error: Some(LastError {
                state: TunnelState::NoAnswer,
                blocked: false,
                ago_ms: 62_000,
            }),
            ..PeerStatus::of(
                "192.0.2.2".parse().unwrap(),
                TunnelState::Up { certificate: None },
            )
        }
    }

    fn lines(view: &TunnelView) -> Vec<String> {
        let all = view.details().into_iter();
        all.map(|(what, how)| format!("{what}: {how}")).collect()
    }

    #[test]
    fn all_that_is_known_of_a_tunnel_is_told_in_words() {
        let traffic = AhTraffic {
            received: Carried {
                bytes: 12_345_678,
                packets: 10_231,
            },
            sent: Carried {
                bytes: 900,
                packets: 1,
            },
            replays: 1,
            integrity_failures: 7,
        };
        let mut view = TunnelView::new(NOW, &status(), false, Some(&traffic));
        assert_eq!(
            (view.state.as_str(), view.since()),
            ("up", "2026-11-23 11:54:00".into())
        );
        assert_eq!(
            lines(&view),
            [
                "IKE: IKEv2, aes256gcm16-prfsha256-x25519-ke1_mlkem768, replaced once",
                "AH: sha256-esn, SPI 00001234 in, 89abcdef out, replaced 12 times",
                "AH received: 12.3 MB in 10231 packets",
                "AH sent: 900 B in 1 packet",
                "AH dropped: 1 replay, 7 packets with a failed integrity check",
                "Last error: no answer on UDP 500, until 2026-11-23 11:54:00 UTC",
            ]
        );
        view.ppk = true;
        let mixed = "aes256gcm16-prfsha256-x25519-ke1_mlkem768 with a post-quantum key";
        assert!(lines(&view)[0].contains(mixed));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let nothing = PeerStatus::of("192.0.2.2".parse().unwrap(), TunnelState::NoAnswer);
        let view = TunnelView::new(NOW, &nothing, true, None);
        assert_eq!(view.state, "no answer on UDP 500", "not up, so not blocked");
        assert_eq!(lines(&view), ["IKE: IKEv2"]);
        let blocked = TunnelView::new(NOW, &status(), true, None);
        assert!(
            blocked.state.contains("protocol 51 blocked"),
            "{}",
            blocked.state
        );
        let mut over = status();
        over.last_error = Some(LastError {
            state: over.state.clone(),
            blocked: true,
            ago_ms: 1_000,
        });
        let over = TunnelView::new(NOW, &over, false, None);
        assert_eq!(over.state, "up");
        assert_eq!(over.last_error.unwrap().text, blocked.state);
    }
}
