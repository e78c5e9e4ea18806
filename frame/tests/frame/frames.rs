//! Frames written out field by field, the slow and obvious way; the model that tests compare with.

use weft_frame::virtio::{self, VirtioHeader};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;
pub(crate) const ECE: u8 = 0x40;
pub(crate) const CWR: u8 = 0x80;

/// Everything that a test wants to choose about a TCP segment or a UDP datagram.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spec {
    /// The control words of the VLAN tags, outermost first.
    pub(crate) tags: Vec<u16>,
    pub(crate) v6: bool,
    pub(crate) udp: bool,
    /// IPv4 options, or whole IPv6 hop-by-hop headers of 8 octets with the next header left open.
    pub(crate) network_options: Vec<u8>,
    pub(crate) tcp_options: Vec<u8>,
    pub(crate) traffic_class: u8,
    pub(crate) hop_limit: u8,
    pub(crate) identification: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) ports: (u16, u16),
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) payload: Vec<u8>,
}

impl Spec {
    pub(crate) fn tcp_v4(payload_len: usize) -> Self {
        Self {
            tags: vec![],
            v6: false,
            udp: false,
            network_options: vec![],
            // Two no-operations and a time stamp, as Linux has them.
            tcp_options: vec![1, 1, 8, 10, 0x5e, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77],
            traffic_class: 0,
            hop_limit: 64,
            identification: 0x1234,
            dont_fragment: true,
            ports: (40_000, 5201),
            sequence: 0x0102_0304,
            acknowledgement: 0x0a0b_0c0d,
            flags: ACK | PSH,
            window: 502,
            payload: (0..payload_len).map(|index| (index * 7 + index / 251) as u8).collect(),
        }
    }

    pub(crate) fn udp_v4(payload_len: usize) -> Self {
        Self { udp: true, tcp_options: vec![], flags: 0, ..Self::tcp_v4(payload_len) }
    }

    pub(crate) fn v6(self) -> Self {
        Self { v6: true, ..self }
    }

