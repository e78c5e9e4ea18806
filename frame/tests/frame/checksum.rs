//! The checksum against one word at a time, and against pnet.

use crate::frames::naive_sum;
use proptest::prelude::*;
use weft_frame::checksum::{self, Sum};

proptest! {
    #[test]
    fn any_octets_at_any_alignment_sum_as_one_word_at_a_time(
        octets in prop::collection::vec(any::<u8>(), 0..600),
        skip in 0_usize..8,
    ) {
        let octets = octets.get(skip..).unwrap_or_default();
        prop_assert_eq!(Sum::of(octets).to_partial(), naive_sum(octets));
        // Of nothing at all pnet says zero.
        if !octets.is_empty() {
            let pnet = pnet_packet::util::checksum(octets, usize::MAX);
            prop_assert_eq!(checksum::checksum(octets), pnet);
        }
    }

    #[test]
    fn a_sum_is_the_sum_of_its_pieces(
        octets in prop::collection::vec(any::<u8>(), 0..600),
        at in 0_usize..600,
    ) {
        let (head, tail) = octets.split_at(at.min(octets.len()));
        let tail = if head.len() % 2 == 0 { Sum::of(tail) } else { Sum::of(tail).at_odd_offset() };
        prop_assert_eq!(Sum::of(head) + tail, Sum::of(&octets));
    }

    #[test]
    fn an_updated_checksum_is_the_one_computed_anew(
        mut octets in prop::collection::vec(any::<u8>(), 20..64),
        address: u32,
        port: u16,
    ) {
        octets.truncate(octets.len() & !1);
        // A header is never all zeros, which is the one case where two zeros would differ.
        octets[0] |= 0x40;
        let before = checksum::checksum(&octets);
        let old = Sum::of(&octets[4..8]) + Sum::of(&octets[10..12]);
        octets[4..8].copy_from_slice(&address.to_be_bytes());
        octets[10..12].copy_from_slice(&port.to_be_bytes());
        let new = Sum::of_u32(address) + Sum::of_u16(port);
        prop_assert_eq!(checksum::update(before, old, new), checksum::checksum(&octets));
    }
}

#[test]
fn long_runs_of_ones_do_not_overflow_the_lanes() {
    for len in [64, 65, 1400, 65_535, 1 << 20] {
        let octets = vec![0xff; len];
        assert_eq!(Sum::of(&octets).to_partial(), naive_sum(&octets), "{len} octets");
    }
}

#[test]
fn pseudo_headers_are_summed_like_their_octets() {
    let (source, destination) = ([192, 0, 2, 1], [198, 51, 100, 2]);
    let octets = [&source[..], &destination, &[0, 17, 0x12, 0x34]].concat();
    let sum = checksum::pseudo_header_v4(source, destination, 17, 0x1234);
    assert_eq!(sum, Sum::of(&octets));

    let (source, destination) = ([0x20; 16], [0xfe; 16]);
    let octets = [&source[..], &destination, &[0, 1, 0x12, 0x34, 0, 0, 0, 6]].concat();
    let sum = checksum::pseudo_header_v6(source, destination, 6, 0x1_1234);
    assert_eq!(sum, Sum::of(&octets));
}
