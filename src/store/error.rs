//! Why a store did not do what it was asked for.

use std::error::Error;

use super::{MAX_KEY, MAX_VALUE, Revision};

/// What was behind it, in the words of the system or of a library.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why a store did not do what it was asked for. Unless the variant says otherwise, nothing has
/// changed and the store goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A condition does not hold: somebody else was there first.
    #[error("{key:?} was changed by somebody else")]
    Conflict {
        /// The key of the first condition that does not hold.
        key: String,
    },
    /// What was given is no key.
    #[error("{key:?} ({octets} octets) is no key: 1 to {MAX_KEY} octets, no control characters")]
    Key {
        /// Its beginning.
        key: String,
        /// Its length.
        octets: usize,
    },
    /// A value is too long.
    #[error("the value of {key:?} has {octets} octets, at most {MAX_VALUE} are taken")]
    ValueTooLarge {
        /// Whose.
        key: String,
        /// Its length.
        octets: usize,
    },
    /// A transaction is too long.
    #[error("a transaction of {octets} octets, at most {most} are taken")]
    TooLarge {
        /// Its keys and values together.
        octets: usize,
        /// The most that is taken.
        most: usize,
    },
    /// A transaction has too many parts.
    #[error("a transaction of {steps} conditions or writes, at most {most} are taken")]
    TooManySteps {
        /// Its conditions, or its writes, whichever are more.
        steps: usize,
        /// The most that is taken.
        most: usize,
    },
    /// A transaction writes to one key twice.
    #[error("a transaction that writes {key:?} twice")]
    Twice {
        /// The key.
        key: String,
    },
    /// Changes that a watch should hear of are no longer known.
    #[error("changes after revision {after} are no longer known, only those after {known}")]
    Compacted {
        /// What was asked for.
        after: Revision,
        /// The earliest that can be asked for.
        known: Revision,
    },
    /// There is no room for it.
    #[error("the store has no room")]
    Full(#[source] Cause),
    /// It cannot be written.
    #[error("the store cannot be written")]
    Write(#[source] Cause),
    /// It cannot be read.
    #[error("the store cannot be read")]
    Read(#[source] Cause),
    /// An entry is not what was written.
    #[error("the entry {key:?} is damaged")]
    Damaged {
        /// Where, or where it would be.
        key: String,
    },
    /// Whether the transaction happened is not known: read to find out. An embedded store ends.
    #[error("it is not known whether the store kept the change")]
    InDoubt(#[source] Cause),
    /// The store has ended.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::Conflict { .. } => "look again, and repeat it if it still makes sense",
            Self::Full(_) => "make room on the file system of the state folder, and repeat it",
            Self::Write(_) | Self::Read(_) => {
                "see to the file system of the state folder (`dmesg` may say more), and repeat it"
            }
            Self::Damaged { .. } => {
                "end weft, move the state folder away, and put a copy of it back that is whole"
            }
            Self::InDoubt(_) | Self::Closed => {
                "see to the file system of the state folder, then start weft anew: \
                 `weft down --keep` leaves sandboxes running"
            }
            Self::Key { .. }
            | Self::ValueTooLarge { .. }
            | Self::TooLarge { .. }
            | Self::TooManySteps { .. }
            | Self::Twice { .. }
            | Self::Compacted { .. } => return None,
        };
        Some(help.to_owned())
    }
}
