//! Why an edit is refused, and what would help.
//!
//! The message names the value that was wrong and the rule it breaks; [`Refusal::help`] says what
//! to do about it, for the `help:` line that every front door prints.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_frame::MacAddr;
use weft_ipam::PoolError;

use super::driver::{Driver, DriverError};
use super::id::{Id, MAX_NAME, listed};
use super::ipam::{IpamDriver, IpamDriverError};
use super::options::{MIN_MTU_IPV6, OptionError};
use super::parent::Parent;

/// Why an edit is refused. The model is then as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A text that may not name anything.
    #[error("{name:?} cannot name {what}")]
    BadName {
        /// A network, an endpoint, an alias.
        what: &'static str,
        /// The text.
        name: String,
    },
    /// Another network has the name.
    #[error("network {name} exists already, with id {}", id.short())]
    NetworkExists {
        /// The name.
        name: String,
        /// Who has it.
        id: Id,
    },
    /// Another endpoint of the network has the name.
    #[error("network {network} has an endpoint {name} already")]
    EndpointExists {
        /// The name.
        name: String,
        /// The network.
        network: String,
    },
    /// Something else has the id.
    #[error("id {} is in use", id.short())]
    IdTaken {
        /// The id.
        id: Id,
    },
    /// No network has that name or id.
    #[error("unknown network {reference:?}")]
    UnknownNetwork {
        /// What was asked for.
        reference: String,
        /// The name it is probably a misspelling of.
        nearest: Option<String>,
    },
    /// Several ids begin like this.
    #[error("{reference} is the beginning of the ids of {}", listed(candidates))]
    Ambiguous {
        /// What was asked for.
        reference: String,
        /// The names of the networks that it may mean.
        candidates: Vec<String>,
    },
    /// No endpoint has the id.
    #[error("unknown endpoint {}", id.short())]
    UnknownEndpoint {
        /// The id.
        id: Id,
    },
    /// The network has endpoints.
    #[error("network {network} is in use by {}", listed(by))]
    NetworkInUse {
        /// The network.
        network: String,
        /// The network's id.
        id: Id,
        /// The names of its endpoints, the first few of them.
        by: Vec<String>,
    },
    /// The network always exists.
    #[error("network {network} is built in and cannot be removed")]
    BuiltIn {
        /// The network.
        network: String,
    },
    /// A network whose driver knows no addresses is given some.
    #[error("network {network} has driver {driver}, which takes no {what}")]
    NotSwitched {
        /// The network.
        network: String,
        /// Its driver.
        driver: Driver,
        /// What it was given.
        what: &'static str,
    },
    /// An option that the network's driver has no use for.
    #[error("network {network} has driver {driver}, which takes no option {option}")]
    NotTaken {
        /// The network.
        network: String,
        /// Its driver.
        driver: Driver,
        /// The option.
        option: &'static str,
    },
    /// A network that is to be an extension of the host's own loopback.
    #[error("loopback interface is not a valid macvlan parent link")]
    LoopbackParent,
    /// Another network leads out by the same interface.
    #[error("network {network} is already using parent interface {parent}")]
    ParentInUse {
        /// Who has it.
        network: String,
        /// The interface.
        parent: Parent,
    },
    /// A second endpoint where one stands in for the parent.
    #[error("network {network} is in mode passthru, and {by} is its one endpoint")]
    PassthruTaken {
        /// The network.
        network: String,
        /// Its endpoint.
        by: String,
    },
    /// A rule of a driver that a program has added.
    #[error("driver {driver}: {message}")]
    ByDriver {
        /// The driver's name.
        driver: &'static str,
        /// What is wrong with what was asked for.
        message: String,
        /// What would help.
        help: Option<String>,
    },
    /// Subnets for a network to which nobody gives addresses.
    #[error("network {network} has IPAM driver null, which takes no subnets")]
    NoPools {
        /// The network.
        network: String,
    },
    /// An IPv4 subnet for a network without IPv4.
    #[error("network {network} is to have no IPv4, and subnet {subnet}")]
    WithoutIpv4 {
        /// The network.
        network: String,
        /// The subnet.
        subnet: IpNetwork,
    },
    /// Neither IPv4 nor IPv6.
    #[error("network {network} is to have neither IPv4 nor IPv6")]
    NoFamily {
        /// The network.
        network: String,
    },
    /// A gateway, an ip-range or an auxiliary address without its subnet.
    #[error("network {network} has an ip-range, gateway or auxiliary address without its subnet")]
    SubnetMissing {
        /// The network.
        network: String,
    },
    /// Two subnets share addresses.
    #[error("subnet {subnet} overlaps {other} of network {network}")]
    Overlap {
        /// The subnet asked for.
        subnet: IpNetwork,
        /// The one that is there.
        other: IpNetwork,
        /// Whose it is.
        network: String,
    },
    /// The address has a holder.
    #[error("address {address} in network {network} is taken by {by}")]
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// The network.
        network: String,
        /// Its holder, in words.
        by: String,
    },
    /// The address is in no subnet of the network.
    #[error("address {address} is outside network {network}, which has {}", listed(subnets))]
    AddressOutside {
        /// The address.
        address: IpAddr,
        /// The network.
        network: String,
        /// Its subnets.
        subnets: Vec<IpNetwork>,
    },
    /// The station address has a holder.
    #[error("MAC address {mac} in network {network} is taken by {by}")]
    MacTaken {
        /// The station address.
        mac: MacAddr,
        /// The network.
        network: String,
        /// Its holder, in words.
        by: String,
    },
    /// The station address is all zeroes or a group's.
    #[error("{mac} cannot be the MAC address of one station")]
    BadMac {
        /// The station address.
        mac: MacAddr,
    },
    /// The kernel would not take the name for a device.
    #[error("{ifname:?} cannot name a network device")]
    BadDeviceName {
        /// The name.
        ifname: String,
    },
    /// IPv6 needs larger packets.
    #[error("network {network} has IPv6 and an MTU of {mtu}")]
    SmallMtu {
        /// The network.
        network: String,
        /// Its MTU.
        mtu: u16,
    },
    /// Something that only the remote IPAM driver of the network can give.
    #[error("network {network} has IPAM driver {driver}, which has not given {what}")]
    NotGiven {
        /// The network.
        network: String,
        /// The driver.
        driver: String,
        /// A pool, or an address.
        what: &'static str,
    },
    /// A table is full.
    #[error("there are {limit} {what} already, which is the limit")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// The addresses do not work out: exhausted, gateway outside, no default pool left, and so on.
    #[error("network {network}: {source}")]
    Pool {
        /// The network.
        network: String,
        /// What the pool says.
        source: PoolError,
    },
    /// An unknown driver.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// An unknown IPAM driver.
    #[error(transparent)]
    IpamDriver(#[from] IpamDriverError),
    /// An unknown option, or a value it does not take.
    #[error(transparent)]
    Option(#[from] OptionError),
}

impl Refusal {
    /// What to do about it, where there is something.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::BadName { .. } => format!(
                "a name begins with a letter or digit; then letters, digits, \"_\", \".\" and \
                 \"-\"; at most {MAX_NAME} characters"
            ),
            Self::NetworkExists { .. } => "remove it first, or choose another name".to_owned(),
            Self::EndpointExists { .. } => {
                "choose another name; an alias may be shared, a name may not".to_owned()
            }
            Self::UnknownNetwork { nearest: Some(near), .. } => format!("did you mean {near:?}?"),
            Self::UnknownNetwork { nearest: None, .. } => {
                "bridge, host and none always exist; `weft network ls` lists all".to_owned()
            }
            Self::Ambiguous { .. } => "give more digits of the id, or the name".to_owned(),
            Self::NetworkInUse { .. } => "take its endpoints out of it first".to_owned(),
            Self::NotSwitched { driver, .. } => {
                format!("leave it out, or use driver bridge in place of {driver}")
            }
            Self::NotTaken { .. } => "leave it out, or use driver macvlan".to_owned(),
            Self::LoopbackParent => "name the interface that leads to the network".to_owned(),
            Self::ParentInUse { .. } => {
                "join that network, or use a VLAN of the interface, such as eth0.50".to_owned()
            }
            Self::PassthruTaken { .. } => {
                "take that one off, or make a network in another mode".to_owned()
            }
            Self::ByDriver { help, .. } => return help.clone(),
            Self::NoPools { .. } => "leave the subnets out, or the IPAM driver".to_owned(),
            Self::WithoutIpv4 { .. } => "leave the subnet out, or let it have IPv4".to_owned(),
            Self::NoFamily { .. } => "let it have one of them".to_owned(),
            Self::IpamDriver(_) => format!(
                "the IPAM drivers are {}, and plugins by their names",
                listed(IpamDriver::OWN)
            ),
            Self::NotGiven { .. } => "try again".to_owned(),
            Self::SubnetMissing { .. } => "say which subnet it belongs to".to_owned(),
            Self::Overlap { .. } => "choose a subnet that shares no address with it".to_owned(),
            Self::AddressTaken { .. } => {
                "choose another address, or none to get a free one".to_owned()
            }
            Self::AddressOutside { address, subnets, .. } => {
                if subnets.iter().any(|subnet| subnet.is_ipv6() == address.is_ipv6()) {
                    "choose an address of the network, or none to get a free one".to_owned()
                } else {
                    let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
                    format!("the network has no {family} subnet; add one or leave the address out")
                }
            }
            Self::MacTaken { .. } => "choose another MAC address, or none to get one".to_owned(),
            Self::BadMac { .. } => {
                "the first octet of a station's address is even, such as 02".to_owned()
            }
            Self::BadDeviceName { .. } => {
                "1 to 15 characters, no slash, colon, percent sign or blank".to_owned()
            }
            Self::SmallMtu { .. } => format!("IPv6 needs an MTU of at least {MIN_MTU_IPV6}"),
            Self::Driver(error) => error.help(),
            Self::Option(error) => error.help(),
            Self::IdTaken { .. }
            | Self::UnknownEndpoint { .. }
            | Self::BuiltIn { .. }
            | Self::TooMany { .. } => return None,
            Self::Pool { source, .. } => return pool_help(source).map(str::to_owned),
        })
    }
}

fn pool_help(error: &PoolError) -> Option<&'static str> {
    if let PoolError::NoDefaultLeft { .. } | PoolError::NoDefaultConfigured(_) = error {
        return Some("name the network's subnets, or add to default-address-pools");
    }
    if let PoolError::Exhausted { .. } | PoolError::RangeExhausted { .. } = error {
        return Some("give the network a larger subnet or ip-range, or remove endpoints");
    }
    if let PoolError::Special { .. } | PoolError::AuxiliaryHeld { .. } = error {
        return Some("choose another address of the subnet");
    }
    if let PoolError::RangeUnusable { .. } | PoolError::RangeOutside { .. } = error {
        return Some("choose an ip-range inside the subnet, with addresses to give");
    }
    if let PoolError::GatewayOutside { .. } | PoolError::AuxiliaryOutside { .. } = error {
        return Some("choose an address inside the subnet");
    }
    if let PoolError::HostBits { .. } = error {
        return Some("write the subnet with zeroes after its prefix");
    }
    if let PoolError::PrefixTooShort { .. } = error {
        return Some("choose a smaller subnet");
    }
    None
}
