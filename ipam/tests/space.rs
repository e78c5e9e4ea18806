//! Address spaces case by case: overlap, default pools, and what every refusal says.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_ipam::{
    AddressSpace, DefaultPool, DefaultPools, Family, GlobalId, Holder, PoolConfig, PoolError,
};

#[test]
#[rustfmt::skip]
fn pools_that_overlap_are_refused_by_name() {
    let cases = [
        // there            asked for            refused because of
        ("10.0.0.0/24",     "10.0.0.0/24",       Some("10.0.0.0/24")),
        ("10.0.0.0/24",     "10.0.0.128/25",     Some("10.0.0.0/24")),
        ("10.0.0.128/25",   "10.0.0.0/24",       Some("10.0.0.128/25")),
        ("10.0.0.0/24",     "10.0.0.0/8",        Some("10.0.0.0/24")),
        ("10.0.0.0/25",     "10.0.0.128/25",     None),
        ("10.0.1.0/24",     "10.0.0.0/24",       None),
        ("10.0.0.0/24",     "::/8",              None),
        ("fd00::/64",       "fd00::/48",         Some("fd00::/64")),
        ("fd00::/64",       "fd00:0:0:1::/64",   None),
    ];
    for (there, asked, other) in cases {
        let mut space = space_with(&[there]);
        let got = space.add(PoolConfig::new(net(asked))).map(|pool| pool.subnet());
        let want = match other {
            Some(other) => Err(PoolError::Overlap { pool: net(asked), other: net(other) }),
            None => Ok(net(asked)),
        };
        assert_eq!(got, want, "{asked} beside {there}");
    }
}

#[test]
fn a_pool_is_found_by_its_subnet_and_by_any_of_its_addresses() {
    let mut space = space_with(&["10.0.0.0/24", "10.0.2.0/24", "fd00::/64"]);
    space.pool_mut(net("10.0.2.0/24")).unwrap().lease(Holder::Named("ann".into())).unwrap();
    assert_eq!(space.pool(net("10.0.2.0/24")).unwrap().leased(), 2);
    assert!(space.pool(net("10.0.2.0/25")).is_none());
    assert!(space.pool(net("10.0.1.0/24")).is_none());

    let of = |address: &str| space.pool_of(ip(address)).map(|pool| pool.subnet());
    assert_eq!(of("10.0.2.255"), Some(net("10.0.2.0/24")));
    assert_eq!(of("10.0.1.255"), None);
    assert_eq!(of("fd00::9"), Some(net("fd00::/64")));
    assert_eq!(of("::a00:209"), None);
    let subnets: Vec<_> = space.pools().map(|pool| pool.subnet().to_string()).collect();
    assert_eq!(subnets, ["10.0.0.0/24", "10.0.2.0/24", "fd00::/64"]);
}

#[test]
fn a_removed_pool_makes_room() {
    let mut space = space_with(&["10.0.0.0/24"]);
    let near = PoolError::NoSuchPool(net("10.0.0.0/25"));
    assert_eq!(space.remove(net("10.0.0.0/25")).map(|pool| pool.subnet()), Err(near));
    assert_eq!(space.remove(net("10.0.0.0/24")).unwrap().subnet(), net("10.0.0.0/24"));
    assert!(space.add(PoolConfig::new(net("10.0.0.0/16"))).is_ok());
}

#[test]
fn a_refused_pool_leaves_nothing_behind() {
    let mut space = AddressSpace::new(1);
    let bad = PoolConfig { range: Some(net("10.0.1.0/24")), ..PoolConfig::new(net("10.0.0.0/24")) };
    space.add(bad).unwrap_err();
    assert_eq!(space.pools().len(), 0);
    space.add(PoolConfig::new(net("10.0.0.0/24"))).unwrap();
    let error = space.add(PoolConfig::new(net("10.0.1.0/24"))).unwrap_err();
    assert_eq!(error, PoolError::TooManyPools { pool: net("10.0.1.0/24"), limit: 1 });
    assert_eq!(error.to_string(), "pool 10.0.1.0/24 is one too many, the limit is 1");
}

#[test]
fn dockers_defaults_come_in_dockers_order() {
    let space = AddressSpace::new(100);
    let sixteens = (17..=31).map(|second| format!("172.{second}.0.0/16"));
    let twenties = (0..16).map(|n| format!("192.168.{}.0/20", n * 16));
    let mut taken = Vec::new();
    for expected in sixteens.chain(twenties) {
        let subnet = space.allocate_default(&DefaultPools::docker(), Family::V4, &taken);
        assert_eq!(subnet, Ok(net(&expected)));
        taken.push(net(&expected));
    }
    let error = space.allocate_default(&DefaultPools::docker(), Family::V4, &taken).unwrap_err();
    assert_eq!(error, PoolError::NoDefaultLeft { family: Family::V4, subnets: 31 });
    assert_eq!(
        error.to_string(),
        "no default IPv4 pool is left: each of the 31 overlaps another pool, \
         or a route or an address of the host",
    );
    let none = space.allocate_default(&DefaultPools::docker(), Family::V6, &[]).unwrap_err();
    assert_eq!(none.to_string(), "no default IPv6 pool is configured");
    let global = space.allocate_default(&DefaultPools::docker_global(), Family::V4, &[]);
    assert_eq!(global, Ok(net("10.0.0.0/24")));
}

