//! Endpoints: the attachment of one sandbox to one network.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weft_frame::MacAddr;

use super::id::Id;
use super::network::Origin;
use super::text;

/// How many aliases one endpoint may have.
pub const MAX_ALIASES: usize = 32;

/// An endpoint that somebody asks for.
///
/// An endpoint that existed before, such as one handed over after a restart, is asked for with the
/// addresses and the MAC it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Its id, chosen by whoever asks.
    pub id: Id,
    /// The sandbox it is for, if that is known already.
    pub sandbox: Option<Id>,
    /// Its name, unique within the network.
    pub name: String,
    /// The network, by name, id, or an unambiguous beginning of the id.
    pub network: String,
    /// Its station address; derived from the id when absent.
    pub mac: Option<MacAddr>,
    /// Its IPv4 address; the next free one when absent.
    pub ip: Option<Ipv4Addr>,
    /// Its IPv6 address; the next free one when absent.
    pub ip6: Option<Ipv6Addr>,
    /// Other names for it within the network; several endpoints may share one.
    pub aliases: Vec<String>,
    /// What the device is called inside the sandbox; left to the sandbox when absent.
    pub ifname: Option<String>,
    /// What is at the other end.
    pub kind: EndpointKind,
    /// Which door it came through.
    pub origin: Origin,
}

/// What is at the other end of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndpointKind {
    /// A program in namespaces made for it.
    Sandbox,
    /// A network namespace that exists.
    Netns,
    /// A TAP in the host's own namespace.
    Tap,
    /// A virtual machine behind a stream socket.
    Qemu,
}

impl EndpointKind {
    /// The kind's name in lists and in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Netns => "netns",
            Self::Tap => "tap",
            Self::Qemu => "qemu",
        }
    }
}

/// An endpoint that exists.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Its id.
    pub id: Id,
    /// The sandbox it is for; `None` for those of the file, whose sandboxes come and go.
    pub sandbox: Option<Id>,
    /// Its name.
    pub name: String,
    /// The network it is in.
    pub network: Id,
    /// Its station address; `None` where the driver makes no port.
    #[serde(with = "text::maybe")]
    pub mac: Option<MacAddr>,
    /// Its addresses, each with its subnet's prefix; IPv4 before IPv6.
    pub addresses: Vec<IpNetwork>,
    /// Other names for it within the network.
    pub aliases: Vec<String>,
    /// What the device is called inside the sandbox.
    pub ifname: Option<String>,
    /// What is at the other end.
    pub kind: EndpointKind,
    /// Which door it came through.
    pub origin: Origin,
}
