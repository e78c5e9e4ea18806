//! Docker's JSON: what its clients send, and what they read.
//!
//! Go writes `null` where there is nothing and leaves out what it calls empty; other clients send
//! `null` for what they were not told. All of that means the same here.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// Names with values: options, labels.
pub type Pairs = BTreeMap<String, String>;

/// `POST /networks/create`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CreateNetwork {
    /// The network's name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// The driver; `bridge` when empty.
    #[serde(deserialize_with = "or_default")]
    pub driver: String,
    /// `local`, or empty.
    #[serde(deserialize_with = "or_default")]
    pub scope: String,
    /// Whether there is no way to the outside.
    #[serde(deserialize_with = "or_default")]
    pub internal: bool,
    /// Whether anybody may join.
    #[serde(deserialize_with = "or_default")]
    pub attachable: bool,
    /// Whether it is a swarm's ingress.
    #[serde(deserialize_with = "or_default")]
    pub ingress: bool,
    /// Whether it is only a template.
    #[serde(deserialize_with = "or_default")]
    pub config_only: bool,
    /// The template to use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_from: Option<ConfigFrom>,
    /// Where addresses come from.
    #[serde(rename = "IPAM", deserialize_with = "or_default")]
    pub ipam: Ipam,
    /// Whether it has IPv4; it has when this is not said.
    #[serde(rename = "EnableIPv4", skip_serializing_if = "Option::is_none")]
    pub enable_ipv4: Option<bool>,
    /// Whether it has IPv6.
    #[serde(rename = "EnableIPv6", skip_serializing_if = "Option::is_none")]
    pub enable_ipv6: Option<bool>,
    /// The driver's options.
    #[serde(deserialize_with = "or_default")]
    pub options: Pairs,
    /// Its labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: Pairs,
}

/// The network that another one takes its configuration from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConfigFrom {
    /// Its name.
    #[serde(deserialize_with = "or_default")]
    pub network: String,
}

/// Where a network's addresses come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Ipam {
    /// The IPAM driver; `default` when empty.
    #[serde(deserialize_with = "or_default")]
    pub driver: String,
    /// Its options.
    #[serde(deserialize_with = "or_default")]
    pub options: Pairs,
    /// The subnets.
    #[serde(deserialize_with = "or_default")]
    pub config: Vec<IpamConfig>,
}

/// One subnet of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IpamConfig {
    /// The subnet.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub subnet: String,
    /// The part of it that addresses are given from.
    #[serde(
        rename = "IPRange",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub ip_range: String,
    /// The gateway's address.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// Addresses that are never given.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Pairs::is_empty")]
    pub auxiliary_addresses: Pairs,
}

/// The answer to `POST /networks/create`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Created {
    /// The new network's id.
    pub id: String,
    /// What the caller should know.
    pub warning: String,
}

/// A network, as it is listed and inspected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// `local`.
    pub scope: String,
    /// Its driver, as Docker calls it.
    pub driver: String,
    /// Whether it has IPv4.
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: bool,
    /// Whether it has IPv6.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Where its addresses come from.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// Whether there is no way to the outside.
    pub internal: bool,
    /// Whether anybody may join.
    pub attachable: bool,
    /// Whether it is a swarm's ingress.
    pub ingress: bool,
    /// Where its configuration comes from.
    pub config_from: ConfigFrom,
    /// Whether it is only a template.
    pub config_only: bool,
    /// Who is in it, by id; empty in lists.
    #[serde(deserialize_with = "or_default")]
    pub containers: BTreeMap<String, Member>,
    /// The driver's options.
    #[serde(deserialize_with = "or_default")]
    pub options: Pairs,
    /// Its labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: Pairs,
}

/// A sandbox in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// Its station address.
    pub mac_address: String,
    /// Its IPv4 address with the subnet's prefix.
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: String,
    /// Its IPv6 address with the subnet's prefix.
    #[serde(rename = "IPv6Address")]
    pub ipv6_address: String,
}

/// `POST /networks/{id}/connect`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Connect {
    /// The sandbox.
    #[serde(deserialize_with = "or_default")]
    pub container: String,
    /// How.
    #[serde(deserialize_with = "or_default")]
    pub endpoint_config: EndpointConfig,
}

