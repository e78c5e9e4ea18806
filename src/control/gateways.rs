//! The gateways of the networks, as the model has them.

use weft_gateway::flow::policy::{Policy, Prefix};

use super::State;
use crate::cnm::{Id, Network};
use crate::uplink::Gateway;

impl State {
    /// Gives a network's switch the gateway that the model has for it. To be called before a port
    /// joins, as a network may get its subnets with its first endpoint.
    pub(super) fn bring_gateway_up(&mut self, network: Id) {
        let Some(network) = self.model.network(network) else { return };
        let own: Box<[_]> = network.gateways().collect();
        if own.is_empty() {
            return;
        }
        let subnets = self.model.networks().flat_map(|network| &network.subnets);
        let prefixes = subnets
            .map(|subnet| Prefix { address: subnet.subnet.ip(), bits: subnet.subnet.prefix() });
        let policy = Policy {
            internal: network.internal,
            own,
            host_access: false,
            inside: prefixes.collect(),
        };
        let gateway = Gateway {
            mac: network.gateway_mac(),
            mtu: network.options.mtu,
            policy,
            outside: std::sync::Arc::clone(self.runtime.outside()),
        };
        let network = network.id;
        self.runtime.set_gateway(network, gateway);
    }
}

/// The addresses by which an endpoint's sandbox reaches the outside; none of an internal network.
pub(super) fn ways_out(network: &Network) -> Vec<std::net::IpAddr> {
    if network.internal { Vec::new() } else { network.gateways().collect() }
}
