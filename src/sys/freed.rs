//! The tests' allocator: it looks into what a thread gives back, if that thread asks for it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// How much of a secret is looked for.
pub(crate) const LEN: usize = 32;

thread_local! {
    static SECRET: Cell<Option<[u8; LEN]>> = const { Cell::new(None) };
    static FOUND: Cell<usize> = const { Cell::new(0) };
}

/// How many blocks hold `secret` when they go back to the heap while `act` runs.
pub(crate) fn with(secret: [u8; LEN], act: impl FnOnce()) -> usize {
    FOUND.set(0);
    SECRET.set(Some(secret));
    act();
    SECRET.set(None);
    FOUND.get()
}

struct Looking;

#[global_allocator]
static HEAP: Looking = Looking;

// SAFETY: all is done by `System`; blocks that go back are read before, no further than they reach.
unsafe impl GlobalAlloc for Looking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match SECRET.get() {
            // Zeroed, so that what is read of it later was written.
            // SAFETY: the caller's.
            Some(_) => unsafe { System.alloc_zeroed(layout) },
            // SAFETY: the caller's.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(secret) = SECRET.get() {
            // SAFETY: the block is the caller's until it is given to `System`, and that long.
            let held = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            let found = held.windows(LEN).any(|window| window == secret);
            FOUND.set(FOUND.get() + usize::from(found));
        }
        // SAFETY: the caller's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_wiped_is_found_and_what_was_is_not() {
        let text: Vec<u8> = (0..90).collect();
        let secret = *text[20..].first_chunk().unwrap();
        assert_eq!(with(secret, || drop(text.clone())), 1);
        // A block that grows may leave its first place as it was.
        let grown = with(secret, || {
            let mut copy = text.clone();
            copy.resize(100_000, 0);
            copy.fill(0);
        });
        assert_eq!(grown, 1);
        assert_eq!(
            with(secret, || drop(zeroize::Zeroizing::new(text.clone()))),
            0
        );
    }
}
