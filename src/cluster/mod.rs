//! Membership, peer states and join rules.
