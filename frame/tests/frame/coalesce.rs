//! Coalescing against segmentation, and against every way in which a frame may not belong.

use crate::frames::{ACK, CWR, ECE, FIN, PSH, SYN, Spec, URG};
use crate::segment::{any_superframe, superframe};
use proptest::prelude::*;
use weft_frame::coalesce::{Checksum, Coalescer, Offer, coalesce};
use weft_frame::{Offload, Segments};

/// Changes one thing about a frame.
type Change = fn(&mut Spec);

fn segmented(spec: &Spec, gso_size: usize) -> Vec<Vec<u8>> {
    let frame = spec.superframe();
    let segments = Segments::new(superframe(spec, gso_size), &frame);
    let mut out = vec![0; 66_000];
    let write = |index| segments.write(index, &mut out).map(|len| out[..len].to_vec());
    (0..segments.count()).map_while(write).collect()
}

fn coalesced(frames: &[Vec<u8>]) -> Option<(weft_frame::VirtioHeader, Vec<u8>)> {
    let frames: Vec<_> = frames.iter().map(Vec::as_slice).collect();
    let mut out = vec![0xee; 66_000];
    let (virtio, len) = coalesce(&frames, &mut out)?;
    out.truncate(len);
    Some((virtio, out))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_was_segmented_is_coalesced_again((spec, gso_size) in any_superframe()) {
        let count = spec.payload.len().div_ceil(gso_size);
        prop_assume!(!spec.udp || count <= 64);
        let (virtio, frame) = coalesced(&segmented(&spec, gso_size)).expect("they belong together");
        prop_assert_eq!(virtio, spec.virtio(gso_size));
        prop_assert!(frame == spec.superframe());
        prop_assert!(matches!(virtio.check(&frame), Ok(Offload::Segment(_))));
    }

    /// Of a stream of frames that belong together or not, nothing is lost, added or reordered.
    #[test]
    fn coalescing_any_stream_and_segmenting_it_again_changes_nothing(
        steps in prop::collection::vec((0_u8..20, 1_usize..4), 1..40),
    ) {
        let mut next = Spec::tcp_v4(0);
        let mut stream = Vec::new();
        for (change, quarters) in steps {
            next.flags = match change { 0 => ACK | PSH, 1 => ACK | FIN, 2 => ACK | ECE, _ => ACK };
            next.window = if change == 3 { next.window ^ 1 } else { next.window };
            next.sequence = next.sequence.wrapping_add(if change == 4 { 7 } else { 0 });
            next.payload = vec![change; if change > 8 { 400 } else { quarters * 100 }];
            if change == 5 {
                next.payload.clear();
            }
            stream.push(next.frame());
            next.sequence = next.sequence.wrapping_add(next.payload.len() as u32);
            next.identification = next.identification.wrapping_add(1);
        }
        prop_assert_eq!(through_a_coalescer(&stream, 7), stream);
    }
}

/// Coalesces as a tunnel's receiver does, then segments everything again.
fn through_a_coalescer(stream: &[Vec<u8>], max_frames: usize) -> Vec<Vec<u8>> {
    let mut coalescer = Coalescer::new(max_frames);
    let (mut out, mut held) = (Vec::new(), Vec::new());
    for frame in stream {
        loop {
            match coalescer.offer(frame, Checksum::Unverified) {
                Offer::First(range) | Offer::Next(range) => {
                    held.push((frame.clone(), range));
                    break;
                }
                Offer::Flush => flush(&mut coalescer, &mut held, &mut out),
                Offer::Alone => {
                    out.push(frame.clone());
                    break;
                }
            }
        }
        assert!(coalescer.frames() == held.len() && held.len() <= max_frames);
    }
    flush(&mut coalescer, &mut held, &mut out);
    out
}

