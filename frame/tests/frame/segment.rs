//! Segmentation against frames made from scratch, read back by pnet and smoltcp.

use crate::frames::{ACK, CWR, ECE, FIN, PSH, Spec};
use crate::reading::assert_well_formed;
use proptest::prelude::*;
use weft_frame::packet::MAX_HEADER;
use weft_frame::segment::MAX_SEGMENTS;
use weft_frame::{Offload, Segments, Superframe, complete_checksum};

prop_compose! {
    /// A segment size and a payload that takes at least two segments of it.
    fn any_size()(
        gso_size in prop_oneof![48_usize..1500, 1400_usize..1461, Just(8948)],
        most in prop_oneof![2_usize..6, 2_usize..100],
    )(
        payload_len in gso_size + 1..=(gso_size * most).min(65_300),
        gso_size in Just(gso_size),
    ) -> (usize, usize) {
        (gso_size, payload_len)
    }
}

prop_compose! {
    /// Any superframe that a kernel could hand over, without options of IP, and its segment size.
    pub(crate) fn any_superframe()(
        (v6, udp, dont_fragment) in any::<(bool, bool, bool)>(),
        tags in prop::collection::vec(any::<u16>(), 0..3),
        flags in prop::sample::subsequence(vec![FIN, PSH, ECE, CWR], 0..=4),
        (identification, sequence, traffic_class, fill) in any::<(u16, u32, u8, u8)>(),
        has_options: bool,
        (gso_size, payload_len) in any_size(),
    ) -> (Spec, usize) {
        let base = if udp { Spec::udp_v4(payload_len) } else { Spec::tcp_v4(payload_len) };
        let flags = flags.iter().fold(ACK, |flags, flag| flags | flag);
        let mut spec = Spec { v6, dont_fragment, tags, identification, sequence, ..base };
        spec.traffic_class = traffic_class;
        spec.flags = if udp { 0 } else { flags };
        if !has_options {
            spec.tcp_options.clear();
        }
        // Runs of one value make checksums that are zero or all ones now and then.
        if fill < 64 {
            spec.payload.fill(if fill < 32 { 0 } else { 0xff });
        }
        (spec, gso_size)
    }
}

/// The superframe's measures, which must be found in it.
pub(crate) fn superframe(spec: &Spec, gso_size: usize) -> Superframe {
    match spec.virtio(gso_size).check(&spec.superframe()) {
        Ok(Offload::Segment(superframe)) => superframe,
        other => panic!("{other:?} in place of a superframe"),
    }
}

fn written(segments: &Segments<'_>, index: usize) -> Vec<u8> {
    let mut out = vec![0xee; 66_000];
    let len = segments.write(index, &mut out).expect("the segment fits");
    out.truncate(len);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn segments_are_the_frames_one_would_make_from_scratch((spec, gso_size) in any_superframe()) {
        prop_assume!(!spec.udp || spec.payload.len().div_ceil(gso_size) <= 128);
        let frame = spec.superframe();
        let segments = Segments::new(superframe(&spec, gso_size), &frame);
        let expected = spec.segments(gso_size);
        prop_assert_eq!(segments.count(), expected.len());
        for (index, expected) in expected.iter().enumerate() {
            let got = written(&segments, index);
            prop_assert!(got == expected.frame(), "segment {index} of {expected:?}");
            assert_well_formed(&got, spec.l3(), spec.l4());
        }
    }

    #[test]
    fn headers_and_payload_ranges_put_together_are_the_whole_frames(
        (spec, gso_size) in any_superframe(),
    ) {
        prop_assume!(!spec.udp || spec.payload.len().div_ceil(gso_size) <= 128);
        let frame = spec.superframe();
        let segments = Segments::new(superframe(&spec, gso_size), &frame);
        let mut payload = Vec::new();
        for index in 0..segments.count() {
            let mut header = [0xee; MAX_HEADER];
            let (len, range) = segments.write_header(index, &mut header).expect("it fits");
            let together = [&header[..len], &frame[range.clone()]].concat();
            prop_assert_eq!(together, written(&segments, index));
            payload.extend_from_slice(&frame[range]);
        }
        prop_assert_eq!(payload, spec.payload);
    }

    #[test]
    fn a_completed_checksum_is_right(
        (mut spec, _) in any_superframe(),
        payload in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        spec.payload = payload;
        let mut frame = spec.superframe();
        let offload = spec.virtio(65_000).check(&frame);
        let Ok(Offload::Checksum { start, offset }) = offload else {
            return Err(TestCaseError::fail(format!("{offload:?}")));
        };
        prop_assert!(complete_checksum(start, offset, &mut frame));
        prop_assert_eq!(&frame, &spec.frame());
        assert_well_formed(&frame, spec.l3(), spec.l4());
    }
}

