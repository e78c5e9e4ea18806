//! What goes wrong with plugins, in words that name the plugin and the call.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnetwork::IpNetwork;

use super::call::Call;
use super::discovery::{Address, SpecError};
use crate::cnm::id::listed;

/// How much of what a plugin says is shown, in characters.
const MAX_SAID: usize = 512;

/// Why a plugin did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// No file of that name in any of the directories.
    #[error("plugin {plugin:?} not found")]
    NotFound {
        /// Its name.
        plugin: Arc<str>,
        /// Where it was looked for.
        looked_in: Vec<PathBuf>,
    },
    /// The file that should say where it is does not.
    #[error("plugin {plugin:?}: {}", path.display())]
    Spec {
        /// Its name.
        plugin: Arc<str>,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SpecError,
    },
    /// Nobody answers at its address.
    #[error("plugin {plugin:?}: {call}: nobody is at {address}")]
    Unreachable {
        /// Its name.
        plugin: Arc<str>,
        /// What it was to be asked.
        call: Call,
        /// Where.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
    /// The connection ended before the answer did, or what came was no HTTP.
    #[error("plugin {plugin:?}: {call}: the answer broke off, or was no HTTP")]
    Broken {
        /// Its name.
        plugin: Arc<str>,
        /// What it was asked.
        call: Call,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("plugin {plugin:?}: {call}: no answer within {} s", waited.as_secs_f32().ceil())]
    Silent {
        /// Its name.
        plugin: Arc<str>,
        /// What it was asked.
        call: Call,
        /// How long it was waited for.
        waited: Duration,
    },
    /// An answer without end.
    #[error("plugin {plugin:?}: {call}: the answer is longer than {limit} octets")]
    TooLong {
        /// Its name.
        plugin: Arc<str>,
        /// What it was asked.
        call: Call,
        /// The longest that is read.
        limit: usize,
    },
    /// A status other than 200.
    #[error("{call}: {said}")]
    Status {
        /// Its name.
        plugin: Arc<str>,
        /// What it was asked.
        call: Call,
        /// The status.
        status: u16,
        /// What it says, as far as it is shown.
        said: String,
    },
    /// The answer is not JSON of the right shape.
    #[error("plugin {plugin:?}: {call}: the answer is not what it should be")]
    NoJson {
        /// Its name.
        plugin: Arc<str>,
        /// What it was asked.
        call: Call,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It refuses, and says why.
    #[error("remote: {said}")]
    Refused {
        /// Its name.
        plugin: Arc<str>,
        /// What it was asked.
        call: Call,
        /// What it says, as far as it is shown.
        said: String,
    },
    /// It is a plugin of another kind.
    #[error("plugin {plugin:?} does not implement IpamDriver")]
    NoIpam {
        /// Its name.
        plugin: Arc<str>,
        /// What it does implement.
        implements: Vec<String>,
    },
    /// It gives what cannot be.
    #[error("plugin {plugin:?}: {call}: {source}")]
    Answer {
        /// Its name.
        plugin: Arc<str>,
        /// What it was asked.
        call: Call,
        /// What is wrong with the answer.
        source: AnswerError,
    },
    /// The gateway of a network was not given.
    #[error("failed to allocate gateway ({})", shown(*address))]
    Gateway {
        /// The address that was asked for.
        address: Option<IpAddr>,
        /// Why.
        source: Box<PluginError>,
    },
    /// An auxiliary address of a network was not given.
    #[error("failed to allocate secondary ip address ({name}:{address})")]
    Auxiliary {
        /// What has it.
        name: String,
        /// The address.
        address: IpAddr,
        /// Why.
        source: Box<PluginError>,
    },
}

/// What is wrong with what a plugin gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// No id of a pool, or one that is too long.
    #[error("a pool has an id of 1 to {limit} octets, and this one has {octets}")]
    PoolId {
        /// How long it is.
        octets: usize,
        /// How long it may be.
        limit: usize,
    },
    /// No address space.
    #[error("no local address space returned")]
    NoSpace,
    /// No pool.
    #[error("no pool returned")]
    NoPool,
    /// No address.
    #[error("no address returned")]
    NoAddress,
    /// Not `ADDRESS/PREFIX`.
    #[error("invalid CIDR address: {0}")]
    NoCidr(String),
    /// IPv6 for IPv4, or the other way round.
    #[error("pool {0} is of the other IP version")]
    Family(IpNetwork),
    /// Another pool than the one asked for.
    #[error("pool {given} was given where {asked} was asked for")]
    OtherPool {
        /// The one asked for.
        asked: IpNetwork,
        /// The one given.
        given: IpNetwork,
    },
    /// Every pool it chooses overlaps what is there.
    #[error("pool {given} overlaps {other}, and so did the {before} before it")]
    Overlap {
        /// The last one given.
        given: IpNetwork,
        /// What it overlaps.
        other: IpNetwork,
        /// How many were given before it.
        before: usize,
    },
    /// An address of somewhere else.
    #[error("address {address} is outside pool {pool}")]
    Outside {
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: IpNetwork,
    },
    /// An address that somebody has.
    #[error("address {address} was given, and {by} has it already")]
    Taken {
        /// The address.
        address: IpAddr,
        /// Who has it.
        by: String,
    },
    /// Another address than the one asked for.
    #[error("address {given} was given where {asked} was asked for")]
    OtherAddress {
        /// The one asked for.
        asked: IpAddr,
        /// The one given.
        given: IpAddr,
    },
}

