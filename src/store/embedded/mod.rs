//! A store in one file, which survives the end of the process and of the machine's power.
//!
//! `state.db` in a folder is a SQLite database. A commit is on disk before it is answered: SQLite
//! writes what was there before into a rollback journal and syncs it, writes the pages and syncs
//! them, and then truncates the journal and syncs that. The truncation is the commit; a journal
//! that is found longer at the next start takes everything back to before.
//!
//! One thread has the database, because SQLite waits for disks. Requests come to it over a bounded
//! channel. While it waits for a sync, commits gather, and the next sync carries all of them: each
//! is judged by its own conditions against what those before it left, and if the disk refuses the
//! group, each is tried again alone.
//!
//! What is found at the start is checked before it is believed ([`mod@file`]), and refused
//! without a change to the file. `state.lock` keeps a second process out.
//!
//! Roads not taken, so that nobody has to walk them twice:
//!
//! - *A write-ahead log*, one sync for a commit instead of four. SQLite ends a log at the first
//!   frame whose checksum is wrong. A flipped bit there would take commits away that were
//!   acknowledged, and leave a file in which everything is right.
//! - *`synchronous = NORMAL`*, which leaves out the sync after the truncation. The journal can then
//!   come back after a loss of power, and the commit goes with it; a test shows it.
//!
//! # Sources
//! [Atomic commit in SQLite](https://sqlite.org/atomiccommit.html),
//! [how to corrupt a database](https://sqlite.org/howtocorrupt.html),
//! [the file format](https://sqlite.org/fileformat2.html).

mod file;
mod header;
mod place;
mod refusal;
mod seal;
mod worker;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};

pub use refusal::{Damage, OpenError};

use self::place::Place;
use self::worker::Job;
use super::history::History;
use super::{Bounds, Doing, Entry, Listing, Revision, Store, StoreError, Transaction, Watch};

/// Requests waiting for the thread. Whoever comes then waits outside.
const QUEUE: usize = 64;

/// A store in a folder of its own. Dropping it waits for what is under way, and lets others in.
#[derive(Debug)]
pub struct Embedded {
    /// `None` once it is closed.
    open: Mutex<Option<Open>>,
    history: Arc<History>,
}

/// What an open store holds.
#[derive(Debug)]
struct Open {
    /// `None` only while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// After the thread: the next process may come in when the file is closed.
    _place: Place,
}

impl Drop for Open {
    fn drop(&mut self) {
        // The thread ends when nobody can ask any more, after what was asked.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Embedded {
    /// Opens the store in `folder`, or makes it where there is nothing yet. Reads and checks all of
    /// it, so it takes a moment and is nothing for an async thread.
    ///
    /// # Errors
    /// See [`OpenError`]. The files are then as they were, but for a transaction that was under way
    /// when the machine or the process ended, which is taken back first.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let place = Place::take(folder)?;
        let (connection, total) = file::open(&place)?;
        let history = Arc::new(History::new(total.revision));
        let (jobs, queue) = mpsc::channel(QUEUE);
        let told = Arc::clone(&history);
        let thread = thread::Builder::new()
            .name("weft-store".to_owned())
            .spawn(move || worker::work(&connection, total, queue, &told))
            .map_err(OpenError::Thread)?;
        let open = Open { jobs: Some(jobs), thread: Some(thread), _place: place };
        Ok(Self { open: Mutex::new(Some(open)), history })
    }

    fn held(&self) -> MutexGuard<'_, Option<Open>> {
        // It is taken or it is not, whoever panicked.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a request to the thread, and waits for the answer.
    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job + Send,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let jobs = self.held().as_ref().and_then(|open| open.jobs.clone());
        let jobs = jobs.ok_or(StoreError::Closed)?;
        jobs.send(job(answer)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

impl Store for Embedded {
    fn bounds(&self) -> Bounds {
        Bounds::LOCAL
    }

    fn get(&self, key: &str) -> Doing<'_, Option<Entry>> {
        let key = key.to_owned();
        Box::pin(self.ask(|answer| Job::Get { key, answer }))
    }

    fn list(&self, prefix: &str) -> Doing<'_, Listing> {
        let prefix = prefix.to_owned();
        Box::pin(self.ask(|answer| Job::List { prefix, answer }))
    }

    fn commit(&self, transaction: Transaction) -> Doing<'_, Revision> {
        Box::pin(async move {
            transaction.check(Bounds::LOCAL)?;
            self.ask(|answer| Job::Commit { transaction, answer }).await
        })
    }

    fn watch(&self, prefix: &str, after: Revision) -> Doing<'_, Watch> {
        let prefix = prefix.to_owned();
        Box::pin(async move { self.history.watch(prefix, after) })
    }

    fn close(&self) -> Doing<'_, ()> {
        Box::pin(async move {
            let open = self.held().take();
            self.history.close();
            // It waits for the thread, and so for the disk.
            let closed = tokio::task::spawn_blocking(move || drop(open)).await;
            closed.map_err(|_| StoreError::Closed)
        })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.held().take());
        self.history.close();
    }
}
