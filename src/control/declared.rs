//! What the file declares, brought about: at the start and at each reload.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use super::failure::Rejected;
use super::managed::Managed;
use super::remote::{Grants, Source};
use super::uplinks::open_parent;
use super::{Control, State, durable, new_id, unix_millis};
use crate::cnm::plan::{Change, plan};
use crate::cnm::{Declared, Edit, EndpointSpec, Id, Model, NetworkSpec, Origin};
use crate::config::Config;
use crate::plugin::grant::EndpointWish;
use crate::port::packet::Packet;

impl Control {
    /// Reads the file again and applies what is different. A file with an error changes nothing.
    ///
    /// # Errors
    /// When there is no file, it has an error, or a change breaks a rule; then nothing has changed.
    pub(crate) async fn reload(&self) -> Result<Vec<String>, Rejected> {
        let file: PathBuf = self.settings().file.clone().ok_or_else(|| {
            Rejected::new(400, "this appliance was started without a file")
                .help("start it with `weft up FILE` to have something to reload")
        })?;
        let config =
            Config::load(&file).map_err(|errors| Rejected::new(400, errors.to_string()))?;
        self.declare(config.declared).await
    }

    /// Makes things as `wanted` declares them; a line for each change.
    ///
    /// # Errors
    /// The first change that breaks a rule; then nothing has changed.
    pub(crate) async fn declare(&self, wanted: Declared) -> Result<Vec<String>, Rejected> {
        let control = self.clone();
        // Carried to its end, so that nothing of a plugin's is lost with whoever does not wait.
        let declared = tokio::spawn(async move { control.declare_whole(wanted).await });
        let changes = declared.await.map_err(|error| Rejected::new(500, error.to_string()))??;
        self.membership_changed();
        for change in &changes {
            tracing::info!("{change}");
        }
        Ok(changes.iter().map(ToString::to_string).collect())
    }

    async fn declare_whole(&self, wanted: Declared) -> Result<Vec<Change>, Rejected> {
        let (before, changes) = {
            let state = self.state();
            let changes = plan(&state.declared, &wanted);
            state.refuse_to_cut_off(&changes)?;
            (state.declared.clone(), changes)
        };
        let Some(cleared) = cleared(&before, &changes) else {
            return self.declare_once(wanted).await;
        };
        // A plugin does not give again what it has not got back.
        self.declare_once(cleared).await?;
        for driver in drivers(&before) {
            self.settle(driver).await;
        }
        if let Err(rejected) = self.declare_once(wanted).await {
            if let Err(also) = self.declare_once(before).await {
                let error = also.failure.message;
                tracing::error!(error, "what was declared before does not come back either");
            }
            return Err(rejected);
        }
        Ok(changes)
    }

    async fn declare_once(&self, wanted: Declared) -> Result<Vec<Change>, Rejected> {
        let changes = plan(&self.state().declared, &wanted);
        let mut grants = Grants::default();
        let outcome = match self.grant_changes(&changes, &mut grants).await {
            Ok(granted) => self.apply_changes(wanted, changes, granted).await,
            Err(rejected) => Err(rejected),
        };
        self.conclude(grants, outcome).await
    }

    /// Asks plugins for what comes.
    async fn grant_changes(
        &self,
        changes: &[Change],
        grants: &mut Grants,
    ) -> Result<Granted, Rejected> {
        let mut granted = Granted::default();
        for change in changes {
            match change {
                Change::AddNetwork { name, network } => {
                    let mut spec = network.spec(name, fresh_id()?, unix_millis());
                    if spec.ipam.driver.plugin().is_some() {
                        self.grant_network(&mut spec, grants).await?;
                        granted.networks.insert(name.clone(), spec);
                    }
                }
                Change::AddEndpoint { name, endpoint } => {
                    let mut spec = endpoint.spec(name, fresh_id()?);
                    let source = match granted.networks.get(&endpoint.network) {
                        Some(spec) => Source::coming(spec),
                        // A network that is not there is refused in the turn.
                        None => {
                            self.state().model.resolve(&endpoint.network).ok().and_then(Source::of)
                        }
                    };
                    if let Some(source) = source {
                        self.grant_declared(&source, &mut spec, grants).await?;
                        granted.endpoints.insert(name.clone(), spec);
                    }
                }
                Change::RemoveEndpoint { .. }
                | Change::RemoveNetwork { .. }
                | Change::UpdateNetwork { .. } => {}
            }
        }
        Ok(granted)
    }

