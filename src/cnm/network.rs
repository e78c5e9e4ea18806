//! Networks: what is asked for, and what exists.
//!
//! A [`NetworkSpec`] is a wish: it may leave subnets to the default pools and gateways to the rule
//! that the first address is the gateway. A [`Network`] is what came of it, with every such choice
//! made.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weft_frame::MacAddr;
use weft_ipam::Family;

use super::driver::Driver;
use super::endpoint::Endpoint;
use super::id::Id;
use super::ipam::{Given, Ipam, IpamDriver};
use super::options::{LiveOptions, NetworkOptions};
use super::text;

/// How many subnets one network may have.
pub const MAX_SUBNETS: usize = 16;

/// A network that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Its id, chosen by whoever asks.
    pub id: Id,
    /// Its name, unique among networks.
    pub name: String,
    /// What kind of thing it is.
    pub driver: Driver,
    /// Its subnets. When there are none, a switched network gets an IPv4 subnet from the default
    /// pools.
    pub subnets: Vec<SubnetSpec>,
    /// Whether it has no way to the outside.
    pub internal: bool,
    /// Whether sandboxes may join it that were not started for it; said by Docker, kept for it.
    pub attachable: bool,
    /// Whether it may have IPv4.
    pub ipv4: bool,
    /// Whether it has IPv6; an IPv6 subnet among `subnets` says so too. When there is none, one
    /// comes from the default pools.
    pub ipv6: bool,
    /// Who gives it its addresses.
    pub ipam: Ipam,
    /// What the switch does differently from the defaults.
    pub options: NetworkOptions,
    /// What its makers want to remember; means nothing to us.
    pub labels: BTreeMap<String, String>,
    /// Which door it came through.
    pub origin: Origin,
    /// When it was made, in milliseconds of Unix time.
    pub created: u64,
}

/// A subnet that somebody asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SubnetSpec {
    /// The subnet; `None` is an IPv4 subnet from the default pools, and then nothing else is given.
    pub subnet: Option<IpNetwork>,
    /// The part of the subnet that addresses are given from unless one is asked for.
    pub ip_range: Option<IpNetwork>,
    /// The gateway's address; the first of the subnet when absent.
    pub gateway: Option<IpAddr>,
    /// Addresses that are never given, each with the name of what has it.
    pub aux: BTreeMap<String, IpAddr>,
    /// What the remote IPAM driver calls the pool, once it has given it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// The door a network or an endpoint came through, and so who may take it away again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Always there: `bridge`, `host`, `none`.
    BuiltIn,
    /// Declared in the file; a reload may change it.
    File,
    /// Asked for over the socket, by the command line or a Docker client.
    Api,
    /// Docker Engine, through its plugin protocol.
    Docker,
}

/// What can change on a network while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkUpdate {
    /// The live options, all of them.
    pub options: LiveOptions,
    /// Whether sandboxes may join it that were not started for it.
    pub attachable: bool,
    /// The labels, all of them.
    pub labels: BTreeMap<String, String>,
}

/// A network that exists.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// What kind of thing it is.
    #[serde(with = "text")]
    pub driver: Driver,
    /// Its subnets. Empty for drivers and IPAM drivers without addresses, and for `bridge` until its
    /// first endpoint.
    pub subnets: Vec<Subnet>,
    /// Whether it has no way to the outside.
    pub internal: bool,
    /// Whether sandboxes may join it that were not started for it; said by Docker, kept for it.
    pub attachable: bool,
    /// Whether it has IPv4.
    pub ipv4: bool,
    /// Whether it has IPv6.
    pub ipv6: bool,
    /// Who gives it its addresses.
    pub ipam: Ipam,
    /// Its options.
    #[serde(with = "text::options")]
    pub options: NetworkOptions,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Which door it came through.
    pub origin: Origin,
    /// When it was made, in milliseconds of Unix time.
    pub created: u64,
}

/// A subnet of a network that exists.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// The subnet.
    pub subnet: IpNetwork,
    /// The part of it that addresses are given from.
    pub ip_range: Option<IpNetwork>,
    /// The gateway's address, if the subnet has room for one.
    pub gateway: Option<IpAddr>,
    /// Addresses that are never given, each with the name of what has it.
    pub aux: BTreeMap<String, IpAddr>,
    /// What the remote IPAM driver that gave the subnet calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

impl Subnet {
    /// What goes back to the remote IPAM driver with the subnet, in the engine's order.
    pub fn given(&self) -> Vec<Given> {
        let Some(pool) = &self.pool else { return Vec::new() };
        let addresses = self.gateway.into_iter().chain(self.aux.values().copied());
        let address = |address| Given::Address { pool: pool.clone(), address };
        addresses.map(address).chain([Given::Pool { pool: pool.clone() }]).collect()
    }
}

impl Network {
    /// The station address of the network's gateway: always the same for the same network.
    pub fn gateway_mac(&self) -> MacAddr {
        station_address(&self.id, 0)
    }

    /// The gateway's addresses, in the order of the subnets.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        self.subnets.iter().filter_map(|subnet| subnet.gateway)
    }

    /// What goes back to the remote IPAM driver, if that gave these addresses of an endpoint.
    pub fn given<'a>(&self, addresses: impl IntoIterator<Item = &'a IpNetwork>) -> Vec<Given> {
        let given = |address: &IpNetwork| {
            let pool = self.subnet_of(address.ip())?.pool.clone()?;
            Some(Given::Address { pool, address: address.ip() })
        };
        addresses.into_iter().filter_map(given).collect()
    }

    /// The routers by which an endpoint reaches the outside, one for each family: those of the
    /// larger network that this one is a part of. None where there is no way out, or one of ours.
    pub fn routers(&self, endpoint: &Endpoint) -> Vec<IpAddr> {
        if self.internal || self.options.uplink.parent.is_none() {
            return Vec::new();
        }
        let gateway_of = |address: &IpNetwork| self.subnet_of(address.ip())?.gateway;
        endpoint.addresses.iter().filter_map(gateway_of).collect()
    }

    /// The subnet that `address` belongs to.
    pub fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.subnet.contains(address))
    }
}

impl NetworkSpec {
    /// The subnets that a wish amounts to, those included that somebody is to choose, each with its
    /// family.
    pub fn wanted_subnets(&self) -> Vec<(SubnetSpec, Family)> {
        if !self.driver.is_switched() || self.ipam.driver == IpamDriver::Null {
            return Vec::new();
        }
        let family_of = |subnet: &SubnetSpec| subnet.subnet.map_or(Family::V4, Family::of);
        let mut wanted: Vec<(SubnetSpec, Family)> =
            self.subnets.iter().map(|subnet| (subnet.clone(), family_of(subnet))).collect();
        if wanted.is_empty() && self.ipv4 {
            wanted.push((SubnetSpec::default(), Family::V4));
        }
        if self.ipv6 && wanted.iter().all(|(_, family)| *family == Family::V4) {
            wanted.push((SubnetSpec::default(), Family::V6));
        }
        wanted
    }
}

/// The `attempt`th locally administered unicast station address that an id stands for.
///
/// Five of the id's octets behind `02`, starting at octet `attempt`, so that a collision within a
/// network has other candidates to fall back on.
pub(crate) fn station_address(id: &Id, attempt: usize) -> MacAddr {
    let octets = id.octets();
    let mut address = [0x02; 6];
    for (at, octet) in address.iter_mut().skip(1).enumerate() {
        *octet = octets[(attempt + at) % octets.len()];
    }
    MacAddr(address)
}
