//! Published ports: the outside comes in.
//!
//! A **door** is a socket of the host that listens for one guest. Whoever comes by it is seen inside
//! under their own address, as long as packets to that address lead back here: clients on this
//! host's loopback, and those that seem to be inside a network themselves, come from the gateway's
//! address instead.
//!
//! A TCP connection is accepted by the host before the guest has heard of it; when the guest then
//! refuses it, the client's connection is reset. A UDP door is also what the guest's datagrams from
//! that port leave by, so answers come from where the question went.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::net::sockopt::{
    set_ipv6_v6only, set_socket_linger, set_socket_reuseaddr, set_tcp_nodelay,
};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, acceptfrom_with, bind, listen, socket_with,
};
use weft_gateway::flow::{Key, Token};

use super::Turn;
use super::flows::{Flow, Flows, Line};
use super::tcp::TcpFlow;
use super::udp::UdpFlow;
use crate::cnm::Protocol;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// Connections that one door takes in before others have their turn.
const BUDGET: usize = 64;
/// Ports of the gateway under which clients without an address of their own are seen.
const BORROWED: std::ops::Range<u16> = 32_768..61_000;
/// Clients of one UDP door that are seen under the gateway's address.
const MOST_BORROWERS: usize = 1024;

/// A published port.
#[derive(Debug)]
pub struct Door {
    /// What comes in by it.
    pub protocol: Protocol,
    /// Where the host listens.
    pub host: SocketAddr,
    /// Where it leads.
    pub inside: SocketAddr,
    /// The socket.
    pub socket: OwnedFd,
}

/// Clients of a UDP door that are seen inside as the gateway.
#[derive(Debug, Default)]
pub(super) struct Borrowers {
    by_client: BTreeMap<SocketAddr, u16>,
    by_port: BTreeMap<u16, SocketAddr>,
}

/// A TCP door.
#[derive(Debug)]
pub(super) struct DoorFlow {
    pub(super) socket: OwnedFd,
    inside: SocketAddr,
    /// The port that was borrowed last.
    borrowed: u16,
}

impl Door {
    /// Opens a door.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EACCES` for a port that only administrators may listen at, `EADDRNOTAVAIL`.
    pub fn open(protocol: Protocol, host: SocketAddr, inside: SocketAddr) -> io::Result<Self> {
        let family = if host.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = match protocol {
            Protocol::Tcp => SocketType::STREAM,
            Protocol::Udp => SocketType::DGRAM,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, kind, flags, None)?;
        if host.is_ipv6() {
            set_ipv6_v6only(&socket, true)?;
        }
        if protocol == Protocol::Tcp {
            // Connections of the one before may still be on their way out.
            set_socket_reuseaddr(&socket, true)?;
        }
        bind(&socket, &host)?;
        if protocol == Protocol::Tcp {
            listen(&socket, BACKLOG)?;
        }
        Ok(Self { protocol, host, inside, socket })
    }

    /// The same door, for somebody else to hold.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        let Self { protocol, host, inside, ref socket } = *self;
        Ok(Self { protocol, host, inside, socket: socket.try_clone()? })
    }
}

impl DoorFlow {
    pub(super) fn line(&self, key: &Key) -> Line {
        let outside = match key {
            Key::Door { host } => host.to_string(),
            Key::Tcp { .. } | Key::Udp { .. } | Key::Names { .. } | Key::Echo { .. } => {
                String::new()
            }
        };
        let inside = self.inside.to_string();
        Line { protocol: "tcp", inside, outside, state: "listening", sent: 0, received: 0 }
    }
}

impl Flows {
    /// Opens a door to this guest.
    pub fn publish(&mut self, door: Door) {
        let Door { protocol, host, inside, socket } = door;
        // Doors were counted when they were asked for, and are not to fail now.
        match protocol {
            Protocol::Tcp => {
                let flow = DoorFlow { socket, inside, borrowed: BORROWED.start };
                self.insert(Key::Door { host }, Flow::Door(flow), EventFlags::IN);
            }
            Protocol::Udp => {
                let flow = UdpFlow::door(socket, host);
                self.insert(Key::Udp { inside }, Flow::Udp(flow), EventFlags::IN);
            }
        }
    }

    /// Closes a door.
    pub fn withdraw(&mut self, protocol: Protocol, host: SocketAddr, inside: SocketAddr) {
        let key = match protocol {
            Protocol::Tcp => Key::Door { host },
            Protocol::Udp => Key::Udp { inside },
        };
        if let Some(token) = self.table.find(&key) {
            self.remove(token);
        }
    }

