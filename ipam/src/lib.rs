#![no_std]
#![forbid(unsafe_code)]
//! Who holds which address: pools, leases, and the spaces pools live in.
//!
//! A [`Pool`] is a subnet and the leases in it. Automatic leases go round the pool's ip-range, so
//! that an address just freed comes back late, when the neighbours' caches have forgotten who had
//! it. Asked-for leases may be anywhere in the subnet. What is taken is kept in chunks of 64
//! addresses that exist only while one of them is taken, and the chunks that are full are kept as
//! runs; so the size of a subnet costs nothing, and the next free address is found in a few steps
//! however many before it are taken.
//!
//! An [`AddressSpace`] is a set of pools that do not overlap. It also picks a subnet for a network
//! that names none, from [`DefaultPools`], past what the host uses already.
//!
//! # Promises
//! - An address has at most one holder, and keeps it until it is released.
//! - Network and broadcast addresses and the subnet-router anycast address are never leased.
//! - A request that is refused changes nothing.
//! - Nothing here reads a clock, draws a random number or touches the system; the ULA prefix and
//!   what the host uses arrive as arguments.
//!
//! # Limits
//! - A pool has one gateway. More routers are auxiliary addresses.
//! - The reserved anycast addresses at the end of an IPv6 subnet (RFC 2526) are leased like others.
//! - Going round gives the next free address after the last one given, not the one that has been
//!   free for longest: in a nearly full pool a freed address may come back soon.
//!
//! # Sources
//! RFC 3021 (31-bit prefixes), RFC 4193 (unique local addresses), RFC 4291 §2.6.1 (subnet-router
//! anycast), RFC 6164 (127-bit prefixes).

extern crate alloc;

mod bitmap;
mod defaults;
mod error;
mod lease;
mod pool;
mod runs;
mod space;
mod span;

pub use defaults::{DefaultPool, DefaultPools, GlobalId};
pub use error::{PoolError, SpecialAddress};
pub use lease::{EndpointId, Holder, Lease};
pub use pool::{GatewayChoice, Pool, PoolConfig};
pub use space::AddressSpace;
pub use span::Family;
