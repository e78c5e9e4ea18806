//! Superframes and the frames that a Linux kernel made of them, recorded; ours must be the same.
//!
//! Each vector was written to a TAP with offloads on one port of a kernel bridge and read from a
//! TAP without them on another, so the kernel's own segmentation ran in between.

use std::path::Path;
use weft_frame::coalesce::coalesce;
use weft_frame::{Offload, Packet, Segments, VirtioHeader};

#[test]
fn segments_are_those_of_the_kernel_and_coalesce_to_what_the_kernel_had() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let frames: Vec<_> = text.split("\n\n").map(octets).collect();
        let (virtio, superframe) = VirtioHeader::parse(&frames[0]).unwrap();
        compare(&path.display().to_string(), virtio, superframe, &frames[1..]);
        seen += 1;
    }
    assert_eq!(seen, 9, "every vector is read");
}

fn compare(name: &str, virtio: VirtioHeader, superframe: &[u8], expected: &[Vec<u8>]) {
    let Ok(Offload::Segment(measures)) = virtio.check(superframe) else {
        panic!("{name} is not found to be a superframe");
    };
    let segments = Segments::new(measures, superframe);
    assert_eq!(segments.count(), expected.len(), "{name}");
    for (index, expected) in expected.iter().enumerate() {
        let mut got = [0; 200];
        let len = segments.write(index, &mut got).expect("it fits");
        assert_eq!(&got[..len], expected, "{name}, segment {index}");
    }

    let has_options = Packet::parse(superframe).expect("it is IP").has_options;
    let frames: Vec<_> = expected.iter().map(Vec::as_slice).collect();
    let mut whole = [0; 400];
    match coalesce(&frames, &mut whole) {
        Some((_, len)) => assert_eq!(&whole[..len], superframe, "{name}"),
        None => assert!(has_options, "{name} is not coalesced"),
    }
}

/// Reads hexadecimal octets; a `#` begins a comment.
fn octets(text: &str) -> Vec<u8> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let octet = |word| u8::from_str_radix(word, 16).expect("an octet in hexadecimal");
    lines.flat_map(str::split_whitespace).map(octet).collect()
}
