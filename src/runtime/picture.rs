//! What the workers go by: an immutable picture of networks and ports.
//!
//! The control plane publishes a new one; each worker adopts it at the end of its turn. A port lives
//! as long as some picture names it, so its descriptor cannot be closed, nor its number be given to
//! another, while a worker may still write to it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use weft_switch::{NetworkId, PortId, Topology};

use crate::port::Port;
use crate::uplink::Gateway;

/// Networks and ports at one moment.
#[derive(Debug, Default)]
pub struct Picture {
    /// Which port is in which network, and what it may do there.
    pub topology: Topology,
    /// The ports by [`PortId::index`], each with the worker that reads it.
    ports: Vec<Option<(Arc<Port>, usize)>>,
    /// The gateways by the number of their network.
    gateways: Vec<Option<Arc<Gateway>>>,
    /// Workers that see this end.
    pub stop: bool,
}

/// Where the newest picture hangs.
pub type Published = Arc<ArcSwap<Picture>>;

impl Picture {
    /// A picture of `topology` with its ports, each with the worker that reads it.
    pub fn new(topology: Topology, ports: impl IntoIterator<Item = (Arc<Port>, usize)>) -> Self {
        let mut slots = Vec::new();
        for (port, reader) in ports {
            let index = port.id.index();
            if slots.len() <= index {
                slots.resize_with(index + 1, || None);
            }
            slots[index] = Some((port, reader));
        }
        Self { topology, ports: slots, gateways: Vec::new(), stop: false }
    }

    /// The same, with the gateways of some networks.
    pub fn with_gateways(
        mut self,
        gateways: impl IntoIterator<Item = (NetworkId, Arc<Gateway>)>,
    ) -> Self {
        for (network, gateway) in gateways {
            let index = usize::from(network.0);
            if self.gateways.len() <= index {
                self.gateways.resize_with(index + 1, || None);
            }
            self.gateways[index] = Some(gateway);
        }
        self
    }

    /// The gateway of the network that a port is in.
    pub fn gateway_of(&self, port: PortId) -> Option<&Arc<Gateway>> {
        let network = self.topology.network_of(port)?;
        self.gateways.get(usize::from(network.0))?.as_ref()
    }

    /// The picture that ends the workers.
    pub fn last() -> Self {
        Self { stop: true, ..Self::default() }
    }

    /// The port of that number.
    pub fn port(&self, id: PortId) -> Option<&Arc<Port>> {
        self.ports.get(id.index())?.as_ref().map(|(port, _)| port)
    }

    /// The worker that reads the port of that number.
    pub fn reader(&self, id: PortId) -> Option<usize> {
        self.ports.get(id.index())?.as_ref().map(|(_, reader)| *reader)
    }

    /// All ports, by number.
    pub fn ports(&self) -> impl Iterator<Item = &Arc<Port>> {
        self.ports.iter().flatten().map(|(port, _)| port)
    }
}
