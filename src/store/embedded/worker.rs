//! The thread that has the database: requests one after the other, commits several at once.

use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Statement, params};
use tokio::sync::{mpsc, oneshot};

use super::QUEUE;
use super::file::{self, Trouble};
use super::refusal::Damage;
use super::seal::{Total, seal};
use crate::store::history::{Event, History};
use crate::store::{Cause, Entry, Listing, Revision, StoreError, Transaction, Write};

/// A request, and whom to answer.
#[derive(Debug)]
pub(super) enum Job {
    Get { key: String, answer: Answer<Option<Entry>> },
    List { prefix: String, answer: Answer<Listing> },
    Commit { transaction: Transaction, answer: Answer<Revision> },
}

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// A transaction, and whom to answer.
type Asked = (Transaction, Answer<Revision>);

/// Works until nobody can ask any more, or until the file cannot be relied on.
pub(super) fn work(
    connection: &Connection,
    total: Total,
    mut queue: mpsc::Receiver<Job>,
    history: &Arc<History>,
) {
    let mut worker = match Worker::new(connection, total, history) {
        Ok(worker) => worker,
        Err(error) => {
            tracing::error!(%error, "the store does not work");
            return history.close();
        }
    };
    let mut next = None;
    while let Some(job) = next.take().or_else(|| queue.blocking_recv()) {
        // Whoever asked may have gone; then nobody wants the answer.
        match job {
            Job::Get { key, answer } => drop(answer.send(worker.get(&key).map_err(unread))),
            Job::List { prefix, answer } => drop(answer.send(worker.list(&prefix).map_err(unread))),
            Job::Commit { transaction, answer } => {
                let mut group = vec![(transaction, answer)];
                while group.len() < QUEUE && next.is_none() {
                    match queue.try_recv() {
                        Ok(Job::Commit { transaction, answer }) => {
                            group.push((transaction, answer))
                        }
                        Ok(job) => next = Some(job),
                        Err(_) => break,
                    }
                }
                worker.commit(group);
            }
        }
        if worker.is_lost {
            break;
        }
    }
    history.close();
}

/// The database with its statements, and what its entries come to.
struct Worker<'a> {
    connection: &'a Connection,
    get: Statement<'a>,
    list: Statement<'a>,
    find: Statement<'a>,
    put: Statement<'a>,
    delete: Statement<'a>,
    settle: Statement<'a>,
    total: Total,
    history: &'a History,
    /// What the file holds is no longer known.
    is_lost: bool,
}

/// What a group came to, if it was stored.
struct Outcome {
    total: Total,
    events: Vec<Event>,
    /// For each of the group, in its order.
    answers: Vec<Result<Revision, StoreError>>,
}

