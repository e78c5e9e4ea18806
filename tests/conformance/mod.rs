//! What every store does: one suite, which each of them passes.
//!
//! A test file says `conformance!(name, fresh)`, where `fresh` is an async function that makes a
//! [`Fresh`] store with nothing in it. Revisions are only compared, never counted, and no store is
//! expected to be at revision 0, so that a store which others use as well can pass.

mod model;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use weft::store::{
    Condition, Entry, Event, MAX_KEY, MAX_STEPS, MAX_TRANSACTION, MAX_VALUE, Revision, Store,
    StoreError, Transaction, Watch,
};

pub use model::{Random, edit};

/// How long a change may take to reach a watch.
const PATIENCE: Duration = Duration::from_secs(10);

/// A store with nothing in it, and what must live as long.
pub struct Fresh {
    pub store: Arc<dyn Store>,
    pub keep: Box<dyn Any>,
}

/// Makes a module with a test for each function of the suite.
#[macro_export]
macro_rules! conformance {
    ($store:ident, $fresh:path) => {
        $crate::conformance_of! { $store, $fresh:
            a_new_store_is_empty,
            what_was_put_is_there_with_the_revision_of_its_commit,
            a_deleted_entry_is_gone_and_can_be_deleted_again,
            a_listing_has_what_begins_with_the_prefix_in_order,
            a_condition_holds_or_it_does_not,
            a_transaction_happens_whole_or_not_at_all,
            what_changes_nothing_has_no_revision_of_its_own,
            a_bound_is_a_bound,
            of_many_who_want_to_be_first_one_is,
            no_increment_is_lost,
            a_watch_hears_of_later_changes_in_order_and_once,
            a_watch_can_begin_in_the_past_and_in_the_future,
            a_listing_and_a_watch_after_it_miss_nothing,
            a_watch_given_up_while_it_waits_loses_nothing,
            a_watch_that_is_dropped_is_in_nobodys_way,
            random_edits_do_what_they_do_to_a_map,
        }
    };
}

/// What [`conformance!`] says for each of its tests.
#[macro_export]
macro_rules! conformance_of {
    ($store:ident, $fresh:path: $($test:ident,)+) => {
        mod $store {
            $(
                #[tokio::test]
                async fn $test() {
                    let fresh = $fresh().await;
                    $crate::conformance::$test(std::sync::Arc::clone(&fresh.store)).await;
                    drop(fresh.keep);
                }
            )+
        }
    };
}

pub async fn a_new_store_is_empty(store: Arc<dyn Store>) {
    assert_eq!(store.get("a").await.unwrap(), None);
    assert_eq!(store.list("").await.unwrap().entries, []);
}

pub async fn what_was_put_is_there_with_the_revision_of_its_commit(store: Arc<dyn Store>) {
    let values: [&[u8]; 4] = [b"one", b"", b"\0\xff\xfe'; DROP TABLE entries", &[7; MAX_VALUE]];
    let mut former = store.list("").await.unwrap().revision;
    for value in values {
        let revision = put(&*store, "networks/blue", value).await;
        assert!(revision > former, "{revision} after {former}");
        let expected = entry("networks/blue", value, revision);
        assert_eq!(store.get("networks/blue").await.unwrap(), Some(expected.clone()));
        let listing = store.list("").await.unwrap();
        assert_eq!((listing.revision, listing.entries), (revision, vec![expected]));
        former = revision;
    }
    let other = put(&*store, "networks/red", b"").await;
    let listing = store.list("networks/").await.unwrap();
    let revisions: Vec<Revision> = listing.entries.iter().map(|entry| entry.revision).collect();
    assert_eq!((listing.revision, revisions), (other, vec![former, other]));
}

pub async fn a_deleted_entry_is_gone_and_can_be_deleted_again(store: Arc<dyn Store>) {
    let first = put(&*store, "a", b"1").await;
    let delete = || Transaction::default().delete("a");
    let second = store.commit(delete()).await.unwrap();
    assert!(second > first);
    assert_eq!(store.get("a").await.unwrap(), None);
    assert_eq!(store.commit(delete()).await.unwrap(), second);
    let third = put(&*store, "a", b"2").await;
    assert_eq!(store.get("a").await.unwrap(), Some(entry("a", b"2", third)));
}

