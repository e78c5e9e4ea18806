//! The only clock of the data path, read once per turn.

use rustix::time::{ClockId, clock_gettime};
use weft_switch::Instant;

/// Counts from the moment it was made. Good to the kernel's tick (1 to 10 ms), for the price of a
/// few nanoseconds; ages and rates need no better.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: u64,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: micros() }
    }

    /// The time since the start.
    pub fn now(&self) -> Instant {
        Instant::from_micros(micros() - self.start)
    }
}

fn micros() -> u64 {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}
