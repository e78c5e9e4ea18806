//! Sandboxes that run join further networks and leave them.
//!
//! The appliance leases the addresses and tells the life line; whoever holds the other end makes
//! the interface and offers its port, as for the first networks. The request is answered when
//! frames pass, or when it is known that they will not; then nothing is left of it.

use std::time::Duration;

use tokio::sync::oneshot;

use super::failure::Rejected;
use super::remote::Grants;
use super::sandboxes::{Attached, MAX_ENDPOINTS, Newcomer, Sandbox};
use super::{Control, State};
use crate::api::shapes::{EndpointRequest, Failure, FromAppliance, Kind};
use crate::cnm::{Driver, Edit, Id};

/// How long a sandbox may take to make an interface, or to let go of one.
const PATIENCE: Duration = Duration::from_secs(10);

impl Control {
    /// Puts a sandbox on one more network; the new endpoint's id.
    ///
    /// # Errors
    /// The rule that stands in the way, or what failed in the sandbox.
    pub(crate) async fn join(
        &self,
        sandbox: Id,
        mut wanted: EndpointRequest,
    ) -> Result<Id, Rejected> {
        let mut grants = Grants::default();
        let outcome = match self.grant_membership(sandbox, &mut wanted, &mut grants).await {
            Ok(()) => self.begin_to_join(sandbox, wanted).await,
            Err(rejected) => Err(rejected),
        };
        let (endpoint, joined) = self.conclude(grants, outcome).await?;
        let outcome = match tokio::time::timeout(PATIENCE, joined).await {
            Ok(Ok(Ok(()))) => Ok(endpoint),
            Ok(Ok(Err(Failure { message, help }))) => {
                let message = format!("the sandbox has not joined: {message}");
                let rejected = Rejected::new(500, message);
                Err(help.into_iter().fold(rejected, Rejected::help))
            }
            Ok(Err(_)) => Err(Rejected::new(409, "the sandbox has ended, or left again")),
            Err(_) => {
                // It may still come round; then it lets go again.
                let _ = self.begin_to_leave(sandbox, move |_| Ok(endpoint)).await;
                Err(Rejected::new(500, "the sandbox does not answer"))
            }
        };
        self.membership_changed();
        outcome
    }

    /// Takes a sandbox off a network.
    ///
    /// # Errors
    /// When it is not on it, or stays there for a reason.
    pub(crate) async fn leave(&self, sandbox: Id, network: Id) -> Result<(), Rejected> {
        let which = move |state: &State| state.endpoint_to_leave(sandbox, network);
        let left = self.begin_to_leave(sandbox, which).await?;
        self.membership_changed();
        let driver = self.state().model.network(network).and_then(|network| {
            let driver = network.ipam.driver.plugin()?;
            Some(driver.to_owned())
        });
        if let Some(driver) = driver {
            // Whoever comes next may want the same address.
            self.settle(&driver).await;
        }
        if let Err(_slow) = tokio::time::timeout(PATIENCE, left).await {
            tracing::warn!(sandbox = %sandbox.short(), "slow to let go of an interface");
        }
        Ok(())
    }

    /// Takes back what a sandbox could not make an interface for.
    pub(crate) async fn unconnected(&self, sandbox: Id, endpoint: Id, failure: Failure) {
        let taken = self.at_once(|state| {
            let attached = state.detach(sandbox, endpoint)?;
            state.forget(endpoint);
            attached.joining
        });
        if let Some(joining) = taken.await {
            // Whoever waited may have lost patience.
            let _ = joining.send(Err(failure));
        }
    }

    /// Notes that a sandbox has let go of an interface.
    pub(crate) fn disconnected(&self, sandbox: Id, endpoint: Id) {
        if let Some(sandbox) = self.state().sandboxes.get_mut(&sandbox)
            && let Some(leaving) = sandbox.leaving.remove(&endpoint)
        {
            let _ = leaving.send(());
        }
    }

    /// Asks for the addresses of one more endpoint, if they come from a plugin.
    async fn grant_membership(
        &self,
        sandbox: Id,
        wanted: &mut EndpointRequest,
        grants: &mut Grants,
    ) -> Result<(), Rejected> {
        if !self.asks_plugins(std::slice::from_ref(wanted)) {
            return Ok(());
        }
        let name = {
            let state = self.state();
            let driver = state.model.resolve(&wanted.network)?.driver;
            let joining = state.sandboxes.get(&sandbox).ok_or_else(ended)?;
            check(joining, driver)?;
            joining.name.clone()
        };
        self.grant_endpoints(sandbox, &name, std::slice::from_mut(wanted), grants).await
    }

    async fn begin_to_join(
        &self,
        sandbox: Id,
        wanted: EndpointRequest,
    ) -> Result<(Id, oneshot::Receiver<Result<(), Failure>>), Rejected> {
        let edit = move |state: &mut State| {
            let driver = state.model.resolve(&wanted.network)?.driver;
            let joining = state.sandboxes.get(&sandbox).ok_or_else(ended)?;
            check(joining, driver)?;
            if joining.endpoints.len() >= MAX_ENDPOINTS {
                let message = format!("a sandbox can be on at most {MAX_ENDPOINTS} networks");
                return Err(Rejected::new(400, message));
            }
            let (name, kind) = (joining.name.clone(), joining.kind);
            let is_on_others = !joining.endpoints.is_empty();
            let ifname = free_name(joining, wanted.ifname.as_deref())?;
            let newcomer = Newcomer { sandbox, name: &name, kind, declared: false, is_on_others };
            state.add_endpoint(newcomer, &wanted, ifname)
        };
        self.turn(edit, move |state, attached| state.connect_to(sandbox, attached)).await?
    }

