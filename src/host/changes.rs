//! Changes of the settings that `serve` did not ask for: at a console, by `tutti setup`, or because
//! nobody confirmed them. They wait here until it has them in its event log.

use std::time::{SystemTime, UNIX_EPOCH};

use super::keep;
use super::place::{self, Mode, Place};
use crate::settings::message::HostChange;
use crate::settings::{System, difference::difference};

/// How many are kept; a system without `serve` must not collect them for ever.
const KEPT: usize = 20;
/// Longest text of a change, in characters; all of them are read at once.
const TEXT_MAX: usize = 1_000;

/// Who changed the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// `serve`, which has its line already.
    Serve,
    /// Root at a console, or by a command, which is named.
    Root(&'static str),
    /// A file that set the system up.
    File,
    /// The system itself: nobody confirmed them.
    Nobody,
}

/// Keeps a change of the settings for `serve`.
pub fn note(place: &Place, by: By, text: &str, was: Option<&System>, is: Option<&System>) {
    note_words(place, by, text, difference(was, is));
}

/// Keeps one for `serve`, with what was before and is now. That it cannot be kept ends no change.
pub fn note_words(place: &Place, by: By, text: &str, (before, after): (String, String)) {
    let (who, source) = match by {
        By::Serve => return,
        By::Root(source) => ("root", source),
        By::File | By::Nobody => ("", ""),
    };
    let [before, after] = [before, after].map(|text| text.chars().take(TEXT_MAX).collect());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(0));
    let mut all = after_number(place, 0);
    let change = HostChange {
        number: all.last().map_or(now, |last| now.max(last.number + 1)),
        warning: by == By::Nobody,
        who: who.to_owned(),
        source: source.to_owned(),
        text: text.to_owned(),
        before,
        after,
    };
    all.push(change);
    all.drain(..all.len().saturating_sub(KEPT));
    let path = path(place);
    let text = serde_json::to_string(&all).unwrap_or_default();
    if let Err(error) = place::write(&path, text.as_bytes(), Mode::Secret, None) {
        tracing::error!(%error, "a change of the settings cannot be told to the event log");
    }
}

/// Those after one that is known already.
pub fn after_number(place: &Place, number: u64) -> Vec<HostChange> {
    let text = place::read(&path(place), 4 * keep::LIMIT).ok().flatten();
    let all = text.and_then(|text| serde_json::from_str::<Vec<HostChange>>(&text).ok());
    let all = all.unwrap_or_default().into_iter();
    all.filter(|change| change.number > number).collect()
}

fn path(place: &Place) -> std::path::PathBuf {
    place.kept("changes.json")
}