    async fn grant_declared(
        &self,
        source: &Source,
        spec: &mut EndpointSpec,
        grants: &mut Grants,
    ) -> Result<(), Rejected> {
        let (ip, ip6) = (spec.ip.map(IpAddr::V4), spec.ip6.map(IpAddr::V6));
        let addresses: Vec<IpAddr> = ip.into_iter().chain(ip6).collect();
        let wish = EndpointWish { name: &spec.name, mac: spec.mac, addresses: &addresses };
        let (mac, given) = self.grant_endpoint(source, spec.id, wish, grants).await?;
        spec.mac = spec.mac.or(mac);
        for address in given {
            match address {
                IpAddr::V4(ip) => spec.ip = Some(ip),
                IpAddr::V6(ip6) => spec.ip6 = Some(ip6),
            }
        }
        Ok(())
    }

    async fn apply_changes(
        &self,
        wanted: Declared,
        planned: Vec<Change>,
        mut granted: Granted,
    ) -> Result<Vec<Change>, Rejected> {
        let edit = move |state: &mut State| {
            let changes = plan(&state.declared, &wanted);
            if changes != planned {
                return Err(Rejected::new(409, "the file was applied by somebody else meanwhile"));
            }
            state.refuse_to_cut_off(&changes)?;
            if !state.serves {
                state.make_way(&changes)?;
            }
            let tried = changes.iter().map(|change| edit(&mut state.model, change, &mut granted));
            let effects = tried.collect::<Result<Vec<Effect>, Rejected>>()?;
            state.declarations = durable::declarations(&changes, &wanted);
            Ok((changes, effects))
        };
        let control = self.clone();
        self.turn(edit, move |state, (changes, effects)| {
            for change in &changes {
                state.declared.apply(change);
            }
            for effect in effects {
                state.bring_about(effect);
            }
            state.serves = true;
            state.forget_who_made_way();
            state.serve(&control);
            changes
        })
        .await
    }
}

/// What plugins gave for networks and endpoints that come, by name.
#[derive(Default)]
struct Granted {
    networks: BTreeMap<String, NetworkSpec>,
    endpoints: BTreeMap<String, EndpointSpec>,
}

/// The plugins that networks of a file have.
fn drivers(declared: &Declared) -> BTreeSet<&str> {
    declared.networks.values().filter_map(|network| network.ipam.driver.plugin()).collect()
}

/// What was declared without what goes of it, when that had addresses from a plugin and something
/// comes that will have some: what is given back has to be given back first.
fn cleared(before: &Declared, changes: &[Change]) -> Option<Declared> {
    let is_remote = |network: &str| {
        let network = before.networks.get(network);
        network.is_some_and(|network| network.ipam.driver.plugin().is_some())
    };
    let mut cleared = before.clone();
    let (mut goes, mut comes) = (false, false);
    for change in changes {
        match change {
            Change::RemoveEndpoint { name, was } => {
                goes |= is_remote(&was.network);
                cleared.endpoints.remove(name);
            }
            Change::RemoveNetwork { name, .. } => {
                goes |= is_remote(name);
                cleared.networks.remove(name);
            }
            Change::AddNetwork { network, .. } => comes |= network.ipam.driver.plugin().is_some(),
            Change::AddEndpoint { endpoint, .. } => comes |= is_remote(&endpoint.network),
            Change::UpdateNetwork { .. } => {}
        }
    }
    (goes && comes).then_some(cleared)
}

/// What follows from a change outside the model.
enum Effect {
    Nothing,
    Retract(String),
    RemoveSwitch(Id),
    UpdateSwitch(Id),
    AddSwitch(Id, Option<Packet>),
}

