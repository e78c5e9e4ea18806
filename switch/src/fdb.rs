//! The forwarding database: which port leads to which station.
//!
//! One table per network, shared by all workers without a lock. An entry is a single 64-bit word,
//! 48 bits of address and 16 bits of port, in one of two cache lines that a keyed hash of the
//! address names. A lookup reads one line or two and can never see half an update. When each
//! entry was last heard sits in a second array, in seconds, and is written only when the second
//! changes: hearing from a known station disturbs no line that others read. [`Fdb::age`] sweeps a
//! bounded stretch at a time.
//!
//! Every change is one compare-and-exchange of a word, and that alone decides who did it; only then
//! are the counts adjusted. A place in the table and in the port's share is taken before, and given
//! back if the exchange is lost, so a count is never below the truth and equals it when all is
//! quiet. Two workers that learn the same new address at once may put it into two slots; each
//! looks again afterwards and all but one are removed before `learn` returns.
//!
//! # Promises
//! - A lookup returns the port of the latest `learn` that took effect, or nothing.
//! - The table never grows. When it, or both lines of an address, are full, the entry unheard for
//!   longest gives way, among those of the ports that hold more than the one that learns.
//! - A port teaches at most its share. At its share it replaces only entries of its own, or learns
//!   nothing. So one guest cannot flush the others, and the poorest port is the last to lose.
//! - A static entry does not age, does not move, does not give way and counts for no share.
//!
//! # Limits
//! - Independent learning only: one table per network, no VLANs inside a network.
//! - A share is at most 65 534 stations. A `learn` that loses every race for its slot gives up;
//!   the station's next frame will do.
//!
//! # Sources
//! IEEE 802.1Q (learning process; filtering database).

mod change;

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use weft_frame::MacAddr;

use crate::port::PortId;
use crate::table::{Table, Word, key_of};
use crate::tally::{MAX_SHARE, Tally};
use crate::time::Instant;

/// The smallest capacity; less is raised to it.
pub const MIN_CAPACITY: usize = 16;
/// The largest capacity; more is lowered to it.
pub const MAX_CAPACITY: usize = 1 << 20;

/// What a frame taught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learn {
    /// The station was known behind this port, as it nearly always is.
    Known,
    /// A station that was not in the table.
    New,
    /// The station was behind another port until now.
    Moved {
        /// Where it was.
        from: PortId,
    },
    /// A new station, in place of one that gave way.
    Replaced {
        /// The port that lost an entry; this one, if it is at its share.
        loser: PortId,
    },
    /// Nothing: a static entry says the station is elsewhere.
    Held {
        /// Where the static entry says it is.
        by: PortId,
    },
    /// Nothing: the port holds its share, and none of its own entries could give way.
    ShareFull,
    /// Nothing: the table is full of entries with a better right.
    TableFull,
    /// Nothing: a group address or all zero, which no station has.
    NotAStation,
    /// Nothing: other threads changed the same slots all the while.
    Busy,
}

/// Why a static entry was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaticRefused {
    /// A group address or all zero, which no station has.
    NotAStation,
    /// The capacity, or both lines of the address, are taken by static entries.
    TableFull,
}

impl fmt::Display for StaticRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAStation => "a group or zero address cannot be a station",
            Self::TableFull => "the forwarding database is full of static entries",
        })
    }
}

impl core::error::Error for StaticRefused {}

/// A row of the table, as it was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The station.
    pub address: MacAddr,
    /// The port that leads to it.
    pub port: PortId,
    /// The second, counted as [`Instant::as_seconds`] does, in which it was last heard.
    pub heard: u32,
    /// Whether the entry was put there and not learned.
    pub is_static: bool,
}

impl Entry {
    /// Counts the seconds since the station was heard.
    #[must_use]
    pub const fn age_s(&self, now: Instant) -> u32 {
        now.as_seconds().saturating_sub(self.heard)
    }
}

/// A count that is written on its own, away from what lookups read.
#[repr(align(64))]
#[derive(Debug)]
struct Count(AtomicU32);

/// The forwarding database of one network.
#[derive(Debug)]
pub struct Fdb {
    table: Table,
    tally: Tally,
    capacity: u32,
    share: u32,
    entries: Count,
}

