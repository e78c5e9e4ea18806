//! Random requests against naive models: a `BTreeMap` and a loop.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use proptest::prelude::*;
use weft_ipam::{
    AddressSpace, DefaultPool, DefaultPools, Family, GatewayChoice, Holder, Lease, Pool,
    PoolConfig, PoolError,
};

/// One request to a pool. Addresses are offsets from just before the subnet, so that some miss.
#[derive(Clone, Debug)]
enum Request {
    Lease,
    LeaseGateway,
    LeaseStatic(u32),
    Release(u32),
    Resume(u32),
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        6 => Just(Request::Lease),
        1 => Just(Request::LeaseGateway),
        3 => (0u32..140).prop_map(Request::LeaseStatic),
        6 => (0u32..140).prop_map(Request::Release),
        1 => (0u32..140).prop_map(Request::Resume),
    ]
}

/// A pool as one would write it without thinking of size.
struct Model {
    subnet: IpNetwork,
    /// Where automatic leases come from, in order.
    automatic: Vec<IpAddr>,
    usable: Vec<IpAddr>,
    leases: BTreeMap<IpAddr, Holder>,
    last_given: Option<IpAddr>,
}

impl Model {
    fn new(config: &PoolConfig) -> Self {
        let all: Vec<IpAddr> = config.subnet.iter().collect();
        let special = match (config.subnet, all.len()) {
            (_, 0..=2) => vec![],
            (IpNetwork::V4(subnet), _) => {
                vec![IpAddr::V4(subnet.network()), IpAddr::V4(subnet.broadcast())]
            }
            (IpNetwork::V6(subnet), _) => vec![IpAddr::V6(subnet.network())],
        };
        let usable: Vec<_> = all.into_iter().filter(|ip| !special.contains(ip)).collect();
        let in_range = |ip: &IpAddr| config.range.is_none_or(|range| range.contains(*ip));
        Self {
            subnet: config.subnet,
            automatic: usable.iter().copied().filter(in_range).collect(),
            usable,
            leases: BTreeMap::new(),
            last_given: None,
        }
    }

    fn is_free(&self, address: &IpAddr) -> bool {
        !self.leases.contains_key(address)
    }

    fn lease(&mut self, holder: Holder) -> Option<IpAddr> {
        let after = |ip: &&IpAddr| Some(**ip) > self.last_given;
        let up_to = |ip: &&IpAddr| Some(**ip) <= self.last_given;
        let going_round =
            self.automatic.iter().filter(after).chain(self.automatic.iter().filter(up_to));
        let address = *going_round.into_iter().find(|ip| self.is_free(ip))?;
        self.last_given = Some(address);
        self.leases.insert(address, holder);
        Some(address)
    }

    fn gateway(&self) -> Option<IpAddr> {
        let gateway = |(_, holder): &(&IpAddr, &Holder)| **holder == Holder::Gateway;
        self.leases.iter().find(gateway).map(|(address, _)| *address)
    }

    fn lease_gateway(&mut self) -> Option<IpAddr> {
        if self.gateway().is_some() {
            return None;
        }
        let address = *self.usable.iter().find(|ip| self.is_free(ip))?;
        self.leases.insert(address, Holder::Gateway);
        Some(address)
    }

    fn lease_static(&mut self, address: IpAddr, holder: Holder) -> bool {
        let granted = self.usable.contains(&address) && self.is_free(&address);
        if granted {
            self.leases.insert(address, holder);
        }
        granted
    }
}

/// A subnet with up to 128 addresses of either family, somewhere in the address space.
fn subnet() -> impl Strategy<Value = IpNetwork> {
    (any::<bool>(), 0u8..=7, prop_oneof![Just(0u128), Just(u128::MAX), any::<u128>()]).prop_map(
        |(v6, host_bits, number)| {
            let number = number >> host_bits << host_bits;
            let (address, bits) = if v6 {
                (IpAddr::V6(number.into()), 128)
            } else {
                (IpAddr::V4((number as u32).into()), 32)
            };
            IpNetwork::new(address, bits - host_bits).expect("a valid prefix")
        },
    )
}

