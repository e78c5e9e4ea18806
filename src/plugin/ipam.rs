//! An IPAM driver behind a plugin's socket: one method for each call, with its answer checked.
//!
//! An answer that cannot be is an error, and what it brought is given back first.

use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use tokio::time::Instant;
use weft_frame::MacAddr;

use super::call::{Call, Plugin, body};
use super::error::{AnswerError, PluginError, tamed};
use super::shapes::{
    AddressGiven, Capabilities, Done, Pairs, PoolGiven, ReleaseAddress, ReleasePool,
    RequestAddress, RequestPool, Spaces,
};
use crate::cnm::Given;

/// The longest id of a pool.
const MAX_POOL_ID: usize = 1024;
/// The option that says what an address is for, and its only value.
const GATEWAY_TYPE: (&str, &str) = ("RequestAddressType", GATEWAY);
/// What a gateway is called, as the type of an address and in what comes with a pool.
const GATEWAY: &str = "com.docker.network.gateway";
/// The option with the MAC address of an endpoint.
const MAC: &str = "com.docker.network.endpoint.macaddress";
/// The option with the name of an endpoint.
const NAME: &str = "com.docker.network.endpoint.name";

/// An IPAM driver that has been activated.
#[derive(Clone, Debug)]
pub struct RemoteIpam {
    plugin: Plugin,
    capabilities: Capabilities,
}

/// A pool that somebody wants.
#[derive(Clone, Copy, Debug)]
pub struct PoolWish<'a> {
    /// The subnet; any when absent.
    pub subnet: Option<IpNetwork>,
    /// The part of it that addresses are to come from.
    pub ip_range: Option<IpNetwork>,
    /// Whether it is to be IPv6, where no subnet says so.
    pub is_ipv6: bool,
    /// The options of the network for its IPAM driver.
    pub options: &'a Pairs,
}

/// A pool that a driver has given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePool {
    /// What the driver calls it.
    pub id: String,
    /// Its subnet.
    pub subnet: IpNetwork,
    /// The gateway that the driver insists on, if it does.
    pub gateway: Option<IpAddr>,
}

/// An address that somebody wants.
#[derive(Clone, Copy, Debug)]
pub enum AddressWish<'a> {
    /// A network's gateway, at this address or any.
    Gateway(Option<IpAddr>),
    /// One that nobody is to be given.
    Auxiliary(IpAddr),
    /// An endpoint's, at this address or any.
    Endpoint {
        /// The address, if it insists on one.
        address: Option<IpAddr>,
        /// Its station address.
        mac: Option<MacAddr>,
        /// Its name.
        name: &'a str,
    },
}

impl AddressWish<'_> {
    const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Gateway(address) | Self::Endpoint { address, .. } => *address,
            Self::Auxiliary(address) => Some(*address),
        }
    }
}

impl RemoteIpam {
    pub(super) fn new(plugin: Plugin, capabilities: Capabilities) -> Self {
        Self { plugin, capabilities }
    }

    /// The driver's name.
    pub fn name(&self) -> &str {
        &self.plugin.name
    }

    /// Whether it wants to know the MAC address an address is for.
    pub fn requires_mac(&self) -> bool {
        self.capabilities.requires_mac
    }

    /// Whether it wants to be asked again for everything after a restart of ours.
    pub fn requires_replay(&self) -> bool {
        self.capabilities.requires_replay
    }

    /// The same, tried once and not again.
    #[must_use]
    pub fn at_once(mut self) -> Self {
        self.plugin.patience.pauses = &[];
        self
    }

    /// Asks for a pool.
    ///
    /// # Errors
    /// When the driver refuses, fails, or gives what was not asked for.
    pub async fn request_pool(
        &self,
        wish: PoolWish<'_>,
        give_up: Instant,
    ) -> Result<RemotePool, PluginError> {
        let call = Call::GetDefaultAddressSpaces;
        let spaces: Spaces = self.plugin.ask(call, Default::default(), give_up).await?;
        if spaces.local_default_address_space.is_empty() {
            return Err(self.wrong(call, AnswerError::NoSpace));
        }
        let texts = |subnet: Option<IpNetwork>| subnet.map_or_else(String::new, |s| s.to_string());
        let request = RequestPool {
            address_space: &spaces.local_default_address_space,
            pool: texts(wish.subnet),
            sub_pool: texts(wish.ip_range),
            options: wish.options,
            v6: wish.subnet.map_or(wish.is_ipv6, |subnet| subnet.is_ipv6()),
        };
        let is_ipv6 = request.v6;
        let call = Call::RequestPool;
        let driver = self.clone();
        let late = |given: PoolGiven| async move {
            driver.give_back_late(Given::Pool { pool: given.pool_id }).await;
        };
        let given = self.plugin.obtain(call, body(&request), give_up, late).await?;
        match check_pool(&given, wish.subnet, is_ipv6) {
            Ok((subnet, gateway)) => Ok(RemotePool { id: given.pool_id, subnet, gateway }),
            Err(wrong) => {
                self.give_back_late(Given::Pool { pool: given.pool_id }).await;
                Err(self.wrong(call, wrong))
            }
        }
    }

