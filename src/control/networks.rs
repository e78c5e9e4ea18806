//! Networks that somebody makes and removes by hand, over the API.
//!
//! What the file declares is left to the file: a reload would not know what became of it. What was
//! made here is in turn left alone by every reload.

use std::time::Instant;

use super::failure::Rejected;
use super::uplinks::open_parent;
use super::{Control, State};
use crate::cnm::{Edit, Id, Network, NetworkSpec, Origin};
use crate::sandbox::link::host_subnets;

impl Control {
    /// Makes a network and its switch.
    ///
    /// # Errors
    /// The rule that the network would break, or what is wrong with its parent.
    pub(crate) fn create_network(&self, mut spec: NetworkSpec) -> Result<Id, Rejected> {
        // Interfaces of the host come and go; subnets from the default pools keep clear of those
        // that are there now.
        let taken = host_subnets();
        let state = &mut *self.state();
        match taken {
            Ok(taken) => state.model.observe(taken),
            Err(error) => tracing::warn!(%error, "the host's subnets cannot be told"),
        }
        state.refuse_when_ending()?;
        let (id, name, driver) = (spec.id, spec.name.clone(), spec.driver);
        let packet = open_parent(&mut spec)?;
        state.model.apply(Edit::AddNetwork(spec))?;
        state.add_switch(id, packet);
        tracing::info!(network = name, %driver, "network made");
        Ok(id)
    }

    /// Removes a network that somebody made.
    ///
    /// # Errors
    /// When there is none, it is in use, or it is not for the caller to remove.
    pub(crate) fn remove_network(&self, reference: &str) -> Result<(), Rejected> {
        let state = &mut *self.state();
        let network = state.model.resolve(reference)?;
        if network.origin == Origin::File {
            let message = format!("network {} is declared by the file", network.name);
            return Err(
                Rejected::new(403, message).help("take it out of the file, then `weft reload`")
            );
        }
        let id = network.id;
        state.remove_network(id)
    }

    /// Removes every network that somebody made, that nobody is in, and that `is_meant`; their
    /// names.
    pub(crate) fn prune_networks(&self, is_meant: impl Fn(&Network) -> bool) -> Vec<String> {
        let state = &mut *self.state();
        let unused: Vec<(Id, String)> = state
            .model
            .networks()
            .filter(|network| match network.origin {
                Origin::Api => true,
                Origin::BuiltIn | Origin::File | Origin::Docker => false,
            })
            .filter(|network| state.model.endpoints_of(network.id).next().is_none())
            .filter(|network| is_meant(network))
            .map(|network| (network.id, network.name.clone()))
            .collect();
        let removed = unused.into_iter().filter(|(id, _)| state.remove_network(*id).is_ok());
        removed.map(|(_, name)| name).collect()
    }
}

impl State {
    fn remove_network(&mut self, id: Id) -> Result<(), Rejected> {
        self.model.apply(Edit::RemoveNetwork(id.to_string()))?;
        self.runtime.remove_switch(id);
        // An appliance that was started on demand waits a while for what comes next.
        self.idle_since = Instant::now();
        tracing::info!(network = %id.short(), "network removed");
        Ok(())
    }
}
