//! The flows of one guest: by key, by place, and by time.
//!
//! A flow keeps its place for life, and a [`Token`] names place and occupant, so that news of a flow
//! that has just gone never reaches the one that took its place. Each flow has at most one entry in
//! the schedule. A deadline that moves away, as nearly every one does with every packet, leaves the
//! entry where it is; when it comes up too early the flow is asked again.
//!
//! # Promises
//! - Finding, adding and removing take constant time, scheduling the logarithm of the flows.
//! - The hash has a key of its own, so that a guest cannot choose flows that collide.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use smoltcp::time::Instant;

use super::key::Key;

/// One flow, and no other that may have its place later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token {
    place: u32,
    occupant: u32,
}

impl Token {
    /// The token as one number.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        (self.occupant as u64) << 32 | self.place as u64
    }

    /// The inverse of [`to_u64`](Self::to_u64).
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self { place: number as u32, occupant: (number >> 32) as u32 }
    }
}

/// Flows of type `T`.
#[derive(Debug)]
pub struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: FixedState,
    schedule: BTreeSet<(Instant, u32)>,
}

#[derive(Debug)]
struct Slot<T> {
    occupant: u32,
    flow: Option<(Key, T)>,
    scheduled: Option<Instant>,
}

impl<T> Table<T> {
    /// An empty table; `seed` keys its hash.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            schedule: BTreeSet::new(),
        }
    }

    /// How many flows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The flow of that key.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<Token> {
        let place = *self.index.find(self.hasher.hash_one(key), |place| {
            self.slots[*place as usize].flow.as_ref().is_some_and(|(own, _)| own == key)
        })?;
        Some(Token { place, occupant: self.slots[place as usize].occupant })
    }

    /// Adds a flow; one that has the same key already is replaced and returned.
    pub fn insert(&mut self, key: Key, flow: T) -> (Token, Option<T>) {
        let former = self.find(&key).and_then(|token| self.remove(token));
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { occupant: 0, flow: None, scheduled: None });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[place as usize];
        slot.flow = Some((key, flow));
        let token = Token { place, occupant: slot.occupant };
        let Self { slots, index, hasher, .. } = self;
        index.insert_unique(hasher.hash_one(key), place, |place| {
            let flow = slots[*place as usize].flow.as_ref();
            flow.map_or(0, |(key, _)| hasher.hash_one(key))
        });
        (token, former.map(|(_, flow)| flow))
    }

    /// The flow with its key.
    pub fn get_mut(&mut self, token: Token) -> Option<(&Key, &mut T)> {
        let slot = self.slots.get_mut(token.place as usize)?;
        let (key, flow) = slot.flow.as_mut().filter(|_| slot.occupant == token.occupant)?;
        Some((key, flow))
    }

    /// Removes a flow.
    pub fn remove(&mut self, token: Token) -> Option<(Key, T)> {
        let slot = self.slots.get_mut(token.place as usize)?;
        if slot.occupant != token.occupant {
            return None;
        }
        let (key, flow) = slot.flow.take()?;
        slot.occupant = slot.occupant.wrapping_add(1);
        if let Some(at) = slot.scheduled.take() {
            self.schedule.remove(&(at, token.place));
        }
        let found = self.index.find_entry(self.hasher.hash_one(key), |own| *own == token.place);
        if let Ok(entry) = found {
            entry.remove();
        }
        self.free.push(token.place);
        Some((key, flow))
    }

    /// Has a flow come up at `at` at the latest.
    pub fn schedule(&mut self, token: Token, at: Instant) {
        let Some(slot) = self.slots.get_mut(token.place as usize) else { return };
        if slot.occupant != token.occupant || slot.flow.is_none() {
            return;
        }
        match slot.scheduled {
            Some(scheduled) if scheduled <= at => {}
            before => {
                if let Some(before) = before {
                    self.schedule.remove(&(before, token.place));
                }
                slot.scheduled = Some(at);
                self.schedule.insert((at, token.place));
            }
        }
    }

    /// When the next flow comes up.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.schedule.first().map(|(at, _)| *at)
    }

    /// A flow whose time has come; it is then no longer scheduled.
    pub fn due(&mut self, now: Instant) -> Option<Token> {
        let (at, place) = *self.schedule.first().filter(|(at, _)| *at <= now)?;
        self.schedule.remove(&(at, place));
        let slot = &mut self.slots[place as usize];
        slot.scheduled = None;
        Some(Token { place, occupant: slot.occupant })
    }

    /// All flows, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &T)> {
        self.slots.iter().filter_map(|slot| slot.flow.as_ref()).map(|(key, flow)| (key, flow))
    }

    /// The tokens of all flows.
    pub fn tokens(&self) -> impl Iterator<Item = Token> + '_ {
        let occupied = self.slots.iter().enumerate().filter(|(_, slot)| slot.flow.is_some());
        occupied.map(|(place, slot)| Token { place: place as u32, occupant: slot.occupant })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, SocketAddr};

    fn key(port: u16) -> Key {
        Key::Udp { inside: SocketAddr::new(Ipv4Addr::new(10, 0, 0, 1).into(), port) }
    }

    #[test]
    fn a_flow_is_found_by_its_key_until_it_is_removed() {
        let mut table = Table::new(7);
        let tokens: Vec<Token> = (0..1000).map(|port| table.insert(key(port), port).0).collect();
        assert_eq!(table.len(), 1000);
        for (port, token) in (0..1000).zip(&tokens) {
            assert_eq!(table.find(&key(port)), Some(*token));
            assert_eq!(table.remove(*token), Some((key(port), port)));
            assert_eq!(table.find(&key(port)), None);
        }
        assert!(table.is_empty());
        table.insert(key(5), 5);
        assert_eq!(table.slots.len(), 1000, "places are used again");
    }

    #[test]
    fn news_of_a_flow_that_has_gone_does_not_reach_its_successor() {
        let mut table = Table::new(7);
        let (first, _) = table.insert(key(1), 1);
        table.schedule(first, Instant::from_secs(1));
        table.remove(first);
        let (second, _) = table.insert(key(2), 2);
        assert_eq!((first.place, table.next_deadline()), (second.place, None));
        assert_eq!(table.get_mut(first), None);
        table.schedule(first, Instant::from_secs(1));
        assert_eq!(table.remove(first), None);
        assert_eq!(table.next_deadline(), None);
        assert_eq!(Token::from_u64(second.to_u64()), second);
    }

    #[test]
    fn a_new_flow_of_a_key_takes_the_place_of_the_old_one() {
        let mut table = Table::new(7);
        table.insert(key(1), 'a');
        let (token, former) = table.insert(key(1), 'b');
        assert_eq!((former, table.len()), (Some('a'), 1));
        assert_eq!(table.get_mut(token), Some((&key(1), &mut 'b')));
    }

    #[test]
    fn a_flow_comes_up_once_at_the_earliest_time_asked_for() {
        let mut table = Table::new(7);
        let (late, _) = table.insert(key(1), 1);
        let (early, _) = table.insert(key(2), 2);
        for (token, at) in [(late, 9), (early, 3), (early, 5), (late, 8)] {
            table.schedule(token, Instant::from_secs(at));
        }
        assert_eq!(table.next_deadline(), Some(Instant::from_secs(3)));
        assert_eq!(table.due(Instant::from_secs(2)), None);
        assert_eq!(table.due(Instant::from_secs(8)), Some(early));
        assert_eq!(table.due(Instant::from_secs(8)), Some(late));
        assert_eq!(table.due(Instant::from_secs(99)), None);
    }
}
