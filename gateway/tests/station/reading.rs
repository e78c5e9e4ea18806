//! Readers that are not ours, and that recompute every checksum.

use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::{icmp, icmpv6, ipv4, ipv6, tcp, udp};
use smoltcp::wire;

/// Fails unless pnet finds a well-formed frame of ARP or IP, every checksum in it right.
pub(crate) fn assert_well_formed(frame: &[u8]) {
    match frame[12..14] {
        [8, 0] => read_v4(&frame[14..]),
        [0x86, 0xdd] => read_v6(&frame[14..]),
        [8, 6] => {
            let packet = wire::ArpPacket::new_checked(&frame[14..]).expect("smoltcp reads ARP");
            wire::ArpRepr::parse(&packet).expect("smoltcp understands ARP");
        }
        _ => panic!("neither ARP nor IP: {frame:02x?}"),
    }
}

fn read_v4(octets: &[u8]) {
    let packet = ipv4::Ipv4Packet::new(octets).expect("pnet reads the IPv4 header");
    assert_eq!(usize::from(packet.get_total_length()), octets.len());
    assert_eq!(packet.get_checksum(), ipv4::checksum(&packet), "IPv4 checksum");
    let (source, destination) = (packet.get_source(), packet.get_destination());
    let transport = &octets[20..];
    match packet.get_next_level_protocol() {
        IpNextHeaderProtocols::Tcp => {
            let segment = tcp::TcpPacket::new(transport).expect("pnet reads the TCP header");
            let checksum = tcp::ipv4_checksum(&segment, &source, &destination);
            assert_eq!(segment.get_checksum(), checksum, "TCP checksum");
        }
        IpNextHeaderProtocols::Udp => {
            let datagram = udp::UdpPacket::new(transport).expect("pnet reads the UDP header");
            let checksum = udp::ipv4_checksum(&datagram, &source, &destination);
            assert_eq!(usize::from(datagram.get_length()), transport.len());
            assert_eq!(datagram.get_checksum(), nonzero(checksum), "UDP checksum");
        }
        _ => {
            let message = icmp::IcmpPacket::new(transport).expect("pnet reads the ICMP header");
            assert_eq!(message.get_checksum(), icmp::checksum(&message), "ICMP checksum");
        }
    }
}

fn read_v6(octets: &[u8]) {
    let packet = ipv6::Ipv6Packet::new(octets).expect("pnet reads the IPv6 header");
    assert_eq!(usize::from(packet.get_payload_length()), octets.len() - 40);
    let (source, destination) = (packet.get_source(), packet.get_destination());
    let transport = &octets[40..];
    match packet.get_next_header() {
        IpNextHeaderProtocols::Tcp => {
            let segment = tcp::TcpPacket::new(transport).expect("pnet reads the TCP header");
            let checksum = tcp::ipv6_checksum(&segment, &source, &destination);
            assert_eq!(segment.get_checksum(), checksum, "TCP checksum");
        }
        IpNextHeaderProtocols::Udp => {
            let datagram = udp::UdpPacket::new(transport).expect("pnet reads the UDP header");
            let checksum = udp::ipv6_checksum(&datagram, &source, &destination);
            assert_eq!(usize::from(datagram.get_length()), transport.len());
            assert_eq!(datagram.get_checksum(), nonzero(checksum), "UDP checksum");
        }
        _ => {
            let message = icmpv6::Icmpv6Packet::new(transport).expect("pnet reads ICMPv6");
            let checksum = icmpv6::checksum(&message, &source, &destination);
            assert_eq!(message.get_checksum(), checksum, "ICMPv6 checksum");
        }
    }
}

/// A UDP checksum of zero is sent as its complement, which pnet leaves to its caller.
fn nonzero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// What a UDP answer carries, in either family.
pub(crate) fn udp_payload(frame: &[u8]) -> &[u8] {
    match frame[12..14] {
        [8, 0] => &frame[42..],
        _ => &frame[62..],
    }
}
