//! What the console shows above its login: what this system is, where it is reached, how it is.
//!
//! It is the text of `/etc/issue`, made anew when something in it changed; a login that waits then
//! shows the new one (agetty(8), `--reload`).

use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::keep::Kept;
use super::place::{self, Mode, Place};
use super::{HostError, actions, first_boot};
use crate::settings::System;
use crate::settings::message::Shown;
use crate::sys::release;
use crate::sys::terminal::addresses;

/// The service tells how it is at least every thirty seconds; it is given three times that.
const SILENCE: Duration = Duration::from_secs(90);
/// A line of a console that has eighty columns.
const WIDTH: usize = 79;
const ISSUE: &str = "etc/issue";

/// The console's text and what it is made from.
pub struct Screen {
    serial: String,
    shown: Shown,
    heard: Instant,
    /// Whether the service has spoken yet.
    spoke: bool,
    last: String,
}

impl Screen {
    /// A screen before the service has spoken.
    pub fn new(serial: String) -> Self {
        Self {
            serial,
            shown: Shown::default(),
            heard: Instant::now(),
            spoke: false,
            last: String::new(),
        }
    }

    /// The service said how it is.
    pub fn heard(&mut self, shown: Shown) {
        self.shown = shown;
        self.heard = Instant::now();
        self.spoke = true;
    }

    /// Writes the text where it changed.
    pub fn refresh(&mut self, place: &Place) -> Result<(), HostError> {
        let kept = Kept::load(place)?;
        let found = if place.is_this_system() {
            addresses().unwrap_or_default()
        } else {
            Vec::new()
        };
        let service = match (self.heard.elapsed() > SILENCE, self.spoke) {
            (true, _) => Service::Silent,
            (false, false) => Service::Starting,
            (false, true) => Service::Shown(&self.shown),
        };
        let facts = Facts {
            system: kept.system.as_ref(),
            addresses: &found,
            serial: &self.serial,
            disk: first_boot::disk_problems(place),
            service,
        };
        let text = facts.text();
        if text == self.last {
            return Ok(());
        }
        place::write(&place.path(ISSUE), text.as_bytes(), Mode::Public, None)?;
        self.last = text;
        actions::command(place, actions::ISSUE)
    }
}

/// How the service is.
enum Service<'a> {
    Starting,
    Silent,
    Shown(&'a Shown),
}

/// Everything the text says.
struct Facts<'a> {
    system: Option<&'a System>,
    addresses: &'a [IpAddr],
    serial: &'a str,
    disk: Vec<String>,
    service: Service<'a>,
}

impl Facts<'_> {
    fn text(&self) -> String {
        let version = release::version();
        let Some(system) = self.system else {
            return format!("Tutti {version}, not set up yet\n\n");
        };
        let mut text = format!("Tutti {version} on {}\n", plain(&system.full_name()));
        let mut problems: Vec<(String, String)> = Vec::new();
        self.reached(system, &mut text, &mut problems);
        line(&mut text, "Serial", &plain(self.serial));
        for words in &self.disk {
            problems.push((words.clone(), String::new()));
        }
        match &self.service {
            Service::Starting => line(&mut text, "Service", "starting"),
            Service::Silent => problems.push((
                "The service does not answer.".into(),
                "It is started again by itself. What stops it: journalctl -u tutti-serve".into(),
            )),
            Service::Shown(shown) => {
                certificate(&mut text, &shown.certificate);
                if shown.peers.is_empty() {
                    line(&mut text, "Cluster", "none");
                }
                for (number, peer) in shown.peers.iter().enumerate() {
                    line(
                        &mut text,
                        if number == 0 { "Cluster" } else { "" },
                        &plain(peer),
                    );
                }
                problems.extend(shown.alarms.iter().cloned());
            }
        }
        if problems.is_empty() {
            line(&mut text, "Alarms", "none");
        }
        for (what, action) in &problems {
            wrap(&mut text, " ! ", &plain(what));
            wrap(&mut text, "   ", &plain(action));
        }
        text + "\n"
    }

    fn reached(&self, system: &System, text: &mut String, problems: &mut Vec<(String, String)>) {
        let all: Vec<String> = self.addresses.iter().map(IpAddr::to_string).collect();
        let Some(first) = self.addresses.first() else {
            line(text, "Address", "none");
            problems.push(match system.uses_dhcp() {
                true => (
                    "This system has no address: no DHCP server has answered.".into(),
                    "Look at cable and VLAN, or set a fixed address: log in as root and run \
                     tutti setup --again"
                        .into(),
                ),
                false => (
                    "This system's address is not in use: its network is not connected.".into(),
                    "Look at cable, switch or virtual network.".into(),
                ),
            });
            return;
        };
        line(text, "Address", &all.join(" "));
        let host = match first {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        line(text, "URL", &format!("https://{host}/"));
    }
}

