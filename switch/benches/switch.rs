//! What a decision costs: the FDB beside std's `HashMap`, and `forward` as a whole.
//!
//! Addresses are visited in an order that follows no table's layout. `cargo bench -p weft-switch`;
//! a word after `--` picks benchmarks by name.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use weft_frame::MacAddr;
use weft_switch::{
    Binding, Fdb, Group, Guard, Instant, NetworkId, PortConfig, PortId, Switch, Topology, Verdict,
};

const T0: Instant = Instant::START;
const HOME: NetworkId = NetworkId(1);
const SIZES: [(&str, u64); 3] = [("1k", 1_000), ("100k", 100_000), ("1M", 1_000_000)];
/// Enough that a share does not bind, whatever the size.
const PORTS: u64 = 200;

/// Scatters the numbers of stations over the addresses of a maker.
fn station(number: u64) -> MacAddr {
    MacAddr::from_u64(0x0200_0000_0000 | (number.wrapping_mul(0x9e37_79b9_7f4b) & 0xff_ffff_ffff))
}

fn port_of(number: u64) -> PortId {
    port(1 + number % PORTS)
}

fn port(number: u64) -> PortId {
    u16::try_from(number).ok().and_then(PortId::new).expect("a port's number")
}

fn full_fdb(stations: u64) -> Fdb {
    let fdb = Fdb::new(stations as usize, stations as usize, 0x5eed);
    for number in 0..stations {
        fdb.learn(station(number), port_of(number), T0);
    }
    fdb
}

/// Names stations in an order that caches cannot foresee.
struct Order {
    state: u64,
    addresses: Vec<(MacAddr, PortId)>,
    mask: usize,
}

impl Order {
    fn new(stations: u64) -> Self {
        let mut state = 0x1234_5678_9abc_def1_u64;
        let len = stations.next_power_of_two();
        let addresses = (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let number = (state >> 8) % stations;
                (station(number), port_of(number))
            })
            .collect();
        Self { state: 0, addresses, mask: len as usize - 1 }
    }

    #[inline]
    fn next(&mut self) -> (MacAddr, PortId) {
        self.state = self.state.wrapping_add(1);
        self.addresses[self.state as usize & self.mask]
    }
}

fn lookups(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup");
    group.throughput(Throughput::Elements(1));
    for (name, stations) in SIZES {
        let fdb = full_fdb(stations);
        let map: HashMap<MacAddr, PortId> =
            (0..stations).map(|number| (station(number), port_of(number))).collect();
        let mut order = Order::new(stations);
        group.bench_function(format!("fdb/{name}"), |b| {
            b.iter(|| black_box(fdb.lookup(black_box(order.next().0))));
        });
        group.bench_function(format!("std-hashmap/{name}"), |b| {
            b.iter(|| black_box(map.get(&black_box(order.next().0)).copied()));
        });
        beside_a_writer(&mut group, name, stations, &fdb);
    }
    group.finish();
}

/// Looks up while another thread learns flat out: known stations that move to and fro, so that
/// every one of its frames writes a word.
fn beside_a_writer(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    stations: u64,
    fdb: &Fdb,
) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut order = Order::new(stations);
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                for _ in 0..1000 {
                    round += 1;
                    fdb.learn(order.next().0, port_of(round), T0);
                }
            }
        });
        let mut order = Order::new(stations);
        group.bench_function(format!("fdb-beside-a-writer/{name}"), |b| {
            b.iter(|| black_box(fdb.lookup(black_box(order.next().0))));
        });
        done.store(true, Ordering::Relaxed);
    });
}

fn learning(c: &mut Criterion) {
    let mut group = c.benchmark_group("learn");
    group.throughput(Throughput::Elements(1));
    for (name, stations) in SIZES {
        let fdb = full_fdb(stations);
        let mut map: HashMap<MacAddr, (PortId, u32)> =
            (0..stations).map(|number| (station(number), (port_of(number), 0))).collect();
        let mut order = Order::new(stations);
        group.bench_function(format!("known/fdb/{name}"), |b| {
            b.iter(|| {
                let (address, port) = order.next();
                black_box(fdb.learn(black_box(address), port, T0))
            });
        });
        group.bench_function(format!("known/std-hashmap/{name}"), |b| {
            b.iter(|| {
                let (address, port) = order.next();
                black_box(map.insert(black_box(address), (port, 0)))
            });
        });
        let mut round = 0;
        group.bench_function(format!("moved/fdb/{name}"), |b| {
            b.iter(|| {
                round += 1;
                black_box(fdb.learn(order.next().0, port_of(round), T0))
            });
        });
    }
    group.finish();
}

