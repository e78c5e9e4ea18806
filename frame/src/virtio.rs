//! The virtio-net header in front of a TAP's frames, and what may be believed of it.
//!
//! A TAP opened with `IFF_VNET_HDR` puts twelve octets before each frame, little-endian because we
//! ask for it. They say whether the checksum is unfinished and whether the frame is a superframe.
//! Whoever is behind the TAP writes them, so they are claims. [`VirtioHeader::check`] compares
//! every claim with the frame, once, and returns an [`Offload`]: whatever holds one need not check
//! again.
//!
//! The check is as strict as it can be without refusing what kernels send:
//!
//! - Unfinished checksums are summed over octets that the guest chose and stored at an offset that
//!   the guest chose. Were any offset allowed, a guest could have its source address rewritten
//!   after the switch has approved it. So the field must be the TCP or UDP checksum of the packet,
//!   or lie deeper inside (a guest that runs a tunnel of its own), and never in the Ethernet or IP
//!   header.
//! - A superframe must be TCP or UDP as its type says, unfragmented, exactly as long as its headers
//!   say, with its checksum unfinished. `hdr_len` is a hint for drivers and is ignored.
//! - A superframe that one segment can carry is an ordinary frame, as it is for the kernel.
//!
//! # Limits
//! - UFO (type 3) is refused: it would need fragmentation, and Linux stopped offering it in 4.14.
//! - Tunnel offloads and accurate ECN are never negotiated and therefore refused.
//!
//! # Sources
//! Virtual I/O Device (VIRTIO) 1.3 §5.1.6; Linux `virtio_net_hdr_to_skb`.

use crate::header;
use crate::packet::{IpVersion, MAX_HEADER, Packet, TCP, UDP};
use crate::segment::{MAX_DATAGRAMS, MAX_SEGMENTS};

/// The length of the header, and what `TUNSETVNETHDRSZ` is set to.
pub const LEN: usize = 12;

/// Flag: the checksum at `csum_start + csum_offset` is unfinished.
pub const NEEDS_CSUM: u8 = 1;
/// Flag: the checksum has been verified by whoever hands over the frame.
pub const DATA_VALID: u8 = 2;

/// Type: an ordinary frame.
pub const GSO_NONE: u8 = 0;
/// Type: TCP over IPv4.
pub const GSO_TCPV4: u8 = 1;
/// Type: UDP to be fragmented (UFO); refused.
pub const GSO_UDP: u8 = 3;
/// Type: TCP over IPv6.
pub const GSO_TCPV6: u8 = 4;
/// Type: UDP to be cut into datagrams (USO), over either IP version.
pub const GSO_UDP_L4: u8 = 5;
/// Added to a TCP type: the frame has the CWR flag, which belongs to the first segment only.
pub const GSO_ECN: u8 = 0x80;

/// `gso_size` that means something else inside the kernel (`GSO_BY_FRAGS`); it takes it from
/// nobody.
const BY_FRAGS: u16 = 0xffff;

/// What a frame's virtio-net header claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtioHeader {
    /// [`NEEDS_CSUM`], [`DATA_VALID`]; other bits are ignored.
    pub flags: u8,
    /// [`GSO_NONE`] and so on.
    pub gso_type: u8,
    /// A hint about the octets of all headers; not to be relied on.
    pub hdr_len: u16,
    /// The payload octets of each segment but the last.
    pub gso_size: u16,
    /// Where the checksum begins to count, from the start of the frame.
    pub csum_start: u16,
    /// Where the checksum is stored, from `csum_start`.
    pub csum_offset: u16,
    /// The buffers a frame takes in a virtqueue; a TAP leaves it 0.
    pub num_buffers: u16,
}

