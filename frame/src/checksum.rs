//! The Internet checksum, whole and incremental.
//!
//! A checksum is the complement of a ones' complement sum, and nearly every mistake with it is one
//! complement too many or too few. So the two have different types: a [`Sum`] is not complemented
//! and can be added to; a `u16` is what stands in a header's checksum field. One exception belongs
//! to superframes: while a checksum is unfinished its field holds the plain sum of the
//! pseudo-header ([`Sum::to_partial`]).
//!
//! Ones' complement addition does not care about byte order (RFC 1071 §2 B), so the loop adds words
//! as they lie in memory, and the result is put into network order once. It reads 64 bits at a time
//! and keeps two plain totals, of the words (wrapping) and of their upper halves. The second one
//! tells what the first one lost, so there is no carry to wait for, and the compiler turns the loop
//! into vector instructions without any of ours.
//!
//! # Promises
//! - Any length and any alignment. An odd last octet counts as if a zero followed it.
//! - A sum is zero only if every octet was. Hence [`update`] never turns a valid checksum into the
//!   other zero, which is the mistake of RFC 1141 that RFC 1624 corrects.
//!
//! # Sources
//! RFC 1071 (computing), RFC 1624 (updating), RFC 768 and RFC 8200 §8.1 (pseudo-headers).

use core::ops::{Add, Sub};

/// A ones' complement sum of 16-bit words, not complemented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u16);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// Adds up `octets`, which begin at an even offset of what is summed.
    #[must_use]
    pub fn of(octets: &[u8]) -> Self {
        let (words, mut rest) = octets.as_chunks::<8>();
        let (mut total, mut upper) = (0_u64, 0_u64);
        for word in words {
            let word = u64::from_ne_bytes(*word);
            total = total.wrapping_add(word);
            upper += word >> 32;
        }
        // Without the upper halves the total is that of the lower ones, which cannot have wrapped
        // below 32 GiB; a 32-bit half counts the same wherever it stood.
        let mut total = total.wrapping_sub(upper << 32) + upper;
        if let Some((word, after)) = rest.split_first_chunk::<4>() {
            total += u64::from(u32::from_ne_bytes(*word));
            rest = after;
        }
        if let Some((word, after)) = rest.split_first_chunk::<2>() {
            total += u64::from(u16::from_ne_bytes(*word));
            rest = after;
        }
        if let [last] = rest {
            total += u64::from(u16::from_ne_bytes([*last, 0]));
        }
        Self(u16::from_be(fold(total)))
    }

    /// The sum of one 16-bit word.
    #[must_use]
    pub const fn of_u16(word: u16) -> Self {
        Self(word)
    }

    /// The sum of one 32-bit word.
    #[must_use]
    pub const fn of_u32(word: u32) -> Self {
        Self((word >> 16) as u16).plus(Self(word as u16))
    }

    /// The sum of the same octets, had they begun at an odd offset.
    ///
    /// RFC 1071 §2 B.
    #[must_use]
    pub const fn at_odd_offset(self) -> Self {
        Self(self.0.swap_bytes())
    }

    /// The checksum that belongs into a header: the complement.
    #[must_use]
    pub const fn checksum(self) -> u16 {
        !self.0
    }

    /// The checksum for UDP, where a zero on the wire means "none" and 0xffff is sent for it.
    ///
    /// RFC 768.
    #[must_use]
    pub const fn udp_checksum(self) -> u16 {
        if self.0 == 0xffff { 0xffff } else { !self.0 }
    }

    /// Whether the octets summed, their checksum field among them, are intact.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 == 0xffff
    }

    /// The value that an unfinished checksum field holds: the sum itself, not complemented.
    #[must_use]
    pub const fn to_partial(self) -> u16 {
        self.0
    }

    /// The inverse of [`to_partial`](Self::to_partial).
    #[must_use]
    pub const fn from_partial(field: u16) -> Self {
        Self(field)
    }

    const fn plus(self, other: Self) -> Self {
        let (sum, carry) = self.0.overflowing_add(other.0);
        Self(sum + carry as u16)
    }
}

impl Add for Sum {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.plus(other)
    }
}

impl Sub for Sum {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.plus(Self(!other.0))
    }
}

impl core::iter::Sum for Sum {
    fn sum<I: Iterator<Item = Self>>(sums: I) -> Self {
        sums.fold(Self::ZERO, Self::plus)
    }
}

/// The checksum of `octets`, whose own checksum field is zero.
#[must_use]
pub fn checksum(octets: &[u8]) -> u16 {
    Sum::of(octets).checksum()
}

/// The checksum after some of what it covers changed from `old` to `new`.
///
/// `checksum` is the field as it stands. A UDP checksum of zero means that there is none; the
/// caller leaves it alone. RFC 1624 §3, equation 3.
#[must_use]
pub fn update(checksum: u16, old: Sum, new: Sum) -> u16 {
    (Sum(!checksum) - old + new).checksum()
}

/// The sum of the pseudo-header of TCP or UDP over IPv4.
///
/// `length` is that of the transport header and its payload. RFC 9293 §3.1, RFC 768.
#[must_use]
pub fn pseudo_header_v4(source: [u8; 4], destination: [u8; 4], protocol: u8, length: u16) -> Sum {
    Sum::of_u32(u32::from_be_bytes(source))
        + Sum::of_u32(u32::from_be_bytes(destination))
        + Sum(u16::from(protocol))
        + Sum(length)
}

/// The sum of the pseudo-header of TCP or UDP over IPv6.
///
/// `length` is that of the transport header and its payload. RFC 8200 §8.1.
#[must_use]
pub fn pseudo_header_v6(source: [u8; 16], destination: [u8; 16], protocol: u8, length: u32) -> Sum {
    Sum::of(&source) + Sum::of(&destination) + Sum(u16::from(protocol)) + Sum::of_u32(length)
}

/// Folds a sum of words of any width that is a multiple of 16 bits into 16 bits.
fn fold(total: u64) -> u16 {
    // A sum of two 32-bit halves has 33 bits, of three 16-bit pieces 18, of two again 17.
    let total = (total & 0xffff_ffff) + (total >> 32);
    let total = (total & 0xffff) + ((total >> 16) & 0xffff) + (total >> 32);
    let total = (total & 0xffff) + (total >> 16);
    let total = (total & 0xffff) + (total >> 16);
    total as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        let octets = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&octets), Sum(0xddf2));
        assert_eq!(checksum(&octets), 0x220d);
    }

    #[test]
    fn the_example_of_rfc_1624_is_updated_without_the_other_zero() {
        // §4: the word 0x5555 becomes 0x3285, and the checksum must become 0x0000, not 0xffff.
        assert_eq!(update(0xdd2f, Sum::of_u16(0x5555), Sum::of_u16(0x3285)), 0x0000);
    }

    #[test]
    fn a_udp_checksum_is_never_zero() {
        assert_eq!(Sum::of(&[0xff, 0xff]).udp_checksum(), 0xffff);
        assert_eq!(Sum::of(&[0x12, 0x34]).udp_checksum(), !0x1234);
    }

    #[test]
    fn folding_carries_to_the_end() {
        let cases = [
            (0, 0),
            (0xffff, 0xffff),
            (0x1_0000, 1),
            (u64::MAX, 0xffff),
            (0xffff_ffff_0000_0001, 1),
            (0x0001_ffff_ffff_ffff, 1),
        ];
        for (total, expected) in cases {
            assert_eq!(fold(total), expected, "{total:#x}");
        }
    }
}
