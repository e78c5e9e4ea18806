//! A client that makes and removes networks, and life lines on them, until the appliance is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::ioctl_fionbio;
use serde_json::{Value, json};
use weft::api::client::{Client as Api, ClientError, escaped};
use weft::api::lifeline::Lifeline;
use weft::api::shapes::{
    Assigned, AttachRequest, EndpointRequest, Failure, FromAppliance, FromSandbox, Kind,
};
use weft::cnm::Id;

use super::ledger::{Ledger, Network, Standing};
use crate::support::random::Random;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
const MAX_NETWORKS: usize = 6;
const MAX_SANDBOXES: usize = 12;
/// The networks that all clients share: one with room, and one that is often full.
pub const WIDE: (&str, &str) = ("wide", "10.210.0.0/22");
pub const TIGHT: (&str, &str) = ("tight", "10.211.0.0/28");

/// The appliance is gone.
#[derive(Debug)]
pub struct Gone;

/// What came of a request, if there was anybody to answer it.
type Answer<T> = Result<Result<T, Failure>, Gone>;

/// What clients of one round share.
#[derive(Debug, Default)]
pub struct Round {
    /// What was done so far, by all of them in all rounds.
    pub done: AtomicUsize,
    /// Whether the appliance is being killed.
    pub killed: AtomicBool,
}

#[derive(Debug)]
pub struct Client {
    number: usize,
    api: Api,
    random: Random,
    pub ledger: Ledger,
    lines: BTreeMap<String, Lifeline>,
    count: usize,
}

impl Client {
    pub fn new(number: usize, api: Api, random: Random) -> Self {
        let (ledger, lines) = (Ledger::default(), BTreeMap::new());
        Self { number, api, random, ledger, lines, count: 0 }
    }

    /// Comes back with its sandboxes and goes on until the appliance is gone.
    pub fn work(&mut self, round: &Round) {
        let gone: Result<(), Gone> = self.come_back(round).and_then(|()| {
            loop {
                self.step()?;
                round.done.fetch_add(1, Ordering::Relaxed);
            }
        });
        let Err(Gone) = gone else { return };
        assert!(round.killed.load(Ordering::SeqCst), "an appliance that lives does not answer");
        self.lines.clear();
    }

