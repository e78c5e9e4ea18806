//! Consecutive segments of one conversation back into a superframe.
//!
//! This is what GRO does in the kernel, for frames that arrive through a tunnel. The payload does
//! not move: the [`Coalescer`] answers for each frame which octets of it to send, keeps one set of
//! headers, and in the end returns that set with the lengths of the whole. What the TAP is given is
//!
//! ```text
//!   writev [ virtio-net header ][ headers ][ payload 1 ][ payload 2 ] … [ payload n ]
//!                    \--- Merged ---/       \--- ranges that `offer` named ---/
//! ```
//!
//! Two headers are compared by laying them over one another under a mask that hides what may
//! differ: the lengths and checksums, which are recomputed, and the identification, sequence number
//! and flags, which have a rule each. Everything else is equal to the octet, time stamps included,
//! or the frame does not belong.
//!
//! # Promises
//! - Segmenting what was coalesced gives back the frames, and the other way round. (Not the
//!   identification where it stood still, which RFC 6864 allows with "don't fragment" only.)
//! - No frame with a wrong checksum, IPv4 or transport, is coalesced: its superframe would get a
//!   right one.
//! - Order is kept: whatever cannot be appended ends what is held.
//!
//! # Limits
//! - One conversation at a time. A tunnel's receiver has the kernel sort datagrams by conversation.
//! - No IPv4 options and no IPv6 extension headers; SYN, RST and URG pass alone.
//! - UDP only if asked for, as older kernels refuse UDP superframes; at most 64 datagrams.
//!
//! # Sources
//! Linux `tcp_gro_receive`, `inet_gro_receive`, `udp_gro_receive`; RFC 6864.

use crate::checksum::Sum;
use crate::packet::{IpVersion, Packet, put};
use crate::virtio::{GSO_ECN, Kind, NEEDS_CSUM, VirtioHeader};
use core::ops::Range;

/// Two tags, IPv6 and the longest TCP header.
const HEADER_ROOM: usize = 22 + 40 + 60;

/// The largest value of a length field in IP.
const MAX_LENGTH: usize = 65_535;

/// As many datagrams as every kernel takes that takes UDP superframes at all.
const MAX_DATAGRAMS: usize = 64;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;
const CWR: u8 = 0x80;

/// What the caller knows about a frame's transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing; it is verified here.
    Unverified,
    /// It is right, or unfinished and to be trusted.
    Verified,
}

/// The answer to a frame that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It is the first of a superframe; the range is its payload.
    First(Range<usize>),
    /// It continues what is held; the range is its payload.
    Next(Range<usize>),
    /// It does not continue what is held: [`Coalescer::finish`], then offer it again.
    Flush,
    /// Nothing may continue it. It goes out as it is, and nothing is held.
    Alone,
}

/// A superframe in the making.
#[derive(Clone, Debug)]
pub struct Coalescer {
    max_frames: usize,
    takes_datagrams: bool,
    /// The first frame's headers.
    header: [u8; HEADER_ROOM],
    /// Ones where the headers of the frames after it must be equal.
    mask: [u8; HEADER_ROOM],
    held: Option<Held>,
}

/// What is held, apart from its headers.
#[derive(Clone, Copy, Debug)]
struct Held {
    first: Piece,
    frames: usize,
    payload_len: usize,
    /// By how much the identification grows; unknown until the second frame.
    step: Option<u16>,
    /// The flags of the last frame, and nothing may follow it.
    last_flags: u8,
    is_closed: bool,
}

/// What a superframe's headers are once it is complete.
#[derive(Clone, Copy, Debug)]
pub struct Merged<'a> {
    /// The virtio-net header that describes it.
    pub virtio: VirtioHeader,
    /// Its headers, from the destination address to the payload.
    pub header: &'a [u8],
    /// The frames it stands for, at least two.
    pub frames: usize,
    /// Its octets, headers and payload.
    pub len: usize,
}

