//! Writing packets: the headers around an answer, its lengths and its checksums.
//!
//! An answer is appended to a buffer that the caller brings and uses again, behind whatever already
//! stands there (a virtio-net header, say), as one frame with every checksum filled in.
//!
//! # Sources
//! RFC 791, RFC 8200 (headers), RFC 6864 §4.1 (no identification where nothing is fragmented).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_frame::checksum::{self, Sum, pseudo_header_v4, pseudo_header_v6};
use weft_frame::packet::{IpVersion, TCP, UDP};
use weft_frame::{EtherType, MacAddr, Packet};

/// The protocol number of ICMP.
pub const ICMP: u8 = 1;
/// The protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// The time to live, or hop limit, of what the gateway says.
pub(super) const HOP_LIMIT: u8 = 64;

/// The octets of an IPv4 header without options.
pub(super) const IPV4_LEN: usize = 20;
/// The octets of an IPv6 header without extensions.
pub(super) const IPV6_LEN: usize = 40;
/// The octets of a UDP header.
pub(super) const UDP_LEN: usize = 8;

/// From which address to which, in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// IPv4.
    V4 {
        /// Who says it.
        source: Ipv4Addr,
        /// Who is told.
        destination: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// Who says it.
        source: Ipv6Addr,
        /// Who is told.
        destination: Ipv6Addr,
    },
}

impl Addresses {
    /// Reads the addresses of the packet in `frame`.
    ///
    /// `None` if `packet` was not parsed from `frame`.
    #[must_use]
    pub fn of(frame: &[u8], packet: &Packet) -> Option<Self> {
        let header = frame.get(packet.l3..)?;
        match packet.version {
            IpVersion::V4 => {
                let source = Ipv4Addr::from(*header.get(12..)?.first_chunk::<4>()?);
                let destination = Ipv4Addr::from(*header.get(16..)?.first_chunk::<4>()?);
                Some(Self::V4 { source, destination })
            }
            IpVersion::V6 => {
                let source = Ipv6Addr::from(*header.get(8..)?.first_chunk::<16>()?);
                let destination = Ipv6Addr::from(*header.get(24..)?.first_chunk::<16>()?);
                Some(Self::V6 { source, destination })
            }
        }
    }

    /// Makes them of two addresses; `None` if those are not of one family.
    #[must_use]
    pub const fn new(source: IpAddr, destination: IpAddr) -> Option<Self> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Self::V4 { source, destination }),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Self::V6 { source, destination }),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }

    /// Exchanges the two, as an answer does.
    #[must_use]
    pub const fn turned(self) -> Self {
        match self {
            Self::V4 { source, destination } => {
                Self::V4 { source: destination, destination: source }
            }
            Self::V6 { source, destination } => {
                Self::V6 { source: destination, destination: source }
            }
        }
    }

    /// Who says it.
    #[must_use]
    pub const fn source(self) -> IpAddr {
        match self {
            Self::V4 { source, .. } => IpAddr::V4(source),
            Self::V6 { source, .. } => IpAddr::V6(source),
        }
    }

    /// Who is told.
    #[must_use]
    pub const fn destination(self) -> IpAddr {
        match self {
            Self::V4 { destination, .. } => IpAddr::V4(destination),
            Self::V6 { destination, .. } => IpAddr::V6(destination),
        }
    }

    /// The octets of the IP header that goes with them.
    #[must_use]
    pub const fn header_len(self) -> usize {
        match self {
            Self::V4 { .. } => IPV4_LEN,
            Self::V6 { .. } => IPV6_LEN,
        }
    }

    fn pseudo_header(self, protocol: u8, length: u16) -> Sum {
        match self {
            Self::V4 { source, destination } => {
                pseudo_header_v4(source.octets(), destination.octets(), protocol, length)
            }
            Self::V6 { source, destination } => {
                let length = u32::from(length);
                pseudo_header_v6(source.octets(), destination.octets(), protocol, length)
            }
        }
    }
}

/// Everything about a packet but its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The station it goes to.
    pub to: MacAddr,
    /// The station it is from: the gateway.
    pub from: MacAddr,
    /// Its IP addresses.
    pub addresses: Addresses,
    /// Its time to live, or hop limit.
    pub hop_limit: u8,
}

/// Appends an Ethernet header.
pub(super) fn ethernet(out: &mut Vec<u8>, to: MacAddr, from: MacAddr, ether_type: EtherType) {
    out.extend_from_slice(&to.0);
    out.extend_from_slice(&from.0);
    out.extend_from_slice(&ether_type.0.to_be_bytes());
}

/// Appends a packet whose contents `fill` appends, and fills in lengths and checksums.
///
/// The field of the checksum of ICMP, UDP or TCP must be zero. The packet must not be longer than
/// 65 535 octets, which every caller sees to.
pub(super) fn packet(
    out: &mut Vec<u8>,
    envelope: &Envelope,
    protocol: u8,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    let Envelope { to, from, addresses, hop_limit } = *envelope;
    let ether_type = match addresses {
        Addresses::V4 { .. } => EtherType::IPV4,
        Addresses::V6 { .. } => EtherType::IPV6,
    };
    ethernet(out, to, from, ether_type);
    let l3 = out.len();
    match addresses {
        Addresses::V4 { source, destination } => {
            // Don't fragment, so no identification is needed.
            out.extend_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, hop_limit, protocol, 0, 0]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
        }
        Addresses::V6 { source, destination } => {
            out.extend_from_slice(&[0x60, 0, 0, 0, 0, 0, protocol, hop_limit]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
        }
    }
    let l4 = out.len();
    fill(out);
    debug_assert!(out.len() - l3 <= usize::from(u16::MAX), "a packet of {}", out.len() - l3);
    let length = (out.len() - l4) as u16;
    transport_checksum(out.get_mut(l4..).unwrap_or_default(), addresses, protocol, length);
    let header = out.get_mut(l3..l4).unwrap_or_default();
    match addresses {
        Addresses::V4 { .. } => {
            put(header, 2, length.wrapping_add(IPV4_LEN as u16));
            let sum = checksum::checksum(header);
            put(header, 10, sum);
        }
        Addresses::V6 { .. } => put(header, 4, length),
    }
}

/// Appends a UDP datagram.
pub(super) fn datagram(
    out: &mut Vec<u8>,
    envelope: &Envelope,
    (from, to): (u16, u16),
    fill: impl FnOnce(&mut Vec<u8>),
) {
    packet(out, envelope, UDP, |out| {
        let l4 = out.len();
        out.extend_from_slice(&from.to_be_bytes());
        out.extend_from_slice(&to.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        fill(out);
        let length = (out.len() - l4) as u16;
        put(out.get_mut(l4..).unwrap_or_default(), 4, length);
    });
}

fn transport_checksum(octets: &mut [u8], addresses: Addresses, protocol: u8, length: u16) {
    let pseudo = addresses.pseudo_header(protocol, length);
    let sum = Sum::of(octets);
    match protocol {
        ICMP => put(octets, 2, sum.checksum()),
        ICMPV6 => put(octets, 2, (sum + pseudo).checksum()),
        UDP => put(octets, 6, (sum + pseudo).udp_checksum()),
        TCP => put(octets, 16, (sum + pseudo).checksum()),
        _ => {}
    }
}

/// Stores a word at `at`, or nothing if it would not fit, which no caller's offset causes.
pub(super) fn put(octets: &mut [u8], at: usize, value: u16) {
    if let Some(field) = octets.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *field = value.to_be_bytes();
    }
}

/// The word at `at`; `None` beyond the end.
pub(super) fn word(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().map(|field| u16::from_be_bytes(*field))
}
