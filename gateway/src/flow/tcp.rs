//! The guest's TCP connections, from the gateway's end.
//!
//! The protocol itself is [smoltcp]'s. Around it there is what a gateway needs and a host does not:
//!
//! - **One stack, one socket set for each connection.** Which connection a segment belongs to is
//!   known before the stack sees it, so an idle connection costs nothing when another's comes.
//! - **Superframes both ways.** The stack believes in a link of 64 KiB. A guest's own segment limit
//!   is kept beside the connection, and what is sent says so in its virtio-net header.
//! - **The end that is not there.** Connections are to whatever address the guest asked for.
//!
//! A connection of the guest's begins with its SYN, which waits outside until somebody there has
//! accepted; one from outside begins with ours. From then on the caller moves octets: what
//! [`Connection::take`] takes goes to the host socket, what comes from there goes in by
//! [`Connection::give`]. The window that the guest sees is the room in our buffer, so a slow reader
//! outside slows the guest down and costs one buffer.
//!
//! # Limits
//! - No urgent data, and no TCP options of the guest's beyond segment size, window scale and SACK.
//! - The buffers are chosen when a connection begins, and are only touched as far as they are used.
//!
//! [smoltcp]: https://docs.rs/smoltcp

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpEndpoint, IpListenEndpoint};
use weft_frame::packet::{IpVersion, Packet};

use super::Outlet;
use super::device::{self, Wire};
use super::packet::Link;

/// How long a guest may be silent before it is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(600);
/// How long a guest may leave us without an answer.
const PATIENCE: Duration = Duration::from_secs(1300);
/// The segment size that the stack is told the guest takes: all that fits an IP packet.
const ANY_SEGMENT: u16 = 65_000;
/// Without the option a host takes segments of this size (RFC 9293 §3.7.1).
const DEFAULT_SEGMENT: u16 = 536;

/// The TCP of one guest's gateway.
pub struct Stack {
    interface: Interface,
}

/// A guest's wish to connect, kept until the outside has decided.
#[derive(Clone, Debug)]
pub struct Syn {
    /// The frame up to the end of the TCP header.
    frame: Box<[u8]>,
    packet: Packet,
    segment: u16,
}

/// How many octets a connection holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// On their way out.
    pub outward: usize,
    /// On their way in.
    pub inward: usize,
}

/// One connection.
pub struct Connection {
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// The payload of one segment to the guest.
    segment: usize,
    /// Whether we have said that nothing more comes.
    closed: bool,
    /// Whether the guest has, and all before it has been taken.
    finished: bool,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The guest has not answered yet.
    Opening,
    /// Octets pass, at least one way.
    Open,
    /// It has ended as it should, or there is nothing left to wait for.
    Over,
    /// The guest broke it off, refused it, or has not been heard from for too long.
    Broken,
}

impl Stack {
    /// A stack without connections; `seed` makes its sequence numbers hard to guess.
    #[must_use]
    pub fn new(seed: u64, now: Instant) -> Self {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let link = Link { guest: Default::default(), gateway: Default::default(), mtu: 0 };
        let mut nowhere = Nowhere;
        let mut wire =
            Wire { incoming: None, outlet: &mut nowhere, link: &link, segment: 0, budget: 0 };
        let mut interface = Interface::new(config, &mut wire, now);
        interface.set_any_ip(true);
        Self { interface }
    }

    /// Accepts the connection that a guest asked for with `syn`, and answers it.
    pub fn accept(
        &mut self,
        syn: &Syn,
        room: Room,
        link: &Link,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) -> Option<Connection> {
        let tcp = syn.frame.get(syn.packet.l4..)?;
        let port = u16::from_be_bytes([*tcp.get(2)?, *tcp.get(3)?]);
        let mut connection = Connection::new(room, syn.segment, link);
        connection.socket().listen(port).ok()?;
        let packet = syn.frame.get(syn.packet.l3..)?;
        self.input(&mut connection, packet, link, outlet, now);
        self.output(&mut connection, link, outlet, now, 1);
        Some(connection)
    }

    /// Begins a connection to the guest, as from somebody outside.
    pub fn connect(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        room: Room,
        link: &Link,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) -> Option<Connection> {
        let overhead = if to.is_ipv4() { 40 } else { 60 };
        let segment = link.mtu.saturating_sub(overhead);
        let mut connection = Connection::new(room, segment, link);
        let (local, remote) = (IpEndpoint::from(from), IpEndpoint::from(to));
        let socket = connection.sockets.get_mut::<Socket<'_>>(connection.handle);
        let local = IpListenEndpoint::from(local);
        socket.connect(self.interface.context(), remote, local).ok()?;
        self.output(&mut connection, link, outlet, now, 1);
        Some(connection)
    }

    /// Takes a segment of the guest's: the IP packet that holds it.
    pub fn input(
        &mut self,
        connection: &mut Connection,
        packet: &[u8],
        link: &Link,
        outlet: &mut dyn Outlet,
        now: Instant,
    ) {
        let segment = connection.segment;
        let mut wire = Wire { incoming: Some(packet), outlet, link, segment, budget: 1 };
        self.interface.poll_ingress_single(now, &mut wire, &mut connection.sockets);
    }

