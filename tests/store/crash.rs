//! Processes that are killed, and system calls that fail, at every point of a commit.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use weft::store::{Embedded, Store};

use crate::conformance::{Random, put};
use crate::folder::Folder;
use crate::writers::{Word, start, steps_of};

/// How often a process is killed.
const ROUNDS: u64 = 40;
/// More steps than any process gets to.
const ENDLESS: u64 = 1 << 40;

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    for writers in [1, 8] {
        let folder = Folder::new();
        let mut random = Random::new(writers);
        let mut acknowledged = vec![0; usize::try_from(writers).unwrap()];
        for round in 0..ROUNDS {
            let patience = random.below(30);
            let delay = Duration::from_micros(random.below(3000));
            for word in killed(&folder.path, writers, patience, delay) {
                if let Word::Done(writer, step) = word {
                    acknowledged[usize::try_from(writer).unwrap()] = step;
                }
            }
            let found = steps(&folder.path, writers).await;
            for (acknowledged, found) in acknowledged.iter_mut().zip(found) {
                assert!(
                    (*acknowledged..=*acknowledged + 1).contains(&found),
                    "round {round}: {acknowledged} acknowledged, {found} there"
                );
                *acknowledged = found;
            }
        }
        assert!(acknowledged.iter().sum::<u64>() > ROUNDS, "{acknowledged:?}");
    }
}

/// Runs writers until they said some words and a moment longer, kills them, and returns all that
/// they said.
fn killed(folder: &Path, writers: u64, patience: u64, delay: Duration) -> Vec<Word> {
    let mut child = start(&[], folder, writers, ENDLESS);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut words = lines.filter_map(|line| Word::parse(&line.unwrap()));
    let mut said: Vec<Word> = words.by_ref().take(usize::try_from(patience).unwrap() + 1).collect();
    // Not a sleep: that is too coarse to end in the middle of a commit.
    let end = Instant::now() + delay;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    said.extend(words);
    child.wait().unwrap();
    said
}

/// What system calls the store changes something with.
const CALLS: [&str; 5] = ["pwrite64", "fsync", "ftruncate", "rename", "mkdir"];

#[tokio::test]
async fn a_kill_before_any_system_call_leaves_what_was_acknowledged() {
    if !has_strace() {
        return;
    }
    let met = sweep(&CALLS, "signal=KILL", |folder, said| async move {
        let acknowledged = said.iter().filter(|word| matches!(word, Word::Done(..))).count() as u64;
        let found = steps(&folder, 1).await[0];
        assert!(
            (acknowledged..=acknowledged + 1).contains(&found),
            "{acknowledged} acknowledged, {found} there"
        );
    });
    let met = met.await;
    assert!(met.values().all(|times| *times > 0), "{met:?}");
}

#[tokio::test]
async fn a_system_call_that_fails_fails_a_commit_and_nothing_else() {
    if !has_strace() {
        return;
    }
    for error in ["error=EIO", "error=ENOSPC"] {
        let calls = [&CALLS[..], &["openat"]].concat();
        let met = sweep(&calls, error, |folder, said| async move {
            let done = said.iter().filter(|word| matches!(word, Word::Done(..))).count() as u64;
            let doubt = said.iter().filter(|word| matches!(word, Word::InDoubt(..))).count() as u64;
            let found = steps(&folder, 1).await[0];
            assert!((done..=done + doubt).contains(&found), "{said:?}, {found} there");
            // A single failure leaves nobody in doubt, and costs one commit at the most.
            let is_opened = said.contains(&Word::Open);
            assert!(doubt == 0 && (!is_opened || done >= STEPS - 1), "{said:?}");
        });
        let met = met.await;
        assert!(met.values().all(|times| *times > 0), "{error}: {met:?}");
    }
}

/// How many commits a disturbed process does: the first makes the journal, and later ones grow the
/// file, put long values, and delete.
const STEPS: u64 = 4;

/// Disturbs the first system call of each kind in a new process, then the second, and so on, until
/// there are no more. Says how often each was met.
async fn sweep<F: Future<Output = ()>>(
    calls: &[&'static str],
    disturbance: &str,
    check: impl Fn(std::path::PathBuf, Vec<Word>) -> F,
) -> BTreeMap<&'static str, u32> {
    let mut met = BTreeMap::new();
    for call in calls {
        // From somewhere on, a process of `STEPS` commits does no more such calls.
        for when in 1.. {
            let folder = Folder::new();
            let log = Folder::new();
            let inject = format!("inject={call}:{disturbance}:when={when}");
            let trace = format!("trace={call}");
            let log_path = log.path.to_str().unwrap();
            let state = folder.path.to_str().unwrap();
            let wrapper =
                ["strace", "-f", "-qq", "-y", "-o", log_path, "-e", &trace, "-e", &inject];
            let mut child = start(&wrapper, &folder.path, 1, STEPS);
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let said: Vec<Word> =
                lines.filter_map(|line| Word::parse(&line.unwrap_or_default())).collect();
            child.wait().unwrap();
            let log_text = std::fs::read_to_string(&log.path).unwrap_or_default();
            let _ = std::fs::remove_file(&log.path);
            let disturbed = log_text
                .lines()
                .any(|line| line.contains("INJECTED") || line.contains("+++ killed by SIGKILL"));
            if !disturbed {
                break;
            }
            // Loading the program opens files, too.
            let is_ours = log_text.lines().any(|line| {
                line.contains(state) && (line.contains("INJECTED") || disturbance.contains("KILL"))
            });
            if is_ours {
                *met.entry(*call).or_insert(0) += 1;
                check(folder.path.clone(), said).await;
            }
        }
        met.entry(*call).or_insert(0);
    }
    met
}

/// How many steps each writer did, from what is there; and that the store still works.
async fn steps(folder: &Path, writers: u64) -> Vec<u64> {
    let store = Embedded::open(folder).unwrap_or_else(|error| panic!("{error:?}"));
    let listing = store.list("").await.unwrap();
    put(&store, "after", b"").await;
    (0..writers).map(|writer| steps_of(&listing, writer)).collect()
}

/// Whether system calls can be traced here.
pub fn has_strace() -> bool {
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    let is_there = traced.is_ok_and(|traced| traced.status.success());
    if !is_there {
        let required = std::env::var_os("WEFT_TEST_REQUIRE").is_some();
        assert!(!required, "strace is required here and does not work");
        println!("passed over: strace does not work here");
    }
    is_there
}
