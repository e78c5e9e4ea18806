//! A gateway, and frames for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_frame::checksum::{self, Sum, pseudo_header_v4, pseudo_header_v6};
use weft_frame::{MacAddr, Offload};
use weft_gateway::station::{Config, Dhcp, Lease, Router, Station, Verdict};

use crate::reading::assert_well_formed;

pub(crate) const GATEWAY: MacAddr = MacAddr([2, 0x77, 0, 0, 0, 1]);
pub(crate) const GUEST: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);
pub(crate) const STRANGER: MacAddr = MacAddr([6, 0, 0, 0, 0, 9]);
pub(crate) const EVERYBODY: MacAddr = MacAddr::BROADCAST;

pub(crate) const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(crate) const GUEST_V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 7);
pub(crate) const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
pub(crate) const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 7);
pub(crate) const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);

pub(crate) const MTU: u16 = 1400;

pub(crate) fn config() -> Config {
    Config {
        mac: GATEWAY,
        addresses: vec!["10.9.0.1/24".parse().unwrap(), "fd09::1/64".parse().unwrap()],
        mtu: MTU,
        search: "blue.weft.internal".to_string(),
        leads_out: true,
        dns: true,
        dhcp: Some(Dhcp { lease_seconds: 3600, routes: Vec::new() }),
        router: Some(Router { autonomous: true, lifetime_seconds: 1800 }),
    }
}

pub(crate) fn station() -> Station {
    Station::new(config()).unwrap()
}

/// What IPAM knows: one guest.
pub(crate) fn lease_of(mac: MacAddr) -> Option<Lease<'static>> {
    (mac == GUEST).then_some(Lease { address: GUEST_V4, prefix_len: 24, host_name: "web" })
}

/// Hands `frame` to `station`, and checks what holds for every frame.
pub(crate) fn handle(station: &Station, frame: &[u8]) -> (Verdict, Vec<u8>) {
    let before = [0xab; 12];
    let mut out = before.to_vec();
    let verdict = station.handle(frame, &Offload::None, &lease_of, &mut out);
    let answer = out.split_off(before.len());
    assert_eq!(out, before, "what stood in the buffer stays there");
    match verdict {
        Verdict::Answered(_) => {
            assert!(answer.len() <= usize::from(station.config().mtu) + 14, "{}", answer.len());
            assert_eq!(answer[..6], frame[6..12], "it goes to who asked");
            assert_eq!(answer[6..12], GATEWAY.0, "it is from the gateway");
            assert_well_formed(&answer);
        }
        Verdict::Resolve(packet) | Verdict::Local(packet) | Verdict::Routed(packet) => {
            assert!(answer.is_empty());
            assert!(packet.end <= frame.len() && packet.l4 <= packet.payload);
        }
        Verdict::Drop(_) => assert!(answer.is_empty()),
    }
    (verdict, answer)
}

pub(crate) fn ethernet(to: MacAddr, from: MacAddr, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&to.0[..], &from.0, &ether_type.to_be_bytes(), payload].concat()
}

/// A packet from the guest; `transport` has its checksum.
pub(crate) fn v4(
    to: MacAddr,
    (source, destination): (Ipv4Addr, Ipv4Addr),
    protocol: u8,
    transport: &[u8],
) -> Vec<u8> {
    v4_with((to, &[]), (source, destination), protocol, 0, transport)
}

pub(crate) fn v4_with(
    (to, options): (MacAddr, &[u8]),
    (source, destination): (Ipv4Addr, Ipv4Addr),
    protocol: u8,
    fragment: u16,
    transport: &[u8],
) -> Vec<u8> {
    let header_len = 20 + options.len();
    let mut header = vec![0x40 | (header_len / 4) as u8, 0];
    header.extend(((header_len + transport.len()) as u16).to_be_bytes());
    header.extend([0, 7]);
    header.extend(fragment.to_be_bytes());
    header.extend([64, protocol, 0, 0]);
    header.extend(source.octets());
    header.extend(destination.octets());
    header.extend(options);
    let sum = checksum::checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    ethernet(to, GUEST, 0x0800, &[&header, transport].concat())
}

pub(crate) fn v6(
    to: MacAddr,
    (source, destination): (Ipv6Addr, Ipv6Addr),
    (protocol, hop_limit): (u8, u8),
    transport: &[u8],
) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend((transport.len() as u16).to_be_bytes());
    header.extend([protocol, hop_limit]);
    header.extend(source.octets());
    header.extend(destination.octets());
    ethernet(to, GUEST, 0x86dd, &[&header, transport].concat())
}

pub(crate) fn icmp(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let sum = checksum::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

pub(crate) fn icmp_v6(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let length = message.len() as u32;
    let pseudo = pseudo_header_v6(source.octets(), destination.octets(), 58, length);
    let sum = (pseudo + Sum::of(&message)).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

pub(crate) fn datagram(
    source: IpAddr,
    destination: IpAddr,
    (from, to): (u16, u16),
    payload: &[u8],
) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let words = [from, to, length, 0].map(u16::to_be_bytes).concat();
    let mut datagram = [&words, payload].concat();
    let pseudo = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            pseudo_header_v4(source.octets(), destination.octets(), 17, length)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            pseudo_header_v6(source.octets(), destination.octets(), 17, length.into())
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            panic!("addresses of two families")
        }
    };
    let sum = (pseudo + Sum::of(&datagram)).udp_checksum();
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

/// A UDP packet from the guest.
pub(crate) fn udp(
    to: MacAddr,
    source: IpAddr,
    destination: IpAddr,
    ports: (u16, u16),
    payload: &[u8],
) -> Vec<u8> {
    let transport = datagram(source, destination, ports, payload);
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            v4(to, (source, destination), 17, &transport)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            v6(to, (source, destination), (17, 64), &transport)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            panic!("addresses of two families")
        }
    }
}

pub(crate) fn arp(operation: u16, sender: (MacAddr, Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4];
    message.extend(operation.to_be_bytes());
    message.extend(sender.0.0);
    message.extend(sender.1.octets());
    message.extend([0; 6]);
    message.extend(target.octets());
    ethernet(EVERYBODY, GUEST, 0x0806, &message)
}

/// A solicitation of a neighbour from `source`, with the options.
pub(crate) fn solicitation(source: Ipv6Addr, target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    let group = solicited_node(target);
    let message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), options].concat();
    v6(group_mac(group), (source, group), (58, 255), &icmp_v6(source, group, &message))
}

pub(crate) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., x, y, z] = address.octets();
    let group: Ipv6Addr = "ff02::1:ff00:0".parse().unwrap();
    let mut octets = group.octets();
    octets[13..].copy_from_slice(&[x, y, z]);
    octets.into()
}

pub(crate) fn group_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}
