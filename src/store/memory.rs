//! A store that forgets everything when it ends: for tests, and for appliances that shall leave
//! nothing behind.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::history::{Event, History};
use super::{
    Bounds, Doing, Entry, Listing, MAX_STORE, Revision, Store, StoreError, Transaction, Watch,
    Write,
};

/// A store in the memory of this process.
#[derive(Debug)]
pub struct Memory {
    content: Mutex<Content>,
    history: History,
}

#[derive(Debug, Default)]
struct Content {
    entries: BTreeMap<String, Held>,
    revision: Revision,
    /// Keys and values together.
    octets: u64,
    is_closed: bool,
}

#[derive(Debug)]
struct Held {
    value: Vec<u8>,
    revision: Revision,
}

impl Memory {
    /// An empty one.
    pub fn new() -> Self {
        Self { content: Mutex::default(), history: History::new(0) }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // A change is worked out before any of it is made, so nobody leaves half of one.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, transaction: Transaction) -> Result<Revision, StoreError> {
        transaction.check(Bounds::LOCAL)?;
        let mut content = self.content();
        if content.is_closed {
            return Err(StoreError::Closed);
        }
        let events = content.commit(transaction)?;
        // Under the lock, so that events are in the order of their revisions.
        self.history.add(events);
        Ok(content.revision)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Content {
    fn commit(&mut self, transaction: Transaction) -> Result<Vec<Event>, StoreError> {
        for condition in &transaction.conditions {
            let found = self.entries.get(condition.key()).map(|held| held.revision);
            if !condition.holds(found) {
                return Err(StoreError::Conflict { key: condition.key().to_owned() });
            }
        }
        let octets = self.octets_after(&transaction.writes);
        if octets > MAX_STORE {
            let full = io::Error::from(io::ErrorKind::StorageFull);
            return Err(StoreError::Full(full.into()));
        }
        self.octets = octets;
        let revision = self.revision + 1;
        let events: Vec<Event> = transaction
            .writes
            .into_iter()
            .filter_map(|write| self.write(write, revision))
            .collect();
        if !events.is_empty() {
            self.revision = revision;
        }
        Ok(events)
    }

    fn octets_after(&self, writes: &[Write]) -> u64 {
        writes.iter().fold(self.octets, |octets, write| {
            let key = write.key();
            let held = self.entries.get(key).map_or(0, |held| key.len() + held.value.len());
            let put = match write {
                Write::Put { value, .. } => key.len() + value.len(),
                Write::Delete { .. } => 0,
            };
            octets - held as u64 + put as u64
        })
    }

    fn write(&mut self, write: Write, revision: Revision) -> Option<Event> {
        match write {
            Write::Put { key, value } => {
                let event = Event { key: key.clone(), revision, value: Some(value.clone()) };
                self.entries.insert(key, Held { value, revision });
                Some(event)
            }
            Write::Delete { key } => {
                self.entries.remove(&key)?;
                Some(Event { key, revision, value: None })
            }
        }
    }
}

impl Store for Memory {
    fn bounds(&self) -> Bounds {
        Bounds::LOCAL
    }

    fn get(&self, key: &str) -> Doing<'_, Option<Entry>> {
        let key = key.to_owned();
        Box::pin(async move {
            let content = self.content();
            Ok(content.entries.get(&key).map(|held| held.entry(&key)))
        })
    }

    fn list(&self, prefix: &str) -> Doing<'_, Listing> {
        let prefix = prefix.to_owned();
        Box::pin(async move {
            let content = self.content();
            let entries = content
                .entries
                .range(prefix.clone()..)
                .take_while(|(key, _)| key.starts_with(&prefix))
                .map(|(key, held)| held.entry(key))
                .collect();
            Ok(Listing { revision: content.revision, entries })
        })
    }

    fn commit(&self, transaction: Transaction) -> Doing<'_, Revision> {
        Box::pin(async move { self.change(transaction) })
    }

    fn watch(&self, prefix: &str, after: Revision) -> Doing<'_, Watch> {
        let prefix = prefix.to_owned();
        Box::pin(async move { self.history.watch(prefix, after) })
    }

    fn close(&self) -> Doing<'_, ()> {
        Box::pin(async move {
            self.content().is_closed = true;
            self.history.close();
            Ok(())
        })
    }
}

impl Held {
    fn entry(&self, key: &str) -> Entry {
        Entry { key: key.to_owned(), value: self.value.clone(), revision: self.revision }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_holds_is_counted_and_bounded() {
        let mut content = Content::default();
        let put = |octets| Transaction::default().put("key", vec![0; octets]);
        for (transaction, octets) in
            [(put(10), 13), (put(4), 7), (Transaction::default().delete("key"), 0), (put(0), 3)]
        {
            content.commit(transaction).unwrap();
            assert_eq!(content.octets, octets);
        }
        // As if others held the rest.
        content.octets = MAX_STORE;
        assert!(matches!(content.commit(put(1)), Err(StoreError::Full(_))));
        assert_eq!(content.octets, MAX_STORE);
        content.commit(put(0)).unwrap();
        content.commit(Transaction::default().delete("key")).unwrap();
        content.commit(put(0)).unwrap();
    }
}
