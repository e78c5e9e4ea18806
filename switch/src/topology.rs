//! Which port is in which network: an immutable picture.
//!
//! The control plane builds a [`Topology`], publishes it, and never changes it; a worker adopts the
//! newest at the end of its turn. What changes per frame hangs on it by reference: the FDB of each
//! network and the storm control of each port outlive the picture, so nothing learned is lost when
//! a port comes or goes.
//!
//! Ports and networks are found by their number in an array. There is no hashing on the frame path.
//! The list of ports to flood to is one per network, in order of their numbers; who came from where
//! is left out while walking over it, which costs a comparison per port and keeps a picture of
//! 10 000 ports small and quick to build.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::fdb::Fdb;
use crate::port::{Group, NetworkId, PortConfig, PortId};
use crate::uplink::Uplink;

/// The ports and networks of an appliance at one moment.
#[derive(Debug, Default)]
pub struct Topology {
    /// By [`PortId::index`].
    ports: Box<[Option<Attachment>]>,
    /// By the number of the [`NetworkId`].
    networks: Box<[Option<Network>]>,
}

/// A port in the picture.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) config: PortConfig,
    /// Whether a flood from here reaches nobody.
    pub(crate) alone: bool,
    /// The uplink of its network, which may be itself.
    pub(crate) uplink: Option<Uplink>,
}

#[derive(Debug)]
struct Network {
    fdb: Arc<Fdb>,
    members: Box<[Member]>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    port: PortId,
    group: Option<Group>,
}

impl Topology {
    /// Begins an empty picture.
    #[must_use]
    pub fn builder() -> TopologyBuilder {
        TopologyBuilder::default()
    }

    /// Gives what is known of a port, attached or not.
    #[must_use]
    #[inline]
    pub fn port(&self, port: PortId) -> Option<&PortConfig> {
        self.attachment(port).map(|attachment| &attachment.config)
    }

    /// Gives the network a port is attached to; `None` if the port or its network is not there.
    #[must_use]
    #[inline]
    pub fn network_of(&self, port: PortId) -> Option<NetworkId> {
        let network = self.port(port)?.network;
        self.network(network).map(|_| network)
    }

    /// Gives the forwarding database of a network.
    #[must_use]
    #[inline]
    pub fn fdb(&self, network: NetworkId) -> Option<&Arc<Fdb>> {
        self.network(network).map(|network| &network.fdb)
    }

    /// Walks over the ports in the picture, by number.
    pub fn ports(&self) -> impl Iterator<Item = (PortId, &PortConfig)> {
        (1..=u16::MAX)
            .filter_map(PortId::new)
            .zip(&self.ports)
            .filter_map(|(port, attachment)| Some((port, &attachment.as_ref()?.config)))
    }

    /// Walks over the networks in the picture, by number.
    pub fn networks(&self) -> impl Iterator<Item = (NetworkId, &Arc<Fdb>)> {
        (0..=u16::MAX)
            .map(NetworkId)
            .zip(&self.networks)
            .filter_map(|(id, network)| Some((id, &network.as_ref()?.fdb)))
    }

    /// Walks over the ports that a flood from `ingress` goes to: all of its network but itself and
    /// those of its split-horizon group. Nobody, for a port that is detached.
    #[inline]
    pub fn flood(&self, ingress: PortId) -> impl Iterator<Item = PortId> + '_ {
        let config = self.port(ingress);
        let group = config.and_then(|config| config.group);
        config
            .and_then(|config| self.network(config.network))
            .map_or(&[][..], |network| &network.members)
            .iter()
            .filter(move |member| member.port != ingress && !same_group(member.group, group))
            .map(|member| member.port)
    }

    /// Says whether a frame from `ingress` may leave by `egress`: another port of the same network
    /// and of no common split-horizon group.
    #[must_use]
    #[inline]
    pub fn may_pass(&self, ingress: PortId, egress: PortId) -> bool {
        let (Some(from), Some(to)) = (self.port(ingress), self.port(egress)) else {
            return false;
        };
        ingress != egress
            && from.network == to.network
            && self.network(from.network).is_some()
            && !same_group(from.group, to.group)
    }

    #[inline]
    pub(crate) fn attachment(&self, port: PortId) -> Option<&Attachment> {
        self.ports.get(port.index())?.as_ref()
    }

    #[inline]
    fn network(&self, network: NetworkId) -> Option<&Network> {
        self.networks.get(usize::from(network.0))?.as_ref()
    }
}

/// Says whether two ports of one network share a split-horizon group.
#[inline]
pub(crate) fn same_group(one: Option<Group>, other: Option<Group>) -> bool {
    one.is_some() && one == other
}

/// A picture in the making.
#[derive(Debug, Default)]
pub struct TopologyBuilder {
    networks: BTreeMap<NetworkId, Arc<Fdb>>,
    ports: BTreeMap<PortId, PortConfig>,
}

impl TopologyBuilder {
    /// Adds a network with its forwarding database; the latest of one number counts.
    #[must_use]
    pub fn network(mut self, network: NetworkId, fdb: Arc<Fdb>) -> Self {
        self.networks.insert(network, fdb);
        self
    }

    /// Adds a port; the latest of one number counts.
    ///
    /// A port whose network is never added is detached, and its frames are dropped as such. Of
    /// several that claim to be their network's uplink, the first by number is.
    #[must_use]
    pub fn port(mut self, port: PortId, config: PortConfig) -> Self {
        self.ports.insert(port, config);
        self
    }

