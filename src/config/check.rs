//! Whether the networks and endpoints of a file can exist together.
//!
//! What only a file can get wrong is checked here: a network that is not declared, an address in a
//! network that names no subnets, two endpoints with one TAP. Everything else is tried: the file is
//! carried out on an empty model, which keeps the rules, and each refusal is put at the value it
//! speaks of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use weft_ipam::{DefaultPools, GlobalId, PoolError};

use super::endpoint::EndpointSource;
use super::finding::{Findings, Lines, MAX_SHOWN};
use super::network::NetworkSource;
use crate::cnm::declared::BUILT_IN;
use crate::cnm::id::{listed, nearest};
use crate::cnm::plan::takes_default_pool;
use crate::cnm::{Attach, BuiltIns, Edit, Id, IpamDriver, Model, Refusal};

/// The file as far as it could be read.
struct Check<'a> {
    lines: Lines,
    networks: &'a [NetworkSource],
    by_name: BTreeMap<&'a str, &'a NetworkSource>,
    endpoints: &'a [EndpointSource],
}

/// Notes what keeps the networks and endpoints from existing together.
pub(super) fn check(
    text: &str,
    pools: &DefaultPools,
    networks: &[NetworkSource],
    endpoints: &[EndpointSource],
    findings: &mut Findings,
) {
    let by_name = networks.iter().map(|network| (network.name.as_str(), network)).collect();
    let check = Check { lines: Lines::of(text), networks, by_name, endpoints };
    for endpoint in endpoints {
        check.check_network(endpoint, findings);
        check.check_choice(endpoint, findings);
    }
    check.check_rivals(findings);
    check.try_out(pools, findings);
}

