//! Time, DNS and Network, through a host role that keeps what it is told.

use std::sync::Mutex;

use super::*;
use crate::node::ipc::{self, Allowed};
use crate::settings::System;
use crate::settings::message::{HostChange, HostReply, HostRequest, Trial};
use crate::store::events::EventQuery;

const SETTINGS: &str = "protocol = 'ipv4'\nhost_name = 'system-a'\ndomain_name = 'lab.example'\n\
    dns_servers = ['192.0.2.1']\nntp_servers = ['192.0.2.1']\n\
    [ipv4.static]\naddress = '192.0.2.11'\nprefix = 24\n";

/// `changes` are what it says that others changed.
pub async fn with_host(site: &Site, changes: Vec<HostChange>) -> Arc<Mutex<System>> {
    let kept = Arc::new(Mutex::new(System::from_toml(SETTINGS).unwrap()));
    let run = site.node.state.clone();
    let listener = ipc::listen(&run.join("host.sock"), 0o600).unwrap();
    site.node.run.set(run).unwrap();
    let system = kept.clone();
    let mut trial = Trial::default();
    tokio::spawn(async move {
        let allowed = Allowed::new("tutti-serve", &[]).unwrap();
        loop {
            let accepted = ipc::accept::<HostReply, HostRequest>(&listener, &allowed).await;
            let mut connection = accepted.unwrap();
            while let Ok(Some(request)) = connection.recv().await {
                let reply = match request {
                    HostRequest::Read => {
                        let now = system.lock().unwrap().clone();
                        HostReply::Settings(Some(Box::new(now)), trial)
                    }
                    HostRequest::Apply(new) => {
                        *system.lock().unwrap() = new;
                        HostReply::Done
                    }
                    HostRequest::Try(new) => {
                        trial.left_s = Some(60);
                        *system.lock().unwrap() = new;
                        HostReply::Done
                    }
                    HostRequest::Confirm => {
                        trial.left_s = None;
                        HostReply::Done
                    }
                    HostRequest::Changes(known) => {
                        let new = |change: &&HostChange| change.number > known;
                        HostReply::Changes {
                            all: changes.iter().filter(new).cloned().collect(),
                            root_password_default: true,
                        }
                    }
                    _ => HostReply::Failed("not in this test".into()),
                };
                connection.send(&reply).await.unwrap();
            }
        }
    });
    kept
}

#[tokio::test]
async fn servers_and_names_are_changed_through_the_host_role_and_the_log_says_from_what_to_what() {
    let site = site("administrator", false);
    let kept = with_host(&site, vec![]).await;
    let cookie = site.login().await;
    let page = site.get("/system/time", &cookie).await.2;
    assert!(
        page.contains("value=\"192.0.2.1\"") && page.contains("Starting"),
        "{page}"
    );
    let token = csrf(&page);
    let more = "server3=&server4=&server5=&zone=Europe%2FOslo";
    let form = format!("csrf={token}&server1=192.0.2.1&server2=ntp.lab.example&{more}");
    let saved = site.post("/system/time", &cookie, &form).await;
    assert!(saved.2.contains("Saved:"), "{}", saved.2);
    assert_eq!(
        kept.lock().unwrap().ntp_servers,
        ["192.0.2.1", "ntp.lab.example"]
    );
    let query = EventQuery {
        text: Some("System settings saved".into()),
        limit: 1,
        ..EventQuery::default()
    };
    let line = &site.node.events.list(&query).unwrap()[0];
    assert!(line.before.contains("time_zone: \"UTC\""), "{line:?}");
    assert!(
        line.after.contains("Europe/Oslo") && line.after.contains("ntp.lab"),
        "{line:?}"
    );
    let form = format!("csrf={token}&host=system-a&domain=&server1=nonsense&server2=&{more}");
    let wrong = site.post("/system/dns", &cookie, &form).await;
    assert_eq!(wrong.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        wrong.2.contains("not an IP address") && wrong.2.contains("nonsense"),
        "{}",
        wrong.2
    );
    let form = format!("csrf={token}&host=bad+name&domain=&server1=&server2=&{more}");
    let wrong = site.post("/system/dns", &cookie, &form).await;
    assert!(wrong.2.contains("host_name: expected"), "{}", wrong.2);
    assert_eq!(kept.lock().unwrap().host_name, "system-a");
    let found = site.get("/system/dns?name=192.0.2.7", &cookie).await.2;
    assert!(found.contains(">resolved<"), "{found}");
    let page = site.get("/system/dns", &cookie).await.2;
    assert!(page.contains("name=\"name\" value=\"\""), "{page}");
}

