//! The control plane: what exists, and its changes.
//!
//! [`Control`] holds the [`Model`], the [`Runtime`] and the sandboxes under one lock that is held
//! for short, never across a wait. The API's handlers, the life lines and the reload all change
//! things through it, and each change either happens whole or is refused with nothing changed.

pub mod declared;
pub mod failure;
mod hosts;
pub mod lifelines;
pub mod managed;
pub mod memberships;
mod names;
pub mod networks;
pub mod sandboxes;
pub mod tables;
mod uplinks;
mod winding_down;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::rand::{GetRandomFlags, getrandom};
use tokio::sync::{Notify, OnceCell, watch};

use crate::api::shapes::Ended;
use crate::cnm::{BuiltIns, Declared, Id, Model, Network, Origin};
use crate::runtime::Runtime;
use managed::Managed;
use names::Names;
use sandboxes::Sandbox;
use weft_ipam::{DefaultPools, GlobalId};

/// What an appliance is started with.
#[derive(Debug)]
pub struct Settings {
    /// The appliance's name.
    pub name: String,
    /// The API socket.
    pub socket: PathBuf,
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// Whether it ends when idle.
    pub on_demand: bool,
    /// Data-path threads.
    pub workers: usize,
    /// Where addresses come from when nobody says.
    pub default_pools: DefaultPools,
}

/// The control plane of one appliance, shared by everything that serves it.
#[derive(Clone, Debug)]
pub struct Control {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    started: Instant,
    state: Mutex<State>,
    /// Goes up when an endpoint came or went, so that life lines tell the neighbours' names.
    membership: watch::Sender<u64>,
    /// What winding down has ended. It happens once, whoever asks how often.
    wound_down: OnceCell<Ended>,
    /// Asks the appliance to end.
    ending: Notify,
}

/// What the lock protects.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) model: Model,
    pub(crate) runtime: Runtime,
    pub(crate) sandboxes: BTreeMap<Id, Sandbox>,
    pub(crate) declared: Declared,
    pub(crate) managed: BTreeMap<String, Managed>,
    /// The names of the sandboxes.
    pub(crate) names: Names,
    /// Messages with hosts files, until a name or address changes.
    pub(crate) hosts: hosts::Messages,
    /// Whether the appliance is about to end: then nothing new begins, and nobody needs to know who
    /// else has gone.
    pub(crate) ending: bool,
    /// When the last sandbox went, or the appliance started.
    pub(crate) idle_since: Instant,
}

impl Control {
    /// A control plane with the built-in networks.
    ///
    /// # Errors
    /// When the workers cannot be started.
    pub fn new(settings: Settings) -> std::io::Result<Self> {
        let built_ins = BuiltIns {
            bridge: new_id()?,
            host: new_id()?,
            none: new_id()?,
            created: unix_millis(),
        };
        let mut seed = [0; 8];
        fill_random(&mut seed)?;
        let mut runtime = Runtime::start(settings.workers, u64::from_ne_bytes(seed))?;
        let taken = crate::sandbox::link::host_subnets().unwrap_or_default();
        let pools = settings.default_pools.clone().with_ula(global_id()?);
        let model = Model::new(pools, taken, built_ins);
        for network in model.networks().filter(|network| network.driver.is_switched()) {
            runtime.add_switch(network.id, &network.options);
        }
        let state = State {
            model,
            runtime,
            sandboxes: BTreeMap::new(),
            declared: Declared::default(),
            managed: BTreeMap::new(),
            names: Names::default(),
            hosts: BTreeMap::new(),
            ending: false,
            idle_since: Instant::now(),
        };
        let shared = Shared {
            settings,
            started: Instant::now(),
            state: Mutex::new(state),
            membership: watch::Sender::new(0),
            wound_down: OnceCell::new(),
            ending: Notify::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What the appliance was started with.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// When it started.
    pub fn started(&self) -> Instant {
        self.shared.started
    }

    /// The state, for a short while.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // The program ends at a panic. A test goes on, and shows the panic, not this lock.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the life lines that names or addresses changed.
    pub(crate) fn membership_changed(&self) {
        if self.state().ending {
            return;
        }
        self.shared.membership.send_modify(|generation| *generation += 1);
    }

    /// Follows changes of names and addresses.
    pub(crate) fn membership(&self) -> watch::Receiver<u64> {
        self.shared.membership.subscribe()
    }

    /// Stops the data path, so that another appliance can take the ports over.
    pub fn stop(&self) {
        self.state().runtime.stop();
    }

    /// Asks the appliance to end.
    pub fn end(&self) {
        self.shared.ending.notify_one();
    }

    /// Waits until somebody asks the appliance to end.
    pub async fn ended(&self) {
        self.shared.ending.notified().await;
    }

    /// How long there has been nothing that somebody needs: no sandbox, and no network that was
    /// made by hand; none while there is one.
    pub fn idle(&self) -> Option<std::time::Duration> {
        let state = self.state();
        let is_made = |network: &Network| network.origin == Origin::Api;
        let is_idle = state.sandboxes.is_empty() && !state.model.networks().any(is_made);
        is_idle.then(|| state.idle_since.elapsed())
    }
}

/// A new id.
///
/// # Errors
/// When the kernel has no randomness, which it always has.
pub(crate) fn new_id() -> std::io::Result<Id> {
    let mut octets = [0; 32];
    fill_random(&mut octets)?;
    Ok(Id::new(octets))
}

/// The 40 bits that IPv6 subnets of this host begin with when nobody says (RFC 4193 §3.2.2): always
/// the same on one machine, and hardly ever the same on two.
fn global_id() -> std::io::Result<GlobalId> {
    let mut octets = [0; 5];
    match std::fs::read("/etc/machine-id") {
        Ok(machine) if !machine.is_empty() => {
            let mut hasher = DefaultHasher::new();
            hasher.write(&machine);
            octets.copy_from_slice(&hasher.finish().to_be_bytes()[..5]);
        }
        Ok(_) | Err(_) => fill_random(&mut octets)?,
    }
    Ok(GlobalId(octets))
}

fn fill_random(octets: &mut [u8]) -> std::io::Result<()> {
    getrandom(octets, GetRandomFlags::empty())?;
    Ok(())
}

/// Now, in milliseconds of Unix time.
pub(crate) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
