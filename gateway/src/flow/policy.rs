//! May a guest go there at all?
//!
//! A guest of an ordinary network reaches what the host reaches, with three exceptions: the host's
//! own loopback (services that listen there rely on nobody else coming by), the other networks of
//! this appliance (they are apart for a reason), and addresses that no conversation can be held
//! with. A guest of an internal network reaches nothing.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Any address of it.
    pub address: IpAddr,
    /// How many bits they share.
    pub bits: u8,
}

impl Prefix {
    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let bits = u32::from(self.bits).min(32);
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= bits
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let bits = u32::from(self.bits).min(128);
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// What the guests of one network may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether they reach nothing.
    pub internal: bool,
    /// The gateway's own addresses in the network.
    pub own: Box<[IpAddr]>,
    /// Whether the gateway's own addresses stand for the host's loopback.
    pub host_access: bool,
    /// The subnets of all networks of this appliance.
    pub inside: Arc<[Prefix]>,
}

/// Where a guest's packet may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To that address.
    Outside,
    /// To the host's loopback.
    Host,
    /// The gateway itself is meant.
    Gateway,
    /// Nowhere, and the sender is told so.
    Prohibited,
    /// Nowhere: nobody has such an address.
    Nobody,
}

impl Policy {
    /// Says where a packet to `address` may go.
    #[must_use]
    pub fn destination(&self, address: IpAddr) -> Destination {
        if self.own.contains(&address) {
            return if self.host_access { Destination::Host } else { Destination::Gateway };
        }
        if !can_converse(address) {
            return Destination::Nobody;
        }
        let is_inside = self.inside.iter().any(|subnet| subnet.contains(address));
        if self.internal || is_inside || is_loopback(address) {
            return Destination::Prohibited;
        }
        Destination::Outside
    }

    /// Whether something from `address` may come in: not what claims to be from where no packet
    /// comes from.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        self.destination(address) == Destination::Outside
    }
}

/// Whether one station can have this address, as far as a gateway can know it: link-local addresses
/// of IPv6 mean nothing beyond their link.
fn can_converse(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let is_this_network = address.octets()[0] == 0;
            let is_reserved = address.octets()[0] >= 240;
            !is_this_network && !is_reserved && !address.is_multicast()
        }
        IpAddr::V6(address) => {
            !address.is_unspecified() && !address.is_multicast() && !address.is_unicast_link_local()
        }
    }
}

/// Whether the host itself is meant, in whatever notation.
fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        // Whatever has an IPv4 address inside would go there, past the rules for IPv4.
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.to_ipv4_mapped().is_some()
                || address.to_ipv4().is_some()
        }
    }
}

/// The host's loopback address of the same family.
#[must_use]
pub const fn loopback_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn policy(internal: bool, host_access: bool) -> Policy {
        let prefix = |text, bits| Prefix { address: address(text), bits };
        Policy {
            internal,
            host_access,
            own: [address("10.0.0.1"), address("fd00::1")].into(),
            inside: [prefix("10.0.0.0", 24), prefix("10.9.0.0", 16), prefix("fd00::", 64)].into(),
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_guest_reaches_what_the_host_reaches_but_not_the_host_nor_other_networks() {
        use Destination::{Gateway, Host, Nobody, Outside, Prohibited};
        let cases = [
            // address               ordinary    host-access  internal
            ("192.0.2.7",            Outside,    Outside,     Prohibited),
            ("169.254.169.254",      Outside,    Outside,     Prohibited),
            ("2001:db8::7",          Outside,    Outside,     Prohibited),
            ("10.0.0.1",             Gateway,    Host,        Gateway),
            ("fd00::1",              Gateway,    Host,        Gateway),
            ("10.0.0.9",             Prohibited, Prohibited,  Prohibited),
            ("10.9.3.1",             Prohibited, Prohibited,  Prohibited),
            ("fd00::9",              Prohibited, Prohibited,  Prohibited),
            ("127.0.0.1",            Prohibited, Prohibited,  Prohibited),
            ("127.99.0.1",           Prohibited, Prohibited,  Prohibited),
            ("::1",                  Prohibited, Prohibited,  Prohibited),
            ("::ffff:127.0.0.1",     Prohibited, Prohibited,  Prohibited),
            ("::ffff:192.0.2.7",     Prohibited, Prohibited,  Prohibited),
            ("::127.0.0.1",          Prohibited, Prohibited,  Prohibited),
            ("0.0.0.0",              Nobody,     Nobody,      Nobody),
            ("0.1.2.3",              Nobody,     Nobody,      Nobody),
            ("255.255.255.255",      Nobody,     Nobody,      Nobody),
            ("240.0.0.1",            Nobody,     Nobody,      Nobody),
            ("224.0.0.251",          Nobody,     Nobody,      Nobody),
            ("::",                   Nobody,     Nobody,      Nobody),
            ("ff02::fb",             Nobody,     Nobody,      Nobody),
            ("fe80::1",              Nobody,     Nobody,      Nobody),
        ];
        for (text, ordinary, host_access, internal) in cases {
            assert_eq!(policy(false, false).destination(address(text)), ordinary, "{text}");
            assert_eq!(policy(false, true).destination(address(text)), host_access, "{text}");
            assert_eq!(policy(true, false).destination(address(text)), internal, "{text}");
        }
    }

    #[test]
    fn a_prefix_of_no_bits_has_every_address_of_its_family() {
        let everything = Prefix { address: address("0.0.0.0"), bits: 0 };
        assert!(everything.contains(address("255.1.2.3")));
        assert!(!everything.contains(address("::1")));
    }
}
