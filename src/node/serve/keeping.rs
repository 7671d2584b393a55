//! What is kept for peers, and forgotten once all of them have it: the log, tombstones, closed
//! incarnations.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::node::Node;
use crate::sys::disk;

/// How often something may be forgotten.
const PERIOD: Duration = Duration::from_secs(60);
/// How often it is looked whether what waits for the clock is due.
const DUE: Duration = Duration::from_millis(250);
/// The log takes at most this part of the disk.
const LOG: u64 = 4;
/// The database, log included, takes at most so many hundredths: the rest is for its WAL, a
/// snapshot on its way, and the system's own logs.
const DATABASE: u64 = 60;

/// Of a data partition of `size` bytes, how many the log and the whole database may take.
fn bounds(size: u64) -> (u64, u64) {
    (size / LOG, size / 100 * DATABASE)
}

/// Follows the peer list and what peers say of theirs, for ever.
pub async fn run(node: Arc<Node>) {
    match disk::size(node.store.directory()) {
        Ok(size) => {
            let (log, database) = bounds(size);
            node.store.set_log_bound(log);
            if let Err(error) = node.store.set_size_bound(Some(database)) {
                tracing::error!(%error, "the database's size could not be bounded");
            }
        }
        Err(error) => tracing::warn!(%error, "the size of the data partition is not known"),
    }
    let mut cluster = node.cluster.subscribe();
    let mut met = node.met.subscribe();
    loop {
        cluster.mark_unchanged();
        met.mark_unchanged();
        count(&node);
        let keeper = Arc::clone(&node);
        let trimmed = tokio::task::spawn_blocking(move || {
            // A copy that nobody fetches holds back the log, also where no link stands.
            keeper.store.expire_staged();
            keeper.store.trim()
        })
        .await;
        match trimmed {
            Ok(Ok(trimmed)) => {
                for peer in &trimmed.marked {
                    let hex = super::node::hex(peer);
                    tracing::warn!(
                        "the log is beyond its bound: node {hex} has been away too long and takes \
                         a snapshot when it comes back"
                    );
                }
            }
            Ok(Err(error)) => tracing::error!(%error, "the log could not be trimmed"),
            Err(error) => tracing::error!(%error, "trimming the log failed"),
        }
        tokio::select! {
            changed = cluster.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            _ = met.changed() => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// Applies what waited for the clock and is due, whether or not a link stands: who brought it may
/// be gone for good.
pub async fn release(node: Arc<Node>) {
    loop {
        tokio::time::sleep(DUE).await;
        if !node.store.waits() {
            continue;
        }
        let keeper = Arc::clone(&node);
        match tokio::task::spawn_blocking(move || keeper.store.release()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "what waited for the clock could not be applied")
            }
            Err(error) => tracing::error!(%error, "applying what waited for the clock failed"),
        }
    }
}

/// Tells the store for whom it keeps its log.
fn count(node: &Node) {
    let listed = listed(node);
    let (known, unknown) = node.met.borrow().counted(node.store.node(), &listed);
    node.store.set_peers(known, unknown);
}

/// The addresses of the other peers.
pub fn listed(node: &Node) -> Vec<IpAddr> {
    let fields = node.cluster.borrow().fields.clone();
    let own = node.own();
    let peers = fields.peers.into_iter().flatten();
    peers.filter(|peer| !own.contains(peer)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_takes_a_quarter_of_the_data_partition_and_the_database_with_it_three_fifths() {
        assert_eq!(bounds(100 << 30), (25 << 30, 60 << 30));
        // The largest transaction fits into the log of a small one, and room is left besides.
        let (log, database) = bounds(2 << 30);
        let largest = crate::replica::change::MAX_TRANSACTION as u64;
        assert!(log >= largest && database >= log + largest);
        assert_eq!(bounds(0), (0, 0));
    }
}