/// A subnet, and perhaps one of its parts as ip-range.
fn config() -> impl Strategy<Value = PoolConfig> {
    (subnet(), prop::option::of((0u8..=7, any::<u128>()))).prop_map(|(subnet, range)| {
        let range = range.and_then(|(longer, number)| {
            let bits = Family::of(subnet).bits();
            let prefix = (subnet.prefix() + longer).min(bits);
            let offset = number % (1 << (bits - subnet.prefix()));
            let inside = nth(subnet.ip(), offset)?;
            let network = IpNetwork::new(inside, prefix).ok()?.network();
            IpNetwork::new(network, prefix).ok()
        });
        PoolConfig { range, gateway: GatewayChoice::None, ..PoolConfig::new(subnet) }
    })
}

/// The address this far from another one, if there is one.
fn nth(address: IpAddr, offset: u128) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let number = u32::from(address).checked_add(offset.try_into().ok()?)?;
            Some(IpAddr::V4(number.into()))
        }
        IpAddr::V6(address) => Some(IpAddr::V6(u128::from(address).checked_add(offset)?.into())),
    }
}

/// The address that an offset of a request stands for: 0 to 4 are before the subnet.
fn target(subnet: IpNetwork, offset: u32) -> IpAddr {
    let before = match subnet.ip() {
        IpAddr::V4(first) => IpAddr::V4(u32::from(first).wrapping_sub(5).into()),
        IpAddr::V6(first) => IpAddr::V6(u128::from(first).wrapping_sub(5).into()),
    };
    // At the ends of the address space an address of the other family stands in.
    nth(before, offset.into()).unwrap_or(IpAddr::V4([192, 0, 2, 1].into()))
}

fn somebody(turn: usize) -> Holder {
    Holder::Named(format!("guest {turn}").into())
}

