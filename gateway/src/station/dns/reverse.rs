//! Addresses as names: `in-addr.arpa` and `ip6.arpa` (RFC 1035 §3.5, RFC 3596 §2.5).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::names::before;

const V4_ZONE: &[u8] = b"\x07in-addr\x04arpa\0";
const V6_ZONE: &[u8] = b"\x03ip6\x04arpa\0";

/// An address, or the beginning of one, that a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reverse {
    /// The address; zeros where the name says nothing.
    pub(super) address: IpAddr,
    /// How many bits of it the name says.
    pub(super) bits: u8,
}

impl Reverse {
    /// Reads `name`, labels in lower case; `None` if it stands for no address.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        if let Some(labels) = before(name, V4_ZONE) {
            let mut octets = [0; 4];
            let bits = 8 * read(labels, &mut octets, decimal)?;
            let address = Ipv4Addr::from(octets).into();
            return Some(Self { address, bits });
        }
        let labels = before(name, V6_ZONE)?;
        let mut nibbles = [0; 32];
        let bits = 4 * read(labels, &mut nibbles, hexadecimal)?;
        let value = nibbles.iter().fold(0, |value: u128, nibble| value << 4 | u128::from(*nibble));
        Some(Self { address: Ipv6Addr::from(value).into(), bits })
    }

    /// Whether it is a whole address.
    pub(super) const fn is_whole(self) -> bool {
        match self.address {
            IpAddr::V4(_) => self.bits == 32,
            IpAddr::V6(_) => self.bits == 128,
        }
    }
}

/// Reads labels, the last one first, into `parts`; how many there were.
fn read(mut labels: &[u8], parts: &mut [u8], part: fn(&[u8]) -> Option<u8>) -> Option<u8> {
    let mut count = 0;
    while let [length, rest @ ..] = labels {
        let (label, after) = rest.split_at_checked(usize::from(*length))?;
        *parts.get_mut(count)? = part(label)?;
        count += 1;
        labels = after;
    }
    parts.get_mut(..count)?.reverse();
    Some(count as u8)
}

fn decimal(label: &[u8]) -> Option<u8> {
    let is_canonical = match *label {
        [_] => true,
        [first, ..] => first != b'0',
        [] => false,
    };
    let text = core::str::from_utf8(label).ok()?;
    if !is_canonical || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn hexadecimal(label: &[u8]) -> Option<u8> {
    match *label {
        [digit] => char::from(digit).to_digit(16).map(|value| value as u8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::station::dns::names::labels;
    use alloc::vec::Vec;

    fn reverse(name: &str) -> Option<(IpAddr, u8)> {
        let mut name: Vec<u8> = labels(name).unwrap().into();
        name.push(0);
        Reverse::of(&name).map(|reverse| (reverse.address, reverse.bits))
    }

    #[test]
    fn an_address_is_read_backwards_whole_or_in_part() {
        let v4 = |text: &str, bits| Some((text.parse().unwrap(), bits));
        assert_eq!(reverse("2.10.168.192.in-addr.arpa"), v4("192.168.10.2", 32));
        assert_eq!(reverse("168.192.in-addr.arpa"), v4("192.168.0.0", 16));
        assert_eq!(reverse("in-addr.arpa"), v4("0.0.0.0", 0));
        for bad in ["1.2.3.4.5.in-addr.arpa", "256.1.1.1.in-addr.arpa", "01.1.1.1.in-addr.arpa"] {
            assert_eq!(reverse(bad), None, "{bad}");
        }
        for bad in ["+1.1.1.1.in-addr.arpa", "x.in-addr.arpa", "xin-addr.arpa", "g.ip6.arpa"] {
            assert_eq!(reverse(bad), None, "{bad}");
        }
        let whole = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.F.ip6.arpa";
        assert_eq!(reverse(whole), Some(("fd00::2".parse().unwrap(), 128)));
        assert_eq!(reverse("d.f.ip6.arpa"), Some(("fd00::".parse().unwrap(), 8)));
    }
}
