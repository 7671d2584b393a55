//! Three real `tutti serve` processes on loopback form a cluster in the printed order, replicate,
//! and survive a restart. Only `ike` is a stand-in: a socket that reports tunnels with pins, as
//! the real one does; everything behind it, TLS pins included, is the product.
#![allow(clippy::unwrap_used, reason = "a test; a panic is its way to fail")]

#[path = "serve/peer.rs"]
mod peer;

use std::os::unix::fs::FileExt;

use peer::{Cluster, KEY, Peer};
use rusqlite::Connection;
use serde_json::json;

#[test]
fn three_systems_cluster_in_the_printed_order_and_share_rows() {
    let cluster = Cluster::start("order");
    let [a, b, c] = &cluster.peers;

    // The initial peer: key, itself in Peer 1, the rest blank.
    a.set(json!({ "key": KEY, "peer1": a.ip }));
    a.wait_state(&a.ip, "This system");
    assert_eq!(a.get("/cluster")["standing"], "member");
    a.post(
        "/tables/note/rows",
        json!({ "id": "1", "text": "from the initial peer" }),
    );
    // What a joiner had of its own is replaced by the cluster's.
    b.post("/tables/note/rows", json!({ "id": "x", "text": "b's own" }));

    a.set(json!({ "peer1": a.ip, "peer2": b.ip }));
    b.set(json!({ "key": KEY, "peer1": a.ip, "peer2": b.ip }));
    a.wait_state(&b.ip, "Active as peer-b");
    b.wait_state(&a.ip, "Active as peer-a");
    assert_eq!(a.get("/cluster")["id"], b.get("/cluster")["id"]);
    assert_eq!(b.texts(), ["from the initial peer"]);
    assert!(
        b.has_backup(),
        "the joiner's own database is kept as a backup"
    );

    let all = json!({ "peer1": a.ip, "peer2": b.ip, "peer3": c.ip });
    a.set(all.clone());
    b.set(all);
    c.set(json!({ "key": KEY, "peer1": a.ip, "peer2": b.ip, "peer3": c.ip }));
    for peer in [a, b, c] {
        for other in [a, b, c].iter().filter(|other| other.ip != peer.ip) {
            peer.wait_state(&other.ip, &format!("Active as {}", other.name));
        }
    }
    for (peer, id) in [(a, "2"), (b, "3"), (c, "4")] {
        peer.post(
            "/tables/note/rows",
            json!({ "id": id, "text": format!("by {}", peer.name) }),
        );
    }
    let expected = [
        "from the initial peer",
        "by peer-a",
        "by peer-b",
        "by peer-c",
    ];
    for peer in [a, b, c] {
        peer.wait(|| peer.texts() == expected, "all four rows");
    }
    assert_eq!(a.get("/digest")["digest"], c.get("/digest")["digest"]);
}

#[test]
fn a_peer_that_was_away_catches_up_and_a_cut_tunnel_says_so() {
    let mut cluster = Cluster::start("away");
    cluster.form_pair();
    {
        let [a, b, _] = &cluster.peers;
        a.tunnels(false);
        b.tunnels(false);
        a.wait_state(&b.ip, "Unreachable");
        a.post(
            "/tables/note/rows",
            json!({ "id": "1", "text": "while cut" }),
        );
        a.tunnels(true);
        b.tunnels(true);
        b.wait(
            || b.texts() == ["while cut"],
            "the row written during the cut",
        );
    }
    cluster.peers[1].stop();
    cluster.peers[0].post(
        "/tables/note/rows",
        json!({ "id": "2", "text": "while away" }),
    );
    cluster.peers[1].restart();
    let [a, b, _] = &cluster.peers;
    b.wait(
        || b.texts() == ["while cut", "while away"],
        "the row written while it was away",
    );
    a.wait_state(&b.ip, "Active as peer-b");
    // Maintenance > Restart options > Restart: the code on which the unit starts it again.
    b.post("/restart", json!({}));
    let code = cluster.peers[1].exit_code();
    assert_eq!(code, Some(75));
}

#[test]
fn leaving_keeps_the_data_and_forgets_key_and_cluster() {
    let cluster = Cluster::start("leaving");
    cluster.form_pair();
    let [a, b, _] = &cluster.peers;
    a.post("/tables/note/rows", json!({ "id": "1", "text": "kept" }));
    b.wait(|| b.texts() == ["kept"], "the row");
    b.post("/tables/note/rows", json!({ "id": "2", "text": "mine" }));
    let member = last_origin(b);
    b.set(json!({ "key": "", "peer1": "", "peer2": "" }));
    let left = b.get("/cluster");
    assert_eq!(left["standing"], "standalone");
    assert_eq!(left["key_set"], false);
    assert!(left["id"].is_null());
    assert_eq!(b.texts(), ["kept", "mine"]);
    assert!(!b.peers_file().exists(), "no peer list is left");
    // A number of its former incarnation never means two things, whatever it writes alone.
    b.post("/tables/note/rows", json!({ "id": "3", "text": "alone" }));
    assert_ne!(
        last_origin(b),
        member,
        "it writes under a fresh incarnation"
    );
}