impl<'a> Check<'a> {
    fn network(&self, name: &str) -> Option<&'a NetworkSource> {
        self.by_name.get(name).copied()
    }

    fn check_network(&self, endpoint: &EndpointSource, findings: &mut Findings) {
        let Some(network) = &endpoint.network else {
            return;
        };
        let name = network.get_ref().as_str();
        if BUILT_IN.contains(&name) || self.network(name).is_some() {
            return;
        }
        let known = || self.networks.iter().map(|network| network.name.as_str()).chain(BUILT_IN);
        let message = format!("unknown network {name:?}");
        // Comparing with every name is slow, and a finding that is not shown needs no suggestion.
        let near = if findings.len() < MAX_SHOWN { nearest(name, known()) } else { None };
        match near {
            Some(near) => {
                findings.add(network.span(), message, format_args!("did you mean {near:?}?"));
            }
            None => {
                let help = format!("the networks are {}", listed(known().take(20)));
                findings.add(network.span(), message, help);
            }
        }
    }

    /// An address can be insisted on only where the file says which subnet there will be.
    fn check_choice(&self, endpoint: &EndpointSource, findings: &mut Findings) {
        let Some(name) = endpoint.network.as_ref().map(|network| network.get_ref().as_str()) else {
            return;
        };
        let (span, address, help) = match (&endpoint.ip, &endpoint.ip6) {
            (Some(ip), _) => (ip.span(), ip.get_ref().to_string(), "\"192.168.10.0/24\""),
            (None, Some(ip6)) => (ip6.span(), ip6.get_ref().to_string(), "\"fd00:10::/64\""),
            (None, None) => return,
        };
        if name == "bridge" {
            let message =
                format!("address {address} cannot be chosen in the built-in network bridge");
            findings.add(span, message, "leave it out, or declare a network with subnets");
        } else if self.network(name).is_some_and(has_no_addresses) {
            let message =
                format!("address {address} cannot be chosen: network {name} has IPAM driver null");
            findings.add(span, message, "leave it out, or have addresses given by \"default\"");
        } else if self.network(name).is_some_and(chooses_for_itself) {
            let message =
                format!("address {address} cannot be chosen: network {name} names no subnets");
            let help = format!("add subnets = [{help}] to [networks.{name}], or leave it out");
            findings.add(span, message, help);
        }
    }

    /// Two endpoints cannot have one TAP, one socket, or one device in one namespace.
    fn check_rivals(&self, findings: &mut Findings) {
        let mut holders: BTreeMap<String, &EndpointSource> = BTreeMap::new();
        for endpoint in self.endpoints {
            let Some(attach) = &endpoint.attach else {
                continue;
            };
            let (thing, span) = match (attach.get_ref(), &endpoint.ifname) {
                (Attach::Tap(_) | Attach::Qemu(_), _) => {
                    (attach.get_ref().to_string(), attach.span())
                }
                (Attach::Netns(path), Some(ifname)) => {
                    let thing = format!("{} in netns {}", ifname.get_ref(), path.display());
                    (thing, ifname.span())
                }
                (Attach::Netns(_), None) | (Attach::Command(_), _) => continue,
            };
            if let Some(first) = holders.get(&thing) {
                let line = self.lines.line(first.name_span.start);
                let message = format!("{thing} is that of endpoint {} already", first.name);
                let help = format!("choose another; endpoint {} is on line {line}", first.name);
                findings.add(span, message, help);
            } else {
                holders.insert(thing, endpoint);
            }
        }
    }

    /// Carries the file out on an empty model.
    fn try_out(&self, pools: &DefaultPools, findings: &mut Findings) {
        let mut ids = (0_u64..).map(trial_id);
        let mut id = || ids.next().unwrap_or(Id::new([0; 32]));
        let built_ins = BuiltIns { bridge: id(), host: id(), none: id(), created: 0 };
        let pools = pools.clone().with_ula(GlobalId([0; 5]));
        let mut model = Model::new(pools, Vec::new(), built_ins);

        // In the order of a plan: what insists on something comes before what takes what is free.
        let mut networks: Vec<_> = self.networks.iter().filter(|own| !own.is_broken).collect();
        networks.sort_by_key(|network| takes_default_pool(&network.declared));
        let mut present: BTreeSet<&str> = BUILT_IN.into();
        for network in networks {
            let mut spec = network.declared.spec(&network.name, id(), 0);
            if let IpamDriver::Remote(_) = spec.ipam.driver {
                // What a plugin will say cannot be known; what the file says can be checked.
                let is_open = spec.subnets.is_empty();
                spec.ipam.driver = if is_open { IpamDriver::Null } else { IpamDriver::Default };
            }
            match model.apply(Edit::AddNetwork(spec)) {
                Ok(_) => _ = present.insert(&network.name),
                Err(refusal) => self.note_network(network, &refusal, findings),
            }
        }
        let mut endpoints: Vec<_> = self.endpoints.iter().filter(|own| !own.is_broken).collect();
        endpoints.sort_by_key(|own| own.ip.is_none() && own.ip6.is_none() && own.mac.is_none());
        for endpoint in endpoints {
            let declared = endpoint.declared().filter(|own| {
                let chooses = own.ip.is_some() || own.ip6.is_some();
                let noted = own.network == "bridge"
                    || self
                        .network(&own.network)
                        .is_some_and(|own| chooses_for_itself(own) || has_no_addresses(own));
                present.contains(own.network.as_str()) && !(chooses && noted)
            });
            let Some(declared) = declared else {
                continue;
            };
            let edit = Edit::AddEndpoint(declared.spec(&endpoint.name, id()));
            if let Err(refusal) = model.apply(edit) {
                self.note_endpoint(endpoint, &refusal, findings);
            }
        }
    }

    fn note_network(&self, network: &NetworkSource, refusal: &Refusal, findings: &mut Findings) {
        let spot = if let Refusal::Overlap { subnet, .. } = refusal {
            network.spot_last(&subnet.to_string())
        } else if let Refusal::NotSwitched { .. } = refusal {
            network.spot("subnets").or_else(|| network.spot("ipv6"))
        } else if let Refusal::NoPools { .. } = refusal {
            network.spot("subnets")
        } else if let Refusal::NoFamily { .. } = refusal {
            network.spot("ipv4")
        } else if let Refusal::WithoutIpv4 { subnet, .. } = refusal {
            network.spot(&subnet.to_string())
        } else if let Refusal::NotTaken { option, .. } = refusal {
            network.spot(option).or_else(|| network.spot("mode"))
        } else if let Refusal::ParentInUse { .. } | Refusal::LoopbackParent = refusal {
            network.spot("parent")
        } else if let Refusal::SmallMtu { .. } = refusal {
            network.spot("mtu").or_else(|| network.spot("com.docker.network.driver.mtu"))
        } else if let Refusal::Pool { source, .. } = refusal {
            blamed(source).and_then(|text| network.spot_last(&text))
        } else {
            None
        };
        let mut help = help_of(refusal);
        if let Refusal::Overlap { other, network: owner, .. } = refusal {
            let first = self.network(owner).and_then(|owner| owner.spot(&other.to_string()));
            if let Some(first) = first {
                help = format!("{other} is on line {}; {help}", self.lines.line(first.start));
            }
        }
        findings.add(spot.unwrap_or_else(|| network.name_span.clone()), refusal, help);
    }

    fn note_endpoint(&self, endpoint: &EndpointSource, refusal: &Refusal, findings: &mut Findings) {
        let of_address = |address: &IpAddr| match address {
            IpAddr::V4(_) => endpoint.ip.as_ref().map(|ip| ip.span()),
            IpAddr::V6(_) => endpoint.ip6.as_ref().map(|ip6| ip6.span()),
        };
        let of_mac = || endpoint.mac.as_ref().map(|mac| mac.span());
        let mut help = help_of(refusal);
        let mut span = None;
        if let Refusal::AddressOutside { address, .. } = refusal {
            span = of_address(address);
        } else if let Refusal::AddressTaken { address, .. } = refusal {
            span = of_address(address);
            let holds = |other: &EndpointSource| match address {
                IpAddr::V4(ip) => other.ip.as_ref().is_some_and(|own| own.get_ref() == ip),
                IpAddr::V6(ip6) => other.ip6.as_ref().is_some_and(|own| own.get_ref() == ip6),
            };
            help = self.with_holder(endpoint, holds, help);
        } else if let Refusal::MacTaken { mac, .. } = refusal {
            span = of_mac();
            let holds =
                |own: &EndpointSource| own.mac.as_ref().is_some_and(|own| own.get_ref() == mac);
            help = self.with_holder(endpoint, holds, help);
        } else if let Refusal::NotSwitched { .. } = refusal {
            let ip = endpoint.ip.as_ref().map(|ip| ip.span());
            span = ip.or_else(|| endpoint.ip6.as_ref().map(|ip6| ip6.span())).or_else(of_mac);
        } else if let Refusal::Pool { source: PoolError::Special { address, .. }, .. } = refusal {
            span = of_address(address);
        }
        findings.add(span.unwrap_or_else(|| endpoint.name_span.clone()), refusal, help);
    }

    /// `help` with the line of the endpoint of the same network that holds something.
    fn with_holder(
        &self,
        endpoint: &EndpointSource,
        holds: impl Fn(&EndpointSource) -> bool,
        help: String,
    ) -> String {
        let network = endpoint.network.as_ref().map(|network| network.get_ref());
        let is_holder = |other: &&EndpointSource| {
            other.name != endpoint.name
                && other.network.as_ref().map(|network| network.get_ref()) == network
                && holds(other)
        };
        match self.endpoints.iter().find(is_holder) {
            Some(holder) => {
                let line = self.lines.line(holder.name_span.start);
                format!("endpoint {} is on line {line}; {help}", holder.name)
            }
            None => help,
        }
    }
}

