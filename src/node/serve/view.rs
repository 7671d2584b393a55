//! The cluster as pages, REST and the command line show it: its view and its prerequisites.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::node::{Cluster, Node, hex};
use super::replication;
use super::time::State;
use crate::cluster::{Check, Fields, LinkState, PeerState, Standing, peer_state, prerequisites};
use crate::node::tunnel::TunnelView;
use crate::settings::System;
use crate::tls::given;
use crate::tunnel::message::TunnelState;

/// The cluster as pages, REST and the console show it.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterView {
    /// `standalone`, `waiting` or `member`.
    pub standing: &'static str,
    /// The cluster id, hexadecimal.
    pub id: Option<String>,
    /// Whether a key is saved; the key itself is never shown.
    pub key_set: bool,
    /// The identity of the post-quantum key, if one is saved; the key itself is never shown.
    pub ppk_id: Option<String>,
    /// The fields that say how tunnels are keyed; their peers are in `peers`.
    pub fields: Fields,
    /// The saved certificates, if any; their private key is never shown.
    pub certificates: Option<given::Summary>,
    /// The three fields.
    pub peers: Vec<PeerView>,
}

/// The last comparison of all rows with those of a peer, since the service started.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Proof {
    /// When it began, milliseconds since 1970: compared was what both held then.
    pub at_ms: u64,
    /// Whether all rows were compared and none differed.
    pub identical: bool,
    /// Whether it ended before all rows were compared.
    pub stopped: bool,
    /// How many rows differed.
    pub differing: u64,
    /// How many of those were repaired here.
    pub repaired: u64,
    /// How many want a person's look.
    pub unclear: u64,
}

/// One Peer field.
#[derive(Clone, Debug, Serialize)]
pub struct PeerView {
    /// 1 to 3.
    pub field: u8,
    /// Its address; `None` is blank.
    pub address: Option<IpAddr>,
    /// Whether that is this system's.
    pub own: bool,
    /// Its state, if it has an address.
    pub state: Option<PeerState>,
    /// The peer's system name, once it said so.
    pub name: Option<String>,
    /// Whether AH stands to it.
    pub tunnel: bool,
    /// SPIs in and out, hexadecimal.
    pub spis: Option<(String, String)>,
    /// How its tunnel is keyed and what the kernel counted, while the tunnel service tells.
    pub tunnel_status: Option<TunnelView>,
    /// Its software version, once it said so.
    pub version: Option<String>,
    /// How far its clock is ahead of ours, in milliseconds, once measured.
    pub clock_offset_ms: Option<i64>,
    /// Octets of replication received from and sent to it since the service started.
    pub octets: (u64, u64),
    /// Round-trip in milliseconds.
    pub round_trip_ms: Option<f64>,
    /// Changes it still has to send or take.
    pub behind: u64,
    /// The last comparison of all rows with the peer's.
    pub proof: Option<Proof>,
    /// Why the last link ended.
    pub error: Option<String>,
}

impl Node {
    /// The whole cluster for a page.
    pub fn view(&self) -> ClusterView {
        let cluster = self.cluster.borrow().clone();
        let standing = match self.standing() {
            Standing::Standalone => "standalone",
            Standing::Waiting => "waiting",
            Standing::Member(_) => "member",
        };
        ClusterView {
            standing,
            id: cluster.id.map(|id| hex(&id)),
            key_set: cluster.key.is_some(),
            ppk_id: cluster.ppk.as_ref().map(|ppk| ppk.id.clone()),
            certificates: cluster.certificates.as_deref().map(given::summary),
            fields: cluster.fields.clone(),
            peers: (1..=3u8)
                .map(|field| self.peer_view(field, &cluster))
                .collect(),
        }
    }

