//! Plugins: programs of somebody else's that give networks their addresses.
//!
//! A custom IPAM driver speaks Docker's remote IPAM protocol, and weft calls it as Docker Engine
//! does: found by its name (`discovery`), one HTTP request per call (`call`), activated when it is
//! used for the first time ([`Plugins::ipam`]). [`RemoteIpam`] has one method for each call of the
//! protocol; [`grant`] makes of them what a network and an endpoint need, all or nothing.
//!
//! # Promises
//! - A plugin can be slow, wrong or hostile: every wait and every answer has a bound, every answer
//!   is checked before anything believes it, and each failure names the plugin and the call.
//! - What a plugin has given is either returned to the caller or given back, also when the answer
//!   comes after nobody waits for it any more.
//! - What a plugin says of itself is shown in the engine's words: `remote: …`.
//!
//! # Limits
//! Plugins that Docker Engine manages itself (`docker plugin install`) are its own, and TLS is
//! refused. A call whose answer was lost is repeated only when that can do no harm; the engine
//! repeats every call, with an empty body.
//!
//! # Sources
//! Docker's plugin API (discovery, activation) and libnetwork's `remote` IPAM driver, as recorded
//! from engines 20.10, 28.5 and 29.7.

mod call;
mod discovery;
mod error;
pub mod grant;
mod ipam;
mod patience;
mod shapes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use call::Call;
use call::Plugin;
pub use discovery::{Address, Directories, SpecError};
pub use error::{AnswerError, PluginError};
pub use ipam::{AddressWish, PoolWish, RemoteIpam, RemotePool};
pub use patience::Patience;
use shapes::{Activated, Capabilities};

/// The most plugins that are remembered; one more, and all are forgotten and asked again.
const MAX_KNOWN: usize = 64;
/// The most calls to one plugin that are under way at once; the next one waits.
const MAX_CALLS: usize = 64;
/// The most answers of one plugin that are still listened for when nobody waits for them.
const MAX_LATE: usize = 16;
/// What a plugin has to implement to give addresses.
const IPAM: &str = "IpamDriver";

/// Where plugins are, and which of them have been activated.
#[derive(Debug)]
pub struct Plugins {
    directories: Arc<Directories>,
    patience: Patience,
    known: Mutex<BTreeMap<String, Known>>,
}

/// What is remembered of a plugin.
#[derive(Debug)]
struct Known {
    plugin: Plugin,
    /// What it said when it was activated.
    capabilities: Option<Capabilities>,
}

impl Plugins {
    /// Plugins in these directories.
    pub fn new(directories: Directories, patience: Patience) -> Self {
        Self { directories: Arc::new(directories), patience, known: Mutex::default() }
    }

    /// Plugins where Docker has them, and in `more` before that.
    pub fn found_in(more: Vec<PathBuf>) -> Self {
        Self::new(Directories::standard(more), Patience::default())
    }

    /// How long plugins are waited for.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// The IPAM driver called `name`. It is activated when it is asked for first, and then taken
    /// to stay what it is, as the engine does.
    ///
    /// # Errors
    /// When there is no such plugin by `give_up`, or it gives no addresses.
    pub async fn ipam(&self, name: &str, give_up: Instant) -> Result<RemoteIpam, PluginError> {
        let (plugin, capabilities) = self.recall(name);
        if let Some(capabilities) = capabilities {
            return Ok(RemoteIpam::new(plugin, capabilities));
        }
        let capabilities = activate(&plugin, give_up).await?;
        if let Some(known) = self.known().get_mut(name) {
            known.capabilities = Some(capabilities);
        }
        tracing::info!(plugin = name, "IPAM driver activated");
        Ok(RemoteIpam::new(plugin, capabilities))
    }

    /// What is known of a plugin.
    fn recall(&self, name: &str) -> (Plugin, Option<Capabilities>) {
        let mut known = self.known();
        if known.len() >= MAX_KNOWN && !known.contains_key(name) {
            known.clear();
        }
        let known = known.entry(name.to_owned()).or_insert_with(|| Known {
            plugin: Plugin {
                name: name.into(),
                directories: Arc::clone(&self.directories),
                patience: self.patience,
                calls: Arc::new(Semaphore::new(MAX_CALLS)),
                late: Arc::new(Semaphore::new(MAX_LATE)),
            },
            capabilities: None,
        });
        (known.plugin.clone(), known.capabilities)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shakes hands with a plugin, in the engine's order.
async fn activate(plugin: &Plugin, give_up: Instant) -> Result<Capabilities, PluginError> {
    let activated: Activated = plugin.ask(Call::Activate, Bytes::new(), give_up).await?;
    if !activated.implements.iter().any(|what| what == IPAM) {
        let implements = activated.implements.iter().take(8).map(|what| error::tamed(what));
        let implements = implements.collect();
        return Err(PluginError::NoIpam { plugin: plugin.name.clone(), implements });
    }
    match plugin.ask(Call::GetCapabilities, Bytes::new(), give_up).await {
        Ok(capabilities) => Ok(capabilities),
        // Plugins from before there were capabilities have none.
        Err(PluginError::Status { status: 404, .. }) => Ok(Capabilities::default()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
