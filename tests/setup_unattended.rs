//! The unattended first boot into a directory of its own: what it writes, for whom, and that it
//! happens once.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const GOOD: &str = r#"
protocol = "ipv4"
host_name = "one"
domain_name = "lab.test"
dns_servers = ["192.0.2.53"]
ntp_servers = ["192.0.2.1", "ntp.lab.test"]
time_zone = "Europe/Oslo"
ssh = true
admin_password = "blue-Harbour-41-cello"
root_password = "seven Quiet 5 turbines"

[ipv4.static]
address = "192.0.2.11"
prefix = 24
gateway = "192.0.2.1"

[cluster]
key = "kQ7-pP2-wL9-tR4-uU1"
peers = ["192.0.2.11", "192.0.2.12"]
"#;

const POST_QUANTUM: &str = "c3vn-3jkq-7wzd-p9fm-x2rt-8bhy-n4va-e6us-hd5c-kg7q-ty2w-am9x-zr3b";

struct System {
    dir: TempDir,
}

impl System {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(dir.path().join("root/etc")).expect("made");
        fs::create_dir_all(dir.path().join("credentials")).expect("made");
        let shadow = "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n";
        fs::write(dir.path().join("root/etc/shadow"), shadow).expect("written");
        Self { dir }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn tutti(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tutti"))
            .args(args)
            .arg("--root")
            .arg(self.path("root"))
            .arg("--run")
            .arg(self.path("run"))
            .arg("--state")
            .arg(self.path("state"))
            .env("CREDENTIALS_DIRECTORY", self.path("credentials"))
            .output()
            .expect("tutti runs")
    }

    fn unattended(&self, text: &str) -> Output {
        fs::write(self.path("credentials/tutti.setup"), text).expect("written");
        self.tutti(&["setup", "--unattended"])
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("exists").mode() & 0o777
}

#[test]
fn a_good_file_sets_everything_up() {
    let system = System::new();
    let output = system.unattended(GOOD);
    assert!(output.status.success(), "{}", said(&output));
    assert!(!said(&output).contains("cello"));
    assert_eq!(system.read("root/etc/hostname"), "one\n");
    let network = system.read("root/etc/systemd/network/10-tutti.network");
    assert!(network.contains("Address=192.0.2.11/24\nGateway=192.0.2.1\n"));
    let zone = fs::read_link(system.path("root/etc/localtime")).expect("a link");
    assert_eq!(zone, Path::new("/usr/share/zoneinfo/Europe/Oslo"));
    assert!(system.path("root/etc/tutti/ssh-enabled").exists());
    let shadow = system.read("root/etc/shadow");
    assert!(
        shadow.starts_with("root:$6$") && shadow.contains("\ndaemon:*:"),
        "{shadow}"
    );
    assert_eq!(
        shadow.split(':').nth(2),
        Some("0"),
        "a new one is asked for"
    );
    let admin = system.read("state/serve/initial-admin.json");
    let admin: serde_json::Value = serde_json::from_str(&admin).expect("JSON");
    assert_eq!(admin["name"], "admin");
    assert_eq!(admin["default"], true);
    assert!(
        admin["hash"]
            .as_str()
            .is_some_and(|h| h.starts_with("$argon2id$"))
    );
    let cluster = system.read("state/serve/initial-cluster.json");
    let cluster: serde_json::Value = serde_json::from_str(&cluster).expect("JSON");
    assert_eq!(cluster["peers"][1], "192.0.2.12");
    for name in [
        "state/serve/initial-admin.json",
        "state/serve/initial-cluster.json",
        "state/host/root-password",
        "state/host/settings.toml",
    ] {
        assert_eq!(mode(&system.path(name)), 0o600, "{name}");
    }
    assert!(!system.read("state/host/settings.toml").contains("cello"));
    let status = system.tutti(&["setup", "--status"]);
    let text = String::from_utf8_lossy(&status.stdout);
    assert!(
        text.contains("one.lab.test") && text.contains("https://192.0.2.11/"),
        "{text}"
    );
}

#[test]
fn how_a_cluster_keys_its_tunnels_may_be_told() {
    let system = System::new();
    let how = format!(
        "profile = \"ikev2\"\nadditional_key_exchange = \"off\"\n\
         post_quantum_key_id = \"lab\"\npost_quantum_key = \"{POST_QUANTUM}\""
    );
    let output = system.unattended(&format!("{GOOD}{how}"));
    assert!(output.status.success(), "{}", said(&output));
    let told = system.read("state/serve/initial-cluster.json");
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["profile"], "ikev2");
    assert_eq!(told["additional_key_exchange"], "off");
    assert_eq!(told["post_quantum_key_id"], "lab");
    assert_eq!(told["post_quantum_key"], POST_QUANTUM);
}

