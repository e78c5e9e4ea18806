//! Configuration files: the ones we ship load, the bad ones fail in the recorded words, and editors
//! are told the same.
//!
//! Each `tests/vectors/bad/NAME.toml` has beside it, in `NAME.txt`, exactly what `weft` prints. To
//! record a new one, or after a message changed, run with `WEFT_RECORD=1` and read the difference.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod schema;

use std::fs;
use std::path::{Path, PathBuf};

use weft::cnm::plan;
use weft::config::Config;

#[test]
fn the_files_we_ship_load() {
    for path in files_in("config") {
        let config = Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
        assert!(!config.declared.endpoints.is_empty(), "{}", path.display());
    }
}

#[test]
fn every_bad_file_fails_in_the_recorded_words() {
    let record = std::env::var_os("WEFT_RECORD").is_some();
    let files = files_in("tests/vectors/bad");
    assert!(files.len() >= 25);
    for path in files {
        let Err(error) = Config::load(&path) else {
            panic!("{} loads, but should not", path.display());
        };
        let got = format!("{error}\n");
        let beside = path.with_extension("txt");
        if record {
            fs::write(&beside, &got).unwrap();
        }
        let recorded = fs::read_to_string(&beside).unwrap_or_default();
        assert_eq!(got, recorded, "{}", beside.display());
    }
}

#[test]
fn the_plan_of_a_file_reads_like_the_file() {
    let config = Config::load(Path::new("config/single-host.toml")).unwrap();
    let lines: Vec<String> = plan(&Default::default(), &config.declared)
        .iter()
        .map(|change| change.to_string())
        .collect();
    let expected = [
        "+ network back bridge 10.20.1.0/24 internal storm-control=1000/s",
        "+ network front bridge 10.20.0.0/24",
        "+ endpoint db on back 10.20.1.10 command python3 -m http.server 5432",
        "+ endpoint web on front 10.20.0.10 command python3 -m http.server 80",
    ];
    assert_eq!(lines, expected);
}

fn files_in(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder is part of the tree")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files
}
