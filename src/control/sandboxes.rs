//! Sandboxes come, get their ports, and go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use weft_switch::PortId;

use super::failure::Rejected;
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
    pub(crate) fn admit(
        &self,
        request: &AttachRequest,
        outbox: mpsc::Sender<FromAppliance>,
    ) -> Result<(Id, String, Vec<Assigned>), Rejected> {
        check_endpoints(request)?;
        let ifnames = ifnames(&request.endpoints)?;
        let fresh = new_id().map_err(|error| Rejected::new(500, error.to_string()))?;
        let state = &mut *self.state();
        state.refuse_when_ending()?;
        let id = request.sandbox.unwrap_or(fresh);
        if state.sandboxes.contains_key(&id) {
            // Ids are no secret. Whoever comes back finds its own free once its old life line has
            // been seen to end.
            let message = format!("sandbox {} is here already", id.short());
            return Err(Rejected::new(409, message));
        }
        let name = state.name_for(request)?;
        let mut attached: Vec<Attached> = Vec::new();
        let newcomer = Newcomer {
            name: &name,
            kind: request.kind,
            declared: request.declared,
            is_on_others: request.endpoints.len() > 1,
        };
        for (wanted, ifname) in request.endpoints.iter().zip(ifnames) {
            match state.add_endpoint(newcomer, wanted, ifname) {
                Ok(endpoint) => attached.push(endpoint),
                Err(rejected) => {
                    for endpoint in attached {
                        state.release(&endpoint);
                    }
                    return Err(rejected);
                }
            }
        }
        let assigned: Vec<Assigned> = attached.iter().map(|a| a.assigned.clone()).collect();
        let sandbox = Sandbox {
            id,
            name: name.clone(),
            kind: request.kind,
            pid: None,
            command: shown_command(&request.command),
            since: Instant::now(),
            endpoints: attached,
            outbox,
            declared: request.declared,
            leaving: BTreeMap::new(),
        };
        state.names.take(&name);
        state.sandboxes.insert(id, sandbox);
        state.hosts.clear();
        Ok((id, name, assigned))
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
    pub(crate) fn dismiss(&self, sandbox: Id) {
        let gone = {
            let state = &mut *self.state();
            let has_ended = |sandbox: &Sandbox| sandbox.outbox.is_closed();
            state.sandboxes.get(&sandbox).is_some_and(has_ended)
                && state.remove_sandbox(sandbox).is_some()
        };
        if gone {
            self.membership_changed();
        }
    }

    /// Looks for ports whose other side has gone, and tells their sandboxes.
    pub(crate) fn tend(&self) {
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
    /// Removes a sandbox with its ports and endpoints.
    pub(crate) fn remove_sandbox(&mut self, id: Id) -> Option<Sandbox> {
        let sandbox = self.sandboxes.remove(&id)?;
        self.names.free(&sandbox.name);
        self.hosts.clear();
        for attached in &sandbox.endpoints {
            self.release(attached);
        }
        if self.sandboxes.is_empty() {
            self.idle_since = Instant::now();
        }
        Some(sandbox)
    }

    /// Takes an endpoint back; one that the file declares stays in the model.
    pub(super) fn release(&mut self, attached: &Attached) {
        if let Some(port) = attached.port {
            self.runtime.remove_port(port);
        }
        if !attached.declared {
            // A reload may have removed it before.
            let _ = self.model.apply(Edit::RemoveEndpoint(attached.assigned.id));
        }
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
        let Newcomer { name, kind, declared, is_on_others } = newcomer;
        let id = if declared {
            self.declared_endpoint(network, name)?
        } else {
            self.new_endpoint(kind, name, wanted)?
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
        let has_port = assigned.port;
        let attached = Attached { assigned, network, port: None, declared, joining: None };
        if is_on_others && !has_port {
            let name = attached.assigned.network.clone();
            self.release(&attached);
            let message = format!("network {name} cannot be combined with others");
            return Err(Rejected::new(400, message));
        }
        Ok(attached)
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

    fn new_endpoint(
        &mut self,
        kind: Kind,
        name: &str,
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
            name: name.to_owned(),
            network: wanted.network.clone(),
            mac,
            ip: wanted.ip,
            ip6: wanted.ip6,
            aliases: wanted.aliases.clone(),
            ifname: wanted.ifname.clone(),
            kind: endpoint_kind(kind),
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
