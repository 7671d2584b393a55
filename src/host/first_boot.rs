//! The end of a first boot: what the wizard or an unattended file said becomes kept state.
//!
//! The settings are written last: their presence says that this system is set up, so that an
//! interrupted setup is simply done again.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use serde::{Deserialize, Serialize};

use super::changes::{self, By};
use super::keep::{self, Kept};
use super::place::{self, Mode, Place};
use super::root_password::RootPassword;
use super::{HostError, actions, is_configured};
use crate::settings::System;
use crate::settings::file::{Credential, SetupFile};

/// The user whose files these are.
const SERVE: &str = "tutti-serve";

/// The first web administrator, for `serve` to take into its database.
#[derive(Serialize)]
struct InitialAdmin<'a> {
    name: &'a str,
    hash: &'a str,
    /// Counts as a default password until it is changed.
    default: bool,
}

/// Where the answers came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A person at a console typed them.
    Console,
    /// A file that others may have read: its passwords count as default. In words, which.
    Unattended(String),
}

/// What is kept of a first boot: that its answers were taken, whence, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Where the answers came from.
    pub from: String,
    /// When, in Unix milliseconds by this system's clock of then.
    pub at_ms: u64,
}

impl Record {
    fn of(source: &Source) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            from: match source {
                Source::Console => "a person at the console".into(),
                Source::Unattended(words) => words.clone(),
            },
            at_ms: u64::try_from(now.as_millis()).unwrap_or(0),
        }
    }

    /// What is kept, if this system was set up.
    pub fn load(place: &Place) -> Option<Self> {
        let text = place::read(&place.kept("setup.json"), keep::LIMIT).ok()??;
        serde_json::from_str(&text).ok()
    }
}

/// Written by the initrd: what is wrong with the disk, one line each.
const DISK: &str = "run/tutti-disk";

