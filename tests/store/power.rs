//! Losses of power, played through: what a store told the system is recorded, and from the record
//! come the disks that a loss of power could have left.
//!
//! A disk has what was synced. Of what was not, any part may be there and any other may not: single
//! writes, single sectors of a write, the new length of a file. Names come and go in order, as they
//! do with a file system that keeps a journal, and any number of the last of them may be missing.
//! That is more than most disks lose.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use weft::store::{Embedded, Store};

use crate::conformance::{Random, put};
use crate::crash::has_strace;
use crate::folder::Folder;
use crate::writers::{Word, start, steps_of};

/// How many commits are recorded.
const STEPS: u64 = 4;
/// How many disks are made of each moment.
const DISKS: u64 = 5;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

#[tokio::test]
async fn what_was_acknowledged_survives_a_loss_of_power_at_any_moment() {
    if !has_strace() {
        return;
    }
    let record = record();
    let mut disk = Disk::default();
    let mut acknowledged = 0;
    let mut random = Random::new(STEPS);
    for (place, done) in record.iter().enumerate() {
        match done {
            Done::Said(Word::Done(_, step)) => acknowledged = *step,
            Done::Said(_) => {}
            Done::Call(call) => disk.take(call),
        }
        for _ in 0..DISKS {
            let folder = Folder::made();
            disk.lose_power(&mut random, &folder.path);
            let store = Embedded::open(&folder.path)
                .unwrap_or_else(|error| panic!("after {place} ({done:?}): {error:?}"));
            let found = steps_of(&store.list("").await.unwrap(), 0);
            assert!(
                (acknowledged..=acknowledged + 1).contains(&found),
                "after {place} ({done:?}): {acknowledged} acknowledged, {found} there"
            );
            put(&store, "after", b"").await;
        }
    }
    assert_eq!(acknowledged, STEPS);
}

/// What happened, in order.
#[derive(Debug)]
enum Done {
    Call(Call),
    Said(Word),
}

/// A system call that changed something in the folder.
#[derive(Debug)]
enum Call {
    Create(String),
    Remove(String),
    Rename(String, String),
    Change(String, Change),
    Sync(String),
    SyncFolder,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl std::fmt::Debug for Change {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Write(place, octets) => write!(formatter, "{} at {place}", octets.len()),
            Self::Length(length) => write!(formatter, "length {length}"),
        }
    }
}

/// Runs a writer and says what it did.
fn record() -> Vec<Done> {
    let folder = Folder::made();
    let log = Folder::made();
    let log_path = log.path.join("log");
    let trace = "trace=openat,pwrite64,fsync,ftruncate,rename,unlink,write";
    let log_word = log_path.to_str().unwrap();
    let wrapper = ["strace", "-f", "-qq", "-y", "-xx", "-s", "100000", "-o", log_word, "-e", trace];
    let mut child = start(&wrapper, &folder.path, 1, STEPS);
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    let log = fs::read_to_string(log_path).unwrap();
    let record: Vec<Done> = log.lines().filter_map(|line| parse(line, &folder.path)).collect();
    assert!(record.len() > 20, "{log}");
    record
}

/// What a line of strace's says, if it is about the folder or somebody's word.
fn parse(line: &str, folder: &Path) -> Option<Done> {
    // The process's number, the call, its arguments, its result.
    let (_, line) = line.trim_start().split_once(' ')?;
    let (name, rest) = line.trim_start().split_once('(')?;
    let texts: Vec<Vec<u8>> = rest.split('"').skip(1).step_by(2).map(octets).collect();
    // `7</path>` and what comes after it.
    let of_descriptor = || {
        let (_, rest) = rest.split_once('<')?;
        let (path, rest) = rest.split_once('>')?;
        Some((String::from_utf8(octets(path)).ok()?, rest))
    };
    let here = |path: &str| {
        let name = Path::new(path).strip_prefix(folder).ok()?.to_str()?.to_owned();
        (name != "state.lock").then_some(name)
    };
    let named = |place: usize| here(str::from_utf8(texts.get(place)?).ok()?);
    if !line.contains("unfinished") && line.contains(") = -1") {
        return None;
    }
    let number =
        |rest: &str| rest.split([',', ')']).rev().find_map(|word| word.trim().parse().ok());
    let call = match name {
        "write" => {
            let text = String::from_utf8(texts.into_iter().next()?).ok()?;
            return Word::parse(&text).map(Done::Said);
        }
        "openat" if line.contains("O_CREAT") => Call::Create(named(0)?),
        "unlink" => Call::Remove(named(0)?),
        "rename" => Call::Rename(named(0)?, named(1)?),
        "fsync" => match here(&of_descriptor()?.0)?.as_str() {
            "" => Call::SyncFolder,
            name => Call::Sync(name.to_owned()),
        },
        "ftruncate" => {
            let (path, rest) = of_descriptor()?;
            let (rest, _) = rest.split_once(')')?;
            Call::Change(here(&path)?, Change::Length(number(rest)?))
        }
        "pwrite64" => {
            let (path, rest) = of_descriptor()?;
            let (rest, _) = rest.rsplit_once(')').unwrap_or((rest, ""));
            let written = texts.into_iter().next()?;
            Call::Change(here(&path)?, Change::Write(number(rest)?, written))
        }
        _ => return None,
    };
    Some(Done::Call(call))
}