    fn peer_view(&self, field: u8, cluster: &Cluster) -> PeerView {
        let address = cluster.fields.peers[usize::from(field) - 1];
        let mut view = PeerView {
            field,
            address,
            own: false,
            version: None,
            clock_offset_ms: None,
            octets: (0, 0),
            state: None,
            name: None,
            tunnel: false,
            spis: None,
            tunnel_status: None,
            round_trip_ms: None,
            behind: 0,
            proof: None,
            error: None,
        };
        let Some(address) = address else { return view };
        if self.addresses.borrow().contains(&address) {
            view.state = Some(PeerState::this_system());
            view.name = Some(self.name.clone());
            view.own = true;
            view.version = Some(self.version().to_owned());
            return view;
        }
        let (tunnel, link) = self.heard(address);
        view.tunnel_status = self.tunnel_view(address, link.blocked);
        let spis = view.tunnel_status.as_ref().and_then(|t| t.spis.clone());
        view.spis = spis.map(|[inbound, out]| (inbound, out));
        view.octets = self.traffic(address).octets();
        let stands = matches!(tunnel, TunnelState::Up { .. }) && link.stands();
        let measured = stands && link.skew.is_some();
        view.clock_offset_ms = measured.then_some(link.clock_offset_ms);
        view.version.clone_from(&link.version);
        view.tunnel = matches!(tunnel, TunnelState::Up { .. });
        view.state = Some(peer_state(&tunnel, &link, self.version(), cluster.id));
        view.round_trip_ms = link
            .round_trip_us
            .filter(|_| stands)
            .map(|us| us as f64 / 1000.0);
        view.behind = link.behind;
        view.proof = replication::proof(self, address).map(|(at_ms, proven)| Proof {
            at_ms,
            identical: proven.is_identical(),
            stopped: proven.stopped,
            differing: proven.differing,
            repaired: proven.repaired,
            unclear: proven.unclear,
        });
        // Libraries add where their manual says more, which helps no operator.
        let words = |error: &String| error.split(": https").next().unwrap_or_default().to_owned();
        view.error = link.error.as_ref().map(words);
        view.name = link.name;
        view
    }

    /// How a peer's tunnel is keyed, and what passed by it.
    fn tunnel_view(&self, address: IpAddr, blocked: bool) -> Option<TunnelView> {
        let tunnels = self.tunnels.borrow();
        let status = tunnels.iter().flatten().find(|s| s.address == address)?;
        let heard_ms = self.tunnels_ms.load(Ordering::Relaxed);
        let counted = self.counted.borrow();
        let traffic = counted.get(&address);
        Some(TunnelView::new(heard_ms, status, blocked, traffic))
    }

    /// What is heard of a peer: its tunnel and its link.
    fn heard(&self, address: IpAddr) -> (TunnelState, LinkState) {
        let mut link = self.links().get(&address).cloned().unwrap_or_default();
        link.blocked = self.blocked.borrow().contains(&address);
        let tunnels = self.tunnels.borrow();
        let Some(list) = tunnels.as_ref() else {
            let words = "The tunnel service is not running";
            return (TunnelState::Failed(words.into()), link);
        };
        match list.iter().find(|status| status.address == address) {
            None => (TunnelState::Connecting, link),
            Some(status) => (status.state.clone(), link),
        }
    }

    /// What clustering needs, and how it stands. `system` are the settings, where they can be read.
    pub fn prerequisites(&self, system: Option<&System>) -> Vec<Check> {
        let fields = self.cluster.borrow().fields.clone();
        let own = crate::cluster::Own {
            synchronized: match self.time.borrow().state {
                State::Starting => None,
                _ => Some(self.synchronized.load(Ordering::Relaxed)),
            },
            dns_servers: system.map(|system| system.dns_servers.len()),
            host_name: self.name.clone(),
            domain_name: system.map(|system| system.domain_name.clone()),
            addresses: self.own(),
            release: self.release.get().cloned().flatten(),
            peers: fields.peers,
            version: self.version(),
        };
        let path = |address| {
            self.paths
                .borrow()
                .get(&address)
                .copied()
                .unwrap_or_default()
        };
        let of = |(field, address)| (field, self.heard(address), path(address));
        let heard: Vec<_> = self.others().into_iter().map(of).collect();
        let peers: Vec<crate::cluster::Peer<'_>> = heard
            .iter()
            .map(|(field, (tunnel, link), path)| crate::cluster::Peer {
                field: *field,
                tunnel,
                link,
                path: *path,
            })
            .collect();
        prerequisites(&own, &peers)
    }
}
