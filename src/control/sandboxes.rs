//! Sandboxes come, get their ports, and go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use weft_switch::PortId;

use super::failure::Rejected;
use super::remote::Grants;
use super::{Control, State, new_id};
use crate::api::shapes::{
    Assigned, AttachRequest, EndpointRequest, Failure, FromAppliance, Kind, shown_command,
};
use crate::cnm::id::MAX_NAME;
use crate::cnm::{Driver, Edit, EndpointKind, EndpointSpec, Id, Origin};
use crate::runtime::{Medium, Station};

/// Networks that one sandbox may ask for at once.
pub(super) const MAX_ENDPOINTS: usize = 32;
/// Where a sandbox goes that names no network.
pub const DEFAULT_NETWORK: &str = "bridge";

/// Somebody at the other end of a life line.
#[derive(Debug)]
pub struct Sandbox {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The process whose namespaces can be entered.
    pub pid: Option<u32>,
    /// The program, or the path.
    pub command: Vec<String>,
    /// When it came.
    pub since: Instant,
    /// Its endpoints.
    pub endpoints: Vec<Attached>,
    /// Messages to its life line.
    pub outbox: mpsc::Sender<FromAppliance>,
    /// Whether the configuration file declares it.
    pub declared: bool,
    /// Who waits until it has let go of an endpoint.
    pub leaving: BTreeMap<Id, oneshot::Sender<()>>,
}

/// An endpoint of a sandbox that is there.
#[derive(Debug)]
pub struct Attached {
    /// The endpoint as the sandbox was told.
    pub assigned: Assigned,
    /// The network.
    pub network: Id,
    /// The port, once there is one.
    pub port: Option<PortId>,
    /// Whether the configuration file declares it.
    pub declared: bool,
    /// Who waits until frames pass.
    pub joining: Option<Joining>,
}

/// Tells whoever waits for an endpoint what became of it.
pub type Joining = oneshot::Sender<Result<(), Failure>>;

/// Whom an endpoint is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newcomer<'a> {
    pub(super) sandbox: Id,
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    /// Whether the configuration file declares the endpoint.
    pub(super) declared: bool,
    /// Whether it is on other networks as well.
    pub(super) is_on_others: bool,
}

impl Control {
    /// Takes a sandbox in: gives it a name and its endpoints addresses. All or nothing.
    ///
    /// # Errors
    /// The first rule that stands in the way; nothing is left of the attempt.
    pub(crate) async fn admit(
        &self,
        mut request: AttachRequest,
        outbox: mpsc::Sender<FromAppliance>,
    ) -> Result<(Id, String, Vec<Assigned>), Rejected> {
        check_endpoints(&request)?;
        let ifnames = ifnames(&request.endpoints)?;
        let fresh = new_id().map_err(|error| Rejected::new(500, error.to_string()))?;
        let id = request.sandbox.unwrap_or(fresh);
        let mut grants = Grants::default();
        let granted = if !request.declared && self.asks_plugins(&request.endpoints) {
            let name = self.state().name_for(&request)?;
            self.grant_endpoints(id, &name, &mut request.endpoints, &mut grants).await
        } else {
            Ok(())
        };
        let outcome = match granted {
            Ok(()) => self.take_in(id, request, ifnames, outbox).await,
            Err(rejected) => Err(rejected),
        };
        self.conclude(grants, outcome).await
    }

