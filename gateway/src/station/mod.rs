//! What the gateway answers itself.
//!
//! A [`Station`] is a picture: the gateway's MAC address, its addresses, and which services are on.
//! [`Station::handle`] is handed a frame and returns a [`Verdict`]: the answer stands in the
//! caller's buffer, or the packet is to be passed on (to the names, to a flow), or it is dropped
//! for one named reason. What changes over time is kept beside it and by the caller: the
//! [`Schedule`] of router advertisements, the bucket that limits [errors], the counters.
//!
//! ```text
//!                            handle
//!    frame --> is it for us? --+-- ARP, neighbours, echo,  --> Answered: send what is in `out`
//!                              |   routers, DHCP
//!                              +-- UDP to our port 53      --> Resolve: ask the dns::Resolver,
//!                              |                               then Return::write the answer
//!                              +-- anything else to us     --> Local: a flow's, or an error
//!                              +-- to the outside          --> Routed: a flow's, or an error
//!                              +-- the rest                --> Drop(reason)
//! ```
//!
//! # Promises
//! - No octet of a frame causes a panic. An answer is at most the network's MTU long, is one frame
//!   for one question, and goes only to the station that asked: no guest can make the gateway
//!   speak to another.
//! - The gateway does not learn from what guests claim, so there is nothing here to poison. It
//!   answers for its own addresses and no others (no proxy ARP).
//!
//! # Where to look
//! [`errors`] and [`reset`]: what a flow says when it refuses. [`dns`]: names. [`Return`]: how a
//! datagram's answer finds back.

mod arp;
mod config;
mod dhcp4;
mod dhcp6;
pub mod dns;
mod drops;
mod echo;
pub mod errors;
mod neighbor;
mod reply;
pub mod reset;
mod router;
mod tally;
mod write;

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{Ipv4Network, Ipv6Network};
use weft_frame::checksum::Sum;
use weft_frame::packet::{IpVersion, UDP};
use weft_frame::{EtherType, Header, MacAddr, Offload, Packet};

pub use config::{Config, ConfigError, Dhcp, MAX_ADDRESSES, MAX_ROUTES, Router};
pub use dhcp4::Lease;
pub use drops::{Answer, Drop};
pub use reply::Return;
pub use router::{Life, Schedule};
pub use tally::Tally;
pub use write::{Addresses, Envelope, ICMP, ICMPV6};

use write::word;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// The port of the DHCPv4 server.
const DHCP4_SERVER: u16 = 67;
/// The port of the DHCPv6 server.
const DHCP6_SERVER: u16 = 547;
/// The port of the DNS.
const DNS: u16 = 53;

/// Looks up which address a station has: what IPAM gave to the endpoint with that MAC address.
pub type Leases<'a> = dyn Fn(MacAddr) -> Option<Lease<'a>> + 'a;

/// What is to become of a frame for the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered: the answer was appended to the buffer and goes back where the frame is from.
    Answered(Answer),
    /// It is a DNS query in a whole UDP datagram to one of the gateway's addresses.
    Resolve(Packet),
    /// It is something else for one of the gateway's addresses: TCP (DNS over it included), UDP, or
    /// an ICMP error. Its transport checksum was not looked at.
    Local(Packet),
    /// It is for somebody outside of the network's link. Its transport checksum was not looked at,
    /// and its time to live not counted down.
    Routed(Packet),
    /// It is dropped, and nothing is said.
    Drop(Drop),
}

/// One network's gateway, as its guests meet it.
#[derive(Clone, Debug)]
pub struct Station {
    config: Config,
    link_local: Ipv6Addr,
    v4: Vec<Ipv4Network>,
    v6: Vec<Ipv6Network>,
    /// The search domain in the form of the wire, the root's empty label at the end.
    search: Vec<u8>,
}

/// A frame for the gateway that carries an IP packet.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    frame: &'a [u8],
    header: Header,
    packet: Packet,
    /// Whether the transport checksum is right, or unfinished and to be trusted.
    is_verified: bool,
}