#[test]
fn each_boot_renders_again_what_the_overlay_forgot() {
    let system = System::new();
    assert!(system.unattended(GOOD).status.success());
    let shadow = system.read("root/etc/shadow");
    fs::remove_dir_all(system.path("root/etc")).expect("removed");
    fs::remove_dir_all(system.path("run")).ok();
    let peers = r#"{"local":"192.0.2.11","peers":[{"address":"192.0.2.12","reqid":7402}]}"#;
    fs::write(system.path("state/host/peers.json"), peers).expect("written");
    let output = system.tutti(&["host", "--render"]);
    assert!(output.status.success(), "{}", said(&output));
    let hash = |text: &str| text.split(':').nth(1).map(str::to_owned);
    assert_eq!(hash(&system.read("root/etc/shadow")), hash(&shadow));
    assert_eq!(system.read("root/etc/hostname"), "one\n");
    let rules = system.read("root/etc/nftables.conf");
    assert!(rules.contains("ip saddr 192.0.2.12 tcp dport 4372 ipsec in reqid 7402 accept"));
    assert_eq!(mode(&system.path("run/peers.json")), 0o644);
}

#[test]
fn before_any_setup_the_firewall_is_rendered_all_the_same() {
    let system = System::new();
    let output = system.tutti(&["host", "--render"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        system
            .read("root/etc/nftables.conf")
            .contains("policy drop")
    );
    assert!(!system.path("root/etc/hostname").exists());
}

#[test]
fn unreadable_peers_are_an_error_and_never_a_standalone_system() {
    let system = System::new();
    assert!(system.unattended(GOOD).status.success());
    let rules = system.read("root/etc/nftables.conf");
    for peers in [
        "",
        "{",
        r#"{"local":"192.0.2.11","peers":[{"address":"::","reqid":7402}]}"#,
    ] {
        fs::write(system.path("state/host/peers.json"), peers).expect("written");
        assert!(!system.tutti(&["host", "--render"]).status.success());
        assert_eq!(system.read("root/etc/nftables.conf"), rules);
    }
}

#[test]
fn it_happens_once() {
    let system = System::new();
    assert!(system.unattended(GOOD).status.success());
    let output = system.unattended(&GOOD.replace("\"one\"", "\"two\""));
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(system.read("root/etc/hostname"), "one\n");
}

#[test]
fn it_is_kept_where_the_answers_came_from() {
    let system = System::new();
    fs::write(
        system.path("credentials/tutti.origin"),
        "the volume TUTTI (/dev/\u{1b}sdb1)\n",
    )
    .expect("written");
    let refused = system.unattended(&GOOD.replace("\"one\"", "\"o n e\""));
    assert!(said(&refused).contains("the volume TUTTI (/dev/sdb1) was refused"));
    assert!(system.unattended(GOOD).status.success());
    let kept = system.read("state/host/setup.json");
    assert!(kept.contains("\"the volume TUTTI (/dev/sdb1)\""), "{kept}");
    assert_eq!(mode(&system.path("state/host/setup.json")), 0o600);
    let status = system.tutti(&["setup", "--status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.contains("Set up by the volume TUTTI (/dev/sdb1)"),
        "{status}"
    );
    assert!(!kept.contains("cello"), "{kept}");
}

#[test]
fn without_a_credential_nothing_happens() {
    let system = System::new();
    let output = system.tutti(&["setup", "--unattended"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(!system.path("state").exists());
}

#[test]
fn malicious_and_mistaken_files_are_refused_without_a_trace() {
    let without = |line: &str| {
        let lines: Vec<&str> = GOOD.lines().filter(|l| !l.starts_with(line)).collect();
        lines.join("\n")
    };
    let hash = "root_password_hash = \"$6$salt$aaaaaaaaaaaaaaaaaaaa\\nx:::\"\nroot_password";
    for (text, expected) in [
        (
            GOOD.replace("\"one\"", "\"one\\n[Network]\""),
            "host_name: expected",
        ),
        (
            GOOD.replace("\"one\"", "\"$(reboot)\""),
            "host_name: expected",
        ),
        (
            GOOD.replace("ntp.lab.test", "x\\nserver evil"),
            "a server by name",
        ),
        (
            GOOD.replace("lab.test\"\n", "lab.test;x\"\n"),
            "domain_name: expected",
        ),
        (
            GOOD.replace("Europe/Oslo", "../../../etc/shadow"),
            "time_zone: expected",
        ),
        (
            GOOD.replace("prefix = 24", "prefix = 33"),
            "ipv4.static.prefix: expected",
        ),
        (
            GOOD.replace("192.0.2.11\"\nprefix", "192.0.2.0\"\nprefix"),
            "ipv4.static.prefix",
        ),
        (
            GOOD.replace("gateway = \"192.0.2.1\"", "gateway = \"10.0.0.1\""),
            "inside 192.0.2.0/24",
        ),
        (GOOD.replace("\"ipv4\"", "\"both\""), "ipv6: expected"),
        (GOOD.replace("\"ipv4\"", "\"ipx\""), "line 2"),
        (GOOD.replace("ssh =", "shell ="), "unknown field `shell`"),
        (
            GOOD.replace("blue-Harbour-41-cello", "short"),
            "admin_password: expected",
        ),
        (
            GOOD.replace("root_password", "admin_password_hash"),
            "expected",
        ),
        (
            GOOD.replace("\"blue-Harbour-41-cello\"", "4242424242"),
            "line 9",
        ),
        (
            GOOD.replace("root_password", hash),
            "root_password: expected",
        ),
        (
            GOOD.replace("kQ7-pP2-wL9-tR4-uU1", "kQ7 pP2"),
            "cluster.key: expected",
        ),
        (
            GOOD.replace("\"192.0.2.12\"", "\"192.0.2.11\""),
            "cluster.peers: expected",
        ),
        (
            GOOD.replace("kQ7-pP2-wL9-tR4-uU1", "aaaaaaaaaaaaaaaaaaaaaaaa"),
            "this key can be guessed",
        ),
        (
            GOOD.replace("[\"192.0.2.11\"", "[\"192.0.2.21\""),
            "this system's own address (192.0.2.11)",
        ),
        (
            format!("{GOOD}post_quantum_key = \"{POST_QUANTUM}\""),
            "cluster.post_quantum_key_id: expected",
        ),
        (
            format!("{GOOD}post_quantum_key_id = \"lab\"\npost_quantum_key = \"kQ7-pP2-wL9\""),
            "cluster.post_quantum_key: expected",
        ),
        (format!("{GOOD}profile = \"aggressive\""), "`ikev2`"),
        (
            format!("{GOOD}additional_key_exchange = \"maybe\""),
            "`required`",
        ),
        (without("root_password"), "root_password: expected"),
        (format!("{GOOD}\n# {}", "x".repeat(40_000)), "larger than"),
    ] {
        let system = System::new();
        let output = system.unattended(&text);
        assert!(!output.status.success(), "{expected}");
        let said = said(&output);
        assert!(said.contains(expected), "{expected:?} in {said:?}");
        assert!(!said.contains("4242") && !said.contains("cello"), "{said}");
        assert!(!system.path("state").exists(), "{expected}");
    }
}