/// Fills an empty table, per station.
fn filling(c: &mut Criterion) {
    let mut group = c.benchmark_group("learn/new");
    group.sample_size(10);
    for (name, stations) in SIZES {
        group.throughput(Throughput::Elements(stations));
        group.bench_function(format!("fdb/{name}"), |b| {
            b.iter_batched(
                || Fdb::new(stations as usize, stations as usize, 0x5eed),
                |fdb| {
                    for number in 0..stations {
                        fdb.learn(station(number), port_of(number), T0);
                    }
                    fdb
                },
                BatchSize::PerIteration,
            );
        });
        group.bench_function(format!("std-hashmap/{name}"), |b| {
            b.iter_batched(
                || HashMap::with_capacity(stations as usize),
                |mut map| {
                    for number in 0..stations {
                        map.insert(station(number), (port_of(number), 0_u32));
                    }
                    map
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// A station flood: the price of refusing, at the share and in a full table.
fn flooded(c: &mut Criterion) {
    let mut group = c.benchmark_group("learn/flood");
    group.throughput(Throughput::Elements(1));
    for (name, share) in [("at-its-share", 64), ("table-full", 1024)] {
        let fdb = Fdb::new(1024, share, 0x5eed);
        for number in 0..1024 {
            fdb.learn(station(number), port_of(number), T0);
        }
        let mut number = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                number += 1;
                black_box(fdb.learn(station(1 << 30 | number), port(9999), T0))
            });
        });
    }
    group.finish();
}

/// A network of `PORTS` ports with a station behind each, all guarded or none.
fn network(guarded: bool) -> Topology {
    let fdb = Arc::new(Fdb::new(1024, 64, 0x5eed));
    let ports = (0..PORTS).map(|number| {
        let mac = station(number);
        fdb.learn(mac, port_of(number), T0);
        let address = [10, 0, (number >> 8) as u8, number as u8];
        let guard = if guarded {
            Guard::On(Binding::new(mac, &[address.into()], false))
        } else {
            Guard::Off
        };
        (port_of(number), PortConfig { guard, ..PortConfig::open(HOME) })
    });
    let builder =
        ports.fold(Topology::builder(), |builder, (port, config)| builder.port(port, config));
    builder.network(HOME, fdb).build()
}

fn ipv4_frame(source: u64, destination: MacAddr) -> Vec<u8> {
    let ip = [0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, source as u8, 10, 0, 0, 9];
    [&destination.0[..], &station(source).0, &[8, 0], &ip, &[0; 26]].concat()
}

fn forwarding(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward");
    group.throughput(Throughput::Elements(1));
    for (name, guarded) in [("guard-off", false), ("guard-on", true)] {
        let topology = network(guarded);
        let switch = Switch::new(&topology);
        let frames: Vec<(PortId, Vec<u8>)> = (0..PORTS)
            .map(|number| (port_of(number), ipv4_frame(number, station((number * 7 + 1) % PORTS))))
            .collect();
        let mut turn = frames.iter().cycle();
        group.bench_function(format!("known-unicast/{name}"), |b| {
            b.iter(|| {
                let (ingress, frame) = turn.next().expect("a cycle has no end");
                let verdict = switch.forward(*ingress, black_box(frame), T0);
                debug_assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
                black_box(verdict)
            });
        });
    }
    let topology = network(true);
    let switch = Switch::new(&topology);
    let broadcast = ipv4_frame(3, MacAddr([0xff; 6]));
    group.bench_function("flood-verdict/200-ports", |b| {
        b.iter(|| black_box(switch.forward(port_of(3), black_box(&broadcast), T0)));
    });
    group.bench_function("flood-verdict-and-list/200-ports", |b| {
        b.iter(|| {
            let verdict = switch.forward(port_of(3), black_box(&broadcast), T0);
            topology.flood(port_of(3)).for_each(|egress| _ = black_box(egress));
            black_box(verdict)
        });
    });
    group.finish();
}

fn pictures(c: &mut Criterion) {
    let fdb = Arc::new(Fdb::new(1024, 64, 0x5eed));
    let config = |number: u64| PortConfig {
        group: number.is_multiple_of(3).then_some(Group((number % 5) as u16)),
        guard: Guard::On(Binding::new(station(number), &[[10, 0, 0, 1].into()], false)),
        ..PortConfig::open(NetworkId((number % 100) as u16))
    };
    c.bench_function("picture/10000-ports-100-networks", |b| {
        b.iter(|| {
            let networks = (0..100).fold(Topology::builder(), |builder, id| {
                builder.network(NetworkId(id), Arc::clone(&fdb))
            });
            (1..=10_000).fold(networks, |b, number| b.port(port(number), config(number))).build()
        });
    });
}

criterion_group!(benches, lookups, learning, filling, flooded, forwarding, pictures);
criterion_main!(benches);
