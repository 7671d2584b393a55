//! Length-prefixed serde messages over unix sockets, with SO_PEERCRED checks.
