//! The flows of one guest: its packets to the right flow, and the news of each to where it belongs.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use weft_frame::packet::{Packet, TCP, UDP};
use weft_frame::virtio::Offload;
use weft_frame::{EtherType, Header};
use weft_gateway::flow::packet::{self, ICMP, ICMPV6, Link, Unreachable};
use weft_gateway::flow::policy::{Destination, loopback_like};
use weft_gateway::flow::{Key, Stack, Table, Token, neighbour};
use weft_gateway::{Duration, Instant};
use weft_switch::DropReason;

use super::Turn;
use super::echo::EchoFlow;
use super::names::NamesFlow;
use super::outside::Outside;
use super::tcp::TcpFlow;
use super::udp::UdpFlow;

/// Sockets with news that are looked at in one turn.
const EVENTS: usize = 64;
/// Flows that go on in one turn although nothing happened to them.
const READY: usize = 64;
/// The mark of the timer among the events.
const TIMER: u64 = u64::MAX;
/// A look at what is ready, without waiting.
const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// All flows of one guest.
#[derive(Debug)]
pub struct Flows {
    pub(super) table: Table<Flow>,
    pub(super) stack: Stack,
    pub(super) epoll: Arc<OwnedFd>,
    timer: OwnedFd,
    /// When the timer goes off.
    armed: Option<Instant>,
    /// Flows that have more to do than one turn allows.
    pub(super) ready: VecDeque<Token>,
    outside: Arc<Outside>,
}

/// One flow.
#[derive(Debug)]
pub(super) enum Flow {
    Tcp(TcpFlow),
    Udp(UdpFlow),
    Names(NamesFlow),
    Echo(EchoFlow),
}

/// A flow as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The protocol's name.
    pub protocol: &'static str,
    /// The guest's end.
    pub inside: String,
    /// The other end, where there is only one.
    pub outside: String,
    /// Where it stands.
    pub state: &'static str,
    /// Octets that went out.
    pub sent: u64,
    /// Octets that came in.
    pub received: u64,
}

/// A packet of the guest's, taken apart.
pub(super) struct Incoming<'a> {
    pub(super) packet: Packet,
    pub(super) frame: &'a [u8],
    pub(super) offload: Offload,
    pub(super) link: Link,
}

