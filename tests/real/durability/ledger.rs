//! What clients know to be there, and whether it is.
//!
//! What was acknowledged is there, and what was acknowledged to be gone is not. Of what was under
//! way when the appliance was killed, all is there or nothing. A sandbox that ended is awaited for a
//! while when its appliance was killed before it had written that down, and so is one that died with
//! its appliance.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::Value;
use weft::api::client::Client;
use weft::api::shapes::Assigned;
use weft::cnm::Id;

/// An endpoint as `inspect` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name of its network.
    pub network: String,
    /// Its sandbox.
    pub sandbox: String,
    /// Its own id.
    pub endpoint: String,
    /// Its station address.
    pub mac: String,
    /// Its addresses.
    pub addresses: Vec<IpNetwork>,
}

impl Member {
    /// The same as the sandbox was told it.
    pub fn told(sandbox: Id, told: &Assigned) -> Self {
        Self {
            network: told.network.clone(),
            sandbox: sandbox.to_string(),
            endpoint: told.id.to_string(),
            mac: told.mac.clone(),
            addresses: told.addresses.clone(),
        }
    }
}

/// All that is there.
#[derive(Debug, Default)]
pub struct Found {
    /// The networks, without who is in them.
    pub networks: BTreeMap<String, Value>,
    /// Who is in them, by the name of the sandbox.
    pub members: BTreeMap<String, Vec<Member>>,
}

impl Found {
    /// Asks for everything, and checks that it fits together.
    pub fn gather(api: &Client) -> Self {
        let mut found = Self::default();
        let listed: Vec<Value> = api.get("/networks").unwrap();
        for network in listed {
            let mut network: Value =
                api.get(&format!("/networks/{}", text(&network, "Id"))).unwrap();
            let name = text(&network, "Name");
            let containers = network["Containers"].take();
            for (key, member) in containers.as_object().unwrap() {
                let addresses = ["IPv4Address", "IPv6Address"].map(|key| text(member, key));
                let addresses = addresses.iter().filter(|text| !text.is_empty());
                let own = Member {
                    network: name.clone(),
                    sandbox: key.clone(),
                    endpoint: text(member, "EndpointID"),
                    mac: text(member, "MacAddress"),
                    addresses: addresses.map(|text| text.parse().unwrap()).collect(),
                };
                found.members.entry(text(member, "Name")).or_default().push(own);
            }
            let former = found.networks.insert(name, network);
            assert!(former.is_none(), "two of one name: {former:?}");
        }
        found.check();
        found
    }

    /// Subnets that share nothing, and addresses with one holder.
    fn check(&self) {
        let mut all: Vec<(IpNetwork, &str)> = Vec::new();
        for (name, network) in &self.networks {
            for (subnet, _) in subnets(network) {
                let other = all.iter().find(|(other, _)| {
                    other.contains(subnet.network()) || subnet.contains(other.network())
                });
                assert!(other.is_none(), "{subnet} of {name} overlaps {other:?}");
                all.push((subnet, name));
            }
        }
        let mut holders: BTreeMap<(&str, String), &Member> = BTreeMap::new();
        for member in self.members.values().flatten() {
            let subnets = subnets(&self.networks[&member.network]);
            for address in &member.addresses {
                let own = subnets.iter().find(|(subnet, _)| subnet.contains(address.ip()));
                let (subnet, gateway) = own.unwrap_or_else(|| panic!("outside: {member:?}"));
                assert_ne!(*gateway, Some(address.ip()), "{member:?}");
                assert_ne!(subnet.network(), address.ip(), "{member:?}");
            }
            let addresses = member.addresses.iter().map(|address| address.ip().to_string());
            for own in addresses.chain([member.mac.clone()]) {
                let other = holders.insert((&member.network, own), member);
                assert!(other.is_none(), "two holders: {member:?} and {other:?}");
            }
        }
    }

    /// Who is on the networks at all.
    pub fn names(&self) -> BTreeSet<&str> {
        self.members.keys().map(String::as_str).collect()
    }

    /// Where a sandbox is.
    pub fn of(&self, sandbox: &str) -> &[Member] {
        self.members.get(sandbox).map_or(&[], Vec::as_slice)
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// The subnets of a network, and their gateways.
fn subnets(network: &Value) -> Vec<(IpNetwork, Option<IpAddr>)> {
    let all = network["IPAM"]["Config"].as_array().into_iter().flatten();
    all.map(|own| (text(own, "Subnet").parse().unwrap(), text(own, "Gateway").parse().ok()))
        .collect()
}

/// A network of a client's.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// The subnets that were asked for.
    pub subnets: Vec<String>,
    /// Its id, once it was acknowledged.
    pub id: Option<String>,
    /// As it was seen last.
    pub seen: Option<Value>,
    /// Whether it is there is not known.
    pub is_unknown: bool,
}

/// What is known of a sandbox.
#[derive(Clone, Debug)]
pub enum Standing {
    /// It was told this, and holds its life line, or will come back.
    Here(Id, Vec<Assigned>),
    /// It was asked for on these networks when the appliance was killed, and will not come back.
    Asked(Vec<String>),
    /// It had these endpoints, and will not come back.
    Gone(Vec<Member>),
}

/// What one client knows.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Its networks.
    pub networks: BTreeMap<String, Network>,
    /// Its sandboxes.
    pub sandboxes: BTreeMap<String, Standing>,
    /// Sandboxes with an endpoint that may be there no more, or may have come; and its network.
    pub unknown: BTreeMap<String, String>,
    /// Endpoints that have come and that their sandboxes do not know of.
    pub extra: BTreeMap<String, Member>,
    /// Networks that were to be pruned when the appliance was killed.
    pub pruned: BTreeSet<String>,
}

