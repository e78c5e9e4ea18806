//! What one configuration file declares: a picture of networks and endpoints by name.
//!
//! It knows nothing of ids or leases, so two versions of a file can be compared without asking the
//! running appliance anything. The names of the built-in networks are always declared.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weft_frame::MacAddr;

use super::driver::Driver;
use super::endpoint::{EndpointKind, EndpointSpec};
use super::id::Id;
use super::ipam::Ipam;
use super::network::{NetworkSpec, NetworkUpdate, Origin, SubnetSpec};
use super::options::NetworkOptions;
use super::text;

/// The networks that always exist.
pub const BUILT_IN: [&str; 3] = ["bridge", "host", "none"];

/// The networks and endpoints of a file, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// The networks, without the built-in ones.
    pub networks: BTreeMap<String, DeclaredNetwork>,
    /// The endpoints.
    pub endpoints: BTreeMap<String, DeclaredEndpoint>,
}

/// A network of a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredNetwork {
    /// What kind of thing it is.
    #[serde(with = "text")]
    pub driver: Driver,
    /// Its subnets; none is one from the default pools.
    pub subnets: Vec<SubnetSpec>,
    /// Whether it has no way to the outside.
    pub internal: bool,
    /// Whether sandboxes may join it that were not started for it; said by Docker, kept for it.
    #[serde(default)]
    pub attachable: bool,
    /// Whether it may have IPv4.
    #[serde(default = "yes")]
    pub ipv4: bool,
    /// Whether it has IPv6.
    pub ipv6: bool,
    /// Who gives it its addresses.
    #[serde(default)]
    pub ipam: Ipam,
    /// Its options.
    #[serde(with = "text::options")]
    pub options: NetworkOptions,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// An endpoint of a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredEndpoint {
    /// The name of its network.
    pub network: String,
    /// Its IPv4 address, if it insists on one.
    pub ip: Option<Ipv4Addr>,
    /// Its IPv6 address, if it insists on one.
    pub ip6: Option<Ipv6Addr>,
    /// Its station address, if it insists on one.
    #[serde(with = "text::maybe")]
    pub mac: Option<MacAddr>,
    /// Other names for it within the network.
    pub aliases: Vec<String>,
    /// What the device is called inside the sandbox.
    pub ifname: Option<String>,
    /// What is at the other end.
    pub attach: Attach,
}

/// What is at the other end of a declared endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attach {
    /// A program and its arguments, run in a sandbox of its own; never empty.
    Command(Vec<String>),
    /// The path of a network namespace.
    Netns(PathBuf),
    /// The name of a TAP in the host's own namespace.
    Tap(String),
    /// The path of a socket that a virtual machine connects to.
    Qemu(PathBuf),
}

impl Attach {
    /// The kind of endpoint this makes.
    pub const fn kind(&self) -> EndpointKind {
        match self {
            Self::Command(_) => EndpointKind::Sandbox,
            Self::Netns(_) => EndpointKind::Netns,
            Self::Tap(_) => EndpointKind::Tap,
            Self::Qemu(_) => EndpointKind::Qemu,
        }
    }
}

impl fmt::Display for Attach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(words) => write!(f, "command {}", words.join(" ").escape_debug()),
            Self::Netns(path) => write!(f, "netns {}", path.display()),
            Self::Tap(name) => write!(f, "tap {name}"),
            Self::Qemu(path) => write!(f, "qemu {}", path.display()),
        }
    }
}

/// What a record says that was written before there was a choice.
const fn yes() -> bool {
    true
}

impl Default for DeclaredNetwork {
    /// What an empty section says.
    fn default() -> Self {
        Self {
            driver: Driver::default(),
            subnets: Vec::new(),
            internal: false,
            attachable: false,
            ipv4: true,
            ipv6: false,
            ipam: Ipam::default(),
            options: NetworkOptions::default(),
            labels: BTreeMap::new(),
        }
    }
}

impl DeclaredNetwork {
    /// What of this network can change while it runs.
    pub fn update(&self) -> NetworkUpdate {
        NetworkUpdate {
            options: self.options.live,
            attachable: self.attachable,
            labels: self.labels.clone(),
        }
    }

    /// The same network after `update`.
    pub fn updated(&self, update: &NetworkUpdate) -> Self {
        let mut updated = self.clone();
        updated.options.live = update.options;
        updated.attachable = update.attachable;
        updated.labels = update.labels.clone();
        updated
    }

    /// The wish for this network that a [`Model`](super::Model) understands.
    pub fn spec(&self, name: &str, id: Id, created: u64) -> NetworkSpec {
        NetworkSpec {
            id,
            name: name.to_owned(),
            driver: self.driver,
            subnets: self.subnets.clone(),
            internal: self.internal,
            attachable: self.attachable,
            ipv4: self.ipv4,
            ipv6: self.ipv6,
            ipam: self.ipam.clone(),
            options: self.options,
            labels: self.labels.clone(),
            origin: Origin::File,
            created,
        }
    }
}

impl DeclaredEndpoint {
    /// The wish for this endpoint that a [`Model`](super::Model) understands.
    pub fn spec(&self, name: &str, id: Id) -> EndpointSpec {
        EndpointSpec {
            id,
            sandbox: None,
            name: name.to_owned(),
            network: self.network.clone(),
            mac: self.mac,
            ip: self.ip,
            ip6: self.ip6,
            aliases: self.aliases.clone(),
            ifname: self.ifname.clone(),
            kind: self.attach.kind(),
            origin: Origin::File,
        }
    }
}
