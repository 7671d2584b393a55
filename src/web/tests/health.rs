//! What watchers ask: `/healthz` and `/metrics`.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::*;
use crate::cluster::Change;
use crate::store::StoreError;
use crate::tunnel::message::{
    AhSuite, AhTraffic, Carried, Dropped, Integrity, LastError, PeerStatus, Profile, TunnelState,
};

#[tokio::test]
async fn a_database_that_takes_no_writes_is_unhealthy_until_there_is_room() {
    let site = site("administrator", false);
    let store = &site.node.store;
    assert_eq!(site.get("/healthz", "").await.0, StatusCode::OK);
    let table = "CREATE TABLE note(id TEXT PRIMARY KEY NOT NULL, text)";
    store.declare(table).unwrap();
    store.set_size_bound(Some(300_000)).unwrap();
    let insert = "INSERT INTO note VALUES (?, ?)";
    let text = "x".repeat(2_000);
    let row = |id: u32| [id.to_string().as_str().into(), text.as_str().into()];
    let full = (0..1_000).find_map(|id| store.transact(|tx| tx.execute(insert, &row(id))).err());
    assert!(matches!(full, Some(StoreError::Full)), "{full:?}");
    let (status, _, why) = site.get("/healthz", "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(why, "the database takes no writes\n");
    store.set_size_bound(None).unwrap();
    store.probe().unwrap();
    assert_eq!(site.get("/healthz", "").await.0, StatusCode::OK);
}

/// Names of figures in a text, without those of labels.
fn figures(text: &str) -> BTreeSet<String> {
    let plain = |c: char| !(c.is_ascii_lowercase() || c == '_');
    let words = text.split(plain);
    let named = words.filter(|word| word.starts_with("tutti_"));
    named.map(str::to_owned).collect()
}

/// A system of a cluster with one other peer.
fn of_a_cluster() -> Site {
    let site = site("administrator", false);
    let change = Change {
        key: Some("vary-9umbrella-Kilo42-tidal-basin".into()),
        peers: ["192.0.2.11".into(), "192.0.2.12".into(), String::new()],
        join: true,
        ..Change::clear()
    };
    site.node.save(&change).unwrap();
    site
}

#[tokio::test]
async fn the_figures_are_those_of_the_manual_each_with_its_type_and_a_value() {
    let site = of_a_cluster();
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let (status, _, text) = site.send(Origin::Local(0), request).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let manual = include_str!("../../../docs/operations.md");
    let part = manual.split("`GET /metrics`").nth(1).unwrap();
    let documented = figures(part.split("`GET /healthz`").next().unwrap());
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let told: BTreeSet<String> = types
        .map(|line| line.split(' ').next().unwrap().into())
        .collect();
    assert_eq!(told, documented);
    // Figures of a peer that was never met are not known.
    let unknown = [
        "tutti_peer_round_trip_seconds",
        "tutti_peer_clock_offset_seconds",
        "tutti_peer_ah_received_bytes_total",
        "tutti_peer_ah_received_packets_total",
        "tutti_peer_ah_sent_bytes_total",
        "tutti_peer_ah_sent_packets_total",
        "tutti_peer_ah_replays_total",
        "tutti_peer_ah_integrity_failures_total",
        "tutti_ike_dropped_total",
    ];
    for name in told.iter().filter(|name| !unknown.contains(&name.as_str())) {
        let value = text.lines().find(|line| {
            let rest = line.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.starts_with([' ', '{']))
        });
        let value = value.unwrap_or_else(|| panic!("no value of {name} in {text}"));
        let number = value.rsplit(' ').next().unwrap();
        assert!(number.parse::<f64>().is_ok(), "{value}");
    }
    assert!(
        text.contains("tutti_peer_tunnel{peer=\"2\",address=\"192.0.2.12\"} 0"),
        "{text}"
    );
}

#[tokio::test]
async fn the_cluster_page_says_how_a_tunnel_is_keyed_and_what_passed_by_it() {
    let site = of_a_cluster();
    let address = "192.0.2.12".parse().unwrap();
    let status = PeerStatus {
        for_ms: 62_000,
        spis: Some((0x1234, 0xabcd)),
        proposal: Some(Profile::default().ike[0]),
        ah: Some(AhSuite {
            integrity: Integrity::HmacSha2_256_128,
            esn: true,
        }),
        last_error: Some(LastError {
            state: TunnelState::NoAnswer,
            blocked: false,
            ago_ms: 62_000,
        }),
        ..PeerStatus::of(address, TunnelState::Up { certificate: None })
    };
    site.node.tunnels.send_replace(Some(vec![status]));
    let at = 1_795_434_902_000;
    site.node.tunnels_ms.store(at, Ordering::Relaxed);
    let counted = AhTraffic {
        received: Carried {
            bytes: 12_345,
            packets: 67,
        },
        replays: 5,
        integrity_failures: 6,
        ..AhTraffic::default()
    };
    let counted = [(address, counted)].into();
    site.node.counted.send_replace(counted);
    let dropped = Dropped {
        header: 3,
        ..Dropped::default()
    };
    site.node.dropped.send_replace(Some(dropped));
    let cookie = site.login().await;
    let (status, _, page) = site.get("/status/cluster", &cookie).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    for words in [
        "up, since 2026-11-23 11:54:00 UTC",
        "IKEv2, aes256gcm16-prfsha256-x25519-ke1_mlkem768",
        "sha256-esn, SPI 00001234 in, 0000abcd out",
        "12.3 kB in 67 packets",
        "0 B in 0 packets",
        "5 replays, 6 packets with a failed integrity check",
        "no answer on UDP 500, until 2026-11-23 11:54:00 UTC",
        "were dropped: 3 without a valid header.",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
}
