//! Threads that learn, look up, age, forget and fix all at once, on few stations and fewer slots.
//! Afterwards every count must be what a recount says.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, OnceLock};
use std::thread;

use weft_frame::MacAddr;
use weft_switch::{Fdb, Instant, PortId};

const THREADS: usize = 3;
const ROUNDS: u64 = 60_000;
/// How often a run is brought to rest and recounted.
const BURSTS: u64 = 100;

fn station(number: u64) -> MacAddr {
    MacAddr::from_u64(0x0200_0000_0000 | number)
}

fn port_id(number: u64) -> PortId {
    PortId::new(number as u16).expect("ports start at 1")
}

/// A small generator, so that a run depends on its seed and the scheduler only.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Counts anew what the table keeps count of; an error says what differs.
fn recount(fdb: &Fdb, ports: u64) -> Result<(), String> {
    let mut learned: BTreeMap<PortId, usize> = BTreeMap::new();
    let mut rows = BTreeMap::new();
    for entry in fdb.entries() {
        if rows.insert(entry.address, entry).is_some() {
            return Err(format!("{} is there twice", entry.address));
        }
        *learned.entry(entry.port).or_default() += usize::from(!entry.is_static);
    }
    if fdb.len() != rows.len() || rows.len() > fdb.capacity() {
        return Err(format!("{} entries, {} counted", rows.len(), fdb.len()));
    }
    for port in (1..=ports).map(port_id) {
        let (counted, holds) = (fdb.learned_by(port), learned.get(&port).copied().unwrap_or(0));
        if counted != holds || holds > fdb.share() {
            return Err(format!("{port} holds {holds}, {counted} counted"));
        }
    }
    Ok(())
}

/// Who works on what: a load that makes threads meet in the same slots.
#[derive(Clone, Copy, Debug)]
struct Load {
    capacity: usize,
    share: usize,
    stations: u64,
    ports: u64,
    /// Of a hundred steps, how many learn; the rest look up, age, forget, fix and unfix.
    learning: u64,
}

fn step(fdb: &Fdb, load: Load, dice: &mut Dice, round: u64, swept: &mut usize) {
    let now = Instant::from_micros(round * 2_000);
    let address = station(dice.below(load.stations));
    let port = port_id(1 + dice.below(load.ports));
    if dice.below(100) < load.learning {
        fdb.learn(address, port, now);
        return;
    }
    match dice.below(10) {
        0..3 => _ = fdb.lookup(address),
        3..6 => *swept = fdb.age(now, 2, *swept, 32),
        6 => _ = fdb.forget(port),
        7..9 => _ = fdb.insert_static(address, port),
        _ => _ = fdb.remove_static(address),
    }
}

/// Works in bursts. After each, when all have come to rest, one thread recounts; nobody goes on
/// before it is done, and nobody goes on at all if it found something.
fn hammer(fdb: &Fdb, load: Load, seed: u64, barrier: &Barrier, found: &OnceLock<String>) {
    let (mut dice, mut swept) = (Dice(seed), 0);
    for burst in 0..BURSTS {
        barrier.wait();
        if found.get().is_some() {
            return;
        }
        for round in 0..ROUNDS / BURSTS {
            step(fdb, load, &mut dice, burst * ROUNDS / BURSTS + round, &mut swept);
        }
        if barrier.wait().is_leader()
            && let Err(difference) = recount(fdb, load.ports)
        {
            found.get_or_init(|| difference);
        }
    }
}

#[test]
#[rustfmt::skip]
fn counts_survive_everything_at_once() {
    let loads = [
        // Many stations in a small table: replacing.
        Load { capacity: 64,  share: 10, stations: 300, ports: 12,  learning: 90 },
        Load { capacity: 64,  share: 64, stations: 300, ports: 3,   learning: 70 },
        Load { capacity: 16,  share: 4,  stations: 400, ports: 200, learning: 70 },
        // Few stations that every port claims: moving, and being put into two slots at once.
        Load { capacity: 256, share: 40, stations: 20,  ports: 60,  learning: 70 },
        Load { capacity: 16,  share: 3,  stations: 24,  ports: 8,   learning: 98 },
    ];
    for load in loads {
        let fdb = Fdb::new(load.capacity, load.share, 99);
        let (barrier, found) = (Barrier::new(THREADS), OnceLock::new());
        thread::scope(|scope| {
            for seed in 1..=THREADS as u64 {
                let (fdb, barrier, found) = (&fdb, &barrier, &found);
                scope.spawn(move || hammer(fdb, load, seed * 0x9e37_79b9, barrier, found));
            }
        });
        assert_eq!(found.get(), None, "{load:?}");
        (1..=load.ports).map(port_id).for_each(|port| _ = fdb.forget(port));
        assert_eq!((fdb.len(), recount(&fdb, load.ports)), (0, Ok(())), "{load:?}");
    }
}

#[test]
fn a_lookup_beside_a_flood_finds_the_known_where_they_are() {
    let fdb = Fdb::new(1024, 128, 5);
    let known: Vec<_> =
        (0..200).map(|number| (station(number), port_id(1 + number % 40))).collect();
    for (address, port) in &known {
        fdb.learn(*address, *port, Instant::START);
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..ROUNDS {
                fdb.learn(station(1 << 24 | number), port_id(99), Instant::from_micros(number));
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            for (address, port) in &known {
                assert_eq!(fdb.lookup(*address), Some(*port));
            }
        }
    });
    assert_eq!(recount(&fdb, 99), Ok(()));
    assert_eq!(fdb.learned_by(port_id(99)), 128);
}
