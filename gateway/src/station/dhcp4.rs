//! DHCPv4: telling a guest the address that it already has.
//!
//! IPAM gave every endpoint its address before its guest starts, so there is nothing to choose and
//! nothing to remember: a lease is looked up by MAC address, offered, and acknowledged as often as
//! it is asked for. A client that insists on another address is refused; one that nobody knows
//! hears nothing, as there may be a server that does know it.
//!
//! Answers go to the client's MAC address, also where RFC 2131 lets them go to everybody: a client
//! without an address takes them all the same, and nobody else needs to hear them.
//!
//! # Limits
//! - No relays, no overloaded fields. Option 82 is what relays add, and is ignored.
//! - Options that do not fit the size that the client takes are left out, the least needed first.
//!
//! # Sources
//! RFC 2131 §4.3 (what a server does), RFC 2132 (options), RFC 3397 (search domains), RFC 3442
//! (routes), RFC 4039 (rapid commit), RFC 6842 (the client's identifier comes back). The codec is
//! smoltcp's.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use smoltcp::wire::{
    DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpFlags, DhcpMessageType, DhcpOpCode, DhcpOption,
    DhcpOptionWriter, DhcpPacket,
};
use weft_frame::MacAddr;

use super::write::{self, HOP_LIMIT};
use super::{Addresses, Answer, Arrival, Dhcp, Drop, Envelope, Leases, Station, Verdict};

/// Where options begin.
const OPTIONS: usize = 240;
/// What a client takes that does not say (RFC 2131 §2): an IP packet of 576 octets.
const DEFAULT_MAX: u16 = 576;
/// The longest message sent, far more than all options together.
const MAX_MESSAGE: usize = 1232;
/// What BOOTP clients and relays wait for (RFC 1542 §2.1).
const MIN_MESSAGE: usize = 300;
/// What begins the options (RFC 2132 §2), and the hardware type of Ethernet.
const MAGIC: u32 = 0x6382_5363;
const ETHERNET: [u8; 2] = [1, 6];

mod option {
    pub(super) const MASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const DNS: u8 = 6;
    pub(super) const HOST_NAME: u8 = 12;
    pub(super) const DOMAIN: u8 = 15;
    pub(super) const MTU: u8 = 26;
    pub(super) const BROADCAST: u8 = 28;
    pub(super) const REQUESTED: u8 = 50;
    pub(super) const LEASE_TIME: u8 = 51;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const PARAMETERS: u8 = 55;
    pub(super) const MAX_SIZE: u8 = 57;
    pub(super) const RENEWAL: u8 = 58;
    pub(super) const REBINDING: u8 = 59;
    pub(super) const CLIENT: u8 = 61;
    pub(super) const RAPID_COMMIT: u8 = 80;
    pub(super) const SEARCH: u8 = 119;
    pub(super) const ROUTES: u8 = 121;
}

/// The address that IPAM gave to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease<'a> {
    /// The address.
    pub address: Ipv4Addr,
    /// Its subnet's prefix length.
    pub prefix_len: u8,
    /// The endpoint's name; may be empty.
    pub host_name: &'a str,
}

/// What a client says, the options that matter picked out.
struct Request<'a> {
    kind: DhcpMessageType,
    transaction: u32,
    is_broadcast: bool,
    /// The address that it has, or zero.
    current: Ipv4Addr,
    /// The address that it would like to have.
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    client: Option<&'a [u8]>,
    /// The options that it wants to be told; all, if it does not say.
    parameters: Option<&'a [u8]>,
    max_size: u16,
    is_rapid: bool,
}

/// What is granted, or refused.
#[derive(Clone, Copy)]
struct Reply<'a> {
    kind: DhcpMessageType,
    /// The gateway's address.
    server: Ipv4Addr,
    /// The subnet that the answer is about.
    subnet: Ipv4Network,
    /// `None` for a client that gave itself its address, or that is refused.
    lease: Option<Lease<'a>>,
}