impl Coalescer {
    /// Makes an empty one that ends a superframe after `max_frames` frames.
    ///
    /// The caller needs one I/O slice for each of them and one for the headers.
    #[must_use]
    pub const fn new(max_frames: usize) -> Self {
        let (header, mask) = ([0; HEADER_ROOM], [0; HEADER_ROOM]);
        Self { max_frames, takes_datagrams: false, header, mask, held: None }
    }

    /// Also coalesces UDP datagrams of equal length.
    #[must_use]
    pub const fn with_datagrams(self) -> Self {
        Self { takes_datagrams: true, ..self }
    }

    /// How many frames are held.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.held.map_or(0, |held| held.frames)
    }

    /// Decides whether `frame` begins a superframe, continues it, or neither.
    pub fn offer(&mut self, frame: &[u8], checksum: Checksum) -> Offer {
        let piece = Piece::read(frame, checksum).filter(|piece| {
            self.takes_datagrams || !matches!(piece.kind, Kind::UdpV4 | Kind::UdpV6)
        });
        match (&mut self.held, piece) {
            (None, None) => Offer::Alone,
            (Some(_), None) => Offer::Flush,
            (None, Some(piece)) => {
                if piece.flags & (FIN | PSH) != 0 || !self.hold(frame, &piece) {
                    return Offer::Alone;
                }
                Offer::First(piece.payload())
            }
            (Some(held), Some(piece)) => {
                if held.frames < self.max_frames
                    && held.first.packet.payload == piece.packet.payload
                    && is_equal(frame, &self.header, &self.mask, piece.packet.payload)
                    && held.append(&piece)
                {
                    Offer::Next(piece.payload())
                } else {
                    Offer::Flush
                }
            }
        }
    }

    /// Ends what is held and returns its headers.
    ///
    /// `None` if that is nothing, or a single frame: then it goes out as it came.
    pub fn finish(&mut self) -> Option<Merged<'_>> {
        let held = self.held.take().filter(|held| held.frames > 1)?;
        let header = self.header.get_mut(..held.first.packet.payload)?;
        held.complete(header)?;
        let Piece { kind, packet, .. } = held.first;
        let ecn = if held.first.flags & CWR != 0 { GSO_ECN } else { 0 };
        let virtio = VirtioHeader {
            flags: NEEDS_CSUM,
            gso_type: kind.gso_type() | ecn,
            hdr_len: packet.payload as u16,
            gso_size: held.first.payload_len as u16,
            csum_start: packet.l4 as u16,
            csum_offset: kind.checksum_offset() as u16,
            num_buffers: 0,
        };
        let len = header.len() + held.payload_len;
        Some(Merged { virtio, header, frames: held.frames, len })
    }

    fn hold(&mut self, frame: &[u8], piece: &Piece) -> bool {
        let len = piece.packet.payload;
        let (Some(to), Some(from)) = (self.header.get_mut(..len), frame.get(..len)) else {
            return false;
        };
        to.copy_from_slice(from);
        self.mask = piece.mask();
        self.held = Some(Held::new(*piece));
        true
    }
}

/// Whether the first `len` octets of `frame` and `header` are equal where `mask` has ones.
fn is_equal(frame: &[u8], header: &[u8], mask: &[u8], len: usize) -> bool {
    let differing = frame.iter().zip(header).zip(mask).take(len);
    // No early end: they nearly always are, and without one the loop takes 16 octets at a time.
    differing.fold(0, |all, ((left, right), mask)| all | (left ^ right) & mask) == 0
}

impl Held {
    fn new(first: Piece) -> Self {
        let (payload_len, last_flags) = (first.payload_len, first.flags);
        Self { first, frames: 1, payload_len, step: None, last_flags, is_closed: false }
    }

