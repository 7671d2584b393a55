//! The host name, by system call: a sandboxed role sees no /proc/sys.

/// This machine's host name; empty bytes or odd ones are replaced.
pub fn host_name() -> String {
    let name = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
    name.ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "tutti".into())
}
