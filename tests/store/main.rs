//! The stores: that each does what every store does, and what becomes of the embedded one's file
//! when things go wrong. Needs no root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(unreachable_pub, reason = "the modules are used by their neighbours only")]

#[path = "../conformance/mod.rs"]
mod conformance;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use weft::store::{Embedded, Memory};

use conformance::Fresh;

conformance!(memory, super::fresh_memory);
conformance!(embedded, super::fresh_embedded);

async fn fresh_memory() -> Fresh {
    Fresh { store: Arc::new(Memory::new()), keep: Box::new(()) }
}

async fn fresh_embedded() -> Fresh {
    let folder = Folder::new();
    Fresh { store: Arc::new(Embedded::open(&folder.0).unwrap()), keep: Box::new(folder) }
}

/// A folder of a test's own, which does not exist yet.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weftt-store-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
