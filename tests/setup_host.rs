//! The host role over its socket, below a directory of its own: typed requests in, files out.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use tutti::node::ipc::Connection;
use tutti::settings::System;
use tutti::settings::message::{HostChange, HostReply, HostRequest, Shown};
use tutti::tunnel::message::{Peer, PeerList, reqid};

struct Role(Child);

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(dir: &Path) -> Role {
    start_with(dir, 60)
}

fn start_with(dir: &Path, trial_s: u16) -> Role {
    let child = Command::new(env!("CARGO_BIN_EXE_tutti"))
        .args(["host", "--trial-seconds", &trial_s.to_string(), "--root"])
        .arg(dir.join("root"))
        .arg("--run")
        .arg(dir.join("run"))
        .arg("--state")
        .arg(dir.join("state"))
        .spawn();
    Role(child.expect("tutti runs"))
}

async fn connect(dir: &Path) -> Connection<HostRequest, HostReply> {
    loop {
        match Connection::connect(&dir.join("run/host.sock")).await {
            Ok(connection) => return connection,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn ask(to: &mut Connection<HostRequest, HostReply>, request: HostRequest) -> HostReply {
    to.send(&request).await.expect("sent");
    to.recv().await.expect("received").expect("a reply")
}

fn settings(name: &str) -> System {
    let text = format!("protocol = 'ipv4'\nhost_name = '{name}'\nipv4 = 'dhcp'\n");
    System::from_toml(&text).expect("fine settings")
}

#[tokio::test]
async fn settings_and_peers_are_kept_and_rendered() {
    let dir = tempfile::tempdir().expect("a directory");
    let role = start(dir.path());
    let mut host = connect(dir.path()).await;
    let rules = || fs::read_to_string(dir.path().join("root/etc/nftables.conf"));

    assert_eq!(
        ask(&mut host, HostRequest::Apply(settings("one"))).await,
        HostReply::Done
    );
    let name = fs::read_to_string(dir.path().join("root/etc/hostname"));
    assert_eq!(name.expect("rendered"), "one\n");

    let list = PeerList {
        local: [10, 9, 0, 11].into(),
        peers: vec![Peer {
            address: [10, 9, 0, 12].into(),
            reqid: reqid(2),
        }],
    };
    let set = HostRequest::SetPeers(Some(list.clone()));
    assert_eq!(ask(&mut host, set).await, HostReply::Done);
    assert!(rules().expect("rendered").contains("10.9.0.12"));
    let told = fs::read_to_string(dir.path().join("run/peers.json")).expect("rendered");
    assert_eq!(serde_json::from_str::<PeerList>(&told).expect("JSON"), list);

    // The role was killed; the next one renders the same again.
    drop(host);
    drop(role);
    fs::remove_dir_all(dir.path().join("run")).expect("removed");
    let _role = start(dir.path());
    let mut host = connect(dir.path()).await;
    assert!(dir.path().join("run/peers.json").exists());

    assert_eq!(
        ask(&mut host, HostRequest::SetPeers(None)).await,
        HostReply::Done
    );
    assert!(!rules().expect("rendered").contains("10.9.0.12"));
    assert!(!dir.path().join("run/peers.json").exists());
    assert!(!dir.path().join("state/host/peers.json").exists());
}

#[tokio::test]
async fn what_is_not_acceptable_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let _role = start(dir.path());
    let mut host = connect(dir.path()).await;
    assert_eq!(
        ask(&mut host, HostRequest::Apply(settings("one"))).await,
        HostReply::Done
    );
    let evil = System {
        host_name: "a\n[Network]".into(),
        ..settings("two")
    };
    let reply = ask(&mut host, HostRequest::Apply(evil)).await;
    assert!(matches!(reply, HostReply::Failed(why) if why.contains("host_name")));
    let peer = |last, reqid| Peer {
        address: [10, 9, 0, last].into(),
        reqid,
    };
    for peers in [
        vec![peer(12, 1)],
        vec![peer(11, 7402)],
        vec![peer(12, 7402), peer(13, 7402)],
        vec![peer(12, 7401), peer(13, 7402), peer(14, 7403)],
    ] {
        let list = PeerList {
            local: [10, 9, 0, 11].into(),
            peers,
        };
        let reply = ask(&mut host, HostRequest::SetPeers(Some(list))).await;
        assert!(matches!(reply, HostReply::Failed(why) if why.contains("expected")));
    }
    let kept = fs::read_to_string(dir.path().join("state/host/settings.toml"));
    assert!(kept.expect("kept").contains("\"one\""));
    assert!(!dir.path().join("state/host/peers.json").exists());
}

fn name(dir: &Path) -> String {
    let text = fs::read_to_string(dir.join("root/etc/hostname")).expect("rendered");
    text.trim().to_owned()
}

#[tokio::test]
async fn a_change_on_trial_that_nobody_confirms_is_put_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let _role = start_with(dir.path(), 1);
    let mut host = connect(dir.path()).await;
    let done = HostReply::Done;
    assert_eq!(
        ask(&mut host, HostRequest::Apply(settings("one"))).await,
        done
    );
    assert_eq!(
        ask(&mut host, HostRequest::Try(settings("two"))).await,
        done
    );
    let put_back = loop {
        match ask(&mut host, HostRequest::Read).await {
            HostReply::Settings(Some(system), trial) if trial.put_back_ms.is_some() => {
                assert_eq!(trial.left_s, None);
                break system;
            }
            HostReply::Settings(..) => tokio::time::sleep(Duration::from_millis(50)).await,
            other => panic!("{other:?}"),
        }
    };
    let late = ask(&mut host, HostRequest::Confirm).await;
    assert!(matches!(late, HostReply::Failed(why) if why.contains("put back")));
    assert_eq!(
        (put_back.host_name.as_str(), name(dir.path()).as_str()),
        ("one", "one")
    );
    assert_eq!(
        ask(&mut host, HostRequest::Apply(settings("three"))).await,
        done
    );
}

#[tokio::test]
async fn a_change_on_trial_that_is_confirmed_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let role = start(dir.path());
    let mut host = connect(dir.path()).await;
    let done = HostReply::Done;
    assert_eq!(
        ask(&mut host, HostRequest::Apply(settings("one"))).await,
        done
    );
    assert_eq!(
        ask(&mut host, HostRequest::Try(settings("two"))).await,
        done
    );
    assert_eq!(ask(&mut host, HostRequest::Confirm).await, done);
    drop(host);
    drop(role);
    fs::remove_dir_all(dir.path().join("run")).expect("removed");
    let _role = start(dir.path());
    let _host = connect(dir.path()).await;
    assert_eq!(name(dir.path()), "two");
}

