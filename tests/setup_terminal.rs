//! The wizard on a real (pseudo) terminal: passwords are not shown while they are typed, and
//! Ctrl-D starts over.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};

/// The person's side of the terminal.
struct Person {
    line: File,
    seen: String,
    child: Child,
}

impl Person {
    fn new(dir: &Path) -> Self {
        Self::at(dir, "dumb", None)
    }

    /// At a terminal of that kind and width.
    fn at(dir: &Path, kind: &str, columns: Option<u16>) -> Self {
        let size = columns.map(|ws_col| Winsize {
            ws_row: 24,
            ws_col,
            ws_xpixel: 0,
            ws_ypixel: 0,
        });
        let pty = openpty(size.as_ref(), None).expect("a pseudo terminal");
        let side = || Stdio::from(pty.slave.try_clone().expect("cloned"));
        let child = Command::new(env!("CARGO_BIN_EXE_tutti"))
            .args(["setup", "--console", "--root"])
            .arg(dir.join("root"))
            .arg("--run")
            .arg(dir.join("run"))
            .arg("--state")
            .arg(dir.join("state"))
            .env("TERM", kind)
            .env_remove("NO_COLOR")
            .stdin(side())
            .stdout(side())
            .stderr(Stdio::null())
            .spawn()
            .expect("tutti runs");
        Self {
            line: pty.master.into(),
            seen: String::new(),
            child,
        }
    }

    /// Reads on until the text appears after what was waited for last.
    fn wait_for(&mut self, text: &str) {
        let mut some = [0; 512];
        while !self.seen.contains(text) {
            // Generous, but an end: a child that waits for us must not hold up the suite.
            let mut fds = [PollFd::new(self.line.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::from(60_000u16)).unwrap_or(0);
            assert!(ready > 0, "{text:?} did not come: {}", self.seen);
            let count = self.line.read(&mut some).unwrap_or(0);
            assert!(count > 0, "{text:?} never came: {}", self.seen);
            self.seen += &String::from_utf8_lossy(&some[..count]);
        }
    }

    fn answer(&mut self, prompt: &str, text: &str) {
        self.seen.clear();
        self.line.write_all(text.as_bytes()).expect("typed");
        self.wait_for(prompt);
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn passwords_are_hidden_and_ctrl_d_starts_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut person = Person::new(dir.path());
    person.wait_for("[ipv4]: ");
    person.answer("[static]: ", "both\n");
    assert!(person.seen.contains("both"), "what is no secret is shown");
    person.answer("[ipv4]: ", "\u{4}");
    assert!(person.seen.contains("Starting over"), "{}", person.seen);
    for (prompt, text) in [
        ("[static]: ", "\n"),
        ("[none]: ", "dhcp\n"),
        ("Host name: ", "\n"),
        ("Domain name", "one\n"),
        ("NTP servers", "\n"),
        ("[UTC]: ", "\n"),
        ("(web): ", "\n"),
        ("again: ", "blue-Harbour-41-cello\n"),
        ("(console): ", "blue-Harbour-41-cello\n"),
        ("again: ", "seven Quiet 5 turbines\n"),
        ("SSH on", "seven Quiet 5 turbines\n"),
    ] {
        person.answer(prompt, text);
        assert!(!person.seen.contains("cello") && !person.seen.contains("Quiet"));
    }
    person.answer("cluster now", "no\n");
    assert!(
        person.seen.contains("no"),
        "shown again after the passwords"
    );
    person.answer("go back: ", "\n");
    person.answer("Tutti ", "apply\n");
    assert!(person.child.wait().expect("ends").success());
    assert!(dir.path().join("state/host/settings.toml").exists());
}

#[test]
fn the_other_console_notices_that_the_system_was_set_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut person = Person::new(dir.path());
    person.wait_for("[ipv4]: ");
    std::fs::create_dir_all(dir.path().join("state/host")).expect("made");
    let text = "protocol = 'ipv4'\nhost_name = 'one'\nipv4 = 'dhcp'\n";
    std::fs::write(dir.path().join("state/host/settings.toml"), text).expect("written");
    person.wait_for("set up on another console");
    assert!(person.child.wait().expect("ends").success());
}

/// What one sees at a terminal of that kind up to the second question, after a wrong answer.
fn seen(kind: &str, columns: Option<u16>) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let mut person = Person::at(dir.path(), kind, columns);
    person.wait_for("[ipv4]: ");
    let mut seen = person.seen.clone();
    person.answer("[ipv4]: ", "ipv5\n");
    seen += &person.seen;
    seen.replace('\r', "")
}

#[test]
fn a_good_terminal_has_marks_and_a_dumb_one_has_none() {
    let dumb = seen("dumb", None);
    assert!(!dumb.contains('\u{1b}'), "{dumb}");
    assert!(
        dumb.contains("\n  Expected ipv4, ipv6 or both.\n"),
        "{dumb}"
    );
    let good = seen("linux", None);
    assert!(
        good.contains("\u{1b}[1mTutti first-boot setup\u{1b}[0m"),
        "{good}"
    );
    assert!(
        good.contains("\u{1b}[1;31m  Expected ipv4, ipv6 or both.\u{1b}[0m"),
        "{good}"
    );
    // The same words, marks aside.
    let plain = good.replace("\u{1b}[1;31m", "").replace("\u{1b}[1m", "");
    assert_eq!(plain.replace("\u{1b}[0m", ""), dumb);
}

#[test]
fn lines_are_as_wide_as_the_terminal() {
    let narrow = seen("dumb", Some(40));
    assert!(narrow.lines().all(|line| line.len() < 40), "{narrow}");
    assert!(
        narrow.contains(",\n\"<\" goes back, Ctrl-D starts over.\n"),
        "{narrow}"
    );
    let wide = seen("dumb", Some(120));
    assert!(wide.contains("goes back, Ctrl-D starts over.\n"), "{wide}");
}
