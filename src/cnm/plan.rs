//! The difference between two pictures, as a list of changes to carry out in order.
//!
//! What is in the way goes first: endpoints leave, networks go, networks that stay are adjusted,
//! networks come, endpoints join. A network whose subnets, driver, MTU or other fixed property
//! changed is removed and added again, and its endpoints with it. Networks that name their subnets
//! come before those that take one from the default pools, so that the choice of the latter never
//! stands in the way of the former.
//!
//! Every [`Change`] holds what it takes away as well as what it brings, so it has an inverse; the
//! inverses of a plan, last first, undo it.

use std::collections::BTreeSet;
use std::fmt;

use super::declared::{Declared, DeclaredEndpoint, DeclaredNetwork};
use super::ipam::IpamDriver;
use super::network::NetworkUpdate;

/// One step from one picture to another.
///
/// `Display` is one line: `+ network blue bridge 192.168.10.0/24`, `- endpoint web`,
/// `~ network blue isolated: false -> true`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An endpoint leaves.
    RemoveEndpoint {
        /// Its name.
        name: String,
        /// What it was.
        was: Box<DeclaredEndpoint>,
    },
    /// A network goes; nothing is in it any more.
    RemoveNetwork {
        /// Its name.
        name: String,
        /// What it was.
        was: Box<DeclaredNetwork>,
    },
    /// A network is adjusted while it runs.
    UpdateNetwork {
        /// Its name.
        name: String,
        /// How it was.
        from: NetworkUpdate,
        /// How it shall be.
        to: NetworkUpdate,
    },
    /// A network comes.
    AddNetwork {
        /// Its name.
        name: String,
        /// What it shall be.
        network: Box<DeclaredNetwork>,
    },
    /// An endpoint joins a network that is there.
    AddEndpoint {
        /// Its name.
        name: String,
        /// What it shall be.
        endpoint: Box<DeclaredEndpoint>,
    },
}

/// The changes that lead from `old` to `new`, in the order in which they are carried out.
pub fn plan(old: &Declared, new: &Declared) -> Vec<Change> {
    let remade: BTreeSet<&str> = old
        .networks
        .iter()
        .filter(|(name, was)| !new.networks.get(*name).is_some_and(|is| is_adjusted(was, is)))
        .map(|(name, _)| name.as_str())
        .collect();
    let stays = |name: &str, was: &DeclaredEndpoint| {
        new.endpoints.get(name) == Some(was) && !remade.contains(was.network.as_str())
    };

    let leaving = old.endpoints.iter().filter(|(name, was)| !stays(name, was)).map(remove_endpoint);
    let going = old.networks.iter().filter(|(name, _)| remade.contains(name.as_str()));
    let adjusted = old.networks.iter().filter_map(|(name, was)| {
        let is = new.networks.get(name).filter(|is| is_adjusted(was, is))?;
        let (from, to) = (was.update(), is.update());
        (from != to).then(|| Change::UpdateNetwork { name: name.clone(), from, to })
    });
    let mut coming: Vec<_> = new
        .networks
        .iter()
        .filter(|(name, _)| remade.contains(name.as_str()) || !old.networks.contains_key(*name))
        .collect();
    coming.sort_by_key(|(name, network)| (takes_default_pool(network), *name));
    // Endpoints that insist on an address go before those that take what is free.
    let mut joining: Vec<_> = new
        .endpoints
        .iter()
        .filter(|(name, is)| {
            !old.endpoints.get(*name).is_some_and(|was| stays(name, was) && was == *is)
        })
        .collect();
    joining.sort_by_key(|(name, endpoint)| {
        (endpoint.ip.is_none() && endpoint.ip6.is_none() && endpoint.mac.is_none(), *name)
    });

    leaving
        .chain(going.map(remove_network))
        .chain(adjusted)
        .chain(coming.into_iter().map(add_network))
        .chain(joining.into_iter().map(add_endpoint))
        .collect()
}

/// Whether a running network can be adjusted from `was` to `is`: all that is fixed is the same.
fn is_adjusted(was: &DeclaredNetwork, is: &DeclaredNetwork) -> bool {
    was.updated(&is.update()) == *is
}

