//! What changed since the model was last known to be safe, so that it can be written down, or taken
//! back.
//!
//! The first change of a network or an endpoint keeps what was there before. Whoever writes the
//! model to a store asks for [`Model::changes`], writes them, and calls [`Model::settle`]; when
//! the writing fails, [`Model::roll_back`] makes everything as it was.

use std::collections::BTreeMap;

use super::{Members, Model};
use crate::cnm::endpoint::Endpoint;
use crate::cnm::id::Id;
use crate::cnm::ipam::{Given, Returned};
use crate::cnm::network::Network;
use crate::cnm::refusal::Refusal;

/// What was there before, of everything that changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    networks: BTreeMap<Id, Option<Box<Network>>>,
    endpoints: BTreeMap<Id, Option<Box<Endpoint>>>,
}

impl Journal {
    /// Notes a network that is about to change, or to come when there is none.
    pub(super) fn network(&mut self, id: Id, before: Option<&Network>) {
        self.networks.entry(id).or_insert_with(|| before.cloned().map(Box::new));
    }

    /// Notes an endpoint that is about to change, or to come when there is none.
    pub(super) fn endpoint(&mut self, id: Id, before: Option<&Endpoint>) {
        self.endpoints.entry(id).or_insert_with(|| before.cloned().map(Box::new));
    }
}