/// How a sandbox is to be on a network.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EndpointConfig {
    /// The addresses it wants.
    #[serde(rename = "IPAMConfig", deserialize_with = "or_default")]
    pub ipam_config: WantedAddresses,
    /// Names for others, an old way.
    #[serde(deserialize_with = "or_default")]
    pub links: Vec<String>,
    /// Further names on the network.
    #[serde(deserialize_with = "or_default")]
    pub aliases: Vec<String>,
    /// The station address it wants.
    #[serde(deserialize_with = "or_default")]
    pub mac_address: String,
    /// The driver's options.
    #[serde(deserialize_with = "or_default")]
    pub driver_opts: Pairs,
    /// Which network gives the default route: the one with the highest.
    #[serde(deserialize_with = "or_default")]
    pub gw_priority: i64,
}

/// The addresses that an endpoint wants.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct WantedAddresses {
    /// IPv4.
    #[serde(
        rename = "IPv4Address",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub ipv4_address: String,
    /// IPv6.
    #[serde(
        rename = "IPv6Address",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub ipv6_address: String,
    /// Link-local addresses.
    #[serde(
        rename = "LinkLocalIPs",
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub link_local_ips: Vec<String>,
}

/// `POST /networks/{id}/disconnect`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Disconnect {
    /// The sandbox.
    #[serde(deserialize_with = "or_default")]
    pub container: String,
    /// Whether to take it off the network also when it does not answer.
    #[serde(deserialize_with = "or_default")]
    pub force: bool,
}

/// The answer to `POST /networks/prune`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Pruned {
    /// The names of the networks that are gone.
    #[serde(deserialize_with = "or_default")]
    pub networks_deleted: Vec<String>,
}

/// Reads `null` as nothing.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_leave_out_or_send_as_null_is_nothing() {
        let python = r#"{"Name": "blue", "Driver": null, "Options": null, "IPAM": {
            "Driver": "default", "Config": [{"Subnet": "10.0.0.0/24", "IPRange": null,
            "Gateway": null, "AuxiliaryAddresses": null}]}, "CheckDuplicate": true}"#;
        let go = r#"{"Name":"blue","Driver":"","Scope":"","EnableIPv6":null,"IPAM":{
            "Driver":"default","Options":{},"Config":[{"Subnet":"10.0.0.0/24"}]},"Internal":false,
            "Attachable":false,"Ingress":false,"ConfigOnly":false,"ConfigFrom":null,"Options":{},
            "Labels":{}}"#;
        let subnet = IpamConfig { subnet: "10.0.0.0/24".to_owned(), ..Default::default() };
        let driver = "default".to_owned();
        let ipam = Ipam { driver, config: vec![subnet], ..Default::default() };
        let blue = CreateNetwork { name: "blue".to_owned(), ipam, ..Default::default() };
        for text in [python, go] {
            assert_eq!(serde_json::from_str::<CreateNetwork>(text).unwrap(), blue, "{text}");
        }
        let connect = r#"{"Container":"web","EndpointConfig":{"IPAMConfig":null,"Links":null}}"#;
        assert_eq!(serde_json::from_str::<Connect>(connect).unwrap().container, "web");
    }

    #[test]
    fn a_network_is_told_in_dockers_field_names() {
        let told = serde_json::to_value(Network::default()).unwrap();
        let mut names: Vec<&str> = told.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let expected = [
            "Attachable",
            "ConfigFrom",
            "ConfigOnly",
            "Containers",
            "Created",
            "Driver",
            "EnableIPv4",
            "EnableIPv6",
            "IPAM",
            "Id",
            "Ingress",
            "Internal",
            "Labels",
            "Name",
            "Options",
            "Scope",
        ];
        assert_eq!(names, expected);
        let member = serde_json::to_value(Member::default()).unwrap();
        for name in ["Name", "EndpointID", "MacAddress", "IPv4Address", "IPv6Address"] {
            assert!(member.get(name).is_some(), "{name}");
        }
        assert_eq!(told["IPAM"], serde_json::json!({"Driver": "", "Options": {}, "Config": []}));
    }
}
