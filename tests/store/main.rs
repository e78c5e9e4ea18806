//! The stores: that each does what every store does, and what becomes of the embedded one's file
//! when things go wrong. Needs no root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(unreachable_pub, reason = "the modules are used by their neighbours only")]

#[path = "../conformance/mod.rs"]
mod conformance;
mod crash;
mod damage;
mod folder;
mod full;
mod opening;
mod power;
mod writers;

use std::sync::Arc;

use weft::store::{Embedded, Memory, Store, StoreError};

use conformance::{Fresh, put};
use folder::Folder;

conformance!(memory, super::fresh_memory);
conformance!(embedded, super::fresh_embedded);

async fn fresh_memory() -> Fresh {
    Fresh { store: Arc::new(Memory::new()), keep: Box::new(()) }
}

async fn fresh_embedded() -> Fresh {
    let folder = Folder::new();
    Fresh { store: Arc::new(Embedded::open(&folder.path).unwrap()), keep: Box::new(folder) }
}

#[tokio::test]
async fn changes_long_past_are_forgotten_and_a_watch_is_told() {
    // Both keep the same history; this one needs no disk.
    let store = Memory::new();
    let mut slow = store.watch("", 0).await.unwrap();
    let mut last = 0;
    for _ in 0..5000 {
        last = put(&store, "a", b"").await;
    }
    for error in [slow.next().await.unwrap_err(), store.watch("", 0).await.unwrap_err()] {
        assert!(matches!(error, StoreError::Compacted { after: 0, known: 904 }), "{error:?}");
    }
    let mut rest = store.watch("", 904).await.unwrap();
    for revision in 905..=last {
        assert_eq!(rest.next().await.unwrap().revision, revision);
    }
}

#[tokio::test]
async fn long_values_are_forgotten_sooner() {
    let store = Memory::new();
    for _ in 0..20 {
        put(&store, "a", &[0; 1 << 20]).await;
    }
    // 8 MiB less seven keys of one octet: seven whole values fit.
    let error = store.watch("", 0).await.unwrap_err();
    assert!(matches!(error, StoreError::Compacted { after: 0, known: 13 }), "{error:?}");
}

#[tokio::test]
async fn a_watch_outlives_its_store_by_what_it_has_not_heard() {
    let folder = Folder::new();
    let stores: [Box<dyn Store>; 2] =
        [Box::new(Memory::new()), Box::new(Embedded::open(&folder.path).unwrap())];
    for store in stores {
        let mut watch = store.watch("", 0).await.unwrap();
        put(&*store, "a", b"last").await;
        drop(store);
        assert_eq!(watch.next().await.unwrap().value.unwrap(), b"last");
        assert!(matches!(watch.next().await, Err(StoreError::Closed)));
    }
}

#[tokio::test]
async fn a_commit_that_nobody_waits_for_is_finished_before_the_end() {
    let folder = Folder::new();
    let store = Embedded::open(&folder.path).unwrap();
    {
        let mut commit = std::pin::pin!(put(&store, "a", b"1"));
        // Polled once: handed over, and not waited for.
        let given_up = tokio::time::timeout(std::time::Duration::ZERO, commit.as_mut()).await;
        drop(given_up);
    }
    drop(store);
    let store = Embedded::open(&folder.path).unwrap();
    assert_eq!(store.get("a").await.unwrap().unwrap().value, b"1");
}