#[tokio::test]
async fn a_restart_puts_a_change_on_trial_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let role = start(dir.path());
    let mut host = connect(dir.path()).await;
    let done = HostReply::Done;
    let refused = ask(&mut host, HostRequest::Try(settings("two"))).await;
    assert!(matches!(refused, HostReply::Failed(why) if why.contains("not set up")));
    assert_eq!(
        ask(&mut host, HostRequest::Apply(settings("one"))).await,
        done
    );
    assert_eq!(
        ask(&mut host, HostRequest::Try(settings("two"))).await,
        done
    );
    assert_eq!(name(dir.path()), "two");
    let refused = ask(&mut host, HostRequest::Apply(settings("three"))).await;
    assert!(matches!(refused, HostReply::Failed(why) if why.contains("confirm")));
    assert_eq!(
        ask(&mut host, HostRequest::Try(settings("three"))).await,
        done
    );
    drop(host);
    drop(role);
    fs::remove_dir_all(dir.path().join("run")).expect("removed");
    let _role = start(dir.path());
    let _host = connect(dir.path()).await;
    assert_eq!(name(dir.path()), "one");
    assert!(!dir.path().join("state/host/settings-before.toml").exists());
}

#[tokio::test]
async fn settings_that_cannot_all_be_in_force_are_put_back_and_said_to_be() {
    let dir = tempfile::tempdir().expect("a directory");
    let _role = start(dir.path());
    let mut host = connect(dir.path()).await;
    ask(&mut host, HostRequest::Apply(settings("one"))).await;
    // What is rendered after the host name fails, with the new settings and with the old ones.
    let hosts = dir.path().join("root/etc/hosts");
    fs::remove_file(&hosts).expect("removed");
    fs::create_dir_all(hosts.join("in the way")).expect("made");
    for (request, wanted) in [
        (HostRequest::Apply(settings("two")), "cannot write"),
        (HostRequest::Try(settings("three")), "cannot write"),
        (HostRequest::Confirm, "put back"),
    ] {
        let reply = ask(&mut host, request).await;
        assert!(
            matches!(&reply, HostReply::Failed(why) if why.contains(wanted)),
            "{reply:?}"
        );
        assert_eq!(name(dir.path()), "one");
        let HostReply::Settings(Some(kept), trial) = ask(&mut host, HostRequest::Read).await else {
            panic!("no settings");
        };
        assert_eq!((kept.host_name.as_str(), trial.left_s), ("one", None));
    }
    let all = changes(&mut host, 0).await;
    let put_back = |change: &&HostChange| change.warning && change.text.contains("put back");
    assert_eq!(all.iter().filter(put_back).count(), 2, "{all:?}");
    // What was in the way is gone: the same is taken.
    fs::remove_dir_all(&hosts).expect("removed");
    let done = ask(&mut host, HostRequest::Apply(settings("two"))).await;
    assert_eq!((done, name(dir.path())), (HostReply::Done, "two".into()));
}

