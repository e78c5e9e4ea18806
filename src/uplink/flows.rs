//! The flows of one guest: its packets to the right flow, and the news of each to where it belongs.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
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
use weft_frame::{Header, MacAddr};
use weft_gateway::flow::packet;
use weft_gateway::flow::policy::{Destination, loopback_like};
use weft_gateway::flow::{Key, Link, Stack, Table, Token};
use weft_gateway::station::errors::Error;
use weft_gateway::station::{Answer, Drop as Reason, ICMP, ICMPV6, Life, Schedule, Verdict};
use weft_gateway::{Duration, Instant};

use super::Turn;
use super::doors::DoorFlow;
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
    /// When routers are advertised, to a guest that has asked for one.
    schedule: Option<Schedule>,
    /// What is being said to the guest.
    pub(super) said: Vec<u8>,
    pub(super) outside: Arc<Outside>,
}

/// One flow.
#[derive(Debug)]
pub(super) enum Flow {
    Tcp(TcpFlow),
    Udp(UdpFlow),
    Names(NamesFlow),
    Echo(EchoFlow),
    Door(DoorFlow),
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
    pub fn new(outside: &Arc<Outside>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        Ok(Self {
            table: Table::new(outside.seed),
            stack: Stack::new(outside.fresh_seed(), Instant::ZERO),
            epoll: Arc::new(epoll),
            timer,
            armed: None,
            ready: VecDeque::new(),
            schedule: None,
            said: Vec::new(),
            outside: Arc::clone(outside),
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
                Flow::Door(flow) => flow.line(key),
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
    ) -> Result<(), Reason> {
        self.said.clear();
        let who = turn.who;
        let leases = |mac| who.lease_of(mac);
        let taken = match turn.gateway.station.handle(frame, &offload, &leases, &mut self.said) {
            Verdict::Answered(answer) => {
                turn.say(&self.said);
                if answer == Answer::Router && self.schedule.is_none() {
                    self.schedule = Some(Schedule::new(turn.moment()));
                }
                Ok(())
            }
            Verdict::Resolve(packet) => {
                self.take_question(&Incoming::of(packet, frame, offload, turn)?, turn)
            }
            Verdict::Local(packet) | Verdict::Routed(packet) => {
                self.carry(&Incoming::of(packet, frame, offload, turn)?, turn)
            }
            Verdict::Drop(reason) => Err(reason),
        };
        self.arm(turn.now);
        taken
    }

    fn carry(&mut self, incoming: &Incoming<'_>, turn: &mut Turn<'_>) -> Result<(), Reason> {
        if incoming.packet.is_fragment {
            return Err(Reason::Fragment);
        }
        match incoming.packet.protocol {
            TCP => self.take_tcp(incoming, turn),
            UDP => self.take_udp(incoming, turn),
            ICMP | ICMPV6 => self.take_echo(incoming, turn),
            _ => {
                self.refuse(incoming, Error::ProtocolUnreachable, turn);
                Err(Reason::Unsupported)
            }
        }
    }

    /// How far a packet may travel from here, as this gateway is a hop as well, and whether it must
    /// not be cut. One that may not travel on ends here.
    pub(super) fn hops(
        &mut self,
        incoming: &Incoming<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(u8, bool), Reason> {
        let (hops, is_whole) =
            packet::hops_and_whole(&incoming.packet, incoming.frame).ok_or(Reason::Malformed)?;
        if hops <= 1 {
            self.refuse(incoming, Error::TimeExceeded, turn);
            return Err(Reason::HopLimit);
        }
        Ok((hops - 1, is_whole))
    }

    /// Tells the guest that its packet went nowhere, unless it is told too much already.
    pub(super) fn refuse(&mut self, incoming: &Incoming<'_>, why: Error, turn: &mut Turn<'_>) {
        self.tell(incoming.frame, &incoming.packet, why, turn);
    }

    /// The same about the packet in a frame of a while ago.
    pub(super) fn tell(&mut self, frame: &[u8], packet: &Packet, why: Error, turn: &mut Turn<'_>) {
        self.said.clear();
        let bucket = (&turn.who.errors, turn.moment());
        let told = turn.gateway.station.error(frame, packet, why, bucket, &mut self.said);
        if told.is_ok() {
            turn.say(&self.said);
        }
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
        self.advertise(turn);
        self.arm(turn.now);
        found == EVENTS || !self.ready.is_empty()
    }

    /// Tells a guest that has asked for routers that there still is one.
    fn advertise(&mut self, turn: &mut Turn<'_>) {
        let Some(schedule) = &mut self.schedule else { return };
        if schedule.is_due(turn.moment(), self.outside.random() as u32) {
            self.said.clear();
            if turn.gateway.station.advertise(Life::Going, &mut self.said) {
                turn.say(&self.said);
            }
        }
    }

    fn event(&mut self, token: Token, flags: EventFlags, turn: &mut Turn<'_>) {
        match self.table.get_mut(token) {
            None => {}
            Some((_, Flow::Tcp(_))) => self.tcp_event(token, flags, turn),
            Some((_, Flow::Names(_) | Flow::Door(_))) => self.go_on(token, turn),
            Some((_, Flow::Udp(_) | Flow::Echo(_))) => {
                if flags.contains(EventFlags::ERR) {
                    self.tell_faults(token, turn);
                }
                self.go_on(token, turn);
            }
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
            Some((_, Flow::Door(_))) => self.door_event(token, turn),
        }
    }

    fn due(&mut self, token: Token, turn: &mut Turn<'_>) {
        let expires = match self.table.get_mut(token) {
            None | Some((_, Flow::Door(_))) => return,
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
    pub(super) fn add(&mut self, key: Key, flow: Flow, flags: EventFlags) -> Result<Token, Reason> {
        if !self.outside.admit(self.table.len()) {
            return Err(Reason::FlowsFull);
        }
        self.enter(key, flow, flags)
    }

    /// Adds a flow that was admitted elsewhere.
    pub(super) fn insert(&mut self, key: Key, flow: Flow, flags: EventFlags) {
        self.outside.take(1);
        // One that cannot be watched is gone, as one that nobody may have.
        let _ = self.enter(key, flow, flags);
    }

    /// Adds a flow that has its place.
    pub(super) fn enter(
        &mut self,
        key: Key,
        flow: Flow,
        flags: EventFlags,
    ) -> Result<Token, Reason> {
        let (token, former) = self.table.insert(key, flow);
        if former.is_some() {
            self.outside.release(1);
        }
        let Some((_, flow)) = self.table.get_mut(token) else { return Err(Reason::Outside) };
        let data = EventData::new_u64(token.to_u64());
        if epoll::add(&*self.epoll, flow.socket(), data, flags | EventFlags::ET).is_err() {
            self.remove(token);
            return Err(Reason::Outside);
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
        let advertise = self.schedule.map(|schedule| {
            let micros = i64::try_from(schedule.due().as_micros()).unwrap_or(i64::MAX);
            Instant::from_micros(micros)
        });
        let Some(next) = self.table.next_deadline().into_iter().chain(advertise).min() else {
            return;
        };
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
        let tokens: Vec<Token> = self.table.tokens().collect();
        for token in tokens {
            if let Some((_, Flow::Tcp(flow))) = self.table.remove(token) {
                flow.part(&self.outside.linger);
            }
        }
    }
}

impl Flow {
    pub(super) fn socket(&self) -> &OwnedFd {
        match self {
            Self::Tcp(flow) => &flow.socket,
            Self::Udp(flow) => &flow.socket,
            Self::Names(flow) => &flow.socket,
            Self::Echo(flow) => &flow.socket,
            Self::Door(flow) => &flow.socket,
        }
    }
}

impl Flow {
    /// The guest's station address.
    pub(super) fn guest(&self) -> MacAddr {
        match self {
            Self::Tcp(flow) => flow.guest,
            Self::Udp(flow) => flow.guest,
            Self::Names(flow) => flow.back.station,
            Self::Echo(flow) => flow.guest,
            Self::Door(_) => MacAddr::ZERO,
        }
    }
}

impl<'a> Incoming<'a> {
    fn of(
        packet: Packet,
        frame: &'a [u8],
        offload: Offload,
        turn: &Turn<'_>,
    ) -> Result<Self, Reason> {
        let header = Header::parse(frame).ok_or(Reason::Runt)?;
        Ok(Self { packet, frame, offload, link: turn.gateway.link(header.source) })
    }

    /// Source and destination with their ports.
    pub(super) fn endpoints(&self) -> Result<(SocketAddr, SocketAddr), Reason> {
        let ends = packet::endpoints(&self.packet, self.frame).ok_or(Reason::Malformed)?;
        let is_whole = matches!(self.offload, Offload::None);
        if is_whole && !packet::is_intact(&self.packet, self.frame) {
            return Err(Reason::Checksum);
        }
        Ok(ends)
    }

    /// The packet without what is around it.
    pub(super) fn octets(&self) -> &'a [u8] {
        self.frame.get(self.packet.l3..self.packet.end).unwrap_or_default()
    }
}

/// Where a packet to `destination` is to be sent, as far as the policy lets it go anywhere.
pub(super) fn target(turn: &Turn<'_>, destination: SocketAddr) -> Result<SocketAddr, Error> {
    match turn.gateway.policy.destination(destination.ip()) {
        Destination::Outside => Ok(destination),
        Destination::Host => {
            Ok(SocketAddr::new(loopback_like(destination.ip()), destination.port()))
        }
        Destination::Gateway => Err(Error::PortUnreachable),
        Destination::Prohibited => Err(Error::Prohibited),
        Destination::Nobody => Err(Error::NetworkUnreachable),
    }
}

/// What the guest is told when the host's network refuses.
pub(super) fn why(errno: Errno) -> Option<Error> {
    match errno {
        Errno::NETUNREACH | Errno::NETDOWN | Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL => {
            Some(Error::NetworkUnreachable)
        }
        Errno::HOSTUNREACH | Errno::HOSTDOWN => Some(Error::HostUnreachable),
        Errno::ACCESS | Errno::PERM => Some(Error::Prohibited),
        Errno::CONNREFUSED => Some(Error::PortUnreachable),
        _ => None,
    }
}