#[test]
#[rustfmt::skip]
fn a_default_passes_by_what_is_in_use() {
    use Family::{V4, V6};
    let docker = DefaultPools::docker().with_ula(GlobalId([0x12, 0x34, 0x56, 0x78, 0x9a]));
    let small = DefaultPools::new(vec![
        DefaultPool::new(net("10.1.0.0/29"), 30).unwrap(),
        DefaultPool::new(net("255.255.255.0/24"), 26).unwrap(),
    ]);
    let cases = [
        // what for   pools                  taken by the host     picked
        (&docker, V4, "",                    "",                   Some("172.17.0.0/16")),
        (&docker, V4, "172.17.4.0/24",       "",                   Some("172.18.0.0/16")),
        // An address of the host with its prefix, as an interface has it.
        (&docker, V4, "172.18.0.0/16",       "172.17.0.1/16",      Some("172.19.0.0/16")),
        (&docker, V4, "",                    "172.16.0.0/12",      Some("192.168.0.0/20")),
        (&docker, V4, "172.16.0.0/12",       "192.168.15.255/32",  Some("192.168.16.0/20")),
        // The default route, also as the two halves that VPN programs set.
        (&docker, V4, "",                    "0.0.0.0/0",          Some("172.17.0.0/16")),
        (&docker, V4, "",                    "0.0.0.0/1 128.0.0.0/1", Some("172.17.0.0/16")),
        // What is in use in the other family says nothing.
        (&docker, V4, "fd12:3456:789a::/64", "ac11::/16",          Some("172.17.0.0/16")),
        (&docker, V6, "",                    "172.16.0.0/12",      Some("fd12:3456:789a::/64")),
        (&docker, V6, "fd12:3456:789a::/64", "fe80::1/64",         Some("fd12:3456:789a:1::/64")),
        (&small,  V4, "10.1.0.0/30",         "",                   Some("10.1.0.4/30")),
        (&small,  V4, "10.0.0.0/8",          "255.255.255.64/27",  Some("255.255.255.0/26")),
        (&small,  V4, "10.0.0.0/8",          "255.255.255.0/27",   Some("255.255.255.64/26")),
        // To the very end of the address space.
        (&small,  V4, "10.0.0.0/8",          "255.255.255.0/24",   None),
    ];
    for (defaults, family, pools, taken, picked) in cases {
        let pools: Vec<_> = pools.split_whitespace().collect();
        let taken: Vec<_> = taken.split_whitespace().map(net).collect();
        let got = space_with(&pools).allocate_default(defaults, family, &taken);
        assert_eq!(got.ok(), picked.map(net), "{pools:?} {taken:?}");
    }
}

#[test]
fn small_pieces_of_a_large_base_are_found_past_large_obstacles() {
    // 2^64 pieces, of which all but the last are in use: counting them one by one would not end.
    let defaults = DefaultPools::new(vec![DefaultPool::new(net("fd00::/64"), 128).unwrap()]);
    let taken: Vec<_> =
        (1..=64).map(|bits| IpNetwork::new(half(bits), 64 + bits).unwrap()).collect();
    let got = AddressSpace::new(0).allocate_default(&defaults, Family::V6, &taken);
    assert_eq!(got, Ok(net("fd00::ffff:ffff:ffff:ffff/128")));
}

/// The lower half of what is left of fd00::/64 after cutting lower halves off it `bits` - 1 times.
fn half(bits: u8) -> IpAddr {
    let ones = ((1u128 << 64) - 1) & !((1u128 << (65 - bits)) - 1);
    IpAddr::V6(((0xfd00 << 112) | ones).into())
}

#[test]
#[rustfmt::skip]
fn a_bad_default_pool_is_refused_with_what_is_wrong() {
    let cases = [
        ("172.18.0.1/16", 24,
            "172.18.0.1/16 is an address, not a subnet; did you mean 172.18.0.0/16"),
        ("172.18.0.0/16", 15,
            "size 15 of default pool 172.18.0.0/16 is too short, the shortest is 16"),
        ("172.18.0.0/16", 33,
            "size 33 of default pool 172.18.0.0/16 is too long, the longest is 32"),
        ("fd00::/48", 129,
            "size 129 of default pool fd00::/48 is too long, the longest is 128"),
        ("0.0.0.0/0", 8,
            "prefix /0 of pool 0.0.0.0/0 is too short, the shortest is /1"),
    ];
    for (base, size, message) in cases {
        assert_eq!(DefaultPool::new(net(base), size).unwrap_err().to_string(), message);
    }
}

fn space_with(pools: &[&str]) -> AddressSpace {
    let mut space = AddressSpace::new(100);
    for subnet in pools {
        space.add(PoolConfig::new(net(subnet))).expect("pools that do not overlap");
    }
    space
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn net(text: &str) -> IpNetwork {
    text.parse().expect("a subnet")
}
