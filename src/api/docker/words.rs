//! Refusals in Docker's words and with its status codes.
//!
//! Scripts look for the engine's words, so those come first; ours, which name the values and say
//! more, follow. The remedy goes in a field of its own, which Docker's clients pass over.

use std::net::IpAddr;

use weft_ipam::{Family, PoolError};

use crate::api::shapes::Failure;
use crate::cnm::{DriverError, Id, OptionError, Refusal};
use crate::control::failure::Rejected;

/// The same rejection for a client of Docker's.
pub(super) fn in_dockers_words(rejected: Rejected) -> Rejected {
    let Some(refusal) = &rejected.refusal else { return rejected };
    let own = refusal.to_string();
    let (status, message) = said(refusal, &own);
    let failure = Failure { message, help: rejected.failure.help };
    Rejected { status, failure, refusal: rejected.refusal }
}

/// No container has that name or id.
pub(super) fn no_such_container(reference: &str) -> Rejected {
    Rejected::new(404, format!("No such container: {reference}")).help("`weft ps` lists them")
}

fn said(refusal: &Refusal, own: &str) -> (u16, String) {
    match refusal {
        Refusal::NetworkExists { name, .. } => {
            (409, format!("network with name {name} already exists"))
        }
        Refusal::UnknownNetwork { reference, .. } => {
            (404, format!("network {reference} not found"))
        }
        Refusal::Ambiguous { reference, candidates } => {
            (400, ambiguous(reference, candidates.len()))
        }
        Refusal::NetworkInUse { network, id, by } => (403, in_use(network, *id, &by.join(", "))),
        Refusal::BuiltIn { network } => {
            (403, format!("{network} is a pre-defined network and cannot be removed"))
        }
        Refusal::EndpointExists { name, network } => {
            (403, format!("endpoint with name {name} already exists in network {network}"))
        }
        Refusal::Overlap { .. } => (
            403,
            format!(
                "invalid pool request: Pool overlaps with other one on this address space: {own}"
            ),
        ),
        Refusal::AddressTaken { .. } => (403, format!("Address already in use: {own}")),
        Refusal::MacTaken { .. } => (409, format!("MAC address already in use: {own}")),
        Refusal::AddressOutside { address, .. } => (400, outside(*address, own)),
        Refusal::Pool { source, .. } => pool(source, own),
        Refusal::Driver(DriverError::Unknown { driver }) => {
            (404, format!("plugin {driver:?} not found: {own}"))
        }
        Refusal::IpamDriver(error) => (404, format!("plugin {:?} not found: {own}", error.driver)),
        Refusal::Option(OptionError::Value { key, value, .. }) if key.ends_with("mode") => (
            400,
            format!(
                "requested macvlan mode '{value}' is not valid, 'bridge' mode is the macvlan driver \
                 default: {own}"
            ),
        ),
        Refusal::BadName { .. } => (400, format!("invalid name: {own}")),
        Refusal::SubnetMissing { .. } | Refusal::NoPools { .. } | Refusal::WithoutIpv4 { .. } => {
            (400, format!("invalid network config: {own}"))
        }
        Refusal::NoFamily { .. } => (400, format!("IPv4 or IPv6 must be enabled: {own}")),
        Refusal::UnknownEndpoint { .. } => (404, own.to_owned()),
        Refusal::IdTaken { .. }
        | Refusal::NotGiven { .. }
        | Refusal::ParentInUse { .. }
        | Refusal::PassthruTaken { .. } => (409, own.to_owned()),
        Refusal::NotSwitched { .. }
        | Refusal::NotTaken { .. }
        | Refusal::LoopbackParent
        | Refusal::ByDriver { .. }
        | Refusal::BadMac { .. }
        | Refusal::BadDeviceName { .. }
        | Refusal::SmallMtu { .. }
        | Refusal::TooMany { .. }
        | Refusal::Driver(_)
        | Refusal::Option(_) => (400, own.to_owned()),
    }
}

