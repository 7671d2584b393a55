//! One peer link as a state machine.