    /// Announces its sandboxes to the next appliance, but for some that died.
    fn come_back(&mut self, round: &Round) -> Result<(), Gone> {
        for name in self.here() {
            if self.random.once_in(8) {
                self.ledger.give_up(&name);
                continue;
            }
            self.come_back_as(&name)?;
            round.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn come_back_as(&mut self, name: &str) -> Result<(), Gone> {
        let (id, mut kept) = self.told(name);
        // One that was to leave a network when the appliance was killed may know of it already.
        let is_known = !self.ledger.unknown.contains_key(name);
        if is_known && kept.len() > 1 && self.random.once_in(8) {
            let left = kept.remove(self.random.below(kept.len()));
            self.ledger.unknown.insert(name.to_owned(), left.network);
        }
        let wanted = kept.iter().map(again).collect();
        let (same, assigned, line) = self
            .attach(name, Some(id), wanted)?
            .unwrap_or_else(|failure| panic!("{name} does not come back: {failure:?}"));
        assert_eq!((same, &assigned), (id, &kept));
        self.ledger.unknown.remove(name);
        self.ledger.extra.remove(name);
        self.ledger.sandboxes.insert(name.to_owned(), Standing::Here(id, assigned));
        self.lines.insert(name.to_owned(), line);
        Ok(())
    }

    /// Comes back with all of its sandboxes, to an appliance that is not killed.
    pub fn come_back_whole(&mut self) {
        for name in self.here() {
            self.come_back_as(&name).unwrap();
        }
    }

    /// Lets all of its sandboxes die; their names.
    pub fn abandon(&mut self) -> Vec<String> {
        self.lines.clear();
        let here = self.here();
        here.iter().for_each(|name| self.ledger.give_up(name));
        here
    }

    /// The sandboxes that are there, or will come back.
    fn here(&self) -> Vec<String> {
        let all = self.ledger.sandboxes.iter();
        let here = all.filter(|(_, standing)| matches!(standing, Standing::Here(..)));
        here.map(|(name, _)| name.clone()).collect()
    }

    /// What one of them was told.
    fn told(&self, name: &str) -> (Id, Vec<Assigned>) {
        let Some(Standing::Here(id, told)) = self.ledger.sandboxes.get(name) else {
            panic!("{name} is not there");
        };
        (*id, told.clone())
    }

    fn step(&mut self) -> Result<(), Gone> {
        match self.random.below(20) {
            0..4 => self.create()?,
            4..6 => self.remove()?,
            6 => self.prune()?,
            7..13 => self.begin()?,
            13..17 => self.end()?,
            17 | 18 => self.disconnect()?,
            _ => self.connect()?,
        }
        self.listen()
    }

    /// A name that was never there.
    fn fresh(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}{}-{}", self.number, self.count)
    }

    fn create(&mut self) -> Result<(), Gone> {
        if self.ledger.networks.len() >= MAX_NETWORKS {
            return self.remove();
        }
        let name = self.fresh("n");
        let third = self.count % 256;
        let mut subnets = match self.random.below(3) {
            0 => Vec::new(),
            1 => vec![format!("10.{}.{third}.0/24", 220 + self.number)],
            _ => vec![format!("10.{}.{third}.64/29", 230 + self.number)],
        };
        if !subnets.is_empty() && self.random.once_in(3) {
            subnets.push(format!("fd00:{}:{third}::/64", 220 + self.number));
        }
        let config: Vec<Value> = subnets.iter().map(|own| json!({ "Subnet": own })).collect();
        let body = json!({
            "Name": name,
            "IPAM": { "Config": config },
            "Labels": { "client": self.number.to_string() },
        });
        let network = Network { subnets, is_unknown: true, ..Network::default() };
        let is_default = network.subnets.is_empty();
        self.ledger.networks.insert(name.clone(), network);
        let created: Result<Value, Failure> = self.post("/networks/create", &body)?;
        match created {
            Ok(created) => {
                let id = created["Id"].as_str().unwrap().to_owned();
                let own = self.ledger.networks.get_mut(&name).unwrap();
                (own.id, own.is_unknown) = (Some(id), false);
            }
            Err(failure) => {
                assert!(is_default && failure.message.contains("fully subnetted"), "{failure:?}");
                self.ledger.networks.remove(&name);
            }
        }
        Ok(())
    }

    fn remove(&mut self) -> Result<(), Gone> {
        let names: Vec<String> = self.ledger.networks.keys().cloned().collect();
        let Some(name) = self.random.pick(&names) else { return Ok(()) };
        self.ledger.networks.get_mut(name).unwrap().is_unknown = true;
        match answer(self.api.delete(&format!("/networks/{name}")))? {
            Ok(()) => {
                self.ledger.networks.remove(name);
            }
            Err(failure) => {
                assert!(failure.message.contains("active endpoints"), "{failure:?}");
                assert_ne!(self.ledger.users(name), 0, "{failure:?}");
                self.ledger.networks.get_mut(name).unwrap().is_unknown = false;
            }
        }
        Ok(())
    }

    /// Removes the networks that nobody is on.
    pub fn prune(&mut self) -> Result<(), Gone> {
        let users = |name: &String| self.ledger.users(name);
        let names = self.ledger.networks.keys();
        let meant: BTreeSet<String> = names.filter(|name| users(name) == 0).cloned().collect();
        // Those that only the dead are on may be free meanwhile.
        let living = |name: &String| self.ledger.living(name);
        let free: BTreeSet<String> =
            self.ledger.networks.keys().filter(|name| living(name) == 0).cloned().collect();
        for (name, own) in &mut self.ledger.networks {
            own.is_unknown = free.contains(name);
        }
        self.ledger.pruned.clone_from(&meant);
        let filters = format!("{{\"label\":[\"client={}\"]}}", self.number);
        let path = format!("/networks/prune?filters={}", escaped(&filters));
        let pruned: Result<Value, Failure> = self.post(&path, &())?;
        let pruned = pruned.unwrap_or_else(|failure| panic!("{failure:?}"));
        let list = pruned["NetworksDeleted"].as_array().into_iter().flatten();
        let deleted: BTreeSet<String> =
            list.map(|name| name.as_str().unwrap().to_owned()).collect();
        let is_right = deleted.is_superset(&meant) && deleted.is_subset(&free);
        assert!(is_right, "{deleted:?} of {meant:?} and {free:?}");
        self.ledger.pruned.clear();
        self.ledger.networks.retain(|name, _| !deleted.contains(name));
        self.ledger.networks.values_mut().for_each(|own| own.is_unknown = false);
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Gone> {
        if self.lines.len() >= MAX_SANDBOXES {
            return self.end();
        }
        let name = self.fresh("s");
        let mut networks: Vec<String> = self.ledger.networks.keys().cloned().collect();
        networks.extend([WIDE.0, WIDE.0, TIGHT.0, "bridge"].map(str::to_owned));
        let mut wanted: Vec<EndpointRequest> = Vec::new();
        for _ in 0..=self.random.below(3) {
            let network = self.random.pick(&networks).unwrap().clone();
            if wanted.iter().any(|other| other.network == network) {
                continue;
            }
            let last = u8::try_from(1 + self.random.below(14)).unwrap();
            let is_static = self.random.once_in(4);
            let ip = match &*network {
                "wide" if is_static => Some(Ipv4Addr::new(10, 210, 1, last)),
                "tight" if is_static => Some(Ipv4Addr::new(10, 211, 0, last)),
                _ => None,
            };
            wanted.push(EndpointRequest { network, ip, ..EndpointRequest::default() });
        }
        self.attach_new(&name, wanted)
    }

    fn attach_new(&mut self, name: &str, wanted: Vec<EndpointRequest>) -> Result<(), Gone> {
        let networks = wanted.iter().map(|own| own.network.clone()).collect();
        self.ledger.sandboxes.insert(name.to_owned(), Standing::Asked(networks));
        match self.attach(name, None, wanted)? {
            Ok((id, told, line)) => {
                self.ledger.sandboxes.insert(name.to_owned(), Standing::Here(id, told));
                self.lines.insert(name.to_owned(), line);
            }
            Err(failure) => {
                let words = ["no free address", "is taken by", "already held"];
                let is_known = words.iter().any(|words| failure.message.contains(words));
                assert!(is_known, "{failure:?}");
                self.ledger.sandboxes.remove(name);
            }
        }
        Ok(())
    }

    /// A life line with its first answer.
    pub fn attach(
        &self,
        name: &str,
        sandbox: Option<Id>,
        endpoints: Vec<EndpointRequest>,
    ) -> Answer<(Id, Vec<Assigned>, Lifeline)> {
        let request = AttachRequest {
            sandbox,
            name: Some(name.to_owned()),
            kind: Kind::Run,
            pid: std::process::id(),
            command: Vec::new(),
            endpoints,
            declared: false,
        };
        let socket = match answer(self.api.attach(PATIENCE))? {
            Ok(socket) => socket,
            Err(failure) => return Ok(Err(failure)),
        };
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut line = Lifeline::new(socket).unwrap();
        line.send(&FromSandbox::Attach(request), None).map_err(|_| Gone)?;
        match line.receive().map_err(|_| Gone)?.ok_or(Gone)? {
            FromAppliance::Assigned { sandbox, endpoints, .. } => {
                Ok(Ok((sandbox, endpoints, line)))
            }
            FromAppliance::Refused(failure) => Ok(Err(failure)),
            other @ (FromAppliance::Attached { .. }
            | FromAppliance::Hosts(_)
            | FromAppliance::PortGone { .. }
            | FromAppliance::Published { .. }
            | FromAppliance::Connect(_)
            | FromAppliance::Disconnect { .. }
            | FromAppliance::Signal(_)
            | FromAppliance::Wait { .. }) => panic!("{other:?}"),
        }
    }

    fn end(&mut self) -> Result<(), Gone> {
        let Some(name) = self.any_line() else { return Ok(()) };
        if self.ledger.unknown.contains_key(&name) {
            return Ok(());
        }
        let (_, told) = self.told(&name);
        self.ledger.give_up(&name);
        self.lines.remove(&name).unwrap().part(PATIENCE);
        if told.len() != 1 || !self.random.once_in(3) {
            return Ok(());
        }
        // Once the appliance has hung up, name and addresses are free.
        let own = EndpointRequest { id: None, mac: None, ..again(&told[0]) };
        let asked = Standing::Asked(vec![own.network.clone()]);
        let gone = self.ledger.sandboxes.insert(name.clone(), asked).unwrap();
        match self.attach(&name, None, vec![own])? {
            Ok((id, told, line)) => {
                self.ledger.sandboxes.insert(name.clone(), Standing::Here(id, told));
                self.lines.insert(name, line);
            }
            Err(failure) => {
                // Another client may have been faster with the address.
                assert!(failure.message.contains("is taken by endpoint"), "{failure:?}");
                self.ledger.sandboxes.insert(name, gone);
            }
        }
        Ok(())
    }

    fn any_line(&mut self) -> Option<String> {
        let names: Vec<&String> = self.lines.keys().collect();
        self.random.pick(&names).map(|name| (*name).clone())
    }

    fn disconnect(&mut self) -> Result<(), Gone> {
        let Some(name) = self.any_line() else { return Ok(()) };
        let (id, mut told) = self.told(&name);
        if told.is_empty() || self.ledger.unknown.contains_key(&name) {
            return Ok(());
        }
        let left = told.remove(self.random.below(told.len()));
        self.ledger.unknown.insert(name.clone(), left.network.clone());
        let path = format!("/networks/{}/disconnect", left.network);
        let body = json!({ "Container": name, "Force": false });
        let disconnected = self.post_and_listen(&path, &body)?;
        disconnected.unwrap_or_else(|failure| panic!("{failure:?}"));
        self.ledger.unknown.remove(&name);
        self.ledger.sandboxes.insert(name, Standing::Here(id, told));
        Ok(())
    }

    /// Asks for one more network, for which the sandbox cannot make an interface.
    fn connect(&mut self) -> Result<(), Gone> {
        let Some(name) = self.any_line() else { return Ok(()) };
        if self.told(&name).1.iter().any(|own| own.network == WIDE.0) {
            return Ok(());
        }
        self.ledger.unknown.insert(name.clone(), WIDE.0.to_owned());
        let path = format!("/networks/{}/connect", WIDE.0);
        let connected = self.post_and_listen(&path, &json!({ "Container": name }))?;
        let failure = connected.expect_err("there is no interface");
        // That nothing came of it is written down a little later: it stays unknown.
        assert!(failure.message.contains("no hands"), "{failure:?}");
        Ok(())
    }

    fn post(&self, path: &str, body: &impl serde::Serialize) -> Answer<Value> {
        answer(self.api.post(path, body))
    }

    /// As `post`, while the life lines are attended to.
    fn post_and_listen(&mut self, path: &str, body: &Value) -> Answer<Value> {
        let api = self.api.clone();
        std::thread::scope(|scope| {
            let asked = scope.spawn(move || answer(api.post(path, body)));
            while !asked.is_finished() {
                self.listen()?;
                std::thread::yield_now();
            }
            asked.join().unwrap()
        })
    }

    /// Hears what the appliance says on the life lines, and answers.
    fn listen(&mut self) -> Result<(), Gone> {
        for line in self.lines.values_mut() {
            while let Some(message) = glance(line)? {
                let said = match message {
                    FromAppliance::Connect(own) => FromSandbox::Unconnected {
                        endpoint: own.id,
                        failure: Failure { message: "no hands".to_owned(), help: None },
                    },
                    FromAppliance::Disconnect { endpoint } => {
                        FromSandbox::Disconnected { endpoint }
                    }
                    FromAppliance::Hosts(_) => continue,
                    other @ (FromAppliance::Assigned { .. }
                    | FromAppliance::Attached { .. }
                    | FromAppliance::Refused(_)
                    | FromAppliance::PortGone { .. }
                    | FromAppliance::Published { .. }
                    | FromAppliance::Signal(_)
                    | FromAppliance::Wait { .. }) => panic!("{other:?}"),
                };
                line.send(&said, None).map_err(|_| Gone)?;
            }
        }
        Ok(())
    }
}

/// The next message, if it is there already.
fn glance(line: &mut Lifeline) -> Result<Option<FromAppliance>, Gone> {
    ioctl_fionbio(line.as_fd(), true).unwrap();
    let received = line.receive();
    ioctl_fionbio(line.as_fd(), false).unwrap();
    match received {
        Ok(Some(message)) => Ok(Some(message)),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        Ok(None) | Err(_) => Err(Gone),
    }
}

/// A refusal is an answer.
fn answer<T>(asked: Result<T, ClientError>) -> Answer<T> {
    match asked {
        Ok(value) => Ok(Ok(value)),
        Err(ClientError::Refused(failure)) => Ok(Err(failure)),
        Err(_) => Err(Gone),
    }
}

/// What a sandbox asks for that had this before.
pub fn again(told: &Assigned) -> EndpointRequest {
    let ip = |is_ipv6| told.addresses.iter().map(|own| own.ip()).find(|ip| ip.is_ipv6() == is_ipv6);
    EndpointRequest {
        id: Some(told.id),
        network: told.network.clone(),
        ip: match ip(false) {
            Some(IpAddr::V4(ip)) => Some(ip),
            _ => None,
        },
        ip6: match ip(true) {
            Some(IpAddr::V6(ip6)) => Some(ip6),
            _ => None,
        },
        mac: Some(told.mac.clone()),
        ifname: Some(told.ifname.clone()),
        ..EndpointRequest::default()
    }
}