fn ambiguous(reference: &str, count: usize) -> String {
    format!("network {reference} is ambiguous ({count} matches found based on ID prefix)")
}

fn in_use(network: &str, id: Id, by: &str) -> String {
    format!("error while removing network: network {network} id {id} has active endpoints: {by}")
}

fn outside(address: IpAddr, own: &str) -> String {
    format!("invalid endpoint settings: no configured subnet contains IP address {address}: {own}")
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others are rules of ours")]
fn pool(error: &PoolError, own: &str) -> (u16, String) {
    let config = |what: String| (400, format!("invalid network config: {what}"));
    match error {
        PoolError::HostBits { given, subnet } => {
            config(format!("invalid subnet {given}: it should be {subnet}"))
        }
        PoolError::RangeOutside { range, pool } => config(format!(
            "invalid ip-range {range}: parent subnet {pool} doesn't contain ip-range"
        )),
        PoolError::GatewayOutside { gateway, pool } => config(format!(
            "invalid gateway {gateway}: parent subnet {pool} doesn't contain this address"
        )),
        PoolError::AuxiliaryOutside { name, address, pool } => config(format!(
            "invalid auxiliary address {name}: parent subnet {pool} doesn't contain {address}"
        )),
        PoolError::Exhausted { pool, .. } | PoolError::RangeExhausted { pool, .. } => {
            let family = Family::of(*pool);
            let what = format!("no available {family} addresses on this network's address pools");
            (500, format!("{what}: {own}"))
        }
        PoolError::NoDefaultLeft { .. } | PoolError::NoDefaultConfigured(_) => {
            (400, format!("all predefined address pools have been fully subnetted: {own}"))
        }
        PoolError::Outside { address, .. } => (400, outside(*address, own)),
        PoolError::AuxiliaryHeld { name, address, .. } => {
            let what = format!("failed to allocate secondary ip address ({name}:{address})");
            (403, format!("{what}: Address already in use: {own}"))
        }
        PoolError::AlreadyHeld { .. } | PoolError::Special { .. } => {
            (403, format!("Address already in use: {own}"))
        }
        _ => (400, own.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cnm::Id;

    #[test]
    fn refusals_begin_with_the_engines_words() {
        let subnet = "10.0.0.0/24".parse().unwrap();
        let id = Id::new([7; 32]);
        let network = || "blue".to_owned();
        let cases = [
            (Refusal::NetworkExists { name: network(), id }, 409, "network with name blue already"),
            (
                Refusal::Overlap { subnet, other: subnet, network: network() },
                403,
                "invalid pool request: Pool overlaps with other one on this address space",
            ),
            (
                Refusal::NetworkInUse { network: network(), id, by: vec!["web".to_owned()] },
                403,
                "error while removing network: network blue id 0707",
            ),
            (
                Refusal::Pool {
                    network: network(),
                    source: PoolError::Exhausted { pool: subnet, leased: 254 },
                },
                500,
                "no available IPv4 addresses on this network's address pools: network blue: pool",
            ),
            (
                Refusal::UnknownNetwork { reference: network(), nearest: None },
                404,
                "network blue not found",
            ),
            (
                Refusal::BuiltIn { network: "host".to_owned() },
                403,
                "host is a pre-defined network and cannot be removed",
            ),
            (
                Refusal::Pool {
                    network: network(),
                    source: PoolError::HostBits { given: "10.0.0.1/24".parse().unwrap(), subnet },
                },
                400,
                "invalid network config: invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24",
            ),
        ];
        for (refusal, status, words) in cases {
            let help = refusal.help();
            let rejected = in_dockers_words(refusal.into());
            assert_eq!(rejected.status, status, "{rejected:?}");
            assert!(rejected.failure.message.starts_with(words), "{rejected:?}");
            assert_eq!(rejected.failure.help, help);
        }
    }
}
