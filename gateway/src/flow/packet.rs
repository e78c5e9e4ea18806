//! Frames to the guest, written in place.
//!
//! A frame is built around its payload: whoever brings the payload puts it where [`payload_at`]
//! says, and the headers are then written in front of it. So an answer from a socket is received
//! into the very buffer that is written to the guest. Checksums over payload are left to whoever
//! takes the frame, as the virtio-net header allows; the pseudo-header's sum is filled in.
//!
//! # Sources
//! RFC 791, RFC 8200, RFC 768, RFC 9293, RFC 792, RFC 4443.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use weft_frame::checksum::{self, Sum};
use weft_frame::packet::{IpVersion, Packet, UDP};
use weft_frame::virtio::{self, NEEDS_CSUM, VirtioHeader};
use weft_frame::{EtherType, MacAddr, header};

use crate::station::{ICMP, ICMPV6};

/// Where the IP packet begins in an [`Outlet`](super::Outlet)'s buffer.
pub const L3: usize = virtio::LEN + header::LEN;
/// The hop limit of what the gateway itself says.
pub const HOPS: u8 = 64;
/// Both ends of the link to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The guest's station address.
    pub guest: MacAddr,
    /// The gateway's.
    pub gateway: MacAddr,
    /// The largest IP packet that crosses it.
    pub mtu: u16,
}

/// The octets of an IP header without options.
#[must_use]
pub const fn ip_header_len(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => 20,
        IpAddr::V6(_) => 40,
    }
}

/// Where the payload of a UDP datagram from or to `address` begins in an outlet's buffer.
#[must_use]
pub const fn payload_at(address: IpAddr) -> usize {
    L3 + ip_header_len(address) + 8
}

/// Where an ICMP message from or to `address` begins in an outlet's buffer.
#[must_use]
pub const fn message_at(address: IpAddr) -> usize {
    L3 + ip_header_len(address)
}

/// Writes the headers of a UDP datagram whose payload of `len` octets is in place; the length of
/// all of it, or nothing when it is no datagram that can be.
pub fn finish_udp(
    buffer: &mut [u8],
    link: &Link,
    from: SocketAddr,
    to: SocketAddr,
    hops: u8,
    len: usize,
) -> Option<usize> {
    let length = u16::try_from(len + 8).ok()?;
    let l4 = message_at(to.ip());
    let sum = pseudo_header(from.ip(), to.ip(), UDP, length)?;
    put(buffer, l4, from.port().to_be_bytes())?;
    put(buffer, l4 + 2, to.port().to_be_bytes())?;
    put(buffer, l4 + 4, length.to_be_bytes())?;
    put(buffer, l4 + 6, sum.to_partial().to_be_bytes())?;
    let end = write_ip(buffer, link, from.ip(), to.ip(), UDP, hops, length)?;
    write_virtio(buffer, l4, 6, None)?;
    Some(end)
}

/// Writes the headers of an ICMP message of `len` octets that is in place, and its checksum; the
/// length of all of it.
pub fn finish_icmp(
    buffer: &mut [u8],
    link: &Link,
    from: IpAddr,
    to: IpAddr,
    hops: u8,
    len: usize,
) -> Option<usize> {
    let length = u16::try_from(len).ok()?;
    let l4 = message_at(to);
    put(buffer, l4 + 2, [0; 2])?;
    let (protocol, pseudo) = match to {
        IpAddr::V4(_) => (ICMP, Sum::ZERO),
        IpAddr::V6(_) => (ICMPV6, pseudo_header(from, to, ICMPV6, length)?),
    };
    let message = buffer.get(l4..l4 + len)?;
    let checksum = (pseudo + Sum::of(message)).checksum();
    put(buffer, l4 + 2, checksum.to_be_bytes())?;
    let end = write_ip(buffer, link, from, to, protocol, hops, length)?;
    put(buffer, 0, [0; virtio::LEN])?;
    Some(end)
}

