//! Asks `keyer` what the kernel counted on the SAs of a peer.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use crate::node::ipc::{Connection, IpcError};
use crate::tunnel::message::{AhTraffic, KeyerReply, KeyerRequest, SaCounters};

/// An answer of `keyer` that takes longer never comes.
const ANSWER: Duration = Duration::from_secs(5);

/// What was counted for one peer.
pub(super) struct Counted {
    pub peer: IpAddr,
    /// On SAs that the kernel holds.
    pub standing: Vec<SaCounters>,
    /// On those that are gone.
    pub removed: AhTraffic,
}

impl Counted {
    /// On all.
    pub fn traffic(&self) -> AhTraffic {
        let mut all = self.removed;
        for sa in &self.standing {
            all.add(sa);
        }
        all
    }
}

/// Reads the counters of some peers; those that `keyer` does not list are left out. A connection
/// of its own: answers to the core's requests come in order on the other.
pub(super) async fn read(keyer: &Path, peers: &[IpAddr]) -> Result<Vec<Counted>, IpcError> {
    let mut keyer = Connection::<KeyerRequest, KeyerReply>::connect(keyer).await?;
    let mut found = Vec::new();
    for &peer in peers {
        keyer.send(&KeyerRequest::Counters { peer }).await?;
        let answer = timeout(ANSWER, async {
            loop {
                match keyer.recv().await? {
                    Some(KeyerReply::Acquire { .. } | KeyerReply::Expired { .. }) => {}
                    answer => return Ok::<_, IpcError>(answer),
                }
            }
        });
        match answer.await {
            Ok(Ok(Some(KeyerReply::Counters { standing, removed }))) => found.push(Counted {
                peer,
                standing,
                removed,
            }),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(IpcError::Cut),
        }
    }
    Ok(found)
}