impl Station {
    /// A datagram to the port of the DHCP server, for the gateway or for everybody.
    pub(super) fn dhcp4(
        &self,
        arrival: &Arrival<'_>,
        leases: &Leases<'_>,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let Some(dhcp) = &self.config.dhcp else {
            return Verdict::Drop(Drop::Off);
        };
        if let Err(reason) = arrival.check_datagram() {
            return Verdict::Drop(reason);
        }
        let message = arrival.datagram().unwrap_or_default();
        let request = match Request::read(message, arrival.header.source) {
            Ok(request) => request,
            Err(reason) => return Verdict::Drop(reason),
        };
        let reply = match self.decide(&request, leases(arrival.header.source)) {
            Ok(reply) => reply,
            Err(reason) => return Verdict::Drop(reason),
        };
        self.send(arrival.header.source, dhcp, &request, &reply, out)
    }

    /// What the request gets: RFC 2131 §4.3.
    fn decide<'a>(
        &self,
        request: &Request<'_>,
        lease: Option<Lease<'a>>,
    ) -> Result<Reply<'a>, Drop> {
        if request.kind == DhcpMessageType::Inform {
            // It configured itself, and asks for the rest.
            let subnet = self.v4.iter().find(|subnet| subnet.contains(request.current));
            let subnet = *subnet.ok_or(Drop::DhcpStranger)?;
            let kind = DhcpMessageType::Ack;
            return Ok(Reply { kind, server: subnet.ip(), subnet, lease: None });
        }
        let lease = lease.ok_or(Drop::DhcpStranger)?;
        let subnet = self.v4.iter().find(|subnet| subnet.contains(lease.address));
        let server = subnet.ok_or(Drop::NoAddress)?.ip();
        let subnet =
            Ipv4Network::new(lease.address, lease.prefix_len).map_err(|_| Drop::NoAddress)?;
        if request.server.is_some_and(|other| !self.owns(other.into())) {
            return Err(Drop::DhcpOtherServer);
        }
        let grant = |kind| Ok(Reply { kind, server, subnet, lease: Some(lease) });
        match request.kind {
            DhcpMessageType::Discover if request.is_rapid => grant(DhcpMessageType::Ack),
            DhcpMessageType::Discover => grant(DhcpMessageType::Offer),
            DhcpMessageType::Request => {
                let has = Some(request.current).filter(|address| !address.is_unspecified());
                match request.requested.or(has) {
                    Some(address) if address == lease.address => grant(DhcpMessageType::Ack),
                    Some(_) => {
                        Ok(Reply { kind: DhcpMessageType::Nak, server, subnet, lease: None })
                    }
                    None => Err(Drop::DhcpMalformed),
                }
            }
            DhcpMessageType::Decline => Err(Drop::DhcpDecline),
            DhcpMessageType::Release => Err(Drop::DhcpRelease),
            DhcpMessageType::Inform
            | DhcpMessageType::Offer
            | DhcpMessageType::Ack
            | DhcpMessageType::Nak
            | DhcpMessageType::Unknown(_) => Err(Drop::DhcpUnserved),
        }
    }

    fn send(
        &self,
        client: MacAddr,
        dhcp: &Dhcp,
        request: &Request<'_>,
        reply: &Reply<'_>,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let mut message = [0; MAX_MESSAGE];
        let Some(len) = self.compose(client, dhcp, request, reply, &mut message) else {
            return Verdict::Drop(Drop::TooBig);
        };
        let is_refusal = reply.kind == DhcpMessageType::Nak;
        let destination = if is_refusal {
            Ipv4Addr::BROADCAST
        } else if !request.current.is_unspecified() {
            request.current
        } else if request.is_broadcast {
            Ipv4Addr::BROADCAST
        } else {
            reply.lease.map_or(Ipv4Addr::BROADCAST, |lease| lease.address)
        };
        let envelope = Envelope {
            to: client,
            from: self.config.mac,
            addresses: Addresses::V4 { source: reply.server, destination },
            hop_limit: HOP_LIMIT,
        };
        write::datagram(out, &envelope, (DHCP_SERVER_PORT, DHCP_CLIENT_PORT), |out| {
            out.extend_from_slice(message.get(..len).unwrap_or_default());
        });
        Verdict::Answered(match reply.kind {
            DhcpMessageType::Offer => Answer::DhcpOffer,
            DhcpMessageType::Nak => Answer::DhcpNak,
            DhcpMessageType::Ack
            | DhcpMessageType::Discover
            | DhcpMessageType::Request
            | DhcpMessageType::Decline
            | DhcpMessageType::Release
            | DhcpMessageType::Inform
            | DhcpMessageType::Unknown(_) => Answer::DhcpAck,
        })
    }

    /// Writes the message, and returns its length; `None` if not even the least would fit.
    fn compose(
        &self,
        client: MacAddr,
        dhcp: &Dhcp,
        request: &Request<'_>,
        reply: &Reply<'_>,
        message: &mut [u8; MAX_MESSAGE],
    ) -> Option<usize> {
        let mut packet = DhcpPacket::new_unchecked(&mut message[..]);
        packet.set_opcode(DhcpOpCode::Reply);
        packet.set_hardware_type(smoltcp::wire::ArpHardware::Ethernet);
        packet.set_hardware_len(6);
        packet.set_transaction_id(request.transaction);
        packet.set_flags(if request.is_broadcast {
            DhcpFlags::BROADCAST
        } else {
            DhcpFlags::empty()
        });
        packet.set_client_hardware_address(smoltcp::wire::EthernetAddress(client.0));
        packet.set_magic_number(MAGIC);
        if reply.kind == DhcpMessageType::Ack {
            packet.set_client_ip(request.current);
        }
        if reply.kind != DhcpMessageType::Nak {
            packet.set_your_ip(reply.lease.map_or(Ipv4Addr::UNSPECIFIED, |lease| lease.address));
        }
        let mtu = self.config.mtu.min(request.max_size.max(DEFAULT_MAX));
        let headers = write::IPV4_LEN + write::UDP_LEN + OPTIONS;
        // One octet is for the end.
        let room = usize::from(mtu).min(MAX_MESSAGE).checked_sub(headers + 1)?;
        let mut options =
            Options { writer: packet.options_mut(), room, wanted: request.parameters };
        self.options(dhcp, request, reply, &mut options)?;
        let used = room - options.room + 1;
        options.writer.end().ok()?;
        Some((OPTIONS + used).max(MIN_MESSAGE))
    }

    /// Writes the options, those first that a client cannot do without.
    fn options(
        &self,
        dhcp: &Dhcp,
        request: &Request<'_>,
        reply: &Reply<'_>,
        options: &mut Options<'_>,
    ) -> Option<()> {
        options.must(option::MESSAGE_TYPE, &[u8::from(reply.kind)])?;
        options.must(option::SERVER, &reply.server.octets())?;
        if let Some(client) = request.client {
            options.must(option::CLIENT, client)?;
        }
        if reply.kind == DhcpMessageType::Nak {
            return Some(());
        }
        if reply.lease.is_some() {
            let seconds = dhcp.lease_seconds;
            options.must(option::LEASE_TIME, &seconds.to_be_bytes())?;
            options.must(option::RENEWAL, &(seconds / 2).to_be_bytes())?;
            options.must(option::REBINDING, &(seconds - seconds / 8).to_be_bytes())?;
            if request.is_rapid && request.kind == DhcpMessageType::Discover {
                options.must(option::RAPID_COMMIT, &[])?;
            }
        }
        options.must(option::MASK, &reply.subnet.mask().octets())?;
        // Told unasked: a client that does not know it loses every full-sized packet.
        options.must(option::MTU, &self.config.mtu.to_be_bytes())?;
        let router = reply.server.octets();
        if self.config.leads_out {
            options.may(option::ROUTER, &router);
        }
        if self.config.dns {
            options.may(option::DNS, &router);
        }
        options.may(option::ROUTES, &self.routes(dhcp, reply.server));
        if reply.subnet.prefix() < 31 {
            options.may(option::BROADCAST, &reply.subnet.broadcast().octets());
        }
        let host_name = reply.lease.map_or("", |lease| lease.host_name);
        options.may(option::HOST_NAME, host_name.as_bytes());
        options.may(option::DOMAIN, self.config.search.trim_end_matches('.').as_bytes());
        if self.search.len() > 1 {
            options.may(option::SEARCH, &self.search);
        }
        Some(())
    }

    /// The routes as RFC 3442 writes them. Whoever takes them ignores the router option, so the
    /// way out is among them.
    fn routes(&self, dhcp: &Dhcp, server: Ipv4Addr) -> Vec<u8> {
        if dhcp.routes.is_empty() {
            return Vec::new();
        }
        let way_out = Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0).ok();
        let way_out = way_out.filter(|_| self.config.leads_out).map(|all| (all, server));
        let mut octets = Vec::new();
        for (network, router) in way_out.into_iter().chain(dhcp.routes.iter().copied()) {
            let significant = usize::from(network.prefix().div_ceil(8));
            octets.push(network.prefix());
            octets.extend(network.network().octets().iter().take(significant));
            octets.extend_from_slice(&router.octets());
        }
        octets
    }
}

