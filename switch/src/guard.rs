//! The source guard: an endpoint sends from its own addresses or not at all.
//!
//! A network tells its endpoints apart by MAC and IP address, and everything that is decided by
//! address (names, published ports, policies, the FDB itself) rests on nobody borrowing another's.
//! The guard looks at what a frame claims about its sender: the Ethernet source, the sender in
//! ARP, the source of an IP packet, the target of a neighbour advertisement. It sees through VLAN
//! tags, as far as [`Header`] does. It does not look at anything else; an EtherType it does not
//! know passes by its MAC address alone.
//!
//! A claim that cannot be read is not believed: a cut-off header, an unknown kind of ARP, more
//! extension headers than anyone needs.
//!
//! # What passes beyond the endpoint's own addresses
//! - the IPv6 link-local address made from its MAC address, or any link-local one if so chosen;
//! - ARP requests from 0.0.0.0, which probe for an address (RFC 5227 §2.1.1);
//! - IPv4 from 0.0.0.0 if it is DHCP, UDP from port 68 to 67 (RFC 2131 §4.1);
//! - IPv6 from `::` if it is a neighbour or router solicitation or a multicast listener's message
//!   (RFC 4862 §5.4.2, RFC 4861 §4.1, RFC 3590);
//! - everything, for an endpoint of a network that hands out no addresses: only its MAC is known.
//!
//! # Limits
//! Only the sender is guarded. What an endpoint says about the network, such as a router
//! advertisement or a DHCP offer from an address of its own, is not the guard's business.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_frame::{EtherType, Header, MacAddr};

use crate::drops::DropReason;

const UDP: u8 = 17;
const ICMPV6: u8 = 58;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
/// Every kind of extension header once, and destination options twice (RFC 8200 §4.1), is five.
const EXTENSION_HEADERS: usize = 5;

/// Multicast listener report and done (RFC 2710), report of version 2 (RFC 3810).
const LISTENER_REPORT: u8 = 131;
const LISTENER_DONE: u8 = 132;
const LISTENER_REPORT_V2: u8 = 143;
const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// Which sources a port may send from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Any. For tunnels, the gateway, uplinks, and endpoints that may spoof.
    Off,
    /// Those of one endpoint.
    On(Binding),
}

impl Guard {
    /// Checks what `frame` claims about its sender; `header` is the frame's own.
    ///
    /// # Errors
    /// [`DropReason::SpoofedMac`] or [`DropReason::SpoofedAddress`].
    #[inline]
    pub fn check(&self, header: &Header, frame: &[u8]) -> Result<(), DropReason> {
        match self {
            Self::Off => Ok(()),
            Self::On(binding) => binding.check(header, frame),
        }
    }
}

/// The addresses of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    mac: MacAddr,
    ipv4: Box<[Ipv4Addr]>,
    /// The link-local address comes first; it is always there.
    ipv6: Box<[Ipv6Addr]>,
    any_link_local: bool,
    mac_only: bool,
}

impl Binding {
    /// Binds an endpoint to its MAC address and its IP addresses.
    ///
    /// No addresses means that its network hands out none; then the MAC address alone is checked.
    /// `any_link_local` admits every source in fe80::/10, for guests that do not derive theirs
    /// from the MAC address (RFC 7217).
    #[must_use]
    pub fn new(mac: MacAddr, addresses: &[IpAddr], any_link_local: bool) -> Self {
        let mut ipv4 = Vec::new();
        let mut ipv6 = Vec::from([mac.link_local()]);
        for address in addresses {
            match address {
                IpAddr::V4(address) => ipv4.push(*address),
                IpAddr::V6(address) => ipv6.push(*address),
            }
        }
        Self {
            mac,
            ipv4: ipv4.into(),
            ipv6: ipv6.into(),
            any_link_local,
            mac_only: addresses.is_empty(),
        }
    }

    /// Gives the MAC address the endpoint is bound to.
    #[must_use]
    pub const fn mac(&self) -> MacAddr {
        self.mac
    }

