//! A change of the network that may cut off who asked for it: the settings of before are kept
//! beside the new ones until somebody confirms. As long as that file is there the change is on
//! trial, so that a restart in between puts it back as well.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::changes::{self, By};
use super::keep::{self, Kept};
use super::place::{self, Mode, Place};
use super::{HostError, actions, first_boot};
use crate::settings::System;
use crate::settings::message::Trial;

fn path(place: &Place) -> PathBuf {
    place.kept("settings-before.toml")
}

/// Puts new settings in force, on trial. What cannot be put in force is put back at once.
pub fn begin(place: &Place, system: &System, by: By) -> Result<(), HostError> {
    system.validate()?;
    // Of two trials in a row the settings that were last confirmed are what comes back.
    if !stands(place) {
        let before = Kept::load(place)?.system.ok_or(HostError::NotSetUp)?;
        place::write(
            &path(place),
            before.to_toml()?.as_bytes(),
            Mode::Secret,
            None,
        )?;
    }
    first_boot::put_in_force(place, system, by).inspect_err(|_| {
        if let Err(error) = put_back(place, first_boot::NOT_ALL) {
            tracing::error!(%error, "settings that failed could not be put back");
        }
    })
}

/// Whether a change is on trial.
pub fn stands(place: &Place) -> bool {
    path(place).exists()
}

/// Keeps the settings in force.
pub fn confirm(place: &Place, by: By) -> Result<(), HostError> {
    let stood = stands(place);
    place::remove(&path(place))?;
    if stood {
        changes::note(place, by, "New network settings kept", None, None);
    }
    Ok(())
}

/// What is said of a change that nobody confirmed.
pub const LATE: &str = "The new network settings were not confirmed: put back";

/// Puts the settings of before in force again, saying why.
pub fn put_back(place: &Place, words: &str) -> Result<(), HostError> {
    let path = path(place);
    let Some(text) = place::read(&path, keep::LIMIT)? else {
        return Ok(());
    };
    let before = match System::from_toml(&text) {
        Ok(before) => before,
        Err(source) => {
            // Unreadable, it would be in the way at every start.
            place::remove(&path)?;
            return Err(HostError::Kept { path, source });
        }
    };
    let renamed =
        Kept::load(place)?.system.map(|tried| tried.host_name) != Some(before.host_name.clone());
    let done = first_boot::put_back(place, &before, words);
    // Whatever of it is not in force, it is what is kept; if it is not even that, the next start
    // tries again.
    if Kept::load(place)?.system.as_ref() == Some(&before) {
        place::remove(&path)?;
    }
    if renamed {
        // A running `serve` takes its name at its start.
        return done.and(actions::command(place, actions::SERVE));
    }
    done
}

/// The clock of the trial that stands.
#[derive(Debug)]
pub struct Watch {
    /// How long a trial waits.
    pub patience: Duration,
    /// Which trial this is.
    number: u64,
    until: Option<Instant>,
    put_back_ms: Option<u64>,
}

impl Watch {
    /// Before any trial.
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            number: 0,
            until: None,
            put_back_ms: None,
        }
    }

    /// A trial began now; its number.
    pub fn begun(&mut self) -> u64 {
        self.number += 1;
        self.until = Some(Instant::now() + self.patience);
        self.number
    }

    /// Whether that trial is the one that stands.
    pub fn is(&self, number: u64) -> bool {
        self.number == number && self.until.is_some()
    }

    /// The trial ended, confirmed or put back.
    pub fn ended(&mut self, put_back: bool) {
        self.until = None;
        if put_back {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            self.put_back_ms = u64::try_from(now.as_millis()).ok();
        }
    }

    /// What others are told; a trial that no longer stands was settled at the console.
    pub fn told(&self, stands: bool) -> Trial {
        let left = |until: Instant| until.saturating_duration_since(Instant::now()).as_secs();
        Trial {
            left_s: self
                .until
                .filter(|_| stands)
                .map(|until| u16::try_from(left(until)).unwrap_or(u16::MAX)),
            put_back_ms: self.put_back_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_one_trial_never_ends_another() {
        let mut watch = Watch::new(Duration::from_secs(60));
        assert_eq!(watch.told(true), Trial::default());
        let first = watch.begun();
        assert!(watch.is(first) && watch.told(true).left_s.is_some_and(|left| left <= 60));
        assert_eq!(watch.told(false).left_s, None);
        watch.ended(false);
        assert!(!watch.is(first));
        let second = watch.begun();
        assert!(watch.is(second) && !watch.is(first));
        watch.ended(true);
        assert!(!watch.is(second) && watch.told(true).put_back_ms.is_some());
    }
}