/// The options of an answer, as far as there is room.
struct Options<'a> {
    writer: DhcpOptionWriter<'a>,
    room: usize,
    wanted: Option<&'a [u8]>,
}

impl Options<'_> {
    /// Writes an option; `None` if there is no room.
    fn must(&mut self, kind: u8, data: &[u8]) -> Option<()> {
        self.room = self.room.checked_sub(2 + data.len())?;
        self.writer.emit(DhcpOption { kind, data }).ok()
    }

    /// Writes an option if the client wants it, if there is something to say, and if it fits.
    fn may(&mut self, kind: u8, data: &[u8]) {
        let is_wanted = self.wanted.is_none_or(|wanted| wanted.contains(&kind));
        let fits = data.len() <= usize::from(u8::MAX) && 2 + data.len() <= self.room;
        if is_wanted && fits && !data.is_empty() {
            // Checked just before.
            let _ = self.must(kind, data);
        }
    }
}

impl<'a> Request<'a> {
    /// Reads a message from the station `sender`.
    fn read(message: &'a [u8], sender: MacAddr) -> Result<Self, Drop> {
        // The accessors are safe once the length is; the option walk stops at the end by itself.
        let packet = DhcpPacket::new_checked(message).map_err(|_| Drop::DhcpMalformed)?;
        let is_ethernet = message.get(1..3) == Some(&ETHERNET[..]);
        let is_request = packet.opcode() == DhcpOpCode::Request;
        if !is_ethernet || !is_request || packet.magic_number() != MAGIC {
            return Err(Drop::DhcpMalformed);
        }
        if packet.client_hardware_address().0 != sender.0 {
            return Err(Drop::DhcpMalformed);
        }
        if !packet.relay_agent_ip().is_unspecified() {
            return Err(Drop::DhcpUnserved);
        }
        let mut request = Self {
            kind: DhcpMessageType::Unknown(0),
            transaction: packet.transaction_id(),
            is_broadcast: packet.flags().contains(DhcpFlags::BROADCAST),
            current: packet.client_ip(),
            requested: None,
            server: None,
            client: None,
            parameters: None,
            max_size: DEFAULT_MAX,
            is_rapid: false,
        };
        if request.current.is_broadcast() || request.current.is_multicast() {
            return Err(Drop::DhcpMalformed);
        }
        request.read_options(message.get(OPTIONS..).unwrap_or_default())?;
        Ok(request)
    }