    #[inline]
    fn check(&self, header: &Header, frame: &[u8]) -> Result<(), DropReason> {
        if header.source != self.mac {
            return Err(DropReason::SpoofedMac);
        }
        let payload = frame.get(header.payload..).unwrap_or_default();
        let believable = match header.ether_type {
            EtherType::ARP => return self.check_arp(payload),
            EtherType::IPV4 => self.mac_only || self.owns_ipv4_packet(payload),
            EtherType::IPV6 => self.mac_only || self.owns_ipv6_packet(payload),
            _ => true,
        };
        if believable { Ok(()) } else { Err(DropReason::SpoofedAddress) }
    }

    fn check_arp(&self, payload: &[u8]) -> Result<(), DropReason> {
        // Hardware Ethernet, protocol IPv4, six and four octets of address (RFC 826).
        const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];
        const REQUEST: [u8; 2] = [0, 1];
        let Some(arp) = payload.first_chunk::<28>() else {
            return Err(DropReason::SpoofedAddress);
        };
        if arp[..6] != KIND {
            return Err(DropReason::SpoofedAddress);
        }
        if arp[8..14] != self.mac.0 {
            return Err(DropReason::SpoofedMac);
        }
        let sender = Ipv4Addr::new(arp[14], arp[15], arp[16], arp[17]);
        let probe = sender.is_unspecified() && arp[6..8] == REQUEST;
        if self.mac_only || probe || self.ipv4.contains(&sender) {
            Ok(())
        } else {
            Err(DropReason::SpoofedAddress)
        }
    }

    #[inline]
    fn owns_ipv4_packet(&self, packet: &[u8]) -> bool {
        let Some(header) = packet.first_chunk::<20>() else {
            return false;
        };
        let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
        if header[0] >> 4 != 4 {
            return false;
        }
        self.ipv4.contains(&source) || (source.is_unspecified() && is_dhcp_request(header, packet))
    }

    #[inline]
    fn owns_ipv6_packet(&self, packet: &[u8]) -> bool {
        let Some((header, payload)) = packet.split_first_chunk::<40>() else {
            return false;
        };
        let source = ipv6_at(header, 8);
        if header[0] >> 4 != 6 {
            return false;
        }
        if source.is_unspecified() {
            return match upper_layer(header[6], payload) {
                UpperLayer::Icmpv6(message) => may_be_unspecified(message),
                UpperLayer::Other | UpperLayer::Unreadable => false,
            };
        }
        if !self.owns_ipv6(source) {
            return false;
        }
        match upper_layer(header[6], payload) {
            UpperLayer::Icmpv6(message) => self.may_advertise(message),
            UpperLayer::Other => true,
            UpperLayer::Unreadable => false,
        }
    }

    fn owns_ipv6(&self, address: Ipv6Addr) -> bool {
        self.ipv6.contains(&address) || (self.any_link_local && address.is_unicast_link_local())
    }

    /// A neighbour advertisement says who has an address; any other message says nothing such.
    fn may_advertise(&self, message: &[u8]) -> bool {
        if message.first() != Some(&NEIGHBOUR_ADVERTISEMENT) {
            return true;
        }
        message.first_chunk::<24>().is_some_and(|message| self.owns_ipv6(ipv6_at(message, 8)))
    }
}

fn ipv6_at<const N: usize>(octets: &[u8; N], at: usize) -> Ipv6Addr {
    octets
        .get(at..)
        .and_then(|rest| rest.first_chunk::<16>())
        .map_or(Ipv6Addr::UNSPECIFIED, |address| Ipv6Addr::from(*address))
}

fn is_dhcp_request(header: &[u8; 20], packet: &[u8]) -> bool {
    const FROM_68_TO_67: [u8; 4] = [0, 68, 0, 67];
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let fragment_offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    header_len >= 20
        && header[9] == UDP
        && fragment_offset == 0
        && packet.get(header_len..).is_some_and(|udp| udp.starts_with(&FROM_68_TO_67))
}

fn may_be_unspecified(message: &[u8]) -> bool {
    matches!(
        message.first(),
        Some(
            &(LISTENER_REPORT
                | LISTENER_DONE
                | LISTENER_REPORT_V2
                | ROUTER_SOLICITATION
                | NEIGHBOUR_SOLICITATION)
        )
    )
}

