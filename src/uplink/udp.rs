//! UDP, continued on sockets of the host.
//!
//! Each socket of the guest's has one of ours, whoever it speaks to, and whoever answers there is
//! heard: mapping and filtering do not depend on the other end (RFC 4787 REQ-1, REQ-8). Two guests'
//! sockets never share one.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{set_ip_ttl, set_ipv6_unicast_hops};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, sendto, socket_with,
};
use weft_frame::MacAddr;
use weft_frame::packet::IpVersion;
use weft_frame::segment::Segments;
use weft_frame::virtio::Offload;
use weft_gateway::flow::packet::{self, HOPS};
use weft_gateway::flow::policy::loopback_like;
use weft_gateway::flow::{Key, Token};
use weft_gateway::station::Drop as Reason;
use weft_gateway::{Duration, Instant};

use super::Turn;
use super::doors::Borrowers;
use super::flows::{Flow, Flows, Incoming, Line, target, why};
use crate::sys::fault::{Oversize, keep_faults, set_oversize};

/// How long a flow stays that nothing passes (RFC 4787 REQ-5).
const IDLE: Duration = Duration::from_secs(300);
/// How long one stays that nobody has answered yet.
const UNANSWERED: Duration = Duration::from_secs(120);
/// Datagrams that one flow takes in before others have their turn.
const BUDGET: usize = 64;

/// One socket of the guest's.
#[derive(Debug)]
pub(super) struct UdpFlow {
    pub(super) socket: OwnedFd,
    pub(super) guest: MacAddr,
    hops: u8,
    /// What becomes of datagrams that are too long.
    oversize: Option<Oversize>,
    /// The gateway's address that the guest uses for the host.
    host: Option<IpAddr>,
    /// Where the host listens for it, when its port is published.
    door: Option<SocketAddr>,
    borrowers: Borrowers,
    heard: Instant,
    sent: u64,
    received: u64,
}

impl UdpFlow {
    /// A socket of the guest's whose port is published.
    pub(super) fn door(socket: OwnedFd, host: SocketAddr) -> Self {
        // As above.
        let _ = keep_faults(socket.as_fd(), host.is_ipv4());
        Self {
            socket,
            guest: MacAddr::ZERO,
            hops: HOPS,
            oversize: None,
            host: None,
            door: Some(host),
            borrowers: Borrowers::default(),
            heard: Instant::ZERO,
            sent: 0,
            received: 0,
        }
    }

    pub(super) fn line(&self, key: &Key) -> Line {
        let inside = match key {
            Key::Udp { inside } => inside.to_string(),
            Key::Tcp { .. } | Key::Door { .. } | Key::Names { .. } | Key::Echo { .. } => {
                String::new()
            }
        };
        let state = match self.door {
            Some(_) => "listening",
            None if self.received > 0 => "open",
            None => "unanswered",
        };
        let outside = self.door.map_or_else(String::new, |host| host.to_string());
        let (sent, received) = (self.sent, self.received);
        Line { protocol: key.protocol(), inside, outside, state, sent, received }
    }

    pub(super) fn expires(&self) -> Instant {
        if self.door.is_some() {
            return Instant::from_micros(i64::MAX);
        }
        self.heard + if self.received > 0 { IDLE } else { UNANSWERED }
    }
}

