//! Random transactions, and the map that does what a store should do with them.

use std::collections::BTreeMap;

use weft::store::{Entry, Event, Revision, Transaction, Write};

use super::{entry, event};

/// Does a transaction to a map, and says what a watch hears of it.
pub fn edit(
    model: &mut BTreeMap<String, Entry>,
    transaction: &Transaction,
    revision: Revision,
) -> Vec<Event> {
    let mut events = Vec::new();
    for write in &transaction.writes {
        let key = write.key().to_owned();
        match write {
            Write::Put { value, .. } => {
                model.insert(key.clone(), entry(&key, value, revision));
                events.push(event(&key, revision, Some(value)));
            }
            Write::Delete { .. } => {
                if model.remove(&key).is_some() {
                    events.push(event(&key, revision, None));
                }
            }
        }
    }
    events
}

/// Numbers that are the same in each run: xorshift64*.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }

    /// A transaction of a few conditions, most of which hold, and a few writes to few keys.
    pub fn transaction(&mut self, model: &BTreeMap<String, Entry>) -> Transaction {
        let mut transaction = Transaction::default();
        for _ in 0..self.below(3) {
            let key = format!("k{}", self.below(12));
            let right = model.get(&key).map_or(0, |entry| entry.revision);
            let wrong = u64::from(self.below(8) == 0);
            transaction = transaction.at(key, right + wrong);
        }
        let mut keys: Vec<u64> = (0..self.below(5)).map(|_| self.below(12)).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let key = format!("k{key}");
            transaction = if self.below(3) == 0 {
                transaction.delete(key)
            } else {
                // Now and then one that is longer than a page.
                let octets = if self.below(10) == 0 { 9000 } else { self.below(600) };
                let octet = u8::try_from(self.below(256)).unwrap();
                transaction.put(key, vec![octet; usize::try_from(octets).unwrap()])
            };
        }
        transaction
    }
}
