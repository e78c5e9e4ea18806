//! Pools case by case: edge prefixes, going round, reservations, and what every refusal says.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_ipam::{EndpointId, GatewayChoice, Holder, Lease, Pool, PoolConfig, PoolError};

#[test]
#[rustfmt::skip]
fn a_subnet_gives_all_but_its_special_addresses() {
    let cases: [(&str, &[&str]); 9] = [
        ("10.0.0.0/29",  &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]),
        ("10.0.0.0/30",  &["10.0.0.1", "10.0.0.2"]),
        ("10.0.0.0/31",  &["10.0.0.0", "10.0.0.1"]),
        ("10.0.0.7/32",  &["10.0.0.7"]),
        ("fd00::/126",   &["fd00::1", "fd00::2", "fd00::3"]),
        ("fd00::/127",   &["fd00::", "fd00::1"]),
        ("fd00::7/128",  &["fd00::7"]),
        // The ends of what there is.
        ("255.255.255.252/30", &["255.255.255.253", "255.255.255.254"]),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126",
            &["ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffd", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe",
              "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]),
    ];
    for (subnet, addresses) in cases {
        let mut pool = Pool::new(without_gateway(subnet)).unwrap();
        assert_eq!(pool.capacity(), addresses.len() as u128, "{subnet}");
        for address in addresses {
            assert_eq!(pool.lease(ann()), Ok(ip(address)), "{subnet}");
        }
        let full = PoolError::Exhausted { pool: net(subnet), leased: addresses.len() as u128 };
        assert_eq!(pool.lease(ann()), Err(full));
    }
}

#[test]
#[rustfmt::skip]
fn large_subnets_have_the_capacity_of_their_prefix() {
    let cases = [
        ("10.0.0.0/8",  (1 << 24) - 2),
        ("128.0.0.0/1", (1 << 31) - 2),
        ("fd00::/64",   (1 << 64) - 1),
        ("8000::/1",    (1 << 127) - 1),
    ];
    for (subnet, capacity) in cases {
        assert_eq!(pool(subnet).capacity(), capacity, "{subnet}");
    }
}

#[test]
#[rustfmt::skip]
fn the_gateway_is_the_first_usable_address_unless_said_otherwise() {
    let cases = [
        ("10.0.0.0/24", GatewayChoice::First,                Some("10.0.0.1"),   "10.0.0.2"),
        ("10.0.0.0/24", GatewayChoice::At(ip("10.0.0.254")), Some("10.0.0.254"), "10.0.0.1"),
        ("10.0.0.0/24", GatewayChoice::None,                 None,               "10.0.0.1"),
        ("10.0.0.0/31", GatewayChoice::First,                Some("10.0.0.0"),   "10.0.0.1"),
        ("fd00::/64",   GatewayChoice::First,                Some("fd00::1"),    "fd00::2"),
        ("fd00::/127",  GatewayChoice::First,                Some("fd00::"),     "fd00::1"),
    ];
    for (subnet, gateway, address, next) in cases {
        let mut pool = Pool::new(PoolConfig { gateway, ..PoolConfig::new(net(subnet)) }).unwrap();
        assert_eq!(pool.gateway(), address.map(ip), "{subnet} {gateway:?}");
        if let Some(address) = address {
            assert_eq!(pool.holder(ip(address)), Some(&Holder::Gateway));
        }
        assert_eq!(pool.lease(ann()), Ok(ip(next)), "{subnet} {gateway:?}");
    }
}

#[test]
fn the_gateway_makes_way_for_an_auxiliary_address() {
    let config = with_auxiliary(PoolConfig::new(net("10.0.0.0/24")), &[("router", "10.0.0.1")]);
    let pool = Pool::new(config).unwrap();
    assert_eq!(pool.gateway(), Some(ip("10.0.0.2")));
}

#[test]
fn a_gateway_may_come_later_and_there_is_only_one() {
    let mut pool = Pool::new(without_gateway("10.0.0.0/24")).unwrap();
    pool.lease(ann()).unwrap();
    pool.lease(bob()).unwrap();
    pool.release(ip("10.0.0.1")).unwrap();
    assert_eq!(pool.lease(Holder::Gateway), Ok(ip("10.0.0.1")));
    let second = PoolError::SecondGateway { pool: net("10.0.0.0/24"), gateway: ip("10.0.0.1") };
    assert_eq!(pool.lease(Holder::Gateway), Err(second.clone()));
    assert_eq!(pool.lease_static(ip("10.0.0.9"), Holder::Gateway), Err(second));
    pool.release(ip("10.0.0.1")).unwrap();
    assert_eq!(pool.gateway(), None);
    assert_eq!(pool.lease_static(ip("10.0.0.9"), Holder::Gateway), Ok(()));
    assert_eq!(pool.gateway(), Some(ip("10.0.0.9")));
}