pub async fn a_listing_has_what_begins_with_the_prefix_in_order(store: Arc<dyn Store>) {
    let keys = ["b", "a", "a/b", "a/", "a%", "A", "a_", "ab", "ä", "a\u{10ffff}", "a\u{10ffff}z"];
    for key in keys {
        put(&*store, key, b"").await;
    }
    let cases: [(&str, &[&str]); 8] = [
        ("", &["A", "a", "a%", "a/", "a/b", "a_", "ab", "a\u{10ffff}", "a\u{10ffff}z", "b", "ä"]),
        ("a", &["a", "a%", "a/", "a/b", "a_", "ab", "a\u{10ffff}", "a\u{10ffff}z"]),
        ("a/", &["a/", "a/b"]),
        ("a_", &["a_"]),
        ("a%", &["a%"]),
        ("a\u{10ffff}", &["a\u{10ffff}", "a\u{10ffff}z"]),
        ("ä", &["ä"]),
        ("c", &[]),
    ];
    for (prefix, expected) in cases {
        let listing = store.list(prefix).await.unwrap();
        let keys: Vec<&str> = listing.entries.iter().map(|entry| &*entry.key).collect();
        assert_eq!(keys, expected, "{prefix:?}");
    }
}

pub async fn a_condition_holds_or_it_does_not(store: Arc<dyn Store>) {
    let old = put(&*store, "there", b"1").await;
    let now = put(&*store, "there", b"2").await;
    let cases = [
        (Condition::Absent("gone".to_owned()), true),
        (Condition::Absent("there".to_owned()), false),
        (Condition::At("there".to_owned(), now), true),
        (Condition::At("there".to_owned(), old), false),
        (Condition::At("there".to_owned(), now + 1), false),
        (Condition::At("there".to_owned(), 0), false),
        (Condition::At("gone".to_owned(), now), false),
        (Condition::At("gone".to_owned(), 0), true),
    ];
    for (condition, holds) in cases {
        let conditions = vec![condition.clone()];
        let said = store.commit(Transaction { conditions, writes: Vec::new() }).await;
        match said {
            Ok(revision) => assert!(holds && revision == now, "{condition:?}"),
            Err(StoreError::Conflict { key }) => {
                assert!(!holds && key == condition.key(), "{condition:?}");
            }
            Err(error) => panic!("{condition:?}: {error}"),
        }
    }
    // The first that does not hold is named, and a condition may be about what is written.
    let both = Transaction::default().absent("gone").absent("there").at("gone", 9);
    assert!(
        matches!(store.commit(both).await, Err(StoreError::Conflict { key }) if key == "there")
    );
    let swap = Transaction::default().at("there", now).put("there", "3");
    store.commit(swap.clone()).await.unwrap();
    assert!(matches!(store.commit(swap).await, Err(StoreError::Conflict { .. })));
}

pub async fn a_transaction_happens_whole_or_not_at_all(store: Arc<dyn Store>) {
    let before = put(&*store, "a", b"1").await;
    let change = || Transaction::default().put("b", "2").delete("a").put("c", "3");
    let refused = store.commit(change().absent("a")).await;
    assert!(matches!(refused, Err(StoreError::Conflict { key }) if key == "a"));
    let listing = store.list("").await.unwrap();
    assert_eq!((listing.revision, listing.entries), (before, vec![entry("a", b"1", before)]));

    let after = store.commit(change().at("a", before)).await.unwrap();
    let listing = store.list("").await.unwrap();
    let expected = vec![entry("b", b"2", after), entry("c", b"3", after)];
    assert_eq!((listing.revision, listing.entries), (after, expected));
}

