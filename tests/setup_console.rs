//! The wizard as a person on a dumb line meets it: text in, text out, Ctrl-D starts over.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

fn run(dir: &std::path::Path, typed: &str) -> (bool, String) {
    run_with(dir, "--console", typed)
}

fn run_with(dir: &std::path::Path, option: &str, typed: &str) -> (bool, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tutti"))
        .args(["setup", option, "--root"])
        .arg(dir.join("root"))
        .arg("--run")
        .arg(dir.join("run"))
        .arg("--state")
        .arg(dir.join("state"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tutti runs");
    let mut input = child.stdin.take().expect("a pipe");
    // A setup that ends early does not read it all.
    let _ = input.write_all(typed.as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("tutti ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), text)
}

const GOOD: &str = "\nstatic\n192.0.2.11\n24\n192.0.2.1\nnone\none\nlab.test\n192.0.2.1\nUTC\n\
                    blue-Harbour-41-cello\nblue-Harbour-41-cello\n\
                    seven Quiet 5 turbines\nseven Quiet 5 turbines\nno\nno\n";

#[test]
fn the_good_path_sets_the_system_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let (fine, text) = run(dir.path(), &format!("{GOOD}apply\n"));
    assert!(fine, "{text}");
    assert!(text.contains("https://192.0.2.11/"), "{text}");
    assert!(
        !text.contains("cello") && !text.contains('\u{1b}'),
        "{text}"
    );
    let admin = fs::read_to_string(dir.path().join("state/serve/initial-admin.json"));
    assert!(admin.expect("written").contains("\"default\":false"));
    let shadow = fs::read_to_string(dir.path().join("root/etc/shadow")).expect("written");
    let day = shadow.split(':').nth(2);
    assert!(
        day.is_some_and(|day| day != "0"),
        "no other is asked for: {shadow}"
    );
    let network = dir.path().join("root/etc/systemd/network/10-tutti.network");
    assert!(
        fs::read_to_string(network)
            .expect("written")
            .contains("Address=192.0.2.11/24")
    );
}

#[test]
fn wrong_answers_are_explained_and_nothing_is_applied_before_the_summary() {
    let dir = tempfile::tempdir().expect("a directory");
    let (fine, text) = run(dir.path(), &format!("ipx\n{GOOD}"));
    assert!(!fine);
    assert!(text.contains("Expected ipv4, ipv6 or both."), "{text}");
    assert!(text.contains("Summary"), "{text}");
    assert!(!dir.path().join("state").exists());
}

#[test]
fn a_system_that_is_set_up_is_not_set_up_again_by_accident() {
    let dir = tempfile::tempdir().expect("a directory");
    assert!(run(dir.path(), &format!("{GOOD}apply\n")).0);
    let (fine, _) = run(dir.path(), &format!("{GOOD}apply\n"));
    assert!(!fine);
}

#[test]
fn setting_up_again_changes_settings_and_no_password() {
    let dir = tempfile::tempdir().expect("a directory");
    assert!(run(dir.path(), &format!("{GOOD}apply\n")).0);
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect("a file");
    let shadow = read("root/etc/shadow");
    fs::remove_file(dir.path().join("state/serve/initial-admin.json")).expect("taken by serve");
    let typed = "\n\n192.0.2.99\n\n\n\n\n\n\n\nyes\napply\n";
    let (fine, text) = run_with(dir.path(), "--again", typed);
    assert!(fine, "{text}");
    assert!(read("root/etc/systemd/network/10-tutti.network").contains("Address=192.0.2.99/24"));
    assert_eq!(read("root/etc/shadow"), shadow);
    let changes = read("state/host/changes.json");
    for part in [
        "\"text\":\"System set up\"",
        "\"text\":\"System settings saved\"",
        "\"source\":\"console\"",
        "192.0.2.99",
    ] {
        assert!(changes.contains(part), "{part} in {changes}");
    }
    assert!(!dir.path().join("state/serve/initial-admin.json").exists());
}
