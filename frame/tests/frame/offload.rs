//! What a virtio-net header may claim, and what is found out.

use crate::frames::{ACK, CWR, Spec};
use weft_frame::virtio::{self, BadOffload, Kind, Offload, VirtioHeader};
use weft_frame::{Packet, packet};

/// Changes one thing about an honest header and frame.
type Lie = fn(&mut VirtioHeader, &mut Vec<u8>);

#[test]
fn an_honest_superframe_is_measured_whatever_its_headers() {
    let tagged = |spec: Spec| Spec { tags: vec![7, 0x2042], ..spec };
    let cases = [
        (Spec::tcp_v4(9000), Kind::TcpV4, 66),
        (Spec::tcp_v4(9000).v6(), Kind::TcpV6, 86),
        (Spec::udp_v4(9000), Kind::UdpV4, 42),
        (Spec::udp_v4(9000).v6(), Kind::UdpV6, 62),
        (tagged(Spec::tcp_v4(9000)), Kind::TcpV4, 74),
        (tagged(Spec::udp_v4(9000).v6()), Kind::UdpV6, 70),
        (Spec { network_options: vec![1; 8], ..Spec::tcp_v4(9000) }, Kind::TcpV4, 74),
        (Spec { network_options: vec![0; 64], ..Spec::tcp_v4(9000).v6() }, Kind::TcpV6, 150),
        (Spec { flags: ACK | CWR, ..Spec::tcp_v4(9000) }, Kind::TcpV4, 66),
    ];
    for (spec, kind, payload) in cases {
        let Ok(Offload::Segment(superframe)) = spec.virtio(1400).check(&spec.superframe()) else {
            panic!("{spec:?} is not found to be a superframe");
        };
        let got = (superframe.kind(), superframe.l3(), superframe.l4(), superframe.payload());
        assert_eq!(got, (kind, spec.l3(), spec.l4(), payload));
        assert_eq!((superframe.gso_size(), superframe.count()), (1400, 7));
        assert_eq!(superframe.ecn(), spec.flags & CWR != 0);
    }
}

#[test]
#[rustfmt::skip]
fn a_lie_about_a_superframe_is_found_out() {
    let cases: [(Lie, BadOffload); 20] = [
        (|header, _| header.gso_type = virtio::GSO_TCPV6,           BadOffload::Protocol),
        (|header, _| header.gso_type = virtio::GSO_UDP_L4,          BadOffload::Protocol),
        (|header, _| header.gso_type = virtio::GSO_UDP,             BadOffload::Type),
        (|header, _| header.gso_type = virtio::GSO_ECN,             BadOffload::Type),
        (|header, _| header.gso_type = 5 | virtio::GSO_ECN,         BadOffload::Type),
        (|header, _| header.gso_type = 0x21,                        BadOffload::Type),
        (|header, _| header.flags = 0,                              BadOffload::Checksum),
        (|header, _| header.csum_start += 2,                        BadOffload::Checksum),
        (|header, _| header.csum_start = 0xffff,                    BadOffload::Checksum),
        (|header, _| header.csum_offset = 6,                        BadOffload::Checksum),
        (|header, _| header.gso_size = 0,                           BadOffload::Size),
        (|header, _| header.gso_size = 0xffff,                      BadOffload::Size),
        (|header, _| header.gso_size = 1,                           BadOffload::TooMany),
        (|_, frame| frame.push(0),                                  BadOffload::Length),
        (|_, frame| frame.truncate(8000),                           BadOffload::Packet),
        (|_, frame| frame[12] = 0x09,                               BadOffload::Packet),
        (|_, frame| frame[14] = 0x46,                               BadOffload::Checksum),
        (|_, frame| frame[46] = 0x40,                               BadOffload::Packet),
        (|_, frame| frame[20] |= 0x20,                              BadOffload::Fragment),
        (|_, frame| frame[21] = 1,                                  BadOffload::Fragment),
    ];
    for (index, (lie, reason)) in cases.into_iter().enumerate() {
        let spec = Spec { tcp_options: vec![1; 20], ..Spec::tcp_v4(9000) };
        let (mut header, mut frame) = (spec.virtio(1400), spec.superframe());
        lie(&mut header, &mut frame);
        assert_eq!(header.check(&frame), Err(reason), "case {index}");
    }
}