    async fn take_in(
        &self,
        id: Id,
        request: AttachRequest,
        ifnames: Vec<String>,
        outbox: mpsc::Sender<FromAppliance>,
    ) -> Result<(Id, String, Vec<Assigned>), Rejected> {
        let edit = move |state: &mut State| {
            if state.sandboxes.contains_key(&id) {
                // Ids are no secret. Whoever comes back finds its own free once its old life line
                // has been seen to end.
                let message = format!("sandbox {} is here already", id.short());
                return Err(Rejected::new(409, message));
            }
            let name = state.name_for(&request)?;
            let newcomer = Newcomer {
                sandbox: id,
                name: &name,
                kind: request.kind,
                declared: request.declared,
                is_on_others: request.endpoints.len() > 1,
            };
            let attached = request
                .endpoints
                .iter()
                .zip(ifnames)
                .map(|(wanted, ifname)| state.add_endpoint(newcomer, wanted, ifname))
                .collect::<Result<Vec<Attached>, Rejected>>()?;
            // What it had before and does not ask for any more.
            for left in state.left_behind(id, &attached) {
                state.model.apply(Edit::RemoveEndpoint(left))?;
            }
            Ok(Sandbox {
                id,
                name,
                kind: request.kind,
                pid: None,
                command: shown_command(&request.command),
                since: Instant::now(),
                endpoints: attached,
                outbox,
                declared: request.declared,
                leaving: BTreeMap::new(),
            })
        };
        self.turn(edit, |state, sandbox| {
            let assigned = sandbox.endpoints.iter().map(|own| own.assigned.clone()).collect();
            let (id, name) = (sandbox.id, sandbox.name.clone());
            state.awaited.remove(&id);
            state.names.take(&name);
            for attached in &sandbox.endpoints {
                state.hosts.changed(attached.network);
            }
            state.sandboxes.insert(id, sandbox);
            (id, name, assigned)
        })
        .await
    }

    /// Connects an endpoint's descriptor to its network's switch.
    ///
    /// # Errors
    /// When the endpoint is not this sandbox's, or the descriptor is no port.
    pub(crate) fn connect(
        &self,
        sandbox: Id,
        endpoint: Id,
        descriptor: OwnedFd,
    ) -> Result<(), Rejected> {
        let state = &mut *self.state();
        let unknown = || Rejected::new(404, "this sandbox has no such endpoint");
        let sandbox = state.sandboxes.get_mut(&sandbox).ok_or_else(unknown)?;
        let medium = match sandbox.kind {
            Kind::Qemu => Medium::Stream,
            Kind::Run | Kind::Netns | Kind::Tap => Medium::Tap,
        };
        let attached = sandbox
            .endpoints
            .iter_mut()
            .find(|attached| attached.assigned.id == endpoint && attached.assigned.port)
            .ok_or_else(unknown)?;
        let addresses: Vec<IpAddr> =
            attached.assigned.addresses.iter().map(|address| address.ip()).collect();
        let station = Station { mac: attached.assigned.mac(), addresses, medium };
        if let Some(former) = attached.port.take() {
            state.runtime.remove_port(former);
        }
        attached.port = Some(state.runtime.add_port(attached.network, station, descriptor)?);
        if let Some(joining) = attached.joining.take() {
            // Whoever waited may have lost patience.
            let _ = joining.send(Ok(()));
        }
        Ok(())
    }

    /// Notes the process whose namespaces `weft exec` enters.
    pub(crate) fn running(&self, sandbox: Id, pid: u32) {
        if let Some(sandbox) = self.state().sandboxes.get_mut(&sandbox) {
            sandbox.pid = Some(pid);
        }
    }

    /// Takes everything back that a sandbox had whose life line has ended. Does nothing when it has
    /// gone already, also when another has its id since.
    pub(crate) async fn dismiss(&self, sandbox: Id) {
        let gone = self.at_once(|state| {
            let has_ended = |sandbox: &Sandbox| sandbox.outbox.is_closed();
            state.sandboxes.get(&sandbox).is_some_and(has_ended)
                && state.remove_sandbox(sandbox).is_some()
        });
        if gone.await {
            self.membership_changed();
        }
    }

    /// Gives up the sandboxes that were there before this appliance and have not come back.
    pub(crate) async fn give_up(&self) {
        let given_up = self.at_once(|state| {
            let awaited = std::mem::take(&mut state.awaited);
            for sandbox in awaited.values() {
                state.names.free(&sandbox.name);
                sandbox.endpoints.iter().for_each(|endpoint| state.forget(*endpoint));
                tracing::info!(name = sandbox.name, "a sandbox has not come back");
            }
            state.idle_since = Instant::now();
            !awaited.is_empty()
        });
        if given_up.await {
            self.membership_changed();
        }
    }

    /// Whether sandboxes are awaited that were there before this appliance.
    pub(crate) fn is_awaiting(&self) -> bool {
        !self.state().awaited.is_empty()
    }

