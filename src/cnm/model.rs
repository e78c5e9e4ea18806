//! The model: what exists, and the one way to change it.
//!
//! This file holds the tables and reads them; the rules of networks are in `networks`, those of
//! endpoints in `endpoints`.
//!
//! [`Model::apply`] checks an edit against every rule before it changes anything; the only steps
//! that can still fail after the first change are the leasing of addresses, and those are taken
//! back. Reading is by reference and costs a look-up.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_frame::MacAddr;
use weft_ipam::DefaultPools;

use super::addresses::Addresses;
use super::declared::BUILT_IN;
use super::driver::Driver;
use super::endpoint::{Endpoint, EndpointSpec};
use super::id::{Id, nearest};
use super::ipam::Ipam;
use super::network::{Network, NetworkSpec, NetworkUpdate, Origin};
use super::options::NetworkOptions;
use super::refusal::Refusal;

mod endpoints;
mod journal;
mod networks;

pub use journal::Changed;
use journal::Journal;

/// How many networks there may be.
pub const MAX_NETWORKS: usize = 16_384;

/// How many endpoints there may be, in all networks together.
pub const MAX_ENDPOINTS: usize = 131_072;

/// How many names are looked through for the one that was misspelled.
const MAX_COMPARED: usize = 1024;

/// Something that somebody wants changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Make a network.
    AddNetwork(NetworkSpec),
    /// Remove a network that has no endpoints, by name, id, or beginning of the id.
    RemoveNetwork(String),
    /// Adjust a network while it runs.
    UpdateNetwork {
        /// The network, by name, id, or beginning of the id.
        network: String,
        /// How it shall be.
        update: NetworkUpdate,
    },
    /// Attach a sandbox to a network.
    AddEndpoint(EndpointSpec),
    /// Take an endpoint out of its network.
    RemoveEndpoint(Id),
}

/// What came of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The network with this id is there.
    NetworkAdded(Id),
    /// This network is gone.
    NetworkRemoved(Box<Network>),
    /// The network is adjusted.
    NetworkUpdated {
        /// Which one.
        id: Id,
        /// How it was before.
        was: NetworkUpdate,
    },
    /// The endpoint with this id is there.
    EndpointAdded(Id),
    /// This endpoint is gone and its addresses are free.
    EndpointRemoved(Box<Endpoint>),
}

/// What the networks that always exist need from the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltIns {
    /// The id of `bridge`.
    pub bridge: Id,
    /// The id of `host`.
    pub host: Id,
    /// The id of `none`.
    pub none: Id,
    /// When they were made, in milliseconds of Unix time.
    pub created: u64,
}

/// What exists: networks, endpoints, and who holds which address.
#[derive(Clone, Debug)]
pub struct Model {
    networks: BTreeMap<Id, Network>,
    by_name: BTreeMap<String, Id>,
    members: BTreeMap<Id, Members>,
    endpoints: BTreeMap<Id, Endpoint>,
    addresses: Addresses,
    journal: Journal,
}

/// The endpoints of one network, by what is unique among them.
#[derive(Clone, Debug, Default)]
struct Members {
    by_name: BTreeMap<String, Id>,
    by_mac: BTreeMap<MacAddr, Id>,
}

impl Model {
    /// A model with the built-in networks and nothing else.
    ///
    /// `taken` are the routes and addresses of the host, which default pools keep clear of.
    /// `bridge` takes its subnet when its first endpoint joins, so that networks which name their
    /// subnets never find it in the way on a host where nobody uses it.
    pub fn new(defaults: DefaultPools, taken: Vec<IpNetwork>, built_ins: BuiltIns) -> Self {
        let mut model = Self::empty(defaults, taken);
        model.build_in(built_ins);
        model.settle();
        model
    }

    /// Puts those of the built-in networks in that are not there.
    pub fn build_in(&mut self, built_ins: BuiltIns) {
        let drivers = [
            (Driver::Bridge, built_ins.bridge),
            (Driver::Host, built_ins.host),
            (Driver::None, built_ins.none),
        ];
        for ((driver, id), name) in drivers.into_iter().zip(BUILT_IN) {
            if self.by_name.contains_key(name) {
                continue;
            }
            self.insert_network(Network {
                id,
                name: name.to_owned(),
                driver,
                subnets: Vec::new(),
                internal: false,
                attachable: false,
                ipv4: true,
                ipv6: false,
                ipam: Ipam::default(),
                options: NetworkOptions::default(),
                labels: BTreeMap::new(),
                origin: Origin::BuiltIn,
                created: built_ins.created,
            });
        }
    }