fn line(text: &mut String, label: &str, value: &str) {
    let _ = writeln!(text, "  {label:<12}{value}");
}

/// The digest as browsers show it, in two lines.
fn certificate(text: &mut String, digest: &[u8]) {
    for (number, half) in digest.chunks(16).enumerate() {
        let bytes: Vec<String> = half.iter().map(|byte| format!("{byte:02X}")).collect();
        let label = if number == 0 { "SHA-256" } else { "" };
        line(text, label, &bytes.join(":"));
    }
}

/// Words as lines of at most eighty columns, the first behind `mark`.
fn wrap(text: &mut String, mark: &str, words: &str) {
    let mut row = mark.to_owned();
    for word in words.split_whitespace() {
        if row.len() + 1 + word.len() > WIDTH && row.trim() != mark.trim() {
            let _ = writeln!(text, "{}", row.trim_end());
            row = "   ".into();
        }
        if !row.ends_with(' ') {
            row.push(' ');
        }
        row += word;
    }
    if row.trim() != mark.trim() {
        let _ = writeln!(text, "{row}");
    }
}

/// What any terminal shows and agetty does not take for an escape (agetty(8), issue escapes).
fn plain(text: &str) -> String {
    let fine = |c: char| {
        if (' '..='~').contains(&c) && c != '\\' {
            c
        } else {
            '?'
        }
    };
    text.chars().map(fine).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system() -> System {
        let text =
            "protocol = 'ipv4'\nhost_name = 'one'\ndomain_name = 'lab.test'\nipv4 = 'dhcp'\n";
        System::from_toml(text).unwrap()
    }

    fn text(addresses: &[&str], disk: &str, service: Service<'_>) -> String {
        let system = system();
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let facts = Facts {
            system: Some(&system),
            addresses: &addresses,
            serial: "TT0123456789",
            disk: disk.lines().map(str::to_owned).collect(),
            service,
        };
        let text = facts.text();
        assert!(
            text.is_ascii() && text.lines().all(|l| l.len() < 80),
            "{text}"
        );
        text
    }

    #[test]
    fn a_healthy_system_shows_name_address_fingerprint_and_cluster() {
        let shown = Shown {
            certificate: (0..32).collect(),
            peers: vec![
                "10.9.0.11  This system".into(),
                "10.9.0.12  Active as two".into(),
            ],
            alarms: Vec::new(),
        };
        assert_eq!(
            text(&["10.9.0.11", "fd00::11"], "", Service::Shown(&shown)),
            format!(
                "Tutti {} on one.lab.test\n  Address     10.9.0.11 fd00::11\n  \
                 URL         https://10.9.0.11/\n  Serial      TT0123456789\n  \
                 SHA-256     00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F\n              \
                 10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\n  \
                 Cluster     10.9.0.11  This system\n              10.9.0.12  Active as two\n  \
                 Alarms      none\n\n",
                env!("CARGO_PKG_VERSION")
            )
        );
    }

    #[test]
    fn what_is_wrong_stands_there_with_what_to_do() {
        let without = text(&[], "", Service::Starting);
        assert!(without.contains(" ! This system has no address") && without.contains("--again"));
        let disk = "The data partition cannot be used: nothing is kept. Replace the disk.";
        assert!(text(&["10.9.0.11"], disk, Service::Starting).contains(" ! The data partition"));
        let silent = text(&["10.9.0.11"], "", Service::Silent);
        assert!(silent.contains("journalctl -u tutti-serve") && !silent.contains("Alarms"));
        let long = "word ".repeat(60);
        let shown = Shown {
            alarms: vec![("Evil \\4 \u{1b}[2J \u{e9}".into(), long)],
            ..Shown::default()
        };
        let alarmed = text(&["fd00::11"], "", Service::Shown(&shown));
        assert!(
            alarmed.contains(" ! Evil ?4 ?[2J ?\n   word word"),
            "{alarmed}"
        );
        assert!(alarmed.contains("https://[fd00::11]/"));
    }
}
