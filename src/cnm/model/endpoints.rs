//! The rules of endpoints: adding and removing one.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_frame::MacAddr;
use weft_ipam::{Holder, PoolError};
use weft_switch::UplinkMode;

use super::{MAX_ENDPOINTS, Model, Outcome};
use crate::cnm::endpoint::{Endpoint, EndpointSpec, MAX_ALIASES};
use crate::cnm::id::{Id, is_device_name, is_name};
use crate::cnm::network::{Network, station_address};
use crate::cnm::refusal::Refusal;

/// How many station addresses are made from an id before giving up: one per octet of it.
const MAC_ATTEMPTS: usize = 32;

impl Model {
    pub(super) fn add_endpoint(&mut self, spec: EndpointSpec) -> Result<Outcome, Refusal> {
        let network = self.resolve(&spec.network)?;
        self.check_endpoint(network, &spec)?;
        let mac = self.choose_mac(network, &spec)?;
        let network = network.id;

        let subnet_added = self.ensure_subnet(network, spec.ip)?;
        let addresses = self.lease_all(network, &spec).inspect_err(|_| {
            if subnet_added {
                self.forget_subnet(network);
            }
        })?;

        let id = spec.id;
        self.insert_endpoint(Endpoint {
            id,
            sandbox: spec.sandbox,
            name: spec.name,
            network,
            mac,
            addresses,
            aliases: spec.aliases,
            ifname: spec.ifname,
            kind: spec.kind,
            origin: spec.origin,
        });
        Ok(Outcome::EndpointAdded(id))
    }

    pub(super) fn remove_endpoint(&mut self, id: Id) -> Result<Outcome, Refusal> {
        let endpoint = self.take_endpoint(id).ok_or(Refusal::UnknownEndpoint { id })?;
        Ok(Outcome::EndpointRemoved(Box::new(endpoint)))
    }

    fn check_endpoint(&self, network: &Network, spec: &EndpointSpec) -> Result<(), Refusal> {
        if !is_name(&spec.name) {
            return Err(Refusal::BadName { what: "an endpoint", name: spec.name.clone() });
        }
        if let Some(alias) = spec.aliases.iter().find(|alias| !is_name(alias)) {
            return Err(Refusal::BadName { what: "an alias", name: alias.clone() });
        }
        if spec.aliases.len() > MAX_ALIASES {
            return Err(Refusal::TooMany { what: "aliases of one endpoint", limit: MAX_ALIASES });
        }
        if self.endpoint_named(network.id, &spec.name).is_some() {
            let network = network.name.clone();
            return Err(Refusal::EndpointExists { name: spec.name.clone(), network });
        }
        self.check_id(spec.id)?;
        if self.endpoints.len() >= MAX_ENDPOINTS {
            return Err(Refusal::TooMany { what: "endpoints", limit: MAX_ENDPOINTS });
        }
        if let Some(ifname) = spec.ifname.as_ref().filter(|ifname| !is_device_name(ifname)) {
            return Err(Refusal::BadDeviceName { ifname: ifname.clone() });
        }
        network.driver.behaviour().admit(network, &mut self.endpoints_of(network.id))?;
        let has_address = spec.ip.is_some() || spec.ip6.is_some() || spec.mac.is_some();
        if has_address && !network.driver.is_switched() {
            return Err(Refusal::NotSwitched {
                network: network.name.clone(),
                driver: network.driver,
                what: "addresses",
            });
        }
        Ok(())
    }

    /// The station address that was asked for, or the first free one that the id stands for.
    fn choose_mac(
        &self,
        network: &Network,
        spec: &EndpointSpec,
    ) -> Result<Option<MacAddr>, Refusal> {
        if !network.driver.is_switched() {
            return Ok(None);
        }
        if let Some(mac) = spec.mac {
            if mac.is_group() || mac.is_zero() {
                return Err(Refusal::BadMac { mac });
            }
            return match self.mac_holder(network, mac) {
                None => Ok(Some(mac)),
                Some(by) => Err(Refusal::MacTaken { mac, network: network.name.clone(), by }),
            };
        }
        // The one endpoint stands in for the parent.
        if let (Some(UplinkMode::Passthru), Some(mac)) =
            (network.options.uplink.mode, network.options.uplink.mac)
        {
            return Ok(Some(mac));
        }
        let free = (0..MAC_ATTEMPTS)
            .map(|attempt| station_address(&spec.id, attempt))
            .find(|mac| self.mac_holder(network, *mac).is_none());
        // Ids are random, so that all are taken means that somebody chose them so.
        let mac = station_address(&spec.id, 0);
        let by = || "others, like every other that the id stands for".to_owned();
        let taken = || Refusal::MacTaken { mac, network: network.name.clone(), by: by() };
        free.map(Some).ok_or_else(taken)
    }

