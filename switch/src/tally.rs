//! How many stations each port has taught an FDB.
//!
//! Exact, lock-free and small: an array for all 65 535 possible ports would weigh ten times what a
//! network's table does. A counter is one 32-bit word, 16 bits of port and 16 bits of count, in
//! one of two lines of sixteen that the port's number names. A word whose count is 0 is free for
//! any port.
//!
//! Two threads that count for a port for the first time at once may give it a word each. That is
//! allowed: what a port holds is the sum of its words, and [`Tally::take`] looks at the sum again
//! after it has counted, so that of two that raced beyond the limit at least one steps back.
//!
//! # Promises
//! - No port ever keeps more than its limit.
//! - When nothing is under way, the sum is what was taken less what was given back.
//!
//! # Limits
//! A port counts to 65 534. There is a word for every port an FDB of that capacity can hold and a
//! quarter more; should a port still find both its lines full, it learns nothing until one empties.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::port::PortId;

/// Counters in a cache line.
const LINE: usize = 16;
/// The largest share a port can have.
pub(crate) const MAX_SHARE: u32 = 65_534;

const _: () = assert!(MAX_SHARE < 1 << 16, "a count must fit its half of the word");

#[repr(align(64))]
#[derive(Debug)]
struct Line([AtomicU32; LINE]);

/// What came of asking for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    Taken,
    /// The port holds all it may.
    AtLimit,
    /// No counter is free for this port.
    NoRoom,
}

#[derive(Debug)]
pub(crate) struct Tally {
    lines: Box<[Line]>,
}

impl Tally {
    /// Makes counters for up to `ports` ports with a count above 0.
    pub(crate) fn new(ports: usize) -> Self {
        let words = ports.min(usize::from(u16::MAX)) * 5 / 4;
        let lines = words.div_ceil(LINE).max(2);
        Self { lines: (0..lines).map(|_| Line([const { AtomicU32::new(0) }; LINE])).collect() }
    }

    /// Counts one more for `port` unless it holds `limit` already, at most [`MAX_SHARE`].
    pub(crate) fn take(&self, port: PortId, limit: u32) -> Take {
        debug_assert!(limit <= MAX_SHARE, "a count must not spill into the port");
        loop {
            let (held, own) = self.survey(port);
            if held >= limit {
                return Take::AtLimit;
            }
            let Some((word, old)) = own.or_else(|| self.vacant(port)) else {
                return Take::NoRoom;
            };
            if !swap(word, old, word_of(port, count_in(old) + 1)) {
                continue;
            }
            // Somebody may have counted in another word of this port meanwhile. Whoever of the
            // two comes second sees both, so the limit holds; at worst both step back.
            if self.survey(port).0 > limit {
                self.give_back(port);
                return Take::AtLimit;
            }
            return Take::Taken;
        }
    }

    /// Counts one less for `port`, which must have taken it before.
    pub(crate) fn give_back(&self, port: PortId) {
        // What was taken is in one of the words, so a pass that finds none or loses the race has
        // been overtaken by another thread's progress.
        loop {
            for word in self.words(port) {
                let old = word.load(Ordering::SeqCst);
                if is_of(old, port) && count_in(old) > 0 && swap(word, old, old - 1) {
                    return;
                }
            }
            debug_assert!(!self.lines.is_empty());
            core::hint::spin_loop();
        }
    }

    /// Sums what `port` holds.
    pub(crate) fn of(&self, port: PortId) -> u32 {
        self.survey(port).0
    }

    /// Gives the size of the counters in octets.
    pub(crate) fn octets(&self) -> usize {
        size_of_val(&*self.lines)
    }

    /// Sums what `port` holds, and finds a word that carries its number.
    fn survey(&self, port: PortId) -> (u32, Option<(&AtomicU32, u32)>) {
        let (mut held, mut own) = (0, None);
        for line in self.lines_of(port) {
            for word in &line.0 {
                let value = word.load(Ordering::SeqCst);
                if is_of(value, port) {
                    held += count_in(value);
                    own = own.or(Some((word, value)));
                }
            }
        }
        (held, own)
    }

    /// Finds a free word in the emptier of the port's two lines.
    fn vacant(&self, port: PortId) -> Option<(&AtomicU32, u32)> {
        let free = |line: &Line| {
            line.0.iter().filter(|word| count_in(word.load(Ordering::SeqCst)) == 0).count()
        };
        let [first, second] = self.lines_of(port);
        let emptier = if free(second) > free(first) { second } else { first };
        emptier
            .0
            .iter()
            .map(|word| (word, word.load(Ordering::SeqCst)))
            .find(|(_, value)| count_in(*value) == 0)
    }

    fn words(&self, port: PortId) -> impl Iterator<Item = &AtomicU32> {
        self.lines_of(port).into_iter().flat_map(|line| line.0.iter())
    }

    /// Ports are numbered by us, so this hash needs no seed: it only has to scatter.
    fn lines_of(&self, port: PortId) -> [&Line; 2] {
        let hash = u64::from(port.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let count = self.lines.len();
        let scale = |half: u64| ((half * count as u64) >> 32) as usize;
        let first = scale(hash >> 32);
        let second = scale(hash & 0xffff_ffff);
        let second = if second == first { (first + 1) % count } else { second };
        [&self.lines[first], &self.lines[second]]
    }
}

fn word_of(port: PortId, count: u32) -> u32 {
    u32::from(port.get()) << 16 | count
}

fn is_of(word: u32, port: PortId) -> bool {
    word >> 16 == u32::from(port.get())
}

fn count_in(word: u32) -> u32 {
    word & 0xffff
}

fn swap(word: &AtomicU32, old: u32, new: u32) -> bool {
    word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16) -> PortId {
        PortId::new(number).unwrap()
    }

    #[test]
    fn a_port_takes_up_to_its_limit_and_gives_back() {
        let tally = Tally::new(16);
        assert_eq!(
            [(); 4].map(|()| tally.take(port(9), 3)),
            [Take::Taken, Take::Taken, Take::Taken, Take::AtLimit]
        );
        assert_eq!((tally.of(port(9)), tally.of(port(8))), (3, 0));
        tally.give_back(port(9));
        assert_eq!((tally.take(port(9), 3), tally.of(port(9))), (Take::Taken, 3));
        assert_eq!(tally.take(port(8), 0), Take::AtLimit);
    }

    #[test]
    fn there_is_a_counter_for_every_port_the_capacity_allows() {
        for (ports, step) in [(16_u16, 1), (1024, 1), (1024, 63), (1000, 7), (10_000, 5)] {
            let tally = Tally::new(usize::from(ports));
            for number in 1..=ports {
                let id = port(number * step);
                assert_eq!(tally.take(id, 5), Take::Taken, "{id} of {ports} ports");
            }
        }
    }

    #[test]
    fn ports_that_hold_nothing_leave_their_counters_to_others() {
        let tally = Tally::new(16);
        for number in 1..=u16::MAX {
            assert_eq!(tally.take(port(number), 1), Take::Taken, "port {number}");
            tally.give_back(port(number));
        }
    }
}