impl PluginError {
    /// Whether the plugin was not there to be asked, or did not get round to answering; asking
    /// again later may help.
    pub fn is_away(&self) -> bool {
        match self {
            Self::NotFound { .. }
            | Self::Spec { .. }
            | Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::Silent { .. } => true,
            Self::Gateway { source, .. } | Self::Auxiliary { source, .. } => source.is_away(),
            Self::TooLong { .. }
            | Self::Status { .. }
            | Self::NoJson { .. }
            | Self::Refused { .. }
            | Self::NoIpam { .. }
            | Self::Answer { .. } => false,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::NotFound { plugin, looked_in } => {
                let folders = listed(looked_in.iter().map(|path| path.display()));
                format!(
                    "an IPAM driver is \"default\", \"null\", or a plugin that runs; \
                     {plugin}.sock, .spec and .json were looked for in {folders}; \
                     [ipam] plugin-dirs adds to them"
                )
            }
            Self::Spec { path, .. } => {
                format!("write unix:///PATH or tcp://HOST:PORT to {}", path.display())
            }
            Self::Unreachable { plugin, .. } => {
                format!("start the IPAM driver {plugin}, then try again")
            }
            Self::Silent { plugin, .. } | Self::Broken { plugin, .. } => {
                format!("the IPAM driver {plugin} may say why in its log")
            }
            Self::NoIpam { implements, .. } => {
                format!(
                    "it implements {}; choose a plugin that gives addresses",
                    listed(implements)
                )
            }
            Self::Refused { plugin, call, .. } | Self::Status { plugin, call, .. } => {
                format!("this is the answer of the IPAM driver {plugin} to {call}")
            }
            Self::TooLong { plugin, .. }
            | Self::NoJson { plugin, .. }
            | Self::Answer { plugin, .. } => {
                format!("this is a mistake of the IPAM driver {plugin}; docs/ipam.md has the rules")
            }
            Self::Gateway { source, .. } | Self::Auxiliary { source, .. } => source.help(),
        }
    }
}

fn shown(address: Option<IpAddr>) -> String {
    address.map_or_else(String::new, |address| address.to_string())
}

/// What somebody else's program says, fit for a line of ours: not too long, and without anything
/// that would move a terminal's cursor.
pub(super) fn tamed(said: &str) -> String {
    let said = said.trim();
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let mut tamed: String = said.chars().take(MAX_SAID).map(visible).collect();
    if tamed.len() < said.len() && said.chars().nth(MAX_SAID).is_some() {
        tamed.push('…');
    }
    tamed
}