/// What is wrong with this system's disk, each with what to do.
pub fn disk_problems(place: &Place) -> Vec<String> {
    let text = place::read(&place.path(DISK), keep::LIMIT).ok().flatten();
    text.unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Keeps and renders a whole setup, once.
pub fn complete(place: &Place, setup: &SetupFile, source: Source) -> Result<(), HostError> {
    if is_configured(place) {
        return Err(HostError::AlreadySetUp);
    }
    setup.validate()?;
    let admin = match &setup.admin {
        Credential::Hash(hash) => hash.0.clone(),
        Credential::Plain(plain) => admin_hash(plain.0.as_bytes())?,
    };
    let root = match &setup.root {
        Credential::Hash(hash) => hash.0.clone(),
        Credential::Plain(plain) => root_hash(plain.0.as_bytes())?,
    };
    let admin = InitialAdmin {
        name: "admin",
        hash: &admin,
        default: source != Source::Console,
    };
    let owner = place.user(SERVE);
    give(place, "initial-admin.json", &admin, owner)?;
    if let Some(cluster) = &setup.cluster {
        give(place, "initial-cluster.json", cluster, owner)?;
    }
    let root = RootPassword {
        hash: root,
        default: source != Source::Console,
    };
    root.store(place)?;
    let record = json(&place.kept("setup.json"), &Record::of(&source))?;
    place::write(
        &place.kept("setup.json"),
        record.as_bytes(),
        Mode::Secret,
        None,
    )?;
    keep::store_system(place, &setup.system)?;
    let (by, words) = match &source {
        Source::Console => (By::Root("console"), "System set up".to_owned()),
        Source::Unattended(words) => (By::File, format!("System set up by {words}")),
    };
    changes::note(place, by, &words, None, Some(&setup.system));
    keep::render(place, &Kept::load(place)?)
}

/// Keeps, renders and applies changed settings of a system that is set up; where not all of them
/// can be put in force, those of before are put back.
pub fn change(place: &Place, system: &System, by: By) -> Result<(), HostError> {
    let before = Kept::load(place)?.system;
    put_in_force(place, system, by).inspect_err(|_| {
        // Refused before anything was kept, or the first settings of all: nothing to put back.
        let tried = Kept::load(place).ok().and_then(|kept| kept.system);
        let Some(before) = before.filter(|before| tried.as_ref() != Some(before)) else {
            return;
        };
        if let Err(error) = put_back(place, &before, NOT_ALL) {
            tracing::error!(%error, "settings that failed could not all be put back");
        }
    })
}

/// What is said of settings that failed.
pub const NOT_ALL: &str = "The new settings cannot all be in force: put back";

/// Makes other settings the kept ones again, renders and applies them, saying why. Every step is
/// tried: what failed with the new ones may fail here again.
pub fn put_back(place: &Place, before: &System, words: &str) -> Result<(), HostError> {
    let tried = Kept::load(place)?.system;
    keep::store_system(place, before)?;
    changes::note(place, By::Nobody, words, tried.as_ref(), Some(before));
    let rendered = keep::render(place, &Kept::load(place)?);
    let applied = actions::apply(place, tried.as_ref(), before);
    rendered.and(applied)
}

/// Keeps, renders and applies changed settings, as far as that goes.
pub fn put_in_force(place: &Place, system: &System, by: By) -> Result<(), HostError> {
    let before = Kept::load(place)?.system;
    keep::store_system(place, system)?;
    let words = "System settings saved";
    changes::note(place, by, words, before.as_ref(), Some(system));
    keep::render(place, &Kept::load(place)?)?;
    actions::apply(place, before.as_ref(), system)
}

/// Brings the running system into line after [`complete`].
pub fn apply(place: &Place, system: &System) -> Result<(), HostError> {
    let applied = actions::apply(place, None, system);
    let applied = applied.and(actions::command(place, actions::SET_UP));
    // A running `serve` takes its first administrator at its start.
    applied.and(actions::command(place, actions::SERVE))
}

fn json(path: &Path, value: &impl Serialize) -> Result<String, HostError> {
    serde_json::to_string(value).map_err(|e| HostError::File {
        what: "write",
        path: path.to_owned(),
        source: e.into(),
    })
}

/// Writes a secret file for `serve`.
fn give(
    place: &Place,
    name: &str,
    value: &impl Serialize,
    owner: Option<(u32, u32)>,
) -> Result<(), HostError> {
    let path = place.served(name);
    let new = !place.state.join("serve").exists();
    let text = json(&path, value)?;
    place::write(&path, text.as_bytes(), Mode::Secret, owner)?;
    if let (true, Some((uid, gid)), Some(dir)) = (new, owner, path.parent()) {
        std::os::unix::fs::lchown(dir, Some(uid), Some(gid)).map_err(|source| HostError::File {
            what: "give away",
            path: dir.into(),
            source,
        })?;
    }
    Ok(())
}

/// argon2id as the web's administrators have it, with the crate's recommended costs.
fn admin_hash(password: &[u8]) -> Result<String, HostError> {
    Argon2::default()
        .hash_password(password)
        .map(|hash| hash.to_string())
        .map_err(|e| HostError::Hash(e.to_string()))
}

/// SHA-512 crypt, which every libcrypt knows.
fn root_hash(password: &[u8]) -> Result<String, HostError> {
    use sha_crypt::{PasswordHasher as _, ShaCrypt};

    let mut salt = [0u8; 12];
    getrandom::fill(&mut salt).map_err(|e| HostError::Hash(e.to_string()))?;
    ShaCrypt::SHA512
        .hash_password_with_salt(password, &salt)
        .map(|hash| hash.as_str().to_owned())
        .map_err(|e| HostError::Hash(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::password::{check_argon2id, check_crypt};

    #[test]
    fn hashes_are_what_validation_accepts() {
        let admin = admin_hash(b"blue-Harbour-41-cello").expect("a hash");
        assert_eq!(check_argon2id(&admin), Ok(()), "{admin}");
        let root = root_hash(b"blue-Harbour-41-cello").expect("a hash");
        assert_eq!(check_crypt(&root), Ok(()), "{root}");
        assert_ne!(root, root_hash(b"blue-Harbour-41-cello").expect("a hash"));
    }
}
