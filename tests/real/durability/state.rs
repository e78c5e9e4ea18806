//! The state of an appliance as it lies on the disk, and what an appliance makes of it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::Value;
use weft::api::client::Client;
use weft::store::{Embedded, Store, Transaction};

use crate::support::World;

/// The file in the folder.
pub fn file(folder: &Path) -> PathBuf {
    folder.join("state.db")
}

/// What is at each name of a folder: its mode, and its octets. Without the lock, which says who was
/// there last.
pub fn content(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| !path.ends_with("state.lock"));
    let read = |path: PathBuf| {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let octets = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        (path, (metadata.mode(), octets))
    };
    paths.map(read).collect()
}

/// Changes a state that no appliance has, by the store's own means.
#[track_caller]
pub fn edit(world: &World, folder: &Path, transaction: Transaction) {
    let copy = copied(world, folder);
    opened(&copy, async |store| store.commit(transaction).await.unwrap());
    fs::copy(file(&copy), file(folder)).unwrap();
    fs::remove_dir_all(&copy).unwrap();
}

/// The keys of what is kept in a state that no appliance has.
#[track_caller]
pub fn keys(world: &World, folder: &Path) -> Vec<String> {
    let copy = copied(world, folder);
    let entries = opened(&copy, async |store| store.list("").await.unwrap().entries);
    fs::remove_dir_all(&copy).unwrap();
    entries.into_iter().map(|entry| entry.key).collect()
}

/// A copy that is root's: a store opens its own user's files only.
fn copied(world: &World, folder: &Path) -> PathBuf {
    let copy = world.path("copied");
    DirBuilder::new().mode(0o700).create(&copy).unwrap();
    fs::copy(file(folder), file(&copy)).unwrap();
    copy
}

fn opened<T>(folder: &Path, then: impl AsyncFnOnce(&Embedded) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = Embedded::open(folder).unwrap();
        let value = then(&store).await;
        store.close().await.unwrap();
        value
    })
}

/// The record of the machine's boot, as the appliance writes it.
pub fn appliance(schema: u32, boot: &str) -> Transaction {
    let record = serde_json::json!({ "schema": schema, "boot": boot });
    Transaction::default().put("appliance", record.to_string())
}

/// `GET /networks/NAME`.
#[track_caller]
pub fn inspect(world: &World, network: &str) -> Value {
    Client::new(world.socket()).get(&format!("/networks/{network}")).unwrap()
}

/// Every network by its name, as `GET /networks` lists them.
#[track_caller]
pub fn networks(world: &World) -> BTreeMap<String, Value> {
    let listed: Vec<Value> = Client::new(world.socket()).get("/networks").unwrap();
    let named = |network: Value| (network["Name"].as_str().unwrap().to_owned(), network);
    listed.into_iter().map(named).collect()
}

/// The names and IPv4 addresses of those who are on a network, or are awaited there.
#[track_caller]
pub fn members(world: &World, network: &str) -> Vec<(String, String)> {
    let inspected = inspect(world, network);
    let all = inspected["Containers"].as_object().unwrap().values();
    let text = |member: &Value, key: &str| member[key].as_str().unwrap().to_owned();
    let mut all: Vec<_> = all.map(|own| (text(own, "Name"), text(own, "IPv4Address"))).collect();
    all.sort();
    all
}
