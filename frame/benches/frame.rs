//! What the smallest operations cost, beside pnet where it has the same one.

#[expect(dead_code, reason = "the tests' frames; a benchmark needs few of their parts")]
#[path = "../tests/frame/frames.rs"]
mod frames;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use frames::{ACK, Spec};
use pnet_packet::ethernet::EthernetPacket;
use std::hint::black_box;
use weft_frame::checksum::checksum;
use weft_frame::coalesce::{Checksum, Coalescer};
use weft_frame::{Header, Offload, Segments, VirtioHeader};

/// What a TAP of MTU 1500 hands over when its `gso_max_size` suits a tunnel.
const SEGMENTS: usize = 44;
const GSO_SIZE: usize = 1448;

fn checksums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    for len in [64_usize, 1400, 65_000] {
        let octets: Vec<u8> = (0..len).map(|index| (index * 7) as u8).collect();
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_with_input(BenchmarkId::new("weft", len), &octets, |bencher, octets| {
            bencher.iter(|| checksum(black_box(octets)));
        });
        group.bench_with_input(BenchmarkId::new("pnet", len), &octets, |bencher, octets| {
            bencher.iter(|| pnet_packet::util::checksum(black_box(octets), usize::MAX));
        });
    }
    group.finish();
}

fn headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("header");
    let frame = Spec::tcp_v4(1400).frame();
    group.bench_function("weft", |bencher| bencher.iter(|| Header::parse(black_box(&frame))));
    group.bench_function("pnet", |bencher| {
        bencher.iter(|| {
            let packet = EthernetPacket::new(black_box(&frame))?;
            Some((packet.get_destination(), packet.get_source(), packet.get_ethertype()))
        });
    });
    group.finish();
}

fn checks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("check");
    let spec = Spec::tcp_v4(SEGMENTS * GSO_SIZE);
    let frame = spec.superframe();
    let cases = [
        ("none", VirtioHeader::default()),
        ("checksum", VirtioHeader { gso_type: 0, ..spec.virtio(0) }),
        ("superframe", spec.virtio(GSO_SIZE)),
    ];
    for (name, header) in cases {
        group.bench_function(name, |bencher| {
            // What a port does with the answer: it looks which one it is.
            bencher.iter(|| match black_box(&header).check(black_box(&frame)) {
                Ok(Offload::None) => 0,
                Ok(Offload::Checksum { start, .. }) => start,
                Ok(Offload::Segment(superframe)) => superframe.payload(),
                Err(_) => usize::MAX,
            });
        });
    }
    group.finish();
}

fn segments(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("segment, per frame");
    for (name, spec) in [("tcp", Spec::tcp_v4(SEGMENTS * GSO_SIZE)), ("udp", Spec::udp_v4(60_000))]
    {
        let frame = spec.superframe();
        let Ok(Offload::Segment(superframe)) = spec.virtio(GSO_SIZE).check(&frame) else {
            continue;
        };
        group.throughput(Throughput::Elements(superframe.count() as u64));
        let mut out = [0; 2048];
        group.bench_function(BenchmarkId::new("header and range", name), |bencher| {
            bencher.iter(|| {
                let segments = Segments::new(superframe, black_box(&frame));
                for index in 0..segments.count() {
                    black_box(segments.write_header(index, &mut out));
                }
            });
        });
        group.bench_function(BenchmarkId::new("whole frame", name), |bencher| {
            bencher.iter(|| {
                let segments = Segments::new(superframe, black_box(&frame));
                for index in 0..segments.count() {
                    black_box(segments.write(index, &mut out));
                }
            });
        });
    }
    group.finish();
}

fn coalescing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("coalesce, per frame");
    group.throughput(Throughput::Elements(SEGMENTS as u64));
    let spec = Spec { flags: ACK, ..Spec::tcp_v4(SEGMENTS * GSO_SIZE) };
    let frames: Vec<_> = spec.segments(GSO_SIZE).iter().map(Spec::frame).collect();
    for (name, known) in [("unverified", Checksum::Unverified), ("verified", Checksum::Verified)] {
        let mut coalescer = Coalescer::new(SEGMENTS);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for frame in &frames {
                    black_box(coalescer.offer(black_box(frame), known));
                }
                coalescer.finish().map(|merged| merged.len)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, checksums, headers, checks, segments, coalescing);
criterion_main!(benches);