/// Whether nobody gives a network addresses.
fn has_no_addresses(network: &NetworkSource) -> bool {
    !network.is_broken
        && network.declared.driver.is_switched()
        && network.declared.ipam.driver == IpamDriver::Null
}

/// Whether a network takes its subnet from the default pools.
fn chooses_for_itself(network: &NetworkSource) -> bool {
    !network.is_broken
        && network.declared.driver.is_switched()
        && network.declared.subnets.is_empty()
}

/// What in the file a pool's refusal speaks of, as its text.
fn blamed(error: &PoolError) -> Option<String> {
    if let PoolError::Special { address, .. } = error {
        Some(address.to_string())
    } else if let PoolError::AuxiliaryHeld { address, name, .. } = error {
        Some(format!("{name}={address}"))
    } else if let PoolError::RangeOutside { range, .. } | PoolError::RangeUnusable { range, .. } =
        error
    {
        Some(range.to_string())
    } else if let PoolError::PrefixTooShort { pool, .. } | PoolError::Exhausted { pool, .. } = error
    {
        Some(pool.to_string())
    } else {
        None
    }
}

fn help_of(refusal: &Refusal) -> String {
    refusal.help().unwrap_or_else(|| "choose another value".to_owned())
}

/// The `number`th id for a trial: octets spread as those of random ids are, so that the station
/// addresses made from them differ.
fn trial_id(number: u64) -> Id {
    let mut octets = [0; 32];
    for (chunk, lane) in octets.chunks_exact_mut(8).zip(1_u64..) {
        // The finalizer of SplitMix64.
        let mut word = (number * 4 + lane).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(word ^ (word >> 31)).to_be_bytes());
    }
    Id::new(octets)
}
