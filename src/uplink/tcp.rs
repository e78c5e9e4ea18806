//! TCP connections, continued on sockets of the host.
//!
//! A guest's SYN waits until the outside has accepted the connection. Refused stays refused, and
//! unreachable unreachable: the guest hears what a host in our place would have heard. From then on
//! octets pass both ways as fast as the slower side takes them, each end is passed on as it comes,
//! and a reset is answered by a reset.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_keepalive, set_socket_linger, set_tcp_nodelay, socket_error,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, connect, recv, send,
    shutdown, socket_with,
};
use weft_frame::{MacAddr, Packet};
use weft_gateway::flow::packet::{ACK, RST, SYN};
use weft_gateway::flow::tcp::{Connection, Life, Room, Syn};
use weft_gateway::flow::{Key, Link, Token};
use weft_gateway::station::Drop as Reason;
use weft_gateway::station::errors::Error;
use weft_gateway::station::reset;

use super::Turn;
use super::flows::{Flow, Flows, Incoming, Line, target, why};
use super::linger::{Linger, Remainder};
use super::outside::DNS;

/// What a connection may hold each way.
pub(super) const ROOM: Room = Room { outward: 512 << 10, inward: 512 << 10 };
/// Octets that one connection moves inwards before others have their turn.
const BUDGET: usize = 512 << 10;
/// Frames that one connection sends at once.
const FRAMES: usize = 64;

/// One connection, both its ends.
#[derive(Debug)]
pub(super) struct TcpFlow {
    pub(super) socket: OwnedFd,
    pub(super) guest: MacAddr,
    phase: Phase,
    /// Whether the socket may have octets for us.
    readable: bool,
    /// Whether an end is coming, of which no further event will tell.
    ends: bool,
    /// Whether the socket may take octets.
    writable: bool,
    /// Whether the outside has said that nothing more comes.
    ended: bool,
    /// Whether we have said so to the outside.
    shut: bool,
    /// Whether it waits for its turn.
    pub(super) is_queued: bool,
    sent: u64,
    received: u64,
}

#[derive(Debug)]
enum Phase {
    /// The outside has not answered yet.
    Connecting(Syn),
    Open(Connection),
}

impl TcpFlow {
    /// A connection that came from outside.
    pub(super) fn let_in(socket: OwnedFd, guest: MacAddr, connection: Connection) -> Self {
        Self::new(socket, guest, Phase::Open(connection))
    }

    fn new(socket: OwnedFd, guest: MacAddr, phase: Phase) -> Self {
        Self {
            socket,
            guest,
            phase,
            readable: false,
            ends: false,
            writable: false,
            ended: false,
            shut: false,
            is_queued: false,
            sent: 0,
            received: 0,
        }
    }

    pub(super) fn line(&self, key: &Key) -> Line {
        let (inside, outside) = match key {
            Key::Tcp { inside, outside } => (inside.to_string(), outside.to_string()),
            Key::Udp { .. } | Key::Door { .. } | Key::Names { .. } | Key::Echo { .. } => {
                Default::default()
            }
        };
        let state = match &self.phase {
            Phase::Connecting(_) => "connecting",
            Phase::Open(connection) => match connection.life() {
                Life::Opening => "opening",
                Life::Open if self.ended || self.shut => "closing",
                Life::Open => "open",
                Life::Over | Life::Broken => "closed",
            },
        };
        let (sent, received) = (self.sent, self.received);
        Line { protocol: key.protocol(), inside, outside, state, sent, received }
    }

    fn link(&self, turn: &Turn<'_>) -> Link {
        turn.gateway.link(self.guest)
    }

    /// Ends the connection because its guest has gone: as the guest did, if it had, and else as if
    /// it had been broken off.
    pub(super) fn part(self, linger: &Arc<Linger>) {
        let Self { socket, phase, .. } = self;
        let Phase::Open(mut connection) = phase else { return };
        let mut octets = Vec::new();
        while connection.waiting() > 0 {
            let took = connection.take(|waiting| {
                octets.extend_from_slice(waiting);
                waiting.len()
            });
            if took == 0 {
                break;
            }
        }
        if connection.is_finished() {
            linger.take(Remainder { socket, octets });
        } else {
            let _ = set_socket_linger(&socket, Some(Duration::ZERO));
        }
    }
}

