//! Writers whose every step is known, so that from what is in a store follows how far they came.
//!
//! Writer `w` has the keys that begin with `w/`. Its step `n` puts its count, puts and deletes
//! others, some of them longer than a page, all in one transaction. After any number of steps there
//! is one right content, and a step that is there by half has none.
//!
//! [`the_other_process`] is what a test runs as a process of its own, to end it or to disturb it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use weft::store::{Embedded, Listing, Store, StoreError, Transaction};

use crate::conformance::edit;

const FOLDER: &str = "WEFT_TEST_STORE_FOLDER";
const WRITERS: &str = "WEFT_TEST_STORE_WRITERS";
const STEPS: &str = "WEFT_TEST_STORE_STEPS";

/// What a writer does in a step.
pub fn step(writer: u64, number: u64) -> Transaction {
    let key = |name: u64| format!("{writer}/{name:02}");
    let octet = u8::try_from(number % 251).unwrap();
    let octets = if number % 5 == 3 { 6000 } else { usize::from(octet) * 3 };
    let put = number % 41;
    let delete = (number * 5 + 1) % 41;
    let step = Transaction::default()
        .put(format!("{writer}/count"), number.to_le_bytes())
        .put(key(put), vec![octet; octets]);
    if delete == put { step } else { step.delete(key(delete)) }
}

/// What each key holds after a number of steps.
pub fn content_after(writer: u64, steps: u64) -> BTreeMap<String, Vec<u8>> {
    let mut model = BTreeMap::new();
    for number in 1..=steps {
        edit(&mut model, &step(writer, number), number);
    }
    model.into_iter().map(|(key, entry)| (key, entry.value)).collect()
}

/// How many steps a writer did, from what is there.
///
/// # Panics
/// When it is not what is there after any number of whole steps.
pub fn steps_of(listing: &Listing, writer: u64) -> u64 {
    let prefix = format!("{writer}/");
    let own = listing.entries.iter().filter(|entry| entry.key.starts_with(&prefix));
    let found: BTreeMap<String, Vec<u8>> =
        own.map(|entry| (entry.key.clone(), entry.value.clone())).collect();
    let count = found.get(&format!("{writer}/count"));
    let steps = count.map_or(0, |count| u64::from_le_bytes(count.clone().try_into().unwrap()));
    assert_eq!(found, content_after(writer, steps), "writer {writer} after {steps} steps");
    steps
}

/// What a process of writers says, line by line: `open`; `done W N` for each step that was
/// acknowledged; `failed W N` for one that was not and may be tried again; `in-doubt W N` for one
/// of which nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Open,
    Done(u64, u64),
    Failed(u64, u64),
    InDoubt(u64, u64),
}

impl Word {
    /// The word in a line, if it is one.
    pub fn parse(line: &str) -> Option<Self> {
        // What the test harness prints may stand before it.
        let line = line.find("weft-store ").map(|at| &line[at..])?;
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let number = |place: usize| words.get(place)?.parse().ok();
        match *words.first()? {
            "open" => Some(Self::Open),
            "done" => Some(Self::Done(number(1)?, number(2)?)),
            "failed" => Some(Self::Failed(number(1)?, number(2)?)),
            "in-doubt" => Some(Self::InDoubt(number(1)?, number(2)?)),
            _ => None,
        }
    }
}

/// A process of writers on a folder, or `wrapper` with it as its arguments. It ends after `steps`
/// steps of each writer.
pub fn start(wrapper: &[&str], folder: &Path, writers: u64, steps: u64) -> Child {
    let own = std::env::current_exe().unwrap();
    let mut words: Vec<&str> = wrapper.to_vec();
    words.push(own.to_str().unwrap());
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command.args(["--exact", "writers::the_other_process", "--nocapture", "--test-threads=1"]);
    command.env(FOLDER, folder).env(WRITERS, writers.to_string()).env(STEPS, steps.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn the_other_process() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let number = |name| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let Ok(store) = Embedded::open(Path::new(&folder)) else { return };
    println!("weft-store open");
    let store = Arc::new(store);
    let tasks: Vec<_> = (0..number(WRITERS))
        .map(|writer| tokio::spawn(write(Arc::clone(&store), writer, number(STEPS))))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn write(store: Arc<Embedded>, writer: u64, steps: u64) {
    let done = steps_of(&store.list(&format!("{writer}/")).await.unwrap(), writer);
    let mut number = done + 1;
    for _ in 0..steps {
        match store.commit(step(writer, number)).await {
            Ok(_) => {
                println!("weft-store done {writer} {number}");
                number += 1;
            }
            Err(StoreError::InDoubt(_)) => {
                println!("weft-store in-doubt {writer} {number}");
                return;
            }
            Err(StoreError::Full(_) | StoreError::Write(_)) => {
                println!("weft-store failed {writer} {number}");
                // Nothing of it may be there, and what was there must be.
                let listing = store.list(&format!("{writer}/")).await.unwrap();
                assert_eq!(steps_of(&listing, writer), number - 1);
            }
            Err(error) => panic!("{error}"),
        }
    }
}