    pub(super) fn mac_holder(&self, network: &Network, mac: MacAddr) -> Option<String> {
        if mac == network.gateway_mac() {
            return Some("the gateway".to_owned());
        }
        let holder = self.members.get(&network.id)?.by_mac.get(&mac)?;
        Some(self.endpoint_in_words(*holder))
    }

    fn endpoint_in_words(&self, id: Id) -> String {
        match self.endpoints.get(&id) {
            Some(endpoint) => format!("endpoint {}", endpoint.name),
            None => format!("endpoint {}", id.short()),
        }
    }

    /// Leases an address of each family that the network has, or none.
    fn lease_all(&mut self, network: Id, spec: &EndpointSpec) -> Result<Vec<IpNetwork>, Refusal> {
        let (ip, ip6) = (spec.ip.map(IpAddr::V4), spec.ip6.map(IpAddr::V6));
        // What was asked for is checked first: it fails most often, and then nothing was leased.
        for address in [ip, ip6].into_iter().flatten() {
            self.check_address(network, address)?;
        }
        let first = self.lease(network, ip, false, spec.id)?;
        let second = self.lease(network, ip6, true, spec.id).inspect_err(|_| {
            if let Some(leased) = first {
                self.addresses.release(leased);
            }
        })?;
        Ok(first.into_iter().chain(second).collect())
    }

    fn check_address(&self, network: Id, address: IpAddr) -> Result<(), Refusal> {
        let network = self.networks.get(&network).expect("a resolved network is there");
        let Some(subnet) = network.subnet_of(address) else {
            return Err(Refusal::AddressOutside {
                address,
                network: network.name.clone(),
                subnets: network.subnets.iter().map(|subnet| subnet.subnet).collect(),
            });
        };
        match self.addresses.holder(subnet.subnet, address) {
            None => Ok(()),
            Some(holder) => Err(Refusal::AddressTaken {
                address,
                network: network.name.clone(),
                by: match holder {
                    Holder::Endpoint(id) => self.endpoint_in_words(Id::new(id.0)),
                    Holder::Gateway | Holder::Auxiliary(_) | Holder::Named(_) => holder.to_string(),
                },
            }),
        }
    }

    /// Leases one address of a family: the one asked for, or the next free one of the first subnet
    /// that has one. `None` when the network does not have the family.
    fn lease(
        &mut self,
        network: Id,
        address: Option<IpAddr>,
        is_ipv6: bool,
        endpoint: Id,
    ) -> Result<Option<IpNetwork>, Refusal> {
        let network = self.networks.get(&network).expect("a resolved network is there");
        let has_family = network.subnets.iter().any(|own| own.subnet.is_ipv6() == is_ipv6);
        if let Some(driver) = network.ipam.driver.plugin().filter(|_| has_family)
            && address.is_none()
        {
            let (network, driver) = (network.name.clone(), driver.to_owned());
            return Err(Refusal::NotGiven { network, driver, what: "an address" });
        }
        let mut full: Option<PoolError> = None;
        let subnets = network.subnets.iter().map(|subnet| subnet.subnet);
        let of_family = subnets.filter(|subnet| subnet.is_ipv6() == is_ipv6);
        for subnet in of_family.filter(|subnet| address.is_none_or(|ip| subnet.contains(ip))) {
            match self.addresses.lease(subnet, address, endpoint) {
                Ok(leased) => return Ok(Some(leased)),
                Err(error) => full = Some(error),
            }
        }
        match full {
            Some(source) => Err(Refusal::Pool { network: network.name.clone(), source }),
            None => Ok(None),
        }
    }
}