impl Station {
    /// Makes the station that `config` describes.
    ///
    /// # Errors
    /// [`ConfigError`] names the value that no gateway can have.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let search = config.check()?;
        let link_local = config.mac.link_local();
        let (v4, v6) = config.by_family();
        Ok(Self { config, link_local, v4, v6, search })
    }

    /// What it was made of.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The address it has for whoever knows no other: derived from its MAC address.
    #[must_use]
    pub const fn link_local(&self) -> Ipv6Addr {
        self.link_local
    }

    /// Whether `address` is one of the gateway's.
    #[must_use]
    pub fn owns(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.iter().any(|subnet| subnet.ip() == address),
            IpAddr::V6(address) => self.owns_v6(address),
        }
    }

    /// The gateway's address in the subnet of `address`, or the best it has of that family.
    #[must_use]
    pub fn address_towards(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(address) => {
                let near = self.v4.iter().find(|subnet| subnet.contains(address));
                near.or(self.v4.first()).map(|subnet| subnet.ip().into())
            }
            IpAddr::V6(address) => {
                let is_link_local = address.is_unicast_link_local();
                let near = self.v6.iter().find(|subnet| subnet.contains(address));
                let global = near.or(self.v6.first()).filter(|_| !is_link_local);
                Some(global.map_or(self.link_local, Ipv6Network::ip).into())
            }
        }
    }

    /// Decides what becomes of `frame`, whose virtio-net header was checked to mean `offload`.
    ///
    /// An answer is appended to `out` as one frame, all its checksums filled in; otherwise nothing
    /// is. `leases` is asked for DHCP only.
    pub fn handle(
        &self,
        frame: &[u8],
        offload: &Offload,
        leases: &Leases<'_>,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let Some(header) = Header::parse(frame) else {
            return Verdict::Drop(Drop::Runt);
        };
        if header.vlan.is_some() {
            return Verdict::Drop(Drop::Tagged);
        }
        if header.destination != self.config.mac && !header.destination.is_group() {
            return Verdict::Drop(Drop::OtherStation);
        }
        if header.source.is_group() || header.source.is_zero() || header.source == self.config.mac {
            return Verdict::Drop(Drop::BadSource);
        }
        match header.ether_type {
            EtherType::ARP => self.arp(frame, &header, out),
            EtherType::IPV4 | EtherType::IPV6 => {
                let Some(packet) = Packet::parse(frame) else {
                    return Verdict::Drop(Drop::Malformed);
                };
                let is_verified = !matches!(offload, Offload::None);
                let arrival = Arrival { frame, header, packet, is_verified };
                match packet.version {
                    IpVersion::V4 => self.ipv4(&arrival, leases, out),
                    IpVersion::V6 => self.ipv6(&arrival, out),
                }
            }
            _ => Verdict::Drop(Drop::EtherType),
        }
    }

    fn ipv4(&self, arrival: &Arrival<'_>, leases: &Leases<'_>, out: &mut Vec<u8>) -> Verdict {
        let Some(Addresses::V4 { source, destination }) = arrival.addresses() else {
            return Verdict::Drop(Drop::Malformed);
        };
        if !arrival.has_whole_ipv4_header() {
            return Verdict::Drop(Drop::Checksum);
        }
        if arrival.has_source_route() {
            return Verdict::Drop(Drop::Options);
        }
        let is_ours = self.owns(destination.into());
        let is_broadcast = self.is_broadcast(destination);
        let is_for_dhcp = arrival.udp_destination() == Some(DHCP4_SERVER);
        if is_for_dhcp && (is_ours || is_broadcast) {
            return self.dhcp4(arrival, leases, out);
        }
        if self.is_martian_v4(source) {
            return Verdict::Drop(Drop::BadSource);
        }
        if is_broadcast || destination.is_multicast() {
            return Verdict::Drop(Drop::Group);
        }
        if arrival.header.destination.is_group() {
            return Verdict::Drop(Drop::LinkBroadcast);
        }
        if !is_ours {
            let [first, ..] = destination.octets();
            let is_routable = first != 0 && first < 240 && !destination.is_loopback();
            return if is_routable {
                Verdict::Routed(arrival.packet)
            } else {
                Verdict::Drop(Drop::BadDestination)
            };
        }
        match arrival.packet.protocol {
            ICMP => self.icmp_v4(arrival, out),
            _ => self.local(arrival),
        }
    }

    fn ipv6(&self, arrival: &Arrival<'_>, out: &mut Vec<u8>) -> Verdict {
        let Some(Addresses::V6 { source, destination }) = arrival.addresses() else {
            return Verdict::Drop(Drop::Malformed);
        };
        if source.is_multicast() || source.is_loopback() || is_mapped(source) {
            return Verdict::Drop(Drop::BadSource);
        }
        if self.owns_v6(source) {
            return Verdict::Drop(Drop::Claim);
        }
        let is_ours = self.owns_v6(destination);
        if is_ours || self.listens_to(destination) {
            if arrival.packet.protocol == ICMPV6 {
                return self.icmp_v6(arrival, out);
            }
            if arrival.udp_destination() == Some(DHCP6_SERVER) {
                return self.dhcp6(arrival, out);
            }
        }
        if destination.is_multicast() {
            return Verdict::Drop(Drop::Group);
        }
        if source.is_unspecified() {
            return Verdict::Drop(Drop::BadSource);
        }
        if arrival.header.destination.is_group() {
            return Verdict::Drop(Drop::LinkBroadcast);
        }
        if is_ours {
            return self.local(arrival);
        }
        if destination.is_unicast_link_local()
            || destination.is_loopback()
            || destination.is_unspecified()
            || is_mapped(destination)
        {
            return Verdict::Drop(Drop::BadDestination);
        }
        if source.is_unicast_link_local() {
            // Its answer could not be routed back (RFC 4291 §2.5.6).
            return Verdict::Drop(Drop::BadSource);
        }
        Verdict::Routed(arrival.packet)
    }

    /// What is for one of the gateway's own addresses, and not ICMP.
    fn local(&self, arrival: &Arrival<'_>) -> Verdict {
        if arrival.udp_destination() != Some(DNS) || !self.config.dns {
            return Verdict::Local(arrival.packet);
        }
        match arrival.check_datagram() {
            Ok(()) => Verdict::Resolve(arrival.packet),
            Err(reason) => Verdict::Drop(reason),
        }
    }

    fn owns_v6(&self, address: Ipv6Addr) -> bool {
        address == self.link_local || self.v6.iter().any(|subnet| subnet.ip() == address)
    }

    /// Whether the gateway is in this group: all nodes, all routers, all DHCP servers, or one made
    /// of an address of its own.
    fn listens_to(&self, group: Ipv6Addr) -> bool {
        let own = self.v6.iter().map(Ipv6Network::ip).chain([self.link_local]);
        [ALL_NODES, ALL_ROUTERS, dhcp6::ALL_SERVERS].contains(&group)
            || own.map(neighbor::solicited_node).any(|own| own == group)
    }

    fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        // A /31 and a /32 have none (RFC 3021).
        let mut subnets = self.v4.iter().filter(|subnet| subnet.prefix() < 31);
        address.is_broadcast() || subnets.any(|subnet| subnet.broadcast() == address)
    }

    /// Whether no station may send from `address`: RFC 1122 §3.2.1.3, and what is the gateway's.
    fn is_martian_v4(&self, address: Ipv4Addr) -> bool {
        let [first, ..] = address.octets();
        first == 0
            || first >= 224
            || address.is_loopback()
            || self.is_broadcast(address)
            || self.owns(address.into())
    }
}

