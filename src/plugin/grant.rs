//! What a network and an endpoint need of an IPAM driver, call by call in the engine's order.
//!
//! Everything that the driver gives on the way is noted in a [`Haul`], also when a later call
//! fails, so that whoever asked can give back what is of no use.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use tokio::time::Instant;
use weft_frame::MacAddr;
use weft_ipam::Family;

use super::call::Call;
use super::error::{AnswerError, PluginError};
use super::ipam::{AddressWish, PoolWish, RemoteIpam, RemotePool};
use crate::cnm::{Given, SubnetSpec};

/// How many pools of a driver's choice are looked at for one that overlaps nothing.
const MAX_CHOICES: usize = 16;

/// What an endpoint wants.
#[derive(Clone, Copy, Debug)]
pub struct EndpointWish<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its station address.
    pub mac: Option<MacAddr>,
    /// The addresses it insists on.
    pub addresses: &'a [IpAddr],
}

/// What a driver has given on the way to a network or an endpoint.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Haul {
    /// What is needed, in the order in which it was given.
    pub kept: Vec<Given>,
    /// What turned out to be of no use.
    pub spare: Vec<Given>,
}

/// Asks for everything that a network needs: for each subnet the pool, the gateway and the
/// auxiliary addresses. A pool of the driver's own choice keeps clear of `taken`.
///
/// # Errors
/// What the driver refused or got wrong; `haul` has what it gave before.
pub async fn network(
    driver: &RemoteIpam,
    subnets: &[(SubnetSpec, Family)],
    options: &BTreeMap<String, String>,
    taken: &[IpNetwork],
    give_up: Instant,
    haul: &mut Haul,
) -> Result<Vec<SubnetSpec>, PluginError> {
    let mut granted: Vec<SubnetSpec> = Vec::new();
    for (wish, family) in subnets {
        let taken: Vec<IpNetwork> =
            taken.iter().copied().chain(granted.iter().filter_map(|own| own.subnet)).collect();
        let wanted = PoolWish {
            subnet: wish.subnet,
            ip_range: wish.ip_range,
            is_ipv6: *family == Family::V6,
            options,
        };
        let pool = pool(driver, wanted, &taken, give_up, haul).await?;
        haul.kept.push(Given::Pool { pool: pool.id.clone() });
        let gateway = match (wish.gateway, pool.gateway) {
            // What comes with the pool needs no request, unless somebody wants another.
            (None, Some(gateway)) => gateway,
            (address, _) => {
                let gateway = AddressWish::Gateway(address);
                let given = address_of(driver, &pool, gateway, give_up, haul).await;
                let failed = |error| PluginError::Gateway { address, source: Box::new(error) };
                given.map_err(failed)?
            }
        };
        for (name, address) in &wish.aux {
            let (name, address) = (name.clone(), *address);
            let aux = AddressWish::Auxiliary(address);
            let given = address_of(driver, &pool, aux, give_up, haul).await;
            let failed = |error| PluginError::Auxiliary { name, address, source: Box::new(error) };
            given.map_err(failed)?;
        }
        granted.push(SubnetSpec {
            subnet: Some(pool.subnet),
            ip_range: wish.ip_range,
            gateway: Some(gateway),
            aux: wish.aux.clone(),
            pool: Some(pool.id),
        });
    }
    Ok(granted)
}

/// An address of a pool, noted.
async fn address_of(
    driver: &RemoteIpam,
    pool: &RemotePool,
    wish: AddressWish<'_>,
    give_up: Instant,
    haul: &mut Haul,
) -> Result<IpAddr, PluginError> {
    let address = driver.request_address(pool, wish, give_up).await?;
    haul.kept.push(Given::Address { pool: pool.id.clone(), address });
    Ok(address)
}

/// The pool that is asked for, or one of the driver's choice that overlaps nothing.
async fn pool(
    driver: &RemoteIpam,
    wish: PoolWish<'_>,
    taken: &[IpNetwork],
    give_up: Instant,
    haul: &mut Haul,
) -> Result<RemotePool, PluginError> {
    for before in 0.. {
        let pool = driver.request_pool(wish, give_up).await?;
        let overlapped = taken.iter().find(|other| overlap(pool.subnet, **other));
        let Some(other) = overlapped.filter(|_| wish.subnet.is_none()) else {
            return Ok(pool);
        };
        // Kept until there is a better one: the driver would choose the same again.
        haul.spare.push(Given::Pool { pool: pool.id });
        if before + 1 == MAX_CHOICES {
            let wrong = AnswerError::Overlap { given: pool.subnet, other: *other, before };
            return Err(driver.wrong(Call::RequestPool, wrong));
        }
    }
    unreachable!("the last choice ends it")
}

fn overlap(one: IpNetwork, other: IpNetwork) -> bool {
    one.contains(other.network()) || other.contains(one.network())
}

/// Asks for the addresses of an endpoint: one of each family that the network has pools of, IPv4
/// first. A pool that has none left makes room for the next of its family.
///
/// # Errors
/// What the driver refused or got wrong; `haul` has what it gave before.
pub async fn endpoint(
    driver: &RemoteIpam,
    pools: &[RemotePool],
    wish: EndpointWish<'_>,
    give_up: Instant,
    haul: &mut Haul,
) -> Result<Vec<IpAddr>, PluginError> {
    let mut addresses = Vec::new();
    for is_ipv6 in [false, true] {
        let mut wanted = wish.addresses.iter().copied();
        let address = wanted.find(|address| address.is_ipv6() == is_ipv6);
        let fits = |pool: &&RemotePool| {
            pool.subnet.is_ipv6() == is_ipv6
                && address.is_none_or(|address| pool.subnet.contains(address))
        };
        let mut left = pools.iter().filter(fits).peekable();
        while let Some(pool) = left.next() {
            let wish = AddressWish::Endpoint { address, mac: wish.mac, name: wish.name };
            match address_of(driver, pool, wish, give_up, haul).await {
                Ok(address) => {
                    addresses.push(address);
                    break;
                }
                Err(PluginError::Refused { .. }) if left.peek().is_some() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(addresses)
}