impl VirtioHeader {
    /// Splits what was read from a TAP into its header and the frame.
    ///
    /// `None` below [`LEN`] octets.
    #[must_use]
    #[inline]
    pub fn parse(octets: &[u8]) -> Option<(Self, &[u8])> {
        let (header, frame) = octets.split_first_chunk::<LEN>()?;
        let [flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1, n0, n1] = *header;
        let header = Self {
            flags,
            gso_type,
            hdr_len: u16::from_le_bytes([h0, h1]),
            gso_size: u16::from_le_bytes([g0, g1]),
            csum_start: u16::from_le_bytes([s0, s1]),
            csum_offset: u16::from_le_bytes([o0, o1]),
            num_buffers: u16::from_le_bytes([n0, n1]),
        };
        Some((header, frame))
    }

    /// The header as it stands before a frame.
    #[must_use]
    #[inline]
    pub fn to_bytes(&self) -> [u8; LEN] {
        let [h0, h1] = self.hdr_len.to_le_bytes();
        let [g0, g1] = self.gso_size.to_le_bytes();
        let [s0, s1] = self.csum_start.to_le_bytes();
        let [o0, o1] = self.csum_offset.to_le_bytes();
        let [n0, n1] = self.num_buffers.to_le_bytes();
        [self.flags, self.gso_type, h0, h1, g0, g1, s0, s1, o0, o1, n0, n1]
    }

    /// Compares what the header claims with `frame` and says what is to be done with it.
    ///
    /// # Errors
    /// The first claim that does not hold.
    #[inline]
    pub fn check(&self, frame: &[u8]) -> Result<Offload, BadOffload> {
        if self.gso_type == GSO_NONE && self.flags & NEEDS_CSUM == 0 {
            return Ok(Offload::None);
        }
        self.check_claims(frame)
    }

    fn check_claims(&self, frame: &[u8]) -> Result<Offload, BadOffload> {
        let packet = Packet::parse(frame).ok_or(BadOffload::Packet)?;
        if packet.is_fragment {
            return Err(BadOffload::Fragment);
        }
        if self.gso_type == GSO_NONE {
            self.check_checksum(frame, &packet)
        } else {
            self.check_superframe(frame, &packet)
        }
    }

    fn check_checksum(&self, frame: &[u8], packet: &Packet) -> Result<Offload, BadOffload> {
        let (start, offset) = (usize::from(self.csum_start), usize::from(self.csum_offset));
        let is_in_packet = match packet.protocol {
            TCP if start == packet.l4 => offset == Kind::TcpV4.checksum_offset(),
            UDP if start == packet.l4 => offset == Kind::UdpV4.checksum_offset(),
            _ => start >= packet.payload,
        };
        if is_in_packet && start + offset + 2 <= frame.len() {
            Ok(Offload::Checksum { start, offset })
        } else {
            Err(BadOffload::Checksum)
        }
    }

    fn check_superframe(&self, frame: &[u8], packet: &Packet) -> Result<Offload, BadOffload> {
        let kind = self.kind(packet)?;
        let (start, offset) = (packet.l4, kind.checksum_offset());
        if self.flags & NEEDS_CSUM == 0
            || usize::from(self.csum_start) != start
            || usize::from(self.csum_offset) != offset
        {
            return Err(BadOffload::Checksum);
        }
        if self.gso_size == 0 || self.gso_size == BY_FRAGS {
            return Err(BadOffload::Size);
        }
        if packet.end != frame.len() || !kind.is_length_right(frame, packet) {
            return Err(BadOffload::Length);
        }
        if packet.payload > MAX_HEADER {
            return Err(BadOffload::Headers);
        }
        let superframe = Superframe {
            len: frame.len() as u32,
            l3: packet.l3 as u16,
            l4: packet.l4 as u16,
            payload: packet.payload as u16,
            gso_size: self.gso_size,
            kind,
            ecn: self.gso_type & GSO_ECN != 0,
        };
        match superframe.count() {
            0 | 1 => Ok(Offload::Checksum { start, offset }),
            count if count > kind.max_count() => Err(BadOffload::TooMany),
            _ => Ok(Offload::Segment(superframe)),
        }
    }

