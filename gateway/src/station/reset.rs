//! TCP resets: telling a sender that there is no such connection.
//!
//! # Sources
//! RFC 9293 §3.5.2 (what a reset says), §3.10.7.1 (a segment that arrives nowhere).

use alloc::vec::Vec;

use weft_frame::packet::TCP;
use weft_frame::{Header, MacAddr, Packet};

use super::write::{self, HOP_LIMIT};
use super::{Addresses, Drop, Envelope};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Appends the reset that answers the TCP segment, or superframe, in `frame`.
///
/// It comes from the address that the segment was for, and from the station `gateway`.
///
/// # Errors
/// The reason for saying nothing: a reset is never answered, nor is a fragment, nor a segment for
/// many.
pub fn write(
    gateway: MacAddr,
    frame: &[u8],
    packet: &Packet,
    out: &mut Vec<u8>,
) -> Result<(), Drop> {
    let header = Header::parse(frame).ok_or(Drop::Runt)?;
    let asked = Addresses::of(frame, packet).ok_or(Drop::Malformed)?;
    let segment = frame.get(packet.l4..packet.end).ok_or(Drop::Malformed)?;
    if packet.is_fragment {
        return Err(Drop::Fragment);
    }
    let Some(fixed) = segment.first_chunk::<20>().filter(|_| packet.protocol == TCP) else {
        return Err(Drop::Malformed);
    };
    let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, _, flags, ..] = *fixed;
    let is_for_many = header.destination.is_group() || asked.destination().is_multicast();
    if flags & RST != 0 || is_for_many || asked.source().is_multicast() {
        return Err(Drop::NoErrorDue);
    }
    let payload = packet.end.saturating_sub(packet.payload) as u32;
    let length = payload + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let next = u32::from_be_bytes([q0, q1, q2, q3]).wrapping_add(length).to_be_bytes();
    // A segment that acknowledges says itself which number is next; to one that does not, the
    // reset acknowledges what it was.
    let (number, acknowledged, reply) =
        if flags & ACK != 0 { ([a0, a1, a2, a3], [0; 4], RST) } else { ([0; 4], next, RST | ACK) };
    let envelope = Envelope {
        to: header.source,
        from: gateway,
        addresses: asked.turned(),
        hop_limit: HOP_LIMIT,
    };
    write::packet(out, &envelope, TCP, |out| {
        out.extend_from_slice(&[d0, d1, s0, s1]);
        out.extend_from_slice(&number);
        out.extend_from_slice(&acknowledged);
        out.extend_from_slice(&[0x50, reply, 0, 0, 0, 0, 0, 0]);
    });
    Ok(())
}
