//! The change feed: who subscribed to tables hears of every commit that may have changed them.
//!
//! Events never wait for a subscriber: one that falls behind gets [`Event::Lagged`] and reads its
//! tables anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};

use super::{Store, lock};

/// How many commits a subscriber may fall behind.
const DEPTH: usize = 256;

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A commit, local or a peer's, may have changed these of the subscribed tables.
    Changed(Vec<String>),
    /// Commits went by unheard: read the tables anew.
    Lagged,
}

type Commit = Arc<Vec<String>>;

/// Where commits are told.
#[derive(Debug)]
pub(super) struct Feed(broadcast::Sender<Commit>);

impl Default for Feed {
    fn default() -> Self {
        Feed(broadcast::Sender::new(DEPTH))
    }
}

impl Feed {
    /// Tells of a commit; nobody listening is fine.
    pub fn tell<'a>(&self, tables: impl Iterator<Item = &'a String>) {
        if self.0.receiver_count() > 0 {
            let _ = self.0.send(Arc::new(tables.cloned().collect()));
        }
    }
}

/// One subscriber's end.
#[derive(Debug)]
pub struct Subscription {
    tables: BTreeSet<String>,
    commits: broadcast::Receiver<Commit>,
}

impl Subscription {
    /// The next event; `None` once the store is closed.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.commits.recv().await {
                Ok(commit) => {
                    let ours = commit.iter().filter(|name| self.wants(name));
                    let ours: Vec<String> = ours.cloned().collect();
                    if !ours.is_empty() {
                        return Some(Event::Changed(ours));
                    }
                }
                Err(RecvError::Lagged(_)) => return Some(Event::Lagged),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.tables.is_empty() || self.tables.contains(&name.to_ascii_lowercase())
    }
}

impl Store {
    /// Subscribes to commits that may change one of `tables`; none means all. A table need not
    /// exist yet. At most 256 commits are kept for a subscriber that is slow.
    pub fn subscribe(&self, tables: &[&str]) -> Subscription {
        let tables = tables.iter().map(|name| name.to_ascii_lowercase());
        Subscription {
            tables: tables.collect(),
            commits: lock(&self.inner.shown).feed.0.subscribe(),
        }
    }
}