    fn kind(&self, packet: &Packet) -> Result<Kind, BadOffload> {
        let gso_type = self.gso_type & !GSO_ECN;
        match gso_type {
            GSO_TCPV4 | GSO_TCPV6 => {}
            GSO_UDP_L4 if self.gso_type & GSO_ECN == 0 => {}
            _ => return Err(BadOffload::Type),
        }
        let kind = Kind::of(packet).filter(|kind| kind.gso_type() == gso_type);
        kind.ok_or(BadOffload::Protocol)
    }
}

/// What is left to be done with a frame before a wire could carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Nothing: it is whole.
    None,
    /// Its checksum, of everything from `start` to its end, belongs at `start + offset`.
    Checksum {
        /// Where the checksum begins to count, from the start of the frame.
        start: usize,
        /// Where it is stored, from `start`.
        offset: usize,
    },
    /// It is to be cut into segments or datagrams.
    Segment(Superframe),
}

impl Offload {
    /// The header that says this of a frame, and nothing that a guest claimed: for whoever takes
    /// its length at its word.
    ///
    /// `tag` octets are yet to be put in front of the packet, and move what is said of it.
    #[must_use]
    pub fn header(&self, tag: u16) -> VirtioHeader {
        match self {
            Self::None => VirtioHeader::default(),
            Self::Checksum { start, offset } => VirtioHeader {
                flags: NEEDS_CSUM,
                // Beyond what the field can say there is nothing that a kernel would take.
                csum_start: (*start as u16).saturating_add(tag),
                csum_offset: *offset as u16,
                ..VirtioHeader::default()
            },
            Self::Segment(superframe) => VirtioHeader {
                flags: NEEDS_CSUM,
                gso_type: superframe.kind.gso_type() | if superframe.ecn { GSO_ECN } else { 0 },
                hdr_len: superframe.payload + tag,
                gso_size: superframe.gso_size,
                csum_start: superframe.l4 + tag,
                csum_offset: superframe.kind.checksum_offset() as u16,
                num_buffers: 0,
            },
        }
    }

    /// Whether every frame that this stands for fits a link with this `mtu`.
    ///
    /// The MTU limits the IP packet. `frame_len` counts from the destination address, and not the
    /// tags, which no MTU counts: for a tagged frame pass `frame.len() - (header.payload - 14)`.
    /// A superframe knows its own lengths and does not look at it.
    #[must_use]
    #[inline]
    pub fn fits(&self, frame_len: usize, mtu: usize) -> bool {
        match self {
            Self::None | Self::Checksum { .. } => frame_len <= mtu.saturating_add(header::LEN),
            Self::Segment(superframe) => superframe.packet_len() <= mtu,
        }
    }
}

/// What a superframe is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP over IPv4.
    UdpV4,
    /// UDP over IPv6.
    UdpV6,
}

impl Kind {
    /// What a superframe with this packet would be; `None` if it is neither TCP nor UDP.
    #[must_use]
    pub const fn of(packet: &Packet) -> Option<Self> {
        match (packet.protocol, packet.version) {
            (TCP, IpVersion::V4) => Some(Self::TcpV4),
            (TCP, IpVersion::V6) => Some(Self::TcpV6),
            (UDP, IpVersion::V4) => Some(Self::UdpV4),
            (UDP, IpVersion::V6) => Some(Self::UdpV6),
            _ => None,
        }
    }

    /// Where the checksum is in the transport header.
    #[must_use]
    pub const fn checksum_offset(self) -> usize {
        match self {
            Self::TcpV4 | Self::TcpV6 => 16,
            Self::UdpV4 | Self::UdpV6 => 6,
        }
    }

