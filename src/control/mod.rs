//! The control plane: what exists, and its changes.
//!
//! [`Control`] holds the [`Model`], the [`Runtime`] and the sandboxes under one lock that is held
//! for short, never across a wait. The API's handlers, the life lines and the reload all change
//! things through it, one at a time ([`turn`]), and each change either happens whole, and is kept
//! by the store ([`durable`]) before anybody is told of it, or is refused with nothing changed.

mod debts;
pub mod declared;
pub mod durable;
pub mod failure;
mod hosts;
pub mod lifelines;
pub mod managed;
pub mod memberships;
mod names;
pub mod networks;
mod remote;
mod replay;
pub mod sandboxes;
pub mod tables;
mod turn;
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
use crate::cnm::{BuiltIns, Declared, Id, Model};
use crate::plugin::Plugins;
use crate::runtime::Runtime;
use crate::store::Store;
use debts::Debts;
use durable::{Awaited, StateError};
use hosts::Hosts;
use managed::Managed;
use names::Names;
use remote::Remotes;
use sandboxes::Sandbox;
use turn::Writes;
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
    /// The folder that what exists is kept in; none when it is not kept.
    pub state: Option<PathBuf>,
    /// Whether it ends when idle.
    pub on_demand: bool,
    /// Data-path threads.
    pub workers: usize,
    /// Where addresses come from when nobody says.
    pub default_pools: DefaultPools,
    /// Where plugins are looked for before Docker's own directories.
    pub plugin_dirs: Vec<PathBuf>,
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
    /// Where what exists is kept.
    store: Arc<dyn Store>,
    /// The plugins that give addresses.
    remotes: Remotes,
    /// Whoever has it edits the model.
    turnstile: tokio::sync::Mutex<()>,
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
    /// Whether what is declared is to be there. An appliance without a file keeps what one has
    /// declared before, and serves none of its endpoints.
    pub(crate) serves: bool,
    pub(crate) managed: BTreeMap<String, Managed>,
    /// The names of the sandboxes.
    pub(crate) names: Names,
    /// Messages with hosts files, until a name or address changes.
    pub(crate) hosts: Hosts,
    /// Sandboxes of an appliance before this one, until they are back or given up.
    pub(crate) awaited: BTreeMap<Id, Awaited>,
    /// What goes back to IPAM drivers.
    pub(crate) debts: Debts,
    /// What an edit changes of the declarations that are kept; written with its turn.
    pub(crate) declarations: Writes,
    /// What has changed already and is still to be written.
    pub(crate) owed: Writes,
    /// Whether the store has refused what is owed to it.
    pub(crate) is_behind: bool,
    /// Whether the appliance is about to end: then nothing new begins, and nobody needs to know who
    /// else has gone.
    pub(crate) ending: bool,
    /// When the last sandbox went, or the appliance started.
    pub(crate) idle_since: Instant,
}

impl Control {
    /// A control plane with what the store has kept, and the built-in networks.
    ///
    /// # Errors
    /// When the workers cannot be started, or what the store has kept cannot be taken up.
    pub async fn open(settings: Settings, store: Arc<dyn Store>) -> Result<Self, OpenError> {
        let built_ins = BuiltIns {
            bridge: new_id()?,
            host: new_id()?,
            none: new_id()?,
            created: unix_millis(),
        };
        let mut seed = [0; 8];
        fill_random(&mut seed)?;
        let runtime = Runtime::start(settings.workers, u64::from_ne_bytes(seed))?;
        let taken = crate::sandbox::link::host_subnets().unwrap_or_default();
        let pools = settings.default_pools.clone().with_ula(global_id()?);
        let mut model = Model::empty(pools, taken);
        let listing = store.list("").await.map_err(StateError::from)?;
        let mut restored = durable::restore(&mut model, &listing, &boot())?;
        model.build_in(built_ins);
        restored.writes.extend(durable::writes(&model));
        model.settle();
        let mut names = Names::default();
        for sandbox in restored.awaited.values() {
            names.take(&sandbox.name);
        }
        let mut state = State {
            model,
            runtime,
            sandboxes: BTreeMap::new(),
            declared: restored.declared,
            serves: false,
            managed: BTreeMap::new(),
            names,
            hosts: Hosts::default(),
            awaited: restored.awaited,
            debts: Debts::restored(restored.debts),
            declarations: Writes::new(),
            owed: restored.writes,
            is_behind: false,
            ending: false,
            idle_since: Instant::now(),
        };
        state.add_switches();
        let given = state.model.networks().filter_map(|network| network.ipam.driver.plugin());
        let drivers = given.map(str::to_owned).collect();
        let plugins = Plugins::found_in(settings.plugin_dirs.clone());
        let shared = Shared {
            remotes: Remotes::new(plugins, drivers),
            settings,
            started: Instant::now(),
            state: Mutex::new(state),
            store,
            turnstile: tokio::sync::Mutex::new(()),
            membership: watch::Sender::new(0),
            wound_down: OnceCell::new(),
            ending: Notify::new(),
        };
        let control = Self { shared: Arc::new(shared) };
        // So that a state that cannot be written is known at once. When nothing is different, the
        // sandboxes that live have their network back also where no room is left to write.
        control.pay().await.map_err(StateError::from)?;
        Ok(control)
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

    /// How long there has been no sandbox, and none that may come back; none while there is one.
    pub fn idle(&self) -> Option<std::time::Duration> {
        let state = self.state();
        let is_idle = state.sandboxes.is_empty() && state.awaited.is_empty();
        is_idle.then(|| state.idle_since.elapsed())
    }
}

/// Why an appliance cannot take up its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The process cannot be set up.
    #[error("the appliance cannot start")]
    Start(#[from] std::io::Error),
    /// What was kept cannot be taken up.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What this boot of the machine is called; nothing where the kernel does not tell.
fn boot() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim_end().to_owned()
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
