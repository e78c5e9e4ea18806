//! Station addresses: the bits that mean something, and the text form.
//!
//! An address is six octets in the order they appear on the wire. The lowest bit of the first octet
//! says group or station, the next one says who assigned it: the manufacturer, or somebody locally.
//! As an integer an address is its 48 bits with the first octet on top, so that integers and
//! addresses sort alike.
//!
//! # Sources
//! IEEE 802 (address structure), IEEE 802.1Q §8.6.3 (reserved addresses), RFC 4291 appendix A and
//! RFC 7042 §2.2 (modified EUI-64).

use core::fmt;
use core::net::Ipv6Addr;
use core::str::FromStr;

/// A 48-bit MAC address, in the order of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Everybody on the network.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// No station at all; a placeholder in ARP and in static tables.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether it names a group (multicast or broadcast), which is never a source.
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it is `ff:ff:ff:ff:ff:ff`.
    #[must_use]
    pub const fn is_broadcast(self) -> bool {
        self.to_u64() == 0xffff_ffff_ffff
    }

    /// Whether it is `00:00:00:00:00:00`.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.to_u64() == 0
    }

    /// Whether it was assigned locally instead of by a manufacturer.
    #[must_use]
    pub const fn is_local(self) -> bool {
        self.0[0] & 2 != 0
    }

    /// Whether it is one of `01:80:c2:00:00:00` to `01:80:c2:00:00:0f`, which no bridge forwards.
    ///
    /// IEEE 802.1Q §8.6.3.
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        self.to_u64() & !0xf == 0x0180_c200_0000
    }

    /// The address as the low 48 bits of an integer, first octet on top.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The inverse of [`to_u64`](Self::to_u64); the upper 16 bits are ignored.
    #[must_use]
    pub const fn from_u64(value: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = value.to_be_bytes();
        Self([a, b, c, d, e, f])
    }

    /// The IPv6 link-local address a station makes of its MAC address: `fe80::/64` and the modified
    /// EUI-64.
    ///
    /// RFC 4291 appendix A.
    #[must_use]
    pub const fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let high = u16::from_be_bytes([a ^ 2, b]);
        let middle = u16::from_be_bytes([c, 0xff]);
        let low = u16::from_be_bytes([0xfe, d]);
        Ipv6Addr::new(0xfe80, 0, 0, 0, high, middle, low, u16::from_be_bytes([e, f]))
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// Why a text is not a MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MacAddrError {
    /// There are not six groups.
    #[error("a MAC address has 6 groups like 02:00:5e:10:00:01, this has {0}")]
    Groups(usize),
    /// The group with this number, counted from 1, is not two hexadecimal digits.
    #[error("group {0} of a MAC address must be two hexadecimal digits, as in 02:00:5e:10:00:01")]
    Digits(usize),
}

impl FromStr for MacAddr {
    type Err = MacAddrError;

    /// Reads six pairs of hexadecimal digits with colons or with dashes between them.
    fn from_str(text: &str) -> Result<Self, MacAddrError> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let groups = text.split(separator).count();
        if groups != 6 {
            return Err(MacAddrError::Groups(groups));
        }
        let mut octets = [0; 6];
        for (index, (octet, group)) in octets.iter_mut().zip(text.split(separator)).enumerate() {
            *octet = hex_pair(group).ok_or(MacAddrError::Digits(index + 1))?;
        }
        Ok(Self(octets))
    }
}

fn hex_pair(group: &str) -> Option<u8> {
    // `from_str_radix` alone would also take a sign.
    if group.len() != 2 || !group.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(group, 16).ok()
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    const MAC: MacAddr = MacAddr([0x02, 0x00, 0x5e, 0x10, 0xab, 0x01]);

    #[test]
    #[rustfmt::skip]
    fn the_bits_of_an_address_say_what_it_is() {
        let cases = [
            // address                                  group  local  reserved
            ("00:00:00:00:00:00",                       false, false, false),
            ("ff:ff:ff:ff:ff:ff",                       true,  true,  false),
            ("01:80:c2:00:00:00",                       true,  false, true),
            ("01:80:c2:00:00:0f",                       true,  false, true),
            ("01:80:c2:00:00:10",                       true,  false, false),
            ("01:80:c2:00:01:00",                       true,  false, false),
            ("02:00:5e:10:00:01",                       false, true,  false),
            ("33:33:00:00:00:01",                       true,  true,  false),
        ];
        for (text, group, local, reserved) in cases {
            let mac: MacAddr = text.parse().unwrap();
            let got = (mac.is_group(), mac.is_local(), mac.is_reserved());
            assert_eq!(got, (group, local, reserved), "{text}");
            assert_eq!(mac.to_string(), text);
            assert_eq!(mac.is_broadcast(), text == "ff:ff:ff:ff:ff:ff");
            assert_eq!(mac.is_zero(), text == "00:00:00:00:00:00");
        }
    }

    #[test]
    fn an_integer_keeps_48_bits_and_the_order() {
        assert_eq!(MAC.to_u64(), 0x0200_5e10_ab01);
        assert_eq!(MacAddr::from_u64(0xffff_0200_5e10_ab01), MAC);
        assert!(MacAddr::from_u64(0x0100_0000_0000) > MacAddr::from_u64(0x00ff_ffff_ffff));
    }

    #[test]
    fn the_link_local_address_flips_the_local_bit_and_inserts_fffe() {
        assert_eq!(MAC.link_local().to_string(), "fe80::5eff:fe10:ab01");
        let burnt_in = MacAddr([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        assert_eq!(burnt_in.link_local().to_string(), "fe80::3656:78ff:fe9a:bcde");
    }

    #[test]
    fn text_is_read_with_colons_or_dashes_and_refused_with_a_reason() {
        assert_eq!("02:00:5E:10:ab:01".parse(), Ok(MAC));
        assert_eq!("02-00-5e-10-AB-01".parse(), Ok(MAC));
        let refused = [
            ("", MacAddrError::Groups(1)),
            ("02005e10ab01", MacAddrError::Groups(1)),
            ("02:00:5e:10:ab", MacAddrError::Groups(5)),
            ("02:00:5e:10:ab:01:02", MacAddrError::Groups(7)),
            ("02-00-5e:10-ab-01", MacAddrError::Groups(5)),
            ("02:00:5e:1g:ab:01", MacAddrError::Digits(4)),
            ("02:00:5e:+1:ab:01", MacAddrError::Digits(4)),
            ("02:00:5e:10:ab:1", MacAddrError::Digits(6)),
            ("02:00:5e:10:ab:é", MacAddrError::Digits(6)),
        ];
        for (text, reason) in refused {
            assert_eq!(text.parse::<MacAddr>(), Err(reason), "{text}");
        }
        assert_eq!(
            MacAddrError::Groups(5).to_string(),
            "a MAC address has 6 groups like 02:00:5e:10:00:01, this has 5"
        );
    }
}
