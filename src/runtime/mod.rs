//! The data path as the control plane sees it: switches, ports, workers.
//!
//! [`Runtime`] is the only code that turns a wish about ports into system calls. Each of its changes
//! builds a new [`Picture`] and publishes it; the [workers](worker) adopt it. A port that was
//! removed is [closed](closer) when no worker holds it any more, and only then is its number free
//! again: a late frame can at worst be dropped, never reach a stranger.

pub mod balance;
pub mod clock;
pub mod closer;
pub mod decide;
pub mod picture;
pub mod uplink;
pub mod worker;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError, Weak};

use arc_swap::ArcSwap;
use weft_frame::MacAddr;
use weft_switch::{
    Binding, DropReason, Entry, Fdb, Group, Guard, NetworkId, PortConfig, PortId, StormControl,
    Topology, UplinkMode,
};

use crate::cnm::Id;
use crate::cnm::options::{LiveOptions, NetworkOptions, Spoof};
use crate::port::counters::Totals;
use crate::port::{Port, PortError};
use balance::{Burden, Watch};
use clock::Clock;
use closer::{Closer, Past};
use picture::{Picture, Published};
use uplink::UplinkState;
use worker::Handle;

/// The split-horizon group of endpoints that may not reach each other.
const ISOLATED: Group = Group(1);
/// An endpoint may teach a switch this part of what it holds.
const SHARES: usize = 4;
/// FDB slots looked at per tick and network.
const AGEING_BUDGET: usize = 1 << 16;

/// How a port's frames reach us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A TAP.
    Tap,
    /// A stream socket with QEMU's framing.
    Stream,
    /// An interface of the host's: the network's way out.
    Uplink(UplinkMode),
}

/// The station behind a port.
#[derive(Clone, Debug)]
pub struct Station {
    /// Its MAC.
    pub mac: MacAddr,
    /// Its addresses.
    pub addresses: Vec<std::net::IpAddr>,
    /// How its frames reach us.
    pub medium: Medium,
}

/// Why a port was not added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddPortError {
    /// The descriptor is no port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// An uplink is no endpoint's port.
    #[error("an uplink is no port of an endpoint")]
    NotEndpoint,
    /// The network has no switch.
    #[error("the network has no switch")]
    NoSwitch,
    /// Every number is in use.
    #[error("all 65535 ports are in use")]
    NoNumber,
}

/// The switches, the ports, and the threads that serve them.
#[derive(Debug)]
pub struct Runtime {
    published: Published,
    workers: Vec<Handle>,
    clock: Clock,
    switches: BTreeMap<Id, SwitchState>,
    /// The switches with ports, by the numbers that the picture has them under.
    live: BTreeMap<NetworkId, Id>,
    ports: BTreeMap<PortId, PortState>,
    uplinks: BTreeMap<Id, UplinkState>,
    /// Numbers of ports that a worker may still hold.
    retired: HashMap<PortId, (Weak<Port>, Arc<Fdb>)>,
    last_number: u16,
    watch: Watch,
    closer: Closer,
    seed: u64,
}

#[derive(Debug)]
struct SwitchState {
    /// What it has while it has ports. A network that nobody is in costs nothing here.
    live: Option<Live>,
    options: LiveOptions,
    mtu: u16,
    fdb_capacity: u32,
    ageing: usize,
    /// What was counted at ports of this network that have gone since.
    past: Past,
}

#[derive(Debug)]
struct Live {
    number: NetworkId,
    fdb: Arc<Fdb>,
    ports: usize,
}

#[derive(Debug)]
struct PortState {
    port: Arc<Port>,
    network: Id,
    station: Station,
    storm: Option<Arc<StormControl>>,
    /// The worker that is to read it.
    reader: usize,
}

