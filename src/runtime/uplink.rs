//! Uplinks: the ports by which networks are parts of larger ones.
//!
//! An uplink belongs to its network and to nobody in it: it is made with the switch and goes with
//! it. Its interface is somebody else's, so it can go down, be deleted and come back at any time. A
//! network whose parent has gone keeps its place by a port that takes nothing, so that its mode
//! holds meanwhile, and [`Runtime::tick`] looks for an interface of that name.

use std::io;

use rustix::io::Errno;
use weft_switch::{PortId, UplinkMode};

use super::{Medium, Runtime, Station};
use crate::cnm::{Id, Parent};
use crate::port::packet::Packet;
use crate::port::{Port, PortKind};

/// A network's uplink.
#[derive(Clone, Copy, Debug)]
pub(super) struct UplinkState {
    parent: Parent,
    mode: UplinkMode,
    port: PortId,
    condition: Condition,
}

/// How a parent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Up, with a carrier.
    Up,
    /// There, and down.
    Down,
    /// Not there.
    Gone,
}

/// An uplink as people are told of it.
#[derive(Clone, Copy, Debug)]
pub struct UplinkLine {
    /// Whose it is.
    pub network: Id,
    /// The interface.
    pub parent: Parent,
    /// What it means for the endpoints.
    pub mode: UplinkMode,
    /// The port.
    pub port: PortId,
    /// How the interface is.
    pub condition: Condition,
}

/// Why a parent cannot be an uplink.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UplinkError {
    /// There is no such interface.
    #[error("parent interface {parent} does not exist")]
    Missing {
        /// What was asked for.
        parent: Parent,
    },
    /// Frames on the interface are not Ethernet's.
    #[error("parent interface {parent} does not carry Ethernet")]
    NotEthernet {
        /// What was asked for.
        parent: Parent,
    },
    /// The kernel refused.
    #[error("parent interface {parent} cannot be opened")]
    Refused {
        /// What was asked for.
        parent: Parent,
        /// What the kernel said.
        source: io::Error,
    },
}

impl UplinkError {
    /// What would help, where something would.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } => Some("`ip link` lists the interfaces that there are"),
            Self::NotEthernet { .. } => Some("name an interface that does, such as eth0"),
            Self::Refused { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some(
                    "this takes CAP_NET_RAW: run `weft up` as root, or once `setcap \
                     cap_net_raw+ep` on a copy of weft for it, or in a user namespace that owns \
                     the interface; see docs/macvlan.md",
                )
            }
            Self::Refused { .. } => None,
        }
    }
}

/// Opens the interface that a parent names: the one of that very name, or else a VLAN of another.
///
/// # Errors
/// See [`UplinkError`].
pub fn open(parent: Parent) -> Result<Packet, UplinkError> {
    let is_missing = |error: &io::Error| error.raw_os_error() == Some(Errno::NODEV.raw_os_error());
    let explained = |error: io::Error| match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NODEV) => UplinkError::Missing { parent },
        Some(Errno::AFNOSUPPORT) => UplinkError::NotEthernet { parent },
        _ => UplinkError::Refused { parent, source: error },
    };
    let mut found = Err(Errno::NODEV.into());
    if parent.is_device() {
        found = Packet::open(parent.as_str(), None);
    }
    match (found, parent.vlan()) {
        (Err(error), Some((device, vlan))) if is_missing(&error) => {
            Packet::open(device, Some(vlan)).map_err(explained)
        }
        (found, _) => found.map_err(explained),
    }
}

impl Runtime {
    /// Gives a network that has a switch its uplink.
    pub fn add_uplink(&mut self, network: Id, parent: Parent, mode: UplinkMode, packet: Packet) {
        let Some(port) = self.add_packet(network, mode, packet) else { return };
        let condition = Condition::Up;
        self.uplinks.insert(network, UplinkState { parent, mode, port, condition });
        self.tend_uplinks();
    }

    /// The uplinks that there are.
    pub fn uplinks(&self) -> impl Iterator<Item = UplinkLine> + '_ {
        self.uplinks.iter().map(|(network, state)| {
            let UplinkState { parent, mode, port, condition } = *state;
            UplinkLine { network: *network, parent, mode, port, condition }
        })
    }

    /// Takes a network's uplink away, if it has one.
    pub(super) fn remove_uplink(&mut self, network: Id) {
        if let Some(state) = self.uplinks.remove(&network) {
            self.remove_port(state.port);
        }
    }

    /// Sees what has become of the parents, and opens anew those that have come back.
    pub(super) fn tend_uplinks(&mut self) {
        let networks: Vec<Id> = self.uplinks.keys().copied().collect();
        for network in networks {
            self.tend_uplink(network);
        }
    }

    fn tend_uplink(&mut self, network: Id) {
        let Some(before) = self.uplinks.get(&network).copied() else { return };
        let Some(state) = self.ports.get(&before.port) else { return };
        let PortKind::Packet(packet) = &state.port.kind else { return };
        let mut condition = match packet.look() {
            Some(facts) if !state.port.is_gone() => Condition::of(facts.is_running),
            Some(_) | None => Condition::Gone,
        };
        let mut port = before.port;
        if condition == Condition::Gone {
            state.port.mark_gone();
            let name = before.parent.vlan().map_or(before.parent.as_str(), |(device, _)| device);
            let is_back = packet.sees(before.parent.as_str()) || packet.sees(name);
            if let Some(packet) = is_back.then(|| open(before.parent).ok()).flatten() {
                let is_running = packet.facts().is_some_and(|facts| facts.is_running);
                self.remove_port(before.port);
                if let Some(number) = self.add_packet(network, before.mode, packet) {
                    (port, condition) = (number, Condition::of(is_running));
                }
            }
        }
        if condition != before.condition {
            let parent = before.parent;
            tracing::warn!(network = %network.short(), %parent, %condition, "a parent has changed");
        }
        self.uplinks.insert(network, UplinkState { port, condition, ..before });
    }

    /// Makes a port of a packet socket.
    fn add_packet(&mut self, network: Id, mode: UplinkMode, packet: Packet) -> Option<PortId> {
        let station = Station {
            mac: packet.mac().unwrap_or_default(),
            addresses: Vec::new(),
            medium: Medium::Uplink(mode),
        };
        let made = self.insert_port(network, station, |id, mtu, workers| {
            Ok(Port::packet(id, mtu, workers, packet))
        });
        made.inspect_err(|error| tracing::error!(%error, "no uplink can be made")).ok()
    }
}

impl Condition {
    const fn of(is_running: bool) -> Self {
        if is_running { Self::Up } else { Self::Down }
    }

    /// The condition in one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Gone => "gone",
        }
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_is_not_allowed_are_told_apart() {
        let permission = io::Error::from(Errno::PERM);
        let parent: Parent = "eth0.50".parse().unwrap();
        let refused = UplinkError::Refused { parent, source: permission };
        assert!(refused.help().is_some_and(|help| help.contains("setcap")), "{refused}");
        let refused = UplinkError::Refused { parent, source: Errno::NOMEM.into() };
        assert_eq!(refused.help(), None);
        assert_eq!(
            UplinkError::Missing { parent }.to_string(),
            "parent interface eth0.50 does not exist"
        );
    }
}