/// The changes that wait for the service: who, whence, what, from what, to what.
async fn changes(host: &mut Connection<HostRequest, HostReply>, after: u64) -> Vec<HostChange> {
    match ask(host, HostRequest::Changes(after)).await {
        HostReply::Changes { all, .. } => all,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_root_changes_and_what_nobody_confirms_waits_for_the_event_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let _role = start_with(dir.path(), 1);
    let mut host = connect(dir.path()).await;
    assert_eq!(changes(&mut host, 0).await, vec![]);
    ask(&mut host, HostRequest::Apply(settings("one"))).await;
    ask(&mut host, HostRequest::Try(settings("two"))).await;
    let all = loop {
        let all = changes(&mut host, 0).await;
        if all.len() == 3 {
            break all;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let told = |change: &HostChange| {
        let HostChange {
            who,
            before,
            after,
            warning,
            ..
        } = change.clone();
        (who, before, after, warning)
    };
    let named = |name: &str| format!("host_name: \"{name}\"");
    let root = || "root".to_owned();
    assert!(all[0].after.contains(&named("one")) && all[0].before.is_empty());
    assert_eq!(told(&all[1]), (root(), named("one"), named("two"), false));
    assert_eq!(
        told(&all[2]),
        (String::new(), named("two"), named("one"), true)
    );
    assert!(all[2].text.contains("put back"), "{all:?}");
    assert_eq!(changes(&mut host, all[1].number).await, all[2..]);
}

#[tokio::test]
async fn the_console_shows_what_the_service_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let _role = start(dir.path());
    let mut host = connect(dir.path()).await;
    let done = HostReply::Done;
    assert_eq!(
        ask(&mut host, HostRequest::Apply(settings("one"))).await,
        done
    );
    let shown = Shown {
        certificate: vec![0xab; 32],
        peers: vec!["10.9.0.12  Key mismatch".into()],
        alarms: vec![("The clock is wrong".into(), "Set NTP servers".into())],
    };
    assert_eq!(ask(&mut host, HostRequest::Show(shown)).await, done);
    let issue = fs::read_to_string(dir.path().join("root/etc/issue")).expect("written");
    for words in [
        "on one",
        "AB:AB",
        "Key mismatch",
        " ! The clock is wrong",
        "Set NTP servers",
    ] {
        assert!(issue.contains(words), "{words}: {issue}");
    }
    let serial = fs::read_to_string(dir.path().join("run/serial")).expect("told");
    assert!(issue.contains(&serial), "{serial}: {issue}");
}
