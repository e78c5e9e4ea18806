//! Nothing that arrives causes a panic or work without bound, and what is accepted holds together.

use crate::frames::{ACK, Spec};
use proptest::prelude::*;
use weft_frame::coalesce::{Checksum, Coalescer, coalesce};
use weft_frame::packet::MAX_HEADER;
use weft_frame::segment::MAX_SEGMENTS;
use weft_frame::{Header, Offload, Packet, Segments, VirtioHeader, complete_checksum};

/// Does everything that this crate can do with a frame.
fn exercise(virtio: VirtioHeader, frame: &[u8]) {
    let header = Header::parse(frame);
    if let Some(packet) = Packet::parse(frame) {
        let header = header.expect("an IP packet has an Ethernet header");
        assert_eq!(packet.l3, header.payload);
        assert!(packet.l3 < packet.l4 && packet.l4 <= packet.payload);
        assert!(packet.payload <= packet.end && packet.end <= frame.len());
    }
    match virtio.check(frame) {
        Ok(Offload::None) | Err(_) => {}
        Ok(Offload::Checksum { start, offset }) => {
            let mut changed = frame.to_vec();
            assert!(complete_checksum(start, offset, &mut changed));
            let l4 = Packet::parse(frame).expect("only packets have checksums").l4;
            assert_eq!(changed[..l4], frame[..l4], "addresses are out of reach");
        }
        Ok(Offload::Segment(superframe)) => {
            let segments = Segments::new(superframe, frame);
            assert!(segments.count() > 1 && segments.count() <= MAX_SEGMENTS);
            let mut payload_len = 0;
            for index in 0..segments.count() {
                let mut header = [0; MAX_HEADER];
                let (len, range) = segments.write_header(index, &mut header).expect("it fits");
                payload_len += range.len();
                assert!(range.len() <= superframe.gso_size() && len == superframe.payload());
            }
            assert_eq!(superframe.payload() + payload_len, frame.len());
        }
    }
    let mut out = vec![0; 2 * frame.len()];
    let _ = coalesce(&[frame, frame], &mut out);
    let mut coalescer = Coalescer::new(8).with_datagrams();
    for _ in 0..3 {
        coalescer.offer(frame, Checksum::Verified);
    }
    coalescer.finish();
}

fn any_virtio() -> impl Strategy<Value = VirtioHeader> {
    let small = prop_oneof![0_u16..200, any::<u16>()];
    let gso_type = prop_oneof![0_u8..6, any::<u8>()];
    (0_u8..4, gso_type, any::<u16>(), small.clone(), small.clone(), small).prop_map(
        |(flags, gso_type, hdr_len, gso_size, csum_start, csum_offset)| VirtioHeader {
            flags,
            gso_type,
            hdr_len,
            gso_size,
            csum_start,
            csum_offset,
            num_buffers: 0,
        },
    )
}

fn any_packet() -> impl Strategy<Value = Spec> {
    let options = prop::sample::select(vec![0_usize, 8, 16, 40]);
    let tags = prop::collection::vec(any::<u16>(), 0..3);
    (any::<(bool, bool)>(), options, tags, 0_usize..3000).prop_map(
        |((v6, udp), options, tags, payload_len)| {
            let base = if udp { Spec::udp_v4(payload_len) } else { Spec::tcp_v4(payload_len) };
            Spec { v6, tags, flags: ACK, network_options: vec![0; options], ..base }
        },
    )
}

proptest! {
    #[test]
    fn any_octets_with_any_claims_are_survived(
        virtio in any_virtio(),
        frame in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        exercise(virtio, &frame);
    }

    #[test]
    fn frames_with_a_few_wrong_octets_and_an_honest_or_any_header_are_survived(
        spec in any_packet(),
        any_header in any_virtio(),
        honest: bool,
        gso_size in 1_usize..1500,
        changes in prop::collection::vec((0_usize..130, any::<u8>()), 0..4),
        keep in prop_oneof![Just(usize::MAX), 0_usize..200],
    ) {
        let mut frame = spec.superframe();
        for (at, value) in changes {
            if let Some(octet) = frame.get_mut(at) {
                *octet = value;
            }
        }
        frame.truncate(keep);
        exercise(if honest { spec.virtio(gso_size) } else { any_header }, &frame);
    }

    #[test]
    fn text_of_any_kind_is_a_mac_address_or_an_error(text in "[0-9a-fA-F:xé-]{0,20}") {
        if let Ok(mac) = text.parse::<weft_frame::MacAddr>() {
            prop_assert_eq!(mac.to_string(), text.to_lowercase().replace('-', ":"));
        }
    }
}
