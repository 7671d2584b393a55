//! The rendered ruleset as the real `nft` reads it, in a network namespace of its own.

use std::fs;
use std::process::Command;

use tutti::settings::firewall::Rules;
use tutti::tunnel::message::{Peer, PeerList, reqid};

fn peers() -> PeerList {
    let peer = |address: &str, field| Peer {
        address: address.parse().expect("an address"),
        reqid: reqid(field),
    };
    PeerList {
        local: "10.9.0.11".parse().expect("an address"),
        peers: vec![peer("10.9.0.12", 2), peer("2001:db8::13", 3)],
    }
}

/// Runs a script as root of a fresh network namespace, with the ruleset's path as `$1`.
fn in_namespace(script: &str, rules: &str) -> String {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), rules).expect("written");
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net", "sh", "-euc", script, "sh"])
        .arg(file.path())
        .output()
        .expect("unshare of util-linux is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{rules}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn nft_accepts_every_shape_of_the_ruleset() {
    let list = peers();
    for peers in [None, Some(&list)] {
        for (ssh, dhcp) in [(false, false), (true, false), (false, true), (true, true)] {
            let rules = Rules { ssh, dhcp, peers };
            in_namespace("nft -c -f \"$1\"", &rules.to_nft());
        }
    }
}

#[test]
fn loading_it_again_replaces_it_whole() {
    let list = peers();
    let rules = Rules {
        ssh: true,
        dhcp: true,
        peers: Some(&list),
    }
    .to_nft();
    let script = "nft -f \"$1\"; nft list ruleset > \"$1.a\"; nft -f \"$1\"; \
                  nft list ruleset > \"$1.b\"; cmp \"$1.a\" \"$1.b\"; cat \"$1.b\"; \
                  rm \"$1.a\" \"$1.b\"";
    let listed = in_namespace(script, &rules);
    assert_eq!(listed.matches("chain input").count(), 1, "{listed}");
    assert!(
        listed.contains("ip saddr 10.9.0.12 ipsec in reqid != 7402 drop"),
        "{listed}"
    );
    assert!(
        listed.contains("ip6 daddr 2001:db8::13 rt ipsec missing drop"),
        "{listed}"
    );
}
