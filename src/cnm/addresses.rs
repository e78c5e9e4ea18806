//! Who holds which address, in the words of endpoints.
//!
//! A thin layer over [`weft_ipam`]: it makes pools from what a network asks for, finds subnets in
//! the default pools past what the host uses, and leases on behalf of endpoints.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_ipam::{
    AddressSpace, DefaultPools, EndpointId, Family, GatewayChoice, Holder, PoolConfig, PoolError,
};

use super::id::Id;
use super::model::MAX_NETWORKS;
use super::network::{MAX_SUBNETS, Subnet, SubnetSpec};

/// The address space of the model, with what is needed to find free subnets in it.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    space: AddressSpace,
    defaults: DefaultPools,
    taken: Vec<IpNetwork>,
}

impl Addresses {
    pub(crate) fn new(defaults: DefaultPools, taken: Vec<IpNetwork>) -> Self {
        Self { space: AddressSpace::new(MAX_NETWORKS * MAX_SUBNETS), defaults, taken }
    }

    /// Replaces what is known of the host's routes and addresses.
    pub(crate) fn observe(&mut self, taken: Vec<IpNetwork>) {
        self.taken = taken;
    }

    /// Makes the pool of a subnet that names itself, or of a free one of `family`.
    pub(crate) fn add(&mut self, spec: &SubnetSpec, family: Family) -> Result<Subnet, PoolError> {
        let subnet = match spec.subnet {
            Some(subnet) => subnet,
            None => self.space.allocate_default(&self.defaults, family, &self.taken)?,
        };
        let config = PoolConfig {
            range: spec.ip_range,
            gateway: spec.gateway.map_or(GatewayChoice::First, GatewayChoice::At),
            auxiliary: spec.aux.iter().map(|(name, at)| (name.as_str().into(), *at)).collect(),
            ..PoolConfig::new(subnet)
        };
        let pool = self.space.add(config)?;
        let gateway = pool.gateway();
        let &SubnetSpec { ip_range, ref aux, ref pool, .. } = spec;
        Ok(Subnet { subnet, ip_range, gateway, aux: aux.clone(), pool: pool.clone() })
    }

    /// Makes the pool of a subnet as it was before.
    pub(crate) fn restore(&mut self, subnet: &Subnet) -> Result<(), PoolError> {
        let config = PoolConfig {
            range: subnet.ip_range,
            gateway: subnet.gateway.map_or(GatewayChoice::None, GatewayChoice::At),
            auxiliary: subnet.aux.iter().map(|(name, at)| (name.as_str().into(), *at)).collect(),
            ..PoolConfig::new(subnet.subnet)
        };
        self.space.add(config).map(|_| ())
    }

    /// Leases exactly this address of the subnet that it carries the prefix of.
    pub(crate) fn lease_again(&mut self, leased: IpNetwork, id: Id) -> Result<(), PoolError> {
        let prefix = leased.prefix();
        let subnet = IpNetwork::new(leased.network(), prefix).expect("the prefix is its own");
        self.lease(subnet, Some(leased.ip()), id).map(|_| ())
    }

    /// The subnet of a default pool that `address` belongs to, if no network has any of it.
    pub(crate) fn default_subnet_of(&self, address: IpAddr) -> Option<IpNetwork> {
        let pools = self.defaults.entries().iter();
        let mut subnets = pools.filter(|pool| pool.base().contains(address)).filter_map(|pool| {
            let within = IpNetwork::new(address, pool.size()).ok()?;
            IpNetwork::new(within.network(), pool.size()).ok()
        });
        subnets.find(|subnet| {
            let overlaps = |other: IpNetwork| {
                subnet.contains(other.network()) || other.contains(subnet.network())
            };
            !self.space.pools().any(|pool| overlaps(pool.subnet()))
        })
    }

    /// Removes the pool of a subnet that the model knows.
    pub(crate) fn remove(&mut self, subnet: IpNetwork) {
        let removed = self.space.remove(subnet);
        assert!(removed.is_ok(), "a subnet of a network has a pool");
    }

    /// Leases `address`, or the next free one, and returns it with the subnet's prefix.
    pub(crate) fn lease(
        &mut self,
        subnet: IpNetwork,
        address: Option<IpAddr>,
        endpoint: Id,
    ) -> Result<IpNetwork, PoolError> {
        let pool = self.space.pool_mut(subnet).ok_or(PoolError::NoSuchPool(subnet))?;
        let holder = Holder::Endpoint(EndpointId(*endpoint.octets()));
        let address = match address {
            Some(address) => pool.lease_static(address, holder).map(|()| address)?,
            None => pool.lease(holder)?,
        };
        Ok(IpNetwork::new(address, subnet.prefix()).expect("the prefix is that of a subnet"))
    }

    /// Gives back what [`Self::lease`] returned.
    pub(crate) fn release(&mut self, leased: IpNetwork) {
        let subnet = IpNetwork::new(leased.network(), leased.prefix()).ok();
        let pool = subnet.and_then(|subnet| self.space.pool_mut(subnet));
        let released = pool.map(|pool| pool.release(leased.ip()));
        assert!(matches!(released, Some(Ok(_))), "an endpoint's address is leased");
    }

    /// Who holds an address of a subnet.
    pub(crate) fn holder(&self, subnet: IpNetwork, address: IpAddr) -> Option<&Holder> {
        self.space.pool(subnet)?.holder(address)
    }
}

#[cfg(test)]
impl Addresses {
    /// Every lease, for tests that compare the whole.
    pub(crate) fn leases(&self) -> Vec<(IpNetwork, IpAddr, Holder)> {
        let of = |pool: &weft_ipam::Pool| {
            let subnet = pool.subnet();
            let leases: Vec<_> =
                pool.leases().map(|(at, holder)| (subnet, at, holder.clone())).collect();
            leases
        };
        self.space.pools().flat_map(of).collect()
    }
}
