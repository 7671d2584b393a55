//! `tutti tunnels`: what `ike` says about each peer's tunnel.

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::node::Dirs;
use crate::node::ipc::Connection;
use crate::node::serve::node::now_ms;
use crate::node::tunnel::TunnelView;
use crate::tunnel::message::{AhTraffic, Dropped, IkeEvent, IkeRequest, PeerStatus};

/// Options of `tutti tunnels`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

/// What `ike` says to whoever connects, and the counters that it was asked for.
struct Answer {
    status: Vec<PeerStatus>,
    blocked: Vec<IpAddr>,
    traffic: HashMap<IpAddr, AhTraffic>,
    dropped: Dropped,
}

/// Asks `ike` over its socket and prints what it says.
pub fn run(dirs: &Dirs, args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answer = runtime.block_on(ask(dirs))?;
    let now = now_ms();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&answer.json(now)?)?);
    } else {
        print!("{}", answer.text(now));
    }
    Ok(())
}

async fn ask(dirs: &Dirs) -> Result<Answer, Box<dyn std::error::Error>> {
    let mut ike = Connection::<IkeRequest, IkeEvent>::connect(&dirs.run.join("ike.sock")).await?;
    let (mut status, mut blocked, mut traffic) = (None, None, None);
    loop {
        if let (Some(status), Some(blocked), Some(traffic)) =
            (&mut status, &mut blocked, &mut traffic)
        {
            let (traffic, dropped) = std::mem::take(traffic);
            return Ok(Answer {
                status: std::mem::take(status),
                blocked: std::mem::take(blocked),
                traffic,
                dropped,
            });
        }
        match ike.recv().await? {
            // Only now does it know of which peers the counters are.
            Some(IkeEvent::Status(all)) => {
                if status.replace(all).is_none() {
                    ike.send(&IkeRequest::Traffic).await?;
                }
            }
            Some(IkeEvent::Changed(_)) => {}
            Some(IkeEvent::Blocked(all)) => blocked = Some(all),
            Some(IkeEvent::Traffic { peers, dropped }) => {
                traffic = Some((peers.into_iter().collect(), dropped));
            }
            None => return Err("ike closed the connection without an answer".into()),
        }
    }
}

impl Answer {
    fn view(&self, now_ms: u64, peer: &PeerStatus) -> TunnelView {
        let blocked = self.blocked.contains(&peer.address);
        TunnelView::new(now_ms, peer, blocked, self.traffic.get(&peer.address))
    }

    /// For programs.
    fn json(&self, now_ms: u64) -> serde_json::Result<Value> {
        let mut all = Vec::new();
        for peer in &self.status {
            let view = self.view(now_ms, peer);
            let mut value = serde_json::to_value(peer)?;
            value["protocol_51_blocked"] = self.blocked.contains(&peer.address).into();
            value["words"] = view.state.into();
            value["since_ms"] = view.since_ms.into();
            value["proposal"] = view.proposal.into();
            value["ah"] = view.ah.into();
            value["traffic"] = json!(view.traffic);
            value["last_error"] = json!(view.last_error);
            all.push(value);
        }
        Ok(json!({ "tunnels": all, "dropped": self.dropped }))
    }

    /// For people.
    fn text(&self, now_ms: u64) -> String {
        let mut text = String::new();
        if self.status.is_empty() {
            text.push_str("No tunnels: this system is standalone.\n");
        }
        for peer in &self.status {
            let view = self.view(now_ms, peer);
            let (state, since) = (&view.state, view.since());
            text.push_str(&format!("{}: {state}, since {since} UTC\n", peer.address));
            for (what, how) in view.details() {
                text.push_str(&format!("  {:<13}{how}\n", format!("{what}:")));
            }
        }
        let dropped = self.dropped.words();
        text.push_str(&format!("Dropped on UDP 500: {dropped}\n"));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::message::{AhSuite, Carried, Integrity, LastError, Profile, TunnelState};

    fn answer(state: TunnelState, blocked: bool) -> Answer {
        let address: IpAddr = "192.0.2.2".parse().unwrap();
        let traffic = AhTraffic {
            received: Carried {
                bytes: 1_234,
                packets: 5,
            },
            sent: Carried {
                bytes: 999,
                packets: 6,
            },
            replays: 7,
            integrity_failures: 8,
        };
        Answer {
            status: vec![PeerStatus {
                for_ms: 61_000,
                spis: Some((0x1111, 0x2222)),
                rekeys: (1, 2),
                proposal: Some(Profile::guide_era().ike[0]),
                ah: Some(AhSuite {
                    integrity: Integrity::HmacSha2_512_256,
                    esn: false,
                }),
                last_error: Some(LastError {
                    state: TunnelState::NoAnswer,
                    blocked: false,
                    ago_ms: 61_000,
                }),
                ..PeerStatus::of(address, state)
            }],
            blocked: blocked.then_some(address).into_iter().collect(),
            traffic: HashMap::from([(address, traffic)]),
            dropped: Dropped {
                payloads: 2,
                ..Dropped::default()
            },
        }
    }

    const NOW: u64 = 1_795_434_902_000;

    #[test]
    fn the_first_line_says_what_is_wrong_and_since_when() {
        let up = TunnelState::Up { certificate: None };
        let first = |answer: Answer| answer.text(NOW).lines().next().unwrap().to_owned();
        let since = "since 2026-11-23 11:54:01 UTC";
        assert_eq!(
            first(answer(up.clone(), false)),
            format!("192.0.2.2: up, {since}")
        );
        assert_eq!(
            first(answer(up, true)),
            format!("192.0.2.2: protocol 51 blocked: IKE is up, no AH arrives, {since}")
        );
        assert_eq!(
            first(answer(TunnelState::AuthenticationFailed, false)),
            format!("192.0.2.2: key mismatch: authentication failed, {since}")
        );
    }

    #[test]
    fn each_further_line_is_one_thing_that_is_known() {
        let told = answer(TunnelState::Up { certificate: None }, false).text(NOW);
        let lines: Vec<&str> = told.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "  IKE:         IKEv2, aes256-sha256-prfsha256-modp4096, replaced once",
                "  AH:          sha512-noesn, SPI 00001111 in, 00002222 out, replaced 2 times",
                "  AH received: 1.2 kB in 5 packets",
                "  AH sent:     999 B in 6 packets",
                "  AH dropped:  7 replays, 8 packets with a failed integrity check",
                "  Last error:  no answer on UDP 500, until 2026-11-23 11:54:01 UTC",
                "Dropped on UDP 500: 2 with malformed payloads",
            ]
        );
    }

    #[test]
    fn programs_get_the_same() {
        let answer = answer(TunnelState::NoProposal, false);
        let value = answer.json(NOW).unwrap();
        assert_eq!(value["dropped"]["payloads"], 2);
        let wanted = json!({
            "address": "192.0.2.2", "state": "NoProposal", "words": "no common proposal",
            "for_ms": 61_000, "since_ms": 1_795_434_841_000_u64, "version": "IKEv2",
            "proposal": "aes256-sha256-prfsha256-modp4096", "ppk": false, "ah": "sha512-noesn",
            "spis": [0x1111, 0x2222], "rekeys": [1, 2], "told": null,
            "protocol_51_blocked": false,
            "traffic": {
                "received_bytes": 1_234, "received_packets": 5, "sent_bytes": 999,
                "sent_packets": 6, "replays": 7, "integrity_failures": 8,
            },
            "last_error": {
                "text": "no answer on UDP 500", "until_ms": 1_795_434_841_000_u64,
            },
        });
        assert_eq!(value["tunnels"], json!([wanted]));
    }
}
