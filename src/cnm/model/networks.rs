//! The rules of networks: adding, adjusting and removing one.

use std::net::Ipv4Addr;

use ipnetwork::IpNetwork;
use weft_ipam::{Family, PoolError};

use super::{MAX_NETWORKS, Model, Outcome};
use crate::cnm::id::{Id, is_name};
use crate::cnm::ipam::IpamDriver;
use crate::cnm::network::{
    MAX_SUBNETS, Network, NetworkSpec, NetworkUpdate, Origin, Subnet, SubnetSpec,
};
use crate::cnm::options::MIN_MTU_IPV6;
use crate::cnm::refusal::Refusal;

/// How many of the endpoints that keep a network in use are named.
const MAX_NAMED: usize = 5;

impl Model {
    pub(super) fn add_network(&mut self, mut spec: NetworkSpec) -> Result<Outcome, Refusal> {
        self.check_network(&spec)?;
        if let Some(driver) = spec.ipam.driver.plugin()
            && spec.wanted_subnets().iter().any(|(subnet, _)| subnet.pool.is_none())
        {
            let (network, driver) = (spec.name, driver.to_owned());
            return Err(Refusal::NotGiven { network, driver, what: "a pool" });
        }
        spec.driver.behaviour().arrange(&mut spec.options);
        let subnets = self.add_subnets(&spec)?;
        let id = spec.id;
        self.insert_network(Network {
            id,
            name: spec.name,
            driver: spec.driver,
            ipv4: if subnets.is_empty() {
                spec.ipv4
            } else {
                subnets.iter().any(|subnet| subnet.subnet.is_ipv4())
            },
            ipv6: spec.ipv6 || subnets.iter().any(|subnet| subnet.subnet.is_ipv6()),
            subnets,
            internal: spec.internal,
            attachable: spec.attachable,
            ipam: spec.ipam,
            options: spec.options,
            labels: spec.labels,
            origin: spec.origin,
            created: spec.created,
        });
        Ok(Outcome::NetworkAdded(id))
    }

    pub(super) fn update_network(
        &mut self,
        reference: &str,
        update: NetworkUpdate,
    ) -> Result<Outcome, Refusal> {
        let id = self.resolve(reference)?.id;
        let network = self.networks.get_mut(&id).expect("a resolved network is there");
        self.journal.network(id, Some(network));
        let options = network.options.live;
        network.options.live = update.options;
        network.driver.behaviour().arrange(&mut network.options);
        let attachable = std::mem::replace(&mut network.attachable, update.attachable);
        let labels = std::mem::replace(&mut network.labels, update.labels);
        Ok(Outcome::NetworkUpdated { id, was: NetworkUpdate { options, attachable, labels } })
    }

    pub(super) fn remove_network(&mut self, reference: &str) -> Result<Outcome, Refusal> {
        let network = self.resolve(reference)?;
        let (id, name) = (network.id, network.name.clone());
        match network.origin {
            Origin::BuiltIn => return Err(Refusal::BuiltIn { network: name }),
            Origin::File | Origin::Api | Origin::Docker => {}
        }
        let by: Vec<String> =
            self.endpoints_of(id).take(MAX_NAMED).map(|endpoint| endpoint.name.clone()).collect();
        if !by.is_empty() {
            return Err(Refusal::NetworkInUse { network: name, id, by });
        }
        let network = self.take_network(id).expect("a resolved network is there");
        Ok(Outcome::NetworkRemoved(Box::new(network)))
    }

    /// Gives `bridge` a subnet if it has none, and says whether it did.
    ///
    /// It is the one that `wanted` belongs to, if that is a default one and free: sandboxes that
    /// come back after a restart have addresses of it.
    pub(super) fn ensure_subnet(
        &mut self,
        id: Id,
        wanted: Option<Ipv4Addr>,
    ) -> Result<bool, Refusal> {
        let network = self.networks.get(&id).expect("a resolved network is there");
        let is_without =
            !network.driver.is_switched() || network.ipam.driver != IpamDriver::Default;
        if is_without || !network.subnets.is_empty() {
            return Ok(false);
        }
        let name = network.name.clone();
        let former = wanted.and_then(|address| self.addresses.default_subnet_of(address.into()));
        let spec = SubnetSpec { subnet: former, ..SubnetSpec::default() };
        let subnet = self.add_subnet(&name, &spec, Family::V4)?;
        let network = self.networks.get_mut(&id).expect("a resolved network is there");
        self.journal.network(id, Some(network));
        network.subnets.push(subnet);
        Ok(true)
    }

    /// Undoes [`Self::ensure_subnet`].
    pub(super) fn forget_subnet(&mut self, id: Id) {
        let network = self.networks.get_mut(&id).expect("a resolved network is there");
        let subnets = std::mem::take(&mut network.subnets);
        self.remove_subnets(&subnets);
    }