#[test]
fn leases_go_round_so_that_a_freed_address_comes_back_last() {
    let mut pool = pool("10.0.0.0/29");
    assert_eq!(pool.lease(ann()), Ok(ip("10.0.0.2")));
    pool.release(ip("10.0.0.2")).unwrap();
    for last in [3, 4, 5, 6, 2] {
        assert_eq!(pool.lease(bob()), Ok(ip(&format!("10.0.0.{last}"))));
    }
    pool.release(ip("10.0.0.4")).unwrap();
    assert_eq!(pool.lease(ann()), Ok(ip("10.0.0.4")));
    let full = PoolError::Exhausted { pool: net("10.0.0.0/29"), leased: 6 };
    assert_eq!(pool.lease(ann()), Err(full));
}

#[test]
fn a_pool_made_again_from_its_leases_goes_on_where_it_was() {
    let mut before = pool("10.0.0.0/24");
    for _ in 0..5 {
        before.lease(ann()).unwrap();
    }
    before.release(ip("10.0.0.6")).unwrap();

    let mut after = Pool::new(without_gateway("10.0.0.0/24")).unwrap();
    for (address, holder) in before.leases() {
        after.lease_static(address, holder.clone()).unwrap();
    }
    after.resume_after(before.last_given().unwrap()).unwrap();

    assert_eq!(after.gateway(), before.gateway());
    assert_eq!(after.lease(bob()), before.lease(bob()));
    assert_eq!(after.lease(bob()), Ok(ip("10.0.0.8")));
}

#[test]
fn resuming_outside_the_range_begins_at_its_start() {
    let mut pool = Pool::new(with_range("10.0.0.0/24", "10.0.0.128/30")).unwrap();
    for address in ["10.0.0.7", "10.0.0.131", "10.0.0.200"] {
        pool.resume_after(ip(address)).unwrap();
        assert_eq!(pool.lease(ann()), Ok(ip("10.0.0.128")), "{address}");
        pool.release(ip("10.0.0.128")).unwrap();
    }
    let outside = PoolError::Outside { address: ip("10.0.1.7"), pool: net("10.0.0.0/24") };
    assert_eq!(pool.resume_after(ip("10.0.1.7")), Err(outside));
}

#[test]
#[rustfmt::skip]
fn automatic_leases_come_from_the_ip_range_alone() {
    let cases: [(&str, &str, &[&str]); 5] = [
        // At the edges of the subnet its special addresses are left out; inside there are none.
        ("10.0.0.0/24", "10.0.0.0/30",   &["10.0.0.2", "10.0.0.3"]),
        ("10.0.0.0/24", "10.0.0.128/30", &["10.0.0.128", "10.0.0.129", "10.0.0.130", "10.0.0.131"]),
        ("10.0.0.0/24", "10.0.0.252/30", &["10.0.0.252", "10.0.0.253", "10.0.0.254"]),
        ("fd00::/64",   "fd00::/126",    &["fd00::2", "fd00::3"]),
        ("fd00::/64",   "fd00::ff/128",  &["fd00::ff"]),
    ];
    for (subnet, range, addresses) in cases {
        let mut pool = Pool::new(with_range(subnet, range)).unwrap();
        for address in addresses {
            assert_eq!(pool.lease(ann()), Ok(ip(address)), "{range}");
        }
        let error = pool.lease(ann()).unwrap_err();
        let gateway_inside = net(range).contains(pool.gateway().unwrap());
        let leased = addresses.len() as u128 + u128::from(gateway_inside);
        let full = PoolError::RangeExhausted { pool: net(subnet), range: net(range), leased };
        assert_eq!(error, full);
    }
}

#[test]
fn a_certain_address_may_be_anywhere_in_the_subnet() {
    let mut pool = Pool::new(with_range("10.0.0.0/24", "10.0.0.128/25")).unwrap();
    assert_eq!(pool.lease_static(ip("10.0.0.9"), ann()), Ok(()));
    assert_eq!(pool.lease_static(ip("10.0.0.128"), ann()), Ok(()));
    assert_eq!(pool.lease(bob()), Ok(ip("10.0.0.129")));
}

#[test]
fn auxiliary_addresses_are_leased_by_name_also_outside_the_range() {
    let config = with_auxiliary(
        with_range("10.0.0.0/24", "10.0.0.128/25"),
        &[("printer", "10.0.0.9"), ("router", "10.0.0.128")],
    );
    let mut pool = Pool::new(config).unwrap();
    let leases: Vec<_> = pool.leases().map(|(address, holder)| (address, holder.clone())).collect();
    let expected = [
        (ip("10.0.0.1"), Holder::Gateway),
        (ip("10.0.0.9"), Holder::Auxiliary("printer".into())),
        (ip("10.0.0.128"), Holder::Auxiliary("router".into())),
    ];
    assert_eq!(leases, expected);
    assert_eq!(pool.lease(ann()), Ok(ip("10.0.0.129")));
    assert_eq!(pool.leased(), 4);
}

