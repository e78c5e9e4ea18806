//! Why a pool or a lease was refused.

use alloc::boxed::Box;
use core::fmt;
use core::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::{Family, Holder};

/// Why a request was refused. Every message names the pool and what was wrong with the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// A subnet was written with an address of it.
    #[error("{given} is an address, not a subnet; did you mean {subnet}")]
    HostBits {
        /// As it was written.
        given: IpNetwork,
        /// The subnet this address is in.
        subnet: IpNetwork,
    },
    /// A pool would be larger than any pool may be.
    #[error("prefix /{} of pool {pool} is too short, the shortest is /{shortest}", pool.prefix())]
    PrefixTooShort {
        /// The pool that was asked for.
        pool: IpNetwork,
        /// The shortest prefix a pool may have.
        shortest: u8,
    },
    /// A default pool would be cut into subnets larger than itself.
    #[error("size {size} of default pool {base} is too short, the shortest is {shortest}")]
    SizeTooShort {
        /// What is to be cut.
        base: IpNetwork,
        /// The prefix length that was asked for.
        size: u8,
        /// The shortest prefix length allowed: the base's own.
        shortest: u8,
    },
    /// A default pool would be cut into subnets with a longer prefix than addresses have bits.
    #[error("size {size} of default pool {base} is too long, the longest is {longest}")]
    SizeTooLong {
        /// What is to be cut.
        base: IpNetwork,
        /// The prefix length that was asked for.
        size: u8,
        /// The longest prefix length allowed.
        longest: u8,
    },
    /// Two pools of one address space would have addresses in common.
    #[error("pool {pool} overlaps pool {other}")]
    Overlap {
        /// The pool that was asked for.
        pool: IpNetwork,
        /// The pool that is there.
        other: IpNetwork,
    },
    /// The address space has as many pools as it may have.
    #[error("pool {pool} is one too many, the limit is {limit}")]
    TooManyPools {
        /// The pool that was asked for.
        pool: IpNetwork,
        /// The most pools this address space may have.
        limit: usize,
    },
    /// The address space has no pool with this subnet.
    #[error("there is no pool {0}")]
    NoSuchPool(IpNetwork),
    /// No default pool is given for this family.
    #[error("no default {0} pool is configured")]
    NoDefaultConfigured(Family),
    /// Every default subnet is in use.
    #[error(
        "no default {family} pool is left: each of the {subnets} overlaps another pool, \
         or a route or an address of the host"
    )]
    NoDefaultLeft {
        /// The family that was asked for.
        family: Family,
        /// How many default subnets there are.
        subnets: u128,
    },
    /// The ip-range is not part of the subnet.
    #[error("ip-range {range} is outside pool {pool}")]
    RangeOutside {
        /// The ip-range.
        range: IpNetwork,
        /// The pool.
        pool: IpNetwork,
    },
    /// The ip-range has none but special addresses.
    #[error("ip-range {range} of pool {pool} has no address that can be leased")]
    RangeUnusable {
        /// The ip-range.
        range: IpNetwork,
        /// The pool.
        pool: IpNetwork,
    },
    /// The gateway is not in the subnet.
    #[error("gateway {gateway} is outside pool {pool}")]
    GatewayOutside {
        /// The gateway.
        gateway: IpAddr,
        /// The pool.
        pool: IpNetwork,
    },
    /// The pool has another gateway already.
    #[error("pool {pool} already has a gateway, {gateway}")]
    SecondGateway {
        /// The pool.
        pool: IpNetwork,
        /// The gateway it has.
        gateway: IpAddr,
    },
    /// An auxiliary address is not in the subnet.
    #[error("auxiliary address {name}={address} is outside pool {pool}")]
    AuxiliaryOutside {
        /// The name the user gave to the address.
        name: Box<str>,
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: IpNetwork,
    },
    /// An auxiliary address is that of the gateway or of another auxiliary address.
    #[error("auxiliary address {name}={address} of pool {pool} is already held by {holder}")]
    AuxiliaryHeld {
        /// The name the user gave to the address.
        name: Box<str>,
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: IpNetwork,
        /// Who holds it.
        holder: Holder,
    },
    /// The address is one that is never leased.
    #[error("address {address} is the {special} of pool {pool} and cannot be leased")]
    Special {
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: IpNetwork,
        /// What the address is.
        special: SpecialAddress,
    },
    /// The address is not in the subnet.
    #[error("address {address} is outside pool {pool}")]
    Outside {
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: IpNetwork,
    },
    /// Somebody holds the address.
    #[error("address {address} of pool {pool} is already held by {holder}")]
    AlreadyHeld {
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: IpNetwork,
        /// Who holds it.
        holder: Holder,
    },
    /// Nobody holds the address.
    #[error("address {address} of pool {pool} is not leased")]
    NotLeased {
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: IpNetwork,
    },
    /// Every address of the pool is leased.
    #[error("pool {pool} has no free address ({leased} leased)")]
    Exhausted {
        /// The pool.
        pool: IpNetwork,
        /// How many addresses are leased.
        leased: u128,
    },
    /// Every address of the ip-range is leased.
    #[error("pool {pool} has no free address in ip-range {range} ({leased} leased)")]
    RangeExhausted {
        /// The pool.
        pool: IpNetwork,
        /// Where automatic leases come from.
        range: IpNetwork,
        /// How many addresses of the ip-range are leased.
        leased: u128,
    },
    /// The pool has free addresses but may not have more leases.
    #[error("pool {pool} has as many leases as it may have ({limit})")]
    TooManyLeases {
        /// The pool.
        pool: IpNetwork,
        /// The most leases it may have.
        limit: u64,
    },
}

/// An address of a subnet that no station may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpecialAddress {
    /// The first address of an IPv4 subnet.
    Network,
    /// The last address of an IPv4 subnet.
    Broadcast,
    /// The first address of an IPv6 subnet: any router of it (RFC 4291 §2.6.1).
    SubnetRouterAnycast,
}

impl fmt::Display for SpecialAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "network address",
            Self::Broadcast => "broadcast address",
            Self::SubnetRouterAnycast => "subnet-router anycast address",
        })
    }
}