    /// Takes an endpoint back and has the sandbox let go of it, which the receiver hears of.
    ///
    /// # Errors
    /// When it is not for the sandbox to leave, or the sandbox cannot be told; then it stays where
    /// it is.
    async fn begin_to_leave(
        &self,
        sandbox: Id,
        which: impl FnOnce(&State) -> Result<Id, Rejected> + Send + 'static,
    ) -> Result<oneshot::Receiver<()>, Rejected> {
        let edit = move |state: &mut State| {
            let endpoint = which(state)?;
            if state.sandboxes.get(&sandbox).ok_or_else(ended)?.outbox.capacity() == 0 {
                let message = format!("sandbox {} does not listen", sandbox.short());
                return Err(Rejected::new(503, message));
            }
            state.model.apply(Edit::RemoveEndpoint(endpoint))?;
            Ok(endpoint)
        };
        self.turn(edit, move |state, endpoint| {
            state.detach(sandbox, endpoint);
            let (tell, told) = oneshot::channel();
            if let Some(sandbox) = state.sandboxes.get_mut(&sandbox) {
                sandbox.leaving.insert(endpoint, tell);
                // One that has no ear has ended.
                let _ = sandbox.outbox.try_send(FromAppliance::Disconnect { endpoint });
            }
            told
        })
        .await
    }
}

impl State {
    /// The endpoint by which a sandbox is on a network that it may leave.
    fn endpoint_to_leave(&self, sandbox: Id, network: Id) -> Result<Id, Rejected> {
        let sandbox = self.sandboxes.get(&sandbox).ok_or_else(ended)?;
        let name = &sandbox.name;
        let attached = sandbox.endpoints.iter().find(|attached| attached.network == network);
        let Some(attached) = attached else {
            let network = self.model.network(network).map_or_else(String::new, |n| n.name.clone());
            let message = format!("container {name} is not connected to network {network}");
            return Err(Rejected::new(403, message));
        };
        if attached.declared {
            let message = format!("the endpoint {name} is declared by the file");
            return Err(Rejected::new(403, message).help(self.file_help()));
        }
        if attached.assigned.port {
            check(sandbox, Driver::Bridge)?;
        } else if attached.assigned.host {
            check(sandbox, Driver::Host)?;
        }
        Ok(attached.assigned.id)
    }

    /// Tells a sandbox of the endpoint that it got.
    fn connect_to(
        &mut self,
        sandbox: Id,
        mut attached: Attached,
    ) -> Result<(Id, oneshot::Receiver<Result<(), Failure>>), Rejected> {
        let (endpoint, network) = (attached.assigned.id, attached.network);
        let message = FromAppliance::Connect(Box::new(attached.assigned.clone()));
        let joining = self.sandboxes.get_mut(&sandbox);
        let Some(joining) = joining.filter(|own| own.outbox.try_send(message).is_ok()) else {
            self.forget(endpoint);
            let message = format!("sandbox {} does not listen", sandbox.short());
            return Err(Rejected::new(503, message));
        };
        let (tell, told) = oneshot::channel();
        if attached.assigned.port {
            attached.joining = Some(tell);
        } else {
            // There is nothing to make; the receiver is right here.
            let _ = tell.send(Ok(()));
        }
        joining.endpoints.push(attached);
        self.hosts.changed(network);
        Ok((endpoint, told))
    }

    /// Takes an endpoint out of its sandbox, and its port away.
    fn detach(&mut self, sandbox: Id, endpoint: Id) -> Option<Attached> {
        let sandbox = self.sandboxes.get_mut(&sandbox)?;
        let place = sandbox.endpoints.iter().position(|own| own.assigned.id == endpoint)?;
        let attached = sandbox.endpoints.remove(place);
        self.unplug(&attached);
        Some(attached)
    }
}

/// Whether a sandbox can join, or leave, a network of this driver while it runs.
fn check(sandbox: &Sandbox, driver: Driver) -> Result<(), Rejected> {
    let name = &sandbox.name;
    match sandbox.kind {
        Kind::Run => {}
        Kind::Netns | Kind::Tap | Kind::Qemu => {
            let message = format!("{name} was attached to one network, and stays on it");
            return Err(Rejected::new(400, message)
                .help("`weft attach` attaches it to others; `weft stop` ends an attachment"));
        }
    }
    if driver == Driver::Host {
        let what =
            "container cannot be disconnected from host network or connected to host network";
        return Err(Rejected::new(400, what));
    }
    if sandbox.endpoints.iter().any(|own| own.assigned.host) {
        let what = "container sharing network namespace with another container or host cannot be \
                    connected to any other network";
        return Err(Rejected::new(400, what));
    }
    let is_on_none = sandbox.endpoints.iter().any(|own| !own.assigned.port);
    if is_on_none || (driver == Driver::None && !sandbox.endpoints.is_empty()) {
        let what = "container cannot be connected to multiple networks with one of the networks in \
                    private (none) mode";
        return Err(Rejected::new(400, what));
    }
    Ok(())
}

/// The name of a new interface: the one asked for, or the first `ethN` that is free.
fn free_name(sandbox: &Sandbox, wanted: Option<&str>) -> Result<String, Rejected> {
    let is_taken = |name: &str| sandbox.endpoints.iter().any(|own| own.assigned.ifname == name);
    match wanted {
        Some(name) if is_taken(name) => {
            let message = format!("sandbox {} has an interface {name} already", sandbox.name);
            Err(Rejected::new(409, message).help("choose another name"))
        }
        Some(name) => Ok(name.to_owned()),
        None => (0..)
            .map(|number| format!("eth{number}"))
            .find(|name| !is_taken(name))
            .ok_or_else(|| Rejected::new(500, "no interface name is free")),
    }
}

fn ended() -> Rejected {
    Rejected::new(404, "the sandbox has ended")
}
