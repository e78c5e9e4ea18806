//! Networks and endpoints whose addresses come from a plugin.
//!
//! A plugin is asked before the turn, so that one that is slow holds up nobody but whoever wants
//! something of it; what it gives is put into the edit. When the turn is refused, it goes back. The
//! model sees to it that nobody here has the same already.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnetwork::IpNetwork;
use tokio::time::{Instant, timeout_at};
use weft_frame::MacAddr;

use super::failure::Rejected;
use super::{Control, State, new_id};
use crate::api::shapes::{AttachRequest, EndpointRequest};
use crate::cnm::network::station_address;
use crate::cnm::{Given, Id, Network, NetworkSpec, Refusal, Returned, Subnet, SubnetSpec};
use crate::plugin::grant::{self, EndpointWish, Haul};
use crate::plugin::{AnswerError, Call, PluginError, Plugins, RemoteIpam, RemotePool};
use crate::sandbox::link::host_subnets;

/// The pause before a driver that was away is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long it takes at most to give back what came of no use, and to tell of it.
const SETTLING: Duration = Duration::from_secs(10);
/// How long a driver may take for what nobody waits for.
const UNHURRIED: Duration = Duration::from_secs(30);

/// The plugins of an appliance.
#[derive(Debug)]
pub(crate) struct Remotes {
    pub(super) plugins: Plugins,
    drivers: Mutex<BTreeMap<String, Driver>>,
}

/// What is known of one driver's state.
#[derive(Debug, Default)]
struct Driver {
    /// Whoever has it settles what is open between us and the driver.
    gate: Arc<tokio::sync::Mutex<()>>,
    /// Whether it may have forgotten what it gave to the appliance before this one.
    may_have_forgotten: bool,
    /// When to try again, and the pause before that.
    retry: Option<(Instant, Duration)>,
}

impl Remotes {
    /// The plugins; of `drivers` there is something from before.
    pub(super) fn new(plugins: Plugins, drivers: BTreeSet<String>) -> Self {
        let driver = |name| (name, Driver { may_have_forgotten: true, ..Driver::default() });
        Self { plugins, drivers: Mutex::new(drivers.into_iter().map(driver).collect()) }
    }

    fn drivers(&self) -> MutexGuard<'_, BTreeMap<String, Driver>> {
        self.drivers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate(&self, driver: &str) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.drivers().entry(driver.to_owned()).or_default().gate)
    }

    fn may_have_forgotten(&self, driver: &str) -> bool {
        self.drivers().get(driver).is_some_and(|driver| driver.may_have_forgotten)
    }

    /// Notes that a driver has been reached and knows everything.
    fn reached(&self, driver: &str) {
        if let Some(driver) = self.drivers().get_mut(driver) {
            driver.may_have_forgotten = false;
            driver.retry = None;
        }
    }

    /// Notes that a driver could not be reached.
    fn missed(&self, driver: &str) {
        if let Some(driver) = self.drivers().get_mut(driver) {
            let pause = driver.retry.map_or(PAUSES.0, |(_, pause)| (pause * 2).min(PAUSES.1));
            driver.retry = Some((Instant::now() + pause, pause));
        }
    }

    /// The drivers that are to be reached now, of those in `due` and those that may have forgotten.
    fn to_reach(&self, due: &BTreeSet<String>) -> Vec<String> {
        let mut drivers = self.drivers();
        for driver in due {
            drivers.entry(driver.clone()).or_default();
        }
        // Those of which nothing is left need not be remembered.
        drivers.retain(|name, driver| {
            due.contains(name) || driver.may_have_forgotten || Arc::strong_count(&driver.gate) > 1
        });
        let now = Instant::now();
        let is_time = |driver: &Driver| {
            driver.retry.is_none_or(|(at, _)| at <= now) && driver.gate.try_lock().is_ok()
        };
        let ready = drivers.iter().filter(|(_, driver)| is_time(driver));
        ready.map(|(name, _)| name.clone()).collect()
    }
}

/// What a plugin gave for what is about to be made, and the addresses that nobody asked for by
/// number.
#[derive(Debug, Default)]
pub(super) struct Grants {
    returned: Vec<Returned>,
    chosen: Vec<(String, IpAddr)>,
}

impl Control {
    /// The plugin that gives addresses under this name, with everything settled that is open
    /// between it and us.
    pub(super) async fn remote(
        &self,
        driver: &str,
        give_up: Instant,
    ) -> Result<RemoteIpam, PluginError> {
        let remotes = &self.shared.remotes;
        let gate = remotes.gate(driver);
        let since = Instant::now();
        let _one = timeout_at(give_up, gate.lock()).await.map_err(|_| PluginError::Silent {
            plugin: driver.into(),
            call: Call::ReleaseAddress,
            waited: since.elapsed(),
        })?;
        let reached = async {
            let remote = remotes.plugins.ipam(driver, give_up).await?;
            if remotes.may_have_forgotten(driver) {
                self.replay(&remote, give_up).await?;
            }
            Ok(remote)
        };
        match reached.await {
            Ok(remote) => {
                remotes.reached(driver);
                self.pay_driver(&remote, give_up).await;
                if self.state().debts.drivers().contains(driver) {
                    remotes.missed(driver);
                }
                Ok(remote)
            }
            Err(error) => {
                remotes.missed(driver);
                Err(error)
            }
        }
    }

