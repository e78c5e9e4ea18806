//! Folders of tests' own, and what is in them.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A path that nothing is at, and its removal.
#[derive(Debug)]
pub struct Folder {
    pub path: PathBuf,
}

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weftt-store-{}-{number}", std::process::id());
        Self { path: std::env::temp_dir().join(name) }
    }

    /// One that is there, with nothing in it.
    pub fn made() -> Self {
        let folder = Self::new();
        DirBuilder::new().mode(0o700).create(&folder.path).unwrap();
        folder
    }

    pub fn file(&self) -> PathBuf {
        self.path.join("state.db")
    }

    pub fn journal(&self) -> PathBuf {
        self.path.join("state.db-journal")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What is at each name of a folder: its mode, and its octets or where it leads. Without the lock,
/// which says who was there last.
pub fn content(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let Ok(names) = fs::read_dir(folder) else { return BTreeMap::new() };
    let paths = names.map(|name| name.unwrap().path());
    let paths = paths.filter(|path| !path.ends_with("state.lock"));
    paths
        .map(|path| {
            let metadata = fs::symlink_metadata(&path).unwrap();
            let octets = if metadata.is_symlink() {
                fs::read_link(&path).unwrap().as_os_str().as_bytes().to_owned()
            } else if metadata.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            (path, (metadata.mode(), octets))
        })
        .collect()
}
