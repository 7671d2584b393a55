//! Replication frames between peers (inside TLS inside AH).
