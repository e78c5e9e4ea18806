//! ICMP and ICMPv6 errors: telling a sender why its packet went nowhere.
//!
//! [`Station::error`] answers a packet as a router does, from the gateway's own address, under all
//! of the rules for when to be silent. [`write()`] is for errors that somebody else sent: the flow
//! that knows the packet in question says from whom and about what.
//!
//! # Sources
//! RFC 792, RFC 1122 §3.2.2, RFC 1812 §4.3.2 (how much to quote, when to be silent, how often),
//! RFC 1191 §4 (the next hop's MTU), RFC 4443 §2.4 and §3.

use alloc::vec::Vec;
use core::net::IpAddr;

use weft_frame::packet::IpVersion;
use weft_frame::{Header, Packet};
use weft_switch::{Instant, StormControl};

use super::write::{self as writing, HOP_LIMIT, ICMP, ICMPV6, IPV6_LEN};
use super::{Addresses, Drop, Envelope, Station};

/// The most octets of a whole ICMP error: what every host takes (RFC 1812 §4.3.2.3).
const MAX_V4: usize = 576;
/// The same for ICMPv6: the least MTU there is (RFC 4443 §2.4 (c)).
const MAX_V6: usize = 1280;
/// The octets of an ICMP error before the quoted packet.
const HEADER_LEN: usize = 8;

/// Why a packet went nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// There is no way to the destination's network.
    NetworkUnreachable,
    /// There is a way to its network, and it does not answer there.
    HostUnreachable,
    /// It does not speak the packet's protocol.
    ProtocolUnreachable,
    /// Nobody listens on the port.
    PortUnreachable,
    /// The configuration does not allow it.
    Prohibited,
    /// It is longer than the way is wide, and must not be cut.
    TooBig {
        /// What would pass.
        mtu: u16,
    },
    /// It has passed too many routers.
    TimeExceeded,
    /// Not all of its fragments came in time.
    ReassemblyTimeExceeded,
}

impl Error {
    /// The type, the code and the last two octets of the header, for IPv4.
    const fn v4(self) -> (u8, u8, u16) {
        match self {
            Self::NetworkUnreachable => (3, 0, 0),
            Self::HostUnreachable => (3, 1, 0),
            Self::ProtocolUnreachable => (3, 2, 0),
            Self::PortUnreachable => (3, 3, 0),
            Self::TooBig { mtu } => (3, 4, mtu),
            Self::Prohibited => (3, 13, 0),
            Self::TimeExceeded => (11, 0, 0),
            Self::ReassemblyTimeExceeded => (11, 1, 0),
        }
    }

    /// The same for IPv6. An unknown protocol is a problem with the next-header field, and says
    /// where that is; here it is the one of the fixed header.
    const fn v6(self) -> (u8, u8, u16) {
        match self {
            Self::NetworkUnreachable => (1, 0, 0),
            Self::Prohibited => (1, 1, 0),
            Self::HostUnreachable => (1, 3, 0),
            Self::PortUnreachable => (1, 4, 0),
            Self::TooBig { mtu } => (2, 0, mtu),
            Self::TimeExceeded => (3, 0, 0),
            Self::ReassemblyTimeExceeded => (3, 1, 0),
            Self::ProtocolUnreachable => (4, 1, 6),
        }
    }
}

impl Station {
    /// Appends an error about `packet` of `frame`, from the gateway to its sender.
    ///
    /// `bucket` limits how often; one for each port makes the limit a guest's own (RFC 4443 §2.4
    /// (f)).
    ///
    /// # Errors
    /// The reason for saying nothing, to be counted: [`Drop::NoErrorDue`], [`Drop::RateLimited`],
    /// [`Drop::NoAddress`], [`Drop::Malformed`].
    pub fn error(
        &self,
        frame: &[u8],
        packet: &Packet,
        error: Error,
        (bucket, now): (&StormControl, Instant),
        out: &mut Vec<u8>,
    ) -> Result<(), Drop> {
        let header = Header::parse(frame).ok_or(Drop::Runt)?;
        let about = Addresses::of(frame, packet).ok_or(Drop::Malformed)?;
        if !is_error_due(frame, &header, packet, about, error) {
            return Err(Drop::NoErrorDue);
        }
        let own = Some(about.destination()).filter(|address| self.owns(*address));
        let source = own.or_else(|| self.address_towards(about.source())).ok_or(Drop::NoAddress)?;
        let addresses = Addresses::new(source, about.source()).ok_or(Drop::NoAddress)?;
        let quote = frame.get(packet.l3..packet.end).ok_or(Drop::Malformed)?;
        if !bucket.allow(now) {
            return Err(Drop::RateLimited);
        }
        let (to, from) = (header.source, self.config.mac);
        write(&Envelope { to, from, addresses, hop_limit: HOP_LIMIT }, error, quote, out);
        Ok(())
    }
}

/// Appends an error about the packet `quote`, which begins with its IP header and may be cut short.
pub fn write(envelope: &Envelope, error: Error, quote: &[u8], out: &mut Vec<u8>) {
    let (protocol, (kind, code, value), room) = match envelope.addresses {
        Addresses::V4 { .. } => (ICMP, error.v4(), MAX_V4 - writing::IPV4_LEN - HEADER_LEN),
        Addresses::V6 { .. } => (ICMPV6, error.v6(), MAX_V6 - IPV6_LEN - HEADER_LEN),
    };
    let [high, low] = value.to_be_bytes();
    let quote = quote.get(..quote.len().min(room)).unwrap_or_default();
    writing::packet(out, envelope, protocol, |out| {
        out.extend_from_slice(&[kind, code, 0, 0, 0, 0, high, low]);
        out.extend_from_slice(quote);
    });
}

/// Whether a packet may be answered with an error: RFC 1122 §3.2.2, RFC 4443 §2.4 (e).
fn is_error_due(
    frame: &[u8],
    header: &Header,
    packet: &Packet,
    about: Addresses,
    error: Error,
) -> bool {
    let too_big_v6 = matches!(error, Error::TooBig { .. }) && packet.version == IpVersion::V6;
    let is_for_many = header.destination.is_group() || is_for_many(about.destination());
    if (is_for_many && !too_big_v6) || !is_one_station(about.source()) {
        return false;
    }
    // Only the first fragment says what the packet was.
    if packet.is_fragment && !is_first_fragment(frame, packet) {
        return false;
    }
    let kind = frame.get(packet.l4..packet.end).and_then(|message| message.first());
    match (packet.version, packet.protocol, kind) {
        (IpVersion::V4, ICMP, Some(kind)) => matches!(kind, 0 | 8 | 13..=18),
        (IpVersion::V6, ICMPV6, Some(kind)) => *kind >= 128 && *kind != 137,
        (IpVersion::V4, ICMP, None) | (IpVersion::V6, ICMPV6, None) => false,
        _ => true,
    }
}

fn is_for_many(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

/// Whether an address is one station's, so that it can be told anything.
fn is_one_station(address: IpAddr) -> bool {
    !is_for_many(address) && !address.is_unspecified() && !address.is_loopback()
}

fn is_first_fragment(frame: &[u8], packet: &Packet) -> bool {
    match packet.version {
        IpVersion::V4 => writing::word(frame, packet.l3 + 6).is_some_and(|word| word & 0x1fff == 0),
        // The fragment header is the last one that was walked over.
        IpVersion::V6 => {
            let at = packet.l4.saturating_sub(8);
            writing::word(frame, at + 2).is_some_and(|word| word & 0xfff8 == 0)
        }
    }
}
