//! Networks that somebody makes and removes by hand, over the API.
//!
//! What the file declares is left to the file: a reload would not know what became of it. What was
//! made here is in turn left alone by every reload.

use std::time::Instant;

use super::failure::Rejected;
use super::remote::Grants;
use super::uplinks::open_parent;
use super::{Control, State};
use crate::cnm::{Edit, Id, Network, NetworkSpec, Origin};
use crate::sandbox::link::host_subnets;

impl Control {
    /// Makes a network and its switch.
    ///
    /// # Errors
    /// The rule that the network would break, or what is wrong with its parent.
    pub(crate) async fn create_network(&self, mut spec: NetworkSpec) -> Result<Id, Rejected> {
        let control = self.clone();
        // Carried to its end, so that nothing of a plugin's is lost with whoever does not wait.
        let created = tokio::spawn(async move {
            let mut grants = Grants::default();
            let outcome = match control.grant_network(&mut spec, &mut grants).await {
                Ok(()) => control.add_network(spec).await,
                Err(rejected) => Err(rejected),
            };
            control.conclude(grants, outcome).await
        });
        created.await.map_err(|error| Rejected::new(500, error.to_string()))?
    }

    async fn add_network(&self, mut spec: NetworkSpec) -> Result<Id, Rejected> {
        let packet = open_parent(&mut spec)?;
        let (id, name, driver) = (spec.id, spec.name.clone(), spec.driver);
        let edit = move |state: &mut State| {
            // Interfaces of the host come and go; subnets from the default pools keep clear of
            // those that are there now.
            match host_subnets() {
                Ok(taken) => state.model.observe(taken),
                Err(error) => tracing::warn!(%error, "the host's subnets cannot be told"),
            }
            state.model.apply(Edit::AddNetwork(spec))?;
            Ok(())
        };
        self.turn(edit, move |state, ()| {
            state.add_switch(id, packet);
            tracing::info!(network = name, %driver, "network made");
            id
        })
        .await
    }

    /// Removes a network that somebody made.
    ///
    /// # Errors
    /// When there is none, it is in use, or it is not for the caller to remove.
    pub(crate) async fn remove_network(&self, reference: String) -> Result<(), Rejected> {
        let edit = move |state: &mut State| {
            let network = state.model.resolve(&reference)?;
            if network.origin == Origin::File {
                let message = format!("network {} is declared by the file", network.name);
                return Err(Rejected::new(403, message).help(state.file_help()));
            }
            let (id, driver) = (network.id, network.ipam.driver.plugin().map(str::to_owned));
            state.model.apply(Edit::RemoveNetwork(id.to_string()))?;
            Ok((id, driver))
        };
        let removed = |state: &mut State, (id, driver): (Id, Option<String>)| {
            state.network_removed(id);
            driver
        };
        // Whoever makes a network next may want the same subnet.
        if let Some(driver) = self.turn(edit, removed).await? {
            self.settle(&driver).await;
        }
        Ok(())
    }

    /// Removes every network that somebody made, that nobody is in, and that `is_meant`; their
    /// names.
    ///
    /// # Errors
    /// When it cannot be kept; then all stay.
    pub(crate) async fn prune_networks(
        &self,
        is_meant: impl Fn(&Network) -> bool + Send + 'static,
    ) -> Result<Vec<String>, Rejected> {
        let edit = move |state: &mut State| {
            let unused = state.model.networks().filter(|network| match network.origin {
                Origin::Api => {
                    state.model.endpoints_of(network.id).next().is_none() && is_meant(network)
                }
                Origin::BuiltIn | Origin::File | Origin::Docker => false,
            });
            let unused: Vec<(Id, String)> =
                unused.map(|network| (network.id, network.name.clone())).collect();
            for (id, _) in &unused {
                state.model.apply(Edit::RemoveNetwork(id.to_string()))?;
            }
            Ok(unused)
        };
        self.turn(edit, |state, removed| {
            let removed = removed.into_iter().map(|(id, name)| {
                state.network_removed(id);
                name
            });
            removed.collect()
        })
        .await
    }
}

impl State {
    /// Takes away what a network had that the model has no more.
    pub(super) fn network_removed(&mut self, id: Id) {
        self.runtime.remove_switch(id);
        self.hosts.removed(id);
        // An appliance that was started on demand waits a while for what comes next.
        self.idle_since = Instant::now();
        tracing::info!(network = %id.short(), "network removed");
    }
}
