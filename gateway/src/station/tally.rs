//! Counting what became of frames.

use super::{Answer, Drop, Verdict};

/// How many frames were answered, passed on and dropped, by kind and reason.
///
/// Plain numbers for one owner. Who shares them keeps arrays of its own, by the same indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    answered: [u64; Answer::COUNT],
    passed: u64,
    dropped: [u64; Drop::COUNT],
}

impl Tally {
    /// Starts with nothing counted.
    #[must_use]
    pub const fn new() -> Self {
        Self { answered: [0; Answer::COUNT], passed: 0, dropped: [0; Drop::COUNT] }
    }

    /// Counts one frame.
    pub fn count(&mut self, verdict: &Verdict) {
        match *verdict {
            Verdict::Answered(answer) => self.answered[answer.index()] += 1,
            Verdict::Resolve(_) | Verdict::Local(_) | Verdict::Routed(_) => self.passed += 1,
            Verdict::Drop(reason) => self.drop(reason),
        }
    }

    /// Counts a drop that was decided after a frame had been passed on, beside that.
    pub fn drop(&mut self, reason: Drop) {
        self.dropped[reason.index()] += 1;
    }

    /// How many frames were answered so.
    #[must_use]
    pub const fn answered(&self, answer: Answer) -> u64 {
        self.answered[answer.index()]
    }

    /// How many frames were passed on, to names or flows.
    #[must_use]
    pub const fn passed(&self) -> u64 {
        self.passed
    }

    /// How many frames were dropped for this reason.
    #[must_use]
    pub const fn dropped(&self, reason: Drop) -> u64 {
        self.dropped[reason.index()]
    }

    /// How many frames there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.answered.iter().sum::<u64>() + self.passed + self.dropped.iter().sum::<u64>()
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}
