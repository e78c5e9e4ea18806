//! The way out of a network: flows continued on sockets of the host.
//!
//! What the guest says is for [`weft_gateway`] to understand. Here is what that needs of the system:
//! for each guest, sockets to the outside. Each port has a [`Guest`] with its flows; the worker that
//! reads the port brings its packets, and news of its sockets, which are watched by an epoll of the
//! guest's own. That hangs in the worker's epoll as one more descriptor, so a port that changes
//! workers takes its flows along. No packet is handed to another thread.
//!
//! | file | what it continues |
//! | --- | --- |
//! | [`tcp`] | connections, once the outside has accepted |
//! | [`udp`] | datagrams, each socket of the guest's on one of ours |
//! | [`names`] | questions about names, asked of the host's resolvers |
//! | [`echo`] | echo requests |

pub mod echo;
pub mod flows;
pub mod guest;
pub mod names;
pub mod outside;
pub mod tcp;
pub mod udp;

use std::net::IpAddr;
use std::sync::Arc;

use weft_frame::MacAddr;
use weft_gateway::flow::Outlet;
use weft_gateway::flow::policy::Policy;
use weft_gateway::{Duration, Instant};

pub use guest::Guest;
pub use outside::Outside;

/// The gateway of one network.
#[derive(Debug)]
pub struct Gateway {
    /// Its station address.
    pub mac: MacAddr,
    /// The largest packet that its network carries.
    pub mtu: u16,
    /// What its guests may reach.
    pub policy: Policy,
    /// What all gateways share.
    pub outside: Arc<Outside>,
}

impl Gateway {
    /// The gateway's address of the same family as `address`.
    pub fn address_like(&self, address: IpAddr) -> Option<IpAddr> {
        self.policy.own.iter().copied().find(|own| own.is_ipv4() == address.is_ipv4())
    }

    /// Whether this is the same as `other` to its guests.
    pub fn is_like(&self, other: &Self) -> bool {
        let own = (self.mac, self.mtu, &self.policy);
        own == (other.mac, other.mtu, &other.policy)
    }
}

/// What a guest's flows are given when something happens.
pub struct Turn<'a> {
    /// The gateway of the guest's network.
    pub gateway: &'a Gateway,
    /// Where frames for the guest go.
    pub outlet: &'a mut dyn Outlet,
    /// The time.
    pub now: Instant,
}

impl Turn<'_> {
    /// The moment `after` from now.
    pub fn in_time(&self, after: Duration) -> Instant {
        self.now + after
    }
}