impl Fdb {
    /// Makes an empty table.
    ///
    /// `capacity` is the most stations it will ever hold, 16 to 2^20; what is outside is taken as
    /// the nearest bound. `share` is the most that one port may teach, at least 1, at most
    /// `capacity` and 65 534. `seed` should be unknown to guests and need not be anything else.
    #[must_use]
    pub fn new(capacity: usize, share: usize, seed: u64) -> Self {
        let capacity = capacity.clamp(MIN_CAPACITY, MAX_CAPACITY);
        Self {
            table: Table::new(capacity, seed),
            tally: Tally::new(capacity),
            capacity: capacity as u32,
            share: (share.clamp(1, capacity) as u32).min(MAX_SHARE),
            entries: Count(AtomicU32::new(0)),
        }
    }

    /// Gives the port that leads to `address`, if that is known.
    #[inline]
    pub fn lookup(&self, address: MacAddr) -> Option<PortId> {
        // A group address would be found in the place of a static one, which borrows its bit.
        if address.is_group() {
            return None;
        }
        let key = key_of(address);
        self.table.find(self.table.run(key), key).map(|(_, word)| word.port)
    }

    /// Notes that `source` was heard behind `ingress`.
    #[inline]
    pub fn learn(&self, source: MacAddr, ingress: PortId, now: Instant) -> Learn {
        if source.is_group() || source.is_zero() {
            return Learn::NotAStation;
        }
        let (key, now_s) = (key_of(source), now.as_seconds());
        let run = self.table.run(key);
        match self.table.find(run, key) {
            Some((slot, word)) if word.port == ingress => {
                self.table.touch(slot, now_s);
                Learn::Known
            }
            Some(_) | None => self.learn_change(run, key, ingress, now_s),
        }
    }

    /// Removes what was unheard for more than `max_age_s` seconds in `budget` slots from `from`.
    ///
    /// Returns where to go on, which is 0 after a whole round. Starting beyond the table's end is
    /// starting at 0.
    pub fn age(&self, now: Instant, max_age_s: u32, from: usize, budget: usize) -> usize {
        let now_s = now.as_seconds();
        let start = if from < self.table.slots() { from } else { 0 };
        let end = start.saturating_add(budget).min(self.table.slots());
        for slot in self.table.stretch(start, end) {
            if let Some(word) = self.table.read(slot)
                && !word.is_static()
                && now_s.saturating_sub(self.table.heard(slot)) > max_age_s
            {
                self.remove(slot, word);
            }
        }
        if end == self.table.slots() { 0 } else { end }
    }

    /// Removes every entry of `port`, static ones too, and says how many. Reads the whole table.
    ///
    /// A frame still on its way can teach the port again: first take the port out of every
    /// worker's picture, then forget it, then use its number again.
    pub fn forget(&self, port: PortId) -> usize {
        self.table
            .stretch(0, self.table.slots())
            .filter_map(|slot| Some((slot, self.table.read(slot)?)))
            .filter(|(slot, word)| word.port == port && self.remove(*slot, *word))
            .count()
    }

    /// Puts `address` behind `port` for good: it does not age, and learning does not move it.
    ///
    /// Replaces what is known of the address, be it static or learned. Where there is no room, the
    /// learned entry unheard for longest gives way. For the control plane: it may read the whole
    /// table.
    ///
    /// # Errors
    /// [`StaticRefused`] if the address is no station's, or only static entries are in the way.
    pub fn insert_static(&self, address: MacAddr, port: PortId) -> Result<(), StaticRefused> {
        if address.is_group() || address.is_zero() {
            return Err(StaticRefused::NotAStation);
        }
        let key = key_of(address);
        let (run, word) = (self.table.run(key), Word::fixed(key, port));
        // A round that is lost was lost to another thread that got on, so there is an end to this.
        loop {
            if let Some((slot, old)) = self.table.find(run, key) {
                if self.table.put(slot, Some(old), word, 0) {
                    self.uncount_learned(old);
                    self.unify(run, key);
                    return Ok(());
                }
            } else if let Some(slot) = self.table.vacancy(run)
                && self.reserve()
            {
                if self.table.put(slot, None, word, 0) {
                    self.unify(run, key);
                    return Ok(());
                }
                self.release();
            } else if !self.make_room(run) {
                return Err(StaticRefused::TableFull);
            }
        }
    }