    /// The whole frame with right checksums.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = self.superframe();
        let (l4, at) = (self.l4(), self.l4() + self.checksum_offset());
        let checksum = !naive_sum(&frame[l4..]);
        let checksum = if self.udp && checksum == 0 { 0xffff } else { checksum };
        frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        frame
    }

    /// The frame as a kernel hands it over: its checksum field holds the pseudo-header's sum.
    pub(crate) fn superframe(&self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        for (index, control) in self.tags.iter().enumerate() {
            let is_inner = index + 1 == self.tags.len();
            frame.extend(if is_inner { [0x81, 0x00] } else { [0x88, 0xa8] });
            frame.extend(control.to_be_bytes());
        }
        frame.extend(if self.v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
        let transport = self.transport();
        if self.v6 {
            self.write_v6(&mut frame, &transport)
        } else {
            self.write_v4(&mut frame, &transport)
        }
        frame
    }

    /// The virtio-net header with which a kernel hands it over.
    pub(crate) fn virtio(&self, gso_size: usize) -> VirtioHeader {
        let gso_type = match (self.udp, self.v6) {
            (true, _) => virtio::GSO_UDP_L4,
            (false, false) => virtio::GSO_TCPV4,
            (false, true) => virtio::GSO_TCPV6,
        };
        let ecn = if self.flags & CWR != 0 { virtio::GSO_ECN } else { 0 };
        VirtioHeader {
            flags: virtio::NEEDS_CSUM,
            gso_type: gso_type | ecn,
            hdr_len: (self.superframe().len() - self.payload.len()) as u16,
            gso_size: gso_size as u16,
            csum_start: self.l4() as u16,
            csum_offset: self.checksum_offset() as u16,
            num_buffers: 0,
        }
    }

    /// The segments of this superframe, each made from scratch.
    pub(crate) fn segments(&self, gso_size: usize) -> Vec<Self> {
        let chunks: Vec<_> = self.payload.chunks(gso_size).collect();
        let last = chunks.len() - 1;
        let segment = |(index, chunk): (usize, &&[u8])| Self {
            payload: chunk.to_vec(),
            identification: self.identification.wrapping_add(index as u16),
            sequence: self.sequence.wrapping_add((index * gso_size) as u32),
            flags: self.flags
                & if index == 0 { 0xff } else { !CWR }
                & if index == last { 0xff } else { !(FIN | PSH) },
            ..self.clone()
        };
        chunks.iter().enumerate().map(segment).collect()
    }

    pub(crate) fn l3(&self) -> usize {
        14 + 4 * self.tags.len()
    }

    pub(crate) fn l4(&self) -> usize {
        self.l3() + if self.v6 { 40 } else { 20 } + self.network_options.len()
    }

    fn checksum_offset(&self) -> usize {
        if self.udp { 6 } else { 16 }
    }

    fn protocol(&self) -> u8 {
        if self.udp { 17 } else { 6 }
    }

    fn transport(&self) -> Vec<u8> {
        let mut header = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
        let header_len = if self.udp { 8 } else { 20 + self.tcp_options.len() };
        let length = header_len + self.payload.len();
        let partial = naive_sum(&self.pseudo_header(length));
        if self.udp {
            header.extend((length as u16).to_be_bytes());
            header.extend(partial.to_be_bytes());
        } else {
            header.extend(self.sequence.to_be_bytes());
            header.extend(self.acknowledgement.to_be_bytes());
            header.extend([(header_len as u8 / 4) << 4, self.flags]);
            header.extend(self.window.to_be_bytes());
            header.extend(partial.to_be_bytes());
            header.extend([0, 0]);
            header.extend(&self.tcp_options);
        }
        header.extend(&self.payload);
        header
    }

    fn pseudo_header(&self, length: usize) -> Vec<u8> {
        let mut octets = self.addresses();
        octets.extend((length as u32).to_be_bytes());
        octets.extend([0, self.protocol()]);
        octets
    }

    fn addresses(&self) -> Vec<u8> {
        if self.v6 {
            let [mut source, mut destination] = [[0; 16]; 2];
            (source[0], source[1], source[15]) = (0xfd, 0x10, 1);
            (destination[0], destination[1], destination[15]) = (0xfd, 0x10, 2);
            [source, destination].concat()
        } else {
            vec![192, 168, 10, 1, 192, 168, 10, 2]
        }
    }

    fn write_v4(&self, frame: &mut Vec<u8>, transport: &[u8]) {
        let header_len = 20 + self.network_options.len();
        let total_len = header_len + transport.len();
        let mut header = vec![0x40 | (header_len as u8 / 4), self.traffic_class];
        header.extend((total_len as u16).to_be_bytes());
        header.extend(self.identification.to_be_bytes());
        header.extend([if self.dont_fragment { 0x40 } else { 0 }, 0]);
        header.extend([self.hop_limit, self.protocol(), 0, 0]);
        header.extend(self.addresses());
        header.extend(&self.network_options);
        let checksum = !naive_sum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        frame.extend(header);
        frame.extend(transport);
    }

    fn write_v6(&self, frame: &mut Vec<u8>, transport: &[u8]) {
        let mut extensions = self.network_options.clone();
        let mut next = self.protocol();
        for extension in extensions.chunks_mut(8).rev() {
            // Destination options, which may stand anywhere and repeat.
            (extension[0], extension[1]) = (next, 0);
            next = 60;
        }
        let payload_len = extensions.len() + transport.len();
        frame.extend([0x60 | (self.traffic_class >> 4), self.traffic_class << 4, 0xab, 0xcd]);
        frame.extend((payload_len as u16).to_be_bytes());
        frame.extend([next, self.hop_limit]);
        frame.extend(self.addresses());
        frame.extend(extensions);
        frame.extend(transport);
    }
}

/// The ones' complement sum by the book, one word at a time.
pub(crate) fn naive_sum(octets: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