#[test]
fn a_datagram_superframe_must_be_as_long_as_its_udp_header_says_and_not_stand_for_too_many() {
    let spec = Spec::udp_v4(9000);
    let mut frame = spec.superframe();
    frame[39] ^= 1;
    assert_eq!(spec.virtio(1400).check(&frame), Err(BadOffload::Length));
    assert_eq!(spec.virtio(70).check(&spec.superframe()), Err(BadOffload::TooMany));
    assert!(matches!(spec.virtio(71).check(&spec.superframe()), Ok(Offload::Segment(_))));
}

#[test]
fn headers_longer_than_the_bound_and_fragments_of_ipv6_are_refused() {
    let spec = Spec { network_options: vec![0; 8], ..Spec::udp_v4(9000).v6() };
    let mut frame = spec.superframe();
    // One destination options header of 256 octets swallows the UDP header and some payload.
    frame[55] = 31;
    frame[54 + 256..54 + 264].copy_from_slice(&[1, 2, 3, 4, 0, 0, 0, 0]);
    let length = (frame.len() - 54 - 256) as u16;
    frame[54 + 260..54 + 262].copy_from_slice(&length.to_be_bytes());
    let header = VirtioHeader { csum_start: 54 + 256, ..spec.virtio(1400) };
    assert_eq!(header.check(&frame), Err(BadOffload::Headers));

    let mut frame = spec.superframe();
    frame[20] = 44;
    frame[57] = 1;
    assert_eq!(spec.virtio(1400).check(&frame), Err(BadOffload::Fragment));
}

#[test]
fn what_one_segment_can_carry_is_an_ordinary_frame_with_an_unfinished_checksum() {
    for spec in [Spec::tcp_v4(1400), Spec::udp_v4(1).v6()] {
        let expected =
            Offload::Checksum { start: spec.l4(), offset: if spec.udp { 6 } else { 16 } };
        assert_eq!(spec.virtio(1400).check(&spec.superframe()), Ok(expected));
    }
}

#[test]
#[rustfmt::skip]
fn an_unfinished_checksum_is_where_the_packet_has_one_or_deeper() {
    let (tcp, udp) = (Spec::tcp_v4(100), Spec::udp_v4(100));
    let cases = [
        // frame start offset allowed
        (&tcp,   34,   16,    true),
        (&udp,   34,   6,     true),
        (&tcp,   34,   6,     false),  // within the TCP header, but another field
        (&tcp,   34,   20,    false),
        (&udp,   34,   16,    false),
        (&tcp,   0,    6,     false),  // the source address
        (&tcp,   14,   10,    false),  // the IPv4 checksum
        (&tcp,   14,   36,    false),
        (&tcp,   36,   14,    false),
        (&udp,   42,   6,     true),   // a tunnel inside
        (&tcp,   66,   98,    true),   // the last two octets
        (&tcp,   66,   99,    false),
        (&tcp,   400,  16,    false),
        (&tcp,   65535, 65535, false),
    ];
    for (spec, csum_start, csum_offset, allowed) in cases {
        let flags = virtio::NEEDS_CSUM;
        let header = VirtioHeader { flags, csum_start, csum_offset, ..VirtioHeader::default() };
        let offload = Offload::Checksum { start: csum_start.into(), offset: csum_offset.into() };
        let expected = if allowed { Ok(offload) } else { Err(BadOffload::Checksum) };
        assert_eq!(header.check(&spec.superframe()), expected, "{csum_start}+{csum_offset}");
    }
}