fn flush(
    coalescer: &mut Coalescer,
    held: &mut Vec<(Vec<u8>, std::ops::Range<usize>)>,
    out: &mut Vec<Vec<u8>>,
) {
    let Some(merged) = coalescer.finish() else {
        out.extend(held.drain(..).map(|(frame, _)| frame));
        return;
    };
    assert_eq!(merged.frames, held.len());
    let mut frame = merged.header.to_vec();
    for (piece, range) in held.drain(..) {
        frame.extend_from_slice(&piece[range]);
    }
    assert_eq!(merged.len, frame.len());
    let Ok(Offload::Segment(superframe)) = merged.virtio.check(&frame) else {
        panic!("{:?} does not describe what was coalesced", merged.virtio);
    };
    let segments = Segments::new(superframe, &frame);
    for index in 0..segments.count() {
        let mut piece = vec![0; 2000];
        let len = segments.write(index, &mut piece).expect("it fits");
        out.push(piece[..len].to_vec());
    }
}

#[test]
fn a_frame_that_differs_where_it_must_not_is_not_appended() {
    let first = || Spec { flags: ACK, ..Spec::tcp_v4(1000) };
    let second = || Spec { identification: 0x1235, sequence: 0x0102_0304 + 1000, ..first() };
    let changes: [(&str, Change); 23] = [
        ("tag", |spec| spec.tags = vec![1]),
        ("version", |spec| spec.v6 = true),
        ("protocol", |spec| (spec.udp, spec.tcp_options) = (true, vec![])),
        ("traffic class", |spec| spec.traffic_class = 1),
        ("hop limit", |spec| spec.hop_limit = 63),
        ("identification", |spec| spec.identification += 1),
        ("don't fragment", |spec| spec.dont_fragment = false),
        ("source port", |spec| spec.ports.0 += 1),
        ("destination port", |spec| spec.ports.1 += 1),
        ("sequence", |spec| spec.sequence += 1),
        ("sequence", |spec| spec.sequence -= 1),
        ("acknowledgement", |spec| spec.acknowledgement += 1),
        ("window", |spec| spec.window += 1),
        ("time stamp", |spec| spec.tcp_options[11] ^= 1),
        ("options' length", |spec| spec.tcp_options.extend([1; 4])),
        ("SYN", |spec| spec.flags |= SYN),
        ("URG", |spec| spec.flags |= URG),
        ("RST", |spec| spec.flags |= 4),
        ("ECE", |spec| spec.flags |= ECE),
        ("CWR", |spec| spec.flags |= CWR),
        ("no ACK", |spec| spec.flags = 0),
        ("longer", |spec| spec.payload.push(0)),
        ("empty", |spec| spec.payload.clear()),
    ];
    assert!(coalesced(&[first().frame(), second().frame()]).is_some());
    for (what, change) in changes {
        let mut other = second();
        change(&mut other);
        let mut coalescer = Coalescer::new(64).with_datagrams();
        coalescer.offer(&first().frame(), Checksum::Unverified);
        let offer = coalescer.offer(&other.frame(), Checksum::Unverified);
        assert_eq!((offer, coalescer.frames()), (Offer::Flush, 1), "{what}");
        assert!(coalescer.finish().is_none(), "a single frame goes out as it came");
    }
}

#[test]
fn a_frame_with_a_wrong_checksum_is_never_coalesced() {
    let frames = segmented(&Spec::tcp_v4(3000), 1000);
    for at in [24, 50, 66, 1065] {
        let mut broken = frames.clone();
        broken[1][at] ^= 0x10;
        let mut coalescer = Coalescer::new(64);
        assert_eq!(coalescer.offer(&frames[0], Checksum::Unverified), Offer::First(66..1066));
        assert_eq!(coalescer.offer(&broken[1], Checksum::Unverified), Offer::Flush, "octet {at}");
        coalescer.finish();
        assert_eq!(coalescer.offer(&broken[1], Checksum::Unverified), Offer::Alone, "octet {at}");
    }
    // The caller's word about the transport checksum is taken, for partial ones.
    let mut coalescer = Coalescer::new(64);
    let partial = Spec { flags: ACK, ..Spec::tcp_v4(10) }.superframe();
    assert_eq!(coalescer.offer(&partial, Checksum::Unverified), Offer::Alone);
    assert_eq!(coalescer.offer(&partial, Checksum::Verified), Offer::First(66..76));
}

