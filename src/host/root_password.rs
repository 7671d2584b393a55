//! Root's password: its hash is kept with the settings, and put into a shadow file that lies on a
//! volatile overlay. What passwd(1) writes there is kept as well, so that it outlives a restart. A
//! password that a set-up file gave is default: login(1) and sshd ask for another.

use std::os::unix::fs::MetadataExt;

use super::HostError;
use super::changes::{self, By};
use super::keep::LIMIT;
use super::place::{self, Mode, Place};
use crate::settings::password::check_crypt;

const SHADOW: &str = "etc/shadow";
/// Stands below the hash of a default password.
const DEFAULT: &str = "default";
/// The day of the last change, for who asks; 0 would mean that it must be changed (shadow(5)).
const SOME_DAY: &str = "20000";

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootPassword {
    /// As crypt(5) has it.
    pub hash: String,
    /// Whether it came from a file that others may have read and must be changed at a login.
    pub default: bool,
}

impl RootPassword {
    /// What is kept, if it is a hash.
    pub fn load(place: &Place) -> Result<Option<Self>, HostError> {
        let text = place::read(&place.kept("root-password"), LIMIT)?.unwrap_or_default();
        let mut lines = text.lines();
        let hash = lines.next().unwrap_or_default().trim().to_owned();
        let default = lines.next() == Some(DEFAULT);
        let fine = check_crypt(&hash).is_ok();
        Ok(fine.then_some(Self { hash, default }))
    }

    /// Keeps it; nothing is rendered yet.
    pub fn store(&self, place: &Place) -> Result<(), HostError> {
        let mark = if self.default { DEFAULT } else { "" };
        let text = format!("{}\n{mark}", self.hash);
        let path = place.kept("root-password");
        place::write(&path, text.as_bytes(), Mode::Secret, None)
    }

    /// Puts it into the shadow file, unless another hash stands there: what passwd(1) wrote.
    pub fn render(&self, place: &Place) -> Result<(), HostError> {
        let path = place.path(SHADOW);
        let old = place::read(&path, LIMIT)?;
        let text = old.as_deref().unwrap_or_default();
        if keep_other(place, self, text)? {
            return Ok(());
        }
        let new = self.in_shadow(text);
        if old.as_ref() == Some(&new) {
            return Ok(());
        }
        let (bits, owner) = match std::fs::metadata(&path) {
            Ok(meta) => (meta.mode() & 0o640, Some((meta.uid(), meta.gid()))),
            Err(_) => (0o600, None),
        };
        place::write_with(&path, new.as_bytes(), bits, owner)
    }

    /// The shadow file's text with root's password in it, or root's line added (shadow(5)).
    fn in_shadow(&self, shadow: &str) -> String {
        let day = |now: &str| match (self.default, now) {
            (true, _) => "0".to_owned(),
            (false, "0" | "") => SOME_DAY.to_owned(),
            (false, day) => day.to_owned(),
        };
        let mut found = false;
        let mut text = String::new();
        for line in shadow.lines() {
            let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
            if fields[0] == "root" && fields.len() > 2 {
                found = true;
                fields[1].clone_from(&self.hash);
                fields[2] = day(&fields[2]);
            }
            text += &fields.join(":");
            text += "\n";
        }
        if !found {
            text = format!("root:{}:{}:0:99999:7:::\n{text}", self.hash, day(SOME_DAY));
        }
        text
    }
}

/// Keeps what passwd(1) wrote into the shadow file; false if it is what was kept.
pub fn keep_changed(place: &Place) -> Result<bool, HostError> {
    let Some(kept) = RootPassword::load(place)? else {
        return Ok(false);
    };
    let shadow = place::read(&place.path(SHADOW), LIMIT)?.unwrap_or_default();
    keep_other(place, &kept, &shadow)
}

fn keep_other(place: &Place, kept: &RootPassword, shadow: &str) -> Result<bool, HostError> {
    let root = shadow.lines().find_map(|line| line.strip_prefix("root:"));
    let hash = root.and_then(|rest| rest.split(':').next());
    // The image's own line is locked: no hash.
    let Some(hash) = hash.filter(|hash| *hash != kept.hash && check_crypt(hash).is_ok()) else {
        return Ok(false);
    };
    let changed = RootPassword {
        hash: hash.to_owned(),
        default: false,
    };
    changed.store(place)?;
    let nothing = Default::default();
    changes::note_words(
        place,
        By::Root("passwd"),
        "Password of root changed",
        nothing,
    );
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(default: bool) -> RootPassword {
        RootPassword {
            hash: "$6$s$h".into(),
            default,
        }
    }

    #[test]
    fn only_root_s_hash_changes() {
        let shadow = "root:*:19000:0:99999:7:::\nrooty:!:1:::::\nchrony:!:19000::::::\n";
        assert_eq!(
            password(false).in_shadow(shadow),
            "root:$6$s$h:19000:0:99999:7:::\nrooty:!:1:::::\nchrony:!:19000::::::\n"
        );
        assert_eq!(
            password(false).in_shadow("a:!::\n"),
            "root:$6$s$h:20000:0:99999:7:::\na:!::\n"
        );
    }

    #[test]
    fn a_default_password_must_be_changed_and_another_need_not() {
        let must = "root:$6$s$h:0:0:99999:7:::\n";
        assert_eq!(password(true).in_shadow(""), must);
        assert_eq!(
            password(true).in_shadow("root:*:19000:0:99999:7:::\n"),
            must
        );
        assert_eq!(
            password(false).in_shadow(must),
            "root:$6$s$h:20000:0:99999:7:::\n"
        );
    }
}
