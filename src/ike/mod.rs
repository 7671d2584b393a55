//! ISAKMP as a state machine: a datagram or a timer in, actions out.
