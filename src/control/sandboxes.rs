//! Sandboxes come, get their ports, and go.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use weft_switch::PortId;

use super::failure::Rejected;
use super::{Control, State, new_id};
use crate::api::shapes::{
    Assigned, AttachRequest, Ended, EndpointRequest, Failure, FromAppliance, Kind,
};
use crate::cnm::{Driver, Edit, EndpointKind, EndpointSpec, Id, Origin};
use crate::runtime::{Medium, Station};

/// Networks that one sandbox may ask for at once.
pub(super) const MAX_ENDPOINTS: usize = 32;
/// How long sandboxes may take to end when the appliance does.
const GRACE: Duration = Duration::from_secs(5);
/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(10);
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
        if request.endpoints.len() > MAX_ENDPOINTS {
            let message = format!("a sandbox can be on at most {MAX_ENDPOINTS} networks");
            return Err(Rejected::new(400, message));
        }
        let fresh = new_id().map_err(|error| Rejected::new(500, error.to_string()))?;
        let state = &mut *self.state();
        let id = request.sandbox.unwrap_or(fresh);
        let name = state.name_for(request)?;
        let mut attached: Vec<Attached> = Vec::new();
        let newcomer = Newcomer {
            name: &name,
            kind: request.kind,
            declared: request.declared,
            is_on_others: request.endpoints.len() > 1,
        };
        for wanted in &request.endpoints {
            // Whoever comes back may be on more networks than the file declares.
            let declared = request.declared && attached.is_empty();
            let newcomer = Newcomer { declared, ..newcomer };
            match state.add_endpoint(newcomer, wanted, &format!("eth{}", attached.len())) {
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
            command: request.command.clone(),
            since: Instant::now(),
            endpoints: attached,
            outbox,
            declared: request.declared,
            leaving: BTreeMap::new(),
        };
        state.sandboxes.insert(id, sandbox);
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

    /// Takes everything back that a sandbox had. Does nothing when it has gone already.
    pub(crate) fn dismiss(&self, sandbox: Id) {
        let gone = self.state().remove_sandbox(sandbox);
        if gone.is_some() {
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

    /// Ends what the file declares and, unless `keep`, every other sandbox too; what still runs
    /// after a while is killed.
    pub(crate) async fn wind_down(&self, keep: bool) -> Ended {
        let managed = {
            let mut state = self.state();
            state.ending = true;
            std::mem::take(&mut state.managed)
        };
        let mut ended = Ended::default();
        for sandbox in self.state().sandboxes.values() {
            if keep && !sandbox.declared {
                ended.kept.push(sandbox.name.clone());
            } else {
                ended.stopped.push(sandbox.name.clone());
            }
        }
        ended.stopped.sort();
        ended.kept.sort();
        for process in managed.values() {
            process.stop();
        }
        for signal in [libc::SIGTERM, libc::SIGKILL] {
            if keep || self.stop_all(signal).await {
                break;
            }
        }
        for (_, process) in managed {
            process.ended().await;
        }
        ended
    }

    /// Signals every sandbox of others and waits; true when all have gone.
    async fn stop_all(&self, signal: i32) -> bool {
        for sandbox in self.state().sandboxes.values().filter(|sandbox| !sandbox.declared) {
            // One that does not listen is lost with the appliance.
            let _ = sandbox.outbox.try_send(FromAppliance::Signal(signal));
        }
        let patience = Instant::now() + GRACE;
        while Instant::now() < patience {
            if self.state().sandboxes.values().all(|sandbox| sandbox.declared) {
                return true;
            }
            tokio::time::sleep(LOOK).await;
        }
        false
    }

    /// The text of a sandbox's hosts file. Sandboxes on the same networks have the same text, so it
    /// is made once for all of them.
    pub(crate) fn hosts(&self, sandbox: Id) -> Arc<str> {
        let state = &mut *self.state();
        let Some(sandbox) = state.sandboxes.get(&sandbox) else { return Arc::default() };
        let mut networks: Vec<Id> = sandbox.endpoints.iter().map(|a| a.network).collect();
        networks.sort_unstable();
        if let Some(text) = state.hosts.get(&networks) {
            return Arc::clone(text);
        }
        let endpoints: Vec<Id> = sandbox.endpoints.iter().map(|a| a.assigned.id).collect();
        let mut text = String::from(
            "# Written by weft: this sandbox and its neighbours.\n\
             127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
        );
        for (address, names) in state.model.hosts_for(&endpoints) {
            text.push_str(&format!("{address}\t{}\n", names.join(" ")));
        }
        let text: Arc<str> = text.into();
        state.hosts.insert(networks, Arc::clone(&text));
        text
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

    fn name_for(&self, request: &AttachRequest) -> Result<String, Rejected> {
        let taken = |name: &str| self.sandboxes.values().any(|sandbox| sandbox.name == name);
        let declared = |name: &str| self.declared.endpoints.contains_key(name);
        match &request.name {
            Some(name) if taken(name) => {
                Err(Rejected::new(409, format!("the name {name} is taken by another sandbox"))
                    .help("choose another name; `weft ps` lists the names in use"))
            }
            Some(name) if request.declared && !declared(name) => {
                Err(Rejected::new(409, format!("the file declares no endpoint {name} any more")))
            }
            Some(name) if declared(name) && !request.declared => Err(Rejected::new(
                409,
                format!("the name {name} belongs to an endpoint of the file"),
            )
            .help("choose another name")),
            Some(name) => Ok(name.clone()),
            None => {
                let program = request.command.first().map_or("sandbox", String::as_str);
                let stem = stem_of(program);
                (1..)
                    .map(|number| format!("{stem}-{number}"))
                    .find(|name| !taken(name) && !declared(name))
                    .ok_or_else(|| Rejected::new(500, "no name is free"))
            }
        }
    }

    /// Makes an endpoint, or takes the one that the file made.
    pub(super) fn add_endpoint(
        &mut self,
        newcomer: Newcomer<'_>,
        wanted: &EndpointRequest,
        ifname: &str,
    ) -> Result<Attached, Rejected> {
        let network = self.model.resolve(&wanted.network)?;
        let (network, driver) = (network.id, network.driver);
        let Newcomer { name, kind, declared, is_on_others } = newcomer;
        let id = if declared {
            self.declared_endpoint(network, name)?
        } else {
            self.new_endpoint(kind, name, wanted)?
        };
        let ifname = wanted.ifname.clone().unwrap_or_else(|| ifname.to_owned());
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
            port: driver.is_switched(),
            host: driver == Driver::Host,
        };
        let network = network.id;
        let has_port = assigned.port;
        let attached = Attached { assigned, network, port: None, declared, joining: None };
        if is_on_others && !has_port {
            self.release(&attached);
            let message = format!("network {} cannot be combined with others", wanted.network);
            return Err(Rejected::new(400, message));
        }
        Ok(attached)
    }

    /// The endpoint that the file made for the sandbox that is coming now.
    fn declared_endpoint(&self, network: Id, name: &str) -> Result<Id, Rejected> {
        self.model
            .endpoint_named(network, name)
            .map(|endpoint| endpoint.id)
            .ok_or_else(|| Rejected::new(409, format!("the file declares no endpoint {name}")))
    }

    fn new_endpoint(
        &mut self,
        kind: Kind,
        name: &str,
        wanted: &EndpointRequest,
    ) -> Result<Id, Rejected> {
        let mac = match &wanted.mac {
            Some(text) => Some(text.parse().map_err(|error| {
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

fn endpoint_kind(kind: Kind) -> EndpointKind {
    match kind {
        Kind::Run => EndpointKind::Sandbox,
        Kind::Netns => EndpointKind::Netns,
        Kind::Tap => EndpointKind::Tap,
        Kind::Qemu => EndpointKind::Qemu,
    }
}

/// The part of a program's path that makes a name.
fn stem_of(program: &str) -> String {
    let file = program.rsplit('/').next().unwrap_or_default();
    let stem: String =
        file.chars().filter(|c| c.is_ascii_alphanumeric() || "_.-".contains(*c)).take(32).collect();
    let stem = stem.trim_start_matches(['_', '.', '-']);
    if stem.is_empty() { "sandbox".to_owned() } else { stem.to_owned() }
}