    /// Sends what there is to send, at most `budget` frames; says whether there is more.
    pub fn output(
        &mut self,
        connection: &mut Connection,
        link: &Link,
        outlet: &mut dyn Outlet,
        now: Instant,
        budget: usize,
    ) -> bool {
        let segment = connection.segment;
        let mut wire = Wire { incoming: None, outlet, link, segment, budget };
        loop {
            let before = wire.budget;
            self.interface.poll_egress(now, &mut wire, &mut connection.sockets);
            if wire.budget == 0 {
                return true;
            }
            if wire.budget == before {
                return false;
            }
        }
    }

    /// When the connection wants to send again although nothing happens.
    pub fn deadline(&mut self, connection: &Connection, now: Instant) -> Option<Instant> {
        self.interface.poll_at(now, &connection.sockets)
    }
}

impl core::fmt::Debug for Stack {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Stack").finish_non_exhaustive()
    }
}

impl Syn {
    /// Keeps what matters of a SYN: its headers.
    ///
    /// `packet` is where the layers of `frame` begin. Nothing, for what is no SYN.
    #[must_use]
    pub fn of(packet: &Packet, frame: &[u8]) -> Option<Self> {
        if packet.version == IpVersion::V6 && packet.has_options {
            return None;
        }
        let mut headers = Vec::from(frame.get(..packet.payload)?);
        let len = headers.len() - packet.l3;
        // Octets that came along are not acknowledged and come again.
        let (at, length) = match packet.version {
            IpVersion::V4 => (2, len),
            IpVersion::V6 => (4, len - 40),
        };
        let length = u16::try_from(length).ok()?.to_be_bytes();
        let at = packet.l3 + at;
        headers.get_mut(at..at + 2)?.copy_from_slice(&length);
        let former = device::set_segment_size(headers.get_mut(packet.l4..)?, ANY_SEGMENT);
        let segment = former.filter(|size| *size > 0).unwrap_or(DEFAULT_SEGMENT);
        let packet = Packet { end: packet.payload, ..*packet };
        Some(Self { frame: headers.into(), packet, segment })
    }

    /// The frame it came in, up to the end of its headers, and where they are.
    #[must_use]
    pub fn frame(&self) -> (&[u8], &Packet) {
        (&self.frame, &self.packet)
    }
}

impl Connection {
    fn new(room: Room, segment: u16, link: &Link) -> Self {
        let ring = |len: usize| SocketBuffer::new(vec![0; len]);
        let mut socket = Socket::new(ring(room.outward), ring(room.inward));
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        socket.set_keep_alive(Some(KEEP_ALIVE));
        socket.set_timeout(Some(PATIENCE));
        let mut sockets = SocketSet::new(vec![SocketStorage::EMPTY]);
        let handle = sockets.add(socket);
        let most = link.mtu.saturating_sub(40).max(1);
        let segment = usize::from(segment.clamp(1, most));
        Self { sockets, handle, segment, closed: false, finished: false }
    }

    /// Hands octets from the guest to `taker`, which says how many it took; that is returned.
    pub fn take(&mut self, taker: impl FnOnce(&[u8]) -> usize) -> usize {
        let took = self.socket().recv(|octets| {
            let took = if octets.is_empty() { 0 } else { taker(octets) };
            (took, took)
        });
        match took {
            Ok(took) => took,
            Err(RecvError::Finished) => {
                self.finished = true;
                0
            }
            Err(RecvError::InvalidState) => 0,
        }
    }

    /// How many octets from the guest wait to be taken.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.sockets.get::<Socket<'_>>(self.handle).recv_queue()
    }

    /// Whether the guest has said that nothing more comes, and all before it has been taken.
    pub fn is_finished(&mut self) -> bool {
        if !self.finished && self.waiting() == 0 {
            self.take(|_| 0);
        }
        self.finished
    }

    /// Lets `giver` write octets for the guest and say how many; that is returned. Nothing happens
    /// when there is no room.
    pub fn give(&mut self, giver: impl FnOnce(&mut [u8]) -> usize) -> usize {
        let gave = self.socket().send(|room| {
            let gave = if room.is_empty() { 0 } else { giver(room) };
            (gave, gave)
        });
        gave.unwrap_or(0)
    }

    /// How many octets for the guest would find room.
    #[must_use]
    pub fn room(&self) -> usize {
        let socket = self.sockets.get::<Socket<'_>>(self.handle);
        if socket.may_send() { socket.send_capacity() - socket.send_queue() } else { 0 }
    }

    /// Says to the guest that nothing more comes, once it has what was given.
    pub fn close(&mut self) {
        self.closed = true;
        self.socket().close();
    }

    /// Breaks the connection off; [`Stack::output`] tells the guest.
    pub fn abort(&mut self) {
        self.socket().abort();
    }

    /// Where it stands.
    #[must_use]
    pub fn life(&self) -> Life {
        match self.sockets.get::<Socket<'_>>(self.handle).state() {
            State::Listen | State::SynSent | State::SynReceived => Life::Opening,
            State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck => Life::Open,
            // The guest has our last acknowledgement, or will get a reset.
            State::TimeWait => Life::Over,
            State::Closed if self.closed && self.finished => Life::Over,
            State::Closed => Life::Broken,
        }
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}

impl core::fmt::Debug for Connection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Connection")
            .field("life", &self.life())
            .field("segment", &self.segment)
            .finish_non_exhaustive()
    }
}

/// The outlet of a stack that is being made, which sends nothing.
struct Nowhere;

impl Outlet for Nowhere {
    fn buffer(&mut self) -> &mut [u8] {
        &mut []
    }

    fn send(&mut self, _len: usize) -> bool {
        false
    }

    fn has_room(&self) -> bool {
        false
    }
}
