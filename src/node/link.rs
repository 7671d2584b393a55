//! One replication link between two peers: tokio around `replica::session`.
