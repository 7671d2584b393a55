//! Who founds a cluster, who adopts one, and who stands alone.

use super::Fields;
use std::net::IpAddr;

/// Where this node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No key, no peers.
    Standalone,
    /// Configured, without a cluster yet: waits for a member to adopt from.
    Waiting,
    /// Member of this cluster.
    Member([u8; 16]),
}

/// What to do after the fields were saved or the service started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing changes.
    Stay(Standing),
    /// Found a new cluster: draw a random id and keep it.
    Found,
    /// Forget cluster id and key: standalone again, data kept.
    Leave,
}

/// `keyed`: whether there is something to prove itself with, key or certificates, and anything to
/// prove it for.
///
/// The founding rule: a node without a cluster founds one only as the printed procedure has it,
/// with a key, itself in Peer 1 and Peers 2 and 3 blank. So replaced hardware at Peer 1's address
/// cannot found a second, empty cluster: its list names the others.
pub fn next_step(fields: &Fields, keyed: bool, own: &[IpAddr], cluster: Option<[u8; 16]>) -> Step {
    if fields.is_blank() && !keyed {
        return Step::Leave;
    }
    if let Some(id) = cluster {
        return Step::Stay(Standing::Member(id));
    }
    let alone = fields.peers[1].is_none() && fields.peers[2].is_none();
    if keyed && alone && fields.own_field(own) == Some(1) {
        return Step::Found;
    }
    Step::Stay(Standing::Waiting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(peers: [&str; 3], keyed: bool, cluster: Option<[u8; 16]>) -> Step {
        let fields = Fields {
            peers: peers.map(|text| text.parse().ok()),
            ..Fields::default()
        };
        next_step(&fields, keyed, &["192.0.2.11".parse().unwrap()], cluster)
    }

    #[test]
    fn only_the_printed_procedure_founds_a_cluster() {
        assert_eq!(step(["192.0.2.11", "", ""], true, None), Step::Found);
        let waiting = Step::Stay(Standing::Waiting);
        assert_eq!(step(["192.0.2.11", "192.0.2.12", ""], true, None), waiting);
        assert_eq!(step(["", "192.0.2.11", ""], true, None), waiting);
        assert_eq!(step(["192.0.2.11", "", ""], false, None), waiting);
    }

    #[test]
    fn a_member_stays_one_until_everything_is_cleared() {
        let member = Step::Stay(Standing::Member([7; 16]));
        assert_eq!(step(["192.0.2.11", "", ""], true, Some([7; 16])), member);
        assert_eq!(step(["", "", ""], false, Some([7; 16])), Step::Leave);
    }
}
