//! `weft.toml`: from text to the networks and endpoints it declares.
//!
//! Reading has three steps. The TOML library turns text into a tree that remembers where each value
//! stood. The sections (`appliance`, `network`, `endpoint`) read the tree value by value and note
//! everything that is wrong on the way, instead of stopping at the first; which keys there are is
//! declared in [`keys`]' words, from which [`schema`](schema()) tells editors. Last, `check` carries the
//! whole out on an empty [`Model`](crate::cnm::Model), so the file is held to the very rules that
//! the running appliance keeps, and puts each refusal at the value it speaks of.
//!
//! # Promises
//! - A file is taken whole or not at all, and everything independent that is wrong with it is
//!   reported at once, in the order of the lines; only a syntax error hides what comes after it.
//! - Every finding shows the file, line and column, the line itself with a caret under the value,
//!   and what to write instead. Columns count characters.
//! - A key that weft will have but this version has not is told from a misspelling.
//!
//! # Limits
//! A file has at most [`MAX_OCTETS`] octets. Nothing is looked up: whether a namespace or a program
//! exists is found out when it is used.
//!
//! # Sources
//! TOML 1.1; `config/weft.toml`, which has every key.

mod appliance;
mod check;
mod endpoint;
mod finding;
mod keys;
mod network;
mod schema;
mod section;
mod store;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use toml::de::DeTable;
use weft_ipam::DefaultPools;

use crate::cnm::Declared;
pub use appliance::{Appliance, MAX_WORKERS};
pub use finding::{Finding, Report};
use finding::{Findings, position};
use keys::{Form, Keys, Takes, key};
pub use schema::schema;
use section::Section;
pub use store::StorePlace;

/// The largest file that is read: 1 MiB.
pub const MAX_OCTETS: u64 = 1 << 20;

/// The keys at the top of the file.
static FILE: Keys = Keys::new(&[
    key("appliance", Takes::Table(&appliance::KEYS)),
    key("store", Takes::Table(&store::KEYS)),
    key("ipam", Takes::Table(&appliance::IPAM)),
    key("networks", Takes::Map { names: Form::NAME, to: &Takes::Table(&network::KEYS) }),
    key("endpoints", Takes::Map { names: Form::NAME, to: &Takes::Table(&endpoint::KEYS) }),
])
.later(&[
    ("underlay", "this version has no tunnels"),
    ("metrics", "this version has no metrics listener"),
    ("docker", "this version does not serve Docker's plugin protocol"),
]);

/// What a configuration file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How the process itself is set up.
    pub appliance: Appliance,
    /// Where what exists is kept.
    pub store: StorePlace,
    /// Where subnets come from for networks that name none. IPv6 is not among them unless the file
    /// says so: its prefix is drawn once per host and added by whoever keeps it.
    pub default_address_pools: DefaultPools,
    /// Where IPAM plugins are looked for before Docker's own directories.
    pub plugin_dirs: Vec<PathBuf>,
    /// The networks and endpoints.
    pub declared: Declared,
}

impl Default for Config {
    /// What an empty file says.
    fn default() -> Self {
        Self {
            appliance: Appliance::default(),
            store: StorePlace::Usual,
            default_address_pools: DefaultPools::docker(),
            plugin_dirs: Vec::new(),
            declared: Declared::default(),
        }
    }
}

/// Why a file is not a configuration.
///
/// `Display` is complete: it begins with `weft:`, and may have several lines.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("weft: {}: {}", path.display(), reason(source))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is too large to be a configuration.
    #[error("weft: {}: larger than 1 MiB, which no configuration is", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file has octets that are not UTF-8.
    #[error(
        "weft: {}:{line}:{column}: octet 0x{octet:02x} is not UTF-8; save the file as UTF-8",
        path.display()
    )]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The character in the line, from 1.
        column: usize,
        /// The first octet that is wrong.
        octet: u8,
    },
    /// The text is no TOML, or says what cannot be.
    #[error("{0}")]
    Invalid(Report),
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`], whose text is ready to be printed.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let mut octets = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_OCTETS + 1).read_to_end(&mut octets).map_err(unreadable)?;
        if octets.len() as u64 > MAX_OCTETS {
            return Err(ConfigError::TooLarge { path: path.to_owned() });
        }
        match std::str::from_utf8(&octets) {
            Ok(text) => Self::parse(text, path),
            Err(error) => {
                let (valid, rest) = octets.split_at(error.valid_up_to());
                let (line, column) = position(&String::from_utf8_lossy(valid), valid.len());
                let octet = rest.first().copied().unwrap_or_default();
                Err(ConfigError::NotUtf8 { path: path.to_owned(), line, column, octet })
            }
        }
    }

    /// Checks the text of a file; `path` is what errors call it.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], with everything that was found.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut findings = Findings::default();
        let config = match DeTable::parse(text) {
            Ok(root) => Self::read(text, root.get_ref(), &mut findings),
            Err(error) => {
                findings.syntax(text, &error);
                Self::default()
            }
        };
        match findings.report(text, path) {
            None => Ok(config),
            Some(report) => Err(ConfigError::Invalid(report)),
        }
    }

    fn read(text: &str, root: &DeTable<'_>, findings: &mut Findings) -> Self {
        let root = Section::new("", root).with_keys(&FILE, findings);
        let appliance = appliance::read(&root, findings);
        let store = store::read(&root, findings);
        let default_address_pools = appliance::read_pools(&root, findings);
        let plugin_dirs = appliance::read_plugin_dirs(&root, findings);
        let networks = network::read_all(&root, findings);
        let endpoints = endpoint::read_all(&root, findings);
        check::check(text, &default_address_pools, &networks, &endpoints, findings);
        let declared = Declared {
            networks: networks
                .into_iter()
                .map(|network| (network.name, network.declared))
                .collect(),
            endpoints: endpoints
                .into_iter()
                .filter_map(|endpoint| Some((endpoint.name.clone(), endpoint.declared()?)))
                .collect(),
        };
        Self { appliance, store, default_address_pools, plugin_dirs, declared }
    }
}

/// What the system says of a file, in words that name the remedy where there is one.
fn reason(error: &std::io::Error) -> String {
    if error.kind() == ErrorKind::NotFound {
        "there is no such file".to_owned()
    } else if error.kind() == ErrorKind::IsADirectory {
        "this is a directory; name the file in it".to_owned()
    } else if error.kind() == ErrorKind::PermissionDenied {
        "you may not read this file".to_owned()
    } else {
        error.to_string()
    }
}

#[cfg(test)]
mod tests;
