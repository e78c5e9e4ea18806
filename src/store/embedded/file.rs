//! The database itself: how one is made, and what must be right before one is believed.
//!
//! A new one is made under another name and renamed when it is finished, so a `state.db` that is
//! there was whole once. An old one is opened when
//!
//! - its first octets say that it is weft's and no newer than this weft ([`header`]);
//! - its tables are, to the letter, those that weft makes;
//! - SQLite finds its pages in order (`quick_check`);
//! - each entry's checksum is right, and so is their [`Total`].
//!
//! The last of these is what says that the content is the one that was committed, and all of it;
//! the one before, that it can be changed without doing harm. What is left to `integrity_check` is
//! comparing tables with their indexes, and there are none.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::ffi::SQLITE_IOERR_SHORT_READ;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row};
use rustix::fs::{Access, access};

use super::header::{self, APPLICATION, PAGE, SCHEMA};
use super::place::{Place, plain_file};
use super::refusal::{Damage, OpenError};
use super::seal::{Total, seal};
use crate::store::{Cause, Entry, MAX_STORE};

/// What `sqlite_schema` says of each table.
const TABLES: [&str; 2] = [
    "CREATE TABLE entries (key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL, \
     revision INTEGER NOT NULL, seal INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE total (one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1), \
     revision INTEGER NOT NULL, count INTEGER NOT NULL, sum INTEGER NOT NULL, \
     seal INTEGER NOT NULL) STRICT, WITHOUT ROWID",
];
/// Memory for pages, in KiB.
const CACHE_KIB: u32 = 8 << 10;

/// Why something in a database was not done, by who is to blame.
#[derive(Debug)]
pub(super) enum Trouble {
    /// SQLite, or the system behind it.
    Sqlite(rusqlite::Error),
    /// What was stored.
    Damaged(Damage),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Opens the database of a place, after all checks, or makes one.
pub(super) fn open(place: &Place) -> Result<(Connection, Total), OpenError> {
    let file = place.file();
    let journal = place.journal();
    let has_journal = plain_file(&journal)?.is_some();
    if plain_file(&file)?.is_none() {
        if has_journal {
            return Err(OpenError::Gone { file, journal });
        }
        make(place)?;
    }
    header::check(&file)?;
    if has_journal {
        header::check_journal(&journal, &file)?;
        // SQLite would find out with the first commit.
        if access(&journal, Access::WRITE_OK).is_err() {
            return Err(OpenError::ReadOnly(journal));
        }
    }
    let opened = connect(&file).map_err(|error| refusal(place, error.into()))?;
    if opened.is_readonly("main").unwrap_or(true) {
        return Err(OpenError::ReadOnly(file));
    }
    let total = verify(&opened).map_err(|trouble| refusal(place, trouble))?;
    // One that was copied back may be readable to all.
    let closed = fs::set_permissions(&file, Permissions::from_mode(0o600));
    closed.map_err(|error| OpenError::Read(file, error.into()))?;
    Ok((opened, total))
}

/// Makes an empty database.
fn make(place: &Place) -> Result<(), OpenError> {
    let failed = |cause: Cause| OpenError::Make(place.file(), cause);
    let draft = place.draft().map_err(|error| failed(error.into()))?;
    fill(&draft).map_err(|error| failed(error.into()))?;
    place.publish(&draft).map_err(|error| failed(error.into()))
}

fn fill(draft: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open_with_flags(draft, flags())?;
    // The file is synced as a whole before anybody sees it.
    connection.execute_batch(&format!(
        "PRAGMA page_size = {PAGE}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
         BEGIN EXCLUSIVE;
         PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA};"
    ))?;
    for table in TABLES {
        connection.execute_batch(table)?;
    }
    let total = Total::default();
    connection
        .execute("INSERT INTO total VALUES (1, 0, 0, 0, ?1)", [total.seal().cast_signed()])?;
    connection.execute_batch("COMMIT")?;
    connection.close().map_err(|(_, error)| error)
}

fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE
}

/// Opens the file and locks it for good. A journal that is found is played back here.
fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(file, flags())?;
    connection.busy_timeout(Duration::ZERO)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    let pages = MAX_STORE / u64::from(PAGE);
    connection.execute_batch(&format!(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = TRUNCATE;
         PRAGMA synchronous = FULL; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;
         PRAGMA cache_size = -{CACHE_KIB}; PRAGMA temp_store = MEMORY;
         PRAGMA max_page_count = {pages};
         BEGIN EXCLUSIVE; COMMIT;"
    ))?;
    Ok(connection)
}