/// Whether a network leaves the choice of a subnet to the default pools.
pub(crate) fn takes_default_pool(network: &DeclaredNetwork) -> bool {
    let named = |ipv6| {
        network
            .subnets
            .iter()
            .any(|spec| spec.subnet.is_some_and(|subnet| subnet.is_ipv6() == ipv6))
    };
    network.driver.is_switched()
        && network.ipam.driver != IpamDriver::Null
        && (network.subnets.is_empty()
            || network.subnets.iter().any(|spec| spec.subnet.is_none())
            || network.ipv6 && !named(true))
}

fn remove_endpoint((name, was): (&String, &DeclaredEndpoint)) -> Change {
    Change::RemoveEndpoint { name: name.clone(), was: Box::new(was.clone()) }
}

fn remove_network((name, was): (&String, &DeclaredNetwork)) -> Change {
    Change::RemoveNetwork { name: name.clone(), was: Box::new(was.clone()) }
}

fn add_network((name, network): (&String, &DeclaredNetwork)) -> Change {
    Change::AddNetwork { name: name.clone(), network: Box::new(network.clone()) }
}

fn add_endpoint((name, endpoint): (&String, &DeclaredEndpoint)) -> Change {
    Change::AddEndpoint { name: name.clone(), endpoint: Box::new(endpoint.clone()) }
}

impl Change {
    /// The change that undoes this one.
    #[must_use]
    pub fn inverse(&self) -> Self {
        match self.clone() {
            Self::RemoveEndpoint { name, was } => Self::AddEndpoint { name, endpoint: was },
            Self::AddEndpoint { name, endpoint } => Self::RemoveEndpoint { name, was: endpoint },
            Self::RemoveNetwork { name, was } => Self::AddNetwork { name, network: was },
            Self::AddNetwork { name, network } => Self::RemoveNetwork { name, was: network },
            Self::UpdateNetwork { name, from, to } => {
                Self::UpdateNetwork { name, from: to, to: from }
            }
        }
    }
}

impl Declared {
    /// Carries one change out on the picture, for whoever keeps count of what has been done.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::RemoveEndpoint { name, .. } => {
                self.endpoints.remove(name);
            }
            Change::RemoveNetwork { name, .. } => {
                self.networks.remove(name);
            }
            Change::UpdateNetwork { name, to, .. } => {
                if let Some(network) = self.networks.get_mut(name) {
                    *network = network.updated(to);
                }
            }
            Change::AddNetwork { name, network } => {
                self.networks.insert(name.clone(), (**network).clone());
            }
            Change::AddEndpoint { name, endpoint } => {
                self.endpoints.insert(name.clone(), (**endpoint).clone());
            }
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemoveEndpoint { name, .. } => write!(f, "- endpoint {name}"),
            Self::RemoveNetwork { name, .. } => write!(f, "- network {name}"),
            Self::UpdateNetwork { name, from, to } => {
                write!(f, "~ network {name} {}", Difference { from, to })
            }
            Self::AddNetwork { name, network } => write!(f, "+ network {name} {network}"),
            Self::AddEndpoint { name, endpoint } => write!(f, "+ endpoint {name} {endpoint}"),
        }
    }
}

impl fmt::Display for DeclaredNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.driver)?;
        for spec in &self.subnets {
            match spec.subnet {
                Some(subnet) => write!(f, " {subnet}")?,
                None => f.write_str(" from-default-pool")?,
            }
        }
        if self.ipam.driver != IpamDriver::Default {
            write!(f, " ipam={}", self.ipam.driver)?;
        } else if self.subnets.is_empty() && self.driver.is_switched() {
            f.write_str(" from-default-pool")?;
        }
        let words = [
            (self.internal, " internal"),
            (self.attachable, " attachable"),
            (!self.ipv4, " no-ipv4"),
            (self.ipv6, " ipv6"),
        ];
        words.iter().filter(|(holds, _)| *holds).try_for_each(|(_, word)| f.write_str(word))?;
        for (key, value) in self.options.chosen() {
            write!(f, " {key}={value}")?;
        }
        Ok(())
    }
}

