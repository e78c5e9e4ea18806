//! What is found at the place of the state, and what becomes of it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use rusqlite::Connection;
use weft::store::{Damage, Embedded, OpenError, Store, StoreError, Transaction};

use crate::conformance::{entry, put};
use crate::folder::{Folder, content};

/// A store that was closed, with entries `a` and `b` and a longer one.
async fn closed() -> Folder {
    let folder = Folder::new();
    let store = Embedded::open(&folder.path).unwrap();
    put(&store, "a", b"old").await;
    let both = Transaction::default().put("a", "1").put("b", "2").put("long", [3; 9000]);
    store.commit(both).await.unwrap();
    folder
}

#[tokio::test]
async fn what_was_committed_is_there_again() {
    let folder = closed().await;
    let store = Embedded::open(&folder.path).unwrap();
    let listing = store.list("").await.unwrap();
    let expected = [entry("a", b"1", 2), entry("b", b"2", 2), entry("long", &[3; 9000], 2)];
    assert_eq!((listing.revision, &*listing.entries), (2, &expected[..]));
    // What happened before is not known any more.
    let error = store.watch("", 1).await.unwrap_err();
    assert!(matches!(error, StoreError::Compacted { after: 1, known: 2 }), "{error:?}");
    store.watch("", 2).await.unwrap();
    assert_eq!(put(&store, "c", b"").await, 3);
}

#[test]
fn the_folder_and_those_above_it_are_made_for_their_owner_only() {
    let folder = Folder::new();
    let deep = folder.path.join("a/b");
    drop(Embedded::open(&deep).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&folder.path), 0o700);
    assert_eq!(mode(&deep), 0o700);
    assert_eq!(mode(&deep.join("state.db")), 0o600);
    assert_eq!(mode(&deep.join("state.lock")), 0o600);
    // A copy that was put back may have become readable.
    fs::set_permissions(deep.join("state.db"), Permissions::from_mode(0o644)).unwrap();
    drop(Embedded::open(&deep).unwrap());
    assert_eq!(mode(&deep.join("state.db")), 0o600);
}

#[test]
fn a_second_one_is_told_who_has_it() {
    let folder = Folder::new();
    let first = Embedded::open(&folder.path).unwrap();
    let error = Embedded::open(&folder.path).unwrap_err();
    let own = std::process::id().to_string();
    assert!(matches!(&error, OpenError::Busy { process, .. } if *process == own), "{error}");
    drop(first);
    Embedded::open(&folder.path).unwrap();
}

