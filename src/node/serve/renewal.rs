//! This node's certificate, and how another takes its place without a cut.
//!
//! The next one is made and kept, and announced through the tunnels beside the one in use. It is
//! presented once every peer whose tunnel stands took it. The former counts for a while more, for
//! handshakes under way, then only the new one does. Links that stand are not touched.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::node::{Node, hex, now_ms};
use crate::store::events::{Event, Kind, Level};
use crate::store::{StoreError, local::Local};
use crate::tls::{Identity, TlsError};
use crate::tunnel::message::{CertDigest, PeerStatus, Presented, TunnelState};
use zeroize::Zeroizing;

/// How long the next certificate waits for peers that do not take it.
const BOUND: Duration = Duration::from_secs(120);
/// How long the former one counts: longer than a handshake may take.
const OVERLAP: Duration = Duration::from_secs(60);
/// A certificate is renewed when it ends within this, in seconds: 30 days.
const EARLY_S: i64 = 30 * 86_400;
/// How often its age is looked at.
const LOOK: Duration = Duration::from_secs(3_600);

/// This node's certificates.
pub struct Identities {
    now: Arc<Identity>,
    next: Option<Arc<Identity>>,
    former: Option<CertDigest>,
}

impl Identities {
    /// The one in use.
    pub fn now(&self) -> &Arc<Identity> {
        &self.now
    }

    /// What peers are told.
    pub fn presented(&self) -> Presented {
        let next = self.next.as_ref().map(|next| next.digest());
        Presented {
            now: self.now.digest(),
            also: next.or(self.former),
        }
    }

    /// The digest of the one that will take its place.
    pub fn next(&self) -> Option<CertDigest> {
        self.next.as_ref().map(|next| next.digest())
    }

    /// The digest of the one whose place it took a moment ago.
    pub fn former(&self) -> Option<CertDigest> {
        self.former
    }
}

impl From<Identity> for Identities {
    fn from(now: Identity) -> Self {
        Self {
            now: Arc::new(now),
            next: None,
            former: None,
        }
    }
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// One at a time: peers count two certificates at most.
    #[error("a renewal is under way; it ends within three minutes")]
    UnderWay,
    /// It could not be made.
    #[error(transparent)]
    Make(#[from] TlsError),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is kept, made at the first start.
pub(super) fn open(
    local: &Local,
    name: &str,
    own: &[IpAddr],
) -> Result<Identities, Box<dyn std::error::Error>> {
    let kept = |names: [&str; 2]| -> Result<Option<Identity>, StoreError> {
        let pair = (local.value(names[0])?, local.value(names[1])?);
        let (Some(certificate), Some(key)) = pair else {
            return Ok(None);
        };
        Ok(Some(Identity {
            certificate: certificate.to_vec(),
            key: Zeroizing::new(key.to_vec()),
        }))
    };
    let Some(now) = kept(["certificate", "key"])? else {
        let first = Identity::make(name, &names(name, own))?;
        local.set(&[
            ("certificate", Some(&first.certificate)),
            ("key", Some(&first.key)),
        ])?;
        return Ok(first.into());
    };
    Ok(Identities {
        next: kept(["next_certificate", "next_key"])?.map(Arc::new),
        ..now.into()
    })
}

fn names(name: &str, own: &[IpAddr]) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    names.extend(own.iter().map(ToString::to_string));
    names
}

impl Node {
    /// The certificate in use.
    pub fn identity(&self) -> Arc<Identity> {
        self.identities.borrow().now.clone()
    }

    /// Makes this node's next certificate and begins to announce it; [`run`] does the rest. Its
    /// digest. Blocks.
    pub fn renew(&self) -> Result<CertDigest, RenewError> {
        let _changing = self.saving();
        if self.identities.borrow().presented().also.is_some() {
            return Err(RenewError::UnderWay);
        }
        let next = Identity::make_at(&self.name, &names(&self.name, &self.own()), now_ms() / 1000)?;
        self.local.set(&[
            ("next_certificate", Some(&next.certificate)),
            ("next_key", Some(&next.key)),
        ])?;
        let digest = next.digest();
        self.identities
            .send_modify(|all| all.next = Some(Arc::new(next)));
        self.say(format!(
            "This system's next certificate is announced to its peers: {}",
            hex(&digest)
        ));
        Ok(digest)
    }

    /// Presents the next certificate from now on. The key of the former is gone then.
    fn present_next(&self) -> Result<(), StoreError> {
        let _changing = self.saving();
        let Some(next) = self.identities.borrow().next.clone() else {
            return Ok(());
        };
        self.local.set(&[
            ("certificate", Some(&next.certificate)),
            ("key", Some(&next.key)),
            ("next_certificate", None),
            ("next_key", None),
        ])?;
        let digest = next.digest();
        self.identities.send_modify(|all| {
            all.former = Some(all.now.digest());
            all.now = next;
            all.next = None;
        });
        self.say(format!(
            "This system presents its new certificate: {}",
            hex(&digest)
        ));
        Ok(())
    }