#[test]
fn options_and_extension_headers_are_on_every_segment() {
    for spec in [
        Spec { network_options: vec![1, 1, 1, 0], ..Spec::tcp_v4(5000) },
        Spec { network_options: vec![0; 16], ..Spec::tcp_v4(5000).v6() },
        Spec { network_options: vec![0; 8], ..Spec::udp_v4(5000).v6() },
    ] {
        let frame = spec.superframe();
        let segments = Segments::new(superframe(&spec, 999), &frame);
        for (index, expected) in spec.segments(999).iter().enumerate() {
            let got = written(&segments, index);
            assert_eq!(got, expected.frame());
            if spec.v6 {
                assert_well_formed(&got, spec.l3(), spec.l4());
            }
        }
    }
}

#[test]
fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
    // The first datagram's two free octets are chosen so that everything else cancels out.
    let mut spec = Spec { payload: vec![0; 20], ..Spec::udp_v4(20) };
    let first = spec.segments(12).remove(0).frame();
    spec.payload[..2].copy_from_slice(&first[40..42]);
    let frame = spec.superframe();
    let segments = Segments::new(superframe(&spec, 12), &frame);
    let got = written(&segments, 0);
    assert_eq!(got[40..42], [0xff, 0xff]);
    assert_well_formed(&got, 14, 34);
    // The same in an ordinary frame, whose checksum only is unfinished.
    let first = spec.segments(12).remove(0);
    let mut frame = first.superframe();
    assert!(complete_checksum(34, 6, &mut frame));
    assert_eq!(frame, got);
}

#[test]
fn the_largest_superframes_and_the_smallest_segments_stay_within_every_length_field() {
    let v4 = Spec { tcp_options: vec![], ..Spec::tcp_v4(65_535 - 40) };
    let v6 = Spec { tcp_options: vec![], ..Spec::tcp_v4(65_535 - 20) }.v6();
    for (spec, gso_size) in [(&v4, 48), (&v4, 65_494), (&v6, 48), (&v6, 65_514)] {
        let frame = spec.superframe();
        let segments = Segments::new(superframe(spec, gso_size), &frame);
        assert!(segments.count() <= MAX_SEGMENTS);
        let expected = spec.segments(gso_size);
        for index in [0, segments.count() - 1] {
            let got = written(&segments, index);
            assert_eq!(got, expected[index].frame());
            assert_well_formed(&got, spec.l3(), spec.l4());
        }
    }
}

#[test]
fn there_is_nothing_beyond_the_last_segment_or_without_room() {
    let spec = Spec::tcp_v4(3000);
    let frame = spec.superframe();
    let segments = Segments::new(superframe(&spec, 1448), &frame);
    let mut out = [0; 2000];
    assert_eq!(segments.write(0, &mut out), Some(66 + 1448));
    assert_eq!(segments.write(3, &mut out), None);
    assert_eq!(segments.write_header(usize::MAX, &mut out), None);
    assert_eq!(segments.write(0, &mut out[..66 + 1447]), None);
    assert_eq!(segments.write_header(0, &mut out[..65]), None);

    let shorter = Segments::new(superframe(&spec, 1448), &frame[..100]);
    assert_eq!((shorter.count(), shorter.write(0, &mut out)), (0, None));
}

#[test]
fn a_checksum_field_outside_the_frame_is_left_alone() {
    let mut frame = Spec::udp_v4(10).superframe();
    let before = frame.clone();
    for (start, offset) in [(52, 0), (51, 0), (34, 17), (usize::MAX, 6), (34, usize::MAX)] {
        assert!(!complete_checksum(start, offset, &mut frame));
    }
    assert_eq!(frame, before);
}