pub async fn what_changes_nothing_has_no_revision_of_its_own(store: Arc<dyn Store>) {
    let revision = put(&*store, "a", b"1").await;
    let nothing = [
        Transaction::default(),
        Transaction::default().at("a", revision),
        Transaction::default().delete("gone"),
    ];
    for transaction in nothing {
        assert_eq!(store.commit(transaction.clone()).await.unwrap(), revision, "{transaction:?}");
    }
    // To put what is there already is a change.
    assert!(put(&*store, "a", b"1").await > revision);
}

pub async fn a_bound_is_a_bound(store: Arc<dyn Store>) {
    let keys = |count: usize| (0..count).map(|number| format!("key/{number}"));
    let many = |count| keys(count).fold(Transaction::default(), |all, key| all.put(key, ""));
    let asked = |count| keys(count).fold(Transaction::default(), Transaction::absent);
    let long = |octets| "k".repeat(octets);
    let most = store.bounds();
    // As many values as it takes; their keys have four octets.
    let large = |octets: usize| {
        let values = octets.div_ceil(MAX_VALUE / 2);
        let sizes = (0..values).map(|at| octets * (at + 1) / values - octets * at / values);
        sizes.enumerate().fold(Transaction::default(), |all, (at, octets)| {
            all.put(format!("{at:04}"), vec![0; octets - 4])
        })
    };
    let taken = [
        Transaction::default().put(long(MAX_KEY), ""),
        Transaction::default().put("long", vec![0; MAX_VALUE]),
        many(MAX_STEPS),
        asked(MAX_STEPS).put("x", ""),
        large(MAX_TRANSACTION),
    ];
    for (place, transaction) in taken.into_iter().enumerate() {
        // What was asked to be absent must be.
        for key in keys(MAX_STEPS) {
            store.commit(Transaction::default().delete(key)).await.unwrap();
        }
        store.commit(transaction).await.unwrap_or_else(|error| panic!("{place}: {error}"));
    }
    let before = store.list("").await.unwrap();
    type Refused = fn(&StoreError) -> bool;
    let is_key: Refused = |error| matches!(error, StoreError::Key { .. });
    let refused: [(Transaction, Refused); 10] = [
        (Transaction::default().put("", "1"), is_key),
        (Transaction::default().absent(""), is_key),
        (Transaction::default().put(long(MAX_KEY + 1), "1"), is_key),
        (Transaction::default().delete("a\0b"), is_key),
        (Transaction::default().at("a\nb", 1), is_key),
        (Transaction::default().put("v", vec![0; MAX_VALUE + 1]), |error| {
            matches!(error, StoreError::ValueTooLarge { .. })
        }),
        (many(most.steps + 1), |error| matches!(error, StoreError::TooManySteps { .. })),
        (asked(most.steps + 1), |error| matches!(error, StoreError::TooManySteps { .. })),
        (large(most.octets + 1), |error| matches!(error, StoreError::TooLarge { .. })),
        (
            Transaction::default().put("a", "1").delete("a"),
            |error| matches!(error, StoreError::Twice { key } if key == "a"),
        ),
    ];
    for (place, (transaction, is_right)) in refused.into_iter().enumerate() {
        let error = store.commit(transaction).await.unwrap_err();
        assert!(is_right(&error), "{place}: {error:?}");
    }
    assert_eq!(store.list("").await.unwrap(), before);
}