proptest! {
    #[test]
    fn a_pool_does_what_the_model_does(
        config in config(),
        requests in prop::collection::vec(request(), 0..400),
    ) {
        let mut model = Model::new(&config);
        let made = Pool::new(config);
        if model.automatic.is_empty() {
            let unusable = matches!(made, Err(PoolError::RangeUnusable { .. }));
            prop_assert!(unusable, "{:?}", made);
            return Ok(());
        }
        let mut pool = made.expect("a subnet with usable addresses");
        prop_assert_eq!(pool.capacity(), model.usable.len() as u128);
        for (turn, request) in requests.into_iter().enumerate() {
            let holder = somebody(turn);
            match request {
                Request::Lease => {
                    prop_assert_eq!(pool.lease(holder.clone()).ok(), model.lease(holder));
                }
                Request::LeaseGateway => {
                    prop_assert_eq!(pool.lease(Holder::Gateway).ok(), model.lease_gateway());
                }
                Request::LeaseStatic(offset) => {
                    let address = target(model.subnet, offset);
                    let got = pool.lease_static(address, holder.clone());
                    prop_assert_eq!(got.is_ok(), model.lease_static(address, holder), "{:?}", got);
                }
                Request::Release(offset) => {
                    let address = target(model.subnet, offset);
                    let want = model.leases.remove(&address);
                    let want = want.map(|holder| Lease { address, holder });
                    prop_assert_eq!(pool.release(address).ok(), want);
                }
                Request::Resume(offset) => {
                    let address = target(model.subnet, offset);
                    if pool.resume_after(address).is_ok() {
                        prop_assert!(model.subnet.contains(address));
                        model.last_given = Some(address);
                    }
                }
            }
            prop_assert_eq!(pool.gateway(), model.gateway());
            prop_assert_eq!(pool.last_given(), model.last_given);
            prop_assert_eq!(pool.leased(), model.leases.len() as u64);
        }
        let leases: Vec<_> = pool.leases().collect();
        let want = model.leases.iter().map(|(address, holder)| (*address, holder));
        prop_assert_eq!(leases, want.collect::<Vec<_>>());
    }

    #[test]
    fn an_address_space_does_what_the_model_does(
        edits in prop::collection::vec((any::<bool>(), small_network()), 0..60),
    ) {
        let mut space = AddressSpace::new(1_000);
        let mut model: Vec<IpNetwork> = Vec::new();
        for (add, subnet) in edits {
            if add {
                let got = space.add(PoolConfig::new(subnet)).map(|pool| pool.subnet());
                if model.iter().any(|other| overlap(*other, subnet)) {
                    let Err(PoolError::Overlap { pool, other }) = got else {
                        return Err(TestCaseError::fail(format!("{subnet} overlaps, but {got:?}")));
                    };
                    prop_assert_eq!(pool, subnet);
                    prop_assert!(model.contains(&other) && overlap(other, subnet));
                } else {
                    prop_assert_eq!(got, Ok(subnet));
                    model.push(subnet);
                }
            } else {
                let there = model.contains(&subnet);
                prop_assert_eq!(space.remove(subnet).is_ok(), there);
                model.retain(|other| *other != subnet);
            }
            model.sort();
            let subnets: Vec<_> = space.pools().map(|pool| pool.subnet()).collect();
            prop_assert_eq!(&subnets, &model);
        }
    }

    #[test]
    fn the_first_default_subnet_that_nothing_overlaps_is_picked(
        pools in prop::collection::vec(small_network(), 0..12),
        taken in prop::collection::vec(small_network(), 0..12),
        defaults in prop::collection::vec((small_network(), 0u8..6), 1..4),
        v6 in any::<bool>(),
    ) {
        let mut space = AddressSpace::new(1_000);
        for pool in pools {
            let _refused_if_it_overlaps = space.add(PoolConfig::new(pool));
        }
        let family = if v6 { Family::V6 } else { Family::V4 };
        let entries: Vec<_> = defaults
            .into_iter()
            .filter_map(|(base, more)| DefaultPool::new(base, base.prefix() + more).ok())
            .collect();
        let in_use: Vec<_> = space.pools().map(|pool| pool.subnet()).chain(taken.clone()).collect();
        let want = entries
            .iter()
            .filter(|entry| entry.family() == family)
            .flat_map(pieces)
            .find(|piece| !in_use.iter().any(|other| overlap(*other, *piece)));
        let got = space.allocate_default(&DefaultPools::new(entries), family, &taken);
        prop_assert_eq!(got.ok(), want);
    }
}

/// A subnet of at most 256 addresses among 2048, of either family, so that many overlap.
fn small_network() -> impl Strategy<Value = IpNetwork> {
    (any::<bool>(), 0u8..=8, 0u32..2048).prop_map(|(v6, host_bits, offset)| {
        let offset = offset >> host_bits << host_bits;
        let (address, bits) = if v6 {
            (nth(IpAddr::V6((u128::MAX - 2047).into()), offset.into()), 128)
        } else {
            (nth(IpAddr::V4((u32::MAX - 2047).into()), offset.into()), 32)
        };
        IpNetwork::new(address.expect("in the last 2048"), bits - host_bits).expect("a prefix")
    })
}

fn pieces(entry: &DefaultPool) -> impl Iterator<Item = IpNetwork> {
    let (base, size) = (entry.base(), entry.size());
    let step = 1u128 << (entry.family().bits() - size);
    (0..entry.subnets()).map(move |piece| {
        let first = nth(base.ip(), piece * step).expect("inside the base");
        IpNetwork::new(first, size).expect("a prefix")
    })
}

fn overlap(one: IpNetwork, other: IpNetwork) -> bool {
    one.contains(other.network()) || other.contains(one.network())
}