/// Carries a change out on the model.
fn edit(model: &mut Model, change: &Change, granted: &mut Granted) -> Result<Effect, Rejected> {
    Ok(match change {
        Change::RemoveEndpoint { name, was } => {
            let network = model.resolve(&was.network)?.id;
            if let Some(id) = model.endpoint_named(network, name).map(|endpoint| endpoint.id) {
                model.apply(Edit::RemoveEndpoint(id))?;
            }
            Effect::Retract(name.clone())
        }
        Change::RemoveNetwork { name, .. } => {
            let id = model.resolve(name)?.id;
            model.apply(Edit::RemoveNetwork(name.clone()))?;
            Effect::RemoveSwitch(id)
        }
        Change::UpdateNetwork { name, to, .. } => {
            let id = model.resolve(name)?.id;
            let update = to.clone();
            model.apply(Edit::UpdateNetwork { network: name.clone(), update })?;
            Effect::UpdateSwitch(id)
        }
        Change::AddNetwork { name, network } => {
            let mut spec = match granted.networks.remove(name) {
                Some(spec) => spec,
                None => network.spec(name, fresh_id()?, unix_millis()),
            };
            let id = spec.id;
            let packet = open_parent(&mut spec)?;
            model.apply(Edit::AddNetwork(spec))?;
            Effect::AddSwitch(id, packet)
        }
        Change::AddEndpoint { name, endpoint } => {
            let spec = match granted.endpoints.remove(name) {
                Some(spec) => spec,
                None => endpoint.spec(name, fresh_id()?),
            };
            model.apply(Edit::AddEndpoint(spec))?;
            Effect::Nothing
        }
    })
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
                return Err(Rejected::new(409, message).help(
                    "stop what the file did not start, with `weft stop NAME`, or take it off with \
                           `weft network disconnect`",
                ));
            }
        }
        Ok(())
    }

    /// How to change what the file declares.
    pub(super) fn file_help(&self) -> &'static str {
        if self.serves {
            "take it out of the file, then `weft reload`"
        } else {
            "take it out of the file, then start weft with it: `weft down --keep`, `weft up FILE`"
        }
    }

    /// At the start, takes sandboxes that may come back off networks that are to go: the file is the
    /// newer word, and an appliance that is refused would serve nobody. Whoever lives looks for its
    /// network until it is there again.
    fn make_way(&mut self, changes: &[Change]) -> Result<(), Rejected> {
        for change in changes {
            let Change::RemoveNetwork { name, .. } = change else { continue };
            let network = self.model.resolve(name)?.id;
            let there = self.model.endpoints_of(network).map(|endpoint| endpoint.id);
            let awaited = self.awaited.values().flat_map(|awaited| &awaited.endpoints);
            let awaited: BTreeSet<Id> = awaited.copied().collect();
            for endpoint in there.filter(|id| awaited.contains(id)).collect::<Vec<Id>>() {
                self.model.apply(Edit::RemoveEndpoint(endpoint))?;
            }
        }
        Ok(())
    }

    /// Awaits nobody any more who has no endpoint left.
    fn forget_who_made_way(&mut self) {
        let Self { model, awaited, names, .. } = self;
        awaited.retain(|_, awaited| {
            awaited.endpoints.retain(|id| model.endpoint(*id).is_some());
            let is_left = !awaited.endpoints.is_empty();
            if !is_left {
                names.free(&awaited.name);
            }
            is_left
        });
    }

    fn bring_about(&mut self, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Retract(name) => self.retract(&name),
            Effect::RemoveSwitch(id) => self.network_removed(id),
            Effect::UpdateSwitch(id) => {
                if let Some(network) = self.model.network(id) {
                    self.runtime.update_switch(id, network.options.live);
                }
            }
            Effect::AddSwitch(id, packet) => self.add_switch(id, packet),
        }
    }

    /// Starts what serves the declared endpoints, where it has not been started yet.
    fn serve(&mut self, control: &Control) {
        for (name, endpoint) in &self.declared.endpoints {
            if !self.managed.contains_key(name) {
                let managed = Managed::start(control, name, endpoint);
                self.managed.insert(name.clone(), managed);
            }
        }
        for endpoint in self.model.endpoints().filter(|own| own.origin == Origin::File) {
            self.hosts.changed(endpoint.network);
        }
    }

    /// Takes a declared endpoint away: its process, its sandbox, its port.
    fn retract(&mut self, name: &str) {
        if let Some(managed) = self.managed.remove(name) {
            managed.stop();
        }
        let sandbox = self.sandboxes.values().find(|s| s.declared && s.name == *name);
        if let Some(id) = sandbox.map(|sandbox| sandbox.id) {
            self.remove_sandbox(id);
        }
    }
}

fn fresh_id() -> Result<Id, Rejected> {
    new_id().map_err(|error| Rejected::new(500, error.to_string()))
}
