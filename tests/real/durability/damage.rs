//! What is at the place of the state and is not the state: refused by name, and left as it is.

use std::fs::{self, DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, FileExt, PermissionsExt, symlink};
use std::path::Path;

use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};
use weft::store::Transaction;

use super::state::{appliance, content, edit, file, inspect, networks};
use crate::support::{World, eventually};

as_both!(
    what_is_not_the_state_is_refused_and_stays,
    what_others_hold_is_refused_until_they_let_go,
    a_place_that_cannot_be_the_state_s_is_refused,
);
as_ordinary!(what_may_not_be_read_or_written_is_refused);

/// What is done to the state, given its folder.
type Mess = fn(&World, &Path);

/// A state with more than one page of networks, that no appliance has, and a copy of it.
fn prepared(world: &World) {
    let up = world.up();
    for number in 0..12 {
        let label = "x".repeat(400);
        world.weft(&format!("network create --label big={label} n{number}")).ok();
    }
    world.weft("down").ok();
    assert_eq!(up.into_program().end().code, 0);
    copy(world, &world.state(), &world.path("backup"));
}

/// Makes the folder `to` as `from` is.
fn copy(world: &World, from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let _ = fs::remove_file(to);
    DirBuilder::new().mode(0o700).create(to).unwrap();
    world.give(to);
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copied = to.join(entry.file_name());
        fs::copy(entry.path(), &copied).unwrap();
        world.give(&copied);
    }
}

fn restore(world: &World) {
    copy(world, &world.path("backup"), &world.state());
}

/// Sees that every way to start an appliance is refused with these words.
#[track_caller]
fn refused(world: &World, words: &[&str], help: &str) {
    for line in ["up", "up --detach", "run -- true", "run --detach -- true"] {
        world.weft(line).refused(1, words, help);
    }
    assert!(world.status().is_none());
}

fn cut(folder: &Path, keep: impl Fn(u64) -> u64) {
    let file = File::options().write(true).open(file(folder)).unwrap();
    file.set_len(keep(file.metadata().unwrap().len())).unwrap();
}

fn overwrite(folder: &Path, place: u64, octets: &[u8]) {
    let file = File::options().write(true).open(file(folder)).unwrap();
    file.write_all_at(octets, place).unwrap();
}

/// Does what somebody with SQLite's own tool might do.
fn sql(folder: &Path, lines: &str) {
    let _ = fs::remove_file(folder.join("state.db-journal"));
    Connection::open(file(folder)).unwrap().execute_batch(lines).unwrap();
}

fn replace(world: &World, folder: &Path, octets: &[u8]) {
    let path = file(folder);
    fs::write(&path, octets).unwrap();
    world.give(&path);
}

