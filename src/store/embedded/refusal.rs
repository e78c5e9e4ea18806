//! Why a state folder was not opened, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::store::Cause;

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder cannot be made or used.
    #[error("the folder {} cannot be used for the state", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// The folder or a file in it belongs to somebody else.
    #[error("{} belongs to another user ({owner})", .path.display())]
    Foreign {
        /// What.
        path: PathBuf,
        /// Whose.
        owner: u32,
    },
    /// Others may put files into the folder.
    #[error("others may write in the folder {} (its mode is {mode:o})", .folder.display())]
    Exposed {
        /// Which.
        folder: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Another process has it.
    #[error("the state in {} is in use by process {process}", .folder.display())]
    Busy {
        /// Which folder.
        folder: PathBuf,
        /// Which process says so; empty where none does.
        process: String,
    },
    /// Another program has the file open.
    #[error("{} is in use by another program", .0.display())]
    Locked(PathBuf),
    /// A link, a folder or something else is where a file belongs.
    #[error("{} is not a plain file, and stays", .0.display())]
    NoFile(PathBuf),
    /// What is where the lock belongs is something else.
    #[error("{} is not a lock of weft's, and stays", .0.display())]
    NoLock(PathBuf),
    /// The file is no database.
    #[error("{} is not weft's state", .0.display())]
    NoDatabase(PathBuf),
    /// The file is another program's database.
    #[error("{} is another program's database (application id {application:#010x})",
        .file.display())]
    Alien {
        /// Which.
        file: PathBuf,
        /// What it says it is.
        application: u32,
    },
    /// A newer weft wrote it.
    #[error("{} was written by a newer weft (schema {found}, this one knows {known})",
        .file.display())]
    NewerSchema {
        /// Which.
        file: PathBuf,
        /// The schema it has.
        found: u32,
        /// The latest schema known here.
        known: u32,
    },
    /// It is not what was written.
    #[error("the state in {} is damaged", .file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// In what way.
        #[source]
        damage: Damage,
    },
    /// The journal is there and what it belongs to is not.
    #[error("{} is gone, and its journal {} is there", .file.display(), .journal.display())]
    Gone {
        /// What is missing.
        file: PathBuf,
        /// What is there.
        journal: PathBuf,
    },
    /// The file can be read and not written.
    #[error("{} cannot be written", .0.display())]
    ReadOnly(PathBuf),
    /// The file cannot be read.
    #[error("{} cannot be read", .0.display())]
    Read(PathBuf, #[source] Cause),
    /// The file cannot be made.
    #[error("{} cannot be made", .0.display())]
    Make(PathBuf, #[source] Cause),
    /// The process cannot have a thread.
    #[error("the store's thread does not start")]
    Thread(#[source] io::Error),
}

/// In what way a file is damaged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// It was cut off.
    #[error("the file is cut off after {0} octets")]
    Short(u64),
    /// Its first octets are not what weft writes.
    #[error("the file's header is not as weft writes it")]
    Header,
    /// The journal beside it is something else.
    #[error("the journal beside it is not a journal")]
    Journal,
    /// Its tables are not weft's.
    #[error("the file's tables are not as weft makes them")]
    Tables,
    /// Its pages do not fit together.
    #[error("the file's pages do not fit together")]
    Pages(#[source] Cause),
    /// An entry is not what was written.
    #[error("the entry {0:?} is not what was written")]
    Entry(String),
    /// Entries are missing, or from another time.
    #[error("entries are missing, or not of the same time")]
    Total,
}

impl OpenError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::Folder(..) => "choose another folder for the state with --state".to_owned(),
            Self::Foreign { .. } => {
                "run weft as that user, or choose another folder with --state".to_owned()
            }
            Self::Exposed { folder, .. } => format!("`chmod 700 {}`", folder.display()),
            Self::Busy { .. } => {
                "end it with `weft down`, or choose another folder with --state".to_owned()
            }
            Self::Locked(file) => format!("end the program that reads {}", file.display()),
            Self::NoFile(path)
            | Self::NoLock(path)
            | Self::NoDatabase(path)
            | Self::Alien { file: path, .. } => {
                format!("move {} away, or choose another folder with --state", path.display())
            }
            Self::NewerSchema { .. } => {
                "use that newer weft, or choose another folder with --state".to_owned()
            }
            Self::Damaged { file, .. } => {
                let folder = file.parent().unwrap_or(file);
                format!(
                    "nothing was changed. Move {} away, and put back a copy of it that is whole, \
                     or begin with no state",
                    folder.display()
                )
            }
            Self::Gone { journal, .. } => {
                format!("put it back, or begin with no state: move {} away, too", journal.display())
            }
            Self::ReadOnly(file) => format!("`chmod 600 {}`", file.display()),
            Self::Read(file, cause) if is_denied(cause) => {
                format!("`chmod 600 {}`", file.display())
            }
            Self::Read(..) => "see to the file system; `dmesg` may say more".to_owned(),
            Self::Make(..) => {
                "make room there, or choose another folder for the state with --state".to_owned()
            }
            Self::Thread(_) => return None,
        };
        Some(help)
    }
}

/// Whether it is a matter of permissions alone.
fn is_denied(cause: &Cause) -> bool {
    let error = cause.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}
