//! What the store keeps of the control plane, and how it comes back.
//!
//! One record of JSON for each network, endpoint and declaration:
//!
//! | key | value |
//! | --- | --- |
//! | `appliance` | the number of the format, and the boot of the machine it last ran in |
//! | `networks/ID` | a [`Network`] that exists |
//! | `endpoints/ID` | an [`Endpoint`] that exists, with the addresses it holds |
//! | `declared/networks/NAME` | a network as the file had it when it was last applied |
//! | `declared/endpoints/NAME` | an endpoint as the file had it |
//! | `owed/ID` | what goes back to an IPAM driver, [`Returned`], as what had it is gone |
//!
//! The records are the model's own types, and `tests/vectors/state` holds them as they are read and
//! written. Whoever changes one gives the format a new number and reads the old one too.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::turn::Writes;
use crate::cnm::plan::Change;
use crate::cnm::{Changed, Declared, Endpoint, Id, Model, Network, Origin, Refusal, Returned};
use crate::store::{Entry, Listing, StoreError};

/// The number of the format.
const SCHEMA: u32 = 1;

const APPLIANCE: &str = "appliance";
const NETWORKS: &str = "networks/";
const ENDPOINTS: &str = "endpoints/";
const DECLARED_NETWORKS: &str = "declared/networks/";
const DECLARED_ENDPOINTS: &str = "declared/endpoints/";
const OWED: &str = "owed/";

/// Why what a store keeps cannot be taken up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The store does not give it out.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A later version of weft has written it.
    #[error("the state has format {found}, and this version of weft reads format {SCHEMA}")]
    Newer {
        /// The format's number.
        found: u32,
    },
    /// A record that this version does not know.
    #[error("the state has a record {key:?} that this version of weft does not know")]
    Unknown {
        /// Its key.
        key: String,
    },
    /// A record that cannot be read.
    #[error("the record {key} of the state cannot be read")]
    Unreadable {
        /// Its key.
        key: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Records that contradict each other.
    #[error("the record {key} of the state cannot be")]
    Impossible {
        /// Its key.
        key: String,
        /// The rule that it breaks.
        #[source]
        source: Box<Refusal>,
    },
}

impl StateError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.help(),
            Self::Newer { .. } | Self::Unknown { .. } => {
                Some("use the version of weft that wrote it, or another --state".to_owned())
            }
            Self::Unreadable { .. } | Self::Impossible { .. } => Some(
                "put a backup in its place, or move it away and begin afresh; nothing was changed"
                    .to_owned(),
            ),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Appliance {
    schema: u32,
    boot: String,
}

/// A sandbox that was there when the appliance ended, and may come back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Awaited {
    /// Its name.
    pub(crate) name: String,
    /// Its endpoints.
    pub(crate) endpoints: BTreeSet<Id>,
}

/// What a store has kept.
#[derive(Debug)]
pub(crate) struct Restored {
    /// What the file declared when it was last applied.
    pub(crate) declared: Declared,
    /// The sandboxes that may come back.
    pub(crate) awaited: BTreeMap<Id, Awaited>,
    /// What is to be given back to IPAM drivers.
    pub(crate) debts: BTreeMap<Id, Returned>,
    /// What has to be written.
    pub(crate) writes: Writes,
}

impl Restored {
    /// Notes what an endpoint had of a remote IPAM driver that nobody will come back for.
    fn give_back(&mut self, model: &Model, endpoint: &Endpoint) {
        let Some(network) = model.network(endpoint.network) else { return };
        let Some(driver) = network.ipam.driver.plugin() else { return };
        let given = network.given(&endpoint.addresses);
        let returned = Returned { driver: driver.to_owned(), given };
        self.writes.insert(owed_key(endpoint.id), Some(json(&returned)));
        self.debts.insert(endpoint.id, returned);
    }
}

