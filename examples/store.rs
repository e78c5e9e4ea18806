//! Measures the embedded store: commits, and how long it takes to open.
//!
//! ```text
//! store FOLDER     FOLDER must not exist; it is removed in the end
//! ```
//!
//! Entries are 400 octets long, about what an endpoint's is. On a tmpfs the syncs cost nothing, so
//! give it a folder on the disk that the state will be on.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weft::store::{Embedded, Store, Transaction};

/// How long commits are counted.
const SPAN: Duration = Duration::from_secs(3);
/// How many commit at once, where several do.
const WRITERS: u64 = 32;
/// Entries in a file that is opened.
const SIZES: [u64; 3] = [1_000, 10_000, 110_000];
/// How often each is opened.
const ROUNDS: usize = 5;
const VALUE: [u8; 360] = [0x5a; 360];

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: store FOLDER");
        return ExitCode::from(2);
    };
    if folder.exists() {
        eprintln!("store: {} is there already", folder.display());
        return ExitCode::from(2);
    }
    let measured = measure(&folder);
    let removed = std::fs::remove_dir_all(&folder);
    match measured.and_then(|()| Ok(removed?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("store: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(folder: &Path) -> Result<(), Box<dyn Error>> {
    let executor = tokio::runtime::Builder::new_current_thread().build()?;
    for writers in [1, WRITERS] {
        let store = Arc::new(Embedded::open(&folder.join(format!("commits-{writers}")))?);
        let rate = executor.block_on(commits(&store, writers))?;
        println!("{writers:>7} at once: {rate:>8.0} commits/s");
    }
    for entries in SIZES {
        let folder = folder.join(format!("entries-{entries}"));
        executor.block_on(fill(&Embedded::open(&folder)?, entries))?;
        let (mut opening, mut listing) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let store = Embedded::open(&folder)?;
            opening.push(start.elapsed());
            let start = Instant::now();
            let found = executor.block_on(store.list(""))?.entries.len();
            listing.push(start.elapsed());
            assert_eq!(found as u64, entries, "all of them are there");
        }
        let octets = std::fs::metadata(folder.join("state.db"))?.len();
        println!(
            "{entries:>7} entries: open {:>6.1} ms, list {:>6.1} ms, {:.1} MB",
            median(&mut opening),
            median(&mut listing),
            octets as f64 / 1e6
        );
    }
    Ok(())
}

/// Commits a second, each of one new entry.
async fn commits(store: &Arc<Embedded>, writers: u64) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    let tasks = tokio::task::LocalSet::new();
    let counts: Vec<_> = (0..writers)
        .map(|writer| {
            let store = Arc::clone(store);
            tasks.spawn_local(async move {
                let mut count = 0_u64;
                while start.elapsed() < SPAN {
                    let put = Transaction::default().put(key(writer << 32 | count), VALUE);
                    store.commit(put).await?;
                    count += 1;
                }
                Ok::<_, weft::store::StoreError>(count)
            })
        })
        .collect();
    tasks.await;
    let mut total = 0;
    for count in counts {
        total += count.await??;
    }
    Ok(total as f64 / start.elapsed().as_secs_f64())
}

/// Puts entries in an order that has nothing to do with that of their keys.
async fn fill(store: &Embedded, entries: u64) -> Result<(), Box<dyn Error>> {
    let mut transaction = Transaction::default();
    for number in 0..entries {
        transaction = transaction.put(key(number), VALUE);
        if transaction.writes.len() == 100 || number + 1 == entries {
            store.commit(std::mem::take(&mut transaction)).await?;
        }
    }
    Ok(())
}

/// A key like an endpoint's: 40 octets, mostly an id.
fn key(number: u64) -> String {
    format!("endpoints/{:030x}", u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 56)
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}
