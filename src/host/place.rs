//! Where the host role writes, and how: atomically, synced, with the owner and mode it needs.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown, symlink};
use std::path::{Path, PathBuf};

use super::HostError;
use crate::node::Dirs;

/// The directories of one system; tests have theirs below a temporary one.
#[derive(Clone, Debug)]
pub struct Place {
    root: PathBuf,
    /// The roles' sockets and rendered files.
    pub run: PathBuf,
    /// What outlives a restart.
    pub state: PathBuf,
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only its owner, 0600.
    Secret,
    /// Everyone, 0644.
    Public,
}

impl Place {
    /// The directories for `root` (normally `/`).
    pub fn new(root: PathBuf, dirs: &Dirs) -> Self {
        Self {
            root,
            run: dirs.run.clone(),
            state: dirs.state.clone(),
        }
    }

    /// Whether commands may run: false below another root.
    pub fn is_this_system(&self) -> bool {
        self.root == Path::new("/")
    }

    /// A path of the operating system.
    pub fn path(&self, below_root: &str) -> PathBuf {
        self.root.join(below_root)
    }

    /// A path of what the host role keeps.
    pub fn kept(&self, name: &str) -> PathBuf {
        self.state.join("host").join(name)
    }

    /// A path of what `serve` keeps.
    pub fn served(&self, name: &str) -> PathBuf {
        self.state.join("serve").join(name)
    }

    /// The numbers of a user and its group, if the system has that user.
    pub fn user(&self, name: &str) -> Option<(u32, u32)> {
        let users = fs::read_to_string(self.path("etc/passwd")).ok()?;
        let line = users.lines().find(|l| l.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        let uid = fields.next()?.parse().ok()?;
        Some((uid, fields.next()?.parse().ok()?))
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> HostError {
    let path = path.to_owned();
    move |source| HostError::File { what, path, source }
}

/// Reads a file that may be absent; refuses one beyond `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Option<String>, HostError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
        Ok(meta) if meta.len() > limit => {
            let error = std::io::Error::other("it is too large");
            return Err(failed("read", path)(error));
        }
        Ok(_) => {}
    }
    fs::read_to_string(path)
        .map(Some)
        .map_err(failed("read", path))
}

/// Makes a directory and its parents.
pub fn make_dir(path: &Path) -> Result<(), HostError> {
    fs::create_dir_all(path).map_err(failed("make", path))
}

/// Replaces a file: written aside, synced, renamed over it, its directory synced.
pub fn write(
    path: &Path,
    content: &[u8],
    mode: Mode,
    owner: Option<(u32, u32)>,
) -> Result<(), HostError> {
    let bits = match mode {
        Mode::Secret => 0o600,
        Mode::Public => 0o644,
    };
    write_with(path, content, bits, owner)
}

/// As [`write`], with permission bits of the caller's choice.
pub fn write_with(
    path: &Path,
    content: &[u8],
    bits: u32,
    owner: Option<(u32, u32)>,
) -> Result<(), HostError> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    make_dir(dir)?;
    let aside = aside(path);
    let attempt = || -> std::io::Result<()> {
        remove_if_there(&aside)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)?;
        file.write_all(content)?;
        if let Some((uid, gid)) = owner {
            // By descriptor: in a directory of another role, a path could be a link by now.
            fchown(&file, Some(uid), Some(gid))?;
        }
        // Not left to the process's umask.
        file.set_permissions(Permissions::from_mode(bits))?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        File::open(dir)?.sync_all()
    };
    attempt().map_err(failed("write", path))
}

/// Replaces a symbolic link.
pub fn link(path: &Path, target: &str) -> Result<(), HostError> {
    make_dir(path.parent().unwrap_or(Path::new("/")))?;
    let aside = aside(path);
    let attempt = || -> std::io::Result<()> {
        remove_if_there(&aside)?;
        symlink(target, &aside)?;
        fs::rename(&aside, path)
    };
    attempt().map_err(failed("link", path))
}

/// Removes a file that may be absent, durably.
pub fn remove(path: &Path) -> Result<(), HostError> {
    let attempt = || -> std::io::Result<()> {
        if remove_if_there(path)? {
            File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
        }
        Ok(())
    };
    attempt().map_err(failed("remove", path))
}

fn remove_if_there(path: &Path) -> std::io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}