impl fmt::Display for DeclaredEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "on {}", self.network)?;
        if let Some(ip) = self.ip {
            write!(f, " {ip}")?;
        }
        if let Some(ip6) = self.ip6 {
            write!(f, " {ip6}")?;
        }
        if let Some(mac) = self.mac {
            write!(f, " {mac}")?;
        }
        write!(f, " {}", self.attach)
    }
}

/// What an update changes, as `key: from -> to`, joined by commas.
struct Difference<'a> {
    from: &'a NetworkUpdate,
    to: &'a NetworkUpdate,
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from.options.pairs(), self.to.options.pairs());
        let mut changed: Vec<String> = from
            .into_iter()
            .zip(to)
            .filter(|(from, to)| from != to)
            .map(|((key, from), (_, to))| format!("{key}: {from} -> {to}"))
            .collect();
        if self.from.attachable != self.to.attachable {
            changed.push(format!("attachable: {} -> {}", self.from.attachable, self.to.attachable));
        }
        if self.from.labels != self.to.labels {
            changed.push("labels".to_owned());
        }
        f.write_str(&changed.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::cnm::declared::{Attach, BUILT_IN};
    use crate::cnm::driver::Driver;
    use crate::cnm::ipam::Ipam;
    use crate::cnm::network::SubnetSpec;
    use crate::cnm::options::{LiveOptions, NetworkOptions};

    fn network(subnet: &str, isolated: bool) -> DeclaredNetwork {
        let subnet = Some(subnet.parse().unwrap());
        let live = LiveOptions { isolated, ..LiveOptions::default() };
        DeclaredNetwork {
            subnets: vec![SubnetSpec { subnet, ..SubnetSpec::default() }],
            options: NetworkOptions { live, ..NetworkOptions::default() },
            ..DeclaredNetwork::default()
        }
    }

    fn endpoint(network: &str, command: &str) -> DeclaredEndpoint {
        DeclaredEndpoint {
            network: network.to_owned(),
            ip: None,
            ip6: None,
            mac: None,
            aliases: Vec::new(),
            ifname: None,
            attach: Attach::Command(vec![command.to_owned()]),
        }
    }

    fn declared(
        networks: &[(&str, DeclaredNetwork)],
        endpoints: &[(&str, DeclaredEndpoint)],
    ) -> Declared {
        let named = |(name, network): &(&str, DeclaredNetwork)| (name.to_string(), network.clone());
        Declared {
            networks: networks.iter().map(named).collect(),
            endpoints: endpoints
                .iter()
                .map(|(name, own)| (name.to_string(), own.clone()))
                .collect(),
        }
    }

    #[test]
    fn a_plan_removes_then_adjusts_then_adds() {
        let old = declared(
            &[
                ("blue", network("192.168.10.0/24", false)),
                ("gone", network("192.168.11.0/24", false)),
                ("moved", network("192.168.12.0/24", false)),
            ],
            &[
                ("db", endpoint("moved", "db")),
                ("same", endpoint("blue", "same")),
                ("web", endpoint("blue", "old")),
                ("worker", endpoint("gone", "worker")),
            ],
        );
        let ipam = Ipam { driver: IpamDriver::Null, ..Ipam::default() };
        let new = declared(
            &[
                ("any", DeclaredNetwork::default()),
                ("blue", DeclaredNetwork { attachable: true, ..network("192.168.10.0/24", true) }),
                ("own", DeclaredNetwork { ipam, ..DeclaredNetwork::default() }),
                ("six", DeclaredNetwork { ipv4: false, ..network("fd00:1::/64", false) }),
                ("moved", network("192.168.13.0/24", false)),
            ],
            &[
                ("db", endpoint("moved", "db")),
                ("same", endpoint("blue", "same")),
                ("web", endpoint("blue", "new")),
                ("cache", endpoint("any", "cache")),
            ],
        );
        let lines: Vec<String> = plan(&old, &new).iter().map(Change::to_string).collect();
        let expected = [
            "- endpoint db",
            "- endpoint web",
            "- endpoint worker",
            "- network gone",
            "- network moved",
            "~ network blue isolated: false -> true, attachable: false -> true",
            "+ network moved bridge 192.168.13.0/24",
            "+ network own bridge ipam=null",
            "+ network six bridge fd00:1::/64 no-ipv4",
            "+ network any bridge from-default-pool",
            "+ endpoint cache on any command cache",
            "+ endpoint db on moved command db",
            "+ endpoint web on blue command new",
        ];
        assert_eq!(lines, expected);
        assert_eq!(plan(&new, &new), []);
    }

    fn any_network() -> impl Strategy<Value = DeclaredNetwork> {
        let driver = prop_oneof![4 => Just(Driver::Bridge), 1 => Just(Driver::Host)];
        let subnets = prop::option::of(0_u8..3).prop_map(|third| {
            let subnet = third.map(|third| format!("10.0.{third}.0/24").parse().unwrap());
            vec![SubnetSpec { subnet, ..SubnetSpec::default() }]
        });
        let labels = prop::collection::btree_map("[ab]", "[xy]", 0..2);
        (driver, subnets, any::<[bool; 4]>(), 1400_u16..1402, labels).prop_map(
            |(driver, subnets, [internal, attachable, ipv4, isolated], mtu, labels)| {
                let live = LiveOptions { isolated, ..LiveOptions::default() };
                let options = NetworkOptions { live, mtu, ..NetworkOptions::default() };
                DeclaredNetwork {
                    driver,
                    subnets,
                    internal,
                    attachable,
                    ipv4,
                    options,
                    labels,
                    ..DeclaredNetwork::default()
                }
            },
        )
    }

    fn any_declared() -> impl Strategy<Value = Declared> {
        let networks = prop::collection::btree_map("[a-d]", any_network(), 0..4);
        let endpoints = prop::collection::btree_map("[p-t]", (any::<u8>(), 0_u8..3), 0..5);
        (networks, endpoints).prop_map(|(networks, endpoints)| {
            let names: Vec<String> =
                networks.keys().cloned().chain(BUILT_IN.map(str::to_owned)).collect();
            let endpoints: BTreeMap<_, _> = endpoints
                .into_iter()
                .map(|(name, (at, command))| {
                    let network = &names[usize::from(at) % names.len()];
                    (name, endpoint(network, &command.to_string()))
                })
                .collect();
            Declared { networks, endpoints }
        })
    }

    /// Carries a change out only where the world is as the change expects it.
    fn carry_out(world: &mut Declared, change: &Change) {
        let empty = |name: &str| world.endpoints.values().all(|own| own.network != name);
        match change {
            Change::RemoveEndpoint { name, was } => assert_eq!(world.endpoints[name], **was),
            Change::RemoveNetwork { name, was } => {
                assert_eq!(world.networks[name], **was);
                assert!(empty(name));
            }
            Change::UpdateNetwork { name, from, to } => {
                assert_eq!(world.networks[name].update(), *from);
                assert_ne!(from, to);
            }
            Change::AddNetwork { name, .. } => assert!(!world.networks.contains_key(name)),
            Change::AddEndpoint { name, endpoint } => {
                assert!(!world.endpoints.contains_key(name));
                let network = &endpoint.network;
                assert!(world.networks.contains_key(network) || BUILT_IN.contains(&&**network));
            }
        }
        world.apply(change);
    }

    proptest! {
        #[test]
        fn a_plan_leads_from_one_picture_to_the_other_and_back(
            old in any_declared(),
            new in any_declared(),
        ) {
            let changes = plan(&old, &new);
            let mut world = old.clone();
            changes.iter().for_each(|change| carry_out(&mut world, change));
            prop_assert_eq!(&world, &new);
            changes.iter().rev().for_each(|change| carry_out(&mut world, &change.inverse()));
            prop_assert_eq!(&world, &old);
            for change in changes {
                prop_assert_eq!(change.inverse().inverse(), change);
            }
        }
    }
}