    /// Finishes the picture.
    #[must_use]
    pub fn build(self) -> Topology {
        let mut members: BTreeMap<NetworkId, Vec<Member>> = BTreeMap::new();
        let mut group_sizes: BTreeMap<(NetworkId, Group), usize> = BTreeMap::new();
        let mut uplinks: BTreeMap<NetworkId, Uplink> = BTreeMap::new();
        for (&port, config) in &self.ports {
            if let Some(mode) = config.uplink {
                uplinks.entry(config.network).or_insert(Uplink { port, mode });
            }
            let member = Member { port, group: config.group };
            members.entry(config.network).or_default().push(member);
            if let Some(group) = config.group {
                *group_sizes.entry((config.network, group)).or_default() += 1;
            }
        }

        let mut ports = empty(self.ports.keys().next_back().map_or(0, |last| last.index() + 1));
        for (port, config) in self.ports {
            let all = members.get(&config.network).map_or(0, Vec::len);
            let unreachable = config.group.map_or(1, |group| group_sizes[&(config.network, group)]);
            let uplink = uplinks.get(&config.network).copied();
            ports[port.index()] = Some(Attachment { config, alone: all == unreachable, uplink });
        }

        let last = self.networks.keys().next_back();
        let mut networks = empty(last.map_or(0, |last| usize::from(last.0) + 1));
        for (id, fdb) in self.networks {
            let members = members.remove(&id).unwrap_or_default().into();
            networks[usize::from(id.0)] = Some(Network { fdb, members });
        }
        Topology { ports, networks }
    }
}

fn empty<T>(len: usize) -> Box<[Option<T>]> {
    (0..len).map(|_| None).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: NetworkId = NetworkId(3);
    const BLUE: NetworkId = NetworkId(900);

    fn port(number: u16) -> PortId {
        PortId::new(number).unwrap()
    }

    fn in_group(network: NetworkId, group: Option<u16>) -> PortConfig {
        PortConfig { group: group.map(Group), ..PortConfig::open(network) }
    }

    fn fdb() -> Arc<Fdb> {
        Arc::new(Fdb::new(16, 16, 0))
    }

    /// Red: 1, 2 open; 8, 9 in group 1; 5, 6 in group 2. Blue: 20 alone, in group 1; 30, 31 form
    /// the whole of a network of their own; 40 is of a network that is not there.
    fn picture() -> Topology {
        Topology::builder()
            .port(port(9), in_group(RED, Some(1)))
            .port(port(1), in_group(RED, None))
            .port(port(2), in_group(RED, None))
            .port(port(8), in_group(RED, Some(1)))
            .port(port(5), in_group(RED, Some(2)))
            .port(port(6), in_group(RED, Some(2)))
            .port(port(20), in_group(BLUE, Some(1)))
            .port(port(30), in_group(NetworkId(0), Some(1)))
            .port(port(31), in_group(NetworkId(0), Some(1)))
            .port(port(40), in_group(NetworkId(7), None))
            .network(NetworkId(0), fdb())
            .network(RED, fdb())
            .network(BLUE, fdb())
            .build()
    }

    #[test]
    fn a_flood_reaches_the_network_but_not_the_ingress_nor_its_group() {
        let cases = [
            (1, &[2, 5, 6, 8, 9][..]),
            (8, &[1, 2, 5, 6]),
            (5, &[1, 2, 8, 9]),
            (20, &[]),
            (30, &[]),
            (40, &[]),
            (41, &[]),
            (60_000, &[]),
        ];
        let picture = picture();
        for (ingress, expected) in cases {
            let reached: Vec<u16> = picture.flood(port(ingress)).map(PortId::get).collect();
            assert_eq!(reached, expected, "port {ingress}");
        }
    }

    #[test]
    fn a_flood_goes_exactly_where_a_frame_may_pass_and_alone_means_nowhere() {
        let picture = picture();
        for from in (1..=50).map(port) {
            let flooded: Vec<PortId> = picture.flood(from).collect();
            let passable: Vec<PortId> =
                (1..=50).map(port).filter(|to| picture.may_pass(from, *to)).collect();
            assert_eq!(flooded, passable, "{from}");
            if picture.network_of(from).is_some() {
                assert_eq!(picture.attachment(from).unwrap().alone, flooded.is_empty(), "{from}");
            }
        }
    }

    #[test]
    fn a_port_of_a_network_that_is_not_there_is_known_and_detached() {
        let picture = picture();
        assert!(picture.port(port(40)).is_some());
        assert_eq!(picture.network_of(port(40)), None);
        assert_eq!(picture.network_of(port(41)), None);
        assert_eq!(picture.network_of(port(20)), Some(BLUE));
        assert!(picture.fdb(NetworkId(7)).is_none() && picture.fdb(RED).is_some());
    }

    #[test]
    fn a_picture_lists_what_was_put_in() {
        let picture = picture();
        let ports: Vec<u16> = picture.ports().map(|(port, _)| port.get()).collect();
        assert_eq!(ports, [1, 2, 5, 6, 8, 9, 20, 30, 31, 40]);
        let networks: Vec<NetworkId> = picture.networks().map(|(id, _)| id).collect();
        assert_eq!(networks, [NetworkId(0), RED, BLUE]);
        assert_eq!(Topology::default().ports().count(), 0);
    }
}