impl Flows {
    pub(super) fn take_udp(
        &mut self,
        incoming: &Incoming<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Reason> {
        let (inside, outside) = incoming.endpoints()?;
        let key = Key::Udp { inside };
        let found = self.table.find(&key);
        let borrower = found.and_then(|token| self.borrower(token, outside, turn));
        let aim = match borrower.map_or_else(|| target(turn, outside), Ok) {
            Ok(aim) => aim,
            Err(why) => {
                self.refuse(incoming, why, turn);
                return Err(Reason::Prohibited);
            }
        };
        let (hops, is_whole) = self.hops(incoming, turn)?;
        let token = match found {
            Some(token) => token,
            None => self.new_udp(inside, incoming, turn)?,
        };
        let Some((_, Flow::Udp(flow))) = self.table.get_mut(token) else {
            return Err(Reason::Outside);
        };
        flow.heard = turn.now;
        flow.guest = incoming.link.guest;
        if aim.ip() != outside.ip() && borrower.is_none() {
            flow.host = Some(outside.ip());
        }
        flow.resemble(incoming, hops, is_whole);
        let sent = flow.send(incoming, aim);
        sent.map_err(|errno| {
            match why(errno) {
                // The socket knows how long it may be.
                _ if errno == Errno::MSGSIZE => self.tell_faults(token, turn),
                Some(why) => self.refuse(incoming, why, turn),
                None => {}
            }
            Reason::Outside
        })
    }

    /// The client of a door whom the guest knows as `outside`, an address of the gateway's.
    fn borrower(
        &mut self,
        token: Token,
        outside: SocketAddr,
        turn: &Turn<'_>,
    ) -> Option<SocketAddr> {
        let (_, Flow::Udp(flow)) = self.table.get_mut(token)? else { return None };
        let is_gateway = flow.door.is_some() && turn.gateway.station.owns(outside.ip());
        flow.borrowers.client_of(outside.port()).filter(|_| is_gateway)
    }

    fn new_udp(
        &mut self,
        inside: SocketAddr,
        incoming: &Incoming<'_>,
        turn: &Turn<'_>,
    ) -> Result<Token, Reason> {
        let family = if inside.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = datagram_socket(family).map_err(|_| Reason::Outside)?;
        // Without it the guest does not hear what becomes of its datagrams, and all else works.
        let _ = keep_faults(socket.as_fd(), inside.is_ipv4());
        let flow = UdpFlow {
            socket,
            guest: incoming.link.guest,
            hops: HOPS,
            oversize: None,
            host: None,
            door: None,
            borrowers: Borrowers::default(),
            heard: turn.now,
            sent: 0,
            received: 0,
        };
        let expires = flow.expires();
        let token = self.add(Key::Udp { inside }, Flow::Udp(flow), EventFlags::IN)?;
        self.table.schedule(token, expires);
        Ok(token)
    }

    /// The socket has datagrams, or an error to tell of.
    pub(super) fn udp_event(&mut self, token: Token, turn: &mut Turn<'_>) {
        let Some((Key::Udp { inside }, Flow::Udp(flow))) = self.table.get_mut(token) else {
            return;
        };
        let inside = *inside;
        let guest = if flow.guest.is_zero() { turn.who.mac } else { flow.guest };
        let link = turn.gateway.link(guest);
        let at = packet::payload_at(inside.ip());
        for _ in 0..BUDGET {
            let buffer = turn.outlet.buffer();
            let room = buffer.get_mut(at..).unwrap_or_default();
            let (len, from) = match recvfrom(&flow.socket, room, RecvFlags::DONTWAIT) {
                Ok((len, _, from)) => (len, from),
                Err(Errno::AGAIN) => return,
                // What went wrong with an earlier datagram.
                Err(_) => continue,
            };
            let Some(from) = from.and_then(|from| SocketAddr::try_from(from).ok()) else {
                continue;
            };
            let Some(from) = flow.arrives(from, inside, turn) else { continue };
            flow.heard = turn.now;
            flow.received += len as u64;
            let buffer = turn.outlet.buffer();
            if let Some(len) = packet::finish_udp(buffer, &link, from, inside, HOPS, len) {
                turn.outlet.send(len);
            }
        }
        self.ready.push_back(token);
    }
}

impl UdpFlow {
    /// The same for a datagram that has arrived: a door also has clients that are seen as the
    /// gateway.
    fn arrives(
        &mut self,
        from: SocketAddr,
        inside: SocketAddr,
        turn: &Turn<'_>,
    ) -> Option<SocketAddr> {
        let seen = self.seen_inside(from, turn);
        if seen.is_some() || self.door.is_none() {
            return seen;
        }
        let gateway = turn.gateway.station.address_towards(inside.ip())?;
        Some(SocketAddr::new(gateway, self.borrowers.port_of(from)?))
    }

    /// Where a datagram from `from` comes from as the guest sees it; nothing when it may not come.
    pub(super) fn seen_inside(&self, from: SocketAddr, turn: &Turn<'_>) -> Option<SocketAddr> {
        match self.host {
            Some(host) if from.ip() == loopback_like(host) => {
                Some(SocketAddr::new(host, from.port()))
            }
            Some(_) | None => turn.gateway.policy.admits(from.ip()).then_some(from),
        }
    }

    /// Lets what follows be treated on its way as the guest's own packet would be.
    fn resemble(&mut self, incoming: &Incoming<'_>, hops: u8, is_whole: bool) {
        let is_ipv4 = incoming.packet.version == IpVersion::V4;
        let oversize = if is_whole { Oversize::Refuse } else { Oversize::Cut };
        if self.oversize != Some(oversize)
            && set_oversize(self.socket.as_fd(), is_ipv4, oversize).is_ok()
        {
            self.oversize = Some(oversize);
        }
        if hops != self.hops && set_hops(&self.socket, is_ipv4, hops).is_ok() {
            self.hops = hops;
        }
    }

    fn send(&mut self, incoming: &Incoming<'_>, aim: SocketAddr) -> rustix::io::Result<()> {
        let Incoming { packet, frame, offload, .. } = incoming;
        match offload {
            Offload::None | Offload::Checksum { .. } => {
                self.send_one(frame.get(packet.payload..packet.end).unwrap_or_default(), aim)
            }
            Offload::Segment(superframe) => {
                let segments = Segments::new(*superframe, frame);
                let ranges = (0..segments.count()).filter_map(|index| segments.payload(index));
                for range in ranges {
                    self.send_one(frame.get(range).unwrap_or_default(), aim)?;
                }
                Ok(())
            }
        }
    }

    fn send_one(&mut self, payload: &[u8], aim: SocketAddr) -> rustix::io::Result<()> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = match sendto(&self.socket, payload, flags, &aim) {
            other @ (Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS | Errno::MSGSIZE)) => other,
            // It may have been the fate of an earlier datagram.
            Err(_) => sendto(&self.socket, payload, flags, &aim),
        }?;
        self.sent += sent as u64;
        Ok(())
    }
}

/// Lets packets of a socket travel so far.
pub(super) fn set_hops(socket: &OwnedFd, is_ipv4: bool, hops: u8) -> rustix::io::Result<()> {
    if is_ipv4 {
        set_ip_ttl(socket, u32::from(hops))
    } else {
        set_ipv6_unicast_hops(socket, Some(hops))
    }
}

/// A UDP socket that nobody has spoken to.
pub(super) fn datagram_socket(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socket_with(family, SocketType::DGRAM, flags, None)
}
