//! Two readers that are not ours, and that recompute every checksum.

use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::{ipv4, ipv6, tcp, udp};
use smoltcp::wire;

/// Fails unless pnet and smoltcp find a well-formed packet at `l3` with right lengths and
/// checksums.
///
/// Extension headers are beyond both; such packets are read from `l4` on only by pnet.
pub(crate) fn assert_well_formed(frame: &[u8], l3: usize, l4: usize) {
    let packet = &frame[l3..];
    if packet[0] >> 4 == 4 {
        read_v4(packet);
    } else {
        read_v6(packet, l4 - l3);
    }
}

fn read_v4(octets: &[u8]) {
    let packet = ipv4::Ipv4Packet::new(octets).expect("pnet reads the IPv4 header");
    assert_eq!(usize::from(packet.get_total_length()), octets.len());
    assert_eq!(packet.get_checksum(), ipv4::checksum(&packet), "IPv4 checksum");
    let (source, destination) = (packet.get_source(), packet.get_destination());
    let transport = &octets[usize::from(packet.get_header_length()) * 4..];
    if packet.get_next_level_protocol() == IpNextHeaderProtocols::Tcp {
        let segment = tcp::TcpPacket::new(transport).expect("pnet reads the TCP header");
        let checksum = tcp::ipv4_checksum(&segment, &source, &destination);
        assert_eq!(segment.get_checksum(), checksum, "TCP checksum");
    } else {
        let datagram = udp::UdpPacket::new(transport).expect("pnet reads the UDP header");
        let checksum = udp::ipv4_checksum(&datagram, &source, &destination);
        assert_eq!(usize::from(datagram.get_length()), transport.len());
        assert_eq!(datagram.get_checksum(), nonzero(checksum), "UDP checksum");
    }

    let packet = wire::Ipv4Packet::new_checked(octets).expect("smoltcp reads the IPv4 header");
    assert!(packet.verify_checksum(), "smoltcp: IPv4 checksum");
    let addresses = (packet.src_addr().into(), packet.dst_addr().into());
    read_transport(packet.next_header(), packet.payload(), addresses);
}

fn read_v6(octets: &[u8], header_len: usize) {
    let packet = ipv6::Ipv6Packet::new(octets).expect("pnet reads the IPv6 header");
    assert_eq!(usize::from(packet.get_payload_length()), octets.len() - 40);
    let (source, destination) = (packet.get_source(), packet.get_destination());
    let transport = &octets[header_len..];
    let has_extensions = header_len > 40;
    let protocol = if has_extensions { octets[header_len - 8] } else { octets[6] };
    if protocol == 6 {
        let segment = tcp::TcpPacket::new(transport).expect("pnet reads the TCP header");
        let checksum = tcp::ipv6_checksum(&segment, &source, &destination);
        assert_eq!(segment.get_checksum(), checksum, "TCP checksum");
    } else {
        let datagram = udp::UdpPacket::new(transport).expect("pnet reads the UDP header");
        let checksum = udp::ipv6_checksum(&datagram, &source, &destination);
        assert_eq!(usize::from(datagram.get_length()), transport.len());
        assert_eq!(datagram.get_checksum(), nonzero(checksum), "UDP checksum");
    }

    let packet = wire::Ipv6Packet::new_checked(octets).expect("smoltcp reads the IPv6 header");
    if !has_extensions {
        let addresses = (packet.src_addr().into(), packet.dst_addr().into());
        read_transport(packet.next_header(), packet.payload(), addresses);
    }
}

fn read_transport(
    protocol: wire::IpProtocol,
    octets: &[u8],
    (source, destination): (wire::IpAddress, wire::IpAddress),
) {
    if protocol == wire::IpProtocol::Tcp {
        let segment = wire::TcpPacket::new_checked(octets).expect("smoltcp reads the TCP header");
        assert!(segment.verify_checksum(&source, &destination), "smoltcp: TCP checksum");
    } else {
        let datagram = wire::UdpPacket::new_checked(octets).expect("smoltcp reads the UDP header");
        assert!(datagram.verify_checksum(&source, &destination), "smoltcp: UDP checksum");
    }
}

fn nonzero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}
