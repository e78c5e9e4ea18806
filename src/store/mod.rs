//! What an appliance remembers: entries with keys, changed in transactions, on disk before anybody
//! is told.
//!
//! A [`Store`] is a map from keys to values. Each commit that changes something has a
//! [`Revision`] of its own, larger than any before, and each [`Entry`] knows the revision of its
//! last change. A [`Transaction`] compares first and then writes, all of it or nothing, so whoever
//! read an entry can change it on the condition that nobody else has meanwhile. A [`Watch`] hears
//! of every change after a revision, in order.
//!
//! [`Embedded`] keeps one file in a folder and is what an appliance has unless it is told
//! otherwise. [`Memory`] forgets everything at its end. The meaning is etcd's where etcd has one,
//! and so are the bounds, so that a store on the network can take their place; the suite in
//! `tests/conformance/` is what each of them passes.
//!
//! # Promises
//! - When [`Store::commit`] says `Ok`, the transaction survives the end of the process and of the
//!   machine's power (except in [`Memory`]). When it says anything else, nothing of it is there;
//!   the one exception has a name of its own, [`StoreError::InDoubt`].
//! - Transactions happen one after the other: what one reads in its conditions, no other changes
//!   before its writes.
//! - An answer is what was committed, or an error. A file that was damaged is refused, never
//!   guessed at.
//!
//! # Limits
//! A future that is dropped before it answered may have done its work all the same.

mod embedded;
mod error;
mod history;
mod memory;

use std::collections::BTreeSet;
use std::fmt;
use std::pin::Pin;

pub use embedded::{Damage, Embedded, OpenError};
pub use error::{Cause, StoreError};
pub use history::{Event, Watch};
pub use memory::Memory;

/// The longest key, in octets.
pub const MAX_KEY: usize = 512;
/// The longest value, in octets.
pub const MAX_VALUE: usize = 1 << 20;
/// The conditions of a transaction, and its writes, that every store takes: etcd's `max-txn-ops`.
pub const MAX_STEPS: usize = 128;
/// The octets of a transaction, keys and values together, that every store takes. etcd takes 1.5
/// MiB; the difference is room for its framing.
pub const MAX_TRANSACTION: usize = 5 << 18;

/// How much one transaction may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most conditions, and the most writes.
    pub steps: usize,
    /// The most octets, keys and values together.
    pub octets: usize,
}

impl Bounds {
    /// What every store takes.
    pub const COMMON: Self = Self { steps: MAX_STEPS, octets: MAX_TRANSACTION };
    /// What a store of one host takes: a file with thousands of networks is one edit.
    pub const LOCAL: Self = Self { steps: 1 << 18, octets: 128 << 20 };
}

/// The most octets that a store holds: the file of [`Embedded`]; keys and values in [`Memory`].
pub const MAX_STORE: u64 = 256 << 20;

/// A moment in the life of a store: 0 before anything was written, larger with each commit that
/// changes something. By one, unless the store is shared with others.
pub type Revision = u64;

/// One key and what it holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// 1 to 512 octets of UTF-8 without control characters.
    pub key: String,
    /// Up to 1 MiB of anything.
    pub value: Vec<u8>,
    /// The commit that last put it.
    pub revision: Revision,
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A value can be long, and can be a secret.
        write!(formatter, "Entry({:?} @{}, {} octets)", self.key, self.revision, self.value.len())
    }
}

/// Entries as they were together at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// That moment. A watch after it hears of everything that is not in the listing.
    pub revision: Revision,
    /// In the order of their keys' octets.
    pub entries: Vec<Entry>,
}

/// What must hold for a transaction to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing is at the key.
    Absent(String),
    /// The entry was last changed at this revision; with revision 0, the same as `Absent`.
    At(String, Revision),
}

impl Condition {
    /// The key it is about.
    pub fn key(&self) -> &str {
        match self {
            Self::Absent(key) | Self::At(key, _) => key,
        }
    }

    /// Whether it holds for an entry of this revision, or for none.
    fn holds(&self, found: Option<Revision>) -> bool {
        match self {
            Self::Absent(_) => found.is_none(),
            Self::At(_, revision) => found.unwrap_or(0) == *revision,
        }
    }
}