#[test]
fn a_release_says_who_held_the_address_and_puts_it_back() {
    let mut pool = pool("10.0.0.0/30");
    let address = pool.lease(ann()).unwrap();
    assert_eq!(pool.release(address), Ok(Lease { address, holder: ann() }));
    assert_eq!(pool.holder(address), None);
    assert_eq!(pool.leased(), 1);
    let again = PoolError::NotLeased { address, pool: net("10.0.0.0/30") };
    assert_eq!(pool.release(address), Err(again));
    assert_eq!(pool.lease(bob()), Ok(address));
}

#[test]
fn a_refused_request_changes_nothing() {
    let mut pool = pool("10.0.0.0/29");
    pool.lease(ann()).unwrap();
    let before = format!("{pool:?}");
    for address in ["10.0.0.0", "10.0.0.2", "10.0.0.7", "10.0.1.3", "fd00::3"] {
        pool.lease_static(ip(address), bob()).unwrap_err();
        pool.resume_after(ip("fd00::3")).unwrap_err();
    }
    for address in ["10.0.0.3", "10.0.0.7", "10.0.1.3"] {
        pool.release(ip(address)).unwrap_err();
    }
    assert_eq!(format!("{pool:?}"), before);
}

#[test]
fn a_pool_keeps_its_limit() {
    let config = PoolConfig { max_leases: 2, ..PoolConfig::new(net("fd00::/64")) };
    let mut pool = Pool::new(config).unwrap();
    let address = pool.lease(ann()).unwrap();
    let limit = PoolError::TooManyLeases { pool: net("fd00::/64"), limit: 2 };
    assert_eq!(pool.lease(bob()), Err(limit.clone()));
    assert_eq!(pool.lease_static(ip("fd00::99"), bob()), Err(limit));
    pool.release(address).unwrap();
    assert_eq!(pool.lease(bob()), Ok(ip("fd00::3")));
}

#[test]
#[rustfmt::skip]
fn a_bad_pool_is_refused_with_what_is_wrong() {
    let plain = |subnet: &str| PoolConfig::new(net(subnet));
    let gateway = |subnet: &str, address: &str| {
        PoolConfig { gateway: GatewayChoice::At(ip(address)), ..plain(subnet) }
    };
    let cases = [
        (plain("192.168.1.5/24"),
            "192.168.1.5/24 is an address, not a subnet; did you mean 192.168.1.0/24"),
        (plain("fd00::5/64"),
            "fd00::5/64 is an address, not a subnet; did you mean fd00::/64"),
        (plain("0.0.0.0/0"),
            "prefix /0 of pool 0.0.0.0/0 is too short, the shortest is /1"),
        (with_range("10.0.0.0/24", "10.0.1.0/25"),
            "ip-range 10.0.1.0/25 is outside pool 10.0.0.0/24"),
        (with_range("10.0.0.0/24", "10.0.0.0/23"),
            "ip-range 10.0.0.0/23 is outside pool 10.0.0.0/24"),
        (with_range("10.0.0.0/24", "fd00::/120"),
            "ip-range fd00::/120 is outside pool 10.0.0.0/24"),
        (with_range("10.0.0.0/24", "10.0.0.5/25"),
            "10.0.0.5/25 is an address, not a subnet; did you mean 10.0.0.0/25"),
        (with_range("10.0.0.0/24", "10.0.0.255/32"),
            "ip-range 10.0.0.255/32 of pool 10.0.0.0/24 has no address that can be leased"),
        (gateway("10.0.0.0/24", "10.0.1.1"),
            "gateway 10.0.1.1 is outside pool 10.0.0.0/24"),
        (gateway("10.0.0.0/24", "fd00::1"),
            "gateway fd00::1 is outside pool 10.0.0.0/24"),
        (gateway("10.0.0.0/24", "10.0.0.0"),
            "address 10.0.0.0 is the network address of pool 10.0.0.0/24 and cannot be leased"),
        (gateway("10.0.0.0/24", "10.0.0.255"),
            "address 10.0.0.255 is the broadcast address of pool 10.0.0.0/24 and cannot be leased"),
        (gateway("fd00::/64", "fd00::"),
            "address fd00:: is the subnet-router anycast address of pool fd00::/64 \
             and cannot be leased"),
        (with_auxiliary(plain("10.0.0.0/24"), &[("web", "10.0.1.9")]),
            "auxiliary address web=10.0.1.9 is outside pool 10.0.0.0/24"),
        (with_auxiliary(plain("10.0.0.0/24"), &[("db", "10.0.0.9"), ("web", "10.0.0.9")]),
            "auxiliary address web=10.0.0.9 of pool 10.0.0.0/24 is already held by \
             auxiliary address db"),
        (with_auxiliary(gateway("10.0.0.0/24", "10.0.0.9"), &[("web", "10.0.0.9")]),
            "auxiliary address web=10.0.0.9 of pool 10.0.0.0/24 is already held by the gateway"),
        (with_auxiliary(plain("10.0.0.9/32"), &[("web", "10.0.0.9")]),
            "pool 10.0.0.9/32 has no free address (1 leased)"),
    ];
    for (config, message) in cases {
        assert_eq!(Pool::new(config).unwrap_err().to_string(), message);
    }
}

