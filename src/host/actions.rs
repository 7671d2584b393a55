//! The commands behind each request: fixed programs with fixed arguments, never a shell.

use std::process::Command;

use super::{HostError, Place};
use crate::settings::System;

/// Loads the rendered firewall, in one transaction.
pub const FIREWALL: &[&str] = &["/usr/sbin/nft", "-f", "/etc/nftables.conf"];
const NETWORK: &[&str] = &["/usr/bin/networkctl", "reload"];
const NAMES: &[&str] = &[
    "/usr/bin/systemctl",
    "try-restart",
    "systemd-resolved.service",
];
const TIME: &[&str] = &["/usr/bin/systemctl", "try-restart", "chrony.service"];
const SSH_ON: &[&str] = &["/usr/bin/systemctl", "--no-block", "start", "ssh.service"];
const SSH_OFF: &[&str] = &["/usr/bin/systemctl", "stop", "ssh.service"];
/// Restarts the other roles.
pub const RESTART: &[&str] = &[
    "/usr/bin/systemctl",
    "--no-block",
    "restart",
    "tutti-keyer.service",
    "tutti-ike.service",
    "tutti-serve.service",
];
/// Restarts the machine.
pub const REBOOT: &[&str] = &["/usr/bin/systemctl", "--no-block", "reboot"];
/// Switches the machine off.
pub const POWER_OFF: &[&str] = &["/usr/bin/systemctl", "--no-block", "poweroff"];

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

/// Brings the running system into line with the rendered files. The firewall comes first, and
/// every step is tried; the first failure is told.
pub fn apply(place: &Place, system: &System) -> Result<(), HostError> {
    if !place.is_this_system() {
        return Ok(());
    }
    let ssh = if system.ssh { SSH_ON } else { SSH_OFF };
    let mut result = command(place, FIREWALL);
    result = result.and(set_host_name(system));
    for argv in [NETWORK, NAMES, TIME, ssh] {
        let done = command(place, argv);
        result = result.and(done);
    }
    result
}

/// Tells the kernel its host name; systemd read the file before it was rendered.
pub fn set_host_name(system: &System) -> Result<(), HostError> {
    let path = std::path::Path::new("/proc/sys/kernel/hostname");
    std::fs::write(path, &system.host_name).map_err(|source| HostError::File {
        what: "write",
        path: path.into(),
        source,
    })
}
