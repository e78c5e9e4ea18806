//! Files that were damaged at rest: what opens is what was committed, and all of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::Connection;
use weft::store::{Embedded, Entry, OpenError, Store};

use crate::conformance::{Random, edit, put};
use crate::folder::{Folder, content};
use crate::writers::{step, steps_of};

const PAGE: u64 = 4096;
/// How many damaged files are tried.
const SEEDS: u64 = 600;

/// A file of some pages with longer values, and free pages, and an earlier state of the same file.
struct Original {
    file: Vec<u8>,
    earlier: Vec<u8>,
    entries: Vec<Entry>,
}

async fn original() -> Original {
    let folder = Folder::new();
    let store = Embedded::open(&folder.path).unwrap();
    let mut model: BTreeMap<String, Entry> = BTreeMap::new();
    let mut earlier = Vec::new();
    for number in 1..=150 {
        for writer in 0..2 {
            let step = step(writer, number);
            let revision = store.commit(step.clone()).await.unwrap();
            edit(&mut model, &step, revision);
        }
        if number == 120 {
            earlier = fs::read(folder.file()).unwrap();
        }
    }
    drop(store);
    let entries = model.into_values().collect();
    Original { file: fs::read(folder.file()).unwrap(), earlier, entries }
}

#[tokio::test]
async fn a_damaged_file_is_refused_or_opens_with_exactly_what_was_committed() {
    let original = original().await;
    assert!(original.file.len() > 8 * 4096 && original.earlier.len() > 4 * 4096);
    let (mut refused, mut opened) = (0, 0);
    for seed in 0..SEEDS {
        let folder = Folder::made();
        fs::write(folder.file(), &original.file).unwrap();
        let name = damage(&folder.file(), &original, seed);
        let before = content(&folder.path);
        match Embedded::open(&folder.path) {
            Ok(store) => {
                opened += 1;
                let found = store.list("").await.unwrap().entries;
                assert_eq!(found, original.entries, "seed {seed}: {name}");
                // And what is written to it is there again.
                put(&store, "after", &[1; 20_000]).await;
                drop(store);
                let store = Embedded::open(&folder.path).unwrap();
                let found = store.get("after").await.unwrap().unwrap();
                assert_eq!(found.value, [1; 20_000], "seed {seed}: {name}");
            }
            Err(error) => {
                refused += 1;
                let is_right = matches!(
                    error,
                    OpenError::Damaged { .. }
                        | OpenError::NoDatabase(_)
                        | OpenError::Alien { .. }
                        | OpenError::NewerSchema { .. }
                );
                assert!(is_right, "seed {seed}: {name}: {error:?}");
                assert_eq!(content(&folder.path), before, "seed {seed}: {name}");
            }
        }
    }
    // What is hit is sometimes an octet that nobody uses.
    assert!(refused > SEEDS / 3 && opened > 0, "{refused} refused, {opened} opened");
}

/// Damages a file in one of several ways, and names it.
fn damage(path: &Path, original: &Original, seed: u64) -> &'static str {
    let mut random = Random::new(seed);
    let file = File::options().write(true).open(path).unwrap();
    let len = original.file.len() as u64;
    let pages = len / PAGE;
    let page = random.below(pages) * PAGE;
    let place = |offset: u64| usize::try_from(offset).unwrap();
    match random.below(8) {
        0 => {
            flip(&file, &original.file, random.below(len), 1 << random.below(8));
            "a bit"
        }
        1 => {
            for _ in 0..=random.below(20) {
                flip(&file, &original.file, random.below(len), 1 << random.below(8));
            }
            "several bits"
        }
        2 => {
            // Where every octet has a meaning.
            flip(&file, &original.file, page + random.below(16), 1 << random.below(8));
            "a page's header"
        }
        3 => {
            file.set_len(random.below(len)).unwrap();
            "cut off"
        }
        4 => {
            file.write_all_at(&[0; 4096], page).unwrap();
            "a page of zeros"
        }
        5 => {
            let other = place(random.below(pages) * PAGE);
            file.write_all_at(&original.file[other..other + 4096], page).unwrap();
            "a page of another place"
        }
        6 => {
            let page = random.below(original.earlier.len() as u64 / PAGE) * PAGE;
            let earlier = &original.earlier[place(page)..place(page) + 4096];
            file.write_all_at(earlier, page).unwrap();
            "a page of another time"
        }
        _ => {
            let octets: Vec<u8> =
                (0..4096).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
            file.write_all_at(&octets, page).unwrap();
            "a page of noise"
        }
    }
}

