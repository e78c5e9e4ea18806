//! What the file declares, brought about: at the start and at each reload.

use std::path::PathBuf;

use super::failure::Rejected;
use super::managed::Managed;
use super::{Control, State, new_id, unix_millis};
use crate::cnm::plan::{Change, plan};
use crate::cnm::{Declared, Edit, Id};
use crate::config::Config;

impl Control {
    /// Reads the file again and applies what is different. A file with an error changes nothing.
    ///
    /// # Errors
    /// When there is no file, it has an error, or a change breaks a rule; then nothing has changed.
    pub(crate) fn reload(&self) -> Result<Vec<String>, Rejected> {
        let file: PathBuf = self.settings().file.clone().ok_or_else(|| {
            Rejected::new(400, "this appliance was started without a file")
                .help("start it with `weft up FILE` to have something to reload")
        })?;
        let config =
            Config::load(&file).map_err(|errors| Rejected::new(400, errors.to_string()))?;
        self.declare(&config.declared)
    }

    /// Makes things as `wanted` declares them; a line for each change.
    ///
    /// # Errors
    /// The first change that breaks a rule; those before it have been undone.
    pub(crate) fn declare(&self, wanted: &Declared) -> Result<Vec<String>, Rejected> {
        let changes = {
            let state = &mut *self.state();
            let changes = plan(&state.declared, wanted);
            state.refuse_to_cut_off(&changes)?;
            let mut done: Vec<&Change> = Vec::new();
            for change in &changes {
                if let Err(rejected) = state.carry_out(self, change) {
                    for change in done.into_iter().rev() {
                        if let Err(stuck) = state.carry_out(self, &change.inverse()) {
                            tracing::error!(error = stuck.failure.message, "cannot be undone");
                        }
                    }
                    return Err(rejected);
                }
                done.push(change);
            }
            changes
        };
        self.membership_changed();
        for change in &changes {
            tracing::info!("{change}");
        }
        Ok(changes.iter().map(ToString::to_string).collect())
    }
}

impl State {
    /// Refuses a plan that would remove a network under sandboxes that the file does not know.
    fn refuse_to_cut_off(&self, changes: &[Change]) -> Result<(), Rejected> {
        for change in changes {
            let Change::RemoveNetwork { name, .. } = change else { continue };
            let users: Vec<&str> = self
                .sandboxes
                .values()
                .filter(|s| s.endpoints.iter().any(|e| !e.declared && e.assigned.network == *name))
                .map(|sandbox| sandbox.name.as_str())
                .collect();
            if !users.is_empty() {
                let users = users.join(", ");
                let message = format!("network {name} has to be made anew, and {users} is on it");
                return Err(Rejected::new(409, message)
                    .help("stop what the file did not start, with `weft stop NAME`"));
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, control: &Control, change: &Change) -> Result<(), Rejected> {
        match change {
            Change::RemoveEndpoint { name, was } => self.retract(name, &was.network),
            Change::RemoveNetwork { name, .. } => {
                let id = self.model.resolve(name)?.id;
                self.model.apply(Edit::RemoveNetwork(name.clone()))?;
                self.runtime.remove_switch(id);
            }
            Change::UpdateNetwork { name, to, .. } => {
                let id = self.model.resolve(name)?.id;
                let update = to.clone();
                self.model.apply(Edit::UpdateNetwork { network: name.clone(), update })?;
                self.runtime.update_switch(id, to.options);
            }
            Change::AddNetwork { name, network } => {
                let id = fresh_id()?;
                self.model.apply(Edit::AddNetwork(network.spec(name, id, unix_millis())))?;
                if network.driver.is_switched() {
                    self.runtime.add_switch(id, &network.options);
                }
            }
            Change::AddEndpoint { name, endpoint } => {
                self.model.apply(Edit::AddEndpoint(endpoint.spec(name, fresh_id()?)))?;
                self.managed.insert(name.clone(), Managed::start(control, name, endpoint));
            }
        }
        self.declared.apply(change);
        Ok(())
    }

    /// Takes a declared endpoint away: its process, its port, its addresses.
    fn retract(&mut self, name: &str, network: &str) {
        if let Some(managed) = self.managed.remove(name) {
            managed.stop();
        }
        let sandbox = self.sandboxes.values().find(|s| s.declared && s.name == *name);
        if let Some(id) = sandbox.map(|sandbox| sandbox.id) {
            self.remove_sandbox(id);
        }
        let network = self.model.resolve(network).map(|network| network.id);
        let endpoint = network.ok().and_then(|id| self.model.endpoint_named(id, name));
        if let Some(id) = endpoint.map(|endpoint| endpoint.id) {
            // It was found a moment ago, under the same lock.
            let _ = self.model.apply(Edit::RemoveEndpoint(id));
        }
    }
}

fn fresh_id() -> Result<Id, Rejected> {
    new_id().map_err(|error| Rejected::new(500, error.to_string()))
}
