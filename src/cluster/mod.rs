//! Membership, peer states and join rules.
//!
//! Pure: it judges what an operator typed, who founds a cluster and who adopts one, and which words
//! describe a peer. It never touches a socket, a clock or the database.

mod fields;
mod key;
mod membership;
mod roster;
mod state;

pub use fields::{Change, Field, Fields, Problem};
pub use key::{KeyProblem, check as check_key, from_random as key_from_random};
pub use membership::{Standing, Step, next_step};
pub use roster::Roster;
pub use state::{Colour, LinkState, PeerState, peer_state};