/// What stands behind the extension headers of an IPv6 packet.
enum UpperLayer<'p> {
    Icmpv6(&'p [u8]),
    /// Something else, or a later fragment: not a message of neighbour discovery.
    Other,
    /// The headers end too early or are too many.
    Unreadable,
}

fn upper_layer(mut kind: u8, mut rest: &[u8]) -> UpperLayer<'_> {
    for _ in 0..=EXTENSION_HEADERS {
        if kind == ICMPV6 {
            return UpperLayer::Icmpv6(rest);
        }
        if !matches!(kind, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS) {
            return UpperLayer::Other;
        }
        let Some(&[next, len, o0, o1, ..]) = rest.first_chunk::<8>() else {
            return UpperLayer::Unreadable;
        };
        let octets = match kind {
            // A later fragment carries no header to read. Neighbour discovery is never believed in
            // fragments anyway (RFC 6980 §5), so nothing hides there.
            FRAGMENT if u16::from_be_bytes([o0, o1]) >> 3 != 0 => return UpperLayer::Other,
            FRAGMENT => 8,
            AUTHENTICATION => usize::from(len) * 4 + 8,
            _ => usize::from(len) * 8 + 8,
        };
        let Some(behind) = rest.get(octets..) else {
            return UpperLayer::Unreadable;
        };
        (kind, rest) = (next, behind);
    }
    UpperLayer::Unreadable
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Result<(), DropReason> = Ok(());
    const MAC: Result<(), DropReason> = Err(DropReason::SpoofedMac);
    const IP: Result<(), DropReason> = Err(DropReason::SpoofedAddress);

    const ANN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const BOB: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const ARP: u16 = 0x0806;
    const IPV4: u16 = 0x0800;
    const IPV6: u16 = 0x86dd;

    const A4: [u8; 4] = [10, 0, 0, 1];
    const B4: [u8; 4] = [10, 0, 0, 2];
    const Z4: [u8; 4] = [0; 4];
    const A6: &str = "fd00::1";
    const B6: &str = "fd00::2";
    /// Made from Ann's MAC address.
    const AL: &str = "fe80::ff:fe00:1";
    const XL: &str = "fe80::1234";
    const Z6: &str = "::";

    fn both() -> Guard {
        Guard::On(Binding::new(ANN, &[A4.into(), ip(A6).into()], false))
    }

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn check(guard: &Guard, frame: &[u8]) -> Result<(), DropReason> {
        guard.check(&Header::parse(frame).unwrap(), frame)
    }

    fn frame(source: MacAddr, ether_type: u16, payload: &[u8]) -> Vec<u8> {
        [&[0xff; 6], &source.0[..], &ether_type.to_be_bytes(), payload].concat()
    }

    fn tagged(frame: &[u8], tags: &[u8]) -> Vec<u8> {
        [&frame[..12], tags, &frame[12..]].concat()
    }

    fn arp(operation: u8, hardware: MacAddr, protocol: [u8; 4]) -> Vec<u8> {
        [&[0, 1, 8, 0, 6, 4, 0, operation][..], &hardware.0, &protocol, &[0; 6], &B4].concat()
    }

    fn ipv4(protocol: u8, source: [u8; 4], fragment: u16, payload: &[u8]) -> Vec<u8> {
        let fragment = fragment.to_be_bytes();
        let start = [0x45, 0, 0, 0, 0, 0, fragment[0], fragment[1], 64, protocol, 0, 0];
        [&start, &source[..], &B4, payload].concat()
    }

    fn ipv6(next: u8, source: &str, payload: &[u8]) -> Vec<u8> {
        let start = [0x60, 0, 0, 0, 0, payload.len() as u8, next, 255];
        [&start, &ip(source).octets()[..], &ip(B6).octets(), payload].concat()
    }

    fn icmpv6(kind: u8, target: &str) -> Vec<u8> {
        [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &ip(target).octets()].concat()
    }

    #[test]
    #[rustfmt::skip]
    fn arp_speaks_for_its_sender_only() {
        let mut foreign = arp(1, ANN, A4);
        foreign[3] = 1;
        let cases = [
            (ANN, arp(1, ANN, A4), OK),
            (ANN, arp(2, ANN, A4), OK),
            (ANN, arp(1, ANN, Z4), OK),                 // a probe
            (ANN, arp(2, ANN, Z4), IP),                 // a reply from nowhere
            (ANN, arp(1, ANN, B4), IP),
            (ANN, arp(2, ANN, B4), IP),
            (ANN, arp(2, BOB, A4), MAC),
            (BOB, arp(2, ANN, A4), MAC),
            (ANN, foreign, IP),
            (ANN, arp(1, ANN, A4)[..27].to_vec(), IP),
            (ANN, Vec::new(), IP),
        ];
        for (source, payload, expected) in cases {
            assert_eq!(check(&both(), &frame(source, ARP, &payload)), expected, "{payload:02x?}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn ipv4_comes_from_the_endpoints_address_or_asks_for_one() {
        let request: &[u8] = &[0, 68, 0, 67, 0, 8, 0, 0];
        let offer: &[u8] = &[0, 67, 0, 68, 0, 8, 0, 0];
        let cases = [
            (ANN, ipv4(6, A4, 0, &[]), OK),
            (BOB, ipv4(6, A4, 0, &[]), MAC),
            (ANN, ipv4(6, B4, 0, &[]), IP),
            (ANN, ipv4(17, A4, 0, offer), OK),
            (ANN, ipv4(17, Z4, 0, request), OK),
            (ANN, ipv4(17, Z4, 0x4000, request), OK),   // do not fragment
            (ANN, ipv4(17, Z4, 1, request), IP),        // a later fragment
            (ANN, ipv4(17, Z4, 0, offer), IP),
            (ANN, ipv4(6, Z4, 0, request), IP),
            (ANN, ipv4(17, Z4, 0, &request[..3]), IP),
            (ANN, ipv4(6, A4, 0, &[])[..19].to_vec(), IP),
            (ANN, ipv6(59, A6, &[]), IP),               // the wrong version
        ];
        for (source, payload, expected) in cases {
            assert_eq!(check(&both(), &frame(source, IPV4, &payload)), expected, "{payload:02x?}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn ipv6_comes_from_the_endpoints_addresses_or_from_none_while_it_makes_one() {
        let cases = [
            (ANN, ipv6(6, A6, &[]), OK),
            (ANN, ipv6(6, AL, &[]), OK),
            (BOB, ipv6(6, A6, &[]), MAC),
            (ANN, ipv6(6, B6, &[]), IP),
            (ANN, ipv6(6, XL, &[]), IP),
            (ANN, ipv6(17, Z6, &[]), IP),
            (ANN, ipv6(58, Z6, &icmpv6(135, A6)), OK),  // duplicate address detection
            (ANN, ipv6(58, Z6, &icmpv6(133, A6)), OK),
            (ANN, ipv6(58, Z6, &icmpv6(128, A6)), IP),
            (ANN, ipv6(58, Z6, &icmpv6(136, A6)), IP),
            (ANN, ipv6(58, Z6, &[]), IP),
            (ANN, ipv6(0, Z6, &[58, 0, 5, 2, 0, 0, 1, 0, 143]), OK),
            (ANN, ipv6(0, Z6, &[58, 0, 5, 2, 0, 0, 1, 0, 131]), OK),
            (ANN, ipv6(0, Z6, &[58, 1, 5, 2, 0, 0, 1, 0, 143]), IP),
            (ANN, ipv6(6, A6, &[])[..39].to_vec(), IP),
            (ANN, ipv4(6, A4, 0, &[0; 20]), IP),        // the wrong version
        ];
        for (source, payload, expected) in cases {
            assert_eq!(check(&both(), &frame(source, IPV6, &payload)), expected, "{payload:02x?}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_neighbour_advertisement_speaks_for_its_sender_only_however_deep_it_lies() {
        let (own, other) = (icmpv6(136, A6), icmpv6(136, B6));
        let behind = |headers: &[u8], message: &[u8]| [headers, message].concat();
        let options = [58, 0, 0, 0, 0, 0, 0, 0];
        let first_fragment = [58, 0, 0, 1, 0, 0, 0, 1];
        let later_fragment = [58, 0, 0, 8, 0, 0, 0, 1];
        let authentication = [58, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
        let deep: Vec<u8> = [60, 0, 0, 0, 0, 0, 0, 0].repeat(5);
        let cases = [
            (58, own.clone(), OK),
            (58, icmpv6(136, AL), OK),
            (58, other.clone(), IP),
            (58, icmpv6(135, B6), OK),                  // asks for Bob, does not speak for him
            (58, own[..23].to_vec(), IP),
            (58, Vec::new(), OK),                       // says nothing at all
            (0, behind(&options, &own), OK),
            (0, behind(&options, &other), IP),
            (60, behind(&options, &other), IP),
            (43, behind(&options, &other), IP),
            (44, behind(&first_fragment, &other), IP),
            (44, behind(&later_fragment, &other), OK),
            (51, behind(&authentication, &own), OK),
            (51, behind(&authentication, &other), IP),
            (60, behind(&deep, &[17, 0, 0, 0, 0, 0, 0, 0]), IP),
            (60, [60, 9, 0, 0, 0, 0, 0, 0].to_vec(), IP),
            (60, [6, 0].to_vec(), IP),
            (50, other, OK),                            // encrypted: nobody here can read it
        ];
        for (next, payload, expected) in cases {
            let frame = frame(ANN, IPV6, &ipv6(next, A6, &payload));
            assert_eq!(check(&both(), &frame), expected, "{next}: {payload:02x?}");
        }
    }

    #[test]
    fn tags_hide_nothing() {
        let single: &[u8] = &[0x81, 0, 0, 42];
        let double: &[u8] = &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 42];
        for tags in [single, double] {
            for (payload, ether_type, expected) in [
                (arp(2, ANN, A4), ARP, OK),
                (arp(2, ANN, B4), ARP, IP),
                (ipv4(6, B4, 0, &[]), IPV4, IP),
                (ipv6(58, A6, &icmpv6(136, B6)), IPV6, IP),
            ] {
                let frame = tagged(&frame(ANN, ether_type, &payload), tags);
                assert_eq!(check(&both(), &frame), expected, "{frame:02x?}");
            }
        }
    }

    #[test]
    #[rustfmt::skip]
    fn what_an_endpoint_has_decides_what_it_may_use() {
        let off = Guard::Off;
        let mac_only = Guard::On(Binding::new(ANN, &[], false));
        let only_ipv4 = Guard::On(Binding::new(ANN, &[A4.into()], false));
        let any_local = Guard::On(Binding::new(ANN, &[A4.into()], true));
        let frames = [
            frame(BOB, IPV4, &ipv4(6, B4, 0, &[])),
            frame(ANN, IPV4, &ipv4(6, B4, 0, &[])),
            frame(ANN, IPV6, &ipv6(6, A6, &[])),
            frame(ANN, IPV6, &ipv6(6, AL, &[])),
            frame(ANN, IPV6, &ipv6(6, XL, &[])),
            frame(ANN, IPV6, &ipv6(58, AL, &icmpv6(136, XL))),
            frame(ANN, ARP, &arp(2, ANN, B4)),
            frame(ANN, ARP, &arp(2, BOB, A4)),
            frame(ANN, 0x88b5, &[]),
            frame(ANN, 46, &[]),
        ];
        let cases = [
            (&off,       [OK,  OK, OK, OK, OK, OK, OK, OK,  OK, OK]),
            (&mac_only,  [MAC, OK, OK, OK, OK, OK, OK, MAC, OK, OK]),
            (&only_ipv4, [MAC, IP, IP, OK, IP, IP, IP, MAC, OK, OK]),
            (&any_local, [MAC, IP, IP, OK, OK, OK, IP, MAC, OK, OK]),
        ];
        for (guard, expected) in cases {
            let got: Vec<_> = frames.iter().map(|frame| check(guard, frame)).collect();
            assert_eq!(got, expected, "{guard:?}");
        }
    }
}
