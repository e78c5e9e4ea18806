//! The IP packet in a frame: where its headers begin and what they are.
//!
//! [`Packet::parse`] walks Ethernet, VLAN tags, IPv4 with options or IPv6 with extension headers,
//! and stops at the payload of TCP or UDP. It keeps offsets from the start of the frame and nothing
//! else; the octets stay where they are. It checks what a receiver must check before it can walk on
//! (versions, lengths), and no checksum.
//!
//! # Promises
//! - Every offset is at most the frame's length, and `l3 < l4 <= payload <= end`.
//! - At least 20 octets lie between `l3` and `l4` for IPv4 and 40 for IPv6; for TCP that is not in
//!   fragments 20 to 60 lie between `l4` and `payload`, and for UDP 8.
//!
//! # Limits
//! - At most [`MAX_EXTENSIONS`] IPv6 extension headers; a longer chain is no packet.
//! - Jumbograms (RFC 2675) are not understood, as they cannot pass a TAP.
//!
//! # Sources
//! RFC 791, RFC 8200, RFC 9293, RFC 768.

use crate::checksum::{self, Sum};
use crate::header::{EtherType, Header};

/// The longest run of headers a superframe may have, from the destination address to the payload.
///
/// Two tags, IPv6 and the longest TCP header make 122 octets; the rest is left for extension
/// headers. It is a bound so that a caller can keep the headers of a batch in an array.
pub const MAX_HEADER: usize = 256;

/// The longest chain of IPv6 extension headers that is followed.
pub const MAX_EXTENSIONS: usize = 8;

/// The protocol number of TCP.
pub const TCP: u8 = 6;
/// The protocol number of UDP.
pub const UDP: u8 = 17;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// The version of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Where the layers of a frame begin, in octets from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The version of the IP header at `l3`.
    pub version: IpVersion,
    /// The protocol of what begins at `l4`.
    pub protocol: u8,
    /// Whether this is a piece of a larger packet, so that `l4` may not be a transport header.
    pub is_fragment: bool,
    /// Whether there are IPv4 options or IPv6 extension headers.
    pub has_options: bool,
    /// Where the IP header begins.
    pub l3: usize,
    /// Where the transport header begins, after options and extension headers.
    pub l4: usize,
    /// Where the payload of TCP or UDP begins; `l4` for other protocols and for fragments.
    pub payload: usize,
    /// Where the packet ends by its own account. Padding of short frames may follow.
    pub end: usize,
}

impl Packet {
    /// Finds the layers of `frame`.
    ///
    /// `None` if it does not carry IP, or if a header or a length does not fit.
    #[must_use]
    #[inline]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let header = Header::parse(frame)?;
        match header.ether_type {
            EtherType::IPV4 => Self::parse_v4(frame, header.payload),
            EtherType::IPV6 => Self::parse_v6(frame, header.payload),
            _ => None,
        }
    }

    /// The sum of the pseudo-header for a transport header and payload of `length` octets.
    ///
    /// The destination is the one in the IP header, which is the final one unless a routing header
    /// says otherwise. `None` if `frame` is not the one that was parsed.
    #[must_use]
    pub fn pseudo_header(&self, frame: &[u8], length: u16) -> Option<Sum> {
        let packet = frame.get(self.l3..)?;
        match self.version {
            IpVersion::V4 => {
                let source = packet.get(12..)?.first_chunk()?;
                let destination = packet.get(16..)?.first_chunk()?;
                Some(checksum::pseudo_header_v4(*source, *destination, self.protocol, length))
            }
            IpVersion::V6 => {
                let source = packet.get(8..)?.first_chunk()?;
                let destination = packet.get(24..)?.first_chunk()?;
                let length = u32::from(length);
                Some(checksum::pseudo_header_v6(*source, *destination, self.protocol, length))
            }
        }
    }

    #[inline]
    fn parse_v4(frame: &[u8], l3: usize) -> Option<Self> {
        let packet = frame.get(l3..)?;
        let fixed = packet.first_chunk::<20>()?;
        let header_len = usize::from(fixed[0] & 0x0f) * 4;
        let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if fixed[0] >> 4 != 4
            || header_len < fixed.len()
            || total_len < header_len
            || total_len > packet.len()
        {
            return None;
        }
        // More fragments, or an offset; the don't-fragment bit says nothing here.
        let is_fragment = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x3fff != 0;
        let l4 = l3 + header_len;
        let packet = Self {
            version: IpVersion::V4,
            protocol: fixed[9],
            is_fragment,
            has_options: header_len > fixed.len(),
            l3,
            l4,
            payload: l4,
            end: l3 + total_len,
        };
        packet.with_payload(frame)
    }

    fn parse_v6(frame: &[u8], l3: usize) -> Option<Self> {
        let packet = frame.get(l3..)?;
        let (fixed, rest) = packet.split_first_chunk::<40>()?;
        let payload_len = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        if fixed[0] >> 4 != 6 || payload_len > rest.len() {
            return None;
        }
        let l4 = l3 + fixed.len();
        let mut packet = Self {
            version: IpVersion::V6,
            protocol: fixed[6],
            is_fragment: false,
            has_options: false,
            l3,
            l4,
            payload: l4,
            end: l4 + payload_len,
        };
        for _ in 0..=MAX_EXTENSIONS {
            if !packet.skip_extension(frame)? {
                return packet.with_payload(frame);
            }
        }
        None
    }

    /// Moves `l4` beyond one extension header; false if there is none.
    fn skip_extension(&mut self, frame: &[u8]) -> Option<bool> {
        match self.protocol {
            HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS => {}
            _ => return Some(false),
        }
        // What follows the fragment header of a later fragment is payload, whatever it looks like.
        if self.is_fragment {
            return Some(false);
        }
        let rest = frame.get(self.l4..self.end)?;
        let &[next, length, high, low, ..] = rest.first_chunk::<8>()?;
        let octets = if self.protocol == FRAGMENT { 8 } else { 8 + 8 * usize::from(length) };
        if octets > rest.len() {
            return None;
        }
        // An atomic fragment, offset 0 and no more to come, is a whole packet (RFC 6946).
        self.is_fragment =
            self.protocol == FRAGMENT && u16::from_be_bytes([high, low]) & 0xfff9 != 0;
        self.has_options = true;
        self.protocol = next;
        self.l4 += octets;
        self.payload = self.l4;
        Some(true)
    }

    #[inline]
    fn with_payload(mut self, frame: &[u8]) -> Option<Self> {
        if self.is_fragment {
            return Some(self);
        }
        let rest = frame.get(self.l4..self.end)?;
        let header_len = match self.protocol {
            TCP => {
                let fixed = rest.first_chunk::<20>()?;
                let header_len = usize::from(fixed[12] >> 4) * 4;
                if header_len < fixed.len() || header_len > rest.len() {
                    return None;
                }
                header_len
            }
            UDP => rest.first_chunk::<8>()?.len(),
            _ => 0,
        };
        self.payload = self.l4 + header_len;
        Some(self)
    }
}

/// Stores `value` at `at`, or nothing if it would not fit, which no parsed header's offset causes.
pub(crate) fn put<const N: usize>(octets: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(field) = octets.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *field = value;
    }
}