impl Flows {
    pub(super) fn take_tcp(
        &mut self,
        incoming: &Incoming<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Reason> {
        let (inside, outside) = incoming.endpoints()?;
        let key = Key::Tcp { inside, outside };
        let flags = *incoming.frame.get(incoming.packet.l4 + 13).ok_or(Reason::Malformed)?;
        if let Some(token) = self.table.find(&key) {
            return self.segment(token, incoming, turn);
        }
        if flags & RST != 0 {
            return Err(Reason::NoFlow);
        }
        if flags & (SYN | ACK) == SYN {
            return self.open(key, outside, incoming, turn);
        }
        self.reset(incoming.frame, &incoming.packet, turn);
        Err(Reason::NoFlow)
    }

    /// A segment of a connection that we know.
    fn segment(
        &mut self,
        token: Token,
        incoming: &Incoming<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Reason> {
        let Self { table, stack, .. } = self;
        let Some((_, Flow::Tcp(flow))) = table.get_mut(token) else {
            return Err(Reason::NoFlow);
        };
        match &mut flow.phase {
            // The guest is impatient, or has changed its mind.
            Phase::Connecting(_) => {
                let flags = incoming.frame.get(incoming.packet.l4 + 13).copied().unwrap_or(0);
                if flags & RST != 0 {
                    self.remove(token);
                }
            }
            Phase::Open(connection) => {
                let octets = incoming.octets();
                stack.input(connection, octets, &incoming.link, turn.outlet, turn.now);
                self.pump(token, turn);
            }
        }
        Ok(())
    }

    /// Begins a connection to the outside.
    fn open(
        &mut self,
        key: Key,
        outside: SocketAddr,
        incoming: &Incoming<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Reason> {
        let policy = &turn.gateway.policy;
        let asks_gateway = policy.own.contains(&outside.ip()) && outside.port() == DNS;
        let aim = if asks_gateway && !policy.internal {
            turn.gateway.outside.resolvers().first().copied().ok_or(Error::PortUnreachable)
        } else {
            target(turn, outside)
        };
        let aim = match aim {
            Ok(aim) => aim,
            Err(why) => {
                self.refuse_syn(incoming.frame, &incoming.packet, why, turn);
                return Err(Reason::Prohibited);
            }
        };
        let syn = Syn::of(&incoming.packet, incoming.frame).ok_or(Reason::Options)?;
        let socket = match connect_to(aim) {
            Ok(socket) => socket,
            Err(errno) => {
                if let Some(why) = why(errno) {
                    self.refuse_syn(incoming.frame, &incoming.packet, why, turn);
                }
                return Err(Reason::Outside);
            }
        };
        let flow = TcpFlow::new(socket, incoming.link.guest, Phase::Connecting(syn));
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP;
        self.add(key, Flow::Tcp(flow), flags).map(drop)
    }

    /// The socket has news.
    pub(super) fn tcp_event(&mut self, token: Token, flags: EventFlags, turn: &mut Turn<'_>) {
        let Some((_, Flow::Tcp(flow))) = self.table.get_mut(token) else { return };
        let hung_up = EventFlags::ERR | EventFlags::HUP;
        flow.ends |= flags.intersects(hung_up | EventFlags::RDHUP);
        flow.readable |= flow.ends || flags.contains(EventFlags::IN);
        flow.writable |= flags.intersects(hung_up | EventFlags::OUT);
        if matches!(flow.phase, Phase::Connecting(_)) {
            if !flow.writable {
                return;
            }
            match socket_error(&flow.socket) {
                Ok(Ok(())) => {
                    if !self.accept(token, turn) {
                        return;
                    }
                }
                Ok(Err(errno)) | Err(errno) => return self.refused(token, errno, turn),
            }
        }
        self.pump(token, turn);
    }

    /// The outside has accepted, so the guest's connection is.
    fn accept(&mut self, token: Token, turn: &mut Turn<'_>) -> bool {
        let Self { table, stack, .. } = self;
        let Some((_, Flow::Tcp(flow))) = table.get_mut(token) else { return false };
        let link = flow.link(turn);
        let Phase::Connecting(syn) = &flow.phase else { return false };
        match stack.accept(syn, ROOM, &link, turn.outlet, turn.now) {
            Some(connection) => {
                flow.phase = Phase::Open(connection);
                true
            }
            None => {
                self.remove(token);
                false
            }
        }
    }

    /// The outside did not accept: the guest hears why.
    fn refused(&mut self, token: Token, errno: Errno, turn: &mut Turn<'_>) {
        let Some(Flow::Tcp(flow)) = self.remove(token) else { return };
        // Without a reason to tell it did not answer in time; the guest's own patience ends about
        // now as well.
        if let (Phase::Connecting(syn), Some(why)) = (&flow.phase, why(errno)) {
            let (frame, packet) = syn.frame();
            self.refuse_syn(frame, packet, why, turn);
        }
    }

    /// Refuses a SYN as whoever refused it outside would.
    fn refuse_syn(&mut self, frame: &[u8], packet: &Packet, why: Error, turn: &mut Turn<'_>) {
        if why == Error::PortUnreachable {
            self.reset(frame, packet, turn);
        } else {
            self.tell(frame, packet, why, turn);
        }
    }

    /// Answers a segment with a reset.
    fn reset(&mut self, frame: &[u8], packet: &Packet, turn: &mut Turn<'_>) {
        self.said.clear();
        let mac = turn.gateway.station.config().mac;
        if reset::write(mac, frame, packet, &mut self.said).is_ok() {
            turn.say(&self.said);
        }
    }

    /// Moves octets both ways, as far as both sides take them.
    #[expect(
        clippy::too_many_lines,
        reason = "one pass over a connection, in the order of its parts"
    )]
    pub(super) fn pump(&mut self, token: Token, turn: &mut Turn<'_>) {
        let Self { table, stack, ready, .. } = self;
        let Some((_, Flow::Tcp(flow))) = table.get_mut(token) else { return };
        let link = flow.link(turn);
        let TcpFlow { socket, phase, .. } = flow;
        let Phase::Open(connection) = phase else { return };

        let mut failed = false;
        while flow.writable && connection.waiting() > 0 {
            let writable = &mut flow.writable;
            let took = connection.take(|octets| match send_now(socket, octets) {
                Ok(sent) => {
                    *writable = sent == octets.len();
                    sent
                }
                Err(Errno::AGAIN | Errno::NOBUFS) => {
                    *writable = false;
                    0
                }
                Err(_) => {
                    (*writable, failed) = (false, true);
                    0
                }
            });
            flow.sent += took as u64;
        }
        if !flow.shut && !failed && connection.is_finished() {
            flow.shut = true;
            // A socket that is not connected any more has heard of it.
            let _ = shutdown(&*socket, Shutdown::Write);
        }

        let mut budget = BUDGET;
        while flow.readable && !flow.ended && budget > 0 && connection.room() > 0 {
            let (readable, ends, ended) = (&mut flow.readable, flow.ends, &mut flow.ended);
            let gave =
                connection.give(|room| match recv(&*socket, &mut *room, RecvFlags::DONTWAIT) {
                    Ok((0, _)) => {
                        *ended = true;
                        0
                    }
                    Ok((got, _)) => {
                        *readable = ends || got == room.len();
                        got
                    }
                    Err(Errno::AGAIN) => {
                        *readable = false;
                        0
                    }
                    Err(_) => {
                        (*readable, failed) = (false, true);
                        0
                    }
                });
            flow.received += gave as u64;
            budget = budget.saturating_sub(gave);
        }
        if flow.ended {
            connection.close();
        }
        if failed {
            connection.abort();
        }

        let more = stack.output(connection, &link, turn.outlet, turn.now, FRAMES);
        let is_over = match connection.life() {
            Life::Opening | Life::Open => false,
            Life::Over => connection.waiting() == 0,
            Life::Broken => {
                // What ends here without having ended well, ends so there.
                let _ = set_socket_linger(&*socket, Some(Duration::ZERO));
                true
            }
        };
        if is_over {
            self.remove(token);
            return;
        }
        let deadline = stack.deadline(connection, turn.now);
        let has_more = more || flow.readable && !flow.ended && connection.room() > 0;
        if has_more && !flow.is_queued {
            flow.is_queued = true;
            ready.push_back(token);
        }
        if let Some(deadline) = deadline {
            table.schedule(token, deadline);
        }
    }
}

/// A socket that is on its way to `aim`.
fn connect_to(aim: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = if aim.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    set_tcp_nodelay(&socket, true)?;
    set_socket_keepalive(&socket, true)?;
    match connect(&socket, &aim) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

fn send_now(socket: &OwnedFd, octets: &[u8]) -> rustix::io::Result<usize> {
    send(socket, octets, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}