impl Ledger {
    /// Compares with what is there, and learns what was not known.
    pub fn compare(&mut self, found: &Found) {
        let left = self.pruned.iter().filter(|name| found.networks.contains_key(*name)).count();
        assert!(left == 0 || left == self.pruned.len(), "{left} are left of {:?}", self.pruned);
        self.pruned.clear();
        self.networks.retain(|name, own| own.compare(name, found.networks.get(name)));
        self.extra.clear();
        for (name, network) in &self.unknown {
            let Some(Standing::Here(_, told)) = self.sandboxes.get(name) else { continue };
            let is_told = told.iter().any(|own| own.network == *network);
            let one_more = found.of(name).iter().find(|own| own.network == *network);
            if let Some(one_more) = one_more.filter(|_| !is_told) {
                self.extra.insert(name.clone(), one_more.clone());
            }
        }
        self.sandboxes.retain(|name, standing| {
            let unknown = self.unknown.get(name).map(String::as_str);
            standing.compare(name, unknown, found.of(name))
        });
        let extra = &self.extra;
        self.unknown.retain(|name, _| extra.contains_key(name));
    }

    /// Notes that a sandbox will not come back.
    pub fn give_up(&mut self, name: &str) {
        let Some(Standing::Here(id, told)) = self.sandboxes.get(name) else { return };
        let had = told.iter().map(|own| Member::told(*id, own));
        let had = had.chain(self.extra.remove(name)).collect();
        self.unknown.remove(name);
        self.sandboxes.insert(name.to_owned(), Standing::Gone(had));
    }

    /// How many who live are on a network.
    pub fn living(&self, network: &str) -> usize {
        let is_on = |standing: &&Standing| match standing {
            Standing::Here(_, told) => told.iter().any(|own| own.network == network),
            Standing::Asked(_) | Standing::Gone(_) => false,
        };
        self.sandboxes.values().filter(is_on).count()
    }

    /// How many are on a network, or may be.
    pub fn users(&self, network: &str) -> usize {
        let uses = |standing: &&Standing| match standing {
            Standing::Here(_, told) => told.iter().any(|own| own.network == network),
            Standing::Asked(networks) => networks.iter().any(|own| own == network),
            Standing::Gone(had) => had.iter().any(|own| own.network == network),
        };
        self.sandboxes.values().filter(uses).count()
    }
}

impl Network {
    /// Whether it is there, as it has to be unless that is not known.
    fn compare(&mut self, name: &str, found: Option<&Value>) -> bool {
        let Some(found) = found else {
            assert!(self.is_unknown, "network {name} is gone: {self:?}");
            return false;
        };
        if let Some(seen) = &self.seen {
            assert_eq!(seen, found);
        }
        if let Some(id) = &self.id {
            assert_eq!(*id, text(found, "Id"));
        }
        let has = subnets(found);
        let has: Vec<String> = has.into_iter().map(|(subnet, _)| subnet.to_string()).collect();
        assert!(has == self.subnets || (self.subnets.is_empty() && has.len() == 1), "{found}");
        self.id = Some(text(found, "Id"));
        self.seen = Some(found.clone());
        self.is_unknown = false;
        true
    }
}

impl Standing {
    /// Whether it is still to be reckoned with.
    fn compare(&mut self, name: &str, unknown: Option<&str>, found: &[Member]) -> bool {
        match self {
            Self::Here(id, told) => {
                let is_there = |own: &Assigned| found.contains(&Member::told(*id, own));
                told.retain(|own| {
                    let is_there = is_there(own);
                    let may_be_gone = unknown == Some(&*own.network);
                    assert!(is_there || may_be_gone, "{name} was told {own:?}, there is {found:?}");
                    is_there
                });
                // One more may have been on its way; it is nobody's until its sandbox is back.
                let others = found.iter().filter(|own| unknown != Some(&*own.network)).count();
                let kept = told.iter().filter(|own| unknown != Some(&*own.network)).count();
                assert_eq!(others, kept, "{name}: {found:?}");
                true
            }
            Self::Asked(networks) => {
                if found.is_empty() {
                    return false;
                }
                let on: BTreeSet<&str> = found.iter().map(|own| &*own.network).collect();
                let asked: BTreeSet<&str> = networks.iter().map(|own| &**own).collect();
                assert_eq!(on, asked, "{name} is there in part");
                *self = Self::Gone(found.to_vec());
                true
            }
            Self::Gone(had) => {
                let is_whole = found.len() == had.len() && found.iter().all(|m| had.contains(m));
                let fits = found.is_empty() || is_whole;
                assert!(fits, "{name} had {had:?} and has {found:?}");
                !found.is_empty()
            }
        }
    }
}