    /// The virtio-net type, without [`GSO_ECN`].
    #[must_use]
    pub const fn gso_type(self) -> u8 {
        match self {
            Self::TcpV4 => GSO_TCPV4,
            Self::TcpV6 => GSO_TCPV6,
            Self::UdpV4 | Self::UdpV6 => GSO_UDP_L4,
        }
    }

    const fn max_count(self) -> usize {
        match self {
            Self::TcpV4 | Self::TcpV6 => MAX_SEGMENTS,
            Self::UdpV4 | Self::UdpV6 => MAX_DATAGRAMS,
        }
    }

    /// Whether the length in a UDP header is that of the whole superframe; TCP has none.
    fn is_length_right(self, frame: &[u8], packet: &Packet) -> bool {
        match self {
            Self::TcpV4 | Self::TcpV6 => true,
            Self::UdpV4 | Self::UdpV6 => {
                let field = frame.get(packet.l4 + 4..).and_then(|rest| rest.first_chunk::<2>());
                let length = field.map(|field| usize::from(u16::from_be_bytes(*field)));
                length == Some(packet.end - packet.l4)
            }
        }
    }
}

/// A superframe's measures, found in the frame itself.
///
/// Only [`VirtioHeader::check`] makes one, so `l3 < l4 < payload < len` holds, the headers are at
/// most [`MAX_HEADER`] octets, and it stands for 2 to [`MAX_SEGMENTS`] frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superframe {
    len: u32,
    l3: u16,
    l4: u16,
    payload: u16,
    gso_size: u16,
    kind: Kind,
    ecn: bool,
}

#[expect(clippy::len_without_is_empty, reason = "a superframe is never empty")]
impl Superframe {
    /// The octets of the whole frame.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Where the IP header begins, from the start of the frame.
    #[must_use]
    pub const fn l3(&self) -> usize {
        self.l3 as usize
    }

    /// Where the TCP or UDP header begins.
    #[must_use]
    pub const fn l4(&self) -> usize {
        self.l4 as usize
    }

    /// Where the payload begins; also the octets of headers that every segment has.
    #[must_use]
    pub const fn payload(&self) -> usize {
        self.payload as usize
    }

    /// The payload octets of each segment but the last.
    #[must_use]
    pub const fn gso_size(&self) -> usize {
        self.gso_size as usize
    }

    /// What it is made of.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether its header had [`GSO_ECN`].
    #[must_use]
    pub const fn ecn(&self) -> bool {
        self.ecn
    }

    /// The frames it stands for.
    #[must_use]
    pub const fn count(&self) -> usize {
        (self.len() - self.payload()).div_ceil(self.gso_size())
    }

    /// The octets of each frame's IP packet but the last, which is no longer.
    #[must_use]
    pub const fn packet_len(&self) -> usize {
        self.payload() - self.l3() + self.gso_size()
    }
}

/// Why a virtio-net header does not describe its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOffload {
    /// Something is to be done to a frame that carries no well-formed IP packet.
    #[error("the frame carries no well-formed IP packet")]
    Packet,
    /// A fragment has no checksum of its own to finish.
    #[error("the frame is a fragment")]
    Fragment,
    /// The type is UFO, a tunnel's, or unknown.
    #[error("the segmentation type is not TCP or UDP")]
    Type,
    /// The type is not that of the packet in the frame.
    #[error("the segmentation type is not that of the packet")]
    Protocol,
    /// The checksum is not to be stored where this packet has one.
    #[error("the checksum is not where the packet has one")]
    Checksum,
    /// Segments of no octets.
    #[error("the segment size is impossible")]
    Size,
    /// The frame is not as long as its headers say.
    #[error("the superframe is not as long as its headers say")]
    Length,
    /// There are more than [`MAX_HEADER`] octets of headers.
    #[error("the superframe's headers are too long")]
    Headers,
    /// It would make more than [`MAX_SEGMENTS`] segments or [`MAX_DATAGRAMS`] datagrams.
    #[error("the superframe stands for too many segments")]
    TooMany,
}
