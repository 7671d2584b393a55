//! `tutti tunnels`: what `ike` says about each peer's tunnel.

use std::net::IpAddr;

use crate::node::Dirs;
use crate::node::ipc::Connection;
use crate::tunnel::message::{IkeEvent, IkeRequest, PeerStatus, TunnelState};

/// Options of `tutti tunnels`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

/// Asks `ike` over its socket and prints what it says.
pub fn run(dirs: &Dirs, args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (status, blocked) = runtime.block_on(ask(dirs))?;
    if args.json {
        let mut all = serde_json::to_value(&status)?;
        for (value, peer) in all.as_array_mut().into_iter().flatten().zip(&status) {
            value["protocol_51_blocked"] = blocked.contains(&peer.address).into();
        }
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    if status.is_empty() {
        println!("No tunnels: this system is standalone.");
    }
    for peer in &status {
        println!("{}", line(peer, blocked.contains(&peer.address)));
    }
    Ok(())
}

type Answer = (Vec<PeerStatus>, Vec<IpAddr>);

/// What `ike` sends to everyone who connects: status, and who is blocked.
async fn ask(dirs: &Dirs) -> Result<Answer, Box<dyn std::error::Error>> {
    let mut ike = Connection::<IkeRequest, IkeEvent>::connect(&dirs.run.join("ike.sock")).await?;
    let (mut status, mut blocked) = (None, None);
    loop {
        if let (Some(status), Some(blocked)) = (&mut status, &mut blocked) {
            return Ok((std::mem::take(status), std::mem::take(blocked)));
        }
        match ike.recv().await? {
            Some(IkeEvent::Status(all)) => status = Some(all),
            Some(IkeEvent::Blocked(all)) => blocked = Some(all),
            None => return Err("ike closed the connection without an answer".into()),
        }
    }
}

/// One peer for people.
fn line(peer: &PeerStatus, blocked: bool) -> String {
    let state = match &peer.state {
        TunnelState::Up { .. } if blocked => "protocol 51 blocked: IKE is up, no AH arrives".into(),
        TunnelState::Connecting => "connecting".into(),
        TunnelState::Up { .. } => "up".into(),
        TunnelState::NoAnswer => "no answer on UDP 500".into(),
        TunnelState::AuthenticationFailed => "key mismatch: authentication failed".into(),
        TunnelState::AuthenticationDoubted => {
            "key mismatch, probably: what it sends cannot be read".into()
        }
        TunnelState::NoProposal => "no common proposal".into(),
        TunnelState::NotListed => "the peer does not list this system".into(),
        TunnelState::CertificateRefused(why) => format!("certificate refused: {why}"),
        TunnelState::Failed(why) => format!("failed: {why}"),
    };
    let seconds = peer.for_ms / 1000;
    let mut line = format!("{:<40} {state}, for {seconds} s", peer.address);
    if let Some((inbound, outbound)) = peer.spis {
        line.push_str(&format!(", SPIs in {inbound:#010x} out {outbound:#010x}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_wrong() {
        let peer = PeerStatus {
            address: "192.0.2.2".parse().unwrap(),
            state: TunnelState::AuthenticationFailed,
            for_ms: 61_000,
            spis: None,
            rekeys: (0, 0),
            told: None,
        };
        let up = PeerStatus {
            state: TunnelState::Up { certificate: None },
            ..peer.clone()
        };
        assert!(line(&up, false).contains(" up, for"));
        assert!(line(&up, true).contains("protocol 51 blocked"));
        assert!(line(&peer, false).ends_with("key mismatch: authentication failed, for 61 s"));
    }
}
