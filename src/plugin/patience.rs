//! How long plugins are waited for.

use std::time::Duration;

use tokio::time::Instant;

/// How long a plugin may take, and how often it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The pauses between attempts to reach it.
    pub pauses: &'static [Duration],
    /// How long all attempts to reach it may take together.
    pub contact: Duration,
    /// How long one answer may take, from when it was asked.
    pub answer: Duration,
    /// How long everything may take that one request of a user needs.
    pub whole: Duration,
    /// How long an answer that nobody waits for any more is listened for, to give back what it
    /// brings.
    pub late: Duration,
}

impl Default for Patience {
    /// The engine's pauses, and the time it gives plugins that it manages.
    fn default() -> Self {
        const PAUSES: [Duration; 4] = [
            Duration::from_secs(1),
            Duration::from_secs(2),
            Duration::from_secs(4),
            Duration::from_secs(8),
        ];
        Self {
            pauses: &PAUSES,
            contact: Duration::from_secs(30),
            answer: Duration::from_secs(30),
            // Less than the command line waits for an answer of ours.
            whole: Duration::from_secs(45),
            late: Duration::from_secs(300),
        }
    }
}

impl Patience {
    /// When a request that comes now is given up.
    pub fn give_up(&self) -> Instant {
        Instant::now() + self.whole
    }
}
