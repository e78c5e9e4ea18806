//! The folder of a store: whose it is, who may enter, and that only one process does.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation, access, flock};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::refusal::OpenError;

/// The database.
const FILE: &str = "state.db";
/// What SQLite puts beside it.
const JOURNAL: &str = "state.db-journal";
/// A database that is being made.
const DRAFT: &str = "state.db.new";
const LOCK: &str = "state.lock";
/// The longest content of a lock: a process id.
const LOCK_LEN: u64 = 32;

/// A folder that is this process's alone for as long as this is held.
#[derive(Debug)]
pub(super) struct Place {
    /// Without links, as SQLite wants it.
    folder: PathBuf,
    lock: File,
}

impl Place {
    /// Makes the folder where there is none, checks whose it is, and locks it.
    pub(super) fn take(folder: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Folder(folder.to_owned(), error);
        make(folder).map_err(failed)?;
        let real = fs::canonicalize(folder).map_err(failed)?;
        let metadata = fs::metadata(&real).map_err(failed)?;
        if !metadata.is_dir() {
            return Err(failed(ErrorKind::NotADirectory.into()));
        }
        owned(&real, &metadata)?;
        let mode = metadata.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(OpenError::Exposed { folder: real, mode });
        }
        // Each commit makes or changes a file; without this the first would be the one to tell.
        access(&real, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| failed(error.into()))?;
        let lock = lock(&real)?;
        Ok(Self { folder: real, lock })
    }

    /// Where the database is or belongs.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Where its journal is, while there is one.
    pub(super) fn journal(&self) -> PathBuf {
        self.folder.join(JOURNAL)
    }

    /// An empty file, out of sight, to make a new database in. What is there was never finished,
    /// and goes.
    pub(super) fn draft(&self) -> io::Result<PathBuf> {
        let draft = self.folder.join(DRAFT);
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        File::options().write(true).create_new(true).mode(0o600).open(&draft)?;
        Ok(draft)
    }

    /// Puts a finished draft where the database belongs, for good.
    pub(super) fn publish(&self, draft: &Path) -> io::Result<()> {
        File::open(draft)?.sync_all()?;
        fs::rename(draft, self.file())?;
        File::open(&self.folder)?.sync_all()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Closing it would do, but for a process that is being started just now: until it has
        // become another program it has all files of this one open.
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

/// A plain file of this user's at a path; `None` when nothing is there.
pub(super) fn plain_file(path: &Path) -> Result<Option<Metadata>, OpenError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::Read(path.to_owned(), error.into())),
    };
    if !metadata.is_file() {
        return Err(OpenError::NoFile(path.to_owned()));
    }
    owned(path, &metadata)?;
    Ok(Some(metadata))
}

fn owned(path: &Path, metadata: &Metadata) -> Result<(), OpenError> {
    let owner = metadata.uid();
    if owner == geteuid().as_raw() {
        return Ok(());
    }
    Err(OpenError::Foreign { path: path.to_owned(), owner })
}

/// Makes a folder and those above it, so that they are there after a loss of power, too.
fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
    let above = above.unwrap_or(Path::new("."));
    make(above)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        // Somebody else was faster; or it is something else, which shows when it is used.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    File::open(above)?.sync_all()
}

/// Locks the folder until the file is closed, however that comes about.
fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK);
    let failed = |error| OpenError::Folder(folder.to_owned(), error);
    plain_file(&path)?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(&path)
        .map_err(failed)?;
    let process = holder(&lock, &path)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(OpenError::Busy { folder: folder.to_owned(), process });
        }
        Err(error) => return Err(failed(error.into())),
    }
    // The file stays when the lock goes: with one that comes and goes, two could hold different
    // files of the same name.
    let process = format!("{}\n", std::process::id());
    // A courtesy, which may fail where the disk is full. Written over, and cut off only then, as
    // that needs no new room.
    let _ =
        lock.write_all_at(process.as_bytes(), 0).and_then(|()| lock.set_len(process.len() as u64));
    Ok(lock)
}

/// Who says that it holds the lock; empty when nobody ever did.
fn holder(lock: &File, path: &Path) -> Result<String, OpenError> {
    let no_lock = || OpenError::NoLock(path.to_owned());
    let mut text = String::new();
    lock.take(LOCK_LEN).read_to_string(&mut text).map_err(|_| no_lock())?;
    let process = text.trim();
    if process.bytes().all(|octet| octet.is_ascii_digit()) {
        return Ok(process.to_owned());
    }
    Err(no_lock())
}
