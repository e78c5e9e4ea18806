//! The JSON of the protocol.
//!
//! Go leaves out what it calls empty, and plugins answer `null` where there is nothing; both mean
//! nothing here. Fields that nobody knows are ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// Names with values.
pub(super) type Pairs = BTreeMap<String, String>;

/// The answer to `Plugin.Activate`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Activated {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) implements: Vec<String>,
}

/// What an IPAM driver says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Capabilities {
    /// Whether it wants to know the MAC address an address is for.
    #[serde(rename = "RequiresMACAddress", deserialize_with = "or_default")]
    pub(super) requires_mac: bool,
    /// Whether it wants to be asked again for everything after a restart of ours.
    #[serde(rename = "RequiresRequestReplay", deserialize_with = "or_default")]
    pub(super) requires_replay: bool,
}

/// The answer to `IpamDriver.GetDefaultAddressSpaces`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Spaces {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) local_default_address_space: String,
}

/// `IpamDriver.RequestPool`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RequestPool<'a> {
    pub(super) address_space: &'a str,
    pub(super) pool: String,
    pub(super) sub_pool: String,
    pub(super) options: &'a Pairs,
    pub(super) v6: bool,
}

/// Its answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PoolGiven {
    #[serde(rename = "PoolID", deserialize_with = "or_default")]
    pub(super) pool_id: String,
    #[serde(rename = "Pool", deserialize_with = "or_default")]
    pub(super) pool: String,
    #[serde(rename = "Data", deserialize_with = "or_default")]
    pub(super) data: Pairs,
}

/// `IpamDriver.ReleasePool`.
#[derive(Debug, Serialize)]
pub(super) struct ReleasePool<'a> {
    #[serde(rename = "PoolID")]
    pub(super) pool_id: &'a str,
}

/// `IpamDriver.RequestAddress`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RequestAddress<'a> {
    #[serde(rename = "PoolID")]
    pub(super) pool_id: &'a str,
    pub(super) address: String,
    pub(super) options: Option<&'a Pairs>,
}

/// Its answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AddressGiven {
    #[serde(rename = "Address", deserialize_with = "or_default")]
    pub(super) address: String,
}

/// `IpamDriver.ReleaseAddress`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReleaseAddress<'a> {
    #[serde(rename = "PoolID")]
    pub(super) pool_id: &'a str,
    pub(super) address: String,
}

/// An answer that says nothing but that it was done.
#[derive(Debug, Deserialize)]
pub(super) struct Done {}

/// What any answer may have: why it was refused. IPAM drivers say it in `Error`, network drivers
/// and answers that are not 200 in `Err`; authors mix them up.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refused {
    #[serde(rename = "Error", deserialize_with = "or_default")]
    pub(super) error: String,
    #[serde(rename = "Err", deserialize_with = "or_default")]
    pub(super) err: String,
}

/// Reads `null` as nothing.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
