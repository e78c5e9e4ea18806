//! Published ports: opened when an endpoint comes, changed while it is there.
//!
//! The sockets are opened before anything else of an endpoint happens, so that a port that is taken
//! refuses the whole sandbox and not a program that runs already. The control plane holds them for
//! as long as the endpoint is there; the gateway has copies of its own.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::failure::Rejected;
use super::sandboxes::Attached;
use super::{Control, State};
use crate::api::shapes::{Assigned, FromAppliance, PublicationLine};
use crate::cnm::publish::check;
use crate::cnm::{Id, Network, Publish};
use crate::uplink::Door;

impl Control {
    /// Publishes further ports of a sandbox that is there.
    ///
    /// # Errors
    /// When there is no such sandbox, or a port cannot be published; then none is.
    pub(crate) fn publish(&self, reference: &str, added: &[Publish]) -> Result<(), Rejected> {
        let state = &mut *self.state();
        let (sandbox, endpoint) = state.publishing_endpoint(reference)?;
        let attached = state.attached_to(sandbox, endpoint).ok_or_else(|| unknown(reference))?;
        let mut all = attached.assigned.publish.clone();
        for publish in added {
            if all.contains(publish) {
                return Err(Rejected::new(409, format!("{publish} is published already")));
            }
            all.push(*publish);
        }
        check(&all).map_err(|error| Rejected::new(400, error.to_string()))?;
        let doors = open(&attached.assigned, added)?;
        attached.assigned.publish = all;
        let port = attached.port;
        if let Some(port) = port {
            state.runtime.open_doors(port, &doors);
        }
        if let Some(attached) = state.attached_to(sandbox, endpoint) {
            attached.doors.extend(doors);
        }
        state.tell_published(sandbox, endpoint);
        Ok(())
    }

    /// Takes published ports of a sandbox back.
    ///
    /// # Errors
    /// When there is no such sandbox, or it does not publish one of them; then all stay.
    pub(crate) fn unpublish(&self, reference: &str, removed: &[Publish]) -> Result<(), Rejected> {
        let state = &mut *self.state();
        let (sandbox, endpoint) = state.publishing_endpoint(reference)?;
        let attached = state.attached_to(sandbox, endpoint).ok_or_else(|| unknown(reference))?;
        if let Some(publish) =
            removed.iter().find(|publish| !attached.assigned.publish.contains(publish))
        {
            let message = format!("{reference} does not publish {publish}");
            return Err(Rejected::new(404, message).help("`weft port ls` lists what is published"));
        }
        attached.assigned.publish.retain(|publish| !removed.contains(publish));
        let is_removed = |door: &Door| removed.iter().any(|publish| is_of(door, publish));
        let (closed, doors) = attached.doors.drain(..).partition(is_removed);
        attached.doors = doors;
        let closed: Vec<Door> = closed;
        if let Some(port) = attached.port {
            state.runtime.close_doors(port, &closed);
        }
        state.tell_published(sandbox, endpoint);
        Ok(())
    }

    /// The published ports, of one sandbox or of all.
    pub(crate) fn publications(&self) -> Vec<PublicationLine> {
        let state = self.state();
        let mut lines = Vec::new();
        for (sandbox, attached) in state.attached() {
            lines.extend(attached.assigned.publish.iter().map(|publish| PublicationLine {
                sandbox: sandbox.name.clone(),
                network: attached.assigned.network.clone(),
                publish: *publish,
            }));
        }
        lines.sort_by(|one, other| {
            (&one.sandbox, one.publish).cmp(&(&other.sandbox, other.publish))
        });
        lines
    }
}

impl State {
    /// The endpoint by which a sandbox publishes ports: the first whose network has a way out.
    fn publishing_endpoint(&self, reference: &str) -> Result<(Id, Id), Rejected> {
        let sandbox = self.find(reference).ok_or_else(|| unknown(reference))?;
        let can_publish = |attached: &&Attached| {
            self.model.network(attached.network).is_some_and(|network| is_open(network).is_ok())
        };
        let attached = sandbox.endpoints.iter().find(can_publish).ok_or_else(|| {
            let message = format!("{} is on no network with a way to the outside", sandbox.name);
            Rejected::new(409, message)
        })?;
        Ok((sandbox.id, attached.assigned.id))
    }

    fn attached_to(&mut self, sandbox: Id, endpoint: Id) -> Option<&mut Attached> {
        let mut endpoints = self.sandboxes.get_mut(&sandbox)?.endpoints.iter_mut();
        endpoints.find(|attached| attached.assigned.id == endpoint)
    }

