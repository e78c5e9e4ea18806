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
//! | [`doors`] | published ports: the outside comes in |
//! | [`faults`] | what the network says about datagrams and echo requests |

pub mod doors;
pub mod echo;
pub mod faults;
pub mod flows;
pub mod guest;
pub mod linger;
pub mod names;
pub mod outside;
pub mod tcp;
pub mod udp;

use std::sync::Arc;

use weft_frame::virtio;
use weft_gateway::Instant;
use weft_gateway::flow::Outlet;
use weft_gateway::flow::policy::Policy;
use weft_gateway::station::Station;
use weft_gateway::station::dns::Resolver;

pub use doors::Door;
pub use flows::Line;
pub use guest::{Guest, Neighbours, Who};
pub use outside::Outside;

/// The gateway of one network.
#[derive(Debug)]
pub struct Gateway {
    /// What it answers itself.
    pub station: Station,
    /// What it answers about names.
    pub resolver: Resolver,
    /// What its guests may reach.
    pub policy: Policy,
    /// What all gateways share.
    pub outside: Arc<Outside>,
}

impl Gateway {
    /// Whether this is the same as `other` to its guests.
    pub fn is_like(&self, other: &Self) -> bool {
        let own = (self.station.config(), &self.policy);
        own == (other.station.config(), &other.policy)
    }

    /// The link to a guest.
    fn link(&self, guest: weft_frame::MacAddr) -> weft_gateway::flow::Link {
        let config = self.station.config();
        weft_gateway::flow::Link { guest, gateway: config.mac, mtu: config.mtu }
    }
}

/// What a guest's flows are given when something happens.
pub struct Turn<'a> {
    /// The gateway of the guest's network.
    pub gateway: &'a Gateway,
    /// Where frames for the guest go.
    pub outlet: &'a mut dyn Outlet,
    /// Who the guest is.
    pub who: &'a Who,
    /// The time.
    pub now: Instant,
}

impl Turn<'_> {
    /// Sends a frame to the guest that is whole as it stands; nothing, if it is empty.
    fn say(&mut self, frame: &[u8]) {
        let buffer = self.outlet.buffer();
        let end = virtio::LEN + frame.len();
        if let Some(room) = buffer.get_mut(virtio::LEN..end).filter(|room| !room.is_empty()) {
            room.copy_from_slice(frame);
            buffer[..virtio::LEN].fill(0);
            self.outlet.send(end);
        }
    }

    /// The time as the switch counts it.
    fn moment(&self) -> weft_switch::Instant {
        weft_switch::Instant::from_micros(self.now.total_micros().unsigned_abs())
    }
}
