//! The storage of an FDB: words in cache lines, and when each was last heard.
//!
//! An entry is one 64-bit word: 48 bits of address, 16 bits of port. Zero is an empty slot, for no
//! port is 0. No station has a group address, so the group bit of a stored address is free; set,
//! it marks a static entry. An address may sit in one of two lines of eight words each, named by a
//! keyed hash: a lookup reads one cache line, or two, and removing an entry is writing a zero. The
//! hash also names the place in a line where the search begins; most entries sit right there.
//!
//! The hash multiplies twice and folds the upper half into the lower after each: once would leave
//! addresses that were given out in steps in steps. The factors and what the address is mixed with
//! come from the seed, so a guest cannot choose addresses that collide.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use weft_frame::MacAddr;

use crate::port::PortId;

/// Words in a cache line.
const LINE: usize = 8;
/// Words of the first line from which on the second is taken if it is emptier.
const CROWDED: usize = 6;
/// The group bit of the first octet of an address, where a word keeps it.
const STATIC: u64 = 1 << 56;
/// The bits of a word that tell stations apart.
const ADDRESS: u64 = !(STATIC | 0xffff);

#[repr(align(64))]
#[derive(Debug)]
struct Line([AtomicU64; LINE]);

/// An entry: never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    value: u64,
    pub(crate) port: PortId,
}

impl Word {
    pub(crate) fn learned(key: u64, port: PortId) -> Self {
        Self { value: key << 16 | u64::from(port.get()), port }
    }

    pub(crate) fn fixed(key: u64, port: PortId) -> Self {
        Self { value: key << 16 | STATIC | u64::from(port.get()), port }
    }

    pub(crate) fn is_static(self) -> bool {
        self.value & STATIC != 0
    }

    pub(crate) fn address(self) -> MacAddr {
        MacAddr::from_u64(key_in(self.value))
    }

    fn read(value: u64) -> Option<Self> {
        PortId::new((value & 0xffff) as u16).map(|port| Self { value, port })
    }
}

fn key_in(value: u64) -> u64 {
    (value & ADDRESS) >> 16
}

/// Gives an individual address as the number that words and hashes are made of.
#[inline]
pub(crate) fn key_of(address: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = address.0;
    // In two halves, which is how the octets lie in a frame: two loads.
    u64::from(u32::from_be_bytes([a, b, c, d])) << 16 | u64::from(u16::from_be_bytes([e, f]))
}

/// Gives all places in a line, beginning with `home`.
#[inline]
fn places_from(home: usize) -> impl Iterator<Item = usize> {
    (0..LINE).map(move |step| (home + step) % LINE)
}

/// Where in the table: a line times [`LINE`] and a place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(usize);

/// The two lines an address may be in, and the place in a line that is tried first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    lines: [usize; 2],
    home: usize,
}

impl Run {
    pub(crate) fn slots(self) -> impl Iterator<Item = Slot> {
        self.lines.into_iter().flat_map(|line| (line * LINE..(line + 1) * LINE).map(Slot))
    }
}

#[derive(Debug)]
pub(crate) struct Table {
    lines: Box<[Line]>,
    heard: Box<[[AtomicU32; LINE]]>,
    mask: usize,
    mix: u64,
    factors: [u64; 2],
}

impl Table {
    /// Makes a table that is never more than half full with `capacity` entries.
    pub(crate) fn new(capacity: usize, seed: u64) -> Self {
        let lines = (capacity * 2).next_power_of_two().div_ceil(LINE).max(2);
        Self {
            lines: (0..lines).map(|_| Line([const { AtomicU64::new(0) }; LINE])).collect(),
            heard: (0..lines).map(|_| [const { AtomicU32::new(0) }; LINE]).collect(),
            mask: lines - 1,
            mix: scramble(seed),
            factors: [1, 2].map(|place| scramble(seed.wrapping_add(place)) | 1),
        }
    }

    /// Counts the slots, all multiples of a line.
    pub(crate) fn slots(&self) -> usize {
        self.lines.len() * LINE
    }

    /// Gives the size of the table in octets.
    pub(crate) fn octets(&self) -> usize {
        size_of_val(&*self.lines) + size_of_val(&*self.heard)
    }

    /// Walks over the slots from `from` to before `to`, both within the table.
    pub(crate) fn stretch(&self, from: usize, to: usize) -> impl Iterator<Item = Slot> + use<> {
        (from..to.min(self.slots())).map(Slot)
    }