/// Octets without sense.
fn noise(len: u32) -> Vec<u8> {
    (1..=len).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A network that has the subnet of another one.
fn overlapping(id: &str) -> Transaction {
    let network = serde_json::json!({ "id": id });
    Transaction::default().put(format!("networks/{id}"), network.to_string())
}

const AWAY: &str = "move";
const BACKUP: &str = "put back a copy";

#[rustfmt::skip]
const MESSES: [(&str, Mess, &str, &str); 20] = [
    ("no octets", |_, at| cut(at, |_| 0), "cut off after 0 octets", BACKUP),
    ("a few octets", |_, at| cut(at, |_| 10), "cut off after 10 octets", BACKUP),
    ("less than a page", |_, at| cut(at, |_| 4000), "cut off after 4000 octets", BACKUP),
    ("one page", |_, at| cut(at, |_| 4096), "damaged", BACKUP),
    ("a page less", |_, at| cut(at, |len| len - 4096), "damaged", BACKUP),
    ("an octet less", |_, at| cut(at, |len| len - 1), "damaged", BACKUP),
    ("zeroes at the start", |_, at| overwrite(at, 0, &[0; 512]), "not weft's state", AWAY),
    ("zeroes in a page", |_, at| overwrite(at, 2 * 4096, &[0; 4096]), "damaged", BACKUP),
    ("another letter in the values", |world, at| {
        let octets = fs::read(file(at)).unwrap();
        let other = octets.iter().map(|octet| if *octet == b'x' { b'y' } else { *octet });
        replace(world, at, &other.collect::<Vec<u8>>());
    }, "damaged", BACKUP),
    ("all zeroes", |world, at| replace(world, at, &[0; 40_960]), "not weft's state", AWAY),
    ("noise", |world, at| replace(world, at, &noise(20_000)), "not weft's state", AWAY),
    ("a text", |world, at| replace(world, at, b"[networks.blue]\n"), "not weft's state", AWAY),
    ("another program's database", |_, at| {
        fs::remove_file(file(at)).unwrap();
        sql(at, "PRAGMA application_id = 7; CREATE TABLE songs (name TEXT)");
    }, "another program's database", AWAY),
    ("a newer schema", |_, at| sql(at, "PRAGMA user_version = 2"), "newer weft (schema 2", "newer weft"),
    ("a newer format", |world, at| edit(world, at, appliance(2, "x")), "format 2", "version of weft"),
    ("a newer record", |world, at| {
        edit(world, at, Transaction::default().put("peers/one", "{}"));
    }, "\"peers/one\"", "version of weft"),
    ("a record without sense", |world, at| {
        edit(world, at, Transaction::default().put("declared/networks/blue", "{"));
    }, "declared/networks/blue", "backup"),
    ("a record that lacks something", |world, at| edit(world, at, overlapping(&"ab".repeat(32))),
        "networks/abab", "backup"),
    ("a folder", |world, at| {
        fs::remove_file(file(at)).unwrap();
        fs::create_dir(file(at)).unwrap();
        world.give(&file(at));
    }, "not a plain file", AWAY),
    ("a link", |world, at| {
        fs::rename(file(at), world.path("elsewhere.db")).unwrap();
        symlink(world.path("elsewhere.db"), file(at)).unwrap();
        world.give(&file(at));
    }, "not a plain file", AWAY),
];

fn what_is_not_the_state_is_refused_and_stays(world: &World) {
    prepared(world);
    let state = world.state();
    let place = state.display().to_string();
    for (name, mess, words, help) in MESSES {
        println!("{name}");
        mess(world, &state);
        // What this process did, it did as root.
        world.give(&file(&state));
        let before = content(&state);
        for line in ["up", "up --detach", "run -- true"] {
            let said = world.weft(line);
            assert!(said.err.to_lowercase().contains(help), "{name}: {said:#?}");
            assert!(said.err.contains(words), "{name}: {said:#?}");
            said.refused(1, &[&place], "help: ");
        }
        assert!(world.status().is_none(), "{name}");
        assert!(content(&state) == before, "{name}: the files have changed");
        restore(world);
    }
    let _up = world.up();
    assert_eq!(networks(world).len(), 15);
    let label = inspect(world, "n11")["Labels"]["big"].as_str().map(str::len);
    assert_eq!(label, Some(400));
}

fn what_others_hold_is_refused_until_they_let_go(world: &World) {
    prepared(world);
    let state = world.state();
    let place = state.display().to_string();
    let lock = File::options().write(true).open(state.join("state.lock")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    refused(world, &[&place, "in use by process"], "--state");
    drop(lock);
    let other = Connection::open(file(&state)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    refused(world, &[&place, "in use by another program"], "end the program");
    drop(other);
    let _up = world.up();
    assert_eq!(networks(world).len(), 15);
}

fn a_place_that_cannot_be_the_state_s_is_refused(world: &World) {
    let text = world.write("text", "[networks.blue]\n");
    let shared = world.path("shared");
    fs::create_dir(&shared).unwrap();
    world.give(&shared);
    fs::set_permissions(&shared, Permissions::from_mode(0o777)).unwrap();
    let nowhere = world.path("nowhere");
    symlink("/nowhere/at/all", &nowhere).unwrap();
    let cases = [
        (text.clone(), "cannot be used for the state: not a directory", "--state"),
        (text.join("state"), "cannot be used for the state", "--state"),
        (nowhere, "cannot be used for the state", "--state"),
        ("/proc/weft".into(), "cannot be used for the state", "--state"),
        (shared, "others may write in the folder", "chmod 700"),
    ];
    for (place, words, help) in cases {
        let said = world.weft(&format!("up --state {}", place.display()));
        said.refused(1, &[place.to_str().unwrap(), words], help);
    }
    assert_eq!(fs::read_to_string(text).unwrap(), "[networks.blue]\n");
    let _up = world.up_as("up --state none");
    assert!(!world.state().exists());
}

fn what_may_not_be_read_or_written_is_refused(world: &World) {
    prepared(world);
    let state = world.state();
    let (path, journal) = (file(&state), state.join("state.db-journal"));
    let cases = [
        (&path, 0o000, "state.db cannot be read", "chmod 600"),
        (&path, 0o400, "state.db cannot be written", "chmod 600"),
        (&journal, 0o000, "state.db-journal cannot be read", "chmod 600"),
        (&journal, 0o400, "state.db-journal cannot be written", "chmod 600"),
        (&state, 0o000, "cannot be used for the state: Permission denied", "--state"),
        (&state, 0o500, "cannot be used for the state: Permission denied", "--state"),
    ];
    for (path, mode, words, help) in cases {
        let before = content(&state);
        let former = fs::metadata(path).unwrap().permissions();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        refused(world, &[state.to_str().unwrap(), words], help);
        fs::set_permissions(path, former).unwrap();
        assert!(content(&state) == before, "{words}: the files have changed");
    }
    let _up = world.up();
    eventually("all is there", || (networks(world).len() == 15).then_some(()));
}