/// The incarnation of a system's latest transaction.
fn last_origin(peer: &Peer) -> i64 {
    let dir = tempfile::tempdir().unwrap();
    let db = Connection::open(peer.copy_database(dir.path())).unwrap();
    let sql = "SELECT origin FROM _tutti_log ORDER BY position DESC LIMIT 1";
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_system_with_others_in_its_list_waits_and_founds_nothing() {
    let cluster = Cluster::start("waits");
    let [a, b, _] = &cluster.peers;
    a.set(json!({ "key": KEY, "peer1": a.ip, "peer2": b.ip }));
    assert_eq!(a.get("/cluster")["standing"], "waiting");
    let refused = a.try_set(json!({ "key": "short", "peer1": "nonsense", "peer2": a.ip }));
    let words = refused.expect_err("must be refused");
    assert!(words.contains("Cluster pre-shared key") && words.contains("not an IP address"));
}

#[test]
fn a_changed_profile_is_in_use_at_once_and_named_until_all_peers_have_it() {
    let cluster = Cluster::start("profile");
    cluster.form_pair();
    let [a, b, _] = &cluster.peers;
    let both = json!({ "peer1": a.ip, "peer2": b.ip, "profile": "main-mode" });
    a.set(both.clone());
    a.wait_state(&b.ip, "Different IKE profile");
    b.wait_state(&a.ip, "Different IKE profile");
    b.set(both);
    a.wait_state(&b.ip, "Active as peer-b");
    b.wait_state(&a.ip, "Active as peer-a");
    assert_eq!(b.get("/cluster")["profile"], "main-mode");
    // What is left out stays.
    b.set(json!({ "peer1": a.ip, "peer2": b.ip }));
    assert_eq!(b.get("/cluster")["profile"], "main-mode");
}

#[test]
fn the_cluster_fields_of_a_first_boot_are_taken_once() {
    const SECRET: &str = "c3vn-3jkq-7wzd-p9fm-x2rt-8bhy-n4va-e6us-hd5c-kg7q-ty2w-am9x-zr3b";
    let mut cluster = Cluster::start("first-boot");
    let a = &mut cluster.peers[0];
    let left = a.database().with_file_name("initial-cluster.json");
    let fields = json!({
        "key": KEY,
        "peers": [a.ip],
        "additional_key_exchange": "off",
        "post_quantum_key_id": "lab",
        "post_quantum_key": SECRET,
    });
    std::fs::write(&left, fields.to_string()).unwrap();
    a.restart();
    assert!(!left.exists());
    let told = a.get("/cluster");
    assert_eq!(told["peer1"], a.ip);
    assert_eq!(
        (&told["key_set"], &told["post_quantum_key_set"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        (&told["profile"], &told["additional_key_exchange"]),
        (&json!("ikev2"), &json!("off"))
    );
    assert_eq!(told["post_quantum_key_id"], "lab");
}

/// Writes nonsense over a part of a stopped system's database, in hundredths of its size.
fn damage(peer: &Peer, from: u64, to: u64) {
    let path = peer.database();
    // Everything in the one file, nothing in its WAL.
    let db = Connection::open(&path).unwrap();
    let folded = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
    assert_eq!(folded, Ok(0), "the checkpoint was kept from its end");
    db.close().unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let size = file.metadata().unwrap().len();
    let (from, to) = (size * from / 100, size * to / 100);
    let nonsense = vec![0xa5; (to - from) as usize];
    file.write_all_at(&nonsense, from).unwrap();
}

/// Rows that fill the file from about its tenth part on; what its log has of them comes after.
fn import_much(peer: &Peer) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("item.db");
    let sql = "CREATE TABLE item(id INTEGER PRIMARY KEY, text TEXT);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
        INSERT INTO item SELECT i, hex(randomblob(300)) FROM n;";
    Connection::open(&file).unwrap().execute_batch(sql).unwrap();
    peer.import(&file);
}

#[test]
fn a_member_whose_disk_damaged_its_database_gets_everything_back_from_the_others() {
    let mut cluster = Cluster::start("damage");
    cluster.form();
    import_much(&cluster.peers[0]);
    let digest = cluster.peers[0].get("/digest")["digest"].clone();
    for peer in &cluster.peers {
        peer.wait(|| peer.get("/digest")["digest"] == digest, "the import");
    }

    // Not a database any more: it is set aside when the service starts.
    cluster.peers[1].stop();
    damage(&cluster.peers[1], 0, 1);
    cluster.peers[1].restart();
    let b = &cluster.peers[1];
    b.wait(|| b.get("/digest")["digest"] == digest, "its rows again");
    assert_eq!(b.aside(), 1);
    let events = b.get("/events").to_string();
    assert!(events.contains("damaged on the disk"), "{events}");
    cluster.wait_active();

    // Some pages of the table (here its log came first): met when somebody reads them, and the
    // service restarts on a new database.
    cluster.peers[2].stop();
    damage(&cluster.peers[2], 36, 40);
    cluster.peers[2].restart();
    cluster.peers[2].try_get("/digest").unwrap_err();
    assert_eq!(cluster.peers[2].exit_code(), Some(75));
    cluster.peers[2].restart();
    let c = &cluster.peers[2];
    c.wait(|| c.get("/digest")["digest"] == digest, "its rows again");
    assert_eq!(c.aside(), 1);
    cluster.wait_active();
    let row = json!({ "id": "1", "text": "after it" });
    cluster.peers[2].post("/tables/note/rows", row);
    let a = &cluster.peers[0];
    a.wait(|| a.texts() == ["after it"], "a row of the rebuilt system");
}

#[test]
fn no_other_process_reads_or_writes_the_database_of_a_system_that_runs() {
    let mut cluster = Cluster::start("owned");
    // It opens the file to copy it; closed again, that would end SQLite's lock on it.
    cluster.form_pair();
    let path = cluster.peers[0].database();
    let count = || {
        let db = Connection::open(&path).unwrap();
        let sql = "SELECT count(*) FROM _tutti_table";
        db.query_row(sql, [], |row| row.get::<_, i64>(0))
    };
    let refused = count().unwrap_err().sqlite_error_code();
    assert_eq!(refused, Some(rusqlite::ErrorCode::DatabaseBusy));
    cluster.peers[0].stop();
    assert!(count().unwrap() > 0);
}

#[test]
fn a_system_alone_serves_what_can_be_read_of_a_damaged_database() {
    let mut cluster = Cluster::start("alone");
    import_much(&cluster.peers[0]);
    cluster.peers[0].stop();
    damage(&cluster.peers[0], 15, 20);
    cluster.peers[0].restart();
    let a = &cluster.peers[0];
    a.try_get("/digest").unwrap_err();
    assert_eq!(a.get("/cluster")["standing"], "standalone");
    assert_eq!(a.aside(), 0);
    let alarms = || a.get("/alarms").to_string();
    a.wait(|| alarms().contains("database-damaged"), "an alarm");
    let (status, _, why) = a.ask("GET", "/healthz", &json!(null));
    assert_eq!(
        (status, &*why),
        (503, "the database is damaged on the disk\n")
    );
}

#[test]
fn a_certificate_is_renewed_on_both_sides_and_no_link_is_cut() {
    let cluster = Cluster::start("renewal");
    cluster.form_pair();
    let [a, b, _] = &cluster.peers;
    let fingerprint = |peer: &Peer| peer.get("/status")["certificate"].clone();
    let before = [a, b].map(fingerprint);
    // Every state of a link passes by here, however short.
    let ends = [a, b].map(|peer| peer.log().matches("ended").count());
    let mut written = Vec::new();
    let mut write = |peer: &Peer| {
        let id = format!("{:03}", written.len());
        peer.post("/tables/note/rows", json!({ "id": id, "text": id }));
        written.push(id);
    };
    b.hears(false);
    a.post("/certificate/renew", json!({}));
    // b did not take it: a goes on with the old one, and a second renewal is refused.
    write(a);
    assert!(
        a.try_post("/certificate/renew")
            .unwrap_err()
            .contains("under way")
    );
    assert_eq!(fingerprint(a), before[0]);
    let told = |peer: &Peer| peer.get("/certificate")["peers"][0]["told"].clone();
    a.wait(|| told(a) == json!(false), "word that b was not told");
    b.hears(true);
    b.post("/certificate/renew", json!({}));
    for (peer, before) in [(a, &before[0]), (b, &before[1])] {
        let presented = || {
            write(peer);
            &fingerprint(peer) != before
        };
        peer.wait_mut(presented, "its new certificate to be presented");
    }
    for (peer, other) in [(a, b), (b, a)] {
        peer.wait(|| peer.texts() == written, "all that was written meanwhile");
        peer.wait_state(&other.ip, &format!("Active as {}", other.name));
        assert!(peer.events().contains("announced another certificate"));
    }
    let after = [a, b].map(|peer| peer.log().matches("ended").count());
    assert_eq!(after, ends, "the links of before stand");
    // And the new ones are what the next link is made with.
    a.tunnels(false);
    a.wait_state(&b.ip, "Unreachable");
    a.tunnels(true);
    a.wait_state(&b.ip, "Active as peer-b");
    b.wait_state(&a.ip, "Active as peer-a");
}

#[test]
fn a_renewal_survives_a_restart_and_ends_after_it() {
    let mut cluster = Cluster::start("renewal-restart");
    cluster.form_pair();
    let before = cluster.peers[0].get("/status")["certificate"].clone();
    cluster.peers[1].hears(false);
    cluster.peers[0].post("/certificate/renew", json!({}));
    let next = cluster.peers[0].get("/certificate")["next"].clone();
    assert!(next.is_string());
    cluster.peers[0].restart();
    let [a, b, _] = &cluster.peers;
    assert_eq!(a.get("/status")["certificate"], before);
    assert_eq!(a.get("/certificate")["next"], next);
    b.hears(true);
    a.wait(
        || a.get("/status")["certificate"] == next,
        "the renewal's end",
    );
    a.wait_state(&b.ip, "Active as peer-b");
    b.wait_state(&a.ip, "Active as peer-a");
}
