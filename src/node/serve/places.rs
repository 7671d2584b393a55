//! Places for connections: so many in all, and so many for one source, so that nobody takes all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of one or more sockets.
pub struct Places {
    all: Arc<Semaphore>,
    each: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// A place that no source has yet.
pub type Free = OwnedSemaphorePermit;

/// A place of one source; given back when dropped.
pub struct Place {
    _free: Free,
    places: Arc<Places>,
    source: IpAddr,
}

impl Places {
    /// So many in all, of which one source has at most `each`.
    pub fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self {
            all: Arc::new(Semaphore::new(all)),
            each,
            taken: Mutex::default(),
        })
    }

    /// Waits for a place; none once the service ends.
    pub async fn free(&self) -> Option<Free> {
        self.all.clone().acquire_owned().await.ok()
    }

    /// Gives it to a source; none where that has all it may have.
    pub fn give(self: &Arc<Self>, free: Free, source: IpAddr) -> Option<Place> {
        let mut taken = self.taken();
        let count = taken.entry(source).or_insert(0);
        if *count >= self.each {
            return None;
        }
        *count += 1;
        Some(Place {
            _free: free,
            places: self.clone(),
            source,
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(count) = taken.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_source_takes_its_share_and_leaves_the_others_theirs() {
        let places = Places::new(3, 2);
        let [busy, calm] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let take = async |source| {
            let free = places.free().await.unwrap();
            places.give(free, source)
        };
        let first = take(busy).await.unwrap();
        let second = take(busy).await.unwrap();
        assert!(take(busy).await.is_none(), "a third of two");
        let third = take(calm).await.unwrap();
        drop(first);
        let fourth = take(busy).await.unwrap();
        drop((second, third, fourth));
        assert!(places.taken().is_empty(), "nothing is kept of who left");
        assert_eq!(places.all.available_permits(), 3);
    }
}