    /// Tells a sandbox what it publishes, so that it can say so to the next appliance.
    fn tell_published(&mut self, sandbox: Id, endpoint: Id) {
        let Some(sandbox) = self.sandboxes.get(&sandbox) else { return };
        let own = sandbox.endpoints.iter().find(|own| own.assigned.id == endpoint);
        if let Some(own) = own {
            let publish = own.assigned.publish.clone();
            // One that does not listen announces what it had.
            let _ = sandbox.outbox.try_send(FromAppliance::Published { endpoint, publish });
        }
    }
}

/// Opens the doors of an endpoint, all or none.
///
/// # Errors
/// The first port that cannot be listened at, and why.
pub(super) fn open(assigned: &Assigned, publish: &[Publish]) -> Result<Vec<Door>, Rejected> {
    let of = |is_ipv4: bool| {
        assigned.addresses.iter().map(|own| own.ip()).find(|ip| ip.is_ipv4() == is_ipv4)
    };
    let (v4, v6) = (of(true), of(false));
    let mut doors: Vec<Door> = Vec::new();
    for publish in publish {
        for (host, inside) in publish.pairs() {
            let at = publish.listens_at(host, (v4.is_some(), v6.is_some()));
            if at.is_empty() {
                let message = format!("{publish} cannot be published: no address to lead to");
                return Err(Rejected::new(400, message)
                    .help("publish at an address of a family that the endpoint has"));
            }
            for host in at {
                let Some(ip) = (if host.is_ipv4() { v4 } else { v6 }) else { continue };
                let inside = SocketAddr::new(ip, inside);
                let is_double = |door: &&Door| {
                    door.protocol == publish.protocol
                        && publish.protocol == crate::cnm::Protocol::Udp
                        && door.inside == inside
                };
                if let Some(other) = doors.iter().find(is_double) {
                    let message = format!(
                        "UDP port {} can be published once only, and is at {}",
                        inside.port(),
                        other.host
                    );
                    return Err(Rejected::new(400, message));
                }
                match Door::open(publish.protocol, host, inside) {
                    Ok(door) => doors.push(door),
                    // A host without IPv6 listens where it can.
                    Err(error) if is_absent(&error, host.ip(), publish) => {}
                    Err(error) => return Err(refusal(publish, host, &error)),
                }
            }
        }
    }
    Ok(doors)
}

/// Whether endpoints of a network can publish ports.
///
/// # Errors
/// Why not.
pub(super) fn is_open(network: &Network) -> Result<(), Rejected> {
    let name = &network.name;
    let why = if !network.driver.is_switched() {
        format!("endpoints of network {name} have no ports of their own")
    } else if network.internal {
        format!("network {name} is internal")
    } else if network.options.uplink.parent.is_some() {
        format!("endpoints of network {name} are reached at addresses of their own")
    } else if network.gateways().next().is_none() {
        format!("network {name} has no gateway")
    } else {
        return Ok(());
    };
    Err(Rejected::new(400, format!("no port can be published: {why}")))
}

fn is_of(door: &Door, publish: &Publish) -> bool {
    door.protocol == publish.protocol
        && publish.address.is_none_or(|address| address == door.host.ip())
        && publish
            .pairs()
            .any(|(host, inside)| door.host.port() == host && door.inside.port() == inside)
}

fn is_absent(error: &io::Error, address: IpAddr, publish: &Publish) -> bool {
    let is_family = [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL];
    publish.address.is_none()
        && address.is_ipv6()
        && error.raw_os_error().is_some_and(|number| is_family.contains(&number))
}

fn refusal(publish: &Publish, host: SocketAddr, error: &io::Error) -> Rejected {
    let what = format!("{publish} cannot be published: the host's {host}");
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => Rejected::new(409, format!("{what} is in use"))
            .help("choose another port of the host; `ss -lntup` shows who has this one"),
        Some(libc::EACCES) => Rejected::new(403, format!("{what} is for administrators only"))
            .help(
                "choose a port above 1023, or lower net.ipv4.ip_unprivileged_port_start on the host",
            ),
        Some(libc::EADDRNOTAVAIL) => {
            Rejected::new(400, format!("{what} is not an address of the host"))
        }
        _ => Rejected::new(500, format!("{what} cannot be listened at: {error}")),
    }
}

fn unknown(reference: &str) -> Rejected {
    Rejected::new(404, format!("there is no sandbox {reference}"))
        .help("`weft ps` lists the sandboxes")
}