#[test]
fn a_header_that_claims_nothing_needs_no_packet() {
    for flags in [0, virtio::DATA_VALID] {
        let header =
            VirtioHeader { flags, hdr_len: 0xffff, csum_start: 7, ..VirtioHeader::default() };
        assert_eq!(header.check(&[]), Ok(Offload::None));
    }
    let header = VirtioHeader { flags: virtio::NEEDS_CSUM, ..VirtioHeader::default() };
    assert_eq!(header.check(&[]), Err(BadOffload::Packet));
}

#[test]
fn a_header_is_twelve_little_endian_octets() {
    let header = VirtioHeader {
        flags: 1,
        gso_type: 4,
        hdr_len: 0x0203,
        gso_size: 0x0405,
        csum_start: 0x0607,
        csum_offset: 0x0809,
        num_buffers: 0x0a0b,
    };
    let octets = [1, 4, 3, 2, 5, 4, 7, 6, 9, 8, 0x0b, 0x0a];
    assert_eq!(header.to_bytes(), octets);
    let before_a_frame = [&octets[..], &[0xee; 3]].concat();
    assert_eq!(VirtioHeader::parse(&before_a_frame), Some((header, &[0xee; 3][..])));
    assert_eq!(VirtioHeader::parse(&octets[..11]), None);
}

#[test]
fn an_mtu_limits_the_ip_packet_of_every_frame() {
    let whole = Offload::None;
    assert!(whole.fits(1514, 1500) && !whole.fits(1515, 1500));
    let unfinished = Offload::Checksum { start: 34, offset: 16 };
    assert!(unfinished.fits(1514, 1500) && !unfinished.fits(1515, 1500));
    for (spec, mtu) in [
        (Spec::tcp_v4(20_000), 1452),
        (Spec::udp_v4(20_000), 1428),
        (Spec { tags: vec![1, 2], ..Spec::tcp_v4(20_000).v6() }, 1472),
    ] {
        let offload = spec.virtio(1400).check(&spec.superframe()).unwrap();
        assert!(offload.fits(usize::MAX, mtu) && !offload.fits(0, mtu - 1), "{offload:?}");
    }
}

#[test]
fn a_chain_of_extension_headers_is_followed_up_to_a_bound() {
    for (count, is_packet) in [(0, true), (1, true), (packet::MAX_EXTENSIONS, true), (9, false)] {
        let spec = Spec { network_options: vec![0; 8 * count], ..Spec::udp_v4(10).v6() };
        let found = Packet::parse(&spec.frame()).map(|packet| (packet.l4, packet.protocol));
        assert_eq!(found, is_packet.then_some((spec.l4(), packet::UDP)), "{count} headers");
    }
}

#[test]
fn what_was_found_is_written_as_an_honest_header_and_a_tag_moves_it() {
    let specs = [
        Spec::tcp_v4(9000),
        Spec::tcp_v4(9000).v6(),
        Spec { flags: ACK | CWR, ..Spec::tcp_v4(9000) },
        Spec::udp_v4(9000),
        Spec::udp_v4(9000).v6(),
    ];
    for spec in specs {
        let lying = VirtioHeader { hdr_len: 0xffff, num_buffers: 9, ..spec.virtio(1400) };
        let offload = lying.check(&spec.superframe()).unwrap();
        let header = offload.header(0);
        assert_eq!(header.check(&spec.superframe()), Ok(offload));
        assert!(usize::from(header.hdr_len) < 100 && header.num_buffers == 0);

        let tagged = Spec { tags: vec![50], ..spec };
        let moved = offload.header(4);
        assert_eq!(moved.hdr_len, header.hdr_len + 4);
        let expected = tagged.virtio(1400).check(&tagged.superframe());
        assert_eq!(moved.check(&tagged.superframe()), expected);
    }
    let last = Offload::Checksum { start: 0xffff, offset: 16 };
    assert_eq!(last.header(4).csum_start, 0xffff);
    assert_eq!(Offload::None.header(4), VirtioHeader::default());
}