    /// Takes one more frame, whose shared headers are equal, if it is the next one.
    fn append(&mut self, piece: &Piece) -> bool {
        let payload_len = self.payload_len + piece.payload_len;
        let sequence = self.first.sequence.wrapping_add(self.payload_len as u32);
        let is_next = match self.first.kind {
            Kind::TcpV4 | Kind::TcpV6 => piece.sequence == sequence && piece.flags & CWR == 0,
            Kind::UdpV4 | Kind::UdpV6 => self.frames < MAX_DATAGRAMS,
        };
        let Some(step) = self.step_to(piece) else {
            return false;
        };
        if !is_next
            || self.is_closed
            || piece.payload_len > self.first.payload_len
            || self.first.length_field(payload_len) > MAX_LENGTH
        {
            return false;
        }
        self.frames += 1;
        self.payload_len = payload_len;
        self.step = Some(step);
        self.last_flags = piece.flags;
        self.is_closed =
            piece.payload_len < self.first.payload_len || piece.flags & (FIN | PSH) != 0;
        true
    }

    /// By how much the identification grows, if `piece` agrees with the frames before it.
    fn step_to(&self, piece: &Piece) -> Option<u16> {
        let distance = piece.identification.wrapping_sub(self.first.identification);
        // Without "don't fragment" an identification that stands still means something else.
        let step = match self.step {
            Some(step) => step,
            None if distance == 0 && self.first.is_atomic => 0,
            None => 1,
        };
        (distance == step.wrapping_mul(self.frames as u16)).then_some(step)
    }

    /// Fills in what differs between the first frame's headers and the superframe's.
    fn complete(&self, header: &mut [u8]) -> Option<()> {
        let Piece { kind, packet, .. } = self.first;
        let Packet { l3, l4, payload, .. } = packet;
        let length = (payload - l4 + self.payload_len) as u16;
        let network = header.get_mut(l3..l4)?;
        let field = self.first.length_field(self.payload_len) as u16;
        match kind {
            Kind::TcpV4 | Kind::UdpV4 => {
                put(network, 2, field.to_be_bytes());
                put(network, 10, [0; 2]);
                let checksum = Sum::of(network).checksum();
                put(network, 10, checksum.to_be_bytes());
            }
            Kind::TcpV6 | Kind::UdpV6 => put(network, 4, field.to_be_bytes()),
        }
        let partial = packet.pseudo_header(header, length)?.to_partial();
        let transport = header.get_mut(l4..)?;
        put(transport, kind.checksum_offset(), partial.to_be_bytes());
        match kind {
            Kind::TcpV4 | Kind::TcpV6 => {
                let flags = self.first.flags | self.last_flags & (FIN | PSH);
                put(transport, 13, [flags]);
            }
            Kind::UdpV4 | Kind::UdpV6 => put(transport, 4, length.to_be_bytes()),
        }
        Some(())
    }
}

/// A frame that may be part of a superframe, with what is compared by rule and not by octet.
#[derive(Clone, Copy, Debug)]
struct Piece {
    packet: Packet,
    kind: Kind,
    payload_len: usize,
    /// The IPv4 identification; zero for IPv6.
    identification: u16,
    /// Whether the identification means nothing, since the packet may not be fragmented (RFC 6864).
    is_atomic: bool,
    /// The TCP sequence number and flags; zero for UDP.
    sequence: u32,
    flags: u8,
}

impl Piece {
    /// Reads `frame`; `None` if it can be no part of any superframe, for what is wrong with it or
    /// for what it is.
    fn read(frame: &[u8], checksum: Checksum) -> Option<Self> {
        let packet = Packet::parse(frame)?;
        if packet.is_fragment || packet.has_options || packet.payload == packet.end {
            return None;
        }
        let kind = Kind::of(&packet)?;
        let payload_len = packet.end - packet.payload;
        let mut piece = Self {
            packet,
            kind,
            payload_len,
            identification: 0,
            is_atomic: true,
            sequence: 0,
            flags: 0,
        };
        let is_usable = piece.read_network(frame)?
            && piece.read_transport(frame)?
            && (checksum == Checksum::Verified || piece.is_intact(frame)?);
        is_usable.then_some(piece)
    }

