//! Root's password of a set-up file is default until passwd(1) wrote another, which is kept.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use tutti::node::ipc::Connection;
use tutti::settings::message::{HostReply, HostRequest};

const FILE: &str = "protocol = 'ipv4'\nhost_name = 'one'\nipv4 = 'dhcp'\n\
                    admin_password = 'blue-Harbour-41-cello'\n";
const PLAIN: &str = "root_password = 'seven Quiet 5 turbines'\n";
/// As crypt(3) would write it.
const HASH: &str = "$6$saltsalt$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const OTHER: &str = "$y$j9T$saltsalt$bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
/// The image's own, in which nobody can log in.
const IMAGE: &str = "root:!*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n";

struct Role(Child);

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tutti(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tutti"));
    command.args(args).arg("--root").arg(dir.join("root"));
    command.arg("--run").arg(dir.join("run"));
    command.arg("--state").arg(dir.join("state"));
    command.env("CREDENTIALS_DIRECTORY", dir);
    command
}

/// Sets a system up by a file with this line for root.
fn set_up(dir: &Path, root: &str) {
    boot(dir);
    fs::write(dir.join("tutti.setup"), format!("{FILE}{root}")).expect("written");
    let done = tutti(dir, &["setup", "--unattended"]).status();
    assert!(done.expect("tutti runs").success());
}

/// What the overlay starts from at each boot.
fn boot(dir: &Path) {
    let _ = fs::remove_dir_all(dir.join("root"));
    let _ = fs::remove_dir_all(dir.join("run"));
    fs::create_dir_all(dir.join("root/etc")).expect("made");
    fs::write(dir.join("root/etc/shadow"), IMAGE).expect("written");
}

/// What passwd(1) does.
fn passwd(dir: &Path, hash: &str) {
    let shadow = fs::read_to_string(dir.join("root/etc/shadow")).expect("there");
    let others = shadow.lines().filter(|line| !line.starts_with("root:"));
    let others: Vec<&str> = others.collect();
    let new = format!("root:{hash}:20700:0:99999:7:::\n{}\n", others.join("\n"));
    fs::write(dir.join("root/etc/shadow"), new).expect("written");
}

/// Root's hash and the day of its last change.
fn root(dir: &Path) -> (String, String) {
    let shadow = fs::read_to_string(dir.join("root/etc/shadow")).expect("there");
    assert!(shadow.contains("\ndaemon:*:19000:"), "{shadow}");
    let line = shadow.lines().find(|line| line.starts_with("root:"));
    let mut fields = line.expect("root's").split(':').skip(1).map(str::to_owned);
    (fields.next().expect("hash"), fields.next().expect("day"))
}

async fn ask(to: &mut Connection<HostRequest, HostReply>, request: HostRequest) -> HostReply {
    to.send(&request).await.expect("sent");
    to.recv().await.expect("received").expect("a reply")
}

async fn start(dir: &Path) -> (Role, Connection<HostRequest, HostReply>) {
    let role = Role(tutti(dir, &["host"]).spawn().expect("tutti runs"));
    loop {
        match Connection::connect(&dir.join("run/host.sock")).await {
            Ok(connection) => return (role, connection),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Whether root's password is default, and what the event log will say.
async fn told(host: &mut Connection<HostRequest, HostReply>) -> (bool, Vec<String>) {
    match ask(host, HostRequest::Changes(0)).await {
        HostReply::Changes {
            all,
            root_password_default,
        } => {
            let texts = all
                .iter()
                .map(|one| format!("{}: {}", one.source, one.text));
            (root_password_default, texts.collect())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_passwd_wrote_outlives_a_restart_and_is_no_longer_default() {
    for line in [PLAIN.to_owned(), format!("root_password_hash = '{HASH}'\n")] {
        let dir = tempfile::tempdir().expect("a directory");
        set_up(dir.path(), &line);
        let (first, day) = root(dir.path());
        assert_eq!(day, "0", "a new one is asked for: {line}");
        let (role, mut host) = start(dir.path()).await;
        assert!(told(&mut host).await.0, "{line}");
        // Nothing changed yet.
        assert_eq!(
            ask(&mut host, HostRequest::KeepRootPassword).await,
            HostReply::Done
        );
        assert!(told(&mut host).await.0, "{line}");
        assert_eq!(root(dir.path()), (first, "0".into()));

        passwd(dir.path(), OTHER);
        let asked = tutti(dir.path(), &["setup", "--keep-password"]).status();
        assert!(asked.expect("tutti runs").success());
        let (default, log) = told(&mut host).await;
        assert!(!default);
        assert!(
            log.contains(&"passwd: Password of root changed".to_owned()),
            "{log:?}"
        );
        assert_eq!(root(dir.path()), (OTHER.into(), "20700".into()));

        drop((host, role));
        boot(dir.path());
        let (_role, mut host) = start(dir.path()).await;
        assert_eq!(root(dir.path()), (OTHER.into(), "19000".into()));
        assert!(!told(&mut host).await.0);
    }
}

#[tokio::test]
async fn a_change_of_the_settings_puts_no_old_password_back() {
    let dir = tempfile::tempdir().expect("a directory");
    set_up(dir.path(), PLAIN);
    let (_role, mut host) = start(dir.path()).await;
    passwd(dir.path(), OTHER);
    let HostReply::Settings(Some(mut system), _) = ask(&mut host, HostRequest::Read).await else {
        panic!("no settings");
    };
    system.host_name = "two".into();
    assert_eq!(
        ask(&mut host, HostRequest::Apply(*system)).await,
        HostReply::Done
    );
    assert_eq!(root(dir.path()).0, OTHER);
    assert!(!told(&mut host).await.0);
}

#[tokio::test]
async fn what_is_no_password_is_not_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    set_up(dir.path(), PLAIN);
    let (_role, mut host) = start(dir.path()).await;
    let kept = fs::read_to_string(dir.path().join("state/host/root-password")).expect("kept");
    for none in ["", "*", "!", &format!("!{OTHER}"), "x"] {
        passwd(dir.path(), none);
        assert_eq!(
            ask(&mut host, HostRequest::KeepRootPassword).await,
            HostReply::Done
        );
        let now = fs::read_to_string(dir.path().join("state/host/root-password"));
        assert_eq!(now.expect("kept"), kept, "{none}");
    }
    assert!(told(&mut host).await.0);
}
