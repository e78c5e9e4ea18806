//! The Ethernet header: where a frame goes, where it is from, and what it carries.
//!
//! [`Header::parse`] reads the fourteen octets every frame has and looks through at most two VLAN
//! tags, the depth of provider bridging. A third tag is simply the EtherType that it is. Nothing
//! is judged here: a group source or a length field in place of an EtherType parses like any other.
//!
//! # Sources
//! IEEE 802.3 §3.2 (frame), IEEE 802.1Q §9 (tags).

use crate::mac::MacAddr;
use core::fmt;

/// The octets of an Ethernet header without tags.
pub const LEN: usize = 14;

/// The octets of one VLAN tag.
pub const TAG_LEN: usize = 4;

/// What a frame carries; below 1536 it is a length instead (IEEE 802.3 §3.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// A customer VLAN tag.
    pub const VLAN: Self = Self(0x8100);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
    /// A service VLAN tag, the outer one of provider bridging.
    pub const QINQ: Self = Self(0x88a8);

    /// Whether a VLAN tag follows.
    #[must_use]
    pub const fn is_tag(self) -> bool {
        self.0 == Self::VLAN.0 || self.0 == Self::QINQ.0
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "0x{:04x}", self.0)
    }
}

/// A VLAN tag as it stands in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// The EtherType that announced it: [`EtherType::VLAN`] or [`EtherType::QINQ`].
    pub kind: EtherType,
    /// Priority (3 bits), drop eligible (1 bit) and VLAN id (12 bits).
    pub control: u16,
}

impl VlanTag {
    /// The VLAN id, 0 to 4095; 0 means that only the priority counts.
    #[must_use]
    pub const fn id(self) -> u16 {
        self.control & 0x0fff
    }

    /// The priority, 0 to 7.
    #[must_use]
    pub const fn priority(self) -> u8 {
        (self.control >> 13) as u8
    }

    /// Whether it may be dropped before others when a queue is full.
    #[must_use]
    pub const fn is_drop_eligible(self) -> bool {
        self.control & 0x1000 != 0
    }
}

/// The Ethernet header of a frame, with the tags looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The station or group the frame is for.
    pub destination: MacAddr,
    /// The station that sent it.
    pub source: MacAddr,
    /// The outer VLAN tag.
    pub vlan: Option<VlanTag>,
    /// What follows the tags.
    pub ether_type: EtherType,
    /// Where that begins, in octets from the start of the frame: 14, 18 or 22.
    pub payload: usize,
}

impl Header {
    /// Reads the header of `frame`.
    ///
    /// `None` if the frame is shorter than 14 octets or ends within a tag.
    #[must_use]
    #[inline]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (fixed, rest) = frame.split_first_chunk::<LEN>()?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *fixed;
        let header = Self {
            destination: MacAddr([d0, d1, d2, d3, d4, d5]),
            source: MacAddr([s0, s1, s2, s3, s4, s5]),
            vlan: None,
            ether_type: EtherType(u16::from_be_bytes([t0, t1])),
            payload: LEN,
        };
        if header.ether_type.is_tag() { header.through_tags(rest) } else { Some(header) }
    }

    fn through_tags(mut self, rest: &[u8]) -> Option<Self> {
        let (&[c0, c1, t0, t1], rest) = rest.split_first_chunk::<TAG_LEN>()?;
        let control = u16::from_be_bytes([c0, c1]);
        self.vlan = Some(VlanTag { kind: self.ether_type, control });
        self.ether_type = EtherType(u16::from_be_bytes([t0, t1]));
        self.payload += TAG_LEN;
        if self.ether_type.is_tag() {
            let &[_, _, t0, t1] = rest.first_chunk::<TAG_LEN>()?;
            self.ether_type = EtherType(u16::from_be_bytes([t0, t1]));
            self.payload += TAG_LEN;
        }
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    const ANN: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const BOB: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn frame(after_addresses: &[u8]) -> Vec<u8> {
        [&BOB, &ANN, after_addresses].concat()
    }

    #[test]
    #[rustfmt::skip]
    fn tags_are_looked_through_twice_and_the_outer_one_is_kept() {
        let inner = VlanTag { kind: EtherType::VLAN, control: 0xb02a };
        let outer = VlanTag { kind: EtherType::QINQ, control: 0x0007 };
        let cases: [(&[u8], Option<VlanTag>, EtherType, usize); 5] = [
            (&[8, 0],                                           None,        EtherType::IPV4, 14),
            (&[0, 46],                                          None,        EtherType(46),   14),
            (&[0x81, 0, 0xb0, 0x2a, 8, 6],                      Some(inner), EtherType::ARP,  18),
            (&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 9, 0x86, 0xdd],    Some(outer), EtherType::IPV6, 22),
            (&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 9, 0x81, 0, 1, 1], Some(outer), EtherType::VLAN, 22),
        ];
        for (after, vlan, ether_type, payload) in cases {
            let expected = Header {
                destination: MacAddr(BOB), source: MacAddr(ANN), vlan, ether_type, payload,
            };
            assert_eq!(Header::parse(&frame(after)), Some(expected), "{after:02x?}");
        }
        assert_eq!((inner.id(), inner.priority(), inner.is_drop_eligible()), (42, 5, true));
    }

    #[test]
    fn a_frame_cut_off_within_its_header_or_a_tag_is_none() {
        let whole = frame(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 9, 0x86, 0xdd]);
        for len in 0..whole.len() {
            assert_eq!(Header::parse(&whole[..len]), None, "{len} octets");
        }
    }

    #[test]
    fn an_ether_type_is_shown_in_hexadecimal() {
        assert_eq!(std::format!("{}", EtherType::ARP), "0x0806");
    }
}
