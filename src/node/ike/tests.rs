use super::*;
use crate::tunnel::message::{Peer, PeerList, Profile, Secret, TunnelState};

fn desired(peers: &[&str]) -> Option<Box<Desired>> {
    let peers = peers.iter().zip(300..).map(|(address, reqid)| Peer {
        address: address.parse().unwrap(),
        reqid,
    });
    Some(Box::new(Desired {
        list: PeerList {
            local: "127.78.8.1".parse().unwrap(),
            peers: peers.collect(),
        },
        key: Secret(b"vary-9umbrella-Kilo42-tidal".to_vec()),
        certificate: [7; 32].into(),
        profile: Profile::default(),
        certificates: None,
        ppk: None,
    }))
}

#[tokio::test]
async fn what_was_said_on_an_older_connection_does_not_undo_what_a_newer_one_said() {
    let (publish, status) = watch::channel(Vec::new());
    let news = (publish, broadcast::channel(1).0);
    let mut ike = Ike::new("/nowhere".into(), news).unwrap();
    let two = desired(&["127.78.8.2", "127.78.8.3"]);
    ike.asked(Asked::Configure(3, two)).await;
    ike.asked(Asked::Configure(2, desired(&["127.78.8.2"])))
        .await;
    ike.asked(Asked::Configure(1, None)).await;
    ike.asked(Asked::Refresh).await;
    assert_eq!(status.borrow().len(), 2);
    // The same connection may change its mind.
    ike.asked(Asked::Configure(3, desired(&["127.78.8.2"])))
        .await;
    ike.asked(Asked::Refresh).await;
    assert_eq!(status.borrow().len(), 1);
}

/// An `ike` and the `keyer` it knows, which has read what it was asked.
async fn asked(ike: &mut Ike, keyers: &tokio::net::UnixListener) -> (Vec<KeyerRequest>, Conn) {
    let allowed = Allowed::new("tutti-ike", &[]).unwrap();
    let (mut keyer, ()) = tokio::join!(
        async { ipc::accept(keyers, &allowed).await.unwrap() },
        ike.act()
    );
    let mut requests: Vec<_> = keyer.recv().await.unwrap().into_iter().collect();
    while let Some(request) = keyer.buffered().unwrap() {
        requests.push(request);
    }
    (requests, keyer)
}

type Conn = Connection<KeyerReply, KeyerRequest>;

/// What it had not answered counted as refused, which ended IKE SAs that worked.
#[tokio::test]
async fn a_keyer_that_begins_again_is_asked_what_the_one_before_has_not_answered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyer.sock");
    let keyers = ipc::listen(&path, 0o600).unwrap();
    let (publish, status) = watch::channel(Vec::new());
    let news = (publish, broadcast::channel(1).0);
    let mut ike = Ike::new(path, news).unwrap();
    ike.asked(Asked::Configure(1, desired(&["127.78.8.2"])))
        .await;
    let (first, keyer) = asked(&mut ike, &keyers).await;
    assert!(first.contains(&KeyerRequest::Reload), "{first:?}");
    drop(keyer);
    let reply = hear(ike.keyer.as_mut()).await;
    ike.heard(reply);
    tokio::time::sleep_until(ike.look_at).await;
    let (again, mut keyer) = asked(&mut ike, &keyers).await;
    assert_eq!(again[..first.len()], first);
    for _ in &again {
        keyer.send(&KeyerReply::Done).await.unwrap();
        let reply = hear(ike.keyer.as_mut()).await;
        ike.heard(reply);
    }
    ike.act().await;
    assert_eq!(status.borrow()[0].state, TunnelState::Connecting);
}

/// Each datagram had it looked for once more, which was most of what a flood of them cost.
#[tokio::test]
async fn a_keyer_that_is_away_is_looked_for_once_in_a_while_whatever_arrives() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keyer.sock");
    let (publish, changes) = (watch::Sender::default(), broadcast::Sender::new(1));
    let mut ike = Ike::new(path.clone(), (publish, changes)).unwrap();
    ike.find_missing().await;
    let _listener = tokio::net::UnixListener::bind(&path).unwrap();
    let before = ike.look_at;
    for _ in 0..10 {
        ike.find_missing().await;
    }
    assert!(ike.keyer.is_none() || ike.look_at > before);
    tokio::time::sleep_until(ike.look_at).await;
    ike.find_missing().await;
    assert!(ike.keyer.is_some());
}
