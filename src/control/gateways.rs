//! The gateways of the networks, as the model has them, and whom their guests know by name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnetwork::IpNetwork;
use weft_gateway::flow::policy::{Policy, Prefix};
use weft_gateway::station::dns::{Names, Resolver};
use weft_gateway::station::{Config, Dhcp, MAX_ADDRESSES, Router, Station};

use super::sandboxes::Attached;
use super::{Control, State};
use crate::cnm::{Id, Network};
use crate::uplink::{Gateway, Who};

/// The domain that the names of endpoints are in.
const DOMAIN: &str = "weft.internal";
/// How long a guest may keep the address it asked for; it has it as long as it is there.
const LEASE_S: u32 = 86_400;
/// How long a router that was advertised is believed to be there (RFC 4861 §6.2.1).
const ROUTER_S: u16 = 1800;
/// How long changes of names are gathered before guests find them.
const GATHER: Duration = Duration::from_millis(20);

impl Control {
    /// Keeps what guests find by name as the model has it, for as long as it is run.
    pub(crate) async fn keep_names(self) {
        let mut membership = self.membership();
        let mut told = BTreeMap::new();
        while membership.changed().await.is_ok() {
            tokio::time::sleep(GATHER).await;
            membership.mark_unchanged();
            self.state().tell_names(&mut told);
        }
    }
}

impl State {
    /// Gives a network's switch the gateway that the model has for it. To be called before a port
    /// joins, as a network may get its subnets with its first endpoint.
    pub(super) fn bring_gateway_up(&mut self, network: Id) {
        let Some(network) = self.model.network(network) else { return };
        // A part of a larger network has that one's router.
        let is_part = network.options.uplink.parent.is_some();
        if is_part || network.gateways().next().is_none() {
            return;
        }
        let station = match Station::new(config(network)) {
            Ok(station) => station,
            Err(error) => {
                tracing::warn!(network = network.name, %error, "the network has no gateway");
                return;
            }
        };
        let own: Box<[IpAddr]> = network.gateways().collect();
        let host_access = network.options.live.host_access;
        // The gateway's own address stands for the host where that may be reached.
        let host = if host_access { own.to_vec() } else { Vec::new() };
        let subnets = self.model.networks().flat_map(|network| &network.subnets);
        let prefixes = subnets.map(|subnet| prefix(subnet.subnet));
        let policy =
            Policy { internal: network.internal, own, host_access, inside: prefixes.collect() };
        let gateway = Gateway {
            resolver: Resolver::new(&station, host),
            station,
            policy,
            outside: Arc::clone(self.runtime.outside()),
        };
        let network = network.id;
        self.runtime.set_gateway(network, gateway);
    }

    /// Says to the ports of a sandbox who is behind them, and whom that knows by name.
    pub(super) fn introduce(&self, sandbox: Id) {
        let Some(sandbox) = self.sandboxes.get(&sandbox) else { return };
        for attached in &sandbox.endpoints {
            let Some(port) = attached.port else { continue };
            let mut who = Who::new(attached.assigned.mac(), lease(attached), &sandbox.name);
            let own = std::iter::once(attached.network);
            let others = sandbox.endpoints.iter().map(|other| other.network);
            let networks = own.chain(others.filter(|other| *other != attached.network));
            who.neighbours =
                networks.filter_map(|network| self.runtime.names(network).cloned()).collect();
            self.runtime.introduce(port, who);
        }
    }

    /// Lets guests find the names that the model has now.
    ///
    /// `told` is which version of each network's names they have.
    fn tell_names(&self, told: &mut BTreeMap<Id, u64>) {
        told.retain(|network, _| self.model.network(*network).is_some());
        for network in self.model.networks() {
            let Some(neighbours) = self.runtime.names(network.id) else { continue };
            let version = self.hosts.version(&[network.id]);
            if told.insert(network.id, version) == Some(version) {
                continue;
            }
            let mut names = Names::new();
            for endpoint in self.model.endpoints_of(network.id) {
                let addresses: Vec<IpAddr> =
                    endpoint.addresses.iter().map(|address| address.ip()).collect();
                // Names that DNS cannot say are in the hosts file all the same.
                let _ = names.add(&endpoint.name, &addresses);
                for alias in &endpoint.aliases {
                    let _ = names.add_alias(alias, &addresses);
                }
            }
            neighbours.store(Arc::new(names));
        }
    }
}

fn config(network: &Network) -> Config {
    let with_prefix = network
        .subnets
        .iter()
        .filter_map(|subnet| IpNetwork::new(subnet.gateway?, subnet.subnet.prefix()).ok());
    Config {
        mac: network.gateway_mac(),
        addresses: with_prefix.take(MAX_ADDRESSES).collect(),
        mtu: network.options.mtu,
        search: DOMAIN.to_owned(),
        leads_out: !network.internal,
        dns: true,
        dhcp: Some(Dhcp { lease_seconds: LEASE_S, routes: Vec::new() }),
        // Endpoints have the addresses that they are given, and make none up.
        router: network.ipv6.then_some(Router { autonomous: false, lifetime_seconds: ROUTER_S }),
    }
}

fn lease(attached: &Attached) -> Option<(std::net::Ipv4Addr, u8)> {
    attached.assigned.addresses.iter().find_map(|address| match address {
        IpNetwork::V4(address) => Some((address.ip(), address.prefix())),
        IpNetwork::V6(_) => None,
    })
}

fn prefix(subnet: IpNetwork) -> Prefix {
    Prefix { address: subnet.ip(), bits: subnet.prefix() }
}
