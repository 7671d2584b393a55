//! What a peer says of the prerequisites of clustering as it sees them.

use serde::{Deserialize, Serialize};

use super::FrameError;

/// How many checks one frame tells.
pub const MAX_CHECKS: usize = 32;
/// How long a check's name may be, in characters.
pub const MAX_CHECK_NAME: usize = 64;
/// How long its detail may be, in characters.
pub const MAX_CHECK_DETAIL: usize = 200;

/// One prerequisite as the sender sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its name; at most [`MAX_CHECK_NAME`] characters.
    pub name: String,
    /// Whether it is about the receiver; else the sender tells of itself.
    pub of_receiver: bool,
    /// 0 met, 1 a warning, 2 unmet, 3 unknown.
    pub grade: u8,
    /// The figure, or what is missing; at most [`MAX_CHECK_DETAIL`] characters.
    pub detail: String,
    /// Where it was seen: 0 on the sender's system, 1 before the tunnel, 2 through the tunnel.
    pub seen: u8,
}

/// That a list is within its limits, and nothing in it can do harm where it is shown.
pub(super) fn check(all: &[Told]) -> Result<(), FrameError> {
    let limit = |what, limit, count| match count <= limit {
        true => Ok(()),
        false => Err(FrameError::TooMany { what, limit }),
    };
    limit("checks", MAX_CHECKS, all.len())?;
    for told in all {
        let (name, detail) = (told.name.chars().count(), told.detail.chars().count());
        limit("characters of a check's name", MAX_CHECK_NAME, name)?;
        limit("characters of a check", MAX_CHECK_DETAIL, detail)?;
        let text = told.name.chars().chain(told.detail.chars());
        if told.grade > 3 || told.seen > 2 || text.into_iter().any(char::is_control) {
            return Err(FrameError::Order("a check"));
        }
    }
    Ok(())
}
