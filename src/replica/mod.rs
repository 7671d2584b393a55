//! Row-level multi-master replication as a state machine.