pub async fn of_many_who_want_to_be_first_one_is(store: Arc<dyn Store>) {
    let tasks: Vec<_> = (0..32_u8)
        .map(|number| {
            let store = Arc::clone(&store);
            on_a_thread(async move {
                let lease = Transaction::default().absent("lease").put("lease", vec![number]);
                (number, store.commit(lease).await)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            (number, Ok(revision)) => winners.push(entry("lease", &[number], revision)),
            (_, Err(StoreError::Conflict { key })) => assert_eq!(key, "lease"),
            (_, Err(error)) => panic!("{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(store.get("lease").await.unwrap(), winners.pop());
}

pub async fn no_increment_is_lost(store: Arc<dyn Store>) {
    const TASKS: u64 = 8;
    const TURNS: u64 = 10;
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let store = Arc::clone(&store);
            on_a_thread(async move {
                for _ in 0..TURNS {
                    increment(&*store, "count").await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let count = store.get("count").await.unwrap().unwrap();
    assert_eq!(count.value, (TASKS * TURNS).to_le_bytes());
}

pub async fn a_watch_hears_of_later_changes_in_order_and_once(store: Arc<dyn Store>) {
    put(&*store, "net/early", b"0").await;
    let start = store.list("net/").await.unwrap().revision;
    let mut watch = store.watch("net/", start).await.unwrap();
    let mut other = store.watch("net/b", start).await.unwrap();

    let one = put(&*store, "net/b", b"1").await;
    put(&*store, "elsewhere", b"2").await;
    let three = Transaction::default().put("net/c", "3").delete("net/b").put("net/a", "3");
    let three = store.commit(three).await.unwrap();
    // What was refused, and what changed nothing, is not heard of.
    let refused = Transaction::default().absent("net/c").put("net/c", "4");
    store.commit(refused).await.unwrap_err();
    store.commit(Transaction::default().delete("net/b")).await.unwrap();
    let five = put(&*store, "net/c", b"3").await;

    let expected = [
        event("net/b", one, Some(b"1")),
        event("net/c", three, Some(b"3")),
        event("net/b", three, None),
        event("net/a", three, Some(b"3")),
        event("net/c", five, Some(b"3")),
    ];
    for event in &expected {
        assert_eq!(next(&mut watch).await, *event);
    }
    assert_eq!(next(&mut other).await, expected[0]);
    assert_eq!(next(&mut other).await, expected[2]);
    let six = put(&*store, "net/b", b"6").await;
    for watch in [&mut watch, &mut other] {
        assert_eq!(next(watch).await, event("net/b", six, Some(b"6")));
    }
}

pub async fn a_watch_can_begin_in_the_past_and_in_the_future(store: Arc<dyn Store>) {
    let mut revisions = Vec::new();
    for number in 0..5_u8 {
        revisions.push(put(&*store, "a", &[number]).await);
    }
    let mut past = store.watch("", revisions[1]).await.unwrap();
    let mut future = store.watch("", revisions[4] + 1).await.unwrap();
    for number in 2..5_u8 {
        let expected = event("a", revisions[usize::from(number)], Some(&[number]));
        assert_eq!(next(&mut past).await, expected);
    }
    put(&*store, "a", b"next").await;
    let after = loop {
        let revision = put(&*store, "a", b"later").await;
        if revision > revisions[4] + 1 {
            break revision;
        }
    };
    let heard = next(&mut future).await;
    assert!(heard.revision > revisions[4] + 1 && heard.revision <= after, "{heard:?}");
}

pub async fn a_listing_and_a_watch_after_it_miss_nothing(store: Arc<dyn Store>) {
    const TASKS: u64 = 4;
    const TURNS: u64 = 10;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = Arc::clone(&store);
            on_a_thread(async move {
                for turn in 0..TURNS {
                    put(&*store, &format!("n/{task}"), &turn.to_le_bytes()).await;
                }
            })
        })
        .collect();
    // In the middle of it.
    while store.list("n/").await.unwrap().entries.len() < 2 {
        tokio::task::yield_now().await;
    }
    let listing = store.list("n/").await.unwrap();
    let mut watch = store.watch("n/", listing.revision).await.unwrap();
    let mut seen: BTreeMap<String, Entry> =
        listing.entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
    for task in tasks {
        task.await.unwrap();
    }
    let last = store.list("n/").await.unwrap();
    let mut former = listing.revision;
    while former < last.revision {
        let event = next(&mut watch).await;
        assert!(event.revision > former, "{event:?} after {former}");
        former = event.revision;
        let value = event.value.unwrap();
        seen.insert(event.key.clone(), entry(&event.key, &value, event.revision));
    }
    assert_eq!(seen.into_values().collect::<Vec<_>>(), last.entries);
}

pub async fn a_watch_given_up_while_it_waits_loses_nothing(store: Arc<dyn Store>) {
    let start = store.list("").await.unwrap().revision;
    let mut watch = store.watch("", start).await.unwrap();
    for number in 0..5_u8 {
        assert!(timeout(Duration::ZERO, watch.next()).await.is_err(), "{number}");
        let revision = put(&*store, "a", &[number]).await;
        assert_eq!(next(&mut watch).await, event("a", revision, Some(&[number])));
    }
}

pub async fn a_watch_that_is_dropped_is_in_nobodys_way(store: Arc<dyn Store>) {
    let start = store.list("").await.unwrap().revision;
    for _ in 0..100 {
        drop(store.watch("", start).await.unwrap());
    }
    let mut watch = store.watch("", start).await.unwrap();
    let revision = put(&*store, "a", b"").await;
    assert_eq!(next(&mut watch).await, event("a", revision, Some(b"")));
}

/// Against a map that does the same, and a watch that must be able to draw it.
pub async fn random_edits_do_what_they_do_to_a_map(store: Arc<dyn Store>) {
    let mut random = Random::new(0x5eed);
    let mut model: BTreeMap<String, Entry> = BTreeMap::new();
    let mut drawn: BTreeMap<String, Entry> = BTreeMap::new();
    let mut revision = store.list("").await.unwrap().revision;
    let mut watch = store.watch("", revision).await.unwrap();
    for step in 0..200 {
        let transaction = random.transaction(&model);
        let holds = transaction.conditions.iter().all(|condition| match condition {
            Condition::Absent(key) => !model.contains_key(key),
            Condition::At(key, at) => model.get(key).map_or(0, |entry| entry.revision) == *at,
        });
        let said = store.commit(transaction.clone()).await;
        if !holds {
            assert!(matches!(said, Err(StoreError::Conflict { .. })), "{step}: {said:?}");
            continue;
        }
        let now = said.unwrap();
        let events = edit(&mut model, &transaction, now);
        assert_eq!(now > revision, !events.is_empty(), "{step}: {transaction:?}");
        for expected in events {
            let heard = next(&mut watch).await;
            assert_eq!(heard, expected, "{step}");
            match heard.value {
                Some(value) => drawn.insert(heard.key.clone(), entry(&heard.key, &value, now)),
                None => drawn.remove(&heard.key),
            };
        }
        revision = now;
        assert_eq!(drawn, model, "{step}");
        let listing = store.list("").await.unwrap();
        assert!(listing.entries.iter().eq(model.values()), "{step}: {listing:?}");
    }
}

/// Adds one to the number at a key, as often as it takes for nobody to come between.
async fn increment(store: &dyn Store, key: &str) {
    loop {
        let (count, revision) = match store.get(key).await.unwrap() {
            Some(entry) => (u64::from_le_bytes(entry.value.try_into().unwrap()), entry.revision),
            None => (0, 0),
        };
        let swap = Transaction::default().at(key, revision).put(key, (count + 1).to_le_bytes());
        match store.commit(swap).await {
            Ok(_) => return,
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Runs a task on a thread of its own.
fn on_a_thread<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let executor = Handle::current();
    tokio::task::spawn_blocking(move || executor.block_on(task))
}

pub async fn put(store: &dyn Store, key: &str, value: &[u8]) -> Revision {
    store.commit(Transaction::default().put(key, value)).await.unwrap()
}

pub fn entry(key: &str, value: &[u8], revision: Revision) -> Entry {
    Entry { key: key.to_owned(), value: value.to_owned(), revision }
}

pub fn event(key: &str, revision: Revision, value: Option<&[u8]>) -> Event {
    Event { key: key.to_owned(), revision, value: value.map(<[u8]>::to_vec) }
}

async fn next(watch: &mut Watch) -> Event {
    timeout(PATIENCE, watch.next()).await.expect("a change in time").unwrap()
}
