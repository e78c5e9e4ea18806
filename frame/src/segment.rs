//! One superframe into the frames it stands for.
//!
//! All segments share their headers but for a few fields: the lengths, the IPv4 identification, the
//! TCP sequence number and flags, and the checksums. [`Segments::new`] sums up what is shared,
//! once. Each segment then costs a copy of the headers, a handful of additions, and the sum of its
//! payload.
//!
//! There are two ways out. [`Segments::write`] makes a whole frame. [`Segments::write_header`]
//! makes the headers only, with final checksums, and names the payload's range in the superframe,
//! so that a tunnel sends both as two slices and no payload is copied.
//!
//! The frames are those that the kernel's GSO makes. In particular, like there:
//!
//! - The unfinished checksum in the superframe is believed to be the pseudo-header's sum. That
//!   keeps routing headers right, whose final destination only the sender knew. A guest that lies
//!   about it gets segments with a wrong checksum, which it could have sent anyway.
//! - The identification counts up by one per segment, also with "don't fragment".
//! - FIN and PSH go on the last segment, CWR on the first, whether or not the header said ECN.
//! - A UDP checksum that comes out as zero is sent as 0xffff; a TCP checksum stays zero.
//!
//! # Limits
//! [`MAX_SEGMENTS`] and [`MAX_DATAGRAMS`]; [`VirtioHeader::check`] refuses more.
//!
//! # Sources
//! Linux `tcp_gso_segment`, `__udp_gso_segment`, `inet_gso_segment`, `skb_checksum_help`.
//!
//! [`VirtioHeader::check`]: crate::virtio::VirtioHeader::check

use crate::checksum::Sum;
use crate::packet::put;
use crate::virtio::{Kind, Superframe};
use core::ops::Range;

/// The most segments a TCP superframe may stand for: 65,535 octets at 48 each.
///
/// 48 is the smallest segment size that Linux uses (`tcp_min_snd_mss`).
pub const MAX_SEGMENTS: usize = 65_535_usize.div_ceil(48);

/// The most datagrams a UDP superframe may stand for, as in Linux (`UDP_MAX_SEGMENTS`).
pub const MAX_DATAGRAMS: usize = 128;

/// FIN and PSH in the 16-bit word of data offset and flags.
const LAST_ONLY: u16 = 0x0009;
/// CWR in the same word.
const FIRST_ONLY: u16 = 0x0080;

/// The frames a superframe stands for.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    frame: &'a [u8],
    superframe: Superframe,
    count: usize,
    /// The sum of the IPv4 header without total length, identification and checksum.
    network: Sum,
    identification: u16,
    /// The sum of pseudo-header and transport header without lengths, sequence number and flags.
    transport: Sum,
    sequence: u32,
    flags: u16,
}

