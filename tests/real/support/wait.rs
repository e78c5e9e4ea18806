//! Waiting for something to become true, for a bounded time.

use std::time::{Duration, Instant};

/// How long anything here may take. Far more than it does take: a loaded machine is no failure.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until `find` finds something; `what` is for the failure's text.
pub fn eventually<T>(what: &str, find: impl FnMut() -> Option<T>) -> T {
    until(PATIENCE, find).unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}

/// Waits until `find` finds something, for no longer than `patience`.
pub fn until<T>(patience: Duration, mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = find() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}