/// Fills an empty model with what the store has kept.
///
/// `boot` is what this boot of the machine is called. Sandboxes do not outlive a boot, so after
/// another one their endpoints are given up.
///
/// # Errors
/// [`StateError`]; then nothing has been written.
pub(crate) fn restore(
    model: &mut Model,
    listing: &Listing,
    boot: &str,
) -> Result<Restored, StateError> {
    let now = Appliance { schema: SCHEMA, boot: boot.to_owned() };
    let mut restored = Restored {
        declared: Declared::default(),
        awaited: BTreeMap::new(),
        debts: BTreeMap::new(),
        writes: Writes::new(),
    };
    // Before anything else is read: a later version may have other records.
    let before = listing.entries.iter().find(|entry| entry.key == APPLIANCE);
    let before: Option<Appliance> = before.map(schema_and_boot).transpose()?;
    if before.as_ref() != Some(&now) {
        restored.writes.insert(APPLIANCE.to_owned(), Some(json(&now)));
    }
    let is_same_boot = before.is_some_and(|before| !boot.is_empty() && before.boot == boot);
    let mut endpoints = Vec::new();
    for entry in &listing.entries {
        let key = entry.key.as_str();
        if key.starts_with(NETWORKS) {
            let network: Network = read(entry)?;
            model.restore_network(network).map_err(|source| impossible(key, source))?;
        } else if key.starts_with(ENDPOINTS) {
            // Their networks may come later.
            endpoints.push((key, read::<Endpoint>(entry)?));
        } else if let Some(name) = key.strip_prefix(DECLARED_NETWORKS) {
            restored.declared.networks.insert(name.to_owned(), read(entry)?);
        } else if let Some(name) = key.strip_prefix(DECLARED_ENDPOINTS) {
            restored.declared.endpoints.insert(name.to_owned(), read(entry)?);
        } else if let Some(id) = key.strip_prefix(OWED) {
            let unknown = |_| StateError::Unknown { key: key.to_owned() };
            restored.debts.insert(id.parse().map_err(unknown)?, read(entry)?);
        } else if key != APPLIANCE {
            return Err(StateError::Unknown { key: key.to_owned() });
        }
    }
    for (key, endpoint) in endpoints {
        let is_sandboxs = endpoint.origin == Origin::Api;
        if is_sandboxs && !is_same_boot {
            restored.writes.insert(key.to_owned(), None);
            restored.give_back(model, &endpoint);
            continue;
        }
        if let Some(sandbox) = endpoint.sandbox.filter(|_| is_sandboxs) {
            let awaited = restored.awaited.entry(sandbox).or_default();
            awaited.name.clone_from(&endpoint.name);
            awaited.endpoints.insert(endpoint.id);
        }
        model.restore_endpoint(endpoint).map_err(|source| impossible(key, source))?;
    }
    model.settle();
    Ok(restored)
}

/// Where it is kept what is to be given back, as this network or endpoint is gone.
pub(super) fn owed_key(id: Id) -> String {
    format!("{OWED}{id}")
}

/// What has to be written so that the store has the model as it is.
pub(crate) fn writes(model: &Model) -> Writes {
    let record = |changed| match changed {
        Changed::Network(id, network) => (format!("{NETWORKS}{id}"), network.map(json)),
        Changed::Endpoint(id, endpoint) => (format!("{ENDPOINTS}{id}"), endpoint.map(json)),
    };
    model.changes().map(record).collect()
}

/// What has to be written so that the store has what the file declares after these changes.
pub(crate) fn declarations(changes: &[Change], declared: &Declared) -> Writes {
    let mut writes = Writes::new();
    for change in changes {
        let (key, value) = match change {
            Change::RemoveNetwork { name, .. }
            | Change::UpdateNetwork { name, .. }
            | Change::AddNetwork { name, .. } => {
                (format!("{DECLARED_NETWORKS}{name}"), declared.networks.get(name).map(json))
            }
            Change::RemoveEndpoint { name, .. } | Change::AddEndpoint { name, .. } => {
                (format!("{DECLARED_ENDPOINTS}{name}"), declared.endpoints.get(name).map(json))
            }
        };
        writes.insert(key, value);
    }
    writes
}

fn schema_and_boot(entry: &Entry) -> Result<Appliance, StateError> {
    #[derive(Deserialize)]
    struct Schema {
        schema: u32,
    }
    let Schema { schema } = read(entry)?;
    if schema > SCHEMA {
        return Err(StateError::Newer { found: schema });
    }
    read(entry)
}

fn read<T: DeserializeOwned>(entry: &Entry) -> Result<T, StateError> {
    serde_json::from_slice(&entry.value)
        .map_err(|source| StateError::Unreadable { key: entry.key.clone(), source })
}

pub(super) fn json<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("texts, numbers and maps of texts can be written")
}

fn impossible(key: &str, source: Refusal) -> StateError {
    StateError::Impossible { key: key.to_owned(), source: Box::new(source) }
}
