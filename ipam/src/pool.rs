//! A pool: a subnet, where in it automatic leases come from, and who holds which address.
//!
//! The usable addresses of a subnet are all but the first and the last (IPv4) or all but the first
//! (IPv6). Subnets of two addresses or one have no special addresses: RFC 3021 for an IPv4 /31,
//! RFC 6164 for an IPv6 /127.
//!
//! Gateway and auxiliary addresses are leases like others, only made with the pool; they count as
//! leased and can be released.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::bitmap::Bitmap;
use crate::span::{Family, Span};
use crate::{Holder, Lease, PoolError, SpecialAddress};

/// The shortest prefix of a pool. A /0 would leave no address for anything else.
const SHORTEST_PREFIX: u8 = 1;

/// What a pool is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// The subnet, with host bits of zero.
    pub subnet: IpNetwork,
    /// Where automatic leases come from (`--ip-range`); the whole subnet if absent.
    pub range: Option<IpNetwork>,
    /// The gateway.
    pub gateway: GatewayChoice,
    /// Addresses in use outside weft, by name (`--aux-address`); anywhere in the subnet.
    pub auxiliary: BTreeMap<Box<str>, IpAddr>,
    /// The most leases the pool may have, gateway and auxiliary addresses included.
    pub max_leases: u64,
}

impl PoolConfig {
    /// As many leases as an IPv4 /8 has addresses; some 0.7 GB.
    pub const MAX_LEASES: u64 = 1 << 24;

    /// The whole subnet for automatic leases, the first address for the gateway, no auxiliary
    /// addresses, at most [`Self::MAX_LEASES`].
    pub fn new(subnet: IpNetwork) -> Self {
        Self {
            subnet,
            range: None,
            gateway: GatewayChoice::First,
            auxiliary: BTreeMap::new(),
            max_leases: Self::MAX_LEASES,
        }
    }
}

/// Which address of a pool is the gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayChoice {
    /// The first usable address of the subnet that is not an auxiliary address.
    First,
    /// This one.
    At(IpAddr),
    /// The pool has no gateway, or gets one later by a lease for [`Holder::Gateway`].
    None,
}

/// A subnet and the leases in it.
#[derive(Clone, Debug)]
pub struct Pool {
    subnet: IpNetwork,
    range: Option<IpNetwork>,
    whole: Span,
    /// What can be leased at all.
    usable: Span,
    /// What is leased to those who ask for no certain address; within `usable`.
    automatic: Span,
    gateway: Option<u128>,
    last_given: Option<u128>,
    max_leases: u64,
    leases: Bitmap<Holder>,
}

impl Pool {
    /// Makes a pool in which only the gateway and the auxiliary addresses are leased.
    ///
    /// # Errors
    /// - [`PoolError::HostBits`] for a subnet or an ip-range written as an address;
    /// - [`PoolError::PrefixTooShort`] for a /0;
    /// - [`PoolError::RangeOutside`], [`PoolError::GatewayOutside`],
    ///   [`PoolError::AuxiliaryOutside`] for what is not in the subnet;
    /// - [`PoolError::RangeUnusable`], [`PoolError::Special`] for addresses nobody may have;
    /// - [`PoolError::AuxiliaryHeld`] when two would have the same address;
    /// - [`PoolError::Exhausted`], [`PoolError::TooManyLeases`] when there is no room for all.
    pub fn new(config: PoolConfig) -> Result<Self, PoolError> {
        let PoolConfig { subnet, range, gateway, auxiliary, max_leases } = config;
        let whole = checked_subnet(subnet)?;
        let usable = usable(whole);
        let mut pool = Self {
            subnet,
            range,
            whole,
            usable,
            automatic: automatic(subnet, usable, range)?,
            gateway: None,
            last_given: None,
            max_leases,
            leases: Bitmap::new(),
        };
        if let GatewayChoice::At(gateway) = gateway {
            if !pool.contains(gateway) {
                return Err(PoolError::GatewayOutside { gateway, pool: subnet });
            }
            pool.lease_static(gateway, Holder::Gateway)?;
        }
        for (name, address) in auxiliary {
            pool.reserve_auxiliary(name, address)?;
        }
        if gateway == GatewayChoice::First {
            pool.lease(Holder::Gateway)?;
        }
        Ok(pool)
    }

    /// The subnet.
    pub fn subnet(&self) -> IpNetwork {
        self.subnet
    }

