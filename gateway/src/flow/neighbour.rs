//! The least that a guest must hear to find its gateway: who has this address, are you there.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_frame::packet::Packet;
use weft_frame::{EtherType, Header, virtio};

use super::Outlet;
use super::packet::{self, ICMP, ICMPV6, Link};

/// Answers what is for the gateway's own addresses `own`; false when it is something else.
pub fn answer(
    own: &[IpAddr],
    link: &Link,
    header: &Header,
    frame: &[u8],
    outlet: &mut dyn Outlet,
) -> bool {
    let answered = if header.ether_type == EtherType::ARP {
        answer_arp(own, link, frame.get(header.payload..).unwrap_or_default(), outlet.buffer())
    } else {
        answer_message(own, link, frame, outlet.buffer())
    };
    answered.map(|len| outlet.send(len)).is_some()
}

fn answer_arp(own: &[IpAddr], link: &Link, arp: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let arp = arp.first_chunk::<28>()?;
    let target = Ipv4Addr::new(arp[24], arp[25], arp[26], arp[27]);
    if arp[..8] != [0, 1, 8, 0, 6, 4, 0, 1] || !own.contains(&IpAddr::V4(target)) {
        return None;
    }
    let reply = buffer.get_mut(virtio::LEN..virtio::LEN + 42)?;
    reply[..6].copy_from_slice(&link.guest.0);
    reply[6..12].copy_from_slice(&link.gateway.0);
    reply[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    reply[22..28].copy_from_slice(&link.gateway.0);
    reply[28..32].copy_from_slice(&target.octets());
    reply[32..42].copy_from_slice(&arp[8..18]);
    buffer.get_mut(..virtio::LEN)?.fill(0);
    Some(virtio::LEN + 42)
}

fn answer_message(own: &[IpAddr], link: &Link, frame: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let packet = Packet::parse(frame)?;
    let (source, destination) = packet::addresses(&packet, frame)?;
    let message = frame.get(packet.l4..packet.end).filter(|_| !packet.is_fragment)?;
    let at = packet::message_at(source);
    match (packet.protocol, message.first()?) {
        (ICMP, 8) | (ICMPV6, 128) if own.contains(&destination) => {
            buffer.get_mut(at..at + message.len())?.copy_from_slice(message);
            *buffer.get_mut(at)? = if packet.protocol == ICMP { 0 } else { 129 };
            packet::finish_icmp(buffer, link, destination, source, packet::HOPS, message.len())
        }
        (ICMPV6, 135) => {
            let target = IpAddr::V6(Ipv6Addr::from(*message.get(8..)?.first_chunk::<16>()?));
            if !own.contains(&target) {
                return None;
            }
            let to = if source.is_unspecified() {
                IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1))
            } else {
                source
            };
            let reply = buffer.get_mut(at..at + 32)?;
            // Router, solicited unless nobody can be answered, override.
            let flags = if source.is_unspecified() { 0xa0 } else { 0xe0 };
            reply[..8].copy_from_slice(&[136, 0, 0, 0, flags, 0, 0, 0]);
            reply[8..24].copy_from_slice(message.get(8..24)?);
            reply[24..26].copy_from_slice(&[2, 1]);
            reply[26..32].copy_from_slice(&link.gateway.0);
            packet::finish_icmp(buffer, link, target, to, 255, 32)
        }
        _ => None,
    }
}
