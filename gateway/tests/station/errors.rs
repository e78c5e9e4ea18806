//! What the gateway says when a packet goes nowhere.

use std::net::Ipv6Addr;

use weft_frame::{MacAddr, Packet};
use weft_gateway::station::errors::{self, Error};
use weft_gateway::station::{Addresses, Drop, Envelope, Return, reset};
use weft_switch::{Instant, StormControl};

use crate::frames::*;
use crate::reading::{assert_well_formed, udp_payload};

const NOW: Instant = Instant::from_seconds(9);

fn told(frame: &[u8], error: Error) -> Result<Vec<u8>, Drop> {
    let packet = Packet::parse(frame).unwrap();
    let bucket = StormControl::new(10, 10);
    let mut out = Vec::new();
    station().error(frame, &packet, error, (&bucket, NOW), &mut out)?;
    assert_well_formed(&out);
    assert_eq!(out[..12], [GUEST.0, GATEWAY.0].concat());
    Ok(out)
}

fn out_v4(protocol: u8, transport: &[u8]) -> Vec<u8> {
    v4(GATEWAY, (GUEST_V4, OUTSIDE_V4), protocol, transport)
}

fn out_v6(protocol: u8, transport: &[u8]) -> Vec<u8> {
    v6(GATEWAY, (GUEST_V6, OUTSIDE_V6), (protocol, 64), transport)
}

#[test]
#[rustfmt::skip]
fn errors_have_the_codes_of_their_family_and_quote_the_packet() {
    let cases = [
        // error                          IPv4     IPv6    last two octets, each
        (Error::NetworkUnreachable,       (3, 0),  (1, 0), 0,    0),
        (Error::HostUnreachable,          (3, 1),  (1, 3), 0,    0),
        (Error::ProtocolUnreachable,      (3, 2),  (4, 1), 0,    6),
        (Error::PortUnreachable,          (3, 3),  (1, 4), 0,    0),
        (Error::Prohibited,               (3, 13), (1, 1), 0,    0),
        (Error::TooBig { mtu: 1280 },     (3, 4),  (2, 0), 1280, 1280),
        (Error::TimeExceeded,             (11, 0), (3, 0), 0,    0),
        (Error::ReassemblyTimeExceeded,   (11, 1), (3, 1), 0,    0),
    ];
    for (error, in_v4, in_v6, value_v4, value_v6) in cases {
        let frame = out_v4(17, b"what was sent, 8 octets and more");
        let answer = told(&frame, error).unwrap();
        assert_eq!((answer[34], answer[35]), in_v4, "{error:?}");
        assert_eq!(answer[38..42], u32::from(value_v4 as u16).to_be_bytes(), "{error:?}");
        assert_eq!(answer[42..], frame[14..], "{error:?}");
        assert_eq!(answer[26..34], [GATEWAY_V4.octets(), GUEST_V4.octets()].concat());

        let frame = out_v6(17, b"what was sent, 8 octets and more");
        let answer = told(&frame, error).unwrap();
        assert_eq!((answer[54], answer[55]), in_v6, "{error:?}");
        assert_eq!(answer[58..62], u32::from(value_v6 as u16).to_be_bytes(), "{error:?}");
        assert_eq!(answer[62..], frame[14..], "{error:?}");
        assert_eq!(answer[22..54], [GATEWAY_V6.octets(), GUEST_V6.octets()].concat());
    }
}

#[test]
fn a_long_packet_is_quoted_as_far_as_every_host_takes() {
    let long = vec![7; 1300];
    assert_eq!(told(&out_v4(17, &long), Error::PortUnreachable).unwrap().len(), 14 + 576);
    assert_eq!(told(&out_v6(17, &long), Error::PortUnreachable).unwrap().len(), 14 + 1280);
}

#[test]
fn some_packets_are_never_answered_with_an_error() {
    let silent = |frame: &[u8]| told(frame, Error::TimeExceeded) == Err(Drop::NoErrorDue);
    let fragment = |offset: u16| {
        v4_with((GATEWAY, &[]), (GUEST_V4, OUTSIDE_V4), 17, offset, b"a piece of a datagram")
    };
    let fragment_v6 = |offset: u16| {
        let [high, low] = offset.to_be_bytes();
        out_v6(44, &[&[17, 0, high, low, 0, 0, 0, 1][..], b"a piece of a datagram"].concat())
    };
    let group: Ipv6Addr = "ff0e::5".parse().unwrap();
    let shouted = v6(group_mac(group), (GUEST_V6, group), (17, 64), b"12345678");
    assert!(silent(&out_v4(1, &icmp(&[3, 1, 0, 0, 0, 0, 0, 0]))), "an error");
    assert!(silent(&out_v4(1, &icmp(&[5, 0, 0, 0, 0, 0, 0, 0]))), "a redirect");
    assert!(silent(&out_v4(1, &[])), "nothing");
    assert!(!silent(&out_v4(1, &icmp(&[8, 0, 0, 0, 0, 0, 0, 0]))), "an echo");
    assert!(silent(&out_v6(58, &[1, 0, 0, 0])), "an ICMPv6 error");
    assert!(!silent(&out_v6(58, &[128, 0, 0, 0])), "an ICMPv6 echo");
    assert!(silent(&fragment(0x2001)), "a later fragment");
    assert!(!silent(&fragment(0x2000)), "the first fragment");
    assert!(silent(&fragment_v6(0x0009)), "a later fragment");
    assert!(!silent(&fragment_v6(0x0001)), "the first fragment");
    assert!(silent(&shouted), "a packet for a group");
    assert!(told(&shouted, Error::TooBig { mtu: 1280 }).is_ok(), "RFC 4443 §2.4 (e.3)");
    let broadcast = v4(EVERYBODY, (GUEST_V4, OUTSIDE_V4), 17, b"12345678");
    assert!(silent(&broadcast), "a frame for everybody");
    let nowhere = v4(GATEWAY, ([0; 4].into(), OUTSIDE_V4), 17, b"12345678");
    assert!(silent(&nowhere), "a packet from nobody");
}