/// Checks everything, and says what all entries come to.
fn verify(connection: &Connection) -> Result<Total, Trouble> {
    let mut tables = connection.prepare("SELECT sql FROM sqlite_schema ORDER BY rowid")?;
    let tables = tables.query_map([], |row| row.get::<_, Option<String>>(0))?;
    let tables = tables.collect::<Result<Vec<_>, _>>()?;
    if !tables.iter().map(Option::as_deref).eq(TABLES.map(Some)) {
        return Err(Trouble::Damaged(Damage::Tables));
    }
    let found: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))?;
    if found != "ok" {
        // Below a headline of SQLite's.
        let found = found.lines().last().unwrap_or_default();
        return Err(Trouble::Damaged(Damage::Pages(found.into())));
    }
    let said = total(connection)?;
    let mut counted = Total { revision: said.revision, ..Total::default() };
    let mut entries = connection.prepare("SELECT * FROM entries ORDER BY key")?;
    let mut rows = entries.query([])?;
    let mut former = String::new();
    while let Some(row) = rows.next()? {
        let (entry, seal) = entry(row)?;
        if entry.key <= former || entry.revision > said.revision {
            return Err(Trouble::Damaged(Damage::Entry(entry.key)));
        }
        counted.add(seal);
        former = entry.key;
    }
    if counted == said { Ok(said) } else { Err(Trouble::Damaged(Damage::Total)) }
}

/// What the file says that all entries come to.
pub(super) fn total(connection: &Connection) -> Result<Total, Trouble> {
    let mut statement = connection.prepare("SELECT revision, count, sum, seal FROM total")?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Err(Trouble::Damaged(Damage::Total)) };
    let word = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let total = Total { revision: word(0)?, count: word(1)?, sum: word(2)? };
    if total.seal() != word(3)? || rows.next()?.is_some() {
        return Err(Trouble::Damaged(Damage::Total));
    }
    Ok(total)
}

/// A row of `entries`, if it is what was written, and its seal.
pub(super) fn entry(row: &Row<'_>) -> Result<(Entry, u64), Trouble> {
    let key = row.get_ref(0)?.as_bytes().unwrap_or_default();
    let damaged =
        || Trouble::Damaged(Damage::Entry(String::from_utf8_lossy(key).chars().take(64).collect()));
    let text = str::from_utf8(key).map_err(|_| damaged())?;
    let value = row.get_ref(1)?.as_blob().map_err(|_| damaged())?;
    let revision = row.get_ref(2)?.as_i64().map_err(|_| damaged())?.cast_unsigned();
    let sealed = row.get_ref(3)?.as_i64().map_err(|_| damaged())?.cast_unsigned();
    if seal(text, value, revision) != sealed {
        return Err(damaged());
    }
    Ok((Entry { key: text.to_owned(), value: value.to_owned(), revision }, sealed))
}

/// Says why the database of a place is not opened.
fn refusal(place: &Place, trouble: Trouble) -> OpenError {
    let file = place.file();
    let error = match trouble {
        Trouble::Damaged(damage) => return OpenError::Damaged { file, damage },
        Trouble::Sqlite(error) => error,
    };
    let code = error.sqlite_error_code();
    if code == Some(ErrorCode::DatabaseBusy) {
        return OpenError::Locked(file);
    }
    let ends_early = error.sqlite_error().is_some_and(|error| {
        // In the middle of a page.
        error.extended_code == SQLITE_IOERR_SHORT_READ
    });
    let is_damaged = match code {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => true,
        // A value of a kind that nobody wrote; a table that SQLite cannot make sense of.
        None | Some(ErrorCode::Unknown) => true,
        Some(_) => ends_early,
    };
    if is_damaged {
        return OpenError::Damaged { file, damage: Damage::Pages(error.into()) };
    }
    OpenError::Read(file, error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_took_every_setting() {
        let folder = std::env::temp_dir().join(format!("weftt-settings-{}", std::process::id()));
        let place = Place::take(&folder).unwrap();
        let (connection, total) = open(&place).unwrap();
        assert_eq!(total, Total::default());
        // What sqlite.org/pragma.html calls them: synchronous 2 is FULL.
        let settings = [
            ("journal_mode", "truncate"),
            ("synchronous", "2"),
            ("locking_mode", "exclusive"),
            ("cell_size_check", "1"),
            ("trusted_schema", "0"),
            ("mmap_size", "0"),
            ("page_size", "4096"),
            ("max_page_count", "65536"),
        ];
        for (name, expected) in settings {
            let found = connection.pragma_query_value(None, name, |row| {
                let value = row.get_ref(0)?;
                Ok(value.as_i64().map_or_else(
                    |_| value.as_str().unwrap().to_owned(),
                    |number| number.to_string(),
                ))
            });
            assert_eq!(found.unwrap(), expected, "{name}");
        }
        drop(connection);
        fs::remove_dir_all(&folder).unwrap();
    }
}
