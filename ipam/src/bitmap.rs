//! Which addresses of a pool are taken, by whom, and which is the next free one.
//!
//! Two levels. Below, a chunk per 64 addresses: a word with a bit per address, and the values of
//! the taken ones packed in the order of their bits, so that a bit's rank is its value's index. A
//! chunk is made when its first address is taken and goes with its last. Above, the numbers of the
//! chunks that are full, kept as [`Runs`].
//!
//! The next free address is therefore in the chunk one starts in, or in the first chunk after it
//! that is not full, which is one look-up in the runs away.
//!
//! # Promises
//! - Every operation takes a number of steps that grows with the logarithm of the chunks there are.
//! - A full chunk costs its values and under 2 octets per address beside them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem::size_of;

use crate::runs::Runs;

/// A chunk has a word's worth of addresses.
const CHUNK_BITS: u32 = u64::BITS.trailing_zeros();

/// A map from address numbers to values.
#[derive(Clone, Debug)]
pub(crate) struct Bitmap<T> {
    chunks: BTreeMap<u128, Chunk<T>>,
    full: Runs,
    len: u64,
}

/// 64 addresses; `values` has one entry per bit set in `taken`, in the order of the bits.
#[derive(Clone, Debug)]
struct Chunk<T> {
    taken: u64,
    values: Vec<T>,
}

impl<T> Bitmap<T> {
    pub(crate) fn new() -> Self {
        Self { chunks: BTreeMap::new(), full: Runs::default(), len: 0 }
    }

    /// How many addresses are taken.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The value of an address, if it is taken.
    pub(crate) fn get(&self, number: u128) -> Option<&T> {
        let (chunk, bit) = split(number);
        let chunk = self.chunks.get(&chunk)?;
        chunk.index_of(bit).and_then(|index| chunk.values.get(index))
    }

    /// The first free address from `from` to `last`, both included.
    pub(crate) fn next_free(&self, from: u128, last: u128) -> Option<u128> {
        let (own, bit) = split(from);
        let within = |number: u128| (number <= last).then_some(number);
        let Some(chunk) = self.chunks.get(&own) else {
            return within(from);
        };
        if let Some(free) = chunk.free_from(bit) {
            return within(join(own, free));
        }
        let next = self.full.end_of_run(own + 1).unwrap_or(own) + 1;
        // Past the last chunk there is nothing to find, and at the end of the address space the
        // number of the next chunk would not fit.
        if next > split(last).0 {
            return None;
        }
        let free = self.chunks.get(&next).map_or(Some(0), |chunk| chunk.free_from(0))?;
        within(join(next, free))
    }

    /// Takes a free address.
    ///
    /// # Panics
    /// If it is taken: the caller has asked before.
    pub(crate) fn insert(&mut self, number: u128, value: T) {
        let (place, bit) = split(number);
        let chunk = self.chunks.entry(place).or_insert_with(Chunk::with_room_for_one);
        assert!(chunk.index_of(bit).is_none(), "an address is taken twice");
        chunk.values.insert(chunk.rank(bit), value);
        chunk.taken |= 1 << bit;
        self.len += 1;
        if chunk.taken == u64::MAX {
            self.full.insert(place);
        }
    }

    /// Frees an address and returns the value it had, if it was taken.
    pub(crate) fn remove(&mut self, number: u128) -> Option<T> {
        let (place, bit) = split(number);
        let chunk = self.chunks.get_mut(&place)?;
        let index = chunk.index_of(bit)?;
        if chunk.taken == u64::MAX {
            self.full.remove(place);
        }
        let value = chunk.values.remove(index);
        chunk.taken &= !(1 << bit);
        self.len -= 1;
        if chunk.taken == 0 {
            self.chunks.remove(&place);
        } else if chunk.values.len() * 4 <= chunk.values.capacity() {
            chunk.values.shrink_to(chunk.values.len() * 2);
        }
        Some(value)
    }