    /// A model with nothing in it, for what a store has kept: the built-in networks too are to be
    /// restored.
    pub fn empty(defaults: DefaultPools, taken: Vec<IpNetwork>) -> Self {
        Self {
            networks: BTreeMap::new(),
            by_name: BTreeMap::new(),
            members: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            addresses: Addresses::new(defaults, taken),
            journal: Journal::default(),
        }
    }

    /// Tells the model which routes and addresses the host has now.
    pub fn observe(&mut self, taken: Vec<IpNetwork>) {
        self.addresses.observe(taken);
    }

    /// Tells the model what the parent of a network is like. It is not kept: whoever opens the parent
    /// again looks again.
    pub fn observe_parent(&mut self, network: Id, mtu: u16, mac: MacAddr) {
        if let Some(network) = self.networks.get_mut(&network) {
            network.options.take_over(mtu, mac);
        }
    }

    /// Carries an edit out.
    ///
    /// # Errors
    /// The rule that the edit would break; then nothing has changed.
    pub fn apply(&mut self, edit: Edit) -> Result<Outcome, Refusal> {
        match edit {
            Edit::AddNetwork(spec) => self.add_network(spec),
            Edit::RemoveNetwork(reference) => self.remove_network(&reference),
            Edit::UpdateNetwork { network, update } => self.update_network(&network, update),
            Edit::AddEndpoint(spec) => self.add_endpoint(spec),
            Edit::RemoveEndpoint(id) => self.remove_endpoint(id),
        }
    }

    /// The network that a reference means: a whole id, a name, or an unambiguous beginning of an
    /// id, in this order, as in Docker.
    ///
    /// # Errors
    /// [`Refusal::UnknownNetwork`] or [`Refusal::Ambiguous`].
    pub fn resolve(&self, reference: &str) -> Result<&Network, Refusal> {
        let by_id = reference.parse().ok().and_then(|id: Id| self.networks.get(&id));
        let by_name = || self.by_name.get(reference).and_then(|id| self.networks.get(id));
        if let Some(network) = by_id.or_else(by_name) {
            return Ok(network);
        }
        let candidates: Vec<&Network> = match Id::all_beginning_with(reference) {
            Some(ids) => self.networks.range(ids).map(|(_, network)| network).collect(),
            None => Vec::new(),
        };
        match candidates.as_slice() {
            [only] => Ok(only),
            [] => Err(Refusal::UnknownNetwork {
                reference: reference.to_owned(),
                nearest: nearest(reference, self.by_name.keys().take(MAX_COMPARED).map(|n| &**n))
                    .map(str::to_owned),
            }),
            several => Err(Refusal::Ambiguous {
                reference: reference.to_owned(),
                candidates: several.iter().map(|network| network.name.clone()).collect(),
            }),
        }
    }

    /// The network with this id.
    pub fn network(&self, id: Id) -> Option<&Network> {
        self.networks.get(&id)
    }

    /// All networks, by name.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.by_name.values().filter_map(|id| self.networks.get(id))
    }

    /// The endpoint with this id.
    pub fn endpoint(&self, id: Id) -> Option<&Endpoint> {
        self.endpoints.get(&id)
    }

    /// All endpoints, by id.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values()
    }

    /// The endpoints of one network, by name.
    pub fn endpoints_of(&self, network: Id) -> impl Iterator<Item = &Endpoint> {
        let members = self.members.get(&network).into_iter();
        members.flat_map(|members| members.by_name.values()).filter_map(|id| self.endpoints.get(id))
    }

    /// The endpoint of a network that has this name.
    pub fn endpoint_named(&self, network: Id, name: &str) -> Option<&Endpoint> {
        self.endpoints.get(self.members.get(&network)?.by_name.get(name)?)
    }

    /// What a sandbox with these endpoints finds in its `/etc/hosts`: every address in every
    /// network that one of them is in, with the name and the aliases of who holds it.
    pub fn hosts_for(&self, endpoints: &[Id]) -> Vec<(IpAddr, Vec<String>)> {
        let mut networks: Vec<Id> = endpoints
            .iter()
            .filter_map(|id| self.endpoints.get(id))
            .map(|own| own.network)
            .collect();
        networks.sort_unstable();
        networks.dedup();
        let mut hosts = Vec::new();
        for endpoint in networks.into_iter().flat_map(|network| self.endpoints_of(network)) {
            let mut names = vec![endpoint.name.clone()];
            names.extend(endpoint.aliases.iter().cloned());
            hosts.extend(endpoint.addresses.iter().map(|address| (address.ip(), names.clone())));
        }
        hosts.sort();
        hosts
    }

    fn check_id(&self, id: Id) -> Result<(), Refusal> {
        if self.networks.contains_key(&id) || self.endpoints.contains_key(&id) {
            return Err(Refusal::IdTaken { id });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
