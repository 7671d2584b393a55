//! The commands behind each request: fixed programs with fixed arguments, never a shell.

use std::process::Command;

use super::{HostError, Place};
use crate::settings::System;
use crate::settings::render::VLAN_NAME;
use crate::sys::terminal;

const SYSTEMCTL: &str = "/usr/bin/systemctl";
const NO_BLOCK: &str = "--no-block";
/// Loads the rendered firewall, in one transaction.
pub const FIREWALL: &[&str] = &["/usr/sbin/nft", "-f", "/etc/nftables.conf"];
// None of these waits: the unattended setup runs while the system still starts, where waiting for
// a service that waits for us would never end. Services not started yet find the files.
const NETWORK: &[&str] = &[
    SYSTEMCTL,
    NO_BLOCK,
    "try-restart",
    "systemd-networkd.service",
];
const NAMES: &[&str] = &[
    SYSTEMCTL,
    NO_BLOCK,
    "try-restart",
    "systemd-resolved.service",
];
const TIME: &[&str] = &[SYSTEMCTL, NO_BLOCK, "try-restart", "chrony.service"];
const SSH_ON: &[&str] = &[SYSTEMCTL, NO_BLOCK, "start", "ssh.service"];
const SSH_OFF: &[&str] = &[SYSTEMCTL, NO_BLOCK, "stop", "ssh.service"];
const SYSLOG_ON: &[&str] = &[SYSTEMCTL, NO_BLOCK, "restart", "tutti-syslog.service"];
const SYSLOG_OFF: &[&str] = &[SYSTEMCTL, NO_BLOCK, "stop", "tutti-syslog.service"];
const NO_VLAN: &[&str] = &["/usr/bin/ip", "link", "delete", "dev", VLAN_NAME];
/// Has the consoles show their text anew.
pub const ISSUE: &[&str] = &["/usr/sbin/agetty", "--reload"];
/// Restarts `serve`, if it runs.
pub const SERVE: &[&str] = &[SYSTEMCTL, NO_BLOCK, "try-restart", "tutti-serve.service"];
/// Forgets that files of a first boot were refused: it is set up now. By pattern, which also fits
/// none of them: a unit that never ran is unknown.
pub const SET_UP: &[&str] = &[SYSTEMCTL, "reset-failed", "tutti-setup*", "tutti-volume*"];
/// Restarts the other roles.
pub const RESTART: &[&str] = &[
    SYSTEMCTL,
    NO_BLOCK,
    "restart",
    "tutti-keyer.service",
    "tutti-ike.service",
    "tutti-serve.service",
];
/// Restarts the machine.
pub const REBOOT: &[&str] = &[SYSTEMCTL, NO_BLOCK, "reboot"];
/// Switches the machine off.
pub const POWER_OFF: &[&str] = &[SYSTEMCTL, NO_BLOCK, "poweroff"];

/// Runs one command; below another root than `/`, none.
pub fn command(place: &Place, argv: &[&str]) -> Result<(), HostError> {
    if !place.is_this_system() {
        return Ok(());
    }
    let failed = |reason: String| HostError::Command {
        command: argv.join(" "),
        reason,
    };
    let output = Command::new(argv[0])
        .args(&argv[1..])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.trim().lines().last().unwrap_or("");
    Err(failed(format!("{}; {last}", output.status)))
}

/// Brings the running system into line with the rendered files, coming from `before`. The firewall
/// comes first, and every step is tried; the first failure is told.
pub fn apply(place: &Place, before: Option<&System>, system: &System) -> Result<(), HostError> {
    if !place.is_this_system() {
        return Ok(());
    }
    let ssh = if system.ssh { SSH_ON } else { SSH_OFF };
    let mut result = command(place, FIREWALL);
    result = result.and(set_host_name(system));
    // networkd makes a VLAN's interface but neither changes nor removes one.
    let vlan = |of: &System| of.vlan.map(|id| (id, of.interface.clone()));
    if let Some(old) = before.and_then(vlan)
        && vlan(system) != Some(old)
        && place.path("sys/class/net").join(VLAN_NAME).exists()
    {
        result = result.and(command(place, NO_VLAN));
    }
    // It may be reached by another way or name now.
    let syslog = match system.syslog {
        Some(_) => SYSLOG_ON,
        None => SYSLOG_OFF,
    };
    for argv in [NETWORK, NAMES, TIME, ssh, syslog] {
        let done = command(place, argv);
        result = result.and(done);
    }
    result
}

/// Tells the kernel its host name; systemd read the file before it was rendered.
pub fn set_host_name(system: &System) -> Result<(), HostError> {
    terminal::set_host_name(&system.host_name).map_err(HostError::HostName)
}