    fn read_options(&mut self, mut octets: &'a [u8]) -> Result<(), Drop> {
        // smoltcp's iterator borrows from its packet, and ends at an option that is cut off as if
        // nothing were wrong; this one refuses the message.
        const PAD: u8 = 0;
        const END: u8 = 255;
        loop {
            let (kind, data) = match *octets {
                [] | [END, ..] => break,
                [PAD, ref rest @ ..] => {
                    octets = rest;
                    continue;
                }
                [_] => return Err(Drop::DhcpMalformed),
                [kind, length, ref rest @ ..] => {
                    let (data, after) =
                        rest.split_at_checked(length.into()).ok_or(Drop::DhcpMalformed)?;
                    octets = after;
                    (kind, data)
                }
            };
            self.take(kind, data)?;
        }
        if self.kind == DhcpMessageType::Unknown(0) { Err(Drop::DhcpMalformed) } else { Ok(()) }
    }

    fn take(&mut self, kind: u8, data: &'a [u8]) -> Result<(), Drop> {
        let address = || {
            let octets: [u8; 4] = data.try_into().map_err(|_| Drop::DhcpMalformed)?;
            Ok(Some(Ipv4Addr::from(octets)))
        };
        match kind {
            option::MESSAGE_TYPE => match *data {
                [kind] => self.kind = kind.into(),
                _ => return Err(Drop::DhcpMalformed),
            },
            option::REQUESTED => self.requested = address()?,
            option::SERVER => self.server = address()?,
            option::CLIENT if data.len() >= 2 => self.client = Some(data),
            option::PARAMETERS => self.parameters = Some(data),
            option::MAX_SIZE => {
                let octets = data.try_into().map_err(|_| Drop::DhcpMalformed)?;
                self.max_size = u16::from_be_bytes(octets);
            }
            option::RAPID_COMMIT => self.is_rapid = true,
            _ => {}
        }
        Ok(())
    }
}