impl<'a> Worker<'a> {
    fn new(
        connection: &'a Connection,
        total: Total,
        history: &'a History,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            get: connection.prepare("SELECT * FROM entries WHERE key = ?1")?,
            list: connection.prepare("SELECT * FROM entries WHERE key >= ?1 ORDER BY key")?,
            find: connection.prepare("SELECT revision, seal FROM entries WHERE key = ?1")?,
            put: connection.prepare("REPLACE INTO entries VALUES (?1, ?2, ?3, ?4)")?,
            delete: connection.prepare("DELETE FROM entries WHERE key = ?1")?,
            settle: connection
                .prepare("UPDATE total SET revision = ?1, count = ?2, sum = ?3, seal = ?4")?,
            total,
            history,
            is_lost: false,
        })
    }

    fn get(&mut self, key: &str) -> Result<Option<Entry>, Trouble> {
        let mut rows = self.get.query([key])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let (entry, _) = file::entry(row)?;
        Ok(Some(entry))
    }

    fn list(&mut self, prefix: &str) -> Result<Listing, Trouble> {
        let mut entries = Vec::new();
        let mut rows = self.list.query([prefix])?;
        while let Some(row) = rows.next()? {
            let (entry, _) = file::entry(row)?;
            if !entry.key.starts_with(prefix) {
                break;
            }
            entries.push(entry);
        }
        Ok(Listing { revision: self.total.revision, entries })
    }

    /// Stores a group with one sync, or, where that fails, each of it by itself.
    fn commit(&mut self, group: Vec<Asked>) {
        match self.store(&group) {
            Ok(outcome) => {
                self.total = outcome.total;
                self.history.add(outcome.events);
                for ((_, answer), said) in group.into_iter().zip(outcome.answers) {
                    let _ = answer.send(said);
                }
            }
            Err(error) if group.len() == 1 || self.is_lost => {
                let mut error = Some(error);
                for (_, answer) in group {
                    // Several only when the store is lost: the first learns why.
                    let _ = answer.send(Err(error.take().unwrap_or(StoreError::Closed)));
                }
            }
            Err(_) => group.into_iter().for_each(|asked| self.commit(vec![asked])),
        }
    }

    /// Stores a group. On an error nothing of it is there, unless [`Worker::is_lost`].
    fn store(&mut self, group: &[Asked]) -> Result<Outcome, StoreError> {
        if self.is_lost {
            return Err(StoreError::Closed);
        }
        let mut outcome = Outcome {
            total: self.total,
            events: Vec::new(),
            answers: Vec::with_capacity(group.len()),
        };
        match self.write(group, &mut outcome) {
            Ok(()) => Ok(outcome),
            Err(error) => self.recover(outcome, error),
        }
    }

    fn write(&mut self, group: &[Asked], outcome: &mut Outcome) -> Result<(), rusqlite::Error> {
        self.connection.execute_batch("BEGIN")?;
        for (transaction, _) in group {
            let answer = self.apply(transaction, outcome)?;
            outcome.answers.push(answer);
        }
        if outcome.total != self.total {
            self.settle(outcome.total)?;
        }
        self.connection.execute_batch("COMMIT")
    }

    /// Judges one transaction after those before it, and writes it if its conditions hold.
    fn apply(
        &mut self,
        transaction: &Transaction,
        outcome: &mut Outcome,
    ) -> rusqlite::Result<Result<Revision, StoreError>> {
        for condition in &transaction.conditions {
            let found = self.find(condition.key())?;
            if !condition.holds(found.map(|(revision, _)| revision)) {
                let key = condition.key().to_owned();
                return Ok(Err(StoreError::Conflict { key }));
            }
        }
        let revision = outcome.total.revision + 1;
        for write in &transaction.writes {
            let key = write.key();
            let former = self.find(key)?;
            if let Some((_, former)) = former {
                outcome.total.take(former);
            }
            let value = match write {
                Write::Put { value, .. } => {
                    let seal = seal(key, value, revision);
                    self.put.execute(params![
                        key,
                        value,
                        revision.cast_signed(),
                        seal.cast_signed()
                    ])?;
                    outcome.total.add(seal);
                    Some(value.clone())
                }
                Write::Delete { .. } if former.is_none() => continue,
                Write::Delete { .. } => {
                    self.delete.execute([key])?;
                    None
                }
            };
            outcome.total.revision = revision;
            outcome.events.push(Event { key: key.to_owned(), revision, value });
        }
        Ok(Ok(outcome.total.revision))
    }

    /// The revision and the seal of an entry.
    fn find(&mut self, key: &str) -> rusqlite::Result<Option<(Revision, u64)>> {
        let found = self.find.query_row([key], |row| {
            Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned()))
        });
        found.optional()
    }

    fn settle(&mut self, total: Total) -> rusqlite::Result<()> {
        let words = [total.revision, total.count, total.sum, total.seal()].map(u64::cast_signed);
        self.settle.execute(words).map(drop)
    }

    /// After a failure: takes back what there is of the group, and looks that it is gone.
    ///
    /// Where only the last step failed, making the end of the journal last, the group may be there.
    /// Then one more commit either makes it last as well, or the file cannot be relied on.
    fn recover(&mut self, outcome: Outcome, error: rusqlite::Error) -> Result<Outcome, StoreError> {
        if !self.connection.is_autocommit() {
            // Some errors have done this already; where it fails, the look shows it.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        match file::total(self.connection) {
            Ok(total) if total == self.total => return Err(unwritten(self.connection, &error)),
            Ok(total) if total == outcome.total && self.settle(total).is_ok() => {
                return Ok(outcome);
            }
            Ok(_) | Err(_) => {}
        }
        tracing::error!(%error, "the store ends: what it holds is not known");
        self.is_lost = true;
        Err(StoreError::InDoubt(error.into()))
    }
}

/// What to say when something was not read.
fn unread(trouble: Trouble) -> StoreError {
    match trouble {
        Trouble::Damaged(Damage::Entry(key)) => StoreError::Damaged { key },
        Trouble::Damaged(damage) => StoreError::Read(damage.into()),
        Trouble::Sqlite(error) => StoreError::Read(error.into()),
    }
}

/// What to say when something was not written. SQLite does not say where.
fn unwritten(connection: &Connection, error: &rusqlite::Error) -> StoreError {
    let is_full = error.sqlite_error_code() == Some(ErrorCode::DiskFull);
    let file = connection.path().unwrap_or_default();
    let cause: Cause = format!("{file}: {error}").into();
    if is_full { StoreError::Full(cause) } else { StoreError::Write(cause) }
}
