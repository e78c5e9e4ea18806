//! Anything at all, and honest frames with something wrong in them.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use weft_frame::Packet;
use weft_gateway::station::errors::Error;
use weft_gateway::station::{Config, Return, Station, Verdict, reset};
use weft_switch::{Instant, StormControl};

use crate::frames::*;
use crate::vectors::{VECTORS, vector};

/// Puts the checksums of `frame` right, so that what was changed gets past them.
fn repair(frame: &mut [u8]) {
    let Some(packet) = Packet::parse(frame) else { return };
    if frame[12] == 8 {
        frame[24..26].fill(0);
        let sum = weft_frame::checksum::checksum(&frame[14..packet.l4]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    let at = packet.l4
        + match packet.protocol {
            1 | 58 => 2,
            17 => 6,
            _ => return,
        };
    if at + 2 > packet.end {
        return;
    }
    frame[at..at + 2].fill(0);
    let length = (packet.end - packet.l4) as u16;
    let pseudo = packet.pseudo_header(frame, length).unwrap();
    let sum = weft_frame::checksum::Sum::of(&frame[packet.l4..packet.end]);
    let sum = if packet.protocol == 1 { sum } else { sum + pseudo };
    frame[at..at + 2].copy_from_slice(&sum.checksum().to_be_bytes());
}

/// Does with a frame whatever a flow might do; `handle` checks what it is answered with.
fn offer(station: &Station, frame: &[u8]) {
    let (verdict, _) = handle(station, frame);
    if let Verdict::Resolve(packet) = verdict {
        let way = Return::of(frame, &packet).unwrap();
        let _ = crate::dns::decide(&frame[packet.payload..packet.end]);
        assert!(way.room(station) < usize::from(station.config().mtu));
    }
    let Some(packet) = Packet::parse(frame) else { return };
    let mut out = Vec::new();
    let bucket = StormControl::new(1, 1);
    let errors = [Error::TimeExceeded, Error::TooBig { mtu: 1280 }, Error::PortUnreachable];
    for error in errors {
        let now = (&bucket, Instant::START);
        let _ = station.error(frame, &packet, error, now, &mut out);
    }
    let _ = reset::write(GATEWAY, frame, &packet, &mut out);
    assert!(out.len() <= 1280 + 14 + 54 + 20, "{}", out.len());
}

fn stations() -> [Station; 2] {
    let bare = Config {
        addresses: Vec::new(),
        mtu: 576,
        search: String::new(),
        leads_out: false,
        dns: true,
        ..config()
    };
    [station(), Station::new(bare).unwrap()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn no_octets_cause_a_panic(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        for station in stations() {
            offer(&station, &octets);
        }
    }

    #[test]
    fn no_change_to_an_honest_frame_causes_one(
        which in 0..VECTORS.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut frame = vector(VECTORS[which].0);
        for (at, value) in edits {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len()) + 1);
        }
        repair(&mut frame);
        for station in stations() {
            offer(&station, &frame);
        }
    }

    /// Behind right headers, anything may stand where a message of each protocol would.
    #[test]
    fn no_message_causes_one(
        body in prop::collection::vec(any::<u8>(), 4..300),
        kind in prop::sample::select(vec![133_u8, 134, 135, 136, 137, 128, 1, 8, 3]),
        port in prop::sample::select(vec![53_u16, 67, 547, 9]),
    ) {
        let mut message = body.clone();
        message[0] = kind;
        message[1] = 0;
        message[2..4].fill(0);
        let all: Ipv6Addr = "ff02::1:2".parse().unwrap();
        let us = GATEWAY.link_local();
        let them = GUEST.link_local();
        let nobody = Ipv4Addr::UNSPECIFIED.into();
        let frames = [
            v4(GATEWAY, (GUEST_V4, GATEWAY_V4), 1, &icmp(&message)),
            v6(GATEWAY, (them, us), (58, 255), &icmp_v6(them, us, &message)),
            udp(EVERYBODY, nobody, Ipv4Addr::BROADCAST.into(), (68, port), &body),
            udp(GATEWAY, GUEST_V4.into(), GATEWAY_V4.into(), (4000, port), &body),
            udp(group_mac(all), them.into(), all.into(), (546, port), &body),
        ];
        for station in stations() {
            for frame in &frames {
                offer(&station, frame);
            }
        }
    }
}