fn flip(file: &File, original: &[u8], offset: u64, bits: u8) {
    let octet = original[usize::try_from(offset).unwrap()] ^ bits;
    file.write_all_at(&[octet], offset).unwrap();
}

/// A transaction of SQLite's that stopped half-way: what it wrote is in the file in part, and the
/// journal to take it back is beside it.
async fn half_way() -> (Folder, Vec<Entry>) {
    let folder = Folder::new();
    let store = Embedded::open(&folder.path).unwrap();
    for number in 1..=60 {
        store.commit(step(0, number)).await.unwrap();
    }
    let entries = store.list("").await.unwrap().entries;
    drop(store);
    let copy = Folder::made();
    let connection = Connection::open(folder.file()).unwrap();
    // With room for a page or two in memory, pages go to the file before the end.
    connection
        .execute_batch(
            "PRAGMA journal_mode = TRUNCATE; PRAGMA cache_size = 1; PRAGMA cache_spill = 1;
             BEGIN; UPDATE entries SET value = zeroblob(1500), seal = seal + 1;
             DELETE FROM entries WHERE key > '0/05';",
        )
        .unwrap();
    fs::copy(folder.file(), copy.file()).unwrap();
    fs::copy(folder.journal(), copy.journal()).unwrap();
    (copy, entries)
}

#[tokio::test]
async fn a_transaction_that_was_under_way_is_taken_back() {
    let (folder, entries) = half_way().await;
    assert_ne!(fs::metadata(folder.journal()).unwrap().len(), 0);
    let store = Embedded::open(&folder.path).unwrap();
    let listing = store.list("").await.unwrap();
    assert_eq!(listing.entries, entries);
    assert_eq!(steps_of(&listing, 0), 60);
}

#[tokio::test]
async fn without_its_journal_a_half_written_file_is_refused() {
    let (folder, _) = half_way().await;
    for is_there in [true, false] {
        if is_there {
            File::options().write(true).open(folder.journal()).unwrap().set_len(0).unwrap();
        } else {
            fs::remove_file(folder.journal()).unwrap();
        }
        let before = content(&folder.path);
        let error = Embedded::open(&folder.path).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
        assert_eq!(content(&folder.path), before);
    }
}

#[tokio::test]
async fn a_damaged_journal_is_refused_or_leads_back_to_what_was_committed() {
    let (hot, entries) = half_way().await;
    let file = fs::read(hot.file()).unwrap();
    let journal = fs::read(hot.journal()).unwrap();
    let (mut refused, mut opened) = (0, 0);
    for seed in 0..SEEDS / 4 {
        let folder = Folder::made();
        fs::write(folder.file(), &file).unwrap();
        fs::write(folder.journal(), &journal).unwrap();
        let mut random = Random::new(seed);
        let damaged = File::options().write(true).open(folder.journal()).unwrap();
        let len = journal.len() as u64;
        match random.below(4) {
            0 => flip(&damaged, &journal, random.below(len), 1 << random.below(8)),
            1 => flip(&damaged, &journal, random.below(28), 1 << random.below(8)),
            2 => damaged.set_len(random.below(len)).unwrap(),
            _ => damaged.write_all_at(&[0; 512], random.below(len / 512) * 512).unwrap(),
        }
        match Embedded::open(&folder.path) {
            Ok(store) => {
                opened += 1;
                assert_eq!(store.list("").await.unwrap().entries, entries, "seed {seed}");
            }
            Err(error) => {
                refused += 1;
                assert!(matches!(error, OpenError::Damaged { .. }), "seed {seed}: {error:?}");
            }
        }
    }
    assert!(refused > 0 && opened > 0, "{refused} refused, {opened} opened");
}