#[tokio::test]
async fn another_program_that_has_the_file_is_waited_for_by_nobody() {
    let folder = closed().await;
    let other = Connection::open(folder.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = Embedded::open(&folder.path).unwrap_err();
    assert!(matches!(error, OpenError::Locked(_)), "{error:?}");
    drop(other);
    Embedded::open(&folder.path).unwrap();
}

#[tokio::test]
async fn a_folder_behind_a_link_is_the_folder() {
    let folder = closed().await;
    let link = Folder::new();
    symlink(&folder.path, &link.path).unwrap();
    let store = Embedded::open(&link.path).unwrap();
    assert_eq!(store.get("b").await.unwrap(), Some(entry("b", b"2", 2)));
    fs::remove_file(&link.path).unwrap();
}

#[tokio::test]
async fn a_start_that_was_interrupted_is_begun_anew() {
    let folder = Folder::made();
    fs::write(folder.path.join("state.db.new"), b"half a file").unwrap();
    let store = Embedded::open(&folder.path).unwrap();
    assert_eq!(store.list("").await.unwrap().entries, []);
    assert!(!folder.path.join("state.db.new").exists());
}

/// Makes a mess of the file of a closed store.
type Mess = fn(&Folder);
/// Whether an error is the right one.
type Right = fn(&OpenError) -> bool;

fn is_damaged(error: &OpenError) -> bool {
    matches!(error, OpenError::Damaged { .. })
}

#[rustfmt::skip]
const REFUSED: [(&str, Mess, Right); 27] = [
    ("no octets", |folder| cut(folder, 0), |error| short(error, 0)),
    ("no octets beside a journal", |folder| {
        cut(folder, 0);
        fs::write(folder.journal(), [0; 512]).unwrap();
    }, |error| short(error, 0)),
    ("a few octets", |folder| cut(folder, 10), |error| short(error, 10)),
    ("less than a page", |folder| cut(folder, 4000), |error| short(error, 4000)),
    ("one page", |folder| cut(folder, 4096), is_damaged),
    ("a page less", |folder| cut(folder, fs::metadata(folder.file()).unwrap().len() - 4096), is_damaged),
    ("a text", |folder| fs::write(folder.file(), "hello\n".repeat(1000)).unwrap(),
        |error| matches!(error, OpenError::NoDatabase(_))),
    ("a short text", |folder| fs::write(folder.file(), "SQL").unwrap(), |error| short(error, 3)),
    ("another program's database", |folder| sql(folder, "PRAGMA application_id = 7"),
        |error| matches!(error, OpenError::Alien { application: 7, .. })),
    ("a newer schema", |folder| sql(folder, "PRAGMA user_version = 2"),
        |error| matches!(error, OpenError::NewerSchema { found: 2, known: 1, .. })),
    ("no schema", |folder| sql(folder, "PRAGMA user_version = 0"),
        |error| damage(error, |damage| matches!(damage, Damage::Header))),
    ("a write-ahead log", |folder| sql(folder, "PRAGMA journal_mode = WAL"),
        |error| damage(error, |damage| matches!(damage, Damage::Header))),
    ("one more table", |folder| sql(folder, "CREATE TABLE more (a)"), tables),
    ("a trigger", |folder| sql(folder,
        "CREATE TRIGGER t AFTER DELETE ON entries BEGIN DELETE FROM entries; END"), tables),
    ("no table", |folder| sql(folder, "DROP TABLE entries"), tables),
    ("another value", |folder| sql(folder, "UPDATE entries SET value = x'39' WHERE key = 'a'"),
        |error| entry_is(error, "a")),
    ("another revision", |folder| sql(folder, "UPDATE entries SET revision = 1 WHERE key = 'b'"),
        |error| entry_is(error, "b")),
    ("another key", |folder| sql(folder, "UPDATE entries SET key = 'c' WHERE key = 'b'"),
        |error| entry_is(error, "c")),
    ("an entry less", |folder| sql(folder, "DELETE FROM entries WHERE key = 'b'"), total),
    ("another latest revision", |folder| sql(folder, "UPDATE total SET revision = 3"), total),
    ("no total", |folder| sql(folder, "DELETE FROM total"), total),
    ("a journal that is none", |folder| fs::write(folder.journal(), "hello").unwrap(),
        |error| damage(error, |damage| matches!(damage, Damage::Journal))),
    ("a journal alone", |folder| fs::remove_file(folder.file()).unwrap(),
        |error| matches!(error, OpenError::Gone { .. })),
    ("a folder", |folder| {
        fs::remove_file(folder.file()).unwrap();
        fs::create_dir(folder.file()).unwrap();
    }, |error| matches!(error, OpenError::NoFile(_))),
    ("a link", |folder| {
        fs::rename(folder.file(), folder.path.join("elsewhere")).unwrap();
        symlink("elsewhere", folder.file()).unwrap();
    }, |error| matches!(error, OpenError::NoFile(_))),
    ("a link to nothing", |folder| {
        fs::remove_file(folder.file()).unwrap();
        symlink("nowhere", folder.file()).unwrap();
    }, |error| matches!(error, OpenError::NoFile(_))),
    ("a journal that is a link", |folder| {
        fs::remove_file(folder.journal()).unwrap();
        symlink("state.db", folder.journal()).unwrap();
    }, |error| matches!(error, OpenError::NoFile(_))),
];

fn damage(error: &OpenError, is_right: fn(&Damage) -> bool) -> bool {
    matches!(error, OpenError::Damaged { damage, .. } if is_right(damage))
}

fn short(error: &OpenError, octets: u64) -> bool {
    matches!(error, OpenError::Damaged { damage: Damage::Short(len), .. } if *len == octets)
}

fn tables(error: &OpenError) -> bool {
    damage(error, |damage| matches!(damage, Damage::Tables))
}

fn total(error: &OpenError) -> bool {
    damage(error, |damage| matches!(damage, Damage::Total))
}

fn entry_is(error: &OpenError, expected: &str) -> bool {
    matches!(error, OpenError::Damaged { damage: Damage::Entry(key), .. } if key == expected)
}

fn cut(folder: &Folder, octets: u64) {
    File::options().write(true).open(folder.file()).unwrap().set_len(octets).unwrap();
}

fn sql(folder: &Folder, line: &str) {
    // As somebody would with SQLite's own tool, which leaves no journal.
    fs::remove_file(folder.journal()).unwrap();
    let connection = Connection::open(folder.file()).unwrap();
    connection.execute_batch(line).unwrap();
}

#[tokio::test]
async fn what_is_not_whole_or_not_wefts_is_refused_and_left_as_it_was() {
    for (name, mess, is_right) in REFUSED {
        let folder = closed().await;
        mess(&folder);
        let before = content(&folder.path);
        let error = Embedded::open(&folder.path).unwrap_err();
        assert!(is_right(&error), "{name}: {error:?}");
        assert!(error.to_string().contains("state.db"), "{name}: {error}");
        assert!(error.help().is_some(), "{name}: {error}");
        assert_eq!(content(&folder.path), before, "{name}");
        // And the second time, too.
        assert!(is_right(&Embedded::open(&folder.path).unwrap_err()), "{name}, again");
        assert_eq!(content(&folder.path), before, "{name}, again");
    }
}

#[test]
fn a_place_that_will_not_do_is_refused_by_name() {
    let cases: [(&str, Mess, Right); 7] = [
        (
            "a file",
            |folder| fs::write(&folder.path, "").unwrap(),
            |error| matches!(error, OpenError::Folder(..)),
        ),
        (
            "a link to nothing",
            |folder| symlink("/nowhere/at/all", &folder.path).unwrap(),
            |error| matches!(error, OpenError::Folder(..)),
        ),
        (
            "open to a group",
            |folder| {
                fs::create_dir(&folder.path).unwrap();
                fs::set_permissions(&folder.path, Permissions::from_mode(0o770)).unwrap();
            },
            |error| matches!(error, OpenError::Exposed { mode: 0o770, .. }),
        ),
        (
            "a lock that is a text",
            |folder| {
                fs::create_dir(&folder.path).unwrap();
                fs::write(folder.path.join("state.lock"), "hello").unwrap();
            },
            |error| matches!(error, OpenError::NoLock(_)),
        ),
        (
            "a lock that is a link",
            |folder| {
                fs::create_dir(&folder.path).unwrap();
                symlink("target", folder.path.join("state.lock")).unwrap();
            },
            |error| matches!(error, OpenError::NoFile(_)),
        ),
        (
            "a lock that is a folder",
            |folder| fs::create_dir_all(folder.path.join("state.lock")).unwrap(),
            |error| matches!(error, OpenError::NoFile(_)),
        ),
        (
            "a draft that is a folder",
            |folder| fs::create_dir_all(folder.path.join("state.db.new")).unwrap(),
            |error| matches!(error, OpenError::Make(..)),
        ),
    ];
    for (name, prepare, is_right) in cases {
        let folder = Folder::new();
        prepare(&folder);
        let before = content(&folder.path);
        let error = Embedded::open(&folder.path).unwrap_err();
        assert!(is_right(&error), "{name}: {error:?}");
        assert!(error.to_string().contains(folder.path.to_str().unwrap()), "{name}: {error}");
        assert!(error.help().is_some(), "{name}: {error}");
        assert_eq!(content(&folder.path), before, "{name}");
        let _ = fs::remove_file(&folder.path);
    }
}

#[tokio::test]
async fn what_belongs_to_somebody_else_is_left_alone() {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let error = Embedded::open(Path::new("/")).unwrap_err();
        assert!(matches!(error, OpenError::Foreign { owner: 0, .. }), "{error:?}");
        return;
    }
    for name in ["", "state.db", "state.db-journal", "state.lock"] {
        let folder = closed().await;
        chown(folder.path.join(name), Some(1), None).unwrap();
        let before = content(&folder.path);
        let error = Embedded::open(&folder.path).unwrap_err();
        assert!(matches!(error, OpenError::Foreign { owner: 1, .. }), "{name}: {error:?}");
        assert_eq!(content(&folder.path), before, "{name}");
    }
}

#[tokio::test]
async fn what_may_not_be_read_or_written_is_an_error() {
    if rustix::process::geteuid().is_root() {
        // To whom nothing is forbidden.
        return;
    }
    let folder = closed().await;
    for (mode, is_right) in [
        (0o400, (|error| matches!(error, OpenError::ReadOnly(_))) as Right),
        (0o000, |error| matches!(error, OpenError::Read(..))),
    ] {
        fs::set_permissions(folder.file(), Permissions::from_mode(mode)).unwrap();
        let error = Embedded::open(&folder.path).unwrap_err();
        assert!(is_right(&error), "{mode:o}: {error:?}");
    }
}
