//! Subnets as numbers: the first and the last address of a subnet, and its family.
//!
//! Addresses of both families become `u128`, so that the rest of the crate is written once. Two
//! spans of different families have nothing in common, whatever their numbers.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

/// The family of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4: 32 bits.
    V4,
    /// IPv6: 128 bits.
    V6,
}

impl Family {
    /// The family of a subnet.
    pub fn of(network: IpNetwork) -> Self {
        match network {
            IpNetwork::V4(_) => Self::V4,
            IpNetwork::V6(_) => Self::V6,
        }
    }

    /// How many bits an address has, which is also the longest prefix.
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The number of an address, if it is of this family.
    pub(crate) fn number(self, address: IpAddr) -> Option<u128> {
        match (self, address) {
            (Self::V4, IpAddr::V4(address)) => Some(u32::from(address).into()),
            (Self::V6, IpAddr::V6(address)) => Some(address.into()),
            (Self::V4, IpAddr::V6(_)) | (Self::V6, IpAddr::V4(_)) => None,
        }
    }

    /// The address with this number; for IPv4, of its lower 32 bits.
    pub(crate) fn address(self, number: u128) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::from(number as u32).into(),
            Self::V6 => Ipv6Addr::from(number).into(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Addresses from `first` to `last`, both included; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) family: Family,
    pub(crate) first: u128,
    pub(crate) last: u128,
}

impl Span {
    /// All addresses of a subnet, whatever its host bits.
    pub(crate) fn of(network: IpNetwork) -> Self {
        let family = Family::of(network);
        let number: u128 = match network.ip() {
            IpAddr::V4(address) => u32::from(address).into(),
            IpAddr::V6(address) => address.into(),
        };
        let host = host_bits(family, network.prefix());
        Self { family, first: number & !host, last: number | host }
    }

    pub(crate) fn contains(self, number: u128) -> bool {
        (self.first..=self.last).contains(&number)
    }

    pub(crate) fn encloses(self, other: Self) -> bool {
        self.family == other.family && self.first <= other.first && other.last <= self.last
    }

    /// How many addresses; `u128::MAX` also for all 2^128 of them.
    pub(crate) fn len(self) -> u128 {
        (self.last - self.first).saturating_add(1)
    }

    /// What both have in common.
    pub(crate) fn intersection(self, other: Self) -> Option<Self> {
        let first = self.first.max(other.first);
        let last = self.last.min(other.last);
        (self.family == other.family && first <= last).then_some(Self { first, last, ..self })
    }
}

/// A number whose bits are those that `prefix` leaves to the host.
pub(crate) fn host_bits(family: Family, prefix: u8) -> u128 {
    let bits = family.bits().saturating_sub(prefix);
    1u128.checked_shl(bits.into()).map_or(u128::MAX, |size| size - 1)
}

/// The subnet of this length that begins with this number.
///
/// `prefix` has been checked to be at most `family.bits()`.
pub(crate) fn subnet(family: Family, first: u128, prefix: u8) -> IpNetwork {
    IpNetwork::new(family.address(first), prefix).expect("the prefix was checked before")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn a_span_runs_from_the_first_to_the_last_address() {
        let cases = [
            ("10.0.0.7/24",     0x0a00_0000, 0x0a00_00ff),
            ("10.0.0.7/32",     0x0a00_0007, 0x0a00_0007),
            ("10.0.0.7/0",      0,           0xffff_ffff),
            ("::/0",            0,           u128::MAX),
            ("fd00::7/64",      0xfd00 << 112, (0xfd00 << 112) | 0xffff_ffff_ffff_ffff),
            ("fd00::7/128",     (0xfd00 << 112) | 7, (0xfd00 << 112) | 7),
        ];
        for (network, first, last) in cases {
            let network: IpNetwork = network.parse().unwrap();
            let family = Family::of(network);
            assert_eq!(Span::of(network), Span { family, first, last }, "{network}");
        }
    }

    #[test]
    fn spans_of_different_families_have_nothing_in_common() {
        let four = Span::of("0.0.0.0/0".parse().unwrap());
        let six = Span::of("::/0".parse().unwrap());
        assert_eq!(four.intersection(six), None);
        assert!(!six.encloses(four));
    }
}