#[test]
fn a_shorter_frame_a_push_or_a_full_house_ends_a_superframe() {
    let mut frames = segmented(&Spec { flags: ACK, ..Spec::tcp_v4(5000) }, 1000);
    let offers = |frames: &[Vec<u8>], max_frames| {
        let mut coalescer = Coalescer::new(max_frames);
        for frame in frames {
            if coalescer.offer(frame, Checksum::Unverified) == Offer::Flush {
                break;
            }
        }
        coalescer.frames()
    };
    assert_eq!(offers(&frames, 64), 5);
    assert_eq!(offers(&frames, 3), 3);
    // As if the third had been pushed.
    let pushed = Spec { flags: ACK | PSH, ..Spec::tcp_v4(3000) };
    frames[2] = segmented(&pushed, 1000).remove(2);
    assert_eq!(offers(&frames, 64), 3);
    let shorter = Spec { flags: ACK, ..Spec::tcp_v4(2999) };
    frames[2] = segmented(&shorter, 1000).remove(2);
    assert_eq!(offers(&frames, 64), 3);
}

#[test]
fn an_identification_may_stand_still_only_with_dont_fragment() {
    for (dont_fragment, belongs) in [(true, true), (false, false)] {
        let base = Spec { flags: ACK, dont_fragment, identification: 0, ..Spec::tcp_v4(100) };
        let next = |index: u32| Spec { sequence: base.sequence + 100 * index, ..base.clone() };
        let frames: Vec<_> = (0..3).map(|index| next(index).frame()).collect();
        assert_eq!(coalesced(&frames).is_some(), belongs);
        // It must not begin to move afterwards.
        let moved = Spec { identification: 2, ..next(2) };
        assert!(coalesced(&[frames[0].clone(), frames[1].clone(), moved.frame()]).is_none());
    }
}

#[test]
fn no_length_field_overflows() {
    let spec = Spec { flags: ACK, tcp_options: vec![], ..Spec::tcp_v4(65_000) };
    for spec in [spec.clone(), spec.v6()] {
        let mut coalescer = Coalescer::new(1000);
        let mut next = Spec { payload: vec![1; 1000], ..spec };
        while coalescer.offer(&next.frame(), Checksum::Unverified) != Offer::Flush {
            next.sequence += 1000;
            next.identification += 1;
        }
        assert_eq!(coalescer.frames(), 65);
    }
}

#[test]
fn padding_behind_a_short_packet_is_left_out() {
    let base = Spec { flags: ACK, tcp_options: vec![], ..Spec::tcp_v4(2) };
    let next = Spec { sequence: base.sequence + 2, identification: 0x1235, ..base.clone() };
    let mut frames = [base.frame(), next.frame()];
    for frame in &mut frames {
        frame.resize(60, 0);
    }
    let (_, whole) = coalesced(&frames).unwrap();
    assert_eq!(whole.len(), 54 + 4);
}

#[test]
fn datagrams_are_coalesced_only_on_request_and_only_with_a_checksum() {
    let frame = Spec::udp_v4(100).frame();
    assert_eq!(Coalescer::new(64).offer(&frame, Checksum::Unverified), Offer::Alone);
    let mut coalescer = Coalescer::new(64).with_datagrams();
    assert_eq!(coalescer.offer(&frame, Checksum::Unverified), Offer::First(42..142));

    let mut bare = frame.clone();
    bare[40..42].fill(0);
    let mut coalescer = Coalescer::new(64).with_datagrams();
    assert_eq!(coalescer.offer(&bare, Checksum::Verified), Offer::Alone);
}