    /// Removes the static entry of `address`; `false` if there is none.
    pub fn remove_static(&self, address: MacAddr) -> bool {
        let key = key_of(address);
        loop {
            match self.table.find(self.table.run(key), key) {
                Some((slot, word)) if word.is_static() => {
                    if self.remove(slot, word) {
                        return true;
                    }
                }
                Some(_) | None => return false,
            }
        }
    }

    /// Walks over the entries, in no order. What changes meanwhile may be seen or not.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.table.stretch(0, self.table.slots()).filter_map(|slot| {
            let word = self.table.read(slot)?;
            Some(Entry {
                address: word.address(),
                port: word.port,
                heard: self.table.heard(slot),
                is_static: word.is_static(),
            })
        })
    }

    /// Counts the entries, static ones too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.0.load(Ordering::SeqCst) as usize
    }

    /// Says whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts the stations that `port` has taught and that are still known.
    #[must_use]
    pub fn learned_by(&self, port: PortId) -> usize {
        self.tally.of(port) as usize
    }

    /// Gives the most stations the table will hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Gives the most stations a port may teach.
    #[must_use]
    pub fn share(&self) -> usize {
        self.share as usize
    }

    /// Counts the slots a whole round of [`age`](Self::age) visits.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.table.slots()
    }

    /// Gives the memory the table takes, in octets.
    #[must_use]
    pub fn octets(&self) -> usize {
        size_of::<Self>() + self.table.octets() + self.tally.octets()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    const T0: Instant = Instant::START;
    const P1: PortId = PortId::new(1).unwrap();
    const P2: PortId = PortId::new(2).unwrap();
    const P3: PortId = PortId::new(3).unwrap();
    const ANN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const BOB: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const GROUP: MacAddr = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    const ZERO: MacAddr = MacAddr([0; 6]);

    fn station(number: u64) -> MacAddr {
        MacAddr::from_u64(0x0200_0000_0000 | number)
    }

    fn at(seconds: u32) -> Instant {
        Instant::from_seconds(seconds)
    }

    fn age_all(fdb: &Fdb, now: Instant, max_age_s: u32) {
        let mut from = fdb.age(now, max_age_s, 0, 7);
        while from != 0 {
            from = fdb.age(now, max_age_s, from, 7);
        }
    }

    /// Counts anew what the table keeps count of, and compares.
    fn check_counts(fdb: &Fdb) {
        let mut learned: BTreeMap<PortId, usize> = BTreeMap::new();
        for entry in fdb.entries().filter(|entry| !entry.is_static) {
            *learned.entry(entry.port).or_default() += 1;
        }
        for port in (1..=200).filter_map(PortId::new) {
            assert_eq!(fdb.learned_by(port), learned.get(&port).copied().unwrap_or(0), "{port}");
            assert!(fdb.learned_by(port) <= fdb.share(), "{port}");
        }
        assert_eq!(fdb.len(), fdb.entries().count());
        assert!(fdb.len() <= fdb.capacity());
    }

    #[test]
    fn a_station_is_found_where_it_was_heard_last() {
        let fdb = Fdb::new(16, 16, 1);
        let steps = [
            (ANN, P1, Learn::New),
            (ANN, P1, Learn::Known),
            (BOB, P2, Learn::New),
            (ANN, P2, Learn::Moved { from: P1 }),
            (ANN, P2, Learn::Known),
            (GROUP, P1, Learn::NotAStation),
            (ZERO, P1, Learn::NotAStation),
        ];
        for (source, ingress, learned) in steps {
            assert_eq!(fdb.learn(source, ingress, T0), learned, "{source} behind {ingress}");
        }
        assert_eq!(
            [ANN, BOB, GROUP, ZERO].map(|a| fdb.lookup(a)),
            [Some(P2), Some(P2), None, None]
        );
        assert_eq!((fdb.len(), fdb.learned_by(P1), fdb.learned_by(P2)), (2, 0, 2));
        check_counts(&fdb);
    }

    #[test]
    fn ageing_removes_what_was_silent_for_longer_than_the_limit() {
        let fdb = Fdb::new(16, 16, 1);
        fdb.learn(ANN, P1, at(100));
        fdb.learn(BOB, P1, at(100));
        fdb.learn(BOB, P1, at(150));
        fdb.insert_static(station(9), P2).unwrap();
        age_all(&fdb, at(400), 300);
        assert_eq!([ANN, BOB].map(|a| fdb.lookup(a)), [Some(P1), Some(P1)]);
        age_all(&fdb, at(401), 300);
        assert_eq!([ANN, BOB].map(|a| fdb.lookup(a)), [None, Some(P1)]);
        age_all(&fdb, at(u32::MAX), 300);
        assert_eq!([BOB, station(9)].map(|a| fdb.lookup(a)), [None, Some(P2)]);
        check_counts(&fdb);
    }

    #[test]
    fn a_clock_that_lags_makes_nothing_old_and_nothing_older() {
        let fdb = Fdb::new(16, 16, 1);
        fdb.learn(ANN, P1, at(500));
        fdb.learn(ANN, P1, at(3));
        age_all(&fdb, at(4), 0);
        assert_eq!(fdb.entries().map(|entry| entry.heard).collect::<Vec<_>>(), [500]);
        assert_eq!(fdb.entries().map(|entry| entry.age_s(at(507))).max(), Some(7));
    }

    #[test]
    fn a_sweep_visits_every_slot_once_whatever_the_budget() {
        for budget in [1, 5, 8, 31, 1000, usize::MAX] {
            let fdb = Fdb::new(100, 100, 1);
            for number in 0..100 {
                fdb.learn(station(number), P1, T0);
            }
            age_all(&fdb, at(1), 0);
            assert!(fdb.is_empty(), "budget {budget}");
            assert_eq!(fdb.age(at(1), 0, usize::MAX, budget), fdb.age(at(1), 0, 0, budget));
        }
    }

    #[test]
    fn a_static_entry_neither_moves_nor_ages_until_it_is_removed() {
        let fdb = Fdb::new(16, 16, 1);
        fdb.learn(ANN, P1, T0);
        fdb.insert_static(ANN, P2).unwrap();
        assert_eq!((fdb.len(), fdb.learned_by(P1), fdb.learned_by(P2)), (1, 0, 0));
        assert_eq!(fdb.learn(ANN, P1, at(5)), Learn::Held { by: P2 });
        assert_eq!(fdb.learn(ANN, P2, at(6)), Learn::Known);
        age_all(&fdb, at(9999), 1);
        let row = Entry { address: ANN, port: P2, heard: 6, is_static: true };
        assert_eq!(fdb.entries().collect::<Vec<_>>(), [row]);
        fdb.insert_static(ANN, P3).unwrap();
        assert_eq!(fdb.lookup(ANN), Some(P3));
        assert!(!fdb.remove_static(BOB) && fdb.remove_static(ANN) && !fdb.remove_static(ANN));
        assert_eq!((fdb.lookup(ANN), fdb.len()), (None, 0));
        fdb.learn(ANN, P1, T0);
        assert!(!fdb.remove_static(ANN), "a learned entry is not a static one");
        for refused in [GROUP, ZERO] {
            assert_eq!(fdb.insert_static(refused, P1), Err(StaticRefused::NotAStation));
        }
        check_counts(&fdb);
    }

    #[test]
    fn static_entries_push_learned_ones_out_but_not_each_other() {
        let fdb = Fdb::new(32, 32, 1);
        for number in 0..32 {
            fdb.learn(station(number), P1, T0);
        }
        for number in 100..132 {
            assert_eq!(fdb.insert_static(station(number), P2), Ok(()), "{number}");
            assert!(fdb.len() <= 32);
        }
        assert_eq!(fdb.insert_static(station(200), P2), Err(StaticRefused::TableFull));
        assert_eq!(fdb.learn(station(1), P1, T0), Learn::TableFull);
        assert!((100..132).all(|number| fdb.lookup(station(number)) == Some(P2)));
        check_counts(&fdb);
    }

    #[test]
    fn forgetting_a_port_removes_its_entries_and_no_others() {
        let fdb = Fdb::new(256, 256, 1);
        for number in 0..100 {
            fdb.learn(station(number), if number % 3 == 0 { P1 } else { P2 }, T0);
        }
        fdb.insert_static(station(500), P1).unwrap();
        assert_eq!((fdb.forget(P1), fdb.forget(P1), fdb.len()), (35, 0, 66));
        assert!(fdb.entries().all(|entry| entry.port == P2));
        check_counts(&fdb);
    }

    #[test]
    fn a_table_holds_as_many_stations_as_it_promises() {
        // Capacities at which the table is emptiest and fullest; addresses that a factory gave out
        // in a row, and such that differ in the high bits only.
        for (capacity, step) in
            [(16, 1), (17, 1), (256, 1 << 20), (256, 1 << 29), (1024, 256), (8192, 3), (32768, 1)]
        {
            for seed in 0..8 {
                let fdb = Fdb::new(capacity, capacity, seed);
                for number in 0..capacity as u64 {
                    let learned = fdb.learn(station(number * step), P1, T0);
                    assert_eq!(learned, Learn::New, "{number} of {capacity}, seed {seed}");
                }
                assert_eq!(fdb.len(), capacity);
            }
        }
    }

    #[test]
    fn a_station_flood_from_one_port_leaves_the_other_ports_alone() {
        // Also where the flooding port's share is all there is: the others hold less than it does.
        for share in [8, 64, 256] {
            let fdb = Fdb::new(256, share, 42);
            let others: Vec<PortId> = (100..140).filter_map(PortId::new).collect();
            let rows: Vec<(MacAddr, PortId)> =
                (0..200).zip(others.iter().cycle()).map(|(n, port)| (station(n), *port)).collect();
            for (address, port) in &rows {
                assert_eq!(fdb.learn(*address, *port, T0), Learn::New);
            }
            for number in 0..20_000 {
                fdb.learn(station((1 << 20) | (number * 0x9_7351)), P1, at(number as u32 / 100));
            }
            for (address, port) in rows {
                assert_eq!(fdb.lookup(address), Some(port), "share {share}");
            }
            assert!((1..=share).contains(&fdb.learned_by(P1)), "share {share}");
            check_counts(&fdb);
        }
    }

    #[test]
    fn a_port_that_held_the_whole_table_makes_room_for_others() {
        let fdb = Fdb::new(64, 64, 7);
        for number in 0..64 {
            fdb.learn(station(number), P1, at(number as u32));
        }
        for number in 100..110 {
            let learned = fdb.learn(station(number), P2, at(64));
            assert_eq!(learned, Learn::Replaced { loser: P1 }, "{number}");
            assert_eq!(fdb.lookup(station(number)), Some(P2));
        }
        assert_eq!((fdb.learned_by(P1), fdb.learned_by(P2), fdb.len()), (54, 10, 64));
        check_counts(&fdb);
    }

    #[test]
    fn a_port_at_its_share_cannot_pull_in_the_stations_of_others() {
        let fdb = Fdb::new(64, 2, 1);
        fdb.learn(ANN, P2, at(100));
        fdb.learn(station(7), P1, at(100));
        fdb.learn(station(8), P1, at(100));
        assert_eq!(fdb.learn(ANN, P1, at(105)), Learn::ShareFull);
        assert_eq!(fdb.lookup(ANN), Some(P2));
        // Silent where it was, and heard where it cannot be learned: better unknown than wrong.
        assert_eq!(fdb.learn(ANN, P1, at(110)), Learn::ShareFull);
        assert_eq!(fdb.lookup(ANN), None);
        check_counts(&fdb);
    }

    #[test]
    fn a_small_network_stays_below_32_kib() {
        assert!(Fdb::new(1024, 64, 0).octets() <= 32 << 10, "{}", Fdb::new(1024, 64, 0).octets());
        assert_eq!(Fdb::new(0, 0, 0).capacity(), MIN_CAPACITY);
        assert_eq!((Fdb::new(64, 0, 0).share(), Fdb::new(64, 99, 0).share()), (1, 64));
    }
}