    /// Somebody is at a TCP door.
    pub(super) fn door_event(&mut self, token: Token, turn: &mut Turn<'_>) {
        for _ in 0..BUDGET {
            let Some((_, Flow::Door(door))) = self.table.get_mut(token) else { return };
            let inside = door.inside;
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            // Whatever went wrong with one client, the next may wait already.
            let Ok((socket, client)) = acceptfrom_with(&door.socket, flags) else { return };
            let client = client.and_then(|client| SocketAddr::try_from(client).ok());
            let seen = client.and_then(|client| self.seen_client(token, client, inside, turn));
            match seen {
                Some(seen) => self.let_in(socket, seen, inside, turn),
                None => break_off(&socket),
            }
        }
        self.ready.push_back(token);
    }

    /// The address under which a client of a TCP door is seen.
    fn seen_client(
        &mut self,
        token: Token,
        client: SocketAddr,
        inside: SocketAddr,
        turn: &Turn<'_>,
    ) -> Option<SocketAddr> {
        if may_be_seen(client.ip(), turn) {
            return Some(client);
        }
        let gateway = turn.gateway.station.address_towards(inside.ip())?;
        for _ in BORROWED {
            let (_, Flow::Door(door)) = self.table.get_mut(token)? else { return None };
            door.borrowed = next_port(door.borrowed);
            let seen = SocketAddr::new(gateway, door.borrowed);
            if self.table.find(&Key::Tcp { inside, outside: seen }).is_none() {
                return Some(seen);
            }
        }
        None
    }

    /// Begins the guest's side of a connection from outside.
    fn let_in(
        &mut self,
        socket: OwnedFd,
        seen: SocketAddr,
        inside: SocketAddr,
        turn: &mut Turn<'_>,
    ) {
        let key = Key::Tcp { inside, outside: seen };
        // The former connection of the same ends may not have gone yet.
        if self.table.find(&key).is_some() || !self.outside.admit(self.table.len()) {
            return break_off(&socket);
        }
        // Not all that can fail matters.
        let _ = set_tcp_nodelay(&socket, true);
        let link = turn.gateway.link(turn.who.mac);
        let room = super::tcp::ROOM;
        let Some(connection) = self.stack.connect(seen, inside, room, &link, turn.outlet, turn.now)
        else {
            self.outside.release(1);
            return break_off(&socket);
        };
        let flow = TcpFlow::let_in(socket, turn.who.mac, connection);
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP;
        if let Ok(token) = self.enter(key, Flow::Tcp(flow), flags) {
            self.pump(token, turn);
        }
    }
}

impl Borrowers {
    /// The port of the gateway under which a client is seen.
    pub(super) fn port_of(&mut self, client: SocketAddr) -> Option<u16> {
        if let Some(port) = self.by_client.get(&client) {
            return Some(*port);
        }
        if self.by_client.len() >= MOST_BORROWERS {
            // Whoever was there longest is most likely to have gone.
            let (port, former) = self.by_port.pop_first()?;
            debug_assert!(port > 0);
            self.by_client.remove(&former);
        }
        let last = self.by_port.keys().next_back().copied().unwrap_or(BORROWED.end);
        let mut port = last;
        for _ in BORROWED {
            port = next_port(port);
            if let Entry::Vacant(place) = self.by_port.entry(port) {
                place.insert(client);
                self.by_client.insert(client, port);
                return Some(port);
            }
        }
        None
    }

    /// Who is seen under a port of the gateway.
    pub(super) fn client_of(&self, port: u16) -> Option<SocketAddr> {
        self.by_port.get(&port).copied()
    }
}

/// Ends a connection so that its client knows that it was not served.
fn break_off(socket: &OwnedFd) {
    let _ = set_socket_linger(socket, Some(std::time::Duration::ZERO));
}

/// Whether a client can be seen inside under its own address.
pub(super) fn may_be_seen(client: IpAddr, turn: &Turn<'_>) -> bool {
    turn.gateway.policy.admits(client)
}

fn next_port(port: u16) -> u16 {
    if BORROWED.contains(&port.saturating_add(1)) { port + 1 } else { BORROWED.start }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_borrow_a_port_keep_it_and_the_oldest_gives_way() {
        let client = |number: u16| SocketAddr::from(([127, 0, 0, 1], number));
        let mut borrowers = Borrowers::default();
        let ports: Vec<u16> =
            (1..=1024).map(|number| borrowers.port_of(client(number)).unwrap()).collect();
        assert_eq!(borrowers.port_of(client(7)), Some(ports[6]));
        assert_eq!(borrowers.client_of(ports[6]), Some(client(7)));
        let newest = borrowers.port_of(client(2000)).unwrap();
        assert_eq!(borrowers.client_of(newest), Some(client(2000)));
        assert_eq!(borrowers.client_of(ports[0]), None);
        assert_eq!(borrowers.by_client.len(), MOST_BORROWERS);
    }
}