    fn say(&self, text: String) {
        self.note(&Event::new(Kind::System, Level::Information, text));
        self.touch();
    }

    /// Notes which peers announced another certificate, before `peers` takes the place of what
    /// `ike` said last.
    pub(super) fn note_announcements(&self, peers: &[PeerStatus]) {
        let before = self.tunnels.borrow().clone().unwrap_or_default();
        for peer in peers {
            let old = before.iter().find(|old| old.address == peer.address);
            let (Some(old), Some(new)) = (old.and_then(presented), presented(peer)) else {
                continue;
            };
            for digest in new.digests().filter(|digest| !old.contains(digest)) {
                let (address, digest) = (peer.address, hex(digest));
                let text = format!("{address} announced another certificate: {digest}");
                self.note(&Event::new(Kind::Cluster, Level::Information, text));
            }
        }
    }
}

fn presented(status: &PeerStatus) -> Option<Presented> {
    match status.state {
        TunnelState::Up { certificate } => certificate,
        _ => None,
    }
}

/// Whether every peer of ours whose tunnel stands took what we present.
fn all_told(ours: Presented, tunnels: Option<&[PeerStatus]>) -> bool {
    let up = |status: &&PeerStatus| presented(status).is_some();
    tunnels.is_some_and(|all| all.iter().filter(up).all(|peer| peer.told == Some(ours)))
}

/// Whether a certificate that ends then is to be renewed now; a clock that nobody vouches for
/// renews nothing.
fn is_due(not_after_s: i64, now_s: i64, synchronized: bool) -> bool {
    synchronized && not_after_s - now_s < EARLY_S
}

/// Brings renewals to their end, and begins one when the certificate's time runs out.
pub async fn run(node: Arc<Node>) {
    tokio::join!(follow(&node), look(&node));
}

async fn look(node: &Arc<Node>) {
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        let ends = node.identity().facts().map(|facts| facts.not_after);
        let now_s = (now_ms() / 1000).cast_signed();
        let synchronized = node.synchronized.load(Ordering::Relaxed);
        if ends.is_some_and(|ends| is_due(ends, now_s, synchronized)) {
            let keeper = node.clone();
            match tokio::task::spawn_blocking(move || keeper.renew()).await {
                Ok(Ok(_) | Err(RenewError::UnderWay)) => {}
                Ok(Err(error)) => tracing::error!("cannot renew the certificate: {error}"),
                Err(error) => tracing::error!("cannot renew the certificate: {error}"),
            }
        }
    }
}

async fn follow(node: &Arc<Node>) {
    let mut identities = node.identities.subscribe();
    loop {
        let begun = identities.wait_for(|all| all.next.is_some()).await;
        let Ok(ours) = begun.map(|all| all.presented()) else {
            return;
        };
        let mut tunnels = node.tunnels.subscribe();
        let told = tunnels.wait_for(|tunnels| all_told(ours, tunnels.as_deref()));
        if tokio::time::timeout(BOUND, told).await.is_err() {
            tracing::warn!("not every peer took the new certificate; it is presented all the same");
        }
        let keeper = node.clone();
        let kept = tokio::task::spawn_blocking(move || keeper.present_next()).await;
        match kept {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!("cannot keep the new certificate: {error}");
                tokio::time::sleep(OVERLAP).await;
                continue;
            }
            Err(_) => return,
        }
        tokio::time::sleep(OVERLAP).await;
        node.identities.send_modify(|all| all.former = None);
        node.touch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8, certificate: Option<Presented>, told: Option<Presented>) -> PeerStatus {
        let address = IpAddr::from([192, 0, 2, last]);
        PeerStatus {
            told,
            ..PeerStatus::of(address, TunnelState::Up { certificate })
        }
    }

    #[test]
    fn only_peers_of_ours_whose_tunnel_stands_are_waited_for() {
        let (old, ours): (Presented, Presented) = ([1; 32].into(), [2; 32].into());
        let some = Some([9; 32].into());
        let mut away = peer(4, some, None);
        away.state = TunnelState::NoAnswer;
        let foreign = peer(5, None, Some(old));
        let told = |first| all_told(ours, Some(&[first, away.clone(), foreign.clone()]));
        assert!(told(peer(3, some, Some(ours))));
        assert!(!told(peer(3, some, Some(old))));
        assert!(!all_told(ours, None));
        assert!(all_told(ours, Some(&[])));
    }

    #[test]
    fn a_certificate_is_renewed_a_month_before_its_end_by_a_clock_that_somebody_vouches_for() {
        let end = 2_524_521_600;
        assert!(!is_due(end, end - EARLY_S, true));
        assert!(is_due(end, end - EARLY_S + 1, true));
        assert!(!is_due(end, end - EARLY_S + 1, false));
    }
}
