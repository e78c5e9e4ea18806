//! Setting up an interface inside a network namespace: MAC, MTU, addresses, up.
//!
//! Everything goes through one netlink socket, which belongs to the namespace of the thread that
//! made it.
//!
//! Source: Linux `rtnetlink(7)`.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnetwork::IpNetwork;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use weft_frame::MacAddr;

/// The largest acknowledgement the kernel sends.
const ANSWER: usize = 8 * 1024;
/// The largest piece of a table.
const DUMP: usize = 64 * 1024;

/// A netlink socket in one network namespace.
pub struct Links {
    socket: Socket,
    sequence: u32,
}

impl Links {
    /// Opens a socket in the namespace of this thread.
    ///
    /// # Errors
    /// As `socket` and `bind`.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The number of the interface `name`.
    ///
    /// # Errors
    /// `ENODEV` when there is none of that name.
    pub fn index(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(self.socket_fd(), name)?)
    }

    /// Moves interface `index` into another namespace, where it is called `name`.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken there, `EPERM` without the capability in both.
    pub fn hand_over(
        &mut self,
        index: u32,
        namespace: BorrowedFd<'_>,
        name: &str,
    ) -> io::Result<()> {
        self.set(
            index,
            vec![
                LinkAttribute::NetNsFd(namespace.as_raw_fd()),
                LinkAttribute::IfName(name.to_owned()),
            ],
        )
    }

    /// Sets the MAC and the MTU of an interface that is down.
    ///
    /// # Errors
    /// `EINVAL` when the device does not take the MTU.
    pub fn set_station(&mut self, index: u32, mac: MacAddr, mtu: u16) -> io::Result<()> {
        let mtu = LinkAttribute::Mtu(u32::from(mtu));
        self.set(index, vec![LinkAttribute::Address(mac.0.to_vec()), mtu])
    }

    /// Brings an interface up.
    ///
    /// # Errors
    /// As netlink has them.
    pub fn up(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.request(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Removes an interface.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for one that cannot be removed, such as `lo`.
    pub fn remove(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.request(RouteNetlinkMessage::DelLink(message), 0)
    }

    /// Gives an interface an address and the route to its subnet. Duplicate address detection is
    /// off: the appliance leases each address once.
    ///
    /// # Errors
    /// As netlink has them; an address that is there already is none.
    pub fn add_address(&mut self, index: u32, address: IpNetwork) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.ip());
        message.header.prefix_len = address.prefix();
        message.header.index = index;
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Local(address.ip()));
        message.attributes.push(AddressAttribute::Address(address.ip()));
        if let IpNetwork::V4(subnet) = address
            && subnet.prefix() < 31
        {
            message.attributes.push(AddressAttribute::Broadcast(subnet.broadcast()));
        }
        unless_there(
            self.request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL),
        )
    }

    /// Sends what is for nobody else to `gateway`.
    ///
    /// # Errors
    /// `ENETUNREACH` when no address of the interface is in the gateway's subnet.
    pub fn add_default_route(&mut self, index: u32, gateway: IpAddr) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family(gateway),
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Static,
            scope: RouteScope::Universe,
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        message.attributes.push(RouteAttribute::Gateway(gateway.into()));
        message.attributes.push(RouteAttribute::Oif(index));
        unless_there(
            self.request(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL),
        )
    }

    fn set(&mut self, index: u32, attributes: Vec<LinkAttribute>) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = attributes;
        self.request(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Sends one request and waits for the kernel's answer to it.
    fn request(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.send(request, NLM_F_ACK | flags)?;
        let mut answer = vec![0; ANSWER];
        let len = self.socket.recv(&mut &mut answer[..], 0)?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer[..len])
            .map_err(io::Error::other)?;
        let NetlinkPayload::Error(error) = answer.payload else {
            return Err(io::Error::other("the kernel answered something else than was asked"));
        };
        // An acknowledgement is an error message without a code.
        if error.code.is_none() { Ok(()) } else { Err(error.to_io()) }
    }

    /// Asks for a table and hands each row to `row`.
    fn dump(
        &mut self,
        request: RouteNetlinkMessage,
        mut row: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.send(request, NLM_F_DUMP)?;
        loop {
            let mut answer = vec![0; DUMP];
            let len = self.socket.recv(&mut &mut answer[..], 0)?;
            let mut rest = &answer[..len];
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(io::Error::other)?;
                // Messages are padded to four octets.
                let taken = (message.header.length as usize).next_multiple_of(4).max(4);
                rest = rest.get(taken..).unwrap_or_default();
                #[expect(
                    clippy::wildcard_enum_match_arm,
                    reason = "what is no row says nothing here"
                )]
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(message) => row(message),
                    _ => {}
                }
            }
        }
    }

    fn send(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut octets = vec![0; message.buffer_len()];
        message.serialize(&mut octets);
        self.socket.send(&octets, 0).map(|_| ())
    }

    fn socket_fd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.socket.as_fd()
    }
}

/// The subnets that this host has addresses in, which default pools keep clear of.
///
/// # Errors
/// When the kernel does not tell.
pub fn host_subnets() -> io::Result<Vec<IpNetwork>> {
    let mut subnets = Vec::new();
    let mut links = Links::open()?;
    links.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |message| {
        if let RouteNetlinkMessage::NewAddress(message) = message {
            let prefix = message.header.prefix_len;
            subnets.extend(message.attributes.iter().filter_map(|attribute| {
                let AddressAttribute::Address(address) = attribute else { return None };
                IpNetwork::new(*address, prefix).ok()
            }));
        }
    })?;
    links.dump(RouteNetlinkMessage::GetRoute(RouteMessage::default()), |message| {
        if let RouteNetlinkMessage::NewRoute(message) = message {
            let prefix = message.header.destination_prefix_length;
            subnets.extend(message.attributes.iter().filter_map(|attribute| {
                let RouteAttribute::Destination(destination) = attribute else { return None };
                let address = if let RouteAddress::Inet(address) = destination {
                    IpAddr::V4(*address)
                } else if let RouteAddress::Inet6(address) = destination {
                    IpAddr::V6(*address)
                } else {
                    return None;
                };
                IpNetwork::new(address, prefix).ok()
            }));
        }
    })?;
    Ok(subnets)
}

fn unless_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