    /// Asks for an address of a pool.
    ///
    /// # Errors
    /// When the driver refuses, fails, or gives what was not asked for.
    pub async fn request_address(
        &self,
        pool: &RemotePool,
        wish: AddressWish<'_>,
        give_up: Instant,
    ) -> Result<IpAddr, PluginError> {
        let options = self.options(wish);
        let request = RequestAddress {
            pool_id: &pool.id,
            address: wish.address().map_or_else(String::new, |address| address.to_string()),
            options: options.as_ref(),
        };
        let (driver, id) = (self.clone(), pool.id.clone());
        let late = |given: AddressGiven| async move {
            if let Ok(given) = read_cidr(&given.address) {
                let given = Given::Address { pool: id, address: given.ip() };
                driver.give_back_late(given).await;
            }
        };
        let call = Call::RequestAddress;
        let given: AddressGiven = self.plugin.obtain(call, body(&request), give_up, late).await?;
        if given.address.is_empty() {
            return Err(self.wrong(call, AnswerError::NoAddress));
        }
        let address = match read_cidr(&given.address) {
            Ok(given) => given.ip(),
            Err(wrong) => return Err(self.wrong(call, wrong)),
        };
        if let Some(wrong) = check_address(address, wish.address(), pool.subnet) {
            let given = Given::Address { pool: pool.id.clone(), address };
            self.give_back_late(given).await;
            return Err(self.wrong(call, wrong));
        }
        Ok(address)
    }

    /// Gives something back.
    ///
    /// # Errors
    /// When the driver is away, or does not want it.
    pub async fn give_back(&self, given: &Given, give_up: Instant) -> Result<(), PluginError> {
        let (call, body) = match given {
            Given::Pool { pool } => (Call::ReleasePool, body(&ReleasePool { pool_id: pool })),
            Given::Address { pool, address } => {
                let request = ReleaseAddress { pool_id: pool, address: address.to_string() };
                (Call::ReleaseAddress, body(&request))
            }
        };
        self.plugin.ask(call, body, give_up).await.map(|Done {}| ())
    }

    /// Gives back what nobody will ever know of; there is nobody to tell if that fails.
    async fn give_back_late(&self, given: Given) {
        if matches!(&given, Given::Pool { pool } if pool.is_empty()) {
            return;
        }
        let give_up = self.plugin.patience.give_up();
        if let Err(error) = self.give_back(&given, give_up).await {
            let plugin = self.name();
            tracing::warn!(plugin, ?given, error = crate::cli::chain(&error), "not given back");
        }
    }

    fn options(&self, wish: AddressWish<'_>) -> Option<Pairs> {
        let pair = |key: &str, value: String| (key.to_owned(), value);
        match wish {
            AddressWish::Gateway(_) => {
                Some(Pairs::from([pair(GATEWAY_TYPE.0, GATEWAY_TYPE.1.to_owned())]))
            }
            AddressWish::Auxiliary(_) => None,
            AddressWish::Endpoint { mac, name, .. } => {
                let mac = mac.filter(|_| self.requires_mac());
                let mac = mac.map(|mac| pair(MAC, mac.to_string()));
                Some(mac.into_iter().chain([pair(NAME, name.to_owned())]).collect())
            }
        }
    }

    /// The error of an answer that cannot be.
    pub(super) fn wrong(&self, call: Call, source: AnswerError) -> PluginError {
        PluginError::Answer { plugin: Arc::clone(&self.plugin.name), call, source }
    }
}

/// The subnet and the gateway that came with a pool.
fn check_pool(
    given: &PoolGiven,
    asked: Option<IpNetwork>,
    is_ipv6: bool,
) -> Result<(IpNetwork, Option<IpAddr>), AnswerError> {
    let octets = given.pool_id.len();
    if octets == 0 || octets > MAX_POOL_ID {
        return Err(AnswerError::PoolId { octets, limit: MAX_POOL_ID });
    }
    if given.pool.is_empty() {
        return Err(AnswerError::NoPool);
    }
    let pool = read_cidr(&given.pool)?;
    let subnet = IpNetwork::new(pool.network(), pool.prefix())
        .map_err(|_| AnswerError::NoCidr(tamed(&given.pool)))?;
    if subnet.is_ipv6() != is_ipv6 {
        return Err(AnswerError::Family(subnet));
    }
    if let Some(asked) = asked.filter(|asked| *asked != subnet) {
        return Err(AnswerError::OtherPool { asked, given: subnet });
    }
    let gateway = match given.data.get(GATEWAY).filter(|text| !text.is_empty()) {
        Some(text) => Some(read_cidr(text)?.ip()),
        None => None,
    };
    if let Some(address) = gateway.filter(|gateway| !subnet.contains(*gateway)) {
        return Err(AnswerError::Outside { address, pool: subnet });
    }
    Ok((subnet, gateway))
}

fn check_address(given: IpAddr, asked: Option<IpAddr>, pool: IpNetwork) -> Option<AnswerError> {
    if let Some(asked) = asked.filter(|asked| *asked != given) {
        return Some(AnswerError::OtherAddress { asked, given });
    }
    (!pool.contains(given)).then_some(AnswerError::Outside { address: given, pool })
}

/// `ADDRESS/PREFIX`. The prefix of an address is that of its pool whatever it says here; the engine
/// takes no address without one.
fn read_cidr(text: &str) -> Result<IpNetwork, AnswerError> {
    let read = if text.contains('/') { text.parse().ok() } else { None };
    read.ok_or_else(|| AnswerError::NoCidr(tamed(text)))
}
