//! Time as the core sees it: an argument.
//!
//! [`Instant`] counts microseconds since the process started, and only the caller makes one: the
//! worker reads the clock once per turn, a simulation makes time up. It starts at zero, so that a
//! 64-bit count outlives every process (584 000 years) and a 32-bit count of seconds every host.

/// A moment: microseconds since the caller's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment the caller counts from.
    pub const START: Self = Self(0);

    /// Makes the moment `micros` microseconds after the start.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Makes the moment `seconds` seconds after the start.
    #[must_use]
    pub const fn from_seconds(seconds: u32) -> Self {
        Self(seconds as u64 * 1_000_000)
    }

    /// Counts the microseconds since the start.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Counts the whole seconds since the start; 136 years fit, and later moments stay there.
    #[must_use]
    pub const fn as_seconds(self) -> u32 {
        let seconds = self.0 / 1_000_000;
        if seconds > u32::MAX as u64 { u32::MAX } else { seconds as u32 }
    }

    /// Counts the microseconds since `earlier`; 0 if that is in fact later.
    ///
    /// Two workers read the clock at different times within a turn, so "earlier" may be wrong by
    /// a little, and that must never look like an age of half a million years.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_before_its_past_has_no_age() {
        let (early, late) = (Instant::from_micros(5), Instant::from_micros(1_500_000));
        assert_eq!(late.saturating_since(early), 1_499_995);
        assert_eq!(early.saturating_since(late), 0);
        assert_eq!(late.as_seconds(), 1);
        assert_eq!(Instant::from_seconds(2).as_micros(), 2_000_000);
        assert_eq!(Instant::from_micros(u64::MAX).as_seconds(), u32::MAX);
    }
}