    /// Where automatic leases come from, if that is not the whole subnet.
    pub fn range(&self) -> Option<IpNetwork> {
        self.range
    }

    /// The address that [`Holder::Gateway`] holds.
    pub fn gateway(&self) -> Option<IpAddr> {
        self.gateway.map(|number| self.whole.family.address(number))
    }

    /// Leases the next free address after the last one given, going round the ip-range.
    ///
    /// The gateway is the exception: it gets the first free address of the whole subnet, which is
    /// where people look for it.
    ///
    /// # Errors
    /// [`PoolError::Exhausted`] or [`PoolError::RangeExhausted`] when none is free;
    /// [`PoolError::TooManyLeases`] at the limit; [`PoolError::SecondGateway`].
    pub fn lease(&mut self, holder: Holder) -> Result<IpAddr, PoolError> {
        self.check_room(&holder)?;
        let number = if holder == Holder::Gateway {
            self.first_free()?
        } else {
            let number = self.next_free()?;
            self.last_given = Some(number);
            number
        };
        self.insert(number, holder);
        Ok(self.whole.family.address(number))
    }

    /// Leases a certain address, anywhere in the subnet, also outside the ip-range.
    ///
    /// # Errors
    /// [`PoolError::Outside`], [`PoolError::Special`] if no one can have it;
    /// [`PoolError::AlreadyHeld`] if someone has it, whoever asks;
    /// [`PoolError::TooManyLeases`] at the limit; [`PoolError::SecondGateway`].
    pub fn lease_static(&mut self, address: IpAddr, holder: Holder) -> Result<(), PoolError> {
        let number = self.number(address)?;
        if let Some(special) = self.special(number) {
            return Err(PoolError::Special { address, pool: self.subnet, special });
        }
        if let Some(holder) = self.leases.get(number) {
            let (pool, holder) = (self.subnet, holder.clone());
            return Err(PoolError::AlreadyHeld { address, pool, holder });
        }
        self.check_room(&holder)?;
        self.insert(number, holder);
        Ok(())
    }

    /// Puts an address back and says who held it.
    ///
    /// # Errors
    /// [`PoolError::Outside`] if it is not in the subnet; [`PoolError::NotLeased`] if it is free.
    pub fn release(&mut self, address: IpAddr) -> Result<Lease, PoolError> {
        let number = self.number(address)?;
        let not_leased = PoolError::NotLeased { address, pool: self.subnet };
        let holder = self.leases.remove(number).ok_or(not_leased)?;
        if holder == Holder::Gateway {
            self.gateway = None;
        }
        Ok(Lease { address, holder })
    }