#[tokio::test]
async fn another_address_is_tried_and_every_page_asks_whether_to_keep_it() {
    let site = site("administrator", false);
    let kept = with_host(&site, vec![]).await;
    let cookie = site.login().await;
    let page = site.get("/system/network", &cookie).await.2;
    assert!(!page.contains("Keep the new settings</button>"), "{page}");
    let token = csrf(&page);
    let six = "mode6=static&address6=&prefix6=&gateway6=&ssh=off";
    let four = "protocol=ipv4&mode4=static&address4=192.0.2.12&prefix4=24&gateway4=";
    let more = "interface=eth0&vlan=12&routes=10.8.0.0%2F16+via+192.0.2.2%0D%0A";
    let form = format!("csrf={token}&{four}&{six}&{more}");
    let saved = site.post("/system/network", &cookie, &form).await;
    assert!(saved.2.contains("Saved:"), "{}", saved.2);
    let new = kept.lock().unwrap().clone();
    assert_eq!(
        new.fixed_addresses(),
        ["192.0.2.12".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!((new.vlan, new.routes.len()), (Some(12), 1));
    assert!(site.node.trial_left_s().is_some());
    let page = site.get("/status/overview", &cookie).await.2;
    assert!(page.contains("Keep the new settings</button>"), "{page}");
    let form = format!("csrf={token}");
    let keep = site.post("/system/network/keep", &cookie, &form).await;
    assert_eq!(keep.0, StatusCode::OK, "{}", keep.2);
    assert_eq!(site.node.trial_left_s(), None);
}

#[tokio::test]
async fn what_is_no_network_setting_is_refused_with_the_field_s_name() {
    let site = site("administrator", false);
    let kept = with_host(&site, vec![]).await;
    let cookie = site.login().await;
    let token = csrf(&site.get("/system/network", &cookie).await.2);
    let four = "protocol=ipv4&mode4=static&address4=192.0.2.11&prefix4=24&gateway4=";
    let six = "mode6=static&address6=&prefix6=&gateway6=&ssh=off";
    for (more, expected) in [
        ("interface=&vlan=12&routes=", "interface: expected"),
        ("interface=eth0&vlan=4095&routes=", "vlan: expected"),
        ("interface=eth0&vlan=many&routes=", "VLAN: expected"),
        ("interface=e%0At&vlan=&routes=", "interface: expected"),
        (
            "interface=&vlan=&routes=10.8.0.1%2F16+via+192.0.2.2",
            "Static routes: expected",
        ),
        (
            "interface=&vlan=&routes=10.8.0.0%2F16+via+10.0.0.1",
            "routes: expected",
        ),
        (
            "interface=&vlan=&routes=0.0.0.0%2F0+via+192.0.2.2",
            "routes: expected",
        ),
    ] {
        let form = format!("csrf={token}&{four}&{six}&{more}");
        let refused = site.post("/system/network", &cookie, &form).await;
        assert_eq!(refused.0, StatusCode::UNPROCESSABLE_ENTITY, "{more}");
        assert!(refused.2.contains(expected), "{more}: {}", refused.2);
    }
    assert_eq!(*kept.lock().unwrap(), System::from_toml(SETTINGS).unwrap());
}

#[tokio::test]
async fn without_a_host_role_the_pages_say_where_settings_are_changed() {
    let site = site("administrator", false);
    let cookie = site.login().await;
    for path in [
        "/system/time",
        "/system/dns",
        "/system/network",
        "/maintenance/logging",
    ] {
        let page = site.get(path, &cookie).await.2;
        assert!(page.contains("tutti setup --again"), "{path}: {page}");
        assert!(
            !page.contains("<form method=\"post\" action=\"/system"),
            "{path}"
        );
    }
    let token = csrf(&site.get("/account/password", &cookie).await.2);
    let to = "/maintenance/restart/shutdown";
    let (status, _, page) = site.post(to, &cookie, &format!("csrf={token}")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.contains("It was not begun"), "{page}");
}

#[tokio::test]
async fn a_syslog_server_is_saved_named_in_the_log_and_taken_away_again() {
    let site = site("administrator", false);
    let kept = with_host(&site, vec![]).await;
    let cookie = site.login().await;
    let page = site.get("/maintenance/logging", &cookie).await.2;
    assert!(page.contains("Remote syslog server") && page.contains("value=\"6514\""));
    let csrf = csrf(&page);
    let form = |server: &str, name: &str| {
        format!(
            "csrf={csrf}&server={server}&port=6514&transport=tls&certificate_name={name}\
             &authorities="
        )
    };
    let url = "/maintenance/logging";
    // An address proves nothing by itself.
    let wrong = site.post(url, &cookie, &form("192.0.2.9", "")).await;
    assert!(
        wrong
            .2
            .contains("syslog.certificate_name: expected the name"),
        "{}",
        wrong.2
    );
    let done = site
        .post(url, &cookie, &form("192.0.2.9", "logs.example.org"))
        .await;
    assert!(done.2.contains("Saved:"), "{}", done.2);
    let saved = kept.lock().unwrap().syslog.clone().expect("a server");
    assert_eq!((saved.server.as_str(), saved.port), ("192.0.2.9", 6514));
    let lines = site
        .node
        .events
        .list(&EventQuery {
            limit: 50,
            ..EventQuery::default()
        })
        .unwrap();
    assert!(
        lines.iter().any(|line| line.after.contains("192.0.2.9")),
        "{lines:?}"
    );
    site.post(url, &cookie, &form("", "")).await;
    assert!(kept.lock().unwrap().syslog.is_none());
}