    /// Looks for ports whose other side has gone, and tells their sandboxes.
    pub(crate) fn tend(&self) {
        self.tend_remotes();
        let state = &mut *self.state();
        state.runtime.tick();
        for gone in state.runtime.gone_ports() {
            state.runtime.remove_port(gone);
            let mut all = state.sandboxes.values_mut();
            let found = all.find_map(|sandbox| {
                let outbox = sandbox.outbox.clone();
                let mut endpoints = sandbox.endpoints.iter_mut();
                endpoints.find(|a| a.port == Some(gone)).map(|attached| (attached, outbox))
            });
            if let Some((attached, outbox)) = found {
                attached.port = None;
                // A life line that is full belongs to a sandbox that does not listen.
                let _ = outbox.try_send(FromAppliance::PortGone { endpoint: attached.assigned.id });
            }
        }
    }

    /// Sends a message to a sandbox's life line; false when it is full or gone.
    pub(crate) fn signal(&self, sandbox: Id, message: FromAppliance) -> bool {
        let state = self.state();
        let sandbox = state.sandboxes.get(&sandbox);
        sandbox.is_some_and(|sandbox| sandbox.outbox.try_send(message).is_ok())
    }

    /// How many sandboxes there are.
    pub(crate) fn sandbox_count(&self) -> usize {
        self.state().sandboxes.len()
    }
}

impl State {
    /// Removes a sandbox with its ports and endpoints; those that the file declares stay in the
    /// model. Only for those whose turn it is.
    pub(crate) fn remove_sandbox(&mut self, id: Id) -> Option<Sandbox> {
        let sandbox = self.sandboxes.remove(&id)?;
        self.names.free(&sandbox.name);
        for attached in &sandbox.endpoints {
            self.unplug(attached);
            if !attached.declared {
                self.forget(attached.assigned.id);
            }
        }
        if self.sandboxes.is_empty() {
            self.idle_since = Instant::now();
        }
        Some(sandbox)
    }

    /// Takes away what an endpoint has outside the model.
    pub(super) fn unplug(&mut self, attached: &Attached) {
        if let Some(port) = attached.port {
            self.runtime.remove_port(port);
        }
        self.hosts.changed(attached.network);
    }

    /// The endpoints that a sandbox had under an earlier appliance and that are not among these.
    fn left_behind(&self, sandbox: Id, attached: &[Attached]) -> Vec<Id> {
        let had = self.awaited.get(&sandbox).into_iter().flat_map(|awaited| &awaited.endpoints);
        let is_left = |id: &&Id| attached.iter().all(|own| own.assigned.id != **id);
        had.filter(is_left).copied().collect()
    }

    /// Makes an endpoint, or takes the one that the file made.
    pub(super) fn add_endpoint(
        &mut self,
        newcomer: Newcomer<'_>,
        wanted: &EndpointRequest,
        ifname: String,
    ) -> Result<Attached, Rejected> {
        let network = self.model.resolve(&wanted.network)?;
        let (network, driver) = (network.id, network.driver);
        let Newcomer { name, declared, is_on_others, .. } = newcomer;
        let id = if declared {
            self.declared_endpoint(network, name)?
        } else if let Some(id) = self.awaited_endpoint(network, newcomer.sandbox, wanted) {
            id
        } else {
            self.new_endpoint(newcomer, wanted)?
        };
        let network = self.model.network(network);
        let endpoint = self.model.endpoint(id);
        let (Some(network), Some(endpoint)) = (network, endpoint) else {
            return Err(Rejected::new(500, "the endpoint was not made"));
        };
        let assigned = Assigned {
            id,
            network: network.name.clone(),
            mac: endpoint.mac.unwrap_or_default().to_string(),
            aliases: endpoint.aliases.clone(),
            addresses: endpoint.addresses.clone(),
            mtu: network.options.mtu,
            ifname: endpoint.ifname.clone().unwrap_or(ifname),
            routers: network.routers(endpoint),
            port: driver.is_switched(),
            host: driver == Driver::Host,
        };
        let network = network.id;
        if is_on_others && !assigned.port {
            let message = format!("network {} cannot be combined with others", assigned.network);
            return Err(Rejected::new(400, message));
        }
        Ok(Attached { assigned, network, port: None, declared, joining: None })
    }

