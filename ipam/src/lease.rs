//! A lease: an address and who holds it.

use alloc::boxed::Box;
use core::fmt;
use core::net::IpAddr;

/// One leased address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The address; its prefix length is that of the pool's subnet.
    pub address: IpAddr,
    /// Who holds it.
    pub holder: Holder,
}

/// Who holds an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// The network's gateway. A pool has at most one.
    Gateway,
    /// Something outside weft that the user named (`--aux-address NAME=ADDRESS`).
    Auxiliary(Box<str>),
    /// An endpoint.
    Endpoint(EndpointId),
    /// Somebody of whom only a name is known, as when Docker Engine asks for an address before it
    /// tells the endpoint.
    Named(Box<str>),
}

impl Holder {
    /// How many octets this holder has outside the value itself.
    pub(crate) fn outside(&self) -> usize {
        match self {
            Self::Gateway | Self::Endpoint(_) => 0,
            Self::Auxiliary(name) | Self::Named(name) => name.len(),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => f.write_str("the gateway"),
            Self::Auxiliary(name) => write!(f, "auxiliary address {name}"),
            Self::Endpoint(id) => write!(f, "endpoint {id:#}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// The id of an endpoint: 64 hex digits, or with `{:#}` the 12 that lists show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub [u8; 32]);

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if f.alternate() { 6 } else { self.0.len() };
        self.0.iter().take(shown).try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}