#[test]
#[rustfmt::skip]
fn a_refused_lease_says_why() {
    let mut pool = pool("10.0.0.0/30");
    pool.lease(ann()).unwrap();
    let cases = [
        (pool.lease(bob()).unwrap_err(),
            "pool 10.0.0.0/30 has no free address (2 leased)"),
        (pool.lease_static(ip("10.0.0.1"), bob()).unwrap_err(),
            "address 10.0.0.1 of pool 10.0.0.0/30 is already held by the gateway"),
        (pool.lease_static(ip("10.0.0.2"), bob()).unwrap_err(),
            "address 10.0.0.2 of pool 10.0.0.0/30 is already held by endpoint 0a0a0a0a0a0a"),
        (pool.lease_static(ip("10.0.0.4"), bob()).unwrap_err(),
            "address 10.0.0.4 is outside pool 10.0.0.0/30"),
        (pool.release(ip("10.0.0.3")).unwrap_err(),
            "address 10.0.0.3 of pool 10.0.0.0/30 is not leased"),
        (pool.release(ip("fd00::3")).unwrap_err(),
            "address fd00::3 is outside pool 10.0.0.0/30"),
        (pool.lease(Holder::Gateway).unwrap_err(),
            "pool 10.0.0.0/30 already has a gateway, 10.0.0.1"),
    ];
    for (error, message) in cases {
        assert_eq!(error.to_string(), message);
    }
    let mut narrow = Pool::new(with_range("10.0.0.0/24", "10.0.0.8/31")).unwrap();
    narrow.lease(ann()).unwrap();
    narrow.lease(ann()).unwrap();
    assert_eq!(
        narrow.lease(ann()).unwrap_err().to_string(),
        "pool 10.0.0.0/24 has no free address in ip-range 10.0.0.8/31 (2 leased)",
    );
}

#[test]
fn a_full_pool_finds_the_one_free_address_wherever_it_is() {
    let mut pool = pool("10.0.0.0/16");
    while pool.lease(ann()).is_ok() {}
    assert_eq!(pool.leased(), 65_534);
    for address in ["10.0.0.2", "10.0.0.63", "10.0.0.64", "10.0.127.255", "10.0.255.254"] {
        pool.release(ip(address)).unwrap();
        assert_eq!(pool.lease(bob()), Ok(ip(address)));
    }
}

#[test]
fn a_large_pool_costs_what_its_leases_cost() {
    let mut pool = pool("fd00::/64");
    let one = pool.memory();
    assert!(one < 2_000, "{one} octets for a pool with its gateway");
    for number in 0..1_000u128 {
        let address = (0xfd00 << 112) | (number << 53) | 0x99;
        let address = IpAddr::V6(address.into());
        pool.lease_static(address, Holder::Named("a guest's own choice".into())).unwrap();
    }
    assert!(pool.memory() < 300_000, "{} octets for 1000 scattered leases", pool.memory());
    for _ in 0..10_000 {
        pool.lease(ann()).unwrap();
    }
    assert!(pool.memory() < 800_000, "{} octets for 10 000 more in a row", pool.memory());
    assert_eq!(pool.leased(), 11_001);
}

fn pool(subnet: &str) -> Pool {
    Pool::new(PoolConfig::new(net(subnet))).expect("a good subnet")
}

fn without_gateway(subnet: &str) -> PoolConfig {
    PoolConfig { gateway: GatewayChoice::None, ..PoolConfig::new(net(subnet)) }
}

fn with_range(subnet: &str, range: &str) -> PoolConfig {
    PoolConfig { range: Some(net(range)), ..PoolConfig::new(net(subnet)) }
}

fn with_auxiliary(mut config: PoolConfig, auxiliary: &[(&str, &str)]) -> PoolConfig {
    let auxiliary = auxiliary.iter().map(|&(name, address)| (name.into(), ip(address))).collect();
    config.auxiliary = auxiliary;
    config
}

fn ann() -> Holder {
    Holder::Endpoint(EndpointId([0x0a; 32]))
}

fn bob() -> Holder {
    Holder::Endpoint(EndpointId([0x0b; 32]))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn net(text: &str) -> IpNetwork {
    text.parse().expect("a subnet")
}