#[test]
fn errors_are_limited_by_their_bucket() {
    let frame = out_v4(17, b"12345678");
    let packet = Packet::parse(&frame).unwrap();
    let bucket = StormControl::new(10, 3);
    let mut out = Vec::new();
    let results: Vec<_> = (0..5)
        .map(|_| station().error(&frame, &packet, Error::TimeExceeded, (&bucket, NOW), &mut out))
        .collect();
    assert_eq!(results[..3], [Ok(()); 3]);
    assert_eq!(results[3..], [Err(Drop::RateLimited); 2]);
}

#[test]
fn an_error_of_somebody_else_comes_from_there() {
    let quote = &out_v4(17, b"12345678")[14..];
    let addresses = Addresses::V4 { source: [198, 51, 100, 1].into(), destination: GUEST_V4 };
    let envelope = Envelope { to: GUEST, from: GATEWAY, addresses, hop_limit: 61 };
    let mut out = Vec::new();
    errors::write(&envelope, Error::TimeExceeded, quote, &mut out);
    assert_well_formed(&out);
    assert_eq!((out[22], &out[26..30], &out[42..]), (61, &[198, 51, 100, 1][..], quote));
}

/// A TCP segment with a payload of three octets.
fn segment(flags: u8) -> Vec<u8> {
    let ports_and_numbers = [[0x9c, 0x40, 0, 80], [0, 0, 1, 0], [0, 0, 2, 0]].concat();
    [&ports_and_numbers[..], &[0x50, flags, 0xff, 0xff, 0, 0, 0, 0], b"abc"].concat()
}

#[test]
fn a_reset_continues_what_it_answers() {
    const SYN: u8 = 2;
    const FIN: u8 = 1;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    let cases = [
        // flags, the reset's number, what it acknowledges, its flags
        (SYN, 0, 0x104, RST | ACK),
        (SYN | FIN, 0, 0x105, RST | ACK),
        (0, 0, 0x103, RST | ACK),
        (ACK, 0x200, 0, RST),
        (SYN | ACK, 0x200, 0, RST),
    ];
    for (flags, number, acknowledged, reply) in cases {
        for (frame, l4) in [(out_v4(6, &segment(flags)), 34), (out_v6(6, &segment(flags)), 54)] {
            let packet = Packet::parse(&frame).unwrap();
            let mut out = Vec::new();
            reset::write(GATEWAY, &frame, &packet, &mut out).unwrap();
            assert_well_formed(&out);
            let words: Vec<u32> = out[l4..l4 + 12]
                .chunks(4)
                .map(|word| u32::from_be_bytes(word.try_into().unwrap()))
                .collect();
            assert_eq!(words, [0x0050_9c40, number, acknowledged], "{flags:#x}");
            assert_eq!((out[l4 + 12], out[l4 + 13]), (0x50, reply), "{flags:#x}");
            assert_eq!(Addresses::of(&out, &Packet::parse(&out).unwrap()), {
                Addresses::of(&frame, &packet).map(Addresses::turned)
            });
        }
    }
    let refuse = |frame: &[u8]| {
        reset::write(GATEWAY, frame, &Packet::parse(frame).unwrap(), &mut Vec::new())
    };
    assert_eq!(refuse(&out_v4(6, &segment(RST))), Err(Drop::NoErrorDue));
    assert_eq!(refuse(&out_v4(17, &segment(0))), Err(Drop::Malformed));
    let fragment = v4_with((GATEWAY, &[]), (GUEST_V4, OUTSIDE_V4), 6, 0x2000, &segment(0));
    assert_eq!(refuse(&fragment), Err(Drop::Fragment));
}

#[test]
fn a_datagram_finds_back_to_where_it_came_from() {
    for frame in [
        udp(GATEWAY, GUEST_V4.into(), GATEWAY_V4.into(), (4000, 53), b"?"),
        udp(GATEWAY, GUEST_V6.into(), GATEWAY_V6.into(), (4000, 53), b"?"),
    ] {
        let way = Return::of(&frame, &Packet::parse(&frame).unwrap()).unwrap();
        let mut out = Vec::new();
        let room = way.room(&station());
        assert!(!way.write(&station(), &vec![0; room + 1], &mut out) && out.is_empty());
        assert!(way.write(&station(), &vec![b'!'; room], &mut out));
        assert_well_formed(&out);
        assert_eq!(out.len(), 14 + usize::from(MTU));
        assert_eq!(udp_payload(&out).len(), room);
        assert_eq!(out[..6], GUEST.0);
        let back = Return::of(&out, &Packet::parse(&out).unwrap()).unwrap();
        assert_eq!((back.from_port, back.to_port), (4000, 53));
        assert_eq!(back.station, MacAddr(GATEWAY.0));
    }
}
