//! What a network and an endpoint need of an IPAM driver, call by call in the engine's order.
//!
//! Everything that the driver gives on the way is noted in a [`Haul`], also when a later call
//! fails, so that whoever asked can give back what is of no use.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use tokio::time::Instant;
use weft_frame::MacAddr;

use super::call::Call;
use super::error::{AnswerError, PluginError};
use super::ipam::{AddressWish, Given, PoolWish, RemoteIpam, RemotePool};

/// How many pools of a driver's choice are looked at for one that overlaps nothing.
const MAX_CHOICES: usize = 16;

/// A subnet that a network wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubnetWish {
    /// The subnet; any when absent.
    pub subnet: Option<IpNetwork>,
    /// Whether it is to be IPv6, where no subnet says so.
    pub is_ipv6: bool,
    /// The part of it that addresses are to come from.
    pub ip_range: Option<IpNetwork>,
    /// The gateway's address; any when absent.
    pub gateway: Option<IpAddr>,
    /// Addresses that are never to be given, each with the name of what has it.
    pub aux: BTreeMap<String, IpAddr>,
}

/// A subnet that a network was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetGrant {
    /// The pool.
    pub pool: RemotePool,
    /// The gateway's address.
    pub gateway: IpAddr,
}

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

/// What is given back when a network goes that has these subnets, in the engine's order.
pub fn of_subnet(
    pool: &str,
    gateway: Option<IpAddr>,
    aux: &BTreeMap<String, IpAddr>,
) -> Vec<Given> {
    let addresses = gateway.into_iter().chain(aux.values().copied());
    let address = |address| Given::Address { pool: pool.to_owned(), address };
    let mut all: Vec<Given> = addresses.map(address).collect();
    all.push(Given::Pool { pool: pool.to_owned() });
    all
}

/// Asks for everything that a network needs: for each subnet the pool, the gateway and the
/// auxiliary addresses. A pool of the driver's own choice keeps clear of `taken`.
///
/// # Errors
/// What the driver refused or got wrong; `haul` has what it gave before.
pub async fn network(
    driver: &RemoteIpam,
    subnets: &[SubnetWish],
    options: &BTreeMap<String, String>,
    taken: &[IpNetwork],
    give_up: Instant,
    haul: &mut Haul,
) -> Result<Vec<SubnetGrant>, PluginError> {
    let mut grants: Vec<SubnetGrant> = Vec::new();
    for wish in subnets {
        let mut taken = taken.to_vec();
        taken.extend(grants.iter().map(|grant| grant.pool.subnet));
        let pool = pool(driver, wish, options, &taken, give_up, haul).await?;
        haul.kept.push(Given::Pool { pool: pool.id.clone() });
        let mut address = async |wish: AddressWish<'_>| {
            let address = driver.request_address(&pool, wish, give_up).await?;
            haul.kept.push(Given::Address { pool: pool.id.clone(), address });
            Ok::<IpAddr, PluginError>(address)
        };
        let gateway = match (wish.gateway, pool.gateway) {
            // What comes with the pool needs no request, unless somebody wants another.
            (None, Some(gateway)) => gateway,
            (wanted, _) => address(AddressWish::Gateway(wanted)).await.map_err(|error| {
                PluginError::Gateway { address: wanted, source: Box::new(error) }
            })?,
        };
        for (name, at) in &wish.aux {
            let given = address(AddressWish::Auxiliary(*at)).await;
            given.map_err(|error| PluginError::Auxiliary {
                name: name.clone(),
                address: *at,
                source: Box::new(error),
            })?;
        }
        grants.push(SubnetGrant { pool, gateway });
    }
    Ok(grants)
}

/// The pool that is asked for, or one of the driver's choice that overlaps nothing.
async fn pool(
    driver: &RemoteIpam,
    wish: &SubnetWish,
    options: &BTreeMap<String, String>,
    taken: &[IpNetwork],
    give_up: Instant,
    haul: &mut Haul,
) -> Result<RemotePool, PluginError> {
    let &SubnetWish { subnet, ip_range, is_ipv6, .. } = wish;
    let wish = PoolWish { subnet, ip_range, is_ipv6, options };
    for before in 0.. {
        let pool = driver.request_pool(wish, give_up).await?;
        let overlapped = taken.iter().find(|other| overlap(pool.subnet, **other));
        let Some(other) = overlapped.filter(|_| subnet.is_none()) else {
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
            match driver.request_address(pool, wish, give_up).await {
                Ok(address) => {
                    haul.kept.push(Given::Address { pool: pool.id.clone(), address });
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