    /// Names the two lines of `key`, an individual address as a number.
    #[inline]
    pub(crate) fn run(&self, key: u64) -> Run {
        let hash = (key ^ self.mix).wrapping_mul(self.factors[0]);
        let hash = (hash ^ hash >> 32).wrapping_mul(self.factors[1]);
        let hash = hash ^ hash >> 32;
        let first = hash as usize & self.mask;
        let second = (hash >> 32) as usize & self.mask;
        let second = if second == first { first ^ 1 } else { second };
        Run { lines: [first, second], home: (hash >> 29) as usize % LINE }
    }

    /// Finds the entry of `key` in its run.
    #[inline]
    pub(crate) fn find(&self, run: Run, key: u64) -> Option<(Slot, Word)> {
        for line in run.lines {
            let words = &self.lines[line].0;
            for place in places_from(run.home) {
                let value = words[place].load(Ordering::Relaxed);
                if key_in(value) == key {
                    return Word::read(value).map(|word| (Slot(line * LINE + place), word));
                }
            }
        }
        None
    }

    /// Finds an empty slot: in the first line, unless that is crowded and the second less so, and
    /// there as near behind the home place as can be.
    pub(crate) fn vacancy(&self, run: Run) -> Option<Slot> {
        let is_empty =
            |line: usize, place: usize| self.lines[line].0[place].load(Ordering::Relaxed) == 0;
        let [first, second] = run.lines;
        let used = |line| (0..LINE).filter(|place| !is_empty(line, *place)).count();
        let used_first = used(first);
        let crowded = used_first >= CROWDED && used(second) < used_first;
        let line = if crowded { second } else { first };
        let place = places_from(run.home).find(|place| is_empty(line, *place))?;
        Some(Slot(line * LINE + place))
    }

    /// Reads the entry at `slot`, if there is one.
    ///
    /// Ordered with [`put`](Self::put) and [`clear`](Self::clear): of two threads that put an
    /// address into two slots and then read both, at least one sees both.
    pub(crate) fn read(&self, slot: Slot) -> Option<Word> {
        Word::read(self.word(slot).load(Ordering::SeqCst))
    }

    /// Puts `new` where `old` is, heard now; `false` if something else is there by now.
    pub(crate) fn put(&self, slot: Slot, old: Option<Word>, new: Word, now_s: u32) -> bool {
        // Before the word, lest a sweep meets the new entry with its predecessor's age. Should the
        // word be lost to another thread, some entry is spared for one period more.
        self.age(slot).store(now_s, Ordering::Relaxed);
        self.swap(slot, old.map_or(0, |word| word.value), new.value)
    }

    /// Empties the slot if `old` is still there.
    pub(crate) fn clear(&self, slot: Slot, old: Word) -> bool {
        self.swap(slot, old.value, 0)
    }

    /// Notes that the entry was heard. Writes once a second at most.
    #[inline]
    pub(crate) fn touch(&self, slot: Slot, now_s: u32) {
        let age = self.age(slot);
        if age.load(Ordering::Relaxed) < now_s {
            age.store(now_s, Ordering::Relaxed);
        }
    }

    /// Gives the second in which the entry was last heard.
    pub(crate) fn heard(&self, slot: Slot) -> u32 {
        self.age(slot).load(Ordering::Relaxed)
    }

    fn word(&self, slot: Slot) -> &AtomicU64 {
        &self.lines[slot.0 / LINE].0[slot.0 % LINE]
    }

    fn age(&self, slot: Slot) -> &AtomicU32 {
        &self.heard[slot.0 / LINE][slot.0 % LINE]
    }

    fn swap(&self, slot: Slot, old: u64, new: u64) -> bool {
        let word = self.word(slot);
        word.compare_exchange(old, new, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }
}

/// The finaliser of splitmix64: turns a seed that may be small into one that is not.
fn scramble(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_address_port_and_whether_it_is_static() {
        let address = MacAddr([0x02, 0xff, 0, 0xab, 0, 0xfe]);
        let port = PortId::new(u16::MAX).unwrap();
        for (word, is_static) in [
            (Word::learned(address.to_u64(), port), false),
            (Word::fixed(address.to_u64(), port), true),
        ] {
            assert_eq!((word.address(), word.port, word.is_static()), (address, port, is_static));
            assert_eq!(Word::read(word.value), Some(word));
        }
        assert_eq!(Word::read(0), None);
    }

    #[test]
    fn a_run_is_two_different_lines_whatever_the_seed() {
        for seed in 0..64 {
            let table = Table::new(16, seed);
            for key in 0..64 {
                let run = table.run(key);
                assert_ne!(run.lines[0], run.lines[1], "seed {seed}, address {key}");
                assert!(run.slots().all(|slot| slot.0 < table.slots()));
            }
        }
    }
}