    /// The taken addresses and their values, in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u128, &T)> {
        self.chunks.iter().flat_map(|(&place, chunk)| {
            let bits = (0..u64::BITS).filter(|&bit| chunk.taken & (1 << bit) != 0);
            bits.map(move |bit| join(place, bit)).zip(&chunk.values)
        })
    }

    /// An upper bound of the octets this occupies, without what the values point to.
    pub(crate) fn memory(&self) -> usize {
        let values: usize = self.chunks.values().map(|chunk| chunk.values.capacity()).sum();
        size_of::<Self>()
            + values * size_of::<T>()
            + tree(self.chunks.len(), size_of::<(u128, Chunk<T>)>())
            + tree(self.full.len(), size_of::<(u128, u128)>())
    }
}

impl<T> Chunk<T> {
    /// Room for one: in a large and sparse pool most chunks have no second value.
    fn with_room_for_one() -> Self {
        Self { taken: 0, values: Vec::with_capacity(1) }
    }

    /// How many taken addresses come before this one.
    fn rank(&self, bit: u32) -> usize {
        (self.taken & ((1 << bit) - 1)).count_ones() as usize
    }

    fn index_of(&self, bit: u32) -> Option<usize> {
        (self.taken & (1 << bit) != 0).then(|| self.rank(bit))
    }

    fn free_from(&self, bit: u32) -> Option<u32> {
        let free = !self.taken & (u64::MAX << bit);
        (free != 0).then(|| free.trailing_zeros())
    }
}

fn split(number: u128) -> (u128, u32) {
    (number >> CHUNK_BITS, (number & ((1 << CHUNK_BITS) - 1)) as u32)
}

fn join(chunk: u128, bit: u32) -> u128 {
    (chunk << CHUNK_BITS) | u128::from(bit)
}

/// The most octets a B-tree takes for this many entries.
fn tree(entries: usize, entry: usize) -> usize {
    // A node of the standard library's B-tree has 11 places, at least 5 of them filled, and about
    // three words of its own; one in six nodes also has 12 pointers to others.
    const NODE: usize = (3 + 2) * size_of::<usize>();
    entries.div_ceil(5) * (11 * entry + NODE)
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bitmap_holds_what_a_map_holds(
            near_the_end in any::<bool>(),
            edits in prop::collection::vec((0u128..200, 1u128..90, any::<bool>()), 0..60),
        ) {
            let base = if near_the_end { u128::MAX - 199 } else { 1 << 40 };
            let mut bitmap = Bitmap::new();
            let mut model = BTreeMap::new();
            for (from, count, add) in edits {
                for number in (from..(from + count).min(200)).map(|offset| base + offset) {
                    if !add {
                        prop_assert_eq!(bitmap.remove(number), model.remove(&number));
                    } else if bitmap.get(number).is_none() {
                        bitmap.insert(number, number);
                        model.insert(number, number);
                    }
                }
                let got: Vec<_> = bitmap.iter().map(|(number, &value)| (number, value)).collect();
                let want: Vec<_> = model.iter().map(|(&number, &value)| (number, value)).collect();
                prop_assert_eq!(got, want);
                prop_assert_eq!(bitmap.len(), model.len() as u64);
                for (from, last) in [(0, 199), (63, 199), (from, 199), (from, from + count - 1)] {
                    let (from, last) = (base + from, base.saturating_add(last));
                    let want = (from..=last).find(|number| !model.contains_key(number));
                    prop_assert_eq!(bitmap.next_free(from, last), want);
                }
            }
        }
    }

    #[test]
    fn a_bitmap_keeps_no_memory_for_what_was_freed() {
        let mut bitmap = Bitmap::new();
        let empty = bitmap.memory();
        for number in 0..10_000 {
            bitmap.insert(number * 7, 0u64);
        }
        assert!(bitmap.memory() > empty);
        for number in 0..10_000 {
            bitmap.remove(number * 7);
        }
        assert_eq!(bitmap.memory(), empty);
    }

    #[test]
    #[should_panic(expected = "an address is taken twice")]
    fn a_taken_address_is_not_taken_again() {
        let mut bitmap = Bitmap::new();
        bitmap.insert(7, ());
        bitmap.insert(7, ());
    }
}