impl Flows {
    /// No flows yet.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new(turn: &Turn<'_>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        let outside = Arc::clone(&turn.gateway.outside);
        Ok(Self {
            table: Table::new(outside.seed),
            stack: Stack::new(outside.fresh_seed(), turn.now),
            epoll: Arc::new(epoll),
            timer,
            armed: None,
            ready: VecDeque::new(),
            outside,
        })
    }

    /// What shows news of the sockets.
    pub fn epoll(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.epoll)
    }

    /// The flows as lists show them.
    pub fn lines(&self) -> Vec<Line> {
        let flows = self.table.iter();
        flows
            .map(|(key, flow)| match flow {
                Flow::Tcp(flow) => flow.line(key),
                Flow::Udp(flow) => flow.line(key),
                Flow::Names(flow) => flow.line(key),
                Flow::Echo(flow) => flow.line(key),
            })
            .collect()
    }

    /// Takes a frame that the guest sent to the gateway, or to everybody.
    ///
    /// # Errors
    /// Why it ended here.
    pub fn packet(
        &mut self,
        frame: &[u8],
        offload: Offload,
        turn: &mut Turn<'_>,
    ) -> Result<(), DropReason> {
        let header = Header::parse(frame).ok_or(DropReason::Runt)?;
        let gateway = turn.gateway;
        let link = Link { guest: header.source, gateway: gateway.mac, mtu: gateway.mtu };
        if neighbour::answer(&gateway.policy.own, &link, &header, frame, turn.outlet) {
            return Ok(());
        }
        let is_ip = matches!(header.ether_type, EtherType::IPV4 | EtherType::IPV6);
        if !is_ip || header.vlan.is_some() || header.destination.is_group() {
            return Err(DropReason::NotCarried);
        }
        let packet = Packet::parse(frame).ok_or(DropReason::Malformed)?;
        if packet.is_fragment {
            return Err(DropReason::NotCarried);
        }
        let incoming = Incoming { packet, frame, offload, link };
        let taken = match packet.protocol {
            TCP => self.take_tcp(&incoming, turn),
            UDP => self.take_udp(&incoming, turn),
            ICMP | ICMPV6 => self.take_echo(&incoming, turn),
            _ => {
                incoming.refuse(Unreachable::Protocol, turn);
                Err(DropReason::NotCarried)
            }
        };
        self.arm(turn.now);
        taken
    }

    /// Does what the sockets and the clock ask for; whether there is more to do at once.
    pub fn turn(&mut self, turn: &mut Turn<'_>) -> bool {
        let mut events =
            [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; EVENTS];
        let found = epoll::wait(&*self.epoll, &mut events, Some(&NO_WAIT)).unwrap_or(0);
        for event in &events[..found] {
            match event.data.u64() {
                TIMER => {
                    let mut count = [0; 8];
                    let _ = rustix::io::read(&self.timer, &mut count);
                    self.armed = None;
                }
                number => self.event(Token::from_u64(number), event.flags, turn),
            }
        }
        while let Some(token) = self.table.due(turn.now) {
            self.due(token, turn);
        }
        for _ in 0..READY.min(self.ready.len()) {
            if let Some(token) = self.ready.pop_front() {
                self.go_on(token, turn);
            }
        }
        self.arm(turn.now);
        found == EVENTS || !self.ready.is_empty()
    }

    fn event(&mut self, token: Token, flags: EventFlags, turn: &mut Turn<'_>) {
        match self.table.get_mut(token) {
            None => {}
            Some((_, Flow::Tcp(_))) => self.tcp_event(token, flags, turn),
            Some((_, Flow::Udp(_))) => self.udp_event(token, turn),
            Some((_, Flow::Names(_))) => self.names_event(token, turn),
            Some((_, Flow::Echo(_))) => self.echo_event(token, turn),
        }
    }

    fn go_on(&mut self, token: Token, turn: &mut Turn<'_>) {
        match self.table.get_mut(token) {
            None => {}
            Some((_, Flow::Tcp(flow))) => {
                flow.is_queued = false;
                self.pump(token, turn);
            }
            Some((_, Flow::Udp(_))) => self.udp_event(token, turn),
            Some((_, Flow::Names(_))) => self.names_event(token, turn),
            Some((_, Flow::Echo(_))) => self.echo_event(token, turn),
        }
    }

    fn due(&mut self, token: Token, turn: &mut Turn<'_>) {
        let expires = match self.table.get_mut(token) {
            None => return,
            Some((_, Flow::Tcp(_))) => return self.pump(token, turn),
            Some((_, Flow::Udp(flow))) => flow.expires(),
            Some((_, Flow::Names(flow))) => flow.expires(),
            Some((_, Flow::Echo(flow))) => flow.expires(),
        };
        if expires <= turn.now {
            self.remove(token);
        } else {
            self.table.schedule(token, expires);
        }
    }

    /// Adds a flow whose socket is `socket`, unless the guest has as many as it may have.
    pub(super) fn add(
        &mut self,
        key: Key,
        flow: Flow,
        flags: EventFlags,
    ) -> Result<Token, DropReason> {
        if !self.outside.admit(self.table.len()) {
            return Err(DropReason::FlowsFull);
        }
        let (token, former) = self.table.insert(key, flow);
        if former.is_some() {
            self.outside.release(1);
        }
        let Some((_, flow)) = self.table.get_mut(token) else { return Err(DropReason::Outside) };
        let data = EventData::new_u64(token.to_u64());
        if epoll::add(&*self.epoll, flow.socket(), data, flags | EventFlags::ET).is_err() {
            self.remove(token);
            return Err(DropReason::Outside);
        }
        Ok(token)
    }

    /// Removes a flow. Closing its socket takes it out of the epoll.
    pub(super) fn remove(&mut self, token: Token) -> Option<Flow> {
        let (_, flow) = self.table.remove(token)?;
        self.outside.release(1);
        Some(flow)
    }

    /// Sees to it that the timer goes off when the next flow comes up.
    fn arm(&mut self, now: Instant) {
        let Some(next) = self.table.next_deadline() else { return };
        if self.armed.is_some_and(|armed| armed <= next) {
            return;
        }
        let wait = if next > now { next - now } else { Duration::ZERO };
        let wait = wait.max(Duration::from_millis(1));
        let value = Timespec {
            tv_sec: i64::try_from(wait.secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(wait.micros() * 1000).unwrap_or(0),
        };
        let spec = Itimerspec { it_interval: NO_WAIT, it_value: value };
        if timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec).is_ok() {
            self.armed = Some(next);
        }
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        self.outside.release(self.table.len());
    }
}

