//! The way back of a datagram: to whom its answer goes, at once or later.

use alloc::vec::Vec;

use weft_frame::packet::UDP;
use weft_frame::{Header, MacAddr, Packet};

use super::write::{self, HOP_LIMIT};
use super::{Addresses, Envelope, Station};

/// How an answer finds back to who sent a UDP datagram.
///
/// It is small and owns nothing, so that whoever asks elsewhere first can keep it until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Return {
    /// The station that asked.
    pub station: MacAddr,
    /// Its address and port are the destination; what it asked is the source.
    pub addresses: Addresses,
    /// The port that it asked.
    pub from_port: u16,
    /// The port that it asked from.
    pub to_port: u16,
}

impl Return {
    /// Reads the way back from a datagram, or from the first fragment of one.
    ///
    /// `None` if `packet` is no UDP, or was not parsed from `frame`.
    #[must_use]
    pub fn of(frame: &[u8], packet: &Packet) -> Option<Self> {
        if packet.protocol != UDP {
            return None;
        }
        let header = Header::parse(frame)?;
        let &[s0, s1, d0, d1] = frame.get(packet.l4..)?.first_chunk::<4>()?;
        Some(Self {
            station: header.source,
            addresses: Addresses::of(frame, packet)?.turned(),
            from_port: u16::from_be_bytes([d0, d1]),
            to_port: u16::from_be_bytes([s0, s1]),
        })
    }

    /// Appends the answer `payload` as a frame from `gateway`; false if it exceeds its MTU.
    pub fn write(&self, gateway: &Station, payload: &[u8], out: &mut Vec<u8>) -> bool {
        if payload.len() > self.room(gateway) {
            return false;
        }
        let envelope = Envelope {
            to: self.station,
            from: gateway.config.mac,
            addresses: self.addresses,
            hop_limit: HOP_LIMIT,
        };
        write::datagram(out, &envelope, (self.from_port, self.to_port), |out| {
            out.extend_from_slice(payload);
        });
        true
    }

    /// How many octets an answer from `gateway` may have to fit one packet.
    #[must_use]
    pub fn room(&self, gateway: &Station) -> usize {
        let headers = self.addresses.header_len() + write::UDP_LEN;
        usize::from(gateway.config.mtu).saturating_sub(headers)
    }
}