impl Runtime {
    /// Starts `workers` threads.
    ///
    /// `seed` keys the hash tables that guests fill.
    ///
    /// # Errors
    /// When the process is out of descriptors or threads.
    pub fn start(workers: usize, seed: u64) -> io::Result<Self> {
        let published: Published = Arc::new(ArcSwap::from_pointee(Picture::default()));
        let clock = Clock::start();
        let workers = (0..workers.max(1))
            .map(|index| Handle::start(index, &published, clock))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            published,
            workers,
            clock,
            switches: BTreeMap::new(),
            live: BTreeMap::new(),
            ports: BTreeMap::new(),
            uplinks: BTreeMap::new(),
            retired: HashMap::new(),
            last_number: 0,
            watch: Watch::default(),
            closer: Closer::start()?,
            seed,
        })
    }

    /// How many threads there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Makes a switch for a network.
    pub fn add_switch(&mut self, network: Id, options: &NetworkOptions) {
        let switch = SwitchState {
            live: None,
            options: options.live,
            mtu: options.mtu,
            fdb_capacity: options.fdb_capacity,
            ageing: 0,
            past: Past::default(),
        };
        self.switches.insert(network, switch);
    }

    /// Changes what can change on a running switch.
    pub fn update_switch(&mut self, network: Id, options: LiveOptions) {
        let Some(switch) = self.switches.get_mut(&network) else { return };
        switch.options = options;
        let storm = options.storm_control.map(std::num::NonZeroU32::get);
        for state in self.ports.values_mut().filter(|state| state.network == network) {
            state.storm = storm.map(new_storm_control);
            if let Some(live) = &switch.live {
                pin_station(&live.fdb, &state.station, state.port.id, options.spoof);
            }
        }
        if switch.live.is_some() {
            self.publish();
        }
    }

    /// Removes a network's switch and its uplink. Its other ports must have gone before.
    pub fn remove_switch(&mut self, network: Id) {
        self.remove_uplink(network);
        let live = self.switches.remove(&network).and_then(|switch| switch.live);
        if let Some(live) = live {
            self.live.remove(&live.number);
            self.publish();
        }
    }

    /// Adds a port to a network's switch.
    ///
    /// # Errors
    /// See [`AddPortError`].
    pub fn add_port(
        &mut self,
        network: Id,
        station: Station,
        descriptor: OwnedFd,
    ) -> Result<PortId, AddPortError> {
        let medium = station.medium;
        self.insert_port(network, station, |id, mtu, workers| match medium {
            Medium::Tap => Ok(Port::tap(id, mtu, workers, descriptor)?),
            Medium::Stream => Ok(Port::stream(id, mtu, workers, descriptor)?),
            Medium::Uplink(_) => Err(AddPortError::NotEndpoint),
        })
    }

    /// Makes a port, by its number, its MTU and the number of workers, and shows it to them.
    fn insert_port(
        &mut self,
        network: Id,
        station: Station,
        make: impl FnOnce(PortId, u16, usize) -> Result<Port, AddPortError>,
    ) -> Result<PortId, AddPortError> {
        let id = self.free_number().ok_or(AddPortError::NoNumber)?;
        let switch = self.switches.get_mut(&network).ok_or(AddPortError::NoSwitch)?;
        let port = make(id, switch.mtu, self.workers.len())?;
        self.last_number = id.get();
        let live = switch.live.get_or_insert_with(|| {
            let number = free_network(&self.live);
            self.live.insert(number, network);
            let seed = self.seed.rotate_left(u32::from(number.0)) ^ u64::from(number.0);
            let capacity = switch.fdb_capacity as usize;
            let fdb = Arc::new(Fdb::new(capacity, capacity / SHARES, seed));
            Live { number, fdb, ports: 0 }
        });
        live.ports += 1;
        pin_station(&live.fdb, &station, id, switch.options.spoof);
        let storm = switch.options.storm_control.map(|rate| new_storm_control(rate.get()));
        let port = Arc::new(port);
        self.ports.insert(id, PortState { port, network, station, storm, reader: 0 });
        self.publish();
        Ok(id)
    }

    /// Removes a port; its counters go on in the network's sum of past ports.
    pub fn remove_port(&mut self, id: PortId) {
        let Some(state) = self.ports.remove(&id) else { return };
        let Some(switch) = self.switches.get_mut(&state.network) else { return };
        let Some(live) = &mut switch.live else { return };
        let fdb = Arc::clone(&live.fdb);
        live.ports -= 1;
        if live.ports == 0 {
            // All that was learned was learned from its ports.
            self.live.remove(&live.number);
            switch.live = None;
        }
        let past = Arc::clone(&switch.past);
        self.publish();
        fdb.forget(id);
        let closing = self.closer.close(state.port, past);
        self.retired.insert(id, (closing, fdb));
    }

    /// Does what has to be done from time to time: ages the FDBs, frees the numbers of ports that
    /// nobody holds any more, sees to the parents. To be called about once a second.
    pub fn tick(&mut self) {
        self.tend_uplinks();
        self.balance();
        let now = self.clock.now();
        for id in self.live.values() {
            let Some(switch) = self.switches.get_mut(id) else { continue };
            let Some(live) = &switch.live else { continue };
            let age = switch.options.fdb_age_s;
            switch.ageing = live.fdb.age(now, age, switch.ageing, AGEING_BUDGET);
        }
        self.retired.retain(|id, (port, fdb)| {
            let held = port.strong_count() > 0;
            if !held {
                // A frame that was under way may have been learned after the port was removed.
                fdb.forget(*id);
            }
            held
        });
    }

    /// Spreads the ports over the workers by how busy those are.
    fn balance(&mut self) {
        let Some(loads) = self.watch.loads(&self.workers) else { return };
        for (worker, load) in self.workers.iter_mut().zip(&loads) {
            if let Some(for_bulk) = balance::wants_bulk(*load) {
                worker.schedule(for_bulk);
            }
        }
        let burdens: Vec<Burden> = self
            .ports
            .iter()
            .map(|(id, state)| {
                let cost = self.watch.cost(*id, &state.port.totals());
                Burden { port: *id, reader: state.reader, cost }
            })
            .collect();
        self.watch.forget_except(&self.ports);
        let moves = balance::moves(&loads, &burdens);
        if moves.is_empty() {
            return;
        }
        for (id, reader) in moves {
            if let Some(state) = self.ports.get_mut(&id) {
                state.reader = reader;
            }
        }
        self.publish();
    }

    /// The ports of endpoints whose other side has gone.
    pub fn gone_ports(&self) -> Vec<PortId> {
        let is_endpoint = |state: &&PortState| match state.station.medium {
            Medium::Tap | Medium::Stream => true,
            Medium::Uplink(_) => false,
        };
        let endpoints = self.ports.values().filter(is_endpoint);
        endpoints.filter(|s| s.port.is_gone()).map(|s| s.port.id).collect()
    }

    /// What a port has counted, and the worker that reads it.
    pub fn port_totals(&self, id: PortId) -> Option<(Totals, usize)> {
        self.ports.get(&id).map(|state| (state.port.totals(), state.reader))
    }

    /// What was counted at ports of a network that have gone since.
    pub fn past_totals(&self, network: Id) -> Option<Totals> {
        let past = &self.switches.get(&network)?.past;
        Some(past.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// A network's FDB: each entry with its age in seconds.
    pub fn fdb(&self, network: Id) -> Vec<(Entry, u32)> {
        let now = self.clock.now();
        let live = self.switches.get(&network).and_then(|switch| switch.live.as_ref());
        let Some(live) = live else { return Vec::new() };
        let mut entries: Vec<_> =
            live.fdb.entries().map(|entry| (entry, entry.age_s(now))).collect();
        entries.sort_by_key(|(entry, _)| (entry.port, entry.address));
        entries
    }

    /// Ends the workers and waits for them: from then on no frame is taken from any port. Ports are
    /// closed later, when this is dropped.
    pub fn stop(&mut self) {
        self.published.store(Arc::new(Picture::last()));
        for worker in &mut self.workers {
            worker.wake();
            worker.join();
        }
    }

    fn free_number(&self) -> Option<PortId> {
        let after = (self.last_number..u16::MAX).chain(0..self.last_number);
        after
            .filter_map(|number| PortId::new(number + 1))
            .find(|id| !self.ports.contains_key(id) && !self.retired.contains_key(id))
    }

    fn publish(&mut self) {
        let mut topology = Topology::builder();
        let live = |id| self.switches.get(id).and_then(|own: &SwitchState| own.live.as_ref());
        for live in self.live.values().filter_map(live) {
            topology = topology.network(live.number, Arc::clone(&live.fdb));
        }
        for state in self.ports.values() {
            let Some(switch) = self.switches.get(&state.network) else { continue };
            if let Some(live) = &switch.live {
                topology = topology.port(state.port.id, config(live.number, switch, state));
            }
        }
        let ports = self.ports.values().map(|state| (Arc::clone(&state.port), state.reader));
        self.published.store(Arc::new(Picture::new(topology.build(), ports)));
        for worker in &self.workers {
            worker.wake();
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop();
        self.closer.finish();
    }
}

/// A number that no switch has: the one after the highest, or else the lowest that is free.
fn free_network(live: &BTreeMap<NetworkId, Id>) -> NetworkId {
    let highest = live.keys().next_back().map_or(0, |last| last.0);
    let free = (highest..=u16::MAX).chain(0..highest).map(NetworkId);
    let mut free = free.filter(|number| !live.contains_key(number));
    free.next().expect("each switch here has a port, and there are no more ports than numbers")
}

/// What the switch has to know of a port.
fn config(network: NetworkId, switch: &SwitchState, state: &PortState) -> PortConfig {
    let open =
        PortConfig { storm: state.storm.clone(), mtu: switch.mtu, ..PortConfig::open(network) };
    if let Medium::Uplink(mode) = state.station.medium {
        return PortConfig { uplink: Some(mode), ..open };
    }
    let guard = match switch.options.spoof {
        Spoof::Allow => Guard::Off,
        Spoof::Deny => {
            let Station { mac, addresses, medium } = &state.station;
            // A guest behind a stream chooses its link-local address itself.
            Guard::On(Binding::new(*mac, addresses, *medium == Medium::Stream))
        }
    };
    PortConfig {
        group: switch.options.isolated.then_some(ISOLATED),
        isolated: switch.options.isolated,
        guard,
        ..open
    }
}

/// With the guard on, the place of a station is known and need not be learned.
fn pin_station(fdb: &Fdb, station: &Station, port: PortId, spoof: Spoof) {
    if let Medium::Uplink(_) = station.medium {
        return;
    }
    match spoof {
        Spoof::Allow => {
            fdb.remove_static(station.mac);
        }
        Spoof::Deny => {
            if fdb.insert_static(station.mac, port).is_err() {
                // Then it is learned when it is heard.
                tracing::warn!(mac = %station.mac, "the FDB has no room for a static entry");
            }
        }
    }
}

/// A port may flood its rate, in bursts of a tenth of a second's worth.
fn new_storm_control(rate: u32) -> Arc<StormControl> {
    Arc::new(StormControl::new(rate, (rate / 10).max(1)))
}

/// The reasons that were counted, with how often.
pub fn counted(totals: &Totals) -> impl Iterator<Item = (DropReason, u64)> + '_ {
    DropReason::ALL
        .iter()
        .map(|reason| (*reason, totals.drops[reason.index()]))
        .filter(|(_, n)| *n > 0)
}