    /// Whether an address is in the subnet.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.number(address).is_ok()
    }

    /// Who holds an address, if anyone does.
    pub fn holder(&self, address: IpAddr) -> Option<&Holder> {
        self.leases.get(self.whole.family.number(address)?)
    }

    /// All leases, in the order of their addresses; gateway and auxiliary addresses too.
    pub fn leases(&self) -> impl Iterator<Item = (IpAddr, &Holder)> {
        let family = self.whole.family;
        self.leases.iter().map(move |(number, holder)| (family.address(number), holder))
    }

    /// How many addresses are leased; gateway and auxiliary addresses too.
    pub fn leased(&self) -> u64 {
        self.leases.len()
    }

    /// How many addresses of the subnet can be leased, free or not.
    pub fn capacity(&self) -> u128 {
        self.usable.len()
    }

    /// The address that was leased last to one who asked for none in particular.
    ///
    /// Store it with the leases and give it to [`Self::resume_after`]: else the first lease after a
    /// restart may be an address that was freed just before.
    pub fn last_given(&self) -> Option<IpAddr> {
        self.last_given.map(|number| self.whole.family.address(number))
    }

    /// Goes on as if `address` had been leased last.
    ///
    /// # Errors
    /// [`PoolError::Outside`] if it is not in the subnet.
    pub fn resume_after(&mut self, address: IpAddr) -> Result<(), PoolError> {
        self.last_given = Some(self.number(address)?);
        Ok(())
    }

    /// An upper bound of the octets this pool occupies. Visits every lease.
    pub fn memory(&self) -> usize {
        let names: usize = self.leases.iter().map(|(_, holder)| holder.outside()).sum();
        size_of::<Self>() - size_of::<Bitmap<Holder>>() + self.leases.memory() + names
    }

    /// All addresses of the subnet.
    pub(crate) fn span(&self) -> Span {
        self.whole
    }

    fn reserve_auxiliary(&mut self, name: Box<str>, address: IpAddr) -> Result<(), PoolError> {
        let pool = self.subnet;
        if !self.contains(address) {
            return Err(PoolError::AuxiliaryOutside { name, address, pool });
        }
        if let Some(holder) = self.holder(address) {
            let holder = holder.clone();
            return Err(PoolError::AuxiliaryHeld { name, address, pool, holder });
        }
        self.lease_static(address, Holder::Auxiliary(name))
    }

    fn check_room(&self, holder: &Holder) -> Result<(), PoolError> {
        let pool = self.subnet;
        match self.gateway() {
            Some(gateway) if *holder == Holder::Gateway => {
                return Err(PoolError::SecondGateway { pool, gateway });
            }
            Some(_) | None => {}
        }
        if self.leases.len() >= self.max_leases {
            return Err(PoolError::TooManyLeases { pool, limit: self.max_leases });
        }
        Ok(())
    }

    fn first_free(&self) -> Result<u128, PoolError> {
        let Span { first, last, .. } = self.usable;
        let exhausted = PoolError::Exhausted { pool: self.subnet, leased: self.usable.len() };
        self.leases.next_free(first, last).ok_or(exhausted)
    }

    fn next_free(&self) -> Result<u128, PoolError> {
        let Span { first, last, .. } = self.automatic;
        let given = self.last_given.filter(|&given| self.automatic.contains(given) && given < last);
        let from = given.map_or(first, |given| given + 1);
        self.leases
            .next_free(from, last)
            .or_else(|| self.leases.next_free(first, from))
            .ok_or_else(|| self.exhausted())
    }

    fn exhausted(&self) -> PoolError {
        let (pool, leased) = (self.subnet, self.automatic.len());
        match self.range {
            Some(range) => PoolError::RangeExhausted { pool, range, leased },
            None => PoolError::Exhausted { pool, leased },
        }
    }

    fn insert(&mut self, number: u128, holder: Holder) {
        if holder == Holder::Gateway {
            self.gateway = Some(number);
        }
        self.leases.insert(number, holder);
    }

    fn number(&self, address: IpAddr) -> Result<u128, PoolError> {
        let number = self.whole.family.number(address);
        let outside = PoolError::Outside { address, pool: self.subnet };
        number.filter(|&number| self.whole.contains(number)).ok_or(outside)
    }

    fn special(&self, number: u128) -> Option<SpecialAddress> {
        if self.usable.contains(number) {
            return None;
        }
        Some(match self.whole.family {
            Family::V6 => SpecialAddress::SubnetRouterAnycast,
            Family::V4 if number == self.whole.first => SpecialAddress::Network,
            Family::V4 => SpecialAddress::Broadcast,
        })
    }
}

/// The addresses of a subnet that is written as one and not too large for a pool.
pub(crate) fn checked_subnet(subnet: IpNetwork) -> Result<Span, PoolError> {
    let span = Span::of(subnet);
    let first = span.family.address(span.first);
    if subnet.ip() != first {
        let meant = crate::span::subnet(span.family, span.first, subnet.prefix());
        return Err(PoolError::HostBits { given: subnet, subnet: meant });
    }
    if subnet.prefix() < SHORTEST_PREFIX {
        return Err(PoolError::PrefixTooShort { pool: subnet, shortest: SHORTEST_PREFIX });
    }
    Ok(span)
}

/// The addresses of a subnet that a station may have.
fn usable(whole: Span) -> Span {
    if whole.len() <= 2 {
        return whole;
    }
    match whole.family {
        Family::V4 => Span { first: whole.first + 1, last: whole.last - 1, ..whole },
        Family::V6 => Span { first: whole.first + 1, ..whole },
    }
}

/// The usable addresses of the ip-range.
fn automatic(pool: IpNetwork, usable: Span, range: Option<IpNetwork>) -> Result<Span, PoolError> {
    let Some(range) = range else {
        return Ok(usable);
    };
    if !Span::of(pool).encloses(Span::of(range)) {
        return Err(PoolError::RangeOutside { range, pool });
    }
    let span = checked_subnet(range)?;
    span.intersection(usable).ok_or(PoolError::RangeUnusable { range, pool })
}