/// The octets of a text in which some or all are written as `\xNN`.
fn octets(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        match rest {
            [b'\\', b'x', high, low, after @ ..] => {
                let digits = [*high, *low];
                let digits = str::from_utf8(&digits).unwrap();
                octets.push(u8::from_str_radix(digits, 16).unwrap());
                rest = after;
            }
            _ => {
                octets.push(*first);
                rest = after;
            }
        }
    }
    octets
}

/// A disk, and what it was told and may not have done.
#[derive(Default)]
struct Disk {
    files: Vec<Kept>,
    /// Which file is at which name: what is sure, and what changed since.
    names: BTreeMap<String, usize>,
    renames: Vec<(String, Option<usize>)>,
    /// As the program sees it.
    seen: BTreeMap<String, usize>,
}

#[derive(Default)]
struct Kept {
    sure: Vec<u8>,
    since: Vec<Change>,
}

impl Disk {
    fn take(&mut self, call: &Call) {
        match call {
            Call::Create(name) if self.seen.contains_key(name) => {}
            Call::Create(name) => {
                self.files.push(Kept::default());
                self.put(name, Some(self.files.len() - 1));
            }
            Call::Remove(name) => self.put(name, None),
            Call::Rename(from, to) => {
                let file = self.seen[from];
                self.put(to, Some(file));
                self.put(from, None);
            }
            Call::Change(name, change) => {
                self.files[self.seen[name]].since.push(change.clone());
            }
            Call::Sync(name) => {
                let file = &mut self.files[self.seen[name]];
                for change in file.since.drain(..) {
                    change.make(&mut file.sure);
                }
            }
            Call::SyncFolder => {
                for (name, file) in self.renames.drain(..) {
                    set(&mut self.names, &name, file);
                }
            }
        }
    }

    fn put(&mut self, name: &str, file: Option<usize>) {
        set(&mut self.seen, name, file);
        self.renames.push((name.to_owned(), file));
    }

    /// Writes what is left of it into a folder.
    fn lose_power(&self, random: &mut Random, folder: &Path) {
        let mut names = self.names.clone();
        let kept = random.below(self.renames.len() as u64 + 1);
        for (name, file) in self.renames.iter().take(usize::try_from(kept).unwrap()) {
            set(&mut names, name, *file);
        }
        // All, none, or some of what was not synced.
        let mood = random.below(4);
        for (name, file) in names {
            let file = &self.files[file];
            let mut content = file.sure.clone();
            for change in &file.since {
                match mood {
                    0 => change.make(&mut content),
                    1 => {}
                    _ => change.make_in_part(random, &mut content),
                }
            }
            fs::write(folder.join(name), content).unwrap();
        }
    }
}

fn set(names: &mut BTreeMap<String, usize>, name: &str, file: Option<usize>) {
    match file {
        Some(file) => names.insert(name.to_owned(), file),
        None => names.remove(name),
    };
}

impl Change {
    fn make(&self, content: &mut Vec<u8>) {
        match self {
            Self::Length(length) => content.resize(*length, 0),
            Self::Write(place, octets) => {
                content.resize(content.len().max(place + octets.len()), 0);
                content[*place..place + octets.len()].copy_from_slice(octets);
            }
        }
    }

    fn make_in_part(&self, random: &mut Random, content: &mut Vec<u8>) {
        match (self, random.below(3)) {
            (_, 0) => self.make(content),
            (_, 1) | (Self::Length(_), _) => {}
            (Self::Write(place, octets), _) => {
                // Sectors end where the disk's do, not where the write's do.
                let first = (SECTOR - place % SECTOR).min(octets.len());
                let (first, rest) = octets.split_at(first);
                let sectors = [first].into_iter().chain(rest.chunks(SECTOR));
                let mut place = *place;
                for sector in sectors {
                    if random.below(2) == 0 {
                        Self::Write(place, sector.to_owned()).make(content);
                    }
                    place += sector.len();
                }
            }
        }
    }
}