impl<'a> Segments<'a> {
    /// Prepares `frame`, the one that `superframe` was found in.
    ///
    /// A frame of another length has no segments.
    #[must_use]
    pub fn new(superframe: Superframe, frame: &'a [u8]) -> Self {
        let (l3, l4) = (superframe.l3(), superframe.l4());
        let is_its_own = frame.len() == superframe.len();
        let mut segments = Self {
            frame,
            superframe,
            count: if is_its_own { superframe.count() } else { 0 },
            network: Sum::ZERO,
            identification: 0,
            transport: Sum::ZERO,
            sequence: 0,
            flags: 0,
        };
        let length = Sum::of_u32((superframe.len() - l4) as u32);
        let header = frame.get(l4..superframe.payload()).unwrap_or_default();
        segments.transport = Sum::of(header) - length;
        match superframe.kind() {
            Kind::TcpV4 | Kind::TcpV6 => {
                segments.sequence = u32::from_be_bytes(get(frame, l4 + 4));
                segments.flags = u16::from_be_bytes(get(frame, l4 + 12));
                let own = Sum::of_u32(segments.sequence) + Sum::of_u16(segments.flags);
                segments.transport = segments.transport - own;
            }
            Kind::UdpV4 | Kind::UdpV6 => {
                segments.transport = segments.transport - Sum::of(&get::<2>(frame, l4 + 4));
            }
        }
        match superframe.kind() {
            Kind::TcpV4 | Kind::UdpV4 => {
                segments.identification = u16::from_be_bytes(get(frame, l3 + 4));
                let own = Sum::of(&get::<4>(frame, l3 + 2)) + Sum::of(&get::<2>(frame, l3 + 10));
                segments.network = Sum::of(frame.get(l3..l4).unwrap_or_default()) - own;
            }
            Kind::TcpV6 | Kind::UdpV6 => {}
        }
        segments
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Where the payload of segment `index` is in the superframe; `None` if there is no such
    /// segment.
    #[must_use]
    pub fn payload(&self, index: usize) -> Option<Range<usize>> {
        if index >= self.count {
            return None;
        }
        let start = self.superframe.payload() + index * self.superframe.gso_size();
        Some(start..self.superframe.len().min(start + self.superframe.gso_size()))
    }

    /// Writes segment `index` and returns its length.
    ///
    /// `None` if there is no such segment or if it does not fit into `out`.
    pub fn write(&self, index: usize, out: &mut [u8]) -> Option<usize> {
        let (header_len, payload) = self.write_header(index, out)?;
        let payload = self.frame.get(payload)?;
        let len = header_len + payload.len();
        out.get_mut(header_len..len)?.copy_from_slice(payload);
        Some(len)
    }

    /// Writes the headers of segment `index`, checksums and all, and returns how many octets they
    /// are and where in the superframe the payload is that belongs behind them.
    ///
    /// `None` if there is no such segment or if they do not fit into `out`, for which
    /// [`MAX_HEADER`](crate::packet::MAX_HEADER) octets always suffice.
    pub fn write_header(&self, index: usize, out: &mut [u8]) -> Option<(usize, Range<usize>)> {
        let range = self.payload(index)?;
        let payload = self.frame.get(range.clone())?;
        let header_len = self.superframe.payload();
        let header = out.get_mut(..header_len)?;
        header.copy_from_slice(self.frame.get(..header_len)?);

        let network_len = header_len - self.superframe.l3() + payload.len();
        let transport_len = (header_len - self.superframe.l4() + payload.len()) as u16;
        let sum = self.transport + Sum::of_u16(transport_len) + Sum::of(payload);
        match self.superframe.kind() {
            Kind::TcpV4 => {
                self.write_v4(header, index, network_len);
                self.write_tcp(header, index, sum);
            }
            Kind::TcpV6 => {
                self.write_v6(header, network_len);
                self.write_tcp(header, index, sum);
            }
            Kind::UdpV4 => {
                self.write_v4(header, index, network_len);
                self.write_udp(header, transport_len, sum);
            }
            Kind::UdpV6 => {
                self.write_v6(header, network_len);
                self.write_udp(header, transport_len, sum);
            }
        }
        Some((header_len, range))
    }

    fn write_v4(&self, header: &mut [u8], index: usize, network_len: usize) {
        let l3 = self.superframe.l3();
        let total_len = network_len as u16;
        let identification = self.identification.wrapping_add(index as u16);
        let sum = self.network + Sum::of_u16(total_len) + Sum::of_u16(identification);
        put(header, l3 + 2, total_len.to_be_bytes());
        put(header, l3 + 4, identification.to_be_bytes());
        put(header, l3 + 10, sum.checksum().to_be_bytes());
    }

    fn write_v6(&self, header: &mut [u8], network_len: usize) {
        // Extension headers count as payload, the fixed header does not.
        let payload_len = (network_len - 40) as u16;
        put(header, self.superframe.l3() + 4, payload_len.to_be_bytes());
    }

    fn write_tcp(&self, header: &mut [u8], index: usize, sum: Sum) {
        let l4 = self.superframe.l4();
        let sequence = self.sequence.wrapping_add((index * self.superframe.gso_size()) as u32);
        let mut flags = self.flags;
        if index != 0 {
            flags &= !FIRST_ONLY;
        }
        if index + 1 != self.count {
            flags &= !LAST_ONLY;
        }
        let sum = sum + Sum::of_u32(sequence) + Sum::of_u16(flags);
        put(header, l4 + 4, sequence.to_be_bytes());
        put(header, l4 + 12, flags.to_be_bytes());
        put(header, l4 + 16, sum.checksum().to_be_bytes());
    }

    fn write_udp(&self, header: &mut [u8], length: u16, sum: Sum) {
        let l4 = self.superframe.l4();
        let sum = sum + Sum::of_u16(length);
        put(header, l4 + 4, length.to_be_bytes());
        put(header, l4 + 6, sum.udp_checksum().to_be_bytes());
    }
}

/// Finishes the checksum that [`Offload::Checksum`](crate::virtio::Offload::Checksum) speaks of.
///
/// The field at `start + offset` holds the sum of the pseudo-header; everything from `start` to the
/// end of the frame is added to it. UDP is known by its `offset` of 6, and then a zero becomes
/// 0xffff. False, and nothing done, if the field is not within the frame.
pub fn complete_checksum(start: usize, offset: usize, frame: &mut [u8]) -> bool {
    let Some(covered) = frame.get_mut(start..) else {
        return false;
    };
    let sum = Sum::of(covered);
    let Some(field) = covered.get_mut(offset..).and_then(|rest| rest.first_chunk_mut()) else {
        return false;
    };
    let is_udp = offset == Kind::UdpV4.checksum_offset();
    let checksum = if is_udp { sum.udp_checksum() } else { sum.checksum() };
    *field = checksum.to_be_bytes();
    true
}

/// The octets at `at`, or zeros beyond the end, where a superframe's own frame never is.
fn get<const N: usize>(octets: &[u8], at: usize) -> [u8; N] {
    octets.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