/// Something that changed, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed<'a> {
    /// A network; `None` when it is gone.
    Network(Id, Option<&'a Network>),
    /// An endpoint; `None` when it is gone.
    Endpoint(Id, Option<&'a Endpoint>),
}

impl Model {
    /// What changed since the last [`Self::settle`], as it is now.
    pub fn changes(&self) -> impl Iterator<Item = Changed<'_>> {
        let networks =
            self.journal.networks.keys().map(|id| Changed::Network(*id, self.networks.get(id)));
        let endpoints =
            self.journal.endpoints.keys().map(|id| Changed::Endpoint(*id, self.endpoints.get(id)));
        networks.chain(endpoints)
    }

    /// What goes back to remote IPAM drivers, because it was there at the last [`Self::settle`] and
    /// is gone: by the id of the network or endpoint that had it, endpoints' first.
    pub fn returns(&self) -> Vec<(Id, Returned)> {
        let before = |id: Id| self.journal.networks.get(&id).and_then(Option::as_deref);
        let network_of = |id: Id| before(id).or_else(|| self.networks.get(&id));
        let mut returns = Vec::new();
        let mut note = |id: Id, network: &Network, given: Vec<Given>| {
            if let Some(driver) = network.ipam.driver.plugin().filter(|_| !given.is_empty()) {
                returns.push((id, Returned { driver: driver.to_owned(), given }));
            }
        };
        for (id, endpoint) in &self.journal.endpoints {
            let Some(endpoint) = endpoint else { continue };
            let Some(network) = network_of(endpoint.network) else { continue };
            let kept = self.endpoints.get(id).map_or(&[][..], |now| &now.addresses);
            let gone = endpoint.addresses.iter().filter(|address| !kept.contains(address));
            note(*id, network, network.given(gone));
        }
        for (id, network) in &self.journal.networks {
            if let Some(network) = network.as_deref().filter(|_| !self.networks.contains_key(id)) {
                let given = network.subnets.iter().flat_map(|subnet| subnet.given());
                note(*id, network, given.collect());
            }
        }
        returns
    }

    /// Whether a network or an endpoint has what a remote IPAM driver gave.
    pub fn has(&self, driver: &str, given: &Given) -> bool {
        let mut networks = self.networks.values();
        let (Given::Address { pool, .. } | Given::Pool { pool }) = given;
        networks.any(|network| {
            let mut own = network.subnets.iter().filter(|own| own.pool.as_ref() == Some(pool));
            network.ipam.driver.plugin() == Some(driver)
                && own.any(|own| match given {
                    Given::Pool { .. } => true,
                    Given::Address { address, .. } => {
                        self.addresses.holder(own.subnet, *address).is_some()
                    }
                })
        })
    }

    /// Declares what is there now to be safe.
    pub fn settle(&mut self) {
        self.journal = Journal::default();
    }

    /// Makes everything as it was when it was last settled. Only the place where pools go on giving
    /// addresses stays where it is.
    pub fn roll_back(&mut self) {
        let Journal { networks, endpoints } = std::mem::take(&mut self.journal);
        // What came leaves before what left comes back: they may have the same names and addresses.
        for id in endpoints.keys() {
            self.take_endpoint(*id);
        }
        let mut left = Vec::new();
        for (id, before) in networks {
            match before {
                Some(before) if self.is_adjusted(&before) => {
                    self.networks.insert(id, *before);
                }
                before => {
                    self.take_network(id);
                    left.extend(before);
                }
            }
        }
        for network in left {
            let restored = self.restore_network(*network);
            assert!(restored.is_ok(), "what was there before fits: {restored:?}");
        }
        for endpoint in endpoints.into_values().flatten() {
            let restored = self.restore_endpoint(*endpoint);
            assert!(restored.is_ok(), "what was there before fits: {restored:?}");
        }
        self.journal = Journal::default();
    }

    /// Whether a network that was there before was adjusted at most. Then it still has its pools, and
    /// its endpoints that did not change have their addresses in them.
    fn is_adjusted(&self, before: &Network) -> bool {
        let now = self.networks.get(&before.id);
        now.is_some_and(|now| now.name == before.name && now.subnets == before.subnets)
    }

    /// Puts a network in that existed before, with exactly the subnets it had.
    ///
    /// # Errors
    /// When its id or name is taken, or its subnets overlap others; then nothing has changed.
    pub fn restore_network(&mut self, network: Network) -> Result<(), Refusal> {
        if let Some(id) = self.by_name.get(&network.name) {
            return Err(Refusal::NetworkExists { name: network.name, id: *id });
        }
        self.check_id(network.id)?;
        self.restore_subnets(&network)?;
        self.insert_network(network);
        Ok(())
    }

    /// Puts an endpoint in that existed before, with exactly the addresses it had.
    ///
    /// # Errors
    /// When its network is not there, or its id, name or addresses are taken; then nothing has
    /// changed.
    pub fn restore_endpoint(&mut self, endpoint: Endpoint) -> Result<(), Refusal> {
        let Some(network) = self.networks.get(&endpoint.network) else {
            let reference = endpoint.network.to_string();
            return Err(Refusal::UnknownNetwork { reference, nearest: None });
        };
        let named = || network.name.clone();
        if self.endpoint_named(network.id, &endpoint.name).is_some() {
            return Err(Refusal::EndpointExists { name: endpoint.name, network: named() });
        }
        if let Some(mac) = endpoint.mac
            && let Some(by) = self.mac_holder(network, mac)
        {
            return Err(Refusal::MacTaken { mac, network: named(), by });
        }
        self.check_id(endpoint.id)?;
        let network = named();
        let mut leased = Vec::new();
        for address in &endpoint.addresses {
            match self.addresses.lease_again(*address, endpoint.id) {
                Ok(()) => leased.push(*address),
                Err(source) => {
                    leased.into_iter().for_each(|address| self.addresses.release(address));
                    return Err(Refusal::Pool { network, source });
                }
            }
        }
        self.insert_endpoint(endpoint);
        Ok(())
    }

    /// Enters a network in the tables; its pools are there.
    pub(super) fn insert_network(&mut self, network: Network) {
        self.journal.network(network.id, None);
        self.by_name.insert(network.name.clone(), network.id);
        self.members.insert(network.id, Members::default());
        self.networks.insert(network.id, network);
    }

    /// Enters an endpoint in the tables; its addresses are leased.
    pub(super) fn insert_endpoint(&mut self, endpoint: Endpoint) {
        self.journal.endpoint(endpoint.id, None);
        let members = self.members.entry(endpoint.network).or_default();
        members.by_name.insert(endpoint.name.clone(), endpoint.id);
        members.by_mac.extend(endpoint.mac.map(|mac| (mac, endpoint.id)));
        self.endpoints.insert(endpoint.id, endpoint);
    }

    /// Takes a network without endpoints out of the tables, and its pools with it.
    pub(super) fn take_network(&mut self, id: Id) -> Option<Network> {
        let network = self.networks.remove(&id)?;
        self.journal.network(id, Some(&network));
        self.by_name.remove(&network.name);
        self.members.remove(&id);
        self.remove_subnets(&network.subnets);
        Some(network)
    }

    /// Takes an endpoint out of the tables, and its addresses back.
    pub(super) fn take_endpoint(&mut self, id: Id) -> Option<Endpoint> {
        let endpoint = self.endpoints.remove(&id)?;
        self.journal.endpoint(id, Some(&endpoint));
        let members = self.members.entry(endpoint.network).or_default();
        members.by_name.remove(&endpoint.name);
        if let Some(mac) = endpoint.mac {
            members.by_mac.remove(&mac);
        }
        endpoint.addresses.iter().for_each(|address| self.addresses.release(*address));
        Some(endpoint)
    }
}