impl Flow {
    fn socket(&self) -> &OwnedFd {
        match self {
            Self::Tcp(flow) => &flow.socket,
            Self::Udp(flow) => &flow.socket,
            Self::Names(flow) => &flow.socket,
            Self::Echo(flow) => &flow.socket,
        }
    }
}

impl Incoming<'_> {
    /// Source and destination with their ports.
    pub(super) fn endpoints(&self) -> Result<(SocketAddr, SocketAddr), DropReason> {
        let ends = packet::endpoints(&self.packet, self.frame).ok_or(DropReason::Malformed)?;
        let is_whole = matches!(self.offload, Offload::None);
        if is_whole && !packet::is_intact(&self.packet, self.frame) {
            return Err(DropReason::Malformed);
        }
        Ok(ends)
    }

    /// The packet without what is around it.
    pub(super) fn octets(&self) -> &[u8] {
        self.frame.get(self.packet.l3..self.packet.end).unwrap_or_default()
    }

    /// Tells the guest that its packet went nowhere.
    pub(super) fn refuse(&self, why: Unreachable, turn: &mut Turn<'_>) {
        let Some((source, _)) = packet::addresses(&self.packet, self.frame) else { return };
        tell(&self.link, source, why, self.octets(), turn);
    }
}

/// Tells the guest at `to` that the packet `about` went nowhere.
pub(super) fn tell(link: &Link, to: IpAddr, why: Unreachable, about: &[u8], turn: &mut Turn<'_>) {
    let Some(from) = turn.gateway.address_like(to) else { return };
    let buffer = turn.outlet.buffer();
    if let Some(len) = packet::write_unreachable(buffer, link, from, to, why, about) {
        turn.outlet.send(len);
    }
}

/// Where a packet to `destination` is to be sent, as far as the policy lets it go anywhere.
pub(super) fn target(turn: &Turn<'_>, destination: SocketAddr) -> Result<SocketAddr, Unreachable> {
    match turn.gateway.policy.destination(destination.ip()) {
        Destination::Outside => Ok(destination),
        Destination::Host => {
            Ok(SocketAddr::new(loopback_like(destination.ip()), destination.port()))
        }
        Destination::Gateway => Err(Unreachable::Port),
        Destination::Prohibited => Err(Unreachable::Prohibited),
        Destination::Nobody => Err(Unreachable::Network),
    }
}

/// What the guest is told when the host's network refuses.
pub(super) fn why(errno: Errno) -> Option<Unreachable> {
    match errno {
        Errno::NETUNREACH | Errno::NETDOWN | Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL => {
            Some(Unreachable::Network)
        }
        Errno::HOSTUNREACH | Errno::HOSTDOWN => Some(Unreachable::Host),
        Errno::ACCESS | Errno::PERM => Some(Unreachable::Prohibited),
        Errno::CONNREFUSED => Some(Unreachable::Port),
        _ => None,
    }
}