/// One change.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Makes an entry, or replaces it. That the value is the same as before makes no difference.
    Put {
        /// Where.
        key: String,
        /// What.
        value: Vec<u8>,
    },
    /// Removes an entry. Where there is none, nothing changes.
    Delete {
        /// Which.
        key: String,
    },
}

impl Write {
    /// The key it is about.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    fn value(&self) -> &[u8] {
        match self {
            Self::Put { value, .. } => value,
            Self::Delete { .. } => &[],
        }
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value } => write!(formatter, "Put({key:?}, {} octets)", value.len()),
            Self::Delete { key } => write!(formatter, "Delete({key:?})"),
        }
    }
}

/// Changes that happen together, if their conditions hold.
///
/// ```
/// use weft::store::Transaction;
///
/// let lease = Transaction::default().absent("leases/10.0.0.2").put("leases/10.0.0.2", "web0");
/// assert_eq!(lease.writes.len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// What must hold, before anything is written.
    pub conditions: Vec<Condition>,
    /// What is written, each key once.
    pub writes: Vec<Write>,
}

impl Transaction {
    /// Adds the condition that nothing is at a key.
    #[must_use]
    pub fn absent(mut self, key: impl Into<String>) -> Self {
        self.conditions.push(Condition::Absent(key.into()));
        self
    }

    /// Adds the condition that an entry is as it was at a revision.
    #[must_use]
    pub fn at(mut self, key: impl Into<String>, revision: Revision) -> Self {
        self.conditions.push(Condition::At(key.into(), revision));
        self
    }

    /// Adds an entry to be made or replaced.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.writes.push(Write::Put { key: key.into(), value: value.into() });
        self
    }

    /// Adds an entry to be removed.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push(Write::Delete { key: key.into() });
        self
    }

    /// Checks the bounds.
    ///
    /// # Errors
    /// Which of them it breaks.
    pub fn check(&self, bounds: Bounds) -> Result<(), StoreError> {
        let steps = self.conditions.len().max(self.writes.len());
        if steps > bounds.steps {
            return Err(StoreError::TooManySteps { steps, most: bounds.steps });
        }
        let mut octets = 0;
        for condition in &self.conditions {
            check_key(condition.key())?;
            octets += condition.key().len();
        }
        let mut written = BTreeSet::new();
        for write in &self.writes {
            let (key, value) = (write.key(), write.value());
            check_key(key)?;
            if value.len() > MAX_VALUE {
                let (key, octets) = (key.to_owned(), value.len());
                return Err(StoreError::ValueTooLarge { key, octets });
            }
            if !written.insert(key) {
                return Err(StoreError::Twice { key: key.to_owned() });
            }
            octets += key.len() + value.len();
        }
        if octets > bounds.octets {
            return Err(StoreError::TooLarge { octets, most: bounds.octets });
        }
        Ok(())
    }
}

fn check_key(key: &str) -> Result<(), StoreError> {
    if key.is_empty() || key.len() > MAX_KEY || key.chars().any(char::is_control) {
        return Err(StoreError::Key { key: key.chars().take(64).collect(), octets: key.len() });
    }
    Ok(())
}

/// What a store is busy with.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A map from keys to values that several tasks change at once.
pub trait Store: fmt::Debug + Send + Sync {
    /// How much one transaction may be here: [`Bounds::COMMON`] at least.
    fn bounds(&self) -> Bounds;

    /// The entry at a key, if there is one.
    fn get(&self, key: &str) -> Doing<'_, Option<Entry>>;

    /// All entries whose keys begin with `prefix`; with an empty one, all there are.
    fn list(&self, prefix: &str) -> Doing<'_, Listing>;

    /// Does a transaction: all of it, or nothing. Answers with its revision, or, when it changed
    /// nothing, with the store's.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] for the first condition that does not hold; a bound that it breaks;
    /// what kept it from being stored.
    fn commit(&self, transaction: Transaction) -> Doing<'_, Revision>;

    /// Hears of every change of keys that begin with `prefix` after revision `after`, in order, none
    /// twice; those of one transaction in the order of its writes.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when changes after `after` are no longer known. Then list, and
    /// watch after the listing.
    fn watch(&self, prefix: &str, after: Revision) -> Doing<'_, Watch>;

    /// Does what was asked for before, and then lets go of everything, so that the next one can open
    /// it. What is asked for later is refused with [`StoreError::Closed`].
    fn close(&self) -> Doing<'_, ()>;
}
