//! What a lease and a default subnet cost, in pools that are empty, large or nearly full.
//!
//! The figures of `memory` are printed, not timed.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use ipnetwork::IpNetwork;
use weft_ipam::{
    AddressSpace, DefaultPool, DefaultPools, EndpointId, Family, Holder, Pool, PoolConfig,
};

const MILLION: u64 = 1_000_000;

fn leases(c: &mut Criterion) {
    let mut group = c.benchmark_group("lease");
    group.sample_size(20);
    // Only leases, from an empty pool on; a new pool after each million.
    for subnet in ["10.0.0.0/8", "fd00::/64"] {
        group.bench_function(format!("{subnet} filling to a million"), |b| {
            b.iter_custom(|count| fill(subnet, count));
        });
    }
    // A lease and its release, so that the pool stays as it is.
    for subnet in ["10.0.0.0/8", "fd00::/64"] {
        for leased in [0, MILLION] {
            let mut pool = filled(subnet, leased);
            group.bench_function(format!("{subnet} and release, {leased} leased"), |b| {
                b.iter(|| turn_over(&mut pool));
            });
        }
    }
    // The free address is the one given last: the search goes all the way round.
    let mut pool = full("10.0.0.0/16");
    group.bench_function("10.0.0.0/16 and release, one free", |b| b.iter(|| turn_over(&mut pool)));
    let mut pool = full("10.0.0.0/12");
    group.bench_function("10.0.0.0/12 and release, one free", |b| b.iter(|| turn_over(&mut pool)));
    group.finish();
}

fn defaults(c: &mut Criterion) {
    let base: IpNetwork = "10.0.0.0/8".parse().expect("a subnet");
    let defaults = DefaultPools::new(vec![DefaultPool::new(base, 24).expect("a default pool")]);
    let mut space = AddressSpace::new(10_000);
    for _ in 0..1_000 {
        let subnet = space.allocate_default(&defaults, Family::V4, &[]).expect("65 536 of them");
        space.add(PoolConfig::new(subnet)).expect("it overlaps nothing");
    }
    let routes: Vec<IpNetwork> =
        (0..100).map(|n| format!("192.168.{n}.0/24").parse().expect("a subnet")).collect();
    c.bench_function("allocate_default, 1000 pools, 100 routes", |b| {
        b.iter(|| space.allocate_default(&defaults, Family::V4, black_box(&routes)));
    });
}

fn memory(_: &mut Criterion) {
    for subnet in ["10.0.0.0/8", "fd00::/64"] {
        let octets = filled(subnet, MILLION).memory();
        println!("memory: {subnet}, a million leases in a row: at most {octets} octets");
    }
    let mut pool = filled("fd00::/64", 0);
    let first = u128::from_be_bytes([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for number in 1..=u128::from(MILLION) {
        // An odd multiplier spreads the numbers over the 64 bits without meeting twice.
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) & u128::from(u64::MAX);
        let address = IpAddr::V6((first | spread).into());
        pool.lease_static(address, endpoint()).expect("all are different");
    }
    println!("memory: fd00::/64, a million leases scattered: at most {} octets", pool.memory());
}

fn fill(subnet: &str, count: u64) -> Duration {
    let mut total = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let batch = left.min(MILLION);
        let mut pool = filled(subnet, 0);
        let start = Instant::now();
        for _ in 0..batch {
            black_box(pool.lease(endpoint())).expect("room for a million");
        }
        total += start.elapsed();
        left -= batch;
    }
    total
}

fn turn_over(pool: &mut Pool) {
    let address = pool.lease(endpoint()).expect("one is free");
    pool.release(black_box(address)).expect("it was just leased");
}

fn filled(subnet: &str, leases: u64) -> Pool {
    let subnet = subnet.parse().expect("a subnet");
    let mut pool = Pool::new(PoolConfig::new(subnet)).expect("a pool");
    for _ in 0..leases {
        pool.lease(endpoint()).expect("room for all");
    }
    pool
}

fn full(subnet: &str) -> Pool {
    let mut pool = filled(subnet, 0);
    while pool.lease(endpoint()).is_ok() {}
    let last = pool.last_given().expect("many were given");
    pool.release(last).expect("it was leased");
    pool
}

fn endpoint() -> Holder {
    Holder::Endpoint(EndpointId([7; 32]))
}

criterion_group!(benches, leases, defaults, memory);
criterion_main!(benches);
