//! A real browser goes through every page of a real cluster on loopback: three `tutti serve`
//! processes, of which only `ike` is a stand-in. What the browser looks at is in pages.py; in guide.py
//! it makes the cluster.

#![allow(clippy::unwrap_used, reason = "a test; a panic is its way to fail")]

#[path = "../serve/peer.rs"]
mod peer;

use std::path::Path;
use std::process::Command;

use peer::{Cluster, KEY, Peer};
use serde_json::json;

const PASSWORD: &str = "tidal basin umbrella 42";

const SETTINGS: &str = "protocol = 'ipv4'\nhost_name = 'peer-a'\ndomain_name = 'lab.example'\n\
    dns_servers = ['192.0.2.1']\nntp_servers = ['192.0.2.1', 'ntp.lab.example']\n\
    [ipv4.static]\naddress = '192.0.2.11'\nprefix = 24\ngateway = '192.0.2.1'\n";

/// An account whose password is no first one.
fn account(peer: &Peer, name: &str, role: &str) {
    let new = json!({ "name": name, "password": PASSWORD, "role": role });
    peer.post("/administrators", new);
    peer.put("/password", json!({ "name": name, "password": PASSWORD }));
}

#[test]
fn every_page_is_clean_calm_and_reachable_in_a_real_browser() {
    let mut cluster = Cluster::start("browser");
    let url = cluster.peers[0].open_web();
    cluster.form();
    let [a, b, c] = &cluster.peers;
    account(a, "admin", "administrator");
    account(a, "kim", "read-only");
    a.post(
        "/tables",
        json!({
            "sql": "CREATE TABLE room (id INTEGER PRIMARY KEY, name TEXT NOT NULL, seats INTEGER);",
            "keys": "engine",
        }),
    );
    for (seats, name) in (4..).zip(["Alder", "Birch", "Cedar", "Oak"]) {
        a.post("/tables/room/rows", json!({ "name": name, "seats": seats }));
    }
    a.post(
        "/tokens",
        json!({ "owner": "admin", "label": "backup script", "read_only": true }),
    );
    // Two write one value while they do not see each other: one of them loses.
    a.post("/tables/note/rows", json!({ "id": "1", "text": "before" }));
    b.wait(|| b.texts() == ["before"], "the row");
    a.tunnels(false);
    a.wait_state(&b.ip, "Unreachable");
    a.post("/tables/note/rows", json!({ "id": "1", "text": "by a" }));
    b.post("/tables/note/rows", json!({ "id": "1", "text": "by b" }));
    a.tunnels(true);
    a.wait_state(&b.ip, "Active as peer-b");
    let lost = || a.get("/conflicts")["conflicts"].as_array().unwrap().len();
    a.wait(|| lost() == 1, "the conflict");
    c.tunnels(false);
    a.wait_state(&c.ip, "Unreachable");
    let alarms = || a.get("/alarms")["alarms"].to_string();
    a.wait(|| alarms().contains("Unreachable"), "the alarm");

    // Another, alone, whose settings are kept by a real host role; it applies none of them.
    let mut alone = Cluster::start("alone");
    let settings = alone.peers[0].open_web();
    alone.peers[0].give_host(SETTINGS);
    account(&alone.peers[0], "admin", "administrator");

    let out = pictures();
    look("pages.py", [&url, &settings, PASSWORD, &out]);
}

#[test]
fn three_systems_become_one_by_the_guides_steps_in_a_browser_without_scripts() {
    let mut cluster = Cluster::start("guide");
    let mut places = Vec::new();
    for peer in &mut cluster.peers {
        let url = peer.open_web();
        account(peer, "admin", "administrator");
        places.push(format!("{url}={}", peer.ip));
    }
    let out = pictures();
    let [a, b, c] = &places[..] else {
        unreachable!()
    };
    look("guide.py", [KEY, PASSWORD, &out, a, b, c]);
}

fn pictures() -> String {
    let out = std::env::var("TUTTI_PICTURES");
    out.unwrap_or_else(|_| format!("{}/tutti-pages", std::env::temp_dir().display()))
}

/// Runs one of the scripts, which print what is wrong.
fn look<const N: usize>(script: &str, args: [&str; N]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/browser")
        .join(script);
    let status = Command::new("python3").arg(script).args(args).status();
    assert!(
        status.unwrap().success(),
        "see above, and the pictures in {}",
        pictures()
    );
}