/// An IPv4 address in IPv6 clothes never appears in a packet (RFC 4038 §4.2).
fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

impl<'a> Arrival<'a> {
    fn addresses(&self) -> Option<Addresses> {
        Addresses::of(self.frame, &self.packet)
    }

    /// What follows the IP header and its options.
    fn transport(&self) -> &'a [u8] {
        self.frame.get(self.packet.l4..self.packet.end).unwrap_or_default()
    }

    /// What a whole UDP datagram carries, which may be shorter than its packet (RFC 768).
    fn datagram(&self) -> Option<&'a [u8]> {
        let transport = self.transport();
        transport.get(write::UDP_LEN..usize::from(word(transport, 4)?))
    }

    /// The port that a UDP datagram, or a first fragment's, is for.
    fn udp_destination(&self) -> Option<u16> {
        if self.packet.protocol != UDP || self.packet.is_fragment {
            return None;
        }
        word(self.transport(), 2)
    }

    fn has_whole_ipv4_header(&self) -> bool {
        let Packet { l3, l4, .. } = self.packet;
        self.frame.get(l3..l4).is_some_and(|header| Sum::of(header).is_valid())
    }

    /// Whether the sender says by which routers the packet is to go (RFC 7126 §4.3, §4.4).
    fn has_source_route(&self) -> bool {
        const END: u8 = 0;
        const NOTHING: u8 = 1;
        const LOOSE: u8 = 131;
        const STRICT: u8 = 137;
        let Packet { l3, l4, .. } = self.packet;
        let mut options = self.frame.get(l3 + write::IPV4_LEN..l4).unwrap_or_default();
        loop {
            match *options {
                [] | [END, ..] => return false,
                [NOTHING, ref rest @ ..] => options = rest,
                [LOOSE | STRICT, ..] => return true,
                [_, length, ..] if length >= 2 => {
                    options = options.get(usize::from(length)..).unwrap_or_default();
                }
                [_, ..] => return false,
            }
        }
    }

    /// Whether a UDP datagram for the gateway is whole and intact.
    fn check_datagram(&self) -> Result<(), Drop> {
        if self.packet.version == IpVersion::V6 && self.packet.has_options {
            return Err(Drop::Options);
        }
        let transport = self.transport();
        let length = word(transport, 4).unwrap_or_default();
        let Some(covered) = transport.get(..usize::from(length)) else {
            return Err(Drop::Malformed);
        };
        if covered.len() < write::UDP_LEN {
            return Err(Drop::Malformed);
        }
        let has_none = word(covered, 6) == Some(0) && self.packet.version == IpVersion::V4;
        if self.is_verified || has_none {
            return Ok(());
        }
        let pseudo = self.packet.pseudo_header(self.frame, length).unwrap_or_default();
        if (pseudo + Sum::of(covered)).is_valid() { Ok(()) } else { Err(Drop::Checksum) }
    }
}