    /// The same for what nobody waits for.
    pub(super) async fn remote_at_once(&self, driver: &str) -> Result<RemoteIpam, PluginError> {
        self.remote(driver, Instant::now() + UNHURRIED).await
    }

    /// Looks after drivers that were away, or are new to this appliance.
    pub(crate) fn tend_remotes(&self) {
        let due = self.state().debts.drivers();
        for driver in self.shared.remotes.to_reach(&due) {
            let control = self.clone();
            tokio::spawn(async move {
                if let Err(error) = control.remote_at_once(&driver).await {
                    let error = crate::cli::chain(&error);
                    tracing::warn!(driver, error, "an IPAM driver is away");
                }
            });
        }
    }

    /// Asks for the subnets of a network whose addresses come from a plugin, and puts them in.
    pub(super) async fn grant_network(
        &self,
        spec: &mut NetworkSpec,
        grants: &mut Grants,
    ) -> Result<(), Rejected> {
        let Some(driver) = spec.ipam.driver.plugin().map(str::to_owned) else { return Ok(()) };
        let wanted = spec.wanted_subnets();
        if wanted.is_empty() {
            return Ok(());
        }
        let taken = {
            let state = self.state();
            state.refuse_when_ending()?;
            state.model.check_network(spec)?;
            let subnets = state.model.networks().flat_map(|network| &network.subnets);
            let own: Vec<IpNetwork> = subnets.map(|subnet| subnet.subnet).collect();
            own.into_iter().chain(host_subnets().unwrap_or_default()).collect::<Vec<_>>()
        };
        let give_up = self.shared.remotes.plugins.patience().give_up();
        let remote = self.remote(&driver, give_up).await?;
        let mut haul = Haul::default();
        let options = &spec.ipam.options;
        let granted = grant::network(&remote, &wanted, options, &taken, give_up, &mut haul).await;
        grants.note(&driver, haul.kept);
        self.give_back(Returned { driver, given: haul.spare }).await;
        spec.subnets = granted?;
        // Families that it may have and that nobody named were asked for already.
        spec.ipv6 = spec.subnets.iter().any(|own| own.subnet.is_some_and(|s| s.is_ipv6()));
        Ok(())
    }

    /// How long it may take to take a sandbox in, when a plugin is to be asked.
    pub(super) fn asks_long(&self, request: &AttachRequest) -> Option<Duration> {
        let asks = !request.declared && self.asks_plugins(&request.endpoints);
        let each = self.shared.remotes.plugins.patience().whole + SETTLING;
        let endpoints = u32::try_from(request.endpoints.len()).unwrap_or(u32::MAX);
        asks.then(|| each.saturating_mul(endpoints))
    }

    /// Whether any of these networks has its addresses from a plugin.
    pub(super) fn asks_plugins(&self, wanted: &[EndpointRequest]) -> bool {
        let state = self.state();
        let mut networks = wanted.iter().filter_map(|own| state.model.resolve(&own.network).ok());
        networks.any(|network| network.ipam.driver.plugin().is_some())
    }

    /// Asks for the addresses of endpoints in networks whose addresses come from a plugin, and puts
    /// them in.
    pub(super) async fn grant_endpoints(
        &self,
        sandbox: Id,
        name: &str,
        wanted: &mut [EndpointRequest],
        grants: &mut Grants,
    ) -> Result<(), Rejected> {
        for wanted in wanted {
            let (network, source) = {
                let state = self.state();
                let network = state.model.resolve(&wanted.network)?;
                let Some(source) = Source::of(network) else { continue };
                if state.awaited_endpoint(network.id, sandbox, wanted).is_some() {
                    continue;
                }
                (network.id, source)
            };
            let (ip, ip6) = (wanted.ip.map(IpAddr::V4), wanted.ip6.map(IpAddr::V6));
            let addresses: Vec<IpAddr> = ip.into_iter().chain(ip6).collect();
            let id = match wanted.id {
                Some(id) => id,
                None => new_id().map_err(|error| Rejected::new(500, error.to_string()))?,
            };
            // One that is no MAC address is refused in its turn.
            let mac = wanted.mac.as_ref().and_then(|text| text.parse().ok());
            let wish = EndpointWish { name, mac, addresses: &addresses };
            let (mac, given) = self.grant_endpoint(&source, id, wish, grants).await?;
            // The very network that gave them, whatever becomes of its name.
            wanted.network = network.to_string();
            wanted.id = Some(id);
            wanted.mac = wanted.mac.take().or(mac.map(|mac| mac.to_string()));
            for address in given {
                match address {
                    IpAddr::V4(ip) => wanted.ip = Some(ip),
                    IpAddr::V6(ip6) => wanted.ip6 = Some(ip6),
                }
            }
        }
        Ok(())
    }

