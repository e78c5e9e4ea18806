//! A file system that is full.
//!
//! A small tmpfs, in namespaces of an ordinary user's own, so that nobody need be root and nothing
//! is left behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use weft::store::{Embedded, OpenError, Store, StoreError, Transaction};

use crate::folder::Folder;

const FOLDER: &str = "WEFT_TEST_STORE_SMALL";

#[test]
fn a_commit_that_finds_no_room_is_refused_and_the_store_goes_on_when_there_is() {
    let folder = Folder::made();
    let own = std::env::current_exe().unwrap();
    let script = "mount -t tmpfs -o size=512k,mode=700 weftt-store \"$1\" && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", script, "sh"]);
    command.arg(&folder.path).arg(own);
    command.args(["--exact", "full::in_a_small_place", "--nocapture"]);
    command.env(FOLDER, &folder.path).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else { return passed_over("unshare is missing") };
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said: Vec<String> = lines.map(|line| line.unwrap()).collect();
    let ended = child.wait_with_output().unwrap();
    if said.is_empty() {
        return passed_over(&String::from_utf8_lossy(&ended.stderr));
    }
    let is_done = said.iter().any(|line| line.contains("weft-store went on"));
    assert!(is_done && ended.status.success(), "{said:#?}\n{ended:?}");
}

fn passed_over(why: &str) {
    let required = std::env::var_os("WEFT_TEST_REQUIRE").is_some();
    assert!(!required, "user namespaces are required here: {why}");
    println!("passed over: no small file system of one's own here: {why}");
}

#[tokio::test]
async fn in_a_small_place() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let filler = folder.join("filler");
    // No room for anything: the state cannot be made, and no part of it is there.
    fs::write(&filler, vec![0; 1 << 20]).unwrap_err();
    let error = Embedded::open(folder).unwrap_err();
    assert!(matches!(error, OpenError::Make(..)), "{error:?}");
    assert!(!folder.join("state.db").exists());
    fs::remove_file(&filler).unwrap();

    let store = Embedded::open(folder).unwrap();
    // Of several at once, those that fit are kept.
    let large = Transaction::default().put("large", vec![8; 1 << 20]);
    let small = |key| store.commit(Transaction::default().put(key, "9"));
    let (one, large, two) = tokio::join!(small("one"), store.commit(large), small("two"));
    assert!(matches!(large, Err(StoreError::Full(_))), "{large:?}");
    assert_eq!((one.unwrap(), two.unwrap()), (1, 2));

    fs::write(&filler, [0; 100 << 10]).unwrap();
    let put = |number: u32| {
        let key = format!("key/{number}");
        Transaction::default().put("count", number.to_le_bytes()).put(key, vec![7; 3000])
    };
    let mut number = 0;
    let error = loop {
        match store.commit(put(number)).await {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    assert!(number > 20, "{number}");
    // Not there: nothing of the one that failed. There: all the others, and the place of an old
    // one can be taken.
    let listing = store.list("").await.unwrap();
    let revision = listing.revision;
    assert_eq!((listing.entries.len(), revision), (number as usize + 3, u64::from(number) + 2));
    for _ in 0..3 {
        let error = store.commit(put(number)).await.unwrap_err();
        assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    }
    assert_eq!(store.list("").await.unwrap(), listing);

    // A full place is no reason not to start.
    drop(store);
    let store = Embedded::open(folder).unwrap();
    assert_eq!(store.list("").await.unwrap(), listing);
    // And when there is room again, it goes on.
    assert!(store.commit(put(number)).await.is_err());
    fs::remove_file(&filler).unwrap();
    assert_eq!(store.commit(put(number)).await.unwrap(), revision + 1);
    println!("weft-store went on");
}