/// Puts Ethernet and virtio-net headers before the TCP packet of `len` octets that is in place, and
/// the pseudo-header's sum into it; `segment` is the most payload that one segment may have. The
/// length of all of it.
pub fn finish_tcp(buffer: &mut [u8], link: &Link, len: usize, segment: usize) -> Option<usize> {
    let is_v4 = buffer.get(L3)? >> 4 == 4;
    write_ethernet(buffer, link, if is_v4 { EtherType::IPV4 } else { EtherType::IPV6 })?;
    let frame = buffer.get(virtio::LEN..L3 + len)?;
    let packet = Packet::parse(frame)?;
    let sum = packet.pseudo_header(frame, u16::try_from(packet.end - packet.l4).ok()?)?;
    let l4 = virtio::LEN + packet.l4;
    let is_super = packet.end - packet.payload > segment;
    put(buffer, l4 + 16, sum.to_partial().to_be_bytes())?;
    let kind = if is_v4 { virtio::GSO_TCPV4 } else { virtio::GSO_TCPV6 };
    let gso = u16::try_from(segment).ok().filter(|_| is_super).map(|size| (kind, size));
    write_virtio(buffer, l4, 16, gso)?;
    Some(L3 + len)
}

/// Writes the beginning of a UDP datagram that was sent, to be quoted in an error about it: its
/// headers, and what is left of its payload.
pub fn quote_udp(from: SocketAddr, to: SocketAddr, payload: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(payload.len() + 8).unwrap_or(u16::MAX);
    quote_ip(from.ip(), to.ip(), UDP, length, out);
    out.extend_from_slice(&from.port().to_be_bytes());
    out.extend_from_slice(&to.port().to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(payload);
}

/// The same for an ICMP message that was sent.
pub fn quote_icmp(from: IpAddr, to: IpAddr, message: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    quote_ip(from, to, if to.is_ipv4() { ICMP } else { ICMPV6 }, length, out);
    out.extend_from_slice(message);
}

fn quote_ip(from: IpAddr, to: IpAddr, protocol: u8, length: u16, out: &mut Vec<u8>) {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = length.saturating_add(20).to_be_bytes();
            let mut header = [0x45, 0, high, low, 0, 0, 0, 0, 1, protocol, 0, 0];
            let sum = Sum::of(&header) + Sum::of(&from.octets()) + Sum::of(&to.octets());
            header[10..].copy_from_slice(&sum.checksum().to_be_bytes());
            out.extend_from_slice(&header);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let [high, low] = length.to_be_bytes();
            out.extend_from_slice(&[0x60, 0, 0, 0, high, low, protocol, 1]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
    }
}

/// Whether the checksum of a whole TCP segment or UDP datagram is right.
#[must_use]
pub fn is_intact(packet: &Packet, frame: &[u8]) -> bool {
    let Some(rest) = frame.get(packet.l4..packet.end) else { return false };
    let has_none = packet.protocol == UDP
        && packet.version == IpVersion::V4
        && rest.get(6..8) == Some(&[0, 0]);
    let length = u16::try_from(rest.len()).ok();
    let pseudo = length.and_then(|length| packet.pseudo_header(frame, length));
    has_none || pseudo.is_some_and(|pseudo| (pseudo + Sum::of(rest)).is_valid())
}

/// Source and destination of a TCP segment or UDP datagram, with ports.
#[must_use]
pub fn endpoints(packet: &Packet, frame: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (source, destination) = addresses(packet, frame)?;
    let ports = frame.get(packet.l4..)?.first_chunk::<4>()?;
    let from = SocketAddr::new(source, u16::from_be_bytes([ports[0], ports[1]]));
    Some((from, SocketAddr::new(destination, u16::from_be_bytes([ports[2], ports[3]]))))
}

/// Source and destination of a packet.
#[must_use]
pub fn addresses(packet: &Packet, frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let header = frame.get(packet.l3..)?;
    Some(match packet.version {
        IpVersion::V4 => {
            let source = *header.get(12..)?.first_chunk::<4>()?;
            let destination = *header.get(16..)?.first_chunk::<4>()?;
            (IpAddr::from(source), IpAddr::from(destination))
        }
        IpVersion::V6 => {
            let source = *header.get(8..)?.first_chunk::<16>()?;
            let destination = *header.get(24..)?.first_chunk::<16>()?;
            (IpAddr::from(source), IpAddr::from(destination))
        }
    })
}

/// The hop limit of a packet, and whether it must not be fragmented on its way.
#[must_use]
pub fn hops_and_whole(packet: &Packet, frame: &[u8]) -> Option<(u8, bool)> {
    let header = frame.get(packet.l3..)?;
    Some(match packet.version {
        IpVersion::V4 => (*header.get(8)?, *header.get(6)? & 0x40 != 0),
        IpVersion::V6 => (*header.get(7)?, true),
    })
}

/// SYN in a TCP header's flags.
pub const SYN: u8 = 0x02;
/// RST in a TCP header's flags.
pub const RST: u8 = 0x04;
/// ACK in a TCP header's flags.
pub const ACK: u8 = 0x10;

fn pseudo_header(from: IpAddr, to: IpAddr, protocol: u8, length: u16) -> Option<Sum> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            Some(checksum::pseudo_header_v4(from.octets(), to.octets(), protocol, length))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = u32::from(length);
            Some(checksum::pseudo_header_v6(from.octets(), to.octets(), protocol, length))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// Writes Ethernet and IP headers before `length` octets; the length of all of it.
fn write_ip(
    buffer: &mut [u8],
    link: &Link,
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    hops: u8,
    length: u16,
) -> Option<usize> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            write_ethernet(buffer, link, EtherType::IPV4)?;
            let total = length.checked_add(20)?;
            put(buffer, L3, [0x45, 0])?;
            put(buffer, L3 + 2, total.to_be_bytes())?;
            // Never cut on its way, so that it needs no identification (RFC 6864 §4.1).
            put(buffer, L3 + 4, [0, 0, 0x40, 0])?;
            put(buffer, L3 + 8, [hops, protocol, 0, 0])?;
            put(buffer, L3 + 12, from.octets())?;
            put(buffer, L3 + 16, to.octets())?;
            let sum = checksum::checksum(buffer.get(L3..L3 + 20)?);
            put(buffer, L3 + 10, sum.to_be_bytes())?;
            Some(L3 + usize::from(total))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            write_ethernet(buffer, link, EtherType::IPV6)?;
            put(buffer, L3, [0x60, 0, 0, 0])?;
            put(buffer, L3 + 4, length.to_be_bytes())?;
            put(buffer, L3 + 6, [protocol, hops])?;
            put(buffer, L3 + 8, from.octets())?;
            put(buffer, L3 + 24, to.octets())?;
            Some(L3 + 40 + usize::from(length))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

fn write_ethernet(buffer: &mut [u8], link: &Link, ether_type: EtherType) -> Option<()> {
    put(buffer, virtio::LEN, link.guest.0)?;
    put(buffer, virtio::LEN + 6, link.gateway.0)?;
    put(buffer, virtio::LEN + 12, ether_type.0.to_be_bytes())
}

/// `l4` counts from the start of the buffer.
fn write_virtio(buffer: &mut [u8], l4: usize, offset: u16, gso: Option<(u8, u16)>) -> Option<()> {
    let (gso_type, gso_size) = gso.unwrap_or((virtio::GSO_NONE, 0));
    let header = VirtioHeader {
        flags: NEEDS_CSUM,
        gso_type,
        gso_size,
        csum_start: u16::try_from(l4 - virtio::LEN).ok()?,
        csum_offset: offset,
        ..VirtioHeader::default()
    };
    put(buffer, 0, header.to_bytes())
}

fn put<const N: usize>(buffer: &mut [u8], at: usize, value: [u8; N]) -> Option<()> {
    *buffer.get_mut(at..)?.first_chunk_mut()? = value;
    Some(())
}
