//! Storm control: how much a port may flood.
//!
//! A token bucket, kept as one number: the moment at which the bucket will be full again (the
//! "theoretical arrival time" of the generic cell rate algorithm). A frame costs the time in which
//! its token is refilled; it passes if the bucket holds a token, which is when that moment is less
//! than a whole bucket away. One word, so one compare-and-exchange per flooded frame and none for
//! a refused one: under a storm, which is when it matters, the word is only read.
//!
//! # Limits
//! The refill time of one token is kept in whole nanoseconds, rounded down; at a million frames a
//! second the rate is right to one in a thousand, and it is never lower than what was asked for.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::time::Instant;

/// A token bucket for flooded frames: broadcast, multicast and unknown unicast.
#[derive(Debug)]
pub struct StormControl {
    /// Nanoseconds in which one token is refilled; `None` when nothing may pass.
    refill: Option<u64>,
    /// Nanoseconds that a frame may be ahead of the refill: all tokens but the one it takes.
    ahead: u64,
    /// When the bucket will be full again, in nanoseconds since the start.
    full_at: AtomicU64,
}

impl StormControl {
    /// Makes a full bucket of `burst` frames, refilled by `rate_per_second`.
    ///
    /// A rate of 0 lets nothing pass. A burst of 0 counts as 1, or nothing ever could.
    #[must_use]
    pub const fn new(rate_per_second: u32, burst: u32) -> Self {
        let refill = match 1_000_000_000_u64.checked_div(rate_per_second as u64) {
            None => None,
            Some(0) => Some(1),
            Some(nanos) => Some(nanos),
        };
        let nanos = match refill {
            Some(nanos) => nanos,
            None => 0,
        };
        let ahead = (burst as u64).saturating_sub(1) * nanos;
        Self { refill, ahead, full_at: AtomicU64::new(0) }
    }

    /// Takes a token for one flooded frame; `false` if there is none.
    pub fn allow(&self, now: Instant) -> bool {
        let Some(refill) = self.refill else {
            return false;
        };
        let now = now.as_micros().saturating_mul(1000);
        let latest = now.saturating_add(self.ahead);
        self.full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                (full_at <= latest).then(|| full_at.max(now).saturating_add(refill))
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(storm: &StormControl, micros: u64, frames: u32) -> u32 {
        let now = Instant::from_micros(micros);
        (0..frames).map(|_| u32::from(storm.allow(now))).sum()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let cases = [
            // rate, burst, (at microsecond, frames offered, frames that pass) in order
            (1000, 10, &[(0, 50, 10), (999, 5, 0), (1000, 5, 1), (3000, 5, 2)][..]),
            (1000, 10, &[(0, 10, 10), (1_000_000, 50, 10)]),
            (1000, 10, &[(5_000_000, 3, 3), (5_000_000, 50, 7)]),
            (1, 1, &[(0, 5, 1), (999_999, 5, 0), (1_000_000, 5, 1)]),
            (1000, 0, &[(0, 5, 1), (1000, 5, 1)]),
            (0, 100, &[(0, 5, 0), (u64::MAX, 5, 0)]),
            (u32::MAX, 3, &[(0, 5, 3), (1, 5, 3)]),
            (3, u32::MAX, &[(0, 1000, 1000), (1, 1000, 1000)]),
        ];
        for (rate, burst, steps) in cases {
            let storm = StormControl::new(rate, burst);
            for &(at, offered, passed) in steps {
                assert_eq!(allowed(&storm, at, offered), passed, "{rate}/s, {burst}, at {at}");
            }
        }
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing_away() {
        let storm = StormControl::new(1000, 2);
        assert_eq!(allowed(&storm, 10_000, 5), 2);
        assert_eq!(allowed(&storm, 9_000, 5), 0);
        assert_eq!(allowed(&storm, 11_000, 5), 1);
    }

    #[test]
    fn over_ten_seconds_a_port_floods_its_rate_and_one_burst() {
        for rate in [1_u32, 7, 100, 3000, 99_999] {
            let storm = StormControl::new(rate, 20);
            let passed: u32 = (0..100_000).map(|step| allowed(&storm, step * 100, 25)).sum();
            let expected = 20 + rate * 10 - 1;
            assert!(passed.abs_diff(expected) <= 1 + expected / 1000, "{rate}/s passed {passed}");
        }
    }
}
