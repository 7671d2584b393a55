//! The first-boot wizard as a state machine.
