//! Which conversation a packet belongs to.
//!
//! TCP connections are told apart by both ends. A UDP flow is one socket of the guest's, whoever it
//! speaks to: all it sends goes out by one socket of ours, so that the outside sees one address for
//! it (endpoint-independent mapping, RFC 4787 REQ-1). For ICMP echo the identifier takes the place
//! of the port (RFC 5508 REQ-1).

use core::net::{IpAddr, SocketAddr};

/// A flow's name in its guest's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A TCP connection.
    Tcp {
        /// The guest's end.
        inside: SocketAddr,
        /// The other end, as the guest sees it.
        outside: SocketAddr,
    },
    /// A UDP socket of the guest's.
    Udp {
        /// Its address.
        inside: SocketAddr,
    },
    /// A port of the host that leads to the guest.
    Door {
        /// Where the host listens.
        host: SocketAddr,
    },
    /// A question about a name, asked of the gateway.
    Names {
        /// The guest's end.
        inside: SocketAddr,
        /// The identifier that the guest chose.
        id: u16,
    },
    /// Echo requests with one identifier.
    Echo {
        /// Who sends them.
        inside: IpAddr,
        /// The identifier that the guest chose.
        identifier: u16,
    },
}

impl Key {
    /// The guest's address; for a door, the host's.
    #[must_use]
    pub const fn inside(&self) -> IpAddr {
        match self {
            Self::Tcp { inside, .. } | Self::Udp { inside } | Self::Names { inside, .. } => {
                inside.ip()
            }
            Self::Echo { inside, .. } => *inside,
            Self::Door { host } => host.ip(),
        }
    }

    /// The protocol's name.
    #[must_use]
    pub const fn protocol(&self) -> &'static str {
        match self {
            Self::Tcp { .. } | Self::Door { .. } => "tcp",
            Self::Udp { .. } => "udp",
            Self::Names { .. } => "dns",
            Self::Echo { .. } => "icmp",
        }
    }
}
