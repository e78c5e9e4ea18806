//! An address space: pools that may not overlap.
//!
//! Pools are kept in the order of their addresses. They do not overlap, so whatever a subnet
//! overlaps with is found by one look-up: the last pool that begins before the subnet ends.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::pool::checked_subnet;
use crate::span::{Family, Span};
use crate::{DefaultPools, Pool, PoolConfig, PoolError};

/// The longest prefix of a route that leads to everywhere, or to half of everything. VPN programs
/// set two /1 routes where they mean the default route without replacing it; no network is there.
const DEFAULT_ROUTE_PREFIX: u8 = 1;

/// Pools that do not overlap.
#[derive(Clone, Debug)]
pub struct AddressSpace {
    pools: BTreeMap<(Family, u128), Pool>,
    max_pools: usize,
}

impl AddressSpace {
    /// An address space without pools that may have at most this many.
    pub fn new(max_pools: usize) -> Self {
        Self { pools: BTreeMap::new(), max_pools }
    }

    /// Makes a pool.
    ///
    /// # Errors
    /// [`PoolError::Overlap`] if it has addresses in common with another;
    /// [`PoolError::TooManyPools`] at the limit; else what [`Pool::new`] says.
    pub fn add(&mut self, config: PoolConfig) -> Result<&mut Pool, PoolError> {
        let subnet = config.subnet;
        let span = checked_subnet(subnet)?;
        if let Some(other) = self.overlapping(span) {
            return Err(PoolError::Overlap { pool: subnet, other: other.subnet() });
        }
        if self.pools.len() >= self.max_pools {
            return Err(PoolError::TooManyPools { pool: subnet, limit: self.max_pools });
        }
        let pool = Pool::new(config)?;
        Ok(self.pools.entry((span.family, span.first)).or_insert(pool))
    }

    /// Takes a pool away, with all its leases.
    ///
    /// # Errors
    /// [`PoolError::NoSuchPool`] if no pool has exactly this subnet.
    pub fn remove(&mut self, subnet: IpNetwork) -> Result<Pool, PoolError> {
        let key = self.key(subnet).ok_or(PoolError::NoSuchPool(subnet))?;
        self.pools.remove(&key).ok_or(PoolError::NoSuchPool(subnet))
    }

    /// The pool with exactly this subnet.
    pub fn pool(&self, subnet: IpNetwork) -> Option<&Pool> {
        self.pools.get(&self.key(subnet)?)
    }

    /// The pool with exactly this subnet, to lease from.
    pub fn pool_mut(&mut self, subnet: IpNetwork) -> Option<&mut Pool> {
        let key = self.key(subnet)?;
        self.pools.get_mut(&key)
    }

    /// The pool an address is in, leased or not.
    pub fn pool_of(&self, address: IpAddr) -> Option<&Pool> {
        self.overlapping(Span::of(address.into()))
    }

    /// All pools: IPv4 before IPv6, in the order of their addresses.
    pub fn pools(&self) -> impl ExactSizeIterator<Item = &Pool> {
        self.pools.values()
    }

    /// Picks a subnet for a network that names none: the first default subnet of this family that
    /// overlaps no pool here and nothing in `taken`. It is not taken until it is added.
    ///
    /// `taken` is what the host uses at this moment, routes and addresses alike, in any order and
    /// with any host bits. A route for everything, or for one half of it, counts as a default route
    /// and hinders nothing.
    ///
    /// # Errors
    /// [`PoolError::NoDefaultLeft`] if all are in use; [`PoolError::NoDefaultConfigured`] if there
    /// are none of this family.
    pub fn allocate_default(
        &self,
        defaults: &DefaultPools,
        family: Family,
        taken: &[IpNetwork],
    ) -> Result<IpNetwork, PoolError> {
        let taken = merged(taken, family);
        let obstacle = |candidate: Span| {
            let pool = self.overlapping(candidate).map(Pool::span);
            let host = overlapping(&taken, candidate);
            pool.into_iter().chain(host).map(|span| span.last).max()
        };
        let entries = || defaults.entries().iter().filter(|entry| entry.family() == family);
        let free = entries().find_map(|entry| entry.first_subnet_without(obstacle));
        match free {
            Some(subnet) => Ok(subnet),
            None if entries().next().is_none() => Err(PoolError::NoDefaultConfigured(family)),
            None => {
                let counts = entries().map(|entry| entry.subnets());
                let subnets = counts.fold(0, u128::saturating_add);
                Err(PoolError::NoDefaultLeft { family, subnets })
            }
        }
    }

    fn key(&self, subnet: IpNetwork) -> Option<(Family, u128)> {
        let span = Span::of(subnet);
        let key = (span.family, span.first);
        self.pools.get(&key).filter(|pool| pool.subnet() == subnet).map(|_| key)
    }

    /// The last pool that has addresses in common with `span`.
    fn overlapping(&self, span: Span) -> Option<&Pool> {
        let (_, pool) = self.pools.range(..=(span.family, span.last)).next_back()?;
        pool.span().intersection(span).map(|_| pool)
    }
}

/// Subnets of one family in ascending order, those that overlap or touch made one.
fn merged(taken: &[IpNetwork], family: Family) -> Vec<Span> {
    let mut spans: Vec<Span> = taken
        .iter()
        .filter(|network| network.prefix() > DEFAULT_ROUTE_PREFIX)
        .map(|network| Span::of(*network))
        .filter(|span| span.family == family)
        .collect();
    spans.sort_unstable_by_key(|span| span.first);
    spans.dedup_by(|next, before| {
        let touches = next.first <= before.last.saturating_add(1);
        if touches {
            before.last = before.last.max(next.last);
        }
        touches
    });
    spans
}

/// The last of the spans, ascending and apart, that has addresses in common with `span`.
fn overlapping(spans: &[Span], span: Span) -> Option<Span> {
    let begun = spans.partition_point(|other| other.first <= span.last);
    let last = spans.get(begun.checked_sub(1)?)?;
    last.intersection(span).map(|_| *last)
}