    /// Asks for the addresses of one endpoint; its station address too, where the plugin is told
    /// it.
    pub(super) async fn grant_endpoint(
        &self,
        source: &Source,
        id: Id,
        wish: EndpointWish<'_>,
        grants: &mut Grants,
    ) -> Result<(Option<MacAddr>, Vec<IpAddr>), Rejected> {
        let Source { driver, pools } = source;
        let give_up = self.shared.remotes.plugins.patience().give_up();
        let remote = self.remote(driver, give_up).await?;
        let mac = remote.requires_mac().then(|| wish.mac.unwrap_or(station_address(&id, 0)));
        let mut haul = Haul::default();
        let wish = EndpointWish { mac, ..wish };
        let given = grant::endpoint(&remote, pools, wish, give_up, &mut haul).await;
        grants.note(driver, haul.kept);
        let given = given?;
        let chosen = given.iter().filter(|address| !wish.addresses.contains(address));
        grants.chosen.extend(chosen.map(|address| (driver.to_owned(), *address)));
        Ok((mac, given))
    }

    /// What came of an edit for which plugins gave something: when it was refused, that goes back.
    pub(super) async fn conclude<T>(
        &self,
        grants: Grants,
        outcome: Result<T, Rejected>,
    ) -> Result<T, Rejected> {
        let Err(rejected) = outcome else { return outcome };
        for mut returned in grants.returned {
            // What came last goes back first.
            returned.given.reverse();
            self.give_back(returned).await;
        }
        // Whoever asked for no address is not to blame for one that is taken.
        let given_twice = match rejected.refusal.as_deref() {
            Some(Refusal::AddressTaken { address, by, .. }) => {
                let mut chosen = grants.chosen.into_iter();
                chosen.find(|(_, own)| own == address).map(|(driver, address)| {
                    let source = AnswerError::Taken { address, by: by.clone() };
                    PluginError::Answer {
                        plugin: driver.into(),
                        call: Call::RequestAddress,
                        source,
                    }
                })
            }
            Some(_) | None => None,
        };
        Err(given_twice.map_or(rejected, Rejected::from))
    }
}

/// An address of an endpoint's.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) name: String,
    pub(super) mac: MacAddr,
    pub(super) address: IpAddr,
}

/// Where the addresses of a network's endpoints come from.
#[derive(Debug)]
pub(super) struct Source {
    driver: String,
    pools: Vec<RemotePool>,
}

impl Source {
    /// The plugin of a network, if its addresses come from one.
    pub(super) fn of(network: &Network) -> Option<Self> {
        let driver = network.ipam.driver.plugin()?.to_owned();
        let pool = |own: &Subnet| {
            let id = own.pool.clone()?;
            Some(RemotePool { id, subnet: own.subnet, gateway: own.gateway })
        };
        Some(Self { driver, pools: network.subnets.iter().filter_map(pool).collect() })
    }

    /// The plugin of a network that is about to be made.
    pub(super) fn coming(spec: &NetworkSpec) -> Option<Self> {
        let driver = spec.ipam.driver.plugin()?.to_owned();
        let pool = |own: &SubnetSpec| {
            let (id, subnet) = (own.pool.clone()?, own.subnet?);
            Some(RemotePool { id, subnet, gateway: own.gateway })
        };
        Some(Self { driver, pools: spec.subnets.iter().filter_map(pool).collect() })
    }
}

impl Grants {
    fn note(&mut self, driver: &str, given: Vec<Given>) {
        self.returned.push(Returned { driver: driver.to_owned(), given });
    }
}

impl From<PluginError> for Rejected {
    fn from(error: PluginError) -> Self {
        let status = if let PluginError::NotFound { .. } = error { 404 } else { 500 };
        Self::new(status, crate::cli::chain(&error)).help(error.help())
    }
}

impl State {
    /// What a driver gave to networks and endpoints that are there, to be asked for again.
    pub(super) fn given_by(&self, driver: &str) -> Vec<(Network, Vec<Held>)> {
        let networks = self.model.networks();
        let own = networks.filter(|network| network.ipam.driver.plugin() == Some(driver));
        let with_endpoints = own.map(|network| {
            let endpoints = self.model.endpoints_of(network.id);
            let addresses = endpoints.flat_map(|endpoint| {
                endpoint.addresses.iter().map(move |own| Held {
                    name: endpoint.name.clone(),
                    mac: endpoint.mac.unwrap_or_default(),
                    address: own.ip(),
                })
            });
            (network.clone(), addresses.collect())
        });
        with_endpoints.collect()
    }
}
