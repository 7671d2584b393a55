//! What an operator can do about a peer's state: the words of its alarm.

use super::{Colour, PeerState};

/// What begins a state that needs somebody, and what to do about it.
const ADVICE: &[(&str, &str)] = &[
    (
        "Unreachable",
        "Check its power, cabling and routes, and that UDP 500 is open both ways.",
    ),
    (
        "Key mismatch",
        "Enter the same cluster pre-shared key on both systems.",
    ),
    (
        "Certificate refused",
        "Renew or replace the certificate that the words name, on its system.",
    ),
    (
        "Clock off",
        "Set working NTP servers on the system that is not synchronized: System > Time. Where both \
         say that they are, look which one is right.",
    ),
    (
        "Protocol 51 blocked",
        "Let IP protocol 51 (AH) through on every firewall between the two.",
    ),
    (
        "NAT between us",
        "Let the two reach each other without address translation: AH does not cross it.",
    ),
    (
        "Different IKE profile",
        "Choose the same IKE profile on every peer: System > Clustering.",
    ),
    (
        "Different authentication",
        "Choose the same authentication on every peer: System > Clustering.",
    ),
    (
        "Post-quantum key",
        "Enter the same post-quantum key and identity on every peer, or on none: System > \
         Clustering.",
    ),
    (
        "No common proposal",
        "Choose the same IKE profile and additional key exchange on every peer.",
    ),
    (
        "Not in its peer list",
        "Add this system's address on that peer: System > Clustering.",
    ),
    (
        "Other cluster",
        "Clear the cluster fields of the system that is to change its cluster.",
    ),
    (
        "Different version",
        "Bring both systems to the same software version.",
    ),
    (
        "Tunnel is up, but no Tutti node answers there",
        "Check that the address is that of a Tutti system, and that its service runs.",
    ),
    (
        "The tunnel service is not running",
        "Restart this system: Maintenance > Restart options. The journal of tutti-ike says why.",
    ),
    (
        "The key service is not running",
        "Restart this system: Maintenance > Restart options. The journal of tutti-keyer says why.",
    ),
    (
        "No answer but the first",
        "Let datagrams on UDP 500 pass that are as large as the path takes, and their fragments.",
    ),
    (
        "No answer to our authentication",
        "Look into the journal of that system; with certificates, let fragments on UDP 500 pass.",
    ),
    (
        "The peer ended the AH pair at once",
        "Look into the journal of that system: its kernel does not take the AH pair.",
    ),
];

/// What to do about a state that needs somebody; none where nobody is needed.
pub fn advice(state: &PeerState) -> Option<&'static str> {
    if state.colour != Colour::Red {
        return None;
    }
    let known = ADVICE
        .iter()
        .find(|(start, _)| state.text.starts_with(start));
    Some(known.map_or(
        "See Status > Cluster for the reason, and the journal of both systems.",
        |(_, advice)| advice,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_red_state_wants_somebody() {
        let state = |text: &str, colour| PeerState {
            text: text.into(),
            colour,
            authenticated: false,
        };
        assert_eq!(advice(&state("Connecting", Colour::Amber)), None);
        let red = |text| advice(&state(text, Colour::Red)).unwrap();
        assert!(red("Unreachable").contains("UDP 500"));
        assert!(red("Clock off by 3.2 s").contains("NTP"));
        assert!(red("Something new").contains("Status > Cluster"));
    }

    #[test]
    fn every_state_that_needs_somebody_is_in_the_operators_table() {
        let table = include_str!("../../docs/operations.md");
        for (state, _) in ADVICE {
            assert!(table.contains(&format!("\n| `{state}")), "{state}");
        }
    }
}
