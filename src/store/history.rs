//! The latest changes of a store, and those who wait for the next.
//!
//! One bounded queue of events for all watches. A watch is a place in it and a prefix; it has no
//! queue of its own, so a slow one costs nothing. Whoever falls behind the oldest event is told
//! [`StoreError::Compacted`] and starts over from a listing, as somebody does who asks for changes
//! from before the queue began. Transactions are forgotten whole, and one that is larger than the
//! queue at once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{Revision, StoreError};

/// The most changes remembered.
pub(super) const MAX_EVENTS: usize = 4096;
/// The most octets of changes remembered, keys and values together.
pub(super) const MAX_OCTETS: usize = 8 << 20;

/// One change of one key.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// Which key.
    pub key: String,
    /// The commit that changed it.
    pub revision: Revision,
    /// What is there now; `None` when it was removed.
    pub value: Option<Vec<u8>>,
}

impl Event {
    fn octets(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = self.value.as_ref().map(Vec::len);
        write!(formatter, "Event({:?} @{}, {octets:?} octets)", self.key, self.revision)
    }
}

/// The latest changes.
#[derive(Debug)]
pub(super) struct History {
    recent: Arc<Mutex<Recent>>,
    news: watch::Sender<()>,
}

#[derive(Debug)]
struct Recent {
    events: VecDeque<Event>,
    octets: usize,
    /// How many events were forgotten: the number of the first one that is there.
    forgotten: u64,
    /// All changes after this revision are there.
    known: Revision,
    closed: bool,
}

impl History {
    /// A history that knows what happens after `known`.
    pub(super) fn new(known: Revision) -> Self {
        let events = VecDeque::new();
        let recent = Recent { events, octets: 0, forgotten: 0, known, closed: false };
        Self { recent: Arc::new(Mutex::new(recent)), news: watch::Sender::new(()) }
    }

    /// Adds changes, oldest first, and tells those who wait.
    pub(super) fn add(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        {
            let mut recent = locked(&self.recent);
            recent.octets += events.iter().map(Event::octets).sum::<usize>();
            recent.events.extend(events);
            recent.forget();
        }
        self.news.send_replace(());
    }

    /// Tells everybody that there will be no more.
    pub(super) fn close(&self) {
        locked(&self.recent).closed = true;
        self.news.send_replace(());
    }

    /// A watch of what happens after a revision.
    pub(super) fn watch(&self, prefix: String, after: Revision) -> Result<Watch, StoreError> {
        let recent = locked(&self.recent);
        if recent.closed {
            return Err(StoreError::Closed);
        }
        if after < recent.known {
            return Err(StoreError::Compacted { after, known: recent.known });
        }
        let past = recent.events.partition_point(|event| event.revision <= after);
        let next = recent.forgotten + past as u64;
        let (recent, news) = (Arc::clone(&self.recent), self.news.subscribe());
        Ok(Watch { recent, news, prefix, after, next })
    }
}

impl Recent {
    /// Forgets the oldest transactions until the bounds hold.
    fn forget(&mut self) {
        while self.events.len() > MAX_EVENTS || self.octets > MAX_OCTETS {
            let Some(oldest) = self.events.front().map(|event| event.revision) else { return };
            while self.events.front().is_some_and(|event| event.revision == oldest) {
                self.octets -= self.events.pop_front().map_or(0, |event| event.octets());
                self.forgotten += 1;
            }
            self.known = oldest;
        }
    }
}

/// Somebody who hears of changes. Dropping it is the end of it.
#[derive(Debug)]
pub struct Watch {
    recent: Arc<Mutex<Recent>>,
    news: watch::Receiver<()>,
    prefix: String,
    after: Revision,
    /// The number of the next event to look at.
    next: u64,
}

impl Watch {
    /// Waits for the next change. Nothing is lost when the future is dropped before it is there.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when so much happened since the last call that some of it is
    /// forgotten; [`StoreError::Closed`] after the last change of a store that ended.
    pub async fn next(&mut self) -> Result<Event, StoreError> {
        loop {
            // Before looking, so that what comes meanwhile is not slept through.
            self.news.borrow_and_update();
            if let Some(event) = self.look()? {
                return Ok(event);
            }
            if self.news.changed().await.is_err() {
                // The store is gone; what it did last may have come between the two looks.
                return self.look()?.ok_or(StoreError::Closed);
            }
        }
    }

    /// The next change that is there already.
    fn look(&mut self) -> Result<Option<Event>, StoreError> {
        let recent = locked(&self.recent);
        let Some(place) = self.next.checked_sub(recent.forgotten) else {
            return Err(StoreError::Compacted { after: self.after, known: recent.known });
        };
        let rest = recent.events.iter().skip(usize::try_from(place).unwrap_or(usize::MAX));
        for event in rest {
            self.next += 1;
            // A watch may begin after a revision that is yet to come.
            if event.revision > self.after && event.key.starts_with(&self.prefix) {
                return Ok(Some(event.clone()));
            }
        }
        if recent.closed { Err(StoreError::Closed) } else { Ok(None) }
    }
}

/// The events, whatever became of those who had them before.
fn locked(recent: &Mutex<Recent>) -> MutexGuard<'_, Recent> {
    recent.lock().unwrap_or_else(PoisonError::into_inner)
}