    /// Checks what can be said of a network before anybody has given it subnets.
    ///
    /// # Errors
    /// The rule that it would break whatever it is given.
    pub fn check_network(&self, spec: &NetworkSpec) -> Result<(), Refusal> {
        let name = || spec.name.clone();
        if !is_name(&spec.name) {
            return Err(Refusal::BadName { what: "a network", name: name() });
        }
        if let Some(id) = self.by_name.get(&spec.name) {
            return Err(Refusal::NetworkExists { name: name(), id: *id });
        }
        self.check_id(spec.id)?;
        if self.networks.len() >= MAX_NETWORKS {
            return Err(Refusal::TooMany { what: "networks", limit: MAX_NETWORKS });
        }
        let subnets = spec.wanted_subnets();
        if subnets.len() > MAX_SUBNETS {
            return Err(Refusal::TooMany { what: "subnets in one network", limit: MAX_SUBNETS });
        }
        if !spec.driver.is_switched() && (spec.ipv6 || !spec.subnets.is_empty()) {
            let what = "subnets";
            return Err(Refusal::NotSwitched { network: name(), driver: spec.driver, what });
        }
        spec.driver.behaviour().check(spec)?;
        self.check_parent(spec)?;
        self.check_families(spec)?;
        let is_incomplete =
            |subnet: &SubnetSpec| subnet.subnet.is_none() && *subnet != SubnetSpec::default();
        if spec.subnets.iter().any(is_incomplete) {
            return Err(Refusal::SubnetMissing { network: name() });
        }
        let has_ipv6 = subnets.iter().any(|(_, family)| *family == Family::V6);
        if has_ipv6 && spec.options.mtu < MIN_MTU_IPV6 {
            return Err(Refusal::SmallMtu { network: name(), mtu: spec.options.mtu });
        }
        Ok(())
    }

    /// An interface is the way out of one network: two switches beside each other on one wire would
    /// keep their endpoints apart, which nobody expects.
    fn check_parent(&self, spec: &NetworkSpec) -> Result<(), Refusal> {
        let Some(parent) = spec.options.uplink.parent else { return Ok(()) };
        let mut others = self.networks.values();
        match others.find(|other| other.options.uplink.parent == Some(parent)) {
            Some(other) => Err(Refusal::ParentInUse { network: other.name.clone(), parent }),
            None => Ok(()),
        }
    }

    /// The rules between families, subnets and who gives the addresses.
    fn check_families(&self, spec: &NetworkSpec) -> Result<(), Refusal> {
        let network = || spec.name.clone();
        match &spec.ipam.driver {
            IpamDriver::Null if !spec.subnets.is_empty() => {
                return Err(Refusal::NoPools { network: network() });
            }
            IpamDriver::Null | IpamDriver::Default | IpamDriver::Remote(_) => {}
        }
        if spec.ipv4 {
            return Ok(());
        }
        let mut subnets = spec.subnets.iter().filter_map(|own| own.subnet);
        if let Some(subnet) = subnets.find(IpNetwork::is_ipv4) {
            return Err(Refusal::WithoutIpv4 { network: network(), subnet });
        }
        if !spec.ipv6 && !spec.subnets.iter().any(|own| own.subnet.is_some()) {
            return Err(Refusal::NoFamily { network: network() });
        }
        Ok(())
    }

    /// Notes that a remote IPAM driver calls the pool of a subnet otherwise now.
    pub fn rename_pool(&mut self, network: Id, subnet: IpNetwork, pool: String) {
        let Some(network) = self.networks.get_mut(&network) else { return };
        self.journal.network(network.id, Some(network));
        if let Some(own) = network.subnets.iter_mut().find(|own| own.subnet == subnet) {
            own.pool = Some(pool);
        }
    }

    /// Takes every subnet of a wish, or none.
    fn add_subnets(&mut self, spec: &NetworkSpec) -> Result<Vec<Subnet>, Refusal> {
        let mut added = Vec::new();
        for (subnet, family) in spec.wanted_subnets() {
            match self.add_subnet(&spec.name, &subnet, family) {
                Ok(subnet) => added.push(subnet),
                Err(refusal) => {
                    self.remove_subnets(&added);
                    return Err(refusal);
                }
            }
        }
        Ok(added)
    }

    fn add_subnet(
        &mut self,
        network: &str,
        spec: &SubnetSpec,
        family: Family,
    ) -> Result<Subnet, Refusal> {
        self.addresses.add(spec, family).map_err(|source| self.pool_refusal(network, source))
    }

    fn pool_refusal(&self, network: &str, source: PoolError) -> Refusal {
        if let PoolError::Overlap { pool, other } = source {
            let network = self.owner(other).map_or(network, |owner| &owner.name).to_owned();
            return Refusal::Overlap { subnet: pool, other, network };
        }
        Refusal::Pool { network: network.to_owned(), source }
    }

    /// Makes the pools of a network that existed before, or none.
    pub(super) fn restore_subnets(&mut self, network: &Network) -> Result<(), Refusal> {
        for (place, subnet) in network.subnets.iter().enumerate() {
            if let Err(source) = self.addresses.restore(subnet) {
                self.remove_subnets(&network.subnets[..place]);
                return Err(self.pool_refusal(&network.name, source));
            }
        }
        Ok(())
    }

    pub(super) fn remove_subnets(&mut self, subnets: &[Subnet]) {
        subnets.iter().for_each(|subnet| self.addresses.remove(subnet.subnet));
    }

    /// The network that a subnet belongs to.
    fn owner(&self, subnet: IpNetwork) -> Option<&Network> {
        self.networks
            .values()
            .find(|network| network.subnets.iter().any(|own| own.subnet == subnet))
    }
}
