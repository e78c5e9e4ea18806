//! Checksums: of each entry, and of all of them together.
//!
//! An entry carries a checksum over its key, value and revision. That finds an entry that was
//! changed; it does not find one that is missing, or that is whole but from another time, as when
//! a part of a file was restored or a journal was thrown away. For that the file has a [`Total`]:
//! the revision, how many entries there are, and the sum of all their checksums, which each commit
//! brings forward by what it changed.
//!
//! The checksum is FNV-1a with 64 bits. It is there against accidents, not against somebody who
//! may write the file anyway.

use crate::store::Revision;

/// What all entries together must come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    /// The latest commit.
    pub(super) revision: Revision,
    /// How many entries there are.
    pub(super) count: u64,
    /// The sum of their seals.
    pub(super) sum: u64,
}

impl Total {
    /// With one more entry.
    pub(super) fn add(&mut self, seal: u64) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(seal);
    }

    /// With one less.
    pub(super) fn take(&mut self, seal: u64) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(seal);
    }

    /// The checksum of the total itself.
    pub(super) fn seal(&self) -> u64 {
        let words = [self.revision, self.count, self.sum];
        words.iter().fold(START, |hash, word| mix(hash, &word.to_le_bytes()))
    }
}

/// The checksum of an entry.
pub(super) fn seal(key: &str, value: &[u8], revision: Revision) -> u64 {
    // With the key's length, so that no octet can move from the key to the value.
    let hash = mix(START, &(key.len() as u64).to_le_bytes());
    mix(mix(mix(hash, key.as_bytes()), value), &revision.to_le_bytes())
}

const START: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

fn mix(hash: u64, octets: &[u8]) -> u64 {
    octets.iter().fold(hash, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_fnv_1a() {
        // The vectors of draft-eastlake-fnv.
        let cases = [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ];
        for (text, hash) in cases {
            assert_eq!(mix(START, text.as_bytes()), hash, "{text:?}");
        }
    }

    #[test]
    fn what_differs_has_another_checksum() {
        let seals = [
            seal("a", b"bc", 1),
            seal("ab", b"c", 1),
            seal("abc", b"", 1),
            seal("a", b"bc", 2),
            seal("a", b"bd", 1),
        ];
        for (place, one) in seals.iter().enumerate() {
            assert!(!seals[place + 1..].contains(one), "{place}");
        }
    }

    #[test]
    fn what_is_added_and_taken_leaves_the_total_as_it_was() {
        let before = Total { revision: 7, count: 2, sum: 99 };
        let mut total = before;
        total.add(u64::MAX);
        total.add(12);
        total.take(u64::MAX);
        total.take(12);
        assert_eq!(total, before);
    }
}