    /// The endpoint that the file made for the sandbox that is coming now.
    fn declared_endpoint(&self, network: Id, name: &str) -> Result<Id, Rejected> {
        let id =
            self.model.endpoint_named(network, name).map(|endpoint| endpoint.id).ok_or_else(
                || Rejected::new(409, format!("the file declares no endpoint {name}")),
            )?;
        let mut attached = self.sandboxes.values().flat_map(|sandbox| &sandbox.endpoints);
        if attached.any(|attached| attached.assigned.id == id) {
            let message = format!("the endpoint {name} is attached already");
            return Err(Rejected::new(409, message));
        }
        Ok(id)
    }

    /// The endpoint that a sandbox had under an earlier appliance and wants to have again.
    pub(super) fn awaited_endpoint(
        &self,
        network: Id,
        sandbox: Id,
        wanted: &EndpointRequest,
    ) -> Option<Id> {
        let awaited = self.awaited.get(&sandbox)?;
        let id = wanted.id.filter(|id| awaited.endpoints.contains(id))?;
        let endpoint = self.model.endpoint(id)?;
        let has = |address: Option<IpAddr>| {
            address.is_none_or(|ip| endpoint.addresses.iter().any(|own| own.ip() == ip))
        };
        let is_the_same = endpoint.network == network
            && has(wanted.ip.map(IpAddr::V4))
            && has(wanted.ip6.map(IpAddr::V6));
        is_the_same.then_some(id)
    }

    fn new_endpoint(
        &mut self,
        newcomer: Newcomer<'_>,
        wanted: &EndpointRequest,
    ) -> Result<Id, Rejected> {
        let mac = match &wanted.mac {
            Some(text) => Some(text.parse().map_err(|error| {
                let text: String = text.chars().take(MAX_NAME).collect();
                Rejected::new(400, format!("{text:?} is no MAC address: {error}"))
            })?),
            None => None,
        };
        let fresh = new_id().map_err(|error| Rejected::new(500, error.to_string()))?;
        let spec = EndpointSpec {
            id: wanted.id.unwrap_or(fresh),
            sandbox: Some(newcomer.sandbox),
            name: newcomer.name.to_owned(),
            network: wanted.network.clone(),
            mac,
            ip: wanted.ip,
            ip6: wanted.ip6,
            aliases: wanted.aliases.clone(),
            ifname: wanted.ifname.clone(),
            kind: endpoint_kind(newcomer.kind),
            origin: Origin::Api,
        };
        let id = spec.id;
        self.model.apply(Edit::AddEndpoint(spec))?;
        Ok(id)
    }
}

fn check_endpoints(request: &AttachRequest) -> Result<(), Rejected> {
    let most = if request.declared { 1 } else { MAX_ENDPOINTS };
    let message = match request.endpoints.len() {
        // Whoever comes back may have been taken off every network.
        0 if request.sandbox.is_some() => return Ok(()),
        // A network of the driver `none` is there for those who want no network.
        0 => "a sandbox is on one network at least".to_owned(),
        count if count <= most => return Ok(()),
        _ if request.declared => "an endpoint of the file is on one network".to_owned(),
        _ => format!("a sandbox can be on at most {MAX_ENDPOINTS} networks"),
    };
    Err(Rejected::new(400, message))
}

/// What the interfaces inside are called: as asked for, and else the first of `eth0`, `eth1` and so
/// on that is free.
fn ifnames(endpoints: &[EndpointRequest]) -> Result<Vec<String>, Rejected> {
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for ifname in endpoints.iter().filter_map(|wanted| wanted.ifname.as_deref()) {
        if !taken.insert(ifname) {
            let ifname: String = ifname.chars().take(MAX_NAME).collect();
            let message = format!("two endpoints of one sandbox are to be called {ifname:?}");
            return Err(Rejected::new(400, message).help("give one of them another ifname"));
        }
    }
    let mut free =
        (0..).map(|number| format!("eth{number}")).filter(|ifname| !taken.contains(&**ifname));
    let names = endpoints.iter().map(|wanted| wanted.ifname.clone().or_else(|| free.next()));
    Ok(names.flatten().collect())
}

fn endpoint_kind(kind: Kind) -> EndpointKind {
    match kind {
        Kind::Run => EndpointKind::Sandbox,
        Kind::Netns => EndpointKind::Netns,
        Kind::Tap => EndpointKind::Tap,
        Kind::Qemu => EndpointKind::Qemu,
    }
}