    fn read_network(&mut self, frame: &[u8]) -> Option<bool> {
        match self.packet.version {
            IpVersion::V4 => {
                let header = frame.get(self.packet.l3..)?.first_chunk::<20>()?;
                self.identification = u16::from_be_bytes([header[4], header[5]]);
                self.is_atomic = header[6] & 0x40 != 0;
                Some(Sum::of(header).is_valid())
            }
            IpVersion::V6 => Some(true),
        }
    }

    fn read_transport(&mut self, frame: &[u8]) -> Option<bool> {
        let header = frame.get(self.packet.l4..)?;
        match self.kind {
            Kind::TcpV4 | Kind::TcpV6 => {
                let &[_, _, _, _, s0, s1, s2, s3, .., flags, _, _] = header.first_chunk::<16>()?;
                self.sequence = u32::from_be_bytes([s0, s1, s2, s3]);
                self.flags = flags;
                Some(flags & (SYN | RST | URG | ACK) == ACK)
            }
            Kind::UdpV4 | Kind::UdpV6 => {
                let &[_, _, _, _, l0, l1, c0, c1] = header.first_chunk::<8>()?;
                let length = usize::from(u16::from_be_bytes([l0, l1]));
                // A datagram without checksum would get one.
                Some(length == self.packet.end - self.packet.l4 && [c0, c1] != [0, 0])
            }
        }
    }

    fn is_intact(&self, frame: &[u8]) -> Option<bool> {
        let covered = frame.get(self.packet.l4..self.packet.end)?;
        let pseudo_header = self.packet.pseudo_header(frame, covered.len() as u16)?;
        Some((pseudo_header + Sum::of(covered)).is_valid())
    }

    fn payload(&self) -> Range<usize> {
        self.packet.payload..self.packet.end
    }

    /// What IP's length field says for these headers and `payload_len` octets.
    fn length_field(&self, payload_len: usize) -> usize {
        let counted_from = match self.packet.version {
            IpVersion::V4 => self.packet.l3,
            IpVersion::V6 => self.packet.l4,
        };
        self.packet.payload - counted_from + payload_len
    }

    /// Ones where the headers of frames of one superframe must be equal.
    fn mask(&self) -> [u8; HEADER_ROOM] {
        let Packet { l3, l4, .. } = self.packet;
        let mut mask = [0xff; HEADER_ROOM];
        match self.packet.version {
            IpVersion::V4 => {
                put(&mut mask, l3 + 2, [0; 4]);
                put(&mut mask, l3 + 10, [0; 2]);
            }
            IpVersion::V6 => put(&mut mask, l3 + 4, [0; 2]),
        }
        match self.kind {
            Kind::TcpV4 | Kind::TcpV6 => {
                put(&mut mask, l4 + 4, [0; 4]);
                put(&mut mask, l4 + 13, [!(FIN | PSH | CWR)]);
                put(&mut mask, l4 + 16, [0; 2]);
            }
            Kind::UdpV4 | Kind::UdpV6 => put(&mut mask, l4 + 4, [0; 4]),
        }
        mask
    }
}

/// Coalesces all of `frames` into `out`, payload and all, and returns how many octets that are.
///
/// For tests and for callers without scattered output. `None` if they are not one superframe, or if
/// it does not fit.
pub fn coalesce(frames: &[&[u8]], out: &mut [u8]) -> Option<(VirtioHeader, usize)> {
    let mut coalescer = Coalescer::new(frames.len()).with_datagrams();
    let mut end = 0;
    for frame in frames {
        let range = match coalescer.offer(frame, Checksum::Unverified) {
            Offer::First(range) => {
                end = range.start;
                range
            }
            Offer::Next(range) => range,
            Offer::Flush | Offer::Alone => return None,
        };
        let payload = frame.get(range)?;
        out.get_mut(end..end + payload.len())?.copy_from_slice(payload);
        end += payload.len();
    }
    let merged = coalescer.finish()?;
    out.get_mut(..merged.header.len())?.copy_from_slice(merged.header);
    Some((merged.virtio, end))
}
